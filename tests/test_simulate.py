"""`insgan simulate` and the function behind it: grids, facts, resolutions, what is written and what is refused."""

import json

import numpy as np
import pytest

from mantid_insgan.convolve import convolve, ideal
from mantid_insgan.core.model_options import SimulateOptions
from mantid_insgan.core.run import Lattice, Run, Setting
from mantid_insgan.core.spectrum import Axis, Spectrum
from mantid_insgan.demo import DATA
from mantid_insgan.errors import InputError, InsganError, RunFactError
from mantid_insgan.instruments import Orientation, Resolution
from mantid_insgan.io import read_nexus, read_spectrum, write_nexus, write_spectrum
from mantid_insgan.io.grids import grid_axes
from mantid_insgan.io.path import path_axes
from mantid_insgan.io.writer import last_record
from mantid_insgan.models.base import UnstableModelError
from mantid_insgan.models.definition import read_model
from mantid_insgan.models.parameters import Parameter
from mantid_insgan.translate import simulate as module
from mantid_insgan.translate.job import apply
from mantid_insgan.translate.simulate import plan_simulation, simulate

pytest.importorskip("pyspinw")

MODEL = """
name: square
lattice: {a: 3.89, c: 12.7}
cell: [[1, 1, 0], [-1, 1, 0], [0, 0, 1]]
sites:
  - {at: [0, 0, 0], spin: [0, 0, 1], length: 1, ion: Ni2+}
  - {at: [0, 1, 0], spin: [0, 0, -1], length: 1, ion: Ni2+}
bonds:
  - {vectors: [[1, 0, 0], [0, 1, 0]], exchange: J}
  - {vectors: [[1, 1, 0], [1, -1, 0]], exchange: Jp}
anisotropy: {D: [0, 0, 1]}
parameters:
  J: {start: 25, min: 0, max: 60}
  Jp: {tie: 0.02 * J}
  D: {value: -1, vary: false}
  line: {start: 4, min: 0.5, max: 25}
"""
LATTICE = Lattice(3.89, 3.89, 12.7)
FACTS = {"instrument": "MAPS", "ei": 200.0, "chopper": "S", "frequency": 400.0}
FLAGS = [word for name, value in FACTS.items() for word in (f"--{name}", value)]
GRID = ("[H,0,0]=0.8:1.4:6", "[0,K,0]=-0.05:0.05:1", "[0,0,L]=-0.5:0.5:1", "DeltaE=10:120:11")
GRIDS = [word for axis in GRID for word in ("--grid", axis)]


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "square.yaml"
    path.write_text(MODEL, encoding="utf-8")
    return path


@pytest.fixture
def definition(model):
    return read_model(model)


def resolution(**options) -> Resolution:
    return Resolution(*FACTS.values(), lattice=LATTICE, **options)


def close(found, expected) -> bool:
    return np.allclose(found, expected, rtol=1e-9, atol=0, equal_nan=True) and np.isfinite(found).any()


# ------------------------------------------------------------------------------------------------ the function


@pytest.mark.parametrize("method", ["covariance", "shapes", "interpolated", "montecarlo", "energy", "none"])
def test_a_simulation_is_what_convolve_gives(definition, method):
    axes, options = grid_axes(GRID), {"points": 20, "seed": 3, "fwhm": 2.5, "shape": "gaussian"}
    found = simulate(
        definition, axes, resolution=method, set=("J=30",), line=2.5, shape="gaussian", points=20, seed=3, **FACTS
    )
    made = definition.build({"J": 30})
    seen = ideal if method == "none" else convolve
    expected = seen(made, axes, resolution(), **options | ({} if method == "none" else {"method": method}))
    assert close(found.signal, expected.signal) and close(found.variance, expected.variance)
    assert found.title == f"square ({method})" and found.coordinate_system == 3
    assert {name: found.run.value(name) for name in FACTS} == FACTS
    assert found.run.value("lattice").cell == LATTICE.cell and found.run.lattice.source == "model square"
    assert found.run.value("temperature") == made.temperature


