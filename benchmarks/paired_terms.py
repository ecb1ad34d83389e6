"""What each term of the loss of a paired training is worth: one is left out at a time.

    python -m mantid_insgan.learn.build_models --dimensions 1  # leaves its pairs in build/training
    python benchmarks/paired_terms.py --pairs build/training/pairs-1d-1 --more build/training/cuts-1 --steps 1000

Trains on the pairs and on `--more`, and prints and writes, for pairs of held-out families at 300 peak counts, the
medians of the NRMSE and of the flux error, and the share of bins whose truth lies within one and two of the standard
errors as they come from the training, before the factor of a card.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from pages import table_text
from results import add_option, column, table, write_results

from mantid_insgan.core.options import DIRECTIONS
from mantid_insgan.learn import losses
from mantid_insgan.learn.evaluate import batches, of_generator
from mantid_insgan.learn.libraries import PairLibrary, Several
from mantid_insgan.learn.paired import PairedRecipe, PairedTrainer
from mantid_insgan.learn.train_job import BATCH, CHANNELS
from mantid_insgan.learn.trainer import Schedule

#: What is left out, and the weights that say so.
VARIANTS = {
    "all terms": {},
    "without L1": {"l1": 0.0},
    "without NRMSE": {"nrmse": 0.0},
    "without flux": {"flux_weight": 0.0},
    "without the likelihood": {"likelihood_weight": 0.0},
}
PEAK_COUNTS, SEED = 300.0, 5001
COMMAND = (
    "python benchmarks/paired_terms.py --pairs build/training/pairs-1d-1 --more build/training/cuts-1 "
    "--direction remove-resolution --steps 1000"
)
CONDITIONS = f"Medians over pairs of held-out families at 300 peak counts; noise by seed {SEED}."
COLUMNS = [
    column(""),
    column("NRMSE", "{:.3f}"),
    column("flux error", "{:.3f}"),
    column("within 1 and 2 standard errors", "{:.3f}, {:.3f}"),
]


class Varied(PairedTrainer):
    """A paired training with other weights where the recipe has none."""

    def __init__(self, weights: dict, *rest):
        self.WEIGHTS = PairedTrainer.WEIGHTS | weights
        super().__init__(*rest)


def trained(variant: str, direction: str, seed: int, options) -> torch.nn.Module:
    """The generator at the fixed last step."""
    weights = dict(VARIANTS[variant])
    named = {name: weights.pop(name) for name in list(weights) if name.endswith("_weight")}
    library = Several(*(PairLibrary(folder, "train") for folder in (options.pairs, *options.more)))
    d = library.dimensions
    recipe = PairedRecipe(direction, d, CHANNELS[d], **named)
    schedule = Schedule(steps=options.steps, batch=BATCH[d], seed=seed)
    place = options.folder / f"{direction}-{d}d-{seed}" / variant.replace(" ", "-")
    trainer = Varied(weights, recipe, schedule, library, place)
    trainer.run()
    return trainer.averaged("generator")


@torch.no_grad()
def row(generator, pairs: Path) -> tuple[float, float, float, float]:
    """Median NRMSE and flux error, and the shares within one and two standard errors."""
    method, nrmse, flux, away = of_generator(generator), [], [], []
    for batch in batches(PairLibrary(pairs, "test-family"), generator.direction, PEAK_COUNTS, SEED):
        found, (signal, log_variance, _) = method(batch), generator(*batch.inputs())
        nrmse.append(losses.nrmse(found, batch.target, batch.valid))
        found_total, total = ((x * batch.valid).flatten(1).sum(1) for x in (found, batch.target))
        flux.append((found_total / total - 1).abs())
        ratio = (signal - batch.target).abs() * torch.exp(-0.5 * log_variance)
        away.append(ratio[batch.valid > 0].numpy())
    ratios = np.concatenate(away)
    shares = ((ratios < n).mean() for n in (1, 2))
    return float(torch.cat(nrmse).median()), float(torch.cat(flux).median()), *map(float, shares)


def main() -> None:
    """Train what is asked for, print and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--more", type=Path, action="append", default=[], help="folder of pairs to train on too")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seed", type=int, action="append")
    parser.add_argument("--variant", choices=tuple(VARIANTS), action="append")
    parser.add_argument("--direction", choices=tuple(DIRECTIONS), action="append")
    parser.add_argument("--folder", type=Path, default=Path("build/paired-terms"))
    add_option(parser, "paired_terms")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for direction in options.direction or DIRECTIONS:
        for seed in options.seed or [1]:
            for variant in options.variant or VARIANTS:
                generator = trained(variant, direction, seed, options)
                nrmse, flux, *within = row(generator, options.pairs)
                name = f"{direction}, {generator.dimensions}D, seed {seed}"
                made = table(name, COLUMNS, [[variant, nrmse, flux, within]])
                print(name, table_text(made), sep="\n", flush=True)
                write_results(options.results, COMMAND, CONDITIONS, [made], keep_rows=True)


if __name__ == "__main__":
    main()
