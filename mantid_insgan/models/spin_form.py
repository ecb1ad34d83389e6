"""From the sites and bonds of a model's file to a Hamiltonian as a function of its parameters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from math import gcd

import numpy as np

from ..core.run import Lattice
from ..errors import InputError
from . import linear
from .base import ModeModel
from .form import BondForm, DomainForm, ModelForm
from .linear import Terms
from .spinw.build import POSITION_TOLERANCE, Bond, bond_ends, direct_basis, magnetic_cell
from .spinw.model import SpinWModel, form_factor_of
from .spinw.quick import BOHR_MAGNETON, Geometry, QuickHamiltonian
from .spinw.relax import relaxed
from .structures import Site

#: Distances closer than this, in Angstrom, belong to one shell of neighbours.
SHELL_TOLERANCE = 2e-3
_FARTHEST = 8  # cells searched for a shell along each vector
_End = tuple[int, int, np.ndarray]


@dataclass(frozen=True)
class BondGroup:
    """Bonds with one exchange: how it is written, how many there are in a magnetic cell, and their length, Angstrom."""

    exchange: str
    count: int
    length: float


@dataclass(frozen=True, eq=False)
class Spins:
    """A Hamiltonian that is linear in its parameters.

    Parameters
    ----------
    lattice : Lattice
    cell : ndarray, shape (3, 3)
    geometry : Geometry
    exchange, single_ion, field : Terms
        Matrices of all bonds (K, 3, 3) and all sites (n, 3, 3) in meV, and the field (3,) in tesla, for each parameter.
    options : mapping
        Further arguments of `SpinWModel`.
    relax : bool
        Turn the spins to the nearest minimum of the classical energy first.
    """

    lattice: Lattice
    cell: np.ndarray
    geometry: Geometry
    exchange: Terms
    single_ion: Terms
    field: Terms
    options: Mapping
    relax: bool = False

    @property
    def names(self) -> set[str]:
        """Parameters that it depends on."""
        return {name for terms in (self.exchange, self.single_ion, self.field) for name in terms if name is not None}

    def hamiltonian(self, values: Mapping[str, float]) -> QuickHamiltonian:
        """At some values of the parameters."""
        zeeman = None
        if self.field:
            gradient = self.options["g"] * BOHR_MAGNETON * _total(self.field, values)
            zeeman = np.tile(gradient, (len(self.geometry.spins), 1))
        exchange = _total(self.exchange, values)
        single_ion = _total(self.single_ion, values) if self.single_ion else None
        geometry = relaxed(self.geometry, exchange, single_ion, zeeman) if self.relax else self.geometry
        return QuickHamiltonian(geometry, exchange, single_ion, zeeman)

    def __call__(self, values: Mapping[str, float], check: bool = True) -> ModeModel:
        return SpinWModel(self.hamiltonian(values), self.lattice, cell=self.cell, check=check, **self.options)


@dataclass(frozen=True, eq=False)
class Bonds:
    """Bonds of a magnetic cell with their exchange for each parameter (K, 3, 3), and what a person would check."""

    ends: list[_End]
    exchange: Terms
    groups: list[BondGroup]


def bonds_of(forms: Sequence[BondForm], sites: Sequence[Site], cell: np.ndarray, lattice: Lattice) -> Bonds:
    """The bonds of a file.

    Raises
    ------
    InputError
        If two sites coincide, or a bond leads from no site to another, is given twice, or names a label that is not
        there.
    """
    if not forms:
        raise InputError("there are no bonds, so the spins do not interact", "give bonds with vectors and an exchange")
    cell = magnetic_cell(cell)
    basis = cell @ direct_basis(lattice)
    fractions = np.array([site.at for site in sites]) @ np.linalg.inv(cell)
    _check_apart(fractions, sites)
    labels = [site.label for site in sites]
    ends: list[_End] = []
    parts, groups = [], []
    for number, bond in enumerate(forms):
        where = f"bonds.{number}"
        found = _ends_of(bond, where, fractions, cell, basis, labels)
        terms = linear.matrix(bond.exchange, f"{where}.exchange")
        _check_neighbours(bond, terms, where)
        parts.append((len(found), terms))
        ends += found
        groups += grouped(str(bond.exchange).replace("'", ""), found, fractions, basis)
    _check_once(ends, fractions, cell)
    return Bonds(ends, _joined(parts), _merged(groups))


def spins_of(form: ModelForm, lattice: Lattice, cell: np.ndarray, sites: Sequence[Site], bonds: Bonds) -> Spins:
    """The Hamiltonian of these sites and bonds, with anisotropy, field, domains and temperature of a file.

    Raises
    ------
    InputError
        If sites differ in g, or a key says something that is not expected.
    """
    cell = magnetic_cell(cell)
    basis = direct_basis(lattice)
    fractions = np.array([site.at for site in sites]) @ np.linalg.inv(cell)
    options = {
        "ion": _ions(sites),
        "g": _common_g(sites),
        "temperature": form.temperature,
        "domains": domains_of(form, lattice),
        "facts": {"model": form.name} if form.name else None,
    }
    geometry = Geometry(cell @ basis, fractions, np.array([site.spin for site in sites]), bonds.ends)
    single_ion = _single_ion(form.anisotropy, [site.label for site in sites])
    field = {} if form.field is None else linear.vector(form.field, "field")
    return Spins(lattice, cell, geometry, bonds.exchange, single_ion, field, options, form.relax)


def domains_of(form: ModelForm, lattice: Lattice) -> list[tuple[np.ndarray, float]] | None:
    """Domains as `ModeModel` takes them; None for a single one."""
    if form.domains is None:
        return None
    return [_domain(domain, direct_basis(lattice), number) for number, domain in enumerate(form.domains)]


def _check_apart(fractions: np.ndarray, sites: Sequence[Site]) -> None:
    apart = fractions[:, None] - fractions
    same = np.abs(apart - np.round(apart)).max(axis=2) < POSITION_TOLERANCE
    np.fill_diagonal(same, False)
    if same.any():
        i, j = np.argwhere(same)[0]
        raise InputError(
            f"the sites {i} at {list(sites[i].at)} and {j} at {list(sites[j].at)} are the same in the magnetic cell",
            "give each site once, or a larger cell",
        )


def _ends_of(bond: BondForm, where, fractions, cell, basis, labels) -> list[_End]:
    """First site, second site and offset of all bonds of one entry."""
    if (bond.vectors is None) == (bond.neighbour is None):
        raise InputError(f"{where} needs one of the keys vectors and neighbour", "give one of them")
    first, second = _chosen(bond.between, labels, where)
    if bond.neighbour is not None:
        return _shell(bond.neighbour, fractions, basis, first, second, where)
    ends = []
    for vector in bond.vectors:
        if not np.any(vector):
            raise InputError(f"{where} has a vector of length 0", "give the vector from one site to another")
        try:
            found = bond_ends(Bond(vector, 0.0, tuple(first)), fractions, cell)
        except InputError as problem:
            raise InputError(f"{where}: {problem.reason}", problem.fix) from problem
        kept = [end for end in found if end[1] in second]
        if not kept:
            raise InputError(
                f"{where}: the bond vector {list(vector)} leads from no site {bond.between[0]} to a site "
                f"{bond.between[1]}",
                "correct the vector or the labels; a bond runs from the first to the second",
            )
        ends += kept
    return ends


def _chosen(between, labels: Sequence[str], where: str) -> tuple[list[int], list[int]]:
    """Numbers of the sites that bonds may start from and lead to."""
    if between is None:
        return list(range(len(labels))), list(range(len(labels)))
    chosen = []
    for side in between:
        wanted = [side] if isinstance(side, str) else side
        missing = [label for label in wanted if label not in labels]
        if missing:
            raise InputError(
                f"{where}.between names the site {missing[0]!r}; the labels are {', '.join(sorted(set(labels)))}",
                "use one of these (a site without a label has that of its ion)",
            )
        chosen.append([i for i, label in enumerate(labels) if label in wanted])
    return chosen[0], chosen[1]


def _shell(number: int, fractions, basis, first, second, where) -> list[_End]:
    """All bonds of the n-th distance between two groups of sites, each once."""
    width = 1 / np.linalg.norm(np.linalg.inv(basis), axis=0).max()  # of the cell at its narrowest
    spread = np.ptp(fractions, axis=0).max() + 1
    for reach in range(1, _FARTHEST + 1):
        pairs, lengths = _pairs(fractions, basis, first, second, reach)
        order = np.argsort(lengths, kind="stable")
        steps = np.flatnonzero(np.diff(lengths[order]) > SHELL_TOLERANCE)
        edges = np.concatenate([[0], steps + 1, [len(order)]])
        complete = (reach + 1 - spread) * width  # sites farther away than this may be missing
        if number < len(edges) - 1 and lengths[order[edges[number] - 1]] < complete:
            return [pairs[k] for k in order[edges[number - 1] : edges[number]]]
    raise InputError(
        f"{where}: the shell of neighbours {number} lies beyond {_FARTHEST} cells", "give the bonds by their vectors"
    )


def _pairs(fractions, basis, first, second, reach) -> tuple[list[_End], np.ndarray]:
    """Bonds within some cells, from the first group to the second, one of each two opposite ones; their lengths."""
    steps = np.arange(-reach, reach + 1)
    offsets = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    both = set(first) & set(second)
    pairs, lengths = [], []
    for i in first:
        for j in second:
            vectors = (fractions[j] - fractions[i] + offsets) @ basis
            distance = np.linalg.norm(vectors, axis=1)
            once = distance > 1e-6
            if i in both and j in both:  # the opposite bond is met as well
                ahead = (offsets @ np.array([1e4, 1e2, 1.0])) > 0
                once &= ahead if i == j else np.full(len(offsets), i < j)
            pairs += [(i, j, offset) for offset in offsets[once]]
            lengths.append(distance[once])
    return pairs, np.concatenate(lengths)


def _check_neighbours(bond: BondForm, terms: Terms, where: str) -> None:
    """A shell's bonds have no sense of direction, unless they run from one label to another."""
    directed = bond.between is not None and not set(np.ravel(bond.between[0])) & set(np.ravel(bond.between[1]))
    if bond.neighbour is None or directed:
        return
    if any(not np.allclose(value, value.T) for value in terms.values()):
        raise InputError(
            f"{where}: an exchange with a Dzyaloshinskii-Moriya part depends on the direction of the bond, which a "
            "shell of neighbours leaves open",
            "give these bonds by their vectors, or between two different labels",
        )


