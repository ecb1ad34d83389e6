"""The tasks of a convolution, one after the other, in threads or in forked processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np

from ..errors import DeviceError


def collected(
    run, shape: tuple[int, int], workers: int, processes: bool, progress: Callable[[int, int], None] | None
) -> tuple[np.ndarray, np.ndarray]:
    """The sum over all tasks, in a fixed order, so that it does not depend on the number of workers.

    Parameters
    ----------
    run
        Object with ``tasks``, their number, and ``task(number)``, which returns (columns, signal, variance).
    shape : tuple of int
        (columns, energies).
    workers : int
        Threads, or processes.
    processes : bool
        Fork processes instead of starting threads.
    progress : callable, optional
        Called with (tasks done, total number of tasks).

    Returns
    -------
    signal, variance : ndarray of `shape`

    Raises
    ------
    DeviceError
        If the system cannot fork processes.
    """
    signal, variance = np.zeros((2, *shape))
    for done, (columns, mean, scatter) in enumerate(_results(run, workers, processes), start=1):
        signal[columns] += mean
        variance[columns] += scatter
        if progress is not None:
            progress(done, run.tasks)
    return signal, variance


def _results(run, workers: int, processes: bool) -> Iterable:
    if workers == 1 or run.tasks == 1:
        yield from map(run.task, range(run.tasks))
    elif processes:
        yield from _forked(run, workers)
    else:
        with ThreadPoolExecutor(workers) as pool:
            yield from pool.map(run.task, range(run.tasks))


def _forked(run, workers: int) -> Iterable:
    try:
        context = get_context("fork")
    except ValueError as missing:
        raise DeviceError("this system cannot fork processes", "use threads: processes=False") from missing
    # A forked process inherits the run; models need not be picklable.
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_inherit, initargs=(run,)) as pool:
        yield from pool.map(_inherited_task, range(run.tasks), chunksize=max(1, run.tasks // (8 * workers)))


_RUN = None


def _inherit(run) -> None:
    global _RUN
    _RUN = run


def _inherited_task(number: int):
    return _RUN.task(number)
