"""Properties of the Mantid algorithms, made from the options of the jobs, with the same defaults and help texts.

Mantid imports this module at start-up, so it imports nothing that takes time.
"""

from __future__ import annotations

import warnings
from contextlib import contextmanager
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

from ..core.options import TRANSLATIONS, ApplyOptions, in_mantid, option, properties_named
from ..errors import InsganError

#: Address of the published pages of docs/, such as 'https://example.org/mantid-insgan'. They are not published yet;
#: until then the help button opens the paper on the method, because without an https address Mantid looks for one of
#: its own pages, which does not exist.
DOCUMENTATION = ""
PAPER = "https://doi.org/10.1039/D2DD00147K"

#: Number of steps of the progress report.
STEPS = 1_000_000


@dataclass(frozen=True)
class Rule:
    """When the dialog enables or shows a property: while all conditions hold. Scripts are not affected.

    Parameters
    ----------
    hides : bool
        Whether the property is hidden otherwise; if False, it is greyed out.
    empty : tuple of str
        Properties that must have their default values.
    unlike : tuple of (str, str)
        Properties, and the values that they must not have.
    """

    hides: bool
    empty: tuple[str, ...] = ()
    unlike: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        """Text for the documentation: ``'shown while Pairs is empty'``."""
        *first, last = self.empty or ("",)
        parts = [f"{', '.join(first)} and {last} are empty" if first else f"{last} is empty"] * bool(last)
        parts += [f"{name} is not {value}" for name, value in self.unlike]
        return ("shown" if self.hides else "can be filled") + " while " + " and ".join(parts)

    def settings(self):
        """The rule as a Mantid property setting."""
        when = VisibleWhenProperty if self.hides else EnabledWhenProperty
        conditions = [when(name, PropertyCriterion.IsDefault) for name in self.empty]
        conditions += [when(name, PropertyCriterion.IsNotEqualTo, value) for name, value in self.unlike]
        return reduce(lambda one, other: when(one, other, LogicOperator.And), conditions)


_SPECTRA = ("Simulation", "SimulationFiles", "Experiment", "ExperimentFiles")
_VALIDATION = ("ValidationSimulation", "ValidationExperiment")
_MEASUREMENT = ("Instrument", "ChopperFrequency", "IncidentEnergy", "Lattice", "WidthFactor", "Sample", "Mosaic")
_CHOPPER = Rule(hides=True, unlike=(("Instrument", "HYSPEC"),))
#: Directions that take no target.
_WITHOUT_TARGET = tuple(("Direction", name) for value, name in TRANSLATIONS.items() if value != "remove-resolution")
_WITHOUT_PAIRS = Rule(hides=True, empty=("Pairs",))
#: Algorithm -> property -> rule. Pairs contain the facts of their measurement; HYSPEC has one chopper package.
RULES = {
    "ApplyResolutionGAN": {
        "Model": Rule(hides=False, empty=("ModelFile",)),
        "ModelFile": Rule(hides=False, empty=("Model",)),
        "ChopperPackage": _CHOPPER,
        "Sharpen": Rule(hides=False, empty=("TargetSetting",), unlike=_WITHOUT_TARGET),
        "TargetSetting": Rule(hides=False, empty=("Model", "ModelFile"), unlike=_WITHOUT_TARGET),
    },
    "FitSpinWModel": {"ChopperPackage": _CHOPPER},
    "PrepareSpinWFit": {},
    "SimulateSpinWModel": {"ChopperPackage": _CHOPPER},
    "TrainResolutionGAN": {
        **{name: Rule(hides=False, empty=("Pairs",)) for name in (*_SPECTRA, "Paired", "SimulationConvolved")},
        "Pairs": Rule(hides=False, empty=_SPECTRA),
        **dict.fromkeys((*_VALIDATION, *_MEASUREMENT), _WITHOUT_PAIRS),
        "ChopperPackage": Rule(hides=True, empty=("Pairs",), unlike=(("Instrument", "HYSPEC"),)),
    },
}


def set_rules(algorithm) -> None:
    """Apply the rules of `RULES` to the declared properties of an algorithm."""
    for name, rule in RULES[algorithm.name()].items():
        algorithm.setPropertySettings(name, rule.settings())


def help_url(algorithm) -> str:
    """The address that the help button of an algorithm opens."""
    return f"{DOCUMENTATION}/algorithms/{algorithm.name()}.html" if DOCUMENTATION else PAPER


