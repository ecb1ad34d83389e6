"""The resolution as an operator on tensors: exact, differentiable, exportable; nothing here is learned.

Shapes are (N, C, *grid) with D grid axes, energy last where there is one; widths are FWHM in bins."""

from __future__ import annotations

import math
from contextlib import nullcontext
from itertools import product

import torch

from ..core.constants import FWHM_PER_SIGMA
from ..core.kernels import LARGEST_FWHM_BINS, reach_of


def pairs_of_axes(dimensions: int) -> list[tuple[int, int]]:
    """The pairs of axes in the order of `correlation`: (0, 1), (0, 2), (1, 2)."""
    return [(i, j) for i in range(dimensions) for j in range(i + 1, dimensions)]


class ResolutionOperator:
    """Convolution with a Gaussian of full covariance that changes from bin to bin; nothing is learned.

    The Gaussian is taken apart as covariances are, C = L diag(v) L^T: it is spread along the last axis, each step of
    that taking its share of steps along the other axes with it, then along the last but one, and so on. Steps on the
    other axes end between bins, and are shared by the bins on either side of each, as in a linear interpolation: whole
    bins would jump where a step rounds to the next one, and leave lines. What this adds to the variance is taken from
    that of their own spread, so that second moments are exact. A kernel between bin centres is what a Gaussian puts
    into each bin.

    ``convolve`` is H x: every bin is spread by the Gaussian of its own position, so that intensity is conserved (where
    correlations change along the cut, to first order in the change). ``adjoint`` is the transpose of H: the mean over
    each bin's own kernel. Widths above `LARGEST_FWHM_BINS` count as that.

    Parameters
    ----------
    width : Tensor, (N, D, *grid)
        FWHM along each axis in bins.
    correlation : Tensor, (N, P, *grid), optional
        Correlation coefficients of the pairs of axes (`pairs_of_axes`); none if not given.
    finer : tuple of Tensor, optional
        Width and correlation of a finer resolution: the kernel is then what is left to convolve with, whose covariance
        is the difference of the two.
    steps : Tensor, (T,), optional
        Whole bins from -R to R that kernels reach; as far as the widest needs if not given.
    """

    def __init__(
        self,
        width: torch.Tensor,
        correlation: torch.Tensor | None = None,
        finer: tuple[torch.Tensor, torch.Tensor] | None = None,
        steps: torch.Tensor | None = None,
    ):
        self.dimensions = width.shape[1]
        self.grid = width.shape[2:]
        covariance = covariance_of(width, correlation)
        if finer is not None:
            covariance = _difference(covariance, covariance_of(*finer))
        self.steps = steps
        self.passes = [self._pass(axis, covariance) for axis in reversed(range(self.dimensions))]

    def _pass(self, axis: int, covariance: dict):
        """Where the steps along one axis lead from each bin, and the kernel there: for H and for its transpose."""
        variance = covariance[axis, axis].clamp(min=0.0)
        flat = _steps_of(variance) if self.steps is None else self.steps
        steps = self._along(flat, 1)
        kernel = _bin_gaussian(variance, flat)  # (N, T, *grid)
        taken = [covariance[i, axis] / variance.clamp(min=1e-4) * steps for i in range(axis)]
        for i in range(axis):
            for j in range(i, axis):
                second = taken[i] * taken[j] if i < j else taken[i] ** 2 + _between_bins(taken[i])
                covariance[i, j] = covariance[i, j] - _total(kernel * second)
        if not axis:
            (there, inside), (back, came) = (self._rows(sign * flat) for sign in (1, -1))
            return (back, self._rows_of_each(kernel, back) * came), (there, kernel * inside)
        (there, shares), (back, came) = (self._places([*(sign * t for t in taken), sign * steps]) for sign in (1, -1))
        kernel = kernel.repeat(1, 2**axis, *[1] * self.dimensions)
        # Intensity that arrives in a bin is weighted by the kernel of the bin that it comes from.
        return (back, _at(kernel, back) * came), (there, kernel * shares)

    def _rows(self, steps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows along axis 0 at steps (T,) from each, (T, n), and which of them lie on the grid, (1, T, n, 1, ...)."""
        bins = torch.arange(self.grid[0], device=steps.device)
        rows = bins + steps.view(-1, 1).long()
        inside = (rows >= 0) & (rows < self.grid[0])
        return torch.minimum(rows.clamp(min=0), bins.max()), inside.view(1, *rows.shape, *[1] * (self.dimensions - 1))

    def _places(self, offsets) -> tuple[torch.Tensor, torch.Tensor]:
        """Flat indices of the bins around the ends of T steps from each bin, (N, C T, *grid), and the share that each
        of the C corners has, which is 0 off the grid.

        Steps along all but the last of the axes end between two bins.
        """
        lower = [torch.floor(offset) for offset in offsets[:-1]]
        above = [offset - low for offset, low in zip(offsets, lower, strict=False)]
        found, shares = [], []
        for corner in product((0, 1), repeat=len(lower)):
            ends = [low + one for low, one in zip(lower, corner, strict=True)]
            flat, inside = self._indices([*ends, offsets[-1]])
            share = math.prod(part if one else 1.0 - part for part, one in zip(above, corner, strict=True))
            found.append(flat)
            shares.append(share * inside)
        return torch.cat(found, dim=1), torch.cat(shares, dim=1)

    def _indices(self, offsets) -> tuple[torch.Tensor, torch.Tensor]:
        """Flat indices of the bins at whole offsets from each bin, (N, T, *grid), and which of them lie on the grid."""
        flat = inside = None
        for axis, size in enumerate(self.grid):
            place = bins = self._along(torch.arange(size, device=offsets[-1].device), 2 + axis)
            if axis < len(offsets):
                place = place + offsets[axis].long()
            on_axis = (place >= 0) & (place < size)
            place = torch.minimum(place.clamp(min=0), bins.max())
            inside = on_axis if inside is None else inside & on_axis
            flat = place if flat is None else flat * size + place
        return flat, inside

    def _rows_of_each(self, kernel: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """kernel (N, T, n, ...) with the rows of each of its T channels moved to `rows` (T, n)."""
        steps = torch.arange(rows.shape[0], device=rows.device).view(-1, 1) * self.grid[0]
        return kernel.flatten(1, 2).index_select(1, (rows + steps).flatten()).view_as(kernel)

    def _along(self, values: torch.Tensor, axis: int) -> torch.Tensor:
        shape = [1] * (2 + self.dimensions)
        shape[axis] = -1
        return values.view(shape)

    def _apply(self, x: torch.Tensor, places: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
        """Sum over the T steps of kernel (N, T, *grid) times x (N, 1, *grid) at the places of the steps."""
        if places.ndim == 2:
            moved = x.squeeze(1).index_select(1, places.flatten()).view(x.shape[0], -1, *x.shape[2:])
        else:
            # All steps as one row, which spares a copy of x for each of them.
            moved = torch.gather(x.flatten(1), 1, places.expand_as(kernel).flatten(1)).view_as(kernel)
        return _total(kernel * moved)

    def convolve(self, x: torch.Tensor) -> torch.Tensor:
        """H x for x (N, 1, *grid)."""
        for (places, kernel), _ in self.passes:
            x = self._apply(x, places, kernel)
        return x

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        """The transpose of H applied to y (N, 1, *grid)."""
        for _, (places, kernel) in reversed(self.passes):
            y = self._apply(y, places, kernel)
        return y


def covariance_of(width: torch.Tensor, correlation: torch.Tensor | None) -> dict[tuple[int, int], torch.Tensor]:
    """Covariances (N, 1, *grid) by pairs of axes (i, j), i <= j, in bins squared; widths above `LARGEST_FWHM_BINS`
    count as that."""
    sigma = width.clamp(0.0, LARGEST_FWHM_BINS) / FWHM_PER_SIGMA
    covariance = {(i, i): sigma[:, i : i + 1] ** 2 for i in range(width.shape[1])}
    for number, (i, j) in enumerate(pairs_of_axes(width.shape[1])):
        rho = 0.0 if correlation is None else correlation[:, number : number + 1]
        covariance[i, j] = rho * sigma[:, i : i + 1] * sigma[:, j : j + 1]
    return covariance


def _difference(wide: dict, fine: dict) -> dict[tuple[int, int], torch.Tensor]:
    """The first less the second: no variance below 0, and none shared that an axis does not have."""
    left = {pair: wide[pair] - fine[pair] for pair in wide}
    for (i, j), value in left.items():
        if i == j:
            left[i, j] = value.clamp(min=0.0)
    for (i, j), value in left.items():
        if i != j:
            most = (left[i, i] * left[j, j]).sqrt()
            left[i, j] = torch.minimum(torch.maximum(value, -most), most)
    return left


def _between_bins(steps: torch.Tensor) -> torch.Tensor:
    """What a linear interpolation between bins adds to the variance of steps, bins squared."""
    part = steps - torch.floor(steps)
    return part * (1.0 - part)


def _steps_of(variance: torch.Tensor) -> torch.Tensor:
    reach = reach_of(FWHM_PER_SIGMA * math.sqrt(float(variance.max())))
    return torch.arange(-reach, reach + 1, dtype=variance.dtype, device=variance.device)


def _bin_gaussian(variance: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    """What a Gaussian at a bin's centre puts into the bins at `steps` (T,), (N, 1, *grid) -> (N, T, *grid)."""
    edges = torch.cat([steps[:1] - 0.5, steps + 0.5])
    below = torch.erf(edges.view(1, -1, *[1] * (variance.ndim - 2)) * (0.5 / variance.clamp(min=1e-6)).sqrt())
    kernel = below[:, 1:] - below[:, :-1]
    return kernel / (below[:, -1:] - below[:, :1])


def _at(values: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """values (N, T, *grid) at flat places that broadcast to the same shape."""
    return torch.gather(values.flatten(2), 2, places.expand_as(values).flatten(2)).view_as(values)


def _total(values: torch.Tensor) -> torch.Tensor:
    """Sum over the channels, (N, T, *grid) -> (N, 1, *grid): as a product of matrices, which ONNX Runtime does many
    times as fast as a sum along this axis."""
    return (values.new_ones(1, values.shape[1]) @ values.flatten(2)).view(values.shape[0], 1, *values.shape[2:])


def richardson_lucy(operator: ResolutionOperator, data, valid, keep: tuple[int, ...]) -> list[torch.Tensor]:
    """Richardson-Lucy iterates of the exact operator with gaps (Richardson 1972, Lucy 1974).

    x <- x / (A^T v) * A^T (v d / A x), with d >= 0 and v the valid bins. A is H with what of each bin's kernel falls
    on the grid divided out: the intensity beyond each edge is taken equal to that at the edge. Taken as zero, what
    the resolution brings in from there would be piled up at the edges.

    Parameters
    ----------
    data, valid : Tensor, (N, 1, *grid)
    keep : tuple of int
        Numbers of iterations after which an iterate is returned.
    """
    tiny = 1e-6
    positive = data.clamp(min=0.0) * valid
    on_grid = operator.adjoint(torch.ones_like(valid)).clamp(min=0.05)
    reach = operator.adjoint(valid / on_grid).clamp(min=1e-3)
    x = operator.adjoint(positive) / operator.adjoint(valid).clamp(min=1e-3) + tiny
    kept = []
    for step in range(1, max(keep) + 1):
        ratio = positive / (operator.convolve(x) / on_grid).clamp(min=tiny)
        x = x * operator.adjoint(ratio / on_grid) / reach
        if step in keep:
            kept.append(x)
    return kept


def full_precision(x: torch.Tensor):
    """Context in which arithmetic on the device of x is in 32 bits, whatever the precision of the training."""
    kind = x.device.type
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()


def root_mean_square(signal: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Of the valid bins of each member, (N, 1, 1, ...)."""
    over = tuple(range(1, signal.ndim))
    square = (signal**2 * valid).sum(over, keepdim=True) / valid.sum(over, keepdim=True).clamp(min=1.0)
    return square.clamp(min=1e-12).sqrt()


def convolved(operator: ResolutionOperator, signal: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """H s from the valid bins alone, (N, 1, *grid).

    Away from gaps and edges the denominator is 1; there, what was not measured counts as its surroundings.
    """
    return operator.convolve(signal * valid) / operator.adjoint(valid).clamp(min=0.05)


def reconciled(operator: ResolutionOperator, result, signal, valid) -> torch.Tensor:
    """One step x + H^T (d - H x) / H^T v towards the data d, (N, 1, *grid).

    It keeps the intensity of the data, also where the network moves some of it out of the slice, and adds nothing
    sharper than the resolution.
    """
    unexplained = (signal - convolved(operator, result, valid)) * valid
    return result + operator.adjoint(unexplained) / operator.adjoint(valid).clamp(min=0.05)
