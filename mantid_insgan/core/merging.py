"""Other bins of a spectrum: ranges cut out of it, and bins merged to wider ones with their errors.

Merging is what the instrument would have done with wider bins. Where the signal is a sum over events
(NumEventsNormalization), signals, variances and events are added. Otherwise each merged bin is the mean of the measured
bins in it, ``signal = sum(f s) / sum(f)`` and ``variance = sum(f^2 v) / sum(f)^2``, where f is the fraction of a bin
that lies inside: the numbers of events of MDNorm's results are no exposures, so every measured bin counts the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ..errors import InputError
from .spectrum import NUM_EVENTS_NORMALIZATION, Axis, Spectrum, energy_axis, frozen, open_axes, slack_of

#: Mantid's MDNormalization for which the signal is shown divided by the volume of its bin: it is a sum as well.
VOLUME_NORMALIZATION = 1
#: Fractions of a bin below this are rounding errors of edges, at least; Mantid's are in single precision (`slack_of`).
_SLIVER = 1e-3

#: Bins wanted along an axis: some of those there are, or edges of wider ones.
Wanted = slice | np.ndarray


def overlaps(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Length of each old bin inside each new one, shape (n_old, n_new), in the unit of the edges."""
    inside = np.minimum(old[1:, None], new[None, 1:]) - np.maximum(old[:-1, None], new[None, :-1])
    return np.clip(inside, 0.0, None)


def wanted_bins(
    axes: tuple[Axis, ...],
    *,
    q_bins: int | None = None,
    q_range: tuple[float, float] | None = None,
    energy_bins: int | None = None,
    energy_range: tuple[float, float] | None = None,
) -> dict[int, Wanted]:
    """The bins that are asked for, by axis.

    Parameters
    ----------
    axes : tuple of Axis
    q_bins, energy_bins : int, optional
        Number of equal bins of the momentum axis, over the range or the whole axis; at most as many as there are now.
    q_range, energy_range : (float, float), optional
        In the unit of the axis. Without a number of bins, those whose centres lie inside are kept as they are.

    Returns
    -------
    dict
        A slice, or the edges of wider bins, for each axis that changes.

    Raises
    ------
    InputError
        If the axis is not clear, the range has no bin, or more bins are asked for than there are.
    """
    found = {}
    for what, bins, limits in (("q", q_bins, q_range), ("energy", energy_bins, energy_range)):
        if bins is None and limits is None:
            continue
        flags = " and ".join(
            f"--{what}-{name}" for name, given in (("bins", bins), ("range", limits)) if given is not None
        )
        number = _axis_for(what, axes, flags)
        wanted = _along(axes[number], bins, limits, flags)
        if not isinstance(wanted, slice) or wanted != slice(0, len(axes[number])):
            found[number] = wanted
    return found


def _axis_for(what: str, axes: tuple[Axis, ...], flags: str) -> int:
    names = ", ".join(repr(a.name) for a in axes)
    energy = energy_axis(axes)
    if what == "energy":
        if energy is None:
            raise InputError(
                f"{flags} was given, and there is no energy axis among {names}",
                "leave it out, or say which axes these are (--axes)",
            )
        return energy
    momenta = [i for i in range(len(axes)) if i != energy]
    for some in ([i for i in momenta if axes[i].is_modulus_q], [i for i in momenta if i in open_axes(axes)], momenta):
        if len(some) == 1:
            return some[0]
    raise InputError(
        f"{flags} was given, and it is not clear which momentum axis is meant: the axes are {names}",
        "it is for data with one momentum axis of several bins; rebin others in Mantid (BinMD, MDNorm)",
    )


def _along(axis: Axis, bins: int | None, limits, flags: str) -> Wanted:
    low, high = limits or (axis.edges[0], axis.edges[-1])
    inside = np.flatnonzero((axis.centers >= low) & (axis.centers <= high))
    span = f"{axis.edges[0]:g} to {axis.edges[-1]:g} {axis.unit}"
    if not low < high or inside.size == 0:
        raise InputError(
            f"{flags}: no bin of axis {axis.name!r} has its centre between {low:g} and {high:g}; it runs from {span}",
            "give a range inside the axis, lower limit first",
        )
    if bins is None:
        return slice(int(inside[0]), int(inside[-1]) + 1)
    if bins < 1 or (high - low) / bins < axis.width * (1 - _SLIVER):
        most = int(np.floor((high - low) / axis.width * (1 + _SLIVER)))
        raise InputError(
            f"{flags}: {bins} bins from {low:g} to {high:g} were requested, and axis {axis.name!r} has bins of "
            f"{axis.width:.5g} {axis.unit}",
            f"give a number from 1 to {max(most, 1)}: bins can be merged, not divided",
        )
    edges = np.linspace(low, high, bins + 1)
    first = int(np.argmin(np.abs(axis.edges - low)))
    same = axis.edges[first : first + bins + 1]
    if same.size == edges.size and np.allclose(same, edges, rtol=0, atol=_SLIVER * axis.width):
        return slice(first, first + bins)
    return edges


