"""What the examples share: options, one call to train, the exported model, and tables."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from mantid_insgan.core.kernels import reach_of
from mantid_insgan.errors import InputError
from mantid_insgan.learn.augment import checked_window, window
from mantid_insgan.learn.examples import Batch, Example
from mantid_insgan.learn.export import export, input_names
from mantid_insgan.learn.generator import Generator
from mantid_insgan.learn.operator import pairs_of_axes
from mantid_insgan.learn.trainer import Schedule, Trainer
from mantid_insgan.translate.cards import STEPS

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
from pages import table_text
from results import RESULTS, column, table, write_results

#: Largest difference between ONNX Runtime and torch on held-out data, of the largest value.
SAME = 1e-3

Method = Callable[[Batch], torch.Tensor]


def array_example(signal, target, *, error=0.0, valid=True, fwhm=0.0) -> Example:
    """Two arrays on one grid as an example, for data without a spectrometer: no energy, |Q| or correlation is told.

    Parameters
    ----------
    signal, target : array_like, (*grid)
        Input and what is to come out of it, in one unit, in which the input's overall size should be about 1.
    error : array_like, broadcast to (*grid)
        Standard error of `signal`, in its unit.
    valid : array_like of bool, broadcast to (*grid)
    fwhm : float or sequence of D floats
        Resolution that is to be added or removed, along each axis, in bins.

    Raises
    ------
    InputError
        If the grids differ, or a valid bin is not finite.
    """
    signal, target = np.asarray(signal), np.asarray(target)
    if signal.shape != target.shape:
        raise InputError(
            f"the input has the grid {signal.shape} and its target {target.shape}", "give both on the same grid"
        )
    grid, dimensions = signal.shape, signal.ndim
    valid, error = np.broadcast_to(valid, grid), np.broadcast_to(error, grid)
    values = [np.where(valid, x, 0.0).astype(np.float32) for x in (signal, error, target)]
    for name, array in zip(("input", "error", "target"), values, strict=True):
        if not np.isfinite(array).all():
            raise InputError(
                f"{np.sum(~np.isfinite(array))} valid bins of the {name} are not finite",
                "mark bins that were not measured as not valid",
            )
    # Views of one number: a library of conditions that are the same everywhere takes no memory.
    width = np.asarray(np.broadcast_to(fwhm, (dimensions,)), np.float32).reshape(-1, *[1] * dimensions)
    nothing = np.zeros((1,) * (1 + dimensions), np.float32)
    conditions = [
        np.broadcast_to(x, (n, *grid))
        for x, n in ((width, dimensions), (nothing, len(pairs_of_axes(dimensions))), (nothing, 3))
    ]
    return Example(values[0], valid, values[1], values[2], *conditions, energy_last=False)


class ArrayLibrary:
    """Examples of any origin; windows of one size are cut out of them and, if asked for, varied.

    Parameters
    ----------
    members : sequence of Example
        See `array_example`.
    window : int
        Bins along each axis of what is cut out; members that are smaller are filled up with bins that are not valid.
    varied : callable, optional
        (example, rng) -> example: what is drawn anew for every step, such as noise or a turn. Nothing is turned
        otherwise: what may be turned round without becoming something else (a crystal's image, but no protein) is for
        the caller to say.

    Raises
    ------
    InputError
        If there is no member, or they are not of one number of dimensions.
    """

    def __init__(self, members: Sequence[Example], window: int, varied=None):
        self.members, self.window, self.varied = list(members), checked_window(window), varied
        found = sorted({m.dimensions for m in self.members})
        if len(found) != 1:
            raise InputError(
                f"there are {len(self.members)} examples, of these numbers of dimensions: {found}",
                "give at least one example, and all of one number of dimensions",
            )
        self.dimensions = found[0]

    def __len__(self) -> int:
        return len(self.members)

    def examples(self, index, direction: str, rng, **_) -> list[Example]:
        """Random windows of the members at `index`; input and target are the members' own, whatever `direction`."""
        cut = [window(rng, self.members[i], self.window) for i in index]
        return [self.varied(example, rng) for example in cut] if self.varied else cut


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
        reach = reach_of(float(batch.width.max()))
        given = vars(batch) | {STEPS: torch.arange(-reach, reach + 1.0)}
        answer = session.run(["translated"], {name: given[name].numpy() for name in names})[0]
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
