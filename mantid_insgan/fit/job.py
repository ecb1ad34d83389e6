"""A fit from files: what the command line, scripts and Mantid call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

from ..core.model_options import FitOptions, parse_settings
from ..core.options import RUN_OPTIONS, option, require_file
from ..core.spectrum import Spectrum
from ..errors import InputError
from ..instruments import Resolution
from ..io import read_as
from ..models.definition import ModelDefinition, read_model
from ..models.placing import run_in_cell
from .compare import Comparison, compare
from .evidence import check_limits
from .form import ProblemFile, changed, is_problem, read_problem
from .measured import Dataset
from .minimise import Progress
from .problem import Problem
from .result import FitResult, fit

#: Options that belong to a measurement, beside the facts of its run.
_OF_DATA = ("axes", "q_bins", "q_range", "energy_bins", "energy_range", "width_factor", "sample", "mosaic")


def fit_files(
    source: str | Path,
    data: Sequence[str | Path] = (),
    options: FitOptions | None = None,
    *,
    log: str | Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    workers: int = 1,
    dask: str | None = None,
) -> FitResult:
    """Fit a model to measurements.

    Parameters
    ----------
    source : path
        File of a problem (docs/fitting.md), or of a model (docs/models.md) to be fitted to `data`.
    data : sequence of path
        Data files, where `source` is a model.
    options : FitOptions, optional
    log, resume, progress, workers, dask
        See `fit`.

    Raises
    ------
    InsganError
        As `Problem` and `fit`; if a file cannot be read or an option is unknown.
    """
    given = _read(source, data, options or FitOptions())
    if len(given.definitions) > 1:
        raise InputError(f"{source} names {len(given.definitions)} models", "use `insgan compare` for rivals")
    return _fitted(given, 0, log=log, resume=resume, progress=progress, workers=workers, dask=dask)


def compare_files(
    source: str | Path,
    models: Sequence[str | Path] = (),
    options: FitOptions | None = None,
    *,
    block: int = 5,
    bounded: bool = False,
    log: str | Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    workers: int = 1,
    dask: str | None = None,
) -> tuple[list[FitResult], list[Comparison]]:
    """Fit each of some rival models to the same measurements and compare them.

    Parameters
    ----------
    source : path
        File of a problem.
    models : sequence of path
        Rivals beside those that the problem names.
    options : FitOptions, optional
    block : int
        See `compare`.
    bounded : bool
        Refuse free parameters without limits before the first fit, for the evidence that is to follow.
    log, resume, progress, workers, dask
        See `fit`; the log of each rival has its number in the name.

    Raises
    ------
    InsganError
        As `fit_files` and `compare`; with `bounded` as `check_limits`.
    """
    options = options or FitOptions()
    given = _read(source, (), options)
    rivals = tuple(changed(read_model(path), parse_settings(options.set), options.free) for path in models)
    given = ProblemFile(given.definitions + rivals, given.datasets, given.options)
    if bounded:
        check_limits(given.definitions)
    logs = [None if log is None else Path(f"{log}.{n}") for n in range(len(given.definitions))]
    fits = [_fitted(given, n, log=logs[n], resume=resume, progress=progress) for n in range(len(given.definitions))]
    return fits, compare(fits, block=block, seed=given.options["seed"])


def fit_spectra(
    definition: ModelDefinition,
    spectra: Mapping[str, Spectrum],
    options: FitOptions | None = None,
    *,
    progress: Progress | None = None,
) -> FitResult:
    """Fit a model to spectra in memory.

    Parameters
    ----------
    definition : ModelDefinition
    spectra : mapping of str to Spectrum
        By the names that messages and tables use.
    options : FitOptions, optional
        A lattice that neither these nor the data have is the model's.
    progress : callable, optional
        See `fit`.

    Raises
    ------
    InsganError
        As `Problem` and `fit`; if an option is unknown.
    """
    options = options or FitOptions()
    definition, datasets = fit_data(definition, spectra, options)
    given = {f.name: getattr(options, f.name) for f in fields(options)}
    return _fitted(ProblemFile((definition,), datasets, given), 0, progress=progress)


def fit_data(
    definition: ModelDefinition, spectra: Mapping[str, Spectrum], options: FitOptions
) -> tuple[ModelDefinition, tuple[Dataset, ...]]:
    """The model and the datasets of `fit_spectra`, checked and with the facts of the options; errors as there."""
    require_file(options, False, "the spectra are in memory")
    definition = changed(definition, parse_settings(options.set), options.free)
    return definition, tuple(_dataset(definition, *item, options) for item in spectra.items())


def _read(source, data, options: FitOptions) -> ProblemFile:
    """What is to be done, with every option."""
    source = Path(source)
    if is_problem(source):
        if data:
            raise InputError(f"{source} names its data, and {len(data)} more files were given", "give them in the file")
        of_data = [option(n, FitOptions)["flag"] for n in (*RUN_OPTIONS, *_OF_DATA) if n in options.given()]
        if of_data:
            raise InputError(
                f"{source} names its data, and {', '.join(of_data)} would be of all of them",
                "give such facts in the file, beside the data that they belong to",
            )
        found = read_problem(source)
        options = FitOptions().updated(**_plain(found.options)).updated(**options.given())
        definitions = tuple(changed(d, parse_settings(options.set), options.free) for d in found.definitions)
        datasets = found.datasets
    else:
        if not data:
            raise InputError(f"{source} is a model, and no data to fit were given", "give data files, or a problem")
        definitions = (changed(read_model(source), parse_settings(options.set), options.free),)
        read = ((Path(path).name, read_as(path, options)) for path in data)
        datasets = tuple(_dataset(definitions[0], *item, options) for item in read)
    return ProblemFile(definitions, datasets, {f.name: getattr(options, f.name) for f in fields(options)})


def _plain(options: dict) -> dict:
    """Options of a file: one name where several may be given is a list of one."""
    kinds = FitOptions.__dataclass_fields__
    several = {name for name, entry in kinds.items() if isinstance(entry.default, tuple)}
    return {
        name: tuple([value] if isinstance(value, str) else value) if name in several else value
        for name, value in options.items()
    }


def _dataset(definition: ModelDefinition, name: str, spectrum: Spectrum, options: FitOptions) -> Dataset:
    """A measurement with the facts of the options, in the cell of the model."""
    run = options.run(spectrum.run)
    if run.lattice is not None or any(a.is_rlu or a.projection is not None for a in spectrum.axes):
        run = run_in_cell(definition, run)
    resolution = Resolution.from_run(run, **options.of_resolution())
    resolution.frame(spectrum)  # refuses axes that cannot be placed
    return Dataset(spectrum.replace(run=run), resolution, name)


def _fitted(given: ProblemFile, number: int, **how) -> FitResult:
    options = given.options
    passed = ("resolution", "scale", "weights", "loss", "model_error", "shape", "seed", "points")
    problem = Problem(
        given.datasets,
        given.definitions[number],
        background=options["background"] or ("constant",),
        **{name: options[name] for name in passed},
    )
    searched = ("starts", "spread", "tolerance", "smoothing", "corrections", "profile", "profile_by")
    return fit(problem, **{name: options[name] for name in searched}, **how)
