"""The trainer of benchmarks/paired_gan.py, on tiny sizes."""

from dataclasses import asdict
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra 'train'")

import paired_gan  # noqa: E402

from mantid_insgan.learn.examples import Example  # noqa: E402
from mantid_insgan.learn.paired import PairedRecipe, PairedTrainer  # noqa: E402
from mantid_insgan.learn.trainer import Schedule  # noqa: E402

SCHEDULE = Schedule(steps=3, batch=2, warm_up=1, seed=3)


class Peaks:
    """Random peaks, and the same three times narrower."""

    dimensions = 1

    def __len__(self):
        return 8

    def examples(self, index, direction, rng, **_):
        """New ones at every call."""
        bins, centres = np.arange(32), rng.uniform(8, 24, len(index))
        peaks = [[np.exp(-0.5 * ((bins - c) / s) ** 2) / s for s in (3.0, 1.0)] for c in centres]
        valid, width, row = np.ones(32, bool), np.full((1, 32), 7.0), np.zeros((3, 32))
        return [Example(wide, valid, 0 * wide, narrow, width, row[:0], row) for wide, narrow in peaks]


pytestmark = pytest.mark.usefixtures("one_thread")


def trained(folder, schedule=SCHEDULE, **weights):
    recipe = paired_gan.GanRecipe("remove-resolution", 1, 4, patches=8, **weights)
    trainer = paired_gan.PairedGan(recipe, schedule, Peaks(), folder)
    assert trainer.run()
    return trainer


def weights_of(trainer):
    return trainer.averaged("generator").state_dict()


def same(one, other):
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_without_more_terms_it_is_the_training_of_the_bundled_models(tmp_path):
    plain = PairedTrainer(PairedRecipe("remove-resolution", 1, 4), SCHEDULE, Peaks(), tmp_path / "plain")
    plain.run()
    assert same(weights_of(plain), weights_of(trained(tmp_path / "gan")))


def test_every_term_moves_the_generator_and_the_discriminator_learns(tmp_path):
    found = {}
    for name, weights in paired_gan.VARIANTS.items():
        trainer = trained(tmp_path / name, **weights)
        found[name] = weights_of(trainer)
        terms = set(trainer.history[-1])
        assert set(weights) <= terms and ("judge" in terms) == ("judge" in trainer.networks) == bool(weights)
        if weights:
            before = paired_gan.PairedGan(trainer.recipe, SCHEDULE, Peaks(), tmp_path / "not run")
            assert not same(before.networks["judge"].state_dict(), trainer.networks["judge"].state_dict())
    one, two, three = found.values()
    assert not (same(one, two) or same(two, three) or same(one, three))


def test_its_minutes_are_those_of_the_processor(tmp_path, monkeypatch):
    ticks = count()  # one second between two readings of the clock
    monkeypatch.setattr(paired_gan, "time", SimpleNamespace(process_time=lambda: float(next(ticks))))
    schedule = Schedule(**asdict(SCHEDULE) | {"steps": 100, "minutes": 5 / 60})
    trainer = trained(tmp_path, schedule)
    assert (trainer.step, trainer.seconds) == (5, 5.0)


def test_differences_are_taken_seed_by_seed():
    names = list(paired_gan.VARIANTS)
    found = {names[0]: np.array([[1.0], [3.0]]), names[1]: np.array([[1.5], [3.0]]), names[2]: np.array([[1.0], [2.0]])}
    columns = [paired_gan.column(name) for name in ("", "steps", "NRMSE")]
    made = paired_gan._differences("t", found, columns)
    assert made["rows"] == [[names[1], [0.25, 0.0, 0.5]], [names[2], [-0.5, -1.0, 0.0]]]
