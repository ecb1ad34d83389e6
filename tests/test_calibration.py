"""What cards say of trust, found on pairs: intervals, the result convolved again, and blocks of the domain."""

import numpy as np
import pytest

pytest.importorskip("torch")

from types import SimpleNamespace

from mantid_insgan.learn.calibration import (
    Judged,
    blocks_of,
    covered_by,
    intervals_of,
    reconvolution_of,
    statistics_of,
)
from mantid_insgan.translate.trust import STATISTICS, Plausible, deviations, expected_variance


def spectra(count, seed, *, error=0.1, off=1.0, counted=1.0, relative=0.0):
    """What a network that is `off` times less sure than it says makes of spectra with a peak."""
    rng, made = np.random.default_rng(seed), []
    for _ in range(count):
        x, y = np.meshgrid(np.linspace(-1, 1, 32), np.linspace(-1, 1, 32), indexing="ij")
        found = 4 * np.exp(-0.5 * ((x - rng.uniform(-0.5, 0.5)) / 0.2) ** 2 - 0.5 * (y / 0.4) ** 2)
        spread = 0.05 + 0.1 * found * rng.uniform(0.5, 2)
        again = 0.8 * found
        noise = np.sqrt((counted * error) ** 2 + (relative * again) ** 2)
        made.append(
            Judged(
                signal=again + noise * rng.normal(size=found.shape),
                valid=rng.random(found.shape) > 0.1,
                error=np.full(found.shape, error),
                target=found + off * spread * rng.standard_t(4, found.shape),
                found=found,
                spread=spread,
                again=again,
                features=rng.normal(size=3),
            )
        )
    return made


CARD = SimpleNamespace(
    direction="remove-resolution",
    domain=SimpleNamespace(mean=[0.0] * 3, components=np.eye(3).tolist(), scale=[1.0] * 3, threshold=2.0),
)


@pytest.mark.parametrize("off", [0.5, 1.0, 3.0])
def test_intervals_cover_other_spectra(off):
    known, others = spectra(24, 0, off=off), spectra(24, 1, off=off)
    found = intervals_of(known, "made up")
    ends = np.concatenate([deviations(found, s.found, s.spread)[:, s.valid] for s in others], axis=1)
    away = np.concatenate([(s.target - s.found)[s.valid] for s in others])
    assert np.mean((away > ends[1]) & (away < ends[2])) == pytest.approx(0.68, abs=0.02)
    assert np.mean((away > ends[0]) & (away < ends[3])) == pytest.approx(0.95, abs=0.01)
    # Tails are longer than a Gaussian's.
    one, two = covered_by(found, others)["this model"]
    assert one == pytest.approx(0.68, abs=0.02) and 0.85 < two < 0.95


def test_intervals_are_wider_where_the_network_is_less_sure():
    found = intervals_of(spectra(24, 0), "made up")
    sharp, blurred = (deviations(found, np.full(1, 3.0), np.full(1, spread))[:, 0] for spread in (0.1, 0.4))
    assert (np.abs(blurred) > 2 * np.abs(sharp)).all()


def test_intervals_of_lopsided_errors_are_lopsided():
    made = [
        Judged(**vars(s) | {"target": s.found + s.spread * (np.random.default_rng(n).exponential(size=s.found.shape))})
        for n, s in enumerate(spectra(24, 0))
    ]
    lower, _, _, upper = deviations(intervals_of(made, "made up"), np.full(1, 2.0), np.full(1, 0.2))[:, 0]
    assert upper > 20 * -lower


def test_the_result_convolved_again_is_expected_as_it_was_made():
    made = [
        s for error in (0.02, 0.1, 0.3) for s in spectra(12, round(100 * error), error=error, counted=0.8, relative=0.2)
    ]
    found = reconvolution_of(made, seed=0)
    each = [
        (((s.signal - s.again) ** 2) / expected_variance(found, s.error, s.again, s.spread))[s.valid].mean()
        for s in made
    ]
    assert np.mean(each) == pytest.approx(1.0, abs=0.1) and np.std(each) < 0.3


def test_nothing_is_expected_of_spectra_without_errors():
    exact = [Judged(**vars(s) | {"error": np.zeros_like(s.error)}) for s in spectra(4, 0)]
    parts = [*exact, *spectra(8, 1)]
    assert reconvolution_of(parts, seed=0) == reconvolution_of(spectra(8, 1), seed=0)


@pytest.fixture(scope="module")
def blocks():
    return blocks_of(spectra(60, 0), spectra(200, 1), CARD, None, "made up", seed=0)


def test_usual_spectra_have_uniform_p_values(blocks):
    plausible = Plausible(blocks)
    values = [plausible.judge(statistics_of(s, CARD, None))[0] for s in spectra(200, 2)]
    assert np.mean(np.array(values) < 0.1) == pytest.approx(0.1, abs=0.06)
    assert np.mean(values) == pytest.approx(0.5, abs=0.08)


def test_a_region_that_differs_has_a_small_p_value(blocks):
    (seen,) = spectra(1, 3)
    signal = seen.signal.copy()
    signal[4:9, 4:9] += 0.5
    numbers = statistics_of(Judged(**vars(seen) | {"signal": signal}), CARD, None)
    p_value, away = Plausible(blocks).judge(numbers)
    assert p_value < 0.02 and away > 1
    name, larger = Plausible(blocks).reason(numbers)
    assert name in ("misfit", "neighbours", "region") and larger


def test_known_blocks_have_all_statistics(blocks):
    assert {len(row) for row in blocks.known} == {len(STATISTICS)} and len(blocks.known) == 60
