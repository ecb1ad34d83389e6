"""The facts of the measurement (Ei, instrument, chopper...) from the logs and the names of a file."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import h5py
import numpy as np

from ..core.options import parse_lattice
from ..core.run import CHOPPER_UNKNOWN, Fact, Lattice, Run, Setting, plain_name, shown
from ..core.sample import Sample
from ..errors import InputError
from ..instruments.catalogue import all_names, canonical_name
from ..instruments.choppers import known_package
from .geometry import sample_of_group
from .hdf5 import dataset_number, dataset_text, text
from .history import file_names
from .units import converted

#: Log of a result that says what resolution it has (`core.run.Setting`).
RESOLUTION_LOG = "insgan_resolution"
#: Log of a result with the unit cell, where Mantid's oriented lattice does not have it: Mantid needs a UB for that.
LATTICE_LOG = "insgan_lattice"
#: Logs of a result with the sample (`core.sample.Sample`), its mosaic (degrees) and the divergence (degrees).
SAMPLE_LOG, MOSAIC_LOG, DIVERGENCE_LOG = "insgan_sample", "insgan_mosaic", "insgan_divergence"
#: Log names of each fact; the first one present is used. Not case-sensitive.
LOGS = {
    "ei": ("Ei", "EnergyRequest", "incident_energy", "Ei_nominal"),
    "frequency": ("chopper_frequency", "fermi_speed", "FermiSpeed", "fermi_chopper_speed"),
    "temperature": ("temperature", "Temp", "sample_temp", "SampleTemp", "t_sample", "T_sample"),
    "chopper": ("chopper_package", "chopper", "chopper_type", "chopper_name"),
    "instrument": ("instrument_name", "inst_name", "inst_abrv"),
    "resolution": (RESOLUTION_LOG,),
    "lattice": (LATTICE_LOG,),
    "sample": (SAMPLE_LOG,),
    "mosaic": (MOSAIC_LOG,),
    "divergence": (DIVERGENCE_LOG,),
}
#: Logs of one instrument, after those of ours in `LOGS` and before the others: names that mean other things elsewhere.
#: Sources: mantidproject/direct_reduction, reduction_utils.py (ISIS), and the scripts of CNCS and ARCS at the SNS. On
#: CNCS choppers 4 and 5 are the double disc that makes the burst, chopper 1 is the Fermi chopper near the moderator.
LOGS_OF = {
    "LET": {"frequency": ("Chopper5_Disk1_speed",), "chopper": ("Chopper5_slits",)},
    "MERLIN": {"frequency": ("Chopper_Speed",)},
    "CNCS": {
        "ei": ("BL5:Chop:Gbl:EnergyReq",),
        "frequency": ("Speed4", "SpeedRequest4", "BL5:Chop:Skf4:SpeedReq"),
        "chopper": ("DoubleDiskMode", "BL5:Chop:Skf45:DblDiskModeReq"),
    },
    "ARCS": {"ei": ("BL18:Chop:Skf0:EnergyUserReq",), "chopper": ("BL18:Chop:InUse:ChopperId",)},
}
#: Packages by the numbers in logs of modes (CNCS: 0 is high_res, 1 high_flux, 3 intermediate in its own scripts).
MODES = {0: "High Resolution", 1: "High Flux", 3: "Intermediate"}
_MODE_LOGS = ("doublediskmode", "bl5:chop:skf45:dbldiskmodereq")
#: Instruments with two Fermi choppers of which a translation puts one into the beam, or none (vChTrans is 2).
TWO_FERMI = ("ARCS", "SEQUOIA")
#: Position of the translation of ARCS, mm: below the first number Fermi chopper 1 is in the beam, above the second 2.
_TRANSLATION = (1.0, 400.0)
#: Below this a chopper stands still, Hz.
_STANDING = 1.0
#: Facts that are texts in the logs.
TEXTS = {
    "instrument": lambda written: instrument_name(written),
    "chopper": lambda written: written or None,
    "resolution": lambda written: Setting.parsed(written) if written else None,
    "lattice": lambda written: parse_lattice(written or None),
    "sample": lambda written: Sample.parsed(written) if written else None,
    "mosaic": lambda written: parse_mosaic(written) if written else None,
    "divergence": lambda written: parse_divergence(written) if written else None,
}
#: Units of the others, and of the numbers that are read as texts.
UNITS = {"ei": "meV", "frequency": "Hz", "temperature": "K"}
SHOWN_UNITS = UNITS | {"mosaic": "degrees"}
#: Largest spread of the values in one log, and largest difference of two experiments, without a note; relative.
STEADY = {"ei": 0.01, "frequency": 0.01, "temperature": np.inf}
SAME = {"temperature": 0.05}
_SAME = 1e-3
#: Names that files have in place of a spectrometer's.
NO_INSTRUMENT = {"", "nxspe", "unknown", "undefined", "none", "n/a", "na", "null", "instrument", "basic_rect", "test"}
#: A number in a text, with its unit.
_NUMBER = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(.*?)\s*")


#: A chopper in the title of a run.
_TITLE_CHOPPER = re.compile(r"(?i)\b([a-z][a-z0-9]*)[\s_-]*chopper\b")


@cache
def _run_file() -> re.Pattern:
    return re.compile(rf"^({_any_name()})_?\d{{3,}}", re.IGNORECASE)


@cache
def _facility_folder() -> re.Pattern:
    return re.compile(rf"[/\\](?:SNS[/\\]|NDX)({_any_name()})[/\\]", re.IGNORECASE)


def _any_name() -> str:
    """Pattern of any name or alias of an instrument, the longest first."""
    return "|".join(re.escape(name) for name in sorted(all_names(), key=len, reverse=True))


def instrument_name(name: str) -> str | None:
    """The name used in this package for the instrument of a file; unknown names in upper case, and None for a name that
    is no spectrometer's (`NO_INSTRUMENT`)."""
    return canonical_name(name) or (None if name.strip().lower() in NO_INSTRUMENT else name.strip().upper())


