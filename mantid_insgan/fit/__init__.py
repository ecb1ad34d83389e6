"""Fits to measured data: couplings of a model with their errors, rival models compared, widths from vanadium."""

from .background import BACKGROUNDS
from .compare import Comparison, compare
from .engines import ENGINES
from .measured import Dataset
from .problem import Problem
from .result import FitResult, fit, read_fit
from .uncertainty import profile_interval

__all__ = [
    "BACKGROUNDS",
    "ENGINES",
    "Comparison",
    "Dataset",
    "FitResult",
    "Problem",
    "compare",
    "fit",
    "profile_interval",
    "read_fit",
]
