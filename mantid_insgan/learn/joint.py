"""Which of several models some maps of one sample show together: one answer from all of them, or "unknown".

Each map has a linear discriminant of its own, found by ridge regression on simulated experiments. Its parts (the
quadrants of a map with two mirrors, or the map as a whole) each speak for one model or the other, and the answer is
that of all parts together. Parts that speak against the answer more than those of one model do are a contradiction:
what that means is learnt from composites of two models, which are near both of them, beside experiments of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from ..errors import InputError
from ..translate.classifier_card import MapsThresholds
from ..translate.classify_maps import MEASURES, OUTPUTS, MapsAnswer, answer_of
from .classifier import best_temperature

#: Of the ridge, relative to the mean variance of a bin.
RIDGE = 0.3
#: Intensities begin to count by their logarithm at the root mean square of a map divided by this.
_SOFT = 10 / 3
#: Least divisor; the exporter keeps numbers in single precision.
_TINY = 1e-30
#: Parts of the draws that are held out in turn, and fewest experiments of a model.
FOLDS, FEWEST = 5, 20
#: Share of the experiments of one model that are flagged as unknown, and share of those for their distance.
UNKNOWN, FAR = 0.10, 0.01
#: Of the ridge on weights of signs of a composite.
_SMALL = 1e-4
#: Numbers in `signs`.
_SIGNS = 8
#: Experiments that are given to the discriminants at once.
_AT_ONCE = 16


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

    def inputs(self, chosen=slice(None), maps=slice(None)) -> tuple[torch.Tensor, torch.Tensor]:
        """Values and valid bins of some experiments and maps, as discriminants take them."""
        valid = self.valid[:, maps][chosen]
        values = np.where(valid, self.values[:, maps][chosen], 0.0)
        return torch.from_numpy(values.astype(float)), torch.from_numpy(valid.astype(float))

    @property
    def seen(self) -> np.ndarray:
        """Which parts have a valid bin, shape (N, maps, parts)."""
        return self.valid.any(axis=3)


def features(values: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """What discriminants see, of the shape of the values, (N, maps, parts, bins).

    The mean of a part is taken away, and a map is divided by its root mean square: neither a constant background nor
    the unit matters. Strong bins count by their logarithm. Bins that are not valid are 0.
    """
    count = valid.sum(3, keepdim=True).clamp(min=1)
    seen = valid * (values - (valid * values).sum(3, keepdim=True) / count)
    size = torch.sqrt((seen**2).sum((2, 3), keepdim=True) / count.sum(2, keepdim=True))
    scaled = torch.tensor(_SOFT, dtype=seen.dtype) * seen / size.clamp(min=_TINY)
    # asinh, which ONNX Runtime has in single precision only
    return torch.sign(scaled) * torch.log(scaled.abs() + torch.sqrt(scaled**2 + 1))


class Discriminants(nn.Module):
    """Values and valid (N, maps, parts, bins) -> `OUTPUTS`: probability (N, models), contradiction and distance (N,),
    and evidence (N, maps, parts, models).

    Evidence is the log-likelihood of each model less that of the best in each part; 0 where nothing was seen. The
    probability is the softmax of its sum, divided by a temperature, because what parts say is not independent. The
    distance is the mean over the parts of the squared distance from what the nearest model gives, in standard
    deviations. The contradiction is the probability of a composite of two models by the `signs`. All is in double
    precision, but the weights, which are most of the file.

    Parameters
    ----------
    weights : ndarray, shape (maps, bins, models)
        Of the discriminants.
    means : ndarray, shape (maps, models, models)
        What each discriminant (last axis) gives on average for experiments of each model.
    precisions : ndarray, shape (maps, models, models)
        Inverse of their covariance within a model.
    temperature : float
    composite : ndarray, shape (9,)
        Weights of the signs, and a constant: the log-odds of a composite.
    """

    def __init__(self, weights, means, precisions, temperature: float = 1.0, composite=None):
        super().__init__()
        composite = np.zeros(_SIGNS + 1) if composite is None else composite
        given = {"weights": weights, "means": means, "precisions": precisions}
        for name, value in (given | {"temperature": temperature, "composite": composite}).items():
            kind = np.float32 if name == "weights" else np.float64
            self.register_buffer(name, torch.as_tensor(np.asarray(value, kind)))

    def forward(self, signal, valid):
        found = torch.einsum("nmpb,mbk->nmpk", features(signal, valid), self.weights.double())
        evidence, distance = self.votes(found, (valid.sum(3) > 0).to(valid.dtype))
        probability = torch.softmax(evidence.sum((1, 2)) / self.temperature, dim=1)
        odds = signs(evidence, distance) @ self.composite[:-1] + self.composite[-1]
        return probability, torch.sigmoid(odds), distance, evidence

    def votes(self, found, seen):
        """Evidence and distance by what the discriminants give, (N, maps, parts, models), where something is seen,
        (N, maps, parts)."""
        away = found[..., None, :] - self.means[:, None]  # (N, maps, parts, models, models)
        squared = ((away @ self.precisions[:, None]) * away).sum(-1) * seen[..., None]
        least = squared.min(-1, keepdim=True).values
        return -0.5 * (squared - least), least.sum((1, 2, 3)) / seen.sum((1, 2))


def signs(evidence: torch.Tensor, distance: torch.Tensor) -> torch.Tensor:
    """What tells a composite of two models, shape (N, 8).

    Evidence against the best model as a share of all evidence, without the share expected of parts that are right as
    often as they say: of the parts, of the maps, and of the parts of all maps together; logarithm of the mean evidence
    of a part, of which noise leaves little; logarithm of the evidence of all parts for the best model against the
    second; that evidence in units of the root of the sum of its squares, of maps and of parts; and the distance.

    Parameters
    ----------
    evidence : Tensor, shape (N, maps, parts, models)
    distance : Tensor, shape (N,)
    """
    order = torch.topk(evidence.sum((1, 2)), 2, dim=1).indices
    parts = _of_model(evidence, order[:, :1]) - _of_model(evidence, order[:, 1:])
    gap = parts.sum((1, 2))

    def steady(x):
        return gap / torch.sqrt((x**2).flatten(1).sum(1)).clamp(min=_TINY)

    levels = (evidence, evidence.sum(2), evidence.sum(1))
    found = [_excess(level, order[:, :1]) for level in levels]
    found.append(torch.log((-evidence.min(-1).values).flatten(1).mean(1).clamp(min=1e-6)))
    return torch.stack([*found, torch.log(gap.clamp(min=1e-3)), steady(parts.sum(2)), steady(parts), distance], dim=1)


def _of_model(level: torch.Tensor, number: torch.Tensor) -> torch.Tensor:
    """Evidence (N, ..., models) for one model of each experiment, whose number is given, (N, 1)."""
    index = number.reshape(-1, *[1] * (level.dim() - 1)).expand(*level.shape[:-1], 1)
    return torch.gather(level, -1, index)[..., 0]


def _excess(level: torch.Tensor, best: torch.Tensor) -> torch.Tensor:
    """Share of the evidence (N, ..., models) against one model, without that of parts that are right as they say."""
    level = level - level.max(-1, keepdim=True).values
    strength, against = -level.min(-1).values, -_of_model(level, best)
    wrong = strength / (1 + torch.exp(strength.clamp(max=700.0)))
    return (against - wrong).flatten(1).sum(1) / strength.flatten(1).sum(1).clamp(min=_TINY)


@dataclass(frozen=True, eq=False)
class JointClassifier:
    """Tells models apart by several maps of one sample; made by `train_joint`.

    Parameters
    ----------
    names : tuple of str
        Of the models.
    network : Discriminants
    unknown : MapsThresholds
    held_out : ndarray, shape (N, 2)
        The `MEASURES` of the experiments of the calibration while they were held out.
    """

    names: tuple[str, ...]
    network: Discriminants
    unknown: MapsThresholds
    held_out: np.ndarray = field(repr=False)

    def answers(self, data: Experiments) -> dict[str, np.ndarray]:
        """The `OUTPUTS` for experiments, by name.

        Raises
        ------
        InputError
            If the maps or bins are not those of the training.
        """
        maps, bins, _ = self.network.weights.shape
        if data.values.shape[1] != maps or data.values.shape[3] != bins:
            raise InputError(
                f"there are {data.values.shape[1]} maps of {data.values.shape[3]} bins, but the classifier was trained "
                f"with {maps} of {bins}",
                "give the maps of the training, in their order and on their bins",
            )
        found = [self.network(*data.inputs(part)) for part in _batches(len(data.label))]
        return dict(zip(OUTPUTS, (torch.cat(x).numpy() for x in zip(*found, strict=True)), strict=True))

    def judge(self, values: np.ndarray, valid: np.ndarray) -> MapsAnswer:
        """Say which model maps (maps, parts, bins) show."""
        found = self.answers(Experiments(values[None], valid[None], np.array([-1])))
        return answer_of(self, {name: x[0] for name, x in found.items()})


def _batches(count: int) -> list[slice]:
    return [slice(start, start + _AT_ONCE) for start in range(0, count, _AT_ONCE)]


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
        If there are fewer than two models, or a model has fewer than 20 experiments or fewer draws than folds; if
        there is one map of one part, in which nothing can contradict itself.
    """
    names, groups = tuple(names), np.asarray(groups)
    _check(names, data, groups, folds)
    models, fold = len(names), np.unique(groups, return_inverse=True)[1] % folds
    scores = np.empty((*data.values.shape[:3], models))
    for number in range(folds):
        held = np.flatnonzero(fold == number)
        scores[held] = _scores(_weights(data, np.flatnonzero(fold != number), models, ridge), data, held)
    spread = _spread(scores, data, models)
    votes = Discriminants(np.zeros((0, 0, 0)), *spread).votes
    evidence, distance = votes(*(torch.from_numpy(x.astype(float)) for x in (scores, data.seen)))
    temperature = best_temperature(evidence.sum((1, 2))[:, None].numpy(), data.label)
    composite, contradiction = _composite_weights(evidence, distance, data.label, fold)
    network = Discriminants(_weights(data, np.arange(len(fold)), models, ridge), *spread, temperature, composite)
    held_out = np.column_stack([contradiction, distance.numpy()])
    return JointClassifier(names, network, limits(held_out), held_out)


