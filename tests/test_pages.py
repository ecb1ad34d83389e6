"""The measured numbers of all pages are those of the files of results, which name the command that measures them."""

import json
import re
import shlex

import pages
import pytest
import results

from mantid_insgan.translate.cards import bundled_models

pytest.importorskip("torch", reason="constants of the networks stand in pages: install the extra 'train'")

PAGES = {str(page.relative_to(pages.ROOT)): page.read_text(encoding="utf-8") for page in pages.pages()}
#: Their tables are written by docs/make_command_line.py, make_algorithms.py and make_facts.py, which have own tests.
WRITTEN_BY_OTHERS = {
    "docs/command-line.md",
    "docs/facts.md",
    "docs/algorithms/ApplyResolutionGAN.md",
    "docs/algorithms/FitSpinWModel.md",
    "docs/algorithms/PrepareSpinWFit.md",
    "docs/algorithms/SimulateSpinWModel.md",
    "docs/algorithms/TrainResolutionGAN.md",
}
FILES = sorted(results.RESULTS.glob("*.json"))
NUMBER = re.compile(r"\d+\.\d+")
MARKS = [(page, n) for page, text in PAGES.items() for n in range(len(pages.MARKED.findall(text)))]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_what_its_results_say(page):
    assert pages.rendered(PAGES[page]) == PAGES[page], "python benchmarks/pages.py writes it"


def unmarked_numbers(text):
    """Rows of tables with a decimal number outside of marks."""
    rest = pages.MARKED.sub("", text)
    return [line for line in rest.splitlines() if line.lstrip().startswith("|") and NUMBER.search(line)]


@pytest.mark.parametrize("page", sorted(PAGES.keys() - WRITTEN_BY_OTHERS))
def test_a_table_with_numbers_is_written_from_results(page):
    assert not unmarked_numbers(PAGES[page])


def test_a_number_typed_into_a_table_is_found():
    marked = "<!-- results: a/b -->\n\n| a | 0.5 |\n\n<!-- end -->\n\n"
    assert not unmarked_numbers(marked + "A weight of 0.5.\n")
    assert unmarked_numbers(marked + "| c | 0.25 |\n") == ["| c | 0.25 |"]


def test_pages_with_results_are_found():
    assert {"README.md", "docs/accuracy.md", "docs/examples/README.md"} <= {page for page, _ in MARKS}


@pytest.mark.parametrize(("page", "n"), MARKS)
def test_a_changed_number_is_found(page, n):
    found = list(pages.MARKED.finditer(PAGES[page]))[n]
    number = re.search(r"\d(?=\D*$)", found[4])
    assert number, "nothing measured between these marks"
    at = found.start(4) + number.start()
    changed = PAGES[page][:at] + str((int(number[0]) + 1) % 10) + PAGES[page][at + 1 :]
    assert pages.rendered(changed) == PAGES[page] != changed


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_of_results_is_complete_and_used(file):
    content = json.loads(file.read_text(encoding="utf-8"))
    script = next(word for word in shlex.split(content["command"]) if word.endswith(".py"))
    assert (pages.ROOT / script).is_file()
    assert f'"{file.stem}"' in (pages.ROOT / script).read_text(encoding="utf-8"), "the script writes another file"
    assert content["conditions"]
    used = {name for text in PAGES.values() for _, _, name, _, _ in pages.MARKED.findall(text)}
    for table in content["tables"]:
        assert table["version"] and table["machine"]
        assert {len(row) for row in table["rows"]} == {len(table["columns"])}
        name = f"{file.stem}/{table['name']}"
        assert any(one == name or one.startswith(name + "/") for one in used), f"no page shows {name}"


def test_every_table_has_its_own_name():
    for file in FILES:
        names = [table["name"] for table in json.loads(file.read_text(encoding="utf-8"))["tables"]]
        assert len(set(names)) == len(names)


# -- cards


SPLITS = {
    "held-out families of Hamiltonians": "held-out families",
    "held-out instrument settings": "held-out instrument settings",
}
CARDS = {m.card.name: m.card for m in bundled_models()}
MODELS = {name: card for name, card in CARDS.items() if card.purpose == "resolution"}
BETWEEN = {name: card for name, card in CARDS.items() if card.purpose == "experiment"}


@pytest.mark.parametrize("name", sorted(MODELS))
def test_results_have_the_numbers_of_the_card(name):
    card = MODELS[name]
    tables = [table for table in card.metrics if table.title in SPLITS]
    assert len(tables) == len(SPLITS)
    for table in tables:
        place = f"accuracy/{card.direction}, {card.dimensions}D, {SPLITS[table.title]}, NRMSE"
        assert f"<!-- results: {place} -->" in PAGES["docs/accuracy.md"]
        measured = pages.table_of(place, results.RESULTS)
        columns = [c["name"] for c in measured["columns"]]
        rows = {row[0].strip("*"): dict(zip(columns, row, strict=True)) for row in measured["rows"]}
        counts = [re.sub(" peak counts$", "", column) for column in table.columns]
        assert set(table.rows) == set(rows)
        for row, values in table.rows.items():
            said = [rows[row][column] for column in counts]
            assert said == pytest.approx(values, abs=0.0011), f"{name}, {table.title}, {row}"


