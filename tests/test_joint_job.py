"""A classifier of several maps from models and files: simulations on all grids, the file, its card and the commands."""

import json

import numpy as np
import pytest

from mantid_insgan.convolve.experiment import ExperimentSettings, make_experiment
from mantid_insgan.convolve.prepared import prepare
from mantid_insgan.core.model_options import ClassifierOptions
from mantid_insgan.core.run import Run
from mantid_insgan.core.spectrum import Axis, Spectrum
from mantid_insgan.errors import InputError, ModelError
from mantid_insgan.instruments import Resolution
from mantid_insgan.io import write_nexus
from mantid_insgan.translate.classifier_card import ClassifierCard, ClassifierFile, read_classifier
from mantid_insgan.translate.classify import classify

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from test_classifier import LATTICE, LIKE, RIVALS, RUN, Band

from mantid_insgan.learn import classifier_job as job
from mantid_insgan.learn import joint_job

OPTIONS = ClassifierOptions(draws=24, seed=3, mirror=("[H,0,0]",))


def map_at(energy: float, bins: int = 24) -> Spectrum:
    """The empty map of an energy transfer; the bins along k are few."""
    h = Axis("[H,0,0]", np.linspace(-1.2, 1.2, bins + 1), "r.l.u.", "HKL")
    k = Axis("[0,K,0]", np.linspace(0.5, 1.1, 4), "r.l.u.", "HKL")
    el = Axis("[0,0,L]", (-0.05, 0.05), "r.l.u.", "HKL")
    axes = (h, k, el, Axis("DeltaE", (energy - 1.5, energy + 1.5), "DeltaE"))
    ones = np.ones(tuple(map(len, axes)))
    return Spectrum(ones, ones, axes, run=Run().updated("test", **RUN, lattice=LATTICE), coordinate_system=3)


LIKES = [map_at(14.0), map_at(18.0), map_at(22.0, bins=20)]


@pytest.fixture(scope="module")
def prepared():
    return [prepare(like, Resolution(**RUN, lattice=LATTICE)) for like in LIKES]


@pytest.fixture(scope="module")
def measured(prepared):
    """``measured(*models)``: experiments with the maps, one of each model or all of one."""

    def make(*models, seed: int = 0) -> list[Spectrum]:
        settings, found = ExperimentSettings(counts=80.0, flat=0.05), []
        for number, one in enumerate(prepared):
            convolved = one.convolve(models[number % len(models)], fwhm=1.5)
            found.append(make_experiment(convolved, one.bins.resolution, settings, seed=[seed, number]))
        return found

    return make


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    shares = []
    output = tmp_path_factory.mktemp("joint") / "maps.onnx"
    found = job.train_between(RIVALS, LIKES, output, OPTIONS, command="test", progress=shares.append)
    assert shares == sorted(shares) and shares[-1] == 1.0 and len(shares) == 48
    return found


@pytest.mark.parametrize(("period", "name"), [(1.0, "wide"), (0.5, "narrow")])
def test_either_rival_is_recognised(trained, measured, period, name):
    found = [classify(measured(Band(top, period), seed=int(top)), trained) for top in (25.0, 28.0, 33.0)]
    assert [max(f.probabilities, key=f.probabilities.get) for f in found] == 3 * [name]
    assert sum(f.answer == name for f in found) >= 2 and all(f.evidence.shape == (3, 2, 2) for f in found)


def test_the_card(trained):
    card = read_classifier(trained.path).card
    assert card == trained.card and card.kind == "classifier of maps" and card.command == "test"
    assert card.names == ["wide", "narrow"] and card.mirrors == ["[H,0,0]"] and (card.parts, card.most_bins) == (2, 36)
    assert [grid.axes[-1].low for grid in card.maps] == [12.5, 16.5, 20.5] and card.maps[0].run == RUN
    assert card.unknown.share == 0.1 and card.rivals[1].unstable > 0
    tables = {t.title: t for t in card.metrics}
    assert "32 simulated experiments" in tables["scores"].conditions  # 4 of 24 draws of 2 rivals, 4 times each
    assert set(tables["scores"].rows) == {"this classifier", "nearest mean maps"}
    assert tables["scores"].rows["this classifier"][0] > 0.8
    flagged, composites, known = tables["unknown"].rows["this classifier"]
    assert flagged < 0.3 and composites > flagged and known > 0.8
    assert trained.path.stat().st_size < 1_000_000


