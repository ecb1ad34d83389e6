"""`convolve` and `ideal`: a model on a measured grid, with and without the resolution."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from ..core.constants import FWHM_PER_SIGMA
from ..core.spectrum import Axis, Spectrum
from ..errors import InputError
from ..instruments import Resolution
from ..models.lineshape import bin_modes, check_line
from .bins import Bins, Nodes, nodes_between, nodes_in_bins
from .lines import fine_line
from .modes import Direct, DirectPowder, ModeGrid, PowderTable
from .montecarlo import MonteCarlo
from .prepared import POINTS, PREPARED, of_bins
from .sharp import Sharp, SharpPowder
from .sources import GRID_LIMIT, as_spectrum, extent_of, modes_seen
from .tasks import collected

#: The methods, from exact to quick, and the points that each takes for a bin if not told.
METHODS = {"montecarlo": 200, "interpolated": 1000, "covariance": POINTS["covariance"], "shapes": POINTS["shapes"]}
METHODS |= {"energy": 32, "outside": POINTS["outside"]}

Progress = Callable[[int, int], None]


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
    method : {'montecarlo', 'interpolated', 'shapes', 'covariance', 'energy', 'outside'}
        'montecarlo' evaluates the model at every random deviation of every bin; 'interpolated' evaluates it on a grid
        of momenta and does Monte Carlo with interpolated modes; 'covariance' applies a Gaussian with full covariance in
        (Q, E) that varies with (Q, E), 'shapes' a sum of Gaussians that has the shapes of pulses, apertures and pixels;
        'energy' broadens along energy only; 'outside' applies only the part of the covariance outside the cut (see
        `OutsideBins`), which cannot be removed from the cut. For a powder 'outside' is the same as `ideal`.
    points : int, optional
        Monte Carlo points per bin (200 and 1000 if not given); for 'covariance', 'shapes' and 'outside', points in
        momentum that represent the Gaussians and the volume of the bin (256, 512 and 256); for 'energy', momenta across
        a bin (32).
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
        Allowed error between the nodes of a grid of modes, see `ModeGrid`: 0.02 for 'interpolated' and 'shapes'
        and 0.05 for 'covariance' if not given.
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
    spectrum = as_spectrum(model, grid, resolution)
    options = {"workers": workers, "processes": processes, "progress": progress, "fwhm": fwhm, "shape": shape}
    if method == "outside" and any(a.is_modulus_q for a in spectrum.axes):
        return ideal(model, spectrum, resolution, seed=seed, source=source, **options)
    if method in (*PREPARED, "outside"):
        sampling = {"seed": seed, "tolerance": tolerance, "orientations": orientations, "source": source}
        prepared = of_bins(method, spectrum, resolution, points=points, **sampling)
        signal = prepared.signal(model if source is None else None, **options)
        return _titled(spectrum, signal, np.where(np.isnan(signal), np.nan, 0.0), method)
    bins = Bins(spectrum, resolution)
    if method == "energy":
        signal = _energy_only(model, bins, points, seed, fwhm, shape, orientations, progress)
        return _finished(spectrum, bins, signal, np.zeros_like(signal), method)
    nodes, source = _sampled(method, model, bins, source, seed, tolerance, orientations, progress)
    run = MonteCarlo(bins, nodes, source, points, seed, fwhm, shape, gaussian)
    return _finished(spectrum, bins, *_collected(run, bins, workers, processes, progress), method)


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
    bins: Bins | None = None,
) -> Spectrum:
    """The same grid without resolution: the mean of the model over the volume of each bin.

    The resolution determines the momenta of the bins (at one crystal angle, the coordinate along an integrated axis
    depends on the energy) and which bins are in the kinematic range, so that the result corresponds to that of
    `convolve`. Parameters, result and errors are the same as there; `points` are momenta spread evenly over each bin;
    the variance is the squared standard error of their mean.

    With a `source`, the mean is calculated from its modes, linear between their nodes and, for a crystal, without
    noise: the same modes that `convolve` uses. At one crystal angle the model itself is always evaluated. `bins` are
    those of grid and resolution, if they are there already.
    """
    points = _checked("ideal", points, workers)
    check_line(fwhm, shape)
    bins = bins or Bins(as_spectrum(model, grid, resolution), resolution)
    spectrum = bins.spectrum
    if source is not None and not bins.scattered:
        edges, finish = fine_line(bins, _line_step(bins, fwhm), fwhm, shape)
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
    bins: Bins | None = None,
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
    bins : Bins, optional
        Those of grid and resolution, if they are there already.

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
    bins = bins or Bins(as_spectrum(model, grid, resolution), resolution)
    momenta = momenta or GRID_LIMIT[method]
    extent = extent_of(bins, _nodes(bins).energies)
    return modes_seen(method, model, bins, extent, seed=seed, tolerance=tolerance, momenta=momenta, progress=progress)


def _checked(method: str, points: int, workers: int) -> int:
    if int(points) < 2:
        raise InputError(
            f"{points} points for method {method!r}", "ask for 2 or more: one has no scatter to tell its error"
        )
    if int(workers) < 1:
        raise InputError(f"{workers} workers", "ask for 1 or more")
    return int(points)


def _finished(spectrum: Spectrum, bins: Bins, signal, variance, method: str) -> Spectrum:
    full = np.full((2, math.prod(bins.shape), len(bins.energy)), np.nan)
    full[:, bins.columns] = signal, variance
    full[:, ~bins.reachable] = np.nan
    return _titled(spectrum, *(bins.from_columns(values) for values in full), method)


def _titled(spectrum: Spectrum, signal, variance, method: str) -> Spectrum:
    title = "ideal" if method == "ideal" else f"convolved ({method})"
    return spectrum.replace(signal=signal, variance=variance, num_events=None, masked=None, title=title)


def _sampled(method: str, model, bins: Bins, source, seed, tolerance, orientations, progress):
    """Nodes in energy and source of modes for Monte Carlo."""
    nodes = _nodes(bins, exact=method == "montecarlo")
    if method == "montecarlo":
        return nodes, DirectPowder(model) if bins.powder else Direct(model)
    if source is None:
        extent = extent_of(bins, nodes.energies)
        sampling = {"seed": seed, "tolerance": tolerance, "orientations": orientations, "progress": progress}
        source = modes_seen(method, model, bins, extent, **sampling)
    return nodes, source


def _nodes(bins: Bins, *, exact: bool = False) -> Nodes:
    """Energies for the resolution: if the momentum depends on the energy, results cannot be interpolated."""
    return nodes_in_bins(bins) if exact or bins.scattered else nodes_between(bins)


def _one_node(bins: Bins) -> Nodes:
    """One energy for all bins: their momenta do not depend on it."""
    energy = bins.energy
    return Nodes(energy.centers[:1], energy.edges, np.ones((1, len(energy))))


def _line_step(bins: Bins, fwhm: float | None) -> float:
    """Energy step for a line that is binned afterwards."""
    width = bins.energy.width
    return width if fwhm is None else max(fwhm / 8, width / 16)


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
