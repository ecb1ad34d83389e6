"""FitSpinWModel as a user of Mantid meets it: dialog, script, groups, tables, errors, cancelling."""

from dataclasses import fields

import numpy as np
import pytest
from mantid.api import AlgorithmFactory, AlgorithmManager, AlgorithmObserver, MDNormalization, mtd
from mantid.kernel import Direction
from mantid.simpleapi import (
    CreateEmptyTableWorkspace,
    CreateMDHistoWorkspace,
    GroupWorkspaces,
    MaskMD,
)
from square import FACTS, OPTIONS, square

import mantid_insgan.mantid  # noqa: F401  (registers)
from mantid_insgan.core.model_options import FITTED_BY, LOSSES, SCALES, WEIGHTS, FitOptions
from mantid_insgan.core.options import in_mantid, option
from mantid_insgan.fit import ENGINES, problem
from mantid_insgan.fit.job import fit_spectra
from mantid_insgan.mantid import FitSpinWModel
from mantid_insgan.mantid_support.workspace import read_workspace
from mantid_insgan.models.definition import read_model
from mantid_insgan.translate.simulate import simulate

pytestmark = pytest.mark.mantid
pytest.importorskip("pyspinw")
pytest.importorskip("lmfit")

MODEL = square("J: {start: 27, min: 0, max: 60}, D: -0.5, line: {start: 5, min: 1, max: 20, vary: false}")
#: Quick, and with the same draws for every model.
QUICK = {"Resolution": "energy", "Points": 16}
TRUE = 29.0


@pytest.fixture(autouse=True)
def empty_service():
    mtd.clear()
    yield
    mtd.clear()


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "square.yaml"
    path.write_text(MODEL, encoding="utf-8")
    return str(path)


@pytest.fixture
def measured(model):
    return cut(model)


def cut(model, name="measured", seed=0, low=0.8, shown=None):
    """Counts of the model with J = 29 meV on a background, in [H,0,0] and energy, without any log."""
    extents, bins = [low, low + 0.8, 20.0, 140.0], [10, 20]
    how = {
        "Dimensionality": 2,
        "Extents": extents,
        "NumberOfBins": bins,
        "Names": ["[H,0,0]", "DeltaE"],
        "Units": ["r.l.u.", "DeltaE"],
        "Frames": ["HKL", "General Frame"],
        "OutputWorkspace": name,
    }
    empty = CreateMDHistoWorkspace(SignalInput=np.ones(200), ErrorInput=np.ones(200), **how)
    true = simulate(
        read_model(model), read_workspace(empty), set=(f"J={TRUE}",), resolution="energy", points=16, **OPTIONS
    )
    mean = np.nan_to_num(true.signal) / np.nanmax(true.signal) * 400 + 10
    counts = np.random.default_rng(seed).poisson(mean).astype(float)
    events = np.full(200, 2.0 if shown is not None else 1.0)
    made = CreateMDHistoWorkspace(
        SignalInput=counts.ravel("F") * events,
        ErrorInput=np.sqrt(np.maximum(counts, 1.0)).ravel("F") * events,
        NumberOfEvents=events,
        **how,
    )
    if shown is not None:
        made.setDisplayNormalization(shown)
    return made


def run(workspace, model, OutputParameters="table", **properties):
    return FitSpinWModel(workspace, model, OutputParameters=OutputParameters, **QUICK | FACTS | properties)


def initialized(**properties):
    algorithm = AlgorithmManager.create("FitSpinWModel")
    for name, value in properties.items():
        algorithm.setProperty(name, value)
    return algorithm


def problems(**properties) -> dict[str, str]:
    return dict(initialized(**properties).validateInputs())


def row_of(name, table="table") -> dict:
    return next(row for row in (mtd[table].row(i) for i in range(mtd[table].rowCount())) if row["Name"] == name)


