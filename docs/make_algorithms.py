"""Writes the tables of properties in docs/algorithms/ and draws the dialogs, both from the declared properties:
``python docs/make_algorithms.py``. Without Mantid it uses the stand-in of the tests."""

from __future__ import annotations

import importlib.util
import re
import sys
from html import escape
from pathlib import Path
from textwrap import wrap

HERE = Path(__file__).parent
if importlib.util.find_spec("mantid") is None:
    sys.path.append(str(HERE.parent / "tests" / "mantid_standin"))

_BLOCK = re.compile(r"(<!-- properties: made by make_algorithms\.py -->\n).*?(<!-- end -->)", re.DOTALL)

# Sizes in the drawing, in pixels.
WIDTH, MARGIN, ROW, LABEL, BOX = 640, 16, 30, 160, 22
#: Style of the notes below the dialog.
NOTE = ' font-style="italic" font-size="11" xml:space="preserve"'


def names() -> list[str]:
    """The algorithms of this package."""
    import mantid_insgan.mantid

    return mantid_insgan.mantid.register()


def properties(name: str) -> list:
    """The declared properties of an algorithm, in their order."""
    from mantid.api import AlgorithmManager

    return list(AlgorithmManager.create(name).getProperties())


def page(name: str) -> Path:
    """The page of an algorithm."""
    return HERE / "algorithms" / f"{name}.md"


def picture(name: str) -> Path:
    """The drawing of its dialog."""
    return HERE / "images" / f"{name}.svg"


def rules(name: str) -> list[str]:
    """Sentences that say when the dialog shows a property and when it can be filled."""
    from mantid_insgan.mantid_support.properties import RULES

    together: dict = {}
    for prop, rule in RULES[name].items():
        together.setdefault(str(rule), []).append(prop)
    return [f"{', '.join(names)}: {text}." for text, names in together.items()]


def table(name: str) -> str:
    """The table of properties in the layout of Mantid's own pages, and the rules of the dialog."""
    rows = [
        f"| {number} | {p.name} | {_direction(p)} | {_type(p)} | {_default(p)} | {p.documentation} |"
        for number, p in enumerate(properties(name), 1)
    ]
    head = "| Order | Name | Direction | Type | Default | Description |\n|---|---|---|---|---|---|"
    sentences = [f"- {sentence}" for sentence in rules(name)]
    dialog = ["In the dialog:", "", *sentences, ""] if sentences else []
    return "\n".join(["", head, *rows, "", *dialog])


def _direction(prop) -> str:
    return {0: "Input", 1: "Output", 2: "InOut"}[int(prop.direction)]


def _is_workspace(prop) -> bool:
    from mantid.api import IWorkspaceProperty

    return isinstance(prop, IWorkspaceProperty)


def _type(prop) -> str:
    from mantid.api import FileProperty, MultipleFileProperty

    if _is_workspace(prop):
        return "MDHistoWorkspace" if prop.type == "IMDHistoWorkspace" else prop.type
    if isinstance(prop, MultipleFileProperty):
        return "files"
    if isinstance(prop, FileProperty):
        return "file"
    return {bool: "boolean", int: "integer", float: "number", str: "text"}.get(type(prop.value), "list")


def _default(prop) -> str:
    from mantid.kernel import Property

    if int(prop.direction) == 1 and not _is_workspace(prop):
        return ""
    if prop.isValid:
        return "*Mandatory*"
    empty = {"number": Property.EMPTY_DBL, "integer": Property.EMPTY_INT}.get(_type(prop), "")
    unset = prop.getDefault == "" or prop.value == empty
    return "*Optional*" if unset else f"`{prop.value}`"


def renewed(text: str, name: str) -> str:
    """The page with a new table."""
    return _BLOCK.sub(lambda match: f"{match[1]}{table(name)}\n{match[2]}", text)


