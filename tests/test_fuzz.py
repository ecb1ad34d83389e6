"""The fuzz benchmark finds what it looks for, and what it found once does not come back."""

import json
import os
import signal
import time

import fuzz
import h5py
import numpy as np
import pytest

from mantid_insgan.core.options import ApplyOptions
from mantid_insgan.core.run import Run
from mantid_insgan.errors import InputError, RunFactError
from mantid_insgan.instruments import Resolution
from mantid_insgan.io import read_nexus, read_spectrum
from mantid_insgan.io.writer import last_record
from mantid_insgan.translate.job import apply_to_file

pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed: pip install 'mantid-insgan[cpu]'")
pytest.importorskip("onnx", reason="onnx is not installed: pip install 'mantid-insgan[cpu]'")


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("seeds")
    fuzz.make_seeds_apart(folder)
    return folder


def test_the_seeds_are_answered(seeds, tmp_path):
    for kind in ("slice", "cut", "volume"):
        fuzz.tried(kind, seeds / f"{kind}.nxs", seeds, tmp_path / f"{kind}.nxs", {})
    fuzz.tried("nxspe", seeds / "nxspe.nxspe", seeds, tmp_path / "nxspe.nxs", {})
    fuzz.tried("result", seeds / "result.nxs", seeds, tmp_path / "none.nxs", {})
    fuzz.tried("card", seeds / "model", seeds, tmp_path / "model.nxs", {})


def test_a_mutation_is_the_same_again(seeds, tmp_path):
    made = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        made.append(fuzz.mutated(5, 1, seeds, tmp_path / name))
    (kind, one), (again, two) = made
    assert kind == again and one.name == two.name
    assert one.is_dir() or one.stat().st_size == two.stat().st_size


@pytest.mark.parametrize(
    ("what", "act"),
    [
        (fuzz.CRASH, lambda *_: os.kill(os.getpid(), signal.SIGSEGV)),
        (fuzz.HANG, lambda *_: time.sleep(60)),
        (fuzz.HANG, lambda *_: sum(iter(int, 1))),
        (fuzz.EXCEPTION, lambda *_: [][1]),
        (fuzz.LEFT, lambda kind, path, seeds, output, opened: output.with_name("half.part").write_text("x")),
        (fuzz.EXCEPTION, lambda *_: bytearray(2 * fuzz.MEMORY)),
        (fuzz.ANSWERED, lambda *_: None),
    ],
    ids=["crash", "hang", "busy", "exception", "file left", "memory", "answer"],
)
def test_each_kind_of_finding_is_found(seeds, monkeypatch, what, act):
    monkeypatch.setattr(fuzz, "SECONDS", 1.5)
    monkeypatch.setattr(fuzz, "CLOCK", 2.5 if what == fuzz.HANG else 60.0)
    monkeypatch.setattr(fuzz, "tried", act)
    outcomes = fuzz.run_all([0, 1], 1, seeds, 1)
    assert sorted(o.number for o in outcomes) == [0, 1]
    assert {o.what for o in outcomes} == {what}


def test_some_hostile_files(seeds):
    """A short part of the benchmark, so that a change is seen at once."""
    outcomes = fuzz.run_all(list(range(20_000, 20_040)), 1, seeds, 1)
    assert len(outcomes) == 40
    assert not [o for o in outcomes if o.what not in (fuzz.REFUSED, fuzz.ANSWERED)]


# ------------------------------------------------------------------------------------------------ what was found


def changed(source, target, change):
    target.write_bytes(source.read_bytes())
    with h5py.File(target, "r+") as file:
        change(file["MDHistoWorkspace"])
    return target


@pytest.mark.parametrize(("name", "value"), [("visual_normalization", -1), ("coordinate_system", 17)])
def test_a_convention_that_mantid_does_not_have(seeds, tmp_path, name, value):
    def change(entry):
        del entry[name]
        entry[name] = np.array([value])

    path = changed(seeds / "slice.nxs", tmp_path / "odd.nxs", change)
    with pytest.raises(InputError, match=rf"MDHistoWorkspace/{name} is {value}, expected one of 0, 1, 2.*SaveMD"):
        read_nexus(path)
    with pytest.raises(InputError, match=name):
        apply_to_file(path, tmp_path / "out.nxs", ApplyOptions())
    assert [p.name for p in tmp_path.iterdir()] == ["odd.nxs"]


@pytest.mark.parametrize("record", [b"", b"[1]", b"{not", b"[" * 100_000, 3.0])
def test_a_history_that_is_no_record(seeds, tmp_path, record):
    def change(entry):
        note = entry["process/MantidAlgorithm_1"]
        del note["json"]
        note["json"] = np.array([record])

    path = changed(seeds / "result.nxs", tmp_path / "odd.nxs", change)
    with pytest.raises(InputError, match=r"the last record of its history is '.*', expected a record in JSON"):
        last_record(path)


