"""Figures: what a spectrum holds, and several spectra side by side. What was not measured is grey, never zero."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..core.files import check_output, replacing
from ..core.spectrum import Axis, Spectrum
from ..errors import DeviceError, InputError, OutputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    from ..instruments.table import ResolutionTable

#: Formats a figure can be written in, by the suffix of the output's name.
FORMATS = ("png", "pdf", "svg")

_DPI = 150
_COLOUR_MAP = "viridis"
_NOT_MEASURED = "0.78"
_LINE = "#31688e"  # the blue of viridis
_FAINT = "0.35"
_LARGEST_PANELS_IN_A_ROW = 4
_TICKS_ACROSS = 6

#: An elastic line this many times as high as the inelastic peaks needs a compressed scale.
_DWARFS = 8.0
#: Where the colours end then, in heights of the inelastic peaks.
_ELASTIC_HEADROOM = 10.0
#: An asinh scale turns from linear to logarithmic at this fraction (1 / _LINEAR_PART) of that height.
_LINEAR_PART = 5.0

_PER_ANGSTROM = re.compile(r"^(1/(angstrom|å|a)|(angstrom|å|a)(\^-1|\*\*-1|-1|⁻¹))$", re.IGNORECASE)


def plot_spectrum(spectrum: Spectrum, output: str | Path, *, title: str | None = None, overwrite: bool = True) -> None:
    """Draw a spectrum into a file; see `spectrum_figure` for what is drawn.

    Parameters
    ----------
    spectrum : Spectrum
        Of any number of dimensions.
    output : str or Path
        Name of the picture; its suffix chooses the format (`FORMATS`).
    title : str, optional
        Heading; the spectrum's own title if not given.
    overwrite : bool
        Whether an existing file may be replaced.

    Raises
    ------
    OutputError
        If the suffix is unknown, the file exists and may not be replaced, or it cannot be written.
    DeviceError
        If matplotlib is not installed.
    """
    _check(output, overwrite)
    _save(spectrum_figure(spectrum, title=title), Path(output))


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
    """Draw several spectra of equal axes into a file; see `comparison_figure` for what is drawn.

    Parameters
    ----------
    panels, columns, cut, title, notes
        As `comparison_figure`.
    output : str or Path
        Name of the picture; its suffix chooses the format (`FORMATS`).
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
    _check(output, overwrite)
    _save(comparison_figure(panels, columns=columns, cut=cut, title=title, notes=notes), Path(output))


def plot_resolution(
    table: ResolutionTable, output: str | Path, *, spectrum: Spectrum | None = None, overwrite: bool = True
) -> None:
    """Draw the resolution as ellipses at half maximum into a file.

    One panel for each momentum coordinate against energy transfer (or for the first two coordinates where energy is
    integrated). Each ellipse is that of the resolution function projected onto the panel.

    Parameters
    ----------
    table : ResolutionTable
    output : str or Path
        Name of the picture; its suffix chooses the format (`FORMATS`).
    spectrum : Spectrum, optional
        Drawn behind the ellipses if its two open axes are those of the table.
    overwrite : bool
        Whether an existing file may be replaced.

    Raises
    ------
    InputError
        If the table has one coordinate.
    OutputError
        If the suffix is unknown, the file exists and may not be replaced, or it cannot be written.
    DeviceError
        If matplotlib is not installed.
    """
    _check(output, overwrite)
    _save(resolution_figure(table, spectrum), Path(output))


def resolution_figure(table: ResolutionTable, spectrum: Spectrum | None = None) -> Figure:
    """The figure of `plot_resolution`."""
    count = len(table.names)
    if count < 2:
        raise InputError(
            f"the resolution along {table.names[0]!r} alone has no ellipse",
            "use a file with two open axes, or give points (--q, --energy)",
        )
    up = table.names.index("E") if "E" in table.names else 1
    pairs = [(i, up) for i in range(count if "E" in table.names else 2) if i != up]
    figure = _figure(8 if len(pairs) == 1 else 5 * len(pairs), 6)
    panels = figure.subplots(1, len(pairs), squeeze=False)[0]
    if spectrum is not None and len(spectrum.open_axes) == 2 == count:
        plane = _plane(spectrum.squeeze(), *pairs[0], {})
        _add_colour_bar(figure, [_show_map(panels[0], plane, _colour_scale([plane]))], panels, [plane])
    for axes, pair in zip(panels, pairs, strict=True):
        _show_ellipses(axes, table, list(pair))
    setting = table.setting
    _put_texts(
        figure,
        f"Resolution of {setting['instrument']}, Ei {setting['ei']:g} meV, chopper {setting['chopper']}",
        ["Ellipses: the resolution function at half maximum, projected onto the plane."],
    )
    return figure


