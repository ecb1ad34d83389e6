"""Read checkpoints and check that they belong to the training that is to be resumed."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file

from ..errors import ModelError

#: Of the layout of checkpoints.
FORMAT = "mantid-insgan checkpoint 4"
#: Their name in the folder of a training.
CHECKPOINT = "checkpoint.safetensors"


def recipe_text(kind: type, recipe, schedule, data: str = "") -> str:
    """All that decides the weights, as JSON for a checkpoint.

    Parameters
    ----------
    kind : type of Trainer
    recipe, schedule : dataclass
    data : str
        Digest of the data, where there is one.
    """
    more = {"data": data} if data else {}
    return json.dumps({"training": kind.__name__, **asdict(recipe), **asdict(schedule), **more})


def check_recipe(path: Path, facts: dict[str, str], expected: str) -> None:
    """Compare the recipe in the facts of a checkpoint with the `expected` one.

    Raises
    ------
    ModelError
        If they differ.
    """
    if json.loads(facts["recipe"]) != json.loads(expected):
        raise ModelError(
            f"the checkpoint {path} was made with another recipe: {facts['recipe']}, expected {expected}",
            "train in another folder, or remove the checkpoint to start from the beginning",
        )


def read_facts(path: Path) -> dict[str, str]:
    """Format, recipe and position of a checkpoint; its tensors are not read.

    Raises
    ------
    ModelError
        If the file is not a checkpoint, or of another version.
    """
    try:
        with safe_open(path, "pt") as stored:
            facts = stored.metadata() or {}
    except Exception as problem:  # safetensors raises its own type, told by its text
        raise ModelError(f"{path} is not a checkpoint: {problem}", "remove it to start from the beginning") from problem
    if facts.get("format") != FORMAT:
        raise ModelError(
            f"the checkpoint {path} has the format {facts.get('format')!r}, expected {FORMAT!r}",
            "it was made by another version: remove it to start from the beginning, or use that version",
        )
    return facts


def read_checkpoint(path: Path) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    """Facts and tensors of a checkpoint (errors as `read_facts`)."""
    return read_facts(path), load_file(path)
