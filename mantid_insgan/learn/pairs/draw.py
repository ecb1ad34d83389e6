"""One pair: a model, an instrument setting and a grid are drawn, and the cut is made without and with resolution."""

from __future__ import annotations

import warnings
from dataclasses import asdict

import numpy as np

from ...convolve import GridAccuracyWarning, convolve, ideal, sample_modes
from ...convolve.bins import Bins
from ...convolve.detectors import Detectors
from ...convolve.experiment import ExperimentSettings, measured_bins
from ...convolve.prepared import Prepared
from ...core.constants import FWHM_PER_SIGMA
from ...core.spectrum import Axis, Spectrum
from ...errors import InputError, RunFactError
from ...instruments import Resolution, Sample
from ...instruments.choppers import limits
from ...instruments.table import covariance_of_modulus, reach_of_modulus, setting_facts
from ...models.base import UnstableModelError
from .pair import Pair
from .recipe import KINDS, Recipe, settings_of

#: Attempts to draw a pair before giving up.
MAX_DRAWS = 100
#: Error allowed between the momenta at which the model is asked, see `sample_modes`.
_TOLERANCE = 0.04
#: Momenta at which the model is asked: so many modes in all, between the limits.
_MODES, _MOMENTA, _MOMENTA_OF_POWDER = 800_000, (8_000, 120_000), (50_000, 150_000)
#: Points of the mixture of 'covariance' in each bin: so many Gaussians in all, between the limits.
_GAUSSIANS, _POINTS = 2_500_000, (40, 256)
#: How many times finer than the resolution the target of remove-resolution is if not told; for every pair.
STATED_SHARPNESS = 3.0
#: Powers of ten between which another such number is drawn.
_SHARPNESS = (0.08, 0.95)
#: Triads of directions in (h, k, l); for hexagonal cells (gamma = 120 degrees) those that are perpendicular there.
_TRIADS = (((1, 0, 0), (0, 1, 0), (0, 0, 1)), ((1, 1, 0), (-1, 1, 0), (0, 0, 1)), ((1, 0, 1), (-1, 0, 1), (0, 1, 0)))
_HEXAGONAL = (((1, 0, 0), (-1, 2, 0), (0, 0, 1)), ((1, 1, 0), (-1, 1, 0), (0, 0, 1)))


class _Unfit(Exception):
    """A draw that has to be repeated; the text says why."""


def draw_pair(recipe: Recipe, index: int) -> Pair:
    """Pair number `index`; it depends on recipe and index alone.

    Raises
    ------
    InputError
        If `MAX_DRAWS` draws in a row were unfit.
    """
    rng = np.random.default_rng([recipe.seed, index])
    splits = recipe.splits
    share = np.array(list(splits.values()))
    split = list(splits)[rng.choice(len(share), p=share / share.sum())]
    choices = recipe.families(split)
    family = choices[rng.integers(len(choices))]
    kinds = KINDS[recipe.dimensions]
    kind = list(kinds)[rng.choice(len(kinds), p=list(kinds.values()))]
    rejected: dict[str, int] = {}
    for _ in range(MAX_DRAWS):
        try:
            pair = _draw(recipe, split, family, kind, rng)
        except (_Unfit, UnstableModelError, RunFactError) as problem:
            reason = str(problem) if isinstance(problem, _Unfit) else type(problem).__name__
            rejected[reason] = rejected.get(reason, 0) + 1
            continue
        unstable = rejected.pop("UnstableModelError", 0) + pair.facts["model"].pop("rejected")
        pair.facts.update(index=index, unstable_draws=unstable, rejected_draws=rejected)
        return pair
    raise InputError(
        f"{MAX_DRAWS} draws of pair {index} ({kind} of {family.name}) were all unfit: {rejected}",
        "use another seed (--seed), or more bins (--bins)",
    )


