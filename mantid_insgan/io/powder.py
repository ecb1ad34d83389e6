"""From (detector, energy) to (|Q|, energy): averaging a powder measurement over its detectors."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..core.constants import HBAR2_OVER_2M
from ..core.merging import overlaps
from ..core.run import Run
from ..core.spectrum import FLAG_MAGNITUDE, Axis, Spectrum, even_bins
from ..errors import InputError, RunFactError
from .whole import WholeFile

#: Limits of the number of |Q| bins that is chosen if the number is not given.
DEFAULT_BINS = (16, 600)

#: Wanted energy bins are not narrower than this part of the narrowest of the file.
_SAME_WIDTH = 0.99
#: Nodes and weights (their sum is 1) of the quadrature over an energy bin: 3 points, exact to the fifth power.
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(3)
_WEIGHTS = _WEIGHTS / 2


@dataclass(frozen=True, eq=False)
class Pixels:
    """Intensity in detectors and energy bins.

    Parameters
    ----------
    signal, variance : ndarray, shape (n_detectors, n_energies)
        NaN, or |signal| of a flag, where a bin is masked.
    energy : ndarray, shape (n_energies + 1,)
        Edges of energy transfer, meV.
    polar, polar_width : ndarray, shape (n_detectors,)
        Scattering angle and its full extent, degrees.
    ei : float
        Incident energy, meV.
    """

    signal: np.ndarray
    variance: np.ndarray
    energy: np.ndarray
    polar: np.ndarray
    polar_width: np.ndarray
    ei: float

    @property
    def valid(self) -> np.ndarray:
        """Bins that were measured, shape (n_detectors, n_energies).

        A detector with signal and error 0 in every bin is masked: Mantid's MaskDetectors writes these values.
        """
        with np.errstate(invalid="ignore"):
            good = np.isfinite(self.signal) & np.isfinite(self.variance) & (self.variance >= 0)
            good &= np.abs(self.signal) < FLAG_MAGNITUDE
        dead = ((self.signal == 0) & (self.variance == 0)).all(axis=1)
        return good & ~dead[:, None] & np.isfinite(self.polar + self.polar_width)[:, None]

    def energies(self, bins: slice) -> Pixels:
        """The same in some of the energy bins."""
        edges = self.energy[bins.start : bins.stop + 1]
        return replace(self, signal=self.signal[:, bins], variance=self.variance[:, bins], energy=edges)

    def q(self, side: float, energy: np.ndarray) -> np.ndarray:
        """|Q| in 1/Angstrom at ``polar + side * polar_width``, shape (n_detectors, n_energies).

        ``|Q|^2 = ki^2 + kf^2 - 2 ki kf cos(2 theta)`` (Squires, Introduction to the Theory of Thermal Neutron
        Scattering, section 1.4). Above Ei, where kf would be imaginary, it is NaN.
        """
        angle = np.radians(np.clip(self.polar + side * self.polar_width, 0, 180))[:, None]
        ef = self.ei - np.asarray(energy, dtype=float)[None, :]
        ef = np.where(ef >= 0, ef, np.nan)
        return np.sqrt((self.ei + ef - 2 * np.sqrt(self.ei * ef) * np.cos(angle)) / HBAR2_OVER_2M)


def powder_spectrum(
    pixels: Pixels,
    *,
    q_bins: int | None = None,
    q_range: tuple[float, float] | None = None,
    energy_bins: int | None = None,
    energy_range: tuple[float, float] | None = None,
    run: Run,
    title: str = "",
) -> Spectrum:
    """Mean intensity over the detectors in bins of |Q|; the energy bins are those of the measurement.

    A pixel (one detector, one energy bin) covers a curved area of the (|Q|, E) plane. Each |Q|-E bin is the mean of the
    pixels that overlap it, weighted by the area of the overlap: exact along |Q|, by 3-point Gauss-Legendre quadrature
    along the energy bin. With weights w, ``signal = sum(w s) / sum(w)`` and ``variance = sum(w^2 v) / sum(w)^2``.
    ``num_events`` is the number of pixels in the bin, each counted by the fraction of it inside the bin. Neighbouring
    bins that share a pixel have correlated errors; the correlations are not stored.

    Parameters
    ----------
    pixels : Pixels
    q_bins : int, optional
        Number of |Q| bins. If not given, bins have the width that a typical detector covers at the elastic line,
        rounded to two digits, and edges that are multiples of it.
    q_range : (float, float), optional
        Lowest and highest |Q| in 1/Angstrom; the whole measured range if not given.
    energy_bins : int, optional
        Number of equal energy bins to rebin to first (overlap-weighted), for files with unequal energy bins.
    energy_range : (float, float), optional
        Lowest and highest energy transfer in meV: of these bins, or of those of the file whose centres lie inside.
    run : Run
    title : str

    Returns
    -------
    Spectrum
        Axes ``'|Q|'`` (1/Angstrom) and ``'DeltaE'`` (meV). Bins that no valid pixel overlaps are NaN.

    Raises
    ------
    InputError
        If the energy bins are unequal (except the first and the last, which are left out), all pixels are invalid, or
        the requested bins are invalid.
    RunFactError
        If Ei is not positive.
    """
    if not pixels.ei > 0:
        raise RunFactError(f"Ei is {pixels.ei:g} meV, expected a positive number", "give the incident energy with --ei")
    pixels = _ascending_energy(pixels)
    if energy_bins is not None:
        pixels = _rebin_energy(pixels, energy_bins, energy_range)
    elif energy_range is not None:
        pixels = pixels.energies(_within(pixels.energy, energy_range))
    even = even_bins(pixels.energy)
    run = run.noted(*note_on_even("energy", pixels.energy, even))
    pixels = pixels.energies(even)
    energy = Axis("DeltaE", pixels.energy, "meV")
    edges = _q_edges(pixels, q_bins, q_range)
    columns = [_average(pixels, j, edges) for j in range(len(energy))]
    signal, variance, number = (np.stack(part, axis=1) for part in zip(*columns, strict=True))
    return Spectrum(
        signal, variance, (Axis("|Q|", edges, "Angstrom^-1"), energy), num_events=number, run=run, title=title
    )


def note_on_even(axis: str, edges: np.ndarray, even: slice) -> tuple[str, ...]:
    """A note on a first or last bin that was left out because its width differs (`even_bins`)."""
    steps = np.diff(edges)
    left = [i for i in (0, steps.size - 1) if not even.start <= i < even.stop]
    if not left:
        return ()
    bins = " and ".join(f"{edges[i]:.6g} to {edges[i + 1]:.6g}" for i in left)
    return (f"the {axis} bin {bins} was left out: the others are {np.median(steps):.6g} wide",)


def _average(pixels: Pixels, j: int, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, its variance and the number of pixels in each |Q| bin, in the energy bin `j`."""
    low, high = pixels.energy[j : j + 2]
    at = 0.5 * (low + high) + 0.5 * (high - low) * _NODES
    use = pixels.valid[:, j]
    start, stop = pixels.q(-0.5, at)[use], pixels.q(0.5, at)[use]  # (n, 3)
    inside = np.isfinite(start) & np.isfinite(stop)
    start, stop = np.where(inside, start, 0.0), np.where(inside, stop, 0.0)  # no extent: no overlap
    n = edges.size - 1
    first = np.clip(np.searchsorted(edges, start.min(axis=1), side="right") - 1, 0, n)
    last = np.clip(np.searchsorted(edges, stop.max(axis=1), side="left"), 0, n)
    count = np.maximum(last - first, 0)
    pixel = np.repeat(np.arange(count.size), count)
    bin_ = np.arange(pixel.size) - np.repeat(np.cumsum(count) - count, count) + first[pixel]
    overlap = np.minimum(stop[pixel], edges[bin_ + 1][:, None]) - np.maximum(start[pixel], edges[bin_][:, None])
    weight = np.clip(overlap, 0, None) @ _WEIGHTS
    extent = (stop - start) @ _WEIGHTS
    total = np.bincount(bin_, weight, n)
    part = weight / np.where(extent > 0, extent, 1)[pixel]
    signal = np.bincount(bin_, weight * pixels.signal[use, j][pixel], n)
    variance = np.bincount(bin_, weight**2 * pixels.variance[use, j][pixel], n)
    with np.errstate(invalid="ignore"):
        return (
            signal / np.where(total > 0, total, np.nan),
            variance / np.where(total > 0, total, np.nan) ** 2,
            (np.bincount(bin_, part, n)),
        )


