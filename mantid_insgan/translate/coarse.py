"""Data in bins much narrower than the resolution: a model is applied to wider bins, and the result brought back.

A model knows resolutions up to a number of bins (`Card.largest_fwhm_bins`). Where that of the data is wider,
neighbouring bins are merged until it is not. The result is then given in the bins of the data: in each wide bin a
parabola through its mean and those of its neighbours; the mean of the measured bins in it is that of the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from types import SimpleNamespace

import numpy as np

from ..core.merging import VOLUME_NORMALIZATION, merged
from ..core.slices import network_axes
from ..core.spectrum import Axis, Spectrum, energy_axis, frozen, per_event, summed
from .translator import LOOKED_AT

#: Fewest wide bins of an axis: of fewer a model could not tell a line from what is beside it.
FEWEST = 8
#: Share of the valid bins whose resolution the model is to know, and wide bins that the median width keeps.
MOST, FINEST = 0.9, 6.0


@dataclass(frozen=True, eq=False)
class Coarsening:
    """Bins merged along some axes.

    Parameters
    ----------
    axes : tuple of Axis
        Of the data.
    factors : dict of int to int
        Axis -> neighbouring bins that make a wide one.
    widths : dict of int to float
        Axis -> FWHM of the resolution in bins of the data, median over the valid ones.
    limit : float
        The widest that the model can apply.
    model : str
    ei : float
        meV; wide bins with their centre above it are left out.
    """

    axes: tuple[Axis, ...]
    factors: Mapping[int, int]
    widths: Mapping[int, float]
    limit: float
    model: str
    ei: float

    @cached_property
    def _edges(self) -> dict[int, np.ndarray]:
        """Of the wide bins: the first may begin before the data."""
        found = {}
        for i, factor in self.factors.items():
            edges = self.axes[i].edges[::-factor][::-1]
            before = [] if (edges.size - 1) * factor == len(self.axes[i]) else [edges[0] - factor * self.axes[i].width]
            found[i] = np.r_[before, edges]
        return found

    @cached_property
    def outline(self) -> SimpleNamespace:
        """Axes of the wide bins, and their numbers."""
        axes = tuple(replace(a, edges=self._edges.get(i, a.edges)) for i, a in enumerate(self.axes))
        return SimpleNamespace(axes=axes, shape=tuple(map(len, axes)), ndim=len(axes))

    def region(self, region: tuple[slice, ...] | None) -> tuple[slice, ...] | None:
        """A region of the data, which has all bins of the axes that are merged, in wide bins."""
        return region and tuple(slice(None) if i in self.factors else r for i, r in enumerate(region))

    def merged(self, spectrum: Spectrum) -> Spectrum:
        """A spectrum, or a region of it, in wide bins."""
        found = self._wide(spectrum)
        number = energy_axis(found.axes)
        above = found.axes[number].centers > self.ei
        if not above.any():
            return found
        along = above.reshape([-1 if i == number else 1 for i in range(found.ndim)])
        return found.replace(valid=frozen(found.valid & ~along))

    def _wide(self, spectrum: Spectrum) -> Spectrum:
        """In wide bins, with sums over events added; a signal that is shown by volume stays that of a narrow bin."""
        shown = spectrum.visual_normalization
        if shown != VOLUME_NORMALIZATION:
            return merged(spectrum, self._edges)
        return merged(spectrum.replace(visual_normalization=0), self._edges).replace(visual_normalization=shown)

    def brought_back(self, result: Spectrum, given: Spectrum) -> Spectrum:
        """A result in the bins of the data.

        Parameters
        ----------
        result : Spectrum
            In wide bins.
        given : Spectrum
            What was merged.

        Returns
        -------
        Spectrum
            `given` with other signal, variance and deviations, NaN where one of the two is not valid. Bins that were
            merged have the variance and the deviations of their mean.
        """
        signal, valid = result.signal, result.valid
        for axis in self.factors:
            signal, valid = self._finer(signal, valid, axis), self._repeated(valid, axis)
        valid = valid & given.valid
        signal = np.where(valid, signal, np.nan)
        found = given.replace(signal=signal, variance=self._everywhere(result.variance, valid), valid=valid)
        # the means of the measured bins are those of the result
        missing = np.where(result.valid, result.signal - per_event(self._wide(summed(found))).signal, 0.0)
        signal = frozen(signal + self._everywhere(missing, valid))
        ends = result.deviations
        if ends is not None:
            ends = frozen(np.stack([self._everywhere(end, valid) for end in ends]))
        return found.replace(signal=signal, deviations=ends)

    def _everywhere(self, values: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """Values of wide bins in each bin of the data that is valid."""
        for axis in self.factors:
            values = self._repeated(values, axis)
        return np.where(valid, values, np.nan)

    def _repeated(self, values: np.ndarray, axis: int) -> np.ndarray:
        return _last(np.repeat(values, self.factors[axis], axis), len(self.axes[axis]), axis)

    def _finer(self, values: np.ndarray, valid: np.ndarray, axis: int) -> np.ndarray:
        """Means over narrow bins of the parabolas through the means of three wide ones; beside gaps a line."""
        factor = self.factors[axis]
        values, valid = (np.moveaxis(x, axis, -1) for x in (np.where(valid, values, 0.0), valid))
        ends = [(0, 0)] * (values.ndim - 1) + [(1, 1)]
        before, behind = np.pad(values, ends)[..., :-2], np.pad(values, ends)[..., 2:]
        has_before, has_behind = np.pad(valid, ends)[..., :-2], np.pad(valid, ends)[..., 2:]
        before, behind = (
            np.where(has_before, before, np.where(has_behind, 2 * values - behind, values)),
            np.where(has_behind, behind, np.where(has_before, 2 * values - before, values)),
        )
        slope, bend = (behind - before) / 2, (behind - 2 * values + before) / 2
        edges = np.linspace(-0.5, 0.5, factor + 1)
        line = (edges[1:] + edges[:-1]) / 2
        square = np.diff(edges**3) / 3 * factor - 1 / 12
        fine = values[..., None] + slope[..., None] * line + bend[..., None] * square
        fine = fine.reshape(*values.shape[:-1], -1)
        return np.moveaxis(fine[..., -len(self.axes[axis]) :], -1, axis)

    def note(self) -> str:
        """What was done, for the user."""
        along = " and ".join(
            f"along {self.axes[i].name!r} {width:.3g} bins wide (FWHM, median)" for i, width in self.widths.items()
        )
        merged_by = " and ".join(map(str, self.factors.values()))
        return (
            f"the resolution is {along}, and the model {self.model} can apply up to {self.limit:g}: {merged_by} "
            "neighbouring bins were merged for it, and the result brought back to the bins of the data; the errors of "
            f"{merged_by} neighbouring bins are that of their mean, and not independent"
        )


def _last(values: np.ndarray, count: int, axis: int) -> np.ndarray:
    return values[(slice(None),) * axis + (slice(values.shape[axis] - count, None),)]


def coarsening_for(data, plan, ei: float, parts: Callable | None = None) -> Coarsening | None:
    """The merging that a plan needs before its models know the resolution; None if they know it.

    Parameters
    ----------
    data : Spectrum or open file
    plan : Plan
        For the bins of the data.
    ei : float
        meV.
    parts : callable, optional
        Gives (region, Spectrum) for each part of the data; all of them in one if not given. They are read only if
        somewhere the resolution is wider than a model knows.

    Returns
    -------
    Coarsening or None
        Also None where an axis would have fewer than `FEWEST` bins: the model then says what it needs.
    """
    found: dict[int, tuple[int, float]] = {}
    card = None
    for step in plan.steps:
        limit, grid = step.translator.card.largest_fwhm_bins, step.grid
        axes = network_axes(data.axes, step.translator.card.dimensions)
        if not any(grid.widest[grid.open_axes.index(axis)] > limit for axis in axes):
            continue
        for axis, widths in _valid_widths(grid, axes, [(None, data)] if parts is None else parts()).items():
            middle, most = np.quantile(widths, [0.5, MOST]).tolist()
            needed = _factor(middle, most, limit) if middle > limit else 1
            if needed > found.get(axis, (1, 0.0))[0]:
                found[axis], card = (needed, middle), step.translator.card
    if not found or any(len(data.axes[axis]) < FEWEST * factor for axis, (factor, _) in found.items()):
        return None
    factors = {axis: factor for axis, (factor, _) in found.items()}
    widths = {axis: middle for axis, (_, middle) in found.items()}
    return Coarsening(data.axes, factors, widths, card.largest_fwhm_bins, card.name, ei)


def _factor(middle: float, most: float, limit: float) -> int:
    """Bins to merge: the resolution of most bins is then known, and that of half of them still `FINEST` bins wide."""
    least = math.ceil(middle / limit - 1e-9)
    return max(least, min(math.ceil(most / limit - 1e-9), int(middle / FINEST)))


def _valid_widths(grid, axes, parts) -> dict[int, np.ndarray]:
    """Widths in bins at the valid bins, by axis; of many bins those of some."""
    found: dict[int, list[np.ndarray]] = {axis: [] for axis in axes}
    for region, part in parts:
        here = grid if region is None else grid.region(region)
        for axis in axes:
            values = here.width[here.open_axes.index(axis)].reshape(part.shape)[part.valid]
            found[axis].append(values[:: max(1, values.size // LOOKED_AT)])
    joined = {axis: np.concatenate(values) for axis, values in found.items()}
    return {axis: values for axis, values in joined.items() if values.size}
