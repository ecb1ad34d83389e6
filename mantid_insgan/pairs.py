"""Training pairs: slices of a spin-wave S(Q,E) as calculated, and the same as the spectrometer would show them.

Each pair is made on a grid three times finer and wider than the slice, blurred there with the resolution at the
*source* position, and only then summed into bins: integration over the bin is in both members, resolution in one, and
intensity from outside the slice spills in. The widths are the energy FWHM of the instrument and a stated Q FWHM
(see `Slice`); correlations between Q and E and out-of-plane Q are not in these pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .resolution.instrument import Resolution

GRID = 64  #: bins along each axis of a slice
OVERSAMPLE = 3  #: fine bins per bin
FWHM_PER_SIGMA = 2.0 * np.sqrt(2.0 * np.log(2.0))

#: Instrument settings: (instrument, chopper package, frequency Hz, lowest and highest Ei meV).
TRAINING_SETTINGS = (
    ("MAPS", "A", 400, 60, 500),
    ("MAPS", "S", 300, 25, 300),
    ("MARI", "A", 300, 40, 300),
    ("MARI", "S", 400, 40, 400),
    ("LET", "High Flux", 240, 2, 20),
    ("LET", "Intermediate", 240, 3, 20),
    ("SEQUOIA", "ARCS-100-1.5-AST", 480, 40, 200),
    ("SEQUOIA", "SEQ-700-3.5-AST", 420, 100, 700),
    ("ARCS", "ARCS-100-1.5-AST", 600, 40, 300),
    ("CNCS", "High Flux", 180, 2, 25),
)
#: Settings that no training pair has seen.
HELD_OUT_SETTINGS = (
    ("MERLIN", "G", 300, 20, 150),
    ("MERLIN", "S", 400, 30, 180),
    ("HYSPEC", "OnlyOne", 300, 8, 40),
)
#: Kinds of slice and how often each is drawn. 'energy-cut' and 'q-cut' are constant along the other axis.
KINDS = {"path": 0.62, "plane": 0.12, "powder": 0.10, "energy-cut": 0.08, "q-cut": 0.08}


@dataclass(frozen=True)
class Slice:
    """One training pair.

    Attributes
    ----------
    ideal, convolved : ndarray, shape (64, 64)
        Mean intensity in each bin without and with resolution; energy (or the second Q) is the last axis.
    width : ndarray, shape (2, 64)
        FWHM in bins along axis 0 and 1, as a function of the position on the last axis. Along Q the stated FWHM
        ``fwhm_q`` at E = 0 scales with sqrt((1 + kf^2/ki^2) / 2): the same angular spread before and after the sample.
    reachable : ndarray of bool, shape (64,)
        Last-axis bins inside the kinematic limit E < Ei.
    kind, family, setting : str
    """

    ideal: np.ndarray
    convolved: np.ndarray
    width: np.ndarray
    reachable: np.ndarray
    kind: str
    family: str
    setting: str


@dataclass(frozen=True)
class _Grid:
    """The fine grid of a slice: edges along both axes with a margin of `margin` bins (coarse) on every side."""

    start: np.ndarray  # lower edge of the slice along both axes, in their units
    step: np.ndarray  # bin widths
    margin: np.ndarray  # of whole bins

    def fine_edges(self, axis: int) -> np.ndarray:
        count = (GRID + 2 * self.margin[axis]) * OVERSAMPLE
        low = self.start[axis] - self.margin[axis] * self.step[axis]
        return low + np.arange(count + 1) * self.step[axis] / OVERSAMPLE

    def fine_centers(self, axis: int) -> np.ndarray:
        edges = self.fine_edges(axis)
        return 0.5 * (edges[1:] + edges[:-1])

    def to_bins(self, fine: np.ndarray) -> np.ndarray:
        """Mean over the fine bins of each bin, margins cut off: (64, 64)."""
        rows, columns = (fine.shape[i] // OVERSAMPLE for i in (0, 1))
        bins = fine.reshape(rows, OVERSAMPLE, columns, OVERSAMPLE).mean((1, 3))
        r, c = self.margin
        return bins[r : r + GRID, c : c + GRID]


def histogram_modes(energies: np.ndarray, intensities: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Intensity density of sharp modes along a line of Q, shape (n_q - 1, n_energy), per meV.

    Between neighbouring Q points a mode passes evenly through the energies in between, so steep modes stay connected.

    Parameters
    ----------
    energies, intensities : ndarray, shape (n_q, n_modes)
        meV and intensity, sorted by energy.
    edges : ndarray, shape (n_energy + 1,)
    """
    low = np.minimum(energies[:-1], energies[1:])
    span = np.abs(np.diff(energies, axis=0))
    least = 0.5 * (edges[1] - edges[0])
    low, span = low - 0.5 * np.maximum(least - span, 0), np.maximum(span, least)
    weight = 0.5 * (intensities[:-1] + intensities[1:])
    total = np.zeros((energies.shape[0] - 1, edges.size - 1))
    for mode in range(energies.shape[1]):
        passed = np.clip((edges - low[:, mode, None]) / span[:, mode, None], 0.0, 1.0)
        total += weight[:, mode, None] * np.diff(passed, axis=1)
    return total / np.diff(edges)


