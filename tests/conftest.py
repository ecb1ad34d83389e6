"""Fixtures that several test files use, and the stand-in for Mantid where there is none."""

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

if importlib.util.find_spec("mantid") is None:
    sys.path.append(str(Path(__file__).parent / "mantid_standin"))

SHARED = Path(__file__).resolve().parents[1] / ".." / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real measurements and of files that Mantid wrote, which stands beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not there: it holds the real measurements and stands beside the checkout")
    return SHARED.resolve()


@pytest.fixture
def mantid_script(tmp_path):
    """Runs a script in a Python of its own that has this checkout and Mantid, with an empty home; gives what it said.

    ``mantid_script(text, home=folder)``; the script has to end well unless ``fails`` is given.
    """
    import mantid

    folders = [Path(__file__).resolve().parents[1], Path(mantid.__file__).resolve().parents[1]]
    path = os.pathsep.join(map(str, folders))

    def run(text: str, home: Path | None = None, fails: bool = False) -> str:
        environment = os.environ | {"PYTHONPATH": path, "HOME": str(home or tmp_path), "OMP_NUM_THREADS": "1"}
        ran = subprocess.run(
            [sys.executable, "-c", text], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
        )
        assert fails is (ran.returncode != 0), ran.stdout + ran.stderr
        return ran.stdout + ran.stderr

    return run


@pytest.fixture
def insgan(monkeypatch, capsys):
    """Run the command in this process: exit status, standard output, standard error."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def run(*words) -> tuple[int, str, str]:
        from mantid_insgan import cli

        monkeypatch.setattr(sys, "argv", ["insgan", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return ended.value.code or 0, out, err

    yield run
    for number, handler in before.items():
        signal.signal(number, handler)
