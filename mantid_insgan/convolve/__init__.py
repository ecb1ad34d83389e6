"""Convolution of models of S(Q,E) with the resolution: Monte Carlo, interpolated, covariance, energy only."""

from .run import METHODS, GridAccuracyWarning, convolve, ideal, sample_modes

__all__ = ["METHODS", "GridAccuracyWarning", "convolve", "ideal", "sample_modes"]
