"""benchmarks/trust.py: truths that are made, what is counted of them, and facts that are told wrongly."""

import json
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra 'train'")

import trust as benchmark  # noqa: E402
import trust_branches as branches  # noqa: E402
import trust_case as cases  # noqa: E402
import trust_domain as domain  # noqa: E402
import trust_facts as facts  # noqa: E402
import trust_measured as measured_maps  # noqa: E402
import trust_ranks as ranks  # noqa: E402

from mantid_insgan.convolve.experiment import ExperimentSettings  # noqa: E402
from mantid_insgan.core.kernels import RADIUS  # noqa: E402
from mantid_insgan.core.run import Lattice  # noqa: E402
from mantid_insgan.errors import RunFactError  # noqa: E402
from mantid_insgan.instruments import Resolution, Sample  # noqa: E402
from mantid_insgan.learn.calibration import Judged  # noqa: E402
from mantid_insgan.learn.evaluate import batches  # noqa: E402
from mantid_insgan.learn.libraries import PairLibrary, Part  # noqa: E402
from mantid_insgan.learn.pairs import Pair  # noqa: E402
from mantid_insgan.translate.translator import Quality  # noqa: E402

GRID = (48, 48)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def conditions(fwhm, grid=GRID, correlation=0.0):
    """Widths and correlation, the same in every bin."""
    return np.stack([np.full(grid, x, np.float32) for x in (*fwhm, correlation)])


def pair(ideal):
    """A pair whose resolution is 3 by 6 bins wide and whose sides are made on the cut."""
    recorded, grid = conditions((3.0, 6.0)), ideal.shape
    target, data = (cases.through(cases.mirrored(ideal), conditions((3.0 / n, 6.0 / n))) for n in (3, 1))
    position, facts = np.zeros((3, *grid), np.float32), {"sharpness": [[3.0, 3.0]], "family": "made up"}
    return Pair(ideal, target[None], data, np.ones(grid, bool), recorded[:2], recorded[2:], position, facts)


def mode(at):
    """One mode of intensity 1 at a bin of each column."""
    image = np.zeros(GRID)
    image[np.arange(GRID[0]), np.asarray(at) * np.ones(GRID[0], int)] = 1.0
    return image


def judged(target, found=None, **changes):
    """A result, the truth by default, with errors of 0.01."""
    grids = {n: np.full(target.shape, 0.01) for n in ("error", "spread", "again")}
    given = {"signal": target, "valid": np.ones(target.shape, bool), "target": target, "features": np.zeros(2)}
    return Judged(**given | grids | {"found": target if found is None else found} | changes)


# ------------------------------------------------------------------------------------------------ truths on a cut


def test_a_point_gets_the_widths_and_keeps_its_intensity():
    around = np.zeros([n + 2 * RADIUS for n in GRID])
    around[RADIUS + 24, RADIUS + 24] = 5.0
    image = cases.through(around, conditions((3.0, 6.0), correlation=0.5))
    assert image.shape == GRID and image.sum() == pytest.approx(5.0, rel=1e-3)
    x, y = np.indices(GRID) - 24.0
    moments = [(image * m).sum() / image.sum() * 8 * np.log(2) for m in (x * x, y * y, x * y)]
    assert moments == pytest.approx([9.0, 36.0, 9.0], rel=0.11), "but for the bins' own width and the ends of kernels"


def test_what_lies_beyond_the_cut_comes_in_and_mirrored_edges_lose_nothing():
    level = cases.through(cases.mirrored(np.ones(GRID)), conditions((6.0, 6.0)))
    np.testing.assert_allclose(level, 1.0, rtol=1e-3)
    outside = np.zeros([n + 2 * RADIUS for n in GRID])
    outside[RADIUS - 1] = 1.0
    image = cases.through(outside, conditions((6.0, 6.0)))
    assert image[0].mean() > 0.1 and image[20].max() < 1e-3


