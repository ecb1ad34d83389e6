"""Loops that numba compiles, where it is installed."""

from __future__ import annotations

from importlib import import_module


def loops_of(module: str):
    """The function ``by_loops`` of a module of this folder that imports numba; None where numba is not installed."""
    try:
        return import_module(f".{module}", __package__).by_loops
    except ImportError as missing:
        if missing.name != "numba":
            raise
        return None
