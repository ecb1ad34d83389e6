"""Permutations of the sites that leave a quadratic Hamiltonian as it is, and the basis in which they split it.

Take the phases of the Hamiltonian to be exp(2 pi i q . v), with v the vector from one boson's place to the other's. A
permutation of the sites that keeps every hop and its v then commutes with the Hamiltonian at all q. Where the bosons
are taken to sit is a matter of gauge. At the sites, translations by a part of the cell are such permutations. At the
barycentre of its neighbours (`placement`) the place of a boson depends only on how the hops are linked (Delgado-
Friedrichs and O'Keeffe, Acta Cryst. A 59, 351 (2003)): equivalent layers come to lie on each other, so that their
exchange is such a permutation too. And where an inversion takes the hops to their conjugates, there are combinations of
the bosons between which the Hamiltonian is real.
"""

from __future__ import annotations

import numpy as np

#: Digits to which hops (as a share of the largest) and vectors (in units of the cell) are compared.
_DIGITS = 10


def placement(linked: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Each site at the barycentre of those that it is linked to.

    Parameters
    ----------
    linked : ndarray of bool, shape (K, n, n)
        True where site i is linked to site j in the cell at offset k.
    offsets : ndarray, shape (K, 3)
        Of the cells.

    Returns
    -------
    np.ndarray, shape (n, 3)
        Places in units of the cell; the mean of all is zero.
    """
    k, i, j = np.nonzero(linked)
    here, there = np.eye(linked.shape[1])[i], np.eye(linked.shape[1])[j]
    return np.linalg.lstsq(there - here, -offsets[k].astype(float), rcond=None)[0]


def symmetry_basis(hops: np.ndarray) -> np.ndarray:
    """Orthonormal combinations of the sites that the permutations which keep `hops` do not mix.

    Parameters
    ----------
    hops : ndarray, shape (K, n, n)
        For each kind of hop, its strength from site to site.

    Returns
    -------
    np.ndarray, shape (n, n)
        One combination a column, of equivalent sites. Where an inversion takes the hops to their conjugates, they are
        real between these combinations. Without any symmetry, the sites themselves.

    Notes
    -----
    The combinations are eigenvectors of a random sum of the permutations. Its eigenspaces do not mix, since all its
    terms commute with the hops.
    """
    n = hops.shape[1]
    permutations = _permutations(hops)
    rng = np.random.default_rng(0)
    mixed = np.zeros((n, n), complex)
    for image in permutations:
        matrix, (even, odd) = np.eye(n)[image], rng.uniform(1, 2, 2)
        mixed += even * (matrix + matrix.T) + 1j * odd * (matrix - matrix.T)
    start = _real_basis(_inversion(hops, mixed), n)
    mixed = start.conj().T @ mixed @ start
    mixed[np.abs(mixed) < 1e-12] = 0
    if not (np.abs(mixed.imag) > 1e-12).any():
        mixed = mixed.real
    basis = np.zeros_like(mixed)
    for inside in _orbits(mixed):
        basis[np.ix_(inside, inside)] = np.linalg.eigh(mixed[np.ix_(inside, inside)])[1]
    return start @ basis


def orbit_means(basis: np.ndarray, values: np.ndarray) -> np.ndarray:
    """For each site the mean of `values` (n, ...) over the sites that the `symmetry_basis` combines it with."""
    means = np.empty_like(values)
    for inside in _orbits(basis):
        means[inside] = values[inside].mean(axis=0)
    return means


def numbered(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each distinct row (of floats) comes first, and the number of every row among these.

    What `np.unique` does in tens of times as long for wide rows, which it sorts.
    """
    numbers: dict[bytes, int] = {}
    number = np.array([numbers.setdefault(row.tobytes(), len(numbers)) for row in rows + 0.0], dtype=int)  # no -0
    return np.unique(number, return_index=True)[1], number


def _orbits(matrix: np.ndarray) -> list[np.ndarray]:
    """Sites that a matrix connects."""
    from scipy.sparse.csgraph import connected_components

    count, orbit = connected_components(matrix != 0, directed=False)
    return [np.flatnonzero(orbit == number) for number in range(count)]


def _real_basis(inversion: np.ndarray | None, n: int) -> np.ndarray:
    """Combinations that are their own image if the sites are inverted and the combination is conjugated."""
    start = np.eye(n, dtype=complex)
    if inversion is not None:
        for i, j in enumerate(inversion):
            if i < j:
                start[np.ix_([i, j], [i, j])] = np.array([[1, 1j], [1, -1j]]) / np.sqrt(2)
    return start


def _inversion(hops: np.ndarray, mixed: np.ndarray) -> np.ndarray | None:
    """A permutation, its own inverse, that takes the hops to their conjugates and keeps the sum of permutations."""
    n = len(mixed)
    colours, conjugate = _colours(hops, hops.conj())
    for image in range(n):
        p = _moved(colours, conjugate, image)
        if p is not None and (p[p] == np.arange(n)).all() and (conjugate[np.ix_(p, p)] == colours).all():
            if np.allclose(mixed.conj()[np.ix_(p, p)], mixed):
                return p
    return None


def _permutations(hops: np.ndarray) -> list[np.ndarray]:
    """Permutations p, at most one for each image of the first site, with hops[:, p[i], p[j]] = hops[:, i, j]."""
    (colours,) = _colours(hops)
    found = (_moved(colours, colours, image) for image in range(1, len(colours)))
    return [p for p in found if p is not None and (colours[np.ix_(p, p)] == colours).all()]


def _colours(*hops: np.ndarray) -> np.ndarray:
    """A number for each pair of sites, the same where all hops between them are the same: shape (len(hops), n, n)."""
    n = hops[0].shape[1]
    each = np.vstack([h.reshape(len(h), n * n).T for h in hops])
    each /= max(np.abs(each).max(initial=0.0), 1e-300)
    return numbered(np.round(np.hstack([each.real, each.imag]), _DIGITS))[1].reshape(len(hops), n, n)


def _moved(colours: np.ndarray, target: np.ndarray, image: int) -> np.ndarray | None:
    """A permutation p that moves the first site there, and may have target[p[i], p[j]] = colours[i, j].

    Site by site, the one with the fewest images that fit first, it takes the first image that fits; None if there is
    none.
    """
    allowed, waiting = np.diag(colours)[:, None] == np.diag(target), np.ones(len(colours), bool)
    allowed[0] &= np.arange(len(colours)) == image
    for _ in colours:
        counts = np.where(waiting, allowed.sum(axis=1), len(colours) + 1)
        site = counts.argmin()
        if counts[site] == 0:
            return None
        image = allowed[site].argmax()
        allowed &= (colours[site][:, None] == target[image]) & (colours[:, site][:, None] == target[:, image])
        allowed[site], allowed[:, image] = False, False
        allowed[site, image], waiting[site] = True, False
    return allowed.argmax(axis=1)