def test_the_line_is_that_of_the_model_and_the_widths_have_both_factors(definition):
    axes = grid_axes(GRID)
    made = definition.build()
    expected = convolve(made, axes, resolution(width_factor=1.2), fwhm=4.0)
    assert close(simulate(definition, axes, width_factor=1.2, **FACTS).signal, expected.signal)
    plan = plan_simulation(definition, axes, line=2.5, **FACTS)
    assert plan.line == plan.values["line"] == 2.5 and plan.history()["parameters"]["model line"] == 2.5
    wider = definition.with_parameters(Parameter("width_factor", 1.2))
    assert close(simulate(wider, axes, **FACTS).signal, expected.signal)
    expected = convolve(made, axes, resolution(width_factor=1.2 * 1.5), fwhm=4.0)
    assert close(simulate(wider, axes, width_factor=1.5, **FACTS).signal, expected.signal)


def test_with_gan_the_bundled_model_adds_the_resolution(definition):
    plan = plan_simulation(definition, grid_axes(GRID), resolution="gan", **FACTS)
    found = plan.spectrum()
    sharp = simulate(definition, grid_axes(GRID), resolution="none", **FACTS)
    expected, report = apply(sharp, direction="add-resolution")
    assert close(found.signal, expected.signal) and found.title == "square (gan)"
    assert f"resolution added by the model {report.model}" in plan.notes


def test_what_resolution_a_simulation_has_is_a_fact_of_it(definition):
    axes = grid_axes(GRID)
    found = {
        m: simulate(definition, axes, resolution=m, **FACTS).run.value("resolution") for m in ("gan", "covariance")
    }
    assert set(found.values()) == {Setting(sharpness=(1.0, 1.0))}
    assert simulate(definition, axes, resolution="none", **FACTS).run.resolution is None
    added = simulate(definition, axes, resolution="covariance", **FACTS)
    with pytest.raises(RunFactError, match=r"it was added before .insgan simulate: sharpness=1"):
        apply(added, direction="add-resolution")


def test_like_a_result_means_with_its_resolution(definition):
    plain = simulate(definition, grid_axes(GRID), **FACTS)
    said = "log insgan_resolution of experiment0"
    finer = plain.replace(run=plain.run.updated(said, resolution=Setting(sharpness=(2.0, 2.0), width_factor=1.2)))
    found = simulate(definition, finer)
    expected = convolve(definition.build(), finer, resolution(width_factor=1.2).sharpened(2.0), fwhm=4.0)
    assert close(found.signal, expected.signal)
    assert found.run.value("resolution") == Setting(sharpness=(2.0, 2.0), width_factor=1.2)
    assert not np.allclose(found.signal, plain.signal, equal_nan=True)
    with pytest.raises(InputError, match="a resolution 2 times finer .*--resolution gan adds that of the spectrometer"):
        plan_simulation(definition, finer, resolution="gan")
    without = plain.replace(run=plain.run.updated(said, resolution=Setting(sharpness=(0.0, 0.0))))
    with pytest.raises(RunFactError, match="the data have no resolution"):
        simulate(definition, without)
    sharp = simulate(definition, without, resolution="none")
    assert sharp.run.value("resolution") == Setting(sharpness=(0.0, 0.0))
    assert close(sharp.signal, simulate(definition, grid_axes(GRID), resolution="none", **FACTS).signal)


def test_a_resolution_in_place_of_facts(definition):
    axes = grid_axes(GRID)
    assert close(simulate(definition, axes, resolution()).signal, simulate(definition, axes, **FACTS).signal)
    with pytest.raises(InputError, match="a resolution was given together with --ei.*Fix: give a Run"):
        simulate(definition, axes, resolution(), ei=100.0)
    with pytest.raises(InputError, match="the resolution that was given has no lattice"):
        simulate(definition, axes, Resolution(*FACTS.values()))


def test_data_give_axes_valid_bins_and_facts(definition):
    data = read_spectrum(DATA / "measured.nxs").slice(**{"[H,H,0]": (1.2, 1.5), "DeltaE": (40, 90)})
    plan = plan_simulation(definition, data)
    found = plan.spectrum()
    assert found.axes == data.axes and found.run.value("ei") == 200.0
    assert 0 < found.valid.sum() <= data.valid.sum() and not (found.valid & ~data.valid).any()
    assert found.run.value("lattice").ub is not None and found.run.value("temperature") == 10.0
    assert plan.notes == ["the data are at 10 K and the model is at 5 K (temperature in its file, 5 if it gives none)"]


