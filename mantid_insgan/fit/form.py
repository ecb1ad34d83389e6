"""The YAML form of a problem: data, model and how they are compared (docs/fitting.md has the reference)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError

from ..core.options import oriented_as, parse_lattice
from ..core.run import Lattice, Run
from ..core.spectrum import Spectrum
from ..errors import InputError
from ..instruments import Orientation, Resolution
from ..io import read_spectrum
from ..io.path import read_path
from ..models.definition import ModelDefinition, read_model
from ..models.form import Form, explained, read_yaml
from . import masks
from .measured import Dataset

_Range = tuple[float, float]
_Vector = tuple[float, float, float]
_Positive = Annotated[float, Field(gt=0)]


def _listed(given: Any) -> Any:
    return [given] if isinstance(given, str) else given


_Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]


class PathForm(Form):
    """Text tables of a path, see `io.path.read_path`."""

    signal: str
    momenta: str
    energies: str
    variance: str | None = None
    across: float | _Vector = 0.05
    gap: float | None = None
    largest_variance: _Positive | None = None


class PolygonForm(Form):
    """Corners in the units of two axes."""

    axes: tuple[str, str]
    corners: list[_Range]


class BraggForm(Form):
    """Radius in 1/Angstrom; energy in meV."""

    radius: _Positive
    energy: _Positive | None = None


class MaskForm(Form):
    """What is left out of the fit, and what alone is kept: see `fit.masks`."""

    keep: dict[str, _Range] = {}
    leave_out: dict[str, _Range] = {}
    polygons: list[PolygonForm] = []
    eroded: Annotated[int, Field(ge=0)] = 0
    elastic: _Positive | None = None
    bragg: BraggForm | None = None


class OrientationForm(Form):
    """(h, k, l) along the beam, and another in the horizontal plane, of a crystal measured at one angle."""

    u: _Vector
    v: _Vector


class DataForm(Form):
    """One measurement: a file, or text tables of a path, each segment of which is a dataset."""

    file: str | None = None
    axes: list[str] | None = None
    q_bins: int | None = None
    q_range: tuple[float, float] | None = None
    energy_bins: int | None = None
    energy_range: tuple[float, float] | None = None
    path: PathForm | None = None
    name: str | None = None
    instrument: str | None = None
    ei: _Positive | None = None
    chopper: str | None = None
    frequency: _Positive | None = None
    lattice: list[float] | None = None
    orientation: OrientationForm | None = None
    width_factor: _Positive = 1.0
    sample: str | None = None
    mosaic: float = 0.0
    fixed: dict[str, float] = {}
    background: _Names | None = None
    group: str | None = None
    mask: MaskForm = MaskForm()


class ProblemForm(Form):
    """Keys of the file of a problem; the others are the options of `insgan fit`."""

    model: str | None = None
    models: list[str] | None = None
    data: Annotated[list[DataForm], Field(min_length=1)]
    set: dict[str, float] = {}
    free: _Names | None = None
    options: dict[str, Any] = {}


@dataclass(frozen=True)
class ProblemFile:
    """What a file of a problem says.

    Parameters
    ----------
    definitions : tuple of ModelDefinition
        The model, or the rivals.
    datasets : tuple of Dataset
    options : dict
        Of `FitOptions`, as the file gives them.
    """

    definitions: tuple[ModelDefinition, ...]
    datasets: tuple[Dataset, ...]
    options: dict[str, Any]


def is_problem(path: Path) -> bool:
    """Whether a file in YAML is a problem (it has the key data) and not a model."""
    return "data" in read_yaml(path)


def read_problem(path: str | Path) -> ProblemFile:
    """Read the file of a problem; names of files in it are looked for beside it.

    Parameters
    ----------
    path : str or Path

    Raises
    ------
    InputError
        If the file says something that is not expected, or a file that it names cannot be read.
    RunFactError
        If a fact of a measurement is missing.
    """
    path = Path(path)
    try:
        form = ProblemForm.model_validate(read_yaml(path))
    except ValidationError as problem:
        raise explained(path, problem, ProblemForm) from problem
    names = form.models or ([] if form.model is None else [form.model])
    if not names or (form.model and form.models):
        raise InputError(f"{path} names {'no model' if not names else 'model and models'}", "give one of the two keys")
    definitions = tuple(changed(read_model(path.parent / name), form.set, form.free) for name in names)
    for number, entry in enumerate(form.data, start=1):
        if (entry.file is None) == (entry.path is None):
            what = "neither file nor path" if entry.file is None else "both file and path"
            raise InputError(f"{path}: entry {number} of data has {what}", "give one of the two keys")
    datasets = tuple(d for entry in form.data for d in _datasets(entry, path.parent, definitions[0].lattice))
    return ProblemFile(definitions, datasets, form.options)


def changed(definition: ModelDefinition, values: dict[str, float], free: tuple[str, ...] | None) -> ModelDefinition:
    """A definition with other start values, and with these parameters free and no others.

    Raises
    ------
    InputError
        If a name is unknown.
    """
    definition = definition.with_starts(**values)
    if not free:
        return definition
    for name in free:
        if name not in definition.parameters:
            raise InputError(
                f"the parameter {name!r} is to be free, and the model {definition.name!r} has "
                f"{', '.join(definition.parameters)}",
                "use one of these names",
            )
    return definition.with_parameters(
        *(replace(p, vary=n in free) for n, p in definition.parameters.items() if p.expression is None)
    )


def _datasets(form: DataForm, folder: Path, lattice: Lattice) -> list[Dataset]:
    if form.file is not None:
        how = ("ei", "axes", "q_bins", "q_range", "energy_bins", "energy_range")  # |Q| of detectors depends on Ei
        spectra = [read_spectrum(folder / form.file, **{name: getattr(form, name) for name in how})]
    else:
        tables = {name: folder / getattr(form.path, name) for name in ("signal", "momenta", "energies")}
        if form.path.variance is not None:
            tables["variance"] = folder / form.path.variance
        how = {name: getattr(form.path, name) for name in ("across", "gap", "largest_variance")}
        spectra = read_path(**tables, **how, lattice=_lattice(form) or lattice)
    return [_dataset(form, spectrum, number, len(spectra)) for number, spectrum in enumerate(spectra)]


def _lattice(form: DataForm) -> Lattice | None:
    return None if form.lattice is None else parse_lattice(",".join(map(repr, form.lattice)))


def _dataset(form: DataForm, spectrum: Spectrum, number: int, count: int) -> Dataset:
    run = run_with(spectrum.run, form)
    orientation = None if form.orientation is None else Orientation(form.orientation.u, form.orientation.v)
    how = {"width_factor": form.width_factor, "sample": form.sample, "mosaic": form.mosaic}
    resolution = Resolution.from_run(run, orientation=orientation, **how)
    name = form.name or (Path(form.file).name if form.file else spectrum.title)
    group = form.group or ""
    if count > 1:  # segments of one path
        group = group or form.name or Path(form.path.signal).name
        name = f"{group}, {spectrum.title}"
    masked = _masked(spectrum.replace(run=run), form.mask, resolution)
    return Dataset(masked, resolution, name, form.fixed, form.background, group)


def run_with(run: Run, form: DataForm) -> Run:
    """The facts of a run with those that the file of the problem gives."""
    if form.ei is not None and run.ei is not None and run.ei.source == "option --ei":
        run = replace(run, ei=run.ei.replaced)  # the reader was told it under that name
    given = {name: getattr(form, name) for name in ("instrument", "ei", "chopper", "frequency")}
    given["lattice"] = oriented_as(_lattice(form), run.value("lattice"))
    for name, value in given.items():
        run = run.updated(f"key {name} of the problem", **{name: value})
    return run


def _masked(spectrum: Spectrum, form: MaskForm, resolution: Resolution) -> Spectrum:
    for name, (low, high) in form.keep.items():
        spectrum = masks.within(spectrum, name, low, high)
    for name, (low, high) in form.leave_out.items():
        spectrum = masks.outside(spectrum, name, low, high)
    for polygon in form.polygons:
        spectrum = masks.outside_polygon(spectrum, polygon.axes, polygon.corners)
    if form.elastic is not None:
        spectrum = masks.without_elastic_line(spectrum, resolution, form.elastic)
    if form.bragg is not None:
        energy = float("inf") if form.bragg.energy is None else form.bragg.energy
        spectrum = masks.without_bragg_peaks(spectrum, resolution.lattice, form.bragg.radius, energy)
    return masks.eroded(spectrum, form.eroded)
