"""The rooms of docs/design.md: the contract in pyproject.toml keeps to their order, and a breach of it is found."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LINT = "from importlinter.cli import lint_imports_command; lint_imports_command()"


def contract() -> dict:
    (found,) = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    return found


def rooms() -> list[str]:
    """The rooms of the contract, the one that imports from none first."""
    return contract()["layers"][::-1]


@pytest.fixture
def copy(tmp_path) -> Path:
    """The sources of the package and the contract, without git or an install."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    ignored = shutil.ignore_patterns("__pycache__", "*.nxs", "*.toml")
    shutil.copytree(ROOT / "mantid_insgan", tmp_path / "mantid_insgan", ignore=ignored)
    return tmp_path


def lint(folder: Path) -> tuple[int, str]:
    """Exit status and output of lint-imports, run in a folder as `make lint` runs it in the checkout."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"COLUMNS": "200"}
    ran = subprocess.run(
        [sys.executable, "-c", LINT, "--no-cache", "--no-logo"],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    return ran.returncode, ran.stdout + ran.stderr


def append(folder: Path, module: str, line: str) -> None:
    path = folder / "mantid_insgan" / module
    path.write_text(path.read_text() + "\n" + line + "\n")


def test_the_rooms_stand_in_their_order(copy):
    status, said = lint(copy)
    assert status == 0 and "Contracts: 1 kept, 0 broken." in said


@pytest.mark.parametrize("line", ["from .{} import __doc__ as probe", "def probe():\n    from . import {}"])
def test_an_import_from_a_room_below_is_found(copy, line):
    """At the top of a module and inside a function."""
    first, last = rooms()[0], rooms()[-2]
    append(copy, f"{first}.py", line.format(last))
    status, said = lint(copy)
    assert status == 1
    assert f"mantid_insgan.{first} is not allowed to import mantid_insgan.{last}" in said


def test_a_module_without_a_room_is_found(copy):
    attic = copy / "mantid_insgan" / "attic.py"
    attic.write_text('"""In no room."""\n')
    status, said = lint(copy)
    assert status == 1 and "mantid_insgan.attic" in said


def test_no_breach_is_excused():
    """An exception belongs in `ignore_imports` with its reason; there is none today."""
    assert contract()["exhaustive"] is True
    assert not {"ignore_imports", "exhaustive_ignores"} & set(contract())


def test_the_contract_has_the_order_of_the_page():
    section = (ROOT / "docs" / "design.md").read_text().partition("## Rooms")[2].partition("\n## ")[0]
    page = re.findall(r"^\| `(\w+)(?:\.py|/)` \|", section, re.MULTILINE)
    assert len(page) > 10
    assert [*page, "__main__"] == rooms()


def test_make_lint_and_so_continuous_integration_checks_the_rooms():
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    assert re.search(r"^\t\$\(BIN\)/lint-imports ", recipe, re.MULTILINE)
    assert re.search(r"^make lint$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
