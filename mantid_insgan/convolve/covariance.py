"""Resolution as a Gaussian of full covariance in (Q, E) that changes from place to place, applied to modes.

A mode of energy E_m at Q + dQ is recorded about E_m - s.dQ, with s = S_QQ^-1 S_QE and the variance S_EE - S_EQ S_QQ^-1
S_QE: the Gaussian in energy under the condition dQ. The Gaussian in dQ is a mixture of narrower ones about the nodes of
a Gauss-Hermite rule, and within each the dispersion is straight, so that its slope adds to the width. That is exact for
straight dispersions, and follows curved ones over the resolution. No random numbers, no noise.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from .bins import Bins, Nodes
from .modes import ModeGrid, PowderTable

#: Share of the variance in Q that stays in each Gaussian of the mixture.
_WITHIN = 0.5
#: Parts into which a bin is divided: as wide as this many standard deviations of the resolution, or wider where there
#: would be more than this many parts along one axis, or in all.
_PART, _MOST_ALONG, _MOST_PARTS = 2.0, 64, 256
#: How far a Gaussian reaches, in standard deviations.
_REACH = 4.5
#: Gaussians in energy worked on at once.
_EVENTS = 1 << 18
#: Cells (columns times nodes in energy) in one task.
_CELLS = 256


@dataclass(frozen=True)
class Covariance:
    """One convolution of a crystal's cut, cut into tasks.

    Parameters
    ----------
    bins : Bins
    nodes : Nodes
    source : ModeGrid
    """

    bins: Bins
    nodes: Nodes
    source: ModeGrid

    @property
    def tasks(self) -> int:
        """How many tasks there are."""
        return -(-self._cells // _CELLS)

    @property
    def _cells(self) -> int:
        return len(self.bins.columns) * len(self.nodes.energies)

    def task(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Do one task: see `MonteCarlo.task`; the variance is 0."""
        cells = np.arange(number * _CELLS, min((number + 1) * _CELLS, self._cells))
        columns, nodes = np.divmod(cells, len(self.nodes.energies))
        found, row = np.unique(columns, return_inverse=True)
        total = np.zeros((len(found), len(self.nodes.edges) - 1))
        offsets, sizes = self._parts(columns, nodes)
        for offset in offsets:
            centre, sigma, weight = self._events(columns, nodes, offset, sizes)
            _deposit(total, row, nodes, centre, sigma, weight / len(offsets), self.nodes)
        return found, total, np.zeros_like(total)

    def _parts(self, columns, nodes) -> tuple[np.ndarray, np.ndarray]:
        """Centres of the parts of a bin in bin widths, shape (P, D), and their size along each axis, shape (D,)."""
        coordinates = self.bins.coordinates(self.bins.columns[columns])
        at = self.bins.points(coordinates, self.nodes.energies[nodes])
        spread = np.sqrt(np.einsum("nii->ni", self.bins.covariance(at)[:, :3, :3]).min(axis=0))
        # The resolution along an axis' direction is at least that of the component it changes most.
        reach = np.abs(self.bins.directions) / spread
        counts = np.ceil(self.bins.widths * reach.max(axis=1) / _PART).clip(1, _MOST_ALONG).astype(int)
        while counts.prod() > _MOST_PARTS:
            counts[counts.argmax()] = (counts.max() + 1) // 2
        middles = [(np.arange(n) + 0.5) / n - 0.5 for n in counts]
        offsets = np.array(list(itertools.product(*middles)))
        return offsets, self.bins.widths / counts

    def _events(self, columns, nodes, offset, sizes):
        """Centres, standard deviations and intensities of Gaussians in energy, each (cells, G, M)."""
        coordinates = self.bins.coordinates(self.bins.columns[columns], offset)
        at = self.bins.points(coordinates, self.nodes.energies[nodes])
        covariance = self.bins.covariance(at)
        momentum, coupling, energy = covariance[:, :3, :3], covariance[:, :3, 3], covariance[:, 3, 3]
        root = np.linalg.cholesky(momentum)
        slope = np.linalg.solve(momentum, coupling[..., None])[..., 0]
        points, weights = _mixture()
        away = np.einsum("nij,gj->ngi", root, points)
        where = self.bins.place(coordinates, at)[:, None] + away
        energies, intensities, steep = self.source.modes_and_slopes(where.reshape(-1, 3))
        shape = (*where.shape[:2], -1)
        steep = steep.reshape(*shape, 3)
        along = np.einsum("nij,ngmi->ngmj", root, steep - slope[:, None, None])
        across = (steep @ self.bins.directions.T) * sizes / np.sqrt(12)
        variance = (energy - np.einsum("ni,ni->n", coupling, slope))[:, None, None]
        variance = variance + _WITHIN * (along**2).sum(-1) + (across**2).sum(-1)
        centre = energies.reshape(shape) - np.einsum("ni,ngi->ng", slope, away)[..., None]
        return centre, np.sqrt(variance), intensities.reshape(shape) * weights[:, None]


def _mixture() -> tuple[np.ndarray, np.ndarray]:
    """Centres (G, 3) and weights (G,) of Gaussians of variance `_WITHIN` that make up one of variance 1."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(3)
    nodes, weights = nodes * np.sqrt(1 - _WITHIN), weights / weights.sum()
    centres = np.array(list(itertools.product(nodes, repeat=3)))
    return centres, np.prod(list(itertools.product(weights, repeat=3)), axis=1)


def _deposit(total, row, node, centre, sigma, weight, nodes: Nodes) -> None:
    """Add Gaussians in energy, integrated over each bin, to the rows of `total`; the share of their node goes in."""
    shape = centre.shape
    row, node = (np.broadcast_to(a.reshape(-1, 1, 1), shape).ravel() for a in (row, node))
    centre, sigma, weight = centre.ravel(), np.broadcast_to(sigma, shape).ravel(), weight.ravel()
    bins = total.shape[1]
    step = (nodes.edges[-1] - nodes.edges[0]) / bins
    first = np.floor((centre - _REACH * sigma - nodes.edges[0]) / step)
    last = np.floor((centre + _REACH * sigma - nodes.edges[0]) / step)
    seen = (last >= 0) & (first < bins) & (weight > 0)
    # Gaussians of about the same width in bins are worked out together, in one window.
    length = np.where(seen, last - first + 1, 0)
    classes = np.ceil(np.log2(np.maximum(length, 1)) * 2).astype(int)
    for number in np.unique(classes[seen]):
        chosen = np.flatnonzero(seen & (classes == number))
        window = np.arange(int(length[chosen].max()) + 1)
        for block in np.array_split(chosen, 1 + chosen.size * window.size // _EVENTS):
            _add(
                total, row[block], node[block], first[block], centre[block], sigma[block], weight[block], window, nodes
            )


def _add(total, row, node, first, centre, sigma, weight, window, nodes: Nodes) -> None:
    from scipy.special import ndtr

    bins = total.shape[1]
    step = (nodes.edges[-1] - nodes.edges[0]) / bins
    edge = ((first * step + nodes.edges[0] - centre) / sigma)[:, None] + window * (step / sigma)[:, None]
    part = np.diff(ndtr(edge), axis=1)
    place = first[:, None].astype(int) + window[:-1]
    inside = (place >= 0) & (place < bins)
    place = np.where(inside, place, 0)
    part *= (weight / step)[:, None] * inside * nodes.shares[node[:, None], place]
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
        total = np.zeros((1, len(self.bins.energy)))
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
        return sums[1:-1] @ kernel / self.bins.energy.width
