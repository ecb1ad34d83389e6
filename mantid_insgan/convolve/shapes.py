"""Resolution with the shapes of pulses, apertures, sample and pixels, without random numbers.

All deviations are represented by evenly spread points of their own distributions, drawn towards the middle. Each point
has a Gaussian in (Q, E) of the covariance that this leaves: a kernel estimate of the distribution, with the exact
covariance.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..instruments.beam import Beam
from ..instruments.covariance import DEVIATIONS
from ..instruments.montecarlo import shaped
from .covariance import CrystalGeometry, divided
from .kernel import PAIRS, Mixtures

#: Share of the variance of each deviation that is left to each point. Pulses are lopsided, and where one of them
#: decides, the points are evenly spread along it.
_NEAR = np.array([0.03, 0.03, *[0.1] * (len(DEVIATIONS) - 2)])
#: Points for each unknown of the fit that tells the curvature; with fewer it is left out.
_ENOUGH = 3


@dataclass(frozen=True)
class ShapesGeometry(CrystalGeometry):
    """As `CrystalGeometry`, with the shapes of the deviations."""

    def mixtures(self, points: int, dimensions: int, count: int) -> Mixtures:
        """See `CrystalGeometry.mixtures`; of second derivatives only the sum over the Gaussian of a point counts."""
        units, boxes = _points(self.bins.resolution.beam, points, dimensions, count)
        fits = np.zeros((*boxes.shape[:2], len(PAIRS)))
        if points >= _ENOUGH * (2 * units.shape[2] + 2 * dimensions + 1):
            fits[..., 0] = [2 * _bend(*one) for one in zip(units, boxes, strict=True)]
        return Mixtures(units, boxes, fits, np.array([1.0, 0.0, 0.0]))

    def _part(self, columns, offset, sizes) -> dict[str, np.ndarray]:
        coordinates, at = self._at(columns, self.cells.borders, offset)
        place = self.bins.place(coordinates, at).reshape(len(columns), -1, 3)
        deviations, to_cells = self.bins.deviations(at), self.source.cells_for_hkl
        near, slope, own = divided(np.einsum("njd,nje,j->nde", deviations, deviations, _NEAR))
        return {
            **self._placed(columns, place, offset, sizes),
            "root": to_cells.T @ np.swapaxes(deviations[..., :3], 1, 2),
            "shift": deviations[..., 3],
            "near": to_cells.T @ near,
            "near_shift": np.einsum("nab,na->nb", near, slope),
            "own": own,
        }


@lru_cache(16)
def _points(beam: Beam, points: int, dimensions: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Deviations (count, G, 14) of zero mean and variances 1 - `_NEAR`, and places in the bin (count, G, D)."""
    from scipy.stats import qmc

    power = int(np.ceil(np.log2(count * points)))
    even = qmc.Sobol(len(DEVIATIONS) + dimensions, scramble=True, rng=0).random_base2(power)[: count * points]
    units = shaped(beam, even[:, : len(DEVIATIONS)]).reshape(count, points, -1)
    boxes = even[:, len(DEVIATIONS) :].reshape(count, points, dimensions) - 0.5
    units -= units.mean(axis=1, keepdims=True)
    roots = np.linalg.cholesky(np.einsum("xga,xgb->xab", units, units) / points)
    units = np.sqrt(1 - _NEAR) * np.swapaxes(np.linalg.solve(roots, np.swapaxes(units, 1, 2)), 1, 2)
    return units, boxes


def _bend(units: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """From values at the points to how much more their mean over the Gaussian of a point is, shape (G,).

    A least-squares fit of squares of the deviations and of the places in the bin, with all linear terms.
    """
    terms = np.column_stack([units**2, units, boxes, boxes**2, np.ones(len(units))])
    return _NEAR @ np.linalg.pinv(terms)[: units.shape[1]]
