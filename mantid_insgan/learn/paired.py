"""Training with pairs: one generator, from inputs whose targets are known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from . import losses
from .feeding import ExampleStream
from .generator import Generator
from .trainer import Schedule, Trainer, warn


@dataclass(frozen=True)
class PairedRecipe:
    """A paired training: direction and size of the generator, and the weights of the terms of the loss."""

    direction: str
    dimensions: int = 2
    channels: int = 20
    physics: bool = True
    simulation: str = "ideal"
    background: bool = False
    flux_weight: float = 0.2
    likelihood_weight: float = 0.05


class PairedTrainer(Trainer):
    """One generator, from pairs of input and target.

    Parameters
    ----------
    recipe : PairedRecipe
    schedule : Schedule
    library : PairLibrary or SpectraLibrary
    start : Generator, optional
        A generator whose weights to start from.
    """

    #: Weights of the terms that the recipe does not set.
    WEIGHTS = {"nrmse": 1.0, "l1": 0.5}

    def __init__(self, recipe: PairedRecipe, schedule: Schedule, library, folder, machine=None, start=None):
        torch.manual_seed(schedule.seed)
        r = recipe
        generator = Generator(r.direction, r.dimensions, r.channels, r.physics, r.simulation, r.background)
        if start is not None:
            generator.begin_as(start)
        self.library = library
        super().__init__(*self._parts(recipe, generator), ["generator"], recipe, schedule, folder, machine)
        self.pairs = len(library)
        self._batches = None

    def run(self, progress=None, checkpoint_every: int = 250, on_stop=None) -> bool:
        """As `Trainer.run`; processes that draw examples ahead end with it."""
        try:
            return super().run(progress, checkpoint_every, on_stop)
        finally:
            self._batches = None

    def _parts(self, recipe, generator: Generator) -> tuple[dict, dict]:
        """Networks and optimisers, as `Trainer` takes them; a subclass may have more."""
        return {"generator": generator}, {"generator": (["generator"], 1.0)}

    def _train_step(self, rng) -> dict[str, float]:
        if self._batches is None:
            stream = ExampleStream(
                self.library, self.recipe.direction, self.share, (self.schedule.seed, self.fabric.global_rank)
            )
            self._batches = stream.batches(range(self.step, self.schedule.steps), self.machine.feeders)
        batch = next(self._batches).to(self.fabric.device)
        signal, log_variance, _ = self.networks["generator"](*batch.inputs())
        terms, weights = self._terms(signal, log_variance, batch), self._term_weights()
        self._move("generator", sum(weights[k] * v for k, v in terms.items()))
        return {k: float(v.detach()) for k, v in terms.items()}

    def _terms(self, signal, log_variance, batch) -> dict[str, torch.Tensor]:
        """The terms of the generator's loss."""
        return paired_terms(signal, log_variance, batch)

    def _term_weights(self) -> dict[str, float]:
        """The weight of each term."""
        return self.WEIGHTS | {"flux": self.recipe.flux_weight, "likelihood": self.recipe.likelihood_weight}

    def _watch(self) -> None:
        mean = float(np.mean([h["nrmse"] for h in self.history[-200:]]))
        if mean > 0.95:
            warn(
                f"step {self.step}: the generator is as far from its targets as an empty spectrum (NRMSE {mean:.2f} "
                "over 200 steps): do inputs and targets belong together, in the same units?"
            )


def paired_terms(signal, log_variance, batch) -> dict[str, torch.Tensor]:
    """The terms of a paired loss, each the mean over the batch."""
    target, valid = batch.target, batch.valid
    return {
        "nrmse": losses.nrmse(signal, target, valid).mean(),
        "l1": losses.relative_l1(signal, target, valid).mean(),
        "flux": losses.flux(signal, target, valid).mean(),
        "likelihood": losses.likelihood(signal, log_variance, target, valid).mean(),
    }
