"""The generator: what is known of the resolution, then a learned correction of it.

Read from top to bottom. Shapes are (N, C, *grid) with D = `dimensions` grid axes, energy last where there is one.
All intensities are in one unit whose overall size is about 1 (the translator sees to it); widths are FWHM in bins.
"""

from __future__ import annotations

import math

import torch
from torch import nn

_CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_POOL = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}
_conv = {1: nn.functional.conv1d, 2: nn.functional.conv2d, 3: nn.functional.conv3d}

FWHM_PER_SIGMA = 2.0 * math.sqrt(2.0 * math.log(2.0))

#: Levels of the kernel bank. Neighbours differ by 2^(1/3) in width, so that a mixture of two has the exact variance
#: and a peak height within 2 % of the Gaussian in between.
LARGEST_FWHM_BINS = 16.0
_LEVELS = [0.0] + [0.6 * 2.0 ** (i / 3.0) for i in range(14)] + [LARGEST_FWHM_BINS]

#: The network halves the grid twice, so tiles are multiples of 4 and at least 16 bins.
GRID_MULTIPLE = 4
SMALLEST_GRID = 16


def gaussian_bank() -> torch.Tensor:
    """Bin-integrated Gaussian kernels, shape (levels, taps), each of sum 1; level 0 is the identity."""
    radius = math.ceil(3.0 * _LEVELS[-1] / FWHM_PER_SIGMA)
    edges = torch.arange(-radius, radius + 2, dtype=torch.float64) - 0.5
    rows = []
    for fwhm in _LEVELS:
        # A point source sits anywhere in its bin, but data are bin sums: the kernel between bin centres is what a
        # Gaussian puts into each bin.
        sigma = max(fwhm / FWHM_PER_SIGMA, 1e-6)
        row = torch.special.ndtr(edges[1:] / sigma) - torch.special.ndtr(edges[:-1] / sigma)
        rows.append(row / row.sum())
    return torch.stack(rows).float()


class ResolutionOperator(nn.Module):
    """Position-dependent Gaussian convolution along each axis, with the widths it is given; nothing is learned.

    ``forward`` is H x: every bin is spread by the Gaussian of its own position, so that intensity is
    conserved. ``adjoint`` is the transpose of H: the mean over each bin's own kernel. Widths above
    `LARGEST_FWHM_BINS` count as that.
    """

    def __init__(self, dimensions: int):
        super().__init__()
        self.dimensions = dimensions
        bank = gaussian_bank()
        self.register_buffer("bank", bank)
        # Linear interpolation between levels in variance keeps the second moment exact.
        self.register_buffer("level", torch.tensor(_LEVELS) ** 2)

    def _mixture(self, width: torch.Tensor) -> torch.Tensor:
        """Share of each level, (N, levels, *grid), for FWHM (N, 1, *grid)."""
        square = width.clamp(0.0, LARGEST_FWHM_BINS) ** 2
        low, high = (x.view(1, -1, *[1] * self.dimensions) for x in (self.level[:-1], self.level[1:]))
        rising = ((square - low) / (high - low)).clamp(0.0, 1.0)  # (N, levels - 1, *grid)
        # hat functions: what has risen into a level less what has risen past it
        first = 1.0 - rising[:, :1]
        middle = rising[:, :-1] - rising[:, 1:]
        return torch.cat([first, middle, rising[:, -1:]], dim=1)

    def shares(self, width: torch.Tensor) -> list[torch.Tensor]:
        """The mixtures along each axis, to be computed once when H is used many times."""
        return [self._mixture(width[:, d : d + 1]) for d in range(self.dimensions)]

    def _kernel(self, axis: int) -> torch.Tensor:
        levels, taps = self.bank.shape
        shape = [1] * self.dimensions
        shape[axis] = taps
        return self.bank.view(levels, 1, *shape)

    def _padding(self, axis: int) -> list[int]:
        padding = [0] * self.dimensions
        padding[axis] = self.bank.shape[1] // 2
        return padding

    def forward(self, x: torch.Tensor, shares: list[torch.Tensor]) -> torch.Tensor:
        """H x for x (N, 1, *grid)."""
        for axis, share in enumerate(shares):
            # Each level for itself, then their sum: one convolution into a single channel is several times slower.
            levels = share.shape[1]
            spread = _conv[self.dimensions](
                share * x, self._kernel(axis), padding=self._padding(axis), groups=levels
            )  # (N, levels, *grid)
            x = spread.sum(1, keepdim=True)
        return x

    def adjoint(self, y: torch.Tensor, shares: list[torch.Tensor]) -> torch.Tensor:
        """The transpose of H applied to y (N, 1, *grid). The kernels are even, so only the order turns round."""
        for axis in reversed(range(self.dimensions)):
            spread = _conv[self.dimensions](y, self._kernel(axis), padding=self._padding(axis))  # (N, levels, *grid)
            y = (shares[axis] * spread).sum(1, keepdim=True)
        return y


