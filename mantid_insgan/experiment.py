"""From a convolved spectrum to what a detector would have seen: background, gaps, edges and counts.

Levels are in units of the root mean square of the convolved signal over its valid bins, so that one prior serves every
model. S here is d2sigma/dOmega/dE x ki/kf, as everywhere in the package.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np

from .convolve.bins import Bins
from .errors import InputError
from .excitations import BOLTZMANN, quasi_random
from .resolution import Resolution
from .resolution.table import covariance_of_modulus
from .resolution.vanadium import ElasticLine
from .spectrum import Spectrum

#: Lattice parameter of aluminium at 295 K, Angstrom (International Tables; fcc, one atom on each lattice point).
ALUMINIUM_CELL = 4.0495
#: Mean-square displacement along one direction of aluminium at 295 K, Angstrom^2 (B = 8 pi^2 u^2 = 0.86 Angstrom^2).
ALUMINIUM_DISPLACEMENT = 0.86 / (8 * np.pi**2)
#: Places across a momentum bin, and across an energy bin, at which backgrounds are worked out.
_ACROSS_BIN, _ACROSS_ENERGY = 16, 7


@dataclass(frozen=True)
class ExperimentSettings:
    """What an experiment adds to a convolved spectrum and takes from it.

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
        Share of the elastic neutrons that are scattered a second time in the sample environment.
    tail_path : float
        Mean further path of those neutrons, metre.
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
    two_theta : tuple of (float, float)
        Scattering angles between which there are detectors, degrees.
    gaps : tuple of (float, float)
        Ranges of scattering angle without detectors, degrees.
    dead : float
        Share of the bins that are lost for other reasons (dead tubes, masked pixels).
    largest_transfer : float
        Share of Ei up to which energy transfers are kept.

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
        for name in ("tail", "dead", "largest_transfer"):
            if numbers[name] > 1:
                raise InputError(f"the experiment setting {name!r} is {numbers[name]:g}", "give a share from 0 to 1")

    @classmethod
    def draw(cls, rng: np.random.Generator, *, temperature: float = 10.0) -> ExperimentSettings:
        """Settings from the prior: each ingredient is there in a part of the draws, over decades of strength.

        Parameters
        ----------
        rng : numpy.random.Generator
            The same state gives the same settings.
        temperature : float
            Of the sample, Kelvin.
        """
        sometimes = lambda share, low, high: float((rng.random() < share) * 10 ** rng.uniform(low, high))  # noqa: E731
        low_angle, high_angle = rng.uniform(2.5, 6.0), rng.uniform(60.0, 140.0)
        gaps = []
        for _ in range(rng.integers(0, 5)):
            start = rng.uniform(low_angle, high_angle)
            gaps.append((float(start), float(start + 10 ** rng.uniform(-0.4, 0.6))))
        return cls(
            counts=float(10 ** rng.uniform(0.3, 3.5)),
            flat=sometimes(0.7, -2, 0.3),
            time_independent=sometimes(0.5, -2.5, -0.5),
            elastic=sometimes(0.8, 0, 2.5),
            tail=sometimes(0.7, -2.5, -0.8),
            tail_path=float(10 ** rng.uniform(-1.5, -0.3)),
            displacement=float(rng.uniform(0.002, 0.015)),
            phonons=sometimes(0.6, -1.7, 0.0),
            phonon_cutoff=float(10 ** rng.uniform(1.0, 1.9)),
            temperature=float(temperature),
            aluminium=sometimes(0.5, 0, 2.0),
            two_theta=(float(low_angle), float(high_angle)),
            gaps=tuple(gaps),
            dead=sometimes(0.5, -3, -1.3),
            largest_transfer=float(rng.uniform(0.85, 0.97)),
        )


def make_experiment(
    convolved: Spectrum, resolution: Resolution, settings: ExperimentSettings, *, seed: int | list[int] = 0
) -> Spectrum:
    """What a detector would have seen of a convolved spectrum.

    Parameters
    ----------
    convolved : Spectrum
        As `mantid_insgan.convolve.convolve` gives it.
    resolution : Resolution
        The same.
    settings : ExperimentSettings
    seed : int or list of int
        Of counts and dead bins.

    Returns
    -------
    Spectrum
        In the unit of `convolved`, background included; ``num_events`` are the counts N, and the variance is that of
        N counts (of one count where there is none). Bins in gaps or outside the kinematic range are NaN and not valid.

    Raises
    ------
    InputError
        If no valid bin has a signal.
    """
    rng = np.random.default_rng(seed)
    level = _level(convolved)
    bins = Bins(convolved, resolution)
    mean = bins.to_columns(np.where(convolved.valid, convolved.signal, 0.0)) + background(
        bins, settings, level, bins.to_columns(convolved.valid)
    )
    seen = bins.to_columns(convolved.valid) & seen_by_detectors(bins, settings)
    seen &= rng.random(seen.shape) >= settings.dead
    # A bin of S is counted kf/ki times as often (Squires, ch. 1): the exposure falls with the energy transfer.
    per_count = settings.counts / level * resolution.beam.kf(bins.energy.centers) / resolution.beam.ki
    counts = rng.poisson(np.where(seen, np.maximum(mean, 0.0) * per_count, 0.0)).astype(float)
    signal = np.where(seen, counts / per_count, np.nan)
    variance = np.where(seen, np.maximum(counts, 1.0) / per_count**2, np.nan)
    signal, variance, counts = (bins.from_columns(a) for a in (signal, variance, counts))
    return convolved.replace(signal=signal, variance=variance, num_events=counts, masked=None, title="experiment-like")


