"""Many files at once: what is written, kept and refused, by one process and by several."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mantid_insgan.core.options import ApplyOptions
from mantid_insgan.core.run import Run
from mantid_insgan.core.spectrum import Axis, Spectrum
from mantid_insgan.errors import InputError, OutputError
from mantid_insgan.io import read_nexus, write_nexus
from mantid_insgan.translate import many
from mantid_insgan.translate.job import apply_to_file
from mantid_insgan.translate.many import apply_to_many, exit_code

ROOT = Path(__file__).resolve().parents[1]
ADD = ApplyOptions(direction="add-resolution", device="cpu")
RUN = Run().updated("made", instrument="MAPS", ei=100.0, chopper="S", frequency=400.0)


def mode(seed: int, bins=(24, 20)) -> Spectrum:
    axes = (
        Axis("|Q|", np.linspace(0.5, 4, bins[0] + 1), "Angstrom^-1"),
        Axis("DeltaE", np.linspace(5, 60, bins[1] + 1), "DeltaE"),
    )
    signal = np.random.default_rng(seed).uniform(1, 2, bins)
    return Spectrum(signal, 0.01 * signal, axes, run=RUN)


@pytest.fixture
def files(tmp_path) -> list[Path]:
    """Three files."""
    names = [tmp_path / f"run{i}.nxs" for i in range(3)]
    for i, name in enumerate(names):
        write_nexus(mode(i), name)
    return names


def statuses(outcomes) -> list[str]:
    return [o.status for o in outcomes]


def test_each_file_becomes_what_it_becomes_alone(files, tmp_path):
    shares = []
    outcomes = apply_to_many(files, tmp_path / "new" / "out", ADD, progress=shares.append)
    assert statuses(outcomes) == ["written"] * 3 and shares == [pytest.approx(i / 3) for i in (1, 2, 3)]
    assert [o.input for o in outcomes] == [str(f) for f in files]
    for file, outcome in zip(files, outcomes, strict=True):
        apply_to_file(file, tmp_path / "alone.nxs", ADD, overwrite=True)
        np.testing.assert_array_equal(read_nexus(outcome.output).signal, read_nexus(tmp_path / "alone.nxs").signal)


def test_one_model_is_opened_once(files, tmp_path, monkeypatch):
    opened = []
    original = many._OPENED
    monkeypatch.setattr(many, "_OPENED", {})
    from mantid_insgan.translate import translator as translate

    real = translate.open_session
    monkeypatch.setattr(translate, "open_session", lambda *a: opened.append(a) or real(*a))
    apply_to_many(files, tmp_path / "out", ADD)
    assert len(opened) == 1 and len(many._OPENED) == 1 and many._OPENED is not original


def test_results_that_are_there_are_kept(files, tmp_path):
    folder = tmp_path / "out"
    first = apply_to_many(files[:2], folder, ADD)
    stamps = [os.stat(o.output).st_mtime_ns for o in first]
    again = apply_to_many(files, folder, replace(ADD, device="auto"))
    assert statuses(again) == ["kept", "kept", "written"]
    assert [os.stat(o.output).st_mtime_ns for o in again[:2]] == stamps
    assert statuses(apply_to_many(files, folder, ADD, overwrite=True)) == ["written"] * 3


@pytest.mark.parametrize("case", ["other options", "other facts", "newer input", "another file", "no result"])
def test_what_is_something_else_is_not_kept(files, tmp_path, case):
    folder, options = tmp_path / "out", ADD
    (done,) = apply_to_many(files[:1], folder, ADD)
    if case == "other options":
        options = replace(ADD, width_factor=1.5)
    elif case == "other facts":
        options = replace(ADD, ei=90.0)
    elif case == "newer input":
        os.utime(files[0], (time.time() + 60,) * 2)
    elif case == "another file":
        os.replace(apply_to_many(files[1:2], folder, ADD)[0].output, done.output)
    else:
        Path(done.output).write_text("damaged")
    held = Path(done.output).read_bytes()
    (outcome,) = apply_to_many(files[:1], folder, options)
    assert outcome.status == "failed" and Path(done.output).read_bytes() == held
    if case != "no result":
        assert "already exists and is not the result of run0.nxs" in outcome.messages[0]
        assert "or give --overwrite to replace it" in outcome.messages[0] and outcome.exit_code == OutputError.exit_code


def test_a_file_that_fails_does_not_stop_the_others(files, tmp_path):
    files[1].write_text("damaged")
    outcomes = apply_to_many([*files, tmp_path / "gone.nxs"], tmp_path / "out", ADD)
    assert statuses(outcomes) == ["written", "failed", "written", "failed"]
    assert "run1.nxs" in outcomes[1].messages[0] and "gone.nxs does not exist" in outcomes[3].messages[0]
    assert exit_code(outcomes) == InputError.exit_code and exit_code(outcomes[:1]) == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["run0.nxs", "run2.nxs"]


def test_a_fault_in_one_file_is_told(files, tmp_path, monkeypatch):
    monkeypatch.setattr(many, "apply_to_file", lambda *a, **k: 1 / 0)
    (outcome,) = apply_to_many(files[:1], tmp_path / "out", ADD)
    assert (outcome.status, outcome.messages, outcome.exit_code) == (
        "failed",
        ["ZeroDivisionError: division by zero"],
        1,
    )


def test_names_that_clash(files, tmp_path):
    (tmp_path / "other").mkdir()
    write_nexus(mode(5), tmp_path / "other" / "run0.nxs")
    with pytest.raises(InputError, match="would both be written to.*two folders"):
        apply_to_many([files[0], tmp_path / "other" / "run0.nxs"], tmp_path / "out", ADD)
    with pytest.raises(InputError, match="would be replaced by its own result"):
        apply_to_many(files, tmp_path, ADD)
    with pytest.raises(InputError, match="the number of workers is 0.*--workers"):
        apply_to_many(files, tmp_path / "out", ADD, workers=0)
    with pytest.raises(OutputError, match="the output folder .* cannot be created: .*--output-dir"):
        apply_to_many(files, files[0] / "out", ADD)


def test_two_processes_write_what_one_writes(files, tmp_path):
    one = apply_to_many(files, tmp_path / "one", ADD)
    two = apply_to_many(files, tmp_path / "two", ADD, workers=2)
    assert statuses(two) == ["written"] * 3
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(read_nexus(a.output).signal, read_nexus(b.output).signal, rtol=1e-5)


def test_a_dask_cluster_too(files, tmp_path):
    pytest.importorskip("distributed")
    outcomes = apply_to_many(files[:2], tmp_path / "out", ADD, dask="local")
    assert statuses(outcomes) == ["written"] * 2


def test_the_command_sums_up(insgan, files, tmp_path):
    files[1].write_text("damaged")
    folder = tmp_path / "out"
    code, out, err = insgan("apply", *files, "--output-dir", folder, "--direction", "add-resolution")
    assert (code, err) == (InputError.exit_code, "")
    lines = out.splitlines()
    assert f"written {folder / 'run0.nxs'}" in lines and f"failed {files[1]}" in lines
    assert lines[-1].startswith(f"2 written, 0 kept, 1 failed of 3 files in {folder} in ")
    code, out, err = insgan(
        "apply", files[0], files[2], "--output-dir", folder, "--direction", "add-resolution", "--json"
    )
    found = json.loads(out)
    assert (code, err, found["kept"], found["failed"]) == (0, "", 2, 0)
    assert [f["status"] for f in found["files"]] == ["kept"] * 2


def test_wrong_usage(insgan, files):
    for words in ([files[0]], files, [*files[:2], "--workers", "2"], [*files[:2], "--dask", "local"]):
        code, out, err = insgan("apply", *words)
        assert (code, out) == (2, "") and "--output-dir" in err.replace("\n", " ")


def test_an_interrupt_leaves_nothing_half_written(tmp_path):
    for i in range(2):
        write_nexus(mode(i, bins=(1500, 1500)), tmp_path / f"long{i}.nxs")
    words = [
        "apply",
        "long0.nxs",
        "long1.nxs",
        "--output-dir",
        "out",
        "--workers",
        "2",
        "--direction",
        "add-resolution",
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-m", "mantid_insgan", *words],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("out/.long*.part")):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert (process.returncode, out) == (130, "")
    assert err.endswith("insgan: interrupted; no half-written file is left\n")
    assert list((tmp_path / "out").iterdir()) == []
