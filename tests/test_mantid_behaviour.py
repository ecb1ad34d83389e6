"""What the plug-ins rely on in Mantid; the same tests hold for Mantid and for the stand-in."""

import numpy as np
import pytest
from mantid.api import (
    AlgorithmFactory,
    AlgorithmManager,
    AlgorithmObserver,
    FileAction,
    FileProperty,
    IMDHistoWorkspaceProperty,
    MDNormalization,
    Progress,
    PropertyMode,
    PythonAlgorithm,
    mtd,
)
from mantid.kernel import Direction, FloatArrayProperty, FloatBoundedValidator, Property, StringListValidator
from mantid.simpleapi import (
    BinMD,
    CloneMDWorkspace,
    ConvertToMD,
    CreateEmptyTableWorkspace,
    CreateMDHistoWorkspace,
    CreateWorkspace,
    DeleteWorkspace,
    GroupWorkspaces,
    LoadNXSPE,
    MaskMD,
    PlusMD,
    RenameWorkspace,
    SetGoniometer,
    SetUB,
)
from mantid.simpleapi import _create_algorithm_function as make_function

from mantid_insgan.mantid_support.workspace import run_child

pytestmark = pytest.mark.mantid


@pytest.fixture(autouse=True)
def empty_service():
    mtd.clear()
    yield
    mtd.clear()


def histogram(name="ws"):
    values = np.arange(12.0)
    return CreateMDHistoWorkspace(
        SignalInput=values,
        ErrorInput=np.sqrt(values),
        NumberOfEvents=values + 1,
        Dimensionality=2,
        Extents=[-2.0, 2.0, 0.0, 8.0],
        NumberOfBins=[3, 4],
        Names=["[H,0,0]", "DeltaE"],
        Units=["r.l.u.", "DeltaE"],
        Frames=["HKL", "General Frame"],
        OutputWorkspace=name,
    )


def test_arrays_are_read_only_views_with_dimension_0_fastest():
    ws = histogram()
    signal = ws.getSignalArray()
    assert (signal.shape, signal.dtype, signal.flags.f_contiguous) == ((3, 4), np.float64, True)
    assert signal[1, 0] == 1.0 and signal[0, 1] == 3.0 and ws.signalAt(3) == 3.0
    assert ws.getLinearIndex(0, 1) == 3
    with pytest.raises(ValueError):
        signal[0, 0] = 1.0
    assert np.allclose(ws.getErrorSquaredArray(), signal) and np.array_equal(ws.getNumEventsArray(), signal + 1)
    ws.setSignalArray(np.full((3, 4), 7.0))
    assert (signal == 7.0).all(), "a view is live"


def test_setters_take_float64_arrays_of_the_shape_alone():
    ws = histogram()
    for order in "CF":
        ws.setErrorSquaredArray(np.asarray(np.arange(12.0).reshape(3, 4), order=order))
        assert ws.getErrorSquaredArray()[1, 2] == 6.0
    for wrong in (np.ones((3, 4), np.float32), np.ones((3, 4), int), [[1.0] * 4] * 3):
        with pytest.raises(TypeError):
            ws.setSignalArray(wrong)
    for wrong in (np.ones((4, 3)), np.ones(12)):
        with pytest.raises(ValueError):
            ws.setSignalArray(wrong)


def test_dimensions_have_the_precision_of_float32():
    ws = histogram()
    h, energy = ws.getDimension(0), ws.getDimension(1)
    assert h.getBinWidth() == 1.3333333730697632
    assert (h.name, h.getDimensionId(), h.getUnits(), h.getMDFrame().name()) == ("[H,0,0]", "[H,0,0]", "r.l.u.", "HKL")
    assert [energy.getX(i) for i in range(energy.getNBoundaries())] == [0.0, 2.0, 4.0, 6.0, 8.0]
    assert (h.getMinimum(), h.getMaximum(), h.getNBins()) == (-2.0, 2.0, 3)
    with pytest.raises(RuntimeError):
        ws.getDimension(7)


def test_handles_die_with_the_workspace():
    ws = histogram()
    clone = CloneMDWorkspace(ws)
    assert mtd.doesExist("clone")
    DeleteWorkspace("ws")
    with pytest.raises(RuntimeError, match="Variable invalidated, data has been deleted."):
        ws.getNumDims()
    assert clone.getSignalArray()[1, 0] == 1.0
    with pytest.raises(KeyError, match="nope"):
        mtd["nope"]


