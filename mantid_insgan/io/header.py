"""The facts of a run as lines of text, as Shiver writes them above the columns of an MDHistoWorkspace.

::

    Name: slice
    Instrument: CNCS
    Ei: 2.7
    Binning:
        [H,H,0]: 75 bins from 0.0 to 0.75, step 0.01
        [0,0,L]: 1 bins from -3.05 to -2.95
    UnitCell:
        Lattice parameters: a = 5.71 b = 5.71 c = 21.43 alpha = 90 beta = 90 gamma = 120
        Orientation u:[0.76,0.91,20.5]    v:[2.7,2.75,-6.28]

u is the direction (h, k, l) along the beam and v another in the horizontal plane. Lines of our own (Chopper, Frequency,
Temperature, Resolution, History) have what Shiver does not know.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..core.options import parse_lattice
from ..core.run import RUN_FACTS, Lattice, Run
from ..core.spectrum import Axis, Spectrum
from ..errors import InputError
from ..instruments.frames import Orientation
from .facts import NO_INSTRUMENT, TEXTS, UNITS, as_fact, instrument_from_names, numbers_of
from .units import converted

#: Facts with a line of their own, which begins with their name.
_FACTS = tuple(name for name in RUN_FACTS if name in UNITS or name in TEXTS and name != "lattice")
#: Beginning of the line with the record of the history.
HISTORY = "History:"
_NAMED = re.compile(r"\s*([A-Za-z][A-Za-z ]*?)\s*:\s*(.*?)\s*")
_BINS = re.compile(r"\s+(.+?):\s*(\d+) bins? from (\S+?) to (\S+?),?(?: step \S+)?\s*")
_CELL = re.compile(r"\b(a|b|c|alpha|beta|gamma)\s*=\s*([-+\d.eE]+)")
_VECTOR = re.compile(r"\b([uv])\s*:\s*\[([^\]]*)\]")


@dataclass
class Header:
    """What the lines above a table say.

    Parameters
    ----------
    title : str
    run : Run
    limits : dict
        Axis -> lower limit, upper limit, number of bins.
    """

    title: str = ""
    run: Run = field(default_factory=Run)
    limits: dict[str, tuple[float, float, int]] = field(default_factory=dict)


def read_header(lines: Iterable[str], path: Path) -> Header:
    """The facts in the lines above a table; lines that say something else are left alone.

    Parameters
    ----------
    lines : iterable of str
        Without the sign of a comment.
    path : Path
        The file: it is the source of the facts, and its name may be that of a run.

    Raises
    ------
    InputError
        If a line of this form has no number where it should.
    """
    header, source = Header(), f"header of {path.name}"
    for line in lines:
        if match := _BINS.fullmatch(line):
            name, *limits = match.groups()
            header.limits[name.strip()] = _limits(name, *limits)
        elif "attice" in line and (cell := dict(_CELL.findall(line))):
            header.run = header.run.updated(source, lattice=_lattice(cell, line))
        elif "rientation" in line and (vectors := dict(_VECTOR.findall(line))):
            header.run = header.run.updated(source, lattice=_oriented(header.run.value("lattice"), vectors, line))
        elif match := _NAMED.fullmatch(line):
            name, value = match[1].casefold(), match[2]
            if name == "name":
                header.title = value
            elif name in _FACTS and value.casefold() not in NO_INSTRUMENT:
                header.run = header.run.updated(source, **{name: _value(name, value, line)})
    if header.run.instrument is None and (guess := instrument_from_names(path)):
        header.run = header.run.updated(guess.source, instrument=guess.value)
    return header


def _limits(name: str, bins: str, low: str, high: str) -> tuple[float, float, int]:
    try:
        found = (float(low), float(high), int(bins))
    except ValueError:
        found = (0.0, 0.0, 0)
    if not (found[2] > 0 and math.isfinite(found[0] + found[1]) and found[0] < found[1]):
        raise InputError(
            f"the header says {bins} bins from {low} to {high} for axis {name.strip()!r}",
            "expected one bin or more from a number to a higher one: save the file again",
        )
    return found


def _value(fact: str, text: str, line: str):
    if fact in TEXTS:
        return as_fact(fact, text)[0]
    numbers, unit = numbers_of([text])
    if numbers.size != 1:
        raise InputError(f"the header says {line.strip()!r}, expected a number", "correct the line, or leave it out")
    return float(converted(numbers, unit, UNITS[fact])[0])


def _lattice(cell: dict[str, str], line: str) -> Lattice:
    try:
        found = parse_lattice([float(cell[n]) for n in ("a", "b", "c", "alpha", "beta", "gamma")])
        found.b_matrix()
    except (KeyError, ValueError, InputError) as problem:
        raise InputError(
            f"the header says {line.strip()!r}, which is no unit cell", "correct the six parameters, or leave them out"
        ) from problem
    return found


def _oriented(lattice: Lattice | None, vectors: dict[str, str], line: str) -> Lattice | None:
    """The lattice with UB from u along the beam and v in the horizontal plane."""
    if lattice is None:
        return None
    try:
        u, v = (tuple(float(x) for x in vectors[name].split(",")) for name in "uv")
        if len(u) != 3 or len(v) != 3:
            raise ValueError(f"{len(u)} and {len(v)} numbers")
    except (KeyError, ValueError) as problem:
        raise InputError(
            f"the header says {line.strip()!r}, expected u and v with three numbers each",
            "correct the line, or leave it out",
        ) from problem
    return replace(lattice, ub=Orientation(u, v).rotation(lattice) @ lattice.b_matrix())


def header_lines(spectrum: Spectrum, history: dict | None = None) -> list[str]:
    """The lines of `read_header` for a spectrum, and one with the history as JSON."""
    run = spectrum.run
    lines = [f"Name: {' '.join(spectrum.title.split())}"]
    for name in _FACTS:
        if (value := run.value(name)) is not None:
            text = str(value) if name in TEXTS else repr(float(value))
            lines.append(f"{'Ei' if name == 'ei' else name.capitalize()}: {text}")
    lines += ["Binning:", *(_binning(axis) for axis in spectrum.axes)]
    lattice = run.value("lattice")
    if lattice is not None:
        names = ("a", "b", "c", "alpha", "beta", "gamma")
        cell = " ".join(f"{n} = {float(x)!r}" for n, x in zip(names, lattice.cell, strict=True))
        lines += ["UnitCell:", f"\tLattice parameters: {cell}"]
        if lattice.ub is not None:
            # h, k, l of the beam (z) and of x, as rows
            u, v = np.linalg.inv(np.asarray(lattice.ub, dtype=float)).T[[2, 0]].tolist()
            lines.append(f"\tOrientation u:[{','.join(map(repr, u))}]\tv:[{','.join(map(repr, v))}]")
    if history is not None:
        lines.append(f"{HISTORY} {json.dumps(history, default=str, sort_keys=True)}")
    return lines


def _binning(axis: Axis) -> str:
    low, high = axis.edges[[0, -1]].tolist()
    step = f", step {axis.width:.10g}" if len(axis) > 1 else ""
    return f"\t{axis.name}: {len(axis)} bins from {low!r} to {high!r}{step}"