def _check_once(ends: Sequence[_End], fractions: np.ndarray, cell: np.ndarray) -> None:
    keys = Counter()
    for i, j, offset in ends:
        there, back = (i, j, *map(int, offset)), (j, i, *(-int(n) for n in offset))
        keys[min(there, back)] += 1
        if keys[min(there, back)] > 1:
            vector = (fractions[j] + offset - fractions[i]) @ cell
            raise InputError(
                f"the bond {np.round(vector, 4).tolist()} from site {i} to site {j} is given twice",
                "give a vector or its opposite, not both; write a sum of exchanges as a list",
            )


def grouped(written: str, ends: Sequence[_End], fractions: np.ndarray, basis: np.ndarray) -> list[BondGroup]:
    """Bonds counted by their lengths."""
    lengths = Counter(
        round(float(np.linalg.norm((fractions[j] + offset - fractions[i]) @ basis)), 3) for i, j, offset in ends
    )
    return [BondGroup(written, count, length) for length, count in sorted(lengths.items())]


def _merged(groups: Sequence[BondGroup]) -> list[BondGroup]:
    """Groups of the same exchange and length as one."""
    counts: Counter = Counter()
    for group in groups:
        counts[group.exchange, group.length] += group.count
    return [BondGroup(exchange, count, length) for (exchange, length), count in counts.items()]


