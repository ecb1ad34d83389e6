"""The resolution at points: widths and covariance as a table, over a list of (Q, E) or the grid of a spectrum."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from ..core.constants import FWHM_PER_SIGMA
from ..core.run import SPECTROMETER
from ..core.spectrum import Axis, Spectrum
from ..errors import InputError, RunFactError
from .frames import Frame, Points
from .instrument import Resolution

#: Approximate number of points of a grid in a table.
TABLE_POINTS = 30
#: Points across an integrated axis at which a bin is tested against the kinematic range.
_ACROSS = 9
_HKL = ("[H,0,0]", "[0,K,0]", "[0,0,L]")
_HKL_UNIT, _Q_UNIT = "r.l.u.", "1/Angstrom"


@dataclass(frozen=True)
class ResolutionTable:
    """The resolution at some points.

    Parameters
    ----------
    names, units : tuple of str
        Of the D coordinates, including the energy.
    points : ndarray, shape (N, D)
    fwhm : ndarray, shape (N, D)
        Of the resolution function projected onto each axis, in the unit of the axis.
    covariance : ndarray, shape (N, D, D)
        Variances and covariances in these units.
    setting : dict
        Instrument, ei, chopper, frequencies, width factor.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    points: np.ndarray
    fwhm: np.ndarray
    covariance: np.ndarray
    setting: dict

    def as_dict(self) -> dict:
        """Plain values, as written to JSON."""
        return {
            "setting": self.setting,
            "axes": [{"name": n, "unit": u} for n, u in zip(self.names, self.units, strict=True)],
            "points": [
                {"at": p.tolist(), "fwhm": f.tolist(), "covariance": c.tolist()}
                for p, f, c in zip(self.points, self.fwhm, self.covariance, strict=True)
            ],
        }


def resolution_at(resolution: Resolution, momenta, energies) -> ResolutionTable:
    """The resolution at points (Q, E).

    Parameters
    ----------
    resolution : Resolution
        With the lattice if momenta are (h, k, l).
    momenta : array_like, shape (N,) or (N, 3)
        |Q| in 1/Angstrom, or (h, k, l) in r.l.u.
    energies : array_like, shape (N,)
        meV.

    Returns
    -------
    ResolutionTable
        Of (|Q|, E) or (h, k, l, E), in the order of the points.

    Raises
    ------
    InputError
        If the unit cell has no volume.
    RunFactError
        If the lattice is missing, or a point lies outside the kinematic range.
    """
    momenta, energies = np.asarray(momenta, dtype=float), np.atleast_1d(np.asarray(energies, dtype=float))
    coordinates = np.column_stack([momenta.reshape(len(energies), -1), energies])
    powder = coordinates.shape[1] == 2
    axes = [Axis("|Q|", [0, 1], _Q_UNIT)] if powder else [Axis(n, [0, 1], _HKL_UNIT, "HKL") for n in _HKL]
    frame = _frame_of(resolution, axes)
    points = frame.at(coordinates)
    outside = np.flatnonzero(~reached(frame, coordinates, points) | (energies > resolution.ei))
    if outside.size:
        where = ", ".join(f"{v:g}" for v in coordinates[outside[0], :-1])
        low, high = reach_of_modulus(resolution, energies[outside[0]])
        raise RunFactError(
            f"the point ({where}) at {energies[outside[0]]:g} meV lies outside the kinematic range: with Ei = "
            f"{resolution.ei:g} meV neutrons reach |Q| from {low:.3g} to {high:.3g} 1/Angstrom there",
            "choose another point, or another incident energy (--ei)",
        )
    covariance = resolution.covariance(points, of_sample=True)
    names = ("|Q|", "E") if powder else ("H", "K", "L", "E")
    units = (_Q_UNIT, "meV") if powder else (*[_HKL_UNIT] * 3, "meV")
    return ResolutionTable(names, units, coordinates, _widths(covariance), covariance, setting_facts(resolution))


def resolution_over(resolution: Resolution, spectrum: Spectrum, *, most: int = TABLE_POINTS) -> ResolutionTable:
    """The resolution over the grid of a spectrum, along its open axes.

    Parameters
    ----------
    resolution : Resolution
    spectrum : Spectrum
    most : int
        Approximate number of points, spread evenly over the open axes. Points that are outside the kinematic range and
        were not measured are left out.

    Raises
    ------
    InputError, RunFactError
        As `Resolution.frame`; also if no bin lies in the kinematic range.
    """
    frame = resolution.frame(spectrum)
    each = max(2, round(most ** (1 / len(frame.open_axes))))
    chosen = [_spread(a, each if i in frame.open_axes else 1) for i, a in enumerate(spectrum.axes)]
    coordinates = np.stack(np.meshgrid(*chosen, indexing="ij"), axis=-1).reshape(-1, spectrum.ndim)
    keep = _reached_inside(frame, coordinates) & (coordinates[:, spectrum.energy_axis] <= resolution.ei)
    if not keep.any():
        energy = spectrum.axes[spectrum.energy_axis]
        low, high = reach_of_modulus(resolution, float(energy.centers.mean()))
        limits = "; ".join(f"{a.name} {a.edges[0]:g} to {a.edges[-1]:g} {a.unit}" for a in spectrum.axes)
        raise RunFactError(
            f"none of {len(keep)} points over the grid ({limits}) lies in the kinematic range: with Ei = "
            f"{resolution.ei:g} meV neutrons reach |Q| from {low:.3g} to {high:.3g} 1/Angstrom at the middle of the "
            "energies",
            "check the incident energy (--ei) and the limits of the axes",
        )
    # A measured bin has a width even if the lattice and orientation given put it outside the kinematic range.
    index = [((coordinates[:, i] - a.edges[0]) / a.width).astype(int) for i, a in enumerate(spectrum.axes)]
    measured = spectrum.valid[tuple(index)] & (coordinates[:, spectrum.energy_axis] <= resolution.ei)
    coordinates = coordinates[keep | measured]
    covariance = resolution.covariance(frame.at(coordinates))
    axes = [spectrum.axes[i] for i in frame.open_axes]
    return ResolutionTable(
        tuple("E" if a.is_energy else a.name for a in axes),
        tuple("meV" if a.is_energy else a.unit for a in axes),
        coordinates[:, list(frame.open_axes)],
        _widths(covariance),
        covariance,
        setting_facts(resolution),
    )


