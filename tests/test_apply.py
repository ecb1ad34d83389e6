"""The main job on spectra and files: sums over events, and data unlike the training data."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from trusting import with_far_blocks, without_blocks

from mantid_insgan import InsganError, Lattice, Run
from mantid_insgan.core.model_options import ClassifierOptions, FitOptions, SimulateOptions
from mantid_insgan.core.options import (
    ApplyOptions,
    ResolutionOptions,
    TrainOptions,
    in_mantid,
    overridden,
    properties_named,
)
from mantid_insgan.demo import DATA
from mantid_insgan.errors import ModelError, RunFactError
from mantid_insgan.io import read_nexus, write_nexus
from mantid_insgan.io.crystal import Setting
from mantid_insgan.translate import cards
from mantid_insgan.translate.job import apply, apply_to_file, is_result, per_event, summed

OPTIONS = ApplyOptions(device="cpu")


@pytest.fixture
def measured():
    """Measured data, and the same as sums over events of different number in each bin."""
    spectrum = read_nexus(DATA / "measured.nxs")
    events = np.random.default_rng(2).integers(0, 9, spectrum.shape).astype(float)
    spectrum = spectrum.replace(valid=spectrum.valid & (events > 0))
    sums = spectrum.replace(
        signal=spectrum.signal * events,
        variance=spectrum.variance * events**2,
        num_events=events,
        visual_normalization=2,
    )
    return spectrum, sums


def test_the_shown_intensity_is_that_per_event(measured):
    plain, sums = measured
    assert per_event(plain) is plain and summed(plain) is plain
    shown = per_event(sums)
    assert np.array_equal(shown.valid, plain.valid)
    assert np.allclose(shown.signal[shown.valid], plain.signal[plain.valid])
    back = summed(shown)
    assert np.allclose(back.signal[back.valid], sums.signal[sums.valid])
    assert np.allclose(back.variance[back.valid], sums.variance[sums.valid])


def test_sums_over_events_are_translated_per_event(measured, tmp_path):
    plain, sums = measured
    expected, report = apply(plain, OPTIONS)
    found, of_sums = apply(sums, OPTIONS)
    assert np.allclose(found.signal, expected.signal * sums.num_events, rtol=1e-4, equal_nan=True)
    assert np.allclose(found.variance, expected.variance * sums.num_events**2, rtol=1e-4, equal_nan=True)
    assert of_sums.quality.shown_out == pytest.approx(report.quality.flux_out, rel=1e-5)
    assert of_sums.quality.flux_out == pytest.approx(np.nansum(found.signal), rel=1e-5)
    write_nexus(sums, tmp_path / "sums.nxs")
    apply_to_file(tmp_path / "sums.nxs", tmp_path / "out.nxs", OPTIONS)
    of_file = read_nexus(tmp_path / "out.nxs")
    assert of_file.visual_normalization == 2 and np.array_equal(of_file.num_events, sums.num_events)
    assert np.allclose(of_file.signal, found.signal, rtol=1e-5, equal_nan=True)


@pytest.mark.parametrize("trust", [without_blocks, with_far_blocks])
def test_data_unlike_the_training_data_can_be_an_error(trust, tmp_path, monkeypatch):
    trust(monkeypatch)
    monkeypatch.setattr("mantid_insgan.translate.translator.Translator._distance", lambda *_: 2.0)
    source, target = DATA / "measured.nxs", tmp_path / "out.nxs"
    report = apply_to_file(source, target, OPTIONS)
    (note,) = (n for n in report.notes if "unlike the training data of the model" in n)
    if trust is with_far_blocks:
        assert report.summary()["p_value_of_domain"] == pytest.approx(1 / 102)
        assert note.startswith("the data are unlike the training data of the model (p-value 0.0098); ")
        assert note.count("; ") == len(report.quality.reasons[:3])
        words, where = report.quality.reasons[0]
        assert f"; {words}, {where}" in note
    else:
        assert report.summary()["p_value_of_domain"] is None
        assert note.startswith("100% of the slices are unlike the training data of the model (")
        assert "(median distance 2 of the threshold, which 1 % of like spectra exceed): compare with" in note
    target.unlink()
    strict = ApplyOptions(device="cpu", out_of_domain="error")
    with pytest.raises(
        ModelError, match="unlike the training data of the model.*, and --out-of-domain error was given"
    ):
        apply_to_file(source, target, strict)
    with pytest.raises(ModelError, match="accept the result with --out-of-domain warn"):
        apply(read_nexus(source), strict)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("model", [None, "remove-resolution-2d"])
def test_a_model_is_hashed_once_and_cards_are_parsed_once_for_all_files(tmp_path, monkeypatch, model):
    hashed, hash_of = [], cards._hash_of
    monkeypatch.setattr(cards, "_hash_of", lambda onnx: hashed.append(onnx) or hash_of(onnx))
    cards._parsed_card.cache_clear()
    for number in (1, 2):
        options = ApplyOptions(device="cpu", model=model)
        apply_to_file(DATA / "measured.nxs", tmp_path / f"{number}.nxs", options)
        assert len(hashed) == number
        assert cards._parsed_card.cache_info().misses == (1 if model else len(cards.bundled_names()))


def test_a_card_that_changes_is_parsed_again(tmp_path):
    folder = tmp_path / "mine"
    shutil.copytree(cards.models_folder() / "remove-resolution-1d", folder)
    found = cards.read_model(folder)
    cards.write_card(found.card.model_copy(update={"description": found.card.description + " Changed."}), found.path)
    assert cards.read_model(folder).card.description.endswith(" Changed.")


def test_an_unknown_choice_for_data_out_of_domain():
    with pytest.raises(RunFactError, match="--out-of-domain is 'ignore', expected warn or error"):
        apply(read_nexus(DATA / "measured.nxs"), ApplyOptions(out_of_domain="ignore"))


def test_messages_in_the_words_of_mantids_dialog():
    text = "give --ei (option --ei) or use --direction add-resolution, not the model add-resolution-2d (--device cpu)"
    assert in_mantid(text) == (
        "give IncidentEnergy (property IncidentEnergy) or use Direction AddResolution, not the model "
        "add-resolution-2d (Device cpu)"
    )
    assert in_mantid("--out-of-domain error, --einstein") == "OutOfDomain Error, --einstein"
    assert properties_named("check --ei and --chopper, or --other") == ["IncidentEnergy", "ChopperPackage"]


def test_options_as_keywords_are_those_of_the_class(measured):
    spectrum, _ = measured
    expected, report = apply(spectrum, ApplyOptions(device="cpu", width_factor=1.2, direction="add-resolution"))
    for found, same in (
        apply(spectrum, device="cpu", width_factor=1.2, direction="add-resolution"),
        apply(spectrum, OPTIONS, width_factor=1.2, direction="add-resolution"),
    ):
        assert np.array_equal(found.signal, expected.signal, equal_nan=True) and same.model == report.model


def test_an_unknown_keyword_names_the_nearest_option(measured):
    message = (
        r"there is no option 'instrumnet'; the closest is 'instrument'. .*: use one of direction, model, instrument,"
    )
    with pytest.raises(InsganError, match=message):
        apply(measured[0], instrumnet="MERLIN")
    with pytest.raises(InsganError, match="there is no option 'zzz'; the closest is "):
        apply(measured[0], zzz=1)


# ----------------------------------------------------------------------------------------------- options against data

CELL = Lattice(4.0, 4.0, 13.0, ub=np.diag([1 / 4, 1 / 4, 1 / 13]))
RUN = Run().updated("log", instrument="MERLIN", ei=49.9, chopper="G", frequency=400.0, lattice=CELL)


@pytest.mark.parametrize("kind", [ApplyOptions, TrainOptions, ResolutionOptions])
def test_an_option_is_used_in_place_of_the_data_and_a_note_says_so(kind):
    run = kind(ei=50, chopper="S").run(RUN)
    assert (run.value("ei"), run.ei.source, run.value("frequency")) == (50, "option --ei", 400.0)
    assert overridden(run) == ("option --ei 50 replaces 49.9 from log", "option --chopper S replaces G from log")
    assert overridden(kind(ei=50, chopper="S").run(run)) == overridden(run), "once more changes nothing"
    assert overridden(kind().run(RUN)) == overridden(kind(ei=50).run(Run())) == ()


@pytest.mark.parametrize(
    "given",
    [
        {"ei": 49.9},
        {"ei": float(np.float32(49.9))},
        {"instrument": "merlin"},
        {"lattice": "4,4,13"},
        {"frequency": 400},
    ],
)
def test_an_option_that_agrees_with_the_data_gives_no_note(given):
    run = ApplyOptions(**given).run(RUN)
    assert overridden(run) == ()
    assert run.value("lattice").ub is not None


def test_another_lattice_takes_the_orientation_away():
    run = ApplyOptions(lattice="4,4,6").run(RUN)
    assert run.value("lattice").ub is None
    assert overridden(run) == (
        "option --lattice 4,4,6,90,90,90 replaces 4,4,13,90,90,90 and its orientation (UB) from log",
    )
    (note,) = overridden(run)
    assert in_mantid(note).startswith("property Lattice 4,4,6,90,90,90 replaces 4,4,13,")


def test_the_report_of_a_file_says_what_an_option_replaced(tmp_path):
    logged = read_nexus(DATA / "measured.nxs").run.ei
    report = apply_to_file(
        DATA / "measured.nxs", tmp_path / "out.nxs", ApplyOptions(device="cpu", ei=1.1 * logged.value)
    )
    note = f"option --ei {1.1 * logged.value:g} replaces {logged.value:g} from {logged.source}"
    assert note in report.notes and note in report.summary()["notes"]
    report = apply_to_file(DATA / "measured.nxs", tmp_path / "same.nxs", ApplyOptions(device="cpu", ei=logged.value))
    assert not any("replaces" in note for note in report.notes)


@pytest.mark.parametrize("lattice", [Lattice(4.0, 4.0, 13.0), (4.0, 4.0, 13.0), [4, 4, 13, 90, 90, 90]], ids=str)
def test_a_lattice_is_text_numbers_or_an_object(tmp_path, lattice):
    """In every job's options: where it is used, in the history of a file, and in a command line."""
    source, target = tmp_path / "in.nxs", tmp_path / "out.nxs"
    spectrum = read_nexus(DATA / "calculated.nxs")
    write_nexus(spectrum.replace(run=replace(spectrum.run, lattice=None)), source)
    options = ApplyOptions(direction="add-resolution", lattice=lattice, device="cpu")
    apply_to_file(source, target, options)
    assert read_nexus(target).run.value("lattice").cell == (4.0, 4.0, 13.0, 90.0, 90.0, 90.0)
    assert is_result(source, target, options)
    assert options.given()["lattice"] == "4.0,4.0,13.0,90.0,90.0,90.0"
    assert ApplyOptions(lattice="4,4,13").given()["lattice"] == "4,4,13" and "lattice" not in ApplyOptions().given()
    for kind in (ResolutionOptions, SimulateOptions, FitOptions, ClassifierOptions, TrainOptions):
        assert kind(lattice=lattice).run(Run()).value("lattice").cell[:3] == (4.0, 4.0, 13.0)
    assert Setting.parsed(lattice, (1, 0, 0), "0,1,0").lattice.cell[2] == 13.0
