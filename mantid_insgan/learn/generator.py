"""The generator: the calculated resolution, and a learned correction to it.

Read from top to bottom. Shapes are (N, C, *grid) with D = `dimensions` grid axes, energy last where there is one.
All intensities are in one unit whose overall size is about 1 (the translator scales them); widths are FWHM in bins.
"""

from __future__ import annotations

import torch
from torch import nn

from .operator import (
    FWHM_PER_SIGMA,
    ResolutionOperator,
    convolved,
    full_precision,
    pairs_of_axes,
    reconciled,
    richardson_lucy,
    root_mean_square,
)

CONVOLUTION = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
POOLING = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}
_conv = {1: nn.functional.conv1d, 2: nn.functional.conv2d, 3: nn.functional.conv3d}


#: The network halves the grid twice, so tiles are multiples of 4 and at least 16 bins.
GRID_MULTIPLE = 4
SMALLEST_GRID = 16

#: Blocks at a quarter of the grid's resolution, where they see farthest and cost least.
COARSE_BLOCKS = 3

#: |Q| is given to the networks in units of this many 1/Angstrom.
MOMENTUM_UNIT = 4.0


def channels_of_finer(dimensions: int) -> int:
    """Channels of `finer`: a width for each axis, then a correlation for each pair of axes."""
    return dimensions + len(pairs_of_axes(dimensions))


def number_of_conditions(dimensions: int) -> int:
    """Channels of width, correlation, position and the finer resolution together."""
    return 2 * channels_of_finer(dimensions) + 3


def condition_channels(width, correlation, position, finer=None) -> list[torch.Tensor]:
    """Width, correlation, position and the finer resolution (none, if not given), scaled to about 1 for a network."""
    finer = no_resolution(width) if finer is None else finer
    energy, momentum, outside = position[:, :1], position[:, 1:2], position[:, 2:]
    scaled = [torch.log2(1.0 + width), correlation, energy, momentum / MOMENTUM_UNIT, torch.log2(1.0 + outside)]
    axes = width.shape[1]
    return [*scaled, torch.log2(1.0 + finer[:, :axes]), finer[:, axes:]]


def _bounded(x: torch.Tensor) -> torch.Tensor:
    """x near 0, never beyond -3 and 3."""
    return 3.0 * torch.tanh(x / 3.0)


class ResidualBlock(nn.Module):
    """x + f(x), with f zero at the start."""

    def __init__(self, dimensions: int, channels: int):
        super().__init__()
        conv = CONVOLUTION[dimensions]
        self.first = conv(channels, channels, 3, padding=1)
        self.second = conv(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, x):
        return x + self.second(nn.functional.silu(self.first(nn.functional.silu(x))))


