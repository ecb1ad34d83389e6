"""Writes the tables of command-line.md from the commands themselves: ``python docs/make_command_line.py``."""

from __future__ import annotations

import re
from pathlib import Path

import typer

from mantid_insgan.cli import main as cli
from mantid_insgan.errors import InsganError
from mantid_insgan.models.spinw import UnstableModelError

PAGE = Path(__file__).parent / "command-line.md"

#: Exit statuses that do not belong to a class of errors.
OTHERS = {
    0: "done",
    2: "wrong usage: an unknown option, or a value that is not a number",
    cli.INTERRUPTED: "interrupted by Ctrl-C or SIGTERM; no half-written file is left",
}
_BLOCK = re.compile(r"(<!-- ([\w -]+): made by make_command_line\.py -->\n).*?(<!-- end -->)", re.DOTALL)


def commands() -> dict:
    """Commands by name, as typer sees them; those of a group as 'group command'."""
    found = {}
    for name, command in typer.main.get_command(cli.app).commands.items():
        inside = getattr(command, "commands", None)
        found |= {name: command} if inside is None else {f"{name} {part}": c for part, c in inside.items()}
    return found


def command_text(name: str) -> str:
    """Usage of a command, what it does, and a table of its options."""
    parameters = commands()[name].params
    arguments = [p for p in parameters if p.param_type_name == "argument"]
    options = [p for p in parameters if p.param_type_name == "option"]
    usage = " ".join(["insgan", name, *(a.metavar for a in arguments), "[OPTIONS]"])
    rows = [(a.metavar, a.help, "") for a in arguments]
    rows += [(", ".join(o.opts), o.help, _default(o)) for o in options]
    table = [f"| `{flag}` | {text.replace('|', chr(92) + '|')} | {default} |" for flag, text, default in rows]
    return "\n".join(
        ["", f"    {usage}", "", commands()[name].help, "", "| | | default |", "|---|---|---|", *table, ""]
    )


def _default(option) -> str:
    return "" if option.default is None or option.is_flag else f"`{option.default}`"


def exit_statuses() -> dict[int, str]:
    """Every exit status and what it means."""
    classes = [InsganError, *InsganError.__subclasses__()]
    assert UnstableModelError in classes
    meanings = {c.exit_code: f"`{c.__name__}`: {c.__doc__.splitlines()[0].rstrip('.')}" for c in classes}
    return dict(sorted({**meanings, **OTHERS}.items()))


def _exit_table() -> str:
    rows = [f"| {status} | {meaning} |" for status, meaning in exit_statuses().items()]
    return "\n".join(["", "| status | meaning |", "|---|---|", *rows, ""])


def renewed(page: str) -> str:
    """The page with new tables."""

    def block(match: re.Match) -> str:
        text = _exit_table() if match[2] == "exit" else command_text(match[2])
        return f"{match[1]}{text}\n{match[3]}"

    return _BLOCK.sub(block, page)


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
