"""The package as a whole: light to import, whole when installed, one version, pinned where it matters."""

import importlib
import json
import os
import pkgutil
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
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


def test_apply_loads_what_its_work_needs():
    """Its modules load no scipy, which takes longer than all the rest: ResINS does when the widths are calculated."""
    alone = {name.partition(".")[0] for name in loaded_by("import mantid_insgan.translate.job")}
    assert alone.isdisjoint({*HEAVY, "scipy", "resins", "rich", "jinja2", "yaml"})
    work = (
        "import mantid_insgan.demo as demo, mantid_insgan as m; "
        "m.apply(m.read(demo.DATA / 'measured.nxs'), direction='remove-resolution', device='cpu')"
    )
    done = {name.partition(".")[0] for name in loaded_by(work)}
    assert done.isdisjoint({*HEAVY, "rich", "jinja2", "skimage", "onnx"} - {"onnxruntime"})


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
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    (released,) = re.findall(
        rf"^## {re.escape(mantid_insgan.__version__)} - (\d{{4}}-\d\d-\d\d)$", changes, re.MULTILINE
    )
    assert str(citation["date-released"]) == released


def test_citation_names_software_and_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    (paper,) = citation["references"]
    assert citation["type"] == "software"
    assert paper["doi"] == "10.1039/D2DD00147K"
    assert [a["family-names"] for a in paper["authors"]] == ["Anker", "Butler", "Le", "Perring", "Thiyagalingam"]


def test_extras_and_command():
    distribution = metadata.distribution("mantid-insgan")
    assert set(distribution.metadata.get_all("Provides-Extra")) == {
        "cpu", "gpu", "train", "spinw", "phonons", "fit", "posterior", "report", "dask", "sqw", "examples", "test",
        "docs",
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


def requirements(lines) -> dict[str, str]:
    """Name -> versions, from lines such as 'numpy>=2.0' or 'numpy >=2.0'."""
    found = (re.fullmatch(r"([\w.-]+?) *([<>=].*)?", line).groups() for line in lines)
    return {name.lower(): versions or "" for name, versions in found}


def setup_arguments(monkeypatch) -> dict:
    """What setup.py calls setup with."""
    import setuptools

    given = {}
    monkeypatch.setattr(setuptools, "setup", given.update)
    monkeypatch.chdir(ROOT)
    runpy.run_path("setup.py")
    return given


def test_conda_has_the_dependencies_of_setup(monkeypatch):
    """The recipe those of the extras that it names; environment.yml those of the recipe."""
    given = setup_arguments(monkeypatch)
    text = (ROOT / "packaging" / "conda" / "recipe.yaml").read_text(encoding="utf-8")
    extras = re.search(r"with its extras (.*)\.", text)[1].replace(" and", ",").replace(" ", "").split(",")
    needed = requirements(given["install_requires"])
    for extra in extras:
        needed |= requirements(given["extras_require"][extra])
    recipe = yaml.safe_load(text)
    run = requirements(recipe["requirements"]["run"])
    assert run.pop("python") == given["python_requires"] and run == needed
    assert recipe["context"] == {"name": given["name"], "version": given["version"]}
    assert recipe["build"]["python"]["entry_points"] == given["entry_points"]["console_scripts"]
    built_by = yaml.safe_load(json.dumps(recipe["requirements"]["host"]))
    assert "setuptools >=77" in built_by and '"setuptools>=77"' in (ROOT / "pyproject.toml").read_text()

    *conda, pip = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    here = requirements([*conda, *(line for line in pip["pip"] if not line.startswith("--"))])
    assert here.pop("python") == given["python_requires"] and {"mantidworkbench", "pip"} <= set(here)
    here = {name: versions for name, versions in here.items() if name not in ("mantidworkbench", "pip")}
    assert here == needed | {"numpy": ">=2.1"}, "ResINS asks for 2.1, which pip would install beside Mantid's"


@pytest.fixture(scope="module")
def sdist(tmp_path_factory) -> Path:
    """The source distribution of a copy of what git tracks, so that nothing else gets in."""
    folder = tmp_path_factory.mktemp("sdist")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout.split(b"\0")
    for name in filter(None, map(os.fsdecode, tracked)):
        if not name.startswith(("docs/", "tests/", "benchmarks/")) and (ROOT / name).is_file():
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / "source" / name)
    build = "from setuptools import build_meta; build_meta.build_sdist('..')"
    subprocess.run([sys.executable, "-c", build], cwd=folder / "source", check=True, capture_output=True, timeout=300)
    (made,) = folder.glob("*.tar.gz")
    return made


@pytest.mark.slow
def test_a_wheel_from_the_sdist_works_outside_the_checkout(sdist, tmp_path):
    """As release.yml does it, but with the packages of this environment and without network."""
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    (source,) = (tmp_path / "source").iterdir()
    assert {"CHANGELOG.md", "CITATION.cff", "LICENSE", "README.md", "constraints.txt"} <= {
        p.name for p in source.iterdir()
    }
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    alone = ["--no-deps", "--no-index", "--no-build-isolation"]
    environment = os.environ | {"HOME": str(tmp_path), "OMP_NUM_THREADS": "1", "PIP_NO_INPUT": "1"}
    environment.pop("PYTHONPATH", None)
    for command in (
        [*pip, "wheel", *alone, "--wheel-dir", tmp_path / "wheels", source],
        [*pip, "install", *alone, "--target", tmp_path / "bare", "--find-links", tmp_path / "wheels", "mantid-insgan"],
    ):
        ran = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, timeout=300)
        assert ran.returncode == 0, ran.stdout + ran.stderr
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    reduced = ROOT / "tests" / "data" / "bi2fe4o9-merlin" / "MER40874_Ei62.00meV_Rings.nxspe"
    checked = subprocess.run(
        [sys.executable, ROOT / "packaging" / "check_install.py", reduced],
        cwd=elsewhere,
        env=environment | {"PYTHONPATH": str(tmp_path / "bare")},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"in {tmp_path / 'bare' / 'mantid_insgan'}: all checks passed" in checked.stdout


@pytest.mark.slow
def test_the_check_of_an_install_refuses_the_checkout(tmp_path):
    checked = subprocess.run(
        [sys.executable, ROOT / "packaging" / "check_install.py", "run.nxspe"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert checked.returncode == 1 and "it is imported from the checkout" in checked.stderr


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
