"""The package as a whole: light to import, whole when installed, one version, pinned where it matters."""

import importlib
import json
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import types
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
import yaml

import mantid_insgan
from mantid_insgan.demo import DATA
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


def loaded_by(code: str) -> set[str]:
    """Modules that a fresh interpreter has loaded after some code, beyond those that it begins with."""
    code = f"import json, sys; before = set(sys.modules); {code}; print(json.dumps(sorted(set(sys.modules) - before)))"
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True, timeout=60
    )
    return set(json.loads(shown.stdout))


def test_import_loads_nothing_else():
    assert loaded_by("import mantid_insgan") <= {"mantid_insgan", "importlib"}


def test_a_spectrum_loads_numpy_and_nothing_heavy():
    loaded = loaded_by("import mantid_insgan as m; m.Spectrum")
    assert {name for name in loaded if name.startswith("mantid_insgan")} == {
        "mantid_insgan", "mantid_insgan.core", "mantid_insgan.core.run", "mantid_insgan.core.spectrum",
        "mantid_insgan.errors",
    }  # fmt: skip
    assert {name.partition(".")[0] for name in loaded}.isdisjoint(
        {*HEAVY, "scipy", "h5py", "pydantic", "typer", "rich"}
    )


def test_the_command_starts_with_typer_alone():
    loaded = {name.partition(".")[0] for name in loaded_by("import mantid_insgan.cli.main")}
    assert "typer" in loaded and loaded.isdisjoint({*HEAVY, "numpy", "scipy", "h5py", "pydantic", "resins"})


def test_the_face_of_the_package_is_not_hidden_by_its_rooms():
    """Importing a subpackage sets an attribute of that name on the package."""
    rooms = [m.name for m in pkgutil.iter_modules(mantid_insgan.__path__) if m.name not in ("mantid", "__main__")]
    assert {"core", "io", "translate", "convolve"} <= set(rooms)
    for room in rooms:
        importlib.import_module(f"mantid_insgan.{room}")
    assert set(rooms).isdisjoint(mantid_insgan.__all__)
    for name in mantid_insgan.__all__:
        assert name in dir(mantid_insgan) and not isinstance(getattr(mantid_insgan, name), types.ModuleType)
    with pytest.raises(AttributeError, match="no attribute 'aply'"):
        mantid_insgan.aply  # noqa: B018


def test_a_script_needs_one_import(tmp_path):
    shutil.copy(DATA / "measured.nxs", tmp_path / "cut.nxs")
    script = (
        "import mantid_insgan as m; s = m.read('cut.nxs'); r, report = m.apply(s, direction='remove-resolution', "
        "instrument='MAPS', chopper='S', frequency=300); m.write(r, 'out.nxs'); "
        "print(m.read('out.nxs').shape == s.shape)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    shown = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert (shown.returncode, shown.stdout) == (0, "True\n"), shown.stderr


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
