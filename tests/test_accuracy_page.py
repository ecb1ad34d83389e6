"""docs/accuracy.md says of the bundled models what their cards say."""

import re
from pathlib import Path

import pytest

from mantid_insgan.cards import bundled_models

PAGE = Path(__file__).resolve().parents[1] / "docs" / "accuracy.md"
MODELS = {m.card.name: m.card for m in bundled_models()}
SPLITS = {
    "held-out families of Hamiltonians": "held-out families",
    "held-out instrument settings": "held-out instrument settings",
}


def section(direction: str, dimensions: int, title: str) -> dict[str, dict[str, float]]:
    """NRMSE by row and peak counts, of the first table below a heading of the page."""
    text = PAGE.read_text(encoding="utf-8")
    text = text.split(f"\n## {direction}, {dimensions}D\n")[1].split("\n## ")[0]
    text = text.split(f"### {title}\n")[1].split("\n\n| at 300 peak counts")[0]
    header, _, *lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in (header, *lines)]
    rows = {row[0].strip("*"): row[1:] for row in cells[1:]}
    return {name: dict(zip(cells[0][1:], map(float, values), strict=True)) for name, values in rows.items()}


@pytest.mark.parametrize("name", sorted(MODELS))
def test_the_page_has_the_numbers_of_the_card(name):
    card = MODELS[name]
    tables = [table for table in card.metrics if table.title in SPLITS]
    assert len(tables) == len(SPLITS)
    for table in tables:
        page = section(card.direction, card.dimensions, SPLITS[table.title])
        counts = [re.sub(" peak counts$", "", column) for column in table.columns]
        assert set(table.rows) == set(page)
        for row, values in table.rows.items():
            said = [page[row][column] for column in counts]
            assert said == pytest.approx(values, abs=0.0011), f"{name}, {table.title}, {row}"