def _joined(parts: Sequence[tuple[int, Terms]]) -> Terms:
    """Matrices of all bonds (K, 3, 3) for each parameter, from (number of bonds, terms) of each entry."""
    total, start = sum(count for count, _ in parts), 0
    joined: Terms = {}
    for count, terms in parts:
        for name, value in terms.items():
            joined.setdefault(name, np.zeros((total, 3, 3)))[start : start + count] += value
        start += count
    return joined


def _single_ion(entry: object, labels: Sequence[str]) -> Terms:
    """Matrices of all sites (n, 3, 3) for each parameter."""
    if entry is None:
        return {}
    if not isinstance(entry, Mapping):
        return _on_sites(linear.matrix(entry, "anisotropy"), range(len(labels)), len(labels))
    parts = []
    for key, value in entry.items():
        if key in labels:
            chosen = [i for i, label in enumerate(labels) if label == key]
            parts.append(_on_sites(_site_terms(value, f"anisotropy.{key}"), chosen, len(labels)))
        else:
            terms = _axial(key, value, f"anisotropy.{key}")
            parts.append(_on_sites(terms, range(len(labels)), len(labels)))
    return linear.added(*parts)


def _site_terms(value: object, where: str) -> Terms:
    if isinstance(value, Mapping):
        return linear.added(*(_axial(name, axis, f"{where}.{name}") for name, axis in value.items()))
    return linear.matrix(value, where)


