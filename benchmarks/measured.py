"""Resolution removed from a measurement, against a finer one of the same sample: the tables of docs/measured.md.

    OMP_NUM_THREADS=1 python benchmarks/measured.py [--data FOLDER]

Bi2Fe4O9 on MERLIN, run 40874: one multi-rep measurement at several incident energies. Data of a coarser Ei are brought
to the resolution of a finer one, and compared with what was measured there; then the other way.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from pages import table_text
from results import add_option, column, table, write_results

from mantid_insgan.core.slices import conditions_of, network_axes
from mantid_insgan.core.spectrum import Spectrum, frozen
from mantid_insgan.errors import ModelError
from mantid_insgan.instruments import Resolution
from mantid_insgan.instruments.grid import finest
from mantid_insgan.io import read_nxspe
from mantid_insgan.translate.elastic import find_lines, kept_apart
from mantid_insgan.translate.job import apply
from mantid_insgan.translate.translator import Quality

DATA = Path(__file__).resolve().parents[1] / ".." / "shared" / "data" / "bi2fe4o9-merlin"
SETTING = {"instrument": "MERLIN", "chopper": "G", "frequency": 600.0}
#: |Q| that is translated and its bins, 1/Angstrom.
RANGE, STEP = (0.4, 6.0), 0.04
#: Coarser and finer Ei (meV), and the energies that are compared (meV; the last is left out). They begin three FWHM of
#: the coarser Ei's elastic resolution above 0, where the feet of its elastic line end, and end where the finer Ei's
#: range, or a line of another repetition of the choppers, begins.
PAIRS = (("62.00", "38.00", (11.0, 27.0)), ("62.00", "25.00", (10.0, 17.0)), ("38.00", "25.00", (6.0, 17.0)))
#: |Q| over which spectra are averaged, 1/Angstrom, and the step of their energies, meV.
AVERAGED, ENERGY_STEP = ((1.0, 2.0), (2.0, 3.0)), 0.5
#: |Q| and steps of the comparison bin by bin.
WHOLE, FINE_STEP = (0.8, 3.0), 0.2
#: Energies of elastic lines of other repetitions, meV, by Ei; bins within `REACH` FWHM (at E = 0) are not used.
OTHER_LINES, REACH = {"38.00": 30.0, "25.00": 19.0}, 1.5
#: Ei whose elastic lines are looked at.
LINES = ("120.00", "62.00", "38.00", "25.00")
#: Iterations of Richardson-Lucy; for each row, those that are best in the mean of the other rows.
ITERATIONS = (1, 3, 10, 30)
COMMAND = "OMP_NUM_THREADS=1 python benchmarks/measured.py"
CONDITIONS = (
    "Bi2Fe4O9 on MERLIN (Gd chopper, 600 Hz, run 40874, one measurement at several Ei). One scale and one constant are "
    "fitted; each number is the root mean square residual divided by the standard deviation of what was measured at "
    "the other Ei, and noise is what the counting errors of that leave. No setting of any method was chosen on the row "
    "it is scored on."
)


@cache
def measured(ei: str, folder: Path, step: float | None = None) -> Spectrum:
    """The spectrum of one Ei without the lines of other repetitions, in the energy bins of the file or of about `step`
    meV."""
    path = folder / f"MER40874_Ei{ei}meV_Rings.nxspe"
    momenta = {"q_range": RANGE, "q_bins": round((RANGE[1] - RANGE[0]) / STEP)}
    spectrum = read_nxspe(path, **momenta)
    if step is not None:
        edges = spectrum.axes[1].edges
        spectrum = read_nxspe(path, **momenta, energy_bins=round((edges[-1] - edges[0]) / step))
    if ei not in OTHER_LINES:
        return spectrum
    reach = REACH * float(resolution(ei, folder).fwhm_energy(0.0))
    near = np.abs(spectrum.axes[1].centers - OTHER_LINES[ei]) < reach
    return spectrum.replace(valid=spectrum.valid & ~near)


@cache
def resolution(ei: str, folder: Path) -> Resolution:
    """The calculated resolution at one Ei (that of the file)."""
    path = folder / f"MER40874_Ei{ei}meV_Rings.nxspe"
    exact = read_nxspe(path, q_range=(1.0, 2.0), q_bins=1).run.value("ei")
    return Resolution(SETTING["instrument"], exact, SETTING["chopper"], SETTING["frequency"])


def brought_by_this_version(spectrum: Spectrum, ei: str, folder: Path) -> Spectrum | None:
    """The spectrum at the resolution of another Ei by the bundled models; None if they take no target."""
    wanted = f"Ei={resolution(ei, folder).ei:.6g},chopper={SETTING['chopper']},frequency={SETTING['frequency']:g}"
    try:
        result, report = apply(spectrum, to=wanted, device="cpu", **SETTING)
    except ModelError as problem:
        print(f"the bundled models are left out: {problem}")
        return None
    for note in report.notes:
        print(f"  {note}")
    return result


@dataclass(frozen=True)
class Between:
    """The resolutions of two settings on the grid of a spectrum, as operators.

    Parameters
    ----------
    remove, add : mantid_insgan.learn.operator.ResolutionOperator
        From what both have to the setting of the data, and to the other.
    """

    remove: object
    add: object

    @classmethod
    def of(cls, spectrum: Spectrum, data: Resolution, wanted: Resolution) -> Between:
        import torch

        from mantid_insgan.learn.operator import ResolutionOperator

        outline = spectrum.replace(valid=spectrum.valid & _below(spectrum, wanted.ei))
        own, other, axes = data.on_grid(outline), wanted.on_grid(outline), network_axes(spectrum.axes, 2)
        given = [conditions_of(grid, axes) for grid in (own, other, finest(own, other, axes))]
        tensors = [[torch.from_numpy(g[name])[None] for name in ("width", "correlation")] for g in given]
        remove, add = (ResolutionOperator(*side, tuple(tensors[2])) for side in tensors[:2])
        return cls(remove, add)

    def added(self, spectrum: Spectrum) -> Spectrum:
        """Convolved with what the other setting has more."""
        from mantid_insgan.learn.operator import convolved

        signal, valid = _tensors(spectrum)
        return _with_signal(spectrum, convolved(self.add, signal, valid))

    def lucy(self, spectrum: Spectrum, iterations: tuple[int, ...]) -> list[Spectrum]:
        """Richardson-Lucy iterates of the part that is to be removed, then `added`."""
        from mantid_insgan.learn.operator import richardson_lucy

        signal, valid = _tensors(spectrum)
        found = richardson_lucy(self.remove, signal, valid, iterations)
        return [self.added(_with_signal(spectrum, x)) for x in found]


def brought_by_lucy(spectrum: Spectrum, data: Resolution, wanted: Resolution) -> list[Spectrum]:
    """The spectrum at another resolution by Richardson-Lucy, after each of `ITERATIONS`; its elastic line is kept
    apart."""
    between = Between.of(spectrum, data, wanted)
    lines = find_lines(spectrum, data)
    iterates: list[Spectrum] = []

    def translate(number: int):
        def one(seen: Spectrum):
            iterates[:] = iterates or between.lucy(seen, ITERATIONS)
            return iterates[number], Quality()

        return one

    return [kept_apart(lines, spectrum, wanted, translate(n))[0] for n in range(len(ITERATIONS))]


def _tensors(spectrum: Spectrum):
    import torch

    signal = np.where(spectrum.valid, spectrum.signal, 0.0).astype(np.float32)
    return torch.from_numpy(signal)[None, None], torch.from_numpy(spectrum.valid.astype(np.float32))[None, None]


def _with_signal(spectrum: Spectrum, tensor) -> Spectrum:
    return spectrum.replace(signal=frozen(tensor[0, 0].double().numpy()))


def _below(spectrum: Spectrum, ei: float) -> np.ndarray:
    return np.broadcast_to(spectrum.axes[1].centers < 0.99 * ei, spectrum.shape)


def at_energies(spectrum: Spectrum, energies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Signal and variance interpolated along the energy, shape (columns, energies); NaN beside invalid bins."""
    centres = spectrum.axes[1].centers
    values = (np.where(spectrum.valid, x, np.nan) for x in (spectrum.signal, spectrum.variance))
    signal, variance = (np.array([np.interp(energies, centres, row) for row in x]) for x in values)
    return signal, variance


