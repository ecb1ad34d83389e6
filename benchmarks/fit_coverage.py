"""Fitted couplings against the true ones, on simulated experiments.

    python benchmarks/fit_coverage.py [--count 100] [--engine NAME]

Every case is drawn from families that no training has seen: a model, an instrument setting and a slice. It is convolved
by Monte Carlo with the pulses as they are, and an experiment made of it: background, gaps, counts. The two strongest
couplings and the intrinsic line are fitted, from starts up to 15 % off, beyond the elastic line and what else covers
the magnetic scattering as much, with a background that is free at each energy and has a term with |Q|^2. Cases are kept
in a folder, so that a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
from pages import table_text
from results import add_option, column, table, write_results

from mantid_insgan.convolve import GridAccuracyWarning, convolve, sample_modes
from mantid_insgan.convolve.bins import Bins
from mantid_insgan.convolve.detectors import Detectors
from mantid_insgan.convolve.experiment import ExperimentSettings, background, make_experiment
from mantid_insgan.core.files import replacing
from mantid_insgan.core.run import Lattice
from mantid_insgan.core.spectrum import Spectrum
from mantid_insgan.errors import InsganError
from mantid_insgan.fit import Dataset, Problem, fit, masks
from mantid_insgan.learn.pairs.draw import draw_pair
from mantid_insgan.learn.pairs.pair import Pair
from mantid_insgan.learn.pairs.recipe import Recipe
from mantid_insgan.models.definition import Parameter, definition_of_callable
from mantid_insgan.models.spinw.zoo import HELD_OUT, get_family

COMMAND = "python benchmarks/fit_coverage.py"
SEED, BINS = 2027, 40
#: Held out from all trainings; without those whose Monte Carlo takes minutes a case: the helix, which pySpinW alone can
#: calculate, and the manganite.
FAMILIES = tuple(name for name in HELD_OUT if name not in ("helical", "pcsmo_dimer"))
#: Monte Carlo points of the truth for every node of a column, and directions of a powder; a plane has 40 times the
#: columns of a path.
POINTS, TRUE_DIRECTIONS = {"path": 2000, "plane": 700, "powder": 4000}, 4000
#: Most counts expected in a bin of the root mean square; and fewer, so that the variance of the truth's Monte Carlo is
#: no more than this share of that of the counts: both grow with the intensity, and only one is in the errors.
MOST_COUNTS, NOISE_SHARE = 100.0, 0.1
#: Error that the truth may have between the momenta at which its model is asked: with many counts 2 % would move
#: couplings by as much as their errors.
TOLERANCE = 0.005
#: A truth with more noise than this, or more error between its momenta, is left out, and a case with fewer bins than
#: these beyond the elastic line.
NOISIEST, COARSEST, FEWEST = 0.08, 0.01, 200
#: Where the magnetic scattering in the bins that are left is less than these standard errors in all, it shows nothing.
FAINTEST = 10.0
#: What is left out about the elastic line, in FWHM; and, as one sees them, bins where the elastic line, its tail or the
#: lines of aluminium have more than this share of the root mean square of the magnetic scattering.
ELASTIC, COVERED = 3.0, 0.3
STARTS, CORRECTIONS = 1, 2
ENGINES = ("shapes", "covariance", "corrected", "model-error", "energy", "none", "gan")
#: Share of the intensity that 'model-error', which is the covariance otherwise, adds to the errors.
MODEL_ERROR = 0.1
#: Couplings whose error the fit gives as less than this share of them are also reported alone.
DETERMINED = 0.05
CONDITIONS = (
    "Families held out from training; 2D slices of 40 x 40 bins (seed 2027); truth convolved by Monte Carlo with the "
    "pulses as they are; experiment with background, gaps and Poisson counts, at most "
    f"{MOST_COUNTS:.0f} in a bin of the root mean square and fewer where the noise of the truth would add more than "
    f"{NOISE_SHARE:.0%} to their variance. The two strongest couplings and the line are fitted, from "
    f"starts up to 15 % off, beyond {ELASTIC:g} FWHM from the elastic line and where its tail and aluminium have less "
    f"than {COVERED:.0%} of the root mean square; background per-energy and q-squared, weights poisson. Intervals are "
    "the column error of a fit: scaled by the root of chi-squared."
)


def main() -> None:
    """Draw, fit, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--engine", action="append", choices=ENGINES, help="covariance alone if not given")
    parser.add_argument("--truths", action="store_true", help="calculate the truths alone")
    parser.add_argument("--folder", type=Path, default=Path("fit_coverage"), help="for the fits that are done")
    add_option(parser, "fit_coverage")
    options = parser.parse_args()
    warnings.simplefilter("ignore", GridAccuracyWarning)
    options.folder.mkdir(parents=True, exist_ok=True)
    for number in range(options.first, options.first + options.count):
        if options.truths:
            print(number, measured_case(options.folder, number)[-1], flush=True)
            continue
        for engine in options.engine or ["covariance"]:
            done(options.folder, number, engine)
    if not options.truths:
        report(options)


