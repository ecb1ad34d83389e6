"""What a card says of trust, found on pairs that neither the training nor the scores see: see `translate.trust`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..translate.cards import COVERAGE, Blocks, Intervals, ModelCard, Reconvolution
from ..translate.trust import (
    QUANTILES,
    STATISTICS,
    Plausible,
    all_statistics,
    deviations,
    feature_distance,
    quantiles_at,
)
from .augment import AS_MADE
from .describe import coverage_table
from .evaluate import batches, halves
from .generator import Generator

#: Peak counts of the noise by direction; None is without, as simulations are.
COUNTS = {
    "add-resolution": (None, 30.0, 300.0, 3000.0),
    "remove-resolution": (30.0, 100.0, 300.0, 1000.0, 3000.0),
}
#: Borders of the brightness, and number of cells along the network's standard deviation.
_BRIGHTNESS, _CELLS = (0.05, 0.2, 0.6, 2.0, 4.0), 8
#: Fewest bins for the quantiles of a cell; rounds in which they are brought to what is interpolated, and a quantile
#: nearer to 0 than this has no ratio.
_FEWEST, _ROUNDS, _SMALL = 300, 5, 1e-3
#: Quantiles of the distances that a card keeps for each noise, and knots of the noise.
_KEPT, _NOISES, _NEAREST = 101, 4, 5
#: Most blocks against which distances are taken.
_KNOWN = 600
#: Bins of a spectrum that tell what is expected of the result convolved again; sizes of the errors at each of which the
#: mean of chi-squared has to be 1, and weight of the median, which holds where a few spectra decide the mean; starts of
#: the search.
_SOME = 1500
_LEVELS, _MEDIAN = 6, 0.1
_STARTS = ((0.8, 0.1, 0.3, 0.007), (0.6, 0.03, 0.6, 0.02), (0.9, 0.02, 0.15, 0.03))
#: Fewest bins for intervals, and fewest spectra for blocks: 20 for each size of the errors, so that 5 % are told apart,
#: and among as many that were trained on.
FEWEST_BINS, FEWEST_SPECTRA, FEWEST_KNOWN = 3000, 20 * _NOISES, 20
#: Most spectra of each kind that are looked at when a user's training ends, by dimensions: the user waits.
_MOST = {1: 600, 2: 300, 3: 80}


@dataclass(frozen=True)
class Judged:
    """What a generator makes of one spectrum; arrays of the shape of its grid, in the network's units."""

    signal: np.ndarray
    valid: np.ndarray
    error: np.ndarray
    target: np.ndarray
    found: np.ndarray
    spread: np.ndarray
    again: np.ndarray
    features: np.ndarray


def _counts_of(library, direction: str) -> tuple[float | None, ...]:
    return COUNTS[direction] if library.draws_counts else (None,)


@torch.no_grad()
def judged(generator: Generator, library, seed: int, counts=None, index=None) -> list[Judged]:
    """What a generator makes of the spectra of a library with the noise of each of `counts`; if not given, that of
    `COUNTS`, or for spectra that have their own noise, once."""
    found = []
    for each in _counts_of(library, generator.direction) if counts is None else counts:
        for batch in batches(library, generator.direction, each, seed, index, AS_MADE[generator.direction]):
            translated, log_variance, features = generator(*batch.inputs())
            again = generator.explained(batch.signal, translated, batch.valid, *batch.conditions())
            spread = torch.exp(0.5 * log_variance)
            grids = (batch.signal, batch.valid > 0, batch.error, batch.target, translated, spread, again)
            members = zip(*(x[:, 0].numpy() for x in grids), features.numpy(), strict=True)
            found += [Judged(*member) for member in members if member[1].any()]
    return found


def noise_of(library, direction: str) -> str:
    """The noise of calibration in words."""
    if not library.draws_counts:
        return library.noise
    levels = ", ".join("none" if c is None else f"{c:g}" for c in COUNTS[direction])
    return f"noise of {levels} peak counts"


def intervals_of(spectra: list[Judged], conditions: str) -> Intervals:
    """The quantiles of (truth - result) / s by brightness and s (conformal prediction in strata)."""
    gathered = [
        np.stack([s.found[s.valid], s.spread[s.valid], (s.target - s.found)[s.valid] / s.spread[s.valid]])
        for s in spectra
    ]
    brightness, spread, away = np.concatenate(gathered, axis=1)
    borders = np.unique(np.quantile(spread, np.linspace(0, 1, _CELLS + 1)[1:-1]))
    row, column = np.searchsorted(_BRIGHTNESS, brightness), np.searchsorted(borders, spread)
    rows, columns = len(_BRIGHTNESS) + 1, len(borders) + 1
    table = np.full((len(QUANTILES), rows, columns), np.nan)
    for i in range(rows):
        for j in range(columns):
            inside = away[(row == i) & (column == j)]
            if len(inside) >= _FEWEST:
                table[:, i, j] = np.quantile(inside, QUANTILES)
    found = Intervals(
        conditions=conditions,
        brightness=_knots(brightness, row, rows, _BRIGHTNESS),
        spread=_knots(spread, column, columns, borders),
        quantiles=_filled(table, np.quantile(away, QUANTILES)).tolist(),
    )
    for _ in range(_ROUNDS):
        found = _sharpened(found, brightness, spread, away, (row, column))
    return found


