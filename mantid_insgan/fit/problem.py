"""What is to be fitted: one or several measurements, a model with free parameters, and how they are compared."""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..core.model_options import LOSSES, SCALES, WEIGHTS
from ..core.options import overridden
from ..core.run import notes_by_name
from ..core.spectrum import Spectrum
from ..errors import InputError
from ..models.base import UnstableModelError
from ..models.parameters import LINE, WIDTH_FACTOR
from ..models.placing import notes_on_temperature
from .background import Projection
from .engines import share_modes
from .measured import Comparing, Dataset, Group, Part, grouped
from .parameters import tied

#: Standard errors beyond which Huber's loss is linear.
HUBER = 2.0
#: Rounds in which weights that depend on the fit are settled within one evaluation.
_ROUNDS = 4
#: A model that is not stable counts as this many times the residual without any model.
_UNSTABLE = 2.0


@dataclass
class Evaluation:
    """One set of parameters compared with all data.

    Attributes
    ----------
    residual : ndarray, shape (N,)
        (data - scale x model - background) / standard error over all fitted bins, with the loss put in.
    chi_squared : float
        Sum of their squares.
    scales : list of float
        One for each group of datasets.
    stable : bool
        False where the model has no stable order: `residual` is then a finite penalty.
    """

    residual: np.ndarray
    chi_squared: float
    scales: list[float]
    stable: bool = True


