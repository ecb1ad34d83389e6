"""Batches of a training, drawn step by step, ahead of it in other processes where it has them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import numpy as np

from .examples import Batch, stack

#: A step takes its spectra from one of so many parts of a large library, in turn: a process that draws every n-th step,
#: with n a divisor of this, keeps only its own parts in memory.
PARTS = 16
#: Batches that each process is ahead.
_AHEAD = 4


class ExampleStream:
    """The batch of every step of a training; it depends on seed and step alone, not on who draws it.

    Parameters
    ----------
    library : PairLibrary or like it
    direction : str
    size : int
        Examples in a batch.
    seed : tuple of int
    """

    def __init__(self, library, direction: str, size: int, seed: tuple[int, ...]):
        self.library, self.direction, self.size, self.seed = library, direction, size, seed

    def __getitem__(self, step: int) -> Batch:
        rng = np.random.default_rng([*self.seed, step, 1])
        members = np.arange(len(self.library))
        if len(members) >= 4 * PARTS:
            members = members[step % PARTS :: PARTS]
        return stack(self.library.examples(rng.choice(members, self.size), self.direction, rng))

    def batches(self, steps: range, processes: int = 0) -> Iterator[Batch]:
        """The batches of these steps, drawn here, or ahead by so many processes (which are forked)."""
        if not processes:
            return (self[step] for step in steps)
        from torch.utils.data import DataLoader

        loader = DataLoader(
            self,
            batch_size=None,
            sampler=steps,
            num_workers=processes,
            prefetch_factor=_AHEAD,
            collate_fn=_as_it_is,
            worker_init_fn=_begin,
        )
        return iter(loader)


def _begin(_) -> None:
    """In a process that draws ahead: a signal to the whole group is for the training, which ends its current step and
    then this process. A second SIGTERM ends it at once, so that nothing waits for it when Python exits."""
    told = []

    def note(*_):
        if told:
            os._exit(1)
        told.append(True)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, note)


def _as_it_is(batch: Batch) -> Batch:
    return batch
