"""Resolution of a direct-geometry chopper spectrometer in (Q, E) by linear propagation of its deviations.

The method is that of T. G. Perring (PhD thesis, Cambridge 1991; Tobyfit) and N. Violini, J. Voigt, S. Pasini and
T. Brueckel, Nucl. Instrum. Methods A 736, 31 (2014): each unknown of a detected neutron (the time at which
it left the moderator, the point in the sample at which it scattered, ...) is an independent deviation x_j from its
nominal value; to first order (dQ, dE) = J x, so that the covariance of (Q, E) is J diag(var x) J^T.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.constants import HBAR2_OVER_2M, HBAR_OVER_M
from .beam import Beam, absorption_moments

#: The deviations, in the order of the columns of `sensitivity`. Beam x and y are in metres at an aperture, in radians
#: after a guide.
DEVIATIONS = (
    "source time",
    "chopper time",
    "beam x",
    "beam y",
    "sample x",
    "sample y",
    "sample z",
    "detector depth",
    "detector across",
    "detector along",
    "detector time",
    "mosaic x",
    "mosaic y",
    "mosaic z",
)
_COLUMN = {name: i for i, name in enumerate(DEVIATIONS)}


def variances(beam: Beam, kf) -> np.ndarray:
    """Variance of every deviation for neutrons of final wavevector `kf`.

    Parameters
    ----------
    beam : Beam
    kf : array_like, shape (N,)
        1/Angstrom.

    Returns
    -------
    ndarray, shape (N, 14)
        In s^2, m^2 and rad^2, ordered as `DEVIATIONS`.
    """
    kf = np.atleast_1d(np.asarray(kf, dtype=float))
    # Points of one grid share a few final energies.
    different, number = np.unique(kf, return_inverse=True)
    along, across = (moments[number] for moments in absorption_moments(beam.tube, different))
    out = np.empty((kf.size, len(DEVIATIONS)))
    out[:, :4] = np.square(
        [beam.source.sigma, beam.chopper.sigma, beam.divergence.horizontal, beam.divergence.vertical]
    )
    out[:, 4:7] = beam.sample.variances()
    out[:, 7], out[:, 8] = along, across
    out[:, 9] = beam.tube.pixel_height**2 / 12
    out[:, 10] = beam.tube.time_bin**2 / 12
    out[:, 11:] = beam.mosaic**2
    return out


def detector_axes(direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors across and along a vertical tube in these directions from the sample, each shape (N, 3).

    `across` is along x for a vertical direction.
    """
    across = np.stack([direction[:, 2], np.zeros(len(direction)), -direction[:, 0]], axis=1)
    length = np.linalg.norm(across, axis=1, keepdims=True)
    across = np.where(length > 1e-9, across / np.maximum(length, 1e-9), [1.0, 0.0, 0.0])
    return across, np.cross(direction, across)


def incident_sensitivity(beam: Beam) -> dict[str, np.ndarray]:
    """First-order change of the incident beam with each deviation; each value has shape (14,).

    Returns
    -------
    dict
        ``angle_x``, ``angle_y``: direction of ki; ``speed``: relative change of vi; ``time``: change of the
        time of scattering.
    """
    unit = np.eye(len(DEVIATIONS))
    one = {name: unit[i] for name, i in _COLUMN.items()}
    if beam.divergence.distance is None:
        angle_x, angle_y = one["beam x"], one["beam y"]
    else:
        angle_x = (one["sample x"] - one["beam x"]) / beam.divergence.distance
        angle_y = (one["sample y"] - one["beam y"]) / beam.divergence.distance
    # A Fermi chopper is open to an inclined ray at another time, and a tilted moderator changes the path length.
    # The two signs are PyChop's (with a positive angle of the face, the two effects oppose each other).
    chopper = one["chopper time"] - (angle_x / beam.chopper_turn if beam.chopper_turn else 0.0)
    path = (one["sample x"] - angle_x * beam.moderator_sample) * beam.moderator_tilt
    speed = path / beam.source_chopper - (chopper - one["source time"]) * beam.vi / beam.source_chopper
    time = chopper + (one["sample z"] - beam.chopper_sample * speed) / beam.vi
    return {"angle_x": angle_x, "angle_y": angle_y, "speed": speed, "time": time}


