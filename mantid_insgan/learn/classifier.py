"""An ensemble of small networks that tells rival models apart: training, calibration, 'unknown', scores, export."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..translate.classifier_card import Thresholds
from ..translate.classifier_run import INPUTS
from ..translate.classify import MEASURES, OUTPUTS
from .export import export_graph
from .generator import CONVOLUTION
from .rivals import Examples

#: Networks of an ensemble, and channels of the first layer of each.
MEMBERS, CHANNELS = 3, 16
#: Share of the validation spectra that is flagged as unknown.
UNKNOWN = 0.05
#: Experiments in a step, largest learning rate, and weight decay (Loshchilov and Hutter, ICLR 2019).
BATCH, RATE, DECAY = 32, 3e-3, 1e-3
#: Experiments that are given to the network at once when nothing is learnt.
_AT_ONCE = 256
#: Added to the covariance of the features, as a share of its mean eigenvalue.
_SHRINKAGE = 1e-3
#: Least threshold, so that spectra can be compared with it.
_TINY = 1e-9
#: Bins of probability of the expected calibration error.
_CALIBRATION_BINS = 10
_NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class Member(nn.Module):
    """(N, 1, *grid) twice -> logits (N, models + 1) and pooled features of every layer (N, 5 channels).

    The last logit is that of no model.

    The intensity is seen on two compressed scales, so that weak modes count beside a strong elastic line; the
    coordinates of the bins are channels, because the pooling over the grid forgets where a mode is (Liu et al.,
    NeurIPS 2018).
    """

    def __init__(self, grid: tuple[int, ...], models: int, channels: int = CHANNELS):
        super().__init__()
        conv, norm, c = CONVOLUTION[len(grid)], _NORM[len(grid)], channels
        lines = [torch.linspace(-1, 1, n) for n in grid]
        self.register_buffer("place", torch.stack(torch.meshgrid(*lines, indexing="ij"))[None])
        sizes = [3 + len(grid), c, 2 * c, 2 * c]
        self.layers = nn.ModuleList(
            nn.Sequential(conv(a, b, k, stride=2, padding=k // 2), norm(b), nn.ReLU())
            for a, b, k in zip(sizes[:-1], sizes[1:], (5, 3, 3), strict=True)
        )
        self.head = nn.Linear(2 * c, models + 1)

    def forward(self, signal, valid):
        place = self.place.expand(signal.shape[0], *self.place.shape[1:])
        x = torch.cat([torch.asinh(signal), torch.asinh(8 * signal) / 3, valid, place], dim=1)
        pooled = []
        for layer in self.layers:
            x = layer(x)
            pooled.append(x.flatten(2).mean(2))
        return self.head(pooled[-1]), torch.cat(pooled, dim=1)


class Ensemble(nn.Module):
    """Signal and valid (N, 1, *grid) -> probability (N, models), distance, disagreement and other, each (N,).

    The probability is the mean of the members' (Lakshminarayanan et al., NeurIPS 2017) with one temperature (Guo et
    al., ICML 2017). The distance is Mahalanobis' from the nearest model's mean features (Lee et al., NeurIPS 2018),
    divided by the root of their number. The disagreement is the entropy of the mean less the mean of the members'
    entropies, in nats. `other` is the members' mean probability of no model, for which they were trained on spectra
    without one (outlier exposure: Hendrycks et al., ICLR 2019).
    """

    def __init__(self, grid: tuple[int, ...], models: int, members: int = MEMBERS, channels: int = CHANNELS):
        super().__init__()
        self.members = nn.ModuleList(Member(grid, models, channels) for _ in range(members))
        features = 5 * channels * members
        self.register_buffer("temperature", torch.ones(()))
        self.register_buffer("centres", torch.zeros(models, features))
        self.register_buffer("whiten", torch.eye(features))

    def seen(self, signal, valid):
        """Logits (N, members, models + 1), and the features of all members (N, F)."""
        logits, features = zip(*(member(signal, valid) for member in self.members), strict=True)
        return torch.stack(logits, dim=1), torch.cat(features, dim=1)

    def forward(self, signal, valid):
        logits, features = self.seen(signal, valid)
        other = torch.softmax(logits, dim=2)[:, :, -1].mean(1)
        each = torch.softmax(logits[:, :, :-1] / self.temperature, dim=2)
        mean = each.mean(1)
        away = (features[:, None] - self.centres) @ self.whiten  # (N, models, F)
        distance = (away**2).mean(2).min(1).values.sqrt()
        return mean, distance, (_entropy(mean) - _entropy(each).mean(1)).clamp(min=0), other


def _entropy(p: torch.Tensor) -> torch.Tensor:
    return -(p * torch.log(p.clamp(min=1e-12))).sum(-1)


def train_ensemble(
    grid: tuple[int, ...],
    models: int,
    draw: Callable[[int], Examples],
    epochs: int,
    seed: int,
    progress: Callable[[float], None] = lambda share: None,
) -> Ensemble:
    """Train an ensemble; the same seed gives the same networks on one machine.

    Parameters
    ----------
    grid : tuple of int
    models : int
    draw : callable
        ``draw(epoch)`` gives the training spectra with experiments of that epoch, and others of no model.
    epochs, seed : int
    progress : callable
        Called with the share of the epochs that is done.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        ensemble = Ensemble(grid, models).train()
        optimisers = [torch.optim.AdamW(m.parameters(), lr=RATE, weight_decay=DECAY) for m in ensemble.members]
        schedules = [torch.optim.lr_scheduler.CosineAnnealingLR(o, epochs) for o in optimisers]
        for epoch in range(epochs):
            data = draw(epoch)
            for member, optimiser, schedule in zip(ensemble.members, optimisers, schedules, strict=True):
                _train_epoch(member, optimiser, data)
                schedule.step()
            progress((epoch + 1) / epochs)
    return ensemble.eval()