def _show_ellipses(axes: Axes, table: ResolutionTable, pair: list[int]) -> None:
    """Contours at half maximum of the covariance of two coordinates."""
    angle = np.linspace(0, 2 * np.pi, 73)
    circle = np.sqrt(2 * np.log(2)) * np.stack([np.cos(angle), np.sin(angle)])
    for point, covariance in zip(table.points[:, pair], table.covariance[:, pair][:, :, pair], strict=True):
        x, y = point[:, None] + np.linalg.cholesky(covariance) @ circle
        axes.plot(x, y, color="white", linewidth=2.2)
        axes.plot(x, y, color="#d1495b", linewidth=1.2)
    for i, label in zip(pair, (axes.set_xlabel, axes.set_ylabel), strict=True):
        label("Energy transfer (meV)" if table.names[i] == "E" else f"{table.names[i]} ({table.units[i]})")


def spectrum_figure(spectrum: Spectrum, *, title: str | None = None) -> Figure:
    """A figure of a spectrum; integrated axes are left away.

    One open axis: points with error bars (one standard error). Two: a map, the energy upward. More: three maps, each
    a cut one bin wide through the middle of the axes it does not show, and the mean along every axis.

    Raises
    ------
    DeviceError
        If matplotlib is not installed.
    """
    spectrum = spectrum.squeeze()
    draw = {1: _draw_profile, 2: _draw_map}.get(spectrum.ndim, _draw_cuts)
    return draw(spectrum, title if title is not None else spectrum.title)


def comparison_figure(
    panels: Mapping[str, Spectrum],
    *,
    columns: int | None = None,
    cut: tuple[float, float] | None = None,
    title: str | None = None,
    notes: Sequence[str] = (),
) -> Figure:
    """A figure of several spectra with one colour scale for all, and under each map a cut through its brightest region.

    The cut is the mean over the same narrow range of momentum in every panel, with a band of one standard error; the
    other panels' cuts stand behind it in grey. Spectra of three and more open axes are cut through the middle first.

    Parameters
    ----------
    panels : mapping of str to Spectrum
        Panel titles and what they show; all of equal axes.
    columns : int, optional
        Panels in a row; up to four if not given.
    cut : (float, float), optional
        Range of the axis across for the cuts, in its unit; around the brightest inelastic peak if not given.
    title : str, optional
        Heading of the figure.
    notes : sequence of str
        Lines under the figure.

    Raises
    ------
    InputError
        If there is no panel, the axes differ, or the cut lies outside.
    DeviceError
        If matplotlib is not installed.
    """
    spectra = _comparable(panels)
    columns = min(len(panels), columns or _LARGEST_PANELS_IN_A_ROW)
    explained = "Grey curves: the other panels. Bands: one standard error. Grey areas: not measured."
    if next(iter(spectra.values())).ndim == 1:
        figure = _compare_profiles(spectra, columns)
    else:
        planes = _middle_planes(spectra)
        across = next(iter(planes.values())).axes[0]
        where = _brightest(list(planes.values())) if cut is None else _chosen(across, cut)
        figure = _compare_planes(planes, columns, where)
        explained = f"Dashed lines: range of the cuts below. {explained}"
    _put_texts(figure, title, [explained, *notes])
    return figure


def axis_label(axis: Axis) -> str:
    """Name and unit of an axis for people: ``'Energy transfer (meV)'``, ``'|Q| (Å⁻¹)'``, ``'[H,0,0] (r.l.u.)'``."""
    unit = _unit(axis)
    return f"{_name(axis)} ({unit})" if unit else _name(axis)


def _name(axis: Axis) -> str:
    return "Energy transfer" if axis.is_energy else "|Q|" if axis.is_modulus_q else _plain(axis.name)


def _unit(axis: Axis) -> str:
    if axis.is_energy:
        return "meV"
    if _PER_ANGSTROM.match(axis.unit.strip()):
        return "Å⁻¹"
    return "r.l.u." if axis.is_rlu else _plain(axis.unit.strip())