def test_a_clone_is_whole_and_its_own():
    ws = histogram()
    ws.setTitle("a title")
    ws.setDisplayNormalization(MDNormalization.NumEventsNormalization)
    add_experiment(ws, Ei=100.0)
    clone = CloneMDWorkspace(ws)
    clone.setSignalArray(np.zeros((3, 4)))
    assert ws.getSignalArray()[1, 0] == 1.0
    assert clone.getTitle() == "a title"
    assert clone.displayNormalization() == MDNormalization.NumEventsNormalization
    assert clone.getExperimentInfo(0).run().getProperty("Ei").value == 100.0
    assert np.array_equal(clone.getNumEventsArray(), ws.getNumEventsArray())


def add_experiment(ws, **logs):
    """Its carrier is outside the data service: one in it would be lent, and gone when it is deleted."""
    carrier = run_child("CreateWorkspace", DataX=[0.0, 1.0], DataY=[1.0])
    for name, value in logs.items():
        carrier.mutableRun().addProperty(name, value, True)
    ws.addExperimentInfo(carrier)


def test_an_experiment_lent_by_a_workspace_goes_with_it():
    ws = histogram()
    carrier = CreateWorkspace(DataX=[0.0, 1.0], DataY=[1.0], OutputWorkspace="carrier")
    carrier.mutableRun().addProperty("Ei", 45.5, True)
    ws.addExperimentInfo(carrier)
    assert ws.getExperimentInfo(0).run().getProperty("Ei").value == 45.5
    DeleteWorkspace("carrier")
    with pytest.raises(RuntimeError, match="Variable invalidated, data has been deleted."):
        ws.getExperimentInfo(0).run().getProperty("Ei")


def test_experiment_infos():
    ws = histogram()
    assert ws.getNumExperimentInfo() == 0
    with pytest.raises(ValueError):
        ws.getExperimentInfo(0)
    add_experiment(ws, Ei=45.5, chopper_package="S", run_title="La2NiO4")
    run = ws.getExperimentInfo(0).run()
    assert {"Ei", "chopper_package", "run_title"} <= set(run.keys())
    assert (run.getProperty("Ei").value, run.getProperty("chopper_package").value) == (45.5, "S")
    assert not run.hasProperty("temperature")
    assert not ws.getExperimentInfo(0).sample().hasOrientedLattice()
    SetUB(Workspace="ws", UB=[0, 0.25, 0, 0, 0, 0.1, 0.5, 0, 0])
    lattice = ws.getExperimentInfo(0).sample().getOrientedLattice()
    assert (lattice.a(), lattice.b(), lattice.c()) == pytest.approx((2.0, 4.0, 10.0))
    assert np.allclose(lattice.getUB(), [[0, 0.25, 0], [0, 0, 0.1], [0.5, 0, 0]])


def test_spectra_of_a_crystal_become_events_in_hkl(crystal_scan):
    measured = LoadNXSPE(str(crystal_scan[0]))
    assert measured.run().getProperty("Ei").value == 60.0 and measured.run().getProperty("psi").value == -24.0
    assert measured.getInstrument().getName() == "MERLIN"
    SetUB(Workspace="measured", a=4.0, b=4.0, c=6.0, u=[1.0, 0.0, 0.0], v=[0.0, 1.0, 0.0])
    ub = measured.sample().getOrientedLattice().getUB()
    assert np.allclose(ub, [[0, 0.25, 0], [0, 0, 1 / 6], [0.25, 0, 0]], atol=1e-12), "u along z, v along x"
    SetGoniometer(Workspace="measured", Axis0="90.0,0,1,0,1")
    how = {"dEAnalysisMode": "Direct", "Q3DFrames": "HKL", "QConversionScales": "HKL", "PreprocDetectorsWS": "-"}
    ConvertToMD("measured", QDimensions="Q3D", OutputWorkspace="events", **how)
    events = mtd["events"]  # what is returned differs between versions: some of its inputs are also outputs
    names = [events.getDimension(i).name for i in range(4)]
    assert names == ["[H,0,0]", "[0,K,0]", "[0,0,L]", "DeltaE"] and events.getNumExperimentInfo() == 1
    assert events.getDimension(0).getMDFrame().name() == "HKL"
    # turned by a quarter, b points against the beam: Q = ki - kf has k < 0, and h to both sides of the beam
    assert events.getDimension(1).getMaximum() < 0 and events.getDimension(0).getMinimum() < 0
    assert events.getDimension(0).getMaximum() > 0
    aligned = {"AlignedDim0": "[H,0,0],-4,4,10", "AlignedDim1": "[0,K,0],-4,0,10", "AlignedDim2": "[0,0,L],-4,4,1"}
    cut = BinMD("events", AlignedDim3="DeltaE,2,42,10", **aligned)
    signal, number = np.array(cut.getSignalArray()), np.array(cut.getNumEventsArray())
    assert number.sum() == measured.getNumberHistograms() * measured.blocksize() and (number == 0).any()
    assert (signal[number == 0] == 0).all(), "a bin without events is 0, not NaN"
    both = PlusMD("cut", "cut")
    assert np.allclose(both.getSignalArray(), 2 * signal) and np.allclose(both.getNumEventsArray(), 2 * number)
    assert np.allclose(both.getErrorSquaredArray(), 2 * np.array(cut.getErrorSquaredArray()))
    turned = BinMD(
        "events",
        AxisAligned=False,
        BasisVector0="[H,H,0],r.l.u.,1,1,0,0",
        BasisVector1="[-K,K,0],r.l.u.,-1,1,0,0",
        BasisVector2="[0,0,L],r.l.u.,0,0,1,0",
        BasisVector3="DeltaE,DeltaE,0,0,0,1",
        OutputExtents=[-4.0, 4.0, -4.0, 4.0, -4.0, 4.0, 2.0, 42.0],
        OutputBins=[10, 10, 1, 10],
        NormalizeBasisVectors=False,
    )
    assert turned.getNumEventsArray().sum() == number.sum() and turned.getDimension(0).name == "[H,H,0]"
    assert turned.getDimension(1).getMDFrame().name() == "HKL"


