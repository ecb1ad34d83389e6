"""Coherent one-phonon scattering of force constants: a model for `convolve`, `ideal` and powder averages.

Euphonic (Fair et al., J. Appl. Cryst. 55, 1689 (2022)) diagonalises the dynamical matrix, gives structure factors and
the Debye-Waller factor. This module adds the population factor and the scale per unit cell of the lattice that the user
names, and refuses unstable force constants.
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

# Moves every momentum off Bragg points, where an acoustic mode has no finite intensity (r.l.u.).
_OFFSET = np.array([1.13e-5, 0.87e-5, 1.31e-5])
#: Points along each axis of the zone over which the Debye-Waller factor is summed; the shifted grid has no zone centre.
_DEBYE_WALLER_GRID = 10
#: Quasi-random momenta at which force constants are tried, beside those of high symmetry.
_TRIED = 128
_CONVENTIONAL = "conventional"


class PhononModel(ModeModel):
    """Phonons of one set of force constants as a neutron sees them.

    The modes' intensities are d2sigma/dOmega/dE x ki/kf, integrated over energy, of one unit cell of `lattice`:

        (hbar / 2 omega) |sum_d b_d M_d^(-1/2) exp(-W_d) exp(iQ.r_d) (Q.e_d)|^2 (n(E) + 1),

    in mbarn/sr: coherent one-phonon scattering (Squires, Introduction to the Theory of Thermal Neutron Scattering, ch.
    3; Dove, Structure and Dynamics, pp. 225-226). Incoherent and multi-phonon scattering are left out. Euphonic's
    structure factors are the same per atom and without n(E) + 1.

    Parameters
    ----------
    force_constants : euphonic.ForceConstants
        As Euphonic reads them, see `read_force_constants`, or as `mantid_insgan.models.phonons.zoo` makes them.
    cell : array_like of shape (3, 3), or 'conventional', optional
        Vectors of the force constants' own (primitive) cell as rows, in units of the lattice that defines the r.l.u. of
        momenta; 'conventional' takes the space group's conventional cell, from spglib, as the lattice. If not given,
        the force constants' own cell is the lattice.
    temperature : float
        Kelvin, of the population and the Debye-Waller factor.
    debye_waller : bool
        With the Debye-Waller factor of these phonons, summed over a grid of 10 x 10 x 10 points of the zone.
    asr : {'reciprocal', 'realspace'} or None
        How the acoustic sum rule is imposed, see `euphonic.ForceConstants.calculate_qpoint_phonon_modes`.
    scattering_lengths : mapping of str to float, optional
        Coherent scattering length of each element in fm; Euphonic's table (Sears, Neutron News 3(3), 26 (1992)) if not
        given.
    domains, scale, floor, facts
        See `mantid_insgan.models.base.ModeModel`.
    check : bool
        Refuse force constants that are not stable.

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
            # Lattices tend to be unstable at halves and thirds of the zone first.
            special = np.array(np.meshgrid(*[[0.0, 0.5, 1 / 3]] * 3)).reshape(3, -1).T
            self._phonons(np.vstack([quasi_random(_TRIED, 3), special]))
        self._debye_waller = self._mean_displacements() if debye_waller else None

    def _domain_modes(self, q: np.ndarray, weight: float) -> tuple[np.ndarray, np.ndarray]:
        phonons, energies = self._phonons((q + _OFFSET) @ self.cell.T)
        factors = phonons.calculate_structure_factor(scattering_lengths=self._scattering_lengths, dw=self._debye_waller)
        per_atom = factors.structure_factors.to("mbarn").magnitude
        # The floor leaves a mode of zero energy no intensity, and Euphonic divides by its energy.
        per_atom = np.where(energies > 0, per_atom, 0.0)
        factor = self.scale * weight * phonons.crystal.n_atoms / abs(np.linalg.det(self.cell))
        return energies, factor * per_atom * self.population(energies) * self._at_floor(energies)

    def _zone_energies(self, q: np.ndarray) -> np.ndarray:
        return self._phonons(q)[1]

    def _phonons(self, q: np.ndarray):
        """Euphonic's modes at momenta in r.l.u. of the force constants' cell, and energies (N, M), not negative, meV.

        One thread: `convolve` and `make_pairs` have their own workers.
        """
        phonons = self.force_constants.calculate_qpoint_phonon_modes(q, asr=self.asr, reduce_qpts=False, n_threads=1)
        energies = phonons.frequencies.to("meV").magnitude  # Euphonic shows imaginary energies as negative ones
        lowest = np.unravel_index(energies.argmin(), energies.shape) if energies.size else None
        if lowest is not None and not energies[lowest] >= -self.floor:
            raise UnstableModelError(
                f"a phonon has the imaginary energy {-energies[lowest]:.3g}i meV at q = "
                f"{np.round(q[lowest[0]], 4).tolist()} (r.l.u. of the force constants' cell), expected none above the "
                f"floor of {self.floor:g} meV",
                "use the force constants of a stable structure, or a higher floor if they are merely not converged",
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
    """Raise a DeviceError that says how to install it if Euphonic is not there."""
    if importlib.util.find_spec("euphonic") is None:
        raise DeviceError("phonons need Euphonic, which is not installed", "pip install 'mantid-insgan[phonons]'")


def read_force_constants(path: str | Path):
    """Force constants from a file, whose suffix tells its format.

    Parameters
    ----------
    path : str or Path
        '.castep_bin' or '.check' of CASTEP, '.yaml' of phonopy (FORCE_CONSTANTS and BORN beside it are found), or
        '.json' of Euphonic.

    Returns
    -------
    euphonic.ForceConstants

    Raises
    ------
    DeviceError
        If Euphonic is not installed.
    InputError
        If the file is not there, of another kind, or holds no force constants.
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
            f"{path} holds no force constants that Euphonic can read ({type(problem).__name__}: {problem})",
            "give a file that holds the force constant matrix",
        ) from problem


def _conventional(crystal, name: str) -> np.ndarray:
    """The crystal's cell vectors as rows in units of the space group's conventional cell."""
    import spglib

    if name != _CONVENTIONAL:
        raise InputError(f"the cell {name!r} is not known", f"use {_CONVENTIONAL!r} or a matrix")
    # (a b c) of spglib's standard cell times this matrix are those of the crystal, as columns.
    return np.round(spglib.get_symmetry_dataset(crystal.to_spglib_cell()).transformation_matrix.T, 12)


def _lattice(cell: np.ndarray, vectors: np.ndarray) -> Lattice:
    """The lattice in whose units the rows of `cell` are the vectors (rows, Angstrom) of the force constants' cell."""
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
    """Euphonic's table, checked to have a value for each element."""
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
