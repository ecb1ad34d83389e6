"""Steps a second of the trainings, with one process and with two: ``python benchmarks/training.py --pairs DIR``.

Ratios are to plain CUT of the same size in the same run (one thread each). Two processes share the batch of one, by
torchrun, and are timed in turn with one; their throughput is that of one process times the ratio.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from pages import table_text
from plain_cut import PlainCut
from results import add_option, column, table, write_results
from unpaired import Side

from mantid_insgan.learn.libraries import PairLibrary
from mantid_insgan.learn.paired import PairedRecipe, PairedTrainer
from mantid_insgan.learn.trainer import Schedule
from mantid_insgan.learn.unpaired import ADD, UnpairedRecipe, UnpairedTrainer

STEPS, WARM = 24, 4
#: How often one process and two are timed, in turn: a virtual machine's processors are not always equally fast.
TURNS = 3
COMMAND = "OMP_NUM_THREADS=1 python benchmarks/training.py --pairs pairs"
CONDITIONS = f"Slices of 64x64 bins, batches of 8, 16 channels, one thread each; medians of {STEPS - WARM} steps."
KINDS = ("plain CUT", "unpaired", "paired, add-resolution", "paired, remove-resolution")


def seconds_a_step(kind: str, pairs: Path, batch: int) -> float:
    """Median wall-clock time of a step of this process's training."""
    torch.set_num_threads(1)
    library, folder = PairLibrary(pairs, "train"), Path(tempfile.mkdtemp())
    for number in range(len(library)):  # as they are after the first epoch: in memory
        library.pair(number)
    schedule = Schedule(steps=STEPS, batch=batch, warm_up=2)
    sides = [Side(library, range(len(library)), measured) for measured in (False, True)]
    if kind == "plain CUT":
        trainer = PlainCut(ADD, schedule, *sides, folder)
    elif kind == "unpaired":
        trainer = UnpairedTrainer(UnpairedRecipe(), schedule, *sides, folder)
    else:
        trainer = PairedTrainer(PairedRecipe(kind.split()[-1], channels=16), schedule, library, folder)
    ends: list[float] = []
    trainer.run(lambda *_: ends.append(time.perf_counter()))
    times = sorted(b - a for a, b in zip(ends[WARM:], ends[WARM + 1 :], strict=False))
    return times[len(times) // 2]


def of_processes(number: int, options) -> float:
    """Seconds of a step of the paired training by torchrun."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={number}", __file__]
    command += ["--pairs", str(options.pairs), "--batch", str(options.batch), "--as-process"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads([line for line in done.stdout.splitlines() if line.startswith("{")][0])["seconds"]


def main() -> None:
    """Time all, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--as-process", action="store_true", help=argparse.SUPPRESS)
    add_option(parser, "training")
    options = parser.parse_args()
    if options.as_process:
        print(json.dumps({"seconds": seconds_a_step(KINDS[2], options.pairs, options.batch)}), flush=True)
        return
    times = {kind: seconds_a_step(kind, options.pairs, options.batch) for kind in KINDS}
    rows = [[kind, 1 / seconds, times[KINDS[0]] / seconds] for kind, seconds in times.items()]
    columns = [column(""), column("steps/s", "{:.2f}"), column("times plain CUT", "{:.2f}")]
    tables = [table("steps" if options.batch == 8 else f"steps, batches of {options.batch}", columns, rows)]
    each = [[of_processes(number, options) for number in (1, 2)] for _ in range(TURNS)]
    ratios = sorted(one / two for one, two in each)
    columns = ("steps/s, times those of one process", "lowest of three turns", "highest")
    columns = [column(""), *(column(name, "{:.2f}") for name in columns)]
    one, two = (sorted(times)[TURNS // 2] for times in zip(*each, strict=True))
    row = [f"batches of {options.batch}", one / two, ratios[0], ratios[-1]]
    tables.append(table("two processes", columns, [row]))
    print(*map(table_text, tables), sep="\n\n")
    write_results(options.results, COMMAND, CONDITIONS, tables, keep_rows=True)


if __name__ == "__main__":
    main()
