"""Tables as plain text."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence


def columns(rows: Iterable[Sequence[str]], header: Sequence[str] | None = None, *, right: bool = False) -> str:
    """Rows as aligned columns, separated by two spaces.

    The text is the same on a terminal and in a file: no colours, no frames, no wrapped lines.

    Parameters
    ----------
    rows : iterable of sequence of str
        Cells; all rows of equal length.
    header : sequence of str, optional
        Titles of the columns, as a first line.
    right : bool
        Align the columns on the right, as for numbers.
    """
    from rich.console import Console
    from rich.table import Table

    rows = [[str(cell) for cell in row] for row in rows]
    count = len(header) if header is not None else max((len(row) for row in rows), default=0)
    table = Table(box=None, show_header=header is not None, pad_edge=False, padding=(0, 2, 0, 0))
    for i in range(count):
        table.add_column(header[i] if header else "", no_wrap=True, justify="right" if right else "left")
    for row in rows:
        table.add_row(*row)
    # Wide enough for any row; names of axes such as [H,0,0] are not markup.
    width = sum(max(map(len, column)) + 2 for column in zip(*rows, *([header] if header else []), strict=True)) + 1
    stream = io.StringIO()
    Console(file=stream, width=width, color_system=None, markup=False, emoji=False, highlight=False).print(table)
    return "\n".join(line.rstrip() for line in stream.getvalue().rstrip("\n").splitlines())
