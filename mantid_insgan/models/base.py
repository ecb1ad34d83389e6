"""The base class of models that define S(Q,E) by modes: lattice, domains, population, and the error if unstable."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from ..core.constants import BOLTZMANN
from ..core.run import Lattice
from ..errors import InputError, InsganError
from .sampling import quasi_random

#: Momenta calculated between two reports of progress.
CHUNK = 4096


class UnstableModelError(InsganError):
    """A structure that is not a minimum of the energy for its couplings, so that some mode energies are not real."""

    exit_code = 8


class ModeModel(ABC):
    """Modes of a crystal with their neutron intensities.

    The intensities of the modes are d2sigma/dOmega/dE x ki/kf, integrated over energy, per unit cell of `lattice`.

    Parameters
    ----------
    lattice : Lattice
        The cell that defines the r.l.u. of all momenta.
    cell : array_like, shape (3, 3), optional
        Vectors of the cell of the Hamiltonian as rows, in units of `lattice`; the cell of `lattice` if not given.
    temperature : float
        Kelvin.
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

    Raises
    ------
    InputError
        If a parameter is out of range.
    """

    def __init__(
        self,
        lattice: Lattice,
        *,
        cell: np.ndarray | None = None,
        temperature: float = 5.0,
        domains: Sequence[tuple[np.ndarray, float]] | None = None,
        scale: float = 1.0,
        floor: float = 0.05,
        facts: Mapping | None = None,
    ):
        if not temperature >= 0 or not floor > 0:
            raise InputError(
                f"temperature {temperature:g} K and floor {floor:g} meV: expected at least 0 K and more than 0 meV",
                "give the sample temperature in Kelvin and a small positive energy",
            )
        self.lattice = lattice
        self.cell = np.eye(3) if cell is None else np.asarray(cell, dtype=float)
        self.temperature, self.scale, self.floor = float(temperature), float(scale), float(floor)
        self.facts = MappingProxyType(dict(facts or {}))
        self.domains = _domains(domains)
        self._to_q = 2 * np.pi * lattice.b_matrix().T  # hkl (as a row) to Q in 1/Angstrom
        self._bandwidth: float | None = None

    def modes(
        self, q_rlu: np.ndarray, *, progress: Callable[[int, int], None] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Energies and intensities of all modes at some momenta.

        Parameters
        ----------
        q_rlu : array_like, shape (N, 3)
            Momentum transfers (h, k, l) in r.l.u. of `lattice`.
        progress : callable, optional
            Called with (momenta done, total number of momenta) after each chunk.

        Returns
        -------
        energies : np.ndarray, shape (N, M)
            meV, not negative; M is the number of modes of all domains.
        intensities : np.ndarray, shape (N, M)
            mbarn/sr per unit cell, for neutron energy loss.

        Raises
        ------
        UnstableModelError
            If an energy has an imaginary part.
        """
        q = np.asarray(q_rlu, dtype=float).reshape(-1, 3)
        energies, intensities = [], []
        for done, part in _chunks(q):
            pairs = [self._domain_modes(part @ rotation.T, weight) for rotation, weight in self.domains]
            energies.append(np.hstack([e for e, _ in pairs]))
            intensities.append(np.hstack([i for _, i in pairs]))
            if progress is not None:
                progress(done, len(q))
        if not energies:
            return np.zeros((0, 0)), np.zeros((0, 0))
        return np.vstack(energies), np.vstack(intensities)

    def q_modulus(self, q_rlu: np.ndarray) -> np.ndarray:
        """|Q| in 1/Angstrom at momenta in r.l.u., shape (N,)."""
        return np.linalg.norm(np.asarray(q_rlu, dtype=float) @ self._to_q, axis=-1)

    def population(self, energies: np.ndarray) -> np.ndarray:
        """n(E) + 1 = 1 / (1 - exp(-E/kT)) at energies in meV; energies below the floor are set to the floor."""
        energies = np.maximum(energies, self.floor)
        if self.temperature == 0:
            return np.ones_like(energies)
        return -1 / np.expm1(-energies / (BOLTZMANN * self.temperature))

    def bandwidth(self) -> float:
        """The highest mode energy, in meV, over quasi-random momenta in the Brillouin zone."""
        if self._bandwidth is None:
            self._bandwidth = float(self._zone_energies(quasi_random(256, 3)).max())
        return self._bandwidth

    @abstractmethod
    def _domain_modes(self, q: np.ndarray, weight: float) -> tuple[np.ndarray, np.ndarray]:
        """Energies and intensities, each (N, M), of the part `weight` of the sample at momenta in r.l.u."""

    @abstractmethod
    def _zone_energies(self, q: np.ndarray) -> np.ndarray:
        """Energies (N, M) at momenta in r.l.u. of the Hamiltonian's own cell."""

    def _at_floor(self, energies: np.ndarray) -> np.ndarray:
        """Factor on the intensities that cuts off the divergence of gapless modes."""
        return np.minimum(energies / self.floor, 1) ** 2


def _chunks(q: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    for start in range(0, len(q), CHUNK):
        part = q[start : start + CHUNK]
        yield start + len(part), part


def _domains(domains) -> list[tuple[np.ndarray, float]]:
    if domains is None:
        return [(np.eye(3), 1.0)]
    total = sum(weight for _, weight in domains)
    if not total > 0 or min(weight for _, weight in domains) < 0:
        raise InputError(
            f"the domains have the fractions {[weight for _, weight in domains]}, expected positive numbers",
            "give the fraction of the sample in each domain",
        )
    return [(np.asarray(rotation, dtype=float), weight / total) for rotation, weight in domains]
