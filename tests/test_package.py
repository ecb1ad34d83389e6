"""The package as a whole: light to import, whole when installed, one version, pinned where it matters."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
import yaml

import mantid_insgan
from mantid_insgan.translate import cards

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "onnx", "onnxruntime", "matplotlib", "pyspinw", "PySide6", "PyQt5", "PyQt6", "mantid")


def pins() -> dict[str, str]:
    """Name and version of each line of constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """A wheel built from a copy of the sources, with a model and an algorithm that are not in the repository."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("mantid_insgan", "models", "plugins"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    (source / "models" / "probe").mkdir()
    (source / "models" / "probe" / "model.onnx").touch()
    (source / "models" / "probe" / "card.json").touch()
    (source / "plugins" / "algorithms").mkdir(exist_ok=True)
    (source / "plugins" / "algorithms" / "Probe.py").touch()
    build = "from setuptools import build_meta; build_meta.build_wheel('..')"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True, timeout=120)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel_names(wheel) -> set[str]:
    """Files in the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_import_loads_nothing_heavy():
    code = "import json, sys, mantid_insgan; print(json.dumps(sorted(sys.modules)))"
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True, timeout=60
    )
    loaded = {name.partition(".")[0] for name in json.loads(shown.stdout)}
    assert "mantid_insgan" in loaded
    assert loaded.isdisjoint(HEAVY)


def test_one_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert re.fullmatch(r"\d+\.\d+\.\d+", mantid_insgan.__version__)
    assert metadata.version("mantid-insgan") == mantid_insgan.__version__
    assert citation["version"] == mantid_insgan.__version__


def test_citation_names_software_and_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    (paper,) = citation["references"]
    assert citation["type"] == "software"
    assert paper["doi"] == "10.1039/D2DD00147K"
    assert [a["family-names"] for a in paper["authors"]] == ["Anker", "Butler", "Le", "Perring", "Thiyagalingam"]


def test_extras_and_command():
    distribution = metadata.distribution("mantid-insgan")
    assert set(distribution.metadata.get_all("Provides-Extra")) == {
        "cpu", "gpu", "train", "spinw", "phonons", "fit", "report", "dask", "examples", "test", "docs",
    }  # fmt: skip
    (command,) = (e for e in distribution.entry_points if e.group == "console_scripts")
    assert (command.name, command.value) == ("insgan", "mantid_insgan.cli.main:main")


def test_pins_are_what_is_tested():
    versions = pins()
    # A constraint that is not obeyed is no constraint. torch's CPU build adds a local part (2.13.0+cpu).
    for name in ("numpy", "h5py", "onnxruntime", "torch", "pyspinw", "resins", "pytest"):
        assert metadata.version(name).partition("+")[0] == versions[name], name
    (spinw,) = (r for r in metadata.requires("mantid-insgan") if r.startswith("pyspinw"))
    assert f"=={versions['pyspinw']};" in spinw.replace(" ", "")  # a pre-release: pinned in setup.py, too


def test_models_are_found_in_the_checkout():
    assert (cards.models_folder() / "README.md").is_file()


def test_models_are_found_when_installed(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = "from mantid_insgan.translate import cards; print(cards.models_folder())"
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    shown = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert Path(shown.stdout.strip()) == tmp_path / "mantid_insgan" / "bundled_models"


def test_wheel_holds_models_and_plugins(wheel_names):
    assert {
        "mantid_insgan/bundled_models/probe/model.onnx",
        "mantid_insgan/bundled_models/probe/card.json",
        "mantid_insgan/plugins/algorithms/Probe.py",
    } <= wheel_names


def test_wheel_holds_every_source_and_data_file(wheel_names):
    kinds = {".py", ".toml", ".json"}
    package = {p.relative_to(ROOT).as_posix() for p in (ROOT / "mantid_insgan").rglob("*") if p.suffix in kinds}
    assert package <= wheel_names
    # and nothing that is not ours to install at the top of site-packages
    assert {name.partition("/")[0] for name in wheel_names} == {
        "mantid_insgan",
        f"mantid_insgan-{mantid_insgan.__version__}.dist-info",
    }