def shared(axis: Axis, wanted: Wanted) -> bool:
    """Whether bins of an axis are divided between two wanted ones, whose errors are then correlated."""
    if isinstance(wanted, slice):
        return False
    places = (wanted - axis.edges[0]) / axis.width
    between = (places > _SLIVER) & (places < len(axis) - _SLIVER)
    return bool((np.abs(places - np.round(places)) > _SLIVER)[between].any())


def merged(spectrum: Spectrum, wanted: Mapping[int, Wanted]) -> Spectrum:
    """A spectrum in other bins.

    Parameters
    ----------
    spectrum : Spectrum
    wanted : dict
        Bins by axis, as `wanted_bins` gives them: a slice of the present ones, or edges of equal wider ones. Edges may
        reach beyond the axis.

    Returns
    -------
    Spectrum
        A bin of it is valid if a valid bin lies in it, even in part. `num_events` is that of the valid bins in it.
        Wider bins have no `deviations`: the intervals of single bins do not tell that of their mean.
    """
    cuts = tuple(w if isinstance(w := wanted.get(i), slice) else slice(None) for i in range(spectrum.ndim))
    axes = tuple(a.slice(*c.indices(len(a))[:2]) for a, c in zip(spectrum.axes, cuts, strict=True))
    spectrum = spectrum.replace(axes=axes, **spectrum.arrays_at(cuts))
    edges = {i: w for i, w in wanted.items() if not isinstance(w, slice)}
    return _summed_up(spectrum, edges) if edges else spectrum


def _summed_up(spectrum: Spectrum, edges: dict[int, np.ndarray]) -> Spectrum:
    parts = {i: _fractions(spectrum.axes[i], new) for i, new in edges.items()}
    squares = {i: f**2 for i, f in parts.items()}
    valid = spectrum.valid
    measured = lambda values: np.where(valid, values, 0.0)  # noqa: E731
    weight = _contracted(valid.astype(float), parts)
    seen = weight > 0
    total = _contracted(measured(spectrum.signal), parts)
    variance = _contracted(measured(spectrum.variance), squares)
    if spectrum.visual_normalization != NUM_EVENTS_NORMALIZATION:
        scale = np.divide(1.0, weight, out=np.zeros_like(weight), where=seen)
        if spectrum.visual_normalization == VOLUME_NORMALIZATION:
            scale *= np.prod([(new[1] - new[0]) / spectrum.axes[i].width for i, new in edges.items()])
        total, variance = total * scale, variance * scale**2
    masked = ~seen & (_contracted(spectrum.masked.astype(float), parts) > 0)
    return spectrum.replace(
        axes=tuple(_with_edges(a, edges.get(i)) for i, a in enumerate(spectrum.axes)),
        signal=frozen(np.where(seen, total, np.nan)),
        variance=frozen(np.where(seen, variance, np.nan)),
        num_events=frozen(_contracted(measured(spectrum.num_events), parts)),
        masked=frozen(masked),
        valid=frozen(seen),
    )


def _fractions(axis: Axis, new: np.ndarray) -> np.ndarray:
    """The part of each bin of an axis that lies in each new one, shape (n_old, n_new)."""
    found = overlaps(axis.edges, new) / np.diff(axis.edges)[:, None]
    sliver = max(_SLIVER, min(2 * slack_of(axis.edges) / axis.width, 0.1))
    return np.where(found < sliver, 0.0, np.where(found > 1 - sliver, 1.0, found))


def _contracted(values: np.ndarray, parts: Mapping[int, np.ndarray]) -> np.ndarray:
    for axis, matrix in parts.items():
        values = np.moveaxis(np.tensordot(values, matrix, (axis, 0)), -1, axis)
    return np.ascontiguousarray(values)


def _with_edges(axis: Axis, edges: np.ndarray | None) -> Axis:
    return axis if edges is None else replace(axis, edges=edges)


def binned(spectrum: Spectrum, **binning) -> Spectrum:
    """A spectrum in the bins that are asked for; parameters and errors as `wanted_bins`."""
    wanted = wanted_bins(spectrum.axes, **binning)
    return merged(spectrum, wanted).replace(run=spectrum.run.noted(*notes_on(spectrum.axes, wanted)))


def notes_on(axes: tuple[Axis, ...], wanted: Mapping[int, Wanted]) -> tuple[str, ...]:
    """A note for each axis of which bins were divided between two wanted ones."""
    return tuple(
        f"bins of {axes[i].name!r} were divided between two wider ones, whose errors are therefore not independent"
        for i, w in wanted.items()
        if shared(axes[i], w)
    )


def only_within(spectrum: Spectrum, **binning) -> Spectrum:
    """A spectrum in the bins that it has, of which those outside ranges are not valid; parameters as `wanted_bins`."""
    inside = np.ones((1,) * spectrum.ndim, bool)
    for axis, some in wanted_bins(spectrum.axes, **binning).items():
        along = np.zeros(len(spectrum.axes[axis]), bool)
        along[some] = True
        inside = inside & along.reshape([-1 if i == axis else 1 for i in range(spectrum.ndim)])
    return spectrum.replace(valid=frozen(spectrum.valid & inside))
