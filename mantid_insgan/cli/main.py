"""The command ``insgan``. Its exit status is that of the class of error (see `errors`), 2 for wrong usage and 130 after
an interrupt (docs/command-line.md)."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from ..errors import InsganError
from . import apply, classify, data, fit, model, setup, simulate, train
from .progress import INTERRUPTED, catch_interrupts

app = typer.Typer(
    help="Add the resolution of a neutron spectrometer to a simulated S(Q,E), or remove it from a measured one.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

#: In the order of the help.
COMMANDS = {
    "apply": apply.apply,
    "fit": fit.fit,
    "compare": fit.compare,
    "train-classifier": classify.train_classifier,
    "classify": classify.classify,
    "bin": data.bin_,
    "inspect": data.inspect,
    "models": setup.models,
    "plot": data.plot,
    "report": data.report,
    "demo": setup.demo,
    "make-pairs": train.make_pairs,
    "resolution": data.resolution,
    "simulate": simulate.simulate,
    "train": train.train,
    "install-plugins": setup.install_plugins,
}
for _name, _command in COMMANDS.items():
    app.command(_name)(_command)
app.add_typer(model.app, name="model")


def _version(asked: bool):
    if asked:
        from .. import __version__

        typer.echo(f"insgan {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
):
    pass


def main() -> None:
    """Entry point: an error becomes one line on standard error and an exit status."""
    catch_interrupts()
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
    """An error of usage (from typer) ends with status 2; any other error is a bug and shows its traceback."""
    show = getattr(error, "show", None)
    if show is None:
        raise error
    show()
    sys.exit(getattr(error, "exit_code", 2))
