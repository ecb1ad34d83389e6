"""Training without pairs on a measurement: a half-doped manganite on MAPS, scored at incident energies not trained on.

    OMP_NUM_THREADS=1 python benchmarks/pcsmo_draws.py DRAWS --draws 75
    OMP_NUM_THREADS=1 python benchmarks/pcsmo_draws.py LOW --draws 30 --rows 0 1
    OMP_NUM_THREADS=1 python benchmarks/pcsmo_unpaired.py DRAWS LOW --folder CHECKPOINTS --watch 60

Simulations are draws of both rival models, convolved with the calculated resolution: which of them is right is not
assumed. Experiments are the measured maps of `TRAINED`, without the maps `ASIDE`, on which settings were chosen. The
maps of `HELD_OUT` are scored once, at the end (``--held-out``).

The ten maps of one incident energy lie side by side in one image, with a gap between them, so that the discriminators
see how bright a map is beside the others. The networks are told E / Ei, |Q| and the calculated widths of each pixel.

Scored are both models at the published couplings: as they are, convolved, and convolved and translated. Every row has
the same pixels, and one scale for all maps; chi-squared is given without a background, and with one constant for each
map. `scatter` gives the errors.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import torch
from pages import table_text
from pcsmo_classifier import whole
from pcsmo_draws import ROWS, quarters, read_draws
from pcsmo_verdict import MOMENTA, POINTS, RIVALS, Maps, Variant, built, definition_of
from results import add_option, column, table, write_results
from tobyfit_images import IMAGES, correlations

from mantid_insgan.core.slices import intensity_scale
from mantid_insgan.learn.augment import flipped
from mantid_insgan.learn.examples import Batch, Example, stack
from mantid_insgan.learn.mosaic import (
    CLIPPED,
    HELD_OUT,
    PIXELS,
    SETTINGS,
    SLICES,
    TRAINED,
    conditions_of_row,
    kept,
    measured,
    scatter,
)
from mantid_insgan.learn.trainer import Schedule
from mantid_insgan.learn.unpaired import ADD, UnpairedRecipe, UnpairedTrainer

#: Rows below those of `pcsmo_draws.ROWS`.
LOW = (0, 1)
#: Maps of each of `TRAINED` that no training sees measured.
ASIDE = (2, 7)
#: Empty columns after each map of an image, and rows of the windows that are trained on.
GAP, TALL = 4, 20
#: Images a step, each of ten maps, and steps.
BATCH = 2
STEPS, WARM_UP, AVERAGING = 180, 50, 0.99
SEEDS = (1, 2, 3)
#: Recipes by what they are called.
VARIANTS = {"unpaired": {}, "without discriminators": {"adversarial": 0.0}}


# -- images


def image(maps: np.ndarray, beyond: str = "constant") -> np.ndarray:
    """Maps (..., 10, 40, 40) side by side, (..., 40, 440); gaps are 0, or as the edge beside them ('edge')."""
    padded = np.pad(maps, [(0, 0)] * (maps.ndim - 1) + [(0, GAP)], mode=beyond)
    return np.moveaxis(padded, -3, -2).reshape(*maps.shape[:-3], PIXELS, SLICES * (PIXELS + GAP))


def maps_of(image: np.ndarray) -> np.ndarray:
    """The inverse of `image`."""
    apart = image.reshape(*image.shape[:-1], SLICES, PIXELS + GAP)[..., :PIXELS]
    return np.moveaxis(apart, -2, -3)


@cache
def conditions(row: int) -> dict[str, np.ndarray]:
    """What networks are told of the maps of a row beside the intensity: images with channels."""
    found = conditions_of_row(row)
    return {name: image(np.stack([f[name] for f in found], axis=1), "edge") for name in found[0]}


def example(row: int, maps: np.ndarray, valid: np.ndarray, error: np.ndarray | float = 0.0) -> Example:
    """The maps (10, 40, 40) of a row as one image, in units of its own size."""
    there = image(valid)
    unit = intensity_scale(image(maps), there)
    signal, sigma = (image(np.where(valid, x, 0.0)) / unit for x in (maps, np.broadcast_to(error, maps.shape)))
    return Example(signal, there, sigma, signal, **conditions(row), energy_last=False)


# -- measurement


@dataclass(frozen=True)
class Measurement:
    """The mosaic: values and which of them count, (6, 10, 40, 40), and one error for each map, (6, 10)."""

    values: np.ndarray
    counted: np.ndarray
    error: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> Measurement:
        """Of maps with NaN where no detector is: pixels beside such, and those cut off, do not count."""
        error = np.array([[scatter(v) for v in row] for row in values])
        return cls(np.nan_to_num(values), kept(values) & (np.nan_to_num(values) < CLIPPED), error)

    def trained_on(self, row: int) -> np.ndarray:
        """Pixels of the maps of a row that count and that are not set aside."""
        valid = self.counted[row].copy()
        valid[list(ASIDE)] = False
        return valid

    def experiment(self, row: int) -> Example:
        """The measured maps of a row."""
        return example(row, self.values[row], self.trained_on(row), self.error[row][:, None, None])

    def simulation(self, row: int, quarter: np.ndarray) -> Example:
        """Quarters (10, 20, 20) of the maps of a row, with the gaps of the measurement."""
        return example(row, whole(quarter[None]), self.trained_on(row))


@dataclass(frozen=True)
class Place:
    """Where an example is cut out: its row of the mosaic, the first row of the window, and a seed for turning it."""

    row: int
    first: int
    turn: int

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Place:
        """At random."""
        return cls(int(rng.choice(TRAINED)), int(rng.integers(0, PIXELS - TALL + 1)), int(rng.integers(2**31)))

    def cut(self, whole_image: Example) -> Example:
        """`TALL` rows of an image, turned round."""
        part = whole_image.changed(lambda _, x: x[..., self.first : self.first + TALL, :])
        return flipped(np.random.default_rng(self.turn), part)


class SamePlaces(UnpairedTrainer):
    """An unpaired training in which both sides of a step are cut out at the same places.

    There are only few measured images, each with gaps of its own. Gaps that do not go with the incident energy would
    tell the discriminators what is simulated. Both libraries are images by row of the mosaic.
    """

    def _drawn(self, library: dict[int, list[Example]], rng) -> Batch:
        rng_of_places = np.random.default_rng([self.schedule.seed, self.step, self.fabric.global_rank])
        places = [Place.drawn(rng_of_places) for _ in range(self.share)]
        found = [p.cut(library[p.row][int(rng.integers(len(library[p.row])))]) for p in places]
        return stack(found).to(self.fabric.device)


def sides(data: Measurement, draws: Path, low: Path) -> tuple[dict, dict]:
    """Simulations, of as many draws of both rivals as both folders have, and experiments: images by row."""
    high, below = read_draws(draws, "convolved"), read_draws(low, "convolved")
    count = min(len(found[RIVALS[0]]) for found in (high, below))
    simulations = {}
    for row in TRAINED:
        found, place = (below, LOW.index(row)) if row in LOW else (high, ROWS.index(row))
        simulations[row] = [data.simulation(row, draw[place]) for name in RIVALS for draw in found[name][:count]]
    return simulations, {row: [data.experiment(row)] for row in TRAINED}


# -- scores


@dataclass(frozen=True)
class Score:
    """How near a model is to measured maps: chi-squared, pixels, and the mean correlation of the maps."""

    chi_squared: float
    pixels: int
    correlation: float

    @classmethod
    def of(cls, found: np.ndarray, data: Measurement, places: np.ndarray, constants: bool) -> Score:
        """Of maps (6, 10, 40, 40), at `places` (6, 10), after one scale for all and perhaps a constant for each.

        A map without any intensity counts as one of correlation 0.
        """
        counted = data.counted & places[..., None, None]
        weight = counted / data.error[..., None, None] ** 2
        x, y = (np.where(counted, v, 0.0) for v in (found, data.values))
        if constants:
            number = np.maximum(counted.sum((-2, -1), keepdims=True), 1)
            x, y = (np.where(counted, v - v.sum((-2, -1), keepdims=True) / number, 0.0) for v in (x, y))
        scale = (weight * x * y).sum() / (weight * x**2).sum()
        hidden = np.where(counted, 0.0, np.nan)
        each = np.nan_to_num(correlations(found + hidden, data.values + hidden))[places]
        return cls(float((weight * (y - scale * x) ** 2).sum()), int(counted.sum()), float(each.mean()))


#: Chi-squared without a background, and with a constant for each map.
BACKGROUNDS = {"": False, ", constants": True}
COLUMNS = (
    column(""),
    column("correlation", "{:.3f}"),
    *(
        column(name + background, form)
        for background in BACKGROUNDS
        for name, form in {
            "chi-squared a pixel": "{:.3f}",
            "nearer than convolved (%)": "{:.1f}",
            "dimer": "{:.3f}",
            "dimer less Goodenough": "{:.0f}",
        }.items()
    ),
    column("minutes of training", "{:.1f}"),
)


def scored(rows: dict[str, tuple[dict, float | None]], data: Measurement, places: np.ndarray) -> list[list]:
    """Rows of `COLUMNS`: of maps of both rivals and the minutes of a training; one row is 'convolved'."""
    found = {
        name: [{n: Score.of(m, data, places, c) for n, m in maps.items()} for c in BACKGROUNDS.values()]
        for name, (maps, _) in rows.items()
    }
    table_rows = []
    for name, both in found.items():
        cells = [name, both[0][RIVALS[0]].correlation]
        for scores, reference in zip(both, found["convolved"], strict=True):
            good, dimer = (scores[n] for n in RIVALS)
            nearer = 100 * (1 - good.chi_squared / reference[RIVALS[0]].chi_squared)
            cells += [good.chi_squared / good.pixels, nearer, dimer.chi_squared / dimer.pixels]
            cells.append(dimer.chi_squared - good.chi_squared)
        table_rows.append([*cells, rows[name][1]])
    return table_rows


def places_of(rows: tuple[int, ...], numbers: Iterable[int] = range(SLICES)) -> np.ndarray:
    """Which maps: those of these rows and numbers."""
    found = np.zeros((len(SETTINGS), SLICES), bool)
    found[np.ix_(rows, list(numbers))] = True
    return found


def published() -> dict[str, dict[str, np.ndarray]]:
    """Both rivals at the published couplings, by how they are seen: quarters (6, 10, 20, 20)."""
    maps = Maps(Variant().places, built(definition_of(RIVALS[0])), points=POINTS, momenta=MOMENTA)
    found = {name: quarters(maps, built(definition_of(name)), tuple(range(len(SETTINGS)))) for name in RIVALS}
    return {how: {name: found[name][how] for name in RIVALS} for how in ("sharp", "convolved")}


def whole_rows(quarter: np.ndarray) -> np.ndarray:
    """Maps (6, 10, 40, 40) from quarters."""
    return whole(quarter).reshape(len(SETTINGS), SLICES, PIXELS, PIXELS)


@torch.no_grad()
def translated(generator, data: Measurement, convolved: np.ndarray, only_background: bool = False) -> np.ndarray:
    """Maps (6, 10, 40, 40) of a model as the generator, or its background alone, makes them, in the model's unit."""
    found = []
    for row, maps in enumerate(convolved):
        valid = data.counted[row]
        batch = stack([example(row, maps, valid)])
        if only_background:
            answer = batch.signal + generator.level(batch.signal, batch.valid, batch.position)
        else:
            answer = generator(*batch.inputs())[0]
        found.append(maps_of(answer[0, 0].double().numpy()) * intensity_scale(maps, valid))
    return np.stack(found)