def _ascending_energy(pixels: Pixels) -> Pixels:
    if pixels.energy[0] <= pixels.energy[-1]:
        return pixels
    return Pixels(
        pixels.signal[:, ::-1],
        pixels.variance[:, ::-1],
        pixels.energy[::-1],
        pixels.polar,
        pixels.polar_width,
        pixels.ei,
    )


def _within(edges: np.ndarray, limits: tuple[float, float]) -> slice:
    """The bins whose centres lie inside a range."""
    centers = 0.5 * (edges[1:] + edges[:-1])
    inside = np.flatnonzero((centers >= limits[0]) & (centers <= limits[1]))
    if inside.size == 0:
        raise InputError(
            f"no energy bin has its centre between {limits[0]:g} and {limits[1]:g} meV; they run from {edges[0]:g} to "
            f"{edges[-1]:g}",
            "give a range inside these (--energy-range)",
        )
    return slice(int(inside[0]), int(inside[-1]) + 1)


def _rebin_energy(pixels: Pixels, count: int, limits: tuple[float, float] | None) -> Pixels:
    if count < 1 or np.diff(pixels.energy).min() <= 0:
        raise InputError(
            f"{count} energy bins cannot be made of edges from {pixels.energy[0]:g} to {pixels.energy[-1]:g} meV",
            "give a positive number of bins, and energies that ascend",
        )
    finest = np.diff(pixels.energy).min()
    span = limits or (pixels.energy[0], pixels.energy[-1])
    if (span[1] - span[0]) / count < _SAME_WIDTH * finest:
        raise InputError(
            f"{count} energy bins from {span[0]:g} to {span[1]:g} meV were requested (--energy-bins), and those of the "
            f"file are {finest:.4g} meV wide or more",
            f"give at most {max(1, int((span[1] - span[0]) / finest))}: bins can be merged, not divided",
        )
    new = np.linspace(*span, count + 1)
    overlap = overlaps(pixels.energy, new)
    valid = pixels.valid
    total = valid @ overlap
    total[total == 0] = np.nan
    signal = np.where(valid, pixels.signal, 0) @ overlap / total
    variance = np.where(valid, pixels.variance, 0) @ overlap**2 / total**2
    return Pixels(signal, variance, new, pixels.polar, pixels.polar_width, pixels.ei)


