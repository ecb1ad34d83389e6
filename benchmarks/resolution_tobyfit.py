"""Compare the resolution covariance with the six Tobyfit-derived tables of MAPS (S chopper).

    python benchmarks/resolution_tobyfit.py [--tables FOLDER] [--plot docs/figures/resolution_tobyfit.png]

Each table holds the covariance of (h, k, E) on a grid, for a crystal with c* along the beam and a* horizontal. One set of
instrument facts (MAPS-2000 of instruments.toml) and one sample serve all six. Compared are points with
0.45 < |(h, k)| < 0.95 and 0.1 to 0.7 Ei. The tables carry the opposite sign of the Q-E covariance (see
docs/resolution.md), which is turned round here.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mantid_insgan.resolution import Orientation, Resolution, Sample
from mantid_insgan.spectrum import Axis, Lattice, Spectrum

TABLES = Path(__file__).resolve().parents[1] / ".." / "shared" / "data" / "pcsmo-maps"
#: The cell of the tables' reciprocal lattice units and the sample they were made for; docs/resolution.md says how the
#: tables give them away.
LATTICE = Lattice(5.38, 5.38, 19.266)
CUBE = Sample("cuboid", 0.030, 0.030, 0.030)
ORIENTATION = Orientation(u=(0, 0, 1), v=(1, 0, 0))


@dataclass(frozen=True)
class Setting:
    """One table: Ei and chopper frequency as the table is labelled, and as its numbers say."""

    label: int
    frequency: float
    true_ei: float
    true_frequency: float


SETTINGS = (
    Setting(25, 300, 25.40, 300),
    Setting(35, 200, 35.54, 200),
    Setting(50, 200, 50.80, 200),
    Setting(70, 250, 71.10, 250),
    Setting(100, 300, 101.40, 250),
    Setting(140, 400, 141.50, 400),
)


@dataclass(frozen=True)
class Comparison:
    """Calculated over tabulated FWHM, and the three correlation coefficients of both."""

    ratio: np.ndarray  # (N, 3): h, k, E
    calculated: np.ndarray  # (N, 3): hk, hE, kE
    tabulated: np.ndarray  # (N, 3)

    def row(self) -> list[float]:
        """Median ratios of E, h, k; fractions within 15 % (E) and 25 % (h, k); median |difference| of hE and kE."""
        off = np.abs(self.ratio - 1)
        difference = np.median(np.abs(self.calculated - self.tabulated), axis=0)
        within = [(off[:, 2] < 0.15).mean(), (off[:, 0] < 0.25).mean(), (off[:, 1] < 0.25).mean()]
        return [*np.median(self.ratio, axis=0)[[2, 0, 1]], *within, *difference[1:]]


def table(folder: Path, label: int) -> tuple[np.ndarray, np.ndarray]:
    """Points (N, 3) in (h, k, E) and covariances (N, 3, 3) of one table, in the range that is compared."""
    rows = np.loadtxt(folder / f"resolution_ei{label}.txt.gz")
    length = np.hypot(rows[:, 0], rows[:, 1])
    rows = rows[(length > 0.45) & (length < 0.95) & (rows[:, 2] >= 0.1 * label) & (rows[:, 2] <= 0.7 * label)]
    covariance = rows[:, 3:].reshape(-1, 3, 3)
    turned = np.array([1.0, 1.0, -1.0])
    return rows[:, :3], covariance * np.outer(turned, turned)


def calculated(resolution: Resolution, points: np.ndarray) -> np.ndarray:
    """Our covariance of (h, k, E) at the points of a table, shape (N, 3, 3); l follows from the crystal's angle."""
    axes = (
        Axis("[H,0,0]", [-1, 0, 1], "r.l.u.", "HKL"),
        Axis("[0,K,0]", [-1, 0, 1], "r.l.u.", "HKL"),
        Axis("[0,0,L]", [-10, 10], "r.l.u.", "HKL"),
        Axis("DeltaE", [0, 1, 2], "meV"),
    )
    grid = Spectrum(np.ones((2, 2, 1, 2)), np.ones((2, 2, 1, 2)), axes)
    coordinates = np.column_stack([points[:, :2], np.zeros(len(points)), points[:, 2]])
    return resolution.covariance(resolution.frame(grid).at(coordinates))


def compare(folder: Path, label: int, resolution: Resolution) -> Comparison:
    """One table against one resolution."""
    points, theirs = table(folder, label)
    ours = calculated(resolution, points)
    return Comparison(_spread(ours) / _spread(theirs), _correlation(ours), _correlation(theirs))