def _axial(strength: object, axis: object, where: str) -> Terms:
    """D (S.n)^2 for an axis n."""
    direction = np.asarray(axis, dtype=float) if _is_vector(axis) else None
    if direction is None or not np.linalg.norm(direction) > 0:
        raise InputError(
            f"{where} is {axis!r}, expected the axis of this anisotropy as three numbers",
            "write {D: [0, 0, 1]}, or a matrix under the label of a site",
        )
    direction = direction / np.linalg.norm(direction)
    return {name: v * np.outer(direction, direction) for name, v in linear.scalar(strength, where).items()}


def _is_vector(axis: object) -> bool:
    return isinstance(axis, list | tuple) and len(axis) == 3 and all(isinstance(x, int | float) for x in axis)


def _on_sites(terms: Terms, chosen, count: int) -> Terms:
    spread = {name: np.zeros((count, 3, 3)) for name in terms}
    for name, value in terms.items():
        spread[name][list(chosen)] = value
    return spread


def _ions(sites: Sequence[Site]) -> tuple[str, ...]:
    """Ions as often as their share of the sites asks: their form factors are averaged."""
    counts = Counter(ion for site in sites for ion in site.ion.split("/"))
    for ion in counts:
        form_factor_of(ion)  # refuses one that is not known
    common = reduce(gcd, counts.values())
    return tuple(ion for ion, count in counts.items() for _ in range(count // common))


def _common_g(sites: Sequence[Site]) -> float:
    found = sorted({site.g for site in sites})
    if len(found) > 1:
        raise InputError(
            f"the sites have the g factors {found}, expected one for all", "give the same g to every site, or none"
        )
    return found[0]


def _domain(form: DomainForm, basis: np.ndarray, number: int) -> tuple[np.ndarray, float]:
    if (form.turn_z is None) == (form.matrix is None):
        raise InputError(f"domains.{number} needs one of the keys turn_z and matrix", "give one of them")
    return (turned(basis, form.turn_z) if form.matrix is None else np.array(form.matrix)), form.fraction


def turned(basis: np.ndarray, degrees: float) -> np.ndarray:
    """R in r.l.u. of a domain whose crystal is turned about z (normal to a and b): it scatters at hkl as at R hkl."""
    angle = np.radians(degrees)
    back = np.array([[np.cos(angle), np.sin(angle), 0], [-np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    # Q = hkl . inv(basis)^T (rows), so hkl = Q . basis^T.
    return np.round(basis @ back @ np.linalg.inv(basis), 12)


def _total(terms: Terms, values: Mapping[str, float]) -> np.ndarray:
    return sum(value if name is None else values[name] * value for name, value in terms.items())
