"""Reads Workspace2D files (``mantid_workspace_1``, as written by SaveNexus and SaveNexusProcessed) as a Spectrum.

Two kinds are read: detectors against energy transfer (averaged as an nxspe file, with the detector angles in the file),
and |Q| against energy transfer (from SofQW).
"""

from __future__ import annotations

import re
from pathlib import Path

import h5py
import numpy as np

from ..core.merging import binned
from ..core.run import Run
from ..core.spectrum import Axis, Spectrum, even_bins
from ..errors import InputError, RunFactError
from .facts import experiment_facts, instrument_from_names, merged, with_chopper_of_title
from .hdf5 import dataset_text, naming, open_hdf5, reading, real_dataset, text
from .powder import Pixels, PowderFile, note_on_even, powder_spectrum, width_from_neighbours

_ENTRY = re.compile(r"mantid_workspace_\d+")


def open_workspace2d(path: str | Path, *, ei: float | None = None, **binning) -> PowderFile:
    """A Workspace2D file as an object with the interface of `SpectrumFile`.

    Parameters
    ----------
    path : str or Path
    ei : float, optional
        Incident energy, meV; replaces the log of the file.
    **binning
        ``q_bins``, ``q_range``, ``energy_bins``, ``energy_range`` as in `powder_spectrum`; of data that are already in
        |Q| as in `core.merging.wanted_bins`.

    Raises
    ------
    InputError
        If the file is not a complete Workspace2D in energy transfer, or does not contain its detector angles.
    RunFactError
        If Ei is needed and is missing.
    """
    path = Path(path)
    with open_hdf5(path) as file, reading(path):
        entry = _entry(file, path)
        guess = instrument_from_names(path, text(file.attrs.get("file_name")))
        run = merged([experiment_facts(entry, guess)])
        if run.instrument is None and guess:
            run = run.updated(guess.source, instrument=guess.value)
        title = dataset_text(entry, "title").strip()
        run = with_chopper_of_title(run.updated("option --ei", ei=ei), title)
        content = _read(entry, path, run)
    with naming(path):
        if isinstance(content, Pixels):
            spectrum = powder_spectrum(content, run=run, title=title, **binning)
        else:
            spectrum = binned(_in_q(*content, run, title), **binning)
    return PowderFile(path, spectrum, "workspace2d")


def is_workspace2d(file: h5py.File) -> bool:
    """Whether the file has a ``mantid_workspace_N`` entry."""
    return any(_ENTRY.fullmatch(name) for name in file)


def _entry(file: h5py.File, path: Path) -> h5py.Group:
    names = [name for name in file if _ENTRY.fullmatch(name)]
    if len(names) != 1:
        raise InputError(
            f"{path} contains {len(names)} workspaces (a group), expected 1", "save one of them to a separate file"
        )
    entry = file[names[0]]
    if "event_workspace" in entry:
        raise InputError(
            f"{path} contains an EventWorkspace, expected a histogram",
            "rebin it with PreserveEvents=False and save it again",
        )
    if not isinstance(entry.get("workspace"), h5py.Group):
        raise InputError(
            f"{path}: {entry.name} has no group 'workspace'; it contains {', '.join(entry)}",
            "save a Workspace2D with SaveNexus",
        )
    return entry


def _read(entry: h5py.Group, path: Path, run: Run) -> Pixels | tuple[np.ndarray, ...]:
    """Detectors against energy as Pixels, |Q| against energy as (signal, error, q, energy)."""
    workspace = entry["workspace"]
    signal = real_dataset(workspace, "values", path)[()].astype(float)
    error = real_dataset(workspace, "errors", path)[()].astype(float)
    energy = real_dataset(workspace, "axis1", path)
    vertical = real_dataset(workspace, "axis2", path)
    unit = text(energy.attrs.get("units"))
    if unit != "DeltaE":
        raise InputError(
            f"{path}: the horizontal axis is in {unit!r}, expected energy transfer 'DeltaE'",
            "reduce it to energy transfer first (ConvertUnits to DeltaE, then Rebin)",
        )
    expected = (vertical.size - 1, vertical.size)
    if signal.ndim != 2 or error.shape != signal.shape or energy.shape != (signal.shape[1] + 1,):
        raise InputError(
            f"{path}: values {signal.shape}, errors {error.shape} and energies {energy.shape} do not match, "
            "expected (n, m), (n, m) and (m + 1,)",
            "rebin to one common energy binning (Rebin) and save the histogram again",
        )
    if signal.shape[0] not in expected:
        raise InputError(
            f"{path}: {signal.shape[0]} spectra but {vertical.size} entries in axis2", "save the workspace again"
        )
    if text(vertical.attrs.get("units")) == "MomentumTransfer":
        return signal, error, vertical[()], energy[()]
    if run.ei is None:
        raise RunFactError(
            f"Ei is missing from {path} (log Ei), and |Q| cannot be calculated without it",
            "give the incident energy in meV with --ei",
        )
    polar, width = _angles(entry, vertical[()], path)
    return Pixels(signal, error**2, energy[()], polar, width, run.value("ei"))


