"""Bins that a fit leaves out: ranges, polygons, edges of what was measured, elastic and Bragg regions.

Each function returns the spectrum with fewer valid bins; the data themselves stay.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..core.run import Lattice
from ..core.spectrum import Spectrum
from ..errors import InputError


def within(spectrum: Spectrum, name: str, low: float, high: float) -> Spectrum:
    """Keep the bins whose centres lie from `low` to `high` along one axis.

    Parameters
    ----------
    spectrum : Spectrum
    name : str
        Name or id of the axis; 'energy' for the energy transfer.
    low, high : float
        In the unit of the axis.

    Raises
    ------
    InputError
        If there is no such axis.
    """
    centers = _centers(spectrum, name)
    return spectrum.replace(valid=spectrum.valid & (centers >= low) & (centers <= high))


def outside(spectrum: Spectrum, name: str, low: float, high: float) -> Spectrum:
    """Leave out the bins whose centres lie from `low` to `high` along one axis (see `within`)."""
    centers = _centers(spectrum, name)
    return spectrum.replace(valid=spectrum.valid & ~((centers >= low) & (centers <= high)))


def outside_polygon(spectrum: Spectrum, names: tuple[str, str], corners: Sequence[tuple[float, float]]) -> Spectrum:
    """Leave out the bins whose centres lie inside a polygon in two of the axes.

    Parameters
    ----------
    spectrum : Spectrum
    names : tuple of str
        The two axes, as in `within`.
    corners : sequence of (float, float)
        In the units of the axes, at least three.

    Raises
    ------
    InputError
        If there is no such axis, or fewer than three corners.
    """
    corners = np.asarray(corners, dtype=float)
    if corners.ndim != 2 or corners.shape[1] != 2 or len(corners) < 3:
        raise InputError(
            f"the polygon has corners of shape {corners.shape}, expected three or more pairs",
            "give each corner as two numbers in the units of the axes",
        )
    x, y = (np.broadcast_to(_centers(spectrum, name), spectrum.shape) for name in names)
    inside = np.zeros(spectrum.shape, bool)
    # Even-odd rule: a ray along x crosses the polygon's edges an odd number of times from inside.
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y0 != y1:
            inside ^= ((y0 > y) != (y1 > y)) & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
    return spectrum.replace(valid=spectrum.valid & ~inside)


def eroded(spectrum: Spectrum, bins: int = 1) -> Spectrum:
    """Leave out the bins within `bins` steps of one that is not valid, along the open axes.

    Bins at the edges of detectors are partly covered and weigh much in a fit. The border of the grid is no edge.
    """
    from scipy.ndimage import binary_erosion, generate_binary_structure

    if bins < 1:
        return spectrum
    squeezed = spectrum.valid.reshape([n for n in spectrum.shape if n > 1] or [1])
    structure = generate_binary_structure(squeezed.ndim, squeezed.ndim)
    kept = binary_erosion(squeezed, structure, iterations=bins, border_value=1)
    return spectrum.replace(valid=spectrum.valid & kept.reshape(spectrum.shape))


def without_elastic_line(spectrum: Spectrum, resolution, widths: float = 2.0) -> Spectrum:
    """Leave out the bins within `widths` FWHM of the elastic line, as the resolution has it at E = 0."""
    reach = widths * float(np.atleast_1d(resolution.fwhm_energy(0.0))[0])
    return outside(spectrum, "energy", -reach, reach)


def without_bragg_peaks(spectrum: Spectrum, lattice: Lattice, radius: float, energy: float = np.inf) -> Spectrum:
    """Leave out the bins near reciprocal lattice points.

    Parameters
    ----------
    spectrum : Spectrum
        With axes that are directions in (h, k, l); integrated axes count with their centres.
    lattice : Lattice
        Of the r.l.u. of the axes.
    radius : float
        1/Angstrom.
    energy : float
        Only bins of |E| up to this, meV.

    Raises
    ------
    InputError
        If a momentum axis is no direction in (h, k, l).
    """
    hkl = np.zeros((*spectrum.shape, 3))
    for i, axis in enumerate(spectrum.axes):
        if axis.is_energy:
            continue
        if axis.projection is None:
            raise InputError(
                f"axis {axis.name!r} is no direction in (h, k, l), so Bragg peaks cannot be placed",
                "use axes named like [H,0,0]",
            )
        hkl += axis.centers.reshape([-1 if j == i else 1 for j in range(spectrum.ndim)])[..., None] * axis.projection
    distance = np.linalg.norm((hkl - np.round(hkl)) @ (2 * np.pi * lattice.b_matrix().T), axis=-1)
    near = (distance < radius) & (np.abs(_centers(spectrum, "energy")) <= energy)
    return spectrum.replace(valid=spectrum.valid & ~near)


def _centers(spectrum: Spectrum, name: str) -> np.ndarray:
    """Bin centres of an axis, in a shape that broadcasts to that of the spectrum."""
    number = spectrum.energy_axis if name == "energy" else spectrum.axis_index(name)
    if number is None:
        raise InputError("the spectrum has no energy axis", "name another axis")
    return spectrum.axes[number].centers.reshape([-1 if i == number else 1 for i in range(spectrum.ndim)])
