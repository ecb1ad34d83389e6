"""``insgan apply``: add or remove the resolution of one file, or of many."""

from __future__ import annotations

import json as json_text
import time
from pathlib import Path
from typing import Annotated

import typer

from ..core.numbers import digits
from ..core.options import ApplyOptions
from .flags import Dask, Json, Overwrite, Workers, takes
from .output import noted
from .progress import progress


@takes(ApplyOptions)
def apply(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="INPUT... [OUTPUT]",
            help="A data file (docs/formats.md), and the file to write: MDHistoWorkspace (.nxs), text (.txt, .xye) or "
            "NumPy (.npz); with --output-dir, any number of inputs.",
        ),
    ],
    options: ApplyOptions,
    output_dir: Annotated[
        Path | None,
        typer.Option("--output-dir", help="Folder for the results of many files; existing results are kept."),
    ] = None,
    workers: Workers = 1,
    dask: Dask = None,
    report: Annotated[
        Path | None, typer.Option("--report", help="Report on the result to write as well (.html or .pdf).")
    ] = None,
    overwrite: Overwrite = False,
    json: Json = False,
):
    """Add the resolution to a simulation, or remove it from data: for one file, or for many into a folder."""
    if report is not None:
        _check_report(report, files, output_dir, overwrite)
    if output_dir is not None:
        _apply_to_many(files, output_dir, options, {"workers": workers, "dask": dask, "overwrite": overwrite}, json)
        return
    if len(files) != 2 or workers != 1 or dask is not None:
        raise typer.BadParameter(
            f"{len(files)} files were given; give INPUT and OUTPUT, or --output-dir for many files; --workers and "
            "--dask need --output-dir"
        )
    source, target = files
    started = time.monotonic()
    with progress(_title(options, source.name), quiet=json) as bar:
        from ..translate.job import apply_to_file, files_of_ends  # takes longer than a user waits for a sign of life

        made = apply_to_file(source, target, options, overwrite=overwrite, progress=bar)
    summary = {"output": str(target), "seconds": round(time.monotonic() - started, 2), **made.summary()}
    if options.intervals:
        summary |= {"intervals": {end: str(path) for end, path in files_of_ends(target).items()}}
    if report is not None:
        _write_report(report, source, target, options, overwrite)
        summary |= {"report": str(report)}
    typer.echo(json_text.dumps(summary) if json else _report_text(summary))


def _check_report(report: Path, files: list[Path], output_dir: Path | None, overwrite: bool) -> None:
    from ..report.page import check_report

    if output_dir is not None:
        raise typer.BadParameter("--report is for one INPUT and OUTPUT; insgan report makes one for each result")
    if report in files:
        raise typer.BadParameter(f"--report {report} is also the INPUT or OUTPUT")
    check_report(report, overwrite)


def _write_report(report: Path, source: Path, target: Path, options: ApplyOptions, overwrite: bool) -> None:
    from ..report.evidence import evidence_of_files
    from ..report.page import write_report

    evidence = evidence_of_files(source, target, model=options.model, device=options.device)
    write_report(evidence, report, overwrite=overwrite)


def _apply_to_many(files, folder, options, how: dict, json: bool) -> None:
    started = time.monotonic()
    with progress(_title(options, f"{len(files)} files"), quiet=json) as bar:
        from ..translate.many import apply_to_many, exit_code

        outcomes = apply_to_many(files, folder, options, **how, progress=bar)
    count = {s: sum(o.status == s for o in outcomes) for s in ("written", "kept", "failed")}
    summary = {"output_dir": str(folder), "seconds": round(time.monotonic() - started, 2), **count}
    if json:
        typer.echo(json_text.dumps(summary | {"files": [vars(o) for o in outcomes]}))
    else:
        lines = [f"{o.status} {o.output if o.status != 'failed' else o.input}" for o in outcomes]
        lines = [line + "".join(f"\n  {m}" for m in o.messages) for line, o in zip(lines, outcomes, strict=True)]
        last = "{written} written, {kept} kept, {failed} failed of {n} files in {output_dir} in {seconds:.1f} s"
        typer.echo("\n".join([*lines, last.format(**summary, n=len(outcomes))]))
    if count["failed"]:
        raise typer.Exit(exit_code(outcomes))


def _title(options: ApplyOptions, what: str) -> str:
    return f"{'to ' + options.to if options.to else options.direction}: {what}"


def _report_text(summary: dict) -> str:
    used = "; ".join(f"{name} {digits(fact['value'])} ({fact['source']})" for name, fact in summary["run"].items())
    lines = [f"wrote {summary['output']} in {summary['seconds']:.1f} s with {summary['model']}", f"  run: {used}"]
    lines.append(f"  resolution of the result: {summary['resolution_of_result']}")
    lines += [f"  report: {summary['report']}"] if "report" in summary else []
    lines += [f"  {end}: {path}" for end, path in summary.get("intervals", {}).items()]
    for name, value in summary.items():
        if isinstance(value, float) and name != "seconds":
            lines.append(f"  {name.replace('_', ' ')}: {digits(value)}")
    return "\n".join([*lines, *noted(summary["notes"])])
