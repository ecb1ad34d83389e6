"""The scripts of the autoreduction on a real measurement: what they write, print and end with."""

import json
import os
import re
import shutil
import weakref
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import CRYSTAL
from mantid.api import mtd
from mantid.simpleapi import LoadMD
from scripts import SCRIPTS, ended, script, started

from mantid_insgan.bundled import plugin_folders
from mantid_insgan.core.options import ApplyOptions
from mantid_insgan.core.spectrum import per_event
from mantid_insgan.demo import DATA
from mantid_insgan.errors import InputError, InsganError, RunFactError
from mantid_insgan.io import read_nexus
from mantid_insgan.io.crystal import Setting, bin_crystal, cut_axes
from mantid_insgan.mantid_support.autoreduction import (
    cut_of,
    files_of_pattern,
    files_of_scan,
    output_of,
    reduced_of,
    with_mantid,
    without_mantid,
)

pytestmark = pytest.mark.mantid

RESULT = "MER40874_Ei62.00meV_Rings_sharpened.nxs"
OPTIONS = ApplyOptions(instrument="MERLIN", chopper="G", frequency=600.0, device="cpu")
BINNING = ["|Q|,40", "DeltaE,55"]


@pytest.fixture
def measured(excerpts) -> Path:
    """A folder with a reduced file of a run of MERLIN."""
    return excerpts / "bi2fe4o9-merlin"


@pytest.fixture(autouse=True)
def empty_service():
    mtd.clear()
    yield
    mtd.clear()


def good(path: Path) -> bool:
    """Whether LoadMD takes a file and the file holds a result."""
    loaded = LoadMD(str(path), OutputWorkspace="loaded")
    spectrum = read_nexus(path)
    assert [a.name for a in spectrum.axes] == ["|Q|", "DeltaE"]
    assert spectrum.valid.mean() > 0.2 and spectrum.run.value("ei") == pytest.approx(62.1, abs=0.1)
    return np.array_equal(loaded.getSignalArray(), spectrum.signal, equal_nan=True)


@pytest.mark.parametrize("name", ["fia_powder", "fia_without_mantid"])
def test_two_runs_for_one_output_at_once(name, measured, tmp_path):
    values = {
        "ei": 62.0,
        "input_files": f"{measured}/MER{{runno}}_Ei{{ei:.2f}}meV*.nxspe",
        "output_folder": str(tmp_path),
    }
    processes = [started(script(name, **values), tmp_path) for _ in range(2)]
    for process in processes:
        code, last, _ = ended(process)
        assert code == 0 and json.loads(last) == {"status": "Successful", "output_files": [RESULT]}
    assert [p.name for p in tmp_path.glob("*.nxs")] == [RESULT] and not list(tmp_path.glob(".*part*"))
    assert good(tmp_path / RESULT)


SCAN_OPTIONS = ApplyOptions(instrument="MERLIN", chopper="G", frequency=400.0, device="cpu")
SETTING = Setting.parsed(**CRYSTAL, psi_offset=2.0)
CUTS = {
    "straight": ["[H,0,0],-0.5,1.5,40", "[0,K,0],-1.5,0.5,40", "[0,0,L],-0.5,0.5,1", "DeltaE,2,42,20"],
    "turned": ["[H,H,0],-0.75,0.75,30", "[-K,K,0],-1.5,0,30", "DeltaE,2,42,20", "[0,0,L],-0.5,0.5,1"],
}