def test_how_it_presents_itself():
    algorithm = initialized()
    assert AlgorithmFactory.exists("FitSpinWModel", 1) and algorithm.version() == 1
    assert algorithm.category() == "MDAlgorithms\\Transforms;Inelastic\\Corrections"
    assert algorithm.summary().endswith(".")
    assert AlgorithmManager.createUnmanaged(algorithm.name()).helpURL().startswith("https://")
    assert {"SimulateSpinWModel", "GroupWorkspaces"} <= set(algorithm.seeAlso())


def test_the_choices_are_those_of_the_fit():
    algorithm = initialized()
    choices = {"Resolution": ENGINES, "Weights": problem.WEIGHTS, "Loss": problem.LOSSES}
    for name, known in choices.items():
        assert list(algorithm.getProperty(name).allowedValues) == list(known)
    assert (list(FITTED_BY), WEIGHTS, LOSSES) == (list(ENGINES), problem.WEIGHTS, problem.LOSSES)
    assert list(algorithm.getProperty("Scale").allowedValues) == list(SCALES)
    for name in ("resolution", "scale", "weights", "loss", "starts", "seed", "shape", "width_factor"):
        assert algorithm.getProperty(option(name, FitOptions)["property"]).value == getattr(FitOptions(), name)


def test_tooltips_and_groups():
    properties = initialized().getProperties()
    for prop in properties:
        text = prop.documentation
        assert text.endswith(".") and "." not in text[:-1] and "--" not in text, prop.name
        assert text[0].isupper(), prop.name
    groups = [p.getGroup for p in properties if p.direction == Direction.Input]
    changes = [g for i, g in enumerate(groups) if i == 0 or groups[i - 1] != g]
    assert changes == ["", "Model", "Comparison", "Measurement", "Calculation"]


def test_a_script_gives_what_the_function_gives(model, measured, capfd):
    out = run(
        measured, model, FreeParameters="J, line", StartValues="J=28, line=4.5", OutputCorrelations="correlations"
    )
    options = FitOptions(free=("J", "line"), set=("J=28", "line=4.5"), resolution="energy", points=16, **OPTIONS)
    expected = fit_spectra(read_model(model), {"measured": read_workspace(measured)}, options)
    row = row_of("J")
    assert row["Value"] == pytest.approx(expected.values["J"]) and row["Kind"] == "free" and row["Start"] == 28
    at = expected.errors.names.index("J")
    for name in ("scaled", "statistical", "misfit"):
        column = {"scaled": "Error", "statistical": "StatisticalError", "misfit": "MisfitTolerance"}[name]
        assert row[column] == pytest.approx(getattr(expected.errors, name)[at])
    assert (row["Minimum"], row["Maximum"]) == (0, 60)
    assert abs(row["Value"] - TRUE) < 4 * row["Error"] < 2
    fixed = row_of("D")
    assert (fixed["Value"], fixed["Kind"]) == (-0.5, "fixed") and np.isnan(fixed["Error"])
    table = mtd["correlations"]
    assert list(table.getColumnNames()) == ["Name", "J", "line"] and list(table.column("Name")) == ["J", "line"]
    assert table.cell("J", 0) == pytest.approx(1) and table.cell("J", 1) == pytest.approx(table.cell("line", 0))
    assert out.OutputStatus == "converged" and out.DegreesOfFreedom == expected.degrees_of_freedom
    assert out.ReducedChiSquared == pytest.approx(expected.reduced_chi_squared) and out.Evaluations > 3
    said = "".join(capfd.readouterr())
    assert f"J: {expected.values['J']:.6g} +- " in said and "Scale of measured: " in said


def test_every_option_of_a_fit_is_a_property(model, measured):
    shown = {prop.name for prop in initialized().getProperties()}
    assert {option(f.name, FitOptions)["property"] for f in fields(FitOptions)} - {None} <= shown
    given = {"ModelError": 0.05, "Spread": 0.2, "Tolerance": 0.01, "Smoothing": 0.0, "Profile": "J", "Starts": 2}
    given["Corrections"] = 1
    run(measured, model, FreeParameters="J", StartValues="J=29", **given)
    options = FitOptions(
        free=("J",),
        set=("J=29",),
        resolution="energy",
        points=16,
        model_error=0.05,
        spread=0.2,
        tolerance=0.01,
        smoothing=0.0,
        profile=("J",),
        corrections=1,
        starts=2,
        **OPTIONS,
    )
    expected = fit_spectra(read_model(model), {"measured": read_workspace(measured)}, options)
    row = row_of("J")
    assert row["Value"] == pytest.approx(expected.values["J"])
    assert (row["IntervalLow"], row["IntervalHigh"]) == pytest.approx(expected.intervals["J"])
    assert row["IntervalLow"] < row["Value"] < row["IntervalHigh"]
    assert np.isnan(row_of("D")["IntervalLow"])


