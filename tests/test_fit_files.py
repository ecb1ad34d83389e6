"""`insgan fit` and `insgan compare`: problems in YAML, data files, tables of a path, figures, errors of every kind."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import yaml
from test_facts import maps_raw, write_isis

from mantid_insgan.cli import main as cli
from mantid_insgan.convolve.prepared import prepare
from mantid_insgan.core.model_options import FitOptions
from mantid_insgan.core.options import overridden
from mantid_insgan.core.run import Lattice, Run
from mantid_insgan.core.spectrum import Axis, Spectrum
from mantid_insgan.errors import InputError, InsganError, RunFactError
from mantid_insgan.fit.form import is_problem, read_problem
from mantid_insgan.fit.job import compare_files, fit_files, fit_spectra
from mantid_insgan.fit.minimise import minimise
from mantid_insgan.fit.posterior import read_posterior
from mantid_insgan.fit.problem import Problem
from mantid_insgan.fit.sampling import sample_posterior
from mantid_insgan.instruments import Resolution
from mantid_insgan.io import read_spectrum, write_nexus, write_spectrum
from mantid_insgan.io.path import read_path
from mantid_insgan.models.definition import read_model

pytest.importorskip("pyspinw")
pytest.importorskip("lmfit")

MODEL = {
    "name": "square",
    "lattice": {"a": 4.0, "c": 12.0},
    "cell": [[1, 1, 0], [-1, 1, 0], [0, 0, 1]],
    "sites": [
        {"at": [0, 0, 0], "spin": [0, 0, 1], "length": 1, "ion": "Ni2+"},
        {"at": [0, 1, 0], "spin": [0, 0, -1], "length": 1, "ion": "Ni2+"},
    ],
    "bonds": [{"vectors": [[1, 0, 0], [0, 1, 0]], "exchange": "J"}],
    "anisotropy": {"D": [0, 0, 1]},
    "parameters": {
        "J": {"start": 7.0, "min": 0, "max": 20},
        "D": {"value": -0.2, "vary": False},
        "line": {"start": 2.0, "min": 0.3, "max": 8},
    },
}
RUN = {"instrument": "MAPS", "ei": 60.0, "chopper": "S", "frequency": 300.0}
TRUE = {"J": 7.6, "line": 1.5}


def axes():
    h = Axis("[H,0,0]", np.linspace(0.2, 0.8, 13), "r.l.u.", "HKL")
    k, el = (Axis(n, (-0.05, 0.05), "r.l.u.", "HKL") for n in ("[0,K,0]", "[0,0,L]"))
    return h, k, el, Axis("DeltaE", np.linspace(6, 40, 35), "DeltaE")


def measured(definition, values) -> Spectrum:
    """Counts of a model through the resolution, on a background."""
    lattice, grid = Lattice(4.0, 4.0, 12.0, ub=np.diag([1 / 4, 1 / 4, 1 / 12])), axes()
    resolution = Resolution(**RUN, lattice=lattice)
    mean = prepare(grid, resolution).signal(definition.build(values), fwhm=values["line"])
    counts = np.random.default_rng(3).poisson(np.nan_to_num(mean) * 400 / np.nanmax(mean) + 3).astype(float)
    signal = np.where(np.isfinite(mean), counts, np.nan)
    run = Run().updated("test", **RUN, lattice=lattice)
    return Spectrum(signal, np.maximum(signal, 1.0), grid, run=run, coordinate_system=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model, its rival of the wrong exchange path, a measured cut, and a problem."""
    folder = tmp_path_factory.mktemp("fit")
    rival = {**MODEL, "name": "chain", "bonds": [{"vectors": [[1, 0, 0]], "exchange": "J"}]}
    rival["bonds"] = [{"vectors": [[1, 0, 0]], "exchange": "J"}, {"vectors": [[0, 1, 0]], "exchange": 1.0}]
    for name, model in (("square", MODEL), ("chain", rival)):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(model))
    write_nexus(measured(read_model(folder / "square.yaml"), TRUE), folder / "cut.nxs")
    problem = {
        "model": "square.yaml",
        "data": [{"file": "cut.nxs", **RUN, "mask": {"keep": {"energy": [7, 39]}}}],
        "options": {"weights": "poisson"},
    }
    (folder / "problem.yaml").write_text(yaml.safe_dump(problem))
    return folder


