"""The width of a measured elastic line beside the calculated one."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from .elastic_line import ElasticLine
from .instrument import Resolution


@dataclass(frozen=True)
class WidthFactor:
    """How much wider than calculated an elastic line is.

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


def fit_line(
    energy: np.ndarray, signal: np.ndarray, error: np.ndarray, bin_width: float, resolution: Resolution
) -> WidthFactor:
    """Fit the width of an elastic line: its calculated shape (`ElasticLine`), convolved with the energy bin, on a
    linear background.

    Parameters
    ----------
    energy, signal, error : ndarray, shape (n,)
        Centres of the bins in meV, their signal and its standard error.
    bin_width : float
        meV.
    resolution : Resolution
        Calculated widths; its width factor is the reference.

    Returns
    -------
    WidthFactor

    Raises
    ------
    InputError
        If the line is not significant.
    """
    from scipy.optimize import OptimizeWarning, curve_fit

    line = ElasticLine(resolution)
    calculated = float(resolution.fwhm_energy(0.0))
    steps = np.linspace(-0.5, 0.5, 7) * bin_width

    def model(e, area, centre, factor, level, slope):
        return area * line((e - centre)[:, None] + steps, factor).mean(1) + level + slope * e

    level = float(np.median(signal))
    area = float((signal - level).clip(0).sum() * bin_width)
    peak = float(energy[np.argmax(signal)])
    try:
        # An error that cannot be estimated is infinite, which is told below.
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", OptimizeWarning)
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
    except (RuntimeError, np.linalg.LinAlgError) as failed:
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
