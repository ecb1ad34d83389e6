"""The files that a user trains on: found, read, given a resolution, and checked before the first step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError, RunFactError
from ..io import read_spectrum
from ..options import TrainOptions
from ..resolution.instrument import Resolution
from ..spectrum import Spectrum, energy_axis, open_axes

#: Names of files that are taken out of a folder.
SUFFIXES = (".nxs", ".nxspe", ".h5", ".hdf5")
#: Fewest spectra on a side: with one there is nothing to tell the sides apart by but that spectrum.
FEWEST = 2


@dataclass(frozen=True)
class Source:
    """One spectrum with its resolution.

    Parameters
    ----------
    name : str
        Of the file or workspace.
    spectrum : Spectrum
    resolution : Resolution
    """

    name: str
    spectrum: Spectrum
    resolution: Resolution


def find_files(paths, flag: str) -> list[Path]:
    """Files in the order given; folders give theirs by name.

    Raises
    ------
    InputError
        If a path does not exist or a folder holds no files that could be spectra.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
            if not inside:
                raise InputError(
                    f"the folder {path} ({flag}) holds no file that ends in {', '.join(SUFFIXES)}",
                    "name a folder with spectra, or the files themselves",
                )
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise InputError(f"there is no file or folder {path} ({flag})", "check the path")
    return found


def read_sources(paths, flag: str, options: TrainOptions) -> list[Source]:
    """Spectra of files, with the resolution of their run facts.

    Raises
    ------
    InputError, RunFactError
        If a file cannot be read or a run fact is missing; the text names the file.
    """
    return [source_of(path.name, read_spectrum(path), options) for path in find_files(paths, flag)]


def source_of(name: str, spectrum: Spectrum, options: TrainOptions) -> Source:
    """One spectrum with the resolution of its run facts, those of `options` where it has none.

    Raises
    ------
    InputError
        If no bin is valid, or it has no energy axis.
    RunFactError
        If a fact is missing or out of range.
    """
    if not spectrum.valid.any():
        raise InputError(
            f"none of the {spectrum.signal.size} bins of {name} is valid (all are NaN, masked or without an error)",
            "leave it out, or check its binning and mask",
        )
    if energy_axis(spectrum.axes) is None:
        raise InputError(
            f"{name} has no energy axis, so its resolution is not known", "give spectra with an axis 'DeltaE'"
        )
    try:
        spectrum = spectrum.replace(run=options.run(spectrum.run))
        resolution = Resolution.from_run(spectrum.run, width_factor=options.width_factor)
        resolution.frame(spectrum)
    except (InputError, RunFactError) as problem:
        raise type(problem)(f"{name}: {problem.reason}", problem.fix) from problem
    return Source(name, spectrum, resolution)


def check_sides(sides: dict[str, list[Source]], paired: bool) -> int:
    """The number of dimensions that all spectra of both sides share, at most 3.

    Raises
    ------
    InputError
        If a side has too few spectra, paired sides differ in number, or dimensions differ.
    """
    for flag, sources in sides.items():
        if len(sources) < FEWEST:
            raise InputError(
                f"{flag} gives {len(sources)}, expected {FEWEST} spectra or more on each side",
                "give more, such as several cuts of the same measurement",
            )
    counts = {flag: len(sources) for flag, sources in sides.items()}
    if paired and len(set(counts.values())) != 1:
        raise InputError(
            "paired data come in equal numbers, found " + " and ".join(f"{n} of {f}" for f, n in counts.items()),
            "give each simulation its experiment, or train unpaired (without --paired)",
        )
    found = {s.name: len(open_axes(s.spectrum.axes)) for sources in sides.values() for s in sources}
    if len(set(found.values())) != 1 or 0 in found.values():
        told = ", ".join(f"{name}: {n}" for name, n in list(found.items())[:6])
        raise InputError(
            f"the spectra differ in their number of open axes ({told})",
            "train on spectra of one number of dimensions; cut or integrate the others alike",
        )
    return min(3, next(iter(found.values())))
