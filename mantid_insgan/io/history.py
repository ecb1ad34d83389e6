"""What the history of a workspace says of its signal: whether the number of events is a weight.

BinMD sums events. MDNorm divides by the coverage of the detectors, and leaves the number of events as it was: its
signal is an intensity, and a bin that was covered without an event is a measured zero.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import h5py

from .hdf5 import text

#: Attribute of the entry in files of ours, which need not have a history.
NORMALISED = "insgan_normalised"
#: Algorithms that divide by the coverage, and those that give it for a division by DivideMD.
_DIVIDED, _COVERAGE = {"MDNorm"}, {"MDNormDirectSC", "MDNormSCD"}
_NUMBERED = re.compile(r"MantidAlgorithm_(\d+)")
_ALGORITHM = re.compile(r"Algorithm: (\S+)")
_FILENAME = re.compile(r"Name: (?:Filename|Directory), Value: ([^,\n]+), Default\?: No")


def is_normalised(entry: h5py.Group) -> bool:
    """Whether the signal of an MDHistoWorkspace entry was divided by the coverage."""
    process = entry.get("process")
    if NORMALISED in entry.attrs:
        return bool(entry.attrs[NORMALISED])
    if not isinstance(process, h5py.Group):
        return False
    numbered = sorted((int(m[1]), name) for name in process if (m := _NUMBERED.fullmatch(name)))
    return last_is_normalised(_names(process[name]) for _, name in numbered)


def last_is_normalised(steps: Iterable[set[str]]) -> bool:
    """Whether a workspace is normalised after these steps, each the names of an algorithm and of those it called."""
    normalised = coverage = False
    for names in steps:
        coverage = coverage or bool(names & _COVERAGE)
        if names & _DIVIDED or coverage and "DivideMD" in names:
            normalised = True
        elif "BinMD" in names:
            normalised = False
    return normalised


def _names(note) -> set[str]:
    """Names of the algorithms in an entry of the history and in those below it."""
    return {name for record in _records(note) for name in _ALGORITHM.findall(record)[:1]}


def _records(group) -> list[str]:
    """The texts of the entries of the history in a group, those below it included."""
    found = []

    def collect(_, item):
        if isinstance(item, h5py.Dataset) and item.name.endswith("/data") and item.size:
            found.append(text(item[()]))

    if isinstance(group, h5py.Group):
        group.visititems(collect)
    return found


def file_names(entry: h5py.Group) -> list[str]:
    """The files that the algorithms in the history of an entry loaded or saved."""
    return [name for record in _records(entry.get("process")) for name in _FILENAME.findall(record)]


def names_of_history(history) -> set[str]:
    """The same for an AlgorithmHistory of a live workspace."""
    names = {history.name()}
    for child in history.getChildHistories():
        names |= names_of_history(child)
    return names
