"""How far results can be trusted: errors that cover, an alarm that rings, peaks that are invented or lost.

    insgan make-pairs --dimensions 2 --count 96 --seed 5 --method covariance --output build/trust/pairs-2d-5 \\
        --family ladder --family stripe --family kagome_fm --family helical --family rutile_afm --family pcsmo_dimer \\
        --family dimer_levels  # and the same with --dimensions 1 --count 64
    python benchmarks/trust.py --pairs build/trust/pairs-?d-5 build/training/pairs-?d-1 [--part coverage]

Everything is scored on families and settings that neither the training nor the calibration of the cards has seen, by
the bundled models, at four numbers of counts. `coverage` counts how often the truth lies within the intervals of the
card; `reconvolution` compares the result convolved again with the data; `domain` is the alarm, on spectra like the
training's and on what is no spectrum; `peaks` counts what is invented and lost, beside Richardson-Lucy; `measured`
gives the p-values of the measurements in shared/data. Of each split at most `MOST` pairs count.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from pages import table_text
from results import add_option, column, table, write_results

from mantid_insgan.io import read_spectrum
from mantid_insgan.learn.augment import AS_MADE
from mantid_insgan.learn.calibration import Judged, judged, statistics_of
from mantid_insgan.learn.evaluate import ITERATIONS, batches, lucy_exact, scores
from mantid_insgan.learn.libraries import PairLibrary, Part
from mantid_insgan.learn.warm_start import generator_of
from mantid_insgan.translate.cards import bundled_models
from mantid_insgan.translate.job import apply
from mantid_insgan.translate.trust import ALARM, Plausible, deviations, pulls_of

#: The measurements that come with the project's papers.
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

COMMAND = "python benchmarks/trust.py --pairs build/trust/pairs-?d-5 build/training/pairs-?d-1"
SEED, COUNTS = 7001, (30.0, 100.0, 300.0, 3000.0)
SPLITS = {"test-family": "held-out families", "test-setting": "held-out settings"}
CONDITIONS = (
    "The bundled models on pairs of families or instrument settings that neither the training nor the calibration of "
    f"the cards has seen; noise by seed {SEED}; counts are those of the brightest bin of a spectrum."
)
#: Brightness of the result, in units of the root mean square of its slice.
BRIGHTNESS = {"bright": (2.0, np.inf), "dim": (0.3, 2.0), "empty": (-np.inf, 0.3)}
PARTS = ("coverage", "reconvolution", "domain", "peaks", "measured")
#: Pairs on which what is no spectrum is put.
CARRIERS = 16
#: Most pairs of a split: a slice takes a third of a second for each number of counts.
MOST = 96
#: Counts of what is no spectrum.
STRANGE_COUNTS = (30.0, 300.0, 3000.0)
#: A peak has this share of the highest value and stands that many standard errors above its surroundings; it is
#: invented, or lost, where the other spectrum has less than a share of it within one FWHM.
HIGH, SIGNIFICANT, MISSING = 0.15, 3.0, 0.3


class Case:
    """A bundled model and the pairs that it is scored on."""

    def __init__(self, direction: str, libraries: dict[str, Part]):
        self.direction, self.libraries = direction, libraries
        self.dimensions = next(iter(libraries.values())).dimensions
        models = {(m.card.translation, m.card.dimensions): m for m in bundled_models()}
        self.model = models[direction, self.dimensions]
        self.card, self.generator = self.model.card, generator_of(self.model).eval()
        self._known: dict = {}

    @property
    def name(self) -> str:
        """As tables call it."""
        return f"{self.direction}, {self.dimensions}D"

    def seen(self, split: str, counts: float) -> list[Judged]:
        """What the model makes of a split."""
        if (split, counts) not in self._known:
            self._known[split, counts] = judged(self.generator, self.libraries[split], SEED, (counts,))
        return self._known[split, counts]

    def numbers(self, spectra: list[Judged]) -> np.ndarray:
        """Statistics of spectra, shape (N, 10)."""
        return np.array([statistics_of(s, self.card, self.card.reconvolution) for s in spectra])


def libraries_of(folders: list[Path]) -> dict[int, dict[str, Part]]:
    """Held-out pairs by dimensions and split: of each split those of the first folder that has any."""
    found: dict[int, dict[str, Part]] = {}
    for folder in folders:
        whole = PairLibrary(folder)
        splits = set(whole.facts("split"))
        for split in filter(splits.__contains__, SPLITS):
            some = PairLibrary(folder, split)
            found.setdefault(whole.dimensions, {}).setdefault(split, Part(some, np.arange(min(MOST, len(some)))))
    return found


def coverage(case: Case) -> list[dict]:
    """Shares of bins with the truth within the 68 % and the 95 % interval: by counts and brightness, and by family."""
    rows, families = [], {}
    for split in case.libraries:
        for counts in COUNTS:
            spectra = case.seen(split, counts)
            inside, bright = zip(*(_inside(case, s) for s in spectra), strict=True)
            cells = [*_shares(np.concatenate(inside, axis=1))]
            for low, high in BRIGHTNESS.values():
                chosen = (np.concatenate(bright) > low) & (np.concatenate(bright) <= high)
                cells += _shares(np.concatenate(inside, axis=1)[:, chosen])
            rows.append([f"{SPLITS[split]}, {counts:g} counts", *cells])
            if split == "test-family":
                for name, found in zip(_families(case.libraries[split]), inside, strict=True):
                    families.setdefault(name, []).append(found)
    columns = [column("")]
    for which in ("all", *BRIGHTNESS):
        columns += [column(f"{which}, 68 %", "{:.3f}"), column(f"{which}, 95 %", "{:.3f}")]
    each = [[name, *_shares(np.concatenate(parts, axis=1))] for name, parts in sorted(families.items())]
    two = [column("family, all counts"), column("68 %", "{:.3f}"), column("95 %", "{:.3f}")]
    return [table(f"coverage, {case.name}", columns, rows), table(f"coverage by family, {case.name}", two, each)]


def _families(part: Part) -> list[str]:
    """Family of each pair."""
    every = part.library.facts("family")
    return [every[i] for i in part.index]


def _inside(case: Case, seen: Judged) -> tuple[np.ndarray, np.ndarray]:
    """Whether the truth is within the 68 % and the 95 % interval, (2, bins), and the result, of the valid bins."""
    low95, low68, high68, high95 = deviations(case.card.intervals, seen.found, seen.spread)[:, seen.valid]
    away = (seen.target - seen.found)[seen.valid]
    return np.stack([(away >= low68) & (away <= high68), (away >= low95) & (away <= high95)]), seen.found[seen.valid]


def _shares(inside: np.ndarray) -> list[float]:
    return [float(x) for x in inside.mean(axis=1)] if inside.size else [np.nan, np.nan]


def reconvolution(case: Case) -> list[dict]:
    """Chi-squared per bin of the result convolved again: by the data's errors alone, and as expected by the card."""
    rows = []
    for split in case.libraries:
        for counts in COUNTS:
            each = np.array([_chi_squared(case, s) for s in case.seen(split, counts)])
            alone, expected = each.T
            rows.append([f"{SPLITS[split]}, {counts:g} counts", *_summary(expected), *_summary(alone)])
    columns = [column("")]
    for which in ("as expected", "errors of the data alone"):
        columns += [column(f"{which}: {name}", "{:.2f}") for name in ("mean", "median", "95 % of spectra below")]
    return [table(f"reconvolution, {case.name}", columns, rows)]


