"""Train a classifier between rival models from their files, and write it with its card."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np

from ..core.files import check_output
from ..core.model_options import ClassifierOptions
from ..core.options import overridden
from ..core.slices import require_network_axes
from ..core.spectrum import Spectrum
from ..errors import InputError
from ..instruments import Resolution
from ..io import read_as
from ..models.definition import ModelDefinition, read_model
from ..models.placing import run_in_cell
from ..translate.cards import Table, write_card
from ..translate.classifier_card import ClassifierCard, ClassifierFile, Grid
from .classifier import (
    MEMBERS,
    Ensemble,
    answers,
    calibrate,
    export_classifier,
    nearest_mean,
    scores,
    train_ensemble,
    unknown,
)
from .describe import SOFTWARE
from .rivals import COUNTS, Examples, Laboratory, Simulated, examples, ranges_of
from .sources import find_files

#: Shares of the draws for training and validation; the rest is for the test.
SHARES = (0.70, 0.15)
#: Experiments with each draw when the trained networks are calibrated and scored.
REPEATS = 4
#: Spectra of no model in the training, as a share of the others.
OTHERS = 0.4
#: Fewest draws of a rival of which something can be held out.
FEWEST = 20
#: Share of the progress that the simulations take.
_SIMULATING = 0.4
#: Streams of random numbers beside those of the epochs, which count from 0.
_DRAWS, _FITTING, _VALIDATION, _TEST, _NO_MODEL = range(1_000_001, 1_000_006)


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Experiments by which a trained ensemble is calibrated and scored: of the draws of the training, the validation
    and the test, and spectra of no model made from the last."""

    training: Examples
    validation: Examples
    test: Examples
    no_model: Examples


def train_classifier(
    models: Sequence[str | Path],
    like: str | Path | Sequence[str | Path],
    output: str | Path,
    options: ClassifierOptions | None = None,
    *,
    overwrite: bool = False,
    progress: Callable[[float], None] = lambda share: None,
) -> ClassifierFile:
    """Train a classifier between rival models on the grid of a data file, or of several maps together on theirs.

    Parameters
    ----------
    models : sequence of path
        Files of two or more models (docs/models.md).
    like : path or sequence of path
        A data file whose axes, valid bins and facts of the run are taken; several, or a folder of them, are maps of one
        measurement that are classified together.
    output : path
        The ONNX file to write; the card is written beside it (.json).
    options : ClassifierOptions, optional
    overwrite : bool
    progress : callable
        Called with the share of the work that is done.

    Raises
    ------
    InsganError
        As `train_between`; if a file cannot be read or written.
    """
    options = options or ClassifierOptions()
    output = Path(output)
    if output.suffix != ".onnx":
        raise InputError(f"the classifier is to be written to {output.name}", "give a name that ends with .onnx")
    for file in (output, output.with_suffix(".json")):
        check_output(file, overwrite)
    definitions = [read_model(path) for path in models]
    given = [like] if isinstance(like, str | Path) else list(like)
    spectra = [read_as(path, options) for path in find_files(given, "--like")]
    words = ["insgan", "train-classifier", *map(str, models)]
    words += [word for path in given for word in ("--like", str(path))] + ["-o", str(output)]
    for name, value in options.given().items():
        words += [f"--{name.replace('_', '-')}={v}" for v in (value if isinstance(value, tuple) else (value,))]
    return train_between(definitions, spectra, output, options, command=shlex.join(words), progress=progress)