def test_a_crystal_that_was_not_turned(definition):
    grid = (*GRID[:2], "[0,0,L]=-6:6:1", GRID[3])
    found = simulate(definition, grid_axes(grid), u="0,0,1", v="1,0,0", points=32, **FACTS)
    still = resolution(orientation=((0, 0, 1), (1, 0, 0)))
    assert close(found.signal, convolve(definition.build(), grid_axes(grid), still, fwhm=4.0, points=32).signal)
    rotation = Orientation((0, 0, 1), (1, 0, 0)).rotation(LATTICE)
    np.testing.assert_allclose(found.run.value("lattice").ub, rotation @ LATTICE.b_matrix())


def test_a_powder(definition):
    axes = grid_axes(["|Q|=1:3:8", "DeltaE=20:120:10"])
    found = simulate(definition, axes, points=32, **FACTS)
    expected = convolve(definition.build(), axes, Resolution(*FACTS.values()), fwhm=4.0, points=32)
    assert close(found.signal, expected.signal) and found.run.lattice is None
    assert [a.unit for a in found.axes] == ["Angstrom^-1", "DeltaE"]


def test_progress_rises_from_0_to_1(definition):
    for method in ("covariance", "none", "gan"):
        shares = []
        simulate(definition, grid_axes(GRID), resolution=method, progress=shares.append, **FACTS)
        assert shares == sorted(shares) and 0 <= shares[0] and 0.4 < shares[-1] <= 1


# ------------------------------------------------------------------------------------------------ what is refused


def refused(definition, text, kind=InputError, grid=GRID, **options) -> None:
    with pytest.raises(kind, match=text):
        plan_simulation(definition, grid_axes(grid), **FACTS | options)


@pytest.mark.parametrize(
    ("options", "text", "kind"),
    [
        ({"set": ("K=3",)}, "there is no parameter 'K'; there are D, J, Jp", InputError),
        ({"set": ("Jp=3",)}, "the parameter Jp was given the value 3, but it is tied to '0.02", InputError),
        ({"set": ("J",)}, "the setting 'J' is no name with a number. Fix: write it as in --set J=29", InsganError),
        ({"resolution": "tobyfit"}, "--resolution is 'tobyfit', expected one of covariance, ", InputError),
        ({"points": 1}, "--points is 1. Fix: ask for 2 or more", InputError),
        ({"line": -1.0}, "the intrinsic width is -1 meV", InputError),
        ({"shape": "box"}, "unknown line shape 'box'", InputError),
        ({"u": "1,0,0"}, "--u was given without --v. Fix: give both", InputError),
        ({"u": "1,0", "v": "0,1,0"}, "u is '1,0', expected three numbers", RunFactError),
        ({"u": "1,0,0", "v": "0,1,0", "resolution": "gan"}, "--resolution gan was asked for with --u", InputError),
        ({"ei": None}, "the incident energy is not known", RunFactError),
        ({"ei": 70.0}, "lies above the incident energy, 70 meV", RunFactError),
        ({"width_factor": -1.0}, "the width factor", RunFactError),
    ],
)
def test_each_option_that_is_wrong_has_its_message(definition, options, text, kind, monkeypatch):
    monkeypatch.setattr(type(definition), "build", lambda *_: pytest.fail("the model was made"))
    refused(definition, text, kind, **options)


def test_cells_that_differ_are_named_with_the_remedy(definition):
    refused(
        definition,
        r"the unit cell of the model 'square' is 3.89,3.89,12.7,90,90,90 and that of the data is "
        r"3.98,3.89,12.7,90,90,90 \(option --lattice\): they differ by 2.3%.*"
        "Fix: write the model in the cell of the data, or give the cell",
        lattice="3.98,3.89,12.7,90,90,90",
    )
    plan_simulation(definition, grid_axes(GRID), **FACTS, lattice="3.95,3.89,12.7,90,90,90")