def test_a_mask_shows_as_nan_and_leaves_the_events():
    ws = histogram()
    MaskMD(Workspace="ws", Dimensions=["[H,0,0]", "DeltaE"], Extents=[-2.0, 2.0, 0.0, 2.0])
    assert np.isnan(ws.getSignalArray()[:, 0]).all() and np.isnan(ws.getErrorSquaredArray()[:, 0]).all()
    assert np.isfinite(ws.getSignalArray()[:, 1:]).all()
    assert (ws.getNumEventsArray()[:, 0] > 0).all()


def test_names_with_commas_need_a_list():
    with pytest.raises((RuntimeError, ValueError), match="as many names"):
        CreateMDHistoWorkspace(
            SignalInput=[1.0],
            ErrorInput=[1.0],
            Dimensionality=1,
            Extents=[0.0, 1.0],
            NumberOfBins=[1],
            Names="[H,0,0]",
            Units=["r.l.u."],
            OutputWorkspace="ws",
        )


def test_groups_and_renaming():
    histogram("a")
    histogram("b")
    group = GroupWorkspaces(["a", "b"])
    assert group.getNumberOfEntries() == 2 and list(group.getNames()) == ["a", "b"]
    assert group.getItem(1).name() == "b"
    RenameWorkspace("a", OutputWorkspace="c")
    assert mtd.doesExist("c") and not mtd.doesExist("a")


def test_tables_and_spectra():
    table = CreateEmptyTableWorkspace()
    table.addColumn("int", "Epoch")
    table.addColumn("double", "Loss")
    table.addRow([1, 0.5])
    table.addRow({"Epoch": 2, "Loss": 0.25})
    assert (table.rowCount(), list(table.getColumnNames())) == (2, ["Epoch", "Loss"])
    assert table.cell("Loss", 1) == 0.25 and list(table.column("Epoch")) == [1, 2]
    spectra = CreateWorkspace(DataX=[0.0, 1.0, 2.0], DataY=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], NSpec=2)
    assert spectra.getNumberHistograms() == 2 and list(spectra.readY(1)) == [4.0, 5.0, 6.0]


