"""A model of S(Q,E) as a spectrometer would record it: command line, scripts and Mantid all come here."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from .. import __version__
from ..convolve import GridAccuracyWarning, convolve, ideal
from ..convolve.bins import Bins
from ..core.model_options import SIMULATED_BY, SimulateOptions, parse_settings
from ..core.options import RUN_OPTIONS, ApplyOptions, option, overridden
from ..core.run import NO_RESOLUTION, RUN_FACTS, SPECTROMETER, Run, Setting
from ..core.slices import require_network_axes
from ..core.spectrum import Axis, Spectrum, open_axes
from ..errors import InputError
from ..instruments import Orientation, Resolution
from ..instruments.frames import energies
from ..io.crystal import parse_direction
from ..models.definition import ModelDefinition
from ..models.lineshape import check_line
from ..models.parameters import LINE, WIDTH_FACTOR
from ..models.placing import notes_on_temperature, run_in_cell
from .cards import model_for
from .job import apply

#: Methods that put the resolution in as a whole.
_IN_FULL = ("covariance", "shapes", "interpolated", "montecarlo", "gan")
#: What the history of an output calls this job.
HISTORY_NAME = "insgan simulate"
_MEV = re.compile(r"delta\s?e|mev|energy\s?transfer", re.IGNORECASE)
_PER_ANGSTROM = re.compile(
    r"1\s*/\s*(a|å|angstroms?)|(a|å|angstroms?)\s*(\^?\s*\(?-\s*1\)?|⁻¹)|momentum\s?transfer", re.IGNORECASE
)

#: Called with the share done, 0 to 1.
Progress = Callable[[float], None]


@dataclass
class Simulation:
    """What is to be simulated, with everything checked that can be checked without asking the model.

    Attributes
    ----------
    definition : ModelDefinition
        With the values to be simulated as its starts.
    grid : Spectrum
        Axes and valid bins, with the facts of the run.
    resolution : Resolution
    options : SimulateOptions
    notes : list of str
        What a careful user should know.
    """

    definition: ModelDefinition
    grid: Spectrum
    resolution: Resolution
    options: SimulateOptions
    notes: list[str] = field(default_factory=list)

    @property
    def values(self) -> dict[str, float]:
        """The value of every parameter; an intrinsic line given as an option is used in place of the model's."""
        given = {} if self.options.line is None else {LINE: float(self.options.line)}
        return self.definition.values() | given

    @property
    def line(self) -> float | None:
        """Intrinsic FWHM in meV; None for sharp modes."""
        line = self.values.get(LINE)
        return None if line is None or line <= 0 else float(line)

    def spectrum(self, progress: Progress | None = None) -> Spectrum:
        """The simulated intensity, mbarn/sr/meV in the units of the model, on the grid.

        Raises
        ------
        UnstableModelError
            If the model is not stable at its values.
        InsganError
            As `convolve` and, for 'gan', `translate.job.apply`.
        """
        model = self.definition.build()
        temperature = getattr(model, "temperature", None)
        self.notes += notes_on_temperature(temperature, self.grid.run)
        method, phases = self.options.resolution, _Phases(progress)
        how = {"points": self.options.points, "seed": self.options.seed, "fwhm": self.line, "shape": self.options.shape}
        how = {name: value for name, value in how.items() if value is not None} | {"progress": phases}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", GridAccuracyWarning)
            if method in ("none", "gan"):
                found = ideal(model, self.grid, self.resolution, **how)
            else:
                found = convolve(model, self.grid, self.resolution, method=method, **how)
        self._note_warnings(caught)
        if method == "gan":
            found = self._through_network(found, phases)
        run = self._run_of_result()
        if run.temperature is None:
            run = run.updated(f"model {self.definition.name}", temperature=temperature)
        return found.replace(run=run, title=f"{self.definition.name} ({method})")

    def _run_of_result(self) -> Run:
        """The facts of the run, with what resolution the simulation has where that is that of a run in full."""
        stated, method = self.grid.run.value("resolution"), self.options.resolution
        if method == "none":  # nothing is said of a simulation that is like no result
            sharpness = None if stated is None else NO_RESOLUTION
        else:
            sharpness = self.resolution.sharpness if method in _IN_FULL else None
        if sharpness is None:
            return self.grid.run
        setting = replace(stated or Setting(), sharpness=sharpness)
        return self.grid.run.with_resolution(HISTORY_NAME, setting)

    def history(self, **more) -> dict:
        """Record of this simulation for the file that is written; `more` joins its parameters."""
        names = (name for name in RUN_FACTS if name != "resolution" and getattr(self.grid.run, name))
        facts = {name: getattr(self.grid.run, name).value for name in names}
        facts |= {"lattice": ",".join(f"{x:g}" for x in facts["lattice"].cell)} if "lattice" in facts else {}
        # the values are said below, with those that come from the model
        given = {n: v for n, v in self.options.given().items() if n != "set"}
        values = {f"model {name}": value for name, value in self.values.items()}
        parameters = {"model": self.definition.name, **more, **facts, **given, "resolution": self.options.resolution}
        return {"name": HISTORY_NAME, "version": __version__, "parameters": parameters | values}

    def _through_network(self, sharp: Spectrum, progress: _Phases) -> Spectrum:
        progress.next()
        how = {name: getattr(self.resolution, name) for name in ("width_factor", "sample", "mosaic")}
        options = ApplyOptions(direction="add-resolution", **how)
        sharp = sharp.replace(run=replace(sharp.run, resolution=None))
        found, report = apply(sharp, options, progress=lambda share: progress(share, 1))
        self.notes.append(f"resolution added by the model {report.model}")
        self.notes += [note for note in report.notes if note not in self.notes]
        return found

    def _note_warnings(self, caught) -> None:
        for warning in caught:
            if issubclass(warning.category, GridAccuracyWarning):
                self.notes.append(str(warning.message))
            else:
                warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


