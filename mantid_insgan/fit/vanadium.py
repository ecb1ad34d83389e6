"""The width factor of a measured elastic line, from vanadium or from the sample itself."""

from __future__ import annotations

import numpy as np

from ..core.spectrum import Spectrum
from ..errors import InputError
from ..instruments.instrument import Resolution
from ..instruments.line_fit import WidthFactor, fit_line


def fit_width_factor(spectrum: Spectrum, resolution: Resolution, *, window: float = 1.5) -> WidthFactor:
    """Fit the width of the elastic line of a measured spectrum.

    The line (`ElasticLine`, convolved with the energy bin) and a linear background are fitted to the mean of the valid
    bins over all other axes, weighted with their errors.

    Parameters
    ----------
    spectrum : Spectrum
        With an energy axis of more than one bin; preferably a vanadium run reduced with fine energy bins.
    resolution : Resolution
        Calculated widths; its width factor is the reference.
    window : float
        Half the fitted range in units of the calculated FWHM. A sample other than vanadium also scatters inelastically
        close to the line, so that a wider window gives a larger factor.

    Returns
    -------
    WidthFactor

    Raises
    ------
    InputError
        If fewer than eight points lie in the window, or the line is not significant.

    Examples
    --------
    >>> found = fit_width_factor(vanadium, Resolution("MERLIN", 62.0, "G", 600.0))
    >>> better = Resolution("MERLIN", 62.0, "G", 600.0, width_factor=found.factor)
    """
    energy, signal, error, bin_width = _elastic_points(spectrum, float(resolution.fwhm_energy(0.0)) * window)
    return fit_line(energy, signal, error, bin_width, resolution)


def _elastic_points(spectrum: Spectrum, half: float):
    """Mean signal against energy within `half` of zero: energy, signal, error, bin width."""
    if spectrum.energy_axis is None or spectrum.axes[spectrum.energy_axis].integrated:
        raise InputError("the spectrum has no open energy-transfer axis", "give one with energy bins around zero")
    axis = spectrum.axes[spectrum.energy_axis]
    move = lambda values: np.moveaxis(values, spectrum.energy_axis, -1).reshape(-1, len(axis))  # noqa: E731
    valid = move(spectrum.valid) & (move(spectrum.variance) > 0)
    rows = valid.sum(0)
    signal = np.where(valid, move(spectrum.signal), 0.0).sum(0) / np.maximum(rows, 1)
    error = np.sqrt(np.where(valid, move(spectrum.variance), 0.0).sum(0)) / np.maximum(rows, 1)
    use = (rows > 0) & (np.abs(axis.centers) <= half)
    if use.sum() < 8:
        raise InputError(
            f"{int(use.sum())} measured energy bins lie within {half:g} meV of the elastic line; eight are needed",
            "reduce the run again with finer energy bins that include the elastic line",
        )
    return axis.centers[use], signal[use], error[use], axis.width