def _chi_squared(case: Case, seen: Judged) -> tuple[float, float]:
    known = seen.valid & (seen.error > 0)
    told = seen.signal, seen.error, seen.found, seen.again, seen.spread
    pulls = [pulls_of(case.direction, how, *told)[known] for how in (None, case.card.reconvolution)]
    return tuple(float((p**2).mean()) for p in pulls)


def _summary(values: np.ndarray) -> list[float]:
    return [float(values.mean()), float(np.median(values)), float(np.quantile(values, 0.95))]


def domain(case: Case) -> list[dict]:
    """False alarms on held-out spectra; where resolution is removed, how well what is no spectrum is told from them."""
    plausible, rows, usual = Plausible(case.card.blocks), [], {}
    for counts in COUNTS:
        found = {split: _judged_by(plausible, case.numbers(case.seen(split, counts))) for split in case.libraries}
        usual[counts] = np.concatenate(list(found.values()))[:, 1]
        rows.append([f"{counts:g} counts", *(float((f[:, 0] < ALARM).mean()) for f in found.values())])
    alarms = [column("false alarms"), *(column(SPLITS[split], "{:.3f}") for split in case.libraries)]
    made = [table(f"false alarms, {case.name}", alarms, rows)]
    return made if case.direction == "add-resolution" else [*made, _told_apart(case, plausible, usual)]


def _told_apart(case: Case, plausible: Plausible, usual: dict[float, np.ndarray]) -> dict:
    """How well each kind of what is no such spectrum is told from held-out ones, whose distances are `usual`."""
    kinds: dict[str, list] = {}
    for counts in STRANGE_COUNTS:
        for kind, spectra in unusual(case, counts):
            found = _judged_by(plausible, case.numbers(spectra))
            kinds.setdefault(kind, []).extend([auroc(usual[counts], found[:, 1]), float((found[:, 0] < ALARM).mean())])
    columns = [column("what is put in")]
    for counts in STRANGE_COUNTS:
        columns += [column(f"{counts:g} counts: {what}", "{:.2f}") for what in ("AUROC", "alarms")]
    note = "AUROC: how often such a block is farther from the training than one of a held-out spectrum."
    return table(f"domain, {case.name}", columns, [[kind, *cells] for kind, cells in kinds.items()], note=note)


