"""The facts of a measurement: instrument, incident energy, chopper, temperature, lattice and sample, each with its
source.

Units: meV, Hz, Kelvin, Angstrom and degrees.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace

import numpy as np

from ..errors import InputError, RunFactError


@dataclass(frozen=True)
class Fact:
    """A fact about the run and its source ('log Ei of experiment0', 'option --ei').

    `replaced` is the fact from another source that this one replaced, or None. `others` are facts of the same kind from
    other experiments of the same data that do not agree with this one.
    """

    value: object
    source: str
    replaced: Fact | None = field(default=None, compare=False, repr=False)
    others: tuple[Fact, ...] = field(default=(), compare=False, repr=False)


@dataclass(frozen=True, eq=False)
class Lattice:
    """A unit cell and its orientation.

    Parameters
    ----------
    a, b, c : float
        Lattice parameters in Angstrom.
    alpha, beta, gamma : float
        Angles in degrees.
    ub : array_like, shape (3, 3), optional
        UB matrix (Busing and Levy 1967) without the factor 2 pi, as in Mantid.
    """

    a: float
    b: float
    c: float
    alpha: float = 90.0
    beta: float = 90.0
    gamma: float = 90.0
    ub: np.ndarray | None = None

    @property
    def cell(self) -> tuple[float, ...]:
        """The six lattice parameters: a, b, c in Angstrom, alpha, beta, gamma in degrees."""
        return (self.a, self.b, self.c, self.alpha, self.beta, self.gamma)

    def b_matrix(self) -> np.ndarray:
        """Busing-Levy B (their eq. 3), shape (3, 3), in 1/Angstrom **without** 2 pi: q_cartesian = 2 pi B hkl.

        Raises
        ------
        InputError
            If the cell has no volume.
        """
        al, be, ga = np.radians([self.alpha, self.beta, self.gamma])
        volume_squared = (
            1 - np.cos(al) ** 2 - np.cos(be) ** 2 - np.cos(ga) ** 2 + 2 * np.cos(al) * np.cos(be) * np.cos(ga)
        )
        if min(self.a, self.b, self.c) <= 0 or not volume_squared > 1e-12:
            raise InputError(
                f"the lattice a, b, c = {self.a:g}, {self.b:g}, {self.c:g} Angstrom, alpha, beta, gamma = "
                f"{self.alpha:g}, {self.beta:g}, {self.gamma:g} degrees has no volume",
                "give the six lattice parameters of the crystal (--lattice a,b,c,alpha,beta,gamma)",
            )
        root = np.sqrt(volume_squared)
        a_star, b_star, c_star = (
            np.sin(al) / (self.a * root),
            np.sin(be) / (self.b * root),
            np.sin(ga) / (self.c * root),
        )
        cos_be_star = (np.cos(al) * np.cos(ga) - np.cos(be)) / (np.sin(al) * np.sin(ga))
        cos_ga_star = (np.cos(al) * np.cos(be) - np.cos(ga)) / (np.sin(al) * np.sin(be))
        return np.array(
            [
                [a_star, b_star * cos_ga_star, c_star * cos_be_star],
                [0.0, b_star * np.sqrt(1 - cos_ga_star**2), -c_star * np.sqrt(1 - cos_be_star**2) * np.cos(al)],
                [0.0, 0.0, 1.0 / self.c],
            ]
        )


@dataclass(frozen=True)
class Setting:
    """A setting of a spectrometer, and how many times finer than its resolution that of the data is.

    Its text, ``str(setting)``, stands in the logs of results: ``'instrument=MERLIN,Ei=62,chopper=G,frequency=400,
    sharpness=3'``. What is None is taken from the other facts of the run.

    Parameters
    ----------
    instrument : str, optional
    ei : float, optional
        meV.
    chopper : str, optional
    frequency : float, optional
        Hz.
    width_factor : float, optional
        On the calculated widths.
    sharpness : tuple of (float, float), optional
        How many times finer in momentum and in energy, see `Resolution.sharpened`: (1, 1) for the resolution of the
        spectrometer, which is meant where it is None, and (0, 0) for no resolution at all.
    """

    instrument: str | None = None
    ei: float | None = None
    chopper: str | None = None
    frequency: float | None = None
    width_factor: float | None = None
    sharpness: tuple[float, float] | None = None

    @classmethod
    def parsed(cls, text: str) -> Setting:
        """A setting from its text; upper and lower case are the same in names.

        Raises
        ------
        RunFactError
            If a part is not NAME=VALUE with a known name and a value of its kind, or a name comes twice.
        """
        found: dict[str, object] = {}
        for part in text.split(","):
            name, equals, value = (x.strip() for x in part.partition("="))
            name = name.lower()
            if not (equals and value and name in cls.__dataclass_fields__):
                names = ", ".join("Ei" if n == "ei" else n for n in cls.__dataclass_fields__)
                raise RunFactError(
                    f"{part.strip()!r} in the setting {text!r} is not NAME=VALUE with one of the names {names}",
                    "give a setting such as Ei=38,chopper=G,frequency=600",
                )
            if name in found:
                raise RunFactError(f"{name} comes twice in the setting {text!r}", "give it once")
            found[name] = value if name in ("instrument", "chopper") else _number_of(name, value, text)
        return cls(**found)

    def __str__(self) -> str:
        texts = {f.name: getattr(self, f.name) for f in fields(self)}
        return ",".join(f"{'Ei' if n == 'ei' else n}={_spelled(v)}" for n, v in texts.items() if v is not None)

    @property
    def facts(self) -> dict[str, str | float]:
        """Those that are facts of a run, by name."""
        return {name: value for name in RESOLUTION_FACTS if (value := getattr(self, name)) is not None}

    @property
    def has_resolution(self) -> bool:
        """False for data without any resolution."""
        return self.sharpness != NO_RESOLUTION

    def described(self) -> str:
        """What resolution the data have, in words that follow 'the data have'."""
        of = f" of {Setting(**self.facts)}" if self.facts else " of their spectrometer"
        if not self.has_resolution:
            return "no resolution"
        if self.sharpness in (None, SPECTROMETER):
            return "the resolution" + of
        return f"a resolution {_spelled(self.sharpness)} times finer than that" + of


#: Sharpness of data without any resolution, and of data with that of their spectrometer.
NO_RESOLUTION, SPECTROMETER = (0.0, 0.0), (1.0, 1.0)


def _number_of(name: str, text: str, setting: str):
    """The number in a setting; of the sharpness two, for momentum and energy, which one number or 3/2 gives."""
    parts = text.split("/") if name == "sharpness" else [text]
    try:
        numbers = [float(x) for x in parts]
    except ValueError:
        numbers = []
    nothing = name == "sharpness" and not any(numbers)
    if len(numbers) not in (1, 2) or not (nothing or all(math.isfinite(x) and x > 0 for x in numbers)):
        raise RunFactError(
            f"{name}={text} in the setting {setting!r} is no number above zero", "give a number, such as Ei=38"
        )
    return (numbers[0], numbers[-1]) if name == "sharpness" else numbers[0]


def _spelled(value) -> str:
    if isinstance(value, tuple):
        return "/".join(map(_spelled, value if value[0] != value[1] else value[:1]))
    return value if isinstance(value, str) else f"{value:.10g}"


@dataclass(frozen=True)
class Run:
    """The facts of the measurement; an unknown fact is None.

    Parameters
    ----------
    instrument : Fact of str
        Instrument name as in ResINS ('MAPS').
    ei : Fact of float
        Incident energy, meV.
    chopper : Fact of str
        Chopper package ('S', 'High Flux').
    frequency : Fact of float
        Chopper frequency, Hz.
    temperature : Fact of float
        Sample temperature, K.
    lattice : Fact of Lattice
        Unit cell and UB.
    sample : Fact of Sample
        Shape and size of the sample.
    mosaic : Fact of float
        FWHM of the crystal's mosaic, degrees.
    divergence : Fact of (float or None, float or None)
        FWHM of the incident divergence, horizontal and vertical, degrees; None where it is that of the instrument.
    resolution : Fact of Setting
        The resolution of the data, where it was put in or changed by a calculation; None for data as measured.
    notes : tuple of str
        What was noticed when the data were read: values that disagree, units that were converted, bins left out.
    """

    instrument: Fact | None = None
    ei: Fact | None = None
    chopper: Fact | None = None
    frequency: Fact | None = None
    temperature: Fact | None = None
    lattice: Fact | None = None
    sample: Fact | None = None
    mosaic: Fact | None = None
    divergence: Fact | None = None
    resolution: Fact | None = None
    notes: tuple[str, ...] = ()

    @property
    def facts(self) -> dict[str, Fact]:
        """The known facts, by name."""
        return {name: fact for name in RUN_FACTS if (fact := getattr(self, name)) is not None}

    def noted(self, *notes: str) -> Run:
        """A copy of the run with more notes; none comes twice."""
        return replace(self, notes=tuple(dict.fromkeys((*self.notes, *notes))))

    def value(self, name: str):
        """The value of a fact, or None."""
        fact = getattr(self, name)
        return None if fact is None else fact.value

    def updated(self, source: str, **values) -> Run:
        """A copy of the run with these facts set; values that are None are ignored."""
        changed = {}
        for name, value in values.items():
            if value is not None:
                old = getattr(self, name)
                changed[name] = Fact(value, source, old.replaced if old is not None and old.source == source else old)
        return replace(self, **changed)

    def with_resolution(self, source: str, setting: Setting) -> Run:
        """A copy of the run for data with the resolution of a setting, whose facts replace others."""
        new = {n: v for n, v in setting.facts.items() if not _same(v, self.value(n))}
        return self.updated(source, resolution=setting, **new)


def _same(one, other) -> bool:
    if isinstance(one, str) or other is None:
        return one == other
    return math.isclose(one, other, rel_tol=1e-6)


#: Names of the facts of a run, in the order in which missing ones are reported.
RUN_FACTS = tuple(f.name for f in fields(Run) if f.name != "notes")
#: Facts that the resolution needs (and the lattice, if axes are in reciprocal lattice units).
RESOLUTION_FACTS = ("instrument", "ei", "chopper", "frequency")
#: Facts that it takes where they are known; there are defaults for the others.
BEAM_FACTS = ("sample", "mosaic", "divergence")


def required_facts(axes, choppers: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Names of the facts that the resolution of a spectrum needs.

    Parameters
    ----------
    axes : sequence of Axis
        Axes along directions in a crystal need its lattice.
    choppers : tuple of str
        Chopper packages of the instrument, if it is known: if there is only one, it need not be given.
    """
    needed = [name for name in RESOLUTION_FACTS if name != "chopper" or len(choppers) != 1]
    in_crystal = any(axis.is_rlu or axis.projection is not None for axis in axes)
    return (*needed, "lattice") if in_crystal else tuple(needed)