class Problem:
    """Measurements and a model with free parameters.

    Parameters
    ----------
    datasets : sequence of Dataset or Spectrum
        Fitted at once; of different Ei, choppers, instruments, cuts.
    definition : ModelDefinition
        Its parameters say what is free, with limits and ties. One named 'line' is the intrinsic FWHM in meV, one named
        'width_factor' multiplies the widths of the resolution.
    resolution : str or callable
        One of `fit.engines.ENGINES`, or a function that makes an engine.
    background : str or tuple of str
        Of `fit.background.BACKGROUNDS`, solved linearly for every group of datasets.
    scale : {'own', 'shared', 'fixed'}
        A factor on the model for each group of datasets, one for all, or 1.
    weights : {'errors', 'poisson', 'equal'}
        The data's errors; those of the counts that the fit expects, which few counts need (a bin's own count is a
        poor guess of its mean and draws fits to low bins); or one for all bins.
    loss : {'linear', 'huber'}
        'huber' counts residuals linearly beyond `HUBER` standard errors.
    model_error : float
        Share of the fitted intensity that is added in quadrature to the error of every bin: what a model of spin waves
        may be off by.
    shape : str
        Of the intrinsic line, see `models.lineshape`.
    seed : int
    points : int, optional
        As in `convolve`.
    threads : int, optional
        Of one evaluation; all processors that this process may use if not given. Results do not depend on it.

    Raises
    ------
    InputError
        If nothing is free, an option is unknown, a dataset has no bin to fit, or there are fewer bins than numbers
        to find.
    UnstableModelError
        If the model is not stable at its start values.
    """

    def __init__(
        self,
        datasets: Sequence[Dataset | Spectrum],
        definition,
        *,
        resolution="covariance",
        background: str | tuple[str, ...] = "constant",
        scale: str = "own",
        weights: str = "errors",
        loss: str = "linear",
        model_error: float = 0.0,
        shape: str = "dho",
        seed: int = 0,
        points: int | None = None,
        threads: int | None = None,
    ):
        self.definition, self.resolution, self.background = definition, resolution, background
        self.scale, self.weights, self.loss, self.model_error = scale, weights, loss, float(model_error)
        self.shape, self.seed, self.points = shape, seed, points
        self._check_options()
        self._built: dict[tuple, object] = {}
        sets = grouped([d if isinstance(d, Dataset) else Dataset(d) for d in _listed(datasets)])
        self.datasets = tuple(data for group in sets for data in group)
        self._check_names()
        self.start = tied(definition, {name: p.value for name, p in definition.parameters.items()})
        threads = threads or _processors()
        self._how = Comparing(resolution, background, weights, self.model_error, shape, seed, points, threads)
        models = iter(self._models(self.start))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self.groups = [
                Group([Part(d, self._how, next(models), self.seen_with({**self.start, **d.fixed})) for d in group])
                for group in sets
            ]
            share_modes([part.engine for group in self.groups for part in group.parts])
        #: What a user should know of the data, and what preparing the comparison had to say, such as a grid of modes
        #: that is coarser than its tolerance.
        told = [str(w.message) for w in caught if issubclass(w.category, UserWarning)]
        self.notes = tuple(dict.fromkeys([*self._notes_on_data(), *told]))
        self._weigh([1 / p.error(self._how) for p in self.groups])
        if self.reweighted:
            self.update_errors(self.start)
        if self.degrees_of_freedom < 1:
            raise InputError(
                f"{self.bins} bins are fitted with {self.bins - self.degrees_of_freedom} free numbers "
                f"({', '.join(self.free)} and scale and background), expected more bins than numbers",
                "fix some parameters, take a simpler background, or fit more bins",
            )

    def _notes_on_data(self) -> tuple[str, ...]:
        """Facts of the runs that were replaced or are not the model's, and what was noticed when data were read."""
        found = []
        for data, model in zip(self.datasets, self._models(self.start), strict=True):
            run = data.spectrum.run
            of_model = notes_on_temperature(getattr(model, "temperature", None), run)
            found.append((data.name, (*overridden(run), *run.notes, *data.resolution.notes, *of_model)))
        return notes_by_name(found) if len(found) > 1 else found[0][1]

    def recipe(self, **changes) -> dict:
        """The arguments that make this problem again, in another process for example."""
        names = ("resolution", "background", "scale", "weights", "loss", "model_error", "shape", "seed", "points")
        found = {name: getattr(self, name) for name in names}
        return {"datasets": self.datasets, "definition": self.definition, **found, **changes}

    @property
    def free(self) -> tuple[str, ...]:
        """Names of the parameters that vary."""
        return tuple(n for n, p in self.definition.parameters.items() if p.vary and p.expression is None)

    @property
    def bins(self) -> int:
        """Bins that are fitted, of all datasets."""
        return sum(p.signal.size for p in self.groups)

    @property
    def chi_squared_of_nothing(self) -> float:
        """Chi-squared of the best backgrounds without any model."""
        return float(self._penalty @ self._penalty)

    @property
    def degrees_of_freedom(self) -> int:
        """Bins less free parameters, scales and numbers of the backgrounds."""
        scales = {"own": len(self.groups), "shared": 1, "fixed": 0}[self.scale]
        return self.bins - len(self.free) - scales - sum(p.rank for p in self._projection)

    def seen_with(self, values: Mapping[str, float]) -> dict:
        """What an engine is told beside the model: intrinsic line (FWHM in meV, None without one), its shape, and the
        factor on the resolution's widths."""
        line = values.get(LINE)
        return {
            "line": None if line is None or line <= 0 else float(line),
            "shape": self.shape,
            "width_factor": float(values.get(WIDTH_FACTOR, 1.0)),
        }

    def evaluate(self, values: Mapping[str, float]) -> Evaluation:
        """Compare one set of parameters with the data; those not given are at their start."""
        values = {**self.start, **values}
        try:
            models = self._models(values)
            intensities = self._intensities(models, values)
        except UnstableModelError:
            residual = _UNSTABLE * self._penalty
            return Evaluation(residual, float(residual @ residual), [0.0] * len(self.groups), stable=False)
        scales, residual = self._settled(intensities)
        return Evaluation(residual, float(residual @ residual), scales)

    def fitted(self, values: Mapping[str, float]) -> list[tuple[Spectrum, Spectrum]]:
        """For each dataset scale x model + background, and the residual in standard errors, on its grid.

        Raises
        ------
        UnstableModelError
            If the model is not stable at these values.
        """
        values = {**self.start, **values}
        intensities = self._intensities(self._models(values), values)
        scales, _ = self._settled(intensities)
        found = []
        for group, seen, scale, projection, weight in zip(
            self.groups, intensities, scales, self._last_projections, self._weight, strict=True
        ):
            fitted = scale * seen + projection.background(group.signal - scale * seen)
            pulls = (group.signal - fitted) * weight
            found += map(_spectra, group.parts, group.split(fitted), group.split(pulls))
        return found

    @property
    def reweighted(self) -> bool:
        """Whether errors depend on the fit, so that it is repeated with `update_errors`."""
        return self.model_error > 0 or self.weights == "poisson"

    def update_errors(self, values: Mapping[str, float]) -> None:
        """Take those errors that depend on the fit from the one at these values, until the next update.

        While the parameters are searched they stay as they are: an error that grows with the model would favour strong
        models. Where the model is not stable they stay those of the data.
        """
        self._weigh([1 / p.error(self._how) for p in self.groups])
        values = {**self.start, **values}
        intensities = self._intensities(self._models(values), values)
        for _ in range(_ROUNDS):  # the first backgrounds are those of the data's own errors, drawn to low bins
            scales, _ = self._settled(intensities)
            found = zip(self.groups, intensities, scales, self._last_projections, strict=True)
            models = [(p, scale * intensity, projection) for p, intensity, scale, projection in found]
            self._weigh([1 / p.error(self._how, m, m + g.background(p.signal - m)) for p, m, g in models])

    def with_errors_of(self, other: Problem) -> Problem:
        """The same problem with the errors of another of the same data: what a comparison needs."""
        found = copy.copy(self)
        found._weigh(other._weight)
        return found

    def with_errors_held(self) -> Problem:
        """The same problem with the errors as they now are, also where the fit sets them: what a profile needs."""
        held = copy.copy(self)
        held.weights, held.model_error = "errors", 0.0
        return held

    def _weigh(self, weight: list[np.ndarray]) -> None:
        """Take 1 / standard error of the fitted bins, for each dataset."""
        self._weight = weight
        self._projection = [Projection(p.terms, w) for p, w in zip(self.groups, weight, strict=True)]
        self._penalty = self._residual_of_nothing()

    def holding(self, name: str, values: Mapping[str, float]) -> Problem:
        """The same problem that starts at `values` and holds one parameter there; nothing is prepared again."""
        held = copy.copy(self)
        parameters = {
            n: replace(p, value=values[n], vary=p.vary and n != name) for n, p in self.definition.parameters.items()
        }
        held.definition = replace(self.definition, parameters=parameters)
        held.start = dict(values)
        return held

    def smoothed(self, share: float) -> Problem | None:
        """The same problem with measurements, models and backgrounds smoothed alike, `share` of their range wide.

        The parameters that broaden the model (`line`, `width_factor`), of which it cannot tell, are held. None where
        nothing else is free, or the smoothing is narrower than a bin.
        """
        held = copy.copy(self)
        errors = zip(self.groups, self._weight, strict=True)
        held.groups = [group.smoothed(share, 1 / weight) for group, weight in errors]
        if not any(group.is_smooth for group in held.groups):
            return None
        parameters = {
            n: replace(p, vary=p.vary and n not in (LINE, WIDTH_FACTOR)) for n, p in self.definition.parameters.items()
        }
        held.definition = replace(self.definition, parameters=parameters)
        held._weigh([1 / np.sqrt(group.variance) for group in held.groups])
        return held if held.free else None

    def correct(self, values: Mapping[str, float]) -> None:
        """From now on add to every model what Monte Carlo, with the pulses as they are, adds to that of these values.

        Models near that one are then as Monte Carlo would have them (defect correction, K. Boehmer, P. W. Hemker and
        H. J. Stetter, Computing Suppl. 5, 1 (1984)), but for its noise.
        """
        values = {**self.start, **values}
        models = iter(self._models(values))
        for part in (p for group in self.groups for p in group.parts):
            part.correct(next(models), self.seen_with({**values, **part.data.fixed}))

    def blocks(self, size: int) -> np.ndarray:
        """Number of the block of `size` bins along each open axis that each fitted bin lies in, shape (N,)."""
        numbers, offset = [], 0
        for part in (p for group in self.groups for p in group.parts):
            total = np.zeros(part.valid.shape, int)
            for count, along in zip(part.valid.shape, np.indices(part.valid.shape, sparse=True), strict=True):
                total = total * (-(-count // size)) + along // size
            _, inverse = np.unique(total[part.valid], return_inverse=True)
            numbers.append(inverse + offset)
            offset += inverse.max() + 1
        return np.concatenate(numbers)

    def _models(self, values: Mapping[str, float]) -> list:
        """The model for each dataset; built once for those with the same values, and kept while only the line changes,
        which engines know by the model being the same object."""
        before, self._built = self._built, {}
        models = []
        for data in self.datasets:
            given = {**values, **data.fixed}
            key = tuple(given[name] for name in given if name not in (LINE, WIDTH_FACTOR))
            if key not in self._built:
                self._built[key] = before.get(key) or self.definition.build(given)
            models.append(self._built[key])
        return models

    def _intensities(self, models, values) -> list[np.ndarray]:
        """Of each group, at its fitted bins."""
        models, found = iter(models), []
        for group in self.groups:
            seen = [p.seen(next(models), self.seen_with({**values, **p.data.fixed})) for p in group.parts]
            found.append(group.joined(seen))
        return found

    def _settled(self, intensities: list[np.ndarray]) -> tuple[list[float], np.ndarray]:
        """Scales and residual; with Huber's loss the weights of far bins are settled in a few rounds."""
        projections = self._projection
        scales, rests = self._solved(intensities, projections)
        for _ in range(_ROUNDS if self.loss == "huber" else 0):
            pulls = [_pulls(*x) for x in zip(rests, projections, self._weight, strict=True)]
            near = [np.sqrt(np.minimum(1.0, HUBER / np.maximum(np.abs(pull), 1e-12))) for pull in pulls]
            weights = [n * w for n, w in zip(near, self._weight, strict=True)]
            projections = [Projection(p.terms, w) for p, w in zip(self.groups, weights, strict=True)]
            scales, rests = self._solved(intensities, projections)
        self._last_projections = projections
        if self.loss == "huber":
            rests = [_counted(_pulls(*x)) for x in zip(rests, projections, self._weight, strict=True)]
        return scales, np.concatenate(rests)

    def _solved(self, intensities, projections) -> tuple[list[float], list[np.ndarray]]:
        """Scales, and weighted residuals with the backgrounds taken out."""
        data = [p(x.signal) for p, x in zip(projections, self.groups, strict=True)]
        model = [p(i) for p, i in zip(projections, intensities, strict=True)]
        if self.scale == "fixed":
            scales = [1.0] * len(data)
        elif self.scale == "shared":
            over = sum(m @ m for m in model)
            scales = [max(sum(m @ d for m, d in zip(model, data, strict=True)) / max(over, 1e-300), 0.0)] * len(data)
        else:
            scales = [max((m @ d) / max(m @ m, 1e-300), 0.0) for m, d in zip(model, data, strict=True)]
        return scales, [d - s * m for d, s, m in zip(data, scales, model, strict=True)]

    def _residual_of_nothing(self) -> np.ndarray:
        return np.concatenate([p(x.signal) for p, x in zip(self._projection, self.groups, strict=True)])

    def _check_options(self) -> None:
        for name, value, known in (
            ("scale", self.scale, SCALES),
            ("weights", self.weights, WEIGHTS),
            ("loss", self.loss, LOSSES),
        ):
            if value not in known:
                raise InputError(f"{name} is {value!r}", f"use one of {', '.join(map(repr, known))}")
        if not 0 <= self.model_error < 1:
            raise InputError(f"the model error is {self.model_error:g}", "give a share from 0 to below 1")
        if not self.free:
            raise InputError(
                f"none of the parameters {', '.join(self.definition.parameters) or '(none)'} is free",
                "let at least one vary in the model's file (vary: true), or name it with --free",
            )

    def _check_names(self) -> None:
        if not self.datasets:
            raise InputError("there are no data to fit", "give at least one spectrum")
        for data in self.datasets:
            for name in data.fixed:
                if name not in self.definition.parameters:
                    raise InputError(
                        f"dataset {data.name!r} fixes {name!r}, which is no parameter of the model "
                        f"{self.definition.name!r} ({', '.join(self.definition.parameters)})",
                        "use one of these names",
                    )


def _listed(datasets) -> Sequence:
    return [datasets] if isinstance(datasets, Spectrum | Dataset) else list(datasets)


def _pulls(rest: np.ndarray, projection: Projection, weight: np.ndarray) -> np.ndarray:
    """Residuals in standard errors, from those weighted otherwise."""
    return rest / projection.weight * weight


def _counted(pulls: np.ndarray) -> np.ndarray:
    """Residuals whose squares sum to twice Huber's loss (P. J. Huber, Ann. Math. Stat. 35, 73 (1964))."""
    size = np.abs(pulls)
    far = np.sign(pulls) * np.sqrt(np.maximum(2 * HUBER * size - HUBER**2, 0.0))
    return np.where(size <= HUBER, pulls, far)


def _spectra(part: Part, fitted: np.ndarray, pulls: np.ndarray) -> tuple[Spectrum, Spectrum]:
    """The fit and the residual of one dataset, as spectra."""
    out = np.full((2, *part.valid.shape), np.nan)
    out[0][part.valid], out[1][part.valid] = fitted, pulls
    zero, measured = np.where(part.valid, 0.0, np.nan), part.data.spectrum
    change = {"variance": zero, "valid": part.valid, "num_events": None, "masked": None}
    return (
        measured.replace(signal=out[0], title=f"fit to {part.data.name}", **change),
        measured.replace(signal=out[1], title=f"(data - fit) / error of {part.data.name}", **change),
    )


def _processors() -> int:
    """Processors that this process may use."""
    known = getattr(os, "sched_getaffinity", None)
    return len(known(0)) if known else os.cpu_count() or 1
