"""The parameters of one spectrometer at one setting that determine its resolution.

Lab frame (Mantid's): z along the incident beam, y up, x horizontal. Momentum in 1/Angstrom, energy in meV, lengths in
metres, times in seconds, angles in radians; spreads are standard deviations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..core.constants import FWHM_PER_SIGMA, HBAR2_OVER_2M, HBAR_OVER_M
from ..core.sample import Sample

#: Critical angle of natural nickel, rad per Angstrom (0.0990 degrees).
NICKEL_CRITICAL_ANGLE = math.radians(0.0990)
#: Macroscopic absorption cross section of helium-3 at 1 atm and 273 K: per metre, for k = 1/Angstrom (the absorption
#: cross section is 5333 barn at 2200 m/s and varies as 1/k).
HELIUM_ABSORPTION = 50.05


@dataclass(frozen=True)
class Pulse:
    """A distribution in time: standard deviation (s) and shape ('chi-squared' or 'triangle')."""

    sigma: float
    shape: str

    def scaled(self, factor: float) -> Pulse:
        """The same shape, `factor` times as wide."""
        return Pulse(self.sigma * factor, self.shape)


@dataclass(frozen=True)
class Divergence:
    """Spread of the incident beam.

    Parameters
    ----------
    distance : float or None
        From the aperture to the sample, m; None after a guide.
    horizontal, vertical : float
        Standard deviations: of the point in the aperture where a ray starts, m; after a guide, of the direction of a
        ray, rad, the same at every point of the sample.
    """

    distance: float | None
    horizontal: float
    vertical: float

    @property
    def fwhm(self) -> tuple[float, float]:
        """FWHM at a point of the sample, degrees, horizontal and vertical."""
        per_radian = math.degrees(FWHM_PER_SIGMA) / (1.0 if self.distance is None else self.distance)
        return self.horizontal * per_radian, self.vertical * per_radian


@dataclass(frozen=True)
class Tube:
    """A helium-3 tube: radius (m), pixel height (m), pressure (atm) and time channel (s)."""

    radius: float
    pixel_height: float
    pressure: float
    time_bin: float


@dataclass(frozen=True)
class Beam:
    """A spectrometer at one setting.

    Parameters
    ----------
    ei : float
        Incident energy, meV.
    source : Pulse
        Start of the flight to the chopper: the moderator, or the first disc if its opening is shorter than the pulse.
    chopper : Pulse
        The burst that the last chopper transmits.
    source_chopper, chopper_sample, sample_detector : float
        Flight paths, m.
    moderator_sample, moderator_tilt : float
        Distance from the moderator to the sample (m), and the tangent of the angle of the moderator face; 0 with a
        guide.
    chopper_turn : float
        Angular speed (rad/s) of a Fermi chopper, whose opening time depends on the angle of the ray; 0 for disc
        choppers.
    divergence : Divergence
    sample : Sample
    tube : Tube
    mosaic : float
        Standard deviation of the crystal's orientation about any axis, rad.
    """

    ei: float
    source: Pulse
    chopper: Pulse
    source_chopper: float
    chopper_sample: float
    sample_detector: float
    moderator_sample: float
    moderator_tilt: float
    chopper_turn: float
    divergence: Divergence
    sample: Sample
    tube: Tube
    mosaic: float

    @property
    def ki(self) -> float:
        """Incident wavevector, 1/Angstrom."""
        return math.sqrt(self.ei / HBAR2_OVER_2M)

    @property
    def vi(self) -> float:
        """Incident speed, m/s."""
        return HBAR_OVER_M * self.ki

    def kf(self, energy) -> np.ndarray:
        """Final wavevector (1/Angstrom) for energy transfers in meV.

        The final energy is taken to be at least 0.1 % of Ei, so that widths stay finite.
        """
        final = np.maximum(self.ei - np.asarray(energy, dtype=float), 1e-3 * self.ei)
        return np.sqrt(final / HBAR2_OVER_2M)


def absorption_moments(tube: Tube, kf) -> tuple[np.ndarray, np.ndarray]:
    """Variances of the point of absorption in a helium-3 tube: along the neutron and across the tube.

    The tube is filled by a parallel beam; at offset w the chord is 2 sqrt(R^2 - w^2), and the density of absorption
    decays exponentially along it. (T. G. Perring's Chebyshev expansion in PyChop approximates the variance along the
    path of the neutron.)

    Parameters
    ----------
    tube : Tube
    kf : array_like, shape (N,)
        Final wavevectors, 1/Angstrom.

    Returns
    -------
    along, across : ndarray, shape (N,)
        m^2.
    """
    kf = np.asarray(kf, dtype=float)
    if tube.radius == 0:
        return np.zeros(kf.shape), np.zeros(kf.shape)
    nodes, weights = _nodes_and_weights()
    offset = np.sin(0.5 * np.pi * nodes)  # w / R; this substitution removes the square root at the rim
    half = np.sqrt(1 - offset**2)
    thickness = HELIUM_ABSORPTION * tube.pressure * tube.radius / kf[..., None]  # radius in mean free paths
    chord = 2 * thickness * half
    lost = np.exp(-chord)
    absorbed = -np.expm1(-chord)
    # Moments of the depth t (in mean free paths, from the face) of exp(-t) on [0, chord].
    first = absorbed - chord * lost
    second = 2 * first - chord**2 * lost
    entry = thickness * half
    weight = weights * half
    total = (weight * absorbed).sum(-1)
    mean = (weight * (first - entry * absorbed)).sum(-1) / total
    square = (weight * (second - 2 * entry * first + entry**2 * absorbed)).sum(-1) / total
    free_path = tube.radius / thickness[..., 0]
    along = (square - mean**2) * free_path**2
    across = (weight * absorbed * offset**2).sum(-1) / total * tube.radius**2
    return along, across


@lru_cache(1)
def _nodes_and_weights() -> tuple[np.ndarray, np.ndarray]:
    """Of Gauss and Legendre, for an integral across the tube."""
    return np.polynomial.legendre.leggauss(32)
