"""What a result is worth: intervals that cover the truth, and what is expected of the result convolved again.

All arrays of this module are in the network's units, in which the root mean square of a slice's signal is 1. The
numbers come from pairs that neither the training nor the scores have seen (`learn.calibration`) and stand on the card.
"""

from __future__ import annotations

from itertools import product
from statistics import NormalDist

import numpy as np

from ..core.slices import intensity_scale
from ..core.spectrum import ENDS, Spectrum, frozen
from ..errors import InputError

#: Quantiles of (truth - result) over the network's own standard deviation that a card has: those of the 95 % and the
#: 68 % interval.
QUANTILES = (0.025, 0.16, 0.84, 0.975)
#: The same of a normal distribution.
_NORMAL = tuple(NormalDist().inv_cdf(q) for q in QUANTILES)
#: Smallest brightness and standard deviation that are told apart.
_DARKEST, _SUREST = 1e-3, 1e-9


def quantiles_at(intervals, brightness: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Quantiles of (truth - result) / spread, shape (4, *grid).

    They are interpolated linearly in the logarithms of both, and beyond the outermost knots they stay as they are.

    Parameters
    ----------
    intervals : Intervals
        Of a card.
    brightness, spread : ndarray, shape (*grid)
        The result, and the network's own standard deviation.
    """
    known = np.asarray(intervals.quantiles)
    rows = np.ascontiguousarray(known.reshape(len(known), -1).T)
    row, down = _between(intervals.brightness, np.log(np.maximum(brightness, _DARKEST)))
    column, right = _between(intervals.spread, np.log(np.maximum(spread, _SUREST)))
    first = row * known.shape[2] + column
    down, right = down[..., None], right[..., None]
    above = rows[first] * (1 - right) + rows[first + 1] * right
    first += known.shape[2]
    below = rows[first] * (1 - right) + rows[first + 1] * right
    return np.moveaxis(above * (1 - down) + below * down, -1, 0)


def _between(knots, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The knot below each value, whose logarithms are given, and how far it is from that to the next, 0 to 1."""
    knots = np.log(knots)
    lower = np.clip(np.searchsorted(knots, values) - 1, 0, len(knots) - 2)
    return lower, np.clip((values - knots[lower]) / (knots[lower + 1] - knots[lower]), 0.0, 1.0)


def deviations(intervals, found: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """How far the ends of the 95 % and the 68 % interval lie from the result, shape (4, *grid), in the order of `ENDS`.

    An interval contains the result, and that of 95 % contains that of 68 %, also where quantiles of few bins do not.
    """
    low, least, most, high = quantiles_at(intervals, found, spread) * spread
    least, most = np.minimum(least, 0.0), np.maximum(most, 0.0)
    return np.stack([np.minimum(low, least), least, most, np.maximum(high, most)])


def normal_deviations(error: np.ndarray) -> np.ndarray:
    """What `deviations` gives for a standard error of a normal distribution, shape (4, *grid)."""
    return np.multiply.outer(_NORMAL, error)


def widened(ends: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Deviations of the ends with another, independent error of a normal distribution: the squares are added."""
    return np.copysign(np.hypot(ends, normal_deviations(error)), normal_deviations(np.ones_like(error)))


def ends_of(result: Spectrum) -> dict[str, Spectrum]:
    """The ends of the intervals of a result: a spectrum for each of `ENDS`, with an error of 0.

    They contain the truth of a bin in 95 % and in 68 % of spectra like those on the model's card.

    Raises
    ------
    InputError
        If the result has none.
    """
    if result.deviations is None and result.valid.any():
        raise InputError("the spectrum has no intervals", "take the result of apply with intervals=True")
    found = {}
    for number, name in enumerate(ENDS):
        away = np.nan if result.deviations is None else result.deviations[number]
        signal = np.where(result.valid, result.signal + away, np.nan)
        variance = frozen(np.where(np.isnan(signal), np.nan, 0.0))
        title = title_of_end(name, result.title)
        found[name] = result.replace(signal=frozen(signal), variance=variance, title=title)
    return found


def title_of_end(name: str, title: str) -> str:
    """Title of an end of `ENDS` of a result with a title.

    Examples
    --------
    >>> title_of_end("lower 95 %", "MnO 10 K")
    'lower end of the 95 % interval of MnO 10 K'
    """
    side, _, level = name.partition(" ")
    return f"{side} end of the {level} interval" + f" of {title}" * bool(title)


def expected_variance(reconvolution, error: np.ndarray, again: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Variance of (data - result convolved again) that is expected of spectra like the training data, shape (*grid).

    Parameters
    ----------
    reconvolution : Reconvolution
        Of a card.
    error, again, spread : ndarray, shape (*grid)
        Standard errors of the data, the result convolved again, and the network's own standard deviation.
    """
    parts = (reconvolution.counted * error, reconvolution.relative * again, reconvolution.spread * spread)
    return sum(part.astype(float) ** 2 for part in parts) + reconvolution.floor**2


def pulls_of(direction: str, reconvolution, signal, error, found, again, spread) -> np.ndarray:
    """What differs, over its expected standard deviation, shape (*grid).

    That is the data from the result convolved again when the resolution is removed, and the result from the exact
    convolution on the cut when it is added. Without `reconvolution` only the data's errors are expected, and pulls are
    0 where there is none. Parameters are those of `expected_variance`, and the data and the result.
    """
    if direction == "add-resolution":
        return (found - again) / np.maximum(spread, _SUREST)
    if reconvolution is None:
        return np.where(error > 0, (signal - again) / np.where(error > 0, error, 1.0), 0.0)
    return (signal - again) / np.sqrt(expected_variance(reconvolution, error, again, spread))


#: What is looked at in a block of a slice, in this order, and what is said where that is most unlike the training data:
#: because it is larger, and because it is smaller.
STATISTICS = {
    "misfit": ("{both} differ more than usual", "{both} differ less than usual"),
    "neighbours": (
        "{both} differ in the same direction in neighbouring bins",
        "{both} differ in opposite directions in neighbouring bins",
    ),
    "region": ("{both} differ in a region of neighbouring bins", "{both} differ less than usual in every region"),
    "outliers": ("{both} differ in single bins", "{both} differ less than usual in every bin"),
    "roughness": (
        "the data change more from bin to bin than spectra of the training",
        "the data change less from bin to bin than spectra of the training",
    ),
    "sharpness": (
        "the result has higher peaks than spectra of the training",
        "the result has lower peaks than spectra of the training",
    ),
    "evenness": (
        "the intensity is spread more evenly than in spectra of the training",
        "the intensity is concentrated in fewer bins than in spectra of the training",
    ),
    "spread": ("the network is less sure than usual", "the network is surer than usual"),
    "noise": (
        "the errors of the data are larger than in the training",
        "the errors of the data are smaller than in the training",
    ),
    "features": (
        "the network's own features are unlike those of the training",
        "the network's own features are closer to their mean than those of the training",
    ),
}
#: What differs by the pulls, by the direction.
_BOTH = {
    "remove-resolution": "the result convolved again and the data",
    "add-resolution": "the result and the calculated convolution",
}
#: Data with a smaller p-value are called unlike the training data.
ALARM = 0.05
#: Bins of a block along each axis by the dimensions of the model, and fewest valid ones; those of the training's pairs.
BLOCK, FEWEST = {1: 64, 2: 64, 3: 32}, {1: 16, 2: 200, 3: 2000}
#: Keeps logarithms of ratios that may be 0 finite, and variances that are 0 above it.
_LOW, _EXACT = 0.05, 1e-4


def statistics(
    signal: np.ndarray, valid: np.ndarray, error: np.ndarray, found: np.ndarray, spread: np.ndarray, pulls: np.ndarray
) -> np.ndarray:
    """The numbers of `STATISTICS` but for the features, shape (9,).

    Parameters
    ----------
    signal, valid, error : ndarray, shape (*grid)
        The data.
    found, spread : ndarray, shape (*grid)
        The result and the network's own standard deviation.
    pulls : ndarray, shape (*grid)
        What the result convolved again differs by, over the standard deviation that is expected.
    """
    pulls = np.where(valid, pulls, 0.0)
    square = float((pulls[valid] ** 2).mean())
    smooth = regional(pulls, valid)
    mean = float(np.maximum(found[valid], 0.0).mean())
    power = float((found[valid] ** 2).mean())
    return np.array(
        [
            np.log(square + _LOW**2),
            _correlation(pulls, valid) / max(square, 1e-9),
            np.log(np.abs(smooth[valid]).max() + _LOW),
            np.log(np.abs(pulls[valid]).max() + _LOW),
            np.log(_mean(_roughness(signal, valid, error)) + _LOW),
            np.log(power + 1e-6),
            np.log(mean**2 / (power + 1e-9) + 1e-6),
            np.log(spread[valid].mean() + _SUREST),
            np.log(np.sqrt((error[valid] ** 2).mean()) + _EXACT),
        ]
    )


def all_statistics(card, reconvolution, signal, valid, error, found, spread, again, distance):
    """The numbers of `STATISTICS` of a block, shape (10,), and its pulls, which are 0 where nothing was measured; see
    `statistics` and `pulls_of`.

    The statistics are taken with the root mean square of the block's own signal as the unit: it is a part of a slice
    and is compared with whole spectra of the training.

    Parameters
    ----------
    card : ModelCard
    reconvolution : Reconvolution or None
    signal, valid, error, found, spread, again : ndarray, shape (*grid)
    distance : float
        Of the network's features, see `feature_distance`.
    """
    pulls = np.where(valid, pulls_of(card.direction, reconvolution, signal, error, found, again, spread), 0.0)
    scale = intensity_scale(signal, valid)
    numbers = statistics(signal / scale, valid, error / scale, found / scale, spread / scale, pulls)
    return np.append(numbers, np.log(distance + _LOW)), pulls


def feature_distance(domain, features: np.ndarray) -> float:
    """Distance of a network's features from the training, in units of the threshold of the card's domain."""
    away = np.array(domain.components) @ (features - np.array(domain.mean)) / np.array(domain.scale)
    return float(np.sqrt(np.mean(away**2))) / domain.threshold


def regional(pulls: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Pulls averaged over bins and their neighbours, shape (*grid); `UNIT` has their standard deviation.

    Parameters
    ----------
    pulls : ndarray, shape (*grid)
        0 where nothing was measured.
    valid : ndarray of bool, shape (*grid)
    """
    return _smoothed(pulls) / np.sqrt(np.maximum(_smoothed(valid.astype(float)), 1e-9))


#: Standard deviation of `regional` along one axis, where pulls are independent and have that of 1: bins have the
#: weights 1, 2, 3, 2, 1 over 9.
UNIT = np.sqrt(19) / 9


def _smoothed(values: np.ndarray) -> np.ndarray:
    """The mean over three bins along every axis, twice; nothing lies outside."""
    for axis in range(values.ndim):
        low, high = ([slice(None)] * values.ndim for _ in range(2))
        low[axis], high[axis] = slice(None, -1), slice(1, None)
        for _ in range(2):
            total = values.copy()
            total[tuple(high)] += values[tuple(low)]
            total[tuple(low)] += values[tuple(high)]
            values = total / 3
    return values


def _correlation(values: np.ndarray, valid: np.ndarray) -> float:
    """Mean product of valid neighbours along each axis, averaged over the axes that have any."""
    found = []
    for axis in range(values.ndim):
        one, other = ([slice(None)] * values.ndim for _ in range(2))
        one[axis], other[axis] = slice(1, None), slice(None, -1)
        both = valid[tuple(one)] & valid[tuple(other)]
        if both.any():
            found.append((values[tuple(one)] * values[tuple(other)])[both].mean())
    return float(np.mean(found)) if found else 0.0


def _roughness(signal: np.ndarray, valid: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Squares of the second differences along the last axis over the variance that noise gives them, shape (*grid);
    NaN where a bin or one of its two neighbours was not measured."""
    (a, b, c), three, (p, q, r) = ((x[..., :-2], x[..., 1:-1], x[..., 2:]) for x in (signal, valid, error**2))
    inside = np.full(valid.shape, np.nan)
    squares = (a - 2 * b + c) ** 2 / np.maximum(p + 4 * q + r, _EXACT)
    inside[..., 1:-1] = np.where(np.logical_and.reduce(three), squares, np.nan)
    return inside


def _mean(values: np.ndarray) -> float:
    """Of those that are not NaN; 0 if all are."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else 0.0


def farthest_bin(name: str, signal, valid, error, pulls) -> tuple[int, ...] | None:
    """The bin where one of `STATISTICS` is largest; None for those of a whole block.

    Parameters
    ----------
    name : str
    signal, valid, error, pulls : ndarray, shape (*grid)
        As `statistics` takes them.
    """
    if name in ("misfit", "neighbours", "outliers"):
        size = np.abs(pulls)
    elif name == "region":
        size = np.abs(regional(np.where(valid, pulls, 0.0), valid))
    elif name == "roughness":
        size = np.nan_to_num(_roughness(signal, valid, error))
    else:
        return None
    return tuple(int(i) for i in np.unravel_index(np.where(valid, size, -1.0).argmax(), valid.shape))


class Plausible:
    """Tells how usual a block of a slice is, by its distance to the nearest blocks of the training.

    Parameters
    ----------
    domain : Blocks
        Of a card.
    """

    def __init__(self, domain):
        self._centre, self._scale = np.array(domain.centre), np.array(domain.scale)
        self._known = (np.array(domain.known) - self._centre) / self._scale
        self._noise, self._distances = np.array(domain.noise), np.array(domain.distances)
        self._nearest = domain.nearest

    def distance(self, values: np.ndarray) -> float:
        """Mean distance of a block with these `STATISTICS`, shape (10,), to the nearest known blocks."""
        away = np.sqrt((((values - self._centre) / self._scale - self._known) ** 2).sum(axis=1))
        return float(np.partition(away, self._nearest - 1)[: self._nearest].mean())

    def judge(self, values: np.ndarray) -> tuple[float, float]:
        """p-value of a block with these `STATISTICS`, and its distance in units of that which 1 % of others exceed.

        The p-value is the share of blocks of spectra that were kept out of training and scores, with errors as large,
        that are at least as far away (conformal prediction).
        """
        distance = self.distance(values)
        others = self._of_noise(values[list(STATISTICS).index("noise")])
        above = len(others) - np.searchsorted(others, distance)
        return (1 + float(above)) / (1 + len(others)), distance / float(others[int(0.99 * (len(others) - 1))])

    def _of_noise(self, noise: float) -> np.ndarray:
        """Distances of blocks with errors of this size, ascending; between two sizes they are interpolated."""
        at = np.interp(noise, self._noise, np.arange(len(self._noise)))
        low = min(int(at), len(self._noise) - 2)
        return self._distances[low] * (1 - (at - low)) + self._distances[low + 1] * (at - low)

    def reason(self, values: np.ndarray) -> tuple[str, bool]:
        """The name of the statistic that is farthest from the middle of those of known blocks, and whether it is larger
        than there."""
        away = (values - self._centre) / self._scale
        farthest = int(np.abs(away).argmax())
        return list(STATISTICS)[farthest], bool(away[farthest] > 0)


def in_words(direction: str, name: str, larger: bool) -> str:
    """What is said where one of `STATISTICS` is the most unusual."""
    return STATISTICS[name][0 if larger else 1].format(both=_BOTH[direction])


def blocks_of(shape: tuple[int, ...], dimensions: int) -> list[tuple[slice, ...]]:
    """Blocks that cover a slice: of `BLOCK` bins along each axis, the last ones end with it."""
    size = BLOCK[dimensions]
    starts = [sorted({*range(0, max(n - size, 0) + 1, size), max(n - size, 0)}) for n in shape]
    return [tuple(slice(s, min(s + size, n)) for s, n in zip(place, shape, strict=True)) for place in product(*starts)]


def combined(p_values) -> float:
    """One p-value from those of many blocks, which may depend on each other: their harmonic mean.

    It is approximate, the better the smaller it is: D. J. Wilson, PNAS 116, 1195 (2019).
    """
    return float(len(p_values) / np.sum(1 / np.asarray(p_values)))
