"""At which energy transfers a result, convolved again, differs from the data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ..core.spectrum import Axis, energy_axis

#: A range that explains a misfit has this share of it or more, this share of the bins that were compared or fewer, and
#: so many of them or more: a single peak of a cut, which few bins have, often has most of the misfit.
_HELD, _NARROW, _FEWEST = 0.8, 0.35, 50


class Place(NamedTuple):
    """A range of energy transfers, meV, and chi-squared per bin inside and outside it."""

    low: float
    high: float
    inside: float
    outside: float

    def __str__(self) -> str:
        return f"{self.inside:.3g} at E {self.low:.3g} to {self.high:.3g} meV and {self.outside:.2g} elsewhere"


@dataclass
class Misfit:
    """Squares of pulls by energy transfer; a sum of two is that of the parts of one spectrum.

    Attributes
    ----------
    sums : dict
        By the ends of each bin of the energy transfer, meV: the sum of the squares, and how many there are.
    """

    sums: dict[tuple[float, float], tuple[float, int]] = field(default_factory=dict)

    @classmethod
    def of(cls, axes: tuple[Axis, ...], place: tuple, pulls: np.ndarray) -> Misfit:
        """Of a slice of a spectrum.

        Parameters
        ----------
        axes : tuple of Axis
            Of the spectrum; without an open energy axis there is nothing to tell.
        place : tuple of int and slice
            Where the slice is in it.
        pulls : ndarray
            Of the slice, in the order of the axes; NaN where nothing was compared.
        """
        number = energy_axis(axes)
        axis, part = axes[number], place[number]
        if axis.integrated:
            return cls()
        if isinstance(part, slice):
            squares = np.moveaxis(pulls, sum(isinstance(p, slice) for p in place[:number]), 0)
            bins = range(*part.indices(len(axis)))
        else:
            squares, bins = pulls[None], [part]
        rows = squares.reshape(len(bins), -1) ** 2
        found = zip(bins, np.nansum(rows, axis=1), np.isfinite(rows).sum(axis=1), strict=True)
        return cls({(axis.edges[i], axis.edges[i + 1]): (float(total), int(n)) for i, total, n in found if n})

    def __add__(self, other: Misfit) -> Misfit:
        both = dict(self.sums)
        for bin_, (total, n) in other.sums.items():
            before, many = both.get(bin_, (0.0, 0))
            both[bin_] = before + total, many + n
        return Misfit(both)

    def place(self) -> Place | None:
        """The narrowest range of energies with most of the misfit, if it has few of the bins, but not very few."""
        edges = sorted(self.sums)
        totals, counts = np.array([self.sums[e] for e in edges]).reshape(-1, 2).T
        held, compared = (np.concatenate([[0.0], np.cumsum(x)]) for x in (totals, counts))
        ends = np.searchsorted(held, held[:-1] + _HELD * held[-1] - 1e-9 * held[-1])
        starts = np.flatnonzero((ends < len(held)) & (held[-1] > 0))
        if not len(starts):
            return None
        bins = compared[ends[starts]] - compared[starts]
        best = starts[bins.argmin()]
        share = bins.min() / compared[-1]
        if share > _NARROW or bins.min() < _FEWEST:
            return None
        inside, end = held[ends[best]] - held[best], ends[best]
        outside = (held[-1] - inside) / (compared[-1] - bins.min())
        return Place(edges[best][0], edges[end - 1][1], float(inside / bins.min()), float(outside))
