"""Checks of the arguments of `Resolution`: each returns the value to use, or an error with the allowed values."""

from __future__ import annotations

import math

import numpy as np

from ..errors import RunFactError
from .catalogue import catalogue
from .choppers import limits

#: Measured values may lie outside the range of a chopper package by this fraction.
TOLERANCE = 0.01


def missing(what: str, allowed: str, option: str, why: str = "") -> RunFactError:
    """The error for a fact of the run that is not known; `why` says what the data say of it."""
    return RunFactError(f"the {what} is not known" + (f" ({why})" if why else ""), f"give it ({option}): {allowed}")


def energy_above_ei(energy: float, ei: float, where: str = "") -> RunFactError:
    """The error for an energy transfer (meV) above the incident energy; `where` says what has it."""
    end = "," if where else ""
    return RunFactError(
        f"{where}an energy transfer of {energy:g} meV{end} lies above the incident energy, {ei:g} meV: a neutron "
        f"cannot lose more energy than it has; transfers up to {ei:g} meV are possible",
        "check --ei, or cut the energy axis",
    )


def within(value: float, low: float, high: float) -> bool:
    """Whether a measured value lies in a range, or outside by no more than `TOLERANCE`."""
    return low * (1 - TOLERANCE) <= value <= high * (1 + TOLERANCE)


def notes_on_ranges(instrument: str, chopper: str, ei: float, frequencies: tuple[float, ...]) -> tuple[str, ...]:
    """Notes on values that lie outside the ranges of a chopper package, within the tolerance."""
    ranges = limits(instrument, chopper)
    checked = [("Ei =", ei, ranges.ei, "meV", f"{instrument} with chopper {chopper}")]
    checked += [
        ("a chopper frequency of", value, limit, "Hz", instrument)
        for value, limit in zip(frequencies, ranges.frequency, strict=False)
    ]
    return tuple(
        f"{what} {value:.6g} {unit} is just outside the range of {of}, {low:g} to {high:g} {unit}: it was used as it is"
        for what, value, (low, high), unit, of in checked
        if not low <= value <= high
    )


def checked_ei(instrument: str, chopper: str, ei) -> float:
    """The incident energy, meV, within the range of the chopper package."""
    low, high = limits(instrument, chopper).ei
    ei = float(ei)
    if not (math.isfinite(ei) and 0 < ei and within(ei, low, high)):
        raise RunFactError(
            f"Ei = {ei:g} meV is outside the range of {instrument} with chopper {chopper}, {low:g} to {high:g} meV",
            "give the incident energy in meV (--ei), or another chopper package (--chopper)",
        )
    return ei


def checked_frequencies(instrument: str, chopper: str, frequency) -> tuple[float, ...]:
    """Frequencies of all driven choppers, Hz: those given, then ResINS' defaults (on LET in proportion)."""
    ranges = limits(instrument, chopper)
    default = ranges.default_frequency
    given = [] if frequency is None else [float(f) for f in np.atleast_1d(frequency)]
    if len(given) > len(default):
        raise RunFactError(
            f"{len(given)} chopper frequencies were given; {instrument} has {len(default)} to set",
            f"give {' and '.join(n.replace('_', ' ') for n in ranges.frequency_names)} in Hz (--frequency)",
        )
    for value, (low, high) in zip(given, ranges.frequency, strict=False):
        if not within(value, low, high):
            raise RunFactError(
                f"a chopper frequency of {value:g} Hz is outside the range of {instrument}, {low:g} to {high:g} Hz",
                "give the frequency in Hz (--frequency)",
            )
    if given and len(given) < len(default) and instrument == "LET":
        given.append(given[0] * default[1] / default[0])  # the pulse remover runs at a fraction of the burst disc
    return tuple(given) + default[len(given) :]


def checked_time_model(instrument: str, model: str | None) -> str:
    """'tobyfit' where Tobyfit has a pulse for the instrument and none is named, otherwise 'pychop'."""
    pulses = ("pychop",) if catalogue()[instrument].tau is None else ("tobyfit", "pychop")
    if model is None:
        return pulses[0]
    if model not in pulses:
        raise RunFactError(
            f"time model {model!r} is not known for {instrument}; it has {' and '.join(pulses)}",
            "use one of them",
        )
    return model


def positive(what: str, value: float) -> float:
    """A finite number above zero."""
    if not (math.isfinite(value) and value > 0):
        raise RunFactError(f"{what} is {value:g}", "give a positive number")
    return float(value)


def not_negative(what: str, value: float) -> float:
    """A finite number, zero or above."""
    if not (math.isfinite(value) and value >= 0):
        raise RunFactError(f"{what} is {value:g}", "give zero or a positive number")
    return float(value)
