"""Grids from texts, as the command line has them: ``[H,0,0]=-2:2:80`` and ``DeltaE=0:40:80``."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from ..core.spectrum import Axis, energy_axis
from ..errors import InputError
from .crystal import parse_axis

_EXAMPLE = "such as '[H,0,0]=-2:2:80', '|Q|=0.5:4:70' and 'DeltaE=0:40:80'"
_WRITTEN = re.compile(r"([^=]+)=([^:]*):([^:]*):(.*)")
_MODULUS_UNIT = "Angstrom^-1"


def grid_axes(texts: Sequence[str]) -> tuple[Axis, ...]:
    """The axes of a grid: |Q| (1/Angstrom), or one to three independent directions (r.l.u.), and energy transfer (meV).

    Directions that are not given are 0.

    Parameters
    ----------
    texts : sequence of str
        ``NAME=LOW:HIGH:BINS``, one for each axis.

    Raises
    ------
    InputError
        If one cannot be parsed, or together they are no such grid.
    """
    axes = tuple(grid_axis(text) for text in texts)
    momenta = [a for a in axes if not a.is_energy]
    powder = len(momenta) == 1 and momenta[0].is_modulus_q
    directions = [a.projection for a in momenta if a.projection is not None]
    independent = len(directions) == len(momenta) <= 3 and np.linalg.matrix_rank(directions) == len(momenta)
    if energy_axis(axes) is None or not momenta or not (powder or independent):
        raise InputError(
            f"the axes {' '.join(map(repr, texts)) or '(none)'} are neither |Q| nor one to three independent "
            "directions of momentum, with one energy transfer",
            f"give each axis (--grid), {_EXAMPLE}",
        )
    return axes


def grid_axis(text: str) -> Axis:
    """One axis of a grid.

    Raises
    ------
    InputError
        If it cannot be parsed.
    """
    match = _WRITTEN.fullmatch(text)
    if match is None:
        raise InputError(f"the axis {text!r} is not NAME=LOW:HIGH:BINS", f"give it {_EXAMPLE}")
    name, *limits = (part.strip() for part in match.groups())
    if Axis(name, [0.0, 1.0], _MODULUS_UNIT).is_modulus_q:
        # parse_axis knows directions: it reads the numbers as those of one
        return Axis("|Q|", parse_axis(",".join(["[H,0,0]", *limits]), _EXAMPLE).edges, _MODULUS_UNIT)
    return parse_axis(",".join([name, *limits]), _EXAMPLE)
