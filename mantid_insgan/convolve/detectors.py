"""Properties of a grid that simulated experiments need: |Q| of every bin, the elastic line and the powder lines of
aluminium as recorded."""

from __future__ import annotations

import math
from functools import cached_property, lru_cache

import numpy as np

from ..instruments import Resolution
from ..instruments.elastic_line import ElasticLine
from ..instruments.table import covariance_of_modulus
from ..models.sampling import quasi_random
from .bins import Bins

#: Lattice parameter of aluminium at 295 K, Angstrom (International Tables; fcc, one atom on each lattice point).
ALUMINIUM_CELL = 4.0495


#: Mean-square displacement along one direction of aluminium at 295 K, Angstrom^2 (B = 8 pi^2 u^2 = 0.86 Angstrom^2).
ALUMINIUM_DISPLACEMENT = 0.86 / (8 * np.pi**2)


#: Places across a momentum bin at which backgrounds are worked out.
_ACROSS_BIN = 16


class Detectors:
    """Properties that depend only on the grid and the resolution, calculated once for any number of draws.

    Arrays are columns in energy as in `Bins`: (momentum bins, energies).

    Parameters
    ----------
    bins : Bins

    Attributes
    ----------
    edges, centres : ndarray, shape (K + 1,) and (K,)
        Edges and centres of the energy bins, meV.
    reachable : ndarray of bool, shape (M, K)
    modulus : ndarray, shape (M, K), or (M, 1) where Q does not depend on the energy
        |Q| at the centre of every bin, 1/Angstrom.
    kf : ndarray, shape (K,)
        Final wavevectors, 1/Angstrom.
    """

    def __init__(self, bins: Bins):
        self.resolution = bins.resolution
        self.edges, self.centres = bins.energy.edges, bins.energy.centers
        self.reachable = bins.reachable
        self.modulus = _modulus_in_bins(bins)
        self.kf = bins.resolution.beam.kf(self.centres)
        across = modulus_across(bins)
        # Half the memory: the spread across a bin is small beside |Q|, so that single precision keeps |Q| to 1e-8.
        self._middle = across.mean(axis=1)
        self._spread = (across - self._middle[:, None]).astype(np.float32)

    @property
    def shape(self) -> tuple[int, int]:
        """Momentum bins and energies."""
        return self.reachable.shape

    def exposure(self, at_zero: float) -> np.ndarray:
        """Expected counts per unit of S, shape (K,), if they are `at_zero` at E = 0.

        The counts are proportional to kf/ki S (Squires, ch. 1): the exposure decreases with energy transfer.
        """
        return at_zero * self.kf / self.resolution.beam.ki

    @property
    def across(self) -> np.ndarray:
        """|Q| of elastic scattering at points across each momentum bin, shape (M, points), 1/Angstrom."""
        return self._middle[:, None] + self._spread

    @property
    def nbytes(self) -> int:
        """Memory of the arrays in bytes."""
        return sum(value.nbytes for value in vars(self).values() if isinstance(value, np.ndarray))

    @cached_property
    def line(self) -> RecordedLine:
        """The elastic line in these energy bins."""
        return self.line_at((1.0, 1.0))

    def line_at(self, sharpness: tuple[float, float]) -> RecordedLine:
        """The elastic line as a finer spectrometer would record it (`Resolution.sharpened`); worked out once."""
        if sharpness not in self._lines:
            self._lines[sharpness] = RecordedLine(self.resolution.sharpened(*sharpness), self.edges)
        return self._lines[sharpness]

    def aluminium_at(self, times: float) -> np.ndarray:
        """Powder lines of aluminium in each momentum bin, shape (M,), so many times finer than recorded; worked out
        once. Infinity is without the resolution."""
        if times not in self._rings:
            self._rings[times] = aluminium_lines(self.resolution, self.across, times=times).mean(axis=1)
        return self._rings[times]

    @cached_property
    def _lines(self) -> dict[tuple[float, float], RecordedLine]:
        return {}

    @cached_property
    def _rings(self) -> dict[float, np.ndarray]:
        return {}


