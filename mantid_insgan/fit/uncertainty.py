"""Errors of fitted parameters, each named for what it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .minimise import jacobian, minimise
from .problem import Problem

#: The misfit tolerance is the change of a parameter that raises chi-squared by this share of itself.
MISFIT = 0.01
#: Nearer to a limit than this many standard errors, a parameter is said to be at it.
_AT_LIMIT = 0.5


@dataclass(frozen=True)
class Uncertainty:
    """Errors of the free parameters at a minimum.

    Parameters
    ----------
    names : tuple of str
    statistical : ndarray, shape (P,)
        Root of the diagonal of (J^T J)^-1: right where the model describes the data within their errors.
    scaled : ndarray, shape (P,)
        `statistical` times the root of chi-squared per degree of freedom, where that is above 1: what is usually given.
    misfit : ndarray, shape (P,)
        How far the parameter can go, the others readjusted, until chi-squared has grown by `MISFIT` of itself: no
        statistical error, but what the fit can tell at all where the model is off.
    correlation : ndarray, shape (P, P)
    at_limit : tuple of str
        Parameters at one of their limits: their errors mean nothing.
    undetermined : tuple of str
        Parameters that the data do not determine: NaN.
    """

    names: tuple[str, ...]
    statistical: np.ndarray
    scaled: np.ndarray
    misfit: np.ndarray
    correlation: np.ndarray
    at_limit: tuple[str, ...]
    undetermined: tuple[str, ...]


def uncertainty(problem: Problem, values: Mapping[str, float]) -> Uncertainty:
    """Errors from the curvature of chi-squared at the best values.

    Parameters
    ----------
    problem : Problem
    values : mapping of str to float
        The minimum.
    """
    names = problem.free
    evaluation = problem.evaluate(values)
    derivatives = jacobian(problem, values, central=True)
    size = np.linalg.norm(derivatives, axis=0)
    known = size > 1e-10 * max(size.max(initial=0.0), 1e-300)
    covariance = np.full((len(names), len(names)), np.nan)
    inside = np.ix_(known, known)
    covariance[inside] = np.linalg.pinv(derivatives[:, known].T @ derivatives[:, known], rcond=1e-14, hermitian=True)
    statistical = np.sqrt(np.diag(covariance))
    reduced = evaluation.chi_squared / problem.degrees_of_freedom
    correlation = covariance / np.outer(statistical, statistical)
    at_limit = []
    for name, error in zip(names, statistical, strict=True):
        limits = problem.definition.parameters[name]
        near = _AT_LIMIT * error if np.isfinite(error) else 0.0
        if values[name] - limits.low <= near or limits.high - values[name] <= near:
            at_limit.append(name)
    return Uncertainty(
        names,
        statistical,
        statistical * np.sqrt(max(reduced, 1.0)),
        statistical * np.sqrt(MISFIT * evaluation.chi_squared),
        correlation,
        tuple(at_limit),
        tuple(n for n, k in zip(names, known, strict=True) if not k),
    )


def profile_interval(problem: Problem, values: Mapping[str, float], name: str, *, tolerance: float = 0.05):
    """Where chi-squared, with all other parameters fitted again, has grown by max(1, chi-squared per degree).

    The 68 % interval of one parameter, also where chi-squared is no parabola.

    Parameters
    ----------
    problem : Problem
    values : mapping of str to float
        The minimum.
    name : str
        A free parameter.
    tolerance : float
        Of the change of chi-squared, relative.

    Returns
    -------
    (float, float)
        A limit of the parameter where chi-squared does not grow enough before it.
    """
    from scipy.optimize import brentq

    lowest = problem.evaluate(values).chi_squared
    target = max(1.0, lowest / problem.degrees_of_freedom)
    errors = uncertainty(problem, values)
    step = float(errors.scaled[errors.names.index(name)])
    limits = problem.definition.parameters[name]
    ends = []
    for sign, limit in ((-1, limits.low), (1, limits.high)):

        def excess(distance: float, sign=sign) -> float:
            return _refitted(problem, values, name, values[name] + sign * distance) - lowest - target

        reach, room = step, abs(limit - values[name])
        while reach < room and excess(min(reach, room)) < 0 and reach < 64 * step:
            reach *= 2
        reach = min(reach, room)
        crossed = reach > 0 and excess(reach) >= 0
        distance = brentq(excess, 0.0, reach, xtol=tolerance * step) if crossed else room
        ends.append(float(values[name] + sign * distance))
    return tuple(ends)


def _refitted(problem: Problem, values: Mapping[str, float], name: str, value: float) -> float:
    """Chi-squared with one parameter held and the others fitted."""
    at = problem.holding(name, {**values, name: value})
    if not at.free:
        return at.evaluate(at.start).chi_squared
    return minimise(at, smoothing=0.0).minima[0].chi_squared