def drawing(name: str) -> str:
    """The dialog as Mantid lays it out, as SVG: a row for each property, a box around each group; below it, when
    properties are shown and can be filled."""
    shown = [p for p in properties(name) if int(p.direction) != 1 or _is_workspace(p)]
    parts, y = [], 48
    for i, prop in enumerate(shown):
        group = prop.getGroup
        if group and (i == 0 or shown[i - 1].getGroup != group):
            size = sum(p.getGroup == group for p in shown)
            parts += _group(group, y, size)
            y += 22
        parts += _row(prop, y)
        y += ROW
        if group and (i + 1 == len(shown) or shown[i + 1].getGroup != group):
            y += 14
    parts += _button(MARGIN, y + 8, 28, "?") + _button(WIDTH - 190, y + 8, 80, "Run")
    parts += _button(WIDTH - 96, y + 8, 80, "Cancel")
    height = y + 46
    below = [line for sentence in rules(name) for line in wrap(sentence, 92, subsequent_indent="    ")]
    notes = [_text(MARGIN, height + 20 + 17 * i, line, NOTE) for i, line in enumerate(below)]
    whole = height + 17 * len(below) + 14
    title = f"{name} input dialog"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {whole}" width="{WIDTH}" height="{whole}" '
            'font-family="DejaVu Sans, Arial, sans-serif" font-size="13">',
            f"<title>{title}</title>",
            f'<rect width="{WIDTH}" height="{height}" rx="6" fill="#f0f0f0" stroke="#888"/>',
            f'<rect width="{WIDTH}" height="32" rx="6" fill="#d8dce2" stroke="#888"/>',
            _text(WIDTH / 2, 21, title, ' text-anchor="middle" font-weight="bold"'),
            *parts,
            *notes,
            "</svg>",
            "",
        ]
    )


def _text(x: float, y: float, text: str, more: str = "") -> str:
    return f'<text x="{x:g}" y="{y:g}"{more} fill="#202020">{escape(text)}</text>'


def _rectangle(x: float, y: float, width: float, height: float, fill: str, more: str = "") -> str:
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="3" fill="{fill}" stroke="#999"{more}/>'


def _group(title: str, y: int, rows: int) -> list[str]:
    box = _rectangle(MARGIN / 2, y - 2, WIDTH - MARGIN, rows * ROW + 28, "none")
    return [box, _text(MARGIN, y + 13, title, ' font-weight="bold"')]


def _row(prop, y: int) -> list[str]:
    x, width = MARGIN + LABEL, WIDTH - 2 * MARGIN - LABEL
    parts = [f"<g><title>{escape(prop.documentation)}</title>", _text(MARGIN, y + 17, prop.name)]
    kind = _widget(prop)
    if kind == "boolean":
        tick = [f'<path d="M{x + 5:g} {y + 12:g} l4 5 l8 -10" fill="none" stroke="#202020"/>'] * bool(prop.value)
        return [*parts, _rectangle(x, y + 1, BOX, BOX, "#ffffff"), *tick, "</g>"]
    if kind in ("file", "files"):
        width -= 88
        parts += _button(x + width + 8, y + 1, 80, "Browse")
    parts.append(_rectangle(x, y + 1, width, BOX, "#ffffff"))
    if kind == "choice":
        parts.append(f'<path d="M{x + width - 16:g} {y + 9:g} l5 6 l5 -6 z" fill="#505050"/>')
    value = "" if _default(prop).startswith("*") else str(prop.value)
    return [*parts, _text(x + 7, y + 17, value), "</g>"]


def _widget(prop) -> str:
    kind = _type(prop)
    if kind in ("file", "files", "boolean"):
        return kind
    chosen = int(prop.direction) == 0 and (_is_workspace(prop) or len(prop.allowedValues) > 0)
    return "choice" if chosen else "line"


def _button(x: float, y: float, width: float, text: str) -> list[str]:
    return [_rectangle(x, y, width, BOX, "#e4e4e4"), _text(x + width / 2, y + 16, text, ' text-anchor="middle"')]


if __name__ == "__main__":
    for _name in names():
        page(_name).write_text(renewed(page(_name).read_text(encoding="utf-8"), _name), encoding="utf-8")
        picture(_name).write_text(drawing(_name), encoding="utf-8")
