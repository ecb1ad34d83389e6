"""Unpaired training against physics alone and against plain CUT, at equal training time.

    insgan make-pairs --dimensions 2 --count 1280 --seed 1 --method covariance --workers 2 --output pairs
    python benchmarks/unpaired.py --pairs pairs --minutes 5

The "experiment" differs from what is calculated in all that an instrument model misses: its widths on the cut are 1.3
times those told, a tenth of the intensity goes into a tail, a background falls with energy and rises with |Q|, counts
are Poisson, 300 in the brightest bins, and detectors have gaps. Its Hamiltonians and instrument settings are not those
of the simulations. Scored is the translation of simulations of held-out families / of the validation split, by NRMSE
to the experiment without noise and by what the total is wrong by, after one factor
for all, which is printed too: simulations are in their own unit, experiments in theirs. The errors of both directions
are calibrated on pairs of the validation split, and how often they cover is counted on the held-out families.

Ours begins at the simulation convolved in four dimensions with the calculated resolution, as `convolve` gives it; that
is also the row "physics only". Plain CUT begins, as published, at the ideal simulation. ``--variant`` trains ours with
one part left out.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from plain_cut import PlainCut
from results import add_option, column, table, write_results

from mantid_insgan.core.slices import intensity_scale
from mantid_insgan.learn import losses
from mantid_insgan.learn.augment import flipped
from mantid_insgan.learn.evaluate import identity
from mantid_insgan.learn.examples import Example, stack
from mantid_insgan.learn.experiments import widened, with_one_scale, with_tail
from mantid_insgan.learn.libraries import PairLibrary
from mantid_insgan.learn.trainer import Schedule
from mantid_insgan.learn.unpaired import ADD, REMOVE, UnpairedRecipe, UnpairedTrainer

WIDER = 1.3
TAIL = 0.1
PEAK_COUNTS = 300.0
COMMAND = "python benchmarks/unpaired.py --pairs build/training/pairs-2d-1 --minutes 5"
CONDITIONS = (
    "Median NRMSE to the experiment without noise, and |sum found / sum truth - 1|, one scale for all; simulations of "
    "held-out families / of the validation split. The seed is that of the training."
)
#: What is scored of both sides, as columns of the results.
SCORES = {"NRMSE": "{:.3f} / {:.3f}", "total wrong by": "{:.3f} / {:.3f}", "scaled by": "{:.3f} / {:.3f}"}
#: What is left out, and the recipe without it.
VARIANTS = {
    "ours": {},
    "without the background of energy and |Q|": {"background": False},
    "background by the discriminators alone": {"baseline": 0.0},
    "without flux conservation": {"flux": 0.0},
    "with a tenth of the flux conservation": {"flux": 0.1},
    "without counting noise in what is judged": {"noise": False},
    "without L_PatchNCE": {"contrastive": 0.0},
    "without the cycle": {"cycle": 0.0},
    "from the ideal simulation": {"simulation": "ideal"},
    "from the ideal simulation, without physics": {"simulation": "ideal", "physics": False},
}


class Side:
    """One side of an unpaired training: a library of simulations, or of experiments.

    Parameters
    ----------
    pairs : PairLibrary
    members : iterable of int
        Pairs of the library that belong to this side.
    measured : bool
        Whether the members are experiments.
    simulation : {'ideal', 'convolved'}
        What simulations are. Their target is the experiment without noise, and they are that of experiments.
    """

    def __init__(self, pairs: PairLibrary, members, measured: bool, simulation: str = "convolved"):
        self.pairs, self.members = pairs, list(members)
        self.measured, self.simulation = measured, simulation
        self.dimensions = pairs.dimensions

    def __len__(self) -> int:
        return len(self.members)

    def examples(self, index, direction, rng, **_) -> list[Example]:
        """Members at `index`, turned round at random; counts are drawn anew."""
        return [flipped(rng, self._example(self.pairs.pair(self.members[i]), rng)) for i in index]

    def _example(self, pair, rng) -> Example:
        known = np.isfinite(pair.ideal) & np.isfinite(pair.convolved)
        given = np.where(known, pair.ideal if self.simulation == "ideal" else pair.convolved, 0.0).astype(float)
        truth, size = experiment(pair, known)
        signal, error, valid, target = given / size, np.zeros_like(given), known, truth
        if self.measured:
            target = given / size
            exposure = PEAK_COUNTS / np.percentile(truth[known], 99.7)
            counts = rng.poisson(truth * exposure)
            signal, error = counts / exposure, np.sqrt(np.maximum(counts, 1)) / exposure
            valid = known & pair.valid
        # Both sides in units of a spectrum's own size, as users' data are.
        unit = intensity_scale(signal, valid)
        signal, error, target = (np.where(valid, x, 0.0) / unit for x in (signal, error, target))
        return Example(
            signal,
            valid,
            error,
            target,
            pair.width,
            pair.correlation,
            pair.position,
            pair.facts["axes"][-1]["bins"] > 1,
        )


def experiment(pair, known) -> tuple[np.ndarray, float]:
    """The pair with the experiment's peculiarities and without noise, and the unit that it is in."""
    calculated = np.where(known, pair.convolved, 0.0).astype(float)
    size = intensity_scale(calculated, known)
    truth = with_tail(widened(pair, calculated / size, WIDER), TAIL, 6.0)
    background = 0.3 * np.exp(-3 * np.abs(pair.position[0])) * (0.3 + (pair.position[1] / 3.0) ** 2)
    return truth + background, size


