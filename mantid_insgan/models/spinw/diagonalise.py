"""Energies and modes of blocks of bosons: closed forms of one and two, and Colpa's diagonalisation of more.

J. H. P. Colpa, Physica A 93, 327 (1978). Matrices are given for many momenta at once.
"""

from __future__ import annotations

import numpy as np

#: A matrix is positive definite where the smallest pivot of its Cholesky factor is above this share of the largest.
_DEFINITE = 1e-13
#: Lower bound of the energies, meV.
_LEAST = 1e-12


class NotDefiniteError(ArithmeticError):
    """The quadratic Hamiltonian is not positive definite at some momenta."""


def annihilator(entries) -> tuple[np.ndarray, np.ndarray]:
    """One boson that mixes with no other."""
    energy = entries[0, :1].real
    if not energy.min(initial=1.0) > 0:
        raise NotDefiniteError
    return energy, np.ones((1, *energy.shape))


def two_annihilators(entries) -> tuple[np.ndarray, np.ndarray]:
    """The Hermitian [[a, b], [b*, d]]."""
    (a, d), b = _definite_pair(entries)
    half, apart, size = (a + d) / 2, (a - d) / 2, squared(b)
    root = np.sqrt(apart**2 + size)
    upper = half + root
    # The larger component of both modes, where nothing cancels; any modes will do where a = d and b = 0.
    large = np.abs(apart) + root
    norm = np.sqrt(large**2 + size)
    turned = norm > 0
    large = np.where(turned, large / np.where(turned, norm, 1.0), 1.0)
    small = np.where(turned, b / np.where(turned, norm, 1.0), 0.0)
    first = apart >= 0
    vectors = np.empty((2, 2, len(a)), b.dtype)  # lower mode first
    vectors[0, 1], vectors[1, 1] = np.where(first, large, small), np.where(first, small.conj(), large)
    vectors[0, 0], vectors[1, 0] = -vectors[1, 1].conj(), vectors[0, 1].conj()
    return np.stack([(a * d - size) / upper, upper]), vectors


def annihilator_and_creator(entries) -> tuple[np.ndarray, np.ndarray]:
    """[[a, b], [b*, d]] of b_q and b+_-q: a u + b v = E u, b* u + d v = -E v, |u|^2 - |v|^2 = 1."""
    (a, d), b = _definite_pair(entries)
    half, apart, pivots = (a + d) / 2, (a - d) / 2, a * d - squared(b)
    root = np.sqrt(pivots + apart**2)
    energy = np.where(apart >= 0, root + apart, pivots / (root + np.abs(apart)))
    norm = np.sqrt(2 * root * (half + root))
    return np.maximum(energy, _LEAST)[None], np.stack([(half + root) / norm, -b.conj() / norm])[:, None]


SMALL = {(1.0,): annihilator, (1.0, 1.0): two_annihilators, (1.0, -1.0): annihilator_and_creator}


def _definite_pair(entries) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """(a, d) and b of [[a, b], [b*, d]], safely positive definite."""
    a, d, b = entries[0, 0].real, entries[1, 1].real, entries[0, 1]
    least = _DEFINITE * np.maximum(a, d)
    if not ((a > least) & (a * d - squared(b) > least * a)).all():
        raise NotDefiniteError
    return (a, d), b


def paraunitary(matrix, sign) -> tuple[np.ndarray, np.ndarray]:
    """Positive energies (N, m) and the columns (N, n, m) that diagonalise and preserve commutators."""
    root = _root(matrix)
    signed = sign[:, None] * root
    values, vectors = np.linalg.eigh(root.conj().swapaxes(1, 2) @ signed)
    kept = int((sign > 0).sum())
    values = np.maximum(values[:, -kept:], _LEAST)
    # T = K^-1+ U sqrt(E), and K^-1+ U = g K U / E from the eigenvalue equation.
    return values, signed @ vectors[:, :, -kept:] / np.sqrt(values)[:, None, :]


def of_halves(plus, minus) -> tuple[np.ndarray, np.ndarray]:
    """The same for [[A, B], [B, A]]: with s = u + v and d = u - v, (A + B) s = E d and (A - B) d = E s."""
    root = _root(minus)
    squares, vectors = np.linalg.eigh(root.conj().swapaxes(1, 2) @ plus @ root)
    if not squares.min(initial=1.0) > 0:
        raise NotDefiniteError
    values = np.maximum(np.sqrt(squares), _LEAST)[:, None, :]
    both = root @ vectors / np.sqrt(values)
    apart = plus @ both / values
    return values[:, 0], np.concatenate([both + apart, both - apart], axis=1) / 2


def _root(matrix) -> np.ndarray:
    """Cholesky factor of matrices that are safely positive definite."""
    try:
        root = np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError as problem:
        raise NotDefiniteError from problem
    diagonal = np.einsum("nii->ni", root).real ** 2
    if not (diagonal.min(axis=1) > _DEFINITE * diagonal.max(axis=1)).all():
        raise NotDefiniteError
    return root


def squared(values: np.ndarray) -> np.ndarray:
    return values.real**2 + values.imag**2