def train_between(
    definitions: Sequence[ModelDefinition],
    like: Spectrum | Sequence[Spectrum],
    output: Path,
    options: ClassifierOptions,
    *,
    command: str = "",
    progress: Callable[[float], None] = lambda share: None,
) -> ClassifierFile:
    """As `train_classifier`, for models and spectra in memory; an existing output is replaced.

    Raises
    ------
    InputError
        If there are fewer than two models, or two of one name; if a parameter has no range, or too many draws are
        unstable; if there are fewer than `FEWEST` draws; if the axes cannot be placed, or lack the mirrors that the
        options name; if epochs are given for several maps.
    RunFactError
        If the resolution lacks a fact.
    """
    spectra = [like] if isinstance(like, Spectrum) else list(like)
    for spectrum in spectra:
        _check(definitions, spectrum, options)
    if len(spectra) == 1 and not options.mirror:
        return _train_one(definitions, spectra[0], output, options, command, progress)
    from .joint_job import train_maps

    if options.epochs != ClassifierOptions().epochs:
        raise InputError(
            f"--epochs {options.epochs} was given for {len(spectra)} maps, whose discriminants need none",
            "leave it out",
        )
    laboratories = [_laboratory(definitions, spectrum, options) for spectrum in spectra]
    told = {"command": command, "progress": progress, "notes": _notes(definitions, laboratories)}
    return train_maps(definitions, spectra, laboratories, output, options, **told)


def _train_one(definitions, like: Spectrum, output: Path, options, command: str, progress) -> ClassifierFile:
    """A classifier of one spectrum."""
    laboratory = _laboratory(definitions, like, options)
    notes = _notes(definitions, [laboratory])
    simulated = _simulate(laboratory, definitions, options, lambda share: progress(_SIMULATING * share))
    training, validation, test = _split([s.signals for s in simulated], options.draws)
    draw = partial(examples, laboratory)
    number = round(OTHERS * sum(map(len, training)))
    ensemble = train_ensemble(
        laboratory.shape,
        len(definitions),
        lambda epoch: draw(training, [options.seed, epoch], others=number),
        options.epochs,
        options.seed,
        lambda share: progress(_SIMULATING + (1 - _SIMULATING) * share),
    )
    held_out = HeldOut(
        draw(training, [options.seed, _FITTING], REPEATS),
        draw(validation, [options.seed, _VALIDATION], REPEATS),
        draw(test, [options.seed, _TEST], REPEATS),
        draw(test, [options.seed, _NO_MODEL], 0, others=REPEATS * sum(map(len, test))),
    )
    return _written(ensemble, simulated, held_out, like, output, options, command, notes)


def _check(definitions: Sequence[ModelDefinition], like: Spectrum, options: ClassifierOptions) -> None:
    names = [d.name for d in definitions]
    if len(names) < 2 or len(set(names)) < len(names):
        raise InputError(
            f"the rivals are {', '.join(names) or 'none'}", "give two or more models with different names (name: ...)"
        )
    if options.draws < FEWEST or options.epochs < 1:
        raise InputError(
            f"{options.draws} draws of each rival and {options.epochs} epochs",
            f"ask for {FEWEST} draws or more, and 1 epoch or more",
        )
    require_network_axes(like.axes)
    if len(like.open_axes) > 3:
        raise InputError(
            f"the data have {len(like.open_axes)} axes with more than one bin, a classifier takes 3 at most",
            "cut the data first, so that one axis has a single bin",
        )


def _laboratory(definitions: Sequence[ModelDefinition], like: Spectrum, options: ClassifierOptions) -> Laboratory:
    run = options.run(like.run)
    if run.lattice is not None or any(a.is_rlu or a.projection is not None for a in like.axes):
        for definition in definitions:
            run = run_in_cell(definition, run)
    resolution = Resolution.from_run(run, **options.of_resolution())
    widest = [ranges_of(d).get("width_factor", (0, d.values().get("width_factor", 1.0)))[1] for d in definitions]
    return Laboratory(like.replace(run=run), resolution, max(1.25, *widest))


def _simulate(laboratory: Laboratory, definitions, options: ClassifierOptions, progress) -> list[Simulated]:
    total, done = len(definitions) * options.draws, 0

    def tell() -> None:
        nonlocal done
        done += 1
        progress(min(1.0, done / total))

    return [
        laboratory.simulate(definition, options.draws, [options.seed, _DRAWS, number], tell)
        for number, definition in enumerate(definitions)
    ]


