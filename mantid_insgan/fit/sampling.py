"""Draws from the posterior by the sampler DREAM of bumps.

DREAM runs several chains at once, which take their steps from each other's differences (J. A. Vrugt et al., Int. J.
Nonlinear Sci. Numer. Simul. 10, 273 (2009)). Priors are uniform within the limits of the parameters.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..core.files import check_output
from ..errors import InputError
from .likelihood import Likelihood, misfit_divisor, needed_for
from .posterior import PURPOSE, Posterior, read_posterior
from .result import FitResult

#: Chains for each parameter, and the least and most of them.
_CHAINS, _FEWEST, _MOST = 5, 10, 40
#: Generations of a round, which is saved or lost as a whole, and rounds of the burn-in for each round that is kept.
_ROUND, _BURN = 10, 0.25
#: Seconds from one saving of the draws to the next.
_EVERY = 30.0
#: Crossover ratios of DREAM, and the relative difference up to which a likelihood is the same.
_RATIOS, _SAME = 3, 1e-6

#: Called with the fraction done, 0 to 1.
Share = Callable[[float], None]


def check_draws(draws: int) -> None:
    """Raise InputError for a number of draws that means nothing, DeviceError if bumps is not installed."""
    if draws < 100:
        raise InputError(f"{draws} draws from the posterior", "give 100 or more; 10000 are usual")
    with needed_for(PURPOSE):
        import bumps  # noqa: F401


def bumps_problem(likelihood: Likelihood):
    """A likelihood as a FitProblem of bumps, for its fitters: the free parameters with their limits, and `nllf`.

    Parameters
    ----------
    likelihood : Likelihood

    Returns
    -------
    bumps.fitproblem.FitProblem

    Raises
    ------
    DeviceError
        If bumps is not installed.
    """
    with needed_for(PURPOSE):
        from bumps.fitproblem import FitProblem
    return FitProblem(_Fitness(likelihood), name=likelihood.problem.definition.name)


class _Fitness:
    """What bumps calls a model: parameters and the negative logarithm of the likelihood."""

    def __init__(self, likelihood: Likelihood):
        from bumps.parameter import Parameter

        self.name, self._likelihood = likelihood.problem.definition.name, likelihood
        self._parameters = [
            Parameter(value, name=name, bounds=tuple(limits), fixed=False)
            for value, name, limits in zip(likelihood.best, likelihood.names, likelihood.limits, strict=True)
        ]

    def parameters(self):
        return self._parameters

    def update(self):
        """Nothing is kept from one set of parameters to the next."""

    def numpoints(self) -> int:
        return self._likelihood.problem.bins

    def nllf(self) -> float:
        return -self._likelihood(np.array([float(p.value) for p in self._parameters]))


def sample_posterior(
    result: FitResult,
    draws: int,
    *,
    path: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Share | None = None,
) -> Posterior:
    """Draw from the posterior, with chains that start around the minimum as the covariance says.

    A quarter as many generations as are kept come first and are left out. The draws do not depend on how often the
    sampling was interrupted: rounds of ten generations have seeds of their own, and a round that is cut short is drawn
    again.

    Parameters
    ----------
    result : FitResult
        Its errors of the bins, and its chi-squared per degree of freedom, are those of the likelihood.
    draws : int
        At least so many are kept, 100 or more.
    path : path, optional
        Where the draws are saved, now and then and at the end.
    resume : bool
        Go on from the draws in `path`, if there are any.
    overwrite : bool
    progress : callable, optional
        Called with the fraction done.

    Returns
    -------
    Posterior
        After KeyboardInterrupt what was drawn so far.

    Raises
    ------
    InputError
        If the draws are fewer than 100, the data do not determine a parameter without limits, or `path` has those of
        another problem.
    OutputError
        If `path` exists and is neither to be resumed nor overwritten.
    DeviceError
        If bumps is not installed.
    """
    check_draws(draws)
    path = None if path is None else Path(path)
    likelihood = Likelihood(result.problem, result.values, misfit_divisor(result.reduced_chi_squared))
    seed = result.problem.seed
    if path is not None and resume and path.exists():
        drawn = replace(_continued(read_posterior(path), likelihood, path), asked=draws)
    else:
        if path is not None:
            check_output(path, overwrite)
        drawn = _nothing(likelihood, draws, seed)
    burn = 0 if len(drawn.draws) else math.ceil(_BURN * draws / (drawn.chains.shape[1] * _ROUND))
    dream = _Dream(likelihood, drawn.seed, progress, draws - len(drawn.draws) + burn * _ROUND * drawn.chains.shape[1])
    saved = time.monotonic()
    try:
        here = dream.burnt_in(_around(result, likelihood, seed), burn) if burn else _last(drawn)
        while drawn.stopped:
            drawn, here = dream.longer(drawn, here)
            if path is not None and time.monotonic() - saved > _EVERY:
                drawn.save(path)
                saved = time.monotonic()
    except KeyboardInterrupt:
        pass  # what was drawn is kept, and `stopped` says so
    if path is not None and len(drawn.draws):
        drawn.save(path)
    return drawn


@dataclass(frozen=True, eq=False)
class _Place:
    """Where the chains are: points (C, P), their log-likelihoods (C,) if known, and the weights of the crossover."""

    points: np.ndarray
    log_likelihood: np.ndarray | None
    crossover: np.ndarray


class _Dream:
    """Rounds of DREAM, each with a seed of its own."""

    def __init__(self, likelihood: Likelihood, seed: int, progress: Share | None, evaluations: int):
        from bumps.fitters import DreamModel

        self._model = DreamModel(bumps_problem(likelihood), self._nllf)
        self._likelihood, self._seed = likelihood, seed
        self._progress, self._count, self._evaluations = progress, 0, max(evaluations, 1)
        self._known: tuple[np.ndarray, np.ndarray] | None = None

    def burnt_in(self, points: np.ndarray, rounds: int) -> _Place:
        """The place after some rounds, in which the weights of the crossover ratios are adapted."""
        from bumps.dream.crossover import AdaptiveCrossover

        adaptive = AdaptiveCrossover(_RATIOS)
        here = _Place(points, None, adaptive.weight)
        for number in range(rounds):
            chains, found, _ = self._round(here, adaptive, (0, number), adapts=True)
            adaptive.adapt()
            here = _Place(chains[-1], found[-1], adaptive.weight)
        return here

    def longer(self, drawn: Posterior, here: _Place) -> tuple[Posterior, _Place]:
        """The draws with those of one more round, and where the chains then are."""
        from bumps.dream.crossover import Crossover

        ratios = Crossover((np.arange(_RATIOS) + 1) / _RATIOS, here.crossover)
        generations = len(drawn.chains)
        chains, found, acceptance = self._round(here, ratios, (1, generations // _ROUND), adapts=False)
        longer = replace(
            drawn,
            chains=np.concatenate([drawn.chains, chains]),
            log_likelihood=np.concatenate([drawn.log_likelihood, found]),
            acceptance=(generations * drawn.acceptance + _ROUND * acceptance) / (generations + _ROUND),
            crossover=here.crossover,
        )
        return longer, _Place(chains[-1], found[-1], here.crossover)

    def _round(self, here: _Place, crossover, number: tuple[int, int], *, adapts: bool):
        """Ten generations: points (10, C, P), their log-likelihoods (10, C) and the share of steps taken.

        Raises
        ------
        KeyboardInterrupt
            If it was cut short.
        """
        from bumps.dream.core import Dream

        self._known = None if here.log_likelihood is None else (here.points, here.log_likelihood)
        draws = (_ROUND + 1) * len(here.points)
        dream = Dream(
            model=self._model,
            population=here.points[None].copy(),
            draws=draws,
            burn=draws if adapts else 0,
            CR=crossover,
            DE_steps=_ROUND,
            alpha=0.0,
            outlier_test="none",
            monitor=lambda *_: None,
        )
        with _seeded((self._seed, *number)):
            # bumps swallows KeyboardInterrupt; the number of generations shows it
            state = dream.sample(abort_test=lambda: dream.state.generation > _ROUND)
        if state.generation <= _ROUND:
            raise KeyboardInterrupt
        _, points, found = state.chains()
        _, accepted = state.acceptance_rate(portion=1.0)
        return points[1:].copy(), found[1:].copy(), float(np.mean(accepted[1:])) / 100

    def _nllf(self, population: np.ndarray) -> list[float]:
        """Of each point; those where a round begins are known from the one before.

        Not by bumps' own `nllf`, which takes a mistake in a model for an impossible point.
        """
        if self._known is not None and np.array_equal(population, self._known[0]):
            return list(-self._known[1])
        found = []
        for point in population:
            found.append(-self._likelihood(point))
            self._count += 1
            if self._progress is not None:
                self._progress(min(self._count / self._evaluations, 1.0))
        return found


def _nothing(likelihood: Likelihood, draws: int, seed: int) -> Posterior:
    count = len(likelihood.names)
    chains = int(np.clip(_CHAINS * count, _FEWEST, _MOST))
    empty = np.empty((0, chains, count)), np.empty((0, chains))
    return Posterior(likelihood.names, *empty, 0.0, likelihood.divided_by, draws, seed, np.zeros(_RATIOS))


def _last(drawn: Posterior) -> _Place:
    return _Place(drawn.chains[-1], drawn.log_likelihood[-1], drawn.crossover)


def _continued(drawn: Posterior, likelihood: Likelihood, path: Path) -> Posterior:
    """The draws, if they are of this likelihood: the last point's chi-squared shows it."""
    same = drawn.names == likelihood.names and math.isclose(drawn.divided_by, likelihood.divided_by, rel_tol=_SAME)
    if same and len(drawn.draws):
        there = likelihood(drawn.chains[-1, 0])
        same = math.isclose(there, drawn.log_likelihood[-1, 0], rel_tol=_SAME, abs_tol=_SAME)
    if not same:
        raise InputError(
            f"the draws in {path} are of another model, other data or other options ({', '.join(drawn.names)})",
            "resume with those of the draws, or give --overwrite without --resume",
        )
    return drawn