# ------------------------------------------------------------------------------------------------ branches


@pytest.mark.parametrize("shape", [(48,), (48, 40)], ids=str)
def test_a_branch_has_the_same_intensity_in_every_column(shape):
    rng = np.random.default_rng(1)
    for _ in range(5):
        image = branches.branch(shape, rng)
        assert image.shape == tuple(n + 2 * RADIUS for n in shape)
        np.testing.assert_allclose(image.sum(axis=-1), 1.0)
        places = np.atleast_1d(image.argmax(axis=-1))
        assert np.abs(np.diff(places)).max(initial=0) < 8


def test_a_track_stays_on_its_branch():
    way = (20 + 8 * np.sin(np.arange(48) / 8)).astype(int)
    image = mode(way) + np.eye(48) * 0.9
    image[30, way[30]] = 3.0
    np.testing.assert_array_equal(branches.track(image, np.arange(20, 40)), way[20:40])
    near = branches.near(image.shape, np.arange(20, 40), way[20:40], 1)
    assert near.sum() == 3 * 20 and near[25, way[25] + 1] and not near[25, way[25] + 2] and not near[19].any()


def some_added():
    rng, base = np.random.default_rng(3), pair(mode(30))
    return base, next(c for c in (branches.added(base, rng) for _ in range(50)) if c is not None)


def test_an_added_branch_is_in_both_sides_and_its_window_is_its_own():
    base, change = some_added()
    more, data = change.pair.finer[0] - base.finer[0], change.pair.convolved - base.convolved
    assert (more > -1e-6).all() and more.sum() == pytest.approx(data.sum(), rel=0.1)
    high = data.max() / np.percentile(base.convolved, 99.7)
    assert branches.ADDED[0] - 0.01 <= high <= branches.ADDED[1] + 0.01
    assert (base.finer[0] < branches.OWN * more)[change.window].all() and change.window.any(axis=1).sum() >= 12
    assert (change.pair.ideal is base.ideal) and change.deleted is None


def test_an_added_branch_is_as_high_where_gaps_hide_the_brightest_bins():
    whole = pair(mode(30) + 50 * (np.arange(48)[:, None] > 40) * mode(30))
    gaps = replace(whole, valid=np.broadcast_to(np.arange(48)[:, None] < 36, GRID))
    rng = np.random.default_rng(3)
    change = next(c for c in (branches.added(gaps, rng) for _ in range(200)) if c is not None)
    data = (change.pair.convolved - whole.convolved)[gaps.valid]
    assert data.max() > 0.9 * branches.ADDED[0] * np.percentile(whole.convolved, 99.7)


def test_a_branch_that_the_result_lacks_is_lost():
    base, change = some_added()
    seen = judged(change.pair.finer[0])
    assert branches.survival(seen, seen.target, change.window) == (pytest.approx(1.0), 0.0)
    share, columns = branches.survival(seen, base.finer[0], change.window)
    assert share < 0.1 and columns > 0.9
    broken = np.where(np.arange(GRID[0])[:, None] % 4 == 0, base.finer[0], seen.target)
    share, columns = branches.survival(seen, broken, change.window)
    assert share == pytest.approx(0.75, abs=0.1) and columns == pytest.approx(0.25, abs=0.1)
    assert branches._of_added([(0.1, 0.9), (0.9, 0.1)]) == pytest.approx([0.5, 0.5, 0.5])


def test_no_branch_is_added_where_bright_modes_are():
    assert branches.added(pair(np.full(GRID, 1.0)), np.random.default_rng(3)) is None


def some_deleted():
    base = pair(mode((24 + 6 * np.sin(np.arange(48) / 8)).astype(int)))
    return base, branches.deleted(base, np.random.default_rng(2))


