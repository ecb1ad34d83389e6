"""TrainResolutionGAN as a user of Mantid meets it: groups and files in, a model out that ApplyResolutionGAN uses."""

import numpy as np
import pytest
from mantid.api import AlgorithmFactory, AlgorithmManager, AlgorithmObserver, MDNormalization, mtd
from mantid.kernel import Direction
from mantid.simpleapi import CreateEmptyTableWorkspace, CreateMDHistoWorkspace, GroupWorkspaces, SaveMD

import mantid_insgan.mantid  # noqa: F401  (registers)
from mantid_insgan.core.options import TrainOptions, in_mantid, option
from mantid_insgan.learn.sources import source_of
from mantid_insgan.mantid import ApplyResolutionGAN, TrainResolutionGAN
from mantid_insgan.mantid_support.workspace import read_workspace
from mantid_insgan.translate.cards import read_model
from tests.exports import leave_out

pytestmark = pytest.mark.mantid

#: For data that tell nothing.
FACTS = {"Instrument": "MAPS", "ChopperPackage": "A", "ChopperFrequency": 300.0, "IncidentEnergy": 100.0}
#: A training that takes no time: from nothing, two steps.
SHORT = {"WarmStart": "none", "Batch": 4, "Epochs": 1, "Device": "cpu"}
#: Workspaces in each group.
MEMBERS = 8


@pytest.fixture(autouse=True)
def empty_service():
    mtd.clear()
    yield
    mtd.clear()


