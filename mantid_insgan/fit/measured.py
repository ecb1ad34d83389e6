"""Measurements as a fit takes them: datasets, and groups of datasets that share a scale and a background."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..core.spectrum import Spectrum, per_event
from ..errors import InputError
from ..instruments import Resolution
from .background import LinearTerms, joined, linear_terms
from .engines import Engine, engine_for
from .smoothing import Smoothing

#: Monte Carlo points for every bin of a correction.
CORRECTION_POINTS = 2000
#: Fewest counts that a bin is expected to have.
_FEWEST = 0.5
#: A bin is expected to have at least its own counts over this.
_FAR_ABOVE = 4.0


@dataclass(frozen=True, eq=False)
class Dataset:
    """One measurement of a fit.

    Parameters
    ----------
    spectrum : Spectrum
        Measured; bins that are not valid are left out (see `fit.masks`).
    resolution : Resolution, optional
        That of the facts of the run if not given.
    name : str
        In messages and tables; the spectrum's title if not given.
    fixed : mapping of str to float
        Parameters of the model that have a known value for this measurement (a field, a temperature).
    background : str or tuple of str, optional
        Of `fit.background.BACKGROUNDS`; that of the problem if not given.
    group : str
        Datasets of one group, such as the segments of one path, share a scale and a background; a dataset without a
        group has its own.
    """

    spectrum: Spectrum
    resolution: Resolution | None = None
    name: str = ""
    fixed: Mapping[str, float] = field(default_factory=dict)
    background: str | tuple[str, ...] | None = None
    group: str = ""

    def __post_init__(self):
        if self.resolution is None:
            object.__setattr__(self, "resolution", Resolution.from_run(self.spectrum.run))
        object.__setattr__(self, "spectrum", per_event(self.spectrum))
        object.__setattr__(self, "name", self.name or self.spectrum.title or "data")


@dataclass(frozen=True, eq=False)
class Comparing:
    """How measurements are compared with models: see `Problem`."""

    resolution: object
    background: str | tuple[str, ...]
    weights: str
    model_error: float
    shape: str
    seed: int
    points: int | None
    threads: int


class Part:
    """A dataset with all that does not depend on the parameters.

    Parameters
    ----------
    data : Dataset
    how : Comparing
    model
        At the start values.
    seen_with : dict
        What the engine is told beside the model.

    Raises
    ------
    InputError
        If no bin can be fitted.
    """

    def __init__(self, data: Dataset, how: Comparing, model, seen_with: dict):
        self.data = data
        spectrum = data.spectrum
        self.valid = spectrum.valid & (spectrum.variance > 0 if how.weights == "errors" else True)
        if not self.valid.any():
            raise InputError(
                f"dataset {data.name!r} has no valid bin with an error above 0 among {spectrum.signal.size}",
                "check its mask and ranges; use weights='equal' for data without errors",
            )
        options = {"seed": how.seed, "points": how.points, "threads": how.threads}
        self._engine = engine_for(how.resolution, spectrum, data.resolution, model, **options)
        self.valid &= np.isfinite(self._engine(model, **seen_with))
        if not self.valid.any():
            raise InputError(
                f"no neutron can reach any valid bin of dataset {data.name!r}",
                "check its incident energy, lattice and axes",
            )
        self._how, self._correction = how, 0.0
        kinds = how.background if data.background is None else data.background
        self.terms = linear_terms(kinds, spectrum, data.resolution, self.valid)

    @property
    def engine(self) -> Engine:
        """What gives the intensity of models."""
        return self._engine

    @property
    def size(self) -> int:
        """Bins that are fitted."""
        return int(self.valid.sum())

    def seen(self, model, seen_with: dict) -> np.ndarray:
        """Intensity of a model at the fitted bins, shape (N,)."""
        return self._seen(model, seen_with) + self._correction

    def _seen(self, model, seen_with: dict) -> np.ndarray:
        return np.nan_to_num(self._engine(model, **seen_with)[self.valid])

    def correct(self, model, seen_with: dict) -> None:
        """From now on add to every model what Monte Carlo, with the pulses as they are, adds to this one."""
        from ..convolve import convolve

        how = {"method": "interpolated", "seed": self._how.seed, "workers": self._how.threads}
        line = {"fwhm": seen_with["line"], "shape": seen_with["shape"]}
        resolution = self.data.resolution.scaled(seen_with["width_factor"])
        exact = convolve(model, self.data.spectrum, resolution, points=CORRECTION_POINTS, **how, **line).signal
        self._correction = np.nan_to_num(exact[self.valid]) - self._seen(model, seen_with)


class Group:
    """Datasets that share a scale and a background.

    Parameters
    ----------
    parts : sequence of Part
    """

    def __init__(self, parts: Sequence[Part]):
        self.parts = tuple(parts)
        self.name = parts[0].data.group or parts[0].data.name
        self.signal = np.concatenate([p.data.spectrum.signal[p.valid] for p in parts])
        self.variance = np.concatenate([p.data.spectrum.variance[p.valid] for p in parts])
        self.terms: LinearTerms = joined([p.terms for p in parts])
        self._smoothings: list[Smoothing] = []

    def smoothed(self, share: float, error: np.ndarray) -> Group:
        """The same datasets smoothed (see `Smoothing`), `share` of their range wide; `error` is theirs, shape (N,).

        A background that is free at each energy is a constant and a slope here: free, it would take out what is smooth
        along energy, and what is left of a mode beside the measured one looks like its negative.
        """
        found = copy.copy(self)
        found._smoothings = [Smoothing(p.data.spectrum, p.valid, share) for p in self.parts]
        found.signal = found.joined(self.split(self.signal))
        spread = zip(found._smoothings, self.split(error**2), strict=True)
        found.variance = np.concatenate([smoothing.variance(variance) for smoothing, variance in spread])
        terms = self.terms.smooth()
        found.terms = replace(terms, columns=found.joined(self.split(terms.columns)))
        return found

    @property
    def is_smooth(self) -> bool:
        """Whether any of the datasets is smoothed."""
        return any(s.matters for s in self._smoothings)

    def joined(self, values: Sequence[np.ndarray]) -> np.ndarray:
        """Values at the fitted bins of each part, smoothed where the group is, as those of the group."""
        if self._smoothings:
            values = [smoothing(v) for smoothing, v in zip(self._smoothings, values, strict=True)]
        return np.concatenate(values)

    def split(self, values: np.ndarray) -> list[np.ndarray]:
        """Values at the fitted bins of the group, for each part."""
        return np.split(values, np.cumsum([p.size for p in self.parts])[:-1])

    def error(self, how: Comparing, model: np.ndarray | None = None, fitted: np.ndarray | None = None) -> np.ndarray:
        """Standard errors of the fitted bins: of the data, and of the model where that has one.

        Parameters
        ----------
        how : Comparing
        model, fitted : ndarray, shape (N,), optional
            Scaled intensity of the model, and that with the background, from a fit before; the data stand in for them.
        """
        if how.weights == "equal":
            error = np.full(self.signal.shape, max(self.signal.std(), 1e-300))
        elif how.weights == "errors":
            error = np.sqrt(self.variance)
        else:
            error = np.sqrt(self._expected(self.signal if fitted is None else fitted))
        return error if model is None else np.hypot(error, how.model_error * model)

    def _expected(self, fitted: np.ndarray) -> np.ndarray:
        """Variance of counts of this mean. What one count adds to a bin is its variance over its signal."""
        known = (self.variance > 0) & (self.signal > 0)
        if not known.any():
            return np.ones_like(fitted)
        one = np.full(fitted.shape, np.median(self.variance[known] / self.signal[known]))
        one[known] = self.variance[known] / self.signal[known]
        # A fit far below the data, as before the first step, must not make their errors vanish.
        return one * np.maximum(np.maximum(fitted, self.signal / _FAR_ABOVE), _FEWEST * one)


def grouped(datasets: Sequence[Dataset]) -> list[list[Dataset]]:
    """Datasets by group, in the order in which groups are first met; one without a group stands alone."""
    found: dict[object, list[Dataset]] = {}
    for number, data in enumerate(datasets):
        found.setdefault(data.group or number, []).append(data)
    return list(found.values())
