"""The evidence for rival models, by nested sampling with dynesty.

The evidence is the likelihood averaged over the prior (J. Skilling, Bayesian Anal. 1, 833 (2006)). Here the prior is
uniform within the limits of the free parameters, so that wider limits lower it, and the likelihood trusts the errors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from .compare import TRUSTED, same_data
from .likelihood import Likelihood, misfit_divisor, needed_for, said_of_divisor
from .result import FitResult

#: Live points, and more for each parameter; what may be left to gain of the logarithm where a run ends.
_LIVE, _LIVE_EACH, _CHANGE = 150, 25, 0.1
_PURPOSE = "the evidence"
#: Differences of the logarithm beyond which the evidence prefers a model: odds of 12 and 150 to 1 (R. E. Kass and A. E.
#: Raftery, J. Am. Stat. Assoc. 90, 773 (1995), table of section 3.2, rounded).
_PREFERRED, _STRONG = 2.5, 5.0

#: Called with the name of a rival, the evaluations so far, the logarithm of its evidence and what may be left of it.
Progress = Callable[[str, int, float, float], None]


@dataclass(frozen=True)
class Evidence:
    """The evidence for one model.

    Parameters
    ----------
    model : str
    logarithm, error : float
        Natural logarithm of the evidence, without a constant that is that of all rivals, and its standard error.
    evaluations : int
    divided_by : float
        What chi-squared was divided by, the same for all rivals.
    """

    model: str
    logarithm: float
    error: float
    evaluations: int
    divided_by: float


def check_limits(definitions: Sequence) -> None:
    """Check before the fits whether the evidence for some models can be worked out.

    Parameters
    ----------
    definitions : sequence of ModelDefinition

    Raises
    ------
    InputError
        If a free parameter has no lower or upper limit.
    DeviceError
        If dynesty is not installed.
    """
    for definition in definitions:
        for name, p in definition.parameters.items():
            if p.vary and p.expression is None and not np.isfinite([p.low, p.high]).all():
                raise InputError(
                    f"the free parameter {name} of the model {definition.name!r} has the limits {p.low:g} to "
                    f"{p.high:g}, and the evidence needs finite ones: they are its prior",
                    "give it min and max in the model's file, or leave --evidence out",
                )
    with needed_for(_PURPOSE):
        import dynesty  # noqa: F401


def evidence_for(
    fits: Sequence[FitResult], *, live: int | None = None, seed: int = 0, progress: Progress | None = None
) -> list[Evidence]:
    """The evidence for fitted models of the same data.

    All have the errors of the bins of the fit with the lowest chi-squared, and chi-squared is divided by its value per
    degree of freedom where that is above 1: a common misfit. Scale and background are at their best for each set of
    parameters, and have no prior.

    Parameters
    ----------
    fits : sequence of FitResult
        Two or more, as for `compare`.
    live : int, optional
        Points that the sampling goes on with; 150 and 25 for each free parameter if not given. Four times as many take
        four times as long and halve the errors.
    seed : int
    progress : callable, optional
        May raise to end the work.

    Returns
    -------
    list of Evidence
        In the order of the fits.

    Raises
    ------
    InputError
        If there are fewer than two fits, they do not have the same data, or a free parameter has no limits.
    DeviceError
        If dynesty is not installed.
    """
    same_data(fits)
    check_limits([f.problem.definition for f in fits])
    best = min(fits, key=lambda f: f.chi_squared)
    divisor = misfit_divisor(best.reduced_chi_squared)
    return [_of_one(f, best, divisor, live, seed, progress) for f in fits]


def _of_one(fitted: FitResult, best: FitResult, divisor: float, live: int | None, seed: int, progress) -> Evidence:
    with needed_for(_PURPOSE):
        from dynesty import NestedSampler
    likelihood = Likelihood(fitted.problem.with_errors_of(best.problem), fitted.values, divisor)
    low, high = likelihood.limits.T
    # From the highest likelihood, which keeps the numbers small; it is put back at the end.
    highest, name = likelihood(likelihood.best), fitted.problem.definition.name
    sampler = NestedSampler(
        lambda point: likelihood(point) - highest,
        lambda share: low + share * (high - low),
        len(low),
        nlive=live or _LIVE + _LIVE_EACH * len(low),
        rstate=np.random.default_rng(abs(seed)),
    )
    for done in sampler.sample(dlogz=_CHANGE, add_live=False):
        if progress is not None:
            progress(name, int(sampler.ncall), float(done.logz) + highest, float(done.delta_logz))
    for _ in sampler.add_live_points():
        pass
    found = sampler.results
    return Evidence(name, float(found.logz[-1]) + highest, float(found.logzerr[-1]), int(np.sum(found.ncall)), divisor)


def evidence_sentences(found: Sequence[Evidence], fits: Sequence[FitResult]) -> list[str]:
    """What the evidence says, and on what condition; to be read after the verdict of the blocks."""
    order = sorted(found, key=lambda e: -e.logarithm)
    best, lines = order[0], []
    for other in order[1:]:
        difference, error = best.logarithm - other.logarithm, float(np.hypot(best.error, other.error))
        if difference - error > _PREFERRED:
            verdict = f"{'strongly ' if difference - error > _STRONG else ''}for {best.model} and against {other.model}"
        else:
            verdict = f"not decided between {best.model} and {other.model}"
        lines.append(f"evidence: {verdict}; its logarithm differs by {difference:.4g} +- {error:.2g}")
    lines.append(
        "  on condition that the limits of the parameters are the prior (uniform), that bins deviate independently, "
        f"with {said_of_divisor(best.divided_by)}, and with scale and background at their best"
    )
    reduced = min(fits, key=lambda f: f.chi_squared).reduced_chi_squared
    if reduced > TRUSTED:
        lines.append(
            f"  note: chi-squared per degree of freedom is {reduced:.3g} for the best model: the likelihood does not "
            "hold, and the evidence alone decides nothing; go by the verdict of the blocks"
        )
    return lines
