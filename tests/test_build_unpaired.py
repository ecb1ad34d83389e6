"""Models trained without pairs: simulated experiments, measured maps, and the recipe on pairs that take no time."""

from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra 'train'")

from mantid_insgan.errors import InputError  # noqa: E402
from mantid_insgan.learn import build_unpaired, calibration, experiments, mosaic  # noqa: E402
from mantid_insgan.learn.checkpoint import read_checkpoint  # noqa: E402
from mantid_insgan.learn.examples import stack  # noqa: E402
from mantid_insgan.learn.experiments import (  # noqa: E402
    Mixture,
    Peculiarities,
    SimulatedExperiments,
    Windows,
    widened,
    with_one_scale,
    with_tail,
)
from mantid_insgan.learn.libraries import PairLibrary, Part  # noqa: E402
from mantid_insgan.learn.unpaired import ADD, REMOVE  # noqa: E402
from mantid_insgan.translate.cards import read_model  # noqa: E402
from tests.exports import leave_out  # noqa: E402
from tests.test_train import write_pairs  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Five pairs on disk."""
    folder = tmp_path_factory.mktemp("pairs")
    write_pairs(folder, number=5)
    return folder


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    """A folder with a mosaic of waves on a background, with gaps."""
    from scipy.io import savemat

    folder = tmp_path_factory.mktemp("maps")
    shape = (len(mosaic.SETTINGS) * mosaic.PIXELS, mosaic.SLICES * mosaic.PIXELS)
    place = np.arange(shape[1]) * np.ones((shape[0], 1))
    values = 5 + 4 * np.cos(place / 5) + np.random.default_rng(0).normal(size=shape)
    np.save(folder / mosaic.FILES["maps"], values)
    mask = np.zeros(shape)
    mask[:, ::40] = 1
    savemat(folder / mosaic.FILES["mask"], {"nan_mask": mask})
    return folder


# -- experiments


def test_a_tail_moves_intensity_up_in_energy_and_makes_none():
    values = np.zeros((3, 200))
    values[:, 10] = 2.0
    found = with_tail(values, 0.1, 5.0)
    np.testing.assert_allclose(found.sum(axis=1), 2.0, rtol=1e-6)
    assert not found[:, :10].any() and found[0, 11] > found[0, 30] > 0
    np.testing.assert_allclose(found[0, 20] / found[0, 15], np.exp(-1), rtol=1e-6)


def test_wider_widths_are_those_told_times_the_factor(pairs):
    pair = PairLibrary(pairs).pair(0)
    point = np.zeros(pair.ideal.shape)
    middle = tuple(n // 2 for n in point.shape)
    point[middle] = 1.0

    def width(values):
        across = values.sum(axis=0) / values.sum()
        bins = np.arange(len(across))
        return np.sqrt((across * bins**2).sum() - (across * bins).sum() ** 2)

    told = widened(pair, point, np.sqrt(2.0))  # adds just the resolution told
    wider = widened(pair, point, np.sqrt(1 + 1.5**2))  # adds 1.5 times as much
    assert width(wider) / width(told) == pytest.approx(1.5, rel=0.1)
    np.testing.assert_allclose(widened(pair, point, 1.0), point, atol=1e-6)


def test_an_experiment_has_its_bare_simulation_as_target_and_the_other_way_round(pairs):
    library = PairLibrary(pairs)
    measured, simulated = (SimulatedExperiments(library, side) for side in (True, False))
    there = measured.examples([0], REMOVE, np.random.default_rng(3), peak_counts=300)[0]
    back = simulated.examples([0], ADD, np.random.default_rng(3))[0]
    assert (there.error[there.valid] > 0).any() and not back.error.any()
    assert np.sqrt(np.mean(there.signal[there.valid] ** 2)) == pytest.approx(1, rel=1e-3)
    ideal = library.pair(0).ideal
    for found in (there.target, back.signal):  # whichever way it was turned
        turned = [np.where(found != 0, x, 0) for x in (ideal, ideal[::-1])]
        assert max(np.corrcoef(x.ravel(), found.ravel())[0, 1] for x in turned) > 0.999
    assert not there.finer.any() and not back.finer.any()
    assert measured.draws_counts and not simulated.draws_counts and simulated.noise == "no noise"


def test_experiments_are_drawn_anew_and_by_the_seed_alone(pairs):
    library = SimulatedExperiments(PairLibrary(pairs), True)
    one, again, other = (library.examples([1], ADD, np.random.default_rng(n))[0] for n in (5, 5, 6))
    np.testing.assert_array_equal(one.signal, again.signal)
    assert not np.array_equal(one.signal, other.signal)
    drawn = [Peculiarities.draw(np.random.default_rng(n), 10.0) for n in range(200)]
    assert all(1 <= d.wider <= experiments.WIDEST and 0 <= d.tail <= experiments.LARGEST_TAIL for d in drawn)
    assert 0.2 < np.mean([d.tail == 0 for d in drawn]) < 0.5 and np.std([d.wider for d in drawn]) > 0.08


def test_counts_set_the_noise(pairs):
    library = SimulatedExperiments(PairLibrary(pairs), True)
    relative = {}
    for counts in (30, 3000):
        found = library.examples(range(5), REMOVE, np.random.default_rng(0), peak_counts=counts)
        relative[counts] = np.mean([e.error[e.valid].mean() for e in found])
    assert relative[30] > 4 * relative[3000]


def test_a_mixture_gives_the_members_of_all_and_windows_have_one_size(pairs, maps):
    simulated = SimulatedExperiments(PairLibrary(pairs), True)
    measured = mosaic.MeasuredMaps(maps, 64)
    assert len(measured) == len(mosaic.TRAINED) * mosaic.SLICES
    both = Mixture(simulated, Part(measured, [0, 1, 0, 1]))
    assert len(both) == 9 and both.draws_counts
    last = both.examples([8], ADD, np.random.default_rng(0))[0]
    assert last.signal.shape == (64, 64) and not last.energy_last and not last.valid[40:].any()
    assert not np.isnan(last.signal).any() and last.valid.any() and not last.valid[:, :2].all()
    found = Windows(both, 16).examples([0, 8], ADD, np.random.default_rng(0))
    batch = stack(found)
    assert batch.signal.shape == (2, 1, 16, 16)
    for one in found:
        assert np.sqrt(np.mean(one.signal[one.valid] ** 2)) == pytest.approx(1, rel=1e-3)


def test_one_scale_for_all_is_the_best_one(pairs):
    library = SimulatedExperiments(PairLibrary(pairs), True)
    chosen = [stack(library.examples(range(3), REMOVE, np.random.default_rng(0), peak_counts=300))]
    found, factor = with_one_scale(lambda b: 3 * b.target, chosen)
    assert factor == pytest.approx(1 / 3)
    torch.testing.assert_close(found[0] * chosen[0].valid, chosen[0].target * chosen[0].valid)


def test_a_folder_without_the_maps_is_refused(tmp_path, maps):
    with pytest.raises(InputError, match=r"has no file unnorm-expt-clipped-120.npy.*give the folder with the maps"):
        mosaic.measured(tmp_path)
    for name in mosaic.FILES.values():
        (tmp_path / name).write_bytes((maps / name).read_bytes())
    np.save(tmp_path / mosaic.FILES["maps"], np.zeros((240, 399)))
    with pytest.raises(InputError, match=r"has the shape \(240, 399\), expected \(240, 400\).*published file"):
        mosaic.measured(tmp_path)


# -- recipe


@pytest.fixture
def recipe(pairs, maps, tmp_path, monkeypatch):
    """Options of a training of two steps, whose splits are all the same pairs and whose networks are small."""
    leave_out(monkeypatch)
    monkeypatch.setattr(build_unpaired, "PairLibrary", OfTwoFamilies)
    monkeypatch.setattr(build_unpaired, "CHANNELS", 4)
    monkeypatch.setattr(build_unpaired, "WINDOW", 16)
    monkeypatch.setattr(build_unpaired, "BATCH", 2)
    monkeypatch.setattr(build_unpaired, "COUNTS", {ADD: (None,), REMOVE: (300.0,)})
    monkeypatch.setattr(calibration, "COUNTS", dict.fromkeys((ADD, REMOVE), (30.0, 300.0)))
    monkeypatch.setattr(build_unpaired, "MOST", 20)
    monkeypatch.setitem(build_unpaired.ITERATIONS, 2, (3,))
    options = {"pairs": pairs, "manganite": maps, "output": tmp_path / "models", "scratch": tmp_path / "scratch"}
    return SimpleNamespace(**options, seed=1, steps=2, minutes=None, threads=1)


class OfTwoFamilies(PairLibrary):
    """All pairs for every split, of two families in turn."""

    def __init__(self, folder, split=None):
        super().__init__(folder)

    def facts(self, name):
        if name == "family":
            return [("one", "two", "pcsmo_goodenough")[i % 3] for i in range(len(self))]
        return super().facts(name)


def test_no_pair_is_on_both_sides(recipe):
    found = build_unpaired.sides_of(recipe.pairs, recipe.manganite)
    simulated, measured = found.simulations, found.experiments.libraries[0]
    assert simulated.members == [0, 3] and measured.members == [1, 4]
    assert found.families == {"simulations": ["one"], "experiments": ["two"]}
    maps = found.experiments.libraries[1]
    assert len(maps) == build_unpaired.REPEATED * 40
    assert found.inputs(ADD) is simulated and found.inputs(REMOVE) is found.experiments


def test_the_recipe_trains_resumes_scores_and_writes_both(recipe, capsys, monkeypatch):
    class Stopped(Exception):
        pass

    def stop(*_):
        raise Stopped

    with monkeypatch.context() as patched:  # killed after the first checkpoint
        patched.setattr(build_unpaired.UnpairedTrainer, "_train_step", stop)
        with pytest.raises(Stopped):
            build_unpaired.train(recipe)
    trainer, sides = build_unpaired.train(recipe)
    assert trainer.step == 2 and trainer.recipe.adversarial == 1 and trainer.recipe.contrastive > 0
    for direction in (ADD, REMOVE):
        build_unpaired.build(direction, trainer, sides, recipe)
        card = read_model(recipe.output / build_unpaired.NAMES[direction]).card
        assert (card.direction, card.purpose, card.background) == (direction, "experiment", True)
        assert card.translation == build_unpaired.NAMES[direction].removesuffix("-2d") and card.simulation == "ideal"
        titles = [t.title for t in card.metrics]
        assert [t in titles for t in build_unpaired.HELD_OUT.values()] == [True, True]
        rows = set(card.metrics[0].rows)
        assert {"identity", "this model", f"bundled {direction}-2d"} < rows and len(rows) == 4
        assert card.intervals is not None and card.coverage is not None
        assert any("guess from E/Ei and |Q| alone" in note for note in card.notes)
        assert card.training.steps == 2 and "measured: 40 maps" in card.training.families[-1]
        assert "--manganite MAPS --seed 1 --steps 2" in card.training.command
    assert "simulation-to-experiment-2d: simulated experiments" in capsys.readouterr().out
    cards = [read_model(recipe.output / name).card for name in build_unpaired.NAMES.values()]
    for direction, card in zip((ADD, REMOVE), cards, strict=True):
        monkeypatch.setattr(build_unpaired, "generator_of", lambda model, d=direction: trainer.averaged(d))
        build_unpaired.described_again(direction, recipe)
        again = read_model(recipe.output / card.name).card
        assert (again.training, again.intervals) == (card.training, card.intervals)


def test_a_resumed_training_ends_as_one_that_was_not_stopped(recipe, tmp_path):
    def weights(scratch, *limits):
        for steps_done in limits:
            options = SimpleNamespace(**vars(recipe) | {"scratch": tmp_path / scratch})
            sides = build_unpaired.sides_of(options.pairs, options.manganite)
            trainer = build_unpaired.trainer_of(options, sides)
            trainer.run(lambda done, step, terms, at=steps_done: step >= at)
        return {k: v for k, v in read_checkpoint(trainer.checkpoint)[1].items() if k.startswith("network.")}

    whole, resumed = weights("whole", 2), weights("resumed", 1, 2)
    assert len(whole) > 100
    for name, values in whole.items():
        torch.testing.assert_close(resumed[name], values, rtol=0, atol=0)
