"""Times and errors of the methods of `convolve` on slices of 100 x 100 bins, on one core.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/resolution.py [--case NAME ...] [--points 1000]

Times are processor time of one call, with the model's own evaluations in it. 'montecarlo' is timed with few points and
extrapolated to the points asked for: its time is that of the points. Errors are root-mean-square differences from
converged Monte Carlo on every tenth column, relative to the root mean square of the spectrum. Converged is
'interpolated' with --reference points and a tolerance of 0.5 %; 'montecarlo' is compared with it first. Noise (the
stated standard errors of both) is taken off in squares.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from pages import table_text
from results import add_option, column, table, write_results

from mantid_insgan.convolve import GridAccuracyWarning, convolve, ideal
from mantid_insgan.core.run import Lattice
from mantid_insgan.core.spectrum import Axis, Spectrum
from mantid_insgan.instruments import Resolution
from mantid_insgan.models.spinw.zoo import get_family

BINS = 100
#: Points a bin with which 'montecarlo' is timed.
TIMED_POINTS = 4
COMMAND = "OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/resolution.py"
CONDITIONS = (
    "Processor time of one call, the model's own evaluations included; errors on every tenth column against converged "
    "Monte Carlo (seed 99; seed 98 for the montecarlo that it is compared with)."
)
NOTE = (
    "{title}; {bins} x {bins} bins, {points} points a bin.\nReference: {reference_points} points, noise "
    "{reference_noise:.2%}; montecarlo with {check_points} points (noise {check_noise:.1%}) differs\nfrom it by "
    "{ratio:.3f} of their standard errors."
)
COLUMNS = [
    column("method"),
    column("time (s)", "{:.2f}"),
    column("faster than montecarlo"),
    column("NRMSE", "{:.3f}"),
    column("NRMSE, Gaussian deviations", "{:.3f}"),
    column("integral", "{:.4f}"),
]


@dataclass(frozen=True)
class Case:
    """A model, a spectrometer, a slice, and points with which 'montecarlo' is compared with the reference."""

    title: str
    model: Callable
    setting: tuple
    axes: tuple[Axis, ...]
    check_points: int = 1000

    def resolution(self, model) -> Resolution:
        """The spectrometer, with the model's lattice."""
        return Resolution(*self.setting, lattice=model.lattice)


def _axis(name: str, low: float, high: float, bins: int = BINS) -> Axis:
    return Axis(name, np.linspace(low, high, bins + 1), "r.l.u.", frame="HKL")


def _energy(low: float, high: float) -> Axis:
    return Axis("DeltaE", np.linspace(low, high, BINS + 1), "meV")


def _pyrochlore():
    return get_family("pyrochlore_fm").model(
        {"J1": -8.0, "J3": 0.0, "D": -0.05}, lattice=Lattice(9.94, 9.94, 9.94), ion="V4+", temperature=5.0
    )


def _square():
    couplings = {"J1": 0.65, "J2": 0.01, "J3": 0.0, "Jperp": 0.0, "D": -0.005}
    return get_family("square_afm").model(couplings, lattice=Lattice(4.215, 4.215, 13.77), ion="Mn2+", temperature=5.0)


def _manganite():
    couplings = {"JF1": -11.39, "JA": 1.5, "JF2": -1.35, "JF3": 1.5, "Jperp": 0.88, "D": 0.074}
    return get_family("pcsmo_goodenough").model(
        couplings, lattice=Lattice(5.408, 5.4599, 19.266), ion="Mn3+/Mn4+", temperature=5.0
    )


CASES = {
    "pyrochlore": Case(
        "pyrochlore ferromagnet, 4 sites; MAPS-2000, chopper S, Ei 100 meV, 300 Hz",
        _pyrochlore,
        ("MAPS-2000", 100.0, "S", 300.0),
        (_axis("[H,H,0]", 3.0, 5.0), _axis("[0,0,L]", -0.05, 0.05, 1), _energy(2.0, 42.0)),
    ),
    "square": Case(
        "square antiferromagnet (Rb2MnF4), 2 sites; MERLIN, chopper G, Ei 15 meV, 200 Hz",
        _square,
        ("MERLIN", 15.0, "G", 200.0),
        (_axis("[H,0,0]", 0.8, 1.6), _axis("[0,K,0]", 0.45, 0.55, 1), _energy(0.5, 8.0)),
    ),
    "manganite": Case(
        "half-doped manganite, 16 modes in each of two twins; MAPS-2000, chopper S, Ei 120 meV, 300 Hz",
        _manganite,
        ("MAPS-2000", 120.0, "S", 300.0),
        (_axis("[H,0,0]", 1.5, 3.0), _axis("[0,K,0]", -0.05, 0.05, 1), _energy(8.0, 72.0)),
        check_points=50,
    ),
}


