"""Monte Carlo deviations of a spectrometer, with the full distributions whose variances the covariance uses.

The moderator pulse is chi-squared, t^2 exp(-t/tau) (S. Ikeda and J. M. Carpenter, Nucl. Instrum. Methods A 239, 536
(1985), their fast part): a steep rise and a tail. The transmission of choppers is triangular in time; apertures,
samples, pixels and time channels are uniform; guides and mosaics are Gaussian. All have zero mean: the time of flight
is measured from the mean of the pulse.
"""

from __future__ import annotations

import numpy as np

from ..core.constants import HBAR2_OVER_2M, HBAR_OVER_M
from .beam import Beam
from .covariance import DEVIATIONS, detector_axes, variances


def unit_draws(beam: Beam, count: int, rng: np.random.Generator, *, gaussian: bool = False) -> np.ndarray:
    """Random deviations of zero mean and unit variance.

    Parameters
    ----------
    beam : Beam
    count : int
    rng : numpy.random.Generator
        Seed it for repeatable results.
    gaussian : bool
        Give every deviation a Gaussian shape.

    Returns
    -------
    ndarray, shape (count, 14)
        Ordered as `covariance.DEVIATIONS`.
    """
    if gaussian:
        return rng.standard_normal((count, len(DEVIATIONS)))
    draws = np.empty((count, len(DEVIATIONS)))
    draws[:, 0] = _pulse(beam.source.shape, count, rng)
    draws[:, 1] = _pulse(beam.chopper.shape, count, rng)
    draws[:, 2:4] = rng.standard_normal((count, 2)) if beam.divergence.distance is None else _uniform((count, 2), rng)
    draws[:, 4:7] = _sample(beam.sample.shape, count, rng)
    draws[:, 7:11] = _uniform((count, 4), rng)
    draws[:, 11:] = rng.standard_normal((count, 3))
    return draws


def shaped(beam: Beam, even: np.ndarray) -> np.ndarray:
    """Deviations with the shapes of `unit_draws` from numbers that are spread evenly between 0 and 1.

    Parameters
    ----------
    beam : Beam
    even : ndarray, shape (count, 14)

    Returns
    -------
    ndarray, shape (count, 14)
        Of zero mean and unit variance, ordered as `covariance.DEVIATIONS`.
    """
    from scipy.special import ndtri

    even = np.clip(even, 1e-9, 1 - 1e-9)
    draws = np.sqrt(3) * (2 * even - 1)
    draws[:, 0] = _quantile(beam.source.shape, even[:, 0])
    draws[:, 1] = _quantile(beam.chopper.shape, even[:, 1])
    gaussian = [*(() if beam.divergence.distance is not None else (2, 3)), 11, 12, 13]
    draws[:, gaussian] = ndtri(even[:, gaussian])
    if beam.sample.shape != "cuboid":
        draws[:, 4:7] = _round(beam.sample.shape, even[:, 4:7])
    return draws


def _quantile(shape: str, share: np.ndarray) -> np.ndarray:
    """Of a pulse: below which deviation a share of it lies; see `_pulse`."""
    from scipy.special import gammaincinv

    if shape == "chi-squared":
        return (gammaincinv(3, share) - 3) / np.sqrt(3)
    half = 1 - np.sqrt(2 * np.minimum(share, 1 - share))
    return np.sqrt(6) * np.sign(share - 0.5) * half


def _uniform(shape, rng) -> np.ndarray:
    return np.sqrt(3) * rng.uniform(-1, 1, shape)


def _pulse(shape: str, count: int, rng) -> np.ndarray:
    if shape == "chi-squared":
        return (rng.standard_gamma(3, count) - 3) / np.sqrt(3)
    return np.sqrt(1.5) * rng.uniform(-1, 1, (count, 2)).sum(1)