def done(folder: Path, number: int, engine: str) -> dict:
    """The fit of one case, from the folder if it is there."""
    path = folder / f"{number:04d}-{engine}.json"
    if path.exists():
        return json.loads(path.read_text())
    began = time.monotonic()
    try:
        found = fitted(folder, number, engine)
    except InsganError as problem:
        found = {"failed": str(problem)}
    found |= {"number": number, "engine": engine, "seconds": time.monotonic() - began}
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(found))
    print(f"{number:4d} {engine:10s} {found['seconds']:6.1f} s {found.get('family', found.get('failed'))}", flush=True)
    return found


def drawn(number: int) -> Pair:
    """The draw of a case: model, setting, grid and background."""
    return draw_pair(Recipe(2, SEED, method="covariance", bins=BINS, only=FAMILIES), number)


def truth_of(folder: Path, number: int, pair: Pair) -> tuple[Spectrum, float, float]:
    """The noiseless spectrum of a case, and the noise of its Monte Carlo and the error between the momenta at which the
    model was asked, as shares of the root mean square.

    It is kept in the folder: it takes longer than a fit.
    """
    path = folder / f"truth-{number:04d}.npz"
    grid = pair.spectrum("convolved")
    if not path.exists():
        model = definition_of(pair, np.random.default_rng(0))[1].build(values_of(pair))
        how = {"method": "interpolated", "points": POINTS[pair.facts["kind"]], "seed": number}
        source = None
        if pair.facts["kind"] != "powder":
            source = sample_modes(model, grid, pair.resolution, method="interpolated", tolerance=TOLERANCE)
        how |= {"orientations": TRUE_DIRECTIONS, "source": source}
        seen = convolve(model, grid, pair.resolution, **how, **pair.facts["line"])
        with replacing(path) as temporary, open(temporary, "wb") as stream:
            np.savez(stream, signal=seen.signal, variance=seen.variance, modes=getattr(source, "error", 0.0))
    with np.load(path) as kept:
        signal, variance, modes = kept["signal"], kept["variance"], float(kept["modes"])
    valid = grid.valid & np.isfinite(signal)
    noise = float(np.sqrt(variance[valid].mean() / (signal[valid] ** 2).mean()))
    return grid.replace(signal=signal, variance=np.zeros_like(signal), valid=valid), noise, modes


