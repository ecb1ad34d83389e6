"""Sums of rows, each turned by one more phase than the row before, by Horner's scheme: compiled where numba is
installed."""

from __future__ import annotations

from functools import cached_property, lru_cache

import numpy as np

from .compiled import loops_of


class Rows:
    """Rows of Fourier transforms at evenly spaced frequencies, to be summed with weights and shifts.

    Parameters
    ----------
    table : ndarray of complex, shape (R, F)
    """

    def __init__(self, table: np.ndarray):
        self._table = table

    def summed(self, shares: np.ndarray, ranges, begin: np.ndarray, turn: np.ndarray, kept: np.ndarray) -> np.ndarray:
        """Of each k the sum over p and r of ``shares[p, k, r] exp(i f (begin[p, k] + (r - first[p]) turn[k])) row[r]``,
        f = 0, 1, 2, ...

        Parameters
        ----------
        shares : ndarray, shape (P, K, R)
        ranges : ndarray of int, shape (P, 2)
            The rows that count: from ``first[p]`` to before the other.
        begin, turn : ndarray, shape (P, K) and (K,)
            Angles for one step of frequency.
        kept : ndarray of int, shape (K,)
            How many frequencies are wanted of each k: the others may be 0.

        Returns
        -------
        ndarray of complex, shape (K, kept.max())
        """
        loops = _compiled()
        if loops is not None:
            out = np.zeros((2, len(kept), kept.max()))
            loops(*out, shares, ranges, begin, turn, *self._parts, kept)
            return out[0] + 1j * out[1]
        steps = 1j * np.arange(kept.max())
        total, turned = np.zeros((len(kept), len(steps)), complex), np.exp(turn[:, None] * steps)
        for share, (first, last), start in zip(shares, ranges, begin, strict=True):
            sums = np.zeros_like(total)
            for row in range(first, last)[::-1]:
                sums *= turned
                sums += share[:, row, None] * self._table[row, : len(steps)]
            total += sums * np.exp(start[:, None] * steps)
        return total

    @cached_property
    def _parts(self) -> tuple[np.ndarray, np.ndarray]:
        return np.ascontiguousarray(self._table.real), np.ascontiguousarray(self._table.imag)


@lru_cache(1)
def _compiled():
    """The loops as numba compiles them, or None where it is not installed."""
    return loops_of("horner_loops")
