"""Training without pairs: simulations on one side, experiments on the other, translated in both directions at once.

Patchwise contrastive learning in two directions (CUT: Park et al., ECCV 2020; DCLGAN: Han et al., CVPRW 2021), with
what is known put in: the generators begin as the calculated resolution, the discriminators are given the
conditions of each measurement, and translations are shown to them with the counting noise of a measurement. The errors
are trained on what is known without pairs (see `UnpairedTrainer`); only pairs can tell how far a translation is from
the truth.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from . import losses
from .examples import Batch, stack
from .generator import Generator
from .judges import FeatureSampler, PatchDiscriminator
from .operator import root_mean_square
from .trainer import Schedule, Trainer, warn

ADD, REMOVE = "add-resolution", "remove-resolution"


@dataclass(frozen=True)
class UnpairedRecipe:
    """An unpaired training: sizes and the weights of the terms, in the papers' symbols.

    Parameters
    ----------
    adversarial : float
        lambda_GAN.
    contrastive : float
        lambda_NCE, of both directions.
    flux : float
        On |sum G(x) - sum x| / sum |x| without the background, and the same for F(y): the resolution moves intensity
        and makes none. Nothing else fixes the scale of one side relative to the other.
    cycle : float
        On |add(remove(y)) - y| / |y|, the re-convolution of a measured spectrum y compared with it.
    baseline : float
        On the term that fits the background, a function of energy and |Q| alone, to the intensity below the peaks of
        experiments.
    asymmetry : float
        Weight of points above the background, p of `losses.baseline`: the smaller, the less of a peak is fitted.
    likelihood : float
        On the likelihood of both generators' errors; it trains the errors only, as with pairs.
    patches : int
        Places at each level of the features.
    simulation : {'ideal', 'convolved'}
        Whether simulations carry the calculated resolution already.
    background : bool
        Give the generators a background that is a function of energy and |Q| alone.
    judges_rate : float
        Factor on the learning rate for the discriminators.
    noise : bool
        Add counting noise to translations before their discriminator sees them; False is for comparison.
    """

    dimensions: int = 2
    channels: int = 16
    physics: bool = True
    adversarial: float = 1.0
    contrastive: float = 0.02
    cycle: float = 0.5
    flux: float = 1.0
    baseline: float = 10.0
    asymmetry: float = 0.02
    likelihood: float = 0.05
    patches: int = 128
    temperature: float = 0.07
    simulation: str = "ideal"
    background: bool = True
    noise: bool = True
    judges_rate: float = 2.0


class UnpairedTrainer(Trainer):
    """Both generators, two discriminators and two feature samplers.

    Parameters
    ----------
    recipe : UnpairedRecipe
    schedule : Schedule
    simulations, experiments : SpectraLibrary or PairLibrary-like
        Give examples for an index; their lengths may differ.
    start : dict of Generator, optional
        Generators whose weights to start from, by direction.

    Notes
    -----
    What the errors learn from, each spectrum in units of its own size:

    *remove*: a translated simulation with the counting noise and errors of a measurement, whose answer is known: the
    simulation. That is the error of counting and deconvolution, as far as what *add* makes is what is measured.
    *add*: a measurement whose noise is split in two. With independent z ~ N(0, error^2) both y + z and y - z are
    measurements of variance 2 error^2, and their noises are independent (Pang et al., CVPR 2021, "Recorrupted";
    exact for normal noise). What is removed from the first and added again is compared with the second: the difference
    is the error of *add* and that noise, none of which the answer can have followed. The two generators may agree with
    each other and both be wrong, which this does not see; what comes through of the noise in the
    first half makes it larger.
    """

    def __init__(self, recipe, schedule: Schedule, simulations, experiments, folder, machine=None, start=None):
        torch.manual_seed(schedule.seed)
        d, c = recipe.dimensions, recipe.channels
        networks = {
            ADD: Generator(ADD, d, c, recipe.physics, recipe.simulation, recipe.background),
            REMOVE: Generator(REMOVE, d, c, recipe.physics, recipe.simulation, recipe.background),
            "judge of experiments": PatchDiscriminator(d),
            "judge of simulations": PatchDiscriminator(d),
            "features of experiments": FeatureSampler(d),
            "features of simulations": FeatureSampler(d),
        }
        for direction, generator in (start or {}).items():
            networks[direction].begin_as(generator)
        optimisers = {
            "generators": ([ADD, REMOVE, "features of experiments", "features of simulations"], 0.5),
            "judges": (["judge of experiments", "judge of simulations"], recipe.judges_rate),
        }
        self.simulations, self.experiments = simulations, experiments
        super().__init__(networks, optimisers, [ADD, REMOVE], recipe, schedule, folder, machine)

    def _train_step(self, rng) -> dict[str, float]:
        x = self._drawn(self.simulations, rng)
        y = self._drawn(self.experiments, rng)
        translated = self.networks[ADD](*x.inputs())[0]  # as the experiment would show x, without its noise
        cleaned = self.networks[REMOVE](*y.inputs())[0]
        seen, seen_valid = as_measured(translated, x.valid, y) if self.recipe.noise else (translated, x.valid)
        judged = {
            "experiments": ((y.signal, y.valid, *y.conditions()), (seen, seen_valid, *x.conditions())),
            "simulations": ((x.signal, x.valid, *x.conditions()), (cleaned, y.valid, *y.conditions())),
        }
        terms = self._judge_terms(judged)
        self._move("judges", sum(terms.values()))
        more = self._generator_terms(judged, x, y, translated, cleaned)
        self._move("generators", sum(self._weight(k) * v for k, v in more.items()))
        return {k: float(v.detach()) for k, v in (terms | more).items()}

    def _drawn(self, library, rng) -> Batch:
        index = rng.integers(0, len(library), self.share)
        return stack(library.examples(index, ADD, rng)).to(self.fabric.device)

    def _judge_terms(self, judged) -> dict[str, torch.Tensor]:
        """Losses of the discriminators: measured against translated, and simulated against cleaned."""
        terms = {}
        for side, (real, made) in judged.items():
            judge = self.networks[f"judge of {side}"]
            scores = judge(*real), judge(made[0].detach(), *made[1:])
            terms[f"judge of {side}"] = losses.adversarial_discriminator(*scores)
        return terms

    def _generator_terms(self, judged, x: Batch, y: Batch, translated, cleaned) -> dict[str, torch.Tensor]:
        terms = {}
        for side, (_, made) in judged.items():
            score = self.networks[f"judge of {side}"](*made)
            terms[f"adversarial, {side}"] = losses.adversarial_generator(score)
        if self.recipe.contrastive:
            terms["contrastive"] = self._contrastive(x, y, translated, cleaned)
        if self.recipe.cycle:
            again = self.networks[ADD](cleaned, y.valid, y.error, *y.conditions())[0]
            terms["cycle"] = losses.relative_l1(again, y.signal, y.valid).mean()
        if self.recipe.flux:
            terms["flux"] = self._flux(ADD, translated, x) + self._flux(REMOVE, cleaned, y)
        if self.recipe.background and self.recipe.baseline:
            terms["baseline"] = self._baseline(y)
        if self.recipe.likelihood:
            terms["likelihood"] = self._likelihood(x, y, translated)
        return terms

    def _likelihood(self, x: Batch, y: Batch, translated) -> torch.Tensor:
        """Likelihood of both generators' errors, from half of the batch, because it takes more passes through them."""
        half = slice(0, (len(x.signal) + 1) // 2)
        x, y = x.part(half), y.part(half)
        return self._likelihood_of(REMOVE, counted(x, translated[half], y)) + self._likelihood_of(
            ADD, *self._added_again(y)
        )

    def _likelihood_of(self, direction: str, given: Batch, known=None) -> torch.Tensor:
        signal, log_variance, _ = self.networks[direction](*given.inputs())
        return losses.likelihood(signal, log_variance, given.target, given.valid, known).mean()

    @torch.no_grad()
    def _added_again(self, y: Batch) -> tuple[Batch, torch.Tensor]:
        """The cleaned first noise realisation as a simulation, with the second realisation as target, and the variance
        of the latter."""
        more = torch.randn_like(y.signal) * y.error
        one = in_own_size(replace(y, signal=y.signal + more, error=2**0.5 * y.error, target=y.signal - more))
        cleaned = self.networks[REMOVE](*one.inputs())[0]
        # A simulation has no error, as a rule; the target's error is carried along to be in its unit.
        found = in_own_size(replace(one, signal=cleaned))
        return replace(found, error=torch.zeros_like(found.error)), found.error**2

    def _baseline(self, y: Batch) -> torch.Tensor:
        """The background taken from experiments lies below their peaks, and the one added to simulations equals it."""
        add, remove = self.networks[ADD].module, self.networks[REMOVE].module
        signal = y.signal * y.valid
        level = remove.level(signal, y.valid, y.position)
        smooth = remove.local_mean(signal) / remove.local_mean(y.valid).clamp(min=0.02)
        below = losses.baseline(level, smooth, y.valid, self.recipe.asymmetry)
        # In units of the peaks' own size, as a simulation has it: without the background and the counting noise.
        taken = level.detach()
        bins = y.valid.flatten(1).sum(1).clamp(min=1.0)
        square = (((signal - taken) ** 2 - y.error**2) * y.valid).flatten(1).sum(1) / bins
        size = square.clamp(min=1e-4).sqrt().view(-1, *[1] * (signal.ndim - 1))
        same = losses.relative_l1(size * add.background(y.position), taken, y.valid)
        return (below + 0.1 * same).mean()

    def _flux(self, direction: str, found: torch.Tensor, given: Batch) -> torch.Tensor:
        with torch.no_grad():
            level = self.networks[direction].module.level(given.signal * given.valid, given.valid, given.position)
        with_background = level if direction == ADD else -level
        return losses.flux(found - with_background, given.signal, given.valid).mean()

    def _contrastive(self, x: Batch, y: Batch, translated, cleaned) -> torch.Tensor:
        """PatchNCE of both directions (Han et al., CVPRW 2021, eqs. 3 and 4)."""
        simulated, measured = self.networks["features of simulations"], self.networks["features of experiments"]
        places = FeatureSampler.draw_places(x.signal.shape[2:], self.recipe.patches, torch.default_generator)
        tau = self.recipe.temperature
        forth = losses.patch_nce(measured(translated, x.valid, places), simulated(x.signal, x.valid, places), tau)
        back = losses.patch_nce(simulated(cleaned, y.valid, places), measured(y.signal, y.valid, places), tau)
        return 0.5 * (forth + back)

    def _weight(self, term: str) -> float:
        return getattr(self.recipe, term.split(",")[0])

    def _watch(self) -> None:
        recent = self.history[-200:]
        for side in ("experiments", "simulations"):
            mean = sum(h[f"judge of {side}"] for h in recent) / len(recent)
            if mean < 0.02:
                warn(
                    f"step {self.step}: the discriminator of {side} is almost always right (loss {mean:.3f} over 200 "
                    "steps; 0.25 is a draw), so the generator learns little from it: are the two sets in the same "
                    "units, frames and range of energies?"
                )


def as_measured(translated: torch.Tensor, valid: torch.Tensor, experiment: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """A translation as the detectors of `experiment` would have counted it: Poisson noise at its counts, its gaps.

    The noise is known physics: a generator that had to imitate it could not be free of it. The gradient passes as if
    there were none.

    Parameters
    ----------
    translated, valid : Tensor, (N, 1, *grid)
    experiment : Batch
        Member n lends its counts for a unit of intensity, sum(signal) / sum(error^2), and its gaps to member n. As the
        scales of the two sides are free, the unit is each spectrum's root mean square.
    """
    noise, _ = _counting(translated, valid, experiment)
    return translated + noise, valid * experiment.valid


def counted(simulation: Batch, translated: torch.Tensor, experiment: Batch) -> Batch:
    """A pair with a known answer, in units of its input's size: a translated simulation `as_measured`, with its errors,
    and the simulation as target."""
    noise, error = _counting(translated, simulation.valid, experiment)
    seen = replace(
        simulation,
        signal=translated.detach() + noise,
        valid=simulation.valid * experiment.valid,
        error=error,
        target=simulation.signal,
    )
    return in_own_size(seen)


def _counting(translated, valid, experiment: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Counting noise of a translation at the counts of `experiment`, and the errors that a reduction would state."""
    over = tuple(range(1, translated.ndim))
    variance = (experiment.error**2 * experiment.valid).sum(over, keepdim=True)
    total = (experiment.signal * experiment.valid).sum(over, keepdim=True).clamp(min=0.0)
    counts = total / variance.clamp(min=1e-12)  # detected neutrons in one unit of intensity
    mean = translated.detach().clamp(min=0.0)
    counts = counts * root_mean_square(experiment.signal, experiment.valid) / root_mean_square(mean, valid)
    detected = torch.poisson(mean * counts)
    noise = detected / counts.clamp(min=1e-12) - mean
    error = detected.clamp(min=1.0).sqrt() / counts.clamp(min=1e-12)
    nothing = torch.zeros_like(noise)
    return torch.where(counts > 0, noise, nothing), torch.where(counts > 0, error, nothing)


def in_own_size(batch: Batch) -> Batch:
    """The batch with signal, error and target in units of the root mean square of each signal, as users' data are."""
    size = root_mean_square(batch.signal, batch.valid)
    scaled = {name: getattr(batch, name) * batch.valid / size for name in ("signal", "error", "target")}
    return replace(batch, **scaled)
