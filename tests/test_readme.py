"""What the README says can be done, is done as it says."""

import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest

from mantid_insgan import Axis, Run, Spectrum
from mantid_insgan.cli.main import main
from mantid_insgan.io import read_nexus, write_nexus

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def cut(tmp_path, monkeypatch):
    """A folder with the README's cut.nxs: a powder spectrum with Ei in its logs."""
    q, e = np.linspace(0.5, 6, 65), np.linspace(-5, 50, 81)
    qc, ec = 0.5 * (q[1:] + q[:-1])[:, None], 0.5 * (e[1:] + e[:-1])
    signal = 20 * np.exp(-0.5 * (ec / 1.5) ** 2) + np.exp(-0.5 * ((ec - 20 - 5 * np.sin(2 * qc)) / 3) ** 2) + 0.1
    axes = (Axis("|Q|", q, "Angstrom^-1"), Axis("DeltaE", e, "DeltaE"))
    spectrum = Spectrum(signal, 0.01 * signal, axes, run=Run().updated("log", ei=62.0))
    write_nexus(spectrum, tmp_path / "cut.nxs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_commands_of_your_own_data(cut, monkeypatch, capsys):
    part = README.split("## Your own data")[1].split("\n## ")[0]
    commands = [line.strip() for line in part.splitlines() if line.startswith("    insgan ")]
    assert [shlex.split(c)[1] for c in commands] == ["inspect", "apply", "report"]
    for command in commands:
        monkeypatch.setattr(sys, "argv", shlex.split(command))
        with pytest.raises(SystemExit) as stopped:
            main()
        assert not stopped.value.code, capsys.readouterr().err
    assert {p.name for p in cut.iterdir()} == {"cut.nxs", "corrected.nxs", "report.html"}


def test_the_script(cut, capsys):
    (script,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    exec(compile(script, "README.md", "exec"), {})
    assert "flux_ratio" in capsys.readouterr().out
    before, after = read_nexus(cut / "cut.nxs"), read_nexus(cut / "corrected.nxs")
    assert after.axes == before.axes and after.run.value("ei") == 62.0
    assert np.isfinite(after.signal).all() and not np.allclose(after.signal, before.signal)


def test_files_and_targets_that_it_names_are_there():
    for link in re.findall(r"\]\(((?!http)[^)]+)\)", README):
        assert (ROOT / link).is_file(), link
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"make (demo|test|models)\b", README)):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)


def test_the_instruments():
    from mantid_insgan.instruments import known_instruments

    named = re.search(r"spectrometers \(([A-Z, ]+)\)", README.replace("\n", " ")).group(1).split(", ")
    assert set(named) <= set(known_instruments())
