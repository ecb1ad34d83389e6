"""What a fit prints and draws: a table that can be pasted, and maps of data, fit and residual."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..core.spectrum import Spectrum
from ..fit.compare import Comparison
from ..fit.result import FitResult
from .planes import mapped_pairs, middle_bins, plane_of
from .style import (
    FAINT,
    LINE,
    add_colour_bar,
    axis_label,
    check_figure,
    colour_scale,
    new_figure,
    put_texts,
    save_figure,
    show_map,
)
from .text import columns

#: Datasets drawn in one figure.
_MOST_DRAWN = 8
#: Residuals beyond this many standard errors have the colour of the end of the scale.
_FAR = 4.0
#: Place of the posterior's intervals in the table of parameters.
_POSTERIOR = 5


def fit_text(result: FitResult) -> str:
    """The parameters with their errors, the quality of the fit and its notes, as plain text."""
    drawn = result.posterior is not None
    header = ["parameter", "value", "error", "statistical", "misfit 1 %", "start", "limits"]
    rows = [_row(row) for row in result.rows()]
    if drawn:
        header.insert(_POSTERIOR, "posterior 68 %")
        for row, given in zip(rows, result.rows(), strict=True):
            row.insert(_POSTERIOR, "{:.5g} to {:.5g}".format(*given["posterior"]) if given["posterior"] else "")
    lines = [columns(rows, header)]
    for name, (low, high) in result.intervals.items():
        lines.append(f"{name}: 68 % profile interval {low:.5g} to {high:.5g}")
    lines += _correlations(result)
    if drawn:
        lines.append(result.posterior.sentence())
    lines.append(
        f"chi-squared {result.chi_squared:.6g} for {result.degrees_of_freedom} degrees of freedom: "
        f"{result.reduced_chi_squared:.4g} each"
    )
    scales = ", ".join(f"{g.name} {s:.4g}" for g, s in zip(result.problem.groups, result.scales, strict=True))
    lines.append(f"scale: {scales}")
    search = result.search
    lines.append(f"{len(search.minima)} starts, {search.evaluations} evaluations in {search.seconds:.1f} s")
    lines += [f"  note: {note}" for note in result.notes]
    return "\n".join(lines)


def _row(row: dict) -> list[str]:
    limits = f"{row['low']:g} to {row['high']:g}" if np.isfinite([row["low"], row["high"]]).any() else ""
    if not row["free"]:
        how = f"= {row['tie']}" if row["tie"] else "fixed"
        return [row["name"], f"{row['value']:.5g}", how, "", "", "", ""]
    errors = [f"{row[kind]:.2g}" for kind in ("scaled", "statistical", "misfit")]
    return [row["name"], f"{row['value']:.5g}", *errors, f"{row['start']:.4g}", limits]


def _correlations(result: FitResult, least: float = 0.7) -> list[str]:
    names, found = result.errors.names, []
    for i in range(len(names)):
        for j in range(i):
            value = result.errors.correlation[i, j]
            if abs(value) >= least:
                found.append(f"{names[j]} and {names[i]} {value:.2f}")
    return [f"correlated: {'; '.join(found)}"] if found else []


def comparison_text(fits: Sequence[FitResult], verdicts: Sequence[Comparison]) -> str:
    """Rivals, the best first, and the verdict on each."""
    order = sorted(fits, key=lambda f: f.chi_squared)
    header = ["model", "chi-squared", "per degree of freedom", "free parameters"]
    rows = [
        [f.problem.definition.name, f"{f.chi_squared:.6g}", f"{f.reduced_chi_squared:.4g}", str(len(f.errors.names))]
        for f in order
    ]
    lines = [columns(rows, header)]
    for verdict in verdicts:
        lines.append(verdict.sentence())
        if verdict.aic is None:
            lines.append("  note: no information criterion is given: chi-squared is too large for it to mean anything")
    return "\n".join(lines)


def plot_fit(result: FitResult, output: str | Path, *, overwrite: bool = False) -> None:
    """Draw data, fit and residual of every dataset, and the parameters.

    Parameters
    ----------
    result : FitResult
    output : path
        Its suffix chooses the format.
    overwrite : bool

    Raises
    ------
    OutputError
        If the suffix is unknown, the file exists and may not be replaced, or it cannot be written.
    DeviceError
        If matplotlib is not installed.
    """
    check_figure(output, overwrite)
    sets = list(zip(result.problem.datasets, result.spectra(), strict=True))[:_MOST_DRAWN]
    figure = new_figure(11, 3.1 * len(sets) + 0.6)
    grid = figure.add_gridspec(len(sets), 3)
    for row, (data, (fitted, residual)) in enumerate(sets):
        panels = [figure.add_subplot(grid[row, column]) for column in range(3)]
        _draw_dataset(figure, panels, data.spectrum.replace(valid=fitted.valid), fitted, residual, data.name)
    left = len(result.problem.datasets) - len(sets)
    notes = [_parameters(result), *([f"{left} more datasets are not drawn."] if left else [])]
    put_texts(figure, f"{result.problem.definition.name}: data, fit, and (data - fit) / error", notes)
    save_figure(figure, Path(output))


def _parameters(result: FitResult) -> str:
    parts = [f"{row['name']} = {row['value']:.4g} ± {row['scaled']:.2g}" for row in result.rows() if row["free"]]
    return f"{', '.join(parts)}; chi-squared per degree of freedom {result.reduced_chi_squared:.3g}"


def _draw_dataset(figure, panels, data: Spectrum, fitted: Spectrum, residual: Spectrum, name: str) -> None:
    squeezed = [s.squeeze() for s in (data, fitted, residual)]
    if squeezed[0].ndim == 1:
        _draw_curves(panels, *squeezed, name)
        return
    across, up = mapped_pairs(squeezed[0])[0]
    at = middle_bins(squeezed[0])
    planes = [plane_of(s, across, up, at) for s in squeezed]
    scale = colour_scale(planes[:2])
    images = [show_map(axes, plane, scale) for axes, plane in zip(panels, planes[:2], strict=False)]
    add_colour_bar(figure, images, panels[:2], planes[:2])
    _show_residual(figure, panels[2], planes[2])
    for axes, title in zip(panels, (name, "fit", "residual"), strict=True):
        axes.set_title(title, fontsize=10)


def _show_residual(figure, axes, plane: Spectrum) -> None:
    from matplotlib import colormaps

    across, up = plane.axes
    image = axes.imshow(
        np.ma.masked_array(plane.signal, ~plane.valid).T,
        cmap=colormaps["PuOr"].with_extremes(bad="0.78"),
        vmin=-_FAR,
        vmax=_FAR,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        extent=(across.edges[0], across.edges[-1], up.edges[0], up.edges[-1]),
    )
    axes.set_xlabel(axis_label(across))
    axes.set_ylabel(axis_label(up))
    figure.colorbar(image, ax=axes, extend="both").set_label("(data − fit) / error")


def _draw_curves(panels, data: Spectrum, fitted: Spectrum, residual: Spectrum, name: str) -> None:
    x = data.axes[0].centers
    kept = data.valid
    panels[0].errorbar(x[kept], data.signal[kept], np.sqrt(data.variance[kept]), fmt=".", color=FAINT, label="data")
    panels[0].plot(x[kept], fitted.signal[kept], color=LINE, label="fit")
    panels[0].legend(frameon=False)
    panels[0].set_title(name, fontsize=10)
    panels[1].plot(x[kept], residual.signal[kept], ".", color=LINE)
    panels[1].axhline(0, color=FAINT, linewidth=0.8)
    panels[1].set_title("(data − fit) / error", fontsize=10)
    panels[2].hist(residual.signal[kept], bins=30, color=LINE)
    panels[2].set_xlabel("(data − fit) / error")
    for axes in panels[:2]:
        axes.set_xlabel(axis_label(data.axes[0]))
