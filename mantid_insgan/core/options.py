"""Options of the jobs: names, defaults and help texts, defined once for the command line, scripts and Mantid.

The command line and Mantid import this module at start-up, so it imports nothing that takes time.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import Field, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from ..errors import InputError, InsganError, RunFactError
from .numbers import digits
from .sample import Sample

if TYPE_CHECKING:
    from .run import Lattice, Run, Setting

#: Options that give facts of the run; they replace those in the data.
RUN_OPTIONS = ("instrument", "ei", "chopper", "frequency", "lattice")
#: How the sources of facts begin that are used in place of those in the data.
_REPLACING = ("option ", "key ")
#: Two numbers that agree to this fraction are the same: a log in single precision, or Ei written to five digits.
SAME = 1e-4

#: Choices of an option -> their names in Mantid's dialog: what networks calculate, and are trained for.
DIRECTIONS = {"add-resolution": "AddResolution", "remove-resolution": "RemoveResolution"}
#: What is asked of a model when it is applied; the last two are for all in which an experiment and a simulation differ.
TRANSLATIONS = DIRECTIONS | {
    "simulation-to-experiment": "SimulationToExperiment",
    "experiment-to-simulation": "ExperimentToSimulation",
}
#: A translation -> what its network calculates, and what the model is for (`purpose` of its card).
MEANT = {
    "add-resolution": ("add-resolution", "resolution"),
    "remove-resolution": ("remove-resolution", "resolution"),
    "simulation-to-experiment": ("add-resolution", "experiment"),
    "experiment-to-simulation": ("remove-resolution", "experiment"),
}
DEVICES = {"auto": "auto", "cpu": "cpu", "cuda": "cuda"}
PRECISIONS = {"32": "32", "bf16": "bf16"}
OUT_OF_DOMAIN = {"warn": "Warn", "error": "Error"}
#: Flags of the command line that are not options of a job -> property.
_MORE_FLAGS = {"--output": "OutputModel", "--overwrite": "Overwrite", "--intervals": "OutputIntervals"}

#: Of `ApplyOptions`: how many times finer a result is.
SHARPEN = 3.0

#: A flag in a text, perhaps followed by one of its choices.
_FLAG = re.compile(r"(?P<option>option )?(?P<flag>--[a-z][a-z-]*)(?: (?P<value>[a-z][a-z-]*))?(?!\w)")

#: Mantid has two properties for a model, the command line and scripts one option.
BUNDLED_HELP = "Name of a bundled model; the one for the direction if not given."
OUTPUT_MODEL_HELP = "Model to write (ONNX); its card, losses and figures are written to the same folder."
OVERWRITE_HELP = "Replace the output if it exists."
MODEL_FILE_HELP = "ONNX file of another model, with its card in the same folder."


def job_option(
    default, text: str, flag: str, name: str | None = None, choices: dict | None = None, *, zero: bool = False
):
    """A field of `Options`; `zero` says that a number may be 0 although it has to be positive otherwise."""
    about = {"help": text, "flag": flag, "property": name, "choices": choices, "zero": zero}
    return field(default=default, metadata=about)


class Options:
    """Base of the dataclasses of options.

    The metadata of each field contain its help text, its flag on the command line, its property in Mantid (if any),
    its choices (if restricted), and whether a number may be 0 in Mantid. Mantid shows the help text up to the first
    full stop. The command line makes its flags from the fields, so a new field gives a new flag.
    """

    @classmethod
    def entries(cls) -> list[Field]:
        """The fields in the order of the command line: the class's own, then those that it shares with others."""
        shared = {entry.name for base in cls.__bases__ if is_dataclass(base) for entry in fields(base)}
        return sorted(fields(cls), key=lambda entry: entry.name in shared)

    def run(self, run: Run) -> Run:
        """The facts of a run, replaced by the options that were given.

        `overridden` lists what was replaced. A lattice with the same cell as the run's keeps the orientation (UB).

        Raises
        ------
        RunFactError
            If the lattice cannot be parsed.
        """
        for name in (n for n in RUN_OPTIONS if n in self.__dataclass_fields__):
            value = getattr(self, name)
            if name == "lattice":
                value = oriented_as(parse_lattice(value), run.value(name))
            run = run.updated(f"option {option(name, type(self))['flag']}", **{name: value})
        if getattr(self, "sample", None) is not None:
            run = run.updated("option --sample", sample=Sample.in_mm(self.sample))
        return run.updated("option --mosaic", mosaic=getattr(self, "mosaic", None) or None)

    def of_resolution(self) -> dict[str, object]:
        """Keyword arguments of `Resolution`: width factor, and sample and mosaic in place of those of the run."""
        return {"width_factor": self.width_factor, "sample": self.sample, "mosaic": self.mosaic or None}

    def given(self) -> dict[str, object]:
        """The options that differ from their defaults, for the history of the output; a lattice as text."""
        found = {f.name: getattr(self, f.name) for f in self.entries() if getattr(self, f.name) != f.default}
        if not isinstance(found.get("lattice"), str | None):
            found["lattice"] = ",".join(map(repr, map(float, parse_lattice(found["lattice"]).cell)))
        return found

    def updated(self, **options) -> Self:
        """These options with some changed.

        Raises
        ------
        InsganError
            If there is no option of that name; the message names the closest one.
        """
        import difflib

        known = list(self.__dataclass_fields__)
        for name in options:
            if name not in known:
                (nearest,) = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
                raise InsganError(
                    f"there is no option {name!r}; the closest is {nearest!r}", f"use one of {', '.join(known)}"
                )
        return replace(self, **options)


