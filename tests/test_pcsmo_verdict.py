"""The benchmark that compares two models with the measured manganite: masks, errors and mirrors."""

from dataclasses import replace

import numpy as np
import pcsmo_verdict as verdict
import pytest


@pytest.fixture(scope="module")
def maps():
    """One map of 140 meV, worked out in quarters, and whole."""
    variant = verdict.Variant(lowest=140, every=10)
    model = verdict.built(verdict.definition_of("goodenough"))
    made = ((True, 16_000), (False, 64_000))  # the whole map has four times the momenta
    return variant, model, [verdict.Maps(variant.places, model, mirrored=m, points=16, momenta=n) for m, n in made]


def test_a_quarter_stands_for_the_whole_map(maps):
    variant, model, (quarter, whole) = maps
    given = {"line": 1.0, "shape": "gaussian", "width_factor": 1.0}
    title = verdict.title_of(*variant.places[0])
    spectrum = verdict._empty(whole.axes(*variant.places[0])).replace(title=title)
    found, wanted = (m(spectrum, None, model)(model, **given) for m in (quarter, whole))
    assert found.shape == wanted.shape == (40, 40, 1, 1)
    assert off(wanted[::-1], wanted) < 0.08 and off(wanted[:, ::-1], wanted) < 0.08
    assert off(found, wanted) < 0.15  # the two engines have other grids of modes
    assert off(np.roll(found, 2, axis=0), wanted) > 0.3


def off(found, wanted):
    """Root mean square of the difference over that of the second."""
    return float(np.sqrt(((found - wanted) ** 2).mean() / (wanted**2).mean()))


def test_masks_erode_gaps_and_not_zeros(maps):
    variant, _, (quarter, _) = maps
    values = np.full((6, 10, 40, 40), 5.0) + np.random.default_rng(0).normal(size=(6, 10, 40, 40))
    row, number = variant.places[0]
    values[row, number, 10, 10], values[row, number, 20, 20], values[row, number, 30, 30] = np.nan, 0.0, 120.0
    counts = {}
    for zeros in (True, False):
        for erode in (0, 1):
            (data,) = verdict.datasets(quarter, values, replace(variant, zeros=zeros, erode=erode))
            counts[zeros, erode] = 1600 - int(data.spectrum.valid.sum())
    assert counts == {(True, 0): 2, (False, 0): 3, (True, 1): 10, (False, 1): 11}


def test_errors_are_those_of_the_noise():
    smooth = 50 + np.add.outer(np.arange(40.0), 2 * np.arange(40.0))
    assert verdict.scatter(smooth + 3 * np.random.default_rng(1).normal(size=smooth.shape)) == pytest.approx(3, rel=0.1)
