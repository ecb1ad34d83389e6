"""Parts of the pairs, and Hamiltonians that differ only outside a cut."""

from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the networks need the extra 'train'")

import learning_curve as curve  # noqa: E402

from mantid_insgan.learn.libraries import PairLibrary  # noqa: E402
from mantid_insgan.learn.pairs import make_pairs  # noqa: E402


class Few:
    """A library of some sources, each with several members."""

    dimensions = 1

    def __init__(self, sources, of_cuts: bool):
        self.sources, self.of_cuts = np.arange(len(sources)) if of_cuts else np.array(sources), of_cuts
        self.cut_of = list(sources)

    def __len__(self):
        return len(self.sources)

    def pair(self, i):
        return SimpleNamespace(facts={"cut_of": self.cut_of[i]} if self.of_cuts else {})

    def facts(self, name):
        assert name == "cut_of"
        return self.cut_of


def test_each_part_holds_the_smaller_ones_and_whole_slices():
    pairs, cuts = Few(range(32), False), Few(np.repeat(np.arange(40, 72), 3), True)
    parts = {share: curve.part_of([pairs, cuts], share) for share in curve.PARTS}
    before = set()
    for share, (part, counts) in sorted(parts.items()):
        members = set(part.index.tolist())
        assert before < members
        assert counts == [round(32 * share), 3 * round(32 * share)] and len(members) == sum(counts)
        slices = np.bincount([cuts.cut_of[i - 32] for i in members if i >= 32])
        assert set(slices) <= {0, 3}, "all cuts of a slice, or none"
        before = members
    assert len(before) == 128


def test_bins_away_from_the_edges():
    width = torch.full((1, 2, 12, 10), 2.0)
    width[:, 1] = 3.0
    found = curve.away_from_edges(width)[0, 0].numpy().astype(bool)
    rows, columns = found.any(1), found.any(0)
    assert np.flatnonzero(rows).tolist() == list(range(2, 10))
    assert np.flatnonzero(columns).tolist() == list(range(3, 7))
    assert (found == np.outer(rows, columns)).all()


def test_two_hamiltonians_that_differ_only_outside_the_cut():
    """The same cut without resolution, and different ones with it."""
    outside, without, with_resolution, half, kernel = curve.two_hamiltonians(
        ("SEQUOIA", "SEQ-700-3.5-AST", 420, 100, 700)
    )
    assert outside > 1.0
    assert without < 0.01 < 0.1 < with_resolution
    assert half == 0.5 * with_resolution
    assert kernel < 0.05, "exact for the magnet that does not change across the cut"


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """A few slices of ferromagnets, whose resolution reaches outside them."""
    folder = tmp_path_factory.mktemp("pairs") / "slices"
    make_pairs(2, 4, 3, 1, folder, bins=32, method="covariance", families=("cubic_fm",))
    return folder


def test_within_the_cut_nothing_comes_from_outside(pairs):
    """Of these pairs the kernel on the cut knows all but what is behind gaps; of those as they are it does not."""
    found = {}
    for kind in (PairLibrary, curve.WithinTheCut):
        inside = curve.Inside(kind(pairs), "add-resolution", None)
        found[kind] = inside.scores(curve.covariance_kernel)
    assert len(found[PairLibrary]) > 1
    assert (found[curve.WithinTheCut] < 0.005).all() and (found[PairLibrary] > 0.01).all()


def test_within_the_cut_the_finer_sides_are_those_of_the_pair(pairs):
    """No resolution where the pair has none, a finer one between it and the whole."""
    as_is, within = PairLibrary(pairs).pair(0), curve.WithinTheCut(pairs).pair(0)
    np.testing.assert_array_equal(as_is.ideal, within.ideal)
    np.testing.assert_array_equal(as_is.known, within.known)
    known = as_is.known
    away = [np.linalg.norm((side - within.ideal)[known]) for side in within.all_sides]
    assert 0 == away[0] < away[1] < away[-1]


def test_only_spectra_with_bins_away_from_the_edges_are_scored(pairs):
    inside = curve.Inside(PairLibrary(pairs), "remove-resolution", 300.0)
    assert len(inside.outside) == len(inside.scores(curve.covariance_kernel)) == len(inside.best_lucy())
    assert (inside.outside > 0).all()
