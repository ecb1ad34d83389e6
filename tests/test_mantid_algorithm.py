"""ApplyResolutionGAN as a user of Mantid meets it: dialog, script, group, errors, cancelling."""

import re
import shutil
import sys

import numpy as np
import pytest
import stand_in_card
from mantid.api import AlgorithmFactory, AlgorithmManager, AlgorithmObserver, MDNormalization, mtd
from mantid.kernel import Direction
from mantid.simpleapi import (
    CloneMDWorkspace,
    CreateEmptyTableWorkspace,
    CreateMDHistoWorkspace,
    GroupWorkspaces,
    LoadMD,
    MaskMD,
    SaveMD,
)
from trusting import with_far_blocks, without_blocks

import mantid_insgan.mantid  # noqa: F401  (registers)
from mantid_insgan import bundled
from mantid_insgan.core.options import ApplyOptions, in_mantid, option
from mantid_insgan.demo import DATA
from mantid_insgan.instruments import known_instruments
from mantid_insgan.io import read_nexus
from mantid_insgan.io.facts import LATTICE_LOG, RESOLUTION_LOG
from mantid_insgan.mantid import ApplyResolutionGAN
from mantid_insgan.mantid_support import workspace as support
from mantid_insgan.mantid_support.workspace import read_workspace
from mantid_insgan.translate import cards
from mantid_insgan.translate.job import apply as job_apply
from mantid_insgan.translate.job import apply_to_file

pytestmark = pytest.mark.mantid

#: For data that tell nothing: properties of the algorithm, and the same as options.
FACTS = {
    "Instrument": "MAPS",
    "ChopperPackage": "A",
    "ChopperFrequency": 300.0,
    "IncidentEnergy": 100.0,
    "Lattice": "4.215,4.215,13.03,90,90,90",
}
OPTIONS = {name: FACTS[option(name)["property"]] for name in ("instrument", "chopper", "frequency", "ei", "lattice")}
DIRECTIONS = {"AddResolution": "add-resolution", "RemoveResolution": "remove-resolution"}


@pytest.fixture(autouse=True)
def empty_service():
    mtd.clear()
    yield
    mtd.clear()


@pytest.fixture
def measured():
    return LoadMD(str(DATA / "measured.nxs"), OutputWorkspace="measured")


def volume(name="volume", bins=(6, 8, 10)):
    """A small simulation in [H,0,0], [0,K,0] and energy."""
    size = int(np.prod(bins))
    return CreateMDHistoWorkspace(
        SignalInput=np.random.default_rng(5).uniform(size=size),
        ErrorInput=np.full(size, 0.1),
        Dimensionality=3,
        Extents=[-0.5, 0.5, -0.5, 0.5, 5.0, 30.0],
        NumberOfBins=list(bins),
        Names=["[H,0,0]", "[0,K,0]", "DeltaE"],
        Units=["r.l.u.", "r.l.u.", "DeltaE"],
        Frames=["HKL", "HKL", "General Frame"],
        OutputWorkspace=name,
    )


def same_as_file(workspace, path) -> bool:
    """Signal and errors of a workspace equal those of a file to the precision of float32."""
    spectrum = read_nexus(path)
    return all(
        np.allclose(live, stored, rtol=1e-6, atol=1e-6 * np.nanmax(np.abs(stored)), equal_nan=True)
        for live, stored in (
            (workspace.getSignalArray(), spectrum.signal),
            (np.sqrt(workspace.getErrorSquaredArray()), np.sqrt(spectrum.variance)),
        )
    )


def apply(workspace, OutputWorkspace="out", **properties):
    """The output; without a variable of its own it needs a name."""
    return ApplyResolutionGAN(workspace, OutputWorkspace=OutputWorkspace, **properties).OutputWorkspace


def initialized():
    return AlgorithmManager.create("ApplyResolutionGAN")


# ------------------------------------------------------------------------------------------------ what the dialog shows


def test_how_it_presents_itself():
    algorithm = initialized()
    assert AlgorithmFactory.exists("ApplyResolutionGAN", 1) and algorithm.version() == 1
    assert algorithm.category() == "MDAlgorithms\\Transforms;Inelastic\\Corrections"
    assert algorithm.summary().endswith(".")
    assert AlgorithmManager.createUnmanaged(algorithm.name()).helpURL().startswith("https://")
    assert {"LoadMD", "SaveMD"} <= set(algorithm.seeAlso())


