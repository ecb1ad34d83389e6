"""Chopper packages, their ranges, and the pulse widths of ResINS (PyChop's parameters)."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cache

from ..core.constants import HBAR2_OVER_2M, HBAR_OVER_M
from ..core.run import plain_name
from ..errors import DeviceError, RunFactError
from .catalogue import catalogue, instrument_name

#: The version of ResINS whose private methods `squared_widths` was written for (constraints.txt).
RESINS_VERSION = "0.1.0"
_MODEL = ("PyChop_fit", "chopper_package")
#: Dimensions of a chopper in a file and in ResINS agree to this fraction.
SAME_SIZE = 0.05
#: Slits with a larger radius of curvature are straight, m.
STRAIGHT = 100.0


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


def known_package(instrument: str, name: str) -> str | None:
    """The package that a text names, as ResINS spells it; None if it names none of the instrument. The name of the
    instrument and the word 'chopper' beside that of the package do not count."""
    words = re.sub(r"(?i)chopper|package", " ", name).strip(" -_")
    for text in (name, words, re.sub(rf"(?i)^{re.escape(instrument)}[\s_-]+", "", words)):
        try:
            return chopper_name(instrument, text)
        except RunFactError:
            continue
    return None


@dataclass(frozen=True)
class Slits:
    """The slits of a chopper as a file describes them, in metres; None where it does not say.

    Parameters
    ----------
    width : float
        Of one slit: of a Fermi chopper, or of the opening in a disc.
    radius : float, optional
        Of the rotor.
    curvature : float, optional
        Radius of curvature of a Fermi chopper's slits.
    """

    width: float
    radius: float | None = None
    curvature: float | None = None

    def __str__(self) -> str:
        words = [f"slits of {1e3 * self.width:.4g} mm"]
        words += [f"rotor radius {1e3 * self.radius:.4g} mm"] if self.radius is not None else []
        words += [f"curvature {self.curvature:.4g} m"] if self.curvature is not None else []
        return ", ".join(words)


def slits_of(instrument: str, chopper: str) -> Slits:
    """The slits of a package: of the Fermi chopper, or of the last disc, which makes the burst."""
    data = model_data(instrument, chopper)
    if is_fermi(data):
        return Slits(float(data.pslit), float(data.radius), float(data.rho))
    last = list(data.choppers.values())[-1]
    return Slits(1e-3 * last["slot_width"], 1e-3 * last["radius"])


def packages_with(instrument: str, slits: Slits) -> tuple[str, ...]:
    """The packages whose slits agree with a description within `SAME_SIZE`; of those with the same slits the first, as
    their resolution is the same."""
    found: dict[Slits, str] = {}
    for package in known_choppers(instrument):
        own = slits_of(instrument, package)
        if _alike(slits, own):
            found.setdefault(own, package)
    return tuple(found.values())


def _alike(one: Slits, other: Slits) -> bool:
    pairs = [(one.width, other.width), (one.radius, other.radius), (one.curvature, other.curvature)]
    known = [[min(x, STRAIGHT) for x in pair] for pair in pairs if None not in pair]
    return all(math.isclose(*pair, rel_tol=SAME_SIZE) for pair in known)


@dataclass(frozen=True)
class Package:
    """What a chopper package is.

    Parameters
    ----------
    name : str
    slits : Slits
    limits : Limits
    default : bool
        Whether ResINS uses it if none is given.
    best_ei : float or None
        meV, which the curved slits of a Fermi chopper transmit best at the highest frequency; None for straight slits
        and discs. Neutrons of the speed v = 2 omega rho stay in the middle of slits of curvature rho (Perring 1991).
    words : str
        How it compares with the other packages of the instrument.
    """

    name: str
    slits: Slits
    limits: Limits
    default: bool
    best_ei: float | None
    words: str


def packages(instrument: str) -> tuple[Package, ...]:
    """The chopper packages of an instrument, in the order of ResINS.

    Raises
    ------
    RunFactError
        If there is no such instrument.
    """
    instrument = instrument_name(instrument)
    slits = {name: slits_of(instrument, name) for name in known_choppers(instrument)}
    fermi = is_fermi(model_data(instrument, next(iter(slits))))
    # at one frequency the burst of a chopper lasts as long as an edge takes to cross a slit
    burst = {name: s.width / (s.radius if fermi else 1.0) for name, s in slits.items()}
    return tuple(
        Package(
            name=name,
            slits=own,
            limits=limits(instrument, name),
            default=name == default_chopper(instrument),
            best_ei=_best_ei(own, limits(instrument, name).frequency[0][1]) if fermi else None,
            words=_words(burst[name], list(burst.values())),
        )
        for name, own in slits.items()
    )


def _best_ei(slits: Slits, frequency: float) -> float | None:
    if slits.curvature >= STRAIGHT:
        return None
    speed = 2 * (2 * math.pi * frequency) * slits.curvature
    return HBAR2_OVER_2M * (speed / HBAR_OVER_M) ** 2


def _words(burst: float, all_bursts: list[float]) -> str:
    if max(all_bursts) < 1.01 * min(all_bursts):
        return ""
    if burst >= 0.99 * max(all_bursts):
        return "longest burst: coarsest resolution"
    return "shortest burst: finest resolution" if burst <= 1.01 * min(all_bursts) else "in between"


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
