"""Scores a generator beside the honest baselines on slices it has not seen."""

from __future__ import annotations

import numpy as np
import torch

from ..cards import Table
from ..translate import kept_intensity
from . import losses
from .data import Batch, Library, make_batch
from .networks import FWHM_PER_SIGMA, Generator, ResolutionOperator, richardson_lucy

#: Iterations among which the Richardson-Lucy baselines choose, on validation slices.
ITERATIONS = (3, 10, 30, 100)
#: Factors on the mean FWHM among which the one Gaussian chooses.
FACTORS = (0.25, 0.5, 0.75, 1.0, 1.25)
CHUNK = 32
#: Validation slices on which the baselines are tuned.
TUNING = 96


class Scorer:
    """NRMSE of a generator and of the baselines for one direction.

    NRMSE is ||found - truth|| / ||truth|| over the valid bins of a slice; tables give its median over the slices.
    Baselines that have a setting (width of the Gaussian, number of iterations) have it tuned on `validation` at the
    same counts.
    """

    def __init__(self, generator: Generator, validation: Library):
        self.generator, self.validation = generator, validation
        self.direction = generator.direction
        self.operator = ResolutionOperator(generator.dimensions)
        self.tuned: dict[str, list[int]] = {}  # iterations chosen, a number for each column so far

    def table(self, title: str, library: Library, peak_counts, seed: int) -> Table:
        """One table: a row for each method, a column for each of `peak_counts` (None: no noise)."""
        self.tuned = {}
        columns = [self._column(library, counts, seed) for counts in peak_counts]
        names = ["no noise" if c is None else f"{c:g} peak counts" for c in peak_counts]
        rows = {name: [round(float(np.median(c[name])), 4) for c in columns] for name in columns[0]}
        conditions = (
            f"median NRMSE over {len(library)} slices of 64x64 bins with random gaps, truth without noise; families "
            f"{', '.join(sorted(set(library.family)))}; seed {seed}"
        )
        conditions += "".join(f"; {name}: {' '.join(map(str, tuned))} iterations" for name, tuned in self.tuned.items())
        return Table(title=title, conditions=conditions, columns=names, rows=rows)

    def _column(self, library, counts, seed) -> dict[str, np.ndarray]:
        chosen = np.random.default_rng(seed).permutation(len(self.validation))[:TUNING]
        tuning = list(self._batches(self.validation.subset(chosen), counts, seed + 1))
        testing = list(self._batches(library, counts, seed))
        found = {"identity": _scores(testing, lambda b: b.signal)}
        factor = self._best(tuning, FACTORS, self._one_gaussian)
        found["one Gaussian"] = _scores(testing, lambda b: self._one_gaussian(b, factor))
        if self.direction == "add-resolution":
            found["FWHM kernel of each bin"] = _scores(testing, self._kernel_of_each_bin)
        else:
            for name, method in {
                "Richardson-Lucy, mean PSF": self._lucy_mean,
                "Richardson-Lucy, exact operator": self._lucy_exact,
            }.items():
                iterations = self._best(tuning, ITERATIONS, method)
                found[name] = _scores(testing, lambda b, m=method, i=iterations: m(b, i))
                self.tuned.setdefault(name, []).append(iterations)
        found["this model"] = _scores(testing, self._this_model)
        return found

    def _batches(self, library, counts, seed):
        rng = np.random.default_rng(seed)
        exact = 1.0 if counts is None else 0.0
        for start in range(0, len(library), CHUNK):
            index = range(start, min(start + CHUNK, len(library)))
            yield make_batch(library, index, self.direction, rng, exact_share=exact, peak_counts=counts)

    def _this_model(self, batch: Batch) -> torch.Tensor:
        """What a user gets: for adding, with the total kept as the translator keeps it."""
        signal = self.generator(*batch.inputs())[0]
        if self.direction == "remove-resolution":
            return signal
        valid = batch.valid.numpy() > 0
        pairs = zip(signal.numpy(), self._kernel_of_each_bin(batch).numpy(), valid, strict=True)
        factors = [kept_intensity(found[v], exact[v]) for found, exact, v in pairs]
        return signal * torch.tensor(factors, dtype=signal.dtype).view(-1, *[1] * (signal.ndim - 1))

    @staticmethod
    def _best(batches, choices, method):
        return min(choices, key=lambda c: float(np.median(_scores(batches, lambda b: method(b, c)))))

    def _one_gaussian(self, batch: Batch, factor: float) -> torch.Tensor:
        """The slice's mean FWHM times a factor, the same in every bin."""
        width = batch.width.mean((2, 3), keepdim=True).expand_as(batch.width) * factor
        return self.generator.convolved(batch.signal, batch.valid, self.operator.shares(width))

    def _kernel_of_each_bin(self, batch: Batch) -> torch.Tensor:
        return self.generator.convolved(batch.signal, batch.valid, self.operator.shares(batch.width))

    def _lucy_exact(self, batch: Batch, iterations: int) -> torch.Tensor:
        shares = self.operator.shares(batch.width)
        return richardson_lucy(self.operator, batch.signal, batch.valid, shares, (iterations,))[0]

    @staticmethod
    def _lucy_mean(batch: Batch, iterations: int) -> torch.Tensor:
        """scikit-image's Richardson-Lucy with the slice's mean widths."""
        from skimage.restoration import richardson_lucy as lucy

        answers = []
        for signal, width in zip(batch.signal[:, 0].numpy(), batch.width.mean((2, 3)).numpy(), strict=True):
            psf = np.multiply.outer(*(_gaussian(w) for w in width))
            answers.append(lucy(np.clip(signal, 0, None) + 1e-6, psf, num_iter=iterations, clip=False))
        return torch.from_numpy(np.stack(answers).astype(np.float32))[:, None]