def _check(names: Sequence[str], data: Experiments, groups: np.ndarray, folds: int) -> None:
    each = [data.label == n for n in range(len(names))]
    fewest = min((int(own.sum()) for own in each), default=0)
    draws = min((len(np.unique(groups[own])) for own in each), default=0)
    if len(names) < 2 or fewest < FEWEST or not 2 <= folds <= draws:
        raise InputError(
            f"there are {len(names)} models, with {fewest} experiments of {draws} draws of one of them, for {folds} "
            "folds",
            f"give two models or more, {FEWEST} experiments or more of each, and from 2 folds to as many as draws",
        )
    if data.values.shape[1] * data.values.shape[2] < 2:
        raise InputError(
            "there is one map of one part, and a contradiction takes two",
            "give several maps or parts, or train a classifier of one spectrum",
        )


def limits(held_out: np.ndarray, share: float = UNKNOWN) -> MapsThresholds:
    """Thresholds above which lies a share of further experiments like those held out, or less.

    They are those of conformal p-values: of n experiments held out and a further one, the latter is as likely as any
    other to be among the largest (Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005). That is
    nearly so here: the discriminants that are applied have seen all draws, and some experiments are of one draw.

    Parameters
    ----------
    held_out : ndarray, shape (N, 2)
        The `MEASURES`.
    share : float
        Of the experiments, of which `FAR` are flagged for their distance.
    """
    found = []
    for values, part in zip(held_out.T, (share - FAR, FAR), strict=True):
        rank = min(int(np.ceil((1 - part) * (len(values) + 1))), len(values))
        found.append(max(float(np.sort(values)[rank - 1]), 1e-9))
    return MapsThresholds(**dict(zip(MEASURES, found, strict=True)), share=share)


