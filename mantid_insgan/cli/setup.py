"""Commands for an installation: ``models``, ``demo`` and ``install-plugins``."""

from __future__ import annotations

import json as json_text
from pathlib import Path
from typing import Annotated

import typer

from ..core.options import option
from .flags import Json, Overwrite
from .progress import progress


def models(
    details: Annotated[bool, typer.Option("--details", help="Show the whole card of each model.")] = False,
    json: Json = False,
):
    """List the bundled models with their held-out scores, one line each."""
    from ..report.text import columns
    from ..translate.cards import bundled_models
    from ..translate.inspect import COUNTED, ModelSheet

    sheets = [ModelSheet(m) for m in bundled_models()]
    if json:
        typer.echo(json_text.dumps([s.as_dict() for s in sheets]))
    elif not sheets:
        typer.echo("no models are bundled with this installation")
    elif details:
        typer.echo("\n\n".join(s.as_text() for s in sheets))
    else:
        typer.echo(columns([s.row() for s in sheets], ModelSheet.HEADER))
        typer.echo(
            f"\nNRMSE: median over spectra of held-out Hamiltonians with {COUNTED}, 0 is exact.\n"
            "1 s.e.: share of bins whose truth lies within one standard error, 0.683 is expected.\n"
            + _OF_EXPERIMENTS * any(s.model.card.purpose == "experiment" for s in sheets)
            + "--details shows all scores and their conditions."
        )


#: Said beside the scores of models that are for more than the resolution.
_OF_EXPERIMENTS = (
    "Models between simulation and experiment: simulated experiments with a background, one scale for each method,\n"
    "simulations without noise. Nothing chooses these models but their direction (--direction).\n"
)


def demo(
    output: Annotated[Path, typer.Option("--output", help="Folder for the results.")] = Path("demo"),
    device: Annotated[str, typer.Option("--device", help=option("device")["help"])] = "auto",
):
    """Add and remove the resolution on the demo data; files of an earlier demo are replaced."""
    with progress("demo") as bar:
        from ..demo import run_demo
        from ..report.text import columns

        written = run_demo(output, device=device, progress=bar)
    typer.echo(columns(written.items()))


def install_plugins(
    user: Annotated[bool, typer.Option("--user", help="Change the user's properties file (the default).")] = False,
    prefix: Annotated[
        Path | None, typer.Option("--prefix", help="Change this Mantid installation, for all its users.")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the plug-ins again.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, without changing it.")] = False,
    scripts: Annotated[
        Path | None,
        typer.Option("--scripts", help="Instead, copy the scripts for autoreduction and live data into this folder."),
    ] = None,
    overwrite: Overwrite = False,
):
    """Install the algorithms in Mantid: add the folder of the plug-ins to its properties file."""
    from ..mantid_support.install import carry_out, plan, user_properties

    if scripts is not None:
        if user or remove or prefix is not None:
            raise typer.BadParameter("--scripts copies the scripts alone; leave --user, --prefix and --remove out")
        _copy_scripts(scripts, overwrite=overwrite, dry_run=dry_run)
        return
    if user and prefix is not None:
        raise typer.BadParameter("--user and --prefix are two different files; give one of them")
    change = plan(user_properties(prefix), remove=remove)
    if not dry_run:
        carry_out(change)
    done = "needs no change" if not change.needed else "would change" if dry_run else "changed"
    typer.echo("\n".join([f"{change.path} {done}", *(f"  {line}" for line in change.lines())]))


def _copy_scripts(folder: Path, *, overwrite: bool, dry_run: bool) -> None:
    from ..mantid_support.install import copy_scripts

    for path, differs in copy_scripts(folder, overwrite=overwrite, dry_run=dry_run).items():
        typer.echo(f"{path} {'is there' if not differs else 'would be written' if dry_run else 'written'}")