def _q_edges(pixels: Pixels, bins: int | None, limits: tuple[float, float] | None) -> np.ndarray:
    valid = pixels.valid
    centers = 0.5 * (pixels.energy[1:] + pixels.energy[:-1])
    low, high = pixels.q(-0.5, centers), pixels.q(0.5, centers)
    measured = valid & np.isfinite(low) & np.isfinite(high)
    if not measured.any():
        raise InputError(
            "no detector has a valid bin (NaN, flagged, or above Ei everywhere)",
            "check the mask and the Ei of the reduction",
        )
    if bins is not None and bins < 1 or limits is not None and not 0 <= limits[0] < limits[1]:
        raise InputError(
            f"{bins} bins in the range {limits} were requested", "give a positive number of bins and 0 <= low < high"
        )
    start, stop = limits or (low[measured].min(), high[measured].max())
    if bins is not None:
        return np.linspace(start, stop, bins + 1)
    elastic = pixels.q(0.5, np.zeros(1)) - pixels.q(-0.5, np.zeros(1))
    width = float(f"{np.median(elastic[measured.any(axis=1)]):.2g}")
    width = float(np.clip(width, (stop - start) / DEFAULT_BINS[1], (stop - start) / DEFAULT_BINS[0]))
    if limits is not None:
        return np.linspace(start, stop, round((stop - start) / width) + 1)
    return width * np.arange(np.floor(start / width), np.ceil(stop / width) + 1)


def width_from_neighbours(polar: np.ndarray) -> np.ndarray:
    """Angular extent, degrees, of detectors that tile the scattering angle: to the midpoint between neighbours.

    Next to a gap (wider than 1.5 times the median spacing) a detector extends no farther than half of that width.
    """
    distinct, place = np.unique(np.round(polar, 3), return_inverse=True)
    if distinct.size < 2:
        return np.full(polar.shape, np.nan)
    gaps = np.diff(distinct)
    gaps = np.minimum(gaps, 1.5 * np.median(gaps))
    return 0.5 * (np.r_[gaps[0], gaps] + np.r_[gaps, gaps[-1]])[place]


class PowderFile(WholeFile):
    """A powder measurement averaged to (|Q|, energy), with the interface of `SpectrumFile`; kind 'nxspe' or
    'workspace2d'."""
