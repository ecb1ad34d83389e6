"""How far results can be trusted: errors that cover, an alarm that rings, peaks that are invented or lost.

    insgan make-pairs --dimensions 2 --count 384 --seed 5 --method covariance --output build/trust/pairs-2d-5 \\
        --family ladder --family stripe --family kagome_fm --family helical --family rutile_afm --family pcsmo_dimer \\
        --family dimer_levels  # and the same with --dimensions 1 --count 256
    python benchmarks/trust.py --pairs build/trust/pairs-?d-5 build/training/pairs-?d-1 [--part coverage]

Everything is scored on families and settings that neither the training nor the calibration of the cards has seen, by
the bundled models, at three or four numbers of counts; with `--split validation`, on the split that calibrated the
cards, where criteria are tried. Of each split at most `trust_case.MOST` pairs count, but for branches, which few pairs
lend themselves to. The parts, each of which can be
measured alone:

- `coverage`: how often the truth lies within the intervals of the card, and `extremes`, the ends of these shares, from
  the file of results;
- `reconvolution`: the result convolved again, compared with the data;
- `domain`: the alarm, on spectra like the training's, on what is no spectrum, and with wrong facts (`trust_domain`);
- `peaks`: what is invented and lost, beside Richardson-Lucy; `added` and `deleted`: the same of branches that are added
  to spectra and taken out of them (`trust_branches`), and `drawn` the number of different spectra that these are of;
- `ranks`: whether the numbers beside a result tell its true error, and `second`, a calibration by the data alone
  (`trust_ranks`);
- `measured`: the alarm on the measurements in shared/data (`trust_measured`), and `facts`: whether the elastic line
  notices wrong facts (`trust_facts`).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from pages import table_text
from results import add_option, column, table, write_results
from trust_branches import branches_added, branches_deleted, branches_drawn
from trust_case import HELD_OUT, HIGH, MISSING, SEED, SIGNIFICANT, SPLITS, Case, libraries_of
from trust_domain import domain
from trust_facts import facts
from trust_measured import DATA, measured
from trust_ranks import ranks, second

from mantid_insgan.core.spectrum import Axis
from mantid_insgan.learn.calibration import Judged
from mantid_insgan.learn.libraries import Part
from mantid_insgan.translate.job import misfit_in_words
from mantid_insgan.translate.misfit import Misfit
from mantid_insgan.translate.translator import Quality
from mantid_insgan.translate.trust import deviations, pulls_of

DIRECTIONS, SHARES = ("remove-resolution", "add-resolution"), ("68 %", "95 %")
COMMAND = "python benchmarks/trust.py --pairs build/trust/pairs-?d-5 build/training/pairs-?d-1"
CONDITIONS = (
    "The bundled models on pairs of families or instrument settings that neither the training nor the calibration of "
    f"the cards has seen; noise by seed {SEED}; counts are those of the brightest bin of a spectrum."
)
#: Brightness of the result, in units of the root mean square of its slice.
BRIGHTNESS = {"bright": (2.0, np.inf), "dim": (0.3, 2.0), "empty": (-np.inf, 0.3)}


def coverage(case: Case) -> list[dict]:
    """Shares of bins with the truth within the 68 % and the 95 % interval: by counts and brightness, and by family."""
    rows, families = [], {}
    for split in case.libraries:
        for counts in case.counts:
            spectra = case.seen(split, counts)
            inside, bright = zip(*(_inside(case, s) for s in spectra), strict=True)
            cells = [*_shares(np.concatenate(inside, axis=1))]
            for low, high in BRIGHTNESS.values():
                chosen = (np.concatenate(bright) > low) & (np.concatenate(bright) <= high)
                cells += _shares(np.concatenate(inside, axis=1)[:, chosen])
            rows.append([f"{SPLITS[split]}, {counts:g} counts", *cells])
            if split == "test-family":
                for name, found in zip(_of_each(case.libraries[split], "family"), inside, strict=True):
                    families.setdefault(name, []).append(found)
    columns = [column("")]
    for which in ("all", *BRIGHTNESS):
        columns += [column(f"{which}, 68 %", "{:.3f}"), column(f"{which}, 95 %", "{:.3f}")]
    each = [[name, *_shares(np.concatenate(parts, axis=1))] for name, parts in sorted(families.items())]
    two = [column("family, all counts"), column("68 %", "{:.3f}"), column("95 %", "{:.3f}")]
    return [table(f"coverage, {case.name}", columns, rows), table(f"coverage by family, {case.name}", two, each)]


def _of_each(part: Part, fact: str) -> list:
    """A fact of each pair, such as 'family' or 'axes'."""
    every = part.library.facts(fact)
    return [every[i] for i in part.index]


def _inside(case: Case, seen: Judged) -> tuple[np.ndarray, np.ndarray]:
    """Whether the truth is within the 68 % and the 95 % interval, (2, bins), and the result, of the valid bins."""
    low95, low68, high68, high95 = deviations(case.card.intervals, seen.found, seen.spread)[:, seen.valid]
    away = (seen.target - seen.found)[seen.valid]
    return np.stack([(away >= low68) & (away <= high68), (away >= low95) & (away <= high95)]), seen.found[seen.valid]


def _shares(inside: np.ndarray) -> list[float]:
    return [float(x) for x in inside.mean(axis=1)] if inside.size else [np.nan, np.nan]


def reconvolution(case: Case) -> list[dict]:
    """Chi-squared per bin of the result convolved again: by the data's errors alone, and as expected by the card; and
    the share of spectra with a note that they differ."""
    rows = []
    for split in case.libraries:
        for counts in case.counts:
            axes = _of_each(case.libraries[split], "axes")
            each = np.array([_chi_squared(case, *one) for one in zip(case.seen(split, counts), axes, strict=True)])
            alone, expected, noted = each.T
            told = *_summary(expected), *_summary(alone), float(noted.mean())
            rows.append([f"{SPLITS[split]}, {counts:g} counts", *told])
    columns = [column("")]
    for which in ("as expected", "errors of the data alone"):
        columns += [column(f"{which}: {name}", "{:.2f}") for name in ("mean", "median", "95 % of spectra below")]
    columns.append(column("share with a note", "{:.3f}"))
    return [table(f"reconvolution, {case.name}", columns, rows)]


def _chi_squared(case: Case, seen: Judged, axes: list[dict]) -> tuple[float, float, bool]:
    """Both chi-squareds, and whether `misfit_in_words` has any for a spectrum with axes as pairs describe them."""
    known = seen.valid & (seen.error > 0)
    told = seen.signal, seen.error, seen.found, seen.again, seen.spread
    alone, pulls = (pulls_of(case.direction, how, *told) for how in (None, case.card.reconvolution))
    place = tuple(slice(None) if a["bins"] > 1 else 0 for a in axes)
    all_axes = tuple(
        Axis(a["name"], np.linspace(a["low"], a["high"], a["bins"] + 1), a["unit"], a["frame"]) for a in axes
    )
    misfit = Misfit.of(all_axes, place, np.where(known, pulls, np.nan))
    quality = Quality(chi_squared=float((pulls[known] ** 2).sum()), compared=int(known.sum()), misfit=misfit)
    means = (float((p[known] ** 2).mean()) for p in (alone, pulls))
    return *means, bool(misfit_in_words(quality))


def _summary(values: np.ndarray) -> list[float]:
    return [float(values.mean()), float(np.median(values)), float(np.quantile(values, 0.95))]


def peaks(case: Case) -> list[dict]:
    """Shares of spectra with a peak that the truth has not, and of the truth's without one, beside Richardson-Lucy."""
    rows = []
    for split in case.libraries:
        for counts in case.counts:
            made = case.batches(split, counts)
            lucy = case.lucy(made)
            widths = np.concatenate([b.width.numpy() for b in made])
            found = case.seen(split, counts)
            cells = [[], []]
            for other, width, seen in zip(lucy, widths, found, strict=True):
                for which, image in zip(cells, (seen.found, other), strict=True):
                    which.append(invented_and_lost(case, seen, image, width))
            rows.append([f"{SPLITS[split]}, {counts:g} counts", *(float(x) for c in cells for x in np.mean(c, axis=0))])
    columns = [column("")]
    for which in ("this model", "Richardson-Lucy"):
        columns += [column(f"{which}: invented", "{:.3f}"), column(f"{which}: lost", "{:.3f}")]
    note = (
        "Shares of spectra. A peak has {high:.0%} of the highest value of truth and result and stands {times:g} "
        "standard errors of the model above the lowest value within one FWHM; it is invented, or lost, if the other "
        "has less than {missing:.0%} of it within one FWHM. Iterations of Richardson-Lucy are the best for the truth."
    )
    facts = {"high": HIGH, "times": SIGNIFICANT, "missing": MISSING}
    return [table(f"peaks, {case.name}", columns, rows, note=note, facts=facts)]


