"""Unattended processing of reduced runs: with Mantid from nxspe files and a cut, or without Mantid on files.

A result gets its name only when it is complete, so if two runs write the same output, that of the last one remains.
Errors are those of `errors`: a single line for the operator.
"""

from __future__ import annotations

import re
from glob import glob
from pathlib import Path

from ..core.files import check_output, replacing
from ..core.options import ApplyOptions, option
from ..core.spectrum import Axis
from ..errors import InputError, InsganError
from ..io import write_nexus
from ..io.crystal import Setting, bin_crystal, cut_axes, required_psi
from ..io.hdf5 import open_hdf5
from ..io.writer import ENTRY
from ..translate.job import apply_to_file

#: Added to the name of the input.
ENDINGS = {
    "add-resolution": "_broadened",
    "remove-resolution": "_sharpened",
    "simulation-to-experiment": "_as_experiment",
    "experiment-to-simulation": "_as_simulation",
    "to": "_brought",
}
#: Added to the name of the first run of a scan for its cut, if this package makes it.
CUT = "_cut"
#: Directions of the axes that ConvertToMD makes.
_STRAIGHT = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
#: Top-level groups of files that contain a cut, or events.
_MD_ENTRIES = (ENTRY, "MDEventWorkspace")


class _Any:
    """Whatever the format of a number in a pattern, any text matches."""

    def __format__(self, spec: str) -> str:
        return "*"


_ANY = _Any()


def files_of_pattern(pattern: str, **numbers) -> list[Path]:
    """Files whose names match a pattern such as ``'/output/MER{runno}_Ei{ei:.2f}meV*.nxspe'``.

    A number that is the text ``auto`` matches any, as an incident energy that the reduction finds itself.

    Raises
    ------
    InputError
        If there is none.
    """
    named = pattern.format(**{name: _ANY if value == "auto" else value for name, value in numbers.items()})
    found = [Path(f) for f in sorted(glob(named))]
    if not found:
        raise InputError(f"there is no file {named}", "check whether the reduction ran, and how it names its files")
    return found


def files_of_scan(pattern: str, first: int, last: int, **numbers) -> list[Path]:
    """Existing files of a pattern (see `files_of_pattern`) from the first run of a scan to the last.

    Raises
    ------
    InputError
        If there is none.
    """
    runs = range(min(first, last), last + 1)
    found = [Path(f) for run in runs for f in sorted(glob(pattern.format(runno=run, **numbers)))]
    if not found:
        raise InputError(
            f"there is no file {pattern.format(runno=runs[0], **numbers)}, nor one up to run {last}",
            "check whether the reduction ran, and how it names its files",
        )
    return found


#: Names of the reduced files of a run.
REDUCED = "*{runno}*.nxspe"


def reduced_of(file: str | Path, folder: str | Path, pattern: str = REDUCED) -> list[Path]:
    """The reduced files of a run: the file itself if it is reduced, otherwise those in the folder whose names match a
    pattern with its run number.

    Raises
    ------
    InputError
        If the file cannot be read, or there is no reduced file.
    """
    file = Path(file)
    if file.suffix.lower() == ".nxspe" or _holds_md(file):
        return [file]
    digits = re.findall(r"\d+", file.stem)
    if not digits:
        raise InputError(f"{file.name} has no run number in its name", "give a raw run, or a reduced file")
    return files_of_pattern(str(Path(folder) / pattern), runno=int(digits[-1]))


def _holds_md(file: Path) -> bool:
    with open_hdf5(file) as opened:
        return any(name in opened for name in _MD_ENTRIES)


def output_of(file: str | Path, folder: str | Path, options: ApplyOptions) -> Path:
    """Path of the result for a file."""
    return Path(folder) / f"{Path(file).stem}{ENDINGS['to' if options.to else options.direction]}.nxs"


def cut_of(file: str | Path, folder: str | Path) -> Path:
    """Path of the cut for a scan with this first file, if this package makes the cut."""
    return Path(folder) / f"{Path(file).stem}{CUT}.nxs"


