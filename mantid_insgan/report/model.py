"""What ``insgan model check`` shows: parameters, sites, bonds and stability of a model, and its dispersion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..models.base import ModeModel, UnstableModelError
from ..models.definition import ModelDefinition
from ..models.parameters import OF_THE_CONVOLUTION, Parameter
from ..models.sampling import quasi_random
from .style import check_figure, new_figure, put_texts, save_figure
from .text import columns

#: The path of the picture in r.l.u. if none is given: along the axes and diagonals of the cell, through whole zones.
PATH = ((0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 0, 0), (0, 0, 1), (1, 0, 1))
_PER_LEG = 121


@dataclass(frozen=True)
class ModelSheet:
    """A model as a person would check it.

    Parameters
    ----------
    definition : ModelDefinition
    values : dict of str to float
        The start of every parameter, ties worked out.
    problem : str or None
        Why the model is not stable there.
    bandwidth : float or None
        Its highest mode energy, meV.
    drawn, stable : int
        Draws within the limits, and how many of them are stable.
    """

    definition: ModelDefinition
    values: dict[str, float]
    problem: str | None
    bandwidth: float | None
    drawn: int
    stable: int
    model: ModeModel | None = field(default=None, repr=False)

    def as_dict(self) -> dict:
        """For JSON; limits that are infinite are None."""
        definition = self.definition
        return {
            "name": definition.name,
            "source": definition.source,
            "lattice": list(definition.lattice.cell),
            "parameters": [self._row(p) for p in definition.parameters.values()],
            "sites": [
                {"label": s.label, "at": list(s.at), "spin": list(s.spin), "ion": s.ion} for s in definition.sites
            ],
            "bonds": [{"exchange": b.exchange, "count": b.count, "length": b.length} for b in definition.bonds],
            "stable": self.problem is None,
            "problem": self.problem,
            "bandwidth_mev": self.bandwidth,
            "draws": {"tried": self.drawn, "stable": self.stable},
        }

    def _row(self, p: Parameter) -> dict:
        low, high = (limit if np.isfinite(limit) else None for limit in (p.low, p.high))
        row = {"name": p.name, "start": self.values[p.name], "min": low, "max": high, "free": p.free}
        return row | {"tie": p.expression}

    def as_text(self) -> str:
        """Tables for a terminal."""
        definition = self.definition
        a, b, c, *angles = definition.lattice.cell
        lines = [
            f"{definition.name} ({definition.source})",
            f"lattice: {a:.5g} {b:.5g} {c:.5g} Angstrom, {' '.join(f'{x:.5g}' for x in angles)} degrees",
            "",
            columns(
                [_cells(self._row(p)) for p in definition.parameters.values()], ("parameter", "start", "min", "max", "")
            ),
        ]
        if definition.sites:
            rows = [(s.label, s.ion, _vector(s.at), _vector(s.spin)) for s in definition.sites]
            lines += ["", f"{len(rows)} sites in the magnetic cell", columns(rows, ("label", "ion", "at", "spin"))]
        if definition.bonds:
            rows = [(g.exchange, str(g.count), f"{g.length:.3f}") for g in definition.bonds]
            total = sum(g.count for g in definition.bonds)
            lines += [
                "",
                f"{total} bonds in the magnetic cell",
                columns(rows, ("exchange", "bonds", "length (Angstrom)")),
            ]
        return "\n".join([*lines, "", *self._stability()])

    def _stability(self) -> list[str]:
        if self.problem is not None:
            lines = [f"not stable at the start values: {self.problem}"]
        else:
            lines = [f"stable at the start values; highest mode energy {self.bandwidth:.4g} meV"]
        if self.drawn:
            lines.append(f"{self.stable} of {self.drawn} draws within the limits are stable")
        return lines


def model_sheet(definition: ModelDefinition, *, draws: int = 32) -> ModelSheet:
    """Build a model at its start values, and at some within the limits of its free parameters.

    Parameters
    ----------
    definition : ModelDefinition
    draws : int
        The free parameters that have two limits are drawn evenly between them; the others stay at their starts.

    Raises
    ------
    InputError
        If a parameter is out of range.
    """
    values = definition.values()
    model, problem, bandwidth = None, None, None
    try:
        model = definition.build()
        bandwidth = model.bandwidth()
    except UnstableModelError as found:
        problem = found.reason
    varied = [
        p
        for p in definition.parameters.values()
        if p.free and np.isfinite([p.low, p.high]).all() and p.name not in OF_THE_CONVOLUTION
    ]
    tried = _drawn(varied, draws) if varied else []
    stable = sum(_is_stable(definition, point) for point in tried)
    return ModelSheet(definition, values, problem, bandwidth, len(tried), stable, model)


def _drawn(varied: Sequence[Parameter], draws: int) -> list[dict[str, float]]:
    low, high = (np.array([getattr(p, side) for p in varied]) for side in ("low", "high"))
    points = low + quasi_random(draws, len(varied)) * (high - low)
    return [dict(zip([p.name for p in varied], point.tolist(), strict=True)) for point in points]


def _is_stable(definition: ModelDefinition, values: dict[str, float]) -> bool:
    try:
        definition.build(values)
    except UnstableModelError:
        return False
    return True


def plot_dispersion(
    model: ModeModel,
    output: Path,
    *,
    path: Sequence[Sequence[float]] = PATH,
    title: str | None = None,
    overwrite: bool = False,
) -> None:
    """Draw the modes along a path: energies as points, darker and larger the more intensity they have.

    Parameters
    ----------
    model : ModeModel
    output : Path
    path : sequence of (h, k, l)
        Corners in r.l.u. of the model's lattice.
    title : str, optional
    overwrite : bool

    Raises
    ------
    OutputError
        If the figure cannot be written.
    """
    check_figure(output, overwrite)
    corners = np.asarray(path, dtype=float)
    legs = [np.linspace(start, stop, _PER_LEG) for start, stop in zip(corners[:-1], corners[1:], strict=True)]
    lengths = model.q_modulus(np.diff(corners, axis=0))
    marks = np.concatenate([[0], np.cumsum(lengths)])
    figure = new_figure(9, 5)
    axes = figure.subplots()
    pairs = [model.modes(leg) for leg in legs]
    bright = np.percentile(np.concatenate([i.ravel() for _, i in pairs]), 95)
    for start, stop, (energies, intensities) in zip(marks[:-1], marks[1:], pairs, strict=True):
        across = np.repeat(np.linspace(start, stop, _PER_LEG)[:, None], energies.shape[1], axis=1)
        weight = np.clip(intensities / max(bright, 1e-300), 0, 1)
        axes.scatter(across, energies, s=1 + 12 * weight, c=0.25 + 0.75 * weight, cmap="Blues", vmin=0, vmax=1, lw=0)
    axes.set_xticks(marks, labels=["(" + " ".join(f"{x:g}" for x in corner) + ")" for corner in corners])
    axes.grid(axis="x", color="0.85")
    axes.set(xlim=(0, marks[-1]), ylim=(0, None), xlabel="Momentum (r.l.u.)", ylabel="Energy transfer (meV)")
    axes.spines[["top", "right"]].set_visible(False)
    put_texts(figure, title, ["Darker and larger: more intensity."])
    save_figure(figure, output)


def _cells(row: dict) -> tuple[str, ...]:
    limits = ("" if row[side] is None else f"{row[side]:.6g}" for side in ("min", "max"))
    kind = f"= {row['tie']}" if row["tie"] else "free" if row["free"] else "fixed"
    return (row["name"], f"{row['start']:.6g}", *limits, kind)


def _vector(values: Sequence[float]) -> str:
    return " ".join(f"{0.0 if abs(x) < 5e-5 else x:.4f}" for x in values)
