"""The command line as a user meets it: what it prints, what it writes, and how it ends."""

import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from itertools import product
from pathlib import Path

import h5py
import numpy as np
import pytest

from mantid_insgan.cli import progress
from mantid_insgan.core.options import DIRECTIONS
from mantid_insgan.core.run import Lattice, Run
from mantid_insgan.core.spectrum import Axis, Spectrum
from mantid_insgan.io import read_nexus, write_nexus
from mantid_insgan.io.nexus import ENTRY
from mantid_insgan.translate import cards
from mantid_insgan.translate import job as apply_module

ROOT = Path(__file__).resolve().parents[1]
LATTICE = Lattice(4.0, 4.0, 13.0, 90.0, 90.0, 90.0, ub=np.diag([1 / 4, 1 / 4, 1 / 13]))
RUN = Run().updated("made", instrument="MAPS", ei=100.0, chopper="S", frequency=400.0, lattice=LATTICE)
FACTS = ["--instrument", "MAPS", "--chopper", "S", "--frequency", "400"]
LIMITS = {"[H,0,0]": (-1, 1), "[0,K,0]": (-1, 1), "[0,0,L]": (-0.5, 0.5), "DeltaE": (0, 60)}


def magnon(*sizes, names=("[H,0,0]", "DeltaE"), run=RUN, seed=0) -> Spectrum:
    """Counts of a mode on a background, with a gap where there is room for one."""
    axes = tuple(
        Axis(name, np.linspace(*LIMITS[name], n + 1), *(("DeltaE",) if name == "DeltaE" else ("r.l.u.", "HKL")))
        for name, n in zip(names, sizes, strict=True)
    )
    grid = np.meshgrid(*(a.centers for a in axes), indexing="ij")
    energy = grid[names.index("DeltaE")] if "DeltaE" in names else 20.0
    mode = 40 * np.abs(np.sin(np.pi * grid[0]))
    counts = np.random.default_rng(seed).poisson(200 * np.exp(-0.5 * ((energy - mode) / 4) ** 2) + 5)
    valid = np.ones(counts.shape, bool)
    if max(sizes) > 20:
        valid[6:9] = False
    return Spectrum(np.where(valid, counts, np.nan), np.maximum(counts, 1.0), axes, run=run)


@pytest.fixture
def measured(tmp_path) -> Path:
    """A file with all run facts in its logs."""
    path = tmp_path / "measured.nxs"
    write_nexus(magnon(40, 32), path)
    return path


