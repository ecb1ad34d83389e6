"""The mean of a model over bins, without resolution and without noise, from modes on a grid.

Each bin is divided into boxes about as fine as the grid. Inside a box a mode is taken as a plane, so that its energies
are distributed as the sum of one uniform variable per axis; each mode is binned in energy with this distribution.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from .bins import Bins
from .deposit import spread_out
from .modes import ModeGrid, PowderTable

#: Boxes for each cell of the grid along an axis, and most boxes in all bins.
_BOXES, _MOST_BOXES = 1.5, 400_000
#: Boxes in one task.
_TASK = 16384
#: Smallest width of a distribution, in energy bins.
_NARROWEST = 1e-3
#: Groups of a powder's directions whose scatter gives the standard error.
_GROUPS = 4


@dataclass(frozen=True)
class Sharp:
    """The mean of the modes of a crystal over bins, divided into tasks.

    Parameters
    ----------
    bins : Bins
    source : ModeGrid
    edges : ndarray, shape (F + 1,)
        Energy bins, meV.
    """

    bins: Bins
    source: ModeGrid
    edges: np.ndarray

    @property
    def tasks(self) -> int:
        """Number of tasks."""
        return -(-len(self.bins.columns) // self._columns_at_once)

    @property
    def _columns_at_once(self) -> int:
        return max(1, _TASK // math.prod(self._boxes))

    @property
    def _boxes(self) -> np.ndarray:
        """Boxes of a bin along each axis."""
        cells = self.bins.widths / self.source.cells(self.bins.directions)
        counts = np.ceil(cells * _BOXES).astype(int)
        while counts.prod() * len(self.bins.columns) > _MOST_BOXES and counts.max() > 1:
            counts[counts.argmax()] -= 1
        return counts

    def task(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Do one task: see `MonteCarlo.task`; the variance is 0."""
        size, counts = self._columns_at_once, self._boxes
        found = np.arange(number * size, min((number + 1) * size, len(self.bins.columns)))
        offsets = np.array(list(itertools.product(*[(np.arange(n) + 0.5) / n - 0.5 for n in counts])))
        coordinates = self.bins.coordinates(
            np.repeat(self.bins.columns[found], len(offsets)), np.tile(offsets, (len(found), 1))
        )
        energies, intensities, slopes = self.source.modes_and_slopes(self.bins.place(coordinates, None))
        passed = np.abs(slopes @ (self.bins.directions * (self.bins.widths / counts)[:, None]).T)
        rows = np.repeat(np.arange(len(found)), len(offsets))[:, None]
        total = np.zeros((len(found), len(self.edges) - 1))
        _deposit_boxes(total, rows, energies, passed, intensities / len(offsets), self.edges)
        return found, total, np.zeros_like(total)


def _deposit_boxes(total, rows, centre, passed, weight, edges) -> None:
    """Add modes that vary uniformly by `passed` (..., D) meV along each axis, independently, to the rows of `total`."""
    step = (edges[-1] - edges[0]) / (len(edges) - 1)
    # The widest as it is, the others as one of the same variance: their sum is a trapezoid.
    first = np.maximum(passed.max(axis=-1), _NARROWEST * step)
    second = np.sqrt(np.maximum((passed**2).sum(axis=-1) - first**2, (_NARROWEST * step) ** 2))
    reach = 0.5 * (first + second)
    inside = (centre + reach > edges[0]) & (centre - reach < edges[-1]) & (weight > 0)
    first, second, reach = first[inside], second[inside], reach[inside]
    near = 0.5 * np.abs(first - second)

    def cumulative(away, which):
        """Of the sum of two uniform variables: parabolas between flat parts and straight ones."""
        out = np.zeros(away.shape)
        for corner, sign in ((reach, 1), (near, -1), (-near, -1), (-reach, 1)):
            out += sign * np.square(np.maximum(away + corner[which, None], 0.0))
        return out / (2 * first * second)[which, None]

    row = np.broadcast_to(rows, centre.shape)[inside]
    spread_out(total, row, centre[inside], reach, weight[inside], edges, cumulative)


@dataclass(frozen=True)
class SharpPowder:
    """The mean of a powder over bins, from the rows of a table inside each bin."""

    bins: Bins
    source: PowderTable
    edges: np.ndarray

    @property
    def tasks(self) -> int:
        """Number of tasks."""
        return 1

    def task(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Do the task: see `MonteCarlo.task`."""
        columns = self.bins.columns
        step = (self.edges[-1] - self.edges[0]) / (len(self.edges) - 1)
        centres = self.bins.coordinates(columns, np.zeros(1))[:, 0]
        row = self.source.modulus
        overlap = np.minimum(centres[:, None] + 0.5 * self.bins.widths[0], row + 0.5 * self.source.step) - np.maximum(
            centres[:, None] - 0.5 * self.bins.widths[0], row - 0.5 * self.source.step
        )
        share = np.maximum(overlap, 0)
        share /= np.maximum(share.sum(axis=1, keepdims=True), 1e-300)
        parts = [
            share @ self.source.histogram(self.edges[0], step, len(self.edges) - 1, slice(group, None, _GROUPS)) / step
            for group in range(_GROUPS)
        ]
        mean = np.mean(parts, axis=0)
        return np.arange(len(columns)), mean, np.var(parts, axis=0) / (_GROUPS - 1)
