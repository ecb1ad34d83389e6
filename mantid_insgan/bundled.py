"""Names of the models, Mantid plug-ins and instruments in the package's folders, without opening any model.

Mantid needs these names at start-up, so nothing is imported here that takes time.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

_HERE = Path(__file__).parent


def _folder(name: str, installed: str = "") -> Path:
    """A folder at the top of the repository in a checkout; named `installed` inside an installed package."""
    inside = _HERE / (installed or name)
    return inside if inside.is_dir() else _HERE.parent / name


def models_folder() -> Path:
    """The folder of the bundled models: inside the installed package, or at the top of a checkout."""
    return _folder("models", "bundled_models")


def model_names(folder: Path) -> list[str]:
    """Names of the models in a folder; each is the name of a subfolder."""
    return sorted(p.parent.name for p in folder.glob("*/card.json"))


def plugin_folders() -> list[Path]:
    """The plug-in folders for Mantid. Mantid executes every Python file below them, so no other folder is given."""
    folders = (_folder("plugins") / kind for kind in ("algorithms", "functions"))
    return [f.resolve() for f in folders if any(f.glob("*.py"))]


def scripts_folder() -> Path:
    """The folder of the scripts for autoreduction and live data, which Mantid must not execute."""
    return (_folder("plugins") / "autoreduction").resolve()


@cache
def instrument_names() -> tuple[str, ...]:
    """Names of the instruments whose resolution is known."""
    text = (_HERE / "instruments" / "instruments.toml").read_text(encoding="utf-8")
    return tuple(re.findall(r"^\[([\w-]+)\]$", text, re.MULTILINE))  # a TOML parser would be slower
