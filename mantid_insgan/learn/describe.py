"""What is said of a trained model, and how model and card are put into place, for bundled and users' models alike."""

from __future__ import annotations

import platform
import shutil
from importlib.metadata import version
from pathlib import Path

import torch

from ..translate.cards import ModelCard, Training, write_card
from .export import export
from .generator import GRID_MULTIPLE, SMALLEST_GRID, Generator
from .operator import LARGEST_FWHM_BINS
from .trainer import Trainer

NORMALISATION = "each slice is divided by the root mean square of its valid signal, and multiplied by it afterwards"
#: Libraries whose versions decide the weights or the graph.
LIBRARIES = ("torch", "onnx", "onnxruntime", "numpy")


def card_of(generator: Generator, **said) -> ModelCard:
    """The card of a generator: what follows from it, and the other fields of `ModelCard` as they are given."""
    return ModelCard(
        direction=generator.direction,
        dimensions=generator.dimensions,
        simulation=generator.simulation,
        background=generator.background is not None,
        normalisation=NORMALISATION,
        grid_multiple=GRID_MULTIPLE,
        smallest_grid=SMALLEST_GRID,
        largest_fwhm_bins=LARGEST_FWHM_BINS,
        **said,
    )


def training_of(
    trainer: Trainer,
    *,
    command: str,
    families,
    pairs: int,
    held_out_families=(),
    settings=(),
    held_out_settings=(),
    more_libraries: tuple[str, ...] = (),
) -> Training:
    """How the weights came about: the trainer's own part, and what it was trained on as given (see `Training`)."""
    return Training(
        command=command,
        seed=trainer.schedule.seed,
        steps=trainer.step,
        minutes=round(trainer.seconds / 60, 1),
        device=f"{trainer.fabric.device.type}, {torch.get_num_threads()} threads, {platform.machine()}",
        families=list(families),
        held_out_families=list(held_out_families),
        settings=list(settings),
        held_out_settings=list(held_out_settings),
        pairs=pairs,
        software={name: version(name) for name in (*LIBRARIES, *more_libraries)},
    )


def put_in_place(generator: Generator, describe, made: Path, onnx: Path, card: Path) -> ModelCard:
    """Export a generator and write its card, both in a folder of their own first, and move them to their names.

    Parameters
    ----------
    generator : Generator
    describe : callable
        Gives the card; called once the model is exported, because its scores take the time.
    made : Path
        Folder that is made, and is left empty.
    onnx, card : Path
        Names of the model and of its card.
    """
    made.mkdir(parents=True, exist_ok=True)
    onnx.parent.mkdir(parents=True, exist_ok=True)
    export(generator, made / "model.onnx")
    described = describe()
    write_card(described, made / "model.onnx")
    # The card last: a model beside another's card is refused.
    shutil.move(made / "model.onnx", onnx)
    shutil.move(made / "card.json", card)
    return described
