"""Which of several models some maps of one sample show together: one answer from all of them, or "unknown".

Each map has a linear discriminant of its own, found by ridge regression on simulated experiments. Its parts (the
quadrants of a map with two mirrors, or the map as a whole) each speak for one model or the other, and the answer is
that of all parts together. Parts that speak against the answer more than those of one model do are a contradiction:
what that means is learnt from composites of two models, which are near both of them, beside experiments of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..errors import InputError
from .classifier import UNKNOWN, best_temperature, common_limits, softmax

#: Of the ridge, relative to the mean variance of a bin.
RIDGE = 0.3
#: Root mean squares of a map at which intensities begin to count by their logarithm.
_SOFT = 0.3
#: Parts of the draws that are held out in turn, and fewest experiments of a model.
FOLDS, _FEWEST = 5, 20
#: Share of the held-out experiments that are compared with one: those with about as strong evidence.
_NEAR = 0.25
#: Of the ridge on weights of signs of a composite.
_SMALL = 1e-4
#: Probability below which no model is the answer: composites, whose parts speak for both, stay below it.
DECIDED = 0.95
#: What is compared with thresholds.
MEASURES = ("contradiction", "distance")


@dataclass(frozen=True, eq=False)
class Experiments:
    """Maps as they are measured, or simulated experiments.

    Parameters
    ----------
    values : ndarray, shape (N, maps, parts, bins)
        Parts of a map see the same model at the same bins, as do its mirror images.
    valid : ndarray of bool, of the same shape
        Values elsewhere do not count.
    label : ndarray of int, shape (N,)
        Number of the model; -1 where it is not known.
    """

    values: np.ndarray
    valid: np.ndarray
    label: np.ndarray

    def __post_init__(self):
        if self.values.ndim != 4 or self.valid.shape != self.values.shape or len(self.label) != len(self.values):
            raise InputError(
                f"values, valid bins and labels have the shapes {self.values.shape}, {self.valid.shape} and "
                f"{np.shape(self.label)}",
                "give (experiments, maps, parts, bins) twice, and a label for each experiment",
            )
        if not self.valid.any(axis=(1, 2, 3)).all():
            raise InputError("an experiment has no valid bin", "leave out experiments without data")

    def some(self, chosen: np.ndarray) -> Experiments:
        """Those of a mask or of numbers."""
        return Experiments(self.values[chosen], self.valid[chosen], self.label[chosen])

    @property
    def features(self) -> np.ndarray:
        """What discriminants see, of the shape of the values.

        The mean of a part is taken away, and a map is divided by its root mean square: neither a constant background
        nor the unit matters. Strong bins count by their logarithm. Bins that are not valid are 0.
        """
        count = np.maximum(self.valid.sum(axis=3, keepdims=True), 1).astype(self.values.dtype)
        seen = np.where(self.valid, self.values, 0.0)
        seen = np.where(self.valid, seen - seen.sum(axis=3, keepdims=True) / count, 0.0)
        size = np.sqrt((seen**2).sum(axis=(2, 3), keepdims=True) / count.sum(axis=2, keepdims=True))
        return np.arcsinh(seen / np.maximum(_SOFT * size, np.finfo(size.dtype).tiny))

    @property
    def seen(self) -> np.ndarray:
        """Which parts have a valid bin, shape (N, maps, parts)."""
        return self.valid.any(axis=3)


@dataclass(frozen=True, eq=False)
class Votes:
    """How the parts of some maps speak for two or more models.

    Parameters
    ----------
    evidence : ndarray, shape (maps, parts, models)
        Log-likelihood of each model less that of the best in each part; 0 where nothing was seen.
    distance : float
        Mean over the parts of the squared distance from what the nearest model gives, in standard deviations.
    """

    evidence: np.ndarray
    distance: float

    @property
    def total(self) -> np.ndarray:
        """Of all parts, shape (models,)."""
        return self.evidence.sum(axis=(0, 1))

    @property
    def best(self) -> int:
        """Number of the model that all parts together prefer."""
        return int(self.total.argmax())

    @property
    def strength(self) -> float:
        """Logarithm of the mean evidence of a part: noise leaves little of it."""
        return float(np.log(max(-self.evidence.min(axis=-1).mean(), 1e-6)))

    @property
    def signs(self) -> np.ndarray:
        """What tells a composite of two models, shape (4,).

        Evidence against the best model as a share of all evidence, without the share expected of parts that are right
        as often as they say: of the parts, of the maps, and of the parts of all maps together; and `strength`.
        """
        levels = (self.evidence, self.evidence.sum(axis=1), self.evidence.sum(axis=0))
        return np.array([*(_excess(level, self.best) for level in levels), self.strength])

    def of_maps(self, first: int, second: int) -> np.ndarray:
        """What each map says for one model against another, shape (maps,): positive for the first."""
        return (self.evidence[..., first] - self.evidence[..., second]).sum(axis=1)


def _excess(evidence: np.ndarray, best: int) -> float:
    """Share of the evidence (..., models) against one model, without that of parts that are right as they say."""
    evidence = evidence - evidence.max(axis=-1, keepdims=True)
    strength, against = -evidence.min(axis=-1), -evidence[..., best]
    wrong = strength / (1 + np.exp(np.minimum(strength, 700.0)))
    return float((against - wrong).sum() / max(strength.sum(), 1e-300))


@dataclass(frozen=True)
class JointAnswer:
    """What several maps show together.

    Parameters
    ----------
    probabilities : dict of str to float
        By the names of the models; the sum is 1. They hold if all maps are of one of the models.
    unknown : bool
    reasons : tuple of str
        Why it is unknown.
    contradiction, distance : float
        In units of their thresholds.
    votes : Votes
    """

    probabilities: dict[str, float]
    unknown: bool
    reasons: tuple[str, ...]
    contradiction: float
    distance: float
    votes: Votes = field(repr=False)

    @property
    def answer(self) -> str:
        """The name of the most probable model, or 'unknown'."""
        return "unknown" if self.unknown else max(self.probabilities, key=self.probabilities.get)


@dataclass(frozen=True, eq=False)
class JointClassifier:
    """Tells models apart by several maps of one sample; made by `train_joint`.

    Parameters
    ----------
    names : tuple of str
        Of the models.
    weights : ndarray, shape (maps, bins, models)
        Of the discriminants.
    means : ndarray, shape (maps, models, models)
        What each discriminant (last axis) gives on average for experiments of each model.
    precisions : ndarray, shape (maps, models, models)
        Inverse of their covariance within a model.
    temperature : float
        The sum of the evidence is divided by it: what parts say is not independent.
    composite : ndarray, shape (5,)
        Weights of `Votes.signs`, and a constant: the log-odds of a composite of two models.
    held_out : ndarray, shape (N, 3)
        Of the experiments of the calibration while they were held out: `Votes.strength`, and the `MEASURES`.
    """

    names: tuple[str, ...]
    weights: np.ndarray
    means: np.ndarray
    precisions: np.ndarray
    temperature: float = 1.0
    composite: np.ndarray = field(default_factory=lambda: np.zeros(5))
    held_out: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))

    def votes(self, data: Experiments) -> list[Votes]:
        """What the parts of the maps of each experiment say.

        Raises
        ------
        InputError
            If the maps or bins are not those of the training.
        """
        maps, bins, _ = self.weights.shape
        if data.values.shape[1] != maps or data.values.shape[3] != bins:
            raise InputError(
                f"there are {data.values.shape[1]} maps of {data.values.shape[3]} bins, but the classifier was trained "
                f"with {maps} of {bins}",
                "give the maps of the training, in their order and on their bins",
            )
        return _votes(_scores(self.weights, data), data.seen, self.means, self.precisions)

    def probabilities(self, seen: Votes) -> np.ndarray:
        """Of the models, shape (models,)."""
        return softmax(seen.total / self.temperature)

    def measures(self, seen: Votes) -> dict[str, float]:
        """Likeness to composites of two models, 0 to 1, and distance."""
        odds = float(self.composite[:-1] @ seen.signs + self.composite[-1])
        return {"contradiction": float(1 / (1 + np.exp(-np.clip(odds, -500, 500)))), "distance": seen.distance}

    def limits(self, strength: float) -> dict[str, float]:
        """Thresholds of the `MEASURES`: above them lie `classifier.UNKNOWN` of the experiments that were held out, of
        those in which the evidence was about as strong."""
        away = np.abs(self.held_out[:, 0] - strength)
        near = self.held_out[np.argsort(away, kind="stable")[: max(_FEWEST, round(_NEAR * len(away)))]]
        return dict(zip(MEASURES, common_limits(near[:, 1:].T, UNKNOWN).tolist(), strict=True))

    def judged(self, seen: Votes) -> JointAnswer:
        """The answer to votes."""
        limits = self.limits(seen.strength)
        over = {name: value / limits[name] for name, value in self.measures(seen).items()}
        said = {
            "contradiction": "its parts speak for different models {:.2f} times as much as the threshold",
            "distance": "it is {:.2f} times as far from what any model gives as the threshold",
        }
        reasons = tuple(said[name].format(value) for name, value in over.items() if not value <= 1)
        named = dict(zip(self.names, self.probabilities(seen).tolist(), strict=True))
        if (most := max(named.values())) < DECIDED:
            reasons += (f"no model is {DECIDED:.0%} probable, the most probable is {most:.0%}",)
        return JointAnswer(named, bool(reasons), reasons, **over, votes=seen)

    def judge(self, values: np.ndarray, valid: np.ndarray) -> JointAnswer:
        """Say which model maps (maps, parts, bins) show."""
        (seen,) = self.votes(Experiments(values[None], valid[None], np.array([-1])))
        return self.judged(seen)


def train_joint(
    names: Sequence[str], data: Experiments, groups: np.ndarray, *, folds: int = FOLDS, ridge: float = RIDGE
) -> JointClassifier:
    """Train the discriminants on simulated experiments, and calibrate the answer on the same by cross-validation.

    Parameters
    ----------
    names : sequence of str
        Of the models, two or more.
    data : Experiments
    groups : ndarray of int, shape (N,)
        Number of the draw of parameters of each: those of one draw are held out together.
    folds : int
        Parts of the draws that are held out one after the other. Likelihoods, temperature and the thresholds of
        'unknown' come from what is held out.
    ridge : float
        See `RIDGE`.

    Raises
    ------
    InputError
        If there are fewer than two models, or a model has fewer than 20 experiments or fewer draws than folds.
    """
    names, groups, models = tuple(names), np.asarray(groups), len(names)
    fewest = min(((data.label == n).sum() for n in range(models)), default=0)
    draws = min((len(np.unique(groups[data.label == n])) for n in range(models)), default=0)
    if models < 2 or fewest < _FEWEST or not 2 <= folds <= draws:
        raise InputError(
            f"there are {models} models, with {fewest} experiments of {draws} draws of one of them, for {folds} folds",
            f"give two models or more, {_FEWEST} experiments or more of each, and from 2 folds to as many as draws",
        )
    scores, fold = np.empty((*data.values.shape[:3], models)), np.unique(groups, return_inverse=True)[1] % folds
    for number in range(folds):
        held = fold == number
        scores[held] = _scores(_weights(data.some(~held), models, ridge), data.some(held))
    means, precisions = _spread(scores, data, models)
    seen = _votes(scores, data.seen, means, precisions)
    temperature = best_temperature(np.stack([v.total for v in seen])[:, None], data.label)
    composite = _composite_weights(seen, data.label)
    found = JointClassifier(names, _weights(data, models, ridge), means, precisions, temperature, composite)
    held_out = np.array([[v.strength, *found.measures(v).values()] for v in seen])
    return replace(found, held_out=held_out)


def _composite_weights(seen: list[Votes], label: np.ndarray) -> np.ndarray:
    """Weights that tell composites of two models from experiments of one by `Votes.signs`: logistic regression."""
    from scipy.optimize import minimize

    signs = np.array([v.signs for v in [*seen, *_composites(seen, label)]])
    target = np.arange(len(signs)) >= len(seen)
    middle, size = signs.mean(axis=0), np.maximum(signs.std(axis=0), 1e-9)
    scaled = np.column_stack([(signs - middle) / size, np.ones(len(signs))])
    weight = np.where(target, 0.5 / target.sum(), 0.5 / (~target).sum())

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        odds = scaled @ w
        p = 0.5 * (1 + np.tanh(0.5 * odds))
        value = weight @ (np.logaddexp(0, odds) - target * odds) + _SMALL * w @ w
        return float(value), scaled.T @ (weight * (p - target)) + 2 * _SMALL * w

    found = minimize(loss, np.zeros(scaled.shape[1]), jac=True).x
    return np.append(found[:-1] / size, found[-1] - found[:-1] @ (middle / size))


def _composites(seen: list[Votes], label: np.ndarray) -> list[Votes]:
    """Votes of which some maps, a run of maps or some parts of all are from another model, as many as there are votes.

    Experiments in which models are told about as well are put together: their noise is about the same.
    """
    rng, found = np.random.default_rng(0), []
    maps, parts, _ = seen[0].evidence.shape
    strength = np.array([v.total.max() - v.total.min() for v in seen])
    ranked = {n: np.flatnonzero(label == n)[np.argsort(strength[label == n])] for n in np.unique(label)}
    kinds = [k for k, open_ in enumerate((maps > 1, maps > 2, parts > 1)) if open_]
    for number, (one, own) in enumerate(zip(seen, label, strict=True)):
        if not kinds:
            break
        others = ranked[rng.choice([n for n in ranked if n != own])]
        mine = ranked[own]
        place = int(np.flatnonzero(mine == number)[0] * len(others) / len(mine))
        other = seen[others[min(place, len(others) - 1)]]
        chosen = _chosen(rng, kinds[number % len(kinds)], maps, parts)[..., None]
        found.append(Votes(np.where(chosen, other.evidence, one.evidence), one.distance))
    return found


def _chosen(rng: np.random.Generator, kind: int, maps: int, parts: int) -> np.ndarray:
    """Which parts are of the other model, shape (maps, parts): random maps, a run of maps, or some parts of all; at
    least one and not all of them."""
    if kind == 1:
        start = rng.integers(maps)
        of_maps = (np.arange(maps) - start) % maps < rng.integers(maps // 3, maps - maps // 3 + 1)
        return np.repeat(of_maps[:, None], parts, axis=1)
    size = parts if kind == 2 else maps
    some = rng.permutation(size) < rng.integers(max(size // 3, 1), max(size - size // 3, 1) + (size > 2))
    return np.broadcast_to(some if kind == 2 else some[:, None], (maps, parts))


def _weights(training: Experiments, models: int, ridge: float) -> np.ndarray:
    """Ridge regression of the features of each map on which model they are of, (maps, bins, models)."""
    features, parts = training.features, training.values.shape[2]
    target = np.repeat(np.eye(models)[training.label] - 1 / models, parts, axis=0)
    found = []
    for seen in features.swapaxes(0, 1):
        seen = seen.reshape(-1, seen.shape[-1])
        matrix = seen.T @ seen
        matrix += ridge * max(np.trace(matrix), 1e-300) / len(matrix) * np.eye(len(matrix))
        found.append(np.linalg.solve(matrix, seen.T @ target))
    return np.array(found)


def _scores(weights: np.ndarray, data: Experiments) -> np.ndarray:
    """What the discriminants give, (N, maps, parts, models)."""
    return np.einsum("nmpb,mbk->nmpk", data.features, weights, optimize=True)


def _votes(scores: np.ndarray, seen: np.ndarray, means: np.ndarray, precisions: np.ndarray) -> list[Votes]:
    """Votes by what the discriminants give, (N, maps, parts, models), where something is seen, (N, maps, parts)."""
    away = scores[..., None, :] - means[:, None]  # (N, maps, parts, models, models)
    squared = np.einsum("nmpki,mij,nmpkj->nmpk", away, precisions, away, optimize=True)
    squared = np.where(seen[..., None], squared, 0.0)
    evidence = -0.5 * (squared - squared.min(axis=-1, keepdims=True))
    distance = squared.min(axis=-1).sum(axis=(1, 2)) / seen.sum(axis=(1, 2))
    return [Votes(e, float(d)) for e, d in zip(evidence, distance, strict=True)]


def _spread(scores: np.ndarray, data: Experiments, models: int) -> tuple[np.ndarray, np.ndarray]:
    """Means by model, and the precision within models, of each map's discriminants: (maps, models, models) twice."""
    means, precisions = [], []
    for number in range(scores.shape[1]):
        seen = data.seen[:, number]
        found, label = scores[:, number][seen], np.broadcast_to(data.label[:, None], seen.shape)[seen]
        mean = np.array(
            [found[label == n].mean(axis=0) if (label == n).any() else found.sum(axis=0) for n in range(models)]
        )
        # The discriminants of all models sum to 0, so that their covariance has no inverse.
        covariance = np.cov(found - mean[label], rowvar=False) if len(found) > models else np.eye(models)
        means.append(mean)
        precisions.append(np.linalg.pinv(covariance, rcond=1e-6, hermitian=True))
    return np.array(means), np.array(precisions)
