"""The resolution over the grid of a spectrum, calculated once: widths, correlations, and the inputs of a network."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from ..core.constants import FWHM_PER_SIGMA, HBAR2_OVER_2M
from ..core.spectrum import Spectrum
from .frames import Frame

#: Points whose covariance is calculated at once; limits the memory.
_CHUNK = 2048
#: Bin of momentum (1/Angstrom) in which widths outside a cut are given where the cut has no momentum axis.
_STEP = 0.05
#: Larger grids are worked out at one in `_BINS_OF_A_NODE` bins, at least the first and at most the second number of
#: nodes, and interpolated.
_DENSE, _DENSEST, _BINS_OF_A_NODE = 16_000, 160_000, 150
#: Eigenvalue of a matrix of correlations below which there is no width in its direction.
_NO_WIDTH = 1e-9


@dataclass(frozen=True, eq=False)
class _Nodes:
    """The resolution at the nodes of a grid: N bins at which it was worked out.

    Parameters
    ----------
    frame : Frame
    index : tuple of ndarray of int
        The nodes along each axis of the spectrum.
    covariance : ndarray, shape (N, D, D)
        Of the open coordinates, in their units.
    momentum : ndarray, shape (N, 3, 3), or None
        Covariance of the Cartesian momentum in the crystal, 1/Angstrom^2; None for a powder.
    """

    frame: Frame
    index: tuple[np.ndarray, ...]
    covariance: np.ndarray
    momentum: np.ndarray | None

    @cached_property
    def fwhm(self) -> np.ndarray:
        """FWHM along the open axes, shape (N, D)."""
        return FWHM_PER_SIGMA * np.sqrt(np.einsum("nii->ni", self.covariance))

    @cached_property
    def correlation(self) -> np.ndarray:
        """Correlation coefficients of pairs of open axes, shape (N, D (D - 1) / 2)."""
        first, second = np.triu_indices(self.covariance.shape[1], 1)
        product = self.fwhm[:, first] * self.fwhm[:, second] / FWHM_PER_SIGMA**2
        between = self.covariance[:, first, second]
        return np.divide(between, product, out=np.zeros_like(product), where=product > 0)

    @cached_property
    def _outside(self) -> dict[tuple[int, ...], np.ndarray]:
        return {}

    def outside(self, shown: tuple[int, ...]) -> np.ndarray:
        """Width in momenta outside the axes shown, in bins: see `ResolutionOnGrid.position`; shape (N, 1)."""
        if shown not in self._outside:
            self._outside[shown] = self._width_outside(shown)
        return self._outside[shown]

    def _width_outside(self, shown: tuple[int, ...]) -> np.ndarray:
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


@dataclass(frozen=True, eq=False)
class ResolutionOnGrid:
    """The resolution at each bin of a spectrum, or of a region of one, from `Resolution.on_grid`.

    Open axes are those of more than one bin in the whole spectrum, D of them, in the order of ``spectrum.open_axes``:
    results have the shape of ``spectrum.squeeze()``. Integrated axes are taken at their centre. Bins out of reach of
    any neutron have the values of the nearest within reach.

    Parameters
    ----------
    frame : Frame
        Axes of the whole spectrum in the lab.
    ei : float
        Incident energy, meV.
    nodes : _Nodes
        Where the resolution was worked out; the other bins are interpolated.
    bins : tuple of ndarray of int
        Bins of the region along each axis of the spectrum.
    """

    frame: Frame = field(repr=False)
    ei: float
    nodes: _Nodes = field(repr=False)
    bins: tuple[np.ndarray, ...] = field(repr=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """Bins of the region along each axis of the spectrum."""
        return tuple(map(len, self.bins))

    @property
    def open_axes(self) -> tuple[int, ...]:
        """Axes of more than one bin in the whole spectrum."""
        return self.frame.open_axes

    def region(self, bins: tuple[slice, ...]) -> ResolutionOnGrid:
        """The same in a region of this one, one slice an axis. Nothing is worked out again, so that a bin has the same
        resolution in every region."""
        return replace(self, bins=tuple(b[r] for b, r in zip(self.bins, bins, strict=True)))

    def sharpened(self, times: float) -> ResolutionOnGrid:
        """That of a spectrometer finer in every respect (`Resolution.sharpened`): the covariance over times^2."""
        return replace(self, nodes=replace(self.nodes, covariance=self.nodes.covariance / times**2))

    @cached_property
    def fwhm(self) -> np.ndarray:
        """FWHM along each open axis in its own unit, shape (D, *open shape): that of the projection onto the axis."""
        return self._at_each_bin(self.nodes.fwhm)

    @cached_property
    def width(self) -> np.ndarray:
        """FWHM along each open axis in bins of that axis, float32, shape (D, *open shape)."""
        bins = [self.frame.axes[i].width for i in self.frame.open_axes]
        return self._at_each_bin(self.nodes.fwhm / bins).astype(np.float32)

    @property
    def widest(self) -> np.ndarray:
        """Largest FWHM along each open axis in bins of that axis, anywhere in the whole spectrum, shape (D,)."""
        return self.nodes.fwhm.max(axis=0) / [self.frame.axes[i].width for i in self.frame.open_axes]

    @cached_property
    def correlation(self) -> np.ndarray:
        """Correlation coefficients of the resolution, float32, shape (D (D - 1) / 2, *open shape).

        Between the open axes (0, 1), (0, 2), (1, 2); 0 where the resolution has no width along one of them.
        """
        return self._at_each_bin(self.nodes.correlation).astype(np.float32)

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
        out = np.empty((3, *(self.shape[i] for i in frame.open_axes)), np.float32)
        inside = (a.centers[b] for a, b in zip(frame.axes, self.bins, strict=True))
        centers = np.meshgrid(*inside, indexing="ij", sparse=True)
        for channel, values in enumerate((centers[frame.energy_axis] / self.ei, self._modulus(centers))):
            out[channel] = np.broadcast_to(values, self.shape).reshape(out.shape[1:])
        out[2] = self._at_each_bin(self.nodes.outside(frame.open_axes if shown is None else tuple(shown)))[0]
        return out

    @property
    def reachable(self) -> np.ndarray:
        """Bins whose centre a neutron of this Ei can reach at some angle, shape `shape`: up to Ei, and with |Q| between
        |ki - kf| and ki + kf. Without a momentum axis the energy alone decides."""
        inside = (a.centers[b] for a, b in zip(self.frame.axes, self.bins, strict=True))
        centers = np.meshgrid(*inside, indexing="ij", sparse=True)
        final = self.ei - centers[self.frame.energy_axis]
        found = final >= 0
        if self.frame.momentum:
            ki, kf = (np.sqrt(np.maximum(e, 0.0) / HBAR2_OVER_2M) for e in (self.ei, final))
            modulus = self._modulus(centers)
            found = found & (np.abs(ki - kf) <= modulus) & (modulus <= ki + kf)
        return np.broadcast_to(found, self.shape)

    def _modulus(self, centers: list[np.ndarray]) -> np.ndarray:
        """|Q| in 1/Angstrom, in a shape that broadcasts to that of the spectrum."""
        momenta = [centers[i] for i in self.frame.momentum]
        if self.frame.powder:
            return np.abs(momenta[0]) if momenta else np.zeros(())
        along = (sum(c * b[k] for c, b in zip(momenta, self.frame.basis, strict=True)) for k in range(3))
        return np.sqrt(sum(c**2 for c in along))

    def _at_each_bin(self, values: np.ndarray) -> np.ndarray:
        """Values at the nodes, shape (N, C), at each bin: (C, *open shape)."""
        opened, index = self.frame.open_axes, self.nodes.index
        out = values.T.reshape(values.shape[1], *(len(index[i]) for i in opened))
        for d, i in sorted(enumerate(opened), key=lambda pair: self.shape[pair[1]]):  # the few bins first
            out = _interpolated(out, d + 1, index[i], self.bins[i])
        return out


def resolution_on_grid(resolution, spectrum: Spectrum) -> ResolutionOnGrid:
    """See `Resolution.on_grid`."""
    frame = resolution.frame(spectrum)
    index = _node_index(frame)
    coarse = tuple(len(n) for n in index)
    size, count = math.prod(coarse), len(frame.open_axes)
    covariance = np.empty((size, count, count))
    momentum = None if frame.powder else np.empty((size, 3, 3))
    for start in range(0, size, _CHUNK):
        chosen = slice(start, min(start + _CHUNK, size))
        at = np.unravel_index(np.arange(chosen.start, chosen.stop), coarse)
        centers = [a.centers[n[i]] for a, n, i in zip(frame.axes, index, at, strict=True)]
        points = frame.at(np.stack(centers, axis=1))
        in_lab = resolution.in_lab(points)
        covariance[chosen] = in_lab.covariance(points.gradients)
        if momentum is not None:
            of_sample = in_lab.covariance(points.sample_gradients[:, :3])
            momentum[chosen] = frame.units @ of_sample @ frame.units.T
    whole = tuple(map(np.arange, frame.shape))
    return ResolutionOnGrid(frame, resolution.ei, _Nodes(frame, index, covariance, momentum), whole)


def finest(one: ResolutionOnGrid, other: ResolutionOnGrid, axes: tuple[int, ...]) -> ResolutionOnGrid:
    """The finer of two resolutions on one grid in every direction along some axes, as covariances: `smaller`.

    Parameters
    ----------
    one, other : ResolutionOnGrid
        On the whole of one spectrum.
    axes : tuple of int
        Open axes of the spectrum. Only along them the result has a meaning: widths and correlations between them.
    """
    covariance = one.nodes.covariance.copy()
    block = _block(one, axes)
    covariance[block] = smaller(one.nodes.covariance[block], other.nodes.covariance[block])
    return replace(one, nodes=replace(one.nodes, covariance=covariance))


def ratios(one: ResolutionOnGrid, other: ResolutionOnGrid, axes: tuple[int, ...]) -> tuple[float, float]:
    """Smallest and largest ratio of the widths of the second resolution to those of the first, over all bins and all
    directions within `axes`; directions in which the first has no width are left out."""
    block = _block(one, axes)
    _, values, _ = _compared(one.nodes.covariance[block], other.nodes.covariance[block])
    return float(np.sqrt(np.nanmin(values))), float(np.sqrt(np.nanmax(values)))


def _block(grid: ResolutionOnGrid, axes: tuple[int, ...]) -> tuple:
    chosen = [grid.open_axes.index(a) for a in sorted(axes)]
    return (slice(None), *np.ix_(chosen, chosen))


def smaller(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The smaller of two covariances in every direction.

    With the eigenvectors V and eigenvalues lambda of A^(-1/2) B A^(-1/2) it is
    A^(1/2) V min(1, lambda) V^T A^(1/2): neither A nor B less it is negative. It does not depend on the units of the
    coordinates. Where A has no width in a direction, neither has the result.

    Parameters
    ----------
    one, other : ndarray, shape (N, D, D)
        A and B.
    """
    root, values, vectors = _compared(one, other)
    across = root @ vectors
    return np.einsum("nij,nj,nkj->nik", across, np.minimum(1.0, np.nan_to_num(values)), across)


