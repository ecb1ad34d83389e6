"""The modes that a convolution needs: over which momenta a grid or a powder's table of them reaches, and how fine."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..core.run import Run
from ..core.spectrum import Spectrum
from ..instruments import Resolution
from .bins import Bins, completed
from .modes import ModeGrid, PowderTable

#: Error allowed between the nodes of a grid of modes: 'covariance' is to be quick, 'shapes' exact.
TOLERANCE = {"interpolated": 0.02, "covariance": 0.05, "shapes": 0.02, "outside": 0.05}
#: Momenta at which a grid of modes may ask the model.
GRID_LIMIT = {"interpolated": 200_000, "covariance": 60_000, "shapes": 60_000, "outside": 60_000}
#: How far a grid of modes reaches beyond the bins, in standard deviations of the resolution.
_REACH = {"interpolated": 5.0, "covariance": 4.0, "shapes": 5.0, "outside": 4.0}
#: Nodes that a grid begins with, see `ModeGrid`: a Gaussian forgives more than points that fall between two nodes.
_FIRST = {"interpolated": (5, 2.0), "covariance": (4, 4.0), "shapes": (4, 4.0), "outside": (4, 4.0)}
#: Columns at which widths are looked at.
_COLUMNS = 256
#: Rows of |Q| in each bin of a powder whose modes are shared by `ideal` and `convolve`, and fewest directions in each.
_ROWS, _FEWEST_DIRECTIONS = 4, 64


class GridAccuracyWarning(UserWarning):
    """A grid of modes that was not made as fine as its tolerance asks."""


def as_spectrum(model, grid, resolution: Resolution) -> Spectrum:
    """The grid as a spectrum with the facts of the run; a spectrum stays as it is."""
    if isinstance(grid, Spectrum):
        return grid
    axes = tuple(grid)
    empty = np.zeros(tuple(len(a) for a in axes))
    run = Run().updated(
        "resolution",
        instrument=resolution.instrument,
        ei=resolution.ei,
        chopper=resolution.chopper,
        frequency=resolution.frequency,
        lattice=resolution.lattice,
    )
    return Spectrum(empty, empty, axes, run=run.updated("model", temperature=getattr(model, "temperature", None)))


@dataclass(frozen=True)
class Extent:
    """What the bins of a spectrum and their resolution reach, along the axes of a grid of modes.

    Parameters
    ----------
    narrow, wide : ndarray, shape (A + 1,)
        Smallest and largest standard deviations of the resolution along each axis and energy.
    low, high : ndarray, shape (A,)
        Limits of the places.
    """

    narrow: np.ndarray
    wide: np.ndarray
    low: np.ndarray
    high: np.ndarray


def extent_of(bins: Bins, energies: np.ndarray) -> Extent:
    """Limits of widths and places at some energies."""
    inverse = np.eye(1) if bins.powder else np.linalg.inv(completed(bins.directions))
    corners = np.array(np.meshgrid(*[[-0.5, 0.5]] * len(bins.widths))).reshape(len(bins.widths), -1).T
    coordinates = bins.coordinates(bins.columns)
    # Widths change slowly from column to column.
    some = coordinates[np.unique(np.linspace(0, len(coordinates) - 1, _COLUMNS).astype(int))]
    variances, places = [], []
    for number, energy in enumerate(energies):
        covariance = bins.covariance(bins.points(some, np.full(len(some), energy)))
        block = np.einsum("ai,nij,ja->na", inverse.T, covariance[:, :-1, :-1], inverse)
        variances.append(np.column_stack([block, covariance[:, -1, -1]]))
        # Only at one crystal angle does the energy decide the place.
        for corner in corners if bins.scattered or number == 0 else ():
            moved = coordinates + corner * bins.widths
            seen = bins.points(moved, np.full(len(moved), energy)) if bins.scattered else None
            place = bins.place(moved, seen) @ inverse
            places.append([place.min(axis=0), place.max(axis=0)])
    variances, places = np.vstack(variances), np.array(places)
    return Extent(
        np.sqrt(variances.min(axis=0)),
        np.sqrt(variances.max(axis=0)),
        places[:, 0].min(axis=0),
        places[:, 1].max(axis=0),
    )


def modes_seen(
    method: str,
    model,
    bins: Bins,
    extent: Extent,
    *,
    seed: int = 0,
    tolerance: float | None = None,
    orientations: int | None = None,
    momenta: int | None = None,
    reach: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ModeGrid | PowderTable:
    """Modes over all that the bins and their resolution see.

    Parameters
    ----------
    method : str
        Whose tolerance, limit and reach are taken where they are not given: a key of `GRID_LIMIT`.
    model, bins
    extent : Extent
        Of the bins.
    seed, tolerance, orientations, progress
        As in `convolve`; `orientations` of None shares `momenta` between the rows and directions of a powder.
    momenta : int, optional
        At how many the model may be asked.
    reach : float, optional
        How far beyond the bins, in standard deviations of the resolution.

    Warns
    -----
    GridAccuracyWarning
        If the tolerance would need more momenta.
    """
    rng = np.random.default_rng([seed, 0x6D6F6465])  # beside the streams of the tasks
    reach = _REACH[method] if reach is None else reach
    narrow, low, high = extent.narrow, extent.low - reach * extent.wide[:-1], extent.high + reach * extent.wide[:-1]
    if bins.powder:
        step = max(narrow[0], bins.widths[0] / 2) / 1.5
        if orientations is None:
            step = min(step, bins.widths[0] / _ROWS)
            orientations = max(int(momenta / max((high[0] - low[0]) / step, 1)), _FEWEST_DIRECTIONS)
        return PowderTable(model, max(low[0], 0.0), high[0], step, orientations, rng, progress)
    directions = completed(bins.directions)
    tolerance = TOLERANCE[method] if tolerance is None else tolerance
    most = momenta or GRID_LIMIT[method]
    grid = ModeGrid(
        model,
        (low, high),
        directions,
        narrow[:-1],
        sigma=narrow[-1],
        tolerance=tolerance,
        most=most,
        rng=rng,
        window=tuple(bins.energy.edges[[0, -1]]),
        first=_FIRST[method],
        progress=progress,
    )
    if grid.error > tolerance:
        warnings.warn(
            f"spectra between the {grid.size} momenta at which the model was asked are off by {grid.error:.1%} (root "
            f"mean square), tolerance {tolerance:.1%}; a finer grid would need more than {most} momenta. Fix: take a "
            "smaller range, or the method montecarlo, which asks the model itself (--resolution montecarlo); or accept "
            f"this error with a tolerance above {grid.error:.2g}",
            GridAccuracyWarning,
            stacklevel=4,
        )
    return grid
