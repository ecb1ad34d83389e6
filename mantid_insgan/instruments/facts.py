"""What is known of each spectrometer, from `instruments.toml` and ResINS, and the pulse widths at one setting."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from importlib import resources

from ..core.constants import FWHM_PER_SIGMA, HBAR2_OVER_2M, HBAR_OVER_M
from ..errors import RunFactError
from .beam import NICKEL_CRITICAL_ANGLE, Divergence, Pulse


@cache
def facts() -> dict[str, dict]:
    """Static facts of every instrument, by name."""
    import tomllib

    text = resources.files(__package__).joinpath("instruments.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def known_instruments() -> tuple[str, ...]:
    """Names of the instruments."""
    return tuple(facts())


def instrument_name(name: str) -> str:
    """The name of an instrument as it is kept here, whatever its case; aliases are understood.

    Raises
    ------
    RunFactError
        If there is no such instrument; the message lists the known.
    """
    wanted = str(name).strip().upper()
    for known, entry in facts().items():
        if wanted in (known.upper(), *(alias.upper() for alias in entry["aliases"])):
            return known
    raise RunFactError(
        f"instrument {name!r} is not known; the known are {', '.join(known_instruments())}",
        "give one of them (--instrument)",
    )


def known_choppers(instrument: str) -> tuple[str, ...]:
    """Names of the chopper packages of an instrument, as ResINS spells them."""
    return tuple(_resins(instrument_name(instrument)).possible_options_for_model_and_configuration(*_PYCHOP))


def default_chopper(instrument: str) -> str:
    """The package that ResINS takes if none is given."""
    return _resins(instrument_name(instrument)).default_option_for_configuration(*_PYCHOP)


def chopper_name(instrument: str, chopper: str) -> str:
    """The name of a chopper package as ResINS spells it, whatever its case.

    Raises
    ------
    RunFactError
        If the instrument has no such package; the message lists those it has.
    """
    instrument = instrument_name(instrument)
    wanted = str(chopper).strip().lower()
    wanted = facts()[instrument].get("chopper_aliases", {}).get(wanted, wanted).lower()
    known = known_choppers(instrument)
    for package in known:
        if package.lower() == wanted:
            return package
    raise RunFactError(
        f"chopper package {chopper!r} is not known for {instrument}; it has {', '.join(known)}",
        "give one of them (--chopper)",
    )


@dataclass(frozen=True)
class Limits:
    """Ei range (meV), frequency ranges and defaults (Hz) of a chopper package; one range per driven chopper."""

    ei: tuple[float, float]
    frequency_names: tuple[str, ...]
    frequency: tuple[tuple[float, float], ...]
    default_frequency: tuple[float, ...]


def limits(instrument: str, chopper: str) -> Limits:
    """Ranges that ResINS allows for a chopper package."""
    data = model_data(instrument, chopper)
    names = tuple(name for name in data.defaults if name != "e_init")
    ranges = tuple((float(r[0]), float(r[1] - 1)) for r in (data.restrictions[name] for name in names))
    low, high = data.restrictions["e_init"]
    return Limits((float(low), float(high)), names, ranges, tuple(float(data.defaults[name]) for name in names))


_PYCHOP = ("PyChop_fit", "chopper_package")


@cache
def _resins(instrument: str):
    from resins import Instrument

    return Instrument.from_default(facts()[instrument]["resins"])


def model_data(instrument: str, chopper: str):
    """ResINS' own description of an instrument with a chopper package (PyChop's parameters)."""
    return _resins(instrument_name(instrument)).get_model_data("PyChop_fit", chopper_package=chopper)


@dataclass(frozen=True)
class Timing:
    """Pulses and the chopper's turn at one setting: see `Beam`."""

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
        take the chopper's burst from ResINS; a Fermi chopper's variance is that of Perring (1991) for curved slits,
        which also Tobyfit uses.

    Raises
    ------
    RunFactError
        If the chopper lets nothing through.
    """
    from resins.models.pychop import NoTransmissionError, PyChopModelFermi, PyChopModelNonFermi

    data, entry = model_data(instrument, chopper), facts()[instrument]
    fermi = hasattr(data, "pslit")
    widths = PyChopModelFermi if fermi else PyChopModelNonFermi
    try:
        burst, shaping = widths._get_chopper_width_squared(data, ei, list(frequencies))
    except NoTransmissionError:
        raise RunFactError(
            f"the {chopper} chopper of {instrument} at {frequencies[0]:g} Hz lets no neutrons of {ei:g} meV through, "
            f"only {_transmitted(data, frequencies[0])}",
            "check --ei, --chopper and --frequency: a lower Ei wants a lower frequency",
        ) from None
    to_chopper = entry["moderator_sample"] - entry["chopper_sample"]
    if model == "tobyfit":
        a, b = entry["tau"]
        source = math.sqrt(3) * (a / math.sqrt(ei) + b) * 1e-6  # chi-squared with t^2: variance 3 tau^2
    else:
        source = math.sqrt(widths._get_moderator_width_squared(data.moderator, ei)) / FWHM_PER_SIGMA
    pulse = Pulse(source, "chi-squared")
    burst_pulse = Pulse(math.sqrt(burst) / FWHM_PER_SIGMA, "triangle")
    if fermi:
        # Crystals behind the chopper give the beam another direction than it had there.
        turn = 0.0 if entry.get("crystals_after_chopper") else 2 * math.pi * frequencies[0]
        return Timing(pulse, burst_pulse, to_chopper, turn)
    # Disks: the first shapes the moderator pulse. What passes the last chopper at one moment left the moderator within
    # its pulse seen from the first disk, or within the opening of that disk, whichever is shorter (PyChop's rule).
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
        FWHM in degrees at any one point of the sample, instead of what follows from aperture or guide.
    """
    entry = facts()[instrument]
    wavelength = 2 * math.pi / math.sqrt(ei / HBAR2_OVER_2M)
    given = [None if d is None else math.radians(d) / FWHM_PER_SIGMA for d in (horizontal, vertical)]
    if "guide" in entry:
        guide = entry["guide"]
        for i, side in enumerate(("horizontal", "vertical")):
            critical = 2 * NICKEL_CRITICAL_ANGLE * guide[f"m_{side}"] * wavelength
            fwhm = min(critical, math.radians(guide[f"limit_{side}"]))
            given[i] = fwhm / FWHM_PER_SIGMA if given[i] is None else given[i]
        return Divergence(None, *given)
    aperture = entry["aperture"]
    widen = math.sqrt(_flux_gain(entry["flux_gain"], wavelength)) if "flux_gain" in entry else 1.0
    distance = aperture["distance"]
    for i, side in enumerate(("width", "height")):
        sigma = aperture[side] * widen / math.sqrt(12)
        given[i] = sigma if given[i] is None else given[i] * distance
    return Divergence(distance, *given)


def _flux_gain(gain: dict, wavelength: float) -> float:
    def curve(x: float) -> float:
        terms = (c * x**n for n, c in enumerate(gain["polynomial"]))
        return 1 + math.exp(-gain["x0"] / x) * sum(terms)

    top = gain["lambda_max"]
    if wavelength <= top:
        return curve(wavelength)
    step = 0.01
    return curve(top) + (wavelength - top) * (curve(top + step) - curve(top - step)) / (2 * step)


def _transmitted(fermi, frequency: float) -> str:
    """The energies that a Fermi chopper's slits transmit, in words.

    Slits of width p and curvature rho in a drum of radius R turning at omega transmit while
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
