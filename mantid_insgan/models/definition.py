"""A model whose parameters are still open: from a file in YAML, a family of the zoo, or a function.

docs/models.md has the reference of the file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from ..core.run import Lattice
from ..errors import InputError, InsganError
from .base import ModeModel
from .form import ModelForm, read_form
from .parameters import (
    ENERGY_FACTOR,
    OF_THE_CONVOLUTION,
    Parameter,
    changed,
    names_in,
    resolved,
    unknown,
    with_energy_factor,
)
from .rescaled import RescaledModel
from .sources import family_source, source_of
from .spin_form import BondGroup
from .structures import Site

__all__ = ["ModelDefinition", "Parameter", "definition_of_callable", "definition_of_family", "read_model"]


@dataclass(frozen=True, eq=False)
class ModelDefinition:
    """A model as a function of its parameters.

    Parameters
    ----------
    name : str
    lattice : Lattice
        The cell that defines the r.l.u. of momenta.
    parameters : mapping of str to Parameter
        In the order of the file. `energy_factor` is always among them; `line` and `width_factor` belong to the
        convolution and are not used by the model.
    source : str
        Where it came from: a file, a family, a function.
    construct : callable
        ``construct(values, check)`` makes the model from the values of all parameters, without the energy factor;
        without `check` it may be unstable.
    sites, bonds : tuple, optional
        What the file says, as a person would check it.
    """

    name: str
    lattice: Lattice
    parameters: Mapping[str, Parameter]
    source: str
    construct: Callable[[Mapping[str, float], bool], ModeModel] = field(repr=False)
    sites: tuple[Site, ...] = ()
    bonds: tuple[BondGroup, ...] = ()

    def __post_init__(self):
        self.lattice.b_matrix()  # refuses a cell without volume
        object.__setattr__(self, "parameters", MappingProxyType(with_energy_factor(self.parameters)))

    def __reduce__(self):  # a mapping that cannot be changed cannot be sent to another process
        sent = (self.name, self.lattice, dict(self.parameters), self.source, self.construct, self.sites, self.bonds)
        return type(self), sent

    @property
    def free(self) -> tuple[str, ...]:
        """Names of the parameters that a fit may change."""
        return tuple(name for name, p in self.parameters.items() if p.free)

    def values(self, values: Mapping[str, float] | None = None) -> dict[str, float]:
        """The value of every parameter: those given, the others at their starts, ties worked out.

        Raises
        ------
        InputError
            If a name is unknown, a value is not finite, or a tie cannot be worked out.
        """
        return resolved(self.parameters, values)

    def build(self, values: Mapping[str, float] | None = None, *, check: bool = True) -> ModeModel:
        """The model at some values of its parameters.

        Parameters
        ----------
        values : mapping of str to float, optional
            By name; those that are missing are at their starts. Values of tied parameters are left aside.
        check : bool
            Refuse an unstable model. A model that is only a direction of `SpinWModel.modes_and_derivatives` need not be
            stable.

        Raises
        ------
        InputError
            If a name is unknown or a value is out of range.
        UnstableModelError
            If the magnetic order or the lattice is not stable with these values.
        """
        found = self.values(values)
        model = self.construct(found, check)
        factor = found[ENERGY_FACTOR]
        return model if factor == 1 else RescaledModel(model, factor)

    def with_starts(self, **values: float) -> ModelDefinition:
        """The same with other start values; a limit that does not hold one moves to it.

        Raises
        ------
        InputError
            If a name is unknown, or that of a tied parameter.
        """
        return replace(self, parameters=changed(self.parameters, values))

    def with_parameters(self, *parameters: Parameter) -> ModelDefinition:
        """The same with other limits, ties or fixed values.

        Raises
        ------
        InputError
            If a name is neither known nor one of the convolution's.
        """
        known = {*self.parameters, *OF_THE_CONVOLUTION}
        for p in parameters:
            if p.name not in known:
                unknown(p.name, known)
        return replace(self, parameters={**self.parameters, **{p.name: p for p in parameters}})


def read_model(path: str | Path) -> ModelDefinition:
    """Read a model from a file in YAML (docs/models.md).

    Parameters
    ----------
    path : str or Path

    Raises
    ------
    InputError
        If the file is not there or says something that is not expected; the message names file and key.
    """
    path = Path(path)
    form = read_form(path)
    try:
        return _definition(form, path)
    except InsganError as problem:
        if str(path) in problem.reason:
            raise
        raise type(problem)(f"{path}: {problem.reason}", problem.fix) from problem


def definition_of_callable(
    build: Callable[[Mapping[str, float]], ModeModel],
    lattice: Lattice,
    parameters: Sequence[Parameter],
    *,
    name: str = "model",
) -> ModelDefinition:
    """A model from a function of your own.

    Parameters
    ----------
    build : callable
        ``build(values)`` gives a `ModeModel` from the values of all parameters by name.
    lattice : Lattice
        The cell of the model's r.l.u.
    parameters : sequence of Parameter
    name : str
    """
    source = f"function {getattr(build, '__qualname__', type(build).__name__)}"
    return ModelDefinition(name, lattice, {p.name: p for p in parameters}, source, _Unchecked(build))


@dataclass(frozen=True)
class _Unchecked:
    """A function that checks for itself whether its model is stable."""

    build: Callable[[Mapping[str, float]], ModeModel]

    def __call__(self, values: Mapping[str, float], check: bool) -> ModeModel:
        return self.build(values)


def definition_of_family(
    family: str,
    lattice: Lattice,
    ion: str,
    parameters: Sequence[Parameter],
    *,
    spin: float | None = None,
    axis: Sequence[float] = (0.0, 0.0, 1.0),
    temperature: float = 5.0,
    **options,
) -> ModelDefinition:
    """A model of a family of `mantid_insgan.models.spinw.zoo`.

    Parameters
    ----------
    family : str
    lattice : Lattice
    ion : str
        As in 'Ni2+'.
    parameters : sequence of Parameter
        Couplings by the names that the family gives them; those that are missing are 0 and fixed.
    spin : float, optional
        S; the ion's own if not given.
    axis : sequence of float
        Direction of the moments, where the family leaves it free.
    temperature : float
        Kelvin.
    **options
        Further arguments of `SpinWModel`.

    Raises
    ------
    InputError
        If there is no such family or coupling.
    """
    source = family_source(family, lattice, ion, spin=spin, axis=axis, temperature=temperature, **options)
    made = source.defaults | {p.name: p for p in parameters}
    _check_names(made, source.names)
    return ModelDefinition(family, lattice, made, f"family {family}", source.construct)


def _definition(form: ModelForm, path: Path) -> ModelDefinition:
    source = source_of(form, path.parent)
    parameters = _parameters(form, source.defaults)
    _check_names(parameters, source.names)
    name = form.name or path.stem
    return ModelDefinition(name, source.lattice, parameters, str(path), source.construct, source.sites, source.bonds)


def _parameters(form: ModelForm, defaults: Mapping[str, Parameter]) -> dict[str, Parameter]:
    """Those of the file over those that its source brings along."""
    starts = {name: p.value for name, p in defaults.items()}
    parameters = dict(defaults)
    parameters |= {name: given.parameter(name, starts.get(name)) for name, given in form.parameters.items()}
    if form.energy_factor is not None:
        if ENERGY_FACTOR in parameters:
            raise InputError("energy_factor is given twice", "give it at the top or among the parameters, not both")
        parameters[ENERGY_FACTOR] = Parameter(ENERGY_FACTOR, form.energy_factor, vary=False)
    return parameters


def _check_names(parameters: Mapping[str, Parameter], used: set[str]) -> None:
    """Every name that the Hamiltonian uses is defined, and every parameter is used."""
    for name in sorted(used):
        if name not in parameters:
            raise InputError(
                f"the Hamiltonian uses {name!r}, which is not among the parameters ({', '.join(parameters) or 'none'})",
                f"define it: parameters: {{{name}: {{start: ...}}}}",
            )
    reserved = {ENERGY_FACTOR, *OF_THE_CONVOLUTION}
    wrong = sorted(used & reserved)
    if wrong:
        raise InputError(f"{wrong[0]} is not a parameter of the Hamiltonian", "choose another name")
    ties = [p.expression for p in parameters.values() if p.expression is not None]
    tied = {name for expression in ties for name in names_in(expression, parameters)}
    for name in parameters:
        if name not in used | reserved | tied:
            raise InputError(f"the parameter {name} is used nowhere", "use it in the Hamiltonian, or take it out")
    resolved(parameters)