def test_a_history_that_links_to_itself(seeds, tmp_path):
    def change(entry):
        del entry["process"]
        entry["process"] = h5py.SoftLink("/MDHistoWorkspace/process")

    path = changed(seeds / "result.nxs", tmp_path / "odd.nxs", change)
    with pytest.raises(InputError, match="could not be read completely"):
        last_record(path)


@pytest.mark.parametrize("place", ["experiment0/logs/Ei/kind", "kind"])
def test_a_type_of_data_where_data_are_expected(seeds, tmp_path, place):
    """Found with seed 3: damaged, it crashed HDF5 when it was copied."""

    def change(entry):
        entry[place] = np.dtype("f8")

    path = changed(seeds / "cut.nxs", tmp_path / "odd.nxs", change)
    told = ApplyOptions(instrument="MERLIN", chopper="G", frequency=400.0, device="cpu")
    with pytest.raises(InputError, match=rf"odd.nxs: /MDHistoWorkspace/{place} is neither a group nor a dataset"):
        apply_to_file(path, tmp_path / "out.nxs", told)
    assert [p.name for p in tmp_path.iterdir()] == ["odd.nxs"]


def test_an_object_of_a_template_that_cannot_be_opened(seeds, tmp_path, monkeypatch):
    def damaged(*_):
        raise KeyError("Unable to synchronously open object (bad version number for fill value message)")

    monkeypatch.setattr(h5py.Group, "visititems", damaged)
    with pytest.raises(InputError, match="cut.nxs .*could not be read completely.*bad version number"):
        apply_to_file(seeds / "cut.nxs", tmp_path / "out.nxs", ApplyOptions(chopper="G", frequency=400.0))
    assert not list(tmp_path.iterdir())


def test_a_dataset_that_does_not_fit_into_the_memory(seeds, tmp_path):
    def change(entry):
        del entry["data/signal"]
        huge = entry.create_dataset("data/signal", (24, 1, 8), "f8", data=np.zeros((24, 1, 8)))
        huge.attrs["axes"] = "DeltaE:[0,0,L]:[H,0,0]"
        edges = entry["data/[H,0,0]"]
        kept = dict(edges.attrs)
        del entry["data/[H,0,0]"]
        entry.create_dataset("data/[H,0,0]", (2**40,), "f8", chunks=(64,))
        entry["data/[H,0,0]"].attrs.update(kept)

    path = changed(seeds / "slice.nxs", tmp_path / "huge.nxs", change)
    with pytest.raises(
        InputError, match=r"huge.nxs has an array that does not fit into the memory \(Unable to allocate"
    ):
        read_nexus(path)


def test_a_text_that_is_not_utf_8(seeds, tmp_path):
    path = changed(seeds / "cut.nxs", tmp_path / "odd.nxs", lambda e: e.attrs.__setitem__("QConvention", b"\xff\xfe"))
    apply_to_file(path, tmp_path / "out.nxs", ApplyOptions())
    assert read_nexus(tmp_path / "out.nxs").q_convention == "??"


def test_a_dataset_where_a_group_is_expected(seeds, tmp_path):
    path = tmp_path / "odd.nxspe"
    path.write_bytes((seeds / "nxspe.nxspe").read_bytes())
    with h5py.File(path, "r+") as file:
        del file["ws/NXSPE_info"]
        file["ws/NXSPE_info"] = 3.0
    with pytest.raises(InputError, match="odd.nxspe has another structure than such a file: 'Dataset' object has no"):
        read_spectrum(path)


def test_a_chopper_that_is_none_of_the_instrument_where_ei_is_missing():
    run = Run().updated("log", instrument="MERLIN", chopper="<b>", frequency=400.0)
    with pytest.raises(RunFactError, match="<b>"):
        Resolution.of_spectrometer(run)


def test_attributes_of_a_template_that_are_not_utf_8(seeds, tmp_path):
    def change(entry):
        entry.attrs["note"] = b"\xff\xfe"
        h5py.h5a.create(entry.id, b"\xff", h5py.h5t.NATIVE_INT32, h5py.h5s.create(h5py.h5s.SCALAR))

    path = changed(seeds / "cut.nxs", tmp_path / "odd.nxs", change)
    apply_to_file(path, tmp_path / "out.nxs", ApplyOptions())
    with h5py.File(tmp_path / "out.nxs") as file:
        names = list(file["MDHistoWorkspace"].attrs)
        assert "note" in names and b"\xff" not in names


def test_results_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "sys.argv", ["fuzz.py", "--files", "2", "--seed", "3", "--results", str(tmp_path / "fuzz.json")]
    )
    fuzz.main()
    (made,) = json.loads((tmp_path / "fuzz.json").read_text())["tables"]
    assert made["rows"][-1][:2] == ["all", 2] and sum(made["rows"][-1][2:]) == 2
