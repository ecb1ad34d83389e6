"""What varies an example from step to step: noise, background, gaps, windows, and the direction of axes."""

from __future__ import annotations

import numpy as np

from ..convolve.experiment import (
    RECORDED,
    ExperimentSettings,
    background,
    draw_counted,
    draw_seen,
    elastic_lines,
)
from ..core.slices import intensity_scale
from ..translate.elastic import LEFT_OF_LINE, LEFT_OUT
from .examples import Example
from .generator import GRID_MULTIPLE, SMALLEST_GRID
from .operator import pairs_of_axes

#: Share of training examples with the background of an experiment.
WITH_BACKGROUND = 0.5


#: Share of inputs without noise (error 0), by direction.
EXACT = {"remove-resolution": 0.25, "add-resolution": 0.6}
#: How often each side that is finer than the recorded one is drawn (`Pair.sides`), by direction.
FINER = {"remove-resolution": (0.15, 0.45, 0.4), "add-resolution": (0.5, 0.2, 0.3)}
#: The finer side of pairs that are used as they were made: the stated target, and none at all.
AS_MADE = {"remove-resolution": 1, "add-resolution": 0}
#: Share of spectra with an elastic line from which it is taken before the network sees them.
SEPARATED = 0.7


def with_noise(
    pair,
    direction: str,
    rng,
    *,
    exact_share: float | None = None,
    peak_counts=None,
    varied: bool = True,
    finer: int | None = None,
) -> Example:
    """One pair as an example whose input is simulated, or counted as in an experiment.

    Parameters
    ----------
    pair : pairs.Pair
    direction : {'add-resolution', 'remove-resolution'}
        Which member is the input and which the target.
    rng : numpy.random.Generator
    exact_share : float, optional
        Share of inputs without noise (error 0); `EXACT` if not given.
    peak_counts : float, optional
        Counts in the brightest bins of the magnet (`draw_counted`); log-uniform between 20 and 20000 if not given.
    varied : bool
        Draw an experiment's settings and add its background in half of the examples (to each side with that side's
        resolution), draw gaps, and flip axes. If False, the pair is used as it was made: no background, and the gaps of
        its own experiment.
    finer : int, optional
        Number of the finer side (`Pair.sides`); if not given, drawn by `FINER`, or that of `AS_MADE`.
    """
    if exact_share is None:
        exact_share = EXACT[direction]
    if finer is None:
        finer = int(rng.choice(len(FINER[direction]), p=FINER[direction])) if varied else AS_MADE[direction]
    known, detectors, grid = pair.known, pair.detectors, pair.ideal.shape
    magnet = sides = _clean(pair, finer)
    valid, line = known & pair.valid, 0.0
    if varied:
        settings = ExperimentSettings.draw(rng, temperature=pair.facts["model"]["temperature"])
        valid = known & draw_seen(rng, detectors, settings, grid)
        if rng.random() < WITH_BACKGROUND:
            which = pair.sides[finer], RECORDED
            added = background(detectors, settings, 1.0, known.reshape(detectors.shape), which)
            sides = [m + b.reshape(grid) for m, b in zip(magnet, added, strict=True)]
            if settings.elastic and rng.random() < SEPARATED:
                valid, line = without_line(rng, detectors, settings, valid, which)
    # An example whose gaps hide nearly all of the intensity teaches nothing.
    if valid.sum() < 0.2 * valid.size or any((x[valid] ** 2).sum() < 0.3 * (x**2).sum() for x in magnet):
        valid = known
    given = 1 if direction == "remove-resolution" else 0
    source, target = sides[given], sides[1 - given]
    if rng.random() < exact_share:
        signal, error = source, np.zeros_like(source)
    else:
        counts = peak_counts or 10 ** rng.uniform(np.log10(20), np.log10(20000))
        signal, error = draw_counted(rng, detectors, np.where(valid, source, 0.0), magnet[given], counts)
    if np.ndim(line):
        taken = 1 + LEFT_OF_LINE * rng.standard_normal()
        signal, target = signal - taken * line[given], target - line[1 - given]
    # The jitter keeps the network from relying on the translator's scale.
    scale = intensity_scale(signal, valid) * (10 ** rng.uniform(-0.3, 0.3) if varied else 1.0)
    example = Example(
        *(np.where(valid, x, 0.0) / s for x, s in ((signal, scale), (valid, True), (error, scale), (target, scale))),
        pair.width,
        pair.correlation,
        pair.position,
        pair.facts["axes"][-1]["bins"] > 1,
        pair.finer_conditions(finer),
    )
    return flipped(rng, example) if varied else example


