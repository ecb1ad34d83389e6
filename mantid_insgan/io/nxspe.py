"""Reads nxspe files (detectors against energy, as written by SaveNXSPE) as a Spectrum of |Q| and energy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np

from ..core.run import Fact, Run
from ..core.spectrum import Spectrum
from ..errors import InputError, RunFactError
from .facts import as_fact, instrument_from_names, instrument_name
from .geometry import sample_of_group
from .hdf5 import dataset_number, dataset_text, naming, open_hdf5, reading, real_dataset, text
from .isis import DetectorTable, InstrumentGroups, detector_table
from .powder import Pixels, PowderFile, powder_spectrum, width_from_neighbours
from .units import converted, is_ours

#: A row that spans more than this in azimuth, degrees (median over the rows), is a ring of many detectors.
_RING_AZIMUTH = 10.0
#: No single detector extends over a larger scattering angle, degrees.
_WIDEST = 10.0


def open_nxspe(path: str | Path, *, ei: float | None = None, **binning) -> PowderFile:
    """An nxspe file as an object with the interface of `SpectrumFile` (parameters as `read_nxspe`)."""
    path = Path(path)
    with open_hdf5(path) as file, reading(path):
        entry = nxspe_entry(file, path)
        run = _run(entry, path, ei)
        pixels, notes = _pixels(entry, path, run.value("ei"))
    with naming(path):
        spectrum = powder_spectrum(pixels, run=run.noted(*notes), **binning)
    return PowderFile(path, spectrum, "nxspe")


def read_nxspe(
    path: str | Path,
    *,
    q_bins: int | None = None,
    q_range: tuple[float, float] | None = None,
    energy_bins: int | None = None,
    energy_range: tuple[float, float] | None = None,
    ei: float | None = None,
) -> Spectrum:
    """An nxspe file as a spectrum of |Q| (1/Angstrom) and energy transfer (meV).

    NaN, values of 1e18 and more and negative errors, which flag masked bins, are ignored. A detector extends over the
    ``polar_width`` in the file, unless that is more than 10 degrees; a negative angle is on the other side of the beam.
    A first or last energy bin of another width is left out. Rows that are rings of many detectors extend to the
    midpoint between neighbours, because the ``polar_width`` of such rows is several times their spacing.

    Parameters
    ----------
    path : str or Path
    q_bins, q_range, energy_bins, energy_range
        See `powder_spectrum`, which describes how bins are chosen and filled.
    ei : float, optional
        Incident energy, meV; replaces that in the file.

    Raises
    ------
    InputError
        If the file is not a complete nxspe file, or its energy bins are unequal and `energy_bins` is not given.
    RunFactError
        If the file has no Ei and none is given.
    """
    bins = {"q_bins": q_bins, "q_range": q_range, "energy_bins": energy_bins, "energy_range": energy_range}
    return open_nxspe(path, **bins, ei=ei).read()


@dataclass(frozen=True, eq=False)
class CrystalRun:
    """One run of a crystal, detector by detector.

    Parameters
    ----------
    path : Path
    pixels : Pixels
    azimuthal : ndarray, shape (n_detectors,)
        Angle about the beam, degrees: 0 along x, 90 upwards (z is along the beam).
    psi : float or None
        Rotation of the crystal about the vertical axis, degrees; None if not in the file.
    run : Run
    """

    path: Path
    pixels: Pixels
    azimuthal: np.ndarray
    psi: float | None
    run: Run


def read_crystal_run(path: str | Path, ei: float | None = None) -> CrystalRun:
    """An nxspe file with individual detectors (parameters and errors as `read_nxspe`)."""
    path = Path(path)
    with open_hdf5(path) as file, reading(path):
        entry = nxspe_entry(file, path)
        run = _run(entry, path, ei)
        pixels, notes = _pixels(entry, path, run.value("ei"))
        azimuthal = _sized(entry["data"], "azimuthal", pixels.polar.shape, path)
        # a negative angle is on the other side of the beam
        azimuthal = np.where(entry["data/polar"][()] < 0, azimuthal + 180.0, azimuthal)
        return CrystalRun(path, pixels, azimuthal, dataset_number(entry, "NXSPE_info/psi"), run.noted(*notes))


def is_nxspe(file: h5py.File) -> bool:
    """Whether a top-level group contains ``NXSPE_info``."""
    return bool(_entries(file))


def nxspe_entry(file: h5py.File, path: Path) -> h5py.Group:
    """The one nxspe entry of a file.

    Raises
    ------
    InputError
        If there is none, or more than one.
    """
    entries = _entries(file)
    if len(entries) != 1:
        raise InputError(
            f"{path} contains {len(entries)} nxspe entries, expected 1; "
            f"its top groups are {', '.join(file) or '(none)'}",
            "save a single workspace with SaveNXSPE",
        )
    return entries[0]


def _entries(file: h5py.File) -> list[h5py.Group]:
    return [g for g in file.values() if isinstance(g, h5py.Group) and "NXSPE_info" in g]


def _run(entry: h5py.Group, path: Path, ei: float | None) -> Run:
    info = entry["NXSPE_info"].get("fixed_energy")
    found, note = (
        as_fact("ei", info[()], text(info.attrs.get("units"))) if isinstance(info, h5py.Dataset) else (None, "")
    )
    if ei is None and found is None:
        raise RunFactError(
            f"Ei is missing from {path} (NXSPE_info/fixed_energy), and |Q| cannot be calculated without it",
            "give the incident energy in meV with --ei",
        )
    run = Run().updated("NXSPE_info/fixed_energy", ei=found).noted(*[f"NXSPE_info/fixed_energy {note}"] * bool(note))
    run = run.updated("option --ei", ei=None if ei is None else float(ei))
    if name := instrument_name(dataset_text(entry, "instrument/name")):
        run = run.updated("instrument/name of the nxspe entry", instrument=name)
    elif guess := instrument_from_names(path, text(entry.file.attrs.get("file_name"))):
        run = run.updated(guess.source, instrument=guess.value)
    groups = InstrumentGroups(entry, run.value("ei"), run.value("instrument"))
    facts = groups.facts | _sample_facts(entry)
    return replace(run, **facts).noted(*groups.notes)


def _sample_facts(entry: h5py.Group) -> dict[str, Fact]:
    """The temperature and the shape of the sample, where the entry has them."""
    group = entry.get("sample")
    if not isinstance(group, h5py.Group):
        return {}
    facts = {}
    temperature = group.get("temperature")
    if isinstance(temperature, h5py.Dataset) and temperature.size:
        value, _ = as_fact("temperature", temperature[()], text(temperature.attrs.get("units")))
        facts = {} if value is None else {"temperature": Fact(value, "sample/temperature of the nxspe entry")}
    sample, how, _ = sample_of_group(group)
    return facts if sample is None else facts | {"sample": Fact(sample, f"{how} of the nxspe entry")}


def _pixels(entry: h5py.Group, path: Path, ei: float) -> tuple[Pixels, tuple[str, ...]]:
    """Intensity in detectors and energy bins, and notes."""
    data = entry.get("data")
    if not isinstance(data, h5py.Group):
        raise InputError(
            f"{path}: {entry.name} has no group 'data'; it contains {', '.join(entry)}", "save it again with SaveNXSPE"
        )
    signal = real_dataset(data, "data", path)[()].astype(float)
    if signal.ndim != 2:
        raise InputError(
            f"{path}: {data.name}/data has shape {signal.shape}, expected (detectors, energies)",
            "save it again with SaveNXSPE",
        )
    detectors, energies = signal.shape
    error = _sized(data, "error", signal.shape, path)
    unit = text(data["energy"].attrs.get("units"))
    energy = converted(_sized(data, "energy", (energies + 1,), path), unit, "meV")
    notes = (f"the energies are in {unit} in the file: they were converted to meV",) * (
        not is_ours(unit or "meV", "meV")
    )
    polar = np.abs(_sized(data, "polar", (detectors,), path))
    with np.errstate(over="ignore", invalid="ignore"):
        variance = np.where(error < 0, np.nan, error**2)  # -1 marks a masked bin
    table = detector_table(entry, detectors)
    if table is not None and table.masked.any():
        signal[table.masked] = np.nan
        notes = (*notes, f"{table.masked.sum()} rows were left out: all of their detectors are masked (det_mask)")
    width, notes_on_width = _polar_width(data, polar, path, table)
    return Pixels(signal, variance, energy, polar, width, ei), (*notes, *notes_on_width)


def _polar_width(
    data: h5py.Group, polar: np.ndarray, path: Path, table: DetectorTable | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    neighbours = width_from_neighbours(polar)
    if table is not None:  # a ring reaches at least over its detectors
        neighbours = np.maximum(neighbours, table.spread)
    if "polar_width" not in data:
        return neighbours, ()
    if "azimuthal_width" in data and np.median(_sized(data, "azimuthal_width", polar.shape, path)) > _RING_AZIMUTH:
        return neighbours, ()
    width = _sized(data, "polar_width", polar.shape, path)
    wide = width > _WIDEST
    notes = (
        (
            f"{wide.sum()} detectors have a polar_width of up to {width[wide].max():.3g} degrees: they were taken to "
            "reach half-way to their neighbours",
        )
        if wide.any()
        else ()
    )
    return np.where(np.isfinite(width) & (width > 0) & ~wide, width, neighbours), notes


def _sized(data: h5py.Group, name: str, shape: tuple[int, ...], path: Path) -> np.ndarray:
    values = real_dataset(data, name, path)[()]
    if values.shape != shape:
        raise InputError(
            f"{path}: {data.name}/{name} has shape {values.shape}, expected {shape} to match {data.name}/data",
            "save it again with SaveNXSPE",
        )
    return values.astype(float)
