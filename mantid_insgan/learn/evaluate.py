"""Score a generator and simpler methods on pairs that it was not trained on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from ..core.constants import FWHM_PER_SIGMA
from ..core.kernels import RADIUS
from ..translate.cards import Table
from ..translate.translator import kept_intensity
from . import losses
from .augment import AS_MADE
from .examples import Batch, stack
from .generator import Generator, brought_to
from .libraries import PairLibrary, Part
from .operator import ResolutionOperator, convolved, richardson_lucy

#: Iterations among which the Richardson-Lucy baselines choose, on validation pairs, by dimensions.
ITERATIONS = {1: (3, 10, 30, 100), 2: (3, 10, 30), 3: (3, 10, 30)}
#: Factors on the mean FWHM among which the one Gaussian chooses.
FACTORS = (0.25, 0.5, 0.75, 1.0, 1.25)
#: Pairs in one batch, by dimensions.
CHUNK = {1: 64, 2: 16, 3: 1}
#: Validation pairs on which the baselines are tuned, by dimensions: a volume takes seconds.
TUNING = {1: 48, 2: 24, 3: 16}

#: The method that uses the width in energy only; cuts integrated over energy have no such axis.
ENERGY_KERNEL = "FWHM(E) kernel, where energy is an axis"
#: Fewest spectra that are split into those that calibrate the errors and those that score them, or of which some are
#: held out for the domain of application.
FEWEST_TO_PART = 8

#: Principal directions of the features that describe the domain of application.
DIRECTIONS_KNOWN = 24

Method = Callable[[Batch], torch.Tensor]


def batches(library: PairLibrary, direction: str, counts, seed: int, index=None, finer: int | None = None):
    """Pairs as they were made, at some peak counts (None: no noise), with the gaps of their experiments: a list of
    `Batch`. `finer` is the number of the finer side, see `with_noise`."""
    rng = np.random.default_rng([seed, int(counts or 0)])
    index = range(len(library)) if index is None else index
    noise = {"exact_share": 1.0 if counts is None else 0.0, "peak_counts": counts, "varied": False, "finer": finer}
    size = CHUNK[library.dimensions]
    return [stack(library.examples(index[i : i + size], direction, rng, **noise)) for i in range(0, len(index), size)]


def of_generator(generator: Generator) -> Method:
    """A generator as users apply it: when adding, the total is kept as the translator keeps it."""

    def apply(batch: Batch) -> torch.Tensor:
        signal = generator(*batch.inputs())[0]
        if not generator.adds or generator.background is not None:
            return signal
        valid = batch.valid.numpy() > 0
        members = zip(signal.numpy(), covariance_kernel(batch).numpy(), valid, strict=True)
        factors = [kept_intensity(found[v], exact[v]) for found, exact, v in members]
        return signal * torch.tensor(factors, dtype=signal.dtype).view(-1, *[1] * (signal.ndim - 1))

    return apply


def identity(batch: Batch) -> torch.Tensor:
    """The input as it is."""
    return batch.signal


def _mean_width(batch: Batch) -> torch.Tensor:
    axes = tuple(range(2, batch.width.ndim))
    return batch.width.mean(axes, keepdim=True).expand_as(batch.width)


def one_gaussian(batch: Batch, factor: float) -> torch.Tensor:
    """The mean FWHM of each pair times a factor, the same in every bin."""
    return convolved(ResolutionOperator(_mean_width(batch) * factor), batch.signal, batch.valid)


def energy_kernel(batch: Batch) -> torch.Tensor:
    """FWHM(E) along the last axis alone, which has to be the energy; see `is_scored`."""
    width = torch.zeros_like(batch.width)
    width[:, -1] = batch.width[:, -1]
    return convolved(ResolutionOperator(width), batch.signal, batch.valid)


def widths_kernel(batch: Batch) -> torch.Tensor:
    """The FWHM along each axis at each bin, without the correlation between axes."""
    return convolved(ResolutionOperator(batch.width), batch.signal, batch.valid)


def covariance_kernel(batch: Batch) -> torch.Tensor:
    """The full covariance on the cut at each bin, less that of the finer side."""
    return convolved(_between(batch), batch.signal, batch.valid)


def _finer(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Width and correlation of the finer side."""
    axes = batch.width.shape[1]
    return batch.finer[:, :axes], batch.finer[:, axes:]


