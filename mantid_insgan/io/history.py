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
    found = set()

    def collect(_, item):
        if isinstance(item, h5py.Dataset) and item.name.endswith("/data") and item.size:
            found.update(_ALGORITHM.findall(text(item[()]))[:1])

    if isinstance(note, h5py.Group):
        note.visititems(collect)
    return found


def names_of_history(history) -> set[str]:
    """The same for an AlgorithmHistory of a live workspace."""
    names = {history.name()}
    for child in history.getChildHistories():
        names |= names_of_history(child)
    return names
