"""Scans of a crystal, binned to h, k, l and energy: where pixels go, what bins hold, what is refused."""

import json

import h5py
import numpy as np
import pytest
from conftest import CRYSTAL, CRYSTAL_EI, magnon, write_crystal_run

from mantid_insgan.errors import InputError, RunFactError
from mantid_insgan.io import crystal, read_nexus
from mantid_insgan.io.crystal import Setting, bin_crystal, cut_axes
from mantid_insgan.io.nxspe import read_crystal_run

SETTING = Setting.parsed(**CRYSTAL)
CUT = ["[H,0,0],-0.5,1.5,40", "[0,K,0],-1.5,0.5,40", "[0,0,L],-0.5,0.5,1", "DeltaE,2,42,20"]
KI = np.sqrt(CRYSTAL_EI / 2.072124855)


@pytest.mark.parametrize(
    ("q", "psi", "hkl"),
    [
        # with a = b = 4 and c = 6 Angstrom: along the beam, across (+x), up
        ((0, 0, 1), 0.0, (4, 0, 0)),
        ((1, 0, 0), 0.0, (0, 4, 0)),
        ((0, 1, 0), 0.0, (0, 0, 6)),
        # turned anticlockwise seen from above: a points to +x, b away from the beam
        ((1, 0, 0), 90.0, (4, 0, 0)),
        ((0, 0, -1), 90.0, (0, 4, 0)),
        ((0, 1, 0), 90.0, (0, 0, 6)),
    ],
)
def test_momenta_in_the_lab_become_those_of_the_crystal(q, psi, hkl):
    found = SETTING.to_hkl(psi) @ np.array(q, dtype=float)
    np.testing.assert_allclose(2 * np.pi * found, hkl, atol=1e-12)
    offset = Setting.parsed(**CRYSTAL, psi_offset=psi)
    np.testing.assert_allclose(offset.to_hkl(0.0), SETTING.to_hkl(psi), atol=1e-12)


def test_a_skew_cell_keeps_lengths():
    setting = Setting.parsed("3,4,5,80,95,115", "1,1,0", "-1,1,0.3")
    q = np.array([0.3, -1.2, 2.0])
    hkl = setting.to_hkl(37.0) @ q
    b = setting.lattice.b_matrix()
    assert 2 * np.pi * np.linalg.norm(b @ hkl) == pytest.approx(np.linalg.norm(q))
    along = 2 * np.pi * setting.oriented().ub @ np.array([1.0, 1.0, 0.0])
    assert along[2] > 0 and np.allclose(along[:2], 0), "u lies along the beam at psi = 0"
    across = setting.oriented().ub @ np.array([-1.0, 1.0, 0.3])
    assert across[0] > 0 and abs(across[1]) < 1e-12, "v lies in the horizontal plane"


def test_a_bin_holds_the_mean_of_its_pixels(crystal_scan):
    spectrum = bin_crystal(crystal_scan, SETTING, CUT)
    total, variance, number = (np.zeros(spectrum.shape) for _ in range(3))
    for file in crystal_scan:
        with h5py.File(file) as opened:
            entry = opened["ws"]
            data = {n: entry[f"data/{n}"][()] for n in ("data", "error", "energy", "polar", "azimuthal")}
            psi = np.radians(entry["NXSPE_info/psi"][0])
        energy = (data["energy"][1:] + data["energy"][:-1]) / 2
        kf = np.sqrt(KI**2 * (1 - energy / CRYSTAL_EI))
        p, a = np.radians(data["polar"])[:, None], np.radians(data["azimuthal"])[:, None]
        x, y, z = -kf * np.sin(p) * np.cos(a), -kf * np.sin(p) * np.sin(a), KI - kf * np.cos(p)
        h = 4 * (np.sin(psi) * x + np.cos(psi) * z) / (2 * np.pi)
        k = 4 * (np.cos(psi) * x - np.sin(psi) * z) / (2 * np.pi)
        place = [h, k, 6 * y / (2 * np.pi), np.broadcast_to(energy, h.shape)]
        sample = np.stack([c.ravel() for c in place], axis=1)
        edges = [axis.edges for axis in spectrum.axes]
        for target, weights in ((total, data["data"]), (variance, data["error"] ** 2), (number, None)):
            target += np.histogramdd(sample, edges, weights=None if weights is None else weights.ravel())[0]
    # a pixel on an edge may fall to either side by rounding
    same = spectrum.num_events == number
    assert same.mean() > 0.999 and number.sum() > 20_000
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(spectrum.signal[same], (total / number)[same], rtol=1e-9)
        np.testing.assert_allclose(spectrum.variance[same], (variance / number**2)[same], rtol=1e-9)
    assert np.array_equal(spectrum.valid, spectrum.num_events > 0)


