"""How long ``import mantid_insgan`` takes beside ``import numpy``: ``python benchmarks/import_time.py``.

Each import is done in a fresh interpreter with ``-X importtime``; shown are the medians of their cumulative times and
the ratio. The two take turns, so that whatever else the machine does falls on both.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys


def import_time(module: str) -> float:
    """Cumulative time of an import in a fresh interpreter, milliseconds."""
    run = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", f"import {module}"], check=True, capture_output=True, text=True
    )
    # "import time:  self [us] | cumulative | name"; the module itself comes last
    (microseconds,) = re.findall(rf"^import time: +\d+ \| +(\d+) \| {re.escape(module)}$", run.stderr, re.MULTILINE)
    return int(microseconds) / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    times = {"numpy": [], "mantid_insgan": [], "mantid_insgan.core.spectrum": []}
    for _ in range(repeats):
        for module, found in times.items():
            found.append(import_time(module))
    median = {module: statistics.median(found) for module, found in times.items()}
    for module, milliseconds in median.items():
        print(f"{module:28s} {milliseconds:8.2f} ms, {milliseconds / median['numpy']:.3f} of numpy")


if __name__ == "__main__":
    main()
