"""Reduced runs through the main job, unattended: with Mantid from nxspe files through a cut, or without it on files.

A result takes its name only when it is complete, so two runs for one output leave that of the one which ended last.
Errors are those of `errors`: one line that an operator can read.
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

#: What is added to the name of the input.
ENDINGS = {"add-resolution": "_broadened", "remove-resolution": "_sharpened"}
#: What is added to the name of the first run of a scan for its cut, where this package makes it.
CUT = "_cut"
#: Directions of the axes that ConvertToMD makes.
_STRAIGHT = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
#: Top groups of files that hold a cut, or events to make one of.
_MD_ENTRIES = (ENTRY, "MDEventWorkspace")


def files_of_pattern(pattern: str, **numbers) -> list[Path]:
    """Files whose names fit a pattern such as ``'/output/MER{runno}_Ei{ei:.2f}meV*.nxspe'``.

    Raises
    ------
    InputError
        If there is none.
    """
    named = pattern.format(**numbers)
    found = [Path(f) for f in sorted(glob(named))]
    if not found:
        raise InputError(f"there is no file {named}", "see whether the reduction ran, and how it names its files")
    return found


def files_of_scan(pattern: str, first: int, last: int, **numbers) -> list[Path]:
    """Files of a pattern (see `files_of_pattern`) from the first run of a scan to the last, as far as they are there.

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
            "see whether the reduction ran, and how it names its files",
        )
    return found


def reduced_of(file: str | Path, folder: str | Path) -> list[Path]:
    """The reduced files of a run: the file itself if it is one, else the nxspe files in `folder` with its run number.

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
    return files_of_pattern(f"{folder}/*{int(digits[-1])}*.nxspe")


def _holds_md(file: Path) -> bool:
    with open_hdf5(file) as opened:
        return any(name in opened for name in _MD_ENTRIES)


def output_of(file: str | Path, folder: str | Path, options: ApplyOptions) -> Path:
    """Where the result of a file goes."""
    return Path(folder) / f"{Path(file).stem}{ENDINGS[options.direction]}.nxs"


def cut_of(file: str | Path, folder: str | Path) -> Path:
    """Where the cut through a scan goes that begins with a file, if this package makes it."""
    return Path(folder) / f"{Path(file).stem}{CUT}.nxs"


def without_mantid(
    files, folder: str | Path, options: ApplyOptions, binning: list[str] | None = None, setting: Setting | None = None
) -> Path:
    """Translate a file, or the scan of a crystal, with the CPU install of this package alone; an earlier result is
    replaced.

    Parameters
    ----------
    files : path or list of path
        A file of any kind that is read as a spectrum; with a `setting` the nxspe files of a scan, which are binned to
        `cut_of` the first of them.
    folder : path
    options : ApplyOptions
    binning : list of str, optional
        The cut through a scan (`cut_axes`).
    setting : Setting, optional
        How the crystal was mounted.

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
    """Tells of each run that is binned: a job without a line for long is taken for one that hangs."""
    return lambda share: print(f"binned {round(share * len(files))} of {len(files)} runs", flush=True)


def with_mantid(
    files, folder: str | Path, options: ApplyOptions, binning: list[str], setting: Setting | None = None
) -> Path:
    """Translate a file, or the scan of a crystal, with Mantid's algorithms: LoadNXSPE and ConvertToMD (for a crystal
    SetUB and SetGoniometer between them), or LoadMD; BinMD; ApplyResolutionGAN; SaveMD. An earlier result is replaced.

    Parameters
    ----------
    files : path or list of path
        An nxspe file, or one that SaveMD wrote; the cut in it is taken as it is, events are binned. With a `setting`
        the nxspe files of a scan.
    folder : path
    options : ApplyOptions
    binning : list of str
        The dimensions of the cut as BinMD takes them: ``['|Q|,0,5,100', 'DeltaE,-10,50,120']``. A dimension without
        limits (``'|Q|,100'``) goes over all that was measured. For a scan see `cut_axes`.
    setting : Setting, optional
        How the crystal was mounted.

    Returns
    -------
    Path
        `output_of` the first file.

    Raises
    ------
    InsganError
        If a file or property is not right, in the words of the algorithm.
    """
    import mantid_insgan.mantid  # noqa: F401  (starts Mantid and registers the algorithm)

    files = _listed(files)
    target = output_of(files[0], folder, options)
    check_output(target, overwrite=True)
    try:
        cut = _cut(str(files[0]), binning) if setting is None else _cut_of_scan(files, cut_axes(binning), setting)
        return _saved(_translated(cut, options), target)
    except RuntimeError as error:  # that of any algorithm of Mantid
        raise _in_one_line(error) from error