def test_the_options_are_those_of_the_command_line():
    algorithm = initialized()
    for name in ApplyOptions.__dataclass_fields__:
        if option(name)["property"] is None:  # a workspace's axes have names, and BinMD or MDNorm make its bins
            assert name in ("axes", "q_bins", "energy_bins", "intervals")  # OutputIntervals names a group
            continue
        about, prop = option(name), algorithm.getProperty(option(name)["property"])
        default = getattr(ApplyOptions(), name)
        if name != "model":  # which has two properties in Mantid
            text = in_mantid(about["help"])
            for value, shown in (about["choices"] or {}).items():
                text = text.replace(f"({value})", f"({shown})")
            assert prop.documentation == text
        if about["choices"]:
            assert list(prop.allowedValues) == list(about["choices"].values())
            assert prop.value == about["choices"][default]
        elif default is None:
            assert prop.isDefault and (prop.value == "" or prop.value > 1e300)
        else:
            assert prop.value == default
    assert list(algorithm.getProperty("Instrument").allowedValues) == ["", *known_instruments()]
    assert list(algorithm.getProperty("Model").allowedValues) == ["", *cards.bundled_names()]
    assert bundled.instrument_names() == known_instruments()


def test_a_tooltip_is_one_sentence():
    for prop in initialized().getProperties():
        text = prop.documentation
        assert text[0].isupper() and text.endswith("."), prop.name
        assert "." not in text[:-1], f"Mantid shows {prop.name} up to the first full stop"


def test_groups_stand_together():
    properties = [p for p in initialized().getProperties() if p.direction == Direction.Input]
    groups = [p.getGroup for p in properties]
    changes = [g for i, g in enumerate(groups) if i == 0 or groups[i - 1] != g]
    assert changes == ["", "Model", "Target", "Measurement", "Range", "Calculation", "Quality"]


def test_model_and_model_file_exclude_each_other(tmp_path):
    algorithm = initialized()
    enabled = lambda name: settings(algorithm, name).isEnabled(algorithm)  # noqa: E731
    assert enabled("Model") and enabled("ModelFile")
    algorithm.setProperty("Model", "add-resolution-2d")
    assert enabled("Model") and not enabled("ModelFile")
    algorithm.setProperty("Model", "")
    algorithm.setProperty("ModelFile", str(tmp_path / "my.onnx"))
    assert not enabled("Model") and enabled("ModelFile")


def settings(algorithm, name):
    found = algorithm.getProperty(name).settings
    return found[0] if isinstance(found, list | tuple) else found


# ------------------------------------------------------------------------------------------------------------- a script


@pytest.mark.parametrize(("direction", "file"), [("RemoveResolution", "measured"), ("AddResolution", "calculated")])
def test_one_line_gives_what_the_command_gives(direction, file, tmp_path, capfd):
    ws = LoadMD(str(DATA / f"{file}.nxs"))
    out = ApplyResolutionGAN(ws, Direction=direction)
    report = apply_to_file(
        DATA / f"{file}.nxs", tmp_path / "out.nxs", ApplyOptions(direction=DIRECTIONS[direction])
    ).summary()
    assert mtd.doesExist("out") and same_as_file(mtd["out"], tmp_path / "out.nxs")
    assert out.OutputWorkspace.name() == "out" and out.ValidBins == report["valid_bins"]
    for value, key in (
        (out.FluxRatio, "flux_ratio"),
        (out.TrainingDistance, "median_distance_from_training"),
        (out.OutsideShare, "share_of_slices_outside_training"),
        (out.TooWideShare, "share_of_bins_with_resolution_too_wide"),
        (out.ReducedChiSquared, "reduced_chi_squared_of_reconvolution"),
        (out.DomainPValue, "p_value_of_domain"),
    ):
        assert value == pytest.approx(report[key], rel=1e-5) if report[key] is not None else np.isnan(value)
    said = "".join(capfd.readouterr())
    assert f"Model: {report['model']}" in said
    assert "IncidentEnergy: 200.0 (log Ei of experiment0)" in said
    assert "ChopperFrequency: 400.0 (log chopper_frequency of experiment0)" in said


def test_a_range_leaves_the_rest_empty(measured):
    """The output keeps its dimensions; inside it is what the cut alone gives."""
    out = apply(measured, EnergyRange="40,100", QRange="1,2")
    found = np.array(out.getSignalArray())
    spectrum = read_nexus(DATA / "measured.nxs")
    cut, _ = job_apply(spectrum, energy_range="40,100", q_range=(1, 2))
    inside = np.ix_(*(np.isin(a.centers, c.centers) for a, c in zip(spectrum.axes, cut.axes, strict=True)))
    expected = np.full(spectrum.shape, np.nan)
    expected[inside] = cut.signal
    assert np.array_equal(np.isfinite(found), np.isfinite(expected)) and np.isfinite(found).any()
    away = np.isfinite(expected)
    # bins outside that are not valid are seen by the network as edges are, but not quite
    assert np.corrcoef(found[away], expected[away])[0, 1] > 0.98


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({"EnergyRange": "100,40"}, "EnergyRange is '100,40', expected two finite numbers, the lower one first"),
        ({"QRange": "a"}, "QRange is 'a', expected two finite numbers"),
        ({"EnergyRange": "500,600"}, "EnergyRange: no bin of axis 'DeltaE' has its centre between 500 and 600"),
    ],
)
def test_ranges_that_are_wrong(measured, properties, message):
    algorithm = initialized()
    algorithm.setProperty("InputWorkspace", measured)
    algorithm.setProperty("OutputWorkspace", "out")
    for name, value in properties.items():
        algorithm.setProperty(name, value)
    (name,) = properties
    assert algorithm.validateInputs()[name].startswith(message)


