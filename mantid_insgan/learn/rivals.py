"""Simulations of rival models for a classifier: draws of their parameters through the resolution, and experiments."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..convolve.detectors import Detectors
from ..convolve.experiment import ExperimentSettings, background, draw_counted, draw_seen
from ..convolve.prepared import Prepared, prepare
from ..core.slices import intensity_scale
from ..core.spectrum import Spectrum
from ..errors import InputError
from ..instruments import Resolution
from ..models.base import UnstableModelError
from ..models.definition import ModelDefinition
from ..translate.classifier_card import Rival
from ..translate.classifier_run import network_input
from .augment import WITH_BACKGROUND

#: A parameter without a limit is drawn up to this share of its start away from it.
AROUND_START = 0.3
#: Counts in the brightest bins are drawn between these, uniformly in their logarithm.
COUNTS = (20.0, 20000.0)
#: Share of experiments with the valid bins of the data; the others have drawn gaps or masks.
_OWN_BINS = 0.5
#: Attempts to draw parameters, for each draw that is wanted.
_ATTEMPTS = 10
#: Least intensity of a map as a share of that of the brightest one: the background of an empty map is counted too.
_WEAKEST = 1e-3
#: Where the run does not say it, Kelvin; of the phonons in the background.
_TEMPERATURE = 10.0


@dataclass(frozen=True, eq=False)
class Simulated:
    """Simulations of one rival: what its card says, and signals of shape (draws, momentum bins, energies)."""

    rival: Rival
    signals: np.ndarray


def ranges_of(definition: ModelDefinition) -> dict[str, tuple[float, float]]:
    """From where to where each free parameter is drawn: its limits, or `AROUND_START` where there is none.

    Raises
    ------
    InputError
        If a parameter starts at 0 and has no limits.
    """
    found = {}
    for name in definition.free:
        p = definition.parameters[name]
        around = AROUND_START * abs(p.value)
        low, high = (
            limit if math.isfinite(limit) else p.value + side * around for limit, side in ((p.low, -1), (p.high, 1))
        )
        if not low < high:
            raise InputError(
                f"the parameter {name} of the model {definition.name!r} starts at {p.value:g} and has no limits, so "
                "that no range follows",
                "give it a min and a max in the file of the model, or fix it (vary: false)",
            )
        found[name] = (low, high)
    return found


class Laboratory:
    """One grid with its resolution: simulates models on it and makes experiments of them.

    Parameters
    ----------
    like : Spectrum
        Its axes, valid bins and temperature are taken.
    resolution : Resolution
    widest : float
        Largest factor on the widths of the resolution.
    """

    def __init__(self, like: Spectrum, resolution: Resolution, widest: float = 1.25):
        bare = like.replace(
            signal=np.zeros(like.shape), variance=np.zeros(like.shape), valid=None, masked=None, num_events=None
        )
        self._prepared: Prepared = prepare(bare, resolution, widest=widest)
        self._bins = self._prepared.bins
        self._detectors = Detectors(self._bins)
        #: The facts of the run.
        self.run = like.run
        self._measured = self._bins.to_columns(like.valid)
        self._temperature = like.run.value("temperature") or _TEMPERATURE
        self._grid = (*self._bins.shape, len(self._bins.energy))
        #: Bins along each open axis.
        self.shape = tuple(n for n in like.shape if n > 1)

    def simulate(
        self, definition: ModelDefinition, draws: int, seed: Sequence[int], tell: Callable[[], None] = lambda: None
    ) -> Simulated:
        """Simulate a model at parameters drawn uniformly from `ranges_of`; draws that are unstable or have no intensity
        on the grid are counted and drawn again.

        Parameters
        ----------
        definition : ModelDefinition
        draws : int
        seed : sequence of int
        tell : callable
            Called after each draw.

        Raises
        ------
        InputError
            If fewer than one in `_ATTEMPTS` draws is stable and has a mode on the grid.
        """
        rival, (signals,) = simulate_together([self], definition, draws, seed, tell)
        return Simulated(rival, signals)

    def signal(self, model, values: dict[str, float]) -> np.ndarray:
        """The signal of a model that was built with values of its parameters, (momentum bins, energies)."""
        seen_with = {"fwhm": values.get("line"), "width_factor": values.get("width_factor", 1.0)}
        return np.nan_to_num(self._bins.to_columns(self._prepared.signal(model, **seen_with)))

    def sees(self, signal: np.ndarray) -> bool:
        """Whether a signal has any intensity where a neutron can get to."""
        return bool(signal[self._detectors.reachable].any())

    def experiment(
        self,
        rng: np.random.Generator,
        signal: np.ndarray,
        *,
        other: bool = False,
        counts: float | None = None,
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """One experiment with a simulated signal, shape (momentum bins, energies).

        Background, gaps and counts are drawn anew from the state of `rng`.

        Parameters
        ----------
        rng : numpy.random.Generator
        signal : ndarray
        other : bool
            Make of the signal one that is of no model, see `without_model`.
        counts : float, optional
            Expected in the brightest bins; drawn between `COUNTS` if not given.

        Returns
        -------
        signal, valid : ndarray of `shape`, float32
            As the network sees them.
        counts : float
            Expected in the brightest bins.
        """
        detectors, known = self._detectors, self._detectors.reachable
        mean = magnet = np.where(known, signal, 0.0) / intensity_scale(signal, known)
        settings = ExperimentSettings.draw(rng, temperature=self._temperature)
        if other:
            mean = without_model(rng, magnet, known)
        if rng.random() < WITH_BACKGROUND:
            mean = mean + background(detectors, settings, 1.0, known)[1]
        valid = known & self._seen(rng, settings)
        if valid.sum() < 0.2 * known.sum() or (magnet[valid] ** 2).sum() < 0.3 * (magnet**2).sum():
            valid = known & self._measured if (known & self._measured).any() else known
        counts = drawn_counts(rng) if counts is None else counts
        on_grid = (x.reshape(self._grid) for x in (np.where(valid, mean, 0.0), magnet))
        counted = draw_counted(rng, detectors, *on_grid, counts)[0]
        inputs = (x.reshape(known.shape) for x in network_input(counted, valid.reshape(self._grid)))
        return *(self._bins.from_columns(x).reshape(self.shape) for x in inputs), float(counts)

    def _seen(self, rng: np.random.Generator, settings: ExperimentSettings) -> np.ndarray:
        if rng.random() < _OWN_BINS:
            return self._measured
        return draw_seen(rng, self._detectors, settings, self._grid).reshape(self._measured.shape)


def drawn_counts(rng: np.random.Generator) -> float:
    """Counts in the brightest bins of an experiment."""
    return 10 ** rng.uniform(*np.log10(COUNTS))


def simulate_together(
    laboratories: Sequence[Laboratory],
    definition: ModelDefinition,
    draws: int,
    seed: Sequence[int],
    tell: Callable[[], None] = lambda: None,
) -> tuple[Rival, list[np.ndarray]]:
    """As `Laboratory.simulate`, on several grids with the same draws of the parameters: signals by grid, each of shape
    (draws, momentum bins, energies). A draw counts if it has intensity on one of the grids."""
    rng, ranges = np.random.default_rng(seed), ranges_of(definition)
    found, unstable, unseen, most = [], 0, 0, _ATTEMPTS * draws
    for _ in range(most):
        drawn = {name: rng.uniform(*limits) for name, limits in ranges.items()}
        values = definition.values(drawn)
        try:
            model = definition.build(drawn)
            signals = [laboratory.signal(model, values) for laboratory in laboratories]
        except UnstableModelError:
            unstable += 1
            continue
        if not any(one.sees(signal) for one, signal in zip(laboratories, signals, strict=True)):
            unseen += 1
            continue
        found.append(signals)
        tell()
        if len(found) == draws:
            about = {"name": definition.name, "source": definition.source, "ranges": ranges}
            rival = Rival(**about, draws=draws, unstable=unstable, unseen=unseen)
            return rival, [np.array(signals, np.float32) for signals in zip(*found, strict=True)]
    raise InputError(
        f"of {most} draws of the parameters of {definition.name!r} {unstable} are unstable and "
        f"{unseen} have no intensity on the grid; {draws} others are needed",
        "give its parameters narrower limits, or choose another grid",
    )


def same_exposure(
    rng: np.random.Generator, laboratories: Sequence[Laboratory], signals: Sequence[np.ndarray]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Signals and valid bins of one experiment with several maps, all measured equally long: `COUNTS` are those of the
    brightest map, and the others have as many fewer as they are weaker."""
    bright = np.array([np.percentile(signal, 99.7) for signal in signals])
    share = np.maximum(bright / max(bright.max(), 1e-300), _WEAKEST)
    counts = drawn_counts(rng) * share
    made = [one.experiment(rng, s, counts=c) for one, s, c in zip(laboratories, signals, counts, strict=True)]
    return [m[0] for m in made], [m[1] for m in made]


