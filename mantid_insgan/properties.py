"""Properties of Mantid's algorithms from the options of the main job, with the same defaults and help texts.

Mantid imports this at its start-up, so nothing is imported here that takes time.
"""

from __future__ import annotations

from mantid.kernel import FloatBoundedValidator, IntBoundedValidator, Property, StringListValidator

from .options import ApplyOptions, in_mantid, option

#: What an algorithm's help button opens (Mantid takes https alone): the paper of the method.
HELP_URL = "https://doi.org/10.1039/D2DD00147K"


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
    return f"{error}. To mend it: pip install 'mantid-insgan[{extra}]' into the Python of Mantid."
