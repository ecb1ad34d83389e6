"""Sums of parameters with factors, and matrices of them, as they stand in a model's file."""

from __future__ import annotations

import ast
from collections.abc import Mapping

import numpy as np

from ..errors import InputError

#: A number or matrix as a function of parameters: factors by name, and the constant part under None.
Terms = dict[str | None, np.ndarray]

_REMEDY = "write a name, a number, or a sum as in 'J - 0.5 * K'; give a parameter a tie for more"


def scalar(entry: object, where: str) -> dict[str | None, float]:
    """The terms of a number, a name or a linear expression.

    Raises
    ------
    InputError
        If it is something else; `where` names the key.
    """
    if isinstance(entry, int | float) and not isinstance(entry, bool):
        return {None: float(entry)}
    if isinstance(entry, str):
        try:
            return _linear(ast.parse(entry.strip(), mode="eval").body)
        except (SyntaxError, _NotLinear) as problem:
            hint = "; energies are numbers in meV, without a unit" if entry[:1].isdigit() else ""
            raise InputError(f"{where} is {entry!r}, expected a linear expression{hint}", _REMEDY) from problem
    raise InputError(f"{where} is {entry!r}, expected a number or the name of a parameter", _REMEDY)


def vector(entries: object, where: str) -> Terms:
    """The terms of three numbers or names, shape (3,) each."""
    if not isinstance(entries, list | tuple) or len(entries) != 3:
        raise InputError(f"{where} is {entries!r}, expected three numbers or names", "give it as [x, y, z]")
    return _stacked([scalar(entry, where) for entry in entries], (3,))


def matrix(entry: object, where: str) -> Terms:
    """The terms of an exchange matrix, shape (3, 3) each.

    A number or name is isotropic; three rows are a matrix; {dm: [x, y, z]} is antisymmetric; a list of these is a sum.
    """
    from .spinw.build import dzyaloshinskii_moriya

    if isinstance(entry, Mapping):
        if set(entry) != {"dm"}:
            raise InputError(f"{where} has the keys {sorted(map(str, entry))}, expected dm", "write {dm: [x, y, z]}")
        return {name: dzyaloshinskii_moriya(v) for name, v in vector(entry["dm"], f"{where}.dm").items()}
    if not isinstance(entry, list | tuple):
        return {name: value * np.eye(3) for name, value in scalar(entry, where).items()}
    if any(isinstance(row, list | tuple) for row in entry):
        if len(entry) == 3 and all(isinstance(row, list | tuple) and len(row) == 3 for row in entry):
            return _stacked([scalar(number, where) for row in entry for number in row], (3, 3))
        raise InputError(f"{where} is {entry!r}, expected three rows of three", "give [[xx, xy, xz], [...], [...]]")
    return added(*(matrix(term, where) for term in entry))


def added(*several: Terms) -> Terms:
    """The sum of terms."""
    total: Terms = {}
    for terms in several:
        for name, value in terms.items():
            total[name] = total[name] + value if name in total else value
    return total


def _stacked(entries: list[dict[str | None, float]], shape: tuple[int, ...]) -> Terms:
    names = {name: None for entry in entries for name in entry}
    return {name: np.array([entry.get(name, 0.0) for entry in entries]).reshape(shape) for name in names}


class _NotLinear(ValueError):
    pass


def _linear(node: ast.expr) -> dict[str | None, float]:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return {None: float(number)}
        case ast.Name(id=name):
            return {name: 1.0}
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=operand):
            return _times(_linear(operand), -1.0 if isinstance(sign, ast.USub) else 1.0)
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() as sign, right=right):
            return added(_linear(left), _times(_linear(right), -1.0 if isinstance(sign, ast.Sub) else 1.0))
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            first, second = _linear(left), _linear(right)
            return _times(second, _number(first)) if set(first) == {None} else _times(first, _number(second))
        case ast.BinOp(left=left, op=ast.Div(), right=right) if _number(_linear(right)) != 0:
            return _times(_linear(left), 1 / _number(_linear(right)))
    raise _NotLinear


def _times(terms: dict[str | None, float], factor: float) -> dict[str | None, float]:
    return {name: factor * value for name, value in terms.items()}


def _number(terms: dict[str | None, float]) -> float:
    if set(terms) != {None}:
        raise _NotLinear
    return terms[None]
