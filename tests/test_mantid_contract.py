"""Tests and code know Mantid alone: nothing of the stand-in, nothing that a recorded or today's Mantid lacks."""

import ast
import json
import re
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.mantid

ROOT = Path(__file__).resolve().parents[1]
#: Of Mantid's own; a leading underscore says private, but this one is what every package uses.
PRIVATE = {"_create_algorithm_function"}
MODULES = {"api", "kernel", "geometry", "simpleapi"}
#: Tests of Mantid; the one that compares the stand-in with a record of Mantid has to know it.
TESTS = sorted(set((ROOT / "tests").glob("test_mantid_*.py")) - {ROOT / "tests" / "test_mantid_surface.py"})
CODE = [
    *(ROOT / "plugins" / "algorithms").glob("*.py"),
    *(ROOT / "plugins" / "functions").glob("*.py"),
    *(ROOT / "mantid_insgan").glob("*.py"),
    *(ROOT / "mantid_insgan" / "mantid_support").glob("*.py"),
]
#: In today's Mantid and not in the record of 3.13, whose introspection saw classes, and not all of them.
UNRECORDED = {"AlgorithmManager", "AlgorithmFactory", "FunctionFactory", "mtd", "config", "Property"}
#: Of MatrixWorkspace and CSGObject, which are not in the record and have always had them; and one of matplotlib.
UNRECORDED_CALLS = {"getNumberHistograms", "getShapeXML", "readX", "readY", "transAxes"}


def imported(path: Path) -> set[tuple[str, str]]:
    """(module, name) of everything that a file imports from Mantid, in texts of scripts inside it too."""
    text = path.read_text(encoding="utf-8")
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").split(".")[0] == "mantid":
            found |= {(node.module.partition(".")[2], alias.name) for alias in node.names}
        elif isinstance(node, ast.Import):
            names = (alias.name for alias in node.names)
            found |= {(name.partition(".")[2], "") for name in names if name.split(".")[0] == "mantid"}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            for module, names in re.findall(r"from mantid\.([\w.]+) import ([\w, ]+)", node.value):
                found |= {(module, name.strip().split(" ")[0]) for name in names.split(",")}
    return found


@pytest.mark.parametrize("path", TESTS, ids=lambda p: p.name)
def test_no_test_reaches_into_the_stand_in(path):
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert path.name == Path(__file__).name or "standin" not in text
    for module, name in imported(path):
        assert module in MODULES | {""} and (not name.startswith("_") or name in PRIVATE), f"mantid.{module} {name}"
    own = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef)} | {"_fields"}
    private = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute) and re.match(r"_(?!_)", n.attr)}
    assert private <= own | PRIVATE, "an attribute that Mantid itself has not"


def test_every_mantid_test_is_marked():
    for path in TESTS:
        assert "pytestmark = pytest.mark.mantid" in path.read_text(encoding="utf-8"), path.name


def test_what_is_imported_is_in_the_record_and_in_todays_mantid(shared):
    recorded = set(json.loads((shared / "mantid" / "api-surface.json").read_text())["classes"])
    today = (shared / "facts" / "mantid-api.md").read_text(encoding="utf-8")
    observed = (shared / "facts" / "mantid-observed.md").read_text(encoding="utf-8")
    names = {name for path in (*CODE, *TESTS) for module, name in imported(path) if module in MODULES - {"simpleapi"}}
    assert {"IMDHistoWorkspaceProperty", "VisibleWhenProperty", "MDNormalization"} <= names
    assert names - recorded - UNRECORDED == set()
    assert {n for n in names if n not in recorded and f"{n}Impl" not in recorded and n not in today + observed} == set()


def test_what_is_called_is_in_the_record(shared):
    """Attributes in camel case are Mantid's: this project has none of its own."""
    classes = json.loads((shared / "mantid" / "api-surface.json").read_text())["classes"].values()
    recorded = {member for c in classes for member in c["members"]}
    called = {
        node.attr
        for path in (*CODE, *TESTS)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and re.fullmatch(r"[a-z]+[A-Z]\w*", node.attr)
    }
    assert {"getSignalArray", "setNotifyStep", "setPropertySettings", "addExperimentInfo"} <= called
    assert called - recorded - UNRECORDED_CALLS == set()


def test_the_workflow_runs_these_tests_with_release_and_nightly():
    text = (ROOT / ".github" / "workflows" / "mantid.yml").read_text(encoding="utf-8")
    job = yaml.safe_load(text)["jobs"]["mantid"]
    channels = [entry["channels"].split(",") for entry in job["strategy"]["matrix"]["include"]]
    assert [c[0] for c in channels] == ["mantid", "mantid/label/nightly"] and all(
        c[-1] == "conda-forge" for c in channels
    )
    commands = "\n".join(step.get("run", "") for step in job["steps"])
    assert "pytest -m mantid tests/test_mantid_*.py" in commands and "standin" in commands
    assert re.search(r"xvfb-run .*workbench .*--execute --quit", commands) and "install-plugins" in commands
