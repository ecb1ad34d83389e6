"""Opening HDF5 files and reading NeXus values, with a clear error for each kind of failure."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from ..errors import InputError


def open_hdf5(path: str | Path) -> h5py.File:
    """An HDF5 file opened for reading.

    Raises
    ------
    InputError
        If the file does not exist, is a folder, cannot be read, is not HDF5, or is truncated.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist", "check the name and the folder")
    if path.is_dir():
        raise InputError(f"{path} is a folder, expected a NeXus file", "name a file inside it")
    try:
        if not h5py.is_hdf5(path):
            # is_hdf5 is also False if the file may not be opened: reading a byte distinguishes the two.
            with path.open("rb") as stream:
                stream.read(1)
            raise InputError(
                f"{path} is not an HDF5 file (its first bytes are not an HDF5 signature)",
                "give a file saved by SaveMD, SaveNXSPE or SaveNexus",
            )
        return h5py.File(path, "r")
    except PermissionError as problem:
        raise InputError(
            f"{path} cannot be read ({problem.strerror})", "ask its owner for read permission"
        ) from problem
    except OSError as problem:
        raise InputError(
            f"{path} is truncated or damaged: HDF5 says '{problem}'",
            "copy or save the file again; an interrupted transfer leaves such files",
        ) from problem


@contextmanager
def reading(path: Path):
    """Convert an HDF5 failure while reading inside this block to an InputError that names the file.

    Only reading belongs inside: for damaged metadata h5py raises exceptions of many types.
    """
    try:
        yield
    except MemoryError as problem:
        raise InputError(
            f"{path} has an array that does not fit into the memory ({problem or 'no more is free'})",
            "cut or rebin the data, or save them again if they are not as large as that",
        ) from problem
    except AttributeError as problem:  # of a dataset where a group is expected, or the reverse
        raise InputError(
            f"{path} has another structure than such a file: {problem}",
            "save the data again with SaveMD, SaveNXSPE or SaveNexus",
        ) from problem
    except (OSError, RuntimeError, KeyError, IndexError, OverflowError, ValueError, TypeError) as problem:
        raise InputError(
            f"{path} could not be read completely: HDF5 says '{problem}'",
            "copy or save the file again; an interrupted transfer leaves such files",
        ) from problem


@contextmanager
def naming(path: Path):
    """Put the name of the file before the reason of an InputError raised inside this block."""
    try:
        yield
    except InputError as problem:
        if str(path) in problem.reason:
            raise
        raise InputError(f"{path}: {problem.reason}", problem.fix) from problem


def text(value, default: str = "") -> str:
    """A NeXus string (bytes, str, or an array holding one) as str; the single blank that NeXus writes for '' is ''."""
    if value is None:
        return default
    if isinstance(value, np.ndarray):
        if value.size == 0:
            return default
        value = value.reshape(-1)[0]
    if isinstance(value, bytes):
        value = value.decode("utf-8", errors="replace")
    value = str(value).encode("utf-8", "replace").decode("utf-8")  # h5py gives bytes that are not UTF-8 as surrogates
    return "" if value == " " else value


def fixed(value: str) -> np.bytes_:
    """A string as fixed-length bytes, as written by Mantid; '' becomes a blank, because HDF5 has no empty strings."""
    return np.bytes_(value.encode("utf-8") or b" ")


def dataset_text(group: h5py.Group, name: str, default: str = "") -> str:
    """The string in a dataset, or `default` if there is none."""
    dataset = group.get(name)
    return text(dataset[()], default) if isinstance(dataset, h5py.Dataset) else default


def dataset_number(group: h5py.Group, name: str) -> float | None:
    """The number in a dataset, or None if there is none or it is not finite.

    For several values (a time series) it is the median: logs often start with zeros from before the run.
    """
    dataset = group.get(name)
    if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind not in "fiu" or dataset.size in (None, 0):
        return None
    value = float(np.median(dataset[()]))
    return value if np.isfinite(value) else None


def real_dataset(group: h5py.Group, name: str, path: Path, kinds: str = "fiu") -> h5py.Dataset:
    """A dataset of real numbers.

    Raises
    ------
    InputError
        If it is missing or contains something else: strings, complex numbers, records.
    """
    dataset = group.get(name)
    if not isinstance(dataset, h5py.Dataset):
        raise InputError(
            f"{path} has no dataset {group.name}/{name}; that group contains {', '.join(sorted(group)) or 'nothing'}",
            "save the workspace again: a complete file has it",
        )
    if dataset.dtype.kind not in kinds:
        raise InputError(
            f"{path}: {dataset.name} contains {_kind(dataset.dtype)}, expected real numbers",
            "save the real data as float64 (SaveMD, SaveNXSPE and SaveNexus do)",
        )
    return dataset


def _kind(dtype: np.dtype) -> str:
    return {"c": "complex numbers", "S": "strings", "O": "strings", "U": "strings", "V": "records"}.get(
        dtype.kind, f"{dtype} values"
    )
