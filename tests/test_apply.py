"""The main job on spectra and files: sums over events, and data unlike the training data."""

import numpy as np
import pytest

from mantid_insgan.core.options import ApplyOptions, in_mantid, properties_named
from mantid_insgan.demo import DATA
from mantid_insgan.errors import ModelError, RunFactError
from mantid_insgan.io import read_nexus, write_nexus
from mantid_insgan.translate.job import apply, apply_to_file, per_event, summed

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
    assert of_sums.quality.flux_out == pytest.approx(report.quality.flux_out, rel=1e-5)
    write_nexus(sums, tmp_path / "sums.nxs")
    apply_to_file(tmp_path / "sums.nxs", tmp_path / "out.nxs", OPTIONS)
    of_file = read_nexus(tmp_path / "out.nxs")
    assert of_file.visual_normalization == 2 and np.array_equal(of_file.num_events, sums.num_events)
    assert np.allclose(of_file.signal, found.signal, rtol=1e-5, equal_nan=True)


def test_data_unlike_the_training_data_can_be_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr("mantid_insgan.translate.translator.Translator._distance", lambda *_: 2.0)
    source, target = DATA / "measured.nxs", tmp_path / "out.nxs"
    report = apply_to_file(source, target, OPTIONS)
    assert any("100% of the slices are unlike what the model was trained on" in note for note in report.notes)
    target.unlink()
    strict = ApplyOptions(device="cpu", out_of_domain="error")
    with pytest.raises(ModelError, match="unlike what the model was trained on.*, and --out-of-domain error was given"):
        apply_to_file(source, target, strict)
    with pytest.raises(ModelError, match="take the result with --out-of-domain warn"):
        apply(read_nexus(source), strict)
    assert not list(tmp_path.iterdir())


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


def test_an_option_wins_and_what_it_replaced_is_told():
    """One rule for all options of a run; a value that is the same replaces nothing."""
    spectrum = read_nexus(DATA / "measured.nxs")
    _, report = apply(spectrum, device="cpu", ei=199.0, chopper="S", frequency=400.0)
    (note,) = [n for n in report.notes if "replaces" in n]
    assert "--ei 199" in note and "200" in note and "log Ei of experiment0" in note
    assert report.run.value("ei") == 199.0
    _, same = apply(spectrum, device="cpu", ei=200.0)
    assert not [n for n in same.notes if "replaces" in n]
