"""Text files: the columns that Shiver and Mantid's SaveMDToAscii write, xye, tables with named columns, and matrices.

Shiver writes ``Intensity Error dims``, one row for each bin, the last dimension fastest, under a header of one of two
kinds: names and shape alone, or the facts of the run as well (`header`). SaveMDToAscii writes the dimensions first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.spectrum import Axis, Spectrum, per_event
from ..errors import InputError
from .columns import (
    AxisText,
    Points,
    axis_texts,
    given_axes,
    named_axis,
    on_grid,
    points_of,
    spectrum_of,
    with_names,
)
from .header import HISTORY, Header, header_lines, read_header

#: Names of columns, in lower case; of a column 'e' beside an intensity it is the error, before it an energy.
INTENSITIES = {"intensity", "signal", "y", "i", "s", "s(q,e)", "s(q,w)", "counts"}
ERRORS = {"error", "errors", "err", "e", "sigma", "dy", "yerr", "uncertainty", "std"}
VARIANCES = {"variance", "variances", "errors_squared"}

_SHAPE = re.compile(r"\s*shape:\s*(\d+(?:\s*x\s*\d+)*)\s*", re.IGNORECASE)
_COLUMNS = re.compile(r"\s*(?:Intensity\s+Error\s+(.+)|(.+?)\s+Intensity\s+Error)\s*", re.IGNORECASE)
#: Characters that separate numbers; blanks otherwise.
_SEPARATORS = (",", ";", "\t", ":")


def record_in_header(path: Path) -> str:
    """The record of the history in the header of a text file that this package wrote; an empty one where there is none.

    Raises
    ------
    InputError
        If the file is not text.
    """
    found = [line for line in _table(path).comments if line.strip().startswith(HISTORY)]
    return found[-1].strip().removeprefix(HISTORY).strip() if found else "{}"


@dataclass(frozen=True, eq=False)
class _Table:
    """A text file: comments without their sign, names of columns if it has any, numbers of shape (rows, columns)."""

    comments: tuple[str, ...]
    names: tuple[str, ...]
    numbers: np.ndarray


def read_text(path: Path, axes: Sequence[str] | None = None) -> Spectrum:
    """A text file of any of these kinds as a spectrum.

    Parameters
    ----------
    path : Path
    axes : sequence of str, optional
        Names of the axes, with limits and bins where the file does not have them: see `columns.axis_texts`.

    Raises
    ------
    InputError
        If it is no table of numbers, rows are missing, or it is not known what its columns are.
    """
    table, texts = _table(path), axis_texts(axes)
    header = read_header(table.comments, path)
    shape = next((m[1] for line in table.comments if (m := _SHAPE.fullmatch(line))), None)
    columns = [m for line in table.comments if (m := _COLUMNS.fullmatch(line))]
    if columns and shape is not None:
        sizes = [int(n) for n in shape.split("x")]
        return _histogram(table, header, columns[-1], sizes, texts, path)
    if table.names:
        return _named(table, header, texts, path)
    return _unnamed(table, header, texts, path)


def _table(path: Path) -> _Table:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as problem:
        raise InputError(
            f"{path} is neither a text nor a file of a kind that is known here ({problem.reason} at byte "
            f"{problem.start})",
            "give a file of one of the formats of docs/formats.md",
        ) from problem
    comments = tuple(line.lstrip()[1:].removeprefix(" ") for line in lines if line.lstrip().startswith(("#", "%")))
    rows = [line for line in lines if line.strip() and not line.lstrip().startswith(("#", "%"))]
    separator = next((s for s in _SEPARATORS if rows and s in rows[-1]), None)
    names, said = (), ()
    if rows and not _is_number(_split(rows[0], separator)[0]):
        names, rows = _names(rows[0]), rows[1:]
    elif not any(map(_COLUMNS.fullmatch, comments)) and comments:
        # names of columns in the last comment, as in '# Q E intensity error'
        said = _names(comments[-1])
    if not rows:
        raise InputError(f"{path} has no rows of numbers", "give a table of numbers, or another file")
    try:
        numbers = np.loadtxt(rows, dtype=float, delimiter=separator, ndmin=2)
    except ValueError as problem:
        raise InputError(
            f"{path} is no table of numbers with equal rows ({problem})", "correct the row, or save the file again"
        ) from problem
    if len(said) == numbers.shape[1] and _intensity(said) is not None:
        names = said
    return _Table(comments, names, numbers)


def _split(line: str, separator: str | None) -> list[str]:
    return [part.strip() for part in line.split(separator)] or [""]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _names(line: str) -> tuple[str, ...]:
    """Names of columns, separated by commas outside brackets and quotes, semicolons, tabs, or blanks; a unit in
    brackets belongs to the name before it."""
    parts = re.findall(r"""\s*("[^"]*"|(?:\[[^\]]*\]|\([^)]*\)|[^,;\t\[(])+)\s*(?:[,;\t]|$)""", line)
    if len(parts) < 2:
        parts = re.findall(r"\[[^\]]*\]|\([^)]*\)|[^\s\[(]\S*", line)
    joined: list[str] = []
    for part in (p.strip().strip('"').strip() for p in parts):
        if joined and re.fullmatch(r"[\[(][^,]*[\])]", part):
            joined[-1] += f" {part}"
        elif part:
            joined.append(part)
    return tuple(joined)


