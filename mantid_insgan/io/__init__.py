"""Reading and writing files, recognised by content, not by name: MDHistoWorkspace, nxspe and Workspace2D files, columns
of text, arrays of NumPy and MATLAB (docs/formats.md)."""

from .formats import last_record, open_spectrum, open_writer, read_as, read_spectrum, write_spectrum, writer_for
from .nexus import SpectrumFile, SpectrumWriter, read_nexus, write_nexus
from .nxspe import read_nxspe
from .powder import PowderFile

__all__ = [
    "PowderFile",
    "SpectrumFile",
    "SpectrumWriter",
    "last_record",
    "open_spectrum",
    "open_writer",
    "read_as",
    "read_nexus",
    "read_nxspe",
    "read_spectrum",
    "write_nexus",
    "write_spectrum",
    "writer_for",
]
