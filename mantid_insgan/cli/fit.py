"""Commands that fit models to data: ``fit``, ``compare``."""

from __future__ import annotations

import json as json_text
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from ..core.model_options import FitOptions
from .flags import Dask, Json, Overwrite, takes
from .progress import progress

Source = Annotated[
    Path,
    typer.Argument(metavar="PROBLEM|MODEL", help="A problem in YAML (docs/fitting.md), or a model (docs/models.md)."),
]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Result to write, as JSON.")]
Figure = Annotated[Path | None, typer.Option("--figure", help="Picture of data, fit and residual (png, pdf, svg).")]
Log = Annotated[Path | None, typer.Option("--log", help="Log of every evaluation to write, for --resume.")]
Resume = Annotated[bool, typer.Option("--resume", help="Take the searches that the log says are done from there.")]
FitWorkers = Annotated[int, typer.Option("--workers", min=1, help="Processes, each with one search at a time.")]


@takes(FitOptions)
def fit(
    source: Source,
    data: Annotated[list[Path] | None, typer.Argument(metavar="[DATA...]", help="Data files, for a model.")] = None,
    *,
    options: FitOptions,
    output: Output = None,
    figure: Figure = None,
    log: Log = None,
    resume: Resume = False,
    workers: FitWorkers = 1,
    dask: Dask = None,
    overwrite: Overwrite = False,
    json: Json = False,
):
    """Fit the free parameters of a model to one or several measurements, through the resolution."""
    with _best_so_far(f"fitting {source.name}", quiet=json) as tell:
        from ..fit.job import fit_files
        from ..report.fit import fit_text, plot_fit

        _check(output, figure, log, resume, overwrite, [source, *(data or [])])
        how = {"log": log, "resume": resume, "progress": tell, "workers": workers, "dask": dask}
        result = fit_files(source, data or (), options, **how)
    if output is not None:
        result.save(output, overwrite=overwrite)
    if figure is not None:
        plot_fit(result, figure, overwrite=overwrite)
    typer.echo(json_text.dumps(result.as_dict()) if json else fit_text(result))
    if not json:
        for written in filter(None, (output, figure)):
            typer.echo(f"wrote {written}")


@takes(FitOptions)
def compare(
    source: Annotated[Path, typer.Argument(metavar="PROBLEM", help="A problem in YAML (docs/fitting.md).")],
    models: Annotated[
        list[Path] | None, typer.Argument(metavar="[MODEL...]", help="Rivals beside those the problem names.")
    ] = None,
    *,
    options: FitOptions,
    block: Annotated[int, typer.Option("--block", min=1, help="Bins along each axis that are drawn together.")] = 5,
    output: Output = None,
    log: Log = None,
    resume: Resume = False,
    workers: FitWorkers = 1,
    dask: Dask = None,
    overwrite: Overwrite = False,
    json: Json = False,
):
    """Fit rival models to the same data, and say which the data prefer."""
    with _best_so_far(f"comparing the models of {source.name}", quiet=json) as tell:
        from ..core.files import replacing
        from ..fit.job import compare_files
        from ..report.fit import comparison_text, fit_text

        _check(output, None, log, resume, overwrite, [source, *(models or [])])
        how = {"block": block, "log": log, "resume": resume, "progress": tell, "workers": workers, "dask": dask}
        fits, verdicts = compare_files(source, models or (), options, **how)
    summary = {"fits": [f.as_dict() for f in fits], "verdicts": [vars(v) | {"decided": v.decided} for v in verdicts]}
    if output is not None:
        with replacing(output) as temporary:
            temporary.write_text(json_text.dumps(summary, indent=1) + "\n", encoding="utf-8")
    if json:
        typer.echo(json_text.dumps(summary))
        return
    for found in fits:
        typer.echo(f"{found.problem.definition.name}\n{fit_text(found)}\n")
    typer.echo(comparison_text(fits, verdicts))
    if output is not None:
        typer.echo(f"wrote {output}")


def _check(output, figure, log, resume: bool, overwrite: bool, inputs: list[Path]) -> None:
    """Before the work: whether what is asked for can be written, without replacing what is read."""
    from ..core.files import check_output, require_another
    from ..report.style import check_figure

    if resume and log is None:
        raise typer.BadParameter("--resume needs the log to resume (--log)")
    for file in filter(None, (output, figure, log)):
        for one in inputs:
            require_another(one, file)
    if output is not None:
        check_output(output, overwrite)
    if figure is not None:
        check_figure(figure, overwrite)


@contextmanager
def _best_so_far(title: str, quiet: bool):
    """A function that shows the best chi-squared and values so far, and ends the work after an interrupt."""
    with progress(title, quiet=quiet) as shown:

        def tell(count: int, chi_squared: float, values) -> None:
            best = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
            shown.tell(f"{count} evaluations, best chi-squared {chi_squared:.6g}: {best}")

        yield tell
