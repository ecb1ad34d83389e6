"""Cuts of data that are still being measured: found in memory or as the newest file, integrated, and corrected.

Errors are those of `errors`; a service that calls these functions again and again logs them and goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from ..core.options import ApplyOptions
from ..errors import InputError, InsganError
from .autoreduction import ENDINGS, events_of, in_one_line, output_of, saved, shown_per_event, translated, with_limits


def live_result(
    pattern: str, folder: str | Path, options: ApplyOptions, integrate: Mapping[str, Sequence[float]] | None = None
):
    """Correct the newest cut of a run: an MDHistoWorkspace in memory whose name matches, or else the newest file.

    The result is in the data service and in the folder, under the name of the cut and ``_sharpened``, ``_broadened`` or
    ``_brought``; the cut itself is not changed.

    Parameters
    ----------
    pattern : str
        Name of the workspace, or of the file without ``.nxs``, with ``*`` and ``?``.
    folder : path
    options : ApplyOptions
    integrate : mapping of str to pair of float, optional
        Name of a dimension -> limits between which the cut is integrated first.

    Returns
    -------
    mantid.api.IMDHistoWorkspace

    Raises
    ------
    InsganError
        If there is no cut, it has no such dimension, or ApplyResolutionGAN fails (`with_mantid`).
    """
    from mantid.api import mtd

    import mantid_insgan.mantid  # noqa: F401  (starts Mantid and registers the algorithm)

    name, cut = _in_memory(pattern) or _newest_file(pattern, Path(folder))
    target = output_of(f"{name}.nxs", folder, options)
    try:
        cut = _integrated(cut, integrate or {})
        result = translated(cut, options)
        mtd.addOrReplace(target.stem, result)
        saved(result, target)
    except RuntimeError as error:
        raise in_one_line(error) from error
    return mtd[target.stem]


def _in_memory(pattern: str):
    """Name and workspace of the first cut in the data service whose name matches, or None."""
    from mantid.api import mtd

    for name in mtd.getObjectNames():
        if fnmatchcase(name, pattern) and not _is_result(name) and mtd[name].id() == "MDHistoWorkspace":
            return name, mtd[name]
    return None


def _newest_file(pattern: str, folder: Path):
    from .workspace import run_child

    files = [f for f in folder.glob(f"{pattern}.nxs") if not _is_result(f.stem)]
    if not files:
        raise InputError(
            f"no MDHistoWorkspace in memory and no file in {folder} is called {pattern!r}",
            "check what the live reduction calls its cut",
        )
    newest = max(files, key=lambda file: file.stat().st_mtime)
    return newest.stem, run_child("LoadMD", Filename=str(newest))


def _is_result(name: str) -> bool:
    return name.endswith(tuple(ENDINGS.values()))


def _integrated(cut, limits: Mapping[str, Sequence[float]]):
    """A copy of a cut, integrated between limits; intensities are means over its events, as BinMD counts them."""
    from .workspace import run_child

    names = [cut.getDimension(i).name for i in range(cut.getNumDims())]
    unknown = [name for name in limits if name not in names]
    if unknown:
        raise InputError(f"the dimension {unknown[0]!r} is not one of {', '.join(names)}", "give one that the cut has")
    if not limits:
        return shown_per_event(run_child("CloneMDWorkspace", InputWorkspace=cut))
    bins = {f"P{names.index(name) + 1}Bin": list(map(float, pair)) for name, pair in limits.items()}
    return shown_per_event(run_child("IntegrateMDHistoWorkspace", InputWorkspace=cut, **bins))


def bin_chunk(chunk, output: str, binning: list[str]) -> None:
    """Bin the spectra of a chunk of live data to \\|Q\\| and energy transfer, so that chunks can be added.

    Parameters
    ----------
    chunk : mantid.api.MatrixWorkspace
        Spectra in energy transfer.
    output : str
        Name for the cut in the data service: sums over events, as BinMD makes them.
    binning : list of str
        Dimensions of the cut with their limits: ``['|Q|,0,5,100', 'DeltaE,-10,50,120']``.

    Raises
    ------
    InputError
        If a dimension has no limits: the cuts of all chunks need the same.
    InsganError
        If an algorithm of Mantid fails.
    """
    from mantid.api import mtd

    from .workspace import run_child

    for text in binning:
        if text.count(",") < 3:
            raise InputError(f"the dimension {text!r} has no limits", "give name, lower limit, upper limit and bins")
    try:
        events = events_of(chunk, QDimensions="|Q|")
        known = {events.getDimension(i).name: events.getDimension(i) for i in range(events.getNumDims())}
        aligned = {f"AlignedDim{i}": with_limits(text, known) for i, text in enumerate(binning)}
        mtd.addOrReplace(output, run_child("BinMD", InputWorkspace=events, AxisAligned=True, **aligned))
    except RuntimeError as error:
        raise in_one_line(error) from error


def correct_accumulated(cut, output: str, options: ApplyOptions) -> None:
    """Correct the sum of all chunks so far. A cut that cannot be corrected, such as the first one without counts, is
    put out unchanged, with the reason as its title and on standard output: an error would end the live reduction.

    Parameters
    ----------
    cut : mantid.api.IMDHistoWorkspace
        The sum of cuts by `bin_chunk`.
    output : str
        Name for the result in the data service.
    options : ApplyOptions
    """
    from mantid.api import mtd

    import mantid_insgan.mantid  # noqa: F401

    shown = _integrated(cut, {})
    try:
        mtd.addOrReplace(output, translated(shown, options))
    except (InsganError, RuntimeError) as problem:
        error = problem if isinstance(problem, InsganError) else in_one_line(problem)
        print(f"not corrected: {error}", flush=True)
        shown.setTitle(f"not corrected: {error.reason}")
        mtd.addOrReplace(output, shown)