class UNet(nn.Module):
    """(N, C_in, *grid) -> (N, C_out, *grid) and the pooled bottleneck (N, F, *grid / 4). It has no
    normalisation layers, which would lose the intensity."""

    def __init__(self, dimensions: int, inputs: int, outputs: int, channels: int):
        super().__init__()
        conv, c = CONVOLUTION[dimensions], channels
        self.enter = conv(inputs, c, 3, padding=1)
        self.fine = ResidualBlock(dimensions, c)
        self.down1 = nn.Sequential(POOLING[dimensions](2), conv(c, 2 * c, 3, padding=1))
        self.middle = ResidualBlock(dimensions, 2 * c)
        self.down2 = nn.Sequential(POOLING[dimensions](2), conv(2 * c, 3 * c, 3, padding=1))
        self.coarse = nn.Sequential(*(ResidualBlock(dimensions, 3 * c) for _ in range(COARSE_BLOCKS)))
        self.up2 = nn.Sequential(conv(3 * c, 2 * c, 1), nn.Upsample(scale_factor=2, mode="nearest"))
        self.merge2 = ResidualBlock(dimensions, 2 * c)
        self.up1 = nn.Sequential(conv(2 * c, c, 1), nn.Upsample(scale_factor=2, mode="nearest"))
        self.merge1 = ResidualBlock(dimensions, c)
        self.leave = conv(c, outputs, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def down(self, x):
        """The way down: (N, c, *grid), (N, 2c, *grid / 2) and (N, 3c, *grid / 4)."""
        fine = self.fine(self.enter(x))
        middle = self.middle(self.down1(fine))
        return fine, middle, self.coarse(self.down2(middle))

    def forward(self, x):
        fine, middle, coarse = self.down(x)
        middle = self.merge2(middle + self.up2(coarse))
        fine = self.merge1(fine + self.up1(middle))
        return self.leave(nn.functional.silu(fine)), coarse


class Background(nn.Module):
    """The background: a smooth function >= 0 of energy transfer / Ei and |Q| only.

    It sees no intensity, so it cannot put a peak where a spectrum has one: (N, 3, *grid) -> (N, 1, *grid), in units of
    the spectrum's root mean square.
    """

    def __init__(self, dimensions: int, channels: int = 32):
        super().__init__()
        conv = CONVOLUTION[dimensions]
        self.layers = nn.Sequential(
            conv(2, channels, 1), nn.SiLU(), conv(channels, channels, 1), nn.SiLU(), conv(channels, 1, 1)
        )
        nn.init.zeros_(self.layers[-1].weight)
        nn.init.zeros_(self.layers[-1].bias)

    def forward(self, position):
        energy, momentum = position[:, :1], position[:, 1:2]
        answer = self.layers(torch.cat([energy, momentum / MOMENTUM_UNIT], dim=1)).float()
        return nn.functional.softplus(answer - 3.0)  # 5 % of the spectrum's size at the start


class Generator(nn.Module):
    """Adds or removes the resolution: candidates from physics, a learned choice among them, a learned correction.

    ``signal, valid, error, width, correlation, position, finer -> translated, log_variance, features``

    Two resolutions are given: that of a spectrometer (`width`, `correlation`) and a finer one (`finer`: widths, then
    correlations; 0 is none at all). *add* translates from the second to the first, *remove* from the first to the
    second.

    Parameters
    ----------
    direction : {'add-resolution', 'remove-resolution'}
    dimensions : {1, 2, 3}
    channels : int
        Channels of the U-Net at full resolution.
    physics : bool
        False leaves out the operator: the only candidate is the signal itself (for comparison).
    simulation : {'ideal', 'convolved'}
        What the simulated side is: as a model gives it, or already convolved with the calculated resolution (in four
        dimensions, as `convolve` does). For the latter only what the calculation lacks is added or removed.
    background : bool
        Add (or take away) a learned background of energy and |Q|; for data that have one on the measured side.

    Notes
    -----
    *add*: the candidate is the convolution H s with the Gaussian of the cut that is left between the two resolutions,
    divided by what of each bin's kernel falls on valid bins. What it can't know (the momenta outside the cut, the shape
    of pulses) is left to the network.
    *remove*: the data as they are, their smoothed version, and Richardson-Lucy iterates, convolved with the finer
    resolution: nothing in them is sharper than that (Magain, Courbin and Sohy, ApJ 494, 472 (1998)); the network
    chooses between them bin by bin, which is a learned stopping rule. In use (not in training) physics has the last
    word: what the answer, convolved again, leaves unexplained of the data is given back smoothly, see `reconciled`.
    The correction is in units of the local mean of |signal|, so that a weak magnon beside a strong elastic line is
    treated as one beside none, and doubling the input doubles the output.
    """

    ITERATES = {"ideal": (1, 3, 10), "convolved": (1,)}

    def __init__(
        self,
        direction: str,
        dimensions: int = 2,
        channels: int = 20,
        physics: bool = True,
        simulation: str = "ideal",
        background: bool = False,
    ):
        super().__init__()
        if direction not in ("add-resolution", "remove-resolution"):
            raise ValueError(f"direction is {direction!r}, expected 'add-resolution' or 'remove-resolution'")
        if simulation not in ("ideal", "convolved"):
            raise ValueError(f"simulation is {simulation!r}, expected 'ideal' or 'convolved'")
        self.direction, self.dimensions, self.channels, self.physics = direction, dimensions, channels, physics
        self.simulation = simulation
        self.adds = direction == "add-resolution"
        self.candidates = self._number_of_candidates()
        # in: candidates and signal, error, valid, conditions; out: choice, factor, addition, log variance
        inputs = self.candidates + 3 + number_of_conditions(dimensions)
        self.network = UNet(dimensions, inputs, self.candidates + 3, channels)
        start = torch.zeros(self.candidates + 3)
        start[-1] = -3.0
        if simulation == "convolved" and physics:
            start[0] = 2.0  # begin at the signal
        elif self.candidates > 1:
            start[3] = 2.0  # begin at the middle iterate
        with torch.no_grad():
            self.network.leave.bias.copy_(start)
        self.background = Background(dimensions) if background else None
        self.register_buffer("neighbourhood", self._neighbourhood())

    def _number_of_candidates(self) -> int:
        if not self.physics:
            return 1
        if self.adds:
            return 1 if self.simulation == "ideal" else 2
        return 2 + len(self.ITERATES[self.simulation])

    def begin_as(self, other: Generator) -> None:
        """Copy the weights of another generator; if that has no background, ours stays as initialised.

        Raises
        ------
        ValueError
            If the two have other differences.
        """
        missing, unexpected = self.load_state_dict(other.state_dict(), strict=False)
        if unexpected or not all(name.startswith("background.") for name in missing):
            raise ValueError(f"the other generator lacks {missing} and has {unexpected}")

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

    def _candidates(self, signal, valid, width, correlation, finer, steps) -> torch.Tensor:
        """The candidates from physics, (N, candidates, *grid)."""
        if not self.physics:
            return signal
        if self.adds:
            smooth = convolved(self._between(width, correlation, finer, steps), signal, valid)
            return smooth if self.simulation == "ideal" else torch.cat([signal, smooth], dim=1)
        whole = ResolutionOperator(width, correlation, steps=steps)
        smooth = convolved(whole, signal, valid)
        iterates = richardson_lucy(whole, signal, valid, self.ITERATES[self.simulation])
        if self.simulation == "ideal":
            iterates = brought_to(finer, self.dimensions, steps, iterates)
        return torch.cat([signal, smooth, *iterates], dim=1)

    def _between(self, width, correlation, finer, steps) -> ResolutionOperator:
        """From the finer resolution to the spectrometer's."""
        parts = finer[:, : self.dimensions], finer[:, self.dimensions :]
        return ResolutionOperator(width, correlation, parts, steps)

    def _seen(self, candidates, signal, valid, error, conditions):
        """The U-Net's input (N, inputs, *grid), and the local scale (N, 1, *grid)."""
        scale = self.local_mean(signal.abs()) / self.local_mean(valid).clamp(min=0.02) + 1e-3
        intensities = [torch.asinh(x / scale) for x in (candidates, signal, error)]
        return torch.cat([*intensities, valid, *condition_channels(*conditions)], dim=1), scale

    def level(self, signal, valid, position) -> torch.Tensor | float:
        """The background in the unit of the signal, (N, 1, *grid); 0 if the generator has none."""
        if self.background is None:
            return 0.0
        return root_mean_square(signal, valid) * self.background(position)

    def explained(self, signal, translated, valid, width, correlation, position, finer=None, steps=None):
        """The calculated measured side, (N, 1, *grid): when adding, the simulation convolved; when removing, the answer
        convolved again, background included."""
        source = signal if self.adds else translated
        if self.simulation == "ideal":
            finer = no_resolution(width) if finer is None else finer
            source = convolved(self._between(width, correlation, finer, steps), source, valid)
        return source if self.adds else source + self.level(signal * valid, valid, position)

    def _prepared(self, signal, valid, error, width, correlation, position, finer, steps):
        """The candidates (N, K, *grid), and `_seen`, of signal and error that are 0 where nothing is valid."""
        with torch.no_grad(), full_precision(signal):
            candidates = self._candidates(signal, valid, width, correlation, finer, steps)
            conditions = width, correlation, position, finer
            return candidates, *self._seen(candidates, signal, valid, error, conditions)

    def features(self, signal, valid, error, width, correlation, position, finer=None, steps=None) -> torch.Tensor:
        """The last output of the generator alone, (N, 6c), in less than half the time."""
        finer = no_resolution(width) if finer is None else finer
        prepared = self._prepared(signal * valid, valid, error * valid, width, correlation, position, finer, steps)
        return self._summary(self.network.down(prepared[1])[-1].float())

    def _summary(self, coarse) -> torch.Tensor:
        axes = tuple(range(2, 2 + self.dimensions))
        return torch.cat([coarse.mean(axes), (coarse**2).mean(axes).sqrt()], dim=1)  # (N, 6c)

    def forward(self, signal, valid, error, width, correlation, position, finer=None, steps=None):
        signal, error = signal * valid, error * valid
        finer = no_resolution(width) if finer is None else finer
        candidates, seen, scale = self._prepared(signal, valid, error, width, correlation, position, finer, steps)
        if self.simulation == "convolved" and self.physics:
            # With its gradient, which costs nothing here: the cycle is judged through both generators.
            candidates = torch.cat([signal, candidates[:, 1:]], dim=1)
        answer, coarse = (x.float() for x in self.network(seen))
        k = self.candidates
        choice = torch.softmax(answer[:, :k], dim=1)
        chosen = (choice * candidates).sum(1, keepdim=True)
        # Bounded, so that no input takes the correction far from the physics.
        factor = torch.exp(_bounded(answer[:, k : k + 1]))
        result = chosen * factor + scale * _bounded(answer[:, k + 1 : k + 2])
        level = self.level(signal, valid, position)
        result = result + level if self.adds else result - level
        if self.physics and not self.adds and self.simulation == "ideal" and not self.training:
            between = self._between(width, correlation, finer, steps)
            result = reconciled(between, result, signal - level, valid)
        log_variance = 2.0 * torch.log(scale) + answer[:, k + 2 : k + 3].clamp(-14.0, 8.0)
        return result, log_variance, self._summary(coarse)


def no_resolution(width: torch.Tensor) -> torch.Tensor:
    """`finer` for a side without resolution, (N, C, *grid)."""
    return width.new_zeros(width.shape[0], channels_of_finer(width.shape[1]), *width.shape[2:])


def brought_to(finer, dimensions: int, steps, estimates: list[torch.Tensor]) -> list[torch.Tensor]:
    """Estimates of what has no resolution, (N, 1, *grid) each, convolved with the finer one; beyond the edges they are
    taken equal to what is at the edge."""
    operator = ResolutionOperator(finer[:, :dimensions], finer[:, dimensions:], steps=steps)
    everywhere = torch.ones_like(estimates[0])
    return [convolved(operator, x, everywhere) for x in estimates]
