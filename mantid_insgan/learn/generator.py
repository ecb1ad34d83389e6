"""The networks: what is known of the resolution, a learned correction of it, and those that judge the result.

Read from top to bottom. Shapes are (N, C, *grid) with D = `dimensions` grid axes, energy last where there is one.
All intensities are in one unit whose overall size is about 1 (the translator sees to it); widths are FWHM in bins.
"""

from __future__ import annotations

import math
from contextlib import nullcontext

import torch
from torch import nn

_CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_POOL = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}
_conv = {1: nn.functional.conv1d, 2: nn.functional.conv2d, 3: nn.functional.conv3d}

FWHM_PER_SIGMA = 2.0 * math.sqrt(2.0 * math.log(2.0))

#: Widest resolution along an axis; a wider one counts as that.
LARGEST_FWHM_BINS = 12.0
#: How far kernels reach, in bins: 2.7 standard deviations of the widest.
RADIUS = math.ceil(2.7 * LARGEST_FWHM_BINS / FWHM_PER_SIGMA)
#: Standard deviations beyond which a kernel of 32 bits has next to nothing (7e-6).
_NOTHING_BEYOND = 4.5

#: The network halves the grid twice, so tiles are multiples of 4 and at least 16 bins.
GRID_MULTIPLE = 4
SMALLEST_GRID = 16

#: |Q| is given to the networks in units of this many 1/Angstrom.
MOMENTUM_UNIT = 4.0


def pairs_of_axes(dimensions: int) -> list[tuple[int, int]]:
    """The pairs of axes in the order of `correlation`: (0, 1), (0, 2), (1, 2)."""
    return [(i, j) for i in range(dimensions) for j in range(i + 1, dimensions)]


def number_of_conditions(dimensions: int) -> int:
    """Channels of width, correlation and position together."""
    return dimensions + len(pairs_of_axes(dimensions)) + 3


def _conditions(width, correlation, position) -> list[torch.Tensor]:
    """Width, correlation and position as a network sees them: all of size about 1."""
    energy, momentum, outside = position[:, :1], position[:, 1:2], position[:, 2:]
    return [torch.log2(1.0 + width), correlation, energy, momentum / MOMENTUM_UNIT, torch.log2(1.0 + outside)]


