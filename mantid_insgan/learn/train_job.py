"""Train a model on users' spectra or on pairs, and write it with its card, loss curves and an example."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import shlex
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..core.files import replacing
from ..core.options import BUNDLED, DIRECTIONS, TrainOptions, option_of, require_file
from ..errors import InputError, ModelError
from ..report.training import draw_example, draw_losses
from ..translate.cards import LARGEST_ERROR_FACTOR, ModelCard, choose_model
from .calibration import with_trust_of_held_out
from .checkpoint import CHECKPOINT, check_recipe, read_facts, recipe_text
from .describe import SCORING, card_of, domain_of, errors_of, errors_of_stopped, training_of, write_model
from .evaluate import FEWEST_TO_PART
from .examples import stack
from .export import trace_form
from .generator import GRID_MULTIPLE, SMALLEST_GRID, Generator
from .libraries import PairLibrary, SpectraLibrary
from .paired import PairedRecipe, PairedTrainer
from .pairs.shards import read_index
from .sources import (
    SIDES,
    VALIDATION,
    Source,
    check_device,
    check_given,
    check_sides,
    check_target,
    notes_of,
    read_sources,
    resume_folder,
)
from .trainer import Machine, Schedule, Trainer
from .unpaired import UnpairedRecipe, UnpairedTrainer
from .warm_start import generator_of

#: By the number of dimensions: spectra in a step, channels of a new generator, bins of the windows cut out of spectra.
BATCH = {1: 32, 2: 8, 3: 2}
CHANNELS = {1: 32, 2: 24, 3: 12}
WINDOW = {1: 64, 2: 64, 3: 32}
#: Minutes of a training for which neither minutes, epochs nor steps are given.
MINUTES = 20.0
#: Inputs from which the domain of a model is found; of a model whose training was stopped, by the number of
#: dimensions, fewer, and as many pairs calibrate its errors, so that it is written in seconds.
DOMAIN_OF, OF_STOPPED = 200, {1: 16, 2: 16, 3: 8}
#: What is said when a stop is asked for.
STOPPING = "interrupted: ends the current step, then writes the model so far (Ctrl-C again keeps only the checkpoint)"
#: More steps than any training by minutes reaches.
_ENDLESS = 10_000_000


@dataclass(frozen=True)
class Trained:
    """The files and facts of a training that has ended.

    Parameters
    ----------
    model : Path
        The ONNX file; its card beside it has the same name with .json.
    losses, curves, picture : Path
        CSV, PNG, and a spectrum before and after (PNG).
    steps : int
    minutes : float
    finished : bool
        False if it was stopped early; the model is then that of the last step.
    checkpoint : Path
        From which the training can be resumed.
    errors : {'calibrated', 'not calibrated'}
        The model's standard errors, as on its card.
    notes : tuple of str
        Run facts that options replaced, and the notes of the card.
    """

    model: Path
    losses: Path
    curves: Path
    picture: Path
    steps: int
    minutes: float
    finished: bool
    checkpoint: Path
    errors: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Data:
    """The data of a training; `held_out` and `unseen` are never trained on."""

    training: object
    held_out: object  #: inputs with their targets, or None
    other: object = None  #: experiments of unpaired training
    names: tuple[str, ...] = ()
    digest: str = ""  #: of the spectra, so that a checkpoint is not resumed with others
    unseen: object = None  #: inputs of unpaired training without `held_out`, for the threshold of the domain
    notes: tuple[str, ...] = ()

    @property
    def dimensions(self) -> int:
        return self.training.dimensions

    def inputs(self, direction: str):
        """The side that a model of this direction takes as input."""
        return self.other if self.other is not None and direction == "remove-resolution" else self.training


def train_model(
    options: TrainOptions,
    output: str | Path,
    *,
    overwrite: bool = False,
    progress=None,
    said=None,
    sides: dict[str, list[Source]] | None = None,
) -> Trained:
    """Train a model and write it with its card, loss curves and a picture.

    Parameters
    ----------
    options : TrainOptions
    output : str or Path
        The ONNX file to write.
    overwrite : bool
        Replace the output if it exists.
    progress : callable, optional
        Called with (share done, step, losses) after each step; if it returns True, the training stops and
        its model is written.
    said : callable, optional
        Called with a text when a stop is asked for (Ctrl-C, SIGTERM), and when the model is written.
    sides : dict of list of Source, optional
        Spectra in memory instead of files, as {'--simulation': ..., '--experiment': ...}, and optionally those that
        only score the model (`sources.VALIDATION`).

    Returns
    -------
    Trained

    Raises
    ------
    InsganError
        Before the first step if options, data or output are not valid; later if a loss is no longer finite or the
        disk is full.
    """
    output = Path(output)
    check_target(options, output, overwrite)
    check_device(options.device)
    data = _data(options, sides)
    trainer = _trainer(options, data, resume_folder(options, output))
    said = said or (lambda text: None)
    name = "generator" if isinstance(trainer, PairedTrainer) else options.direction
    graph = trace_form(trainer.averaged(name))
    finished = trainer.run(progress, on_stop=lambda: said(STOPPING))
    return _written(trainer.averaged(name), trainer, data, options, output, finished, graph, said)


def check_resume(options: TrainOptions, output: Path, sides: dict[str, list[Source]] | None = None) -> None:
    """Check whether a training can resume from its checkpoint, if it has one, without preparing data or networks.

    Only the facts of the checkpoint are read. The number of steps that `options.epochs` stands for depends on how the
    spectra are cut, so it is compared when the training begins.

    Parameters
    ----------
    options, output, sides
        As `train_model`.

    Raises
    ------
    ModelError
        If the checkpoint is of another version or was made with another recipe or other spectra.
    """
    checkpoint = resume_folder(options, output) / CHECKPOINT
    if not checkpoint.exists():
        return
    facts = read_facts(checkpoint)
    if options.pairs is not None:
        dimensions, digest = read_index(Path(options.pairs))["recipe"]["dimensions"], ""
    else:
        sides = sides or _read_sides(options)
        dimensions, digest = check_sides(sides, options.paired), _digest(sides)
    steps = json.loads(facts["recipe"])["steps"] if options.epochs and not options.steps else options.steps
    plan = _plan(options, dimensions, steps)
    check_recipe(checkpoint, facts, recipe_text(plan.kind, plan.recipe, plan.schedule, digest))


def _read_sides(options: TrainOptions) -> dict[str, list[Source]]:
    return {flag: read_sources(getattr(options, option_of(flag)), flag, options) for flag in (*SIDES, *VALIDATION)}


def _data(options: TrainOptions, sides) -> _Data:
    given = (bool(sides or getattr(options, option_of(flag))) for flag in SIDES)
    check_given(*given, options.pairs is not None)
    require_file(options, options.pairs is None, "the data are pairs (--pairs)")
    if options.pairs is not None:
        training, held_out = PairLibrary(options.pairs, "train"), PairLibrary(options.pairs, "validation")
        return _Data(training, held_out, names=tuple(sorted(set(training.facts("family")))))
    sides = _read_sides(options) if sides is None else sides
    dimensions = check_sides(sides, options.paired)
    about = {
        "names": tuple(s.name for flag in SIDES for s in sides[flag]),
        "digest": _digest(sides),
        "notes": notes_of(sides),
    }
    # No wider than the widest spectrum: trained with wide empty margins, a model finds spectra without them strange.
    widest = max(n for sources in sides.values() for s in sources for n in s.spectrum.shape)
    window = min(WINDOW[dimensions], max(SMALLEST_GRID, -(-widest // GRID_MULTIPLE) * GRID_MULTIPLE))

    def library(sources, targets=None):
        return SpectraLibrary(
            [(s.spectrum, s.resolution) for s in sources],
            dimensions,
            window,
            None if targets is None else [t.spectrum for t in targets],
        )

    def pairs(flags):
        one, other = (sides.get(flag, []) for flag in flags)
        return (other, one) if options.direction == "remove-resolution" else (one, other)

    validation = pairs(VALIDATION)
    held_out = library(*validation) if validation[0] else None
    if not options.paired:
        return _unpaired_data(options.direction, sides, library, held_out, about)
    one, other = pairs(SIDES)
    if held_out is not None:
        return _Data(library(one, other), held_out, **about)
    kept = _kept_out(one)
    held_out = library(one[-kept:], other[-kept:])
    return _Data(library(one[:-kept], other[:-kept]), held_out, **about)


def _unpaired_data(direction: str, sides, library, held_out, about: dict) -> _Data:
    """Both sides. Without pairs that score the model, some inputs are held out for the threshold of its domain."""
    trained, unseen = {flag: sides[flag] for flag in SIDES}, None
    inputs = "--experiment" if direction == "remove-resolution" else "--simulation"
    if held_out is None and len(sides[inputs]) >= FEWEST_TO_PART:
        kept = _kept_out(sides[inputs])
        unseen = library(sides[inputs][-kept:])
        trained[inputs] = sides[inputs][:-kept]
    one, other = (library(trained[flag]) for flag in SIDES)
    return _Data(one, held_out, other, unseen=unseen, **about)


def _kept_out(spectra) -> int:
    """How many of the last spectra are held out: one in twenty, at least one."""
    return max(1, len(spectra) // 20)


def _digest(sides: dict[str, list[Source]]) -> str:
    """A hash of the spectra of both sides."""
    found = hashlib.sha256()
    for flag in SIDES:
        found.update(flag.encode())
        for source in sides[flag]:
            for values in (source.spectrum.signal, source.spectrum.variance):
                found.update(np.ascontiguousarray(values).tobytes())
    return found.hexdigest()[:16]


@dataclass(frozen=True)
class _Plan:
    """A training without its data: `start` is a generator of a paired training, or generators by direction."""

    kind: type[Trainer]
    recipe: PairedRecipe | UnpairedRecipe
    schedule: Schedule
    start: Generator | dict[str, Generator] | None


def _plan(options: TrainOptions, d: int, steps: int | None) -> _Plan:
    """What is trained in `d` dimensions and how; without `steps` by minutes."""
    start = _start(options, d)
    schedule = _schedule(options, d, steps, warm=start is not None)
    # Measured spectra have a background, the pairs of make-pairs none.
    sides = {"simulation": _simulation(options), "background": options.pairs is None}
    if options.paired or options.pairs is not None:
        channels = CHANNELS[d] if start is None else start.channels
        return _Plan(PairedTrainer, PairedRecipe(options.direction, d, channels, **sides), schedule, start)
    starts = _both_directions(options, start, d)
    recipe = UnpairedRecipe(d, start.channels if starts else CHANNELS[d], **sides)
    return _Plan(UnpairedTrainer, recipe, schedule, starts)


def _schedule(options: TrainOptions, dimensions: int, steps: int | None, warm: bool) -> Schedule:
    batch, minutes = options.batch or BATCH[dimensions], options.minutes
    if steps is None:
        steps, minutes = _ENDLESS, minutes or MINUTES
    for name, value in (("--batch", batch), ("--steps or --epochs", steps), ("--minutes", minutes)):
        if value is not None and not value > 0:
            raise InputError(f"{name} is {value}", "give a number above 0")
    return Schedule(
        steps=steps,
        minutes=minutes,
        batch=batch,
        # From a model that knows the physics already, small steps.
        learning_rate=options.learning_rate * (0.25 if warm else 1.0),
        warm_up=min(200, max(1, steps // 10)),
        seed=options.seed,
    )


def _trainer(options: TrainOptions, data: _Data, folder: Path) -> Trainer:
    steps = options.steps
    if options.epochs and not steps:
        steps = math.ceil(options.epochs * len(data.training) / (options.batch or BATCH[data.dimensions]))
    plan = _plan(options, data.dimensions, steps or None)
    tensorboard = Path(options.tensorboard) if options.tensorboard else None
    machine = Machine(options.device, options.precision, tensorboard)
    sides = [data.training] if data.other is None else [data.training, data.other]
    trainer = plan.kind(plan.recipe, plan.schedule, *sides, folder, machine, plan.start)
    trainer.data = data.digest
    return trainer


def _simulation(options: TrainOptions) -> str:
    return "convolved" if options.simulation_convolved else "ideal"


def _both_directions(options: TrainOptions, start: Generator | None, dimensions: int) -> dict[str, Generator]:
    """The generators to start from, by direction; empty if one of the two is missing or of another size."""
    if start is None or start.simulation != "ideal":
        return {}
    starts = {direction: _bundled(direction, dimensions) for direction in DIRECTIONS} | {options.direction: start}
    fitting = all(s is not None and s.channels == start.channels for s in starts.values())
    return starts if fitting else {}


def _start(options: TrainOptions, dimensions: int) -> Generator | None:
    if options.warm_start == "none":
        return None
    if options.warm_start == BUNDLED:
        # The bundled models take ideal simulations.
        return None if options.simulation_convolved else _bundled(options.direction, dimensions)
    model = choose_model(options.direction, dimensions, options.warm_start, any_purpose=True)
    if model.card.background and (options.pairs is not None):
        raise ModelError(
            f"the model {model.card.name} knows a background, and pairs (--pairs) have none on one side alone",
            "start from another model (--warm-start), or train on --simulation and --experiment",
        )
    if model.card.simulation != _simulation(options):
        raise ModelError(
            f"the model {model.card.name} is for simulations that are {model.card.simulation}, and those given are "
            f"{_simulation(options)}",
            "start from another model (--warm-start), or see --simulation-convolved",
        )
    return generator_of(model)


def _bundled(direction: str, dimensions: int) -> Generator | None:
    """The bundled model's generator; None if no model of these dimensions is bundled."""
    from ..translate.cards import bundled_models

    for model in bundled_models():
        if (model.card.translation, model.card.dimensions) == (direction, dimensions):
            return generator_of(model)
    return None