def instrument_from_names(path: Path, original: str = "") -> Fact | None:
    """The instrument, if the file is named like a run ('MER40874...') or was saved in an instrument's own folder.

    Parameters
    ----------
    path : Path
        The file.
    original : str
        Path under which it was first saved (the attribute ``file_name`` of the root of NeXus files).
    """
    for name in (path.name, re.split(r"[/\\]", original)[-1]):
        if match := _run_file().match(name):
            return Fact(instrument_name(match[1]), f"prefix of the file name {name}")
    if match := _facility_folder().search(original):
        return Fact(instrument_name(match[1]), f"folder in which the file was first saved, {original}")
    return None


def run_of_entry(entry: h5py.Group, path: Path) -> tuple[Run, str]:
    """Facts and run title from the ``experimentN`` groups of an MDHistoWorkspace entry.

    Each fact is taken from the first group that has it; where others do not agree, a note says so (`merged`).

    Returns
    -------
    Run
    str
        The title of the run, '' if there is none.
    """
    groups = experiment_groups(entry)
    titles = (dataset_text(group, "logs/run_title/value").strip() for group in groups)
    guess = instrument_from_names(path, text(entry.file.attrs.get("file_name"))) or _instrument_of_history(entry)
    run = merged([experiment_facts(group, guess) for group in groups])
    if run.instrument is None and guess:
        run = run.updated(guess.source, instrument=guess.value)
    title = next(filter(None, titles), "")
    return with_chopper_of_title(run, title), title


def _instrument_of_history(entry: h5py.Group) -> Fact | None:
    """The instrument of the files that were loaded to make the data, if they are all of one."""
    guesses = [instrument_from_names(Path(re.split(r"[/\\]", name)[-1]), name) for name in file_names(entry)]
    known = {guess.value: guess for guess in guesses if guess is not None}
    if len(known) != 1:
        return None
    (guess,) = known.values()
    return Fact(guess.value, f"history of the workspace: {guess.source}")


