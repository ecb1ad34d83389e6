"""Input and target of the networks: one spectrum as arrays, and the spectra of a step as tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch

from .generator import no_resolution


@dataclass(frozen=True)
class Example:
    """One spectrum for a network, D open axes with the energy last where it is one.

    signal, error, target : float32 (*grid), 0 where not valid; valid : bool (*grid);
    width (D, *grid), correlation (P, *grid), position (3, *grid) : float32; energy_last : bool;
    finer (D + P, *grid) : float32, widths and correlations of the finer side; 0, without resolution, if not given.
    """

    signal: np.ndarray
    valid: np.ndarray
    error: np.ndarray
    target: np.ndarray
    width: np.ndarray
    correlation: np.ndarray
    position: np.ndarray
    energy_last: bool = True
    finer: np.ndarray | None = None

    def __post_init__(self):
        if self.finer is None:
            channels = len(self.width) + len(self.correlation)
            object.__setattr__(self, "finer", np.zeros((channels, *self.signal.shape), np.float32))

    @property
    def dimensions(self) -> int:
        """Open axes."""
        return self.signal.ndim

    def changed(self, change: Callable[[str, np.ndarray], np.ndarray]) -> Example:
        """The example with each array replaced by what `change` makes of its name and values."""
        names = (f.name for f in fields(self) if f.name != "energy_last")
        return replace(self, **{name: change(name, getattr(self, name)) for name in names})


@dataclass(frozen=True)
class Batch:
    """Tensors of one step, all float32: signal, valid, error, target (N, 1, *grid) and the conditions (N, C, *grid)."""

    signal: torch.Tensor
    valid: torch.Tensor
    error: torch.Tensor
    width: torch.Tensor
    correlation: torch.Tensor
    position: torch.Tensor
    target: torch.Tensor
    finer: torch.Tensor | None = None

    def __post_init__(self):
        if self.finer is None:
            object.__setattr__(self, "finer", no_resolution(self.width))

    def inputs(self) -> tuple[torch.Tensor, ...]:
        """The inputs of a generator, in its order."""
        return self.signal, self.valid, self.error, *self.conditions()

    def conditions(self) -> tuple[torch.Tensor, ...]:
        """Width, correlation, position and the finer resolution."""
        return self.width, self.correlation, self.position, self.finer

    def part(self, members: slice) -> Batch:
        """Some members of the batch."""
        return Batch(**{k: v[members] for k, v in vars(self).items()})

    def to(self, device) -> Batch:
        """The batch on a device."""
        return Batch(**{k: v.to(device) for k, v in vars(self).items()})


def stack(examples: Sequence[Example]) -> Batch:
    """A batch of examples of one shape."""
    channels = {"signal", "valid", "error", "target"}
    arrays = {}
    for f in fields(Batch):
        values = np.stack([getattr(e, f.name) for e in examples]).astype(np.float32)
        arrays[f.name] = torch.from_numpy(values[:, None] if f.name in channels else values)
    return Batch(**arrays)
