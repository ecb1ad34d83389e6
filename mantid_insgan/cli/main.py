"""The command ``insgan``; its exit statuses are those of the classes in `errors`, 2 for wrong usage and 130 when
interrupted (docs/command-line.md)."""

from __future__ import annotations

import json as json_text
import signal
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from .. import __version__
from ..core.options import OUTPUT_MODEL_HELP, OVERWRITE_HELP, ApplyOptions, TrainOptions
from ..errors import DeviceError, InsganError

app = typer.Typer(
    help="Put the resolution of a neutron spectrometer into a simulated S(Q,E), or take it out of a measured one.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

#: Exit status after Ctrl-C or SIGTERM (128 + the number of SIGINT, as shells have it).
INTERRUPTED = 130

Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, nothing else.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help=OVERWRITE_HELP)]


def _flag(name: str, options: type = ApplyOptions):
    metadata = options.__dataclass_fields__[name].metadata
    return typer.Option(metadata["flag"], help=metadata["help"])


def _train_flag(name: str):
    return _flag(name, TrainOptions)


_DEFAULT = ApplyOptions()
_TRAIN = TrainOptions()


@app.command()
def apply(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="INPUT... [OUTPUT]",
            help="MDHistoWorkspace .nxs, nxspe or Workspace2D file, and the MDHistoWorkspace file to write (.nxs); "
            "with --output-dir any number of inputs.",
        ),
    ],
    direction: Annotated[str, _flag("direction")] = _DEFAULT.direction,
    model: Annotated[str | None, _flag("model")] = _DEFAULT.model,
    instrument: Annotated[str | None, _flag("instrument")] = _DEFAULT.instrument,
    ei: Annotated[float | None, _flag("ei")] = _DEFAULT.ei,
    chopper: Annotated[str | None, _flag("chopper")] = _DEFAULT.chopper,
    frequency: Annotated[float | None, _flag("frequency")] = _DEFAULT.frequency,
    lattice: Annotated[str | None, _flag("lattice")] = _DEFAULT.lattice,
    width_factor: Annotated[float, _flag("width_factor")] = _DEFAULT.width_factor,
    device: Annotated[str, _flag("device")] = _DEFAULT.device,
    out_of_domain: Annotated[str, _flag("out_of_domain")] = _DEFAULT.out_of_domain,
    output_dir: Annotated[
        Path | None,
        typer.Option("--output-dir", help="Folder for the results of many files; those that are there are kept."),
    ] = None,
    workers: Annotated[int, typer.Option("--workers", help="Processes for many files, one thread each.")] = 1,
    dask: Annotated[
        str | None, typer.Option("--dask", help="Address of a Dask scheduler, or local for a cluster here.")
    ] = None,
    overwrite: Overwrite = False,
    json: Json = False,
):
    """Add the resolution to a simulation, or remove it from data; one file, or many into a folder."""
    from ..translate.job import apply_to_file

    given = locals()
    options = ApplyOptions(**{name: given[name] for name in ApplyOptions.__dataclass_fields__})
    if output_dir is not None:
        _apply_to_many(files, output_dir, options, {"workers": workers, "dask": dask, "overwrite": overwrite}, json)
        return
    if len(files) != 2 or workers != 1 or dask is not None:
        raise typer.BadParameter(
            f"{len(files)} files were given; give INPUT and OUTPUT, or --output-dir for many files, which alone can "
            "have --workers and --dask"
        )
    source, target = files
    started = time.monotonic()
    with _progress(direction, quiet=json) as progress:
        report = apply_to_file(source, target, options, overwrite=overwrite, progress=progress)
    summary = {"output": str(target), "seconds": round(time.monotonic() - started, 2), **report.summary()}
    typer.echo(json_text.dumps(summary) if json else _say_report(summary))


def _apply_to_many(files, folder, options, how: dict, json: bool) -> None:
    from ..translate.many import apply_to_many, exit_code

    started = time.monotonic()
    with _progress(options.direction, quiet=json) as progress:
        outcomes = apply_to_many(files, folder, options, **how, progress=progress)
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


