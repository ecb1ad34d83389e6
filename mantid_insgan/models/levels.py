"""Levels of ions or dimers that hardly disperse: scattering that is broad in momentum, and in energy with a wide line.

Crystal fields, dimers and paramagnets give such spectra; with an intrinsic line wider than the resolution (see
`lineshape.bin_modes`) they have no structure that a resolution could blur.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..core.run import Lattice
from .base import ModeModel
from .spinw.model import CROSS_SECTION, form_factor_of
from .zoo import Prior

#: Highest level of a drawn model, meV, the lower ones as parts of it, and lattice parameters, Angstrom.
_TOP, _PART, _LENGTH = Prior(5.0, 120.0, log=True), Prior(0.1, 1.0), Prior(3.5, 9.0)
#: Dispersion as a part of a level's energy, correlation of neighbours, and how isotropic that is.
_WIDTH, _CORRELATION = Prior(0.0, 0.15), Prior(-0.9, 0.9)
_IONS = ("Mn2+", "Fe3+", "Cr3+", "Co2+", "Ni2+", "Cu2+", "V3+")


class LevelsModel(ModeModel):
    """Excitations of single ions, or of pairs of them, that hop weakly between neighbouring cells.

    E_i(q) = E_i (1 + w g(q)) and S_i(q) = A_i F(Q)^2 (1 + c g(q)), with g the mean of cos 2 pi h, cos 2 pi k and
    cos 2 pi l (random phase approximation, to first order in the exchange); for dimers g is cos 2 pi q.d with the
    vector d between the two ions, which for c = -1 is the structure factor of a singlet-triplet transition (Squires,
    ch. 7 and 8).

    Parameters
    ----------
    lattice : Lattice
    energies, strengths : sequence of float
        E_i in meV and A_i.
    ion : str
        For the form factor F, 'Mn2+'.
    width, correlation : float
        w and c, from -1 to 1.
    dimer : sequence of float, optional
        d in units of the lattice.
    **options
        Of `ModeModel`.

    Raises
    ------
    InputError
        If the ion has no form factor or a parameter is out of range.
    """

    def __init__(
        self,
        lattice: Lattice,
        energies: Sequence[float],
        strengths: Sequence[float],
        *,
        ion: str,
        width: float = 0.0,
        correlation: float = 0.0,
        dimer: Sequence[float] | None = None,
        **options,
    ):
        super().__init__(lattice, **options)
        self.energies, self.strengths = np.asarray(energies, float), np.asarray(strengths, float)
        self.width, self.correlation, self.dimer = float(width), float(correlation), dimer
        self._form_factor = form_factor_of(ion)

    def _domain_modes(self, q: np.ndarray, weight: float) -> tuple[np.ndarray, np.ndarray]:
        energies = self._zone_energies(q)
        hopping = np.cos(2 * np.pi * q).mean(axis=1)
        shared = hopping if self.dimer is None else np.cos(2 * np.pi * q @ np.asarray(self.dimer))
        factor = CROSS_SECTION * self._form_factor(self.q_modulus(q)) ** 2 * (1 + self.correlation * shared)
        factor *= self.scale * weight
        intensities = factor[:, None] * self.strengths * self.population(energies) * self._at_floor(energies)
        return energies, intensities

    def _zone_energies(self, q: np.ndarray) -> np.ndarray:
        return self.energies * (1 + self.width * np.cos(2 * np.pi * q).mean(axis=1))[:, None]


@dataclass(frozen=True)
class LevelsFamily:
    """Models of levels with a prior on their energies.

    Parameters
    ----------
    name, title : str
    dimers : bool
        Pairs of ions instead of single ones.
    """

    name: str
    title: str
    dimers: bool = False

    def draw(self, rng: np.random.Generator) -> LevelsModel:
        """A model drawn from the priors; the same state of `rng` gives the same model."""
        count, top = int(rng.integers(1, 4)), _TOP.draw(rng)
        energies = top * np.array([1.0, *(_PART.draw(rng) for _ in range(count - 1))])
        lattice = Lattice(*(_LENGTH.draw(rng) for _ in range(3)))
        given = {
            "ion": _IONS[rng.integers(len(_IONS))],
            "width": _WIDTH.draw(rng) * rng.choice([-1, 1]),
            "correlation": -1.0 if self.dimers else _CORRELATION.draw(rng),
            "dimer": tuple(rng.uniform(-0.5, 0.5, 3)) if self.dimers else None,
        }
        facts = {"family": self.name, "energies": tuple(energies), "rejected": 0, **given}
        temperature = float(np.exp(rng.uniform(np.log(2), np.log(300))))
        strengths = rng.dirichlet(np.ones(count))
        return LevelsModel(lattice, energies, strengths, temperature=temperature, facts=facts, **given)


_FAMILIES = (
    LevelsFamily("levels", "levels of single ions (crystal fields, paramagnets)"),
    LevelsFamily("dimer_levels", "singlet-triplet transitions of dimers (Cs3Cr2Br9)", dimers=True),
)
#: Held out of trainings.
HELD_OUT = ("dimer_levels",)


def families() -> tuple[LevelsFamily, ...]:
    """All families, always in this order."""
    return _FAMILIES