def _clean(pair, finer: int) -> list[np.ndarray]:
    """A finer side and the convolved one in units of the latter's size, 0 where they are not known."""
    sides = [np.where(pair.known, x, 0.0).astype(np.float64) for x in (pair.all_sides[finer], pair.convolved)]
    scale = intensity_scale(sides[1], pair.known)
    return [side / scale for side in sides]


def without_line(rng, detectors, settings, valid, which):
    """What is left where the elastic line has been taken away: valid bins, and the line on both sides.

    Users' spectra are treated so, see `translate.elastic`: bins near E = 0 are left out, the line's feet subtracted.
    """
    lines = elastic_lines(detectors, settings, 1.0, which)
    middle = rng.uniform(*LEFT_OUT) * detectors.line.fwhm
    away = np.abs(detectors.centres) > middle + 0.5 * np.diff(detectors.edges)
    away = np.broadcast_to(away, detectors.shape).reshape(valid.shape)
    return valid & away, np.stack([x.reshape(valid.shape) for x in lines])


def flipped(rng, example: Example) -> Example:
    """Reverse some momentum axes at random; a correlation with one of them changes its sign. The two momentum axes of
    a volume are exchanged in half of the examples."""
    dimensions = example.dimensions
    if dimensions == 3 and example.energy_last and len(set(example.signal.shape[:2])) == 1 and rng.random() < 0.5:
        example = _swapped(example)
    axes = [a for a in range(dimensions - example.energy_last) if rng.random() < 0.5]
    if not axes:
        return example
    signs = [(-1.0) ** ((i in axes) + (j in axes)) for i, j in pairs_of_axes(dimensions)]
    signs = np.array(signs, np.float32).reshape(-1, *[1] * dimensions)

    def turned(name, values):
        if name == "correlation":
            values = values * signs
        elif name == "finer":
            values = np.concatenate([values[:dimensions], values[dimensions:] * signs])
        return np.flip(values, [values.ndim - dimensions + a for a in axes])

    return example.changed(turned)


def _swapped(volume: Example) -> Example:
    """Exchange the first two axes of a volume, and the channels that belong to them."""
    # Pairs of axes are (0, 1), (0, 2), (1, 2).
    order = {"width": [1, 0, 2], "correlation": [0, 2, 1], "finer": [1, 0, 2, 3, 5, 4]}

    def turned(name, values):
        values = values[order[name]] if name in order else values
        return np.swapaxes(values, values.ndim - 3, values.ndim - 2)

    return volume.changed(turned)


def checked_window(window: int) -> int:
    """The number of bins of a window, if the network can take it; ValueError if not."""
    if window % GRID_MULTIPLE or window < SMALLEST_GRID:
        raise ValueError(f"the window of {window} bins is no multiple of {GRID_MULTIPLE} of {SMALLEST_GRID} or more")
    return window


def window(rng, example: Example, size: int) -> Example:
    """A random window of `size` bins along each axis that holds valid bins, padded if the example is smaller."""
    grid = example.signal.shape
    for _ in range(20):
        start = [int(rng.integers(0, max(n - size, 0) + 1)) for n in grid]
        part = tuple(slice(s, s + size) for s in start)
        if example.valid[part].sum() >= 16:
            break

    def cut(_, values):
        lead = values.ndim - len(grid)
        values = values[(slice(None),) * lead + part]
        missing = [(0, 0)] * lead + [(0, size - n) for n in values.shape[lead:]]
        return np.pad(values, missing, mode="edge" if lead else "constant")

    return example.changed(cut)