@app.command("bin")
def bin_(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="INPUT... OUTPUT",
            help="nxspe files of a scan of a crystal, and the MDHistoWorkspace file to write.",
        ),
    ],
    axis: Annotated[
        list[str] | None,
        typer.Option("--axis", help="Name, low, high and bins of an axis, such as [H,0,0],-2,2,80; four times."),
    ] = None,
    lattice: Annotated[str | None, typer.Option("--lattice", help=_flag("lattice").help.split(";")[0] + ".")] = None,
    u: Annotated[str, typer.Option("--u", help="h,k,l along the beam at psi = 0.")] = "1,0,0",
    v: Annotated[str, typer.Option("--v", help="h,k,l of another direction in the horizontal plane.")] = "0,1,0",
    psi: Annotated[
        str | None,
        typer.Option("--psi", help="Angle of each file in degrees, with commas; from the files if not given."),
    ] = None,
    psi_offset: Annotated[float, typer.Option("--psi-offset", help="Added to each angle, degrees.")] = 0.0,
    instrument: Annotated[str | None, _flag("instrument")] = _DEFAULT.instrument,
    ei: Annotated[
        float | None, typer.Option("--ei", help="Incident energy in meV; from the files if not given.")
    ] = None,
    overwrite: Overwrite = False,
    json: Json = False,
):
    """Bin the runs of a crystal to h, k, l and energy transfer: a file for apply."""
    from ..core.files import check_output
    from ..io import write_nexus
    from ..io.crystal import Setting, bin_crystal, parse_angles

    if len(files) < 2 or lattice is None:
        raise typer.BadParameter("give one nxspe file or more, the OUTPUT, and --lattice")
    *runs, target = files
    check_output(target, overwrite)
    with _progress("binning", quiet=json) as bar:
        how = {"ei": ei, "psi": parse_angles(psi), "instrument": instrument, "progress": bar}
        spectrum = bin_crystal(runs, Setting.parsed(lattice, u, v, psi_offset), axis or [], **how)
    options = {"lattice": lattice, "u": u, "v": v, "psi_offset": psi_offset, "runs": len(runs)}
    history = {"name": "insgan bin", "version": __version__, "parameters": {"input": runs[0].name, **options}}
    write_nexus(spectrum, target, overwrite=overwrite, history=history)
    summary = {
        "output": str(target),
        "runs": len(runs),
        "bins": spectrum.signal.size,
        "pixels": int(spectrum.num_events.sum()),
    }
    summary |= {"valid_bins": int(spectrum.valid.sum())}
    text = "wrote {output}: {pixels} pixels of {runs} runs in {valid_bins} of {bins} bins"
    typer.echo(json_text.dumps(summary) if json else text.format(**summary))


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(metavar="FILE|MODEL", help="A data file, or a model (bundled name or path).")],
    json: Json = False,
):
    """Show what a file or a model holds, and what is missing to apply a model to it."""
    from ..translate.inspect import inspect_file, inspect_model, is_model

    found = inspect_model(str(file)) if is_model(str(file)) else inspect_file(file)
    typer.echo(json_text.dumps(found.as_dict()) if json else found.as_text())


@app.command()
def models(json: Json = False):
    """List the bundled models with their held-out scores."""
    from ..translate.cards import bundled_models
    from ..translate.inspect import ModelSheet

    sheets = [ModelSheet(m) for m in bundled_models()]
    if json:
        typer.echo(json_text.dumps([s.as_dict() for s in sheets]))
    else:
        typer.echo("\n\n".join(s.as_text() for s in sheets) or "no models are bundled with this installation")


@app.command()
def plot(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A data file.")],
    output: Annotated[
        Path | None, typer.Option("--output", help="Picture to write; FILE with .png if not given.")
    ] = None,
    overwrite: Overwrite = False,
):
    """Draw a file: a line for one open axis, a map for two, several slices for more."""
    from ..core.files import check_output
    from ..io import read_spectrum
    from ..report.spectrum import plot_spectrum

    output = file.with_suffix(".png") if output is None else output
    check_output(output, overwrite)
    plot_spectrum(read_spectrum(file), output, title=file.name)
    typer.echo(f"wrote {output}")


