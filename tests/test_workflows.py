"""The workflows of continuous integration: what each runs, so that no test runs nowhere."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = ("container", "mantid", "nightly", "release", "tests")


def workflow(name: str) -> dict:
    return yaml.safe_load((ROOT / ".github" / "workflows" / f"{name}.yml").read_text(encoding="utf-8"))


def commands(name: str) -> list[str]:
    """Every line that the steps of a workflow run."""
    steps = [step for job in workflow(name)["jobs"].values() for step in job["steps"]]
    return [line.strip() for step in steps for line in step.get("run", "").splitlines()]


def recipe(target: str) -> str:
    """The lines of a target of the Makefile."""
    found = re.search(rf"^{re.escape(target)}:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert found, f"the Makefile has no target {target}"
    return found[1]


def test_these_are_all_workflows():
    assert tuple(sorted(p.stem for p in (ROOT / ".github" / "workflows").iterdir())) == WORKFLOWS


def test_every_night_all_tests_run_and_the_documentation_is_built():
    (schedule,) = workflow("nightly")[True]["schedule"]  # YAML 1.1 reads the key `on` as true
    assert re.fullmatch(r"\d+ \d+ \* \* \*", schedule["cron"])
    assert {"make lint", "make test-all", "make docs"} <= set(commands("nightly"))
    assert "pytest" in recipe("test-all") and "not slow" not in recipe("test-all")
    assert '-m "not slow"' in recipe("test")  # which is why the night is needed
    steps = [step for job in workflow("nightly")["jobs"].values() for step in job["steps"]]
    assert not any({"if", "continue-on-error"} & set(step) for step in steps)


def test_at_night_the_examples_have_the_packages_that_their_page_names():
    page = (ROOT / "docs" / "examples" / "README.md").read_text(encoding="utf-8")
    (extras,) = re.findall(r"^    pip install '\.\[([\w,]+)\]'$", page, re.MULTILINE)
    (bare,) = re.findall(r"^    pip install --no-deps ([\w ]+)$", page, re.MULTILINE)
    run = commands("nightly")
    assert any(f"pip install --no-deps {bare}" in line for line in run)
    (installed,) = re.findall(r'--editable "\.\[([\w,]+)\]"', recipe("$(VENV)/installed-test"))
    (added,) = (found for line in run for found in re.findall(r'--editable "\.\[([\w,]+)\]"', line))
    assert set(extras.split(",")) <= {*installed.split(","), *added.split(",")}
    order = [next(i for i, line in enumerate(run) if words in line) for words in ("--no-deps", "make test-all")]
    assert order == sorted(order)


@pytest.mark.parametrize("name", WORKFLOWS)
def test_what_workflows_make_is_in_the_makefile(name):
    targets = [word for line in commands(name) for word in re.findall(r"^make ([\w-]+)$", line)]
    assert targets or name != "nightly"
    for target in targets:
        recipe(target)


def test_each_change_is_tested_by_the_script_that_contributors_have():
    assert set(workflow("tests")[True]) == {"push", "pull_request"}
    assert commands("tests")[-1] == ".ci/run"
    script = (ROOT / ".ci" / "run").read_text().splitlines()
    assert {"make lint", "make test"} <= set(script)


CONTAINER = ROOT / "packaging" / "container" / "Containerfile"


def test_the_runner_image_runs_the_text_of_a_script():
    """Its entry point with the environment's Python at the front of PATH, as `docker run IMAGE "$(cat script.py)"`."""
    (entry,) = re.findall(r"^ENTRYPOINT (.*)$", CONTAINER.read_text(), re.MULTILINE)
    text = "import sys\nprint('quotes \\'\"', sys.argv[1:])"
    path = f"{Path(sys.executable).parent}"
    ran = subprocess.run([*json.loads(entry), text, "more"], env={"PATH": path}, capture_output=True, text=True)
    assert ran.stdout == "quotes '\" ['more']\n", ran.stderr


def test_the_runner_image_is_made_of_what_the_checkout_has():
    text = CONTAINER.read_text()
    copied = [word for line in re.findall(r"^COPY (.*) \S+$", text, re.MULTILINE) for word in line.split()]
    assert all((ROOT / name).exists() for name in copied) and {"models", "plugins", "setup.py"} <= set(copied)
    environment = (ROOT / "environment.yml").read_text()
    assert "mantidworkbench" in environment and "--editable" in environment, "what its sed takes out"
    steps = [s for job in workflow("container")["jobs"].values() for s in job["steps"]]
    assert any("packaging/container/Containerfile" in s.get("run", "") for s in steps)
    (publish,) = (s for s in steps if "push" in s.get("run", ""))
    assert publish["if"] == "startsWith(github.ref, 'refs/tags/v')"


def test_a_release_is_built_checked_and_published_in_this_order():
    jobs = workflow("release")["jobs"]
    assert list(jobs) == ["build", "check", "publish"]
    assert (jobs["check"]["needs"], jobs["publish"]["needs"]) == ("build", "check")
    run = "\n".join(commands("release"))
    assert "python -m build" in run and "packaging/check_install.py" in run and "cd " in run
    publish = jobs["publish"]
    assert publish["if"] == "startsWith(github.ref, 'refs/tags/v')" and publish["permissions"] == {"id-token": "write"}
    assert publish["steps"][-1]["uses"].startswith("pypa/gh-action-pypi-publish@"), "trusted publishing: no token"
    (version,) = (s["run"] for s in jobs["build"]["steps"] if s.get("name") == "The tag is the version")
    said = (ROOT / "mantid_insgan" / "__init__.py").read_text()
    tag = "v" + re.search(r'^__version__ = "(.*)"$', said, re.MULTILINE)[1]
    for name, good in ((tag, True), ("v9.9.9", False)):
        ran = subprocess.run(
            ["bash", "-c", version], cwd=ROOT, env={"GITHUB_REF_NAME": name, "PATH": os.environ["PATH"]}
        )
        assert (ran.returncode == 0) is good
