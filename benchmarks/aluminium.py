"""Phonons of aluminium from first principles, through the resolution of MARI, against a measured powder.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/aluminium.py

The measurement is of pellets at 5 K with Ei 59.4 meV, Gd chopper at 200 Hz; the force constants are phonopy's with an
LDA cell. The width factor comes from the run's own elastic line. Compared is what lies above the elastic line:
Pearson's correlation over all bins, and the mean over |Q| with its two peaks and its upper edge (half of the upper
peak's height). The measurement has what the model leaves out: incoherent and multi-phonon scattering, and a background.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pages import table_text
from results import add_option, column, table, write_results

from mantid_insgan import Spectrum
from mantid_insgan.convolve import convolve, ideal
from mantid_insgan.fit.vanadium import fit_width_factor
from mantid_insgan.instruments import Resolution
from mantid_insgan.io import read_spectrum
from mantid_insgan.models.phonons import PhononModel, read_force_constants

DATA = Path(__file__).resolve().parents[1] / ".." / "shared" / "data" / "al-mari"
#: meV: what is compared; where the transverse and the longitudinal peak lie.
WINDOW, PEAKS = (8.0, 48.0), ((15.0, 25.0), (32.0, 42.0))


COMMAND = "OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/aluminium.py"
CONDITIONS = (
    "Aluminium pellets at 5 K on MARI, Ei 59.4 meV, Gd chopper at 200 Hz, against phonopy's force constants (LDA); 8 "
    "to 48 meV, 1 to 9.6 1/Angstrom."
)
COLUMNS = [
    column(""),
    column("correlation", "{:.3f}"),
    *(column(name, "{:.1f}") for name in ("lower peak (meV)", "upper peak (meV)", "edge (meV)")),
]


@dataclass(frozen=True)
class Comparison:
    """Correlation with the measurement, and peaks and upper edge of a spectrum, meV."""

    correlation: float
    peaks: tuple[float, ...]
    edge: float


def read(folder: Path, q_bins: int = 96) -> tuple[Spectrum, Resolution]:
    """The measurement, and the resolution with its own width factor."""
    file = folder / "aluminium_Ei60.nxspe"
    measured = read_spectrum(file, q_bins=q_bins, q_range=(1.0, 9.64))
    setting = ("MARI", measured.run.value("ei"), "G", measured.run.value("frequency"))
    factor = fit_width_factor(read_spectrum(file), Resolution(*setting)).factor
    return measured, Resolution(*setting, width_factor=factor)


def compare(spectrum: Spectrum, measured: Spectrum) -> Comparison:
    """How `spectrum` compares with the measurement on the same grid."""
    energy = measured.axes[1].centers
    inside = (energy > WINDOW[0]) & (energy < WINDOW[1])
    seen = measured.valid & np.isfinite(spectrum.signal) & inside
    count = seen.sum(axis=0)
    mean = np.where(seen, spectrum.signal, 0).sum(axis=0) / np.maximum(count, 1)
    tops = [max(np.flatnonzero((energy > low) & (energy < high)), key=mean.__getitem__) for low, high in PEAKS]
    beyond = np.flatnonzero((np.arange(len(energy)) > tops[-1]) & (mean < 0.5 * mean[tops[-1]]))
    return Comparison(
        float(np.corrcoef(spectrum.signal[seen], measured.signal[seen])[0, 1]),
        tuple(float(energy[i]) for i in tops),
        float(energy[beyond[0]]),
    )


def scaled(force_constants, factor: float):
    """The same with all energies multiplied by a factor."""
    from euphonic import ForceConstants

    stiffness = force_constants.force_constants * factor**2
    return ForceConstants(force_constants.crystal, stiffness, force_constants.sc_matrix, force_constants.cell_origins)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the measurement and the force constants")
    add_option(parser, "aluminium")
    arguments = parser.parse_args()
    measured, resolution = read(arguments.data)
    force_constants = read_force_constants(arguments.data / "Al-444-lda.yaml")
    temperature = measured.run.value("temperature")
    print(f"width factor {resolution.width_factor:.2f}; {np.round(resolution.fwhm_energy([0, 20, 37]), 2)} meV FWHM")
    spectra = {"measured": measured}
    for factor in (1.0, 0.965):
        model = PhononModel(scaled(force_constants, factor), cell="conventional", temperature=temperature)
        spectra[f"model, energies x {factor:g}, through the resolution"] = convolve(model, measured, resolution)
        spectra[f"model, energies x {factor:g}, bin averages"] = ideal(model, measured, resolution, points=400)
    found = {name: compare(spectrum, measured) for name, spectrum in spectra.items()}
    rows = [[name, c.correlation, *c.peaks, c.edge] for name, c in found.items()]
    rows_of_factor = [["elastic line", resolution.width_factor]]
    made = [
        table("phonons", COLUMNS, rows),
        table("width factor", [column(""), column("factor", "{:.2f}")], rows_of_factor),
    ]
    print(*map(table_text, made), sep="\n\n")
    write_results(arguments.results, COMMAND, CONDITIONS, made)


if __name__ == "__main__":
    main()