def _in_q(signal, error, q, energy, run: Run, title: str) -> Spectrum:
    if q.size == signal.shape[0]:  # points: edges half-way between them, the outer edges at the same distance
        middle = 0.5 * (q[1:] + q[:-1])
        q = np.r_[2 * q[0] - middle[0], middle, 2 * q[-1] - middle[-1]]
    bins = even_bins(q), even_bins(energy)
    run = run.noted(*note_on_even("|Q|", q, bins[0]), *note_on_even("energy", energy, bins[1]))
    edges = (x[b.start : b.stop + 1] for x, b in zip((q, energy), bins, strict=True))
    axes = tuple(Axis(n, x, u) for n, x, u in zip(("|Q|", "DeltaE"), edges, ("Angstrom^-1", "meV"), strict=True))
    return Spectrum(signal[bins], error[bins] ** 2, axes, run=run, title=title)


def _angles(entry: h5py.Group, spectra: np.ndarray, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Mean polar angle and extent, degrees, of the detectors of each spectrum.

    ``instrument/detector`` lists the detectors of each spectrum; their positions (distance, polar, azimuth) are in the
    same group or, by detector number, in ``instrument/physical_detectors``.
    """
    group = entry.get("instrument/detector")
    if not isinstance(group, h5py.Group):
        raise _no_angles(path, "instrument/detector is missing")
    names = ("spectra", "detector_index", "detector_count", "detector_list")
    number, start, count, detectors = (real_dataset(group, n, path)[()].astype(int) for n in names)
    polar = _polar_of(entry, group, detectors, path)
    row = {int(s): i for i, s in enumerate(number)}
    try:
        rows = [row[round(float(s))] for s in spectra]
    except KeyError as missing:
        raise _no_angles(path, f"spectrum {missing} has no entry in instrument/detector") from missing
    members = [polar[start[i] : start[i] + count[i]] for i in rows]
    if not all(m.size for m in members):
        raise _no_angles(path, "some spectra have no detector")
    mean = np.array([m.mean() for m in members])
    spread = np.array([np.ptp(m) for m in members])
    return mean, np.maximum(width_from_neighbours(mean), spread)


def _polar_of(entry: h5py.Group, group: h5py.Group, detectors: np.ndarray, path: Path) -> np.ndarray:
    if "detector_positions" in group:
        return real_dataset(group, "detector_positions", path)[:, 1].astype(float)
    physical = entry.get("instrument/physical_detectors")
    if not isinstance(physical, h5py.Group):
        raise _no_angles(path, "both detector_positions and physical_detectors are missing")
    numbers = real_dataset(physical, "detector_number", path)[()]
    angles = real_dataset(physical, "polar_angle", path)[()].astype(float)
    order = np.argsort(numbers)
    place = np.clip(np.searchsorted(numbers, detectors, sorter=order), 0, numbers.size - 1)
    found = numbers[order[place]] == detectors
    if not found.all():
        raise _no_angles(path, f"{np.count_nonzero(~found)} detectors are not among physical_detectors")
    return angles[order[place]]


def _no_angles(path: Path, what: str) -> InputError:
    return InputError(
        f"{path}: the angles of the detectors are not in the file ({what})",
        "load it in Mantid and save it with SaveNXSPE, which writes them, or convert it to |Q| and energy with SofQW3",
    )
