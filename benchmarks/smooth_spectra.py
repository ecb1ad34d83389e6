"""Smooth spectra through the bundled models: where the resolution blurs nothing, removing it must not invent structure.

    python benchmarks/smooth_spectra.py

Levels and paramagnets without structure narrower than three widths of the resolution, counted and given to the models
that remove the resolution and are told the one of the target. Writes how far the results are from the truth;
tests/test_smooth_spectra.py states the bound.
"""

from __future__ import annotations

import argparse
from functools import cache

import numpy as np
from pages import table_text
from results import add_option, column, table, write_results

from mantid_insgan.convolve import convolve
from mantid_insgan.convolve.experiment import count
from mantid_insgan.core.run import Lattice, Run
from mantid_insgan.core.spectrum import Axis
from mantid_insgan.instruments import Resolution
from mantid_insgan.models.levels import LevelsModel
from mantid_insgan.translate.cards import choose_model
from mantid_insgan.translate.translator import Translator

LATTICE = Lattice(4.0, 4.0, 4.0)
RUN = Run().updated("log", instrument="MERLIN", ei=60.0, chopper="G", frequency=300.0, lattice=LATTICE)
RESOLUTION = Resolution.from_run(RUN)
#: Of the stated target: what the results are compared with.
TARGET = RESOLUTION.sharpened(3.0)
COUNTS = (300.0, 3000.0)
COMMAND = "python benchmarks/smooth_spectra.py"

H, NARROW = np.linspace(0.6, 2.2, 65), np.array([-0.1, 0.1])
ENERGY = np.linspace(4.0, 44.0, 65)
#: Edges along h, k and energy.
GRIDS = {
    "energy cut": (NARROW + 1.0, NARROW, ENERGY),
    "momentum cut": (H, NARROW, np.array([15.0, 25.0])),
    "slice": (H, NARROW, ENERGY),
    "volume": (H[::2], H[::2] - 1.4, ENERGY[::2]),
}
#: Draws of the counts whose results are averaged; those of volumes are noisier.
DRAWS = {"energy cut": 16, "momentum cut": 16, "slice": 16, "volume": 32}
CONDITIONS = (
    "MERLIN, Ei 60 meV, chopper G at 300 Hz; "
    + ", ".join(f"{grid}: {draws}" for grid, draws in DRAWS.items())
    + " draws of the counts (seeds from 0)."
)
#: Model and FWHM of its levels in meV: a level that is just wide enough, two levels, an overdamped paramagnet.
SPECTRA = {
    "level": (LevelsModel(LATTICE, [20.0], [1.0], ion="Ni2+", width=0.05, correlation=0.3, temperature=10.0), 8.5),
    "two levels": (LevelsModel(LATTICE, [14.0, 30.0], [0.6, 0.4], ion="Mn2+", temperature=5.0), 12.0),
    "paramagnet": (LevelsModel(LATTICE, [8.0], [1.0], ion="Mn2+", correlation=0.6, temperature=300.0), 30.0),
}


def axes(grid: str) -> tuple[Axis, ...]:
    """Of a grid: h, k, l and energy."""
    h, k, energy = GRIDS[grid]
    momenta = (("[H,0,0]", h), ("[0,K,0]", k), ("[0,0,L]", NARROW))
    return (*(Axis(name, edges, "r.l.u.", "HKL") for name, edges in momenta), Axis("DeltaE", energy, "DeltaE"))


@cache
def sides(spectrum: str, grid: str):
    """As MERLIN would measure it, and as a spectrometer with the resolution of the target would."""
    model, fwhm = SPECTRA[spectrum]
    return tuple(convolve(model, axes(grid), r, fwhm=fwhm, points=64) for r in (RESOLUTION, TARGET))


@cache
def translator(grid: str) -> Translator:
    """The bundled model for a grid."""
    return Translator(choose_model("remove-resolution", sum(len(axis) > 1 for axis in axes(grid))), "cpu", 1)


def counted(spectrum: str, grid: str, peak_counts: float, draws: int) -> list:
    """The measured side with so many counts in the brightest bin, once for each draw."""
    measured, _ = sides(spectrum, grid)
    seen, exposure = np.where(measured.valid, measured.signal, 0.0), peak_counts / np.nanmax(measured.signal)
    found = []
    for seed in range(draws):
        drawn = count(np.random.default_rng(seed), seen, exposure)[:2]
        signal, variance = (np.where(measured.valid, x, np.nan) for x in drawn)
        found.append(measured.replace(signal=signal, variance=variance))
    return found


def results_of(spectrum: str, grid: str, peak_counts: float, draws: int) -> list[np.ndarray]:
    """Signals of the results, one for each draw."""
    measured, _ = sides(spectrum, grid)
    now, then = RESOLUTION.on_grid(measured), TARGET.on_grid(measured)
    model = translator(grid)
    return [model.apply(data, now, finer=then)[0].signal for data in counted(spectrum, grid, peak_counts, draws)]


def away(signal: np.ndarray, spectrum: str, grid: str) -> float:
    """Root mean square over bins of the difference from the truth, divided by that of the truth."""
    _, truth = sides(spectrum, grid)
    known = truth.valid
    return float(np.linalg.norm((signal - truth.signal)[known]) / np.linalg.norm(truth.signal[known]))


def row(spectrum: str, grid: str, peak_counts: float) -> list:
    """In percent: the mean over the draws, then medians of a single result and of the data."""
    found = results_of(spectrum, grid, peak_counts, DRAWS[grid])
    single = np.median([away(x, spectrum, grid) for x in found])
    given = np.median([away(x.signal, spectrum, grid) for x in counted(spectrum, grid, peak_counts, DRAWS[grid])])
    values = (away(np.mean(found, axis=0), spectrum, grid), single, given)
    return [f"{spectrum}, {grid}, {peak_counts:g} peak counts", *(100 * float(v) for v in values)]


def main() -> None:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_option(parser, "smooth_spectra")
    options = parser.parse_args()
    columns = [column("from the truth (%)")]
    columns += [column(n, "{:.1f}") for n in ("mean of the results", "one result", "data of one result")]
    told = [grid for grid in GRIDS if translator(grid).takes_target]
    rows = [row(spectrum, grid, counts) for grid in told for spectrum in SPECTRA for counts in COUNTS]
    made = table("smooth spectra", columns, rows)
    print(table_text(made))
    write_results(options.results, COMMAND, CONDITIONS, [made])


if __name__ == "__main__":
    main()
