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
#: Off a terminal, seconds from one line to the next.
_EVERY = 10.0
#: Goes to the start of the line and erases it.
_ERASE = "\r\x1b[2K"

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


class Shown:
    """What a command shows of its work; this one shows nothing.

    Calling it with the fraction done, 0 to 1, stops the work after an interrupt.
    """

    def __call__(self, share: float) -> None:
        end_if_interrupted()

    def say(self, text: str) -> None:
        """What is being done from now on, of which no fraction is known."""
        end_if_interrupted()

    def tell(self, text: str) -> None:
        """The latest result, such as the best values of a fit so far."""
        end_if_interrupted()


class _Moving(Shown):
    """Shows its title at once, and more from a thread, because the work may be silent for a long time."""

    def __init__(self, title: str):
        self._title, self._share, self._latest = title, None, ""
        self._started, self._ended = time.monotonic(), threading.Event()

    def __call__(self, share: float) -> None:
        end_if_interrupted()
        self._share = share
        self._changed()

    def say(self, text: str) -> None:
        end_if_interrupted()
        self._title, self._share, self._latest = text, None, ""
        self._changed(new=True)

    def tell(self, text: str) -> None:
        end_if_interrupted()
        self._latest = text
        self._changed()

    @contextmanager
    def shown(self):
        """Show until the end of the block."""
        self._changed(new=True)
        thread = threading.Thread(target=self._show, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._ended.set()
            thread.join()

    def _changed(self, new: bool = False) -> None:
        """Called after each report; `new` with another title."""

    def _show(self) -> None:
        """Runs in the thread until `_ended` is set."""

    @property
    def _seconds(self) -> float:
        return time.monotonic() - self._started


class _Lines(_Moving):
    """For a log: a line for each title, and one every ten seconds."""

    def _changed(self, new: bool = False) -> None:
        if new:
            self._print(self._title)

    def _show(self) -> None:
        while not self._ended.wait(_EVERY):
            share = "" if self._share is None else f"{self._share:.0%}, "
            latest = self._latest and f", {self._latest}"
            self._print(f"{self._title}: {share}{self._seconds:.0f} s{latest}")

    @staticmethod
    def _print(text: str) -> None:
        print(text, file=sys.stderr, flush=True)


class _Bar(_Moving):
    """For a terminal: the title, and after two seconds a bar, which moves to and fro while no fraction is known."""

    _bar = _task = None

    def _changed(self, new: bool = False) -> None:
        bar = self._bar
        if bar is not None:
            if new:  # a task of known length does not become one of unknown length
                bar.remove_task(self._task)
                self._task = bar.add_task(self._described, total=None)
            bar.update(self._task, description=self._described, **self._done)
        elif new:
            print(f"{_ERASE}{self._title}", end="", file=sys.stderr, flush=True)

    def _show(self) -> None:
        if self._ended.wait(_PATIENCE):
            print(_ERASE, end="", file=sys.stderr, flush=True)
            return
        from rich.console import Console
        from rich.progress import Progress

        print(_ERASE, end="", file=sys.stderr, flush=True)
        with Progress(console=Console(stderr=True), transient=True) as bar:
            self._task = bar.add_task(self._described, total=None)
            bar.update(self._task, **self._done)
            self._bar = bar
            self._ended.wait()
            self._bar = None

    @property
    def _described(self) -> str:
        return f"{self._title}{self._latest and f': {self._latest}'}"

    @property
    def _done(self) -> dict:
        return {} if self._share is None else {"total": 1.0, "completed": self._share}


@contextmanager
def progress(title: str, quiet: bool = False):
    """A `Shown` that stops the work after an interrupt, and shows it on standard error unless `quiet`: on a terminal a
    bar after two seconds, else a line every ten seconds; the title at once."""
    if quiet:
        yield Shown()
        return
    with (_Bar if sys.stderr.isatty() else _Lines)(title).shown() as moving:
        yield moving