def with_chopper_of_title(run: Run, title: str) -> Run:
    """A run with the chopper package that its title names ('200Hz Gd-chopper'), where nothing else does; with a note,
    because a title is typed."""
    instrument = None if run.instrument is None else canonical_name(run.instrument.value)
    if run.chopper is not None or instrument is None:
        return run
    named = {known_package(instrument, match[1]) for match in _TITLE_CHOPPER.finditer(title)} - {None}
    if len(named) != 1:
        return run
    (package,) = named
    note = f"the chopper package {package} is from the title of the run, {title.strip()!r}"
    return run.updated("title of the run", chopper=package).noted(note)


def merged(experiments: Sequence[tuple[dict[str, Fact], tuple[str, ...]]]) -> Run:
    """The run of data from several experiments: each fact of the first that has it.

    The fact keeps those that differ from it (`Fact.others`), and a note names them. The facts of the resolution that
    the data have replace others.

    Parameters
    ----------
    experiments : sequence of (dict of str to Fact, tuple of str)
        Facts and notes of each.
    """
    found: dict[str, list[Fact]] = {}
    for facts, _ in experiments:
        for name, fact in facts.items():
            found.setdefault(name, []).append(fact)
    distinct = {name: _distinct(name, facts) for name, facts in found.items()}
    facts = {name: replace(first, others=tuple(others)) for name, (first, *others) in distinct.items()}
    run = Run(**facts).noted(*(note for _, notes in experiments for note in notes))
    run = run.noted(*(_difference(name, some, len(found[name])) for name, some in distinct.items() if len(some) > 1))
    stated = facts.get("resolution")
    return run if stated is None else run.with_resolution(stated.source, stated.value)


def _distinct(name: str, facts: list[Fact]) -> list[Fact]:
    """The first of the facts, and the first of each other value."""
    distinct: list[Fact] = []
    for fact in facts:
        if not any(_agree(name, fact.value, one.value) for one in distinct):
            distinct.append(fact)
    return distinct


def _agree(name: str, one, other) -> bool:
    if isinstance(one, Lattice):
        return all(math.isclose(a, b, rel_tol=_SAME) for a, b in zip(one.cell, other.cell, strict=True))
    if isinstance(one, float):
        return math.isclose(one, other, rel_tol=SAME.get(name, _SAME))
    return plain_name(one) == plain_name(other) if isinstance(one, str) else one == other


def _difference(name: str, distinct: list[Fact], number: int) -> str:
    told = [
        f"{shown(fact.value)}{' ' + SHOWN_UNITS[name] if name in SHOWN_UNITS else ''} ({fact.source})"
        for fact in distinct[:3]
    ]
    more = f" and {len(distinct) - 3} more values" if len(distinct) > 3 else ""
    label = "Ei" if name == "ei" else name
    return f"the {number} experiments with a value differ in {label}: {', '.join(told)}{more}; the first was taken"


def experiment_groups(entry: h5py.Group) -> list[h5py.Group]:
    """The ``experimentN`` groups of an entry in the order of their numbers."""
    found = [(int(m[1]), name) for name in entry if (m := re.fullmatch(r"experiment(\d+)", name))]
    return [entry[name] for _, name in sorted(found) if isinstance(entry.get(name), h5py.Group)]


def experiment_facts(group: h5py.Group, guess: Fact | None = None) -> tuple[dict[str, Fact], tuple[str, ...]]:
    """Facts of one experiment (groups ``logs``, ``instrument``, ``sample``), each with its source, and notes.

    Parameters
    ----------
    group : h5py.Group
    guess : Fact, optional
        The instrument, where the group does not name it: logs are read as those of this instrument.
    """
    where = group.name.rsplit("/", 1)[-1]
    name = instrument_name(dataset_text(group, "instrument/name"))
    logs = group.get("logs")
    facts, notes = _log_facts(logs, where, name, guess) if isinstance(logs, h5py.Group) else ({}, ())
    if name:
        facts["instrument"] = Fact(name, f"instrument of {where}")
    lattice = group.get("sample/oriented_lattice")
    if isinstance(lattice, h5py.Group) and (found := _lattice(lattice)):
        facts = with_oriented(facts, found, where)
    sample = group.get("sample")
    if "sample" not in facts and isinstance(sample, h5py.Group):
        found, how, more = sample_of_group(sample)
        notes = (*notes, *(f"{how} of {where}: {note}" for note in more))
        facts |= {} if found is None else {"sample": Fact(found, f"{how} of {where}")}
    return facts, notes


