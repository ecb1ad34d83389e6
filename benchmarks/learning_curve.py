"""How the scores depend on the number of pairs and of channels: the tables of docs/learning_curves.md.

    python -m mantid_insgan.learn.build_models --dimensions 1  # leaves its pairs in build/training
    python benchmarks/learning_curve.py --pairs build/training/pairs-1d-1 --slices build/training/pairs-2d-1
    python benchmarks/learning_curve.py --pairs build/training/pairs-2d-1 --part floor

Trains on a part of the pairs of the training split (in one dimension also on cuts of that part of the slices), for
the same number of steps each, and scores on the validation split, where settings are chosen. A training that was
stopped goes on. Dimensions are those of the pairs.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from pages import table_text
from results import add_option, column, table, write_results

from mantid_insgan.convolve import convolve, ideal
from mantid_insgan.core.options import DIRECTIONS
from mantid_insgan.core.run import Lattice
from mantid_insgan.core.spectrum import Axis
from mantid_insgan.instruments import Resolution
from mantid_insgan.learn.build_models import CUTS_PER_SLICE
from mantid_insgan.learn.evaluate import (
    ITERATIONS,
    Baselines,
    batches,
    covariance_kernel,
    lucy_exact,
    lucy_with_surroundings,
    of_generator,
    scores,
)
from mantid_insgan.learn.examples import Batch
from mantid_insgan.learn.libraries import PairLibrary, Part, Several
from mantid_insgan.learn.losses import nrmse
from mantid_insgan.learn.operator import ResolutionOperator, convolved
from mantid_insgan.learn.paired import PairedRecipe, PairedTrainer
from mantid_insgan.learn.pairs.cuts import cuts_of_slices
from mantid_insgan.learn.pairs.recipe import settings_of
from mantid_insgan.learn.train_job import BATCH, CHANNELS
from mantid_insgan.learn.trainer import Schedule
from mantid_insgan.learn.warm_start import generator_of
from mantid_insgan.translate.cards import bundled_models

#: Each part holds the smaller ones.
PARTS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
#: Channels that all pairs are trained with, by dimensions: half of those of the bundled models, and those.
WIDTHS = {d: (c // 2, c) for d, c in CHANNELS.items()}
COUNTS = (None, 300.0)
MEASURED = ("bound", "floor", "baselines", "bundled", "curve")
SEED = 7001
COMMAND = "python benchmarks/learning_curve.py --pairs build/training/pairs-1d-1 --slices build/training/pairs-2d-1"
CONDITIONS = (
    f"Validation split, noise by seed {SEED}; one training for each number. Target of removing: a resolution 3 times "
    "finer; adding begins without resolution. Baselines with a setting have it tuned on the same split at the same "
    "counts."
)
#: Floor: bins farther than so many FWHM from each edge, and where pairs are divided by the resolution outside, in bins.
FROM_EDGES = 1.0
OUTSIDE = (0.0, 1.0, 3.0, np.inf)
#: Two Hamiltonians: edges of a cut across it, r.l.u., and the lowest Ei of a setting's range, meV, that reaches h = 2.
THIN, LOWEST_EI = np.array([-0.001, 0.001]), 20.0
#: FWHM of their modes as a part of Ei.
LINE = 0.03


# -- pairs


def libraries_of(options) -> tuple[list[PairLibrary], list[PairLibrary]]:
    """Those to train on, and those to score on: pairs, and in one dimension cuts of the slices."""
    training = [PairLibrary(options.pairs, "train")]
    scoring = [PairLibrary(options.validation or options.pairs, "validation")]
    if options.slices is not None:
        for found, split in ((training, "train"), (scoring, "validation")):
            folder = options.folder / f"cuts-{split}"
            cuts_of_slices(options.slices, folder, CUTS_PER_SLICE[split], 1, split=split)
            found.append(PairLibrary(folder))
    return training, scoring


def part_of(libraries: list[PairLibrary], share: float) -> tuple[Part, list[int]]:
    """A share of the pairs, and the cuts of that share of the slices; also the numbers of pairs and cuts."""
    chosen, counts, first = [], [], 0
    for library in libraries:
        sources = library.sources
        if "cut_of" in library.pair(0).facts:
            sources = np.array(library.facts("cut_of"))
        spectra = np.random.default_rng(SEED).permutation(np.unique(sources))
        members = np.flatnonzero(np.isin(sources, spectra[: round(share * len(spectra))]))
        chosen.append(first + members)
        counts.append(len(members))
        first += len(library)
    return Part(Several(*libraries), np.concatenate(chosen)), counts


# -- trainings and scores


def trained(direction: str, channels: int, part: Part, name: str, options) -> PairedTrainer:
    """The trainer at the fixed last step."""
    d = part.dimensions
    schedule = Schedule(steps=options.steps, batch=options.batch or BATCH[d], seed=options.seed)
    folder = options.folder / f"{direction}-{d}d-{options.seed}" / f"{name}-{channels}-{options.steps}"
    trainer = PairedTrainer(PairedRecipe(direction, d, channels), schedule, part, folder)
    if not trainer.run():
        raise SystemExit(f"{folder} was stopped after {trainer.step} steps: the same command goes on")
    return trainer


def best_method(direction: str, scoring: list[PairLibrary], counts) -> tuple[str, np.ndarray]:
    """The simpler method with the smallest median over the pairs to score on, its name, and its scores.

    It is tuned on all of these, too: a few may choose badly.
    """
    library = Several(*scoring)
    methods, _ = Baselines(direction, library, SEED, most=len(library)).methods(counts)
    testing = batches(library, direction, counts, SEED)
    found = {name: scores(testing, method) for name, method in methods.items()}
    best = min(found, key=lambda name: float(np.median(found[name])))
    return best, found[best]


def summary(nrmses: np.ndarray) -> list[float]:
    """Median and mean."""
    return [float(np.median(nrmses)), float(nrmses.mean())]


def write(direction: str, scoring: list[PairLibrary], row: list, options) -> None:
    """Print a row and write it; earlier ones stay."""
    d = scoring[0].dimensions
    columns = [column(""), column("trained on"), *(column(_said(c), "{:.3f} ({:.3f})") for c in COUNTS)]
    note = "{scored} pairs to score on. NRMSE, median (mean); the best simpler method has the smallest median."
    facts = {"scored": sum(map(len, scoring))}
    made = table(f"{direction}, {d}D", columns, [row], note=note, facts=facts)
    print(table_text(made), flush=True)
    write_results(options.results, COMMAND, CONDITIONS, [made], keep_rows=True)


def _said(counts) -> str:
    return "no noise" if counts is None else f"{counts:g} peak counts"


def baselines(direction: str, scoring: list[PairLibrary], options) -> None:
    """The best simpler method at each of the counts, and its name where a network says what it was trained on."""
    best = [best_method(direction, scoring, counts) for counts in COUNTS]
    names = "; ".join(dict.fromkeys(name for name, _ in best))
    write(direction, scoring, ["best simpler method", names, *(summary(found) for _, found in best)], options)


def bundled(direction: str, scoring: list[PairLibrary], options) -> None:
    """The bundled model, which has had more pairs and steps."""
    library = Several(*scoring)
    model = bundled_for(direction, library.dimensions)
    method, told = of_generator(generator_of(model).eval()), model.card.training
    testing = [batches(library, direction, counts, SEED) for counts in COUNTS]
    said = f"{told.pairs} pairs and cuts; {told.steps} steps"
    row = ["bundled model", said, *(summary(scores(chosen, method)) for chosen in testing)]
    write(direction, scoring, row, options)


def bundled_for(direction: str, dimensions: int):
    """The bundled model of a direction and a number of dimensions."""
    return next(m for m in bundled_models() if (m.card.translation, m.card.dimensions) == (direction, dimensions))


def curve(direction: str, training: list[PairLibrary], scoring: list[PairLibrary], options) -> None:
    """Train and score on every part and with every number of channels, writing each row when it is measured."""
    d = scoring[0].dimensions
    testing = [batches(Several(*scoring), direction, counts, SEED) for counts in COUNTS]
    plan = [(share, WIDTHS[d][-1]) for share in options.share or PARTS]
    plan += [(1.0, channels) for channels in options.channels or WIDTHS[d][:-1]]
    for share, channels in dict.fromkeys(plan):
        part, counts = part_of(training, share)
        trainer = trained(direction, channels, part, f"part-{1 / share:g}", options)
        method = of_generator(trainer.averaged("generator"))
        said = " + ".join(f"{n} {what}" for n, what in zip(counts, ("pairs", "cuts"), strict=False))
        said += f"; steps of {trainer.schedule.batch}"
        name = f"{'all' if share == 1 else f'1/{1 / share:g}'} of the pairs, {channels} channels, {trainer.step} steps"
        name += "" if options.seed == 1 else f", seed {options.seed}"
        write(direction, scoring, [name, said, *(summary(scores(chosen, method)) for chosen in testing)], options)


# -- what the cut does not know


def floor(direction: str, scoring: list[PairLibrary], options) -> None:
    """Errors of the best simple method and of the bundled model, by the resolution outside the cut."""
    generator = generator_of(bundled_for(direction, scoring[0].dimensions)).eval()
    (floor_of_adding if generator.adds else floor_of_removing)(generator, scoring, options)


def floor_of_adding(generator, scoring: list[PairLibrary], options) -> None:
    """Without noise: the kernel on the cut, and the model."""
    inside = Inside(Several(*scoring), generator.direction, None)
    methods = {"covariance kernel on the cut": covariance_kernel, "bundled model": of_generator(generator)}
    columns = {name: inside.scores(method) for name, method in methods.items()}
    note = "Medians of NRMSE without noise, over bins farther than {edges:g} FWHM from every edge."
    write_floor(f"what the cut does not know, {generator.dimensions}D", inside, columns, "{:.3f}", note, options)


def floor_of_removing(generator, scoring: list[PairLibrary], options) -> None:
    """Without and with noise: Richardson-Lucy, and the model, on pairs as they are and on the same pairs with only that
    part of their resolution which lies in the cut."""
    columns: dict[str, list] = {}
    for counts in COUNTS:
        for kind, said in ((PairLibrary, ""), (WithinTheCut, ", resolution of the cut alone")):
            inside = Inside(Several(*(kind(x.folder, x.split) for x in scoring)), generator.direction, counts)
            columns.setdefault(f"Richardson-Lucy{said}", []).append(inside.best_lucy())
            columns.setdefault(f"bundled model{said}", []).append(inside.scores(of_generator(generator)))
    note = (
        "Medians of NRMSE without noise / at {counts:g} peak counts, over bins farther than {edges:g} FWHM from every "
        "edge. Richardson-Lucy has the number of iterations that is best here, for each column and count."
    )
    columns = {name: np.stack(found, axis=1) for name, found in columns.items()}
    name = f"what the cut does not know, removing, {generator.dimensions}D"
    write_floor(name, inside, columns, "{:.3f} / {:.3f}", note, options)


class WithinTheCut(PairLibrary):
    """Pairs convolved with only that part of their resolution which lies in the cut."""

    def pair(self, i: int):
        """Pair number i, with no intensity from momenta outside the cut or from beyond its edges."""
        pair = super().pair(i)
        known = torch.from_numpy(pair.known.astype(np.float32))[None, None]
        ideal = torch.from_numpy(np.where(pair.known, pair.ideal, 0.0).astype(np.float32))[None, None]
        axes, sides = len(pair.width), []
        for told in (*map(pair.finer_conditions, (1, 2)), np.concatenate([pair.width, pair.correlation])):
            told = torch.from_numpy(np.where(pair.known, told, 0.0).astype(np.float32))[None]
            side = convolved(ResolutionOperator(told[:, :axes], told[:, axes:]), ideal, known)
            sides.append(np.where(pair.known, side[0, 0].numpy(), np.nan))
        return replace(pair, finer=np.stack(sides[:2]), convolved=sides[2])


class Inside:
    """Spectra to score, in bins farther than `FROM_EDGES` widths from every edge; those that have enough of them."""

    def __init__(self, library, direction: str, counts):
        self.batches = batches(library, direction, counts, SEED)
        self.inner = [b.valid * away_from_edges(b.width) for b in self.batches]
        self.enough = [x.flatten(1).sum(1) >= 0.2 * x[0].numel() for x in self.inner]
        outside = [_mean(b.position[:, 2:], x) for b, x in zip(self.batches, self.inner, strict=True)]
        self.outside = self._joined(outside)

    def _joined(self, values) -> np.ndarray:
        return np.concatenate([x[enough].numpy() for x, enough in zip(values, self.enough, strict=True)])

    @torch.no_grad()
    def scores(self, method) -> np.ndarray:
        """NRMSE of each spectrum."""
        return self._joined(
            nrmse(method(b), b.target, inner) for b, inner in zip(self.batches, self.inner, strict=True)
        )

    def best_lucy(self) -> np.ndarray:
        """NRMSE of Richardson-Lucy with the number of iterations that has the smallest median here."""
        axes = self.batches[0].width.shape[1]
        lucy = lucy_with_surroundings if axes < 3 else lucy_exact
        return min((self.scores(lambda b, n=n: lucy(b, n)) for n in ITERATIONS[axes]), key=np.median)


def _mean(values, weight) -> torch.Tensor:
    return (values * weight).flatten(1).sum(1) / weight.flatten(1).sum(1).clamp(min=1)


def write_floor(name: str, inside: Inside, found: dict[str, np.ndarray], form: str, note: str, options) -> None:
    """Print and write medians by the resolution outside the cut."""
    ranges = [(_range(low, high), low, high) for low, high in zip(OUTSIDE, OUTSIDE[1:], strict=False)]
    rows = []
    for said, low, high in (*ranges, ("all", 0.0, np.inf)):
        chosen = (inside.outside >= low) & (inside.outside < high)
        if chosen.any():
            medians = (np.median(x[chosen], axis=0) for x in found.values())
            rows.append([said, int(chosen.sum()), *(m.tolist() for m in medians)])
    columns = [column("FWHM outside (bins)"), column("pairs"), *(column(title, form) for title in found)]
    made = table(name, columns, rows, note=note, facts={"edges": FROM_EDGES, "counts": COUNTS[-1]})
    print(table_text(made), flush=True)
    write_results(options.results, COMMAND, CONDITIONS, [made])


def away_from_edges(width: torch.Tensor) -> torch.Tensor:
    """1 in bins farther than `FROM_EDGES` widths from both ends of every axis, (N, 1, *grid); width (N, D, *grid)."""
    inner = torch.ones_like(width[:, :1])
    for axis in range(width.shape[1]):
        size = width.shape[2 + axis]
        bins = torch.arange(size, dtype=width.dtype).view(-1, *[1] * (width.shape[1] - 1 - axis))
        nearest = torch.minimum(bins + 0.5, size - 0.5 - bins)
        inner = inner * (nearest > FROM_EDGES * width[:, axis : axis + 1])
    return inner


class Ferromagnet:
    """Spin waves of a ferromagnet with a gap and couplings along h, and along k of `across` times those.

    At k = 0 the couplings along k have no effect: magnets with any of them have the same thin cut along h.
    """

    lattice = Lattice(5.0, 5.0, 5.0)

    def __init__(self, top: float, across: float):
        self.top, self.across = top, across

    def modes(self, q):
        """Energies in meV up to `top` for k = 0, and intensities of 1."""
        along, across = (1 - np.cos(2 * np.pi * np.asarray(q)[:, :2])).T
        energies = self.top * (0.1 + 0.45 * (along + self.across * across))
        return energies[:, None], np.ones((len(energies), 1))


def two_hamiltonians(setting: tuple) -> list[float]:
    """Of two ferromagnets, with couplings along k as along h and without: the FWHM outside the cut in bins, and the
    differences between their cuts without resolution, with it, and half of that, as parts of the cut's norm. Last the
    error of the kernel on the cut for the one without, which has nothing outside the cut that is not in it."""
    instrument, chopper, frequency, low, high = setting
    ei = float(np.sqrt(low * high))
    resolution = Resolution(instrument, ei, chopper, frequency, lattice=Ferromagnet.lattice)
    momenta = (("[H,0,0]", np.linspace(1, 2, 65)), ("[0,K,0]", THIN), ("[0,0,L]", THIN))
    axes = [Axis(name, edges, "r.l.u.", "HKL") for name, edges in momenta]
    axes.append(Axis("DeltaE", np.linspace(0.05 * ei, 0.6 * ei, 65), "DeltaE"))
    magnets = [Ferromagnet(0.5 * ei, across) for across in (0.0, 1.0)]
    sides = [[of(magnet, axes, resolution, fwhm=LINE * ei) for magnet in magnets] for of in (ideal, convolve)]
    differences = []
    for one, other in sides:
        known = one.valid & other.valid
        away = np.linalg.norm((one.signal - other.signal)[known])
        differences.append(float(away / np.linalg.norm(one.signal[known])))
    batch = _batch(sides[0][0], sides[1][0], resolution)
    kernel = nrmse(covariance_kernel(batch), batch.target, batch.valid * away_from_edges(batch.width))
    outside = batch.position[0, 2][batch.valid[0, 0] > 0].median()
    return [float(outside), *differences, 0.5 * differences[1], float(kernel)]


def _batch(source, target, resolution: Resolution) -> Batch:
    """A simulated slice and the same with resolution."""
    known, grid = (source.valid & target.valid).squeeze(), resolution.on_grid(target)
    signals = (np.where(known, x.signal.squeeze(), 0.0) for x in (source, target))
    source, target, valid = (torch.from_numpy(x.astype(np.float32))[None, None] for x in (*signals, known))
    conditions = (grid.width, grid.correlation, grid.position())
    conditions = (np.where(known, x.reshape(-1, *known.shape), 0.0) for x in conditions)
    conditions = (torch.from_numpy(x.astype(np.float32))[None] for x in conditions)
    return Batch(source, valid, torch.zeros_like(source), *conditions, target)


def bound(options) -> None:
    """What the error of adding is at least for one of two Hamiltonians with the same cut."""
    settings = [s for s in settings_of("train") if s[3] >= LOWEST_EI]
    rows = [
        ["{}, {}, {:g} Hz, Ei {:.0f} meV".format(*s[:3], np.sqrt(s[3] * s[4])), *two_hamiltonians(s)] for s in settings
    ]
    names = ("without resolution", "with resolution", "half of it", "error of the kernel on the cut")
    columns = [column(""), column("FWHM outside (bins)", "{:.1f}"), *(column(name, "{:.3f}") for name in names)]
    made = table("two Hamiltonians with the same cut", columns, rows)
    print(table_text(made), flush=True)
    write_results(options.results, COMMAND, CONDITIONS, [made])


def _range(low: float, high: float) -> str:
    return f"{low:g} or more" if np.isinf(high) else f"{low:g} to {high:g}"


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--validation", type=Path, help="pairs to score on, if not those of --pairs")
    parser.add_argument("--slices", type=Path, help="with 1D pairs: 2D pairs whose cuts are used too")
    parser.add_argument("--part", choices=MEASURED, action="append", help="what to measure; default: all")
    parser.add_argument("--direction", choices=tuple(DIRECTIONS), action="append")
    parser.add_argument("--share", type=float, action="append", help="of the pairs; default: 1/16 to all")
    parser.add_argument("--channels", type=int, action="append", help="beside those of the bundled models; all pairs")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch", type=int, help="examples in a step")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("build/learning-curve"))
    add_option(parser, "learning_curve")
    options = parser.parse_args()
    torch.set_num_threads(1)
    training, scoring = libraries_of(options)
    wanted = options.part or MEASURED
    if "bound" in wanted:
        bound(options)
    for direction in options.direction or DIRECTIONS:
        if "floor" in wanted:
            floor(direction, scoring, options)
        if "baselines" in wanted:
            baselines(direction, scoring, options)
        if "bundled" in wanted:
            bundled(direction, scoring, options)
        if "curve" in wanted:
            curve(direction, training, scoring, options)


if __name__ == "__main__":
    main()