def test_the_one_line_on_a_file_gives_what_the_command_gives(shared, tmp_path, insgan, mantid_script):
    from mantid_insgan.mantid_support.install import carry_out, plan

    carry_out(plan(tmp_path / ".mantid" / "Mantid.user.properties"))
    shutil.copy(shared / "mantid" / "mdhisto_3d.nxs", tmp_path)
    facts = "".join(f", {name}={value!r}" for name, value in FACTS.items())
    mantid_script(
        "from mantid.simpleapi import *; ws = LoadMD('mdhisto_3d.nxs'); "
        f"out = ApplyResolutionGAN(ws, Direction='AddResolution'{facts}); "
        "SaveMD(out.OutputWorkspace, Filename='live.nxs')"
    )
    words = [w for name, value in OPTIONS.items() for w in (option(name)["flag"], value)]
    code, _, err = insgan(
        "apply", tmp_path / "mdhisto_3d.nxs", tmp_path / "file.nxs", "--direction", "add-resolution", *words
    )
    assert (code, err) == (0, "")
    live, of_file = read_nexus(tmp_path / "live.nxs"), read_nexus(tmp_path / "file.nxs")
    for one, other in ((live.signal, of_file.signal), (live.variance, of_file.variance)):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6 * np.nanmax(np.abs(other)))
    assert live.valid.any() and np.array_equal(live.valid, of_file.valid)


def test_a_property_wins_over_the_logs_and_the_log_says_so(measured, capfd):
    default = apply(measured, "default")
    out = apply(measured, IncidentEnergy=180.0, WidthFactor=1.1)
    assert "IncidentEnergy: 180.0 (property IncidentEnergy)" in "".join(capfd.readouterr())
    assert not np.allclose(out.getSignalArray(), default.getSignalArray(), equal_nan=True)


def require_all_but_the_arrays(out, given) -> None:
    """Everything of a result but signal, errors and the log of its resolution is that of the input."""
    assert np.array_equal(out.getNumEventsArray(), given.getNumEventsArray(), equal_nan=True)
    assert out.getTitle() == given.getTitle()
    assert out.displayNormalization() == given.displayNormalization()
    assert int(out.getSpecialCoordinateSystem()) == int(given.getSpecialCoordinateSystem())
    assert out.getNumDims() == given.getNumDims()
    for i in range(out.getNumDims()):
        new, old = out.getDimension(i), given.getDimension(i)
        for get in ("getUnits", "getMinimum", "getMaximum", "getNBins", "getDimensionId"):
            assert getattr(new, get)() == getattr(old, get)()
        assert (new.name, new.getMDFrame().name()) == (old.name, old.getMDFrame().name())
    assert out.getNumExperimentInfo() == max(1, given.getNumExperimentInfo())
    assert read_workspace(out).run.value("resolution") is not None
    for i in range(given.getNumExperimentInfo()):
        require_same_experiment(*(w.getExperimentInfo(i) for w in (out, given)))
    names = [[h.name() for h in w.getHistory().getAlgorithmHistories()] for w in (given, out)]
    assert names[1][: len(names[0])] == names[0] and names[1][-1] == "ApplyResolutionGAN"


def require_same_experiment(new, old) -> None:
    assert set(new.run().keys()) - {RESOLUTION_LOG, LATTICE_LOG} == set(old.run().keys())
    for name in old.run().keys():
        assert np.array_equal(new.run().getProperty(name).value, old.run().getProperty(name).value), name
    assert new.getInstrument().getName() == old.getInstrument().getName()
    assert new.sample().hasOrientedLattice() == old.sample().hasOrientedLattice()
    if old.sample().hasOrientedLattice():
        assert np.array_equal(*(i.sample().getOrientedLattice().getUB() for i in (new, old)))


def test_all_but_the_arrays_is_the_inputs(measured):
    measured.setTitle("a title")
    signal = np.array(measured.getSignalArray())
    out = apply(measured)
    assert np.array_equal(measured.getSignalArray(), signal, equal_nan=True), "the input stays as it is"
    assert np.array_equal(np.isfinite(out.getSignalArray()), np.isfinite(signal))
    assert out.getTitle() == "a title" and out.getExperimentInfo(0).sample().hasOrientedLattice()
    require_all_but_the_arrays(out, measured)


