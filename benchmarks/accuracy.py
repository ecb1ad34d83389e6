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
METRICS = ("NRMSE", "1 - SSIM", "flux error", "peak position", "peak width")
SEED = 5001
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
def scored(library: PairLibrary, baselines: Baselines, counts, method, noises, chosen) -> np.ndarray:
    """Median of each metric over the `chosen` pairs of a library, bool (N,)."""
    each = []
    for batch in batches(library, baselines.direction, counts, SEED, finer=baselines.finer):
        found = method(batch)
        for n in range(len(found)):
            arrays = found[n, 0].numpy(), batch.target[n, 0].numpy(), batch.valid[n, 0].numpy() > 0
            each.append(metrics(*arrays, noises[len(each)]))
    return np.nanmedian(np.array(each)[chosen], axis=0)


def tables(title: str, library: PairLibrary, baselines: Baselines, networks: dict, monte_carlo: bool) -> list[dict]:
    """Of results: NRMSE at all counts, and the other metrics at 300; `networks` are methods by name."""
    direction = baselines.direction
    noises = [
        library.index[i][2]["errors"]["convolved"] if monte_carlo and direction == "add-resolution" else 0.0
        for i in range(len(library))
    ]
    rows: dict[str, list] = {}
    more: dict[str, list] = {}
    columns = {2: COUNTS_OF_SLICES, 3: COUNTS_OF_VOLUMES}.get(library.dimensions, COUNTS)
    for counts in columns:
        methods, _ = baselines.methods(counts)
        for name, method in (methods | networks).items():
            chosen = is_scored(name, library)
            if not chosen.any():
                continue
            found = scored(library, baselines, counts, method, noises, chosen)
            rows.setdefault(name, []).append(found[0])
            if counts == 300.0:
                more[name] = list(found[1:])
    names = ["no noise" if c is None else f"{c:g}" for c in columns]
    families = ", ".join(sorted(set(library.facts("family"))))
    grid = "x".join(map(str, library.pair(0).ideal.shape))
    about = {"note": "{pairs} pairs of {grid} bins; {families}."}
    about["facts"] = {"pairs": len(library), "grid": grid, "families": families}
    place = f"{direction}, {library.dimensions}D, {title}"
    return [
        _table(f"{place}, NRMSE", "NRMSE at peak counts", names, rows, **about),
        _table(f"{place}, at 300 peak counts", "at 300 peak counts", METRICS[1:], more),
    ]


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
            made: list[dict] = []
            networks = {"**this model**": of_generator(generator_of(models[direction, dimensions]).eval())}
            for finer, target in TARGETS[direction].items():
                baselines = Baselines(direction, PairLibrary(folder, "validation"), SEED, finer)
                for split, title in SPLITS.items():
                    made += tables(title + target, PairLibrary(folder, split), baselines, networks, False)
                for extra, title in ((options.monte_carlo, BY_MONTE_CARLO), (options.large_volumes, LARGE_VOLUMES)):
                    if extra is not None and PairLibrary(extra).dimensions == dimensions:
                        more = PairLibrary(extra)
                        made += tables(title + target, more, baselines, networks, title == BY_MONTE_CARLO)
            print(*map(table_text, made), sep="\n\n", flush=True)
            write_results(options.results, COMMAND, CONDITIONS, made)


if __name__ == "__main__":
    main()