def plan_simulation(
    definition: ModelDefinition,
    grid: Spectrum | Sequence[Axis],
    run: Run | Resolution | None = None,
    options: SimulateOptions | None = None,
    **keywords,
) -> Simulation:
    """Check a simulation before the model is asked; parameters and errors as `simulate`."""
    options = (options or SimulateOptions()).updated(**keywords)
    _check_options(options)
    definition = definition.with_starts(**parse_settings(options.set))
    facts, resolution = _facts(definition, grid, run, options)
    spectrum = _grid(grid, facts)
    _check_units(spectrum.axes)
    factor = definition.values().get(WIDTH_FACTOR, 1.0)
    factor *= options.width_factor
    if resolution is None:
        of_run = Resolution.of_spectrometer if options.resolution in ("none", "gan") else Resolution.from_run
        how = options.of_resolution() | {"width_factor": factor}
        resolution = of_run(facts, orientation=_orientation(options), **how)
    else:
        resolution = resolution.scaled(factor)
    spectrum = spectrum.replace(run=_oriented(spectrum, resolution))
    simulation = Simulation(definition, spectrum, resolution, options, [*overridden(facts), *facts.notes])
    if options.resolution == "gan":
        _require_spectrometer(facts)
        require_network_axes(spectrum.axes)
        model_for("add-resolution", len(open_axes(spectrum.axes)), None)
    return simulation


def _require_spectrometer(run: Run) -> None:
    stated = run.value("resolution")
    if stated is not None and stated.sharpness not in (None, SPECTROMETER):
        raise InputError(
            f"the data have {stated.described()} ({run.resolution.source}: {stated}), and --resolution gan adds that "
            "of the spectrometer",
            "use --resolution covariance, which takes the resolution of the data, or none",
        )


def simulate(
    definition: ModelDefinition,
    grid: Spectrum | Sequence[Axis],
    run: Run | Resolution | None = None,
    options: SimulateOptions | None = None,
    *,
    progress: Progress | None = None,
    **keywords,
) -> Spectrum:
    """A model of S(Q,E) on a grid, as a spectrometer would record it.

    Parameters
    ----------
    definition : ModelDefinition
        From `models.definition.read_model`.
    grid : Spectrum or sequence of Axis
        Measured data, whose axes and valid bins are taken; or axes: |Q| or up to three directions in r.l.u., and
        energy transfer in meV.
    run : Run or Resolution, optional
        Facts of the measurement, those of `grid` if not given; or the resolution itself, which takes no options of the
        run.
    options : SimulateOptions, optional
        Where neither these nor the run have a lattice, the model's is taken.
    progress : callable, optional
        Called with the share done, 0 to 1.
    **keywords
        Fields of `SimulateOptions`, in place of those of `options`: ``simulate(definition, axes, instrument="MAPS",
        ei=60, chopper="S", frequency=400, set=("J=29",))``.

    Returns
    -------
    Spectrum
        In the units of the model per meV (mbarn/sr/meV), with the facts of the run. Bins that no neutron can reach, and
        bins that are not valid in `grid`, are NaN.

    Raises
    ------
    InputError
        If a parameter, option, axis or unit is unknown, or the unit cells of model and data differ by more than 2 %.
    RunFactError
        If a fact of the run is missing or out of range.
    UnstableModelError
        If the model is not stable at its values.
    """
    return plan_simulation(definition, grid, run, options, **keywords).spectrum(progress)


