"""The resolution as a table and as a figure: the output of ``insgan resolution``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..core.numbers import digits
from ..core.options import ResolutionOptions, overridden, reading_of, require_file
from ..core.run import Run
from ..core.spectrum import Spectrum
from ..errors import InputError
from ..instruments import Resolution
from ..instruments.table import TABLE_POINTS, ResolutionTable, parse_momenta, resolution_at, resolution_over
from .planes import plane_of
from .style import add_colour_bar, check_figure, colour_scale, new_figure, put_texts, save_figure, show_map
from .text import columns

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Approximate number of ellipses in a figure over the grid of a file.
_ELLIPSES = 48


def resolution_for(run: Run, options: ResolutionOptions) -> Resolution:
    """The resolution for a run; facts given as options replace those of the run.

    Raises
    ------
    RunFactError
        If a fact is missing, unknown or out of range, or the chopper transmits no neutrons.
    InputError
        If the given lattice has no volume.
    """
    run = options.run(run)
    if options.lattice is not None:
        run.value("lattice").b_matrix()  # refuses a cell without volume
    return Resolution.from_run(run, **options.of_resolution())


def resolution_table(
    file: Path | None,
    momenta: list[str],
    energies: list[float],
    options: ResolutionOptions,
    *,
    plot: Path | None = None,
    overwrite: bool = False,
) -> tuple[ResolutionTable, tuple[str, ...]]:
    """The resolution at points, or over the grid of a file, as a table and, optionally, as a figure.

    Parameters
    ----------
    file : Path, optional
        Source of the facts that are not given as options, and of the grid if no points are given.
    momenta, energies : list
        Points: texts for `parse_momenta`, and meV. If their numbers are equal, they are combined one by one, otherwise
        every energy with every momentum.
    options : ResolutionOptions
    plot : Path, optional
        Figure to write.

    Returns
    -------
    ResolutionTable
    tuple of str
        The facts of the file that options replaced.

    Raises
    ------
    InsganError
        If a fact or point is missing or out of range, the lattice is singular, the figure cannot be written, or options
        for reading a file were given without one.
    """
    if file is None and not momenta:
        raise InputError(
            "neither a file nor a point was given", "give FILE, or points with --q and --energy, as --q 1.5 --energy 10"
        )
    if bool(momenta) != bool(energies):
        raise InputError(
            "a point needs a momentum and an energy", "give both --q and --energy, each as often as needed"
        )
    require_file(options, file is not None, "only points were given")
    spectrum = None
    if file is not None:
        from ..io import read_spectrum

        spectrum = read_spectrum(file, **reading_of(options))
    run = Run() if spectrum is None else spectrum.run
    resolution = resolution_for(run, options)
    if momenta:
        table = resolution_at(resolution, *_paired(parse_momenta(momenta), np.array(energies, dtype=float)))
        shown = table
    else:
        table = resolution_over(resolution, spectrum, most=TABLE_POINTS)
        shown = resolution_over(resolution, spectrum, most=_ELLIPSES) if plot is not None else table
    if plot is not None:
        plot_resolution(shown, plot, spectrum=None if momenta else spectrum, overwrite=overwrite)
    given = options.run(run)
    return table, (*overridden(given), *given.notes, *resolution.notes)


def table_text(table: ResolutionTable) -> str:
    """The table as text: the setting, then one line for each point, with the correlation coefficients last."""
    s = table.setting
    hertz = "/".join(f"{f:g}" for f in s["frequencies"])
    head = f"{s['instrument']}, Ei {digits(s['ei'])} meV, chopper {s['chopper']} at {hertz} Hz"
    if s["width_factor"] != 1:
        head += f", width factor {s['width_factor']:g}"
    if "sharpness" in s:
        head += ", finer by {:g} in momentum and {:g} in energy".format(*s["sharpness"])
    names = table.names
    pairs = [(i, j) for i in range(len(names)) for j in range(i + 1, len(names))]
    titles = [f"{n} ({u})" for n, u in zip(names, table.units, strict=True)]
    titles += [f"FWHM {n}" for n in names] + [f"rho {names[i]} {names[j]}" for i, j in pairs]
    rows = []
    for point, width, covariance in zip(table.points, table.fwhm, table.covariance, strict=True):
        rho = covariance / np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
        rows.append([f"{v:.4g}" for v in (*point, *width)] + [f"{rho[i, j]:+.3f}" for i, j in pairs])
    return f"{head}\n{columns(rows, titles, right=True)}"


def _paired(momenta: np.ndarray, energies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if len(momenta) == len(energies):
        return momenta, energies
    return np.repeat(momenta, len(energies), axis=0), np.tile(energies, len(momenta))


def plot_resolution(
    table: ResolutionTable, output: str | Path, *, spectrum: Spectrum | None = None, overwrite: bool = True
) -> None:
    """Plot the resolution as ellipses at half maximum to a file.

    One panel for each momentum coordinate against energy transfer (or for the first two coordinates if the energy is
    integrated). Each ellipse is the projection of the resolution function onto the panel.

    Parameters
    ----------
    table : ResolutionTable
    output : str or Path
        Name of the figure; its suffix chooses the format (`FORMATS`).
    spectrum : Spectrum, optional
        Drawn behind the ellipses if its two open axes are those of the table.
    overwrite : bool
        Whether an existing file may be replaced.

    Raises
    ------
    InputError
        If the table has only one coordinate.
    OutputError
        If the suffix is unknown, the file exists and may not be replaced, or it cannot be written.
    DeviceError
        If matplotlib is not installed.
    """
    check_figure(output, overwrite)
    save_figure(resolution_figure(table, spectrum), Path(output))


def resolution_figure(table: ResolutionTable, spectrum: Spectrum | None = None) -> Figure:
    """The figure of `plot_resolution`."""
    count = len(table.names)
    if count < 2:
        raise InputError(
            f"the resolution along {table.names[0]!r} alone has no ellipse",
            "use a file with two open axes, or give points (--q, --energy)",
        )
    up = table.names.index("E") if "E" in table.names else 1
    pairs = [(i, up) for i in range(count if "E" in table.names else 2) if i != up]
    figure = new_figure(8 if len(pairs) == 1 else 5 * len(pairs), 6)
    panels = figure.subplots(1, len(pairs), squeeze=False)[0]
    if spectrum is not None and len(spectrum.open_axes) == 2 == count:
        plane = plane_of(spectrum.squeeze(), *pairs[0], {})
        add_colour_bar(figure, [show_map(panels[0], plane, colour_scale([plane]))], panels, [plane])
    for axes, pair in zip(panels, pairs, strict=True):
        _show_ellipses(axes, table, list(pair))
    setting = table.setting
    put_texts(
        figure,
        f"Resolution of {setting['instrument']}, Ei {setting['ei']:g} meV, chopper {setting['chopper']}",
        ["Ellipses: the resolution function at half maximum, projected onto the plane."],
    )
    return figure


def _show_ellipses(axes: Axes, table: ResolutionTable, pair: list[int]) -> None:
    """Contours at half maximum of the covariance of two coordinates."""
    angle = np.linspace(0, 2 * np.pi, 73)
    circle = np.sqrt(2 * np.log(2)) * np.stack([np.cos(angle), np.sin(angle)])
    for point, covariance in zip(table.points[:, pair], table.covariance[:, pair][:, :, pair], strict=True):
        x, y = point[:, None] + np.linalg.cholesky(covariance) @ circle
        axes.plot(x, y, color="white", linewidth=2.2)
        axes.plot(x, y, color="#d1495b", linewidth=1.2)
    for i, label in zip(pair, (axes.set_xlabel, axes.set_ylabel), strict=True):
        label("Energy transfer (meV)" if table.names[i] == "E" else f"{table.names[i]} ({table.units[i]})")
