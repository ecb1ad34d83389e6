"""How near the bundled models come to the truth, beside the baselines: the tables of docs/accuracy.md.

    make models  # leaves its pairs in build/training
    insgan make-pairs --dimensions 2 --count 48 --seed 2 --method interpolated --per-shard 8 \\
        --output build/monte-carlo --family ladder --family stripe --family kagome_fm --family helical \\
        --family rutile_afm --family pcsmo_dimer
    insgan make-pairs --dimensions 3 --bins 64 --energy-bins 32 --count 24 --seed 2 --output build/large-volumes \\
        --family ladder --family stripe --family kagome_fm --family helical --family rutile_afm --family pcsmo_dimer
    python benchmarks/accuracy.py --pairs build/training/pairs-?d-1 --monte-carlo build/monte-carlo \\
        --large-volumes build/large-volumes

Pairs of the validation split are used to tune the baselines. The truth of --monte-carlo has the shapes of pulses and
pixels; its own noise is taken off the NRMSE, to whose square its mean square adds. Results for dimensions that are not
given stay as they are.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pages import table_text
from results import add_option, column, table, write_results

from mantid_insgan.core.options import DIRECTIONS
from mantid_insgan.learn.build_models import COUNTS_OF_SLICES, COUNTS_OF_VOLUMES, TARGETS
from mantid_insgan.learn.evaluate import Baselines, batches, is_scored, of_generator
from mantid_insgan.learn.libraries import PairLibrary
from mantid_insgan.learn.warm_start import generator_of
from mantid_insgan.translate.cards import bundled_models

COUNTS = (None, 3000.0, 300.0, 100.0, 30.0)
SPLITS = {"test-family": "held-out families", "test-setting": "held-out instrument settings"}
BY_MONTE_CARLO = "held-out families, truth by Monte Carlo of pulses and pixels"
LARGE_VOLUMES = "held-out families, larger volumes"
THIS_MODEL = "**this model**"
METRICS = ("NRMSE", "1 - SSIM", "flux error", "peak position", "peak width")
SEED, BOOTSTRAPS = 5001, 2000
COMMAND = (
    "python benchmarks/accuracy.py --pairs build/training/pairs-?d-1 --monte-carlo build/monte-carlo "
    "--large-volumes build/large-volumes"
)
CONDITIONS = (
    "Medians over pairs of the held-out splits; truth without noise, noise of the measured side by seed "
    f"{SEED}. The models are the bundled ones (seed 1, at their fixed last step). Baselines with a setting have it "
    "tuned on the validation split at the same counts."
)


def metrics(found, target, valid, noise: float) -> np.ndarray:
    """The five of one pair: `METRICS`; positions and widths in bins of the last axis, at the ten brightest rows."""
    from skimage.metrics import structural_similarity

    size = np.sqrt((target[valid] ** 2).sum())
    square = ((found - target)[valid] ** 2).sum() / size**2
    nrmse = np.sqrt(max(square - noise**2, 0.0) / max(1 - noise**2, 1e-6))
    one, other = (np.where(valid, x, 0.0) for x in (found, target))
    ssim = structural_similarity(one, other, data_range=max(float(other.max()), 1e-9), win_size=7)
    flux = abs(found[valid].sum() / target[valid].sum() - 1)
    rows = np.argsort(other.reshape(-1, other.shape[-1]).max(1))[-10:]
    moments = [[_peak(x.reshape(-1, x.shape[-1])[row]) for row in rows] for x in (one, other)]
    away = np.abs(np.array(moments[0]) - np.array(moments[1]))
    return np.array([nrmse, 1 - ssim, flux, *np.nanmedian(away, axis=0)])


def _peak(row: np.ndarray) -> tuple[float, float]:
    """Centre of mass and root mean square width of the highest peak of a row, down to half of its height."""
    top = int(row.argmax())
    left = right = top
    while left > 0 and row[left - 1] > 0.5 * row[top]:
        left -= 1
    while right < row.size - 1 and row[right + 1] > 0.5 * row[top]:
        right += 1
    bins, weight = np.arange(left, right + 1), row[left : right + 1]
    if weight.sum() <= 0:
        return np.nan, np.nan
    centre = (bins * weight).sum() / weight.sum()
    return centre, np.sqrt((weight * (bins - centre) ** 2).sum() / weight.sum() + 1 / 12)


@torch.no_grad()
def scored(library: PairLibrary, baselines: Baselines, counts, method, noises) -> np.ndarray:
    """Each metric of each pair of a library, (N, 5)."""
    each = []
    for batch in batches(library, baselines.direction, counts, SEED, finer=baselines.finer):
        found = method(batch)
        for n in range(len(found)):
            arrays = found[n, 0].numpy(), batch.target[n, 0].numpy(), batch.valid[n, 0].numpy() > 0
            each.append(metrics(*arrays, noises[len(each)]))
    return np.array(each)


@dataclass(frozen=True)
class Scored:
    """One library: what it is, its pairs, and by counts and method the metrics of each pair, (N, 5), NaN where a method
    is not scored."""

    place: str
    library: PairLibrary
    each: dict[str, dict[str, np.ndarray]]

    @classmethod
    def of(cls, title: str, library: PairLibrary, baselines: Baselines, networks: dict, monte_carlo: bool) -> Scored:
        """Score the baselines, and `networks`, which are methods by name."""
        direction = baselines.direction
        noises = [
            library.index[i][2]["errors"]["convolved"] if monte_carlo and direction == "add-resolution" else 0.0
            for i in range(len(library))
        ]
        each: dict[str, dict[str, np.ndarray]] = {}
        for counts in {2: COUNTS_OF_SLICES, 3: COUNTS_OF_VOLUMES}.get(library.dimensions, COUNTS):
            methods, _ = baselines.methods(counts)
            found = each["no noise" if counts is None else f"{counts:g}"] = {}
            for name, method in (methods | networks).items():
                chosen = is_scored(name, library)
                if chosen.any():
                    values = scored(library, baselines, counts, method, noises)
                    found[name] = np.where(chosen[:, None], values, np.nan)
        return cls(f"{direction}, {library.dimensions}D, {title}", library, each)

    def tables(self) -> list[dict]:
        """Of results: NRMSE at all counts, and the other metrics at 300."""
        families = ", ".join(sorted(set(self.library.facts("family"))))
        grid = "x".join(map(str, self.library.pair(0).ideal.shape))
        about = {"note": "{pairs} pairs of {grid} bins; {families}."}
        about["facts"] = {"pairs": len(self.library), "grid": grid, "families": families}
        rows = {name: [_median(found[name])[0] for found in self.each.values()] for name in self.each["300"]}
        more = {name: list(_median(values)[1:]) for name, values in self.each["300"].items()}
        return [
            _table(f"{self.place}, NRMSE", "NRMSE at peak counts", list(self.each), rows, **about),
            _table(f"{self.place}, at 300 peak counts", "at 300 peak counts", METRICS[1:], more),
        ]

    def worse(self) -> list[list]:
        """Rows of what is said where a simpler method has the smaller median: see `where_simpler_is_better`."""
        rows = []
        for counts, found in self.each.items():
            for name, values in found.items():
                for k in range(5 if counts == "300" else 1):
                    pair = np.stack([values[:, k], found[THIS_MODEL][:, k]])
                    one, other = np.nanmedian(pair, axis=1)
                    if one < other:
                        rows.append([self.place, METRICS[k], counts, name, one, other, *difference_of(pair)])
        return rows


def _median(values: np.ndarray) -> np.ndarray:
    return np.nanmedian(values, axis=0)


def difference_of(pair: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of the difference of the medians, second less first, of two rows (2, N) by bootstrap over
    pairs."""
    known = pair[:, np.isfinite(pair).all(0)]
    drawn = np.random.default_rng(SEED).integers(0, known.shape[1], (BOOTSTRAPS, known.shape[1]))
    one, other = np.median(known[:, drawn], axis=2)
    return tuple(np.quantile(other - one, [0.025, 0.975]))