def _draw(recipe: Recipe, split: str, family, kind: str, rng) -> Pair:
    model = family.draw(rng)
    resolution = _draw_resolution(rng, settings_of(split), model)
    bins = _draw_grid(rng, recipe, kind, model, resolution)
    grid = bins.spectrum
    line = _draw_line(rng, grid, resolution)
    seed = int(rng.integers(2**31))
    source, coarse = _sampled(recipe, model, bins, seed)
    sharp = ideal(model, grid, resolution, seed=seed, source=source, bins=bins, **line)
    if not np.count_nonzero(np.nan_to_num(sharp.signal)) >= 0.02 * sharp.signal.size:
        raise _Unfit("the grid sees no modes")
    through = _through(recipe, model, bins, source, seed, line)
    blurred = through((1.0, 1.0))
    if not shows_enough(sharp.signal[blurred.valid], blurred.signal[blurred.valid]):
        raise _Unfit("most intensity lies outside the grid")
    settings = ExperimentSettings.draw(rng, temperature=model.temperature)
    bins = Bins(blurred, resolution, bins.reachable)
    seen = bins.from_columns(measured_bins(np.random.default_rng(seed), Detectors(bins), settings)) & blurred.valid
    if not seen.mean() > 0.25:
        raise _Unfit("detectors see too little of the grid")
    sharpness = _draw_sharpness(rng)
    facts = {
        "kind": kind,
        "split": split,
        "family": family.name,
        "setting": f"{resolution.instrument} {resolution.chopper}",
        "model": _plain(dict(model.facts) | {"temperature": model.temperature, "lattice": _lattice(model.lattice)}),
        "resolution": _plain(_resolution_facts(resolution)),
        "line": line,
        "sharpness": sharpness,
        "experiment": _plain(asdict(settings)),
        "axes": [_axis(a) for a in grid.axes],
        "errors": _plain(_errors(sharp, blurred) | {"modes": getattr(source, "error", None)})
        | {"coarse_grid_of_modes": coarse},
        "momenta": source.size,
    }
    return _pair(recipe, sharp, [through(s) for s in sharpness], blurred, seen, resolution, facts)


def _through(recipe: Recipe, model, bins: Bins, source, seed: int, line: dict):
    """A function that convolves the model with the resolution, as many times finer as it is told."""
    if recipe.method == "covariance":
        prepared = Prepared(bins, points=_points(bins.spectrum, model), source=source, seed=seed)
        return lambda sharpness: prepared.convolve(None, sharpness=sharpness, **line)
    options = {"method": recipe.method, "seed": seed, "source": source, **line}
    return lambda sharpness: convolve(model, bins.spectrum, bins.resolution.sharpened(*sharpness), **options)


def _draw_sharpness(rng) -> list[list[float]]:
    """How many times finer in momentum and energy than the resolution the further sides of a pair are: one of
    `STATED_SHARPNESS`, and one that is drawn, the same in both in half of the draws."""
    both = float(10 ** rng.uniform(*_SHARPNESS))
    apart = [float(10 ** (rng.uniform(*_SHARPNESS) * (rng.random() < 0.8))) for _ in range(2)]
    return [[STATED_SHARPNESS] * 2, [both, both] if rng.random() < 0.5 else apart]


def shows_enough(ideal: np.ndarray, convolved: np.ndarray) -> bool:
    """False where one of the two is empty or most of what the convolved slice shows has come in from outside."""
    least = ideal.min()
    inside, shown = float((ideal - least).sum()), float((convolved - least).sum())
    return np.isfinite(shown) and shown > 1e-3 * inside and inside > 0.2 * shown


def _sampled(recipe: Recipe, model, bins: Bins, seed: int):
    """Modes for both sides of the pair, and whether they stayed coarser than they should be."""
    limits = _MOMENTA_OF_POWDER if bins.powder else _MOMENTA
    momenta = int(np.clip(_MODES / _modes(model), *limits))
    method = "covariance" if recipe.method == "covariance" else "interpolated"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", GridAccuracyWarning)
        source = sample_modes(
            model,
            bins.spectrum,
            bins.resolution,
            bins=bins,
            method=method,
            seed=seed,
            tolerance=_TOLERANCE,
            momenta=momenta,
        )
    return source, bool(caught)


def _modes(model) -> int:
    return model.modes(np.zeros((1, 3)))[0].size


def _points(grid: Spectrum, model) -> int:
    columns = int(np.prod([len(a) for a in grid.axes if not a.is_energy]))
    return int(np.clip(_GAUSSIANS / columns / _modes(model), *_POINTS))


def _pair(recipe: Recipe, sharp, finer: list[Spectrum], blurred, seen: np.ndarray, resolution, facts: dict) -> Pair:
    of_bins = resolution.on_grid(blurred)

    def on_grid(values: np.ndarray) -> np.ndarray:
        return values.reshape(-1, *recipe.shape).astype(np.float32, copy=False)

    return Pair(
        on_grid(sharp.signal)[0],
        on_grid(np.stack([s.signal for s in finer])),
        on_grid(blurred.signal)[0],
        seen.reshape(recipe.shape),
        on_grid(of_bins.width),
        on_grid(of_bins.correlation),
        on_grid(of_bins.position()),
        facts,
    )


