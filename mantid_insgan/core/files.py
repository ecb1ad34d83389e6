"""Writing files completely or not at all: under a temporary name in the same folder, then renamed."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import OutputError


@contextmanager
def replacing(path: Path, ending: str = ".part") -> Iterator[Path]:
    """A temporary name in the folder of `path`, for the file that will replace it.

    When the ``with`` block ends normally, the file is flushed to the disk and renamed to `path`. When it ends by any
    exception, including KeyboardInterrupt, the file is deleted and an existing file at `path` is left unchanged.

    Parameters
    ----------
    path : Path
    ending : str
        Suffix of the temporary name, for libraries that choose the format by it.

    Raises
    ------
    OSError
        If the file cannot be flushed or renamed (disk full, folder gone).
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{ending}")
    try:
        yield temporary
        with open(temporary, "rb") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def check_output(path: str | Path, overwrite: bool = False, inputs: Iterable[str | Path] = ()) -> None:
    """Check before a long calculation whether a result can be written.

    Parameters
    ----------
    path : path
    overwrite : bool
    inputs : iterable of path
        Files that are read, none of which it may replace.

    Raises
    ------
    OutputError
        If the file exists and may not be overwritten, is an input or a folder, or its folder is missing or read-only.
    """
    path = Path(path)
    folder = path.parent
    for one in inputs:
        require_another(one, path)
    if path.is_dir():
        raise OutputError(f"the output {path} is a folder", "name a file inside it")
    if path.exists() and not overwrite:
        raise OutputError(f"the output {path} already exists", "give another name, or --overwrite to replace it")
    if not folder.is_dir():
        raise OutputError(f"the output folder {folder} does not exist", "create the folder first, or name another")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise read_only(folder)


def read_only(folder: Path) -> OutputError:
    """The error for a folder in which the user has no write permission."""
    return OutputError(f"the output folder {folder} is read-only", "choose a folder with write permission")


def require_another(source: str | Path, target: str | Path) -> None:
    """Raise OutputError if an output would replace an input, under this or another name."""
    source, target = Path(source), Path(target)
    if target.exists() and source.exists() and target.samefile(source):
        raise OutputError(f"the output {target} is the input, which would be lost", "give another name for the output")
