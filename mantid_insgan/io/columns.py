"""From numbers in columns, or an array, to a spectrum: names and limits of axes, evenly spaced points, missing ones."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..core.run import Run
from ..core.spectrum import Axis, Spectrum
from ..errors import InputError
from .grids import grid_axis
from .units import in_our_units

#: Points are evenly spaced if they are off by at most this part of a step, and this part of the largest: texts are
#: rounded to six digits, and Mantid's limits are single precision.
_OFF_STEP, _OFF_LARGEST = 1e-3, 2e-6
#: Bins for each point given, at most: a table of a grid has few gaps.
_MOST_GAPS = 50
_LIMITED = re.compile(r".+=[^:]*:[^:]*:.*")
_WITH_UNIT = re.compile(r"(.*\S)\s*[(\[]([^(),\[\]]+)[)\]]")

_HELP = "name them in order (--axes), such as 'Q;DeltaE', with limits and bins if the file does not have them: "
_HELP += "'Q=0.5:4:70;DeltaE=0:40:80'"


@dataclass(frozen=True)
class AxisText:
    """The name of an axis, perhaps with its limits and bins, as ``--axes`` gives it.

    Parameters
    ----------
    name : str
    axis : Axis or None
        With limits and bins, if they were given.
    """

    name: str
    axis: Axis | None = None


def axis_texts(axes: Sequence[str] | None) -> list[AxisText] | None:
    """The axes in ``('|Q|', 'DeltaE=0:40:80')``; None stays None.

    Raises
    ------
    InputError
        If limits and bins cannot be parsed.
    """
    if axes is None:
        return None
    limited = [grid_axis(text) if _LIMITED.fullmatch(text) else None for text in axes]
    return [AxisText(text if a is None else a.name, a) for text, a in zip(axes, limited, strict=True)]


def named_axis(name: str, edges, unit: str = "") -> Axis:
    """An axis with the unit and frame that its name implies, unless the name or the file gives a unit.

    ``DeltaE (ueV)`` is an energy in ueV; directions such as ``[H,H,0]`` are in r.l.u.
    """
    if match := _WITH_UNIT.fullmatch(name):
        name, unit = match[1], match[2]
    plain = Axis(name, edges, unit)
    if plain.projection is not None:
        return replace(plain, unit=unit or "r.l.u.", frame="HKL")
    if not unit:
        return replace(plain, unit="meV" if plain.is_energy else "Angstrom^-1" if plain.is_modulus_q else "")
    return plain


def even_edges(centers: np.ndarray, what: str) -> np.ndarray:
    """Edges of bins around evenly spaced centres.

    Parameters
    ----------
    centers : ndarray, shape (n,)
        Two or more, ascending.
    what : str
        For the message.

    Raises
    ------
    InputError
        If they are not evenly spaced.
    """
    centers = np.asarray(centers, dtype=float)
    if centers.ndim != 1 or centers.size < 2 or not np.isfinite(centers).all():
        raise InputError(f"{what}: {centers.size} points were given, expected two finite numbers or more", _HELP)
    step = (centers[-1] - centers[0]) / (centers.size - 1)
    even = centers[0] + step * np.arange(centers.size)
    if not step > 0 or np.abs(centers - even).max() > _OFF_STEP * step + _OFF_LARGEST * np.abs(centers).max():
        raise InputError(
            f"{what}: the points from {centers[0]:g} to {centers[-1]:g} are not evenly spaced and ascending",
            "bin the data on an even grid first",
        )
    return centers[0] + step * (np.arange(centers.size + 1) - 0.5)


def edges_for(values: np.ndarray, bins: int, what: str) -> np.ndarray:
    """Edges of `bins` bins from their edges or their centres; errors as `even_edges`."""
    values = np.asarray(values, dtype=float).ravel()
    if values.size == bins + 1:
        return values
    if values.size != bins:
        raise InputError(
            f"{what} has {values.size} points, expected {bins} centres or {bins + 1} edges of bins", "give one of them"
        )
    return even_edges(values, what)


@dataclass(frozen=True, eq=False)
class Points:
    """One axis of a table: the bin of each row.

    Parameters
    ----------
    index : ndarray of int, shape (rows,)
    edges : ndarray, shape (n + 1,)
    """

    index: np.ndarray
    edges: np.ndarray


def points_of(values: np.ndarray, what: str, limits: tuple[float, float, int] | None = None) -> Points:
    """The bins of the points in one column of a table.

    Parameters
    ----------
    values : ndarray, shape (rows,)
        Centres of bins, in any order.
    what : str
        For the message.
    limits : (low, high, bins), optional
        If known; otherwise the smallest step is the width, and a single point has no width of its own (edges of equal
        value).

    Raises
    ------
    InputError
        If the points do not lie on an even grid, or not at the centres of these bins.
    """
    if not np.isfinite(values).all():
        raise InputError(f"{what} has {np.count_nonzero(~np.isfinite(values))} values that are no numbers", _HELP)
    if limits is None:
        distinct = np.unique(values)
        slack = _OFF_LARGEST * np.abs(distinct).max()
        distinct = distinct[np.r_[True, np.diff(distinct) > 2 * slack]]
        if distinct.size == 1:
            return Points(np.zeros(values.size, int), np.repeat(distinct, 2))
        start, step = distinct[0], np.diff(distinct).min()
        # the smallest step is that of rounded numbers: the whole length has it more precisely
        count = round(min((distinct[-1] - start) / step, 1e15))
        if count > _MOST_GAPS * values.size + 1000:
            raise InputError(
                f"{what}: {distinct.size} points from {start:g} to {distinct[-1]:g}, the nearest {step:.3g} apart, "
                "are on no even grid",
                "bin the data on an even grid first",
            )
        step = (distinct[-1] - start) / count
        edges = start + step * (np.arange(count + 2) - 0.5)
    else:
        low, high, bins = limits
        edges = np.linspace(low, high, bins + 1)
        start, step, slack = low + 0.5 * (high - low) / bins, (high - low) / bins, _OFF_LARGEST * np.abs(values).max()
    place = np.clip((values - start) / step, -1e15, 1e15)
    index = np.round(place).astype(np.int64)
    off = np.abs(place - index).max() * step
    if off > 10 * _OFF_STEP * step + 2 * slack or index.min() < 0 or index.max() > edges.size - 2:
        raise InputError(
            f"{what}: the points do not lie at the centres of {edges.size - 1} equal bins from {edges[0]:g} to "
            f"{edges[-1]:g}",
            "bin the data on an even grid first",
        )
    return Points(index, edges)


def on_grid(points: Sequence[Points], columns: Sequence[np.ndarray], path: Path) -> list[np.ndarray]:
    """Columns of a table as arrays over the grid of its points, NaN where there is no row.

    Raises
    ------
    InputError
        If two rows belong to one bin, or the points are too few for a grid.
    """
    shape = tuple(p.edges.size - 1 for p in points)
    bins, rows = float(np.prod([float(n) for n in shape])), columns[0].size
    if bins > _MOST_GAPS * rows + 1000:
        raise InputError(
            f"{path}: {rows} rows were given for a grid of {' x '.join(map(str, shape))} bins",
            "give one row for each bin of an even grid",
        )
    flat = np.ravel_multi_index([p.index for p in points], shape)
    if np.unique(flat).size != rows:
        raise InputError(
            f"{path}: {rows - np.unique(flat).size} rows belong to a bin that another row has", "give one row for a bin"
        )
    out = []
    for column in columns:
        values = np.full(int(bins), np.nan)
        values[flat] = column
        out.append(values.reshape(shape))
    return out


def given_axes(texts: Sequence[AxisText] | None, shape: tuple[int, ...], path: Path) -> list[Axis]:
    """The axes of an array that has none of its own.

    Raises
    ------
    InputError
        If they were not given with limits, or their bins are not those of the array.
    """
    size = " x ".join(map(str, shape))
    if texts is None or any(t.axis is None for t in texts[: len(shape)]) or len(texts) < len(shape):
        raise InputError(f"{path} has {size} numbers and does not say what its axes are", _HELP)
    found = [t.axis for t in texts]
    wanted = tuple(map(len, found))
    if wanted[: len(shape)] != shape or any(n != 1 for n in wanted[len(shape) :]):
        raise InputError(
            f"{path} has {size} numbers, and axes of {' x '.join(map(str, wanted))} bins were given (--axes)",
            "give the bins of the array in its order; integrated axes of one bin may follow",
        )
    return found


def with_names(axes: Sequence[Axis], texts: Sequence[AxisText] | None, path: Path) -> list[Axis]:
    """Axes of a file with the names that were given, and with integrated ones that only ``--axes`` has.

    Raises
    ------
    InputError
        If there are not as many names as axes, or limits are given for an axis that has bins.
    """
    if texts is None:
        return list(axes)
    first, more = texts[: len(axes)], texts[len(axes) :]
    if len(first) < len(axes) or any(t.axis is None or len(t.axis) != 1 for t in more):
        raise InputError(
            f"{path}: {len(texts)} names of axes were given ({'; '.join(t.name for t in texts)}), and there are "
            f"{len(axes)} axes: {'; '.join(a.name for a in axes)}",
            "give one name for each axis, separated by semicolons (--axes); integrated axes with limits may follow, "
            "such as [0,0,L]=-0.1:0.1:1",
        )
    limited = [t.name for t in first if t.axis is not None]
    if limited:
        raise InputError(
            f"{path} has the bins of its axes, and limits were given for {', '.join(limited)} (--axes)",
            "leave the limits out; --energy-bins, --energy-range, --q-bins and --q-range choose other bins",
        )
    return [*(named_axis(t.name, a.edges) for t, a in zip(first, axes, strict=True)), *(t.axis for t in more)]


def spectrum_of(
    signal: np.ndarray,
    variance: np.ndarray | None,
    axes: Sequence[Axis],
    *,
    run: Run,
    title: str = "",
    path: Path,
    **more,
) -> Spectrum:
    """A spectrum of arrays, with axes in our units; integrated axes that the arrays do not have are added to them.

    Without a variance it is 0, as in a simulation, and a note says so. Beside bins with an error 0 +- 0 counts as in
    MDHistoWorkspace files: nothing was measured there.
    """
    axes, notes = in_our_units(axes)
    shape = tuple(map(len, axes))
    if variance is None:
        variance = np.where(np.isfinite(signal), 0.0, np.nan)
        notes = (*notes, f"{path.name} has no errors: the intensity was taken for exact")
    signal, variance = (np.asarray(x, dtype=float).reshape(shape) for x in (signal, variance))
    if "num_events" not in more and (variance > 0).any():
        more["num_events"] = np.where((signal == 0) & (variance == 0), 0.0, 1.0)
    return Spectrum(
        signal,
        variance,
        axes,
        run=run.noted(*notes),
        title=title,
        coordinate_system=more.pop("coordinate_system", 3 if any(a.frame == "HKL" for a in axes) else 0),
        **more,
    )