# -- trainings


def trainer_of(variant: str, seed: int, options, both: tuple[dict, dict]) -> SamePlaces:
    """A training in a folder of its own, from which it goes on."""
    recipe = UnpairedRecipe(**{"simulation": "convolved", "channels": 16, "likelihood": 0.0} | VARIANTS[variant])
    schedule = Schedule(options.steps, BATCH, warm_up=WARM_UP, averaging=AVERAGING, seed=seed)
    trainer = SamePlaces(recipe, schedule, *both, options.folder / f"{variant.replace(' ', '-')}-{seed}")
    trainer.data = f"{len(both[0][TRAINED[0]])} draws"
    return trainer


def watched(trainer: UnpairedTrainer, data: Measurement, models: dict, every: int):
    """A `progress` that scores the maps set aside, and the rows that it has made."""
    rows = scored({"convolved": (models, None)}, data, places_of(TRAINED, ASIDE))

    def progress(done, step, terms) -> None:
        if step % every == 0:
            now = {"convolved": (models, None), f"{step} steps": (translations(trainer, data, models), None)}
            rows.append(scored(now, data, places_of(TRAINED, ASIDE))[1])
            print(rows[-1], {k: round(v, 3) for k, v in terms.items()}, flush=True)

    return progress, rows


def translations(trainer: UnpairedTrainer, data: Measurement, models: dict, only_background: bool = False) -> dict:
    """Both rivals as a training translates them."""
    generator = trainer.averaged(ADD)
    return {name: translated(generator, data, maps, only_background) for name, maps in models.items()}


