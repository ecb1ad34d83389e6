"""Commands that tell rival models apart by a network: ``train-classifier``, ``classify``."""

from __future__ import annotations

import json as json_text
from pathlib import Path
from typing import Annotated

import typer

from ..core.model_options import ClassifierOptions, ClassifyOptions
from ..errors import DeviceError
from .flags import Json, Overwrite, takes
from .output import noted
from .progress import progress


@takes(ClassifierOptions)
def train_classifier(
    models: Annotated[
        list[Path], typer.Argument(metavar="MODEL...", help="Two or more rival models in YAML (docs/models.md).")
    ],
    *,
    like: Annotated[
        list[Path],
        typer.Option(
            "--like",
            help="A data file whose axes, valid bins and facts of the run are taken; given again, or a folder: maps of "
            "one measurement that are classified together.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Classifier to write (.onnx); its card is written beside it (.json).")
    ],
    options: ClassifierOptions,
    overwrite: Overwrite = False,
    json: Json = False,
):
    """Train a classifier between rival models, on simulated experiments on the grid of one data file or several."""
    with progress("simulating and training a classifier", quiet=json) as bar:
        trained = _training()(models, like, output, options, overwrite=overwrite, progress=bar)
    card = trained.card
    if json:
        typer.echo(json_text.dumps({"classifier": str(trained.path), **card.model_dump()}))
        return
    typer.echo(f"wrote {trained.path} for {', '.join(card.names)}")
    for table in card.metrics:
        typer.echo(f"{table.title} ({table.conditions})")
        for name, values in table.rows.items():
            typer.echo(f"  {name}: {', '.join(f'{c} {v:.3f}' for c, v in zip(table.columns, values, strict=True))}")
    again = [
        f"{r.name}: {r.unstable} draws were unstable and {r.unseen} had no intensity on the grid; others replaced them"
        for r in card.rivals
        if r.unstable or r.unseen
    ]
    for line in noted((*again, *card.notes)):
        typer.echo(line)


@takes(ClassifyOptions)
def classify(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="A data file on the grid of the classifier; or all maps of one that was trained for several, or their "
            "folder.",
        ),
    ],
    *,
    classifier: Annotated[
        Path, typer.Option("--classifier", help="ONNX file that train-classifier wrote, with its card beside it.")
    ],
    options: ClassifyOptions,
    json: Json = False,
):
    """Say which of the rival models of a classifier the data show, with probabilities, or that it is none of them."""
    from ..io import read_as
    from ..learn.sources import find_files
    from ..translate.classify import classify as apply_classifier
    from ..translate.classify_maps import MapsAnswer

    found = apply_classifier([read_as(file, options) for file in find_files(files, "FILE")], classifier)
    if json:
        typer.echo(json_text.dumps(found.as_dict()))
        return
    typer.echo(found.answer)
    for name, probability in sorted(found.probabilities.items(), key=lambda item: -item[1]):
        typer.echo(f"  {name}: probability {probability:.3f}")
    if isinstance(found, MapsAnswer):
        typer.echo(f"  maps for {', for '.join(f'{name}: {count}' for name, count in found.maps_for.items())}")
    measures = ", ".join(f"{name} {getattr(found, name):.2f}" for name in found.measures)
    typer.echo(f"  {measures} (1 is the threshold of unknown)")
    for reason in found.reasons:
        typer.echo(f"  unknown: {reason}")
    for line in noted(found.notes):
        typer.echo(line)


def _training():
    try:
        from ..learn.classifier_job import train_classifier as train
    except ModuleNotFoundError as error:
        raise DeviceError(
            f"training needs {error.name}, which is not installed", "pip install 'mantid-insgan[train]'"
        ) from error
    return train
