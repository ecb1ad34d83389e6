"""Compare the resolution covariance with the six Tobyfit-derived tables of MAPS (S chopper).

    python benchmarks/resolution_tobyfit.py [--tables FOLDER] [--plot docs/figures/resolution_tobyfit.png]

Each table holds the covariance of (h, k, E) on a grid, for a crystal with c* along the beam and a* horizontal. One set
of instrument facts (MAPS-2000 of instruments.toml) and one sample serve all six. Compared are points with
0.45 < |(h, k)| < 0.95 and 0.1 to 0.7 Ei. The tables carry the opposite sign of the Q-E covariance (see
docs/resolution.md), which is turned round here. With --identify, the variance of every deviation is solved for in each
table (non-negative least squares), to say which facts it was made with.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pages import table_text
from results import add_option, column, table, write_results

from mantid_insgan.core.constants import HBAR2_OVER_2M, HBAR_OVER_M
from mantid_insgan.core.run import Lattice
from mantid_insgan.core.spectrum import Axis, Spectrum
from mantid_insgan.instruments import Orientation, Resolution, Sample
from mantid_insgan.instruments.covariance import sensitivity
from mantid_insgan.instruments.frames import Points

TABLES = Path(__file__).resolve().parents[1] / ".." / "shared" / "data" / "pcsmo-maps"
#: The cell of the tables' reciprocal lattice units and the sample they were made for; docs/resolution.md says how the
#: tables give them away.
LATTICE = Lattice(5.38, 5.38, 19.266)
CUBE = Sample("cuboid", 0.030, 0.030, 0.030)
ORIENTATION = Orientation(u=(0, 0, 1), v=(1, 0, 0))


COMMAND = "python benchmarks/resolution_tobyfit.py --identify --plot docs/figures/resolution_tobyfit.png"
CONDITIONS = (
    "Tables of the covariance of (h, k, E) on MAPS before 2017, S chopper, six Ei; points with 0.45 < |(h, k)| < 0.95 "
    "and E from 0.1 to 0.7 Ei; no random numbers."
)
COLUMNS = [
    column("Ei"),
    *(column(name, "{:.3f}") for name in ("FWHM_E", "FWHM_h", "FWHM_k")),
    *(column(name, "{:.1f} %") for name in ("E within 15 %", "h within 25 %", "k within 25 %")),
    *(column(name, "{:.3f}") for name in ("d rho_hE", "d rho_kE")),
]
#: Of what the tables were made with: full widths in mm (uniform of that variance), tau and sigma in us, bin in meV.
IDENTIFIED = [
    column("Ei"),
    column("Ei read (meV)", "{:.2f}"),
    *(column(name, "{:.3f}") for name in ("tau", "70/sqrt(Ei)", "burst sigma", "ours")),
    column("beam x, y", "{:.2f}, {:.2f}"),
    column("sample x, y, z", "{:.2f}, {:.2f}, {:.2f}"),
    column("pixel", "{:.2f} x {:.2f}"),
    column("bin", "{:.2f}"),
    column("residual", "{:.1e}"),
]


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


def tabulated(folder: Path, label: int) -> tuple[np.ndarray, np.ndarray]:
    """Points (N, 3) in (h, k, E) and covariances (N, 3, 3) of one table, in the range that is compared."""
    rows = np.loadtxt(folder / f"resolution_ei{label}.txt.gz")
    length = np.hypot(rows[:, 0], rows[:, 1])
    rows = rows[(length > 0.45) & (length < 0.95) & (rows[:, 2] >= 0.1 * label) & (rows[:, 2] <= 0.7 * label)]
    covariance = rows[:, 3:].reshape(-1, 3, 3)
    turned = np.array([1.0, 1.0, -1.0])
    return rows[:, :3], covariance * np.outer(turned, turned)


def calculated(resolution: Resolution, points: np.ndarray) -> np.ndarray:
    """Our covariance of (h, k, E) at the points of a table, shape (N, 3, 3); l follows from the crystal's angle."""
    return resolution.covariance(placed(resolution, points))


def placed(resolution: Resolution, points: np.ndarray) -> Points:
    """The points of a table in the lab."""
    axes = (
        Axis("[H,0,0]", [-1, 0, 1], "r.l.u.", "HKL"),
        Axis("[0,K,0]", [-1, 0, 1], "r.l.u.", "HKL"),
        Axis("[0,0,L]", [-10, 10], "r.l.u.", "HKL"),
        Axis("DeltaE", [0, 1, 2], "meV"),
    )
    grid = Spectrum(np.ones((2, 2, 1, 2)), np.ones((2, 2, 1, 2)), axes)
    return resolution.frame(grid).at(np.column_stack([points[:, :2], np.zeros(len(points)), points[:, 2]]))


def compare(folder: Path, label: int, resolution: Resolution) -> Comparison:
    """One table against one resolution."""
    points, theirs = tabulated(folder, label)
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


def report(name: str, folder: Path, make) -> dict:
    """One table of comparisons; `make` gives the resolution of a setting."""
    rows = []
    for setting in SETTINGS:
        row = compare(folder, setting.label, make(setting)).row()
        rows.append([setting.label, *row[:3], *(100 * v for v in row[3:6]), *row[6:]])
    return table(name, COLUMNS, rows)


