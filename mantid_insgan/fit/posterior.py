"""Draws from the posterior of the free parameters: what they say, and their file."""

from __future__ import annotations

import functools
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.files import replacing
from ..errors import InputError
from .likelihood import needed_for, said_of_divisor

#: Above this R-hat of a parameter the chains have not converged (A. Gelman and D. B. Rubin, Stat. Sci. 7, 457 (1992)).
CONVERGED = 1.1
#: Shares of the draws inside the intervals: one and about two standard errors of a Gaussian.
LEVELS = {"68": 0.6827, "95": 0.95}
#: What needs bumps, as errors say it.
PURPOSE = "the posterior"
_FORMAT = 1


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
        with needed_for(PURPOSE):
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
