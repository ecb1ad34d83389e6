"""The exceptions for users: each states what was found, what was expected, and the remedy."""

from __future__ import annotations


class InsganError(Exception):
    """A problem that the user can fix.

    Parameters
    ----------
    reason : str
        What was found and what was expected, naming the file, option or axis.
    fix : str
        The remedy.

    Examples
    --------
    >>> print(InsganError("Ei is missing from cut.nxs", "give --ei in meV"))
    Ei is missing from cut.nxs. Fix: give --ei in meV.
    """

    #: Exit status of the command line for this kind of error (see docs/command-line.md).
    exit_code = 1

    def __init__(self, reason: str, fix: str):
        self.reason = reason.rstrip(".")
        self.fix = fix.rstrip(".")
        super().__init__(f"{self.reason}. Fix: {self.fix}.")


class InputError(InsganError):
    """A file or array that cannot be read as a spectrum."""

    exit_code = 3


class RunFactError(InsganError):
    """A fact of the measurement (Ei, instrument, chopper...) is missing, unknown or out of range."""

    exit_code = 4


class ModelError(InsganError):
    """A model (ONNX file or card) that cannot be used, or that does not fit this spectrum."""

    exit_code = 5


class OutputError(InsganError):
    """A result that cannot be written to the requested place."""

    exit_code = 6


class DeviceError(InsganError):
    """A compute device or a library that is needed but not available."""

    exit_code = 7