def _between(batch: Batch) -> ResolutionOperator:
    return ResolutionOperator(batch.width, batch.correlation, _finer(batch))


def _at_target(batch: Batch, found: torch.Tensor) -> torch.Tensor:
    """What was found without resolution, with that of the target."""
    return brought_to(batch.finer, batch.width.shape[1], None, [found])[0] if batch.finer.any() else found


def lucy_exact(batch: Batch, iterations: int) -> torch.Tensor:
    """Richardson-Lucy with the full covariance on the cut at each bin, and the gaps; brought to the target."""
    operator = ResolutionOperator(batch.width, batch.correlation)
    return _at_target(batch, richardson_lucy(operator, batch.signal, batch.valid, (iterations,))[0])


def lucy_between(batch: Batch, iterations: int) -> torch.Tensor:
    """Richardson-Lucy with only the kernel between target and resolution, and the gaps."""
    return richardson_lucy(_between(batch), batch.signal, batch.valid, (iterations,))[0]


def lucy_with_surroundings(batch: Batch, iterations: int) -> torch.Tensor:
    """`lucy_exact` on a grid that reaches beyond the cut on every side as far as kernels do: nothing was measured
    there, and what it finds there is left out of the answer."""
    axes = batch.width.shape[1]
    wide = [RADIUS] * (2 * axes)
    conditions = nn.functional.pad(torch.cat([batch.width, batch.correlation], dim=1), wide, mode="replicate")
    operator = ResolutionOperator(conditions[:, :axes], conditions[:, axes:])
    signal, valid = (nn.functional.pad(x, wide) for x in (batch.signal, batch.valid))
    found = richardson_lucy(operator, signal, valid, (iterations,))[0]
    return _at_target(batch, found[(..., *[slice(RADIUS, -RADIUS)] * axes)])


def lucy_mean(batch: Batch, iterations: int) -> torch.Tensor:
    """scikit-image's Richardson-Lucy with the mean widths of each pair; brought to the target."""
    from skimage.restoration import richardson_lucy as lucy

    answers = []
    for signal, width in zip(
        batch.signal[:, 0].numpy(), _mean_width(batch)[:, :, *[0] * (batch.width.ndim - 2)].numpy(), strict=True
    ):
        psf = np.ones(())
        for fwhm in width:
            psf = np.multiply.outer(psf, _gaussian(fwhm))
        answers.append(lucy(np.clip(signal, 0, None) + 1e-6, psf, num_iter=iterations, clip=False))
    return _at_target(batch, torch.from_numpy(np.stack(answers).astype(np.float32))[:, None])


def _gaussian(fwhm: float) -> np.ndarray:
    bins = np.arange(-16, 17)
    row = np.exp(-0.5 * (bins / max(fwhm / FWHM_PER_SIGMA, 0.2)) ** 2)
    return row / row.sum()


@torch.no_grad()
def scores(chosen: list[Batch], method: Method) -> np.ndarray:
    """NRMSE, ||found - truth|| / ||truth|| over the valid bins, for each pair."""
    return np.concatenate([losses.nrmse(method(b), b.target, b.valid).numpy() for b in chosen])


def is_scored(method: str, library: PairLibrary) -> np.ndarray:
    """Which pairs of a library a method is scored on, bool (N,): all of them, and by `ENERGY_KERNEL` those with an
    energy axis of several bins."""
    if method != ENERGY_KERNEL:
        return np.ones(len(library), bool)
    return np.array([axes[-1]["bins"] > 1 for axes in library.facts("axes")])


