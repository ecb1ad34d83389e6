"""The shapes of a spectrometer's pulses as sums of Gaussians, for the powders of the method 'shapes'.

The pulses at moderator and chopper are the widest deviations that are no Gaussians. Each is replaced by a few Gaussians
with its mean and variance; given which of them, (Q, E) has a Gaussian of its own, so that the resolution is a sum of
Gaussians with full covariance.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from .beam import Beam

#: Weights, means and standard deviations that fit the characteristic function of each shape of unit variance (least
#: squares, with a weight of exp(-0.36 t^2): the other deviations smooth what is finer). Of the discrepancy of one
#: Gaussian, in the same measure, 1 % (chi-squared) and 36 % (triangle) are left.
_GAUSSIANS = {
    "chi-squared": ((0.405, -0.825, 0.350), (0.259, 0.027, 0.366), (0.253, 0.747, 0.724), (0.083, 1.659, 1.281)),
    "triangle": ((0.5, -0.672, 0.741), (0.5, 0.672, 0.741)),
}
#: The deviations with these shapes, by their place in `covariance.DEVIATIONS`.
PULSES = (0, 1)


@dataclass(frozen=True)
class PulseShapes:
    """Gaussians of both pulses together, K in all.

    Parameters
    ----------
    weights : ndarray, shape (K,)
        Sum is 1.
    means : ndarray, shape (K, 2)
        Time at moderator and chopper, in standard deviations of the pulse.
    left : ndarray, shape (K, 2)
        Share of the variance of each pulse that is left.
    """

    weights: np.ndarray
    means: np.ndarray
    left: np.ndarray

    @classmethod
    def of(cls, beam: Beam) -> PulseShapes:
        """Of the pulses of a beam."""
        pairs = list(itertools.product(gaussians(beam.source.shape), gaussians(beam.chopper.shape)))
        weights, means, sigmas = (np.array([[one[i] for one in pair] for pair in pairs]) for i in range(3))
        return cls(weights.prod(axis=1), means, sigmas**2)


def gaussians(shape: str) -> list[tuple[float, float, float]]:
    """Weight, mean and standard deviation of each Gaussian of a shape; zero mean and unit variance together.

    Parameters
    ----------
    shape : str
        As in `Pulse`.
    """
    weights, means, sigmas = np.array(_GAUSSIANS[shape]).T
    weights = weights / weights.sum()
    means = means - weights @ means
    spread = np.sqrt(weights @ (means**2 + sigmas**2))
    return list(zip(weights, means / spread, sigmas / spread, strict=True))