def identify(folder: Path) -> dict:
    """What the tables were made with: Ei from the widths at h = k = 0, then the variance of each deviation."""
    from scipy.optimize import nnls

    rows = []
    for setting in SETTINGS:
        ei = _true_ei(folder, setting)
        beam = resolution(replace(setting, true_ei=ei)).beam
        points, theirs = tabulated(folder, setting.label)
        points, theirs = points[::7], theirs[::7]
        at = placed(resolution(replace(setting, true_ei=ei)), points)
        kf = beam.kf(points[:, 2])
        final = np.array([0.0, 0.0, beam.ki]) - at.q
        linear = at.gradients @ sensitivity(beam, final / np.linalg.norm(final, axis=1, keepdims=True), kf)
        linear = linear[:, :, :11]  # no mosaic
        linear[:, :, 10] *= (beam.sample_detector / (2 * HBAR_OVER_M * HBAR2_OVER_2M * kf**3))[:, None]  # per meV
        spread = _spread(theirs)
        scale = (spread[:, :, None] * spread[:, None, :])[..., None]
        products = (linear[:, :, None] * linear[:, None, :] / scale).reshape(-1, 11)
        norm = np.sqrt((products**2).mean(0))
        found, residual = nnls(products / norm, (theirs[..., None] / scale).ravel())
        sigma = np.sqrt(found / norm)
        mm = np.sqrt(12) * 1e3 * sigma
        row = [
            setting.label,
            ei,
            sigma[0] * 1e6 / np.sqrt(3),
            70 / np.sqrt(ei),
            sigma[1] * 1e6,
            beam.chopper.sigma * 1e6,
        ]
        row += [
            list(mm[2:4]),
            list(mm[4:7]),
            list(mm[8:10]),
            np.sqrt(12) * sigma[10],
            residual / np.sqrt(len(products)),
        ]
        rows.append(row)
    return table("identified", IDENTIFIED, rows)


def _true_ei(folder: Path, setting: Setting) -> float:
    """At h = k = 0 the variance of h is quadratic in kf / ki = sqrt(1 - E / Ei): the Ei that makes it so."""
    rows = np.loadtxt(folder / f"resolution_ei{setting.label}.txt.gz")
    rows = rows[(np.abs(rows[:, 0]) < 1e-6) & (np.abs(rows[:, 1]) < 1e-6)]

    def misfit(ei: float) -> float:
        ratio = np.sqrt(1 - rows[:, 2] / ei)
        return np.abs(np.polyval(np.polyfit(ratio, rows[:, 3], 2), ratio) - rows[:, 3]).max()

    trial = np.arange(max(0.98 * setting.label, rows[:, 2].max() + 0.01), 1.05 * setting.label, 0.01)
    return float(trial[np.argmin([misfit(ei) for ei in trial])])


def plot(folder: Path, path: Path) -> None:
    """Ellipses at half maximum in (h, E) at k = 0 and in (h, k) at 0.3 Ei: table filled, ours as a line."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, len(SETTINGS), figsize=(16, 6), constrained_layout=True)
    circle = np.linspace(0, 2 * np.pi, 100)
    circle = np.sqrt(2 * np.log(2)) * np.stack([np.cos(circle), np.sin(circle)])
    for (above, below), setting in zip(axes.T, SETTINGS, strict=True):
        points, theirs = tabulated(folder, setting.label)
        ours = calculated(resolution(setting), points)
        middle = np.unique(points[:, 2])[np.argmin(np.abs(np.unique(points[:, 2]) - 0.3 * setting.label))]
        spread = np.unique(points[:, 2])[:: max(1, len(np.unique(points[:, 2])) // 4)]
        views = (
            ([0, 2], (np.abs(points[:, 1]) < 0.05) & np.isin(points[:, 2], spread)),
            ([0, 1], np.abs(points[:, 2] - middle) < 1e-6),
        )
        for ax, (pair, chosen) in zip((above, below), views, strict=True):
            for n in np.flatnonzero(chosen & (points[:, 0] > 0.3)):
                block = np.ix_(pair, pair)
                for matrix, style in ((theirs[n], {"lw": 0}), (ours[n], {"lw": 1})):
                    x, y = points[n, pair][:, None] + np.linalg.cholesky(matrix[block]) @ circle
                    if style["lw"] == 0:
                        ax.fill(x, y, color="0.75")
                    else:
                        ax.plot(x, y, color="C3", lw=1)
            ax.set_xlabel("h (r.l.u.)")
            ax.set_xlim(0.45, 0.98)
        above.set_title(f"Ei {setting.label} meV")
        above.set_ylabel("E (meV)")
        below.set_ylim(-0.27, 0.27)
        below.set_ylabel(f"k (r.l.u.), E = {middle:g} meV")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    print(f"wrote {path}")


def main() -> None:
    """Print and write the tables; draw the figure if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", type=Path, default=TABLES, help="folder of resolution_ei*.txt.gz")
    parser.add_argument("--identify", action="store_true", help="solve each table for the facts it was made with")
    parser.add_argument("--plot", type=Path, help="write the figure of ellipses here")
    add_option(parser, "resolution_tobyfit")
    arguments = parser.parse_args()
    folder = arguments.tables
    documented = Sample("cuboid", 0.010, 0.050, 0.010)  # 50 mm vertical
    made = [
        report("read back", folder, resolution),
        report("as labelled", folder, lambda s: resolution(s, as_labelled=True)),
        report(
            "as labelled, sample 10 x 50 x 10 mm", folder, lambda s: resolution(s, as_labelled=True, sample=documented)
        ),
        report(
            "as labelled, ResINS' moderator pulse",
            folder,
            lambda s: resolution(s, as_labelled=True, time_model="pychop"),
        ),
    ]
    if arguments.identify:
        made.append(identify(folder))
    for each in made:
        print(f"\n{each['name']}\n{table_text(each)}")
    write_results(arguments.results, COMMAND, CONDITIONS, made)
    if arguments.plot:
        plot(folder, arguments.plot)


if __name__ == "__main__":
    main()