def background(bins: Bins, settings: ExperimentSettings, level: float, valid: np.ndarray) -> np.ndarray:
    """All that is added to the signal, shape (momentum bins, energies), in the unit of `level`."""
    shape = (math.prod(bins.shape), len(bins.energy))
    total = np.full(shape, settings.flat * level)
    beam = bins.resolution.beam
    if settings.time_independent:
        total += settings.time_independent * level * constant_in_time(bins.energy.edges, beam.ei)
    if settings.elastic or settings.aluminium:
        line, tail = elastic_profiles(bins.resolution, bins.energy.edges, settings.tail_path)
        energy = (1 - settings.tail) * line + settings.tail * tail
        energy *= float(bins.resolution.fwhm_energy(0.0)) * level
        modulus = modulus_across(bins)
        total += settings.elastic * np.exp(-settings.displacement * modulus**2).mean(axis=1)[:, None] * energy
        if settings.aluminium:
            total += settings.aluminium * aluminium_lines(bins.resolution, modulus).mean(axis=1)[:, None] * energy
    if settings.phonons:
        phonons = one_phonon(bins, settings)
        size = math.sqrt((phonons[valid] ** 2).mean()) if valid.any() else 0.0
        total += phonons * (settings.phonons * level / size if size > 0 else 0.0)
    return total


def constant_in_time(edges: np.ndarray, ei: float) -> np.ndarray:
    """A background constant in time of flight, as it appears in S, relative to E = 0; shape (K,), mean over the bin.

    Ef goes as 1/t^2, so that dt/dE goes as Ef^(-3/2); times ki/kf it is (Ei / Ef)^2 with Ef = Ei - E. Clamped where
    less than 1 % of Ei is left.
    """
    ef = np.maximum(ei - edges, 0.01 * ei)
    middle = np.maximum(ei - 0.5 * (edges[1:] + edges[:-1]), 0.01 * ei)
    # Integral of (Ei/Ef)^2 over the bin is Ei^2 (1/Ef_high - 1/Ef_low).
    inside = ef[:-1] > ef[1:]
    return np.where(inside, ei**2 / (ef[1:] * ef[:-1]), (ei / middle) ** 2)


def elastic_profiles(resolution: Resolution, edges: np.ndarray, tail_path: float) -> tuple[np.ndarray, np.ndarray]:
    """The elastic line and its tail in energy, each of area 1, mean over bins: shape (K,), 1/meV.

    The line has the shapes of pulse and pixel (`ElasticLine`), which give it the tail of the moderator. A neutron that
    is scattered again in the sample environment flies a path l more (exponential, mean `tail_path`); it arrives late
    and is recorded at E = Ei (1 - (L2 / (L2 + l))^2), L2 from sample to detector: a tail at energy loss.
    """
    line = ElasticLine(resolution)
    reach = 8.0 * line.fwhm()
    offsets = np.linspace(-reach, reach, 801)
    weights = line(offsets)
    weights /= weights.sum()
    step = offsets[1] - offsets[0]
    cumulated = np.concatenate([[0.0], np.cumsum(weights)])
    middle = np.diff(np.interp(edges, np.append(offsets, offsets[-1] + step) - 0.5 * step, cumulated))
    delayed = np.zeros(len(edges) - 1)
    for offset, weight in zip(offsets[::8], np.add.reduceat(weights, np.arange(0, 801, 8)), strict=True):
        delayed += weight * np.diff(_delayed_share(edges - offset, resolution, tail_path))
    return middle / np.diff(edges), delayed / np.diff(edges)


def _delayed_share(energy: np.ndarray, resolution: Resolution, tail_path: float) -> np.ndarray:
    """Share of the delayed neutrons recorded below an energy (meV)."""
    left = np.clip(1 - energy / resolution.ei, 1e-6, 1.0)
    path = resolution.beam.sample_detector * (1 / np.sqrt(left) - 1)
    return -np.expm1(-path / tail_path)


def aluminium_lines(resolution: Resolution, modulus: np.ndarray) -> np.ndarray:
    """Debye-Scherrer lines of aluminium at |Q| in 1/Angstrom, relative to the peak of (111); shape of `modulus`.

    S of a powder is the sum over reflections of multiplicity x exp(-Q^2 u^2) delta(Q - tau) / tau^2 (Squires, ch. 3;
    one atom on each lattice point of an fcc lattice, so h, k, l all even or all odd). Each line has the width in |Q|
    of the elastic resolution.
    """
    tau, weight = _aluminium_reflections(2 * resolution.beam.ki)
    if not tau.size:
        return np.zeros(modulus.shape)
    sigma = np.sqrt(covariance_of_modulus(resolution, tau, np.zeros(tau.size))[:, 0, 0])
    height = weight / sigma
    profile = np.zeros(modulus.shape)
    for place, width, value in zip(tau, sigma, height / height[0], strict=True):
        profile += value * np.exp(-0.5 * ((modulus - place) / width) ** 2)
    return profile