def _compared(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A root R of A = R R^T, and the eigenvalues and -vectors of R^-1 B R^-T; NaN where A has no width."""
    size = np.sqrt(np.einsum("nii->ni", one))
    safe = np.where(size > 0, size, 1.0)
    unit = safe[:, :, None] * safe[:, None, :]
    width, axes = np.linalg.eigh(one / unit)
    known = width > _NO_WIDTH
    width = np.sqrt(np.where(known, width, 0.0))
    root = safe[:, :, None] * axes * width[:, None, :]
    back = axes * np.divide(1.0, width, out=np.zeros_like(width), where=known)[:, None, :] / safe[:, :, None]
    values, vectors = np.linalg.eigh(np.swapaxes(back, 1, 2) @ other @ back)
    values = np.maximum(values, 0.0)
    # Directions without a width of A have the eigenvalue 0, and eigenvalues are in rising order.
    values[np.arange(values.shape[1]) < (~known).sum(axis=1)[:, None]] = np.nan
    return root, values, vectors


def _node_index(frame: Frame) -> tuple[np.ndarray, ...]:
    """Bins along each axis at which the resolution is worked out: all of a small grid."""
    size, most = math.prod(frame.shape), max(frame.shape)
    if size > _DENSE:
        wanted = min(max(size // _BINS_OF_A_NODE, _DENSE), _DENSEST)
        most = int(wanted ** (1 / len(frame.open_axes)))
    return tuple(np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int)) for n in frame.shape)


def _interpolated(values: np.ndarray, axis: int, nodes: np.ndarray, bins: np.ndarray) -> np.ndarray:
    """Linear interpolation along one axis from `nodes` to `bins`, both numbers of bins."""
    if np.array_equal(nodes, bins):
        return values
    after = np.clip(np.searchsorted(nodes, bins), min(1, len(nodes) - 1), len(nodes) - 1)
    before = np.maximum(after - 1, 0)
    share = (bins - nodes[before]) / np.maximum(nodes[after] - nodes[before], 1)
    share = share.reshape(-1, *(1,) * (values.ndim - axis - 1))
    return values.take(before, axis) * (1 - share) + values.take(after, axis) * share
