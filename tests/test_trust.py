"""What a result is worth: intervals, what is expected of the result convolved again, and blocks unlike the training."""

from types import SimpleNamespace

import numpy as np
import pytest
from pydantic import ValidationError
from test_translate import magnon, translated
from trusting import RECONVOLUTION, blocks, far_blocks, near_blocks, told

from mantid_insgan.core.spectrum import Axis
from mantid_insgan.translate import trust
from mantid_insgan.translate.cards import Intervals, Reconvolution, choose_model
from mantid_insgan.translate.translator import Quality, Translator, _place_in_words
from mantid_insgan.translate.trust import STATISTICS, Plausible

NOISE = list(STATISTICS).index("noise")


def intervals(**changes) -> Intervals:
    """Quantiles that grow along both knots."""
    ends = [-2.0, -1.0, 1.0, 2.0]
    table = [[[q * (1 + 0.5 * i + 0.1 * j) for j in range(3)] for i in range(2)] for q in ends]
    given = {"conditions": "", "brightness": [0.1, 10.0], "spread": [0.01, 0.1, 1.0], "quantiles": table}
    return Intervals(**given | changes)


# ------------------------------------------------------------------------------------------------ intervals


def test_quantiles_are_interpolated_in_the_logarithms_and_stay_beyond_the_knots():
    known = intervals()
    table = np.array(known.quantiles)
    at = trust.quantiles_at(known, np.array([0.1, 1.0, 10.0, 1.0]), np.array([0.01, 0.1, 1.0, 10**-1.5]))
    assert at.shape == (4, 4)
    np.testing.assert_allclose(at[:, 0], table[:, 0, 0])
    np.testing.assert_allclose(at[:, 1], table[:, :, 1].mean(axis=1))
    np.testing.assert_allclose(at[:, 2], table[:, 1, 2])
    np.testing.assert_allclose(at[:, 3], table[:, :, :2].mean(axis=(1, 2)))
    beyond = trust.quantiles_at(known, np.array([-5.0, 0.0, 1e6]), np.array([0.0, 1e-12, 1e6]))
    np.testing.assert_allclose(beyond, table[:, [0, 0, 1], [0, 0, 2]])


def test_an_interval_contains_the_result_and_that_of_95_contains_that_of_68():
    rng = np.random.default_rng(3)
    beside = np.sort(rng.normal(0.5, 1.0, (4, 2, 3)), axis=0)
    beside[:2, 0, 0] = beside[1::-1, 0, 0]
    assert (beside[1] > 0).any() and (np.diff(beside, axis=0) < 0).any(), "some have one sign, some are out of order"
    found, spread = rng.normal(0.5, 1.0, (5, 40)), rng.uniform(0.001, 3.0, (5, 40))
    low95, low68, high68, high95 = trust.deviations(intervals(quantiles=beside.tolist()), found, spread)
    assert (low95 <= low68).all() and (low68 <= 0).all() and (high68 >= 0).all() and (high95 >= high68).all()
    assert (low68 == 0).any() and (high95 > high68).any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"brightness": [10.0, 0.1]}, "the knots of brightness are not above 0 and ascending: .10.0, 0.1."),
        ({"spread": [0.0, 0.1, 1.0]}, "the knots of spread are not above 0 and ascending"),
        ({"quantiles": [[[0.0] * 3] * 2] * 3}, r"3 tables of quantiles .* \[\(2, 3\)\], expected 4 of \(2, 3\)"),
        ({"quantiles": [[[0.0] * 2] * 2] * 4}, r"4 tables of quantiles .* \[\(2, 2\)\], expected 4 of \(2, 3\)"),
    ],
)
def test_intervals_that_do_not_fit(changes, message):
    with pytest.raises(ValidationError, match=message):
        intervals(**changes)


# ------------------------------------------------------------------------------------------------ convolved again


