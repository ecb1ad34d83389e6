"""A model with all its mode energies multiplied by one number."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..errors import InputError
from .base import ModeModel


class RescaledModel(ModeModel):
    """A model whose mode energies are those of another times a factor.

    Linear spin-wave theory leaves out quantum fluctuations, which multiply energies by nearly one number (Zc = 1.16 of
    the S = 1/2 square lattice; Singh and Gelfand, Phys. Rev. B 52, R15695 (1995)). Structure factors are not changed;
    the population is that of the energy at which the mode is seen.

    Parameters
    ----------
    model : ModeModel
    energy_factor : float
        More than 0.

    Raises
    ------
    InputError
        If the factor is not positive.
    """

    def __init__(self, model: ModeModel, energy_factor: float):
        if not 0 < energy_factor < np.inf:
            raise InputError(f"energy_factor is {energy_factor:g}, expected more than 0", "leave it at 1 if in doubt")
        super().__init__(
            model.lattice,
            cell=model.cell,
            temperature=model.temperature,
            domains=model.domains,
            scale=model.scale,
            floor=model.floor,
            facts={**model.facts, "energy_factor": float(energy_factor)},
        )
        self.model, self.energy_factor = model, float(energy_factor)

    def modes(
        self, q_rlu: np.ndarray, *, progress: Callable[[int, int], None] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `ModeModel.modes`."""
        return self._rescaled(*self.model.modes(q_rlu, progress=progress))

    def modes_and_derivatives(self, q_rlu: np.ndarray, changes: Sequence[RescaledModel]):
        """As `SpinWModel.modes_and_derivatives`; the factor may differ in `changes` as well.

        Raises
        ------
        InputError
            If the model has no derivatives.
        """
        inside = getattr(self.model, "modes_and_derivatives", None)
        if inside is None:
            raise InputError(
                f"the energies of a {type(self.model).__name__} have no derivatives", "take differences of two models"
            )
        energies, intensities, derivatives = inside(q_rlu, [change.model for change in changes])
        steps = np.array([change.energy_factor - self.energy_factor for change in changes]).reshape(-1, 1, 1)
        derivatives = self.energy_factor * derivatives + steps * energies
        return *self._rescaled(energies, intensities), derivatives

    def _domain_modes(self, q: np.ndarray, weight: float) -> tuple[np.ndarray, np.ndarray]:
        return self._rescaled(*self.model._domain_modes(q, weight))

    def _zone_energies(self, q: np.ndarray) -> np.ndarray:
        return self.energy_factor * self.model._zone_energies(q)

    def _rescaled(self, energies: np.ndarray, intensities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        seen = self.energy_factor * energies
        if self.temperature > 0:
            intensities = intensities * (self.population(seen) / self.population(energies))
        return seen, intensities
