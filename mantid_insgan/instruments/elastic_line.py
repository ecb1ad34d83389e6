"""The calculated shape of the elastic line, including the tail of the moderator pulse."""

from __future__ import annotations

import numpy as np

from .covariance import DEVIATIONS
from .instrument import Resolution

#: Deviations that the width factor multiplies.
_TIMES = ("source time", "chopper time")


class ElasticLine:
    """Shape of the elastic line: the distribution of the sum of all deviations in energy transfer.

    The characteristic function of the sum is the product of those of the deviations (chi-squared, triangle, uniform,
    Gaussian); its Fourier transform is the line shape, with the tail of the moderator pulse.

    Parameters
    ----------
    resolution : Resolution
    two_theta : float
        Scattering angle, degrees.
    """

    def __init__(self, resolution: Resolution, two_theta: float = 60.0):
        beam = resolution.beam
        angle = np.radians(two_theta)
        kf = beam.kf([0.0])
        found = resolution.propagation(np.array([[-np.sin(angle), 0.0, np.cos(angle)]]), kf)
        # Deviations that raise the true energy transfer above the nominal one lower the recorded energy by as much.
        self.spread = -found.jacobian[0, 3] * np.sqrt(found.variances[0])
        self.time = np.array([DEVIATIONS.index(name) for name in _TIMES])
        self.shapes = [beam.source.shape, beam.chopper.shape]
        self.shapes += ["gaussian" if beam.divergence.distance is None else "uniform"] * 2
        self.shapes += ["uniform"] * 7 + ["gaussian"] * 3

    def __call__(self, offsets: np.ndarray, factor: float = 1.0) -> np.ndarray:
        """Density (1/meV) at offsets (meV) from the nominal energy, with the time widths multiplied by `factor`."""
        spread = self.spread.copy()
        spread[self.time] *= factor
        width = np.sqrt((spread**2).sum())
        count, span = 2048, 40 * width
        grid = (np.arange(count) - count // 2) * (span / count)
        omega = 2 * np.pi * np.fft.fftfreq(count, span / count)
        transform = np.ones(count, complex)
        for shape, s in zip(self.shapes, spread, strict=True):
            transform *= _characteristic(shape, omega * s)
        density = np.fft.fftshift(np.fft.ifft(np.conj(transform)).real) * count / span
        return np.interp(offsets, grid, density, left=0.0, right=0.0)

    def fwhm(self, factor: float = 1.0) -> float:
        """FWHM of the line, meV (a Gaussian of the same variance is slightly wider)."""
        offsets = np.linspace(-6, 6, 4001) * np.sqrt((self.spread**2).sum()) * max(factor, 1.0)
        line = self(offsets, factor)
        above = offsets[line > 0.5 * line.max()]
        return float(above[-1] - above[0])


def _characteristic(shape: str, t: np.ndarray) -> np.ndarray:
    """Characteristic function of a distribution of zero mean and unit variance."""
    if shape == "chi-squared":
        t = t / np.sqrt(3)
        return np.exp(-3j * t) / (1 - 1j * t) ** 3
    if shape == "triangle":
        return np.sinc(np.sqrt(1.5) * t / np.pi) ** 2
    if shape == "uniform":
        return np.sinc(np.sqrt(3) * t / np.pi)
    return np.exp(-(t**2) / 2)