def test_the_expected_variance_is_the_sum_of_its_parts():
    error, again, spread = np.array([2.0, 0.0]), np.array([3.0, 0.0]), np.array([4.0, 0.0])
    expected = trust.expected_variance(RECONVOLUTION, error, again, spread)
    np.testing.assert_allclose(expected, [(0.8 * 2) ** 2 + (0.1 * 3) ** 2 + (0.3 * 4) ** 2 + 0.01**2, 0.01**2])


def test_pulls_by_direction_and_card():
    signal, error, found, again, spread = (np.array([x, x]) for x in (5.0, 2.0, 4.0, 3.0, 0.5))
    error[1] = 0.0
    told = (signal, error, found, again, spread)
    np.testing.assert_allclose(trust.pulls_of("remove-resolution", None, *told), [1.0, 0.0])
    expected = np.sqrt(trust.expected_variance(RECONVOLUTION, error, again, spread))
    np.testing.assert_allclose(trust.pulls_of("remove-resolution", RECONVOLUTION, *told), 2.0 / expected)
    np.testing.assert_allclose(trust.pulls_of("add-resolution", None, *told), [2.0, 2.0])
    assert np.isfinite(trust.pulls_of("add-resolution", None, signal, error, found, again, 0 * spread)).all()


def test_an_expectation_of_nothing_is_no_card():
    with pytest.raises(ValidationError, match="floor\n  Input should be greater than 0"):
        Reconvolution(counted=0.8, relative=0.0, spread=0.0, floor=0.0)


# ------------------------------------------------------------------------------------------------ statistics


def some_block(shape, rng, smooth: bool = False):
    """Signal, valid, error, found, spread and pulls of a block that fits."""
    signal = np.ones(shape) if smooth else rng.normal(1.0, 0.3, shape)
    return [signal, np.ones(shape, bool), np.full(shape, 0.3), signal, np.full(shape, 0.1), rng.standard_normal(shape)]


@pytest.mark.parametrize("shape", [(64,), (20, 64), (8, 6, 32), (2,), (5, 1), (1,)], ids=str)
def test_statistics_are_finite(shape):
    rng = np.random.default_rng(1)
    block = some_block(shape, rng)
    row = np.zeros(shape, bool)
    row[0] = True
    nothing = [np.zeros(shape), np.ones(shape, bool), *[np.zeros(shape)] * 4]
    for given in (block, [block[0], row, *block[2:]], nothing):
        numbers = trust.statistics(*given)
        assert numbers.shape == (len(STATISTICS) - 1,) and np.isfinite(numbers).all()


def test_what_was_not_measured_changes_no_statistic():
    rng = np.random.default_rng(1)
    block = some_block((30, 40), rng)
    block[1] = rng.random((30, 40)) > 0.3
    spoiled = [x if x.dtype == bool else np.where(block[1], x, 1e3) for x in block]
    np.testing.assert_allclose(trust.statistics(*spoiled), trust.statistics(*block))


def test_what_each_statistic_sees():
    """Every change moves the statistic of its name, and in the direction of its words."""
    usual = np.array([trust.statistics(*some_block((64, 64), np.random.default_rng(s))) for s in range(20)])

    def seen(name, change) -> float:
        block = some_block((64, 64), np.random.default_rng(99))
        change(*block)
        at = list(STATISTICS).index(name)
        return float((trust.statistics(*block)[at] - usual[:, at].mean()) / usual[:, at].std())

    def put(array, value, where=...):
        array[where] = value

    ahead = np.indices((64, 64)).sum(0) % 2 * 2.0 - 1
    patch = (slice(20, 26), slice(30, 36))
    assert seen("misfit", lambda s, v, e, f, d, p: put(p, 2 * p)) > 5
    assert seen("neighbours", lambda s, v, e, f, d, p: put(p, 1.0)) > 5
    assert seen("neighbours", lambda s, v, e, f, d, p: put(p, ahead)) < -5
    assert seen("region", lambda s, v, e, f, d, p: put(p, 3.0, patch)) > 5
    assert seen("outliers", lambda s, v, e, f, d, p: put(p, 20.0, (3, 4))) > 5
    assert seen("roughness", lambda s, v, e, f, d, p: put(s, 1 + ahead)) > 5
    assert seen("roughness", lambda s, v, e, f, d, p: put(s, 1.0)) < -5
    assert seen("sharpness", lambda s, v, e, f, d, p: put(f, 20.0, patch)) > 5
    assert seen("evenness", lambda s, v, e, f, d, p: put(f, 20.0, patch)) < -5
    assert seen("spread", lambda s, v, e, f, d, p: put(d, 0.2)) > 5
    assert seen("noise", lambda s, v, e, f, d, p: put(e, 0.1)) < -5


