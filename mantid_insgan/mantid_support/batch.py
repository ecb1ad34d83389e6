"""Several files in one unattended run: one that fails is reported, and the others are still processed."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from ..core.options import ApplyOptions
from ..errors import InsganError
from ..io.crystal import Setting
from .autoreduction import REDUCED, files_of_pattern, reduced_of, with_mantid, without_mantid


class Batch:
    """Jobs one after the other; each is announced by a line, so that a slow one is not mistaken for one that hangs.

    Parameters
    ----------
    title : str
        What is done, for these lines.
    """

    def __init__(self, title: str):
        self._title = title
        self._results: list[Path] = []
        self._failures: list[tuple[str, Exception]] = []

    def files(self, pattern: str, **numbers) -> list[Path]:
        """The files of a pattern (`files_of_pattern`); if there are none, this is a failure, and the list is empty."""
        return self._tried(Path(pattern).name, lambda: files_of_pattern(pattern, **numbers)) or []

    def run(self, job: Callable[..., Path], files, *arguments) -> None:
        """Call ``job(files, *arguments)``, which gives the path of its result; an error is printed and kept."""
        first, more = (files, 0) if isinstance(files, str | Path) else (files[0], len(files) - 1)
        name = Path(first).name
        print(f"{name}{f' and {more} more' * bool(more)}: {self._title}", flush=True)
        result = self._tried(name, lambda: job(files, *arguments))
        if result is not None:
            self._results.append(result)

    def _tried(self, name: str, call: Callable):
        try:
            return call()
        except Exception as problem:  # kept, and raised by `finished`
            if not isinstance(problem, InsganError):
                traceback.print_exc(file=sys.stdout)
            print(f"{name} failed: {problem}", flush=True)
            self._failures.append((name, problem))
            return None

    def finished(self) -> list[Path]:
        """The results, if no job failed.

        Raises
        ------
        Exception
            The error of the job that failed.
        InsganError
            If several failed, with different errors.
        """
        if not self._failures:
            return self._results
        last = self._failures[-1][1]
        if len({str(problem) for _, problem in self._failures}) == 1:
            raise last
        told = "; ".join(
            f"{name}: {problem.reason if isinstance(problem, InsganError) else problem}"
            for name, problem in self._failures
        )
        total = len(self._failures) + len(self._results)
        raise InsganError(f"{len(self._failures)} of {total} failed: {told}", "see the line of each above") from last


def results_of_run(
    input_file: str | Path,
    output_dir: str | Path,
    options: ApplyOptions,
    binning: list[str],
    *,
    mantid: bool = True,
    reduced: str = REDUCED,
    scan: str = "",
    setting: Setting | None = None,
) -> list[Path]:
    """Process what the reduction of a run wrote: each of its files, or the scan of a crystal up to it.

    Parameters
    ----------
    input_file : path
        The raw run, or a reduced file (`reduced_of`).
    output_dir : path
        The folder of the reduced files and of the results.
    options : ApplyOptions
    binning : list of str
        The cut, as in `with_mantid`.
    mantid : bool
        Whether Mantid makes the cut; otherwise this package does.
    reduced : str
        Pattern of the reduced files of a run in `output_dir`.
    scan : str
        Pattern of the reduced files of a scan in `output_dir`; one result for all of them.
    setting : Setting, optional
        Lattice and mounting of the crystal, with `scan`.

    Returns
    -------
    list of Path

    Raises
    ------
    Exception
        As `Batch.finished`, after all files have been tried.
    InputError
        If there is no reduced file.
    """
    if scan:
        parts = [files_of_pattern(f"{output_dir}/{scan}")]
    else:
        parts = reduced_of(input_file, output_dir, reduced)
    batch = Batch(options.direction)
    for files in parts:
        batch.run(with_mantid if mantid else without_mantid, files, output_dir, options, binning, setting)
    return batch.finished()
