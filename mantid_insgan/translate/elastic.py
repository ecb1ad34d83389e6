"""The elastic line of measured data: fitted, kept apart from what is deconvolved, and put back at the target's
resolution.

Beside a line that is a thousand times the signal, a deconvolution undershoots and rings. The line is therefore fitted
and subtracted, the bins nearest to it are hidden from the network, and afterwards the line of the target's resolution
is added.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..core.spectrum import Spectrum, energy_axis, frozen, per_event
from ..instruments.instrument import Resolution
from .line_shape import CORE_PARTS, LineParts, LineShape, fwhm_of
from .line_width import LineWidth, line_width
from .translator import Quality
from .trust import normal_deviations, widened

#: How well a line is known: what is left of it after the subtraction, relative to it (for the networks' training too).
LEFT_OF_LINE = 0.03
#: How far from the line bins are hidden from the network, in FWHM: a distance between these (for training too).
LEFT_OUT = (1.0, 2.5)

#: Half of the energy range of the fit, and of the part that only the line decides, in FWHM.
_REACH, _CORE = 5.0, 1.0
#: Largest distance of a line from E = 0, in FWHM.
_MOST_SHIFT = 0.35
#: Largest share of the energies that is hidden.
_MOST_HIDDEN = 0.8
#: Groups of columns from whose median the shape is fitted.
_GROUPS = 16
#: A line's amplitude is at least so many of its standard errors; its peak so many times the background below it; what
#: the fit leaves near the peak at most this share of it, and its FWHM at most so many times that calculated.
_SIGNIFICANT, _ABOVE, _MISFIT, _WIDEST = 5.0, 3.0, 0.3, 1.6
#: How much the wings of one column may differ from those of the whole spectrum, relative to them.
_WINGS = 1.0
#: How far the line of one column may lie from that of the whole spectrum, in FWHM.
_MOVED = 0.1


@dataclass(frozen=True)
class _Fitted:
    """Fitted lines of C columns: amplitudes of the four profiles (C, 4), their covariance (C, 4, 4), the background
    at the line (C,), and what is left near the peak relative to the line (C,)."""

    amplitude: np.ndarray
    covariance: np.ndarray
    background: np.ndarray
    misfit: np.ndarray

    @property
    def significant(self) -> np.ndarray:
        """Columns with a line, bool (C,)."""
        return self.amplitude[:, 0] > _SIGNIFICANT * np.sqrt(self.covariance[:, 0, 0])


class ElasticLines:
    """The elastic line of one spectrum; `look_for_lines` fits it.

    Parameters
    ----------
    resolution : Resolution
        Of the data.
    line : LineParts
        Of that resolution.
    shape : LineShape

    Attributes
    ----------
    fwhm : float
        Of the line as fitted, meV.
    columns, found : int
        Momentum bins seen by `apart` so far that were measured at the line, and those that have one.
    """

    def __init__(self, resolution: Resolution, line: LineParts, shape: LineShape):
        self.resolution, self.line, self.shape = resolution, line, shape
        self.fwhm = fwhm_of(line, shape)
        self.columns = self.found = 0

    def note(self) -> str:
        """What was done, for the user."""
        return (
            f"the elastic line (FWHM {self.fwhm:.2g} meV) was fitted and kept apart in {self.found} of {self.columns} "
            f"columns: within {self.shape.hidden:.2g} meV of it only the line has the resolution of the result, and "
            "all else is as measured"
        )

    def apart(self, spectrum: Spectrum) -> tuple[Spectrum, Kept | None]:
        """The spectrum that a network is to see, and what was taken from it (`Kept`).

        The line is subtracted, and the variance (unless it is 0) raised by what is not known of it; bins near the line
        are not valid. If they were nearly all (`_MOST_HIDDEN`), the spectrum is returned as it is, without a `Kept`.
        """
        axis = spectrum.axes[spectrum.energy_axis]
        near = np.abs(axis.centers - self.shape.shift) <= self.shape.hidden + 0.5 * axis.width
        seen = spectrum.valid & ~_along_energy(near, spectrum)
        if near.mean() > _MOST_HIDDEN:
            return spectrum, None
        profiles = self.shape.profiles(self.line, axis.edges)
        signal, variance, valid = (_columns(x, spectrum) for x in (spectrum.signal, spectrum.variance, spectrum.valid))
        window = _inside(axis.centers, _REACH * self.line.fwhm)
        parts = (x[:, window] for x in (signal, variance, valid))
        covered, fitted = _fit_columns(*parts, axis.centers[window], profiles[:, window], self.shape.shift, self.fwhm)
        here = covered & fitted.significant
        self.columns += int(covered.sum())
        self.found += int(here.sum())
        kept = Kept(self, spectrum, seen, fitted.amplitude * here[:, None], fitted.misfit, profiles)
        line = kept.line(profiles)
        unknown = np.einsum("cpq,pk,qk->ck", fitted.covariance * here[:, None, None], profiles, profiles, optimize=True)
        # Without an error a bin stays: it counted nothing, or is exact.
        unknown = np.where(variance > 0, np.maximum(unknown, 0.0) + (LEFT_OF_LINE * line) ** 2, 0.0)
        left, wider = (_from_columns(x, spectrum) for x in (signal - line, variance + unknown))
        found = {"signal": frozen(left), "variance": frozen(wider), "deviations": spectrum.deviations}
        return spectrum.replace(**found, valid=seen), kept


@dataclass(frozen=True)
class Kept:
    """What `ElasticLines.apart` took from a spectrum.

    Parameters
    ----------
    lines : ElasticLines
    spectrum : Spectrum
        As it was.
    seen : ndarray of bool, shape of the spectrum
        Bins that the network sees.
    amplitude : ndarray, shape (C, 4)
        Of the four profiles in each column, 0 where there is no line.
    misfit : ndarray, shape (C,)
        What the fit leaves near the peak of each column, relative to it.
    profiles : ndarray, shape (4, K)
        At the resolution of the data.
    """

    lines: ElasticLines
    spectrum: Spectrum
    seen: np.ndarray
    amplitude: np.ndarray
    misfit: np.ndarray
    profiles: np.ndarray

    def line(self, profiles: np.ndarray) -> np.ndarray:
        """The line of each column, shape (C, K)."""
        return np.maximum(self.amplitude @ profiles, 0.0)

    def put_back(self, result: Spectrum, target: Resolution | None) -> Spectrum:
        """The result of a network with the line at the target's resolution.

        Bins that the network did not see come back as data less the line plus that of the target, with the errors of
        the data and of the difference of the two lines: the larger of `LEFT_OF_LINE` and what the fit leaves. Their
        intervals are those of a normal distribution with these errors; elsewhere the ends move with the signal.

        Parameters
        ----------
        result : Spectrum
            Of the spectrum that `ElasticLines.apart` gave.
        target : Resolution or None
            Of the result; None is no resolution: the line lies in the bin that holds E = 0.
        """
        data, lines = self.spectrum, self.lines
        edges = data.axes[data.energy_axis].edges
        if target is None:
            profiles = lines.shape.sharp(lines.resolution, edges)
        else:
            profiles = lines.shape.profiles(LineParts(target, lines.resolution), edges)
        old, new = self.line(self.profiles), self.line(profiles)
        # The intensity of the line is kept where its place, which differs between columns, would cost some.
        total = new.sum(axis=1, keepdims=True)
        new *= np.divide(old.sum(axis=1, keepdims=True), total, out=np.zeros_like(total), where=total > 0)
        unknown = np.maximum(self.misfit, LEFT_OF_LINE)[:, None] * (new - old)
        added, changed, unknown = (_from_columns(x, data) for x in (new, new - old, unknown))
        signal = np.where(self.seen, result.signal + added, data.signal + changed)
        least = 1e-9 * np.abs(data.signal[data.valid]).max(initial=0.0)  # an error is never zero
        own = np.maximum(data.variance + unknown**2, least**2)
        variance = np.where(self.seen, result.variance + (LEFT_OF_LINE * added) ** 2, own)
        found = {"signal": signal, "variance": variance}
        if result.deviations is not None:
            ends = widened(result.deviations, LEFT_OF_LINE * added)
            found["deviations"] = np.where(self.seen, ends, normal_deviations(np.sqrt(own)))
        return data.replace(**{name: frozen(np.where(data.valid, x, np.nan)) for name, x in found.items()})


def find_lines(source, resolution: Resolution, regions=None) -> ElasticLines | None:
    """The elastic line of a spectrum, as `look_for_lines` finds it; None if there is none."""
    return look_for_lines(source, resolution, regions)[0]


def look_for_lines(source, resolution: Resolution, regions=None) -> tuple[ElasticLines | None, LineWidth | None]:
    """Fit the shape of the elastic line of a spectrum, and its width.

    Columns in energy are summed to groups of neighbours; the shape is fitted to the median of the groups, so that a
    mode that crosses some of them does not count, with a linear background. Fitted to each group, it has to be
    significant, above the background and of the measured shape in at least half of those that were measured: a mode
    that reaches E = 0 at some momenta is no line. Bragg peaks of a crystal without any incoherent scattering are
    therefore none either.

    Parameters
    ----------
    source : Spectrum or open file
        Intensities; those of a file are divided by their events where it is normalised so.
    resolution : Resolution
    regions : sequence of tuple of slice, optional
        Those in which a file is read; of each only the energies near 0.

    Returns
    -------
    ElasticLines or None
        None if there is no line, it is far wider than calculated, or the energies do not show whether there is one:
        they must reach a FWHM to either side of E = 0, in bins no wider than that.
    LineWidth or None
        The width of a peak at E = 0 that half of the groups have; that of a line which is too wide to be kept apart
        is told, too.
    """
    number = energy_axis(source.axes)
    if number is None or source.axes[number].integrated:
        return None, None
    axis, fwhm = source.axes[number], float(resolution.fwhm_energy(0.0))
    if axis.width > fwhm or max(axis.edges[0], -axis.edges[-1]) > -_CORE * fwhm:
        return None, None
    bins = _inside(axis.centers, _REACH * fwhm)
    axis = axis.slice(bins.start, bins.stop)
    core = np.abs(axis.centers) <= _CORE * fwhm
    signal, variance, valid = _grouped(_near_zero(source, number, bins, regions), core)
    line = LineParts(resolution)
    middle = _median(signal, variance, valid, axis.centers, line.fwhm) if len(signal) else None
    if middle is None:
        return None, None
    width = line_width(middle.energy, middle.signal, middle.error, axis.width, resolution)
    shape = _fit_shape(middle, axis, line)
    if shape is None or fwhm_of(line, shape) > _WIDEST * line.fwhm:
        return None, width
    lines = ElasticLines(resolution, line, shape)
    profiles = shape.profiles(line, axis.edges)
    covered, fitted = _fit_columns(signal, variance, valid, axis.centers, profiles, shape.shift, lines.fwhm)
    good = covered & fitted.significant & (fitted.misfit < _MISFIT)
    good &= fitted.amplitude[:, 0] * profiles[0].max() > _ABOVE * np.abs(fitted.background)
    return (lines, width) if good.any() and good.sum() >= 0.5 * covered.sum() else (None, width)


def kept_apart(lines: ElasticLines | None, spectrum: Spectrum, target: Resolution | None, translate):
    """A spectrum translated with its elastic line kept apart.

    Parameters
    ----------
    lines : ElasticLines or None
        None: there is no line.
    spectrum : Spectrum
        All of it, or a part.
    target : Resolution or None
        Of the result; None is no resolution.
    translate : callable
        Gives the result and its `Quality` for a spectrum.

    Returns
    -------
    Spectrum, Quality
        The sums of the quality count all bins, and intensity with the line.
    """
    seen, kept = (spectrum, None) if lines is None else lines.apart(spectrum)
    if kept is None:
        return translate(seen)
    result, quality = translate(seen) if seen.valid.any() else (seen, Quality())
    result = kept.put_back(result, target)
    quality.bins = int(spectrum.valid.sum())
    quality.flux_in, quality.flux_out = (float(s.signal[spectrum.valid].sum()) for s in (spectrum, result))
    return result, quality


def _inside(centres: np.ndarray, half: float) -> slice:
    """The bins within `half` of 0."""
    inside = np.flatnonzero(np.abs(centres) <= half)
    return slice(int(inside[0]), int(inside[-1]) + 1)


def _near_zero(source, number: int, bins: slice, regions):
    """Columns (C, K) of signal, variance and valid in the energy bins `bins`, and the group of each, part by part."""
    momenta = [n for i, n in enumerate(source.shape) if i != number]
    size = math.prod(momenta)
    groups = (np.arange(size) * min(_GROUPS, size) // size).reshape(momenta)
    for region in regions or [None]:
        if region is None:
            part, chosen = source, tuple(bins if i == number else slice(None) for i in range(source.ndim))
            here = groups
        else:
            part = per_event(source.read(tuple(bins if i == number else r for i, r in enumerate(region))))
            chosen = (slice(None),) * part.ndim
            here = groups[tuple(r for i, r in enumerate(region) if i != number)]
        columns = (
            np.moveaxis(x[chosen], number, -1).reshape(-1, bins.stop - bins.start)
            for x in (part.signal, part.variance, part.valid)
        )
        yield *columns, here.ravel()


def _grouped(parts, core: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Signal, variance and valid of the groups: means over the columns of each that are whole in the `core`, (G, K),
    without groups that have none. They are the same for any division into `parts`."""
    sums = np.zeros((3, _GROUPS, core.size))
    for signal, variance, valid, groups in parts:
        members = (groups == np.arange(_GROUPS)[:, None]) & valid[:, core].all(axis=1)
        for total, values in zip(sums, (signal, variance, np.ones(())), strict=True):
            total += members.astype(float) @ np.where(valid, values, 0.0)
    signal, variance, number = sums[:, sums[2][:, core].any(axis=1)]
    known = np.maximum(number, 1.0)
    return signal / known, variance / known**2, number > 0


