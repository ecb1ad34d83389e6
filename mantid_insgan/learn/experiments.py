"""Simulated experiments that differ from what is calculated: the measured side of a training without pairs, whose truth
is known.

An experiment has what an instrument model misses, drawn anew for every example: widths on the cut that are wider than
told, a tail to higher energy transfers, a background, gaps and counting noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from ..convolve.experiment import RECORDED, ExperimentSettings, background, draw_counted, draw_seen
from ..core.slices import intensity_scale
from ..translate.elastic import LEFT_OF_LINE
from .augment import checked_window, flipped, window, without_line
from .examples import Batch, Example
from .libraries import PairLibrary
from .operator import ResolutionOperator, convolved

#: Largest factor on the widths, largest share in the tail, decay lengths of the tail in bins, and peak counts.
WIDEST, LARGEST_TAIL, LENGTHS, COUNTS = 1.4, 0.15, (3.0, 10.0), (20.0, 20000.0)
#: Least share of bins and of intensity that gaps leave.
_LEAST_SEEN, _LEAST_SHOWN = 0.2, 0.3


@dataclass(frozen=True)
class Peculiarities:
    """In what a simulated experiment differs from what is calculated.

    Parameters
    ----------
    wider : float
        Widths on the cut over those told.
    tail : float
        Share of the intensity in a tail to higher energy transfers, where energy is an axis.
    length : float
        Bins over which the tail falls to 1/e.
    settings : ExperimentSettings
        Background and gaps.
    """

    wider: float
    tail: float
    length: float
    settings: ExperimentSettings

    @classmethod
    def draw(cls, rng: np.random.Generator, temperature: float) -> Peculiarities:
        """At random: a tail in two thirds of the draws, wider widths and a background (`ExperimentSettings`) in all."""
        return cls(
            wider=float(rng.uniform(1.0, WIDEST)),
            tail=float((rng.random() < 2 / 3) * rng.uniform(0.0, LARGEST_TAIL)),
            length=float(rng.uniform(*LENGTHS)),
            settings=ExperimentSettings.draw(rng, temperature=temperature),
        )


def with_tail(values: np.ndarray, share: float, length: float) -> np.ndarray:
    """Values with a share of the intensity in an exponential tail along the last axis, of `length` bins."""
    bins = values.shape[-1]
    tail = np.exp(-np.arange(bins) / length)
    spread = np.apply_along_axis(lambda row: np.convolve(row, tail / tail.sum())[:bins], -1, values)
    return (1 - share) * values + share * spread


@torch.no_grad()
def widened(pair, values: np.ndarray, factor: float) -> np.ndarray:
    """Values on the grid of a pair, which are convolved with its resolution, as if its widths on the cut were `factor`
    times those told."""
    tensor = lambda x: torch.from_numpy(np.ascontiguousarray(x)).float()[None]  # noqa: E731
    operator = ResolutionOperator(tensor(pair.width) * (factor**2 - 1) ** 0.5, tensor(pair.correlation))
    return convolved(operator, tensor(values)[None], tensor(pair.known)[None])[0, 0].double().numpy() * pair.known


class SimulatedExperiments:
    """One side of a training without pairs made of pairs: bare simulations, or experiments.

    `draws_counts` and `noise` are as those of other libraries (`PairLibrary`): simulations have no noise.

    Parameters
    ----------
    pairs : PairLibrary
    measured : bool
        Whether the members are experiments, with the bare simulation as target; otherwise the other way round, and
        the target has no noise.
    members : sequence of int, optional
        Pairs of the library that belong to this side; all if not given.
    targets : bool
        False leaves out the experiment that a simulation has as target, which takes time.
    """

    def __init__(
        self, pairs: PairLibrary, measured: bool, members: Sequence[int] | None = None, *, targets: bool = True
    ):
        self.pairs, self.measured, self.targets = pairs, measured, targets
        self.members = list(range(len(pairs)) if members is None else members)
        self.dimensions, self.draws_counts = pairs.dimensions, measured
        self.noise = "" if measured else "no noise"

    def __len__(self) -> int:
        return len(self.members)

    @property
    def sources(self) -> np.ndarray:
        """Every member is a spectrum of its own."""
        return np.arange(len(self))

    def examples(self, index, direction: str, rng, *, peak_counts=None, **_) -> list[Example]:
        """Members at `index`, turned round at random; what is drawn of an experiment is drawn anew."""
        return [flipped(rng, self._example(self.pairs.pair(self.members[i]), rng, peak_counts)) for i in index]

    def _example(self, pair, rng, peak_counts: float | None) -> Example:
        ideal, calculated = (np.where(pair.known, x, 0.0).astype(float) for x in (pair.ideal, pair.convolved))
        size = intensity_scale(calculated, pair.known)
        ideal, calculated = ideal / size, calculated / size
        valid, signal, error, target = pair.known, ideal, np.zeros_like(ideal), np.zeros_like(ideal)
        if self.measured or self.targets:
            drawn = Peculiarities.draw(rng, pair.facts["model"]["temperature"])
            magnet = widened(pair, calculated, drawn.wider)
            if drawn.tail and _has_energy(pair):
                magnet = with_tail(magnet, drawn.tail, drawn.length)
            if self.measured:
                valid, signal, error = _counted(pair, drawn.settings, magnet, rng, peak_counts)
                target = ideal
            else:  # without lines, which are kept apart when a model is applied
                target = magnet + _background(pair, replace(drawn.settings, elastic=0.0, aluminium=0.0))
        unit = intensity_scale(signal, valid)
        signal, error, target = (np.where(valid, x, 0.0) / unit for x in (signal, error, target))
        told = pair.width, pair.correlation, pair.position
        return Example(signal, valid, error, target, *told, _has_energy(pair))


def _background(pair, settings: ExperimentSettings) -> np.ndarray:
    """As recorded, (*grid), in units of the convolved spectrum's size."""
    known = pair.known.reshape(pair.detectors.shape)
    return background(pair.detectors, settings, 1.0, known, (RECORDED,))[0].reshape(pair.known.shape) * pair.known


