"""Adds the plug-in folder to Mantid's properties file, and removes it; copies the scripts for autoreduction.

Mantid has no entry points; it executes the Python files below the folders that its property
``user.python.plugins.directories`` lists. If the user's file has that line, our folder is added at its end; otherwise a
line with a comment is added at the top. Everything else is unchanged, byte for byte.
"""

from __future__ import annotations

import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from ..bundled import plugin_folders, scripts_folder
from ..core.files import check_output, replacing
from ..errors import OutputError

KEY = "user.python.plugins.directories"
FILE = "Mantid.user.properties"
#: Comment above a new line.
COMMENT = "# Algorithms of mantid-insgan, added by insgan install-plugins"

#: Possible folders of Mantid.properties below the prefix of an installation (conda on Windows has Library).
_INSTALLED = ("bin", "Library/bin", "etc", ".")
# A value continues after a line end that follows a backslash.
_LINE = re.compile(
    rf"^(?P<head>[ \t]*{re.escape(KEY)}[ \t]*[=:][ \t]*)(?P<value>(?:\\\r?\n|[^\r\n])*?)(?P<tail>[ \t]*\r?$)",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Change:
    """A change to a properties file, made or planned.

    Attributes
    ----------
    path : Path
    before, after : bytes or None
        Contents; None if there is no file.
    backup : Path
        Copy of the previous contents, if there were any.
    """

    path: Path
    before: bytes | None
    after: bytes | None
    backup: Path

    @property
    def needed(self) -> bool:
        """False if the file already has the wanted contents."""
        return self.before != self.after

    def lines(self) -> list[str]:
        """The removed and added lines, marked with ``-`` and ``+``."""
        import difflib

        old, new = ([] if c is None else _text(c).splitlines() for c in (self.before, self.after))
        shown = difflib.unified_diff(old, new, lineterm="", n=0)
        return [line for line in shown if not line.startswith(("---", "+++", "@@"))]


def user_properties(prefix: Path | None = None, platform: str = sys.platform) -> Path:
    """The properties file to change.

    Parameters
    ----------
    prefix : Path, optional
        A Mantid installation, to change it for all users. If not given, the user's own file: in ``~/.mantid``, or, on
        Windows, next to Mantid.properties in the installation that runs this Python.
    platform : str
        As `sys.platform`.

    Raises
    ------
    OutputError
        If there is no Mantid.properties under the prefix.
    """
    windows = platform == "win32"
    if prefix is None and not windows:
        return Path.home() / ".mantid" / FILE
    root = Path(sys.prefix if prefix is None else prefix)
    for folder in (root / place for place in _INSTALLED):
        if (folder / "Mantid.properties").is_file():
            return folder / (FILE if windows else "Mantid.properties")
    raise OutputError(
        f"there is no Mantid.properties in {', '.join(_INSTALLED[:-1])} under {root}",
        "name the folder of a Mantid installation with --prefix, or change the user's own file with --user",
    )


def plan(path: Path, *, remove: bool = False, folders: list[Path] | None = None) -> Change:
    """The change that makes a properties file list the plug-in folders, or no longer list them.

    Parameters
    ----------
    path : Path
    remove : bool
    folders : list of Path, optional
        The plug-in folders of this package if not given.

    Raises
    ------
    OutputError
        If the file cannot be read, or the name of a folder cannot be written to it.
    """
    path = path.resolve()  # a link remains a link
    names = [_name(f) for f in (plugin_folders() if folders is None else folders)]
    try:
        before = path.read_bytes() if path.exists() else None
    except OSError as error:
        raise OutputError(f"{path} cannot be read ({error.strerror})", "check its permissions") from error
    backup = path.with_name(f"{path.name}.before-insgan")
    text = _text(before or b"")
    after = (_without(text, names) if remove else _with(text, names)).encode("utf-8", "surrogateescape")
    if not after and before != b"" and not (before and backup.exists()):
        after = None  # no file, or one that the installation made
    return Change(path, before, after, backup)


def carry_out(change: Change) -> None:
    """Write the file, completely or not at all; the previous contents are kept as a backup in the same folder.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    if not change.needed:
        return
    try:
        change.path.parent.mkdir(parents=True, exist_ok=True)
        if change.after is None:
            change.path.unlink()
            return
        restored = change.backup.exists() and change.backup.read_bytes() == change.after
        if change.before is not None and not restored:
            shutil.copy2(change.path, change.backup)
        with replacing(change.path) as temporary:
            temporary.write_bytes(change.after)
            if change.before is not None:
                shutil.copymode(change.path, temporary)
        if restored:
            change.backup.unlink()
    except OSError as error:
        raise OutputError(
            f"{change.path} cannot be written ({error.strerror})", "check the permissions of the file and its folder"
        ) from error


def copy_scripts(folder: Path, *, overwrite: bool = False, dry_run: bool = False) -> dict[Path, bool]:
    """Copy the scripts for autoreduction and live data into a folder, all or none of them.

    Parameters
    ----------
    folder : Path
    overwrite : bool
        Whether to replace scripts that were changed there.
    dry_run : bool
        Whether only to say what would be written.

    Returns
    -------
    dict of Path to bool
        Each script -> whether it is new or different; the others are left alone.

    Raises
    ------
    OutputError
        If a script there has other contents, or the folder cannot be written to.
    """
    sources = [f for f in sorted(scripts_folder().iterdir()) if f.is_file()]
    needed = {f: not _same_file(f, folder / f.name) for f in sources}
    for source, differs in needed.items():
        if differs:
            check_output(folder / source.name, overwrite)
    for source, differs in needed.items():
        if differs and not dry_run:
            with replacing(folder / source.name) as temporary:
                shutil.copy(source, temporary)
    return {folder / source.name: differs for source, differs in needed.items()}


def _same_file(source: Path, target: Path) -> bool:
    return target.is_file() and target.read_bytes() == source.read_bytes()


def _text(content: bytes) -> str:
    return content.decode("utf-8", "surrogateescape")


def _name(folder: Path) -> str:
    name = folder.as_posix()  # Mantid accepts forward slashes on every platform, and treats a backslash as an escape
    if ";" in name or "\n" in name:
        raise OutputError(
            f"the folder {name!r} has a character in its name that separates folders in Mantid's properties",
            "install the package in a folder without ; in its name",
        )
    return name


def _with(text: str, names: list[str]) -> str:
    lines = list(_LINE.finditer(text))
    if not lines:
        end = "\r\n" if "\r\n" in text else "\n"
        return f"{COMMENT}{end}{KEY} = {';'.join(names)}{end}{text}"
    line = lines[-1]  # the last line is the one that Mantid uses
    entries = line["value"].split(";") if line["value"] else []
    entries += [n for n in names if n not in map(str.strip, entries)]
    return _put(text, line, entries)


def _without(text: str, names: list[str]) -> str:
    for line in reversed(list(_LINE.finditer(text))):
        entries = line["value"].split(";") if line["value"] else []
        left = [e for e in entries if e.strip() not in names]
        text = _put(text, line, left)
    ours = re.compile(rf"^{re.escape(COMMENT)}\r?\n{re.escape(KEY)} = \r?\n", re.MULTILINE)
    return ours.sub("", text)


def _put(text: str, line: re.Match, entries: list[str]) -> str:
    return f"{text[: line.start('value')]}{';'.join(entries)}{text[line.end('value') :]}"
