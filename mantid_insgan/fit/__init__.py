"""Fits to measured data: couplings of a model with their errors, rival models compared, widths from vanadium."""

from .background import BACKGROUNDS
from .compare import Comparison, compare
from .engines import ENGINES
from .evidence import Evidence, evidence_for
from .likelihood import Likelihood
from .measured import Dataset
from .posterior import Posterior, read_posterior
from .problem import Problem
from .result import FitResult, fit, read_fit
from .sampling import bumps_problem, sample_posterior
from .uncertainty import minos_interval, profile_interval

__all__ = [
    "BACKGROUNDS",
    "ENGINES",
    "Comparison",
    "Dataset",
    "Evidence",
    "FitResult",
    "Likelihood",
    "Posterior",
    "Problem",
    "bumps_problem",
    "compare",
    "evidence_for",
    "fit",
    "minos_interval",
    "profile_interval",
    "read_fit",
    "read_posterior",
    "sample_posterior",
]