@dataclass(frozen=True)
class ApplyOptions(Options):
    """Options for applying a model.

    Those of instrument, ei, chopper, frequency and lattice that are None are taken from the data.
    """

    direction: str = job_option(
        "remove-resolution",
        "add-resolution (to a simulation) or remove-resolution (from data); simulation-to-experiment and "
        "experiment-to-simulation also guess a background, for 2D slices.",
        "--direction",
        "Direction",
        TRANSLATIONS,
    )
    model: str | None = job_option(
        None, "Name of a bundled model, or an ONNX file with its card in the same folder.", "--model", "Model"
    )
    instrument: str | None = job_option(
        None, "Spectrometer, such as MAPS, MERLIN or LET; from the data if not given.", "--instrument", "Instrument"
    )
    ei: float | None = job_option(None, "Incident energy in meV; from the logs if not given.", "--ei", "IncidentEnergy")
    chopper: str | None = job_option(
        None,
        "Chopper package of the instrument, such as S, A or G; from the logs if not given.",
        "--chopper",
        "ChopperPackage",
    )
    frequency: float | None = job_option(
        None, "Chopper frequency in Hz; from the logs if not given.", "--frequency", "ChopperFrequency"
    )
    lattice: str | None = job_option(
        None,
        "Unit cell a,b,c,alpha,beta,gamma in Angstrom and degrees; from the data if not given.",
        "--lattice",
        "Lattice",
    )
    axes: str | None = job_option(
        None,
        "Names of the axes in the order of the file where it does not give them, such as '[H,0,0];DeltaE', and limits "
        "and bins where it does not give those, such as 'Q=0.5:4:70;DeltaE=0:40:80'.",
        "--axes",
    )
    q_bins: int | None = job_option(
        None, "Equal bins of the momentum axis, over --q-range or all of it; bins of the data are merged.", "--q-bins"
    )
    q_range: str | None = job_option(
        None,
        "Lowest and highest momentum to use, in the unit of its axis, such as 1,4; the rest is left out.",
        "--q-range",
        "QRange",
    )
    energy_bins: int | None = job_option(
        None, "Equal bins of energy transfer, over --energy-range or all of it; bins are merged.", "--energy-bins"
    )
    energy_range: str | None = job_option(
        None,
        "Lowest and highest energy transfer to use in meV, such as -5,40; the rest is left out.",
        "--energy-range",
        "EnergyRange",
    )
    width_factor: float = job_option(
        1.0,
        "Factor on the calculated widths, for example from a fit to a vanadium run; 1 leaves them unchanged.",
        "--width-factor",
        "WidthFactor",
    )
    sample: str | None = job_option(
        None,
        "Sample: shape (cuboid, cylinder, annulus, sphere), width, height, thickness in mm, such as cylinder,10,40; a "
        "cube of 10 mm if not given.",
        "--sample",
        "Sample",
    )
    mosaic: float = job_option(0.0, "FWHM of the crystal's mosaic in degrees.", "--mosaic", "Mosaic", zero=True)
    sharpen: float = job_option(
        SHARPEN,
        "How many times finer the resolution of the result is than that of the data; 0 for none at all.",
        "--sharpen",
        "Sharpen",
        zero=True,
    )
    to: str | None = job_option(
        None,
        "Another setting whose resolution the result is brought to, such as Ei=38,chopper=G,frequency=600.",
        "--to",
        "TargetSetting",
    )
    device: str = job_option(
        "auto",
        "Compute device: auto, cpu or cuda; cuda never falls back to the CPU.",
        "--device",
        "Device",
        DEVICES,
    )
    out_of_domain: str = job_option(
        "warn",
        "Response to data unlike the training data, or with an elastic line much narrower or wider than calculated: a "
        "warning (warn), or no result (error).",
        "--out-of-domain",
        "OutOfDomain",
        OUT_OF_DOMAIN,
    )
    intervals: bool = job_option(
        False,
        "Write the ends of the 95 % and the 68 % interval of each bin too, beside the result: OUT-lower-95.nxs, "
        "OUT-lower-68.nxs, OUT-upper-68.nxs and OUT-upper-95.nxs beside OUT.nxs.",
        "--intervals",
    )