def richardson_lucy(operator, data, valid, shares, keep: tuple[int, ...]) -> list[torch.Tensor]:
    """Richardson-Lucy iterates of the exact operator with gaps (Richardson 1972, Lucy 1974).

    x <- x / (H^T v) * H^T (v d / H x), with d >= 0 and v the valid bins.

    Parameters
    ----------
    data, valid : Tensor, (N, 1, *grid)
    keep : tuple of int
        Numbers of iterations after which an iterate is returned.
    """
    tiny = 1e-6
    positive = data.clamp(min=0.0) * valid
    reach = operator.adjoint(valid, shares).clamp(min=1e-3)
    x = operator.adjoint(positive, shares) / reach + tiny
    kept = []
    for step in range(1, max(keep) + 1):
        ratio = positive / operator(x, shares).clamp(min=tiny)
        x = x * operator.adjoint(ratio, shares) / reach
        if step in keep:
            kept.append(x)
    return kept


def _bounded(x: torch.Tensor) -> torch.Tensor:
    """x near 0, never beyond -3 and 3."""
    return 3.0 * torch.tanh(x / 3.0)


class ResidualBlock(nn.Module):
    """x + f(x), with f zero at the start."""

    def __init__(self, dimensions: int, channels: int):
        super().__init__()
        conv = _CONV[dimensions]
        self.first = conv(channels, channels, 3, padding=1)
        self.second = conv(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, x):
        return x + self.second(nn.functional.silu(self.first(nn.functional.silu(x))))


class UNet(nn.Module):
    """(N, C_in, *grid) -> (N, C_out, *grid) and the pooled bottleneck (N, F, *grid / 4). No normalisation layers:
    they would throw the intensity away."""

    def __init__(self, dimensions: int, inputs: int, outputs: int, channels: int):
        super().__init__()
        conv, c = _CONV[dimensions], channels
        self.enter = conv(inputs, c, 3, padding=1)
        self.fine = ResidualBlock(dimensions, c)
        self.down1 = nn.Sequential(_POOL[dimensions](2), conv(c, 2 * c, 3, padding=1))
        self.middle = ResidualBlock(dimensions, 2 * c)
        self.down2 = nn.Sequential(_POOL[dimensions](2), conv(2 * c, 3 * c, 3, padding=1))
        self.coarse = nn.Sequential(ResidualBlock(dimensions, 3 * c), ResidualBlock(dimensions, 3 * c))
        self.up2 = nn.Sequential(conv(3 * c, 2 * c, 1), nn.Upsample(scale_factor=2, mode="nearest"))
        self.merge2 = ResidualBlock(dimensions, 2 * c)
        self.up1 = nn.Sequential(conv(2 * c, c, 1), nn.Upsample(scale_factor=2, mode="nearest"))
        self.merge1 = ResidualBlock(dimensions, c)
        self.leave = conv(c, outputs, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, x):
        fine = self.fine(self.enter(x))  # (N, c, *grid)
        middle = self.middle(self.down1(fine))  # (N, 2c, *grid / 2)
        coarse = self.coarse(self.down2(middle))  # (N, 3c, *grid / 4)
        middle = self.merge2(middle + self.up2(coarse))
        fine = self.merge1(fine + self.up1(middle))
        return self.leave(nn.functional.silu(fine)), coarse


