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
from ..core.run import Fact, Lattice, Run, Setting, plain_name, shown
from ..errors import InputError
from ..instruments.catalogue import all_names, canonical_name
from .hdf5 import dataset_number, dataset_text, text
from .units import converted

#: Log of a result that says what resolution it has (`core.run.Setting`).
RESOLUTION_LOG = "insgan_resolution"
#: Log of a result with the unit cell, where Mantid's oriented lattice does not have it: Mantid needs a UB for that.
LATTICE_LOG = "insgan_lattice"
#: Log names of each fact; the first one present is used. Not case-sensitive.
LOGS = {
    "ei": ("Ei", "EnergyRequest", "incident_energy"),
    "frequency": ("chopper_frequency", "fermi_speed", "FermiSpeed", "fermi_chopper_speed", "SpeedRequest1"),
    "temperature": ("temperature", "Temp", "sample_temp", "SampleTemp", "t_sample", "T_sample"),
    "chopper": ("chopper_package", "chopper", "chopper_type", "chopper_name"),
    "instrument": ("instrument_name", "inst_name", "inst_abrv"),
    "resolution": (RESOLUTION_LOG,),
    "lattice": (LATTICE_LOG,),
}
#: Facts that are texts in the logs.
TEXTS = ("instrument", "chopper", "resolution", "lattice")
#: Units of the others.
UNITS = {"ei": "meV", "frequency": "Hz", "temperature": "K"}
#: Largest spread of the values in one log, and largest difference of two experiments, without a note; relative.
STEADY = {"ei": 0.01, "frequency": 0.01, "temperature": np.inf}
SAME = {"temperature": 0.05}
_SAME = 1e-3
#: Names that files have in place of a spectrometer's.
NO_INSTRUMENT = {"", "nxspe", "unknown", "undefined", "none", "n/a", "na", "null", "instrument", "basic_rect", "test"}
#: A number in a text, with its unit.
_NUMBER = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(.*?)\s*")


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
    run = merged([experiment_facts(group) for group in groups])
    if run.instrument is None and (guess := instrument_from_names(path, text(entry.file.attrs.get("file_name")))):
        run = run.updated(guess.source, instrument=guess.value)
    return run, next(filter(None, titles), "")


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
    told = [f"{shown(fact.value)}{' ' + UNITS[name] if name in UNITS else ''} ({fact.source})" for fact in distinct[:3]]
    more = f" and {len(distinct) - 3} more values" if len(distinct) > 3 else ""
    label = "Ei" if name == "ei" else name
    return f"the {number} experiments with a value differ in {label}: {', '.join(told)}{more}; the first was taken"


def experiment_groups(entry: h5py.Group) -> list[h5py.Group]:
    """The ``experimentN`` groups of an entry in the order of their numbers."""
    found = [(int(m[1]), name) for name in entry if (m := re.fullmatch(r"experiment(\d+)", name))]
    return [entry[name] for _, name in sorted(found) if isinstance(entry.get(name), h5py.Group)]


def experiment_facts(group: h5py.Group) -> tuple[dict[str, Fact], tuple[str, ...]]:
    """Facts of one experiment (groups ``logs``, ``instrument``, ``sample``), each with its source, and notes."""
    where = group.name.rsplit("/", 1)[-1]
    facts, notes = _log_facts(group["logs"], where) if isinstance(group.get("logs"), h5py.Group) else ({}, ())
    if name := instrument_name(dataset_text(group, "instrument/name")):
        facts["instrument"] = Fact(name, f"instrument of {where}")
    lattice = group.get("sample/oriented_lattice")
    if isinstance(lattice, h5py.Group) and (found := _lattice(lattice)):
        facts = with_oriented(facts, found, where)
    return facts, notes


def with_oriented(facts: dict[str, Fact], lattice: Lattice, where: str) -> dict[str, Fact]:
    """Facts with the oriented lattice of an experiment, unless a log of ours (`LATTICE_LOG`) has another cell."""
    logged = facts.get("lattice")
    if logged is not None and not _agree("lattice", logged.value, lattice):
        return facts
    return facts | {"lattice": Fact(lattice, f"oriented lattice of {where}")}


def _log_facts(logs: h5py.Group, where: str) -> tuple[dict[str, Fact], tuple[str, ...]]:
    spelled = {name.lower(): name for name in logs}
    return facts_of_logs(spelled, lambda name, fact: _log_value(logs[name], fact), where)


def facts_of_logs(spelled: dict[str, str], value_of, where: str) -> tuple[dict[str, Fact], tuple[str, ...]]:
    """The facts in logs, and notes on their values.

    Parameters
    ----------
    spelled : dict of str to str
        Names of the logs by their names in lower case.
    value_of : callable
        Returns the value of a log as a fact, or None, and a note: ``value_of('Ei', 'ei')``. See `as_fact`.
    where : str
        The group that contains the logs.
    """
    facts, notes = {}, []
    for fact, names in LOGS.items():
        for name in (spelled[n.lower()] for n in names if n.lower() in spelled):
            value, note = value_of(name, fact)
            notes += [f"log {name} of {where} {note}"] * bool(note)
            if value is not None:
                facts[fact] = Fact(value, f"log {name} of {where}")
                break
    return facts, tuple(notes)


def as_fact(fact: str, values, unit: str = ""):
    """The value of a fact from the text or the numbers in a log, or None; and a note on it, or ''.

    Numbers may stand in a text, with a unit ('50.0 meV'). Of several numbers, a time series, it is the median; of Ei
    and frequency that of those above zero.
    """
    if fact in TEXTS:
        written = text(values).strip()
        if fact == "resolution":
            return (Setting.parsed(written) if written else None), ""
        if fact == "lattice":
            return parse_lattice(written or None), ""
        return (instrument_name(written) if fact == "instrument" else written or None), ""
    numbers, unit = numbers_of(values, unit)
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
        LATTICE_LOG: written_lattice(run),
        "run_title": title,
        RESOLUTION_LOG: None if run.resolution is None else str(run.value("resolution")),
    }
    return {n: v if isinstance(v, str) else float(v) for n, v in values.items() if v is not None}


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
