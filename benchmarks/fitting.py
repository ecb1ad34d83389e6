"""How long one evaluation of a fit takes, and how near it comes to Monte Carlo: `prepare` beside `convolve`.

    python benchmarks/fitting.py [--without-compiler] [--only slice|manganite|path|starts]

The slice has 100 momenta and 100 energies (K and L integrated over 0.1) of a ladder with four sites; `manganite` is the
same of a magnet with 16 sites and two twins. The path has the
five segments of the measurement of La2NiO4 (217 columns of 121 energies), each straight, with the axis across it
integrated.

`starts` is a fit from sixteen starts by one worker of a local Dask cluster and by two. The machine may be busy, so the
processor time is given beside the time on the clock: with a core for each worker, two take as long as the busier one
works.
"""

from __future__ import annotations

import argparse
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pages import table_text
from results import add_option, column, table, write_results

from mantid_insgan import Axis, Lattice
from mantid_insgan.convolve import GridAccuracyWarning, convolve, prepare
from mantid_insgan.fit import Dataset, Problem
from mantid_insgan.fit.minimise import minimise
from mantid_insgan.instruments import Resolution
from mantid_insgan.models.definition import read_model
from mantid_insgan.models.spinw.zoo import get_family

#: Half of the width of the path across it, r.l.u.
_ACROSS = 0.05
#: Points of the Monte Carlo that tells the error, and allowed error between its momenta.
_EXACT, _EXACT_TOLERANCE = 1000, 0.02
#: The model that is fitted from several starts, how many, and counts in the brightest bin.
_MODEL = Path(__file__).resolve().parents[1] / "docs" / "examples" / "models" / "la2nio4.yaml"
_STARTS, _COUNTS = 16, 1000.0
COMMAND = "OMP_NUM_THREADS=1 python benchmarks/fitting.py"
CONDITIONS = (
    "CPU time on one core of a shared machine: the least of five evaluations, each of another model, without its "
    "build. Errors are root mean squares relative to the spectrum's, beyond the noise of a Monte Carlo with "
    f"Gaussian deviations, {_EXACT} points a bin."
)


@dataclass(frozen=True)
class Case:
    """Grids that are seen by one resolution, and a model of its couplings.

    Parameters
    ----------
    name : str
    grids : tuple of tuple of Axis
    resolution : Resolution
    family, couplings, options
        Of the model, see `mantid_insgan.models.spinw.zoo.Family.model`.
    """

    name: str
    grids: tuple[tuple[Axis, ...], ...]
    resolution: Resolution
    family: str
    couplings: dict
    options: dict

    def model(self, factor: float = 1.0):
        """The model with its first coupling times a factor."""
        first, value = next(iter(self.couplings.items()))
        changed = {first: value * factor}
        return get_family(self.family).model(self.couplings | changed, lattice=self.resolution.lattice, **self.options)


def _rlu(name: str, low: float, high: float, bins: int) -> Axis:
    return Axis(name, np.linspace(low, high, bins + 1), "r.l.u.", frame="HKL")


def a_slice() -> Case:
    """100 x 100 bins in (H, E)."""
    lattice = Lattice(4.0, 5.0, 6.0)
    axes = (
        _rlu("[H,0,0]", 1.0, 2.5, 100),
        _rlu("[0,K,0]", 0.45, 0.55, 1),
        _rlu("[0,0,L]", -0.05, 0.05, 1),
        Axis("DeltaE", np.linspace(3, 53, 101), "meV"),
    )
    couplings = {"J1": 8.0, "Jrung": 6.0, "Jcross": 0.5, "Jperp": -0.4, "D": -0.3}
    resolution = Resolution("MAPS-2000", 100.0, "S", 300.0, lattice=lattice)
    return Case("slice", (axes,), resolution, "ladder", couplings, {"ion": "Mn2+", "axis": np.array([0, 0, 1.0])})


def a_manganite() -> Case:
    """100 x 100 bins in (H, E) of the half-doped manganite, 16 sites and two twins, as in resolution.py."""
    lattice = Lattice(5.408, 5.4599, 19.266)
    axes = (
        _rlu("[H,0,0]", 1.5, 3.0, 100),
        _rlu("[0,K,0]", -0.05, 0.05, 1),
        _rlu("[0,0,L]", -0.05, 0.05, 1),
        Axis("DeltaE", np.linspace(8, 72, 101), "meV"),
    )
    couplings = {"JF1": -11.39, "JA": 1.5, "JF2": -1.35, "JF3": 1.5, "Jperp": 0.88, "D": 0.074}
    resolution = Resolution("MAPS-2000", 120.0, "S", 300.0, lattice=lattice)
    return Case(
        "manganite", (axes,), resolution, "pcsmo_goodenough", couplings, {"ion": "Mn3+/Mn4+", "temperature": 5.0}
    )