def window_modes(energies, intensities, shape, low: float, high: float) -> np.ndarray:
    """Intensity of modes in an energy window on a Q plane of `shape`; energies (n_q, n_modes)."""
    energies = energies.reshape(*shape, -1)
    spread = 0.5 * (np.abs(np.gradient(energies, axis=0)) + np.abs(np.gradient(energies, axis=1)))
    spread = np.maximum(spread, 1e-3 * (high - low))
    inside = np.minimum(energies + spread, high) - np.maximum(energies - spread, low)
    return (intensities.reshape(energies.shape) * np.clip(inside / (2 * spread), 0, 1)).sum(-1)


def gaussian_along(values: np.ndarray, axis: int, sigma: np.ndarray) -> np.ndarray:
    """Blur `values` (n0, n1) along `axis` with standard deviations in fine bins that depend on the last-axis source.

    Along the last axis this is one matrix of kernels; along the first a Fourier filter for each column.
    """
    if axis == 1:
        edges = np.arange(values.shape[1] + 1) - 0.5
        return values @ _bin_gaussian(edges, np.arange(values.shape[1]), np.maximum(sigma, 1e-3))
    padded = values.shape[0] * 2
    frequency = np.fft.rfftfreq(padded)[:, None]
    filtered = np.fft.rfft(values, padded, axis=0) * np.exp(-2 * (np.pi * frequency * sigma[None, :]) ** 2)
    return np.fft.irfft(filtered, padded, axis=0)[: values.shape[0]]


def _bin_gaussian(edges, centers, sigma) -> np.ndarray:
    """Share of a Gaussian at centers[i] of sigma[i] that falls in bin j: (n, n)."""
    from scipy.special import ndtr

    return np.diff(ndtr((edges[None, :] - centers[:, None]) / sigma[:, None]), axis=1)


