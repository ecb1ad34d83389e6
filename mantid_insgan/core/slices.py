"""A spectrum as the slices that a network sees, and back.

A network sees D axes (momenta, then energy transfer); further axes are walked slice by slice. Its axis order and what
it is told beside the data are laid down in the contract of models (docs/design.md).
"""

from __future__ import annotations

import math
from itertools import combinations, product

import numpy as np

from ..errors import InputError
from .spectrum import Axis, Spectrum, energy_axis, open_axes


def intensity_scale(signal: np.ndarray, valid: np.ndarray) -> float:
    """Root mean square of the valid signal: what a slice is divided by before the network, so that doubling the
    input doubles the output. 1 where there is nothing."""
    values = signal[valid]
    scale = float(np.sqrt(np.mean(np.square(values)))) if values.size else 0.0
    return scale if scale > 0 else 1.0


def conditions_of(spectrum: Spectrum, resolution, axes) -> dict[str, np.ndarray]:
    """What a model is told beside the data: width, correlation and position, see the contract of models.

    Returns
    -------
    dict of ndarray, float32, each of shape (C, *spectrum.shape)
        C is D, D (D - 1) / 2 and 3, for the axes and pairs of axes in the network's order.
    """
    opened = spectrum.open_axes
    grid = resolution.on_grid(spectrum)
    width = dict(zip(opened, grid.width, strict=True))
    correlation = dict(zip(combinations(opened, 2), grid.correlation, strict=True))
    nothing = np.zeros_like(width[opened[0]])  # a cut does not vary along an axis that it lacks
    found = {
        "width": [nothing if a is None else width[a] for a in axes],
        "correlation": [
            nothing if None in pair else correlation[tuple(sorted(pair))] for pair in combinations(axes, 2)
        ],
        "position": grid.position(tuple(a for a in axes if a is not None)),
    }
    return {name: np.asarray(x, np.float32).reshape(len(x), *spectrum.shape) for name, x in found.items()}


def network_slices(spectrum: Spectrum, conditions: dict[str, np.ndarray], axes):
    """The slices of a spectrum that a network sees, one after the other.

    Yields
    ------
    place : tuple
        Index of the slice in the spectrum.
    data : tuple of ndarray, each (*grid) in the network's axis order
        Signal, valid, error; signal and error are 0 where not valid.
    conditions : dict of ndarray, each (C, *grid)
        Those of `conditions_of` that have channels.
    """
    walked = [range(1) if i in axes else range(n) for i, n in enumerate(spectrum.shape)]
    for place in product(*walked):
        place = tuple(slice(None) if i in axes else p for i, p in enumerate(place))
        valid = spectrum.valid[place]
        signal = np.where(valid, spectrum.signal[place], 0.0)
        error = np.sqrt(np.where(valid, spectrum.variance[place], 0.0))
        data = tuple(to_network(x, axes) for x in (signal, valid, error))
        channels = {k: [to_network(c[place], axes) for c in x] for k, x in conditions.items()}
        yield place, data, {k: np.stack(x) for k, x in channels.items() if x}


def to_network(values: np.ndarray, axes) -> np.ndarray:
    """From ascending spectrum axes to the network's order, with one bin where the network has an axis more."""
    ranks = np.argsort(np.argsort([a for a in axes if a is not None]))
    values = np.transpose(values, ranks)
    return np.expand_dims(values, axes.index(None)) if None in axes else values


def from_network(values: np.ndarray, axes) -> np.ndarray:
    """The way back."""
    values = values.squeeze(axes.index(None)) if None in axes else values
    return np.transpose(values, np.argsort([a for a in axes if a is not None]))


def network_axes(axes: tuple[Axis, ...], dimensions: int = 2) -> tuple[int | None, ...]:
    """Which axes of a spectrum the network sees, in its order (energy last).

    With an energy axis of several bins: the energy and the momentum axes with most bins. With the energy integrated:
    the momentum axes with most bins. A cut with one open axis leaves the other place None.

    Raises
    ------
    InputError
        If there is no energy axis, or no axis of more than one bin.
    """
    energy = energy_axis(axes)
    if energy is None:
        raise InputError(
            f"there is no energy axis among {', '.join(repr(a.name) for a in axes)}",
            "give data with an axis 'DeltaE' (one integrated bin is enough), so that the resolution is known",
        )
    opened = open_axes(axes)
    if not opened:
        raise InputError("every axis has a single bin", "give a cut with at least one axis of several bins")
    momenta = sorted((i for i in opened if i != energy), key=lambda i: (-len(axes[i]), i))
    room = dimensions - (energy in opened)
    chosen: list[int | None] = sorted(momenta[:room])
    missing = [None] * (room - len(chosen))
    return (*missing, *chosen, energy) if energy in opened else (*chosen, *missing)


def require_valid(spectrum: Spectrum) -> None:
    """Raise InputError if no bin is valid."""
    if not spectrum.valid.any():
        raise InputError(
            f"none of the {spectrum.signal.size} bins is valid (all are NaN, masked or without a finite error)",
            "check the binning and the mask of the workspace",
        )


def regions_of(shape: tuple[int, ...], axes: tuple[int | None, ...], limit: int) -> list[tuple[slice, ...]]:
    """Regions that hold whole network slices and at most `limit` bins each (one slice at least)."""
    regions = [tuple(slice(0, n) for n in shape)]
    for axis in (i for i in range(len(shape)) if i not in axes):
        size = math.prod(s.stop - s.start for s in regions[0])
        step = max(1, int(shape[axis] * limit / size)) if size > limit else shape[axis]
        cuts = [slice(s, min(s + step, shape[axis])) for s in range(0, shape[axis], step)]
        regions = [(*r[:axis], cut, *r[axis + 1 :]) for r in regions for cut in cuts]
    return regions
