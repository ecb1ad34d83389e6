"""The facts of the measurement (Ei, instrument, chopper...) from the logs and the names of a file."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import h5py
import numpy as np

from ..core.run import Fact, Lattice, Run, Setting
from ..instruments.catalogue import all_names, canonical_name
from .hdf5 import dataset_number, dataset_text, text

#: Log of a result that says what resolution it has (`core.run.Setting`).
RESOLUTION_LOG = "insgan_resolution"
#: Log names of each fact; the first one present is used. Not case-sensitive.
LOGS = {
    "ei": ("Ei", "EnergyRequest", "incident_energy"),
    "frequency": ("chopper_frequency", "fermi_speed", "FermiSpeed", "fermi_chopper_speed", "SpeedRequest1"),
    "temperature": ("temperature", "Temp", "sample_temp", "SampleTemp", "t_sample", "T_sample"),
    "chopper": ("chopper_package", "chopper", "chopper_type", "chopper_name"),
    "instrument": ("instrument_name", "inst_name", "inst_abrv"),
    "resolution": (RESOLUTION_LOG,),
}
#: Facts that are texts in the logs.
TEXTS = ("instrument", "chopper", "resolution")

#: Number of experiment groups searched for a fact: a merged scan has hundreds of groups with the same facts.
SEARCHED_GROUPS = 8


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
    """The name used in this package for the instrument of a file; unknown names in upper case, an empty one as None."""
    return canonical_name(name) or name.strip().upper() or None


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

    Each fact is taken from the first group that has it. If the groups disagree on Ei, the source of the fact says so.

    Returns
    -------
    Run
    str
        The title of the run, '' if there is none.
    """
    groups = experiment_groups(entry)
    facts: dict[str, Fact] = {}
    title = ""
    for group in groups[:SEARCHED_GROUPS]:
        for name, fact in experiment_facts(group).items():
            facts.setdefault(name, fact)
        title = title or dataset_text(group, "logs/run_title/value").strip()
    if "ei" in facts:
        facts["ei"] = _with_disagreement(facts["ei"], groups)
    if "instrument" not in facts:
        guess = instrument_from_names(path, text(entry.file.attrs.get("file_name")))
        facts |= {"instrument": guess} if guess else {}
    return run_of_facts(facts), title


def run_of_facts(facts: dict[str, Fact]) -> Run:
    """A run with these facts; those of the resolution that the data have replace others."""
    run, stated = Run(**facts), facts.get("resolution")
    return run if stated is None else run.with_resolution(stated.source, stated.value)


def experiment_groups(entry: h5py.Group) -> list[h5py.Group]:
    """The ``experimentN`` groups of an entry in the order of their numbers."""
    found = [(int(m[1]), name) for name in entry if (m := re.fullmatch(r"experiment(\d+)", name))]
    return [entry[name] for _, name in sorted(found) if isinstance(entry.get(name), h5py.Group)]


def experiment_facts(group: h5py.Group) -> dict[str, Fact]:
    """Facts of one experiment (groups ``logs``, ``instrument``, ``sample``), each with its source."""
    where = group.name.rsplit("/", 1)[-1]
    facts = _log_facts(group["logs"], where) if isinstance(group.get("logs"), h5py.Group) else {}
    if name := instrument_name(dataset_text(group, "instrument/name")):
        facts["instrument"] = Fact(name, f"instrument of {where}")
    lattice = group.get("sample/oriented_lattice")
    if isinstance(lattice, h5py.Group) and (found := _lattice(lattice)):
        facts["lattice"] = Fact(found, f"oriented lattice of {where}")
    return facts


def _log_facts(logs: h5py.Group, where: str) -> dict[str, Fact]:
    spelled = {name.lower(): name for name in logs}
    return facts_of_logs(spelled, lambda name, fact: _log_value(logs[name], fact), where)


def facts_of_logs(spelled: dict[str, str], value_of, where: str) -> dict[str, Fact]:
    """The facts in logs.

    Parameters
    ----------
    spelled : dict of str to str
        Names of the logs by their names in lower case.
    value_of : callable
        Returns the value of a log as a fact, or None: ``value_of('Ei', 'ei')``. See `as_fact`.
    where : str
        The group that contains the logs.
    """
    facts = {}
    for fact, names in LOGS.items():
        for name in (spelled[n.lower()] for n in names if n.lower() in spelled):
            value = value_of(name, fact)
            if value is not None:
                facts[fact] = Fact(value, f"log {name} of {where}")
                break
    return facts


def as_fact(fact: str, value: str | float | None, unit: str = ""):
    """The value of a fact from the text or number in a log, or None."""
    if fact in TEXTS:
        text = value.strip() if isinstance(value, str) else ""
        if fact == "resolution":
            return Setting.parsed(text) if text else None
        return instrument_name(text) if fact == "instrument" else text or None
    if value is None or isinstance(value, str):
        return None
    if fact == "temperature":
        value += 273.15 if unit.strip().lower() in ("c", "degc", "celsius", "deg c") else 0.0
    # A log is zero before the device answers; zero is not an Ei, frequency or temperature.
    return value if value > 0 else None


def logs_of_run(run: Run, title: str) -> dict[str, str | float]:
    """The logs for the known facts of a run."""
    values = {
        "Ei": run.value("ei"),
        "instrument_name": run.value("instrument"),
        "chopper_package": run.value("chopper"),
        "chopper_frequency": run.value("frequency"),
        "temperature": run.value("temperature"),
        "run_title": title,
        RESOLUTION_LOG: None if run.resolution is None else str(run.value("resolution")),
    }
    return {n: v if isinstance(v, str) else float(v) for n, v in values.items() if v is not None}


def _log_value(log: h5py.Group, fact: str):
    if not isinstance(log, h5py.Group):
        return None
    if fact in TEXTS:
        return as_fact(fact, dataset_text(log, "value"))
    value = dataset_number(log, "value")
    return None if value is None else as_fact(fact, value, text(log["value"].attrs.get("units")))


def _lattice(group: h5py.Group) -> Lattice | None:
    names = ("a", "b", "c", "alpha", "beta", "gamma")
    cell = [dataset_number(group, f"unit_cell_{n}") for n in names]
    if None in cell:
        return None
    ub = group.get("orientation_matrix")
    ub = np.array(ub[()], dtype=float) if isinstance(ub, h5py.Dataset) and ub.shape == (3, 3) else None
    return Lattice(*cell, ub=ub)


def _with_disagreement(ei: Fact, groups: list[h5py.Group]) -> Fact:
    log = log_name(ei)
    return disagreeing(ei, [v for g in groups if (v := dataset_number(g, f"logs/{log}/value")) is not None])


def log_name(fact: Fact) -> str:
    """Name of the log that a fact comes from."""
    return fact.source.split(" of ")[0].removeprefix("log ")


def disagreeing(ei: Fact, values: list[float]) -> Fact:
    """The incident energy; its source says so if the logs of the experiments differ by more than a thousandth."""
    if np.ptp(values) <= 1e-3 * ei.value:
        return ei
    return Fact(
        ei.value,
        f"{ei.source} (the {len(values)} experiments with an {log_name(ei)} log disagree: "
        f"{min(values):g} to {max(values):g} meV)",
    )
