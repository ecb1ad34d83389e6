"""Reading and writing files: MDHistoWorkspace NeXus, nxspe and Workspace2D, recognised by content, not by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..core.spectrum import Spectrum
from ..errors import InputError
from .hdf5 import open_hdf5, reading
from .nexus import SpectrumFile, SpectrumWriter, read_nexus, write_nexus
from .nxspe import is_nxspe, open_nxspe, read_nxspe
from .powder import PowderFile
from .workspace2d import is_workspace2d, open_workspace2d

__all__ = [
    "PowderFile",
    "SpectrumFile",
    "SpectrumWriter",
    "open_spectrum",
    "read_nexus",
    "read_nxspe",
    "read_spectrum",
    "write_nexus",
]


def open_spectrum(path: str | Path, *, axes: Sequence[str] | None = None, **binning) -> SpectrumFile | PowderFile:
    """Open a file of any kind that can be read as a spectrum.

    Parameters
    ----------
    path : str or Path
    **binning
        For nxspe and Workspace2D files: ``q_bins``, ``q_range``, ``energy_bins`` (see `powder_spectrum`); for all files
        ``ei``.
    axes : sequence of str, optional
        Names of the axes of an MDHistoWorkspace, where the file does not say what they are.

    Returns
    -------
    SpectrumFile or PowderFile
        Both have ``axes``, ``run``, ``shape``, ``title``... and ``read(region)``, and are context managers.

    Raises
    ------
    InputError
        If the file does not exist, is not HDF5, is damaged, or contains no workspace that can be read; or if bins are
        given for an MDHistoWorkspace, which already has bins.
    RunFactError
        If Ei is needed to calculate |Q| and is missing.
    """
    with open_hdf5(path) as file, reading(Path(path)):
        opener = open_nxspe if is_nxspe(file) else open_workspace2d if is_workspace2d(file) else None
    if opener is not None:
        if axes is not None:
            raise InputError(
                f"{path} has axes of |Q| and energy, and names of axes were given", "omit that option (--axes)"
            )
        return opener(path, **binning)
    source = SpectrumFile(path, axes)
    given = [name for name, value in binning.items() if value is not None and name != "ei"]
    if given:
        source.close()
        raise InputError(
            f"{path} is an MDHistoWorkspace, which already has bins, and {', '.join(given)} was given",
            "omit that option; bins can be chosen for nxspe and Workspace2D files",
        )
    source.run = source.run.updated("option --ei", ei=binning.get("ei"))
    return source


def read_spectrum(path: str | Path, **binning) -> Spectrum:
    """The whole spectrum in a file of any kind (parameters and errors as `open_spectrum`)."""
    with open_spectrum(path, **binning) as source:
        return source.read()
