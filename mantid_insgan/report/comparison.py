"""Figures of several spectra side by side, with one colour scale and a cut below each map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..core.spectrum import Axis, Spectrum
from ..errors import InputError
from .planes import as_one_row, dwarfed_height, elastic_rows, mapped_pairs, mean_along, middle_bins, plane_of
from .style import (
    FAINT,
    LINE,
    add_colour_bar,
    check_figure,
    colour_scale,
    dress_curve,
    gapped,
    new_figure,
    plain_text,
    put_texts,
    range_text,
    save_figure,
    show_map,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LARGEST_PANELS_IN_A_ROW = 4


def plot_comparison(
    panels: Mapping[str, Spectrum],
    output: str | Path,
    *,
    columns: int | None = None,
    cut: tuple[float, float] | None = None,
    title: str | None = None,
    notes: Sequence[str] = (),
    overwrite: bool = True,
) -> None:
    """Plot several spectra with equal axes to a file; see `comparison_figure` for the contents.

    Parameters
    ----------
    panels, columns, cut, title, notes
        As `comparison_figure`.
    output : str or Path
        Name of the figure; its suffix chooses the format (`FORMATS`).
    overwrite : bool
        Whether an existing file may be replaced.

    Raises
    ------
    InputError
        If there is no panel, the axes differ, or the cut lies outside.
    OutputError
        If the suffix is unknown, the file exists and may not be replaced, or it cannot be written.
    DeviceError
        If matplotlib is not installed.
    """
    check_figure(output, overwrite)
    save_figure(comparison_figure(panels, columns=columns, cut=cut, title=title, notes=notes), Path(output))


def comparison_figure(
    panels: Mapping[str, Spectrum],
    *,
    columns: int | None = None,
    cut: tuple[float, float] | None = None,
    title: str | None = None,
    notes: Sequence[str] = (),
) -> Figure:
    """A figure of several spectra with one colour scale, and below each map a cut through the brightest region.

    The cut is the mean over the same narrow range of momentum in every panel, with bars of one standard error; the
    cuts of the other panels are shown behind it in grey. Spectra of three or more open axes are first cut through the
    middle.

    Parameters
    ----------
    panels : mapping of str to Spectrum
        Panel titles and spectra; all with equal axes.
    columns : int, optional
        Panels in a row; up to four if not given.
    cut : (float, float), optional
        Range of the horizontal axis for the cuts, in its unit; around the brightest inelastic peak if not given.
    title : str, optional
        Heading of the figure.
    notes : sequence of str
        Lines below the figure.

    Raises
    ------
    InputError
        If there is no panel, the axes differ, or the cut lies outside.
    DeviceError
        If matplotlib is not installed.
    """
    spectra = _comparable(panels)
    columns = min(len(panels), columns or _LARGEST_PANELS_IN_A_ROW)
    explained = "Grey curves: the other panels. Bars and bands: one standard error. Grey areas: not measured."
    if next(iter(spectra.values())).ndim == 1:
        figure = _compare_profiles(spectra, columns)
    else:
        planes = _middle_planes(spectra)
        across = next(iter(planes.values())).axes[0]
        where = _brightest(list(planes.values())) if cut is None else _chosen(across, cut)
        figure = _compare_planes(planes, columns, where)
        explained = f"Dashed lines: range of the cuts below. {explained}"
    put_texts(figure, title, [explained, *notes])
    return figure


def _comparable(panels: Mapping[str, Spectrum]) -> dict[str, Spectrum]:
    if not panels:
        raise InputError("there is no spectrum to compare", "give at least one panel")
    spectra = {name: s.squeeze() for name, s in panels.items()}
    first, *others = spectra
    for name in others:
        if spectra[name].axes != spectra[first].axes:
            raise InputError(
                f"{name!r} has the axes {_axes_text(spectra[name])}, but {first!r} has {_axes_text(spectra[first])}",
                "compare spectra with equal axes: rebin one of them first",
            )
    return spectra


def _axes_text(spectrum: Spectrum) -> str:
    return ", ".join(
        f"{a.name} ({len(a)} bins, {a.edges[0]:g} to {a.edges[-1]:g} {a.unit})".replace(" )", ")")
        for a in spectrum.axes
    )


def _middle_planes(spectra: Mapping[str, Spectrum]) -> dict[str, Spectrum]:
    """The most informative plane of each spectrum, through the middle of the other axes."""
    first = next(iter(spectra.values()))
    across, up = mapped_pairs(first)[0]
    return {name: plane_of(s, across, up, middle_bins(first)) for name, s in spectra.items()}


def _brightest(planes: Sequence[Spectrum]) -> slice:
    """Bins of the horizontal axis whose cut has the highest inelastic peaks and the fewest gaps over all planes."""
    count = planes[0].shape[0]
    width = max(1, count // 20)
    score, coverage = np.zeros(count - width + 1), np.ones(count - width + 1)
    for plane in planes:
        valid = _moving_sum(plane.valid, width)
        signal = _moving_sum(np.where(plane.valid, plane.signal, 0.0), width) / np.maximum(valid, 1)
        # neither a window with few measured bins, by its noise, nor one row of spurious counts must be chosen
        usable = (valid > width / 2) & ~elastic_rows(plane)
        score += np.percentile(np.where(usable, signal, 0.0), 98, axis=1)
        coverage = np.minimum(coverage, valid.mean(axis=1) / width)
    start = int((score * coverage**3).argmax())
    return slice(start, start + width)


def _moving_sum(values: np.ndarray, width: int) -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(values, width, axis=0).sum(axis=-1)


def _chosen(axis: Axis, cut: tuple[float, float]) -> slice:
    """Bins with their centres inside a range."""
    inside = np.flatnonzero((axis.centers >= cut[0]) & (axis.centers <= cut[1]))
    if not inside.size:
        raise InputError(
            f"no bin of {axis.name!r} has its centre in the cut from {cut[0]:g} to {cut[1]:g}; the axis runs from "
            f"{axis.edges[0]:g} to {axis.edges[-1]:g} {axis.unit}",
            "choose a cut inside the axis",
        )
    return slice(int(inside[0]), int(inside[-1]) + 1)


def _compare_planes(planes: Mapping[str, Spectrum], columns: int, where: slice) -> Figure:
    rows = -(-len(planes) // columns)
    figure = new_figure(3 * columns if columns > 1 else 5, 5.4 * rows)
    grid = figure.add_gridspec(2 * rows, columns, height_ratios=[3, 2] * rows)
    scale = colour_scale(list(planes.values()))
    cuts = {name: _cut(plane, where) for name, plane in planes.items()}
    limits = _limits_of_cuts(planes, cuts)
    maps, below, images = [], [], []
    for i, (name, plane) in enumerate(planes.items()):
        row, column = divmod(i, columns)
        maps.append(_share(figure, grid[2 * row, column], maps))
        images.append(show_map(maps[-1], plane, scale))
        for edge in (where.start, where.stop):
            maps[-1].axvline(plane.axes[0].edges[edge], color="white", linewidth=0.9, linestyle=(0, (4, 3)))
        maps[-1].set_title(plain_text(name), fontsize=12)
        below.append(_share(figure, grid[2 * row + 1, column], below))
        _show_cut(below[-1], cuts, name, limits)
    _label_outside(maps, columns)
    _label_outside(below, columns)
    across = next(iter(planes.values())).axes[0]
    text = range_text(across, across.edges[where.start], across.edges[where.stop])
    below[0].set_title(text, fontsize=9, color=FAINT, loc="left")
    add_colour_bar(figure, images, maps, list(planes.values()))
    return figure


def _compare_profiles(spectra: Mapping[str, Spectrum], columns: int) -> Figure:
    rows = -(-len(spectra) // columns)
    figure = new_figure(3 * columns if columns > 1 else 5, 3.2 * rows)
    grid = figure.add_gridspec(rows, columns)
    limits = _limits_of_cuts({name: as_one_row(s) for name, s in spectra.items()}, spectra)
    drawn: list[Axes] = []
    for i, name in enumerate(spectra):
        drawn.append(_share(figure, grid[divmod(i, columns)], drawn))
        _show_cut(drawn[-1], spectra, name, limits)
        drawn[-1].set_title(plain_text(name), fontsize=12)
    _label_outside(drawn, columns)
    return figure


def _share(figure: Figure, place, drawn: Sequence[Axes]) -> Axes:
    """Axes with the same limits as the previous ones."""
    first = drawn[0] if drawn else None
    return figure.add_subplot(place, sharex=first, sharey=first)


def _label_outside(drawn: Sequence[Axes], columns: int) -> None:
    """Keep the labels and numbers of the vertical axis in the left column only."""
    for i, axes in enumerate(drawn):
        if i % columns:
            axes.set_ylabel("")
            axes.tick_params(labelleft=False)


def _cut(plane: Spectrum, where: slice) -> Spectrum:
    part = Spectrum(
        plane.signal[where],
        plane.variance[where],
        (plane.axes[0].slice(where.start, where.stop), plane.axes[1]),
        valid=plane.valid[where],
    )
    return mean_along(part, 1)


def _limits_of_cuts(planes: Mapping[str, Spectrum], cuts: Mapping[str, Spectrum]) -> tuple[float, float] | None:
    """Vertical limits for the inelastic part of the cuts if the elastic line is much higher, otherwise None."""
    if dwarfed_height(list(planes.values())) is None:
        return None
    parts = [c.signal[c.valid & ~elastic_rows(planes[name])] for name, c in cuts.items()]
    shown = [float(np.percentile(p, 98)) for p in parts if p.size]
    top = 1.3 * max(shown, default=0.0)
    return (min(-0.05 * top, 1.1 * min(p.min() for p in parts if p.size)), top) if top > 0 else None


def _show_cut(axes: Axes, cuts: Mapping[str, Spectrum], name: str, limits: tuple[float, float] | None) -> None:
    """One cut with a band of one standard error, with the others in light grey behind it."""
    for other in cuts.values():
        axes.plot(other.axes[0].centers, gapped(other), color="0.8", linewidth=0.8, zorder=1)
    cut = cuts[name]
    centers, signal, error = cut.axes[0].centers, gapped(cut), np.sqrt(np.where(cut.valid, cut.variance, 0))
    axes.fill_between(centers, signal - error, signal + error, color=LINE, alpha=0.3, linewidth=0, zorder=2)
    if error.any():
        axes.errorbar(centers, signal, error, fmt="none", ecolor=FAINT, elinewidth=0.7, zorder=2.5)
    axes.plot(centers, signal, color=LINE, linewidth=1.2, zorder=3)
    dress_curve(axes, cut)
    if limits is not None:
        axes.set_ylim(limits)
        axes.text(0.98, 0.96, "higher counts cut off", transform=axes.transAxes, ha="right", va="top", fontsize=8)
