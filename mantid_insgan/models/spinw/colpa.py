"""Linear spin waves of a pySpinW Hamiltonian, for many momenta at once and block by block.

pySpinW diagonalises the whole quadratic Hamiltonian of its bosons, (b_q, b+_-q) of all sites, one momentum at a
time. If the order is collinear and the spin along its axis is conserved, the matrix separates into independent blocks:
the annihilators for a ferromagnet; the annihilators of one spin direction with the creators of the other for an
antiferromagnet. Only these blocks are diagonalised here, in batches. Conventions and results are pySpinW's
(Toth and Lake, J. Phys. Condens. Matter 27, 166002 (2015)).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

#: Matrix elements in memory at once.
_ENTRIES = 1 << 20
#: A matrix is taken as positive definite if the smallest pivot of its Cholesky factor exceeds this fraction of the
#: largest.
_DEFINITE = 1e-13
#: Lower bound of the energies, meV.
_LEAST = 1e-12


class NotDefiniteError(ArithmeticError):
    """The quadratic Hamiltonian is not positive definite at some momenta."""


@dataclass(frozen=True)
class _Hops:
    """A matrix as a function of momentum: still (n, n) + hops, sparse (n * n, K), times K phases."""

    still: np.ndarray
    hops: object

    @classmethod
    def of(cls, still: np.ndarray, hops: np.ndarray) -> _Hops:
        from scipy.sparse import csr_array

        return cls(still, csr_array(hops.reshape(len(hops), -1).T))

    def at(self, phases: np.ndarray) -> np.ndarray:
        """The matrix at momenta with phases (K, N), shape (N, n, n)."""
        return np.ascontiguousarray((self.hops @ phases).T).reshape(-1, *self.still.shape) + self.still


@dataclass(frozen=True)
class _Block:
    """Bosons that mix only with each other.

    sign : (n,), 1 for annihilators and -1 for creators; annihilators first.
    matrices : the quadratic Hamiltonian; or, where it is [[A, B], [B, A]], the sum and the difference of A and B.
    spin : (n, 3), sqrt(S/2) times the components of each boson in the spin's deviation.
    site : (n,), index of the site.
    """

    sign: np.ndarray
    matrices: tuple[_Hops, ...]
    spin: np.ndarray
    site: np.ndarray


class SpinWaves:
    """Spin waves of explicit sites.

    Parameters
    ----------
    positions : ndarray, shape (n, 3)
        Positions of the sites, in units of the magnetic cell.
    spins : ndarray, shape (n, 3)
        Ordered spins, Cartesian.
    couplings : iterable of (i, j, matrix, offset)
        S_i . matrix . S_j with site j in the cell at `offset`; each bond from both ends. Single-ion terms A as
        (i, i, A + A^T, 0).
    to_cartesian : ndarray, shape (3, 3)
        Converts (h, k, l) of the magnetic cell (as a row) to Q in 1/Angstrom.
    """

    def __init__(self, positions: np.ndarray, spins: np.ndarray, couplings: Iterable, to_cartesian: np.ndarray):
        self._positions, self._to_cartesian = np.asarray(positions, dtype=float), to_cartesian
        length = np.linalg.norm(spins, axis=1)
        along, across = _aligned(spins / length[:, None])
        still, hops, self._offsets = _quadratic(length, along, across, list(couplings))
        spin = np.sqrt(length / 2)[:, None] * across
        self._blocks = _split(still, hops, np.vstack([spin, spin.conj()]))

    def modes(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies (N, n) in meV and S_perp (N, n) per magnetic cell at momenta (N, 3) in its r.l.u.

        The modes of each block are sorted by energy, one block after the other.

        Raises
        ------
        NotDefiniteError
            If there is a zero mode at a momentum (a Goldstone point), or the structure is unstable.
        """
        largest = max(len(block.sign) for block in self._blocks)
        parts = np.array_split(q, 1 + len(q) * largest**2 // _ENTRIES)
        energies, intensities = zip(*map(self._part, parts), strict=True)
        return np.vstack(energies), np.vstack(intensities)

    def _part(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        phases = np.exp(2j * np.pi * (self._offsets @ q.T))
        places = np.exp(2j * np.pi * (q @ self._positions.T))
        towards = q @ self._to_cartesian
        towards /= np.maximum(np.linalg.norm(towards, axis=1, keepdims=True), 1e-300)
        pairs = [_solved(block, phases, places, towards) for block in self._blocks]
        return np.hstack([e for e, _ in pairs]), np.hstack([s for _, s in pairs])


def _aligned(units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The direction of each spin, and x + iy of a right-handed frame about it: (n, 3) each.

    Antiparallel spins have mirrored frames, so that spin conservation of a collinear order appears in the matrix.
    """
    aside = np.eye(3)[np.abs(units).argmin(axis=1)]
    x = np.cross(aside, units)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return units, x + 1j * np.cross(units, x)


def _quadratic(length, along, across, couplings):
    """The quadratic Hamiltonian in (b_q, b+_-q): still (2n, 2n), hops (K, 2n, 2n), and their offsets (K, 3)."""
    n = len(length)
    offsets = np.unique([c[3] for c in couplings], axis=0)
    number = {tuple(o): k for k, o in enumerate(offsets)}
    still, hops = np.zeros((2 * n, 2 * n), complex), np.zeros((len(offsets), 2 * n, 2 * n), complex)
    root = np.sqrt(length / 2)
    for i, j, matrix, offset in couplings:
        k, opposite = number[tuple(offset)], number[tuple(-np.asarray(offset))]
        normal = root[i] * root[j] * (across[i] @ matrix @ across[j].conj())
        pair = root[i] * root[j] * (across[i] @ matrix @ across[j])
        hops[k, i, j] += normal
        hops[opposite, n + j, n + i] += normal  # A(-q)^T
        hops[k, i, n + j] += pair
        hops[opposite, n + j, i] += pair.conj()
        turn = length[j] * (along[i] @ matrix @ along[j])
        still[j, j] -= turn
        still[n + j, n + j] -= turn
    return still, hops, offsets


def _split(still, hops, spin) -> list[_Block]:
    """The blocks that contain modes of positive energy."""
    from scipy.sparse.csgraph import connected_components

    size = np.abs(hops).sum(axis=0) + np.abs(still)
    count, labels = connected_components(size > 1e-10 * size.max(initial=0.0), directed=False)
    n, blocks = len(still) // 2, []
    for label in range(count):
        chosen = np.flatnonzero(labels == label)
        sign = np.where(chosen < n, 1.0, -1.0)
        if (sign > 0).any():
            inside = np.ix_(chosen, chosen)
            matrices = _halved(still[inside], hops[:, inside[0], inside[1]], sign)
            blocks.append(_Block(sign, matrices, spin[chosen], chosen % n))
    return blocks


def _halved(still, hops, sign) -> tuple[_Hops, ...]:
    """One matrix, or A + B and A - B of [[A, B], [B, A]]."""
    n = len(sign) // 2
    swapped = np.roll(np.arange(len(sign)), n)
    scale = max(np.abs(hops).max(initial=0.0), np.abs(still).max())
    same = all(np.abs(m - m[..., swapped, :][..., swapped]).max(initial=0.0) < 1e-12 * scale for m in (still, hops))
    if sign.sum() != 0 or not same:
        return (_Hops.of(still, hops),)
    sums = (m[..., :n, :n] + part * m[..., :n, n:] for part in (1, -1) for m in (still, hops))
    plus, plus_hops, minus, minus_hops = sums
    return _Hops.of(plus, plus_hops), _Hops.of(minus, minus_hops)


def _solved(block: _Block, phases, places, towards) -> tuple[np.ndarray, np.ndarray]:
    """Energies and S_perp of one block, each (N, modes), by Colpa's diagonalisation (Physica A 93, 327 (1978))."""
    matrices = [matrix.at(phases) for matrix in block.matrices]
    if len(matrices) == 2:
        values, vectors = _of_halves(*matrices)
    elif (block.sign > 0).all():  # an ordinary Hermitian problem
        values, vectors = np.linalg.eigh(matrices[0])
        if not values.min(initial=1.0) > 0:
            raise NotDefiniteError
    else:
        values, vectors = _paraunitary(matrices[0], block.sign)
    amplitude = (places[:, block.site, None] * block.spin).swapaxes(1, 2) @ vectors.conj()  # (N, 3, modes)
    lengthwise = np.einsum("na,nam->nm", towards, amplitude)
    perpendicular = (np.abs(amplitude) ** 2).sum(axis=1) - np.abs(lengthwise) ** 2
    return values, np.maximum(perpendicular, 0.0)


def _paraunitary(matrix, sign) -> tuple[np.ndarray, np.ndarray]:
    """Positive energies (N, m) and the columns (N, n, m) that diagonalise and preserve commutators."""
    root = _root(matrix)
    signed = sign[:, None] * root
    values, vectors = np.linalg.eigh(root.conj().swapaxes(1, 2) @ signed)
    kept = int((sign > 0).sum())
    values = np.maximum(values[:, -kept:], _LEAST)
    # T = K^-1+ U sqrt(E), and K^-1+ U = g K U / E from the eigenvalue equation.
    return values, signed @ vectors[:, :, -kept:] / np.sqrt(values)[:, None, :]


def _of_halves(plus, minus) -> tuple[np.ndarray, np.ndarray]:
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
