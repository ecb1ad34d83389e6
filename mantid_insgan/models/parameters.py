"""Parameters of a model: start value, limits, and ties to other parameters."""

from __future__ import annotations

import ast
import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from ..errors import DeviceError, InputError

#: Parameters of the convolution, which no model uses: intrinsic FWHM in meV, factor on the resolution's widths.
LINE, WIDTH_FACTOR = OF_THE_CONVOLUTION = ("line", "width_factor")
#: The factor on all mode energies; every model has it.
ENERGY_FACTOR = "energy_factor"
_ARITHMETIC = (
    *(ast.Expression, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Call, ast.Name, ast.Constant),
    *(ast.operator, ast.unaryop, ast.boolop, ast.cmpop, ast.expr_context),
)


@dataclass(frozen=True)
class Parameter:
    """A number that a model depends on.

    Parameters
    ----------
    name : str
        A Python identifier.
    value : float
        Where a fit starts, or the value if it is fixed. Energies in meV.
    low, high : float
        Limits of a fit.
    vary : bool
        False for a fixed value.
    expression : str, optional
        A tie to other parameters, in the syntax of lmfit (asteval): '0.1 * J'. It takes the place of the value.

    Raises
    ------
    InputError
        If the name is not an identifier, or the value is not a finite number within the limits.
    """

    name: str
    value: float = math.nan
    low: float = -math.inf
    high: float = math.inf
    vary: bool = True
    expression: str | None = None

    def __post_init__(self):
        if not self.name.isidentifier():
            raise InputError(
                f"the parameter {self.name!r} has a name that no expression can use",
                "use letters, digits and underscores, as in J1",
            )
        if not self.low < self.high:
            raise InputError(
                f"the parameter {self.name} has the limits {self.low:g} and {self.high:g}, expected low < high",
                "give a min below the max",
            )
        if self.expression is None and not (math.isfinite(self.value) and self.low <= self.value <= self.high):
            raise InputError(
                f"the parameter {self.name} starts at {self.value:g}, expected a number from {self.low:g} to "
                f"{self.high:g}",
                "give a start within the limits",
            )

    @property
    def free(self) -> bool:
        """True if a fit may change it."""
        return self.vary and self.expression is None


def with_energy_factor(parameters: Mapping[str, Parameter]) -> dict[str, Parameter]:
    """The parameters, and `energy_factor` fixed at 1 if it is not among them."""
    return dict(parameters) | {
        ENERGY_FACTOR: parameters.get(ENERGY_FACTOR) or Parameter(ENERGY_FACTOR, 1.0, vary=False)
    }


def changed(parameters: Mapping[str, Parameter], values: Mapping[str, float]) -> dict[str, Parameter]:
    """The parameters with other starts; limits that do not hold a start move to it.

    Raises
    ------
    InputError
        If a name is unknown, or that of a tied parameter.
    """
    made = dict(parameters)
    for name, value in values.items():
        old = made.get(name) or unknown(name, parameters)
        if old.expression is not None:
            raise InputError(
                f"the parameter {name} was given the value {value:g}, but it is tied to {old.expression!r}",
                "give the parameters that it is tied to, or take the tie away",
            )
        made[name] = replace(old, value=value, low=min(old.low, value), high=max(old.high, value))
    return made


