"""A scan of a crystal rotated in steps: its nxspe files, binned to h, k, l and energy transfer.

Frames and signs are those of Mantid: z along the beam, y up; Q = ki - kf; u along the beam at psi = 0 and v in the
horizontal plane (SetUB); psi rotates the crystal anticlockwise seen from above (SetGoniometer with Axis0 =
psi,0,1,0,1, which LoadNXSPE sets).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..core.constants import HBAR2_OVER_2M
from ..core.options import parse_lattice
from ..core.run import RESOLUTION_FACTS, Lattice, Run, same_setting
from ..core.spectrum import Axis, Spectrum, energy_axis
from ..errors import InputError, RunFactError
from ..instruments.frames import Orientation
from .nxspe import CrystalRun, read_crystal_run

#: Pixels (detector, energy bin) that are processed at a time.
CHUNK = 2_000_000
#: Largest difference of Ei between the runs of a scan, relative to Ei.
SAME_EI = 0.01
#: Mantid's SpecialCoordinateSystem for h, k, l.
HKL = 3

_EXAMPLE = "such as '[H,0,0],-2,2,80', '[0,0,L],-0.1,0.1,1' and 'DeltaE,0,40,80'"


@dataclass(frozen=True, eq=False)
class Setting:
    """Lattice and mounting of the crystal.

    Parameters
    ----------
    lattice : Lattice
    u, v : tuple of 3 float
        (h, k, l) along the beam at psi = 0, and another in the horizontal plane.
    psi_offset : float
        Added to the psi of each run, degrees.

    Raises
    ------
    InputError
        If the unit cell has no volume.
    RunFactError
        If u and v are parallel or zero.
    """

    lattice: Lattice
    u: tuple[float, float, float]
    v: tuple[float, float, float]
    psi_offset: float = 0.0

    def __post_init__(self):
        self.oriented()

    @classmethod
    def parsed(cls, lattice: str, u, v, psi_offset: float = 0.0) -> Setting:
        """From text as on the command line: ``Setting.parsed("4,4,6", "1,0,0", "0,1,0")``.

        Raises
        ------
        RunFactError
            If one of them cannot be parsed.
        """
        return cls(parse_lattice(lattice), parse_direction("u", u), parse_direction("v", v), float(psi_offset))

    def oriented(self) -> Lattice:
        """The lattice with its UB matrix at psi = 0."""
        rotation = Orientation(self.u, self.v).rotation(self.lattice)
        return replace(self.lattice, ub=rotation @ self.lattice.b_matrix())

    def to_hkl(self, psi: float) -> np.ndarray:
        """Matrix that converts Q in the lab (1/Angstrom) to (h, k, l) at an angle in degrees, shape (3, 3)."""
        angle = np.radians(psi + self.psi_offset)
        turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
        return np.linalg.inv(2 * np.pi * turn @ self.oriented().ub)


def parse_direction(name: str, given) -> tuple[float, float, float]:
    """``'1,1,0'``, or three numbers, as (h, k, l); `name` is that of the option.

    Raises
    ------
    RunFactError
        If they are not three finite numbers.
    """
    try:
        values = tuple(float(x) for x in (given.split(",") if isinstance(given, str) else given))
    except (TypeError, ValueError):
        values = ()
    if len(values) != 3 or not np.isfinite(values).all():
        raise RunFactError(f"{name} is {given!r}, expected three numbers h,k,l", f"give --{name} such as 1,1,0")
    return values


def parse_angles(text: str | None) -> list[float] | None:
    """``'0,1.5,3'`` as numbers.

    Raises
    ------
    RunFactError
        If one of them is not a number.
    """
    try:
        return None if text is None else [float(x) for x in text.split(",")]
    except ValueError:
        raise RunFactError(
            f"the angles {text!r} are not numbers separated by commas", "give --psi such as 0,1.5,3"
        ) from None


def cut_axes(binning: Sequence[str]) -> tuple[Axis, ...]:
    """The axes of a cut from texts such as ``'[H,H,0],-2,2,80'`` and ``'DeltaE,0,40,80'``: name, low, high, bins.

    Raises
    ------
    InputError
        If one cannot be parsed, or they are not energy transfer and three independent momentum directions.
    """
    axes = tuple(parse_axis(text) for text in binning)
    momenta = [a.projection for a in axes if a.projection is not None]
    independent = len(momenta) == 3 and abs(np.linalg.det(momenta)) > 1e-9
    if len(axes) != 4 or energy_axis(axes) is None or not independent:
        raise InputError(
            f"the cut {' '.join(map(repr, binning)) or '(none)'} does not have four axes: three independent momentum "
            "directions and DeltaE",
            f"give all four (--axis), {_EXAMPLE}; an axis of one bin is integrated",
        )
    return axes


def parse_axis(text: str, example: str = _EXAMPLE) -> Axis:
    """An axis of momentum (r.l.u.) or energy transfer (meV) from ``'[H,0,0],-2,2,80'``: name, low, high, bins.

    Parameters
    ----------
    text : str
    example : str
        For the message of an error.

    Raises
    ------
    InputError
        If it cannot be parsed.
    """
    match = re.fullmatch(r"\s*(\[[^\]]*\]|[^,\[\]]+),([^,]+),([^,]+),\s*(\d+)\s*", text)
    try:
        low, high, bins = float(match[2]), float(match[3]), int(match[4])
        good = low < high and bins > 0
    except (TypeError, ValueError):
        good = False
    if not good:
        raise InputError(
            f"the axis {text!r} is not a name, a lower and an upper limit and a number of bins",
            f"give it {example}",
        )
    name, edges = match[1].strip(), np.linspace(low, high, bins + 1)
    if Axis(name, edges, "").is_energy:
        return Axis(name, edges, "DeltaE")
    axis = Axis(name, edges, "r.l.u.", "HKL")
    if axis.projection is None:
        raise InputError(f"the axis {name!r} is neither a direction nor the energy transfer", f"use a name {example}")
    return axis


def bin_crystal(
    files: Sequence[str | Path],
    setting: Setting,
    binning: Sequence[str],
    *,
    ei: float | None = None,
    psi: Sequence[float] | None = None,
    instrument: str | None = None,
    progress=None,
) -> Spectrum:
    """The runs of a scan, binned to h, k, l and energy transfer; one run is in memory at a time.

    Each pixel (one detector and one energy bin) is a point at its centre, as in Mantid's ConvertToMD. The signal of a
    bin is the mean of the pixels with their points in the bin, its variance the sum of their variances divided by the
    square of their number, and `num_events` their number.

    Parameters
    ----------
    files : sequence of path
        nxspe files, one for each angle.
    setting : Setting
    binning : sequence of str
        See `cut_axes`.
    ei : float, optional
        Incident energy in meV; replaces that in the files.
    psi : sequence of float, optional
        Angle of each file, degrees; replaces that in the files.
    instrument : str, optional
        Spectrometer; replaces that in the files.
    progress : callable, optional
        Called with the fraction of files done.

    Returns
    -------
    Spectrum
        Axes in the order given; the run has the lattice with UB. Bins without a pixel are NaN.

    Raises
    ------
    InputError
        If a file cannot be read, the runs differ in their setting, no pixel lies in the cut, or the cut is invalid.
    RunFactError
        If Ei or psi is not known.
    """
    axes, files = cut_axes(binning), [Path(f) for f in files]
    if not files or psi is not None and len(psi) != len(files):
        raise InputError(
            f"{len(files)} files and {'no' if psi is None else len(psi)} angles were given",
            "give nxspe files, and with --psi one angle for each of them",
        )
    sums = Sums(axes)
    first = None
    for number, file in enumerate(files):
        run = read_crystal_run(file, ei)
        first = first or run
        _require_same(first, run)
        _add_run(sums, run, setting.to_hkl(required_psi(file, run.psi if psi is None else psi[number])))
        if progress is not None:
            progress((number + 1) / len(files))
    facts = first.run.updated("option --instrument", instrument=instrument)
    return sums.spectrum(facts.updated("option --lattice", lattice=setting.oriented()), f"{len(files)} runs")


def required_psi(file: Path, psi: float | None) -> float:
    """The angle of a run.

    Raises
    ------
    RunFactError
        If it is not known.
    """
    if psi is None or not np.isfinite(psi):
        raise RunFactError(
            f"the angle psi of the crystal (NXSPE_info/psi) is missing from {file}",
            "give the angles with --psi, or save with SaveNXSPE and Psi",
        )
    return float(psi)


def _require_same(one: CrystalRun, other: CrystalRun) -> None:
    for name in RESOLUTION_FACTS:
        values = [r.run.value(name) for r in (one, other)]
        if name in ("chopper", "frequency"):  # where a file says nothing of them, nothing differs
            same = None in values or same_setting(*values)
        else:
            same = abs(values[0] - values[1]) <= SAME_EI * values[0] if name == "ei" else values[0] == values[1]
        if not same:
            raise InputError(
                f"{one.path.name} and {other.path.name} differ in {name}: {values[0]} and {values[1]}",
                "give the runs of one scan",
            )


def _add_run(sums: Sums, run: CrystalRun, to_hkl: np.ndarray) -> None:
    """Add the pixels of a run."""
    pixels, to_axes = run.pixels, sums.to_axes(to_hkl)
    energy = 0.5 * (pixels.energy[1:] + pixels.energy[:-1])
    use = pixels.valid & (energy < pixels.ei) & np.isfinite(run.azimuthal)[:, None]
    step = max(1, CHUNK // energy.size)
    for start in range(0, len(pixels.polar), step):
        rows, columns = np.nonzero(use[start : start + step])
        if rows.size:
            rows += start
            places = sums.places(to_axes, momenta(run, rows, energy[columns]), energy[columns])
            sums.add(places, pixels.signal[rows, columns], pixels.variance[rows, columns])


def momenta(run: CrystalRun, rows: np.ndarray, energy: np.ndarray) -> np.ndarray:
    """Q in the lab of pixels in these rows at these energies (meV), 1/Angstrom, shape (3, n)."""
    polar, azimuthal = np.radians(run.pixels.polar[rows]), np.radians(run.azimuthal[rows])
    kf = np.sqrt((run.pixels.ei - energy) / HBAR2_OVER_2M)
    q = -kf * np.stack([np.sin(polar) * np.cos(azimuthal), np.sin(polar) * np.sin(azimuthal), np.cos(polar)])
    q[2] += np.sqrt(run.pixels.ei / HBAR2_OVER_2M)
    return q


class Sums:
    """Sums in the bins of a cut, over pixels that are added part by part."""

    def __init__(self, axes: tuple[Axis, ...]):
        self.axes, self.shape = axes, tuple(len(a) for a in axes)
        self.energy = energy_axis(axes)
        self.momenta = [i for i in range(len(axes)) if i != self.energy]
        self.signal, self.variance, self.number = (np.zeros(np.prod(self.shape)) for _ in range(3))
        self.reached = np.array([[np.inf, -np.inf]] * len(axes))

    def to_axes(self, to_hkl: np.ndarray) -> np.ndarray:
        """Matrix from momenta to coordinates along the momentum axes, from the one to (h, k, l); shape (3, 3)."""
        return np.linalg.inv(np.transpose([self.axes[i].projection for i in self.momenta])) @ to_hkl

    def places(self, to_axes: np.ndarray, q: np.ndarray, energy: np.ndarray) -> np.ndarray:
        """Coordinates along the axes, shape (axes, n), of momenta of shape (3, n) and energies of shape (n,)."""
        places = np.empty((len(self.axes), energy.size))
        places[self.momenta], places[self.energy] = to_axes @ q, energy
        return places

    def add(self, places: np.ndarray, signal: np.ndarray, variance: np.ndarray) -> None:
        """Add pixels at these coordinates along the axes, shape (axes, n), with n > 0."""
        self.reached[:, 0] = np.minimum(self.reached[:, 0], places.min(axis=1))
        self.reached[:, 1] = np.maximum(self.reached[:, 1], places.max(axis=1))
        low, width = (np.array(x)[:, None] for x in zip(*((a.edges[0], a.width) for a in self.axes), strict=True))
        index = np.floor((places - low) / width)
        inside = ((index >= 0) & (index < np.array(self.shape)[:, None])).all(axis=0)
        flat = np.ravel_multi_index(tuple(index[:, inside].astype(int)), self.shape)
        self.signal += np.bincount(flat, signal[inside], self.signal.size)
        self.variance += np.bincount(flat, variance[inside], self.signal.size)
        self.number += np.bincount(flat, minlength=self.signal.size)

    def spectrum(self, run: Run, title: str) -> Spectrum:
        """The means.

        Raises
        ------
        InputError
            If all bins are empty.
        """
        if not self.number.any():
            over = zip(self.axes, self.reached, strict=True)
            reached = ", ".join(f"{a.name} {low:.3g} to {high:.3g}" for a, (low, high) in over if low <= high)
            raise InputError(
                f"no valid pixel lies in the cut; the valid pixels cover {reached or 'nothing'}",
                "check the limits, lattice, u, v and psi",
            )
        number = np.where(self.number > 0, self.number, np.nan)
        return Spectrum(
            (self.signal / number).reshape(self.shape),
            (self.variance / number**2).reshape(self.shape),
            self.axes,
            num_events=self.number.reshape(self.shape),
            run=run,
            title=title,
            coordinate_system=HKL,
        )