#: Beginning of a note on what the data say of a chopper package that was not recognised.
CHOPPER_UNKNOWN = "the chopper package was not recognised: "
#: Values of a fact that differ by more than this fraction are not those of one setting.
ONE_SETTING = 0.01


def require_one_setting(run: Run) -> None:
    """Check that the experiments of the data have one setting of the spectrometer.

    Raises
    ------
    RunFactError
        If they differ in the instrument or the chopper, or by more than `ONE_SETTING` in Ei or frequency.
    """
    for name in RESOLUTION_FACTS:
        fact = getattr(run, name)
        other = next((o for o in fact.others if not same_setting(o.value, fact.value)), None) if fact else None
        if other is not None:
            label = "Ei" if name == "ei" else name
            raise RunFactError(
                f"the experiments of the data differ in {label}: {shown(fact.value)} ({fact.source}) and "
                f"{shown(other.value)} ({other.source}), expected one setting of the spectrometer",
                f"bin the runs of one setting together, or give the {label} of the data with --{name}",
            )


def notes_by_name(found: Iterable[tuple[str, Iterable[str]]], most: int = 3) -> tuple[str, ...]:
    """Notes on several data: a sentence for each, followed by the names of those concerned.

    Parameters
    ----------
    found : iterable of (str, iterable of str)
        Names and their notes.
    most : int
        Names that are listed.

    Examples
    --------
    >>> notes_by_name([("a.nxs", ["Ei replaced"]), ("b.nxs", ["Ei replaced", "bins left out"])])
    ('Ei replaced (a.nxs, b.nxs)', 'bins left out (b.nxs)')
    """
    names: dict[str, list[str]] = {}
    for name, notes in found:
        for note in notes:
            names.setdefault(note, []).append(name)
    more = {note: f" and {len(of) - most} more" if len(of) > most else "" for note, of in names.items()}
    return tuple(f"{note} ({', '.join(of[:most])}{more[note]})" for note, of in names.items())


def same_setting(one, other) -> bool:
    """Whether two values of a fact belong to one setting: the same text, or numbers within `ONE_SETTING`."""
    if isinstance(one, str):
        return plain_name(one) == plain_name(str(other))
    return math.isclose(one, other, rel_tol=ONE_SETTING)


def plain_name(name: str) -> str:
    """The name of an instrument or a chopper for comparison: without blanks, hyphens and underscores, in lower case."""
    return re.sub(r"[\s_-]+", "", name).casefold()


def shown(value) -> str:
    """A value of a fact as text: a text, a number, several of them, or the six parameters of a lattice."""
    if isinstance(value, Lattice | tuple):
        return ",".join(map(shown, value.cell if isinstance(value, Lattice) else value))
    return f"{value:g}" if isinstance(value, int | float) else str(value)