def without_mantid(
    files, folder: str | Path, options: ApplyOptions, binning: list[str] | None = None, setting: Setting | None = None
) -> Path:
    """Process a file, or the scan of a crystal, with only the CPU install of this package; an existing result is
    replaced.

    Parameters
    ----------
    files : path or list of path
        A file of any kind that can be read as a spectrum; with a `setting`, the nxspe files of a scan, whose cut is
        written to `cut_of` the first of them.
    folder : path
    options : ApplyOptions
    binning : list of str, optional
        The cut through a scan (`cut_axes`).
    setting : Setting, optional
        Lattice and mounting of the crystal.

    Returns
    -------
    Path
        `output_of` the first file.

    Raises
    ------
    InsganError
        See `apply_to_file` and `bin_crystal`.
    """
    files = _listed(files)
    source, target = files[0], output_of(files[0], folder, options)
    check_output(target, overwrite=True)
    if setting is not None:
        source = cut_of(files[0], folder)
        how = {"ei": options.ei, "instrument": options.instrument, "progress": _said_run(files)}
        write_nexus(bin_crystal(files, setting, binning or [], **how), source, overwrite=True)
    report = apply_to_file(source, target, options, overwrite=True)
    for note in report.notes:
        print(f"note: {note}", flush=True)
    return target


def _listed(files) -> list[Path]:
    return [Path(f) for f in ([files] if isinstance(files, str | Path) else files)]


def _said_run(files: list[Path]):
    """Prints a line for each run that is binned: a job without output for a long time looks as if it hangs."""
    return lambda share: print(f"binned {round(share * len(files))} of {len(files)} runs", flush=True)


def with_mantid(
    files, folder: str | Path, options: ApplyOptions, binning: list[str], setting: Setting | None = None
) -> Path:
    """Process a file, or the scan of a crystal, with Mantid's algorithms: LoadNXSPE and ConvertToMD (for a crystal with
    SetUB and SetGoniometer in between), or LoadMD; BinMD; ApplyResolutionGAN; SaveMD. An existing result is replaced.

    Parameters
    ----------
    files : path or list of path
        An nxspe file, or a file written by SaveMD: a cut in it is used unchanged, events are binned. With a `setting`,
        the nxspe files of a scan.
    folder : path
    options : ApplyOptions
    binning : list of str
        The dimensions of the cut as for BinMD: ``['|Q|,0,5,100', 'DeltaE,-10,50,120']``. A dimension without limits
        (``'|Q|,100'``) covers the whole measured range. For a scan see `cut_axes`.
    setting : Setting, optional
        Lattice and mounting of the crystal.

    Returns
    -------
    Path
        `output_of` the first file.

    Raises
    ------
    InsganError
        If a file or property is invalid, with the message of the algorithm.
    """
    import mantid_insgan.mantid  # noqa: F401  (starts Mantid and registers the algorithm)

    files = _listed(files)
    target = output_of(files[0], folder, options)
    check_output(target, overwrite=True)
    try:
        cut = _cut(str(files[0]), binning) if setting is None else _cut_of_scan(files, cut_axes(binning), setting)
        return saved(translated(cut, options), target)
    except RuntimeError as error:  # that of any algorithm of Mantid
        raise in_one_line(error) from error


def _cut(file: str, binning: list[str]):
    from .workspace import run_child

    if file.lower().endswith(".nxspe"):
        measured = run_child("LoadNXSPE", Filename=file)
        found = events_of(measured, QDimensions="|Q|")
    else:
        found = run_child("LoadMD", Filename=file)
    if hasattr(found, "getSignalArray"):
        return found
    names = {found.getDimension(i).name: found.getDimension(i) for i in range(found.getNumDims())}
    aligned = {f"AlignedDim{i}": with_limits(text, names) for i, text in enumerate(binning)}
    return shown_per_event(run_child("BinMD", InputWorkspace=found, AxisAligned=True, **aligned))


def events_of(measured, **how):
    """Events of spectra; the detectors are processed for each file, because their positions may differ."""
    from .workspace import run_child

    return run_child("ConvertToMD", InputWorkspace=measured, dEAnalysisMode="Direct", PreprocDetectorsWS="-", **how)


def shown_per_event(cut):
    """Set the display normalisation: BinMD gives the sum over the events in a bin, the intensity is their mean."""
    from mantid.api import MDNormalization

    cut.setDisplayNormalization(MDNormalization.NumEventsNormalization)
    return cut


