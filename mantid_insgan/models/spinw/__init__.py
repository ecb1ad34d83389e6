"""Spin-wave models as functions S(Q,E): pySpinW with form factor, population, absolute scale, domains and binning."""

from ..base import UnstableModelError
from ..lineshape import bin_modes
from .build import Bond, build_hamiltonian, dzyaloshinskii_moriya
from .model import SpinWModel, check_stability
from .simulate import powder_average, simulate_cut

__all__ = [
    "Bond",
    "SpinWModel",
    "UnstableModelError",
    "bin_modes",
    "build_hamiltonian",
    "check_stability",
    "dzyaloshinskii_moriya",
    "powder_average",
    "simulate_cut",
]