def _sharpened(intervals: Intervals, brightness, spread, away, cell) -> Intervals:
    """The table with every cell's quantiles changed by the factor that its bins lack: between cells they are
    interpolated, and so are not those of each cell."""
    known, table = quantiles_at(intervals, brightness, spread), np.array(intervals.quantiles)
    for i, j in np.ndindex(table.shape[1:]):
        inside = (cell[0] == i) & (cell[1] == j)
        if np.count_nonzero(inside) < _FEWEST:
            continue
        for k, share in enumerate(QUANTILES):
            ratios = away[inside] / np.where(np.abs(known[k, inside]) > _SMALL, known[k, inside], np.inf)
            factor = np.quantile(ratios, share if table[k, i, j] > 0 else 1 - share)
            table[k, i, j] *= np.clip(factor, 0.5, 2.0)
    return intervals.model_copy(update={"quantiles": np.round(table, 4).tolist()})


def _knots(values: np.ndarray, cell: np.ndarray, count: int, borders) -> list[float]:
    """A value inside each cell, ascending: the median of those in it that are above 0, between its borders."""
    ends = [min(borders) / 2, *borders, max(borders) * 2]
    found = []
    for k in range(count):
        inside = values[(cell == k) & (values > 0)]
        middle = float(np.median(inside)) if len(inside) else float(np.sqrt(ends[k] * ends[k + 1]))
        # Where many bins have the smallest value of all, that of the next cell may be the same to four digits.
        found.append(float(f"{max([middle, *(1.001 * x for x in found[-1:])]):.4g}"))
    return found