def _composite_weights(evidence, distance, label: np.ndarray, fold: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights that tell composites of two models from experiments of one by `signs`, and what those of the other folds
    say of each experiment, (N,)."""
    composites, theirs = composed(evidence.numpy(), distance.numpy(), label)
    one = signs(evidence, distance).numpy()
    two = signs(torch.from_numpy(composites), torch.from_numpy(theirs)).numpy()
    odds = np.empty(len(one))
    for number in np.unique(fold):
        held = fold == number
        weights = _logistic(one[~held], two[~held])
        odds[held] = one[held] @ weights[:-1] + weights[-1]
    return _logistic(one, two), 0.5 * (1 + np.tanh(0.5 * odds))


def _logistic(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Weights, and a constant, of the log-odds of the second kind: logistic regression with both kinds as frequent."""
    from scipy.optimize import minimize

    found, target = np.concatenate([one, two]), np.arange(len(one) + len(two)) >= len(one)
    middle, size = found.mean(axis=0), np.maximum(found.std(axis=0), 1e-9)
    scaled = np.column_stack([(found - middle) / size, np.ones(len(found))])
    weight = np.where(target, 0.5 / len(two), 0.5 / len(one))

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        odds = scaled @ w
        p = 0.5 * (1 + np.tanh(0.5 * odds))
        value = weight @ (np.logaddexp(0, odds) - target * odds) + _SMALL * w @ w
        return float(value), scaled.T @ (weight * (p - target)) + 2 * _SMALL * w

    best = minimize(loss, np.zeros(scaled.shape[1]), jac=True).x
    return np.append(best[:-1] / size, best[-1] - best[:-1] @ (middle / size))


def composed(evidence: np.ndarray, distance: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Evidence and distance of as many composites as there are experiments: some maps, a run of maps or some parts of
    all are from another model.

    Experiments in which models are told about as well are put together: their noise is about the same.
    """
    rng, made = np.random.default_rng(0), np.empty_like(evidence)
    _, maps, parts, _ = evidence.shape
    total = evidence.sum(axis=(1, 2))
    strength = total.max(axis=1) - total.min(axis=1)
    ranked = {n: np.flatnonzero(label == n)[np.argsort(strength[label == n])] for n in np.unique(label)}
    kinds = [k for k, open_ in enumerate((maps > 1, maps > 2, parts > 1)) if open_]
    for number, own in enumerate(label):
        others, mine = ranked[rng.choice([n for n in ranked if n != own])], ranked[own]
        place = int(np.flatnonzero(mine == number)[0] * len(others) / len(mine))
        other = others[min(place, len(others) - 1)]
        chosen = _chosen(rng, kinds[number % len(kinds)], maps, parts)[..., None]
        made[number] = np.where(chosen, evidence[other], evidence[number])
    return made, distance


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


def _weights(data: Experiments, training: np.ndarray, models: int, ridge: float) -> np.ndarray:
    """Ridge regression of the features of each map of some experiments on which model they are of, (maps, bins,
    models)."""
    _, maps, parts, bins = data.values.shape
    target = np.repeat(np.eye(models)[data.label[training]] - 1 / models, parts, axis=0)
    found = np.empty((maps, bins, models))
    for number in range(maps):
        seen = features(*data.inputs(training, slice(number, number + 1))).numpy().reshape(-1, bins)
        matrix = seen.T @ seen
        matrix += ridge * max(np.trace(matrix), 1e-300) / len(matrix) * np.eye(len(matrix))
        found[number] = np.linalg.solve(matrix, seen.T @ target)
    return found


def _scores(weights: np.ndarray, data: Experiments, chosen: np.ndarray) -> np.ndarray:
    """What the discriminants give for some experiments, (N, maps, parts, models)."""
    seen = (features(*data.inputs(chosen[part])).numpy() for part in _batches(len(chosen)))
    return np.concatenate([np.einsum("nmpb,mbk->nmpk", s, weights, optimize=True) for s in seen])


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
