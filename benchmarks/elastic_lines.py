"""Fit the width factor to the measured elastic lines of Bi2Fe4O9 on MERLIN (one multi-rep run, four Ei).

python benchmarks/elastic_lines.py [--data FOLDER] [--plot docs/figures/elastic_lines.png]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pages import table_text
from results import add_option, column, table, write_results

from mantid_insgan.fit.vanadium import WidthFactor, fit_width_factor
from mantid_insgan.instruments import Resolution
from mantid_insgan.io import read_nxspe

DATA = Path(__file__).resolve().parents[1] / ".." / "shared" / "data" / "bi2fe4o9-merlin"
CHOPPER, FREQUENCY = "G", 600.0
MODELS = ("tobyfit", "pychop")
#: Halves of the fitted range in calculated FWHM; the first is that of the table and of the figure.
WINDOWS = (1.5, 1.2, 2.0)
COMMAND = "python benchmarks/elastic_lines.py --plot docs/figures/elastic_lines.png"
CONDITIONS = (
    "Elastic lines of Bi2Fe4O9 on MERLIN (Gd chopper, 600 Hz, one measurement at four Ei); fitted within "
    f"{WINDOWS[0]} calculated FWHM, and Tobyfit's pulse within others too."
)
COLUMNS = [
    column("Ei (meV)", "{:.2f}"),
    column("pulse"),
    column("FWHM calculated (meV)", "{:.3f}"),
    column("FWHM fitted (meV)", "{:.3f}"),
    column("width factor", "{:.3f} +- {:.3f}"),
    column("line at (meV)", "{:+.3f}"),
    column("chi^2/n", "{:.1f}"),
]


def fit(path: Path, model: str, window: float) -> tuple[float, WidthFactor]:
    """Ei (meV) of one file and the width factor of its elastic line."""
    spectrum = read_nxspe(path)
    ei = spectrum.run.value("ei")
    resolution = Resolution("MERLIN", ei, CHOPPER, FREQUENCY, time_model=model)
    return ei, fit_width_factor(spectrum, resolution, window=window)


def plot(found: list[tuple[float, WidthFactor]], path: Path) -> None:
    """Measured lines, fits and what is left over."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(found), figsize=(4 * len(found), 3.2), constrained_layout=True)
    for ax, (ei, line) in zip(axes, found, strict=True):
        ax.errorbar(line.energy, line.signal, line.error, fmt=".", color="0.4", label="measured")
        ax.plot(line.energy, line.model, color="C3", label=f"factor {line.factor:.2f}")
        ax.set_title(f"Ei {ei:.1f} meV")
        ax.set_xlabel("energy transfer (meV)")
        ax.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    print(f"wrote {path}")


def main() -> None:
    """Print and write the tables; draw the lines if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the four nxspe files")
    parser.add_argument("--plot", type=Path, help="write the figure here")
    add_option(parser, "elastic_lines")
    arguments = parser.parse_args()
    rows, drawn, windows = [], [], []
    for path in sorted(arguments.data.glob("*.nxspe"), key=lambda p: -float(p.name.split("Ei")[1].split("meV")[0])):
        for model in MODELS:
            ei, line = fit(path, model, WINDOWS[0])
            fitted = [line.factor, line.sigma]
            rows.append(
                [ei, model, line.fwhm_calculated, line.fwhm_fitted, fitted, line.centre, line.reduced_chi_squared]
            )
            if model == MODELS[0]:
                drawn.append((ei, line))
        windows.append([ei, *(fit(path, MODELS[0], window)[1].factor for window in sorted(WINDOWS))])
    columns = [COLUMNS[0], *(column(f"{window:g}", "{:.2f}") for window in sorted(WINDOWS))]
    made = [table("width factors", COLUMNS, rows), table("windows", columns, windows)]
    print(*map(table_text, made), sep="\n\n")
    write_results(arguments.results, COMMAND, CONDITIONS, made)
    if arguments.plot:
        plot(drawn, arguments.plot)


if __name__ == "__main__":
    main()
