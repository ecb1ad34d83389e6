"""`convolve` and `ideal`: a model on a measured grid, with and without the resolution."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence

import numpy as np

from ..core.constants import FWHM_PER_SIGMA
from ..core.run import Run
from ..core.spectrum import Axis, Spectrum
from ..errors import InputError
from ..instruments import Resolution
from ..models.lineshape import bin_modes, check_line
from .bins import Bins, Nodes, OutsideBins, completed, nodes_between, nodes_in_bins
from .covariance import Covariance, PowderCovariance
from .modes import Direct, DirectPowder, ModeGrid, PowderTable
from .montecarlo import MonteCarlo
from .sharp import Sharp, SharpPowder
from .tasks import collected

#: The methods, from exact to quick, and the points that each takes for a bin if not told.
METHODS = {"montecarlo": 200, "interpolated": 1000, "covariance": 256, "energy": 32, "outside": 256}
#: Error allowed between the nodes of a grid of modes: 'covariance' is to be quick.
TOLERANCE = {"interpolated": 0.02, "covariance": 0.05, "outside": 0.05}
#: Momenta at which a grid of modes may ask the model.
GRID_LIMIT = {"interpolated": 200_000, "covariance": 60_000, "outside": 60_000}
#: How far a grid of modes reaches beyond the bins, in standard deviations of the resolution.
_REACH = {"interpolated": 5.0, "covariance": 4.0, "outside": 4.0}
#: Rows of |Q| in each bin of a powder whose modes are shared by `ideal` and `convolve`, and fewest directions in each.
_ROWS, _FEWEST_DIRECTIONS = 4, 64

Progress = Callable[[int, int], None]


class GridAccuracyWarning(UserWarning):
    """A grid of modes is coarser than its tolerance requires."""


def convolve(
    model,
    grid: Spectrum | Sequence[Axis],
    resolution: Resolution,
    *,
    method: str = "covariance",
    points: int | None = None,
    seed: int = 0,
    workers: int = 1,
    processes: bool = False,
    progress: Progress | None = None,
    fwhm: float | None = None,
    shape: str = "dho",
    gaussian: bool = False,
    tolerance: float | None = None,
    orientations: int = 400,
    source: ModeGrid | PowderTable | None = None,
) -> Spectrum:
    """A model of S(Q,E) as a spectrometer would record it, averaged over the volume of each bin.

    Parameters
    ----------
    model
        Object with ``modes(q_rlu)`` as in `mantid_insgan.models.spinw.SpinWModel`; for |Q| also ``lattice``.
    grid : Spectrum or sequence of Axis
        Axes in the HKL frame (one to three in momentum, integrated ones included) or |Q|, and energy transfer. From a
        Spectrum, `valid` and the facts are kept, and columns without a valid bin are not calculated.
    resolution : Resolution
        With the lattice for axes in r.l.u.; with an orientation for a crystal measured at one angle.
    method : {'montecarlo', 'interpolated', 'covariance', 'energy', 'outside'}
        'montecarlo' evaluates the model at every random deviation of every bin; 'interpolated' evaluates it on a grid
        of momenta and does Monte Carlo with interpolated modes; 'covariance' applies a Gaussian with full covariance in
        (Q, E) that varies with (Q, E); 'energy' broadens along energy only; 'outside' applies only the part of the
        covariance outside the cut (see `OutsideBins`), which cannot be removed from the cut. For a powder 'outside' is
        the same as `ideal`.
    points : int, optional
        Monte Carlo points per bin (200 and 1000 if not given); for 'covariance' and 'outside', points in momentum that
        represent the Gaussian and the volume of the bin (256); for 'energy', momenta across a bin (32).
    seed : int
        Seed of all random numbers; the result does not depend on `workers`.
    workers : int
        Number of threads, or processes.
    processes : bool
        Use (forked) processes instead of threads: for a model that holds Python's interpreter lock, such as pySpinW.
    progress : callable, optional
        Called with (done, total), first for the grid of modes, then for the convolution.
    fwhm, shape
        Intrinsic line width in meV and shape, see `mantid_insgan.models.lineshape.bin_modes`.
    gaussian : bool
        For Monte Carlo: Gaussian deviations instead of the real shapes of pulses, apertures and pixels.
    tolerance : float
        Allowed error between the nodes of a grid of modes, see `ModeGrid`: 0.02 for 'interpolated' and 0.05 for
        'covariance' if not given.
    orientations : int
        Directions at each |Q| of a powder, for all methods except 'montecarlo'.
    source : ModeGrid or PowderTable, optional
        From `sample_modes` for the same grid: 'interpolated' and 'covariance' then do not evaluate the model again.

    Returns
    -------
    Spectrum
        In the units of the model per meV (mbarn/sr/meV); the variance is the squared standard error of the Monte Carlo,
        0 for 'covariance', 'energy' and 'outside'. Bins outside the kinematic range are not valid and NaN.

    Raises
    ------
    InputError
        If the method or line shape is unknown, a number is out of range, or the directions of the axes cannot be
        determined.
    RunFactError
        If the lattice is missing, or the grid lies outside the kinematic range.
    DeviceError
        If processes are requested on a system that cannot fork.

    Warns
    -----
    GridAccuracyWarning
        If a grid of modes would need more momenta than `GRID_LIMIT` for its tolerance.
    """
    if method not in METHODS:
        raise InputError(f"unknown method {method!r}", f"use one of {', '.join(map(repr, METHODS))}")
    points = _checked(method, METHODS[method] if points is None else points, workers)
    check_line(fwhm, shape)
    spectrum = _as_spectrum(model, grid, resolution)
    bins = (OutsideBins if method == "outside" else Bins)(spectrum, resolution)
    if method == "outside" and bins.powder:
        options = {"workers": workers, "processes": processes, "progress": progress, "fwhm": fwhm, "shape": shape}
        return ideal(model, spectrum, resolution, seed=seed, source=source, **options)
    if method == "energy":
        signal = _energy_only(model, bins, points, seed, fwhm, shape, orientations, progress)
        return _finished(spectrum, bins, signal, np.zeros_like(signal), method)
    if method in ("covariance", "outside"):
        nodes = _nodes(bins)
        source = source or _prepared(method, model, bins, nodes, seed, tolerance, orientations, progress)
        run, finish = _covariance(bins, nodes, source, points, fwhm, shape)
    else:
        nodes, source = _sampled(method, model, bins, source, seed, tolerance, orientations, progress)
        run = MonteCarlo(bins, nodes, source, points, seed, fwhm, shape, gaussian)
        finish = None
    signal, variance = _collected(run, bins, workers, processes, progress)
    if finish is not None:
        signal = signal @ finish
        variance = np.zeros_like(signal)
    return _finished(spectrum, bins, signal, variance, method)


def ideal(
    model,
    grid: Spectrum | Sequence[Axis],
    resolution: Resolution,
    *,
    points: int = 64,
    seed: int = 0,
    workers: int = 1,
    processes: bool = False,
    progress: Progress | None = None,
    fwhm: float | None = None,
    shape: str = "dho",
    source: ModeGrid | PowderTable | None = None,
) -> Spectrum:
    """The same grid without resolution: the mean of the model over the volume of each bin.

    The resolution determines the momenta of the bins (at one crystal angle, the coordinate along an integrated axis
    depends on the energy) and which bins are in the kinematic range, so that the result corresponds to that of
    `convolve`. Parameters, result and errors are the same as there; `points` are momenta spread evenly over each bin;
    the variance is the squared standard error of their mean.

    With a `source`, the mean is calculated from its modes, linear between their nodes and, for a crystal, without
    noise: the same modes that `convolve` uses. At one crystal angle the model itself is always evaluated.
    """
    points = _checked("ideal", points, workers)
    check_line(fwhm, shape)
    spectrum = _as_spectrum(model, grid, resolution)
    bins = Bins(spectrum, resolution)
    if source is not None and not bins.scattered:
        edges, finish = _fine_line(bins, _line_step(bins, fwhm), fwhm, shape)
        run = (SharpPowder if bins.powder else Sharp)(bins, source, edges)
        signal, variance = _collected(run, bins, workers, processes, progress)
        return _finished(spectrum, bins, signal @ finish, variance @ finish**2, "ideal")
    nodes = _nodes(bins) if bins.scattered else _one_node(bins)
    direct = DirectPowder(model) if bins.powder else Direct(model)
    run = MonteCarlo(bins, nodes, direct, points, seed, fwhm, shape, sharp=True)
    return _finished(spectrum, bins, *_collected(run, bins, workers, processes, progress), "ideal")


def sample_modes(
    model,
    grid: Spectrum | Sequence[Axis],
    resolution: Resolution,
    *,
    method: str = "covariance",
    seed: int = 0,
    tolerance: float | None = None,
    momenta: int | None = None,
    progress: Progress | None = None,
) -> ModeGrid | PowderTable:
    """Modes at the momenta that a grid and its resolution need, to be shared by `ideal` and `convolve`.

    Parameters
    ----------
    model, grid, resolution, seed, tolerance, progress
        As in `convolve`.
    method : {'covariance', 'interpolated'}
        Method whose tolerance and range are used.
    momenta : int, optional
        Approximate limit of the number of momenta at which the model is evaluated; `GRID_LIMIT` if not given. For a
        powder they are divided between four rows of |Q| in each bin (more if the resolution needs them) and the
        directions in each row.

    Raises
    ------
    InputError, RunFactError
        As `convolve`.

    Warns
    -----
    GridAccuracyWarning
        As `convolve`.
    """
    if method not in GRID_LIMIT:
        raise InputError(
            f"method {method!r} has no grid of modes", f"use one of {', '.join(map(repr, GRID_LIMIT))} for it"
        )
    bins = Bins(_as_spectrum(model, grid, resolution), resolution)
    nodes = _nodes(bins)
    return _prepared(method, model, bins, nodes, seed, tolerance, None, progress, momenta=momenta or GRID_LIMIT[method])


def _checked(method: str, points: int, workers: int) -> int:
    if int(points) < 2:
        raise InputError(
            f"{points} points for method {method!r}", "ask for 2 or more: one has no scatter to tell its error"
        )
    if int(workers) < 1:
        raise InputError(f"{workers} workers", "ask for 1 or more")
    return int(points)


def _as_spectrum(model, grid, resolution: Resolution) -> Spectrum:
    if isinstance(grid, Spectrum):
        return grid
    axes = tuple(grid)
    empty = np.zeros(tuple(len(a) for a in axes))
    run = Run().updated(
        "resolution",
        instrument=resolution.instrument,
        ei=resolution.ei,
        chopper=resolution.chopper,
        frequency=resolution.frequency,
        lattice=resolution.lattice,
    )
    return Spectrum(empty, empty, axes, run=run.updated("model", temperature=getattr(model, "temperature", None)))


def _finished(spectrum: Spectrum, bins: Bins, signal, variance, method: str) -> Spectrum:
    full = np.full((2, math.prod(bins.shape), len(bins.energy)), np.nan)
    full[:, bins.columns] = signal, variance
    full[:, ~bins.reachable] = np.nan
    signal, variance = (bins.from_columns(values) for values in full)
    title = "ideal" if method == "ideal" else f"convolved ({method})"
    return spectrum.replace(signal=signal, variance=variance, num_events=None, masked=None, title=title)


def _sampled(method: str, model, bins: Bins, source, seed, tolerance, orientations, progress):
    """Nodes in energy and source of modes for Monte Carlo."""
    nodes = _nodes(bins, exact=method == "montecarlo")
    if method == "montecarlo":
        return nodes, DirectPowder(model) if bins.powder else Direct(model)
    return nodes, source or _prepared(method, model, bins, nodes, seed, tolerance, orientations, progress)


def _nodes(bins: Bins, *, exact: bool = False) -> Nodes:
    """Energies for the resolution: if the momentum depends on the energy, results cannot be interpolated."""
    return nodes_in_bins(bins) if exact or bins.scattered else nodes_between(bins)


def _one_node(bins: Bins) -> Nodes:
    """One energy for all bins: their momenta do not depend on it."""
    energy = bins.energy
    return Nodes(energy.centers[:1], energy.edges, np.ones((1, len(energy))))


def _covariance(bins: Bins, nodes: Nodes, source, points: int, fwhm, shape: str):
    """The run of method 'covariance', and the matrix that converts its energies to those of the bins."""
    narrowest = _extent(bins, nodes)[0][-1]
    if fwhm is not None and shape == "gaussian":  # one more Gaussian, to be added as it is
        line, finish = fwhm / FWHM_PER_SIGMA, _to_bins(nodes.edges, bins)
    elif fwhm is not None:
        line = 0.0
        edges, finish = _fine_line(bins, max(fwhm / 8, narrowest / 4), fwhm, shape)
        middles = 0.5 * (edges[1:] + edges[:-1])
        shares = np.stack([np.interp(middles, nodes.energies, row) for row in np.eye(len(nodes.energies))])
        nodes = Nodes(nodes.energies, edges, shares)
    else:
        line, finish = 0.0, _to_bins(nodes.edges, bins)
    if bins.powder:
        return PowderCovariance(bins, nodes, source, narrowest, line), finish
    return Covariance(bins, nodes, source, points, line), finish


def _to_bins(edges: np.ndarray, bins: Bins) -> np.ndarray:
    """Matrix from parts of the energy bins to the mean over each bin."""
    parts = (len(edges) - 1) // len(bins.energy)
    return np.repeat(np.eye(len(bins.energy)), parts, axis=0) / parts


def _line_step(bins: Bins, fwhm: float | None) -> float:
    """Energy step for a line that is binned afterwards."""
    width = bins.energy.width
    return width if fwhm is None else max(fwhm / 8, width / 16)


def _prepared(method: str, model, bins: Bins, nodes: Nodes, seed, tolerance, orientations, progress, momenta=None):
    """Modes over the range that the bins and their resolution need."""
    rng = np.random.default_rng([seed, 0x6D6F6465])  # beside the streams of the tasks
    narrow, wide, low, high = _extent(bins, nodes)
    low, high = low - _REACH[method] * wide[:-1], high + _REACH[method] * wide[:-1]
    if bins.powder:
        step = max(narrow[0], bins.widths[0] / 2) / 1.5
        if orientations is None:
            step = min(step, bins.widths[0] / _ROWS)
            orientations = max(int(momenta / max((high[0] - low[0]) / step, 1)), _FEWEST_DIRECTIONS)
        return PowderTable(model, max(low[0], 0.0), high[0], step, orientations, rng, progress)
    directions = completed(bins.directions)
    tolerance = TOLERANCE[method] if tolerance is None else tolerance
    most = momenta or GRID_LIMIT[method]
    grid = ModeGrid(
        model,
        (low, high),
        directions,
        narrow[:-1],
        sigma=narrow[-1],
        tolerance=tolerance,
        most=most,
        rng=rng,
        window=tuple(bins.energy.edges[[0, -1]]),
        progress=progress,
    )
    if grid.error > tolerance:
        warnings.warn(
            f"spectra between the {grid.size} momenta at which the model was asked are off by {grid.error:.1%} (root "
            f"mean square), tolerance {tolerance:.1%}; a finer grid would need more than {most} momenta",
            GridAccuracyWarning,
            stacklevel=4,
        )
    return grid


def _extent(bins: Bins, nodes: Nodes):
    """Smallest and largest standard deviations along the grid's axes and E, and the limits of the bins' places."""
    inverse = np.eye(1) if bins.powder else np.linalg.inv(completed(bins.directions))
    corners = np.array(np.meshgrid(*[[-0.5, 0.5]] * len(bins.widths))).reshape(len(bins.widths), -1).T
    variances, places = [], []
    for energy in nodes.energies:
        coordinates = bins.coordinates(bins.columns)
        at = bins.points(coordinates, np.full(len(coordinates), energy))
        covariance = bins.covariance(at)
        block = np.einsum("ai,nij,ja->na", inverse.T, covariance[:, :-1, :-1], inverse)
        variances.append(np.column_stack([block, covariance[:, -1, -1]]))
        for corner in corners:
            moved = coordinates + corner * bins.widths
            seen = bins.points(moved, np.full(len(moved), energy)) if bins.scattered else at
            place = bins.place(moved, seen) @ inverse
            places.append([place.min(axis=0), place.max(axis=0)])
    variances, places = np.vstack(variances), np.array(places)
    return (
        np.sqrt(variances.min(axis=0)),
        np.sqrt(variances.max(axis=0)),
        places[:, 0].min(axis=0),
        places[:, 1].max(axis=0),
    )


def _fine_line(bins: Bins, step: float, fwhm: float | None, shape: str) -> tuple[np.ndarray, np.ndarray]:
    """Energies spaced by at most `step` that extend beyond the bins, and the matrix from them to bins with a line.

    The line is applied after the resolution, so a line that depends on the energy of its mode (dho) is taken at the
    recorded energy: this is right if it is wider than the resolution or far from E = 0.
    """
    edges, width = bins.energy.edges, bins.energy.width
    if fwhm is None:
        return edges, np.eye(len(bins.energy))
    parts = math.ceil(width / step * (1 - 1e-9))
    margin = math.ceil(6 * fwhm / width)
    fine = np.linspace(
        edges[0] - margin * width, edges[-1] + margin * width, (len(bins.energy) + 2 * margin) * parts + 1
    )
    middles = np.maximum(0.5 * (fine[1:] + fine[:-1]), 1e-6)[:, None]
    lines = bin_modes(middles, np.ones((middles.size, 1)), edges, fwhm=fwhm, shape=shape)
    return fine, lines * (width / parts)


def _energy_only(model, bins: Bins, points: int, seed, fwhm, shape, orientations, progress) -> np.ndarray:
    """The mean over each bin, broadened along energy with FWHM(E) only."""
    from scipy.special import ndtr

    energy, resolution = bins.energy, bins.resolution
    sigma = resolution.fwhm_energy(np.minimum(energy.centers, resolution.ei)) / FWHM_PER_SIGMA
    reach = 5 * sigma.max()
    count = math.ceil((energy.edges[-1] - energy.edges[0] + 2 * reach) / min(sigma.min() / 4, energy.width))
    fine = np.linspace(energy.edges[0] - reach, energy.edges[-1] + reach, count + 1)
    rng = np.random.default_rng([seed, 0])
    source = DirectPowder(model) if bins.powder else Direct(model)
    points = max(points, orientations) if bins.powder else points
    middles = 0.5 * (fine[1:] + fine[:-1])[:, None]
    kernel = ndtr((energy.edges[1:] - middles) / sigma) - ndtr((energy.edges[:-1] - middles) / sigma)
    kernel *= (fine[1] - fine[0]) / energy.width
    out = np.empty((len(bins.columns), len(energy)))
    rows = max(1, 32768 // points)
    for start in range(0, len(out), rows):
        columns = np.repeat(bins.columns[start : start + rows], points)
        coordinates = bins.coordinates(columns, rng.random((len(columns), len(bins.widths))) - 0.5)
        at = bins.points(coordinates, rng.uniform(energy.edges[0], energy.edges[-1], len(columns)))
        binned = bin_modes(*source.modes(bins.place(coordinates, at), rng), fine, fwhm=fwhm, shape=shape)
        out[start : start + rows] = binned.reshape(-1, points, count).mean(axis=1) @ kernel
        if progress is not None:
            progress(min(start + rows, len(out)), len(out))
    return out


def _collected(run, bins: Bins, workers: int, processes: bool, progress) -> tuple[np.ndarray, np.ndarray]:
    """Signal and variance of all tasks, each of shape (columns, energies)."""
    edges = bins.energy.edges if isinstance(run, MonteCarlo) else run.edges
    return collected(run, (len(bins.columns), len(edges) - 1), workers, processes, progress)
