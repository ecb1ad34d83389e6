"""The pulses of a spectrometer and the divergence of its beam at one setting."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..core.constants import FWHM_PER_SIGMA, HBAR2_OVER_2M, HBAR_OVER_M
from ..errors import RunFactError
from .beam import NICKEL_CRITICAL_ANGLE, Divergence, Pulse
from .catalogue import catalogue
from .choppers import is_fermi, model_data, squared_widths


@dataclass(frozen=True)
class Timing:
    """Pulses and angular speed of the chopper at one setting: see `Beam`."""

    source: Pulse
    chopper: Pulse
    source_chopper: float
    chopper_turn: float


def timing(instrument: str, chopper: str, ei: float, frequencies: tuple[float, ...], model: str) -> Timing:
    """Widths in time of the moderator pulse and of the chopper burst.

    Parameters
    ----------
    instrument, chopper : str
        Names as `instrument_name` and `chopper_name` give them.
    ei : float
        meV.
    frequencies : tuple of float
        Hz, one per driven chopper.
    model : str
        'tobyfit' (chi-squared pulse with the `tau` of instruments.toml) or 'pychop' (ResINS' moderator width). Both
        use the chopper burst from ResINS; the variance of a Fermi chopper is that of Perring (1991) for curved
        slits, as in Tobyfit.

    Raises
    ------
    RunFactError
        If the chopper transmits no neutrons of this energy.
    """
    data, entry = model_data(instrument, chopper), catalogue()[instrument]
    widths = squared_widths(data, ei, frequencies, moderator=model == "pychop")
    if widths is None:
        raise RunFactError(
            f"the {chopper} chopper of {instrument} at {frequencies[0]:g} Hz transmits no neutrons of {ei:g} meV, only "
            f"those {_transmitted(data, frequencies[0])}",
            "check --ei, --chopper and --frequency: a lower Ei needs a lower frequency",
        )
    burst, shaping, moderator = widths
    to_chopper = entry.moderator_sample - entry.chopper_sample
    if model == "tobyfit":
        a, b = entry.tau
        source = math.sqrt(3) * (a / math.sqrt(ei) + b) * 1e-6  # chi-squared with t^2: variance 3 tau^2
    else:
        source = math.sqrt(moderator) / FWHM_PER_SIGMA
    pulse = Pulse(source, "chi-squared")
    burst_pulse = Pulse(math.sqrt(burst) / FWHM_PER_SIGMA, "triangle")
    if is_fermi(data):
        # Crystals after the chopper change the direction of the beam: its angle there is not that at the sample.
        turn = 0.0 if entry.crystals_after_chopper else 2 * math.pi * frequencies[0]
        return Timing(pulse, burst_pulse, to_chopper, turn)
    # Disc choppers: the first shapes the moderator pulse. Neutrons that pass the last chopper at one time passed the
    # first within the moderator pulse projected onto it, or within its opening, whichever is shorter (PyChop's rule).
    first = next(iter(data.choppers.values()))["distance"]
    seen = source * (1 - first / to_chopper)
    opening = math.sqrt(shaping) / FWHM_PER_SIGMA
    pulse = Pulse(opening, "triangle") if opening < seen else Pulse(seen, "chi-squared")
    return Timing(pulse, burst_pulse, to_chopper - first, 0.0)


def divergence(instrument: str, ei: float, horizontal: float | None, vertical: float | None) -> Divergence:
    """Spread of the incident beam.

    Parameters
    ----------
    instrument : str
    ei : float
        meV.
    horizontal, vertical : float, optional
        FWHM in degrees at a point of the sample; replaces that of the aperture or guide.
    """
    entry = catalogue()[instrument]
    wavelength = 2 * math.pi / math.sqrt(ei / HBAR2_OVER_2M)
    given = [None if d is None else math.radians(d) / FWHM_PER_SIGMA for d in (horizontal, vertical)]
    if entry.guide is not None:
        for i, side in enumerate(("horizontal", "vertical")):
            critical = 2 * NICKEL_CRITICAL_ANGLE * getattr(entry.guide, f"m_{side}") * wavelength
            fwhm = min(critical, math.radians(getattr(entry.guide, f"limit_{side}")))
            given[i] = fwhm / FWHM_PER_SIGMA if given[i] is None else given[i]
        return Divergence(None, *given)
    widen = 1.0 if entry.flux_gain is None else math.sqrt(entry.flux_gain.at(wavelength))
    distance = entry.aperture.distance
    for i, side in enumerate(("width", "height")):
        sigma = getattr(entry.aperture, side) * widen / math.sqrt(12)
        given[i] = sigma if given[i] is None else given[i] * distance
    return Divergence(distance, *given)


def _transmitted(fermi, frequency: float) -> str:
    """The range of energies that the slits of a Fermi chopper transmit, as text.

    Slits of width p and radius of curvature rho in a rotor of radius R turning at omega transmit if
    (2 R^2 / p) |1/rho - 2 omega / v| < 4 (Perring 1991).
    """
    omega = 2 * math.pi * frequency
    reach = 2 * fermi.pslit / fermi.radius**2
    slowest = 2 * omega / (1 / fermi.rho + reach)
    words = f"above {HBAR2_OVER_2M * (slowest / HBAR_OVER_M) ** 2:.3g} meV"
    if 1 / fermi.rho > reach:
        fastest = 2 * omega / (1 / fermi.rho - reach)
        words += f" and below {HBAR2_OVER_2M * (fastest / HBAR_OVER_M) ** 2:.3g} meV"
    return words
