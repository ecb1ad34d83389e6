"""Builds a pySpinW Hamiltonian from sites, spins and bond vectors, in units of one lattice.

pySpinW is imported inside the functions: its import loads Qt and takes seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...core.run import Lattice
from ...errors import InputError

#: Positions closer than this (in cell fractions) are the same site.
POSITION_TOLERANCE = 1e-4


@dataclass(frozen=True, eq=False)
class Bond:
    """One exchange path, repeated from every site where it connects to another site.

    The energy of a bond is S1 . J . S2, with each bond counted once: positive J is antiferromagnetic.

    Parameters
    ----------
    vector : array_like, shape (3,)
        From the first site to the second, in units of the lattice. Give each bond once: `vector` or its opposite, not
        both.
    exchange : float or array_like, shape (3, 3)
        J in meV; a number is Heisenberg exchange. Cartesian axes: x along a, z perpendicular to a and b.
    start : tuple of int, optional
        Indices of the sites where the bond may start; all if not given.
    """

    vector: Sequence[float]
    exchange: float | np.ndarray
    start: tuple[int, ...] | None = None

    @property
    def matrix(self) -> np.ndarray:
        """J as a matrix, shape (3, 3), meV."""
        exchange = np.asarray(self.exchange, dtype=float)
        return exchange * np.eye(3) if exchange.ndim == 0 else exchange


def dzyaloshinskii_moriya(vector: Sequence[float]) -> np.ndarray:
    """The exchange matrix J with S1 . J . S2 = D . (S1 x S2), shape (3, 3).

    Parameters
    ----------
    vector : array_like, shape (3,)
        D in meV.
    """
    x, y, z = vector
    return np.array([[0.0, z, -y], [-z, 0.0, x], [y, -x, 0.0]])


def direct_basis(lattice: Lattice) -> np.ndarray:
    """The vectors a, b, c as rows, shape (3, 3), Angstrom; x along a, z perpendicular to a and b."""
    lattice.b_matrix()  # refuses a cell without volume
    al, be, ga = np.radians([lattice.alpha, lattice.beta, lattice.gamma])
    # Of right angles no rounding is left.
    cos_al, cos_be, cos_ga, sin_ga = np.round([np.cos(al), np.cos(be), np.cos(ga), np.sin(ga)], 15)
    y = (cos_al - cos_be * cos_ga) / sin_ga
    c = np.array([cos_be, y, np.sqrt(1 - cos_be**2 - y**2)])
    return np.array([[lattice.a, 0, 0], [lattice.b * cos_ga, lattice.b * sin_ga, 0], lattice.c * c])


def build_hamiltonian(
    lattice: Lattice,
    positions: np.ndarray,
    spins: np.ndarray,
    bonds: Sequence[Bond],
    *,
    cell: np.ndarray | None = None,
    anisotropy: np.ndarray | None = None,
    propagation: np.ndarray | None = None,
):
    """A pySpinW Hamiltonian with explicit sites in the magnetic cell.

    Explicit sites give correct intensities for collinear order, unlike pySpinW's helical supercells; `propagation` is
    only for incommensurate order.

    Parameters
    ----------
    lattice : Lattice
        The cell that defines the units of positions, bonds and momenta.
    positions : array_like, shape (n, 3)
        The sites of one magnetic cell, in units of `lattice`.
    spins : array_like, shape (n, 3)
        Ordered spins of length S; Cartesian axes: x along a, z perpendicular to a and b.
    bonds : sequence of Bond
    cell : array_like, shape (3, 3), optional
        Vectors of the magnetic cell as rows, in units of `lattice`; the cell of `lattice` if not given.
    anisotropy : array_like, shape (3, 3), optional
        A in the single-ion energy S . A . S of every site, meV: diag(0, 0, D) has an easy axis along z for D < 0.
    propagation : array_like, shape (3,), optional
        Propagation vector (r.l.u. of the magnetic cell) of a helix whose spins rotate about z.

    Returns
    -------
    pyspinw.Hamiltonian

    Raises
    ------
    InputError
        If the magnetic cell has no volume, or a bond connects no two sites.
    """
    import pyspinw
    from pyspinw.exchange import Exchange

    cell = magnetic_cell(cell)
    fractions = np.atleast_2d(np.asarray(positions, dtype=float)) @ np.linalg.inv(cell)
    sites = [
        pyspinw.Site(*place, *spin, name=f"s{i}")
        for i, (place, spin) in enumerate(zip(fractions, np.atleast_2d(spins), strict=True))
    ]
    exchanges = [
        Exchange(sites[i], sites[j], tuple(int(n) for n in offset), exchange_matrix=bond.matrix)
        for bond in bonds
        for i, j, offset in bond_ends(bond, fractions, cell)
    ]
    structure = pyspinw.Structure(sites, unit_cell_of(cell @ direct_basis(lattice)), supercell=_supercell(propagation))
    anisotropies = [] if anisotropy is None else pyspinw.matrix_anisotropies(sites, np.asarray(anisotropy, dtype=float))
    return pyspinw.Hamiltonian(structure, exchanges, anisotropies)


def magnetic_cell(cell: np.ndarray | None) -> np.ndarray:
    """The vectors of a magnetic cell as rows, checked.

    Raises
    ------
    InputError
        If they enclose no volume or are left-handed.
    """
    cell = np.eye(3) if cell is None else np.asarray(cell, dtype=float)
    if np.linalg.det(cell) < 1e-6:
        raise InputError(
            f"the magnetic cell {cell.tolist()} has the volume {np.linalg.det(cell):g} (in unit cells), expected a "
            "positive one",
            "give three independent cell vectors as rows, in right-handed order",
        )
    return cell


def bond_ends(bond: Bond, fractions: np.ndarray, cell: np.ndarray) -> list[tuple[int, int, np.ndarray]]:
    """(first site, second site, cell offset) of every bond with this vector.

    Parameters
    ----------
    bond : Bond
    fractions : ndarray, shape (n, 3)
        Positions of the sites, in units of the magnetic cell.
    cell : ndarray, shape (3, 3)
        Vectors of the magnetic cell as rows, in units of the lattice.

    Raises
    ------
    InputError
        If there is none.
    """
    vector = np.asarray(bond.vector, dtype=float) @ np.linalg.inv(cell)
    found = []
    for i in range(len(fractions)) if bond.start is None else bond.start:
        offsets = fractions[i] + vector - fractions
        wrapped = np.round(offsets)
        matches = np.flatnonzero(np.abs(offsets - wrapped).max(axis=1) < POSITION_TOLERANCE)
        found += [(i, int(j), wrapped[j]) for j in matches]
    if not found:
        raise InputError(
            f"the bond vector {np.asarray(bond.vector).tolist()} connects no two sites",
            "give the vector between two sites, in units of the lattice",
        )
    return found


def unit_cell_of(vectors: np.ndarray):
    """The cell with these vectors (rows, Angstrom), in the same Cartesian axes."""
    from pyspinw import UnitCell

    lengths = np.linalg.norm(vectors, axis=1)
    unit = vectors / lengths[:, None]
    angles = np.degrees(np.arccos([unit[1] @ unit[2], unit[0] @ unit[2], unit[0] @ unit[1]]))
    return UnitCell(*lengths, *angles, ab_normal=tuple(np.cross(unit[0], unit[1])), direction=tuple(unit[0]))


def _supercell(propagation: np.ndarray | None):
    from pyspinw import RotationSupercell

    return None if propagation is None else RotationSupercell(perpendicular=(0, 0, 1), propagation_vector=propagation)