def _plain(text: str) -> str:
    """Text from a file, which matplotlib must not take for a formula."""
    return text.replace("$", r"\$")


# What of a spectrum is drawn. A "plane" is a Spectrum of two axes: the one across, then the one upward.


def _plane(spectrum: Spectrum, across: int, up: int, at: Mapping[int, int]) -> Spectrum:
    """The plane of two axes through the bins `at` of the others."""
    index = tuple(slice(None) if i in (across, up) else at[i] for i in range(spectrum.ndim))
    signal, variance, valid = (x[index] for x in (spectrum.signal, spectrum.variance, spectrum.valid))
    if across > up:
        signal, variance, valid = signal.T, variance.T, valid.T
    return Spectrum(signal, variance, (spectrum.axes[across], spectrum.axes[up]), valid=valid)


def _momenta(spectrum: Spectrum) -> list[int]:
    """Axes that are not the energy, those with most bins first."""
    energy = spectrum.energy_axis
    return sorted((i for i in range(spectrum.ndim) if i != energy), key=lambda i: (-len(spectrum.axes[i]), i))


def _mapped_pairs(spectrum: Spectrum) -> list[tuple[int, int]]:
    """Pairs of axes (across, up) worth a map, three at most, the most telling first."""
    longest = _momenta(spectrum)
    if spectrum.energy_axis is None:
        return list(combinations(sorted(longest[:3]), 2))
    upward = [(i, spectrum.energy_axis) for i in longest[:2]]
    return upward + list(combinations(sorted(longest[:2]), 2))


def _middle(spectrum: Spectrum) -> dict[int, int]:
    """For each axis the bin nearest to its middle in which anything was measured (else the middle one)."""
    bins = {}
    for i in range(spectrum.ndim):
        others = tuple(j for j in range(spectrum.ndim) if j != i)
        measured = np.flatnonzero(spectrum.valid.any(axis=others))
        middle = spectrum.shape[i] // 2
        bins[i] = int(measured[np.abs(measured - middle).argmin()]) if measured.size else middle
    return bins


def _one_row(spectrum: Spectrum) -> Spectrum:
    """A spectrum of one axis as a plane of one row."""
    row = Axis("", (0.0, 1.0), "")
    signal, variance, valid = (x[np.newaxis] for x in (spectrum.signal, spectrum.variance, spectrum.valid))
    return Spectrum(signal, variance, (row, spectrum.axes[0]), valid=valid)


def _mean(spectrum: Spectrum, keep: int) -> Spectrum:
    """Mean along one axis over the valid bins of all others, its variance from error propagation."""
    others = tuple(i for i in range(spectrum.ndim) if i != keep)
    count = spectrum.valid.sum(axis=others)
    signal = spectrum.signal.sum(axis=others, where=spectrum.valid)
    variance = spectrum.variance.sum(axis=others, where=spectrum.valid)
    some = np.maximum(count, 1)
    return Spectrum(signal / some, variance / some**2, (spectrum.axes[keep],), valid=count > 0)


def _elastic_rows(plane: Spectrum) -> np.ndarray:
    """Bins upward in the elastic line and its flanks, shape (n,): those around zero energy that stand out."""
    energy, rows = plane.axes[1], np.zeros(plane.shape[1], bool)
    profile = _mean(plane, 1)
    if not (energy.is_energy and energy.edges[0] <= 0 < energy.edges[-1] and profile.valid.any()):
        return rows
    level = np.abs(profile.signal)
    low = ~(profile.valid & (level > 3 * np.median(level[profile.valid])))
    zero = int(np.searchsorted(energy.edges, 0, side="right")) - 1
    if low[zero]:
        return rows
    below, above = np.flatnonzero(low[:zero]), zero + np.flatnonzero(low[zero:])
    start, stop = (below[-1] + 1 if below.size else 0), (above[0] if above.size else len(energy))
    flank = (stop - start) // 4
    rows[max(0, start - flank) : stop + flank] = True
    return rows


def _dwarfed(planes: Sequence[Spectrum]) -> float | None:
    """Height of the inelastic peaks, where an elastic line dwarfs them; None where it does not.

    The height is the 90th percentile over the energies of the 98th percentile at each: a few rows of spurious counts
    (the next pulse at the end of the range) do not matter.
    """
    elastic, inelastic = [], []
    for plane in planes:
        for row, is_elastic in enumerate(_elastic_rows(plane)):
            values = plane.signal[plane.valid[:, row], row]
            if values.size:
                (elastic if is_elastic else inelastic).append(np.percentile(values, 98))
    if not (elastic and inelastic):
        return None
    height = float(np.percentile(inelastic, 90))
    return height if height > 0 and max(elastic) > _DWARFS * height else None


