"""SpinWResolution, the function for Mantid's Fit, and PrepareSpinWFit, which makes the spectrum to fit it to."""

import numpy as np
import pytest
from mantid.api import AlgorithmFactory, AlgorithmManager, FunctionFactory, MDNormalization, mtd
from mantid.simpleapi import CreateMDHistoWorkspace, MaskMD
from square import OPTIONS, square

import mantid_insgan.mantid  # noqa: F401  (registers)
from mantid_insgan.mantid import PrepareSpinWFit
from mantid_insgan.mantid_support import fit_function
from mantid_insgan.mantid_support.workspace import read_workspace
from mantid_insgan.models.definition import read_model
from mantid_insgan.translate.simulate import simulate

pytestmark = pytest.mark.mantid
pytest.importorskip("pyspinw")
pytest.importorskip("lmfit")

MODEL = square(
    "J: {start: 27, min: 0, max: 60}, Jp: {tie: 0.05 * J}, D: -0.5, line: {start: 5}",
    "  - {vectors: [[1, 1, 0], [1, -1, 0]], exchange: Jp}\n",
)
FACTS = "Instrument=MAPS,ChopperPackage=S,ChopperFrequency=400,IncidentEnergy=200"


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


def cut(name="cut", events=None):
    size = 8 * 12
    values = 1 + np.arange(size) % 7
    workspace = CreateMDHistoWorkspace(
        SignalInput=values * (events or 1.0),
        ErrorInput=np.sqrt(values) * (events or 1.0),
        NumberOfEvents=np.full(size, events or 1.0),
        Dimensionality=2,
        Extents=[0.8, 1.6, 10.0, 130.0],
        NumberOfBins=[8, 12],
        Names=["[H,0,0]", "DeltaE"],
        Units=["r.l.u.", "DeltaE"],
        Frames=["HKL", "General Frame"],
        OutputWorkspace=name,
    )
    if events is not None:
        workspace.setDisplayNormalization(MDNormalization.NumEventsNormalization)
    return workspace


def function(model, more="", resolution="energy"):
    text = (
        f'name=SpinWResolution,ModelFile="{model}",InputWorkspace=cut,Resolution={resolution},Points=16,{FACTS}{more}'
    )
    return FunctionFactory.createInitialized(text)


def expected(model, resolution="energy", **values):
    """Intensity in every bin, in C order, 0 where no neutron can be."""
    given = tuple(f"{name}={value}" for name, value in values.items())
    like = read_workspace(mtd["cut"])
    found = simulate(read_model(model), like, resolution=resolution, points=16, set=given, **OPTIONS)
    return np.nan_to_num(found.signal.ravel())


@pytest.mark.parametrize("resolution", ["energy", "covariance"])
def test_the_function_is_the_simulation(model, resolution):
    cut()
    everywhere = np.arange(96.0)
    found = function(model, ",J=30,Scale=2,Background=0.5", resolution).function1D(everywhere)
    # for 'covariance' the momenta at which the model is asked were chosen at its start values
    tolerance = 1e-9 if resolution == "energy" else 0.05
    wanted = 2 * expected(model, resolution, J=30) + 0.5
    assert np.abs(found - wanted).max() <= tolerance * wanted.max() and wanted.max() > 1
    assert found.dtype == np.float64 and found.flags.c_contiguous and found.shape == everywhere.shape
    some = np.array([80.0, 3.0, 40.0])
    assert np.array_equal(
        function(model, ",J=30,Scale=2,Background=0.5", resolution).function1D(some), found[some.astype(int)]
    )


def test_its_parameters_are_those_of_the_file(model):
    made = function(model)
    names = [made.parameterName(i) for i in range(made.nParams())]
    assert names == ["Scale", "Background", "J", "D", "line", "energy_factor"], "the tied one is worked out"
    assert [made.getParameterValue(name) for name in names] == [1, 0, 27, -0.5, 5, 1]
    assert [made.isFixed(i) for i in range(len(names))] == [False, False, False, True, False, True]
    assert made.getConstraints() == "0<J,J<60" and made.category() == "Inelastic"
    made.setAttributeValue("ModelFile", model)
    assert made.nParams() == len(names)


