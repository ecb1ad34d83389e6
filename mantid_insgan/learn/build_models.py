"""Rebuild the bundled models: ``python -m mantid_insgan.learn.build_models`` (or ``make models``).

Draws the pairs, trains, scores models and simpler methods, exports and writes the cards. The seed determines
everything; a stopped run resumes from the scratch folder.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ..core.kernels import LARGEST_FWHM_BINS
from ..core.options import DIRECTIONS
from ..translate.cards import ModelCard, Training, read_model
from .calibration import with_coverage, with_trust
from .describe import SCORING, Errors, card_of, domain_of, training_of, write_model
from .evaluate import Baselines, calibrate, table
from .libraries import PairLibrary, Several
from .paired import PairedRecipe, PairedTrainer
from .pairs import make_pairs
from .pairs.cuts import cuts_of_slices
from .pairs.recipe import families_of, settings_of
from .train_job import BATCH, CHANNELS
from .trainer import Machine, Schedule
from .warm_start import generator_of

VERSION = "4"
#: Peak counts at which models are scored; None is without noise. There are fewer for slices and volumes, which take a
#: second each and more.
COUNTS = {"add-resolution": (None, 300.0), "remove-resolution": (None, 3000.0, 300.0, 30.0)}
COUNTS_OF_SLICES, COUNTS_OF_VOLUMES = (None, 300.0, 30.0), (None, 300.0)
HELD_OUT = {
    "test-family": "held-out families of Hamiltonians",
    "test-setting": "held-out instrument settings",
}
#: The finer sides (`Pair.sides`) that models are scored with, and what is said of them: the stated one, or none.
TARGETS = {"add-resolution": {0: ""}, "remove-resolution": {1: "", 0: ", target without resolution"}}


@dataclass(frozen=True)
class Size:
    """Number of pairs and of training steps for one number of dimensions."""

    pairs: int
    steps: int


SIZES = {1: Size(1024, 8000), 2: Size(10_000, 8000), 3: Size(2000, 5000)}
#: Of steps, where the time decides.
ANY_NUMBER = 1_000_000
#: Share of the learning rate that models which are trained are refined with.
REFINING = 0.25
#: Cuts of each slice of a split that models of one dimension are trained on, or their cards calibrated with, too.
CUTS_PER_SLICE = {"train": 12, "validation": 4}


def parse(arguments=None):
    """The command line's options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dimensions", type=int, choices=(1, 2, 3), action="append", help="build only these")
    parser.add_argument("--direction", choices=tuple(DIRECTIONS), action="append", help="build only these")
    parser.add_argument("--output", type=Path, default=Path("models"))
    parser.add_argument("--scratch", type=Path, default=Path("build/training"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2, help="processes that draw pairs")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads that train")
    parser.add_argument("--accelerator", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--feeders", type=int, default=0, help="processes that draw examples ahead of the training")
    parser.add_argument("--minutes", type=float, help="train for so long, however many steps that is")
    parser.add_argument("--batch", type=int, help="examples in a step")
    parser.add_argument("--steps", type=int, help="train for so many steps; default: those of the recipe")
    parser.add_argument("--pairs", type=int, help="draw so many pairs; default: those of the recipe")
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--refine",
        action="store_true",
        help="begin with the models in --output, and with a quarter of the usual learning rate",
    )
    how.add_argument(
        "--describe",
        action="store_true",
        help="train nothing: export the models in --output anew, and write what their cards say of scores and trust",
    )
    return parser.parse_args(arguments)


def main(arguments=None) -> None:
    """Build what the options ask for."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    for dimensions in options.dimensions or SIZES:
        folder = draw_pairs(dimensions, options)
        for direction in options.direction or DIRECTIONS:
            (described_again if options.describe else build)(direction, dimensions, folder, options)


def draw_pairs(dimensions: int, options) -> Path:
    """Draw pairs of these dimensions into a folder, resuming if it exists."""
    folder = options.scratch / f"pairs-{dimensions}d-{options.seed}"
    with Bar(f"{dimensions}D pairs") as bar:
        make_pairs(
            dimensions,
            options.pairs or SIZES[dimensions].pairs,
            options.seed,
            options.workers,
            folder,
            method="covariance",
            progress=lambda done, total: bar(done / total),
        )
    return folder


def library_of(split: str, dimensions: int, pairs: Path, options) -> PairLibrary | Several:
    """The pairs of a split, and in one dimension also cuts of its slices."""
    library = PairLibrary(pairs, split)
    if dimensions > 1:
        return library
    number, name = CUTS_PER_SLICE[split], "cuts" if split == "train" else f"cuts-{split}"
    slices, cuts = draw_pairs(2, options), options.scratch / f"{name}-{options.seed}"
    with Bar("cuts of slices") as bar:
        told = {"split": split, "progress": lambda done, total: bar(done / total)}
        cuts_of_slices(slices, cuts, number, options.seed, **told)
    return Several(library, PairLibrary(cuts))


def schedule_of(dimensions: int, options) -> Schedule:
    """The schedule of one training."""
    steps = SIZES[dimensions].steps if options.minutes is None else ANY_NUMBER
    batch = options.batch or BATCH[dimensions]
    schedule = Schedule(steps=options.steps or steps, batch=batch, seed=options.seed, minutes=options.minutes)
    return replace(schedule, learning_rate=REFINING * schedule.learning_rate) if options.refine else schedule


def build(direction: str, dimensions: int, pairs: Path, options) -> None:
    """Train, score, export and describe one model."""
    name = f"{direction}-{dimensions}d"
    before = read_model(options.output / name) if options.refine else None
    checkpoints = f"{name}-{options.seed}" + ("-refined" if options.refine else "")
    trainer = PairedTrainer(
        PairedRecipe(direction, dimensions, CHANNELS[dimensions]),
        schedule_of(dimensions, options),
        library_of("train", dimensions, pairs, options),
        options.scratch / checkpoints,
        Machine(options.accelerator, feeders=options.feeders),
        start=before and generator_of(before),
    )
    with Bar(name) as bar:
        trainer.run(lambda share, step, terms: bar(share, f"NRMSE {terms['nrmse']:.3f}"))
    generator = trainer.averaged("generator")
    training = _training(trainer, generator, options)
    write(name, generator, training if before is None else _both(before.card.training, training), pairs, options)


def described_again(direction: str, dimensions: int, pairs: Path, options) -> None:
    """Export a model that is trained, and write its card anew."""
    name = f"{direction}-{dimensions}d"
    model = read_model(options.output / name)
    write(name, generator_of(model).eval(), model.card.training, pairs, options)


def write(name: str, generator, training: Training, pairs: Path, options) -> None:
    """Score, export and describe a model that is trained."""
    folder = options.output / name
    folder.mkdir(parents=True, exist_ok=True)
    card = describe(name, generator, training, pairs, options)
    write_model(generator, card, folder / "model.onnx", folder / "card.json")
    for found in card.metrics:
        print(f"{name}: {found.title}; {found.conditions}\n  columns: {found.columns}")
        for row, values in found.rows.items():
            print(f"  {row:34s}", *values)


def _trusted(card: ModelCard, generator, pairs: Path, options) -> ModelCard:
    """A card with its intervals and its domain, from pairs of the validation split, and their coverage."""
    seed = options.seed + SCORING
    training, unseen = (library_of(split, generator.dimensions, pairs, options) for split in ("train", "validation"))
    card = with_trust(card, generator, training, unseen, seed)
    scoring = PairLibrary(pairs, "test-family")
    return with_coverage(card, generator, scoring, seed + 1, "held-out families")


def describe(name: str, generator, training: Training, pairs: Path, options) -> ModelCard:
    """The card: scores beside baselines, coverage of the errors, domain of application, recipe."""
    seed = options.seed + SCORING
    validation = PairLibrary(pairs, "validation")
    factor = calibrate(generator, validation, seed)
    counts = counts_of(generator.direction, generator.dimensions)
    held_out = {split: PairLibrary(pairs, split) for split in HELD_OUT}
    tables = []
    for finer, target in TARGETS[generator.direction].items():
        baselines = Baselines(generator.direction, validation, seed, finer)
        tables += [
            table(HELD_OUT[split] + target, library, baselines, {"this model": generator}, counts, seed)
            for split, library in held_out.items()
        ]
    errors = Errors(factor, tables=tuple(tables))
    domain, _ = domain_of(generator, library_of("train", generator.dimensions, pairs, options), validation, seed)
    card = card_of(generator, name, VERSION, _description(generator), errors, training, domain)
    return _trusted(card, generator, pairs, options)


def counts_of(direction: str, dimensions: int) -> tuple[float | None, ...]:
    """Peak counts at which a model is scored."""
    return {2: COUNTS_OF_SLICES, 3: COUNTS_OF_VOLUMES}.get(dimensions, COUNTS[direction])


def _description(generator) -> str:
    does = "Adds the resolution to" if generator.adds else "Removes the resolution from"
    what = {1: "1D cuts", 2: "2D slices (Q and energy transfer, or two Q)", 3: "3D volumes"}[generator.dimensions]
    return (
        f"{does} {what} for any widths up to {LARGEST_FWHM_BINS:g} bins FWHM. Trained on pairs, with no discriminator: "
        "spin waves and levels convolved with a Gaussian of full covariance in (Q, E), momenta outside the cut "
        "included, and what detectors see beside them; the asymmetry of pulses is not in its training. It is told the "
        f"resolution of the {'input' if generator.adds else 'target'}: none, or one that is finer than the "
        "spectrometer's by any factor."
    )


def _training(trainer, generator, options) -> Training:
    accelerator = trainer.device.split(",")[0]
    more = {"--accelerator": accelerator, "--minutes": options.minutes, "--steps": options.steps}
    more |= {"--pairs": options.pairs, "--batch": options.batch, "--refine": "" if options.refine else None}
    more = {flag: value for flag, value in more.items() if value not in (None, "cpu")}
    return training_of(
        trainer,
        f"python -m mantid_insgan.learn.build_models --dimensions {generator.dimensions} "
        f"--direction {generator.direction} --seed {trainer.schedule.seed}"
        + "".join(
            f" {flag} {value:g}" if isinstance(value, float) else f" {flag} {value}".rstrip()
            for flag, value in more.items()
        ),
        trainer.pairs,
        sorted(f.name for f in families_of("train")),
        held_out_families=sorted(f.name for f in families_of("test-family")),
        settings=[say_setting(s) for s in settings_of("train")],
        held_out_settings=[say_setting(s) for s in settings_of("test-setting")],
        software=("pyspinw", "resins"),
    )


def _both(first: Training, then: Training) -> Training:
    """What a card says of a model that was trained, and then refined."""
    return then.model_copy(
        update={
            "command": f"{first.command} && {then.command}",
            "steps": first.steps + then.steps,
            "minutes": first.minutes + then.minutes,
            "device": ", then ".join(dict.fromkeys([first.device, then.device])),
            "pairs": max(first.pairs, then.pairs),
        }
    )


def say_setting(setting) -> str:
    """A setting of the recipe in words."""
    instrument, chopper, frequency, low, high = setting
    return f"{instrument} {chopper} {frequency} Hz, Ei {low} to {high} meV"


class Bar:
    """A progress bar, called with the share done and a text."""

    def __init__(self, title: str):
        self.progress = Progress(
            TextColumn(title), BarColumn(), TextColumn("{task.fields[said]}"), TimeRemainingColumn()
        )

    def __enter__(self):
        self.progress.__enter__()
        self.task = self.progress.add_task("", total=1.0, said="")
        return self

    def __call__(self, share, said=""):
        self.progress.update(self.task, completed=share, said=said)

    def __exit__(self, *raised):
        return self.progress.__exit__(*raised)


if __name__ == "__main__":
    main()
