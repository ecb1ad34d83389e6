"""Horace files: their pixels in bins of h, k, l and energy, the facts of their runs, and what is refused."""

import json
import sys

import numpy as np
import pytest
from conftest import CRYSTAL, CRYSTAL_EI

from mantid_insgan.errors import DeviceError, InputError, RunFactError
from mantid_insgan.io import crystal, read_nexus, read_spectrum
from mantid_insgan.io.crystal import Setting, bin_crystal, momenta
from mantid_insgan.io.nxspe import read_crystal_run
from mantid_insgan.io.sqw import bin_sqw, is_sqw

CELL = (3.0, 4.0, 5.0, 80.0, 95.0, 115.0)
CUT = ["[H,H,0],-0.5,1.5,8", "[-K,K,0],-1,1,6", "[0,0,L],-1,1,4", "DeltaE,2,42,10"]


@pytest.fixture(scope="module")
def library():
    pytest.importorskip("scipp", reason="scippneutron is not installed: pip install 'mantid-insgan[sqw]'")
    return pytest.importorskip(
        "scippneutron.io.sqw", reason="scippneutron is not installed: pip install 'mantid-insgan[sqw]'"
    )


@pytest.fixture
def write(library, tmp_path):
    """Writes a file of pixels, shape (n, 9), with scippneutron."""
    import scipp as sc

    def of_run(number, energy, mode, arc):
        return library.SqwIXExperiment(
            run_id=number,
            efix=sc.scalar(energy, unit="meV"),
            emode=library.EnergyMode[mode],
            en=sc.array(dims=["energy_transfer"], values=[2.0, 22.0, 42.0], unit="meV"),
            psi=sc.scalar(3.0 * number, unit="deg"),
            u=sc.vector([1.0, 1.0, 0.0], unit="1/angstrom"),
            v=sc.vector([0.0, 0.0, 1.0], unit="1/angstrom"),
            **{name: sc.scalar(arc, unit="deg") for name in ("omega", "dpsi", "gl", "gs")},
        )

    def file(
        pixels, *, cell=CELL, name="MERLIN", ei=(60.0, 60.0), mode="direct", arc=0.0, path="a.sqw", order="native"
    ):
        runs = [of_run(number, energy, mode, arc) for number, energy in enumerate(ei)]
        builder = library.Sqw.build(tmp_path / path, title="test", byteorder=order)
        builder = builder.add_pixel_data(np.asarray(pixels, np.float32), experiments=runs)
        if cell:
            lengths, angles = sc.vector(list(cell[:3]), unit="angstrom"), sc.vector(list(cell[3:]), unit="deg")
            builder = builder.add_default_sample(
                library.SqwIXSample(name="", lattice_spacing=lengths, lattice_angle=angles)
            )
        if name:
            source = library.SqwIXSource(name="ISIS", target_name="TS1", frequency=sc.scalar(50.0, unit="Hz"))
            builder = builder.add_default_instrument(library.SqwIXNullInstrument(name=name, source=source))
        return builder.create()

    return file


def of_hkl(hkl) -> np.ndarray:
    """Momenta in the Cartesian frame of the crystal `CELL`, from the vectors of its cell; shape (n, 3)."""
    al, be, ga = np.radians(CELL[3:])
    c_y = (np.cos(al) - np.cos(be) * np.cos(ga)) / np.sin(ga)
    direct = np.array(CELL[:3])[:, None] * [
        [1, 0, 0],
        [np.cos(ga), np.sin(ga), 0],
        [np.cos(be), c_y, np.sqrt(np.sin(be) ** 2 - c_y**2)],
    ]
    star = 2 * np.pi * np.linalg.inv(direct).T
    x = star[0] / np.linalg.norm(star[0])
    z = np.cross(star[0], star[1]) / np.linalg.norm(np.cross(star[0], star[1]))
    return hkl @ star @ np.transpose([x, np.cross(z, x), z])