def _colour_scale(planes: Sequence[Spectrum]) -> Normalize:
    """One scale for all planes, from the 1st to the 99.5th percentile: a few hot bins do not darken the rest.

    Linear, and with zero in it unless all of the data are far from zero; asinh where an elastic line dwarfs the rest.
    """
    from matplotlib.colors import AsinhNorm, Normalize

    values = np.concatenate([p.signal[p.valid] for p in planes])
    if not values.size:
        return Normalize(0, 1)
    low, high = (float(x) for x in np.percentile(values, [1, 99.5]))
    if not low > 0.5 * high > 0:
        low = min(0.0, low)
    if high <= low:
        # next to nothing above zero: all of the range, and a scale of some width even for constant data
        low, high = min(low, float(values.min())), float(values.max())
        high = high if high > low else low + (abs(low) or 1.0)
    inelastic = _dwarfed(planes)
    if inelastic is None:
        return Normalize(low, high)
    return AsinhNorm(linear_width=inelastic / _LINEAR_PART, vmin=low, vmax=min(high, _ELASTIC_HEADROOM * inelastic))


def _brightest(planes: Sequence[Spectrum]) -> slice:
    """Bins across whose cut holds the highest inelastic peak of all planes and is measured along all of its length."""
    count = planes[0].shape[0]
    width = max(1, count // 20)
    score, coverage = np.zeros(count - width + 1), np.ones(count - width + 1)
    for plane in planes:
        valid = _moving_sum(plane.valid, width)
        signal = _moving_sum(np.where(plane.valid, plane.signal, 0.0), width) / np.maximum(valid, 1)
        # a window that is measured in a few bins only must not win by its noise, nor one row of spurious counts
        usable = (valid > width / 2) & ~_elastic_rows(plane)
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


def _comparable(panels: Mapping[str, Spectrum]) -> dict[str, Spectrum]:
    if not panels:
        raise InputError("there is no spectrum to compare", "give at least one panel")
    spectra = {name: s.squeeze() for name, s in panels.items()}
    first, *others = spectra
    for name in others:
        if spectra[name].axes != spectra[first].axes:
            raise InputError(
                f"{name!r} has the axes {_axes_text(spectra[name])}, but {first!r} has {_axes_text(spectra[first])}",
                "compare spectra of equal axes: rebin one like the other first",
            )
    return spectra


def _axes_text(spectrum: Spectrum) -> str:
    return ", ".join(
        f"{a.name} ({len(a)} bins, {a.edges[0]:g} to {a.edges[-1]:g} {a.unit})".replace(" )", ")")
        for a in spectrum.axes
    )


def _middle_planes(spectra: Mapping[str, Spectrum]) -> dict[str, Spectrum]:
    """The most telling plane of each spectrum, through the middle of the axes it does not show."""
    first = next(iter(spectra.values()))
    across, up = _mapped_pairs(first)[0]
    return {name: _plane(s, across, up, _middle(first)) for name, s in spectra.items()}


# Figures of one spectrum


def _figure(width: float, height: float) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError as missing:
        raise DeviceError(
            "a figure was asked for, but matplotlib is not installed", "pip install 'mantid-insgan[report]'"
        ) from missing
    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.06)
    return figure


def _draw_profile(spectrum: Spectrum, title: str) -> Figure:
    figure = _figure(8, 4.8)
    axes = figure.add_subplot()
    _show_points(axes, spectrum)
    _put_texts(figure, title, _grey_note(spectrum))
    return figure


def _draw_map(spectrum: Spectrum, title: str) -> Figure:
    figure = _figure(8, 6)
    plane = _plane(spectrum, *_mapped_pairs(spectrum)[0], {})
    axes = figure.add_subplot()
    _add_colour_bar(figure, [_show_map(axes, plane, _colour_scale([plane]))], [axes], [plane])
    _put_texts(figure, title, _grey_note(plane))
    return figure


