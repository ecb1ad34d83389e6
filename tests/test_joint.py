"""One answer from several maps of one sample: discriminants, calibration, and composites that are 'unknown'."""

import numpy as np
import pytest

from mantid_insgan.core.run import Run
from mantid_insgan.core.spectrum import Axis, Spectrum
from mantid_insgan.errors import InputError, ModelError
from mantid_insgan.translate.classifier_card import Grid, Rival, read_classifier
from mantid_insgan.translate.classify import classify
from mantid_insgan.translate.classify_maps import OUTPUTS, answer_of, folded

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from mantid_insgan.learn import joint_job as job  # noqa: E402
from mantid_insgan.learn.classifier import scores  # noqa: E402
from mantid_insgan.learn.joint import Experiments, JointClassifier, limits, signs, train_joint  # noqa: E402

MAPS, PARTS, BINS = 6, 4, 40
NAMES = ("one wave", "two waves")


def signal(rng: np.random.Generator, model: int) -> np.ndarray:
    """Maps (maps, parts, bins) of a wave whose period and height are drawn; the second model has another one below."""
    x = np.linspace(0, 1, BINS)
    period, height = rng.uniform(1.8, 2.2), rng.uniform(0.8, 1.2)
    mean = [height * np.sin(np.pi * period * x * (1 + 0.1 * m)) ** 2 for m in range(MAPS)]
    second = 0.5 * model * np.sin(3 * np.pi * period * x) ** 2
    return np.repeat((np.array(mean) + second)[:, None], PARTS, axis=1)


