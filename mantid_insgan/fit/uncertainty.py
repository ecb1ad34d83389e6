"""Errors of fitted parameters, each named for what it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from .likelihood import Likelihood, misfit_divisor, needed_for
from .minimise import jacobian, minimise
from .problem import Problem

#: The misfit tolerance is the change of a parameter that raises chi-squared by this share of itself.
MISFIT = 0.01
#: Nearer to a limit than this many standard errors, a parameter is said to be at it.
_AT_LIMIT = 0.5
_MINOS = "a profile by MINOS"


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
        statistical * np.sqrt(misfit_divisor(reduced)),
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
        Of the distance of an end from the minimum, relative.

    Returns
    -------
    (float, float)
        A limit of the parameter where chi-squared does not grow enough before it.
    """
    from scipy.optimize import brentq

    lowest = problem.evaluate(values).chi_squared
    target = misfit_divisor(lowest / problem.degrees_of_freedom)
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
        distance = brentq(excess, 0.0, reach, xtol=1e-6 * reach, rtol=tolerance) if crossed else room
        ends.append(float(values[name] + sign * distance))
    return tuple(ends)


def _refitted(problem: Problem, values: Mapping[str, float], name: str, value: float) -> float:
    """Chi-squared with one parameter held and the others fitted, with the errors of the minimum."""
    at = problem.with_errors_held().holding(name, {**values, name: value})
    if not at.free:
        return at.evaluate(at.start).chi_squared
    return minimise(at, smoothing=0.0).minima[0].chi_squared


def minos_interval(problem: Problem, values: Mapping[str, float], name: str) -> tuple[float, float]:
    """The interval of `profile_interval` by MINOS of iminuit.

    MINOS follows the minimum of chi-squared from one value of the parameter to the next by its gradient and curvature
    (F. James and M. Roos, Comput. Phys. Commun. 10, 343 (1975)), which takes fewer evaluations than fits from anew, but
    may lose it where chi-squared has kinks.

    Parameters
    ----------
    problem : Problem
    values : mapping of str to float
        The minimum.
    name : str
        A free parameter.

    Returns
    -------
    (float, float)
        A limit of the parameter where chi-squared does not grow enough before it; NaN where MINOS lost the minimum.

    Raises
    ------
    DeviceError
        If iminuit is not installed.
    """
    with needed_for(_MINOS):
        from iminuit import Minuit
    lowest = problem.evaluate(values).chi_squared
    likelihood = Likelihood(problem, values, misfit_divisor(lowest / problem.degrees_of_freedom))
    search = Minuit(likelihood.chi_squared, likelihood.best, name=likelihood.names)
    search.limits, search.errordef = [tuple(limit) for limit in likelihood.limits], likelihood.divided_by
    errors = uncertainty(problem, values)
    search.errors = [
        error if np.isfinite(error) and error > 0 else max(0.1 * abs(value), 1e-3)
        for error, value in zip(errors.scaled, likelihood.best, strict=True)
    ]
    search.migrad()
    if not search.valid:
        return np.nan, np.nan
    search.minos(name)
    found, best, (low, high) = search.merrors[name], search.values[name], search.limits[name]
    ends = (
        best + found.lower if found.lower_valid else low if found.at_lower_limit else np.nan,
        best + found.upper if found.upper_valid else high if found.at_upper_limit else np.nan,
    )
    return float(ends[0]), float(ends[1])


#: How the interval of a parameter is worked out, by the names of the option.
PROFILES = {"refit": profile_interval, "minos": minos_interval}


def check_profile(problem: Problem, names: tuple[str, ...], by: str) -> None:
    """Check before a fit whether the profiles that are to follow it can be worked out.

    Raises
    ------
    InputError
        If a parameter is not free, or `by` is none of `PROFILES`.
    DeviceError
        If iminuit is needed and not installed.
    """
    if by not in PROFILES:
        raise InputError(f"the profile is asked for by {by!r}", f"use one of {', '.join(PROFILES)}")
    for name in names:
        if name not in problem.free:
            raise InputError(f"the profile of {name!r} was asked for, which is not free", f"use {problem.free}")
    if names and by == "minos":
        with needed_for(_MINOS):
            import iminuit  # noqa: F401
