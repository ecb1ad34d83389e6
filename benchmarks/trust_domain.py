"""The alarm: how often it rings for held-out spectra, and for what is no spectrum, or is told with wrong facts.

Patterns, shuffled bins and a hot bin take the place of the data of held-out pairs. Facts are wrong where the model is
told the resolution of another chopper, incident energy or instrument, calculated for the grid of the pair, or widths
that are too small or too large. Composites are made of two pairs on the grid of one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from results import column, table
from trust_case import (
    SEED,
    SPLITS,
    TARGET,
    Case,
    as_batches,
    ideal_of,
    mirrored,
    pair_of,
    recorded,
    through,
    with_sides,
)

from mantid_insgan.errors import RunFactError
from mantid_insgan.instruments import Resolution
from mantid_insgan.instruments.choppers import limits
from mantid_insgan.learn.augment import AS_MADE
from mantid_insgan.learn.calibration import Judged
from mantid_insgan.learn.evaluate import batches
from mantid_insgan.learn.libraries import Part
from mantid_insgan.learn.pairs.recipe import HELD_OUT_SETTINGS, TRAINING_SETTINGS
from mantid_insgan.translate.trust import ALARM, Plausible

#: Pairs on which what is no spectrum is put, by dimensions, and its counts.
CARRIERS = {1: 16, 2: 16, 3: 6}
STRANGE_COUNTS = {1: (30.0, 300.0, 3000.0), 2: (30.0, 300.0, 3000.0), 3: (300.0,)}
#: Factors on all widths that are told.
FACTORS = (0.7, 1.5)
#: Factors on the frequency that are tried where there is no other chopper.
FREQUENCIES = (2.0, 0.5, 1.5, 0.67)


def domain(case: Case) -> list[dict]:
    """False alarms on held-out spectra; where resolution is removed, how well what is no spectrum is told from them."""
    plausible, rows, usual = Plausible(case.card.blocks), [], {}
    for counts in case.counts:
        found = {split: judged_by(plausible, case.numbers(case.seen(split, counts))) for split in case.libraries}
        usual[counts] = np.concatenate(list(found.values()))[:, 1]
        rows.append([f"{counts:g} counts", *(float((f[:, 0] < ALARM).mean()) for f in found.values())])
    alarms = [column("false alarms"), *(column(SPLITS[split], "{:.3f}") for split in case.libraries)]
    made = [table(f"false alarms, {case.name}", alarms, rows)]
    return made if case.direction == "add-resolution" else [*made, _told_apart(case, plausible, usual)]


def _told_apart(case: Case, plausible: Plausible, usual: dict[float, np.ndarray]) -> dict:
    """How well each kind of what is no such spectrum is told from held-out ones, whose distances are `usual`."""
    kinds: dict[str, list] = {}
    for counts in STRANGE_COUNTS[case.dimensions]:
        for kind, spectra in unusual(case, counts):
            found = judged_by(plausible, case.numbers(spectra))
            kinds.setdefault(kind, []).extend([auroc(usual[counts], found[:, 1]), float((found[:, 0] < ALARM).mean())])
    columns = [column("what is put in")]
    for counts in STRANGE_COUNTS[case.dimensions]:
        columns += [column(f"{counts:g} counts: {what}", "{:.2f}") for what in ("AUROC", "alarms")]
    pairs = carriers(case)
    note = (
        "AUROC: how often such a block is farther from the training than one of a held-out spectrum. {pairs} pairs of "
        "each kind. Widths that are told over the right ones, in the middle 80 % of bins: {told}."
    )
    facts = {"pairs": len(pairs.index), "told": "; ".join(_ratios(pairs))}
    return table(
        f"domain, {case.name}", columns, [[kind, *cells] for kind, cells in kinds.items()], note=note, facts=facts
    )


def judged_by(plausible: Plausible, numbers: np.ndarray) -> np.ndarray:
    """p-value, and distance over the threshold, of each, shape (N, 2)."""
    return np.array([plausible.judge(values) for values in numbers])


def auroc(usual: np.ndarray, others: np.ndarray) -> float:
    """Share of pairs in which the other number is the larger one."""
    return float((others[:, None] > usual).mean() + 0.5 * (others[:, None] == usual).mean())


def carriers(case: Case) -> Part:
    """Pairs whose data, or facts, are replaced."""
    part = next(iter(case.libraries.values()))
    index = np.random.default_rng(SEED).permutation(len(part.library))[: CARRIERS[case.dimensions]]
    return Part(part.library, index)


def unusual(case: Case, counts: float) -> Iterator[tuple[str, list[Judged]]]:
    """Each kind of what is no spectrum of the kind that was trained, on grids of held-out pairs, and what the model
    makes of it."""
    rng, part = np.random.default_rng([SEED, int(counts)]), carriers(case)
    made: dict[str, list[Judged]] = {}
    start = 0
    for batch in batches(part, case.direction, counts, SEED, finer=AS_MADE[case.direction]):
        pairs = [pair_of(part, start + n) for n in range(len(batch.signal))]
        start += len(pairs)
        for kind, changed in _changed(batch, pairs, counts, rng):
            made.setdefault(kind, []).extend(case.made_of(changed))
    yield from made.items()
    for kind, compose in COMPOSITES.items():
        changed = [compose(*two) for two in _twos(part)]
        yield kind, [s for batch, _ in as_batches(case, changed, counts) for s in case.made_of(batch)]


def _changed(batch, pairs: list, counts: float, rng) -> Iterator[tuple[str, object]]:
    """Batches with other data, and with the resolution told wrongly."""
    shape = tuple(batch.signal.shape[2:])
    for kind in PATTERNS:
        data = [_noisy(PATTERNS[kind](shape, rng), counts, rng, valid[0] > 0) for valid in batch.valid.numpy()]
        yield kind, _with_data(batch, data)
    yield "bins in random order", _with_data(batch, [_shuffled(*x, rng) for x in _members(batch)])
    yield "one hot bin", _with_data(batch, [_hot(*x, rng) for x in _members(batch)])
    for factor in FACTORS:
        yield f"widths told {factor:g} times too large", scaled(batch, factor)
    for kind, wrong in WRONG_FACTS.items():
        yield kind, _told(batch, [conditions_of(pair, wrong(pair)) for pair in pairs])


def scaled(batch, factor: float | np.ndarray):
    """A batch whose widths are told larger by a factor, or by one for each spectrum; correlations stay."""
    axes = batch.width.shape[1]
    factor = torch.as_tensor(factor, dtype=torch.float32).reshape(-1, *[1] * (axes + 1))
    finer = torch.cat([batch.finer[:, :axes] * factor, batch.finer[:, axes:]], dim=1)
    return _with(batch, width=batch.width * factor, finer=finer)


def _told(batch, conditions: list[dict]):
    """A batch with other conditions of each spectrum."""
    names = conditions[0]
    return _with(batch, **{n: torch.tensor(np.stack([c[n] for c in conditions]), dtype=torch.float32) for n in names})


def conditions_of(pair, resolution: Resolution) -> dict[str, np.ndarray]:
    """Width, correlation, position and the finer resolution of the target on the grid of a pair, for a resolution."""
    found = resolution.on_grid(pair.spectrum("convolved"))
    grid = pair.ideal.shape
    width, correlation, position = (x.reshape(-1, *grid) for x in (found.width, found.correlation, found.position()))
    finer = np.concatenate([width / np.float32(pair.sides[TARGET][0]), correlation])
    return {"width": width, "correlation": correlation, "position": position, "finer": finer}


def _resolution(pair, instrument=None, ei=None, chopper=None, frequency=None) -> Resolution:
    """That of a pair with other facts of the run; the time model is the instrument's own."""
    true = pair.facts["resolution"]
    return Resolution(
        instrument or true["instrument"],
        ei or true["ei"],
        chopper or true["chopper"],
        frequency or true["frequencies"][0],
        width_factor=true["width_factor"],
        sample=pair.resolution.sample,
        mosaic=true["mosaic"],
        time_model=None if instrument else true["time_model"],
        lattice=pair.resolution.lattice,
    )


