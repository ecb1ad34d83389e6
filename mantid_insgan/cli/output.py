"""Printed output of the commands."""

from __future__ import annotations

from collections.abc import Iterable


def noted(notes: Iterable[str]) -> list[str]:
    """A line for each note under the result of a command."""
    return [f"  note: {note}" for note in notes]
