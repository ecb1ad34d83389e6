"""Commands for training: ``make-pairs`` and ``train``."""

from __future__ import annotations

import json as json_text
import time
from pathlib import Path
from typing import Annotated

import typer

from ..core.options import OUTPUT_MODEL_HELP, TrainOptions
from ..errors import DeviceError
from .flags import Dask, Json, Overwrite, takes
from .output import noted
from .progress import INTERRUPTED, progress


def make_pairs(
    dimensions: Annotated[int, typer.Option("--dimensions", help="Open axes of the cuts: 1, 2 or 3.")],
    count: Annotated[int, typer.Option("--count", help="Number of pairs in all.")],
    output: Annotated[
        Path,
        typer.Option("--output", help="Folder to write; existing pairs made with the same options are kept."),
    ],
    seed: Annotated[int, typer.Option("--seed", help="Seed of the random numbers.")] = 0,
    workers: Annotated[int, typer.Option("--workers", help="Number of processes; the pairs do not depend on it.")] = 1,
    method: Annotated[
        str | None, typer.Option("--method", help="Method of the convolution: interpolated, covariance or montecarlo.")
    ] = None,
    bins: Annotated[int | None, typer.Option("--bins", help="Bins along each open axis.")] = None,
    energy_bins: Annotated[
        int | None, typer.Option("--energy-bins", help="Bins along the energy axis of volumes, if different.")
    ] = None,
    per_shard: Annotated[int | None, typer.Option("--per-shard", help="Pairs in one file.")] = None,
    family: Annotated[
        list[str] | None,
        typer.Option("--family", help="Use only this family of models (also phonon_...); may be repeated."),
    ] = None,
    dask: Dask = None,
    json: Json = False,
):
    """Make training pairs: cuts of spin-wave models without resolution, convolved, and with experimental effects."""
    started = time.monotonic()
    how = {"method": method, "bins": bins, "energy_bins": energy_bins, "per_shard": per_shard}
    how["families"] = tuple(family or ())
    with progress("pairs", quiet=json) as bar:
        from ..learn.pairs import make_pairs as make

        made = make(
            dimensions, count, seed, workers, output, **how, dask=dask, progress=lambda done, total: bar(done / total)
        )
    seconds = time.monotonic() - started
    summary = {"output": str(made.folder), "pairs": made.pairs, "kept": made.kept, "shards": made.shards}
    summary |= {"seconds": round(seconds, 1), "pairs_per_minute": round(60 * (made.pairs - made.kept) / seconds, 1)}
    text = "{pairs} pairs in {shards} files in {output}, {kept} of them kept; {pairs_per_minute} pairs per minute"
    typer.echo(json_text.dumps(summary) if json else text.format(**summary))


@takes(TrainOptions)
def train(
    output: Annotated[Path, typer.Option("--output", help=OUTPUT_MODEL_HELP)],
    options: TrainOptions,
    overwrite: Overwrite = False,
    json: Json = False,
):
    """Train a model on simulated and measured spectra, or on pairs; Ctrl-C stops and writes the model so far."""
    with progress(f"training {options.direction}", quiet=json) as bar:
        told = {"progress": lambda share, step, terms: bar(share), "said": bar.say}
        trained = _training()(options, output, overwrite=overwrite, **told)
    if json:
        typer.echo(json_text.dumps(vars(trained), default=str))
    else:
        text = (
            "wrote {model} after {steps} steps in {minutes} minutes; also {losses}, {curves}, {picture}, {checkpoint}"
        )
        stopped = "stopped before the end: {model} is the model so far; the same command with --overwrite goes on"
        lines = [text, *noted(trained.notes), *[stopped] * (not trained.finished)]
        typer.echo("\n".join(lines).format(**vars(trained)))
    if not trained.finished:
        raise SystemExit(INTERRUPTED)  # without the line of a command that an interrupt has ended


def _training():
    try:
        from ..learn.train_job import train_model
    except ModuleNotFoundError as error:
        raise DeviceError(
            f"training needs {error.name}, which is not installed", "pip install 'mantid-insgan[train]'"
        ) from error
    return train_model
