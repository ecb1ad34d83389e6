"""Commands about a model of your own: ``model check``."""

from __future__ import annotations

import json as json_text
from pathlib import Path
from typing import Annotated

import typer

from .flags import Json, Overwrite

app = typer.Typer(help="Look at a model of S(Q,E) that a file defines.", no_args_is_help=True, add_completion=False)


@app.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A model in YAML (docs/models.md).")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Start of a parameter; may be repeated.")
    ] = None,
    draws: Annotated[
        int, typer.Option("--draws", min=0, help="Points within the limits at which stability is tried.")
    ] = 32,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Picture of the dispersion to write (png, pdf, svg).")
    ] = None,
    path: Annotated[
        list[str] | None, typer.Option("--path", help="A corner h,k,l of the picture's path; may be repeated.")
    ] = None,
    overwrite: Overwrite = False,
    json: Json = False,
):
    """Show the parameters, sites and bonds of a model, and whether it is stable; draw its dispersion."""
    from ..models.base import UnstableModelError
    from ..models.definition import read_model
    from ..report.model import PATH, model_sheet, plot_dispersion
    from ..report.style import check_figure

    if output is not None:
        check_figure(output, overwrite)
    corners = PATH if not path else [_numbers(corner) for corner in path]
    if len(corners) < 2:
        raise typer.BadParameter("--path needs two corners or more")
    definition = read_model(file).with_starts(**dict(_setting(text) for text in set_ or []))
    sheet = model_sheet(definition, draws=draws)
    typer.echo(json_text.dumps(sheet.as_dict()) if json else sheet.as_text())
    if sheet.problem is not None:
        raise typer.Exit(UnstableModelError.exit_code)
    if output is not None:
        plot_dispersion(sheet.model, output, path=corners, title=definition.name, overwrite=overwrite)
        if not json:
            typer.echo(f"wrote {output}")


def _setting(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name.strip(), float(value)
    except ValueError as problem:
        raise typer.BadParameter(f"--set {text}: expected NAME=VALUE with a number, as in --set J=29") from problem


def _numbers(text: str) -> list[float]:
    try:
        h, k, l = (float(word) for word in text.split(","))  # noqa: E741
    except ValueError as problem:
        raise typer.BadParameter(f"--path {text}: expected three numbers, as in --path 1,0,0") from problem
    return [h, k, l]
