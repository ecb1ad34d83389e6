"""What a discriminator and PatchNCE add to a training with pairs, at equal time of the processor.

    make models  # leaves its pairs in build/training
    python benchmarks/paired_gan.py --pairs build/training/pairs-2d-1 --tune
    python benchmarks/paired_gan.py --pairs build/training/pairs-2d-1

The training is that of the bundled models (`learn/paired.py`), only shorter. The discriminator compares its results
with the targets; it is told the widths, their correlations, E/Ei and |Q| of each spectrum. PatchNCE matches a patch of
the result with the patch of the input at the same place. ``--tune`` trains with each of the weights that are tried,
for `TUNING_MINUTES`, and scores on the validation split; `VARIANTS` has the weights that were chosen there. Without
it, each variant is trained with each seed for `MINUTES` and scored on the held-out families. A training that was
stopped goes on, and one that is done is not made again.

The times are those of the processor in training steps, so that a training does not lose what other work on the machine
takes. Beside other work a step still takes longer, so the numbers of steps are written too.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import trust
from accuracy import METRICS, metrics
from pages import table_text
from results import add_option, column, table, write_results

from mantid_insgan.learn import losses
from mantid_insgan.learn.augment import AS_MADE
from mantid_insgan.learn.evaluate import batches, of_generator
from mantid_insgan.learn.examples import Batch
from mantid_insgan.learn.generator import Generator
from mantid_insgan.learn.judges import FeatureSampler, PatchDiscriminator
from mantid_insgan.learn.libraries import PairLibrary
from mantid_insgan.learn.paired import PairedRecipe, PairedTrainer
from mantid_insgan.learn.trainer import Schedule

DIRECTION = "remove-resolution"
#: Weights that are tried: of the discriminator alone, then of PatchNCE beside the best of these.
ADVERSARIAL, CONTRASTIVE = (0.01, 0.05, 0.2), (0.005, 0.02)
#: What is compared, with the weights that were chosen.
VARIANTS = {
    "pairs alone": {},
    "pairs, discriminator": {"adversarial": 0.01},
    "pairs, discriminator, PatchNCE": {"adversarial": 0.01, "contrastive": 0.02},
}
MINUTES, TUNING_MINUTES, SEEDS = 1.5, 1.0, (1, 2, 3)
#: Smaller than that of the bundled models (8 and 24), for more steps in the time, and a warm-up to go with it.
BATCH, CHANNELS, WARM_UP = 4, 16, 50
COUNTS = {300.0: "300 peak counts", None: "no noise"}
SHARES = ("invented", "lost")
COMMAND = "python benchmarks/paired_gan.py --pairs build/training/pairs-2d-1"
CONDITIONS = (
    f"Each seed: median over pairs of held-out families ({', '.join(METRICS)}), or share of spectra with a peak that "
    f"is {' or '.join(SHARES)}; then mean over the seeds and their range. Noise by seed {trust.SEED}. Weights were "
    "chosen on the validation split with seed 1."
)


@dataclass(frozen=True)
class GanRecipe(PairedRecipe):
    """A paired training with the weights of more terms; 0 leaves a term and its network out."""

    adversarial: float = 0.0
    contrastive: float = 0.0
    patches: int = 128  #: places at each level of the features
    judges_rate: float = 2.0  #: factor on the learning rate for the discriminator


class PairedGan(PairedTrainer):
    """A paired training with a discriminator and PatchNCE; its minutes are those of the processor."""

    def _parts(self, recipe: GanRecipe, generator: Generator) -> tuple[dict, dict]:
        networks, optimisers = super()._parts(recipe, generator)
        if recipe.adversarial:
            networks["judge"] = PatchDiscriminator(recipe.dimensions)
            optimisers["judges"] = (["judge"], recipe.judges_rate)
        if recipe.contrastive:
            networks["features"] = FeatureSampler(recipe.dimensions)
            optimisers["generator"] = (["generator", "features"], 1.0)
        return networks, optimisers

    def _terms(self, signal, log_variance, batch) -> dict[str, torch.Tensor]:
        terms = super()._terms(signal, log_variance, batch)
        if self.recipe.adversarial:
            judge, told = self.networks["judge"], (batch.valid, *batch.conditions())
            learned = losses.adversarial_discriminator(judge(batch.target, *told), judge(signal.detach(), *told))
            self._move("judges", learned)
            terms |= {"judge": learned.detach(), "adversarial": losses.adversarial_generator(judge(signal, *told))}
        if self.recipe.contrastive:
            features = self.networks["features"]
            places = FeatureSampler.draw_places(signal.shape[2:], self.recipe.patches, torch.default_generator)
            vectors = (features(x, batch.valid, places) for x in (signal, batch.signal))
            terms["contrastive"] = losses.patch_nce(*vectors)
        return terms

    def _term_weights(self) -> dict[str, float]:
        more = {name: getattr(self.recipe, name) for name in ("adversarial", "contrastive")}
        return super()._term_weights() | more | {"judge": 0.0}  # which has been moved by its own loss

    def _guarded_step(self) -> dict[str, float]:
        started = time.process_time()
        terms = super()._guarded_step()
        self._spent = self.seconds + time.process_time() - started
        return terms

    def _note(self, terms: dict[str, float]) -> None:
        self.seconds = self._spent  # in place of the time of the clock
        super()._note(terms)


def trained(weights: dict, minutes: float, seed: int, options) -> PairedGan:
    """A training at its end: made, gone on with, or read."""
    library = PairLibrary(options.pairs, "train")
    recipe = GanRecipe(DIRECTION, library.dimensions, CHANNELS, **weights)
    schedule = Schedule(steps=10**6, batch=BATCH, warm_up=WARM_UP, seed=seed, minutes=minutes)
    said = "-".join(f"{name}-{value:g}" for name, value in weights.items()) or "pairs-alone"
    trainer = PairedGan(recipe, schedule, library, options.folder / f"{said}-{minutes:g}min-{seed}")
    if not trainer.run():
        raise SystemExit("stopped; the same command goes on")
    print(f"{trainer.folder.name}: {trainer.step} steps", flush=True)
    return trainer


def tuning(options) -> list[dict]:
    """Each weight that is tried, on the validation split at 300 peak counts; chosen is the one of the least NRMSE."""
    library = PairLibrary(options.pairs, "validation")
    chosen, rows = batches(library, DIRECTION, 300.0, trust.SEED), []

    def tried(**weights) -> float:
        trainer = trained(weights, TUNING_MINUTES, SEEDS[0], options)
        found = medians(answers_of(trainer.averaged("generator"), chosen), chosen)
        rows.append([_words(weights), trainer.step, *found])
        return found[0]

    tried()
    best = min(ADVERSARIAL, key=lambda weight: tried(adversarial=weight))
    for weight in CONTRASTIVE:
        tried(adversarial=best, contrastive=weight)
    columns = [column("weights"), column("steps"), *(column(name, "{:.4f}") for name in METRICS)]
    note = "{minutes:g} min of one processor, seed {seed}; medians over {pairs} validation pairs at 300 peak counts."
    facts = {"minutes": TUNING_MINUTES, "seed": SEEDS[0], "pairs": len(library)}
    return [table(f"weights, {_place(library)}", columns, rows, note=note, facts=facts)]


def _words(weights: dict) -> str:
    names = {"adversarial": "discriminator", "contrastive": "PatchNCE"}
    return ", ".join(f"{names[name]} {value:g}" for name, value in weights.items()) or "pairs alone"


def _place(library: PairLibrary) -> str:
    return f"{DIRECTION}, {library.dimensions}D"


def comparison(options) -> list[dict]:
    """Each of `VARIANTS` with each seed on the held-out families, beside the start and the bundled model."""
    library = PairLibrary(options.pairs, "test-family")
    case = trust.Case(DIRECTION, {"test-family": library})
    trainers: dict[str, list[PairedGan]] = {name: [] for name in VARIANTS}
    seeds = options.seed or SEEDS
    for seed in seeds:
        for name, weights in VARIANTS.items():
            trainers[name].append(trained(weights, MINUTES, seed, options))
    compared = {name: [t.averaged("generator") for t in each] for name, each in trainers.items()}
    before = {"before the training": [Generator(DIRECTION, library.dimensions, CHANNELS).eval()]}
    generators = before | compared | {"bundled model": [case.generator]}
    steps = {name: float(np.mean([t.step for t in each])) for name, each in trainers.items()}
    note = "{pairs} pairs of held-out families; {minutes:g} minutes of one processor for each training, seeds {seeds}."
    facts = {"pairs": len(library), "minutes": MINUTES, "seeds": ", ".join(map(str, seeds))}
    names = [*METRICS, *SHARES]
    columns = [column(""), column("steps", "{:.0f}"), *(column(n, "{:.3f} ({:.3f} to {:.3f})") for n in names)]
    made = []
    for counts, title in COUNTS.items():
        found = {name: np.array(each) for name, each in scored(generators, case, counts).items()}
        rows = [[name, steps.get(name), *_cells(each)] for name, each in found.items()]
        made.append(table(f"{_place(library)}, {title}", columns, rows, note=note, facts=facts))
        made.append(_differences(f"{_place(library)}, {title}, less pairs alone", found, columns))
    return made


def _cells(each: np.ndarray) -> list:
    """Mean and range over the seeds (N, scores); a text where there is one only."""
    if len(each) == 1:
        return [f"{value:.3f}" for value in each[0]]
    return [[values.mean(), values.min(), values.max()] for values in each.T]


def _differences(name: str, found: dict[str, np.ndarray], columns: list[dict]) -> dict:
    """How far each variant is from that without more terms, seed by seed, which begins at the same weights."""
    first, *others = VARIANTS
    signed = [column(c["name"], "{:+.4f} ({:+.4f} to {:+.4f})") for c in columns if c["name"] not in ("", "steps")]
    rows = [[other, *_cells(found[other] - found[first])] for other in others]
    return table(name, [column("difference, seed by seed"), *signed], rows)


@torch.no_grad()
def answers_of(generator: Generator, chosen: list[Batch]) -> np.ndarray:
    """What a generator makes of spectra, as users apply it, shape (N, *grid)."""
    method = of_generator(generator)
    return np.concatenate([method(b)[:, 0].numpy() for b in chosen])


def medians(answers: np.ndarray, chosen: list[Batch]) -> np.ndarray:
    """Medians of `METRICS` over spectra."""
    targets, valid = (np.concatenate([getattr(b, name)[:, 0].numpy() for b in chosen]) for name in ("target", "valid"))
    each = [metrics(*members, noise=0.0) for members in zip(answers, targets, valid > 0, strict=True)]
    return np.nanmedian(each, axis=0)


def scored(generators: dict, case: trust.Case, counts) -> dict[str, list[np.ndarray]]:
    """`METRICS` and `SHARES` of each generator. A peak has to stand out of the bundled model's errors, for all."""
    chosen = batches(case.libraries["test-family"], DIRECTION, counts, trust.SEED, finer=AS_MADE[DIRECTION])
    seen, widths = case.seen("test-family", counts), np.concatenate([b.width.numpy() for b in chosen])
    found: dict[str, list[np.ndarray]] = {name: [] for name in generators}
    for name, generator in ((name, one) for name, each in generators.items() for one in each):
        answers = answers_of(generator, chosen)
        members = zip(seen, answers, widths, strict=True)
        peaks = np.mean([trust.invented_and_lost(case, *member) for member in members], axis=0)
        found[name].append(np.concatenate([medians(answers, chosen), peaks]))
        print(f"{name}, {counts or 'no noise'}: {np.round(found[name][-1], 4)}", flush=True)
    return found


def main() -> None:
    """Train what is lacking, score, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--tune", action="store_true", help="train and score the weights that are tried")
    parser.add_argument("--seed", type=int, action="append", help="of the comparison; all of SEEDS if not given")
    parser.add_argument("--folder", type=Path, default=Path("build/paired-gan"), help="of the checkpoints")
    add_option(parser, "paired_gan")
    options = parser.parse_args()
    torch.set_num_threads(1)
    made = (tuning if options.tune else comparison)(options)
    print(*map(table_text, made), sep="\n\n", flush=True)
    write_results(options.results, COMMAND, CONDITIONS, made)


if __name__ == "__main__":
    main()