def _draw_cuts(spectrum: Spectrum, title: str) -> Figure:
    """Three maps above, a profile for each axis below."""
    figure = _figure(12, 7)
    pairs, middle = _mapped_pairs(spectrum), _middle(spectrum)
    planes = [_plane(spectrum, across, up, middle) for across, up in pairs]
    above, below = figure.subfigures(2, 1, height_ratios=[3, 2])
    maps, curves = above.subplots(1, len(planes)), below.subplots(1, spectrum.ndim)
    scale = _colour_scale(planes)
    images = [_show_map(axes, plane, scale) for axes, plane in zip(maps, planes, strict=True)]
    for axes, pair in zip(maps, pairs, strict=True):
        fixed = (i for i in range(spectrum.ndim) if i not in pair)
        axes.set_title("at " + ", ".join(_place(spectrum.axes[i], middle[i]) for i in fixed), fontsize=10)
    _add_colour_bar(above, images, maps, planes)
    for i, axes in enumerate(curves):
        _show_points(axes, _mean(spectrum, i))
        if i == 0 or axes.get_yscale() != "linear":
            axes.set_ylabel(axes.get_ylabel().replace("Intensity", "Mean intensity"))
        else:
            axes.set_ylabel("")
        low, high = axes.get_ylim()
        if low > 0:
            # from zero, so that noise on a flat mean does not look like structure
            axes.set_ylim(0, 1.1 * high)
    notes = ["Maps: cuts one bin wide at the values above them. Curves: means over all valid bins of the other axes."]
    _put_texts(figure, title, [*notes, *_grey_note(spectrum)])
    return figure


def _place(axis: Axis, i: int) -> str:
    return _with_unit(f"{_name(axis)} = {_number(axis.centers[i], axis)}", axis)


def _range_text(axis: Axis, low: float, high: float) -> str:
    return _with_unit(f"{_name(axis)} from {_number(low, axis)} to {_number(high, axis)}", axis)


def _with_unit(text: str, axis: Axis) -> str:
    """Text with the unit; [H,0,0] says already that it counts reciprocal lattice vectors."""
    return text if axis.is_rlu else f"{text} {_unit(axis)}".rstrip()


def _number(value: float, axis: Axis) -> str:
    # what should be zero is so only to rounding
    return f"{0.0 if abs(value) < 1e-6 * axis.width else value:.3g}".replace("-", "−")


# Figures of several spectra


