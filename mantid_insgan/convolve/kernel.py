"""Modes between the nodes of a table, blurred by a resolution that changes along energy, and put into energy bins.

There are two ways to the same sum: loops that numba compiles, where it is installed, and arrays of numpy.

Each of `Patches` is a Gaussian in momentum over a few energy bins, as a mixture of points. At one crystal angle its
place goes linearly with energy inside the patch, and so does the energy at which a point records a mode,
c(E) = c + c' (E - E0). With z = (E - c(E)) / s, the intensity in a bin is the integral of the Gaussian over z, divided
by 1 - c'.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from .compiled import loops_of

#: How far a Gaussian reaches, in standard deviations, and values of its cumulative in a table for each.
REACH, _PER_SIGMA = 5.0, 1024
#: Where a mode is met at almost all energies of a patch at once, with 1 - c' below this, the middle of a bin counts.
FLAT = 0.05
#: Modes no farther apart than this, relative to the highest energy, are one.
_DEGENERATE = 1e-6
#: Values worked on at once by numpy.
_AT_ONCE = 1 << 18
#: Pairs of the three directions of a Gaussian, as `Mixtures.fits` has them.
PAIRS = tuple(itertools.combinations_with_replacement(range(3), 2))


@dataclass(frozen=True)
class Mixtures:
    """Points for a Gaussian in three directions and for the volume of a bin.

    Parameters
    ----------
    units : ndarray, shape (X, G, P)
        X different mixtures of G points each, in P deviations.
    boxes : ndarray, shape (X, G, D)
        Between -1/2 and 1/2.
    fits : ndarray, shape (X, G, 6)
        From values at the points to their second derivatives with three deviations, by `PAIRS`.
    within : ndarray, shape (3,)
        Share of the variance of these three that is left to each point, where second derivatives count.
    """

    units: np.ndarray
    boxes: np.ndarray
    fits: np.ndarray
    within: np.ndarray


@dataclass(frozen=True)
class Patches:
    """Gaussians in momentum, each for one column and a few of its energy bins; N in all.

    Momenta are in units of the cells of the table of modes.

    Parameters
    ----------
    row, cell, mixture : ndarray of int, shape (N,)
        Row of the result, range of energies, and which of the mixtures.
    place, place_rate : ndarray, shape (N, 3)
        Middle, and its change for one meV.
    root : ndarray, shape (N, 3, P)
        From the unit deviations of the mixture to momenta, as columns.
    box : ndarray, shape (N, D, 3)
        From the volume of the bin to momenta.
    shift : ndarray, shape (N, P)
        How much earlier each unit deviation is recorded, meV.
    near, near_shift : ndarray, shape (N, 3, 3) and (N, 3)
        The same for the Gaussian that is left to each point.
    own : ndarray, shape (N,)
        Variance in energy that is left when the momentum is known, meV^2.
    share : float
        Of each point in the mean over the bin.
    """

    row: np.ndarray
    cell: np.ndarray
    mixture: np.ndarray
    place: np.ndarray
    place_rate: np.ndarray
    root: np.ndarray
    box: np.ndarray
    shift: np.ndarray
    near: np.ndarray
    near_shift: np.ndarray
    own: np.ndarray
    share: float


@dataclass(frozen=True)
class Ranges:
    """Energy bins of a result, and the ranges of them that patches belong to.

    Parameters
    ----------
    low, step : float
        First edge and width of a bin, meV.
    first, last : ndarray of int, shape (K,)
        Bins of each range: from `first` to before `last`; none where these are equal.
    middle : ndarray, shape (K,)
        Energy at which its patches are given, meV.
    shares : ndarray, shape (K, bins)
        Of the patches of each range in each bin; ranges overlap.
    """

    low: float
    step: float
    first: np.ndarray
    last: np.ndarray
    middle: np.ndarray
    shares: np.ndarray


@dataclass(frozen=True)
class ModeTable:
    """Modes on a regular grid of momenta.

    Parameters
    ----------
    counts : ndarray of int, shape (3,)
        Nodes along each axis, at least 2.
    energies : ndarray, shape (N, M)
        meV, N nodes with the last axis fastest.
    strengths : ndarray, shape (N, M)
        Intensity times energy.
    floor : float
        Energies below it are raised to it where they divide, meV.
    """

    counts: np.ndarray
    energies: np.ndarray
    strengths: np.ndarray
    floor: float

    @cached_property
    def polynomials(self) -> tuple[np.ndarray, np.ndarray]:
        """Energies and strengths as polynomials in the place within each cell, see `_polynomials`."""
        return _polynomials(self.energies, self.counts), _polynomials(self.strengths, self.counts)

    def merged(self) -> ModeTable:
        """Modes that are degenerate everywhere as one, with the sum of their intensities."""
        apart = np.abs(np.diff(self.energies, axis=1)).max(axis=0, initial=0.0)
        first = np.concatenate([[True], apart > _DEGENERATE * np.abs(self.energies).max(initial=0.0)])
        if first.all():
            return self
        starts = np.flatnonzero(first)
        summed = np.add.reduceat(self.strengths, starts, axis=1)
        return ModeTable(self.counts, np.ascontiguousarray(self.energies[:, starts]), summed, self.floor)


def blur(
    total: np.ndarray,
    patches: Patches,
    mixtures: Mixtures,
    ranges: Ranges,
    table: ModeTable,
    *,
    line: float = 0.0,
    factor: float = 1.0,
    compiled: bool | None = None,
) -> None:
    """Add modes through the resolution to `total`, shape (rows, bins), per meV.

    Parameters
    ----------
    total : ndarray
        Added to in place.
    patches, mixtures, ranges, table
    line : float
        Standard deviation of an intrinsic Gaussian line, meV.
    factor : float
        On all widths of the resolution.
    compiled : bool, optional
        Use the loops that numba compiles; if they are there, when not given.
    """
    loops = compiled_loops() if compiled is not False else None
    arguments = _arguments(patches, mixtures, ranges, table)
    if loops is None:
        _by_arrays(total, patches, mixtures, ranges, table, line, factor)
    else:
        loops(total, *arguments, line**2, factor, _cumulative())


def used_nodes(patches: Patches, mixtures: Mixtures, counts: np.ndarray, factor: float = 1.0) -> np.ndarray:
    """True for the nodes of a table between which the points of patches lie, shape (nodes,)."""
    used = np.zeros(counts, bool)
    size = max(1, _AT_ONCE // mixtures.units.shape[1])
    for start in range(0, len(patches.row), size):
        where = _points(patches, mixtures, slice(start, start + size), factor)
        cell, _ = cells_of(where, counts)
        flat = np.unique(cell.reshape(-1, 3) @ np.array([counts[1] * counts[2], counts[2], 1]))
        i, j, k = np.unravel_index(flat, tuple(counts))
        for a, b, c in itertools.product((0, 1), repeat=3):
            used[i + a, j + b, k + c] = True
    return used.ravel()


def _arguments(patches: Patches, mixtures: Mixtures, ranges: Ranges, table: ModeTable) -> tuple:
    return (
        (patches.row, patches.cell, patches.mixture),
        (patches.place, patches.root, patches.box, patches.shift),
        (patches.near, patches.near_shift, patches.own),
        patches.place_rate,
        patches.share,
        (mixtures.units, mixtures.boxes, mixtures.fits, mixtures.within),
        (ranges.low, ranges.step, ranges.first, ranges.last, ranges.middle, ranges.shares),
        (table.counts, *table.polynomials, table.floor),
    )


def _polynomials(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Coefficients in u, v, w of every cell of a grid: of 1, u, v, w, uv, uw, vw, uvw; shape (nodes, M, 8).

    Cells are numbered as their lowest nodes; of the last nodes along an axis there is none.
    """
    grid = values.reshape(*counts, -1)
    out = np.zeros((*grid.shape, 8))
    cells = out[:-1, :-1, :-1]
    low, high = slice(None, -1), slice(1, None)
    c = {n: grid[tuple(high if bit else low for bit in n)] for n in itertools.product((0, 1), repeat=3)}
    base, u, v, w = c[0, 0, 0], c[1, 0, 0], c[0, 1, 0], c[0, 0, 1]
    cells[..., 0], cells[..., 1], cells[..., 2], cells[..., 3] = base, u - base, v - base, w - base
    cells[..., 4] = c[1, 1, 0] - u - v + base
    cells[..., 5] = c[1, 0, 1] - u - w + base
    cells[..., 6] = c[0, 1, 1] - v - w + base
    cells[..., 7] = c[1, 1, 1] - c[1, 1, 0] - c[1, 0, 1] - c[0, 1, 1] + u + v + w - base
    return out.reshape(len(values), -1, 8)


