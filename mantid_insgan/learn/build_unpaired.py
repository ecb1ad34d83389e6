"""Rebuild the bundled models that were trained without pairs: ``python -m mantid_insgan.learn.build_unpaired``.

Both directions are trained together against discriminators (`UnpairedTrainer`). Simulations are the ideal sides of half
of the training families, experiments simulated ones of the other half (`SimulatedExperiments`) and measured maps of a
manganite (`MeasuredMaps`). The seed determines everything but where the time ends it; a stopped run resumes from the
scratch folder.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..translate.cards import ModelCard, Table, Training, find_model, read_model
from ..translate.trust import deviations
from . import losses
from .build_models import ANY_NUMBER, Bar, say_setting
from .calibration import COUNTS as TRUST_COUNTS
from .calibration import judged, noise_of, with_coverage, with_trust
from .describe import SCORING, Errors, card_of, domain_of, training_of, write_model
from .evaluate import ITERATIONS, TUNING, batches, calibrate, covariance_kernel, identity, lucy_exact, of_generator
from .experiments import LARGEST_TAIL, WIDEST, Mixture, SimulatedExperiments, Windows, with_one_scale
from .libraries import PairLibrary, Part
from .mosaic import PIXELS, SETTINGS, TRAINED, MeasuredMaps
from .pairs.recipe import settings_of
from .trainer import Schedule
from .unpaired import ADD, REMOVE, UnpairedRecipe, UnpairedTrainer
from .warm_start import generator_of

VERSION = "2"
#: Names of the models by what they calculate.
NAMES = {ADD: "simulation-to-experiment-2d", REMOVE: "experiment-to-simulation-2d"}
#: Not trained on: the models of the measured manganite are to be told apart by data alone.
LEFT_OUT = ("pcsmo_goodenough", "pcsmo_dimer")
#: How often each measured map counts beside one simulated experiment.
REPEATED = 2
CHANNELS, BATCH, AVERAGING = 16, 4, 0.995
#: Not those of `UnpairedRecipe`: backgrounds differ from experiment to experiment, so the mean one lies above many,
#: and intensity comes into a cut from outside, so that its total is only nearly kept.
ASYMMETRY, FLUX = 0.1, 0.1
#: Spectra that tell the intervals, their coverage and the p-value, each noise counted, and inputs that tell the domain.
MOST = 300
#: Difference from 0.683 of the share of bins within one standard error that a card notes.
MISSED = 0.1
#: Bins along each axis of what a step sees: those of a measured map.
WINDOW = PIXELS
#: Peak counts at which the models are scored; simulations have no noise.
COUNTS = {ADD: (None,), REMOVE: (3000.0, 300.0)}
HELD_OUT = {
    "test-family": "simulated experiments, held-out families of Hamiltonians",
    "test-setting": "simulated experiments, held-out instrument settings",
}


@dataclass(frozen=True)
class Sides:
    """The libraries of a training.

    Parameters
    ----------
    simulations : SimulatedExperiments
    experiments : Mixture
        Simulated ones and measured maps.
    families : dict of str to list of str
        Of both sides.
    """

    simulations: SimulatedExperiments
    experiments: Mixture
    families: dict[str, list[str]]

    def inputs(self, direction: str):
        """The side that a model of this direction takes as input."""
        return self.simulations if direction == ADD else self.experiments


def parse(arguments=None):
    """The command line's options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=Path, required=True, help="folder of 2D pairs (insgan make-pairs)")
    parser.add_argument("--manganite", type=Path, required=True, help="folder of the measured maps")
    parser.add_argument("--output", type=Path, default=Path("models"))
    parser.add_argument("--scratch", type=Path, default=Path("build/training"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=30.0, help="train for so long")
    parser.add_argument("--steps", type=int, help="instead of minutes")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads that train")
    parser.add_argument(
        "--describe",
        action="store_true",
        help="train nothing: export the models in --output anew, and write what their cards say of scores and trust",
    )
    return parser.parse_args(arguments)


def main(arguments=None) -> None:
    """Train both models, unless they are, then score and write them."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    if options.describe:
        for direction in (ADD, REMOVE):
            described_again(direction, options)
        return
    trainer, sides = train(options)
    for direction in (ADD, REMOVE):
        build(direction, trainer, sides, options)


def sides_of(pairs: Path, manganite: Path) -> Sides:
    """Simulations of every second family of the training split, and experiments of the others: no pair is on both
    sides."""
    library = PairLibrary(pairs, "train")
    of_pairs = library.facts("family")
    known = sorted(set(of_pairs) - set(LEFT_OUT))
    families = {"simulations": known[::2], "experiments": known[1::2]}
    members = {side: [i for i, f in enumerate(of_pairs) if f in chosen] for side, chosen in families.items()}
    maps = MeasuredMaps(manganite, library.pair(0).ideal.shape[0])
    experiments = Mixture(
        SimulatedExperiments(library, True, members["experiments"]),
        Part(maps, np.tile(np.arange(len(maps)), REPEATED)),
    )
    simulations = SimulatedExperiments(library, False, members["simulations"], targets=False)
    return Sides(simulations, experiments, families)


def trainer_of(options, sides: Sides) -> UnpairedTrainer:
    """The training of both directions, which goes on from its checkpoint."""
    limit = {"steps": options.steps} if options.steps else {"steps": ANY_NUMBER, "minutes": options.minutes}
    schedule = Schedule(**limit, batch=BATCH, seed=options.seed, averaging=AVERAGING)
    folder = options.scratch / f"unpaired-2d-{options.seed}"
    seen = (Windows(side, WINDOW) for side in (sides.simulations, sides.experiments))
    return UnpairedTrainer(UnpairedRecipe(channels=CHANNELS, asymmetry=ASYMMETRY, flux=FLUX), schedule, *seen, folder)


def train(options) -> tuple[UnpairedTrainer, Sides]:
    """The trained networks and what they were trained on."""
    sides = sides_of(options.pairs, options.manganite)
    trainer = trainer_of(options, sides)
    with Bar("both directions") as bar:
        finished = trainer.run(lambda share, step, terms: bar(share, f"step {step}, cycle {terms['cycle']:.3f}"))
    if not finished:
        raise SystemExit(f"stopped after {trainer.step} steps; the same command goes on from {trainer.checkpoint}")
    return trainer, sides


def build(direction: str, trainer: UnpairedTrainer, sides: Sides, options) -> None:
    """Score, export and describe the model of one direction."""
    write(direction, trainer.averaged(direction), sides, _training(trainer, sides, options), options)


def described_again(direction: str, options) -> None:
    """Export the model of one direction, which is trained, and write its card anew."""
    model = read_model(options.output / NAMES[direction])
    sides = sides_of(options.pairs, options.manganite)
    write(direction, generator_of(model).eval(), sides, model.card.training, options)


def write(direction: str, generator, sides: Sides, training: Training, options) -> None:
    """Score, export and describe a model that is trained."""
    card = describe(direction, generator, sides, training, options)
    folder = options.output / NAMES[direction]
    folder.mkdir(parents=True, exist_ok=True)
    write_model(generator, card, folder / "model.onnx", folder / "card.json")
    for found in card.metrics:
        print(f"{card.name}: {found.title}; {found.conditions}\n  columns: {found.columns}")
        for row, values in found.rows.items():
            print(f"  {row:34s}", *values)


def of_split(pairs: Path, split: str, direction: str) -> SimulatedExperiments:
    """The pairs of a split as the input of a direction."""
    return SimulatedExperiments(PairLibrary(pairs, split), direction == REMOVE)


@torch.no_grad()
def rivals_of(direction: str, validation, counts: float | None, seed: int) -> tuple[dict, str]:
    """Simpler methods and the bundled model that was trained with pairs; how they were tuned, in words."""
    bundled = find_model(f"{direction}-2d")
    paired = {f"bundled {bundled.card.name}": of_generator(generator_of(bundled).eval())}
    if direction == ADD:
        return {"identity": identity, "covariance kernel on the cut": covariance_kernel} | paired, ""
    some = np.random.default_rng(seed).permutation(len(validation))[: TUNING[2]]
    tuning = batches(validation, direction, counts, seed + 1, some)
    tried = {n: float(np.median(nrmse_of(lambda b, n=n: lucy_exact(b, n), tuning)[0])) for n in ITERATIONS[2]}
    best = min(tried, key=tried.get)
    lucy = {"Richardson-Lucy, exact operator": lambda b: lucy_exact(b, best)}
    return {"identity": identity} | lucy | paired, f"{best}"


def nrmse_of(method, chosen: list) -> tuple[np.ndarray, float]:
    """NRMSE of each spectrum after one factor for all, and the factor."""
    found, factor = with_one_scale(method, chosen)
    scored = [losses.nrmse(f, b.target, b.valid).numpy() for f, b in zip(found, chosen, strict=True)]
    return np.concatenate(scored), factor


@torch.no_grad()
def scores_table(title: str, generator, library, rivals: dict[float | None, tuple[dict, str]], seed: int) -> Table:
    """Median NRMSE of the model and of `rivals_of` it, a column for each of their counts."""
    direction, rows, tuned = generator.direction, {}, []
    for counts, (methods, said) in rivals.items():
        tuned.append(said)
        chosen = batches(library, direction, counts, seed)
        for name, method in (methods | {"this model": of_generator(generator)}).items():
            rows.setdefault(name, []).append(round(float(np.median(nrmse_of(method, chosen)[0])), 4))
    conditions = (
        f"median NRMSE over {len(library)} simulated experiments whose truth is known, one scale for each method; "
        f"widths 1 to {WIDEST:g} times those told, tails, backgrounds and gaps drawn; seed {seed}"
    )
    if direction == REMOVE:
        conditions += f"; truth without any resolution; Richardson-Lucy iterations by validation: {' '.join(tuned)}"
    names = ["no noise" if c is None else f"{c:g} peak counts" for c in rivals]
    return Table(title=title, conditions=conditions, columns=names, rows=rows)


def describe(direction: str, generator, sides: Sides, training: Training, options) -> ModelCard:
    """The card: scores beside simpler methods, errors and domain from the validation split, recipe."""
    seed = options.seed + SCORING
    validation = of_split(options.pairs, "validation", direction)
    rivals = {counts: rivals_of(direction, validation, counts, seed) for counts in COUNTS[direction]}
    tables = tuple(
        scores_table(title, generator, of_split(options.pairs, split, direction), rivals, seed)
        for split, title in HELD_OUT.items()
    )
    errors = Errors(calibrate(generator, validation, seed), tables=tables)
    seen = sides.inputs(direction)
    domain, _ = domain_of(generator, seen, validation, seed, MOST)
    card = card_of(generator, NAMES[direction], VERSION, _description(direction), errors, training, domain)
    card = card.model_copy(update={"purpose": "experiment", "notes": [*card.notes, *_notes(direction)]})
    card = with_trust(card, generator, seen, validation, seed, MOST)
    scoring = of_split(options.pairs, "test-family", direction)
    card = with_coverage(card, generator, scoring, seed + 1, "held-out families, simulated experiments", MOST)
    return with_intervals_scored(card, generator, scoring, seed + 2)


def with_intervals_scored(card: ModelCard, generator, scoring, seed: int) -> ModelCard:
    """The card with the share of bins of other spectra whose truth lies within the intervals, and a note where one
    standard error, which is half of the interval of 68 %, covers much less or more than that."""
    counts = len(TRUST_COUNTS[card.direction]) if scoring.draws_counts else 1
    shares = []
    for s in judged(generator, scoring, seed, index=range(min(len(scoring), MOST // counts))):
        lowest, low, high, highest = (x[s.valid] for x in deviations(card.intervals, s.found, s.spread))
        away = (s.target - s.found)[s.valid]
        shares.append([(a <= away) & (away <= b) for a, b in ((low, high), (lowest, highest))])
    covered = [round(float(np.concatenate([s[i] for s in shares]).mean()), 3) for i in (0, 1)]
    found = Table(
        title="coverage of the intervals, held-out families, simulated experiments",
        conditions="share of valid bins with the target within the intervals of 68 and 95 %; "
        f"{noise_of(scoring, card.direction)}; seed {seed}",
        columns=["68 %", "95 %"],
        rows={"this model": covered, "expected": [0.683, 0.954]},
    )
    one, _ = card.coverage
    note = (
        f"one standard error covers the truth in {one:.3f} of the bins, not 0.683: the deviations are skew; the "
        f"intervals cover {covered[0]:.3f} and {covered[1]:.3f}, so take those (--intervals)"
    )
    notes = [*card.notes, note] if abs(one - 0.683) > MISSED else card.notes
    return card.model_copy(update={"metrics": [*card.metrics, found], "notes": notes})


def _description(direction: str) -> str:
    does = {
        ADD: "Turns a bare simulation into what the spectrometer would record, background included:",
        REMOVE: "Turns a measured slice, its background included, into a bare simulation without resolution:",
    }
    return (
        f"{does[direction]} 2D slices (Q and energy transfer, or two Q). Trained without pairs, against discriminators "
        "(CUT in both directions: adversarial, PatchNCE, cycle, flux and background terms), on bare simulations, on "
        "simulated experiments of other families and on measured maps of one material, the half-doped manganite "
        "Pr(Ca0.9Sr0.1)2Mn2O7 on MAPS (K. Butler, BSD 3-Clause). It starts from the calculated resolution."
    )


def _notes(direction: str) -> list[str]:
    energies = ", ".join(f"{SETTINGS[row][0]}" for row in TRAINED)
    notes = [
        "the background is a guess from E/Ei and |Q| alone, of the mean experiment of the training; that of one "
        "experiment may be any other",
        f"measured data of the training: one material, at Ei {energies} meV; all other experiments are simulated, with "
        f"widths on the cut 1 to {WIDEST:g} times those told and up to {LARGEST_TAIL:.0%} of the intensity in a tail",
        "errors and intervals are calibrated on simulated experiments and say nothing of data that differ from these",
    ]
    if direction == REMOVE:
        notes.append("an elastic line is kept apart, as it was in the training")
    return notes


def _training(trainer: UnpairedTrainer, sides: Sides, options) -> Training:
    length = f"--steps {options.steps}" if options.steps else f"--minutes {options.minutes:g}"
    held_out = PairLibrary(options.pairs, "test-family")
    of_sides = [f"{family} ({side})" for side, chosen in sides.families.items() for family in chosen]
    return training_of(
        trainer,
        f"python -m mantid_insgan.learn.build_unpaired --pairs PAIRS --manganite MAPS --seed {options.seed} {length}",
        0,
        [*of_sides, f"measured: {len(sides.experiments.libraries[1]) // REPEATED} maps of Pr(Ca0.9Sr0.1)2Mn2O7"],
        held_out_families=sorted(set(held_out.facts("family"))),
        settings=[say_setting(s) for s in settings_of("train")],
        held_out_settings=[
            *(say_setting(s) for s in settings_of("test-setting")),
            "the manganite's maps at Ei 50 and 100 meV",
        ],
        software=("pyspinw", "resins"),
    )


if __name__ == "__main__":
    main()
