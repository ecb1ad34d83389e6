"""Measurement and model smoothed alike: a search begins there, where a mode beside the measured one still sees it."""

from __future__ import annotations

import numpy as np

from ..core.spectrum import Spectrum

#: Smoothing narrower than this, in bins, is none; the Gaussian is cut off at so many standard deviations.
NARROWEST, _CUT = 0.7, 3.0


class Smoothing:
    """A Gaussian mean over the fitted bins of a dataset, along energy; along all open axes if energy is not open.

    Bins that are not fitted have no weight: next to them the mean is over fewer.

    Parameters
    ----------
    spectrum : Spectrum
    valid : ndarray of bool, shape of the spectrum
        The N bins that are fitted.
    share : float
        Standard deviation of the Gaussian, as a share of the range of the fitted bins along each axis.
    """

    def __init__(self, spectrum: Spectrum, valid: np.ndarray, share: float):
        self._valid, energy = valid, spectrum.energy_axis
        opened = [i for i, count in enumerate(valid.shape) if count > 1]
        self._axes = [energy] if energy in opened else opened
        self.sigmas = [share * self._range(axis) for axis in self._axes]
        self._norm = self._filtered(np.ones(np.count_nonzero(valid)), 1.0)

    def _range(self, axis: int) -> int:
        """Bins from the first to the last that is fitted along an axis."""
        seen = np.flatnonzero(self._valid.any(axis=tuple(i for i in range(self._valid.ndim) if i != axis)))
        return int(seen[-1] - seen[0] + 1)

    @property
    def matters(self) -> bool:
        """Whether it reaches from one bin to the next."""
        return max(self.sigmas, default=0.0) >= NARROWEST

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Smoothed values, shape (N,) or (N, C)."""
        if values.ndim == 2:
            return np.stack([self(column) for column in values.T], axis=1) if values.size else values
        return self._filtered(values, 1.0) / self._norm

    def variance(self, variance: np.ndarray) -> np.ndarray:
        """Variances of the smoothed values, shape (N,); their correlations are left out."""
        # The square of a Gaussian is a Gaussian narrower by the root of 2, and a smaller one.
        smaller = np.prod([1 / (2 * np.sqrt(np.pi) * max(sigma, NARROWEST)) for sigma in self.sigmas])
        return smaller * self._filtered(variance, np.sqrt(0.5)) / self._norm**2

    def _filtered(self, values: np.ndarray, factor: float) -> np.ndarray:
        from scipy.ndimage import gaussian_filter1d

        full = np.zeros(self._valid.shape)
        full[self._valid] = values
        for axis, sigma in zip(self._axes, self.sigmas, strict=True):
            if sigma >= NARROWEST:
                full = gaussian_filter1d(full, factor * sigma, axis=axis, mode="constant", truncate=_CUT / factor)
        return full[self._valid]
