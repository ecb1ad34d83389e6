"""Rebuilds the bundled models: ``python -m mantid_insgan.gan.build_models`` (or ``make models``).

Draws the training pairs, trains, scores beside the baselines, exports and writes the cards. Everything follows from
the seed; a run that was stopped goes on from the scratch folder.
"""

from __future__ import annotations

import argparse
import platform
import shutil
from importlib.metadata import version
from pathlib import Path

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ..cards import DIRECTIONS, Domain, ModelCard, Table, Training, write_card
from ..pairs import HELD_OUT_SETTINGS, TRAINING_SETTINGS
from ..spinw.zoo import HELD_OUT, split
from .data import Library, build_library
from .evaluate import Scorer, calibrate, coverage, domain_of_application
from .export import export
from .networks import GRID_MULTIPLE, LARGEST_FWHM_BINS, SMALLEST_GRID
from .train import Recipe, Trainer

VERSION = "1"
NORMALISATION = "each slice is divided by the root mean square of its valid signal, and multiplied by it afterwards"
COUNTS = {"add-resolution": (None, 300.0), "remove-resolution": (None, 3000.0, 300.0, 30.0)}


def parse(arguments=None):
    """The command line's options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--direction", choices=DIRECTIONS, action="append", help="build only this one")
    parser.add_argument("--output", type=Path, default=Path("models"))
    parser.add_argument("--scratch", type=Path, default=Path("build/training"))
    parser.add_argument("--models", type=int, default=900, help="Hamiltonians to draw for training")
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2, help="processes that draw pairs")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads that train")
    parser.add_argument("--accelerator", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--library-only", action="store_true", help="draw the pairs and stop")
    return parser.parse_args(arguments)


def main(arguments=None) -> None:
    """Build what the options ask for."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    libraries = make_libraries(options)
    if not options.library_only:
        for direction in options.direction or DIRECTIONS:
            build(direction, options, libraries)


def make_libraries(options) -> dict[str, Library]:
    """Training, validation (same families, other draws) and held-out (other families, other settings) pairs."""
    known, unknown = ([f.name for f in part] for part in split())
    share = max(len(known), options.models // 10)
    wanted = {
        "training": (options.models, options.seed, known, TRAINING_SETTINGS),
        "validation": (share, options.seed + 1000, known, TRAINING_SETTINGS),
        "held-out": (share, options.seed + 2000, unknown, HELD_OUT_SETTINGS),
    }
    options.scratch.mkdir(parents=True, exist_ok=True)
    libraries = {}
    for name, (models, seed, names, settings) in wanted.items():
        path = options.scratch / f"{name}-{models}-{seed}.npz"
        if not path.exists():
            with _bar(f"pairs for {name}") as bar:
                build_library(models, seed, names, settings, options.workers, bar).save(path)
        libraries[name] = Library.load(path)
    return libraries


def build(direction: str, options, libraries) -> None:
    """Train, score, export and describe the model of one direction."""
    recipe = Recipe(direction, steps=options.steps, seed=options.seed)
    trainer = Trainer(recipe, libraries["training"], options.scratch / f"seed-{options.seed}", options.accelerator)
    with _bar(direction) as bar:
        generator = trainer.run(bar)
    minutes = trainer.seconds / 60
    name = f"{direction}-2d"
    folder, made = options.output / name, options.scratch / name
    for place in (folder, made):
        place.mkdir(parents=True, exist_ok=True)
    export(generator, made / "model.onnx")
    card = describe(name, generator, recipe, libraries, options, minutes)
    write_card(card, made / "model.onnx")
    for part in ("model.onnx", "card.json"):  # only now: a model beside another's card is refused
        shutil.move(made / part, folder / part)
    for table in card.metrics:
        print(f"{name}: {table.title}; {table.conditions}\n  columns: {table.columns}")
        for row, values in table.rows.items():
            print(f"  {row:34s}", *values)


def describe(name, generator, recipe, libraries, options, minutes) -> ModelCard:
    """The card: metrics beside baselines, coverage of the errors, domain of application, recipe."""
    seed = recipe.seed + 5000
    scorer = Scorer(generator, libraries["validation"])
    factor = calibrate(generator, libraries["validation"], seed)
    counts = COUNTS[recipe.direction]
    held_out = libraries["held-out"]
    tables = [
        scorer.table("held-out families of Hamiltonians and held-out instrument settings", held_out, counts, seed),
        scorer.table("training families and settings, other draws", libraries["validation"], (None, 300.0), seed + 2),
        Table(
            title="coverage of the standard errors, held-out families and settings",
            conditions=f"share of valid bins with the truth within 1 and 2 standard errors; 20 to 20000 peak counts, "
            f"30 % without noise; seed {seed}",
            columns=["1 standard error", "2 standard errors"],
            rows=coverage(generator, held_out, factor, seed),
        ),
    ]
    verb = "Adds the resolution to" if recipe.direction == "add-resolution" else "Removes the resolution from"
    return ModelCard(
        name=name,
        version=VERSION,
        direction=recipe.direction,
        dimensions=recipe.dimensions,
        description=f"{verb} 2D slices (Q and energy transfer, two Q, or a cut) for any widths up to "
        f"{LARGEST_FWHM_BINS:g} bins FWHM. Trained on spin-wave slices blurred with Gaussians of the instrument's FWHM "
        "in energy and a stated FWHM in Q; tilted Q-E correlations and Q outside the slice are not in its training.",
        normalisation=NORMALISATION,
        grid_multiple=GRID_MULTIPLE,
        smallest_grid=SMALLEST_GRID,
        largest_fwhm_bins=LARGEST_FWHM_BINS,
        error_factor=factor,
        training=_training(recipe, libraries, options, minutes),
        metrics=tables,
        domain=Domain(**domain_of_application(generator, libraries["training"], libraries["validation"], seed)),
    )


def _training(recipe, libraries, options, minutes) -> Training:
    return Training(
        command=f"python -m mantid_insgan.gan.build_models --seed {recipe.seed} --models {options.models} "
        f"--steps {recipe.steps}",
        seed=recipe.seed,
        steps=recipe.steps,
        minutes=round(minutes, 1),
        device=f"{options.accelerator}, {options.threads} threads, {platform.machine()}",
        families=sorted(set(map(str, libraries["training"].family))),
        held_out_families=sorted(HELD_OUT),
        settings=[_say(s) for s in TRAINING_SETTINGS],
        held_out_settings=[_say(s) for s in HELD_OUT_SETTINGS],
        pairs=len(libraries["training"]),
        software={name: version(name) for name in ("torch", "onnx", "onnxruntime", "pyspinw", "resins", "numpy")},
    )


def _say(setting) -> str:
    instrument, chopper, frequency, low, high = setting
    return f"{instrument} {chopper} {frequency} Hz, Ei {low} to {high} meV"


class _bar:
    """A progress bar that is called with (done, total[, loss])."""

    def __init__(self, title: str):
        self.progress = Progress(
            TextColumn(title),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f} {task.fields[loss]}"),
            TimeRemainingColumn(),
        )

    def __enter__(self):
        self.progress.__enter__()
        self.task = self.progress.add_task("", total=1, loss="")
        return self

    def __call__(self, done, total, loss=None):
        said = "" if loss is None else f"NRMSE {loss:.3f}"
        self.progress.update(self.task, completed=done, total=total, loss=said)

    def __exit__(self, *raised):
        return self.progress.__exit__(*raised)


if __name__ == "__main__":
    main()
