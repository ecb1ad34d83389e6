"""How far the kernels of the resolution reach: for the networks, which need torch, and for what applies them, which
does not."""

from __future__ import annotations

import math

from .constants import FWHM_PER_SIGMA

#: Widest resolution along an axis, FWHM in bins; wider ones are cut to it.
LARGEST_FWHM_BINS = 12.0
#: Half-length of the kernels in bins: 2.7 standard deviations of the widest.
RADIUS = math.ceil(2.7 * LARGEST_FWHM_BINS / FWHM_PER_SIGMA)
#: Standard deviations beyond which a kernel of 32 bits has next to nothing (7e-6).
NOTHING_BEYOND = 4.5


def reach_of(widest: float) -> int:
    """Bins that kernels of a FWHM of up to `widest` bins reach, at most `RADIUS`."""
    return min(RADIUS, max(1, math.ceil(NOTHING_BEYOND * widest / FWHM_PER_SIGMA)))
