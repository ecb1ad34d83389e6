"""Several powders that are asked for one model after the other share the momenta at which it is asked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .modes import PowderTable
from .prepared import Prepared


class SharedTable(PowderTable):
    """A powder's table for several convolutions: each model is asked once, as long as all want the same one."""

    _last: tuple[object, PowderTable | None] = (None, None)

    def asked(self, model) -> PowderTable:
        """See `PowderTable.asked`."""
        if self._last[0] is not model:
            self._last = (model, super().asked(model))
        return self._last[1]


def share_powders(prepared: Sequence[Prepared], *, seed: int = 0) -> list[SharedTable]:
    """Let convolutions of powders that began with the same model take their modes from one table, where that pays.

    The table has the smallest step in |Q| and the most directions of those that it replaces, over the range of all, so
    that it is as accurate for each. It is taken where it has fewer momenta than the others together, as those of one
    measurement at several incident energies.

    Parameters
    ----------
    prepared : sequence of Prepared
        Those of crystals, and those that have not begun with a model, stay as they are.
    seed : int
        Of the directions.

    Returns
    -------
    list of SharedTable
        One for each model that convolutions began with, where it was made.
    """
    begun: dict[int, list[Prepared]] = {}
    for one in prepared:
        if one.bins.powder and one.source is not None:
            begun.setdefault(id(one.first), []).append(one)
    made = []
    for members in begun.values():
        tables = [one.source for one in members]
        low, high = min(t.modulus[0] for t in tables), max(t.modulus[-1] for t in tables)
        step, directions = min(t.step for t in tables), max(t.directions for t in tables)
        rows = int(np.ceil((high - low) / step)) + 1
        if len(members) > 1 and rows * directions < sum(t.size for t in tables):
            table = SharedTable(members[0].first, low, high, step, directions, np.random.default_rng([seed, len(made)]))
            for one in members:
                one.take(table)
            made.append(table)
    return made
