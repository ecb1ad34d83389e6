"""A fit: its best values with their errors, how it was found, and what it leaves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from .. import __version__
from ..core.files import check_output, replacing
from ..core.spectrum import Spectrum
from ..errors import InputError
from ..models.base import UnstableModelError
from .minimise import SMOOTHING, Minimum, Progress, Search, minimise
from .posterior import Posterior
from .problem import Problem
from .uncertainty import PROFILES, Uncertainty, check_profile, uncertainty

#: Above this chi-squared per degree of freedom the model does not describe the data within their errors.
_MISFIT = 1.5


@dataclass
class FitResult:
    """What a fit found.

    Attributes
    ----------
    values : dict of str to float
        Every parameter at the best minimum.
    errors : Uncertainty
        Of the free ones.
    chi_squared : float
    degrees_of_freedom : int
    scales : list of float
        Factor on the model, one for each group of datasets.
    search : Search
        Every start, the best first.
    intervals : dict of str to (float, float)
        68 % profile intervals, where they were asked for; an end that MINOS did not find is NaN.
    problem : Problem
    posterior : Posterior, optional
        Draws of the free parameters, where they were asked for (`fit.sampling.sample_posterior`).
    """

    values: dict[str, float]
    errors: Uncertainty
    chi_squared: float
    degrees_of_freedom: int
    scales: list[float]
    search: Search
    problem: Problem = field(repr=False)
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    posterior: Posterior | None = None

    @property
    def reduced_chi_squared(self) -> float:
        """Chi-squared per degree of freedom."""
        return self.chi_squared / self.degrees_of_freedom

    @property
    def stopped(self) -> bool:
        """True where the user stopped the search: the best values so far."""
        return self.search.stopped

    @property
    def notes(self) -> tuple[str, ...]:
        """What a careful user should know."""
        notes = list(self.problem.notes)
        if self.stopped:
            notes.append("the fit was stopped: these are the best values so far, not a minimum")
        elif not self.search.minima[0].converged:
            notes.append(f"the search did not converge: {self.search.minima[0].message}")
        for name in self.errors.at_limit:
            notes.append(f"{name} is at a limit of its range: its error means nothing")
        for name in self.errors.undetermined:
            notes.append(f"the data do not determine {name}")
        if self.reduced_chi_squared > _MISFIT:
            notes.append(
                f"chi-squared per degree of freedom is {self.reduced_chi_squared:.3g}: the model does not describe the "
                "data within their errors, and systematic errors are larger than the statistical ones"
            )
        others = [m for m in self.search.minima[1:] if self._far_away(m)]
        if others:
            notes.append(f"{len(others)} of {len(self.search.minima)} starts ended in another, higher minimum")
        if any(s == 0 for s in self.scales):
            notes.append("the best scale of the model is 0 for at least one dataset: it sees none of the model")
        for name, interval in self.intervals.items():
            if not np.isfinite(interval).all():
                notes.append(f"MINOS did not find both ends of the interval of {name}; --profile-by refit may")
        return (*notes, *(self.posterior.notes if self.posterior is not None else ()))

    def _far_away(self, minimum: Minimum) -> bool:
        """Whether a search ended where a parameter is more than three of its errors from the best."""
        away = [abs(minimum.values[n] - self.values[n]) for n in self.errors.names]
        return any(a > 3 * e for a, e in zip(away, self.errors.scaled, strict=True) if np.isfinite(e))

    def spectra(self) -> list[tuple[Spectrum, Spectrum]]:
        """For each dataset the fit (scale x model + background) and the residual in standard errors."""
        return self.problem.fitted(self.values)

    def rows(self) -> list[dict]:
        """One row for each parameter: name, value, errors, limits; errors are None where it was not free."""
        rows, drawn = [], {} if self.posterior is None else self.posterior.intervals()
        for name, p in self.problem.definition.parameters.items():
            row = {"name": name, "value": self.values[name], "free": name in self.errors.names}
            for kind in ("statistical", "scaled", "misfit"):
                at = self.errors.names.index(name) if row["free"] else None
                row[kind] = None if at is None else float(getattr(self.errors, kind)[at])
            row["interval"] = self.intervals.get(name)
            row["posterior"] = drawn.get(name)
            row["start"], row["low"], row["high"], row["tie"] = p.value, p.low, p.high, p.expression
            rows.append(row)
        return rows

    def as_dict(self) -> dict:
        """Plain values, as `save` writes them."""
        finite = [None if not np.isfinite(x) else float(x) for x in self.errors.correlation.ravel()]
        size = len(self.errors.names)
        return {
            "made_by": f"mantid-insgan {__version__}",
            "model": self.problem.definition.name,
            "datasets": [
                {"name": p.data.name, "bins": p.size, "group": group.name, "scale": scale}
                for group, scale in zip(self.problem.groups, self.scales, strict=True)
                for p in group.parts
            ],
            "parameters": [{k: _plain(v) for k, v in row.items()} for row in self.rows()],
            "correlation": {
                "names": list(self.errors.names),
                "matrix": [finite[i * size : (i + 1) * size] for i in range(size)],
            },
            "chi_squared": self.chi_squared,
            "degrees_of_freedom": self.degrees_of_freedom,
            "reduced_chi_squared": self.reduced_chi_squared,
            "options": self._options(),
            "posterior": None if self.posterior is None else self.posterior.as_dict(),
            "minima": [asdict(m) for m in self.search.minima],
            "evaluations": self.search.evaluations,
            "seconds": self.search.seconds,
            "notes": list(self.notes),
        }

    def _options(self) -> dict:
        names = ("background", "scale", "weights", "loss", "model_error", "shape", "seed", "points")
        engine = self.problem.resolution
        named = engine if isinstance(engine, str) else getattr(engine, "__name__", "callable")
        return {"resolution": named, **{n: getattr(self.problem, n) for n in names}}

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the result as JSON.

        Raises
        ------
        OutputError
            If the file exists and may not be overwritten, or cannot be written.
        """
        path = Path(path)
        check_output(path, overwrite)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(self.as_dict(), indent=1) + "\n", encoding="utf-8")
        return path


