"""Simulates an experiment from a convolved spectrum: background, gaps, edges and counts.

Levels are in units of the root mean square of the convolved signal over its valid bins, so that one prior is suitable
for every model. S is d2sigma/dOmega/dE x ki/kf, as everywhere in the package.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from ..core.constants import BOLTZMANN, FWHM_PER_SIGMA
from ..core.spectrum import Spectrum
from ..errors import InputError
from ..instruments import Resolution
from .bins import Bins
from .detectors import Detectors

#: Places across an energy bin.
_ACROSS_ENERGY = 7
#: Share of spectra drawn for training with the gaps of detectors; the others have masks of any shape.
_OWN_GAPS = 0.4


@dataclass(frozen=True)
class ExperimentSettings:
    """Settings of a simulated experiment.

    Parameters
    ----------
    counts : float
        Expected counts at E = 0 in a bin whose signal is the level (its root mean square).
    flat : float
        Background that is constant in S, in levels.
    time_independent : float
        Background that is constant in time of flight: its value at E = 0, in levels.
    elastic : float
        Height of the incoherent elastic line, in levels.
    tail : float
        Fraction of the elastic neutrons that are scattered a second time in the sample environment.
    tail_path : float
        Mean additional path of those neutrons, metre.
    displacement : float
        Mean-square displacement of the scatterers, Angstrom^2: the Debye-Waller factor is exp(-Q^2 u^2).
    phonons : float
        Root mean square of the phonon scattering over the valid bins, in levels.
    phonon_cutoff : float
        Debye energy, meV.
    temperature : float
        Kelvin.
    aluminium : float
        Height of the (111) powder line of aluminium, in levels.
    other : float
        Height of the elastic line of another repetition of the choppers, in levels.
    repetition : float
        Where that is recorded, as a fraction of Ei.
    two_theta : tuple of (float, float)
        Scattering angles between which there are detectors, degrees.
    gaps : tuple of (float, float)
        Ranges of scattering angle without detectors, degrees.
    dead : float
        Fraction of the bins that are lost for other reasons (dead tubes, masked pixels).
    largest_transfer : float
        Fraction of Ei up to which energy transfers are kept.

    Raises
    ------
    InputError
        If a number is negative, or the counts are 0.
    """

    counts: float = 100.0
    flat: float = 0.0
    time_independent: float = 0.0
    elastic: float = 0.0
    tail: float = 0.0
    tail_path: float = 0.1
    displacement: float = 0.005
    phonons: float = 0.0
    phonon_cutoff: float = 30.0
    temperature: float = 10.0
    aluminium: float = 0.0
    other: float = 0.0
    repetition: float = 0.5
    two_theta: tuple[float, float] = (0.0, 180.0)
    gaps: tuple[tuple[float, float], ...] = ()
    dead: float = 0.0
    largest_transfer: float = 0.97

    def __post_init__(self):
        numbers = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("two_theta", "gaps")}
        wrong = [name for name, value in numbers.items() if not (math.isfinite(value) and value >= 0)]
        wrong += [name for name in ("counts", "tail_path", "phonon_cutoff") if numbers[name] == 0]
        if wrong:
            raise InputError(
                f"the experiment setting {wrong[0]!r} is {numbers[wrong[0]]:g}",
                "give a number that is not negative; counts, tail_path and phonon_cutoff above 0",
            )
        for name in ("tail", "dead", "repetition", "largest_transfer"):
            if numbers[name] > 1:
                raise InputError(f"the experiment setting {name!r} is {numbers[name]:g}", "give a share from 0 to 1")

    @classmethod
    def from_facts(cls, facts: dict) -> ExperimentSettings:
        """Settings from JSON, where tuples are lists."""
        ranges = {"two_theta": tuple(facts["two_theta"]), "gaps": tuple(map(tuple, facts["gaps"]))}
        return cls(**facts | ranges)

    @classmethod
    def draw(cls, rng: np.random.Generator, *, temperature: float = 10.0) -> ExperimentSettings:
        """Settings drawn from the prior: each component is present in a part of the draws, over decades of strength.

        Parameters
        ----------
        rng : numpy.random.Generator
            The same state gives the same settings.
        temperature : float
            Of the sample, Kelvin.
        """
        sometimes = lambda share, low, high: float((rng.random() < share) * 10 ** rng.uniform(low, high))  # noqa: E731
        (apart,) = rng.spawn(1)  # leaves the stream of all else as it is
        low_angle, high_angle = rng.uniform(2.5, 6.0), rng.uniform(60.0, 140.0)
        gaps = []
        for _ in range(rng.integers(0, 5)):
            start = rng.uniform(low_angle, high_angle)
            gaps.append((float(start), float(start + 10 ** rng.uniform(-0.4, 0.6))))
        return cls(
            counts=float(10 ** rng.uniform(0.3, 3.5)),
            flat=sometimes(0.7, -2, 0.3),
            time_independent=sometimes(0.5, -2.5, -0.5),
            elastic=sometimes(0.8, 0, 4.0),
            tail=sometimes(0.7, -2.5, -0.8),
            tail_path=float(10 ** rng.uniform(-1.5, -0.3)),
            displacement=float(rng.uniform(0.002, 0.015)),
            phonons=sometimes(0.6, -1.7, 0.0),
            phonon_cutoff=float(10 ** rng.uniform(1.0, 1.9)),
            temperature=float(temperature),
            aluminium=sometimes(0.5, 0, 2.0),
            other=float((apart.random() < 0.15) * 10 ** apart.uniform(-0.5, 1.0)),
            repetition=float(apart.uniform(0.1, 0.95)),
            two_theta=(float(low_angle), float(high_angle)),
            gaps=tuple(gaps),
            dead=sometimes(0.5, -3, -1.3),
            largest_transfer=float(rng.uniform(0.85, 0.97)),
        )


def make_experiment(
    convolved: Spectrum,
    resolution: Resolution,
    settings: ExperimentSettings,
    *,
    seed: int | list[int] = 0,
    seen: np.ndarray | None = None,
) -> Spectrum:
    """Simulate the measurement of a convolved spectrum.

    Parameters
    ----------
    convolved : Spectrum
        From `mantid_insgan.convolve.convolve`.
    resolution : Resolution
        The one used for the convolution.
    settings : ExperimentSettings
    seed : int or list of int
        Seed of counts and dead bins.
    seen : ndarray of bool, shape of `convolved`, optional
        Bins that are measured, if known; otherwise they follow from the settings.

    Returns
    -------
    Spectrum
        In the unit of `convolved`, background included; ``num_events`` are the counts N, and the variance is that of
        N counts (of one count if N = 0). Bins in gaps or outside the kinematic range are NaN and not valid.

    Raises
    ------
    InputError
        If no valid bin has a signal.
    """
    rng = np.random.default_rng(seed)
    level = _level(convolved)
    bins = Bins(convolved, resolution)
    detectors = Detectors(bins)
    valid = bins.to_columns(convolved.valid)
    mean = (
        bins.to_columns(np.where(convolved.valid, convolved.signal, 0.0))
        + background(detectors, settings, level, valid)[1]
    )
    if seen is None:
        seen = valid & measured_bins(rng, detectors, settings)
    else:
        seen = valid & bins.to_columns(seen)
    values = count(rng, np.where(seen, mean, 0.0), detectors.exposure(settings.counts / level))
    signal, variance, counts = (bins.from_columns(a) for a in values)
    seen = bins.from_columns(seen)
    signal, variance = (np.where(seen, a, np.nan) for a in (signal, variance))
    return convolved.replace(signal=signal, variance=variance, num_events=counts, masked=None, title="experiment-like")


def count(
    rng: np.random.Generator, mean: np.ndarray, per_count: np.ndarray, *, subtracted: float = 0.0, least: float = 1.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Poisson counts: signal, variance and counts, each of the shape of `mean`.

    Parameters
    ----------
    rng : numpy.random.Generator
    mean : ndarray
        Expected signal, in any unit.
    per_count : ndarray, broadcast to `mean`
        Expected counts per unit of signal.
    subtracted : float
        Background that is included in the counts and then subtracted, in the unit of `mean`: its noise remains.
    least : float
        Number of counts whose variance is given to bins without counts; 0 leaves such bins without an error, as in some
        reductions.
    """
    counts = rng.poisson(np.maximum(mean + subtracted, 0.0) * per_count).astype(float)
    return counts / per_count - subtracted, np.maximum(counts, least) / per_count**2, counts


