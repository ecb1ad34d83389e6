"""Reads and writes MDHistoWorkspace NeXus files, in the format of Mantid's SaveMD and LoadMD.

The file stores arrays reversed (slowest dimension first); a `Spectrum` has dimension 0 first, as ``getSignalArray()``.
Layout 'v2' (``SaveMDVersion`` 2) has a group ``data`` with one dataset of bin edges per dimension; layout 'v1' (before
2016) has flat arrays and describes each dimension as XML in an attribute.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from ..core.spectrum import Axis, Spectrum, frozen
from ..errors import InputError
from .facts import run_of_entry
from .hdf5 import dataset_number, naming, open_hdf5, reading, real_dataset, text
from .history import is_normalised
from .region import normal_region
from .units import in_our_units
from .writer import ENTRY, SpectrumWriter

__all__ = ["SpectrumFile", "SpectrumWriter", "read_nexus", "write_nexus"]

#: dataset of the file -> argument of Spectrum
ARRAYS = {"signal": "signal", "errors_squared": "variance", "num_events": "num_events", "mask": "masked"}

#: Frame of the first three dimensions of old files, from their coordinate system (LoadMD's rule).
_LEGACY_FRAMES = {1: "QLab", 2: "QSample", 3: "HKL"}


class _Dimension(NamedTuple):
    axis: Axis
    #: True if the edges in the file descend: `axis` ascends, and the data are reversed along it.
    flipped: bool


class SpectrumFile:
    """An MDHistoWorkspace file, open for reading; data are read only on request.

    Parameters
    ----------
    path : str or Path
    names : sequence of str, optional
        Names of the axes, in place of those in the file.

    Attributes
    ----------
    path : Path
    axes : tuple of Axis
        Dimension 0 first; edges always ascend.
    run : Run
        Facts from the experiment groups, each with its source.
    shape : tuple of int
    ndim : int
    title : str
        Title of the run (SaveMD does not save the title of the workspace).
    coordinate_system, visual_normalization : int
        As in `Spectrum`; 0 if not in the file.
    q_convention : str
        'Inelastic' or 'Crystallography'. The axes are left as in the file: under 'Crystallography' Q has the opposite
        sign (kf - ki).
    layout : str
        'v2' or 'v1'.
    normalised : bool
        As in `Spectrum`: the history of the file says that MDNorm made it.

    Raises
    ------
    InputError
        If the file is not a complete MDHistoWorkspace, the unit of an axis is not known, or there are not as many names
        as axes; the message says what is wrong.

    Examples
    --------
    >>> with SpectrumFile("volume.nxs") as source:                             # doctest: +SKIP
    ...     slab = source.read((slice(None), slice(0, 8), slice(None), slice(None)))
    """

    def __init__(self, path: str | Path, names: Sequence[str] | None = None):
        self.path = Path(path)
        self._file = open_hdf5(self.path)
        try:
            with naming(self.path), reading(self.path):
                self._read_header(names)
        except BaseException:
            self._file.close()
            raise

    def _read_header(self, names: Sequence[str] | None) -> None:
        entry = _entry(self._file, self.path)
        self._entry = entry
        self.layout = "v2" if isinstance(entry.get("data"), h5py.Group) else "v1"
        self.coordinate_system = _coordinate_system(entry)
        self.visual_normalization = _one_of(range(3), entry, "visual_normalization")
        self.q_convention = text(entry.attrs.get("QConvention")) or "Inelastic"
        self.normalised = is_normalised(entry)
        self._data = entry["data"] if self.layout == "v2" else entry
        dimensions = _dimensions_v2(self) if self.layout == "v2" else _dimensions_v1(self)
        self.axes, notes = in_our_units([d.axis for d in dimensions], names)
        self._flipped = tuple(d.flipped for d in dimensions)
        self.shape = tuple(len(a) for a in self.axes)
        self.ndim = len(self.shape)
        self._arrays = {name: self._array(name) for name in ARRAYS}
        run, self.title = run_of_entry(entry, self.path)
        self.run = run.noted(*notes)

    def _array(self, name: str) -> h5py.Dataset:
        dataset = real_dataset(self._data, name, self.path, kinds="fiub" if name == "mask" else "fiu")
        expected = [self.shape[::-1]] if self.layout == "v2" else [self.shape[::-1], (int(np.prod(self.shape)),)]
        if dataset.shape not in expected:
            raise InputError(
                f"{self.path}: {dataset.name} has shape {dataset.shape}, but the dimensions "
                f"{', '.join(a.name for a in self.axes)} have {self.shape} bins, so {expected[0]} is expected",
                "save the workspace again with SaveMD",
            )
        return dataset

    def read(self, region: tuple[slice, ...] | None = None) -> Spectrum:
        """The spectrum inside a hyper-rectangle; only that part is read.

        The file is compressed in chunks that span all dimensions except the last, so a few thick regions are read much
        faster than many thin ones, unless only the last dimension is divided.

        Parameters
        ----------
        region : tuple of slice, optional
            One slice (step 1) per dimension, dimension 0 first; everything if not given.

        Raises
        ------
        InputError
            If the region does not fit, or the file is damaged there.
        """
        region = normal_region(region, self.shape)
        with reading(self.path):
            arrays = {ARRAYS[name]: self._read_array(dataset, region) for name, dataset in self._arrays.items()}
        return Spectrum(
            **arrays,
            axes=tuple(a.slice(s.start, s.stop) for a, s in zip(self.axes, region, strict=True)),
            run=self.run,
            title=self.title,
            coordinate_system=self.coordinate_system,
            visual_normalization=self.visual_normalization,
            q_convention=self.q_convention,
            normalised=self.normalised,
        )

    def _read_array(self, dataset: h5py.Dataset, region: tuple[slice, ...]) -> np.ndarray:
        stored = tuple(
            slice(n - s.stop, n - s.start) if flipped else s
            for s, n, flipped in zip(region, self.shape, self._flipped, strict=True)
        )[::-1]
        if dataset.ndim == self.ndim:
            values = dataset[stored]
        else:  # v1: flat, dimension 0 fastest; whole rows of the slowest dimension are contiguous
            row = dataset.size // self.shape[-1]
            values = dataset[stored[0].start * row : stored[0].stop * row]
            values = values.reshape((-1, *self.shape[-2::-1]))[(slice(None), *stored[1:])]
        values = values.T[tuple(slice(None, None, -1) if flipped else slice(None) for flipped in self._flipped)]
        dtype = bool if dataset is self._arrays["mask"] else np.float64
        return frozen(np.array(values, dtype=dtype, order="C"))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> SpectrumFile:
        return self

    def __exit__(self, *exception) -> None:
        self.close()


def read_nexus(path: str | Path) -> Spectrum:
    """The whole spectrum in an MDHistoWorkspace file (errors as `SpectrumFile`)."""
    with SpectrumFile(path) as source:
        return source.read()


def write_nexus(
    spectrum: Spectrum,
    path: str | Path,
    *,
    template: str | Path | None = None,
    overwrite: bool = False,
    history: dict | None = None,
) -> None:
    """Write a spectrum to a file that LoadMD reads (arguments and errors as `SpectrumWriter`)."""
    with SpectrumWriter(path, spectrum, template=template, overwrite=overwrite, history=history) as writer:
        writer.write(None, spectrum)


def _entry(file: h5py.File, path: Path) -> h5py.Group:
    entry = file.get(ENTRY)
    if isinstance(entry, h5py.Group):
        return entry
    if "MDEventWorkspace" in file:
        raise InputError(
            f"{path} contains an MDEventWorkspace (single events), expected a histogram",
            "bin it first with BinMD (or MDNorm) and save the result with SaveMD",
        )
    raise InputError(
        f"{path} contains no workspace: the top groups found are {', '.join(sorted(file)) or '(none)'}, "
        "expected MDHistoWorkspace, an nxspe entry or mantid_workspace_1",
        "save the data with SaveMD, SaveNXSPE or SaveNexus",
    )


def _coordinate_system(entry: h5py.Group) -> int:
    # The first version of the format stored it in the logs.
    names = ("coordinate_system", "experiment0/logs/CoordinateSystem/value")
    return _one_of(range(4), entry, next((n for n in names if dataset_number(entry, n) is not None), names[0]))


def _one_of(allowed: range, entry: h5py.Group, name: str) -> int:
    """A whole number of Mantid's, 0 if there is none.

    Raises
    ------
    InputError
        If it is another number.
    """
    value = dataset_number(entry, name) or 0
    if value not in allowed:
        raise InputError(
            f"{entry.name}/{name} is {value:g}, expected one of {', '.join(map(str, allowed))}",
            "save the workspace again with SaveMD",
        )
    return int(value)


def _dimensions_v2(source: SpectrumFile) -> list[_Dimension]:
    data, path = source._data, source.path
    signal = real_dataset(data, "signal", path)
    if "axes" not in signal.attrs:
        raise InputError(
            f"{path}: {signal.name} has no attribute 'axes', which names the dimensions",
            "save the workspace again with SaveMD",
        )
    dimensions = []
    for index, name in enumerate(reversed(text(signal.attrs["axes"]).split(":"))):
        edges = real_dataset(data, name, path)
        dimensions.append(
            _dimension(
                name=text(edges.attrs.get("long_name")) or name,
                edges=edges[()],
                unit=text(edges.attrs.get("units")),
                frame=text(edges.attrs.get("frame")) or _legacy_frame(source.coordinate_system, index),
                id=name,
            )
        )
    return dimensions


def _dimensions_v1(source: SpectrumFile) -> list[_Dimension]:
    count = dataset_number(source._entry, "dimensions")
    if not count:
        raise InputError(
            f"{source.path}: {source._entry.name} has neither the group 'data' nor the dataset 'dimensions', one of "
            f"which describes an MDHistoWorkspace; it contains {', '.join(sorted(source._entry)) or 'nothing'}",
            "save the workspace again with SaveMD",
        )
    return [_dimension_from_xml(source, index) for index in range(int(count))]


def _dimension_from_xml(source: SpectrumFile, index: int) -> _Dimension:
    attribute = f"dimension{index}"
    xml = text(source._entry.attrs.get(attribute))
    try:
        root = ElementTree.fromstring(xml)
        low, high, bins = (float(root.findtext(tag)) for tag in ("LowerBounds", "UpperBounds", "NumberOfBins"))
    except (ElementTree.ParseError, TypeError, ValueError) as problem:
        raise InputError(
            f"{source.path}: the attribute {attribute!r} is {xml[:80]!r}, expected a <Dimension> with LowerBounds, "
            "UpperBounds and NumberOfBins",
            "load the file in Mantid and save it again with SaveMD",
        ) from problem
    id_ = root.get("ID") or attribute
    return _dimension(
        name=root.findtext("Name") or id_,
        edges=np.linspace(low, high, int(bins) + 1),
        unit=root.findtext("Units") or "",
        frame=root.findtext("Frame") or _legacy_frame(source.coordinate_system, index),
        id=id_,
    )


def _dimension(*, edges: np.ndarray, **description) -> _Dimension:
    flipped = edges.ndim == 1 and edges.size > 1 and edges[0] > edges[-1]
    return _Dimension(Axis(edges=edges[::-1] if flipped else edges, **description), bool(flipped))


def _legacy_frame(coordinate_system: int, index: int) -> str:
    return _LEGACY_FRAMES.get(coordinate_system, "General Frame") if index < 3 else "General Frame"
