"""What ``insgan resolution`` does: the facts from options and a file, a table of the resolution, a picture of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.options import parse_lattice
from ..core.run import Run
from ..core.spectrum import Spectrum
from ..errors import InputError
from ..instruments import Resolution
from ..instruments.table import TABLE_POINTS, ResolutionTable, parse_momenta, resolution_at, resolution_over

#: Ellipses in a picture over a file, about.
_ELLIPSES = 48


@dataclass(frozen=True)
class ResolutionOptions:
    """Facts that win over the file's, as `ApplyOptions` has them."""

    instrument: str | None = None
    ei: float | None = None
    chopper: str | None = None
    frequency: float | None = None
    lattice: str | None = None
    width_factor: float = 1.0

    def resolution(self, run: Run) -> Resolution:
        """The resolution for a run and these options.

        Raises
        ------
        RunFactError
            If a fact is missing, unknown or out of range, or the chopper transmits nothing.
        """
        facts = {n: getattr(self, n) for n in ("instrument", "ei", "chopper", "frequency")}
        lattice = parse_lattice(self.lattice)
        if lattice is not None:
            lattice.b_matrix()  # refuses a cell without volume
        return Resolution.from_run(run, **facts, lattice=lattice, width_factor=self.width_factor)


def resolution_table(
    file: Path | None,
    momenta: list[str],
    energies: list[float],
    options: ResolutionOptions,
    *,
    plot: Path | None = None,
    overwrite: bool = False,
) -> ResolutionTable:
    """The resolution at points, or over the grid of a file, as a table; and as a picture if asked for.

    Parameters
    ----------
    file : Path, optional
        Gives the facts that are not given as options, and the grid where there are no points.
    momenta, energies : list
        Points: texts as `parse_momenta` takes them, and meV. One energy goes with each momentum, or every energy with
        every momentum where the numbers differ.
    options : ResolutionOptions
    plot : Path, optional
        Picture to write.

    Raises
    ------
    InsganError
        If a fact or point is missing or out of range, the lattice is singular, or the picture cannot be written.
    """
    if file is None and not momenta:
        raise InputError(
            "there is neither a file nor a point", "give FILE, or points with --q and --energy, as --q 1.5 --energy 10"
        )
    if bool(momenta) != bool(energies):
        raise InputError(
            "a point needs a momentum and an energy", "give both --q and --energy, each as often as needed"
        )
    spectrum = None
    if file is not None:
        from ..io import read_spectrum

        spectrum = read_spectrum(file, ei=options.ei) if options.ei is not None else read_spectrum(file)
    resolution = options.resolution(Run() if spectrum is None else spectrum.run)
    if momenta:
        table = resolution_at(resolution, *_paired(parse_momenta(momenta), np.array(energies, dtype=float)))
        shown = table
    else:
        table = resolution_over(resolution, spectrum, most=TABLE_POINTS)
        shown = resolution_over(resolution, spectrum, most=_ELLIPSES) if plot is not None else table
    if plot is not None:
        _draw(shown, plot, None if momenta else spectrum, overwrite)
    return table


def _paired(momenta: np.ndarray, energies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if len(momenta) == len(energies):
        return momenta, energies
    return np.repeat(momenta, len(energies), axis=0), np.tile(energies, len(momenta))


def _draw(table: ResolutionTable, plot: Path, spectrum: Spectrum | None, overwrite: bool) -> None:
    from .spectrum import plot_resolution

    plot_resolution(table, plot, spectrum=spectrum, overwrite=overwrite)