def timed(function, *args, **options) -> tuple[Spectrum, float]:
    """The result, and the processor time it took in s."""
    start = time.process_time()
    return function(*args, **options), time.process_time() - start


def misfit(found: np.ndarray, reference: np.ndarray, noise: float) -> float:
    """Relative root-mean-square difference, the noise of both taken off in squares."""
    seen = np.isfinite(reference) & np.isfinite(found)
    total = np.mean((found[seen] - reference[seen]) ** 2) / np.mean(reference[seen] ** 2)
    return float(np.sqrt(max(total - noise**2, 0.0)))


def noise(spectrum: Spectrum) -> float:
    """Standard error relative to the root mean square of the signal."""
    return float(np.sqrt(np.nanmean(spectrum.variance) / np.nanmean(spectrum.signal**2)))


def run(name: str, points: int, reference_points: int) -> dict:
    """The table of one case."""
    case = CASES[name]
    model = case.model()
    resolution = case.resolution(model)
    model.modes(np.zeros((64, 3)))  # the first call loads libraries
    few, naive = timed(convolve, model, case.axes, resolution, method="montecarlo", points=TIMED_POINTS)
    naive *= points / TIMED_POINTS
    columns = Spectrum(few.signal, few.variance, few.axes, valid=_every_tenth(few), run=few.run)
    converged = {"method": "interpolated", "points": reference_points, "tolerance": 0.005, "seed": 99}
    reference = convolve(model, columns, resolution, **converged)
    gaussian = convolve(model, columns, resolution, gaussian=True, **converged)
    check = convolve(model, columns, resolution, method="montecarlo", points=case.check_points, seed=98)
    off = (check.signal - reference.signal)[reference.valid]
    ratio = np.sqrt(np.mean(off**2) / np.mean((check.variance + reference.variance)[reference.valid]))
    facts = {"title": case.title, "bins": BINS, "points": points, "reference_points": reference_points}
    facts |= {"reference_noise": noise(reference), "check_points": case.check_points, "check_noise": noise(check)}
    facts["ratio"] = ratio
    whole = np.nansum(reference.signal)
    rows = [[f"montecarlo (time extrapolated from {TIMED_POINTS} points)", round(naive), 1, 0, None, 1]]
    for method in ("interpolated", "covariance", "energy", "ideal"):
        result, seconds = _one(method, model, case.axes, resolution, points)
        off, off_gaussian = (
            misfit(result.signal, r.signal, np.hypot(noise(r), noise(result))) for r in (reference, gaussian)
        )
        kept = np.nansum(np.where(np.isfinite(reference.signal), result.signal, 0)) / whole
        rows.append([method, seconds, round(naive / seconds), off, off_gaussian, kept])
    return table(name, COLUMNS, rows, note=NOTE, facts=facts)


def _one(method: str, model, axes, resolution, points: int) -> tuple[Spectrum, float]:
    if method == "ideal":
        return timed(ideal, model, axes, resolution)
    options = {"points": points} if method == "interpolated" else {}
    return timed(convolve, model, axes, resolution, method=method, **options)


def _every_tenth(spectrum: Spectrum) -> np.ndarray:
    chosen = np.zeros(spectrum.shape, bool)
    chosen[5::10] = True
    return chosen & spectrum.valid


def main() -> None:
    """Print and write a table for each case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--points", type=int, default=1000, help="Monte Carlo points a bin (default 1000)")
    parser.add_argument("--reference", type=int, default=40000, help="points of the reference (default 40000)")
    add_option(parser, "resolution")
    arguments = parser.parse_args()
    threads = os.environ.get("OMP_NUM_THREADS", "not set")
    print(f"processor time, OMP_NUM_THREADS {threads}")
    warnings.simplefilter("always", GridAccuracyWarning)
    for name in arguments.case:
        made = run(name, arguments.points, arguments.reference)
        print(f"\n{table_text(made)}", flush=True)
        write_results(arguments.results, COMMAND, CONDITIONS, [made])


if __name__ == "__main__":
    main()
