"""io/workspace.py: an IMDHistoWorkspace to a Spectrum and back."""

import numpy as np
import pytest
from mantid.api import MDNormalization, mtd
from mantid.kernel import config
from mantid.simpleapi import (
    CreateEmptyTableWorkspace,
    CreateMDHistoWorkspace,
    DeleteWorkspace,
    GroupWorkspaces,
    LoadMD,
    MaskMD,
)

from mantid_insgan.core.run import Fact, Lattice, Run
from mantid_insgan.core.spectrum import Axis, Spectrum
from mantid_insgan.errors import InputError, OutputError
from mantid_insgan.io import read_nexus
from mantid_insgan.mantid_support.workspace import (
    read_outline,
    read_workspace,
    run_child,
    run_of_workspace,
    set_arrays,
    to_workspace,
)

pytestmark = pytest.mark.mantid

SHAPE = (4, 1, 5)


@pytest.fixture(autouse=True)
def empty_service():
    mtd.clear()
    yield
    mtd.clear()


@pytest.fixture
def ws():
    rng = np.random.default_rng(7)
    return CreateMDHistoWorkspace(
        SignalInput=rng.normal(size=20),
        ErrorInput=rng.uniform(0.1, 1.0, 20),
        NumberOfEvents=rng.integers(1, 9, 20).astype(float),
        Dimensionality=3,
        Extents=[-1.0, 1.0, -0.1, 0.1, 0.0, 12.0],
        NumberOfBins=list(SHAPE),
        Names=["[H,0,0]", "[0,K,0]", "DeltaE"],
        Units=["r.l.u.", "r.l.u.", "DeltaE"],
        Frames=["HKL", "HKL", "General Frame"],
        OutputWorkspace="ws",
    )


def add_experiment(ws, ub=None, **logs):
    """Gives a workspace an experiment. Its carrier is outside the data service: one in it would be lent, and gone when
    it is deleted."""
    carrier = run_child("CreateWorkspace", DataX=[0.0, 1.0], DataY=[1.0])
    for name, value in logs.items():
        values = value if isinstance(value, tuple) else (value,)
        carrier.mutableRun().addProperty(name, *values, True)
    if ub is not None:
        run_child("SetUB", Workspace=carrier, UB=ub)
    ws.addExperimentInfo(carrier)


def test_arrays_are_copied_at_once(ws):
    expected = [np.array(a) for a in (ws.getSignalArray(), ws.getErrorSquaredArray(), ws.getNumEventsArray())]
    spectrum = read_workspace(ws)
    ws.setTo(-1.0, -1.0, -1.0)
    DeleteWorkspace("ws")
    for values, kept in zip(expected, (spectrum.signal, spectrum.variance, spectrum.num_events), strict=True):
        assert np.array_equal(values, kept)
        assert (kept.dtype, kept.flags.c_contiguous, kept.flags.owndata) == (np.float64, True, True)


def test_axes_and_conventions(ws):
    ws.setTitle("a title")
    ws.setDisplayNormalization(MDNormalization.VolumeNormalization)
    spectrum = read_workspace(ws)
    assert [(a.name, a.unit, a.frame, a.id, len(a)) for a in spectrum.axes] == [
        ("[H,0,0]", "r.l.u.", "HKL", "[H,0,0]", 4),
        ("[0,K,0]", "r.l.u.", "HKL", "[0,K,0]", 1),
        ("DeltaE", "DeltaE", "General Frame", "DeltaE", 5),
    ]
    assert np.allclose(spectrum.axes[2].edges, np.linspace(0, 12, 6), atol=1e-6)
    assert (spectrum.title, spectrum.visual_normalization) == ("a title", 1)
    assert spectrum.q_convention == config["Q.convention"]


def test_validity_is_that_of_signal_and_error_squared(ws):
    signal, variance = np.array(ws.getSignalArray()), np.array(ws.getErrorSquaredArray())
    signal[0, 0, 0], signal[1, 0, 0], variance[2, 0, 0], variance[3, 0, 0] = np.nan, np.inf, np.nan, -1.0
    ws.setSignalArray(signal)
    ws.setErrorSquaredArray(variance)
    spectrum = read_workspace(ws)
    assert not spectrum.valid[:, 0, 0].any() and spectrum.valid[:, 0, 1:].all()