def test_units_that_are_unknown(definition):
    def spectrum(energy, momentum="Angstrom^-1"):
        axes = (Axis("|Q|", [1, 2, 3], momentum), Axis("DeltaE", [10, 20, 30], energy))
        return Spectrum(np.ones((2, 2)), np.ones((2, 2)), axes, run=Run().updated("made", **FACTS))

    for good in ("meV", "DeltaE", "EnergyTransfer"):
        plan_simulation(definition, spectrum(good))
    for good in ("A^-1", "1/Angstrom", "Å^-1", "MomentumTransfer"):
        plan_simulation(definition, spectrum("meV", good))
    with pytest.raises(InputError, match="the axis 'DeltaE' is in 'THz', expected meV. Fix: convert the axis to meV"):
        plan_simulation(definition, spectrum("THz"))
    for bad in ("nm^-1", "1/nm", "Angstrom"):
        with pytest.raises(InputError, match=f"is in '{bad.replace('^', '.')}', expected 1/Angstrom"):
            plan_simulation(definition, spectrum("meV", bad))


def test_axes_that_cannot_be_placed(definition):
    axes = (Axis("Q_sample_x", [0.0, 1.0, 2.0], "Angstrom^-1", "QSample"), Axis("DeltaE", [10, 20, 30], "DeltaE"))
    with pytest.raises(InputError, match="neither directions in .h, k, l. nor |Q|"):
        plan_simulation(definition, axes, **FACTS)


def test_a_model_that_is_not_stable(definition):
    with pytest.raises(UnstableModelError):
        simulate(definition, grid_axes(GRID), set=("J=-5",), **FACTS)


@pytest.mark.parametrize(
    ("texts", "text"),
    [
        (["[H,0,0]"], r"'\[H,0,0\]' is not NAME=LOW:HIGH:BINS"),
        (["[H,0,0]=1:0:5"], "is not a name, a lower and an upper limit and a number of bins"),
        (["|Q|=1:3:x"], "is not a name, a lower and an upper limit and a number of bins"),
        (["frost=0:1:5"], "'frost' is neither a direction nor the energy transfer"),
        (["[H,0,0]=0:1:5"], "with one energy transfer"),
        (["[H,0,0]=0:1:5", "[2H,0,0]=0:1:5", "DeltaE=0:1:5"], "one to three independent directions"),
        (["|Q|=0:1:5", "[H,0,0]=0:1:5", "DeltaE=0:1:5"], "neither |Q| nor one to three"),
        (["DeltaE=0:1:5"], "neither |Q| nor one to three"),
    ],
)
def test_grids_that_will_not_do(texts, text):
    with pytest.raises(InputError, match=text):
        grid_axes(texts)


# ------------------------------------------------------------------------------------------------ paths


def test_the_segments_of_a_path_go_from_corner_to_corner():
    energy = Axis("DeltaE", [0.0, 1.0], "DeltaE")
    corners = np.array([(0.2, 0.1, 0.5), (0.7, 0.6, 0.5), (0, 0, 0.5), (0, 0, 2)])
    segments = path_axes(corners, LATTICE, energy, bins=10, across=0.1)
    assert len(segments) == 3
    for axes, start, stop in zip(segments, corners[:-1], corners[1:], strict=True):
        directions = np.array([a.projection for a in axes[:3]])
        middle = [a.edges[[0, -1]].mean() for a in axes[1:3]]
        ends = [np.array([edge, *middle]) @ directions for edge in axes[0].edges[[0, -1]]]
        np.testing.assert_allclose(sorted(map(tuple, ends)), sorted(map(tuple, (start, stop))), atol=1e-12)
        assert [len(a) for a in axes] == [10, 1, 1, 1] and axes[1].width == pytest.approx(0.2)
        b = LATTICE.b_matrix() @ directions.T
        np.testing.assert_allclose(b.T @ b - np.diag(np.diag(b.T @ b)), 0, atol=1e-9)


def test_paths_that_will_not_do():
    energy = Axis("DeltaE", [0.0, 1.0], "DeltaE")
    with pytest.raises(InputError, match="1 corners of a path were given. Fix: give two or more"):
        path_axes([(0, 0, 0)], LATTICE, energy)
    with pytest.raises(InputError, match="the path stays at the corner 1,0,0"):
        path_axes([(0, 0, 0), (1, 0, 0), (1, 0, 0)], LATTICE, energy)
    with pytest.raises(InputError, match="0 bins along a segment and a half-width of 0.05"):
        path_axes([(0, 0, 0), (1, 0, 0)], LATTICE, energy, bins=0)


