"""Convolution of models of S(Q,E) with the resolution: Monte Carlo, interpolated, covariance, energy only."""

from .prepared import Prepared, prepare
from .run import METHODS, convolve, ideal, sample_modes
from .sources import GridAccuracyWarning

__all__ = ["METHODS", "GridAccuracyWarning", "Prepared", "convolve", "ideal", "prepare", "sample_modes"]