def as_for_apply(name: str, text: str | None = None):
    """An option shared with `ApplyOptions`, optionally with another help text."""
    entry = ApplyOptions.__dataclass_fields__[name]
    return field(default=entry.default, metadata=dict(entry.metadata) | ({"help": text} if text else {}))


def as_for_files(name: str):
    """An option shared with `ApplyOptions` for reading a file, which is no property of an algorithm in Mantid."""
    entry = ApplyOptions.__dataclass_fields__[name]
    return field(default=entry.default, metadata=dict(entry.metadata) | {"property": None})


@dataclass(frozen=True)
class ReadOptions(Options):
    """Options for reading a file: what it does not say, and the bins."""

    ei: float | None = as_for_apply("ei", "Incident energy in meV; from the file if not given.")
    axes: str | None = as_for_apply("axes")
    q_bins: int | None = as_for_apply("q_bins")
    q_range: str | None = as_for_apply("q_range")
    energy_bins: int | None = as_for_apply("energy_bins")
    energy_range: str | None = as_for_apply("energy_range")


@dataclass(frozen=True)
class ResolutionOptions(Options):
    """Options for reading a measurement and calculating its resolution, which other jobs share. Those that are None are
    taken from the file.
    """

    instrument: str | None = as_for_apply("instrument")
    ei: float | None = as_for_apply("ei")
    chopper: str | None = as_for_apply("chopper")
    frequency: float | None = as_for_apply("frequency")
    lattice: str | None = as_for_apply("lattice")
    axes: str | None = as_for_files("axes")
    q_bins: int | None = as_for_files("q_bins")
    q_range: str | None = as_for_files("q_range")
    energy_bins: int | None = as_for_files("energy_bins")
    energy_range: str | None = as_for_files("energy_range")
    width_factor: float = as_for_apply("width_factor")
    sample: str | None = as_for_apply("sample")
    mosaic: float = as_for_apply("mosaic")


@dataclass(frozen=True)
class BinOptions(Options):
    """Options for binning the runs of a crystal."""

    axis: tuple[str, ...] = job_option(
        (),
        "Name, lower limit, upper limit and number of bins of an axis, such as [H,0,0],-2,2,80; give it four times.",
        "--axis",
    )
    lattice: str | None = as_for_apply(
        "lattice", "Unit cell a,b,c,alpha,beta,gamma in Angstrom and degrees; an sqw file has one."
    )
    u: str | None = job_option(
        None, "h,k,l along the beam at psi = 0; that of an sqw file, otherwise 1,0,0, if not given.", "--u"
    )
    v: str | None = job_option(
        None,
        "h,k,l of a second direction in the horizontal plane; that of an sqw file, otherwise 0,1,0, if not given.",
        "--v",
    )
    psi: str | None = job_option(
        None, "Angle psi of each file in degrees, separated by commas; from the files if not given.", "--psi"
    )
    psi_offset: float = job_option(0.0, "Offset added to every psi, in degrees.", "--psi-offset")
    instrument: str | None = as_for_apply("instrument")
    ei: float | None = as_for_apply("ei", "Incident energy in meV; from the files if not given.")


def option(name: str, options: type = ApplyOptions) -> dict:
    """Help text, flag, Mantid property and choices of an option."""
    return dict(options.__dataclass_fields__[name].metadata)