#: Sides of a pair: without the resolution, and as recorded; others are how many times finer than recorded they are.
IDEAL, RECORDED = None, (1.0, 1.0)


def background(
    detectors: Detectors,
    settings: ExperimentSettings,
    level: float,
    valid: np.ndarray,
    sides: Sequence[tuple[float, float] | None] = (IDEAL, RECORDED),
) -> tuple[np.ndarray, ...]:
    """The background without the resolution, and as recorded.

    Without the resolution, the elastic line and the aluminium lines are in the energy bin that contains E = 0, with the
    recorded area; the tail of delayed neutrons starts there, and the aluminium lines are as narrow in |Q| as the bins
    allow (see `aluminium_lines`). The smooth background is the same in both.

    Parameters
    ----------
    detectors : Detectors
    settings : ExperimentSettings
    level : float
        Unit of the strengths in the settings.
    valid : ndarray of bool, shape (M, K)
        Bins over which the root mean square of the phonons is taken.
    sides : sequence of (momentum, energy) or None
        For each side how many times finer than recorded it is, as `Resolution.sharpened` takes it, or `IDEAL`.

    Returns
    -------
    tuple of ndarray, shape (M, K)
        One for each side, in the unit of `level`.
    """
    smooth = np.full(detectors.shape, settings.flat * level)
    if settings.time_independent:
        smooth += settings.time_independent * level * constant_in_time(detectors.edges, detectors.resolution.ei)
    if settings.phonons:
        phonons = one_phonon(detectors, settings)
        size = math.sqrt((phonons[valid] ** 2).mean()) if valid.any() else 0.0
        smooth += phonons * (settings.phonons * level / size if size > 0 else 0.0)
    lines = elastic_lines(detectors, settings, level, sides)
    repetitions = other_repetitions(detectors, settings, level, sides)
    return tuple(smooth + line + other for line, other in zip(lines, repetitions, strict=True))


