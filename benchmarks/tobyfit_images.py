"""The two images that SpinW and Tobyfit made of half-doped manganites, made again with this package.

    OMP_NUM_THREADS=1 python benchmarks/tobyfit_images.py [--points 20] [--plot docs/images/tobyfit_images.png]

Each image is a mosaic of 6 incident energies (rows) by 10 energy transfers (columns) of 40 x 40 maps in (h, k) with the
couplings fitted to one measurement, computed with 5 Tobyfit points a pixel. Ours: the zoo's models of those couplings,
MAPS before its guide, chopper S, c* along the beam, a cuboid of 10 x 50 x 10 mm, Monte Carlo on interpolated modes,
integrated over every pixel and energy bin. One factor scales a whole image. Printed are Pearson's correlations of the
pixels of every tile that both images have, as they are and after a Gaussian of one pixel on both; of ours with the
other model's image; and of their image with its own mirror in h, equal by the crystal's symmetry but for its noise.
"""

from __future__ import annotations

import argparse
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mantid_insgan.convolve import GridAccuracyWarning, convolve, ideal
from mantid_insgan.resolution import Orientation, Resolution, Sample
from mantid_insgan.spectrum import Axis, Lattice
from mantid_insgan.spinw import SpinWModel
from mantid_insgan.spinw.zoo import get_family

IMAGES = Path(__file__).resolve().parents[1] / ".." / "shared" / "data" / "pcsmo-maps"
COUPLINGS = {
    "goodenough": {"JF1": -11.39, "JA": 1.50, "JF2": -1.35, "JF3": 1.50, "Jperp": 0.88, "D": 0.074},
    "dimer": {"JFW": -8.43, "JA1": 1.52, "JA2": 1.52, "JFS": -14.2, "Jperp": 0.92, "D": 0.073},
}
LATTICE = Lattice(5.408, 5.4599, 19.266)
SETTINGS = ((25, 300), (35, 200), (50, 200), (70, 250), (100, 300), (140, 400))  # Ei (meV), chopper (Hz)
PIXELS, SLICES = 40, 10
#: Of the second twin: its share beside 1 of the first, and the incident energy from which the images show it at l = 0.
TWIN_SHARE, FLAT_TWIN_FROM = 0.3, 50


@dataclass(frozen=True)
class Options:
    """What is varied: points a node, threads, intrinsic width (meV), twins as in the images, resolution."""

    points: int = 20
    workers: int = 1
    fwhm: float | None = None
    like_images: bool = True
    tolerance: float = 0.1
    resolution: bool = True


def spins(name: str, ei: float, *, like_images: bool) -> SpinWModel:
    """The model of one image at one incident energy."""
    swap = np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, 1]])
    domains = [(np.eye(3), 0.5), (swap, 0.5)]
    if like_images and ei >= FLAT_TWIN_FROM:
        domains = [(np.eye(3), 1.0), (swap * [1, 1, 0], TWIN_SHARE)]
    family = get_family(f"pcsmo_{name}")
    model = family.model(COUPLINGS[name], lattice=LATTICE, ion="Mn3+/Mn4+", temperature=5.0)
    # Fractions are normalised to 1: the scale restores the first twin's.
    return SpinWModel(
        model.hamiltonian,
        LATTICE,
        ion=model.ion,
        cell=model.cell,
        temperature=5.0,
        domains=domains,
        scale=sum(share for _, share in domains),
        check=False,
    )


def axes(ei: float) -> tuple[Axis, ...]:
    """The bins of one row of tiles."""
    half = 1 + 1 / 39
    across = np.linspace(-half, half, PIXELS + 1)
    return (
        Axis("[H,0,0]", across, "r.l.u.", frame="HKL"),
        Axis("[0,K,0]", across, "r.l.u.", frame="HKL"),
        Axis("[0,0,L]", [-10, 10], "r.l.u.", frame="HKL"),
        Axis("DeltaE", np.linspace(0.1 * ei, 0.7 * ei, SLICES + 1), "meV"),
    )


def row(name: str, ei: float, frequency: float, options: Options) -> np.ndarray:
    """Ten tiles side by side, shape (40, 400)."""
    resolution = Resolution(
        "MAPS-2000",
        ei,
        "S",
        frequency,
        sample=Sample("cuboid", width=0.010, height=0.050, thickness=0.010),
        lattice=LATTICE,
        orientation=Orientation(u=(0, 0, 1), v=(1, 0, 0)),
    )
    model = spins(name, ei, like_images=options.like_images)
    common = {"points": options.points, "fwhm": options.fwhm, "workers": options.workers}
    if options.resolution:
        made = convolve(model, axes(ei), resolution, method="interpolated", tolerance=options.tolerance, **common)
    else:
        made = ideal(model, axes(ei), resolution, **common)
    tiles = made.signal[::-1, :, 0]  # h descends
    return np.concatenate(list(np.moveaxis(tiles, -1, 0)), axis=1)


def image(name: str, options: Options) -> np.ndarray:
    """The whole mosaic, shape (240, 400); NaN where no neutron comes."""
    rows = []
    for ei, frequency in SETTINGS:
        start = time.process_time()
        rows.append(row(name, ei, frequency, options))
        print(f"{name}, Ei {ei} meV: {time.process_time() - start:.0f} s", flush=True)
    return np.concatenate(rows)


