"""Networks that judge a translation: a patch discriminator, and patch features for the contrastive loss."""

from __future__ import annotations

import math

import torch
from torch import nn

from .generator import CONVOLUTION, POOLING, condition_channels, number_of_conditions
from .operator import root_mean_square


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
        conv, c = CONVOLUTION[dimensions], channels
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

    def forward(self, signal, valid, *conditions):
        signal = signal * valid
        # With its gradient; without it the generator would drift in scale for ever.
        signal = signal / root_mean_square(signal, valid)
        mean = POOLING[self.dimensions](7, stride=1, padding=3)(signal.abs()) + 1e-3
        seen = [torch.asinh(signal / mean.detach()), torch.asinh(3.0 * signal), valid]
        if self.conditional:
            seen += condition_channels(*conditions)
        return self.layers(torch.cat(seen, dim=1)).float()


class FeatureSampler(nn.Module):
    """Vectors that describe patches of a spectrum, for the contrastive loss: an encoder, and an MLP for each level.

    One for each domain (Han et al., CVPRW 2021, section 3.2); patches of 3, 8 and 18 bins.
    """

    def __init__(self, dimensions: int = 2, channels: int = 16, length: int = 64):
        super().__init__()
        conv, c = CONVOLUTION[dimensions], channels
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