def another_chopper(pair) -> Resolution:
    """That of the instrument's other chopper package in the recipe of pairs, or where there is none that transmits the
    incident energy, of another frequency."""
    true = pair.facts["resolution"]
    told = true["instrument"], true["chopper"], true["frequencies"][0]
    return first_that_transmits(
        other_choppers(*told), lambda chopper, hertz: _resolution(pair, chopper=chopper, frequency=hertz)
    )


def other_choppers(instrument: str, chopper: str, frequency: float) -> list[tuple[str, float]]:
    """The other chopper packages of an instrument in the recipe of pairs, with their frequency (Hz), and then other
    frequencies of the same."""
    low, high = limits(instrument, chopper).frequency[0]
    others = [(s[1], s[2]) for s in settings() if s[0] == instrument and s[1] != chopper]
    return others + [(chopper, f * frequency) for f in FREQUENCIES if low <= f * frequency <= high]


def first_that_transmits(others: list[tuple[str, float]], resolution) -> Resolution:
    """The first of some choppers and frequencies whose `resolution` there is: it transmits the incident energy."""
    for chopper, frequency in others:
        try:
            return resolution(chopper, frequency)
        except RunFactError:  # this one does not transmit the energy
            continue
    raise ValueError(f"none of {others} transmits the incident energy")