class Baselines:
    """Simpler methods for one direction; their settings are tuned on validation pairs at the same counts.

    Parameters
    ----------
    direction : str
    validation : PairLibrary or Several
    seed : int
    finer : int, optional
        Number of the finer side, see `with_noise`.
    most : int, optional
        Pairs to tune on; those of `TUNING` if not given.
    """

    def __init__(
        self,
        direction: str,
        validation: PairLibrary,
        seed: int,
        finer: int | None = None,
        most: int | None = None,
    ):
        self.direction, self.validation, self.seed = direction, validation, seed
        self.finer = AS_MADE[direction] if finer is None else finer
        most = TUNING[validation.dimensions] if most is None else most
        self.chosen = np.random.default_rng(seed).permutation(len(validation))[:most]
        self._known: dict = {}

    def methods(self, counts: float | None) -> tuple[dict[str, Method], dict[str, float]]:
        """Methods by name, and the chosen value of those with a setting."""
        if counts not in self._known:
            self._known[counts] = self._tuned(counts)
        methods, settings = self._known[counts]
        return dict(methods), settings

    def _tuned(self, counts: float | None) -> tuple[dict[str, Method], dict[str, float]]:
        tuning = batches(self.validation, self.direction, counts, self.seed + 1, self.chosen, self.finer)
        found: dict[str, Method] = {"identity": identity}
        tuned: dict[str, tuple] = {"one Gaussian": (one_gaussian, FACTORS)}
        if self.direction == "add-resolution":
            if self.validation.dimensions > 1:  # of a cut of one axis both are the covariance kernel
                found |= {"FWHM along each axis": widths_kernel, ENERGY_KERNEL: energy_kernel}
            found |= {"covariance kernel on the cut": covariance_kernel}
        else:
            iterations = ITERATIONS[self.validation.dimensions]
            if self.validation.dimensions < 3:  # these take minutes for a volume
                tuned["Richardson-Lucy, mean PSF"] = (lucy_mean, iterations)
                tuned["Richardson-Lucy, exact operator, surroundings too"] = (lucy_with_surroundings, iterations)
            tuned["Richardson-Lucy, exact operator"] = (lucy_exact, iterations)
            if self.finer != 0:
                tuned["Richardson-Lucy, kernel between the two"] = (lucy_between, iterations)
        settings = {}
        for name, (method, choices) in tuned.items():
            best = min(choices, key=lambda c, m=method: float(np.median(scores(tuning, lambda b: m(b, c)))))
            settings[name] = best
            found[name] = lambda b, m=method, c=best: m(b, c)
        return found, settings


def table(title: str, library: PairLibrary, baselines: Baselines, generators: dict, peak_counts, seed: int) -> Table:
    """Median NRMSE over the pairs that a method `is_scored` on: a row for each method that is on any, a column for each
    of `peak_counts` (None: no noise)."""
    rows: dict[str, list[float]] = {}
    said: dict[str, list] = {}
    for counts in peak_counts:
        methods, settings = baselines.methods(counts)
        methods |= {name: of_generator(g) for name, g in generators.items()}
        testing = batches(library, baselines.direction, counts, seed, finer=baselines.finer)
        for name, method in methods.items():
            scored = is_scored(name, library)
            if scored.any():
                rows.setdefault(name, []).append(round(float(np.median(scores(testing, method)[scored])), 4))
        for name, setting in settings.items():
            said.setdefault(name, []).append(setting)
    grid = "x".join(map(str, library.pair(0).ideal.shape))
    conditions = (
        f"median NRMSE over {len(library)} pairs of {grid} bins with the gaps of their experiments, truth without "
        f"noise; families {', '.join(sorted(set(library.facts('family'))))}; seed {seed}"
    )
    if ENERGY_KERNEL in rows:
        conditions += f"; energy is an axis of {is_scored(ENERGY_KERNEL, library).sum()} of them"
    conditions += "".join(f"; {name}: {' '.join(f'{c:g}' for c in chosen)}" for name, chosen in said.items())
    names = ["no noise" if c is None else f"{c:g} peak counts" for c in peak_counts]
    return Table(title=title, conditions=conditions, columns=names, rows=rows)


