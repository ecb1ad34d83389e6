"""Common parts of all figures: size, labels, colours and writing the file. Bins without data are grey, never zero."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..core.files import check_output, replacing
from ..core.spectrum import Axis, Spectrum
from ..errors import DeviceError, OutputError
from .planes import dwarfed_height

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

#: Formats of figures; the suffix of the file name chooses one.
FORMATS = ("png", "pdf", "svg")
#: Colour of curves (the blue of viridis), and of notes.
LINE, FAINT = "#31688e", "0.35"
#: Colours of maps, and of bins that were not measured.
COLOUR_MAP, NOT_MEASURED = "viridis", "0.78"
#: An asinh scale is linear up to the height of the inelastic peaks divided by this, and logarithmic above.
LINEAR_PART = 5.0

_DPI = 150
_TICKS_ACROSS = 6
#: The colours of an asinh scale end at this many heights of the inelastic peaks.
_ELASTIC_HEADROOM = 10.0

_PER_ANGSTROM = re.compile(r"^(1/(angstrom|å|a)|(angstrom|å|a)(\^-1|\*\*-1|-1|⁻¹))$", re.IGNORECASE)


def axis_label(axis: Axis) -> str:
    """Label of an axis with its unit: ``'Energy transfer (meV)'``, ``'|Q| (Å⁻¹)'``, ``'[H,0,0] (r.l.u.)'``."""
    unit = _unit(axis)
    return f"{_name(axis)} ({unit})" if unit else _name(axis)


def _name(axis: Axis) -> str:
    return "Energy transfer" if axis.is_energy else "|Q|" if axis.is_modulus_q else plain_text(axis.name)


def _unit(axis: Axis) -> str:
    if axis.is_energy:
        return "meV"
    if axis.is_modulus_q or _PER_ANGSTROM.match(axis.unit.strip()):
        return "Å⁻¹"
    return "r.l.u." if axis.is_rlu else plain_text(axis.unit.strip())


def plain_text(text: str) -> str:
    """Text from a file, with dollar signs escaped, because matplotlib would treat them as a formula."""
    return text.replace("$", r"\$")


def _with_unit(text: str, axis: Axis) -> str:
    """Text with the unit of the axis, except r.l.u., which a name such as [H,0,0] already implies."""
    return text if axis.is_rlu else f"{text} {_unit(axis)}".rstrip()


def _number(value: float, axis: Axis) -> str:
    # a value that is zero within rounding is shown as 0
    return f"{0.0 if abs(value) < 1e-6 * axis.width else value:.3g}".replace("-", "−")


def range_text(axis: Axis, low: float, high: float) -> str:
    return _with_unit(f"{_name(axis)} from {_number(low, axis)} to {_number(high, axis)}", axis)


def place_text(axis: Axis, i: int) -> str:
    return _with_unit(f"{_name(axis)} = {_number(axis.centers[i], axis)}", axis)


def new_figure(width: float, height: float) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError as missing:
        raise DeviceError(
            "a figure was asked for, but matplotlib is not installed", "pip install 'mantid-insgan[report]'"
        ) from missing
    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.06)
    return figure


def put_texts(figure: Figure, title: str | None, notes: Sequence[str]) -> None:
    """Heading and notes, wrapped to the width of the figure."""
    if title:
        letters = int(9 * figure.get_figwidth())
        figure.suptitle("\n".join(textwrap.wrap(plain_text(title), letters)), fontsize=13)
    if notes:
        letters = int(15 * figure.get_figwidth())
        lines = [line for note in notes for line in textwrap.wrap(plain_text(note), letters)]
        figure.supxlabel("\n".join(lines), fontsize=9, color=FAINT, x=0.01, ha="left")


def grey_note(spectrum: Spectrum) -> list[str]:
    return [] if spectrum.valid.all() else ["Grey: not measured."]


def colour_scale(planes: Sequence[Spectrum]) -> Normalize:
    """One scale for all planes, from the 1st to the 99.5th percentile, so that a few hot bins do not determine it.

    Linear, including zero unless all data are far from zero; asinh if the elastic line is much higher than the rest.
    """
    from matplotlib.colors import AsinhNorm, Normalize

    values = np.concatenate([p.signal[p.valid] for p in planes])
    if not values.size:
        return Normalize(0, 1)
    low, high = (float(x) for x in np.percentile(values, [1, 99.5]))
    if not low > 0.5 * high > 0:
        low = min(0.0, low)
    if high <= low:
        # hardly anything above zero: the whole range, widened where the data are constant
        low, high = min(low, float(values.min())), float(values.max())
        high = high if high > low else low + (abs(low) or 1.0)
    inelastic = dwarfed_height(planes)
    if inelastic is None:
        return Normalize(low, high)
    return AsinhNorm(linear_width=inelastic / LINEAR_PART, vmin=low, vmax=min(high, _ELASTIC_HEADROOM * inelastic))


def show_map(axes: Axes, plane: Spectrum, scale: Normalize):
    """A plane as an image; bins that are not valid are grey."""
    from matplotlib import colormaps

    across, up = plane.axes
    image = axes.imshow(
        np.ma.masked_array(plane.signal, ~plane.valid).T,
        cmap=colormaps[COLOUR_MAP].with_extremes(bad=NOT_MEASURED),
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


def add_colour_bar(
    figure: Figure, images, axes: Sequence[Axes], planes: Sequence[Spectrum], name: str = "Intensity"
) -> None:
    """One colour bar for maps with one scale, with arrows where data lie outside it."""
    from matplotlib.colors import AsinhNorm

    scale, values = images[0].norm, np.concatenate([p.signal[p.valid] for p in planes])
    beyond = (bool((values < scale.vmin).any()), bool((values > scale.vmax).any()))
    extend = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}[beyond]
    bar = figure.colorbar(images[0], ax=list(axes), extend=extend, extendfrac=0.03, aspect=30, pad=0.015)
    bar.outline.set_visible(False)
    bar.set_label(name)
    if isinstance(scale, AsinhNorm):
        bar.set_label(f"{name} (asinh scale)")
        ticks = asinh_ticks(scale.linear_width, scale.vmax)
        bar.set_ticks(ticks, labels=[f"{x:g}" for x in ticks], minor=False)
        bar.minorticks_off()


def asinh_ticks(linear_width: float, highest: float) -> list[float]:
    """Zero and round numbers in the logarithmic part of an asinh scale."""
    decades = range(int(np.floor(np.log10(linear_width))), int(np.ceil(np.log10(highest))) + 1)
    for digits in ((1, 2, 5), (1, 3), (1,)):
        ticks = [d * 10.0**k for k in decades for d in digits if linear_width <= d * 10.0**k <= highest]
        if len(ticks) <= 7:
            break
    return [0.0, *ticks]


def gapped(spectrum: Spectrum) -> np.ndarray:
    return np.where(spectrum.valid, spectrum.signal, np.nan)


def dress_curve(axes: Axes, spectrum: Spectrum) -> None:
    """Labels and limits of a curve; stretches that were not measured are grey."""
    axis = spectrum.axes[0]
    for start, stop in _runs(~spectrum.valid):
        axes.axvspan(axis.edges[start], axis.edges[stop], color=NOT_MEASURED, linewidth=0, zorder=0)
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
    axes.text(0.5, 0.5, "no valid bin", transform=axes.transAxes, ha="center", va="center", color=FAINT)


def check_figure(output: str | Path, overwrite: bool) -> None:
    _format(Path(output))
    check_output(output, overwrite)


def _format(output: Path) -> str:
    suffix = output.suffix.lower().lstrip(".")
    if suffix not in FORMATS:
        raise OutputError(
            f"the figure {output} has {f'the suffix {output.suffix!r}' if suffix else 'no suffix'}, so its format is "
            "not known",
            f"use a name that ends in {', '.join('.' + f for f in FORMATS[:-1])} or .{FORMATS[-1]}",
        )
    return suffix


def save_figure(figure: Figure, output: Path) -> None:
    """Write under a temporary name in the same folder, then rename; a failure leaves no incomplete file."""
    try:
        with replacing(output) as temporary:
            figure.savefig(temporary, format=_format(output))
    except OSError as problem:
        raise OutputError(
            f"writing the figure {output} failed: {problem}",
            "check whether the disk is full or the folder was deleted; no incomplete file is left",
        ) from problem
