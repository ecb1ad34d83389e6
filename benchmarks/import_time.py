"""How long `import mantid_insgan` takes beside `import numpy`: ``python benchmarks/import_time.py [--repeats 7]``.

Each import is timed in a new process, both in turn; printed are the medians and their ratio.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from statistics import median

CODE = "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"
MODULES = ("numpy", "mantid_insgan")


def seconds(module: str) -> float:
    """Of one import in a new process."""
    return float(subprocess.run([sys.executable, "-c", CODE.format(module)], capture_output=True, check=True).stdout)


def main() -> None:
    """Time and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    for module in MODULES:
        seconds(module)  # from a warm cache of files
    found = {module: [] for module in MODULES}
    for _ in range(options.repeats):
        for module in MODULES:
            found[module].append(seconds(module))
    for module, times in found.items():
        print(f"import {module}: {1e3 * median(times):.1f} ms")
    print(f"ratio: {median(found['mantid_insgan']) / median(found['numpy']):.3f}")


if __name__ == "__main__":
    main()
