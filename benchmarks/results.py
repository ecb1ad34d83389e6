"""Files of results: what a benchmark measured, from which ``pages.py`` writes the tables of the documentation.

A file of ``benchmarks/results`` has the ``command`` that measures again, the ``conditions`` (what was scored, seeds)
and ``tables``. A table has its name, the package's ``version``, the ``machine`` and, where it is known, the ``date``
with which it was measured, its ``columns`` and ``rows``, and perhaps a ``note`` above it, into which ``facts`` are
filled. Where rows were measured one at a time, ``kept`` says how the earlier ones were.

A column is ``{"name": "NRMSE", "format": "{:.3f}"}``. A cell is a text or an integer (both stand in the page as they
are), a float (by the column's format), a list of numbers (the format has a place for each), or null (an empty cell).
The first cell of a row is its name.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results"


def column(name: str, form: str = "{}") -> dict:
    """A column: its heading, and how its floats and lists are written."""
    return {"name": name, "format": form}


def table(name: str, columns: list[dict], rows: list[list], *, note: str | None = None, facts: dict | None = None):
    """A table measured now, on this machine, with this version of the package.

    Parameters
    ----------
    name : str
        By which a page refers to it; unique in its file.
    columns : list of dict
        See `column`.
    rows : list of list
        Cells, as many as columns.
    note : str, optional
        Markdown above the table, with the names of facts in braces: ``"{pairs} pairs"``.
    facts : dict, optional
        Values for the note.
    """
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(f"row {row[0]!r} of table {name!r} has {len(row)} cells, for {len(columns)} columns")
    above = {"note": note, "facts": {k: _plain(v) for k, v in (facts or {}).items()}} if note else {}
    return {"name": name, **_measured_now(), **above, "columns": columns, "rows": _plain(rows)}


def write_results(path: Path, command: str, conditions: str, tables: list[dict], *, keep_rows: bool = False) -> None:
    """Write tables into a file of results, beside and renamed; tables that are not given stay as they are.

    Parameters
    ----------
    path : Path
        The file, new or to be added to.
    command : str
        What measures again, such as ``"python benchmarks/apply.py"``.
    conditions : str
        What was scored, and seeds.
    tables : list of dict
        See `table`. One of a name that the file has takes its place.
    keep_rows : bool
        Keep also the rows of a table that is given, where the new one has none of that name: for benchmarks that
        measure one row at a time.
    """
    path = Path(path)
    found = json.loads(path.read_text(encoding="utf-8"))["tables"] if path.exists() else []
    known = {t["name"]: t for t in found}
    for made in tables:
        if keep_rows and made["name"] in known:
            made = _merged(known[made["name"]], made)
        known[made["name"]] = made
    content = {"command": command, "conditions": conditions, "tables": list(known.values())}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(_as_json(content), encoding="utf-8")
    temporary.replace(path)
    print(f"wrote {path}; python benchmarks/pages.py puts it into the pages")


def add_option(parser: argparse.ArgumentParser, name: str) -> None:
    """The option --results, by default the file of this name in `RESULTS`."""
    path = RESULTS / f"{name}.json"
    parser.add_argument("--results", type=Path, default=path, help=f"default: benchmarks/results/{name}.json")


def _merged(old: dict, new: dict) -> dict:
    """The new table with the rows and columns of the old one that it lacks; what no one measured is null."""
    columns = {c["name"]: c for c in old["columns"]} | {c["name"]: c for c in new["columns"]}
    rows: dict[str, dict] = {}
    for each in (old, new):
        names = [c["name"] for c in each["columns"]]
        rows |= {row[0]: dict(zip(names, row, strict=True)) for row in each["rows"]}
    filled = [[row.get(name) for name in columns] for row in rows.values()]
    return new | {"columns": list(columns.values()), "rows": filled} | _kept(old, {row[0] for row in new["rows"]})


def _kept(old: dict, anew: set) -> dict:
    """How the rows that stay were measured: ``kept``, a list of version, machine, date and names of rows."""
    earlier = [*old.get("kept", []), {k: old[k] for k in ("version", "date", "machine") if k in old}]
    told_of = {name for part in old.get("kept", []) for name in part["rows"]}
    earlier[-1]["rows"] = [row[0] for row in old["rows"] if row[0] not in told_of]
    parts = [part | {"rows": [name for name in part["rows"] if name not in anew]} for part in earlier]
    parts = [part for part in parts if part["rows"]]
    return {"kept": parts} if parts else {}


def _measured_now() -> dict[str, str]:
    import mantid_insgan

    processors = {
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    }
    load = f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end"
    return {
        "version": mantid_insgan.__version__,
        "date": datetime.date.today().isoformat(),
        "machine": ", ".join([*sorted(processors), load]),
    }


def _plain(value):
    """Numbers of NumPy as Python's, NaN as null, also within lists; not rounded, so that pages round once."""
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if value is None or isinstance(value, (str, int)):
        return value
    if hasattr(value, "item"):
        return _plain(value.item())
    return None if value != value else value


def _as_json(content: dict) -> str:
    """JSON with one row of a table on each line, so that differences can be read."""
    head = {k: v for k, v in content.items() if k != "tables"}
    tables = []
    for made in content["tables"]:
        entries = [f"   {_text(k)}: {_text(v)}" for k, v in made.items() if k != "rows"]
        rows = ",\n".join(f"    {_text(row)}" for row in made["rows"])
        tables.append("  {\n" + ",\n".join([*entries, '   "rows": [\n' + rows + "\n   ]"]) + "\n  }")
    entries = [f" {_text(k)}: {_text(v)}" for k, v in head.items()]
    return "{\n" + ",\n".join([*entries, ' "tables": [\n' + ",\n".join(tables) + "\n ]"]) + "\n}\n"


def _text(value) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
