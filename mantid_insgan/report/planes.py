"""The parts of a spectrum that a figure shows: planes, cuts and means, and the position of the elastic line.

A "plane" is a Spectrum of two axes, first the horizontal, then the vertical one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from ..core.spectrum import Axis, Spectrum

#: If the elastic line is this many times as high as the inelastic peaks, a compressed scale is used.
_DWARFS = 8.0


def plane_of(spectrum: Spectrum, across: int, up: int, at: Mapping[int, int]) -> Spectrum:
    """The plane of two axes at the bins `at` of the other axes."""
    index = tuple(slice(None) if i in (across, up) else at[i] for i in range(spectrum.ndim))
    signal, variance, valid = (x[index] for x in (spectrum.signal, spectrum.variance, spectrum.valid))
    if across > up:
        signal, variance, valid = signal.T, variance.T, valid.T
    return Spectrum(signal, variance, (spectrum.axes[across], spectrum.axes[up]), valid=valid)


def _momenta(spectrum: Spectrum) -> list[int]:
    """Indices of the momentum axes, the one with most bins first."""
    energy = spectrum.energy_axis
    return sorted((i for i in range(spectrum.ndim) if i != energy), key=lambda i: (-len(spectrum.axes[i]), i))


def mapped_pairs(spectrum: Spectrum) -> list[tuple[int, int]]:
    """Pairs of axes (across, up) to draw as maps: three at most, the most informative first."""
    longest = _momenta(spectrum)
    if spectrum.energy_axis is None:
        return list(combinations(sorted(longest[:3]), 2))
    upward = [(i, spectrum.energy_axis) for i in longest[:2]]
    return upward + list(combinations(sorted(longest[:2]), 2))


def middle_bins(spectrum: Spectrum) -> dict[int, int]:
    """For each axis the measured bin nearest to its middle, or the middle bin if none was measured."""
    bins = {}
    for i in range(spectrum.ndim):
        others = tuple(j for j in range(spectrum.ndim) if j != i)
        measured = np.flatnonzero(spectrum.valid.any(axis=others))
        middle = spectrum.shape[i] // 2
        bins[i] = int(measured[np.abs(measured - middle).argmin()]) if measured.size else middle
    return bins


def as_one_row(spectrum: Spectrum) -> Spectrum:
    """A spectrum of one axis as a plane of one row."""
    row = Axis("", (0.0, 1.0), "")
    signal, variance, valid = (x[np.newaxis] for x in (spectrum.signal, spectrum.variance, spectrum.valid))
    return Spectrum(signal, variance, (row, spectrum.axes[0]), valid=valid)


def mean_along(spectrum: Spectrum, keep: int) -> Spectrum:
    """Mean along one axis over the valid bins of all others, its variance from error propagation."""
    others = tuple(i for i in range(spectrum.ndim) if i != keep)
    count = spectrum.valid.sum(axis=others)
    signal = spectrum.signal.sum(axis=others, where=spectrum.valid)
    variance = spectrum.variance.sum(axis=others, where=spectrum.valid)
    some = np.maximum(count, 1)
    return Spectrum(signal / some, variance / some**2, (spectrum.axes[keep],), valid=count > 0)


def elastic_rows(plane: Spectrum) -> np.ndarray:
    """The energy bins of a plane that belong to the elastic line and its tails, shape (n,), bool."""
    energy, rows = plane.axes[1], np.zeros(plane.shape[1], bool)
    profile = mean_along(plane, 1)
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


def dwarfed_height(planes: Sequence[Spectrum]) -> float | None:
    """Height of the inelastic peaks if the elastic line is much higher, otherwise None.

    The height is the 90th percentile over the energies of the 98th percentile at each energy, so that a few rows of
    spurious counts (the next pulse at the end of the range) have no effect.
    """
    elastic, inelastic = [], []
    for plane in planes:
        for row, is_elastic in enumerate(elastic_rows(plane)):
            values = plane.signal[plane.valid[:, row], row]
            if values.size:
                (elastic if is_elastic else inelastic).append(np.percentile(values, 98))
    if not (elastic and inelastic):
        return None
    height = float(np.percentile(inelastic, 90))
    return height if height > 0 and max(elastic) > _DWARFS * height else None
