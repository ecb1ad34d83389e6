"""Pairs on disk: one HDF5 file per shard, the same to the byte for the same items, and an index with checksums."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

import h5py
import numpy as np

from ...core.files import replacing
from ...errors import InputError, OutputError
from ...io.hdf5 import open_hdf5
from .pair import Pair

#: Of the layout of shards and index.
FORMAT = "mantid-insgan pairs 4"
INDEX = "index.json"
_ARRAYS = tuple(f.name for f in fields(Pair) if f.name != "facts")


def shard_name(first: int, count: int) -> str:
    """Name of the file that holds items `first` to ``first + count - 1``."""
    return f"pairs-{first:07d}-{first + count - 1:07d}.h5"


def write_shard(folder: Path, first: int, items: Sequence[Pair]) -> dict:
    """Write one shard and give its entry in the index.

    Raises
    ------
    OutputError
        If it cannot be written; nothing is left behind then.
    """
    name = shard_name(first, len(items))
    content = _shard_bytes(first, items)
    with _replacing(folder / name) as temporary:
        temporary.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    return {"name": name, "first": first, "count": len(items), "sha256": digest, "summary": summary(items)}


def _shard_bytes(first: int, items: Sequence[Pair]) -> bytes:
    """The file, made in memory: HDF5 does not survive a disk that fills up while it writes.

    No times, fixed limits of the file format, facts of fixed length: the bytes depend on the items alone.
    """
    with h5py.File("shard", "w", driver="core", backing_store=False, libver=("v110", "v110")) as file:
        file.attrs["format"] = np.bytes_(FORMAT)
        file.attrs["first"] = np.int64(first)
        for array in _ARRAYS:
            values = np.stack([getattr(item, array) for item in items])
            packed = {
                "chunks": (1, *values.shape[1:]),
                "compression": "gzip",
                "compression_opts": 4,
                "shuffle": True,
            }  # HDF5 has no chunks of nothing: one axis has no correlations
            file.create_dataset(array, data=values, track_times=False, **(packed if values.size else {}))
        facts = np.array([json.dumps(item.facts, sort_keys=True).encode() for item in items])
        file.create_dataset("facts", data=facts, track_times=False)
        file.flush()
        return file.id.get_file_image()


def summary(items: Sequence[Pair]) -> dict:
    """Counts for the data card."""
    out: dict[str, dict[str, int]] = {}
    for item in items:
        facts = item.facts
        for what in ("split", "family", "setting", "kind"):
            _count(out, what, facts[what], 1)
        for what in ("family", "setting"):
            _count(out, f"{what} by split", f"{facts['split']}: {facts[what]}", 1)
        _count(out, "draws", "unstable", facts["unstable_draws"])
        _count(out, "draws", "coarse grid of modes", facts["errors"]["coarse_grid_of_modes"])
        for reason, times in facts["rejected_draws"].items():
            _count(out, "draws", f"rejected: {reason}", times)
    return out


def _count(counts: dict, what: str, name: str, times: int) -> None:
    group = counts.setdefault(what, {})
    group[name] = group.get(name, 0) + int(times)


def sha256(path: Path) -> str:
    """Checksum of a file, hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """`replacing`, with an error that says that the same command resumes where it stopped."""
    try:
        with replacing(path) as temporary:
            yield temporary
    except OSError as problem:
        raise OutputError(
            f"writing {path} failed: {problem}",
            "see whether the disk is full or the folder has gone; run the same command again, and it resumes "
            "from the files that are complete",
        ) from problem


def write_text(path: Path, text: str) -> None:
    """Write a small file, whole or not at all.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    with _replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_index(folder: Path, index: dict) -> None:
    """Write the index."""
    write_text(folder / INDEX, json.dumps(index, indent=1, sort_keys=True) + "\n")


def read_index(folder: Path) -> dict:
    """The index of a folder of pairs.

    Raises
    ------
    InputError
        If there is none, or it is of another format.
    """
    path = Path(folder) / INDEX
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{folder} holds no {INDEX}", "name a folder that `insgan make-pairs` wrote") from None
    except (OSError, ValueError) as problem:
        raise InputError(f"{path} cannot be read: {problem}", "make the pairs again into another folder") from problem
    if not isinstance(index, dict) or index.get("format") != FORMAT:
        found = index.get("format") if isinstance(index, dict) else type(index).__name__
        raise InputError(
            f"{path} has the format {found!r}, expected {FORMAT!r}", "make the pairs again with this version"
        )
    return index


def read_pairs(folder: str | Path, split: str | None = None, *, verify: bool = True) -> Iterator[Pair]:
    """The pairs in a folder, in their order.

    Parameters
    ----------
    folder : str or Path
        That `make_pairs` wrote; while it is being written, the shards that are complete.
    split : str, optional
        'train', 'validation', 'test-family' or 'test-setting'; all if not given.
    verify : bool
        Compare each shard with its checksum before it is read.

    Yields
    ------
    Pair

    Raises
    ------
    InputError
        If the folder holds no pairs, a shard is missing or differs from its checksum, or the split is not known.
    """
    _known_split(split)
    folder = Path(folder)
    for entry in read_index(folder)["shards"]:
        if split is None or split in entry["summary"]["split"]:
            yield from _read_shard(folder / entry["name"], entry["sha256"] if verify else None, split)


def list_pairs(folder: str | Path, split: str | None = None) -> list[tuple[Path, int, dict]]:
    """Where each pair lies: file, row and facts; the files are compared with their checksums, the arrays not read.

    Raises
    ------
    InputError
        As `read_pairs`.
    """
    _known_split(split)
    folder, found = Path(folder), []
    for entry in read_index(folder)["shards"]:
        path = folder / entry["name"]
        with _opened(path, entry["sha256"]) as file:
            facts = [json.loads(text) for text in file["facts"][()]]
        found += [(path, row, f) for row, f in enumerate(facts) if split is None or f["split"] == split]
    return found


def read_pair(path: Path, row: int) -> Pair:
    """One pair of a file."""
    with open_hdf5(path) as file:
        return _pair(file, row, json.loads(file["facts"][row]))


def _known_split(split: str | None) -> None:
    from .recipe import SPLITS

    if split is not None and split not in SPLITS:
        raise InputError(f"there is no split {split!r}", f"use one of {', '.join(SPLITS)}")


def _read_shard(path: Path, digest: str | None, split: str | None) -> Iterator[Pair]:
    with _opened(path, digest) as file:
        for row, text in enumerate(file["facts"][()]):
            facts = json.loads(text)
            if split is None or facts["split"] == split:
                yield _pair(file, row, facts)


def _opened(path: Path, digest: str | None):
    """The file, once its checksum is known to be `digest`."""
    if digest is not None and path.is_file() and sha256(path) != digest:
        raise InputError(
            f"{path} differs from the checksum in {INDEX}: it was changed or damaged",
            "run the same `insgan make-pairs` again: it makes that file anew",
        )
    return open_hdf5(path)


def _pair(file, row: int, facts: dict) -> Pair:
    return Pair(**{name: file[name][row] for name in _ARRAYS}, facts=facts)
