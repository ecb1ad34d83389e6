"""The bins of a spectrum as columns in energy, and the energies at which the resolution is calculated."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..core.spectrum import Spectrum
from ..errors import InputError, RunFactError
from ..instruments import Resolution
from ..instruments.covariance import DEVIATIONS
from ..instruments.frames import Points

#: Bins whose reach is worked out at once.
_CHUNK = 32768
#: Columns and energies on which the change of the resolution along energy is measured.
_PROBES = (24, 49)
#: Change between two energies at which the resolution is worked out: of the place of the sample, in standard
#: deviations of the resolution; of the covariance, relative to itself in the direction where it changes most.
_PLACE_STEP, _COVARIANCE_STEP = 1.0, 0.5
#: Such steps of place and of covariance in one of `Cells`, in which both go linearly with energy.
_CELL = np.array([0.7, 1.0])
#: Change of the modes between two such energies, as `change` of `cells_between` measures it, that counts as one step.
_MODES_STEP = 0.5
#: Standard deviation along the open axes that `OutsideBins` leaves, in bins: a bin's own is 0.29.
_LEFT = 0.125
#: Most energies at which the resolution is worked out for one column.
_MOST_NODES = 200


class Bins:
    """The bins of a spectrum as columns: every momentum bin times all energies.

    Parameters
    ----------
    spectrum : Spectrum
        In the HKL frame, or |Q| for a powder; with one energy axis.
    resolution : Resolution
    reachable : ndarray of bool, shape (momentum bins, energies), optional
        Bins in the kinematic range, if already known; calculated if not given.

    Raises
    ------
    InputError
        If the momentum axes are neither directions in r.l.u. nor |Q|.
    RunFactError
        If energies lie above Ei, the lattice is missing, or no bin lies in the kinematic range.

    Attributes
    ----------
    columns : ndarray of int
        Momentum bins (C order) with at least one valid energy bin in the kinematic range.
    reachable : ndarray of bool, shape (momentum bins, energies)
    directions : ndarray, shape (D, 3)
        (h, k, l) of one unit along each momentum axis, integrated ones included. For a powder ((1, 0, 0),).
    """

    def __init__(self, spectrum: Spectrum, resolution: Resolution, reachable: np.ndarray | None = None):
        self.spectrum, self.resolution = spectrum, resolution
        momenta = [a for a in spectrum.axes if not a.is_energy]
        self.frame = resolution.frame(spectrum)
        self.powder = len(momenta) == 1 and momenta[0].is_modulus_q
        if not self.powder and not (momenta and all(a.is_rlu or a.projection is not None for a in momenta)):
            raise InputError(
                f"the momentum axes {', '.join(repr(a.name) for a in momenta) or '(none)'} are neither directions in "
                "(h, k, l) nor |Q|, so a model of S(Q,E) cannot be placed",
                "use a cut in the HKL frame with axes like [H,0,0], or |Q| for a powder",
            )
        self.momenta = momenta
        self.energy = spectrum.axes[spectrum.energy_axis]
        self.shape = tuple(len(a) for a in momenta)
        self.directions = np.eye(1, 3) if self.powder else np.array([_direction(a) for a in momenta])
        self.widths = np.array([a.width for a in momenta])
        self.energy_order = [i for i in range(spectrum.ndim) if i != spectrum.energy_axis]
        self.reachable = self._reachable() if reachable is None else reachable
        wanted = self.reachable & self.to_columns(spectrum.valid)
        self.columns = np.flatnonzero(wanted.any(axis=1))
        if not self.reachable.any():
            raise RunFactError(self._out_of_reach(), "check the incident energy (--ei) and the limits of the axes")

    @property
    def scattered(self) -> bool:
        """True if Q depends on the energy: a crystal measured at one angle."""
        return self.frame.still

    def to_columns(self, values: np.ndarray) -> np.ndarray:
        """From the shape of the spectrum to (momentum bins, energies)."""
        return np.moveaxis(values, self.spectrum.energy_axis, -1).reshape(-1, len(self.energy))

    def from_columns(self, values: np.ndarray) -> np.ndarray:
        """From (momentum bins, energies) to the shape of the spectrum."""
        return np.moveaxis(values.reshape(*self.shape, len(self.energy)), -1, self.spectrum.energy_axis)

    def coordinates(self, columns: np.ndarray, offsets: np.ndarray | float = 0.0) -> np.ndarray:
        """Coordinates along the momentum axes, shape (N, D), at `offsets` (N, D) from the centres in bin widths."""
        index = np.unravel_index(columns, self.shape)
        centres = np.stack([a.centers[i] for a, i in zip(self.momenta, index, strict=True)], axis=1)
        return centres + offsets * self.widths

    def points(self, coordinates: np.ndarray, energies: np.ndarray) -> Points:
        """Points of the resolution for coordinates (N, D) at energies (N,)."""
        full = np.empty((len(coordinates), self.spectrum.ndim))
        full[:, self.energy_order] = coordinates
        full[:, self.spectrum.energy_axis] = energies
        return self.frame.at(full)

    def place(self, coordinates: np.ndarray, points: Points | None) -> np.ndarray:
        """Momenta at which the model is evaluated: (h, k, l), shape (N, 3), or |Q|, shape (N, 1).

        Outside the kinematic range `points` are clamped, which is right for the widths and wrong for the momenta; they
        are needed only if the momentum depends on the energy (`scattered`).
        """
        if self.powder:
            return np.abs(coordinates)
        return points.sample[:, :3] if self.scattered else coordinates @ self.directions

    @cached_property
    def matters(self) -> np.ndarray:
        """False for a momentum axis along which the energy decides where the sample is met, shape (D,)."""
        if not self.scattered:
            return np.ones(len(self.widths), bool)
        column, energy = np.argwhere(self.reachable)[0]
        offsets = 0.3 * np.eye(len(self.widths) + 1, len(self.widths), -1)
        coordinates = self.coordinates(np.full(len(offsets), column), offsets)
        at = self.points(coordinates, np.full(len(offsets), self.energy.centers[energy]))
        middle, *aside = self.place(coordinates, at)
        return np.array([not np.allclose(place, middle) for place in aside])

    def covariance(self, points: Points) -> np.ndarray:
        """Covariance of (h, k, l, E), or (|Q|, E), at points."""
        return self.resolution.covariance(points, of_sample=True)

    def deviations(self, points: Points) -> np.ndarray:
        """Of (h, k, l, E), or (|Q|, E), for a standard deviation of each of `DEVIATIONS`, shape (N, 14, 4 or 2)."""
        return self.resolution.deviations(points, np.eye(len(DEVIATIONS)))

    @cached_property
    def travel(self) -> tuple[np.ndarray, np.ndarray]:
        """Energies (T,) and how far place and covariance move from each to the next, see `_travel`."""
        return _travel(self)

    def _reachable(self) -> np.ndarray:
        """Bins whose centre lies in the kinematic range, shape (momentum bins, energies)."""
        size = math.prod(self.shape)
        out = np.empty((size, len(self.energy)), bool)
        rows = max(1, _CHUNK // len(self.energy))
        for start in range(0, size, rows):
            columns = np.arange(start, min(start + rows, size))
            energies = np.tile(self.energy.centers, len(columns))
            coordinates = self.coordinates(np.repeat(columns, len(self.energy)))
            met = self._met(coordinates, self.points(coordinates, energies))
            out[columns] = (met & (energies <= self.resolution.ei)).reshape(len(columns), -1)
        return out

    def _met(self, coordinates: np.ndarray, points: Points) -> np.ndarray:
        if self.powder:
            return np.isclose(points.sample[:, 0], np.abs(coordinates[:, 0]), rtol=1e-6, atol=1e-9)
        found = points.sample[:, :3] @ np.linalg.pinv(self.directions)
        slack = np.full(len(self.widths), 1e-6) * np.maximum(1, np.abs(coordinates).max(axis=0, initial=0))
        if self.scattered:
            # At one angle the energy decides where on an integrated axis a neutron is found: anywhere inside counts.
            slack = np.where([a.integrated for a in self.momenta], 0.5 * self.widths, slack)
            if all(not a.integrated for a in self.momenta) and len(self.momenta) == 3:
                slack = self.widths
        beam = self.resolution.beam
        final = np.linalg.norm(np.array([0.0, 0.0, beam.ki]) - points.q, axis=1)
        scattered = np.isclose(final, beam.kf(points.energy), rtol=1e-6)
        return scattered & (np.abs(found - coordinates) <= slack).all(axis=1)

    def _out_of_reach(self) -> str:
        limits = "; ".join(f"{a.name} {a.edges[0]:g} to {a.edges[-1]:g} {a.unit}" for a in self.spectrum.axes)
        ki = self.resolution.beam.ki
        low, high = self.resolution.beam.kf(self.energy.centers[[-1, 0]])
        return (
            f"no bin of the grid ({limits}) lies in the kinematic range: with Ei = {self.resolution.ei:g} meV neutrons "
            f"reach |Q| from {ki - high:.3g} to {ki + high:.3g} 1/Angstrom at {self.energy.centers[0]:g} meV and from "
            f"{ki - low:.3g} to {ki + low:.3g} 1/Angstrom at {self.energy.centers[-1]:g} meV"
        )


class OutsideBins(Bins):
    """The same bins with only the part of the resolution outside the cut.

    Along the open axes of a cut the resolution can be added to the cut or removed from it; its effect along the other
    directions cannot be calculated from the cut. This class has the covariance along those other directions only; along
    the open axes a small width is kept so that the result is smooth.
    """

    def __init__(self, spectrum: Spectrum, resolution: Resolution):
        super().__init__(spectrum, resolution)
        axes = completed(self.directions)
        self._axes = np.block([[axes, np.zeros((3, 1))], [np.zeros((1, 3)), np.ones((1, 1))]])
        shown = [not a.integrated for a in self.momenta] + [False] * (3 - len(self.momenta))
        self._shown = np.array([*shown, not self.energy.integrated])
        widths = np.concatenate([self.widths, np.zeros(3 - len(self.widths)), [self.energy.width]])
        self._left = np.where(self._shown, (_LEFT * widths) ** 2, 0.0)

    def covariance(self, points: Points) -> np.ndarray:
        """Covariance of (h, k, l, E) at points, in the directions outside the cut."""
        inverse = np.linalg.inv(self._axes)
        along = inverse.T @ super().covariance(points) @ inverse
        outside = np.outer(~self._shown, ~self._shown)
        return self._axes.T @ (along * outside + np.diag(self._left)) @ self._axes


def completed(directions: np.ndarray) -> np.ndarray:
    """The directions, completed with h, k or l to three independent ones, shape (3, 3)."""
    rows = list(directions)
    for unit in np.eye(3):
        if len(rows) < 3 and np.linalg.matrix_rank([*rows, unit], tol=1e-6) > len(rows):
            rows.append(unit)
    return np.array(rows)


def _direction(axis) -> np.ndarray:
    if axis.projection is not None:
        return axis.projection
    return np.eye(3)["hkl".index(axis.name.strip(" []()").lower()[-1])]


@dataclass(frozen=True)
class Nodes:
    """Energies at which the resolution is calculated, and the weight of each in every energy bin.

    Parameters
    ----------
    energies : ndarray, shape (K,)
        meV.
    edges : ndarray, shape (F + 1,)
        Energy bins, meV: those of the spectrum or a subdivision of them.
    shares : ndarray, shape (K, F)
        Each column sums to 1: linear between nodes, or 1 for the bin of a node.
    """

    energies: np.ndarray
    edges: np.ndarray
    shares: np.ndarray


def nodes_between(bins: Bins) -> Nodes:
    """As few energies as the variation of the resolution with energy allows; results are interpolated between them."""
    energies, steps = bins.travel
    travelled = np.concatenate([[0], np.cumsum(steps.sum(axis=0))])
    count = int(np.clip(math.ceil(travelled[-1]) + 1, 2, _MOST_NODES))
    travelled += 1e-9 * np.arange(travelled.size)
    where = np.interp(np.linspace(0, travelled[-1], count), travelled, energies)
    shares = np.stack([np.interp(bins.energy.centers, where, row) for row in np.eye(count)])
    return Nodes(where, bins.energy.edges, shares)


@dataclass(frozen=True)
class Cells:
    """Energies between which place and resolution are taken to change linearly.

    Parameters
    ----------
    borders : ndarray, shape (K,)
        meV, at least two; all of them are `edges`.
    edges : ndarray, shape (F + 1,)
        Energy bins, meV: those of the spectrum or a division of them.
    """

    borders: np.ndarray
    edges: np.ndarray


def cells_between(bins: Bins, change: Callable | None = None) -> Cells:
    """As few ranges as the change of place and resolution along energy allows.

    Parameters
    ----------
    bins : Bins
    change : callable, optional
        Of places (n, T, 3) and standard deviations of the energy (n, T): how much the modes of a model change from each
        place to the next, (T - 1,). Where that is less than `_MODES_STEP`, the place may move on.
    """
    energies, steps = bins.travel if change is None or not bins.scattered else _travel(bins, change)
    travelled = np.concatenate([[0], np.cumsum(steps.T @ (1 / _CELL))])
    parts = max(1, math.ceil(travelled[-1] / len(bins.energy)))
    edges = np.linspace(bins.energy.edges[0], bins.energy.edges[-1], parts * len(bins.energy) + 1)
    count = int(np.clip(math.ceil(travelled[-1]), 1, _MOST_NODES))
    travelled += 1e-9 * np.arange(travelled.size)
    wanted = np.interp(np.linspace(0, travelled[-1], count + 1), travelled, energies)
    index = np.unique(np.rint((wanted - edges[0]) / (edges[1] - edges[0])).astype(int).clip(0, edges.size - 1))
    index[-1] = edges.size - 1  # energies above Ei belong to the last range
    return Cells(edges[index], edges)


def nodes_in_bins(bins: Bins) -> Nodes:
    """A node in every energy bin; several if the momentum of the sample changes within a bin."""
    _, steps = bins.travel
    parts = max(1, math.ceil(steps[0].sum() / len(bins.energy)))
    edges = np.linspace(bins.energy.edges[0], bins.energy.edges[-1], parts * len(bins.energy) + 1)
    return Nodes(0.5 * (edges[1:] + edges[:-1]), edges, np.eye(edges.size - 1))


def _travel(bins: Bins, change: Callable | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Energies (T,) and how far place and covariance move from each to the next, in the steps allowed: (2, T - 1)."""
    columns = bins.columns if len(bins.columns) else np.arange(math.prod(bins.shape))
    columns = columns[np.unique(np.linspace(0, len(columns) - 1, _PROBES[0]).astype(int))]
    energies = np.linspace(bins.energy.edges[0], min(bins.energy.edges[-1], bins.resolution.ei), _PROBES[1])
    coordinates = np.repeat(bins.coordinates(columns), len(energies), axis=0)
    points = bins.points(coordinates, np.tile(energies, len(columns)))
    covariance = bins.covariance(points)
    place = bins.place(coordinates, points)
    size, moved = place.shape[1], np.diff(place.reshape(len(columns), len(energies), -1), axis=1)
    covariance = (covariance + _bin_spread(bins, size)).reshape(len(columns), len(energies), size + 1, size + 1)
    block = np.linalg.inv(covariance[:, 1:, :size, :size])
    place_steps = np.sqrt(np.einsum("nti,ntij,ntj->nt", moved, block, moved)) / _PLACE_STEP
    place_steps = place_steps.max(axis=0)
    if change is not None:
        sigma = np.sqrt(covariance[..., size, size])
        places = place.reshape(len(columns), len(energies), -1)
        place_steps = np.minimum(place_steps, change(places, sigma) / _MODES_STEP)
    root = np.linalg.inv(np.linalg.cholesky(covariance[:, 1:]))
    grown = root @ np.diff(covariance, axis=1) @ np.swapaxes(root, -1, -2)
    grown = np.abs(np.linalg.eigvalsh(grown)).max(axis=-1) / _COVARIANCE_STEP
    return energies, np.stack([place_steps, np.median(grown, axis=0)])


def _bin_spread(bins: Bins, size: int) -> np.ndarray:
    """Covariance of the volume of a bin, which adds to that of the resolution, shape (size + 1, size + 1)."""
    out = np.zeros((size + 1, size + 1))
    along = (bins.directions[:, :size] * bins.widths[:, None])[bins.matters]
    out[:size, :size] = along.T @ along / 12
    out[size, size] = bins.energy.width**2 / 12
    return out
