"""Numbers as people read them."""

from __future__ import annotations

from collections.abc import Sequence


def digits(value, count: int = 4) -> str:
    """A number with so many significant digits, without an exponent from 0.0001 to 1e15.

    Lists are put in brackets, and what is no float is its text.

    Examples
    --------
    >>> digits(49.925115331692076), digits(123456.7), digits(600.0), digits([4, 1.23456e-7]), digits("S")
    ('49.93', '123457', '600', '[4, 1.235e-07]', 'S')
    """
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(digits(one, count) for one in value)}]"
    if not isinstance(value, float):  # those of NumPy in double precision are
        return str(value)
    return f"{value:.0f}" if 10 ** (count - 1) <= abs(value) < 1e15 else f"{value:.{count}g}"