def test_regions_of_independent_pulls_have_the_stated_deviation():
    pulls = np.random.default_rng(5).standard_normal((400, 400))
    inside = trust.regional(pulls, np.ones(pulls.shape, bool))[4:-4, 4:-4]
    assert inside.std() == pytest.approx(trust.UNIT**2, rel=0.01)


def test_a_block_is_told_in_units_of_its_own_signal():
    """A part of a slice that is darker than the rest is no other than a spectrum of its own."""
    rng = np.random.default_rng(2)
    card = SimpleNamespace(direction="add-resolution")
    signal, valid, error, found, spread, _ = some_block((64, 64), rng)
    again = found + spread * rng.standard_normal(found.shape)
    numbers, pulls = trust.all_statistics(card, None, signal, valid, error, found, spread, again, 0.5)
    dark = [0.01 * x for x in (error, found, spread, again)]
    same, _ = trust.all_statistics(card, None, 0.01 * signal, valid, *dark, 0.5)
    np.testing.assert_allclose(same, numbers, rtol=1e-6)
    assert numbers.shape == (len(STATISTICS),) and numbers[-1] == pytest.approx(np.log(0.55))
    valid[:, 30:] = False
    _, masked = trust.all_statistics(card, None, signal, valid, error, found, spread, again, 0.5)
    assert (masked[:, 30:] == 0).all() and (masked[:, :30] == pulls[:, :30]).all()


@pytest.mark.parametrize(
    ("name", "at"), [("misfit", (7, 9)), ("outliers", (7, 9)), ("region", (22, 23)), ("roughness", (3, 15))]
)
def test_where_a_block_is_farthest(name, at):
    shape = (40, 40)
    signal, valid, error, pulls = np.ones(shape), np.ones(shape, bool), np.full(shape, 0.1), np.zeros(shape)
    pulls[7, 9], pulls[20:25, 21:26] = -9.0, 3.0
    signal[3, 15] = 5.0
    pulls[0, 0], signal[0, 1], valid[0, :3] = 99.0, 99.0, False
    assert trust.farthest_bin(name, signal, valid, error, pulls) == at
    assert trust.farthest_bin("noise", signal, valid, error, pulls) is None


def test_feature_distance_is_in_units_of_the_threshold():
    domain = SimpleNamespace(mean=[1.0, 2.0], components=[[1.0, 0.0], [0.0, 1.0]], scale=[1.0, 2.0], threshold=2.0)
    assert trust.feature_distance(domain, np.array([1.0, 2.0])) == 0.0
    assert trust.feature_distance(domain, np.array([4.0, 10.0])) == pytest.approx(np.sqrt((9 + 16) / 2) / 2)


# ------------------------------------------------------------------------------------------------ p-values


def test_p_values_are_uniform_for_the_same_distribution_and_small_for_another():
    rng = np.random.default_rng(7)
    plausible = Plausible(blocks(rng))
    same = np.array([plausible.judge(v) for v in rng.standard_normal((2000, len(STATISTICS)))])
    for level in (0.05, 0.1, 0.25, 0.5, 0.75):
        assert np.mean(same[:, 0] <= level) == pytest.approx(level, abs=0.04)
    assert np.mean(same[:, 1] > 1) == pytest.approx(0.01, abs=0.01)
    far = [plausible.judge(v) for v in rng.standard_normal((50, len(STATISTICS))) + 4.0]
    assert all(p == pytest.approx(1 / 102) and away > 1 for p, away in far)


