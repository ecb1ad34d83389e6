"""Draws from the posterior of the free parameters, by the sampler DREAM of bumps.

DREAM runs several chains at once, which take their steps from each other's differences (J. A. Vrugt et al., Int. J.
Nonlinear Sci. Numer. Simul. 10, 273 (2009)). Priors are uniform within the limits of the parameters.
"""

from __future__ import annotations

import functools
import math
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..core.files import check_output, replacing
from ..errors import InputError
from .likelihood import Likelihood, misfit_divisor, needed_for, said_of_divisor
from .result import FitResult

#: Above this R-hat of a parameter the chains have not converged (A. Gelman and D. B. Rubin, Stat. Sci. 7, 457 (1992)).
CONVERGED = 1.1
#: Shares of the draws inside the intervals: one and about two standard errors of a Gaussian.
LEVELS = {"68": 0.6827, "95": 0.95}
#: Chains for each parameter, and the least and most of them.
_CHAINS, _FEWEST, _MOST = 5, 10, 40
#: Generations of a round, which is saved or lost as a whole, and rounds of the burn-in for each round that is kept.
_ROUND, _BURN = 10, 0.25
#: Seconds from one saving of the draws to the next.
_EVERY = 30.0
#: Crossover ratios of DREAM, and the relative difference up to which a likelihood is the same.
_RATIOS, _SAME = 3, 1e-6
_FORMAT = 1
_PURPOSE = "the posterior"

#: Called with the fraction done, 0 to 1.
Share = Callable[[float], None]