def fit(
    problem: Problem,
    *,
    starts: int = 1,
    spread: float = 0.3,
    tolerance: float = 0.1,
    most: int = 200,
    smoothing: float = SMOOTHING,
    corrections: int = 0,
    profile: tuple[str, ...] = (),
    profile_by: str = "refit",
    log: str | Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    workers: int = 1,
    dask: str | None = None,
) -> FitResult:
    """Find the best parameters and their errors.

    Parameters
    ----------
    problem : Problem
    starts, spread, tolerance, most, smoothing, log, resume, progress, workers, dask
        See `minimise`.
    corrections : int
        How often, after the search, what Monte Carlo with the pulses as they are adds to the engine is worked out at
        the best values, put into the model, and the parameters searched again from there (see `Problem.correct`).
        The shapes of pulses move the couplings by more than their errors where there are many counts; two corrections
        are enough.
    profile : tuple of str
        Free parameters whose 68 % profile interval is worked out as well.
    profile_by : {'refit', 'minos'}
        `profile_interval` or `minos_interval`.

    Raises
    ------
    InputError
        As `minimise`; if a parameter to profile is not free, or there is no such way to profile it.
    DeviceError
        If iminuit is needed and not installed.
    UnstableModelError
        If no start has a stable model.
    KeyboardInterrupt
        If the search is stopped before any model was compared.
    """
    if corrections < 0:
        raise InputError(f"{corrections} corrections", "give 0 or more; two are enough")
    check_profile(problem, profile, profile_by)
    search = minimise(
        problem,
        starts=starts,
        spread=spread,
        tolerance=tolerance,
        most=most,
        smoothing=smoothing,
        log=log,
        resume=resume,
        progress=progress,
        workers=workers,
        dask=dask,
    )
    if not search.minima:
        raise KeyboardInterrupt
    for _ in range(0 if search.stopped else corrections):
        search = _corrected(problem, search, tolerance=tolerance, most=most, progress=progress)
    best: Minimum = search.minima[0]
    if problem.evaluate(best.values).stable and problem.reweighted:
        problem.update_errors(best.values)
    evaluation = problem.evaluate(best.values)
    if not evaluation.stable:
        raise UnstableModelError(
            f"no start of {len(search.minima)} has a stable model",
            "change the start values or limits of the parameters, or the magnetic order",
        )
    errors = uncertainty(problem, best.values)
    intervals = {name: PROFILES[profile_by](problem, best.values, name) for name in profile}
    return FitResult(
        best.values,
        errors,
        evaluation.chi_squared,
        problem.degrees_of_freedom,
        evaluation.scales,
        search,
        problem,
        intervals,
    )


def _corrected(problem: Problem, search: Search, **how) -> Search:
    """The search again from its best values, with the model corrected there."""
    best = search.minima[0]
    try:
        problem.correct(best.values)
    except UnstableModelError:
        return search
    again = minimise(problem.holding("", best.values), smoothing=0.0, **how)
    found = again.minima[0] if again.minima else best
    minima = [replace(found, start=best.start), *search.minima[1:]]
    evaluations, seconds = search.evaluations + again.evaluations, search.seconds + again.seconds
    return Search(minima, again.stopped, evaluations, seconds)


def _plain(value):
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def read_fit(path: str | Path) -> Mapping:
    """What `FitResult.save` wrote, as plain values.

    Raises
    ------
    InputError
        If the file is no result of a fit.
    """
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
        if "parameters" not in found or "chi_squared" not in found:
            raise KeyError("parameters")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is no result of a fit ({error})", "give a file that `insgan fit` wrote") from error
    return found
