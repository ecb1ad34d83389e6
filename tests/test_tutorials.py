"""What the tutorials say can be done, is done as they say, in their order."""

import re
import shlex
from pathlib import Path

import pytest

TUTORIALS = Path(__file__).resolve().parents[1] / "docs" / "tutorials"


def blocks(name: str, language: str) -> list[str]:
    found = re.findall(rf"```{language}\n(.*?)```", (TUTORIALS / name).read_text(encoding="utf-8"), flags=re.DOTALL)
    assert found, f"{name} has no block of {language}"
    return found


def test_from_a_measured_file_to_a_corrected_one(tmp_path, monkeypatch, insgan):
    monkeypatch.chdir(tmp_path)
    said = ""
    for command in "".join(blocks("measured_to_corrected.md", "bash")).splitlines():
        program, *words = shlex.split(command)
        assert program == "insgan"
        status, out, err = insgan(*words)
        assert status == 0, f"{command}\n{err}"
        said += out
    assert {"corrected.nxs", "corrected.png", "widths.png", "demo"} <= {p.name for p in tmp_path.iterdir()}
    assert "nothing is missing" in said


def test_the_terms_that_the_first_tutorial_explains_are_those_of_the_report(tmp_path, insgan):
    from mantid_insgan.demo import DATA

    status, out, err = insgan("apply", DATA / "measured.nxs", tmp_path / "out.nxs")
    assert status == 0, err
    text = (TUTORIALS / "measured_to_corrected.md").read_text(encoding="utf-8").split("## 5.")[1]
    terms = re.findall(r"^`([^`]+)`$", text, flags=re.MULTILINE)
    assert terms[-1] == "note" and len(terms) == 5
    for term in terms[:-1]:  # a good result has no note
        assert f"{term}:" in out, term


def test_from_a_hamiltonian_to_a_convolved_map(tmp_path, monkeypatch, capsys):
    pytest.importorskip("pyspinw", reason="models of spin waves need the extra 'spinw'")
    monkeypatch.chdir(tmp_path)
    exec(compile("".join(blocks("hamiltonian_to_map.md", "python")), "hamiltonian_to_map.md", "exec"), {})
    assert {"recorded.nxs", "recorded.png"} <= {p.name for p in tmp_path.iterdir()}
    widths = [float(x) for x in capsys.readouterr().out.strip("[]\n ").split()]
    assert len(widths) == 3 and widths == sorted(widths, reverse=True)
