"""Evenly distributed points in a cube and directions, and random rotations."""

from __future__ import annotations

from functools import lru_cache

import numpy as np


@lru_cache(maxsize=8)
def quasi_random(count: int, dimensions: int) -> np.ndarray:
    """The same evenly spread points of the unit cube at every call, shape (count, dimensions), not to be written to."""
    from scipy.stats import qmc

    points = qmc.Halton(dimensions, rng=0).random(count)
    points.flags.writeable = False
    return points


def fibonacci_sphere(count: int) -> np.ndarray:
    """Evenly distributed unit vectors, shape (count, 3)."""
    i = np.arange(count)
    z = (2 * i + 1) / count - 1
    angle = np.pi * (3 - np.sqrt(5)) * i
    radius = np.sqrt(1 - z**2)
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle), z])


def random_rotation(rng: np.random.Generator) -> np.ndarray:
    """A rotation matrix, uniform over all rotations, shape (3, 3)."""
    from scipy.spatial.transform import Rotation

    return Rotation.random(rng=rng).as_matrix()