def _judged_by(plausible: Plausible, numbers: np.ndarray) -> np.ndarray:
    """p-value, and distance over the threshold, of each, shape (N, 2)."""
    return np.array([plausible.judge(values) for values in numbers])


def auroc(usual: np.ndarray, others: np.ndarray) -> float:
    """Share of pairs in which the other number is the larger one."""
    return float((others[:, None] > usual).mean() + 0.5 * (others[:, None] == usual).mean())


def unusual(case: Case, counts: float) -> Iterator[tuple[str, list[Judged]]]:
    """Each kind of what is no spectrum of the kind that was trained, on grids of held-out pairs, and what the model
    makes of it."""
    rng = np.random.default_rng([SEED, int(counts)])
    library = case.libraries["test-family"]
    index = np.random.default_rng(SEED).permutation(len(library))[:CARRIERS]
    made: dict[str, list[Judged]] = {}
    finer = AS_MADE[case.direction]
    for batch in batches(Part(library, index), case.direction, counts, SEED, finer=finer):
        for kind, changed in _changed(batch, counts, rng):
            made.setdefault(kind, []).extend(_made(case.generator, changed))
    yield from made.items()


@torch.no_grad()
def _made(generator, batch) -> list[Judged]:
    translated, log_variance, features = generator(*batch.inputs())
    again = generator.explained(batch.signal, translated, batch.valid, *batch.conditions())
    grids = (batch.signal, batch.valid > 0, batch.error, batch.target, translated, torch.exp(0.5 * log_variance), again)
    return [Judged(*member) for member in zip(*(x[:, 0].numpy() for x in grids), features.numpy(), strict=True)]


def _changed(batch, counts: float, rng) -> Iterator[tuple[str, object]]:
    """Batches with other data, and with the resolution told wrongly."""
    shape = tuple(batch.signal.shape[2:])
    for kind in PATTERNS:
        data = [_noisy(PATTERNS[kind](shape, rng), counts, rng, valid[0] > 0) for valid in batch.valid.numpy()]
        yield kind, _with_data(batch, data)
    yield "bins in random order", _with_data(batch, [_shuffled(*x, rng) for x in _members(batch)])
    yield "one hot bin", _with_data(batch, [_hot(*x, rng) for x in _members(batch)])
    for factor in (0.7, 1.5):
        told = {"width": batch.width * factor, "finer": batch.finer * factor}
        yield f"widths told {factor:g} times too large", _with(batch, **told)


def _members(batch):
    """Signal, error and valid bins of each spectrum."""
    return zip(batch.signal[:, 0].numpy(), batch.error[:, 0].numpy(), batch.valid[:, 0].numpy() > 0, strict=True)


def _with(batch, **changes):
    return type(batch)(**{**vars(batch), **changes})


def _with_data(batch, data):
    signal, error = (torch.tensor(np.stack(x), dtype=torch.float32)[:, None] for x in zip(*data, strict=True))
    return _with(batch, signal=signal, error=error)