class Reports:
    """Progress reports that Mantid never skips: with each one it checks whether the algorithm was cancelled.

    Parameters
    ----------
    algorithm : mantid.api.PythonAlgorithm
    """

    def __init__(self, algorithm):
        self._progress = Progress(algorithm, start=0.0, end=1.0, nreports=STEPS)
        self._progress.setNotifyStep(100.0 / STEPS)
        self._step = 0

    def __call__(self, share: float, message: str) -> None:
        """Report the fraction done, 0 to 1; in a cancelled algorithm, Mantid raises KeyboardInterrupt."""
        self._step = max(self._step + 1, int(share * STEPS))
        self._progress.report(self._step, message)


def declare_option(algorithm, name: str, options: type = ApplyOptions, choices=None, text: str | None = None) -> None:
    """Declare the property of an option.

    Parameters
    ----------
    algorithm : mantid.api.PythonAlgorithm
    name : str
        A field of `options` that is a text, a number, a boolean, or several texts, which are separated by commas.
    options : type
        The dataclass of options.
    choices : sequence of str, optional
        Allowed values, for options without choices of their own; '' means not given.
    text : str, optional
        The tooltip, if it differs from the help text of the option.
    """
    about = option(name, options)
    default, kind = getattr(options(), name), options.__dataclass_fields__[name].type
    doc = in_mantid(text or about["help"], options)
    validator, unset = None, ""
    if about["choices"]:
        choices, default = list(about["choices"].values()), about["choices"][default]
        doc = _spelled(doc, about["choices"])
    if choices is not None:
        validator = StringListValidator(list(choices))
    elif "float" in kind:
        validator, unset = FloatBoundedValidator(lower=0.0, exclusive=not about["zero"]), Property.EMPTY_DBL
    elif "int" in kind:
        # An optional count is at least 1 if it is given.
        validator, unset = IntBoundedValidator(lower=1 if default is None else 0), Property.EMPTY_INT
    default = unset if default is None or default == () else default
    algorithm.declareProperty(name=about["property"], defaultValue=default, validator=validator, doc=doc)


def _spelled(text: str, choices: dict[str, str]) -> str:
    for value, shown in choices.items():
        text = text.replace(f"({value})", f"({shown})")
    return text


def option_value(algorithm, name: str, options: type = ApplyOptions):
    """The value of the property of an option, as used by the options; None if it was not given."""
    about = option(name, options)
    value = algorithm.getProperty(about["property"]).value
    if about["choices"]:
        return {shown: v for v, shown in about["choices"].items()}[value]
    if isinstance(options.__dataclass_fields__[name].default, tuple):
        return tuple(part for text in value.split(",") if (part := text.strip()))
    return None if value in ("", Property.EMPTY_DBL, Property.EMPTY_INT) else value


@contextmanager
def warnings_in_log(algorithm, options: type | None = None):
    """Show warnings of this package in the log of an algorithm at once, and those of libraries at debug level."""

    def show(message, category, *_, **__):
        log = algorithm.log()
        tell = log.warning if category.__module__.startswith("mantid_insgan") else log.debug
        tell(in_mantid(str(message), options))

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def options_of(algorithm, groups: dict[str, tuple[str, ...]], options: type):
    """The options of an algorithm whose dialog has these groups of them.

    Parameters
    ----------
    algorithm : mantid.api.PythonAlgorithm
    groups : dict of str to tuple of str
        Group of the dialog -> names of options.
    options : type
        The dataclass of options.
    """
    return options(**{name: option_value(algorithm, name, options) for names in groups.values() for name in names})


def told_under(error: InsganError, options: type, otherwise: str) -> dict[str, str]:
    """An error under the property that its text names, as validateInputs gives it.

    Parameters
    ----------
    error : InsganError
    options : type
        The dataclass of options whose properties may be named.
    otherwise : str
        Property for an error that names none.
    """
    own = {f.metadata["property"] for f in options.__dataclass_fields__.values()}
    named = [name for text in (error.reason, error.fix) for name in properties_named(text, options)]
    return {next((name for name in named if name in own), otherwise): in_mantid(str(error), options)}


def file_names(value) -> list[str]:
    """The files of a MultipleFileProperty, which contains nested lists for files summed with '+'."""
    return [name for entry in value for name in ([entry] if isinstance(entry, str) else entry)]


def missing_library(error: ImportError, extra: str = "cpu") -> str:
    """Message for a library that is missing from Mantid's Python; the extra `extra` of this package installs it."""
    return f"{error}. Fix: pip install 'mantid-insgan[{extra}]' into the Python of Mantid."