def _gaussian(fwhm: float) -> np.ndarray:
    bins = np.arange(-24, 25)
    row = np.exp(-0.5 * (bins / max(fwhm / FWHM_PER_SIGMA, 0.2)) ** 2)
    return row / row.sum()


@torch.no_grad()
def _scores(batches, method) -> np.ndarray:
    return np.concatenate([losses.nrmse(method(b), b.target, b.valid).numpy() for b in batches])


@torch.no_grad()
def calibrate(generator: Generator, library: Library, seed: int) -> float:
    """The factor on the standard errors with which 68.3 % of bins lie within one of them, over half noisy slices."""
    rng = np.random.default_rng(seed)
    ratios = []
    for start in range(0, len(library), CHUNK):
        index = range(start, min(start + CHUNK, len(library)))
        batch = make_batch(library, index, generator.direction, rng, exact_share=0.3)
        signal, log_variance, _ = generator(*batch.inputs())
        ratio = (signal - batch.target).abs() * torch.exp(-0.5 * log_variance)
        ratios.append(ratio[batch.valid > 0].numpy())
    return float(np.quantile(np.concatenate(ratios), 0.683))


@torch.no_grad()
def coverage(generator: Generator, library: Library, factor: float, seed: int) -> dict[str, list[float]]:
    """Share of valid bins whose truth lies within one and two standard errors."""
    rng = np.random.default_rng(seed)
    inside = []
    for start in range(0, len(library), CHUNK):
        index = range(start, min(start + CHUNK, len(library)))
        batch = make_batch(library, index, generator.direction, rng, exact_share=0.3)
        signal, log_variance, _ = generator(*batch.inputs())
        away = ((signal - batch.target).abs() * torch.exp(-0.5 * log_variance) / factor)[batch.valid > 0]
        inside.append(torch.stack([away < 1, away < 2]).float().numpy())
    one, two = np.concatenate(inside, axis=1).mean(1)
    return {"this model": [round(float(one), 3), round(float(two), 3)], "expected": [0.683, 0.954]}


@torch.no_grad()
def domain_of_application(generator: Generator, training: Library, validation: Library, seed: int) -> dict:
    """Principal directions of the features on training slices and the distance that 1 % of validation slices exceed."""
    rng = np.random.default_rng(seed)

    def features(library, count):
        index = rng.permutation(len(library))[:count]
        parts = np.array_split(index, max(1, len(index) // CHUNK))
        return np.concatenate(
            [generator(*make_batch(library, part, generator.direction, rng).inputs())[2].numpy() for part in parts]
        )

    known = features(training, 1500)
    mean = known.mean(0)
    _, size, directions = np.linalg.svd(known - mean, full_matrices=False)
    components, scale = directions[:12], size[:12] / np.sqrt(len(known))
    unseen = (features(validation, 1000) - mean) @ components.T / scale
    threshold = float(np.quantile(np.sqrt((unseen**2).mean(1)), 0.99))
    rounded = lambda x: np.round(x, 6).tolist()  # noqa: E731
    return {"mean": rounded(mean), "components": rounded(components), "scale": rounded(scale), "threshold": threshold}