@pytest.mark.parametrize("cut", CUTS)
def test_a_scan_of_a_crystal_is_the_same_both_ways(crystal_scan, tmp_path, capsys, cut):
    with_it = read_nexus(with_mantid(crystal_scan, tmp_path, SCAN_OPTIONS, CUTS[cut], SETTING))
    (tmp_path / "MER100_Ei60.00meV_One2One_sharpened.nxs").rename(tmp_path / "with.nxs")
    without = read_nexus(without_mantid(crystal_scan, tmp_path, SCAN_OPTIONS, CUTS[cut], SETTING))
    binned = read_nexus(cut_of(crystal_scan[0], tmp_path))
    assert binned.identical(bin_crystal(crystal_scan, SETTING, CUTS[cut]))
    assert capsys.readouterr().out.count("binned 16 of 16 runs") == 2
    assert [a.name for a in with_it.axes] == [a.name for a in without.axes] == [c.rsplit(",", 3)[0] for c in CUTS[cut]]
    assert all(a.is_rlu or a.is_energy for a in with_it.axes) and with_it.coordinate_system == without.coordinate_system
    assert all(np.allclose(a.edges, b.edges, atol=1e-5) for a, b in zip(with_it.axes, without.axes, strict=True))
    # edges of float32 put single pixels into the bin beside
    assert (with_it.num_events == without.num_events).mean() > 0.999 and without.num_events.sum() > 20_000
    one, other = per_event(with_it), without
    assert (one.valid == other.valid).mean() > 0.999 and 0.05 < other.valid.mean() < 1
    both = one.valid & other.valid
    difference = np.abs(one.signal - other.signal)[both]
    assert np.mean(difference < 1e-3 * np.abs(other.signal[both]).max()) > 0.99
    for spectrum in (with_it, without):
        lattice = spectrum.run.value("lattice")
        assert np.allclose(lattice.ub, SETTING.oriented().ub, atol=1e-9) and spectrum.run.value("ei") == 60.0
    with h5py.File(tmp_path / "with.nxs") as file:
        angles = [file[f"MDHistoWorkspace/experiment{i}/logs/psi/value"][0] for i in range(16)]
    assert angles == list(range(-24, 24, 3)), "each run has its ExperimentInfo"


def test_the_events_of_a_run_are_let_go_before_the_next(crystal_scan, monkeypatch):
    from mantid_insgan.mantid_support import workspace
    from mantid_insgan.mantid_support.autoreduction import _cut_of_scan

    made, alive = [], []

    def watched(name, **properties):
        if name == "LoadNXSPE":
            alive.append(sum(found() is not None for found in made))
        result = run_child(name, **properties)
        if name in ("ConvertToMD", "LoadNXSPE", "BinMD"):
            made.append(weakref.ref(result))
        return result

    run_child = workspace.run_child
    monkeypatch.setattr(workspace, "run_child", watched)
    _cut_of_scan(crystal_scan[:4], cut_axes(CUTS["straight"]), SETTING)
    assert alive[:2] == [0, 1] and max(alive) <= 1, "the cut of the first run is the sum that others are added to"


@pytest.mark.parametrize("way", [True, False])
def test_the_script_for_a_crystal(crystal_scan, tmp_path, way):
    crystal_scan[5].unlink()  # a run that was not reduced
    values = {"first_run": 100, "runno": 111, "ei": 60.0, "mantid": way, "binning": CUTS["straight"], **CRYSTAL}
    values |= {"input_files": f"{tmp_path}/scan/MER{{runno}}_Ei{{ei:.2f}}meV*.nxspe", "output_folder": str(tmp_path)}
    processes = [started(script("fia_crystal", **values), tmp_path) for _ in range(2)]
    names = ["MER100_Ei60.00meV_One2One_sharpened.nxs"] + ["MER100_Ei60.00meV_One2One_cut.nxs"] * (not way)
    for process in processes:
        code, last, err = ended(process)
        assert code == 0 and json.loads(last)["output_files"] == names, err
    assert {p.name for p in tmp_path.glob("*.nxs")} == set(names) and not list(tmp_path.glob(".*part*"))
    loaded = LoadMD(str(tmp_path / names[0]), OutputWorkspace="loaded")
    spectrum = read_nexus(tmp_path / names[0])
    assert loaded.getDimension(0).getMDFrame().name() == "HKL" and spectrum.shape == (40, 40, 1, 20)
    assert np.array_equal(loaded.getSignalArray(), spectrum.signal, equal_nan=True) and spectrum.valid.mean() > 0.05
    code, _, last = ended(started(script("fia_crystal", **values | {"v": [1, 0, 0]}), tmp_path))
    assert code == 1 and re.search("Error: u = .* span no scattering plane. Fix: ", last)


def test_a_scan_in_the_older_way(crystal_scan, tmp_path):
    shutil.copytree(SCRIPTS, tmp_path / "scripts")
    variables = tmp_path / "scripts" / "reduce_vars.py"
    text = variables.read_text(encoding="utf-8")
    for name, value in {"scan": "MER*.nxspe", "lattice": CRYSTAL["lattice"], "binning": CUTS["straight"]}.items():
        text, count = re.subn(
            rf'^    "{name}": (""|"\d.*"|\[.*\]),$', f'    "{name}": {value!r},', text, flags=re.MULTILINE
        )
        assert count == 1, name
    variables.write_text(text, encoding="utf-8")
    call = f"import sys; sys.path.insert(0, {str(variables.parent)!r}); import reduce; reduce.main(*sys.argv[1:])"
    code, _, err = ended(started(call, tmp_path, str(crystal_scan[-1]), str(crystal_scan[0].parent)))
    assert code == 0, err
    (result,) = crystal_scan[0].parent.glob("*.nxs")
    assert result.name == "MER100_Ei60.00meV_One2One_sharpened.nxs" and read_nexus(result).valid.mean() > 0.05


