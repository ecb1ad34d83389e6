"""The directions between simulation and experiment: which model they choose, and what the job says and refuses."""

import json

import h5py
import numpy as np
import pytest

from mantid_insgan.core.options import (
    DIRECTIONS,
    MEANT,
    TRANSLATIONS,
    ApplyOptions,
    TrainOptions,
    check_target,
    in_mantid,
)
from mantid_insgan.errors import ModelError, RunFactError
from mantid_insgan.io import read_nexus, write_nexus
from mantid_insgan.io.writer import ENTRY
from mantid_insgan.mantid_support.autoreduction import output_of
from mantid_insgan.report.evidence import evidence_of_files
from mantid_insgan.report.page import subtitle
from mantid_insgan.translate import cards
from mantid_insgan.translate.job import apply
from tests.test_cli import magnon

BETWEEN = ("simulation-to-experiment", "experiment-to-simulation")


@pytest.fixture
def measured(tmp_path):
    """A file with all run facts in its logs."""
    path = tmp_path / "measured.nxs"
    write_nexus(magnon(40, 32), path)
    return path


# -- choice


@pytest.mark.parametrize("direction, dimensions", [(d, n) for d in DIRECTIONS for n in (1, 2, 3)])
def test_directions_of_the_resolution_choose_as_before(direction, dimensions):
    assert cards.model_for(direction, dimensions).card.name == f"{direction}-{dimensions}d"


@pytest.mark.parametrize("direction", BETWEEN)
def test_directions_of_experiments_choose_the_slices(direction):
    for axes in (None, 2, 3, 4):
        card = cards.model_for(direction, axes).card
        assert (card.name, card.translation) == (f"{direction}-2d", direction)
    assert (card.direction, card.purpose) == MEANT[direction]
    assert card.background and card.simulation == "ideal" and card.dimensions == 2
    with pytest.raises(
        ModelError, match=rf"{direction} needs 2 axes.*data have 1.*2 axes or more, or .*{MEANT[direction][0]}"
    ):
        cards.model_for(direction, 1)


def test_a_model_is_refused_for_another_direction():
    with pytest.raises(ModelError, match="is for experiment-to-simulation, but remove-resolution was requested.*"):
        cards.model_for("remove-resolution", 2, "experiment-to-simulation-2d")
    with pytest.raises(ModelError, match="is for add-resolution, but simulation-to-experiment .*--direction add-reso"):
        cards.model_for("simulation-to-experiment", 2, "add-resolution-2d")
    with pytest.raises(ModelError, match="'sideways' is not known; there are add-resolution, .* and experiment-to-sim"):
        cards.model_for("sideways", 2)
    chosen = cards.choose_model("add-resolution", 2, "simulation-to-experiment-2d", any_purpose=True)
    assert chosen.card.name == "simulation-to-experiment-2d"
    with pytest.raises(ModelError, match="is for simulation-to-experiment, but remove-resolution was requested"):
        cards.choose_model("remove-resolution", 2, "simulation-to-experiment-2d", any_purpose=True)


def test_their_cards_say_what_they_are_worth():
    for direction in BETWEEN:
        card = cards.find_model(f"{direction}-2d").card
        titles = [t.title for t in card.metrics]
        for table in (t for t in card.metrics if t.title.startswith("simulated experiments")):
            assert {"identity", f"bundled {card.direction}-2d", "this model"} < set(table.rows)
            assert "one scale" in table.conditions and "truth" in table.conditions
        assert sum(t.startswith("simulated experiments") for t in titles) == 2
        assert any(t.startswith("measured manganite") for t in titles)
        assert any("guess" in note for note in card.notes) and any("one material" in note for note in card.notes)
        assert "without pairs" in card.description and "manganite" in card.description
        assert not set(card.training.families) & set(card.training.held_out_families)


# -- options


@pytest.mark.parametrize("direction", BETWEEN)
@pytest.mark.parametrize("given, flag", [({"sharpen": 2.0}, "--sharpen 2"), ({"to": "Ei=38"}, "--to Ei=38")])
def test_targets_are_refused(direction, given, flag):
    with pytest.raises(RunFactError, match=f"{flag} was given with --direction {direction}.*leave it out, or take"):
        check_target(ApplyOptions(direction=direction, **given))


def test_names_in_mantid():
    text = in_mantid("use --direction experiment-to-simulation, or the model experiment-to-simulation-2d")
    assert text == "use Direction ExperimentToSimulation, or the model experiment-to-simulation-2d"
    assert in_mantid("of simulation-to-experiment") == "of SimulationToExperiment"
    assert list(TRANSLATIONS)[:2] == list(DIRECTIONS) and set(MEANT) == set(TRANSLATIONS)


