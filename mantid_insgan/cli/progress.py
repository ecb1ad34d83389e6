"""Progress bars, and stopping after Ctrl-C or SIGTERM."""

from __future__ import annotations

import signal
import sys
import threading
import time
from contextlib import contextmanager

#: Exit status after Ctrl-C or SIGTERM (128 + the number of SIGINT, as in shells).
INTERRUPTED = 130

#: A bar shows only for work that takes longer than this, in seconds.
_PATIENCE = 2.0

#: Set by Ctrl-C and SIGTERM.
_interrupted = threading.Event()


def catch_interrupts() -> None:
    """Let Ctrl-C and SIGTERM (the kill of a batch system) raise KeyboardInterrupt."""
    _interrupted.clear()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)


def _interrupt(*_):
    _interrupted.set()
    raise KeyboardInterrupt


def end_if_interrupted(*_) -> None:
    """Raise KeyboardInterrupt again after an interrupt: one raised inside a library's callback is lost."""
    if _interrupted.is_set():
        raise KeyboardInterrupt


@contextmanager
def progress(title: str, quiet: bool = False):
    """A function to call with the fraction done, 0 to 1. It stops the work after an interrupt, and on a terminal shows
    a bar for work of more than two seconds."""
    if quiet or not sys.stderr.isatty():
        yield end_if_interrupted
        return
    from rich.console import Console
    from rich.progress import Progress

    started, bar, task = time.monotonic(), None, None

    def report(share: float):
        nonlocal bar, task
        end_if_interrupted()
        if bar is None and time.monotonic() - started > _PATIENCE:
            bar = Progress(console=Console(stderr=True), transient=True)
            bar.start()
            task = bar.add_task(title, total=1.0)
        if bar is not None:
            bar.update(task, completed=share)

    try:
        yield report
    finally:
        if bar is not None:
            bar.stop()
