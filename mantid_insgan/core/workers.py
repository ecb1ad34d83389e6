"""Workers for many tasks: processes on this machine, or the workers of a Dask cluster."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process

from ..errors import DeviceError

#: One thread for each process: the workers use all cores, and sums do not depend on the number of cores.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@contextmanager
def worker_pool(workers: int, dask: str | None = None):
    """A function that submits a task and returns its future, and one that returns how many tasks now run at once.

    Workers of a Dask cluster may start one after the other (under Slurm, as the queue permits), so the number grows.

    Parameters
    ----------
    workers : int
        Processes on this machine, also those of ``dask='local'``.
    dask : str, optional
        Address of a Dask scheduler ('tcp://host:8786'), or 'local' for a cluster on this machine.

    Raises
    ------
    DeviceError
        If a process ended unexpectedly, Dask is not installed or the scheduler cannot be reached.
    """
    if dask is None:
        with _processes(workers) as pool:
            yield lambda f, *a: pool.submit(_task, f, a), lambda: workers
    else:
        with _dask_client(dask, workers) as client:
            # pure=False: every task is its own, whatever its arguments; one retry by another worker is Dask's default.
            yield lambda f, *a: client.submit(f, *a, pure=False), lambda: max(1, sum(client.nthreads().values()))


@contextmanager
def _processes(workers: int):
    """New processes with one thread each, also if only one is requested; they end with this process."""
    before = {name: os.environ.get(name) for name in _ONE_THREAD}
    os.environ.update(_ONE_THREAD)
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_begin)
    try:
        yield pool
    except BrokenProcessPool as problem:
        raise DeviceError(
            "a worker process ended unexpectedly (it may have been killed because memory ran out)",
            "run the same command again with fewer --workers: it continues from the files that are complete",
        ) from problem
    except BaseException:
        for process in list((pool._processes or {}).values()):
            process.terminate()  # tasks take seconds: do not wait for them after Ctrl-C
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _begin() -> None:
    """In a worker: leave Ctrl-C to the parent, end cleanly on its request, and end when the parent has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end)

    def watch():
        parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


_working = threading.Event()


def _end(*_) -> None:
    """During a task, end by an exception, so that incomplete files are removed."""
    if _working.is_set():
        raise KeyboardInterrupt
    os._exit(1)


def _task(function, arguments):
    """A task in a worker of this machine."""
    _working.set()
    try:
        return function(*arguments)
    except KeyboardInterrupt:
        os._exit(1)
    finally:
        _working.clear()


@contextmanager
def _dask_client(address: str, workers: int):
    try:
        from distributed import Client, LocalCluster
    except ImportError as missing:
        raise DeviceError("Dask is not installed", "pip install 'mantid-insgan[dask]'") from missing
    if address == "local":
        with (
            LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None) as cluster,
            Client(cluster) as client,
        ):
            yield client
        return
    try:
        client = Client(address, timeout="10s")
    except (OSError, ValueError) as problem:
        raise DeviceError(
            f"the Dask scheduler {address!r} cannot be reached: {problem}",
            "give the address that `dask scheduler` prints (--dask tcp://host:8786), or --dask local",
        ) from problem
    with client:
        yield client
