"""Cuts and maps of SpinW and Horace in MATLAB's .mat files of versions 5 to 7.2.

Numbers, texts, cells and structures are read as "MAT-File Format" (MathWorks, chapter 1) lays them out, and nothing
else: SciPy's reader, which knows more, ends the whole process for some damaged files and asks for gigabytes for others.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from ..core.spectrum import Spectrum
from ..errors import InputError
from .arrays import guessed_run, squared
from .columns import axis_texts, edges_for, named_axis, spectrum_of, with_names

#: Types of elements, and the numbers in those that have some.
_MATRIX, _COMPRESSED = 14, 15
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
#: Classes of arrays.
_CELL, _STRUCTURE, _TEXT, _NUMERIC = 1, 2, 4, range(6, 16)
_COMPLEX = 0x0800
#: A variable of these versions is below 2 GiB.
_LARGEST = 1 << 31


def read_mat(path: Path, axes: Sequence[str] | None = None) -> Spectrum:
    """A cut or map of SpinW or Horace in a .mat file: ``x``, ``y`` and ``e``, alone or as fields of one structure.

    For a map ``x`` is a cell array: ``x{1}`` has the centres (or edges) of the bins of energy, ``x{2}`` those of |Q|,
    and ``y`` is (|Q|, energy), as SpinW's sw_fitpowder takes them; other axes are given by name, in the order of
    ``x{1}; x{2}``. For a cut ``x`` is one vector, the energy if nothing is given, with ``qmin`` and ``qmax``.

    Raises
    ------
    InputError
        If it is damaged, of MATLAB 7.3, or has no such data.
    """
    content = path.read_bytes()
    if content[124:128] in (b"\x00\x02IM", b"\x02\x00MI"):
        raise InputError(f"{path} is a file of MATLAB 7.3, which is not read", "save it with -v7 in MATLAB")
    try:
        variables = dict(_variables(content))
    except (ValueError, struct.error, zlib.error, LookupError, RecursionError, MemoryError) as problem:
        raise InputError(
            f"{path} is damaged or no file of MATLAB 5 to 7 ({problem or type(problem).__name__})",
            "copy the file again, or save it with -v7 in MATLAB",
        ) from problem
    data = _cut_in(variables, path)
    places = data["x"] if isinstance(data["x"], list) else [data["x"]]
    signal = _matlab_numbers(data["y"], "y", path)
    error = None if data.get("e") is None else _matlab_numbers(data["e"], "e", path)
    if len(places) not in (1, 2) or error is not None and error.shape != signal.shape:
        raise InputError(
            f"{path} has x of {len(places)} axes, y of shape {signal.shape} and e of shape "
            f"{None if error is None else error.shape}",
            "give x{1} and x{2}, or one x, and y and e of one shape",
        )
    places = [_matlab_numbers(p, f"x{{{i}}}", path).ravel() for i, p in enumerate(places, 1)]
    return _of_cut(signal, error, places, data, axis_texts(axes), path)


def _cut_in(content: Mapping, path: Path) -> Mapping:
    """The variables, or the one structure among them, with x and y."""
    found = [c for c in (content, *content.values()) if isinstance(c, dict) and {"x", "y"} <= set(c)]
    if len(found) == 1:
        return found[0]
    raise InputError(
        f"{path} has {len(found) or 'no'} sets of x, y and e; its variables are {', '.join(content) or '(none)'}",
        "save one cut: in MATLAB save('cut.mat', 'x', 'y', 'e', '-v7')",
    )


def _matlab_numbers(values, what: str, path: Path) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise InputError(f"{path}: {what} is {array.dtype}, expected numbers", "save numbers in MATLAB")
    return array.astype(float)


def _of_cut(signal, error, places, data: Mapping, texts, path: Path) -> Spectrum:
    notes, names = [], ["DeltaE", "|Q|"]
    if len(places) == 1:
        signal, error = signal.ravel(), None if error is None else error.ravel()
        edges = [edges_for(places[0], signal.size, f"{path}: x")]
        axes = [named_axis("DeltaE", edges[0])]
        if texts is None and {"qmin", "qmax"} <= set(data):
            limits = [_matlab_numbers(data[name], name, path).ravel() for name in ("qmin", "qmax")]
            axes.append(named_axis("|Q|", np.concatenate(limits)))
    else:
        turned, note = _turned(signal.shape, [p.size for p in places], path)
        notes += [note] * bool(note)
        if turned:
            signal, error = signal.T, None if error is None else error.T
        axes = [
            named_axis(name, edges_for(place, bins, f"{path}: x{{{i}}}"))
            for i, (name, place, bins) in enumerate(zip(names, places, signal.shape, strict=True), 1)
        ]
    axes = with_names(axes, texts, path)
    if len(places) == 2 and axes[0].is_energy:  # energy last, as everywhere here
        axes[:2] = axes[1::-1]
        signal, error = signal.T, None if error is None else error.T
    return spectrum_of(signal, squared(error), axes, run=guessed_run(path).noted(*notes), path=path)


def _turned(shape: tuple[int, ...], sizes: list[int], path: Path) -> tuple[bool, str]:
    """Whether y is (x{2}, x{1}), and a note if only SpinW's order says so."""
    fits = [all(n in (s, s + 1) for n, s in zip(sizes, some, strict=True)) for some in (shape, shape[::-1])]
    if len(shape) != 2 or not any(fits):
        raise InputError(
            f"{path} has y of shape {shape}, and x{{1}} and x{{2}} have {sizes[0]} and {sizes[1]} points",
            "give the centres or edges of the bins of y",
        )
    if all(fits):
        return True, "y was taken as (x{2}, x{1}), as SpinW has it: its shape fits both orders"
    return fits[1], ""