class RecordedLine:
    """The elastic line with its tail in energy bins: area 1, mean over the bin, 1/meV.

    The line has the shapes of pulse and pixel (`ElasticLine`), including the tail of the moderator. A neutron that is
    scattered again in the sample environment travels an additional path l (exponential, mean `tail_path`); it arrives
    late and is recorded at E = Ei (1 - (L2 / (L2 + l))^2), with L2 from sample to detector: a tail at energy loss.

    Parameters
    ----------
    resolution : Resolution
    edges : ndarray, shape (K + 1,)
        meV.

    Attributes
    ----------
    fwhm : float
        Of the resolution at E = 0, meV.
    """

    def __init__(self, resolution: Resolution, edges: np.ndarray):
        line = ElasticLine(resolution)
        reach = 8.0 * line.fwhm()
        offsets = np.linspace(-reach, reach, 801)
        weights = line(offsets)
        weights /= weights.sum()
        step = offsets[1] - offsets[0]
        cumulated = np.concatenate([[0.0], np.cumsum(weights)])
        below = np.interp(edges, np.append(offsets, offsets[-1] + step) - 0.5 * step, cumulated)
        self._resolution, self._edges = resolution, edges
        self._line = np.diff(below) / np.diff(edges)
        self._offsets, self._weights = offsets[::8], np.add.reduceat(weights, np.arange(0, 801, 8))
        self.fwhm = float(resolution.fwhm_energy(0.0))

    def recorded(self, tail: float, tail_path: float) -> np.ndarray:
        """The recorded line, shape (K,), with the fraction `tail` of its intensity in the tail."""
        return self._with_tail(self._line, tail, tail_path, self._offsets, self._weights)

    def sharp(self, tail: float, tail_path: float) -> np.ndarray:
        """The same without the resolution, shape (K,): the line is in the bin that contains E = 0."""
        inside = (self._edges[:-1] <= 0) & (self._edges[1:] > 0)
        return self._with_tail(inside / np.diff(self._edges), tail, tail_path, np.zeros(1), np.ones(1))

    def _with_tail(self, line, tail: float, tail_path: float, offsets, weights) -> np.ndarray:
        """`line` with the tail of a line given by `weights` at `offsets`."""
        if not tail:
            return line
        below = delayed_share(self._edges - offsets[:, None], self._resolution, tail_path)
        delayed = (weights[:, None] * np.diff(below, axis=1)).sum(axis=0) / np.diff(self._edges)
        return (1 - tail) * line + tail * delayed


def delayed_share(energy: np.ndarray, resolution: Resolution, tail_path: float) -> np.ndarray:
    """Fraction of the delayed neutrons recorded below an energy (meV)."""
    left = np.clip(1 - energy / resolution.ei, 1e-6, 1.0)
    path = resolution.beam.sample_detector * (1 / np.sqrt(left) - 1)
    return -np.expm1(-path / tail_path)


