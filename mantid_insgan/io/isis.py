"""The groups of the raw file in an nxspe file of ISIS: chopper, repetition, moderator, aperture, divergence, detectors.

The reduction scripts of ISIS (mantidproject/direct_reduction, ``copy_inst_info``) copy them into
``instrument`` of the nxspe entry; the raw files have them from eniius (mducle/eniius). Lengths in metres.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import h5py
import numpy as np

from ..core.constants import FWHM_PER_SIGMA, HBAR2_OVER_2M
from ..core.run import CHOPPER_UNKNOWN, Fact
from ..errors import InputError
from ..instruments.catalogue import InstrumentFacts, canonical_name, catalogue
from ..instruments.choppers import Slits, known_choppers, known_package, packages_with, slits_of
from .facts import as_fact
from .hdf5 import text
from .units import converted

#: Incident energies that differ by less than this fraction are one (as in `copy_inst_info`).
SAME_EI = 0.05
#: Lengths in the file that differ from the instrument's description by more than this fraction are noted.
SAME_LENGTH = 0.05
#: An aperture of at least this fraction of the instrument's is open.
OPEN = 0.99
_WHERE = "of the nxspe entry"


class InstrumentGroups:
    """The group ``instrument`` of an nxspe entry, and the repetition ``rep_<Ei>`` in it that belongs to its Ei.

    Parameters
    ----------
    entry : h5py.Group
    ei : float
        meV.
    instrument : str or None
        Name in files, if it is known.

    Attributes
    ----------
    facts : dict of str to Fact
        Chopper, frequency and divergence, as far as the file has them.
    notes : list of str
    """

    def __init__(self, entry: h5py.Group, ei: float, instrument: str | None):
        self.facts: dict[str, Fact] = {}
        self.notes: list[str] = []
        group = entry.get("instrument")
        if not isinstance(group, h5py.Group):
            return
        self._group, self._ei = group, ei
        self._instrument = None if instrument is None else canonical_name(instrument)
        self._described = None if self._instrument is None else catalogue()[self._instrument]
        self._repetition: str | None = None
        self._repetition = self._find_repetition()
        self._read_chopper("fermi")
        if "frequency" not in self.facts:
            self._read_chopper("mono_chopper")
        self._read_divergence()
        self._compare_distances()

    def _find_repetition(self) -> str | None:
        """Name of the group of the repetition; None if the groups of the instrument are for the Ei of the file."""
        own = self._number("fermi/energy", in_repetition=False)
        if own is not None and math.isclose(own, self._ei, rel_tol=SAME_EI):
            return None
        energies = {n: float(m[1]) for n in self._group if (m := re.fullmatch(r"rep_(\d+\.?\d*)", n))}
        if not energies:
            if own is not None and isinstance(self._get("fermi/rotation_speed"), h5py.Dataset):
                self.notes.append(
                    f"instrument/fermi {_WHERE} is for {own:g} meV, and Ei is {self._ei:g} meV: the chopper and its "
                    "frequency were taken from there, because they are those of all repetitions of a run"
                )
            return None
        nearest = min(energies, key=lambda name: abs(energies[name] - self._ei))
        if math.isclose(energies[nearest], self._ei, rel_tol=SAME_EI):
            return nearest
        self.notes.append(
            f"no repetition {_WHERE} is for Ei = {self._ei:g} meV (it has {', '.join(sorted(energies))}): what belongs "
            "to one repetition was not taken from it"
        )
        return None

    def _get(self, path: str, in_repetition: bool = True):
        """A dataset or group, from the repetition if it is there."""
        found = self._group.get(f"{self._repetition}/{path}") if in_repetition and self._repetition else None
        return self._group.get(path) if found is None else found

    def _named(self, path: str) -> str:
        """The path of a dataset for the source of a fact."""
        in_repetition = self._repetition is not None and f"{self._repetition}/{path}" in self._group
        return f"instrument/{self._repetition + '/' if in_repetition else ''}{path} {_WHERE}"

    def _number(self, path: str, unit: str | None = None, in_repetition: bool = True) -> float | None:
        """A number, in m if `unit` is 'm'; None if there is none, with a note if its unit is not known."""
        dataset = self._get(path, in_repetition)
        if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind not in "fiu" or not dataset.size:
            return None
        value = float(np.median(dataset[()]))
        if unit is not None:
            try:
                value = float(converted(value, _unit(dataset), unit))
            except InputError as problem:
                self.notes.append(f"{self._named(path)} was not used: {problem.reason}")
                return None
        return value if math.isfinite(value) else None

    def _read_chopper(self, name: str) -> None:
        speed = self._get(f"{name}/rotation_speed")
        if isinstance(speed, h5py.Dataset) and speed.size:
            value, note = as_fact("frequency", speed[()], _unit(speed))
            self.notes += [f"{self._named(name + '/rotation_speed')} {note}"] * bool(note)
            if value is not None:
                self.facts["frequency"] = Fact(value, self._named(f"{name}/rotation_speed"))
        slits = self._fermi_slits() if name == "fermi" else self._disc_slits(name)
        kind = self._get(f"{name}/type")
        said = text(kind[()]).strip() if isinstance(kind, h5py.Dataset) else ""
        if self._instrument is not None and (slits is not None or said and name == "fermi"):
            self._recognise(name, said if name == "fermi" else "", slits)

    def _fermi_slits(self) -> Slits | None:
        width = self._number("fermi/slit", "m")
        if width is None:
            return None
        return Slits(width, self._number("fermi/radius", "m"), self._number("fermi/r_slit", "m"))

    def _disc_slits(self, name: str) -> Slits | None:
        """The opening of a disc: radius times the tangent of the angle of its first slit."""
        edges, radius = self._get(f"{name}/slit_edges"), self._number(f"{name}/radius", "m")
        if radius is None or not isinstance(edges, h5py.Dataset) or edges.size < 2:
            return None
        angle = _radians(float(edges[()].reshape(-1)[1] - edges[()].reshape(-1)[0]), _unit(edges))
        return Slits(radius * math.tan(angle), radius) if 0 < angle < 1 else None

    def _recognise(self, group: str, said: str, slits: Slits | None) -> None:
        """The package with the slits of the file; its name decides between several, and alone if there are no slits."""
        named = known_package(self._instrument, said) if said else None
        fitting = known_choppers(self._instrument) if slits is None else packages_with(self._instrument, slits)
        chosen = named if named in fitting or slits is not None and named in self._alike(fitting) else None
        if named is None and len(fitting) == 1:
            chosen = fitting[0]
        if chosen is not None:
            how = " and ".join(w for w in ("type" if named else "", "slit" if slits is not None else "") if w)
            self.facts["chopper"] = Fact(chosen, self._named(f"{group} ({how})"))
            return
        about = ", ".join(filter(None, (f"type {said!r}" if said else "", str(slits) if slits is not None else "")))
        fits = f"fits {' and '.join(fitting)}" if fitting else f"fits no package of {self._instrument}"
        fits = fits if slits is not None else f"names no package of {self._instrument}"
        disagrees = f", and the type names {named}" if named and slits is not None else ""
        self.notes.append(f"{CHOPPER_UNKNOWN}{self._named(group)} ({about}) {fits}{disagrees}")

    def _alike(self, fitting: tuple[str, ...]) -> tuple[str, ...]:
        """All packages with the slits of those that fit, of which `packages_with` gives one each."""
        own = {slits_of(self._instrument, package) for package in fitting}
        return tuple(p for p in known_choppers(self._instrument) if slits_of(self._instrument, p) in own)

    def _read_divergence(self) -> None:
        found = tuple(self._profile(name) for name in ("horiz_div", "vert_div"))
        if any(x is not None for x in found):
            names = " and ".join(n for n, x in zip(("horiz_div", "vert_div"), found, strict=True) if x is not None)
            self.facts["divergence"] = Fact(found, self._named(names))
        elif self._described is not None:
            self._read_aperture(self._described)

    def _profile(self, name: str) -> float | None:
        """FWHM, degrees, of the Gaussian with the variance of a profile of the divergence."""
        group = self._get(name)
        found = _signal_and_axis(group) if isinstance(group, h5py.Group) else None
        if found is None:
            return None
        signal, axis = (dataset[()].astype(float) for dataset in found)
        weight = np.clip(np.nan_to_num(signal), 0, None)
        if not weight.sum() > 0:
            self.notes.append(f"{self._named(name)} was not used: its profile is 0 everywhere")
            return None
        angle = np.degrees([_radians(float(x), _unit(found[1])) for x in axis])
        mean = np.average(angle, weights=weight)
        sigma = math.sqrt(np.average((angle - mean) ** 2, weights=weight))
        return FWHM_PER_SIGMA * sigma or None

    def _read_aperture(self, described: InstrumentFacts) -> None:
        """The divergence from the jaws, where they are closed more than the opening that defines the beam.

        The gain of the guide at the Ei widens them, as it does that opening. The openings in files are often the
        instrument's own with the gain at one Ei, so that wider ones say nothing.
        """
        sizes = self._number("aperture/x_gap", "m"), self._number("aperture/y_gap", "m")
        if None in sizes or min(sizes) <= 0 or described.aperture is None:
            return
        distance = self._distance("aperture") or described.aperture.distance
        own = described.aperture.width, described.aperture.height
        told = f"{1e3 * sizes[0]:.4g} x {1e3 * sizes[1]:.4g} mm at {distance:.4g} m"
        if not math.isclose(distance, described.aperture.distance, rel_tol=SAME_LENGTH):
            self.notes.append(
                f"the aperture {_WHERE} ({told}) is not that of the instrument's description, which is "
                f"{described.aperture.distance:g} m from the sample: it was not used"
            )
            return
        wavelength = 2 * math.pi / math.sqrt(self._ei / HBAR2_OVER_2M)
        gain = 1.0 if described.flux_gain is None else math.sqrt(described.flux_gain.at(wavelength))
        fwhm = tuple(
            math.degrees(FWHM_PER_SIGMA * gain * size / (math.sqrt(12) * distance)) if size < OPEN * full else None
            for size, full in zip(sizes, own, strict=True)
        )
        if any(x is not None for x in fwhm):
            self.facts["divergence"] = Fact(fwhm, f"{self._named('aperture')} ({told})")

    def _distance(self, name: str) -> float | None:
        """Distance of a component from the sample, m: ``distance``, or the translations among its transformations."""
        if (found := self._number(f"{name}/distance", "m")) is not None:
            return abs(found)
        group = self._get(f"{name}/transforms")
        if not isinstance(group, h5py.Group):
            return None
        axes = [n for n, a in group.items() if text(a.attrs.get("transformation_type")) == "translation"]
        lengths = [self._number(f"{name}/transforms/{axis}", "m") for axis in axes]
        return abs(sum(lengths)) if lengths and None not in lengths else None

    def _compare_distances(self) -> None:
        """Notes on flight paths that differ from those of the instrument's description, which are used."""
        if self._described is None:
            return
        known = {
            "moderator": self._described.moderator_sample,
            "fermi": self._described.chopper_sample,
            "mono_chopper": self._described.chopper_sample,
        }
        for name, ours in known.items():
            found = self._distance(name)
            if found is not None and not math.isclose(found, ours, rel_tol=SAME_LENGTH):
                self.notes.append(
                    f"{self._named(name)} is {found:.4g} m from the sample, and {ours:g} m in the description of "
                    f"{self._instrument}, which was used"
                )


