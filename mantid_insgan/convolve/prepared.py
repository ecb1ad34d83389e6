"""A convolution whose geometry is worked out once, for many models: `prepare`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from ..core.constants import FWHM_PER_SIGMA
from ..core.spectrum import Axis, Spectrum
from ..errors import InputError
from ..instruments import Resolution
from ..instruments.pulse_shapes import PULSES, PulseShapes
from ..models.lineshape import check_line
from .bins import Bins, OutsideBins, cells_between, nodes_between
from .covariance import CrystalGeometry, PowderGeometry, PowderRun, beyond, without_pulses
from .kernel import Mixtures, ModeTable, Patches, Ranges, blur, used_nodes
from .lines import fine_line, to_bins
from .modes import ModeGrid, PowderTable
from .shapes import ShapesGeometry
from .sources import TOLERANCE, GridAccuracyWarning, as_spectrum, extent_of, modes_seen
from .tasks import collected

#: Methods whose geometry can be worked out once.
PREPARED = ("covariance", "shapes")
#: Points in momentum to which the Gaussians and the volume of a bin are spread.
POINTS = {"covariance": 256, "shapes": 512, "outside": 256}
#: Directions at each |Q| with which a powder begins, and most momenta at which it is asked.
FIRST_DIRECTIONS, MOST_OF_POWDER = 100, 600_000
#: How far the points of a mixture reach, in standard deviations, and how far beyond the bins a grid reaches at least.
_MIXTURE, _GRID, _GRID_OF_SHAPES = 3.2, 4.0, 5.0
#: Columns at which it is looked for how narrow the Gaussians are that are summed.
_SOME_COLUMNS = 32
#: A line of another shape than a Gaussian is put in on energies this fine, for a standard deviation of the resolution
#: and for a bin.
_OF_SIGMA, _OF_BIN = 4, 16


def prepare(
    grid: Spectrum | Sequence[Axis],
    resolution: Resolution,
    *,
    method: str = "covariance",
    model=None,
    points: int | None = None,
    tolerance: float | None = None,
    orientations: int | None = None,
    momenta: int | None = None,
    widest: float = 1.25,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Prepared:
    """Work out all of a convolution that does not depend on the model, for a fit.

    Parameters
    ----------
    grid, resolution
        As in `convolve`.
    method : {'covariance', 'shapes'}
        'covariance' is a Gaussian of full covariance in (Q, E) that changes from place to place; 'shapes' a sum of
        Gaussians that has the shapes of pulses, apertures, sample and pixels, or of a powder those of the pulses.
    model
        One that is like those to come: it decides at which momenta they are asked. If not given, the first that the
        result is asked for is taken.
    points : int, optional
        In momentum to which the Gaussian and the bin's volume are spread; as in `POINTS` if not given.
    tolerance : float, optional
        Error allowed between the momenta at which models are asked, see `ModeGrid`; 0.05 if not given, and 0.02 for
        'shapes'. Of a powder the error of the result: root mean square over the valid bins, relative.
    orientations : int, optional
        Directions at each |Q| of a powder: the same for all models. As many as the tolerance asks if not given, up to
        `MOST_OF_POWDER` momenta.
    momenta : int, optional
        At how many a model may be asked at most, for a crystal.
    widest : float
        Largest `width_factor` that will be asked for.
    seed : int
        Of a powder's directions and of the places at which a grid of modes is tested.
    progress : callable, optional
        Called with (done, in all) while the momenta are chosen.

    Returns
    -------
    Prepared

    Raises
    ------
    InputError
        If the method or a number is out of range, or the axes cannot be placed.
    RunFactError
        If the lattice is missing, or the grid lies outside the kinematic range.

    Warns
    -----
    GridAccuracyWarning
        As `convolve`.
    """
    if method not in PREPARED:
        raise InputError(
            f"method {method!r} cannot be prepared",
            f"use one of {', '.join(map(repr, PREPARED))}, or `convolve` for the others",
        )
    points = POINTS[method] if points is None else points
    if int(points) < 2 or not widest > 0:
        raise InputError(
            f"{points} points and widths up to {widest:g} times the resolution's",
            "ask for 2 points or more, and for a factor above 0",
        )
    options = {"tolerance": tolerance, "orientations": orientations, "momenta": momenta, "seed": seed}
    bins = Bins(as_spectrum(model, grid, resolution), resolution)
    prepared = Prepared(bins, method=method, points=int(points), widest=widest, **options)
    if model is not None:
        prepared.start(model, progress)
    return prepared


class Prepared:
    """The geometry of a convolution, evaluated for one model after the other; made by `prepare`.

    The result is a smooth function of the couplings of a model: nothing is random, and models are asked at the same
    momenta.

    Parameters
    ----------
    bins : Bins
    method : str
        Whose limits are taken, and what the result is called.
    points, widest
        As in `prepare`.
    keep : bool
        Keep the geometry for the next model.
    source : ModeGrid or PowderTable, optional
        Of the model to start with.
    **options
        Of `modes_seen`.
    """

    def __init__(
        self,
        bins: Bins,
        *,
        method: str = "covariance",
        points: int | None = None,
        widest: float = 1.25,
        keep: bool = True,
        source: ModeGrid | PowderTable | None = None,
        **options,
    ):
        self.bins, self.method, self.widest = bins, method, widest
        self._points, self._keep, self._options = points or POINTS[method], keep, options
        self._start, self._source = None, source
        self._last: tuple[object, tuple, np.ndarray] | None = None
        self._patches: dict[int, tuple[Patches, Mixtures]] = {}
        self._used: dict[float, np.ndarray] = {}

    @property
    def spectrum(self) -> Spectrum:
        """The grid, with its valid bins and the facts of its run."""
        return self.bins.spectrum

    @property
    def source(self) -> ModeGrid | PowderTable | None:
        """The momenta at which models are asked, with the modes of the first."""
        return self._source

    @property
    def momenta(self) -> int:
        """At how many momenta a model is asked; 0 before the first."""
        if self._source is None:
            return 0
        return self._source.size if self.bins.powder else int(self._nodes_used(1.0).sum())

    def start(self, model, progress: Callable[[int, int], None] | None = None) -> None:
        """Choose the momenta at which models are asked by one of them, unless they are chosen."""
        if self._source is None:
            reach = max(_GRID if self._pulses is None else _GRID_OF_SHAPES, _MIXTURE * self.widest)
            options = {**self._options, "reach": reach, "progress": progress}
            self._start = model
            if self.bins.powder and options.get("orientations") is None:
                self._choose_directions(options)
            else:
                self._source = modes_seen(self.method, model, self.bins, self._extent, **options)

    @property
    def first(self):
        """The model that it began with; None before."""
        return self._start

    def take(self, table: PowderTable) -> None:
        """From now on ask models of a powder at the momenta of another table, of the model that this began with."""
        self._source, self._last = table, None
        self.__dict__.pop("_geometry", None)

    def _choose_directions(self, options: dict) -> None:
        """Four times as many directions, until the result is as good as the tolerance asks.

        Where few directions pass near a Bragg point, they have most of the intensity at low energies.
        """
        tolerance, count, found, error = options["tolerance"] or TOLERANCE[self.method], FIRST_DIRECTIONS, None, np.inf
        while error > tolerance and (error == np.inf or 4 * self._source.size <= MOST_OF_POWDER):
            coarser, self._last, count = found, None, count if found is None else 4 * count
            self._source = modes_seen(
                self.method, self._start, self.bins, self._extent, **{**options, "orientations": count}
            )
            found = self.signal(self._start)
            if coarser is not None:
                valid = self.spectrum.valid & np.isfinite(found)
                # Errors fall with the root of the number of directions, or faster.
                error = _change(coarser[valid], found[valid]) / 2
        self._last = None
        if error > tolerance:
            warnings.warn(
                f"the powder's spectrum from {count} directions at each |Q| is off by about {error:.1%} (root mean "
                f"square), tolerance {tolerance:.1%}; more would need more than {MOST_OF_POWDER} momenta. Fix: take "
                f"fewer bins of |Q|, or accept this error with a tolerance above {error:.2g}",
                GridAccuracyWarning,
                stacklevel=4,
            )

    def signal(
        self,
        model,
        *,
        fwhm: float | None = None,
        shape: str = "dho",
        width_factor: float = 1.0,
        sharpness: tuple[float, float] = (1.0, 1.0),
        workers: int = 1,
        processes: bool = False,
        progress: Callable[[int, int], None] | None = None,
        compiled: bool | None = None,
    ) -> np.ndarray:
        """A model through the resolution.

        Parameters
        ----------
        model
            With ``modes(q_rlu)``; for a powder also ``lattice``. None for the modes of `source`.
        fwhm, shape
            Intrinsic line width in meV and shape, see `mantid_insgan.models.lineshape.bin_modes`.
        width_factor : float
            On all widths of the resolution.
        sharpness : tuple of (float, float)
            How many times finer than the resolution in momentum and in energy, as `Resolution.sharpened` takes them;
            for 'shapes' only the same in both.
        workers, processes, progress
            As in `convolve`.
        compiled : bool, optional
            Whether loops compiled by numba are used; where numba is installed, if not given.

        Returns
        -------
        ndarray of the shape of `spectrum`
            In the units of the model per meV (mbarn/sr/meV); NaN where no neutron can be.

        Raises
        ------
        InputError
            If the line shape is not known, a width is not positive or the factor is not between 0 and `widest`.
        """
        check_line(fwhm, shape)
        if not 0 < width_factor <= self.widest:
            raise InputError(
                f"the factor on the widths of the resolution is {width_factor:g}, expected above 0 and at most "
                f"{self.widest:g}, for which the convolution was prepared",
                "prepare it with a larger `widest`",
            )
        if self._pulses is not None and sharpness[0] != sharpness[1]:
            raise InputError(
                f"a resolution {sharpness[0]:g} times finer in momentum and {sharpness[1]:g} in energy, with shapes",
                "prepare the convolution with `resolution.sharpened`",
            )
        if model is not None:
            self.start(model, progress)
        if fwhm is None or shape == "gaussian":  # one more Gaussian, to be added as it is
            edges, finish = self._edges, to_bins(self._edges, self.bins)
            line = 0.0 if fwhm is None else fwhm / FWHM_PER_SIGMA
        else:
            edges, finish = fine_line(self.bins, self._line_step, fwhm, shape)
            line = 0.0
        how = (len(edges), float(edges[0]), float(edges[-1]), line, width_factor, sharpness, compiled)
        if not self._is_last(model, how):
            shape_of_all = (len(self.bins.columns), len(edges) - 1)
            factors = tuple(width_factor / times for times in sharpness)
            run = self._run(model, edges, line, factors, compiled, 1 if processes else workers)
            found, _ = collected(run, shape_of_all, workers, processes, progress)
            self._last = (model, how, found)
        return self._on_grid(self._last[2] @ finish)

    def _is_last(self, model, how: tuple) -> bool:
        """Whether this was asked for last, but for the width of a line that is put in afterwards."""
        return self._keep and self._last is not None and self._last[0] is model and self._last[1] == how

    def _run(self, model, edges: np.ndarray, line: float, factors: tuple[float, float], compiled, threads: int):
        """The tasks of one convolution, with factors on the widths in momentum and in energy at a given momentum."""
        if self.bins.powder:
            return PowderRun(self._geometry, self._powder_table(model), edges, line, factors)
        return _CrystalRun(self, self._mode_table(model, factors[0], threads), edges, line, factors, compiled)

    def convolve(self, model, **options) -> Spectrum:
        """As `signal`, which takes the same options, as a spectrum with the facts of the grid; its variance is 0."""
        signal = self.signal(model, **options)
        return self.spectrum.replace(
            signal=signal, variance=0 * signal, num_events=None, masked=None, title=f"convolved ({self.method})"
        )

    @cached_property
    def _cells(self):
        """Ranges of energy, or nodes for a powder; by what the modes of the source do along them."""
        return nodes_between(self.bins) if self.bins.powder else cells_between(self.bins, self._source.change)

    @property
    def _edges(self) -> np.ndarray:
        """Energy bins, or a division of them, meV."""
        return self._cells.edges

    @cached_property
    def _extent(self):
        energies = self._cells.energies if self.bins.powder else cells_between(self.bins).borders
        return extent_of(self.bins, np.minimum(energies, self.bins.resolution.ei))

    @cached_property
    def _pulses(self) -> PulseShapes | None:
        """The shapes of pulses that are taken into account."""
        return PulseShapes.of(self.bins.resolution.beam) if self.method == "shapes" else None

    @cached_property
    def _sigma(self) -> float:
        """Smallest standard deviation in energy, meV, of the Gaussians that are summed."""
        if self._pulses is None:
            return float(self._extent.narrow[-1])
        some = self.bins.columns[np.unique(np.linspace(0, len(self.bins.columns) - 1, _SOME_COLUMNS).astype(int))]
        energies = np.minimum(self.bins.energy.centers, self.bins.resolution.ei)
        at = self.bins.points(self.bins.coordinates(np.repeat(some, len(energies))), np.tile(energies, len(some)))
        gaussians = without_pulses(self._pulses, self.bins.deviations(at)[:, list(PULSES)], self.bins.covariance(at))
        return float(np.sqrt(min(covariance[:, -1, -1].min() for _, covariance in gaussians)))

    @cached_property
    def _line_step(self) -> float:
        """How fine the energies are on which a line is put in: a part of a range between two of `_edges`, meV."""
        wanted = max(self._sigma / _OF_SIGMA, self.bins.energy.width / _OF_BIN)
        step = self._edges[1] - self._edges[0]
        return step / np.ceil(step / wanted * (1 - 1e-9))

    @cached_property
    def _geometry(self) -> CrystalGeometry | PowderGeometry:
        if self.bins.powder:
            return PowderGeometry(self.bins, self._cells, self._source, self._sigma, self._pulses)
        geometry = ShapesGeometry if self.method == "shapes" else CrystalGeometry
        return geometry(self.bins, self._cells, self._source, self._points)

    def patches(self, number: int) -> tuple[Patches, Mixtures]:
        """The Gaussians of one task, see `CrystalGeometry.patches`."""
        if number in self._patches:
            return self._patches[number]
        found = self._geometry.patches(number)
        if self._keep:
            self._patches[number] = found
        return found

    def _mode_table(self, model, factor: float, threads: int) -> ModeTable:
        if model is None:
            return self._table_of_source
        if model is self._start:
            return self._source.table.merged()
        return self._source.table_of(model, self._nodes_used(factor), threads).merged()

    @cached_property
    def _table_of_source(self) -> ModeTable:
        return self._source.table.merged()

    def _powder_table(self, model) -> PowderTable:
        return self._source if model is None or model is self._start else self._source.asked(model)

    def _nodes_used(self, factor: float) -> np.ndarray:
        """Nodes of the grid of modes that the points of all patches need, shape (N,), bool."""
        if factor not in self._used:
            if len(self._used) > 1:
                self._used = {1.0: self._used[1.0]} if 1.0 in self._used else {}
            used = np.zeros(self._source.size, bool)
            for number in range(self._geometry.tasks):
                used |= used_nodes(*self.patches(number), self._source.counts, factor)
            self._used[factor] = used
        return self._used[factor]

    def _on_grid(self, values: np.ndarray) -> np.ndarray:
        """From (columns, energies) to the shape of the spectrum, NaN where no neutron can be."""
        full = np.full(self.bins.reachable.shape, np.nan)
        full[self.bins.columns] = values
        full[~self.bins.reachable] = np.nan
        return self.bins.from_columns(full)


def _change(values: np.ndarray, better: np.ndarray) -> float:
    """Root mean square of the difference, relative."""
    return float(np.sqrt(((values - better) ** 2).sum() / max((better**2).sum(), 1e-300)))


class _CrystalRun:
    """A crystal's modes through the resolution, in tasks of a few columns."""

    def __init__(self, prepared: Prepared, table: ModeTable, edges: np.ndarray, line: float, factors, compiled):
        self._prepared, self._table, self._bins = prepared, table, len(edges) - 1
        self._options = {"line": line, "factor": factors[0], "compiled": compiled}
        self._own = (factors[1] / factors[0]) ** 2
        self._ranges = _ranges(prepared._cells.borders, edges)
        self.tasks = prepared._geometry.tasks

    def task(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Do one task: see `MonteCarlo.task`; the variance is 0."""
        patches, mixtures = self._prepared.patches(number)
        if self._ranges.first[0] > 0:
            patches = beyond(patches, len(self._prepared._cells.borders))
        if self._own != 1:
            patches = replace(patches, own=patches.own * self._own)
        columns = self._prepared._geometry.columns(number)
        total = np.zeros((len(columns), self._bins))
        blur(total, patches, mixtures, self._ranges, self._table, **self._options)
        return columns, total, np.zeros_like(total)


def _ranges(nodes: np.ndarray, edges: np.ndarray) -> Ranges:
    """From each node's neighbour to the other, with shares that are linear in between; `nodes` are some of `edges`.

    There are two ranges more: what lies before and behind all nodes, for lines that reach into the bins.
    """
    step = (edges[-1] - edges[0]) / (len(edges) - 1)
    index = np.rint((nodes - edges[0]) / step).astype(int)
    middles = 0.5 * (edges[1:] + edges[:-1])
    shares = [np.interp(middles, nodes, row) for row in np.eye(len(nodes))]
    return Ranges(
        float(edges[0]),
        float(step),
        np.concatenate([index[:1], index[:-1], [0, index[-1]]]),
        np.concatenate([index[1:], index[-1:], [index[0], len(edges) - 1]]),
        np.concatenate([nodes, nodes[[0, -1]]]),
        np.stack([*shares, np.ones(len(middles)), np.ones(len(middles))]),
    )


def of_bins(method: str, spectrum: Spectrum, resolution: Resolution, **options) -> Prepared:
    """A convolution for one model: nothing is kept for the next. Options are those of `Prepared`."""
    bins = (OutsideBins if method == "outside" else Bins)(spectrum, resolution)
    return Prepared(bins, method=method, keep=False, **options)