def measured_case(folder: Path, number: int) -> tuple[Pair, Spectrum, dict]:
    """The draw of a case, its measurement, and facts for the results: 'left_out' says why it is not fitted."""
    pair = drawn(number)
    found = {"family": pair.facts["family"], "kind": pair.facts["kind"]}
    # With the spectrum that the draw has looked at, before the truth is calculated.
    first = experiment_of(pair, pair.spectrum("convolved"), number, 0.0)
    if np.count_nonzero(first.valid) < FEWEST:
        return pair, first, found | {"left_out": f"fewer than {FEWEST} bins beyond the elastic line"}
    truth, noise, modes = truth_of(folder, number, pair)
    measured = experiment_of(pair, truth, number, noise)
    where = measured.valid
    shown = float(np.sqrt((truth.signal[where] ** 2 / measured.variance[where]).sum()))
    found |= {"noise": noise, "modes": modes, "bins": int(np.count_nonzero(where)), "shown": shown}
    if noise > NOISIEST or modes > COARSEST:
        return pair, measured, found | {"left_out": "noise of the truth" if noise > NOISIEST else "modes of the truth"}
    return pair, measured, found | ({"left_out": "no magnetic scattering"} if shown < FAINTEST else {})


def experiment_of(pair: Pair, truth: Spectrum, number: int, noise: float) -> Spectrum:
    """The measurement of a case, without the bins that the elastic line, its tail or aluminium cover."""
    drawn = ExperimentSettings.from_facts(pair.facts["experiment"])
    settings = replace(drawn, counts=min(drawn.counts, MOST_COUNTS, NOISE_SHARE / max(noise, 1e-3) ** 2))
    seen = pair.valid.reshape(truth.shape)
    measured = make_experiment(truth, pair.resolution, settings, seed=number, seen=seen)
    bins = Bins(truth, pair.resolution)
    level = float(np.sqrt((truth.signal[truth.valid] ** 2).mean()))
    lines = replace(settings, flat=0.0, time_independent=0.0, phonons=0.0)
    elastic = bins.from_columns(background(Detectors(bins), lines, level, bins.to_columns(truth.valid))[1])
    measured = measured.replace(valid=measured.valid & ~(elastic > COVERED * level), title=f"case {number}")
    return masks.without_elastic_line(measured, pair.resolution, ELASTIC)


def fitted(folder: Path, number: int, engine: str) -> dict:
    """Values, errors and truth of the free parameters of one case."""
    pair, spectrum, found = measured_case(folder, number)
    if "left_out" in found:
        return found
    truth, definition = definition_of(pair, np.random.default_rng([SEED, number, 1]))
    problem = problem_of(pair, spectrum, definition, engine)
    if engine == "corrected":  # as `fit` does it, but that the search before the corrections is not done again
        before = done(folder, number, "covariance")["values"]
        result = fit(problem.holding("", {**problem.start, **before}), smoothing=0.0, corrections=CORRECTIONS)
    else:
        result = fit(problem, starts=STARTS)
    names = result.errors.names
    return found | {
        "truth": {name: truth[name] for name in names},
        "start": {name: problem.start[name] for name in names},
        "values": {name: result.values[name] for name in names},
        "statistical": dict(zip(names, map(float, result.errors.statistical), strict=True)),
        "scaled": dict(zip(names, map(float, result.errors.scaled), strict=True)),
        "reduced": result.reduced_chi_squared,
        "evaluations": result.search.evaluations,
        "at_limit": list(result.errors.at_limit),
        "notes": list(result.notes),
    }


def problem_of(pair: Pair, spectrum: Spectrum, definition, engine: str) -> Problem:
    """The comparison of a case."""
    flat = len(spectrum.axes[spectrum.energy_axis]) == 1
    return Problem(
        [Dataset(spectrum, pair.resolution)],
        definition,
        resolution={"gan": through_the_network, **dict.fromkeys(("corrected", "model-error"), "covariance")}.get(
            engine, engine
        ),
        background=("constant" if flat else "per-energy", "q-squared"),
        weights="poisson",
        model_error=MODEL_ERROR if engine == "model-error" else 0.0,
        shape=pair.facts["line"].get("shape", "gaussian"),
    )


def values_of(pair: Pair) -> dict[str, float]:
    """The true values of the model and of its line."""
    line = pair.facts["line"].get("fwhm")
    known = {name: float(v) for name, v in pair.facts["model"]["couplings"].items()}
    return known | ({"line": line} if line else {})


