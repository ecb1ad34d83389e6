"""Find, read and validate training spectra. Nothing here needs torch, except the search for a CUDA card."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..core.files import check_output
from ..core.options import DIRECTIONS, MEANT, PRECISIONS, TrainOptions, overridden, reading_of
from ..core.run import notes_by_name
from ..core.spectrum import Spectrum, energy_axis, open_axes, per_event
from ..errors import DeviceError, InputError, ModelError, OutputError, RunFactError
from ..instruments.instrument import Resolution
from ..io import read_spectrum

#: Suffixes of the files that are read from a folder.
SUFFIXES = (".nxs", ".nxspe", ".h5", ".hdf5")
#: Fewest spectra on a side: with one, only that spectrum would be learned.
FEWEST = 2
#: The two sides of a training, and of the spectra that score the model.
SIDES = ("--simulation", "--experiment")
VALIDATION = ("--validation-simulation", "--validation-experiment")


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
    """Files in the order given; those of a folder sorted by name.

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
    how = reading_of(options)
    return [source_of(p.name, read_spectrum(p, **how), options) for p in find_files(paths, flag)]


def source_of(name: str, spectrum: Spectrum, options: TrainOptions) -> Source:
    """One spectrum with the resolution of its run facts, normalised per event if it is a sum over events. Run facts
    given as options replace its own.

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
        spectrum = per_event(spectrum.replace(run=options.run(spectrum.run)))
        resolution = Resolution.from_run(spectrum.run, **options.of_resolution())
        resolution.frame(spectrum)
    except (InputError, RunFactError) as problem:
        raise type(problem)(f"{name}: {problem.reason}", problem.fix) from problem
    return Source(name, spectrum, resolution)


def notes_of(sides: dict[str, list[Source]]) -> tuple[str, ...]:
    """Run facts that options replaced: a sentence for each, with the names of the spectra concerned."""
    every = (s for sources in sides.values() for s in sources)
    return notes_by_name((source.name, overridden(source.spectrum.run)) for source in every)


def check_target(options: TrainOptions, output: Path, overwrite: bool) -> None:
    """Check output, precision and direction before anything is read.

    Raises
    ------
    OutputError
        If the output does not end in .onnx, exists and may not be overwritten, or its folder is missing or read-only.
    InputError
        If the precision is not known.
    ModelError
        If the direction is not known.
    """
    if output.suffix != ".onnx":
        raise OutputError(f"the model {output.name!r} does not end in .onnx", "give an output such as model.onnx")
    check_output(output, overwrite)
    if options.precision not in PRECISIONS:
        raise InputError(f"--precision is {options.precision!r}", f"use {' or '.join(PRECISIONS)}")
    if options.direction in MEANT and options.direction not in DIRECTIONS:
        calculated, _ = MEANT[options.direction]
        raise ModelError(
            f"--direction {options.direction} is for applying a model, and trainings are named by what is calculated",
            f"use --direction {calculated} with --simulation and --experiment: it learns their other differences too",
        )
    if options.direction not in DIRECTIONS:
        raise ModelError(f"the direction {options.direction!r} is not known", f"use {' or '.join(DIRECTIONS)}")


def resume_folder(options: TrainOptions, output: Path) -> Path:
    """The folder of the checkpoint: the one given, or the one beside the output."""
    return Path(options.resume) if options.resume else output.with_suffix(".training")


def check_device(device: str) -> None:
    """Check that a CUDA card is there, if one was asked for.

    Raises
    ------
    DeviceError
        If PyTorch finds none.
    """
    if device != "cuda":
        return
    import torch

    if not torch.cuda.is_available():
        raise DeviceError(
            "--device cuda was given, and PyTorch finds no CUDA card",
            "use --device cpu, or install a PyTorch for CUDA and the driver",
        )


def check_given(simulation: bool, experiment: bool, pairs: bool) -> None:
    """Check that there is something to train on: both sides, or pairs.

    Raises
    ------
    InputError
        If a side is missing, or spectra and pairs are both given.
    """
    if pairs and (simulation or experiment):
        raise InputError(
            "--pairs was given beside --simulation or --experiment", "train on pairs, or on spectra, not on both"
        )
    if not pairs and not (simulation and experiment):
        raise InputError(
            "training needs both sides, found " + ("no --simulation" if not simulation else "no --experiment"),
            "give --simulation and --experiment, or --pairs",
        )


def check_sides(sides: dict[str, list[Source]], paired: bool) -> int:
    """The number of dimensions that all spectra share, at most 3.

    Parameters
    ----------
    sides : dict of list of Source
        By flag: those of `SIDES`, and perhaps those of `VALIDATION`.
    paired : bool

    Raises
    ------
    InputError
        If a side has too few spectra, paired sides or those of the validation differ in number, or dimensions differ.
    """
    for flag in SIDES:
        if len(sides[flag]) < FEWEST:
            raise InputError(
                f"{flag} gives {len(sides[flag])}, expected {FEWEST} spectra or more on each side",
                "give more, such as several cuts of the same measurement",
            )
    if paired:
        _check_pairs(SIDES, sides, "give each simulation its experiment, or train unpaired (without --paired)")
    _check_pairs(VALIDATION, sides, "give each simulation that scores the model its experiment, or none at all")
    found = {s.name: len(open_axes(s.spectrum.axes)) for sources in sides.values() for s in sources}
    if len(set(found.values())) != 1 or 0 in found.values():
        told = ", ".join(f"{name}: {n}" for name, n in list(found.items())[:6])
        raise InputError(
            f"the spectra differ in their number of open axes ({told})",
            "train on spectra of one number of dimensions; cut or integrate the others in the same way",
        )
    return min(3, next(iter(found.values())))


def _check_pairs(flags: tuple[str, str], sides: dict[str, list[Source]], fix: str) -> None:
    one, other = (sides.get(flag, []) for flag in flags)
    if len(one) != len(other):
        found = " and ".join(f"{len(sides.get(flag, []))} of {flag}" for flag in flags)
        raise InputError(f"paired data come in equal numbers, found {found}", fix)
    for a, b in zip(one, other, strict=True):
        if a.spectrum.shape != b.spectrum.shape:
            raise InputError(
                f"{a.name} has {a.spectrum.shape} bins and its partner {b.name} has {b.spectrum.shape}",
                "bin paired simulation and experiment on the same grid",
            )
