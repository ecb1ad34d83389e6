"""Makes the demo data: ``python -m mantid_insgan.demo.make_data`` (needs the spinw extra).

A square-lattice antiferromagnet with the couplings of La2NiO4 (Petsch et al., Phys. Rev. Research 5, 033113 (2023);
J = 29.0 and J' = 1.67 meV, S = 1), as calculated, and as MAPS would measure it: convolved with the resolution in all
four dimensions, with background, counting noise, detector gaps and the angular range of the detectors.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from ..convolve import convolve
from ..core.run import Lattice, Run
from ..core.spectrum import Axis, Spectrum
from ..instruments import Resolution
from ..io import write_nexus
from ..models.spinw.simulate import simulate_cut
from ..models.spinw.zoo import get_family
from . import DATA

SEED = 2023
PEAK_COUNTS = 250.0
_STEPS = (1 / 3.89, 1 / 3.89, 1 / 12.7)  #: lengths of a*, b* and c*, 1/Angstrom
#: The layers are horizontal: c* points up, along Mantid's y.
LATTICE = Lattice(3.89, 3.89, 12.7, 90.0, 90.0, 90.0, ub=np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]]) @ np.diag(_STEPS))
RUN = Run().updated(
    "demo data", instrument="MAPS", ei=200.0, chopper="S", frequency=400.0, temperature=10.0, lattice=LATTICE
)


def axes(bins: tuple[int, int]) -> tuple[Axis, ...]:
    """The axes of the slice; two are integrated."""
    return (
        Axis("[H,H,0]", np.linspace(0.8, 2.8, bins[0] + 1), "r.l.u.", "HKL"),
        Axis("[-H,H,0]", np.array([-0.05, 0.05]), "r.l.u.", "HKL"),
        Axis("[0,0,L]", np.array([-0.5, 0.5]), "r.l.u.", "HKL"),
        Axis("DeltaE", np.linspace(10.0, 160.0, bins[1] + 1), "DeltaE"),
    )


def model():
    """The spin-wave model of the demo."""
    couplings = {"J1": 29.0, "J2": 1.67, "J3": 0.0, "Jperp": 0.0, "D": -0.1}
    return get_family("square_afm").model(couplings, lattice=LATTICE, ion="Ni2+", temperature=10.0)


def calculate(bins: tuple[int, int] = (96, 100)) -> tuple[Spectrum, Spectrum]:
    """The model in the bins of the slice, without and with resolution, in mbarn/sr/meV; the latter where neutrons can
    be recorded."""
    sharp = simulate_cut(model(), axes(bins), oversample=3, fwhm=2.0).replace(run=RUN)
    return sharp, convolve(model(), sharp, Resolution.from_run(RUN), method="covariance", tolerance=0.2, fwhm=2.0)


def measure(convolved: Spectrum, seed: int = SEED) -> Spectrum:
    """Counts at a finite exposure with a background, in the bins that are covered by detectors."""
    rng = np.random.default_rng(seed)
    signal = np.where(convolved.valid, convolved.signal, 0.0)
    peak = np.percentile(signal, 99.5)
    background = 0.06 * peak
    exposure = PEAK_COUNTS / peak
    counts = rng.poisson((signal + background) * exposure)
    h = convolved.axes[0].centers[:, None, None, None]
    energy = convolved.axes[3].centers[None, None, None, :]
    seen = (np.abs(h - 2.42) > 0.025) & (np.abs(h - 1.35) > 0.02) & (energy < 158 - 25 * (h - 2.3).clip(0))
    seen &= convolved.valid
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
