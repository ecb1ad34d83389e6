"""Intrinsic line shapes, drawn at random."""

from __future__ import annotations

import numpy as np

from ..core.constants import FWHM_PER_SIGMA
from ..errors import InputError

#: Line shapes of `mantid_insgan.models.spinw.bin_modes`.
SHAPES = ("dho", "gaussian", "lorentzian")


def check_line(fwhm: float | None, shape: str) -> None:
    """Refuse a line that cannot be.

    Raises
    ------
    InputError
        If the shape is not known or the width is not positive.
    """
    if shape not in SHAPES:
        raise InputError(f"unknown line shape {shape!r}", f"use one of {', '.join(map(repr, SHAPES))}")
    if fwhm is not None and not fwhm > 0:
        raise InputError(f"the intrinsic width is {fwhm:g} meV", "give fwhm above 0 meV, or None for sharp modes")


def drawn(energies: np.ndarray, fwhm: float, shape: str, rng: np.random.Generator) -> np.ndarray:
    """One random energy of each mode's line, by the inverse of its cumulative distribution.

    Parameters
    ----------
    energies : ndarray, any shape
        Mode energies, meV.
    fwhm : float
        Intrinsic FWHM, meV.
    shape : str
        One of `SHAPES`, as `mantid_insgan.models.spinw.bin_modes` defines them.
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