def test_distances_are_those_of_blocks_with_errors_as_large():
    rng = np.random.default_rng(8)
    rows = np.array(blocks(rng).distances)
    plausible = Plausible(blocks(np.random.default_rng(8), distances=[rows[0].tolist(), (3 * rows[1]).tolist()]))
    value = rng.standard_normal(len(STATISTICS))
    found = []
    for noise in (-9.0, -1.0, 0.0, 1.0, 9.0):
        value[NOISE] = noise
        found.append(plausible.distance(value) / plausible.judge(value)[1])
    np.testing.assert_allclose(np.array(found) / found[1], [1, 1, 2, 3, 3])


def test_the_reason_is_the_farthest_statistic_in_words():
    plausible = Plausible(blocks(np.random.default_rng(9)))
    value = np.zeros(len(STATISTICS))
    value[list(STATISTICS).index("misfit")] = 5.0
    assert plausible.reason(value) == ("misfit", True) and plausible.reason(-value) == ("misfit", False)
    said = {d: trust.in_words(d, "misfit", True) for d in ("remove-resolution", "add-resolution")}
    assert said["remove-resolution"] == "the result convolved again and the data differ more than usual"
    assert said["add-resolution"] == "the result and the calculated convolution differ more than usual"
    texts = [trust.in_words("add-resolution", name, larger) for name in STATISTICS for larger in (True, False)]
    assert len(set(texts)) == 2 * len(STATISTICS) and not any("{" in text for text in texts)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"centre": [0.0] * 9}, r"blocks of \[9, 10\] numbers, expected 10"),
        ({"known": [[0.0] * 9] * 10}, r"blocks of \[9, 10\] numbers, expected 10"),
        ({"scale": [1.0] * 9 + [0.0]}, "the scales of blocks are not above 0"),
        ({"noise": [1.0, -1.0]}, "the knots of noise are not ascending: .1.0, -1.0."),
        ({"distances": [[1.0] * 100]}, r"1 rows of \[100\] distances, expected 2, one for each knot of noise"),
        ({"distances": [[1.0] * 99] * 2}, r"2 rows of \[99\] distances, .* of one length of 100 or more"),
        ({"distances": [[1.0] * 100, [1.0] * 101]}, r"2 rows of \[100, 101\] distances"),
        ({"distances": [[], []]}, r"2 rows of \[0\] distances"),
        ({"distances": [[2.0] * 50 + [1.0] * 50] * 2}, "the distances of blocks are not above 0 and ascending"),
        ({"distances": [[0.0] * 100] * 2}, "the distances of blocks are not above 0 and ascending"),
    ],
)
def test_blocks_that_do_not_fit(changes, message):
    with pytest.raises(ValidationError, match=message):
        blocks(np.random.default_rng(1), count=20, **changes)


@pytest.mark.parametrize(
    ("shape", "count"),
    [((64,), 1), ((10,), 1), ((65,), 2), ((128,), 2), ((96, 94), 4), ((20, 130), 3), ((32, 33, 20), 2)],
    ids=str,
)
def test_blocks_cover_every_bin(shape, count):
    found = trust.blocks_of(shape, len(shape))
    size, covered = trust.BLOCK[len(shape)], np.zeros(shape, int)
    for block in found:
        covered[block] += 1
        assert covered[block].shape == tuple(min(n, size) for n in shape)
    assert len(found) == count and (covered > 0).all()


def test_p_values_are_combined_by_their_harmonic_mean():
    assert trust.combined([0.2]) == pytest.approx(0.2) and trust.combined([0.1, 0.5]) == pytest.approx(1 / 6)
    assert Quality().p_value is None and Quality(p_values=[0.1, 0.5]).p_value == pytest.approx(1 / 6)


