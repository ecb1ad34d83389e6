"""Fitted couplings against the true ones, on simulated experiments.

    python benchmarks/fit_coverage.py [--count 100] [--engine NAME]

Every case is drawn from families that no training has seen: a model, an instrument setting and a slice. It is convolved
by Monte Carlo with the pulses as they are, and an experiment made of it: background, gaps, counts. The two strongest
couplings and the intrinsic line are fitted, from starts up to 15 % off, beyond the elastic line, with a background
linear in energy and |Q|^2. Cases are kept in a folder, so that a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path

import numpy as np
from pages import table_text
from results import add_option, column, table, write_results

from mantid_insgan.convolve import GridAccuracyWarning
from mantid_insgan.core.files import replacing
from mantid_insgan.core.run import Lattice
from mantid_insgan.errors import InsganError
from mantid_insgan.fit import Dataset, Problem, fit, masks
from mantid_insgan.learn.pairs.draw import draw_pair
from mantid_insgan.learn.pairs.recipe import Recipe
from mantid_insgan.models.definition import Parameter, definition_of_callable
from mantid_insgan.models.spinw.zoo import HELD_OUT, get_family

COMMAND = "python benchmarks/fit_coverage.py"
CONDITIONS = (
    "Families held out from training; 2D slices of 40 x 40 bins (seed 2026); truth convolved by Monte Carlo with the "
    "pulses as they are; experiment with background, gaps and Poisson counts."
)
SEED, BINS = 2026, 40
#: Held out from all trainings; without those whose Monte Carlo takes minutes a case: the helix, which pySpinW alone can
#: calculate, and the manganite.
FAMILIES = tuple(name for name in HELD_OUT if name not in ("helical", "pcsmo_dimer"))
#: What is left out about the elastic line, in FWHM.
ELASTIC = 3.0
#: Searches: a sharp mode that starts beside the measured one does not find it.
STARTS = 4
ENGINES = ("covariance", "energy", "none", "gan")


def main() -> None:
    """Draw, fit, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--engine", action="append", choices=ENGINES, help="covariance alone if not given")
    parser.add_argument("--folder", type=Path, default=Path("fit_coverage"), help="for the fits that are done")
    add_option(parser, "fit_coverage")
    options = parser.parse_args()
    warnings.simplefilter("ignore", GridAccuracyWarning)
    options.folder.mkdir(parents=True, exist_ok=True)
    for number in range(options.first, options.first + options.count):
        for engine in options.engine or ["covariance"]:
            done(options.folder, number, engine)
    report(options)


def done(folder: Path, number: int, engine: str) -> dict:
    """The fit of one case, from the folder if it is there."""
    path = folder / f"{number:04d}-{engine}.json"
    if path.exists():
        return json.loads(path.read_text())
    began = time.monotonic()
    try:
        found = fitted(number, engine)
    except InsganError as problem:
        found = {"failed": str(problem)}
    found |= {"number": number, "engine": engine, "seconds": time.monotonic() - began}
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(found))
    print(f"{number:4d} {engine:10s} {found['seconds']:6.1f} s {found.get('family', found.get('failed'))}", flush=True)
    return found


def fitted(number: int, engine: str) -> dict:
    """Values, errors and truth of the free parameters of one case."""
    pair = draw_pair(Recipe(2, SEED, method="interpolated", bins=BINS, only=FAMILIES), number)
    truth, definition = definition_of(pair, np.random.default_rng([SEED, number, 1]))
    spectrum = pair.spectrum("experiment", seed=number)
    engine = through_the_network if engine == "gan" else engine
    spectrum = masks.without_elastic_line(spectrum, pair.resolution, ELASTIC)
    problem = Problem(
        [Dataset(spectrum, pair.resolution)],
        definition,
        resolution=engine,
        background=("slope", "q-squared"),
        weights="poisson",
        shape=pair.facts["line"].get("shape", "gaussian"),
    )
    result = fit(problem, starts=STARTS)
    return {
        "family": pair.facts["model"]["family"],
        "truth": {name: truth[name] for name in result.errors.names},
        "values": {name: result.values[name] for name in result.errors.names},
        "statistical": dict(zip(result.errors.names, map(float, result.errors.statistical), strict=True)),
        "scaled": dict(zip(result.errors.names, map(float, result.errors.scaled), strict=True)),
        "reduced": result.reduced_chi_squared,
        "bins": problem.bins,
        "evaluations": result.search.evaluations,
        "notes": list(result.notes),
    }