class _Phases:
    """The share done of a job of which each part tells (done, in all) for itself: a new part is one that begins anew.

    Each part is taken to be half of what is left.
    """

    def __init__(self, progress: Progress | None):
        self._progress, self._start, self._last, self._total = progress, 0.0, 0.0, None

    def __call__(self, done: float, total: float) -> None:
        if done / total < self._last or total != self._total:
            self.next()
        self._last, self._total = done / total, total
        if self._progress is not None:
            self._progress(self._start + (1 - self._start) / 2 * self._last)

    def next(self) -> None:
        """Begin a new part."""
        self._start += (1 - self._start) / 2 * self._last
        self._last = 0.0


def _check_options(options: SimulateOptions) -> None:
    if options.resolution not in SIMULATED_BY:
        raise InputError(
            f"--resolution is {options.resolution!r}, expected one of {', '.join(SIMULATED_BY)}", "give one of them"
        )
    if options.points is not None and options.points < 2:
        raise InputError(f"--points is {options.points}", "ask for 2 or more")
    check_line(options.line, options.shape)
    if (options.u is None) != (options.v is None):
        given, missing = ("u", "v") if options.v is None else ("v", "u")
        raise InputError(f"--{given} was given without --{missing}", "give both, or neither for a turned crystal")
    if options.u is not None and options.resolution == "gan":
        raise InputError(
            "--resolution gan was asked for with --u and --v: the bundled models know crystals that were turned",
            "use --resolution covariance for a crystal that was not turned",
        )


def _facts(definition, grid, run, options) -> tuple[Run, Resolution | None]:
    """The facts of the run, and the resolution if that was given."""
    resolution = run if isinstance(run, Resolution) else None
    if resolution is not None:
        given = [n for n in (*RUN_OPTIONS, "u", "v") if getattr(options, n) is not None]
        if given:
            raise InputError(
                f"a resolution was given together with {', '.join(option(n, SimulateOptions)['flag'] for n in given)}",
                "give a Run with these facts instead, or leave them out",
            )
        names = ("instrument", "ei", "chopper", "frequency", "lattice")
        run = Run().updated("resolution", **{n: getattr(resolution, n) for n in names})
    elif run is None:
        run = grid.run if isinstance(grid, Spectrum) else Run()
    facts = options.run(run)
    axes = grid.axes if isinstance(grid, Spectrum) else tuple(grid)
    if facts.lattice is not None or any(a.is_rlu or a.projection is not None for a in axes):
        facts = run_in_cell(definition, facts)
    if resolution is not None and resolution.lattice is None and facts.lattice is not None:
        raise InputError("the resolution that was given has no lattice", "make it with the lattice of the data")
    return facts, resolution


def _orientation(options: SimulateOptions) -> Orientation | None:
    if options.u is None:
        return None
    return Orientation(*(parse_direction(name, getattr(options, name)) for name in ("u", "v")))


def _oriented(spectrum: Spectrum, resolution: Resolution) -> Run:
    """The facts of the run, with the orientation (UB) for which the resolution is calculated.

    Raises
    ------
    InputError, RunFactError
        If the axes cannot be placed.
    """
    run, lattice = spectrum.run, spectrum.run.lattice
    # Reachable bins take long to work out and are not needed here.
    count = len(energies(spectrum))
    frame = Bins(spectrum, resolution, np.ones((spectrum.signal.size // count, count), bool)).frame
    if frame.powder or lattice is None or (lattice.value.ub is not None and resolution.orientation is None):
        return run
    ub = frame.to_lab @ lattice.value.b_matrix()
    return replace(run, lattice=replace(lattice, value=replace(lattice.value, ub=ub)))


def _grid(grid: Spectrum | Sequence[Axis], run: Run) -> Spectrum:
    if isinstance(grid, Spectrum):
        return grid.replace(run=run)
    axes = tuple(grid)
    nothing = np.zeros(tuple(len(a) for a in axes))
    return Spectrum(nothing, nothing, axes, run=run, coordinate_system=3 if any(a.frame == "HKL" for a in axes) else 0)


def _check_units(axes: Sequence[Axis]) -> None:
    """Raise InputError for an energy that is not in meV, or |Q| that is not in 1/Angstrom."""
    for axis in axes:
        known = _MEV if axis.is_energy else _PER_ANGSTROM if axis.is_modulus_q else None
        if known is not None and not known.fullmatch(axis.unit.strip()):
            expected = "meV" if axis.is_energy else "1/Angstrom"
            raise InputError(
                f"the axis {axis.name!r} is in {axis.unit!r}, expected {expected}", f"convert the axis to {expected}"
            )
