"""Fit the width factor to the measured elastic lines of Bi2Fe4O9 on MERLIN (one multi-rep run, four Ei).

python benchmarks/elastic_lines.py [--data FOLDER] [--window 1.5] [--plot docs/figures/elastic_lines.png]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mantid_insgan.io import read_nxspe
from mantid_insgan.resolution import Resolution
from mantid_insgan.resolution.vanadium import WidthFactor, fit_width_factor

DATA = Path(__file__).resolve().parents[1] / ".." / "shared" / "data" / "bi2fe4o9-merlin"
CHOPPER, FREQUENCY = "G", 600.0
MODELS = ("tobyfit", "pychop")


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
    """Print the table; draw the lines if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the four nxspe files")
    parser.add_argument("--window", type=float, default=1.5, help="half of the fitted range in calculated FWHM")
    parser.add_argument("--plot", type=Path, help="write the figure here")
    arguments = parser.parse_args()
    print("| Ei (meV) | pulse | FWHM calculated (meV) | FWHM fitted (meV) | width factor | line at (meV) | chi^2/n |")
    print("|---|---|---|---|---|---|---|")
    drawn = []
    for path in sorted(arguments.data.glob("*.nxspe"), key=lambda p: -float(p.name.split("Ei")[1].split("meV")[0])):
        for model in MODELS:
            ei, line = fit(path, model, arguments.window)
            print(
                f"| {ei:.2f} | {model} | {line.fwhm_calculated:.3f} | {line.fwhm_fitted:.3f} "
                f"| {line.factor:.3f} +- {line.sigma:.3f} | {line.centre:+.3f} | {line.reduced_chi_squared:.1f} |"
            )
            if model == MODELS[0]:
                drawn.append((ei, line))
    if arguments.plot:
        plot(drawn, arguments.plot)


if __name__ == "__main__":
    main()