@app.command()
def demo(
    output: Annotated[Path, typer.Option("--output", help="Folder for the results.")] = Path("demo"),
    device: Annotated[str, _flag("device")] = _DEFAULT.device,
):
    """Run the main job, in both directions, on the demo data; files of an earlier demo are replaced."""
    from ..demo import run_demo

    with _progress("demo") as progress:
        written = run_demo(output, device=device, progress=progress)
    typer.echo("\n".join(f"{text:28s} {path}" for text, path in written.items()))


@app.command("make-pairs")
def make_pairs(
    dimensions: Annotated[int, typer.Option("--dimensions", help="Open axes of the cuts: 1, 2 or 3.")],
    count: Annotated[int, typer.Option("--count", help="Pairs in all.")],
    output: Annotated[Path, typer.Option("--output", help="Folder; pairs of the same recipe in it are kept.")],
    seed: Annotated[int, typer.Option("--seed", help="Of all that is drawn.")] = 0,
    workers: Annotated[int, typer.Option("--workers", help="Processes; the pairs do not depend on it.")] = 1,
    method: Annotated[
        str | None, typer.Option("--method", help="How the truth is convolved: interpolated, covariance, montecarlo.")
    ] = None,
    bins: Annotated[int | None, typer.Option("--bins", help="Bins along each open axis.")] = None,
    energy_bins: Annotated[
        int | None, typer.Option("--energy-bins", help="Bins along the energy of volumes, if not as many.")
    ] = None,
    per_shard: Annotated[int | None, typer.Option("--per-shard", help="Pairs in one file.")] = None,
    family: Annotated[
        list[str] | None, typer.Option("--family", help="Only this family, also phonon_...; may be repeated.")
    ] = None,
    dask: Annotated[
        str | None, typer.Option("--dask", help="Address of a Dask scheduler, or local for a cluster here.")
    ] = None,
    json: Json = False,
):
    """Make training pairs: cuts of spin-wave models as they are, convolved, and as an experiment shows them."""
    from ..learn.pairs import make_pairs as make

    started = time.monotonic()
    recipe = {"method": method, "bins": bins, "energy_bins": energy_bins, "per_shard": per_shard}
    recipe["families"] = tuple(family or ())
    with _progress("pairs", quiet=json) as bar:
        progress = None if bar is None else lambda done, total: bar(done / total)
        made = make(dimensions, count, seed, workers, output, **recipe, dask=dask, progress=progress)
    seconds = time.monotonic() - started
    summary = {"output": str(made.folder), "pairs": made.pairs, "kept": made.kept, "shards": made.shards}
    summary |= {"seconds": round(seconds, 1), "pairs_per_minute": round(60 * (made.pairs - made.kept) / seconds, 1)}
    text = "{pairs} pairs in {shards} files in {output}, {kept} of them kept; {pairs_per_minute} pairs per minute"
    typer.echo(json_text.dumps(summary) if json else text.format(**summary))


@app.command()
def resolution(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="A data file: its facts, and its grid.")] = None,
    q: Annotated[list[str] | None, typer.Option("--q", help="|Q| in 1/Angstrom, or h,k,l; may be repeated.")] = None,
    energy: Annotated[
        list[float] | None, typer.Option("--energy", help="Energy transfer, meV; may be repeated.")
    ] = None,
    instrument: Annotated[str | None, _flag("instrument")] = _DEFAULT.instrument,
    ei: Annotated[float | None, _flag("ei")] = _DEFAULT.ei,
    chopper: Annotated[str | None, _flag("chopper")] = _DEFAULT.chopper,
    frequency: Annotated[float | None, _flag("frequency")] = _DEFAULT.frequency,
    lattice: Annotated[str | None, _flag("lattice")] = _DEFAULT.lattice,
    width_factor: Annotated[float, _flag("width_factor")] = _DEFAULT.width_factor,
    plot: Annotated[Path | None, typer.Option("--plot", help="Picture of the ellipses to write.")] = None,
    overwrite: Overwrite = False,
    json: Json = False,
):
    """Show the resolution at points (Q, E) or over a file's grid: FWHM along each axis and the covariance."""
    from ..report.resolution import ResolutionOptions, resolution_table

    options = ResolutionOptions(instrument, ei, chopper, frequency, lattice, width_factor)
    table = resolution_table(file, q or [], energy or [], options, plot=plot, overwrite=overwrite)
    typer.echo(json_text.dumps(table.as_dict()) if json else table.as_text())