def a_path() -> Case:
    """The five segments of La2NiO4, seen at one crystal angle with c* along the beam."""
    lattice = Lattice(3.87, 3.87, 12.55)
    energy = Axis("DeltaE", np.linspace(19.5, 140.5, 122), "meV")
    segments = (
        ("[-H,H,0]", -0.25, 0.0, 36, "[H,H,0]", 0.5),
        ("[0,K,0]", 0.0, 0.5, 50, "[H,0,0]", 0.5),
        ("[H,H,0]", 0.25, 0.5, 36, "[H,-H,0]", 0.25),
        ("[H,-H,0]", 0.25, 0.5, 36, "[H,H,0]", 0.5),
        ("[H,0,0]", 0.5, 1.0, 59, "[0,K,0]", 0.0),
    )
    grids = tuple(
        (_rlu(along, low, high, bins), _rlu(across, centre - _ACROSS, centre + _ACROSS, 1), energy)
        for along, low, high, bins, across, centre in segments
    )
    resolution = Resolution(
        "SEQUOIA", 190.0, "SEQ-700-3.5-AST", 360.0, lattice=lattice, orientation=((0, 0, 1), (1, 0, 0))
    )
    quarter = np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1.0]])
    return Case(
        "path",
        grids,
        resolution,
        "square_afm",
        {"J1": 33.0, "J2": 2.3, "J3": 0.0, "Jperp": 0.0, "D": -0.1},
        {"ion": "Ni2+", "axis": np.array([1, 1, 0]) / np.sqrt(2), "domains": [(np.eye(3), 1), (quarter, 1)]},
    )


def _seconds(call, repeats: int = 1) -> tuple[float, object]:
    """Least CPU time of some calls, given their number, and what the last returned."""
    times = []
    for number in range(repeats):
        start = time.process_time()
        found = call(number)
        times.append(time.process_time() - start)
    return min(times), found


def _error(found: np.ndarray, exact) -> float:
    seen = np.isfinite(exact.signal)
    size = (exact.signal[seen] ** 2).mean()
    square = ((found - exact.signal)[seen] ** 2).mean() - exact.variance[seen].mean()
    return float(np.sqrt(max(square, 0.0) / size))


def _noise(exact) -> float:
    """Standard error of a Monte Carlo, root mean square relative to the spectrum's."""
    seen = np.isfinite(exact.signal)
    return float(np.sqrt(exact.variance[seen].mean() / (exact.signal[seen] ** 2).mean()))


def of_interpolated(case: Case, line: dict) -> float:
    """Seconds of `convolve` by 'interpolated' with its own options, all grids of a case."""
    options = {"method": "interpolated", **line}
    return sum(_seconds(lambda _, g=g: convolve(case.model(), g, case.resolution, **options))[0] for g in case.grids)


def measured(case: Case, points: int, tolerance: float, line: dict, compiled: bool | None, exact: list, slow) -> list:
    """A row of results: seconds of `convolve`, of the preparation and of an evaluation, how many times cheaper than
    `slow` seconds that is, momenta, and the error."""
    start, others = case.model(), [case.model(1 + 0.004 * n) for n in range(1, 6)]
    totals, errors, momenta = np.zeros(4), [], 0
    for number, grid in enumerate(case.grids):
        options = {"points": points, "tolerance": tolerance}
        whole, _ = _seconds(lambda _, g=grid, o=options: convolve(start, g, case.resolution, **o, **line))

        def made(_, g=grid, o=options):
            prepared = prepare(g, case.resolution, model=start, **o)
            prepared.signal(others[0], compiled=compiled, **line)
            return prepared

        preparation, prepared = _seconds(made)
        signal = prepared.signal(start, compiled=compiled, **line)
        # The model that it began with is not asked again; another factor, as the last result would be taken.
        factors = {n: {"width_factor": 1 - 1e-6 * (n + 1)} for n in range(5)}
        known, _ = _seconds(lambda n, p=prepared, f=factors: p.signal(start, compiled=compiled, **f[n], **line), 5)
        each, _ = _seconds(lambda n, p=prepared: p.signal(others[n], compiled=compiled, **line), 5)
        totals += whole, preparation, each, known
        momenta += prepared.momenta
        if number < len(exact):
            errors.append(_error(signal, exact[number]))
    name = f"{case.name}, {points} points, tolerance {tolerance:g}" + (", no compiler" if compiled is False else "")
    return [name, slow, *totals, slow / totals[2], momenta, float(np.mean(errors)), _noise(exact[0])]


