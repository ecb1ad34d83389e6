"""Arrays of NumPy (.npy, .npz) and MATLAB (.mat) as spectra; nothing in them is unpickled or run."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..core.options import parse_lattice
from ..core.run import Lattice, Run, Setting
from ..core.spectrum import Axis, Spectrum
from ..errors import InputError
from .columns import AxisText, axis_texts, edges_for, given_axes, named_axis, spectrum_of, with_names
from .facts import instrument_from_names
from .texts import ERRORS, INTENSITIES, VARIANCES

#: Arrays of an .npz that this package wrote, beside signal and variance.
_OWN = ("num_events", "masked", "valid")
_CONVENTIONS = ("coordinate_system", "visual_normalization")


def read_numpy(path: Path, axes: Sequence[str] | None = None) -> Spectrum:
    """An .npy or .npz file.

    An .npy has the intensity, or (2, ...) intensity and errors, and its axes are given with limits. An .npz has
    ``signal``, ``error`` or ``variance``, the names of the axes in ``axes``, and for each an array of that name with
    the edges or centres of its bins.

    Raises
    ------
    InputError
        If it is damaged, has Python objects, or does not say what its axes are.
    """
    texts = axis_texts(axes)
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return _bare(loaded, texts, path)
        with loaded:
            arrays = {name: loaded[name] for name in loaded.files}
    except (ValueError, EOFError, OSError, KeyError, zipfile.BadZipFile, zlib.error, MemoryError, SyntaxError) as error:
        said = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{path} could not be read: NumPy says '{said}'",
            "save plain arrays of numbers and texts again; Python objects are not read, because that would run code",
        ) from error
    return _of_archive(arrays, texts, path)


def _bare(array: np.ndarray, texts: list[AxisText] | None, path: Path) -> Spectrum:
    _require_numbers(array, "the array", path)
    count = 0 if texts is None else sum(t.axis is not None for t in texts)
    both = array.ndim == count + 1 and array.shape[0] == 2 or array.ndim > 1 and _fits(array.shape[1:], texts)
    signal, error = (array[0], array[1]) if both and array.shape[0] == 2 else (array, None)
    axes = given_axes(texts, signal.shape, path)
    return spectrum_of(signal, _squared(error), axes, run=_guessed(path), path=path)


def _fits(shape: tuple[int, ...], texts: list[AxisText] | None) -> bool:
    """Whether the axes that were given have these bins, integrated ones after them left out."""
    if texts is None or any(t.axis is None for t in texts):
        return False
    return tuple(len(t.axis) for t in texts)[: len(shape)] == shape


def _of_archive(arrays: dict[str, np.ndarray], texts: list[AxisText] | None, path: Path) -> Spectrum:
    signal = _chosen(arrays, INTENSITIES, path, "signal")
    if signal is None:
        raise InputError(
            f"{path} has the arrays {', '.join(arrays) or '(none)'}, and none of them is a signal", "name it signal"
        )
    variance = _chosen(arrays, VARIANCES, path, "variance")
    if variance is None:
        variance = _squared(_chosen(arrays, ERRORS, path, "error"))
    if variance is not None and variance.shape != signal.shape:
        raise InputError(
            f"{path}: the errors have shape {variance.shape}, the signal {signal.shape}", "save both alike"
        )
    names = [str(n) for n in np.ravel(arrays["axes"])] if "axes" in arrays else None
    if names is None:
        axes = _axes_of_keys(arrays, signal.shape, texts, path)
    else:
        axes = with_names(_axes_of_names(arrays, names, signal.shape, path), texts, path)
    more = {name: int(_number(arrays, name)) for name in _CONVENTIONS if name in arrays}
    more |= {name: arrays[name] for name in _OWN if name in arrays}
    if "q_convention" in arrays:
        more["q_convention"] = str(arrays["q_convention"])
    title = str(arrays["title"]) if "title" in arrays else ""
    run = _run_of(arrays, path) if "run" in arrays else _guessed(path)
    return spectrum_of(signal, variance, axes, run=run, title=title, path=path, **more)


def _chosen(arrays: Mapping[str, np.ndarray], names: set[str], path: Path, what: str) -> np.ndarray | None:
    found = [name for name in arrays if name.casefold() in names]
    if len(found) > 1:
        raise InputError(f"{path} has {' and '.join(found)}, any of which may be the {what}", f"keep one, named {what}")
    if not found:
        return None
    _require_numbers(arrays[found[0]], found[0], path)
    return np.asarray(arrays[found[0]], dtype=float)


def _require_numbers(array: np.ndarray, what: str, path: Path) -> None:
    if array.dtype.kind not in "fiub" or not array.ndim:
        raise InputError(
            f"{path}: {what} has {array.dtype} values of shape {array.shape}, expected an array of real numbers",
            "save the intensity as float64",
        )


def _number(arrays: Mapping[str, np.ndarray], name: str) -> float:
    return float(np.ravel(arrays[name])[0])


def _axes_of_names(arrays, names: list[str], shape: tuple[int, ...], path: Path) -> list[Axis]:
    if len(names) != len(shape):
        raise InputError(f"{path} names {len(names)} axes, and its signal has {len(shape)}", "name each axis once")
    units = [str(u) for u in np.ravel(arrays["units"])] if "units" in arrays else [""] * len(names)
    frames = [str(f) for f in np.ravel(arrays["frames"])] if {"frames", "ids"} <= set(arrays) else None
    found = []
    for i, (name, unit, bins) in enumerate(zip(names, units, shape, strict=True)):
        key = f"edges_{i}" if f"edges_{i}" in arrays else name
        if key not in arrays:
            raise InputError(
                f"{path} has no array {name!r} for the axis of this name; it has {', '.join(arrays)}",
                "save the edges or centres of its bins under its name",
            )
        _require_numbers(arrays[key], key, path)
        axis = named_axis(name, edges_for(arrays[key], bins, f"{path}: {key!r}"), unit)
        if frames is not None:  # written by `write_npz`
            axis = Axis(axis.name, axis.edges, axis.unit, frames[i], str(np.ravel(arrays["ids"])[i]))
        found.append(axis)
    return found


def _axes_of_keys(arrays, shape, texts: list[AxisText] | None, path: Path) -> list[Axis]:
    """Axes of a file that does not name them: arrays of the names that were given, or limits."""
    if texts is not None and all(t.name in arrays for t in texts):
        return _axes_of_names(arrays, [t.name for t in texts], shape, path)
    return given_axes(texts, shape, path)


def _squared(error: np.ndarray | None) -> np.ndarray | None:
    """Variances; a negative error marks a bin that was not measured."""
    if error is None:
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        return np.where(error < 0, np.nan, np.asarray(error, dtype=float) ** 2)


def _guessed(path: Path) -> Run:
    guess = instrument_from_names(path)
    return Run().updated(guess.source, instrument=guess.value) if guess else Run()


def _run_of(arrays: Mapping[str, np.ndarray], path: Path) -> Run:
    """The facts that `write_npz` wrote."""
    try:
        facts = json.loads(str(arrays["run"]))
        lattice, resolution = facts.pop("lattice", None), facts.pop("resolution", None)
        values = {n: float(v) for n, v in facts.items() if n in ("ei", "frequency", "temperature")}
        values |= {n: str(v) for n, v in facts.items() if n in ("instrument", "chopper")}
        if lattice is not None:
            cell = parse_lattice(lattice["cell"])
            values["lattice"] = Lattice(*cell.cell, ub=None if lattice["ub"] is None else np.array(lattice["ub"]))
    except (ValueError, TypeError, KeyError, AttributeError) as problem:
        raise InputError(
            f"{path}: the facts of its run could not be read ({problem})", "write the file again"
        ) from problem
    run = Run().updated(f"facts in {path.name}", **values)
    return run if resolution is None else run.updated(f"facts in {path.name}", resolution=Setting.parsed(resolution))


def write_npz(path: Path, spectrum: Spectrum, history: dict | None = None) -> None:
    """Write everything that a spectrum has as arrays of numbers and texts: `read_numpy` gives the same back."""
    facts = {name: fact.value for name, fact in spectrum.run.facts.items()}
    if "lattice" in facts:
        lattice = facts["lattice"]
        facts["lattice"] = {"cell": lattice.cell, "ub": None if lattice.ub is None else np.asarray(lattice.ub).tolist()}
    if "resolution" in facts:
        facts["resolution"] = str(facts["resolution"])
    outside = [a.outside for a in spectrum.axes]
    arrays = {"signal": spectrum.signal, "variance": spectrum.variance, **{n: getattr(spectrum, n) for n in _OWN}}
    arrays |= {f"edges_{i}": edges for i, (edges, _) in enumerate(outside)}
    texts = {"axes": [a.name for a in spectrum.axes], "units": [unit for _, unit in outside]}
    texts |= {name + "s": [getattr(a, name) for a in spectrum.axes] for name in ("frame", "id")}
    texts |= {"title": spectrum.title, "q_convention": spectrum.q_convention}
    texts |= {"run": json.dumps(facts), "history": json.dumps(history, default=str, sort_keys=True)}
    arrays |= {name: np.array(text, dtype=np.str_) for name, text in texts.items()}
    arrays |= {name: np.array(getattr(spectrum, name)) for name in _CONVENTIONS}
    with path.open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **arrays)


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
    return spectrum_of(signal, _squared(error), axes, run=_guessed(path).noted(*notes), path=path)


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