def _around(result: FitResult, likelihood: Likelihood, seed: int) -> np.ndarray:
    """Where the chains begin, shape (C, P): around the minimum as the covariance says, within the limits."""
    errors, limits = result.errors, likelihood.limits
    for name, (low, high) in zip(likelihood.names, limits, strict=True):
        if name in errors.undetermined and not np.isfinite(high - low):
            raise InputError(
                f"the data do not determine {name}, which has no limits, so that its posterior has no end",
                "give it min and max in the model's file, or hold it (vary: false)",
            )
    count = _nothing(likelihood, 0, seed).chains.shape[1]
    rng = np.random.default_rng(abs(seed))
    known = np.array([name not in errors.undetermined for name in likelihood.names])
    points = rng.uniform(0, 1, (count, len(known)))
    points[:, ~known] = limits[~known, 0] + points[:, ~known] * (limits[~known, 1] - limits[~known, 0])
    inside = np.ix_(known, known)
    covariance = errors.correlation[inside] * np.outer(errors.scaled[known], errors.scaled[known])
    points[:, known] = rng.multivariate_normal(likelihood.best[known], covariance, count, method="eigh")
    # beyond a limit points go inside, evenly up to a tenth of an error or of the range, so that no two are the same
    reach = np.where(known, np.nan_to_num(errors.scaled), 0.0)
    reach = np.minimum(reach, np.where(np.isfinite(limits[:, 1] - limits[:, 0]), limits[:, 1] - limits[:, 0], np.inf))
    low, high = limits.T
    moved = 0.1 * reach * rng.uniform(0, 1, points.shape)
    return np.where(points < low, low + moved, np.where(points > high, high - moved, points))


@contextmanager
def _seeded(numbers: tuple[int, ...]) -> Iterator[None]:
    """Seed the global generators that bumps draws from, NumPy's and numba's; that of NumPy is put back afterwards."""
    seed = int(np.random.SeedSequence([abs(n) for n in numbers]).generate_state(1)[0])
    before = np.random.get_state()
    try:
        np.random.seed(seed)
        _seed_of_loops()(seed)
        yield
    finally:
        np.random.set_state(before)


@functools.cache
def _seed_of_loops() -> Callable[[int], None]:
    """Seeds the generator of loops that numba compiles, which has a state of its own."""
    try:
        from numba import njit
    except ImportError:
        return lambda seed: None

    @njit
    def seeded(seed):
        np.random.seed(seed)

    return seeded