def with_oriented(facts: dict[str, Fact], lattice: Lattice, where: str) -> dict[str, Fact]:
    """Facts with the oriented lattice of an experiment, unless a log of ours (`LATTICE_LOG`) has another cell."""
    logged = facts.get("lattice")
    if logged is not None and not _agree("lattice", logged.value, lattice):
        return facts
    return facts | {"lattice": Fact(lattice, f"oriented lattice of {where}")}


def _log_facts(logs: h5py.Group, where: str, instrument: str | None, guess: Fact | None):
    spelled = {name.lower(): name for name in logs}
    value_of = lambda name, fact: _log_value(logs[name], fact)  # noqa: E731
    return facts_of_logs(spelled, value_of, where, instrument, guess)


def facts_of_logs(
    spelled: dict[str, str], value_of, where: str, instrument: str | None = None, guess: Fact | None = None
) -> tuple[dict[str, Fact], tuple[str, ...]]:
    """The facts in logs, and notes on their values.

    Parameters
    ----------
    spelled : dict of str to str
        Names of the logs by their names in lower case.
    value_of : callable
        Returns the value of a log as a fact, or None, and a note: ``value_of('Ei', 'ei')``. See `as_fact`.
    where : str
        The group that contains the logs.
    instrument : str, optional
        Of the geometry; otherwise the one in the logs.
    guess : Fact, optional
        The instrument, if neither has it.
    """
    reader = _Logs(spelled, value_of, where)
    for fact in ("instrument", *(name for name in LOGS if name != "instrument")):
        found = reader.facts.get("instrument", guess)
        reader.read(fact, canonical_name(instrument or (found.value if found is not None else "")))
    return reader.facts, tuple(reader.notes)


