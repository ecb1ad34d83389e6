"""Which of several models some maps of one sample show together: one answer from all of them, or "unknown".

Each map has a linear discriminant of its own, found by ridge regression on simulated experiments. Its parts (the
quadrants of a map with two mirrors, or the map as a whole) each speak for one model or the other, and the answer is
that of all parts together. Parts that speak against the answer more than those of one model do are a contradiction: it
tells a composite of two models, which is near both of them, from either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..errors import InputError
from .classifier import UNKNOWN, best_temperature, common_limits, softmax

#: Of the ridge, relative to the mean variance of a bin.
RIDGE = 0.3
#: Root mean squares of a map at which intensities begin to count by their logarithm.
_SOFT = 0.3
#: Fewest experiments to train with, and to calibrate with.
_FEWEST = 20
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

    @property
    def features(self) -> np.ndarray:
        """What discriminants see, of the shape of the values.

        The mean of a part is taken away, and a map is divided by its root mean square: neither a constant background
        nor the unit matters. Strong bins count by their logarithm. Bins that are not valid are 0.
        """
        count = np.maximum(self.valid.sum(axis=3, keepdims=True), 1)
        seen = np.where(self.valid, self.values, 0.0)
        seen = np.where(self.valid, seen - seen.sum(axis=3, keepdims=True) / count, 0.0)
        size = np.sqrt((seen**2).sum(axis=(2, 3), keepdims=True) / count.sum(axis=2, keepdims=True))
        return np.arcsinh(seen / np.maximum(_SOFT * size, 1e-300))

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
    def contradiction(self) -> float:
        """Evidence against the best model as a share of all evidence, without the share expected of parts that are as
        often right as they say: about 0 for maps of one model however much noise they have, and up to 1/2."""
        strength = -self.evidence.min(axis=-1)
        against = -self.evidence[..., self.best]
        wrong = strength / (1 + np.exp(np.minimum(strength, 700.0)))
        return float((against - wrong).sum() / max(strength.sum(), 1e-300))

    def of_maps(self, first: int, second: int) -> np.ndarray:
        """What each map says for one model against another, shape (maps,): positive for the first."""
        return (self.evidence[..., first] - self.evidence[..., second]).sum(axis=1)


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
    limits : dict of str to float
        Threshold of each of `MEASURES`.
    """

    names: tuple[str, ...]
    weights: np.ndarray
    means: np.ndarray
    precisions: np.ndarray
    temperature: float = 1.0
    limits: Mapping[str, float] = field(default_factory=dict)

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
        away = _scores(self.weights, data)[..., None, :] - self.means[:, None]  # (N, maps, parts, models, models)
        squared = np.einsum("nmpki,mij,nmpkj->nmpk", away, self.precisions, away)
        squared = np.where(data.seen[..., None], squared, 0.0)
        evidence = -0.5 * (squared - squared.min(axis=-1, keepdims=True))
        distance = squared.min(axis=-1).sum(axis=(1, 2)) / data.seen.sum(axis=(1, 2))
        return [Votes(e, float(d)) for e, d in zip(evidence, distance, strict=True)]

    def probabilities(self, seen: Votes) -> np.ndarray:
        """Of the models, shape (models,)."""
        return softmax(seen.total / self.temperature)

    def judged(self, seen: Votes) -> JointAnswer:
        """The answer to votes."""
        over = {name: getattr(seen, name) / self.limits[name] for name in MEASURES}
        said = {
            "contradiction": "its parts speak for different models {:.2f} times as much as the threshold",
            "distance": "it is {:.2f} times as far from what any model gives as the threshold",
        }
        reasons = tuple(said[name].format(value) for name, value in over.items() if not value <= 1)
        named = dict(zip(self.names, self.probabilities(seen).tolist(), strict=True))
        return JointAnswer(named, bool(reasons), reasons, **over, votes=seen)

    def judge(self, values: np.ndarray, valid: np.ndarray) -> JointAnswer:
        """Say which model maps (maps, parts, bins) show."""
        (seen,) = self.votes(Experiments(values[None], valid[None], np.array([-1])))
        return self.judged(seen)


def train_joint(
    names: Sequence[str], training: Experiments, validation: Experiments, *, ridge: float = RIDGE
) -> JointClassifier:
    """Train the discriminants on some experiments, and calibrate the answer on others.

    Parameters
    ----------
    names : sequence of str
        Of the models, two or more.
    training, validation : Experiments
        Simulated, with no draw of the parameters in both. From the validation come the likelihoods of the parts, the
        temperature, and the thresholds of 'unknown', above which `classifier.UNKNOWN` of it lie.
    ridge : float
        See `RIDGE`.

    Raises
    ------
    InputError
        If there are fewer than two models, or a model has fewer than 20 experiments in either set.
    """
    names = tuple(names)
    fewest = min((d.label == n).sum() for d in (training, validation) for n in range(len(names))) if names else 0
    if len(names) < 2 or fewest < _FEWEST:
        raise InputError(
            f"there are {len(names)} models, and {fewest} experiments of one of them",
            f"give two models or more, and {_FEWEST} experiments or more of each for training and for validation",
        )
    weights = _weights(training, len(names), ridge)
    found = JointClassifier(names, weights, *_spread(_scores(weights, validation), validation, len(names)))
    seen = found.votes(validation)
    temperature = best_temperature(np.stack([v.total for v in seen])[:, None], validation.label)
    limits = common_limits(np.array([[getattr(v, name) for v in seen] for name in MEASURES]), UNKNOWN)
    named = dict(zip(MEASURES, limits.tolist(), strict=True))
    return JointClassifier(names, weights, found.means, found.precisions, temperature, named)


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