@pytest.fixture
def pixels() -> tuple[np.ndarray, np.ndarray]:
    """Pixels as a file has them, and their h, k, l, E."""
    rng = np.random.default_rng(5)
    places = rng.uniform([-1, -1, -1.2, 0], [2, 2, 1.2, 45], (20_000, 4))
    made = np.zeros((20_000, 9))
    made[:, :3], made[:, 3] = of_hkl(places[:, :3]), places[:, 3]
    made[:, 4:7] = rng.integers(1, 3, (20_000, 3))
    made[:, 7] = rng.poisson(2.0, 20_000)
    made[:, 8] = made[:, 7]
    return made, places


def by_numpy(pixels, places) -> tuple[np.ndarray, ...]:
    """Mean, its variance and the number of pixels in the bins of `CUT`."""
    h, k = places[:, :2].T
    along = np.column_stack([(h + k) / 2, (k - h) / 2, places[:, 2:]])
    edges = [np.linspace(-0.5, 1.5, 9), np.linspace(-1, 1, 7), np.linspace(-1, 1, 5), np.linspace(2, 42, 11)]
    number = np.histogramdd(along, edges)[0]
    signal, variance = (np.histogramdd(along, edges, weights=pixels[:, n])[0] for n in (7, 8))
    with np.errstate(invalid="ignore"):
        return signal / number, variance / number**2, number


@pytest.mark.parametrize("order", ["little", "big"])
def test_bins_hold_the_means_of_the_pixels(write, pixels, order):
    found = bin_sqw(write(pixels[0], order=order), CUT)
    signal, variance, number = by_numpy(*pixels)
    # a pixel on an edge may fall to either side, because the file has single precision
    same = found.num_events == number
    assert same.mean() > 0.99 and number.sum() > 3000 and found.shape == (8, 6, 4, 10)
    np.testing.assert_allclose(found.signal[same], signal[same], rtol=1e-6)
    np.testing.assert_allclose(found.variance[same], variance[same], rtol=1e-6)
    assert np.array_equal(found.valid, found.num_events > 0)


def test_parts_do_not_show(write, pixels, monkeypatch):
    file = write(pixels[0])
    whole, seen = bin_sqw(file, CUT), []
    monkeypatch.setattr("mantid_insgan.io.sqw.CHUNK", 7001)
    parts = bin_sqw(file, CUT, progress=seen.append)
    assert seen == [7001 / 20_000, 14_002 / 20_000, 1.0]
    assert np.array_equal(parts.num_events, whole.num_events)
    np.testing.assert_allclose(parts.signal, whole.signal, rtol=1e-12)


def test_a_scan_has_the_same_bins_as_its_nxspe_files(write, crystal_scan):
    """Pixels are written as Horace calculates them: rotated back to the crystal, x along a* and y along b*."""
    written = []
    for number, path in enumerate(crystal_scan[:5]):
        run = read_crystal_run(path)
        rows, columns = np.nonzero(run.pixels.valid)
        energy = (0.5 * (run.pixels.energy[1:] + run.pixels.energy[:-1]))[columns]
        x, y, z = momenta(run, rows, energy)
        c, s = np.cos(np.radians(run.psi)), np.sin(np.radians(run.psi))
        values = [s * x + c * z, c * x - s * z, y, energy, np.full(len(x), number), rows, columns]
        signal = [run.pixels.signal[rows, columns], run.pixels.variance[rows, columns]]
        written.append(np.column_stack([*values, *signal]))
    cut = ["[H,0,0],-0.5,1.5,20", "[0,K,0],-1.5,0.5,20", "[0,0,L],-0.5,0.5,1", "DeltaE,2,42,10"]
    file = write(np.concatenate(written), cell=(4, 4, 6, 90, 90, 90), ei=(CRYSTAL_EI,) * 5)
    found = bin_sqw(file, cut, u=CRYSTAL["u"], v=CRYSTAL["v"])
    expected = bin_crystal(crystal_scan[:5], Setting.parsed(**CRYSTAL), cut)
    same = found.num_events == expected.num_events
    assert same.mean() > 0.99 and found.num_events.sum() > 5000
    np.testing.assert_allclose(found.signal[same], expected.signal[same], rtol=1e-5)
    here, there = found.run.value("lattice"), expected.run.value("lattice")
    assert here.cell == there.cell and np.allclose(here.ub, there.ub)
    assert {n: found.run.value(n) for n in ("ei", "instrument")} == {"ei": CRYSTAL_EI, "instrument": "MERLIN"}