def prepared_table(name: str, without_compiler: bool) -> dict:
    """The times of evaluations of one case."""
    convolve(a_slice().model(), a_slice().grids[0], a_slice().resolution, points=8)  # compiles
    make, line = CASES[name]
    case, accurate = make(), {"points": _EXACT, "tolerance": _EXACT_TOLERANCE, "gaussian": True}
    exact = [convolve(case.model(), case.grids[0], case.resolution, method="interpolated", **accurate, **line)]
    slow = of_interpolated(case, line)
    choices = [(256, 0.05, None), (256, 0.1, None), (128, 0.1, None)]
    choices += [(256, 0.05, False)] if without_compiler else []
    rows = [measured(case, points, tolerance, line, how, exact, slow) for points, tolerance, how in choices]
    columns = [
        column(""),
        column("`interpolated` (s)", "{:.1f}"),
        column("`convolve` (s)", "{:.2f}"),
        column("prepare and first evaluation (s)", "{:.2f}"),
        column("evaluation (s)", "{:.3f}"),
        column("of it without the model's own time (s)", "{:.3f}"),
        column("times cheaper than `interpolated`", "{:.0f}"),
        column("momenta"),
        column("error", "{:.3f}"),
        column("noise of the Monte Carlo", "{:.3f}"),
    ]
    note = "The error of a path is that of its first segment. `interpolated` has its usual points and tolerance."
    return table("prepared", columns, rows, note=note)


def a_fit() -> dict:
    """The arguments of a `Problem` of simulated counts."""
    lattice = Lattice(3.87, 3.87, 12.55)
    resolution = Resolution("MAPS-2000", 160.0, "S", 400.0, lattice=lattice)
    axes = (
        _rlu("[H,0,0]", 0.4, 0.6, 16),
        _rlu("[0,K,0]", 0.45, 0.55, 1),
        _rlu("[0,0,L]", -0.5, 0.5, 1),
        Axis("DeltaE", np.linspace(20, 140, 31), "meV"),
    )
    definition = read_model(_MODEL)
    values = {name: parameter.value for name, parameter in definition.parameters.items()}
    true = convolve(definition.build(values), axes, resolution, fwhm=values.get("line"))
    scale = _COUNTS / np.nanmax(true.signal)
    counts = np.random.default_rng(0).poisson(np.nan_to_num(scale * true.signal)).astype(float)
    seen = true.replace(signal=counts, variance=np.maximum(counts, 1.0), valid=np.isfinite(true.signal))
    return {"datasets": [Dataset(seen, resolution, "simulated")], "definition": definition, "weights": "poisson"}


def with_workers(count: int) -> list:
    """A row: seconds on the clock without and with the start of the workers, and processor time of each of them."""
    from distributed import Client, LocalCluster

    problem, began = Problem(**a_fit(), threads=1), time.monotonic()
    local = {"n_workers": count, "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(**local) as cluster, Client(cluster) as client:
        client.wait_for_workers(count)
        # What workers import and compile counts as their start.
        client.run(lambda: Problem(**a_fit(), threads=1))
        started, before = time.monotonic(), client.run(time.process_time)
        search = minimise(problem, starts=_STARTS, smoothing=0.0, dask=cluster.scheduler_address)
        ended, after = time.monotonic(), client.run(time.process_time)
    work = sorted(after[address] - before[address] for address in after)
    print(f"{count} workers: {ended - started:.1f} s, processor time {work}", flush=True)
    return [f"{count}", ended - started, ended - began, sum(work), work[-1], search.evaluations]


def starts_table() -> dict:
    """The times of a fit from several starts."""
    rows = [with_workers(count) for count in (1, 2)]
    rows.append(["ratio", *(one / two for one, two in zip(rows[0][1:5], rows[1][1:5], strict=True)), None])
    columns = [
        column("workers"),
        column("time on the clock (s)", "{:.1f}"),
        column("with the start of the workers (s)", "{:.1f}"),
        column("processor time of all workers (s)", "{:.1f}"),
        column("of the busiest (s)", "{:.1f}"),
        column("evaluations"),
    ]
    note = "A fit from {starts} starts, not smoothed; its problem is prepared once by each worker."
    return table("starts", columns, rows, note=note, facts={"starts": _STARTS})


#: What is timed, and the intrinsic line of its model.
CASES = {"slice": (a_slice, {}), "manganite": (a_manganite, {}), "path": (a_path, {"fwhm": 4.0, "shape": "gaussian"})}


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--without-compiler", action="store_true", help="measure the path of numpy as well")
    parser.add_argument("--only", choices=(*CASES, "starts"), help="one of the parts")
    add_option(parser, "fitting")
    options = parser.parse_args()
    warnings.simplefilter("ignore", GridAccuracyWarning)
    for name in (*CASES, "starts"):
        if options.only in (None, name):
            made = starts_table() if name == "starts" else prepared_table(name, options.without_compiler)
            print(table_text(made), flush=True)
            write_results(options.results, COMMAND, CONDITIONS, [made], keep_rows=name in CASES)


if __name__ == "__main__":
    main()