def test_what_resolution_a_result_has_is_in_its_logs(measured, capfd):
    out = apply(measured, WidthFactor=1.2)
    found = read_workspace(out).run
    assert found.value("resolution").width_factor == 1.2 and found.value("resolution").sharpness is not None
    assert found.resolution.source == f"log {RESOLUTION_LOG} of experiment0"
    assert "Resolution of the result: " in "".join(capfd.readouterr())
    assert not measured.getExperimentInfo(0).run().hasProperty(RESOLUTION_LOG), "the input stays as it is"
    with pytest.raises(RuntimeError, match="it was removed before .log insgan_resolution of experiment0"):
        apply(out, "again")


@pytest.mark.parametrize(
    ("properties", "named", "message"),
    [
        ({"Sharpen": 0.5}, "Sharpen", "Sharpen is 0.5, expected 0 or a number above 1"),
        ({"Sharpen": 2.0, "Direction": "AddResolution"}, "Sharpen", "Sharpen 2 was given with Direction AddResolution"),
        ({"TargetSetting": "Ei"}, "TargetSetting", "'Ei' in the setting 'Ei' is not NAME=VALUE"),
        ({"TargetSetting": "Ei=90", "Sharpen": 2.0}, "TargetSetting", "Sharpen 2 was given with TargetSetting"),
    ],
)
def test_a_target_that_will_not_do_is_told_beside_its_property(measured, properties, named, message):
    algorithm = initialized()
    algorithm.setProperty("InputWorkspace", measured)
    algorithm.setProperty("OutputWorkspace", "out")
    for name, value in properties.items():
        algorithm.setProperty(name, value)
    assert message in algorithm.validateInputs()[named]


def test_the_input_may_be_replaced(measured):
    before = np.array(measured.getSignalArray())
    ApplyResolutionGAN(measured, OutputWorkspace="measured")
    assert mtd.getObjectNames() == ["measured"]
    assert not np.allclose(mtd["measured"].getSignalArray(), before, equal_nan=True)


@pytest.mark.parametrize(
    "name",
    ["2d_expinfo", "2d_nan", "3d", "3d_binmd_integrated", "3d_masked", "4d", "slice_maps", "volume_maps_4d"],
)
def test_files_of_every_kind_go_through(shared, tmp_path, name):
    file = shared / "mantid" / f"mdhisto_{name}.nxs"
    ws = LoadMD(str(file), OutputWorkspace="ws")
    ws.setTitle("a title")
    ApplyResolutionGAN(ws, Direction="AddResolution", OutputWorkspace="out", **FACTS)
    require_all_but_the_arrays(mtd["out"], ws)
    assert np.array_equal(np.isfinite(mtd["out"].getSignalArray()), read_workspace(ws).valid)
    apply_to_file(file, tmp_path / "out.nxs", ApplyOptions(direction="add-resolution", **OPTIONS))
    assert same_as_file(mtd["out"], tmp_path / "out.nxs")
    SaveMD("out", Filename=str(tmp_path / "saved.nxs"))
    assert read_nexus(tmp_path / "saved.nxs").shape == read_nexus(file).shape


def test_masked_and_nan_bins_stay_so():
    ws = volume()
    extents = [-0.5, 0.0, -0.5, 0.5, 5.0, 30.0]
    MaskMD(Workspace="volume", Dimensions=["[H,0,0]", "[0,K,0]", "DeltaE"], Extents=extents)
    signal = np.array(ws.getSignalArray())
    signal[4, 3, :2] = np.nan
    ws.setSignalArray(signal)
    out = apply(ws, Direction="AddResolution", **FACTS)
    for array in (out.getSignalArray(), out.getErrorSquaredArray()):
        assert np.array_equal(np.isnan(array), np.isnan(signal))


def test_sums_over_events_are_taken_per_event():
    ws = volume()
    events = 1.0 + np.arange(ws.getSignalArray().size) % 7
    events = events.reshape(ws.getSignalArray().shape, order="F")
    summed = CreateMDHistoWorkspace(
        SignalInput=(ws.getSignalArray() * events).ravel("F"),
        ErrorInput=np.sqrt(ws.getErrorSquaredArray() * events**2).ravel("F"),
        NumberOfEvents=events.ravel("F"),
        Dimensionality=3,
        Extents=[-0.5, 0.5, -0.5, 0.5, 5.0, 30.0],
        NumberOfBins=[6, 8, 10],
        Names=["[H,0,0]", "[0,K,0]", "DeltaE"],
        Units=["r.l.u.", "r.l.u.", "DeltaE"],
        Frames=["HKL", "HKL", "General Frame"],
        OutputWorkspace="summed",
    )
    summed.setDisplayNormalization(MDNormalization.NumEventsNormalization)
    expected = apply(ws, "expected", Direction="AddResolution", **FACTS)
    found = apply(summed, Direction="AddResolution", **FACTS)
    assert found.displayNormalization() == MDNormalization.NumEventsNormalization
    assert np.allclose(found.getSignalArray() / events, expected.getSignalArray(), rtol=1e-5)
    assert np.allclose(found.getErrorSquaredArray() / events**2, expected.getErrorSquaredArray(), rtol=1e-5)


