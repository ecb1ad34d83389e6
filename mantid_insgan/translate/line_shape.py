"""The shape of a measured elastic line: a sum of parts made of the calculated one, at any resolution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..convolve.detectors import delayed_share
from ..instruments.elastic_line import ElasticLine
from ..instruments.instrument import Resolution

#: The shape of a line is a sum, without negative parts, of the calculated line made so many times as wide; of a narrow
#: one (`_EDGE`) spread evenly to one side over some distances (FWHM), which gives shoulders; of the calculated one
#: spread over larger distances, which gives wings that fall outwards; and of the tails of neutrons that were delayed by
#: these mean paths (m).
_FACTORS = (0.3, 0.45, 0.65, 0.8, 1.0, 1.25, 1.6, 2.2)
_EDGE = 0.3
_NARROW, _WIDE = (0.5, 0.75, 1.0, 1.4), (1.4, 1.8, 2.2, 2.7)
_PATHS = (0.03, 0.05, 0.08, 0.12, 0.2, 0.35)


class LineParts:
    """Parts of a line's shape for one resolution.

    Parameters
    ----------
    resolution : Resolution
    delayed : Resolution, optional
        The spectrometer that recorded the delayed neutrons; `resolution` if not given.

    Attributes
    ----------
    fwhm : float
        Of the calculated resolution at E = 0, meV.
    """

    def __init__(self, resolution: Resolution, delayed: Resolution | None = None):
        self._delayed, self.fwhm = delayed or resolution, float(resolution.fwhm_energy(0.0))
        line = ElasticLine(resolution)
        self._grid = np.linspace(-20, 20, 4001) * self.fwhm
        density = line(self._grid)
        below = np.cumsum(density) - 0.5 * density
        self._below = below / (below[-1] + 0.5 * density[-1])
        self._twice = np.cumsum(self._below) * (self._grid[1] - self._grid[0])
        # The delayed neutrons are spread over much more than the line, for which a few points are enough.
        self._offsets = np.linspace(-4, 4, 34) * self.fwhm
        self._shares = np.diff(np.interp(self._offsets, self._grid, self._below))
        self._offsets = 0.5 * (self._offsets[1:] + self._offsets[:-1])

    def parts(self, edges: np.ndarray, shift: float, *, tails: np.ndarray | None = None) -> np.ndarray:
        """All parts of a line at `shift` (meV) in energy bins, each of area 1, shape (P, K), 1/meV: widths, narrow
        spreads, tails (calculated if not given), and wide spreads to the left and to the right."""
        x = edges - shift
        widths = [np.interp(x / f, self._grid, self._below, left=0.0, right=1.0) for f in _FACTORS]
        shoulders, wings = self._spread(x, _NARROW, _EDGE), self._spread(x, _WIDE, 1.0)
        near, far = (np.diff(np.array(s), axis=1) / np.diff(edges) for s in ([*widths, *shoulders], wings))
        return np.concatenate([near, self.tails(edges) if tails is None else tails, far])

    def tails(self, edges: np.ndarray) -> np.ndarray:
        """Tails of delayed neutrons, one for each path, shape (T, K)."""
        at = edges - self._offsets[:, None]
        below = [self._shares @ delayed_share(at, self._delayed, path) for path in _PATHS]
        return np.diff(np.array(below), axis=1) / np.diff(edges)

    def _spread(self, x: np.ndarray, distances: tuple[float, ...], factor: float) -> list[np.ndarray]:
        """Share below x (meV) of a line `factor` times as wide, spread to the left over each distance, and to the
        right."""

        def cumulated(at):
            at = at / factor
            beyond = np.maximum(at - self._grid[-1], 0.0)  # all of the line lies below
            return factor * (np.interp(at, self._grid, self._twice, left=0.0) + beyond)

        at, far = cumulated(x), self.fwhm * np.array(distances)
        return [*((cumulated(x + d) - at) / d for d in far), *((at - cumulated(x - d)) / d for d in far)]


def _sharp(resolution: Resolution, edges: np.ndarray) -> np.ndarray:
    """The same parts without any resolution: all but the tails lie in the bin that holds E = 0."""
    inside = ((edges[:-1] <= 0) & (edges[1:] > 0)) / np.diff(edges)
    tails = [np.diff(delayed_share(edges, resolution, path)) / np.diff(edges) for path in _PATHS]
    return np.array([*[inside] * CORE_PARTS, *tails, *[inside] * (2 * len(_WIDE))])


#: Parts of the core, and where the wings on either side are among all parts.
CORE_PARTS = len(_FACTORS) + 2 * len(_NARROW)
_LEFT_PARTS = slice(CORE_PARTS + len(_PATHS), CORE_PARTS + len(_PATHS) + len(_WIDE))
_RIGHT_PARTS = slice(_LEFT_PARTS.stop, _LEFT_PARTS.stop + len(_WIDE))


@dataclass(frozen=True)
class LineShape:
    """Shape of the line of a whole spectrum: weights of the parts (their sum is 1), place (meV), how far from it bins
    are hidden (meV), and how far the line is moved in `profiles` (meV)."""

    weights: np.ndarray
    shift: float
    hidden: float
    moved: float

    def profiles(self, line: LineParts, edges: np.ndarray) -> np.ndarray:
        """The whole line, its wings to the left and to the right, and the line moved up less the line moved down by
        `moved`, shape (4, K)."""
        tails = line.tails(edges)
        down, here, up = (
            self.weights[:, None] * line.parts(edges, self.shift + by, tails=tails)
            for by in (-self.moved, 0.0, self.moved)
        )
        wings = (here[part].sum(axis=0) for part in (_LEFT_PARTS, _RIGHT_PARTS))
        return np.stack([here.sum(axis=0), *wings, up.sum(axis=0) - down.sum(axis=0)])

    def sharp(self, resolution: Resolution, edges: np.ndarray) -> np.ndarray:
        """The same without any resolution: all but the tails lie in the bin that holds E = 0."""
        parts = self.weights[:, None] * _sharp(resolution, edges)
        wings = (parts[part].sum(axis=0) for part in (_LEFT_PARTS, _RIGHT_PARTS))
        return np.stack([parts.sum(axis=0), *wings, np.zeros(parts.shape[1])])


def fwhm_of(line: LineParts, shape: LineShape) -> float:
    """FWHM of a fitted shape, meV."""
    edges = np.linspace(-3, 3, 601) * line.fwhm + shape.shift
    nothing = np.zeros((len(_PATHS), 600))
    found = shape.weights @ line.parts(edges, shape.shift, tails=nothing)
    above = np.flatnonzero(found > 0.5 * found.max())
    return float(edges[above[-1] + 1] - edges[above[0]])
