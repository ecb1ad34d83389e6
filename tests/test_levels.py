"""Levels that hardly disperse: energies, structure factors, families."""

import numpy as np
import pytest

from mantid_insgan import Lattice
from mantid_insgan.learn.pairs.recipe import families_of
from mantid_insgan.models import levels
from mantid_insgan.models.levels import LevelsModel
from mantid_insgan.models.spinw.model import CROSS_SECTION, form_factor_of

LATTICE = Lattice(4.0, 5.0, 6.0)


def test_energies_hop_as_the_mean_of_the_cosines():
    model = LevelsModel(LATTICE, [10.0, 4.0], [0.7, 0.3], ion="Ni2+", width=0.1, temperature=0.0)
    q = np.array([[0, 0, 0], [0.5, 0.5, 0.5], [0.25, 0.25, 0.25], [0.5, 0, 0]])
    energies, intensities = model.modes(q)
    np.testing.assert_allclose(energies, np.outer([1.1, 0.9, 1.0, 1 + 0.1 / 3], [10.0, 4.0]))
    np.testing.assert_allclose(intensities[:, 0] / intensities[:, 1], 0.7 / 0.3)
    expected = CROSS_SECTION * form_factor_of("Ni2+")(model.q_modulus(q)) ** 2 * 0.7
    np.testing.assert_allclose(intensities[:, 0], expected)
    assert model.bandwidth() == pytest.approx(11.0, rel=0.05)


def test_a_dimer_has_the_structure_factor_of_its_transition():
    """1 - cos(2 pi q.d): nothing at Q = 0, most where the two ions scatter out of phase."""
    model = LevelsModel(LATTICE, [8.0], [1.0], ion="Cu2+", correlation=-1.0, dimer=(0.25, 0, 0), temperature=0.0)
    _, intensities = model.modes([[0, 0, 0], [1, 0, 0], [2, 0, 0]])
    form = form_factor_of("Cu2+")(model.q_modulus([[0, 0, 0], [1, 0, 0], [2, 0, 0]])) ** 2
    np.testing.assert_allclose(intensities[:, 0] / form / CROSS_SECTION, [0, 1, 2], atol=1e-9)


@pytest.mark.parametrize("family", levels.families(), ids=lambda f: f.name)
def test_families_draw_the_same_from_the_same_state(family):
    one, same = (family.draw(np.random.default_rng(3)) for _ in range(2))
    q = np.random.default_rng(0).random((5, 3))
    for a, b in zip(one.modes(q), same.modes(q), strict=True):
        np.testing.assert_array_equal(a, b)
    assert one.facts["family"] == family.name and (one.modes(q)[1] >= 0).all()


def test_one_family_is_held_out():
    names = {split: {f.name for f in families_of(split)} for split in ("train", "test-family")}
    assert "levels" in names["train"] and names["test-family"] & {f.name for f in levels.families()} == {"dimer_levels"}
