"""Data in bins much narrower than the resolution: what a model is given, and what becomes of its result."""

import numpy as np
import pytest
from test_cases import CPU, powder

from mantid_insgan import apply
from mantid_insgan.core.merging import binned
from mantid_insgan.core.spectrum import NUM_EVENTS_NORMALIZATION, Axis, Spectrum
from mantid_insgan.io import read_spectrum, write_spectrum
from mantid_insgan.translate import job
from mantid_insgan.translate.coarse import Coarsening
from mantid_insgan.translate.job import apply_to_file


def narrow(bins=480, **fields) -> Spectrum:
    """A powder map of MAPS with gaps, whose energy bins are a fraction of the resolution."""
    spectrum = powder(q=(0.5, 4.5, 24), e=(-5.0, 45.0, bins), **fields)
    valid = spectrum.valid.copy()
    valid[3:5, 100:151] = valid[:, 7] = valid[10, 201:] = False
    return spectrum.replace(valid=valid)


def noted(report) -> list[str]:
    return [note for note in report.notes if "neighbouring bins were merged for it" in note]


@pytest.mark.parametrize("direction", ["remove-resolution", "add-resolution"])
def test_the_result_is_that_of_wider_bins(direction):
    """Merged again, the result is what the model gives for merged data."""
    spectrum, options = narrow(), CPU.updated(direction=direction)
    result, report = apply(spectrum, options)
    (note,) = noted(report)
    assert "along 'DeltaE' 16.3 bins wide" in note and "2 neighbouring bins were merged for it" in note
    expected, other = apply(spectrum, options, energy_bins=240)
    assert not noted(other)
    np.testing.assert_array_equal(result.valid, spectrum.valid)
    again = binned(result, energy_bins=240)
    scale = np.nanmax(expected.signal)
    np.testing.assert_allclose(again.signal, expected.signal, atol=1e-5 * scale)
    assert result.axes == spectrum.axes
    # errors are those of the mean of two
    wide = np.repeat(expected.variance, 2, axis=1)
    np.testing.assert_allclose(result.variance[result.valid], wide[result.valid], rtol=1e-4)
    assert report.quality.flux_ratio == pytest.approx(other.quality.flux_ratio, abs=0.01)


def test_a_file_is_worked_as_in_memory(tmp_path, monkeypatch):
    """Also part by part, with a third axis and sums over events."""
    flat = narrow()
    events = np.random.default_rng(0).integers(1, 9, size=flat.shape).astype(float)
    along, across = Axis("[H,0,0]", flat.axes[0].edges / 2, "r.l.u."), Axis("[0,0,L]", [0, 1, 2], "r.l.u.")
    axes = (along, across, flat.axes[1])
    stack = lambda x: np.stack([x, x], axis=1)  # noqa: E731
    spectrum = Spectrum(
        stack(flat.signal * events),
        stack(flat.variance * events**2),
        axes,
        valid=stack(flat.valid),
        num_events=stack(events),
        run=flat.run,
        visual_normalization=NUM_EVENTS_NORMALIZATION,
    )
    options = CPU.updated(model="remove-resolution-2d", lattice="4,4,6")
    write_spectrum(spectrum, tmp_path / "in.nxs")
    whole, report = apply(read_spectrum(tmp_path / "in.nxs"), options)
    monkeypatch.setattr(job, "SLAB_BINS", 24 * 480)
    of_file = apply_to_file(tmp_path / "in.nxs", tmp_path / "out.nxs", options)
    found = read_spectrum(tmp_path / "out.nxs")
    assert noted(of_file) == noted(report) and len(noted(report)) == 1
    np.testing.assert_array_equal(found.valid, spectrum.valid)
    np.testing.assert_allclose(found.signal, whole.signal, rtol=1e-5, atol=1e-4 * np.nanmax(whole.signal))


def coarsening(bins: int, factor: int) -> tuple[Coarsening, Axis]:
    axis = Axis("DeltaE", np.linspace(0.0, 30.0, bins + 1), "meV")
    return Coarsening((axis,), {0: factor}, {0: 20.0}, 12.0, "a model", 100.0), axis