class _Logs:
    """Reads the facts in logs one after the other; parameters as `facts_of_logs`."""

    def __init__(self, spelled: dict[str, str], value_of, where: str):
        self._spelled, self._value_of, self._where = spelled, value_of, where
        self.facts: dict[str, Fact] = {}
        self.notes: list[str] = []

    def read(self, fact: str, instrument: str | None) -> None:
        """Read one fact of an instrument, from the first log that has it."""
        ours, *others = LOGS[fact]
        names = (ours, *LOGS_OF.get(instrument, {}).get(fact, ()), *others)
        for name in (self._spelled[n.lower()] for n in names if n.lower() in self._spelled):
            value = self._value(name, fact, instrument)
            if value is not None:
                self.facts[fact] = Fact(value, f"log {name} of {self._where}")
                return
        if fact == "frequency" and instrument in TWO_FERMI:
            self._read_two_fermi()

    def _value(self, name: str, fact: str, instrument: str | None):
        if fact == "chopper" and name.lower() in _MODE_LOGS:
            return self._mode(name)
        value, note = self._value_of(name, fact)
        if note:
            self.notes.append(f"log {name} of {self._where} {note}")
        if fact == "chopper" and value is not None and name in LOGS_OF.get(instrument, {}).get("chopper", ()):
            return self._package(name, value, instrument)
        return value

    def _mode(self, name: str) -> str | None:
        value, note = self._value_of(name, "mode")
        if note:
            self.notes.append(f"log {name} of {self._where} {note}")
        if value is not None and value not in MODES:
            known = ", ".join(f"{number} ({package})" for number, package in MODES.items())
            self.notes.append(f"{CHOPPER_UNKNOWN}log {name} of {self._where} is {value:g}, expected one of {known}")
        return MODES.get(value)

    def _package(self, name: str, value: str, instrument: str) -> str | None:
        words = value.casefold()
        said = next((mode for mode in MODES.values() if mode.split()[-1].casefold() in words), value)
        package = known_package(instrument, said)
        if package is None:
            self.notes.append(f"{CHOPPER_UNKNOWN}log {name} of {self._where} is {value!r}")
        return package

    def _read_two_fermi(self) -> None:
        """The frequency of the Fermi chopper in the beam, where that is certain; otherwise a note."""
        speeds = {n: found for n in (1, 2) if (found := self._speed(n)) is not None}
        position = self._number("chtrans")
        if self._number("vchtrans") == 2:
            self.notes.append(f"log vChTrans of {self._where} is 2: no Fermi chopper was in the beam (white beam)")
        elif position is not None and not _TRANSLATION[0] <= position <= _TRANSLATION[1]:
            number = 1 if position < _TRANSLATION[0] else 2
            if number in speeds:
                name, value = speeds[number]
                which = f"log {name} of {self._where} (chtrans {position:g}: Fermi chopper {number} in the beam)"
                self.facts["frequency"] = Fact(value, which)
        elif speeds:
            names, values = zip(*speeds.values(), strict=True)
            if math.isclose(values[0], values[-1], rel_tol=STEADY["frequency"]):
                self.facts["frequency"] = Fact(values[0], f"log {' and '.join(names)} of {self._where}")
            else:
                told = " and ".join(f"{name} = {value:g} Hz" for name, value in speeds.values())
                self.notes.append(
                    f"the frequency was not taken from the logs of {self._where}: {told}, and they do not say which of "
                    "the two Fermi choppers was in the beam"
                )

    def _speed(self, number: int) -> tuple[str, float] | None:
        """Name and value of the log of a Fermi chopper's frequency, if it turned."""
        for name in (f"speed{number}", f"speedrequest{number}"):
            if name in self._spelled:
                value, _ = self._value_of(self._spelled[name], "frequency")
                return (self._spelled[name], value) if value is not None and value > _STANDING else None
        return None

    def _number(self, name: str) -> float | None:
        return self._value_of(self._spelled[name], "mode")[0] if name in self._spelled else None


def parse_mosaic(written: str) -> float:
    """The FWHM of the mosaic, degrees, in the log of ours; InputError if it is no number of zero or above."""
    try:
        mosaic = float(written)
    except ValueError:
        mosaic = math.nan
    if not 0 <= mosaic < math.inf:
        raise InputError(f"the mosaic {written!r} is not zero or a number above it", "give its FWHM in degrees")
    return mosaic


def parse_divergence(written: str) -> tuple[float | None, float | None]:
    """The FWHM of the divergence, degrees, horizontal and vertical, from ``'0.52,0.48'``; ``none`` is None.

    Raises
    ------
    InputError
        If it is not that.
    """
    try:
        found = tuple(None if part.strip() == "none" else float(part) for part in written.split(","))
    except ValueError:
        found = ()
    if len(found) != 2 or not all(x is None or math.isfinite(x) and x > 0 for x in found):
        raise InputError(
            f"the divergence {written!r} is not two numbers above zero separated by a comma",
            "give its FWHM in degrees, horizontal and vertical",
        )
    return found


def as_fact(fact: str, values, unit: str = ""):
    """The value of a fact from the text or the numbers in a log, or None; and a note on it, or ''.

    Numbers may stand in a text, with a unit ('50.0 meV'). Of several numbers, a time series, it is the median; of Ei
    and frequency that of those above zero. Of several texts, it is the last. A 'mode' is a number without a unit.
    """
    if fact in TEXTS:
        several = np.asarray(values).reshape(-1)
        return TEXTS[fact](text(several[-1:]).strip()), ""
    numbers, unit = numbers_of(values, unit)
    if fact == "mode":
        return _median_mode(numbers)
    try:
        numbers = np.atleast_1d(converted(numbers, unit, UNITS[fact]))
    except InputError as problem:
        return None, f"was not used: {problem.reason}"
    numbers = numbers[np.isfinite(numbers) & ((numbers > 0) | (fact == "temperature"))]
    value = float(np.median(numbers)) if numbers.size else 0.0
    if not value > 0:  # a log is zero before the device answers
        return None, ""
    low, high = np.quantile(numbers, (0.05, 0.95))
    if high - low <= STEADY[fact] * value:
        return value, ""
    return value, (
        f"has {numbers.size} values from {numbers.min():g} to {numbers.max():g} {UNITS[fact]}; their median, "
        f"{value:g}, was taken"
    )


