"""Intrinsic line shapes of modes: binning in energy, and random draws."""

from __future__ import annotations

import numpy as np

from ..core.constants import FWHM_PER_SIGMA
from ..errors import InputError


def _gaussian(x, centre, fwhm):
    from scipy.special import ndtr

    return ndtr((x - centre) * FWHM_PER_SIGMA / fwhm)


def _lorentzian(x, centre, fwhm):
    return 0.5 + np.arctan(2 * (x - centre) / fwhm) / np.pi


def _dho(x, centre, fwhm):
    x = np.maximum(x, 0.0)
    # Normalised to the area above E = 0, so that damping moves intensity without losing any.
    area = np.maximum(2 * np.arctan(2 * centre / fwhm) / np.pi, 1e-12)
    return (_lorentzian(x, centre, fwhm) - _lorentzian(x, -centre, fwhm)) / area


_CUMULATIVE = {"dho": _dho, "gaussian": _gaussian, "lorentzian": _lorentzian}
#: The available line shapes.
SHAPES = tuple(_CUMULATIVE)


def check_line(fwhm: float | np.ndarray | None, shape: str) -> None:
    """Raise an error for an unknown line shape or a width that is not positive.

    Raises
    ------
    InputError
    """
    if shape not in SHAPES:
        raise InputError(f"unknown line shape {shape!r}", f"use one of {', '.join(map(repr, SHAPES))}")
    if fwhm is not None and not (np.asarray(fwhm) > 0).all():
        raise InputError(
            f"the intrinsic width is {np.min(fwhm):g} meV, expected a positive one",
            "give fwhm above 0 meV, or None for sharp modes",
        )


def bin_modes(
    energies: np.ndarray,
    intensities: np.ndarray,
    energy_edges: np.ndarray,
    *,
    fwhm: float | np.ndarray | None = None,
    shape: str = "dho",
) -> np.ndarray:
    """Modes in energy bins, averaged over each bin.

    Parameters
    ----------
    energies, intensities : array_like, shape (N, M)
        As returned by `ModeModel.modes`, meV and mbarn/sr.
    energy_edges : array_like, shape (K + 1,)
        Ascending bin edges, meV.
    fwhm : float or array_like broadcasting to (N, M), optional
        Intrinsic full width at half maximum, meV; infinitely sharp modes if not given.
    shape : {'dho', 'gaussian', 'lorentzian'}
        Line shape. 'dho' is the damped harmonic oscillator as the difference of two Lorentzians at +E and -E
        (equivalent to the usual form, Faak and Dorner, Physica B 234, 1107 (1997)), for energy loss: bins below
        E = 0 are empty.

    Returns
    -------
    np.ndarray, shape (N, K)
        Mean over the bin, mbarn/sr/meV.

    Raises
    ------
    InputError
        If the edges do not ascend, a width is not positive or the line shape is unknown.
    """
    energies, intensities = np.asarray(energies, dtype=float), np.asarray(intensities, dtype=float)
    edges = np.asarray(energy_edges, dtype=float)
    widths = np.diff(edges)
    if edges.ndim != 1 or not widths.size or not (widths > 0).all():
        raise InputError("the energy bin edges do not ascend", "give at least two ascending edges in meV")
    if fwhm is None:
        return _histogram(energies, intensities, edges) / widths
    check_line(fwhm, shape)
    cumulative, fwhm = _CUMULATIVE[shape], np.broadcast_to(fwhm, energies.shape)
    binned = np.empty((len(energies), widths.size))
    block = max(1, 2_000_000 // max(1, energies.shape[1] * edges.size))
    for start in range(0, len(energies), block):
        rows = slice(start, start + block)
        fractions = np.diff(cumulative(edges, energies[rows, :, None], fwhm[rows, :, None]), axis=-1)
        binned[rows] = np.einsum("nm,nmk->nk", intensities[rows], fractions)
    return binned / widths


def _histogram(energies: np.ndarray, intensities: np.ndarray, edges: np.ndarray) -> np.ndarray:
    bins = np.searchsorted(edges, energies, side="right") - 1
    inside = (bins >= 0) & (bins < edges.size - 1)
    rows = np.broadcast_to(np.arange(len(energies))[:, None], energies.shape)
    flat = rows[inside] * (edges.size - 1) + bins[inside]
    return np.bincount(flat, intensities[inside], len(energies) * (edges.size - 1)).reshape(len(energies), -1)


def drawn(energies: np.ndarray, fwhm: float, shape: str, rng: np.random.Generator) -> np.ndarray:
    """One random energy from the line shape of each mode, by inversion of its cumulative distribution.

    Parameters
    ----------
    energies : ndarray, any shape
        Mode energies, meV.
    fwhm : float
        Intrinsic FWHM, meV.
    shape : str
        One of `SHAPES`, as `bin_modes` defines them.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray, shape of `energies`
    """
    if shape == "gaussian":
        return energies + fwhm / FWHM_PER_SIGMA * rng.standard_normal(energies.shape)
    half = fwhm / 2
    uniform = rng.random(energies.shape)
    if shape == "lorentzian":
        return energies + half * np.tan(np.pi * (uniform - 0.5))
    # Of Lor(x - c) - Lor(x + c) above 0: atan((x + c)/g) - atan((x - c)/g) = (1 - u) 2 atan(c/g), solved for x.
    centre = np.maximum(energies, 1e-6 * half)
    angle = np.maximum(1 - uniform, 1e-12) * 2 * np.arctan(centre / half)
    return np.sqrt(np.maximum(centre**2 - half**2 + 2 * centre * half / np.tan(angle), 0.0))
