"""Which of some rival models the data prefer: each refitted, and the difference of chi-squared with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from .result import FitResult

#: Draws of the resampling, and the share of them inside the interval.
DRAWS, INTERVAL = 5000, 0.95
#: Above this chi-squared per degree of freedom criteria such as AIC, which trust the errors, are not given.
TRUSTED = 1.5


@dataclass(frozen=True)
class Comparison:
    """A rival against the best model.

    Parameters
    ----------
    best, rival : str
        Names of the models.
    difference : float
        Chi-squared of the rival less that of the best.
    interval : (float, float)
        95 % of the differences when blocks of the data are drawn anew.
    share : float
        Share of the draws in which the rival is the better one.
    blocks : int
        Blocks that were drawn from.
    aic : float or None
        Difference of Akaike's criterion; None where chi-squared per degree of freedom is above 1.5, because it then
        means nothing.
    """

    best: str
    rival: str
    difference: float
    interval: tuple[float, float]
    share: float
    blocks: int
    aic: float | None

    @property
    def decided(self) -> bool:
        """True where the interval does not hold 0."""
        return self.interval[0] > 0

    def sentence(self) -> str:
        """The verdict in words."""
        low, high = self.interval
        if self.decided:
            verdict = f"the data prefer {self.best} to {self.rival}"
        else:
            verdict = f"the data do not decide between {self.best} and {self.rival}"
        return (
            f"{verdict}: chi-squared differs by {self.difference:.4g}, 95 % interval {low:.4g} to {high:.4g} from "
            f"{self.blocks} blocks drawn anew"
        )


def compare(fits: Sequence[FitResult], *, block: int = 5, draws: int = DRAWS, seed: int = 0) -> list[Comparison]:
    """Compare fitted models of the same data.

    Neighbouring bins share what a model misses, so that whole blocks of bins are drawn, with replacement (H. R. Kunsch,
    Ann. Stat. 17, 1217 (1989)); the fits are not repeated for each draw.

    Parameters
    ----------
    fits : sequence of FitResult
        Two or more, of the same datasets, bins and weights.
    block : int
        Bins along each axis of a block: take it wider than the resolution and than what a model misses.
    draws, seed : int

    Returns
    -------
    list of Comparison
        Each rival against the best, in the order of chi-squared.

    Raises
    ------
    InputError
        If there are fewer than two fits, or they do not have the same bins.
    """
    same_data(fits)
    if block < 1 or draws < 100:
        raise InputError(f"blocks of {block} bins and {draws} draws", "give blocks of 1 or more and 100 draws or more")
    order = sorted(fits, key=lambda f: f.chi_squared)
    numbers = order[0].problem.blocks(block)
    sums = [_by_block(f, order[0], numbers) for f in order]
    return [_compared(order[0], f, sums[0], s, draws, seed) for f, s in zip(order[1:], sums[1:], strict=True)]


def same_data(fits: Sequence[FitResult]) -> None:
    """Raise InputError if there are fewer than two fits, or they do not have the same bins."""
    if len(fits) < 2:
        raise InputError(f"{len(fits)} fits to compare", "give two or more")
    first = fits[0].problem.groups
    same = all(
        len(f.problem.groups) == len(first)
        and all(np.array_equal(p.signal, q.signal) for p, q in zip(first, f.problem.groups, strict=True))
        for f in fits[1:]
    )
    if not same:
        bins = ", ".join(str(f.problem.bins) for f in fits)
        raise InputError(f"the fits have {bins} bins and not all the same data", "fit the same data with each")


def _by_block(fitted: FitResult, best: FitResult, numbers: np.ndarray) -> np.ndarray:
    """Chi-squared of each block, with the errors of the best fit."""
    problem = fitted.problem.with_errors_of(best.problem)
    return np.bincount(numbers, problem.evaluate(fitted.values).residual ** 2)


def drawn_anew(differences: np.ndarray, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """Sums of differences of chi-squared by block (B,), when blocks are drawn with replacement: shape (draws,)."""
    rng, count = np.random.default_rng(seed), len(differences)
    return np.array([differences[rng.integers(0, count, count)].sum() for _ in range(draws)])


def _compared(best: FitResult, rival: FitResult, mine, theirs, draws: int, seed: int) -> Comparison:
    difference = theirs - mine
    drawn, count = drawn_anew(difference, draws, seed), len(difference)
    low, high = np.quantile(drawn, [(1 - INTERVAL) / 2, (1 + INTERVAL) / 2])
    aic = None
    if best.reduced_chi_squared <= TRUSTED:
        aic = float(difference.sum() + 2 * (len(rival.errors.names) - len(best.errors.names)))
    names = (best.problem.definition.name, rival.problem.definition.name)
    return Comparison(*names, float(difference.sum()), (float(low), float(high)), float((drawn < 0).mean()), count, aic)