def _plain(name: str) -> str:
    return re.sub(r"\s*[\[(][^,\[\]()]*[\])]$", "", name).strip().casefold()


def _intensity(names: Sequence[str]) -> int | None:
    """The column of the intensity."""
    return next((i for i, name in enumerate(names) if _plain(name) in INTENSITIES), None)


def _histogram(table: _Table, header: Header, columns, sizes: list[int], texts, path: Path) -> Spectrum:
    """The columns of Shiver, or of SaveMDToAscii."""
    numbers, count = table.numbers, len(sizes)
    if numbers.shape[1] != count + 2 or numbers.shape[0] != np.prod(sizes):
        raise InputError(
            f"{path} has {numbers.shape[0]} rows of {numbers.shape[1]} numbers, and its header says "
            f"{'x'.join(map(str, sizes))} bins: expected {np.prod(sizes)} rows of {count + 2}",
            "copy or save the file again; an interrupted transfer leaves such files",
        )
    first = columns[1] is not None  # intensity and error first
    names = _dimension_names(columns[1] or columns[2], count, header, texts, path)
    places = numbers[:, 2:] if first else numbers[:, :-2]
    signal, error = (numbers[:, :2] if first else numbers[:, -2:]).T
    notes, axes, points = [], [], []
    for name, size, values in zip(names, sizes, places.T, strict=True):
        limits = header.limits.get(name)
        what = f"{path}: axis {name!r}"
        if limits is not None and limits[2] != size:
            raise InputError(f"{what} has {limits[2]} bins in one line and {size} in the shape", "save the file again")
        if size == 1 and limits is None:
            limits = (values[0] - 0.5, values[0] + 0.5, 1)
            notes.append(f"the width of the integrated axis {name!r} is not in the file: 1 was taken")
        points.append(_checked(points_of(values, what, limits), size, what))
        axes.append(named_axis(name, points[-1].edges))
    axes = with_names(axes, texts, path)
    if texts is None:
        axes = _with_integrated(axes, names, header, path)
    signal, error = on_grid(points, [signal, error], path)
    return _finished(signal, error, axes, header, notes, path)


def _checked(points: Points, size: int, what: str) -> Points:
    if points.edges.size != size + 1:
        raise InputError(
            f"{what} has {points.edges.size - 1} evenly spaced points, and {size} in the shape", "save the file again"
        )
    return points


def _dimension_names(written: str, count: int, header: Header, texts, path: Path) -> list[str]:
    """Names of the dimensions in a header; those with blanks are known from the lines of their limits."""
    names = written.split()
    if len(names) != count:
        found = sorted((written.find(name), name) for name in header.limits if name in written)
        names = [name for _, name in found]
    if len(names) != count:
        if texts is None or len(texts) < count:
            raise InputError(
                f"{path}: the header names the axes {written!r}, and the shape has {count}",
                "name them in order (--axes), separated by semicolons",
            )
        names = [text.name for text in texts[:count]]
    return names


def _with_integrated(axes: list[Axis], names: Sequence[str], header: Header, path: Path) -> list[Axis]:
    """The axes of columns, and those of one bin that only the header has, in its order if it has all of them."""
    more = {name: limits for name, limits in header.limits.items() if name not in names}
    for name, (_, _, bins) in more.items():
        if bins != 1:
            raise InputError(
                f"{path}: the header says {bins} bins for axis {name!r}, which has no column", "save the file again"
            )
    known = dict(zip(names, axes, strict=True)) | {name: named_axis(name, more[name][:2]) for name in more}
    order = list(header.limits)
    in_order = [name for name in order if name in names] == list(names)
    return [known[name] for name in (order if in_order else known)]


def _named(table: _Table, header: Header, texts: list[AxisText] | None, path: Path) -> Spectrum:
    """A table with named columns: axes, intensity and, if there is one, error; one row for each bin, in any order."""
    names, numbers = table.names, table.numbers
    if len(names) != numbers.shape[1]:
        raise InputError(
            f"{path} has names of {len(names)} columns ({', '.join(names)}) and rows of {numbers.shape[1]} numbers",
            "give one name for each column",
        )
    intensity = _intensity(names)
    if intensity is None:
        raise InputError(
            f"{path} has the columns {', '.join(names)}, and none of them is an intensity",
            f"name it {', '.join(sorted(INTENSITIES)[:-1])} or {sorted(INTENSITIES)[-1]}",
        )
    error, square = _errors(names, intensity)
    columns = [i for i in range(len(names)) if i not in (intensity, error)]
    return _of_rows(table, header, texts, path, [names[i] for i in columns], columns, (intensity, error), square)


