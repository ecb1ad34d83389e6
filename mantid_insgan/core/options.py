"""Names, defaults and help texts of the main job's options, stated once for command line, Python and Mantid."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, fields

from ..errors import RunFactError
from .run import Lattice, Run

#: What an option may be -> how Mantid's dialog spells it.
DIRECTIONS = {"add-resolution": "AddResolution", "remove-resolution": "RemoveResolution"}
DEVICES = {"auto": "auto", "cpu": "cpu", "cuda": "cuda"}
PRECISIONS = {"32": "32", "bf16": "bf16"}
OUT_OF_DOMAIN = {"warn": "Warn", "error": "Error"}

#: Flags that are no option of the job itself -> property.
_MORE_FLAGS = {"--output": "OutputModel", "--overwrite": "Overwrite"}

#: A flag in a text, perhaps with what it may be behind it.
_FLAG = re.compile(r"(?P<option>option )?(?P<flag>--[a-z][a-z-]*)(?: (?P<value>[a-z][a-z-]*))?(?!\w)")

#: Mantid has two properties for a model, the other faces one option.
BUNDLED_HELP = "Bundled model by name; the one for the direction if not given."
OUTPUT_MODEL_HELP = "Model to write (ONNX); its card, losses and pictures come beside it."
OVERWRITE_HELP = "Replace the output if it exists."
MODEL_FILE_HELP = "ONNX file of another model, with its card beside it."


def _option(default, text: str, flag: str, name: str, choices: dict | None = None):
    return field(default=default, metadata={"help": text, "flag": flag, "property": name, "choices": choices})


@dataclass(frozen=True)
class ApplyOptions:
    """Options of applying a model.

    The metadata of each field hold its help text, its flag on the command line, its property in Mantid and, where it
    is one of a few, what it may be. Mantid shows the help up to the first full stop. Run facts that are None are taken
    from the data; one that is given wins over the data.
    """

    direction: str = _option(
        "remove-resolution",
        "add-resolution (to a simulation) or remove-resolution (from data).",
        "--direction",
        "Direction",
        DIRECTIONS,
    )
    model: str | None = _option(
        None, "Bundled model by name, or an ONNX file with its card beside it.", "--model", "Model"
    )
    instrument: str | None = _option(
        None, "Spectrometer, such as MAPS, MERLIN or LET; from the data if not given.", "--instrument", "Instrument"
    )
    ei: float | None = _option(None, "Incident energy in meV; from the logs if not given.", "--ei", "IncidentEnergy")
    chopper: str | None = _option(
        None,
        "Chopper package of the instrument, such as S, A or G; from the logs if not given.",
        "--chopper",
        "ChopperPackage",
    )
    frequency: float | None = _option(
        None, "Chopper frequency in Hz; from the logs if not given.", "--frequency", "ChopperFrequency"
    )
    lattice: str | None = _option(
        None,
        "Unit cell a,b,c,alpha,beta,gamma in Angstrom and degrees; from the data if not given.",
        "--lattice",
        "Lattice",
    )
    width_factor: float = _option(
        1.0,
        "Factor on the calculated widths, such as one from a vanadium run; 1 takes them as they are.",
        "--width-factor",
        "WidthFactor",
    )
    device: str = _option(
        "auto",
        "Compute device: auto, cpu or cuda; cuda never falls back to the CPU.",
        "--device",
        "Device",
        DEVICES,
    )
    out_of_domain: str = _option(
        "warn",
        "Whether data far from the training data (experimental measure) give a warning (warn) or no result (error).",
        "--out-of-domain",
        "OutOfDomain",
        OUT_OF_DOMAIN,
    )

    def run(self, run: Run) -> Run:
        """`run` with the facts that were given as options.

        Raises
        ------
        RunFactError
            If the lattice does not parse.
        """
        for name in ("instrument", "ei", "chopper", "frequency"):
            run = run.updated(
                f"option {self.__dataclass_fields__[name].metadata['flag']}", **{name: getattr(self, name)}
            )
        return run.updated("option --lattice", lattice=parse_lattice(self.lattice))

    def given(self) -> dict[str, object]:
        """The options that differ from their defaults, for the history of the output."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}


def option(name: str, options: type = ApplyOptions) -> dict:
    """Help text, flag, property and choices of an option."""
    return dict(options.__dataclass_fields__[name].metadata)


def option_of(flag: str) -> str:
    """Name of the option of training that has a flag.

    Examples
    --------
    >>> option_of("--validation-simulation")
    'validation_simulation'
    """
    return next(f.name for f in fields(TrainOptions) if f.metadata["flag"] == flag)


def in_mantid(text: str) -> str:
    """A help text or message with the flags and choices of the command line as Mantid's dialog has them.

    Examples
    --------
    >>> in_mantid("give it (--ei), or use --direction add-resolution")
    'give it (IncidentEnergy), or use Direction AddResolution'
    """
    known = {f.metadata["flag"]: (f.metadata["property"], f.metadata["choices"] or {}) for f in _every_field()}
    known |= {flag: (name, {}) for flag, name in _MORE_FLAGS.items()}

    def spelled(match):
        if match["flag"] not in known:
            return match[0]
        name, choices = known[match["flag"]]
        value = choices.get(match["value"], match["value"])
        return ("property " if match["option"] else "") + name + (f" {value}" if value else "")

    text = _FLAG.sub(spelled, text)
    for value, shown in DIRECTIONS.items():  # not inside the name of a model
        text = re.sub(rf"(?<![\w-]){value}(?![\w-])", shown, text)
    return text