def _median_mode(numbers: np.ndarray) -> tuple[float | None, str]:
    """The median of the numbers of a log without a unit, which stands still during a run."""
    numbers = numbers[np.isfinite(numbers)]
    if not numbers.size:
        return None, ""
    value = float(np.median(numbers))
    changes = f"changes between {numbers.min():g} and {numbers.max():g}; its median, {value:g}, was taken"
    return value, changes if np.ptp(np.quantile(numbers, (0.05, 0.95))) > 0.5 else ""


def numbers_of(values, unit: str = "") -> tuple[np.ndarray, str]:
    """The numbers in a dataset or log, and their unit; of a text the number it begins with, and the unit behind it."""
    values = np.asarray(values)
    if values.dtype.kind in "fiu":
        return values.astype(float).reshape(-1), unit
    matches = [m for v in values.reshape(-1) if (m := _NUMBER.fullmatch(text(v)))]
    return np.array([float(m[1]) for m in matches]), next((m[2] for m in matches if m[2]), unit)


def logs_of_run(run: Run, title: str) -> dict[str, str | float]:
    """The logs for the known facts of a run."""
    values = {
        "Ei": run.value("ei"),
        "instrument_name": run.value("instrument"),
        "chopper_package": run.value("chopper"),
        "chopper_frequency": run.value("frequency"),
        "temperature": run.value("temperature"),
        "run_title": title,
        **own_logs(run),
    }
    return {n: v if isinstance(v, str) else float(v) for n, v in values.items() if v is not None}


def own_logs(run: Run) -> dict[str, str | None]:
    """The logs of ours for the facts of a run that Mantid has no place for; None where a run has none."""
    mosaic, divergence = run.value("mosaic"), run.value("divergence")
    return {
        LATTICE_LOG: written_lattice(run),
        SAMPLE_LOG: None if run.sample is None else str(run.value("sample")),
        MOSAIC_LOG: None if mosaic is None else f"{mosaic:.10g}",
        DIVERGENCE_LOG: None if divergence is None else shown_divergence(divergence),
        RESOLUTION_LOG: None if run.resolution is None else str(run.value("resolution")),
    }


def shown_divergence(divergence: tuple[float | None, float | None]) -> str:
    """The text that `parse_divergence` reads."""
    return ",".join("none" if x is None else f"{x:.10g}" for x in divergence)


def written_lattice(run: Run) -> str | None:
    """The text of `LATTICE_LOG`, if Mantid's oriented lattice does not hold the lattice of a run."""
    lattice = run.lattice
    if lattice is None:
        return None
    old = lattice.replaced
    if lattice.value.ub is not None and (old is None or _agree("lattice", lattice.value, old.value)):
        return None
    return ",".join(f"{x:.10g}" for x in lattice.value.cell)


def _log_value(log: h5py.Group, fact: str):
    dataset = log.get("value") if isinstance(log, h5py.Group) else None
    if not isinstance(dataset, h5py.Dataset) or not dataset.size:
        return None, ""
    return as_fact(fact, dataset[()], text(dataset.attrs.get("units")))


def _lattice(group: h5py.Group) -> Lattice | None:
    names = ("a", "b", "c", "alpha", "beta", "gamma")
    cell = [dataset_number(group, f"unit_cell_{n}") for n in names]
    if None in cell:
        return None
    ub = group.get("orientation_matrix")
    ub = np.array(ub[()], dtype=float) if isinstance(ub, h5py.Dataset) and ub.shape == (3, 3) else None
    return Lattice(*cell, ub=ub)