def _errors(names: Sequence[str], intensity: int) -> tuple[int | None, bool]:
    """The column of the errors, behind the intensity if there is one there, and whether it has their squares."""
    order = [*range(intensity + 1, len(names)), *range(intensity)]
    for i in order:
        if _plain(names[i]) in VARIANCES:
            return i, True
        if _plain(names[i]) in (ERRORS if i > intensity else ERRORS - {"e"}):
            return i, False
    return None, False


def _unnamed(table: _Table, header: Header, texts: list[AxisText] | None, path: Path) -> Spectrum:
    """A table without names: columns of the axes that were given, intensity and error; or the matrix of a map."""
    numbers = table.numbers
    rows, width = numbers.shape
    if texts is not None and all(t.axis is None for t in texts) and width - len(texts) in (1, 2):
        count = len(texts)
        which = (count, count + 1 if width == count + 2 else None)
        return _of_rows(table, header, texts, path, [t.name for t in texts], range(count), which, False)
    values = numbers
    if texts is not None and len(texts) > 1 and all(t.axis is not None for t in texts[:2]):
        if (len(texts[0].axis), len(texts[1].axis)) == (width, rows) != (rows, width):
            values = numbers.T
    axes = given_axes(texts, values.shape, path)
    return _finished(values, None, axes, header, [], path)


def _of_rows(table, header, texts, path, names, columns, which, square: bool) -> Spectrum:
    """The spectrum of a table with one row for each bin."""
    points = [
        points_of(table.numbers[:, i], f"{path}: column {name!r}", header.limits.get(name))
        for i, name in zip(columns, names, strict=True)
    ]
    if not points:
        raise InputError(f"{path} has an intensity and no column of an axis", "give the places of the bins as well")
    notes, edges = [], []
    for point, name in zip(points, names, strict=True):
        single = bool(point.edges.size == 2 and point.edges[0] == point.edges[1])
        edges.append(point.edges + np.array([-0.5, 0.5]) if single else point.edges)
        notes += [f"the width of the integrated axis {name!r} is not in the file: 1 was taken"] * single
    axes = with_names([named_axis(n, e) for n, e in zip(names, edges, strict=True)], texts, path)
    if texts is None:
        axes = _with_integrated(axes, names, header, path)
    intensity, error = which
    wanted = [table.numbers[:, i] for i in which if i is not None]
    signal, *more = on_grid(points, wanted, path)
    error = more[0] if more else None
    return _finished(signal, np.sqrt(error) if square else error, axes, header, notes, path)


def _finished(signal, error, axes, header: Header, notes, path: Path) -> Spectrum:
    with np.errstate(over="ignore", invalid="ignore"):
        variance = None if error is None else np.where(error < 0, np.nan, error**2)
    run = header.run.noted(*notes)
    return spectrum_of(signal, variance, axes, run=run, title=header.title, path=path)


def write_columns(path: Path, spectrum: Spectrum, history: dict | None = None) -> None:
    """Write the columns of Shiver: intensity, error and the centres of all axes, under the facts of the run.

    Numbers are written with all their digits; the limits of the axes are in the header. Where the signal is a sum over
    events, the intensity per event is written, as Shiver does.
    """
    shown = _shown(spectrum)
    centers = np.meshgrid(*(a.centers for a in shown.axes), indexing="ij")
    names = " ".join(a.name for a in shown.axes)
    lines = [*header_lines(shown, history), f"Intensity Error {names}", f" shape: {'x'.join(map(str, shown.shape))}"]
    _save(path, lines, [*_values(shown), *centers])


def write_xye(path: Path, spectrum: Spectrum, history: dict | None = None) -> None:
    """Write a cut, a spectrum with one axis of several bins, as three columns: centre, intensity and error, under the
    facts of the run."""
    shown = _shown(spectrum)
    (opened,) = shown.open_axes
    axis = shown.axes[opened]
    lines = [*header_lines(shown, history), f"{axis.name} Intensity Error", f"shape: {len(axis)}"]
    _save(path, lines, [axis.centers, *(v.ravel() for v in _values(shown))])


def _shown(spectrum: Spectrum) -> Spectrum:
    with np.errstate(invalid="ignore"):
        return per_event(spectrum)


def _values(spectrum: Spectrum) -> tuple[np.ndarray, np.ndarray]:
    """Signal and error, NaN where nothing was measured."""
    valid = spectrum.valid
    return (
        np.where(valid, spectrum.signal, np.nan),
        np.sqrt(np.where(valid, spectrum.variance, 0.0), where=valid, out=np.full(valid.shape, np.nan)),
    )


def _save(path: Path, lines: list[str], columns: list[np.ndarray]) -> None:
    table = np.column_stack([np.ravel(c) for c in columns])
    np.savetxt(path, table, fmt="%.17g", header="\n".join(lines), encoding="utf-8")