def _split(signals: list[np.ndarray], draws: int) -> list[list[np.ndarray]]:
    """Signals by rival for training, validation and test: no draw of parameters is in two of them."""
    cuts = np.rint(np.cumsum(SHARES) * draws).astype(int)
    return [list(part) for part in zip(*(np.split(s, cuts) for s in signals), strict=True)]


def _written(ensemble: Ensemble, simulated, held_out, like, output, options, command, notes) -> ClassifierFile:
    """Calibrate and score a trained ensemble, and write it with its card."""
    from .. import __version__

    limits, test = calibrate(ensemble, held_out.training, held_out.validation), held_out.test
    metrics = _metrics(ensemble, limits, held_out, options.draws)
    few = np.unique(np.linspace(0, len(test.label) - 1, 8).astype(int))
    compared = Examples(*(x[few] for x in (test.signal, test.valid, test.label, test.counts)))
    export_classifier(ensemble, output, compared)
    card = ClassifierCard(
        kind="classifier",
        version=__version__,
        rivals=[s.rival for s in simulated],
        **Grid.of(like.replace(run=options.run(like.run))).model_dump(),
        normalisation="signal divided by its root mean square over the valid bins",
        members=MEMBERS,
        temperature=float(ensemble.temperature),
        unknown=limits,
        command=command,
        seed=options.seed,
        epochs=options.epochs,
        software={name: version(name) for name in SOFTWARE},
        metrics=metrics,
        notes=notes,
    )
    path = write_card(card, output, output.with_suffix(".json"))
    return ClassifierFile(ClassifierCard.model_validate_json(path.read_bytes()), output)


def _metrics(ensemble: Ensemble, limits, held_out, draws: int) -> list[Table]:
    test = held_out.test
    found = answers(ensemble, test)
    flagged = unknown(found, limits)
    no_model = unknown(answers(ensemble, held_out.no_model), limits)
    right = found["probability"].argmax(1) == test.label
    low, high = COUNTS
    where = (
        f"{len(test.label)} simulated experiments with draws of the parameters that were not trained on "
        f"({REPEATS} experiments a draw, {draws} draws a rival in all), {low:g} to {high:g} counts in the brightest "
        "bins"
    )
    rows = {
        "this classifier": scores(found["probability"], test.label),
        "nearest mean spectrum": scores(nearest_mean(held_out.training, held_out.validation, test), test.label),
    }
    shares = {"flagged as unknown": float(flagged.mean()), "of no model flagged": float(no_model.mean())}
    if not flagged.all():
        shares["accuracy of those not flagged"] = float(right[~flagged].mean())
    return [
        Table(
            title="scores",
            conditions=where,
            columns=["accuracy", "expected calibration error", "Brier score"],
            rows=rows,
        ),
        Table(
            title="unknown",
            conditions="the same spectra, and as many of no model; "
            f"{limits.share:.0%} of the validation spectra are flagged",
            columns=list(shares),
            rows={"this classifier": list(shares.values())},
        ),
        _by_counts(right, test.counts),
    ]


def _by_counts(right: np.ndarray, counts: np.ndarray) -> Table:
    """Accuracy in each decade of the counts in which there are spectra."""
    edges = COUNTS[0] * 10.0 ** np.arange(4)
    columns, found = [], []
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        inside = (counts >= low) & (counts < high)
        if inside.any():
            columns.append(f"{low:g} to {high:g}")
            found.append(float(right[inside].mean()))
    return Table(
        title="accuracy by counts in the brightest bins",
        conditions="the same spectra",
        columns=columns,
        rows={"this classifier": found},
    )


def _notes(definitions: Sequence[ModelDefinition], laboratories: Sequence[Laboratory]) -> list[str]:
    with_line = [d.name for d in definitions if "line" in d.parameters]
    notes = []
    if with_line and len(with_line) < len(definitions):
        notes.append(
            f"only {', '.join(with_line)} has an intrinsic line width, so the rivals may be told apart by that alone"
        )
    runs = [laboratory.run for laboratory in laboratories]
    return [*notes, *dict.fromkeys(note for run in runs for note in (*overridden(run), *run.notes))]
