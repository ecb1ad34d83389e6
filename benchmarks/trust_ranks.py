"""What the numbers beside a result tell of its true error, where the widths that are told are wrong.

The true widths are 0.7 to 1.5 times those told. The truth is what a spectrometer would measure whose resolution is that
of the target as it is told. Looked at are the p-value and the distance behind it, the stated standard errors, and a
second calibration that needs the data alone: by which factor the deviations that are expected of (data - result
convolved again) would have to grow for 68.3 % of the bins to lie within them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from results import column, table
from trust_case import SEED, SPLITS, TARGET, Case, ideal_of, mirrored, pair_of, through, unit_of
from trust_domain import auroc, judged_by, scaled

from mantid_insgan.learn.calibration import Judged
from mantid_insgan.translate.trust import Plausible, pulls_of

#: True widths over those that are told; draws of the bootstrap, and the interval that is taken of it.
SHIFTS, DRAWS, INTERVAL = (0.7, 1.5), 1000, (0.025, 0.975)
#: Share of bins within the deviations that are expected of a normal distribution.
WITHIN = 0.683
#: What is wrong where the second calibration is tried: widths told over the true ones, and a flat background as a share
#: of the highest value of the data.
WIDTHS, BACKGROUNDS = (0.5, 0.7, 1.5, 2.0), (0.1, 0.3)


def told_wrongly(case: Case, split: str, counts: float, shifts: np.ndarray) -> Iterator[Judged]:
    """What the model makes of a split whose true widths are `shifts`, one for each pair, times those told.

    What the target gains or loses with the told widths is calculated on the cut.
    """
    part, start = case.libraries[split], 0
    for batch in case.batches(split, counts):
        some = slice(start, start + len(batch.signal))
        start = some.stop
        told = scaled(batch, 1 / shifts[some])
        target = batch.target.clone()
        for n in range(len(target)):
            pair = pair_of(part, some.start + n)
            side = np.where(pair.known, pair.finer[TARGET - 1], 0.0)
            unit = unit_of(batch.valid[n, 0].numpy(), batch.target[n, 0].numpy(), side)
            around = mirrored(ideal_of(pair))
            sides = [through(around, b.finer[n].numpy()) for b in (told, batch)]
            target[n, 0] += torch.tensor((sides[0] - sides[1]) / unit) * batch.valid[n, 0]
        yield from case.made_of(type(told)(**{**vars(told), "target": target}))


def error_of(seen: Judged) -> float:
    """NRMSE: the root mean square of (result - truth) over that of the truth."""
    away, truth = (seen.found - seen.target)[seen.valid], seen.target[seen.valid]
    return float(np.sqrt((away**2).sum() / (truth**2).sum()))


def stated(case: Case, seen: Judged) -> float:
    """The root mean square of the standard errors over that of the result."""
    error, found = (x[seen.valid] for x in (case.error(seen), seen.found))
    return float(np.sqrt((error**2).sum() / (found**2).sum()))


def pulls(case: Case, seen: Judged) -> np.ndarray:
    """(data - result convolved again) over what is expected, of bins that have an error."""
    told = seen.signal, seen.error, seen.found, seen.again, seen.spread
    return pulls_of(case.direction, case.card.reconvolution, *told)[seen.valid & (seen.error > 0)]


def growth(pulls: np.ndarray) -> float:
    """The factor on what is expected with which 68.3 % of the pulls are within it."""
    return float(np.quantile(np.abs(pulls), WITHIN))


#: What is compared with the true error: columns of `ranked`.
MEASURES = ("p-value", "distance", "stated standard error", "growth of what is expected")


def ranks(case: Case) -> list[dict]:
    """Spearman's correlations of the true error with each of `MEASURES`, by counts and of all counts."""
    rng = np.random.default_rng(SEED)
    shifts = {s: np.exp(rng.uniform(*np.log(SHIFTS), len(part))) for s, part in case.libraries.items()}
    found = np.array([_numbers(case, counts, shifts) for counts in case.counts])
    rows = [_row(f"{counts:g} counts", one[None]) for counts, one in zip(case.counts, found, strict=True)]
    rows.append(_row("all counts", found))
    columns = [column(""), column("spectra"), *(column(name, "{:.2f} ({:.2f} to {:.2f})") for name in MEASURES)]
    note = (
        "Spearman's rank correlation with the true NRMSE, and 95 % of {draws} bootstrap draws of the pairs; a low "
        "p-value counts as a high rank. True widths are {low:g} to {high:g} times those told."
    )
    facts = {"draws": DRAWS, "low": SHIFTS[0], "high": SHIFTS[1]}
    return [table(f"ranks, {case.name}", columns, rows, note=note, facts=facts)]


