"""`make_pairs`: pairs drawn by processes or a Dask cluster, written in shards, resumable."""

from __future__ import annotations

import json
import os
import platform
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from ... import __version__
from ...core.workers import worker_pool
from ...errors import InputError, OutputError
from ...models.phonons import require_euphonic
from .card import write_card
from .draw import draw_pair
from .pair import Pair
from .recipe import Recipe
from .shards import FORMAT, INDEX, read_index, sha256, shard_name, write_index, write_shard

#: Libraries whose version may change a number.
_LIBRARIES = ("numpy", "scipy", "h5py", "pyspinw", "resins", "periodictable")
#: Pairs in progress for each worker.
_AHEAD = 3


@dataclass(frozen=True)
class Made:
    """What `make_pairs` did: the folder, pairs in all, and how many of them were kept from an earlier run."""

    folder: Path
    pairs: int
    kept: int
    shards: int


def make_pairs(
    dimensions: int,
    count: int,
    seed: int,
    workers: int,
    output: str | Path,
    *,
    method: str | None = None,
    bins: int | None = None,
    energy_bins: int | None = None,
    per_shard: int | None = None,
    families: tuple[str, ...] = (),
    dask: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Made:
    """Make training pairs in a folder.

    The pairs depend on everything but `workers`, `dask` and `count` (which says how far to go). Where the folder holds
    shards of the same recipe they are checked and kept, so that a run that was killed, or that shall go further, is
    taken up by the same call.

    Parameters
    ----------
    dimensions : int
        Open axes of the cuts: 1, 2 or 3.
    count : int
        Pairs.
    seed : int
    workers : int
        Processes on this machine, also those of ``dask='local'``.
    output : str or Path
        Folder; made if it is not there.
    method, bins, energy_bins, per_shard, families
        See `Recipe` (`only`).
    dask : str, optional
        Address of a Dask scheduler whose workers draw the pairs ('tcp://host:8786'), or 'local' for a cluster on this
        machine. Files are written by this process alone.
    progress : callable, optional
        Called with (pairs done, pairs in all).

    Returns
    -------
    Made

    Raises
    ------
    InputError
        If an option is out of range.
    OutputError
        If the folder holds other things, pairs of another recipe or of other versions, or cannot be written.
    DeviceError
        If Dask is not installed or the scheduler cannot be reached, or phonons are asked for without Euphonic.
    """
    recipe = Recipe(dimensions, seed, method or "", bins or 0, per_shard or 0, tuple(families), energy_bins or 0)
    for name, value in (("count", count), ("workers", workers)):
        if value < 1:
            raise InputError(f"the {name} is {value}", f"ask for 1 or more (--{name})")
    if recipe.has_phonons:
        require_euphonic()
    folder = Path(output)
    index = _opened(folder, recipe, count)
    plan = [(first, min(recipe.per_shard, count - first)) for first in range(0, count, recipe.per_shard)]
    kept = {entry["name"]: entry for entry in index["shards"] if _complete(folder, entry)}
    missing = [(first, size) for first, size in plan if shard_name(first, size) not in kept]
    done = kept_items = sum(size for first, size in plan if shard_name(first, size) in kept)
    entries = {e["first"]: e for e in kept.values() if (e["first"], e["count"]) in plan}
    indices = [i for first, size in missing for i in range(first, first + size)]
    with worker_pool(workers, dask) if indices else nullcontext((None, None)) as (submit, width):
        items = _in_order(submit, recipe, indices, width)
        for first, size in missing:
            shard = []
            for item in items:
                shard.append(item)
                done += 1
                if progress is not None:
                    progress(done, count)
                if len(shard) == size:
                    break
            entries[first] = write_shard(folder, first, shard)
            index["shards"] = [entries[f] for f in sorted(entries)]
            write_index(folder, index)
    index["shards"] = [entries[f] for f in sorted(entries)]
    write_index(folder, index)
    write_card(folder, index)
    _remove_leftovers(folder, {shard_name(*p) for p in plan})
    return Made(folder, count, kept_items, len(plan))


def versions(recipe: Recipe) -> dict[str, str]:
    """Versions of what the numbers of a recipe come from."""
    libraries = (*_LIBRARIES, "euphonic") if recipe.has_phonons else _LIBRARIES
    return {"mantid-insgan": __version__, "python": platform.python_version()} | {
        name: metadata.version(name) for name in libraries
    }


def _opened(folder: Path, recipe: Recipe, count: int) -> dict:
    """The index of the folder, a new one if it holds nothing."""
    fresh = {"format": FORMAT, "recipe": recipe.as_dict(), "versions": versions(recipe), "shards": []}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        names = os.listdir(folder)
    except OSError as problem:
        raise OutputError(
            f"the output folder {folder} cannot be made or read: {problem.strerror}", "name another folder (--output)"
        ) from problem
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"the output folder {folder} is read-only", "choose a folder in which you may write")
    if INDEX not in names:
        # Killed before the first shard was in the index: temporary and complete shards may be there, nothing else.
        strange = sorted(n for n in names if not _is_ours(n))
        if strange:
            raise OutputError(
                f"the output folder {folder} holds {strange[0]!r} and no pairs",
                "name an empty or new folder (--output)",
            )
        write_index(folder, fresh)
        return fresh
    try:
        index = read_index(folder)
    except InputError as problem:
        raise OutputError(problem.reason, "name an empty or new folder (--output)") from problem
    for what in ("recipe", "versions"):
        if index[what] != fresh[what]:
            differs = [k for k in fresh[what] | index[what] if index[what].get(k) != fresh[what].get(k)]
            found = ", ".join(f"{k} {json.dumps(index[what].get(k))}" for k in differs)
            wanted = ", ".join(f"{k} {json.dumps(fresh[what].get(k))}" for k in differs)
            raise OutputError(
                f"the output folder {folder} holds pairs made with {found}; asked for were {wanted}",
                "name another folder (--output), or ask for what the folder was made with",
            )
    held = sum(entry["count"] for entry in index["shards"])
    last = max((entry["first"] + entry["count"] for entry in index["shards"]), default=0)
    if last > count:
        raise OutputError(
            f"the output folder {folder} holds {held} pairs, more than the {count} asked for",
            "ask for at least as many (--count), or name another folder (--output)",
        )
    return index


def _is_ours(name: str) -> bool:
    return name.startswith(("pairs-", ".pairs-", f".{INDEX}", ".data_card"))


def _complete(folder: Path, entry: dict) -> bool:
    path = folder / entry["name"]
    return path.is_file() and sha256(path) == entry["sha256"]


def _remove_leftovers(folder: Path, wanted: set[str]) -> None:
    """Temporary files of runs that were killed, and a shorter last shard that a longer run has replaced."""
    for path in folder.iterdir():
        ours = path.name.endswith(".part") if path.name.startswith(".") else path.name.startswith("pairs-")
        if ours and _is_ours(path.name) and path.name not in wanted:
            path.unlink(missing_ok=True)


def _in_order(submit, recipe: Recipe, indices: list[int], width: Callable[[], int]) -> Iterator[Pair]:
    """The pairs of these numbers in order, with at most `_AHEAD` in progress for each of ``width()`` workers."""
    waiting: deque = deque()
    try:
        for index in indices:
            waiting.append(submit(draw_pair, recipe, index))
            if len(waiting) >= _AHEAD * width():
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
