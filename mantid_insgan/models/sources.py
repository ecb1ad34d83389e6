"""The sources that a model's file may name: sites and bonds, a family, TB2J, pySpinW, force constants."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..core.run import Lattice
from ..errors import InputError
from .base import ModeModel
from .form import ModelForm
from .linear import Terms
from .parameters import Parameter
from .spin_form import BondGroup, Bonds, Spins, bonds_of, domains_of, grouped, spins_of
from .spinw.build import direct_basis
from .structures import Site, ordered, read_cif, sites_of
from .tb2j import Exchanges, read_exchange_out

#: Factor on all exchanges that come from a file of another program.
EXCHANGE_FACTOR = "exchange_factor"
#: Factor on force constants.
STIFFNESS = "stiffness"
#: Of one group of TB2J's exchanges: Angstrom, and this share of the largest.
_SAME_LENGTH, _SAME_EXCHANGE = 0.01, 0.02

_EVERYWHERE = {"name", "domains", "energy_factor", "temperature", "parameters"}
_KEYS = {
    "sites": {"structure", "lattice", "cell", "k", "sites", "bonds", "anisotropy", "field", "relax"},
    "family": {"family", "lattice", "ion", "spin", "axis", "g"},
    "tb2j": {"tb2j", "ion", "spin", "g", "within", "anisotropy", "field", "relax"},
    "spinw": {"spinw", "ion", "g"},
    "force_constants": {"force_constants", "cell"},
}


@dataclass(frozen=True, eq=False)
class Source:
    """A Hamiltonian as a function of its parameters, and the parameters that it brings along with their values."""

    lattice: Lattice
    construct: Callable[[Mapping[str, float], bool], ModeModel]
    names: set[str]
    defaults: dict[str, Parameter] = field(default_factory=dict)
    sites: tuple[Site, ...] = ()
    bonds: tuple[BondGroup, ...] = ()


def source_of(form: ModelForm, folder: Path) -> Source:
    """What a file names; paths in it are relative to `folder`.

    Raises
    ------
    InputError
        If it names several, or a key that does not go with its source.
    """
    given = [name for name in _KEYS if getattr(form, name) is not None]
    if len(given) != 1:
        raise InputError(
            f"the model comes from {' and '.join(given) or 'nowhere'}, expected one of {', '.join(_KEYS)}",
            "give sites and bonds, or name one source",
        )
    kind = given[0]
    strange = sorted(form.model_fields_set - _KEYS[kind] - _EVERYWHERE)
    if strange:
        raise InputError(
            f"the key {strange[0]} does not go with {kind}; the keys that do are "
            f"{', '.join(sorted(_KEYS[kind] | _EVERYWHERE))}",
            f"take {strange[0]} out",
        )
    readers = {
        "sites": _from_sites,
        "family": _from_family,
        "tb2j": _from_tb2j,
        "spinw": _from_spinw,
        "force_constants": _from_force_constants,
    }
    return readers[kind](form, folder)


def lattice_of(form: ModelForm) -> Lattice:
    """The lattice of a file; b and c are a if they are missing."""
    given = form.lattice
    if given is None:
        raise InputError("the key lattice is missing", "give lattice: {a: ..., b: ..., c: ...} in Angstrom")
    b, c = (given.a if length is None else length for length in (given.b, given.c))
    lattice = Lattice(given.a, b, c, given.alpha, given.beta, given.gamma)
    try:
        lattice.b_matrix()
    except InputError as problem:
        raise InputError(problem.reason, "give the six lattice parameters of the crystal under lattice") from problem
    return lattice


def _from_sites(form: ModelForm, folder: Path) -> Source:
    atoms = None if form.structure is None else read_cif(folder / form.structure)
    lattice = lattice_of(form) if atoms is None or form.lattice is not None else atoms.lattice
    sites = sites_of(form.sites or [], atoms)
    if form.k is not None and form.cell is not None:
        raise InputError(
            "cell and k are both given", "give k, which makes the magnetic cell, or cell and all its sites"
        )
    cell = form.cell
    if form.k is not None:
        cell, sites = ordered(sites, form.k)
    bonds = bonds_of(form.bonds or [], sites, cell, lattice)
    spins = spins_of(form, lattice, cell, sites, bonds)
    return Source(lattice, spins, spins.names, {}, tuple(sites), tuple(bonds.groups))


def _from_family(form: ModelForm, folder: Path) -> Source:
    lattice = lattice_of(form)
    options = {"g": form.g} if form.g else {}
    if form.domains is not None:
        options["domains"] = domains_of(form, lattice)
    if not isinstance(form.ion, str):
        raise InputError(f"ion is {form.ion!r}, expected the ion of the family's sites", "give ion: Ni2+")
    axis = (0.0, 0.0, 1.0) if form.axis is None else form.axis
    return family_source(
        form.family, lattice, form.ion, spin=form.spin, axis=axis, temperature=form.temperature, **options
    )


def family_source(
    name: str, lattice: Lattice, ion: str, *, spin: float | None, axis: Sequence[float], **options
) -> Source:
    """A family of the zoo; its couplings are parameters, 0 and fixed unless the file says otherwise."""
    from .spinw.quick import quick_hamiltonian
    from .spinw.zoo import ION_SPINS, get_family

    family = get_family(name)
    if spin is None and ion not in ION_SPINS:
        raise InputError(
            f"the spin of {ion!r} is not known; known are {', '.join(ION_SPINS)}", "give spin, the S of each site"
        )
    direction = np.asarray(axis, dtype=float)
    options = {"lattice": lattice, "ion": ion, "spin": spin, "axis": direction / np.linalg.norm(direction)} | options

    options |= {"hamiltonian": quick_hamiltonian}
    defaults = {coupling: Parameter(coupling, 0.0, vary=False) for coupling in family.priors}
    return Source(lattice, _OfFamily(name, tuple(defaults), options), set(defaults), defaults)


@dataclass(frozen=True, eq=False)
class _OfFamily:
    """A family as a function of its couplings."""

    name: str
    couplings: tuple[str, ...]
    options: Mapping

    def __call__(self, values: Mapping[str, float], check: bool) -> ModeModel:
        from .spinw.zoo import get_family

        couplings = {coupling: values[coupling] for coupling in self.couplings}
        return get_family(self.name).model(couplings, check=check, **self.options)


def _from_tb2j(form: ModelForm, folder: Path) -> Source:
    found = read_exchange_out(folder / form.tb2j)
    lattice = Lattice(*_cell_parameters(found.cell).tolist())
    # From TB2J's Cartesian axes to x along a, z perpendicular to a and b.
    moments = found.moments @ np.linalg.inv(found.cell) @ direct_basis(lattice)
    sites = _tb2j_sites(form, found, moments)
    bonds, defaults = _tb2j_bonds(found, sites, direct_basis(lattice), form.within)
    spins = spins_of(form, lattice, None, sites, bonds)
    scaled = _Factored(spins)
    defaults[EXCHANGE_FACTOR] = Parameter(EXCHANGE_FACTOR, 1.0, vary=False)
    return Source(lattice, scaled, spins.names | {EXCHANGE_FACTOR}, defaults, tuple(sites), tuple(bonds.groups))


@dataclass(frozen=True, eq=False)
class _Factored:
    """A Hamiltonian with all its exchange multiplied by one more parameter."""

    spins: Spins

    def __call__(self, values: Mapping[str, float], check: bool) -> ModeModel:
        factor = values[EXCHANGE_FACTOR]
        scaled = {name: factor * value for name, value in self.spins.exchange.items()}
        return replace(self.spins, exchange=scaled)(values, check)


def _tb2j_sites(form: ModelForm, found: Exchanges, moments: np.ndarray) -> list[Site]:
    if form.ion is None:
        raise InputError("the key ion is missing", "give ion: Fe3+, or ion: {Fe: Fe3+, Mn: Mn4+}")
    sites = []
    for name, at, moment in zip(found.names, found.fractions, moments, strict=True):
        element = re.match(r"[A-Z][a-z]?", name)[0]
        ion = form.ion if isinstance(form.ion, str) else form.ion.get(element)
        size = np.linalg.norm(moment)
        if ion is None or not size > 1e-3:
            what = f"no ion for {element}" if ion is None else f"a moment of {size:.3g} Bohr magnetons on {name}"
            raise InputError(f"there is {what}", "give an ion for each magnetic element, and a file with moments")
        spin = moment / 2 if form.spin is None else moment * (form.spin / size)
        sites.append(Site(name, tuple(at.tolist()), tuple(spin.tolist()), ion, form.g or 2.0))
    return sites


def _tb2j_bonds(
    found: Exchanges, sites: Sequence[Site], basis: np.ndarray, within: float | None
) -> tuple[Bonds, dict[str, Parameter]]:
    """Bonds, and a parameter J1, J2, ... for each group of equal length, elements and exchange."""
    length = [np.linalg.norm(site.spin) for site in sites]
    pairs = sorted((p for p in found.pairs if within is None or p[4] <= within), key=lambda p: (p[4], p[3]))
    if not pairs:
        raise InputError(f"no exchange lies within {within:g} Angstrom", "give a larger distance under within")
    largest = max(abs(p[3]) for p in pairs)
    groups: list[tuple[tuple, list]] = []
    for pair in pairs:
        kinds = tuple(sorted(re.sub(r"\d", "", found.names[i]) for i in pair[:2]))
        for (distance, elements, exchange), members in groups:
            near = abs(pair[4] - distance) < _SAME_LENGTH and abs(pair[3] - exchange) < _SAME_EXCHANGE * largest
            if near and elements == kinds:
                members.append(pair)
                break
        else:
            groups.append(((pair[4], kinds, pair[3]), [pair]))
    ends, exchange, summary, defaults = [], {}, [], {}
    for number, (_, members) in enumerate(groups, 1):
        name = f"J{number}"
        # E = -2 J_ij e_i.e_j for a bond that is counted once
        values = [-2 * p[3] / (length[p[0]] * length[p[1]]) for p in members]
        chosen = [(p[0], p[1], np.array(p[2], dtype=float)) for p in members]
        exchange[name] = (len(ends), len(members))
        ends += chosen
        defaults[name] = Parameter(name, float(np.mean(values)), vary=False)
        summary += grouped(name, chosen, np.array([site.at for site in sites]), basis)
    terms: Terms = {name: np.zeros((len(ends), 3, 3)) for name in exchange}
    for name, (start, count) in exchange.items():
        terms[name][start : start + count] = np.eye(3)
    return Bonds(ends, terms, summary), defaults


def _from_spinw(form: ModelForm, folder: Path) -> Source:
    hamiltonian = _load_spw(folder / form.spinw)
    structure = hamiltonian.structure
    if not isinstance(form.ion, str):
        raise InputError("the key ion is missing", "give ion: Fe3+, the magnetic ion of all sites")
    lattice = Lattice(*_cell_parameters(structure.unit_cell._xyz).tolist())
    index = {site.unique_id: i for i, site in enumerate(structure.sites)}
    turn = np.linalg.inv(structure.unit_cell._xyz) @ direct_basis(lattice)  # rows, to x along a
    sites = [
        Site(s.name or f"s{i}", tuple(map(float, s.ijk)), tuple((s.base_spin @ turn).tolist()), form.ion, form.g or 2.0)
        for i, s in enumerate(structure.sites)
    ]
    ends, exchange, defaults = [], {}, {}
    for bond in hamiltonian.exchanges:
        matrix = turn.T @ bond.exchange_matrix @ turn
        name, unit, value = _named_exchange(bond.name, matrix, defaults)
        defaults.setdefault(name, Parameter(name, value, vary=False))
        exchange.setdefault(name, []).append((len(ends), unit))
        ends.append((index[bond.site_1.unique_id], index[bond.site_2.unique_id], bond.cell_offset.vector.astype(float)))
    terms: Terms = {name: np.zeros((len(ends), 3, 3)) for name in exchange}
    groups = []
    fractions = np.array([site.at for site in sites])
    for name, members in exchange.items():
        for number, unit in members:
            terms[name][number] = unit
        groups += grouped(name, [ends[number] for number, _ in members], fractions, direct_basis(lattice))
    spins = spins_of(form, lattice, None, sites, Bonds(ends, terms, groups))
    single_ion = np.zeros((len(sites), 3, 3))
    for term in hamiltonian.anisotropies:
        single_ion[index[term.site.unique_id]] += turn.T @ np.asarray(term.anisotropy_matrix, dtype=float) @ turn
    spins = replace(spins, single_ion={None: single_ion} if single_ion.any() else {})
    return Source(lattice, spins, spins.names, defaults, tuple(sites), tuple(groups))


def _load_spw(path: Path):
    """pySpinW's own file, which is JSON: nothing is unpickled."""
    import pyspinw

    if not path.is_file():
        raise InputError(f"there is no file {path}", "name a Hamiltonian that pySpinW saved (.spw)")
    if path.suffix != ".spw":
        raise InputError(
            f"{path} ends in {path.suffix!r}, expected '.spw'", "save the Hamiltonian with its method save"
        )
    try:
        loaded = pyspinw.load(path)
    except Exception as problem:  # pySpinW's readers raise errors of many kinds
        raise InputError(
            f"{path} cannot be read by pySpinW ({type(problem).__name__}: {problem})",
            "save a Hamiltonian of named kinds of exchange, or write its sites and bonds here",
        ) from problem
    if not isinstance(loaded, pyspinw.Hamiltonian):
        raise InputError(
            f"{path} holds a {type(loaded).__name__}, expected a Hamiltonian", "save the Hamiltonian itself"
        )
    if getattr(loaded.structure.supercell, "propagation_vector", None) is not None:
        raise InputError(f"{path} holds a helix", "use the family helical, or a function that builds the model")
    return loaded.expanded()


