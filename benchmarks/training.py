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
from plain_cut import PlainCut
from unpaired import Side

from mantid_insgan.gan.data import PairLibrary
from mantid_insgan.gan.train import PairedTrainer, Recipe, Schedule
from mantid_insgan.gan.unpaired import ADD, UnpairedRecipe, UnpairedTrainer

STEPS, WARM = 24, 4
#: How often one process and two are timed, in turn: a virtual machine's processors are not always equally fast.
TURNS = 3
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
        trainer = PairedTrainer(Recipe(kind.split()[-1], channels=16), schedule, library, folder)
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
    """Time all and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--as-process", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.as_process:
        print(json.dumps({"seconds": seconds_a_step(KINDS[2], options.pairs, options.batch)}), flush=True)
        return
    baseline = None
    for kind in KINDS:
        seconds = seconds_a_step(kind, options.pairs, options.batch)
        baseline = baseline or seconds
        print(f"{kind:28s} {1 / seconds:6.2f} steps/s of {options.batch}, {baseline / seconds:.2f} times plain CUT")
    each = [[of_processes(number, options) for number in (1, 2)] for _ in range(TURNS)]
    ratios = sorted(one / two for one, two in each)
    one, two = (sorted(times)[TURNS // 2] for times in zip(*each, strict=True))
    print(f"{KINDS[2]}: {1 / one:.2f} steps/s with one process and {1 / two:.2f} with two, medians of {TURNS} turns;")
    print(f"two make {one / two:.2f} times the steps/s of one, turn by turn {ratios[0]:.2f} to {ratios[-1]:.2f} times")


if __name__ == "__main__":
    main()