def invented_and_lost(case: Case, seen: Judged, image: np.ndarray, width: np.ndarray) -> tuple[bool, bool]:
    """Whether an image has a peak that the truth has not, and the reverse."""
    from scipy.ndimage import maximum_filter, minimum_filter

    size = [2 * max(1, round(float(np.median(w)))) + 1 for w in width]
    images = [np.where(seen.valid, x, 0.0) for x in (image, seen.target)]
    noise = maximum_filter(case.error(seen), size)
    top = max(x.max() for x in images)
    near = [maximum_filter(x, size) for x in images]
    whole = minimum_filter(seen.valid, size)
    answers = []
    for one, other in ((0, 1), (1, 0)):
        rise = images[one] - minimum_filter(images[one], size)
        peak = (images[one] == maximum_filter(images[one], 3)) & (images[one] > HIGH * top) & whole
        peak &= rise > np.maximum(SIGNIFICANT * noise, 0.5 * images[one])
        answers.append(bool((peak & (near[other] < MISSING * images[one])).any()))
    return tuple(answers)


def extremes(results: Path) -> list[dict]:
    """The ends of the shares in the tables of coverage of a file of results, over all bins and over all its cells."""
    rows = []
    for made in json.loads(results.read_text(encoding="utf-8"))["tables"]:
        kind, _, case = made["name"].partition(", ")
        if kind == "coverage":
            shares = {c["name"]: [row[n] for row in made["rows"]] for n, c in enumerate(made["columns"])}
            whole = [f(shares[f"all, {share}"]) for share in SHARES for f in (min, max)]
            cells = [[x for name in shares if name.endswith(share) for x in shares[name]] for share in SHARES]
            rows.append([case, *whole, *(min(x for x in each if x is not None) for each in cells)])
    names = [f"all, {share}: {end}" for share in SHARES for end in ("lowest", "highest")]
    names += [f"any cell, {share}: lowest" for share in SHARES]
    return [table("extremes of coverage", [column("model"), *(column(n, "{:.2f}") for n in names)], rows)]


