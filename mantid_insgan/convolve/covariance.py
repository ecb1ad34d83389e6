"""Resolution as a Gaussian of full covariance in (Q, E) that changes from place to place, applied to modes.

A mode of energy E_m at Q + dQ is recorded about E_m - s.dQ, with s = S_QQ^-1 S_QE and the variance S_EE - S_EQ S_QQ^-1
S_QE: the Gaussian in energy under the condition dQ. The Gaussian in dQ, and the volume of the bin, are a mixture of
narrower ones about evenly spread points, the same for every bin. Within each of these the slope of the dispersion adds
to the width, and its bend, to second order. Nothing is random, and there is no noise.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .bins import Bins, Nodes
from .modes import ModeGrid, PowderTable

#: Share of the Gaussian's variance that is left to each point of the mixture: along the direction in which the recorded
#: energy changes most, and across it.
_WITHIN = np.array([0.07, 0.3, 0.3])
#: A bin is divided into parts as wide as this many standard deviations of the resolution, each with a mixture of its
#: own; into wider ones where there would be more than this many along one axis, or in all.
_PART, _MOST_ALONG, _MOST_PARTS = 4.0, 64, 256
#: How far a Gaussian reaches, in standard deviations.
_REACH = 4.0
#: Gaussians in energy worked on at once.
_EVENTS = 1 << 18
#: Columns in one task.
_COLUMNS = 32


@dataclass(frozen=True)
class Covariance:
    """One convolution of a crystal's cut, cut into tasks.

    Parameters
    ----------
    bins : Bins
    nodes : Nodes
    source : ModeGrid
    points : int
        Of the mixture; rounded up to a power of two.
    """

    bins: Bins
    nodes: Nodes
    source: ModeGrid
    points: int

    @property
    def tasks(self) -> int:
        """How many tasks there are."""
        return -(-len(self.bins.columns) // _COLUMNS)

    def task(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Do one task: see `MonteCarlo.task`; the variance is 0."""
        found = np.arange(number * _COLUMNS, min((number + 1) * _COLUMNS, len(self.bins.columns)))
        total = np.zeros((len(found), len(self.nodes.edges) - 1))
        offsets, sizes = self._parts(found)
        for node in range(len(self.nodes.energies)):
            for offset in offsets:
                _deposit(total, node, *self._gaussians(found, node, offset, sizes, 1 / len(offsets)), self.nodes)
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
        """False for the axis along which the energy decides where the sample is met, shape (D,)."""
        if not self.bins.scattered:
            return np.ones(len(self.bins.widths), bool)
        aside = [self._seen(columns[:1], 0, 0.3 * unit)[0] for unit in np.eye(len(self.bins.widths))]
        return np.array([not np.allclose(place, self._seen(columns[:1], 0, 0.0)[0]) for place in aside])

    def _seen(self, columns, node: int, offset) -> tuple[np.ndarray, np.ndarray]:
        """Places (C, 3) and covariances (C, 4, 4) at an offset from the bins' centres."""
        coordinates = self.bins.coordinates(self.bins.columns[columns], offset)
        at = self.bins.points(coordinates, np.full(len(columns), self.nodes.energies[node]))
        return self.bins.place(coordinates, at), self.bins.covariance(at)

    def _gaussians(self, columns, node: int, offset, sizes, part: float):
        """Centres, standard deviations and intensities of Gaussians in energy, each (columns, points, modes)."""
        place, covariance = self._seen(columns, node, offset)
        momentum, coupling = covariance[:, :3, :3], covariance[:, :3, 3]
        root = np.linalg.cholesky(momentum)
        slope = np.linalg.solve(momentum, coupling[..., None])[..., 0]
        root = root @ _turned(self._steepest(place, slope, root))
        unit, box, fit = _mixture(self.points, len(sizes))
        away = unit @ np.swapaxes(root, 1, 2)
        where = self._places(columns, node, offset + box * sizes / self.bins.widths) + away
        modes = self.source.modes_and_slopes(where.reshape(-1, 3))
        energies, intensities, steep = (a.reshape(*where.shape[:2], *a.shape[1:]) for a in modes)
        steep = ((steep - slope[:, None, None]).reshape(len(columns), -1, 3) @ root).reshape(*energies.shape, 3)
        # Within each point's Gaussian the dispersion bends: to second order.
        bend = np.einsum("abg,ngm->nabm", fit, energies) * np.sqrt(np.outer(_WITHIN, _WITHIN))[:, :, None]
        own = (covariance[:, 3, 3] - (coupling * slope).sum(-1))[:, None] + 0.5 * (bend**2).sum((1, 2))
        centre = energies - away @ slope[..., None] + 0.5 * np.einsum("naam->nm", bend)[:, None]
        variance = own[:, None] + steep**2 @ _WITHIN
        return centre, np.sqrt(variance), intensities * (part / len(unit))

    def _places(self, columns, node: int, offsets) -> np.ndarray:
        """Places at each of some offsets (G, D) from the centres of the bins, shape (C, G, 3)."""
        coordinates = self.bins.coordinates(
            np.repeat(self.bins.columns[columns], len(offsets)), np.tile(offsets, (len(columns), 1))
        )
        at = None
        if self.bins.scattered:
            at = self.bins.points(coordinates, np.full(len(coordinates), self.nodes.energies[node]))
        return self.bins.place(coordinates, at).reshape(len(columns), len(offsets), 3)

    def _steepest(self, place, slope, root) -> np.ndarray:
        """Where the recorded energy changes most, on the mean of the modes: (C, 3) in units of the resolution."""
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


