"""Resolution by Monte Carlo: the model is evaluated at random deviations from every bin.

A neutron recorded at (Q, E) was scattered at (Q + dQ, E + dE) with the deviations of the spectrometer (T. G. Perring,
PhD thesis, Cambridge 1991; Tobyfit). Modes are sharp, so that no energy is drawn: a mode of energy E_m at Q + dQ is
recorded at E_m - dE and is counted in that energy bin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..instruments.covariance import DEVIATIONS
from ..instruments.montecarlo import unit_draws
from ..models.lineshape import drawn
from ..models.sampling import quasi_random
from .bins import Bins, Nodes

#: Points worked on at once: bounds the memory.
POINTS_AT_ONCE = 32768
#: Groups of points whose scatter gives the standard error: of random points, and of evenly spread ones.
_GROUPS, _EVEN_GROUPS = 16, 4


class Modes(Protocol):
    """A source of modes, see `modes`."""

    def modes(self, where: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Energies and intensities, each (N, M)."""


@dataclass(frozen=True)
class MonteCarlo:
    """One Monte Carlo convolution, divided into tasks that can run in any order.

    Parameters
    ----------
    bins : Bins
    nodes : Nodes
    source : Modes
    points : int
        Number of points for each node of each column.
    seed : int
    fwhm, shape
        Intrinsic line, see `lineshape.drawn`.
    gaussian : bool
        Gaussian deviations of the same variances.
    sharp : bool
        No deviations: the mean over the bins only, from evenly spread points with random shifts.
    """

    bins: Bins
    nodes: Nodes
    source: Modes
    points: int
    seed: int
    fwhm: float | None = None
    shape: str = "dho"
    gaussian: bool = False
    sharp: bool = False

    @property
    def tasks(self) -> int:
        """Number of tasks; it does not depend on the number of workers."""
        return -(-self._cells // self._cells_at_once)

    @property
    def _cells(self) -> int:
        return len(self.bins.columns) * len(self.nodes.energies)

    @property
    def _cells_at_once(self) -> int:
        return max(1, POINTS_AT_ONCE // self.points)

    def task(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Do one task.

        Returns
        -------
        columns : ndarray of int, shape (C,)
            Indices in ``bins.columns``; one may occur again in the next task.
        mean, variance : ndarray, shape (C, energies)
            Contribution of this task to the signal of these columns, and to its squared standard error.
        """
        start = number * self._cells_at_once
        cells = np.arange(start, min(start + self._cells_at_once, self._cells))
        columns, nodes = np.divmod(cells, len(self.nodes.energies))
        groups = min(_EVEN_GROUPS if self.sharp else _GROUPS, self.points)
        # One row for each group of points of a cell; the groups differ by one point at most.
        group = np.arange(self.points) * groups // self.points
        rng = np.random.default_rng([self.seed, number])
        offsets = self._offsets(len(cells), group, rng)
        recorded, weights = self._recorded(columns, nodes, offsets, rng)
        rows = (np.arange(len(cells))[:, None] * groups + group).reshape(-1, 1)
        sums = self._binned(recorded, weights, np.repeat(nodes, self.points)[:, None], rows, len(cells) * groups)
        sums = sums.reshape(len(cells), groups, -1)
        sizes = np.bincount(group)[:, None]
        mean = sums.sum(axis=1) / self.points
        scatter = ((sums / sizes - mean[:, None]) ** 2 * sizes).sum(axis=1) / (groups - 1) / self.points
        found, first = np.unique(columns, return_index=True)
        return found, np.add.reduceat(mean, first), np.add.reduceat(scatter, first)

    def _offsets(self, cells: int, group: np.ndarray, rng) -> np.ndarray:
        """Positions of the points in their bins, in bin widths from the centre, shape (cells * points, D)."""
        axes = len(self.bins.widths)
        if not self.sharp:
            return rng.random((cells * self.points, axes)) - 0.5
        sizes = np.bincount(group)
        even = np.vstack([quasi_random(n, axes) for n in sizes])
        shifts = np.repeat(rng.random((cells, sizes.size, axes)), sizes, axis=1)
        return ((even + shifts) % 1.0 - 0.5).reshape(-1, axes)

    def _recorded(self, columns, nodes, offsets, rng) -> tuple[np.ndarray, np.ndarray]:
        """Energies at which the modes of every point are recorded, and their intensities: (cells * points, M)."""
        columns = np.repeat(self.bins.columns[columns], self.points)
        coordinates = self.bins.coordinates(columns, offsets)
        at = self.bins.points(coordinates, np.repeat(self.nodes.energies[nodes], self.points))
        where = self.bins.place(coordinates, at)
        late = 0.0
        if not self.sharp:
            deviations = self._deviations(at, rng)
            where = where + deviations[:, :-1]
            late = deviations[:, -1:]
        energies, intensities = self.source.modes(where, rng)
        if self.fwhm is not None:
            energies = drawn(energies, self.fwhm, self.shape, rng)
        return energies - late, intensities

    def _deviations(self, at, rng) -> np.ndarray:
        """A random deviation of each point, shape (N, 4) of (h, k, l, E) or (N, 2) of (|Q|, E)."""
        resolution = self.bins.resolution
        draws = unit_draws(resolution.beam, len(at.energy), rng, gaussian=self.gaussian)
        # Deviations are linear in the draws: those of the unit draws are the matrix that takes any draw.
        return np.einsum("nj,njd->nd", draws, resolution.deviations(at, np.eye(len(DEVIATIONS))))

    def _binned(self, recorded, weights, nodes, rows, count: int) -> np.ndarray:
        """Weights in the energy bins of the spectrum per meV, multiplied by those of their nodes: (count, energies)."""
        fine, energies = self.nodes.edges, len(self.bins.energy)
        step = (fine[-1] - fine[0]) / (fine.size - 1)
        place = np.floor((recorded - fine[0]) / step)
        inside = (place >= 0) & (place < fine.size - 1)
        place = place[inside].astype(int)
        share = self.nodes.shares[np.broadcast_to(nodes, recorded.shape)[inside], place]
        row = np.broadcast_to(rows, recorded.shape)[inside]
        bin_ = place // ((fine.size - 1) // energies)
        total = np.bincount(row * energies + bin_, weights[inside] * share, count * energies)
        return total.reshape(count, energies) / self.bins.energy.width
