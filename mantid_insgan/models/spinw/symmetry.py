"""Permutations of the sites that leave a quadratic Hamiltonian as it is, and the basis in which they split it.

Take the phases of the Hamiltonian to be exp(2 pi i q . v), with v the vector from one boson's place to the other's. A
permutation of the sites that keeps every hop and its v then commutes with the Hamiltonian at all q. Where the bosons
are taken to sit is a matter of gauge. At the sites, translations by a part of the cell are such permutations; at the
barycentre of its neighbours (`placement`), every boson has a place that depends only on how the hops are linked (Delgado
Friedrichs and O'Keeffe, Acta Cryst. A 59, 351 (2003)), so that layers that are exchanged come to lie on each other and
their exchange is a permutation too.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse.csgraph import connected_components

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


def symmetry_basis(hops: np.ndarray) -> np.ndarray | None:
    """Orthonormal combinations of the sites that the permutations which keep `hops` do not mix.

    Parameters
    ----------
    hops : ndarray, shape (K, n, n)
        For each kind of hop, its strength from site to site.

    Returns
    -------
    np.ndarray, shape (n, n), or None
        One combination a column, of equivalent sites; real if each permutation is its own inverse. None if there is no
        permutation. The combinations are eigenvectors of a random sum of the permutations, whose eigenspaces do not mix
        since all of its terms commute with the hops.
    """
    permutations = _permutations(_colours(hops))
    if not permutations:
        return None
    rng = np.random.default_rng(0)
    n = hops.shape[1]
    mixed = np.zeros((n, n), complex)
    for image in permutations:
        matrix, (even, odd) = np.eye(n)[image], rng.uniform(1, 2, 2)
        mixed += even * (matrix + matrix.T) + 1j * odd * (matrix - matrix.T)
    if not mixed.imag.any():
        mixed = mixed.real
    basis = np.zeros_like(mixed)
    count, orbit = connected_components(mixed != 0, directed=False)
    for number in range(count):
        inside = np.ix_(*[np.flatnonzero(orbit == number)] * 2)
        basis[inside] = np.linalg.eigh(mixed[inside])[1]
    return basis


def orbit_means(basis: np.ndarray, values: np.ndarray) -> np.ndarray:
    """For each site the mean of `values` (n, ...) over the sites that the `symmetry_basis` combines it with."""
    count, orbit = connected_components(basis != 0, directed=False)
    member = (orbit == np.arange(count)[:, None]).astype(float)
    return ((member @ values) / member.sum(axis=1)[:, None])[orbit]


def _colours(hops: np.ndarray) -> np.ndarray:
    """A number for each pair of sites, the same where all hops between them are the same: shape (n, n)."""
    n = hops.shape[1]
    each = hops.reshape(len(hops), n * n).T / max(np.abs(hops).max(initial=0.0), 1e-300)
    parts = np.round(np.hstack([each.real, each.imag]), _DIGITS) + 0.0  # no -0
    return np.unique(parts, axis=0, return_inverse=True)[1].reshape(n, n)


def _permutations(colours: np.ndarray) -> list[np.ndarray]:
    """Permutations p, one for each image of the first site, with colours[p[i], p[j]] = colours[i, j]."""
    found = (_moved(colours, image) for image in range(1, len(colours)))
    return [p for p in found if p is not None and (colours[np.ix_(p, p)] == colours).all()]


def _moved(colours: np.ndarray, image: int) -> np.ndarray | None:
    """A permutation that may keep the colours and moves the first site there; None if a site has no image left.

    Site by site, the one with the fewest images that fit first, it takes the first image that fits.
    """
    own = np.diag(colours)
    allowed, waiting = own[:, None] == own, np.ones(len(own), bool)
    allowed[0] &= np.arange(len(own)) == image
    for _ in own:
        counts = np.where(waiting, allowed.sum(axis=1), len(own) + 1)
        site = counts.argmin()
        if counts[site] == 0:
            return None
        image = allowed[site].argmax()
        allowed &= (colours[site][:, None] == colours[image]) & (colours[:, site][:, None] == colours[:, image])
        allowed[site], allowed[:, image] = False, False
        allowed[site, image], waiting[site] = True, False
    return allowed.argmax(axis=1)
