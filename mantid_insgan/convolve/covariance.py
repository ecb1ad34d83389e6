"""Resolution as a Gaussian with full covariance in (Q, E) that varies with (Q, E), applied to modes.

A mode of energy E_m at Q + dQ is recorded at a mean energy of E_m - s.dQ, with s = S_QQ^-1 S_QE, and with the variance
S_EE - S_EQ S_QQ^-1 S_QE: the Gaussian in energy for given dQ. The Gaussian in dQ and the volume of the bin are replaced
by a mixture of narrower Gaussians at evenly spread points, the same for every bin. Within each of these the slope of
the dispersion adds to the width, as does its curvature, to second order. The result has no random noise.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .bins import Bins, Nodes
from .deposit import spread_out
from .modes import ModeGrid, PowderTable

#: Share of the Gaussian's variance that is left to each point of the mixture: along the direction in which the recorded
#: energy changes most, and across it.
_WITHIN = np.array([0.07, 0.3, 0.3])
#: A bin is divided into parts as wide as this many standard deviations of the resolution, each with a mixture of its
#: own; into wider ones where there would be more than this many along one axis, or in all.
_PART, _MOST_ALONG, _MOST_PARTS = 4.0, 64, 256
#: Where a bin has more parts than these, each has fewer points, but not fewer than these; mixtures that are different.
_FEW_PARTS, _LEAST_POINTS, _MIXTURES = 4, 32, 64
#: How far a Gaussian reaches, in standard deviations.
_REACH = 4.0
#: Of a powder: fine energies for a standard deviation of the resolution, how far it reaches beyond the bins, and how
#: small a Fourier component may become before it is left out.
_FINE, _BEYOND, _NOTHING = 4, 12.0, 1e-9
#: Widest part of a powder's bin in |Q|, in standard deviations of the resolution, and most parts of a bin.
_POWDER_PART, _POWDER_PARTS = 1.0, 16
#: Columns in one task.
_COLUMNS = 32


@dataclass(frozen=True)
class Covariance:
    """One convolution of a cut through a crystal, divided into tasks.

    Parameters
    ----------
    bins : Bins
    nodes : Nodes
    source : ModeGrid
    points : int
        Number of points of the mixture; made even.
    line : float
        Standard deviation of a Gaussian intrinsic line, meV.
    """

    bins: Bins
    nodes: Nodes
    source: ModeGrid
    points: int
    line: float = 0.0

    @property
    def edges(self) -> np.ndarray:
        """Edges of the energy bins of the result, meV."""
        return self.nodes.edges

    @property
    def tasks(self) -> int:
        """Number of tasks."""
        return -(-len(self.bins.columns) // _COLUMNS)

    def task(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Do one task: see `MonteCarlo.task`; the variance is 0."""
        found = np.arange(number * _COLUMNS, min((number + 1) * _COLUMNS, len(self.bins.columns)))
        total = np.zeros((len(found), len(self.nodes.edges) - 1))
        offsets, sizes = self._parts(found)
        for node in range(len(self.nodes.energies)):
            for part in range(len(offsets)):
                _deposit(total, node, *self._gaussians(found, node, offsets, part, sizes), self.nodes)
        return found, total, np.zeros_like(total)

    def _parts(self, columns) -> tuple[np.ndarray, np.ndarray]:
        """Centres of the parts of a bin in bin widths, shape (P, D), and their size along each axis, shape (D,)."""
        _, covariance = self._seen(columns, len(self.nodes.energies) // 2, 0.0)
        spread = np.sqrt(np.einsum("nii->ni", covariance[:, :3, :3]).min(axis=0))
        reach = (np.abs(self.bins.directions) / spread).max(axis=1) * self._matters(columns)
        counts = np.ceil(self.bins.widths * reach / _PART).clip(1, _MOST_ALONG).astype(int)
        while counts.prod() > _MOST_PARTS:
            counts[counts.argmax()] = (counts.max() + 1) // 2
        middles = [(np.arange(n) + 0.5) / n - 0.5 for n in counts]
        return np.array(list(itertools.product(*middles))), self.bins.widths / counts

    def _matters(self, columns) -> np.ndarray:
        """False for the axis along which the energy determines the momentum, shape (D,)."""
        if not self.bins.scattered:
            return np.ones(len(self.bins.widths), bool)
        aside = [self._seen(columns[:1], 0, 0.3 * unit)[0] for unit in np.eye(len(self.bins.widths))]
        return np.array([not np.allclose(place, self._seen(columns[:1], 0, 0.0)[0]) for place in aside])

    def _seen(self, columns, node: int, offset) -> tuple[np.ndarray, np.ndarray]:
        """Momenta (C, 3) and covariances (C, 4, 4) at an offset from the centres of the bins."""
        coordinates = self.bins.coordinates(self.bins.columns[columns], offset)
        at = self.bins.points(coordinates, np.full(len(columns), self.nodes.energies[node]))
        return self.bins.place(coordinates, at), self.bins.covariance(at)

    def _gaussians(self, columns, node: int, offsets, part: int, sizes):
        """Centres, standard deviations and intensities of Gaussians in energy, each (columns, points, modes)."""
        offset, parts = offsets[part], len(offsets)
        place, covariance = self._seen(columns, node, offset)
        momentum, coupling = covariance[:, :3, :3], covariance[:, :3, 3]
        root = np.linalg.cholesky(momentum)
        slope = np.linalg.solve(momentum, coupling[..., None])[..., 0]
        root = root @ _turned(self._steepest(place, slope, root))
        # The mean over the parts of a wide bin needs fewer points in each, if they are not the same.
        points = max(min(self.points, _LEAST_POINTS), int(self.points / np.sqrt(max(parts / _FEW_PARTS, 1))))
        unit, box, fit = _mixture(points, len(sizes), part % _MIXTURES)
        away = unit @ np.swapaxes(root, 1, 2)
        where = self._places(columns, node, offset + box * sizes / self.bins.widths) + away
        modes = self.source.modes_and_slopes(where.reshape(-1, 3))
        energies, intensities, steep = (a.reshape(*where.shape[:2], *a.shape[1:]) for a in modes)
        steep = ((steep - slope[:, None, None]).reshape(len(columns), -1, 3) @ root).reshape(*energies.shape, 3)
        # Within each point's Gaussian the dispersion bends: to second order.
        bend = np.einsum("abg,ngm->nabm", fit, energies) * np.sqrt(np.outer(_WITHIN, _WITHIN))[:, :, None]
        own = (covariance[:, 3, 3] - (coupling * slope).sum(-1))[:, None] + 0.5 * (bend**2).sum((1, 2))
        centre = energies - away @ slope[..., None] + 0.5 * np.einsum("naam->nm", bend)[:, None]
        variance = own[:, None] + steep**2 @ _WITHIN + self.line**2
        return centre, np.sqrt(variance), intensities / (parts * len(unit))

    def _places(self, columns, node: int, offsets) -> np.ndarray:
        """Momenta at offsets (G, D) from the centres of the bins, shape (C, G, 3)."""
        coordinates = self.bins.coordinates(
            np.repeat(self.bins.columns[columns], len(offsets)), np.tile(offsets, (len(columns), 1))
        )
        at = None
        if self.bins.scattered:
            at = self.bins.points(coordinates, np.full(len(coordinates), self.nodes.energies[node]))
        return self.bins.place(coordinates, at).reshape(len(columns), len(offsets), 3)

    def _steepest(self, place, slope, root) -> np.ndarray:
        """Direction of the largest change of the recorded energy, averaged over the modes: (C, 3) in units of the
        resolution."""
        _, intensities, steep = self.source.modes_and_slopes(place)
        mean = np.einsum("nm,nma->na", intensities, steep) / np.maximum(intensities.sum(axis=1), 1e-300)[:, None]
        return np.einsum("na,nab->nb", mean - slope, root)


def _turned(direction: np.ndarray) -> np.ndarray:
    """Orthogonal matrices whose first column is along `direction` (N, 3): Householder's, shape (N, 3, 3)."""
    length = np.linalg.norm(direction, axis=1, keepdims=True)
    first = np.where(length > 1e-12, direction / np.maximum(length, 1e-12), [1.0, 0.0, 0.0])
    mirror = first + np.where(first[:, :1] < 0, -1.0, 1.0) * [1.0, 0.0, 0.0]
    mirror /= np.linalg.norm(mirror, axis=1, keepdims=True)
    return np.eye(3) - 2 * mirror[:, :, None] * mirror[:, None, :]


@lru_cache(2 * _MIXTURES)
def _mixture(points: int, dimensions: int, number: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Evenly spread points for a three-dimensional Gaussian and a box of `dimensions`; different for each `number`.

    Returns
    -------
    unit : ndarray, shape (G, 3)
        With variances of exactly 1 - `_WITHIN`, zero mean and no correlation.
    box : ndarray, shape (G, D)
        Between -1/2 and 1/2.
    fit : ndarray, shape (3, 3, G)
        Converts values at the points to their second derivatives with respect to `unit`, by a least-squares parabola.
    """
    from scipy.special import ndtri

    half = _spread_evenly(max(8, points // 2), 3 + dimensions, number)
    unit, box = ndtri(half[:, :3]), half[:, 3:] - 0.5
    unit, box = np.vstack([unit, -unit]), np.vstack([box, -box])
    root = np.linalg.cholesky(np.cov(unit.T, bias=True))
    unit = np.sqrt(1 - _WITHIN) * np.linalg.solve(root, unit.T).T
    pairs = list(itertools.combinations_with_replacement(range(3), 2))
    products = np.stack([unit[:, a] * unit[:, b] for a, b in pairs], axis=1)
    solved = np.linalg.pinv(np.column_stack([products, unit, box, box**2, np.ones(len(unit))]))
    fit = np.empty((3, 3, len(unit)))
    for (a, b), row in zip(pairs, solved, strict=False):
        fit[a, b] = fit[b, a] = row * (2 if a == b else 1)
    return unit, box, fit


def _spread_evenly(count: int, dimensions: int, number: int) -> np.ndarray:
    """Points of the unit cube: equal steps in the first dimension, part of a Kronecker sequence in the others."""
    golden = 2.0
    for _ in range(64):
        golden = (1 + golden) ** (1 / dimensions)
    steps = np.arange(count)[:, None]
    others = (0.5 + (steps + number * count) * golden ** -np.arange(1.0, dimensions)) % 1
    return np.hstack([(steps + 0.5) / count, others])


def _deposit(total, node: int, centre, sigma, weight, nodes: Nodes) -> None:
    """Add Gaussians in energy (columns, points, modes), with the weights of one node, to the rows of `total`."""
    from scipy.special import ndtr

    seen = np.flatnonzero(nodes.shares[node])
    if not seen.size:  # another node has this one's bins
        return
    low, high = nodes.edges[seen[0]], nodes.edges[seen[-1] + 1]
    inside = (centre + _REACH * sigma > low) & (centre - _REACH * sigma < high) & (weight > 0)
    row = np.broadcast_to(np.arange(len(centre))[:, None, None], centre.shape)[inside]
    centre, sigma, weight = centre[inside], sigma[inside], weight[inside]
    spread_out(
        total,
        row,
        centre,
        _REACH * sigma,
        weight,
        nodes.edges,
        lambda away, which: ndtr(away / sigma[which, None]),
        nodes.shares[node],
    )


@dataclass(frozen=True)
class PowderCovariance:
    """One convolution of a powder in (|Q|, E), divided into tasks: one for each |Q|.

    Each row of the table has the weight of the Gaussian at its |Q|. Depending on its distance in |Q|, it is shifted in
    energy by the Q-E correlation and broadened by the remaining width: a phase and a damping of its Fourier transform
    along energy.

    Parameters
    ----------
    bins : Bins
    nodes : Nodes
    source : PowderTable
    sigma : float
        Smallest standard deviation of the resolution in energy, meV, which sets the binning of the modes.
    line : float
        Standard deviation of a Gaussian intrinsic line, meV.
    """

    bins: Bins
    nodes: Nodes
    source: PowderTable
    sigma: float
    line: float = 0.0

    def __post_init__(self):
        from scipy.fft import next_fast_len, rfft

        widest = np.sqrt(self.bins.covariance(self._points(np.arange(1)))[:, 1, 1].max() + self.line**2)
        step = self.nodes.edges[1] - self.nodes.edges[0]
        parts = int(np.ceil(step / self.sigma * _FINE))
        margin = int(np.ceil(_BEYOND * widest / step * parts))
        count = parts * (len(self.nodes.edges) - 1) + 2 * margin
        fine = step / parts
        table = np.zeros((len(self.source.modulus), next_fast_len(count, real=True)))
        table[:, :count] = self.source.histogram(self.nodes.edges[0] - margin * fine, fine, count)
        frequency = 2 * np.pi * np.arange(table.shape[1] // 2 + 1) / (table.shape[1] * fine)
        for name, value in {
            "_table": rfft(table, axis=1),
            "_frequency": frequency,
            "_length": table.shape[1],
            "_inside": slice(margin, margin + parts * (len(self.nodes.edges) - 1)),
            "_parts": parts,
        }.items():
            object.__setattr__(self, name, value)

    @property
    def edges(self) -> np.ndarray:
        """Edges of the energy bins of the result, meV."""
        return self.nodes.edges

    @property
    def tasks(self) -> int:
        """Number of tasks."""
        return len(self.bins.columns)

    def _points(self, which):
        columns = np.repeat(self.bins.columns[which], len(self.nodes.energies))
        return self.bins.points(self.bins.coordinates(columns), np.tile(self.nodes.energies, len(which)))

    def task(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Do one task: see `MonteCarlo.task`; the variance is 0."""
        from scipy.fft import irfft

        which = np.array([number])
        covariance = self.bins.covariance(self._points(which))
        slope = covariance[:, 0, 1] / covariance[:, 0, 0]
        within = covariance[:, 1, 1] - slope * covariance[:, 0, 1] + self.line**2
        kept = np.searchsorted(self._frequency, np.sqrt(-2 * np.log(_NOTHING) / within.min())) + 1
        frequency = self._frequency[:kept]
        sums = self._summed(self.bins.columns[number], np.sqrt(covariance[:, 0, 0]), slope, frequency)
        sums *= np.exp(-0.5 * within[:, None] * frequency**2)
        blurred = irfft(sums, self._length, axis=1)[:, self._inside]
        blurred = blurred.reshape(len(blurred), -1, self._parts).sum(axis=2)
        total = (blurred * self.nodes.shares).sum(axis=0) / (self.nodes.edges[1] - self.nodes.edges[0])
        return which, total[None], np.zeros((1, total.size))

    def _summed(self, column: int, spread: np.ndarray, slope: np.ndarray, frequency: np.ndarray) -> np.ndarray:
        """Sum of the Fourier transforms of all rows, with weights and shifts: (nodes, frequencies)."""
        from scipy.special import ndtr

        width, modulus, step = self.bins.widths[0], self.source.modulus, self.source.step
        parts = int(np.clip(np.ceil(width / spread.min() / _POWDER_PART), 1, _POWDER_PARTS))
        sigma = np.hypot(spread, width / parts / np.sqrt(12))
        edges = np.append(modulus, modulus[-1] + step) - 0.5 * step
        turn = np.exp(1j * slope[:, None] * step * frequency)
        total = np.zeros(turn.shape, complex)
        for offset in (np.arange(parts) + 0.5) / parts - 0.5:
            middle = self.bins.coordinates(np.array([column]), offset)[0, 0]
            shares = np.diff(ndtr((edges - middle) / sigma[:, None]), axis=1) / parts
            seen = np.flatnonzero(shares.max(axis=0) > 1e-6)
            # Horner's scheme: rows are evenly spaced, so that each is shifted once more than the row before.
            sums = np.zeros_like(total)
            for row in seen[::-1]:
                sums *= turn
                sums += shares[:, row, None] * self._table[row, : frequency.size]
            total += sums * np.exp(1j * slope[:, None] * (modulus[seen[0]] - middle) * frequency) if seen.size else 0.0
        return total