def _compare_planes(planes: Mapping[str, Spectrum], columns: int, where: slice) -> Figure:
    rows = -(-len(planes) // columns)
    figure = _figure(3 * columns if columns > 1 else 5, 5.4 * rows)
    grid = figure.add_gridspec(2 * rows, columns, height_ratios=[3, 2] * rows)
    scale = _colour_scale(list(planes.values()))
    cuts = {name: _cut(plane, where) for name, plane in planes.items()}
    limits = _limits_of_cuts(planes, cuts)
    maps, below, images = [], [], []
    for i, (name, plane) in enumerate(planes.items()):
        row, column = divmod(i, columns)
        maps.append(_share(figure, grid[2 * row, column], maps))
        images.append(_show_map(maps[-1], plane, scale))
        for edge in (where.start, where.stop):
            maps[-1].axvline(plane.axes[0].edges[edge], color="white", linewidth=0.9, linestyle=(0, (4, 3)))
        maps[-1].set_title(_plain(name), fontsize=12)
        below.append(_share(figure, grid[2 * row + 1, column], below))
        _show_cut(below[-1], cuts, name, limits)
    _label_outside(maps, columns)
    _label_outside(below, columns)
    across = next(iter(planes.values())).axes[0]
    text = _range_text(across, across.edges[where.start], across.edges[where.stop])
    below[0].set_title(text, fontsize=9, color=_FAINT, loc="left")
    _add_colour_bar(figure, images, maps, list(planes.values()))
    return figure


def _compare_profiles(spectra: Mapping[str, Spectrum], columns: int) -> Figure:
    rows = -(-len(spectra) // columns)
    figure = _figure(3 * columns if columns > 1 else 5, 3.2 * rows)
    grid = figure.add_gridspec(rows, columns)
    limits = _limits_of_cuts({name: _one_row(s) for name, s in spectra.items()}, spectra)
    drawn: list[Axes] = []
    for i, name in enumerate(spectra):
        drawn.append(_share(figure, grid[divmod(i, columns)], drawn))
        _show_cut(drawn[-1], spectra, name, limits)
        drawn[-1].set_title(_plain(name), fontsize=12)
    _label_outside(drawn, columns)
    return figure


def _share(figure: Figure, place, drawn: Sequence[Axes]) -> Axes:
    """Axes with the same limits as those drawn before."""
    first = drawn[0] if drawn else None
    return figure.add_subplot(place, sharex=first, sharey=first)


def _label_outside(drawn: Sequence[Axes], columns: int) -> None:
    """Leave the labels and numbers of the upward axis only in the left column."""
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
    return _mean(part, 1)


def _limits_of_cuts(planes: Mapping[str, Spectrum], cuts: Mapping[str, Spectrum]) -> tuple[float, float] | None:
    """Limits for the inelastic part of the cuts where an elastic line dwarfs it; None where all of it can be shown."""
    if _dwarfed(list(planes.values())) is None:
        return None
    parts = [c.signal[c.valid & ~_elastic_rows(planes[name])] for name, c in cuts.items()]
    shown = [float(np.percentile(p, 98)) for p in parts if p.size]
    top = 1.3 * max(shown, default=0.0)
    return (min(-0.05 * top, 1.1 * min(p.min() for p in parts if p.size)), top) if top > 0 else None


# What is drawn into one set of axes


def _show_map(axes: Axes, plane: Spectrum, scale: Normalize):
    """A plane as an image; bins that are not valid grey."""
    from matplotlib import colormaps

    across, up = plane.axes
    image = axes.imshow(
        np.ma.masked_array(plane.signal, ~plane.valid).T,
        cmap=colormaps[_COLOUR_MAP].with_extremes(bad=_NOT_MEASURED),
        norm=scale,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        extent=(across.edges[0], across.edges[-1], up.edges[0], up.edges[-1]),
    )
    axes.locator_params(axis="x", nbins=_TICKS_ACROSS)
    axes.set_xlabel(axis_label(across))
    axes.set_ylabel(axis_label(up))
    if not plane.valid.any():
        _say_nothing_valid(axes)
    return image


def _add_colour_bar(figure: Figure, images, axes: Sequence[Axes], planes: Sequence[Spectrum]) -> None:
    """One bar for maps of one scale, with arrows where data lie beyond its ends."""
    from matplotlib.colors import AsinhNorm

    scale, values = images[0].norm, np.concatenate([p.signal[p.valid] for p in planes])
    beyond = (bool((values < scale.vmin).any()), bool((values > scale.vmax).any()))
    extend = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}[beyond]
    bar = figure.colorbar(images[0], ax=list(axes), extend=extend, extendfrac=0.03, aspect=30, pad=0.015)
    bar.outline.set_visible(False)
    bar.set_label("Intensity")
    if isinstance(scale, AsinhNorm):
        bar.set_label("Intensity (asinh scale)")
        ticks = _asinh_ticks(scale.linear_width, scale.vmax)
        bar.set_ticks(ticks, labels=[f"{x:g}" for x in ticks], minor=False)
        bar.minorticks_off()


def _asinh_ticks(linear_width: float, highest: float) -> list[float]:
    """Zero and round numbers in the logarithmic part of an asinh scale."""
    decades = range(int(np.floor(np.log10(linear_width))), int(np.ceil(np.log10(highest))) + 1)
    for digits in ((1, 2, 5), (1, 3), (1,)):
        ticks = [d * 10.0**k for k in decades for d in digits if linear_width <= d * 10.0**k <= highest]
        if len(ticks) <= 7:
            break
    return [0.0, *ticks]


def _show_points(axes: Axes, spectrum: Spectrum) -> None:
    """Points with error bars of one standard error; stretches that were not measured grey."""
    axis = spectrum.axes[0]
    axes.errorbar(
        axis.centers,
        _gapped(spectrum),
        np.sqrt(np.where(spectrum.valid, spectrum.variance, 0)),
        fmt="o-" if len(axis) <= 120 else "-",
        markersize=3,
        linewidth=0.8,
        elinewidth=0.8,
        color=_LINE,
        ecolor="0.55",
    )
    _dress(axes, spectrum)
    inelastic = _dwarfed([_one_row(spectrum)])
    if inelastic is not None:
        _compress(axes, spectrum, inelastic / _LINEAR_PART)


def _compress(axes: Axes, spectrum: Spectrum, linear_width: float) -> None:
    """An asinh scale upward, for a curve whose elastic line dwarfs the rest."""
    signal, error = spectrum.signal[spectrum.valid], np.sqrt(spectrum.variance[spectrum.valid])
    ticks = _asinh_ticks(linear_width, float(signal.max()))
    axes.set_yscale("asinh", linear_width=linear_width)
    axes.set_yticks(ticks, labels=[f"{x:g}" for x in ticks])
    axes.minorticks_off()
    axes.set_ylim(min(-0.2 * linear_width, 1.2 * float((signal - error).min())), 1.5 * float((signal + error).max()))
    axes.set_ylabel("Intensity (asinh scale)")


def _show_cut(axes: Axes, cuts: Mapping[str, Spectrum], name: str, limits: tuple[float, float] | None) -> None:
    """One cut with a band of one standard error, the others in faint grey behind it."""
    for other in cuts.values():
        axes.plot(other.axes[0].centers, _gapped(other), color="0.8", linewidth=0.8, zorder=1)
    cut = cuts[name]
    centers, signal, error = cut.axes[0].centers, _gapped(cut), np.sqrt(np.where(cut.valid, cut.variance, 0))
    axes.fill_between(centers, signal - error, signal + error, color=_LINE, alpha=0.3, linewidth=0, zorder=2)
    axes.plot(centers, signal, color=_LINE, linewidth=1.2, zorder=3)
    _dress(axes, cut)
    if limits is not None:
        axes.set_ylim(limits)
        axes.text(0.98, 0.96, "higher counts cut off", transform=axes.transAxes, ha="right", va="top", fontsize=8)


def _gapped(spectrum: Spectrum) -> np.ndarray:
    return np.where(spectrum.valid, spectrum.signal, np.nan)


def _dress(axes: Axes, spectrum: Spectrum) -> None:
    """Labels and limits of a curve, and its gaps."""
    axis = spectrum.axes[0]
    for start, stop in _runs(~spectrum.valid):
        axes.axvspan(axis.edges[start], axis.edges[stop], color=_NOT_MEASURED, linewidth=0, zorder=0)
    axes.set_xlim(axis.edges[0], axis.edges[-1])
    axes.locator_params(axis="x", nbins=_TICKS_ACROSS)
    axes.set_xlabel(axis_label(axis))
    axes.set_ylabel("Intensity")
    axes.spines[["top", "right"]].set_visible(False)
    if not spectrum.valid.any():
        _say_nothing_valid(axes)


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """Start and stop of each stretch of True."""
    change = np.flatnonzero(np.diff(flags.astype(np.int8), prepend=0, append=0))
    return list(zip(change[::2].tolist(), change[1::2].tolist(), strict=True))


def _say_nothing_valid(axes: Axes) -> None:
    axes.text(0.5, 0.5, "no valid bin", transform=axes.transAxes, ha="center", va="center", color=_FAINT)


def _grey_note(spectrum: Spectrum) -> list[str]:
    return [] if spectrum.valid.all() else ["Grey: not measured."]


def _put_texts(figure: Figure, title: str | None, notes: Sequence[str]) -> None:
    """Heading and notes, in lines that fit the figure's width."""
    if title:
        letters = int(9 * figure.get_figwidth())
        figure.suptitle("\n".join(textwrap.wrap(_plain(title), letters)), fontsize=13)
    if notes:
        letters = int(15 * figure.get_figwidth())
        lines = [line for note in notes for line in textwrap.wrap(_plain(note), letters)]
        figure.supxlabel("\n".join(lines), fontsize=9, color=_FAINT, x=0.01, ha="left")


# Files


def _check(output: str | Path, overwrite: bool) -> None:
    _format(Path(output))
    check_output(output, overwrite)


def _format(output: Path) -> str:
    suffix = output.suffix.lower().lstrip(".")
    if suffix not in FORMATS:
        raise OutputError(
            f"the figure {output} has {f'the suffix {output.suffix!r}' if suffix else 'no suffix'}, which names no "
            "format that is known",
            f"end its name in {', '.join('.' + f for f in FORMATS[:-1])} or .{FORMATS[-1]}",
        )
    return suffix


def _save(figure: Figure, output: Path) -> None:
    """Write beside the output and rename into place; nothing is left behind by a failure."""
    try:
        with replacing(output) as temporary:
            figure.savefig(temporary, format=_format(output))
    except OSError as problem:
        raise OutputError(
            f"writing the figure {output} failed: {problem}",
            "see whether the disk is full or the folder has gone; nothing was left behind",
        ) from problem
