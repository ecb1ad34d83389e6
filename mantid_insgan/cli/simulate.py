"""``insgan simulate``: a model of S(Q,E) as a spectrometer would record it."""

from __future__ import annotations

import json as json_text
import time
from pathlib import Path
from typing import Annotated

import typer

from ..core.model_options import SimulateOptions
from ..core.numbers import digits
from ..core.options import binning_of
from .flags import Json, Overwrite, takes
from .output import noted
from .progress import progress


@takes(SimulateOptions)
def simulate(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model in YAML (docs/models.md).")],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="File to write (.nxs, .txt, .xye, .npz); OUT-1.nxs, OUT-2.nxs... for more segments.",
        ),
    ],
    like: Annotated[
        Path | None, typer.Option("--like", help="A data file whose axes, valid bins and facts of the run are taken.")
    ] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option("--grid", metavar="NAME=LOW:HIGH:BINS", help="An axis, such as [H,0,0]=-2:2:80; may be repeated."),
    ] = None,
    path: Annotated[
        list[str] | None,
        typer.Option("--path", metavar="H,K,L", help="A corner of a path, with --grid for the energy; twice or more."),
    ] = None,
    segment_bins: Annotated[int, typer.Option("--segment-bins", help="Bins along each segment of a path.")] = 50,
    across: Annotated[
        float, typer.Option("--across", help="Half-width of the cut across a path, r.l.u. of its longest component.")
    ] = 0.05,
    *,
    options: SimulateOptions,
    overwrite: Overwrite = False,
    json: Json = False,
):
    """Simulate a model of S(Q,E) as a spectrometer would record it, on the grid of a data file or a given one."""
    if like is None and any(value is not None for value in (options.axes, *binning_of(options).values())):
        raise typer.BadParameter("--axes and bins (--q-bins, --energy-range...) are for --like; --grid has bins")
    if (like is None) == (not grid) or (path and not grid):
        raise typer.BadParameter(
            "give --like FILE, or --grid NAME=LOW:HIGH:BINS for each axis; --path needs --grid for the energy"
        )
    started, found = time.monotonic(), []
    with progress(f"simulating {model.name}", quiet=json) as bar:
        from ..core.files import check_output
        from ..io import write_spectrum, writer_for
        from ..models.definition import read_model
        from ..translate.simulate import plan_simulation

        definition = read_model(model)
        grids = _grids(definition, like, grid, path, options, segment_bins, across)
        outputs = _outputs(output, len(grids))
        for file in outputs:
            check_output(file, overwrite, filter(None, (model, like)))
            writer_for(file)
        plans = [plan_simulation(definition, g, options=options) for g in grids]
        for number, (plan, file) in enumerate(zip(plans, outputs, strict=True)):
            result = plan.spectrum(lambda share, n=number: bar((n + share) / len(plans)))
            more = {"model file": model.name} | ({} if like is None else {"like": like.name})
            write_spectrum(result, file, overwrite=overwrite, history=plan.history(**more))
            found.append(result)
    summary = _summary(plans, outputs, found) | {"seconds": round(time.monotonic() - started, 2)}
    typer.echo(json_text.dumps(summary) if json else _text(summary))


def _grids(definition, like, grid, path, options: SimulateOptions, bins: int, across: float) -> list:
    """What to simulate on: a spectrum, or one set of axes or more."""
    from ..core.options import parse_lattice, reading_of
    from ..io import read_spectrum
    from ..io.grids import grid_axes, grid_axis
    from ..io.path import path_axes

    if like is not None:
        return [read_spectrum(like, **reading_of(options))]
    if not path:
        return [grid_axes(grid)]
    axes = [grid_axis(text) for text in grid]
    if len(axes) != 1 or not axes[0].is_energy:
        raise typer.BadParameter("with --path, --grid gives the energy transfer alone, such as DeltaE=0:40:80")
    lattice = parse_lattice(options.lattice) or definition.lattice
    return path_axes([_corner(text) for text in path], lattice, axes[0], bins=bins, across=across)


def _corner(text: str) -> tuple[float, float, float]:
    from ..io.crystal import parse_direction

    return parse_direction("path", text)


def _outputs(output: Path, count: int) -> list[Path]:
    if count == 1:
        return [output]
    return [output.with_name(f"{output.stem}-{n}{output.suffix}") for n in range(1, count + 1)]


def _summary(plans, outputs, found) -> dict:
    """What was done, for people and scripts."""
    facts = {n: getattr(found[0].run, n) for n in ("instrument", "ei", "chopper", "frequency", "temperature")}
    return {
        "outputs": [str(file) for file in outputs],
        "model": plans[0].definition.name,
        "values": plans[0].values,
        "line": plans[0].line,
        "resolution": plans[0].options.resolution,
        "run": {n: {"value": f.value, "source": f.source} for n, f in facts.items() if f is not None},
        "bins": [spectrum.signal.size for spectrum in found],
        "valid_bins": [int(spectrum.valid.sum()) for spectrum in found],
        "notes": list(dict.fromkeys(note for plan in plans for note in plan.notes)),
    }


def _text(summary: dict) -> str:
    used = "; ".join(f"{name} {digits(fact['value'])} ({fact['source']})" for name, fact in summary["run"].items())
    values = ", ".join(f"{name} {digits(value)}" for name, value in summary["values"].items())
    lines = [f"simulated {summary['model']} ({summary['resolution']}) in {summary['seconds']:.1f} s: {values}"]
    lines.append(f"  run: {used}")
    for file, valid, bins in zip(summary["outputs"], summary["valid_bins"], summary["bins"], strict=True):
        lines.append(f"wrote {file}: {valid} of {bins} bins")
    return "\n".join([*lines, *noted(summary["notes"])])
