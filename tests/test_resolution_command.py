"""`insgan resolution`: tables, JSON and pictures of the resolution, and one clear error for each bad input."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from mantid_insgan.cli.main import app
from mantid_insgan.core.run import Lattice, Run
from mantid_insgan.core.spectrum import Axis, Spectrum
from mantid_insgan.errors import InputError, OutputError, RunFactError
from mantid_insgan.instruments import Resolution, Sample
from mantid_insgan.instruments.table import reach_of_modulus, resolution_at, resolution_over
from mantid_insgan.io import write_nexus

FACTS = ["--instrument", "MAPS", "--ei", "100", "--chopper", "S", "--frequency", "300"]
FWHM = np.sqrt(8 * np.log(2))


def call(*arguments: str):
    return CliRunner().invoke(app, ["resolution", *arguments], catch_exceptions=True)


def slice_of(crystal: bool = True, energy=(5.0, 45.0)) -> Spectrum:
    if crystal:
        momenta = (
            Axis("[H,0,0]", np.linspace(0.5, 1.5, 21), "r.l.u.", "HKL"),
            Axis("[0,K,0]", [-0.05, 0.05], "r.l.u.", "HKL"),
            Axis("[0,0,L]", [-0.1, 0.1], "r.l.u.", "HKL"),
        )
    else:
        momenta = (Axis("|Q|", np.linspace(0.8, 5, 21), "Angstrom^-1"),)
    axes = (*momenta, Axis("DeltaE", np.linspace(*energy, 17), "meV"))
    shape = [len(a) for a in axes]
    run = Run().updated("test", instrument="MAPS", ei=100.0, chopper="S", frequency=300.0)
    ub = [[0.25, 0, 0], [0, 0, 1 / 6], [0, 0.25, 0]]  # a and b in the horizontal plane
    run = run.updated("test", lattice=Lattice(4, 4, 6, ub=ub))
    return Spectrum(np.ones(shape), np.ones(shape), axes, run=run)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "slice.nxs"
    write_nexus(slice_of(), path)
    return path


def test_sample_and_mosaic(file):
    """Those of the option are those of `Resolution`, in metres there and millimetres here."""
    words = [*FACTS, "--lattice", "4,4,6", "--q", "1,0,0", "--energy", "20", "--json"]
    found = json.loads(call(*words, "--sample", "cylinder,10,40", "--mosaic", "2").stdout)
    lattice = Lattice(4, 4, 6)
    given = Resolution("MAPS", 100, "S", 300, sample=Sample("cylinder", 0.01, 0.04), mosaic=2.0, lattice=lattice)
    expected = resolution_at(given, [(1.0, 0.0, 0.0)], [20.0])
    np.testing.assert_allclose(found["points"][0]["fwhm"], expected.fwhm[0], rtol=1e-6)
    default = json.loads(call(*words).stdout)
    assert found["points"][0]["fwhm"][2] > 1.1 * default["points"][0]["fwhm"][2]
    cube = json.loads(call(*words, "--sample", "cuboid,10,10,10").stdout)
    assert cube["points"] == default["points"], "a cube of 10 mm if not given"


@pytest.mark.parametrize(
    "given", ["cylinder", "cylinder,10", "cuboid,10,10", "sphere,x", "cuboid,1,2,3,4", "sphere,inf"]
)
def test_a_sample_that_is_none(given):
    with pytest.raises(InputError, match=f"the sample '{given}' is no shape with its sizes in mm. Fix: give --sample "):
        Sample.in_mm(given)


def test_samples():
    assert Sample.in_mm("sphere, 5").width == 0.005 and Sample.in_mm(None) is None
    assert Sample.in_mm("annulus,10,40,1") == Sample("annulus", 0.01, 0.04, 0.001)
    assert Sample.in_mm(Sample()) == Sample()
    with pytest.raises(InputError, match="sample shape 'cone' is not known"):
        Sample.in_mm("cone,1,2,3")
    result = call(*FACTS, "--q", "1.5", "--energy", "10", "--mosaic", "-1")
    assert "the mosaic (degrees)" in str(result.exception)


def test_table_of_modulus_is_that_of_the_resolution():
    resolution = Resolution("MAPS", 100, "S", 300)
    table = resolution_at(resolution, [1.5, 3.0], [10.0, 30.0])
    assert table.names == ("|Q|", "E")
    np.testing.assert_allclose(table.fwhm, FWHM * np.sqrt(np.einsum("nii->ni", table.covariance)))
    spectrum = Spectrum(
        np.ones((2, 2)),
        np.ones((2, 2)),
        (Axis("|Q|", [1.4, 1.6, 1.8], "Angstrom^-1"), Axis("DeltaE", [9, 11, 13], "meV")),
    )
    np.testing.assert_allclose(table.fwhm[0], resolution.fwhm(spectrum)[:, 0, 0], rtol=1e-9)


def test_table_over_a_grid_agrees_with_the_widths_of_its_bins():
    spectrum = slice_of()
    resolution = Resolution.from_run(spectrum.run)
    table = resolution_over(resolution, spectrum, most=30)
    assert table.names == ("[H,0,0]", "E") and 10 < len(table.points) <= 36
    widths = resolution.fwhm(spectrum)
    for (h, energy), fwhm in zip(table.points, table.fwhm, strict=True):
        i = np.abs(spectrum.axes[0].centers - h).argmin()
        j = np.abs(spectrum.axes[3].centers - energy).argmin()
        np.testing.assert_allclose(fwhm, widths[:, i, j], rtol=1e-6)


def test_points_as_json():
    result = call("--q", "1.5", "--energy", "10", "--energy", "30", *FACTS, "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert [p["at"] for p in found["points"]] == [[1.5, 10.0], [1.5, 30.0]]
    assert found["setting"]["instrument"] == "MAPS" and found["axes"][1] == {"name": "E", "unit": "meV"}
    covariance = np.array(found["points"][0]["covariance"])
    assert covariance.shape == (2, 2) and (np.linalg.eigvalsh(covariance) > 0).all()


def test_points_in_hkl_as_text():
    result = call("--q", "1,0,0", "--energy", "10", *FACTS, "--lattice", "4,4,6")
    assert result.exit_code == 0
    head, titles, row = result.stdout.splitlines()
    assert head == "MAPS, Ei 100 meV, chopper S at 300 Hz"
    assert "FWHM H" in titles and "rho K E" in titles
    assert row.split()[:4] == ["1", "0", "0", "10"] and len(row.split()) == 4 + 4 + 6


def test_an_option_in_place_of_the_file_is_told(file):
    assert json.loads(call(str(file), "--ei", "100", "--json").stdout)["notes"] == []
    note = "option --ei 80 replaces 100 from log Ei of experiment0"
    assert json.loads(call(str(file), "--ei", "80", "--json").stdout)["notes"] == [note]
    assert call(str(file), "--ei", "80").stdout.endswith(f"\n  note: {note}\n")


def test_arrays_take_axes_and_bins_from_options(file, tmp_path):
    np.save(tmp_path / "map.npy", np.ones((20, 16)))
    grid = ["--axes", "[H,0,0]=0.5:1.5:20;DeltaE=5:45:16;[0,K,0]=-0.05:0.05:1;[0,0,L]=-0.1:0.1:1"]
    found = call(str(tmp_path / "map.npy"), *grid, *FACTS, "--lattice", "4,4,6", "--json")
    assert found.exit_code == 0
    assert [a["name"] for a in json.loads(found.stdout)["axes"]] == ["[H,0,0]", "E"]
    energies = {p["at"][1] for p in json.loads(call(str(file), "--energy-range", "5,15", "--json").stdout)["points"]}
    assert energies and 5 < min(energies) and max(energies) < 15
    refused = call("--q", "1", "--energy", "10", *FACTS, "--axes", "Q;DeltaE")
    assert isinstance(refused.exception, InputError)
    assert str(refused.exception) == (
        "--axes says how a file is read, and only points were given. Fix: give a file, or leave it out."
    )


@pytest.mark.parametrize("environment", [{"COLUMNS": "20"}, {"COLUMNS": "500", "FORCE_COLOR": "1", "TERM": "xterm"}])
def test_the_table_is_the_same_text_at_any_width(file, environment, monkeypatch):
    plain = call(str(file)).stdout
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = call(str(file)).stdout
    assert found == plain and found.isascii() and "\x1b" not in found
    _, titles, *rows = found.splitlines()
    assert titles.split("  ")[0].strip() == "[H,0,0] (r.l.u.)", "the name of an axis is not markup"
    assert {len(row) for row in rows} == {len(titles)} and {len(row.split()) for row in rows} == {5}


def test_columns_keep_long_and_short_cells_in_one_line():
    from mantid_insgan.report import columns

    assert columns([]) == ""
    assert columns([("a" * 300, "[bold]"), ("b", ":smile:")]) == f"{'a' * 300}  [bold]\nb{' ' * 301}:smile:"
    assert columns([("1.5", "10")], ("x", "y"), right=True) == "  x   y\n1.5  10"


def test_width_factor_widens():
    narrow, wide = (
        json.loads(call("--q", "1.5", "--energy", "10", *FACTS, "--json", "--width-factor", f).stdout)["points"][0]
        for f in ("1", "1.5")
    )
    assert wide["fwhm"][1] > 1.3 * narrow["fwhm"][1]


def test_file_gives_facts_and_grid(file):
    result = call(str(file), "--json")
    assert result.exit_code == 0, result.exception
    found = json.loads(result.stdout)
    assert [a["name"] for a in found["axes"]] == ["[H,0,0]", "E"] and found["setting"]["ei"] == 100.0


def test_file_gives_facts_for_points(file):
    found = json.loads(call(str(file), "--q", "1,0,0", "--energy", "10", "--json").stdout)
    direct = json.loads(call("--q", "1,0,0", "--energy", "10", *FACTS, "--lattice", "4,4,6", "--json").stdout)
    np.testing.assert_allclose(found["points"][0]["fwhm"], direct["points"][0]["fwhm"], rtol=1e-6)


@pytest.mark.parametrize("points", [[], ["--q", "1,0,0", "--energy", "10"]])
def test_picture(file, tmp_path, points):
    picture = tmp_path / "ellipses.png"
    result = call(str(file), *points, "--plot", str(picture))
    assert result.exit_code == 0, result.exception
    assert picture.read_bytes().startswith(b"\x89PNG")
    again = call(str(file), *points, "--plot", str(picture))
    assert isinstance(again.exception, OutputError) and "already exists" in again.exception.reason


def test_ellipse_is_the_contour_at_half_maximum():
    from mantid_insgan.report import resolution_figure

    table = resolution_at(Resolution("MAPS", 100, "S", 300), [3.0], [30.0])
    (axes,) = resolution_figure(table).axes
    x, y = axes.lines[0].get_data()
    away = np.stack([x, y]) - table.points[0][:, None]
    density = np.exp(-0.5 * np.einsum("in,ij,jn->n", away, np.linalg.inv(table.covariance[0]), away))
    np.testing.assert_allclose(density, 0.5, rtol=1e-9)
    assert x.max() - x.min() == pytest.approx(table.fwhm[0, 0], rel=0.01)


def test_one_open_axis_has_no_ellipse(tmp_path):
    path = tmp_path / "cut.nxs"
    cut = slice_of().slice(DeltaE=(8.0, 10.0))
    write_nexus(cut, path)
    result = call(str(path), "--plot", str(tmp_path / "x.png"))
    assert isinstance(result.exception, InputError) and "has no ellipse" in result.exception.reason
    assert not (tmp_path / "x.png").exists()


@pytest.mark.parametrize(
    ("arguments", "kind", "reason", "fix"),
    [
        (
            ["--q", "1", "--energy", "1", *FACTS[:3], "5000", *FACTS[4:]],
            RunFactError,
            "Ei = 5000 meV is outside",
            "--ei",
        ),
        (
            ["--q", "1", "--energy", "1", *FACTS[:3], "20", *FACTS[4:7], "600"],
            RunFactError,
            "transmits no neutrons of 20 meV",
            "--chopper",
        ),
        (["--q", "1,0,0", "--energy", "10", *FACTS], RunFactError, "the lattice is not known", "--lattice"),
        (
            ["--q", "1,0,0", "--energy", "10", *FACTS, "--lattice", "4,4,6,90,90,0"],
            InputError,
            "has no volume",
            "--lattice",
        ),
        (["--q", "30", "--energy", "10", *FACTS], RunFactError, r"outside the kinematic range", "--ei"),
        (["--q", "1", "--energy", "150", *FACTS], RunFactError, r"outside the kinematic range", "--ei"),
        (
            ["--q", "0,0,9", "--energy", "10", *FACTS, "--lattice", "4,4,6"],
            RunFactError,
            "outside the kinematic range",
            "--ei",
        ),
        (["--q", "1,2", "--energy", "10", *FACTS], InputError, "neither one number nor three", "--q 1.5"),
        (["--q", "1", "--q", "1,0,0", "--energy", "10", *FACTS], InputError, "some momenta are", "all as"),
        (["--q", "1", *FACTS], InputError, "needs a momentum and an energy", "both --q and --energy"),
        ([*FACTS], InputError, "neither a file nor a point", "--q and --energy"),
        (["--q", "1", "--energy", "1"], RunFactError, "the instrument is not known", "--instrument"),
    ],
)
def test_bad_input(arguments, kind, reason, fix):
    result = call(*arguments)
    assert type(result.exception) is kind
    assert reason in result.exception.reason and fix in result.exception.fix


def test_grid_outside_the_kinematic_range():
    axes = (Axis("|Q|", np.linspace(20, 25, 6), "Angstrom^-1"), Axis("DeltaE", np.linspace(0, 50, 6), "meV"))
    spectrum = Spectrum(np.ones((5, 5)), np.ones((5, 5)), axes)
    with pytest.raises(RunFactError, match=r"none of \d+ points over the grid .* lies in the kinematic range"):
        resolution_over(Resolution("MAPS", 100, "S", 300), spectrum)


def test_reach_is_forward_and_backward_scattering():
    resolution = Resolution("MAPS", 100, "S", 300)
    low, high = reach_of_modulus(resolution, 75.0)
    ki = np.sqrt(100 / 2.0721248)
    assert (low, high) == pytest.approx((0.5 * ki, 1.5 * ki))
    for modulus, inside in ((low * 0.99, False), (low * 1.01, True), (high * 0.99, True), (high * 1.01, False)):
        if inside:
            assert len(resolution_at(resolution, [modulus], [75.0]).points) == 1
        else:
            with pytest.raises(RunFactError, match="at 75 meV lies outside the kinematic range.*--ei"):
                resolution_at(resolution, [modulus], [75.0])


def test_an_axis_that_the_file_has_lost_may_hold_the_rest_of_the_momentum():
    spectrum = slice_of().squeeze()
    assert spectrum.ndim == 2
    assert len(resolution_over(Resolution.from_run(spectrum.run), spectrum, most=25).points) == 25
    far = spectrum.replace(axes=(Axis("[H,0,0]", np.linspace(20, 21, 21), "r.l.u.", "HKL"), spectrum.axes[1]))
    with pytest.raises(RunFactError, match="lies in the kinematic range"):
        resolution_over(Resolution.from_run(spectrum.run), far)