@torch.no_grad()
def errors_of(generator, test: Side) -> np.ndarray:
    """|found - truth| over the standard error in all valid bins, after one factor for all that is found."""
    answers = [(generator(*b.inputs()), b) for b in batches_of(test)]
    top = sum(float((a[0] * b.target * b.valid).sum()) for a, b in answers)
    factor = top / sum(float((a[0] ** 2 * b.valid).sum()) for a, b in answers)
    away = [((factor * a[0] - b.target).abs() / (factor * torch.exp(0.5 * a[1])))[b.valid > 0] for a, b in answers]
    return torch.cat(away).numpy()


def coverage_of(trainer: UnpairedTrainer, pairs: Path) -> list[list]:
    """Rows of how often the errors of both generators cover the truth: as they are, and calibrated on other pairs."""
    rows = []
    for direction, measured in ((ADD, False), (REMOVE, True)):
        calibrating, scoring = (
            Side(library, range(len(library)), measured, trainer.recipe.simulation)
            for library in (PairLibrary(pairs, split) for split in ("validation", "test-family"))
        )
        generator = trainer.averaged(direction)
        found = errors_of(generator, scoring)
        factor = float(np.quantile(errors_of(generator, calibrating), 0.683))
        shares = [[float((found < n * f).mean()) for n in (1, 2)] for f in (1.0, factor)]
        rows.append([direction, *shares, factor])
    return rows


def batches_of(test: Side) -> list:
    """The members of a side in batches, with noise that is the same at every call."""
    starts = range(0, len(test), 16)
    return [stack(test.examples(range(i, min(i + 16, len(test))), ADD, np.random.default_rng(i))) for i in starts]


@torch.no_grad()
def score(method, test: Side) -> tuple[float, float, float]:
    """Medians over the test side of the NRMSE and of the error of the total, |sum found / sum truth - 1|; all answers
    are scaled by one factor first (units are free), which is the third."""
    batches = batches_of(test)
    found, factor = with_one_scale(method, batches)
    pairs = [(f, b.target, b.valid) for f, b in zip(found, batches, strict=True)]
    totals = [(f * v).flatten(1).sum(1) / (t * v).flatten(1).sum(1) for f, t, v in pairs]
    nrmse = torch.cat([losses.nrmse(*pair) for pair in pairs])
    return float(nrmse.median()), float((torch.cat(totals) - 1).abs().median()), factor


def sides(pairs: Path, simulation: str) -> tuple[Side, Side, tuple[Side, Side]]:
    """Simulations and experiments to train on, and simulations to score on: of held-out families, by which the recipe
    was chosen, and of the validation split, whose families and settings took no part in that."""
    training, settings = PairLibrary(pairs, "train"), PairLibrary(pairs, "test-setting")
    held_out = [PairLibrary(pairs, split) for split in ("test-family", "validation")]
    families = sorted(set(training.facts("family")))
    simulated = [i for i, f in enumerate(training.facts("family")) if f in families[::2]]
    measured = [i for i, f in enumerate(settings.facts("family")) if f in families[1::2]]
    return (
        Side(training, simulated, False, simulation),
        Side(settings, measured, True),
        tuple(Side(library, range(len(library)), False, simulation) for library in held_out),
    )