def _cut_of_scan(files: list[Path], axes: tuple[Axis, ...], setting: Setting):
    """The sum of the cuts through each run: the events of a long scan would not fit into memory together, and MergeMD
    needs them in the data service."""
    from .workspace import run_child

    said, total = _said_run(files), None
    cell = {name: float(getattr(setting.lattice, name)) for name in ("a", "b", "c", "alpha", "beta", "gamma")}
    for number, file in enumerate(files):
        measured = run_child("LoadNXSPE", Filename=str(file))
        psi = required_psi(file, float(measured.run().getProperty("psi").value)) + setting.psi_offset
        run_child("SetUB", Workspace=measured, **cell, u=list(setting.u), v=list(setting.v))
        run_child("SetGoniometer", Workspace=measured, Axis0=f"{psi!r},0,1,0,1")
        events = events_of(measured, QDimensions="Q3D", Q3DFrames="HKL", QConversionScales="HKL")
        cut = run_child("BinMD", InputWorkspace=events, **_bins(axes))
        if total is None:
            total = cut
        else:
            total = run_child("PlusMD", LHSWorkspace=total, RHSWorkspace=cut)
            total.addExperimentInfo(measured)
        # Mantid keeps the events with the cut: without this, those of a third run are in memory while the next is read.
        del measured, events, cut
        said((number + 1) / len(files))
    return shown_per_event(total)


def _bins(axes: tuple[Axis, ...]) -> dict:
    """Properties of BinMD for the axes of a cut through (h, k, l, E)."""
    directions = [None if a.projection is None else tuple(map(float, a.projection)) for a in axes]
    limits = [(float(a.edges[0]), float(a.edges[-1])) for a in axes]
    if all(d is None or d in _STRAIGHT for d in directions):
        rows = zip(axes, limits, strict=True)
        return {f"AlignedDim{i}": f"{a.name},{low!r},{high!r},{len(a)}" for i, (a, (low, high)) in enumerate(rows)}
    places = [(0.0, 0.0, 0.0, 1.0) if d is None else (*d, 0.0) for d in directions]
    return {
        "AxisAligned": False,
        **{
            f"BasisVector{i}": f"{a.name},{a.unit}," + ",".join(map(repr, place))
            for i, (a, place) in enumerate(zip(axes, places, strict=True))
        },
        "NormalizeBasisVectors": False,
        "OutputExtents": [x for pair in limits for x in pair],
        "OutputBins": [len(a) for a in axes],
    }


def with_limits(text: str, dimensions: dict) -> str:
    """A dimension for BinMD; names such as '[H,0,0]' contain commas."""
    name = next((n for n in sorted(dimensions, key=len, reverse=True) if text.startswith(f"{n},")), None)
    if name is None:
        raise InputError(f"the dimension {text!r} is not one of {', '.join(dimensions)}", "give one that the data have")
    numbers = text[len(name) + 1 :].split(",")
    if len(numbers) == 1:
        numbers = [str(dimensions[name].getMinimum()), str(dimensions[name].getMaximum()), *numbers]
    return ",".join([name, *numbers])


def translated(cut, options: ApplyOptions):
    """The result of ApplyResolutionGAN for a cut; it is not in the data service."""
    from mantid.api import AlgorithmManager

    algorithm = AlgorithmManager.createUnmanaged("ApplyResolutionGAN")
    algorithm.initialize()
    algorithm.setChild(True)
    algorithm.setRethrows(True)
    algorithm.setProperty("InputWorkspace", cut)
    algorithm.setPropertyValue("OutputWorkspace", "_")
    for name, value in options.given().items():
        algorithm.setProperty(*_as_property(name, value))
    problems = algorithm.validateInputs()
    if problems:
        raise in_one_line(": ".join(next(iter(problems.items()))))
    algorithm.execute()
    return algorithm.getProperty("OutputWorkspace").value


def _as_property(name: str, value) -> tuple:
    about = option(name)
    if about["property"] is None:
        raise InputError(f"ApplyResolutionGAN has no property for the option {name}", "process the file without Mantid")
    if name == "model" and str(value).endswith(".onnx"):
        return "ModelFile", value
    return about["property"], about["choices"][value] if about["choices"] else value


def saved(workspace, path: Path) -> Path:
    """Save under a temporary name, then rename: readers and other runs never see an incomplete file."""
    from .workspace import run_child

    with replacing(path, ".part.nxs") as temporary:
        run_child("SaveMD", InputWorkspace=workspace, Filename=str(temporary))
    return path


def in_one_line(error: RuntimeError | str) -> InsganError:
    """An error with the first line of a message, to which Mantid adds further lines with its origin."""
    reason, _, fix = str(error).split("\n")[0].partition(". Fix: ")
    return InsganError(reason or "a Mantid algorithm failed without a message", fix or "see the log above")
