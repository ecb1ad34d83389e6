"""From the bins of a spectrum to points in the laboratory frame, and from deviations there to those along the axes."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..core.run import Lattice
from ..core.spectrum import Axis, Spectrum, energy_axis, open_axes
from ..errors import InputError, RunFactError
from .beam import Beam

#: Largest departure of U = UB B^-1 from a rotation (elements of U U^T against the unit matrix).
_UB_TOLERANCE = 0.05
_LETTER = re.compile(r"^\[?\(?q?_?(?P<letter>[hkl])\)?\]?$", re.IGNORECASE)
_CARTESIAN = re.compile(r"(?:^|_)q?_?(?:sample|lab)?_?(?P<letter>[xyz])$", re.IGNORECASE)


@dataclass(frozen=True)
class Points:
    """Points at which the resolution is calculated.

    Parameters
    ----------
    q : ndarray, shape (N, 3)
        Q = ki - kf in the laboratory frame, 1/Angstrom.
    energy : ndarray, shape (N,)
        meV.
    gradients : ndarray, shape (N, D, 4)
        Derivative of each open coordinate of the spectrum with respect to (Q_x, Q_y, Q_z, E) in the laboratory frame.
    sample : ndarray, shape (N, M)
        The same points in the coordinates of a model of S(Q, E): (h, k, l, E) for axes in r.l.u., Cartesian
        (Q_x, Q_y, Q_z, E) of the sample otherwise, (|Q|, E) for a powder.
    sample_gradients : ndarray, shape (N, M, 4)
        Derivative of `sample` with respect to (Q_x, Q_y, Q_z, E) in the laboratory frame.
    """

    q: np.ndarray
    energy: np.ndarray
    gradients: np.ndarray
    sample: np.ndarray
    sample_gradients: np.ndarray


@dataclass(frozen=True)
class Orientation:
    """Orientation of a crystal that was measured at one angle.

    Parameters
    ----------
    u, v : tuple of 3 float
        (h, k, l) along the incident beam, and another in the horizontal plane (Mantid's SetUB).
    """

    u: tuple[float, float, float]
    v: tuple[float, float, float]

    def rotation(self, lattice: Lattice) -> np.ndarray:
        """Rotation from the Busing-Levy crystal frame (of `Lattice.b_matrix`) to the lab, shape (3, 3).

        Raises
        ------
        RunFactError
            If u and v are parallel or zero.
        """
        b = lattice.b_matrix()
        beam, other = b @ np.asarray(self.u, dtype=float), b @ np.asarray(self.v, dtype=float)
        up = np.cross(beam, other)
        if not np.linalg.norm(up) > 1e-9 * np.linalg.norm(beam) * np.linalg.norm(other):
            raise RunFactError(
                f"u = {self.u} and v = {self.v} span no scattering plane", "give two directions that are not parallel"
            )
        z = beam / np.linalg.norm(beam)
        y = up / np.linalg.norm(up)
        return np.stack([np.cross(y, z), y, z])


def energies(spectrum: Spectrum) -> Axis:
    """The energy-transfer axis.

    Raises
    ------
    InputError
        If there is none, or more than one.
    """
    found = energy_axis(spectrum.axes)
    if found is None:
        names = ", ".join(repr(a.name) for a in spectrum.axes)
        raise InputError(
            f"the axes {names} include no energy transfer, or more than one",
            "use a workspace with one energy-transfer axis in meV named DeltaE (it may be integrated)",
        )
    return spectrum.axes[found]


class Frame:
    """Converts the bins of one spectrum to `Points`.

    Parameters
    ----------
    spectrum : Spectrum
    beam : Beam
    lattice : Lattice, optional
        Needed for axes in r.l.u.
    orientation : Orientation, optional
        Of a crystal that was not rotated. If not given, it was rotated about the vertical axis, and each (Q, E) was
        recorded at the angle that brings it onto the detectors.

    Raises
    ------
    InputError, RunFactError
        If the directions of the axes cannot be determined.
    """

    def __init__(self, spectrum: Spectrum, beam: Beam, lattice: Lattice | None, orientation: Orientation | None):
        energies(spectrum)
        self.beam = beam
        self.axes = spectrum.axes
        self.shape = spectrum.shape
        self.energy_axis = energy_axis(spectrum.axes)
        self.open_axes = open_axes(spectrum.axes) or (0,)
        self.momentum = tuple(i for i in range(len(self.axes)) if i != self.energy_axis)
        self.powder = not self.momentum or any(self.axes[i].is_modulus_q for i in self.momentum)
        if self.powder and len(self.momentum) > 1:
            raise InputError(
                "the spectrum has a |Q| axis and another momentum axis",
                "use |Q| and energy transfer only",
            )
        #: True for one crystal angle: `to_lab` is then the rotation to the lab, otherwise that at goniometer zero.
        self.still = orientation is not None
        self.to_lab = np.eye(3)
        #: Cartesian vectors in the crystal, one for each unit of (h, k, l) or (Q_x, Q_y, Q_z), as columns.
        self.units = np.eye(3)
        self.basis = np.zeros((0, 3))
        if not self.powder:
            self._place_axes([self.axes[i] for i in self.momentum], lattice, orientation)

    def _place_axes(self, axes: list[Axis], lattice: Lattice | None, orientation: Orientation | None):
        if any(a.is_rlu or a.projection is not None for a in axes):
            if lattice is None:
                raise RunFactError(
                    f"axis {axes[0].name!r} is in reciprocal lattice units and the lattice is not known",
                    "give the lattice (--lattice a,b,c,alpha,beta,gamma)",
                )
            self.units = 2 * np.pi * lattice.b_matrix()
            self.basis = np.array([_direction(a) for a in axes]) @ self.units.T
            if orientation is not None:
                self.to_lab = orientation.rotation(lattice)
            elif lattice.ub is not None:
                self.to_lab = _turn(lattice)
            else:
                self.to_lab = _upright(self.basis)
        else:
            self.basis = np.array([_cartesian(a) for a in axes])
            self.still = self.still or axes[0].frame == "QLab"
        if np.linalg.matrix_rank(self.basis) < len(self.basis):
            raise InputError(
                f"the axes {', '.join(repr(a.name) for a in axes)} do not point in independent directions",
                "use a workspace whose momentum axes are linearly independent",
            )

    def points(self, start: int = 0, stop: int | None = None) -> Points:
        """The centres of bins number `start` to `stop` of the grid of all axes (C order)."""
        index = np.unravel_index(np.arange(start, math.prod(self.shape) if stop is None else stop), self.shape)
        return self.at(np.stack([a.centers[i] for a, i in zip(self.axes, index, strict=True)], axis=1))

    def at(self, coordinates: np.ndarray) -> Points:
        """Points with these coordinates along all axes, shape (N, ndim), in the units of the axes."""
        coordinates = np.asarray(coordinates, dtype=float)
        energy = coordinates[:, self.energy_axis]
        if not self.powder:
            return self._crystal(coordinates[:, self.momentum], energy)
        if self.momentum:
            return self._powder(np.abs(coordinates[:, self.momentum[0]]), energy)
        return self._powder(np.hypot(self.beam.ki, self.beam.kf(energy)), energy)  # no momentum known: 90 degrees

    def _powder(self, modulus: np.ndarray, energy: np.ndarray) -> Points:
        q = self._triangle(modulus, np.zeros_like(modulus), self.beam.kf(energy))
        length = np.linalg.norm(q, axis=1)
        gradients = np.zeros((len(energy), 2, 4))
        gradients[:, 0, :3] = q / np.maximum(length, 1e-12)[:, None]
        gradients[:, 1, 3] = 1
        rows = [int(i == self.energy_axis) for i in self.open_axes]
        return Points(q, energy, gradients[:, rows], np.stack([length, energy], axis=1), gradients)

    def _triangle(self, modulus: np.ndarray, vertical: np.ndarray, kf: np.ndarray) -> np.ndarray:
        """Q in the lab of the scattering triangle with this |Q| and vertical component, clamped to the nearest one."""
        ki = self.beam.ki
        length = np.clip(modulus, np.abs(ki - kf), ki + kf)
        vertical = np.clip(vertical, -length, length)
        level = np.sqrt(length**2 - vertical**2)
        along = np.clip((ki**2 + length**2 - kf**2) / (2 * ki), -level, level)
        return np.stack([np.sqrt(np.maximum(level**2 - along**2, 0)), vertical, along], axis=1)

    def _crystal(self, coordinates: np.ndarray, energy: np.ndarray) -> Points:
        kf = self.beam.kf(energy)
        at_zero = coordinates @ self.basis @ self.to_lab.T
        if self.still:
            q = self._onto_sphere(at_zero, kf)
            rotation = np.broadcast_to(self.to_lab, (len(q), 3, 3))
        else:
            q = self._triangle(np.linalg.norm(at_zero, axis=1), at_zero[:, 1], kf)
            turn = np.arctan2(q[:, 0], q[:, 2]) - np.arctan2(at_zero[:, 0], at_zero[:, 2])
            rotation = _rotated(turn, self.to_lab)
        gradients = np.zeros((len(q), len(self.open_axes), 4))
        for d, i in enumerate(self.open_axes):
            if i == self.energy_axis:
                gradients[:, d, 3] = 1
            else:
                gradients[:, d, :3] = rotation @ self._dual[:, self.momentum.index(i)]
        sample_gradients = np.zeros((len(q), 4, 4))
        # One large product is much quicker than one for each point.
        turned = rotation.reshape(-1, 3) @ self._inverse_units.T
        sample_gradients[:, :3, :3] = np.swapaxes(turned.reshape(-1, 3, 3), 1, 2)
        sample_gradients[:, 3, 3] = 1
        sample = np.column_stack([np.einsum("nij,nj->ni", sample_gradients[:, :3, :3], q), energy])
        return Points(q, energy, gradients, sample, sample_gradients)

    @cached_property
    def _dual(self) -> np.ndarray:
        """Gradient of each coordinate in the crystal, as columns."""
        return np.linalg.pinv(self.basis)

    @cached_property
    def _inverse_units(self) -> np.ndarray:
        return np.linalg.inv(self.units)

    def _onto_sphere(self, q: np.ndarray, kf: np.ndarray) -> np.ndarray:
        """Move Q along the integrated direction onto |ki - Q| = kf, which fixes it at one crystal angle.

        With three open momentum axes no direction is free: kf is then taken along ki - Q.
        """
        final = np.array([0.0, 0.0, self.beam.ki]) - q
        free = self._free_direction()
        if free is not None:
            step = final @ free
            root = np.sqrt(np.maximum(step**2 - (final**2).sum(1) + kf**2, 0))
            final = final - (step - root if free[2] >= 0 else step + root)[:, None] * free
        final *= (kf / np.maximum(np.linalg.norm(final, axis=1), 1e-12))[:, None]
        return np.array([0.0, 0.0, self.beam.ki]) - final

    def _free_direction(self) -> np.ndarray | None:
        """Unit vector in the lab along which the open axes leave Q free."""
        if len(self.basis) == 3:
            closed = [n for n, i in enumerate(self.momentum) if self.axes[i].integrated]
            if not closed:
                return None
            reach = [self.axes[self.momentum[n]].width * np.linalg.norm(self.basis[n]) for n in closed]
            free = self.to_lab @ self.basis[closed[int(np.argmax(reach))]]
        else:
            # The spectrum does not name it: of the directions perpendicular to its axes, the one nearest to the beam.
            lab = self.basis @ self.to_lab.T
            free = (np.eye(3) - np.linalg.pinv(lab) @ lab)[2]
        length = np.linalg.norm(free)
        return free / length if length > 1e-6 else None


def _turn(lattice: Lattice) -> np.ndarray:
    """U of the lattice's UB, shape (3, 3)."""
    turn = np.asarray(lattice.ub, dtype=float) @ np.linalg.inv(lattice.b_matrix())
    off = np.abs(turn @ turn.T - np.eye(3)).max()
    if not off < _UB_TOLERANCE:
        raise RunFactError(
            f"the UB matrix {np.round(lattice.ub, 4).tolist()} is not that of the lattice: U = UB B^-1 changes lengths "
            f"by {off / 2:.0%}, expected a rotation",
            "correct the UB of the workspace (SetUB), or give the lattice alone (--lattice a,b,c,alpha,beta,gamma)",
        )
    return turn


def _rotated(angle: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Rotations about y times a matrix, shape (N, 3, 3)."""
    cosine, sine = np.cos(angle)[:, None], np.sin(angle)[:, None]
    out = np.empty((len(angle), 3, 3))
    out[:, 0] = cosine * matrix[0] + sine * matrix[2]
    out[:, 1] = matrix[1]
    out[:, 2] = cosine * matrix[2] - sine * matrix[0]
    return out


def _direction(axis: Axis) -> np.ndarray:
    if axis.projection is not None:
        return axis.projection
    match = _LETTER.match(axis.name.strip())
    if match:
        return np.eye(3)["hkl".index(match["letter"].lower())]
    raise InputError(
        f"axis {axis.name!r} ({axis.unit}) does not say which direction in (h, k, l) it has",
        "give it a name such as [H,0,0] or [-K,K,0]",
    )


def _cartesian(axis: Axis) -> np.ndarray:
    match = _CARTESIAN.search(axis.name.strip())
    if match:
        return np.eye(3)["xyz".index(match["letter"].lower())]
    raise InputError(
        f"axis {axis.name!r} ({axis.unit}, frame {axis.frame!r}) is not recognised as a momentum axis",
        "use |Q|, Q_sample_x, Q_sample_y, Q_sample_z, or (h, k, l) axes such as [H,0,0]",
    )


def _upright(basis: np.ndarray) -> np.ndarray:
    """A rotation that brings the first two axes of `basis` into the horizontal plane, shape (3, 3)."""
    first = basis[0] / np.linalg.norm(basis[0])
    second = basis[1] if len(basis) > 1 else np.eye(3)[np.argmin(np.abs(first))]
    up = np.cross(second, first)
    if np.linalg.norm(up) < 1e-9:
        return np.eye(3)
    up /= np.linalg.norm(up)
    return np.stack([np.cross(up, first), up, first])
