"""Writes the tables of facts.md: ``python docs/make_facts.py`` (with ../shared, the files that it reads)."""

from __future__ import annotations

import re
from pathlib import Path

from mantid_insgan.io import open_spectrum
from mantid_insgan.io.facts import LOGS, LOGS_OF, TWO_FERMI
from mantid_insgan.translate.inspect import missing_facts

PAGE = Path(__file__).parent / "facts.md"
SHARED = Path(__file__).resolve().parents[1] / ".." / "shared"
_BLOCK = re.compile(r"(<!-- (\w+): made by make_facts\.py -->\n).*?(<!-- end -->)", re.DOTALL)

#: Files, and why the rest has to be typed.
FILES = {
    "data/al-mari/aluminium_Ei60.nxspe": "",
    "data/bi2fe4o9-merlin/*.nxspe": "of the groups of the raw file only `fermi/energy` is there",
    "data/mdhisto/1Dcut_sym_0p00T_K.nxs": "saved without logs, sample and instrument; its path names CNCS",
    "mantid/mdhisto_2d_expinfo.nxs": "no instrument in the experiment, and no log of the chopper",
    "mantid/mdhisto_slice_maps.nxs": "no instrument in the experiment, and no log of the package",
    "mantid/mdhisto_volume_maps_4d.nxs": "no instrument in the experiment, and no log of the package",
    "mantid/mdhisto_2d_nan.nxs": "made without any experiment",
    "mantid/mdhisto_3d*.nxs": "made without any experiment",
    "mantid/mdhisto_4d.nxs": "made without any experiment",
}


def files_table(shared: Path) -> str:
    """What is read from the files of ../shared, by name and source, and what is missing for apply."""
    rows = []
    for pattern, why in FILES.items():
        found = {_row(path) for path in sorted(shared.glob(pattern))}
        assert len(found) == 1, f"{pattern}: {found}"
        (read, missing) = found.pop()
        rows.append(f"| `{pattern.split('/', 1)[1]}` | {read or 'nothing'} | {missing or 'nothing'} | {why} |")
    return "\n".join(["", "| file | read | to be typed | why |", "|---|---|---|---|", *rows, ""])


def _row(path: Path) -> tuple[str, str]:
    with open_spectrum(path) as source:
        read = [f"{name} ({_where(fact.source)})" for name, fact in source.run.facts.items()]
        return ", ".join(read), ", ".join(f"`--{n}`" for n in missing_facts(source.run, source.axes))


def _where(source: str) -> str:
    return "its path" if source.startswith(("folder", "prefix")) else source


def logs_table() -> str:
    """The logs of each fact, and those of one instrument."""
    rows = []
    for fact, (ours, *others) in LOGS.items():
        own = "; ".join(
            f"{instrument}: {', '.join(f'`{n}`' for n in of[fact])}" for instrument, of in LOGS_OF.items() if fact in of
        )
        if fact == "frequency":
            own += (
                f"; {' and '.join(TWO_FERMI)}: `Speed1`, `Speed2`, `SpeedRequest1`, `SpeedRequest2` (last; see below)"
            )
        rows.append(f"| {fact} | `{ours}` | {own} | {', '.join(f'`{n}`' for n in others)} |")
    head = ["", "| fact | first | then, on one instrument | then |", "|---|---|---|---|"]
    return "\n".join([*head, *rows, ""])


def renewed(page: str, shared: Path | None) -> str:
    """The page with new tables; that of the files only if they are there."""

    def block(match: re.Match) -> str:
        if match[2] == "files" and shared is None:
            return match[0]
        return f"{match[1]}{files_table(shared) if match[2] == 'files' else logs_table()}\n{match[3]}"

    return _BLOCK.sub(block, page)


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8"), SHARED if SHARED.is_dir() else None), encoding="utf-8")