def test_masked_bins_are_not_valid(ws):
    MaskMD(Workspace="ws", Dimensions=["[H,0,0]", "[0,K,0]", "DeltaE"], Extents=[-1.0, 0.0, -0.1, 0.1, 0.0, 12.0])
    spectrum = read_workspace(ws)
    assert not spectrum.valid[:2].any() and spectrum.valid[2:].all()


def test_facts_of_the_logs(ws):
    ub = [0, 0.25, 0, 0, 0, 0.1, 0.5, 0, 0]
    add_experiment(ws, ub, Ei=45.5, Temp=(-268.15, "C"), chopper_package=" S ", fermi_speed=400.0, inst_abrv="mer")
    add_experiment(ws, Ei=45.5, temperature=300.0, run_title="a title")
    run, title = run_of_workspace(ws)
    assert run.ei == Fact(45.5, "log Ei of experiment0")
    assert run.temperature.value == pytest.approx(5.0) and run.temperature.source == "log Temp of experiment0"
    assert run.chopper == Fact("S", "log chopper_package of experiment0")
    assert run.frequency == Fact(400.0, "log fermi_speed of experiment0")
    assert run.instrument == Fact("MERLIN", "log inst_abrv of experiment0")
    lattice = run.value("lattice")
    assert (lattice.a, lattice.b, lattice.c, lattice.alpha) == pytest.approx((2.0, 4.0, 10.0, 90.0))
    assert np.allclose(lattice.ub, np.reshape(ub, (3, 3)))
    assert title == "a title" and read_workspace(ws).title == "a title"


def test_logs_that_tell_nothing(ws):
    add_experiment(ws, Ei=0.0, chopper_frequency="fast", Temp=float("nan"), chopper_type="")
    run, title = run_of_workspace(ws)
    assert not any((run.ei, run.frequency, run.temperature, run.chopper, run.lattice)) and title == ""


def test_experiments_that_disagree_on_ei(ws):
    add_experiment(ws, Ei=45.0)
    add_experiment(ws, Ei=90.0)
    run = run_of_workspace(ws)[0]
    assert (run.ei.value, run.ei.source) == (45.0, "log Ei of experiment0")
    assert run.notes == (
        "the 2 experiments with a value differ in Ei: 45 meV (log Ei of experiment0), 90 meV (log Ei of experiment1); "
        "the first was taken",
    )


def test_no_experiment_is_no_fact(ws):
    run, title = run_of_workspace(ws)
    assert not any(vars(run).values()) and title == ""


def test_a_clone_keeps_all_but_the_arrays(ws):
    ws.setTitle("a title")
    ws.setDisplayNormalization(MDNormalization.NumEventsNormalization)
    add_experiment(ws, [0, 0.25, 0, 0, 0, 0.1, 0.5, 0, 0], Ei=45.5, Note="text")
    spectrum = read_workspace(ws)
    valid = np.arange(20).reshape(SHAPE) % 3 > 0
    new = to_workspace(spectrum.replace(signal=spectrum.signal * 2, variance=spectrum.variance * 4, valid=valid), ws)
    assert new.name() == "" and mtd.getObjectNames() == ["ws"]
    assert np.array_equal(new.getSignalArray()[valid], 2 * spectrum.signal[valid])
    assert np.array_equal(new.getErrorSquaredArray()[valid], 4 * spectrum.variance[valid])
    assert np.isnan(new.getSignalArray()[~valid]).all() and np.isnan(new.getErrorSquaredArray()[~valid]).all()
    assert np.array_equal(new.getNumEventsArray(), ws.getNumEventsArray())
    assert new.getTitle() == "a title" and new.displayNormalization() == MDNormalization.NumEventsNormalization
    run = new.getExperimentInfo(0).run()
    assert (run.getProperty("Ei").value, run.getProperty("Note").value) == (45.5, "text")
    old_lattice, lattice = (w.getExperimentInfo(0).sample().getOrientedLattice() for w in (ws, new))
    assert np.array_equal(lattice.getUB(), old_lattice.getUB())
    assert new.getHistory().size() >= ws.getHistory().size()
    assert np.array_equal(ws.getSignalArray(), spectrum.signal), "the template stays as it is"