def _written(generator, trainer, data, options, output: Path, finished: bool, graph: bytes, said) -> Trained:
    steps = f"{output.name} after {trainer.step} steps"
    said(f"writing {steps}: curves and an example")
    beside = {what: output.with_name(f"{output.stem}.{what}") for what in ("losses.csv", "losses.png", "example.png")}
    _write_losses(trainer.history, beside["losses.csv"])
    draw_losses(trainer.history, beside["losses.png"])
    shown = data.held_out or data.inputs(generator.direction)
    draw_example(*_example_of(generator, shown, trainer.schedule.seed), beside["example.png"])
    said(f"writing {steps}: {'scores' if finished else 'errors and domain'}")
    card = _card(output.stem, generator, trainer, data, options, finished)
    said(f"writing {steps}: the graph, and a comparison with torch")
    write_model(generator, card, output, output.with_suffix(".json"), graph)
    return Trained(
        output,
        beside["losses.csv"],
        beside["losses.png"],
        beside["example.png"],
        trainer.step,
        round(trainer.seconds / 60, 2),
        finished,
        trainer.checkpoint,
        card.errors,
        (*data.notes, *card.notes),
    )


def _card(name: str, generator: Generator, trainer: Trainer, data: _Data, options, finished: bool) -> ModelCard:
    seed = trainer.schedule.seed + SCORING
    if finished:
        errors, most = errors_of(generator, data.held_out, seed), DOMAIN_OF
    else:
        most = OF_STOPPED[generator.dimensions]
        errors = errors_of_stopped(generator, data.held_out, seed, most)
    seen, unseen = data.inputs(generator.direction), data.held_out or data.unseen
    domain, notes = domain_of(generator, seen, unseen, seed, most=most)
    what, kind = "families of pairs" if options.pairs else "spectra", "paired" if data.other is None else "unpaired"
    description = f"Trained on {len(data.names)} {what}, {kind}."
    training = training_of(trainer, command_of(options), len(data.training), data.names)
    card = card_of(generator, name, "1", description, errors, training, domain, notes)
    if not finished or data.held_out is None or errors.factor >= LARGEST_ERROR_FACTOR:
        return card
    return with_trust_of_held_out(card, generator, seen, data.held_out, seed)


