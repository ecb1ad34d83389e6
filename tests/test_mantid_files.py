"""Files between Mantid and the project: LoadMD and SaveMD against files that Mantid wrote, and the project's against
LoadMD."""

import h5py
import numpy as np
import pytest
from mantid.api import mtd
from mantid.simpleapi import LoadMD, SaveMD

from mantid_insgan.demo import DATA
from mantid_insgan.io import read_nexus, write_nexus
from mantid_insgan.mantid_support.workspace import read_workspace

pytestmark = pytest.mark.mantid

FILES = [
    "mdhisto_2d_expinfo",
    "mdhisto_2d_nan",
    "mdhisto_3d",
    "mdhisto_3d_binmd_integrated",
    "mdhisto_3d_masked",
    "mdhisto_4d",
    "mdhisto_slice_maps",
    "mdhisto_volume_maps_4d",
]


@pytest.fixture(autouse=True)
def empty_service():
    mtd.clear()
    yield
    mtd.clear()


@pytest.fixture(params=FILES)
def file(shared, request):
    return shared / "mantid" / f"{request.param}.nxs"


def test_load_gives_what_the_file_holds(file):
    ws = LoadMD(str(file))
    with h5py.File(file) as stored:
        entry = stored["MDHistoWorkspace"]
        data = entry["data"]
        names = data["signal"].attrs["axes"].decode().split(":")[::-1]
        for array, name in (
            (ws.getSignalArray(), "signal"),
            (ws.getErrorSquaredArray(), "errors_squared"),
            (ws.getNumEventsArray(), "num_events"),
        ):
            assert np.array_equal(array, data[name][()].T, equal_nan=True)
        for i, name in enumerate(names):
            dimension, edges = ws.getDimension(i), data[name]
            assert dimension.name == edges.attrs["long_name"].decode()
            assert dimension.getUnits() == edges.attrs["units"].decode()
            assert dimension.getMDFrame().name() == edges.attrs["frame"].decode()
            live = [dimension.getX(k) for k in range(dimension.getNBoundaries())]
            assert np.allclose(live, edges[()], rtol=0, atol=2e-7 * abs(edges[()]).max())
        assert int(ws.displayNormalization()) == entry["visual_normalization"][0]
        assert ws.getNumExperimentInfo() == sum(name.startswith("experiment") for name in entry)
        for i in range(ws.getNumExperimentInfo()):
            info, group = ws.getExperimentInfo(i), entry[f"experiment{i}"]
            assert info.run().getProperty("Ei").value == group["logs/Ei/value"][0]
            ub = group["sample/oriented_lattice/orientation_matrix"][()]
            assert np.allclose(info.sample().getOrientedLattice().getUB(), ub, atol=1e-12)


def test_save_writes_the_layout_of_the_file_it_loaded(file, tmp_path):
    copy = tmp_path / "copy.nxs"
    ws = LoadMD(str(file))
    SaveMD(ws, Filename=str(copy))
    assert read_nexus(copy).identical(read_nexus(file))
    with h5py.File(file) as one, h5py.File(copy) as other:
        old, new = (f["MDHistoWorkspace"] for f in (one, other))
        assert {k: new.attrs[k] for k in old.attrs} == dict(old.attrs)
        assert set(new["data"]) == set(old["data"])
        for name, dataset in old["data"].items():
            assert (new["data"][name].dtype, new["data"][name].shape) == (dataset.dtype, dataset.shape)
            assert new["data"][name].chunks == dataset.chunks or dataset.ndim == 1
            assert dict(new["data"][name].attrs) == dict(dataset.attrs)


def test_the_projects_copy_loads_like_the_original(file, tmp_path):
    copy = tmp_path / "copy.nxs"
    write_nexus(read_nexus(file), copy, template=file)
    one = read_workspace(LoadMD(str(file), OutputWorkspace="one"))
    other = read_workspace(LoadMD(str(copy), OutputWorkspace="other"))
    assert one.identical(other)
    assert {n: f and f.source for n, f in vars(one.run).items()} == {
        n: f and f.source for n, f in vars(other.run).items()
    }


@pytest.mark.parametrize("name", ["measured.nxs", "calculated.nxs"])
def test_the_projects_own_files_load(name, tmp_path):
    spectrum = read_nexus(DATA / name)
    written = tmp_path / "written.nxs"
    write_nexus(spectrum, written, history={"name": "insgan apply", "version": "0.1.0", "parameters": {"a": "b"}})
    ws = LoadMD(str(written))
    loaded = read_workspace(ws)
    assert np.array_equal(loaded.signal, spectrum.signal, equal_nan=True)
    assert np.array_equal(loaded.valid, spectrum.valid)
    for fact in ("ei", "instrument", "chopper", "frequency"):
        assert loaded.run.value(fact) == spectrum.run.value(fact)
    assert "insgan_apply" in [h.name() for h in ws.getHistory().getAlgorithmHistories()]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda entry: entry.attrs.__delitem__("SaveMDVersion"),
        lambda entry: entry["data/signal"].attrs.__delitem__("axes"),
        lambda entry: entry["data/DeltaE"].attrs.__delitem__("units"),
        lambda entry: entry["data"].__delitem__("mask"),
        lambda entry: entry.move("data", "other"),
    ],
    ids=["version", "axes", "units", "mask", "data"],
)
def test_load_refuses_what_lacks_a_part(spoil, tmp_path):
    path = tmp_path / "spoilt.nxs"
    write_nexus(read_nexus(DATA / "measured.nxs"), path)
    with h5py.File(path, "r+") as file:
        spoil(file["MDHistoWorkspace"])
    with pytest.raises((RuntimeError, ValueError)):
        LoadMD(str(path), OutputWorkspace="ws")
    assert not mtd.doesExist("ws")
