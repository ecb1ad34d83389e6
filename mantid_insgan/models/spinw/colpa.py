"""Linear spin waves of a pySpinW Hamiltonian, for many momenta at once and block by block.

pySpinW diagonalises the whole quadratic Hamiltonian of its bosons, (b_q, b+_-q) of all sites, one momentum at a
time. Here it is taken apart first, into blocks that do not mix at any momentum:

- by permutations of the sites that leave the Hamiltonian as it is (`symmetry`): a translation by a part of the magnetic
  cell, alone or with a rotation of all spins, or the exchange of equivalent layers;
- by the spin along the axis of a collinear order: a ferromagnet's annihilators do not mix with creators, an
  antiferromagnet's annihilators of one direction mix only with the creators of the other.

The blocks are diagonalised in batches, those of one or two bosons in closed form. Conventions and results are pySpinW's
(Toth and Lake, J. Phys. Condens. Matter 27, 166002 (2015)).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from .diagonalise import SMALL, NotDefiniteError, of_halves, paraunitary, squared
from .symmetry import numbered, orbit_means, placement, symmetry_basis

#: Matrix entries of the largest block held at once: small batches stay in the processor's cache.
_ENTRIES = 1 << 14
#: Momenta in a batch, at least and at most.
_BATCH = (64, 2048)
#: Entries below this share of the largest are rounding.
_ROUNDING = 1e-10
#: Those below this share are zero.
_ZERO = 1e-14


@dataclass(frozen=True)
class _Sum:
    """A Hermitian matrix (n, n) as a function of momentum: sparse terms times 1, cosines and sines.

    terms : (n * n, 1 + 2 K) if all entries are real; else real and imaginary parts are two rows, (2 n * n, 1 + 2 K).
    """

    size: int
    real: bool
    terms: object

    @classmethod
    def of(cls, terms: np.ndarray) -> _Sum:
        from scipy.sparse import csr_array

        flat = np.ascontiguousarray(terms, dtype=complex).reshape(len(terms), -1)
        least = _ZERO * np.abs(flat).max(initial=0.0)
        real = bool(np.abs(flat.imag).max(initial=0.0) <= least)
        flat = flat.real if real else flat.view(float)
        return cls(terms.shape[1], real, csr_array(np.where(np.abs(flat) > least, flat, 0.0).T))

    @property
    def filled(self) -> np.ndarray:
        """Which entries are not zero at all momenta, shape (n, n)."""
        return np.diff(self.terms.indptr).reshape(self.size, self.size, -1).any(axis=2)

    def entries(self, waves: np.ndarray) -> np.ndarray:
        """The entries at momenta with `waves` (1 + 2 K, N), shape (n, n, N)."""
        rows = (self.terms @ waves).reshape(self.size, self.size, 1 if self.real else 2, waves.shape[1])
        return rows[:, :, 0] if self.real else rows[:, :, 0] + 1j * rows[:, :, 1]

    def at(self, waves: np.ndarray) -> np.ndarray:
        """The same as matrices, shape (N, n, n)."""
        rows = np.ascontiguousarray((self.terms @ waves).T)
        return (rows if self.real else rows.view(complex)).reshape(waves.shape[1], self.size, self.size)


@dataclass(frozen=True)
class _Block:
    """Bosons that mix only with each other.

    chosen : (n,), which of all bosons.
    sign : (n,), 1 for annihilators and -1 for creators; annihilators first.
    matrices : the quadratic Hamiltonian; or, where it is [[A, B], [B, A]], the sum and the difference of A and B.
    spin : for each shift, the bosons (m,) that have a part there, and these parts (R, m) in the spins' deviation.
    polarisations : (R, 3), orthonormal, of these parts.
    """

    chosen: np.ndarray
    sign: np.ndarray
    matrices: tuple[_Sum, ...]
    spin: tuple[tuple[np.ndarray, np.ndarray], ...]
    polarisations: np.ndarray

    @property
    def largest(self) -> int:
        """Order of the matrices."""
        return self.matrices[0].size


@dataclass(frozen=True)
class Change:
    """A change of the Hamiltonian: the vectors of its waves, and what it is within each block."""

    vectors: np.ndarray
    within: tuple[_Sum, ...]


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
        From (h, k, l) of the magnetic cell (as a row) to Q in 1/Angstrom.
    symmetry : bool
        Look for permutations of the sites that make the blocks smaller.
    """

    def __init__(
        self,
        positions: np.ndarray,
        spins: np.ndarray,
        couplings: Iterable,
        to_cartesian: np.ndarray,
        *,
        symmetry: bool = True,
    ):
        self._to_cartesian = to_cartesian
        self._length = np.linalg.norm(spins, axis=1)
        self._along, self._across = _aligned(spins / self._length[:, None])
        quadratic = self._quadratic(couplings)
        self._places, self._basis = np.zeros((len(spins), 3)), np.eye(len(spins))
        self._vectors, terms = _waves_of(quadratic, self._places, self._basis)
        if symmetry:
            self._vectors, terms = self._smaller(quadratic, terms, positions)
        moved = np.round(positions - self._places, 9)
        self._shifts, shift = np.unique(moved - moved[0], axis=0, return_inverse=True)
        self._blocks = _split(terms, self._spin(shift.reshape(-1)))

    def modes(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies (N, n) in meV and S_perp (N, n) per magnetic cell at momenta (N, 3) in its r.l.u.

        The modes of each block are sorted by energy, one block after the other.

        Raises
        ------
        NotDefiniteError
            If there is a zero mode at a momentum (a Goldstone point), or the structure is unstable.
        """
        energies, s_perp, _ = self.modes_and_derivatives(q, ())
        return energies, s_perp

    def modes_and_derivatives(
        self, q: np.ndarray, changes: Sequence[Change]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Energies and S_perp, as `modes` gives them, and the derivatives (P, N, n) of the energies with each change.

        The Hamiltonian plus t times a change has dE/dt = v+ (change) v at t = 0, with v a mode normalised to
        v+ g v = 1 (Hellmann and Feynman's theorem for bosons). Of degenerate modes only the sum of the derivatives
        has a meaning.

        Raises
        ------
        NotDefiniteError
            As `modes`.
        """
        largest = max(block.largest for block in self._blocks)
        batch = int(np.clip(_ENTRIES // largest**2, *_BATCH))
        parts = [self._part(q[start : start + batch], changes) for start in range(0, max(len(q), 1), batch)]
        return tuple(np.concatenate(part, axis=-1).swapaxes(-1, -2) for part in zip(*parts, strict=True))

    def change(self, couplings: Iterable) -> Change:
        """What other couplings of the same sites change in the quadratic Hamiltonian of these."""
        vectors, terms = _waves_of(self._quadratic(couplings), self._places, self._basis)
        return Change(vectors, tuple(_Sum.of(_inside(terms, block.chosen)) for block in self._blocks))

    def _quadratic(self, couplings: Iterable) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return _quadratic(self._length, self._along, self._across, list(couplings))

    def _smaller(self, quadratic, terms, positions) -> tuple[np.ndarray, np.ndarray]:
        """The waves in places and a basis with smaller blocks, if there are such; as they are otherwise."""
        n = len(self._basis)
        _, hops, offsets = quadratic
        linked = _by_site(np.abs(hops)).max(axis=1) > _ROUNDING * np.abs(hops).max(initial=0.0)
        places = placement(linked, offsets)
        basis = symmetry_basis(_by_site(_waves_of(quadratic, places, np.eye(n))[1]).reshape(-1, n, n))
        # Equivalent sites may be moved alike: towards their positions, so that few shifts are left.
        nearer = places + orbit_means(basis, positions - places)
        best = (_effort(terms), self._vectors, terms)
        for each in (nearer, places):
            vectors, turned = _waves_of(quadratic, each, basis)
            if (effort := _effort(turned)) < best[0]:
                self._places, self._basis, best = each, basis, (effort, vectors, turned)
        return best[1:]

    def _spin(self, shift: np.ndarray) -> np.ndarray:
        """Parts (D, 2n, 3) of the bosons in the spins' deviation, by the shift (n,) of the sites from their places."""
        spin = np.sqrt(self._length / 2)[:, None] * self._across
        chosen = (shift == np.arange(len(self._shifts))[:, None])[:, :, None]
        halves = [self._basis.conj().T @ (chosen * half) for half in (spin, spin.conj())]
        return np.concatenate(halves, axis=1)

    def _part(self, q: np.ndarray, changes: Sequence[Change]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Energies (n, N), S_perp (n, N) and derivatives (P, n, N) of a batch."""
        alike, again = _unlike(q, np.concatenate([self._vectors, *(change.vectors for change in changes)]))
        waves, *others = (_waves_at(v, alike) for v in (self._vectors, *(change.vectors for change in changes)))
        places = np.exp(-2j * np.pi * (self._shifts @ q.T))
        towards = self._to_cartesian.T @ q.T
        towards /= np.maximum(np.linalg.norm(towards, axis=0), 1e-300)
        energies, s_perp, slopes = [], [], []
        for number, block in enumerate(self._blocks):
            values, vectors = _solved(block, waves)
            energies.append(values[:, again])
            s_perp.append(_perpendicular(block, vectors[..., again], places, towards))
            found = [_slope(change.within[number], w, vectors) for change, w in zip(changes, others, strict=True)]
            slopes.append(np.reshape(found, (len(changes), *values.shape))[..., again])
        return np.concatenate(energies), np.concatenate(s_perp), np.concatenate(slopes, axis=1)


def _aligned(units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The direction of each spin, and x + iy of a right-handed frame about it: (n, 3) each.

    Antiparallel spins have mirrored frames, so that spin conservation of a collinear order shows in the matrix; spins
    in one plane have frames that differ by a rotation in that plane.
    """
    values, vectors = np.linalg.eigh(units.T @ units)
    in_a_plane = values[0] < 1e-12 * len(units) < values[1]
    aside = vectors[:, 0] if in_a_plane else np.eye(3)[np.abs(units).argmin(axis=1)]
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


def _waves_of(quadratic, places: np.ndarray, basis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The quadratic Hamiltonian as a sum of waves: vectors (K, 3) and terms (1 + 2 K, 2n, 2n), of 1, cos and sin.

    Its bosons are combinations, the columns of `basis` (n, n), of those of the sites, which are taken to sit at
    `places` (n, 3).
    """
    still, hops, offsets = quadratic
    n = len(places)
    k, i, j = np.nonzero(hops)
    hop = hops[k, i, j]
    vector = offsets[k] + places[j % n] - places[i % n]
    rounded = np.round(vector, 9)
    first = rounded[np.arange(len(k)), (rounded != 0).argmax(axis=1)]
    sense = np.sign(first)  # hops along a vector and against it share its waves; 0 of no vector
    where, number = numbered(rounded * sense[:, None])
    vectors = vector[where] * sense[where, None]
    terms = np.zeros((1 + 2 * len(vectors), 2 * n, 2 * n), complex)
    terms[0] = still
    np.add.at(terms, (1 + number, i, j), hop)
    np.add.at(terms, (1 + len(vectors) + number, i, j), 1j * sense * hop)
    both = np.kron(np.eye(2), basis)
    return vectors, both.conj().T @ terms @ both


def _unlike(q: np.ndarray, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray | slice]:
    """Momenta among (N, 3) at which waves of `vectors` differ, (A, 3), and which of these each momentum is like.

    Layers that are not coupled, for example, have no wave along their normal: many momenta of a grid are alike.
    """
    flat = ~np.round(vectors, 9).any(axis=0)
    if not flat.any() or flat.all():
        return q, slice(None)
    _, first, again = np.unique(q[:, ~flat], axis=0, return_index=True, return_inverse=True)
    # Where fewer would be left out, copying costs what that saves.
    return (q[first], again.ravel()) if 2 * len(first) < len(q) else (q, slice(None))


def _waves_at(vectors: np.ndarray, q: np.ndarray) -> np.ndarray:
    """1, cosines and sines at momenta (N, 3), shape (1 + 2 K, N)."""
    angles = 2 * np.pi * (vectors @ q.T)
    return np.concatenate([np.ones((1, len(q))), np.cos(angles), np.sin(angles)])


def _by_site(matrices: np.ndarray) -> np.ndarray:
    """(K, 2n, 2n) as (K, 4, n, n): annihilators and creators of each pair of sites."""
    n = matrices.shape[-1] // 2
    return matrices.reshape(-1, 2, n, 2, n).swapaxes(2, 3).reshape(-1, 4, n, n)


def _labels(terms: np.ndarray) -> tuple[int, np.ndarray]:
    """How many blocks there are, and the number of each boson's block."""
    from scipy.sparse.csgraph import connected_components

    size = np.abs(terms).sum(axis=0)
    return connected_components(size > _ROUNDING * size.max(initial=0.0), directed=False)


def _effort(terms: np.ndarray) -> float:
    """What the diagonalisation of all blocks takes, in arbitrary units; that of real ones a third."""
    real = np.abs(terms.imag).max() <= _ZERO * np.abs(terms).max()
    return float((np.bincount(_labels(terms)[1]) ** 3.0).sum() / (3 if real else 1))


def _inside(terms: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    return terms[:, chosen[:, None], chosen]


def _split(terms: np.ndarray, spin: np.ndarray) -> list[_Block]:
    """Blocks that have a mode of positive energy, of terms (1 + 2 K, 2n, 2n) and parts (D, 2n, 3) of the spin."""
    count, labels = _labels(terms)
    n, blocks = terms.shape[-1] // 2, []
    for label in range(count):
        chosen = np.flatnonzero(labels == label)
        sign = np.where(chosen < n, 1.0, -1.0)
        if (sign > 0).any():
            matrices = _halved(_inside(terms, chosen), sign)
            blocks.append(_Block(chosen, sign, matrices, *_polarised(spin[:, chosen])))
    return blocks


def _halved(terms: np.ndarray, sign: np.ndarray) -> tuple[_Sum, ...]:
    """One matrix, or A + B and A - B of [[A, B], [B, A]]."""
    n = len(sign) // 2
    swapped = np.roll(np.arange(len(sign)), n)
    same = np.abs(terms - _inside(terms, swapped)).max() < 1e-12 * np.abs(terms).max()
    if sign.sum() != 0 or n == 1 or not same:
        return (_Sum.of(terms),)
    return tuple(_Sum.of(terms[:, :n, :n] + part * terms[:, :n, n:]) for part in (1, -1))


def _polarised(spin: np.ndarray) -> tuple[tuple, np.ndarray]:
    """`spin` and `polarisations` of a block, from the parts (D, n, 3)."""
    _, sizes, axes = np.linalg.svd(spin.reshape(-1, 3), full_matrices=False)
    axes = axes[sizes > _ROUNDING * max(sizes[0], 1e-300)]
    parts = []
    for part in spin @ axes.conj().T:
        members = np.flatnonzero(np.abs(part).max(axis=1, initial=0.0) > _ROUNDING * sizes[0])
        # Conjugate, so that it is multiplied with the modes and not with their conjugates.
        parts.append((members, np.ascontiguousarray(part[members].conj().T)))
    return tuple(parts), axes


def _solved(block: _Block, waves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Energies (m, N) and modes (n, m, N) of one block, by Colpa's diagonalisation (Physica A 93, 327 (1978))."""
    if len(block.sign) <= 2:
        return SMALL[tuple(block.sign)](block.matrices[0].entries(waves))
    matrices = [matrix.at(waves) for matrix in block.matrices]
    if len(matrices) == 2:
        values, vectors = of_halves(*matrices)
    elif (block.sign > 0).all():  # an ordinary Hermitian problem
        values, vectors = np.linalg.eigh(matrices[0])
        if not values.min(initial=1.0) > 0:
            raise NotDefiniteError
    else:
        values, vectors = paraunitary(matrices[0], block.sign)
    return values.T, np.ascontiguousarray(vectors.transpose(1, 2, 0))


def _perpendicular(block: _Block, vectors, places, towards) -> np.ndarray:
    """S_perp (m, N) of modes (n, m, N), with the phases (D, N) of the shifts and the directions (3, N) of Q."""
    amplitude = np.zeros((len(block.polarisations), *vectors.shape[1:]), complex)
    for place, (members, part) in zip(places, block.spin, strict=True):
        if len(members):
            chosen = vectors if len(members) == len(vectors) else vectors[members]
            amplitude += (part @ chosen.reshape(len(members), -1)).reshape(amplitude.shape) * place
    lengthwise = ((block.polarisations.conj() @ towards)[:, None] * amplitude).sum(axis=0)
    return np.maximum(squared(amplitude).sum(axis=0) - squared(lengthwise), 0.0)


def _slope(change: _Sum, waves: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """v+ (change) v of modes (n, m, N), shape (m, N)."""
    entries = change.entries(waves)
    total = np.zeros(vectors.shape[1:])
    for i, j in zip(*np.nonzero(np.triu(change.filled)), strict=True):
        product = (vectors[i].conj() * vectors[j] * entries[i, j]).real
        total += product if i == j else 2 * product
    return total
