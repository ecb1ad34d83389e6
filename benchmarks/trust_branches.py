"""A branch that the Hamiltonian does not have, added to a spectrum; and a third of a branch, taken out of it.

Both are done to the truth and to the data, so that what is right is known: each is convolved on the cut with the
operator of the resolution, the finer one of the target and the recorded one. An added branch has to be in the result, a
deleted one must not come back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from results import column, table
from trust_case import (
    HIGH,
    MISSING,
    SEED,
    SIGNIFICANT,
    SPLITS,
    TARGET,
    Case,
    as_batches,
    ideal_of,
    mirrored,
    recorded,
    through,
    with_sides,
)

from mantid_insgan.core.kernels import RADIUS
from mantid_insgan.learn.calibration import Judged

#: Draws for each number of counts, and attempts for each of them. If none of 300 fails, fewer than one in a hundred do,
#: with 95 % confidence.
DRAWS, ATTEMPTS = 300, 60
#: Highest value of an added branch in the data, as a share of the data's own (`HIGHEST` percentile).
ADDED, HIGHEST = (0.2, 1.0), 99.7
#: Bins are a branch's own where the other modes have less than this share of it; so many of them are needed.
OWN, ENOUGH = 0.3, 0.5
#: A deleted branch has left nothing in the gap beside this share of what it was there.
LEFT = 0.1
#: Bins by which a branch may move from a column to the next, and half of the window that is deleted at most.
STEP, WIDEST = 4, 16


@dataclass(frozen=True)
class Changed:
    """A spectrum whose branches are known: the pair, and the bins that are looked at, bool (*grid)."""

    pair: object
    window: np.ndarray
    #: What was deleted from the target, in the units of the pair, (*grid); None where a branch was added.
    deleted: np.ndarray | None = None


def branch(shape: tuple[int, ...], rng) -> np.ndarray:
    """A dispersive mode of intensity 1 in each column, `RADIUS` bins beyond the cut included, shape (*grid + 2 RADIUS).

    Along the last axis it lies in one bin or between two; there it is a cosine of the other axes with an amplitude of
    up to a third of the cut, and of cuts with one axis a line.
    """
    *momenta, last = shape
    places = np.meshgrid(*(np.arange(-RADIUS, n + RADIUS) / n for n in momenta), indexing="ij")
    height = rng.uniform(0.1, 0.9) * np.ones([n + 2 * RADIUS for n in momenta])
    for place in places:
        height += rng.uniform(0, 0.33) * np.cos(2 * np.pi * (place * rng.uniform(0.2, 1.5) + rng.random()))
    at = height * last + RADIUS
    low = np.floor(at).astype(int)
    image = np.zeros([n + 2 * RADIUS for n in shape])
    for bins, share in ((low, 1 - (at - low)), (low + 1, at - low)):
        inside = (bins >= 0) & (bins < image.shape[-1])
        np.put_along_axis(image, np.where(inside, bins, 0)[..., None], (share * inside)[..., None], axis=-1)
    return image


def added(pair, rng) -> Changed | None:
    """A pair with one more branch; None where it lies upon the pair's own modes or hardly on the cut."""
    around = branch(pair.ideal.shape, rng)
    target, data = (through(around, c) for c in (pair.finer_conditions(TARGET), recorded(pair)))
    seen = pair.known & pair.valid
    if not data[seen].max() > 0.5 * data.max():
        return None
    scale = rng.uniform(*ADDED) * np.percentile(pair.convolved[pair.known], HIGHEST) / data[seen].max()
    own = np.where(pair.known, pair.finer[TARGET - 1], np.inf)
    on = seen & (target > 0.5 * target[seen].max())
    window = on & (own < OWN * scale * target)
    across = np.prod(pair.ideal.shape[:-1])
    if window.sum() < ENOUGH * on.sum() or window.any(axis=-1).sum() < 0.25 * across:
        return None
    found = with_sides(pair, own + scale * target, pair.convolved + scale * data)
    return Changed(found, window)