def run(*arguments) -> int:
    sys.argv = ["insgan", *map(str, arguments)]
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code or 0


def changed(folder, **changes):
    """The problem with some keys changed."""
    content = yaml.safe_load((folder / "problem.yaml").read_text())
    path = folder / "changed.yaml"
    path.write_text(yaml.safe_dump({**content, **changes}))
    return path


def test_a_problem_is_fitted_and_written(folder, capsys):
    out, figure = folder / "fit.json", folder / "fit.png"
    assert run("fit", folder / "problem.yaml", "--output", out, "--figure", figure, "--starts", "2") == 0
    text = capsys.readouterr().out
    assert "parameter  " in text and "chi-squared" in text and f"wrote {out}" in text
    plain = json.loads(out.read_text())
    rows = {row["name"]: row for row in plain["parameters"]}
    for name, value in TRUE.items():
        assert abs(rows[name]["value"] - value) < 4 * rows[name]["scaled"] < value / 2, name
    assert 0.7 < plain["reduced_chi_squared"] < 1.3 and len(plain["minima"]) == 2
    assert plain["options"]["weights"] == "poisson" and plain["datasets"][0]["bins"] < 13 * 34
    assert figure.stat().st_size > 20_000 and (folder / "fit-corner.png").stat().st_size > 15_000
    assert f"wrote {folder / 'fit-corner.png'}" in text
    assert run("fit", folder / "problem.yaml", "--output", out) == 6
    assert "already exists" in capsys.readouterr().err


def test_draws_are_written_beside_the_result(folder, capsys):
    pytest.importorskip("bumps", reason="bumps is not installed (extra posterior)")
    out, figure = folder / "drawn.json", folder / "drawn.png"
    given = ["fit", folder / "problem.yaml", "--free", "J", "--set", "line=1.5", "--posterior", "100"]
    assert run(*given) == 2 and "--posterior needs the result to write (--output)" in capsys.readouterr().err
    assert run(*given, "--output", out, "--figure", figure) == 0
    said = capsys.readouterr()
    assert "posterior 68 %" in said.out and f"wrote {folder / 'drawn-posterior.npz'}" in said.out
    assert "drawing from the posterior of problem.yaml" in said.err
    assert not (folder / "drawn-corner.png").exists()  # of one parameter there are no pairs
    plain = json.loads(out.read_text())
    drawn = read_posterior(folder / "drawn-posterior.npz")
    assert plain["posterior"]["draws"] == len(drawn.draws) == 100 and drawn.names == ("J",)
    (row,) = (row for row in plain["parameters"] if row["name"] == "J")
    assert row["posterior"] == plain["posterior"]["intervals"]["68"]["J"]
    figure.unlink()
    out.unlink()
    assert run(*given, "--output", out, "--figure", figure) == 6
    assert "drawn-posterior.npz already exists" in capsys.readouterr().err
    more = [*given[:-1], "200", "--output", out, "--resume", "--json"]
    assert run(*more) == 0 and json.loads(capsys.readouterr().out)["posterior"]["draws"] == 200
    np.testing.assert_array_equal(read_posterior(folder / "drawn-posterior.npz").chains[:10], drawn.chains)


