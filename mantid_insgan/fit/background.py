"""Backgrounds that enter a fit linearly, and their elimination together with the scale of the model.

For given couplings the best scale and backgrounds follow from linear least squares, so that the search is over the
couplings alone (variable projection, G. H. Golub and V. Pereyra, SIAM J. Numer. Anal. 10, 413 (1973)). A constant for
each energy is eliminated as weighted means; what is left of all other columns is solved at once (the theorem of Frisch,
Waugh and Lovell).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..core.constants import FWHM_PER_SIGMA
from ..core.spectrum import Spectrum
from ..errors import InputError

#: The backgrounds there are, and what each is.
BACKGROUNDS = {
    "none": "no background",
    "constant": "one number",
    "per-energy": "one number for each energy, as phonon bands and the empty can have",
    "slope": "a number and a slope along the energy",
    "q-squared": "a number and a term with |Q|^2, as phonons and multiple scattering have",
    "elastic-tail": "a number and the Gaussian tail of the elastic line, as wide as the resolution at E = 0",
}
#: Unit of the energy of a slope, meV, and digits to which energies of different datasets are the same.
_ENERGY, _DIGITS = 100.0, 6


@dataclass(frozen=True)
class LinearTerms:
    """Background terms at the N fitted bins of one or several datasets.

    Parameters
    ----------
    names : tuple of str
        Of the columns.
    columns : ndarray, shape (N, C)
    groups : ndarray, shape (N,), or None
        Energy of each in meV, rounded, where every energy has a constant of its own.
    """

    names: tuple[str, ...]
    columns: np.ndarray
    groups: np.ndarray | None

    @cached_property
    def count(self) -> int:
        """Free numbers of the background."""
        return self.columns.shape[1] + (0 if self.groups is None else len(np.unique(self.groups)))

    def smooth(self) -> LinearTerms:
        """The same terms, with a constant and a slope in place of a constant for each energy."""
        if self.groups is None:
            return self
        line = np.stack([np.ones_like(self.groups), self.groups / _ENERGY], axis=1)
        return LinearTerms(("constant", "slope", *self.names), np.hstack([line, self.columns]), None)


def linear_terms(kinds: str | tuple[str, ...], spectrum: Spectrum, resolution, valid: np.ndarray) -> LinearTerms:
    """The terms of one or several backgrounds at the bins that are fitted.

    Parameters
    ----------
    kinds : str or tuple of str
        Of `BACKGROUNDS`.
    spectrum : Spectrum
    resolution : Resolution or None
        Needed for |Q| of a crystal and for the elastic line.
    valid : ndarray of bool, shape of the spectrum

    Raises
    ------
    InputError
        If a kind is not known.
    """
    kinds = (kinds,) if isinstance(kinds, str) else tuple(kinds)
    for kind in kinds:
        if kind not in BACKGROUNDS:
            raise InputError(f"unknown background {kind!r}", f"use one or several of {', '.join(BACKGROUNDS)}")
    energy = np.broadcast_to(_along(spectrum, spectrum.energy_axis), spectrum.shape)[valid]
    columns: dict[str, np.ndarray] = {}
    grouped = "per-energy" in kinds
    if not grouped and set(kinds) - {"none"}:
        columns["constant"] = np.ones_like(energy)
    if "slope" in kinds and not grouped:
        columns["slope"] = energy / _ENERGY
    if "q-squared" in kinds:
        modulus = resolution.on_grid(spectrum).position()[1].reshape(spectrum.shape)[valid].astype(float)
        columns["q-squared"] = modulus**2
    if "elastic-tail" in kinds and not grouped:
        sigma = float(np.atleast_1d(resolution.fwhm_energy(0.0))[0]) / FWHM_PER_SIGMA
        columns["elastic-tail"] = np.exp(-0.5 * (energy / sigma) ** 2)
    stacked = np.stack(list(columns.values()), axis=1) if columns else np.zeros((len(energy), 0))
    return LinearTerms(tuple(columns), stacked, np.round(energy, _DIGITS) if grouped else None)


def joined(terms: Sequence[LinearTerms]) -> LinearTerms:
    """The terms of datasets that share a background, at the bins of all of them.

    Raises
    ------
    InputError
        If they do not have the same kinds of background.
    """
    kinds = {(t.names, t.groups is None) for t in terms}
    if len(kinds) > 1:
        raise InputError(
            f"datasets of one group have the backgrounds {sorted(', '.join(t.names) or 'none' for t in terms)}",
            "give all datasets of a group the same background, or take them out of the group",
        )
    groups = None if terms[0].groups is None else np.concatenate([t.groups for t in terms])
    return LinearTerms(terms[0].names, np.concatenate([t.columns for t in terms]), groups)


def _along(spectrum: Spectrum, number: int) -> np.ndarray:
    return spectrum.axes[number].centers.reshape([-1 if i == number else 1 for i in range(spectrum.ndim)])


class Projection:
    """Takes the background out of data and models: what no combination of its terms can describe.

    Parameters
    ----------
    terms : LinearTerms
    weight : ndarray, shape (N,)
        1 / standard error of each bin; 0 leaves a bin out.
    """

    def __init__(self, terms: LinearTerms, weight: np.ndarray):
        self.weight, self._terms = weight, terms
        if terms.groups is not None:
            _, self._group = np.unique(terms.groups, return_inverse=True)
            self._norm = np.maximum(np.bincount(self._group, weight**2), 1e-300)
        columns = self._without_means(terms.columns * weight[:, None])
        # An orthonormal basis of what the columns span; a term that the data cannot tell from others drops out.
        basis, sizes, _ = np.linalg.svd(columns, full_matrices=False) if columns.shape[1] else (columns, [], None)
        self._basis = basis[:, np.asarray(sizes) > 1e-9 * max(np.max(sizes, initial=0.0), 1e-300)]

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Weighted values (N,) without what the background can describe: weight * values, projected."""
        rest = self._without_means(values * self.weight)
        return rest - self._basis @ (self._basis.T @ rest)

    def background(self, values: np.ndarray) -> np.ndarray:
        """The background that describes `values` (N,) best, in their units."""
        return values - np.divide(self(values), self.weight, out=np.zeros_like(values), where=self.weight > 0)

    @property
    def rank(self) -> int:
        """Numbers that the background takes from the data."""
        return self._basis.shape[1] + (0 if self._terms.groups is None else int(self._group.max(initial=-1)) + 1)

    def _without_means(self, weighted: np.ndarray) -> np.ndarray:
        """Weighted values, shape (N,) or (N, C), less the weighted mean of their energy."""
        if self._terms.groups is None:
            return weighted
        if weighted.ndim == 2:
            return np.stack([self._without_means(c) for c in weighted.T], axis=1) if weighted.size else weighted
        means = np.bincount(self._group, weighted * self.weight, len(self._norm)) / self._norm
        return weighted - means[self._group] * self.weight
