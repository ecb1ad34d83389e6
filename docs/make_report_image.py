"""Draws docs/images/report.png, the upper part of the demo's report in a browser: ``python docs/make_report_image.py``.

It needs Chromium or Chrome (``apt install chromium``).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

IMAGE = Path(__file__).parent / "images" / "report.png"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
#: Width and height of the picture, pixels: the verdict and the maps.
SIZE = (1100, 1205)
#: For root (no sandbox), and so that nothing is asked from other machines.
_WORDS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)


def browser() -> str | None:
    """The browser that is installed, if any."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def browse(program: str, page: Path, *words: str) -> subprocess.CompletedProcess:
    """Open a page in a browser without a window, with a profile of its own."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [program, *_WORDS, f"--user-data-dir={profile}", *words, page.resolve().as_uri()]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)


def main() -> None:
    program = browser()
    if program is None:
        sys.exit(f"none of {', '.join(BROWSERS)} is installed: apt install chromium")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "mantid_insgan", "demo"], cwd=folder, check=True)
        demo, picture = Path(folder) / "demo", Path(folder) / "report.png"
        files = [demo / "measured.nxs", demo / "resolution_removed.nxs"]
        report = [sys.executable, "-m", "mantid_insgan", "report", *files, "--output", demo / "report.html"]
        subprocess.run([*report, "--overwrite"], check=True)
        size = f"--window-size={SIZE[0]},{SIZE[1]}"
        browse(program, demo / "report.html", "--hide-scrollbars", size, f"--screenshot={picture}")
        shutil.move(picture, IMAGE)
    print(f"wrote {IMAGE} ({IMAGE.stat().st_size / 1000:.0f} kB)")


if __name__ == "__main__":
    main()
