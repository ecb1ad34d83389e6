"""Goodenough's model or dimers, without a fit: a classifier of all maps at once, with and without the resolution.

    OMP_NUM_THREADS=1 python benchmarks/pcsmo_draws.py FOLDER
    OMP_NUM_THREADS=1 python benchmarks/pcsmo_classifier.py FOLDER

Asked are the measured mosaic, the two images that SpinW and Tobyfit made, and a composite of two models ("fraken"),
each as it is and with the resolution removed map by map by the model remove-resolution-2d. The maps are those of 50 meV
and more. A classifier (`learn.joint`) is made of draws as MAPS sees them for the first, of draws without resolution for
the second, each with simulated experiments (`experiment`). It is written to FOLDER with its card, read again, and asked
as `insgan classify` does; the measured maps are written to FOLDER/measured. What it says is tried on experiments with
other draws, and on composites of these (`COMPOSITES`).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
from pages import table_text
from pcsmo_draws import AROUND, ROWS, read_draws, unstable_draws
from pcsmo_verdict import RIVALS, definition_of, mirrored
from results import add_option, column, table, write_results
from tobyfit_images import IMAGES, Row, read

from mantid_insgan.core.spectrum import Spectrum
from mantid_insgan.io import write_nexus
from mantid_insgan.learn.classifier import scores
from mantid_insgan.learn.joint import UNKNOWN, Experiments, JointClassifier, limits, train_joint
from mantid_insgan.learn.joint_job import write_joint
from mantid_insgan.learn.mosaic import CLIPPED, PIXELS, SETTINGS, SLICES, grids, kept, measured, scatter, tiles
from mantid_insgan.translate.classifier_card import ClassifierFile, Grid, Rival, read_classifier
from mantid_insgan.translate.classify import classify
from mantid_insgan.translate.classify_maps import MEASURES, MapsAnswer, classify_arrays, folded
from mantid_insgan.translate.translator import Quality, Translator

#: Share of the draws for training and calibration; the others are for the test.
SHARE = 0.75
#: Simulated experiments with each draw.
REPEATS = 4
#: How far a model may be off in an experiment, at most.
OFF = 0.4
#: Axes with mirrors.
MIRRORS = ("[H,0,0]", "[0,K,0]")
#: Shares of experiments of one model that may be called unknown.
ALARMS = (0.05, UNKNOWN, 0.20, 0.35)
#: The rule that the thresholds replace: no answer where no model is as probable as this.
DECIDED = 0.95
NAMES = dict(zip(RIVALS, ("Goodenough", "dimer"), strict=True))


# -- maps


def whole(quarter: np.ndarray) -> np.ndarray:
    """Maps (maps, 40, 40) from quarters (rows, 10, 20, 20)."""
    return np.stack([mirrored(q[:, :, None])[..., 0] for q in quarter.reshape(-1, *quarter.shape[2:])])


def filled_in(grid: Spectrum, values: np.ndarray, valid: np.ndarray, sigma: np.ndarray | float = 1.0) -> Spectrum:
    """A map with values (40, 40) where they are valid."""
    signal, variance, valid = (
        np.broadcast_to(x, values.shape).reshape(grid.shape) for x in (values, np.square(sigma), valid)
    )
    return grid.replace(signal=np.where(valid, signal, 0.0), variance=np.where(valid, variance, 0.0), valid=valid)


def spectra(maps: np.ndarray) -> list[Spectrum]:
    """Maps (maps, 40, 40), NaN where nothing was measured, as files of them would be."""
    return [filled_in(grid, *of_map) for grid, *of_map in zip(grids(ROWS), maps, kept(maps), strict=True)]


def write_maps(maps: np.ndarray, folder: Path) -> None:
    """Maps (maps, 40, 40) as files that `insgan classify` reads."""
    folder.mkdir(exist_ok=True)
    for number, spectrum in enumerate(spectra(maps)):
        write_nexus(spectrum, folder / f"map-{number:02}.nxs", overwrite=True)


def errors(values: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """One error for each map (maps, 40, 40), from neighbouring pixels; infinite where a pixel is not counted."""
    found = np.full(values.shape, np.inf)
    for map_, valid, out in zip(values, counted, found, strict=True):
        seen = np.where(valid, map_, np.nan)
        error = scatter(seen) if (seen > 0).sum() > 50 else np.nan
        out[valid] = error if error > 0 else max(float(np.nanstd(seen)), 1e-9) if valid.any() else np.inf
    return found


# -- simulated experiments


def _smooth(rng: np.random.Generator) -> np.ndarray:
    """A field of mean square 1 that changes over 2 to 10 pixels, (40, 40)."""
    from scipy.ndimage import gaussian_filter

    field = gaussian_filter(rng.standard_normal((PIXELS, PIXELS)), rng.uniform(2, 10), mode="wrap")
    return field / np.sqrt((field**2).mean())


def experiment(rng: np.random.Generator, signal: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Maps of one experiment, (maps, 40, 40), NaN where a pixel is not measured or is cut off.

    A model of spin waves is off by some tens of percent from place to place and from map to map, what is left of a
    background is smooth, and counting statistics go with the intensity. What is negative is set to 0 in half of the
    experiments, and the brightest pixels are cut off in half.
    """
    level = np.sqrt((signal[known] ** 2).mean())
    off, left, noise = rng.uniform(0, OFF), level * 10 ** rng.uniform(-2, -0.3), level * 10 ** rng.uniform(-1.5, 0)
    place = np.linspace(-1, 1, PIXELS)
    found = np.empty(signal.shape)
    for number, map_ in enumerate(signal):
        tilt = rng.standard_normal(4)
        background = tilt[0] + tilt[1] * place[:, None] + tilt[2] * place
        background = background + tilt[3] * (place[:, None] ** 2 + place**2)
        mean = map_ * np.maximum(1 + off * _smooth(rng) + 0.5 * off * rng.standard_normal(), 0) + left * background
        found[number] = mean + noise * np.sqrt(1 + np.maximum(mean, 0) / level) * rng.standard_normal(map_.shape)
    if rng.random() < 0.5:
        found = np.maximum(found, 0)
    if rng.random() < 0.5:
        cut = np.quantile(found[known], 1 - 10 ** rng.uniform(-4, -1.5))
        known = known & (found < cut)
    return np.where(known, found, np.nan)


