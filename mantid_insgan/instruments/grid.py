"""The resolution over the grid of a spectrum, calculated once: widths, correlations, and the inputs of a network."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from ..core.constants import FWHM_PER_SIGMA
from ..core.spectrum import Spectrum
from .frames import Frame

#: Points whose covariance is calculated at once; limits the memory.
_CHUNK = 2048
#: Bin of momentum (1/Angstrom) in which widths outside a cut are given where the cut has no momentum axis.
_STEP = 0.05
#: Larger grids are calculated on about this many of their bins and interpolated.
_DENSE = 16_000


@dataclass(frozen=True, eq=False)
class ResolutionOnGrid:
    """The resolution at each bin of a spectrum, from `Resolution.on_grid`.

    Open axes are those of more than one bin, D of them, in the order of ``spectrum.open_axes``: results have the shape
    of ``spectrum.squeeze()``. Integrated axes are taken at their centre. Bins outside the kinematic range have the
    values of the nearest point inside it.

    Parameters
    ----------
    frame : Frame
        Axes of the spectrum in the laboratory frame.
    ei : float
        Incident energy, meV.
    nodes : tuple of ndarray of int
        Bins along each axis at which the covariance was calculated; the others are interpolated.
    covariance : ndarray, shape (N, D, D)
        Of the open coordinates at the N nodes, in their units.
    momentum : ndarray, shape (N, 3, 3), or None
        Covariance of the Cartesian momentum in the crystal at the nodes, 1/Angstrom^2; None for a powder.
    """

    frame: Frame = field(repr=False)
    ei: float
    nodes: tuple[np.ndarray, ...] = field(repr=False)
    covariance: np.ndarray = field(repr=False)
    momentum: np.ndarray | None = field(repr=False)

    @cached_property
    def fwhm(self) -> np.ndarray:
        """FWHM along each open axis in its own unit, shape (D, *open shape): that of the projection onto the axis."""
        return self._at_each_bin(FWHM_PER_SIGMA * np.sqrt(np.einsum("nii->ni", self.covariance)))

    @cached_property
    def width(self) -> np.ndarray:
        """FWHM along each open axis in bins of that axis, float32, shape (D, *open shape)."""
        bins = np.array([self.frame.axes[i].width for i in self.frame.open_axes])
        return (self.fwhm / bins.reshape(-1, *(1,) * len(bins))).astype(np.float32)

    @cached_property
    def correlation(self) -> np.ndarray:
        """Correlation coefficients of the resolution, float32, shape (D (D - 1) / 2, *open shape).

        Between the open axes (0, 1), (0, 2), (1, 2); 0 where the resolution has no width along one of them.
        """
        first, second = np.triu_indices(self.covariance.shape[1], 1)
        widths = np.sqrt(np.einsum("nii->ni", self.covariance))
        product = widths[:, first] * widths[:, second]
        between = self.covariance[:, first, second]
        coefficients = np.divide(between, product, out=np.zeros_like(product), where=product > 0)
        return self._at_each_bin(coefficients).astype(np.float32)

    def position(self, shown: tuple[int, ...] | None = None) -> np.ndarray:
        """Position of each bin, in quantities that do not depend on the instrument or the binning.

        Energy transfer divided by Ei; |Q| in 1/Angstrom; and the FWHM of the resolution in the momenta outside the cut:
        the square root of the sum of the squared FWHM along them, in bins of the first momentum axis of the cut (of
        0.05 1/Angstrom if it has none). Multiple scattering depends on the first, powder lines on the second, phonons
        on both; the third shows how much of the intensity comes from outside the cut.

        Without a momentum axis |Q| is 0; for a powder the third is 0.

        Parameters
        ----------
        shown : tuple of int, optional
            Axes of the cut; the open axes if not given.

        Returns
        -------
        ndarray, float32, shape (3, *open shape)
        """
        frame = self.frame
        out = np.empty((3, *(frame.shape[i] for i in frame.open_axes)), np.float32)
        centers = np.meshgrid(*(a.centers for a in frame.axes), indexing="ij", sparse=True)
        for channel, values in enumerate((centers[frame.energy_axis] / self.ei, self._modulus(centers))):
            out[channel] = np.broadcast_to(values, frame.shape).reshape(out.shape[1:])
        out[2] = self._at_each_bin(self._outside(frame.open_axes if shown is None else shown))[0]
        return out

    def _modulus(self, centers: list[np.ndarray]) -> np.ndarray:
        """|Q| in 1/Angstrom, in a shape that broadcasts to that of the spectrum."""
        momenta = [centers[i] for i in self.frame.momentum]
        if self.frame.powder:
            return np.abs(momenta[0]) if momenta else np.zeros(())
        along = (sum(c * b[k] for c, b in zip(momenta, self.frame.basis, strict=True)) for k in range(3))
        return np.sqrt(sum(c**2 for c in along))

    def _outside(self, shown: tuple[int, ...]) -> np.ndarray:
        """Width in momenta outside the axes shown at the nodes, in bins: see `position`; shape (N, 1)."""
        if self.momentum is None:
            return np.zeros((len(self.covariance), 1))
        frame = self.frame
        steps = [frame.basis[k] * frame.axes[i].width for k, i in enumerate(frame.momentum) if i in shown]
        step = np.linalg.norm(steps[0]) if steps else _STEP
        outside = np.eye(3)
        if steps:
            across, _ = np.linalg.qr(np.array(steps).T)
            outside = outside - across @ across.T
        variance = np.einsum("ij,njk,ki->n", outside, self.momentum, outside)
        return FWHM_PER_SIGMA * np.sqrt(np.maximum(variance, 0.0))[:, None] / step

    def _at_each_bin(self, values: np.ndarray) -> np.ndarray:
        """Values at the nodes, shape (N, C), at each bin: (C, *open shape)."""
        frame = self.frame
        out = values.T.reshape(values.shape[1], *(len(self.nodes[i]) for i in frame.open_axes))
        for d, i in enumerate(frame.open_axes):
            if len(self.nodes[i]) < frame.shape[i]:
                out = _interpolated(out, d + 1, self.nodes[i], frame.shape[i])
        return out


def resolution_on_grid(resolution, spectrum: Spectrum) -> ResolutionOnGrid:
    """See `Resolution.on_grid`."""
    frame = resolution.frame(spectrum)
    nodes = [np.arange(n) for n in spectrum.shape]
    if spectrum.signal.size > _DENSE:
        most = int(_DENSE ** (1 / len(frame.open_axes)))
        nodes = [np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int)) for n in spectrum.shape]
    coarse = tuple(len(n) for n in nodes)
    size, count = math.prod(coarse), len(frame.open_axes)
    covariance = np.empty((size, count, count))
    momentum = None if frame.powder else np.empty((size, 3, 3))
    for start in range(0, size, _CHUNK):
        chosen = slice(start, min(start + _CHUNK, size))
        index = np.unravel_index(np.arange(chosen.start, chosen.stop), coarse)
        centers = [a.centers[n[i]] for a, n, i in zip(spectrum.axes, nodes, index, strict=True)]
        points = frame.at(np.stack(centers, axis=1))
        in_lab = resolution.in_lab(points)
        covariance[chosen] = in_lab.covariance(points.gradients)
        if momentum is not None:
            of_sample = in_lab.covariance(points.sample_gradients[:, :3])
            momentum[chosen] = frame.units @ of_sample @ frame.units.T
    return ResolutionOnGrid(frame, resolution.ei, tuple(nodes), covariance, momentum)


def _interpolated(values: np.ndarray, axis: int, nodes: np.ndarray, size: int) -> np.ndarray:
    """Linear interpolation along one axis from `nodes` to all of ``range(size)``."""
    hats = np.stack([np.interp(np.arange(size), nodes, row) for row in np.eye(len(nodes))], axis=1)
    return np.moveaxis(np.tensordot(values, hats, axes=(axis, 1)), -1, axis)