def test_a_parameter_to_profile_that_is_not_free_is_refused(model, measured):
    with pytest.raises(RuntimeError, match="the profile of 'D' was asked for, which is not free"):
        run(measured, model, FreeParameters="J", Profile="D")


def test_fit_and_residual_are_maps_of_the_input(model, measured):
    MaskMD("measured", Dimensions=["[H,0,0]", "DeltaE"], Extents=[1.2, 1.4, 60.0, 80.0])
    run("measured", model, OutputFitted="fitted", OutputResidual="residual")
    data = read_workspace(mtd["measured"])
    fitted, residual = (read_workspace(mtd[name]) for name in ("fitted", "residual"))
    assert fitted.axes == data.axes and not fitted.valid[~data.valid].any() and 60 < fitted.valid.sum() < 180
    error = np.sqrt(data.variance)[fitted.valid]
    expected = (data.signal - fitted.signal)[fitted.valid] / error
    np.testing.assert_allclose(residual.signal[fitted.valid], expected, rtol=1e-5, atol=1e-6)
    assert 0.8 < np.std(residual.signal[fitted.valid]) < 1.2
    history = [h.name() for h in mtd["fitted"].getHistory().getAlgorithmHistories()]
    assert history[-1] == "FitSpinWModel"


def test_a_sum_over_events_is_fitted_per_event(model):
    plain = run(cut(model, "plain"), model, "one", OutputFitted="one_fit")
    shown = run(cut(model, "events", shown=MDNormalization.NumEventsNormalization), model, OutputFitted="fit")
    assert row_of("J")["Value"] == pytest.approx(row_of("J", "one")["Value"])
    assert shown.ReducedChiSquared == pytest.approx(plain.ReducedChiSquared)
    both = [mtd[name].getSignalArray() for name in ("fit", "one_fit")]
    assert np.allclose(both[0], 2 * both[1], rtol=1e-5, equal_nan=True)


def test_a_group_is_fitted_at_once(model):
    cut(model, "first"), cut(model, "second", seed=1, low=1.2)
    both = GroupWorkspaces(["first", "second"])
    out = run(both, model, OutputFitted="fits", OutputResidual="residuals")
    assert mtd["table"].rowCount() == 4 and abs(row_of("J")["Value"] - TRUE) < 4 * row_of("J")["Error"]
    for name in ("fits", "residuals"):
        assert mtd[name].getNumberOfEntries() == 2 and list(mtd[name].getNames()) == [f"{name}_1", f"{name}_2"]
    assert mtd["fits_2"].getDimension(0).getMinimum() == pytest.approx(1.2)
    single = run("first", model, "single")
    assert out.DegreesOfFreedom > 1.5 * single.DegreesOfFreedom
    assert row_of("J")["StatisticalError"] < row_of("J", "single")["StatisticalError"]


def test_nothing_is_wrong_with_a_good_input_or_an_empty_dialog(model, measured):
    assert problems() == {} and problems(InputWorkspace="measured") == {}
    assert problems(InputWorkspace="measured", ModelFile=model, **FACTS) == {}