@pytest.mark.slow
def test_draws_of_two_exchanges_are_as_wide_as_the_covariance_says(folder):
    pytest.importorskip("bumps", reason="bumps is not installed (extra posterior)")
    second = [{"vectors": [[1, 1, 0], [1, -1, 0]], "exchange": "Jp"}]
    parameters = {**MODEL["parameters"], "Jp": {"start": 0.3, "min": -2, "max": 3}}
    model = {**MODEL, "name": "two", "bonds": [*MODEL["bonds"], *second], "parameters": parameters}
    (folder / "two.yaml").write_text(yaml.safe_dump(model))
    true = {"J": 7.6, "Jp": 0.6, "line": 1.5}
    write_nexus(measured(read_model(folder / "two.yaml"), true), folder / "two.nxs")
    found = fit_files(changed(folder, model="two.yaml", data=[{"file": "two.nxs", **RUN}]))
    drawn = sample_posterior(found, 4000)
    assert drawn.converged
    for name, error in zip(found.errors.names, found.errors.scaled, strict=True):
        low, high = drawn.intervals()[name]
        assert (high - low) / 2 == pytest.approx(error, rel=0.15), name


def test_an_interrupted_fit_draws_nothing(folder, monkeypatch, capsys):
    pytest.importorskip("bumps", reason="bumps is not installed (extra posterior)")

    def stopped(*given, **how):
        return replace(minimise(*given, **how), stopped=True)

    monkeypatch.setattr("mantid_insgan.fit.result.minimise", stopped)
    assert run("fit", folder / "problem.yaml", "--output", folder / "cut-short.json", "--posterior", "100") == 0
    assert "the fit was stopped" in capsys.readouterr().out and not (folder / "cut-short-posterior.npz").exists()


def test_a_model_is_fitted_to_a_file(folder, capsys):
    options = ["--chopper", "S", "--frequency", "300", "--instrument", "MAPS", "--weights", "poisson", "--set", "J=8"]
    assert run("fit", folder / "square.yaml", folder / "cut.nxs", *options, "--json") == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["parameters"]}
    assert rows["J"]["start"] == 8 and rows["J"]["value"] == pytest.approx(7.6, abs=0.15)


@pytest.mark.parametrize("name", ["cut.txt", "cut.npz"])
def test_files_of_every_format_are_fitted(folder, name):
    """As the MDHistoWorkspace file with the same data is."""
    write_spectrum(read_spectrum(folder / "cut.nxs"), folder / name, overwrite=True)
    options = FitOptions(weights="poisson", free=("J",), set=("line=1.5",))
    expected = fit_files(folder / "square.yaml", [folder / "cut.nxs"], options)
    found = fit_files(folder / "square.yaml", [folder / name], options)
    assert found.values["J"] == pytest.approx(expected.values["J"], rel=1e-4)


def test_axes_and_bins_of_a_file_in_a_problem(folder):
    cut = read_spectrum(folder / "cut.nxs")
    axes = [f"{a.name}={a.edges[0]}:{a.edges[-1]}:{len(a)}" for a in cut.axes]
    np.save(folder / "cut.npy", np.stack([cut.signal, np.sqrt(cut.variance)]))
    entry = {"file": "cut.npy", "axes": axes, "energy_range": [8, 38], "energy_bins": 15, "lattice": [4.0, 4.0, 12.0]}
    found = read_problem(changed(folder, data=[{**entry, **RUN}])).datasets[0].spectrum
    expected = read_spectrum(folder / "cut.nxs", energy_range=(8, 38), energy_bins=15)
    np.testing.assert_allclose(found.signal, expected.signal, rtol=1e-9)
    assert found.run.value("ei") == 60.0


@pytest.fixture
def as_read(monkeypatch):
    """``as_read(source, data, options)``: what `fit_files` would fit."""
    monkeypatch.setattr("mantid_insgan.fit.job._fitted", lambda given, number, **how: given)
    return fit_files