class Generator(nn.Module):
    """Adds or removes the resolution: candidates from physics, a learned choice among them, a learned correction.

    ``signal, valid, error, width -> signal, log_variance, features``

    Parameters
    ----------
    direction : {'add-resolution', 'remove-resolution'}
    dimensions : {1, 2, 3}
    channels : int
        Channels of the U-Net at full resolution.

    Notes
    -----
    *add*: the candidate is the exact convolution H s, divided by what of each bin's kernel falls on valid bins.
    *remove*: the data as they are, their smoothed version, and Richardson-Lucy iterates; the network chooses between
    them bin by bin, which is a learned stopping rule. In use (not in training) physics has the last word: what the
    answer, convolved again, leaves unexplained of the data is given back smoothly, see `reconciled`.
    The correction is in units of the local mean of |signal|, so that a weak magnon beside a strong elastic line is
    treated as one beside none, and doubling the input doubles the output.
    """

    ITERATES = (1, 3, 10)

    def __init__(self, direction: str, dimensions: int = 2, channels: int = 20):
        super().__init__()
        if direction not in ("add-resolution", "remove-resolution"):
            raise ValueError(f"direction is {direction!r}, expected 'add-resolution' or 'remove-resolution'")
        self.direction, self.dimensions, self.channels = direction, dimensions, channels
        self.operator = ResolutionOperator(dimensions)
        self.candidates = 1 if direction == "add-resolution" else 2 + len(self.ITERATES)
        # in: candidates and signal, error, valid, widths; out: choice, factor, addition, log variance
        inputs = self.candidates + 3 + dimensions
        self.network = UNet(dimensions, inputs, self.candidates + 3, channels)
        start = torch.zeros(self.candidates + 3)
        start[-1] = -3.0
        if self.candidates > 1:
            start[3] = 2.0  # begin at the middle iterate
        with torch.no_grad():
            self.network.leave.bias.copy_(start)
        self.register_buffer("neighbourhood", self._neighbourhood())

    def _neighbourhood(self) -> torch.Tensor:
        """A Gaussian of 7 bins FWHM, as one separable kernel of 17 taps."""
        bins = torch.arange(17) - 8.0
        row = torch.exp(-0.5 * (bins / (7.0 / FWHM_PER_SIGMA)) ** 2)
        return row / row.sum()

    def local_mean(self, x: torch.Tensor) -> torch.Tensor:
        """Gaussian mean over the neighbourhood, (N, 1, *grid)."""
        for axis in range(self.dimensions):
            shape, padding = [1, 1] + [1] * self.dimensions, [0] * self.dimensions
            shape[2 + axis], padding[axis] = -1, self.neighbourhood.numel() // 2
            x = _conv[self.dimensions](x, self.neighbourhood.view(shape), padding=padding)
        return x

    def convolved(self, signal, valid, shares) -> torch.Tensor:
        """H s from the valid bins alone, (N, 1, *grid).

        Away from gaps and edges the denominator is 1; there, what was not measured counts as its surroundings.
        """
        return self.operator(signal * valid, shares) / self.operator.adjoint(valid, shares).clamp(min=0.05)

    def physics(self, signal, valid, width) -> torch.Tensor:
        """The candidates, (N, candidates, *grid)."""
        shares = self.operator.shares(width)
        smooth = self.convolved(signal, valid, shares)
        if self.direction == "add-resolution":
            return smooth
        iterates = richardson_lucy(self.operator, signal, valid, shares, self.ITERATES)
        return torch.cat([signal, smooth, *iterates], dim=1)

    def reconciled(self, result, signal, valid, width) -> torch.Tensor:
        """One step x + H^T (d - H x) / H^T v towards the data d, (N, 1, *grid).

        It keeps the intensity of the data, also where the network moves some of it out of the slice, and adds nothing
        sharper than the resolution.
        """
        shares = self.operator.shares(width)
        unexplained = (signal - self.convolved(result, valid, shares)) * valid
        return result + self.operator.adjoint(unexplained, shares) / self.operator.adjoint(valid, shares).clamp(
            min=0.05
        )

    def forward(self, signal, valid, error, width):
        signal, error = signal * valid, error * valid
        with torch.no_grad():
            candidates = self.physics(signal, valid, width)  # (N, K, *grid)
            scale = self.local_mean(signal.abs()) / self.local_mean(valid).clamp(min=0.02) + 1e-3
            seen = [torch.asinh(candidates / scale), torch.asinh(signal / scale), torch.asinh(error / scale)]
            seen = torch.cat([*seen, valid, torch.log2(1.0 + width)], dim=1)
        answer, coarse = self.network(seen)
        k = self.candidates
        choice = torch.softmax(answer[:, :k], dim=1)
        chosen = (choice * candidates).sum(1, keepdim=True)
        # Bounded, so that no input makes the correction run away from the physics.
        factor = torch.exp(_bounded(answer[:, k : k + 1]))
        result = chosen * factor + scale * _bounded(answer[:, k + 1 : k + 2])
        if self.direction == "remove-resolution" and not self.training:
            result = self.reconciled(result, signal, valid, width)
        log_variance = 2.0 * torch.log(scale) + answer[:, k + 2 : k + 3].clamp(-14.0, 8.0)
        axes = tuple(range(2, 2 + self.dimensions))
        features = torch.cat([coarse.mean(axes), (coarse**2).mean(axes).sqrt()], dim=1)  # (N, 6c)
        return result, log_variance, features
