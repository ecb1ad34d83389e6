"""From pairs of slices to batches: a library of pairs on disk, then noise, gaps and flips drawn anew for each step."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from ..pairs import GRID, draw_slices
from ..spinw.zoo import get_family
from ..translate import intensity_scale

SLICES_PER_MODEL = 4


@dataclass(frozen=True)
class Library:
    """Pairs of slices as arrays; see `mantid_insgan.pairs.Slice` for the members.

    ideal, convolved : float32 (n, 64, 64); width : float32 (n, 2, 64); reachable : bool (n, 64);
    kind, family, setting : str (n,)
    """

    ideal: np.ndarray
    convolved: np.ndarray
    width: np.ndarray
    reachable: np.ndarray
    kind: np.ndarray
    family: np.ndarray
    setting: np.ndarray

    def __len__(self) -> int:
        return len(self.ideal)

    def subset(self, index) -> Library:
        """The pairs at `index`."""
        return Library(**{k: v[index] for k, v in vars(self).items()})

    def save(self, path: Path) -> None:
        """Write to an .npz beside `path` and rename it into place."""
        temporary = path.with_suffix(".part.npz")
        np.savez(temporary, **vars(self))
        temporary.replace(path)

    @classmethod
    def load(cls, path: Path) -> Library:
        """Read a library that `save` wrote."""
        with np.load(path, allow_pickle=False) as stored:
            return cls(**stored)


def _slices_of_model(task) -> list:
    family, seed, index, settings = task
    rng = np.random.default_rng([seed, index])
    return draw_slices(rng, family, get_family(family).draw(rng), settings, SLICES_PER_MODEL)


def build_library(models: int, seed: int, families, settings, workers: int = 2, progress=None) -> Library:
    """Draw `models` Hamiltonians, going through `families` in turn, and `SLICES_PER_MODEL` slices of each.

    The result depends on the seed alone, not on the number of workers.
    """
    tasks = [(families[i % len(families)], seed, i, settings) for i in range(models)]
    slices = []
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_one_thread) as pool:
        for done, made in enumerate(pool.map(_slices_of_model, tasks)):
            slices.extend(made)
            if progress:
                progress(done + 1, models)
    return Library(**{k: np.array([getattr(s, k) for s in slices]) for k in Library.__dataclass_fields__})


def _one_thread() -> None:
    torch.set_num_threads(1)


@dataclass(frozen=True)
class Batch:
    """Tensors of one step, all float32: signal, valid, error, target (N, 1, 64, 64); width (N, 2, 64, 64)."""

    signal: torch.Tensor
    valid: torch.Tensor
    error: torch.Tensor
    width: torch.Tensor
    target: torch.Tensor

    def inputs(self) -> tuple[torch.Tensor, ...]:
        """What the generator takes, in its order."""
        return self.signal, self.valid, self.error, self.width

    def to(self, device) -> Batch:
        """The batch on a device."""
        return Batch(**{k: v.to(device) for k, v in vars(self).items()})


def make_batch(
    library: Library, index, direction: str, rng, *, exact_share: float | None = None, peak_counts=None
) -> Batch:
    """Noise, gaps and flips for the pairs at `index`.

    Parameters
    ----------
    direction : {'add-resolution', 'remove-resolution'}
        Which member is the input and which the target.
    rng : numpy.random.Generator
    exact_share : float, optional
        Share of inputs without noise (error 0); a quarter for removing, six tenths for adding if not given.
    peak_counts : float, optional
        Counts in the brightest bins; log-uniform between 20 and 20000 if not given.
    """
    if exact_share is None:
        exact_share = 0.25 if direction == "remove-resolution" else 0.6
    members = [_one(library, i, direction, rng, exact_share, peak_counts) for i in index]
    stacked = [np.stack(m).astype(np.float32) for m in zip(*members, strict=True)]
    signal, valid, error, width, target = (torch.from_numpy(x) for x in stacked)
    return Batch(signal, valid, error, width, target)


def _one(library, i, direction, rng, exact_share, peak_counts):
    source, target = library.ideal[i], library.convolved[i]
    if direction == "remove-resolution":
        source, target = target, source
    kind = str(library.kind[i])
    width = np.broadcast_to(library.width[i][:, None, :], (2, GRID, GRID))
    reachable = np.broadcast_to(library.reachable[i][None, :], (GRID, GRID))
    valid = reachable & ~_gaps(rng, kind)
    # Gaps that hide nearly all there is to see teach nothing.
    if valid.sum() < 0.2 * valid.size or min((x[valid] ** 2).sum() / (x**2).sum() for x in (source, target)) < 0.3:
        valid = reachable
    if rng.random() < exact_share:
        signal, error = source, np.zeros_like(source)
    else:
        counts = peak_counts or 10 ** rng.uniform(np.log10(20), np.log10(20000))
        signal, error = _count(rng, kind, source, counts)
    arrays = [signal * valid, valid, error * valid, width, target]
    flips = [axis for axis in ((-2, -1) if kind == "plane" else (-2,)) if rng.random() < 0.5]
    arrays = [np.flip(x, flips) if flips else x for x in arrays]
    signal, valid, error, width, target = arrays
    # The jitter keeps the network from relying on the translator's scale.
    scale = intensity_scale(signal, valid) * 10 ** rng.uniform(-0.3, 0.3)
    return signal[None] / scale, valid[None], error[None] / scale, width, target[None] / scale


def _count(rng, kind, source, peak_counts):
    """Poisson counts of `source` at an exposure that varies over the detectors, and their errors."""
    peak = np.percentile(source, 99.7) + 1e-9
    position = np.linspace(0, 1, GRID)
    exposure = 1 + 0.5 * np.sin(2 * np.pi * (rng.uniform(0, 2) * position + rng.random()))[:, None]
    exposure = np.broadcast_to(exposure * peak_counts / peak, source.shape)
    background = (rng.random() < 0.4) * rng.uniform(0, 0.5) * peak
    expected = np.clip(source + background, 0, None) * exposure
    if kind in ("energy-cut", "q-cut"):  # one row of counts, seen in every row
        axis = 0 if kind == "energy-cut" else 1
        one = rng.poisson(np.take(expected, [0], axis))
        expected = np.broadcast_to(np.take(expected, [0], axis), source.shape)
        exposure = np.broadcast_to(np.take(exposure, [0], axis), source.shape)
        counts = np.broadcast_to(one, source.shape)
    else:
        counts = rng.poisson(expected)
    least = 1.0 if rng.random() < 0.5 else 0.0  # some reductions give empty bins no error
    return counts / exposure - background, np.sqrt(np.maximum(counts, least)) / exposure


def _gaps(rng, kind) -> np.ndarray:
    """Bins that were not measured: detector gaps, a kinematic edge, single bins."""
    gaps = np.zeros((GRID, GRID), bool)
    if kind in ("energy-cut", "q-cut"):
        if rng.random() < 0.3:
            start, length = rng.integers(0, GRID), rng.integers(1, 8)
            part = (slice(None), slice(start, start + length))
            gaps[part if kind == "energy-cut" else part[::-1]] = True
        return gaps
    if rng.random() < 0.45:
        return gaps
    for _ in range(rng.integers(0, 4)):
        row, column = rng.integers(0, GRID, 2)
        height, breadth = rng.integers(1, 20, 2)
        gaps[row : row + height, column : column + breadth] = True
    if rng.random() < 0.5:  # Q below or above what the detectors reach, which depends on energy
        edge = rng.uniform(0, 0.3) + rng.uniform(-0.3, 0.5) * np.linspace(0, 1, GRID) ** rng.uniform(0.5, 2)
        rows = np.linspace(0, 1, GRID)[:, None]
        gaps |= (rows < edge) if rng.random() < 0.5 else (rows > 1 - edge)
    if rng.random() < 0.4:
        gaps |= rng.random((GRID, GRID)) < rng.uniform(0, 0.15)
    return gaps
