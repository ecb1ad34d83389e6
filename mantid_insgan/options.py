"""Names, defaults and help texts of the main job's options, stated once for command line, Python and Mantid."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields

from .errors import RunFactError
from .spectrum import Lattice, Run


def _option(default, text: str, flag: str):
    return field(default=default, metadata={"help": text, "flag": flag})


@dataclass(frozen=True)
class ApplyOptions:
    """Options of applying a model; the metadata of each field hold its help text and its flag on the command line.

    Run facts that are None are taken from the file; one that is given wins over the file.
    """

    direction: str = _option(
        "remove-resolution", "add-resolution (to a simulation) or remove-resolution (from data).", "--direction"
    )
    model: str | None = _option(None, "Bundled model by name, or a .onnx file with its card beside it.", "--model")
    instrument: str | None = _option(None, "Spectrometer, e.g. MAPS, MERLIN, LET.", "--instrument")
    ei: float | None = _option(None, "Incident energy in meV.", "--ei")
    chopper: str | None = _option(None, "Chopper package of the instrument, e.g. S, A, G.", "--chopper")
    frequency: float | None = _option(None, "Chopper frequency in Hz.", "--frequency")
    lattice: str | None = _option(None, "Unit cell a,b,c,alpha,beta,gamma in Angstrom and degrees.", "--lattice")
    width_factor: float = _option(
        1.0, "Factor on the calculated widths, e.g. from a vanadium run; 1 takes them as they are.", "--width-factor"
    )
    device: str = _option("auto", "auto, cpu or cuda; cuda never falls back to the CPU.", "--device")

    def run(self, run: Run) -> Run:
        """`run` with the facts that were given as options.

        Raises
        ------
        RunFactError
            If the lattice does not parse.
        """
        for name in ("instrument", "ei", "chopper", "frequency"):
            run = run.updated(
                f"option {self.__dataclass_fields__[name].metadata['flag']}", **{name: getattr(self, name)}
            )
        return run.updated("option --lattice", lattice=parse_lattice(self.lattice))

    def given(self) -> dict[str, object]:
        """The options that differ from their defaults, for the history of the output."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}


def parse_lattice(text: str | None) -> Lattice | None:
    """``'4.2,4.2,13.8,90,90,90'`` (or three lengths alone: right angles) as a Lattice.

    Raises
    ------
    RunFactError
        If it is not three or six numbers.
    """
    if text is None:
        return None
    try:
        numbers = [float(x) for x in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (3, 6) or not all(map(math.isfinite, numbers)):
        raise RunFactError(
            f"the lattice {text!r} is not three or six finite numbers with commas",
            "give --lattice a,b,c,alpha,beta,gamma in Angstrom and degrees, e.g. --lattice 4.2,4.2,13.8,90,90,90",
        )
    return Lattice(*numbers)
