"""What all parts of ``trust.py`` share: the bundled models, the held-out pairs, and truths that are made on a cut."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from mantid_insgan.core.kernels import RADIUS
from mantid_insgan.learn.augment import AS_MADE, with_noise
from mantid_insgan.learn.calibration import Judged, judged, statistics_of
from mantid_insgan.learn.evaluate import CHUNK, ITERATIONS, batches, lucy_exact, scores
from mantid_insgan.learn.examples import stack
from mantid_insgan.learn.libraries import PairLibrary, Part
from mantid_insgan.learn.operator import ResolutionOperator
from mantid_insgan.learn.warm_start import generator_of
from mantid_insgan.translate.cards import bundled_models
from mantid_insgan.translate.trust import deviations

SEED = 7001
#: Counts by dimensions; a slice takes an eighth of a second for each, a volume more than one.
COUNTS = {1: (30.0, 100.0, 300.0, 3000.0), 2: (30.0, 100.0, 300.0, 3000.0), 3: (30.0, 300.0, 3000.0)}
#: Most pairs of a split, by dimensions.
MOST = {1: 96, 2: 96, 3: 16}
#: Splits that are scored, and the one on which criteria are tried first.
HELD_OUT = {"test-family": "held-out families", "test-setting": "held-out settings"}
VALIDATION = {"validation": "validation split"}
SPLITS = HELD_OUT | VALIDATION
#: A peak or branch is invented where a result is that many standard errors and that share of the highest value above
#: its surroundings, or the truth; it is lost where the result has less than a share of it.
SIGNIFICANT, HIGH, MISSING = 3.0, 0.15, 0.3
#: The finer side of pairs where resolution is removed: that of the stated target.
TARGET = AS_MADE["remove-resolution"]


class Case:
    """A bundled model and the pairs that it is scored on."""

    def __init__(self, direction: str, libraries: dict[str, Part]):
        self.direction, self.libraries = direction, libraries
        self.dimensions = next(iter(libraries.values())).dimensions
        self.counts = COUNTS[self.dimensions]
        models = {(m.card.translation, m.card.dimensions): m for m in bundled_models()}
        self.model = models[direction, self.dimensions]
        self.card, self.generator = self.model.card, generator_of(self.model).eval()
        self._known: dict = {}

    @property
    def name(self) -> str:
        """As tables call it."""
        tried = ", validation" if self.libraries.keys() & VALIDATION.keys() else ""
        return f"{self.direction}, {self.dimensions}D{tried}"

    def batches(self, split: str, counts: float) -> list:
        """The pairs of a split with noise, as the model is told of them."""
        return batches(self.libraries[split], self.direction, counts, SEED, finer=AS_MADE[self.direction])

    def seen(self, split: str, counts: float) -> list[Judged]:
        """What the model makes of a split."""
        if (split, counts) not in self._known:
            self._known[split, counts] = judged(self.generator, self.libraries[split], SEED, (counts,))
        return self._known[split, counts]

    @torch.no_grad()
    def made_of(self, batch) -> list[Judged]:
        """What the model makes of other data."""
        translated, log_variance, features = self.generator(*batch.inputs())
        again = self.generator.explained(batch.signal, translated, batch.valid, *batch.conditions())
        spread = torch.exp(0.5 * log_variance)
        grids = (batch.signal, batch.valid > 0, batch.error, batch.target, translated, spread, again)
        return [Judged(*member) for member in zip(*(x[:, 0].numpy() for x in grids), features.numpy(), strict=True)]

    def numbers(self, spectra: list[Judged]) -> np.ndarray:
        """Statistics of spectra, shape (N, 10)."""
        return np.array([statistics_of(s, self.card, self.card.reconvolution) for s in spectra])

    def error(self, seen: Judged) -> np.ndarray:
        """Standard error that the result has, shape (*grid): half of the 68 % interval."""
        _, low, high, _ = deviations(self.card.intervals, seen.found, seen.spread)
        return 0.5 * (high - low)

    def lucy(self, made: list) -> np.ndarray:
        """Richardson-Lucy of batches with the number of iterations that is the best for the truth of the first two,
        shape (N, *grid)."""
        chosen = ITERATIONS[self.dimensions]
        best = min(chosen, key=lambda n: float(np.median(scores(made[:2], lambda b: lucy_exact(b, n)))))
        with torch.no_grad():
            return np.concatenate([lucy_exact(b, best)[:, 0].numpy() for b in made])


def libraries_of(folders: list[Path], splits=HELD_OUT) -> dict[int, dict[str, Part]]:
    """Pairs of some splits by dimensions and split: of each split those of the first folder that has any."""
    found: dict[int, dict[str, Part]] = {}
    for folder in folders:
        whole = PairLibrary(folder)
        there = set(whole.facts("split"))
        for split in filter(there.__contains__, splits):
            some = PairLibrary(folder, split)
            index = np.arange(min(MOST[whole.dimensions], len(some)))
            found.setdefault(whole.dimensions, {}).setdefault(split, Part(some, index))
    return found


def pair_of(part: Part, number: int):
    """Pair number `number` of a part."""
    return part.library.pair(part.index[number])


def through(around: np.ndarray, conditions: np.ndarray) -> np.ndarray:
    """An image convolved with a resolution on a cut, shape (*grid).

    Parameters
    ----------
    around : ndarray, shape (*grid + 2 RADIUS)
        The image, `RADIUS` bins beyond the cut on every side included; see `mirrored`.
    conditions : ndarray, shape (D + D (D - 1) / 2, *grid)
        Widths in bins and correlations; beyond the cut they are those at its edge.
    """
    axes = around.ndim
    wide = np.pad(conditions, [(0, 0), *[(RADIUS, RADIUS)] * axes], mode="edge")
    told = torch.tensor(wide, dtype=torch.float32)[None]
    image = torch.tensor(around, dtype=torch.float32)[None, None]
    with torch.no_grad():
        found = ResolutionOperator(told[:, :axes], told[:, axes:]).convolve(image)[0, 0].numpy()
    return found[(slice(RADIUS, -RADIUS),) * axes]


def mirrored(image: np.ndarray) -> np.ndarray:
    """An image with its mirror images beyond each edge: a cut does not say what lies there."""
    return np.pad(image, RADIUS, mode="symmetric")


def recorded(pair) -> np.ndarray:
    """Conditions of the resolution that a pair was recorded with, as `through` takes them."""
    return np.concatenate([pair.width, pair.correlation])


def ideal_of(pair) -> np.ndarray:
    """The cut without resolution, 0 where it is not known."""
    return np.where(pair.known, pair.ideal, 0.0).astype(float)


def with_sides(pair, target: np.ndarray, convolved: np.ndarray):
    """The pair with other spectra on the side of the target and on the recorded one; NaN stays."""
    finer = pair.finer.copy()
    finer[TARGET - 1] = np.where(pair.known, target, np.nan)
    return replace(pair, finer=finer, convolved=np.where(pair.known, convolved, np.nan).astype(np.float32))


def unit_of(valid: np.ndarray, target: np.ndarray, side: np.ndarray) -> float:
    """What 1 in the units of an example, whose valid bins and target are given, is in those of its pair, whose side of
    the target is given too; all (*grid)."""
    return float(np.abs(side[valid > 0]).sum() / np.abs(target[valid > 0]).sum())


def as_batches(case: Case, pairs: list, counts: float) -> Iterator[tuple[object, list[float]]]:
    """Batches of pairs with noise, and what 1 in the units of each spectrum is in those of its pair."""
    rng, size = np.random.default_rng([SEED, int(counts)]), CHUNK[case.dimensions]
    noise = {"exact_share": 0.0, "peak_counts": counts, "varied": False}
    for start in range(0, len(pairs), size):
        some = pairs[start : start + size]
        examples = [with_noise(pair, case.direction, rng, **noise) for pair in some]
        sides = (np.where(pair.known, pair.finer[TARGET - 1], 0.0) for pair in some)
        yield stack(examples), [unit_of(e.valid, e.target, s) for e, s in zip(examples, sides, strict=True)]