@lru_cache(1)
def _cumulative() -> np.ndarray:
    """The cumulative of a Gaussian at -`REACH` to `REACH` standard deviations, `_PER_SIGMA` steps for each."""
    from scipy.special import ndtr

    return ndtr(np.linspace(-REACH, REACH, 2 * int(REACH) * _PER_SIGMA + 1))


@lru_cache(1)
def compiled_loops():
    """The loops as numba compiles them, or None where it is not installed."""
    return loops_of("loops")


def _by_arrays(total, patches: Patches, mixtures: Mixtures, ranges: Ranges, table: ModeTable, line, factor) -> None:
    """The same with numpy."""
    modes, points = table.energies.shape[1], mixtures.units.shape[1]
    size = max(1, _AT_ONCE // (modes * points))
    for k in range(len(ranges.middle)):
        if ranges.last[k] <= ranges.first[k]:
            continue
        members = np.flatnonzero(patches.cell == k)
        for chosen in np.array_split(members, 1 + len(members) // size) if len(members) else ():
            gaussians = _gaussians(patches, mixtures, table, chosen, line, factor)
            _deposit(total, patches.row[chosen], k, ranges, *gaussians)


def _points(patches: Patches, mixtures: Mixtures, chosen, factor: float) -> np.ndarray:
    """Momenta of the points of some patches, (n, G, 3)."""
    unit, box = mixtures.units[patches.mixture[chosen]], mixtures.boxes[patches.mixture[chosen]]
    where = patches.place[chosen, None] + factor * unit @ np.swapaxes(patches.root[chosen], 1, 2)
    return where + box @ patches.box[chosen]


def _gaussians(patches: Patches, mixtures: Mixtures, table: ModeTable, chosen, line, factor):
    """Centre, its rate, standard deviation and weight, each (n, G, M)."""
    where = _points(patches, mixtures, chosen, factor)
    cell, part = cells_of(where, table.counts)
    energies, slopes = interpolated(table.energies, table.counts, cell, part, slopes=True)
    strengths = interpolated(table.strengths, table.counts, cell, part)
    mixture = patches.mixture[chosen]
    unit, shift = mixtures.units[mixture], patches.shift[chosen]
    bend = np.einsum("ngp,ngm->npm", mixtures.fits[mixture], energies)
    bend *= np.array([np.sqrt(mixtures.within[a] * mixtures.within[b]) for a, b in PAIRS])[:, None]
    twice = np.array([1.0 if a == b else 2.0 for a, b in PAIRS])[:, None]
    moved = 0.5 * bend[:, [a == b for a, b in PAIRS]].sum(axis=1)
    centre = energies - factor * (unit @ shift[..., None]) + moved[:, None]
    slope = np.einsum("ngmj,nj->ngm", slopes, patches.place_rate[chosen])
    steep = factor * (slopes @ patches.near[chosen, None] - patches.near_shift[chosen, None, None])
    fixed = (patches.own[chosen] * factor**2 + line**2)[:, None] + 0.5 * (twice * bend**2).sum(axis=1)
    sigma = np.sqrt(fixed[:, None] + (steep**2).sum(axis=-1))
    return centre, slope, sigma, patches.share * strengths / np.maximum(energies, table.floor)


def _deposit(total, row, k: int, ranges: Ranges, centre, slope, sigma, weight) -> None:
    """Add Gaussians of range number `k`, each (n, G, M), to the rows of `total`."""
    from scipy.special import ndtr

    start, stop = int(ranges.first[k]), int(ranges.last[k])
    edges = ranges.low + np.arange(start, stop + 1) * ranges.step - ranges.middle[k]
    centre, reach = centre - ranges.middle[k], REACH * sigma
    away = np.sort([edges[0] * (1 - slope) - centre, edges[-1] * (1 - slope) - centre], axis=0)
    seen = (away[0] <= reach) & (away[1] >= -reach) & (weight != 0)
    row = np.broadcast_to(np.asarray(row)[:, None, None], centre.shape)[seen]
    columns = [a[seen] for a in (centre, slope, sigma, weight)]
    added = np.zeros((total.shape[0], stop - start))
    for part in np.array_split(np.arange(row.size), 1 + row.size * edges.size // _AT_ONCE):
        c, v, s, w = (a[part, None] for a in columns)
        z = (edges * (1 - v) - c) / s
        below, mean = ndtr(np.clip(z, -REACH, REACH)), 0.5 * (z[:, 1:] + z[:, :-1])
        turn = 1 - v
        density = np.exp(-0.5 * mean**2) / np.sqrt(2 * np.pi) * ranges.step / s
        steep = np.abs(turn) > FLAT
        inside = np.where(steep, np.diff(below, axis=1) / np.where(steep, turn, 1.0), density)
        inside *= w / ranges.step
        for b, values in enumerate(inside.T):
            added[:, b] += np.bincount(row[part], values, len(added))
    total[:, start:stop] += added * ranges.shares[k, start:stop]


def cells_of(where: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The cells in which momenta (..., 3) in units of cells lie, by their lowest node, and how far into them."""
    where = np.clip(where, 0, counts - 1)
    cell = np.minimum(where.astype(int), counts - 2)
    return cell, where - cell


def interpolated(values: np.ndarray, counts: np.ndarray, cell: np.ndarray, part: np.ndarray, *, slopes: bool = False):
    """Values on a grid, (nodes, M), linear within cells.

    Parameters
    ----------
    values : ndarray, shape (nodes, M)
    counts : ndarray of int, shape (3,)
    cell, part : ndarray, shape (..., 3)
        Lowest node of the cell, and how far from it to the next.
    slopes : bool
        Return also the slopes, for one cell.

    Returns
    -------
    ndarray, shape (..., M), and the slopes, shape (..., M, 3)
    """
    strides = np.array([counts[1] * counts[2], counts[2], 1])
    first = cell @ strides
    corners = np.array([values[first + int(np.dot(c, strides))] for c in itertools.product((0, 1), repeat=3)])
    left, changes = corners.reshape(2, 2, 2, *corners.shape[1:]), []
    for axis in range(3):
        share, steps = part[..., axis, None], left[1] - left[0]
        # Slopes along the axes done before are interpolated along this one as the values are.
        changes = [c[0] + share * (c[1] - c[0]) for c in changes]
        if slopes:
            changes.append(steps)
        left = left[0] + share * steps
    return (left, np.stack(changes, axis=-1)) if slopes else left
