"""One answer from several maps of one sample: discriminants, calibration, and composites that are 'unknown'."""

import numpy as np
import pytest

from mantid_insgan.errors import InputError

pytest.importorskip("torch")

from mantid_insgan.learn.classifier import scores
from mantid_insgan.learn.joint import Experiments, JointClassifier, train_joint

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


def test_each_model_is_recognised(trained):
    test = made(3, 80)
    seen = trained.votes(test)
    found = [trained.judged(v) for v in seen]
    accuracy, gap, brier = scores(np.array([trained.probabilities(v) for v in seen]), test.label)
    assert accuracy > 0.97 and gap < 0.08 and brier < 0.06
    assert np.mean([f.unknown for f in found]) < 0.2
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
        of_maps = np.mean([f.votes.of_maps(0, 1) for f in flagged], axis=0)
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
    assert found.answer == NAMES[0] and found.votes.of_maps(0, 1)[2] == 0


def test_noise_alone_is_no_contradiction(trained):
    rng = np.random.default_rng(8)
    for noise in (0.02, 0.3, 0.6):
        signs = [trained.judge(*measured(rng, signal(rng, 1), noise=noise)).votes.signs for _ in range(10)]
        assert np.mean([s[:3] for s in signs]) < 0.1


def test_draws_are_held_out_together(monkeypatch):
    from mantid_insgan.learn import joint

    data, groups, held = made(1, 80), np.arange(80) // 4 * 2 + np.arange(80) % 2, []
    real = joint._weights
    monkeypatch.setattr(joint, "_weights", lambda d, *more: held.append(len(d.label)) or real(d, *more))
    train_joint(NAMES, data, groups, folds=4)
    assert held == [60, 60, 60, 60, 80]


def test_three_models():
    def three(seed: int, count: int) -> Experiments:
        rng = np.random.default_rng(seed)
        labels = np.arange(count) % 3
        values, valid = zip(*(measured(rng, signal(rng, n)) for n in labels), strict=True)
        return Experiments(np.array(values), np.array(valid), labels)

    classifier, test = train_joint(("none", "weak", "strong"), three(1, 180), np.arange(180)), three(3, 60)
    found = np.array([classifier.probabilities(v) for v in classifier.votes(test)])
    assert found.shape == (60, 3) and (found.argmax(1) == test.label).mean() > 0.9


def test_an_answer_is_95_percent_probable(trained):
    rng = np.random.default_rng(9)
    one, other = (signal(rng, n) for n in (0, 1))
    for share in np.linspace(0, 1, 21):
        found = trained.judge(*measured(rng, (1 - share) * one + share * other, noise=0.05))
        most = max(found.probabilities.values())
        said = f"no model is 95% probable, the most probable is {most:.0%}"
        assert (said in found.reasons) == (most < 0.95) and found.unknown == bool(found.reasons)
        if share in (0, 1):
            assert most > 0.95
        elif abs(share - 0.5) < 0.02:
            assert found.unknown


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
    with pytest.raises(InputError, match="an experiment has no valid bin"):
        trained.judge(few.values[0], np.zeros_like(few.valid[0]))