def option_of(flag: str) -> str:
    """The training option that has this flag.

    Examples
    --------
    >>> option_of("--validation-simulation")
    'validation_simulation'
    """
    return next(f.name for f in fields(TrainOptions) if f.metadata["flag"] == flag)


def in_mantid(text: str, options: type | None = None) -> str:
    """A help text or message with the command line's flags and choices replaced by their names in Mantid's dialog.

    Where jobs name a flag differently, the names of `options` are used.

    Examples
    --------
    >>> in_mantid("give it (--ei), or use --direction add-resolution")
    'give it (IncidentEnergy), or use Direction AddResolution'
    """
    known = {f.metadata["flag"]: (f.metadata["property"], f.metadata["choices"] or {}) for f in _every_field(options)}
    known |= {flag: (name, {}) for flag, name in _MORE_FLAGS.items()}

    def spelled(match):
        if match["flag"] not in known:
            return match[0]
        name, choices = known[match["flag"]]
        value = choices.get(match["value"], match["value"])
        return ("property " if match["option"] else "") + name + (f" {value}" if value else "")

    text = _FLAG.sub(spelled, text)
    for value, shown in TRANSLATIONS.items():  # but not inside the name of a model
        text = re.sub(rf"(?<![\w-]){value}(?![\w-])", shown, text)
    return text


def properties_named(text: str, options: type | None = None) -> list[str]:
    """Mantid properties whose flags occur in a text, in the order of the text (`options` as in `in_mantid`)."""
    flags = {f.metadata["flag"]: f.metadata["property"] for f in _every_field(options)}
    return [flags[flag] for flag in re.findall(r"--[a-z-]+", text) if flag in flags]


def _every_field(options: type | None = None) -> list:
    """Fields that are properties in Mantid; those of `options` come last and so win."""
    kinds = [ApplyOptions, TrainOptions, *filter(None, [options])]
    return [f for kind in kinds for f in fields(kind) if f.metadata["property"]]


def parse_lattice(text: str | Sequence[float] | Lattice | None) -> Lattice | None:
    """``'4.2,4.2,13.8,90,90,90'`` (or three lengths alone: right angles) as a Lattice; also the numbers themselves, or
    a Lattice, which is returned.

    Raises
    ------
    RunFactError
        If it is not three or six numbers.
    """
    from .run import Lattice

    if text is None or isinstance(text, Lattice):
        return text
    try:
        numbers = [float(x) for x in (text.split(",") if isinstance(text, str) else text)]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) not in (3, 6) or not all(map(math.isfinite, numbers)):
        raise RunFactError(
            f"the lattice {text!r} is not three or six finite numbers separated by commas",
            "give --lattice a,b,c,alpha,beta,gamma in Angstrom and degrees, e.g. --lattice 4.2,4.2,13.8,90,90,90",
        )
    return Lattice(*numbers)


def parse_axes(text: str | None) -> tuple[str, ...] | None:
    """The names of axes in ``'[H,0,0];DeltaE'``, or None."""
    return None if text is None else tuple(name.strip() for name in text.split(";"))


def parse_range(text: str | Sequence[float] | None, flag: str) -> tuple[float, float] | None:
    """``'-5,40'``, or the two numbers themselves, as (low, high); None stays None.

    Raises
    ------
    InputError
        If it is not two finite numbers in ascending order.
    """
    if text is None:
        return None
    try:
        numbers = tuple(float(x) for x in (re.split("[,:]", text) if isinstance(text, str) else text))
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != 2 or not all(map(math.isfinite, numbers)) or not numbers[0] < numbers[1]:
        raise InputError(
            f"{flag} is {text!r}, expected two finite numbers, the lower one first", f"give it as in {flag} -5,40"
        )
    return numbers


def binning_of(options: Options) -> dict[str, int | tuple[float, float] | None]:
    """The bins that options ask for, as `io.open_spectrum` takes them; errors as `parse_range`."""
    return {
        "q_bins": options.q_bins,
        "q_range": parse_range(options.q_range, "--q-range"),
        "energy_bins": options.energy_bins,
        "energy_range": parse_range(options.energy_range, "--energy-range"),
    }


def reading_of(options: Options) -> dict:
    """How options say that a file is to be read: Ei, names of axes and bins, as `io.open_spectrum` takes them."""
    return {"ei": options.ei, "axes": parse_axes(options.axes), **binning_of(options)}