def test_facts_and_the_options_that_replace_them(write, pixels):
    run = bin_sqw(write(pixels[0]), CUT).run
    assert (run.ei.value, run.ei.source) == (60.0, "expdata of the sqw file")
    assert (run.instrument.value, run.instrument.source) == ("MERLIN", "instruments of the sqw file")
    assert run.lattice.value.cell == CELL and run.lattice.source == "samples of the sqw file"
    assert np.allclose(run.lattice.value.ub, Setting(run.lattice.value, (1, 1, 0), (0, 0, 1)).oriented().ub)
    assert not run.notes
    other = {"lattice": "3,4,5.5,80,95,115", "u": "1,0,0", "v": "0,1,0"}
    run = bin_sqw(write(pixels[0]), CUT, **other, ei=61.0, instrument="LET").run
    assert (run.value("ei"), run.value("instrument")) == (61.0, "LET") and run.ei.replaced.value == 60.0
    assert np.allclose(run.value("lattice").ub, Setting.parsed(**other).oriented().ub)


def test_another_cell_moves_the_pixels(write, pixels):
    cut = ["[H,0,0],-9,9,1", "[0,K,0],-9,9,1", "[0,0,L],0,1,1", "DeltaE,0,45,1"]
    scaled = bin_sqw(write(pixels[0]), cut, lattice=f"3,4,10,{','.join(map(str, CELL[3:]))}")
    doubled = 2 * pixels[1][:, 2]
    assert scaled.num_events.sum() == pytest.approx(((doubled > 0) & (doubled < 1)).sum(), abs=3)


def test_what_the_file_does_not_say_or_ub_does_not_have(write, pixels):
    assert bin_sqw(write(pixels[0], name=""), CUT).run.value("instrument") is None
    (note,) = bin_sqw(write(pixels[0], arc=1.5), CUT).run.notes
    assert note == (
        "the goniometer arcs gl and gs of the sqw file (up to 1.5 degrees) are in the positions of its pixels, and not "
        "in UB"
    )
    with pytest.raises(RunFactError, match=r"a\.sqw has no unit cell of a sample. Fix: give --lattice a,b,c,alpha"):
        bin_sqw(write(pixels[0], cell=None), CUT)


def test_an_instrument_with_components_is_a_note(write, pixels, monkeypatch, library):
    """scippneutron does not write one: it is made to not know the kind of instrument that it writes."""
    file = write(pixels[0])
    kind = (library.SqwIXNullInstrument.serial_name, library.SqwIXNullInstrument.version)
    monkeypatch.delitem(sys.modules["scippneutron.io.sqw._sqw"]._BLOCK_PARSERS, kind)
    run = bin_sqw(file, CUT).run
    assert run.value("instrument") is None and run.value("ei") == 60.0
    assert run.notes == ("the instrument of the sqw file was not read: scippneutron does not know its components",)


def test_pixels_without_a_number_do_not_count(write, pixels):
    made, places = pixels
    holes = made.copy()
    holes[:100, 7], holes[100:200, 8] = np.nan, -1.0
    found = bin_sqw(write(holes), CUT)
    assert found.num_events.sum() == bin_sqw(write(made[200:], path="b.sqw"), CUT).num_events.sum()