def elastic_lines(detectors: Detectors, settings: ExperimentSettings, level: float, sides) -> list[np.ndarray | float]:
    """The elastic line and the powder lines of aluminium on each of `sides` of `background`, shape (M, K), or 0."""
    if not (settings.elastic or settings.aluminium):
        return [0.0] * len(sides)
    height = np.zeros(len(detectors.across))
    if settings.elastic:
        height += settings.elastic * np.exp(-settings.displacement * detectors.across**2).mean(axis=1)
    found = []
    for side in sides:
        if side is IDEAL:
            energy = detectors.line.sharp(settings.tail, settings.tail_path)
        else:
            energy = detectors.line_at(side).recorded(settings.tail, settings.tail_path)
        rings = settings.aluminium and detectors.aluminium_at(math.inf if side is IDEAL else side[0])
        found.append((height + settings.aluminium * rings)[:, None] * (energy * detectors.line.fwhm * level))
    return found


def other_repetitions(detectors: Detectors, settings: ExperimentSettings, level: float, sides) -> list:
    """Lines of constant energy: the elastic lines of neutrons of other energies that a chopper lets through.

    They are recorded at ``settings.repetition`` of Ei, nearly as wide as the resolution is there, and are the same on
    all sides, since what was recorded elsewhere is not of this energy's resolution.
    """
    from scipy.special import ndtr

    if not settings.other:
        return [0.0] * len(sides)
    energy = settings.repetition * detectors.resolution.ei
    sigma = float(detectors.resolution.fwhm_energy(energy)) / FWHM_PER_SIGMA
    area = math.sqrt(2 * math.pi) * sigma * np.diff(ndtr((detectors.edges - energy) / sigma))
    line = settings.other * level * np.broadcast_to(area / np.diff(detectors.edges), detectors.shape)
    return [line] * len(sides)


