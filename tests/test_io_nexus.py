"""MDHistoWorkspace NeXus files: layouts, round trips, regions, what is kept of a template, and each error."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mantid_insgan.core.files import check_output
from mantid_insgan.core.run import Fact, Lattice, Run
from mantid_insgan.core.spectrum import Axis, Spectrum
from mantid_insgan.errors import InputError, InsganError, OutputError
from mantid_insgan.io import (
    SpectrumFile,
    SpectrumWriter,
    open_spectrum,
    read_nexus,
    read_spectrum,
    write_nexus,
)
from mantid_insgan.io.nexus import ENTRY
from mantid_insgan.io.region import cut

MANTID_FILES = [
    "mantid/mdhisto_2d_expinfo.nxs",
    "mantid/mdhisto_2d_nan.nxs",
    "mantid/mdhisto_3d.nxs",
    "mantid/mdhisto_3d_binmd_integrated.nxs",
    "mantid/mdhisto_3d_masked.nxs",
    "mantid/mdhisto_4d.nxs",
    "mantid/mdhisto_slice_maps.nxs",
    "mantid/mdhisto_volume_maps_4d.nxs",
    "data/mdhisto/1Dcut_sym_0p00T_K.nxs",
]

HAZARDS = [np.nan, np.inf, -np.inf, 1e18, -1e18, -1e20, -1e30, 0.0, -0.0]


def axes_of(*sizes):
    names = ["[H,0,0]", "[0,K,0]", "[0,0,L]", "DeltaE"]
    units = ["r.l.u.", "r.l.u.", "r.l.u.", "meV"]
    picked = range(len(sizes)) if len(sizes) < 4 else range(4)
    frame = {"meV": "General Frame", "r.l.u.": "HKL"}
    return tuple(
        Axis(names[i], np.linspace(-1, 1 + i, n + 1), units[i], frame[units[i]])
        for i, n in zip(picked, sizes, strict=True)
    )


def spectrum_of(*sizes, seed=0, **fields):
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=sizes)
    return Spectrum(
        signal, rng.random(sizes), axes_of(*sizes), num_events=rng.integers(0, 9, sizes), **{"title": "", **fields}
    )


def write_v1(path, spectrum, *, frames=True):
    """A file as SaveMD wrote it before version 2: flat arrays, each dimension as XML in an attribute."""
    with h5py.File(path, "w") as file:
        entry = file.create_group(ENTRY)
        entry.attrs["NX_class"] = np.bytes_("NXentry")
        entry["coordinate_system"] = np.array([spectrum.coordinate_system], np.uint32)
        entry["dimensions"] = np.array([spectrum.ndim], np.int32)
        entry["transform_to_orig"] = np.eye(spectrum.ndim + 1, dtype=np.float32)
        for i, axis in enumerate(spectrum.axes):
            frame = f"<Frame>{axis.frame}</Frame>" if frames else ""
            bounds = f"<UpperBounds>{axis.edges[-1]:.4f}</UpperBounds><LowerBounds>{axis.edges[0]:.4f}</LowerBounds>"
            entry.attrs[f"dimension{i}"] = np.bytes_(
                f'<Dimension ID="{axis.id}"><Name>{axis.name}</Name><Units>{axis.unit}</Units>{frame}{bounds}'
                f"<NumberOfBins>{len(axis):04d}</NumberOfBins></Dimension>"
            )
        entry["signal"] = spectrum.signal.ravel(order="F")
        entry["errors_squared"] = spectrum.variance.ravel(order="F")
        entry["num_events"] = spectrum.num_events.ravel(order="F")
        entry["mask"] = spectrum.masked.ravel(order="F").astype(np.int8)
    return path


def visited(group):
    """All datasets and attributes below a group, as bytes."""
    found = {}

    def visit(name, item):
        for key, value in item.attrs.items():
            found[f"{name}@{key}"] = np.asarray(value).tobytes()
        if isinstance(item, h5py.Dataset):
            found[name] = (item.dtype, item.shape, np.asarray(item[()]).tobytes())

    group.visititems(visit)
    return found


# ---------------------------------------------------------------------------------------------- files of Mantid


@pytest.mark.parametrize("name", MANTID_FILES)
def test_mantid_file_reads_as_the_raw_arrays(shared, name):
    with h5py.File(shared / name) as file:
        data = file["MDHistoWorkspace/data"]
        raw = {key: data[key][()].T for key in ("signal", "errors_squared", "num_events", "mask")}
        ids = data["signal"].attrs["axes"].decode().split(":")[::-1]
        edges = [data[i][()] for i in ids]
        names = [data[i].attrs["long_name"].decode() for i in ids]
    spectrum = read_nexus(shared / name)
    np.testing.assert_array_equal(spectrum.signal, raw["signal"])
    np.testing.assert_array_equal(spectrum.variance, raw["errors_squared"])
    np.testing.assert_array_equal(spectrum.num_events, raw["num_events"])
    np.testing.assert_array_equal(spectrum.masked, raw["mask"] != 0)
    assert [a.id for a in spectrum.axes] == ids
    assert [a.name for a in spectrum.axes] == names
    for axis, expected in zip(spectrum.axes, edges, strict=True):
        np.testing.assert_array_equal(axis.edges, expected)


@pytest.mark.parametrize("name", MANTID_FILES)
@pytest.mark.parametrize("keep", [True, False])
def test_mantid_file_survives_writing(shared, tmp_path, name, keep):
    before = read_nexus(shared / name)
    write_nexus(before, tmp_path / "out.nxs", template=shared / name if keep else None)
    after = read_nexus(tmp_path / "out.nxs")
    assert before.identical(after)
    for fact in ("ei", "frequency", "temperature", "instrument"):
        assert after.run.value(fact) == before.run.value(fact)
    if before.run.lattice:
        np.testing.assert_array_equal(after.run.lattice.value.ub, before.run.lattice.value.ub)


@pytest.mark.parametrize("name", MANTID_FILES)
def test_region_equals_part_of_the_whole(shared, name):
    whole = read_nexus(shared / name)
    rng = np.random.default_rng(1)
    with SpectrumFile(shared / name) as source:
        assert (source.shape, source.ndim) == (whole.shape, whole.ndim)
        for _ in range(5):
            starts = [int(rng.integers(0, n)) for n in whole.shape]
            region = tuple(slice(s, int(rng.integers(s + 1, n + 1))) for s, n in zip(starts, whole.shape, strict=True))
            part = source.read(region)
            np.testing.assert_array_equal(part.signal, whole.signal[region])
            np.testing.assert_array_equal(part.variance, whole.variance[region])
            np.testing.assert_array_equal(part.masked, whole.masked[region])
            np.testing.assert_array_equal(part.axes[0].edges, whole.axes[0].edges[starts[0] : region[0].stop + 1])


def test_facts_say_where_they_come_from(shared):
    run = read_nexus(shared / "mantid/mdhisto_slice_maps.nxs").run
    assert run.ei == Fact(100.0, "log Ei of experiment0")
    assert run.frequency == Fact(300.0, "log chopper_frequency of experiment0")
    assert run.temperature == Fact(5.0, "log temperature of experiment0")
    assert run.lattice.source == "oriented lattice of experiment0"
    assert (run.lattice.value.a, run.lattice.value.c) == (4.215, 13.03)
    assert run.instrument is None and run.chopper is None


def test_no_experiment_and_crystallography(shared, tmp_path):
    cut = read_nexus(shared / "data/mdhisto/1Dcut_sym_0p00T_K.nxs")
    assert cut.q_convention == "Crystallography"
    assert cut.run.ei is None
    assert cut.run.value("instrument") == "CNCS" and "/SNS/" in cut.run.instrument.source
    write_nexus(cut, tmp_path / "out.nxs")
    with h5py.File(tmp_path / "out.nxs") as file:
        assert file[ENTRY].attrs["QConvention"] == b"Crystallography"


@pytest.mark.parametrize("name", MANTID_FILES)
def test_other_groups_are_kept_to_the_byte(shared, tmp_path, name):
    source = shared / name
    history = {"name": "ApplyResolutionGAN", "version": 1, "parameters": {"Direction": "remove-resolution"}}
    write_nexus(read_nexus(source), tmp_path / "out.nxs", template=source, history=history)
    with h5py.File(source) as old, h5py.File(tmp_path / "out.nxs") as new:
        before, after = visited(old[ENTRY]), visited(new[ENTRY])
        n = len([k for k in old[ENTRY].get("process", ()) if k.startswith("MantidAlgorithm_")])
    rewritten = {k for k in before if k.startswith("data")}
    assert {k: v for k, v in before.items() if k not in rewritten} == {
        k: after[k] for k in before if k not in rewritten
    }
    added = {k for k in after if k not in before and "@" not in k}
    note = f"process/MantidAlgorithm_{n + 1}/"
    assert {note + part for part in ("author", "data", "description", "json")} <= added


# ---------------------------------------------------------------------------------------------------- round trips

finite = st.floats(-1e6, 1e6)
values = st.one_of(finite, st.sampled_from(HAZARDS))
names = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z"), exclude_characters=":/."), min_size=1)


def says_no_unit(name):
    """Whether an axis of this name may have any unit."""
    axis = Axis(name, [0.0, 1.0], "")
    return not (axis.is_energy or axis.is_modulus_q)


@st.composite
def spectra(draw):
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
    size = int(np.prod(shape))
    array = lambda element: np.array(draw(st.lists(element, min_size=size, max_size=size))).reshape(shape)  # noqa: E731
    ids = draw(
        st.lists(names.filter(lambda n: n not in {"signal", "errors_squared", "num_events", "mask"}),
                 min_size=len(shape), max_size=len(shape), unique=True)
    )  # fmt: skip
    axes = []
    for n, id_ in zip(shape, ids, strict=True):
        low, width = draw(st.floats(-100, 100)), draw(st.floats(0.01, 10))
        edges = low + width * np.arange(n + 1)
        if draw(st.booleans()):
            edges = edges.astype(np.float32)
        frame = draw(st.sampled_from(["HKL", "QSample", "QLab", "General Frame", "Unknown frame"]))
        axes.append(
            Axis(
                draw(names.filter(says_no_unit)),
                edges,
                draw(st.sampled_from(["r.l.u.", "meV", "DeltaE", "A^-1", ""])),
                frame,
                id_,
            )
        )
    return Spectrum(
        array(values),
        array(values),
        tuple(axes),
        num_events=array(st.floats(0, 1e9)),
        masked=array(st.booleans()),
        coordinate_system=draw(st.integers(0, 3)),
        visual_normalization=draw(st.integers(0, 2)),
        q_convention=draw(st.sampled_from(["Inelastic", "Crystallography"])),
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(spectra())
def test_round_trip_is_exact(tmp_path, spectrum):
    write_nexus(spectrum, tmp_path / "out.nxs", overwrite=True)
    assert spectrum.identical(read_nexus(tmp_path / "out.nxs"))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(spectrum=spectra(), axis=st.integers(0, 3))
def test_slabs_give_the_same_file_as_one_write(tmp_path, spectrum, axis):
    axis %= spectrum.ndim
    write_nexus(spectrum, tmp_path / "whole.nxs", overwrite=True)
    with SpectrumFile(tmp_path / "whole.nxs") as source:
        with SpectrumWriter(tmp_path / "slabs.nxs", source, overwrite=True) as writer:
            for i in range(spectrum.shape[axis]):
                region = tuple(slice(i, i + 1) if a == axis else slice(None) for a in range(spectrum.ndim))
                writer.write(region, source.read(region))
    assert spectrum.identical(read_nexus(tmp_path / "slabs.nxs"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["slabs.nxs", "whole.nxs"]


def test_full_run_survives_without_template(tmp_path):
    lattice = Lattice(4.0, 5.0, 6.0, 90.0, 95.0, 120.0, ub=np.arange(9.0).reshape(3, 3))
    run = Run().updated(
        "test", instrument="MAPS", ei=120.0, chopper="S", frequency=400.0, temperature=5.0, lattice=lattice
    )
    write_nexus(spectrum_of(3, 4, run=run, title="a run"), tmp_path / "out.nxs")
    after = read_nexus(tmp_path / "out.nxs")
    for fact in ("instrument", "ei", "chopper", "frequency", "temperature"):
        assert after.run.value(fact) == run.value(fact)
    kept = after.run.value("lattice")
    assert [getattr(kept, n) for n in ("a", "b", "c", "alpha", "beta", "gamma")] == [4.0, 5.0, 6.0, 90.0, 95.0, 120.0]
    np.testing.assert_array_equal(kept.ub, lattice.ub)
    assert after.title == "a run"


def test_bins_made_invalid_are_read_back_as_invalid(tmp_path):
    spectrum = spectrum_of(3, 4)
    valid = np.ones((3, 4), bool)
    valid[1, 2] = False
    write_nexus(spectrum.replace(valid=valid), tmp_path / "out.nxs")
    after = read_nexus(tmp_path / "out.nxs")
    np.testing.assert_array_equal(after.valid, valid)
    np.testing.assert_array_equal(after.signal[valid], spectrum.signal[valid])


def test_bins_never_written_are_not_measured(tmp_path):
    spectrum = spectrum_of(3, 4)
    with SpectrumWriter(tmp_path / "out.nxs", spectrum) as writer:
        region = (slice(0, 2), slice(0, 4))
        writer.write(region, cut(spectrum, region))
    after = read_nexus(tmp_path / "out.nxs")
    assert after.valid[:2].all() and not after.valid[2].any()


# ----------------------------------------------------------------------------------------------------- LoadMD's rules


def fixed_length(owner, name):
    dtype = owner.attrs.get_id(name).dtype
    return dtype.kind == "S" and owner.attrs.get_id(name).shape == ()


def test_written_file_obeys_loadmd(tmp_path):
    spectrum = spectrum_of(2, 3, 4, 5, run=Run().updated("test", ei=50.0), coordinate_system=3)
    write_nexus(spectrum, tmp_path / "out.nxs", history={"name": "Apply", "version": "0.1.0", "parameters": {"Ei": 50}})
    with h5py.File(tmp_path / "out.nxs") as file:
        assert sorted(file) == ["MDHistoWorkspace"]
        entry = file["MDHistoWorkspace"]
        assert entry.attrs["NX_class"] == b"NXentry" and fixed_length(entry, "NX_class")
        assert entry.attrs["QConvention"] == b"Inelastic" and fixed_length(entry, "QConvention")
        assert entry.attrs["SaveMDVersion"] == 2 and entry.attrs["SaveMDVersion"].dtype == np.int32
        for name, value in (("coordinate_system", 3), ("visual_normalization", 0)):
            assert entry[name].dtype == np.uint32 and entry[name].shape == (1,) and entry[name][0] == value
        data = entry["data"]
        assert data.attrs["NX_class"] == b"NXdata"
        for name, dtype in (
            ("signal", np.float64), ("errors_squared", np.float64), ("num_events", np.float64), ("mask", np.int8),
        ):  # fmt: skip
            assert data[name].dtype == dtype and data[name].shape == (5, 4, 3, 2)
            assert data[name].chunks == (1, 4, 3, 2)
            assert (data[name].compression, data[name].compression_opts) == ("gzip", 6)
        assert data["signal"].attrs["signal"] == 1 and data["signal"].attrs["signal"].dtype == np.int32
        assert fixed_length(data["signal"], "axes")
        listed = data["signal"].attrs["axes"].decode().split(":")
        assert listed == ["DeltaE", "[0,0,L]", "[0,K,0]", "[H,0,0]"]
        for name, n in zip(listed, data["signal"].shape, strict=True):
            assert data[name].dtype == np.float64 and data[name].shape == (n + 1,)
            assert all(fixed_length(data[name], a) for a in ("units", "long_name", "frame"))
        strings = []
        entry.visititems(lambda name, item: strings.extend(
            [item.dtype] if isinstance(item, h5py.Dataset) and item.dtype.kind in "OSU" else []
        ))  # fmt: skip
        assert strings and all(dtype.kind == "S" for dtype in strings)
        note = entry["process/MantidAlgorithm_1"]
        lines = note["data"][0].decode().split("\n")
        assert lines[0] == "Algorithm: Apply v1"  # Mantid parses an integer
        assert lines[1].startswith("Execution Date: 20") and lines[1][21:24].isalpha()
        assert lines[2] == "Execution Duration: 0 seconds"
        assert lines[3] == "Parameters:"
        assert lines[4:] == [
            "  Name: Ei, Value: 50, Default?: No, Direction: Input",
            "  Name: Version, Value: 0.1.0, Default?: No, Direction: Input",
        ]
        assert json.loads(note["json"][0]) == {"name": "Apply", "version": "0.1.0", "parameters": {"Ei": 50}}
        assert note["description"][0] == b"Mantid Algorithm data"


def test_written_experiment_has_every_part_that_mantid_writes(shared, tmp_path):
    spectrum = read_nexus(shared / "mantid/mdhisto_slice_maps.nxs")
    write_nexus(spectrum, tmp_path / "out.nxs")
    with h5py.File(shared / "mantid/mdhisto_slice_maps.nxs") as old, h5py.File(tmp_path / "out.nxs") as new:
        before, after = (visited(f[ENTRY]["experiment0"]) for f in (old, new))
    assert before.keys() == after.keys()
    different = {k for k in before if before[k] != after[k]}
    assert different <= {"instrument/instrument_parameter_map/date"}


def test_ids_that_cannot_name_a_dataset_become_numbers(tmp_path):
    axes = (Axis("a:b", [0, 1, 2], "", id="a:b"), Axis("q/x", [0, 1], "", id="q/x"))
    write_nexus(Spectrum(np.zeros((2, 1)), np.ones((2, 1)), axes), tmp_path / "out.nxs")
    after = read_nexus(tmp_path / "out.nxs")
    assert [(a.id, a.name) for a in after.axes] == [("D0", "a:b"), ("D1", "q/x")]


def test_transforms_are_left_out_for_another_number_of_dimensions(shared, tmp_path):
    source = shared / "mantid/mdhisto_3d_binmd_integrated.nxs"
    write_nexus(read_nexus(source).squeeze(), tmp_path / "out.nxs", template=source)
    with h5py.File(tmp_path / "out.nxs") as file:
        assert "transform_to_orig" not in file[ENTRY] and "process" in file[ENTRY]


# ------------------------------------------------------------------------------------------------------- other layouts


@pytest.mark.parametrize("sizes", [(5,), (3, 4), (2, 3, 4), (2, 3, 4, 5)])
def test_v1_layout(tmp_path, sizes):
    spectrum = spectrum_of(*sizes, coordinate_system=3)
    path = write_v1(tmp_path / "old.nxs", spectrum)
    with SpectrumFile(path) as source:
        assert source.layout == "v1"
        assert source.read().identical(spectrum)
        region = tuple(slice(n // 2, n) for n in sizes)
        np.testing.assert_array_equal(source.read(region).signal, spectrum.signal[region])
    write_nexus(spectrum, tmp_path / "new.nxs", template=path)
    with SpectrumFile(tmp_path / "new.nxs") as source:
        assert source.layout == "v2" and source.read().identical(spectrum)
    with h5py.File(tmp_path / "new.nxs") as file:
        assert sorted(file[ENTRY]) == ["coordinate_system", "data", "transform_to_orig", "visual_normalization"]
        assert not [a for a in file[ENTRY].attrs if a.startswith("dimension")]


def test_v1_frames_come_from_the_coordinate_system(tmp_path):
    path = write_v1(tmp_path / "old.nxs", spectrum_of(2, 3, 4, 5, coordinate_system=2), frames=False)
    assert [a.frame for a in read_nexus(path).axes] == ["QSample"] * 3 + ["General Frame"]


def test_descending_edges_are_turned_with_the_data(tmp_path):
    spectrum = spectrum_of(3, 4)
    path = tmp_path / "down.nxs"
    write_nexus(spectrum, path)
    with h5py.File(path, "r+") as file:
        data = file[ENTRY]["data"]
        data["[H,0,0]"][...] = data["[H,0,0]"][()][::-1]
        for name in ("signal", "errors_squared", "num_events", "mask"):
            data[name][...] = data[name][()][:, ::-1]
    assert read_nexus(path).identical(spectrum)
    with SpectrumFile(path) as source:
        part = source.read((slice(0, 1), slice(1, 3)))
    np.testing.assert_array_equal(part.signal, spectrum.signal[:1, 1:3])
    np.testing.assert_array_equal(part.axes[0].edges, spectrum.axes[0].edges[:2])


def test_hundreds_of_experiments_with_different_ei(tmp_path):
    path = tmp_path / "many.nxs"
    write_nexus(spectrum_of(3, 4), path)
    with h5py.File(path, "r+") as file:
        for i in range(200):
            group = file[ENTRY].create_group(f"experiment{i}")
            if i >= 2:
                group["logs/Ei/value"] = np.array([25.0 if i < 100 else 62.0])
                group["instrument/name"] = np.array([b"MER"])
    run = read_nexus(path).run
    assert run.ei.value == 25.0
    assert run.ei.source == "log Ei of experiment2"
    assert run.notes == (
        "the 198 experiments with a value differ in Ei: 25 meV (log Ei of experiment2), 62 meV (log Ei of "
        "experiment100); the first was taken",
    )
    assert run.instrument == Fact("MERLIN", "instrument of experiment2")


def test_logs_of_other_spellings(tmp_path):
    path = tmp_path / "SEQ_12345.nxs"
    write_nexus(spectrum_of(3, 4), path)
    with h5py.File(path, "r+") as file:
        logs = file[ENTRY].create_group("experiment0/logs")
        logs["EnergyRequest/value"] = np.array([60.0])
        logs["Fermi_Speed/value"] = np.array([0.0, 480.0, 480.0])
        logs["SampleTemp/value"] = np.array([20.0])
        logs["SampleTemp/value"].attrs["units"] = np.bytes_("C")
        logs["chopper_package/value"] = np.array([b"High-Flux"])
    run = read_nexus(path).run
    assert (run.value("ei"), run.value("frequency"), run.value("chopper")) == (60.0, 480.0, "High-Flux")
    assert run.value("temperature") == pytest.approx(293.15)
    assert run.instrument == Fact("SEQUOIA", "prefix of the file name SEQ_12345.nxs")


def test_most_bins_nan(tmp_path):
    spectrum = spectrum_of(20, 30)
    gaps = np.random.default_rng(3).random((20, 30)) < 0.85
    spectrum = spectrum.replace(signal=np.where(gaps, np.nan, spectrum.signal))
    write_nexus(spectrum, tmp_path / "out.nxs")
    after = read_nexus(tmp_path / "out.nxs")
    assert after.identical(spectrum)
    np.testing.assert_array_equal(after.valid, ~gaps)


# ---------------------------------------------------------------------------------------------------------- bad input


def changed(tmp_path, change):
    path = tmp_path / "bad.nxs"
    write_nexus(spectrum_of(3, 4), path)
    with h5py.File(path, "r+") as file:
        change(file[ENTRY], file[ENTRY]["data"])
    return path


def replace_dataset(data, name, values):
    attributes = dict(data[name].attrs)
    del data[name]
    data[name] = values
    data[name].attrs.update(attributes)


def drop(name):
    return lambda entry, data: data.__delitem__(name)


def put(name, values):
    return lambda entry, data: replace_dataset(data, name, np.asarray(values))


BROKEN = {
    "missing errors": (drop("errors_squared"), "has no dataset /MDHistoWorkspace/data/errors_squared"),
    "missing events": (drop("num_events"), "that group contains [0,K,0], [H,0,0], errors_squared, mask, signal"),
    "missing edges": (drop("[H,0,0]"), "has no dataset /MDHistoWorkspace/data/[H,0,0]"),
    "complex": (put("signal", np.zeros((4, 3), complex)), "contains complex numbers, expected real"),
    "strings": (put("errors_squared", np.full((4, 3), b"x")), "contains strings, expected real"),
    "records": (put("signal", np.zeros((4, 3), [("a", int), ("b", float)])), "contains records, expected real"),
    "shape": (
        put("signal", np.zeros((3, 4))),
        "has shape (3, 4), but the dimensions [H,0,0], [0,K,0] have (3, 4) bins",
    ),
    "flat": (put("mask", np.zeros(12, np.int8)), "has shape (12,), but the dimensions"),
    "uneven edges": (put("[H,0,0]", [0, 1, 2, 4.0]), "bins of unequal width (1 to 2 r.l.u.)"),
    "edges not finite": (put("[H,0,0]", [0, 1, np.nan, 4]), "values that are not finite"),
    "no axes": (lambda e, d: d["signal"].attrs.__delitem__("axes"), "has no attribute 'axes', which names"),
    "neither layout": (lambda e, d: e.__delitem__("data"), "has neither the group 'data' nor the dataset"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_file(tmp_path, case):
    change, message = BROKEN[case]
    path = changed(tmp_path, change)
    with pytest.raises(InputError) as caught:
        read_nexus(path)
    assert message in caught.value.reason
    assert str(path) in caught.value.reason and caught.value.fix


def test_broken_v1_dimension(tmp_path):
    path = write_v1(tmp_path / "old.nxs", spectrum_of(3, 4))
    with h5py.File(path, "r+") as file:
        file[ENTRY].attrs["dimension1"] = np.bytes_("<Dimension><Name>x</Name></Dimension>")
    with pytest.raises(InputError, match="attribute 'dimension1' is '<Dimension>.*expected a <Dimension> with"):
        read_nexus(path)


def test_not_there(tmp_path):
    with pytest.raises(InputError, match=r"none\.nxs does not exist.*check the name"):
        open_spectrum(tmp_path / "none.nxs")


def test_folder(tmp_path):
    with pytest.raises(InputError, match="is a folder, expected a NeXus file"):
        open_spectrum(tmp_path)


@pytest.mark.parametrize("content", [b"", b"col1,col2\n1,2\n", b"\x00" * 4096])
def test_not_hdf5(tmp_path, content):
    (tmp_path / "x.nxs").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.nxs is not an HDF5 file"):
        open_spectrum(tmp_path / "x.nxs")


def test_no_workspace_lists_the_groups(tmp_path):
    with h5py.File(tmp_path / "x.nxs", "w") as file:
        file.create_group("raw_data_1")
        file["other"] = 1
    with pytest.raises(
        InputError, match="contains no workspace: the top groups found are other, raw_data_1, expected MDHisto"
    ):
        open_spectrum(tmp_path / "x.nxs")


def test_event_workspace(tmp_path):
    with h5py.File(tmp_path / "x.nxs", "w") as file:
        file.create_group("MDEventWorkspace")
    with pytest.raises(InputError, match="contains an MDEventWorkspace.*BinMD"):
        open_spectrum(tmp_path / "x.nxs")


@pytest.mark.parametrize("part", [0.3, 0.6, 0.95])
def test_truncated(tmp_path, part):
    path = tmp_path / "x.nxs"
    write_nexus(spectrum_of(20, 30), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(InputError, match="is truncated or damaged: HDF5 says"):
        open_spectrum(path)


def test_damaged_inside(tmp_path):
    path = tmp_path / "x.nxs"
    write_nexus(spectrum_of(20, 30), path)
    with h5py.File(path) as file:
        dataset = file[ENTRY]["data/signal"]
        info = dataset.id.get_chunk_info(5)
    with path.open("r+b") as stream:
        stream.seek(info.byte_offset)
        stream.write(b"\xff" * info.size)
    with pytest.raises(InputError, match="could not be read completely: HDF5 says"):
        read_nexus(path)


def test_unreadable_file(tmp_path, monkeypatch):
    path = tmp_path / "x.nxs"
    write_nexus(spectrum_of(3, 4), path)

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(h5py, "File", refuse)
    with pytest.raises(InputError, match=r"cannot be read \(Permission denied\)"):
        open_spectrum(path)


def test_bins_for_a_histogram(tmp_path):
    write_nexus(spectrum_of(3, 4), tmp_path / "x.nxs")
    with pytest.raises(InputError, match=r"x\.nxs: --q-bins was given, and it is not clear which momentum axis"):
        open_spectrum(tmp_path / "x.nxs", q_bins=5)
    with open_spectrum(tmp_path / "x.nxs", q_bins=None, ei=30) as source:
        assert source.run.ei == Fact(30, "option --ei")


@pytest.mark.parametrize(
    ("region", "message"),
    [
        ((slice(None),), "does not fit 2 dimensions"),
        ((slice(None), 1), "does not fit 2 dimensions"),
        ((slice(0, 0), slice(None)), "contains no bin of"),
        ((slice(None, None, 2), slice(None)), "or skips some"),
    ],
)
def test_bad_region(tmp_path, region, message):
    write_nexus(spectrum_of(3, 4), tmp_path / "x.nxs")
    with SpectrumFile(tmp_path / "x.nxs") as source, pytest.raises(InputError, match=message):
        source.read(region)


# ------------------------------------------------------------------------------------------------------------- output


def test_existing_output(tmp_path):
    path = tmp_path / "x.nxs"
    path.write_text("mine")
    with pytest.raises(OutputError, match=r"x\.nxs already exists.*--overwrite"):
        write_nexus(spectrum_of(3, 4), path)
    assert path.read_text() == "mine"
    write_nexus(spectrum_of(3, 4), path, overwrite=True)
    assert read_nexus(path).shape == (3, 4)


def test_missing_folder(tmp_path):
    with pytest.raises(OutputError, match=r"the output folder .*none does not exist.*create the folder first"):
        check_output(tmp_path / "none" / "x.nxs")


def test_output_is_a_folder(tmp_path):
    with pytest.raises(OutputError, match="is a folder.*name a file inside it"):
        check_output(tmp_path, overwrite=True)


def test_read_only_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    with pytest.raises(OutputError, match="is read-only.*choose a folder with write permission"):
        check_output(tmp_path / "x.nxs")


def test_read_only_folder_found_when_creating(tmp_path, monkeypatch):
    def refuse(self, path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(SpectrumWriter, "_create", refuse)
    with pytest.raises(OutputError, match="is read-only"):
        write_nexus(spectrum_of(3, 4), tmp_path / "x.nxs")
    assert list(tmp_path.iterdir()) == []


def test_wrong_shape_for_region(tmp_path):
    spectrum = spectrum_of(3, 4)
    with pytest.raises(OutputError, match=r"a spectrum of \(3, 4\) bins was given for a region of \(1, 4\) bins"):
        with SpectrumWriter(tmp_path / "x.nxs", spectrum) as writer:
            writer.write((slice(0, 1), slice(None)), spectrum)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit])
def test_exception_leaves_nothing(tmp_path, kind):
    spectrum = spectrum_of(3, 4)
    with pytest.raises(kind):
        with SpectrumWriter(tmp_path / "x.nxs", spectrum) as writer:
            for i in range(3):
                region = (slice(i, i + 1), slice(None))
                writer.write(region, cut(spectrum, region))
                if i == 1:
                    assert len(list(tmp_path.iterdir())) == 2  # data and stage, under hidden names
                    raise kind
    assert list(tmp_path.iterdir()) == []


def test_exception_leaves_the_old_file(tmp_path):
    path = tmp_path / "x.nxs"
    write_nexus(spectrum_of(3, 4, seed=1), path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="stop"), SpectrumWriter(path, spectrum_of(3, 4), overwrite=True):
        raise ValueError("stop")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_file_that_appears_meanwhile_is_not_overwritten(tmp_path):
    path = tmp_path / "x.nxs"
    with pytest.raises(OutputError, match="already exists"), SpectrumWriter(path, spectrum_of(3, 4)):
        path.write_text("mine")
    assert path.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [path]


def test_input_may_be_the_output(tmp_path):
    path = tmp_path / "x.nxs"
    spectrum = spectrum_of(3, 4)
    write_nexus(spectrum, path)
    with SpectrumFile(path) as source:
        with SpectrumWriter(path, source, template=path, overwrite=True) as writer:
            writer.write(None, source.read().replace(signal=2 * spectrum.signal))
    np.testing.assert_array_equal(read_nexus(path).signal, 2 * spectrum.signal)


def run_writer(tmp_path, body):
    code = textwrap.dedent(
        """
        import sys, time
        import numpy as np
        from mantid_insgan.errors import OutputError
        from mantid_insgan.io import SpectrumWriter
        from mantid_insgan.core.spectrum import Axis, Spectrum
        n = 300
        noise = np.random.default_rng(0).random((n, n))
        axes = tuple(Axis(name, np.arange(n + 1.0), "") for name in "xy")
        spectrum = Spectrum(noise, noise, axes)
        """
    ) + textwrap.dedent(body)
    return subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "x.nxs")],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parents[1],
    )


def test_ctrl_c_leaves_nothing(tmp_path):
    process = run_writer(
        tmp_path,
        """
        with SpectrumWriter(sys.argv[1], spectrum) as writer:
            writer.write(None, spectrum)
            print("ready", flush=True)
            time.sleep(60)
        """,
    )
    assert process.stdout.readline() == "ready\n"
    assert len(list(tmp_path.iterdir())) == 1
    process.send_signal(signal.SIGINT)
    assert process.wait(30) != 0
    assert list(tmp_path.iterdir()) == []


def test_killed_writer_never_shows_half_a_file(tmp_path):
    process = run_writer(
        tmp_path,
        """
        with SpectrumWriter(sys.argv[1], spectrum) as writer:
            writer.write(None, spectrum)
            print("ready", flush=True)
            time.sleep(60)
        """,
    )
    assert process.stdout.readline() == "ready\n"
    process.kill()
    process.wait(30)
    assert not (tmp_path / "x.nxs").exists()


@pytest.mark.parametrize("region", ["None", "(slice(0, 300), slice(0, 300))"])
def test_full_disk_leaves_nothing(tmp_path, region):
    process = run_writer(
        tmp_path,
        f"""
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            with SpectrumWriter(sys.argv[1], spectrum) as writer:
                writer.write({region}, spectrum)
        except OutputError as problem:
            print(problem.reason.splitlines()[0][:40], "|", problem.fix)
        """,
    )
    out, _ = process.communicate(timeout=60)
    assert out.startswith("writing ") and "disk is full" in out
    assert list(tmp_path.iterdir()) == []


def test_memory_is_bounded_by_the_slab(tmp_path):
    """A file of 256 MB (uncompressed, in its four arrays) goes through in slabs of a fifth."""
    process = run_writer(
        tmp_path,
        """
        from pathlib import Path
        import resource
        from mantid_insgan.io import SpectrumFile
        peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kB
        shape = (40, 50, 50, 100)
        axes = tuple(Axis(name, np.arange(n + 1.0), "") for name, n in zip("xyzw", shape))
        slab = Spectrum(np.ones((40, 50, 50, 1)), np.ones((40, 50, 50, 1)), (*axes[:3], axes[3].slice(0, 1)))
        big = Path(sys.argv[1]).with_name("big.nxs")
        class Source:
            run = spectrum.run
            coordinate_system = visual_normalization = 0
            q_convention = "Inelastic"
        Source.shape, Source.axes = shape, axes
        before = peak()
        with SpectrumWriter(big, Source) as writer:
            for i in range(100):
                writer.write((slice(None),) * 3 + (slice(i, i + 1),), slab)
        with SpectrumFile(big) as source, SpectrumWriter(sys.argv[1], source) as writer:
            for i in range(0, 50, 10):
                region = (slice(None), slice(None), slice(i, i + 10), slice(None))
                writer.write(region, source.read(region))
        print((peak() - before) / 1000)
        """,
    )
    out, _ = process.communicate(timeout=120)
    assert float(out) < 200  # MB
    with SpectrumFile(tmp_path / "x.nxs") as source:
        assert (source.read((slice(0, 40), slice(0, 50), slice(9, 11), slice(0, 100))).signal == 1).all()


def test_damaged_metadata_never_escape_as_another_error(tmp_path):
    """Bytes changed at random: the file is read, or one InsganError tells what is wrong."""
    path = tmp_path / "x.nxs"
    write_nexus(spectrum_of(6, 8, run=Run().updated("test", ei=50.0)), path)
    good = path.read_bytes()
    rng = np.random.default_rng(0)
    told = 0
    for _ in range(150):
        bad = bytearray(good)
        for place in rng.integers(0, len(bad), 20):
            bad[place] = rng.integers(256)
        path.write_bytes(bad)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # garbage read as numbers may overflow
                read_spectrum(path)
        except InsganError as problem:
            told += bool(problem.reason and problem.fix)
    assert told > 30