def aluminium_lines(resolution: Resolution, modulus: np.ndarray, *, times: float = 1.0) -> np.ndarray:
    """Debye-Scherrer lines of aluminium at |Q| in 1/Angstrom, relative to the recorded peak of (111).

    S of a powder is the sum over reflections of multiplicity x exp(-Q^2 u^2) delta(Q - tau) / tau^2 (Squires, ch. 3;
    one atom on each lattice point of an fcc lattice, so h, k, l all even or all odd). Each line has the width in |Q|
    of the elastic resolution.

    Parameters
    ----------
    resolution : Resolution
    modulus : ndarray
        Any shape; with `times` above 1, (M, points): points across each of M bins.
    times : float
        Lines of the same area, so many times narrower (infinity: without the resolution), but no narrower than the
        points allow: their standard deviation is at least half that of |Q| across the bin, and a twentieth of that of
        the resolution.

    Returns
    -------
    ndarray, shape of `modulus`
    """
    tau, weight = _aluminium_reflections(2 * resolution.beam.ki)
    if not tau.size:
        return np.zeros(modulus.shape)
    sigma = np.sqrt(covariance_of_modulus(resolution, tau, np.zeros(tau.size))[:, 0, 0])
    height = weight / sigma
    order = np.argsort(modulus, axis=None)
    sorted_modulus, profile = modulus.ravel()[order], np.zeros(modulus.size)
    least = 0.0
    if times > 1:
        least = np.broadcast_to(0.5 * modulus.std(axis=-1, keepdims=True), modulus.shape).ravel()[order]
    for place, spread, value in zip(tau, sigma, height / height[0], strict=True):
        # Beyond eight standard deviations nothing is left (1e-14).
        near = slice(*np.searchsorted(sorted_modulus, [place - 8 * spread, place + 8 * spread]))
        width = spread
        if times > 1:
            width = np.clip(np.maximum(least[near], spread / times), 0.05 * spread, spread)
        profile[near] += value * spread / width * np.exp(-0.5 * ((sorted_modulus[near] - place) / width) ** 2)
    out = np.empty(modulus.size)
    out[order] = profile
    return out.reshape(modulus.shape)


def _aluminium_reflections(most: float) -> tuple[np.ndarray, np.ndarray]:
    """|Q| (1/Angstrom, ascending, below `most`) and relative intensity of the reflections."""
    squares, multiplicity = _fcc_reflections(int(most * ALUMINIUM_CELL / (2 * np.pi)) + 1)
    tau = 2 * np.pi / ALUMINIUM_CELL * np.sqrt(squares)
    keep = (squares > 0) & (tau < 0.999 * most)
    tau, multiplicity = tau[keep], multiplicity[keep]
    return tau, multiplicity * np.exp(-(tau**2) * ALUMINIUM_DISPLACEMENT) / tau**2


@lru_cache(maxsize=64)
def _fcc_reflections(n: int) -> tuple[np.ndarray, np.ndarray]:
    """h^2 + k^2 + l^2 (ascending) and the number of reflections, for h, k, l from -n to n of an fcc lattice."""
    hkl = np.stack(np.meshgrid(*[np.arange(-n, n + 1)] * 3), axis=-1).reshape(-1, 3)
    odd = (hkl % 2).sum(axis=1)
    return np.unique((hkl[(odd == 0) | (odd == 3)] ** 2).sum(axis=1), return_counts=True)


def modulus_across(bins: Bins) -> np.ndarray:
    """|Q| of elastic scattering at points across each momentum bin, shape (momentum bins, points), 1/Angstrom."""
    columns = np.arange(math.prod(bins.shape))
    places = _places(len(bins.widths)) - 0.5
    return np.stack([_modulus(bins, bins.coordinates(columns, place), 0.0) for place in places], axis=1)


@lru_cache(maxsize=4)
def _places(dimensions: int) -> np.ndarray:
    return quasi_random(_ACROSS_BIN, dimensions)


def _modulus_in_bins(bins: Bins) -> np.ndarray:
    """|Q| at the centre of every bin, shape (momentum bins, energies), or (momentum bins, 1) if independent of E."""
    centres = bins.coordinates(np.arange(math.prod(bins.shape)))
    energies = bins.energy.centers if bins.scattered else [0.0]
    return np.stack([_modulus(bins, centres, energy) for energy in energies], axis=1)


def _modulus(bins: Bins, coordinates: np.ndarray, energy: float) -> np.ndarray:
    points = bins.points(coordinates, np.full(len(coordinates), energy)) if bins.scattered else None
    place = bins.place(coordinates, points)
    return place[:, 0] if bins.powder else np.linalg.norm(place @ bins.frame.units.T, axis=1)
