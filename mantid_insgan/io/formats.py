"""Formats of files: the reader that takes a file, by its content and suffix, and the writer that a name asks for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py

from ..core.files import require_another
from ..core.options import Options, reading_of
from ..core.spectrum import Spectrum, open_axes
from ..errors import InputError, OutputError
from ..instruments.catalogue import with_known_name
from .arrays import read_numpy, record_in_archive, write_npz
from .hdf5 import naming, open_hdf5, reading
from .matlab import read_mat
from .nexus import SpectrumFile
from .nxspe import is_nxspe, open_nxspe
from .texts import read_text, record_in_header, write_columns, write_xye
from .whole import WholeFile, WholeWriter, in_bins
from .workspace2d import is_workspace2d, open_workspace2d
from .writer import OTHER_KINDS, SpectrumWriter, parsed_record
from .writer import last_record as record_in_nexus

#: Suffixes of HDF5 files.
HDF5 = (".nxs", ".nxspe", ".h5", ".hdf5", ".hdf")
#: Suffix of an output -> function that writes it; those of `NEXUS_OUT` are written by `SpectrumWriter`.
WRITERS = {".txt": write_columns, ".dat": write_columns, ".xye": write_xye, ".npz": write_npz}
NEXUS_OUT = (".nxs", ".h5", ".hdf5", ".hdf")

_TO_MAT = "x = {energies, Q}; save('cut.mat', 'x', 'y', 'e', '-v7')"
_BY_HORACE = f"in Horace take a cut and save its bins, signal and errors as x, y and e: {_TO_MAT}"
_WITH_SPE = "give it with the spe file to SaveNXSPE (ParFile) or to gen_nxspe, and the nxspe file here"
#: Suffix of a file that is not read -> what it is, and how its data come here.
NOT_READ = {
    ".spe": (
        "an spe file",
        "in Mantid load it with LoadSPE and save it with SaveNXSPE (ParFile for its detectors), or in Horace make an "
        "nxspe of it with gen_nxspe",
    ),
    ".par": ("a table of detectors", _WITH_SPE),
    ".phx": ("a table of detectors", _WITH_SPE),
    ".grp": ("a DAVE file", "in Mantid load it with LoadDaveGrp and save it with SaveNexus"),
    ".cut": ("an MSlice cut", "save the cut in MSlice as text, and give its columns as an .xye file with --axes"),
    ".sqw": (
        "a Horace file",
        "bin its pixels with insgan bin if Horace 4 wrote it; otherwise "
        f"{_BY_HORACE}; in Mantid LoadSQW reads older files, BinMD cuts and SaveMD saves them",
    ),
    **{f".d{n}d": ("a Horace cut", _BY_HORACE) for n in range(5)},
}
#: What a file of a suffix is that is not written.
_KINDS = {suffix: what for suffix, (what, _) in NOT_READ.items()} | OTHER_KINDS
_KINDS |= {".mat": "a MATLAB file", ".npy": "an array without axes", ".csv": "a table without the facts of the run"}
_MATLAB, _NUMPY, _ZIP, _HORACE = b"MATLAB 5.0", b"\x93NUMPY", b"PK\x03\x04", b"horace"


def open_spectrum(path: str | Path, *, axes: Sequence[str] | None = None, ei: float | None = None, **binning):
    """Open a file of any kind that can be read as a spectrum.

    Parameters
    ----------
    path : str or Path
    axes : sequence of str, optional
        Names of the axes where the file does not say what they are, and limits and bins (``'DeltaE=0:40:80'``) where it
        does not have those.
    ei : float, optional
        Incident energy, meV; replaces that in the file.
    **binning
        ``q_bins``, ``q_range``, ``energy_bins``, ``energy_range``: how nxspe and Workspace2D files are averaged
        (`powder.powder_spectrum`), and into which bins those of other files are merged (`core.merging.wanted_bins`).

    Returns
    -------
    SpectrumFile, WholeFile or BinnedFile
        All have ``axes``, ``run``, ``shape``, ``title``... and ``read(region)``, and are context managers.

    Raises
    ------
    InputError
        If the file does not exist, is damaged or of a kind that is not read, or does not have the bins that are asked
        for.
    RunFactError
        If Ei is needed to calculate |Q| and is missing.
    """
    path = Path(path)
    reader = _reader(path)
    if reader is None:
        return _open_hdf5(path, axes, ei, binning)
    with naming(path):
        spectrum = reader(path, axes)
    source = WholeFile(path, spectrum, path.suffix.lower().lstrip(".") or "text")
    source.run = source.run.updated("option --ei", ei=ei)
    return in_bins(source, **binning)


def read_spectrum(path: str | Path, **how) -> Spectrum:
    """The whole spectrum in a file of any kind (parameters and errors as `open_spectrum`)."""
    with open_spectrum(path, **how) as source:
        return source.read().replace(run=source.run)


def read_as(path: str | Path, options: Options) -> Spectrum:
    """The whole spectrum in a file, read as the options of a job say, with their facts of the run in place of the
    file's (`core.options.overridden` lists what was replaced).

    Parameters
    ----------
    path : str or Path
    options : Options
        Of a job that reads files: with `axes`, bins and facts of the run.

    Raises
    ------
    InsganError
        As `open_spectrum`; if a range or the lattice cannot be parsed.
    """
    spectrum = read_spectrum(path, **reading_of(options))
    return spectrum.replace(run=with_known_name(options.run(spectrum.run)))


def _open_hdf5(path: Path, axes, ei, binning: dict):
    with open_hdf5(path) as file, reading(path):
        opener = open_nxspe if is_nxspe(file) else open_workspace2d if is_workspace2d(file) else None
    if opener is not None:
        if axes is not None:
            raise InputError(
                f"{path} has axes of |Q| and energy, and names of axes were given", "omit that option (--axes)"
            )
        return opener(path, ei=ei, **binning)
    limited = [name for name in axes or () if "=" in name]
    if limited:
        raise InputError(
            f"{path} has the bins of its axes, and limits were given for {', '.join(limited)} (--axes)",
            "leave the limits out; --energy-bins, --energy-range, --q-bins and --q-range choose other bins",
        )
    source = SpectrumFile(path, axes)
    source.run = source.run.updated("option --ei", ei=ei)
    return in_bins(source, **binning)


def _reader(path: Path):
    """The function that reads a file; None for HDF5, and for what `open_hdf5` has an error for."""
    if not path.is_file() or path.suffix.lower() in HDF5:
        return None
    try:
        with path.open("rb") as stream:
            start = stream.read(128)
    except OSError as problem:
        raise InputError(
            f"{path} cannot be read ({problem.strerror})", "ask its owner for read permission"
        ) from problem
    suffix = path.suffix.lower()
    kind, route = NOT_READ.get(suffix, ("", ""))
    if start[4:10] == _HORACE and not kind:
        kind, route = NOT_READ[".sqw"]
    if kind:
        raise InputError(f"{path} is {kind}, which is not read", route)
    if start.startswith(_MATLAB) or suffix == ".mat":
        return read_mat
    if start.startswith((_NUMPY, _ZIP)) or suffix in (".npy", ".npz"):
        return read_numpy
    return None if h5py.is_hdf5(path) else read_text


def last_record(path: str | Path) -> dict:
    """The last record of the history that this package wrote to a file of any format (`open_writer`); empty if there is
    none.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    path = Path(path)
    reader = _reader(path)
    if reader is None:
        return record_in_nexus(path)
    found = {read_numpy: record_in_archive, read_text: record_in_header}.get(reader)
    return {} if found is None else parsed_record(found(path), path)