def _cut(file: str, binning: list[str]):
    from .workspace import run_child

    if file.lower().endswith(".nxspe"):
        measured = run_child("LoadNXSPE", Filename=file)
        found = _events(measured, QDimensions="|Q|")
    else:
        found = run_child("LoadMD", Filename=file)
    if hasattr(found, "getSignalArray"):
        return found
    names = {found.getDimension(i).name: found.getDimension(i) for i in range(found.getNumDims())}
    aligned = {f"AlignedDim{i}": _with_limits(text, names) for i, text in enumerate(binning)}
    return _per_event(run_child("BinMD", InputWorkspace=found, AxisAligned=True, **aligned))


def _events(measured, **how):
    """Events of spectra; detectors are looked at anew, because those of another file may be elsewhere."""
    from .workspace import run_child

    return run_child("ConvertToMD", InputWorkspace=measured, dEAnalysisMode="Direct", PreprocDetectorsWS="-", **how)


def _per_event(cut):
    """BinMD sums over what falls into a bin; what is meant by intensity is the mean."""
    from mantid.api import MDNormalization

    cut.setDisplayNormalization(MDNormalization.NumEventsNormalization)
    return cut


def _cut_of_scan(files: list[Path], axes: tuple[Axis, ...], setting: Setting):
    """The sum of the cuts through each run: the events of a long scan would not fit into memory together, and MergeMD
    would need them in the data service."""
    from .workspace import run_child

    said, total = _said_run(files), None
    cell = {name: float(getattr(setting.lattice, name)) for name in ("a", "b", "c", "alpha", "beta", "gamma")}
    for number, file in enumerate(files):
        measured = run_child("LoadNXSPE", Filename=str(file))
        psi = required_psi(file, float(measured.run().getProperty("psi").value)) + setting.psi_offset
        run_child("SetUB", Workspace=measured, **cell, u=list(setting.u), v=list(setting.v))
        run_child("SetGoniometer", Workspace=measured, Axis0=f"{psi!r},0,1,0,1")
        events = _events(measured, QDimensions="Q3D", Q3DFrames="HKL", QConversionScales="HKL")
        cut = run_child("BinMD", InputWorkspace=events, **_bins(axes))
        if total is None:
            total = cut
        else:
            total = run_child("PlusMD", LHSWorkspace=total, RHSWorkspace=cut)
            total.addExperimentInfo(measured)
        said((number + 1) / len(files))
    return _per_event(total)


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


def _with_limits(text: str, dimensions: dict) -> str:
    """A dimension for BinMD; names such as '[H,0,0]' have commas themselves."""
    name = next((n for n in sorted(dimensions, key=len, reverse=True) if text.startswith(f"{n},")), None)
    if name is None:
        raise InputError(f"the dimension {text!r} is none of {', '.join(dimensions)}", "name one that the data have")
    numbers = text[len(name) + 1 :].split(",")
    if len(numbers) == 1:
        numbers = [str(dimensions[name].getMinimum()), str(dimensions[name].getMaximum()), *numbers]
    return ",".join([name, *numbers])


def _translated(cut, options: ApplyOptions):
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
        raise _in_one_line(": ".join(next(iter(problems.items()))))
    algorithm.execute()
    return algorithm.getProperty("OutputWorkspace").value


def _as_property(name: str, value) -> tuple:
    about = option(name)
    if name == "model" and str(value).endswith(".onnx"):
        return "ModelFile", value
    return about["property"], about["choices"][value] if about["choices"] else value


def _saved(workspace, path: Path) -> Path:
    """Save under a name of its own, then rename: readers and other runs never see half a file."""
    from .workspace import run_child

    with replacing(path, ".part.nxs") as temporary:
        run_child("SaveMD", InputWorkspace=workspace, Filename=str(temporary))
    return path


def _in_one_line(error: RuntimeError | str) -> InsganError:
    """Mantid adds to a message where it came from, in lines of their own."""
    reason, _, fix = str(error).split("\n")[0].partition(". Fix: ")
    return InsganError(reason or "a Mantid algorithm failed without a message", fix or "see the log above")