def measured(rng: np.random.Generator, mean: np.ndarray, noise: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Values with a background for each map and noise, in any unit, and valid bins with gaps."""
    background = rng.normal(size=(MAPS, 1, 1))
    noise = 10 ** rng.uniform(-1.5, -0.5) if noise is None else noise
    values = 10 ** rng.uniform(-2, 2) * (mean + background + noise * rng.standard_normal(mean.shape))
    return values, rng.random(mean.shape) > 0.1


def made(seed: int, count: int, mean=signal) -> Experiments:
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    values, valid = zip(*(measured(rng, mean(rng, n)) for n in labels), strict=True)
    return Experiments(np.array(values), np.array(valid), labels)


@pytest.fixture(scope="module")
def trained() -> JointClassifier:
    return train_joint(NAMES, made(1, 160), np.arange(160))


def judged(classifier: JointClassifier, data: Experiments) -> list:
    found = classifier.answers(data)
    return [answer_of(classifier, {name: x[n] for name, x in found.items()}) for n in range(len(data.label))]


def test_each_model_is_recognised(trained):
    test = made(3, 80)
    found = judged(trained, test)
    accuracy, gap, brier = scores(trained.answers(test)["probability"], test.label)
    assert accuracy > 0.97 and gap < 0.08 and brier < 0.06
    assert np.mean([f.unknown for f in found]) < 0.25
    known = [(f.answer, NAMES[label]) for f, label in zip(found, test.label, strict=True) if not f.unknown]
    assert np.mean([one == other for one, other in known]) > 0.97
    assert all(sum(f.probabilities.values()) == pytest.approx(1) for f in found)


@pytest.mark.parametrize("kind", ["maps", "parts"])
def test_a_composite_of_two_models_is_unknown(trained, kind):
    rng, flagged = np.random.default_rng(4), []
    for _ in range(20):
        one, other = (signal(rng, n) for n in (0, 1))
        chosen = np.zeros((MAPS, PARTS, 1), bool)
        chosen[(slice(0, MAPS // 2),) if kind == "maps" else (slice(None), slice(0, PARTS // 2))] = True
        flagged.append(trained.judge(*measured(rng, np.where(chosen, one, other), noise=0.05)))
    assert np.mean([f.unknown and f.answer == "unknown" for f in flagged]) > 0.9
    assert any("its parts speak for different models" in f.reasons[0] for f in flagged if f.unknown)
    if kind == "maps":
        of_maps = np.mean([f.of_maps(0, 1) for f in flagged], axis=0)
        assert (of_maps[: MAPS // 2] > 0).all() and (of_maps[MAPS // 2 :] < 0).all()


def test_what_is_of_no_model_is_unknown(trained):
    rng = np.random.default_rng(5)
    steep = np.broadcast_to(np.linspace(0, 5, BINS) ** 3, (MAPS, PARTS, BINS))
    assert trained.judge(*measured(rng, steep)).unknown


def test_unit_background_and_gaps_do_not_matter(trained):
    rng = np.random.default_rng(6)
    values, valid = measured(rng, signal(rng, 1), noise=0.05)
    one = trained.judge(values, valid)
    other = trained.judge(np.where(valid, 1e3 * values + 7.0, np.nan), valid)
    assert one.answer == NAMES[1]
    assert one.probabilities == pytest.approx(other.probabilities, abs=1e-9)


def test_a_map_that_was_not_measured_says_nothing(trained):
    rng = np.random.default_rng(7)
    values, valid = measured(rng, signal(rng, 0), noise=0.05)
    valid[2] = False
    found = trained.judge(values, valid)
    assert found.answer == NAMES[0] and found.of_maps(0, 1)[2] == 0
    assert sum(found.maps_for.values()) == MAPS - 1


def test_noise_alone_is_no_contradiction(trained):
    rng = np.random.default_rng(8)
    for noise in (0.02, 0.3, 0.6):
        evidence = [trained.judge(*measured(rng, signal(rng, 1), noise=noise)).evidence for _ in range(10)]
        found = signs(torch.from_numpy(np.array(evidence)), torch.ones(10, dtype=torch.float64))
        assert found[:, :3].mean() < 0.1


def test_draws_are_held_out_together(monkeypatch):
    from mantid_insgan.learn import joint

    data, groups, held = made(1, 80), np.arange(80) // 4 * 2 + np.arange(80) % 2, []
    real = joint._weights
    monkeypatch.setattr(joint, "_weights", lambda d, chosen, *more: held.append(len(chosen)) or real(d, chosen, *more))
    train_joint(NAMES, data, groups, folds=4)
    assert held == [60, 60, 60, 60, 80]


def test_three_models():
    def three(seed: int, count: int) -> Experiments:
        rng = np.random.default_rng(seed)
        labels = np.arange(count) % 3
        values, valid = zip(*(measured(rng, signal(rng, n)) for n in labels), strict=True)
        return Experiments(np.array(values), np.array(valid), labels)

    classifier, test = train_joint(("none", "weak", "strong"), three(1, 180), np.arange(180)), three(3, 60)
    found = classifier.answers(test)["probability"]
    assert found.shape == (60, 3) and (found.argmax(1) == test.label).mean() > 0.9


def test_thresholds_flag_a_share_of_further_experiments():
    rng = np.random.default_rng(9)
    held_out, further = rng.exponential(size=(2000, 2)), rng.exponential(size=(20000, 2))
    for share in (0.05, 0.1, 0.3):
        found = limits(held_out, share)
        over = further > [found.contradiction, found.distance]
        assert over.any(axis=1).mean() == pytest.approx(share, abs=0.02)
        assert over[:, 1].mean() == pytest.approx(0.01, abs=0.006) and found.share == share
    assert limits(held_out[:20]).contradiction == np.sort(held_out[:20, 0])[19]


def test_what_is_wrong_is_said(trained):
    few = made(1, 30)
    with pytest.raises(
        InputError, match="there are 2 models, with 15 experiments of 15 draws of one of them.*Fix: give"
    ):
        train_joint(NAMES, few, np.arange(30))
    with pytest.raises(
        InputError, match="there are 2 models, with 40 experiments of 4 draws of one of them, for 5 folds"
    ):
        train_joint(NAMES, made(1, 80), np.arange(80) % 8)
    with pytest.raises(InputError, match="there are 1 models"):
        train_joint(NAMES[:1], made(1, 80), np.arange(80))
    with pytest.raises(InputError, match="there are 5 maps of 40 bins, but the classifier was trained with 6 of 40"):
        trained.judge(few.values[0, :5], few.valid[0, :5])
    with pytest.raises(InputError, match="values, valid bins and labels have the shapes"):
        Experiments(few.values[0], few.valid[0], few.label)
    with pytest.raises(InputError, match="there is one map of one part, and a contradiction takes two"):
        single = made(1, 80)
        train_joint(NAMES, Experiments(single.values[:, :1, :1], single.valid[:, :1, :1], single.label), np.arange(80))
    with pytest.raises(InputError, match="an experiment has no valid bin"):
        trained.judge(few.values[0], np.zeros_like(few.valid[0]))


SIDE = 2 * BINS


def spectra(values: np.ndarray, valid: np.ndarray, ei=60.0) -> list[Spectrum]:
    """Maps (maps, parts, bins) of two mirrors each, as cuts along h at slices of k and energy: (80, 2) bins."""
    half = 0.5 * SIDE
    h = Axis("[H,0,0]", np.linspace(-half, half, SIDE + 1) / SIDE, "r.l.u.", "HKL")
    k = Axis("[0,K,0]", np.linspace(-1, 1, 3), "r.l.u.", "HKL")
    found = []
    for number, (map_, seen) in enumerate(zip(values, valid, strict=True)):
        energy = Axis("DeltaE", (5.0 * number, 5.0 * number + 5), "meV")
        # parts are h > 0 and k > 0; h > 0, k < 0; h < 0, k > 0; h < 0, k < 0
        grids = [np.stack([np.r_[x[2 + s][::-1], x[s]] for s in (1, 0)], axis=1) for x in (map_, seen)]
        signal, mask = (g.reshape(SIDE, 2, 1) for g in grids)
        run = Run().updated("test", instrument="MAPS", ei=ei)
        found.append(Spectrum(np.where(mask, signal, np.nan), np.ones(signal.shape), (h, k, energy), mask, run=run))
    return found


MIRRORS = ("[H,0,0]", "[0,K,0]")


@pytest.fixture(scope="module")
def saved(trained, tmp_path_factory):
    """The classifier on disk, as others get it."""
    data = made(3, 8)
    rivals = [Rival(name=n, source="test", ranges={}, draws=80, unstable=0, unseen=0) for n in NAMES]
    return job.write_joint(
        trained,
        tmp_path_factory.mktemp("joint") / "waves.onnx",
        grids=[Grid.of(s) for s in spectra(data.values[0], data.valid[0])],
        mirrors=MIRRORS,
        rivals=rivals,
        compared=data,
    )


def test_what_is_loaded_answers_as_what_was_saved(trained, saved):
    test, loaded = made(4, 12), read_classifier(saved.path)
    test.valid[3, 2] = False  # a map that was not measured
    assert loaded.card == saved.card and loaded.card.kind == "classifier of maps"
    assert saved.path.stat().st_size < 1_000_000
    rng = np.random.default_rng(0)
    for values, valid in zip(test.values, test.valid, strict=True):
        before = trained.judge(values, valid)
        after = classify([spectra(values, valid)[n] for n in rng.permutation(MAPS)], loaded)  # in any order
        assert after.answer == before.answer and after.reasons == before.reasons
        assert after.probabilities == pytest.approx(before.probabilities, abs=1e-5)
        for name in before.measures:
            assert getattr(after, name) == pytest.approx(getattr(before, name), abs=1e-5)
        np.testing.assert_allclose(after.evidence, before.evidence, atol=1e-5)
    assert set(after.as_dict()) == {"answer", "probabilities", "unknown", "reasons", "notes", "maps", *OUTPUTS[1:3]}
    assert len(after.as_dict()["maps"]) == MAPS


def test_files_that_do_not_fit_get_one_error(saved):
    data = made(5, 2)
    maps = spectra(data.values[0], data.valid[0])
    lacking = r"there are 5 maps, and the classifier was trained for 6 together; none of those given is the map of "
    lacking += r".*DeltaE 10 to 15 in 1 bin at Ei 60 meV.*Fix: give one file for each map of the card"
    with pytest.raises(ModelError, match=lacking):
        classify([*maps[:2], *maps[3:]], saved)
    with pytest.raises(ModelError, match="there are 7 maps.* 6 together; not used: .*DeltaE 0 to 5"):
        classify([*maps, maps[0].replace(title="again")], saved)
    other = spectra(data.values[0], data.valid[0], ei=80.0)
    with pytest.raises(ModelError, match="map of .*DeltaE 20 to 25 .*Ei 60 meV; not used: .* at Ei 80 meV"):
        classify([*maps[:4], other[4], maps[5]], saved)
    h, *more = maps[1].axes
    moved = maps[1].replace(axes=(Axis(h.name, h.edges + 0.1, h.unit, h.frame), *more))
    with pytest.raises(ModelError, match=r"not used: \[H,0,0\] -0.4 to 0.6 in 80 bins"):
        classify([maps[0], moved, *maps[2:]], saved)
    empty = [m.replace(valid=np.zeros(m.shape, bool)) for m in maps]
    with pytest.raises(InputError, match="no bin of the 6 maps is valid"):
        classify(empty, saved)


def test_another_chopper_is_noted(saved):
    data = made(5, 2)
    maps = [m.replace(run=m.run.updated("test", instrument="MERLIN")) for m in spectra(data.values[0], data.valid[0])]
    assert classify(maps, saved).notes == ("instrument of the data is MERLIN, but the classifier was trained for MAPS",)


def test_a_card_that_is_not_of_the_training_is_not_written(trained, tmp_path):
    data = made(3, 8)
    grids = [Grid.of(s) for s in spectra(data.values[0], data.valid[0])]
    rivals = [Rival(name=n, source="test", ranges={}, draws=80, unstable=0, unseen=0) for n in NAMES]
    with pytest.raises(InputError, match="the card has 6 maps of 2 parts with up to 80 bins for one wave, two waves"):
        about = {"grids": grids, "mirrors": MIRRORS[:1], "rivals": rivals, "compared": data}
        job.write_joint(trained, tmp_path / "x.onnx", **about)
    assert not list(tmp_path.iterdir())


def test_mirror_images_are_laid_alike():
    quarter = np.random.default_rng(0).random((3, 4))
    whole = np.concatenate([quarter[::-1], quarter])
    whole = np.concatenate([whole[:, ::-1], whole], axis=1)
    np.testing.assert_array_equal(folded(whole, (0, 1)), np.repeat(quarter.reshape(1, -1), 4, axis=0))
    np.testing.assert_array_equal(folded(whole, ()), whole.reshape(1, -1))