def spectra(one: Spectrum, other: Spectrum, momenta, energies, *, averaged: bool) -> tuple[np.ndarray, ...]:
    """Signals of two spectra and the variance of the second where both were measured: averaged over `momenta` at
    energies where all of its bins were, or bin by bin."""
    step = ENERGY_STEP if averaged else FINE_STEP
    points = np.arange(energies[0], energies[1] - 1e-6, step)
    centres = one.axes[0].centers
    inside = (centres > momenta[0]) & (centres < momenta[1])
    (signal, _), (wanted, variance) = at_energies(one, points), at_energies(other, points)
    signal, wanted, variance = (x[inside] for x in (signal, wanted, variance))
    both = np.isfinite(signal) & np.isfinite(wanted)
    if not averaged:
        return signal[both], wanted[both], variance[both]
    whole = both.all(axis=0)
    mean = (x[:, whole].mean(axis=0) for x in (signal, wanted))
    return *mean, variance[:, whole].mean(axis=0) / inside.sum()


def score(signal: np.ndarray, wanted: np.ndarray, variance: np.ndarray) -> tuple[float, float]:
    """Residual after one scale and one constant, and noise, both relative to the standard deviation of `wanted`."""
    terms = np.stack([signal, np.ones_like(signal)], axis=1)
    left = wanted - terms @ np.linalg.lstsq(terms, wanted, rcond=None)[0]
    size = np.std(wanted)
    return float(np.sqrt(np.mean(left**2)) / size), float(np.sqrt(np.mean(variance)) / size)


