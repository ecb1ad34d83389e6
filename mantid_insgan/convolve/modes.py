"""Sources of modes: the model itself, interpolation on a grid of momenta, or a table for a powder."""

from __future__ import annotations

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ..errors import InputError
from ..models.sampling import fibonacci_sphere, random_rotation
from .kernel import ModeTable, cells_of, interpolated

#: Energies below this fraction of the largest are raised to it where intensities are divided by them.
_FLOOR = 1e-4
#: Momenta at which the error of a grid is measured along each axis; most nodes along one to begin with.
_TRIALS, _MOST_FIRST = 64, 13
#: Momenta in one call of the model, and in one for several rows of a powder.
_CALL, _ROWS_TOGETHER = 16384, 4096
#: Calls of each thread that asks a model, so that none waits long for the others; and least momenta of one.
_CALLS_EACH, _LEAST = 2, 1024


class Direct:
    """The model, evaluated at every momentum (h, k, l)."""

    def __init__(self, model):
        self.model = model

    def modes(self, where: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Energies and intensities, each (N, M), at (h, k, l) of shape (N, 3)."""
        return self.model.modes(where)


class DirectPowder:
    """The model, evaluated in a random direction for every |Q|."""

    def __init__(self, model):
        self.model = model
        self._to_hkl = to_hkl(model)

    def modes(self, where: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Energies and intensities, each (N, M), at |Q| of shape (N, 1)."""
        directions = rng.standard_normal((len(where), 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        return self.model.modes(np.abs(where) * directions @ self._to_hkl)


def to_hkl(model) -> np.ndarray:
    """Matrix that converts Q in 1/Angstrom (as a row) to (h, k, l).

    Raises
    ------
    InputError
        If the model has no lattice.
    """
    lattice = getattr(model, "lattice", None)
    if lattice is None:
        raise InputError(
            "the model has no lattice, and a powder average needs one to turn |Q| into (h, k, l)",
            "give the model an attribute `lattice` (a Lattice)",
        )
    return np.linalg.inv(2 * np.pi * lattice.b_matrix().T)


class PowderTable:
    """Modes in many directions at evenly spaced |Q|.

    Parameters
    ----------
    model
        With ``modes`` and ``lattice``.
    low, high, step : float
        Range of |Q| and spacing of the rows, 1/Angstrom.
    orientations : int
        Directions in each row: a Fibonacci sphere, rotated at random.
    rng : numpy.random.Generator
    progress : callable, optional
        Called with (rows done, total number of rows).
    """

    def __init__(self, model, low: float, high: float, step: float, orientations: int, rng, progress=None):
        rows = max(2, int(np.ceil((high - low) / step)) + 1)
        self.modulus = np.linspace(max(low, 0.0), high, rows)
        self.step = self.modulus[1] - self.modulus[0]
        self._sphere = fibonacci_sphere(orientations)
        self._turns = np.array([random_rotation(rng).T for _ in self.modulus])
        self._ask(model, progress)

    def _ask(self, model, progress) -> None:
        parts, turn, rows = [], to_hkl(model), len(self.modulus)
        at_once = max(1, _ROWS_TOGETHER // len(self._sphere))
        for start in range(0, rows, at_once):
            some = slice(start, start + at_once)
            momenta = self.modulus[some, None, None] * (self._sphere @ self._turns[some]) @ turn
            parts.append(model.modes(momenta.reshape(-1, 3)))
            if progress is not None:
                progress(min(start + at_once, rows), rows)
        shape = (rows, len(self._sphere), -1)
        self.energies, self.intensities = (np.vstack(part).reshape(shape) for part in zip(*parts, strict=True))

    def asked(self, model) -> PowderTable:
        """The modes of another model in the same directions."""
        other = copy.copy(self)
        other._ask(model, None)
        return other

    @property
    def size(self) -> int:
        """Number of momenta at which the model was evaluated."""
        return self.energies.shape[0] * self.energies.shape[1]

    @property
    def directions(self) -> int:
        """Directions in each row."""
        return self.energies.shape[1]

    def splines(self, low: float, step: float, count: int) -> np.ndarray:
        """Mean over directions as densities on `count` energies `step` apart from `low`, mbarn/sr, shape (rows, count).

        Each mode is a quadratic spline over three energies: smooth in the energy of the mode, with its mean, and with a
        variance of step^2 / 4 wherever it lies.
        """
        rows = np.broadcast_to(np.arange(len(self.energies))[:, None, None], self.energies.shape)
        place = (self.energies - low) / step
        nearest = np.rint(place)
        away = place - nearest
        total = np.zeros(len(self.energies) * count)
        for offset, share in ((-1, 0.5 * (0.5 - away) ** 2), (0, 0.75 - away**2), (1, 0.5 * (0.5 + away) ** 2)):
            at = nearest + offset
            inside = (at >= 0) & (at < count)
            flat = rows[inside] * count + at[inside].astype(int)
            total += np.bincount(flat, (share * self.intensities)[inside], total.size)
        return total.reshape(-1, count) / self.energies.shape[1]

    def histogram(self, low: float, step: float, count: int, directions: slice = slice(None)) -> np.ndarray:
        """Mean over directions in `count` energy bins of width `step` from `low`, mbarn/sr, shape (rows, count)."""
        energies = self.energies[:, directions]
        rows = np.broadcast_to(np.arange(len(energies))[:, None, None], energies.shape)
        place = np.floor((energies - low) / step)
        inside = (place >= 0) & (place < count)
        flat = rows[inside] * count + place[inside].astype(int)
        total = np.bincount(flat, self.intensities[:, directions][inside], len(energies) * count)
        return total.reshape(-1, count) / energies.shape[1]

    def modes(self, where: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Modes of a random direction in one of the two rows next to |Q| (N, 1), chosen according to their distance."""
        place = np.clip((np.abs(where[:, 0]) - self.modulus[0]) / self.step, 0, len(self.modulus) - 1)
        row = np.minimum((place + rng.random(len(place))).astype(int), len(self.modulus) - 1)
        pick = rng.integers(self.energies.shape[1], size=len(place))
        return self.energies[row, pick], self.intensities[row, pick]


class ModeGrid:
    """Modes on a regular grid of momenta, sorted by energy and interpolated linearly.

    Where branches cross, the sorted energies have a kink, which linear interpolation rounds off within one cell; the
    intensities are exchanged within the same cell. Therefore the grid spacing is halved, axis by axis, until the
    spectrum between its nodes (with a Gaussian of `sigma` in energy) is within `tolerance` of that of the model.
    Intensities are interpolated as I E, which remains finite where I is proportional to 1/E.

    Parameters
    ----------
    model
        With ``modes(q_rlu)``.
    corners : ndarray, shape (2, 3)
        Lowest and highest coordinates along `directions`.
    directions : ndarray, shape (3, 3)
        (h, k, l) of one unit along each axis of the grid, as rows.
    spacing : ndarray, shape (3,)
        Spread of the resolution along each axis: sets the first nodes, see `first`.
    sigma : float
        Standard deviation of the resolution in energy, meV.
    tolerance : float
        Root-mean-square error of the spectra midway between nodes, relative to their root mean square.
    most : int
        Largest number of momenta at which the model is evaluated.
    rng : numpy.random.Generator
    window : tuple of float, optional
        Energies that are looked at, meV; all if not given.
    first : tuple of (int, float)
        Fewest nodes along an axis to begin with, and how many of `spacing` they are apart.

    Attributes
    ----------
    error : float
        The error reached, defined as for `tolerance`.
    """

    def __init__(
        self,
        model,
        corners,
        directions,
        spacing,
        *,
        sigma: float,
        tolerance: float,
        most: int,
        rng,
        window: tuple[float, float] = (-np.inf, np.inf),
        first: tuple[int, float] = (5, 2.0),
        progress: Callable | None = None,
    ):
        self.model, self.directions, self.sigma = model, np.asarray(directions, dtype=float), sigma
        self._window = window
        self._inverse = np.linalg.inv(self.directions)
        self.low, self.high = np.asarray(corners, dtype=float)
        steps = np.ceil((self.high - self.low) / (first[1] * np.asarray(spacing)))
        self.counts = np.clip(steps, first[0], _MOST_FIRST).astype(int)
        self._values = self._sorted(_mesh(self._nodes()))
        errors = np.array([self._error_along(axis, rng) for axis in range(3)])
        while True:
            self.error = float(np.sqrt((errors**2).sum()))
            axis = int(errors.argmax())
            grown = self._values.shape[0] // self.counts[axis] * (2 * self.counts[axis] - 1)
            if progress is not None:
                progress(len(self._values), max(len(self._values), most))
            if self.error <= tolerance or grown > most:
                return
            self._halve(axis)
            errors[axis] = self._error_along(axis, rng)

    @property
    def size(self) -> int:
        """Number of momenta at which the model was evaluated."""
        return len(self._values)

    def cells(self, directions: np.ndarray) -> np.ndarray:
        """Size of a cell along directions in (h, k, l), (D, 3), in units of the directions, shape (D,)."""
        along = np.abs(directions @ self._inverse)
        return 1 / np.maximum((along * (self.counts - 1) / (self.high - self.low)).max(axis=1), 1e-300)

    def _nodes(self) -> list[np.ndarray]:
        return [np.linspace(a, b, n) for a, b, n in zip(self.low, self.high, self.counts, strict=True)]

    def _sorted(self, coordinates: np.ndarray) -> np.ndarray:
        """Energies and I E, sorted by energy: shape (N, 2 M)."""
        energies, intensities = _asked(self.model, coordinates @ self.directions)
        if not hasattr(self, "_floor"):
            self._floor = max(_FLOOR * energies.max(initial=0.0), 1e-9)
        return np.hstack([energies, intensities * np.maximum(energies, self._floor)])

    def _halve(self, axis: int) -> None:
        """Insert a node between each two nodes along one axis; the existing nodes are kept."""
        values = self._values.reshape(*self.counts, -1)
        nodes = self._nodes()
        nodes[axis] = 0.5 * (nodes[axis][1:] + nodes[axis][:-1])
        between = self._sorted(_mesh(nodes))
        old = self.counts.copy()
        self.counts[axis] = 2 * old[axis] - 1
        grown = np.empty((*self.counts, values.shape[-1]))
        every = [slice(None)] * 3
        every[axis] = slice(0, None, 2)
        grown[tuple(every)] = values
        every[axis] = slice(1, None, 2)
        old[axis] -= 1
        grown[tuple(every)] = between.reshape(*old, -1)
        self._values = grown.reshape(-1, values.shape[-1])

    def _error_along(self, axis: int, rng) -> float:
        """Relative error midway between two nodes of one axis, at nodes of the others."""
        index = [rng.integers(n - (a == axis), size=_TRIALS) for a, n in enumerate(self.counts)]
        step = (self.high - self.low) / (self.counts - 1)
        middle = self.low + np.stack(index, axis=1) * step
        middle[:, axis] += 0.5 * step[axis]
        energies, intensities = self.model.modes(middle @ self.directions)
        true = self._spectra(energies, intensities)
        found = self._spectra(*self._interpolated(middle))
        return float(np.sqrt(((found - true) ** 2).sum() / max((true**2).sum(), 1e-300)))

    def _spectra(self, energies: np.ndarray, intensities: np.ndarray) -> np.ndarray:
        """Broadened spectra in the window, (N, energies)."""
        top = self._values[:, : self._values.shape[1] // 2].max()
        low, high = np.clip(self._window, 0.0, top) + np.array([-4, 4]) * self.sigma
        grid = np.linspace(low, high, int(np.clip((high - low) / self.sigma * 2, 32, 400)))
        out = np.zeros((len(energies), grid.size))
        for e, i in zip(energies.T, intensities.T, strict=True):
            out += i[:, None] * np.exp(-0.5 * ((grid - e[:, None]) / self.sigma) ** 2)
        return out

    def modes(self, where: np.ndarray, rng=None) -> tuple[np.ndarray, np.ndarray]:
        """Energies and intensities, each (N, M), at (h, k, l) of shape (N, 3)."""
        return self._interpolated(where @ self._inverse)

    def modes_and_slopes(self, where: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As `modes`, with the gradients of the energies with respect to (h, k, l), shape (N, M, 3)."""
        energies, intensities, slopes = self._interpolated(where @ self._inverse, slopes=True)
        return energies, intensities, slopes @ self._inverse.T

    def change(self, places: np.ndarray, sigma: np.ndarray) -> np.ndarray:
        """How much modes change from each of some places, (n, T, 3), to the next: the largest over n, shape (T - 1,).

        The mean change of energies in units of `sigma` (n, T), weighted with intensities, or the relative change of all
        intensities, whichever is larger.
        """
        energies, intensities = (a.reshape(*places.shape[:2], -1) for a in self.modes(places.reshape(-1, 3)))
        weight = 0.5 * (intensities[:, 1:] + intensities[:, :-1])
        total = np.maximum(weight.sum(axis=-1), 1e-300)
        moved = (weight * np.abs(np.diff(energies, axis=1))).sum(axis=-1) / total / sigma[:, 1:]
        grown = np.abs(np.diff(intensities, axis=1)).sum(axis=-1) / total
        return np.maximum(moved, grown).max(axis=0)

    def _interpolated(self, coordinates: np.ndarray, *, slopes: bool = False):
        cell, part = cells_of((coordinates - self.low) * self._per_unit, self.counts)
        values, half = interpolated(self._values, self.counts, cell, part, slopes=slopes), self._values.shape[1] // 2
        values, changes = values if slopes else (values, None)
        energies = values[:, :half]
        intensities = values[:, half:] / np.maximum(energies, self._floor)
        return (energies, intensities, changes[:, :half] * self._per_unit) if slopes else (energies, intensities)

    @property
    def _per_unit(self) -> np.ndarray:
        """Cells for one unit along each axis, shape (3,)."""
        return (self.counts - 1) / (self.high - self.low)

    def to_cells(self, where: np.ndarray) -> np.ndarray:
        """From (h, k, l), shape (..., 3), to units of the grid's cells from its first node."""
        return (where @ self._inverse - self.low) * self._per_unit

    @property
    def cells_for_hkl(self) -> np.ndarray:
        """Matrix that takes a deviation in (h, k, l), as a row, to units of cells, shape (3, 3)."""
        return self._inverse * self._per_unit

    @property
    def table(self) -> ModeTable:
        """The modes at all nodes."""
        half = self._values.shape[1] // 2
        parts = (np.ascontiguousarray(part) for part in (self._values[:, :half], self._values[:, half:]))
        return ModeTable(self.counts, *parts, self._floor)

    def table_of(self, model, used: np.ndarray, workers: int = 1) -> ModeTable:
        """Modes of another model, asked in `workers` threads, at the nodes that are `used` (N,), bool; zeros at the
        others."""
        index = np.unravel_index(np.flatnonzero(used), tuple(self.counts))
        coordinates = np.stack([nodes[i] for nodes, i in zip(self._nodes(), index, strict=True)], axis=1)
        energies, intensities = _asked(model, coordinates @ self.directions, workers)
        full = np.zeros((2, used.size, energies.shape[1]))
        full[:, used] = energies, intensities * np.maximum(energies, self._floor)
        return ModeTable(self.counts, *full, self._floor)


def _asked(model, momenta: np.ndarray, workers: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Energies in ascending order and intensities, each (N, M), at (h, k, l)."""

    def ordered(part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        energies, intensities = model.modes(part)
        order = np.argsort(energies, axis=1, kind="stable")
        return np.take_along_axis(energies, order, axis=1), np.take_along_axis(intensities, order, axis=1)

    calls = 1 + len(momenta) // _CALL
    if workers > 1:
        calls = max(calls, min(workers * _CALLS_EACH, len(momenta) // _LEAST))
    if calls <= 1 or workers == 1:
        parts = map(ordered, np.array_split(momenta, calls))
    else:
        with ThreadPoolExecutor(workers) as pool:
            parts = list(pool.map(ordered, np.array_split(momenta, calls)))
    return tuple(np.vstack(a) for a in zip(*parts, strict=True))


def _mesh(nodes: list[np.ndarray]) -> np.ndarray:
    """All combinations, the last axis fastest, shape (N, 3)."""
    return np.stack(np.meshgrid(*nodes, indexing="ij"), axis=-1).reshape(-1, len(nodes))