def test_a_fit_of_an_isis_nxspe_needs_no_option(folder, tmp_path, as_read):
    """As apply needs none: chopper and frequency are in the groups of the raw file."""
    path = write_isis(tmp_path / "in.nxspe", fill=maps_raw)
    (data,) = as_read(folder / "square.yaml", [path]).datasets
    assert (data.resolution.instrument, data.resolution.chopper, data.resolution.frequencies) == ("MAPS", "S", (400.0,))
    assert data.spectrum.identical(read_spectrum(path))
    (data,) = as_read(folder / "square.yaml", [path], FitOptions(q_bins=20, energy_range="5,60")).datasets
    assert data.spectrum.identical(read_spectrum(path, q_bins=20, energy_range=(5, 60)))
    problem = folder / "isis.yaml"
    problem.write_text(yaml.safe_dump({"model": "square.yaml", "data": [{"file": str(path)}]}))
    (data,) = as_read(problem).datasets
    assert data.resolution.chopper == "S" and data.resolution.ei == 100.0


def test_axes_and_bins_of_a_file_that_is_fitted(folder, as_read):
    cut = read_spectrum(folder / "cut.nxs")
    axes = ";".join(f"{a.name}={a.edges[0]}:{a.edges[-1]}:{len(a)}" for a in cut.axes)
    np.save(folder / "bare.npy", np.stack([cut.signal, np.sqrt(cut.variance)]))
    options = FitOptions(**RUN, axes=axes, energy_range="8,38", energy_bins=15, lattice="4,4,12")
    (data,) = as_read(folder / "square.yaml", [folder / "bare.npy"], options).datasets
    expected = read_spectrum(folder / "cut.nxs", energy_range=(8, 38), energy_bins=15)
    np.testing.assert_allclose(data.spectrum.signal, expected.signal, rtol=1e-9)
    with pytest.raises(InputError, match="--energy-bins says how a file is read, and the spectra are in memory"):
        fit_spectra(read_model(folder / "square.yaml"), {"cut": cut}, FitOptions(energy_bins=15))
    with pytest.raises(InputError, match="names its data, and --energy-bins would be of all of them"):
        fit_files(folder / "problem.yaml", options=FitOptions(energy_bins=15))


def notes_of(given) -> tuple[str, ...]:
    return Problem(given.datasets, given.definitions[0], resolution="none", weights="equal").notes


def test_facts_that_disagree_with_those_of_the_file_are_said(folder, tmp_path, as_read):
    """Of options and of keys of a problem alike; a cell that agrees keeps the orientation of the file."""
    source = read_spectrum(folder / "cut.nxs").run.ei.source
    given = as_read(folder / "square.yaml", [folder / "cut.nxs"], FitOptions(ei=61.0, lattice="4,4,12"))
    assert notes_of(given)[0] == f"option --ei 61 replaces 60 from {source}" and "lattice" not in str(notes_of(given))
    entry = {"file": "cut.nxs", "ei": 61.0, "lattice": [4.0, 4.0, 12.0], "chopper": "S"}
    given = as_read(changed(folder, data=[entry, {"file": "cut.nxs", "name": "other"}]))
    assert f"key ei of the problem 61 replaces 60 from {source} (cut.nxs)" in notes_of(given)
    assert "chopper" not in str(notes_of(given))
    assert given.datasets[0].spectrum.run.value("lattice").ub is not None


def test_ei_of_a_problem_places_the_detectors(folder, tmp_path, as_read):
    """|Q| of an nxspe file is calculated with it."""
    path = write_isis(tmp_path / "in.nxspe", fill=maps_raw)
    entry = {"file": str(path), "ei": 110.0, "frequency": 400}
    given = as_read(changed(folder, data=[entry]))
    assert given.datasets[0].spectrum.axes == read_spectrum(path, ei=110.0).axes != read_spectrum(path).axes
    assert overridden(given.datasets[0].spectrum.run) == (
        "key ei of the problem 110 replaces 100 from NXSPE_info/fixed_energy",
    )


