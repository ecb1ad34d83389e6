"""Plain CUT (Park et al., ECCV 2020) on the same trainer, to compare with: no physics, conditions or noise, one
direction, at the size of ours."""

from __future__ import annotations

from pathlib import Path

import torch

from mantid_insgan.learn import losses
from mantid_insgan.learn.examples import stack
from mantid_insgan.learn.generator import Generator
from mantid_insgan.learn.judges import FeatureSampler, PatchDiscriminator
from mantid_insgan.learn.trainer import Schedule, Trainer
from mantid_insgan.learn.unpaired import UnpairedRecipe


class PlainCut(Trainer):
    """One generator, one discriminator and one feature sampler.

    Parameters
    ----------
    direction : str
        Which way the generator goes.
    schedule : Schedule
    inputs, outputs : library
        Whose examples are translated, and whose the translations are to look like.
    folder : Path
        For checkpoints.
    """

    def __init__(self, direction: str, schedule: Schedule, inputs, outputs, folder: Path, channels: int = 16):
        torch.manual_seed(schedule.seed)
        dimensions = inputs.dimensions
        networks = {
            "generator": Generator(direction, dimensions, channels, physics=False),
            "judge": PatchDiscriminator(dimensions, conditional=False),
            "features": FeatureSampler(dimensions),
        }
        self.direction, self.inputs, self.outputs = direction, inputs, outputs
        optimisers = {"generators": (["generator", "features"], 0.5), "judges": (["judge"], 0.5)}
        super().__init__(networks, optimisers, ["generator"], UnpairedRecipe(dimensions), schedule, folder)

    def method(self):
        """How the trained generator is asked: a function of a batch."""
        generator = self.averaged("generator")
        return lambda b: generator(b.signal, b.valid, 0 * b.error, 0 * b.width, b.correlation, 0 * b.position)[0]

    def _train_step(self, rng) -> dict[str, float]:
        x, y = (
            stack(side.examples(rng.integers(0, len(side), self.share), self.direction, rng))
            for side in (self.inputs, self.outputs)
        )
        nothing = (0 * x.width, x.correlation, 0 * x.position)
        judge, features = self.networks["judge"], self.networks["features"]
        translate = lambda b: self.networks["generator"](b.signal, b.valid, 0 * b.error, *nothing)[0]  # noqa: E731
        made = translate(x)
        scores = judge(y.signal, y.valid, *nothing), judge(made.detach(), x.valid, *nothing)
        terms = {"judge": losses.adversarial_discriminator(*scores)}
        self._move("judges", terms["judge"])
        places = FeatureSampler.draw_places(x.signal.shape[2:], 128, torch.default_generator)
        terms["adversarial"] = losses.adversarial_generator(judge(made, x.valid, *nothing))
        for name, (one, b) in {"contrastive": (made, x), "identity": (translate(y), y)}.items():
            pair = features(one, b.valid, places), features(b.signal, b.valid, places)
            terms[name] = losses.patch_nce(*pair)
        self._move("generators", terms["adversarial"] + 0.5 * (terms["contrastive"] + terms["identity"]))
        return {k: float(v.detach()) for k, v in terms.items()}

    def _watch(self) -> None:
        pass  # plain CUT is taken as it comes
