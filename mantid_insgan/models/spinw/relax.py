"""The classical spins of lowest energy near given ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..base import UnstableModelError
from .quick import Geometry

_STEPS = 200
#: Radians that a spin turns in one step, at most.
_LARGEST_STEP = 0.3
#: Torques and stiffnesses below these shares of the largest field are zero.
_TORQUE, _SOFT = 1e-10, 1e-9


def relaxed(
    geometry: Geometry, exchange: np.ndarray, single_ion: np.ndarray | None = None, zeeman: np.ndarray | None = None
) -> Geometry:
    """The geometry with its spins turned to the nearest minimum of the classical energy, of the same magnetic cell.

    Newton's method on the spheres of the spins, with the absolute values of the Hessian's eigenvalues: it leaves saddle
    points.

    Parameters
    ----------
    geometry, exchange, single_ion, zeeman
        As those of `QuickHamiltonian`.

    Raises
    ------
    UnstableModelError
        If no minimum is found.
    """
    stiffness = _stiffness(geometry, exchange, single_ion)
    field = np.zeros(stiffness.shape[0]) if zeeman is None else zeeman.ravel()
    length = np.linalg.norm(geometry.spins, axis=1)
    spins = geometry.spins
    for _ in range(_STEPS):
        gradient = (stiffness @ spins.ravel() + field).reshape(-1, 3)
        units = spins / length[:, None]
        across = np.array([np.linalg.svd(u[None, :])[2][1:] for u in units])  # (n, 2, 3)
        size = max(np.abs(gradient).max(), 1e-12)
        slope = (length[:, None] * np.einsum("nai,ni->na", across, gradient)).ravel()
        if np.abs(slope).max() <= _TORQUE * size * length.max():
            return replace(geometry, spins=spins)
        turn = _step(stiffness, across, length, np.einsum("ni,ni->n", units, gradient), slope, size)
        spins = units + np.einsum("na,nai->ni", turn.reshape(-1, 2), across)
        spins *= (length / np.linalg.norm(spins, axis=1))[:, None]
    raise UnstableModelError(
        f"the spins do not settle within {_STEPS} steps (a torque of {np.abs(slope).max():.3g} meV is left)",
        "start from spins nearer to the order that the couplings favour",
    )


def _stiffness(geometry: Geometry, exchange, single_ion) -> np.ndarray:
    """K in E = s.K.s / 2 for spins that repeat from cell to cell, shape (3n, 3n)."""
    n = len(geometry.spins)
    stiffness = np.zeros((n, 3, n, 3))
    for (i, j, _), matrix in zip(geometry.ends, exchange, strict=True):
        stiffness[i, :, j] += matrix
        stiffness[j, :, i] += matrix.T
    if single_ion is not None:
        for i, matrix in enumerate(single_ion):
            stiffness[i, :, i] += matrix + matrix.T
    return stiffness.reshape(3 * n, 3 * n)


def _step(stiffness, across, length, along, slope, size) -> np.ndarray:
    """Angles (2n,) in the two directions across each spin."""
    n = len(length)
    tangent = np.zeros((2 * n, 3 * n))
    for i in range(n):
        tangent[2 * i : 2 * i + 2, 3 * i : 3 * i + 3] = length[i] * across[i]
    hessian = tangent @ stiffness @ tangent.T - np.diag(np.repeat(length * along, 2))
    values, vectors = np.linalg.eigh(hessian)
    stiff = np.abs(values)
    share = np.where(stiff > _SOFT * size, vectors.T @ slope / np.maximum(stiff, _SOFT * size), 0.0)
    turn = -vectors @ share
    return turn * min(1.0, _LARGEST_STEP / max(np.abs(turn).max(), 1e-300))