def require_file(options: Options, file: bool, source: str) -> None:
    """Refuse options that say how a file is read where none is.

    Raises
    ------
    InputError
        If there is no `file` and one of them was given; `source` says where the data come from instead.
    """
    names = (n for n in ("axes", "q_bins", "q_range", "energy_bins", "energy_range") if getattr(options, n) is not None)
    flags = [option(name, type(options))["flag"] for name in names]
    if flags and not file:
        raise InputError(
            f"{', '.join(flags)} {'say' if len(flags) > 1 else 'says'} how a file is read, and {source}",
            "give a file, or leave it out",
        )


def parse_target(text: str) -> Setting:
    """``'Ei=38,chopper=G,frequency=600'`` as a Setting.

    Raises
    ------
    RunFactError
        As `Setting.parsed`; also if a sharpness is given.
    """
    from .run import Setting

    found = Setting.parsed(text)
    if found.sharpness is not None:
        raise RunFactError(
            f"the setting {text!r} of --to has a sharpness, and a spectrometer has none",
            "leave it out; --sharpen makes the resolution of the data finer",
        )
    return found


def check_target(options: ApplyOptions) -> None:
    """Raise RunFactError for options about the resolution of the result that have no meaning, or not together."""
    sharpen, adds = options.sharpen, options.direction == "add-resolution"
    _check_without_target(options)
    if not (sharpen == 0 or 1 < sharpen < math.inf):
        raise RunFactError(
            f"--sharpen is {sharpen:g}, expected 0 or a number above 1",
            "give how many times finer the resolution of the result is to be, or 0 for no resolution",
        )
    if sharpen != SHARPEN and (adds or options.to is not None):
        raise RunFactError(
            f"--sharpen {sharpen:g} was given with {'--to' if options.to is not None else '--direction add-resolution'}"
            ", and it is for removing the resolution",
            "leave one of them out",
        )
    if options.to is None:
        return
    parse_target(options.to)
    if options.intervals:
        raise RunFactError(
            "--intervals was given with --to: the intervals of a card hold for one model, and no pairs say what two "
            "models one after the other cover",
            "leave --intervals out and take the standard errors, or remove the resolution without --to",
        )
    if adds:
        raise RunFactError(
            "--to was given with --direction add-resolution: it brings data from their setting to another one",
            "leave --direction out; for a simulation give the setting by --instrument, --ei, --chopper and --frequency",
        )
    if options.model is not None:
        raise RunFactError(
            f"--to was given with --model {options.model}: it takes two models, one that removes the resolution and "
            "one that adds it",
            "leave --model out",
        )


def _check_without_target(options: ApplyOptions) -> None:
    """Raise RunFactError if another resolution is asked for with a direction between simulation and experiment."""
    _, purpose = MEANT.get(options.direction, (None, "resolution"))
    given = {f"--sharpen {options.sharpen:g}": options.sharpen != SHARPEN, f"--to {options.to}": options.to is not None}
    flags = [flag for flag, is_given in given.items() if is_given]
    if purpose == "resolution" or not flags:
        return
    own = "that of the spectrometer" if options.direction == "simulation-to-experiment" else "none at all"
    raise RunFactError(
        f"{flags[0]} was given with --direction {options.direction}, whose result has one resolution, {own}",
        "leave it out, or take --direction remove-resolution, which takes a target",
    )


def overridden(run: Run) -> tuple[str, ...]:
    """The facts of a run that options, or keys of a problem's file, replaced; those that agree with the data are not
    listed.

    Examples
    --------
    >>> from mantid_insgan import Run
    >>> overridden(ApplyOptions(ei=50).run(Run().updated("log Ei of experiment0", ei=49.9)))
    ('option --ei 50 replaces 49.9 from log Ei of experiment0',)
    """
    facts = [fact for fact in (getattr(run, name) for name in RUN_OPTIONS) if fact is not None]
    return tuple(
        f"{new.source} {_shown(new.value)} replaces {_shown(new.replaced.value)}"
        f"{' and its orientation (UB)' * _loses_orientation(new)} from {new.replaced.source}"
        for new in facts
        if new.replaced is not None and new.source.startswith(_REPLACING) and not _same(new.value, new.replaced.value)
    )


