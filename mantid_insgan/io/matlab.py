"""Cuts and maps of SpinW and Horace in MATLAB's .mat files (version 5 to 7.2); nothing in them is run."""

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

#: Types of elements of a file, and classes of arrays whose elements are arrays again: cells, structures, objects.
_MATRIX, _COMPRESSED, _NESTED = 14, 15, (1, 2, 3)
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
    import scipy.io

    _require_possible(path)
    try:
        content = scipy.io.loadmat(path, simplify_cells=True)
    except NotImplementedError as problem:
        raise InputError(
            f"{path} is a file of MATLAB 7.3, which is not read", "save it with -v7 in MATLAB"
        ) from problem
    except Exception as problem:  # of a damaged file SciPy raises errors of every kind
        raise InputError(
            f"{path} could not be read: SciPy says '{problem}'", "save it again with -v7 in MATLAB"
        ) from problem
    data = _cut_in({n: v for n, v in content.items() if not n.startswith("__")}, path)
    places = data["x"]
    cells = isinstance(places, list) or isinstance(places, np.ndarray) and places.dtype.kind == "O"
    places = list(places) if cells else [places]
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
            axes.append(named_axis("|Q|", [float(data["qmin"]), float(data["qmax"])]))
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


def _require_possible(path: Path) -> None:
    """Raise InputError if an array of a damaged file claims more elements than the file has bytes for.

    SciPy would ask for the memory first. What else is wrong it says itself.
    """
    content = path.read_bytes()
    order = ">" if content[126:128] == b"MI" else "<"
    for kind, data in _elements(content[128:], order):
        if kind == _COMPRESSED:
            try:
                data = zlib.decompressobj().decompress(data, _LARGEST)
            except zlib.error:
                continue
            kind, data = next(_elements(data, order), (0, b""))
        if kind == _MATRIX:
            _require_elements(data, order, path)


def _require_elements(data: bytes, order: str, path: Path) -> None:
    parts = list(_elements(data, order))
    if len(parts) < 2 or len(parts[0][1]) < 4 or len(parts[1][1]) % 4:
        return
    kind = struct.unpack(order + "I", parts[0][1][:4])[0] & 0xFF
    count = math.prod(struct.unpack(f"{order}{len(parts[1][1]) // 4}i", parts[1][1]))
    if kind in _NESTED and not 0 <= 8 * count <= len(data):
        raise InputError(
            f"{path} is damaged: an array claims {count} elements in {len(data)} bytes", "copy or save the file again"
        )
    for inner, part in parts[2:]:
        if inner == _MATRIX:
            _require_elements(part, order, path)


def _elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Type and content of each element, as MathWorks' "MAT-File Format" (chapter 1) lays them out."""
    at = 0
    while at + 8 <= len(data):
        kind, size = struct.unpack_from(order + "II", data, at)
        if kind >> 16:  # a small element: size and type share four bytes, and the content has the other four
            yield kind & 0xFFFF, data[at + 4 : at + 4 + min(kind >> 16, 4)]
            at += 8
            continue
        yield kind, data[at + 8 : at + 8 + size]
        at += 8 + (size if kind == _COMPRESSED else -(-size // 8) * 8)
