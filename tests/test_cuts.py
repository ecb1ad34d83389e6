"""One-dimensional pairs cut out of slices: the means over a range, with the resolution of the cut."""

import numpy as np
import pytest

from mantid_insgan.errors import InputError, OutputError
from mantid_insgan.learn.pairs import make_pairs, read_pairs
from mantid_insgan.learn.pairs.cuts import along, cuts_of, cuts_of_slices

FAMILIES = ("fm_chain", "square_afm", "rutile_afm")


@pytest.fixture(scope="module")
def slices(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slices") / "2d"
    make_pairs(2, 6, 3, 1, folder, bins=16, families=FAMILIES)
    return folder


@pytest.fixture(scope="module")
def pair(slices):
    return next(p for p in read_pairs(slices) if p.facts["kind"] == "path")


@pytest.mark.parametrize("closed", [0, 1])
def test_a_cut_is_the_mean_over_a_range(pair, closed):
    cut = along(pair, closed, 3, 4)
    part = np.take(pair.ideal, range(3, 7), closed)
    np.testing.assert_allclose(cut.ideal, part.mean(closed), rtol=1e-6)
    np.testing.assert_array_equal(cut.valid, np.take(pair.valid, range(3, 7), closed).any(closed))
    whole, range_ = (p.spectrum("ideal") for p in (pair, cut))
    opened = [i for i, axis in enumerate(whole.axes) if len(axis) > 1][closed]
    edges = whole.axes[opened].edges
    np.testing.assert_allclose(range_.axes[opened].edges, edges[[3, 7]], rtol=1e-12, atol=1e-12)
    assert len(range_.squeeze().axes) == 1


@pytest.mark.parametrize("closed", [0, 1])
def test_widths_are_those_of_the_resolution(pair, closed):
    resolution = pair.resolution
    one = along(pair, closed, 5, 1).spectrum("ideal")  # of a single bin's range, the slice's own
    np.testing.assert_allclose(
        resolution.fwhm_in_bins(one).ravel(), np.take(pair.width[1 - closed], 5, closed), rtol=1e-5
    )
    for cut in cuts_of(pair, 6, np.random.default_rng(0)):
        grid = cut.spectrum("ideal")
        np.testing.assert_allclose(cut.width, resolution.fwhm_in_bins(grid).reshape(1, -1))
        assert cut.position.shape == (3, 16) and cut.correlation.shape == (0, 16)
        assert (grid.squeeze().axes[0].is_energy) == (cut.facts["kind"] in ("energy-cut", "powder-cut"))


def test_a_folder_of_cuts_is_a_folder_of_pairs(slices, tmp_path):
    seen = []
    number = cuts_of_slices(slices, tmp_path / "one", 5, 1, progress=lambda *of: seen.append(of))
    cuts = list(read_pairs(tmp_path / "one"))
    training = sum(1 for _ in read_pairs(slices, "train"))
    assert 0 < len(cuts) == number <= 5 * training and seen[-1] == (training, training)
    assert {c.facts["split"] for c in cuts} == {"train"} and all(c.ideal.shape == (16,) for c in cuts)
    before = {p.name: p.read_bytes() for p in (tmp_path / "one").iterdir()}
    assert cuts_of_slices(slices, tmp_path / "one", 5, 1) == number  # kept
    cuts_of_slices(slices, tmp_path / "two", 5, 1)
    assert before == {p.name: p.read_bytes() for p in (tmp_path / "two").iterdir()}


def test_what_is_in_the_way_is_told(slices, tmp_path):
    cuts_of_slices(slices, tmp_path / "cuts", 2, 1)
    with pytest.raises(OutputError, match="holds other pairs"):
        cuts_of_slices(slices, tmp_path / "cuts", 3, 1)
    with pytest.raises(InputError, match="holds no slices"):
        cuts_of_slices(tmp_path / "cuts", tmp_path / "more", 2, 1)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file cannot be made"):
        cuts_of_slices(slices, tmp_path / "file", 2, 1)
    with pytest.raises(InputError, match="none of the 6 slices in .* is of the split validation"):
        cuts_of_slices(slices, tmp_path / "none", 2, 1, split="validation")
    assert not (tmp_path / "none").exists()
    next((tmp_path / "cuts").glob("*.h5")).write_bytes(b"")
    with pytest.raises(OutputError, match="missing or damaged"):
        cuts_of_slices(slices, tmp_path / "cuts", 2, 1)
