"""Five exchanges of Bi2Fe4O9 from a powder at four incident energies of one run: ``python benchmarks/bi2fe4o9.py``.

The data are those of ../shared/data/bi2fe4o9-merlin, the model docs/examples/models/bi2fe4o9.yaml. The first row fits
all incident energies together, the next ones each alone; the others change what is not known of background, energies
and anisotropy. ``--figure`` and ``--map`` draw the first fit, and chi-squared around it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import yaml
from measured import DATA, LINES, SETTING
from pages import table_text
from results import add_option, column, table, write_results

from mantid_insgan.convolve.bins import Bins
from mantid_insgan.convolve.prepared import Prepared
from mantid_insgan.convolve.shared import SharedTable
from mantid_insgan.core.spectrum import Spectrum
from mantid_insgan.fit import Dataset, FitResult, Problem, fit, masks
from mantid_insgan.fit.vanadium import fit_width_factor
from mantid_insgan.instruments import Resolution
from mantid_insgan.io import read_nxspe
from mantid_insgan.models.definition import ModelDefinition, read_model
from mantid_insgan.report.fit import plot_fit

MODEL = Path(__file__).resolve().parents[1] / "docs" / "examples" / "models" / "bi2fe4o9.yaml"
COUPLINGS = ("J44", "Jc", "J43", "J43p", "J33")
#: Range of |Q| and bins in it, 1/Angstrom.
RANGE, BINS = (0.8, 3.2), 16
#: Step in energy and highest energy by Ei, meV: a third to a quarter of the elastic FWHM; the highest modes of the
#: model, where detectors are few, or where the line of another repetition begins.
ENERGIES = {"120.00": (1.5, 90.0), "62.00": (0.7, 50.0), "38.00": (0.5, 27.0), "25.00": (0.4, 17.0)}
#: Energies begin this many calculated FWHM above the elastic line.
ELASTIC = 3.0
#: Lowest and highest |Q| at which models are asked, and step: four standard deviations of the resolution beyond the
#: bins, and a third of a bin.
ROWS = (0.25, 3.75, 0.05)
#: Directions at each |Q| in a fit, and those that are tried at the best values.
DIRECTIONS, MORE_DIRECTIONS = 160, (40, 80, 160, 320)
#: Largest width factor that the convolution is prepared for.
WIDEST = 1.6
BACKGROUND = ("per-energy", "q-squared")
#: A search ends where a step lowers chi-squared by less than this.
TOLERANCE = 20.0
#: The map of chi-squared: two couplings, the half-width in each as a share of it, and steps to either side.
MAPPED, REACH, STEPS = ("J43", "J43p"), 0.3, 3
COMMAND = (
    "OMP_NUM_THREADS=1 python benchmarks/bi2fe4o9.py --figure docs/images/bi2fe4o9_fit.png "
    "--map docs/images/bi2fe4o9_map.png"
)
CONDITIONS = (
    "Bi2Fe4O9 powder, 5 K, MERLIN (Gd chopper, 600 Hz, run 40874, one measurement at four Ei); "
    f"|Q| from {RANGE[0]:g} to {RANGE[1]:g} 1/Angstrom in {BINS} bins, {DIRECTIONS} directions at each |Q|. "
    "Each Ei has a scale, a background for each energy and one that grows with the square of |Q|. "
    "Errors are scaled by the root of chi-squared per degree of freedom."
)


@dataclass(frozen=True)
class Case:
    """A way to fit.

    Parameters
    ----------
    name : str
        Of its row.
    energies : sequence of str
        The Ei that are fitted.
    background : tuple of str
        See `Problem`.
    shifted : bool
        Whether energies are measured from where the elastic line is.
    free : tuple of str
        Parameters to fit beside those that the model has free.
    starts : tuple of (str, float)
        Start values in place of the model's.
    momenta : (float, float)
        |Q| that is fitted, 1/Angstrom.
    directions : int
        At each |Q|.
    turned : float
        Angle by which all spins are turned about c, degrees. Neither exchanges nor K decide it.
    """

    name: str
    energies: Sequence[str] = LINES
    background: tuple[str, ...] = BACKGROUND
    shifted: bool = False
    free: tuple[str, ...] = ()
    starts: tuple[tuple[str, float], ...] = ()
    momenta: tuple[float, float] = RANGE
    directions: int = DIRECTIONS
    turned: float = 0.0

    def problem(self, folder: Path) -> Problem:
        """The measurements and the model."""
        datasets = [dataset(ei, folder, self.shifted, self.momenta) for ei in self.energies]
        engine = Directions(self.directions)
        return Problem(datasets, self.definition(), resolution=engine, background=self.background, threads=1)

    def definition(self) -> ModelDefinition:
        """The model with the parameters that this case leaves free."""
        found = turned_model(self.turned).with_starts(**dict(self.starts))
        changed = {name: replace(found.parameters[name], vary=True, low=0.0) for name in self.free}
        return replace(found, parameters={**found.parameters, **changed})


#: Published by Beauvois et al., as the scripts of Le et al. quote them.
BEAUVOIS = (("J44", 1.3), ("Jc", 3.7), ("J43", 2.9), ("J43p", 6.3), ("J33", 24.0))
TOGETHER = Case("all four Ei")
CASES = (
    TOGETHER,
    *(Case(f"Ei {float(ei):g} meV alone", (ei,)) for ei in LINES),
    Case("background with a slope in place of one for each energy", background=("slope", "q-squared")),
    Case("all spins turned by 90 degrees about c", turned=90.0),
    Case("anisotropy K free", free=("K",)),
    Case("energies measured from the elastic line", shifted=True),
    Case("|Q| up to 2.3", momenta=(RANGE[0], 2.3)),
    Case("320 directions at each |Q|", directions=320),
    Case("begun at the values of Beauvois et al.", starts=BEAUVOIS),
)


def turned_model(degrees: float) -> ModelDefinition:
    """The model with all spins turned about c."""
    content = yaml.safe_load(MODEL.read_text(encoding="utf-8"))
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    for site in content["sites"]:
        x, y, z = site["spin"]
        site["spin"] = [float(cosine * x - sine * y), float(sine * x + cosine * y), z]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / MODEL.name
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        return read_model(path)


class Directions:
    """The engine: the covariance, with a stated number of directions at each |Q|."""

    def __init__(self, count: int):
        self.count, self._source = count, None
        self.__name__ = f"covariance, {count} directions"

    def __call__(self, spectrum: Spectrum, resolution: Resolution, model):
        """The engine of one dataset, see `fit.engines`."""
        if self._source is None:
            self._source = SharedTable(model, *ROWS, self.count, np.random.default_rng(0))
        prepared = Prepared(Bins(spectrum, resolution), widest=WIDEST, source=self._source)

        def seen(model, *, line, shape, width_factor) -> np.ndarray:
            return prepared.signal(model, fwhm=line, shape=shape, width_factor=width_factor)

        return seen


def dataset(ei: str, folder: Path, shifted: bool, momenta: tuple[float, float]) -> Dataset:
    """One incident energy, without its elastic line and those of other repetitions."""
    path = folder / f"MER40874_Ei{ei}meV_Rings.nxspe"
    step, highest = ENERGIES[ei]
    fine = read_nxspe(path, q_range=RANGE, q_bins=BINS)
    edges = fine.axes[1].edges
    spectrum = read_nxspe(path, q_range=RANGE, q_bins=BINS, energy_bins=round((edges[-1] - edges[0]) / step))
    resolution = Resolution(SETTING["instrument"], spectrum.run.value("ei"), SETTING["chopper"], SETTING["frequency"])
    if shifted:
        energies = spectrum.axes[1]
        centre = fit_width_factor(read_nxspe(path), resolution, window=1.5).centre
        spectrum = spectrum.replace(axes=(spectrum.axes[0], replace(energies, edges=energies.edges - centre)))
    lowest = ELASTIC * float(resolution.fwhm_energy(0.0))
    spectrum = masks.within(spectrum, "energy", lowest, highest)
    spectrum = masks.within(spectrum, spectrum.axes[0].name, *momenta)
    return Dataset(spectrum, resolution, f"Ei {float(ei):g} meV")


FITS = (
    column("fit"),
    *(column(f"{name} (meV)", "{:.2f} ± {:.2f}") for name in COUPLINGS),
    column("line, FWHM (meV)", "{:.1f}"),
    column("bins"),
    column("chi-squared per degree", "{:.1f}"),
    column("the same without a model", "{:.1f}"),
    column("evaluations"),
    column("processor time (s)", "{:.0f}"),
)


def fit_row(case: Case, result: FitResult, seconds: float) -> list:
    """A row of `FITS`."""
    problem = result.problem
    errors = dict(zip(result.errors.names, result.errors.scaled, strict=True))
    return [
        case.name,
        *([result.values[name], float(errors[name])] for name in COUPLINGS),
        result.values["line"],
        problem.bins,
        result.reduced_chi_squared,
        problem.chi_squared_of_nothing / problem.degrees_of_freedom,
        result.search.evaluations,
        seconds,
    ]


def fitted(case: Case, folder: Path) -> tuple[FitResult, list]:
    """The fit of one case, and its row; what the fit says is printed."""
    began = time.process_time()
    result = fit(case.problem(folder), tolerance=TOLERANCE, smoothing=0.0)
    row = fit_row(case, result, time.process_time() - began)
    print(row, result.values, f"scales {result.scales}", *result.notes, sep="\n  ", flush=True)
    return result, row


def directions_table(values: dict[str, float], folder: Path) -> dict:
    """Chi-squared at the best values, and the time of an evaluation, with more directions."""
    rows = []
    for count in MORE_DIRECTIONS:
        problem = replace(TOGETHER, directions=count).problem(folder)
        began = time.process_time()
        found = problem.evaluate({**values, COUPLINGS[0]: values[COUPLINGS[0]] * (1 + 1e-9)})
        seconds = time.process_time() - began
        rows.append([count, found.chi_squared / problem.degrees_of_freedom, seconds])
        print(rows[-1], flush=True)
    columns = [
        column("directions at each |Q|"),
        column("chi-squared per degree", "{:.2f}"),
        column("evaluation (s)", "{:.1f}"),
    ]
    return table("directions", columns, rows)


def draw_map(result: FitResult, path: Path) -> None:
    """Chi-squared per degree over two couplings with the others held, and where it has grown by 1 % with the others
    fitted again, from the curvature."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    grids = [result.values[name] * np.linspace(1 - REACH, 1 + REACH, 2 * STEPS + 1) for name in MAPPED]
    found = np.array([[_per_degree(result, x, y) for x in grids[0]] for y in grids[1]])
    figure, axes = plt.subplots(figsize=(5.5, 4.2), constrained_layout=True)
    drawn = axes.contourf(*grids, np.ma.masked_invalid(found), levels=15, cmap="viridis_r")
    figure.colorbar(drawn, ax=axes).set_label("chi-squared per degree of freedom")
    axes.plot(*_grown(result), color="white", label="1 % more, the others fitted again")
    axes.plot(*(result.values[name] for name in MAPPED), "+", color="white")
    axes.set_xlabel(f"{MAPPED[0]} (meV)")
    axes.set_ylabel(f"{MAPPED[1]} (meV)")
    axes.legend(facecolor="0.4", labelcolor="white")
    figure.savefig(path, dpi=90)
    print(f"wrote {path}")


