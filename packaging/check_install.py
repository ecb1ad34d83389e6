"""Checks an installed package from outside the checkout: ``python check_install.py RUN.nxspe`` in an empty folder.

Before a release, and in the tests, this runs the demo, the list of models, `install-plugins --dry-run` and a script of
the autoreduction on a reduced run (an nxspe file of MERLIN), all with the interpreter that runs it. It prints what it
did, and ends with an error if something is missing.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import mantid_insgan

#: The folder of the checkout that this file lies in, which must not be imported from.
CHECKOUT = Path(__file__).resolve().parents[1]
OF_RESOLUTION = [f"{way}-resolution-{n}d" for way in ("add", "remove") for n in (1, 2, 3)]
MODELS = sorted([*OF_RESOLUTION, "experiment-to-simulation-2d", "simulation-to-experiment-2d"])


def insgan(*words: str) -> str:
    """What a command prints; it must end well."""
    ran = subprocess.run([sys.executable, "-m", "mantid_insgan", *words], capture_output=True, text=True)
    if ran.returncode != 0:
        raise SystemExit(f"insgan {' '.join(words)} ended with {ran.returncode}:\n{ran.stdout}{ran.stderr}")
    print(f"insgan {' '.join(words)}: done")
    return ran.stdout


def check(good: bool, what: str) -> None:
    """End with an error where something is not as it should be."""
    if not good:
        raise SystemExit(f"the installed package fails: {what}")


def main(run: Path) -> None:
    """All checks, in the present folder."""
    home = Path(mantid_insgan.__file__).resolve().parent
    check(not home.is_relative_to(CHECKOUT), f"it is imported from the checkout ({home})")
    version = mantid_insgan.__version__
    check(metadata.version("mantid-insgan") == version, f"its metadata do not give the version {version}")
    check(insgan("--version") == f"insgan {version}\n", "insgan --version")
    names = [model["name"] for model in json.loads(insgan("models", "--json"))]
    check(names == MODELS, f"the models are {names}")
    insgan("demo", "--output", "demo")
    made = {path.name for path in Path("demo").iterdir()}
    check(any(name.endswith(".png") for name in made) and any(name.endswith(".nxs") for name in made), f"demo: {made}")
    planned = insgan("install-plugins", "--dry-run")
    check(str(home / "plugins" / "algorithms") in planned, f"install-plugins would add {planned}")
    insgan("install-plugins", "--scripts", ".")
    text = Path("fia_without_mantid.py").read_text(encoding="utf-8")
    values = {"ei": 62.0, "input_files": str(run), "output_folder": str(Path.cwd())}
    for name, value in values.items():
        text = re.sub(rf"^{name} = .*$", lambda _, n=name, v=value: f"{n} = {v!r}", text, flags=re.MULTILINE)
    ran = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True)
    result = Path(f"{run.stem}_sharpened.nxs")
    check(ran.returncode == 0 and result.is_file(), f"fia_without_mantid.py: {ran.stdout}{ran.stderr}")
    print(f"mantid-insgan {version} in {home}: all checks passed")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
