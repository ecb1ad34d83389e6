"""Makes the demo data: ``python -m mantid_insgan.demo.make_data`` (needs the spinw extra).

A square-lattice antiferromagnet with the couplings of La2NiO4 (Petsch et al., Phys. Rev. Research 5, 033113 (2023);
J = 29.0 and J' = 1.67 meV, S = 1), as calculated, and as MAPS would measure it: blurred with the FWHM of each bin in
energy and Q, with background, counting noise, detector gaps and the reach of the detectors.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from ..io import write_nexus
from ..pairs import OVERSAMPLE, convolve
from ..resolution import Resolution
from ..spectrum import Axis, Lattice, Run, Spectrum
from ..spinw.simulate import simulate_cut
from ..spinw.zoo import get_family
from . import DATA

SEED = 2023
PEAK_COUNTS = 250.0
MARGIN = 16  #: bins calculated beyond the slice on every side
LATTICE = Lattice(3.89, 3.89, 12.7, 90.0, 90.0, 90.0, ub=np.diag([1 / 3.89, 1 / 3.89, 1 / 12.7]))
RUN = Run().updated(
    "demo data", instrument="MAPS", ei=200.0, chopper="S", frequency=400.0, temperature=10.0, lattice=LATTICE
)


def axes(bins: tuple[int, int], margin: int = 0, fine: int = 1) -> tuple[Axis, ...]:
    """The axes of the slice with `margin` bins more at every side, each bin cut into `fine`; two are integrated."""

    def edges(low, high, count):
        step = (high - low) / count
        return np.linspace(low - margin * step, high + margin * step, (count + 2 * margin) * fine + 1)

    return (
        Axis("[H,H,0]", edges(-1.0, 1.0, bins[0]), "r.l.u.", "HKL"),
        Axis("[-H,H,0]", np.array([-0.05, 0.05]), "r.l.u.", "HKL"),
        Axis("[0,0,L]", np.array([-0.5, 0.5]), "r.l.u.", "HKL"),
        Axis("DeltaE", edges(10.0, 160.0, bins[1]), "DeltaE"),
    )


def model():
    """The spin-wave model of the demo."""
    couplings = {"J1": 29.0, "J2": 1.67, "J3": 0.0, "Jperp": 0.0, "D": -0.1}
    return get_family("square_afm").model(couplings, lattice=LATTICE, ion="Ni2+", temperature=10.0)


def calculate(bins: tuple[int, int] = (96, 100)) -> tuple[Spectrum, Spectrum]:
    """The model in the bins of the slice, without and with resolution, in mbarn/sr/meV."""
    wide = simulate_cut(model(), axes(bins, MARGIN, OVERSAMPLE), oversample=1, fwhm=2.0)
    signal = wide.signal[:, 0, 0, :]
    grid = axes(bins, MARGIN)
    nothing = np.full([len(a) for a in grid], np.nan)
    width = Resolution.from_run(RUN).fwhm_in_bins(Spectrum(nothing, nothing, grid))
    blurred = convolve(signal, width.mean(1))  # the widths hardly vary along Q

    def in_bins(fine):
        rows, columns = (n // OVERSAMPLE for n in fine.shape)
        means = fine.reshape(rows, OVERSAMPLE, columns, OVERSAMPLE).mean((1, 3))[MARGIN:-MARGIN, MARGIN:-MARGIN]
        return Spectrum(means[:, None, None, :], np.zeros((bins[0], 1, 1, bins[1])), axes(bins), run=RUN)

    return in_bins(signal), in_bins(blurred)


def measure(convolved: Spectrum, seed: int = SEED) -> Spectrum:
    """Counts at a finite exposure on a background, in the bins that a detector sees."""
    rng = np.random.default_rng(seed)
    peak = np.percentile(convolved.signal, 99.5)
    background = 0.06 * peak
    exposure = PEAK_COUNTS / peak
    counts = rng.poisson((convolved.signal + background) * exposure)
    h = convolved.axes[0].centers[:, None, None, None]
    energy = convolved.axes[3].centers[None, None, None, :]
    seen = (np.abs(h) > 0.06 + (energy / 420) ** 2) & (np.abs(h - 0.62) > 0.025) & (np.abs(h + 0.3) > 0.02)
    seen &= energy < 158 - 25 * (np.abs(h) - 0.55).clip(0)
    return convolved.replace(
        signal=np.where(seen, counts / exposure, np.nan),
        variance=np.where(seen, np.maximum(counts, 1) / exposure**2, np.nan),
        num_events=np.where(seen, counts, 0),
        title="demo: simulated measurement of La2NiO4 on MAPS",
    )


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=DATA)
    folder = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
    calculated, convolved = calculate()
    write_nexus(calculated.replace(title="demo: spin waves of La2NiO4"), folder / "calculated.nxs", overwrite=True)
    write_nexus(measure(convolved), folder / "measured.nxs", overwrite=True)


if __name__ == "__main__":
    main()
