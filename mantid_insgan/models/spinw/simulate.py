"""Spectra from modes: cuts on a measured grid, and powder averages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ...core.run import Run
from ...core.spectrum import Axis, Spectrum
from ...errors import InputError
from ..base import ModeModel
from ..lineshape import bin_modes
from ..sampling import fibonacci_sphere, quasi_random, random_rotation

#: Default number of sub-samples across a bin of an open axis, and of an integrated axis.
OPEN_SAMPLES = 2
INTEGRATED_SAMPLES = 8
#: Largest number of momenta in memory at once.
BLOCK = 1 << 16


def powder_average(
    model: ModeModel,
    q_modulus: np.ndarray,
    energy_edges: np.ndarray,
    *,
    n_orientations: int = 400,
    seed: int = 0,
    q_width: float = 0.0,
    fwhm: float | None = None,
    shape: str = "dho",
    progress: Callable[[int, int], None] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Orientational average at given |Q|, with its statistical error.

    Uses eight Fibonacci spheres (Hannay and Nye, J. Phys. A 37, 11591 (2004)), each with a new random rotation at every
    |Q|: the average of each is unbiased, and their scatter gives the standard error of the mean.

    Parameters
    ----------
    model : ModeModel
    q_modulus : array_like, shape (K,)
        |Q| in 1/Angstrom.
    energy_edges : array_like, shape (L + 1,)
        Bin edges, meV.
    n_orientations : int
        Directions at each |Q|, at least 16; rounded up to a multiple of eight.
    seed : int
        Seed of the random rotations.
    q_width : float
        Width of the |Q| bins in 1/Angstrom, over which the directions are evenly distributed.
    fwhm, shape
        Intrinsic line width, see `bin_modes`.
    progress : callable, optional
        Called with (number of |Q| done, total number).

    Returns
    -------
    intensity, error : np.ndarray, shape (K, L)
        mbarn/sr/meV per unit cell, and its standard error.

    Raises
    ------
    InputError
        If fewer than 16 orientations are requested.
    """
    if n_orientations < 16:
        raise InputError(f"{n_orientations} orientations are too few for an error estimate", "give 16 or more")
    q_modulus, rng = np.atleast_1d(np.asarray(q_modulus, dtype=float)), np.random.default_rng(seed)
    replicas, points = 8, -(-n_orientations // 8)
    sphere = fibonacci_sphere(points)
    spread = (np.arange(points) + 0.5) / points - 0.5
    to_hkl = np.linalg.inv(2 * np.pi * model.lattice.b_matrix().T)
    intensity, error = (np.empty((q_modulus.size, np.size(energy_edges) - 1)) for _ in range(2))
    for k, q in enumerate(q_modulus):
        # The points of the sphere run from pole to pole, so the |Q| are shuffled: every latitude covers the whole bin.
        lengths = q + q_width * np.stack([rng.permutation(spread) for _ in range(replicas)])
        turned = np.stack([sphere @ random_rotation(rng).T for _ in range(replicas)])
        energies, intensities = model.modes((lengths[..., None] * turned).reshape(-1, 3) @ to_hkl)
        binned = bin_modes(energies, intensities, energy_edges, fwhm=fwhm, shape=shape)
        means = binned.reshape(replicas, points, -1).mean(axis=1)
        intensity[k], error[k] = means.mean(axis=0), means.std(axis=0, ddof=1) / np.sqrt(replicas)
        if progress is not None:
            progress(k + 1, q_modulus.size)
    return intensity, error


def simulate_cut(
    model: ModeModel,
    target: Spectrum | Sequence[Axis],
    *,
    oversample: int | Mapping[str, int] | None = None,
    origin: Sequence[float] = (0.0, 0.0, 0.0),
    fwhm: float | None = None,
    shape: str = "dho",
    n_orientations: int = 400,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Spectrum:
    """The cross-section of the model on a measured grid, averaged over the volume of each bin, without resolution.

    Parameters
    ----------
    model : ModeModel
    target : Spectrum or sequence of Axis
        One energy axis, and either axes in r.l.u. of the model's lattice (integrated ones included) or |Q|. From a
        Spectrum, the facts and `valid` are kept.
    oversample : int or mapping of axis name to int, optional
        Number of sub-samples across a bin of each momentum axis; 2 on open axes and 8 on integrated ones if not given.
        The integral over energy is exact. Sub-samples are quasi-random if an axis is integrated.
    origin : array_like, shape (3,)
        (h, k, l) where all axes are 0; needed for a cut without its integrated axes.
    fwhm, shape
        Intrinsic line width, see `bin_modes`.
    n_orientations, seed
        For |Q|: see `powder_average`.
    progress : callable, optional
        Called with (done, total).

    Returns
    -------
    Spectrum
        mbarn/sr/meV per unit cell; the variance is that of the powder average, and 0 for a crystal.

    Raises
    ------
    InputError
        If there is no energy axis, or an axis is neither |Q| nor a direction in r.l.u.
    """
    axes = target.axes if isinstance(target, Spectrum) else tuple(target)
    energy = [i for i, a in enumerate(axes) if a.is_energy]
    if len(energy) != 1:
        raise InputError(
            f"{len(energy)} of the axes {', '.join(repr(a.name) for a in axes)} are energies, expected one",
            "give one axis named 'DeltaE' in meV",
        )
    momenta = [i for i in range(len(axes)) if i != energy[0]]
    width = {"fwhm": fwhm, "shape": shape, "progress": progress}
    if len(momenta) == 1 and axes[momenta[0]].is_modulus_q:
        axis = axes[momenta[0]]
        signal, error = powder_average(
            model,
            axis.centers,
            axes[energy[0]].edges,
            q_width=axis.width,
            n_orientations=n_orientations,
            seed=seed,
            **width,
        )
        variance = error**2
    else:
        signal = _crystal(model, [axes[i] for i in momenta], axes[energy[0]], oversample, origin, **width)
        variance = np.zeros_like(signal)
    signal, variance = (np.moveaxis(a, -1, energy[0]) for a in (signal, variance))
    if isinstance(target, Spectrum):
        return target.replace(signal=signal, variance=variance, num_events=None, masked=None, title="spin-wave model")
    run = Run().updated("spin-wave model", temperature=model.temperature, lattice=model.lattice)
    return Spectrum(signal, variance, axes, run=run, title="spin-wave model")


def _crystal(model, axes: list[Axis], energy: Axis, oversample, origin, *, fwhm, shape, progress) -> np.ndarray:
    """Mean cross-section of every bin, shape (*bins, energies)."""
    directions = np.array([_direction(axis) for axis in axes]).reshape(-1, 3)
    offsets = _offsets(axes, oversample) @ directions
    mesh = np.meshgrid(*[axis.centers for axis in axes], indexing="ij") if axes else []
    centres = np.stack([m.ravel() for m in mesh], axis=1) @ directions if axes else np.zeros((1, 3))
    centres = centres + np.asarray(origin, dtype=float)
    signal = np.empty((len(centres), len(energy)))
    rows = max(1, BLOCK // len(offsets))
    for start in range(0, len(centres), rows):
        block = centres[start : start + rows]
        energies, intensities = model.modes((block[:, None, :] + offsets).reshape(-1, 3))
        binned = bin_modes(energies, intensities, energy.edges, fwhm=fwhm, shape=shape)
        signal[start : start + rows] = binned.reshape(len(block), len(offsets), -1).mean(axis=1)
        if progress is not None:
            progress(start + len(block), len(centres))
    return signal.reshape(*[len(axis) for axis in axes], len(energy))


def _direction(axis: Axis) -> np.ndarray:
    if not axis.is_rlu or axis.projection is None:
        raise InputError(
            f"axis {axis.name!r} ({axis.unit}, frame {axis.frame!r}) is not a direction in r.l.u. such as '[H,0,0]'",
            "give the cut in the HKL frame, or |Q| alone for a powder",
        )
    return axis.projection


def _offsets(axes: list[Axis], oversample) -> np.ndarray:
    """Sub-samples of one bin about its centre, in units of the axes, shape (samples, len(axes))."""
    counts = [_count(axis, oversample) for axis in axes]
    total = int(np.prod(counts))
    if any(axis.integrated for axis in axes):
        # An integrated axis covers many zones, and a regular grid would sample the same few planes of each.
        unit = quasi_random(total, len(axes))
    else:
        unit = np.stack(
            [m.ravel() for m in np.meshgrid(*[(np.arange(n) + 0.5) / n for n in counts], indexing="ij")], axis=1
        )
    return (unit - 0.5) * [axis.width for axis in axes]


def _count(axis: Axis, oversample) -> int:
    default = INTEGRATED_SAMPLES if axis.integrated else OPEN_SAMPLES
    if oversample is None:
        return default
    count = oversample.get(axis.name, default) if isinstance(oversample, Mapping) else oversample
    if int(count) < 1:
        raise InputError(f"{count} sub-samples along axis {axis.name!r}", "give 1 or more")
    return int(count)