def definition_of(pair, rng):
    """The truth, and the model of a pair with its two strongest couplings and its line to be found."""
    facts = pair.facts["model"]
    family, lattice = get_family(facts["family"]), Lattice(*facts["lattice"])
    known = {name: float(v) for name, v in facts["couplings"].items()}
    fixed = {"lattice": lattice, "ion": facts["ion"], "spin": facts["spin"], "axis": np.array(facts["axis"])}

    def build(values):
        couplings = {name: values[name] for name in known}
        return family.model(couplings, **fixed, temperature=facts["temperature"])

    strongest = sorted(known, key=lambda name: -abs(known[name]))[:2]
    line = pair.facts["line"].get("fwhm")
    truth = known | ({"line": line} if line else {})
    free = [*strongest, *(["line"] if line else [])]
    parameters = []
    for name, value in truth.items():
        start = value * (1 + rng.uniform(-0.15, 0.15)) if name in free else value
        low, high = sorted((0.3 * value, 2.0 * value)) if name in free and value else (-np.inf, np.inf)
        parameters.append(Parameter(name, start, low, high, vary=name in free and value != 0))
    return truth, definition_of_callable(build, lattice, parameters, name=facts["family"])


def through_the_network(spectrum, resolution, model):
    """An engine: the mean over each bin, with the resolution put in by the bundled network."""
    from mantid_insgan.convolve import ideal
    from mantid_insgan.translate.cards import model_for
    from mantid_insgan.translate.translator import Translator

    translator = Translator(model_for("add-resolution", len(spectrum.open_axes)), "cpu", 1)
    grid = resolution.on_grid(spectrum)

    def seen(model, *, line, shape, width_factor):
        sharp = ideal(model, spectrum, resolution, points=64, fwhm=line, shape=shape, seed=0)
        sharp = sharp.replace(variance=np.where(sharp.valid, 0.0, np.nan))
        return translator.apply(sharp, grid)[0].signal

    return seen


def report(options) -> None:
    """Print the tables and write the results."""
    rows = []
    for engine in ENGINES:
        cases = [json.loads(p.read_text()) for p in sorted(options.folder.glob(f"*-{engine}.json"))]
        if cases:
            rows.append(row_of(engine, cases))
    columns = [
        column("engine"),
        column("data sets"),
        column("not fitted"),
        column("median deviation of couplings", "{:.2%}"),
        column("median bias of couplings", "{:+.2%}"),
        column("within 5 %", "{:.0%}"),
        column("68 % interval covers (scaled)", "{:.0%}"),
        column("95 % covers", "{:.0%}"),
        column("median chi-squared per degree", "{:.2f}"),
        column("median seconds", "{:.1f}"),
    ]
    made = table("coverage", columns, rows)
    print(table_text(made))
    write_results(options.results, COMMAND, CONDITIONS, [made], keep_rows=True)


def row_of(engine: str, cases: list[dict]) -> list:
    """Bias and coverage over the couplings of all cases; the line is not counted."""
    good = [c for c in cases if "failed" not in c]
    deviations, pulls = [], []
    for case in good:
        for name in case["values"]:
            if name != "line" and case["truth"][name]:
                away = case["values"][name] - case["truth"][name]
                deviations.append(away / case["truth"][name])
                pulls.append(away / case["scaled"][name] if case["scaled"][name] else np.nan)
    deviations, pulls = np.array(deviations), np.abs(np.array(pulls, dtype=float))
    pulls = np.where(np.isfinite(pulls), pulls, np.inf)
    return [
        engine,
        len(cases),
        len(cases) - len(good),
        float(np.median(np.abs(deviations))),
        float(np.median(deviations)),
        float(np.mean(np.abs(deviations) < 0.05)),
        float(np.mean(pulls < 1)),
        float(np.mean(pulls < 1.96)),
        float(np.median([c["reduced"] for c in good])),
        float(np.median([c["seconds"] for c in good])),
    ]


if __name__ == "__main__":
    main()