def test_a_workspace_without_a_template():
    rng = np.random.default_rng(3)
    axes = (
        Axis("[H,0,0]", np.linspace(-1, 1, 5), "r.l.u.", "HKL"),
        Axis("DeltaE", np.linspace(-5, 45, 11), "DeltaE"),
    )
    cell = Lattice(4.0, 5.0, 6.0, 90.0, 100.0, 120.0)
    run = Run().updated("test", ei=55.0, instrument="LET", chopper="High Flux", frequency=240.0, lattice=cell)
    signal = rng.normal(size=(4, 10))
    signal[1, 2] = np.nan
    events = rng.integers(0, 4, (4, 10)).astype(float)
    spectrum = Spectrum(signal, rng.uniform(size=(4, 10)), axes, num_events=events, run=run, title="t")
    back = read_workspace(to_workspace(spectrum))
    assert back.identical(spectrum) and back.title == "t"
    for name in ("ei", "instrument", "chopper", "frequency"):
        assert back.run.value(name) == run.value(name)
    lattice = back.run.value("lattice")
    names = ("a", "b", "c", "alpha", "beta", "gamma")
    assert [getattr(lattice, n) for n in names] == pytest.approx([getattr(cell, n) for n in names])


def test_what_is_no_histogram_is_refused(ws):
    table = CreateEmptyTableWorkspace()
    with pytest.raises(InputError, match="'table' is a TableWorkspace, expected an MDHistoWorkspace"):
        read_workspace(table)
    group = GroupWorkspaces(["ws"])
    with pytest.raises(InputError, match="give the members of a group one by one"):
        read_workspace(group)


def test_a_spectrum_of_another_shape_is_refused(ws):
    spectrum = read_workspace(ws).slice(DeltaE=(0, 6))
    with pytest.raises(OutputError, match=r"a spectrum of \(4, 1, 2\) bins was given .* of \(4, 1, 5\) bins"):
        set_arrays(ws, spectrum)


@pytest.mark.parametrize("name", ["2d_expinfo", "2d_nan", "3d", "3d_binmd_integrated", "3d_masked", "4d", "slice_maps"])
def test_a_loaded_workspace_is_the_spectrum_of_its_file(shared, name):
    file = shared / "mantid" / f"mdhisto_{name}.nxs"
    of_file, live = read_nexus(file), read_workspace(LoadMD(str(file), OutputWorkspace="ws"))
    assert [(a.name, a.unit, a.frame) for a in live.axes] == [(a.name, a.unit, a.frame) for a in of_file.axes]
    assert all(np.allclose(a.edges, b.edges, rtol=1e-6) for a, b in zip(live.axes, of_file.axes, strict=True))
    for array in ("signal", "variance", "num_events", "valid"):
        assert np.array_equal(getattr(live, array), getattr(of_file, array), equal_nan=True)
    for fact in ("ei", "instrument", "chopper", "frequency", "temperature"):
        assert getattr(live.run, fact) == getattr(of_file.run, fact)


def test_an_outline_has_all_but_the_intensities(ws):
    signal = ws.getSignalArray().copy()
    signal[0, 0, 0], signal[1, 0, 2] = np.nan, -1e30
    ws.setSignalArray(signal)
    add_experiment(ws, Ei=(45.0, "meV"))
    whole, outline = read_workspace(ws), read_outline(ws)
    assert np.array_equal(outline.valid, whole.valid) and outline.valid.sum() == 18
    assert outline.axes == whole.axes and outline.run == whole.run and outline.title == whole.title
    assert outline.signal.strides == outline.variance.strides == (0, 0, 0)
    with pytest.raises(InputError, match="is a TableWorkspace, expected an MDHistoWorkspace"):
        read_outline(CreateEmptyTableWorkspace(OutputWorkspace="table"))
