"""The benchmark that classifies the mosaics of the manganite: mirrors, simulated experiments, and what is asked."""

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

import pcsmo_classifier as bench
import pcsmo_draws as drawing

MAPS = len(bench.ROWS) * bench.SLICES


def test_quadrants_of_a_mirrored_map_are_alike():
    quarter = np.random.default_rng(0).random((len(bench.ROWS), bench.SLICES, 20, 20))
    maps = bench.whole(quarter)
    assert maps.shape == (MAPS, 40, 40)
    np.testing.assert_array_equal(maps, maps[:, ::-1])
    np.testing.assert_array_equal(maps, maps[:, :, ::-1])
    found = bench.as_experiments([maps], [0])
    assert found.values.shape == (1, MAPS, 4, 400)
    for part in range(4):
        np.testing.assert_array_equal(found.values[0, :, part], quarter.reshape(MAPS, 400).astype(np.float32))


def test_an_experiment_is_measured_where_detectors_are():
    rng = np.random.default_rng(1)
    signal = rng.random((MAPS, 40, 40))
    known = rng.random(signal.shape) > 0.2
    made = [bench.experiment(rng, signal, known) for _ in range(8)]
    assert all(np.isnan(m[~known]).all() for m in made)
    assert all(np.isfinite(m[known]).mean() > 0.9 for m in made)
    assert 0 < sum(np.nanmin(m) >= 0 for m in made) < 8  # negative values are set to 0 in some
    assert all(np.corrcoef(m[np.isfinite(m)], signal[np.isfinite(m)])[0, 1] > 0 for m in made)


@pytest.mark.parametrize("kind", bench.COMPOSITES)
def test_a_composite_is_of_two_models(kind):
    rng = np.random.default_rng(2)
    for _ in range(5):
        chosen = bench.COMPOSITES[kind](rng)
        assert chosen.shape == (MAPS, 40, 40) and 0.2 < chosen.mean() < 0.8


def test_pixels_beside_gaps_do_not_count():
    maps = np.ones((MAPS, 40, 40))
    maps[3, 10, 10] = np.nan
    found = bench.as_experiments([maps], [1])
    assert found.valid.sum() == maps.size - 9 and found.label.tolist() == [1]


def test_the_classifier_on_disk_is_asked(tmp_path):
    """Trained, written, read and asked with maps as files, it answers as in memory."""
    rng, place = np.random.default_rng(3), np.linspace(0, np.pi, 20)
    wave = np.cos(place[:, None] + place) ** 2
    signals = [
        [np.tile(wave + 0.4 * n * rng.random() * wave.T[::-1], (4, 10, 1, 1)) for _ in range(10)] for n in (0, 1)
    ]
    known = np.ones((MAPS, 40, 40), bool)
    training = bench.collected(bench.experiments(signals, known, 0, repeats=2))
    classifier = bench.train_joint(bench.RIVALS, training, np.arange(len(training.label)) // 2)
    rivals = [bench.rival(name, 10, 0) for name in bench.RIVALS]
    file = bench.kept_on_disk(classifier, tmp_path / "c.onnx", training, rivals)
    assert file.path.stat().st_size < 10_000_000 and len(file.card.maps) == MAPS and file.card.parts == 4
    maps = [m for m, _ in bench.experiments(signals, known, 1, repeats=1)][::5]
    data = bench.as_experiments(maps, [-1] * len(maps))
    for number, after in enumerate(bench.asked_of(file, data)):
        before = classifier.judge(data.values[number], data.valid[number])
        as_files = bench.classify(bench.spectra(maps[number])[::-1], file)
        assert after.answer == before.answer == as_files.answer
        for found in (after, as_files):
            assert found.probabilities == pytest.approx(before.probabilities, abs=1e-5)
            assert found.contradiction == pytest.approx(before.contradiction, abs=1e-5)
            assert found.distance == pytest.approx(before.distance, abs=1e-5)
        assert sum(after.maps_for.values()) == MAPS


def test_draws_are_those_of_their_number():
    values, model, unstable = drawing.drawn("dimer", 4)
    again = drawing.drawn("dimer", 4)
    other = drawing.drawn("dimer", 5)[0]
    assert values == again[0] != other and unstable == again[2] < 100
    start = bench_start("dimer")
    assert all(abs(v / start[n] - 1) <= drawing.AROUND for n, v in values.items())
    assert model.modes(np.array([[0.3, 0.2, 0.1]]))[0].shape == (1, 32)


def bench_start(name: str) -> dict[str, float]:
    """The published couplings."""
    return {n: p.value for n, p in drawing.definition_of(name).parameters.items()}


@pytest.mark.skipif(not bench.IMAGES.is_dir(), reason="the public mosaics are not here (../shared/data/pcsmo-maps)")
def test_what_is_asked_is_on_the_maps_of_50_mev_and_more():
    found = bench.images(bench.IMAGES)
    assert list(found) == ["measured mosaic", "Tobyfit's Goodenough", "Tobyfit's dimer", "fraken"]
    for maps in found.values():
        assert maps.shape == (MAPS, 40, 40) and np.nanmax(maps) < bench.CLIPPED
        assert bench.kept(maps).mean() > 0.5
