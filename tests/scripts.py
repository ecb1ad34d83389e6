"""Runs the scripts of plugins/autoreduction as the services of the facilities run them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import mantid

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "plugins" / "autoreduction"


def rewritten(name: str, **values) -> str:
    """A script with other values on its lines ``name = value``."""
    text = (SCRIPTS / f"{name}.py").read_text(encoding="utf-8")
    for key, value in values.items():
        text, count = re.subn(
            rf"^(\s*){key} = .*$", lambda m, k=key, v=value: f"{m[1]}{k} = {v!r}", text, flags=re.MULTILINE
        )
        assert count == 1, key
    return text


def script(name: str, **values) -> str:
    """A script as FIA runs it: lines rewritten, a line appended that tells of the outputs."""
    told = "\nimport json\nprint(json.dumps({'status': 'Successful', 'output_files': output}))\n"
    return rewritten(name, **values) + told


def environment(folder: Path) -> dict[str, str]:
    """This checkout and Mantid, and an empty home."""
    path = os.pathsep.join(map(str, [ROOT, Path(mantid.__file__).resolve().parents[1]]))
    return os.environ | {"PYTHONPATH": path, "HOME": str(folder), "OMP_NUM_THREADS": "1"}


def started(text: str, folder: Path, *arguments) -> subprocess.Popen:
    """A Python of its own that runs a text."""
    return subprocess.Popen(
        [sys.executable, "-c", text, *arguments],
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process) -> tuple[int, str, str]:
    """Exit status, last line of standard output, last line of standard error."""
    out, err = process.communicate(timeout=300)
    return process.returncode, (out.splitlines() or [""])[-1], (err.splitlines() or [""])[-1]