def resolution(setting: Setting, *, as_labelled: bool = False, sample: Sample = CUBE, **options) -> Resolution:
    """The resolution of one table's measurement."""
    ei, frequency = setting.true_ei, setting.true_frequency
    if as_labelled:
        ei, frequency = setting.label, setting.frequency
    return Resolution(
        "MAPS-2000", ei, "S", frequency, sample=sample, lattice=LATTICE, orientation=ORIENTATION, **options
    )


def _spread(covariance: np.ndarray) -> np.ndarray:
    return np.sqrt(np.einsum("nii->ni", covariance))


def _correlation(covariance: np.ndarray) -> np.ndarray:
    spread = _spread(covariance)
    return (covariance / spread[:, :, None] / spread[:, None, :])[:, [0, 0, 1], [1, 2, 2]]


def report(title: str, folder: Path, make) -> None:
    """Print one table of comparisons; `make` gives the resolution of a setting."""
    print(f"\n{title}")
    print("| Ei | FWHM_E | FWHM_h | FWHM_k | E within 15 % | h within 25 % | k within 25 % | d rho_hE | d rho_kE |")
    print("|---|---|---|---|---|---|---|---|---|")
    for setting in SETTINGS:
        row = compare(folder, setting.label, make(setting)).row()
        cells = [f"{v:.3f}" for v in row[:3]] + [f"{100 * v:.1f} %" for v in row[3:6]] + [f"{v:.3f}" for v in row[6:]]
        print(f"| {setting.label} | " + " | ".join(cells) + " |")


def plot(folder: Path, path: Path) -> None:
    """Ellipses at half maximum in (h, E) at k = 0 and in (h, k) at 0.3 Ei: table filled, ours as a line."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, len(SETTINGS), figsize=(16, 6), constrained_layout=True)
    circle = np.linspace(0, 2 * np.pi, 100)
    circle = np.sqrt(2 * np.log(2)) * np.stack([np.cos(circle), np.sin(circle)])
    for column, setting in zip(axes.T, SETTINGS, strict=True):
        points, theirs = table(folder, setting.label)
        ours = calculated(resolution(setting), points)
        middle = np.unique(points[:, 2])[np.argmin(np.abs(np.unique(points[:, 2]) - 0.3 * setting.label))]
        spread = np.unique(points[:, 2])[:: max(1, len(np.unique(points[:, 2])) // 4)]
        views = (
            ([0, 2], (np.abs(points[:, 1]) < 0.05) & np.isin(points[:, 2], spread)),
            ([0, 1], np.abs(points[:, 2] - middle) < 1e-6),
        )
        for ax, (pair, chosen) in zip(column, views, strict=True):
            for n in np.flatnonzero(chosen)[:: 1 if pair == [0, 2] else 3]:
                block = np.ix_(pair, pair)
                for matrix, style in ((theirs[n], {"lw": 0}), (ours[n], {"lw": 1})):
                    x, y = points[n, pair][:, None] + np.linalg.cholesky(matrix[block]) @ circle
                    if style["lw"] == 0:
                        ax.fill(x, y, color="0.75")
                    else:
                        ax.plot(x, y, color="C3", lw=1)
            ax.set_xlabel("h (r.l.u.)")
        column[0].set_title(f"Ei {setting.label} meV")
        column[0].set_ylabel("E (meV)")
        column[1].set_ylabel(f"k (r.l.u.), E = {middle:g} meV")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    print(f"wrote {path}")


def main() -> None:
    """Print the tables; draw the figure if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", type=Path, default=TABLES, help="folder of resolution_ei*.txt.gz")
    parser.add_argument("--plot", type=Path, help="write the figure of ellipses here")
    arguments = parser.parse_args()
    folder = arguments.tables
    report("Ei and frequency read back from the tables", folder, resolution)
    report("Ei and frequency as labelled", folder, lambda s: resolution(s, as_labelled=True))
    documented = Sample("cuboid", 0.010, 0.050, 0.010)
    report(
        "as labelled, sample 10 x 50 x 10 mm (50 mm vertical)",
        folder,
        lambda s: resolution(s, as_labelled=True, sample=documented),
    )
    report(
        "as labelled, ResINS' moderator pulse instead of Tobyfit's",
        folder,
        lambda s: resolution(s, as_labelled=True, time_model="pychop"),
    )
    if arguments.plot:
        plot(folder, arguments.plot)


if __name__ == "__main__":
    main()