def where_simpler_is_better(name: str, found: list[Scored]) -> dict:
    """A table of all places where the median of a simpler method is smaller than that of the model."""
    rows = [[row[0].removeprefix(f"{name}, "), *row[1:]] for one in found for row in one.worse()]
    columns = [column(heading) for heading in ("spectra", "measure", "peak counts", "simpler method")]
    columns += [column(heading, "{:.3f}") for heading in ("its median", "this model")]
    columns += [column(heading, "{:+.3f}") for heading in ("difference, from", "to")]
    note = "{places} places in all; the interval of the difference is one of 95 %, by bootstrap over spectra."
    return table(f"{name}, where a simpler method is better", columns, rows, note=note, facts={"places": len(rows)})


def _table(name: str, heading: str, columns, rows: dict, **about) -> dict:
    columns = [column(heading), *(column(c, "{:.3f}") for c in columns)]
    return table(name, columns, [[key, *values] for key, values in rows.items()], **about)


def main() -> None:
    """Score all bundled models whose pairs are given, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=Path, nargs="+", required=True)
    parser.add_argument("--monte-carlo", type=Path)
    parser.add_argument("--large-volumes", type=Path)
    parser.add_argument("--direction", choices=tuple(DIRECTIONS), action="append", help="only these are scored anew")
    add_option(parser, "accuracy")
    options = parser.parse_args()
    torch.set_num_threads(1)
    folders = {PairLibrary(folder).dimensions: folder for folder in options.pairs}
    models = {(m.card.translation, m.card.dimensions): m for m in bundled_models()}
    for dimensions, folder in sorted(folders.items()):
        for direction in options.direction or DIRECTIONS:
            found: list[Scored] = []
            networks = {THIS_MODEL: of_generator(generator_of(models[direction, dimensions]).eval())}
            for finer, target in TARGETS[direction].items():
                baselines = Baselines(direction, PairLibrary(folder, "validation"), SEED, finer)
                for split, title in SPLITS.items():
                    found.append(Scored.of(title + target, PairLibrary(folder, split), baselines, networks, False))
                for extra, title in ((options.monte_carlo, BY_MONTE_CARLO), (options.large_volumes, LARGE_VOLUMES)):
                    if extra is not None and PairLibrary(extra).dimensions == dimensions:
                        told = PairLibrary(extra), baselines, networks, title == BY_MONTE_CARLO
                        found.append(Scored.of(title + target, *told))
            made = [made for one in found for made in one.tables()]
            made.append(where_simpler_is_better(f"{direction}, {dimensions}D", found))
            print(*map(table_text, made), sep="\n\n", flush=True)
            write_results(options.results, COMMAND, CONDITIONS, made)


if __name__ == "__main__":
    main()
