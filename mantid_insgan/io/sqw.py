"""A Horace file (.sqw, version 4): its pixels, binned to h, k, l and energy transfer. scippneutron reads the file.

A pixel has its momentum in the Cartesian frame of the crystal (Busing and Levy 1967: x along a*, y in the plane of a*
and b*; Horace's calc_proj_matrix), in 1/Angstrom. Only the lattice is needed for h, k, l, because the rotations of the
runs and their corrections are in it already.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.options import parse_lattice
from ..core.run import Lattice, Run
from ..core.spectrum import Spectrum
from ..errors import DeviceError, InputError, RunFactError
from .crystal import CHUNK, SAME_EI, Setting, Sums, cut_axes, parse_direction
from .facts import instrument_name

#: Number of values of a pixel, and the columns of its momentum and energy, its signal and its variance.
_ROWS, _PLACE, _SIGNAL, _VARIANCE = 9, slice(0, 4), 7, 8
#: Blocks of the file.
_RUNS, _SAMPLES = ("experiment_info", "expdata"), ("experiment_info", "samples")
_INSTRUMENTS, _PIXELS = ("experiment_info", "instruments"), ("pix", "data_wrap")
#: Length of the name of the program and the name, as a Horace file begins.
_START = (b"\x06\x00\x00\x00horace", b"\x00\x00\x00\x06horace")
_OLDER = (
    "save it with Horace 4, or take a cut in Horace and save its bins as x, y and e in a .mat file (docs/formats.md)"
)
#: What the library raises where a file is damaged.
_DAMAGED = (
    *(ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError, MemoryError, OSError),
    struct.error,
)


@dataclass(frozen=True, eq=False)
class _Contents:
    """What a file says of its runs."""

    run: Run
    setting: Setting
    runs: int


def is_sqw(path: str | Path) -> bool:
    """Whether a file is one of Horace, by its name or its content."""
    path = Path(path)
    if path.suffix.lower() == ".sqw":
        return True
    try:
        with path.open("rb") as stream:
            return stream.read(10) in _START
    except OSError:  # what reads the file then says what is wrong
        return False


def bin_sqw(
    path: str | Path,
    binning: Sequence[str],
    *,
    lattice: str | Sequence[float] | None = None,
    u=None,
    v=None,
    ei: float | None = None,
    instrument: str | None = None,
    progress=None,
) -> Spectrum:
    """The pixels of a Horace file, binned to h, k, l and energy transfer; two million are in memory at a time.

    Each pixel is a point at its centre, as in Horace's cut_sqw. The signal of a bin is the mean of its pixels, its
    variance the sum of their variances divided by the square of their number, and `num_events` their number.

    Parameters
    ----------
    path : str or Path
    binning : sequence of str
        See `crystal.cut_axes`.
    lattice : str or sequence of float, optional
        Unit cell; replaces that in the file.
    u, v : str or sequence of 3 float, optional
        (h, k, l) along the beam at psi = 0, and another in the horizontal plane; they replace those in the file.
    ei : float, optional
        Incident energy in meV; replaces that in the file.
    instrument : str, optional
        Spectrometer; replaces that in the file.
    progress : callable, optional
        Called with the fraction of pixels done.

    Returns
    -------
    Spectrum
        Axes in the order given; the run has Ei, the lattice with UB, and the instrument if the file names it. Bins
        without a pixel are NaN.

    Raises
    ------
    InputError
        If the file is damaged or of another version, its runs are not of one direct-geometry setting, no pixel lies in
        the cut, or the cut is invalid.
    RunFactError
        If the lattice is not known.
    DeviceError
        If scippneutron is not installed.
    """
    path, axes = Path(path), cut_axes(binning)
    library = _library()
    if not path.is_file():
        raise InputError(f"{path} does not exist or is no file", "correct the path")
    sums = Sums(axes)
    with ExitStack() as stack:
        with _reading(path):
            file = stack.enter_context(library.Sqw.open(path))
        contents = _contents(file, path, lattice, u, v)
        to_axes = sums.to_axes(np.linalg.inv(2 * np.pi * contents.setting.lattice.b_matrix()))
        for pixels, done in _parts(file, path):
            _add(sums, pixels, to_axes)
            if progress is not None:
                progress(done)
    run = contents.run.updated("option --ei", ei=None if ei is None else float(ei))
    run = run.updated("option --instrument", instrument=instrument)
    return sums.spectrum(run, f"{contents.runs} runs of {path.name}")


def _library():
    try:
        from scippneutron.io import sqw
    except ImportError as missing:
        raise DeviceError(
            "a Horace file (.sqw) is read with scippneutron, which is not installed", "pip install 'mantid-insgan[sqw]'"
        ) from missing
    return sqw


@contextmanager
def _reading(path: Path):
    """What the library says of a file that it cannot read, as an error that names the file.

    What the library does not know is a warning of it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            yield
    except UserWarning as told:
        raise InputError(f"{path} is not a Horace file of version 4 as scippneutron reads it: {told}", _OLDER) from told
    except _DAMAGED as problem:
        raise InputError(
            f"{path} is damaged or not a Horace file of version 4 ({problem or type(problem).__name__})",
            f"copy the file again, or {_OLDER}",
        ) from problem


