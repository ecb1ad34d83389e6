"""A Hamiltonian as arrays, made in a fraction of the time that pySpinW takes for its objects.

A fit builds a model at every step. `QuickHamiltonian` has the attributes of pySpinW's Hamiltonian that `SpinWModel`
and `check_stability` read, and makes pySpinW's own object only where that is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace

import numpy as np

from ...core.run import Lattice
from .build import Bond, bond_ends, build_hamiltonian, direct_basis, magnetic_cell, unit_cell_of

#: The Bohr magneton, meV/T (CODATA 2018).
BOHR_MAGNETON = 5.7883818060e-2


@dataclass(frozen=True, eq=False)
class Geometry:
    """Where the sites of a magnetic cell lie, and which of them are bound to each other.

    Parameters
    ----------
    basis : ndarray, shape (3, 3)
        Vectors of the magnetic cell as rows, Angstrom, Cartesian with x along a and z perpendicular to a and b.
    fractions : ndarray, shape (n, 3)
        Positions of the sites, in units of the magnetic cell.
    spins : ndarray, shape (n, 3)
        Ordered spins of length S, Cartesian.
    ends : sequence of (int, int, ndarray of shape (3,))
        First site, second site and cell offset of the second one, for each bond.
    """

    basis: np.ndarray
    fractions: np.ndarray
    spins: np.ndarray
    ends: Sequence[tuple[int, int, np.ndarray]]

    @cached_property
    def structure(self) -> SimpleNamespace:
        """As `pyspinw.Hamiltonian.structure`, as far as spin waves need it."""
        sites = [
            SimpleNamespace(unique_id=i, ijk=place, base_spin=spin)
            for i, (place, spin) in enumerate(zip(self.fractions, self.spins, strict=True))
        ]
        return SimpleNamespace(sites=sites, unit_cell=SimpleNamespace(_xyz=self.basis), supercell=None)

    @cached_property
    def offsets(self) -> list[SimpleNamespace]:
        """Of each bond, as pySpinW wraps them."""
        return [SimpleNamespace(vector=np.asarray(offset, dtype=float)) for _, _, offset in self.ends]


class QuickHamiltonian:
    """Exchange, single-ion anisotropy and field on a `Geometry`.

    Parameters
    ----------
    geometry : Geometry
    exchange : ndarray, shape (K, 3, 3)
        J of each bond in S1 . J . S2, meV.
    single_ion : ndarray, shape (n, 3, 3), optional
        A of each site in S . A . S, meV.
    zeeman : ndarray, shape (n, 3), optional
        dE/dS of each site in a magnetic field, meV.
    """

    def __init__(
        self,
        geometry: Geometry,
        exchange: np.ndarray,
        single_ion: np.ndarray | None = None,
        zeeman: np.ndarray | None = None,
    ):
        self.geometry, self.structure = geometry, geometry.structure
        terms = np.zeros((len(geometry.spins), 3, 3)) if single_ion is None else single_ion
        if zeeman is not None:
            terms = terms + _as_single_ion(zeeman, geometry.spins)
        sites = self.structure.sites
        self.exchanges = [
            SimpleNamespace(site_1=sites[i], site_2=sites[j], cell_offset=offset, exchange_matrix=matrix)
            for (i, j, _), offset, matrix in zip(geometry.ends, geometry.offsets, exchange, strict=True)
        ]
        self.anisotropies = [
            SimpleNamespace(site=site, anisotropy_matrix=term)
            for site, term in zip(sites, terms, strict=True)
            if term.any()
        ]

    @cached_property
    def pyspinw(self):
        """The same as a pyspinw.Hamiltonian."""
        import pyspinw
        from pyspinw.exchange import Exchange

        sites = [pyspinw.Site(*site.ijk, *site.base_spin, name=f"s{site.unique_id}") for site in self.structure.sites]
        exchanges = [
            Exchange(
                sites[bond.site_1.unique_id],
                sites[bond.site_2.unique_id],
                tuple(int(n) for n in bond.cell_offset.vector),
                exchange_matrix=bond.exchange_matrix,
            )
            for bond in self.exchanges
        ]
        anisotropies = [
            term
            for given in self.anisotropies
            for term in pyspinw.matrix_anisotropies([sites[given.site.unique_id]], given.anisotropy_matrix)
        ]
        structure = pyspinw.Structure(sites, unit_cell_of(self.geometry.basis))
        return pyspinw.Hamiltonian(structure, exchanges, anisotropies)

    def _energies_and_intensities(self, q: np.ndarray):
        return self.pyspinw._energies_and_intensities(q)


def _as_single_ion(gradient: np.ndarray, spins: np.ndarray) -> np.ndarray:
    """A with 2 A S = dE/dS at these spins, no stiffness across them, and so the spin waves of a linear term.

    Shape (n, 3, 3): (h n^T + n h^T - (h.n) n n^T) / (2 S) with the unit vector n along the spin.
    """
    length = np.linalg.norm(spins, axis=1)[:, None, None]
    units = spins / length[:, :, 0]
    along = np.einsum("ni,ni->n", gradient, units)[:, None, None]
    across = gradient[:, :, None] * units[:, None, :]
    return (across + across.swapaxes(1, 2) - along * units[:, :, None] * units[:, None, :]) / (2 * length)


def quick_hamiltonian(
    lattice: Lattice,
    positions: np.ndarray,
    spins: np.ndarray,
    bonds: Sequence[Bond],
    *,
    cell: np.ndarray | None = None,
    anisotropy: np.ndarray | None = None,
    propagation: np.ndarray | None = None,
):
    """As `build_hamiltonian`, to which helices are left.

    Raises
    ------
    InputError
        If the magnetic cell has no volume, or a bond leads from no site to another.
    """
    if propagation is not None:
        options = {"cell": cell, "anisotropy": anisotropy, "propagation": propagation}
        return build_hamiltonian(lattice, positions, spins, bonds, **options)
    cell = magnetic_cell(cell)
    fractions = np.atleast_2d(np.asarray(positions, dtype=float)) @ np.linalg.inv(cell)
    spins = np.atleast_2d(np.asarray(spins, dtype=float))
    found = [(bond, end) for bond in bonds for end in bond_ends(bond, fractions, cell)]
    exchange = np.array([bond.matrix for bond, _ in found]).reshape(-1, 3, 3)
    geometry = Geometry(cell @ direct_basis(lattice), fractions, spins, [end for _, end in found])
    single_ion = None if anisotropy is None else np.tile(np.asarray(anisotropy, dtype=float), (len(spins), 1, 1))
    return QuickHamiltonian(geometry, exchange, single_ion)