# ------------------------------------------------------------------------------------------------ the command


def test_the_command_on_axes(insgan, model, definition, tmp_path):
    output = tmp_path / "out.nxs"
    code, out, err = insgan("simulate", model, "-o", output, *GRIDS, *FLAGS, "--set", "J=30", "--points", 64, "--json")
    assert (code, err) == (0, "")
    said, written = json.loads(out), read_nexus(output)
    expected = simulate(definition, grid_axes(GRID), set=("J=30",), points=64, **FACTS)
    assert close(written.signal, expected.signal)
    assert {name: written.run.value(name) for name in FACTS} == FACTS and written.run.value("temperature") == 5
    lattice = written.run.value("lattice")
    assert lattice.cell == pytest.approx(LATTICE.cell)
    again = simulate(definition, written.replace(valid=None), set=("J=30",), points=64)
    assert close(again.signal, written.signal), "the orientation (UB) in the file is the one that was used"
    assert said["outputs"] == [str(output)] and said["bins"] == [66] and said["valid_bins"] == [written.valid.sum()]
    assert said["values"]["J"] == 30 and said["values"]["Jp"] == pytest.approx(0.6) and said["line"] == 4
    assert said["run"]["ei"] == {"value": 200.0, "source": "option --ei"}
    record = last_record(output)
    assert record["name"] == "insgan simulate" and record["parameters"]["model"] == "square"
    kept = {"model file": "square.yaml", "resolution": "covariance", "points": 64, "model J": 30.0, "ei": 200.0}
    assert kept.items() <= record["parameters"].items() and record["parameters"]["lattice"] == "3.89,3.89,12.7,90,90,90"


def test_the_command_like_data_in_other_bins(insgan, model, tmp_path):
    data = read_spectrum(DATA / "measured.nxs").slice(**{"[H,H,0]": (1.2, 1.5), "DeltaE": (40, 90)})
    like, output = tmp_path / "data.txt", tmp_path / "out.txt"
    write_spectrum(data, like)
    bins = ("--energy-bins", 11, "--q-range", "1.25,1.4")
    code, _, err = insgan("simulate", model, "--like", like, "-o", output, *bins, "--points", 16)
    assert (code, err) == (0, "")
    assert read_spectrum(output).axes[-1].edges.size == 12 and read_spectrum(output).run.value("ei") == 200.0
    before = like.read_bytes()
    code, _, err = insgan("simulate", model, "--like", like, "-o", like, "--overwrite")
    assert code == 6 and "is the input, which would be lost" in err and like.read_bytes() == before
    code, _, err = insgan("simulate", model, "-o", tmp_path / "a.nxs", *GRIDS, *FLAGS, "--energy-bins", 5)
    assert code == 2 and "are for --like" in err


@pytest.mark.parametrize("method", ["covariance", "none"])
def test_the_command_like_data(insgan, model, tmp_path, method):
    data = read_spectrum(DATA / "measured.nxs").slice(**{"[H,H,0]": (1.2, 1.5), "DeltaE": (40, 90)})
    like, output = tmp_path / "data.nxs", tmp_path / "out.nxs"
    write_nexus(data, like)
    words = ("simulate", model, "--like", like, "-o", output, "--resolution", method, "--points", 32)
    code, out, err = insgan(*words)
    assert (code, err) == (0, "")
    assert f"wrote {output}: " in out and f"of {data.signal.size} bins" in out and "J 25" in out
    assert "ei 200 (log Ei of experiment0)" in out and "note: the data are at 10 K" in out
    found = read_nexus(output)
    assert found.axes == data.axes and np.nanmax(found.signal) > 0
    np.testing.assert_allclose(found.run.value("lattice").ub, data.run.value("lattice").ub, atol=1e-9)
    code, _, err = insgan(*words)
    assert code == 6 and "exists" in err
    assert insgan(*words, "--overwrite")[0] == 0


