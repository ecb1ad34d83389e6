"""Intrinsic lines put in after the resolution: finer energies, and the matrix from them to the bins."""

from __future__ import annotations

import math

import numpy as np

from ..models.lineshape import bin_modes
from .bins import Bins

#: How far a line reaches beyond the bins, in FWHM, and from where on it fades out.
_REACH, _FADES = 6.0, 5.0
#: The energies reach beyond the bins by a multiple of so many bins: the same energies for lines of similar width.
_STEPS = 8


def fine_line(bins: Bins, step: float, fwhm: float | None, shape: str) -> tuple[np.ndarray, np.ndarray]:
    """Energies no farther apart than `step` that reach beyond the bins, and the matrix from them to bins with a line.

    The line is put in after what has blurred the modes, so one that changes with the energy of its mode (dho) is taken
    at the energy recorded: right while it is wider than the resolution or far from E = 0.
    """
    edges, width = bins.energy.edges, bins.energy.width
    if fwhm is None:
        return edges, np.eye(len(bins.energy))
    parts = math.ceil(width / step * (1 - 1e-9))
    margin = _STEPS * math.ceil(_REACH * fwhm / width / _STEPS)
    fine = np.linspace(
        edges[0] - margin * width, edges[-1] + margin * width, (len(bins.energy) + 2 * margin) * parts + 1
    )
    middles = 0.5 * (fine[1:] + fine[:-1])[:, None]
    lines = bin_modes(np.maximum(middles, 1e-6), np.ones((middles.size, 1)), edges, fwhm=fwhm, shape=shape)
    # Energies come in without a step when a width that is fitted grows.
    beyond = np.maximum(edges[0] - middles, middles - edges[-1])
    faded = np.clip((_REACH - beyond / fwhm) / (_REACH - _FADES), 0, 1)
    return fine, lines * faded * (width / parts)


def to_bins(edges: np.ndarray, bins: Bins) -> np.ndarray:
    """From parts of the energy bins to their mean over each."""
    parts = (len(edges) - 1) // len(bins.energy)
    return np.repeat(np.eye(len(bins.energy)), parts, axis=0) / parts
