"""The search for the best parameters: least squares from several starts, with a log, resumable, and stopped at will."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..core.workers import worker_pool
from ..errors import InputError
from ..models.base import UnstableModelError
from ..models.parameters import LINE, WIDTH_FACTOR
from ..models.sampling import quasi_random
from .parameters import lmfit_parameters, tied
from .problem import Evaluation, Problem

#: Step of a numerical derivative, as a share of the parameter's size.
_STEP = 1e-3
#: Nearer to a limit than this share of its range, a parameter is where a search may have gone astray.
_NEAR_LIMIT = 0.1
#: Rounds in which errors that depend on the fit are taken from the one before.
_ERROR_ROUNDS = 3

#: Smoothing with which a search begins, as a share of the energy range, by how much it narrows each time, and the
#: relative change of chi-squared and the number of evaluations at which a search in smoothed data ends.
SMOOTHING, _NARROWER, _COARSE, _FEW = 0.12, 2.5, 1e-3, 25
#: Places around a start that are tried where it sees nothing of the measurement or its search ends at a limit, and how
#: far they lie, as `spread`.
#: They are tried where the model describes less than a share of chi-squared.
_PLACES, _AROUND, _DESCRIBED = 24, 0.2, 0.01

#: Called with (evaluations so far, best chi-squared, its values).
Progress = Callable[[int, float, Mapping[str, float]], None]


@dataclass
class Minimum:
    """Where a search ended.

    Attributes
    ----------
    start, values : dict of str to float
        All parameters, at the start and at the end.
    chi_squared : float
    evaluations : int
    converged : bool
    message : str
    """

    start: dict[str, float]
    values: dict[str, float]
    chi_squared: float
    evaluations: int
    converged: bool
    message: str


@dataclass
class Search:
    """What was tried.

    Attributes
    ----------
    minima : list of Minimum
        One for each start, the best first.
    stopped : bool
        True where the user stopped it: the best so far is kept.
    evaluations : int
    seconds : float
    """

    minima: list[Minimum] = field(default_factory=list)
    stopped: bool = False
    evaluations: int = 0
    seconds: float = 0.0


class _Evaluations:
    """Evaluates, counts, keeps the best and writes the log."""

    def __init__(self, problem: Problem, log: Path | None, progress: Progress | None):
        self.problem, self.progress, self.count, self.share = problem, progress, 0, 0.0
        self.best: tuple[float, dict[str, float]] = (np.inf, dict(problem.start))
        self._log = None if log is None else open(log, "a", encoding="utf-8")
        self._last: tuple[bytes, Evaluation] | None = None

    def __call__(self, values: Mapping[str, float]) -> Evaluation:
        key = np.array(list(values.values())).tobytes()
        if self._last is not None and self._last[0] == key:
            return self._last[1]
        found = self.problem.evaluate(values)
        self.count += 1
        self._last = (key, found)
        if found.stable and found.chi_squared < self.best[0]:
            self.best = (found.chi_squared, dict(values))
        if self._log is not None:
            line = {"values": dict(values), "chi_squared": found.chi_squared, "stable": found.stable}
            line |= {"smoothed": self.share} if self.share else {}
            self._log.write(json.dumps(line) + "\n")
            self._log.flush()
        if self.progress is not None:
            self.progress(self.count, *self.best)
        return found

    def take(self, minimum: Minimum) -> None:
        """Count what was done elsewhere, and keep the best."""
        self.count += minimum.evaluations
        self.best = min(self.best, (minimum.chi_squared, minimum.values), key=lambda b: b[0])
        if self.progress is not None:
            self.progress(self.count, *self.best)

    def take_up(self, problem: Problem, share: float = 0.0) -> None:
        """Go on with other errors, or smoothed by a share: chi-squared before means nothing any more."""
        self.problem, self.share = problem, share
        self.best, self._last = (np.inf, self.best[1]), None

    def close(self) -> None:
        if self._log is not None:
            self._log.close()


def minimise(
    problem: Problem,
    *,
    starts: int = 1,
    spread: float = 0.3,
    tolerance: float = 0.1,
    most: int = 200,
    smoothing: float = SMOOTHING,
    log: str | Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    workers: int = 1,
    dask: str | None = None,
) -> Search:
    """Least squares from the start values and from others around them.

    Parameters
    ----------
    problem : Problem
    starts : int
        The first is that of the definition; the others are spread evenly within its limits and `spread`.
    spread : float
        How far the other starts lie from the first, as a share of each parameter.
    tolerance : float
        A search ends where a step lowers chi-squared by less than this.
    most : int
        Evaluations for each start, those for derivatives not counted.
    smoothing : float
        Each start is first fitted to measurements that are smoothed along energy, together with the model, by a
        Gaussian of this share of the energy range (standard deviation), then to less smooth ones, and last as they are
        (continuation): a sharp mode that starts beside the measured one is not seen otherwise. 0 for no smoothing.
    log : path, optional
        JSON lines: every evaluation, and every start that is done.
    resume : bool
        Take the starts that `log` says are done from there.
    progress : callable, optional
    workers : int
        Processes on this machine, each with one start at a time. With more than one the log has the starts that are
        done, not every evaluation.
    dask : str, optional
        Address of a Dask scheduler, or 'local': starts go to its workers.

    Returns
    -------
    Search
        Stopped by KeyboardInterrupt, with the best so far.

    Raises
    ------
    InputError
        If a number is out of range, or the log is that of another problem.
    """
    if starts < 1 or not 0 < spread or not tolerance > 0 or not 0 <= smoothing <= 1:
        raise InputError(
            f"{starts} starts, spread {spread:g}, tolerance {tolerance:g}, smoothing {smoothing:g}",
            "give at least one start, a positive spread and change of chi-squared, and a smoothing from 0 to 1",
        )
    how = (tolerance, most, smoothing)
    log = None if log is None else Path(log)
    points = _starts(problem, starts, spread, problem.start)
    done = _done(log, points) if resume and log is not None else {}
    if log is not None and not resume and log.exists():
        raise InputError(f"the log {log} already exists", "give another name, or resume it")
    evaluations, began = _Evaluations(problem, log, progress), time.monotonic()
    search = Search()
    try:
        search.minima += done.values()
        left = {number: start for number, start in enumerate(points) if number not in done}
        if workers == 1 and dask is None:
            found = ((n, _search_from(problem, evaluations, start, *how)) for n, start in left.items())
        else:
            found = _elsewhere(problem, left, evaluations, how, workers, dask)
        for number, minimum in found:
            _note_done(log, number, minimum)
            search.minima.append(minimum)
    except KeyboardInterrupt:
        search.stopped = True
        chi_squared, values = evaluations.best
        if np.isfinite(chi_squared):
            chi_squared = chi_squared if evaluations.problem is problem else problem.evaluate(values).chi_squared
            search.minima.append(Minimum(dict(problem.start), values, chi_squared, evaluations.count, False, "stopped"))
    finally:
        evaluations.close()
    search.minima.sort(key=lambda m: m.chi_squared)
    search.evaluations, search.seconds = evaluations.count, time.monotonic() - began
    return search


def jacobian(problem: Problem, values: Mapping[str, float], evaluate=None, *, central: bool = False) -> np.ndarray:
    """Derivatives of the residual with the free parameters, shape (N, P), by finite differences.

    At a limit, and where a step makes the model unstable, the step goes to the other side.
    """
    evaluate = evaluate or problem.evaluate
    here = evaluate(values).residual
    # The line first: engines still have the model that it is put in to.
    order = sorted(problem.free, key=lambda name: name != LINE)
    columns = {name: _derivative(problem, values, name, here, evaluate, central) for name in order}
    return np.stack([columns[name] for name in problem.free], axis=1)


def _derivative(problem: Problem, values, name: str, here: np.ndarray, evaluate, central: bool) -> np.ndarray:
    limits, value = problem.definition.parameters[name], values[name]
    step = _STEP * max(abs(value), abs(problem.start[name]) * 0.1, 1e-3)
    sides = []
    for sign in (1, -1):
        moved = value + sign * step
        if limits.low <= moved <= limits.high:
            found = evaluate(tied(problem.definition, {**values, name: moved}))
            if found.stable:
                sides.append((sign, found.residual))
        if sides and not central:
            break
    if not sides:
        return np.zeros_like(here)
    if len(sides) == 2:
        return (sides[0][1] - sides[1][1]) / (2 * step)
    sign, residual = sides[0]
    return sign * (residual - here) / step


def _elsewhere(problem: Problem, starts: dict, evaluations: _Evaluations, how: tuple, workers: int, dask):
    """Number and minimum of each start, as they are done, by other processes or machines."""
    from concurrent.futures import as_completed

    recipe, token = problem.recipe(threads=1), secrets.token_hex(8)
    with worker_pool(workers, dask) as (submit, _):
        futures = {submit(_search_in_worker, token, recipe, start, *how): n for n, start in starts.items()}
        if dask is not None:
            from distributed import as_completed
        for future in as_completed(futures):
            minimum = future.result()
            evaluations.take(minimum)
            yield futures[future], minimum


#: The problem that a worker has made, by its token: it is prepared once for all starts there.
_MADE: dict[str, Problem] = {}


def _search_in_worker(token: str, recipe: dict, start: dict, *how) -> Minimum:
    if token not in _MADE:
        _MADE.clear()
        _MADE[token] = Problem(**recipe)
    problem = _MADE[token]
    return _search_from(problem, _Evaluations(problem, None, None), start, *how)


def _search_from(
    problem: Problem, evaluations: _Evaluations, start: dict, tolerance: float, most: int, smoothing: float
) -> Minimum:
    first, begin = evaluations.count, _found_smoothed(problem, evaluations, start, smoothing)
    found = _search_sharp(problem, evaluations, begin, tolerance, most)
    if begin != start and (_at_limit(problem, found[0]) or not _describes(problem, evaluations, found[0])):
        # Smoothed data may have led astray: the start itself and the best of some places around it get a chance.
        share = smoothing / _NARROWER
        smoothed = problem.smoothed(share)
        evaluations.take_up(smoothed or problem, share if smoothed else 0.0)
        around = _best_place(smoothed or problem, evaluations, start)
        evaluations.take_up(problem)
        for begin in (start, around):
            other = _search_sharp(problem, evaluations, begin, tolerance, most)
            found = min(found, other, key=lambda one: evaluations(one[0]).chi_squared)
        if problem.reweighted and found is not other:
            _take_errors(problem, found[0])
            evaluations.take_up(problem)
    values, converged, message = found
    chi_squared = evaluations(values).chi_squared
    return Minimum(dict(start), values, chi_squared, evaluations.count - first, converged, message)


def _search_sharp(problem: Problem, evaluations: _Evaluations, values: dict, tolerance: float, most: int):
    """The best values for the measurements as they are, whether the search converged, and its message."""
    for _ in range(_ERROR_ROUNDS if problem.reweighted else 1):
        if problem.reweighted:
            _take_errors(problem, values)
            evaluations.take_up(problem)
        values, converged, message = _least_squares(problem, evaluations, values, tolerance, most)
    return values, converged, message


def _at_limit(problem: Problem, values: Mapping[str, float]) -> bool:
    """Whether a parameter of the model, other than its line, is at one of its limits or near it."""
    limits = {n: problem.definition.parameters[n] for n in problem.free if n not in (LINE, WIDTH_FACTOR)}
    for name, p in limits.items():
        near = _NEAR_LIMIT * (p.high - p.low) if np.isfinite(p.high - p.low) else 0.0
        if min(values[name] - p.low, p.high - values[name]) <= max(_STEP * abs(values[name]), near):
            return True
    return False


def _found_smoothed(problem: Problem, evaluations: _Evaluations, start: dict, smoothing: float) -> dict:
    """Where to begin: the best values for smoothed measurements, from smooth ones to sharper ones."""
    values, share = start, smoothing
    while share > 0:
        if problem.reweighted:
            _take_errors(problem, values)
        smoothed = problem.smoothed(share)
        if smoothed is None:
            break
        evaluations.take_up(smoothed, share)
        values = _seeing(smoothed, evaluations, values)
        values, *_ = _least_squares(smoothed, evaluations, values, _COARSE * problem.degrees_of_freedom, _FEW)
        share /= _NARROWER
    evaluations.take_up(problem)
    return values


def _seeing(problem: Problem, evaluations: _Evaluations, start: dict) -> dict:
    """The start if the model there describes anything of the measurement; else the best of some places around it.

    Where it describes nothing, as where the best scale is 0, no small step changes chi-squared.
    """
    return start if _describes(problem, evaluations, start) else _best_place(problem, evaluations, start)


def _describes(problem: Problem, evaluations: _Evaluations, values: Mapping[str, float]) -> bool:
    """Whether the model describes anything of the measurement."""
    return evaluations(values).chi_squared < (1 - _DESCRIBED) * problem.chi_squared_of_nothing


def _best_place(problem: Problem, evaluations: _Evaluations, start: dict) -> dict:
    """The best of a start and some places around it."""
    tried = _starts(problem, _PLACES, _AROUND, start)
    return min(tried, key=lambda values: evaluations(values).chi_squared)


def _take_errors(problem: Problem, values: Mapping[str, float]) -> None:
    try:
        problem.update_errors(values)
    except UnstableModelError:
        return  # the errors are those of the data, until the search has found a stable model


def _least_squares(problem: Problem, evaluations: _Evaluations, start: dict, tolerance: float, most: int):
    """One search by lmfit: its parameters carry limits and ties; the derivatives are ours."""
    from lmfit import Minimizer

    def values_of(parameters) -> dict[str, float]:
        return {name: float(parameters[name].value) for name in problem.start}

    def residual(parameters) -> np.ndarray:
        return evaluations(values_of(parameters)).residual

    def derivatives(parameters) -> np.ndarray:
        return jacobian(problem, values_of(parameters), evaluations)

    minimizer = Minimizer(residual, lmfit_parameters(problem.definition, start), calc_covar=False, nan_policy="raise")
    scale = max(problem.degrees_of_freedom, 1)
    found = minimizer.minimize(
        method="least_squares",
        jac=derivatives,
        x_scale="jac",
        ftol=float(np.clip(tolerance / scale, 1e-10, _COARSE)),
        xtol=1e-6,
        gtol=1e-12,
        max_nfev=most,
    )
    return values_of(found.params), bool(found.success), str(found.message)


def _starts(problem: Problem, count: int, spread: float, first: Mapping[str, float]) -> list[dict[str, float]]:
    """A start and others around it, evenly spread."""
    first = dict(first)
    points = [tied(problem.definition, first)]
    for row in quasi_random(count, len(problem.free))[1:]:
        moved = dict(first)
        for name, share in zip(problem.free, row, strict=True):
            limits = problem.definition.parameters[name]
            reach = spread * max(abs(first[name]), 1e-3)
            low, high = max(limits.low, first[name] - reach), min(limits.high, first[name] + reach)
            moved[name] = float(low + share * (high - low))
        points.append(tied(problem.definition, moved))
    return points


def _note_done(log: Path | None, number: int, found: Minimum) -> None:
    if log is not None:
        with open(log, "a", encoding="utf-8") as stream:
            stream.write(json.dumps({"done": number, "minimum": vars(found)}) + "\n")


def _done(log: Path, points: list[dict[str, float]]) -> dict[int, Minimum]:
    """Starts that a log says are done; a last line that was cut short is left out."""
    found: dict[int, Minimum] = {}
    if not log.exists():
        return found
    for line in log.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        if "done" in entry:
            found[entry["done"]] = Minimum(**entry["minimum"])
    for number, minimum in found.items():
        if number < len(points) and minimum.start != points[number]:
            raise InputError(
                f"the log {log} has start {number} at {minimum.start}, and this fit begins at {points[number]}",
                "resume with the model, options and seed of the log, or give another log",
            )
    return found
