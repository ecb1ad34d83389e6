"""The YAML form of a model: its keys, and errors that name the key (docs/models.md has the reference)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ..errors import DeviceError, InputError
from .parameters import Parameter

_Vector = tuple[float, float, float]
_Matrix = tuple[_Vector, _Vector, _Vector]
_Labels = str | list[str]
_Positive = Annotated[float, Field(gt=0)]


def _not_empty(vectors: list) -> list:
    if not vectors:
        raise ValueError("give at least one vector")
    return vectors


def _number_as_value(given: Any) -> Any:
    return {"value": given} if isinstance(given, int | float | str) else given


class Form(BaseModel):
    """Keys that are not known are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class LatticeForm(Form):
    """Angstrom and degrees; b and c are a if missing."""

    a: _Positive
    b: _Positive | None = None
    c: _Positive | None = None
    alpha: float = 90.0
    beta: float = 90.0
    gamma: float = 90.0


class SiteForm(Form):
    """A site, or with `atom` all equivalent ones of a structure file."""

    at: _Vector | None = None
    atom: str | None = None
    spin: _Vector | None = None
    spins: list[_Vector] | None = None
    length: _Positive | None = None
    ion: str
    label: str | None = None
    g: _Positive = 2.0


class BondForm(Form):
    """Bonds with the same exchange, by their vectors or as a shell of neighbours."""

    vectors: Annotated[list[_Vector], AfterValidator(_not_empty)] | None = None
    neighbour: Annotated[int, Field(ge=1)] | None = None
    between: tuple[_Labels, _Labels] | None = None
    exchange: Any


class DomainForm(Form):
    """A part of the sample, turned about z or by a matrix in r.l.u."""

    turn_z: float | None = None
    matrix: _Matrix | None = None
    fraction: _Positive = 1.0


class ParameterForm(Form):
    """A parameter; a `value` is fixed unless `vary` says otherwise, a `start` is free. A number alone is a value."""

    start: float | None = None
    value: float | None = None
    min: float | None = None
    max: float | None = None
    vary: bool | None = None
    tie: str | None = None

    def parameter(self, name: str, default: float | None = None) -> Parameter:
        """As a `Parameter`; `default` is the start of one that has no value.

        Raises
        ------
        InputError
            If it has no value, or two.
        """
        given = [v for v in (self.start, self.value, self.tie) if v is not None]
        if not given and default is not None:
            return self.model_copy(update={"start": default}).parameter(name)
        if len(given) != 1:
            raise InputError(
                f"the parameter {name} has {len(given)} of the keys start, value and tie, expected one of them",
                "give start for a free parameter, value for a fixed one, or tie for an expression",
            )
        limits = {"low": self.min, "high": self.max}
        number = self.start if self.value is None else self.value
        return Parameter(
            name,
            **{} if number is None else {"value": number},
            **{side: limit for side, limit in limits.items() if limit is not None},
            vary=self.start is not None if self.vary is None else self.vary,
            expression=self.tie,
        )


class ModelForm(Form):
    """A whole file."""

    name: str | None = None
    # where the Hamiltonian comes from: sites and bonds here, or one of the others
    structure: str | None = None
    family: str | None = None
    tb2j: str | None = None
    spinw: str | None = None
    force_constants: str | None = None
    lattice: LatticeForm | None = None
    cell: _Matrix | str | None = None
    sites: list[SiteForm] | None = None
    bonds: list[BondForm] | None = None
    anisotropy: Any = None
    field: list[float | str] | None = None
    k: _Vector | None = None
    relax: bool = False
    ion: str | dict[str, str] | None = None
    spin: _Positive | None = None
    axis: _Vector | None = None
    g: _Positive | None = None
    within: _Positive | None = None
    domains: list[DomainForm] | None = None
    energy_factor: float | None = None
    temperature: Annotated[float, Field(ge=0)] = 5.0
    parameters: dict[str, Annotated[ParameterForm, BeforeValidator(_number_as_value)]] = Field(default_factory=dict)


def read_form(path: Path) -> ModelForm:
    """Read and check a file.

    Raises
    ------
    InputError
        If it is not there, is not YAML, or has a key or value that is not expected.
    """
    content = read_yaml(path)
    try:
        return ModelForm.model_validate(content)
    except ValidationError as problem:
        raise explained(path, problem, ModelForm) from problem


def read_yaml(path: Path) -> dict:
    """The keys and values of a file in YAML; nothing in it is run, and no key may stand twice.

    Raises
    ------
    InputError
        If the file is not there, cannot be read as YAML or holds no keys.
    DeviceError
        If PyYAML is not installed.
    """
    try:
        import yaml
    except ImportError as problem:
        raise DeviceError(
            "a file in YAML needs PyYAML, which is not installed", "pip install 'mantid-insgan[spinw]'"
        ) from problem
    if not path.is_file():
        raise InputError(f"there is no file {path}", "name a file in YAML")
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_unique_keys(yaml))
    except (yaml.YAMLError, UnicodeDecodeError) as problem:
        raise InputError(
            f"{path} cannot be read as YAML ({' '.join(str(problem).split())})", "correct that line of the file"
        ) from problem
    if not isinstance(content, dict):
        raise InputError(
            f"{path} holds {type(content).__name__}, expected keys with values",
            "see docs/models.md for models and docs/fitting.md for problems",
        )
    return content


def _unique_keys(yaml):
    """PyYAML's safe loader, which otherwise takes the last of two equal keys without a word."""

    class Loader(yaml.SafeLoader):
        pass

    def mapping(loader, node):
        keys = [loader.construct_object(key) for key, _ in node.value]
        for (key, _), value in zip(node.value, keys, strict=True):
            if keys.count(value) > 1:
                raise yaml.MarkedYAMLError(problem=f"the key {value!r} is given twice", problem_mark=key.start_mark)
        return loader.construct_mapping(node, deep=True)

    Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    return Loader


def explained(path: Path, problem: ValidationError, kind: type[Form]) -> InputError:
    """The first thing wrong with the content of a file of some kind, as an error that names file and key."""
    first = min(problem.errors(), key=lambda e: len(e["loc"]) if e["type"] == "extra_forbidden" else 100)
    inside = [str(part) for part in first["loc"] if str(part) not in _UNION_TAGS]
    where = ".".join(inside) or "the file"
    if first["type"] == "extra_forbidden":
        import difflib

        known = _keys_at(kind, inside[:-1])
        near = difflib.get_close_matches(inside[-1], known, n=1)
        return InputError(
            f"{path}: the key {where} is not known; the keys there are {', '.join(known)}",
            f"write {near[0]}" if near else "take it out",
        )
    if first["type"] == "missing":
        return InputError(f"{path}: the key {where} is missing", f"give {inside[-1]}")
    expected = first["msg"][:1].lower() + first["msg"][1:]
    unit = " (energies are numbers in meV, without a unit)" if first["type"] == "float_parsing" else ""
    return InputError(f"{path}: {where} is {first['input']!r}: {expected}", f"correct {where}{unit}")


#: Parts of pydantic's locations that are no keys of the file.
_UNION_TAGS = ("float", "str", "list[str]", "tuple[tuple[float, float, float], ...]")


def _keys_at(form: type[Form], inside: list[str]) -> list[str]:
    """Names of the keys under a key of the file."""
    for part in inside:
        if part in form.model_fields:  # else the number of an entry, or a name
            kinds = _flat(form.model_fields[part].annotation)
            form = next((k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)), form)
    return list(form.model_fields)


def _flat(kind: Any) -> list:
    return [kind] if not get_args(kind) else [part for arg in get_args(kind) for part in _flat(arg)]