@dataclass(frozen=True)
class Row:
    """One row of a table: its name, energies, score as measured, with the other Ei's elastic line (None where that is
    no step), of this version (None: not scored), of the simpler method for each of its settings, and noise."""

    name: str
    energies: tuple[float, float]
    measured: float
    line: float | None
    ours: float | None
    simpler: list[float]
    noise: float


def rows_of(source: str, target: str, energies, results: dict) -> tuple[list[Row], Row]:
    """Rows of the averaged spectra for one pair of settings, and the row bin by bin."""
    found = []
    wanted = results["wanted"]
    for momenta, averaged in (*((m, True) for m in AVERAGED), (WHOLE, False)):
        compare = lambda s, m=momenta, a=averaged: score(*spectra(s, wanted, m, energies, averaged=a))  # noqa: E731
        before, noise = compare(results["measured"])
        line, ours = (None if results[k] is None else compare(results[k])[0] for k in ("line", "ours"))
        simpler = [compare(s)[0] for s in results["simpler"]]
        name = f"{float(source):g} to {float(target):g}, |Q| {momenta[0]:g} to {momenta[1]:g}"
        found.append(Row(name, energies, before, line, ours, simpler, noise))
    return found[:-1], found[-1]


def chosen(rows: list[Row], number: int) -> int:
    """Which setting of the simpler method is best in the mean of the other pairs of settings."""
    pair = rows[number].name.partition(",")[0]
    others = np.array([r.simpler for r in rows if r.name.partition(",")[0] != pair])
    return int(np.argmin(others.mean(axis=0)))


def removed(folder: Path) -> tuple[list[Row], list[Row]]:
    """Rows of the coarser Ei brought to the finer one."""
    averaged, bins = [], []
    for coarse, fine, energies in PAIRS:
        spectrum, wanted = measured(coarse, folder), resolution(fine, folder)
        data = resolution(coarse, folder)
        results = {
            "measured": spectrum,
            "wanted": measured(fine, folder),
            "line": kept_apart(find_lines(spectrum, data), spectrum, wanted, lambda seen: (seen, Quality()))[0],
            "ours": brought_by_this_version(spectrum, fine, folder),
            "simpler": brought_by_lucy(spectrum, data, wanted),
        }
        rows, one = rows_of(coarse, fine, energies, results)
        averaged += rows
        bins.append(one)
    return averaged, bins