@pytest.mark.parametrize("job", [with_mantid, without_mantid])
def test_a_scan_that_will_not_do(crystal_scan, tmp_path, job):
    with pytest.raises(InputError, match="does not have four axes"):
        job(crystal_scan, tmp_path, SCAN_OPTIONS, CUTS["straight"][:3], SETTING)
    with h5py.File(crystal_scan[1], "r+") as opened:
        opened["ws/NXSPE_info/psi"][...] = np.nan
    with pytest.raises(RunFactError, match="the angle psi .*is missing from .*MER101"):
        job(crystal_scan, tmp_path, SCAN_OPTIONS, CUTS["straight"], SETTING)
    assert not list(tmp_path.glob("*.nxs"))


def test_which_files_are_a_scan(crystal_scan):
    pattern = f"{crystal_scan[0].parent}/MER{{runno}}_Ei{{ei:.2f}}meV*.nxspe"
    assert files_of_scan(pattern, 103, 105, ei=60.0) == crystal_scan[3:6]
    assert files_of_scan(pattern, 999, 115, ei=60.0) == crystal_scan[15:]
    with pytest.raises(InputError, match=r"there is no file .*MER103_Ei62.00meV\*.nxspe, nor one up to run 105"):
        files_of_scan(pattern, 103, 105, ei=62.0)


def test_a_crystal_from_a_file_of_savemd(tmp_path):
    for name in ("measured", "measured_sharpened"):  # the second lies there from an earlier run
        shutil.copy(DATA / "measured.nxs", tmp_path / f"MER7_{name}.nxs")
    values = {"runno": 7, "instrument": None, "chopper": None, "frequency": None}
    values |= {"input_files": f"{tmp_path}/MER{{runno}}_*.nxs", "output_folder": str(tmp_path)}
    code, last, err = ended(started(script("fia_cut", **values), tmp_path))
    assert code == 0 and json.loads(last)["output_files"] == ["MER7_measured_sharpened.nxs"], err
    assert read_nexus(tmp_path / "MER7_measured_sharpened.nxs").shape == read_nexus(DATA / "measured.nxs").shape


@pytest.mark.parametrize("name", ["fia_powder", "fia_without_mantid"])
@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"chopper": "Z"}, "Error: .*chopper package 'Z' is not known for MERLIN; it has .* Fix: "),
        ({"runno": 1}, r"Error: there is no file .*MER1_Ei62.00meV\*.nxspe. Fix: check whether the reduction ran"),
    ],
)
def test_a_failed_run_ends_with_a_clear_line(name, values, text, measured, tmp_path):
    given = {
        "ei": 62.0,
        "input_files": f"{measured}/MER{{runno}}_Ei{{ei:.2f}}meV*.nxspe",
        "output_folder": str(tmp_path),
    }
    code, _, last = ended(started(script(name, **given | values), tmp_path))
    assert code == 1 and re.search(text, last), last
    assert not list(tmp_path.glob("*.nxs"))


def test_one_file_that_fails_does_not_end_the_others(measured, tmp_path):
    file = measured / "MER40874_Ei62.00meV_Rings.nxspe"
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "MER40874_Ei62.00meV_A.nxspe").write_bytes(b"damaged")
    shutil.copy(file, folder / "MER40874_Ei62.00meV_B.nxspe")
    values = {"ei": 62.0, "output_folder": str(tmp_path)}
    values |= {"input_files": f"{folder}/MER{{runno}}_Ei{{ei:.2f}}meV*.nxspe"}
    code, _, err = ended(started(script("fia_without_mantid", **values), tmp_path))
    assert code == 1 and "MER40874_Ei62.00meV_A.nxspe is not an HDF5 file" in err
    assert [p.name for p in tmp_path.glob("*.nxs")] == ["MER40874_Ei62.00meV_B_sharpened.nxs"]