def trained(options, both: tuple[dict, dict], data: Measurement, models: dict) -> tuple[dict, dict]:
    """Rows of all trainings that are asked for, and what the maps aside said during each, by name."""
    rows, courses = {}, {}
    for variant, seed in product(options.variant or VARIANTS, options.seed or SEEDS):
        trainer, progress = trainer_of(variant, seed, options, both), None
        name = f"{variant}, seed {seed}"
        if options.watch:
            progress, courses[name] = watched(trainer, data, models, options.watch)
        trainer.run(progress)
        rows[name] = translations(trainer, data, models), trainer.seconds / 60
        rows[f"{name}, background alone"] = translations(trainer, data, models, True), None
    return rows, courses


COMMAND = "OMP_NUM_THREADS=1 python benchmarks/pcsmo_unpaired.py DRAWS LOW --folder CHECKPOINTS --watch 60 --held-out"
CONDITIONS = (
    "The measured mosaic of Pr(Ca0.9Sr0.1)2Mn2O7; both models at the published couplings. Trained on 25, 35, 70 and "
    f"140 meV without their maps {ASIDE[0]} and {ASIDE[1]} ('aside'), scored on 50 and 100 meV ('held out'). One scale "
    f"for all maps; errors from the scatter of neighbouring pixels. {STEPS} steps of {BATCH} images of ten maps, "
    "16 channels."
)


