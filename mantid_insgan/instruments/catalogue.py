"""The spectrometers of `instruments.toml`: their names, and what ResINS does not have (geometry, divergence)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, replace
from functools import cache
from importlib import resources

from ..core.run import Run, plain_name
from ..errors import InputError, RunFactError


@dataclass(frozen=True)
class Aperture:
    """Opening upstream that limits the incident beam.

    Parameters
    ----------
    distance : float
        To the sample, m.
    width, height : float
        m.
    """

    distance: float
    width: float
    height: float

    def __post_init__(self):
        _require_positive(self, "distance", "width", "height")


@dataclass(frozen=True)
class FluxGain:
    """Gain in flux of a guide over the bare aperture: 1 + exp(-x0 / lambda) * polynomial(lambda).

    Parameters
    ----------
    x0 : float
        Angstrom.
    polynomial : tuple of float
        Coefficients of 1, lambda, lambda^2, ... (per Angstrom to that power).
    lambda_max : float
        Angstrom; above it the gain is extrapolated linearly.
    """

    x0: float
    polynomial: tuple[float, ...]
    lambda_max: float

    def __post_init__(self):
        _require_positive(self, "lambda_max")

    def at(self, wavelength: float) -> float:
        """The gain at a wavelength in Angstrom."""
        top, step = self.lambda_max, 0.01
        if wavelength <= top:
            return self._curve(wavelength)
        slope = (self._curve(top + step) - self._curve(top - step)) / (2 * step)
        return self._curve(top) + (wavelength - top) * slope

    def _curve(self, wavelength: float) -> float:
        terms = (c * wavelength**n for n, c in enumerate(self.polynomial))
        return 1 + math.exp(-self.x0 / wavelength) * sum(terms)


@dataclass(frozen=True)
class Guide:
    """Supermirror guide that ends before the sample.

    Parameters
    ----------
    m_horizontal, m_vertical : float
        Critical angle in units of that of natural nickel.
    limit_horizontal, limit_vertical : float
        Largest divergence (FWHM), degrees.
    """

    m_horizontal: float
    m_vertical: float
    limit_horizontal: float
    limit_vertical: float

    def __post_init__(self):
        _require_positive(self, "m_horizontal", "m_vertical", "limit_horizontal", "limit_vertical")


@dataclass(frozen=True)
class Detector:
    """Helium-3 tubes.

    Parameters
    ----------
    diameter, pixel_height : float
        m.
    pressure : float
        atm.
    time_bin : float
        Time-of-flight channel, microseconds.
    """

    diameter: float
    pixel_height: float
    pressure: float
    time_bin: float

    def __post_init__(self):
        _require_positive(self, "diameter", "pixel_height", "pressure", "time_bin")


@dataclass(frozen=True)
class InstrumentFacts:
    """Properties that are the same for every run: one table of `instruments.toml`.

    Parameters
    ----------
    resins : str
        Name of the instrument in ResINS.
    facility, period : str
        The facility, and the period for which the values hold.
    aliases : tuple of str
        Other names used in files and by users; not case-sensitive.
    moderator_sample, chopper_sample, sample_detector : float
        Flight paths, m; the chopper is the one that makes the burst.
    moderator_angle : float
        Angle between the normal of the moderator face and the beam, degrees.
    two_theta : (float, float)
        Range of scattering angles, degrees.
    sources : tuple of str
        References for the numbers.
    detector : Detector
    aperture : Aperture, optional
    flux_gain : FluxGain, optional
        Of a guide upstream of the aperture.
    guide : Guide, optional
        The divergence is limited by either an aperture or a guide.
    tau : (float, float), optional
        a and b of tau = a / sqrt(Ei) + b of Tobyfit's moderator pulse, microseconds with Ei in meV.
    chopper_aliases : mapping of str to str
        Other names of chopper packages, in lower case.
    crystals_after_chopper : bool
        Whether crystals deflect the beam between chopper and sample.
    estimate : str
        The values that are not published and were estimated.
    """

    resins: str
    facility: str
    period: str
    aliases: tuple[str, ...]
    moderator_sample: float
    moderator_angle: float
    chopper_sample: float
    sample_detector: float
    two_theta: tuple[float, float]
    sources: tuple[str, ...]
    detector: Detector
    aperture: Aperture | None = None
    flux_gain: FluxGain | None = None
    guide: Guide | None = None
    tau: tuple[float, float] | None = None
    chopper_aliases: Mapping[str, str] | None = None
    crystals_after_chopper: bool = False
    estimate: str = ""

    def __post_init__(self):
        _require_positive(self, "moderator_sample", "chopper_sample", "sample_detector")
        if not self.moderator_sample > self.chopper_sample:
            raise ValueError(f"chopper_sample is {self.chopper_sample:g}, expected less than moderator_sample")
        if (self.aperture is None) == (self.guide is None):
            raise ValueError("expected either an aperture or a guide")
        if self.flux_gain is not None and self.aperture is None:
            raise ValueError("flux_gain without an aperture")
        if self.tau is not None and len(self.tau) != 2:
            raise ValueError(f"tau has {len(self.tau)} numbers, expected two")
        if not self.sources:
            raise ValueError("sources is empty, expected references for the numbers")


_PARTS = {"aperture": Aperture, "flux_gain": FluxGain, "guide": Guide, "detector": Detector}


@cache
def catalogue() -> dict[str, InstrumentFacts]:
    """The facts of every instrument, by name.

    Raises
    ------
    InputError
        If `instruments.toml` is damaged: a key is missing or unknown, a length is not positive, a name occurs twice.
    """
    import tomllib

    text = resources.files(__package__).joinpath("instruments.toml").read_text(encoding="utf-8")
    return read_catalogue(tomllib.loads(text))


def read_catalogue(tables: Mapping[str, Mapping]) -> dict[str, InstrumentFacts]:
    """Checked facts from the tables of `instruments.toml`; errors as `catalogue`."""
    found, owners = {}, {}
    for name, table in tables.items():
        parts = {key: _made(kind, table[key], f"{name}.{key}") for key, kind in _PARTS.items() if key in table}
        found[name] = _made(InstrumentFacts, {**table, **parts}, name)
        for spelled in {name.upper(), *(alias.upper() for alias in found[name].aliases)}:
            if spelled in owners:
                raise _damaged(name, f"the name {spelled} already belongs to {owners[spelled]}")
            owners[spelled] = name
    return found


def known_instruments() -> tuple[str, ...]:
    """Names of the instruments."""
    return tuple(catalogue())


@cache
def _names() -> dict[str, str]:
    """Every name and alias for comparison (`plain_name`), with the name used in this package."""
    return {plain_name(s): name for name, entry in catalogue().items() for s in (name, *entry.aliases)}


def all_names() -> tuple[str, ...]:
    """Names and aliases of all instruments, in upper case."""
    return tuple(s.upper() for name, entry in catalogue().items() for s in (name, *entry.aliases))


def with_known_name(run: Run) -> Run:
    """A run whose instrument has the name that this package uses, if it is known."""
    known = None if run.instrument is None else canonical_name(run.instrument.value)
    return run if known is None else replace(run, instrument=replace(run.instrument, value=known))


def canonical_name(name: str) -> str | None:
    """The name that this package uses for an instrument, or None if there is no such instrument. Upper and lower case,
    blanks, hyphens and underscores do not count.

    Files contain facility prefixes and short names ('MER', 'SEQ'): these are aliases in `instruments.toml`.
    """
    return _names().get(plain_name(str(name)))


def instrument_name(name: str) -> str:
    """As `canonical_name`, for a name that must be known.

    Raises
    ------
    RunFactError
        If there is no such instrument; the message lists the known ones.
    """
    found = canonical_name(name)
    if found is None:
        raise RunFactError(
            f"instrument {name!r} is not known; the instruments are {', '.join(known_instruments())}",
            "give one of them (--instrument)",
        )
    return found


def _made(kind: type, values: Mapping, where: str):
    """An instance of one of the dataclasses above from a table of `instruments.toml`."""
    expected = {f.name for f in fields(kind)}
    needed = {f.name for f in fields(kind) if f.default is MISSING}
    if unknown := sorted(set(values) - expected):
        raise _damaged(where, f"unknown key {', '.join(unknown)}; expected {', '.join(sorted(expected))}")
    if missing := sorted(needed - set(values)):
        raise _damaged(where, f"{', '.join(missing)} missing")
    try:
        return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
    except (TypeError, ValueError) as problem:
        raise _damaged(where, str(problem)) from None


def _damaged(where: str, problem: str) -> InputError:
    return InputError(f"instruments.toml, [{where}]: {problem}", "correct that entry, or install mantid-insgan again")


def _require_positive(facts, *names: str) -> None:
    for name in names:
        value = getattr(facts, name)
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not (number and math.isfinite(value) and value > 0):
            raise ValueError(f"{name} is {value!r}, expected a positive number")
