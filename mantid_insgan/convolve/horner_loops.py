"""The sum of `horner.Rows` in loops that numba compiles; only that module imports this one."""

import math

import numpy as np
from numba import njit

#: Steps after which a phase is worked out anew, so that rounding does not add up.
_ANEW = 256


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz", "arcp"})
def _phases(angle, cosine, sine, count):
    """Write cosine and sine of 0, 1, 2, ... times an angle."""
    c1, s1, c, s = math.cos(angle), math.sin(angle), 1.0, 0.0
    for f in range(count):
        if f % _ANEW == 0:
            c, s = math.cos(angle * f), math.sin(angle * f)
        cosine[f], sine[f] = c, s
        c, s = c * c1 - s * s1, c * s1 + s * c1


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz", "arcp"})
def by_loops(real, imag, shares, ranges, begin, turn, table_real, table_imag, kept):
    """Add the sum to real and imaginary part, each (K, F): see `Rows.summed`, whose parameters these are."""
    work = np.empty((6, real.shape[1]))
    c, s, cosine, sine, re, im = work[0], work[1], work[2], work[3], work[4], work[5]
    for k in range(real.shape[0]):
        count = kept[k]
        _phases(turn[k], c, s, count)
        for p in range(shares.shape[0]):
            re[:count] = 0.0
            im[:count] = 0.0
            for row in range(ranges[p, 1] - 1, ranges[p, 0] - 1, -1):
                share, u, v = shares[p, k, row], table_real[row], table_imag[row]
                for f in range(count):
                    turned = re[f] * c[f] - im[f] * s[f] + share * u[f]
                    im[f] = re[f] * s[f] + im[f] * c[f] + share * v[f]
                    re[f] = turned
            _phases(begin[p, k], cosine, sine, count)
            for f in range(count):
                real[k, f] += re[f] * cosine[f] - im[f] * sine[f]
                imag[k, f] += re[f] * sine[f] + im[f] * cosine[f]
