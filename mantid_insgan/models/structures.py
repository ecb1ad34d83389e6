"""Magnetic sites of a file: given one by one, as atoms of a CIF, and repeated with an ordering vector."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..core.run import Lattice
from ..errors import DeviceError, InputError
from .form import SiteForm


@dataclass(frozen=True)
class Site:
    """A magnetic site: label, position in r.l.u. of the lattice, ordered spin (Cartesian), ion, g factor."""

    label: str
    at: tuple[float, float, float]
    spin: tuple[float, float, float]
    ion: str
    g: float = 2.0


@dataclass(frozen=True, eq=False)
class Atoms:
    """A unit cell: lattice, labels of the CIF, elements, and fractional positions (n, 3)."""

    lattice: Lattice
    labels: tuple[str, ...]
    elements: tuple[str, ...]
    positions: np.ndarray


def read_cif(path: Path) -> Atoms:
    """All atoms of the unit cell, in the order in which ASE makes them from the space group.

    Raises
    ------
    DeviceError
        If ASE is not installed.
    InputError
        If the file is not there or cannot be read.
    """
    try:
        from ase.io import read
    except ImportError as problem:
        raise DeviceError(
            "CIF files need ASE, which is not installed", "pip install 'mantid-insgan[spinw]'"
        ) from problem
    if not path.is_file():
        raise InputError(f"there is no file {path}", "name a CIF beside the model's file")
    try:
        atoms = read(path, format="cif", store_tags=True)
    except Exception as problem:  # ASE has no error of its own for a file that is no CIF
        raise InputError(
            f"{path} cannot be read as a CIF ({type(problem).__name__}: {problem})",
            "give a CIF with a cell, a space group and atoms",
        ) from problem
    symbols = atoms.get_chemical_symbols()
    named = atoms.info.get("_atom_site_label", [])
    kinds = atoms.arrays.get("spacegroup_kinds", range(len(symbols)))
    labels = tuple(
        str(named[kind]) if kind < len(named) else symbol for kind, symbol in zip(kinds, symbols, strict=True)
    )
    lattice = Lattice(*(float(x) for x in atoms.cell.cellpar()))
    return Atoms(lattice, labels, tuple(symbols), atoms.get_scaled_positions())


def sites_of(forms: Sequence[SiteForm], atoms: Atoms | None) -> list[Site]:
    """Sites given by position, and those given as atoms of a CIF.

    Raises
    ------
    InputError
        If a position or a spin is missing, or there is no such atom.
    """
    if not forms:
        raise InputError("there are no sites", "give the magnetic sites under sites")
    sites = []
    for number, form in enumerate(forms):
        where = f"sites.{number}"
        if (form.at is None) == (form.atom is None):
            raise InputError(f"{where} needs one of the keys at and atom", "give its position, or its name in the CIF")
        if (form.spin is None) == (form.spins is None):
            raise InputError(f"{where} needs one of the keys spin and spins", "give the ordered spin of this site")
        positions = [form.at] if form.atom is None else _equivalent(form.atom, atoms, where)
        spins = [form.spin] * len(positions) if form.spins is None else form.spins
        if len(spins) != len(positions):
            listed = ", ".join(str(np.round(p, 4).tolist()) for p in positions)
            raise InputError(
                f"{where} has {len(spins)} spins for {len(positions)} positions: {listed}",
                "give one spin for each of these, in this order",
            )
        sites += [_site(form, at, spin, where) for at, spin in zip(positions, spins, strict=True)]
    return sites


def _equivalent(name: str, atoms: Atoms | None, where: str) -> list[np.ndarray]:
    if atoms is None:
        raise InputError(f"{where} names the atom {name!r}, but there is no structure", "name a CIF under structure")
    for names in (atoms.labels, atoms.elements):
        found = [p for p, label in zip(atoms.positions, names, strict=True) if label == name]
        if found:
            return found
    raise InputError(
        f"{where} names the atom {name!r}; the structure has {', '.join(dict.fromkeys(atoms.labels))}",
        "use one of these labels, or an element",
    )


def _site(form: SiteForm, at: Sequence[float], spin: Sequence[float], where: str) -> Site:
    spin = np.asarray(spin, dtype=float)
    length = float(np.linalg.norm(spin))
    if not length > 1e-9:
        raise InputError(f"{where} has the spin {spin.tolist()} of length 0", "give the ordered spin of this site")
    if form.length is not None:
        spin = spin * (form.length / length)
    return Site(form.label or form.ion, tuple(map(float, at)), tuple(spin.tolist()), form.ion, form.g)


def ordered(sites: Sequence[Site], k: Sequence[float] | None) -> tuple[np.ndarray, list[Site]]:
    """The magnetic cell of a collinear doubling: spins change sign with cos(2 pi k.R) from cell to cell.

    Parameters
    ----------
    sites : sequence of Site
        Those of one unit cell.
    k : sequence of float, optional
        Components 0 or 1/2.

    Returns
    -------
    cell : ndarray, shape (3, 3)
        Two unit cells, or one if k is 0.
    sites : list of Site
        Those of the magnetic cell.
    """
    if k is None or not np.any(k):
        return np.eye(3), list(sites)
    k = np.asarray(k, dtype=float)
    if not np.isin(k, (0.0, 0.5)).all():
        raise InputError(
            f"the ordering vector k is {k.tolist()}, expected components 0 and 0.5", "give cell and all its sites"
        )
    shift = np.eye(3)[np.argmax(k)]
    opposite = [
        replace(site, at=tuple(np.add(site.at, shift).tolist()), spin=tuple((-np.array(site.spin)).tolist()))
        for site in sites
    ]
    return _doubled(k), [*sites, *opposite]


def _doubled(k: np.ndarray) -> np.ndarray:
    """The shortest three lattice vectors with whole k.R, as rows of a right-handed cell of two unit cells."""
    vectors = [np.array(v) for v in itertools.product((0, 1, -1, 2), repeat=3) if any(v) and (k @ v) % 1 == 0]
    vectors.sort(key=lambda v: (v @ v, tuple(-v)))
    return next(
        np.array(rows, dtype=float)
        for rows in itertools.combinations(vectors, 3)
        for rows in (rows, rows[::-1])
        if abs(np.linalg.det(rows) - 2) < 1e-6
    )
