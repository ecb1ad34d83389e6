"""Adds many narrow distributions in energy to bins."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

#: Values worked on at once.
_EVENTS = 1 << 18


def spread_out(
    total: np.ndarray,
    row: np.ndarray,
    centre: np.ndarray,
    reach: np.ndarray,
    weight: np.ndarray,
    edges: np.ndarray,
    cumulative: Callable,
    share: np.ndarray | None = None,
) -> None:
    """Add distributions in energy to evenly spaced bins, per meV.

    Parameters
    ----------
    total : ndarray, shape (R, E)
        Added to in place.
    row, centre, reach, weight : ndarray, shape (N,)
        Row of `total`, centre in meV, half-range in meV, and intensity of each distribution.
    edges : ndarray, shape (E + 1,)
        meV.
    cumulative : callable
        Function of (energies from the centre, (n, K); indices of the distributions, (n,)): the fraction below them.
    share : ndarray, shape (E,), optional
        Factor for each bin.
    """
    step = (edges[-1] - edges[0]) / (len(edges) - 1)
    first = np.floor((centre - reach - edges[0]) / step).astype(int)
    length = np.floor((centre + reach - edges[0]) / step).astype(int) - first + 1
    # Those of about the same width in bins are worked out together, in one window.
    classes = np.ceil(np.log2(np.maximum(length, 1)) * 2).astype(np.int8)
    for number in np.unique(classes):
        chosen = np.flatnonzero(classes == number)
        window = np.arange(int(length[chosen].max()) + 1)
        for which in np.array_split(chosen, 1 + chosen.size * window.size // _EVENTS):
            away = (first[which] * step + edges[0] - centre[which])[:, None] + window * step
            part = cumulative(away, which)
            part = (part[:, 1:] - part[:, :-1]) * (weight[which] / step)[:, None]
            _put(total, row[which], first[which][:, None] + window[:-1], part, share)


def _put(total, row, place, part, share) -> None:
    bins = total.shape[1]
    inside = (place >= 0) & (place < bins)
    if share is not None:
        part = part * share[np.where(inside, place, 0)]
    flat = (row[:, None] * bins + place)[inside]
    total += np.bincount(flat, part[inside], total.size).reshape(total.shape)
