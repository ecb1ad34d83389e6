"""Coherent one-phonon scattering from force constants: a model for `convolve`, `ideal` and powder averages.

Euphonic (Fair et al., J. Appl. Cryst. 55, 1689 (2022)) diagonalises the dynamical matrix and calculates the structure
factors and the Debye-Waller factor. This module adds the population factor and the scale per unit cell of the chosen
lattice, and raises an error for unstable force constants.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ...core.run import Lattice
from ...errors import DeviceError, InputError
from ..base import ModeModel, UnstableModelError
from ..sampling import quasi_random

# Shifts every momentum off Bragg points, where the intensity of an acoustic mode diverges (r.l.u.).
_OFFSET = np.array([1.13e-5, 0.87e-5, 1.31e-5])
#: Points along each axis of the zone over which the Debye-Waller factor is summed; the shifted grid has no zone centre.
_DEBYE_WALLER_GRID = 10
#: Number of quasi-random momenta for the stability check, in addition to those of high symmetry.
_TRIED = 128
_CONVENTIONAL = "conventional"


class PhononModel(ModeModel):
    """Phonons of one set of force constants with their neutron intensities.

    The intensities of the modes are d2sigma/dOmega/dE x ki/kf, integrated over energy, per unit cell of `lattice`:

        (hbar / 2 omega) |sum_d b_d M_d^(-1/2) exp(-W_d) exp(iQ.r_d) (Q.e_d)|^2 (n(E) + 1),

    in mbarn/sr: coherent one-phonon scattering (Squires, Introduction to the Theory of Thermal Neutron Scattering, ch.
    3; Dove, Structure and Dynamics, pp. 225-226). Incoherent and multi-phonon scattering are not included. Euphonic's
    structure factors are the same, but per atom and without n(E) + 1.

    Parameters
    ----------
    force_constants : euphonic.ForceConstants
        Read with Euphonic, see `read_force_constants`, or made by `mantid_insgan.models.phonons.zoo`.
    cell : array_like of shape (3, 3), or 'conventional', optional
        Vectors of the (primitive) cell of the force constants as rows, in units of the lattice that defines the r.l.u.
        of momenta; 'conventional' uses the conventional cell of the space group, from spglib, as the lattice. If not
        given, the cell of the force constants is the lattice.
    temperature : float
        Kelvin, for the population and the Debye-Waller factor.
    debye_waller : bool
        Include the Debye-Waller factor of these phonons, summed over a grid of 10 x 10 x 10 points in the zone.
    asr : {'reciprocal', 'realspace'} or None
        Method for the acoustic sum rule, see `euphonic.ForceConstants.calculate_qpoint_phonon_modes`.
    scattering_lengths : mapping of str to float, optional
        Coherent scattering length of each element in fm; Euphonic's table (Sears, Neutron News 3(3), 26 (1992)) if not
        given.
    domains, scale, floor, facts
        See `mantid_insgan.models.base.ModeModel`.
    check : bool
        Raise an error if the force constants are not stable.

    Raises
    ------
    DeviceError
        If Euphonic is not installed.
    InputError
        If an element has no scattering length, or a parameter is out of range.
    UnstableModelError
        If an imaginary energy is larger than `floor`.
    """

    def __init__(
        self,
        force_constants,
        *,
        cell: np.ndarray | str | None = None,
        temperature: float = 5.0,
        debye_waller: bool = True,
        asr: str | None = "reciprocal",
        scattering_lengths: Mapping[str, float] | None = None,
        domains: Sequence[tuple[np.ndarray, float]] | None = None,
        scale: float = 1.0,
        floor: float = 0.05,
        facts: Mapping | None = None,
        check: bool = True,
    ):
        require_euphonic()
        crystal = force_constants.crystal
        vectors = crystal.cell_vectors.to("angstrom").magnitude
        if isinstance(cell, str):
            cell = _conventional(crystal, cell)
        cell = np.eye(3) if cell is None else np.asarray(cell, dtype=float)
        options = {"temperature": temperature, "domains": domains, "scale": scale, "floor": floor, "facts": facts}
        super().__init__(_lattice(cell, vectors), cell=cell, **options)
        self.force_constants, self.asr = force_constants, asr
        self._scattering_lengths = _scattering_lengths(crystal, scattering_lengths)
        if check:
            # Instabilities usually occur first at halves and thirds of the zone.
            special = np.array(np.meshgrid(*[[0.0, 0.5, 1 / 3]] * 3)).reshape(3, -1).T
            self._phonons(np.vstack([quasi_random(_TRIED, 3), special]))
        self._debye_waller = self._mean_displacements() if debye_waller else None

    def _domain_modes(self, q: np.ndarray, weight: float) -> tuple[np.ndarray, np.ndarray]:
        phonons, energies = self._phonons((q + _OFFSET) @ self.cell.T)
        factors = phonons.calculate_structure_factor(scattering_lengths=self._scattering_lengths, dw=self._debye_waller)
        per_atom = factors.structure_factors.to("mbarn").magnitude
        # Below the floor the intensity of a mode of zero energy vanishes, and Euphonic divides by its energy.
        per_atom = np.where(energies > 0, per_atom, 0.0)
        factor = self.scale * weight * phonons.crystal.n_atoms / abs(np.linalg.det(self.cell))
        return energies, factor * per_atom * self.population(energies) * self._at_floor(energies)

    def _zone_energies(self, q: np.ndarray) -> np.ndarray:
        return self._phonons(q)[1]

    def _phonons(self, q: np.ndarray):
        """Euphonic's modes at momenta in r.l.u. of the force constants' cell, and energies (N, M) in meV, not negative.

        Uses one thread, because `convolve` and `make_pairs` have their own workers.
        """
        phonons = self.force_constants.calculate_qpoint_phonon_modes(q, asr=self.asr, reduce_qpts=False, n_threads=1)
        energies = phonons.frequencies.to("meV").magnitude  # Euphonic returns imaginary energies as negative ones
        lowest = np.unravel_index(energies.argmin(), energies.shape) if energies.size else None
        if lowest is not None and not energies[lowest] >= -self.floor:
            raise UnstableModelError(
                f"a phonon has the imaginary energy {-energies[lowest]:.3g}i meV at q = "
                f"{np.round(q[lowest[0]], 4).tolist()} (r.l.u. of the force constants' cell), expected none above the "
                f"floor of {self.floor:g} meV",
                "use force constants of a stable structure, or a higher floor if they are only not converged",
            )
        return phonons, np.maximum(energies, 0.0)

    def _mean_displacements(self):
        """The Debye-Waller exponents of all atoms, from phonons over the whole zone (Squires, ch. 3)."""
        from euphonic import ureg
        from euphonic.util import mp_grid

        phonons, _ = self._phonons(mp_grid([_DEBYE_WALLER_GRID] * 3))
        least = self.floor * ureg("meV")
        return phonons.calculate_debye_waller(self.temperature * ureg("K"), frequency_min=least)


def require_euphonic() -> None:
    """Raise a DeviceError that says how to install Euphonic if it is missing."""
    if importlib.util.find_spec("euphonic") is None:
        raise DeviceError("phonons need Euphonic, which is not installed", "pip install 'mantid-insgan[phonons]'")


def read_force_constants(path: str | Path):
    """Force constants from a file, whose suffix determines its format.

    Parameters
    ----------
    path : str or Path
        '.castep_bin' or '.check' of CASTEP, '.yaml' of phonopy (with FORCE_CONSTANTS and BORN in the same folder), or
        '.json' of Euphonic.

    Returns
    -------
    euphonic.ForceConstants

    Raises
    ------
    DeviceError
        If Euphonic is not installed.
    InputError
        If the file does not exist, is of another kind, or contains no force constants.
    """
    require_euphonic()
    from euphonic import ForceConstants

    path = Path(path)
    readers = {
        ".castep_bin": ForceConstants.from_castep,
        ".check": ForceConstants.from_castep,
        ".json": ForceConstants.from_json_file,
        ".yaml": lambda p: ForceConstants.from_phonopy(path=p.parent, summary_name=p.name),
        ".yml": lambda p: ForceConstants.from_phonopy(path=p.parent, summary_name=p.name),
    }
    if path.suffix not in readers:
        raise InputError(
            f"{path} ends in {path.suffix!r}, expected one of {', '.join(readers)}",
            "give force constants of CASTEP, phonopy or Euphonic, or read them with Euphonic and give the object",
        )
    if not path.is_file():
        raise InputError(f"there is no file {path}", "name a file with force constants")
    try:
        return readers[path.suffix](path)
    except Exception as problem:  # each reader of Euphonic fails in its own way on a file of another kind
        raise InputError(
            f"{path} contains no force constants that Euphonic can read ({type(problem).__name__}: {problem})",
            "give a file that contains the force constant matrix",
        ) from problem


def _conventional(crystal, name: str) -> np.ndarray:
    """The cell vectors of the crystal as rows, in units of the conventional cell of the space group."""
    import spglib

    if name != _CONVENTIONAL:
        raise InputError(f"the cell {name!r} is not known", f"use {_CONVENTIONAL!r} or a matrix")
    # (a b c) of spglib's standard cell times this matrix are those of the crystal, as columns.
    return np.round(spglib.get_symmetry_dataset(crystal.to_spglib_cell()).transformation_matrix.T, 12)


def _lattice(cell: np.ndarray, vectors: np.ndarray) -> Lattice:
    """The lattice such that `cell` (rows) in its units gives the `vectors` (rows, Angstrom) of the force constants."""
    if cell.shape != (3, 3) or not abs(np.linalg.det(cell)) > 1e-6:
        raise InputError(
            f"the cell {cell.tolist()} has no volume", "give the three vectors of the primitive cell as rows"
        )
    a, b, c = rows = np.linalg.inv(cell) @ vectors
    lengths = np.linalg.norm(rows, axis=1)
    cosines = np.array([b @ c, a @ c, a @ b]) / (lengths.prod() / lengths)
    # Rounded, so that right angles are exact.
    return Lattice(*np.round([*lengths, *np.degrees(np.arccos(cosines))], 9).tolist())


def _scattering_lengths(crystal, given: Mapping[str, float] | None):
    """Euphonic's table of scattering lengths, checked to have a value for each element."""
    from euphonic import ureg
    from euphonic.isotopes import AtomTypeShallowDictData, LegacyJsonData

    if given is None:
        table = LegacyJsonData("Sears1992")
    else:
        table = AtomTypeShallowDictData({name: length * ureg("fm") for name, length in given.items()})
    try:
        table.get_array(crystal, "coherent_scattering_length")
    except (KeyError, ValueError) as problem:
        raise InputError(
            f"not all of the elements {', '.join(sorted(set(crystal.atom_type)))} have a coherent scattering length",
            "give scattering_lengths={'Al': 3.449, ...} in fm",
        ) from problem
    return table