#: Parts that need pairs, and whether they are measured where the resolution is added too.
OF_PAIRS = {
    "coverage": (coverage, True),
    "reconvolution": (reconvolution, False),
    "domain": (domain, True),
    "peaks": (peaks, False),
    "added": (branches_added, False),
    "deleted": (branches_deleted, False),
    "drawn": (branches_drawn, False),
    "ranks": (ranks, False),
    "second": (second, False),
}
PARTS = (*OF_PAIRS, "extremes", "measured", "facts")


def main() -> None:
    """Measure the parts asked for, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=Path, nargs="*", default=[], help="none for the measurements alone")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the measurements")
    parser.add_argument("--part", action="append", choices=PARTS, help="all if not given")
    parser.add_argument("--direction", action="append", choices=DIRECTIONS, help="both if not given")
    parser.add_argument("--dimensions", type=int, action="append", choices=(1, 2, 3), help="all if not given")
    parser.add_argument("--split", action="append", choices=tuple(SPLITS), help="the held-out ones if not given")
    add_option(parser, "trust")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for made in _measured(options):
        print(f"\n{made['name']}\n\n{table_text(made)}", flush=True)
        write_results(options.results, COMMAND, CONDITIONS, [made], keep_rows=True)


def _measured(options) -> Iterator[dict]:
    """The tables of the parts asked for, each as soon as it is measured."""
    wanted = options.part or PARTS
    if "measured" in wanted:
        yield from measured(options.data)
    if "facts" in wanted:
        yield from facts(options.data)
    for dimensions, libraries in libraries_of(options.pairs, options.split or HELD_OUT).items():
        for direction in (options.direction or DIRECTIONS) if dimensions in (options.dimensions or (1, 2, 3)) else ():
            case = Case(direction, libraries)
            for name, (part, where_added) in OF_PAIRS.items():
                if name in wanted and (where_added or direction == "remove-resolution"):
                    yield from part(case)
    if "extremes" in wanted:
        yield from extremes(options.results)


if __name__ == "__main__":
    main()