def test_a_third_of_the_branch_is_gone_from_truth_and_data():
    base, change = some_deleted()
    gone = base.finer[0].sum(axis=1) - change.pair.finer[0].sum(axis=1)
    assert gone.sum() == pytest.approx(16, rel=0.05) and change.deleted.sum() == pytest.approx(16, rel=0.05)
    columns = np.flatnonzero(change.window.any(axis=1))
    assert 8 <= len(columns) < 16 and (gone[columns] > 0.9).all() and np.abs(gone).min() < 1e-3
    assert base.convolved.sum() - change.pair.convolved.sum() == pytest.approx(16, rel=0.05)
    assert change.pair.finer[0][change.window].max() < 0.05 < base.finer[0][change.window].max()


def test_a_result_that_continues_the_branch_has_invented_it():
    base, change = some_deleted()
    seen, error = judged(change.pair.finer[0]), np.full(GRID, 0.01)
    told = (seen, change.pair.finer[0], error, change.window, change.deleted)
    assert branches.return_of(*told) == (False, 0.0)
    invented, share = branches.return_of(seen, base.finer[0], *told[2:])
    assert invented and share == pytest.approx(1.0, abs=0.02)
    faint = change.pair.finer[0] + 0.1 * change.deleted
    assert branches.return_of(seen, faint, *told[2:]) == (False, pytest.approx(0.1, abs=0.01))
    assert not branches.return_of(seen, base.finer[0], 100 * error, *told[3:])[0], "within three standard errors"
    assert branches._of_deleted([(True, 0.5), (False, 0.0)]) == pytest.approx([0.5, 0.5, 0.25])


def test_what_has_no_branch_to_take_out_is_left_alone():
    assert branches.deleted(pair(np.ones(GRID)), np.random.default_rng(2)) is None


def test_of_two_branches_one_is_left():
    changed = branches.deleted(pair(mode(20) + mode(27)), np.random.default_rng(2))
    assert changed.pair.finer[0].sum() == pytest.approx(2 * 48 - 16, rel=0.02)


def test_different_pairs_are_counted(monkeypatch):
    base = pair(mode(24))
    base.facts.update(split="test-family", index=7)
    case = SimpleNamespace(dimensions=2, name="this", libraries={"test-family": Part(Library(base), [0])})
    monkeypatch.setattr(branches, "DRAWS", 3)
    (found,) = branches.branches_drawn(case)
    assert found["rows"] == [["this", 3, 1, 3, 1]]
    assert branches.branches_drawn(SimpleNamespace(dimensions=3)) == []


class Library:
    """A library of one pair."""

    def __len__(self):
        return 1

    dimensions = 2

    def __init__(self, one):
        self.one = one

    def pair(self, n):
        """The pair, whatever the number."""
        return self.one


# ------------------------------------------------------------------------------------------------ facts and composites


class Made:
    """Three pairs on grids that an instrument's resolution is calculated for."""

    dimensions, draws_counts, examples = 2, True, PairLibrary.examples

    def __init__(self):
        self.pairs = [
            measured(*setting) for setting in (("MERLIN", "G", 300), ("MAPS", "S", 300), ("CNCS", "High Flux", 180))
        ]

    def __len__(self):
        return 3

    def pair(self, n):
        """One of them."""
        return self.pairs[n]


