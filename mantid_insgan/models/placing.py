"""A model and a measurement in one unit cell."""

from __future__ import annotations

from ..core.run import Lattice, Run
from ..errors import InputError

#: Largest difference between the cells of model and data, as a share of each length and angle.
SAME_CELL = 0.02
#: Temperatures of model and data that differ by more than this share of the data's, or of 1 K, are noted.
_SAME_TEMPERATURE = 0.02


def run_in_cell(definition, run: Run) -> Run:
    """The facts of a run with a lattice: its own, or that of a model where it has none.

    Parameters
    ----------
    definition : ModelDefinition
    run : Run

    Raises
    ------
    InputError
        If both have a lattice and these differ by more than `SAME_CELL`: momenta in r.l.u. would mean different things.
    """
    found: Lattice | None = run.value("lattice")
    if found is None:
        return run.updated(f"model {definition.name}", lattice=definition.lattice)
    off = max(abs(one / other - 1) for one, other in zip(found.cell, definition.lattice.cell, strict=True))
    if off > SAME_CELL:
        raise InputError(
            f"the unit cell of the model {definition.name!r} is {_shown(definition.lattice)} and that of the data is "
            f"{_shown(found)} ({run.lattice.source}): they differ by {off:.1%}, at most {SAME_CELL:.0%} is expected",
            "write the model in the cell of the data, or give the cell that the r.l.u. of the data mean (--lattice)",
        )
    return run


def notes_on_temperature(model: float | None, run: Run) -> tuple[str, ...]:
    """A note if model and data are at different temperatures (K); none where either is not known."""
    data = run.value("temperature")
    if model is None or data is None or abs(model - data) <= _SAME_TEMPERATURE * max(data, 1.0):
        return ()
    where = "temperature in its file, 5 if it gives none"
    return (f"the data are at {data:g} K and the model is at {model:g} K ({where})",)


def _shown(lattice: Lattice) -> str:
    return ",".join(f"{x:.5g}" for x in lattice.cell)
