"""Models of S(Q,E) through the resolution of a spectrometer: Monte Carlo, interpolated, covariance, energy only."""

from .run import METHODS, GridAccuracyWarning, convolve, ideal, sample_modes

__all__ = ["METHODS", "GridAccuracyWarning", "convolve", "ideal", "sample_modes"]