# ------------------------------------------------------------------------------------------------ in a job


def with_blocks(direction: str, known=None, reconvolution=RECONVOLUTION) -> Translator:
    """The bundled model for two axes, with a card that says this of trust."""
    return Translator(told(choose_model(direction), known, reconvolution), "cpu", 1)


def test_a_model_without_blocks_has_no_p_value():
    _, quality = translated(with_blocks("remove-resolution"), magnon())
    assert quality.p_values == [] == quality.unusual and quality.p_value is None and quality.distances
    assert quality.summary()["p_value_of_domain"] is None


@pytest.mark.parametrize("direction", ["add-resolution", "remove-resolution"])
def test_each_block_of_a_slice_is_judged(direction):
    _, quality = translated(with_blocks(direction, far_blocks()), magnon(96, 40))
    assert len(quality.p_values) == len(quality.distances) == len(quality.unusual) == 2
    assert quality.p_values == [pytest.approx(1 / 102)] * 2 and quality.outside == 1.0
    ((words, where),) = quality.reasons
    assert words in {trust.in_words(direction, name, False) for name in STATISTICS}
    assert where.startswith("in ") and where.count(" to ") == 2 and where.endswith(" meV")


def test_a_slice_with_few_bins_is_judged_as_a_whole():
    spectrum = magnon(40, 40)
    valid = np.zeros(spectrum.shape, bool)
    valid[5:9, 3:20] = spectrum.valid[5:9, 3:20]
    assert 0 < valid.sum() < trust.FEWEST[2]
    _, quality = translated(with_blocks("remove-resolution", near_blocks()), spectrum.replace(valid=valid))
    assert len(quality.p_values) == 1 and np.isfinite(quality.distances).all()


def test_what_is_expected_decides_chi_squared():
    spectrum = magnon()
    _, by_errors = translated(with_blocks("remove-resolution"), spectrum)
    much = Reconvolution(counted=1, relative=0, spread=0, floor=9)
    _, wide = translated(with_blocks("remove-resolution", near_blocks(), much), spectrum)
    assert wide.compared == by_errors.compared and wide.chi_squared < 0.2 * by_errors.chi_squared


def test_places_in_words():
    axes = (
        Axis("|Q|", np.linspace(0.5, 2.5, 21), "1/Angstrom"),
        Axis("[0,0,L]", np.linspace(0, 4, 5), "r.l.u.", "HKL"),
        Axis("[H,0,0]", (0.0, 1.0), "r.l.u.", "HKL"),
        Axis("DeltaE", np.linspace(-10, 10, 41), "DeltaE"),
    )
    place = (slice(None), 1, 0, slice(None))
    assert _place_in_words(axes, (0, 3), place, [8, 30]) == "at |Q| 1.35, [0,0,L] 1.5, E 5.25 meV"
    block = (slice(0, 10), slice(20, 40))
    assert _place_in_words(axes, (0, 3), place, block) == "in |Q| 0.5 to 1.5, [0,0,L] 1.5, E 0 to 10 meV"


def test_the_lists_of_two_parts_and_of_two_steps_are_put_together():
    one = Quality(distances=[0.1], p_values=[0.5], unusual=[("rough", "at E 1 meV")])
    two = Quality(
        distances=[2.0, 3.0], p_values=[0.01, 0.02], unusual=[("dark", "at E 2 meV"), ("rough", "at E 3 meV")]
    )
    both, steps = Quality(), one.then(two)
    both.add(one)
    both.add(two)
    for found in (both, steps):
        assert found.distances == [0.1, 2.0, 3.0] and found.p_values == [0.5, 0.01, 0.02]
        assert found.unusual == one.unusual + two.unusual
        assert found.reasons == [("rough", "at E 1 meV"), ("dark", "at E 2 meV")]
    assert one.p_values == [0.5] and len(two.unusual) == 2, "the parts stay as they are"