def test_quality_of_each_bin(measured):
    out = ApplyResolutionGAN(measured, OutputWorkspace="out", OutputQuality="quality")
    assert out.OutputQuality.name() == "quality" and out.OutputWorkspace.name() == "out"
    assert np.allclose(
        out.OutputQuality.getSignalArray() ** 2, out.OutputWorkspace.getErrorSquaredArray(), equal_nan=True
    )
    assert np.nanmax(out.OutputQuality.getErrorSquaredArray()) == 0.0


@pytest.fixture
def known(tmp_path):
    """A model whose card has intervals."""
    return stand_in_card.copied(tmp_path / "known")


def test_intervals_of_each_bin(measured, known):
    out = ApplyResolutionGAN(measured, OutputWorkspace="out", OutputIntervals="ends", ModelFile=known)
    names = ["ends_lower_95", "ends_lower_68", "ends_upper_68", "ends_upper_95"]
    assert list(mtd["ends"].getNames()) == names == list(out.OutputIntervals.getNames())
    assert all(mtd.doesExist(name) for name in names)
    result, _ = job_apply(read_workspace(measured), ApplyOptions(model=known, intervals=True))
    signal = out.OutputWorkspace.getSignalArray().copy()
    here = np.isfinite(signal)
    arrays = [mtd[name].getSignalArray().copy() for name in names]
    order = np.array([arrays[0], arrays[1], signal, arrays[2], arrays[3]])[:, here]
    assert (np.diff(order, axis=0) > 0).all()
    for array, name, away in zip(arrays, names, result.deviations, strict=True):
        assert np.array_equal(np.isfinite(array), here)
        np.testing.assert_allclose(array[here], (signal + away)[here], rtol=1e-5, atol=1e-5)
        assert np.nanmax(mtd[name].getErrorSquaredArray()) == 0.0
        side, level = name.split("_")[1:]
        assert mtd[name].getTitle().startswith(f"{side} end of the {level} % interval")
    assert "end of the" not in out.OutputWorkspace.getTitle()


def test_without_a_name_there_are_no_intervals(measured, known):
    ApplyResolutionGAN(measured, OutputWorkspace="out", ModelFile=known)
    assert sorted(mtd.getObjectNames()) == ["measured", "out"]


def test_intervals_that_a_card_or_two_models_do_not_have_are_told_before_the_run(measured, tmp_path):
    bare = stand_in_card.copied(tmp_path / "bare", known=False)
    assert problems(InputWorkspace=measured, OutputIntervals="ends", ModelFile=bare) == {
        "OutputIntervals": "the card of the model remove-resolution-2d has no intervals (its entry 'intervals'), which "
        "OutputIntervals needs. Fix: use a bundled model for cuts or slices (Model), or leave OutputIntervals out and "
        "take the standard errors."
    }
    told = problems(InputWorkspace=measured, OutputIntervals="ends", TargetSetting="Ei=150")
    assert list(told) == ["TargetSetting"]
    assert told["TargetSetting"].startswith("OutputIntervals was given with TargetSetting: the intervals of a card")


def test_a_report_of_the_live_workspace(measured, tmp_path):
    page = tmp_path / "report.html"
    ApplyResolutionGAN(measured, OutputWorkspace="out", OutputReport=str(page))
    text = page.read_text(encoding="utf-8")
    assert "Report of out" in text and "Nothing was found that speaks against this result" in text
    assert "SHA-256 of input and output" in text and "they are workspaces in memory, not files" in text
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_a_report_that_cannot_be_written_is_told_before_the_run(measured, tmp_path):
    assert problems(InputWorkspace=measured, OutputReport=str(tmp_path / "report.doc"))["OutputReport"] == (
        f"the report {tmp_path}/report.doc has the suffix '.doc', expected .html or .pdf. "
        "Fix: name it report.html or report.pdf."
    )


def test_a_group_is_done_member_by_member(measured):
    CloneMDWorkspace("measured", OutputWorkspace="other")
    both = GroupWorkspaces(["measured", "other"])
    ApplyResolutionGAN(both, OutputWorkspace="out")
    assert list(mtd["out"].getNames()) == ["measured_out", "other_out"]
    single = apply("measured", OutputWorkspace="single")
    for name in mtd["out"].getNames():
        assert np.allclose(mtd[name].getSignalArray(), single.getSignalArray(), rtol=1e-6, equal_nan=True)