def _train_epoch(member: Member, optimiser, data: Examples) -> None:
    order = torch.randperm(len(data.label))
    signal, valid, label = (torch.from_numpy(x) for x in (data.signal, data.valid, data.label))
    for batch in order.split(BATCH):
        if len(batch) < 2:
            continue  # no variance to normalise by
        logits, _ = member(signal[batch], valid[batch])
        loss = nn.functional.cross_entropy(logits, label[batch])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def _in_parts(function, data: Examples) -> list[np.ndarray]:
    """The results of ``function(signal, valid)`` for all spectra, without gradients."""
    signal, valid = torch.from_numpy(data.signal), torch.from_numpy(data.valid)
    with torch.no_grad():
        parts = [function(s, v) for s, v in zip(signal.split(_AT_ONCE), valid.split(_AT_ONCE), strict=True)]
    return [torch.cat(x).numpy() for x in zip(*parts, strict=True)]


def answers(ensemble: Ensemble, data: Examples) -> dict[str, np.ndarray]:
    """The outputs of an ensemble for all spectra, by name."""
    return dict(zip(OUTPUTS, _in_parts(ensemble, data), strict=True))


def calibrate(ensemble: Ensemble, training: Examples, validation: Examples) -> Thresholds:
    """Set what follows the training: the features' distribution, the temperature, and the thresholds of 'unknown'.

    Parameters
    ----------
    ensemble : Ensemble
        Changed in place.
    training, validation : Examples
    """
    features = _in_parts(ensemble.seen, training)[1].astype(float)
    centres = np.stack([features[training.label == n].mean(0) for n in range(len(ensemble.centres))])
    values, vectors = np.linalg.eigh(np.cov(features - centres[training.label], rowvar=False))
    whiten = vectors / np.sqrt(np.maximum(values, 0) + _SHRINKAGE * values.mean())
    ensemble.centres.copy_(torch.from_numpy(centres))
    ensemble.whiten.copy_(torch.from_numpy(whiten))
    ensemble.temperature.fill_(best_temperature(_in_parts(ensemble.seen, validation)[0][:, :, :-1], validation.label))
    return thresholds(answers(ensemble, validation))


