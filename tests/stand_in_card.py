"""A bundled model whose card has intervals that are made up, or none."""

import shutil
from pathlib import Path

from mantid_insgan.translate import cards

#: Quantiles of the truth, over the network's own standard deviation: of dark bins for small and large ones, then of
#: bright bins.
INTERVALS = cards.Intervals(
    conditions="made up",
    brightness=[0.1, 1.0],
    spread=[0.01, 0.1],
    quantiles=[
        [[-3.0, -2.0], [-4.0, -2.5]],
        [[-1.5, -1.0], [-1.25, -1.0]],
        [[1.0, 0.5], [1.5, 1.0]],
        [[2.5, 2.0], [3.0, 2.0]],
    ],
)


def copied(folder: Path, name: str = "remove-resolution-2d", *, known: bool = True) -> str:
    """Path of a copy in a folder that is made."""
    shutil.copytree(cards.models_folder() / name, folder)
    model = cards.read_model(folder)
    cards.write_card(model.card.model_copy(update={"intervals": INTERVALS if known else None}), model.path)
    return str(model.path)