@app.command()
def train(
    output: Annotated[Path, typer.Option("--output", help=OUTPUT_MODEL_HELP)],
    simulation: Annotated[list[Path] | None, _train_flag("simulation")] = None,
    experiment: Annotated[list[Path] | None, _train_flag("experiment")] = None,
    validation_simulation: Annotated[list[Path] | None, _train_flag("validation_simulation")] = None,
    validation_experiment: Annotated[list[Path] | None, _train_flag("validation_experiment")] = None,
    pairs: Annotated[str | None, _train_flag("pairs")] = _TRAIN.pairs,
    paired: Annotated[bool, _train_flag("paired")] = _TRAIN.paired,
    simulation_convolved: Annotated[bool, _train_flag("simulation_convolved")] = _TRAIN.simulation_convolved,
    direction: Annotated[str, _train_flag("direction")] = _TRAIN.direction,
    minutes: Annotated[float | None, _train_flag("minutes")] = _TRAIN.minutes,
    epochs: Annotated[int | None, _train_flag("epochs")] = _TRAIN.epochs,
    steps: Annotated[int | None, _train_flag("steps")] = _TRAIN.steps,
    batch: Annotated[int | None, _train_flag("batch")] = _TRAIN.batch,
    learning_rate: Annotated[float, _train_flag("learning_rate")] = _TRAIN.learning_rate,
    seed: Annotated[int, _train_flag("seed")] = _TRAIN.seed,
    warm_start: Annotated[str, _train_flag("warm_start")] = _TRAIN.warm_start,
    resume: Annotated[str | None, _train_flag("resume")] = _TRAIN.resume,
    device: Annotated[str, _train_flag("device")] = _TRAIN.device,
    precision: Annotated[str, _train_flag("precision")] = _TRAIN.precision,
    tensorboard: Annotated[str | None, _train_flag("tensorboard")] = _TRAIN.tensorboard,
    instrument: Annotated[str | None, _train_flag("instrument")] = _TRAIN.instrument,
    ei: Annotated[float | None, _train_flag("ei")] = _TRAIN.ei,
    chopper: Annotated[str | None, _train_flag("chopper")] = _TRAIN.chopper,
    frequency: Annotated[float | None, _train_flag("frequency")] = _TRAIN.frequency,
    lattice: Annotated[str | None, _train_flag("lattice")] = _TRAIN.lattice,
    width_factor: Annotated[float, _train_flag("width_factor")] = _TRAIN.width_factor,
    overwrite: Overwrite = False,
    json: Json = False,
):
    """Train a model on simulated and measured spectra, or on pairs; Ctrl-C ends it with the model that there is."""
    given = locals()
    options = {name: given[name] for name in TrainOptions.__dataclass_fields__}
    several = [name for name, entry in TrainOptions.__dataclass_fields__.items() if entry.default == ()]
    options |= {name: tuple(map(str, given[name] or ())) for name in several}
    train_model = _training()
    with _progress(f"training {direction}", quiet=json) as bar:
        progress = None if bar is None else lambda share, step, terms: bar(share)
        trained = train_model(TrainOptions(**options), output, overwrite=overwrite, progress=progress)
    summary = {name: str(value) if isinstance(value, Path) else value for name, value in vars(trained).items()}
    text = "wrote {model} after {steps} steps in {minutes} minutes; also {losses}, {curves}, {picture}, {checkpoint}"
    notes = "".join(f"\nnote: {note}" for note in trained.notes)
    typer.echo(json_text.dumps(summary) if json else text.format(**summary) + notes)
    if not trained.finished:
        raise typer.Exit(INTERRUPTED)