def test_a_mode_comes_out_where_it_is(crystal_scan):
    spectrum = bin_crystal(crystal_scan, SETTING, CUT).squeeze()
    h, k, energy = np.meshgrid(*(a.centers for a in spectrum.axes), indexing="ij")
    good = spectrum.num_events >= 8
    expected = magnon(h, k, 0.0, energy)
    assert good.sum() > 200
    assert np.corrcoef(spectrum.signal[good], expected[good])[0, 1] > 0.97
    lattice = spectrum.run.value("lattice")
    assert (lattice.a, lattice.c) == (4.0, 6.0) and np.allclose(lattice.ub, SETTING.oriented().ub)
    assert spectrum.run.value("instrument") == "MERLIN" and spectrum.run.value("ei") == CRYSTAL_EI
    assert [a.frame for a in spectrum.axes] == ["HKL", "HKL", "General Frame"] and spectrum.coordinate_system == 3


def test_axes_may_be_turned_and_in_any_order(crystal_scan):
    straight = bin_crystal(crystal_scan[:4], SETTING, CUT)
    turned = ["DeltaE,2,42,20", "[H,H,0],-0.75,0.75,30", "[0,0,L],-0.5,0.5,1", "[-K,K,0],-1.5,0,30"]
    other = bin_crystal(crystal_scan[:4], SETTING, turned)
    assert other.shape == (20, 30, 1, 30) and [a.name for a in other.axes][1] == "[H,H,0]"
    wide = bin_crystal(
        crystal_scan[:4], SETTING, ["DeltaE,2,42,20", *(f"{n},-9,9,1" for n in ("[H,H,0]", "[-K,K,0]", "[0,0,L]"))]
    )
    assert wide.num_events.sum() == len(crystal_scan[:4]) * 385 * 40 >= straight.num_events.sum() > 0


def test_chunks_do_not_show(crystal_scan, monkeypatch):
    whole = bin_crystal(crystal_scan[:2], SETTING, CUT)
    monkeypatch.setattr(crystal, "CHUNK", 1000)
    parts = bin_crystal(crystal_scan[:2], SETTING, CUT)
    assert np.array_equal(parts.num_events, whole.num_events)
    np.testing.assert_allclose(parts.signal, whole.signal, rtol=1e-12)


def test_masked_pixels_and_those_beyond_ei_do_not_count(crystal_scan, tmp_path):
    file = crystal_scan[0]
    everywhere = ["[H,0,0],-9,9,1", "[0,K,0],-9,9,1", "[0,0,L],-9,9,1", "DeltaE,2,42,40"]
    before = bin_crystal([file], SETTING, everywhere)
    with h5py.File(file, "r+") as opened:
        data = opened["ws/data"]
        data["data"][:10] = np.nan
        data["data"][10:15] = -1e30
        data["data"][15:16], data["error"][15:16] = 0.0, 0.0
    after = bin_crystal([file], SETTING, everywhere)
    assert np.array_equal(before.num_events - after.num_events, np.full((1, 1, 1, 40), 16.0))
    low = bin_crystal([file], SETTING, everywhere, ei=20.5)
    assert low.num_events[0, 0, 0, :18].all() and not low.num_events[0, 0, 0, 19:].any()


def test_angles_that_are_given_win(crystal_scan):
    angles = [read_crystal_run(f).psi for f in crystal_scan[:3]]
    plain = bin_crystal(crystal_scan[:3], SETTING, CUT)
    assert bin_crystal(crystal_scan[:3], SETTING, CUT, psi=angles).identical(plain)
    assert not bin_crystal(crystal_scan[:3], SETTING, CUT, psi=[a + 5 for a in angles]).identical(plain)


