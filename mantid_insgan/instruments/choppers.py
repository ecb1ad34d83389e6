"""Chopper packages, their ranges, and the pulse widths of ResINS (PyChop's parameters)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from ..core.run import plain_name
from ..errors import DeviceError, RunFactError
from .catalogue import catalogue, instrument_name

#: The version of ResINS whose private methods `squared_widths` was written for (constraints.txt).
RESINS_VERSION = "0.1.0"
_MODEL = ("PyChop_fit", "chopper_package")


@cache
def _resins(instrument: str):
    from resins import Instrument

    return Instrument.from_default(catalogue()[instrument].resins)


def known_choppers(instrument: str) -> tuple[str, ...]:
    """Names of the chopper packages of an instrument, as ResINS spells them."""
    return tuple(_resins(instrument_name(instrument)).possible_options_for_model_and_configuration(*_MODEL))


def default_chopper(instrument: str) -> str:
    """The package that ResINS uses if none is given."""
    return _resins(instrument_name(instrument)).default_option_for_configuration(*_MODEL)


def chopper_name(instrument: str, chopper: str) -> str:
    """The name of a chopper package as ResINS spells it, whatever its case, blanks, hyphens and underscores.

    Raises
    ------
    RunFactError
        If the instrument has no such package; the message lists those it has.
    """
    instrument = instrument_name(instrument)
    wanted = plain_name(str(chopper))
    wanted = plain_name((catalogue()[instrument].chopper_aliases or {}).get(wanted, wanted))
    known = known_choppers(instrument)
    for package in known:
        if plain_name(package) == wanted:
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


@cache
def limits(instrument: str, chopper: str) -> Limits:
    """Ranges that ResINS allows for a chopper package."""
    data = model_data(instrument, chopper)
    names = tuple(name for name in data.defaults if name != "e_init")
    ranges = tuple((float(r[0]), float(r[1] - 1)) for r in (data.restrictions[name] for name in names))
    low, high = data.restrictions["e_init"]
    return Limits((float(low), float(high)), names, ranges, tuple(float(data.defaults[name]) for name in names))


def model_data(instrument: str, chopper: str):
    """ResINS' own description of an instrument with a chopper package (PyChop's parameters)."""
    return _resins(instrument_name(instrument)).get_model_data("PyChop_fit", chopper_package=chopper)


def is_fermi(data) -> bool:
    """Whether `model_data` describes a Fermi chopper; otherwise its choppers are disc choppers."""
    return hasattr(data, "pslit")


def squared_widths(
    data, ei: float, frequencies: tuple[float, ...], *, moderator: bool
) -> tuple[float, float | None, float | None] | None:
    """Squared time widths of chopper burst, opening of the first disc and moderator pulse.

    ResINS gives them only in private methods; this is the only place that calls those.

    Parameters
    ----------
    data
        From `model_data`.
    ei : float
        meV.
    frequencies : tuple of float
        Hz.
    moderator : bool
        Whether the moderator's width is wanted; it is None otherwise.

    Returns
    -------
    (burst, first disc, moderator) or None
        Squared FWHM, s^2; the first disc is None for a Fermi chopper. None if the chopper transmits no neutrons.

    Raises
    ------
    DeviceError
        If the methods of the installed ResINS differ from those of `RESINS_VERSION`.
    """
    try:
        from resins.models.pychop import NoTransmissionError, PyChopModelFermi, PyChopModelNonFermi

        model = PyChopModelFermi if is_fermi(data) else PyChopModelNonFermi
        try:
            burst, first_disk = model._get_chopper_width_squared(data, ei, list(frequencies))
        except NoTransmissionError:
            return None
        pulse = model._get_moderator_width_squared(data.moderator, ei) if moderator else None
    except (ImportError, AttributeError, TypeError) as changed:
        from importlib.metadata import version

        raise DeviceError(
            f"ResINS {version('resins')} does not give the widths of choppers and moderator as ResINS "
            f"{RESINS_VERSION} does ({changed})",
            f"pip install 'resins=={RESINS_VERSION}'",
        ) from changed
    return burst, first_disk, pulse
