"""Figures of one spectrum."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..core.spectrum import Spectrum
from .planes import as_one_row, dwarfed_height, mapped_pairs, mean_along, middle_bins, plane_of
from .style import (
    LINE,
    LINEAR_PART,
    add_colour_bar,
    asinh_ticks,
    check_figure,
    colour_scale,
    dress_curve,
    gapped,
    grey_note,
    new_figure,
    place_text,
    put_texts,
    save_figure,
    show_map,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_spectrum(spectrum: Spectrum, output: str | Path, *, title: str | None = None, overwrite: bool = True) -> None:
    """Plot a spectrum to a file; see `spectrum_figure` for the contents.

    Parameters
    ----------
    spectrum : Spectrum
        Of any number of dimensions.
    output : str or Path
        Name of the figure; its suffix chooses the format (`FORMATS`).
    title : str, optional
        Heading; the title of the spectrum if not given.
    overwrite : bool
        Whether an existing file may be replaced.

    Raises
    ------
    OutputError
        If the suffix is unknown, the file exists and may not be replaced, or it cannot be written.
    DeviceError
        If matplotlib is not installed.
    """
    check_figure(output, overwrite)
    save_figure(spectrum_figure(spectrum, title=title), Path(output))


def spectrum_figure(spectrum: Spectrum, *, title: str | None = None) -> Figure:
    """A figure of a spectrum without its integrated axes.

    One open axis: points with error bars (one standard error). Two: a map with the energy vertical. More: three maps,
    each a cut one bin wide through the middle of the other axes, and the mean along every axis.

    Raises
    ------
    DeviceError
        If matplotlib is not installed.
    """
    spectrum = spectrum.squeeze()
    draw = {1: _draw_profile, 2: _draw_map}.get(spectrum.ndim, _draw_cuts)
    return draw(spectrum, title if title is not None else spectrum.title)


def _draw_profile(spectrum: Spectrum, title: str) -> Figure:
    figure = new_figure(8, 4.8)
    axes = figure.add_subplot()
    _show_points(axes, spectrum)
    put_texts(figure, title, grey_note(spectrum))
    return figure


def _draw_map(spectrum: Spectrum, title: str) -> Figure:
    figure = new_figure(8, 6)
    plane = plane_of(spectrum, *mapped_pairs(spectrum)[0], {})
    axes = figure.add_subplot()
    add_colour_bar(figure, [show_map(axes, plane, colour_scale([plane]))], [axes], [plane])
    put_texts(figure, title, grey_note(plane))
    return figure


def _draw_cuts(spectrum: Spectrum, title: str) -> Figure:
    """Three maps above, a profile for each axis below."""
    figure = new_figure(12, 7)
    pairs, middle = mapped_pairs(spectrum), middle_bins(spectrum)
    planes = [plane_of(spectrum, across, up, middle) for across, up in pairs]
    above, below = figure.subfigures(2, 1, height_ratios=[3, 2])
    maps, curves = above.subplots(1, len(planes)), below.subplots(1, spectrum.ndim)
    scale = colour_scale(planes)
    images = [show_map(axes, plane, scale) for axes, plane in zip(maps, planes, strict=True)]
    for axes, pair in zip(maps, pairs, strict=True):
        fixed = (i for i in range(spectrum.ndim) if i not in pair)
        axes.set_title("at " + ", ".join(place_text(spectrum.axes[i], middle[i]) for i in fixed), fontsize=10)
    add_colour_bar(above, images, maps, planes)
    for i, axes in enumerate(curves):
        _show_points(axes, mean_along(spectrum, i))
        if i == 0 or axes.get_yscale() != "linear":
            axes.set_ylabel(axes.get_ylabel().replace("Intensity", "Mean intensity"))
        else:
            axes.set_ylabel("")
        low, high = axes.get_ylim()
        if low > 0:
            # from zero, so that noise on a flat mean does not look like structure
            axes.set_ylim(0, 1.1 * high)
    notes = ["Maps: cuts one bin wide at the values above them. Curves: means over all valid bins of the other axes."]
    put_texts(figure, title, [*notes, *grey_note(spectrum)])
    return figure


def _show_points(axes: Axes, spectrum: Spectrum) -> None:
    """Points with error bars of one standard error; ranges that were not measured are grey."""
    axis = spectrum.axes[0]
    axes.errorbar(
        axis.centers,
        gapped(spectrum),
        np.sqrt(np.where(spectrum.valid, spectrum.variance, 0)),
        fmt="o-" if len(axis) <= 120 else "-",
        markersize=3,
        linewidth=0.8,
        elinewidth=0.8,
        color=LINE,
        ecolor="0.55",
    )
    dress_curve(axes, spectrum)
    inelastic = dwarfed_height([as_one_row(spectrum)])
    if inelastic is not None:
        _compress(axes, spectrum, inelastic / LINEAR_PART)


def _compress(axes: Axes, spectrum: Spectrum, linear_width: float) -> None:
    """A vertical asinh scale, for a curve whose elastic line is much higher than the rest."""
    signal, error = spectrum.signal[spectrum.valid], np.sqrt(spectrum.variance[spectrum.valid])
    ticks = asinh_ticks(linear_width, float(signal.max()))
    axes.set_yscale("asinh", linear_width=linear_width)
    axes.set_yticks(ticks, labels=[f"{x:g}" for x in ticks])
    axes.minorticks_off()
    axes.set_ylim(min(-0.2 * linear_width, 1.2 * float((signal - error).min())), 1.5 * float((signal + error).max()))
    axes.set_ylabel("Intensity (asinh scale)")
