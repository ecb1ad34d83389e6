"""The facts of a measurement: instrument, incident energy, chopper, temperature and lattice, each with its source.

Units: meV, Hz, Kelvin, Angstrom and degrees.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

import numpy as np

from ..errors import InputError


@dataclass(frozen=True)
class Fact:
    """A fact about the run and its source ('log Ei of experiment0', 'option --ei').

    `replaced` is the fact from another source that this one replaced, or None.
    """

    value: object
    source: str
    replaced: Fact | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, eq=False)
class Lattice:
    """A unit cell and its orientation.

    Parameters
    ----------
    a, b, c : float
        Lattice parameters in Angstrom.
    alpha, beta, gamma : float
        Angles in degrees.
    ub : array_like, shape (3, 3), optional
        UB matrix (Busing and Levy 1967) without the factor 2 pi, as in Mantid.
    """

    a: float
    b: float
    c: float
    alpha: float = 90.0
    beta: float = 90.0
    gamma: float = 90.0
    ub: np.ndarray | None = None

    @property
    def cell(self) -> tuple[float, ...]:
        """The six lattice parameters: a, b, c in Angstrom, alpha, beta, gamma in degrees."""
        return (self.a, self.b, self.c, self.alpha, self.beta, self.gamma)

    def b_matrix(self) -> np.ndarray:
        """Busing-Levy B (their eq. 3), shape (3, 3), in 1/Angstrom **without** 2 pi: q_cartesian = 2 pi B hkl.

        Raises
        ------
        InputError
            If the cell has no volume.
        """
        al, be, ga = np.radians([self.alpha, self.beta, self.gamma])
        volume_squared = (
            1 - np.cos(al) ** 2 - np.cos(be) ** 2 - np.cos(ga) ** 2 + 2 * np.cos(al) * np.cos(be) * np.cos(ga)
        )
        if min(self.a, self.b, self.c) <= 0 or not volume_squared > 1e-12:
            raise InputError(
                f"the lattice a, b, c = {self.a:g}, {self.b:g}, {self.c:g} Angstrom, alpha, beta, gamma = "
                f"{self.alpha:g}, {self.beta:g}, {self.gamma:g} degrees has no volume",
                "give the six lattice parameters of the crystal (--lattice a,b,c,alpha,beta,gamma)",
            )
        root = np.sqrt(volume_squared)
        a_star, b_star, c_star = (
            np.sin(al) / (self.a * root),
            np.sin(be) / (self.b * root),
            np.sin(ga) / (self.c * root),
        )
        cos_be_star = (np.cos(al) * np.cos(ga) - np.cos(be)) / (np.sin(al) * np.sin(ga))
        cos_ga_star = (np.cos(al) * np.cos(be) - np.cos(ga)) / (np.sin(al) * np.sin(be))
        return np.array(
            [
                [a_star, b_star * cos_ga_star, c_star * cos_be_star],
                [0.0, b_star * np.sqrt(1 - cos_ga_star**2), -c_star * np.sqrt(1 - cos_be_star**2) * np.cos(al)],
                [0.0, 0.0, 1.0 / self.c],
            ]
        )


@dataclass(frozen=True)
class Run:
    """The facts of the measurement; an unknown fact is None.

    Parameters
    ----------
    instrument : Fact of str
        Instrument name as in ResINS ('MAPS').
    ei : Fact of float
        Incident energy, meV.
    chopper : Fact of str
        Chopper package ('S', 'High Flux').
    frequency : Fact of float
        Chopper frequency, Hz.
    temperature : Fact of float
        Sample temperature, K.
    lattice : Fact of Lattice
        Unit cell and UB.
    """

    instrument: Fact | None = None
    ei: Fact | None = None
    chopper: Fact | None = None
    frequency: Fact | None = None
    temperature: Fact | None = None
    lattice: Fact | None = None

    def value(self, name: str):
        """The value of a fact, or None."""
        fact = getattr(self, name)
        return None if fact is None else fact.value

    def updated(self, source: str, **values) -> Run:
        """A copy of the run with these facts set; values that are None are ignored."""
        changed = {}
        for name, value in values.items():
            if value is not None:
                old = getattr(self, name)
                changed[name] = Fact(value, source, old.replaced if old is not None and old.source == source else old)
        return replace(self, **changed)


#: Names of the facts of a run, in the order in which missing ones are reported.
RUN_FACTS = tuple(f.name for f in fields(Run))
#: Facts that the resolution needs (and the lattice, if axes are in reciprocal lattice units).
RESOLUTION_FACTS = ("instrument", "ei", "chopper", "frequency")


def required_facts(axes, choppers: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Names of the facts that the resolution of a spectrum needs.

    Parameters
    ----------
    axes : sequence of Axis
        Axes along directions in a crystal need its lattice.
    choppers : tuple of str
        Chopper packages of the instrument, if it is known: if there is only one, it need not be given.
    """
    needed = [name for name in RESOLUTION_FACTS if name != "chopper" or len(choppers) != 1]
    in_crystal = any(axis.is_rlu or axis.projection is not None for axis in axes)
    return (*needed, "lattice") if in_crystal else tuple(needed)