def constant_in_time(edges: np.ndarray, ei: float) -> np.ndarray:
    """A background constant in time of flight, as it appears in S, relative to E = 0; shape (K,), mean over the bin.

    Ef is proportional to 1/t^2, so that dt/dE is proportional to Ef^(-3/2); multiplied by ki/kf this gives
    (Ei / Ef)^2 with Ef = Ei - E. Clamped for Ef below 1 % of Ei.
    """
    ef = np.maximum(ei - edges, 0.01 * ei)
    middle = np.maximum(ei - 0.5 * (edges[1:] + edges[:-1]), 0.01 * ei)
    # Integral of (Ei/Ef)^2 over the bin is Ei^2 (1/Ef_high - 1/Ef_low).
    inside = ef[:-1] > ef[1:]
    return np.where(inside, ei**2 / (ef[1:] * ef[:-1]), (ei / middle) ** 2)


def one_phonon(detectors: Detectors, settings: ExperimentSettings) -> np.ndarray:
    """Incoherent scattering by one phonon, shape (momentum bins, energies), arbitrary scale.

    Q^2 exp(-Q^2 u^2) g(E) (n(E) + 1) / E with the Debye density of states g(E) ~ E^2 below the cutoff (Squires, ch. 3),
    on both sides of E = 0; the edge at the cutoff has the width of the resolution.
    """
    from scipy.special import erfc

    edges, resolution = detectors.edges, detectors.resolution
    steps = (np.arange(_ACROSS_ENERGY) + 0.5) / _ACROSS_ENERGY
    energy = edges[:-1, None] + np.diff(edges)[:, None] * steps
    thermal = BOLTZMANN * max(settings.temperature, 0.1)
    away = np.where(np.abs(energy) < 1e-6, 1e-6, energy)
    with np.errstate(over="ignore"):
        occupied = away / -np.expm1(-away / thermal)  # E (n + 1), which is g(n + 1)/E
    sigma = float(resolution.fwhm_energy(min(settings.phonon_cutoff, 0.97 * resolution.ei))) / FWHM_PER_SIGMA
    profile = (occupied * 0.5 * erfc((np.abs(energy) - settings.phonon_cutoff) / (math.sqrt(2) * sigma))).mean(axis=1)
    squared = detectors.modulus**2
    return squared * np.exp(-settings.displacement * squared) * profile


def measured_bins(rng: np.random.Generator, detectors: Detectors, settings: ExperimentSettings) -> np.ndarray:
    """Measured bins, shape (M, K), bool: `seen_by_detectors` without randomly drawn dead bins."""
    return seen_by_detectors(detectors, settings) & (rng.random(detectors.shape) >= settings.dead)


def seen_by_detectors(detectors: Detectors, settings: ExperimentSettings) -> np.ndarray:
    """Bins covered by detectors and in the kinematic range, shape (momentum bins, energies), bool.

    The scattering angle follows from |Q|^2 = ki^2 + kf^2 - 2 ki kf cos(2 theta).
    """
    beam, energy, kf = detectors.resolution.beam, detectors.centres, detectors.kf
    cosine = (beam.ki**2 + kf**2 - detectors.modulus**2) / (2 * beam.ki * kf)
    angle = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    low, high = settings.two_theta
    seen = detectors.reachable & (np.abs(cosine) <= 1) & (angle >= low) & (angle <= high)
    for start, stop in settings.gaps:
        seen &= (angle < start) | (angle > stop)
    return seen & (energy <= settings.largest_transfer * beam.ei)


