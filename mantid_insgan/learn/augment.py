"""What varies an example from step to step: noise, background, gaps, windows, and the direction of axes."""

from __future__ import annotations

import numpy as np

from ..convolve.experiment import ExperimentSettings, background, draw_counted, draw_seen
from ..core.slices import intensity_scale
from .examples import Example
from .generator import GRID_MULTIPLE, SMALLEST_GRID
from .operator import pairs_of_axes

#: Share of training examples with the background of an experiment.
WITH_BACKGROUND = 0.5


def with_noise(
    pair, direction: str, rng, *, exact_share: float | None = None, peak_counts=None, varied: bool = True
) -> Example:
    """One pair as an example whose input is simulated, or counted as in an experiment.

    Parameters
    ----------
    pair : pairs.Pair
    direction : {'add-resolution', 'remove-resolution'}
        Which member is the input and which the target.
    rng : numpy.random.Generator
    exact_share : float, optional
        Share of inputs without noise (error 0); a quarter for removing, six tenths for adding if not given.
    peak_counts : float, optional
        Counts in the brightest bins of the magnet (`draw_counted`); log-uniform between 20 and 20000 if not given.
    varied : bool
        Draw an experiment's settings and add its background in half of the examples (to the ideal side without the
        resolution), draw gaps, and flip axes. If False, the pair is used as it was made: no background, and the gaps of
        its own experiment.
    """
    if exact_share is None:
        exact_share = 0.25 if direction == "remove-resolution" else 0.6
    known, detectors, grid = pair.known, pair.detectors, pair.ideal.shape
    magnet = sides = _clean(pair)
    valid = known & pair.valid
    if varied:
        settings = ExperimentSettings.draw(rng, temperature=pair.facts["model"]["temperature"])
        if rng.random() < WITH_BACKGROUND:
            added = background(detectors, settings, 1.0, known.reshape(detectors.shape))
            sides = [m + b.reshape(grid) for m, b in zip(magnet, added, strict=True)]
        valid = known & draw_seen(rng, detectors, settings, grid)
    # An example whose gaps hide nearly all of the intensity teaches nothing.
    if valid.sum() < 0.2 * valid.size or min((x[valid] ** 2).sum() / (x**2).sum() for x in magnet) < 0.3:
        valid = known
    given = 1 if direction == "remove-resolution" else 0
    source, target = sides[given], sides[1 - given]
    if rng.random() < exact_share:
        signal, error = source, np.zeros_like(source)
    else:
        counts = peak_counts or 10 ** rng.uniform(np.log10(20), np.log10(20000))
        signal, error = draw_counted(rng, detectors, np.where(valid, source, 0.0), magnet[given], counts)
    # The jitter keeps the network from relying on the translator's scale.
    scale = intensity_scale(signal, valid) * (10 ** rng.uniform(-0.3, 0.3) if varied else 1.0)
    example = Example(
        *(np.where(valid, x, 0.0) / s for x, s in ((signal, scale), (valid, True), (error, scale), (target, scale))),
        pair.width,
        pair.correlation,
        pair.position,
        pair.facts["axes"][-1]["bins"] > 1,
    )
    return flipped(rng, example) if varied else example


def _clean(pair):
    """Ideal and convolved in units of the latter's size, 0 where they are not known."""
    ideal, convolved = (np.where(pair.known, x, 0.0).astype(np.float64) for x in (pair.ideal, pair.convolved))
    scale = intensity_scale(convolved, pair.known)
    return ideal / scale, convolved / scale


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
        values = values * signs if name == "correlation" else values
        return np.flip(values, [values.ndim - dimensions + a for a in axes])

    return example.changed(turned)


def _swapped(volume: Example) -> Example:
    """Exchange the first two axes of a volume, and the channels that belong to them."""
    order = {"width": [1, 0, 2], "correlation": [0, 2, 1]}  # pairs (0, 1), (0, 2), (1, 2)

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