def test_trainings_keep_to_what_is_calculated(tmp_path):
    sources = pytest.importorskip("mantid_insgan.learn.sources", reason="training needs the extra 'train'")
    options = TrainOptions(direction="simulation-to-experiment")
    with pytest.raises(
        ModelError, match="simulation-to-experiment is for applying .*use --direction add-resolution with"
    ):
        sources.check_target(options, tmp_path / "model.onnx", False)


def test_pairs_do_not_start_from_a_background(tmp_path):
    job = pytest.importorskip("mantid_insgan.learn.train_job", reason="training needs the extra 'train'")
    options = TrainOptions(pairs=str(tmp_path), warm_start="simulation-to-experiment-2d")
    with pytest.raises(ModelError, match="simulation-to-experiment-2d knows a background.*--warm-start"):
        job._start(options, 2)
    started = job._start(TrainOptions(warm_start="simulation-to-experiment-2d"), 2)
    assert started.background is not None
    assert job._bundled("add-resolution", 2).background is None  # as before


# -- jobs


@pytest.mark.parametrize("direction", BETWEEN)
def test_apply_tells_the_name_that_was_given(insgan, measured, direction):
    output = measured.with_name("out.nxs")
    code, out, err = insgan("apply", measured, output, "--direction", direction)
    assert (code, err) == (0, "")
    assert f"with {direction}-2d" in out and "a background that is a guess from the energy and |Q| alone" in out
    with h5py.File(output) as file:
        said = json.loads(file[f"{ENTRY}/process/MantidAlgorithm_1/json"][0])["parameters"]
    assert (said["direction"], said["model"]) == (direction, f"{direction}-2d") and "sharpen" not in said
    before, after = read_nexus(measured), read_nexus(output)
    assert np.isfinite(after.signal[after.valid]).all() and (after.variance[after.valid] > 0).all()
    assert after.run.value("resolution").has_resolution == (direction == BETWEEN[0])
    assert after.axes == before.axes
    done = "as an experiment would show" if direction == BETWEEN[0] else "as a simulation would show"
    assert f"{done} measured.nxs" in subtitle(evidence_of_files(measured, output))


@pytest.mark.parametrize("direction", BETWEEN)
def test_volumes_are_applied_slice_by_slice(direction):
    volume = magnon(16, 6, 20, names=("[H,0,0]", "[0,K,0]", "DeltaE"))
    result, report = apply(volume, ApplyOptions(direction=direction, device="cpu"))
    assert report.model == f"{direction}-2d" and result.shape == volume.shape
    assert any("slices in '[H,0,0]' and 'DeltaE'" in note for note in report.notes)


def test_a_cut_names_the_remedy(insgan, tmp_path):
    write_nexus(magnon(40, names=("DeltaE",)), tmp_path / "cut.nxs")
    code, _, err = insgan("apply", tmp_path / "cut.nxs", tmp_path / "out.nxs", "--direction", BETWEEN[1])
    assert code == 5 and "needs 2 axes with more than one bin, and the data have 1" in err
    assert "--direction remove-resolution" in err and not (tmp_path / "out.nxs").exists()


def test_results_of_autoreduction_have_names_of_their_own():
    names = {output_of("run.nxspe", "out", ApplyOptions(direction=d)).name for d in TRANSLATIONS}
    assert len(names) == len(TRANSLATIONS)
    assert {"run_as_experiment.nxs", "run_as_simulation.nxs"} < names


@pytest.mark.mantid
@pytest.mark.parametrize("direction", BETWEEN)
def test_mantid_runs_them(direction):
    from mantid.api import mtd
    from mantid.simpleapi import LoadMD

    from mantid_insgan.demo import DATA
    from mantid_insgan.mantid import ApplyResolutionGAN

    mtd.clear()
    LoadMD(str(DATA / "measured.nxs"), OutputWorkspace="measured")
    found = ApplyResolutionGAN("measured", Direction=TRANSLATIONS[direction], OutputWorkspace="found")
    result = found[0] if isinstance(found, tuple) else found
    wanted, _ = apply(read_nexus(DATA / "measured.nxs"), ApplyOptions(direction=direction))
    np.testing.assert_allclose(result.getSignalArray(), wanted.signal, rtol=1e-4, atol=1e-5, equal_nan=True)
    mtd.clear()