def _training():
    try:
        from ..learn.train_job import train_model
    except ModuleNotFoundError as error:
        raise DeviceError(
            f"training needs {error.name}, which is not installed", "pip install 'mantid-insgan[train]'"
        ) from error
    return train_model


@app.command("install-plugins")
def install_plugins(
    user: Annotated[
        bool, typer.Option("--user", help="Change the user's own properties file, as without --prefix.")
    ] = False,
    prefix: Annotated[
        Path | None, typer.Option("--prefix", help="Change this Mantid installation, for all its users.")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take the plug-ins out again.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")] = False,
):
    """Put the algorithms into Mantid: its properties file gets the folder of the plug-ins."""
    from ..mantid_support.install import carry_out, plan, user_properties

    if user and prefix is not None:
        raise typer.BadParameter("--user and --prefix name two files; give one of them")
    change = plan(user_properties(prefix), remove=remove)
    if not dry_run:
        carry_out(change)
    done = "is as it should be" if not change.needed else "would change" if dry_run else "changed"
    typer.echo("\n".join([f"{change.path} {done}", *(f"  {line}" for line in change.lines())]))


def _say_report(summary: dict) -> str:
    used = "; ".join(f"{name} {fact['value']} ({fact['source']})" for name, fact in summary["run"].items())
    lines = [f"wrote {summary['output']} in {summary['seconds']:.1f} s with {summary['model']}", f"  run: {used}"]
    for name, value in summary.items():
        if isinstance(value, float) and name != "seconds":
            lines.append(f"  {name.replace('_', ' ')}: {value:.4g}")
    return "\n".join([*lines, *(f"  note: {note}" for note in summary["notes"])])


@contextmanager
def _progress(title: str, quiet: bool = False):
    """A function of the share done, which also ends the work after an interrupt; a bar shows on a terminal once the
    work takes more than two seconds."""
    if quiet or not sys.stderr.isatty():
        yield _end_if_interrupted
        return
    from rich.console import Console
    from rich.progress import Progress

    started, bar, task = time.monotonic(), None, None

    def report(share: float):
        nonlocal bar, task
        _end_if_interrupted()
        if bar is None and time.monotonic() - started > 2.0:
            bar = Progress(console=Console(stderr=True), transient=True)
            bar.start()
            task = bar.add_task(title, total=1.0)
        if bar is not None:
            bar.update(task, completed=share)

    try:
        yield report
    finally:
        if bar is not None:
            bar.stop()


def _version(asked: bool):
    if asked:
        typer.echo(f"insgan {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
):
    pass


#: Set by Ctrl-C and SIGTERM.
_interrupted = threading.Event()


def _interrupt(*_):
    _interrupted.set()
    raise KeyboardInterrupt


def _end_if_interrupted(*_) -> None:
    """Raise KeyboardInterrupt once more: where it falls into a callback of a library, the first one is lost."""
    if _interrupted.is_set():
        raise KeyboardInterrupt


def main() -> None:
    """Entry point: errors become one line on standard error and an exit status."""
    _interrupted.clear()
    for number in (signal.SIGINT, signal.SIGTERM):  # a batch system's kill cleans up as Ctrl-C does
        signal.signal(number, _interrupt)
    try:
        status = app(prog_name="insgan", standalone_mode=False)
        if status == INTERRUPTED:  # newer typer returns this, older raises Abort
            raise KeyboardInterrupt
        sys.exit(status)
    except InsganError as error:
        typer.echo(f"insgan: {error}", err=True)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        typer.echo("insgan: interrupted; no half-written file is left", err=True)
        sys.exit(INTERRUPTED)
    except Exception as error:
        _usage_error(error)


def _usage_error(error: Exception) -> None:
    """Wrong usage, typer's own errors, ends with 2 and a hint; anything else is a fault of ours and keeps its trace."""
    show = getattr(error, "show", None)
    if show is None:
        raise error
    show()
    sys.exit(getattr(error, "exit_code", 2))