def branch(name, seed, measured, bins=(16, 16), names=("|Q|", "DeltaE"), scale=1.0):
    """A mode in |Q| and energy, sharp or as counted."""
    rng = np.random.default_rng(seed)
    size = int(np.prod(bins))
    q, energy = np.linspace(0.5, 4, bins[0])[:, None], np.linspace(5, 60, size // bins[0])[None]
    width = 4 if measured else 2
    signal = 100 * np.exp(-0.5 * ((energy - 20 - 20 * np.abs(np.sin(1.5 * q + 0.1 * seed))) / width) ** 2)
    signal = rng.poisson(signal + 1).astype(float) if measured else signal
    limits = {"|Q|": (0.5, 4.0), "DeltaE": (5.0, 60.0)}
    return CreateMDHistoWorkspace(
        SignalInput=scale * signal.ravel("F"),
        ErrorInput=scale * (np.sqrt(signal + 1) if measured else 0 * signal).ravel("F"),
        NumberOfEvents=np.full(size, scale),
        Dimensionality=len(bins),
        Extents=[x for n in names for x in limits[n]],
        NumberOfBins=list(bins),
        Names=list(names),
        Units=["DeltaE" if n == "DeltaE" else "Angstrom^-1" for n in names],
        OutputWorkspace=name,
    )


def sides(members=MEMBERS, **how) -> dict[str, str]:
    """Two groups, and the properties that name them."""
    found = {}
    for side in ("Simulation", "Experiment"):
        for i in range(members):
            branch(f"{side}{i}", i, side == "Experiment", **how)
        GroupWorkspaces([f"{side}{i}" for i in range(members)], OutputWorkspace=f"{side}s")
        found[side] = f"{side}s"
    return found


def initialized(**properties):
    algorithm = AlgorithmManager.create("TrainResolutionGAN")
    for name, value in properties.items():
        algorithm.setProperty(name, value)
    return algorithm


def problems(**properties) -> dict[str, str]:
    """What validateInputs says."""
    return dict(initialized(**properties).validateInputs())


# ------------------------------------------------------------------------------------------------ what the dialog shows


def test_how_it_presents_itself():
    algorithm = initialized()
    assert AlgorithmFactory.exists("TrainResolutionGAN", 1) and algorithm.version() == 1
    assert algorithm.category() == "MDAlgorithms\\Transforms;Inelastic\\Corrections"
    assert algorithm.summary().endswith(".")
    assert AlgorithmManager.createUnmanaged(algorithm.name()).helpURL().startswith("https://")
    assert "ApplyResolutionGAN" in algorithm.seeAlso()


def test_the_options_are_those_of_the_command_line():
    algorithm = initialized()
    # a file has its axes and bins from LoadMD or BinMD there
    for_files = {"axes", "q_bins", "q_range", "energy_bins", "energy_range"}
    assert {n for n in TrainOptions.__dataclass_fields__ if option(n, TrainOptions)["property"] is None} == for_files
    for name in TrainOptions.__dataclass_fields__.keys() - for_files:
        about, prop = option(name, TrainOptions), algorithm.getProperty(option(name, TrainOptions)["property"])
        default = getattr(TrainOptions(), name)
        if default == ():
            assert prop.isDefault and prop.documentation.startswith("Group of ")
            continue
        text = in_mantid(about["help"])
        for value, shown in (about["choices"] or {}).items():
            text = text.replace(f"({value} ", f"({shown} ").replace(f"{value} (", f"{shown} (")
        assert prop.documentation == text
        if about["choices"]:
            assert list(prop.allowedValues) == list(about["choices"].values())
            assert prop.value == about["choices"][default]
        elif default is None:
            assert prop.isDefault and (prop.value == "" or prop.value >= 2**31 - 1)
        else:
            assert prop.value == default


def test_a_tooltip_is_one_sentence():
    for prop in initialized().getProperties():
        text = prop.documentation
        assert text[0].isupper() and text.endswith("."), prop.name
        assert "." not in text[:-1], f"Mantid shows {prop.name} up to the first full stop"


def test_groups_stand_together():
    properties = [p for p in initialized().getProperties() if p.direction == Direction.Input]
    groups = [p.getGroup for p in properties]
    changes = [g for i, g in enumerate(groups) if i == 0 or groups[i - 1] != g]
    assert changes == ["", "Data", "Model", "Training", "Measurement"]


def test_pairs_take_the_place_of_the_sides(tmp_path):
    algorithm = initialized()

    def enabled(name):
        found = algorithm.getProperty(name).settings
        return (found[0] if isinstance(found, list | tuple) else found).isEnabled(algorithm)

    names = ("Simulation", "SimulationFiles", "Experiment", "ExperimentFiles", "Paired")
    assert all(map(enabled, names))
    algorithm.setProperty("Pairs", str(tmp_path))
    assert not any(map(enabled, names))


# ------------------------------------------------------------------------------------------------------------- training


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Properties, folder and answers of a short paired training, with spectra that score the model, not exported."""
    mtd.clear()
    folder = tmp_path_factory.mktemp("trained")
    given = sides()
    for side in ("Simulation", "Experiment"):
        branch(f"more{side}", 50, side == "Experiment")
        GroupWorkspaces([f"more{side}"], OutputWorkspace=f"Validation{side}s")
        given[f"Validation{side}"] = f"Validation{side}s"
    given |= {"Paired": True, **SHORT, **FACTS}
    with pytest.MonkeyPatch.context() as patched:
        leave_out(patched)
        out = TrainResolutionGAN(str(folder / "model.onnx"), LossHistory="losses", **given)
        table = {name: list(mtd["losses"].column(name)) for name in mtd["losses"].getColumnNames()}
        yield given, folder, out, table


def test_it_leaves_a_model_with_its_card_and_curves(trained):
    _, folder, out, table = trained
    card = read_model(folder / "model.onnx").card
    assert (card.direction, card.dimensions, card.training.steps) == ("add-resolution", 2, 2)
    assert card.training.families == [f"{side}{i}" for side in ("Simulation", "Experiment") for i in range(MEMBERS)]
    assert card.training.pairs == MEMBERS, "all are trained on: others score the model"
    assert card.metrics, "it is scored on the validation"
    assert "--simulation Simulation0" in card.training.command
    assert out.StepsDone == 2 and out.MinutesDone >= 0
    assert table["step"] == [1, 2] and all(np.isfinite(v).all() for v in table.values()) and "nrmse" in table
    made = {p.name for p in folder.iterdir()}
    assert made == {f"model.{e}" for e in ("onnx", "json", "losses.csv", "losses.png", "example.png", "training")}


def test_the_model_is_used_at_once(trained):
    branch("new", 9, measured=False)
    out = ApplyResolutionGAN(
        "new",
        Direction="AddResolution",
        ModelFile=str(trained[1] / "model.onnx"),
        OutputWorkspace="shown",
        **FACTS,
    )
    assert out.ValidBins == 256 and mtd.doesExist("shown")
    assert np.isfinite(mtd["shown"].getSignalArray()).all()


def test_an_output_that_exists_and_a_checkpoint_of_other_data(trained):
    given, folder, *_ = trained
    sides(scale=2.0)
    for side in ("Simulation", "Experiment"):
        GroupWorkspaces([f"{side}0"], OutputWorkspace=f"Validation{side}s")
    output = str(folder / "model.onnx")
    found = problems(OutputModel=output, **given)
    assert set(found) == {"OutputModel"} and "already exists" in found["OutputModel"]
    assert "or Overwrite to replace it" in found["OutputModel"]
    found = problems(OutputModel=output, Overwrite=True, **given)
    assert set(found) == {"Resume"} and "was made with another recipe" in found["Resume"]
    assert "remove the checkpoint to start from the beginning" in found["Resume"]
    assert problems(OutputModel=output, Overwrite=True, Resume=str(folder / "elsewhere"), **given) == {}
    before = (folder / "model.onnx").read_bytes()
    with pytest.raises((TypeError, RuntimeError), match="Some invalid Properties found"):
        TrainResolutionGAN(output, Overwrite=True, **given)
    assert (folder / "model.onnx").read_bytes() == before


def test_what_is_no_checkpoint_is_told(tmp_path):
    (tmp_path / "checkpoint.safetensors").write_text("no tensors")
    given = sides(2) | FACTS | {"OutputModel": str(tmp_path / "model.onnx"), "Resume": str(tmp_path)}
    found = problems(**given)
    assert set(found) == {"Resume"} and "checkpoint.safetensors is not a checkpoint" in found["Resume"]


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


def test_cancelling_half_way_leaves_a_checkpoint_to_go_on_from_and_no_workspace(tmp_path):
    given = sides() | {"Steps": 8, "WarmStart": "none", "Batch": 1, "Device": "cpu", **FACTS}
    before = mtd.getObjectNames()
    checkpoint = tmp_path / "kept" / "checkpoint.safetensors"
    given |= {"OutputModel": str(tmp_path / "model.onnx"), "LossHistory": "losses", "Resume": str(checkpoint.parent)}

    def cancelled():
        algorithm = initialized(**given)
        algorithm.setRethrows(True)
        canceller = _Canceller(algorithm)
        with pytest.raises(KeyboardInterrupt):  # what Mantid makes of its CancelException
            algorithm.execute()
        assert mtd.getObjectNames() == before and not algorithm.isExecuted()
        assert [p.name for p in tmp_path.iterdir()] == ["kept"] and checkpoint.is_file()
        return canceller.shares

    assert cancelled() == [pytest.approx(1 / 8, abs=1e-5), pytest.approx(2 / 8, abs=1e-5)]
    # The same once more goes on from there.
    assert cancelled() == [pytest.approx(3 / 8, abs=1e-5), pytest.approx(4 / 8, abs=1e-5)]


@pytest.mark.slow
def test_files_and_groups_together_unpaired_for_a_minute(tmp_path):
    given = sides()
    names = []
    for i in range(2):
        branch("saved", 30 + i, measured=True)
        names.append(str(tmp_path / f"measured{i}.nxs"))
        SaveMD("saved", Filename=names[-1])
    given |= {"ExperimentFiles": ",".join(names), "MaxMinutes": 1.0, "Device": "cpu", **FACTS}
    out = TrainResolutionGAN(str(tmp_path / "model.onnx"), LossHistory="losses", **given)
    assert out.StepsDone == mtd["losses"].rowCount() > 1 and 1 <= out.MinutesDone < 2
    card = read_model(tmp_path / "model.onnx").card
    assert card.training.families[-2:] == ["measured0.nxs", "measured1.nxs"]
    model = {"Direction": "AddResolution", "ModelFile": str(tmp_path / "model.onnx"), **FACTS}
    assert ApplyResolutionGAN("Simulation0", OutputWorkspace="shown", **model).ValidBins == 256


def test_sums_over_events_are_trained_on_per_event():
    plain = read_workspace(branch("plain", 1, measured=True))
    workspace = branch("summed", 1, measured=True, scale=4.0)
    workspace.setDisplayNormalization(MDNormalization.NumEventsNormalization)
    options = TrainOptions(instrument="MAPS", chopper="A", frequency=300.0, ei=100.0)
    found = source_of("summed", read_workspace(workspace), options).spectrum
    np.testing.assert_allclose(found.signal, plain.signal)
    np.testing.assert_allclose(found.variance, plain.variance)


# ---------------------------------------------------------------------------------------------------- what is not right


def test_nothing_is_wrong_with_good_input(tmp_path):
    given = sides() | FACTS | {"OutputModel": str(tmp_path / "model.onnx")}
    assert problems(**given) == {}
    assert problems(**given, Paired=True, WarmStart="add-resolution-2d") == {}


def test_an_empty_dialog_asks_for_data():
    found = problems()
    assert set(found) == {"Simulation"}
    assert found["Simulation"] == (
        "training needs both sides, found no Simulation. Fix: give Simulation and Experiment, or Pairs."
    )


def test_all_facts_that_the_data_lack_are_asked_for_at_once():
    found = problems(**sides(2))
    assert set(found) == set(FACTS)
    assert found["IncidentEnergy"].startswith("it is not in Simulation0. Fix: give it. Incident energy")


@pytest.mark.parametrize(
    ("properties", "name", "text"),
    [
        ({"OutputModel": "model.pt"}, "OutputModel", "the model 'model.pt' does not end in .onnx"),
        ({"OutputModel": "nowhere/model.onnx"}, "OutputModel", "nowhere does not exist"),
        ({"Experiment": ""}, "Experiment", "found no Experiment"),
        ({"Pairs": "pairs"}, "Pairs", "Pairs was given beside Simulation or Experiment"),
        ({"Pairs": "pairs", "Simulation": "", "Experiment": ""}, "Pairs", "pairs holds no index.json"),
        ({"Lattice": "4,4"}, "Lattice", "the lattice '4,4' is not three or six finite numbers"),
        ({"Device": "cuda"}, "Device", "Device cuda was given, and PyTorch finds no CUDA card"),
        ({"WarmStart": "nobody"}, "WarmStart", "there is no model 'nobody'"),
        (
            {"WarmStart": "remove-resolution-2d"},
            "WarmStart",
            "is for RemoveResolution, but AddResolution was requested",
        ),
        ({"ChopperPackage": "Z"}, "ChopperPackage", "Simulation0: chopper package 'Z' is not known for MAPS; it has"),
        ({"IncidentEnergy": 5000.0}, "IncidentEnergy", "Ei = 5000 meV is outside the range of MAPS"),
        ({"ChopperFrequency": 5.0}, "ChopperFrequency", "a chopper frequency of 5 Hz is outside the range of MAPS"),
        ({"IncidentEnergy": 28.0}, "IncidentEnergy", "lies above the incident energy, 28 meV"),
        ({"Experiment": "one"}, "Experiment", "Experiment gives 1, expected 2 spectra or more on each side"),
        ({"Experiment": "three", "Paired": True}, "Simulation", "found 2 of Simulation and 3 of Experiment"),
        ({"Experiment": "other", "Paired": True}, "Experiment", "Simulation0 has (16, 16) bins and its partner"),
        ({"Experiment": "flat"}, "Experiment", "differ in their number of open axes (Simulation0: 2,"),
        ({"Experiment": "tables"}, "Experiment", "is a TableWorkspace, expected an MDHistoWorkspace"),
        ({"Experiment": "empty"}, "Experiment", "none of the 256 bins of empty0 is valid"),
        ({"ValidationSimulation": "one"}, "ValidationSimulation", "found 1 of ValidationSimulation and 0 of"),
    ],
)
def test_each_property_has_its_message(properties, name, text, tmp_path, monkeypatch):
    monkeypatch.setattr(pytest.importorskip("torch").cuda, "is_available", lambda: False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairs").mkdir()
    given = sides(2)
    for i in range(3):
        branch(f"three{i}", i, True)
        branch(f"other{i}", i, True, bins=(16, 20))
        branch(f"flat{i}", i, True, bins=(16,), names=("DeltaE",))
        branch(f"empty{i}", i, True).setSignalArray(np.full((16, 16), np.nan))
        CreateEmptyTableWorkspace(OutputWorkspace=f"tables{i}")
    for group, count in {"one": 1, "three": 3, "other": 2, "flat": 2, "empty": 2, "tables": 2}.items():
        members = ["Simulation0"] if group == "one" else [f"{group}{i}" for i in range(count)]
        GroupWorkspaces(members, OutputWorkspace=group)
    given |= {"OutputModel": "model.onnx", **FACTS, **properties}
    found = problems(**{k: v for k, v in given.items() if v != ""})
    assert set(found) == {name}, found
    assert text in found[name] and "--" not in found[name]


def test_files_have_their_messages_too(tmp_path):
    (tmp_path / "damaged.nxs").write_text("no data")
    found = problems(**sides(2), **FACTS, ExperimentFiles=str(tmp_path / "damaged.nxs"))
    assert set(found) == {"ExperimentFiles"} and "damaged.nxs" in found["ExperimentFiles"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Direction", "Sideways"),
        ("Instrument", "IN5"),
        ("MaxMinutes", 0.0),
        ("Epochs", 0),
        ("Steps", -1),
        ("Batch", 0),
        ("LearningRate", 0.0),
        ("Seed", -1),
        ("IncidentEnergy", -1.0),
        ("ChopperFrequency", 0.0),
        ("WidthFactor", 0.0),
        ("Device", "tpu"),
        ("Simulation", "table"),
        ("Simulation", "nope"),
        ("ExperimentFiles", "nowhere.nxs"),
    ],
)
def test_a_validator_refuses_when_the_property_is_set(name, value):
    CreateEmptyTableWorkspace(OutputWorkspace="table")
    with pytest.raises(ValueError):
        initialized().setProperty(name, value)


def test_invalid_inputs_run_nothing(tmp_path):
    given = sides(2)
    before = mtd.getObjectNames()
    with pytest.raises((TypeError, RuntimeError), match="Some invalid Properties found"):
        TrainResolutionGAN(str(tmp_path / "model.onnx"), LossHistory="losses", **given)
    with pytest.raises((TypeError, RuntimeError), match="OutputModel"):
        TrainResolutionGAN(**given)
    assert mtd.getObjectNames() == before and list(tmp_path.iterdir()) == []


def test_without_torch_the_run_says_what_to_install(tmp_path, mantid_script):
    said = mantid_script(
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'onnx', 'safetensors', 'lightning_fabric'):\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Missing())\n"
        "from mantid.simpleapi import GroupWorkspaces, LoadMD\n"
        "from mantid_insgan.mantid import TrainResolutionGAN\n"
        "from mantid_insgan.demo import DATA\n"
        "for name in 'abcd':\n"
        "    LoadMD(str(DATA / 'measured.nxs'), OutputWorkspace=name)\n"
        "simulated = GroupWorkspaces(['a', 'b'])\n"
        "measured = GroupWorkspaces(['c', 'd'])\n"
        "try:\n"
        "    TrainResolutionGAN('model.onnx', Simulation=simulated, Experiment=measured, Steps=1)\n"
        "except RuntimeError as error:\n"
        "    print('failed:', error)\n"
    )
    assert "failed:" in said and "pip install 'mantid-insgan[train]' into the Python of Mantid" in said
    assert not (tmp_path / "model.onnx").exists()
