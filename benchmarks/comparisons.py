"""Trains what the bundled models are compared with, and scores it: the tables of docs/comparisons.md.

    python benchmarks/comparisons.py --pairs build/training/pairs-2d-1 --kind ours --seed 2 --seed 3
    python benchmarks/comparisons.py --pairs build/training/pairs-2d-1 --kind unet --kind cut --kind unpaired
    python benchmarks/comparisons.py --pairs build/training/pairs-2d-1 --write

"ours" is the recipe of the bundled models with another seed, "unet" the same without physics. "cut" and "unpaired" are
given simulations of half the training families on one side and counted spectra of the other half on the other, for
`MINUTES`. A training that was stopped goes on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from pages import table_text
from plain_cut import PlainCut
from results import add_option, column, table, write_results

from mantid_insgan.core.options import DIRECTIONS
from mantid_insgan.learn.augment import with_noise
from mantid_insgan.learn.build_models import HELD_OUT, SIZES
from mantid_insgan.learn.evaluate import batches, of_generator, scores
from mantid_insgan.learn.libraries import PairLibrary
from mantid_insgan.learn.paired import PairedRecipe, PairedTrainer
from mantid_insgan.learn.train_job import BATCH, CHANNELS
from mantid_insgan.learn.trainer import Schedule
from mantid_insgan.learn.unpaired import UnpairedRecipe, UnpairedTrainer
from mantid_insgan.learn.warm_start import generator_of
from mantid_insgan.translate.cards import bundled_models

#: What can be trained, as a row of the page names it.
KINDS = {
    "ours": "ours, seed {seed}",
    "unet": "paired U-Net without physics",
    "cut": "plain CUT, unpaired",
    "unpaired": "ours, unpaired",
}
#: Minutes of the trainings without pairs, by dimensions.
MINUTES = {1: 4.0, 2: 5.0, 3: 5.0}
COUNTS = (None, 3000.0, 300.0, 100.0, 30.0)
SEED = 5001
COMMAND = "python benchmarks/comparisons.py --pairs build/training/pairs-2d-1 --write"
CONDITIONS = (
    f"Medians of NRMSE over pairs of the held-out splits; noise of the measured side by seed {SEED}. Each training is "
    "scored at its fixed last step, or at the end of its minutes (one seed, 1, where none is named)."
)


class Half:
    """Pairs of every other training family, seen from one side.

    Parameters
    ----------
    library : PairLibrary
    first : int
        0 or 1: which half.
    direction : str
        Whose input the examples are: 'add-resolution' gives simulations, 'remove-resolution' counted spectra.
    """

    def __init__(self, library: PairLibrary, first: int, direction: str):
        families = library.facts("family")
        half = sorted(set(families))[first::2]
        self.library, self.direction, self.dimensions = library, direction, library.dimensions
        self.members = [i for i, f in enumerate(families) if f in half]

    def __len__(self) -> int:
        return len(self.members)

    def examples(self, index, direction, rng, **_):
        """Members at `index`, with noise and gaps drawn anew on the measured side."""
        exact = 1.0 if self.direction == "add-resolution" else 0.25
        pairs = (self.library.pair(self.members[i]) for i in index)
        return [with_noise(pair, self.direction, rng, exact_share=exact) for pair in pairs]


def trainer_of(kind: str, direction: str, pairs: Path, seed: int, output: Path):
    """The trainer of a kind, not yet trained."""
    library = PairLibrary(pairs, "train")
    d = library.dimensions
    folder = output / f"{kind}-{d}d-{seed}" if kind == "unpaired" else output / f"{kind}-{direction}-{d}d-{seed}"
    if kind in ("ours", "unet"):
        recipe = PairedRecipe(direction, d, CHANNELS[d], physics=kind == "ours")
        schedule = Schedule(steps=SIZES[d].steps, batch=BATCH[d], seed=seed)
        return PairedTrainer(recipe, schedule, library, folder)
    schedule = Schedule(steps=10**7, batch=4, seed=seed, minutes=MINUTES[d], averaging=0.995)
    halves = [Half(library, n, side) for n, side in enumerate(DIRECTIONS)]
    if kind == "cut":
        inputs, outputs = halves if direction == "add-resolution" else halves[::-1]
        return PlainCut(direction, schedule, inputs, outputs, folder)
    return UnpairedTrainer(UnpairedRecipe(d, background=False), schedule, *halves, folder)


def trained(direction: str, pairs: Path, output: Path) -> dict:
    """(method, trainer) by row: what `output` holds of trainings on these pairs for a direction, each at its end."""
    found = {}
    for kind, row in KINDS.items():
        for seed in range(1, 10):
            trainer = trainer_of(kind, direction, pairs, seed, output)
            if not trainer.checkpoint.exists():
                trainer.folder.rmdir()
                continue
            trainer.resume()
            if trainer.done < 1:
                raise SystemExit(f"{trainer.folder} was stopped: train it to its end, or remove it")
            if kind == "cut":
                method = trainer.method()
            else:
                method = of_generator(trainer.averaged(direction if kind == "unpaired" else "generator"))
            found[row.format(seed=seed)] = method, trainer
    return found


def tables_of(direction: str, pairs: Path, output: Path) -> list[dict]:
    """Results of one direction: median NRMSE at peak counts of the bundled model and of what was trained."""
    splits = {split: PairLibrary(pairs, split) for split in HELD_OUT}
    dimensions = splits["test-family"].dimensions
    bundled = next(m for m in bundled_models() if (m.card.translation, m.card.dimensions) == (direction, dimensions))
    found = trained(direction, pairs, output)
    methods = {"ours, seed 1 (bundled)": of_generator(generator_of(bundled).eval())} | {
        k: v[0] for k, v in found.items()
    }
    times = {name: [t.step, t.seconds / 60] for name, (_, t) in found.items()}
    times["ours, seed 1 (bundled)"] = [bundled.card.training.steps, bundled.card.training.minutes]
    names = ["no noise" if c is None else f"{c:g}" for c in COUNTS]
    columns = [column(""), column("training", "{} steps, {:.0f} min"), *(column(name, "{:.3f}") for name in names)]
    made = []
    for split, library in splits.items():
        testing = [batches(library, direction, counts, SEED) for counts in COUNTS]
        rows = [
            [name, times[name], *(float(np.median(scores(chosen, methods[name]))) for chosen in testing)]
            for name in sorted(methods)
        ]
        note = f"{{pairs}} pairs of {HELD_OUT[split]}; median NRMSE at peak counts:"
        name = f"{direction}, {dimensions}D, {HELD_OUT[split]}"
        made.append(table(name, columns, rows, note=note, facts={"pairs": len(library)}))
    return made


def train(options) -> None:
    """Train what is asked for, one after the other."""
    for kind in options.kind:
        # Unpaired training goes both ways at once.
        directions = ["add-resolution"] if kind == "unpaired" else options.direction or list(DIRECTIONS)
        for direction in directions:
            for seed in options.seed or [1]:
                trainer = trainer_of(kind, direction, options.pairs, seed, options.output)
                trainer.run()
                print(f"{trainer.folder.name}: {trainer.step} steps in {trainer.seconds / 60:.1f} minutes", flush=True)


def main() -> None:
    """Train, or score and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--kind", choices=tuple(KINDS), action="append", default=[])
    parser.add_argument("--direction", choices=tuple(DIRECTIONS), action="append")
    parser.add_argument("--seed", type=int, action="append")
    parser.add_argument("--output", type=Path, default=Path("build/comparisons"))
    parser.add_argument("--write", action="store_true", help="score; nothing is trained then but what --kind says")
    add_option(parser, "comparisons")
    options = parser.parse_args()
    torch.set_num_threads(1)
    train(options)
    if options.write:
        made = [one for d in DIRECTIONS for one in tables_of(d, options.pairs, options.output)]
        print(*map(table_text, made), sep="\n\n")
        write_results(options.results, COMMAND, CONDITIONS, made)


if __name__ == "__main__":
    main()
