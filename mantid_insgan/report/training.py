"""Figures of a training: its losses, and one spectrum before and after the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from .style import COLOUR_MAP, LINE, NOT_MEASURED, new_figure, save_figure


def draw_losses(history: Sequence[Mapping[str, float]], output: Path) -> None:
    """Draw a curve for each term of the loss: its running median over a fiftieth of the steps.

    Parameters
    ----------
    history : sequence of dict
        One for each step: 'step' and the terms by name.
    output : Path
        Name of the picture; its suffix chooses the format.

    Raises
    ------
    OutputError
        If the file cannot be written.
    DeviceError
        If matplotlib is not installed.
    """
    figure = new_figure(7, 4)
    axes = figure.subplots()
    steps = np.array([row["step"] for row in history])
    window = max(1, len(steps) // 50)
    for name in [n for n in (history[-1] if history else {}) if n != "step"]:
        values = np.array([row[name] for row in history])
        middle = [np.median(values[max(0, i - window) : i + 1]) for i in range(len(values))]
        axes.plot(steps, middle, label=name)
    axes.set_xlabel("Step")
    axes.set_ylabel("Loss")
    axes.spines[["top", "right"]].set_visible(False)
    if history:
        axes.legend(frameon=False)
    save_figure(figure, output)


def draw_example(panels: Mapping[str, np.ndarray], valid: np.ndarray, output: Path) -> None:
    """Draw a spectrum before and after a model side by side, on one scale; of a volume the middle plane.

    Parameters
    ----------
    panels : dict of ndarray, (*grid)
        Intensities by the title of their panel, one of them 'after', by which the scale ends.
    valid : ndarray of bool, (*grid)
        Bins that are shown; others are grey.
    output : Path
        Name of the picture; its suffix chooses the format.

    Raises
    ------
    OutputError, DeviceError
        As `draw_losses`.
    """
    figure = new_figure(4 * len(panels), 3.5)
    highest = max(float(np.quantile(panels["after"][valid], 0.995)), 1e-6)
    for axes, (name, values) in zip(np.ravel(figure.subplots(1, len(panels))), panels.items(), strict=True):
        shown = _plane(np.ma.masked_array(values, ~valid))
        if shown.ndim == 2:
            _show(axes, shown, highest)
        else:
            axes.plot(shown, color=LINE)
            axes.set_xlabel("Bin")
        axes.set_title(name)
    save_figure(figure, output)


def _plane(values):
    return values[values.shape[0] // 2] if values.ndim > 2 else values


def _show(axes, plane, highest: float) -> None:
    from matplotlib import colormaps

    colours = colormaps[COLOUR_MAP].with_extremes(bad=NOT_MEASURED)
    axes.imshow(plane.T, cmap=colours, origin="lower", aspect="auto", interpolation="nearest", vmin=0, vmax=highest)
    axes.set_xlabel("Bin")
    axes.set_ylabel("Bin")