def unknown(name: str, known: Iterable[str], what: str = "parameter"):
    """Raise the error for a name that is not among the known ones; the nearest of them is suggested."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1)
    raise InputError(
        f"there is no {what} {name!r}; there are {', '.join(known) or 'none'}",
        f"write {near[0]!r}, or define {name!r}" if near else f"use one of these, or define {name!r}",
    )


def resolved(parameters: Mapping[str, Parameter], values: Mapping[str, float] | None = None) -> dict[str, float]:
    """The value of every parameter: those given, the others at their starts, and the tied ones worked out.

    Values given for tied parameters, and for those of the convolution that are not defined, are left aside.

    Raises
    ------
    InputError
        If a name is unknown, a value is not finite, or a tie cannot be worked out.
    """
    found = {name: p.value for name, p in parameters.items() if p.expression is None}
    for name, value in (values or {}).items():
        if name not in parameters and name not in OF_THE_CONVOLUTION:
            unknown(name, parameters)
        if name in found:
            found[name] = float(value)
    wrong = [name for name, value in found.items() if not math.isfinite(value)]
    if wrong:
        raise InputError(f"the parameter {wrong[0]} is {found[wrong[0]]}, expected a finite number", "give a number")
    tied = {name: p.expression for name, p in parameters.items() if p.expression is not None}
    for name in _order(tied, parameters):
        found[name] = _evaluated(name, tied[name], found)
    return found


def names_in(expression: str, known: Iterable[str] = ()) -> frozenset[str]:
    """Names of parameters in an expression; functions and constants of asteval are left out, unless they are `known`.

    Raises
    ------
    InputError
        If it is no formula of numbers, names and functions of them.
    """
    remedy = "write it as in '0.1 * J' or 'sqrt(J1 * J2)'"
    try:
        tree = ast.parse(expression, mode="eval")
    except SyntaxError as problem:
        raise InputError(f"the tie {expression!r} cannot be read ({problem.msg})", remedy) from problem
    # A model's file may come from anyone: nothing but arithmetic is let through.
    strange = [node for node in ast.walk(tree) if not isinstance(node, _ARITHMETIC) or _is_text(node)]
    if strange:
        raise InputError(
            f"the tie {expression!r} contains a {type(strange[0]).__name__}, expected a formula of numbers, names and "
            "functions",
            remedy,
        )
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return frozenset(names - (_symbols().keys() - set(known)))


def _order(tied: Mapping[str, str], parameters: Mapping[str, Parameter]) -> list[str]:
    """Names of tied parameters, each after those that it depends on."""
    return list(_ordered(tuple(tied.items()), frozenset(parameters)))


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and not isinstance(node.value, int | float)


@cache
def _ordered(tied: tuple[tuple[str, str], ...], known: frozenset[str]) -> tuple[str, ...]:
    waiting = {name: names_in(expression, known) for name, expression in tied}
    for name, expression in tied:
        missing = sorted(waiting[name] - known)
        if missing:
            raise InputError(
                f"the tie {name} = {expression!r} uses {missing[0]!r}, which is no parameter; there are "
                f"{', '.join(sorted(known))}",
                f"correct the name, or define {missing[0]!r}",
            )
    done: list[str] = []
    while waiting:
        ready = [name for name, needs in waiting.items() if not needs & waiting.keys()]
        if not ready:
            raise InputError(
                f"the ties of {', '.join(sorted(waiting))} lead round in a circle",
                "give one of these parameters a value",
            )
        done += ready
        waiting = {name: needs for name, needs in waiting.items() if name not in ready}
    return tuple(done)


def _evaluated(name: str, expression: str, values: Mapping[str, float]) -> float:
    interpreter = _interpreter()
    interpreter.symtable = {**_symbols(), **values}
    with np.errstate(all="ignore"):  # what is not finite is refused below
        result = interpreter(expression, show_errors=False)
    problems = "".join(f" ({' '.join(str(e.get_error()[1]).split())})" for e in interpreter.error)
    try:
        value = float(result)
    except (TypeError, ValueError):
        value = math.nan
    if interpreter.error or not math.isfinite(value):
        interpreter.error = []
        raise InputError(
            f"the tie {name} = {expression!r} gives {result!r}{problems}, expected a finite number",
            "correct the expression, or keep its parameters where it has a value",
        )
    return value


@cache
def _interpreter():
    """asteval's interpreter without its statements that could do more than arithmetic."""
    try:
        from asteval import Interpreter
    except ImportError as problem:
        raise DeviceError(
            "ties between parameters need asteval, which is not installed", "pip install 'mantid-insgan[spinw]'"
        ) from problem
    return Interpreter(minimal=True)


@cache
def _symbols() -> dict[str, object]:
    """Functions and constants of asteval, by name."""
    return dict(_interpreter().symtable)