def _by_maps(rng) -> np.ndarray:
    return np.broadcast_to(rng.random(len(ROWS) * SLICES)[:, None, None] < 0.5, (len(ROWS) * SLICES, PIXELS, PIXELS))


def _by_energy(rng) -> np.ndarray:
    """Transfers up to a share of the incident energy from one model."""
    first = np.arange(SLICES) < rng.integers(3, 8)
    return np.broadcast_to(np.tile(first, len(ROWS))[:, None, None], (len(ROWS) * SLICES, PIXELS, PIXELS))


def _by_rows(rng) -> np.ndarray:
    """Some incident energies from one model."""
    chosen = np.isin(np.arange(len(ROWS)), rng.permutation(len(ROWS))[: len(ROWS) // 2])
    return np.broadcast_to(np.repeat(chosen, SLICES)[:, None, None], (len(ROWS) * SLICES, PIXELS, PIXELS))


def _by_halves(rng) -> np.ndarray:
    """Half of every map, to one side of h or of k."""
    half = np.arange(PIXELS) < PIXELS // 2
    half = half[:, None] | np.zeros(PIXELS, bool) if rng.random() < 0.5 else half | np.zeros((PIXELS, 1), bool)
    return np.broadcast_to(half, (len(ROWS) * SLICES, PIXELS, PIXELS))


#: Which pixels of a composite are of the one model.
COMPOSITES: dict[str, Callable] = {
    "map by map": _by_maps,
    "low and high transfers": _by_energy,
    "incident energies": _by_rows,
    "halves of all maps": _by_halves,
}


# -- resolution


class Removal:
    """remove-resolution-2d for maps of the mosaic."""

    def __init__(self):
        from mantid_insgan.translate.cards import bundled_models

        (model,) = (m for m in bundled_models() if m.card.translation == "remove-resolution" and m.card.dimensions == 2)
        self.name, self._translator = model.card.name, Translator(model, "cpu", 1)
        self._rows = [Row(*SETTINGS[r]) for r in ROWS]

    @cache  # noqa: B019 - one for each process
    def _resolution(self, number: int):
        return self._rows[number // SLICES].resolution.on_grid(grids(ROWS)[number])

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Maps (maps, 40, 40) without resolution, NaN where they are NaN."""
        found = np.where(np.isfinite(values), 0.0, np.nan)
        for number, (result, _) in self.each(values):
            found[number] = result.signal.reshape(PIXELS, PIXELS)
        return found

    def each(self, values: np.ndarray) -> Iterator[tuple[int, tuple[Spectrum, Quality]]]:
        """The number of each map (maps, 40, 40) that shows anything, its result and what that is worth."""
        error = errors(values, np.isfinite(values))
        for number, (map_, sigma) in enumerate(zip(values, error, strict=True)):
            valid = np.isfinite(map_)
            if valid.sum() >= 16 and np.abs(map_[valid]).max() > 0:
                spectrum = filled_in(grids(ROWS)[number], map_, valid, sigma)
                yield number, self._translator.apply(spectrum, self._resolution(number))


# -- classifier


def as_experiments(maps: list[np.ndarray], labels: list[int]) -> Experiments:
    """Of maps (maps, 40, 40), NaN where a pixel does not count."""
    found = np.stack([[folded(x, (0, 1)) for x in np.where(kept(m), m, np.nan).astype(np.float32)] for m in maps])
    return Experiments(np.nan_to_num(found), np.isfinite(found), np.array(labels))


def parts(draws: dict[str, np.ndarray]) -> list[list[np.ndarray]]:
    """Draws of each rival for the training and for the test."""
    cut = round(SHARE * len(next(iter(draws.values()))))
    return [list(part) for part in zip(*(np.split(d, [cut]) for d in draws.values()), strict=True)]


def experiments(
    signals: list[np.ndarray], known: np.ndarray, seed: int, repeats: int = REPEATS
) -> Iterator[tuple[np.ndarray, int]]:
    """Experiments with draws of each rival and the number of the rival."""
    rng = np.random.default_rng(seed)
    for label, quarters in enumerate(signals):
        for quarter in quarters:
            for _ in range(repeats):
                yield experiment(rng, whole(quarter), known), label


def composites(signals: list[np.ndarray], known: np.ndarray, seed: int, kind: str) -> Iterator[np.ndarray]:
    """Experiments with a composite of a draw of each rival, of the same intensity."""
    rng = np.random.default_rng(seed)
    for pair in [p for p in zip(*signals, strict=True) for _ in range(2)]:
        one, other = (w / np.sqrt((w[known] ** 2).mean()) for w in map(whole, pair))
        yield experiment(rng, np.where(COMPOSITES[kind](rng), one, other), known)


# -- what is asked

#: How the maps are asked for: the draws it takes, and what tables say of simulated experiments.
SEEN = {"as measured": "convolved", "removed": "sharp"}
SIMULATED = {"as measured": "as measured", "removed": "simulated without resolution"}


def images(folder: Path) -> dict[str, np.ndarray]:
    """The maps (maps, 40, 40) that are asked for, NaN where nothing was measured or is cut off."""
    found = {"measured mosaic": measured(folder)}
    found |= {f"Tobyfit's {NAMES[name]}": values[:, :, ::-1] for name, values in read(folder).items()}
    composite = tiles(np.load(folder / "fraken-data-unnorm.npy").reshape(len(SETTINGS) * PIXELS, -1))[:, :, ::-1]
    found["fraken"] = np.where(np.isnan(found["measured mosaic"]), np.nan, composite)
    found = {name: values[list(ROWS)].reshape(-1, PIXELS, PIXELS) for name, values in found.items()}
    return {name: np.where(values < CLIPPED, values, np.nan) for name, values in found.items()}


def collected(made: Iterable[tuple[np.ndarray, int]]) -> Experiments:
    """Maps and the numbers of their models as experiments."""
    maps, labels = zip(*made, strict=True)
    return as_experiments(list(maps), list(labels))


def asked_of(file: ClassifierFile, data: Experiments) -> list[MapsAnswer]:
    """What a classifier on disk answers to experiments."""
    return [classify_arrays(values, valid, file) for values, valid in zip(data.values, data.valid, strict=True)]


def probabilities(found: list[MapsAnswer]) -> np.ndarray:
    """Of the models, (N, models)."""
    return np.array([list(f.probabilities.values()) for f in found])


SCORES = (
    column(""),
    column("experiments"),
    column("accuracy", "{:.3f}"),
    column("expected calibration error", "{:.3f}"),
    column("Brier score", "{:.3f}"),
    column("answered unknown", "{:.2f}"),
    column("accuracy of the others", "{:.3f}"),
)


def scored(name: str, found: list[MapsAnswer], label: np.ndarray) -> list:
    """A row of `SCORES`."""
    flagged = np.array([f.unknown for f in found])
    if (label < 0).any():
        return [name, len(found), None, None, None, float(flagged.mean()), None]
    known = probabilities(found)[~flagged].argmax(1) == label[~flagged]
    return [name, len(found), *scores(probabilities(found), label), float(flagged.mean()), float(known.mean())]


TRADE = (
    column(""),
    column("experiments of one model", "{:.2f}"),
    *(column(f"composites: {kind}", "{:.2f}") for kind in COMPOSITES),
    column("accuracy of the answers", "{:.3f}"),
)


def traded(name: str, unknown: Callable, found: dict[str, list[MapsAnswer]], label: np.ndarray) -> list:
    """A row of `TRADE`: shares that a rule calls unknown. Experiments of one model come first."""
    flagged = [np.array([unknown(f) for f in each]) for each in found.values()]
    right = probabilities(next(iter(found.values()))).argmax(1) == label
    return [name, *(float(f.mean()) for f in flagged), float(right[~flagged[0]].mean())]


def rules(classifier: JointClassifier) -> dict[str, Callable]:
    """Rules of 'unknown' for answers of a classifier, by name."""

    def over(share: float) -> Callable:
        other = limits(classifier.held_out, share)
        factors = {name: getattr(classifier.unknown, name) / getattr(other, name) for name in MEASURES}
        return lambda answer: any(getattr(answer, name) * factors[name] > 1 for name in MEASURES)

    found = {f"{share:.0%} of those held out": over(share) for share in ALARMS}
    return found | {f"no model {DECIDED:.0%} probable": lambda answer: max(answer.probabilities.values()) < DECIDED}


ANSWERS = (
    column(""),
    column("answer"),
    column("probability of Goodenough", "{:.3f}"),
    column("contradiction, in thresholds", "{:.2f}"),
    column("distance, in thresholds", "{:.2f}"),
    column("maps for Goodenough"),
    column("maps for dimer"),
)


def answered(name: str, way: str, file: ClassifierFile, maps: np.ndarray) -> list:
    """A row of `ANSWERS`: what `insgan classify` says to files of the maps."""
    found = classify(spectra(maps), file)
    return [
        name if way == "as measured" else f"{name}, resolution removed",
        NAMES.get(found.answer, found.answer),
        found.probabilities[RIVALS[0]],
        found.contradiction,
        found.distance,
        *found.maps_for.values(),
    ]


def rival(name: str, draws: int, unstable: int) -> Rival:
    """What a card says of the draws of `pcsmo_draws.py`."""
    couplings = {n: p.value for n, p in definition_of(name).parameters.items() if n != "line"}
    ranges = {n: tuple(sorted((v * (1 - AROUND), v * (1 + AROUND)))) for n, v in couplings.items()}
    return Rival(name=name, source=f"{name}.yaml", ranges=ranges, draws=draws, unstable=unstable, unseen=0)


def kept_on_disk(classifier: JointClassifier, path: Path, compared: Experiments, rivals: list[Rival]) -> ClassifierFile:
    """A classifier written to a file with its card, and read again."""
    about = {"grids": [Grid.of(g) for g in grids(ROWS)], "mirrors": MIRRORS, "rivals": rivals, "command": COMMAND}
    write_joint(classifier, path, compared=compared, **about)
    return read_classifier(path)


def classifier_of(
    draws: dict[str, np.ndarray], unstable: dict[str, int], known: np.ndarray, path: Path
) -> tuple[JointClassifier, ClassifierFile, dict[str, list[MapsAnswer]], np.ndarray]:
    """A classifier of one kind of draws as trained and as read again, what it answers to experiments with other draws
    and to their composites, and the labels of the former."""
    training, test = parts(draws)
    made = [collected(experiments(part, known, seed)) for seed, part in enumerate((training, test))]
    classifier = train_joint(RIVALS, made[0], np.arange(len(made[0].label)) // REPEATS)
    rivals = [rival(name, len(of), unstable[name]) for name, of in draws.items()]
    file, label = kept_on_disk(classifier, path, made[1], rivals), made[1].label
    found = {"test": asked_of(file, made[1])}
    for kind in COMPOSITES:
        mixed = collected((maps, -1) for maps in composites(test, known, 3, kind))
        found[f"composites: {kind}"] = asked_of(file, mixed)
    return classifier, file, found, label


def one_way(folder: Path, asked: dict[str, np.ndarray], way: str) -> Iterator[list[dict]]:
    """Tables, as maps are or with the resolution removed."""
    known, removal = np.isfinite(asked["measured mosaic"]), Removal() if way == "removed" else None
    draws, began = read_draws(folder, SEEN[way]), time.process_time()
    facts = {"draws": len(draws[RIVALS[0]]), "around": AROUND}
    path = folder / f"goodenough-or-dimer-{SEEN[way]}.onnx"
    classifier, file, found, label = classifier_of(draws, unstable_draws(folder), known, path)
    rows = [
        scored(f"{name}, {SIMULATED[way]}", each, label if name == "test" else np.array([-1]))
        for name, each in found.items()
    ]
    trade = [traded(f"{name}, {SIMULATED[way]}", rule, found, label) for name, rule in rules(classifier).items()]
    answers = [answered(name, way, file, removal(m) if removal else m) for name, m in asked.items()]
    yield _tables(rows, trade, answers, facts, began)
    if removal:
        test = parts(read_draws(folder, "convolved"))[1]
        cleaned = collected((removal(maps), label) for maps, label in experiments(test, known, 2, repeats=1))
        rows.append(scored("test, resolution removed", asked_of(file, cleaned), cleaned.label))
        yield _tables(rows, trade, answers, facts, began)


def _tables(rows: list[list], trade: list[list], answers: list[list], facts: dict, began: float) -> list[dict]:
    print(f"{time.process_time() - began:.0f} s of processor time")
    note = "{draws} draws of each model, couplings within {around:.0%} of the published ones."
    return [
        table("scores", list(SCORES), rows, note=note, facts=facts),
        table("unknown", list(TRADE), trade),
        table("answers", list(ANSWERS), answers),
    ]


COMMAND = "OMP_NUM_THREADS=1 python benchmarks/pcsmo_classifier.py FOLDER"
CONDITIONS = (
    "Maps of 50 meV and more of the mosaics of Pr(Ca0.9Sr0.1)2Mn2O7, 40 maps with 4 quadrants each. Of the draws of "
    f"couplings {SHARE:.0%} train and calibrate (cross-validation), the others test; {REPEATS} simulated experiments a "
    "draw; seeds 0 to 3."
)


def main() -> None:
    """Train, ask, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="of the draws: benchmarks/pcsmo_draws.py")
    parser.add_argument("--images", type=Path, default=IMAGES, help="folder of the mosaics")
    parser.add_argument("--way", action="append", choices=tuple(SEEN), help="both if not given")
    add_option(parser, "pcsmo_classifier")
    options = parser.parse_args()
    asked = images(options.images)
    write_maps(asked["measured mosaic"], options.folder / "measured")
    for way in options.way or SEEN:
        for found in one_way(options.folder, asked, way):
            for each in found:
                print(f"\n{each['name']}\n\n{table_text(each)}", flush=True)
            write_results(options.results, COMMAND, CONDITIONS, found, keep_rows=True)


if __name__ == "__main__":
    main()