def thresholds(found: dict[str, np.ndarray]) -> Thresholds:
    """The same quantile of each measure, chosen so that together they flag a share of `UNKNOWN` of the spectra."""
    limits = common_limits(np.stack([found[name] for name in MEASURES]), UNKNOWN)
    return Thresholds(**dict(zip(MEASURES, limits.tolist(), strict=True)), share=UNKNOWN)


def common_limits(measures: np.ndarray, share: float) -> np.ndarray:
    """The same quantile of each measure, (measures, N), chosen so that a share of the N is above one of them."""
    highest = measures.argsort(1).argsort(1).max(0) / (measures.shape[1] - 1)
    return np.maximum(np.quantile(measures, np.quantile(highest, 1 - share), axis=1), _TINY)


def best_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature with the largest likelihood; logits (N, members, models), labels (N,).

    The targets are softened as by Platt (Advances in Large Margin Classifiers, MIT Press 2000), so that spectra that
    are all told apart do not make the probabilities 0 and 1.
    """
    from scipy.optimize import minimize_scalar

    count, models = len(labels), logits.shape[2]
    target = np.full((count, models), 1 / (count + models))
    target[np.arange(count), labels] = 1 - (models - 1) / (count + models)

    def loss(log_temperature: float) -> float:
        p = softmax(logits / np.exp(log_temperature)).mean(1)
        return float(-(target * np.log(np.maximum(p, 1e-300))).sum(1).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-5, 5), method="bounded").x))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities along the last axis."""
    from scipy.special import softmax as of

    return of(np.asarray(logits, float), axis=-1)


def unknown(found: dict[str, np.ndarray], limits: Thresholds) -> np.ndarray:
    """Which spectra are flagged as unknown, shape (N,), bool."""
    return np.any([found[name] > getattr(limits, name) for name in MEASURES], axis=0)


def scores(probability: np.ndarray, label: np.ndarray) -> list[float]:
    """Accuracy, expected calibration error of the most probable model (10 bins), and Brier score (0 is best, 2 worst).

    Parameters
    ----------
    probability : ndarray, shape (N, models)
    label : ndarray of int, shape (N,)
    """
    right = probability.argmax(1) == label
    top = probability.max(1)
    where = np.minimum((top * _CALIBRATION_BINS).astype(int), _CALIBRATION_BINS - 1)
    gap = np.abs(np.bincount(where, right - top, minlength=_CALIBRATION_BINS)).sum() / len(label)
    brier = ((probability - np.eye(probability.shape[1])[label]) ** 2).sum(1).mean()
    return [float(right.mean()), float(gap), float(brier)]


def nearest_mean(training: Examples, validation: Examples, test: Examples) -> np.ndarray:
    """Probabilities of the baseline for the test spectra, shape (N, models): minus the mean squared difference from
    each model's mean training spectrum, with a temperature found on the validation spectra."""
    numbers = range(training.label.max() + 1)
    sums = [training.signal[training.label == n].sum(0) for n in numbers]
    times = [training.valid[training.label == n].sum(0) for n in numbers]
    means = [s / np.maximum(t, 1) for s, t in zip(sums, times, strict=True)]

    def closeness(data: Examples) -> np.ndarray:
        axes = tuple(range(1, data.signal.ndim))
        off = [(data.valid * (data.signal - mean) ** 2).sum(axes) / data.valid.sum(axes) for mean in means]
        return -np.stack(off, axis=1)[:, None]

    temperature = best_temperature(closeness(validation), validation.label)
    return softmax(closeness(test) / temperature)[:, 0]


def export_classifier(ensemble: Ensemble, path: Path, examples: Examples) -> None:
    """Write an ensemble as ONNX for one spectrum of its grid; `examples` and errors as `export_graph`."""
    export_graph(ensemble, path, dict(zip(INPUTS, (examples.signal, examples.valid), strict=True)), OUTPUTS)