def held_out_scores(generator: Generator, library, seed: int) -> Table:
    """Median NRMSE of a generator, the identity and physics alone on held-out spectra, used as given."""
    rng = np.random.default_rng(seed)
    size = CHUNK[generator.dimensions]
    parts = [range(i, min(i + size, len(library))) for i in range(0, len(library), size)]
    chosen = [stack(library.examples(part, generator.direction, rng)) for part in parts]
    physics: dict[str, Method] = {}  # where the simulation is convolved, the identity is all that is known
    if generator.simulation == "ideal" and generator.adds:
        physics = {"covariance kernel on the cut": covariance_kernel}
    elif generator.simulation == "ideal":
        physics = {"Richardson-Lucy, exact operator, 10 iterations": lambda b: lucy_exact(b, 10)}
    methods = {"identity": identity, **physics, "this model": of_generator(generator)}
    return Table(
        title="held-out data",
        conditions=f"median NRMSE over {len(library)} spectra; seed {seed}",
        columns=["as given"],
        rows={name: [round(float(np.median(scores(chosen, method))), 4)] for name, method in methods.items()},
    )


@torch.no_grad()
def _errors(generator: Generator, library: PairLibrary, seed: int) -> np.ndarray:
    """(found - truth) / stated standard error, over the valid bins of noisy and exact pairs."""
    rng = np.random.default_rng(seed)
    size, ratios = CHUNK[library.dimensions], []
    for start in range(0, len(library), size):
        index = range(start, min(start + size, len(library)))
        batch = stack(library.examples(index, generator.direction, rng, exact_share=0.3))
        signal, log_variance, _ = generator(*batch.inputs())
        ratio = (signal - batch.target).abs() * torch.exp(-0.5 * log_variance)
        ratios.append(ratio[batch.valid > 0].numpy())
    return np.concatenate(ratios)


def halves(library, seed: int) -> tuple[Part, Part] | None:
    """Split a library at random into two parts that share no spectrum, one to calibrate on and one to score on; None
    for fewer than `FEWEST_TO_PART` spectra."""
    spectra = np.random.default_rng(seed).permutation(np.unique(library.sources))
    if len(spectra) < FEWEST_TO_PART:
        return None
    first = np.isin(library.sources, spectra[: len(spectra) // 2])
    return Part(library, np.flatnonzero(first)), Part(library, np.flatnonzero(~first))


def calibrate(generator: Generator, library: PairLibrary, seed: int) -> float:
    """The factor on the standard errors with which 68.3 % of bins lie within one of them."""
    return float(np.quantile(_errors(generator, library, seed), 0.683))


def coverage(generator: Generator, library: PairLibrary, factor: float, seed: int) -> dict[str, list[float]]:
    """Share of valid bins whose truth lies within one and two standard errors."""
    away = _errors(generator, library, seed) / factor
    return {
        "this model": [round(float((away < n).mean()), 3) for n in (1, 2)],
        "expected": [0.683, 0.954],
    }


@torch.no_grad()
def domain_of_application(generator: Generator, training, validation, seed: int, most: int = 800) -> dict:
    """Principal directions of the features on training pairs, and the distance that 1 % of validation pairs exceed."""
    rng = np.random.default_rng(seed)
    size = CHUNK[generator.dimensions]

    def features(library, count):
        index = rng.integers(0, len(library), count)
        parts = (index[i : i + size] for i in range(0, count, size))
        return np.concatenate(
            [generator.features(*stack(library.examples(p, generator.direction, rng)).inputs()).numpy() for p in parts]
        )

    known = features(training, most)
    mean = known.mean(0)
    _, spread, directions = np.linalg.svd(known - mean, full_matrices=False)
    # Directions in which a few spectra hardly differ say little about what is unlike them.
    scale = np.maximum(spread[:DIRECTIONS_KNOWN], 0.01 * max(spread[0], 1e-6)) / np.sqrt(len(known))
    components = directions[:DIRECTIONS_KNOWN]
    unseen = (features(validation, most // 2) - mean) @ components.T / scale
    threshold = float(np.quantile(np.sqrt((unseen**2).mean(1)), 0.99))
    rounded = lambda x: np.round(x, 6).tolist()  # noqa: E731
    return {"mean": rounded(mean), "components": rounded(components), "scale": rounded(scale), "threshold": threshold}
