"""What the examples share: options, one call to train, the exported model, and tables."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from mantid_insgan.learn.export import export, input_names
from mantid_insgan.learn.generator import Generator
from mantid_insgan.learn.libraries import Batch
from mantid_insgan.learn.trainer import Schedule, Trainer

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
from pages import table_text
from results import RESULTS, column, table, write_results

#: Largest difference between ONNX Runtime and torch on held-out data, of the largest value.
SAME = 1e-3

Method = Callable[[Batch], torch.Tensor]


def parser(description: str, minutes: float) -> argparse.ArgumentParser:
    """Options that all examples have."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--minutes", type=float, default=minutes, help="of training (default: %(default)s)")
    made.add_argument("--steps", type=int, help="of training, whatever time they take: the same model on any machine")
    made.add_argument("--seed", type=int, default=1, help="of data and training (default: %(default)s)")
    made.add_argument("--quick", action="store_true", help="tiny data and a few steps, to see that everything runs")
    made.add_argument(
        "--results", type=Path, help="file for the table (default: in benchmarks/results; not if --quick)"
    )
    made.add_argument("--folder", type=Path, help="for model, checkpoint and picture; a temporary one if not given")
    return made


def schedule(options: argparse.Namespace, batch: int, **more) -> Schedule:
    """How long and fast to train, as the options say; --quick takes 3 steps."""
    steps = 3 if options.quick else options.steps
    length = {"steps": steps} if steps else {"steps": 10**7, "minutes": options.minutes}
    return Schedule(batch=batch, seed=options.seed, **length, **more)


def folder_of(options: argparse.Namespace) -> Path:
    """The folder for results, made if needed."""
    folder = options.folder or Path(tempfile.mkdtemp(prefix="insgan-example-"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def trained(trainer: Trainer) -> tuple[Trainer, dict]:
    """Train to the end and say every 200 steps how it goes; the trainer, and its steps and minutes."""

    def tell(done: float, step: int, terms: dict[str, float]) -> None:
        if step % 200 == 0:
            said = ", ".join(f"{name} {value:.3f}" for name, value in terms.items())
            print(f"  {100 * done:3.0f} %, step {step}: {said}", flush=True)

    before = time.process_time()
    trainer.run(tell)
    used = (time.process_time() - before) / 60
    print(f"  {trainer.step} steps in {trainer.seconds / 60:.1f} minutes, {used:.1f} of processor time", flush=True)
    facts = {"steps": trainer.step, "minutes": trainer.seconds / 60, "processor_minutes": used}
    return trainer, facts


def through_onnx(generator: Generator, path: Path) -> Method:
    """Export a generator and give what ONNX Runtime makes of a batch with it.

    Every answer is compared with torch's; a difference over `SAME` of its largest value is an error.
    """
    import onnxruntime

    export(generator, path)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    names = input_names(generator.dimensions)

    @torch.no_grad()
    def apply(batch: Batch) -> torch.Tensor:
        answer = session.run(["translated"], {name: getattr(batch, name).numpy() for name in names})[0]
        expected = generator(*batch.inputs())[0].numpy()
        off = float(np.abs(answer - expected).max() / np.abs(expected).max())
        if not off < SAME:
            raise AssertionError(f"{path} differs from torch by {off:.2g} of the largest value, allowed is {SAME:g}")
        return torch.from_numpy(answer)

    return apply


def report(
    options, script: str, command: str, conditions: str, columns: dict, rows: dict, note: str, facts: dict
) -> None:
    """Print the table and write it into the file of results of a script; after --quick only where a file is named.

    `columns` are formats by heading, `rows` cells by name; see ``benchmarks/results.py``.
    """
    headings = [column(""), *(column(*c) for c in columns.items())]
    made = table("scores", headings, [[name, *cells] for name, cells in rows.items()], note=note, facts=facts)
    print(f"\n{table_text(made)}\n")
    if options.results or not options.quick:
        write_results(options.results or RESULTS / f"{script}.json", command, conditions, [made])


def chosen(choices, loss: Callable[..., float]):
    """The choice with the smallest loss."""
    return min(choices, key=loss)