def draw_masks(rng: np.random.Generator, grid: tuple[int, ...]) -> np.ndarray:
    """Bins left by a random mask of any shape, unlike detector gaps; shape `grid`, energy last, bool.

    All bins in 45 % of the draws; otherwise up to three boxes of up to a third of each axis are masked, in half of the
    draws an edge along the first axis that depends on the last, and in two fifths up to 15 % of single bins.
    """
    cut = np.zeros(grid, bool)
    if rng.random() < 0.45:
        return ~cut
    for _ in range(rng.integers(0, 4)):
        corner, size = rng.integers(0, grid), rng.integers(1, 2 + np.array(grid) // 3)
        cut[tuple(slice(c, c + s) for c, s in zip(corner, size, strict=True))] = True
    if len(grid) > 1 and rng.random() < 0.5:
        edge = rng.uniform(0, 0.3) + rng.uniform(-0.3, 0.5) * np.linspace(0, 1, grid[-1]) ** rng.uniform(0.5, 2)
        rows = np.linspace(0, 1, grid[0]).reshape(-1, *[1] * (len(grid) - 1))
        cut |= (rows < edge) if rng.random() < 0.5 else (rows > 1 - edge)
    if rng.random() < 0.4:
        cut |= rng.random(grid) < rng.uniform(0, 0.15)
    return ~cut


def draw_seen(rng: np.random.Generator, detectors: Detectors, settings: ExperimentSettings, grid) -> np.ndarray:
    """Measured bins, shape `grid`, energy last: with the detector gaps of the settings, or a mask (`draw_masks`)."""
    if rng.random() < _OWN_GAPS:
        return measured_bins(rng, detectors, settings).reshape(grid)
    return draw_masks(rng, grid)


def draw_counted(
    rng: np.random.Generator, detectors: Detectors, mean: np.ndarray, magnet: np.ndarray, peak_counts: float
) -> tuple[np.ndarray, np.ndarray]:
    """Counts of `mean` at a given exposure: signal and standard error, in the unit of `mean`.

    The counts are the exposure times kf/ki times the number of pixels that contribute, which varies by up to a half
    along the first axis of slices and volumes. In 40 % of the draws a flat background of up to half the peak was
    included in the counts and then subtracted; in half of the draws bins without counts have no error.

    Parameters
    ----------
    rng : numpy.random.Generator
    detectors : Detectors
    mean : ndarray, shape (*grid), energy last
        Expected signal, background included; 0 in bins that are not measured.
    magnet : ndarray, shape (*grid)
        The same without background, which sets the exposure.
    peak_counts : float
        Expected counts in the brightest bins of `magnet` (the 99.7th percentile) with an average number of pixels.
    """
    grid = mean.shape
    exposure = np.broadcast_to(detectors.exposure(1.0), detectors.shape).reshape(grid)
    peak = np.percentile(magnet * exposure, 99.7) + 1e-9
    along = np.linspace(0, 1, grid[0]).reshape(-1, *[1] * (len(grid) - 1))
    pixels = 1 + 0.5 * np.sin(2 * np.pi * (rng.uniform(0, 2) * along + rng.random())) * (len(grid) > 1)
    subtracted = (rng.random() < 0.4) * rng.uniform(0, 0.5) * np.percentile(magnet, 99.7)
    least = 1.0 if rng.random() < 0.5 else 0.0
    signal, variance, _ = count(rng, mean, exposure * pixels * peak_counts / peak, subtracted=subtracted, least=least)
    return signal, np.sqrt(variance)


def _level(convolved: Spectrum) -> float:
    values = convolved.signal[convolved.valid]
    level = math.sqrt((values**2).mean()) if values.size else 0.0
    if not level > 0:
        raise InputError(
            "the convolved spectrum has no signal in any valid bin, so counts cannot be scaled to it",
            "choose a grid that sees the modes of the model",
        )
    return level