def test_intervals_of_a_group_are_reached_by_names_that_tell_its_members_apart(measured, known):
    """Mantid groups the outputs of the members, of which each is a group here."""
    CloneMDWorkspace("measured", OutputWorkspace="cuts_1")
    CloneMDWorkspace("measured", OutputWorkspace="cuts_2")
    cuts = GroupWorkspaces(["cuts_1", "cuts_2"], OutputWorkspace="cuts")
    ApplyResolutionGAN(cuts, OutputWorkspace="out", OutputIntervals="ends", ModelFile=known)
    assert list(mtd["out"].getNames()) == ["out_1", "out_2"] and list(mtd["ends"].getNames()) == ["ends_1", "ends_2"]
    for group in mtd["ends"].getNames():
        names = [f"{group}_{end}" for end in ("lower_95", "lower_68", "upper_68", "upper_95")]
        assert list(mtd[group].getNames()) == names and all(mtd.doesExist(name) for name in names)
        signal = mtd[group.replace("ends", "out")].getSignalArray()
        here = np.isfinite(signal)
        assert (mtd[names[0]].getSignalArray()[here] < signal[here]).all()


def test_a_model_of_ones_own(measured, tmp_path):
    shutil.copytree(cards.models_folder() / "remove-resolution-2d", tmp_path / "mine")
    file = tmp_path / "mine" / "model.onnx"
    own = apply(measured, ModelFile=str(file), OutputWorkspace="own")
    named = apply(measured, Model="remove-resolution-2d", OutputWorkspace="named")
    assert np.array_equal(own.getSignalArray(), named.getSignalArray(), equal_nan=True)


# ---------------------------------------------------------------------------------------------------- what is not right


def problems(**properties) -> dict[str, str]:
    """What validateInputs says with these properties."""
    algorithm = initialized()
    for name, value in properties.items():
        algorithm.setProperty(name, value)
    return dict(algorithm.validateInputs())


def test_nothing_is_wrong_with_a_good_input_or_an_empty_dialog(measured):
    assert problems(InputWorkspace="measured") == {}
    assert problems() == {}


def test_arrays_are_copied_by_the_run_and_not_by_its_checks(measured, monkeypatch):
    copied, copy = [], support.copied_array
    monkeypatch.setattr(support, "copied_array", lambda view: copied.append(view.shape) or copy(view))
    assert problems(InputWorkspace="measured") == {} and copied == []
    apply(measured, OutputWorkspace="out")
    assert copied == [measured.getSignalArray().shape] * 3


@pytest.mark.parametrize(
    ("properties", "name", "text"),
    [
        (
            {"Instrument": ""},
            "Instrument",
            "the instrument is not known. Fix: give it (Instrument): one of MAPS",
        ),
        ({"ChopperPackage": ""}, "ChopperPackage", "give it (ChopperPackage): one of"),
        (
            {"IncidentEnergy": ""},
            "IncidentEnergy",
            "the incident energy is not known. Fix: give it (IncidentEnergy): ",
        ),
        (
            {"ChopperFrequency": ""},
            "ChopperFrequency",
            "the chopper frequency is not known. Fix: give it (ChopperFrequency): ",
        ),
        ({"Lattice": ""}, "Lattice", "Lattice"),
        ({"Lattice": "4,4"}, "Lattice", "the lattice '4,4' is not three or six finite numbers"),
        ({"ChopperPackage": "Z"}, "ChopperPackage", "chopper package 'Z' is not known for MAPS; it has"),
        ({"IncidentEnergy": 5000.0}, "IncidentEnergy", "Ei = 5000 meV is outside the range of MAPS"),
        ({"IncidentEnergy": 28.0}, "IncidentEnergy", "lies above the incident energy, 28 meV"),
        ({"ChopperFrequency": 5.0}, "ChopperFrequency", "a chopper frequency of 5 Hz is outside the range of MAPS"),
        ({"Model": "add-resolution-2d"}, "Model", "use Direction AddResolution"),
        ({"ModelFile": "nowhere.onnx"}, "ModelFile", "there is no model 'nowhere.onnx'"),
        ({"ModelFile": "nowhere.onnx", "Model": "remove-resolution-2d"}, "ModelFile", "are both given"),
        ({"Device": "cuda"}, "Device", "the device cuda was requested, but this ONNX Runtime has only CPUExecution"),
    ],
)
def test_each_property_has_its_message(properties, name, text, monkeypatch):
    onnxruntime = pytest.importorskip("onnxruntime")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    volume()
    found = problems(InputWorkspace="volume", **without_empty(FACTS | properties))
    assert set(found) == {name}, found
    assert text in found[name] and "--" not in found[name]


