"""Fixtures that several test files use, and the stand-in for Mantid where there is none."""

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

if importlib.util.find_spec("mantid") is None:
    sys.path.append(str(Path(__file__).parent / "mantid_standin"))

SHARED = Path(__file__).resolve().parents[1] / ".." / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real measurements and of files that Mantid wrote, which stands beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not there: it holds the real measurements and stands beside the checkout")
    return SHARED.resolve()


@pytest.fixture(scope="module")
def one_thread():
    """Networks with one thread, so that sums come out the same on every machine."""
    import torch

    torch.set_num_threads(1)


#: Small parts of real measurements: tests/data/README.md.
EXCERPTS = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def excerpts() -> Path:
    """The folder of excerpts of real measurements, which is part of the repository."""
    return EXCERPTS


@pytest.fixture(scope="session")
def real(request):
    """Path of a real file by name: ``excerpt/...`` is one of tests/data, others stand in ../shared (see `shared`)."""

    def find(name: str) -> Path:
        folder, _, rest = name.partition("/")
        return EXCERPTS / rest if folder == "excerpt" else request.getfixturevalue("shared") / name

    return find


@pytest.fixture
def mantid_script(tmp_path):
    """Runs a script in a Python of its own that has this checkout and Mantid, with an empty home; gives what it said.

    ``mantid_script(text, home=folder)``; the script has to end well unless ``fails`` is given.
    """
    import mantid

    folders = [Path(__file__).resolve().parents[1], Path(mantid.__file__).resolve().parents[1]]
    path = os.pathsep.join(map(str, folders))

    def run(text: str, home: Path | None = None, fails: bool = False) -> str:
        environment = os.environ | {"PYTHONPATH": path, "HOME": str(home or tmp_path), "OMP_NUM_THREADS": "1"}
        ran = subprocess.run(
            [sys.executable, "-c", text], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
        )
        assert fails is (ran.returncode != 0), ran.stdout + ran.stderr
        return ran.stdout + ran.stderr

    return run


#: Of the crystal that `crystal_scan` measures: cell, along the beam, across; meV.
CRYSTAL = {"lattice": "4,4,6", "u": "1,0,0", "v": "0,1,0"}
CRYSTAL_EI = 60.0


def write_crystal_run(path: Path, psi: float, signal, *, ei=CRYSTAL_EI, name="MERLIN", seed=0) -> Path:
    """An nxspe file as SaveNXSPE writes it, of detectors on a cylinder that see ``signal(h, k, l, energy)``."""
    turn, height = np.meshgrid(np.radians(np.r_[-25:-4:1.0, 5:61:1.0]), np.linspace(-0.2, 0.2, 5), indexing="ij")
    x, y, z = (a.ravel() for a in (np.sin(turn), height, np.cos(turn)))
    polar, azimuthal = np.degrees(np.arctan2(np.hypot(x, y), z)), np.degrees(np.arctan2(y, x))
    edges = np.linspace(2, 42, 41)
    energy = (edges[1:] + edges[:-1]) / 2
    # The geometry written out for a cell of right angles, 4, 4 and 6 Angstrom, with a along the beam and b along +x
    # at psi = 0.
    ki, kf = np.sqrt(ei / 2.0721248), np.sqrt((ei - energy) / 2.0721248)
    length = np.sqrt(x**2 + y**2 + z**2)
    q = [-kf * (a / length)[:, None] for a in (x, y, z)]
    q[2] = q[2] + ki
    c, s = np.cos(np.radians(psi)), np.sin(np.radians(psi))
    hkl = (4 * (s * q[0] + c * q[2]), 4 * (c * q[0] - s * q[2]), 6 * q[1])
    expected = signal(*(x / (2 * np.pi) for x in hkl), energy[None, :])
    counts = np.random.default_rng(seed).poisson(expected * 100.0) / 100.0
    with h5py.File(path, "w") as file:
        entry = _nexus_group(file, "ws", "NXentry")
        entry["definition"] = np.bytes_("NXSPE")
        info = _nexus_group(entry, "NXSPE_info", "NXcollection")
        info["fixed_energy"], info["psi"] = np.array([ei]), np.array([psi])
        info["ki_over_kf_scaling"] = np.array([1], np.int32)
        _nexus_group(entry, "instrument", "NXinstrument")["name"] = np.bytes_(name)
        data = _nexus_group(entry, "data", "NXdata")
        data["data"], data["error"], data["energy"] = counts, np.sqrt(np.maximum(counts, 0.01) / 100.0), edges
        data["polar"], data["azimuthal"] = polar, azimuthal
        for width in ("polar_width", "azimuthal_width"):
            data[width] = np.ones_like(polar)
    return path


def _nexus_group(parent, name: str, kind: str):
    group = parent.create_group(name)
    group.attrs["NX_class"] = np.bytes_(kind)
    return group


def magnon(h, k, _, energy):
    """A mode of a square lattice, the same at every l."""
    mode = 8 + 12 * (np.sin(np.pi * h) ** 2 + np.sin(np.pi * k) ** 2)
    return 3 * np.exp(-0.5 * ((energy - mode) / 2.0) ** 2) + 0.2


@pytest.fixture
def crystal_scan(tmp_path) -> list[Path]:
    """Sixteen runs of a crystal of `CRYSTAL` on MERLIN, 3 degrees apart."""
    folder = tmp_path / "scan"
    folder.mkdir()
    angles = range(-24, 24, 3)
    names = (f"MER{100 + i}_Ei60.00meV_One2One.nxspe" for i in range(len(angles)))
    return [write_crystal_run(folder / n, float(a), magnon, seed=a + 99) for n, a in zip(names, angles, strict=True)]


@pytest.fixture
def insgan(monkeypatch, capsys):
    """Run the command in this process: exit status, standard output, standard error without the lines that show the
    progress, which are in ``insgan.shown``."""
    from mantid_insgan.cli import progress

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def run(*words) -> tuple[int, str, str]:
        from mantid_insgan.cli import main as cli

        monkeypatch.setattr(sys, "argv", ["insgan", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return ended.value.code or 0, out, err

    run.shown = []
    monkeypatch.setattr(progress._Lines, "_print", staticmethod(run.shown.append))
    yield run
    progress._interrupted.clear()
    for number, handler in before.items():
        signal.signal(number, handler)
