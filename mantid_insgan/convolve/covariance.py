"""Resolution as a Gaussian with full covariance in (Q, E) that varies with (Q, E), applied to modes.

A mode of energy E_m at Q + dQ is recorded at a mean energy of E_m - s.dQ, with s = S_QQ^-1 S_QE, and with the variance
S_EE - S_EQ S_QQ^-1 S_QE: the Gaussian in energy for given dQ. The Gaussian in dQ and the volume of the bin are replaced
by a mixture of narrower Gaussians at evenly spread points, the same for every bin. Within each of these the slope of
the dispersion adds to the width, as does its curvature, to second order. The result has no random noise.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache

import numpy as np

from ..instruments.pulse_shapes import PULSES, PulseShapes
from .bins import Bins, Cells, Nodes
from .horner import Rows
from .kernel import PAIRS, Mixtures, Patches
from .modes import ModeGrid, PowderTable

#: Share of the Gaussian's variance that is left to each point of the mixture: along the direction in which the recorded
#: energy changes most, and across it.
_WITHIN = np.array([0.07, 0.3, 0.3])
#: A bin is divided into parts as wide as this many standard deviations of the resolution, each with a mixture of its
#: own; into wider ones where there would be more than this many along one axis, or in all.
_PART, _MOST_ALONG, _MOST_PARTS = 4.0, 64, 256
#: Where a bin has more parts than these, each has fewer points, but not fewer than these; mixtures that are different.
_FEW_PARTS, _LEAST_POINTS, _MIXTURES = 4, 32, 64
#: Pairs of points from which a whole parabola can be found; from fewer it is one of the Gaussian's directions only,
#: with this ridge (products of directions have a mean square near 1).
_WHOLE, _RIDGE = 16, 0.02
#: Of a powder: fine energies for a standard deviation of the resolution, how far it reaches beyond the bins, and how
#: small a Fourier component may become before it is left out.
_FINE, _BEYOND, _NOTHING = 4, 12.0, 1e-9
#: Widest part of a powder's bin in |Q|, in standard deviations of the resolution, and most parts of a bin.
_POWDER_PART, _POWDER_PARTS = 1.0, 16
#: Columns in one task.
_COLUMNS = 32


@dataclass(frozen=True)
class CrystalGeometry:
    """What one convolution of a crystal's cut needs and does not depend on the couplings of the model, in tasks.

    Parameters
    ----------
    bins : Bins
    cells : Cells
    source : ModeGrid
        Its momenta are those at which a model is asked. Its modes decide only in which direction the points of the
        mixture are closest.
    points : int
        Of the mixture; made even.
    """

    bins: Bins
    cells: Cells
    source: ModeGrid
    points: int

    @property
    def tasks(self) -> int:
        """Number of tasks."""
        return -(-len(self.bins.columns) // _COLUMNS)

    def columns(self, number: int) -> np.ndarray:
        """Which of the bins' columns belong to a task."""
        return np.arange(number * _COLUMNS, min((number + 1) * _COLUMNS, len(self.bins.columns)))

    def patches(self, number: int) -> tuple[Patches, Mixtures]:
        """The Gaussians of one task; their rows count the columns of the task."""
        columns = self.columns(number)
        offsets, sizes = self._parts(columns)
        # The mean over the parts of a wide bin needs fewer points in each, if they are not the same.
        points = max(min(self.points, _LEAST_POINTS), int(self.points / np.sqrt(max(len(offsets) / _FEW_PARTS, 1))))
        mixtures = self.mixtures(points, len(sizes), min(len(offsets), _MIXTURES))
        parts = [self._part(columns, offset, sizes) for offset in offsets]
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        count = len(columns) * len(self.cells.borders)
        mixture = np.repeat(np.arange(len(offsets)) % _MIXTURES, count)
        row, cell = (np.tile(a.ravel(), len(offsets)) for a in np.indices((len(columns), count // len(columns))))
        share = 1 / (len(offsets) * mixtures.units.shape[1])
        return Patches(row=row, cell=cell, mixture=mixture, share=share, **joined), mixtures

    def mixtures(self, points: int, dimensions: int, count: int) -> Mixtures:
        """As many different mixtures of points, for bins that extend along so many axes."""
        found = [_mixture(points, dimensions, n) for n in range(count)]
        return Mixtures(*(np.stack(part) for part in zip(*found, strict=True)), _WITHIN)

    def _parts(self, columns) -> tuple[np.ndarray, np.ndarray]:
        """Centres of the parts of a bin in bin widths, shape (P, D), and their size along each axis, shape (D,)."""
        borders = self.cells.borders
        _, covariance = self._seen(columns, borders[[len(borders) // 2]], 0.0)
        spread = np.sqrt(np.einsum("ncii->nci", covariance[..., :3, :3]).min(axis=(0, 1)))
        reach = (np.abs(self.bins.directions) / spread).max(axis=1) * self.bins.matters
        counts = np.ceil(self.bins.widths * reach / _PART).clip(1, _MOST_ALONG).astype(int)
        while counts.prod() > _MOST_PARTS:
            counts[counts.argmax()] = (counts.max() + 1) // 2
        middles = [(np.arange(n) + 0.5) / n - 0.5 for n in counts]
        return np.array(list(itertools.product(*middles))), self.bins.widths / counts

    def _at(self, columns, energies, offset) -> tuple:
        """Coordinates and points of columns at energies and an offset from the centres of the bins, (C times K)."""
        coordinates = np.repeat(self.bins.coordinates(self.bins.columns[columns], offset), len(energies), axis=0)
        energies = np.minimum(np.tile(energies, len(columns)), self.bins.resolution.ei)
        return coordinates, self.bins.points(coordinates, energies)

    def _place(self, columns, energies, offset) -> np.ndarray:
        """Places, shape (C, K, 3)."""
        return self.bins.place(*self._at(columns, energies, offset)).reshape(len(columns), len(energies), 3)

    def _seen(self, columns, energies, offset) -> tuple[np.ndarray, np.ndarray]:
        """Places (C, K, 3) and covariances (C, K, 4, 4)."""
        coordinates, at = self._at(columns, energies, offset)
        shape = len(columns), len(energies)
        return self.bins.place(coordinates, at).reshape(*shape, 3), self.bins.covariance(at).reshape(*shape, 4, 4)

    def _part(self, columns, offset, sizes) -> dict[str, np.ndarray]:
        """Arrays of `Patches` for one part of the bins, (columns times nodes)."""
        place, covariance = self._seen(columns, self.cells.borders, offset)
        covariance = covariance.reshape(-1, 4, 4)
        root, slope, own = divided(covariance)
        root = root @ _turned(self._steepest(place.reshape(-1, 3), slope, root))
        shift, within = np.einsum("nab,na->nb", root, slope), np.sqrt(_WITHIN)
        root = self.source.cells_for_hkl.T @ root
        return {
            **self._placed(columns, place, offset, sizes),
            "root": root,
            "shift": shift,
            "near": root * within,
            "near_shift": shift * within,
            "own": own,
        }

    def _placed(self, columns, place, offset, sizes) -> dict[str, np.ndarray]:
        """Where the Gaussians of one part of the bins are, for places (C, K, 3)."""
        to_cells, rate = self.source.cells_for_hkl, np.gradient(place, self.cells.borders, axis=1)
        return {
            "place": self.source.to_cells(place.reshape(-1, 3)),
            "place_rate": rate.reshape(-1, 3) @ to_cells,
            "box": self._box(columns, offset, sizes) @ to_cells,
        }

    def _box(self, columns, offset, sizes) -> np.ndarray:
        """How places change over the volume of a part of the bins, shape (columns times nodes, D, 3)."""
        nodes = self.cells.borders
        if not self.bins.scattered:
            box = sizes[:, None] * self.bins.directions
            return np.broadcast_to(box, (len(columns) * len(nodes), *box.shape))
        steps = 0.5 * np.diag(sizes / self.bins.widths)
        moved = [
            self._place(columns, nodes, offset + step) - self._place(columns, nodes, offset - step) for step in steps
        ]
        return np.stack(moved, axis=2).reshape(-1, len(sizes), 3)

    def _steepest(self, place, slope, root) -> np.ndarray:
        """Where the recorded energy changes most, on the mean of the modes: (N, 3) in units of the resolution."""
        _, intensities, steep = self.source.modes_and_slopes(place)
        mean = np.einsum("nm,nma->na", intensities, steep) / np.maximum(intensities.sum(axis=1), 1e-300)[:, None]
        return np.einsum("na,nab->nb", mean - slope, root)


def beyond(patches: Patches, nodes: int) -> Patches:
    """With patches that carry the first and the last of some nodes on, below and above all, and do not change there."""
    names = [f.name for f in fields(Patches) if f.name != "share"]
    arrays = [{name: getattr(patches, name) for name in names}]
    for node, number in ((0, nodes), (nodes - 1, nodes + 1)):
        chosen = {name: values[patches.cell == node] for name, values in arrays[0].items()}
        still = {"place_rate": np.zeros_like(chosen["place_rate"])}
        arrays.append(chosen | still | {"cell": np.full(len(chosen["cell"]), number)})
    return Patches(**{name: np.concatenate([one[name] for one in arrays]) for name in names}, share=patches.share)


def divided(covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of covariances (N, 4, 4): root of that of the momentum (N, 3, 3), slope of the energy (N, 3), variance left (N,).

    The slope is the change of the energy with the momentum, and what is left is the variance at a given momentum.
    """
    momentum, coupling = covariance[:, :3, :3], covariance[:, :3, 3]
    slope = np.linalg.solve(momentum, coupling[..., None])[..., 0]
    return np.linalg.cholesky(momentum), slope, covariance[:, 3, 3] - (coupling * slope).sum(axis=-1)


def without_pulses(
    pulses: PulseShapes, deviations: np.ndarray, covariance: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """What is known of (Q, E) when it is known to which of its Gaussians each pulse belongs.

    Parameters
    ----------
    pulses : PulseShapes
    deviations : ndarray, shape (N, 2, D)
        For a standard deviation of each pulse.
    covariance : ndarray, shape (N, D, D)
        Of all deviations together.

    Yields
    ------
    mean : ndarray, shape (N, D)
    covariance : ndarray, shape (N, D, D)
    """
    for mean, left in zip(pulses.means, pulses.left, strict=True):
        less = np.einsum("njd,nje,j->nde", deviations, deviations, 1 - left)
        yield np.einsum("njd,j->nd", deviations, mean), covariance - less


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
    fit : ndarray, shape (G, 6)
        From values at the points to their second derivatives with `unit`, by a least-squares parabola: see `PAIRS`.
    """
    from scipy.special import ndtri

    half = _spread_evenly(max(8, points // 2), 3 + dimensions, number)
    unit, box = ndtri(half[:, :3]), half[:, 3:] - 0.5
    unit, box = np.vstack([unit, -unit]), np.vstack([box, -box])
    root = np.linalg.cholesky(np.cov(unit.T, bias=True))
    unit = np.sqrt(1 - _WITHIN) * np.linalg.solve(root, unit.T).T
    products = np.stack([unit[:, a] * unit[:, b] for a, b in PAIRS], axis=1)
    if len(half) >= _WHOLE:
        solved = np.linalg.pinv(np.column_stack([products, unit, box, box**2, np.ones(len(unit))]))
    else:  # opposite points see what is even alike, so that there are half as many equations for it as points
        of = products - products.mean(axis=0)
        solved = np.linalg.solve(of.T @ of + _RIDGE * len(unit) * np.eye(len(PAIRS)), of.T)
    return unit, box, solved[: len(PAIRS)].T * [2.0 if a == b else 1.0 for a, b in PAIRS]


def _spread_evenly(count: int, dimensions: int, number: int) -> np.ndarray:
    """Points of the unit cube: equal steps in the first dimension, part of a Kronecker sequence in the others."""
    golden = 2.0
    for _ in range(64):
        golden = (1 + golden) ** (1 / dimensions)
    steps = np.arange(count)[:, None]
    others = (0.5 + (steps + number * count) * golden ** -np.arange(1.0, dimensions)) % 1
    return np.hstack([(steps + 0.5) / count, others])


@dataclass(frozen=True)
class PowderGeometry:
    """What one convolution of a powder's (|Q|, E) needs and does not depend on the model, in tasks: one for each |Q|.

    Each row of the table has the weight of the Gaussian at its |Q|. Depending on its distance in |Q|, it is shifted in
    energy by the Q-E correlation and broadened by the remaining width: a phase and a damping of its Fourier transform
    along energy.

    Parameters
    ----------
    bins : Bins
    nodes : Nodes
    source : PowderTable
        Whose |Q| and directions are those at which a model is asked.
    sigma : float
        Smallest standard deviation of the resolution in energy, meV: sets how finely modes are binned.
    pulses : PulseShapes, optional
        One Gaussian for all if not given.
    """

    bins: Bins
    nodes: Nodes
    source: PowderTable
    sigma: float
    pulses: PulseShapes | None = None

    @property
    def tasks(self) -> int:
        """Number of tasks."""
        return len(self.bins.columns)

    @cached_property
    def covariances(self) -> np.ndarray:
        """Covariance of (|Q|, E) in all columns at all nodes, shape (C, K, 2, 2)."""
        return self.bins.covariance(self._points).reshape(len(self.bins.columns), -1, 2, 2)

    @cached_property
    def gaussians(self) -> list[tuple[float, np.ndarray, np.ndarray]]:
        """Weight, mean (C, K, 2) and covariance (C, K, 2, 2) of each Gaussian of the pulses."""
        if self.pulses is None:
            return [(1.0, np.zeros(self.covariances.shape[:3]), self.covariances)]
        shape = self.covariances.shape
        found = without_pulses(
            self.pulses, self.bins.deviations(self._points)[:, list(PULSES)], self.covariances.reshape(-1, 2, 2)
        )
        return [
            (weight, mean.reshape(shape[:3]), narrow.reshape(shape))
            for weight, (mean, narrow) in zip(self.pulses.weights, found, strict=True)
        ]

    @property
    def _points(self):
        count, columns = len(self.nodes.energies), self.bins.columns
        coordinates = self.bins.coordinates(np.repeat(columns, count))
        return self.bins.points(coordinates, np.tile(self.nodes.energies, len(columns)))


class PowderRun:
    """A powder's modes through the resolution.

    Parameters
    ----------
    geometry : PowderGeometry
    source : PowderTable
        Of the model.
    edges : ndarray, shape (F + 1,)
        Energy bins, meV.
    line : float
        Standard deviation of a Gaussian intrinsic line, meV.
    factors : tuple of (float, float)
        On the widths of the resolution in |Q| and in energy at a given |Q|.
    """

    def __init__(self, geometry: PowderGeometry, source: PowderTable, edges, line: float = 0.0, factors=(1.0, 1.0)):
        from scipy.fft import next_fast_len, rfft

        self.geometry, self.source, self.edges, self.line, self.factors = geometry, source, edges, line, factors
        nodes, middles = geometry.nodes, 0.5 * (edges[1:] + edges[:-1])
        self.shares = np.stack([np.interp(middles, nodes.energies, row) for row in np.eye(len(nodes.energies))])
        widest = np.sqrt(max(factors) ** 2 * geometry.covariances[..., 1, 1].max() + line**2)
        step = edges[1] - edges[0]
        self._parts = int(np.ceil(step / (geometry.sigma * min(*factors, 1.0)) * _FINE))
        margin = int(np.ceil(_BEYOND * widest / step * self._parts))
        count, fine = self._parts * (len(edges) - 1) + 2 * margin, step / self._parts
        self._length = next_fast_len(count, real=True)
        table = np.zeros((len(source.modulus), self._length))
        table[:, :count] = source.splines(edges[0] - (margin - 0.5) * fine, fine, count)
        self._rows, self._spline = Rows(rfft(table, axis=1)), fine**2 / 4
        self._frequency = 2 * np.pi * np.arange(self._length // 2 + 1) / (self._length * fine)
        self._inside = slice(margin, margin + self._parts * (len(edges) - 1))

    @property
    def tasks(self) -> int:
        """How many tasks there are."""
        return self.geometry.tasks

    def task(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Do one task: see `MonteCarlo.task`; the variance is 0."""
        from scipy.fft import irfft

        sums = np.zeros((len(self.shares), len(self._frequency)), complex)
        for weight, mean, covariance in self.geometry.gaussians:
            one = self._gaussian(number, self.factors[0] * mean[number], covariance[number])
            sums[:, : one.shape[1]] += weight * one
        blurred = irfft(sums, self._length, axis=1)[:, self._inside]
        blurred = blurred.reshape(len(blurred), -1, self._parts).sum(axis=2)
        total = (blurred * self.shares).sum(axis=0) / (self.edges[1] - self.edges[0])
        return np.array([number]), total[None], np.zeros((1, total.size))

    def _gaussian(self, number: int, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
        """The Fourier transform along energy at all nodes through one Gaussian: (nodes, lowest frequencies)."""
        slope = covariance[:, 0, 1] / covariance[:, 0, 0]
        own = covariance[:, 1, 1] - slope * covariance[:, 0, 1]
        # The splines into which modes are put have a variance of their own.
        within = self.factors[1] ** 2 * own + self.line**2 - self._spline
        within = np.maximum(within, 0.1 * self._spline)
        kept = np.searchsorted(self._frequency, np.sqrt(-2 * np.log(_NOTHING) / within)) + 1
        kept, spread = np.minimum(kept, len(self._frequency)), self.factors[0] * np.sqrt(covariance[:, 0, 0])
        sums = self._summed(self.geometry.bins.columns[number], mean, spread, slope, kept)
        return sums * np.exp(-0.5 * within[:, None] * self._frequency[: kept.max()] ** 2)

    def _summed(self, column: int, mean, spread: np.ndarray, slope: np.ndarray, kept: np.ndarray) -> np.ndarray:
        """Sum of the Fourier transforms of all rows, with weights and shifts: (nodes, frequencies)."""
        from scipy.special import ndtr

        width, modulus, step = self.geometry.bins.widths[0], self.source.modulus, self.source.step
        parts = int(np.clip(np.ceil(width / spread.min() / _POWDER_PART), 1, _POWDER_PARTS))
        sigma = np.hypot(spread, width / parts / np.sqrt(12))
        edges = np.append(modulus, modulus[-1] + step) - 0.5 * step
        offsets = (np.arange(parts) + 0.5) / parts - 0.5
        middles = self.geometry.bins.coordinates(np.full(parts, column), offsets[:, None])
        aside, ahead = mean.T
        away = edges - middles[:, :, None] - aside[:, None]
        shares = np.diff(ndtr(away / sigma[:, None]), axis=2) / parts
        seen = shares.max(axis=1) > 1e-6
        first = seen.argmax(axis=1)
        ranges = np.stack([first, np.where(seen.any(axis=1), seen.shape[1] - seen[:, ::-1].argmax(axis=1), first)], 1)
        # Rows are evenly spaced, so that each is shifted once more than the row before.
        begin = ahead + slope * (modulus[first, None] - middles - aside)
        apart = self._frequency[1]
        return self._rows.summed(shares, ranges, begin * apart, slope * step * apart, kept)