def open_writer(
    path: str | Path,
    source,
    *,
    overwrite: bool = False,
    history: dict | None = None,
    inputs: Sequence[Path] = (),
    title: str | None = None,
):
    """A writer of the format that the suffix of an output asks for, with ``write(region, spectrum)``.

    Parameters
    ----------
    path : str or Path
        A name that ends in .nxs (what LoadMD reads), .txt or .dat (columns as Shiver has them), .xye or .npz.
    source : SpectrumFile, WholeFile, BinnedFile or Spectrum
        Source of the axes, run and conventions.
    overwrite : bool
    history : dict, optional
        See `SpectrumWriter`.
    inputs : sequence of Path
        Files that the result is made of: it replaces none of them. If the first is an MDHistoWorkspace file, an output
        of that kind keeps its other groups.
    title : str, optional
        Of the output; that of the source if not given.

    Raises
    ------
    OutputError
        If the suffix is that of another kind of file or of none, or of xye for data of more than one open axis; if the
        output is an input, exists and may not be overwritten, or cannot be written.
    """
    path = Path(path)
    write = writer_for(path)
    for one in inputs:
        require_another(one, path)
    if write is write_xye and len(open_axes(source.axes)) != 1:
        raise OutputError(
            f"the output {path} has the name of an xye file, which holds a cut along one axis, and the data have "
            f"{len(open_axes(source.axes))} axes of several bins",
            f"name it {path.with_suffix('.txt').name}, or choose another format",
        )
    if write is not None:
        return WholeWriter(path, source, write, overwrite=overwrite, history=history, title=title)
    template = inputs[0] if inputs and getattr(source, "layout", None) in ("v1", "v2") else None
    return SpectrumWriter(path, source, template=template, overwrite=overwrite, history=history, title=title)


def writer_for(path: str | Path):
    """The function that writes the format of a name; None for the MDHistoWorkspace file.

    Raises
    ------
    OutputError
        If no format is written under this name.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in NEXUS_OUT:
        return None
    if suffix not in WRITERS:
        known = f"the name of {_KINDS[suffix]}, which is not written" if suffix in _KINDS else None
        unknown = f"{f'the suffix {path.suffix!r}' if suffix else 'no suffix'}, so that its format is not known"
        raise OutputError(
            f"the output {path} has {known or unknown}",
            f"name it {path.with_suffix('.nxs').name} for an MDHistoWorkspace file, or with the suffix "
            f"{', '.join(list(WRITERS)[:-1])} or {list(WRITERS)[-1]}",
        )
    return WRITERS[suffix]


def write_spectrum(
    spectrum: Spectrum,
    path: str | Path,
    *,
    overwrite: bool = False,
    history: dict | None = None,
    inputs: Sequence[Path] = (),
) -> None:
    """Write a spectrum in the format that the suffix of the name asks for (parameters and errors as `open_writer`)."""
    with open_writer(path, spectrum, overwrite=overwrite, history=history, inputs=inputs) as writer:
        writer.write(None, spectrum)
