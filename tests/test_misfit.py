"""Where a result, convolved again, differs from the data."""

import numpy as np
import pytest

from mantid_insgan.core.options import ApplyOptions
from mantid_insgan.core.spectrum import Axis
from mantid_insgan.demo import DATA
from mantid_insgan.io import read_spectrum
from mantid_insgan.translate.job import LOCAL_MISFIT, apply, misfit_in_words
from mantid_insgan.translate.misfit import Misfit
from mantid_insgan.translate.translator import Quality

AXES = (
    Axis("|Q|", np.linspace(0, 4, 21), "1/Angstrom"),
    Axis("DeltaE", np.linspace(-10, 30, 41), "DeltaE"),
    Axis("[0,0,L]", np.linspace(-1, 1, 4), "r.l.u.", "HKL"),
)


@pytest.fixture
def pulls():
    """Of right spectra but for a line at 20 to 24 meV."""
    found = np.random.default_rng(1).normal(size=(20, 40, 3))
    found[:, 30:34] += 10.0
    found[3, 5] = np.nan
    return found


def test_a_line_that_does_not_fit_is_found_at_its_energies(pulls):
    place = Misfit.of(AXES, (slice(None),) * 3, pulls).place()
    assert (place.low, place.high) == (20.0, 24.0)
    assert place.inside == pytest.approx(101, rel=0.1) and place.outside == pytest.approx(1, abs=0.1)
    assert str(place).startswith(f"{place.inside:.3g} at E 20 to 24 meV and")


def test_parts_of_a_spectrum_add_up_in_any_order_of_axes(pulls):
    whole = Misfit.of(AXES, (slice(None),) * 3, pulls).sums
    parts = [Misfit.of(AXES, (slice(None), slice(None), n), pulls[..., n]) for n in range(3)]
    halves = [Misfit.of(AXES, (slice(None), s, slice(None)), pulls[:, s]) for s in (slice(0, 13), slice(13, 40))]
    at_one_energy = [Misfit.of(AXES, (slice(None), n, slice(None)), pulls[:, n]) for n in range(40)]
    for some in (parts, halves, at_one_energy):
        found = sum(some, Misfit()).sums
        assert found.keys() == whole.keys()
        assert np.allclose([found[k] for k in whole], list(whole.values()))
    assert sum(n for _, n in whole.values()) == np.isfinite(pulls).sum()


def test_what_is_spread_has_no_place_and_nor_has_nothing():
    even = Misfit.of(AXES, (slice(None),) * 3, np.ones((20, 40, 3)))
    assert even.place() is None and Misfit().place() is None
    assert Misfit.of(AXES, (slice(None),) * 3, np.zeros((20, 40, 3))).place() is None
    integrated = (AXES[0], Axis("DeltaE", np.array([-10.0, 30.0]), "DeltaE"), AXES[2])
    assert Misfit.of(integrated, (slice(None), 0, slice(None)), np.ones((20, 3))).sums == {}


def test_the_words_need_more_than_what_right_spectra_have(pulls):
    def said(of):
        known = of[np.isfinite(of)]
        misfit = Misfit.of(AXES, (slice(None),) * 3, of)
        return misfit_in_words(Quality(chi_squared=float((known**2).sum()), compared=known.size, misfit=misfit))

    assert "at E 20 to 24 meV" in said(pulls) and "line of another repetition" in said(pulls)
    assert said(np.ones((20, 40, 3))) == "" == misfit_in_words(Quality())
    assert said(np.full((20, 40, 3), 2.0)) == (
        "chi-squared 4 per bin: the calculated widths (--width-factor) or the strongest peaks may be wrong"
    )
    narrow = np.zeros((20, 40, 3))
    narrow[:, 30:34] = 2.9
    assert Misfit.of(AXES, (slice(None),) * 3, narrow).place().inside < LOCAL_MISFIT and said(narrow) == ""


def test_a_line_of_another_repetition_is_told_by_its_energies():
    """A line of constant energy, narrower than the resolution there, on the demo's data."""
    measured = read_spectrum(DATA / "measured.nxs")
    options = ApplyOptions(direction="remove-resolution", device="cpu")
    (number,) = (i for i, axis in enumerate(measured.axes) if axis.is_energy)
    line = [slice(None)] * len(measured.axes)
    line[number] = slice(60, 61)
    signal, variance = measured.signal.copy(), measured.variance.copy()
    top = np.nanmax(signal)
    signal[tuple(line)] += 3 * top
    variance[tuple(line)] += 3 * top * np.nanmedian(measured.variance[measured.valid] / measured.signal[measured.valid])
    _, report = apply(measured.replace(signal=signal, variance=variance), options)
    place = report.quality.misfit.place()
    assert place.low < measured.axes[number].centers[60] < place.high
    assert any(f"{place}: something there may be no part of the sample" in note for note in report.notes)
