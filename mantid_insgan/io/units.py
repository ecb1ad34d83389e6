"""Units of files, converted to ours: meV, 1/Angstrom, Hz, K and m. Outputs keep the units of their file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np

from ..core.spectrum import Axis, Spectrum
from ..errors import InputError

#: Names of our own units in files, without blanks and in lower case; Mantid's ids are among them.
_OURS = {
    "meV": {"mev", "deltae", "energy", "energytransfer", "energy_transfer", "millielectronvolt"},
    "Angstrom^-1": {"momentumtransfer", "1/angstrom", "angstrom^-1", "1/a", "a^-1", "1/å", "å^-1"},
    "Hz": {"hz", "hertz", "1/s", "s^-1"},
    "K": {"k", "kelvin"},
    "m": {"m", "metre", "metres", "meter", "meters"},
}
#: Other names that the units library does not know.
_ALIASES = {
    "deltae_inwavenumber": "1/cm",
    "energy_inwavenumber": "1/cm",
    "deltae_infrequency": "GHz",
    "rpm": "1/minute",
    "c": "degC",
    "degc": "degC",
    "celsius": "degC",
}
#: Angstrom as files write it; the library takes A for ampere.
_ANGSTROM = re.compile(r"\\AA|\b(?:Angstroms?|Ang|A)(?![A-Za-z])|[ÅÅ]", re.IGNORECASE)
_POWER = re.compile(r"(?<=[A-Za-z])-(?=\d)")
_ENERGY, _FREQUENCY, _WAVENUMBER, _TEMPERATURE = "[energy]", "1 / [time]", "1 / [length]", "[temperature]"
_LENGTH = "[length]"
#: Quantities that are proportional to ours.
_PROPORTIONAL = {
    "meV": {_ENERGY, _FREQUENCY, _WAVENUMBER, _TEMPERATURE},
    "Angstrom^-1": {_WAVENUMBER},
    "Hz": {_FREQUENCY},
    "K": {_TEMPERATURE},
    "m": {_LENGTH},
}
#: Unit of an axis whose name says nothing.
_AXIS_OF = {_ENERGY: "meV", _FREQUENCY: "meV", _WAVENUMBER: "Angstrom^-1"}
_EXPECTED = {
    "meV": "an energy such as meV, eV, ueV, THz, GHz, 1/cm or K",
    "Angstrom^-1": "an inverse length such as 1/Angstrom or 1/nm",
    "Hz": "a frequency such as Hz or rpm",
    "K": "a temperature in K or degC",
    "m": "a length such as m or mm",
}


def is_ours(unit: str, ours: str) -> bool:
    """Whether a file's name of a unit is one of the names of our own."""
    return "".join(unit.split()).lower() in _OURS[ours]


def converted(values, unit: str, ours: str):
    """Values in one of our units.

    Parameters
    ----------
    values : float or ndarray
    unit : str
        As the file writes it; '' for our own.
    ours : {'meV', 'Angstrom^-1', 'Hz', 'K', 'm'}
        For an energy also a frequency f (E = h f), a wavenumber (E = h c k) or a temperature (E = k_B T).

    Raises
    ------
    InputError
        If the unit is not known or measures something else.
    """
    if not unit.strip() or is_ours(unit, ours):
        return values
    found = _quantity(values, unit)
    if found is not None and any(map(found.check, _PROPORTIONAL[ours])):
        return found.to(_ANGSTROM.sub("angstrom", ours), "spectroscopy", "boltzmann").magnitude
    raise InputError(
        f"the unit {unit!r} is not known here, expected {_EXPECTED[ours]}",
        f"convert the data to {ours} in Mantid and save them again",
    )


@cache
def _registry():
    # imported here because it takes about a second, and most files have our own units
    import pint

    return pint.UnitRegistry()


def _quantity(values, unit: str):
    """The values with their unit, or None if the library does not know it, or takes it for an angular frequency."""
    import pint

    spelled = unit.strip()
    spelled = _ALIASES.get(spelled.lower(), spelled)
    try:
        found = _registry().Quantity(
            np.asarray(values, dtype=float), _POWER.sub("^-", _ANGSTROM.sub("angstrom", spelled))
        )
    except (pint.PintError, TypeError, ValueError, AttributeError, SyntaxError, AssertionError):
        return None
    # a radian has no dimension for the library: 1 rad/s would count as 1 Hz
    _, root = _registry().get_root_units(found.units)
    return None if "radian" in str(root) else found


def in_our_units(axes: Sequence[Axis], names: Sequence[str] | None = None) -> tuple[tuple[Axis, ...], tuple[str, ...]]:
    """Axes in our units (`axis_in_our_units`), and notes.

    Parameters
    ----------
    axes : sequence of Axis
    names : sequence of str, optional
        In place of the names that the axes have.

    Raises
    ------
    InputError
        If the unit of an axis of energy or momentum is not known, or there are not as many names as axes.
    """
    if names is not None:
        if len(names) != len(axes):
            raise InputError(
                f"{len(names)} names of axes were given ({'; '.join(names)}), and there are {len(axes)} axes: "
                f"{'; '.join(a.name for a in axes)}",
                "give one name for each axis, separated by semicolons (--axes)",
            )
        axes = [replace(axis, name=name) for axis, name in zip(axes, names, strict=True)]
    found, notes = zip(*map(axis_in_our_units, axes), strict=True)
    return found, tuple(note for some in notes for note in some)


def axis_in_our_units(axis: Axis) -> tuple[Axis, tuple[str, ...]]:
    """An axis of energy in meV, or of momentum in 1/Angstrom, with a note if it was converted.

    The axis remembers the unit of the file (`Axis.file_unit`). Axes in reciprocal lattice units, and those that are
    neither energy nor momentum, are left as they are.

    Raises
    ------
    InputError
        If the unit of an axis of energy or momentum is not known.
    """
    ours = _unit_for(axis)
    if ours is None or not axis.unit.strip() or is_ours(axis.unit, ours):
        return axis, ()
    try:
        factor = float(converted(1.0, axis.unit, ours))
    except InputError as problem:
        raise InputError(f"axis {axis.name!r}: {problem.reason}", problem.fix) from problem
    new = replace(axis, edges=axis.edges * factor, unit=ours, file_unit=axis.unit, file_factor=1 / factor)
    return new, (f"axis {axis.name!r} is in {axis.unit} in the file: it was converted to {ours} (times {factor:.6g})",)


def spectrum_in_our_units(spectrum: Spectrum, names: Sequence[str] | None = None) -> Spectrum:
    """A spectrum with its axes `in_our_units`, and notes in its run; errors as there."""
    axes, notes = in_our_units(spectrum.axes, names)
    return spectrum if axes == spectrum.axes else spectrum.replace(axes=axes, run=spectrum.run.noted(*notes))


def _unit_for(axis: Axis) -> str | None:
    """The unit that an axis is to have; None if it is to be left as it is."""
    if axis.is_energy:
        return "meV"
    if axis.is_rlu or axis.projection is not None:
        return None
    if axis.is_modulus_q or axis.frame in ("QSample", "QLab") or is_ours(axis.unit, "Angstrom^-1"):
        return "Angstrom^-1"
    found = _quantity(1.0, axis.unit) if axis.unit.strip() else None
    return next((ours for kind, ours in _AXIS_OF.items() if found is not None and found.check(kind)), None)