def covariance_of_modulus(resolution: Resolution, modulus: np.ndarray, energy: np.ndarray) -> np.ndarray:
    """Covariance of (|Q|, E), shape (N, 2, 2), at |Q| in 1/Angstrom and E in meV, each shape (N,)."""
    frame = _frame_of(resolution, [Axis("|Q|", [0, 1], _Q_UNIT)])
    return resolution.covariance(frame.at(np.column_stack([modulus, energy])), of_sample=True)


def reach_of_modulus(resolution: Resolution, energy: float) -> tuple[float, float]:
    """Lowest and highest |Q| (1/Angstrom) at an energy transfer (meV): forward and backward scattering."""
    ki, kf = resolution.beam.ki, float(resolution.beam.kf([energy])[0])
    return abs(ki - kf), ki + kf


def reached(frame: Frame, coordinates: np.ndarray, points: Points) -> np.ndarray:
    """Which points lie in the kinematic range (`Frame.at` moved the others into it), shape (N,), bool."""
    if frame.powder:
        if not frame.momentum:
            return np.ones(len(coordinates), bool)
        asked = np.abs(coordinates[:, frame.momentum[0]])
        return np.isclose(points.sample[:, 0], asked, rtol=1e-6, atol=1e-9)
    axes = [frame.axes[i] for i in frame.momentum]
    asked = coordinates[:, list(frame.momentum)]
    if len(axes) < 3:
        # The component of Q along an axis missing from the spectrum is unknown: only too large a |Q| can be excluded.
        return np.linalg.norm(asked @ frame.basis, axis=1) <= frame.beam.ki + frame.beam.kf(points.energy)
    found = points.sample[:, :3] @ frame.units.T @ np.linalg.pinv(frame.basis)
    slack = np.full(len(axes), 1e-6) * np.maximum(1, np.abs(asked).max(axis=0, initial=0))
    if frame.still:
        # At one crystal angle the energy fixes the coordinate along an integrated axis: any value inside is accepted.
        slack = np.where([a.integrated for a in axes], [0.5 * a.width for a in axes], slack)
    final = np.linalg.norm(np.array([0.0, 0.0, frame.beam.ki]) - points.q, axis=1)
    scattered = np.isclose(final, frame.beam.kf(points.energy), rtol=1e-6)
    return scattered & (np.abs(found - asked) <= slack).all(axis=1)


def _reached_inside(frame: Frame, coordinates: np.ndarray) -> np.ndarray:
    """Which points lie in the kinematic range for some value of the integrated momenta, shape (N,), bool."""
    across = [
        a.width * np.linspace(-0.5, 0.5, _ACROSS) if a.integrated and i in frame.momentum else [0.0]
        for i, a in enumerate(frame.axes)
    ]
    found = np.zeros(len(coordinates), bool)
    for offset in itertools.product(*across):
        moved = coordinates + np.array(offset)
        found |= reached(frame, moved, frame.at(moved))
    return found


def _frame_of(resolution: Resolution, momenta: list[Axis]) -> Frame:
    axes = (*momenta, Axis("DeltaE", [-1e-3, 1e-3], "meV"))
    empty = np.zeros((1,) * len(axes))
    return resolution.frame(Spectrum(empty, empty, axes))


def _spread(axis: Axis, count: int) -> np.ndarray:
    """`count` bin centres, evenly spread and away from the ends."""
    index = (np.arange(min(count, len(axis))) + 0.5) * len(axis) / min(count, len(axis))
    return axis.centers[index.astype(int)]


def _widths(covariance: np.ndarray) -> np.ndarray:
    return FWHM_PER_SIGMA * np.sqrt(np.einsum("nii->ni", covariance))


def setting_facts(resolution: Resolution) -> dict:
    """The setting as plain values: energies in meV, frequencies in Hz; and the sharpness of one that is finer."""
    finer = {} if resolution.sharpness == SPECTROMETER else {"sharpness": list(resolution.sharpness)}
    return {
        "instrument": resolution.instrument,
        "ei": resolution.ei,
        "chopper": resolution.chopper,
        "frequencies": list(resolution.frequencies),
        "width_factor": resolution.width_factor,
        **finer,
    }


def parse_momenta(texts: list[str]) -> np.ndarray:
    """``['1.5']`` as |Q|, ``['1,0,0']`` as (h, k, l): shape (N,) or (N, 3).

    Raises
    ------
    InputError
        If a text is neither one nor three numbers, or both kinds are given.
    """
    rows = []
    for text in texts:
        try:
            row = [float(part) for part in text.split(",")]
        except ValueError:
            row = []
        if len(row) not in (1, 3) or not all(math.isfinite(v) for v in row):
            raise InputError(
                f"the momentum {text!r} is neither one number nor three separated by commas",
                "give |Q| in 1/Angstrom (--q 1.5) or h,k,l in r.l.u. (--q 1,0,0.5)",
            )
        rows.append(row)
    if len({len(row) for row in rows}) != 1:
        raise InputError("some momenta are |Q| and some h,k,l", "give all as |Q|, or all as h,k,l")
    return np.array(rows)[:, 0] if len(rows[0]) == 1 else np.array(rows)