def scores_of(method, tests: tuple[Side, Side]) -> list[list[float]]:
    """The `SCORES` of both sides that are scored."""
    return [list(pair) for pair in zip(*(score(method, test) for test in tests), strict=True)]


def told(row: list) -> str:
    """A row of the results as it is printed."""
    name, steps, *scored = row
    said = (f"{key} {form.format(*pair)}" for (key, form), pair in zip(SCORES.items(), scored, strict=True))
    return ", ".join([name if steps is None else f"{name}, {steps} steps", *said])


def write(rows: list[list], options) -> None:
    """Rows into the table of trainings for as many minutes, or of as many steps and the seed; the others stay."""
    columns = [column(""), column("steps"), *(column(*score) for score in SCORES.items())]
    if options.steps is None:
        name = f"{options.minutes:g} minutes"
        rows = [[row[0] if row[1] is None else f"{row[0]}, seed {options.seed}", *row[1:]] for row in rows]
    else:
        name = f"{options.steps} steps, seed {options.seed}"
    write_results(options.results, COMMAND, CONDITIONS, [table(name, columns, rows)], keep_rows=True)


def write_coverage(rows: list[list], options) -> None:
    """Rows of `coverage_of` into their table."""
    shares = "{:.3f}, {:.3f}"
    columns = [
        column(""),
        column("as trained", shares),
        column("calibrated", shares),
        column("factor of the calibration", "{:.2f}"),
    ]
    write_results(options.results, COMMAND, CONDITIONS, [table(f"coverage, seed {options.seed}", columns, rows)])


def ours(variant: str, options, schedule: Schedule, folder: Path) -> list:
    """Train a variant of ours; its row. How its errors cover is printed, and written for the whole recipe."""
    recipe = UnpairedRecipe(**{"simulation": "convolved", **VARIANTS[variant]})
    simulations, experiments, tests = sides(options.pairs, recipe.simulation)
    trainer = UnpairedTrainer(recipe, schedule, simulations, experiments, folder)
    trainer.run()
    covered = coverage_of(trainer, options.pairs)
    for direction, raw, calibrated, factor in covered:
        print(f"{direction}: truth within 1 and 2 standard errors {raw}, calibrated {calibrated} (factor {factor:.3g})")
    if variant == "ours" and options.steps is None:
        write_coverage(covered, options)
    generator = trainer.averaged(ADD)
    return [variant, trainer.step, *scores_of(lambda b: generator(*b.inputs())[0], tests)]


def plain_cut(options, schedule: Schedule, folder: Path) -> list:
    """Train plain CUT; its row."""
    simulations, experiments, tests = sides(options.pairs, "ideal")
    trainer = PlainCut(ADD, replace(schedule, learning_rate=4e-4), simulations, experiments, folder)
    trainer.run()
    return ["plain CUT", trainer.step, *scores_of(trainer.method(), tests)]


def main() -> None:
    """Train what is asked for, print and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--steps", type=int, help="instead of minutes: to compare variants at equal length")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--variant", choices=(*VARIANTS, "plain CUT"), action="append", help="default: ours, plain CUT")
    parser.add_argument("--folder", type=Path, help="for checkpoints; a temporary one if not given")
    add_option(parser, "unpaired")
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = options.folder or Path(tempfile.mkdtemp())
    simulations, experiments, tests = sides(options.pairs, "convolved")
    sizes = " and ".join(str(len(test)) for test in tests)
    print(f"{len(simulations)} simulations, {len(experiments)} experiments, {sizes} held out; seed {options.seed}")
    rows = [["physics only", None, *scores_of(identity, tests)]]
    rows.append(["ideal simulation", None, *scores_of(identity, sides(options.pairs, "ideal")[2])])
    print(*map(told, rows), sep="\n", flush=True)
    limit = {"steps": 10**7, "minutes": options.minutes} if options.steps is None else {"steps": options.steps}
    schedule = Schedule(**limit, batch=4, seed=options.seed, averaging=0.995)
    for variant in options.variant or ("ours", "plain CUT"):
        place = folder / variant.replace(" ", "-").replace("|", "")
        row = plain_cut(options, schedule, place) if variant == "plain CUT" else ours(variant, options, schedule, place)
        print(told(row), flush=True)
        rows.append(row)
        write(rows, options)


if __name__ == "__main__":
    main()
