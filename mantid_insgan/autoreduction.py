"""Reduced runs through the main job, unattended: with Mantid from nxspe files through a cut, or without it on files.

A result takes its name only when it is complete, so two runs for one output leave that of the one which ended last.
Errors are those of `errors`: one line that an operator can read.
"""

from __future__ import annotations

import os
import re
import secrets
from glob import glob
from pathlib import Path

from .apply import apply_to_file
from .errors import InputError, InsganError
from .io.hdf5 import open_hdf5
from .io.writer import ENTRY, check_output
from .options import ApplyOptions, option

#: What is added to the name of the input.
ENDINGS = {"add-resolution": "_broadened", "remove-resolution": "_sharpened"}
#: Top groups of files that hold a cut, or events to make one of.
_MD_ENTRIES = (ENTRY, "MDEventWorkspace")


def find_files(pattern: str, **numbers) -> list[Path]:
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
    return find_files(f"{folder}/*{int(digits[-1])}*.nxspe")


def _holds_md(file: Path) -> bool:
    with open_hdf5(file) as opened:
        return any(name in opened for name in _MD_ENTRIES)


def output_of(file: str | Path, folder: str | Path, options: ApplyOptions) -> Path:
    """Where the result of a file goes."""
    return Path(folder) / f"{Path(file).stem}{ENDINGS[options.direction]}.nxs"


def without_mantid(file: str | Path, folder: str | Path, options: ApplyOptions) -> Path:
    """Translate a file with the CPU install of this package alone; an earlier result is replaced.

    Raises
    ------
    InsganError
        See `apply_to_file`.
    """
    target = output_of(file, folder, options)
    report = apply_to_file(Path(file), target, options, overwrite=True)
    for note in report.notes:
        print(f"note: {note}", flush=True)
    return target


def with_mantid(file: str | Path, folder: str | Path, options: ApplyOptions, binning: list[str]) -> Path:
    """Translate a file with Mantid's algorithms: LoadNXSPE and ConvertToMD, or LoadMD; BinMD; ApplyResolutionGAN;
    SaveMD. An earlier result is replaced.

    Parameters
    ----------
    file : path
        An nxspe file, or one that SaveMD wrote; the cut in it is taken as it is, events are binned.
    folder : path
    options : ApplyOptions
    binning : list of str
        The dimensions of the cut as BinMD takes them: ``['|Q|,0,5,100', 'DeltaE,-10,50,120']``. A dimension without
        limits (``'|Q|,100'``) goes over all that was measured.

    Raises
    ------
    InsganError
        If a file or property is not right, in the words of the algorithm.
    """
    import mantid_insgan.mantid  # noqa: F401  (starts Mantid and registers the algorithm)

    check_output(output_of(file, folder, options), overwrite=True)
    try:
        cut = _cut(str(file), binning)
        result = _translated(cut, options)
        return _saved(result, output_of(file, folder, options))
    except RuntimeError as error:  # that of any algorithm of Mantid
        raise _in_one_line(error) from error


def _cut(file: str, binning: list[str]):
    from mantid.api import MDNormalization

    from .io.workspace import run_child

    if file.lower().endswith(".nxspe"):
        measured = run_child("LoadNXSPE", Filename=file)
        found = run_child("ConvertToMD", InputWorkspace=measured, QDimensions="|Q|", dEAnalysisMode="Direct")
    else:
        found = run_child("LoadMD", Filename=file)
    if hasattr(found, "getSignalArray"):
        return found
    names = {found.getDimension(i).name: found.getDimension(i) for i in range(found.getNumDims())}
    aligned = {f"AlignedDim{i}": _with_limits(text, names) for i, text in enumerate(binning)}
    cut = run_child("BinMD", InputWorkspace=found, AxisAligned=True, **aligned)
    # BinMD sums over what falls into a bin; what is meant by intensity is the mean.
    cut.setDisplayNormalization(MDNormalization.NumEventsNormalization)
    return cut


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
    from .io.workspace import run_child

    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.part.nxs")
    try:
        run_child("SaveMD", InputWorkspace=workspace, Filename=str(temporary))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _in_one_line(error: RuntimeError | str) -> InsganError:
    """Mantid adds to a message where it came from, in lines of their own."""
    reason, _, fix = str(error).split("\n")[0].partition(". To mend it: ")
    return InsganError(reason or "a Mantid algorithm failed without a message", fix or "see the log above")
