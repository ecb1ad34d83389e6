"""Arrays of NumPy (.npy, .npz) as spectra; nothing in them is unpickled."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..core.options import parse_lattice
from ..core.run import Lattice, Run
from ..core.spectrum import Axis, Spectrum
from ..errors import InputError
from .columns import AxisText, axis_texts, edges_for, given_axes, named_axis, spectrum_of, with_names
from .facts import TEXTS, UNITS, as_fact, instrument_from_names
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
    loaded = _loaded(path)
    return _of_archive(loaded, texts, path) if isinstance(loaded, dict) else _bare(loaded, texts, path)


def record_in_archive(path: Path) -> str:
    """The record of the history in an .npz that this package wrote; an empty one where there is none.

    Raises
    ------
    InputError
        As `read_numpy`.
    """
    loaded = _loaded(path, ("history",))
    found = loaded.get("history") if isinstance(loaded, dict) else None
    return "{}" if found is None or found.dtype.kind != "U" else str(found)


def _loaded(path: Path, names: Sequence[str] | None = None) -> np.ndarray | dict[str, np.ndarray]:
    """The array in a file, or those of an archive by name."""
    try:
        loaded = np.load(path, allow_pickle=False)
        if not isinstance(loaded, np.ndarray):
            with loaded:
                loaded = {name: loaded[name] for name in loaded.files if names is None or name in names}
    except Exception as error:  # of a damaged file NumPy raises errors of every kind
        said = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{path} could not be read: NumPy says '{said}'",
            "save plain arrays of numbers and texts again; Python objects are not read, because that would run code",
        ) from error
    return loaded


def _bare(array: np.ndarray, texts: list[AxisText] | None, path: Path) -> Spectrum:
    _require_numbers(array, "the array", path)
    count = 0 if texts is None else sum(t.axis is not None for t in texts)
    both = array.ndim == count + 1 and array.shape[0] == 2 or array.ndim > 1 and _fits(array.shape[1:], texts)
    signal, error = (array[0], array[1]) if both and array.shape[0] == 2 else (array, None)
    axes = given_axes(texts, signal.shape, path)
    return spectrum_of(signal, squared(error), axes, run=guessed_run(path), path=path)


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
        variance = squared(_chosen(arrays, ERRORS, path, "error"))
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
    run = _run_of(arrays, path) if "run" in arrays else guessed_run(path)
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


def squared(error: np.ndarray | None) -> np.ndarray | None:
    """Variances; a negative error marks a bin that was not measured."""
    if error is None:
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        return np.where(error < 0, np.nan, np.asarray(error, dtype=float) ** 2)


def guessed_run(path: Path) -> Run:
    guess = instrument_from_names(path)
    return Run().updated(guess.source, instrument=guess.value) if guess else Run()


def _run_of(arrays: Mapping[str, np.ndarray], path: Path) -> Run:
    """The facts that `write_npz` wrote."""
    try:
        facts = json.loads(str(arrays["run"]))
        values = {name: float(value) for name, value in facts.items() if name in UNITS}
        values |= {n: as_fact(n, str(v))[0] for n, v in facts.items() if n in TEXTS and n != "lattice"}
        if "lattice" in facts:
            cell, ub = (facts["lattice"][name] for name in ("cell", "ub"))
            values["lattice"] = Lattice(*parse_lattice(cell).cell, ub=None if ub is None else np.array(ub, dtype=float))
    except (ValueError, TypeError, KeyError, AttributeError) as problem:
        raise InputError(
            f"{path}: the facts of its run could not be read ({problem})", "write the file again"
        ) from problem
    return Run().updated(f"facts in {path.name}", **values)


def _written_facts(run: Run) -> str:
    facts = {name: float(fact.value) for name, fact in run.facts.items() if name in UNITS}
    facts |= {name: str(fact.value) for name, fact in run.facts.items() if name in TEXTS}
    if (lattice := run.value("lattice")) is not None:
        facts["lattice"] = {"cell": lattice.cell, "ub": None if lattice.ub is None else np.asarray(lattice.ub).tolist()}
    return json.dumps(facts)


def write_npz(path: Path, spectrum: Spectrum, history: dict | None = None) -> None:
    """Write everything that a spectrum has as arrays of numbers and texts: `read_numpy` gives the same back."""
    outside = [a.outside for a in spectrum.axes]
    arrays = {"signal": spectrum.signal, "variance": spectrum.variance, **{n: getattr(spectrum, n) for n in _OWN}}
    arrays |= {f"edges_{i}": edges for i, (edges, _) in enumerate(outside)}
    texts = {"axes": [a.name for a in spectrum.axes], "units": [unit for _, unit in outside]}
    texts |= {name + "s": [getattr(a, name) for a in spectrum.axes] for name in ("frame", "id")}
    texts |= {"title": spectrum.title, "q_convention": spectrum.q_convention}
    texts |= {"run": _written_facts(spectrum.run), "history": json.dumps(history, default=str, sort_keys=True)}
    arrays |= {name: np.array(text, dtype=np.str_) for name, text in texts.items()}
    arrays |= {name: np.array(getattr(spectrum, name)) for name in _CONVENTIONS}
    with path.open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **arrays)