class _Median(NamedTuple):
    """The line of a whole spectrum, relative to its height: the bins that have it (K,), and of these energy in meV,
    signal, and standard error."""

    use: np.ndarray
    energy: np.ndarray
    signal: np.ndarray
    error: np.ndarray


def _median(signal, variance, valid, energy, fwhm: float) -> _Median | None:
    """The median of groups (G, K), each divided by its height near E = 0; None if fewer than half have any there."""
    core = np.abs(energy) <= 0.5 * _CORE * fwhm
    height = np.where(valid, signal, 0.0)[:, core].mean(axis=1)
    error = np.sqrt(variance[:, core].sum(axis=1)) / core.sum()
    there = height > np.maximum(_SIGNIFICANT * error, 0.0)
    if not there.any() or there.sum() < 0.5 * len(height):
        return None
    use = valid[there].any(axis=0)
    scaled, spread = (np.where(valid, x, np.nan)[there][:, use] for x in (signal, variance))
    height = height[there, None]
    middle = _lower(scaled / height, np.abs(energy[use]) / fwhm)
    spread = np.nanmean(spread / height**2, axis=0) / there.sum()
    return _Median(use, energy[use], middle, np.sqrt(spread + (LEFT_OF_LINE * middle) ** 2 + 1e-10))


def _fit_shape(middle: _Median, axis, line: LineParts) -> LineShape | None:
    """The shape of the line of a whole spectrum."""
    from scipy.optimize import minimize_scalar, nnls

    use, sigma = middle.use, middle.error
    along = np.linspace(0.0, 1.0, use.sum())
    background = np.stack([np.ones_like(along), along, 1.0 - along])
    tails = line.tails(axis.edges)

    def solved(shift: float) -> tuple[np.ndarray, float]:
        terms = np.concatenate([line.parts(axis.edges, shift, tails=tails)[:, use], background])
        return nnls((terms / sigma).T, middle.signal / sigma)

    most = _MOST_SHIFT * line.fwhm
    found = minimize_scalar(
        lambda shift: solved(shift)[1], bounds=(-most, most), method="bounded", options={"xatol": 0.02 * line.fwhm}
    )
    shift = float(found.x)
    weights = solved(shift)[0][: -len(background)]
    if not weights[:CORE_PARTS].sum() > 0:
        return None
    # How far away what is left of the line is small beside the rest: there the network can see the data.
    calculated, away = (
        weights @ line.parts(axis.edges, shift, tails=tails)[:, use],
        np.abs(axis.centers[use] - shift) / line.fwhm,
    )
    rest = np.abs(middle.signal[away > LEFT_OUT[1]])
    loud = away[LEFT_OF_LINE * calculated > 0.1 * (np.median(rest) if rest.size else 0.0)]
    hidden = float(np.clip(loud.max(initial=0.0), *LEFT_OUT))
    return LineShape(weights / weights.sum(), shift, hidden * line.fwhm, _MOVED * line.fwhm)


