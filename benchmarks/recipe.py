"""How long ``make models`` takes on this machine, from a part of it: ``python benchmarks/recipe.py``.

Draws some pairs of each number of dimensions with the recipe of the bundled models, takes some steps of each training
with the threads and batches of the recipe, and multiplies. What is scored and calibrated afterwards is not in it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch
from pages import table_text
from results import add_option, column, table, write_results

from mantid_insgan.core.options import DIRECTIONS
from mantid_insgan.learn.build_models import SIZES
from mantid_insgan.learn.libraries import PairLibrary
from mantid_insgan.learn.paired import PairedRecipe, PairedTrainer
from mantid_insgan.learn.pairs import make_pairs
from mantid_insgan.learn.train_job import BATCH, CHANNELS
from mantid_insgan.learn.trainer import Schedule

#: Pairs that are drawn here, by dimensions.
DRAWN = {1: 96, 2: 96, 3: 48}
WORKERS = THREADS = 2
STEPS, WARM = 16, 4
SEED = 7
COMMAND = "python benchmarks/recipe.py"
CONDITIONS = (
    f"{WORKERS} processes draw, seed {SEED}, start included; {THREADS} threads train; the median of {STEPS - WARM} "
    "steps. Hours are those of all pairs and steps of the recipe."
)


def drawn(dimensions: int, folder: Path) -> tuple[float, float]:
    """Pairs a minute, and bytes of a pair on disk."""
    begun = time.perf_counter()
    make_pairs(dimensions, DRAWN[dimensions], SEED, WORKERS, folder, method="covariance")
    seconds = time.perf_counter() - begun
    size = sum(path.stat().st_size for path in folder.glob("*.h5"))
    return 60 * DRAWN[dimensions] / seconds, size / DRAWN[dimensions]


def seconds_a_step(direction: str, dimensions: int, pairs: Path) -> float:
    """Median time of a step of a training of the recipe."""
    schedule = Schedule(steps=STEPS, batch=BATCH[dimensions], seed=SEED)
    recipe = PairedRecipe(direction, dimensions, CHANNELS[dimensions])
    library = PairLibrary(pairs, "train")
    for number in range(len(library)):  # as they are after the first epoch: in memory
        library.pair(number)
    ends: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        trainer = PairedTrainer(recipe, schedule, library, Path(folder))
        trainer.run(lambda *_: ends.append(time.perf_counter()))
    times = sorted(b - a for a, b in zip(ends[WARM:], ends[WARM + 1 :], strict=False))
    return times[len(times) // 2]


def row(dimensions: int) -> list:
    """What one number of dimensions takes: drawing, then the training of both directions."""
    size = SIZES[dimensions]
    with tempfile.TemporaryDirectory() as folder:
        rate, bytes_each = drawn(dimensions, Path(folder) / "pairs")
        steps = [seconds_a_step(direction, dimensions, Path(folder) / "pairs") for direction in DIRECTIONS]
    hours = size.pairs / rate / 60, *(size.steps * seconds / 3600 for seconds in steps)
    return [f"{dimensions}D", size.pairs, rate, bytes_each / 1e3, hours[0], size.steps, *hours[1:]]


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_option(parser, "recipe")
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    columns = [column(""), column("pairs"), column("pairs a minute", "{:.0f}"), column("kB a pair", "{:.0f}")]
    columns += [column("hours of drawing", "{:.1f}"), column("steps")]
    columns += [column(f"hours, {direction}", "{:.1f}") for direction in DIRECTIONS]
    made = table("make models", columns, [row(dimensions) for dimensions in SIZES])
    print(table_text(made))
    write_results(options.results, COMMAND, CONDITIONS, [made])


if __name__ == "__main__":
    main()