@dataclass(frozen=True, eq=False)
class Posterior:
    """Draws from the posterior of the free parameters.

    Parameters
    ----------
    names : tuple of str
        Of the P free parameters.
    chains : ndarray, shape (G, C, P)
        Generations of C chains, those of the burn-in left out.
    log_likelihood : ndarray, shape (G, C)
    acceptance : float
        Share of the proposed steps that were taken.
    divided_by : float
        What chi-squared was divided by, see `likelihood.misfit_divisor`.
    asked : int
        Draws that were asked for.
    seed : int
    crossover : ndarray, shape (3,)
        Weights of the crossover ratios, which the burn-in has settled and the next rounds need.
    """

    names: tuple[str, ...]
    chains: np.ndarray
    log_likelihood: np.ndarray
    acceptance: float
    divided_by: float
    asked: int
    seed: int
    crossover: np.ndarray

    @property
    def draws(self) -> np.ndarray:
        """All draws, shape (G C, P)."""
        return self.chains.reshape(-1, len(self.names))

    @property
    def stopped(self) -> bool:
        """True where the sampling was interrupted."""
        return len(self.draws) < self.asked

    @property
    def medians(self) -> dict[str, float]:
        """Median of each parameter; empty without a draw."""
        return dict(zip(self.names, np.median(self.draws, axis=0).tolist(), strict=True)) if len(self.draws) else {}

    def intervals(self, level: str = "68") -> dict[str, tuple[float, float]]:
        """Limits of each parameter with equal shares of the draws below and above them; `level` is one of `LEVELS`."""
        if not len(self.draws):
            return {}
        outside = (1 - LEVELS[level]) / 2
        low, high = np.quantile(self.draws, [outside, 1 - outside], axis=0)
        return dict(zip(self.names, zip(low.tolist(), high.tolist(), strict=True), strict=True))

    @functools.cached_property
    def r_hat(self) -> dict[str, float]:
        """Gelman and Rubin's measure for each parameter, 1 where all halves of all chains agree; infinite if there are
        too few draws to say."""
        half = len(self.chains) // 2
        if half < 2:
            return dict.fromkeys(self.names, np.inf)
        parts = np.concatenate([self.chains[:half], self.chains[half : 2 * half]], axis=1)
        within = parts.var(axis=0, ddof=1).mean(axis=0)
        if not (within > 0).all():  # chains that never moved
            return dict.fromkeys(self.names, np.inf)
        with needed_for(_PURPOSE):
            from bumps.dream.gelman import gelman
        found = gelman(parts, portion=1.0)
        return dict(zip(self.names, found.tolist(), strict=True))

    @property
    def converged(self) -> bool:
        """Whether R-hat of every parameter is at most `CONVERGED`."""
        return max(self.r_hat.values()) <= CONVERGED

    @property
    def notes(self) -> tuple[str, ...]:
        """What a careful user should know."""
        notes = []
        if self.stopped:
            notes.append(f"the sampling was stopped after {len(self.draws)} of {self.asked} draws; --resume goes on")
        if len(self.draws) and not self.converged:
            worst = max(self.r_hat, key=self.r_hat.get)
            notes.append(
                f"the chains of the posterior have not converged: R-hat of {worst} is {self.r_hat[worst]:.3g}, "
                f"expected at most {CONVERGED}; draw more with a larger --posterior and --resume"
            )
        return tuple(notes)

    def sentence(self) -> str:
        """How it was drawn, in words."""
        return (
            f"posterior: {len(self.draws)} draws of {self.chains.shape[1]} chains, {self.acceptance:.0%} of the steps "
            f"taken, R-hat at most {max(self.r_hat.values()):.3f}; {said_of_divisor(self.divided_by)}"
        )

    def as_dict(self) -> dict:
        """Plain values, without the draws."""
        return {
            "draws": len(self.draws),
            "asked": self.asked,
            "chains": self.chains.shape[1],
            "seed": self.seed,
            "acceptance": self.acceptance,
            "chi_squared_divided_by": self.divided_by,
            "r_hat": {n: r if np.isfinite(r) else None for n, r in self.r_hat.items()},
            "converged": self.converged,
            "medians": self.medians,
            "intervals": {level: {n: list(i) for n, i in self.intervals(level).items()} for level in LEVELS},
        }

    def save(self, path: str | Path) -> Path:
        """Write the draws as a NumPy archive (npz), replacing an earlier one."""
        path = Path(path)
        numbers = {
            "format": _FORMAT,
            "names": np.array(self.names),
            "acceptance": self.acceptance,
            "divided_by": self.divided_by,
            "asked": self.asked,
            "seed": self.seed,
            "crossover": self.crossover,
        }
        with replacing(path, ".npz") as temporary:
            with open(temporary, "wb") as stream:
                np.savez_compressed(
                    stream, allow_pickle=False, chains=self.chains, log_likelihood=self.log_likelihood, **numbers
                )
        return path


def read_posterior(path: str | Path) -> Posterior:
    """The draws that `Posterior.save` wrote.

    Raises
    ------
    InputError
        If the file does not hold draws.
    """
    try:
        with np.load(path, allow_pickle=False) as found:
            if int(found["format"]) != _FORMAT:
                raise ValueError(f"format {found['format']}, expected {_FORMAT}")
            posterior = Posterior(
                tuple(map(str, found["names"])),
                found["chains"].astype(float),
                found["log_likelihood"].astype(float),
                float(found["acceptance"]),
                float(found["divided_by"]),
                int(found["asked"]),
                int(found["seed"]),
                found["crossover"].astype(float),
            )
        if posterior.chains.ndim != 3 or posterior.chains.shape[2] != len(posterior.names):
            raise ValueError(f"draws of the shape {posterior.chains.shape} of {len(posterior.names)} parameters")
        if posterior.log_likelihood.shape != posterior.chains.shape[:2]:
            raise ValueError(f"likelihoods of the shape {posterior.log_likelihood.shape}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path} holds no draws of a posterior ({error})", "give a file that `insgan fit --posterior` wrote"
        ) from error
    return posterior


def check_draws(draws: int) -> None:
    """Raise InputError for a number of draws that means nothing, DeviceError if bumps is not installed."""
    if draws < 100:
        raise InputError(f"{draws} draws from the posterior", "give 100 or more; 10000 are usual")
    with needed_for(_PURPOSE):
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
    with needed_for(_PURPOSE):
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