def properties_named(text: str) -> list[str]:
    """Mantid's properties whose flags occur in a text, in the order in which they do."""
    flags = {f.metadata["flag"]: f.metadata["property"] for f in _every_field()}
    return [flags[flag] for flag in re.findall(r"--[a-z-]+", text) if flag in flags]


def _every_field() -> tuple:
    return (*fields(ApplyOptions), *fields(TrainOptions))


def parse_lattice(text: str | None) -> Lattice | None:
    """``'4.2,4.2,13.8,90,90,90'`` (or three lengths alone: right angles) as a Lattice.

    Raises
    ------
    RunFactError
        If it is not three or six numbers.
    """
    if text is None:
        return None
    try:
        numbers = [float(x) for x in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (3, 6) or not all(map(math.isfinite, numbers)):
        raise RunFactError(
            f"the lattice {text!r} is not three or six finite numbers with commas",
            "give --lattice a,b,c,alpha,beta,gamma in Angstrom and degrees, e.g. --lattice 4.2,4.2,13.8,90,90,90",
        )
    return Lattice(*numbers)


#: What a training warms up from when it is not told.
BUNDLED = "bundled"


@dataclass(frozen=True)
class TrainOptions:
    """Options of training a model; metadata as those of `ApplyOptions`.

    Data are either pairs that ``insgan make-pairs`` wrote, or simulations and experiments as files or folders of files.
    Without `minutes`, `epochs` or `steps` training takes 20 minutes.
    """

    simulation: tuple = _option((), "Simulated spectra: files, or folders of them.", "--simulation", "Simulation")
    experiment: tuple = _option((), "Measured spectra: files, or folders of them.", "--experiment", "Experiment")
    validation_simulation: tuple = _option(
        (),
        "Simulated spectra that are never trained on: with those of the experiment, one by one, they score the model.",
        "--validation-simulation",
        "ValidationSimulation",
    )
    validation_experiment: tuple = _option(
        (),
        "Measured spectra that are never trained on: with those of the simulation, one by one, they score the model.",
        "--validation-experiment",
        "ValidationExperiment",
    )
    pairs: str | None = _option(None, "Folder of pairs that make-pairs wrote.", "--pairs", "Pairs")
    paired: bool = _option(
        False,
        "Simulation and experiment belong together one by one, in the order given and by name within folders.",
        "--paired",
        "Paired",
    )
    simulation_convolved: bool = _option(
        False,
        "The simulations carry the calculated resolution already, and only what they lack is learned.",
        "--simulation-convolved",
        "SimulationConvolved",
    )
    direction: str = _option(
        "add-resolution",
        "add-resolution (simulation to experiment) or remove-resolution (experiment to simulation).",
        "--direction",
        "Direction",
        DIRECTIONS,
    )
    minutes: float | None = _option(None, "Stop training after so many minutes.", "--minutes", "MaxMinutes")
    epochs: int | None = _option(None, "Stop after every spectrum was seen so often.", "--epochs", "Epochs")
    steps: int | None = _option(None, "Stop after so many steps.", "--steps", "Steps")
    batch: int | None = _option(
        None, "Spectra in a step; by the number of dimensions if not given.", "--batch", "Batch"
    )
    learning_rate: float = _option(8e-4, "Highest learning rate.", "--learning-rate", "LearningRate")
    seed: int = _option(1, "Seed of all that is random.", "--seed", "Seed")
    warm_start: str = _option(
        BUNDLED,
        "Model to begin with: bundled (the one for the direction), a name, an ONNX file, or none.",
        "--warm-start",
        "WarmStart",
    )
    resume: str | None = _option(
        None, "Folder of the checkpoint to go on from; beside the output if not given.", "--resume", "Resume"
    )
    device: str = _option("auto", "Compute device: auto, cpu or cuda.", "--device", "Device", DEVICES)
    precision: str = _option(
        "32",
        "Of the networks' arithmetic: 32 bits, or bf16 where the processor or card has it (the physics stays at 32).",
        "--precision",
        "Precision",
        PRECISIONS,
    )
    tensorboard: str | None = _option(
        None,
        "Folder for the losses as TensorBoard shows them; none are written if not given.",
        "--tensorboard",
        "TensorBoard",
    )
    instrument: str | None = _option(None, "Spectrometer, where files do not tell.", "--instrument", "Instrument")
    ei: float | None = _option(None, "Incident energy in meV, where files do not tell.", "--ei", "IncidentEnergy")
    chopper: str | None = _option(None, "Chopper package, where files do not tell.", "--chopper", "ChopperPackage")
    frequency: float | None = _option(
        None, "Chopper frequency in Hz, where files do not tell.", "--frequency", "ChopperFrequency"
    )
    lattice: str | None = _option(
        None, "Unit cell a,b,c,alpha,beta,gamma where files do not tell.", "--lattice", "Lattice"
    )
    width_factor: float = _option(1.0, "Factor on the calculated widths.", "--width-factor", "WidthFactor")

    def run(self, run: Run) -> Run:
        """`run` with the facts that it lacks and that were given as options (errors as `parse_lattice`)."""
        names = ("instrument", "ei", "chopper", "frequency")
        for name in names:
            if getattr(run, name) is None:
                flag = self.__dataclass_fields__[name].metadata["flag"]
                run = run.updated(f"option {flag}", **{name: getattr(self, name)})
        if run.lattice is None:
            run = run.updated("option --lattice", lattice=parse_lattice(self.lattice))
        return run