def deleted(pair, rng) -> Changed | None:
    """A pair without its brightest branch in a third of the columns (of a cut of one axis, without its highest peak);
    None where there is none that can be taken out."""
    ideal, conditions = ideal_of(pair), (pair.finer_conditions(TARGET), recorded(pair))
    if not pair.known.mean() > 0.9:
        return None
    before = through(mirrored(ideal), conditions[0])
    grid = np.atleast_2d(ideal).shape
    gap = _third(grid[0], rng)
    way = track(np.atleast_2d(before), gap)
    half = _half_width(np.atleast_2d(ideal), gap, way)
    if half is None:
        return None
    out = near(grid, gap, way, half).reshape(ideal.shape)
    target, data = (through(mirrored(np.where(out, 0.0, ideal)), c) for c in conditions)
    window = _inside_gap(grid, gap, way, pair).reshape(ideal.shape)
    seen = window & pair.known & pair.valid
    if seen.sum() < 0.8 * window.sum() or not window.any() or not (data**2).sum() > 0.2 * (pair.convolved**2).sum():
        return None
    if target[seen].mean() > LEFT * before[seen].mean() or before[seen].mean() < HIGH * before.max():
        return None
    return Changed(with_sides(pair, target, data), seen, before - target)


def _third(columns: int, rng) -> np.ndarray:
    """Neighbouring columns, a third of them."""
    size = max(1, columns // 3)
    return np.arange(size) + rng.integers(0, columns - size + 1)


def track(image: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The bin along the last axis of the brightest branch in each of some neighbouring columns of an image (columns,
    bins): from its brightest bin to both sides, never more than `STEP` bins further."""
    part = image[columns]
    first = int(part.max(axis=1).argmax())
    found = np.empty(len(columns), int)
    found[first] = part[first].argmax()
    for order, back in ((range(first + 1, len(columns)), -1), (range(first - 1, -1, -1), 1)):
        for n in order:
            low = max(found[n + back] - STEP, 0)
            found[n] = low + part[n, low : found[n + back] + STEP + 1].argmax()
    return found


def near(grid: tuple[int, int], columns: np.ndarray, way: np.ndarray, half: int) -> np.ndarray:
    """Bins of a branch and those up to `half` bins from it, in some columns, shape (columns, bins)."""
    found = np.zeros(grid, bool)
    found[columns] = np.abs(np.arange(grid[1]) - way[:, None]) <= half
    return found


def _half_width(ideal: np.ndarray, columns: np.ndarray, way: np.ndarray) -> int | None:
    """Bins to either side after which a branch has fallen below `LEFT` of itself, on average over the columns."""
    bins = np.arange(ideal.shape[1])
    away = np.abs(bins - way[:, None])
    peak = np.where(away <= 1, ideal[columns], 0).sum() / (away <= 1).sum()
    for half in range(2, WIDEST + 1):
        beside = away == half
        if beside.any() and ideal[columns][beside].mean() < LEFT * peak:
            return half
    return None


def _inside_gap(grid: tuple[int, int], gap: np.ndarray, way: np.ndarray, pair) -> np.ndarray:
    """Bins within a FWHM of the target of where the branch was, half a recorded FWHM or more from the gap's ends."""
    fine = max(1, round(float(np.median(pair.finer_conditions(TARGET)[pair.ideal.ndim - 1]))))
    margin = max(1, int(np.ceil(0.5 * float(np.median(pair.width[0]))))) if grid[0] > 1 else 0
    inner = slice(margin, len(gap) - margin)
    return near(grid, gap[inner], way[inner], fine) if len(gap[inner]) >= min(4, grid[0]) else np.zeros(grid, bool)


KINDS = {"added": added, "deleted": deleted}


def drawn(case: Case, kind: str) -> list[Changed]:
    """Spectra with a branch added or deleted, in turn from all pairs of the splits; the same for all counts."""
    rng, found = np.random.default_rng([SEED, list(KINDS).index(kind)]), []
    libraries = [part.library for part in case.libraries.values()]
    for _ in range(DRAWS * ATTEMPTS):
        library = libraries[len(found) % len(libraries)]
        change = KINDS[kind](library.pair(int(rng.integers(len(library)))), rng)
        found += [] if change is None else [change]
        if len(found) == DRAWS:
            break
    return found


def survival(seen: Judged, image: np.ndarray, window: np.ndarray) -> tuple[float, float]:
    """Share of an added branch's intensity that an image has, and of its columns that have less than `MISSING`."""
    window = window & seen.valid
    columns = window.any(axis=-1)
    found, true = (np.where(window, x, 0.0).sum(axis=-1)[columns] for x in (image, seen.target))
    return float(found.sum() / true.sum()), float((found < MISSING * true).mean())


def return_of(
    seen: Judged, image: np.ndarray, error: np.ndarray, window: np.ndarray, was: np.ndarray
) -> tuple[bool, float]:
    """Whether an image has something in the gap of a deleted branch, and which share of it (`was`) that is."""
    window = window & seen.valid
    more = (image - seen.target)[window]
    top = HIGH * seen.target[seen.valid].max()
    invented = (more > SIGNIFICANT * error[window]) & (more > top)
    return bool(invented.any()), float(more.sum() / was[window].sum())


def branches_added(case: Case) -> list[dict]:
    """How often an added branch is lost, beside Richardson-Lucy."""
    return _branches(case, "added")


def branches_deleted(case: Case) -> list[dict]:
    """How often a deleted branch comes back, beside Richardson-Lucy."""
    return _branches(case, "deleted")


def _branches(case: Case, kind: str) -> list[dict]:
    """A table of one kind; none of volumes, where a branch is a surface."""
    if case.dimensions > 2:
        return []
    changes, rows = drawn(case, kind), []
    for counts in case.counts:
        cells = _scored(case, changes, counts)
        rows.append([f"{counts:g} counts", len(changes), *(x for c in cells for x in SUMMARIES[kind](c))])
    return [_table(case, kind, rows)]


def branches_drawn(case: Case) -> list[dict]:
    """How many different pairs the draws of each kind are of: many have no branch that can be taken out."""
    if case.dimensions > 2:
        return []
    row = [case.name]
    for kind in KINDS:
        changes = drawn(case, kind)
        row += [len(changes), len({(c.pair.facts["split"], c.pair.facts["index"]) for c in changes})]
    columns = [column("")]
    for kind in KINDS:
        columns += [column(f"{kind}: draws"), column(f"{kind}: different pairs")]
    return [table("branches drawn", columns, [row])]


def _scored(case: Case, changes: list[Changed], counts: float) -> list[list[tuple]]:
    """`survival` or `return_of` each spectrum, of the model and of Richardson-Lucy."""
    made, units = zip(*as_batches(case, [c.pair for c in changes], counts), strict=True)
    seen = [s for batch in made for s in case.made_of(batch)]
    cells = []
    for images in ([s.found for s in seen], case.lucy(list(made))):
        cells.append([])
        for change, s, image, unit in zip(changes, seen, images, np.concatenate(units), strict=True):
            if change.deleted is None:
                cells[-1].append(survival(s, image, change.window))
            else:
                cells[-1].append(return_of(s, image, case.error(s), change.window, change.deleted / unit))
    return cells


def _of_added(cells: list[tuple]) -> list[float]:
    share, columns = np.array(cells, float).T
    return [float((share < MISSING).mean()), float(columns.mean()), float(np.median(share))]


def _of_deleted(cells: list[tuple]) -> list[float]:
    invented, share = np.array(cells, float).T
    return [float(invented.mean()), float((share > MISSING).mean()), float(share.mean())]


SUMMARIES = {"added": _of_added, "deleted": _of_deleted}
HEADINGS = {
    "added": ("lost", "columns lost", "intensity found, median"),
    "deleted": ("invented", "back", "intensity back, mean"),
}
NOTES = {
    "added": (
        "Shares of draws. The branch is lost if the result has less than {missing:.0%} of the truth's intensity in the "
        "bins where the branch has half of its height or more and other modes have less than {own:.0%} of it; a "
        "column by the same rule. In the data its highest value is {low:g} to {high:g} of the spectrum's."
    ),
    "deleted": (
        "Shares of draws. Invented: in a bin of the gap the result is {times:g} standard errors of the model and "
        "{share:.0%} of the highest value above the truth. Back: the result has there more than {missing:.0%} of what "
        "was deleted beside the truth."
    ),
}


def _table(case: Case, kind: str, rows: list[list]) -> dict:
    columns = [column(""), column("draws")]
    for which in ("this model", "Richardson-Lucy"):
        columns += [column(f"{which}: {name}", "{:.3f}") for name in HEADINGS[kind]]
    facts = {"missing": MISSING, "own": OWN, "low": ADDED[0], "high": ADDED[1], "times": SIGNIFICANT, "share": HIGH}
    splits = " and ".join(SPLITS[s] for s in case.libraries)
    note = f"{NOTES[kind]} Spectra of {splits} in turn; iterations of Richardson-Lucy are the best for the truth."
    return table(f"branch {kind}, {case.name}", columns, rows, note=note, facts=facts)
