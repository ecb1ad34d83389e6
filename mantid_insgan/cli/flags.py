"""Flags of the commands, made from the dataclasses of options."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from typing import Annotated, get_args, get_origin, get_type_hints

import typer

from ..core.options import OVERWRITE_HELP, Options

Json = Annotated[bool, typer.Option("--json", help="Print only JSON on standard output.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help=OVERWRITE_HELP)]
Workers = Annotated[int, typer.Option("--workers", help="Number of processes for many files, one thread each.")]
Dask = Annotated[
    str | None, typer.Option("--dask", help="Address of a Dask scheduler, or local for a cluster on this machine.")
]


def takes(kind: type[Options]) -> Callable:
    """Decorator of a command with a parameter ``options``: on the command line it is one flag for each field of `kind`.

    The flags take the place of the parameter, with the help texts, types and defaults of the fields.
    """

    def decorate(command: Callable) -> Callable:
        @wraps(command)
        def from_flags(**given):
            options = {f.name: given.pop(f.name) for f in fields(kind)}
            # typer gives lists, and None for one that was not given
            several = {f.name: tuple(options[f.name] or ()) for f in fields(kind) if isinstance(f.default, tuple)}
            return command(**given, options=kind(**options | several))

        parameters = []
        for parameter in inspect.signature(command, eval_str=True).parameters.values():
            parameters += _parameters(kind) if parameter.name == "options" else [_by_keyword(parameter)]
        from_flags.__signature__ = inspect.Signature(parameters)
        from_flags.__annotations__ = {p.name: p.annotation for p in parameters}
        return from_flags

    return decorate


def _parameters(kind: type[Options]) -> list[inspect.Parameter]:
    """One parameter for each field, annotated for typer."""
    types = get_type_hints(kind)
    made = []
    for entry in kind.entries():
        several = get_origin(types[entry.name]) is tuple
        typed = list[get_args(types[entry.name])[0]] | None if several else types[entry.name]
        flag = typer.Option(entry.metadata["flag"], help=entry.metadata["help"])
        default = None if several else entry.default
        made.append(_by_keyword(inspect.Parameter(entry.name, _KEYWORD, default=default, annotation=typed), flag))
    return made


_KEYWORD = inspect.Parameter.KEYWORD_ONLY


def _by_keyword(parameter: inspect.Parameter, flag=None) -> inspect.Parameter:
    annotation = parameter.annotation if flag is None else Annotated[parameter.annotation, flag]
    return parameter.replace(kind=_KEYWORD, annotation=annotation)
