"""J and J' of La2NiO4 from the path measured on SEQUOIA, fitted in several ways: ``python benchmarks/la2nio4.py``.

The data are those of ../shared/data/la2nio4-sequoia; docs/examples/fits/la2nio4.yaml is the first row. The other rows
change what is not known of measurement and sample: the intrinsic line, the width of the cut, how far bins count.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import yaml
from pages import table_text
from results import add_option, column, table, write_results

from mantid_insgan.convolve import GridAccuracyWarning
from mantid_insgan.core.model_options import FitOptions
from mantid_insgan.fit.job import fit_files

PROBLEM = Path(__file__).resolve().parents[1] / "docs" / "examples" / "fits" / "la2nio4.yaml"
COMMAND = "OMP_NUM_THREADS=1 python benchmarks/la2nio4.py"
CONDITIONS = (
    "La2NiO4 on SEQUOIA, Ei 190 meV, 25 820 bins of five segments; scale and a background for each energy shared."
)
#: Row -> options of the fit, keys of the path, start values.
CASES = {
    "damped oscillator (the problem as it is)": ({}, {}, {}),
    "Lorentzian line": ({"shape": "lorentzian"}, {}, {}),
    "Gaussian line": ({"shape": "gaussian"}, {}, {"line": 12.0}),
    "half-width of the cut 0.02": ({}, {"across": [0.02, 0.02, 12]}, {}),
    "half-width of the cut 0.1": ({}, {"across": [0.1, 0.1, 12]}, {}),
    "Huber's loss": ({"loss": "huber"}, {}, {}),
    "model error of 20 %": ({"model_error": 0.2}, {}, {}),
    "energy factor 1.09": ({}, {}, {"energy_factor": 1.09}),
    "FWHM(E) in place of the covariance": ({"resolution": "energy", "points": 16}, {}, {}),
    "six starts": ({"starts": 6}, {}, {}),
}


def main() -> None:
    """Fit, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", action="append", choices=list(CASES), help="all if not given")
    add_option(parser, "la2nio4")
    options = parser.parse_args()
    warnings.simplefilter("ignore", GridAccuracyWarning)
    rows = [row_of(name, *CASES[name]) for name in options.case or CASES]
    columns = [
        column("fit"),
        column("J (meV)", "{:.2f} ± {:.2f}"),
        column("J' (meV)", "{:.2f} ± {:.2f}"),
        column("line, FWHM (meV)", "{:.1f}"),
        column("chi-squared per degree", "{:.3f}"),
        column("starts in the minimum"),
        column("evaluations"),
        column("processor time (s)", "{:.0f}"),
    ]
    made = table("fits", columns, rows)
    print(table_text(made))
    write_results(options.results, COMMAND, CONDITIONS, [made], keep_rows=True)


def row_of(name: str, options: dict, path: dict, starts: dict) -> list:
    """One way to fit."""
    content = yaml.safe_load(PROBLEM.read_text())
    content["options"] |= options
    content["set"] |= starts
    content["data"][0]["path"] |= path
    changed = PROBLEM.with_name(".la2nio4-changed.yaml")
    changed.write_text(yaml.safe_dump(content))
    began = time.process_time()
    try:
        found = fit_files(changed, options=FitOptions())
    finally:
        changed.unlink()
    errors = dict(zip(found.errors.names, found.errors.scaled, strict=True))
    minima = found.search.minima
    same = sum(abs(m.values["J"] - found.values["J"]) < 2 * errors["J"] for m in minima)
    print(name, found.values, found.reduced_chi_squared, flush=True)
    return [
        name,
        [found.values["J"], float(errors["J"])],
        [found.values["Jp"], float(errors["Jp"])],
        found.values["line"],
        found.reduced_chi_squared,
        f"{same} of {len(minima)}",
        found.search.evaluations,
        time.process_time() - began,
    ]


if __name__ == "__main__":
    main()
