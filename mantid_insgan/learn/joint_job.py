"""Train a classifier of several maps of one measurement from models and the grids of the maps, and write it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from ..core.model_options import ClassifierOptions
from ..core.spectrum import Spectrum
from ..errors import InputError
from ..models.definition import ModelDefinition
from ..translate.cards import Table, write_card
from ..translate.classifier_card import ClassifierFile, Grid, MapsCard, Rival
from ..translate.classifier_run import INPUTS
from ..translate.classify_maps import OUTPUTS, filled, folded, mirrored_axes
from .classifier import nearest_mean, scores
from .describe import SOFTWARE
from .export import export_graph
from .joint import Experiments, JointClassifier, composed, signs, train_joint
from .rivals import COUNTS, Examples, Laboratory, same_exposure, simulate_together

#: Share of the draws that train and are held out in turn; the others are for the test.
SHARE = 0.85
#: Experiments with each draw.
REPEATS = 4
#: Experiments on which a file is compared with torch, and the largest relative difference.
_COMPARED, _TOLERANCE = 4, 1e-7
#: Streams of random numbers.
_DRAWS, _TRAINING, _TEST = range(1_000_011, 1_000_014)


def train_maps(
    definitions: Sequence[ModelDefinition],
    likes: Sequence[Spectrum],
    laboratories: Sequence[Laboratory],
    output: Path,
    options: ClassifierOptions,
    *,
    command: str = "",
    notes: Sequence[str] = (),
    progress: Callable[[float], None] = lambda share: None,
) -> ClassifierFile:
    """Train a classifier of several maps together on simulations, and write it; an existing output is replaced.

    Parameters
    ----------
    definitions : sequence of ModelDefinition
    likes : sequence of Spectrum
        The maps, whose axes and facts of the run stand on the card.
    laboratories : sequence of Laboratory
        One for each map.
    output : Path
    options : ClassifierOptions
    command, notes
        For the card.
    progress : callable
        Called with the share of the simulations that is done.

    Raises
    ------
    InputError
        As `Laboratory.simulate`; if the maps have no such mirrors.
    """
    mirrors = [mirrored_axes(like.axes, options.mirror) for like in likes]
    total, done = len(definitions) * options.draws, 0

    def tell() -> None:
        nonlocal done
        done += 1
        progress(done / total)

    made = [
        simulate_together(laboratories, definition, options.draws, [options.seed, _DRAWS, number], tell)
        for number, definition in enumerate(definitions)
    ]
    cut, draw = round(SHARE * options.draws), (laboratories, mirrors, [signals for _, signals in made])
    training = _experiments(*draw, slice(cut), [options.seed, _TRAINING])
    test = _experiments(*draw, slice(cut, None), [options.seed, _TEST])
    names = [d.name for d in definitions]
    classifier = train_joint(names, training, np.arange(len(training.label)) // REPEATS)
    return write_joint(
        classifier,
        output,
        grids=[Grid.of(like.replace(run=options.run(like.run))) for like in likes],
        mirrors=options.mirror,
        rivals=[rival for rival, _ in made],
        compared=test,
        metrics=_metrics(classifier, training, test, options.draws),
        command=command,
        seed=options.seed,
        notes=notes,
    )


def _experiments(laboratories, mirrors, signals, which: slice, seed: Sequence[int]) -> Experiments:
    """Experiments with some draws of each rival, `REPEATS` times; signals (draws, columns, energies) by rival, map."""
    rng, draws = np.random.default_rng(seed), [list(zip(*(m[which] for m in maps), strict=True)) for maps in signals]
    labels = np.repeat(np.arange(len(draws)), [REPEATS * len(each) for each in draws])
    values = valid = None
    for number, draw in enumerate(draw for each in draws for draw in each for _ in range(REPEATS)):
        measured = same_exposure(rng, laboratories, draw)
        laid = [filled([folded(x, m) for x, m in zip(each, mirrors, strict=True)]) for each in measured]
        if values is None:
            values, valid = (np.empty((len(labels), *laid[0].shape), kind) for kind in (np.float32, bool))
        values[number], valid[number] = laid
    return Experiments(values, valid, labels)


def write_joint(
    classifier: JointClassifier,
    output: str | Path,
    *,
    grids: Sequence[Grid],
    rivals: Sequence[Rival],
    compared: Experiments,
    mirrors: Sequence[str] = (),
    metrics: Sequence[Table] = (),
    command: str = "",
    seed: int = 0,
    notes: Sequence[str] = (),
) -> ClassifierFile:
    """Write a classifier of several maps as ONNX with its card beside it (.json).

    Parameters
    ----------
    classifier : JointClassifier
    output : path
        The ONNX file to write.
    grids : sequence of Grid
        Of the maps, in the order of the training.
    rivals : sequence of Rival
        In the order of the names of the classifier.
    compared : Experiments
        On the first of which ONNX Runtime is compared with torch.
    mirrors : sequence of str
        Names of the axes about whose 0 the maps were folded into parts.
    metrics, command, seed, notes
        For the card.

    Raises
    ------
    InputError
        If maps, mirrors or rivals are not those of the training.
    ModelError
        If ONNX Runtime answers otherwise than torch; nothing is written then.
    """
    from .. import __version__

    output = Path(output)
    maps, parts, bins = compared.values.shape[1:]
    card = MapsCard(
        kind="classifier of maps",
        version=__version__,
        rivals=list(rivals),
        maps=list(grids),
        mirrors=list(mirrors),
        normalisation="each map less the mean of its part, divided by the map's root mean square over the valid bins",
        temperature=float(classifier.network.temperature),
        unknown=classifier.unknown,
        command=command,
        seed=seed,
        software={name: version(name) for name in SOFTWARE},
        metrics=list(metrics),
        notes=list(notes),
    )
    if (len(card.maps), card.parts, card.most_bins, tuple(card.names)) != (maps, parts, bins, classifier.names):
        raise InputError(
            f"the card has {len(card.maps)} maps of {card.parts} parts with up to {card.most_bins} bins for "
            f"{', '.join(card.names)}, but the classifier was trained with {maps} of {parts} with {bins} for "
            f"{', '.join(classifier.names)}",
            "give the grids, mirrors and models of the training",
        )
    few = np.unique(np.linspace(0, len(compared.label) - 1, _COMPARED).astype(int))
    inputs = dict(zip(INPUTS, (x.numpy() for x in compared.inputs(few)), strict=True))
    export_graph(classifier.network, output, inputs, OUTPUTS, _TOLERANCE)
    path = write_card(card, output, output.with_suffix(".json"))
    return ClassifierFile(MapsCard.model_validate_json(path.read_bytes()), output)


def _metrics(classifier: JointClassifier, training: Experiments, test: Experiments, draws: int) -> list[Table]:
    found = classifier.answers(test)
    right = found["probability"].argmax(1) == test.label
    flagged = (found["contradiction"] > classifier.unknown.contradiction) | (
        found["distance"] > classifier.unknown.distance
    )
    composites = signs(*map(torch.from_numpy, composed(found["evidence"], found["distance"], test.label)))
    weights = classifier.network.composite
    likeness = torch.sigmoid(composites @ weights[:-1] + weights[-1]).numpy()
    low, high = COUNTS
    shares = {
        "flagged as unknown": float(flagged.mean()),
        "composites of two models flagged": float((likeness > classifier.unknown.contradiction).mean()),
    }
    if not flagged.all():
        shares["accuracy of those not flagged"] = float(right[~flagged].mean())
    return [
        Table(
            title="scores",
            conditions=f"{len(test.label)} simulated experiments with draws of the parameters that were not trained on "
            f"({REPEATS} experiments a draw, {draws} draws a rival in all), {low:g} to {high:g} counts in the "
            "brightest bins of the brightest map",
            columns=["accuracy", "expected calibration error", "Brier score"],
            rows={
                "this classifier": scores(found["probability"], test.label),
                "nearest mean maps": scores(_nearest(training, test), test.label),
            },
        ),
        Table(
            title="unknown",
            conditions="the same experiments, and as many composites of the evidence of two; the thresholds "
            f"are for {classifier.unknown.share:.0%} of the experiments of one model",
            columns=list(shares),
            rows={"this classifier": list(shares.values())},
        ),
    ]


def _nearest(training: Experiments, test: Experiments) -> np.ndarray:
    """Probabilities of the baseline `nearest_mean`, from one experiment of each draw; its temperature is found on a
    fifth of them."""
    one = np.arange(0, len(training.label), REPEATS)
    held = np.arange(len(one)) % 5 == 0
    given = (training, one[~held]), (training, one[held]), (test, np.arange(len(test.label)))
    return nearest_mean(*(_as_examples(data, chosen) for data, chosen in given))


def _as_examples(data: Experiments, chosen: np.ndarray) -> Examples:
    """Some experiments, with each map divided by its root mean square, as images of a single spectrum."""
    valid = data.valid[chosen].astype(np.float32)
    seen = valid * data.values[chosen]
    size = np.sqrt((seen**2).sum((2, 3), keepdims=True) / np.maximum(valid.sum((2, 3), keepdims=True), 1))
    return Examples(seen / np.where(size > 0, size, 1.0), valid, data.label[chosen], np.ones(len(chosen)))
