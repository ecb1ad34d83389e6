"""Files that are read or written as a whole, with the interfaces of `SpectrumFile` and `SpectrumWriter`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..core.files import check_output, read_only, replacing
from ..core.merging import Wanted, merged, notes_on, wanted_bins
from ..core.spectrum import Axis, Spectrum
from ..errors import OutputError
from .hdf5 import naming
from .region import cut, normal_region

#: What says about data how they are to be understood; of a `Spectrum` and of an open file.
_CONVENTIONS = ("title", "coordinate_system", "visual_normalization", "q_convention", "normalised")


class WholeFile:
    """A file that was read as a whole, with the interface of `SpectrumFile`.

    Parameters
    ----------
    path : Path
    spectrum : Spectrum
    layout : str
        Kind of file.
    """

    def __init__(self, path: Path, spectrum: Spectrum, layout: str):
        self.path = path
        self.layout = layout
        self._spectrum = spectrum
        self.axes, self.run = spectrum.axes, spectrum.run
        self.shape, self.ndim = spectrum.shape, spectrum.ndim
        for name in _CONVENTIONS:
            setattr(self, name, getattr(spectrum, name))

    def read(self, region: tuple[slice, ...] | None = None) -> Spectrum:
        """The spectrum inside a region (as `SpectrumFile.read`)."""
        with naming(self.path):
            return cut(self._spectrum, normal_region(region, self.shape))

    def close(self) -> None:
        """Does nothing, because no file stays open; part of the interface."""

    def __enter__(self) -> WholeFile:
        return self

    def __exit__(self, *exception) -> None:
        self.close()


class BinnedFile:
    """An open file in other bins, with the interface of `SpectrumFile`; only the bins that are needed are read.

    Parameters
    ----------
    source : SpectrumFile or WholeFile
    wanted : dict
        Bins by axis, see `core.merging.merged`.
    """

    def __init__(self, source, wanted: dict[int, Wanted]):
        self._source, self._wanted = source, wanted
        self.path, self.layout = source.path, source.layout
        self.axes = tuple(_axis_in(a, wanted.get(i)) for i, a in enumerate(source.axes))
        self.run = source.run.noted(*notes_on(source.axes, wanted))
        self.shape = tuple(map(len, self.axes))
        self.ndim = len(self.shape)
        for name in _CONVENTIONS:
            setattr(self, name, getattr(source, name))

    def read(self, region: tuple[slice, ...] | None = None) -> Spectrum:
        """The spectrum inside a region of the bins wanted (as `SpectrumFile.read`)."""
        needed, wanted = [], {}
        for i, part in enumerate(normal_region(region, self.shape)):
            bins = self._wanted.get(i)
            if isinstance(bins, slice):
                part = slice(bins.start + part.start, bins.start + part.stop)
            elif bins is not None:
                wanted[i] = bins[part.start : part.stop + 1]
                part = _under(self._source.axes[i], wanted[i])
            needed.append(part)
        return merged(self._source.read(tuple(needed)), wanted).replace(run=self.run)

    def close(self) -> None:
        """Close the file."""
        self._source.close()

    def __enter__(self) -> BinnedFile:
        return self

    def __exit__(self, *exception) -> None:
        self.close()


def in_bins(source, **binning):
    """An open file in the bins that are asked for (`core.merging.wanted_bins`); itself if none are.

    Raises
    ------
    InputError
        As `wanted_bins`; the file is then closed.
    """
    try:
        with naming(source.path):
            wanted = wanted_bins(source.axes, **binning)
    except BaseException:
        source.close()
        raise
    return BinnedFile(source, wanted) if wanted else source


def _axis_in(axis: Axis, wanted: Wanted | None) -> Axis:
    if wanted is None:
        return axis
    return axis.slice(wanted.start, wanted.stop) if isinstance(wanted, slice) else replace(axis, edges=wanted)


def _under(axis: Axis, edges: np.ndarray) -> slice:
    """The bins of an axis that overlap a range of edges; one at least."""
    low, high = np.clip((edges[[0, -1]] - axis.edges[0]) / axis.width, 0, len(axis))
    start = min(int(np.floor(low)), len(axis) - 1)
    return slice(start, max(int(np.ceil(high)), start + 1))


class WholeWriter:
    """Collects the parts of a result in memory, and writes them when the ``with`` block ends normally.

    The file appears under its name only when it is complete, as that of `SpectrumWriter`, whose interface this has.

    Parameters
    ----------
    path : Path
    source : SpectrumFile, WholeFile, BinnedFile or Spectrum
        Source of the axes, run and conventions.
    write : callable
        ``write(temporary, spectrum, history)`` writes the file of one format.
    overwrite : bool
    history : dict, optional
    title : str, optional
        That of the source if not given.

    Raises
    ------
    OutputError
        As `check_output`, and if writing fails.
    """

    def __init__(
        self,
        path: Path,
        source,
        write: Callable,
        *,
        overwrite: bool = False,
        history: dict | None = None,
        title: str | None = None,
    ):
        check_output(path, overwrite)
        self.path, self._source, self._write = path, source, write
        self._overwrite, self._history = overwrite, history
        self._conventions = {name: getattr(source, name) for name in _CONVENTIONS}
        if title is not None:
            self._conventions["title"] = title
        shape = tuple(map(len, source.axes))
        self._arrays = {"signal": np.full(shape, np.nan), "variance": np.full(shape, np.nan)}
        self._arrays |= {"num_events": np.zeros(shape), "masked": np.zeros(shape, bool), "valid": np.zeros(shape, bool)}

    def __enter__(self) -> WholeWriter:
        return self

    def write(self, region: tuple[slice, ...] | None, spectrum: Spectrum) -> None:
        """Take the bins of a region (as in `SpectrumFile.read`; everything if None)."""
        region = normal_region(region, self._arrays["signal"].shape)
        for name, values in self._arrays.items():
            values[region] = getattr(spectrum, name)

    def __exit__(self, kind, problem, traceback) -> None:
        if problem is not None:
            return
        source = self._source
        spectrum = Spectrum(**self._arrays, axes=source.axes, run=source.run, **self._conventions)
        check_output(self.path, self._overwrite)
        try:
            with replacing(self.path) as temporary:
                self._write(temporary, spectrum, self._history)
        except PermissionError as failure:
            raise read_only(self.path.parent) from failure
        except OSError as failure:
            raise OutputError(
                f"writing {self.path} failed: {failure}",
                "check whether the disk is full or the folder was deleted; no incomplete file is left",
            ) from failure
