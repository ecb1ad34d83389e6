"""The sum of `kernel.blur` in loops that numba compiles: point after point, mode after mode.

Only `kernel.compiled_loops` imports this module, because numba takes a second to import.
"""

import math

import numpy as np
from numba import njit

from .kernel import FLAT, REACH


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz", "arcp"})
def _from_middle(at, slope, centre, sigma):
    """Standard deviations between an energy and the mode that is recorded there."""
    return (at * (1 - slope) - centre) / sigma


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz", "arcp"})
def by_loops(total, which, middles, left, place_rate, share, mixtures, ranges, table, line_squared, factor, cumulative):
    """Add modes through the resolution to `total`: see `blur`, whose parameters these are, one by one."""
    row, cell, mixture = which
    place, root, box, shift = middles
    near, near_shift, own = left
    units, boxes, fits, within = mixtures
    low, step, first, last, middle, shares = ranges
    counts, energies, strengths, floor = table
    points, deviations, dimensions, modes = units.shape[1], units.shape[2], boxes.shape[2], energies.shape[1]
    stride0, stride1 = counts[1] * counts[2], counts[2]
    base = np.empty(points, np.int64)
    part = np.empty((points, 3))
    early = np.empty(points)
    found = np.empty((points, 4))
    top = cumulative.shape[0] - 1
    per_sigma = top / (2 * REACH)
    cumulative = cumulative - cumulative[0]
    rises, all_of_it = np.append(np.diff(cumulative), 0.0), cumulative[top]
    below, behind = np.zeros(total.shape[1] + 2), np.zeros(total.shape[1] + 2)
    for n in range(row.shape[0]):
        start, stop = first[cell[n]], last[cell[n]]
        if stop <= start:
            continue
        bottom = low + start * step - middle[cell[n]]
        ceiling = low + stop * step - middle[cell[n]]
        half = max(ceiling, -bottom)
        unit, spread, fit = units[mixture[n]], boxes[mixture[n]], fits[mixture[n]]
        for g in range(points):
            for j in range(3):
                x = place[n, j]
                for a in range(deviations):
                    x += factor * root[n, j, a] * unit[g, a]
                for d in range(dimensions):
                    x += box[n, d, j] * spread[g, d]
                x = min(max(x, 0.0), counts[j] - 1.0)
                whole = min(int(x), counts[j] - 2)
                part[g, j] = x - whole
                if j == 0:
                    base[g] = whole * stride0
                elif j == 1:
                    base[g] += whole * stride1
                else:
                    base[g] += whole
            early[g] = 0.0
            for a in range(deviations):
                early[g] += factor * shift[n, a] * unit[g, a]
        fastest = math.sqrt((place_rate[n] ** 2).sum())
        rooted = math.sqrt((near[n] ** 2).sum())
        shifted = math.sqrt((near_shift[n] ** 2).sum())
        for m in range(modes):
            b00 = b01 = b02 = b11 = b12 = b22 = 0.0
            steepest = 0.0
            for g in range(points):
                c = energies[base[g], m]
                u, v, w = part[g, 0], part[g, 1], part[g, 2]
                along0, along1 = c[3] + v * c[6], c[5] + v * c[7]
                plane0, plane1 = c[0] + v * c[2], c[1] + v * c[4]
                energy = plane0 + u * plane1 + w * (along0 + u * along1)
                found[g, 0] = energy
                found[g, 1] = plane1 + w * along1
                found[g, 2] = c[2] + u * c[4] + w * (c[6] + u * c[7])
                found[g, 3] = along0 + u * along1
                steepest = max(steepest, found[g, 1] ** 2 + found[g, 2] ** 2 + found[g, 3] ** 2)
                b00 += fit[g, 0] * energy
                b01 += fit[g, 1] * energy
                b02 += fit[g, 2] * energy
                b11 += fit[g, 3] * energy
                b12 += fit[g, 4] * energy
                b22 += fit[g, 5] * energy
            b00 *= within[0]
            b11 *= within[1]
            b22 *= within[2]
            b01 *= math.sqrt(within[0] * within[1])
            b02 *= math.sqrt(within[0] * within[2])
            b12 *= math.sqrt(within[1] * within[2])
            moved = 0.5 * (b00 + b11 + b22)
            fixed = own[n] * factor**2 + line_squared
            fixed += 0.5 * (b00**2 + b11**2 + b22**2) + b01**2 + b02**2 + b12**2
            # No point's Gaussian reaches farther than this from the energies of the range.
            steepest = math.sqrt(steepest)
            widest = fixed + (factor * (steepest * rooted + shifted)) ** 2
            most = REACH * math.sqrt(widest) + half * steepest * fastest
            for g in range(points):
                centre = found[g, 0] - early[g] + moved - middle[cell[n]]
                if centre > ceiling + most or centre < bottom - most:
                    continue
                slope = 0.0
                variance = fixed
                for a in range(3):
                    steep = -near_shift[n, a]
                    for j in range(3):
                        steep += found[g, 1 + j] * near[n, j, a]
                    variance += (factor * steep) ** 2
                    slope += found[g, 1 + a] * place_rate[n, a]
                sigma = math.sqrt(variance)
                reach = REACH * sigma
                away0, away1 = bottom * (1 - slope) - centre, ceiling * (1 - slope) - centre
                if min(away0, away1) > reach or max(away0, away1) < -reach:
                    continue
                c = strengths[base[g], m]
                u, v, w = part[g, 0], part[g, 1], part[g, 2]
                plane = c[0] + v * c[2] + u * (c[1] + v * c[4])
                weight = plane + w * (c[3] + v * c[6] + u * (c[5] + v * c[7]))
                weight *= share / max(found[g, 0], floor) / step
                if weight == 0.0:
                    continue
                begin, end = start, stop
                if away1 > away0 + 1e-9 * sigma:
                    along = (ceiling - bottom) / (away1 - away0)
                    begin = start + max(0, int(math.floor((-reach - away0) * along / step)))
                    end = min(stop, start + int(math.ceil((reach - away0) * along / step)))
                turn = 1 - slope
                if abs(turn) > FLAT:
                    # The cumulative at the edges of all bins that it reaches; it is `all_of_it` behind them.
                    pace, height = turn / sigma * step * per_sigma, weight / turn
                    x = ((bottom * turn - centre) / sigma + REACH) * per_sigma
                    for k in range(begin - start, end - start + 1):
                        at = min(max(x + k * pace, 0.0), top)
                        i = np.int32(at)
                        below[k] += height * (cumulative[i] + (at - i) * rises[i])
                    behind[end - start + 1] += height * all_of_it
                    continue
                for k in range(begin, end):
                    z = _from_middle(bottom + (k - start + 0.5) * step, slope, centre, sigma)
                    density = math.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
                    total[row[n], k] += shares[cell[n], k] * weight * density * step / sigma
        passed, here = 0.0, below[0]
        for k in range(start, stop):
            before, passed = here, passed + behind[k - start + 1]
            here = below[k - start + 1] + passed
            total[row[n], k] += shares[cell[n], k] * (here - before)
        below[: stop - start + 2] = 0.0
        behind[: stop - start + 2] = 0.0