@lru_cache
def _mixture(points: int, dimensions: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Evenly spread points for a Gaussian of three dimensions and a box of some.

    Returns
    -------
    unit : ndarray, shape (G, 3)
        Of variances 1 - `_WITHIN`, exactly, and without mean or correlation.
    box : ndarray, shape (G, D)
        Between -1/2 and 1/2.
    fit : ndarray, shape (3, 3, G)
        From values at the points to their second derivatives with `unit`, by a least-squares parabola.
    """
    from scipy.special import ndtri

    half = _spread_evenly(max(8, points // 2), 3 + dimensions)
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


def _spread_evenly(count: int, dimensions: int) -> np.ndarray:
    """Points of the unit cube: equal steps in the first dimension, Kronecker's sequence in the others."""
    golden = 2.0
    for _ in range(64):
        golden = (1 + golden) ** (1 / dimensions)
    steps = np.arange(count)[:, None]
    others = (0.5 + steps * golden ** -np.arange(1.0, dimensions)) % 1
    return np.hstack([(steps + 0.5) / count, others])


def _deposit(total, node: int, centre, sigma, weight, nodes: Nodes) -> None:
    """Add Gaussians in energy (columns, points, modes), with the share of one node, to the rows of `total`."""
    bins = total.shape[1]
    step = (nodes.edges[-1] - nodes.edges[0]) / bins
    seen = np.flatnonzero(nodes.shares[node])
    if not seen.size:  # another node has this one's bins
        return
    low, high = nodes.edges[seen[0]], nodes.edges[seen[-1] + 1]
    inside = (centre + _REACH * sigma > low) & (centre - _REACH * sigma < high) & (weight > 0)
    row = np.broadcast_to(np.arange(len(centre))[:, None, None], centre.shape)[inside]
    centre, sigma, weight = centre[inside], sigma[inside], weight[inside]
    first = np.floor((centre - _REACH * sigma - nodes.edges[0]) / step).astype(int)
    length = np.floor((centre + _REACH * sigma - nodes.edges[0]) / step).astype(int) - first + 1
    # Gaussians of about the same width in bins are worked out together, in one window.
    classes = np.ceil(np.log2(np.maximum(length, 1)) * 2).astype(int)
    for number in np.unique(classes):
        chosen = np.flatnonzero(classes == number)
        window = np.arange(int(length[chosen].max()) + 1)
        for block in np.array_split(chosen, 1 + chosen.size * window.size // _EVENTS):
            _spread(total, row[block], first[block], centre[block], sigma[block], weight[block], window, nodes, node)


def _spread(total, row, first, centre, sigma, weight, window, nodes: Nodes, node: int) -> None:
    from scipy.special import ndtr

    bins = total.shape[1]
    step = (nodes.edges[-1] - nodes.edges[0]) / bins
    edge = ((first * step + nodes.edges[0] - centre) / sigma)[:, None] + window * (step / sigma)[:, None]
    part = np.diff(ndtr(edge), axis=1)
    place = first[:, None] + window[:-1]
    inside = (place >= 0) & (place < bins)
    place = np.where(inside, place, 0)
    part *= (weight / step)[:, None] * inside * nodes.shares[node, place]
    total += np.bincount((row[:, None] * bins + place).ravel(), part.ravel(), total.size).reshape(total.shape)


@dataclass(frozen=True)
class PowderCovariance:
    """One convolution of a powder's (|Q|, E), cut into tasks: one for each |Q|.

    Parameters
    ----------
    bins : Bins
    nodes : Nodes
    source : PowderTable
    sigma : float
        Smallest standard deviation of the resolution in energy, meV: sets how finely modes are binned.
    """

    bins: Bins
    nodes: Nodes
    source: PowderTable
    sigma: float

    def __post_init__(self):
        low, high = self.nodes.edges[[0, -1]]
        reach = 12 * np.sqrt(self.bins.covariance(self._points(np.arange(1)))[:, 1, 1].max())
        count = int(np.clip((high - low + 2 * reach) / self.sigma * 4, 64, 4096))
        edges = np.linspace(low - reach, high + reach, count + 1)
        object.__setattr__(self, "_edges", edges)
        object.__setattr__(self, "_table", self._histogram(edges))

    @property
    def tasks(self) -> int:
        """How many tasks there are."""
        return len(self.bins.columns)

    def _points(self, which):
        columns = np.repeat(self.bins.columns[which], len(self.nodes.energies))
        return self.bins.points(self.bins.coordinates(columns), np.tile(self.nodes.energies, len(which)))

    def _histogram(self, edges) -> np.ndarray:
        """Mean over directions in fine bins, mbarn/sr, shape (rows, fine bins)."""
        energies, intensities = self.source.energies, self.source.intensities
        rows = np.broadcast_to(np.arange(len(energies))[:, None, None], energies.shape)
        count = edges.size - 1
        place = np.floor((energies - edges[0]) / (edges[1] - edges[0]))
        inside = (place >= 0) & (place < count)
        flat = rows[inside] * count + place[inside].astype(int)
        total = np.bincount(flat, intensities[inside], len(energies) * count)
        return total.reshape(len(energies), count) / energies.shape[1]

    def task(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Do one task: see `MonteCarlo.task`; the variance is 0."""
        which = np.array([number])
        covariance = self.bins.covariance(self._points(which))
        total = np.zeros((1, len(self.nodes.edges) - 1))
        for node, matrix in enumerate(covariance):
            total[0] += self.nodes.shares[node] * self._row(self.bins.columns[number], matrix)
        return which, total, np.zeros_like(total)

    def _row(self, column: int, covariance: np.ndarray) -> np.ndarray:
        """The spectrum at one |Q| with one covariance of (|Q|, E), shape (energies,)."""
        from scipy.special import ndtr

        width, spread = self.bins.widths[0], np.sqrt(covariance[0, 0])
        slope = covariance[0, 1] / covariance[0, 0]
        parts = int(np.clip(np.ceil(width / spread), 1, 16))
        offsets = ((np.arange(parts) + 0.5) / parts - 0.5)[:, None]
        middles = self.bins.coordinates(np.full(parts, column), offsets)[:, 0]
        sigma = np.hypot(spread, width / parts / np.sqrt(12))
        modulus, step = self.source.modulus, self.source.step
        share = np.diff(ndtr((np.append(modulus, modulus[-1] + step) - 0.5 * step - middles[:, None]) / sigma), axis=1)
        part, row = np.nonzero(share > 1e-6)
        fine = self._edges[1] - self._edges[0]
        # Each row is recorded earlier by the energy that goes with its distance in |Q|, to a fraction of a fine bin.
        moved = -slope * (modulus[row] - middles[part]) / fine
        whole = np.floor(moved).astype(int)
        count = self._edges.size - 1
        sums = np.zeros(count + 2)
        place = np.arange(count) + whole[:, None]
        values = self._table[row] * (share[part, row] / parts)[:, None]
        for extra, fraction in ((0, 1 - (moved - whole)), (1, moved - whole)):
            at = np.clip(place + extra, -1, count) + 1
            sums += np.bincount(at.ravel(), (values * fraction[:, None]).ravel(), count + 2)
        centres = 0.5 * (self._edges[1:] + self._edges[:-1])
        within = np.sqrt(covariance[1, 1] - slope * covariance[0, 1])
        kernel = np.diff(ndtr((self.nodes.edges - centres[:, None]) / within), axis=1)
        return sums[1:-1] @ kernel / (self.nodes.edges[1] - self.nodes.edges[0])
