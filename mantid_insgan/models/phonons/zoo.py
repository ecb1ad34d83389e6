"""Families of phonon models with priors on their springs; used for training only if a recipe names them.

Lattices of springs between near neighbours (Born and von Karman): each spring resists stretching (longitudinal) and
rotation (transverse). Euphonic calculates the lattice dynamics. Unstable draws are rejected and counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import InputError
from ..zoo import Prior, first_stable, without_held_out
from .model import PhononModel, require_euphonic

#: Cells along each vector of the supercell; no spring is longer than half of it.
_SUPERCELL = 3
_FCC = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2
_BCC = np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]]) / 2
_CUBE = np.eye(3)
#: Vectors closer than this (in units of a) are the same.
_NEAR = 1e-6
#: Highest phonon energy of a drawn lattice, meV, and its temperature, K.
_TOP = Prior(10.0, 80.0, log=True)
_TEMPERATURE = Prior(5.0, 400.0, log=True)
#: Lattice parameters are drawn within these multiples of the material's.
_STRAIN = Prior(0.97, 1.03)


@dataclass(frozen=True)
class Spring:
    """Springs between all atoms of two kinds at one distance.

    Parameters
    ----------
    first, second : int
        Numbers of the atoms in the cell.
    distance : float
        In units of the cubic lattice parameter.
    longitudinal, transverse : float
        Energy per squared change of length, and per squared transverse displacement (times two), eV/Angstrom^2.
    """

    first: int
    second: int
    distance: float
    longitudinal: float
    transverse: float


@dataclass(frozen=True, eq=False)
class PhononFamily:
    """Cubic crystals of one structure.

    Parameters
    ----------
    name : str
    title : str
    cell : np.ndarray, shape (3, 3)
        Vectors of the primitive cell as rows, in units of the cubic cell.
    positions : tuple
        Positions of the atoms, in units of the cubic cell.
    materials : mapping of str to (tuple of str, float)
        Elements of the atoms and the lattice parameter in Angstrom.
    springs : tuple of (str, int, int, float)
        Name, first and second atom, distance. `priors` has entries 'L' + name and 'T' + name for each.
    priors : mapping of str to Prior
        Spring constants in units of the first longitudinal one, which is 1.
    """

    name: str
    title: str
    cell: np.ndarray
    positions: tuple
    materials: Mapping[str, tuple[tuple[str, ...], float]]
    springs: tuple[tuple[str, int, int, float], ...]
    priors: Mapping[str, Prior]

    def model(
        self, couplings: Mapping[str, float], *, material: str, a: float | None = None, temperature: float, **options
    ) -> PhononModel:
        """The model with these spring constants.

        Parameters
        ----------
        couplings : mapping of str to float
            eV/Angstrom^2: 'L' and 'T' of each of `springs`.
        material : str
            One of `materials`, for the elements and, if `a` is not given, the lattice parameter.
        a : float, optional
            Lattice parameter, Angstrom.
        temperature : float
            Kelvin.
        **options
            Further arguments of `PhononModel`.

        Raises
        ------
        DeviceError
            If Euphonic is not installed.
        InputError
            If a spring is missing or unknown.
        UnstableModelError
            If the lattice is not stable.
        """
        wanted = [kind + name for name, *_ in self.springs for kind in "LT"]
        if set(couplings) != set(wanted):
            raise InputError(
                f"family {self.name!r} was given the springs {sorted(couplings)}, expected {sorted(wanted)}",
                "give each of these, in eV/Angstrom^2",
            )
        elements, length = self.materials[material]
        a = length if a is None else a
        springs = [Spring(i, j, d, couplings["L" + name], couplings["T" + name]) for name, i, j, d in self.springs]
        facts = {"family": self.name, "couplings": dict(couplings), "material": material} | options.pop("facts", {})
        force_constants = spring_force_constants(a, self.cell, self.positions, elements, springs)
        return PhononModel(force_constants, cell=self.cell, temperature=temperature, facts=facts, **options)

    def draw(self, rng: np.random.Generator) -> PhononModel:
        """A stable model drawn from the priors.

        `facts` of the model contains family, couplings, material and `rejected` (number of unstable draws before it).

        Parameters
        ----------
        rng : np.random.Generator
            The same state gives the same model.

        Raises
        ------
        DeviceError
            If Euphonic is not installed.
        UnstableModelError
            If too many draws in a row are unstable.
        """
        require_euphonic()
        return first_stable(self.name, lambda rejected: self._drawn(rng, rejected))

    def _drawn(self, rng: np.random.Generator, rejected: int) -> PhononModel:
        material = list(self.materials)[rng.integers(len(self.materials))]
        options = {"material": material, "a": self.materials[material][1] * _STRAIN.draw(rng)}
        options |= {"temperature": _TEMPERATURE.draw(rng), "facts": {"rejected": rejected}}
        relative = {name: prior.draw(rng) for name, prior in self.priors.items()}
        top = _TOP.draw(rng)
        # Energies scale as the square root of the springs: the bandwidth for a first spring of 1 gives the scale.
        strength = (top / self.model(relative, **options, debye_waller=False).bandwidth()) ** 2
        return self.model({name: strength * value for name, value in relative.items()}, **options)


def spring_force_constants(
    a: float, cell: np.ndarray, positions: Sequence, elements: Sequence[str], springs: Sequence[Spring]
):
    """Force constants of a lattice of springs.

    A spring along the unit vector r between two atoms has the matrix -(L r r^T + T (1 - r r^T)); the on-site matrix of
    an atom makes the sum over all atoms zero, so that a uniform displacement of the crystal causes no force.

    Parameters
    ----------
    a : float
        Lattice parameter of the cubic cell, Angstrom.
    cell : array_like, shape (3, 3)
        Vectors of the primitive cell as rows, in units of the cubic cell.
    positions : sequence, shape (n, 3)
        In units of the cubic cell.
    elements : sequence of str
        One for each position.
    springs : sequence of Spring

    Returns
    -------
    euphonic.ForceConstants

    Raises
    ------
    DeviceError
        If Euphonic is not installed.
    InputError
        If a spring does not end at an atom, or is too long for the supercell.
    """
    require_euphonic()
    import periodictable
    from euphonic import Crystal, ForceConstants, ureg

    cell, positions = np.asarray(cell, dtype=float), np.asarray(positions, dtype=float)
    masses = [periodictable.elements.symbol(name).mass for name in elements]
    crystal = Crystal(
        a * cell * ureg("angstrom"),
        positions @ np.linalg.inv(cell),
        np.array(elements),
        masses * ureg("amu"),
    )
    origins = np.array(list(np.ndindex(*[_SUPERCELL] * 3)))
    matrices = np.zeros((len(origins), len(positions), 3, len(positions), 3))
    for spring in springs:
        for i, j in {(spring.first, spring.second), (spring.second, spring.first)}:
            for offset, vector in _neighbours(cell, positions[j] - positions[i], spring.distance):
                along = np.outer(vector, vector) / spring.distance**2
                matrix = spring.longitudinal * along + spring.transverse * (np.eye(3) - along)
                number = np.ravel_multi_index(offset % _SUPERCELL, [_SUPERCELL] * 3)
                matrices[number, i, :, j, :] -= matrix
                matrices[0, i, :, i, :] += matrix
    size = 3 * len(positions)
    force_constants = matrices.reshape(len(origins), size, size) * ureg("eV/angstrom**2")
    return ForceConstants(crystal, force_constants, _SUPERCELL * np.eye(3, dtype=int), origins)


def _neighbours(cell: np.ndarray, between: np.ndarray, distance: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """(cell offset, vector in units of the cubic cell) of every atom of one kind at this distance."""
    offsets = np.array(list(np.ndindex(*[2 * _SUPERCELL + 1] * 3))) - _SUPERCELL
    vectors = offsets @ cell + between
    found = np.abs(np.linalg.norm(vectors, axis=1) - distance) < _NEAR
    shortest = min(np.linalg.norm(v @ cell) for v in offsets if v.any())
    if not found.any() or distance >= _SUPERCELL * shortest / 2:
        raise InputError(
            f"a spring of {distance:g} lattice parameters ends at no atom, or is too long for the supercell",
            f"give the distance of two atoms, below {_SUPERCELL * shortest / 2:.3g}",
        )
    return list(zip(offsets[found], vectors[found], strict=True))


_STIFF = Prior(1.0, 1.0)
_SIDE = Prior(-0.08, 0.12)
_SECOND = Prior(-0.15, 0.4)
_ROOT2, _ROOT3 = 2**0.5, 3**0.5
_MONATOMIC = {"L1": _STIFF, "T1": _SIDE, "L2": _SECOND, "T2": _SIDE}

_FAMILIES = (
    PhononFamily(
        "phonon_fcc",
        "face-centred cubic metal (Al, Cu, Pb)",
        _FCC,
        ((0, 0, 0),),
        {
            "Al": (("Al",), 4.05),
            "Ni": (("Ni",), 3.52),
            "Cu": (("Cu",), 3.61),
            "Pd": (("Pd",), 3.89),
            "Ag": (("Ag",), 4.09),
            "Pb": (("Pb",), 4.95),
        },
        (("1", 0, 0, 1 / _ROOT2), ("2", 0, 0, 1.0)),
        _MONATOMIC,
    ),
    PhononFamily(
        "phonon_bcc",
        "body-centred cubic metal (Fe, Nb, W)",
        _BCC,
        ((0, 0, 0),),
        {
            "Cr": (("Cr",), 2.88),
            "Fe": (("Fe",), 2.87),
            "Nb": (("Nb",), 3.30),
            "Mo": (("Mo",), 3.15),
            "Ta": (("Ta",), 3.30),
            "W": (("W",), 3.16),
        },
        (("1", 0, 0, _ROOT3 / 2), ("2", 0, 0, 1.0)),
        # Springs along the body diagonals alone allow planes to glide.
        _MONATOMIC | {"L2": Prior(0.0, 1.0)},
    ),
    PhononFamily(
        "phonon_rocksalt",
        "rock salt (NaCl, MgO, PbTe)",
        _FCC,
        ((0, 0, 0), (0.5, 0, 0)),
        {
            "NaF": (("Na", "F"), 4.63),
            "NaCl": (("Na", "Cl"), 5.64),
            "KBr": (("K", "Br"), 6.60),
            "MgO": (("Mg", "O"), 4.21),
            "PbTe": (("Pb", "Te"), 6.46),
        },
        (("1", 0, 1, 0.5), ("2a", 0, 0, 1 / _ROOT2), ("2b", 1, 1, 1 / _ROOT2)),
        {"L1": _STIFF, "T1": Prior(0, 0.25), "L2a": _SECOND, "T2a": _SIDE, "L2b": _SECOND, "T2b": _SIDE},
    ),
    PhononFamily(
        "phonon_cscl",
        "caesium chloride structure (CsCl, NiAl)",
        _CUBE,
        ((0, 0, 0), (0.5, 0.5, 0.5)),
        {
            "CsCl": (("Cs", "Cl"), 4.12),
            "NiAl": (("Ni", "Al"), 2.89),
            "FeAl": (("Fe", "Al"), 2.91),
            "CuZn": (("Cu", "Zn"), 2.95),
        },
        (("1", 0, 1, _ROOT3 / 2), ("2a", 0, 0, 1.0), ("2b", 1, 1, 1.0)),
        {"L1": _STIFF, "T1": Prior(0, 0.12), "L2a": Prior(0, 1), "T2a": _SIDE, "L2b": Prior(0, 1), "T2b": _SIDE},
    ),
)

#: Held-out families.
HELD_OUT = ("phonon_cscl",)


def families() -> tuple[PhononFamily, ...]:
    """All families, always in this order."""
    return _FAMILIES


def split() -> tuple[tuple[PhononFamily, ...], tuple[PhononFamily, ...]]:
    """(training families, held-out families)."""
    return without_held_out(_FAMILIES, HELD_OUT)