def test_another_temperature_than_that_of_the_data_is_said(folder, as_read):
    cut = read_spectrum(folder / "cut.nxs")
    write_nexus(cut.replace(run=cut.run.updated("test", temperature=250.0)), folder / "warm.nxs", overwrite=True)
    notes = notes_of(as_read(folder / "square.yaml", [folder / "warm.nxs"]))
    assert "the data are at 250 K and the model is at 5 K (temperature in its file, 5 if it gives none)" in notes


@pytest.mark.parametrize("flag", ["--output", "--figure", "--log"])
def test_an_output_of_a_fit_never_replaces_its_data(folder, capsys, flag):
    before = (folder / "cut.nxs").read_bytes()
    (folder / "link.png").unlink(missing_ok=True)
    (folder / "link.png").symlink_to(folder / "cut.nxs")
    assert run("fit", folder / "square.yaml", folder / "cut.nxs", flag, folder / "link.png", "--overwrite") == 6
    assert "is the input, which would be lost" in capsys.readouterr().err
    assert (folder / "cut.nxs").read_bytes() == before


def test_options_are_used_in_place_of_the_files(folder):
    path = changed(folder, options={"weights": "poisson", "background": "slope", "starts": 3})
    result = fit_files(path, options=FitOptions(starts=1, free=("J",), set=("line=1.5",)))
    assert result.errors.names == ("J",) and result.values["line"] == 1.5
    assert result.problem.background == ("slope",)
    assert len(result.search.minima) == 3  # 1 is the default: it is not "given"


def test_rivals_are_compared(folder, capsys):
    fits, verdicts = compare_files(folder / "problem.yaml", [folder / "chain.yaml"])
    assert len(fits) == 2 and verdicts[0].best == "square" and verdicts[0].decided
    out = folder / "verdict.json"
    assert run("compare", folder / "problem.yaml", folder / "chain.yaml", "--output", out) == 0
    assert "the data prefer square to chain" in capsys.readouterr().out
    assert json.loads(out.read_text())["verdicts"][0]["decided"] is True


def test_the_evidence_is_given_below_the_verdict(folder, monkeypatch, capsys):
    pytest.importorskip("dynesty", reason="dynesty is not installed (extra posterior)")
    for name, value in (("_LIVE", 6), ("_LIVE_EACH", 0), ("_CHANGE", 3.0)):  # rough, and quick
        monkeypatch.setattr(f"mantid_insgan.fit.evidence.{name}", value)
    out, given = folder / "evidence.json", ["compare", folder / "problem.yaml", folder / "chain.yaml"]
    given += ["--evidence", "--free", "J", "--set", "line=1.5", "--output", out, "--overwrite"]
    assert run(*given) == 0
    said = capsys.readouterr().out
    assert said.index("the data prefer square to chain") < said.index("evidence: strongly for square and against chain")
    assert "on condition that the limits of the parameters are the prior (uniform)" in said
    found = json.loads(out.read_text())["evidence"]
    assert [one["model"] for one in found["models"]] == ["square", "chain"] and "on condition" in found["said"][1]

    def interrupting(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("mantid_insgan.fit.evidence.evidence_for", interrupting)
    assert run(*given) == 0
    said = capsys.readouterr().out
    assert "the data prefer square to chain" in said and "evidence: stopped before it was known" in said


def test_a_rival_without_limits_is_refused_before_the_fits(folder, monkeypatch, capsys):
    pytest.importorskip("dynesty", reason="dynesty is not installed (extra posterior)")
    model = {**MODEL, "name": "wide", "parameters": {**MODEL["parameters"], "D": {"start": -0.2, "max": 0}}}
    (folder / "wide.yaml").write_text(yaml.safe_dump(model))
    monkeypatch.setattr("mantid_insgan.fit.job.Problem", None)
    assert run("compare", folder / "problem.yaml", folder / "wide.yaml", "--evidence") == 3
    assert "free parameter D of the model 'wide' has the limits -inf to 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"options": {"profile": ["J"], "profile_by": "simplex"}}, "the profile is asked for by 'simplex'"),
        ({"dat": 1}, r"the key dat is not known; the keys there are .*Fix: write data"),
        ({"data": []}, r"data is \[\]"),
        ({"data": [{"file": "none.nxs"}]}, "none.nxs"),
        (
            {"data": [{"file": "cut.nxs", "path": {"signal": "a", "momenta": "b", "energies": "c"}}]},
            r"changed.yaml: entry 1 of data has both file and path",
        ),
        ({"data": [{"file": "cut.nxs", "mask": {"keep": {"energi": [1, 2]}}, **RUN}]}, "energi"),
        ({"data": [{"file": "cut.nxs", "mask": {"keep": {"energy": [50, 60]}}, **RUN}]}, "has no valid bin"),
        ({"data": [{"file": "cut.nxs", "fixed": {"field": 2}, **RUN}]}, "fixes 'field', which is no parameter"),
        ({"model": None}, "names no model"),
        ({"models": ["square.yaml"]}, "names model and models"),
        ({"set": {"Jx": 3}}, "Jx"),
        ({"free": ["Jx"]}, "'Jx' is to be free, and the model 'square' has D, J, line"),
        ({"options": {"backgrund": "slope"}}, "there is no option 'backgrund'; the closest is 'background'"),
        ({"options": {"background": "cubic"}}, "unknown background 'cubic'"),
        ({"set": {"J": -5}}, "not stable|lowers the energy|torque"),
    ],
)
def test_a_wrong_problem_is_one_error_before_the_first_evaluation(folder, changes, message):
    with pytest.raises(InsganError, match=message):
        fit_files(changed(folder, **changes))


