"""SimulateSpinWModel as a user of Mantid meets it: dialog, script, groups, errors, cancelling."""

import numpy as np
import pytest
from mantid.api import AlgorithmFactory, AlgorithmManager, AlgorithmObserver, MDNormalization, mtd
from mantid.kernel import Direction
from mantid.simpleapi import CloneMDWorkspace, CreateMDHistoWorkspace, GroupWorkspaces, LoadMD, MaskMD, SaveMD
from square import FACTS, OPTIONS, square

import mantid_insgan.mantid  # noqa: F401  (registers)
from mantid_insgan.core.model_options import LINE_SHAPES, SIMULATED_BY, SimulateOptions
from mantid_insgan.core.options import in_mantid, option
from mantid_insgan.demo import DATA
from mantid_insgan.fit import ENGINES
from mantid_insgan.instruments import known_instruments
from mantid_insgan.io import read_nexus
from mantid_insgan.mantid import SimulateSpinWModel
from mantid_insgan.mantid_support.workspace import read_workspace
from mantid_insgan.models.definition import read_model
from mantid_insgan.models.lineshape import SHAPES
from mantid_insgan.translate.simulate import simulate

pytestmark = pytest.mark.mantid
pytest.importorskip("pyspinw")

MODEL = square("J: {start: 28, min: 0, max: 60}, D: -0.5, line: {start: 4}")


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


def cut(name="cut", bins=(8, 12), shown=None):
    """A cut in [H,0,0] and energy without any log."""
    size = int(np.prod(bins))
    workspace = CreateMDHistoWorkspace(
        SignalInput=np.ones(size),
        ErrorInput=np.ones(size),
        NumberOfEvents=np.full(size, 4.0),
        Dimensionality=2,
        Extents=[0.8, 1.6, 10.0, 130.0],
        NumberOfBins=list(bins),
        Names=["[H,0,0]", "DeltaE"],
        Units=["r.l.u.", "DeltaE"],
        Frames=["HKL", "General Frame"],
        OutputWorkspace=name,
    )
    if shown is not None:
        workspace.setDisplayNormalization(shown)
    return workspace


def run(workspace, model, OutputWorkspace="out", **properties):
    return SimulateSpinWModel(workspace, model, OutputWorkspace=OutputWorkspace, **properties)


def initialized(**properties):
    algorithm = AlgorithmManager.create("SimulateSpinWModel")
    for name, value in properties.items():
        algorithm.setProperty(name, value)
    return algorithm


def problems(**properties) -> dict[str, str]:
    return dict(initialized(**properties).validateInputs())


def test_how_it_presents_itself():
    algorithm = initialized()
    assert AlgorithmFactory.exists("SimulateSpinWModel", 1) and algorithm.version() == 1
    assert algorithm.category() == "MDAlgorithms\\Creation;Inelastic\\Corrections"
    assert algorithm.summary().endswith(".")
    assert AlgorithmManager.createUnmanaged(algorithm.name()).helpURL().startswith("https://")
    assert {"FitSpinWModel", "LoadMD"} <= set(algorithm.seeAlso())


def test_the_options_are_those_of_the_command_line():
    algorithm = initialized()
    of_files = {name for name, entry in SimulateOptions.__dataclass_fields__.items() if not entry.metadata["property"]}
    assert of_files == {"axes", "q_bins", "q_range", "energy_bins", "energy_range"}
    for name in SimulateOptions.__dataclass_fields__.keys() - of_files:
        entry = SimulateOptions.__dataclass_fields__[name]
        about, prop = option(name, SimulateOptions), algorithm.getProperty(entry.metadata["property"])
        default = getattr(SimulateOptions(), name)
        if name != "set":  # which takes several in one text
            assert prop.documentation == in_mantid(about["help"], SimulateOptions)
        assert prop.isDefault and (default in (None, ()) or prop.value == default)
    assert list(algorithm.getProperty("Resolution").allowedValues) == list(SIMULATED_BY) == [*ENGINES, "gan"]
    assert list(algorithm.getProperty("Shape").allowedValues) == list(LINE_SHAPES) == list(SHAPES)
    assert list(algorithm.getProperty("Instrument").allowedValues) == ["", *known_instruments()]


def test_tooltips_and_groups():
    properties = initialized().getProperties()
    for prop in properties:
        text = prop.documentation
        assert text[0].isupper() and text.endswith(".") and "." not in text[:-1], prop.name
    groups = [p.getGroup for p in properties if p.direction == Direction.Input]
    changes = [g for i, g in enumerate(groups) if i == 0 or groups[i - 1] != g]
    assert changes == ["", "Model", "Measurement", "Calculation"]


@pytest.mark.parametrize("resolution", ["covariance", "none"])
def test_a_script_gives_what_the_function_gives(model, resolution, capfd):
    workspace = cut()
    out = run(workspace, model, Values="J=30, line = 3", Resolution=resolution, Points=32, **FACTS)
    expected = simulate(
        read_model(model),
        read_workspace(workspace),
        set=("J=30", "line=3"),
        resolution=resolution,
        points=32,
        **OPTIONS,
    )
    assert np.allclose(out.OutputWorkspace.getSignalArray(), expected.signal, rtol=1e-6, equal_nan=True)
    assert np.allclose(out.OutputWorkspace.getErrorSquaredArray(), expected.variance, rtol=1e-6, equal_nan=True)
    assert out.ValidBins == expected.valid.sum() > 0 and out.OutputWorkspace.name() == "out"
    said = "".join(capfd.readouterr())
    assert "Model: square with J 30, D -0.5, line 3" in said and "Resolution(MAPS, Ei 200 meV" in said


