"""The two images that SpinW and Tobyfit made of half-doped manganites, made again with this package.

    OMP_NUM_THREADS=1 python benchmarks/tobyfit_images.py [--points 200] [--plot docs/images/tobyfit_images.png]

Each image is a mosaic of 6 incident energies (rows) by 10 energy transfers (columns) of 40 x 40 maps in (h, k) with the
couplings fitted to one measurement, computed with 5 Tobyfit points for each detector element and energy channel. Ours:
the zoo's spin waves of those couplings put together as the program behind the images does it (`ImageSpins`), MAPS
before its guide, chopper S, c* along the beam, a cuboid of 10 x 50 x 10 mm, Monte Carlo integrated over every pixel and
energy bin. One factor scales a whole image. Printed is Pearson's correlation over the pixels of every tile that the
detector mask leaves; over those of them that touch no masked one ("inner"); and of images folded on their mirrors,
whose noise is half. In brackets is the ceiling that the noise of their image sets: the cross-section has the mirrors
h to -h and k to -k, so their image and its mirror have a correlation r that noise alone keeps below 1, and an image
without noise can have sqrt(r) with theirs, or sqrt(4 r / (1 + 3 r)) if folded.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mantid_insgan.convolve import convolve
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
#: The l of the images over the crystal's: as if their data were indexed with a c of 5.38 Angstrom like a and b.
L_SCALE = 5.38 / LATTICE.c
#: l after which the two layers of a bilayer, 0.2 c apart, scatter with the same phase again.
PERIOD = 5.0
#: Distance of the nodes of `ImageSpins` (r.l.u.) and how many reach beyond the images and their resolution.
STEP, NODES = 0.005, 256
#: Mirror correlation below which a tile shows nothing but noise.
SILENT = 0.1


@dataclass(frozen=True)
class Options:
    """What is varied: points a bin, threads, l of the images over the crystal's, twins as in the images."""

    points: int = 200
    workers: int = 1
    l_scale: float = L_SCALE
    like_images: bool = True


