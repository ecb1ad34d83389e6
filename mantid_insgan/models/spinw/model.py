"""Linear spin-wave models as functions of momentum: energies and neutron cross-sections.

pySpinW builds the Hamiltonian; mode energies and the spin correlation perpendicular to Q are calculated by `colpa`,
which gives the same results as pySpinW in a fraction of the time. This module adds the magnetic form factor, the
population factor, the absolute scale and domains, and raises an error for unstable models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache

import numpy as np

from ...core.run import Lattice
from ...errors import InputError
from ..base import ModeModel, UnstableModelError
from ..sampling import quasi_random
from .colpa import Change, SpinWaves
from .diagonalise import NotDefiniteError

#: (gamma r0 / 2)^2 in mbarn/sr: the cross-section of one Bohr magneton squared (Xu, Xu and Tranquada, Rev. Sci.
#: Instrum. 84, 083906 (2013)); gamma = 1.91304273, r0 = 2.8179403 fm.
CROSS_SECTION = 10.0 * (1.91304273 * 2.8179403 / 2) ** 2
#: Imaginary parts of an energy above this fraction of the largest energy (or this many meV) mean instability;
#: rounding at a Goldstone point stays below.
IMAGINARY_TOLERANCE = 1e-3
#: Batches of at most this many momenta, with one where the Hamiltonian is not positive definite, are left to pySpinW.
_FEW = 64
# Moves every momentum off symmetry points, where an ordered magnet's gapless mode has no finite intensity (r.l.u.).
_OFFSET = np.array([1.13e-5, 0.87e-5, 1.31e-5])

_FIX_UNSTABLE = "change the couplings, or start from the magnetic order that they favour"


class SpinWModel(ModeModel):
    """Spin waves of one Hamiltonian with their neutron intensities.

    The intensities of the modes are d2sigma/dOmega/dE x ki/kf, integrated over energy, per unit cell of `lattice`:
    (gamma r0/2)^2 g^2 |F(Q)|^2 S_perp(Q) (n(E) + 1), in mbarn/sr, without Debye-Waller factor (Squires, Introduction
    to the Theory of Thermal Neutron Scattering, ch. 8).

    Parameters
    ----------
    hamiltonian : pyspinw.Hamiltonian
        From `build_hamiltonian`.
    lattice : Lattice
        The cell that defines the r.l.u. of all momenta.
    ion : str or sequence of str
        Magnetic ion such as 'Mn3+' (periodictable's dipole form factor j0); the form factors of several ions are
        averaged.
    cell : array_like, shape (3, 3), optional
        Vectors of the cell of the Hamiltonian as rows, in units of `lattice`; the cell of `lattice` if not given.
    g : float
        Lande factor.
    temperature : float
        Kelvin, for the population; energies and magnetic order are those at T = 0.
    domains : sequence of (array_like of shape (3, 3), float), optional
        Matrices R in r.l.u. and fractions: this part of the sample scatters at hkl as the model does at R hkl.
        The fractions are normalised to 1.
    scale : float
        Factor on all intensities.
    floor : float
        meV. The intensity of a mode of energy E below it is multiplied by (E/floor)^2, which cuts off the
        divergence of a gapless mode.
    facts : mapping, optional
        Description of the model (family, couplings, ...), kept as given.
    check : bool
        Raise an error if the magnetic structure is not stable.

    Raises
    ------
    InputError
        If the ion has no form factor or a parameter is out of range.
    UnstableModelError
        If the magnetic structure is not a minimum of the classical energy.
    """

    def __init__(
        self,
        hamiltonian,
        lattice: Lattice,
        *,
        ion: str | Sequence[str],
        cell: np.ndarray | None = None,
        g: float = 2.0,
        temperature: float = 5.0,
        domains: Sequence[tuple[np.ndarray, float]] | None = None,
        scale: float = 1.0,
        floor: float = 0.05,
        facts: dict | None = None,
        check: bool = True,
    ):
        options = {"temperature": temperature, "domains": domains, "scale": scale, "floor": floor, "facts": facts}
        super().__init__(lattice, cell=cell, **options)
        self.hamiltonian = hamiltonian
        self.ion = (ion,) if isinstance(ion, str) else tuple(ion)
        self.g = float(g)
        self._form_factors = [form_factor_of(name) for name in self.ion]
        self._spin_waves = _spin_waves(hamiltonian)
        if check:
            check_stability(hamiltonian)

    def form_factor(self, q_modulus: np.ndarray) -> np.ndarray:
        """Magnetic form factor F at |Q| in 1/Angstrom; 1 at Q = 0."""
        return np.mean([form(np.asarray(q_modulus, dtype=float)) for form in self._form_factors], axis=0)

    def _domain_modes(self, q: np.ndarray, weight: float) -> tuple[np.ndarray, np.ndarray]:
        return self._differentiated(q, weight, ())[:2]

    def _differentiated(self, q, weight, changes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What `_domain_modes` gives, and the derivatives (P, N, M) of the energies with `changes`."""
        energies, s_perp, derivatives = self._raw_derivatives((q + _OFFSET) @ self.cell.T, changes)
        factor = CROSS_SECTION * self.g**2 * self.form_factor(self.q_modulus(q)) ** 2
        factor *= self.scale * weight / np.linalg.det(self.cell)  # pySpinW counts per cell of the Hamiltonian
        intensities = factor[:, None] * s_perp * self.population(energies) * self._at_floor(energies)
        return energies, intensities, derivatives

    def modes_and_derivatives(
        self, q_rlu: np.ndarray, changes: Sequence[SpinWModel]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Energies, intensities, and how the energies change with the couplings.

        The Hamiltonian is linear in its couplings, so the way from this model to another one of the same sites and
        spins is a direction in which its energies can be differentiated: with H(t) = H(this) + t (H(other) - H(this)),
        the derivative is dE/dt at t = 0. For the derivative with one coupling, give the model in which that coupling
        is larger by one (`check=False` where that model need not be stable), or by any step and divide.

        Parameters
        ----------
        q_rlu : array_like, shape (N, 3)
            Momentum transfers (h, k, l) in r.l.u. of `lattice`.
        changes : sequence of SpinWModel
            P other models. Only their Hamiltonians count.

        Returns
        -------
        energies : np.ndarray, shape (N, M)
            meV, as `modes` gives them.
        intensities : np.ndarray, shape (N, M)
            mbarn/sr per unit cell, as `modes` gives them.
        derivatives : np.ndarray, shape (P, N, M)
            meV for the whole way to each of `changes`, by Hellmann and Feynman's theorem: v+ (dH/dt) v, with v the mode
            normalised as a boson. Of degenerate modes only the sum has a meaning, as of their intensities. NaN at
            momenta with a mode without stiffness or a complex energy, where there is no derivative.

        Raises
        ------
        InputError
            If the model is a helix, or another model has other sites or spins.
        UnstableModelError
            If an energy has an imaginary part.
        """
        directions = [self._direction(other) for other in changes]
        q = np.asarray(q_rlu, dtype=float).reshape(-1, 3)
        parts = [self._differentiated(q @ rotation.T, weight, directions) for rotation, weight in self.domains]
        return tuple(np.concatenate(part, axis=-1) for part in zip(*parts, strict=True))

    def _direction(self, other: SpinWModel) -> Change:
        if self._spin_waves is None:
            raise InputError(
                "a helix has no derivatives with its couplings, since its wavevector changes with them",
                "take differences of two models",
            )
        (here, mine), (there, theirs) = (_sites(model.hamiltonian) for model in (self, other))
        if other._spin_waves is None or here.shape != there.shape or not np.allclose([here, mine], [there, theirs]):
            raise InputError(
                f"a change of the couplings was given as a model of {len(there)} sites with other positions or spins, "
                f"expected the {len(here)} sites and spins of this model",
                "give a model that differs from this one only by its couplings",
            )
        return self._spin_waves.change(
            [*_couplings(other.hamiltonian), *((i, j, -m, offset) for i, j, m, offset in _couplings(self.hamiltonian))]
        )

    def _zone_energies(self, q: np.ndarray) -> np.ndarray:
        return self._raw_modes(q)[0]

    def _raw_modes(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies, sorted, and S_perp per magnetic cell, each (N, M), at momenta in r.l.u. of the magnetic cell."""
        return self._raw_derivatives(q, ())[:2]

    def _raw_derivatives(self, q: np.ndarray, changes: Sequence[Change]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What `_raw_modes` gives, and the derivatives (P, N, M) of the energies with `changes`."""
        found = None
        if self._spin_waves is not None:
            try:
                found = self._spin_waves.modes_and_derivatives(q, changes)
            except NotDefiniteError:
                if len(q) > (1 if changes else _FEW):
                    halves = [self._raw_derivatives(half, changes) for half in np.array_split(q, 2)]
                    return tuple(np.concatenate(half, axis=-2) for half in zip(*halves, strict=True))
        if found is None:
            energies, s_perp = _pyspinw_modes(self.hamiltonian, q)
            return energies, s_perp, np.full((len(changes), *energies.shape), np.nan)
        order = np.argsort(found[0], axis=1, kind="stable")
        return tuple(np.take_along_axis(each, np.broadcast_to(order, each.shape), axis=-1) for each in found)


def _spin_waves(hamiltonian, *, symmetry: bool = True) -> SpinWaves | None:
    """Our own, much quicker diagonalisation; None for a helix, which pySpinW calculates in its rotating frame."""
    if getattr(hamiltonian.structure.supercell, "propagation_vector", None) is not None:
        return None
    to_cartesian = 2 * np.pi * np.linalg.inv(hamiltonian.structure.unit_cell._xyz).T
    return SpinWaves(*_sites(hamiltonian), _couplings(hamiltonian), to_cartesian, symmetry=symmetry)


def _sites(hamiltonian) -> tuple[np.ndarray, np.ndarray]:
    """Positions in units of the magnetic cell and ordered spins, each (n, 3)."""
    sites = hamiltonian.structure.sites
    return np.array([site.ijk for site in sites]), np.array([site.base_spin for site in sites])


def _pyspinw_modes(hamiltonian, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Modes from the private interface of pySpinW: positive energies (N, M) in meV and S_perp (N, M) per cell.

    Used for helices, and where the Hamiltonian is not safely positive definite. pySpinW returns each mode twice, at +E
    and -E, in an order that depends on its algorithm.
    """
    pairs, s_perp = (np.asarray(a) for a in hamiltonian._energies_and_intensities(np.ascontiguousarray(q)))
    worst = np.abs(pairs.imag).max(initial=0.0)
    if not worst <= IMAGINARY_TOLERANCE * max(1.0, np.abs(pairs.real).max(initial=0.0)):
        where = q[np.abs(pairs.imag).max(axis=1).argmax()]
        raise UnstableModelError(
            f"a mode energy has the imaginary part {worst:.3g} meV at q = {np.round(where, 4).tolist()} (r.l.u. of the "
            "magnetic cell), expected real energies",
            _FIX_UNSTABLE,
        )
    half = pairs.shape[1] // 2
    order = np.argsort(pairs.real, axis=1)[:, half:]
    energies = np.maximum(np.take_along_axis(pairs.real, order, axis=1), 0.0)
    return energies, np.maximum(np.take_along_axis(np.real(s_perp), order, axis=1), 0.0)


def check_stability(hamiltonian, *, points: int = 128) -> None:
    """Raise an error if a magnetic structure is not a minimum of the classical energy.

    Real mode energies are not sufficient: they are also real at a maximum of the energy. The torque on the spins must
    be zero, and the second variation of the energy under transverse deviations must not be negative at any of `points`
    quasi-random wavevectors (the condition for Colpa's diagonalisation, Physica A 93, 327 (1978)).

    Parameters
    ----------
    hamiltonian : pyspinw.Hamiltonian
        With explicit sites, or a helix of one wavevector.
    points : int
        Number of wavevectors, in addition to the high-symmetry points.

    Raises
    ------
    UnstableModelError
        If a torque remains or a deviation lowers the energy.
    """
    spins = _sites(hamiltonian)[1]
    couplings = list(_couplings(hamiltonian))
    fields = np.zeros_like(spins)  # dE/dS
    for i, j, matrix, _ in couplings:
        fields[i] += matrix @ spins[j]
    units = spins / np.linalg.norm(spins, axis=1, keepdims=True)
    size = max(np.abs(fields).max(), 1e-12)
    torque = np.abs(np.cross(units, fields)).max()
    if torque > 1e-6 * size:
        raise UnstableModelError(
            f"there is a torque of up to {torque:.3g} meV on the spins, expected none in equilibrium", _FIX_UNSTABLE
        )
    lowest = _lowest_curvature(
        couplings, units, np.einsum("ij,ij->i", units, fields) / np.linalg.norm(spins, axis=1), points
    )
    if lowest < -1e-6 * size:
        raise UnstableModelError(
            f"a deviation of the spins lowers the energy (smallest second variation {lowest:.3g} meV, expected 0 or "
            "more), so this magnetic order is not stable",
            _FIX_UNSTABLE,
        )


def _couplings(hamiltonian) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
    """(i, j, matrix, cell offset), each bond from both ends; in the rotating frame of a helix."""
    index = {site.unique_id: i for i, site in enumerate(hamiltonian.structure.sites)}
    supercell = hamiltonian.structure.supercell
    wavevector = getattr(getattr(supercell, "propagation_vector", None), "vector", None)
    for bond in hamiltonian.exchanges:
        i, j, offset = index[bond.site_1.unique_id], index[bond.site_2.unique_id], bond.cell_offset.vector
        matrix = bond.exchange_matrix
        if wavevector is not None:
            matrix = matrix @ _rotation(supercell.perpendicular, 2 * np.pi * np.dot(wavevector, offset))
        yield i, j, matrix, offset
        yield j, i, matrix.T, -offset
    for term in hamiltonian.anisotropies:
        matrix = np.asarray(term.anisotropy_matrix)
        i = index[term.site.unique_id]
        yield i, i, matrix + matrix.T, np.zeros(3)


def _lowest_curvature(couplings, units: np.ndarray, lagrange: np.ndarray, points: int) -> float:
    """The smallest eigenvalue, in meV, of the second variation of the classical energy, over all wavevectors tried."""
    n = len(units)
    # Two unit vectors perpendicular to every spin, from the rows of V in units[i] = U S V: shape (n, 2, 3).
    across = np.array([np.linalg.svd(u[None, :])[2][1:] for u in units])
    q = np.vstack([quasi_random(points, 3), np.array(np.meshgrid(*[[0.0, 0.5, 1 / 3]] * 3)).reshape(3, -1).T])
    hessian = np.zeros((len(q), n, 2, n, 2), dtype=complex)
    for i, j, matrix, offset in couplings:
        phase = np.exp(2j * np.pi * (q @ offset))
        hessian[:, i, :, j, :] += phase[:, None, None] * (across[i] @ matrix @ across[j].T)
    for i in range(n):
        hessian[:, i, :, i, :] -= lagrange[i] * np.eye(2)
    return float(np.linalg.eigvalsh(hessian.reshape(len(q), 2 * n, 2 * n)).min())


def _rotation(axis: np.ndarray, angle: float) -> np.ndarray:
    """Rotation about a unit vector by an angle in radians (Rodrigues), shape (3, 3)."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)


@cache
def form_factor_of(ion: str) -> Callable[[np.ndarray], np.ndarray]:
    """F(|Q|) of an ion as in 'Mn3+', with |Q| in 1/Angstrom; an InputError if there is none."""
    import periodictable

    symbol, charge = (
        ion.rstrip("+0123456789"),
        ion.strip("+").lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"),
    )
    known = getattr(periodictable.elements.symbol(symbol), "magnetic_ff", {}) if _is_element(symbol) else {}
    if not charge.isdigit() or not hasattr(known.get(int(charge)), "j0"):
        listed = ", ".join(f"{symbol}{n}+" for n in sorted(known)) or "none for that element"
        raise InputError(
            f"there is no magnetic form factor for the ion {ion!r} (known: {listed})", "give the ion as in 'Mn3+'"
        )
    return known[int(charge)].j0_Q


def _is_element(symbol: str) -> bool:
    import periodictable

    return symbol in {element.symbol for element in periodictable.elements}