def _same(one, other) -> bool:
    """Whether two values of a fact are the same apart from rounding or the case of letters."""
    if hasattr(one, "cell") and hasattr(other, "cell"):
        return all(map(_same, one.cell, other.cell))
    if isinstance(one, str) and isinstance(other, str):
        from .run import plain_name

        return plain_name(one) == plain_name(other)
    try:
        return math.isclose(one, other, rel_tol=SAME)
    except TypeError:
        return one == other


def _shown(value) -> str:
    if hasattr(value, "cell"):
        return ",".join(map(_shown, value.cell))
    return digits(value)


def oriented_as(lattice: Lattice | None, other: Lattice | None) -> Lattice | None:
    """The lattice with the orientation of another lattice of the same cell."""
    if lattice is None or other is None or not _same(lattice, other):
        return lattice
    return replace(lattice, ub=other.ub)


def _loses_orientation(fact) -> bool:
    old = fact.replaced.value
    return hasattr(old, "cell") and old.ub is not None and fact.value.ub is None


#: The model that training starts from if none is given.
BUNDLED = "bundled"


@dataclass(frozen=True)
class TrainOptions(ResolutionOptions):
    """Options for training a model.

    The data are either pairs written by ``insgan make-pairs``, or simulations and experiments as files or folders of
    files. Without `minutes`, `epochs` or `steps` training takes 20 minutes. Those of instrument, ei, chopper, frequency
    and lattice that are None are taken from each file.
    """

    simulation: tuple[Path, ...] = job_option(
        (), "Simulated spectra: files, or folders of them.", "--simulation", "Simulation"
    )
    experiment: tuple[Path, ...] = job_option(
        (), "Measured spectra: files, or folders of them.", "--experiment", "Experiment"
    )
    validation_simulation: tuple[Path, ...] = job_option(
        (),
        "Simulated spectra held out of training to score the model, one for each spectrum of the experiment.",
        "--validation-simulation",
        "ValidationSimulation",
    )
    validation_experiment: tuple[Path, ...] = job_option(
        (),
        "Measured spectra held out of training to score the model, one for each spectrum of the simulation.",
        "--validation-experiment",
        "ValidationExperiment",
    )
    pairs: str | None = job_option(None, "Folder of training pairs written by make-pairs.", "--pairs", "Pairs")
    paired: bool = job_option(
        False,
        "Each simulation belongs to one experiment, in the order given; files of a folder are sorted by name.",
        "--paired",
        "Paired",
    )
    simulation_convolved: bool = job_option(
        False,
        "The simulations already contain the calculated resolution; the model learns only the remaining difference.",
        "--simulation-convolved",
        "SimulationConvolved",
    )
    direction: str = job_option(
        "add-resolution",
        "add-resolution (simulation to experiment) or remove-resolution (experiment to simulation).",
        "--direction",
        "Direction",
        DIRECTIONS,
    )
    minutes: float | None = job_option(None, "Stop after this many minutes.", "--minutes", "MaxMinutes")
    epochs: int | None = job_option(None, "Stop after this many passes over the spectra.", "--epochs", "Epochs")
    steps: int | None = job_option(None, "Stop after this many steps.", "--steps", "Steps")
    batch: int | None = job_option(
        None, "Spectra in each step; chosen by the number of dimensions if not given.", "--batch", "Batch"
    )
    learning_rate: float = job_option(8e-4, "Maximum learning rate.", "--learning-rate", "LearningRate")
    seed: int = job_option(1, "Seed of the random numbers.", "--seed", "Seed")
    warm_start: str = job_option(
        BUNDLED,
        "Model to start from: bundled (the one for the direction), a name, an ONNX file, or none.",
        "--warm-start",
        "WarmStart",
    )
    resume: str | None = job_option(
        None, "Folder of the checkpoint to continue from; beside the output if not given.", "--resume", "Resume"
    )
    device: str = job_option("auto", "Compute device: auto, cpu or cuda.", "--device", "Device", DEVICES)
    precision: str = job_option(
        "32",
        "Precision of the networks: 32 bits, or bf16 if the hardware supports it (the physics stays at 32 bits).",
        "--precision",
        "Precision",
        PRECISIONS,
    )
    tensorboard: str | None = job_option(
        None,
        "Folder for TensorBoard logs of the losses; none are written if not given.",
        "--tensorboard",
        "TensorBoard",
    )