def _numbers(case: Case, counts: float, shifts: dict[str, np.ndarray]) -> np.ndarray:
    """The true error and `MEASURES` of every spectrum, shape (pairs, 5)."""
    plausible, found = Plausible(case.card.blocks), []
    for split in case.libraries:
        for seen in told_wrongly(case, split, counts, shifts[split]):
            ((p_value, distance),) = judged_by(plausible, case.numbers([seen]))
            found.append([error_of(seen), -p_value, distance, stated(case, seen), growth(pulls(case, seen))])
    return np.array(found)


def _row(name: str, numbers: np.ndarray) -> list:
    """A row of the table from numbers of shape (counts, pairs, 5)."""
    return [name, numbers.shape[0] * numbers.shape[1], *(spearman(numbers[..., [0, k]]) for k in range(1, 5))]


def spearman(numbers: np.ndarray) -> list[float]:
    """Rank correlation of two numbers, shape (counts, pairs, 2), and the bootstrap interval over the pairs."""
    from scipy.stats import spearmanr

    rng, pairs = np.random.default_rng(SEED), numbers.shape[1]
    draws = [spearmanr(numbers[:, rng.integers(0, pairs, pairs)].reshape(-1, 2)).statistic for _ in range(DRAWS)]
    return [float(spearmanr(numbers.reshape(-1, 2)).statistic), *map(float, np.nanquantile(draws, INTERVAL))]


def second(case: Case) -> list[dict]:
    """Whether the second calibration notices widths that are told wrongly and backgrounds, beside chi-squared."""
    kinds: dict[str, list] = {}
    for counts in case.counts:
        usual = None
        for kind, spectra in _tried(case, counts):
            found = _of_pulls(case, spectra)
            usual = found if usual is None else usual
            apart = [None, None] if found is usual else [auroc(usual[:, k], found[:, k]) for k in (1, 2)]
            shown = [float(np.median(found[:, 0])), float(np.median(found[:, 1])), *apart]
            kinds.setdefault(f"{kind}, {counts:g} counts", shown)
    columns = [
        column(""),
        column("share of bins within, median", "{:.2f}"),
        column("growth for 68 %, median", "{:.2f}"),
        column("AUROC of the growth", "{:.2f}"),
        column("AUROC of chi-squared", "{:.2f}"),
    ]
    splits = " and ".join(SPLITS[s] for s in case.libraries)
    note = f"Spectra of {splits}. AUROC: how often the number is larger than that of a spectrum that is told rightly."
    rows = [[name, *cells] for name, cells in kinds.items()]
    return [table(f"second, {case.name}", columns, rows, note=note)]


def _of_pulls(case: Case, spectra: Iterator[Judged]) -> np.ndarray:
    """Share of bins within what is expected, `growth` and chi-squared per bin of each spectrum, shape (N, 3)."""
    each = [pulls(case, s) for s in spectra]
    return np.array([[(np.abs(p) < 1).mean(), growth(p), (p**2).mean()] for p in each])


def _tried(case: Case, counts: float) -> Iterator[tuple[str, Iterator[Judged]]]:
    """Spectra that are told rightly, first, and such as are not."""
    yield "as it is", _each(case, counts, lambda batch: batch)
    for factor in WIDTHS:
        yield f"widths told {factor:g} times too large", _each(case, counts, lambda b, f=factor: scaled(b, f))
    for share in BACKGROUNDS:
        yield f"a flat background of {share:.0%}", _each(case, counts, lambda b, s=share: lifted(b, s, counts))


def _each(case: Case, counts: float, change) -> Iterator[Judged]:
    for split in case.libraries:
        for batch in case.batches(split, counts):
            yield from case.made_of(change(batch))


def lifted(batch, share: float, counts: float):
    """A batch with a flat background that is counted too, as a share of the highest value of each spectrum."""
    rng, axes = np.random.default_rng([SEED, int(counts)]), tuple(range(2, batch.signal.ndim))
    top = batch.signal.amax(axes, keepdim=True)
    more = (share * top * batch.valid).numpy()
    noise = np.sqrt(more * top.numpy() / counts)
    signal = batch.signal + torch.tensor(more + noise * rng.standard_normal(more.shape), dtype=torch.float32)
    error = torch.sqrt(batch.error**2 + torch.tensor(noise**2, dtype=torch.float32))
    scale = torch.sqrt((signal**2).sum(axes, keepdim=True) / batch.valid.sum(axes, keepdim=True))
    return type(batch)(**{**vars(batch), "signal": signal / scale, "error": error / scale})