def listing(folder: Path) -> dict[str, bytes]:
    """Names and contents of all files in a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


# ------------------------------------------------------------------------------------------------ apply


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_apply_writes_a_corrected_file(insgan, measured, direction):
    output = measured.with_name("out.nxs")
    code, out, err = insgan("apply", measured, output, "--direction", direction)
    assert (code, err) == (0, "")
    assert f"wrote {output} in" in out and f"with {direction}-2d" in out
    assert "ei 100 (log Ei of experiment0)" in out and "flux ratio: " in out
    before, after = read_nexus(measured), read_nexus(output)
    assert after.axes == before.axes
    np.testing.assert_array_equal(after.valid, before.valid)
    assert np.isnan(after.signal[~before.valid]).all()
    assert np.isfinite(after.signal[before.valid]).all() and (after.variance[before.valid] > 0).all()
    assert not np.allclose(after.signal[before.valid], before.signal[before.valid])
    assert sorted(listing(measured.parent)) == ["measured.nxs", "out.nxs"]


def test_apply_keeps_a_record_of_what_was_done(insgan, measured):
    output = measured.with_name("out.nxs")
    insgan("apply", measured, output, "--ei", "90", "--width-factor", "1.2")
    with h5py.File(output) as file:
        record = json.loads(file[f"{ENTRY}/process/MantidAlgorithm_1/json"][0])
    assert record["name"] == "insgan apply"
    assert record["parameters"] == {
        "input": "measured.nxs",
        "direction": "remove-resolution",
        "instrument": "MAPS",
        "ei": 90.0,
        "chopper": "S",
        "frequency": 400.0,
        "width_factor": 1.2,
        "sharpen": 3.0,
        "resolution of the result": str(read_nexus(output).run.value("resolution")),
        "model": "remove-resolution-2d",
        "model_version": cards.find_model("remove-resolution-2d").card.version,
        "model_sha256": cards.find_model("remove-resolution-2d").card.sha256,
    }


def test_apply_json(insgan, measured):
    output = measured.with_name("out.nxs")
    code, out, err = insgan("apply", measured, output, "--json")
    summary = json.loads(out)
    assert (code, err) == (0, "")
    assert set(summary) == {
        "output",
        "seconds",
        "model",
        "run",
        "resolution_of_result",
        "valid_bins",
        "flux_ratio",
        "reduced_chi_squared_of_reconvolution",
        "share_of_bins_with_resolution_too_wide",
        "median_distance_from_training",
        "share_of_slices_outside_training",
        "p_value_of_domain",
        "elastic_line_over_calculated_width",
        "held_out_truth_within_1_standard_error",
        "held_out_truth_within_2_standard_errors",
        "notes",
    }
    before, after = read_nexus(measured), read_nexus(output)
    assert summary["output"] == str(output) and summary["valid_bins"] == before.valid.sum()
    valid = before.valid
    assert summary["flux_ratio"] == pytest.approx(after.signal[valid].sum() / before.signal[valid].sum())


def test_run_facts_come_from_logs_unless_an_option_is_given(insgan, measured):
    _, out, _ = insgan("apply", measured, measured.with_name("out.nxs"), "--json", "--ei", "90", "--chopper", "A")
    assert json.loads(out)["run"] == {
        "instrument": {"value": "MAPS", "source": "log instrument_name of experiment0"},
        "ei": {"value": 90.0, "source": "option --ei"},
        "chopper": {"value": "A", "source": "option --chopper"},
        "frequency": {"value": 400.0, "source": "log chopper_frequency of experiment0"},
    }


def test_existing_output_is_refused_and_unchanged(insgan, measured):
    output = measured.with_name("out.nxs")
    output.write_bytes(b"precious")
    code, out, err = insgan("apply", measured, output)
    assert (code, out) == (6, "")
    assert err == f"insgan: the output {output} already exists. Fix: give another name, or --overwrite to " + (
        "replace it.\n"
    )
    assert output.read_bytes() == b"precious"
    assert insgan("apply", measured, output, "--overwrite")[0] == 0
    assert read_nexus(output).shape == (40, 32)


def test_a_file_never_replaces_itself(insgan, measured):
    before = measured.read_bytes()
    code, _, err = insgan("apply", measured, measured, "--overwrite")
    assert code == 6 and "is the input, which would be lost" in err
    assert measured.read_bytes() == before


def test_a_cut_of_one_axis_goes_through_the_model_for_it(insgan, tmp_path):
    source = tmp_path / "cut.nxs"
    write_nexus(magnon(1, 60), source)
    _, out, _ = insgan("apply", source, tmp_path / "out.nxs", "--json")
    assert json.loads(out)["model"] == "remove-resolution-1d"
    after = read_nexus(tmp_path / "out.nxs")
    assert after.valid.all() and (after.variance > 0).all()
    code, _, told = insgan("apply", source, tmp_path / "out.nxs", "--overwrite", "--model", "remove-resolution-2d")
    assert (
        code == 5 and "the model remove-resolution-2d needs 2 axes with more than one bin, and the data have 1" in told
    )
    assert "omit --model, or use remove-resolution-1d" in told


def test_a_volume_says_which_axes_were_seen(insgan, tmp_path):
    source = tmp_path / "volume.nxs"
    write_nexus(magnon(24, 3, 20, names=("[H,0,0]", "[0,K,0]", "DeltaE")), source)
    code, out, _ = insgan("apply", source, tmp_path / "out.nxs", "--json")
    assert code == 0 and json.loads(out)["model"] == "remove-resolution-3d"
    assert not any("was left unchanged" in note for note in json.loads(out)["notes"])
    options = ("--json", "--overwrite", "--model", "remove-resolution-2d")
    _, out, _ = insgan("apply", source, tmp_path / "out.nxs", *options)
    left = (
        "the model was applied to slices in '[H,0,0]' and 'DeltaE': the resolution along '[0,K,0]' was left unchanged"
    )
    assert json.loads(out)["notes"][0] == left


@pytest.mark.parametrize(
    "sizes, limit, why",
    [
        ((24, 18, 16, 1), 10**6, "models for three axes need volumes with an energy axis"),
        ((24, 18, 1, 20), 8000, "a volume of 8,640 bins exceeds the limit of 8,000 in memory; cut or rebin"),
    ],
)
def test_what_is_no_volume_for_a_model_of_three_axes_is_walked(insgan, tmp_path, monkeypatch, sizes, limit, why):
    source = tmp_path / "volume.nxs"
    write_nexus(magnon(*sizes, names=("[H,0,0]", "[0,K,0]", "[0,0,L]", "DeltaE")), source)
    monkeypatch.setattr(apply_module, "VOLUME_BINS", limit)
    _, out, _ = insgan("apply", source, tmp_path / "out.nxs", "--json")
    assert json.loads(out)["model"] == "remove-resolution-2d"
    assert json.loads(out)["notes"][0].partition("was left unchanged (")[2].startswith(why)


def test_integrated_energy_says_that_its_resolution_was_left(insgan, tmp_path):
    source = tmp_path / "map.nxs"
    write_nexus(magnon(24, 24, 1, names=("[H,0,0]", "[0,K,0]", "DeltaE")), source)
    _, out, _ = insgan("apply", source, tmp_path / "out.nxs")
    assert "note: the energy is integrated: its resolution was left unchanged" in out


def test_few_bins_are_padded(insgan, tmp_path):
    for sizes in ((5, 7), (2, 40), (40, 2)):
        source = tmp_path / "small.nxs"
        write_nexus(magnon(*sizes), source, overwrite=True)
        assert insgan("apply", source, tmp_path / "out.nxs", "--overwrite")[0] == 0
        after = read_nexus(tmp_path / "out.nxs")
        assert after.shape == sizes and np.isfinite(after.signal[after.valid]).all()
        np.testing.assert_array_equal(after.valid, read_nexus(source).valid)


@pytest.mark.parametrize("direction, dimensions", [*product(DIRECTIONS, (2, 3))])
def test_slabs_give_what_the_whole_gives(insgan, tmp_path, monkeypatch, direction, dimensions):
    volume = magnon(12, 4, 3, 20, names=("[H,0,0]", "[0,K,0]", "[0,0,L]", "DeltaE"))
    masked = np.zeros(volume.shape, bool)
    masked[:, 1, 2, :] = True  # with slabs of one slice, one that holds nothing
    write_nexus(volume.replace(masked=masked), tmp_path / "volume.nxs")
    options = ("--direction", direction, "--model", f"{direction}-{dimensions}d")
    _, whole_out, _ = insgan("apply", tmp_path / "volume.nxs", tmp_path / "whole.nxs", "--json", *options)
    monkeypatch.setattr(apply_module, "SLAB_BINS", 12 * 20 if dimensions == 2 else 12 * 4 * 20)
    _, slabs_out, _ = insgan("apply", tmp_path / "volume.nxs", tmp_path / "slabs.nxs", "--json", *options)
    whole, slabs = read_nexus(tmp_path / "whole.nxs"), read_nexus(tmp_path / "slabs.nxs")
    for name in ("signal", "variance", "num_events", "masked", "valid"):
        np.testing.assert_allclose(getattr(slabs, name), getattr(whole, name), rtol=1e-6, atol=1e-9, err_msg=name)
    whole_summary, slabs_summary = json.loads(whole_out), json.loads(slabs_out)
    for name in ("valid_bins", "flux_ratio", "share_of_slices_outside_training"):
        assert slabs_summary[name] == pytest.approx(whole_summary[name])


def test_ei_given_for_an_nxspe_file_that_has_none(insgan, tmp_path):
    source = nxspe_without_ei(tmp_path)
    code, _, err = insgan("apply", source, tmp_path / "out.nxs", *FACTS)
    assert code == 4 and "Ei is missing from" in err and "with --ei" in err
    code, out, _ = insgan("apply", source, tmp_path / "out.nxs", *FACTS, "--ei", "100", "--json")
    assert code == 0 and json.loads(out)["run"]["ei"] == {"value": 100.0, "source": "option --ei"}


def nxspe_without_ei(folder: Path) -> Path:
    path = folder / "rings.nxspe"
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        entry = file.create_group("run")
        entry.create_group("NXSPE_info")
        entry["data/data"] = rng.poisson(50, (40, 30)).astype(float)
        entry["data/error"] = np.full((40, 30), 7.0)
        entry["data/energy"] = np.linspace(-10, 80, 31)
        entry["data/polar"] = np.linspace(5, 60, 40)
        entry["data/azimuthal"] = np.zeros(40)
    return path


# ------------------------------------------------------------------------------------------------ bad input


def altered(source: Path, name: str, values, **attributes) -> Path:
    """The file with one dataset replaced."""
    with h5py.File(source, "r+") as file:
        data = file[f"{ENTRY}/data"]
        kept = dict(data[name].attrs)
        del data[name]
        data[name] = values
        data[name].attrs.update(kept)
    return source


def text_file(source):
    source.write_text("H K L E I\n" * 100)


def no_workspace(source):
    with h5py.File(source, "w") as file:
        file["results/value"] = 1.0


def events(source):
    with h5py.File(source, "w") as file:
        file.create_group("MDEventWorkspace/event_data")


def truncated(source):
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])


def wrong_shape(source):
    altered(source, "errors_squared", np.ones((32, 39)))


def strings(source):
    altered(source, "signal", np.full((32, 40), b"12.5"))


def complex_numbers(source):
    altered(source, "signal", np.ones((32, 40), complex))


def integers_in_place_of_edges(source):
    altered(source, "DeltaE", np.array([b"low", b"high"]))


def no_energy(source):
    write_nexus(magnon(40, 32, names=("[H,0,0]", "[0,K,0]")), source, overwrite=True)


def nothing_valid(source):
    altered(source, "signal", np.full((32, 40), np.nan))


def no_ei(source):
    facts = {n: RUN.value(n) for n in ("instrument", "chopper", "frequency", "lattice")}
    write_nexus(magnon(40, 32, run=Run().updated("made", **facts)), source, overwrite=True)


def no_facts(source):
    write_nexus(magnon(40, 32, run=Run()), source, overwrite=True)


def no_lattice(source):
    facts = {n: RUN.value(n) for n in ("instrument", "ei", "chopper", "frequency")}
    write_nexus(magnon(40, 32, run=Run().updated("made", **facts)), source, overwrite=True)


def whole(source):
    pass


#: name -> (what is done to the file, options, exit status, pieces of the message: found, expected, remedy)
BAD = {
    "file not there": (lambda p: p.unlink(), [], 3, ["measured.nxs does not exist", "check the name and the folder"]),
    "not HDF5": (text_file, [], 3, ["is not an HDF5 file", "give a file saved by SaveMD"]),
    "no workspace": (
        no_workspace,
        [],
        3,
        [
            "contains no workspace: the top groups found are results",
            "expected MDHistoWorkspace",
            "save the data with SaveMD",
        ],
    ),
    "events": (events, [], 3, ["an MDEventWorkspace", "expected a histogram", "bin it first with BinMD"]),
    "truncated": (truncated, [], 3, ["is truncated or damaged", "copy or save the file again"]),
    "wrong shape": (
        wrong_shape,
        [],
        3,
        ["errors_squared has shape (32, 39)", "(32, 40) is expected", "save the workspace again"],
    ),
    "strings": (
        strings,
        [],
        3,
        ["data/signal contains strings", "expected real numbers", "save the real data as float64"],
    ),
    "complex": (
        complex_numbers,
        [],
        3,
        ["data/signal contains complex numbers", "expected real numbers", "save the real data as float64"],
    ),
    "edges of strings": (integers_in_place_of_edges, [], 3, ["data/DeltaE contains strings", "expected real numbers"]),
    "no energy axis": (
        no_energy,
        [],
        3,
        ["no energy axis among '[H,0,0]', '[0,K,0]'", "give data with an axis 'DeltaE'"],
    ),
    "nothing valid": (nothing_valid, [], 3, ["none of the 1280 bins is valid", "check the binning and the mask"]),
    "Ei missing": (no_ei, [], 4, ["the incident energy is not known", "(--ei): ", "meV on MAPS"]),
    "instrument missing": (no_facts, [], 4, ["the instrument is not known", "(--instrument): one of MAPS", "HYSPEC"]),
    "chopper missing": (
        no_facts,
        ["--instrument", "MERLIN", "--ei", "60"],
        4,
        ["the chopper package is not known", "(--chopper): one of G, S on MERLIN"],
    ),
    "frequency missing": (
        no_facts,
        ["--instrument", "MERLIN", "--ei", "60", "--chopper", "G"],
        4,
        ["the chopper frequency is not known", "(--frequency): 50 to 600 Hz on MERLIN"],
    ),
    "lattice missing": (no_lattice, [], 4, ["'[H,0,0]' is in reciprocal lattice units", "(--lattice a,b,c"]),
    "lattice of text": (
        whole,
        ["--lattice", "4,4"],
        4,
        ["'4,4' is not three or six finite numbers", "e.g. --lattice 4.2"],
    ),
    "lattice infinite": (whole, ["--lattice", "4,4,inf"], 4, ["'4,4,inf' is not three or six finite numbers"]),
    "lattice without volume": (whole, ["--lattice", "4,4,0"], 3, ["has no volume", "give the six lattice"]),
    "Ei out of range": (whole, ["--ei", "50000"], 4, ["Ei = 50000 meV is outside the range of MAPS", "(--ei)"]),
    "Ei not a number": (whole, ["--ei", "nan"], 4, ["Ei = nan meV is outside the range of MAPS", "(--ei)"]),
    "axis beyond Ei": (
        whole,
        ["--ei", "40", "--frequency", "200"],
        4,
        ["lies above the incident energy, 40 meV", "transfers up to 40 meV are possible", "cut the energy axis"],
    ),
    "unknown instrument": (
        whole,
        ["--instrument", "NIMROD"],
        4,
        ["instrument 'NIMROD' is not known; the instruments are MAPS, MAPS-2000, MERLIN", "(--instrument)"],
    ),
    "unknown chopper": (
        whole,
        ["--chopper", "Z"],
        4,
        ["chopper package 'Z' is not known for MAPS; it has A, B, S", "(--chopper)"],
    ),
    "frequency out of range": (
        whole,
        ["--frequency", "9000"],
        4,
        ["9000 Hz is outside the range of MAPS", "(--frequency)"],
    ),
    "width factor": (whole, ["--width-factor", "-1"], 4, ["the width factor is -1", "give a positive number"]),
    "unknown direction": (
        whole,
        ["--direction", "sideways"],
        5,
        ["the direction 'sideways' is not known", "add-resolution, remove-resolution, sim", "(--direction)"],
    ),
    "no such model": (
        whole,
        ["--model", "best"],
        5,
        ["there is no model 'best'", "neither a bundled name (add-resolution-1d"],
    ),
    "other direction": (
        whole,
        ["--model", "add-resolution-2d"],
        5,
        ["is for add-resolution, but remove-resolution was requested", "use --direction add-resolution"],
    ),
    "unknown device": (whole, ["--device", "tpu"], 7, ["the device 'tpu' is not known", "auto, cpu, cuda"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_clear_error_and_nothing_is_written(insgan, measured, case):
    spoil, options, status, pieces = BAD[case]
    spoil(measured)
    before = listing(measured.parent)
    code, out, err = insgan("apply", measured, measured.with_name("out.nxs"), *options)
    assert (code, out) == (status, "")
    assert err.startswith("insgan: ") and err.count("\n") == 1 and err.count("Fix: ") == 1
    for piece in pieces:
        assert piece in err
    assert listing(measured.parent) == before


def test_output_folder_missing(insgan, measured):
    code, _, err = insgan("apply", measured, measured.parent / "nowhere" / "out.nxs")
    assert code == 6 and "nowhere does not exist" in err and "create the folder first" in err
    assert sorted(listing(measured.parent)) == ["measured.nxs"]


def test_output_folder_read_only(insgan, measured, monkeypatch):
    folder = measured.parent / "locked"
    folder.mkdir(mode=0o555)
    if os.access(folder, os.W_OK):  # the superuser may write anywhere
        real = os.access
        monkeypatch.setattr(os, "access", lambda path, mode: path != folder and real(path, mode))
    code, _, err = insgan("apply", measured, folder / "out.nxs")
    assert code == 6 and f"the output folder {folder} is read-only" in err and "with write permission" in err
    assert list(folder.iterdir()) == []


def test_output_is_a_folder(insgan, measured):
    code, _, err = insgan("apply", measured, measured.parent, "--overwrite")
    assert code == 6 and "is a folder" in err and "name a file inside it" in err


def test_cuda_asked_for_and_missing(insgan, measured):
    runtime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" in runtime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    code, _, err = insgan("apply", measured, measured.with_name("out.nxs"), "--device", "cuda")
    assert code == 7 and "cuda was requested, but this ONNX Runtime has only" in err and "--device cpu" in err
    assert sorted(listing(measured.parent)) == ["measured.nxs"]


# ------------------------------------------------------------------------------------------------ bad models


@pytest.fixture
def model(tmp_path_factory) -> Path:
    """A copy of a bundled model."""
    folder = tmp_path_factory.mktemp("model") / "mine"
    shutil.copytree(cards.find_model("remove-resolution-2d").path.parent, folder)
    return folder


def graph(path: Path, *, rank: int = 4, without: str = "") -> None:
    """An ONNX model of the right names that gives its signal back."""
    onnx = pytest.importorskip("onnx")
    make, number = onnx.helper, onnx.TensorProto.FLOAT
    grid = ["N", "C", *(f"n{i}" for i in range(rank - 2))]
    inputs = [make.make_tensor_value_info(n, number, grid) for n in cards.INPUTS if n != without]
    outputs = [make.make_tensor_value_info(n, number, grid) for n in cards.OUTPUTS if n != without]
    nodes = [make.make_node("Identity", ["signal"], [n]) for n in cards.OUTPUTS if n != without]
    made = make.make_model(make.make_graph(nodes, "test", inputs, outputs), opset_imports=[make.make_opsetid("", 17)])
    made.ir_version = 9
    path.write_bytes(made.SerializeToString())


def damaged(folder):
    content = bytearray((folder / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "model.onnx").write_bytes(bytes(content))


def renew_card(folder, **changes):
    """The card with these changes, and the hash of the file as it is."""
    card = cards.ModelCard.model_validate_json((folder / "card.json").read_bytes())
    cards.write_card(card.model_copy(update=changes), folder / "model.onnx")


def no_onnx(folder):
    (folder / "model.onnx").write_bytes(b"not a model")
    renew_card(folder)


def wrong_inputs(folder):
    graph(folder / "model.onnx", without="width")
    renew_card(folder)


def wrong_outputs(folder):
    graph(folder / "model.onnx", without="log_variance")
    # the input of that name is none of the contract's, so only the output is missing
    renew_card(folder)


def graph_of_three_dimensions(folder):
    graph(folder / "model.onnx", rank=5)
    renew_card(folder)


def no_card(folder):
    (folder / "card.json").unlink()


def card_of_text(folder):
    (folder / "card.json").write_text("{}")


BAD_MODELS = {
    "damaged": (damaged, ["has the hash", "but its card card.json says", "copy the model and its card again"]),
    "no ONNX": (no_onnx, ["is no ONNX file: it cannot be parsed", "install or export the model again"]),
    "inputs": (wrong_inputs, ["takes {", "'width': 4", "export the model with this version"]),
    "outputs": (wrong_outputs, ["gives ['convolved', 'features', 'translated']", "'log_variance'", "export the model"]),
    "graph of 3D": (graph_of_three_dimensions, ["'signal': 5", "a model of 2 dimensions takes", "'signal': 4"]),
    "card of 3D": (
        lambda f: renew_card(f, dimensions=3),
        ["needs 3 axes", "and the data have 2", "omit --model"],
    ),
    "no card": (no_card, ["has no card: neither model.json nor card.json", "keep the card"]),
    "card": (card_of_text, ["is not valid: name: Field required", "use the card that was written with the model"]),
}


@pytest.mark.parametrize("case", BAD_MODELS)
def test_bad_model_is_one_clear_error_and_nothing_is_written(insgan, measured, model, case):
    spoil, pieces = BAD_MODELS[case]
    spoil(model)
    code, out, err = insgan("apply", measured, measured.with_name("out.nxs"), "--model", model)
    assert (code, out) == (5, "")
    assert err.startswith("insgan: ") and err.count("Fix: ") == 1
    for piece in pieces:
        assert piece in err
    assert sorted(listing(measured.parent)) == ["measured.nxs"]


def test_a_damaged_bundled_model_harms_nothing_else(insgan, measured, tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("bundle") / "models"
    shutil.copytree(cards.models_folder(), folder)
    damaged(folder / "add-resolution-2d")
    monkeypatch.setattr(cards, "models_folder", lambda: folder)
    assert insgan("inspect", measured)[0] == 0
    assert insgan("apply", measured, measured.with_name("removed.nxs"))[0] == 0
    code, _, err = insgan("apply", measured, measured.with_name("added.nxs"), "--direction", "add-resolution")
    assert code == 5 and "has the hash" in err
    code, _, err = insgan("models")
    assert code == 5 and "has the hash" in err


# ------------------------------------------------------------------------------------------------ inspect and models


def test_inspect_a_file(insgan, measured):
    code, out, _ = insgan("inspect", measured)
    assert code == 0
    assert out.splitlines() == [
        str(measured),
        "  axis 0: [H,0,0]         40 bins of 0.05, -1 to 1 r.l.u. (HKL)",
        "  axis 1: DeltaE          32 bins of 1.875, 0 to 60 DeltaE (General Frame)",
        "  instrument: MAPS (log instrument_name of experiment0)",
        "  ei: 100 (log Ei of experiment0)",
        "  chopper: S (log chopper_package of experiment0)",
        "  frequency: 400 (log chopper_frequency of experiment0)",
        "  temperature: not known",
        "  lattice: [4, 4, 13, 90, 90, 90] (oriented lattice of experiment0)",
        "  sample: cuboid of 10 x 10 x 10 mm (across the beam, vertical, along the beam) (default)",
        "  mosaic: 0 degrees FWHM (default)",
        "  divergence: FWHM 0.512 degrees (horizontal) and 0.512 degrees (vertical) (default: the aperture of MAPS at "
        "this Ei)",
        "  valid: 1184 of 1280 bins (92.5%)",
        "  for apply: nothing is missing",
    ]


def test_inspect_a_file_as_json(insgan, measured):
    sheet = json.loads(insgan("inspect", measured, "--json")[1])
    assert set(sheet) == {
        "file",
        "title",
        "axes",
        "run",
        "bins",
        "valid_fraction",
        "valid_bins_without_error",
        "elastic_line",
        "missing_for_apply",
        "missing_run_facts",
        "notes",
    }
    assert sheet["axes"][1] == {
        "name": "DeltaE",
        "id": "DeltaE",
        "unit": "DeltaE",
        "frame": "General Frame",
        "minimum": 0.0,
        "maximum": 60.0,
        "bins": 32,
    }
    assert sheet["run"]["ei"] == {"value": 100.0, "source": "log Ei of experiment0"}
    assert sheet["run"]["lattice"]["value"] == [4.0, 4.0, 13.0, 90.0, 90.0, 90.0]
    assert sheet["valid_fraction"] == pytest.approx(0.925)
    assert sheet["missing_for_apply"] is None and sheet["missing_run_facts"] == []


@pytest.mark.parametrize(
    ("spoil", "problem", "facts"),
    [
        (no_facts, "the instrument is not known", ["instrument", "ei", "chopper", "frequency", "lattice"]),
        (no_ei, "the incident energy is not known", ["ei"]),
        (no_lattice, "the lattice is not known", ["lattice"]),
        (no_energy, "no energy axis", []),
        (nothing_valid, "no bin is valid", []),
    ],
)
def test_inspect_says_what_is_missing(insgan, measured, spoil, problem, facts):
    spoil(measured)
    code, out, _ = insgan("inspect", measured, "--json")
    sheet = json.loads(out)
    assert code == 0 and problem in sheet["missing_for_apply"] and sheet["missing_run_facts"] == facts
    _, text, _ = insgan("inspect", measured)
    assert f"  for apply: {sheet['missing_for_apply']}" in text
    assert ("  all missing options: --instrument, --ei, --chopper" in text) == (len(facts) > 1)


def test_inspect_notices_valid_bins_beyond_ei(insgan, tmp_path, monkeypatch):
    run = RUN.updated("made", ei=40.0, frequency=200.0)
    source = tmp_path / "beyond.nxs"
    spectrum = magnon(40, 32, run=run)
    write_nexus(spectrum, source)
    monkeypatch.setattr(apply_module, "SLAB_BINS", 100)  # a file that is read in parts
    problem = json.loads(insgan("inspect", source, "--json")[1])["missing_for_apply"]
    assert "lies above the incident energy, 40 meV" in problem and "cut the energy axis" in problem
    below = spectrum.valid & (spectrum.axes[1].centers < 40)
    write_nexus(spectrum.replace(signal=np.where(below, spectrum.signal, np.nan)), source, overwrite=True)
    assert json.loads(insgan("inspect", source, "--json")[1])["missing_for_apply"] is None
    assert insgan("apply", source, tmp_path / "out.nxs")[0] == 0


@pytest.mark.parametrize(
    ("spoil", "piece"), [(text_file, "is not an HDF5 file"), (events, "BinMD"), (truncated, "truncated")]
)
def test_inspect_of_no_data_file(insgan, measured, spoil, piece):
    spoil(measured)
    code, out, err = insgan("inspect", measured)
    assert (code, out) == (3, "") and piece in err


def test_inspect_a_model(insgan, model):
    card = cards.read_model(model).card
    for name in ("remove-resolution-2d", model, model / "model.onnx"):
        code, out, _ = insgan("inspect", name)
        assert code == 0
        assert out.startswith(f"remove-resolution-2d version {card.version} (")
        assert f"  sha256 {card.sha256}\n" in out and "  licence GPL-3.0-or-later" in out
        for table in card.metrics:
            assert table.title in out and all(row in out for row in table.rows)
    sheet = json.loads(insgan("inspect", model, "--json")[1])
    assert sheet["path"] == str(model / "model.onnx")
    assert (sheet["direction"], sheet["dimensions"]) == ("remove-resolution", 2)


def test_models(insgan, tmp_path, monkeypatch):
    _, text, _ = insgan("models")
    _, listed, _ = insgan("models", "--json")
    names = [m["name"] for m in json.loads(listed)]
    assert names == cards.bundled_names() and {m["direction"] for m in json.loads(listed)} == set(DIRECTIONS)
    assert text.startswith("model ") and max(map(len, text.splitlines())) <= 120
    details = insgan("models", "--details")[1]
    for model in json.loads(listed):
        (line,) = (line for line in text.splitlines() if line.startswith(f"{model['name']} "))
        counted = [i for i, name in enumerate(model["metrics"][0]["columns"]) if name == "300 peak counts"]
        column = counted[0] if model["name"] != "simulation-to-experiment-2d" else 0  # simulations have no noise
        rows = {name: values[column] for name, values in model["metrics"][0]["rows"].items()}
        own = rows.pop("this model")
        assert f" {own:.3f} " in line and f" {min(rows.values()):.3f} ({min(rows, key=rows.get)})" in line
        assert re.search(rf"^{model['name']} version ", details, re.MULTILINE) and model["sha256"] in details
    monkeypatch.setattr(cards, "models_folder", lambda: tmp_path)
    assert insgan("models")[1] == "no models are bundled with this installation\n"
    assert insgan("models", "--json")[1] == "[]\n"


# ------------------------------------------------------------------------------------------------ plot and demo


@pytest.mark.parametrize(
    ("sizes", "names"),
    [
        ((1, 40), ("[H,0,0]", "DeltaE")),
        ((30, 20), ("[H,0,0]", "DeltaE")),
        ((12, 8, 10), ("[H,0,0]", "[0,K,0]", "DeltaE")),
    ],
)
def test_plot(insgan, tmp_path, sizes, names):
    pytest.importorskip("matplotlib")
    source = tmp_path / "data.nxs"
    write_nexus(magnon(*sizes, names=names), source)
    code, out, _ = insgan("plot", source)
    assert (code, out) == (0, f"wrote {tmp_path / 'data.png'}\n")
    picture = (tmp_path / "data.png").read_bytes()
    assert picture.startswith(b"\x89PNG") and len(picture) > 10_000
    assert sorted(listing(tmp_path)) == ["data.nxs", "data.png"]


def test_plot_output(insgan, measured):
    pytest.importorskip("matplotlib")
    picture = measured.with_name("picture.pdf")
    assert insgan("plot", measured, "--output", picture)[0] == 0
    first = picture.read_bytes()
    assert first.startswith(b"%PDF")
    code, _, err = insgan("plot", measured, "--output", picture)
    assert code == 6 and "already exists" in err and "--overwrite" in err
    assert picture.read_bytes() == first
    assert insgan("plot", measured, "--output", picture, "--overwrite")[0] == 0
    code, _, err = insgan("plot", measured, "--output", measured.with_name("picture.doc"))
    assert code == 6 and "has the suffix '.doc'" in err and "use a name that ends in" in err
    assert sorted(listing(measured.parent)) == ["measured.nxs", "picture.pdf"]


def test_demo_twice(insgan, tmp_path):
    pytest.importorskip("matplotlib")
    results = ["resolution_added.nxs", "resolution_removed.nxs"]
    files = ["calculated.nxs", "demo.png", "measured.nxs", "report.html", *results]
    for _ in range(2):
        code, out, _ = insgan("demo", "--output", tmp_path / "new" / "demo")
        assert code == 0
        assert [Path(line.split()[-1]).name for line in out.splitlines()] == [
            "measured.nxs",
            "resolution_removed.nxs",
            "calculated.nxs",
            "resolution_added.nxs",
            "demo.png",
            "report.html",
        ]
        assert sorted(listing(tmp_path / "new" / "demo")) == files
    for before, after in (("measured", "resolution_removed"), ("calculated", "resolution_added")):
        first, second = (read_nexus(tmp_path / "new" / "demo" / f"{name}.nxs") for name in (before, after))
        np.testing.assert_array_equal(second.valid, first.valid)
        assert (second.variance[second.valid] > 0).all()


def test_demo_where_no_folder_can_be(insgan, tmp_path):
    (tmp_path / "demo").write_text("in the way")
    code, _, err = insgan("demo", "--output", tmp_path / "demo")
    assert code == 6 and "cannot be made (File exists)" in err and "give another --output" in err


# ------------------------------------------------------------------------------------------------ as a program


def python(*words, **options) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        **options,
    )


def test_python_m(measured):
    process = python("-m", "mantid_insgan", "apply", "measured.nxs", "out.nxs", "--json", cwd=measured.parent)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "")
    assert json.loads(out)["output"] == "out.nxs"


def test_entry_point_and_exit_status(tmp_path):
    code = "from mantid_insgan.cli.main import main; main()"
    process = python("-c", code, "inspect", "missing.nxs", cwd=tmp_path)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (3, "")
    assert err == "insgan: missing.nxs does not exist. Fix: check the name and the folder.\n"


def test_version_help_and_wrong_usage(insgan):
    from mantid_insgan import __version__

    assert insgan("--version")[:2] == (0, f"insgan {__version__}\n")
    code, out, _ = insgan("--help")
    assert code == 0 and all(name in out for name in ("apply", "inspect", "models", "plot", "demo"))
    for words in (["apply"], ["apply", "a", "b", "--ei", "much"], ["inspect", "a", "--nonsense"], ["nonsense"]):
        code, out, err = insgan(*words)
        assert (code, out) == (2, "") and "Usage: insgan" in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_nothing_half_written(tmp_path, number):
    write_nexus(magnon(64, 400, 64, names=("[H,0,0]", "[0,K,0]", "DeltaE")), tmp_path / "long.nxs")
    (tmp_path / "out.nxs").write_bytes(b"of an earlier run")
    direction = ("--direction", "add-resolution")
    process = python("-m", "mantid_insgan", "apply", "long.nxs", "out.nxs", "--overwrite", *direction, cwd=tmp_path)
    try:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob(".out.nxs.*.part")):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(number)
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130
    assert out == "" and err.endswith("insgan: interrupted; no half-written file is left\n")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["long.nxs", "out.nxs"]
    assert (tmp_path / "out.nxs").read_bytes() == b"of an earlier run"


def made_a_terminal(monkeypatch) -> io.StringIO:
    """A standard error that says that it is a terminal; called in the test, because pytest sets its own before."""
    stream = io.StringIO()
    stream.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    return stream


def seen(stream, text: str) -> bool:
    """Waits until a text stands in a stream."""
    deadline = time.monotonic() + 60
    while text not in stream.getvalue():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def test_on_a_terminal_a_short_job_shows_its_title_and_erases_it(monkeypatch):
    terminal = made_a_terminal(monkeypatch)
    with progress.progress("work") as bar:
        bar(0.1)
        assert terminal.getvalue() == "\r\x1b[2Kwork", "at once"
    assert terminal.getvalue() == "\r\x1b[2Kwork\r\x1b[2K"


def test_on_a_terminal_a_long_job_has_a_bar_that_moves_by_itself(monkeypatch):
    terminal = made_a_terminal(monkeypatch)
    monkeypatch.setattr(progress, "_PATIENCE", 0.0)
    with progress.progress("work") as bar:
        assert seen(terminal, "work \x1b"), "without any report"
        bar(0.25)
        assert seen(terminal, "25%")
        bar.say("writing")
        assert seen(terminal, "writing \x1b")
        length = len(terminal.getvalue())
        while len(terminal.getvalue()) == length:  # the bar of unknown length goes to and fro
            time.sleep(0.01)
        bar.tell("chi-squared 1.2")
        assert seen(terminal, "writing: chi-squared 1.2")


def test_off_a_terminal_there_are_lines(insgan, monkeypatch):
    monkeypatch.setattr(progress, "_EVERY", 0.01)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)

    def awaited(pattern):
        deadline = time.monotonic() + 60
        while not re.fullmatch(pattern, insgan.shown[-1]):
            assert time.monotonic() < deadline, insgan.shown
            time.sleep(0.01)

    with progress.progress("work") as bar:
        assert insgan.shown[0] == "work"
        awaited("work: \\d+ s")
        bar(0.25)
        awaited("work: 25%, \\d+ s")
        bar.say("writing")
        awaited("writing: \\d+ s")
        bar.tell("chi-squared 1.2")
        awaited("writing: \\d+ s, chi-squared 1.2")
    with progress.progress("other", quiet=True) as bar:
        bar(0.5)
    assert "other" not in insgan.shown


def test_apply_says_at_once_what_it_does(measured):
    """Before it imports what the work needs; the time is measured by benchmarks, not here."""
    code = (
        "import sys\nfrom mantid_insgan.cli import progress\n"
        "def said(text):\n    print(text, 'numpy' in sys.modules)\n    sys.exit()\n"
        "progress._Lines._print = staticmethod(said)\n"
        "from mantid_insgan.cli.main import main\nmain()"
    )
    process = python("-c", code, "apply", "measured.nxs", "out.nxs", cwd=measured.parent)
    assert process.communicate(timeout=120)[0] == "remove-resolution: measured.nxs False\n"


def test_an_interrupt_that_a_library_swallows_ends_the_work_at_the_next_step(insgan, measured, monkeypatch):
    """What is raised inside a callback or a destructor of a library is printed and forgotten."""
    real = apply_module.slabs

    def interrupted(*arguments):
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        return real(*arguments)

    monkeypatch.setattr(apply_module, "slabs", interrupted)
    code, out, err = insgan("apply", measured, measured.with_name("out.nxs"), "--json")
    assert (code, out, err) == (130, "", "insgan: interrupted; no half-written file is left\n")
    assert sorted(listing(measured.parent)) == ["measured.nxs"]
