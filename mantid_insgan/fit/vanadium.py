"""The width factor of a measured elastic line, from vanadium or from the sample itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.spectrum import Spectrum
from ..errors import InputError
from ..instruments.elastic_line import ElasticLine
from ..instruments.instrument import Resolution


@dataclass(frozen=True)
class WidthFactor:
    """Result of `fit_width_factor`.

    Parameters
    ----------
    factor, sigma : float
        The width factor of `Resolution` that fits the line, and its standard error.
    fwhm_calculated, fwhm_fitted : float
        FWHM of the elastic line for the resolution as it was given and with `factor`, meV.
    centre : float
        Position of the line, meV.
    reduced_chi_squared : float
        Of the fit; the standard error is scaled by its square root where it is above one.
    energy, signal, error, model : ndarray, shape (n,)
        The fitted points, meV and mean signal.
    """

    factor: float
    sigma: float
    fwhm_calculated: float
    fwhm_fitted: float
    centre: float
    reduced_chi_squared: float
    energy: np.ndarray
    signal: np.ndarray
    error: np.ndarray
    model: np.ndarray


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
    from scipy.optimize import curve_fit

    line = ElasticLine(resolution)
    calculated = float(resolution.fwhm_energy(0.0))
    energy, signal, error, bin_width = _elastic_points(spectrum, calculated * window)
    steps = np.linspace(-0.5, 0.5, 7) * bin_width

    def model(e, area, centre, factor, level, slope):
        return area * line((e - centre)[:, None] + steps, factor).mean(1) + level + slope * e

    level = float(np.median(signal))
    area = float((signal - level).clip(0).sum() * bin_width)
    peak = float(energy[np.argmax(signal)])
    try:
        found, matrix = curve_fit(
            model,
            energy,
            signal,
            p0=[area, peak, 1.0, level, 0.0],
            sigma=error,
            absolute_sigma=True,
            bounds=([0, -np.inf, 0.1, -np.inf, -np.inf], [np.inf, np.inf, 10.0, np.inf, np.inf]),
            x_scale=[
                max(area, 1e-300),
                calculated,
                1.0,
                max(signal.max(), 1e-300),
                max(signal.max(), 1e-300) / calculated,
            ],
        )
    except RuntimeError as failed:
        raise InputError(
            f"the elastic line could not be fitted ({failed})", "use a run with a clear elastic line"
        ) from None
    fitted = model(energy, *found)
    chi = float((((signal - fitted) / error) ** 2).sum() / (len(energy) - len(found)))
    sigma = float(np.sqrt(matrix[2, 2] * max(chi, 1.0)))
    if not sigma < found[2]:
        raise InputError(
            f"the elastic line is not significant: its width factor would be {found[2]:.2g} +- {sigma:.2g}",
            "use a run with a clear elastic line",
        )
    factor = float(found[2]) * resolution.width_factor
    return WidthFactor(
        factor=factor,
        sigma=sigma * resolution.width_factor,
        fwhm_calculated=line.fwhm(),
        fwhm_fitted=line.fwhm(float(found[2])),
        centre=float(found[1]),
        reduced_chi_squared=chi,
        energy=energy,
        signal=signal,
        error=error,
        model=fitted,
    )


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
