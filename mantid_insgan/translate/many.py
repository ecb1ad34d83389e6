"""The main job for many files: in one process, in several, or on a Dask cluster; it can be resumed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from ..core.options import ApplyOptions
from ..core.workers import worker_pool
from ..errors import InputError, InsganError, OutputError
from .job import apply_to_file, files_of_ends, is_result

#: Open models of this process.
_OPENED: dict = {}


@dataclass(frozen=True)
class Outcome:
    """The outcome for one file.

    Parameters
    ----------
    input, output : str
    status : {'written', 'kept', 'failed'}
    seconds : float
    messages : list of str
        Notes on the result, or the error.
    exit_code : int
        0, or that of the error.
    """

    input: str
    output: str
    status: str
    seconds: float
    messages: list[str]
    exit_code: int = 0


def apply_to_many(
    files,
    folder: str | Path,
    options: ApplyOptions,
    *,
    workers: int = 1,
    dask: str | None = None,
    overwrite: bool = False,
    progress=None,
) -> list[Outcome]:
    """Add or remove the resolution of many files; each result has the name of its input with the suffix .nxs.

    An existing result is kept if it is what would be made (`is_result`); any other file with that name makes the input
    fail, unless `overwrite` is given. If one file fails, the others are still processed.

    Parameters
    ----------
    files : sequence of path
    folder : str or Path
        Created if necessary.
    options : ApplyOptions
    workers : int
        Processes on this machine; each loads the model once. With 1, this process does the work, on all cores.
    dask : str, optional
        Address of a Dask scheduler whose workers see the same files, or 'local'.
    overwrite : bool
    progress : callable, optional
        Called with the fraction of files done.

    Returns
    -------
    list of Outcome
        In the order of `files`.

    Raises
    ------
    InputError
        If `workers` is below 1, two results would have the same name, or a result would replace its input.
    OutputError
        If the folder cannot be created.
    DeviceError
        As `worker_pool`.
    """
    if workers < 1:
        raise InputError(f"the number of workers is {workers}", "give 1 or more (--workers)")
    targets = _targets([Path(f).absolute() for f in files], Path(folder), options.intervals)
    tasks = [(source, target, options, overwrite) for source, target in targets]
    outcomes = []

    def note(outcome: Outcome) -> None:
        outcomes.append(outcome)
        if progress is not None:
            progress(len(outcomes) / len(tasks))

    if workers == 1 and dask is None:
        for task in tasks:
            note(apply_to_one(*task))
    else:
        with worker_pool(min(workers, len(tasks)), dask) as (submit, _):
            futures = [submit(apply_to_one, *task) for task in tasks]
            for future in futures:
                note(future.result())
    return outcomes


def _targets(files: list[Path], folder: Path, intervals: bool) -> list[tuple[Path, Path]]:
    """Each file and its result, which has the ends of its intervals beside it or not."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise OutputError(
            f"the output folder {folder} cannot be created: {problem.strerror}", "name another folder (--output-dir)"
        ) from problem
    owners: dict[Path, Path] = {}
    found = [(file, folder.absolute() / f"{file.stem}.nxs") for file in files]
    for file, target in found:
        for path in (target, *(files_of_ends(target).values() if intervals else ())):
            if path in owners:
                raise InputError(
                    f"{owners[path]} and {file} would both be written to {path}",
                    "process them in two calls with two folders (--output-dir)",
                )
            owners[path] = file
        if target == file:
            raise InputError(f"{file} would be replaced by its own result", "name another folder (--output-dir)")
    return found


def apply_to_one(source: Path, target: Path, options: ApplyOptions, overwrite: bool) -> Outcome:
    """Process one file of many; any error is reported in the outcome."""
    started = time.monotonic()

    def outcome(status, messages, code=0):
        return Outcome(str(source), str(target), status, round(time.monotonic() - started, 2), messages, code)

    try:
        if target.exists() and not overwrite:
            _require_result(source, target, options)
            return outcome("kept", [])
        report = apply_to_file(source, target, options, overwrite=overwrite, opened=_OPENED)
        return outcome("written", list(report.notes))
    except InsganError as error:
        return outcome("failed", [str(error)], error.exit_code)
    except Exception as error:  # a bug for one file is reported, and the others are still processed
        return outcome("failed", [f"{type(error).__name__}: {error}"], InsganError.exit_code)


def _require_result(source: Path, target: Path, options: ApplyOptions) -> None:
    if not is_result(source, target, options):
        raise OutputError(
            f"the output {target} already exists and is not the result of {source.name} with these options",
            "name another folder (--output-dir), or give --overwrite to replace it",
        )


def exit_code(outcomes: list[Outcome]) -> int:
    """The exit code of the failures if it is the same for all, otherwise that of errors in general; 0 without any."""
    codes = {o.exit_code for o in outcomes if o.status == "failed"}
    return 0 if not codes else codes.pop() if len(codes) == 1 else InsganError.exit_code
