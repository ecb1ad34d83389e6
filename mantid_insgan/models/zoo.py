"""Common parts of families of spin-wave and phonon models: priors, draws until a model is stable, held-out families."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np

from .base import ModeModel, UnstableModelError

#: Number of rejected draws after which a family raises an error.
MAX_REJECTED = 200


@dataclass(frozen=True)
class Prior:
    """Prior range of a parameter.

    Parameters
    ----------
    low, high : float
    log : bool
        Whether the prior is uniform in the logarithm.
    relative : bool
        Whether the value is in units of |J1|.
    """

    low: float
    high: float
    log: bool = False
    relative: bool = True

    def draw(self, rng: np.random.Generator) -> float:
        """A value between `low` and `high`."""
        if self.log:
            return float(np.exp(rng.uniform(np.log(self.low), np.log(self.high))))
        return float(rng.uniform(self.low, self.high))


def first_stable(name: str, drawn: Callable[[int], ModeModel]) -> ModeModel:
    """The first stable model of ``drawn(rejected)``, where `rejected` is the number of unstable draws before it.

    Raises
    ------
    UnstableModelError
        If `MAX_REJECTED` draws of the family `name` in a row are unstable.
    """
    for rejected in range(MAX_REJECTED):
        try:
            return drawn(rejected)
        except UnstableModelError:
            continue
    raise UnstableModelError(
        f"{MAX_REJECTED} draws of family {name!r} were all unstable",
        "narrow its priors to the range where it is stable",
    )


def without_held_out(families: Sequence, held_out: Collection[str]) -> tuple[tuple, tuple]:
    """(training families, held-out families): the second have a name in `held_out`."""
    return tuple(f for f in families if f.name not in held_out), tuple(f for f in families if f.name in held_out)