def correlations(ours: np.ndarray, theirs: np.ndarray, *, smooth: float = 0.0) -> np.ndarray:
    """Pearson's correlation of each tile, shape (6, 10), after a Gaussian of `smooth` pixels on both."""
    out = np.full((len(SETTINGS), SLICES), np.nan)
    for n in np.ndindex(out.shape):
        window = tuple(slice(PIXELS * i, PIXELS * (i + 1)) for i in n)
        a, b = ours[window], theirs[window]
        seen = np.isfinite(a) & np.isfinite(b) & (b > 0)
        if seen.sum() > 20:
            out[n] = np.corrcoef(*(_smoothed(values, seen, smooth)[seen] for values in (a, b)))[0, 1]
    return out


def _smoothed(values: np.ndarray, seen: np.ndarray, sigma: float) -> np.ndarray:
    """A Gaussian over the pixels that are seen; nothing where sigma is 0."""
    from scipy.ndimage import gaussian_filter

    if not sigma:
        return values
    share = gaussian_filter(seen.astype(float), sigma)
    return gaussian_filter(np.where(seen, values, 0.0), sigma) / np.maximum(share, 1e-9)


def mirrored(image: np.ndarray) -> np.ndarray:
    """Every tile upside down: h to -h."""
    return np.concatenate([tiles[::-1] for tiles in np.split(image, len(SETTINGS))])


def scale(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The one factor from ours to theirs, by least squares."""
    seen = np.isfinite(ours) & (theirs > 0)
    return float((ours[seen] * theirs[seen]).sum() / (ours[seen] ** 2).sum())


def plot(pairs: dict[str, tuple[np.ndarray, np.ndarray]], path: Path) -> None:
    """Theirs above ours, for both models."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, grid = plt.subplots(2, len(pairs), figsize=(7 * len(pairs), 8.4), constrained_layout=True, squeeze=False)
    for column, (name, (ours, theirs)) in zip(grid.T, pairs.items(), strict=True):
        ours = ours * scale(ours, theirs)
        top = np.percentile(theirs[theirs > 0], 99)
        shown = (("SpinW and Tobyfit", np.where(theirs > 0, theirs, np.nan)), ("this package", ours))
        for ax, (title, values) in zip(column, shown, strict=True):
            picture = ax.imshow(np.where(theirs > 0, values, np.nan), vmin=0, vmax=top, cmap="viridis")
            ax.set_title(f"{name}: {title}")
            ax.set_yticks(PIXELS * (np.arange(len(SETTINGS)) + 0.5), [f"Ei {ei}" for ei, _ in SETTINGS])
            ax.set_xticks(PIXELS * (np.arange(SLICES) + 0.5), [f"{0.13 + 0.06 * i:.2f}" for i in range(SLICES)])
            ax.set_xlabel("energy transfer / Ei")
        figure.colorbar(picture, ax=list(column), shrink=0.6, label="intensity (scale of the Tobyfit image)")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    print(f"wrote {path}")


def report(name: str, ours: np.ndarray, theirs: np.ndarray, other: np.ndarray) -> None:
    """Print the correlations of one model."""
    found, smooth = correlations(ours, theirs), correlations(ours, theirs, smooth=1.0)
    mirror, wrong = correlations(mirrored(theirs), theirs), correlations(ours, other, smooth=1.0)
    print(
        f"\n{name}: one scale {scale(ours, theirs):.4g}; mean correlation {np.nanmean(found):.3f} "
        f"({np.mean(found[np.isfinite(found)] > 0.9):.0%} of tiles above 0.9), after a Gaussian of one pixel "
        f"{np.nanmean(smooth):.3f} ({np.mean(smooth[np.isfinite(smooth)] > 0.9):.0%}), with the other model's image "
        f"{np.nanmean(wrong):.3f}; their image with its mirror {np.nanmean(mirror):.3f}"
    )
    print("| Ei (meV) | " + " | ".join(f"{0.13 + 0.06 * i:.2f} Ei" for i in range(SLICES)) + " | mean | raw mean |")
    print("|---|" + "---|" * (SLICES + 2))
    for (ei, _), line, raw in zip(SETTINGS, smooth, found, strict=True):
        cells = ["" if np.isnan(v) else f"{v:.2f}" for v in line]
        print(f"| {ei} | " + " | ".join(cells) + f" | {np.nanmean(line):.3f} | {np.nanmean(raw):.3f} |")


def main() -> None:
    """Print the table; draw the figure if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, default=IMAGES, help="folder of simulated_fitpars_*.npy")
    parser.add_argument("--points", type=int, default=20, help="Monte Carlo points (default 20)")
    parser.add_argument("--workers", type=int, default=1, help="threads (default 1)")
    parser.add_argument("--fwhm", type=float, help="intrinsic width, meV")
    parser.add_argument("--plain-twins", action="store_true", help="equal twins at their own l")
    parser.add_argument("--ideal", action="store_true", help="bins alone, no resolution")
    parser.add_argument("--plot", type=Path, help="write the figure here")
    arguments = parser.parse_args()
    warnings.simplefilter("always", GridAccuracyWarning)
    options = Options(
        points=arguments.points,
        workers=arguments.workers,
        fwhm=arguments.fwhm,
        like_images=not arguments.plain_twins,
        resolution=not arguments.ideal,
    )
    theirs = {name: np.load(arguments.images / f"simulated_fitpars_{name}.npy")[0] for name in COUPLINGS}
    ours = {name: image(name, options) for name in COUPLINGS}
    for name, mosaic in ours.items():
        report(name, mosaic, theirs[name], theirs[next(n for n in COUPLINGS if n != name)])
    if arguments.plot:
        plot({name: (ours[name], theirs[name]) for name in ours}, arguments.plot)


if __name__ == "__main__":
    main()
