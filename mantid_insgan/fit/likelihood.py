"""The likelihood that samplers see, and the libraries that sample it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from ..errors import DeviceError
from .parameters import tied
from .problem import Problem

#: Of the extra ``posterior``.
_LIBRARIES = ("bumps", "iminuit", "dynesty")


@contextmanager
def needed_for(purpose: str) -> Iterator[None]:
    """Around imports of the libraries of the extra ``posterior``.

    Raises
    ------
    DeviceError
        If one is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as missing:
        library = (missing.name or "").partition(".")[0]
        if library not in _LIBRARIES:
            raise
        raise DeviceError(
            f"{purpose} needs {library}, which is not installed", "pip install 'mantid-insgan[posterior]'"
        ) from missing


def misfit_divisor(reduced_chi_squared: float) -> float:
    """What chi-squared is divided by: its value per degree of freedom where that is above 1, as for `scaled` errors.

    Errors smaller than what the model misses would give intervals that are too short.
    """
    return max(1.0, float(reduced_chi_squared))


def said_of_divisor(divided_by: float) -> str:
    """In words what `misfit_divisor` did."""
    if divided_by > 1:
        return f"chi-squared divided by {divided_by:.4g}, its value per degree of freedom, as for the column error"
    return "chi-squared as it is: it is no more than 1 per degree of freedom"


@dataclass(frozen=True)
class Likelihood:
    """Logarithm of the likelihood of the free parameters: -chi-squared / (2 x `divided_by`), without its constant.

    Scale and background are at their best for each set of parameters. Models without a stable order have the finite
    penalty of `Problem.evaluate`; outside the limits the likelihood is 0.

    Parameters
    ----------
    problem : Problem
    values : mapping of str to float
        Of all parameters: those that are not free stay there.
    divided_by : float
    """

    problem: Problem
    values: Mapping[str, float]
    divided_by: float

    @property
    def names(self) -> tuple[str, ...]:
        """Of the free parameters, in the order of a point."""
        return self.problem.free

    @property
    def limits(self) -> np.ndarray:
        """Lowest and highest value of each free parameter, shape (P, 2)."""
        parameters = self.problem.definition.parameters
        return np.array([(parameters[name].low, parameters[name].high) for name in self.names], float)

    @property
    def best(self) -> np.ndarray:
        """The point of `values`, shape (P,)."""
        return np.array([self.values[name] for name in self.names])

    def chi_squared(self, point) -> float:
        """Chi-squared at a point (P,), not divided."""
        given = {**self.values, **dict(zip(self.names, map(float, point), strict=True))}
        return self.problem.evaluate(tied(self.problem.definition, given)).chi_squared

    def __call__(self, point) -> float:
        low, high = self.limits.T
        if (point < low).any() or (point > high).any():
            return -np.inf
        return -0.5 * self.chi_squared(point) / self.divided_by