def _cell_parameters(basis: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(basis, axis=1)
    a, b, c = basis / lengths[:, None]
    return np.round([*lengths, *np.degrees(np.arccos([b @ c, a @ c, a @ b]))], 9)


def _named_exchange(name: str, matrix: np.ndarray, known: Mapping[str, Parameter]) -> tuple[str, np.ndarray, float]:
    """Parameter, its matrix for a value of 1, and its value: J in meV if isotropic, else a factor on the matrix."""
    plain = re.sub(r"\W", "_", name or "J")
    plain = plain if plain.isidentifier() else f"J_{plain}"
    isotropic = np.allclose(matrix, matrix[0, 0] * np.eye(3))
    value = float(matrix[0, 0]) if isotropic else 1.0
    base = plain if isotropic else f"{plain}_factor"
    found, number = base, 2
    while found in known and not np.isclose(known[found].value, value):
        found, number = f"{base}_{number}", number + 1
    return found, (np.eye(3) if isotropic else matrix), value


def _from_force_constants(form: ModelForm, folder: Path) -> Source:
    from .phonons.model import PhononModel, read_force_constants

    constants = read_force_constants(folder / form.force_constants)
    options = {"cell": form.cell, "temperature": form.temperature}
    lattice = PhononModel(constants, check=False, debye_waller=False, **options).lattice
    options["domains"] = domains_of(form, lattice)

    defaults = {STIFFNESS: Parameter(STIFFNESS, 1.0, vary=False)}
    return Source(lattice, _Phonons(constants, options), {STIFFNESS}, defaults)


@dataclass(frozen=True, eq=False)
class _Phonons:
    """Phonons as a function of the stiffness."""

    constants: object
    options: Mapping

    def __call__(self, values: Mapping[str, float], check: bool) -> ModeModel:
        from .phonons.model import PhononModel

        factor = values[STIFFNESS]
        if not factor > 0:
            raise InputError(f"{STIFFNESS} is {factor:g}, expected more than 0", "leave it at 1 if in doubt")
        constants = self.constants if factor == 1 else _stiffer(self.constants, factor)
        return PhononModel(constants, check=check, **self.options)


def _stiffer(constants, factor: float):
    """Force constants times a factor; the dielectric tensor divides the dipoles' part."""
    polar = {} if constants.born is None else {"born": constants.born, "dielectric": constants.dielectric / factor}
    return type(constants)(
        constants.crystal,
        constants.force_constants * factor,
        constants.sc_matrix,
        constants.cell_origins,
        **polar,
    )