def test_the_older_way(measured, tmp_path):
    raw = tmp_path / "MER40874.nxs"
    shutil.copy(measured / "MER40874_Ei62.00meV_Rings.nxspe", tmp_path)
    raw.write_bytes((DATA / "measured.nxs").read_bytes().replace(b"MDHistoWorkspace", b"raw_data_1______"))
    call = (
        f"import sys; sys.path.insert(0, {str(SCRIPTS)!r}); import reduce\n"
        "print(reduce.main(input_file=sys.argv[1], output_dir=sys.argv[2]))"
    )
    code, last, err = ended(started(call, tmp_path, str(raw), str(tmp_path)))
    assert (code, last) == (0, "None"), err
    assert good(tmp_path / RESULT)
    code, _, last = ended(started(call, tmp_path, str(tmp_path / "gone.nxs"), str(tmp_path)))
    assert code == 1 and "InputError: " in last and "gone.nxs does not exist" in last


def test_both_ways_make_the_same_kind_of_file(measured, tmp_path):
    file = measured / "MER40874_Ei62.00meV_Rings.nxspe"
    paths = [with_mantid(file, tmp_path, OPTIONS, BINNING)]
    os.replace(paths[0], tmp_path / "with.nxs")
    paths = [tmp_path / "with.nxs", without_mantid(file, tmp_path, OPTIONS)]
    found = [read_nexus(p) for p in paths]
    # The same elastic line of the same powder: Mantid's algorithm takes detectors as points, this package as areas.
    for spectrum in found:
        events = spectrum.num_events if spectrum.visual_normalization == 2 else 1.0
        # the median, and energies that most |Q| reach: single detectors at the end of the energies are far off
        middle = np.nanmedian(np.where(spectrum.valid, spectrum.signal / events, np.nan), axis=0)
        middle[spectrum.valid.mean(axis=0) < 0.5 * spectrum.valid.mean(axis=0).max()] = np.nan
        assert abs(spectrum.axes[1].centers[np.nanargmax(middle)]) < 2.0


def test_limits_of_the_cut(measured, tmp_path):
    file = measured / "MER40874_Ei62.00meV_Rings.nxspe"
    spectrum = read_nexus(with_mantid(file, tmp_path, OPTIONS, ["|Q|,1,4,30", "DeltaE,-10,50,60"]))
    assert spectrum.shape == (30, 60)
    assert spectrum.axes[0].edges[[0, -1]] == pytest.approx([1, 4]) and spectrum.axes[1].edges[0] == pytest.approx(-10)
    with pytest.raises(InputError, match="the dimension 'Q,3' is not one of .Q., DeltaE"):
        with_mantid(file, tmp_path, OPTIONS, ["Q,3"])


def test_what_an_algorithm_says_is_one_line(tmp_path):
    shutil.copy(DATA / "measured.nxs", tmp_path / "cut.nxs")
    with pytest.raises(InsganError, match=r"^IncidentEnergy: Ei = 5000 meV is outside .* Fix: [^\n]*$"):
        with_mantid(tmp_path / "cut.nxs", tmp_path, ApplyOptions(ei=5000.0, device="cpu"), [])
    assert [p.name for p in tmp_path.iterdir()] == ["cut.nxs"]


def test_which_files_belong_to_a_run(tmp_path):
    for name in ("MER40874_Ei62.nxspe", "MER40874_Ei25.nxspe", "MER40875_Ei25.nxspe"):
        (tmp_path / name).touch()
    shutil.copy(DATA / "measured.nxs", tmp_path / "cut.nxs")
    assert reduced_of(tmp_path / "cut.nxs", tmp_path) == [tmp_path / "cut.nxs"]
    assert reduced_of(tmp_path / "MER40874_Ei62.nxspe", tmp_path) == [tmp_path / "MER40874_Ei62.nxspe"]
    assert [p.name[9:] for p in files_of_pattern(f"{tmp_path}/MER{{runno}}_*.nxspe", runno=40874)] == [
        "Ei25.nxspe",
        "Ei62.nxspe",
    ]
    assert output_of("a/b.nxspe", "c", OPTIONS) == Path("c/b_sharpened.nxs")


def test_mantid_is_not_told_of_the_scripts():
    assert all(f.name != "autoreduction" and not SCRIPTS.is_relative_to(f) for f in plugin_folders())


@pytest.mark.parametrize("name", ["fia_powder", "fia_crystal", "fia_cut", "fia_without_mantid"])
def test_a_script_is_flat(name):
    text = (SCRIPTS / f"{name}.py").read_text(encoding="utf-8")
    head = text[: text.index("import sys")]
    assert all(re.match(r"#|\w+ = |$", line) for line in head.splitlines()), "tunables stand on lines of their own"
    assert "__file__" not in text and re.search(r"^output = ", text, re.MULTILINE)
    assert len(text) < 131072 and "def " not in text