@pytest.mark.parametrize(
    ("binning", "text"),
    [
        (CUT[:3], "does not have four axes"),
        ([*CUT[:2], CUT[1], CUT[3]], "three independent momentum directions"),
        ([*CUT[:3], "DeltaE,40,0,20"], "the axis 'DeltaE,40,0,20' is not a name"),
        ([*CUT[:3], "DeltaE,0,40,0"], "is not a name, a lower and an upper limit"),
        ([*CUT[:3], "DeltaE,80"], "is not a name, a lower and an upper limit"),
        ([*CUT[:3], "Temperature,0,4,8"], "'Temperature' is neither a direction nor the energy transfer"),
        (["[H,H],0,1,5", *CUT[1:]], "neither a direction nor"),
    ],
)
def test_a_cut_that_will_not_do(binning, text):
    with pytest.raises(InputError, match=text):
        cut_axes(binning)


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"u": "1,0"}, RunFactError, "u is '1,0', expected three numbers"),
        ({"v": "2,0,0"}, RunFactError, "span no scattering plane"),
        ({"lattice": "4,4"}, RunFactError, "not three or six finite numbers"),
        ({"lattice": "4,4,0"}, InputError, "has no volume"),
    ],
)
def test_a_setting_that_will_not_do(change, error, text):
    with pytest.raises(error, match=text):
        Setting.parsed(**CRYSTAL | change)


def test_runs_that_do_not_belong_together(crystal_scan, tmp_path):
    other = write_crystal_run(tmp_path / "MER9.nxspe", 0.0, magnon, ei=80.0)
    with pytest.raises(InputError, match="MER100_Ei60.00meV_One2One.nxspe and MER9.nxspe differ in ei: 60.0 and 80.0"):
        bin_crystal([crystal_scan[0], other], SETTING, CUT)
    other = write_crystal_run(tmp_path / "MAP9.nxspe", 0.0, magnon, name="MAPS")
    with pytest.raises(InputError, match="differ in instrument: MERLIN and MAPS"):
        bin_crystal([crystal_scan[0], other], SETTING, CUT)
    with pytest.raises(InputError, match="0 files and no angles"):
        bin_crystal([], SETTING, CUT)
    with pytest.raises(InputError, match="2 files and 1 angles"):
        bin_crystal(crystal_scan[:2], SETTING, CUT, psi=[1.0])
    with pytest.raises(InputError, match=r"no valid pixel lies in the cut; the valid pixels cover \[H,0,0\] -?\d"):
        bin_crystal(crystal_scan[:1], SETTING, ["[H,0,0],50,60,4", *CUT[1:]])


def test_an_angle_that_is_not_told(crystal_scan):
    with h5py.File(crystal_scan[1], "r+") as opened:
        opened["ws/NXSPE_info/psi"][...] = np.nan  # what SaveNXSPE writes without Psi
    with pytest.raises(RunFactError, match=r"the angle psi .*is missing from .*MER101.*give the angles with --psi"):
        bin_crystal(crystal_scan[:2], SETTING, CUT)


def test_the_command_makes_a_file_that_apply_takes(crystal_scan, insgan, tmp_path):
    cut, result = tmp_path / "cut.nxs", tmp_path / "out.nxs"
    words = [w for text in CUT for w in ("--axis", text)]
    code, out, err = insgan("bin", *crystal_scan, cut, *words, "--lattice", CRYSTAL["lattice"], "--json")
    said = json.loads(out)
    assert (code, err) == (0, "") and said["runs"] == 16 and 0 < said["valid_bins"] < said["bins"] == 32000
    assert read_nexus(cut).identical(bin_crystal(crystal_scan, SETTING, CUT))
    code, out, err = insgan("apply", cut, result, "--chopper", "G", "--frequency", "400", "--json")
    assert (code, err) == (0, "") and json.loads(out)["run"]["ei"]["value"] == CRYSTAL_EI
    assert np.array_equal(read_nexus(result).valid, read_nexus(cut).valid)
    code, _, err = insgan("bin", *crystal_scan, cut, *words, "--lattice", CRYSTAL["lattice"])
    assert code == 6 and "already exists" in err
    code, _, err = insgan("bin", *crystal_scan[:2], tmp_path / "x.nxs", *words, "--lattice", "4,4,6", "--psi", "0,x")
    assert code == 4 and "the angles '0,x' are not numbers" in err
    code, _, err = insgan("bin", crystal_scan[0], tmp_path / "x.nxs", *words)
    assert code == 2 and "--lattice" in err and not (tmp_path / "x.nxs").exists()