def test_what_is_missing_is_named(folder):
    bare = changed(folder, data=[{"file": "cut.nxs", "chopper": "Z"}])
    with pytest.raises(RunFactError, match="chopper"):
        fit_files(bare)
    with pytest.raises(InputError, match="is a model, and no data to fit were given"):
        fit_files(folder / "square.yaml")
    with pytest.raises(
        InputError, match=r"names its data, and --ei, --width-factor would be of all of them.*in the file"
    ):
        fit_files(changed(folder), options=FitOptions(ei=20.0, width_factor=1.1))
    with pytest.raises(InputError, match="names its data, and 1 more files were given"):
        fit_files(folder / "problem.yaml", [folder / "cut.nxs"])
    with pytest.raises(InputError, match="use `insgan compare` for rivals"):
        fit_files(changed(folder, model=None, models=["square.yaml", "chain.yaml"]))
    with pytest.raises(InsganError, match="'J' is no name with a number"):
        fit_files(folder / "problem.yaml", options=FitOptions(set=("J",)))
    assert is_problem(folder / "problem.yaml") and not is_problem(folder / "square.yaml")


def test_resume_needs_a_log(folder, capsys):
    assert run("fit", folder / "problem.yaml", "--resume") == 2
    assert "--resume needs the log" in capsys.readouterr().err


def write_path(folder, hkl, energies, values, variances=None):
    for name, table in (("q", hkl.T), ("e", energies[:, None]), ("s", values)):
        np.savetxt(folder / f"{name}.csv", table, delimiter=",")
    if variances is not None:
        np.savetxt(folder / "v.csv", variances)
    return {"signal": folder / "s.csv", "momenta": folder / "q.csv", "energies": folder / "e.csv"}


