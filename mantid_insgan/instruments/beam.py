"""The parameters of one spectrometer at one setting that determine its resolution.

Lab frame (Mantid's): z along the incident beam, y up, x horizontal. Momentum in 1/Angstrom, energy in meV, lengths in
metres, times in seconds, angles in radians; spreads are standard deviations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..core.constants import HBAR2_OVER_2M, HBAR_OVER_M
from ..errors import InputError

#: Critical angle of natural nickel, rad per Angstrom (0.0990 degrees).
NICKEL_CRITICAL_ANGLE = math.radians(0.0990)
#: Macroscopic absorption cross section of helium-3 at 1 atm and 273 K: per metre, for k = 1/Angstrom (the absorption
#: cross section is 5333 barn at 2200 m/s and varies as 1/k).
HELIUM_ABSORPTION = 50.05


#: Sizes that each shape has.
_SIZES = {"cylinder": ("width", "height"), "annulus": ("width", "height"), "sphere": ("width",)}


@dataclass(frozen=True)
class Sample:
    """Shape and size of the sample.

    Parameters
    ----------
    shape : str
        'cuboid', 'cylinder' (axis vertical), 'annulus' (thin vertical wall) or 'sphere'.
    width, height, thickness : float
        Full size in metres: across the beam (horizontal), vertical, and along the beam. The diameter of a cylinder,
        annulus or sphere is `width`; a sphere has no other size.

    Raises
    ------
    InputError
        If the shape is not known or a size is negative.
    """

    shape: str = "cuboid"
    width: float = 0.01
    height: float = 0.01
    thickness: float = 0.01

    def __post_init__(self):
        if self.shape not in ("cuboid", "cylinder", "annulus", "sphere"):
            raise InputError(
                f"sample shape {self.shape!r} is not known", "use cuboid, cylinder, annulus or sphere (--sample)"
            )
        if not min(self.width, self.height, self.thickness) >= 0:
            raise InputError(
                f"the sample is {self.width:g} x {self.height:g} x {self.thickness:g} m",
                "give its width, height and thickness in metres, none of them negative",
            )

    @classmethod
    def parsed(cls, given: str | Sample | None) -> Sample | None:
        """``'cylinder,10,40'`` (shape, then width, height and thickness in mm, as many as the shape has) as a Sample; a
        Sample and None are returned as they are.

        Raises
        ------
        InputError
            If the text has another form, the shape is not known, or a size is negative.
        """
        if given is None or isinstance(given, cls):
            return given
        shape, *sizes = str(given).split(",")
        try:
            metres = [float(size) / 1000 for size in sizes]
        except ValueError:
            metres = []
        names = _SIZES.get(shape.strip(), ("width", "height", "thickness"))
        if not all(map(math.isfinite, metres)) or not len(names) <= len(metres) <= 3:
            raise InputError(
                f"the sample {given!r} is no shape with its sizes in mm",
                "give --sample cuboid,WIDTH,HEIGHT,THICKNESS, cylinder,WIDTH,HEIGHT, annulus,WIDTH,HEIGHT or "
                "sphere,WIDTH",
            )
        return cls(shape.strip(), **dict(zip(("width", "height", "thickness"), metres, strict=False)))

    def variances(self) -> np.ndarray:
        """Variance of the scattering point along x, y, z in m^2, shape (3,), for uniform illumination."""
        across = self.width**2
        if self.shape == "sphere":
            return np.full(3, across / 20)
        if self.shape == "cuboid":
            return np.array([across, self.height**2, self.thickness**2]) / 12
        horizontal = across / (16 if self.shape == "cylinder" else 8)
        return np.array([horizontal, self.height**2 / 12, horizontal])


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
    nodes, weights = np.polynomial.legendre.leggauss(32)
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