def test_the_command_on_real_powder_data(insgan, model, excerpts, tmp_path):
    like = excerpts / "bi2fe4o9-merlin" / "MER40874_Ei62.00meV_Rings.nxspe"
    output = tmp_path / "out.nxs"
    words = ("simulate", model, "--like", like, "-o", output, "--set", "J=8", "--points", 8)
    code, _, err = insgan(*words)
    assert code == 4 and "the chopper package is not known. Fix: give it (--chopper)" in err and not output.exists()
    code, _, err = insgan(*words, "--chopper", "S", "--frequency", 400)
    assert (code, err) == (0, "")
    found = read_nexus(output)
    assert found.run.value("chopper") == "S" and found.valid.any() and np.nanmax(found.signal) > 0


def test_the_command_on_a_real_cut(insgan, model, shared, tmp_path):
    like, output = shared / "data" / "mdhisto" / "1Dcut_sym_0p00T_K.nxs", tmp_path / "out.nxs"
    words = ("simulate", model, "--like", like, "-o", output, "--set", "J=0.05", "--set", "D=-0.02", "--line", 0.05)
    code, _, err = insgan(*words)
    assert code == 4 and "the incident energy is not known" in err
    facts = ("--ei", 1.55, "--chopper", "High Flux", "--frequency", 180)
    code, out, err = insgan(*words, *facts)
    assert (code, err) == (0, "") and "lattice" not in err, err
    assert read_nexus(output).shape == read_nexus(like).shape and np.nanmax(read_nexus(output).signal) > 0


def test_the_command_along_a_path(insgan, model, definition, tmp_path):
    words = ["--path", "0.8,0,0", "--path", "1.2,0.4,0", "--path", "1.5,0.4,0"]
    output = tmp_path / "path.nxs"
    how = ["--segment-bins", 4, "--across", 0.1, "--grid", "DeltaE=30:90:6", "--points", 16]
    code, out, err = insgan("simulate", model, "-o", output, *words, *how, *FLAGS)
    assert (code, err) == (0, "") and not output.exists()
    files = [tmp_path / f"path-{n}.nxs" for n in (1, 2)]
    assert all(f"wrote {file}: " in out for file in files)
    energy = Axis("DeltaE", np.linspace(30, 90, 7), "DeltaE")
    corners = [(0.8, 0, 0), (1.2, 0.4, 0), (1.5, 0.4, 0)]
    for file, axes in zip(files, path_axes(corners, LATTICE, energy, bins=4, across=0.1), strict=True):
        assert close(read_nexus(file).signal, simulate(definition, axes, points=16, **FACTS).signal)
    code, _, _ = insgan("simulate", model, "-o", output, *words[:4], *how, *FLAGS)
    assert code == 0 and output.exists(), "one segment keeps the name"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "give --like FILE, or --grid NAME=LOW:HIGH:BINS for each axis"),
        (["--like", DATA / "measured.nxs", *GRIDS], "give --like FILE, or --grid"),
        (["--path", "0,0,0", "--path", "1,0,0"], "--path needs --grid for the energy"),
        (["--path", "0,0,0", "--path", "1,0,0", *GRIDS], "--grid gives the energy transfer alone"),
    ],
)
def test_wrong_usage(insgan, model, tmp_path, words, text):
    code, _, err = insgan("simulate", model, "-o", tmp_path / "out.nxs", *words, *FLAGS)
    assert code == 2 and text in " ".join(err.replace("│", " ").split())


def test_every_error_comes_before_the_first_evaluation(insgan, model, tmp_path, monkeypatch):
    monkeypatch.setattr(module.Simulation, "spectrum", lambda *_: pytest.fail("evaluated"))
    words = ("simulate", model, "-o", tmp_path / "out.nxs", *GRIDS, *FLAGS)
    assert insgan(*words, "--set", "K=1")[0] == InputError.exit_code
    (tmp_path / "out.nxs").write_text("mine")
    assert insgan(*words)[0] == 6
    assert insgan("simulate", tmp_path / "no.yaml", "-o", tmp_path / "o.nxs", *GRIDS, *FLAGS)[0] == 3


def test_options_have_properties_of_mantid():
    """But those for reading the file of --like: in Mantid that is a workspace."""
    fields = SimulateOptions.__dataclass_fields__.items()
    without = {name for name, entry in fields if not entry.metadata["property"]}
    assert without == {"axes", "q_bins", "q_range", "energy_bins", "energy_range"}