@pytest.mark.parametrize(
    ("about", "text"),
    [
        (
            {"ei": (60.0, 80.0)},
            "a.sqw have Ei from 60 to 80 meV, expected one Ei. Fix: give a file with the runs of one Ei",
        ),
        ({"mode": "indirect"}, "a.sqw has runs of indirect geometry, or none. Fix: give runs of a chopper"),
    ],
)
def test_runs_that_will_not_do(write, pixels, about, text):
    with pytest.raises(InputError, match=text):
        bin_sqw(write(pixels[0], **about), CUT)


def test_no_pixel_in_the_cut(write, pixels):
    with pytest.raises(InputError, match=r"no valid pixel lies in the cut; the valid pixels cover \[H,H,0\]"):
        bin_sqw(write(pixels[0]), ["[H,H,0],50,60,4", *CUT[1:]])


def test_files_of_other_versions_and_damaged_ones(write, pixels, tmp_path):
    file = write(pixels[0])
    content = file.read_bytes()
    old = tmp_path / "old.sqw"
    old.write_bytes(content[:10] + np.float64(3.1).tobytes() + content[18:])
    with pytest.raises(InputError, match=r"old\.sqw is not a Horace file of version 4 as scippneutron .*version 3\.1"):
        bin_sqw(old, CUT)
    for length in (12, 60, 700, len(content) // 2):
        old.write_bytes(content[:length])
        with pytest.raises(InputError, match=r"old\.sqw is (damaged or )?not a Horace file of version 4"):
            bin_sqw(old, CUT)
    with pytest.raises(InputError, match="none.sqw does not exist or is no file. Fix: correct the path"):
        bin_sqw(tmp_path / "none.sqw", CUT)


def test_a_library_that_is_missing_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "scippneutron.io", None)
    with pytest.raises(
        DeviceError, match=r"read with scippneutron, which is not installed. Fix: pip install 'mantid-insgan\[sqw\]'"
    ):
        bin_sqw(tmp_path / "a.sqw", CUT)


def test_a_file_is_known_by_its_content(write, pixels, tmp_path):
    file = write(pixels[0], path="horace.dat")
    assert is_sqw(file) and is_sqw(tmp_path / "any.SQW") and not is_sqw(tmp_path / "none.nxspe")
    with pytest.raises(InputError, match="is a Horace file, which is not read. Fix: bin its pixels with insgan bin"):
        read_spectrum(file)


def test_the_command(write, pixels, insgan, tmp_path):
    file, cut = write(pixels[0]), tmp_path / "cut.nxs"
    words = [w for text in CUT for w in ("--axis", text)]
    code, out, err = insgan("bin", file, cut, *words, "--json")
    said = json.loads(out)
    assert (code, err) == (0, "") and said["bins"] == 1920 and said["notes"] == [] and "runs" not in said
    assert read_nexus(cut).identical(bin_sqw(file, CUT))
    code, out, _ = insgan("bin", file, tmp_path / "b.nxs", *words, "--lattice", "3,4,5.5,80,95,115")
    assert code == 0 and f"{int(read_nexus(tmp_path / 'b.nxs').num_events.sum())} pixels of a.sqw in" in out
    assert "option --lattice 3,4,5.5,80,95,115 replaces 3,4,5,80,95,115 from samples of the sqw file" in out
    code, out, _ = insgan("inspect", cut, "--json")
    assert json.loads(out)["run"]["ei"]["value"] == 60.0
    for more in (["--psi", "3"], ["--psi-offset", "1"], [file]):
        code, _, err = insgan("bin", file, *[x for x in more if x is file], tmp_path / "c.nxs", *words,
                              *[x for x in more if x is not file])  # fmt: skip
        assert code == 2 and "give one sqw file and the OUTPUT" in err


def test_parts_are_as_large_as_those_of_a_scan():
    from mantid_insgan.io import sqw

    assert sqw.CHUNK == crystal.CHUNK == 2_000_000
