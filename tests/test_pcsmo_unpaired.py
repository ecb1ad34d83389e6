"""The benchmark that trains without pairs on the measured manganite: images, places and scores."""

from argparse import Namespace

import numpy as np
import pytest

pytest.importorskip("torch")

import pcsmo_unpaired as bench


def waves(seed: int, scale: float = 1.0) -> np.ndarray:
    """Mirrored maps (6, 10, 40, 40) of which each differs from the others."""
    rng, place = np.random.default_rng(seed), np.abs(np.linspace(-np.pi, np.pi, 40))
    phase = rng.uniform(0.5, 2, (6, 10, 1, 1))
    return scale * (1 + np.cos(phase * place[:, None]) * np.cos(phase * place))


@pytest.fixture(scope="module")
def data():
    """Waves with noise, a background and a gap."""
    values = waves(0, 3.0) + 2 + np.random.default_rng(1).normal(size=(6, 10, 40, 40))
    values[..., 18:22, 18:22] = np.nan
    return bench.Measurement.of(values)


def test_maps_lie_side_by_side_with_gaps():
    maps = np.random.default_rng(0).random((2, 10, 40, 40))
    found = bench.image(maps)
    assert found.shape == (2, 40, 440)
    np.testing.assert_array_equal(bench.maps_of(found), maps)
    np.testing.assert_array_equal(found[:, :, 44:84], maps[:, 1])
    assert not found[:, :, 40:44].any()
    np.testing.assert_array_equal(bench.image(maps, "edge")[:, :, 40:44], maps[:, 0, :, -1:] * np.ones(4))


def test_networks_are_told_the_widths_of_each_map():
    low, high = (bench.conditions(row) for row in (3, 5))
    for told in (low, high):
        assert told["width"].shape == (2, 40, 440) and told["correlation"].shape == (1, 40, 440)
        energies = bench.maps_of(told["position"][0])[:, 0, 0]
        np.testing.assert_allclose(energies, 0.13 + 0.06 * np.arange(10), atol=1e-4)
    assert (high["width"] > 1.2 * low["width"]).all()


def test_gaps_and_maps_aside_are_hidden(data):
    assert not data.counted[..., 17:23, 17:23].any() and data.counted[..., :17, :].all()
    found = bench.maps_of(data.experiment(3).valid)
    assert not found[list(bench.ASIDE)].any()
    np.testing.assert_array_equal(found[0], data.counted[3, 0])
    simulated = data.simulation(3, waves(0)[3, :, 20:, 20:])
    np.testing.assert_array_equal(simulated.valid, data.experiment(3).valid)
    assert np.sqrt(np.mean(simulated.signal[simulated.valid] ** 2)) == pytest.approx(1)
    np.testing.assert_allclose(
        bench.maps_of(simulated.signal)[0, :17] / simulated.signal.max(),
        waves(0)[3, 0, :17] / waves(0)[3, :, :17][np.delete(np.arange(10), bench.ASIDE)].max(),
        rtol=0.05,
    )


def test_scores_are_of_the_same_pixels(data):
    places = bench.places_of((2, 4), (0, 1, 2))
    pixels = int(data.counted[[2, 4], :3].sum())
    truth, worse = (bench.Score.of(m, data, places, True) for m in (waves(0), waves(2)))
    assert truth.pixels == worse.pixels == pixels == 6 * (1600 - 36)
    assert truth.chi_squared / pixels == pytest.approx(1, abs=0.15)
    assert worse.chi_squared > 1.5 * truth.chi_squared and worse.correlation < truth.correlation
    # A background that no model has costs where no constant is fitted, and no scale is favoured.
    bare, with_it = (bench.Score.of(m, data, places, False) for m in (waves(0), 5 * (waves(0, 3.0) + 2)))
    assert bare.chi_squared > 1.5 * truth.chi_squared
    assert with_it.chi_squared == pytest.approx(truth.chi_squared, rel=0.02)
    elsewhere = np.where(data.counted & places[..., None, None], waves(0), 1e3)
    assert bench.Score.of(elsewhere, data, places, True).chi_squared == pytest.approx(truth.chi_squared)


def test_rows_of_the_table_say_what_is_nearer(data):
    models = {name: {n: waves(s) for n, s in zip(bench.RIVALS, seeds, strict=True)} for name, seeds in STATES.items()}
    rows = bench.scored({n: (m, None) for n, m in models.items()}, data, bench.places_of((2, 4)))
    found = {row[0]: dict(zip([c["name"] for c in bench.COLUMNS], row, strict=True)) for row in rows}
    assert found["convolved"]["nearer than convolved (%)"] == 0
    assert found["translated"]["nearer than convolved (%), constants"] > 20
    pixels = data.counted[[2, 4]].sum()
    for row in found.values():
        less = row["dimer"] - row["chi-squared a pixel"]
        assert row["dimer less Goodenough"] == pytest.approx(less * pixels)


#: Seeds of the waves of both rivals; those of the measurement are of seed 0.
STATES = {"convolved": (1, 2), "translated": (0, 2)}


@pytest.fixture(scope="module")
def trainer(data, tmp_path_factory):
    """Trained for two steps on draws in files."""
    folders = [tmp_path_factory.mktemp(name) for name in ("draws", "low")]
    for folder, rows in zip(folders, (bench.ROWS, bench.LOW), strict=True):
        for number, name in enumerate(bench.RIVALS):
            for draw in range(2):
                quarter = waves(10 * number + draw)[list(rows), :, 20:, 20:]
                np.savez(folder / f"{name}-{draw:04}.npz", convolved=quarter.astype(np.float32))
    both = bench.sides(data, *folders)
    options = Namespace(steps=2, folder=tmp_path_factory.mktemp("checkpoints"))
    made = bench.trainer_of("unpaired", 1, options, both)
    assert made.run()
    return made, options, both


def test_both_sides_are_cut_out_at_the_same_places(trainer):
    made, _, both = trainer
    rng = np.random.default_rng(0)
    x, y = (made._drawn(library, rng) for library in both)
    assert x.signal.shape == (bench.BATCH, 1, bench.TALL, 440)
    for name in ("valid", "width", "correlation", "position"):
        np.testing.assert_array_equal(getattr(x, name), getattr(y, name))
    assert not np.allclose(x.signal, y.signal)
    assert sorted(map(len, both[0].values())) == [4] * 4 and sorted(map(len, both[1].values())) == [1] * 4


def test_a_finished_training_is_read_again_and_translates(trainer, data):
    made, options, both = trainer
    again = bench.trainer_of("unpaired", 1, options, both)
    assert again.run() and again.step == 2
    models = {"goodenough": waves(0, 7.0)}
    found, wanted = (bench.translations(t, data, models)["goodenough"] for t in (again, made))
    np.testing.assert_array_equal(found, wanted)
    twice = bench.translations(made, data, {"goodenough": waves(0, 14.0)})["goodenough"]
    np.testing.assert_allclose(twice[data.counted], 2 * found[data.counted], rtol=1e-3)
    more = (bench.translations(made, data, models, True)["goodenough"] - waves(0, 7.0))[data.counted]
    assert more.min() > 0 and more.max() < 0.2 * waves(0, 7.0).max()