def without_model(rng: np.random.Generator, magnet: np.ndarray, known: np.ndarray) -> np.ndarray:
    """A signal that is of no model: flat, the bins of a magnet in random order, or its columns moved along energy.

    Parameters
    ----------
    rng : numpy.random.Generator
    magnet : ndarray, shape (momentum bins, energies)
    known : ndarray of bool
        Bins that a neutron can reach.
    """
    columns, energies = magnet.shape
    kind = rng.integers(3 if min(columns, energies) > 3 else 2)  # a cut that is only moved may be of the model
    if kind == 0:
        return np.where(known, 10 ** rng.uniform(-1, 0.3), 0.0)
    if kind == 1:
        made = magnet.copy()
        made[known] = rng.permutation(magnet[known])
        return made
    wave = np.sin(2 * np.pi * (rng.uniform(0.5, 2) * np.linspace(0, 1, columns) + rng.random()))
    moved = np.rint(rng.uniform(0.15, 0.4) * energies * wave).astype(int)
    rolled = np.stack([np.roll(row, by) for row, by in zip(magnet, moved, strict=True)])
    return np.where(known, rolled, 0.0)


@dataclass(frozen=True, eq=False)
class Examples:
    """Experiments with the number of their rival: signal and valid (N, 1, *grid), labels and counts (N,)."""

    signal: np.ndarray
    valid: np.ndarray
    label: np.ndarray
    counts: np.ndarray


def examples(
    laboratory: Laboratory,
    parts: Sequence[np.ndarray],
    seed: Sequence[int],
    repeats: int = 1,
    others: int = 0,
) -> Examples:
    """Experiments with every signal of each rival, `repeats` times.

    Parameters
    ----------
    laboratory : Laboratory
    parts : sequence of ndarray, shape (draws, momentum bins, energies)
        Signals by rival.
    seed : sequence of int
    repeats : int
    others : int
        Number of spectra of no model to add; their label follows the last rival's.
    """
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(parts)), [repeats * len(signals) for signals in parts])
    made = [laboratory.experiment(rng, signal) for signals in parts for signal in signals for _ in range(repeats)]
    for _ in range(others):
        signals = parts[rng.integers(len(parts))]
        made.append(laboratory.experiment(rng, signals[rng.integers(len(signals))], other=True))
    signal, valid, counts = (np.stack(x) for x in zip(*made, strict=True))
    labels = np.concatenate([labels, np.full(others, len(parts))])
    return Examples(signal[:, None], valid[:, None], labels, counts)