@dataclass(frozen=True, eq=False)
class DetectorTable:
    """Detectors of the rows of an nxspe file (``instrument/detector_elements_1``).

    Parameters
    ----------
    spread : ndarray, shape (n_rows,)
        Range of the scattering angles of the detectors of each row, degrees; 0 for one detector or none.
    masked : ndarray of bool, shape (n_rows,)
        Rows whose detectors are all masked.
    """

    spread: np.ndarray
    masked: np.ndarray


def detector_table(entry: h5py.Group, rows: int) -> DetectorTable | None:
    """The detectors of each row; None if the file does not say."""
    group = entry.get("instrument/detector_elements_1")
    if not isinstance(group, h5py.Group):
        return None
    row, polar, masked = (group.get(name) for name in ("det2work", "polar_angle", "det_mask"))
    if not all(isinstance(x, h5py.Dataset) for x in (row, polar)) or row.shape != polar.shape or row.ndim != 1:
        return None
    row, polar = row[()].astype(int) - 1, polar[()].astype(float)
    if row.max(initial=-1) >= rows:
        return None
    used = (row >= 0) & np.isfinite(polar)
    low, high = np.full(rows, np.inf), np.full(rows, -np.inf)
    np.minimum.at(low, row[used], polar[used])
    np.maximum.at(high, row[used], polar[used])
    # the mask is that of Mantid's detectors, which are those of the table if there are as many
    dead = masked[()].astype(bool) if isinstance(masked, h5py.Dataset) and masked.shape == row.shape else ~used & False
    count, gone = (np.bincount(row[these], minlength=rows) for these in (used, used & dead))
    return DetectorTable(np.where(count > 0, high - low, 0.0), (count > 0) & (count == gone))


def _unit(dataset: h5py.Dataset) -> str:
    return text(dataset.attrs.get("units", dataset.attrs.get("unit")))


def _radians(angle: float, unit: str) -> float:
    """An angle in radians, from degrees unless its unit says radians."""
    return angle if unit.strip().lower().startswith("rad") else math.radians(angle)


def _signal_and_axis(group: h5py.Group) -> tuple[h5py.Dataset, h5py.Dataset] | None:
    """The signal of a NeXus profile and its axis, of the group or of the group ``data`` in it."""
    inner = group.get("data")
    if isinstance(inner, h5py.Group):
        group = inner
    rows = {n: d for n, d in group.items() if isinstance(d, h5py.Dataset) and d.ndim == 1 and d.dtype.kind in "fiu"}
    named = text(group.attrs.get("signal")) or "signal"
    signal = rows.pop(named, None)
    if signal is None:
        named = next((n for n, d in rows.items() if "signal" in d.attrs), None)
        signal = None if named is None else rows.pop(named)
    alike = [d for d in rows.values() if signal is not None and d.shape == signal.shape]
    return (signal, alike[0]) if len(alike) == 1 and signal.size > 1 else None