class ProbeOfMantid(PythonAlgorithm):
    """Says what it got, and does what it is told."""

    def category(self):
        return "Tests"

    def summary(self):
        return "A probe."

    def PyInit(self):
        positive = FloatBoundedValidator(lower=0.0, exclusive=True)
        self.declareProperty(
            IMDHistoWorkspaceProperty("InputWorkspace", "", Direction.Input, PropertyMode.Optional), doc="Input"
        )
        self.declareProperty(
            IMDHistoWorkspaceProperty("OutputWorkspace", "", Direction.Output, PropertyMode.Optional), doc="Output"
        )
        self.declareProperty(
            IMDHistoWorkspaceProperty("Second", "", Direction.Output, PropertyMode.Optional), doc="Another"
        )
        self.declareProperty(name="Do", defaultValue="nothing", doc="What to do.")
        self.declareProperty(name="Letter", defaultValue="", validator=StringListValidator(["", "A", "B"]), doc="One.")
        self.declareProperty(name="Energy", defaultValue=Property.EMPTY_DBL, validator=positive, doc="meV.")
        self.declareProperty(name="Flag", defaultValue=True, doc="A flag.")
        self.declareProperty(name="Count", defaultValue=3, doc="A number.")
        self.declareProperty(FloatArrayProperty("List", []), doc="Numbers.")
        self.declareProperty(FileProperty("File", "", FileAction.OptionalLoad, [".onnx"]), doc="A file.")
        self.declareProperty(name="Answer", defaultValue=float("nan"), doc="Out.", direction=Direction.Output)

    def validateInputs(self):
        return {"Do": "it is forbidden"} if self.getPropertyValue("Do") == "forbidden" else {}

    def PyExec(self):
        do = self.getPropertyValue("Do")
        if do == "raise":
            raise KeyError("all a user needs")
        if do == "report":
            progress = Progress(self, start=0.0, end=1.0, nreports=100)
            for i in range(100):
                progress.report(i, "step")
        if do == "child":
            child = self.createChildAlgorithm("CloneMDWorkspace")
            child.setProperty("InputWorkspace", self.getProperty("InputWorkspace").value)
            child.execute()
            self.setProperty("OutputWorkspace", child.getProperty("OutputWorkspace").value)
            self.setProperty("Answer", 42.0)
        if do == "falsy":
            try:
                child = self.createChildAlgorithm("ProbeOfMantid", Flag=False, Count=0)
            except TypeError:  # Mantid before 4 takes no properties
                child = self.createChildAlgorithm("ProbeOfMantid")
            self.setProperty("Answer", float(child.getProperty("Flag").value) + child.getProperty("Count").value)


@pytest.fixture(scope="module")
def probe():
    AlgorithmFactory.subscribe(ProbeOfMantid)
    algorithm = AlgorithmManager.createUnmanaged("ProbeOfMantid", 1)
    algorithm.initialize()
    make_function("ProbeOfMantid", 1, algorithm)
    import mantid.simpleapi

    return mantid.simpleapi.ProbeOfMantid


def test_the_output_is_named_by_the_variable(probe):
    histogram()
    result = probe("ws", Do="child")
    assert mtd.doesExist("result")
    assert type(result).__name__ == "ProbeOfMantid_returns"
    assert result._fields == ("OutputWorkspace", "Answer") and result.Answer == 42.0
    assert result.OutputWorkspace.name() == "result"
    other = probe("ws", Do="child", OutputWorkspace="named").OutputWorkspace
    assert other.name() == "named"


def test_too_few_variables_for_the_outputs(probe):
    histogram()
    with pytest.raises(RuntimeError, match="These numbers must match"):
        one, two, three = probe("ws", Do="child")


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("Letter", "Z", ValueError),
        ("Energy", -1.0, ValueError),
        ("Energy", 0.0, ValueError),
        ("Energy", "much", ValueError),
        ("Energy", np.float32(1), TypeError),
        ("Count", np.int64(1), TypeError),
        ("Flag", np.bool_(True), TypeError),
        ("InputWorkspace", "nope", ValueError),
        ("InputWorkspace", "table", ValueError),
    ],
)
def test_properties_refuse_when_they_are_set(probe, name, value, error):
    CreateEmptyTableWorkspace(OutputWorkspace="table")
    algorithm = AlgorithmManager.create("ProbeOfMantid")
    with pytest.raises(error):
        algorithm.setProperty(name, value)


def test_properties_take_pythons_numbers(probe):
    algorithm = AlgorithmManager.create("ProbeOfMantid")
    assert algorithm.getProperty("Energy").isDefault and algorithm.getProperty("Energy").value == Property.EMPTY_DBL
    for name, value in {"Energy": np.float64(2), "Count": 7, "Flag": False, "Letter": "B", "File": "x.onnx"}.items():
        algorithm.setProperty(name, value)
        assert algorithm.getProperty(name).value == value
        assert not algorithm.getProperty(name).isDefault
    for value in ([1.0, 2.0], (1.0, 2.0), np.array([1.0, 2.0]), "1,2"):
        algorithm.setProperty("List", value)
        assert list(algorithm.getProperty("List").value) == [1.0, 2.0]
    assert algorithm.getPropertyValue("Letter") == "B"
    with pytest.raises(RuntimeError):
        algorithm.getProperty("Unknown")