def _sample(shape: str, count: int, rng) -> np.ndarray:
    if shape == "cuboid":
        return _uniform((count, 3), rng)
    if shape == "sphere":
        direction = rng.standard_normal((count, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        return np.sqrt(5) * np.cbrt(rng.uniform(size=(count, 1))) * direction
    angle = rng.uniform(0, 2 * np.pi, count)
    radius = np.sqrt(2) if shape == "annulus" else 2 * np.sqrt(rng.uniform(size=count))
    return np.stack([radius * np.cos(angle), _uniform(count, rng), radius * np.sin(angle)], axis=1)


def _round(shape: str, even: np.ndarray) -> np.ndarray:
    """Points of a sphere, cylinder or annulus from three even numbers each; see `_sample`."""
    angle = 2 * np.pi * even[:, 0]
    if shape == "sphere":
        up = 2 * even[:, 1] - 1
        radius = np.sqrt(5) * np.cbrt(even[:, 2])
        level = radius * np.sqrt(1 - up**2)
        return np.stack([level * np.cos(angle), radius * up, level * np.sin(angle)], axis=1)
    radius = np.sqrt(2) if shape == "annulus" else 2 * np.sqrt(even[:, 2])
    upright = np.sqrt(3) * (2 * even[:, 1] - 1)
    return np.stack([radius * np.cos(angle), upright, radius * np.sin(angle)], axis=1)


def trace(beam: Beam, direction: np.ndarray, kf: float, deviations: np.ndarray) -> np.ndarray:
    """Exact (Q, E) of neutrons that are recorded in one detector at one time, for given deviations.

    Follows each neutron from the moderator to the detector; `covariance.sensitivity` is its first-order expansion.

    Parameters
    ----------
    beam : Beam
    direction : ndarray, shape (3,)
        Unit vector from sample to detector.
    kf : float
        Nominal final wavevector, 1/Angstrom.
    deviations : ndarray, shape (M, 14)
        In seconds, metres and radians, ordered as `covariance.DEVIATIONS`.

    Returns
    -------
    ndarray, shape (M, 4)
        Q_x, Q_y, Q_z (1/Angstrom) and E (meV).
    """
    source, burst, beam_x, beam_y = deviations[:, :4].T
    sample = deviations[:, 4:7]
    depth, wide, high, clock = deviations[:, 7:11].T
    if beam.divergence.distance is None:
        slope_x, slope_y = beam_x, beam_y
    else:
        distance = beam.divergence.distance + sample[:, 2]
        slope_x, slope_y = (sample[:, 0] - beam_x) / distance, (sample[:, 1] - beam_y) / distance
    at_chopper = beam.source_chopper / beam.vi + burst
    if beam.chopper_turn:
        at_chopper = at_chopper - slope_x / beam.chopper_turn
    path = beam.source_chopper + (sample[:, 0] - slope_x * beam.moderator_sample) * beam.moderator_tilt
    speed = path / (at_chopper - source)
    at_sample = at_chopper + (beam.chopper_sample + sample[:, 2]) / speed
    incident = np.stack([slope_x, slope_y, np.ones_like(slope_x)], axis=1)
    ki = (speed / HBAR_OVER_M)[:, None] * incident / np.linalg.norm(incident, axis=1, keepdims=True)

    across, along = (axis[0] for axis in detector_axes(direction[None]))
    hit = (beam.sample_detector + depth)[:, None] * direction + wide[:, None] * across + high[:, None] * along
    recorded = (beam.source_chopper + beam.chopper_sample) / beam.vi + beam.sample_detector / (HBAR_OVER_M * kf)
    flight = recorded + clock - at_sample
    final = (hit - sample) / (flight * HBAR_OVER_M)[:, None]
    q = ki - final
    q = q + np.cross(q, deviations[:, 11:])
    energy = HBAR2_OVER_2M * ((ki**2).sum(1) - (final**2).sum(1))
    return np.column_stack([q, energy])


def exact_points(beam: Beam, direction, kf: float, draws: np.ndarray) -> np.ndarray:
    """`trace` of unit draws scaled to the standard deviations for this beam and final wavevector, shape (M, 4)."""
    return trace(beam, np.asarray(direction, dtype=float), kf, draws * np.sqrt(variances(beam, [kf])[0]))