def means(axis: Axis, fwhm: float) -> np.ndarray:
    """Means over the bins of a line on a slope."""
    fine = np.linspace(axis.edges[0], axis.edges[-1], 100 * len(axis) + 1)
    at = (fine[1:] + fine[:-1]) / 2
    values = np.exp(-4 * np.log(2) * ((at - 12.3) / fwhm) ** 2) + 0.02 * at
    return values.reshape(len(axis), 100).mean(axis=1)


@pytest.mark.parametrize(("bins", "factor"), [(120, 4), (121, 4), (119, 3)])
def test_a_result_is_brought_back_as_a_smooth_function(bins, factor):
    """A line of six wide bins comes back within 0.6 % of its height, one of three within 4 %."""
    coarse, axis = coarsening(bins, factor)
    for wide, off in ((6, 0.006), (3, 0.04)):
        exact = means(axis, wide * factor * axis.width)
        given = Spectrum(exact, np.ones(bins), (axis,))
        found = coarse.brought_back(coarse.merged(given), given)
        assert np.abs(found.signal - exact).max() < off
        assert np.abs(found.signal - exact).max() < 0.25 * np.abs(steps(coarse, given) - exact).max()
        assert found.signal.sum() == pytest.approx(exact.sum(), rel=1e-12)
        assert coarse.outline.axes[0].edges[-1] == axis.edges[-1]


def steps(coarse: Coarsening, given: Spectrum) -> np.ndarray:
    """The means of wide bins in each narrow one."""
    return np.repeat(coarse.merged(given).signal, coarse.factors[0])[-given.signal.size :]


def test_gaps_stay_gaps_and_the_means_beside_them_are_kept():
    coarse, axis = coarsening(120, 4)
    valid = np.ones(120, bool)
    valid[[0, 9, 10, 40, 41, 42, 43, 50, 51, 52]] = False
    given = Spectrum(means(axis, 24 * axis.width), np.full(120, 4.0), (axis,), valid=valid)
    wide = coarse.merged(given)
    found = coarse.brought_back(wide, given)
    np.testing.assert_array_equal(found.valid, valid)
    np.testing.assert_allclose(coarse.merged(found).signal[wide.valid], wide.signal[wide.valid], rtol=1e-12)
    assert np.isnan(found.signal[~valid]).all()
    np.testing.assert_allclose(found.variance[valid], np.repeat(wide.variance, 4)[valid])


def test_two_axes_are_merged_together():
    rng = np.random.default_rng(1)
    axes = (Axis("|Q|", np.linspace(1, 3, 41), "Angstrom^-1"), Axis("DeltaE", np.linspace(0, 30, 61), "meV"))
    given = Spectrum(rng.random((40, 60)), np.ones((40, 60)), axes, valid=rng.random((40, 60)) > 0.1)
    coarse = Coarsening(axes, {0: 2, 1: 3}, {0: 20.0, 1: 30.0}, 12.0, "a model", 100.0)
    wide = coarse.merged(given)
    found = coarse.brought_back(wide, given)
    assert wide.shape == (20, 20)
    np.testing.assert_allclose(coarse.merged(found).signal, wide.signal, rtol=1e-9)


def test_wide_bins_above_ei_are_left_out():
    coarse, axis = coarsening(120, 4)
    coarse = Coarsening(coarse.axes, coarse.factors, coarse.widths, 12.0, "a model", 20.0)
    given = Spectrum(np.ones(120), np.ones(120), (axis,), valid=axis.centers < 20.3)
    wide = coarse.merged(given)
    assert not wide.valid[wide.axes[0].centers > 20.0].any() and wide.valid[wide.axes[0].centers < 20.0].all()


def test_a_signal_shown_by_volume_is_not_scaled():
    coarse, axis = coarsening(120, 4)
    given = Spectrum(np.ones(120), np.ones(120), (axis,), visual_normalization=1)
    found = coarse.brought_back(coarse.merged(given), given)
    np.testing.assert_allclose(found.signal, 1.0)