def test_wrong_arguments_of_a_function(probe):
    with pytest.raises((TypeError, RuntimeError)):
        probe(Unknown=1)
    with pytest.raises((TypeError, RuntimeError), match="Some invalid Properties found"):
        probe(Do="forbidden")
    with pytest.raises((TypeError, RuntimeError), match="InputWorkspace"):
        CloneMDWorkspace(OutputWorkspace="x")


def test_any_exception_leaves_as_a_runtime_error_with_its_text(probe):
    with pytest.raises(RuntimeError, match="all a user needs"):
        probe(Do="raise")


def test_falsy_keywords_of_a_child_are_passed_over(probe):
    answer = probe(Do="falsy")
    assert answer == 4.0  # True + 3, the defaults


class _Canceller(AlgorithmObserver):
    """Cancels an algorithm at its third report."""

    def __init__(self, algorithm):
        super().__init__()
        self.algorithm, self.reports = algorithm, 0
        self.observeProgress(algorithm)

    def progressHandle(self, *_):
        self.reports += 1
        if self.reports == 3:
            self.algorithm.cancel()


def test_cancelling_ends_at_the_next_report(probe):
    algorithm = AlgorithmManager.create("ProbeOfMantid")
    algorithm.setRethrows(True)
    algorithm.setProperty("Do", "report")
    canceller = _Canceller(algorithm)
    with pytest.raises(KeyboardInterrupt):  # what Mantid makes of its CancelException
        algorithm.execute()
    assert 3 <= canceller.reports < 10
    assert not algorithm.isExecuted()


def test_a_group_is_run_member_by_member(probe):
    histogram("a")
    histogram("b")
    GroupWorkspaces(["a", "b"], OutputWorkspace="both")
    result = probe("both", Do="child")  # noqa: F841  (names the output)
    assert list(mtd["result"].getNames()) == ["a_result", "b_result"]
    names = [h.name() for h in mtd["a_result"].getHistory().getAlgorithmHistories()]
    assert names[-1] == "GroupWorkspaces" and "ProbeOfMantid" not in names, "the run itself is not recorded"


@pytest.mark.parametrize(
    ("members", "results"),
    [
        (["both_1", "both_2"], ["result_1", "result_2"]),
        (["both_a_1", "both_a_2"], ["both_a_1_result", "both_a_2_result"]),
    ],
)
def test_members_named_after_their_group_give_results_named_after_the_output(probe, members, results):
    """Only where all before the last underscore is the name of the group."""
    for name in members:
        histogram(name)
    GroupWorkspaces(members, OutputWorkspace="both")
    result = probe("both", Do="child")
    assert list(mtd["result"].getNames()) == results
    assert result is not None


@pytest.mark.parametrize(
    ("folder", "loaded", "said"),
    [
        ("good", ["PluginOne", "PluginTwo"], ""),
        ("broken", ["PluginOne"], "Failed to load plugin"),
    ],
)
def test_every_file_below_a_plugin_folder_is_executed_by_its_bare_name(mantid_script, tmp_path, folder, loaded, said):
    plugins = tmp_path / folder / "below"
    plugins.mkdir(parents=True)
    text = (
        "from mantid.api import AlgorithmFactory, PythonAlgorithm\n"
        "class {0}(PythonAlgorithm):\n"
        "    def category(self): return 'Tests'\n"
        "    def summary(self): return __name__\n"
        "    def PyInit(self): pass\n"
        "    def PyExec(self): pass\n"
        "AlgorithmFactory.subscribe({0})\n"
    )
    (tmp_path / folder / "PluginOne.py").write_text(text.format("PluginOne"))
    (plugins / "PluginTwo.py").write_text(
        text.format("PluginTwo") if folder == "good" else "from . import missing  # no package here\n"
    )
    home = tmp_path / ".mantid"
    home.mkdir()
    (home / "Mantid.user.properties").write_text(f"user.python.plugins.directories = {tmp_path / folder}\n")
    shown = mantid_script(
        "import mantid.simpleapi as s\n"
        "from mantid.api import AlgorithmManager\n"
        f"print('summaries', [AlgorithmManager.create(n).summary() for n in {loaded!r} if hasattr(s, n)])"
    )
    assert f"summaries {loaded!r}" in shown and said in shown