def test_what_does_not_depend_on_the_parameters_is_kept(model, monkeypatch):
    cut()
    prepared, prepare = [], fit_function.engine_for
    monkeypatch.setattr(fit_function, "engine_for", lambda *a, **k: prepared.append(a[0]) or prepare(*a, **k))
    x = np.arange(96.0)
    for j in (27, 28):
        function(model, f",J={j}").function1D(x)
    assert prepared == ["energy"], "a copy of the function, as Fit makes it, does not prepare again"
    MaskMD("cut", Dimensions=["[H,0,0]", "DeltaE"], Extents=[1.2, 1.4, 60.0, 80.0])
    function(model).function1D(x)
    assert len(prepared) == 2, "another mask is another convolution"


def test_errors_of_the_function(model, tmp_path):
    cut()
    with pytest.raises(ValueError, match="none.yaml"):
        function(str(tmp_path / "none.yaml"))
    with pytest.raises(RuntimeError, match="Fix: "):
        function(model, ",J=-5").function1D(np.arange(3.0))
    (tmp_path / "scale.yaml").write_text(
        MODEL.replace("J:", "Scale:").replace("J}", "Scale}").replace("* J", "* Scale")
    )
    with pytest.raises(ValueError, match="has a parameter Scale, as the function has. Fix: rename it"):
        function(str(tmp_path / "scale.yaml"))


def test_how_the_algorithm_presents_itself():
    algorithm = AlgorithmManager.create("PrepareSpinWFit")
    assert AlgorithmFactory.exists("PrepareSpinWFit", 1) and "SpinWResolution" in FunctionFactory.getFunctionNames()
    assert algorithm.summary().endswith(".")
    assert AlgorithmManager.createUnmanaged(algorithm.name()).helpURL().startswith("https://")
    assert all(p.documentation.endswith(".") and "." not in p.documentation[:-1] for p in algorithm.getProperties())


@pytest.mark.parametrize("events", [None, 4.0])
def test_the_spectrum_has_the_valid_bins(model, events):
    cut(events=events)
    MaskMD("cut", Dimensions=["[H,0,0]", "DeltaE"], Extents=[1.2, 1.4, 60.0, 80.0])
    out = PrepareSpinWFit("cut", model, OutputWorkspace="spectrum")
    x, y, e = (getattr(out.OutputWorkspace, f"read{a}")(0) for a in "XYE")
    data = read_workspace(mtd["cut"])
    assert np.array_equal(x, np.flatnonzero(data.valid)) and 0 < x.size < 96
    share = data.num_events.ravel()[x.astype(int)] if events else 1.0
    assert np.allclose(y, data.signal.ravel()[x.astype(int)] / share)
    assert np.allclose(e, np.sqrt(data.variance.ravel()[x.astype(int)]) / share)
    assert out.Function == f'name=SpinWResolution,ModelFile="{model}",InputWorkspace=cut'
    made = FunctionFactory.createInitialized(out.Function + f",Resolution=energy,{FACTS}")
    assert made.function1D(x).shape == x.shape


def test_what_the_algorithm_refuses(model, tmp_path):
    workspace = cut()
    (tmp_path / "bad.yaml").write_text("lattice: {a: 4}\nbands: []\n")
    algorithm = AlgorithmManager.create("PrepareSpinWFit")
    algorithm.setProperty("ModelFile", str(tmp_path / "bad.yaml"))
    assert "bad.yaml" in algorithm.validateInputs()["ModelFile"]
    workspace.setErrorSquaredArray(np.zeros((8, 12)))
    with pytest.raises(RuntimeError, match="no bin of 'cut' is valid and has an error above 0. Fix: check its mask"):
        PrepareSpinWFit("cut", model, OutputWorkspace="spectrum")