def _variables(content: bytes) -> Iterator[tuple[str, object]]:
    """Name and value of each variable; ValueError and others if the file is damaged."""
    order = {b"IM": "<", b"MI": ">"}[content[126:128]]
    for kind, data in _elements(content[128:], order):
        if kind == _COMPRESSED:
            unpacked = zlib.decompressobj().decompress(data, _LARGEST)
            kind, data = next(_elements(unpacked, order), (0, b""))
        if kind == _MATRIX:
            yield _array(data, order)


def _array(data: bytes, order: str) -> tuple[str, object]:
    """Name and value: an array of numbers, a text, a list for cells, a dict or a list of them for structures, and None
    for what is not read."""
    parts = _elements(data, order)
    flags = _whole(next(parts, (0, b""))[1], order)
    shape = tuple(_whole(next(parts, (0, b""))[1], order).tolist())
    name = next(parts, (0, b""))[1].decode("latin-1")
    kind, count = int(flags[0]) & 0xFF, math.prod(shape)
    if not shape or min(shape) < 0:
        raise ValueError(f"an array has the dimensions {shape}")
    if kind in _NUMERIC and not flags[0] & _COMPLEX:
        return name, _numbers(*next(parts, (0, b"")), order).reshape(shape, order="F")
    if kind == _TEXT:
        return name, next(parts, (0, b""))[1].decode("latin-1").replace("\0", "")
    if kind == _CELL:
        return name, _inner(parts, count, order)
    if kind == _STRUCTURE:
        (length,) = _whole(next(parts, (0, b""))[1], order).tolist()
        names = next(parts, (0, b""))[1].decode("latin-1")
        if length < 1:
            raise ValueError(f"names of fields have {length} letters")
        fields = [names[i : i + length].split("\0")[0] for i in range(0, len(names), length)]
        values, size = _inner(parts, count * len(fields), order), max(len(fields), 1)
        found = [dict(zip(fields, values[i : i + size], strict=True)) for i in range(0, len(values), size)]
        return name, found[0] if count == 1 and found else found
    return name, None


def _inner(parts: Iterator[tuple[int, bytes]], count: int, order: str) -> list:
    """The arrays in cells or fields."""
    found = [_array(data, order)[1] for kind, data in parts if kind == _MATRIX]
    if len(found) != count:
        raise ValueError(f"{len(found)} arrays in place of {count}")
    return found


def _whole(data: bytes, order: str) -> np.ndarray:
    return np.frombuffer(data, order + "i4")


def _numbers(kind: int, data: bytes, order: str) -> np.ndarray:
    return np.frombuffer(data, order + _NUMBERS[kind])


def _elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Type and content of each element."""
    at = 0
    while at + 8 <= len(data):
        kind, size = struct.unpack_from(order + "II", data, at)
        if kind >> 16:  # a small element: size and type share four bytes, and the content has the other four
            kind, size, at = kind & 0xFFFF, kind >> 16, at + 4
            yield kind, data[at : at + min(size, 4)]
            at += 4
            continue
        if at + 8 + size > len(data):
            raise ValueError(f"{size} bytes are announced, and {len(data) - at - 8} follow")
        yield kind, data[at + 8 : at + 8 + size]
        at += 8 + (size if kind == _COMPRESSED else -(-size // 8) * 8)