def draw_setting(rng, settings, band_top: float) -> tuple[Resolution, str]:
    """An instrument setting whose Ei lets a band up to `band_top` meV be seen, with a random width factor 1 to 1.6.

    Measured elastic lines are that much wider than calculated ones, so the network must not rely on the calculation.
    """
    wanted = band_top / rng.uniform(0.35, 1.0)
    order = rng.permutation(len(settings))
    # The setting that comes nearest to the wanted Ei among a random half.
    chosen = min(order[: max(1, len(order) // 2)], key=lambda i: _outside(settings[i], wanted))
    instrument, chopper, frequency, low, high = settings[chosen]
    ei = float(np.clip(wanted, low, high))
    factor = float(rng.uniform(1.0, 1.6))
    resolution = Resolution(instrument, ei, chopper, frequency, width_factor=factor)
    return resolution, f"{instrument} {chopper} {ei:.4g} meV {frequency} Hz x{factor:.2f}"


def _outside(setting, ei: float) -> float:
    low, high = setting[3:]
    return max(np.log(low / ei), np.log(ei / high), 0.0)


def draw_slices(rng, family, model, settings, count: int) -> list[Slice]:
    """`count` slices of one model at settings of their own."""
    reciprocal = 2 * np.pi * model.lattice.b_matrix()
    probe, _ = model.modes(rng.uniform(-1, 1, (200, 3)))
    band_top = float(np.percentile(probe, 99.5))
    kinds = list(KINDS)
    weights = np.array(list(KINDS.values()))
    slices = []
    for _ in range(count):
        resolution, setting = draw_setting(rng, settings, band_top)
        kind = kinds[rng.choice(len(kinds), p=weights / weights.sum())]
        made = _draw_slice(rng, kind, model, reciprocal, resolution, band_top)
        if made is not None:
            slices.append(Slice(*made, kind=kind, family=family, setting=setting))
    return slices


def _draw_slice(rng, kind, model, reciprocal, resolution, band_top):
    """(ideal, convolved, width, reachable) or None where the slice caught next to nothing."""
    ei = resolution.ei
    fwhm_q = 10 ** rng.uniform(-1.8, -0.8)  # 1/Angstrom
    q_length = 10 ** rng.uniform(-0.3, 0.6)
    steps_q = np.array([q_length / GRID] * 2)
    fwhm_q = min(fwhm_q, 9.0 * steps_q[0])
    if kind == "plane":
        fine, grid = _plane(rng, model, reciprocal, steps_q, fwhm_q, band_top)
        width = np.full((2, GRID + 2 * grid.margin[1]), fwhm_q / steps_q[0])
        reachable = np.ones(GRID, bool)
    else:
        energy_step = _energy_step(rng, resolution, band_top)
        start = rng.uniform(-0.1, max(min(band_top, ei) - 0.6 * GRID * energy_step, 0.0) / ei) * ei
        step = np.array([steps_q[0], energy_step])
        widest = max(
            fwhm_q / step[0], float(resolution.fwhm_energy(np.array([min(max(start, 0), 0.97 * ei)]))[0]) / step[1]
        )
        grid = _Grid(np.array([rng.uniform(0.2, 1.5), start]), step, np.array([2 + int(1.4 * widest)] * 2))
        energy = grid.fine_centers(1)
        fine = (_powder if kind == "powder" else _path)(rng, model, reciprocal, grid)
        fine = _lifetimes(rng, fine, resolution, grid)
        fine[:, (energy >= ei)] = 0.0
        fine = _elastic_line(rng, fine, energy)
        bins = grid.step[1] * (np.arange(GRID + 2 * grid.margin[1]) + 0.5 - grid.margin[1]) + start
        width = np.stack(
            [fwhm_q * np.sqrt(np.clip(2 - bins / ei, 1, 3) / 2) / step[0], _fwhm(resolution, bins) / step[1]]
        )
        reachable = bins[grid.margin[1] : grid.margin[1] + GRID] < 0.97 * ei
    if not fine.any() or np.count_nonzero(grid.to_bins(fine)) < 20 or reachable.sum() < 16:
        return None
    fine, width = _as_cut(rng, kind, fine, width)
    ideal, convolved = grid.to_bins(fine), grid.to_bins(convolve(fine, width))
    margin = grid.margin[1]
    if not shows_enough(ideal, convolved):
        return None
    scale = np.sqrt((convolved**2).mean())
    level = (rng.random() < 0.5) * 10 ** rng.uniform(-2, 0.0)
    return (
        (ideal / scale + level).astype(np.float32),
        (convolved / scale + level).astype(np.float32),
        width[:, margin : margin + GRID].astype(np.float32),
        reachable,
    )


def shows_enough(ideal: np.ndarray, convolved: np.ndarray) -> bool:
    """False where one of the two is empty or most of what the convolved slice shows has come in from outside."""
    least = ideal.min()
    inside, shown = float((ideal - least).sum()), float((convolved - least).sum())
    return np.isfinite(shown) and shown > 1e-3 * inside and inside > 0.2 * shown


def convolve(fine: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Blur a fine grid (n0, n1) with FWHM in bins `width` (2, n1 / oversample) along both axes."""
    sigma = np.repeat(width, OVERSAMPLE, axis=1) * OVERSAMPLE / FWHM_PER_SIGMA
    return gaussian_along(gaussian_along(fine, 0, sigma[0]), 1, sigma[1])


def _fwhm(resolution, energy) -> np.ndarray:
    return resolution.fwhm_energy(np.clip(energy, 0.0, 0.97 * resolution.ei))


def _energy_step(rng, resolution, band_top) -> float:
    """A bin between half and a tenth of the resolution (now and then as wide), not so fine that nothing is in view."""
    middle = float(_fwhm(resolution, np.array([0.4 * min(band_top, resolution.ei)]))[0])
    step = middle / 10 ** rng.uniform(-0.2, 1.0)
    return float(np.clip(step, 0.25 * band_top / GRID, 1.2 * resolution.ei / GRID))


def _direction(rng, reciprocal) -> np.ndarray:
    """A direction in r.l.u. of length 1/Angstrom: high-symmetry half of the time."""
    if rng.random() < 0.5:
        hkl = np.array(
            [(1, 0, 0), (0, 1, 0), (1, 1, 0), (1, -1, 0), (0, 0, 1), (1, 0, 1), (1, 1, 1)][rng.integers(7)], float
        )
    else:
        hkl = np.linalg.solve(reciprocal, rng.normal(size=3))
    return hkl / np.linalg.norm(reciprocal @ hkl)


def _sorted_modes(model, q):
    energies, intensities = model.modes(q)
    order = np.argsort(energies, axis=1)
    return np.take_along_axis(energies, order, 1), np.take_along_axis(intensities, order, 1)


def _origin(rng) -> np.ndarray:
    return rng.integers(-2, 3, 3) * 0.5 if rng.random() < 0.6 else rng.uniform(-1, 1, 3)


def _path(rng, model, reciprocal, grid) -> np.ndarray:
    positions = grid.fine_edges(0) - grid.fine_edges(0).mean() * (rng.random() < 0.7)
    q = _origin(rng) + positions[:, None] * _direction(rng, reciprocal)
    q = q + 1e-4 * rng.normal(size=3)  # off the Goldstone points
    return histogram_modes(*_sorted_modes(model, q), grid.fine_edges(1))


def _powder(rng, model, reciprocal, grid) -> np.ndarray:
    """Mean over 320 directions at 40 values of |Q|, interpolated between them."""
    from .spinw.simulate import fibonacci_sphere, random_rotation

    fine = np.abs(grid.fine_centers(0))
    coarse = np.linspace(max(fine.min(), 0.02), fine.max(), 40)
    to_hkl = np.linalg.inv(reciprocal)
    edges = grid.fine_edges(1)
    rows = np.empty((coarse.size, edges.size - 1))
    for i, modulus in enumerate(coarse):
        directions = modulus * fibonacci_sphere(320) @ random_rotation(rng).T
        energies, intensities = model.modes(directions @ to_hkl.T)
        rows[i] = np.histogram(energies, edges, weights=intensities)[0] / 320 / np.diff(edges)
    # the sampling noise of the directions is smoothed over one bin
    rows = gaussian_along(rows, 1, np.full(rows.shape[1], float(OVERSAMPLE)))
    index = np.interp(fine, coarse, np.arange(coarse.size))
    low = np.minimum(index.astype(int), coarse.size - 2)
    share = (index - low)[:, None]
    return (1 - share) * rows[low] + share * rows[low + 1]


def _plane(rng, model, reciprocal, step, fwhm_q, band_top):
    margin = 2 + int(1.4 * fwhm_q / step[0])
    grid = _Grid(-0.5 * GRID * step, step, np.array([margin] * 2))
    first = _direction(rng, reciprocal)
    second = np.linalg.solve(reciprocal, np.cross(reciprocal @ first, rng.normal(size=3)))
    second /= np.linalg.norm(reciprocal @ second)
    x, y = grid.fine_centers(0), grid.fine_centers(1)
    # Modes vary slowly on the fine grid: calculate every second point, interpolate between.
    u, v = np.linspace(x[0], x[-1], x.size // 2), np.linspace(y[0], y[-1], y.size // 2)
    q = _origin(rng) + u[:, None, None] * first + v[None, :, None] * second + 1e-4 * rng.normal(size=3)
    energies, intensities = _sorted_modes(model, q.reshape(-1, 3))
    centre, half = band_top * rng.uniform(0.05, 0.95), band_top * rng.uniform(0.02, 0.08)
    coarse = window_modes(energies, intensities, (u.size, v.size), centre - half, centre + half)
    from scipy.interpolate import RegularGridInterpolator

    fine = RegularGridInterpolator((u, v), coarse)(tuple(np.meshgrid(x, y, indexing="ij")))
    return fine, grid


def _lifetimes(rng, fine, resolution, grid) -> np.ndarray:
    """Half of the slices get an intrinsic Gaussian width of up to the resolution's own."""
    if rng.random() < 0.5:
        return fine
    fwhm = rng.uniform(0.1, 1.0) * _fwhm(resolution, grid.fine_centers(1))
    return gaussian_along(fine, 1, fwhm / (grid.step[1] / OVERSAMPLE) / FWHM_PER_SIGMA)


def _elastic_line(rng, fine, energy) -> np.ndarray:
    """In a third of the slices that see E = 0: an elastic line of up to thirty times the magnetic intensity."""
    if energy[0] > 0 or energy[-1] < 0 or rng.random() > 0.35:
        return fine
    position = np.linspace(0, rng.uniform(1, 12), fine.shape[0])
    profile = 1 + 0.5 * np.sin(position + rng.uniform(0, 6))
    fine[:, np.abs(energy).argmin()] += fine.sum(1).mean() * 10 ** rng.uniform(-1, 1.5) * profile
    return fine


def _as_cut(rng, kind, fine, width):
    """One-dimensional cuts: integrate over a part of the other axis, make it constant there, with no width along it."""
    if kind not in ("energy-cut", "q-cut"):
        return fine, width
    axis = 0 if kind == "energy-cut" else 1
    size = fine.shape[axis]
    length = rng.integers(OVERSAMPLE, size // 3)
    start = rng.integers(0, size - length)
    part = fine[start : start + length] if axis == 0 else fine[:, start : start + length]
    fine = np.broadcast_to(part.mean(axis, keepdims=True), fine.shape).copy()
    width = width.copy()
    width[axis] = 0.0
    if axis == 1:
        width[0] = width[0].mean()
    return fine, width
