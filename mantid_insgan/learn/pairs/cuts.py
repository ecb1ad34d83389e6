"""One-dimensional cuts through pairs of slices; one slice, which takes seconds to make, holds hundreds of cuts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from ...errors import InputError, OutputError
from .draw import shows_enough
from .pair import Pair
from .shards import FORMAT, INDEX, read_index, read_pairs, sha256, write_index, write_shard

#: Cuts in one file.
PER_SHARD = 512
#: Integration range in units of the resolution FWHM along it, drawn log-uniformly.
_INTEGRATED = (0.5, 5.0)
#: Share of the cuts that run along the last axis, which mostly is the energy.
_ALONG_THE_LAST = 0.65
_KINDS = {"path": ("energy-cut", "momentum-cut"), "plane": ("momentum-cut",) * 2, "powder": ("powder-cut", "powder-q")}


def cuts_of_slices(
    slices: str | Path,
    output: str | Path,
    per_slice: int,
    seed: int,
    *,
    split: str = "train",
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write 1D pairs cut out of 2D pairs: one axis is kept, and a range of the other integrated.

    All sides are the means over the range, so that the cut is as exact as the slice. Widths and positions are
    those of the resolution for the cut. A folder that holds these cuts already is left as it is.

    Parameters
    ----------
    slices : str or Path
        Folder of 2D pairs.
    output : str or Path
        Folder; made if it is not there.
    per_slice : int
        Cuts that are tried of each slice; those that show next to nothing are left out.
    seed : int
    split : str
        Whose slices are cut.
    progress : callable, optional
        Called with (slices done, slices in all).

    Returns
    -------
    int
        Cuts in the folder.

    Raises
    ------
    InputError
        If the folder of slices holds none of that split, or pairs of other dimensions.
    OutputError
        If the output holds something else, or cannot be written.
    """
    output, source = Path(output), read_index(Path(slices))
    count = sum(entry["count"] for entry in source["shards"])
    recipe = {"cuts_of": source["recipe"], "slices": count, "per_slice": per_slice, "seed": seed, "split": split}
    index = {"format": FORMAT, "recipe": recipe, "versions": source["versions"], "shards": []}
    found = source["recipe"].get("dimensions", 1)
    if found != 2:
        raise InputError(
            f"{slices} holds no slices but pairs of dimension {found}",
            "name a folder that `insgan make-pairs --dimensions 2` wrote",
        )
    if (output / INDEX).exists():
        return _kept(output, index)
    pairs = list(read_pairs(slices, split))
    if not pairs:
        raise InputError(f"none of the {count} slices in {slices} is of the split {split}", "make more (--count)")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise OutputError(f"the folder {output} cannot be made: {problem.strerror}", "name another one") from problem
    items: list[Pair] = []
    written = 0
    for number, pair in enumerate(pairs):
        items += cuts_of(pair, per_slice, np.random.default_rng([seed, pair.facts["index"]]))
        while len(items) >= PER_SHARD or (items and number == len(pairs) - 1):
            some, items = items[:PER_SHARD], items[PER_SHARD:]
            index["shards"].append(write_shard(output, written, some))
            written += len(some)
        if progress is not None:
            progress(number + 1, len(pairs))
    write_index(output, index)
    return written


def _kept(folder: Path, index: dict) -> int:
    """Number of cuts in the folder, after checking that they are those asked for."""
    found = read_index(folder)
    if {k: v for k, v in found.items() if k != "shards"} != {k: v for k, v in index.items() if k != "shards"}:
        raise OutputError(
            f"{folder} holds other pairs: {found['recipe']}, expected {index['recipe']}", "name another folder"
        )
    for entry in found["shards"]:
        path = folder / entry["name"]
        if not path.is_file() or sha256(path) != entry["sha256"]:
            raise OutputError(f"{path} is missing or damaged", "remove the folder and run the same command again")
    return sum(entry["count"] for entry in found["shards"])


def cuts_of(pair: Pair, number: int, rng) -> list[Pair]:
    """Up to `number` cuts of a slice, at random places; fewer where they show next to nothing."""
    found = (_cut(pair, int(rng.random() > _ALONG_THE_LAST), rng) for _ in range(number))
    return [cut for cut in found if cut is not None]


def _cut(pair: Pair, closed: int, rng) -> Pair | None:
    """One cut that integrates a range of the open axis `closed` (0 or 1)."""
    size = pair.ideal.shape[closed]
    low, high = np.log10(_INTEGRATED)
    bins = int(np.clip(np.median(pair.width[closed]) * 10 ** rng.uniform(low, high), 1, size // 2))
    first = int(rng.integers(size - bins + 1))
    cut = along(pair, closed, first, bins)
    known = np.isfinite(cut.ideal) & np.isfinite(cut.convolved)
    if cut.valid.mean() <= 0.25 or not np.count_nonzero(cut.ideal[known]) >= 0.02 * cut.ideal.size:
        return None
    if not shows_enough(cut.ideal[known], cut.convolved[known]):
        return None
    of_bins = pair.resolution.on_grid(cut.spectrum("ideal"))
    return replace(
        cut,
        width=of_bins.width.reshape(1, -1),
        correlation=np.zeros((0, cut.ideal.size), np.float32),
        position=of_bins.position().reshape(3, -1),
    )


def along(pair: Pair, closed: int, first: int, bins: int) -> Pair:
    """The pair with `bins` bins from `first` of its open axis `closed` integrated; widths are not yet those of it.

    All sides are means over the range, NaN where one of the bins is. A bin is valid where one in the range is.
    """
    part = (slice(None),) * closed + (slice(first, first + bins),)
    axes = [dict(axis) for axis in pair.facts["axes"]]
    at = [i for i, axis in enumerate(axes) if axis["bins"] > 1][closed]
    step = (axes[at]["high"] - axes[at]["low"]) / axes[at]["bins"]
    start = axes[at]["low"] + first * step
    axes[at] |= {"low": start, "high": start + bins * step, "bins": 1}
    facts = pair.facts | {"axes": axes, "kind": _KINDS[pair.facts["kind"]][closed], "unstable_draws": 0}
    return replace(
        pair,
        ideal=pair.ideal[part].mean(closed),
        finer=pair.finer[:, *part].mean(closed + 1),
        convolved=pair.convolved[part].mean(closed),
        valid=pair.valid[part].any(closed),
        facts=facts | {"rejected_draws": {}, "cut_of": pair.facts["index"]},
    )
