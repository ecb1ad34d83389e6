"""The benchmark against the images of SpinW and Tobyfit: spin waves, detectors, folding and ceiling."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from mantid_insgan.instruments import Orientation, Resolution

ROOT = Path(__file__).resolve().parents[1]
CELLS = (15, 14)


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


def nodes(rng, count=20):
    """Momenta at nodes in all four quadrants, at many l."""
    plane = rng.integers(1, CELLS, (count, 2)) * 2 / np.array(CELLS) - 1
    plane[np.abs(plane) < 1e-9] = 2 / CELLS[1]
    return np.column_stack([plane, rng.uniform(-9, 9, count)])


def test_the_table_gives_the_model_at_its_nodes_and_any_l(images, model):
    table = images.ImageSpins(model, l_scale=1.0, like_images=False, cells=CELLS)
    q = nodes(np.random.default_rng(1))
    energies, intensities = table.modes(q)
    expected = spectra(*model.modes(q))
    half = energies.shape[1] // 2
    found = spectra(energies[:, :half], intensities[:, :half])
    np.testing.assert_allclose(found, expected, atol=2e-3 * expected.max())


def test_between_nodes_modes_are_linear(images, model):
    table = images.ImageSpins(model, l_scale=1.0, like_images=False, cells=CELLS)
    q = nodes(np.random.default_rng(2))
    step = np.array([0.0, 2 / CELLS[1], 0.0])
    half = table.energies.shape[1]
    ends = [table.modes(q + shift)[0][:, :half] for shift in (0, step)]
    np.testing.assert_allclose(table.modes(q + 0.25 * step)[0][:, :half], 0.75 * ends[0] + 0.25 * ends[1], atol=1e-6)


def test_the_second_twin_of_the_images_is_seen_at_l_0_and_only_across_y(images, model):
    table = images.ImageSpins(model, l_scale=0.5, cells=CELLS)
    q = nodes(np.random.default_rng(3))
    _, intensities = table.modes(q)
    _, at_zero = table.modes(q * [1, 1, 0])
    half = intensities.shape[1] // 2

    def polarisation(where):
        cartesian = where * [0.25, 0.25, 1] / [model.lattice.a, model.lattice.b, model.lattice.c]
        return 1 - cartesian[:, 1] ** 2 / (cartesian**2).sum(axis=1)

    ratio = polarisation(q * [1, 1, 0.5]) / polarisation(q * [1, 1, 0])
    np.testing.assert_allclose(intensities[:, half:], at_zero[:, half:] * ratio[:, None], rtol=1e-9, atol=1e-9)


def test_elements_lie_where_the_instrument_definition_has_them(images):
    directions = images.elements()
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1)
    two_theta = np.degrees(np.arccos(directions[:, 2]))
    assert two_theta.min() == pytest.approx(3.0, abs=0.01)
    # The first tube of window A: 64 elements within 1.076 m at 3 degrees to the side.
    tube = directions[np.isclose(directions[:, 0] / directions[:, 2], np.tan(np.radians(3)), atol=1e-9)]
    assert len(tube) == 64
    heights = 6 * np.sort(tube[:, 1] / np.hypot(tube[:, 0], tube[:, 2]))
    np.testing.assert_allclose(np.diff(heights), 1.076 / 64, rtol=1e-9)
    assert heights[-1] == pytest.approx(0.538 - 1.076 / 128)


def test_momenta_are_those_of_the_frame_of_the_resolution(images):
    row = images.Row(50, 200)
    directions = images.elements()[::501]
    energy = np.full(len(directions), 20.0)
    plane = images.momenta(directions, 50, energy)
    at = row.frame.at(np.column_stack([plane, 0 * energy, energy]))
    final = np.array([0, 0, row.resolution.beam.ki]) - at.q
    np.testing.assert_allclose(at.sample[:, :2], plane, atol=1e-9)
    cosines = final[:, 2] / np.linalg.norm(final, axis=1)
    np.testing.assert_allclose(cosines, directions[:, 2], atol=1e-9)


def test_pixels_hold_their_centres(images):
    centres = np.linspace(-1, 1, 40)
    h, k = np.meshgrid(centres[::-1], centres, indexing="ij")
    np.testing.assert_array_equal(images.pixels(np.column_stack([h.ravel(), k.ravel()])), np.arange(1600))
    assert images.pixels(np.array([[1.03, 0.0], [0.0, -1.03]])).tolist() == [-1, -1]


def test_a_tile_of_a_flat_mode_and_its_noise(images):
    class Flat:
        """One mode in the middle of the second slice, and one of the other twin far away."""

        def modes(self, q):
            return np.tile([0.19 * 50, 500.0], (len(q), 1)), np.full((len(q), 2), 3.0)

    row = images.Row(50, 200)
    row.resolution = Resolution(
        "MAPS-2000", 50, "S", 600, lattice=images.LATTICE, orientation=Orientation(u=(0, 0, 1), v=(1, 0, 0))
    )
    tile, noise = row.tile(Flat(), 1, images.elements(), 4, np.random.default_rng(0))
    seen = np.isfinite(tile)
    assert 800 < seen.sum() < 1600
    # At 600 Hz nearly all of it is recorded within the slice of 3 meV.
    assert np.nanmean(tile) == pytest.approx(3.0 / 3.0, rel=0.1)
    sigma = 0.1 / np.sqrt(8 * np.log(2))
    one_point = 9.0 / (2 * sigma * np.sqrt(np.pi)) / 3.0 - 1
    elements_of_pixel = np.nanmedian(one_point / noise) / 30
    assert 5 < elements_of_pixel < 60


def test_a_tile_is_that_of_its_own_image(images, model, request, excerpts):
    """Ei 70 meV, 34 meV: the image of the same model is met nearly as well as noise allows, the other worse.

    Correlations are 0.87 of at most 0.95 with these coarse nodes and one point for each element, 0.91 and 0.90 with the
    nodes of the benchmark; 0.78 and 0.79 with the other model.
    """
    name = request.node.callspec.params["model"]
    other = {"goodenough": "dimer", "dimer": "goodenough"}[name]
    with np.load(excerpts / "pcsmo-maps" / "tiles.npz") as cut:
        number = cut["tiles"].tolist().index([3, 6])
        masked = cut["masked"][number]
        theirs = {m: np.where(masked, np.nan, cut[m][number])[None, None] for m in (name, other)}
    ours, noise = images.Row(70, 250).tile(
        images.ImageSpins(model, cells=CELLS), 6, images.elements(), 1, np.random.default_rng(0)
    )
    ours = np.where(masked, np.nan, ours)[None, None]
    own, others = (float(images.correlations(ours, theirs[m])[0, 0]) for m in (name, other))
    ceiling = float(images.ceilings(ours, noise[None, None], theirs[name])[0, 0])
    assert 0.92 < ceiling < 0.96
    assert own > ceiling - 0.1 and own > others + 0.06


def test_coinciding_modes_of_a_twin_add_before_they_are_squared(images):
    sigma = 0.1 / np.sqrt(8 * np.log(2))
    energies = np.array([[10.0, 10.0, 10.0, 30.0]])
    found = images._square(energies, np.array([[1.0, 2.0, 5.0, 1.0]]))
    np.testing.assert_allclose(found, (9 + 25 + 1) / (2 * sigma * np.sqrt(np.pi)))


def symmetric(rng):
    quarter = rng.random((6, 10, 20, 20))
    half = np.concatenate([quarter, quarter[..., ::-1]], axis=-1)
    return np.concatenate([half, half[..., ::-1, :]], axis=-2)


def test_the_ceiling_is_what_noise_leaves(images):
    rng = np.random.default_rng(4)
    clean = symmetric(rng)
    theirs = clean + 0.3 * rng.standard_normal(clean.shape)
    theirs[..., 5, 7] = np.nan
    score = images.Score.of(clean, np.full(clean.shape, 0.09), theirs)
    assert score.ceiling.mean() == pytest.approx(score.raw.mean(), abs=0.01)
    assert score.folded_ceiling.mean() == pytest.approx(score.folded.mean(), abs=0.01)
    assert score.ceiling.mean() < 0.75 < 0.85 < score.folded_ceiling.mean()
    assert score.summary()[0] == 60


def test_tiles_of_noise_alone_have_no_score(images):
    rng = np.random.default_rng(5)
    clean = symmetric(rng)
    noise = np.full(clean.shape, 1e-6)
    noise[5, 9] = 5.0
    score = images.Score.of(clean, noise, clean)
    assert np.isnan(score.raw[5, 9]) and np.isnan(score.ceiling[5, 9])
    assert np.isfinite(score.raw).sum() == 59
    assert score.summary()[0] == 59 and score.summary()[1:3] == pytest.approx([1, 1], abs=5e-4)


def test_folding_leaves_masked_pixels_out(images):
    tiles = np.ones((6, 10, 40, 40))
    tiles[..., 3, 5] = np.nan
    tiles[..., 0, 0] = tiles[..., -1, 0] = tiles[..., 0, -1] = tiles[..., -1, -1] = np.nan
    found, count = images.folded(tiles)
    assert np.isnan(found[..., 0, 0]).all()
    np.testing.assert_array_equal(found[..., 3, 5], 1.0)
    np.testing.assert_array_equal(count[..., 3, 5], 3)


def test_a_mosaic_becomes_its_tiles_and_back(images):
    mosaic = np.arange(240 * 400).reshape(240, 400)
    tiles = images.tiles(mosaic)
    assert tiles.shape == (6, 10, 40, 40)
    np.testing.assert_array_equal(tiles[2, 3], mosaic[80:120, 120:160])
    np.testing.assert_array_equal(images.mosaic(tiles), mosaic)


def test_inner_pixels_touch_no_masked_one(images):
    tiles = np.ones((6, 10, 40, 40))
    tiles[2, 3, 10, 10] = np.nan
    found = np.isnan(images.inner(tiles))
    assert found.sum() == 9
    assert found[2, 3, 9:12, 9:12].all()
