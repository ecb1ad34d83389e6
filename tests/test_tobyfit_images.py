"""The benchmark against the images of SpinW and Tobyfit: its spin waves, its folding and its ceiling."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
STEP = 0.05


@pytest.fixture(scope="module")
def images():
    spec = importlib.util.spec_from_file_location("tobyfit_images", ROOT / "benchmarks" / "tobyfit_images.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["tobyfit_images"] = module
    spec.loader.exec_module(module)
    return module


def spectra(energies, intensities):
    """On a coarse scale of energy, so that degenerate modes may come in any order."""
    grid = np.linspace(0, 90, 181)
    return (intensities[..., None] * np.exp(-0.5 * (grid - energies[..., None]) ** 2)).sum(axis=1)


@pytest.fixture(scope="module", params=["goodenough", "dimer"])
def model(request, images):
    return images.one_twin(request.param)


def places(rng):
    """Momenta above nodes, in all four quadrants and at many l."""
    nodes = (rng.integers(1, 6, (20, 2)) + 0.5) * STEP
    return np.column_stack([nodes * rng.choice([-1, 1], (20, 2)), rng.uniform(-9, 9, 20)])


def test_the_table_gives_the_model_at_any_l(images, model):
    table = images.ImageSpins(model, l_scale=1.0, like_images=False, step=STEP, nodes=8)
    q = places(np.random.default_rng(1))
    energies, intensities = table.modes(q)
    expected = spectra(*model.modes(q))
    half = energies.shape[1] // 2
    found = spectra(energies[:, :half], intensities[:, :half])
    np.testing.assert_allclose(found, expected, atol=2e-3 * expected.max())


def test_the_second_twin_of_the_images_is_seen_at_l_0_and_only_across_y(images, model):
    table = images.ImageSpins(model, l_scale=0.5, step=STEP, nodes=8)
    q = places(np.random.default_rng(2))
    _, intensities = table.modes(q)
    _, at_zero = table.modes(q * [1, 1, 0])
    half = intensities.shape[1] // 2

    def polarisation(where):
        cartesian = where / [model.lattice.a, model.lattice.b, model.lattice.c]
        return 1 - cartesian[:, 1] ** 2 / (cartesian**2).sum(axis=1)

    ratio = polarisation(q * [1, 1, 0.5]) / polarisation(q * [1, 1, 0])
    np.testing.assert_allclose(intensities[:, half:], at_zero[:, half:] * ratio[:, None], atol=1e-9)


def test_mirrors_tell_the_ceiling_of_a_noisy_image(images):
    rng = np.random.default_rng(3)
    quarter = rng.random((6, 10, 20, 20))
    half = np.concatenate([quarter, quarter[..., ::-1]], axis=-1)
    clean = np.concatenate([half, half[..., ::-1, :]], axis=-2)
    noisy = clean + 0.3 * rng.standard_normal(clean.shape)
    mirror = images.correlations(noisy, noisy[..., ::-1, :])
    np.testing.assert_allclose(images.correlations(clean, noisy).mean(), np.sqrt(mirror).mean(), atol=0.01)
    fold = images.correlations(images.folded(clean), images.folded(noisy))
    np.testing.assert_allclose(fold.mean(), np.sqrt(4 * mirror / (1 + 3 * mirror)).mean(), atol=0.01)


def test_folding_leaves_masked_pixels_out(images):
    tiles = np.ones((6, 10, 40, 40))
    tiles[..., 3, 5] = np.nan
    tiles[..., 0, 0] = tiles[..., -1, 0] = tiles[..., 0, -1] = tiles[..., -1, -1] = np.nan
    found = images.folded(tiles)
    assert np.isnan(found[..., 0, 0]).all()
    np.testing.assert_array_equal(found[..., 3, 5], 1.0)


def test_a_mosaic_becomes_its_tiles(images):
    mosaic = np.arange(240 * 400).reshape(240, 400)
    tiles = images.tiles(mosaic)
    assert tiles.shape == (6, 10, 40, 40)
    np.testing.assert_array_equal(tiles[2, 3], mosaic[80:120, 120:160])


def test_inner_pixels_touch_no_masked_one(images):
    tiles = np.ones((6, 10, 40, 40))
    tiles[2, 3, 10, 10] = np.nan
    found = np.isnan(images.inner(tiles))
    assert found.sum() == 9
    assert found[2, 3, 9:12, 9:12].all()


def test_silent_tiles_have_no_score(images):
    rng = np.random.default_rng(4)
    quarter = rng.random((6, 10, 20, 20))
    half = np.concatenate([quarter, quarter[..., ::-1]], axis=-1)
    clean = np.concatenate([half, half[..., ::-1, :]], axis=-2)
    theirs = clean.copy()
    theirs[5, 9] = 0
    score = images.Score.of(clean, theirs)
    assert np.isnan(score.raw[5, 9]) and np.isnan(score.ceiling[5, 9])
    assert np.isfinite(score.raw).sum() == 59
    np.testing.assert_allclose(score.raw[:5], 1)
    assert "59 tiles: mean correlation 1.000 (ceiling 1.000" in score.summary()