def command_of(options: TrainOptions) -> str:
    """The command line of the same training, with paths shortened to file names."""
    words = ["insgan train"]
    for name, value in options.given().items():
        flag = TrainOptions.__dataclass_fields__[name].metadata["flag"]
        if isinstance(value, bool):
            words.append(flag)
        elif isinstance(value, tuple):
            words += [f"{flag} {shlex.quote(Path(v).name)}" for v in value]
        else:
            shown = Path(value).name if name in ("pairs", "resume", "warm_start") else str(value)
            words.append(f"{flag} {shlex.quote(shown)}")
    return " ".join(words)


def _write_losses(history: list[dict], path: Path) -> None:
    names = list(history[-1]) if history else ["step"]
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, names)
        writer.writeheader()
        writer.writerows({k: round(v, 6) for k, v in row.items()} for row in history)


@torch.no_grad()
def _example_of(generator: Generator, library, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """One spectrum before and after, its target where there is one, and its valid bins."""
    batch = stack(library.examples([0], generator.direction, np.random.default_rng(seed)))
    panels = {"before": batch.signal, "after": generator(*batch.inputs())[0]}
    if batch.target.abs().sum() > 0:
        panels["target"] = batch.target
    return {name: values[0, 0].numpy() for name, values in panels.items()}, batch.valid[0, 0].numpy() > 0