@pytest.mark.parametrize(
    ("properties", "name", "text"),
    [
        ({"FreeParameters": "J, K"}, "FreeParameters", "the parameter 'K' is to be free, and the model 'square' has"),
        ({"StartValues": "K=1"}, "StartValues", "there is no parameter 'K'"),
        (
            {"StartValues": "J"},
            "StartValues",
            "the setting 'J' is no name with a number. Fix: write it as in StartValues",
        ),
        ({"Background": "flat"}, "Background", "unknown background 'flat'. Fix: use some of none, constant,"),
        ({"Lattice": "4,4"}, "Lattice", "the lattice '4,4' is not three or six finite numbers"),
        ({"Lattice": "5,5,13"}, "Lattice", "the unit cell of the model 'square' is 3.89,3.89,12.7"),
        ({"IncidentEnergy": 100.0}, "IncidentEnergy", "above the incident energy"),
        ({"ChopperPackage": "Z"}, "ChopperPackage", "chopper package 'Z' is not known for MAPS"),
    ],
)
def test_each_property_has_its_message(model, measured, properties, name, text):
    found = problems(InputWorkspace="measured", ModelFile=model, **FACTS | properties)
    assert set(found) == {name}, found
    assert text in found[name] and "--" not in found[name]


def test_all_that_is_missing_is_asked_for_at_once_and_the_model_has_the_cell(model, measured):
    assert set(problems(InputWorkspace="measured", ModelFile=model)) == set(FACTS)


def test_nothing_free(model, measured, tmp_path):
    (tmp_path / "fixed.yaml").write_text(MODEL.replace("max: 60", "max: 60, vary: false"))
    found = problems(InputWorkspace="measured", ModelFile=str(tmp_path / "fixed.yaml"), **FACTS)
    assert "no parameter of the model 'square' is free" in found["FreeParameters"]


def test_another_kind_of_workspace(model, measured):
    CreateEmptyTableWorkspace(OutputWorkspace="table")
    GroupWorkspaces(["measured", "table"], OutputWorkspace="mixed")
    for name in ("table", "mixed"):
        found = problems(InputWorkspace=name, ModelFile=model, **FACTS)
        assert "'table' is a TableWorkspace, expected an MDHistoWorkspace" in found["InputWorkspace"]


def test_an_error_while_it_runs_leaves_nothing(model, measured):
    workspace = mtd["measured"]
    workspace.setSignalArray(np.full((10, 20), np.nan))
    with pytest.raises((RuntimeError, TypeError)):
        run("measured", model)
    assert mtd.getObjectNames() == ["measured"]


class _Canceller(AlgorithmObserver):
    """Cancels an algorithm at its report of that number."""

    def __init__(self, algorithm, at):
        super().__init__()
        self.algorithm, self.at, self.messages = algorithm, at, []
        self.observeProgress(algorithm)

    def progressHandle(self, share, message, *_):
        self.messages.append((share, message))
        if len(self.messages) == self.at:
            self.algorithm.cancel()


def cancelled(model, at, **properties):
    given = {"InputWorkspace": "measured", "ModelFile": model, "OutputParameters": "table", **QUICK, **FACTS}
    algorithm = initialized(**given | properties)
    algorithm.setRethrows(True)
    return algorithm, _Canceller(algorithm, at)


def test_a_cancelled_fit_keeps_the_best_so_far(model, measured):
    algorithm, canceller = cancelled(model, 6, OutputFitted="fit", Starts=50)
    assert algorithm.execute()
    assert len(canceller.messages) == 6 and "evaluations, best chi-squared" in canceller.messages[-1][1]
    shares = [share for share, _ in canceller.messages]
    assert shares == sorted(shares) and shares[-1] < 1
    assert algorithm.getProperty("OutputStatus").value == "stopped"
    assert mtd.getObjectNames() == ["fit", "measured", "table"] and abs(row_of("J")["Value"] - TRUE) < 2.5


def test_one_cancelled_before_any_comparison_leaves_nothing(model, measured):
    algorithm, canceller = cancelled(model, 2)
    with pytest.raises((RuntimeError, KeyboardInterrupt)):
        algorithm.execute()
    assert len(canceller.messages) == 2 and mtd.getObjectNames() == ["measured"]


def test_a_property_that_a_message_names_is_one_of_the_algorithm():
    assert in_mantid("give --set J=29, or --free", FitOptions) == "give StartValues J=29, or FreeParameters"