def _filled(table: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """The table with empty cells as the nearest one of the same brightness; as all bins where there is none."""
    for i in range(table.shape[1]):
        known = np.flatnonzero(np.isfinite(table[0, i]))
        for j in range(table.shape[2]):
            if not len(known):
                table[:, i, j] = whole
            elif j not in known:
                table[:, i, j] = table[:, i, known[np.abs(known - j).argmin()]]
    return table


def covered_by(intervals: Intervals, spectra: list[Judged]) -> dict[str, list[float]]:
    """Rows for `describe.coverage_table`: bins with the truth within one and two standard errors, each of which is half
    of the 68 % interval."""
    pulls = []
    for s in spectra:
        _, low, high, _ = deviations(intervals, s.found, s.spread)
        pulls.append((np.abs(s.target - s.found) / np.maximum(0.5 * (high - low), 1e-9))[s.valid])
    away = np.concatenate(pulls)
    return {"this model": [round(float((away < n).mean()), 3) for n in (1, 2)], "expected": [0.683, 0.954]}


def reconvolution_of(spectra: list[Judged], seed: int) -> Reconvolution:
    """What is expected of (data - result convolved again): the mean of chi-squared per bin over the spectra is as near
    to 1 as can be for each size of the data's errors, and, with less weight, so is the median."""
    from scipy.optimize import minimize

    parts, noise = [], []
    for spectrum in spectra:
        known = np.flatnonzero(spectrum.valid & (spectrum.error > 0))
        if len(known):
            some = np.random.default_rng(seed).permutation(known)[:_SOME]
            squares = (spectrum.signal - spectrum.again, spectrum.error, spectrum.again, spectrum.spread)
            parts.append(np.stack([x.ravel()[some].astype(float) ** 2 for x in squares]))
            noise.append(np.median(spectrum.error.ravel()[known]))
    level = np.searchsorted(np.quantile(noise, np.linspace(0, 1, _LEVELS + 1)[1:-1]), noise)
    levels = [level == k for k in np.unique(level)]

    def away(logarithms: np.ndarray) -> float:
        shares = np.exp(2 * logarithms)
        each = np.array([(p[0] / (shares[:3] @ p[1:] + shares[3])).mean() for p in parts])
        mean, median = (np.log([f(each[these]) for these in levels]) for f in (np.mean, np.median))
        return float((mean**2 + _MEDIAN * median**2).sum())

    how = {"method": "Nelder-Mead", "options": {"maxiter": 400}}
    best = min((minimize(away, np.log(start), **how) for start in _STARTS), key=lambda found: found.fun)
    counted, relative, spread, floor = (float(f"{x:.4g}") for x in np.exp(best.x))
    return Reconvolution(counted=counted, relative=relative, spread=spread, floor=floor)


def blocks_of(
    known: list[Judged], others: list[Judged], card, reconvolution: Reconvolution | None, conditions: str, seed: int
) -> Blocks:
    """Where the blocks of some spectra lie, and how far from them those of others.

    Parameters
    ----------
    known, others : list of Judged
        Spectra to be compared with, and those that tell the distances; they share none.
    card : ModelCard
        Its direction, and the domain of its features.
    reconvolution : Reconvolution or None
    conditions : str
        For the card.
    seed : int
    """
    near, far = (np.array([statistics_of(s, card, reconvolution) for s in some]) for some in (known, others))
    near = near[np.random.default_rng(seed).permutation(len(near))[:_KNOWN]]
    centre = np.median(near, axis=0)
    scale = np.maximum(1.4826 * np.median(np.abs(near - centre), axis=0), 1e-3)
    plain = {"conditions": conditions, "centre": _short(centre), "scale": _short(scale), "known": _short(near)}
    plain["nearest"] = _NEAREST
    finder = Plausible(Blocks(**plain, noise=[0.0, 1.0], distances=[np.arange(1.0, 1.0 + _KEPT).tolist()] * 2))
    noise, distances = far[:, list(STATISTICS).index("noise")], np.array([finder.distance(v) for v in far])
    parts = np.array_split(np.argsort(noise, kind="stable"), _NOISES)
    kept = [np.quantile(distances[part], np.linspace(0, 1, _KEPT)) for part in parts]
    middle = np.maximum.accumulate([np.median(noise[part]) for part in parts]) + 1e-6 * np.arange(_NOISES)
    return Blocks(**plain, noise=np.round(middle, 6).tolist(), distances=_short(np.array(kept)))


def _short(values: np.ndarray) -> list:
    return np.round(values, 4).tolist()


def statistics_of(spectrum: Judged, card, reconvolution: Reconvolution | None) -> np.ndarray:
    """The numbers of `STATISTICS` of a whole spectrum, shape (10,)."""
    return all_statistics(
        card,
        reconvolution,
        spectrum.signal,
        spectrum.valid,
        spectrum.error,
        spectrum.found,
        spectrum.spread,
        spectrum.again,
        feature_distance(card.domain, spectrum.features),
    )[0]


def with_trust(
    card: ModelCard, generator: Generator, training, unseen, seed: int, most: int | None = None
) -> ModelCard:
    """The card with its intervals, what is expected of the result convolved again, and its blocks.

    Parameters
    ----------
    card : ModelCard
    generator : Generator
    training, unseen : library
        Spectra that were trained on, and spectra that neither the training nor the scores see. Fewer than `FEWEST_BINS`
        bins of the latter give nothing; fewer than `FEWEST_SPECTRA` of them, or `FEWEST_KNOWN` to train on, no blocks.
    seed : int
    most : int, optional
        Spectra of each that are looked at, each noise counted; all of `unseen` if not given.
    """
    counts = len(_counts_of(unseen, generator.direction))

    def some(library, number, limit):
        index = np.random.default_rng(seed).permutation(len(library))[: max(1, limit // counts)]
        return judged(generator, library, number, index=index)

    spectra = judged(generator, unseen, seed) if most is None else some(unseen, seed, most)
    if sum(np.count_nonzero(s.valid) for s in spectra) < FEWEST_BINS:
        return card
    said = (
        f"{len(spectra) // counts} pairs that neither the training nor the scores have seen; "
        f"{noise_of(unseen, generator.direction)}"
    )
    removes = not generator.adds and any((s.error[s.valid] > 0).any() for s in spectra)
    reconvolution = reconvolution_of(spectra, seed) if removes else None
    blocks = None
    if len(spectra) >= FEWEST_SPECTRA and len(training) >= FEWEST_KNOWN:
        known = some(training, seed + 1, _KNOWN if most is None else min(most, _KNOWN))
        blocks = blocks_of(known, spectra, card, reconvolution, f"distances of {said}; seed {seed}", seed)
    intervals = intervals_of(spectra, f"{said}; seed {seed}")
    return card.model_copy(update={"intervals": intervals, "reconvolution": reconvolution, "blocks": blocks})


def with_coverage(
    card: ModelCard, generator: Generator, scoring, seed: int, of: str, most: int | None = None
) -> ModelCard:
    """The card with the share of bins of other spectra, `of` in words, that its intervals cover, in place of the one
    by its factor."""
    counts = len(_counts_of(scoring, card.direction))
    index = None if most is None else range(min(len(scoring), max(1, most // counts)))
    covered = covered_by(card.intervals, judged(generator, scoring, seed, index=index))
    conditions = f"{noise_of(scoring, card.direction)}; seed {seed}"
    others = [t for t in card.metrics if not t.title.startswith(COVERAGE)]
    return card.model_copy(update={"metrics": [*others, coverage_table(of, conditions, covered)]})


def with_trust_of_held_out(card: ModelCard, generator: Generator, training, held_out, seed: int) -> ModelCard:
    """The card of a training with what half of the held-out spectra say of trust, scored on the other half; as it is
    where these are too few."""
    parts = halves(held_out, seed)
    if parts is None:
        return card
    most = _MOST[generator.dimensions]
    found = with_trust(card, generator, training, parts[0], seed, most)
    if found.intervals is None:
        return card
    return with_coverage(found, generator, parts[1], seed + 1, "held-out data", most)