def test_a_model_file_that_will_not_do(measured, tmp_path):
    (tmp_path / "alone.onnx").write_bytes(b"no model")
    assert "alone.onnx" in problems(InputWorkspace="measured", ModelFile=str(tmp_path / "alone.onnx"))["ModelFile"]
    shutil.copytree(cards.models_folder() / "remove-resolution-2d", tmp_path / "damaged")
    file = tmp_path / "damaged" / "model.onnx"
    file.write_bytes(file.read_bytes()[:-100])
    found = problems(InputWorkspace="measured", ModelFile=str(file))
    assert set(found) == {"ModelFile"} and "has the hash" in found["ModelFile"], found


def without_empty(properties):
    return {name: value for name, value in properties.items() if value != ""}


def test_all_that_is_missing_is_asked_for_at_once():
    volume()
    assert set(problems(InputWorkspace="volume")) == set(FACTS)


def test_a_workspace_without_energy_and_one_without_data():
    ws = volume()
    ws.setSignalArray(np.full((6, 8, 10), np.nan))
    found = problems(InputWorkspace="volume", **FACTS)
    assert set(found) == {"InputWorkspace"} and "none of the 480 bins is valid" in found["InputWorkspace"]
    CreateMDHistoWorkspace(
        SignalInput=[1.0, 2.0],
        ErrorInput=[1.0, 1.0],
        Dimensionality=1,
        Extents=[0.0, 1.0],
        NumberOfBins=[2],
        Names=["[H,0,0]"],
        Units=["r.l.u."],
        OutputWorkspace="flat",
    )
    assert "there is no energy axis" in problems(InputWorkspace="flat", **FACTS)["InputWorkspace"]


def test_a_sample_and_a_mosaic(measured):
    assert "no shape with its sizes in mm" in problems(InputWorkspace="measured", Sample="cylinder")["Sample"]
    assert "sample shape 'cone' is not known" in problems(InputWorkspace="measured", Sample="cone,1,2,3")["Sample"]
    plain = apply(measured, OutputWorkspace="plain")
    wide = apply(measured, OutputWorkspace="wide", Sample="cuboid,30,30,30", Mosaic=3.0)
    assert np.nanmax(np.abs(wide.getSignalArray() - plain.getSignalArray())) > 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Direction", "Sideways"),
        ("Model", "nobody"),
        ("Instrument", "IN5"),
        ("IncidentEnergy", -1.0),
        ("ChopperFrequency", 0.0),
        ("WidthFactor", 0.0),
        ("Mosaic", -1.0),
        ("Device", "tpu"),
        ("OutOfDomain", "Ignore"),
        ("InputWorkspace", "table"),
        ("InputWorkspace", "nope"),
    ],
)
def test_a_validator_refuses_when_the_property_is_set(name, value):
    CreateEmptyTableWorkspace(OutputWorkspace="table")
    with pytest.raises(ValueError):
        initialized().setProperty(name, value)


def test_invalid_inputs_run_nothing():
    ws = volume()
    with pytest.raises((TypeError, RuntimeError), match="Some invalid Properties found"):
        ApplyResolutionGAN(ws, OutputWorkspace="out")
    with pytest.raises((TypeError, RuntimeError), match="InputWorkspace"):
        ApplyResolutionGAN(OutputWorkspace="out")
    assert mtd.getObjectNames() == ["volume"]


@pytest.mark.parametrize("trust", [without_blocks, with_far_blocks])
def test_data_unlike_the_training_data(trust, measured, monkeypatch, capfd):
    """With a model whose card has p-values, and with one that has only the distance of its features."""
    trust(monkeypatch)
    monkeypatch.setattr("mantid_insgan.translate.translator.Translator._distance", lambda *_: 2.0)
    out = ApplyResolutionGAN(measured, OutputWorkspace="warned")
    said = "".join(capfd.readouterr())
    if trust is with_far_blocks:
        assert out.DomainPValue == pytest.approx(1 / 102)
        assert "the data are unlike the training data of the model (p-value 0.0098); " in said
    else:
        assert np.isnan(out.DomainPValue) and "p-value" not in said
        assert "100% of the slices are unlike the training data of the model" in said
    with pytest.raises(RuntimeError, match="unlike the training data of the model.* and OutOfDomain Error was given"):
        ApplyResolutionGAN(measured, OutOfDomain="Error", OutputWorkspace="refused")
    assert mtd.getObjectNames() == ["measured", "warned"]