def added(folder: Path) -> tuple[list[Row], list[Row]]:
    """Rows of the finer Ei brought to the coarser one."""
    averaged, bins = [], []
    for coarse, fine, energies in PAIRS:
        goal, wanted = measured(coarse, folder), resolution(coarse, folder)
        spectrum = measured(fine, folder, goal.axes[1].width)  # the models apply no resolution of so many narrow bins
        kernel = Between.of(spectrum, resolution(fine, folder), wanted).added(spectrum)
        ours = brought_by_this_version(spectrum, coarse, folder)
        results = {"measured": spectrum, "wanted": goal, "line": None, "ours": ours, "simpler": [kernel]}
        rows, one = rows_of(fine, coarse, energies, results)
        averaged += rows
        bins.append(one)
    return averaged, bins


def beside_the_line(folder: Path) -> dict:
    """Table of what the elastic line leaves in the half FWHM next to the hidden bins, over its peak."""
    columns = [column("Ei (meV)", "{:g}"), column("hidden within (FWHM)", "{:.1f}")]
    columns += [column(f"{n} at E {s} 0", "{:.5f}") for s in ("<", ">") for n in ("feet", "left")]
    rows = []
    for ei in LINES:
        spectrum, data = read_nxspe(folder / f"MER40874_Ei{ei}meV_Rings.nxspe"), resolution(ei, folder)
        lines = find_lines(spectrum, data)
        seen, _ = lines.apart(spectrum)
        fwhm = float(data.fwhm_energy(0.0))
        away = (spectrum.axes[1].centers - lines.shape.shift) / fwhm
        peak = _means(spectrum, np.abs(away) < 1).max()
        cells = []
        for side in (-1, 1):
            beyond = side * away - lines.shape.hidden / fwhm
            level = _mean(seen, (beyond > 1) & (beyond < 2), seen.valid)
            next_to = (beyond > 0) & (beyond < 0.5)
            cells += [abs(_mean(s, next_to, seen.valid) - level) / peak for s in (spectrum, seen)]
        rows.append([f"{float(ei):g}", lines.shape.hidden / fwhm, *cells])
    return table("beside the elastic line", columns, rows)


def _means(spectrum: Spectrum, energies: np.ndarray) -> np.ndarray:
    """Mean over the valid bins of each of some energies."""
    signal = np.where(spectrum.valid, spectrum.signal, 0.0)[:, energies]
    return signal.sum(axis=0) / spectrum.valid[:, energies].sum(axis=0)


def _mean(spectrum: Spectrum, energies: np.ndarray, valid: np.ndarray) -> float:
    return float(spectrum.signal[valid & energies].mean())


def table_of(name: str, rows: list[Row], how: str, simpler: str) -> dict:
    """A table of results; with several settings of the simpler method the one that `chosen` names."""
    several = len(rows[0].simpler) > 1
    columns = [column("Ei (meV), |Q| (1/Angstrom)"), column("E (meV)", "{:g} to {:g}")]
    lines = ["only the elastic line"] if rows[0].line is not None else []
    columns += [column(n, "{:.3f}") for n in ("as measured", *lines, how)]
    columns += [column(simpler, "{:.3f} ({:.0f})" if several else "{:.3f}"), column("noise", "{:.3f}")]
    cells = []
    for number, row in enumerate(rows):
        which = chosen(rows, number) if several else 0
        other = [row.simpler[which], ITERATIONS[which]] if several else row.simpler[0]
        line = [row.line] if lines else []
        cells.append([row.name, list(row.energies), row.measured, *line, row.ours, other, row.noise])
    return table(name, columns, cells)


def main() -> None:
    """Score, print and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the nxspe files")
    add_option(parser, "measured")
    options = parser.parse_args()
    lucy = "Richardson-Lucy (iterations)"
    averaged, bins = removed(options.data)
    made = [
        table_of("removed, averaged", averaged, "removed", lucy),
        table_of("removed, bin by bin", bins, "removed", lucy),
    ]
    averaged, bins = added(options.data)
    made += [
        table_of("added, averaged", averaged, "added", "covariance kernel"),
        table_of("added, bin by bin", bins, "added", "covariance kernel"),
    ]
    made.append(beside_the_line(options.data))
    print(*map(table_text, made), sep="\n\n")
    write_results(options.results, COMMAND, CONDITIONS, made)


if __name__ == "__main__":
    main()