def _aluminium_reflections(most: float) -> tuple[np.ndarray, np.ndarray]:
    """|Q| (1/Angstrom, ascending, below `most`) and relative intensity of the reflections."""
    n = int(most * ALUMINIUM_CELL / (2 * np.pi)) + 1
    hkl = np.stack(np.meshgrid(*[np.arange(-n, n + 1)] * 3), axis=-1).reshape(-1, 3)
    odd = (hkl % 2).sum(axis=1)
    squares, multiplicity = np.unique((hkl[(odd == 0) | (odd == 3)] ** 2).sum(axis=1), return_counts=True)
    tau = 2 * np.pi / ALUMINIUM_CELL * np.sqrt(squares)
    keep = (squares > 0) & (tau < 0.999 * most)
    tau, multiplicity = tau[keep], multiplicity[keep]
    return tau, multiplicity * np.exp(-(tau**2) * ALUMINIUM_DISPLACEMENT) / tau**2


def one_phonon(bins: Bins, settings: ExperimentSettings) -> np.ndarray:
    """Incoherent scattering by one phonon, shape (momentum bins, energies), arbitrary scale.

    Q^2 exp(-Q^2 u^2) g(E) (n(E) + 1) / E with Debye's g(E) ~ E^2 below the cutoff (Squires, ch. 3), on both sides of
    E = 0; the edge at the cutoff is as wide as the resolution.
    """
    from scipy.special import erfc

    edges, resolution = bins.energy.edges, bins.resolution
    steps = (np.arange(_ACROSS_ENERGY) + 0.5) / _ACROSS_ENERGY
    energy = edges[:-1, None] + np.diff(edges)[:, None] * steps
    thermal = BOLTZMANN * max(settings.temperature, 0.1)
    away = np.where(np.abs(energy) < 1e-6, 1e-6, energy)
    with np.errstate(over="ignore"):
        occupied = away / -np.expm1(-away / thermal)  # E (n + 1), which is g(n + 1)/E
    sigma = float(resolution.fwhm_energy(min(settings.phonon_cutoff, 0.97 * resolution.ei))) / 2.355
    profile = (occupied * 0.5 * erfc((np.abs(energy) - settings.phonon_cutoff) / (math.sqrt(2) * sigma))).mean(axis=1)
    squared = _modulus_in_bins(bins) ** 2
    return squared * np.exp(-settings.displacement * squared) * profile


def seen_by_detectors(bins: Bins, settings: ExperimentSettings) -> np.ndarray:
    """Bins that detectors and kinematic range reach, shape (momentum bins, energies), bool.

    The scattering angle follows from |Q|^2 = ki^2 + kf^2 - 2 ki kf cos(2 theta).
    """
    beam = bins.resolution.beam
    energy = bins.energy.centers
    kf = beam.kf(energy)
    cosine = (beam.ki**2 + kf**2 - _modulus_in_bins(bins) ** 2) / (2 * beam.ki * kf)
    angle = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    low, high = settings.two_theta
    seen = bins.reachable & (np.abs(cosine) <= 1) & (angle >= low) & (angle <= high)
    for start, stop in settings.gaps:
        seen &= (angle < start) | (angle > stop)
    return seen & (energy <= settings.largest_transfer * beam.ei)


def modulus_across(bins: Bins) -> np.ndarray:
    """|Q| of elastic scattering at places across each momentum bin, shape (momentum bins, places), 1/Angstrom."""
    columns = np.arange(math.prod(bins.shape))
    places = quasi_random(_ACROSS_BIN, len(bins.widths)) - 0.5
    return np.stack([_modulus(bins, bins.coordinates(columns, place), 0.0) for place in places], axis=1)


def _modulus_in_bins(bins: Bins) -> np.ndarray:
    """|Q| at the centre of every bin, shape (momentum bins, energies) or (momentum bins, 1) where E does not matter."""
    centres = bins.coordinates(np.arange(math.prod(bins.shape)))
    energies = bins.energy.centers if bins.scattered else [0.0]
    return np.stack([_modulus(bins, centres, energy) for energy in energies], axis=1)


def _modulus(bins: Bins, coordinates: np.ndarray, energy: float) -> np.ndarray:
    place = bins.place(coordinates, bins.points(coordinates, np.full(len(coordinates), energy)))
    return place[:, 0] if bins.powder else np.linalg.norm(place @ bins.frame.units.T, axis=1)


def _level(convolved: Spectrum) -> float:
    values = convolved.signal[convolved.valid]
    level = math.sqrt((values**2).mean()) if values.size else 0.0
    if not level > 0:
        raise InputError(
            "the convolved spectrum has no signal in any valid bin, so counts cannot be scaled to it",
            "choose a grid that sees the modes of the model",
        )
    return level