class ImageSpins:
    """The spin waves of one image, from a table in the (h, k) plane.

    The bilayers of the model do not couple: energies do not depend on l, and intensities only by polarisation, form
    factor and the phase between the two layers. So a table of S_xx and S_zz (moments lie along y) for layers in phase
    and in antiphase gives them at any l. Momenta count as those of the nearest node. The images have two peculiarities:
    their l is `l_scale` of the crystal's, and the matrix that takes their second twin to the first,
    ((0, 1, 0), (1, 0, 0), (0, 0, 0)), loses what points along z. So that twin is seen at l = 0 and without S_zz.

    Parameters
    ----------
    model : SpinWModel
        Of one twin, with mirrors h to -h and k to -k.
    l_scale : float
    like_images : bool
        Second twin as in the images; otherwise a and b are exchanged and nothing else.
    step : float
        Distance of nodes, r.l.u.
    nodes : int
        Along h and along k, from 0 up.
    """

    lattice = LATTICE

    def __init__(self, model: SpinWModel, *, l_scale=L_SCALE, like_images=True, step=STEP, nodes=NODES):
        self.model, self.l_scale, self.like_images, self.step, self.nodes = model, l_scale, like_images, step, nodes
        along = (np.arange(nodes) + 0.5) * step
        plane = np.stack(np.meshgrid(along, along, indexing="ij"), axis=-1).reshape(-1, 2)
        self.energies, self.in_phase = self._correlations(plane, (0.0, PERIOD))
        _, self.antiphase = self._correlations(plane, (0.5 * PERIOD, 1.5 * PERIOD))

    def modes(self, q_rlu: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies (meV) and intensities (mbarn/sr) of both twins at (h, k, l), each (N, modes)."""
        q = q_rlu * [1, 1, self.l_scale]
        ratio = self.lattice.a / self.lattice.b
        first = self._node(q[:, 0], q[:, 1])
        second = self._node(q[:, 1] * ratio, q[:, 0] / ratio)
        across = self._across(q)
        flat = q * [1, 1, 0] if self.like_images else q
        zz = across[:, 2] * (not self.like_images)
        intensities = [
            self._intensities(first, q, across[:, 0], across[:, 2]),
            self._intensities(second, flat, across[:, 1], zz),
        ]
        return np.hstack([self.energies[first], self.energies[second]]), np.hstack(intensities)

    def _correlations(self, plane: np.ndarray, heights: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
        """Energies (N, M) and S_xx, S_zz (N, 2, M), from the intensities at two l that have the same phase."""
        weights, seen = [], []
        for height in heights:
            q = np.column_stack([plane, np.full(len(plane), height)])
            energies, intensities = self.model.modes(q)
            weights.append(self._across(q)[:, [0, 2]])
            seen.append(intensities / self._form_factor(q)[:, None])
        return energies, np.linalg.solve(np.stack(weights, axis=1), np.stack(seen, axis=1))

    def _node(self, h: np.ndarray, k: np.ndarray) -> np.ndarray:
        i, j = (np.minimum((np.abs(x) / self.step).astype(int), self.nodes - 1) for x in (h, k))
        return i * self.nodes + j

    def _intensities(self, node, q, xx, zz) -> np.ndarray:
        phase = 0.5 * (1 + np.cos(2 * np.pi * q[:, 2] / PERIOD))
        form = self._form_factor(q)
        weights = np.stack([xx, zz], axis=1) * form[:, None]
        together = np.einsum("ni,nim->nm", weights * phase[:, None], self.in_phase[node])
        return together + np.einsum("ni,nim->nm", weights * (1 - phase)[:, None], self.antiphase[node])

    def _across(self, q: np.ndarray) -> np.ndarray:
        """1 - (Q_i / Q)^2 along x, y and z, shape (N, 3)."""
        cartesian = q @ np.diag(1 / np.array([self.lattice.a, self.lattice.b, self.lattice.c]))
        squares = cartesian**2
        return 1 - squares / np.maximum(squares.sum(axis=1, keepdims=True), 1e-12)

    def _form_factor(self, q: np.ndarray) -> np.ndarray:
        return self.model.form_factor(self.model.q_modulus(q)) ** 2


def one_twin(name: str) -> SpinWModel:
    """The zoo's model with the couplings of an image, at T = 0 as theirs."""
    family = get_family(f"pcsmo_{name}")
    single = [(np.eye(3), 1.0)]
    return family.model(COUPLINGS[name], lattice=LATTICE, ion="Mn3+/Mn4+", temperature=0.0, domains=single)


def axes(ei: float, l_scale: float) -> tuple[Axis, ...]:
    """The bins of one row of tiles; the cut from -10 to 10 is in the images' l."""
    half = 1 + 1 / 39
    reach = 10 / l_scale
    across = np.linspace(-half, half, PIXELS + 1)
    return (
        Axis("[H,0,0]", across, "r.l.u.", frame="HKL"),
        Axis("[0,K,0]", across, "r.l.u.", frame="HKL"),
        Axis("[0,0,L]", [-reach, reach], "r.l.u.", frame="HKL"),
        Axis("DeltaE", np.linspace(0.1 * ei, 0.7 * ei, SLICES + 1), "meV"),
    )


def row(model, ei: float, frequency: float, options: Options) -> np.ndarray:
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
    made = convolve(
        model,
        axes(ei, options.l_scale),
        resolution,
        method="montecarlo",
        points=options.points,
        workers=options.workers,
    )
    tiles = made.signal[::-1, :, 0]  # h descends
    return np.concatenate(list(np.moveaxis(tiles, -1, 0)), axis=1)


def image(name: str, options: Options) -> np.ndarray:
    """The whole mosaic, shape (240, 400); NaN where no neutron comes."""
    start = time.process_time()
    model = ImageSpins(one_twin(name), l_scale=options.l_scale, like_images=options.like_images)
    print(f"{name}, spin waves at {4 * NODES**2} momenta: {time.process_time() - start:.0f} s", flush=True)
    rows = []
    for ei, frequency in SETTINGS:
        start = time.process_time()
        rows.append(row(model, ei, frequency, options))
        print(f"{name}, Ei {ei} meV: {time.process_time() - start:.0f} s", flush=True)
    return np.concatenate(rows)


def tiles(mosaic: np.ndarray) -> np.ndarray:
    """A mosaic as tiles, shape (6, 10, 40, 40)."""
    return mosaic.reshape(len(SETTINGS), PIXELS, SLICES, PIXELS).swapaxes(1, 2)


def folded(mosaic: np.ndarray) -> np.ndarray:
    """Tiles averaged over the mirrors of h and of k, each mean over the pixels that are not NaN."""
    mirrors = [mosaic, mosaic[..., ::-1, :], mosaic[..., ::-1], mosaic[..., ::-1, ::-1]]
    count = sum(np.isfinite(m).astype(int) for m in mirrors)
    total = sum(np.nan_to_num(m) for m in mirrors)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def inner(mosaic: np.ndarray) -> np.ndarray:
    """Tiles without the pixels that touch a NaN: beside a gap of the detectors, few elements fill a pixel."""
    from scipy.ndimage import binary_dilation

    touched = binary_dilation(np.isnan(mosaic), np.ones((1, 1, 3, 3)))
    return np.where(touched, np.nan, mosaic)


def correlations(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Pearson's correlation of each tile over the pixels that are NaN in neither; NaN for tiles of one value."""
    out = np.full(ours.shape[:2], np.nan)
    for n in np.ndindex(out.shape):
        seen = np.isfinite(ours[n]) & np.isfinite(theirs[n])
        a, b = ours[n][seen], theirs[n][seen]
        if a.size > 20 and a.std() > 0 and b.std() > 0:
            out[n] = np.corrcoef(a, b)[0, 1]
    return out


def scale(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The one factor from ours to theirs, by least squares."""
    seen = np.isfinite(ours) & np.isfinite(theirs)
    return float((ours[seen] * theirs[seen]).sum() / (ours[seen] ** 2).sum())


def read(folder: Path) -> dict[str, np.ndarray]:
    """Their images, NaN where the detector mask is."""
    from scipy.io import loadmat

    mask = np.flipud(loadmat(folder / "nanmask.mat")["nan_mask"]).astype(bool)
    images = {name: np.load(folder / f"simulated_fitpars_{name}.npy")[0] for name in COUPLINGS}
    return {name: np.where(mask, np.nan, values) for name, values in images.items()}


def plot(pairs: dict[str, tuple[np.ndarray, np.ndarray]], path: Path) -> None:
    """Theirs above ours, for both models."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, grid = plt.subplots(2, len(pairs), figsize=(7 * len(pairs), 8.4), constrained_layout=True, squeeze=False)
    for column, (name, (ours, theirs)) in zip(grid.T, pairs.items(), strict=True):
        ours = np.where(np.isfinite(theirs), ours * scale(ours, theirs), np.nan)
        top = np.nanpercentile(theirs[theirs > 0], 99)
        for ax, (title, values) in zip(column, (("SpinW and Tobyfit", theirs), ("this package", ours)), strict=True):
            picture = ax.imshow(values, vmin=0, vmax=top, cmap="viridis")
            ax.set_title(f"{name}: {title}")
            ax.set_yticks(PIXELS * (np.arange(len(SETTINGS)) + 0.5), [f"Ei {ei}" for ei, _ in SETTINGS])
            ax.set_xticks(PIXELS * (np.arange(SLICES) + 0.5), [f"{0.13 + 0.06 * i:.2f}" for i in range(SLICES)])
            ax.set_xlabel("energy transfer / Ei")
        figure.colorbar(picture, ax=list(column), shrink=0.6, label="intensity (scale of the Tobyfit image)")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    print(f"wrote {path}")


@dataclass(frozen=True)
class Score:
    """Correlations of one image's tiles, shape (6, 10), and their ceilings; NaN for tiles that show only noise."""

    raw: np.ndarray
    ceiling: np.ndarray
    folded: np.ndarray
    folded_ceiling: np.ndarray

    @classmethod
    def of(cls, ours: np.ndarray, theirs: np.ndarray) -> Score:
        """Of two sets of tiles, compared where neither is NaN."""
        mirror = correlations(theirs, theirs[..., ::-1, :])
        mirror = np.where(mirror > SILENT, mirror, np.nan)
        heard = 0 * mirror
        return cls(
            correlations(ours, theirs) + heard,
            np.sqrt(mirror),
            correlations(folded(ours), folded(theirs)) + heard,
            np.sqrt(4 * mirror / (1 + 3 * mirror)),
        )

    def summary(self) -> str:
        """Means over the tiles."""
        return (
            f"{np.isfinite(self.raw).sum()} tiles: mean correlation {np.nanmean(self.raw):.3f} (ceiling "
            f"{np.nanmean(self.ceiling):.3f}, mean ratio {np.nanmean(self.raw / self.ceiling):.3f}); folded "
            f"{np.nanmean(self.folded):.3f} (ceiling {np.nanmean(self.folded_ceiling):.3f}, mean ratio "
            f"{np.nanmean(self.folded / self.folded_ceiling):.3f})"
        )


def report(name: str, ours: np.ndarray, theirs: np.ndarray, other: np.ndarray) -> None:
    """Print the correlations of one model and their ceilings."""
    print(f"\n{name}: one scale {scale(ours, theirs):.4g}")
    ours, theirs, other = tiles(ours), tiles(theirs), tiles(other)
    full, inside = Score.of(ours, theirs), Score.of(ours, inner(theirs))
    print(f"- all pixels, {full.summary()}")
    print(f"- pixels that touch no masked one, {inside.summary()}")
    print(f"- the same with the other model's image, {Score.of(ours, inner(other)).summary()}\n")
    print(
        "| Ei (meV) | " + " | ".join(f"{0.13 + 0.06 * i:.2f} Ei" for i in range(SLICES)) + " | mean | inner | folded |"
    )
    print("|---|" + "---|" * (SLICES + 3))
    for n, (ei, _) in enumerate(SETTINGS):
        cells = [_pair(*pair) for pair in zip(full.raw[n], full.ceiling[n], strict=True)]
        columns = ((full.raw, full.ceiling), (inside.raw, inside.ceiling), (inside.folded, inside.folded_ceiling))
        means = [_pair(np.nanmean(a[n]), np.nanmean(b[n])) for a, b in columns]
        print(f"| {ei} | " + " | ".join(cells + means) + " |")


def _pair(value: float, ceiling: float) -> str:
    return "" if np.isnan(value) else f"{value:.2f} ({ceiling:.2f})"


def main() -> None:
    """Print the table; draw the figure if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, default=IMAGES, help="folder of simulated_fitpars_*.npy")
    parser.add_argument("--points", type=int, default=200, help="Monte Carlo points a bin (default 200)")
    parser.add_argument("--workers", type=int, default=1, help="threads (default 1)")
    parser.add_argument("--l-scale", type=float, default=L_SCALE, help="l of the images over the crystal's (0.279)")
    parser.add_argument("--plain-twins", action="store_true", help="second twin whole and at its own l")
    parser.add_argument("--plot", type=Path, help="write the figure here")
    arguments = parser.parse_args()
    options = Options(arguments.points, arguments.workers, arguments.l_scale, not arguments.plain_twins)
    theirs = read(arguments.images)
    ours = {name: image(name, options) for name in COUPLINGS}
    for name, mosaic in ours.items():
        report(name, mosaic, theirs[name], theirs[next(n for n in COUPLINGS if n != name)])
    if arguments.plot:
        plot({name: (ours[name], theirs[name]) for name in ours}, arguments.plot)


if __name__ == "__main__":
    main()