def _contents(file, path: Path, lattice, u, v) -> _Contents:
    """The facts of the runs, with what options replace."""
    with _reading(path):
        runs = list(file.read_data_block(_RUNS))
        ei, first, notes = _ei(runs, path), runs[0], _notes(runs)
        named = set(file.data_block_names())
        samples = file.read_data_block(_SAMPLES) if _SAMPLES in named else []
        of_file = _lattice(samples, path)
        directions = [parse_direction("u", first.u.values), parse_direction("v", first.v.values)]
    given = parse_lattice(lattice)
    if given is None and of_file is None:
        raise RunFactError(f"{path} has no unit cell of a sample", "give --lattice a,b,c,alpha,beta,gamma")
    directions = [
        parse_direction(name, other) if other is not None else own
        for name, other, own in zip("uv", (u, v), directions, strict=True)
    ]
    run = Run().updated("expdata of the sqw file", ei=ei).noted(*notes)
    name, note = _instrument(file) if _INSTRUMENTS in named else (None, ())
    run = run.updated("instruments of the sqw file", instrument=name).noted(*note)
    if of_file is not None:
        run = run.updated("samples of the sqw file", lattice=Setting(of_file, *directions).oriented())
    setting = Setting(given or of_file, *directions)
    run = run.updated("option --lattice", lattice=None if given is None else setting.oriented())
    return _Contents(run, setting, len(runs))


def _ei(runs: Sequence, path: Path) -> float:
    """The one incident energy of the runs, meV.

    Raises
    ------
    InputError
        If a run is not of direct geometry, or they differ by more than `crystal.SAME_EI`.
    """
    if not runs or any(run.emode.name != "direct" for run in runs):
        raise InputError(f"{path} has runs of indirect geometry, or none", "give runs of a chopper spectrometer")
    energies = np.concatenate([np.ravel(run.efix.to(unit="meV").values) for run in runs]).astype(float)
    if not np.isfinite(energies).all() or energies.min() <= 0 or np.ptp(energies) > SAME_EI * energies[0]:
        raise InputError(
            f"the runs of {path} have Ei from {energies.min():g} to {energies.max():g} meV, expected one Ei",
            "give a file with the runs of one Ei: make it with gen_sqw from their nxspe files",
        )
    return float(energies[0])


def _notes(runs: Sequence) -> list[str]:
    """What the UB of the result does not have."""
    arcs = max(abs(float(angle.to(unit="deg").value)) for run in runs for angle in (run.gl, run.gs))
    places = [np.concatenate([run.u.values, run.v.values]) for run in runs]
    notes = []
    if arcs > 0:
        notes.append(
            f"the goniometer arcs gl and gs of the sqw file (up to {arcs:.3g} degrees) are in the positions of its "
            "pixels, and not in UB"
        )
    if not np.allclose(places, places[0]):
        notes.append("the runs of the sqw file differ in u or v: UB is that of the first")
    return notes


def _lattice(samples: Sequence, path: Path) -> Lattice | None:
    """The one unit cell of the samples of all runs; None if there is none."""
    cells = [
        (*s.lattice_spacing.to(unit="angstrom").values, *s.lattice_angle.to(unit="deg").values) for s in samples or ()
    ]
    if not cells:
        return None
    if not np.allclose(cells, cells[0], rtol=1e-6):
        raise InputError(
            f"the runs of {path} have samples with different unit cells", "give a file with the runs of one crystal"
        )
    return Lattice(*map(float, cells[0]))


def _instrument(file) -> tuple[str | None, tuple[str, ...]]:
    """The name of the instrument, and a note if it cannot be read.

    scippneutron knows instruments without components only, and warns of others.
    """
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = file.read_data_block(_INSTRUMENTS)
    names = {getattr(one, "name", "") for one in found} if isinstance(found, list) else set()
    if told or len(names) != 1:
        return None, ("the instrument of the sqw file was not read: scippneutron does not know its components",)
    return instrument_name(names.pop()), ()


def _parts(file, path: Path) -> Iterator[tuple[np.ndarray, float]]:
    """The pixels part by part, shape (n, 9), and the fraction done.

    The library's own call for this block reads all of it at once, several times 10 GB for a scan; its parts can be had
    from the objects below it, which are no public names: setup.py limits the version for that reason.
    """
    with _reading(path):
        low = file._sqw_io
        low.seek(file._block_allocation_table[_PIXELS].position)
        rows, number = low.read_u32(), low.read_u64()
        if rows != _ROWS or not number:
            raise ValueError(f"{number} pixels of {rows} values, expected {_ROWS} values each")
    for start in range(0, number, CHUNK):
        with _reading(path):
            part = low.read_array((rows, min(CHUNK, number - start)), np.dtype(np.float32))
        yield part, (start + len(part)) / number


def _add(sums: Sums, pixels: np.ndarray, to_axes: np.ndarray) -> None:
    """Add pixels, without those that have no number."""
    pixels = pixels[np.isfinite(pixels).all(axis=1) & (pixels[:, _VARIANCE] >= 0)].astype(float)
    if len(pixels):
        place = pixels[:, _PLACE]
        sums.add(sums.places(to_axes, place[:, :3].T, place[:, 3]), pixels[:, _SIGNAL], pixels[:, _VARIANCE])
