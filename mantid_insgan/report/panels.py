"""The figures of a report: maps of input, result, error and deviation, cuts through the strongest modes, histograms.

All maps of intensity have one scale, colours are perceptual and can be told apart in grey, and bins without data are
light grey.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..core.spectrum import Spectrum
from .evidence import Band, Domain, Evidence, bands, domain, usual
from .planes import as_one_row, dwarfed_height, elastic_rows, mapped_pairs, mean_along, plane_of
from .style import (
    FAINT,
    LINE,
    LINEAR_PART,
    NOT_MEASURED,
    add_colour_bar,
    asinh_ticks,
    colour_scale,
    dress_curve,
    gapped,
    new_figure,
    place_text,
    put_texts,
    show_map,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Deviations beyond this many standard errors have the colour of the end of the scale.
FAR = 4.0
#: Most cuts along one axis, and the least distance between them as a share of the axis.
_CUTS, _APART = 3, 0.08
#: What neighbouring bins deviate by.
_TOGETHER = "Deviation of neighbours / by chance"
#: Colours of errors and deviations, and of the input's points.
_ERRORS, _INPUT = "cividis", "0.35"
_GREY = "Grey: not measured, or not in the result."


def figures(evidence: Evidence) -> dict[str, Figure]:
    """The figures of a report by their captions.

    Raises
    ------
    DeviceError
        If matplotlib is not installed.
    """
    given, result, deviation = _squeezed(evidence)
    at = strongest_bin(result, given)
    drawn = {}
    if result.ndim == 1:
        drawn["Input and result, standard error, and deviation"] = _profile(evidence, given, result, deviation)
    else:
        drawn["Input, result, standard error and deviation" + _through(result, at)] = _maps(
            evidence, given, result, deviation, at
        )
        drawn["Cuts through the strongest modes"] = _cuts(evidence, given, result, at)
    far = domain(evidence)
    other = "distance from the training data" if far.per_bin is None else "where neighbouring bins deviate together"
    drawn[f"Distribution of the deviations, and {other}"] = _distributions(evidence, deviation, far)
    return drawn


def _squeezed(evidence: Evidence) -> tuple[Spectrum, Spectrum, Spectrum | None]:
    """Input, result and deviation without integrated axes."""
    given, result = evidence.given.squeeze(), evidence.result.squeeze()
    if evidence.again is None or not np.isfinite(evidence.again.deviation).any():
        return given, result, None
    values = evidence.again.deviation
    return given, result, evidence.result.replace(signal=values, variance=np.ones(values.shape)).squeeze()


def strongest_bin(result: Spectrum, given: Spectrum) -> tuple[int, ...]:
    """The bin of the highest intensity away from the elastic line, smoothed over three bins along each axis."""
    signal, weight = np.where(result.valid, result.signal, 0.0), result.valid.astype(float)
    for axis in range(result.ndim):
        signal, weight = (_three(x, axis) for x in (signal, weight))
    mean = np.where(result.valid, signal / np.maximum(weight, 1.0), -np.inf)
    energy = result.energy_axis
    if energy is not None:
        lines = (elastic_rows(as_one_row(mean_along(s, energy))) for s in (result, given))
        rows = _three(np.logical_or(*lines), 0) > 0
        if not rows.all():
            mean = np.where(rows.reshape([-1 if i == energy else 1 for i in range(result.ndim)]), -np.inf, mean)
    return tuple(int(i) for i in np.unravel_index(int(mean.argmax()), result.shape))


def _three(values: np.ndarray, axis: int) -> np.ndarray:
    """Sums over a bin and its two neighbours along an axis."""
    padding = [(1, 1) if i == axis else (0, 0) for i in range(values.ndim)]
    return np.lib.stride_tricks.sliding_window_view(np.pad(values, padding), 3, axis=axis).sum(axis=-1)


def _through(spectrum: Spectrum, at: Sequence[int]) -> str:
    if spectrum.ndim < 3:
        return ""
    return " in planes through the strongest point: " + ", ".join(
        place_text(axis, i) for axis, i in zip(spectrum.axes, at, strict=True)
    )


def deviation_label(evidence: Evidence) -> str:
    """What the deviation of a report is."""
    if evidence.again is not None and evidence.again.direction == "add-resolution":
        return "(result − calculated convolution) / error"
    return f"(data − result convolved again) / {usual(evidence)}"


def _error_of(spectrum: Spectrum) -> Spectrum:
    return spectrum.replace(signal=np.sqrt(np.where(spectrum.valid, spectrum.variance, np.nan)), visual_normalization=0)


# -- maps


def _maps(evidence: Evidence, given, result, deviation, at) -> Figure:
    """A row for each pair of axes: input, result, standard error, deviation."""
    pairs = mapped_pairs(result)[:3]
    fixed = dict(enumerate(at))
    shown = [given, result, _error_of(result), *([] if deviation is None else [deviation])]
    planes = [[plane_of(s, *pair, fixed) for s in shown] for pair in pairs]
    wide = len(pairs) > 1
    figure = new_figure(13, 3.0 * len(pairs) + 0.6) if wide else new_figure(10, 7.6)
    drawn = np.array(figure.subplots(len(pairs), len(shown)) if wide else figure.subplots(2, 2)).reshape(-1)
    for spare in drawn[len(pairs) * len(shown) :]:
        spare.set_visible(False)
    drawn = drawn[: len(pairs) * len(shown)].reshape(len(pairs), len(shown))
    together = [plane for row in planes for plane in row[:2]]
    scale = colour_scale(together)
    images = [
        show_map(axes, plane, scale)
        for row, some in zip(drawn, planes, strict=True)
        for axes, plane in zip(row[:2], some[:2], strict=True)
    ]
    where = drawn[:, :2].ravel()
    add_colour_bar(figure, images, list(where), together)
    _show_others(figure, evidence, drawn[:, 2:], [row[2:] for row in planes])
    for row, pair in zip(drawn, pairs, strict=True):
        place = "\n".join(place_text(result.axes[i], at[i]) for i in range(result.ndim) if i not in pair)
        for axes, title in zip(row, ("input", "result", "standard error of the result", "deviation"), strict=False):
            axes.set_title(f"{title}\n{place}" if place else title, fontsize=9 if wide else 10)
    put_texts(figure, None, [_GREY + " Intensities and standard errors are in the unit of the input."])
    return figure


def _show_others(figure, evidence: Evidence, drawn, planes) -> None:
    """Maps of errors on a scale of their own, and of deviations from -FAR to FAR."""
    from matplotlib.colors import Normalize

    names = ("Standard error", deviation_label(evidence))
    for column, (name, shown) in enumerate(zip(names, zip(*planes, strict=True), strict=False)):
        scale = Normalize(-FAR, FAR) if column else colour_scale(shown)
        images = [_show_error(axes, plane, scale) for axes, plane in zip(drawn[:, column], shown, strict=True)]
        add_colour_bar(figure, images, list(drawn[:, column]), shown, name)


def _show_error(axes: Axes, plane: Spectrum, scale):
    """A plane of errors or deviations, whose colours are not those of intensities."""
    from matplotlib import colormaps

    image = show_map(axes, plane, scale)
    image.set_cmap(colormaps[_ERRORS].with_extremes(bad=NOT_MEASURED))
    return image


# -- curves


def _profile(evidence: Evidence, given: Spectrum, result: Spectrum, deviation: Spectrum | None) -> Figure:
    """Of one axis: input and result above, then the error, then the deviation."""
    rows = 2 + (deviation is not None)
    figure = new_figure(9, 2.0 + 2.4 * rows)
    drawn = figure.subplots(rows, 1, sharex=True, height_ratios=[2.4, *([1] * (rows - 1))])
    _draw_both(drawn[0], given, result, bands(result))
    drawn[0].legend(frameon=False, fontsize=9)
    error = _error_of(result)
    drawn[1].step(error.axes[0].centers, gapped(error), where="mid", color=LINE)
    dress_curve(drawn[1], error)
    drawn[1].set_ylabel("Standard error")
    if deviation is not None:
        drawn[2].axhspan(-1, 1, color="0.9", zorder=0)
        drawn[2].plot(deviation.axes[0].centers, gapped(deviation), ".", color=LINE)
        dress_curve(drawn[2], deviation)
        drawn[2].set_ylabel(deviation_label(evidence).replace(" / ", "\n/ "), fontsize=8)
    for axes in drawn[:-1]:
        axes.set_xlabel("")
    return figure


def _cuts(evidence: Evidence, given: Spectrum, result: Spectrum, at) -> Figure:
    """Cuts one bin wide: along the energy at the strongest momenta, and along a momentum at the strongest energy."""
    across, up = mapped_pairs(result)[0]
    fixed = dict(enumerate(at))
    places = _strong_columns(plane_of(result, across, up, fixed), at[across])
    lines = [(up, {**fixed, across: place}) for place in places] + [(across, fixed)]
    figure = new_figure(11, 3.4 * -(-len(lines) // 2) + 0.4)
    drawn = np.ravel(figure.subplots(-(-len(lines) // 2), 2))
    for axes, (along, where) in zip(drawn, lines, strict=False):
        index = tuple(slice(None) if i == along else where[i] for i in range(result.ndim))
        cut = [_line(s, index, along) for s in (given, result)]
        _draw_both(axes, *cut, [Band(b.label, b.low[index], b.high[index]) for b in bands(result)])
        others = ", ".join(place_text(result.axes[i], where[i]) for i in range(result.ndim) if i != along)
        axes.set_title(others, fontsize=10)
    for spare in drawn[len(lines) :]:
        spare.set_visible(False)
    drawn[0].legend(frameon=False, fontsize=9)
    put_texts(
        figure,
        None,
        [f"Cuts are one bin wide, each on its own scale. Error bars: one standard error of the input. {_GREY}"],
    )
    return figure


def _line(spectrum: Spectrum, index: tuple, along: int) -> Spectrum:
    signal, variance, valid = (x[index] for x in (spectrum.signal, spectrum.variance, spectrum.valid))
    return Spectrum(signal, variance, (spectrum.axes[along],), valid=valid)


def _strong_columns(plane: Spectrum, first: int) -> list[int]:
    """Columns of a plane with the highest peaks away from the elastic line, the given one first, not side by side."""
    usable = plane.valid & ~elastic_rows(plane)
    heights = np.where(usable, plane.signal, -np.inf).max(axis=1)
    apart = max(2, int(_APART * len(heights)))
    chosen = [first]
    for column in np.argsort(-heights):
        if len(chosen) == _CUTS or not np.isfinite(heights[column]):
            break
        if all(abs(int(column) - c) >= apart for c in chosen):
            chosen.append(int(column))
    return chosen


def _draw_both(axes: Axes, given: Spectrum, result: Spectrum, limits: Sequence[Band]) -> None:
    """Input as points with error bars, result as a line with its error bands; asinh if the elastic line is too high."""
    centers = result.axes[0].centers
    for number, band in reversed(list(enumerate(limits))):
        axes.fill_between(centers, band.low, band.high, color=LINE, alpha=0.35 / (1 + number), lw=0, label=band.label)
    error = np.sqrt(np.where(given.valid, given.variance, 0.0))
    axes.errorbar(
        centers, gapped(given), error, fmt="o", markersize=2.5, elinewidth=0.8, color=_INPUT, label="input", zorder=2
    )
    axes.plot(centers, gapped(result), color=LINE, linewidth=1.4, label="result", zorder=3)
    dress_curve(axes, result)
    inelastic = dwarfed_height([as_one_row(given), as_one_row(result)])
    if inelastic is not None:
        highest = max(float(s.signal[s.valid].max()) for s in (given, result) if s.valid.any())
        ticks = asinh_ticks(inelastic / LINEAR_PART, highest)
        lowest = min(float((s.signal - np.sqrt(s.variance))[s.valid].min()) for s in (given, result) if s.valid.any())
        axes.set_yscale("asinh", linear_width=inelastic / LINEAR_PART)
        axes.set_ylim(min(-0.2 * inelastic / LINEAR_PART, 1.2 * lowest), 1.5 * highest)
        axes.set_yticks(ticks, labels=[f"{x:g}" for x in ticks])
        axes.minorticks_off()
        axes.set_ylabel("Intensity (asinh scale)")


# -- distributions


def _distributions(evidence: Evidence, deviation: Spectrum | None, far: Domain) -> Figure:
    figure = new_figure(11, 3.6)
    left, right = figure.subplots(1, 2)
    _draw_histogram(left, evidence, deviation)
    _draw_domain(right, evidence, far)
    return figure


def _draw_histogram(axes: Axes, evidence: Evidence, deviation: Spectrum | None) -> None:
    if deviation is None:
        _say(axes, "no deviations: see what is left out")
        return
    values = deviation.signal[deviation.valid & np.isfinite(deviation.signal)]
    edges = np.linspace(-2 * FAR, 2 * FAR, 65)
    axes.hist(np.clip(values, edges[0], edges[-1]), edges, density=True, color=LINE, alpha=0.6, label="bins")
    axes.plot(edges, np.exp(-(edges**2) / 2) / np.sqrt(2 * np.pi), color="black", lw=1, label="normal distribution")
    axes.set(xlabel=deviation_label(evidence), ylabel="Density", xlim=(edges[0], edges[-1]))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    axes.set_title(
        f"root mean square {np.sqrt(np.mean(values**2)):.3g}; beyond ±{2 * FAR:g}: in the last bin", fontsize=9
    )


def _draw_domain(axes: Axes, evidence: Evidence, found: Domain) -> None:
    """The map where bins are told apart; otherwise the number of each slice, or the one number."""
    if found.per_bin is not None:
        _draw_domain_map(axes, evidence, found)
    elif not found.values.size:
        _say(axes, "no distance from the training data: see what is left out")
    else:
        number = np.arange(1, found.values.size + 1)
        axes.plot(number, found.values, "o", markersize=4, color=LINE)
        axes.axhline(found.limit, color="black", linewidth=1, linestyle="--")
        axes.annotate("limit", (0.99, found.limit), xycoords=("axes fraction", "data"), ha="right", va="bottom")
        axes.set_xlabel("Slice or tile that the model was given")
        axes.set_ylabel(found.name.capitalize().replace(" / ", "\n/ "))
        axes.set_ylim(0, 1.15 * max(found.limit, float(found.values.max())))
        axes.locator_params(axis="x", integer=True)
        axes.spines[["top", "right"]].set_visible(False)
        if found.values.size == 1:
            axes.set_xticks([1])
            axes.annotate(
                f"{found.values[0]:.3g}", (1, found.values[0]), xytext=(7, 0), textcoords="offset points", va="center"
            )


def _draw_domain_map(axes: Axes, evidence: Evidence, found: Domain) -> None:
    from matplotlib.colors import Normalize

    nothing = np.zeros(found.per_bin.shape)
    known = evidence.result.valid & np.isfinite(found.per_bin)
    values = evidence.result.replace(signal=found.per_bin, variance=nothing, valid=known).squeeze()
    title = f"p-value of the data {found.p_value:.2g} ({found.values.size} block{'s' * (found.values.size > 1)})"
    if values.ndim == 1:
        axes.axhspan(-1, 1, color="0.9", zorder=0)
        axes.step(values.axes[0].centers, gapped(values), where="mid", color=LINE)
        dress_curve(axes, values)
        axes.set_ylabel(_TOGETHER)
        axes.set_title(title, fontsize=9)
        return
    farthest = np.unravel_index(np.where(values.valid, np.abs(values.signal), -1.0).argmax(), values.shape)
    pair = mapped_pairs(values)[0]
    plane = plane_of(values, *pair, dict(enumerate(int(i) for i in farthest)))
    others = [place_text(values.axes[i], farthest[i]) for i in range(values.ndim) if i not in pair]
    axes.set_title("\n".join([title, *([f"{', '.join(others)}, where most deviates"] if others else [])]), fontsize=9)
    image = _show_error(axes, plane, Normalize(-FAR, FAR))
    add_colour_bar(axes.figure, [image], [axes], [plane], _TOGETHER)


def _say(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=FAINT)
    axes.set_axis_off()
