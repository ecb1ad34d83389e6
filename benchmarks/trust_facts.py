"""Whether the elastic line notices wrong facts: its width beside that of what is told.

Measurements are told the right facts and others of the same instrument and of other instruments. Simulated powders,
of settings that no training pair has, are told a chopper, an incident energy or an instrument that is not theirs.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from results import column, table
from trust_case import SEED
from trust_domain import auroc, first_that_transmits, other_choppers, settings
from trust_measured import MEASUREMENTS

from mantid_insgan.convolve import convolve
from mantid_insgan.convolve.experiment import ExperimentSettings, make_experiment
from mantid_insgan.core.constants import HBAR2_OVER_2M
from mantid_insgan.core.run import Lattice
from mantid_insgan.core.spectrum import Axis, Spectrum, per_event
from mantid_insgan.errors import RunFactError
from mantid_insgan.instruments import Resolution
from mantid_insgan.io import read_spectrum
from mantid_insgan.learn.pairs.recipe import HELD_OUT_SETTINGS
from mantid_insgan.models.levels import LevelsModel
from mantid_insgan.translate.elastic import look_for_lines
from mantid_insgan.translate.findings import Findings
from mantid_insgan.translate.line_width import LineWidth

#: Choppers and frequencies (Hz) that measurements are told, by instrument.
TOLD = {
    "MERLIN": (("G", 600.0), ("S", 600.0), ("G", 400.0), ("G", 300.0), ("G", 200.0)),
    "MARI": (("G", 200.0), ("S", 250.0), ("G", 400.0), ("S", 400.0), ("G", 600.0)),
}
#: Other instruments, with a chopper and a frequency.
OTHERS = (("MARI", "G", 600.0), ("MARI", "S", 400.0), ("MAPS", "S", 400.0), ("MERLIN", "G", 600.0))
#: Factors on the incident energy.
ENERGIES = (0.9, 1.1)
#: Simulated powders and their counts.
DRAWS, COUNTS = 32, (30.0, 300.0, 3000.0)
LATTICE, RIGHT = Lattice(5.0, 5.0, 5.0), "right"


def facts(folder: Path) -> list[dict]:
    """Tables of the measurements in a folder, and of simulated powders."""
    return [of_measurements(folder), of_simulations()]


# -- measurements


def of_measurements(folder: Path) -> dict:
    """The width of the measured line over that calculated for each of the facts that are told."""
    rows = [
        [f"{Path(name).stem}: {told}", right, width and width.ratio, _said(width)]
        for name, setting in MEASUREMENTS.items()
        for told, right, width in _of_measurement(folder / name, setting)
    ]
    columns = [column("measurement, and what is told"), column("right"), column("fitted over calculated", "{:.2f}")]
    return table("facts told of measurements", [*columns, column("said")], rows)


def _of_measurement(path: Path, setting: dict) -> Iterator[tuple[str, str, LineWidth | None]]:
    data = read_spectrum(path)
    instrument, ei = setting["instrument"], data.run.value("ei")
    right = (setting["chopper"], setting["frequency"])
    tried = [(instrument, *told, ei) for told in TOLD[instrument]]
    tried += [(*told, ei) for told in OTHERS if told[0] != instrument]
    tried += [(instrument, *right, factor * ei) for factor in ENERGIES]
    for name, chopper, frequency, energy in tried:
        try:
            resolution = Resolution(name, energy, chopper, frequency)
        except RunFactError:  # this one does not transmit the energy
            continue
        is_right = (name, chopper, frequency, energy) == (instrument, *right, ei)
        told = f"{name} {chopper} {frequency:g} Hz, Ei {energy:.3g} meV"
        yield told, "yes" if is_right else "no", _width(data, resolution)


def _width(data: Spectrum, resolution: Resolution) -> LineWidth | None:
    return look_for_lines(per_event(Findings(resolution).cleaned(data)), resolution)[1]


def _said(width: LineWidth | None) -> str:
    if width is None:
        return "no line"
    return "it differs" if width.differs else "nothing"


# -- simulations


def of_simulations() -> dict:
    """How often the line of simulated powders differs from what is told, and how well wrong facts are told by it."""
    rows = [row for counts in COUNTS for row in _rows(counts)]
    columns = [column("facts told"), column("spectra with a line"), column("share that differs", "{:.2f}")]
    columns += [column("AUROC", "{:.2f}"), column("fitted over calculated, 10 to 90 %", "{:.2f} to {:.2f}")]
    note = (
        "{draws} powders of each, with an elastic line of 10 to 1000 times the root mean square of the magnet, "
        "backgrounds and gaps as drawn for training. AUROC: how often the line is farther from the calculated width, "
        "as a ratio, than one that is told rightly."
    )
    return table("facts told of simulations", columns, rows, note=note, facts={"draws": DRAWS})


def _rows(counts: float) -> Iterator[list]:
    found: dict[str, list[LineWidth]] = {}
    for number in range(DRAWS):
        for kind, width in _of_simulation(np.random.default_rng([SEED, number]), counts):
            found.setdefault(kind, []).extend([] if width is None else [width])
    away = {kind: np.array([abs(np.log(w.ratio)) for w in widths]) for kind, widths in found.items()}
    for kind, widths in found.items():
        cells = [None, None, None]
        if widths:
            told = None if kind.startswith(RIGHT) else auroc(away[RIGHT], away[kind])
            ratios = [float(q) for q in np.quantile([w.ratio for w in widths], (0.1, 0.9))]
            cells = [float(np.mean([w.differs for w in widths])), told, ratios]
        yield [f"{kind}, {counts:g} counts", len(widths), *cells]


def _of_simulation(rng, counts: float) -> Iterator[tuple[str, LineWidth | None]]:
    setting = HELD_OUT_SETTINGS[rng.integers(len(HELD_OUT_SETTINGS))]
    instrument, chopper, frequency, low, high = setting
    ei = float(np.exp(rng.uniform(*np.log((low, high)))))
    true = Resolution(instrument, ei, chopper, frequency)
    measured = _powder(true, rng, counts, 1000.0 ** rng.uniform(1 / 3, 1))
    yield RIGHT, _width(measured, true)
    others = other_choppers(instrument, chopper, frequency)
    another = first_that_transmits(others, lambda name, hertz: Resolution(instrument, ei, name, hertz))
    yield "another chopper or frequency", _width(measured, another)
    yield "an incident energy 10 % too high", _width(measured, Resolution(instrument, 1.1 * ei, chopper, frequency))
    yield "another instrument", _width(measured, _another_instrument(instrument, ei, rng))
    yield f"{RIGHT}, but no elastic line", _width(_powder(true, rng, counts, 0.0), true)


def _powder(true: Resolution, rng, counts: float, line: float) -> Spectrum:
    """A paramagnet's |Q| and energy, as measured, with an elastic line `line` times the magnet's root mean square."""
    model = LevelsModel(LATTICE, [0.3 * true.ei], [1.0], ion="Mn2+", correlation=0.3, temperature=10.0)
    highest = 1.2 * np.sqrt(true.ei / HBAR2_OVER_2M)
    q, energy = np.linspace(0.2, highest, 61), np.arange(-0.3, 0.9, 0.006) * true.ei
    axes = (Axis("|Q|", q, "Angstrom^-1"), Axis("DeltaE", energy, "meV"))
    seen = convolve(model, axes, true, points=64, fwhm=0.1 * true.ei, orientations=50)
    drawn = ExperimentSettings.draw(rng)
    wanted = {**vars(drawn), "counts": counts, "elastic": float(line), "other": 0.0}
    return make_experiment(seen, true, ExperimentSettings(**wanted), seed=int(rng.integers(2**31)))


def _another_instrument(instrument: str, ei: float, rng) -> Resolution:
    """Any setting of another instrument of the recipes that has the incident energy."""
    others = [s for s in settings() if s[0] != instrument and s[3] <= ei <= s[4]]
    other, chopper, frequency, *_ = others[rng.integers(len(others))]
    return Resolution(other, ei, chopper, frequency)
