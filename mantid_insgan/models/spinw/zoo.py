"""Families of spin-wave models with priors on their couplings, from which training and test spectra are drawn.

The magnetic structure of every family is stable over most of the prior; unstable draws are rejected and counted.
Couplings are in meV; the energy of a bond is S1 . J . S2, so positive J is antiferromagnetic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from ...core.run import Lattice
from ...errors import InputError
from ..base import UnstableModelError
from ..zoo import Prior, first_stable, without_held_out
from .build import Bond, build_hamiltonian, dzyaloshinskii_moriya
from .model import SpinWModel

#: High-spin ions with a tabulated form factor, and their S.
ION_SPINS = MappingProxyType(
    {
        "Mn2+": 2.5,
        "Fe3+": 2.5,
        "Fe2+": 2.0,
        "Mn3+": 2.0,
        "Cr3+": 1.5,
        "Mn4+": 1.5,
        "Co2+": 1.5,
        "Ni2+": 1.0,
        "V3+": 1.0,
        "Cu2+": 0.5,
        "V4+": 0.5,
        "Mn3+/Mn4+": 1.75,  # half-doped
    }
)

_SQRT2_CELL = np.array([[1, 1, 0], [-1, 1, 0], [0, 0, 1]])
_SQRT3_CELL = np.array([[2, 1, 0], [-1, 1, 0], [0, 0, 1]])  # of a hexagonal lattice
_FCC_PRIMITIVE = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2
_X, _Y, _Z = np.eye(3)


@dataclass(frozen=True, eq=False)
class Family:
    """Models with a common lattice type and magnetic order.

    Parameters
    ----------
    name : str
    title : str
        Description, with an example material.
    dimension : str
        'chain', 'plane' or 'bulk': the number of directions along which magnons disperse strongly.
    order : str
        'ferromagnet', 'antiferromagnet', 'ferrimagnet', 'noncollinear' or 'incommensurate'.
    build : callable
        ``build(spin, axis, **couplings)`` returns the arguments of `build_hamiltonian` after the lattice; `axis` is the
        direction of the ordered moments (a unit vector), if the family leaves it free.
    priors : mapping of str to Prior
        Couplings. 'J1' is drawn as J1 S, so that bandwidths do not depend on the spin; `sign` gives its sign.
    sign : int
        Sign of J1: -1 ferromagnetic, +1 antiferromagnetic.
    lengths : tuple of (Prior or None)
        a, b, c in Angstrom; None means equal to a.
    gamma : float
        Degrees.
    ions : tuple of str
        Keys of `ION_SPINS`.
    axes : tuple of np.ndarray
        Moment directions that may be drawn.
    domains : tuple, optional
        Twins of the crystal, see `SpinWModel`.
    """

    name: str
    title: str
    dimension: str
    order: str
    build: Callable[..., dict]
    priors: Mapping[str, Prior]
    sign: int = 1
    lengths: tuple[Prior | None, Prior | None, Prior | None] = (Prior(3.5, 6), None, None)
    gamma: float = 90.0
    ions: tuple[str, ...] = tuple(ion for ion in ION_SPINS if "/" not in ion)
    axes: tuple[np.ndarray, ...] = field(default=(_X, _Y, _Z))
    domains: tuple[tuple[np.ndarray, float], ...] | None = None

    def model(
        self,
        couplings: Mapping[str, float],
        *,
        lattice: Lattice,
        ion: str,
        spin: float | None = None,
        axis: np.ndarray = _Z,
        temperature: float = 5.0,
        hamiltonian: Callable = build_hamiltonian,
        **options,
    ) -> SpinWModel:
        """The model with these couplings.

        Parameters
        ----------
        couplings : mapping of str to float
            meV, one for each of `priors`.
        lattice : Lattice
        ion : str
            Magnetic ion, 'Mn2+'.
        spin : float, optional
            S; that of the ion if not given.
        axis : array_like, shape (3,)
            Direction of the moments, Cartesian (x along a), if the family leaves it free.
        temperature : float
            Kelvin.
        hamiltonian : callable
            `build_hamiltonian`, or `mantid_insgan.models.spinw.quick.quick_hamiltonian`.
        **options
            Further arguments of `SpinWModel`.

        Raises
        ------
        InputError
            If a coupling is missing or unknown.
        UnstableModelError
            If the magnetic order of the family is not stable with these couplings.
        """
        if set(couplings) != set(self.priors):
            raise InputError(
                f"family {self.name!r} was given the couplings {sorted(couplings)}, expected {sorted(self.priors)}",
                "give each of these, in meV",
            )
        spin = ION_SPINS[ion] if spin is None else spin
        arguments = self.build(spin, np.asarray(axis, dtype=float), **couplings)
        facts = {"family": self.name, "couplings": dict(couplings), "ion": ion, "spin": spin, "axis": tuple(axis)}
        facts |= options.pop("facts", {})
        return SpinWModel(
            hamiltonian(lattice, **arguments),
            lattice,
            ion=ion.split("/"),
            cell=arguments.get("cell"),
            temperature=temperature,
            domains=options.pop("domains", self.domains),
            facts=facts,
            **options,
        )

    def draw(self, rng: np.random.Generator) -> SpinWModel:
        """A stable model drawn from the priors.

        `facts` of the model contains family, couplings, ion, spin, axis and `rejected` (number of unstable draws before
        it).

        Parameters
        ----------
        rng : np.random.Generator
            The same state gives the same model.

        Raises
        ------
        UnstableModelError
            If too many draws in a row are unstable.
        """
        return first_stable(self.name, lambda rejected: self._drawn(rng, rejected))

    def _drawn(self, rng: np.random.Generator, rejected: int) -> SpinWModel:
        ion = self.ions[rng.integers(len(self.ions))]
        lattice = self._draw_lattice(rng)
        axis = self.axes[rng.integers(len(self.axes))]
        couplings = self._draw_couplings(rng, ION_SPINS[ion])
        temperature = float(np.exp(rng.uniform(np.log(2), np.log(50))))
        facts = {"rejected": rejected}
        return self.model(couplings, lattice=lattice, ion=ion, axis=axis, temperature=temperature, facts=facts)

    def _draw_lattice(self, rng: np.random.Generator) -> Lattice:
        a = self.lengths[0].draw(rng)
        b, c = (a if prior is None else prior.draw(rng) for prior in self.lengths[1:])
        return Lattice(a, b, c, gamma=self.gamma)

    def _draw_couplings(self, rng: np.random.Generator, spin: float) -> dict[str, float]:
        couplings = {name: prior.draw(rng) for name, prior in self.priors.items()}
        if "J1" in couplings:
            size = couplings["J1"] / spin
            couplings = {
                name: value * (size if self.priors[name].relative else 1.0) for name, value in couplings.items()
            }
            couplings["J1"] = self.sign * size
        return couplings


# Bond vectors along the axes and between them: each bond once.
_ABC = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
_AB = _ABC[:2]
_AB_DIAGONALS = ((1, 1, 0), (1, -1, 0))
_FACE_DIAGONALS = (*_AB_DIAGONALS, (1, 0, 1), (1, 0, -1), (0, 1, 1), (0, 1, -1))
_BODY_DIAGONALS = ((0.5, 0.5, 0.5), (-0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0.5, 0.5, -0.5))
_HEXAGONAL = ((1, 0, 0), (0, 1, 0), (1, 1, 0))  # gamma = 120 degrees


def _bonds(vectors, exchange, start=None) -> list[Bond]:
    return [Bond(v, exchange, start) for v in vectors]


def _uniaxial(strength: float, axis: np.ndarray) -> np.ndarray:
    return strength * np.outer(axis, axis)


def _fm_chain(spin, axis, J1, J2, Jperp, D):
    bonds = [Bond((1, 0, 0), J1), Bond((2, 0, 0), J2), *_bonds(_ABC[1:], Jperp)]
    return {"positions": [(0, 0, 0)], "spins": [spin * axis], "bonds": bonds, "anisotropy": _uniaxial(D, axis)}


def _afm_chain(spin, axis, J1, J2, Jperp, D):
    return _fm_chain(spin, axis, J1, J2, Jperp, D) | {
        "cell": np.diag([2, 1, 1]),
        "positions": [(0, 0, 0), (1, 0, 0)],
        "spins": spin * np.outer([1, -1], axis),
    }


def _ladder(spin, axis, J1, Jrung, Jcross, Jperp, D):
    leg, rung = 0.0, 0.4
    positions = [(0, leg, 0), (1, leg, 0), (0, rung, 0), (1, rung, 0)]
    bonds = [Bond((1, 0, 0), J1), Bond((0, rung, 0), Jrung), Bond((1, rung, 0), Jcross), Bond((-1, rung, 0), Jcross)]
    return {
        "cell": np.diag([2, 1, 1]),
        "positions": positions,
        "spins": spin * np.outer([1, -1, -1, 1], axis),
        "bonds": [*bonds, Bond((0, 0, 1), Jperp)],
        "anisotropy": _uniaxial(D, axis),
    }


def _square_afm(spin, axis, J1, J2, J3, Jperp, D):
    doubled = [(2, 0, 0), (0, 2, 0)]
    return {
        "cell": _SQRT2_CELL,
        "positions": [(0, 0, 0), (0, 1, 0)],
        "spins": spin * np.outer([1, -1], axis),
        "bonds": _bonds(_AB, J1) + _bonds(_AB_DIAGONALS, J2) + _bonds(doubled, J3) + [Bond((0, 0, 1), Jperp)],
        "anisotropy": _uniaxial(D, axis),
    }


def _stripe(spin, axis, J1, J1b, J2, Jperp, D):
    return {
        "cell": np.diag([2, 1, 1]),
        "positions": [(0, 0, 0), (1, 0, 0)],
        "spins": spin * np.outer([1, -1], axis),
        "bonds": [Bond(_X, J1), Bond(_Y, J1b), *_bonds(_AB_DIAGONALS, J2), Bond(_Z, Jperp)],
        "anisotropy": _uniaxial(D, axis),
    }


def _triangular(spin, axis, J1, J2, Jperp, D):
    angles = np.radians([0, 120, 240])
    second = [(2, 1, 0), (1, 2, 0), (1, -1, 0)]
    return {
        "cell": _SQRT3_CELL,
        "positions": [(0, 0, 0), (1, 0, 0), (1, 1, 0)],
        "spins": spin * np.column_stack([np.cos(angles), np.sin(angles), 0 * angles]),
        "bonds": _bonds(_HEXAGONAL, J1) + _bonds(second, J2) + [Bond((0, 0, 1), Jperp)],
        "anisotropy": _uniaxial(D, _Z),
    }


_HONEYCOMB = [(1 / 3, 2 / 3, 0), (2 / 3, 1 / 3, 0)]
_HONEYCOMB_FIRST = ((1 / 3, -1 / 3, 0), (1 / 3, 2 / 3, 0), (-2 / 3, -1 / 3, 0))
_HONEYCOMB_THIRD = ((-2 / 3, 2 / 3, 0), (-2 / 3, -4 / 3, 0), (4 / 3, 2 / 3, 0))


def _honeycomb_fm(spin, axis, J1, J2, J3, Jperp, D, DM):
    # The second-neighbour Dzyaloshinskii-Moriya vector turns with the sense of the path: opposite on the sublattices.
    turning = ((1, 0, 0), (0, 1, 0), (-1, -1, 0))
    second = [
        Bond(v, J2 * np.eye(3) + dzyaloshinskii_moriya((0, 0, sense * DM)), (site,))
        for site, sense in ((0, 1), (1, -1))
        for v in turning
    ]
    return {
        "positions": _HONEYCOMB,
        "spins": spin * np.outer([1, 1], axis),
        "bonds": _bonds(_HONEYCOMB_FIRST, J1) + second + _bonds(_HONEYCOMB_THIRD, J3) + [Bond((0, 0, 1), Jperp)],
        "anisotropy": _uniaxial(D, axis),
    }


def _honeycomb_afm(spin, axis, J1, J2, J3, Jperp, D):
    return _honeycomb_fm(spin, axis, J1, J2, J3, Jperp, D, 0.0) | {"spins": spin * np.outer([1, -1], axis)}


_KAGOME = [(0.5, 0, 0), (0, 0.5, 0), (0.5, 0.5, 0)]
# From site 0 to 1 to 2 and back to 0, the same way round in both kinds of triangle.
_KAGOME_RING = ((0, (0.5, 0.5, 0)), (1, (-0.5, 0, 0)), (2, (0, -0.5, 0)))


def _kagome_bonds(J1, J2, Jperp, DM):
    first = [
        Bond(sign * np.array(v), J1 * np.eye(3) + dzyaloshinskii_moriya((0, 0, DM)), (start,))
        for start, v in _KAGOME_RING
        for sign in (1, -1)
    ]
    second = [(0.5, 1, 0), (1, 0.5, 0), (0.5, -0.5, 0)]
    return [*first, *_bonds(second, J2), Bond((0, 0, 1), Jperp)]


def _kagome_fm(spin, axis, J1, J2, Jperp, DM, D):
    return {
        "positions": _KAGOME,
        "spins": spin * np.outer([1, 1, 1], axis),
        "bonds": _kagome_bonds(J1, J2, Jperp, DM),
        "anisotropy": _uniaxial(D, axis),
    }


def _kagome_q0(spin, axis, J1, J2, Jperp, DM):
    angles = np.radians([0, -120, -240])
    return {
        "positions": _KAGOME,
        "spins": spin * np.column_stack([np.cos(angles), np.sin(angles), 0 * angles]),
        "bonds": _kagome_bonds(J1, J2, Jperp, DM),
    }


def _cubic_fm(spin, axis, J1, J2, J4, D):
    fourth = [(2, 0, 0), (0, 2, 0), (0, 0, 2)]
    return {
        "positions": [(0, 0, 0)],
        "spins": [spin * axis],
        "bonds": _bonds(_ABC, J1) + _bonds(_FACE_DIAGONALS, J2) + _bonds(fourth, J4),
        "anisotropy": _uniaxial(D, axis),
    }


def _cubic_afm(spin, axis, J1, J2, J4, D):
    return _cubic_fm(spin, axis, J1, J2, J4, D) | {
        "cell": 2 * _FCC_PRIMITIVE,
        "positions": [(0, 0, 0), (1, 0, 0)],
        "spins": spin * np.outer([1, -1], axis),
    }


def _rutile_afm(spin, axis, J1, Jc, Ja, D):
    # J1 couples corner and centre; Jc and Ja run along c and a.
    return {
        "positions": [(0, 0, 0), (0.5, 0.5, 0.5)],
        "spins": spin * np.outer([1, -1], axis),
        "bonds": _bonds(_BODY_DIAGONALS, J1) + [Bond((0, 0, 1), Jc)] + _bonds(_AB, Ja),
        "anisotropy": _uniaxial(D, axis),
    }


_BILAYER_HALF = 0.1  # of c: half the distance of the two layers


def _bilayer_fm(spin, axis, J1, J2, Jbilayer, D):
    # The layers are parallel or antiparallel, as their coupling asks.
    signs = [1, 1 if Jbilayer < 0 else -1]
    return {
        "positions": [(0, 0, _BILAYER_HALF), (0, 0, -_BILAYER_HALF)],
        "spins": spin * np.outer(signs, axis),
        "bonds": _bonds(_AB, J1) + _bonds(_AB_DIAGONALS, J2) + [Bond((0, 0, 2 * _BILAYER_HALF), Jbilayer)],
        "anisotropy": _uniaxial(D, axis),
    }


def _bilayer_afm(spin, axis, J1, J2, Jbilayer, D):
    upper, lower = _BILAYER_HALF, -_BILAYER_HALF
    return _bilayer_fm(spin, axis, J1, J2, Jbilayer, D) | {
        "cell": _SQRT2_CELL,
        "positions": [(0, 0, upper), (0, 1, upper), (0, 0, lower), (0, 1, lower)],
        "spins": spin * np.outer([1, -1, -1, 1], axis),
    }


def _helical(spin, axis, J1, J2, Jplane, D):
    # Planes normal to c with J1 to the next and J2 to the second plane: cos(2 pi k) = -J1 / (4 J2).
    if not abs(J1) < 4 * J2:
        raise UnstableModelError(f"J1 = {J1:.3g} and J2 = {J2:.3g} meV favour no helix (|J1| < 4 J2)", "make J2 larger")
    k = np.arccos(-J1 / (4 * J2)) / (2 * np.pi)
    return {
        "positions": [(0, 0, 0)],
        "spins": [spin * _X],
        "bonds": [Bond((0, 0, 1), J1), Bond((0, 0, 2), J2), *_bonds(_AB, Jplane)],
        "anisotropy": _uniaxial(D, _Z),
        "propagation": (0.0, 0.0, k),
    }


_PYROCHLORE = [(0, 0, 0), (0, 0.25, 0.25), (0.25, 0, 0.25), (0.25, 0.25, 0)]
_QUARTER_DIAGONALS = tuple(tuple(np.array(v) / 4) for v in _FACE_DIAGONALS)


def _pyrochlore_fm(spin, axis, J1, J3, D):
    third = [np.array(v) / 2 for v in _FACE_DIAGONALS]  # of both kinds
    return {
        "cell": _FCC_PRIMITIVE,
        "positions": _PYROCHLORE,
        "spins": spin * np.outer(np.ones(4), axis),
        "bonds": _bonds(_QUARTER_DIAGONALS, J1) + _bonds(third, J3),
        "anisotropy": _uniaxial(D, axis),
    }


_DIAMOND = [(0, 0, 0), (0.25, 0.25, 0.25)]
_DIAMOND_FIRST = ((0.25, 0.25, 0.25), (0.25, -0.25, -0.25), (-0.25, 0.25, -0.25), (-0.25, -0.25, 0.25))


def _diamond_afm(spin, axis, J1, J2, D):
    second = [np.array(v) / 2 for v in _FACE_DIAGONALS]
    return {
        "cell": _FCC_PRIMITIVE,
        "positions": _DIAMOND,
        "spins": spin * np.outer([1, -1], axis),
        "bonds": _bonds(_DIAMOND_FIRST, J1) + _bonds(second, J2),
        "anisotropy": _uniaxial(D, axis),
    }


def _spinel_ferrimagnet(spin, axis, J1, JBB, JAA, D):
    # Octahedral B sites (the pyrochlore lattice) against tetrahedral A sites (diamond), as in magnetite.
    tetrahedral = np.array([(3, 3, 3), (5, 5, 5)]) / 8
    octahedral = np.array(_PYROCHLORE)
    a_to_b = [
        Bond(v, J1, (site,))
        for site in (0, 1)
        for v in _vectors_near(tetrahedral[site], octahedral, _FCC_PRIMITIVE, np.sqrt(11) / 8)
    ]
    return {
        "cell": _FCC_PRIMITIVE,
        "positions": np.vstack([tetrahedral, octahedral]),
        "spins": spin * np.outer([-1, -1, 1, 1, 1, 1], axis),
        "bonds": [
            *a_to_b,
            *_bonds(_QUARTER_DIAGONALS, JBB, (2, 3, 4, 5)),
            *_bonds(_DIAMOND_FIRST, JAA, (0,)),
        ],
        "anisotropy": _uniaxial(D, axis),
    }


def _vectors_near(start, ends, cell, distance) -> list[np.ndarray]:
    """Vectors of this length (in units of a cubic cell) from a site to a lattice of sites."""
    shifts = np.array(np.meshgrid(*[range(-2, 3)] * 3)).reshape(3, -1).T @ cell
    vectors = (ends[:, None, :] + shifts - start).reshape(-1, 3)
    return list(vectors[np.abs(np.linalg.norm(vectors, axis=1) - distance) < 1e-6])


# Half-doped manganite Pr(Ca0.9Sr0.1)2Mn2O7, one bilayer, in units of its high-temperature cell: Mn4+ first, then Mn3+.
# Charge-exchange (CE) order: ferromagnetic zigzags along a, antiparallel to their neighbours and across the bilayer
# (Johnstone et al., Phys. Rev. Lett. 109, 237202 (2012)).
_CE_LAYER = np.array([(0, 0), (1, 1), (0, 1), (1, 0), (0.5, 1.5), (1.5, 1.5), (0.5, 0.5), (1.5, 0.5)])
_CE_SIGNS = np.array([1, 1, -1, -1, 1, 1, -1, -1])
_CE_HEIGHT = 0.1
_CE_CRYSTAL = {
    "dimension": "plane",
    "order": "antiferromagnet",
    "lengths": (Prior(5.408, 5.408), Prior(5.4599, 5.4599), Prior(19.266, 19.266)),
    "ions": ("Mn3+/Mn4+",),
    "axes": (_Y,),
}
# The crystal has twins with a and b exchanged.
_CE_TWINS = ((np.eye(3), 0.5), (np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, 1]]), 0.5))


def _ce_sites(spin: float) -> dict:
    upper = np.column_stack([_CE_LAYER, np.full(8, _CE_HEIGHT)])
    lower = np.column_stack([_CE_LAYER, np.full(8, -_CE_HEIGHT)])
    return {
        "cell": np.diag([2, 2, 1]),
        "positions": np.vstack([upper, lower]),
        "spins": spin * np.outer(np.concatenate([_CE_SIGNS, -_CE_SIGNS]), _Y),
    }


_CE_FIRST_MN3, _CE_SECOND_MN3 = (4, 6, 12, 14), (5, 7, 13, 15)  # at x = 1/2 and x = 3/2


def _ce_between(JA1, JA2) -> list[Bond]:
    """First neighbours on different zigzags, from Mn3+."""
    return [
        Bond((0.5, 0.5, 0), JA1, _CE_FIRST_MN3),
        Bond((-0.5, -0.5, 0), JA2, _CE_FIRST_MN3),
        Bond((0.5, -0.5, 0), JA1, _CE_SECOND_MN3),
        Bond((-0.5, 0.5, 0), JA2, _CE_SECOND_MN3),
    ]


def _ce_along(forward, backward) -> list[Bond]:
    """First neighbours on the same zigzag, from Mn3+ towards +a and -a."""
    return [
        Bond((0.5, -0.5, 0), forward, _CE_FIRST_MN3),
        Bond((-0.5, 0.5, 0), backward, _CE_FIRST_MN3),
        Bond((0.5, 0.5, 0), forward, _CE_SECOND_MN3),
        Bond((-0.5, -0.5, 0), backward, _CE_SECOND_MN3),
    ]


def _goodenough(spin, axis, JF1, JA, JF2, JF3, Jperp, D):
    corner = (1, 3, 9, 11)  # Mn4+ at x = 1: their zigzag's other Mn4+ lie towards +b
    return _ce_sites(spin) | {
        "bonds": [
            *_ce_along(JF1, JF1),
            *_ce_between(JA, JA),
            *_bonds([(1, 1, 0), (-1, 1, 0)], JF2, corner),
            Bond((1, 0, 0), JF3, _CE_FIRST_MN3 + _CE_SECOND_MN3),
            Bond((0, 0, 2 * _CE_HEIGHT), Jperp),
        ],
        "anisotropy": _uniaxial(D, _Z),
    }


def _dimer(spin, axis, JFW, JA1, JA2, JFS, Jperp, D):
    return _ce_sites(spin) | {
        "bonds": [*_ce_along(JFS, JFW), *_ce_between(JA1, JA2), Bond((0, 0, 2 * _CE_HEIGHT), Jperp)],
        "anisotropy": _uniaxial(D, _Z),
    }


_SCALE = Prior(1.5, 15, log=True, relative=False)  # J1 S in meV
_EASY = Prior(-0.05, 0.0)
_WEAK_FM = Prior(-0.1, 0.0)
_ANY_WEAK = Prior(-0.1, 0.1)
_CHAIN = (Prior(3, 5), Prior(5, 10), Prior(5, 10))
_TETRAGONAL = (Prior(3.5, 6), None, Prior(6, 13))
_BILAYERS = (Prior(3.6, 4.2), None, Prior(15, 22))
_HEXAGONAL_CELL = {"gamma": 120.0, "lengths": (Prior(3, 7.5), None, Prior(4.5, 8))}
_CUBIC = (Prior(3.8, 5.5), None, None)
_FACE_CENTRED = (Prior(8, 10.5), None, None)


def _meV(low: float, high: float) -> Prior:
    return Prior(low, high, relative=False)


_FAMILIES = (
    Family(
        "fm_chain",
        "ferromagnetic chain (CsNiF3)",
        "chain",
        "ferromagnet",
        _fm_chain,
        {"J1": _SCALE, "J2": Prior(-0.2, 0.2), "Jperp": _WEAK_FM, "D": _EASY},
        sign=-1,
        lengths=_CHAIN,
    ),
    Family(
        "afm_chain",
        "antiferromagnetic chain (TMMC, KCuF3)",
        "chain",
        "antiferromagnet",
        _afm_chain,
        {"J1": _SCALE, "J2": Prior(-0.2, 0.2), "Jperp": _WEAK_FM, "D": _EASY},
        lengths=_CHAIN,
    ),
    Family(
        "ladder",
        "antiferromagnetic two-leg ladder",
        "chain",
        "antiferromagnet",
        _ladder,
        {"J1": _SCALE, "Jrung": Prior(0.1, 1.2), "Jcross": Prior(-0.2, 0.1), "Jperp": _WEAK_FM, "D": _EASY},
        lengths=(Prior(3.5, 5), Prior(8, 12), Prior(4, 8)),
    ),
    Family(
        "square_afm",
        "square-lattice antiferromagnet (Rb2MnF4, La2NiO4)",
        "plane",
        "antiferromagnet",
        _square_afm,
        {"J1": _SCALE, "J2": Prior(-0.3, 0.55), "J3": Prior(-0.1, 0.1), "Jperp": Prior(-0.05, 0), "D": _EASY},
        lengths=_TETRAGONAL,
    ),
    Family(
        "stripe",
        "stripe order of the square lattice (iron pnictides)",
        "plane",
        "antiferromagnet",
        _stripe,
        {"J1": _SCALE, "J1b": Prior(-0.5, 1.0), "J2": Prior(0.4, 1.2), "Jperp": Prior(-0.1, 0), "D": _EASY},
        lengths=_TETRAGONAL,
    ),
    Family(
        "triangular_120",
        "triangular lattice with 120 degree order (LuMnO3)",
        "plane",
        "noncollinear",
        _triangular,
        {"J1": _SCALE, "J2": Prior(-0.2, 0.15), "Jperp": _WEAK_FM, "D": Prior(0, 0.3)},
        axes=(_Z,),
        **_HEXAGONAL_CELL,
    ),
    Family(
        "honeycomb_fm",
        "honeycomb ferromagnet with a Dirac gap (CrI3)",
        "plane",
        "ferromagnet",
        _honeycomb_fm,
        {
            "J1": _SCALE,
            "J2": Prior(-0.2, 0.1),
            "J3": _ANY_WEAK,
            "Jperp": Prior(-0.3, 0),
            "D": _EASY,
            "DM": Prior(0, 0.15),
        },
        sign=-1,
        **_HEXAGONAL_CELL,
    ),
    Family(
        "honeycomb_afm",
        "honeycomb antiferromagnet (MnPS3)",
        "plane",
        "antiferromagnet",
        _honeycomb_afm,
        {"J1": _SCALE, "J2": Prior(-0.1, 0.15), "J3": Prior(-0.1, 0.4), "Jperp": _WEAK_FM, "D": _EASY},
        **_HEXAGONAL_CELL,
    ),
    Family(
        "kagome_fm",
        "kagome ferromagnet with a gapped flat band (Cu(1,3-bdc))",
        "plane",
        "ferromagnet",
        _kagome_fm,
        {"J1": _SCALE, "J2": _ANY_WEAK, "Jperp": _WEAK_FM, "DM": Prior(-0.25, 0.25), "D": _EASY},
        sign=-1,
        **_HEXAGONAL_CELL,
    ),
    Family(
        "kagome_q0",
        "kagome antiferromagnet in the q = 0 state (jarosites)",
        "plane",
        "noncollinear",
        _kagome_q0,
        {"J1": _SCALE, "J2": Prior(0, 0.15), "Jperp": _WEAK_FM, "DM": Prior(0.01, 0.15)},
        axes=(_Z,),
        **_HEXAGONAL_CELL,
    ),
    Family(
        "cubic_fm",
        "simple cubic ferromagnet (manganite perovskites)",
        "bulk",
        "ferromagnet",
        _cubic_fm,
        {"J1": _SCALE, "J2": Prior(-0.15, 0.1), "J4": Prior(-0.3, 0.05), "D": _EASY},
        sign=-1,
        lengths=_CUBIC,
    ),
    Family(
        "cubic_afm",
        "simple cubic antiferromagnet (RbMnF3, LaFeO3)",
        "bulk",
        "antiferromagnet",
        _cubic_afm,
        {"J1": _SCALE, "J2": Prior(-0.1, 0.1), "J4": Prior(-0.05, 0.05), "D": _EASY},
        lengths=_CUBIC,
    ),
    Family(
        "rutile_afm",
        "body-centred tetragonal antiferromagnet (MnF2)",
        "bulk",
        "antiferromagnet",
        _rutile_afm,
        {"J1": _SCALE, "Jc": Prior(-0.4, 0.3), "Ja": _ANY_WEAK, "D": Prior(-0.15, 0)},
        lengths=(Prior(4.5, 5.2), None, Prior(3, 3.6)),
    ),
    Family(
        "bilayer_fm",
        "ferromagnetic layers in pairs (La1.2Sr1.8Mn2O7)",
        "plane",
        "ferromagnet",
        _bilayer_fm,
        {"J1": _SCALE, "J2": Prior(-0.1, 0.1), "Jbilayer": Prior(-0.6, 0.3), "D": _EASY},
        sign=-1,
        lengths=_BILAYERS,
    ),
    Family(
        "bilayer_afm",
        "antiferromagnetic layers in pairs (YBa2Cu3O6)",
        "plane",
        "antiferromagnet",
        _bilayer_afm,
        {"J1": _SCALE, "J2": Prior(-0.2, 0.2), "Jbilayer": Prior(0.05, 0.6), "D": _EASY},
        lengths=_BILAYERS,
    ),
    Family(
        "helical",
        "helix of ferromagnetic planes, incommensurate",
        "bulk",
        "incommensurate",
        _helical,
        {"J1": _SCALE, "J2": Prior(0.3, 1.2), "Jplane": Prior(-1, -0.1), "D": Prior(0, 0.1)},
        sign=-1,
        lengths=(Prior(3.5, 6), None, Prior(4, 7)),
        axes=(_Z,),
    ),
    Family(
        "pyrochlore_fm",
        "pyrochlore ferromagnet (Lu2V2O7)",
        "bulk",
        "ferromagnet",
        _pyrochlore_fm,
        {"J1": _SCALE, "J3": Prior(-0.1, 0.05), "D": _EASY},
        sign=-1,
        lengths=_FACE_CENTRED,
    ),
    Family(
        "diamond_afm",
        "diamond-lattice antiferromagnet (CoRh2O4)",
        "bulk",
        "antiferromagnet",
        _diamond_afm,
        {"J1": _SCALE, "J2": Prior(-0.05, 0.14), "D": _EASY},
        lengths=_FACE_CENTRED,
    ),
    Family(
        "spinel_ferrimagnet",
        "ferrimagnetic spinel (magnetite)",
        "bulk",
        "ferrimagnet",
        _spinel_ferrimagnet,
        {"J1": _SCALE, "JBB": Prior(-0.3, 0.1), "JAA": Prior(-0.1, 0.1), "D": _EASY},
        lengths=_FACE_CENTRED,
    ),
    Family(
        "pcsmo_goodenough",
        "half-doped manganite, Goodenough model (charge-ordered zigzags)",
        build=_goodenough,
        priors={
            "JF1": _meV(-20, 0),
            "JA": _meV(0, 3),
            "JF2": _meV(-3, 3),
            "JF3": _meV(-3, 3),
            "Jperp": _meV(0, 3),
            "D": _meV(0, 0.2),
        },
        domains=_CE_TWINS,
        **_CE_CRYSTAL,
    ),
    Family(
        "pcsmo_dimer",
        "half-doped manganite, dimer model (Zener polarons)",
        build=_dimer,
        priors={
            "JFW": _meV(-20, 0),
            "JA1": _meV(-3, 3),
            "JA2": _meV(-3, 3),
            "JFS": _meV(-20, 0),
            "Jperp": _meV(0, 3),
            "D": _meV(0, 0.2),
        },
        domains=_CE_TWINS,
        **_CE_CRYSTAL,
    ),
)

#: Held-out families, one of each kind, to test networks on Hamiltonians unlike those of the training.
HELD_OUT = ("ladder", "stripe", "kagome_fm", "helical", "rutile_afm", "pcsmo_dimer")


def families() -> tuple[Family, ...]:
    """All families, always in this order."""
    return _FAMILIES


def get_family(name: str) -> Family:
    """The family of this name.

    Raises
    ------
    InputError
        If there is none.
    """
    for family in _FAMILIES:
        if family.name == name:
            return family
    raise InputError(
        f"there is no family {name!r}; the families are {', '.join(f.name for f in _FAMILIES)}",
        "use one of those names",
    )


def split() -> tuple[tuple[Family, ...], tuple[Family, ...]]:
    """(training families, held-out families)."""
    return without_held_out(_FAMILIES, HELD_OUT)