def test_without_onnx_runtime_the_run_says_what_to_install(measured, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(RuntimeError, match=r"ONNX Runtime is not installed.*pip install 'mantid-insgan\[cpu\]'"):
        ApplyResolutionGAN(measured, OutputWorkspace="out")
    assert mtd.getObjectNames() == ["measured"]


def test_without_another_library_too(measured, monkeypatch):
    monkeypatch.setitem(sys.modules, "resins", None)
    monkeypatch.setattr("mantid_insgan.instruments.choppers._resins", _import_resins)
    found = problems(InputWorkspace="measured")
    assert "pip install 'mantid-insgan[cpu]'" in found["Device"]


def _import_resins(_):
    import resins

    return resins


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


def test_cancelling_half_way_leaves_no_workspace():
    volume()
    algorithm = initialized()
    algorithm.setRethrows(True)
    for name, value in {"InputWorkspace": "volume", "OutputWorkspace": "out", "OutputQuality": "q", **FACTS}.items():
        algorithm.setProperty(name, value)
    canceller = _Canceller(algorithm)
    with pytest.raises(KeyboardInterrupt):  # what Mantid makes of its CancelException
        algorithm.execute()
    assert len(canceller.shares) < 5 and max(canceller.shares) < 0.8
    assert mtd.getObjectNames() == ["volume"] and not algorithm.isExecuted()


def test_a_single_slice_is_cancelled_while_the_network_runs(monkeypatch):
    from mantid_insgan.translate import session

    monkeypatch.setattr(session, "LOOK", 0.001)
    volume("slice", bins=(100, 1, 60))
    algorithm = initialized()
    algorithm.setRethrows(True)
    given = {"InputWorkspace": "slice", "OutputWorkspace": "out", "Direction": "AddResolution", **FACTS}
    for name, value in given.items():
        algorithm.setProperty(name, value)
    canceller = _Canceller(algorithm)
    with pytest.raises(KeyboardInterrupt):  # what Mantid makes of its CancelException
        algorithm.execute()
    assert 2 <= len(canceller.shares) < 9 and max(canceller.shares) < 0.01, "its one tile was under way"
    assert mtd.getObjectNames() == ["slice"] and not algorithm.isExecuted()


# ------------------------------------------------------------------------------------------------------- how it gets in


def test_registering_imports_nothing_that_takes_time(mantid_script):
    """Workbench imports it at its start: beside Mantid, NumPy and the standard library only a few modules of ours."""
    said = mantid_script(
        "import sys, mantid.simpleapi\n"
        "before = set(sys.modules)\n"
        "import mantid_insgan.mantid\n"
        "new = {name for name in set(sys.modules) - before if name.split('.')[0] not in sys.stdlib_module_names}\n"
        "print('new', sorted(n for n in new if n.split('.')[0] not in ('numpy', 'mantid')))"
    )
    names = re.findall(r"'([\w.]+)'", said.partition("new")[2])
    plugins = ("ApplyResolutionGAN", "TrainResolutionGAN", "SimulateSpinWModel", "FitSpinWModel")
    others = [n for n in names if n.split(".")[0] not in ("mantid_insgan", *plugins)]
    assert others == [] and 3 < len(names) < 25, names


def test_it_is_registered_where_every_library_is_missing(mantid_script):
    said = mantid_script(
        "import sys\n"
        "for name in ('torch', 'onnxruntime', 'resins', 'pydantic'):\n"
        "    sys.modules[name] = None\n"
        "import mantid_insgan.mantid\n"
        "from mantid.simpleapi import ApplyResolutionGAN, LoadMD\n"
        f"ws = LoadMD({str(DATA / 'measured.nxs')!r})\n"
        "try:\n"
        "    ApplyResolutionGAN(ws, OutputWorkspace='out')\n"
        "except (TypeError, RuntimeError) as error:\n"
        "    print('failed')\n"
    )
    assert "failed" in said and "pip install 'mantid-insgan[cpu]'" in said


def test_an_installed_plugin_is_there_at_start_up(mantid_script, tmp_path):
    home = tmp_path / ".mantid" / "Mantid.user.properties"
    from mantid_insgan.mantid_support.install import carry_out, plan

    carry_out(plan(home))
    said = mantid_script(
        "from mantid.simpleapi import *\n"
        f"ws = LoadMD({str(DATA / 'calculated.nxs')!r}); out = ApplyResolutionGAN(ws, Direction='AddResolution', "
        "Instrument='MAPS', ChopperPackage='S')\n"
        "print('valid bins', out.ValidBins, mtd.doesExist('out'))"
    )
    assert re.search(r"valid bins \d{4} True", said)


def test_importing_the_module_twice_registers_once(mantid_script):
    said = mantid_script(
        "import mantid_insgan.mantid as m\n"
        "import mantid.simpleapi as s\n"
        "first = s.ApplyResolutionGAN\n"
        "assert m.register() == m.__all__ and s.ApplyResolutionGAN is first\n"
        "print(m.__all__)"
    )
    assert "ApplyResolutionGAN" in said