def test_maps_of_one_draw_belong_together():
    from mantid_insgan.learn.rivals import Laboratory, same_exposure, simulate_together

    laboratories = [Laboratory(like, Resolution(**RUN, lattice=LATTICE)) for like in LIKES]
    rival, signals = simulate_together(laboratories, RIVALS[0], 4, [1])
    assert rival.draws == 4 and [s.shape for s in signals] == [(4, 72, 1), (4, 72, 1), (4, 60, 1)]
    alone = laboratories[0].simulate(RIVALS[0], 4, [1]).signals
    np.testing.assert_array_equal(alone, signals[0])  # the same draws
    draw = [1e-9 * signals[0][0], signals[1][0], 0 * signals[2][0]]
    values, valid = same_exposure(np.random.default_rng(0), laboratories, draw)
    assert all(np.isfinite(v).all() for v in values) and [v.shape for v in valid] == [(24, 3), (24, 3), (20, 3)]


def test_the_commands(trained, measured, insgan, tmp_path, monkeypatch):
    folder = tmp_path / "maps"
    folder.mkdir()
    files = [folder / f"{name}.nxs" for name in "cab"]
    for spectrum, file in zip(measured(Band(28.0, 1.0)), files, strict=True):
        write_nexus(spectrum, file)
    for words in (files, [folder]):  # files in any order, or their folder
        status, out, err = insgan("classify", *words, "--classifier", trained.path, "--json")
        said = json.loads(out)
        assert (status, err) == (0, "") and len(said["maps"]) == 3 and set(said["maps"][0]) == {"wide", "narrow"}
        assert said["probabilities"]["wide"] > 0.5
    status, out, _ = insgan("classify", folder, "--classifier", trained.path)
    assert status == 0 and "maps for wide: " in out and "contradiction " in out and ", distance " in out
    status, _, err = insgan("classify", files[0], "--classifier", trained.path)
    assert status == ModelError.exit_code and "there are 1 maps, and the classifier was trained for 3 together" in err

    seen = {}
    monkeypatch.setattr(job, "read_model", lambda path: RIVALS["b" in path.name])
    monkeypatch.setattr(joint_job, "train_maps", lambda *given, **told: seen.update(told, likes=given[1]) or trained)
    words = ["train-classifier", "a.yaml", "b.yaml", "--like", files[0], "--like", files[1], "-o", tmp_path / "c.onnx"]
    status, out, err = insgan(*words, "--mirror", "[H,0,0]", "--draws", "20")
    assert (status, err) == (0, "") and "wide, narrow" in out and "nearest mean maps: accuracy" in out
    assert [len(s.axes[0]) for s in seen["likes"]] == [24, 24]
    assert seen["command"].endswith("c.onnx --draws=20 '--mirror=[H,0,0]'") and seen["command"].count("--like") == 2


@pytest.mark.parametrize(
    ("likes", "options", "message"),
    [
        (LIKES, OPTIONS.updated(epochs=3), "--epochs 3 was given for 3 maps, whose discriminants need none"),
        (LIKES, OPTIONS.updated(mirror=("[0,K,0]",)), r"the axis \[0,K,0\] goes from 0.5 to 1.1 in 3 bins"),
        (LIKES, OPTIONS.updated(mirror=("[0,0,L]",)), r"the axis '\[0,0,L\]' of --mirror is not one of those with"),
        (LIKES, OPTIONS.updated(draws=5), "5 draws of each rival"),
    ],
)
def test_what_cannot_be_trained(likes, options, message, tmp_path):
    with pytest.raises(InputError, match=message):
        job.train_between(RIVALS, likes, tmp_path / "x.onnx", options)
    assert not list(tmp_path.iterdir())


def test_several_files_for_a_classifier_of_one(tmp_path):
    one = ClassifierFile(ClassifierCard.model_construct(kind="classifier"), tmp_path / "cuts.onnx")
    with pytest.raises(InputError, match="there are 2 spectra, and the classifier cuts.onnx is of one.*one by one"):
        classify([LIKE, LIKE], one)
