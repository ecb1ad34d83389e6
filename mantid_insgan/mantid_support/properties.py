"""Properties of Mantid's algorithms from the options of the main job, with the same defaults and help texts.

Mantid imports this at its start-up, so nothing is imported here that takes time.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

from mantid.api import Progress
from mantid.kernel import (
    EnabledWhenProperty,
    FloatBoundedValidator,
    IntBoundedValidator,
    LogicOperator,
    Property,
    PropertyCriterion,
    StringListValidator,
    VisibleWhenProperty,
)

from ..core.options import ApplyOptions, in_mantid, option

#: Where the pages of docs/ are published, such as 'https://example.org/mantid-insgan'. They are nowhere yet; until then
#: the help button opens the paper of the method, because Mantid takes an address with https or looks for a page of its
#: own that is not there.
DOCUMENTATION = ""
PAPER = "https://doi.org/10.1039/D2DD00147K"

#: Steps in which progress is told.
STEPS = 1_000_000


@dataclass(frozen=True)
class Rule:
    """When the dialog lets a property be filled, or shows it: while all of its conditions hold. Scripts are free.

    Parameters
    ----------
    hides : bool
        Whether the property is hidden else; it is greyed out if not.
    empty : tuple of str
        Properties that are to be as they were declared.
    unlike : tuple of (str, str)
        Properties, and what they may not be.
    """

    hides: bool
    empty: tuple[str, ...] = ()
    unlike: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        """For a page: ``'shown while Pairs is empty'``."""
        *first, last = self.empty or ("",)
        parts = [f"{', '.join(first)} and {last} are empty" if first else f"{last} is empty"] * bool(last)
        parts += [f"{name} is not {value}" for name, value in self.unlike]
        return ("shown" if self.hides else "can be filled") + " while " + " and ".join(parts)

    def settings(self):
        """The rule as Mantid takes it."""
        when = VisibleWhenProperty if self.hides else EnabledWhenProperty
        conditions = [when(name, PropertyCriterion.IsDefault) for name in self.empty]
        conditions += [when(name, PropertyCriterion.IsNotEqualTo, value) for name, value in self.unlike]
        return reduce(lambda one, other: when(one, other, LogicOperator.And), conditions)


_SPECTRA = ("Simulation", "SimulationFiles", "Experiment", "ExperimentFiles")
_VALIDATION = ("ValidationSimulation", "ValidationExperiment")
_MEASUREMENT = ("Instrument", "ChopperFrequency", "IncidentEnergy", "Lattice", "WidthFactor")
_WITHOUT_PAIRS = Rule(hides=True, empty=("Pairs",))
#: Algorithm -> property -> rule. Pairs bring the facts of their measurement; HYSPEC has one chopper package.
RULES = {
    "ApplyResolutionGAN": {
        "Model": Rule(hides=False, empty=("ModelFile",)),
        "ModelFile": Rule(hides=False, empty=("Model",)),
        "ChopperPackage": Rule(hides=True, unlike=(("Instrument", "HYSPEC"),)),
    },
    "TrainResolutionGAN": {
        **{name: Rule(hides=False, empty=("Pairs",)) for name in (*_SPECTRA, "Paired", "SimulationConvolved")},
        "Pairs": Rule(hides=False, empty=_SPECTRA),
        **dict.fromkeys((*_VALIDATION, *_MEASUREMENT), _WITHOUT_PAIRS),
        "ChopperPackage": Rule(hides=True, empty=("Pairs",), unlike=(("Instrument", "HYSPEC"),)),
    },
}


def set_rules(algorithm) -> None:
    """Give the properties of an algorithm, which are declared, the rules of `RULES`."""
    for name, rule in RULES[algorithm.name()].items():
        algorithm.setPropertySettings(name, rule.settings())


def help_url(algorithm) -> str:
    """What the help button of an algorithm opens."""
    return f"{DOCUMENTATION}/algorithms/{algorithm.name()}.html" if DOCUMENTATION else PAPER


class Reports:
    """Progress of which Mantid passes nothing over: it looks at each report whether the algorithm was cancelled.

    Parameters
    ----------
    algorithm : mantid.api.PythonAlgorithm
    """

    def __init__(self, algorithm):
        self._progress = Progress(algorithm, start=0.0, end=1.0, nreports=STEPS)
        self._progress.setNotifyStep(100.0 / STEPS)
        self._step = 0

    def __call__(self, share: float, message: str) -> None:
        """Tell the share done, 0 to 1; KeyboardInterrupt, Mantid's own, comes out of a cancelled algorithm."""
        self._step = max(self._step + 1, int(share * STEPS))
        self._progress.report(self._step, message)


def declare_option(algorithm, name: str, options: type = ApplyOptions, choices=None, text: str | None = None) -> None:
    """Declare the property of an option.

    Parameters
    ----------
    algorithm : mantid.api.PythonAlgorithm
    name : str
        A field of `options` that is a text, a number or a switch.
    options : type
        `ApplyOptions` or `TrainOptions`.
    choices : sequence of str, optional
        What the property may be, for options that are not one of a few by themselves; '' stands for not given.
    text : str, optional
        The tooltip, if it is not the help text of the option.
    """
    about = option(name, options)
    default, kind = getattr(options(), name), options.__dataclass_fields__[name].type
    doc = in_mantid(text or about["help"])
    validator, unset = None, ""
    if about["choices"]:
        choices, default = list(about["choices"].values()), about["choices"][default]
        doc = _spelled(doc, about["choices"])
    if choices is not None:
        validator = StringListValidator(list(choices))
    elif "float" in kind:
        validator, unset = FloatBoundedValidator(lower=0.0, exclusive=True), Property.EMPTY_DBL
    elif "int" in kind:
        # A count that may be left away is at least 1 where it is given.
        validator, unset = IntBoundedValidator(lower=1 if default is None else 0), Property.EMPTY_INT
    default = unset if default is None else default
    algorithm.declareProperty(name=about["property"], defaultValue=default, validator=validator, doc=doc)


def _spelled(text: str, choices: dict[str, str]) -> str:
    for value, shown in choices.items():
        text = text.replace(f"({value})", f"({shown})")
    return text


def option_value(algorithm, name: str, options: type = ApplyOptions):
    """The value of an option's property as the options have it; None where it was not given."""
    about = option(name, options)
    value = algorithm.getProperty(about["property"]).value
    if about["choices"]:
        return {shown: v for v, shown in about["choices"].items()}[value]
    return None if value in ("", Property.EMPTY_DBL, Property.EMPTY_INT) else value


def file_names(value) -> list[str]:
    """The files of a MultipleFileProperty, which gives lists within a list where files are summed with '+'."""
    return [name for entry in value for name in ([entry] if isinstance(entry, str) else entry)]


def missing_library(error: ImportError, extra: str = "cpu") -> str:
    """What to tell a user whose Mantid has no such library; `extra` is that of the package which brings it."""
    return f"{error}. Fix: pip install 'mantid-insgan[{extra}]' into the Python of Mantid."