class ResolutionOperator:
    """Convolution with a Gaussian of full covariance that changes from bin to bin; nothing is learned.

    The Gaussian is taken apart as covariances are, C = L diag(v) L^T: it is spread along the last axis, each step of
    that taking its share of steps along the other axes with it, then along the last but one, and so on. Steps on the
    other axes are rounded to whole bins, and what the rounding adds to the variance is taken from that of their own
    spread, so that second moments are exact. A kernel between bin centres is what a Gaussian puts into each bin.

    ``convolve`` is H x: every bin is spread by the Gaussian of its own position, so that intensity is conserved (where
    correlations change along the cut, to first order in the change). ``adjoint`` is the transpose of H: the mean over
    each bin's own kernel. Widths above `LARGEST_FWHM_BINS` count as that.

    Parameters
    ----------
    width : Tensor, (N, D, *grid)
        FWHM along each axis in bins.
    correlation : Tensor, (N, P, *grid), optional
        Correlation coefficients of the pairs of axes (`pairs_of_axes`); none if not given.
    """

    def __init__(self, width: torch.Tensor, correlation: torch.Tensor | None = None):
        self.dimensions = dimensions = width.shape[1]
        self.grid = width.shape[2:]
        sigma = width.clamp(0.0, LARGEST_FWHM_BINS) / FWHM_PER_SIGMA
        covariance = {(i, i): sigma[:, i : i + 1] ** 2 for i in range(dimensions)}
        for number, (i, j) in enumerate(pairs_of_axes(dimensions)):
            rho = 0.0 if correlation is None else correlation[:, number : number + 1]
            covariance[i, j] = rho * sigma[:, i : i + 1] * sigma[:, j : j + 1]
        self.passes = [self._pass(axis, covariance) for axis in reversed(range(dimensions))]

    def _pass(self, axis: int, covariance: dict):
        """Where the T steps along one axis lead from each bin, and the kernel there: for H and for its transpose."""
        variance = covariance[axis, axis].clamp(min=0.0)
        reach = _reach(variance)
        steps = self._along(torch.arange(-reach, reach + 1, device=variance.device), 1)
        kernel = _bin_gaussian(variance, reach)  # (N, T, *grid)
        taken = [torch.round(covariance[i, axis] / variance.clamp(min=1e-4) * steps) for i in range(axis)]
        for i in range(axis):
            for j in range(i, axis):
                covariance[i, j] = covariance[i, j] - _total(kernel * (taken[i] * taken[j]))
        there, inside = self._places([*taken, steps], 1)
        back, came = self._places([*taken, steps], -1)
        # What comes to a bin is weighed with the kernel of the bin that it comes from.
        of_sources = _at(kernel, back) if axis else self._rows_of_each(kernel, back)
        return (back, of_sources * came), (there, kernel * inside)

    def _places(self, offsets, sign: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Flat indices of the bins at ``sign * offsets`` from each bin, (N, T, *grid), and where these lie on the grid.

        Steps along axis 0 take no others with them: there whole rows are moved, and the indices are theirs, (T, n).
        """
        if len(offsets) == 1:
            rows = torch.arange(self.grid[0], device=offsets[0].device) + sign * offsets[0].view(-1, 1)
            inside = (rows >= 0) & (rows < self.grid[0])
            return rows.clamp(0, self.grid[0] - 1), inside.view(1, *rows.shape, *[1] * (self.dimensions - 1))
        flat, inside = 0, True
        for axis, size in enumerate(self.grid):
            place = self._along(torch.arange(size, device=offsets[-1].device), 2 + axis)
            if axis < len(offsets):
                place = place + sign * offsets[axis].long()
            inside = inside & (place >= 0) & (place < size)
            flat = flat * size + place.clamp(0, size - 1)
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
            moved = _at(x.expand_as(kernel), places)
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


def _reach(variance: torch.Tensor) -> int:
    """Bins that kernels reach: fewer than `RADIUS` where all are narrow, but not in a graph, whose size is fixed."""
    if torch.compiler.is_exporting():
        return RADIUS
    return min(RADIUS, max(1, math.ceil(_NOTHING_BEYOND * math.sqrt(float(variance.max())))))


def _bin_gaussian(variance: torch.Tensor, reach: int) -> torch.Tensor:
    """What a Gaussian at a bin's centre puts into the bins -reach to reach, (N, 1, *grid) -> (N, T, *grid)."""
    edges = torch.arange(-reach, reach + 2, dtype=variance.dtype, device=variance.device) - 0.5
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
    on the grid divided out: what lies beyond the edges counts as what lies at them. If it counted as nothing, what the
    resolution brings in from there would be piled up at the edges.

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


def _full_precision(x: torch.Tensor):
    """Within it, arithmetic on the device of x is in 32 bits, whatever a training asks for."""
    kind = x.device.type
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()


def root_mean_square(signal: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Of the valid bins of each member, (N, 1, 1, ...)."""
    over = tuple(range(1, signal.ndim))
    square = (signal**2 * valid).sum(over, keepdim=True) / valid.sum(over, keepdim=True).clamp(min=1.0)
    return square.clamp(min=1e-12).sqrt()


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


class Background(nn.Module):
    """What the sample's surroundings add, as a smooth function of energy transfer / Ei and |Q| alone, >= 0.

    It sees no intensity, so it cannot put a peak where a spectrum has one: (N, 3, *grid) -> (N, 1, *grid), in units of
    the spectrum's root mean square.
    """

    def __init__(self, dimensions: int, channels: int = 32):
        super().__init__()
        conv = _CONV[dimensions]
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

    ``signal, valid, error, width, correlation, position -> translated, log_variance, features``

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
    *add*: the candidate is the convolution H s with the Gaussian of the cut, divided by what of each bin's kernel falls
    on valid bins. What it can't know (the momenta outside the cut, the shape of pulses) is left to the network.
    *remove*: the data as they are, their smoothed version, and Richardson-Lucy iterates; the network chooses between
    them bin by bin, which is a learned stopping rule. In use (not in training) physics has the last word: what the
    answer, convolved again, leaves unexplained of the data is given back smoothly, see `reconciled`.
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
        """Take over the weights of another generator; a background that it lacks stays as it was made.

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

    def _candidates(self, operator: ResolutionOperator, signal, valid) -> torch.Tensor:
        """What physics offers, (N, candidates, *grid)."""
        if not self.physics:
            return signal
        smooth = convolved(operator, signal, valid)
        if self.adds:
            return smooth if self.simulation == "ideal" else torch.cat([signal, smooth], dim=1)
        return torch.cat(
            [signal, smooth, *richardson_lucy(operator, signal, valid, self.ITERATES[self.simulation])], dim=1
        )

    def _seen(self, candidates, signal, valid, error, width, correlation, position):
        """The U-Net's input (N, inputs, *grid), and the local scale (N, 1, *grid)."""
        scale = self.local_mean(signal.abs()) / self.local_mean(valid).clamp(min=0.02) + 1e-3
        intensities = [torch.asinh(x / scale) for x in (candidates, signal, error)]
        conditions = [valid, *_conditions(width, correlation, position)]
        return torch.cat([*intensities, *conditions], dim=1), scale

    def level(self, signal, valid, position) -> torch.Tensor | float:
        """The background in the unit of the signal, (N, 1, *grid); 0 without one."""
        if self.background is None:
            return 0.0
        return root_mean_square(signal, valid) * self.background(position)

    def explained(self, signal, translated, valid, width, correlation, position) -> torch.Tensor:
        """What is known of the measured side, (N, 1, *grid): of the given simulation what can be calculated; of a
        measurement what the answer would have been measured as, background included."""
        source = signal if self.adds else translated
        if self.simulation == "ideal":
            source = convolved(ResolutionOperator(width, correlation), source, valid)
        return source if self.adds else source + self.level(signal * valid, valid, position)

    def forward(self, signal, valid, error, width, correlation, position):
        signal, error = signal * valid, error * valid
        with torch.no_grad(), _full_precision(signal):
            operator = ResolutionOperator(width, correlation) if self.physics else None
            candidates = self._candidates(operator, signal, valid)  # (N, K, *grid)
            seen, scale = self._seen(candidates, signal, valid, error, width, correlation, position)
        if self.simulation == "convolved" and self.physics:
            # The signal itself costs nothing to go back through: what was removed and is added again is judged by both.
            candidates = torch.cat([signal, candidates[:, 1:]], dim=1)
        answer, coarse = (x.float() for x in self.network(seen))
        k = self.candidates
        choice = torch.softmax(answer[:, :k], dim=1)
        chosen = (choice * candidates).sum(1, keepdim=True)
        # Bounded, so that no input makes the correction run away from the physics.
        factor = torch.exp(_bounded(answer[:, k : k + 1]))
        result = chosen * factor + scale * _bounded(answer[:, k + 1 : k + 2])
        level = self.level(signal, valid, position)
        result = result + level if self.adds else result - level
        if self.physics and not self.adds and self.simulation == "ideal" and not self.training:
            result = reconciled(operator, result, signal - level, valid)
        log_variance = 2.0 * torch.log(scale) + answer[:, k + 2 : k + 3].clamp(-14.0, 8.0)
        axes = tuple(range(2, 2 + self.dimensions))
        features = torch.cat([coarse.mean(axes), (coarse**2).mean(axes).sqrt()], dim=1)  # (N, 6c)
        return result, log_variance, features


class PatchDiscriminator(nn.Module):
    """(N, 1, *grid) -> a score for each patch, (N, 1, *grid / 4); near 1 for what looks measured (or simulated).

    It sees the intensity in units of its local mean (so that weak modes count beside strong lines), in units of the
    whole spectrum's root mean square, where bins are valid, and the conditions: a width that is right at one energy is
    wrong at another. The scale of a spectrum is free (calculated units on one side, counts on the other), how bright a
    patch is in it is a fact, so there are no normalisation layers. Patches are 22 bins wide (Isola et al., CVPR 2017,
    section 3.2.2).
    """

    def __init__(self, dimensions: int = 2, channels: int = 24, conditional: bool = True):
        super().__init__()
        conv, c = _CONV[dimensions], channels
        self.dimensions, self.conditional = dimensions, conditional
        inputs = 3 + conditional * number_of_conditions(dimensions)
        self.layers = nn.Sequential(
            conv(inputs, c, 4, stride=2, padding=1),  # (N, c, *grid / 2)
            nn.LeakyReLU(0.2),
            conv(c, 2 * c, 4, stride=2, padding=1),  # (N, 2c, *grid / 4)
            nn.LeakyReLU(0.2),
            conv(2 * c, 2 * c, 3, padding=1),
            nn.LeakyReLU(0.2),
            conv(2 * c, 1, 1),
        )

    def forward(self, signal, valid, width, correlation, position):
        signal = signal * valid
        # With its gradient: else the generator would be pulled to another scale without ever arriving.
        signal = signal / root_mean_square(signal, valid)
        mean = _POOL[self.dimensions](7, stride=1, padding=3)(signal.abs()) + 1e-3
        seen = [torch.asinh(signal / mean.detach()), torch.asinh(3.0 * signal), valid]
        if self.conditional:
            seen += _conditions(width, correlation, position)
        return self.layers(torch.cat(seen, dim=1)).float()


class FeatureSampler(nn.Module):
    """Vectors that describe patches of a spectrum, for the contrastive loss: an encoder, and an MLP for each level.

    One for each domain (Han et al., CVPRW 2021, section 3.2); patches of 3, 8 and 18 bins.
    """

    def __init__(self, dimensions: int = 2, channels: int = 16, length: int = 64):
        super().__init__()
        conv, c = _CONV[dimensions], channels
        self.dimensions, self.length = dimensions, length
        self.levels = nn.ModuleList(
            [
                conv(1, c, 3, padding=1),  # (N, c, *grid)
                conv(c, 2 * c, 4, stride=2, padding=1),  # (N, 2c, *grid / 2)
                conv(2 * c, 3 * c, 4, stride=2, padding=1),  # (N, 3c, *grid / 4)
            ]
        )
        widths = (c, 2 * c, 3 * c)
        self.heads = nn.ModuleList(
            [nn.Sequential(nn.Linear(w, length), nn.ReLU(), nn.Linear(length, length)) for w in widths]
        )

    def forward(self, signal, valid, places: list[torch.Tensor]) -> list[torch.Tensor]:
        """Unit vectors (N, patches, length) at flat `places` of each level."""
        x = torch.asinh(signal * valid)
        vectors = []
        for layer, head, at in zip(self.levels, self.heads, places, strict=True):
            x = nn.functional.leaky_relu(layer(x), 0.2)
            vectors.append(nn.functional.normalize(head(x.flatten(2)[:, :, at].transpose(1, 2)).float(), dim=-1))
        return vectors

    @staticmethod
    def draw_places(grid, patches: int, random: torch.Generator) -> list[torch.Tensor]:
        """Flat indices of random bins at each level, the same for both domains."""
        sizes = [math.prod(n // 2**level for n in grid) for level in range(3)]
        return [torch.randperm(size, generator=random)[:patches] for size in sizes]
