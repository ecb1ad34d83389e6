"""Paths through (h, k, l), one cut for each straight segment: from text tables of intensities, or from corners."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..core.run import Lattice, Run
from ..core.spectrum import Axis, Spectrum
from ..errors import InputError
from .columns import even_edges

#: Steps along a path that differ by less than this (r.l.u.) are the same.
_SAME_STEP = 1e-6
#: Points of a segment, at least: two lie on a line by chance.
_FEWEST = 3


def read_path(
    signal: str | Path,
    *,
    momenta: str | Path,
    energies: str | Path,
    lattice: Lattice,
    variance: str | Path | None = None,
    across: float | tuple[float, float, float] = 0.05,
    gap: float | None = None,
    largest_variance: float | None = None,
    run: Run | None = None,
) -> list[Spectrum]:
    """Read a path of straight segments from tables of numbers separated by commas or blanks.

    Every segment becomes a cut of its own: an axis along it, two integrated ones across it, at right angles, and the
    energy transfer. A point where two segments meet belongs to the first.

    Parameters
    ----------
    signal : path
        Energies by points, or points by energies.
    momenta : path
        (h, k, l) of the points: 3 by points, or points by 3.
    energies : path
        Bin centres, meV, evenly spaced.
    lattice : Lattice
        Of the r.l.u.
    variance : path, optional
        Squared standard errors, in the shape of the signal; ones if not given.
    across : float or (float, float, float)
        Half-width of the cut across the path in r.l.u. of a direction's longest component; or three, for directions
        whose longest component is h, k or l. At one crystal angle the energy decides l, say, which is then wide.
    gap : float, optional
        Value of the signal that stands for "not measured".
    largest_variance : float, optional
        Bins with more are left out.
    run : Run, optional
        Facts of the measurement.

    Returns
    -------
    list of Spectrum
        Axes (along, across, across, energy).

    Raises
    ------
    InputError
        If a file does not parse, shapes do not fit, energies are not evenly spaced, or a point stands alone.
    """
    hkl, energy = _table(momenta), _table(energies).ravel()
    hkl = hkl if hkl.shape[1] == 3 else hkl.T
    if hkl.shape[1] != 3:
        raise InputError(f"{momenta} holds {hkl.shape[::-1]} numbers, expected three rows or columns", "give h, k, l")
    shape = (len(energy), len(hkl))
    values = _shaped(signal, shape)
    errors = np.ones(shape) if variance is None else _shaped(variance, shape)
    valid = np.isfinite(values) & np.isfinite(errors)
    if gap is not None:
        valid &= values != gap
    if largest_variance is not None:
        valid &= errors <= largest_variance
    values, errors = (np.where(valid, x, np.nan) for x in (values, errors))
    axis = Axis("DeltaE", even_edges(energy, f"the energies of {energies}"), "DeltaE")
    facts = (run or Run()).updated(f"option for {Path(signal).name}", lattice=lattice)
    return [
        _segment(hkl[part], values[:, part].T, errors[:, part].T, axis, lattice, across, facts, number)
        for number, part in enumerate(_segments(hkl, momenta))
    ]


def path_axes(
    corners: Sequence[Sequence[float]],
    lattice: Lattice,
    energy: Axis,
    *,
    bins: int = 50,
    across: float | tuple[float, float, float] = 0.05,
) -> list[tuple[Axis, ...]]:
    """The axes of the cuts along a path through (h, k, l), one for each straight segment between two corners.

    Parameters
    ----------
    corners : sequence of (h, k, l)
        Two or more.
    lattice : Lattice
        Of the r.l.u.
    energy : Axis
    bins : int
        Along each segment, from one corner to the other.
    across : float or (float, float, float)
        As in `read_path`.

    Returns
    -------
    list of tuple of Axis
        (along, across, across, energy); axes ascend, so that a segment may run against its path.

    Raises
    ------
    InputError
        If there are fewer than two corners, two that follow each other are the same, or a number is out of range.
    """
    corners = np.asarray(corners, dtype=float)
    if corners.ndim != 2 or corners.shape[1] != 3 or len(corners) < 2 or not np.isfinite(corners).all():
        raise InputError(f"{len(corners)} corners of a path were given", "give two or more, each as h,k,l")
    if bins < 1 or not np.min(across) > 0:
        raise InputError(
            f"{bins} bins along a segment and a half-width of {np.min(across):g} r.l.u.", "give numbers above 0"
        )
    steps = np.abs(np.diff(corners, axis=0)).max(axis=1)
    if (steps < _SAME_STEP).any():
        at = ",".join(f"{x:g}" for x in corners[int(np.argmin(steps))])
        raise InputError(f"the path stays at the corner {at}", "give corners that differ from the one before")
    return [
        (*_axes_along(start, stop, lattice, across, lambda low, high: np.linspace(low, high, bins + 1)), energy)
        for start, stop in zip(corners[:-1], corners[1:], strict=True)
    ]


def _axes_along(start, stop, lattice: Lattice, across, edges) -> tuple[Axis, Axis, Axis]:
    """An axis along a segment and two integrated ones across it; `edges` makes those of the first from its ends."""
    directions = _directions(np.subtract(stop, start), lattice)
    places = np.stack([start, stop]) @ np.linalg.inv(directions)
    first = Axis(_name(directions[0]), edges(*np.sort(places[:, 0])), "r.l.u.", "HKL")
    beside = []
    for direction, centre in zip(directions[1:], places[0, 1:], strict=True):
        half = np.broadcast_to(across, 3)[np.abs(direction).argmax()]
        beside.append(Axis(_name(direction), [centre - half, centre + half], "r.l.u.", "HKL"))
    return first, *beside


def _table(path: str | Path) -> np.ndarray:
    try:
        text = Path(path).read_text(encoding="utf-8").replace(",", " ")
        return np.atleast_2d(np.loadtxt(text.splitlines(), dtype=float))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no table of numbers ({error})", "give a text file of rows of numbers") from error


def _shaped(path: str | Path, shape: tuple[int, int]) -> np.ndarray:
    """A table of (energies, points), turned if it is the other way round."""
    values = _table(path)
    if values.shape != shape and values.T.shape == shape:
        values = values.T
    if values.shape != shape:
        raise InputError(
            f"{path} holds {values.shape[0]} by {values.shape[1]} numbers, expected {shape[0]} energies by {shape[1]} "
            "points",
            "give one number for each energy and point",
        )
    return values


def _segments(hkl: np.ndarray, path) -> list[slice]:
    """Runs of points with the same step."""
    steps = np.diff(hkl, axis=0)
    parts, start = [], 0
    while start < len(hkl) - 1:
        same = np.abs(steps[start:] - steps[start]).max(axis=1) < _SAME_STEP
        stop = start + (len(same) if same.all() else int(np.argmin(same))) + 1
        parts.append(slice(start, stop))
        start = stop
    lonely = [p for p in parts if p.stop - p.start < _FEWEST]
    if lonely or not parts or parts[-1].stop != len(hkl):
        raise InputError(
            f"the {len(hkl)} points of {path} do not lie on straight segments of {_FEWEST} or more evenly "
            "spaced points",
            "give the momenta of one path, in order",
        )
    return parts


def _segment(hkl, values, errors, energy: Axis, lattice: Lattice, across, run: Run, number: int) -> Spectrum:
    along = hkl @ np.linalg.inv(_directions(hkl[-1] - hkl[0], lattice))[:, 0]
    if along[-1] < along[0]:  # axes ascend
        along, values, errors = along[::-1], values[::-1], errors[::-1]
    edges = even_edges(along, f"the points of segment {number + 1}")
    axes = _axes_along(hkl[0], hkl[-1], lattice, across, lambda *_: edges)
    shape = (len(along), 1, 1, len(energy))
    return Spectrum(
        values.reshape(shape),
        errors.reshape(shape),
        (*axes, energy),
        run=run,
        title=f"segment {number + 1}",
        coordinate_system=3,
    )


def _directions(along: np.ndarray, lattice: Lattice) -> np.ndarray:
    """The direction of a segment and two at right angles to it and to each other, (h, k, l) as rows.

    The largest component of each is 1. The second lies in the plane of the segment and the axis of the three that
    makes the largest angle with it.
    """
    b = lattice.b_matrix()
    first = b @ along
    first /= np.linalg.norm(first)
    others = [b @ unit / np.linalg.norm(b @ unit) for unit in np.eye(3)]
    beside = min(others, key=lambda o: round(abs(float(o @ first)), 9))
    third = beside - (beside @ first) * first if abs(beside @ first) > 1e-9 else beside
    third /= np.linalg.norm(third)
    second = np.cross(third, first)
    rows = np.array([np.linalg.solve(b, x) for x in (first, second, third)])
    rows[np.abs(rows) < 1e-9 * np.abs(rows).max(axis=1, keepdims=True)] = 0.0
    largest = np.take_along_axis(rows, np.abs(rows).argmax(axis=1)[:, None], axis=1)
    return rows / largest


def _name(direction: np.ndarray) -> str:
    """As Mantid names an axis: ``[H,-H,0]``."""
    letter = "HKL"[int(np.abs(direction).argmax())]

    def component(value: float) -> str:
        if value == 0:
            return "0"
        factor = f"{value:.9f}".rstrip("0").rstrip(".")
        return {"1": letter, "-1": f"-{letter}"}.get(factor, f"{factor}{letter}")

    return f"[{','.join(map(component, direction))}]"