def _lower(values: np.ndarray, away: np.ndarray) -> np.ndarray:
    """The median of groups (G, K) near the line, and their lower quartile far from it (`away`, FWHM), where the other
    half may have a mode."""
    ordered = np.sort(values, axis=0)  # NaN last
    last = np.isfinite(values).sum(axis=0) - 1

    def quantile(which: float) -> np.ndarray:
        below = np.floor(which * last).astype(int)
        above = np.minimum(below + 1, last)
        low, high = (np.take_along_axis(ordered, i[None], axis=0)[0] for i in (below, above))
        return low + (which * last - below) * (high - low)

    quartile, median = quantile(0.25), quantile(0.5)
    share = np.clip(2 * (away - _CORE), 0.0, 1.0)
    return share * quartile + (1 - share) * median


def _fit_columns(signal, variance, valid, energy, profiles, shift: float, fwhm: float) -> tuple[np.ndarray, _Fitted]:
    """Amplitudes in each column (C, K): whether it was measured at the line, bool (C,), and the fit.

    Linear least squares of the line, its wings (whose share is known to `_WINGS`) and a linear background, each bin
    weighted by its error and by how well a line is known.
    """
    core = np.abs(energy - shift) <= 0.5 * fwhm
    core |= np.abs(energy - shift) == np.abs(energy - shift).min()
    covered = valid[:, core].mean(axis=1) > 0.8
    known = np.where(valid & covered[:, None], 1.0, 0.0)
    signal, variance = (np.where(known > 0, x, 0.0) for x in (signal, variance))
    line = profiles[0]
    first = ((signal * core) @ line) / np.maximum((known * core) @ line**2, 1e-300)
    first = np.maximum(np.where(covered, first, 0.0), 0.0)
    size = np.sqrt((signal**2).sum(axis=1) / np.maximum(known.sum(axis=1), 1.0))
    size[size == 0] = 1.0
    error = variance + (LEFT_OF_LINE * first[:, None] * line) ** 2 + (1e-6 * size[:, None]) ** 2
    # In units of the column's size, so that sums of squares are of order 1.
    weight = known * (size[:, None] ** 2 / error)
    terms = np.concatenate([profiles, [np.full(energy.size, line.max()), line.max() * (energy - shift) / fwhm]])
    matrix = np.einsum("ck,pk,qk->cpq", weight, terms, terms, optimize=True)
    # Wings and place: those of the whole spectrum, within limits.
    others = np.arange(1, 4)
    known_to = np.array([_WINGS, _WINGS, 0.5]) * (first / size)[:, None]
    matrix[:, others, others] += 1.0 / np.maximum(known_to**2, 1e-12)
    least = 1e-12 * (1.0 + np.einsum("cpp->c", matrix))
    matrix += least[:, None, None] * np.eye(len(terms))
    right = (weight * signal / size[:, None]) @ terms.T
    inverse = np.linalg.inv(matrix)
    found = np.einsum("cpq,cq->cp", inverse, right) * size[:, None]
    left = (signal - found @ terms) * known * core
    peak = np.sqrt((((found[:, :1] * line) * known * core) ** 2).sum(axis=1)) + 1e-300
    misfit = np.sqrt((left**2).sum(axis=1)) / peak
    covariance = inverse[:, :4, :4] * size[:, None, None] ** 2
    return covered, _Fitted(found[:, :4], covariance, found[:, 4] * line.max(), misfit)


def _columns(values: np.ndarray, spectrum: Spectrum) -> np.ndarray:
    """From the shape of the spectrum to columns in energy, (C, K)."""
    axis = spectrum.energy_axis
    return np.moveaxis(values, axis, -1).reshape(-1, spectrum.shape[axis])


def _from_columns(values: np.ndarray, spectrum: Spectrum) -> np.ndarray:
    axis = spectrum.energy_axis
    rest = [n for i, n in enumerate(spectrum.shape) if i != axis]
    return np.ascontiguousarray(np.moveaxis(values.reshape(*rest, -1), -1, axis))


def _along_energy(values: np.ndarray, spectrum: Spectrum) -> np.ndarray:
    return values.reshape([-1 if i == spectrum.energy_axis else 1 for i in range(spectrum.ndim)])