def _noisy(image: np.ndarray, counts: float, rng, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counts of an image whose highest bin has `counts`, and their errors, in the network's units."""
    seen = rng.poisson(np.maximum(image, 0) / image.max() * counts).astype(float)
    scale = np.sqrt((seen[valid] ** 2).mean())
    return np.where(valid, seen, 0) / scale, np.where(valid, np.sqrt(np.maximum(seen, 1)), 0) / scale


def _shuffled(signal, error, valid, rng):
    order = rng.permutation(int(valid.sum()))
    out = [np.zeros_like(signal), np.zeros_like(error)]
    for new, old in zip(out, (signal, error), strict=True):
        new[valid] = old[valid][order]
    return out


def _hot(signal, error, valid, rng):
    """One bin with twice the highest value, and its error by counts."""
    signal, error = signal.copy(), error.copy()
    place = rng.choice(np.flatnonzero(valid))
    top = int(signal.argmax())
    signal.flat[place], error.flat[place] = 2 * signal.flat[top], np.sqrt(2) * error.flat[top]
    scale = np.sqrt((signal[valid] ** 2).mean())
    return signal / scale, error / scale


def _over_f(shape, rng) -> np.ndarray:
    size = np.sqrt(sum(f**2 for f in np.meshgrid(*(np.fft.fftfreq(n) for n in shape), indexing="ij")))
    size.flat[0] = np.inf
    image = np.fft.ifftn(np.fft.fftn(rng.normal(size=shape)) / size).real
    return image - image.min()


def _distance(shape, rng) -> np.ndarray:
    places = np.meshgrid(*(np.linspace(-1, 1, n) - rng.uniform(-0.3, 0.3) for n in shape), indexing="ij")
    return np.sqrt(sum(p**2 for p in places))


def _spikes(shape, rng) -> np.ndarray:
    image = np.full(shape, 0.02)
    image.flat[rng.integers(0, image.size, max(3, image.size // 100))] = rng.uniform(0.3, 1)
    return image


def _bars(shape, rng) -> np.ndarray:
    rows = np.repeat(rng.random(shape[0] // 4 + 1) > 0.5, 4)[: shape[0]]
    return rows.reshape(-1, *[1] * (len(shape) - 1)) * (rng.random(shape) > 0.35) + 0.02


PATTERNS = {
    "flat Poisson noise": lambda shape, rng: np.ones(shape),
    "a slope": lambda shape, rng: 1 + 0.8 * np.broadcast_to(np.linspace(-1, 1, shape[-1]), shape),
    "random spikes": _spikes,
    "1/f noise": _over_f,
    "rings": lambda shape, rng: 1.02 + np.cos(2 * np.pi * rng.uniform(3, 6) * _distance(shape, rng)),
    "checkerboard": lambda shape, rng: (np.indices(shape) // rng.integers(2, 6)).sum(0) % 2 + 0.02,
    "bars as of text": _bars,
}


def peaks(case: Case) -> list[dict]:
    """Shares of spectra with a peak that the truth has not, and of the truth's without one, beside Richardson-Lucy."""
    rows = []
    for split, library in case.libraries.items():
        for counts in COUNTS:
            made = batches(library, case.direction, counts, SEED, finer=AS_MADE[case.direction])
            chosen = ITERATIONS[case.dimensions]
            best = min(chosen, key=lambda n, m=made: float(np.median(scores(m[:2], lambda b: lucy_exact(b, n)))))
            lucy = np.concatenate([lucy_exact(b, best)[:, 0].numpy() for b in made])
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
    _, low, high, _ = deviations(case.card.intervals, seen.found, seen.spread)
    noise = maximum_filter(0.5 * (high - low), size)
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


#: Measurements of shared/data, and what their files do not say.
MEASUREMENTS = {
    **{
        f"bi2fe4o9-merlin/MER40874_Ei{ei}meV_Rings.nxspe": {"instrument": "MERLIN", "chopper": "G", "frequency": 600.0}
        for ei in ("120.00", "62.00", "38.00", "25.00")
    },
    "al-mari/aluminium_Ei60.nxspe": {"instrument": "MARI", "chopper": "G", "frequency": 200.0},
}


def measurements(folder: Path) -> dict:
    """What the model that removes the resolution says of measurements: p-value, chi-squared, and what is unusual."""
    rows = []
    for name, setting in MEASUREMENTS.items():
        _, report = apply(read_spectrum(folder / name), direction="remove-resolution", device="cpu", **setting)
        quality = report.quality
        chi_squared = quality.chi_squared / quality.compared
        said = "; ".join(f"{reason} {where}" for reason, where in quality.reasons)
        rows.append([name, quality.p_value, quality.outside, chi_squared, said or "nothing"])
        print(rows[-1], flush=True)
    columns = [
        column("measurement"),
        column("p-value", "{:.3f}"),
        column("share of blocks beyond 1 % of like ones", "{:.2f}"),
        column("chi-squared per bin, convolved again", "{:.2f}"),
        column("what is unusual, and where it is most"),
    ]
    return table("measured", columns, rows)


def main() -> None:
    """Measure the parts asked for, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=Path, nargs="*", default=[], help="none for the measurements alone")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the measurements")
    parser.add_argument("--part", action="append", choices=PARTS, help="all if not given")
    parser.add_argument("--direction", action="append", choices=("remove-resolution", "add-resolution"))
    add_option(parser, "trust")
    options = parser.parse_args()
    torch.set_num_threads(1)
    parts = {"coverage": coverage, "reconvolution": reconvolution, "domain": domain, "peaks": peaks}
    if "measured" in (options.part or PARTS):
        made = measurements(options.data)
        write_results(options.results, COMMAND, CONDITIONS, [made])
    for libraries in libraries_of(options.pairs).values():
        for direction in options.direction or ("remove-resolution", "add-resolution"):
            case = Case(direction, libraries)
            for name, part in parts.items():
                removes_alone = name in ("reconvolution", "peaks") and direction == "add-resolution"
                if name in (options.part or PARTS) and not removes_alone:
                    for made in part(case):
                        print(f"\n{made['name']}\n\n{table_text(made)}", flush=True)
                        write_results(options.results, COMMAND, CONDITIONS, [made], keep_rows=True)


if __name__ == "__main__":
    main()