def sensitivity(beam: Beam, direction, kf) -> np.ndarray:
    """Derivatives of (Q_x, Q_y, Q_z, E) with respect to every deviation.

    The Jacobian of Violini et al. (2014), with the final wavevector as in their section 2 (path over time), in lab
    coordinates and extended by Perring's terms for the moderator's tilt and the chopper's phase across the beam, and
    by the sample's mosaic (which turns Q in the crystal).

    Parameters
    ----------
    beam : Beam
    direction : array_like, shape (N, 3)
        Unit vectors of kf in the lab.
    kf : array_like, shape (N,)
        1/Angstrom.

    Returns
    -------
    ndarray, shape (N, 4, 14)
    """
    direction = np.atleast_2d(np.asarray(direction, dtype=float))
    kf = np.atleast_1d(np.asarray(kf, dtype=float))
    incident = incident_sensitivity(beam)
    across, along = detector_axes(direction)
    vf = HBAR_OVER_M * kf
    length = beam.sample_detector

    # Relative change of vf = path / time, and the change of direction times the flight path (both first order).
    speed = np.outer(vf / length, incident["time"])
    speed[:, _COLUMN["detector time"]] -= vf / length
    speed[:, _COLUMN["detector depth"]] += 1 / length
    turn = np.zeros((len(kf), 3, len(DEVIATIONS)))
    for axis in range(3):
        column = _COLUMN["sample x"] + axis
        speed[:, column] -= direction[:, axis] / length
        turn[:, :, column] = direction * direction[:, axis, None]
        turn[:, axis, column] -= 1
    turn[:, :, _COLUMN["detector across"]] = across
    turn[:, :, _COLUMN["detector along"]] = along

    out = np.empty((len(kf), 4, len(DEVIATIONS)))
    out[:, :3] = -kf[:, None, None] * (direction[:, :, None] * speed[:, None, :] + turn / length)
    out[:, :3] += beam.ki * np.stack([incident["angle_x"], incident["angle_y"], incident["speed"]])
    out[:, 3] = 2 * (beam.ei * incident["speed"] - (HBAR2_OVER_2M * kf**2)[:, None] * speed)
    # Q x (unit vector of each axis of rotation)
    q = np.array([0.0, 0.0, beam.ki]) - kf[:, None] * direction
    x, y, z = (_COLUMN[f"mosaic {name}"] for name in "xyz")
    out[:, (0, 1, 2), (x, y, z)] = 0.0
    out[:, 1, x], out[:, 2, x] = q[:, 2], -q[:, 1]
    out[:, 0, y], out[:, 2, y] = -q[:, 2], q[:, 0]
    out[:, 0, z], out[:, 1, z] = q[:, 1], -q[:, 0]
    return out


@dataclass(frozen=True, eq=False)
class Propagation:
    """First-order propagation of the deviations to (Q_x, Q_y, Q_z, E) in the lab, at N points.

    Parameters
    ----------
    jacobian : ndarray, shape (N, 4, 14)
        From `sensitivity`.
    variances : ndarray, shape (N, 14)
        From `variances`.
    """

    jacobian: np.ndarray
    variances: np.ndarray

    @classmethod
    def of(cls, beam: Beam, direction, kf) -> Propagation:
        """At final wavevectors `kf` (1/Angstrom, shape (N,)) along unit vectors `direction`, shape (N, 3)."""
        return cls(sensitivity(beam, direction, kf), variances(beam, kf))

    def sharpened(self, momentum: float, energy: float) -> Propagation:
        """What a finer spectrometer would do, see `Resolution.sharpened`.

        With s = C_QQ^-1 C_QE, the slope of the energy with the momentum, dQ' = dQ / momentum and
        dE' = s . dQ' + (dE - s . dQ) / energy.
        """
        jacobian = self.jacobian
        covariance = np.einsum("nij,nj,nkj->nik", jacobian, self.variances, jacobian)
        slope = np.einsum("nij,nj->ni", np.linalg.pinv(covariance[:, :3, :3], hermitian=True), covariance[:, :3, 3])
        along = np.einsum("ni,nij->nj", slope, jacobian[:, :3])
        finer = np.empty_like(jacobian)
        finer[:, :3] = jacobian[:, :3] / momentum
        finer[:, 3] = along / momentum + (jacobian[:, 3] - along) / energy
        return Propagation(finer, self.variances)

    def covariance(self, gradients: np.ndarray) -> np.ndarray:
        """Covariance (N, D, D) of coordinates that change with (Q, E) in the lab by `gradients`, shape (N, D, 4)."""
        rows = gradients @ self.jacobian
        return np.einsum("ndj,nj,nej->nde", rows, self.variances, rows)

    def deviations(self, gradients: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """Deviations (N, M, D) of these coordinates for `draws` of unit variance, shape (M, 14)."""
        rows = gradients @ self.jacobian
        rows *= np.sqrt(self.variances)[:, None, :]
        return np.swapaxes(rows @ draws.T, 1, 2)


def lab_covariance(beam: Beam, direction, kf) -> np.ndarray:
    """Covariance of (Q_x, Q_y, Q_z, E) in the lab, shape (N, 4, 4); 1/Angstrom and meV, standard deviations squared."""
    jacobian = sensitivity(beam, direction, kf)
    return np.einsum("nij,nj,nkj->nik", jacobian, variances(beam, kf), jacobian)
