"""Unpaired training against physics alone and against plain CUT, at equal training time.

    insgan make-pairs --dimensions 2 --count 1280 --seed 1 --method covariance --workers 2 --output pairs
    python benchmarks/unpaired.py --pairs pairs --minutes 12

The "experiment" differs from what is calculated in all that an instrument model misses: its widths are 1.3 times those
told, a tenth of the intensity goes into a tail, a background falls with energy and rises with |Q|, and counts are
Poisson, 300 in the brightest bins. Its Hamiltonians and settings are not those of the simulations. Scored is the
translation of simulations of held-out families, by NRMSE to the experiment without noise.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from mantid_insgan.gan import losses
from mantid_insgan.gan.data import Example, PairLibrary, stack
from mantid_insgan.gan.evaluate import covariance_kernel, identity
from mantid_insgan.gan.networks import FeatureSampler, Generator, PatchDiscriminator
from mantid_insgan.gan.train import Schedule, Trainer
from mantid_insgan.gan.unpaired import ADD, UnpairedRecipe, UnpairedTrainer
from mantid_insgan.translate import intensity_scale

WIDER = 1.3
TAIL = 0.1
PEAK_COUNTS = 300.0


class Side:
    """One side of an unpaired training: a library of simulations, or of experiments."""

    def __init__(self, pairs: PairLibrary, members, measured: bool):
        self.pairs, self.members, self.measured = pairs, list(members), measured
        self.dimensions = pairs.dimensions

    def __len__(self) -> int:
        return len(self.members)

    def examples(self, index, direction, rng, **_) -> list[Example]:
        """Simulations with the experiment as the target, or experiments with counting noise."""
        return [experiment_like(self.pairs.pair(self.members[i]), rng, self.measured) for i in index]


def experiment_like(pair, rng, measured: bool) -> Example:
    """A pair with the experiment's peculiarities; the conditions are those that an instrument model tells."""
    known = np.isfinite(pair.ideal) & np.isfinite(pair.convolved)
    ideal, truth = (np.where(known, x, 0.0).astype(float) for x in (pair.ideal, pair.convolved))
    size = intensity_scale(truth, known)
    truth = truth / size
    tail = np.exp(-np.arange(truth.shape[-1]) / 6.0)
    spread = np.apply_along_axis(lambda row: np.convolve(row, tail / tail.sum())[: row.size], -1, truth)
    background = 0.3 * np.exp(-3 * np.abs(pair.position[0])) * (0.3 + (pair.position[1] / 3.0) ** 2)
    truth = (1 - TAIL) * truth + TAIL * spread + background
    signal, error = ideal / size, np.zeros_like(ideal)
    if measured:
        exposure = PEAK_COUNTS / np.percentile(truth[known], 99.7)
        counts = rng.poisson(truth * exposure)
        signal, error = counts / exposure, np.sqrt(np.maximum(counts, 1)) / exposure
    valid = known & (pair.valid if measured else True)
    # Both sides in units of a spectrum's own size, as users' data are.
    unit = intensity_scale(signal, valid)
    arrays = (np.where(valid, x, 0.0) / unit for x in (signal, error, truth))
    signal, error, target = arrays
    position = pair.position.copy()
    return Example(signal, valid, error, target, pair.width / WIDER, pair.correlation, position)


class PlainCut(Trainer):
    """CUT as published (Park et al., ECCV 2020) at the size of ours: no physics, conditions or noise, one direction."""

    def __init__(self, schedule: Schedule, simulations: Side, experiments: Side, folder: Path):
        torch.manual_seed(schedule.seed)
        networks = {
            "generator": Generator(ADD, 2, 16, physics=False),
            "judge": PatchDiscriminator(2, conditional=False),
            "features": FeatureSampler(2),
        }
        self.simulations, self.experiments = simulations, experiments
        optimisers = {"generators": (["generator", "features"], 0.5), "judges": (["judge"], 0.5)}
        super().__init__(networks, optimisers, ["generator"], UnpairedRecipe(), schedule, folder)

    def _train_step(self, rng) -> dict[str, float]:
        x, y = (
            stack(side.examples(rng.integers(0, len(side), self.share), ADD, rng))
            for side in (self.simulations, self.experiments)
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


@torch.no_grad()
def score(method, test: Side) -> float:
    """Median NRMSE over the test side; each answer may be scaled by one factor for the whole set (units are free)."""
    batches = [
        stack(test.examples(range(i, min(i + 16, len(test))), ADD, np.random.default_rng(i)))
        for i in range(0, len(test), 16)
    ]
    found = [method(b) for b in batches]
    top = sum(float((f * b.target * b.valid).sum()) for f, b in zip(found, batches, strict=True))
    factor = top / sum(float((f**2 * b.valid).sum()) for f, b in zip(found, batches, strict=True))
    each = [losses.nrmse(factor * f, b.target, b.valid) for f, b in zip(found, batches, strict=True)]
    return float(torch.cat(each).median())


def plain(generator):
    """How the generator of plain CUT is asked."""
    return lambda b: generator(b.signal, b.valid, 0 * b.error, 0 * b.width, b.correlation, 0 * b.position)[0]


def main() -> None:
    """Train what is asked for and print the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=12.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=("ours", "cut"), help="train one of the two")
    parser.add_argument("--folder", type=Path, help="for checkpoints; a temporary one if not given")
    options = parser.parse_args()
    torch.set_num_threads(1)
    training, settings = PairLibrary(options.pairs, "train"), PairLibrary(options.pairs, "test-setting")
    families = sorted(set(training.facts("family")))
    simulated = [i for i, f in enumerate(training.facts("family")) if f in families[::2]]
    measured = [i for i, f in enumerate(settings.facts("family")) if f in families[1::2]]
    simulations, experiments = Side(training, simulated, False), Side(settings, measured, True)
    held_out = PairLibrary(options.pairs, "test-family")
    test = Side(held_out, range(len(held_out)), False)
    print(f"{len(simulations)} simulations, {len(experiments)} experiments, {len(test)} held out; seed {options.seed}")
    rows = {"identity": identity, "physics only": covariance_kernel}
    schedule = Schedule(steps=10**7, batch=4, seed=options.seed, minutes=options.minutes, averaging=0.995)
    folder = options.folder or Path(tempfile.mkdtemp())
    if options.only != "cut":
        recipe = UnpairedRecipe()
        trainer = UnpairedTrainer(recipe, schedule, simulations, experiments, folder / "ours")
        trainer.run()
        rows[f"unpaired, ours ({trainer.step} steps)"] = lambda b: trainer.averaged(ADD)(*b.inputs())[0]
    if options.only != "ours":
        cut = PlainCut(replace(schedule, learning_rate=4e-4), simulations, experiments, folder / "cut")
        cut.run()
        rows[f"plain CUT ({cut.step} steps)"] = plain(cut.averaged("generator"))
    for name, method in rows.items():
        print(f"{name:32s} {score(method, test):.3f}", flush=True)


if __name__ == "__main__":
    main()
