"""Trains a generator on pairs of slices; stops, resumes and ends at a fixed last step."""

from __future__ import annotations

import json
import math
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file, save_file

from . import losses
from .data import Library, make_batch
from .networks import Generator


@dataclass(frozen=True)
class Recipe:
    """All that decides the weights, beside the library."""

    direction: str
    dimensions: int = 2
    channels: int = 20
    steps: int = 3500
    batch: int = 8
    learning_rate: float = 8e-4
    warm_up: int = 200
    averaging: float = 0.998  #: share of the old weights kept in the average at each step
    flux_weight: float = 0.2
    likelihood_weight: float = 0.05
    seed: int = 1

    def rate(self, step: int) -> float:
        """Learning rate at a step: linear warm-up, then half a cosine to nothing."""
        if step < self.warm_up:
            return self.learning_rate * (step + 1) / self.warm_up
        return 0.5 * self.learning_rate * (1 + math.cos(math.pi * (step - self.warm_up) / (self.steps - self.warm_up)))


class Trainer:
    """One generator, its average, its optimiser and the step it stands at."""

    def __init__(self, recipe: Recipe, library: Library, folder: Path, accelerator: str = "cpu"):
        self.recipe, self.library, self.folder = recipe, library, Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(recipe.seed)
        self.fabric = Fabric(accelerator=accelerator, devices=1)
        generator = Generator(recipe.direction, recipe.dimensions, recipe.channels)
        optimiser = torch.optim.AdamW(generator.parameters(), lr=recipe.learning_rate, weight_decay=1e-4)
        self.average = {k: v.detach().clone() for k, v in generator.state_dict().items()}
        self.generator, self.optimiser = self.fabric.setup(generator, optimiser)
        self.average = {k: v.to(self.fabric.device) for k, v in self.average.items()}
        self.step, self.history, self.seconds = 0, [], 0.0  # seconds spent in steps, over all runs

    def run(self, progress=None, checkpoint_every: int = 250) -> Generator:
        """Train to the recipe's last step and return the averaged generator, on the CPU."""
        self.resume()
        while self.step < self.recipe.steps:
            started = time.monotonic()
            loss = self._train_step()
            self.step += 1
            self.seconds += time.monotonic() - started
            if progress:
                progress(self.step, self.recipe.steps, loss)
            if self.step % checkpoint_every == 0 or self.step == self.recipe.steps:
                self.save()
        return self.averaged()

    def _train_step(self) -> float:
        recipe = self.recipe
        # Seeded by the step, so that a resumed run draws what an uninterrupted one would have drawn.
        rng = np.random.default_rng([recipe.seed, self.step])
        index = rng.integers(0, len(self.library), recipe.batch)
        batch = make_batch(self.library, index, recipe.direction, rng).to(self.fabric.device)
        for group in self.optimiser.param_groups:
            group["lr"] = recipe.rate(self.step)
        signal, log_variance, _ = self.generator(*batch.inputs())
        loss, distance = self._loss(signal, log_variance, batch)
        self.optimiser.zero_grad()
        self.fabric.backward(loss)
        self.fabric.clip_gradients(self.generator, self.optimiser, max_norm=1.0, error_if_nonfinite=True)
        self.optimiser.step()
        self._update_average()
        self.history.append(distance)
        return distance

    def _loss(self, signal, log_variance, batch):
        recipe = self.recipe
        distance = losses.nrmse(signal, batch.target, batch.valid).mean()
        loss = distance + 0.5 * losses.relative_l1(signal, batch.target, batch.valid).mean()
        loss = loss + recipe.flux_weight * losses.flux(signal, batch.target, batch.valid).mean()
        errors = losses.likelihood(signal, log_variance, batch.target, batch.valid).mean()
        return loss + recipe.likelihood_weight * errors, float(distance.detach())

    @torch.no_grad()
    def _update_average(self) -> None:
        # The average forgets its random start: early on it follows closely.
        keep = min(self.recipe.averaging, (1 + self.step) / (10 + self.step))
        for name, value in self.generator.module.state_dict().items():
            self.average[name].lerp_(value, 1 - keep)

    def averaged(self) -> Generator:
        """The generator with averaged weights, on the CPU, in evaluation mode."""
        generator = Generator(self.recipe.direction, self.recipe.dimensions, self.recipe.channels)
        generator.load_state_dict({k: v.cpu() for k, v in self.average.items()})
        return generator.eval()

    @property
    def checkpoint(self) -> Path:
        """The file that `run` resumes from."""
        return self.folder / f"{self.recipe.direction}.safetensors"

    def save(self) -> None:
        """Write weights, average, optimiser and position; beside, then renamed into place."""
        tensors = {f"generator.{k}": v for k, v in self.generator.module.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.items()}
        state = self.optimiser.state_dict()["state"]
        tensors |= {f"optimiser.{i}.{k}": torch.as_tensor(v) for i, s in state.items() for k, v in s.items()}
        tensors = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
        position = {"step": self.step, "history": self.history, "seconds": self.seconds}
        facts = {"recipe": json.dumps(asdict(self.recipe)), "position": json.dumps(position)}
        temporary = self.checkpoint.with_suffix(".part")
        save_file(tensors, temporary, metadata=facts)
        os.replace(temporary, self.checkpoint)

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one of the same recipe."""
        if not self.checkpoint.exists():
            return
        from safetensors import safe_open

        with safe_open(self.checkpoint, "pt") as stored:
            facts = stored.metadata()
        if json.loads(facts["recipe"]) != asdict(self.recipe):
            from ..errors import ModelError

            raise ModelError(
                f"the checkpoint {self.checkpoint} was made with another recipe: {facts['recipe']}",
                "train in another folder, or remove the checkpoint to begin anew",
            )
        tensors = load_file(self.checkpoint)
        part = lambda name: {k[len(name) + 1 :]: v for k, v in tensors.items() if k.startswith(name + ".")}  # noqa: E731
        self.generator.module.load_state_dict(part("generator"))
        self.average = {k: v.to(self.fabric.device) for k, v in part("average").items()}
        state: dict[int, dict] = {}
        for key, value in part("optimiser").items():
            number, name = key.split(".", 1)
            state.setdefault(int(number), {})[name] = value
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": state, "param_groups": groups})
        position = json.loads(facts["position"])
        self.step, self.history, self.seconds = (position[name] for name in ("step", "history", "seconds"))
