"""Goodenough's model or dimers: which of them the measurement of a half-doped manganite prefers.

    OMP_NUM_THREADS=1 python benchmarks/pcsmo_verdict.py [--part refitted --only 3] [--lowest 50] [--every 2]

The measurement (`tobyfit_images.IMAGES`) is a mosaic of constant-energy maps in (h, k), 6 incident energies by 10
energy transfers, MAPS before its guide, c* along the beam. Each map is a dataset of the fit; those of one Ei share a
scale, or all do, and each has a constant background. The models are docs/examples/models/goodenough.yaml and
dimer.yaml.

The mosaic has no errors: one for each map is taken from the second differences between neighbouring pixels, so that
chi-squared is relative to the scatter from pixel to pixel.

Three things make it quick. Both models have the mirrors of h and of k, as has the instrument, so a quarter of each map
is worked out (`mirrored`). All maps share the momenta at which a model is asked (`SharedModes`). And the maps of one
incident energy are worked out as one volume.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from pages import table_text
from results import add_option, column, table, write_results
from tobyfit_images import IMAGES, Row

from mantid_insgan.convolve.bins import Bins
from mantid_insgan.convolve.modes import ModeGrid
from mantid_insgan.convolve.prepared import Prepared
from mantid_insgan.convolve.sources import extent_of
from mantid_insgan.core.spectrum import Axis, Spectrum
from mantid_insgan.fit import Comparison, Dataset, FitResult, Problem, compare, fit
from mantid_insgan.fit.compare import drawn_anew
from mantid_insgan.fit.masks import eroded
from mantid_insgan.learn.mosaic import CLIPPED, HALF, L_LIMIT, PIXELS, SETTINGS, SLICES, measured, scatter
from mantid_insgan.models.definition import read_model

MODELS = Path(__file__).resolve().parents[1] / "docs" / "examples" / "models"
RIVALS = ("goodenough", "dimer")
#: Standard deviations of the resolution by which the momenta reach beyond the maps; widths are not scaled.
REACH, WIDEST = 4.0, 1.0
#: Threads of an evaluation.
WORKERS = 2
#: Error allowed between the momenta, which ends at their number, and that number.
TOLERANCE, MOMENTA, POINTS = 0.1, 16_000, 16
#: Bins along h and k of a block that is drawn anew.
BLOCK = 8
#: Of the measurements at which a search begins: none, because the published couplings are near. Smoothed along h and k,
#: for want of an energy axis, maps take twice the evaluations.
SMOOTHING = 0.0


@dataclass(frozen=True)
class Variant:
    """Which pixels count.

    Parameters
    ----------
    zeros : bool
        Keep pixels of 0: those that were negative, about a third.
    erode : int
        Pixels left out beside the gaps of the detectors.
    clip : float
        Pixels of this intensity and more are left out.
    lowest : float
        Lowest incident energy, meV.
    every : int
        Of the maps of one incident energy: each, every second, ...
    line : bool
        Search the intrinsic line as well.
    scale : str
        'shared' by all maps, or 'own' for each incident energy.
    loss : str
        As in `Problem`.
    """

    zeros: bool = True
    erode: int = 1
    clip: float = CLIPPED
    lowest: float = 0.0
    every: int = 1
    line: bool = False
    scale: str = "shared"
    loss: str = "linear"

    @property
    def name(self) -> str:
        """As tables call it."""
        count = len(self.places)
        pixels = f"zeros {'kept' if self.zeros else 'left out'}, eroded by {self.erode}"
        changed = {
            f"cut off at {self.clip:g}": self.clip != CLIPPED,
            "line free": self.line,
            "a scale for each Ei": self.scale == "own",
            "Huber": self.loss == "huber",
        }
        whole = "all " if count == len(SETTINGS) * SLICES else ""
        return ", ".join([f"{whole}{count} maps", pixels, *(word for word, is_so in changed.items() if is_so)])

    @property
    def places(self) -> list[tuple[int, int]]:
        """Row and number of each map."""
        rows = [r for r, (ei, _) in enumerate(SETTINGS) if ei >= self.lowest]
        return [(r, n) for r in rows for n in range(0, SLICES, self.every)]


class SharedModes(ModeGrid):
    """A grid of momenta for all maps, at which each model is asked once."""

    _last: tuple = (None, None)

    def table_of(self, model, used, workers=1):
        """See `ModeGrid.table_of`; all nodes are asked."""
        if self._last[0] is not model:
            self._last = (model, super().table_of(model, np.ones(self.size, bool), workers).merged())
        return self._last[1]


class Maps:
    """The engine of all maps: prepared once, for every mask and both models.

    The maps of one incident energy are worked out together, as one volume: neighbouring energies share Gaussians.

    Parameters
    ----------
    places : list of (int, int)
        Row and number of each map.
    model
        That decides at which momenta models are asked.
    points, momenta, tolerance
        As in `prepare`.
    mirrored : bool
        Work out a quarter of each map.
    workers : int
        Threads of one evaluation.
    """

    def __init__(
        self,
        places,
        model,
        *,
        points: int,
        momenta: int,
        tolerance: float = TOLERANCE,
        mirrored: bool = True,
        workers: int = 1,
    ):
        self.rows, self._mirrored = {r: Row(*SETTINGS[r]) for r in sorted({r for r, _ in places})}, mirrored
        self._workers = workers
        bins = {r: Bins(_empty(self.volume(r, quarter=mirrored)), row.resolution) for r, row in self.rows.items()}
        extents = [extent_of(b, b.energy.edges) for b in bins.values()]
        wide = np.max([e.wide for e in extents], axis=0)[:3]
        low, high = np.min([e.low for e in extents], axis=0), np.max([e.high for e in extents], axis=0)
        narrow = np.min([e.narrow for e in extents], axis=0)
        self.source = SharedModes(
            model,
            (low - REACH * wide, high + REACH * wide),
            np.eye(3),
            narrow[:3],
            sigma=narrow[3],
            tolerance=tolerance,
            most=momenta,
            rng=np.random.default_rng(0),
            first=(4, 4.0),
        )
        self._prepared = {r: Prepared(b, points=points, widest=WIDEST, source=self.source) for r, b in bins.items()}

    def volume(self, row: int, quarter: bool = False) -> tuple[Axis, ...]:
        """Of all maps of a row: h, k, l and energy; or of the quarter with h and k above 0."""
        edges = np.linspace(-HALF, HALF, PIXELS + 1)[PIXELS // 2 if quarter else 0 :]
        return (
            Axis("[H,0,0]", edges, "r.l.u.", frame="HKL"),
            Axis("[0,K,0]", edges, "r.l.u.", frame="HKL"),
            Axis("[0,0,L]", [-L_LIMIT, L_LIMIT], "r.l.u.", frame="HKL"),
            Axis("DeltaE", self.rows[row].edges, "meV"),
        )

    def axes(self, row: int, number: int) -> tuple[Axis, ...]:
        """Of a map: h, k, l and energy."""
        *momenta, energy = self.volume(row)
        return (*momenta, replace(energy, edges=energy.edges[number : number + 2]))

    def rows_of(self, model, *, line: float | None = 1.0, **how) -> dict[int, np.ndarray]:
        """All maps of a model by row, each (h, k, energies): quarters, if they are mirrored. As `Prepared.signal`."""
        how = {"fwhm": line, "shape": "gaussian", "workers": self._workers, **how}
        return {r: p.signal(model, **how)[:, :, 0] for r, p in self._prepared.items()}

    def of(self, model):
        """An engine of this one model, which is worked out once for any number of problems."""
        rows = self.rows_of(model)

        def engine(spectrum: Spectrum, resolution, model):
            row, number = place_of(spectrum.title)
            found = rows[row][:, :, None, number : number + 1]
            return lambda model, **how: mirrored(found) if self._mirrored else found

        return engine

    def __call__(self, spectrum: Spectrum, resolution, model):
        """The engine of one map, which is known by its title."""
        row, number = place_of(spectrum.title)
        prepared = self._prepared[row]

        def seen(model, *, line, shape, width_factor) -> np.ndarray:
            how = {"fwhm": line, "shape": shape, "width_factor": width_factor, "workers": self._workers}
            found = prepared.signal(model, **how)[..., number : number + 1]
            return mirrored(found) if self._mirrored else found

        return seen


def mirrored(quarter: np.ndarray) -> np.ndarray:
    """A map from its quarter with h and k above 0."""
    half = np.concatenate([quarter[::-1], quarter], axis=0)
    return np.concatenate([half[:, ::-1], half], axis=1)


def _empty(axes) -> Spectrum:
    shape = tuple(len(a) for a in axes)
    return Spectrum(np.zeros(shape), np.zeros(shape), axes)


def title_of(row: int, number: int) -> str:
    """Name of a map."""
    return f"map {row} {number}"


def place_of(title: str) -> tuple[int, int]:
    """Row and number of a map."""
    return tuple(int(part) for part in title.split()[1:])


def datasets(maps: Maps, values: np.ndarray, variant: Variant) -> list[Dataset]:
    """One dataset for each map; those of one incident energy are a group."""
    found = []
    for row, number in variant.places:
        signal = values[row, number][:, :, None, None]
        known = np.isfinite(signal)
        error = scatter(values[row, number])
        whole = Spectrum(
            np.nan_to_num(signal),
            np.full(signal.shape, error**2),
            maps.axes(row, number),
            valid=known,
            title=title_of(row, number),
        )
        kept = eroded(whole, variant.erode)
        counted = kept.valid & (whole.signal < variant.clip) & (variant.zeros | (whole.signal > 0))
        resolution = maps.rows[row].resolution
        found.append(Dataset(whole.replace(valid=counted), resolution, group=f"Ei {SETTINGS[row][0]}"))
    return found


def definition_of(name: str, line: bool = False):
    """A rival; its line is held or free."""
    definition = read_model(MODELS / f"{name}.yaml")
    return definition.with_parameters(replace(definition.parameters["line"], vary=line))


def built(definition):
    """The model at the published couplings."""
    return definition.build({name: p.value for name, p in definition.parameters.items()})


def problem_of(
    name: str, maps: Maps, values: np.ndarray, variant: Variant, start: dict | None = None, engine=None
) -> Problem:
    """A rival and the maps; a background for each energy of a group is one for each map. The engine is the maps', if no
    other is given."""
    definition = definition_of(name, variant.line).with_starts(**(start or {}))
    how = {"background": "per-energy", "scale": variant.scale, "loss": variant.loss, "shape": "gaussian"}
    return Problem(datasets(maps, values, variant), definition, resolution=engine or maps, threads=1, **how)


def timed(call) -> tuple[object, float]:
    """What a call returns, and its processor time in seconds."""
    began = time.process_time()
    return call(), time.process_time() - began


def at_published(maps: Maps, values: np.ndarray, variant: Variant) -> tuple[dict[str, float], list[Problem]]:
    """Chi-squared a pixel of each rival, and their problems."""
    problems = {name: problem_of(name, maps, values, variant) for name in RIVALS}
    return {n: p.evaluate(p.start).chi_squared / p.bins for n, p in problems.items()}, list(problems.values())


def evaluation_times(problems: list[Problem]) -> tuple[float, float]:
    """Of one evaluation of a model that is new, mean over rivals: processor time, and time on the wall, s."""
    began, used = time.perf_counter(), time.process_time()
    for problem in problems:
        name = problem.free[0]
        problem.evaluate({name: problem.start[name] * 1.001})
    return (time.process_time() - used) / len(problems), (time.perf_counter() - began) / len(problems)


PUBLISHED = (
    column(""),
    column("maps"),
    column("pixels"),
    column("Goodenough, chi-squared a pixel", "{:.3f}"),
    column("dimer", "{:.3f}"),
    column("chi-squared, dimer less Goodenough", "{:.0f}"),
)
SECONDS = (
    column("preparation (s)", "{:.1f}"),
    column("evaluation, processor time (s)", "{:.2f}"),
    column("on two cores, wall time (s)", "{:.2f}"),
)


def compared_row(name: str, variant: Variant, found: dict[str, float], pixels: int) -> list:
    """A row of `PUBLISHED`."""
    good, dimer = found.values()
    return [name, len(variant.places), pixels, good, dimer, (dimer - good) * pixels]


#: Zeros kept, erosion, and clip level.
PIXELS_TRIED = (
    *((zeros, erode, CLIPPED) for zeros in (True, False) for erode in (0, 1, 2)),
    *((True, 1, clip) for clip in (90.0, 60.0, 30.0)),
    (False, 1, 60.0),
)


def published(values: np.ndarray) -> dict:
    """Both models at the published couplings: all maps, and incident energies below and from 50 meV on."""
    how = {"points": POINTS, "momenta": MOMENTA, "workers": WORKERS}
    maps = Maps(Variant().places, built(definition_of(RIVALS[0])), **how)
    engines, rows = {name: maps.of(built(definition_of(name))) for name in RIVALS}, []
    for lowest in (0.0, 50.0):
        for zeros, erode, clip in PIXELS_TRIED:
            variant = Variant(zeros, erode, clip, lowest)
            problems = [problem_of(n, maps, values, variant, engine=engines[n]) for n in RIVALS]
            found = {n: p.evaluate(p.start).chi_squared / p.bins for n, p in zip(RIVALS, problems, strict=True)}
            where = f"Ei of {lowest:g} meV and more: " if lowest else ""
            rows.append(compared_row(where + variant.name, variant, found, problems[0].bins))
            print(rows[-1], flush=True)
    return table("published", list(PUBLISHED), rows)


#: Points and most momenta.
SETTINGS_TRIED = ((POINTS, 6000), (POINTS, MOMENTA), (32, MOMENTA), (64, 2 * MOMENTA))


def settings(values: np.ndarray) -> dict:
    """What points and momenta do to time and chi-squared, at the published couplings."""
    variant, start, rows = Variant(), built(definition_of(RIVALS[0])), []
    one_map = Variant(lowest=140, every=SLICES)
    at_published(Maps(one_map.places, start, points=POINTS, momenta=1000), values, one_map)  # compiles
    for points, momenta in SETTINGS_TRIED:
        maps, making = timed(
            lambda p=points, m=momenta: Maps(variant.places, start, points=p, momenta=m, workers=WORKERS)
        )
        (found, problems), both = timed(lambda m=maps: at_published(m, values, variant))
        each, wall = evaluation_times(problems)
        # Two models were evaluated once each while both problems were made.
        seconds = [making + both - 2 * each, each, wall]
        name = f"{points} points, {maps.source.size} momenta"
        rows.append([*compared_row(name, variant, found, problems[0].bins), *seconds])
        print(rows[-1], flush=True)
    return table("settings", [*PUBLISHED, *SECONDS], rows)


REFITTED = (
    *PUBLISHED,
    column("95 % of the difference", "{:.0f} to {:.0f}"),
    column("draws for the dimer", "{:.4f}"),
    column("blocks"),
    column("evaluations"),
    column("processor time (s)", "{:.0f}"),
    column("wall time (s)", "{:.0f}"),
)
NAMES = {
    "goodenough": ("JF1", "JA", "JF2", "JF3", "Jperp", "D", "line"),
    "dimer": ("JFW", "JA1", "JA2", "JFS", "Jperp", "D", "line"),
}


def refitted(values: np.ndarray, variants: list[Variant], **search) -> Iterator[list[dict]]:
    """Each rival fitted, from the published couplings and then from the first fit's, and compared: tables so far.

    `search` has more arguments of `fit`.
    """
    how = {"points": POINTS, "momenta": MOMENTA, "workers": WORKERS}
    maps = Maps(variants[0].places, built(definition_of(RIVALS[0])), **how)
    at_published(maps, values, variants[0])  # prepares
    starts: dict[str, dict] = {name: {} for name in RIVALS}
    rows, couplings = [], {name: [] for name in RIVALS}
    for variant in variants:
        began, fits = (time.process_time(), time.perf_counter()), {}
        for name in RIVALS:
            problem = problem_of(name, maps, values, variant, starts[name])
            fits[name] = fit(problem, **search)
            starts[name] = starts[name] or {n: fits[name].values[n] for n in fits[name].errors.names}
            couplings[name].append([variant.name, *_with_errors(fits[name], NAMES[name])])
            print(name, couplings[name][-1], fits[name].chi_squared, fits[name].notes, flush=True)
        verdict = compare(list(fits.values()), block=BLOCK)[0]
        seconds = [time.process_time() - began[0], time.perf_counter() - began[1]]
        rows.append(_refitted_row(variant, fits, verdict, seconds))
        print(verdict.sentence(), rows[-1], flush=True)
        yield [table("refitted", list(REFITTED), rows), *(_couplings(n, couplings[n]) for n in RIVALS)]


def _couplings(name: str, rows: list[list]) -> dict:
    return table(name, [column("fit"), *(column(n, "{:.3f} ± {:.3f}") for n in NAMES[name])], rows)


def _refitted_row(variant: Variant, fits: dict[str, FitResult], verdict: Comparison, seconds: list[float]) -> list:
    pixels = fits[RIVALS[0]].problem.bins
    sign = 1 if verdict.best == fits[RIVALS[0]].problem.definition.name else -1
    interval = sorted(sign * x for x in verdict.interval)
    share = verdict.share if sign == 1 else 1 - verdict.share
    found = {name: f.chi_squared / pixels for name, f in fits.items()}
    evaluations = sum(f.search.evaluations for f in fits.values())
    row = compared_row(variant.name, variant, found, pixels)
    return [*row, interval, share, verdict.blocks, evaluations, *seconds]


def _with_errors(found: FitResult, names: tuple[str, ...]) -> list:
    """Values with their scaled errors, or that they were held."""
    errors = dict(zip(found.errors.names, found.errors.scaled, strict=True))
    return [[found.values[n], float(errors[n])] if n in errors else f"{found.values[n]:.3f}, held" for n in names]


def drawn(values: np.ndarray, results: Path) -> list[dict]:
    """Intervals of the differences, for blocks of pixels and for whole maps drawn anew, and where they come from.

    Whole maps allow for what a model misses at one energy. The couplings are the published ones for all maps, and those
    of the fits in the file of results.
    """
    tables = {t["name"]: t for t in json.loads(results.read_text(encoding="utf-8"))["tables"]}
    cases = [("published couplings", Variant(), {})]
    for number, (name, *_) in enumerate(tables["refitted"]["rows"]):
        (variant,) = (v for v in VARIANTS if v.name == name)
        fitted = {n: _read_couplings(n, tables[n]["rows"][number][1:]) for n in RIVALS}
        cases.append((f"refitted: {name}", variant, fitted))
    rows, energies = [], []
    how = {"points": POINTS, "momenta": MOMENTA, "workers": WORKERS}
    maps = Maps(cases[0][1].places, built(definition_of(RIVALS[0])), **how)
    for name, variant, fitted in cases:
        problems = [problem_of(n, maps, values, variant, fitted.get(n)) for n in RIVALS]
        squares = [p.evaluate(p.start).residual ** 2 for p in problems]
        energies.append([name, *_by_energy(problems[0], squares[1] - squares[0])])
        cells = [name, len(variant.places), float((squares[1] - squares[0]).sum())]
        for size in (BLOCK, PIXELS):
            sums = drawn_anew(np.bincount(problems[0].blocks(size), squares[1] - squares[0]))
            cells += [list(np.quantile(sums, [0.025, 0.975])), float((sums < 0).mean())]
        rows.append(cells)
        print(cells, flush=True)
    ranges = [column(f"{low} to {high} meV", "{:.0f}") for low, high in pairwise(RANGES)]
    return [table("drawn", list(DRAWN), rows), table("energies", [column(""), *ranges], energies)]


#: Borders of ranges of energy transfer, meV.
RANGES = (0, 10, 20, 30, 40, 60, 100)


def _by_energy(problem: Problem, difference: np.ndarray) -> list[float]:
    """Sums over the maps whose energy transfers lie in each of `RANGES`."""
    parts = [p for group in problem.groups for p in group.parts]
    centres = np.repeat([p.data.spectrum.axes[-1].centers[0] for p in parts], [p.size for p in parts])
    return list(np.histogram(centres, RANGES, weights=difference)[0])


DRAWN = (
    column(""),
    column("maps"),
    column("chi-squared, dimer less Goodenough", "{:.0f}"),
    column(f"95 %, blocks of {BLOCK} x {BLOCK} pixels", "{:.0f} to {:.0f}"),
    column("draws for the dimer", "{:.4f}"),
    column("95 %, whole maps", "{:.0f} to {:.0f}"),
    column("draws of maps for the dimer", "{:.4f}"),
)


def _read_couplings(name: str, cells: list) -> dict[str, float]:
    """The inverse of `_with_errors`, of those that were free."""
    return {n: cell[0] for n, cell in zip(NAMES[name], cells, strict=True) if isinstance(cell, list)}


COMMAND = "OMP_NUM_THREADS=1 python benchmarks/pcsmo_verdict.py"
CONDITIONS = (
    "The measured mosaic of Pr(Ca0.9Sr0.1)2Mn2O7, maps of 40 x 40 pixels; one scale for all and a constant background "
    "for each map unless said; errors from the scatter of neighbouring pixels; pixels of 120 (cut off) left out. "
    f"{POINTS} points, at most {MOMENTA} momenta, blocks of {BLOCK} x {BLOCK} pixels."
)
PARTS = ("settings", "published", "refitted", "drawn")
VARIANTS = (
    Variant(),
    Variant(clip=90.0),
    Variant(clip=60.0),
    Variant(zeros=False),
    Variant(erode=0),
    Variant(line=True),
    Variant(erode=2),
    Variant(loss="huber"),
    Variant(scale="own"),
)


def main() -> None:
    """Measure the parts asked for, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, default=IMAGES, help="folder of the mosaic")
    parser.add_argument("--part", action="append", choices=PARTS, help="all if not given")
    parser.add_argument("--only", type=int, help="refit only so many of the variants")
    parser.add_argument("--lowest", type=float, default=0.0, help="lowest Ei of the refit, meV")
    parser.add_argument(
        "--every", type=int, default=1, help="of the maps of the refit: each (1), every second (2), ..."
    )
    parser.add_argument("--tolerance", type=float, default=1.0, help="change of chi-squared at which a fit ends")
    parser.add_argument(
        "--smoothing", type=float, default=SMOOTHING, help="of the maps in which a search begins; 0.12 is usual in fits"
    )
    add_option(parser, "pcsmo_verdict")
    options = parser.parse_args()
    values = measured(options.images)
    for found in tables_of(options.part or PARTS, values, options):
        for each in found:
            print(f"\n{each['name']}\n\n{table_text(each)}", flush=True)
        write_results(options.results, COMMAND, CONDITIONS, found, keep_rows=True)


def tables_of(parts: Sequence[str], values: np.ndarray, options) -> Iterator[list[dict]]:
    """Tables as they are measured."""
    if "settings" in parts:
        yield [settings(values)]
    if "published" in parts:
        yield [published(values)]
    if "refitted" in parts:
        chosen = [replace(v, lowest=options.lowest, every=options.every) for v in VARIANTS]
        how = {"tolerance": options.tolerance, "smoothing": options.smoothing}
        yield from refitted(values, chosen[: options.only], **how)
    if "drawn" in parts:
        yield drawn(values, options.results)


if __name__ == "__main__":
    main()