@pytest.mark.parametrize("name", sorted(BETWEEN))
def test_results_have_the_numbers_of_cards_between_simulation_and_experiment(name):
    found = [t for t in BETWEEN[name].metrics if t.title.startswith("simulated experiments")]
    assert len(found) == len(SPLITS)
    for table in found:
        place = f"experiment_models/{name}, {table.title}"
        assert f"<!-- results: {place} -->" in PAGES["docs/training.md"]
        assert {row[0]: row[1:] for row in pages.table_of(place, results.RESULTS)["rows"]} == table.rows


# -- writing


def test_other_tables_and_rows_stay(tmp_path):
    file = tmp_path / "new.json"
    columns = [results.column(""), results.column("NRMSE", "{:.3f}")]
    for name, rows in {"one": [["a", 0.25], ["b", 0.5]], "two": [["a", 1]]}.items():
        results.write_results(file, "python x.py", "seed 1", [results.table(name, columns, rows)])
    wider = [*columns, results.column("flux", "{:.2f}")]
    changed = results.table("one", wider, [["b", 0.125, 0.03125]])
    results.write_results(file, "python x.py", "seed 1", [changed], keep_rows=True)
    found = {t["name"]: t["rows"] for t in json.loads(file.read_text(encoding="utf-8"))["tables"]}
    assert found == {"one": [["a", 0.25, None], ["b", 0.125, 0.03125]], "two": [["a", 1]]}
    assert [path.name for path in tmp_path.iterdir()] == ["new.json"]


def test_rows_that_stay_keep_how_they_were_measured(tmp_path):
    file, columns = tmp_path / "new.json", [results.column(""), results.column("NRMSE", "{:.3f}")]
    for n, rows in enumerate([[["a", 1], ["b", 1]], [["b", 2]], [["c", 3]], [["a", 4]]]):
        made = results.table("one", columns, rows) | {"machine": f"machine {n}"}
        results.write_results(file, "python x.py", "seed 1", [made], keep_rows=True)
    (found,) = json.loads(file.read_text(encoding="utf-8"))["tables"]
    assert found["rows"] == [["a", 4], ["b", 2], ["c", 3]] and found["machine"] == "machine 3"
    assert [(part["machine"], part["rows"]) for part in found["kept"]] == [("machine 1", ["b"]), ("machine 2", ["c"])]


def test_cells_and_notes_are_written_as_said():
    columns = [results.column(""), results.column("a", "{:.2f}"), results.column("b", "{:.1f} ({:.2f})")]
    rows = [["|Q|", 0.125, [1.0, 0.333]], ["c", 3, float("nan")]]
    table = results.table("t", columns, rows, note="{n} pairs, noise {noise:.1%}.", facts={"n": 12, "noise": 0.0123})
    assert pages.table_text(table).splitlines() == [
        "12 pairs, noise 1.2%.",
        "",
        "|  | a | b |",
        "| --- | --- | --- |",
        "| \\|Q\\| | 0.12 | 1.0 (0.33) |",
        "| c | 3 |  |",
    ]


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match="row 'a' of table 't' has 1 cells, for 2 columns"):
        results.table("t", [results.column("x"), results.column("y")], [["a"]])


def test_a_table_row_or_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SystemExit, match="no table 'x', it has"):
        pages.rendered("<!-- results: accuracy/x --><!-- end -->")
    with pytest.raises(SystemExit, match="no training/steps/x/steps/s"):
        pages.rendered("a <!-- result: training/steps/x/steps/s --><!-- end -->")
    with pytest.raises(SystemExit, match="is not there: run the benchmark that writes it"):
        pages.rendered("<!-- results: a/b --><!-- end -->", tmp_path)


def test_a_single_number_is_written_into_a_sentence(tmp_path):
    columns = [results.column(""), results.column("NRMSE", "{:.3f}"), results.column("both", "{:.1f} / {:.2f}")]
    made = results.table("t", columns, [["ours", 0.25, [0.5, 0.75]]])
    results.write_results(tmp_path / "f.json", "python x.py", "seed 1", [made])
    text = "It is <!-- result: f/t/ours/NRMSE -->?<!-- end -->, then <!-- result: f/t/ours/both/2 -->?<!-- end -->."
    assert re.sub("<!--.*?-->", "", pages.rendered(text, tmp_path)) == "It is 0.250, then 0.75."