def _counted(pair, settings: ExperimentSettings, magnet: np.ndarray, rng, peak_counts: float | None):
    """Valid bins, counts and standard errors of an experiment, (*grid) each; the elastic line is taken away, as it is
    from users' data (`translate.elastic`)."""
    mean, line = magnet + _background(pair, settings), 0.0
    valid = pair.known & draw_seen(rng, pair.detectors, settings, magnet.shape)
    if settings.elastic or settings.aluminium:
        valid, (line,) = without_line(rng, pair.detectors, settings, valid, (RECORDED,))
    if valid.mean() < _LEAST_SEEN or (magnet[valid] ** 2).sum() < _LEAST_SHOWN * (magnet**2).sum():
        valid, mean, line = pair.known, mean - line, 0.0
    counts = peak_counts or 10 ** rng.uniform(*np.log10(COUNTS))
    signal, error = draw_counted(rng, pair.detectors, np.where(valid, mean, 0.0), magnet, counts)
    return valid, signal - line * (1 + LEFT_OF_LINE * rng.standard_normal()), error


def _has_energy(pair) -> bool:
    return pair.facts["axes"][-1]["bins"] > 1


class Mixture:
    """Several libraries of one kind of spectrum as one, each member of which is drawn as often as the others.

    Parameters
    ----------
    *libraries : library
        Of the same number of dimensions.
    """

    def __init__(self, *libraries):
        self.libraries, self.dimensions = libraries, libraries[0].dimensions
        self._starts = np.cumsum([0, *map(len, libraries)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def draws_counts(self) -> bool:
        """As that of the first library."""
        return self.libraries[0].draws_counts

    def examples(self, index, direction: str, rng, **noise) -> list[Example]:
        """Members at `index` of all."""
        found = []
        for i in np.asarray(index):
            which = int(np.searchsorted(self._starts, i, side="right")) - 1
            found += self.libraries[which].examples([int(i - self._starts[which])], direction, rng, **noise)
        return found


class Windows:
    """Windows cut out of the members of a library at random places.

    Parameters
    ----------
    library : library
    size : int
        Bins along each axis; smaller members are padded with bins that are not valid.
    """

    def __init__(self, library, size: int):
        self.library, self.size, self.dimensions = library, checked_window(size), library.dimensions

    def __len__(self) -> int:
        return len(self.library)

    def examples(self, index, direction: str, rng, **noise) -> list[Example]:
        """A window of each member at `index`, in units of its own size."""
        found = self.library.examples(index, direction, rng, **noise)
        return [_in_own_size(window(rng, example, self.size)) for example in found]


def _in_own_size(example: Example) -> Example:
    unit = intensity_scale(example.signal, example.valid)
    scaled = ("signal", "error", "target")
    return example.changed(lambda name, values: values / unit if name in scaled else values)


@torch.no_grad()
def with_one_scale(method, batches: Sequence[Batch]) -> tuple[list[torch.Tensor], float]:
    """What a method makes of batches after one factor for all, which makes it nearest to the targets, and the factor.

    The units of simulations and experiments are each their own, so that a method without pairs cannot know it.
    """
    found = [method(b) for b in batches]
    top = sum(float((f * b.target * b.valid).sum()) for f, b in zip(found, batches, strict=True))
    factor = top / sum(float((f**2 * b.valid).sum()) for f, b in zip(found, batches, strict=True))
    return [factor * f for f in found], factor
