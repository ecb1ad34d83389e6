"""Divides a spectrum into the slices that a network takes, and puts the results together again.

A network takes D axes (momenta, then energy transfer); data with more axes are processed slice by slice. The axis order
and the other inputs are defined in the contract of models (docs/design.md).
"""

from __future__ import annotations

import math
from itertools import combinations, product

import numpy as np

from ..errors import InputError
from .spectrum import Axis, Spectrum, energy_axis, open_axes


def intensity_scale(signal: np.ndarray, valid: np.ndarray) -> float:
    """Root mean square of the valid signal, by which a slice is divided before the network, so that doubling the input
    doubles the output. 1 if there is no signal."""
    values = signal[valid]
    scale = float(np.sqrt(np.mean(np.square(values)))) if values.size else 0.0
    return scale if scale > 0 else 1.0


def conditions_of(grid, axes) -> dict[str, np.ndarray]:
    """What a model is told beside the data: width, correlation and position, see the contract of models.

    Parameters
    ----------
    grid : ResolutionOnGrid
    axes : tuple of int
        Those that the network sees, in its order.

    Returns
    -------
    dict of ndarray, float32, each of shape (C, *grid.shape)
        C is D, D (D - 1) / 2 and 3, for the axes and pairs of axes in the network's order.
    """
    width, correlation = _widths(grid, axes)
    found = {"width": width, "correlation": correlation, "position": grid.position(tuple(axes))}
    return {name: np.asarray(x, np.float32).reshape(len(x), *grid.shape) for name, x in found.items()}


def finer_of(finer, shape: tuple[int, ...], axes) -> np.ndarray:
    """The finer of the two resolutions that a model is told, float32, shape (D + D (D - 1) / 2, *shape): widths in
    bins, then correlations, for the axes and pairs of axes in the network's order.

    Parameters
    ----------
    finer : ResolutionOnGrid or None
        None for no resolution.
    shape : tuple of int
        Bins along each axis of the spectrum.
    axes : tuple of int
        Those that the network sees, in its order.
    """
    if finer is None:
        return np.zeros((len(axes) * (len(axes) + 1) // 2, *shape), np.float32)
    width, correlation = _widths(finer, axes)
    return np.asarray([*width, *correlation], np.float32).reshape(-1, *shape)


def _widths(grid, axes) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Widths along the axes, and correlations of the pairs of axes, in the order of `axes`."""
    width = dict(zip(grid.open_axes, grid.width, strict=True))
    correlation = dict(zip(combinations(grid.open_axes, 2), grid.correlation, strict=True))
    pairs = combinations(axes, 2)
    return [width[a] for a in axes], [correlation[tuple(sorted(pair))] for pair in pairs]


def network_slices(spectrum: Spectrum, grid, axes, finer=None):
    """The slices of a spectrum that a network sees, one after the other.

    Parameters
    ----------
    spectrum : Spectrum
    grid : ResolutionOnGrid
        The resolution at its bins.
    axes : tuple of int
        Those that the network sees, in its order.
    finer : ResolutionOnGrid, optional
        A finer resolution at the same bins.

    Yields
    ------
    place : tuple
        Index of the slice in the spectrum.
    data : tuple of ndarray, each (*grid) in the network's axis order
        Signal, valid, error; signal and error are 0 in invalid bins.
    conditions : dict of ndarray, each (C, *grid)
        The arrays of `conditions_of` that have channels, and `finer_of` as ``finer``.
    """
    walked = [range(1) if i in axes else range(n) for i, n in enumerate(spectrum.shape)]
    for place in product(*walked):
        region = tuple(slice(None) if i in axes else slice(p, p + 1) for i, p in enumerate(place))
        place = tuple(slice(None) if i in axes else p for i, p in enumerate(place))
        valid = spectrum.valid[place]
        signal = np.where(valid, spectrum.signal[place], 0.0)
        error = np.sqrt(np.where(valid, spectrum.variance[place], 0.0))
        data = tuple(to_network(x, axes) for x in (signal, valid, error))
        part = grid.region(region)
        conditions = conditions_of(part, axes)
        conditions["finer"] = finer_of(finer and finer.region(region), part.shape, axes)
        yield place, data, {k: _channels(x, axes) for k, x in conditions.items() if len(x)}


def _channels(values: np.ndarray, axes) -> np.ndarray:
    """Channels of one slice, shape (C, *region), in the network's axis order."""
    seen = values.reshape(len(values), *(values.shape[1 + a] for a in sorted(axes)))
    return np.stack([to_network(c, axes) for c in seen])


def to_network(values: np.ndarray, axes) -> np.ndarray:
    """From the order of the axes in the spectrum to that of the network."""
    return np.transpose(values, np.argsort(np.argsort(axes)))


def from_network(values: np.ndarray, axes) -> np.ndarray:
    """The inverse of `to_network`."""
    return np.transpose(values, np.argsort(axes))


def network_axes(axes: tuple[Axis, ...], dimensions: int) -> tuple[int, ...]:
    """The axes of a spectrum for a network with this number of dimensions, in the network's order (energy last).

    With an energy axis of several bins: the energy and the momentum axes with most bins. With an integrated energy:
    the momentum axes with most bins.

    Raises
    ------
    InputError
        As `require_network_axes`; if fewer axes than `dimensions` have more than one bin.
    """
    require_network_axes(axes)
    energy, opened = energy_axis(axes), open_axes(axes)
    if len(opened) < dimensions:
        raise InputError(
            f"of the axes {', '.join(repr(a.name) for a in axes)} only {len(opened)} have more than one bin, "
            f"expected {dimensions} or more",
            "use a model of fewer dimensions, or data that are not integrated along the other axes",
        )
    momenta = sorted((i for i in opened if i != energy), key=lambda i: (-len(axes[i]), i))
    seen = sorted(momenta[: dimensions - (energy in opened)])
    return (*seen, energy) if energy in opened else tuple(seen)


def require_network_axes(axes: tuple[Axis, ...]) -> None:
    """Raise InputError if `axes` have no energy axis, or no axis of more than one bin."""
    energy = energy_axis(axes)
    if energy is None:
        raise InputError(
            f"there is no energy axis among {', '.join(repr(a.name) for a in axes)}",
            "give data with an axis 'DeltaE' (one integrated bin is enough), or say which axes these are (--axes)",
        )
    if not open_axes(axes):
        raise InputError("every axis has a single bin", "give a cut with at least one axis of several bins")


def require_valid(spectrum: Spectrum) -> None:
    """Raise InputError if no bin is valid."""
    if not spectrum.valid.any():
        raise InputError(
            f"none of the {spectrum.signal.size} bins is valid (all are NaN, masked or without a finite error)",
            "check the binning and the mask of the workspace",
        )


def regions_of(shape: tuple[int, ...], axes: tuple[int, ...], limit: int) -> list[tuple[slice, ...]]:
    """Regions of whole network slices with at most `limit` bins each (but at least one slice), of nearly equal size.

    A single slice left over at the end would look like a spectrum with an integrated axis, with another resolution.
    """
    regions = [tuple(slice(0, n) for n in shape)]
    for axis in (i for i in range(len(shape)) if i not in axes):
        size = math.prod(s.stop - s.start for s in regions[0])
        n = shape[axis]
        count = math.ceil(n / max(1, int(n * limit / size))) if size > limit else 1
        cuts = [slice(i * n // count, (i + 1) * n // count) for i in range(count)]
        regions = [(*r[:axis], cut, *r[axis + 1 :]) for r in regions for cut in cuts]
    return regions
