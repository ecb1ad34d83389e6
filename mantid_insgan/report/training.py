"""Figures of a training: the losses, and a spectrum before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from .style import new_figure, save_figure


def draw_losses(history: Sequence[Mapping[str, float]], path: Path) -> None:
    """Curves of all terms of the loss, each a running median over a fiftieth of the steps.

    Parameters
    ----------
    history : sequence of mapping
        For each step ``step`` and the terms by name.
    path : Path
        Figure to write.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    figure = new_figure(7, 4)
    axes = figure.subplots()
    steps = np.array([row["step"] for row in history])
    window = max(1, len(steps) // 50)
    for name in [n for n in (history[-1] if history else {}) if n != "step"]:
        values = np.array([row[name] for row in history])
        middle = [np.median(values[max(0, i - window) : i + 1]) for i in range(len(values))]
        axes.plot(steps, middle, label=name)
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    if history:
        axes.legend()
    save_figure(figure, path)


def draw_example(panels: Mapping[str, np.ndarray], valid: np.ndarray, path: Path) -> None:
    """Spectra on one grid side by side; maps have one scale, from 0 to the brightest bins of 'after'.

    Parameters
    ----------
    panels : mapping of str to ndarray, (*grid)
        The spectra; for volumes the middle slice is shown. One of them is named 'after'.
    valid : ndarray of bool, (*grid)
        Other bins are left blank.
    path : Path
        Figure to write.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    figure = new_figure(4 * len(panels), 3.5)
    highest = float(np.quantile(panels["after"][valid], 0.995))
    for axes, (name, values) in zip(np.ravel(figure.subplots(1, len(panels))), panels.items(), strict=True):
        shown = np.where(valid, values, np.nan)
        while shown.ndim > 2:
            shown = shown[shown.shape[0] // 2]
        if shown.ndim == 2:
            axes.imshow(shown.T, origin="lower", aspect="auto", vmin=0, vmax=max(highest, 1e-6))
        else:
            axes.plot(shown)
        axes.set_title(name)
    save_figure(figure, path)