def definition_of(pair, rng):
    """The truth, and the model of a pair with its two strongest couplings and its line to be found."""
    facts = pair.facts["model"]
    family, lattice = get_family(facts["family"]), Lattice(*facts["lattice"])
    truth = values_of(pair)
    known = [name for name in truth if name != "line"]
    fixed = {"lattice": lattice, "ion": facts["ion"], "spin": facts["spin"], "axis": np.array(facts["axis"])}

    def build(values):
        couplings = {name: values[name] for name in known}
        return family.model(couplings, **fixed, temperature=facts["temperature"])

    free = [*sorted(known, key=lambda name: -abs(truth[name]))[:2], *(["line"] if "line" in truth else [])]
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
    rows, facts = [], {}
    for engine in ENGINES:
        cases = [json.loads(p.read_text()) for p in sorted(options.folder.glob(f"*-{engine}.json"))]
        if any("values" in c for c in cases):
            rows += [row_of(engine, cases, np.inf), row_of(f"{engine}, determined", cases, DETERMINED)]
        if engine == "covariance":
            facts = {"drawn": len(cases), "determined": DETERMINED, "model_error": MODEL_ERROR}
            facts |= {"bins": sum("bins beyond" in c.get("left_out", "") for c in cases), "fewest": FEWEST}
            facts |= {"faint": sum("magnetic" in c.get("left_out", "") for c in cases)}
            facts |= {"coarse": sum("modes" in c.get("left_out", "") for c in cases), "coarsest": COARSEST}
            facts |= {"noisy": sum("noise" in c.get("left_out", "") for c in cases), "noisiest": NOISIEST}
    columns = [
        column("engine"),
        column("data sets"),
        column("not fitted"),
        column("couplings"),
        column("median deviation", "{:.2%}"),
        column("median bias", "{:+.2%}"),
        column("within 2 %", "{:.0%}"),
        column("68 % interval covers", "{:.0%}"),
        column("95 % interval covers", "{:.0%}"),
        column("median chi-squared per degree", "{:.2f}"),
        column("median seconds", "{:.1f}"),
    ]
    note = (
        "Of {drawn} draws {bins} had fewer than {fewest} bins beyond the elastic line, {faint} no magnetic scattering "
        "there, {noisy} a truth whose own noise was above {noisiest:.0%}, and {coarse} one whose modes were off by "
        "more than {coarsest:.0%} between their momenta; they were not fitted. Couplings that the data do not "
        "determine or that end at a limit, as the fit says, do not count. 'determined': only couplings whose error the "
        "fit gives as less than {determined:.0%} of them. 'model-error': the engine covariance with {model_error:.0%} "
        "of the intensity added to the errors."
    )
    made = table("coverage", columns, rows, note=note, facts=facts)
    print(table_text(made))
    write_results(options.results, COMMAND, CONDITIONS, [made], keep_rows=True)


def row_of(name: str, cases: list[dict], most: float) -> list:
    """Bias and coverage over the couplings of all cases with errors below a share of them; the line is not counted."""
    fits = [c for c in cases if "values" in c]
    away, errors, truths = [], [], []
    for case in fits:
        for coupling, error in case["scaled"].items():
            if coupling == "line" or coupling in case["at_limit"] or not np.isfinite(error):
                continue
            if error < most * abs(case["values"][coupling]):
                away.append(case["values"][coupling] - case["truth"][coupling])
                truths.append(case["truth"][coupling])
                errors.append(error)
    deviations, pulls = np.array(away) / np.array(truths), np.abs(np.array(away) / np.array(errors))
    return [
        name,
        len(fits),
        sum("failed" in c for c in cases),
        len(deviations),
        float(np.median(np.abs(deviations))),
        float(np.median(deviations)),
        float(np.mean(np.abs(deviations) < 0.02)),
        float(np.mean(pulls < 1)),
        float(np.mean(pulls < 1.96)),
        float(np.median([c["reduced"] for c in fits])),
        float(np.median([c["seconds"] for c in fits])),
    ]


if __name__ == "__main__":
    main()
