"""Hyper-rectangles of a spectrum: one slice for each dimension, dimension 0 first."""

from __future__ import annotations

from ..core.spectrum import Spectrum
from ..errors import InputError


def normal_region(region: tuple[slice, ...] | None, shape: tuple[int, ...]) -> tuple[slice, ...]:
    """A region with explicit start and stop on every axis.

    Raises
    ------
    InputError
        If its number of slices differs from that of the dimensions, or it has a step or no bins.
    """
    region = (slice(None),) * len(shape) if region is None else tuple(region)
    if len(region) != len(shape) or any(not isinstance(s, slice) for s in region):
        raise InputError(
            f"the region {region} does not fit {len(shape)} dimensions", "give one slice for each dimension"
        )
    full = [s.indices(n) for s, n in zip(region, shape, strict=True)]
    if any(step != 1 or stop <= start for start, stop, step in full):
        raise InputError(
            f"the region {region} contains no bin of {shape} or skips some", "give slices of step 1 inside the shape"
        )
    return tuple(slice(start, stop) for start, stop, _ in full)


def cut(spectrum: Spectrum, region: tuple[slice, ...] | None) -> Spectrum:
    """The part of a spectrum inside a region given as in `SpectrumFile.read`."""
    region = normal_region(region, spectrum.shape)
    return spectrum.replace(
        axes=tuple(a.slice(s.start, s.stop) for a, s in zip(spectrum.axes, region, strict=True)),
        **spectrum.arrays_at(region),
    )