def another_energy(pair) -> Resolution:
    """That of an incident energy which is 10 % higher."""
    return _resolution(pair, ei=1.1 * pair.facts["resolution"]["ei"])


def another_instrument(pair) -> Resolution:
    """That of the first other instrument of the recipe of pairs which has the incident energy."""
    true = pair.facts["resolution"]
    for instrument, chopper, frequency, low, high in settings():
        if instrument != true["instrument"] and low <= true["ei"] <= high:
            return _resolution(pair, instrument=instrument, chopper=chopper, frequency=frequency)
    raise ValueError(f"no other instrument has an Ei of {true['ei']:g} meV")


def settings() -> tuple:
    """Settings of training and held-out pairs, in an order of chance."""
    every = (*TRAINING_SETTINGS, *HELD_OUT_SETTINGS)
    return tuple(every[i] for i in np.random.default_rng(SEED).permutation(len(every)))


WRONG_FACTS = {
    "another chopper told": another_chopper,
    "an incident energy told 10 % too high": another_energy,
    "another instrument told": another_instrument,
}


def _ratios(part: Part) -> Iterator[str]:
    """Widths by wrong facts over the right ones, in words."""
    for kind, wrong in WRONG_FACTS.items():
        pairs = [pair_of(part, n) for n in range(len(part))]
        ratios = [(conditions_of(p, wrong(p))["width"] / np.maximum(p.width, 1e-6))[:, p.known] for p in pairs]
        low, high = np.quantile(np.concatenate([r.ravel() for r in ratios]), (0.1, 0.9))
        yield f"{kind}, {low:.2f} to {high:.2f}"


def _twos(part: Part) -> Iterator[tuple]:
    """Each pair and the next of another family that shows anything in the bins of the pair."""
    pairs = [pair_of(part, n) for n in range(len(part))]
    for n, pair in enumerate(pairs):
        others = (p for p in (*pairs[n + 1 :], *pairs[:n]) if p.facts["family"] != pair.facts["family"])
        yield pair, next(p for p in others if ideal_of(p)[pair.known].any())


def _on_grid_of(pair, other) -> list[np.ndarray]:
    """Target and recorded side of another model on the grid of a pair, with the intensity of the pair."""
    ideal = mirrored(np.where(pair.known, ideal_of(other), 0.0))
    target, data = (through(ideal, c) for c in (pair.finer_conditions(TARGET), recorded(pair)))
    size = np.sqrt(np.nanmean(pair.convolved[pair.known] ** 2) / (data[pair.known] ** 2).mean())
    return [size * target, size * data]


def summed(pair, other):
    """The sum of two models, as of a sample of two phases."""
    target, data = _on_grid_of(pair, other)
    return with_sides(pair, pair.finer[TARGET - 1] + target, pair.convolved + data)


def glued(pair, other):
    """One model on the one half of the first axis and another on the other half."""
    target, data = _on_grid_of(pair, other)
    half = np.arange(pair.ideal.shape[0]).reshape(-1, *[1] * (pair.ideal.ndim - 1)) < pair.ideal.shape[0] // 2
    return with_sides(pair, np.where(half, pair.finer[TARGET - 1], target), np.where(half, pair.convolved, data))


COMPOSITES = {"the sum of two models": summed, "two halves of two models": glued}


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
