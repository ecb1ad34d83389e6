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
Figure = Annotated[
    Path | None,
    typer.Option("--figure", help="Picture of data, fit and residual (png, pdf, svg); pairs of parameters beside it."),
]
Log = Annotated[Path | None, typer.Option("--log", help="Log of every evaluation to write, for --resume.")]
Resume = Annotated[bool, typer.Option("--resume", help="Take the searches that the log says are done from there.")]
ResumeAll = Annotated[
    bool, typer.Option("--resume", help="Take the searches that the log says are done, and earlier draws, from there.")
]
Posterior = Annotated[
    int | None,
    typer.Option("--posterior", help="Draws from the posterior, such as 10000 (bumps), written beside --output."),
]
FitWorkers = Annotated[int, typer.Option("--workers", min=1, help="Processes, each with one search at a time.")]


@takes(FitOptions)
def fit(
    source: Source,
    data: Annotated[list[Path] | None, typer.Argument(metavar="[DATA...]", help="Data files, for a model.")] = None,
    *,
    options: FitOptions,
    output: Output = None,
    figure: Figure = None,
    posterior: Posterior = None,
    log: Log = None,
    resume: ResumeAll = False,
    workers: FitWorkers = 1,
    dask: Dask = None,
    overwrite: Overwrite = False,
    json: Json = False,
):
    """Fit the free parameters of a model to one or several measurements, through the resolution."""
    with _best_so_far(f"fitting {source.name}", quiet=json) as tell:
        from ..fit.job import fit_files
        from ..report.corner import beside, drawable, plot_corner
        from ..report.fit import fit_text, plot_fit

        draws = _draws_file(posterior, output, resume, overwrite)
        pairs = None if figure is None else beside(figure)
        _check_log(log, resume and posterior is None)
        _check(output, [figure, pairs], [log, draws], overwrite, [source, *(data or [])])
        how = {"log": log, "resume": resume, "progress": tell, "workers": workers, "dask": dask}
        result = fit_files(source, data or (), options, **how)
    if posterior is not None and not result.stopped:
        from ..fit.sampling import sample_posterior

        with progress(f"drawing from the posterior of {source.name}", quiet=json) as shown:
            result.posterior = sample_posterior(
                result, posterior, path=draws, resume=resume, overwrite=overwrite, progress=shown
            )
    written = [draws] if result.posterior is not None and len(result.posterior.draws) else []
    if output is not None:
        written.append(result.save(output, overwrite=overwrite))
    if figure is not None:
        plot_fit(result, figure, overwrite=overwrite)
        written.append(figure)
        if len(drawable(result)) > 1:
            plot_corner(result, pairs, log=log, overwrite=overwrite)
            written.append(pairs)
    typer.echo(json_text.dumps(result.as_dict()) if json else fit_text(result))
    if not json:
        for file in written:
            typer.echo(f"wrote {file}")


@takes(FitOptions)
def compare(
    source: Annotated[Path, typer.Argument(metavar="PROBLEM", help="A problem in YAML (docs/fitting.md).")],
    models: Annotated[
        list[Path] | None, typer.Argument(metavar="[MODEL...]", help="Rivals beside those the problem names.")
    ] = None,
    *,
    options: FitOptions,
    block: Annotated[int, typer.Option("--block", min=1, help="Bins along each axis that are drawn together.")] = 5,
    evidence: Annotated[
        bool, typer.Option("--evidence", help="Also the evidence for each, with its limits as prior (dynesty).")
    ] = False,
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

        _check_log(log, resume)
        _check(output, [], [log], overwrite, [source, *(models or [])])
        how = {"block": block, "bounded": evidence, "log": log, "resume": resume}
        how |= {"progress": tell, "workers": workers, "dask": dask}
        fits, verdicts = compare_files(source, models or (), options, **how)
    found, said = _evidence(fits, source, quiet=json) if evidence else ([], [])
    summary = {"fits": [f.as_dict() for f in fits], "verdicts": [vars(v) | {"decided": v.decided} for v in verdicts]}
    if evidence:
        summary["evidence"] = {"models": [vars(e) for e in found], "said": said}
    if output is not None:
        with replacing(output) as temporary:
            temporary.write_text(json_text.dumps(summary, indent=1) + "\n", encoding="utf-8")
    if json:
        typer.echo(json_text.dumps(summary))
        return
    for fitted in fits:
        typer.echo(f"{fitted.problem.definition.name}\n{fit_text(fitted)}\n")
    typer.echo("\n".join([comparison_text(fits, verdicts), *said]))
    if output is not None:
        typer.echo(f"wrote {output}")


def _evidence(fits, source: Path, quiet: bool):
    """The evidence for each rival, and what it says; none where the user stopped the work."""
    if any(f.stopped for f in fits):
        return [], ["evidence: not worked out, because a fit was stopped"]
    from ..fit.evidence import evidence_for, evidence_sentences

    with progress(f"working out the evidence for the models of {source.name}", quiet=quiet) as shown:

        def tell(name: str, count: int, logarithm: float, left: float) -> None:
            shown.tell(f"{name}: {count} evaluations, logarithm {logarithm:.4g}, still to gain {left:.2g}")

        try:
            found = evidence_for(fits, seed=fits[0].problem.seed, progress=tell)
        except KeyboardInterrupt:  # the fits and their verdicts are kept
            return [], ["evidence: stopped before it was known"]
    return found, evidence_sentences(found, fits)


def _draws_file(posterior: int | None, output: Path | None, resume: bool, overwrite: bool) -> Path | None:
    """Where the draws of the posterior go, checked before the fit: fit.json -> fit-posterior.npz."""
    if posterior is None:
        return None
    if output is None:
        raise typer.BadParameter("--posterior needs the result to write (--output): the draws are written beside it")
    from ..core.files import check_output
    from ..fit.posterior import read_posterior
    from ..fit.sampling import check_draws

    check_draws(posterior)
    path = output.with_name(f"{output.stem}-posterior.npz")
    if resume and path.exists():
        read_posterior(path)
    else:
        check_output(path, overwrite)
    return path


def _check_log(log: Path | None, needed: bool) -> None:
    if needed and log is None:
        raise typer.BadParameter("--resume needs the log to resume (--log)")


def _check(output, figures, others, overwrite: bool, inputs: list[Path]) -> None:
    """Before the work: whether what is asked for can be written, without replacing what is read."""
    from ..core.files import check_output, require_another
    from ..report.style import check_figure

    figures = list(filter(None, figures))
    for file in filter(None, (output, *figures, *others)):
        for one in inputs:
            require_another(one, file)
    if output is not None:
        check_output(output, overwrite)
    for figure in figures:
        check_figure(figure, overwrite)


@contextmanager
def _best_so_far(title: str, quiet: bool):
    """A function that shows the best chi-squared and values so far, and ends the work after an interrupt."""
    with progress(title, quiet=quiet) as shown:

        def tell(count: int, chi_squared: float, values) -> None:
            best = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
            shown.tell(f"{count} evaluations, best chi-squared {chi_squared:.6g}: {best}")

        yield tell