def main() -> None:
    """Train what is not trained yet, and score it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("draws", type=Path, help="folder of draws of 50 meV and more")
    parser.add_argument("low", type=Path, help="folder of draws of 25 and 35 meV")
    parser.add_argument("--images", type=Path, default=IMAGES, help="folder of the mosaic")
    parser.add_argument("--folder", type=Path, help="for checkpoints; a temporary one if not given")
    parser.add_argument("--variant", choices=VARIANTS, action="append", help="all if not given")
    parser.add_argument("--seed", type=int, action="append", help=f"{SEEDS} if not given")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--watch", type=int, default=0, help="score the maps aside every so many steps")
    parser.add_argument("--held-out", action="store_true", help="score the incident energies held out as well")
    add_option(parser, "pcsmo_unpaired")
    options = parser.parse_args()
    options.folder = options.folder or Path(tempfile.mkdtemp())
    torch.set_num_threads(1)
    data = Measurement.of(measured(options.images))
    both = sides(data, options.draws, options.low)
    numbers = [sum(map(len, side.values())) for side in both]
    print("{} simulations and {} experiments of ten maps each".format(*numbers), flush=True)
    models = {how: {n: whole_rows(q) for n, q in found.items()} for how, found in published().items()}
    rows = {how: (models[seen_as], None) for how, seen_as in {"ideal": "sharp", "convolved": "convolved"}.items()}
    more, courses = trained(options, both, data, models["convolved"])
    rows |= more
    scorings = {"aside": places_of(TRAINED, ASIDE)}
    if options.held_out:
        scorings["held out"] = places_of(HELD_OUT)
        scorings |= {f"held out, {SETTINGS[row][0]} meV": places_of((row,)) for row in HELD_OUT}
    found = [table(name, list(COLUMNS), scored(rows, data, places)) for name, places in scorings.items()]
    found += [table(f"course, {name}, of {options.steps} steps", list(COLUMNS), r) for name, r in courses.items()]
    for each in found:
        print(f"\n{each['name']}\n\n{table_text(each)}", flush=True)
    write_results(options.results, COMMAND, CONDITIONS, found, keep_rows=True)


if __name__ == "__main__":
    main()
