"""Smooth spectra stay: where the resolution blurs nothing, removing it must not invent structure.

The norm is the root mean square over bins of the difference between the mean of several results (draws of the counts)
and the truth, divided by that of the truth: what a model does to a spectrum, without the noise of one measurement. The
truth is what a spectrometer with the resolution of the target would measure.
"""

import numpy as np
import pytest
import smooth_spectra as smooth

#: Structure is at least so many FWHM of the resolution wide.
WIDTHS = 3.0
BOUND = 0.03


@pytest.mark.parametrize("spectrum", smooth.SPECTRA)
def test_the_spectra_are_smooth(spectrum):
    """Levels are wide where they are; of the cosines along h, which have a period of 1, half a period is."""
    measured, _ = smooth.sides(spectrum, "slice")
    model, fwhm = smooth.SPECTRA[spectrum]
    open_axes = [axis for axis in measured.axes if len(axis) > 1]
    widths = smooth.RESOLUTION.on_grid(measured).width
    along_h, along_energy = (
        w.reshape(64, 64) * np.diff(axis.edges)[0] for w, axis in zip(widths, open_axes, strict=True)
    )
    at = [np.searchsorted(smooth.ENERGY, energy) - 1 for energy in model.energies]
    assert fwhm >= WIDTHS * np.nanmax(along_energy[:, at])
    assert 0.5 >= WIDTHS * np.nanmax(along_h)


#: Grid, counts and draws; of volumes with many counts a few will do, and with few it takes half a minute.
CASES = [(grid, counts, smooth.DRAWS[grid]) for grid in smooth.GRIDS if grid != "volume" for counts in smooth.COUNTS]
CASES += [("volume", 3000.0, 4), pytest.param("volume", 300.0, smooth.DRAWS["volume"], marks=pytest.mark.slow)]


@pytest.mark.parametrize("grid, peak_counts, draws", CASES)
@pytest.mark.parametrize("spectrum", smooth.SPECTRA)
def test_a_smooth_spectrum_stays(spectrum, grid, peak_counts, draws):
    assert smooth.translator(grid).takes_target
    mean = np.mean(smooth.results_of(spectrum, grid, peak_counts, draws), axis=0)
    assert smooth.away(mean, spectrum, grid) < BOUND