def _errors(sharp: Spectrum, blurred: Spectrum) -> dict:
    """Standard error of ideal and convolved, as shares of their root mean square."""

    def share(s: Spectrum) -> float:
        return float(np.sqrt(s.variance[s.valid].mean() / max((s.signal[s.valid] ** 2).mean(), 1e-300)))

    return {"ideal": share(sharp), "convolved": share(blurred)}


def _draw_resolution(rng, settings, model) -> Resolution:
    """A setting whose Ei lets the band be seen, with random frequency, sample, mosaic and width factor."""
    wanted = model.bandwidth() / rng.uniform(0.35, 1.0)
    order = rng.permutation(len(settings))[: max(1, (len(settings) + 1) // 2)]
    away = [max(np.log(settings[i][3] / wanted), np.log(wanted / settings[i][4]), 0.0) for i in order]
    instrument, chopper, frequency, low, high = settings[order[int(np.argmin(away))]]
    bottom, top = limits(instrument, chopper).frequency[0]
    return Resolution(
        instrument,
        float(np.clip(wanted, low, high)),
        chopper,
        float(np.clip(frequency * rng.choice([0.5, 0.75, 1.0, 1.25]), bottom, top)),
        width_factor=float(rng.uniform(1.0, 1.6)),
        sample=Sample(
            ("cuboid", "cylinder", "sphere")[rng.integers(3)],
            *(float(x) for x in 10 ** rng.uniform(-2.5, -1.5, 3)),
        ),
        mosaic=float(rng.uniform(0.0, 1.0)),
        lattice=model.lattice,
    )


def _draw_line(rng, grid: Spectrum, resolution: Resolution) -> dict:
    """Of the models 40 % have sharp modes, 35 % an intrinsic width of up to the resolution's own, the others one of up
    to six times that."""
    kind = rng.random()
    if kind < 0.4:
        return {}
    middle = float(grid.axes[grid.energy_axis].centers.mean())
    times = rng.uniform(0.1, 1.0) if kind < 0.75 else 10 ** rng.uniform(0.0, 0.8)
    fwhm = times * float(resolution.fwhm_energy(min(middle, 0.95 * resolution.ei)))
    return {"fwhm": float(fwhm), "shape": "gaussian" if rng.random() < 0.5 else "dho"}


def _draw_grid(rng, recipe: Recipe, kind: str, model, resolution: Resolution) -> Bins:
    """Axes of the cut, all integrated ones included, the energy last; bins above the kinematic limit not valid."""
    energy = _energy_axis(rng, recipe.shape[-1], kind, model.bandwidth(), resolution)
    for _ in range(20):
        low, high = reach_of_modulus(resolution, float(np.clip(energy.centers.mean(), 0, 0.9 * resolution.ei)))
        modulus = rng.uniform(max(low, 0.2), min(0.9 * high, 6.0))
        place = np.array([modulus]), np.array([min(float(energy.centers.mean()), 0.9 * resolution.ei)])
        fwhm_q = FWHM_PER_SIGMA * float(np.sqrt(covariance_of_modulus(resolution, *place)[0, 0, 0]))
        if kind.startswith("powder"):
            momenta = [_powder_axis(rng, recipe.bins, kind, modulus, fwhm_q)]
        else:
            momenta = _crystal_axes(rng, recipe.bins, kind, model.lattice, modulus, fwhm_q)
        grid = _empty([*momenta, energy], model, resolution)
        try:
            bins = Bins(grid, resolution)
        except RunFactError:
            continue
        if bins.reachable.mean() > 0.5:
            return bins
    raise _Unfit("the grid lies outside the kinematic range")


def _empty(axes: list[Axis], model, resolution: Resolution) -> Spectrum:
    """A grid without data, valid below 97 % of Ei."""
    zeros = np.zeros([len(a) for a in axes])
    valid = np.broadcast_to(axes[-1].centers < 0.97 * resolution.ei, zeros.shape)
    return Spectrum(zeros, zeros, tuple(axes), valid=valid)


def _energy_axis(rng, bins: int, kind: str, band: float, resolution: Resolution) -> Axis:
    """Bins of the resolution's width to an eighth of it; one wide bin inside the band where energy is integrated."""
    ei = resolution.ei
    fwhm = float(resolution.fwhm_energy(0.4 * min(band, ei)))
    if kind in ("plane", "momentum-cut"):
        centre = rng.uniform(0.05, 0.95) * min(band, 0.9 * ei)
        half = 0.5 * fwhm * 10 ** rng.uniform(-0.2, 0.6)
        high = min(centre + half, 0.97 * ei)
        return Axis("DeltaE", [min(centre - half, high - fwhm), high], "meV")
    step = float(np.clip(fwhm / 10 ** rng.uniform(-0.2, 0.9), 0.25 * min(band, ei) / bins, 1.2 * ei / bins))
    latest = max(min(band, ei) - 0.6 * bins * step, 0.0)
    start = rng.uniform(-0.1 * ei, max(latest, -0.05 * ei))
    return Axis("DeltaE", start + step * np.arange(bins + 1), "meV")


def _powder_axis(rng, bins: int, kind: str, modulus: float, fwhm_q: float) -> Axis:
    if kind == "powder-cut":
        half = 0.5 * fwhm_q * 10 ** rng.uniform(0.0, 1.0)
        return Axis("|Q|", [max(modulus - half, 0.01), modulus + half], "Angstrom^-1")
    step = _momentum_step(rng, fwhm_q, bins)
    start = max(modulus - rng.uniform(0.2, 0.8) * bins * step, 0.01)
    return Axis("|Q|", start + step * np.arange(bins + 1), "Angstrom^-1")


def _momentum_step(rng, fwhm_q: float, bins: int) -> float:
    """A bin in 1/Angstrom: as wide as the resolution to a sixth of it, and the whole no longer than 4 1/Angstrom."""
    return float(min(fwhm_q / 10 ** rng.uniform(-0.2, 0.8), 4.0 / bins))


def _crystal_axes(rng, bins: int, kind: str, lattice, modulus: float, fwhm_q: float) -> list[Axis]:
    """Three momentum axes in r.l.u. about a place of this |Q|, those of the cut open and the others integrated."""
    triads = _HEXAGONAL if lattice.gamma == 120 else _TRIADS
    triad = np.array(triads[rng.integers(len(triads))])[rng.permutation(3)]
    lengths = np.linalg.norm(2 * np.pi * triad @ lattice.b_matrix().T, axis=1)  # 1/Angstrom for one unit
    centre = _centre(rng, triad, lattice, modulus)
    wanted = {"energy-cut": 0, "momentum-cut": 1, "path": 1, "plane": 2, "volume": 2}[kind]
    # The first two axes are laid into the horizontal plane; now and then an open axis stands upright.
    opened = rng.permutation(3)[:wanted] if rng.random() < 0.3 else np.arange(wanted)
    axes = []
    for i in range(3):
        if i in opened:
            step = _momentum_step(rng, fwhm_q, bins) / lengths[i]
            edges = centre[i] + step * (np.arange(bins + 1) - rng.uniform(0.3, 0.7) * bins)
        else:
            half = 0.5 * fwhm_q * 10 ** rng.uniform(-0.3, 0.7) / lengths[i]
            edges = [centre[i] - half, centre[i] + half]
        axes.append(Axis(_axis_name(triad[i]), edges, "r.l.u.", "HKL"))
    return axes


def _centre(rng, triad: np.ndarray, lattice, modulus: float) -> np.ndarray:
    """Coordinates along the triad of a place of about this |Q|; a point of high symmetry in half of the draws."""
    direction = rng.normal(size=3) * [1, 1, 0.4]  # mostly near the horizontal plane, where the detectors are
    q = modulus * direction / np.linalg.norm(direction)
    hkl = np.linalg.solve(2 * np.pi * lattice.b_matrix(), q)
    if rng.random() < 0.5:
        rounded = np.round(2 * hkl) / 2
        hkl = rounded if rounded.any() else hkl
    return hkl @ np.linalg.inv(triad)


def _axis_name(direction: np.ndarray) -> str:
    letter = "HKL"[int(np.flatnonzero(direction)[-1])]
    parts = ["0" if n == 0 else {1: "", -1: "-"}.get(int(n), str(int(n))) + letter for n in direction]
    return f"[{','.join(parts)}]"


def _axis(axis: Axis) -> dict:
    return {
        "name": axis.name,
        "unit": axis.unit,
        "frame": axis.frame,
        "low": float(axis.edges[0]),
        "high": float(axis.edges[-1]),
        "bins": len(axis),
    }


def _lattice(lattice) -> list[float]:
    return [lattice.a, lattice.b, lattice.c, lattice.alpha, lattice.beta, lattice.gamma]


def _resolution_facts(resolution: Resolution) -> dict:
    return {
        **setting_facts(resolution),
        "time_model": resolution.time_model,
        "mosaic": resolution.mosaic,
        "sample": asdict(resolution.sample),
    }


def _plain(value):
    """Numbers and lists that JSON knows."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(v) for v in value]
    return value.item() if isinstance(value, np.generic) else value
