"""Commands that bin data, show a file or a result, and calculate the resolution: ``bin``, ``inspect``, ``plot``,
``report``, ``resolution``."""

from __future__ import annotations

import json as json_text
from pathlib import Path
from typing import Annotated

import typer

from ..core.options import BinOptions, ResolutionOptions, option, overridden
from .flags import Json, Overwrite, takes
from .output import noted
from .progress import progress


@takes(BinOptions)
def bin_(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="INPUT... OUTPUT",
            help="nxspe files of a scan of a crystal, and the MDHistoWorkspace file to write.",
        ),
    ],
    options: BinOptions,
    overwrite: Overwrite = False,
    json: Json = False,
):
    """Bin the runs of a crystal to h, k, l and energy transfer, as input for apply."""
    from .. import __version__
    from ..core.files import check_output
    from ..io import write_nexus
    from ..io.crystal import Setting, bin_crystal, parse_angles

    if len(files) < 2 or options.lattice is None:
        raise typer.BadParameter("give one or more nxspe files, the OUTPUT, and --lattice")
    *runs, target = files
    check_output(target, overwrite)
    setting = Setting.parsed(options.lattice, options.u, options.v, options.psi_offset)
    with progress("binning", quiet=json) as bar:
        how = {"ei": options.ei, "psi": parse_angles(options.psi), "instrument": options.instrument, "progress": bar}
        spectrum = bin_crystal(runs, setting, options.axis, **how)
    kept = {name: getattr(options, name) for name in ("lattice", "u", "v", "psi_offset")} | {"runs": len(runs)}
    history = {"name": "insgan bin", "version": __version__, "parameters": {"input": runs[0].name, **kept}}
    write_nexus(spectrum, target, overwrite=overwrite, history=history)
    summary = {
        "output": str(target),
        "runs": len(runs),
        "bins": spectrum.signal.size,
        "pixels": int(spectrum.num_events.sum()),
        "valid_bins": int(spectrum.valid.sum()),
        "notes": [*overridden(spectrum.run), *spectrum.run.notes],
    }
    text = "wrote {output}: {pixels} pixels of {runs} runs in {valid_bins} of {bins} bins".format(**summary)
    typer.echo(json_text.dumps(summary) if json else "\n".join([text, *noted(summary["notes"])]))


def inspect(
    file: Annotated[Path, typer.Argument(metavar="FILE|MODEL", help="A data file, or a model (bundled name or path).")],
    ei: Annotated[
        float | None, typer.Option("--ei", help="Incident energy in meV; from the file if not given.")
    ] = None,
    axes: Annotated[str | None, typer.Option("--axes", help=option("axes")["help"])] = None,
    json: Json = False,
):
    """Show the contents of a file or a model, and the facts that are missing to apply a model to the file."""
    from ..translate.inspect import inspect_file, inspect_model, is_model

    found = inspect_model(str(file)) if is_model(str(file)) else inspect_file(file, ei, axes)
    typer.echo(json_text.dumps(found.as_dict()) if json else found.as_text())


def plot(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A data file.")],
    output: Annotated[
        Path | None, typer.Option("--output", help="Figure to write; FILE with the suffix .png if not given.")
    ] = None,
    overwrite: Overwrite = False,
):
    """Plot a file: a line for one open axis, a map for two, several slices for more."""
    from ..core.files import check_output
    from ..io import read_spectrum
    from ..report.spectrum import plot_spectrum

    output = file.with_suffix(".png") if output is None else output
    check_output(output, overwrite)
    plot_spectrum(read_spectrum(file), output, title=file.name)
    typer.echo(f"wrote {output}")


def report(
    file: Annotated[Path, typer.Argument(metavar="INPUT", help="The data file that apply was given.")],
    result: Annotated[Path, typer.Argument(metavar="OUTPUT", help="The result of apply.")],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Report to write: a page (.html) with all its figures inside, or .pdf."),
    ] = Path("report.html"),
    model: Annotated[
        str | None, typer.Option("--model", help="The model that made the result, if it is not bundled.")
    ] = None,
    device: Annotated[str, typer.Option("--device", help=option("device")["help"])] = "auto",
    overwrite: Overwrite = False,
    json: Json = False,
):
    """Report on a result of apply: a verdict in words, figures with errors, facts with their sources, provenance."""
    from ..report.evidence import evidence_of_files, verdict
    from ..report.page import check_report, write_report

    check_report(output, overwrite)
    with progress("report", quiet=json) as bar:
        evidence = evidence_of_files(file, result, model=model, device=device, progress=bar)
    write_report(evidence, output, overwrite=overwrite)
    found = verdict(evidence)
    summary = {"report": str(output), "verdict": found.words, "reasons": list(found.reasons)}
    summary |= {"left_out": [f"{what}: {why}" for what, why in evidence.missing], "notes": list(evidence.notes)}
    reasons = [f"  {reason}" for reason in found.reasons]
    left_out = [f"  left out: {line}" for line in summary["left_out"]]
    text = [f"wrote {output}", found.words, *reasons, *left_out, *noted(summary["notes"])]
    typer.echo(json_text.dumps(summary) if json else "\n".join(text))


@takes(ResolutionOptions)
def resolution(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="A data file that gives the facts of the run and the grid.")
    ] = None,
    q: Annotated[list[str] | None, typer.Option("--q", help="|Q| in 1/Angstrom, or h,k,l; may be repeated.")] = None,
    energy: Annotated[
        list[float] | None, typer.Option("--energy", help="Energy transfer, meV; may be repeated.")
    ] = None,
    *,
    options: ResolutionOptions,
    plot: Annotated[Path | None, typer.Option("--plot", help="Figure of the resolution ellipses to write.")] = None,
    overwrite: Overwrite = False,
    json: Json = False,
):
    """Show the resolution at points (Q, E) or over the grid of a file: FWHM along each axis, and the covariance."""
    from ..report.resolution import resolution_table, table_text

    table, notes = resolution_table(file, q or [], energy or [], options, plot=plot, overwrite=overwrite)
    if json:
        typer.echo(json_text.dumps(table.as_dict() | {"notes": list(notes)}))
    else:
        typer.echo("\n".join([table_text(table), *noted(notes)]))
