"""How long one evaluation of a fit takes, and how near it comes to Monte Carlo: `prepare` beside `convolve`.

    python benchmarks/fitting.py [--without-compiler]

The slice has 100 momenta and 100 energies (K and L integrated over 0.1) of a ladder with four sites. The path has the
five segments of the measurement of La2NiO4 (217 columns of 121 energies), each straight, with the axis across it
integrated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mantid_insgan import Axis, Lattice
from mantid_insgan.instruments import Resolution
from mantid_insgan.models.spinw.zoo import get_family

#: Half of the width of the path across it, r.l.u.
_ACROSS = 0.05


@dataclass(frozen=True)
class Case:
    """Grids that are seen by one resolution, and a model of its couplings.

    Parameters
    ----------
    name : str
    grids : tuple of tuple of Axis
    resolution : Resolution
    family, couplings, options
        Of the model, see `mantid_insgan.models.spinw.zoo.Family.model`.
    """

    name: str
    grids: tuple[tuple[Axis, ...], ...]
    resolution: Resolution
    family: str
    couplings: dict
    options: dict

    def model(self, factor: float = 1.0):
        """The model with its first coupling times a factor."""
        changed = {"J1": self.couplings["J1"] * factor}
        return get_family(self.family).model(self.couplings | changed, lattice=self.resolution.lattice, **self.options)


def _rlu(name: str, low: float, high: float, bins: int) -> Axis:
    return Axis(name, np.linspace(low, high, bins + 1), "r.l.u.", frame="HKL")


def a_slice() -> Case:
    """100 x 100 bins in (H, E)."""
    lattice = Lattice(4.0, 5.0, 6.0)
    axes = (
        _rlu("[H,0,0]", 1.0, 2.5, 100),
        _rlu("[0,K,0]", 0.45, 0.55, 1),
        _rlu("[0,0,L]", -0.05, 0.05, 1),
        Axis("DeltaE", np.linspace(3, 53, 101), "meV"),
    )
    couplings = {"J1": 8.0, "Jrung": 6.0, "Jcross": 0.5, "Jperp": -0.4, "D": -0.3}
    resolution = Resolution("MAPS-2000", 100.0, "S", 300.0, lattice=lattice)
    return Case("slice", (axes,), resolution, "ladder", couplings, {"ion": "Mn2+", "axis": np.array([0, 0, 1.0])})


def a_path() -> Case:
    """The five segments of La2NiO4, seen at one crystal angle with c* along the beam."""
    lattice = Lattice(3.87, 3.87, 12.55)
    energy = Axis("DeltaE", np.linspace(19.5, 140.5, 122), "meV")
    segments = (
        ("[-H,H,0]", -0.25, 0.0, 36, "[H,H,0]", 0.5),
        ("[0,K,0]", 0.0, 0.5, 50, "[H,0,0]", 0.5),
        ("[H,H,0]", 0.25, 0.5, 36, "[H,-H,0]", 0.25),
        ("[H,-H,0]", 0.25, 0.5, 36, "[H,H,0]", 0.5),
        ("[H,0,0]", 0.5, 1.0, 59, "[0,K,0]", 0.0),
    )
    grids = tuple(
        (_rlu(along, low, high, bins), _rlu(across, centre - _ACROSS, centre + _ACROSS, 1), energy)
        for along, low, high, bins, across, centre in segments
    )
    resolution = Resolution(
        "SEQUOIA", 190.0, "SEQ-700-3.5-AST", 360.0, lattice=lattice, orientation=((0, 0, 1), (1, 0, 0))
    )
    quarter = np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1.0]])
    return Case(
        "path",
        grids,
        resolution,
        "square_afm",
        {"J1": 33.0, "J2": 2.3, "J3": 0.0, "Jperp": 0.0, "D": -0.1},
        {"ion": "Ni2+", "axis": np.array([1, 1, 0]) / np.sqrt(2), "domains": [(np.eye(3), 1), (quarter, 1)]},
    )