def measured(instrument, chopper, frequency):
    """A pair of one mode with the resolution of an instrument."""
    ei = {"CNCS": 12.0}.get(instrument, 60.0)
    lattice, mosaic, sample = Lattice(5.0, 5.0, 7.0), 0.4, Sample()
    resolution = Resolution(instrument, ei, chopper, frequency, sample=sample, mosaic=mosaic, lattice=lattice)
    axes = [("[H,0,0]", 0.4, 1.6, 24), ("[0,K,0]", -0.1, 0.1, 1), ("[0,0,L]", -0.1, 0.1, 1), ("DeltaE", 0.1, 0.7, 32)]
    scale = [1, 1, 1, ei]
    facts = {
        "axes": [
            {"name": n, "low": low * by, "high": high * by, "bins": bins, "frame": "HKL", "unit": "r.l.u."}
            for by, (n, low, high, bins) in zip(scale, axes, strict=True)
        ],
        "experiment": asdict(ExperimentSettings.draw(np.random.default_rng(1), temperature=5.0)),
        "family": instrument,
        "index": 0,
        "model": {"temperature": 5.0, "lattice": [5.0, 5.0, 7.0, 90.0, 90.0, 90.0]},
        "resolution": {
            "instrument": instrument,
            "ei": ei,
            "chopper": resolution.chopper,
            "frequencies": [float(frequency)],
            "width_factor": 1.0,
            "mosaic": mosaic,
            "sample": asdict(sample),
            "time_model": resolution.time_model,
        },
        "sharpness": [[3.0, 3.0]],
    }
    facts["axes"][-1] |= {"frame": "General Frame", "unit": "meV"}
    grid, nothing = (24, 32), np.zeros((24, 32))
    blank = Pair(nothing, nothing[None], nothing, nothing == 0, None, None, None, facts)
    found = resolution.on_grid(blank.spectrum("convolved"))
    told = [x.reshape(-1, *grid).astype(np.float32) for x in (found.width, found.correlation, found.position())]
    ideal = np.zeros(grid)
    ideal[np.arange(24), 8 + np.arange(24) // 2] = 1.0
    around, finer = cases.mirrored(ideal), np.concatenate([told[0] / 3, told[1]])
    target, data = cases.through(around, finer), cases.through(around, np.concatenate(told[:2]))
    return Pair(ideal, target[None], data, nothing == 0, *told, facts)


@pytest.fixture(scope="module")
def drawn():
    return Made()


def test_right_facts_give_the_conditions_of_the_pair(drawn):
    one = drawn.pair(0)
    told = domain.conditions_of(one, domain._resolution(one))
    np.testing.assert_allclose(told["width"], one.width, rtol=1e-5)
    np.testing.assert_allclose(told["correlation"], one.correlation, atol=1e-5)
    np.testing.assert_allclose(told["finer"], one.finer_conditions(cases.TARGET), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", domain.WRONG_FACTS)
def test_wrong_facts_give_other_widths(drawn, kind):
    for n in range(len(drawn)):
        one = drawn.pair(n)
        wrong = domain.WRONG_FACTS[kind](one)
        ratio = domain.conditions_of(one, wrong)["width"] / one.width
        assert np.isfinite(ratio).all() and np.abs(ratio - 1).max() > 0.02
        facts = one.facts["resolution"]
        assert (wrong.instrument == facts["instrument"]) is (kind != "another instrument told")
        assert (wrong.ei == pytest.approx(facts["ei"])) is ("energy" not in kind)


def test_where_no_other_chopper_transmits_another_frequency_is_told(drawn, monkeypatch):
    one = drawn.pair(1)
    facts = one.facts["resolution"]
    refused = []

    def only(pair, **told):
        if told["frequency"] != 0.5 * facts["frequencies"][0]:
            refused.append(told)
            raise RunFactError("transmits nothing", "take another")
        return told

    monkeypatch.setattr(domain, "_resolution", only)
    told = domain.another_chopper(one)
    assert told == {"chopper": facts["chopper"], "frequency": 150.0}
    assert [r["chopper"] for r in refused] == ["A", "S"], "the other package, and twice the frequency"
    monkeypatch.setattr(domain, "FREQUENCIES", ())
    with pytest.raises(ValueError, match="none of .*'A', 400.* transmits the incident energy"):
        domain.another_chopper(one)


def test_a_model_that_shows_nothing_in_the_bins_of_a_pair_is_no_other_half():
    some = [pair(mode(12)), pair(0 * mode(12)), pair(mode(30))]
    for number, one in enumerate(some):
        one.facts["family"] = str(number)
    part = Part(SimpleNamespace(pair=some.__getitem__, dimensions=2), range(3))
    assert [other.facts["family"] for _, other in domain._twos(part)] == ["2", "2", "0"]


def test_widths_that_are_told_larger_leave_correlations_as_they_are(drawn):
    (batch,) = batches(drawn, "remove-resolution", 300.0, 1, finer=cases.TARGET)
    factors = np.array([0.5, 1.0, 2.0])[: len(drawn)]
    told = domain.scaled(batch, factors)
    for n, factor in enumerate(factors):
        torch.testing.assert_close(told.width[n], float(factor) * batch.width[n])
        torch.testing.assert_close(told.finer[n, :2], float(factor) * batch.finer[n, :2])
    assert torch.equal(told.finer[:, 2:], batch.finer[:, 2:]) and torch.equal(told.correlation, batch.correlation)


def test_composites_have_the_intensity_of_both_models():
    one, other = pair(mode(12)), pair(3.0 * mode(36))
    both, halves = domain.summed(one, other), domain.glued(one, other)
    at = slice(10, 15), slice(34, 39)
    for side in (both.convolved, both.finer[0]):
        assert side[:, at[0]].sum() == pytest.approx(side[:, at[1]].sum(), rel=0.01)
    left, right = halves.convolved[:24], halves.convolved[24:]
    assert left[:, at[0]].sum() > 100 * left[:, at[1]].sum() and right[:, at[1]].sum() > 100 * right[:, at[0]].sum()


def test_auroc():
    assert domain.auroc(np.array([1.0, 2.0]), np.array([3.0, 4.0])) == 1.0
    assert domain.auroc(np.array([1.0, 2.0]), np.array([1.0, 2.0])) == 0.5


# ------------------------------------------------------------------------------------------------ ranks


def test_rank_correlations_and_their_bootstrap(monkeypatch):
    monkeypatch.setattr(ranks, "DRAWS", 200)
    error = np.random.default_rng(5).random((2, 60))
    same, against = (np.stack([error, f(error)], axis=-1) for f in (np.exp, np.negative))
    assert ranks.spearman(same) == pytest.approx([1.0] * 3) and ranks.spearman(against) == pytest.approx([-1.0] * 3)
    value, low, high = ranks.spearman(np.stack([error, np.random.default_rng(6).random((2, 60))], axis=-1))
    assert low < value < high and low < 0 < high and 0.2 < high - low < 0.6


def test_the_growth_is_what_normal_pulls_lack():
    pulls = np.random.default_rng(7).standard_normal(20000)
    assert ranks.growth(pulls) == pytest.approx(1.0, abs=0.02) and ranks.growth(3 * pulls) == pytest.approx(3, abs=0.06)


class Told:
    """A case whose model gives back the data, and keeps the target that it is told."""

    direction, dimensions = "remove-resolution", 2

    def __init__(self, library):
        self.libraries = {"test-family": Part(library, np.arange(len(library)))}

    def batches(self, split, counts):
        return batches(self.libraries[split], self.direction, counts, cases.SEED, finer=cases.TARGET)

    def made_of(self, batch):
        arrays = (batch.signal, batch.valid > 0, batch.error, batch.target)
        members = zip(*(x[:, 0].numpy() for x in arrays), strict=True)
        return [judged(t, signal=s, valid=v, error=e) for s, v, e, t in members]


def test_the_truth_is_that_of_the_target_as_it_is_told(drawn):
    case = Told(drawn)
    right, wide = (list(ranks.told_wrongly(case, "test-family", 300.0, np.full(3, f))) for f in (1.0, 0.5))
    (batch,) = case.batches("test-family", 300.0)
    for n, (one, other) in enumerate(zip(right, wide, strict=True)):
        item, valid = drawn.pair(n), one.valid
        np.testing.assert_array_equal(one.target, batch.target[n, 0].numpy())
        unit = cases.unit_of(valid, one.target, np.where(item.known, item.finer[cases.TARGET - 1], 0.0))
        np.testing.assert_allclose(unit * one.target[valid], item.finer[cases.TARGET - 1][valid], rtol=1e-4)
        finer = item.finer_conditions(cases.TARGET).copy()
        ideal = cases.mirrored(cases.ideal_of(item))
        sides = cases.through(ideal, finer * [[[2]], [[2]], [[1]]]), cases.through(ideal, finer)
        np.testing.assert_allclose(
            unit * (other.target - one.target)[valid], (sides[0] - sides[1])[valid], atol=1e-4 * sides[1].max()
        )
        assert ranks.error_of(one) == 0.0


def test_a_background_is_counted_and_lifts_the_data(drawn):
    (batch,) = batches(drawn, "remove-resolution", 300.0, 1, finer=cases.TARGET)
    more = ranks.lifted(batch, 0.3, 300.0)
    valid = batch.valid > 0
    for n in range(len(drawn)):
        signal, error = more.signal[n][valid[n]], more.error[n][valid[n]]
        assert float((signal**2).mean()) == pytest.approx(1.0, rel=1e-4)
        assert signal.median() / signal.max() > 0.15 and (error > 0).all()
        assert (more.signal[n][~valid[n]] == 0).all()


# ------------------------------------------------------------------------------------------------ maps


def test_maps_are_judged_together(monkeypatch):
    qualities = [Quality(p_values=[p], chi_squared=c, compared=10) for p, c in ((0.01, 5.0), (0.5, 25.0))]
    removal = SimpleNamespace(each=lambda maps: ((n, (None, q)) for n, q in enumerate(qualities)))
    monkeypatch.setattr(measured_maps, "Removal", lambda: removal)
    monkeypatch.setattr(measured_maps, "images", lambda folder: {"one": None})
    (row,) = measured_maps.mosaics(None)["rows"]
    assert row == ["one", 2, pytest.approx(2 / 102), 0.5, 1.5]


# ------------------------------------------------------------------------------------------------ extremes


def test_the_ends_of_all_shares(tmp_path):
    columns = [{"name": n, "format": "{}"} for n in ("", "all, 68 %", "all, 95 %", "dim, 68 %", "dim, 95 %")]
    rows = [["a", 0.70, 0.95, 0.60, 0.90], ["b", 0.72, 0.94, None, 0.93]]
    tables = [{"name": f"{kind}, add-resolution, 2D", "columns": columns, "rows": rows} for kind in ("coverage", "x")]
    (tmp_path / "some.json").write_text(json.dumps({"tables": tables}), encoding="utf-8")
    (found,) = benchmark.extremes(tmp_path / "some.json")
    assert found["rows"] == [["add-resolution, 2D", 0.70, 0.72, 0.94, 0.95, 0.60, 0.90]]


def test_no_part_is_measured_that_is_not_asked_for(tmp_path):
    options = {"part": ["extremes"], "pairs": [], "split": None, "direction": None, "dimensions": None}
    (tmp_path / "some.json").write_text('{"tables": []}', encoding="utf-8")
    (found,) = benchmark._measured(SimpleNamespace(**options, results=tmp_path / "some.json"))
    assert found["name"] == "extremes of coverage" and found["rows"] == []


def test_the_elastic_line_of_simulated_powders_tells_of_wrong_facts(monkeypatch):
    monkeypatch.setattr(facts, "DRAWS", 3)
    rows = {row[0]: row[1:] for row in facts._rows(300.0)}
    number, differs, none, ratios = rows.pop("right, 300 counts")
    assert (number, differs, none) == (3, 0.0, None) and ratios == pytest.approx([1.0, 1.0], abs=0.03)
    assert rows.pop("right, but no elastic line, 300 counts") == [0, None, None, None]
    assert set(rows) == {
        f"{told}, 300 counts"
        for told in ("another chopper or frequency", "an incident energy 10 % too high", "another instrument")
    }
    assert all(auroc > 0.6 for _, _, auroc, _ in rows.values())