def _per_degree(result: FitResult, x: float, y: float) -> float:
    """Chi-squared per degree at two couplings; NaN where the order is not stable."""
    found = result.problem.evaluate({**result.values, MAPPED[0]: x, MAPPED[1]: y})
    return found.chi_squared / result.degrees_of_freedom if found.stable else np.nan


def _grown(result: FitResult) -> np.ndarray:
    """The ellipse of the two couplings on which chi-squared has grown by 1 %, shape (2, N)."""
    at = [result.errors.names.index(name) for name in MAPPED]
    covariance = result.errors.correlation[np.ix_(at, at)] * np.outer(
        result.errors.misfit[at], result.errors.misfit[at]
    )
    turn = np.linspace(0, 2 * np.pi, 200)
    centre = np.array([result.values[name] for name in MAPPED])
    return centre[:, None] + np.linalg.cholesky(covariance) @ np.array([np.cos(turn), np.sin(turn)])


def main() -> None:
    """Fit, print, draw and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the four nxspe files")
    parser.add_argument("--case", action="append", choices=[case.name for case in CASES], help="all if not given")
    parser.add_argument("--figure", type=Path, help="draw data, fit and residual of the first fit here")
    parser.add_argument("--map", type=Path, help="draw chi-squared around the first fit here")
    add_option(parser, "bi2fe4o9")
    options = parser.parse_args()
    for case in (c for c in CASES if c.name in (options.case or [c.name for c in CASES])):
        result, row = fitted(case, options.data)
        made = table("fits", list(FITS), [row])
        print(table_text(made))
        write_results(options.results, COMMAND, CONDITIONS, [made], keep_rows=True)
        if case is TOGETHER and options.figure:
            plot_fit(result, options.figure, overwrite=True)
        if case is TOGETHER and options.map:
            draw_map(result, options.map)
        if case is TOGETHER:
            made = directions_table(result.values, options.data)
            write_results(options.results, COMMAND, CONDITIONS, [made])


if __name__ == "__main__":
    main()
