"""Standard error as the post-processing agent of SNS wants it: empty unless the run has failed.

The agent takes any text on standard error for a failure, warnings included, and does not look at the exit status. This
module imports nothing that could warn.
"""

from __future__ import annotations

import os
import sys
import traceback

#: The file descriptor of standard error, for Python and for the libraries below it.
_STANDARD_ERROR = 2


def errors_alone() -> None:
    """From here on, what is written to standard error goes to standard output: warnings of Python, messages of ONNX
    Runtime and of Mantid. On the standard error that the process was started with appears only the line of an exception
    that ends it, with exit status 1 (its traceback goes to standard output), and the report of a crash.
    """
    import faulthandler

    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    kept = os.dup(_STANDARD_ERROR)
    os.dup2(sys.stdout.fileno(), _STANDARD_ERROR)
    faulthandler.enable(file=kept)  # a crash would otherwise leave standard error empty, which counts as success

    def ended_by(kind, error, where) -> None:
        traceback.print_exception(kind, error, where, file=sys.stdout)
        sys.stdout.flush()
        os.write(kept, f"{kind.__name__}: {error}\n".encode(errors="replace"))

    sys.excepthook = ended_by