def test_all_else_is_that_of_the_input(model, tmp_path):
    measured = LoadMD(str(DATA / "measured.nxs"), OutputWorkspace="measured")
    MaskMD("measured", Dimensions=["[H,H,0]", "[-H,H,0]", "[0,0,L]", "DeltaE"], Extents=[0, 1.5, -1, 1, -1, 1, 0, 200])
    before = np.array(measured.getSignalArray())
    out = run(measured, model, Resolution="energy").OutputWorkspace
    assert np.array_equal(measured.getSignalArray(), before, equal_nan=True), "the input stays as it is"
    assert np.isnan(out.getSignalArray()[np.isnan(before)]).all() and np.nanmax(out.getSignalArray()) > 0
    assert out.getExperimentInfo(0).run().getProperty("Ei").value == 200.0
    assert out.getExperimentInfo(0).sample().hasOrientedLattice()
    assert [h.name() for h in out.getHistory().getAlgorithmHistories()][-1] == "SimulateSpinWModel"
    SaveMD("out", Filename=str(tmp_path / "out.nxs"))
    assert read_nexus(tmp_path / "out.nxs").run.value("instrument") == "MAPS"


def test_what_mantid_shows_is_the_intensity(model):
    plain = run(cut(), model, "plain", Resolution="none", **FACTS).OutputWorkspace
    shown = run(cut("events", shown=MDNormalization.NumEventsNormalization), model, Resolution="none", **FACTS)
    assert shown.OutputWorkspace.displayNormalization() == MDNormalization.NumEventsNormalization
    assert np.allclose(shown.OutputWorkspace.getSignalArray(), 4 * plain.getSignalArray(), equal_nan=True)


def test_a_group_is_done_member_by_member(model):
    cut("a")
    CloneMDWorkspace("a", OutputWorkspace="b")
    both = GroupWorkspaces(["a", "b"])
    SimulateSpinWModel(both, model, OutputWorkspace="out", Resolution="none", **FACTS)
    assert list(mtd["out"].getNames()) == ["a_out", "b_out"]


def test_nothing_is_wrong_with_a_good_input_or_an_empty_dialog(model):
    cut()
    assert problems() == {} and problems(InputWorkspace="cut") == {}
    assert problems(InputWorkspace="cut", ModelFile=model, **FACTS) == {}


@pytest.mark.parametrize(
    ("properties", "name", "text"),
    [
        ({"Values": "K=3"}, "Values", "there is no parameter 'K'"),
        ({"Values": "J"}, "Values", "the setting 'J' is no name with a number. Fix: write it as in Values J=29"),
        ({"Lattice": "4,4"}, "Lattice", "the lattice '4,4' is not three or six finite numbers"),
        ({"Lattice": "5,5,13,90,90,90"}, "Lattice", "the unit cell of the model 'square' is 3.89,3.89,12.7"),
        ({"U": "1,0,0"}, "U", "U was given without V"),
        ({"U": "1,0", "V": "0,1,0"}, "U", "expected three numbers h,k,l"),
        ({"Points": 1}, "Points", "Points is 1. Fix: ask for 2 or more"),
        ({"U": "1,0,0", "V": "0,1,0", "Resolution": "gan"}, "Resolution", "Resolution gan was asked for with U and V"),
        ({"IncidentEnergy": 100.0}, "IncidentEnergy", "above the incident energy"),
        ({"ChopperPackage": "Z"}, "ChopperPackage", "chopper package 'Z' is not known for MAPS"),
    ],
)
def test_each_property_has_its_message(model, properties, name, text):
    cut()
    found = problems(InputWorkspace="cut", ModelFile=model, **FACTS | properties)
    assert set(found) == {name}, found
    assert text in found[name] and "--" not in found[name]


def test_all_that_is_missing_is_asked_for_at_once_and_the_model_has_the_cell(model):
    cut()
    assert set(problems(InputWorkspace="cut", ModelFile=model)) == set(FACTS)


def test_a_model_file_that_will_not_do(tmp_path):
    cut()
    (tmp_path / "bad.yaml").write_text("lattice: {a: 4}\nbands: []\n")
    found = problems(InputWorkspace="cut", ModelFile=str(tmp_path / "bad.yaml"), **FACTS)
    assert set(found) == {"ModelFile"} and "bad.yaml" in found["ModelFile"]
    with pytest.raises(ValueError):
        initialized(ModelFile=str(tmp_path / "none.yaml"))


def test_an_unstable_model_fails_with_its_message(model):
    cut()
    with pytest.raises(RuntimeError, match="Fix: "):
        run("cut", model, Values="J=-5", **FACTS)
    assert mtd.getObjectNames() == ["cut"]


class _Canceller(AlgorithmObserver):
    """Cancels an algorithm at its second report."""

    def __init__(self, algorithm):
        super().__init__()
        self.algorithm, self.shares = algorithm, []
        self.observeProgress(algorithm)

    def progressHandle(self, share, *_):
        self.shares.append(share)
        if len(self.shares) == 2:
            self.algorithm.cancel()


def test_cancelling_leaves_no_workspace(model):
    cut()
    given = {"InputWorkspace": "cut", "ModelFile": model, "OutputWorkspace": "out", **FACTS}
    algorithm = initialized(**given)
    algorithm.setRethrows(True)
    canceller = _Canceller(algorithm)
    with pytest.raises((RuntimeError, KeyboardInterrupt)):
        algorithm.execute()
    assert len(canceller.shares) == 2 and not algorithm.isExecuted()
    assert mtd.getObjectNames() == ["cut"]
