"""Write the measured numbers of all Markdown pages from the files of results.

    python benchmarks/pages.py           # write
    python benchmarks/pages.py --check   # compare: exit status 1 and the pages that differ

What lies between marks is written, all else is left alone:

    <!-- results: FILE/TABLE --> ... <!-- end -->             a table of benchmarks/results/FILE.json, with its note
    <!-- result: FILE/TABLE/ROW/COLUMN --> ... <!-- end -->   one cell, within a sentence (not where a line begins)
    <!-- result: FILE/TABLE/ROW/COLUMN/2 --> ... <!-- end --> the second number of a cell that holds several
    <!-- constant: MODULE:NAME.NAME --> ... <!-- end -->      a constant of the package
"""

from __future__ import annotations

import argparse
import functools
import importlib
import json
import re
import sys
from pathlib import Path

from results import RESULTS

ROOT = Path(__file__).resolve().parents[1]
MARKED = re.compile(r"(<!-- (results|result|constant): (.+?) -->)(.*?)(<!-- end -->)", re.DOTALL)
FORMAT = re.compile(r"\{[^}]*\}")


def pages() -> list[Path]:
    """All Markdown pages of the repository."""
    found = [p for pattern in ("*.md", "docs/**/*.md", "models/**/*.md", "plugins/**/*.md") for p in ROOT.glob(pattern)]
    return sorted(p for p in found if "_build" not in p.parts)


def rendered(page: str, folder: Path = RESULTS) -> str:
    """The text of a page with everything between marks written anew."""
    return MARKED.sub(lambda m: m[1] + _content(m[2], m[3], folder) + m[5], page)


def table_text(table: dict) -> str:
    """Markdown of a table and its note."""
    note = [table["note"].format(**table["facts"]), ""] if "note" in table else []
    forms = [c["format"] for c in table["columns"]]
    rows = [[escaped(c["name"]) for c in table["columns"]], ["---"] * len(forms)]
    rows += [[cell_text(*pair) for pair in zip(row, forms, strict=True)] for row in table["rows"]]
    return "\n".join([*note, *("| " + " | ".join(cells) + " |" for cells in rows)])


def cell_text(cell, form: str) -> str:
    """A cell as a page shows it; see ``results.py``."""
    if cell is None:
        return ""
    if isinstance(cell, list):
        return form.format(*cell)
    return form.format(cell) if isinstance(cell, float) else escaped(str(cell))


def escaped(text: str) -> str:
    """Text within a cell of a Markdown table."""
    return text.replace("|", "\\|")


def _content(kind: str, name: str, folder: Path) -> str:
    if kind == "constant":
        return str(_constant(name))
    if kind == "result":
        return _value(name, folder)
    return f"\n\n{table_text(table_of(name, folder))}\n\n"


def table_of(name: str, folder: Path) -> dict:
    """The table FILE/TABLE."""
    file, _, wanted = name.partition("/")
    tables = {t["name"]: t for t in _read(folder / f"{file}.json")["tables"]}
    if wanted not in tables:
        raise SystemExit(f"{file}.json has no table {wanted!r}, it has: {', '.join(tables)}")
    return tables[wanted]


def _value(name: str, folder: Path) -> str:
    """One cell, or one number of it."""
    parts = name.split("/")
    table = table_of("/".join(parts[:2]), folder)
    columns, rows = [c["name"] for c in table["columns"]], {str(row[0]): row for row in table["rows"]}
    if parts[2] not in rows or parts[3] not in columns:
        raise SystemExit(f"no {name}: rows are {', '.join(rows)}; columns {', '.join(columns)}")
    at = columns.index(parts[3])
    cell, form = rows[parts[2]][at], table["columns"][at]["format"]
    if len(parts) == 5:
        n = int(parts[4]) - 1
        return FORMAT.findall(form)[n].format(cell[n])
    return cell_text(cell, form)


def _constant(name: str):
    module, _, path = name.partition(":")
    found = functools.reduce(getattr, path.split("."), importlib.import_module(module))
    return f"{found:g}" if isinstance(found, float) else found


@functools.cache
def _read(path: Path) -> dict:
    if not path.exists():
        raise SystemExit(f"a page refers to {path}, which is not there: run the benchmark that writes it")
    return json.loads(path.read_text(encoding="utf-8"))


def main() -> None:
    """Write or compare all pages."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a page differs")
    options = parser.parse_args()
    differ = 0
    for page in pages():
        text = page.read_text(encoding="utf-8")
        wanted = rendered(text)
        if wanted == text:
            continue
        differ += 1
        print(f"{page.relative_to(ROOT)} {'differs from its results' if options.check else 'written'}")
        if not options.check:
            temporary = page.with_name(page.name + ".part")
            temporary.write_text(wanted, encoding="utf-8")
            temporary.replace(page)
    sys.exit(1 if options.check and differ else 0)


if __name__ == "__main__":
    main()
