"""Commands that bin data, show a file or a result, and calculate the resolution: ``bin``, ``inspect``, ``plot``,
``report``, ``resolution``."""

from __future__ import annotations

import json as json_text
from pathlib import Path
from typing import Annotated

import typer

from ..core.options import BinOptions, ReadOptions, ResolutionOptions, option, overridden, reading_of
from .flags import Json, Overwrite, takes
from .output import noted
from .progress import progress


@takes(BinOptions)
def bin_(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="INPUT... OUTPUT",
            help="nxspe files of a scan of a crystal, or one sqw file, and the file to write (.nxs, .txt, .npz).",
        ),
    ],
    options: BinOptions,
    overwrite: Overwrite = False,
    json: Json = False,
):
    """Bin the runs of a crystal to h, k, l and energy transfer, as input for apply."""
    *runs, target = files
    from ..io.sqw import is_sqw

    horace = any(map(is_sqw, runs))
    if not runs or options.lattice is None and not horace:
        raise typer.BadParameter("give one or more nxspe files, the OUTPUT, and --lattice")
    if horace and (len(runs) > 1 or options.psi is not None or options.psi_offset):
        raise typer.BadParameter("give one sqw file and the OUTPUT; its pixels have the angles, so no --psi")
    with progress(f"binning {runs[0].name if horace else f'{len(runs)} runs'}", quiet=json) as bar:
        from .. import __version__
        from ..core.files import check_output
        from ..io import write_spectrum, writer_for

        check_output(target, overwrite, runs)
        writer_for(target)
        spectrum = _binned(runs, options, horace, bar)
    kept = {name: getattr(options, name) for name in ("lattice", "u", "v", "psi_offset")}
    number = {} if horace else {"runs": len(runs)}
    kept = {name: value for name, value in kept.items() if value is not None} | number
    history = {"name": "insgan bin", "version": __version__, "parameters": {"input": runs[0].name, **kept}}
    write_spectrum(spectrum, target, overwrite=overwrite, history=history)
    summary = {
        "output": str(target),
        **number,
        "bins": spectrum.signal.size,
        "pixels": int(spectrum.num_events.sum()),
        "valid_bins": int(spectrum.valid.sum()),
        "notes": [*overridden(spectrum.run), *spectrum.run.notes],
    }
    text = "wrote {output}: {pixels} pixels of {source} in {valid_bins} of {bins} bins".format(
        source=runs[0].name if horace else f"{len(runs)} runs", **summary
    )
    typer.echo(json_text.dumps(summary) if json else "\n".join([text, *noted(summary["notes"])]))


def _binned(runs: list[Path], options: BinOptions, horace: bool, progress):
    from ..io.crystal import Setting, bin_crystal, parse_angles
    from ..io.sqw import bin_sqw

    how = {"ei": options.ei, "instrument": options.instrument, "progress": progress}
    if horace:
        return bin_sqw(runs[0], options.axis, lattice=options.lattice, u=options.u, v=options.v, **how)
    setting = Setting.parsed(options.lattice, options.u or "1,0,0", options.v or "0,1,0", options.psi_offset)
    return bin_crystal(runs, setting, options.axis, psi=parse_angles(options.psi), **how)


@takes(ReadOptions)
def inspect(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE|MODEL|INSTRUMENT", help="A data file, a model (bundled name or path), or an instrument."
        ),
    ],
    options: ReadOptions,
    choppers: Annotated[
        bool, typer.Option("--choppers", help="Also show the chopper packages of the file's instrument.")
    ] = False,
    json: Json = False,
):
    """Show the contents of a file or a model, the facts that are missing to apply a model to the file, or the chopper
    packages of an instrument."""
    from ..instruments.catalogue import canonical_name
    from ..report.choppers import InstrumentSheet
    from ..translate.inspect import inspect_file, inspect_model, is_model

    if is_model(str(file)):
        sheets = [inspect_model(str(file))]
    elif not file.exists() and canonical_name(str(file)):
        sheets = [InstrumentSheet.of(str(file))]
    else:
        sheets = [inspect_file(file, options)]
        sheets += [InstrumentSheet.of(_instrument_of(sheets[0]))] if choppers else []
    if json:
        found = sheets[0].as_dict() | ({"instrument": sheets[1].as_dict()} if len(sheets) > 1 else {})
        typer.echo(json_text.dumps(found))
    else:
        typer.echo("\n".join(sheet.as_text() for sheet in sheets))


def _instrument_of(sheet) -> str:
    from ..errors import RunFactError
    from ..instruments.catalogue import known_instruments

    name = sheet.run.value("instrument")
    if name is None:
        raise RunFactError(
            f"the instrument of {sheet.path} is not known, so its chopper packages are not either",
            f"name the instrument in place of the file: one of {', '.join(known_instruments())}",
        )
    return name


@takes(ReadOptions)
def plot(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A data file.")],
    output: Annotated[
        Path | None, typer.Option("--output", help="Figure to write; FILE with the suffix .png if not given.")
    ] = None,
    *,
    options: ReadOptions,
    overwrite: Overwrite = False,
):
    """Plot a file: a line for one open axis, a map for two, several slices for more."""
    from ..core.files import check_output
    from ..io import read_spectrum
    from ..report.spectrum import plot_spectrum
    from ..report.style import check_figure

    output = file.with_suffix(".png") if output is None else output
    check_figure(output, overwrite)
    check_output(output, overwrite, [file])
    plot_spectrum(read_spectrum(file, **reading_of(options)), output, title=file.name)
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