def test_a_path_becomes_a_cut_for_each_segment(tmp_path):
    first = np.linspace([0.75, 0.25, 0], [0.5, 0.5, 0], 6)
    second = np.linspace([0.5, 0.4, 0], [0.5, 0, 0], 5)
    hkl, energies = np.vstack([first, second]), np.arange(10.0, 18.0)
    values = np.arange(8 * 11.0).reshape(8, 11)
    values[2, 3] = 0.0
    tables = write_path(tmp_path, hkl, energies, values, np.where(values == 7, 99.0, 2.0))
    one, two = read_path(
        **tables, variance=tmp_path / "v.csv", lattice=Lattice(4, 4, 12), gap=0.0, largest_variance=50.0, across=0.1
    )
    assert [a.name for a in one.axes] == ["[H,-H,0]", "[H,H,0]", "[0,0,L]", "DeltaE"]
    np.testing.assert_allclose(one.axes[0].centers, np.linspace(0, 0.25, 6), atol=1e-12)
    np.testing.assert_allclose(one.axes[1].edges, [0.4, 0.6])
    # Axes ascend: the first point of the path, (3/4, 1/4, 0), is the last of its axis.
    assert one.signal[5, 0, 0, 1] == values[1, 0] and two.signal[4, 0, 0, 1] == values[1, 6]
    assert not one.valid[2, 0, 0, 2] and one.valid.sum() == 48 - 2 and two.valid.sum() == 40 - 1  # zeros; and 99
    for spectrum, points in ((one, first), (two, second)):
        directions = [a.projection for a in spectrum.axes[:3]]
        centres = [a.centers for a in spectrum.axes[:3]]
        found = centres[0][:, None] * directions[0] + centres[1][0] * directions[1] + centres[2][0] * directions[2]
        np.testing.assert_allclose(found[::-1], points, atol=1e-9)
    wide = read_path(**tables, lattice=Lattice(4, 4, 12), across=(0.1, 0.1, 5))[0]
    np.testing.assert_allclose(wide.axes[2].edges, [-5, 5])


def test_directions_across_a_path_are_at_right_angles(tmp_path):
    lattice = Lattice(4.0, 5.0, 7.0, 90.0, 97.0, 120.0)
    hkl = np.linspace([0.1, 0.2, 0.3], [0.5, 0.1, 0.9], 5)
    (cut,) = read_path(**write_path(tmp_path, hkl, np.arange(4.0), np.ones((4, 5))), lattice=lattice)
    vectors = np.array([a.projection for a in cut.axes[:3]]) @ lattice.b_matrix().T
    cosines = vectors @ vectors.T / np.outer(*[np.linalg.norm(vectors, axis=1)] * 2)
    np.testing.assert_allclose(cosines, np.eye(3), atol=1e-7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": np.ones((8, 5))}, "8 by 5 numbers, expected 8 energies by 6 points"),
        ({"energies": np.array([1.0, 2, 3, 4, 5, 6, 7, 9])}, "not evenly spaced"),
        ({"hkl": np.ones((6, 2))}, "expected three rows or columns"),
        ({"hkl": np.array([[0, 0, 0], [1, 0, 0], [3, 0, 0], [4, 1, 0], [9, 9, 9.0], [2, 0, 0]])}, "straight segments"),
    ],
)
def test_a_wrong_table_is_one_error(tmp_path, change, message):
    good = {"hkl": np.linspace([0, 0, 0], [1, 0, 0], 6), "energies": np.arange(8.0), "values": np.ones((8, 6))}
    with pytest.raises(InputError, match=message):
        read_path(**write_path(tmp_path, **{**good, **change}), lattice=Lattice(4, 4, 4))
    (tmp_path / "s.csv").write_text("a,b\n")
    with pytest.raises(InputError, match="is no table of numbers"):
        read_path(**write_path(tmp_path, **good) | {"signal": tmp_path / "README"}, lattice=Lattice(4, 4, 4))


def test_worked_problems_are_read(shared):
    """Those of docs/examples/fits, with the data of ../shared."""
    from pathlib import Path

    found = read_problem(Path(__file__).parents[1] / "docs" / "examples" / "fits" / "la2nio4.yaml")
    assert [d.name for d in found.datasets] == [f"Sqw_path2.csv, segment {n}" for n in range(1, 6)]
    assert sum(d.spectrum.valid.sum() for d in found.datasets) == 25820
    assert {d.group for d in found.datasets} == {"Sqw_path2.csv"}
