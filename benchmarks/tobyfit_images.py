"""The two images that SpinW and Tobyfit made of half-doped manganites, made again with this package.

    OMP_NUM_THREADS=1 python benchmarks/tobyfit_images.py [--points 1] [--plot docs/images/tobyfit_images.png]

Each image is a mosaic of 6 incident energies (rows) by 10 energy transfers (columns) of 40 x 40 maps in (h, k) with the
couplings fitted to one measurement. Ours are made as theirs were: the elements of MAPS' detectors see the zoo's spin
waves (`ImageSpins`) through this package's resolution (MAPS before its guide, chopper S, c* along the beam, a cuboid of
10 x 50 x 10 mm), and every element counts in the pixel where its centre lies. One factor scales a whole image.

Printed is Pearson's correlation over the pixels of every tile that the detector mask leaves, over those of them that
touch no masked one ("inner"), and of images folded on their mirrors. In brackets is the ceiling that the noise of their
image sets: 5 points for each element and energy bin that see modes as Gaussians of 0.1 meV (`ceilings`).
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pages import table_text
from results import add_option, column, table, write_results

from mantid_insgan.core.constants import FWHM_PER_SIGMA, HBAR2_OVER_2M
from mantid_insgan.core.spectrum import Axis, Spectrum
from mantid_insgan.instruments.covariance import DEVIATIONS
from mantid_insgan.instruments.montecarlo import unit_draws
from mantid_insgan.learn.mosaic import HALF, LATTICE, PIXELS, SETTINGS, SLICES, resolution_of, tiles
from mantid_insgan.models.spinw import SpinWModel
from mantid_insgan.models.spinw.zoo import get_family

IMAGES = Path(__file__).resolve().parents[1] / ".." / "shared" / "data" / "pcsmo-maps"
COUPLINGS = {
    "goodenough": {"JF1": -11.39, "JA": 1.50, "JF2": -1.35, "JF3": 1.50, "Jperp": 0.88, "D": 0.074},
    "dimer": {"JFW": -8.43, "JA1": 1.52, "JA2": 1.52, "JFS": -14.2, "Jperp": 0.92, "D": 0.073},
}
#: Points for each element and slice: where few elements fill a pixel, each gets more.
POINTS = (3, 3, 3, 4, 6, 8)
#: The l of the images over the crystal's: as if their data were indexed with a c of 5.38 Angstrom like a and b.
L_SCALE = 5.38 / LATTICE.c
#: l after which the two layers of a bilayer, 0.2 c apart, scatter with the same phase again.
PERIOD = 5.0
#: Cells of the published interpolation along h and k between -1 and 1, and cells enough to see none of it.
CELLS, FINE_CELLS = (59, 58), (199, 198)
#: Points, energy bins a slice and line width (FWHM, meV) of theirs, for the noise.
THEIR_POINTS, THEIR_BINS, THEIR_FWHM = 5, 6, 0.1
#: Ceiling below which a tile is not scored: noise makes more than three quarters of its variance.
SILENT = 0.5


COMMAND = "OMP_NUM_THREADS=1 python benchmarks/tobyfit_images.py --plot docs/images/tobyfit_images.png"
CONDITIONS = (
    "Both images of SpinW and Tobyfit (half-doped manganites), 6 incident energies by 10 energy transfers; random "
    "numbers seeded by tile. Pearson's correlation, in brackets its ceiling."
)
#: Of the tables of all tiles, of their means, and of what the noise does.
TILES = ("Ei (meV)", *(f"{0.13 + 0.06 * i:.2f} Ei" for i in range(SLICES)), "mean", "inner", "folded")
MEANS = ("mean correlation", "ceiling", "mean ratio", "folded", "folded, ceiling", "folded, mean ratio")
MIRRORS = {
    "": "{}",
    "one scale": "{:.4g}",
    "their image and its mirror in h": "{:.3f}",
    "expected from the noise": "{:.3f}",
}


@dataclass(frozen=True)
class Options:
    """What is varied: points (a factor), l of the images over the crystal's, spin waves as in the images."""

    points: float = 1.0
    l_scale: float = L_SCALE
    like_images: bool = True


class ImageSpins:
    """The spin waves of one image, linear between nodes in the (h, k) plane.

    The bilayers of the model do not couple: energies do not depend on l, and intensities only by polarisation, form
    factor and the phase between the two layers. So a table of S_xx and S_zz (moments lie along y) for layers in phase
    and in antiphase gives them at any l. The images have these peculiarities, all from the published program:

    - energies and S_xx, S_zz are interpolated linearly, modes in the order of their energies, between nodes 0.034
      r.l.u. apart (brille's trellis of at most 1e-6 per cubic Angstrom a node);
    - h and k, divided by 4 to find the place in that trellis (its Qtrans), stay so for polarisation and form factor;
    - l is `l_scale` of the crystal's;
    - the matrix that takes the second twin to the first, ((0, 1, 0), (1, 0, 0), (0, 0, 0)), loses what points along z.
      So that twin is seen at l = 0 and without S_zz.

    Parameters
    ----------
    model : SpinWModel
        Of one twin, with the period 2 in h and in k.
    l_scale : float
    like_images : bool
        With the second and fourth peculiarity; otherwise Q is whole, and a and b are exchanged and nothing else.
    cells : tuple of int
        Between -1 and 1 along h and along k; one of them odd, so that no node lies at h = k = 0.
    """

    lattice = LATTICE

    def __init__(self, model: SpinWModel, *, l_scale=L_SCALE, like_images=True, cells=CELLS):
        self.model, self.l_scale, self.like_images, self.cells = model, l_scale, like_images, np.array(cells)
        along = [np.linspace(-1, 1, n + 1) for n in cells]
        plane = np.stack(np.meshgrid(*along, indexing="ij"), axis=-1).reshape(-1, 2)
        self.energies, self.in_phase = self._correlations(plane, (0.0, PERIOD))
        _, self.antiphase = self._correlations(plane, (0.5 * PERIOD, 1.5 * PERIOD))

    def modes(self, q_rlu: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies (meV) and intensities (mbarn/sr) of both twins at (h, k, l), each (N, modes)."""
        q = q_rlu * [1, 1, self.l_scale]
        ratio = self.lattice.a / self.lattice.b
        across = self._across(q)
        first = self._at(q[:, 0], q[:, 1], q, across[:, [0, 2]])
        flat = q * [1, 1, 0] if self.like_images else q
        weights = across[:, [1, 2]] * [1, not self.like_images]
        second = self._at(q[:, 1] * ratio, q[:, 0] / ratio, flat, weights)
        return tuple(np.hstack(pair) for pair in zip(first, second, strict=True))

    def _correlations(self, plane: np.ndarray, heights: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
        """Energies (N, M) and S_xx, S_zz (N, 2, M), from the intensities at two l that have the same phase."""
        weights, seen = [], []
        for height in heights:
            q = np.column_stack([plane, np.full(len(plane), height)])
            energies, intensities = self.model.modes(q)
            weights.append(self._across(q, 1.0)[:, [0, 2]])
            seen.append(intensities / self._form_factor(q, 1.0)[:, None])
        return energies, np.linalg.solve(np.stack(weights, axis=1), np.stack(seen, axis=1))

    def _at(self, h, k, q, across) -> tuple[np.ndarray, np.ndarray]:
        """Energies and intensities (N, M) of one twin at its (h, k), seen from q with `across` (N, 2) of xx and zz."""
        phase = 0.5 * (1 + np.cos(2 * np.pi * q[:, 2] / PERIOD))
        weights = across * self._form_factor(q)[:, None]
        together, against = weights * phase[:, None], weights * (1 - phase)[:, None]
        energies, intensities = 0.0, 0.0
        for node, share in self._corners(h, k):
            energies = energies + share[:, None] * self.energies[node]
            seen = np.einsum("ni,nim->nm", together, self.in_phase[node])
            seen += np.einsum("ni,nim->nm", against, self.antiphase[node])
            intensities = intensities + share[:, None] * seen
        return energies, intensities

    def _corners(self, h: np.ndarray, k: np.ndarray):
        """The four nodes around (h, k) and the share of each."""
        place = (np.stack([h, k], axis=1) + 1) % 2 / 2 * self.cells
        cell = np.minimum(place.astype(int), self.cells - 1)
        part = place - cell
        for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
            node = (cell[:, 0] + i) * (self.cells[1] + 1) + cell[:, 1] + j
            yield node, np.abs(1 - i - part[:, 0]) * np.abs(1 - j - part[:, 1])

    def _seen(self, q: np.ndarray, plane: float | None) -> np.ndarray:
        """(h, k, l) as polarisation and form factor take it."""
        plane = (0.25 if self.like_images else 1.0) if plane is None else plane
        return q * [plane, plane, 1]

    def _across(self, q: np.ndarray, plane: float | None = None) -> np.ndarray:
        """1 - (Q_i / Q)^2 along x, y and z, shape (N, 3)."""
        squares = (self._seen(q, plane) / [self.lattice.a, self.lattice.b, self.lattice.c]) ** 2
        return 1 - squares / np.maximum(squares.sum(axis=1, keepdims=True), 1e-12)

    def _form_factor(self, q: np.ndarray, plane: float | None = None) -> np.ndarray:
        return self.model.form_factor(self.model.q_modulus(self._seen(q, plane))) ** 2


def one_twin(name: str) -> SpinWModel:
    """The zoo's model with the couplings of an image, at T = 0 as theirs."""
    family = get_family(f"pcsmo_{name}")
    single = [(np.eye(3), 1.0)]
    return family.model(COUPLINGS[name], lattice=LATTICE, ion="Mn3+/Mn4+", temperature=0.0, domains=single)


def _turned(vectors: np.ndarray, axis: int, degrees: float) -> np.ndarray:
    """Vectors (N, 3) turned about x, y or z."""
    from scipy.spatial.transform import Rotation

    return Rotation.from_euler("xyz"[axis], degrees, degrees=True).apply(vectors)


def _tubes(packs: tuple[tuple[float, int], ...], length: float, offset: float = 0.0) -> np.ndarray:
    """Elements (N, 3) of horizontal tubes 6 m away, 0.2626 degrees apart upwards: packs of (first angle, tubes)."""
    angles = np.radians(np.concatenate([first + 0.2626 * np.arange(count) for first, count in packs]))
    along = offset + length * ((np.arange(64) + 0.5) / 64 - 0.5)  # 256 pixels, added four by four
    up = 6.0 * np.stack([np.sin(angles), np.cos(angles)], axis=1)
    return np.column_stack([np.tile(along, len(angles)), np.repeat(up, 64, axis=0)])


def elements() -> np.ndarray:
    """Directions from the sample to the detector elements of MAPS up to 40 degrees, shape (N, 3); z along the beam.

    From the published instrument definition (Mantid's MAPS_Definition.xml, and map_4to1_dec09.par of Horace's tests for
    the sums of four pixels). Windows: A left and right and C right of the beam, vertical tubes; B, D and E above and
    below, horizontal ones.
    """
    a = _tubes(tuple((first, 8) for first in (3, 5.1008, 7.2016, 9.3024, 11.6658, 13.7666, 15.8674, 17.9682)), 1.076)
    b = _tubes(((6.1512, 8), (8.252, 10), (10.878, 8), (13.2414, 8), (15.3422, 10), (17.9682, 8)), 1.076)
    c = _tubes(((21.1194, 8), (23.2202, 10), (25.8462, 8), (27.947, 8)), 1.076)
    c2 = _tubes(((31.0982, 8), (33.199, 10), (35.825, 8), (37.9258, 8)), 1.076)
    e = _tubes(((3.0, 8),), 0.446)
    down = np.array([1, -1, 1])
    parts = [b, b * down, e, e * down]
    parts += [_turned(tubes, 2, -90) for tubes in (a, a * down, c * down, c2 * down)]
    packs = tuple((first, 8) for first in (6.1512, 8.252, 10.3528, 12.7162, 14.817, 16.9178))
    for side in (1, -1):
        d = _turned(_tubes(packs, 1.437, 0.0412 * side), 1, 12.655 * side)
        parts += [d, d * down]
    parts = np.concatenate(parts)
    return parts / np.linalg.norm(parts, axis=1, keepdims=True)


def momenta(directions: np.ndarray, ei: float, energy: np.ndarray) -> np.ndarray:
    """(h, k) at which elements record energy transfers (meV), shape (N, 2); c* lies along the beam and k up."""
    kf = np.sqrt((ei - energy) / HBAR2_OVER_2M)
    across = kf[:, None] * directions[:, :2] * [1, -1]
    return across * [LATTICE.a, LATTICE.b] / (2 * np.pi)


def pixels(plane: np.ndarray) -> np.ndarray:
    """Which pixel of a tile (h descends) holds (h, k); -1 if none does."""
    i, j = np.floor((plane + HALF) * PIXELS / (2 * HALF)).astype(int).T
    inside = (i >= 0) & (i < PIXELS) & (j >= 0) & (j < PIXELS)
    return np.where(inside, (PIXELS - 1 - i) * PIXELS + j, -1)


class Row:
    """One incident energy: what the elements of the detectors see of a model."""

    def __init__(self, ei: float, frequency: float):
        self.ei = ei
        self.resolution = resolution_of(ei, frequency)
        edges = np.linspace(-HALF, HALF, PIXELS + 1)
        axes = (
            Axis("[H,0,0]", edges, "r.l.u.", frame="HKL"),
            Axis("[0,K,0]", edges, "r.l.u.", frame="HKL"),
            Axis("[0,0,L]", [-40, 40], "r.l.u.", frame="HKL"),
            Axis("DeltaE", np.linspace(0.1 * ei, 0.7 * ei, SLICES + 1), "meV"),
        )
        empty = np.zeros((PIXELS, PIXELS, 1, SLICES))
        self.frame = self.resolution.frame(Spectrum(empty, empty, axes))
        self.edges = axes[-1].edges

    def tile(self, model, number: int, directions, points: int, rng) -> tuple[np.ndarray, np.ndarray]:
        """One tile and the variance of the noise that theirs has in each pixel, both (40, 40); NaN without elements.

        A mode counts if it is recorded anywhere in the slice: a point stands for all energies of it.
        """
        low, high = self.edges[number : number + 2]
        energy = rng.uniform(low, high, points * len(directions))
        plane = momenta(np.repeat(directions, points, axis=0), self.ei, energy)
        pixel = pixels(plane)
        inside = pixel >= 0
        pixel = pixel[inside]
        mean, square = self._seen(model, plane[inside], energy[inside], low, high, rng)
        count = np.bincount(pixel, minlength=PIXELS**2)
        with np.errstate(invalid="ignore"):
            tile = np.bincount(pixel, mean, PIXELS**2) / count
            square = np.bincount(pixel, square, PIXELS**2) / count
            # Theirs: elements in the pixel on average over the slice, times energy bins, times points of each.
            noise = np.maximum(square - tile**2, 0) / (count / points * THEIR_BINS * THEIR_POINTS)
        return tile.reshape(PIXELS, PIXELS), noise.reshape(PIXELS, PIXELS)

    def _seen(self, model, plane, energy, low, high, rng) -> tuple[np.ndarray, np.ndarray]:
        """Means over the energies of the slice of S at random deviations and of its square as theirs see it, (N,)."""
        at = self.frame.at(np.column_stack([plane, 0 * energy, energy]))
        draws = unit_draws(self.resolution.beam, len(energy), rng)
        deviations = np.einsum("nj,njd->nd", draws, self.resolution.deviations(at, np.eye(len(DEVIATIONS))))
        q, late = at.sample[:, :3] + deviations[:, :3], deviations[:, 3]
        mean, square = np.empty((2, len(energy)))
        for part in np.array_split(np.arange(len(energy)), 1 + len(energy) // 65536):
            energies, intensities = model.modes(q[part])
            recorded = energies - late[part, None]
            counted = intensities * ((recorded >= low) & (recorded < high))
            mean[part] = counted.sum(axis=1) / (high - low)
            square[part] = _square(energies, counted) / (high - low)
        return mean, square


def _square(energies: np.ndarray, intensities: np.ndarray) -> np.ndarray:
    """Integral over energy of the square of a spectrum of Gaussians of `THEIR_FWHM`, shape (N,).

    Modes are in the order of energy, so that only near ones overlap; those of different twins count as apart.
    """
    sigma = THEIR_FWHM / FWHM_PER_SIGMA
    total = 0.0
    half = energies.shape[1] // 2
    for twin in (slice(0, half), slice(half, None)):
        e, i = energies[:, twin], intensities[:, twin]
        total = total + (i**2).sum(axis=1)
        for step in (1, 2, 3):
            near = np.exp(-(((e[:, step:] - e[:, :-step]) / (2 * sigma)) ** 2))
            total = total + 2 * (i[:, step:] * i[:, :-step] * near).sum(axis=1)
    return total / (2 * sigma * np.sqrt(np.pi))


def image(name: str, mask: np.ndarray, options: Options) -> tuple[np.ndarray, np.ndarray]:
    """All tiles of one model and the variance of the noise of theirs, each (6, 10, 40, 40)."""
    start = time.process_time()
    cells = CELLS if options.like_images else FINE_CELLS
    model = ImageSpins(one_twin(name), l_scale=options.l_scale, like_images=options.like_images, cells=cells)
    directions = elements()
    made = np.full((2, *mask.shape), np.nan)
    for row, (setting, points) in enumerate(zip(SETTINGS, POINTS, strict=True)):
        seen = Row(*setting)
        points = max(1, round(points * options.points))
        for n in np.flatnonzero(~mask[row].all(axis=(1, 2))):
            rng = np.random.default_rng([row, n])
            made[:, row, n] = seen.tile(model, n, directions, points, rng)
        print(f"{name}, Ei {setting[0]} meV: {time.process_time() - start:.0f} s of processor time", flush=True)
    return tuple(np.where(mask, np.nan, made))


def mosaic(tiles: np.ndarray) -> np.ndarray:
    """Tiles as a mosaic, shape (240, 400)."""
    return tiles.swapaxes(1, 2).reshape(len(SETTINGS) * PIXELS, SLICES * PIXELS)


def folded(tiles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means over the mirrors of h and of k, each over the pixels that are not NaN, and how many those are."""
    mirrors = [tiles, tiles[..., ::-1, :], tiles[..., ::-1], tiles[..., ::-1, ::-1]]
    count = sum(np.isfinite(m).astype(int) for m in mirrors)
    total = sum(np.nan_to_num(m) for m in mirrors)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan), count


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


def ceilings(ours: np.ndarray, noise: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """The correlation that an image without noise can have with one that has noise of this variance, each tile.

    That is sqrt(S / (S + N)), S being the variance of ours over the pixels of theirs and N the mean of the noise. It
    takes all points of theirs for independent of each other, and ours for the truth.
    """
    out = np.full(ours.shape[:2], np.nan)
    for n in np.ndindex(out.shape):
        seen = np.isfinite(ours[n]) & np.isfinite(theirs[n])
        if seen.sum() > 20 and ours[n][seen].std() > 0:
            out[n] = np.sqrt(1 / (1 + noise[n][seen].mean() / ours[n][seen].var()))
    return out


def scale(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The one factor from ours to theirs, by least squares."""
    seen = np.isfinite(ours) & np.isfinite(theirs)
    return float((ours[seen] * theirs[seen]).sum() / (ours[seen] ** 2).sum())


def read(folder: Path) -> dict[str, np.ndarray]:
    """Their images as tiles, NaN where the detector mask is."""
    from scipy.io import loadmat

    mask = np.flipud(loadmat(folder / "nanmask.mat")["nan_mask"]).astype(bool)
    images = {name: np.load(folder / f"simulated_fitpars_{name}.npy")[0] for name in COUPLINGS}
    return {name: tiles(np.where(mask, np.nan, values)) for name, values in images.items()}


def plot(pairs: dict[str, tuple[np.ndarray, np.ndarray]], path: Path) -> None:
    """Theirs above ours, for both models; tiles (6, 10, 40, 40)."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, grid = plt.subplots(2, len(pairs), figsize=(7 * len(pairs), 8.4), constrained_layout=True, squeeze=False)
    for panels, (name, (ours, theirs)) in zip(grid.T, pairs.items(), strict=True):
        ours = mosaic(ours * scale(ours, theirs))
        theirs = mosaic(theirs)
        top = np.nanpercentile(theirs[theirs > 0], 99)
        for ax, (title, values) in zip(panels, (("SpinW and Tobyfit", theirs), ("this package", ours)), strict=True):
            picture = ax.imshow(values, vmin=0, vmax=top, cmap="viridis")
            ax.set_title(f"{name}: {title}")
            ax.set_yticks(PIXELS * (np.arange(len(SETTINGS)) + 0.5), [f"Ei {ei}" for ei, _ in SETTINGS])
            ax.set_xticks(PIXELS * (np.arange(SLICES) + 0.5), [f"{0.13 + 0.06 * i:.2f}" for i in range(SLICES)])
            ax.set_xlabel("energy transfer / Ei")
        figure.colorbar(picture, ax=list(panels), shrink=0.6, label="intensity (scale of the Tobyfit image)")
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
    def of(cls, ours: np.ndarray, noise: np.ndarray, theirs: np.ndarray) -> Score:
        """Of tiles, with the variance of the noise of theirs in the units of ours, compared where none is NaN."""
        ours = np.where(np.isfinite(theirs), ours, np.nan)
        ceiling = ceilings(ours, noise, theirs)
        heard = np.where(ceiling > SILENT, 0.0, np.nan)
        ours_folded, theirs_folded = folded(ours)[0], folded(theirs)[0]
        mean, count = folded(np.where(np.isfinite(ours), noise, np.nan))
        return cls(
            correlations(ours, theirs) + heard,
            ceiling + heard,
            correlations(ours_folded, theirs_folded) + heard,
            ceilings(ours_folded, mean / np.maximum(count, 1), theirs_folded) + heard,
        )

    def summary(self) -> list:
        """How many tiles, and the `MEANS` over them."""
        means = [np.nanmean(x) for x in (self.raw, self.ceiling, self.raw / self.ceiling)]
        means += [np.nanmean(x) for x in (self.folded, self.folded_ceiling, self.folded / self.folded_ceiling)]
        return [int(np.isfinite(self.raw).sum()), *map(float, means)]


def mirror_check(ours: np.ndarray, theirs: np.ndarray, score: Score) -> list[float]:
    """Correlation of their image with its mirror, and what the noise predicts for it, as a test of the ceiling."""
    heard = 0 * score.raw
    found = correlations(theirs, theirs[..., ::-1, :]) + heard
    predicted = correlations(ours, ours[..., ::-1, :]) * score.ceiling**2
    return [float(np.nanmean(found)), float(np.nanmean(predicted))]


def report(name: str, ours: np.ndarray, noise: np.ndarray, theirs: np.ndarray, other: np.ndarray) -> tuple:
    """Results of one model: rows of tiles, rows of their means, and the row of the noise."""
    full, inside = Score.of(ours, noise, theirs), Score.of(ours, noise, inner(theirs))
    summaries = {
        "all pixels": full,
        "without pixels that touch a masked one": inside,
        "all pixels, with the other model's image": Score.of(ours, noise, other),
    }
    columns = ((full.raw, full.ceiling), (inside.raw, inside.ceiling), (full.folded, full.folded_ceiling))
    rows = []
    for n, (ei, _) in enumerate(SETTINGS):
        cells = [_pair(*pair) for pair in zip(full.raw[n], full.ceiling[n], strict=True)]
        means = [_pair(np.nanmean(a[n]), np.nanmean(b[n])) for a, b in columns]
        rows.append([ei, *cells, *means])
    summary = [[f"{name}, {pixels}", *score.summary()] for pixels, score in summaries.items()]
    return rows, summary, [name, scale(ours, theirs), *mirror_check(ours, theirs, full)]


def _pair(value: float, ceiling: float) -> list[float] | None:
    return None if np.isnan(value) else [float(value), float(ceiling)]


def results_of(made: dict, theirs: dict, plain: bool) -> list[dict]:
    """Tables of all models; `--plain` has tables of its own."""
    more = ", plain" if plain else ""
    tables, summaries, mirrors = [], [], []
    for name, (ours, noise) in made.items():
        other = theirs[next(n for n in COUPLINGS if n != name)]
        rows, summary, mirror = report(name, ours, noise, theirs[name], other)
        columns = [column(TILES[0]), *(column(tile, "{:.2f} ({:.2f})") for tile in TILES[1:])]
        tables.append(table(name + more, columns, rows))
        summaries += summary
        mirrors.append(mirror)
    columns = [column(""), column("tiles"), *(column(mean, "{:.3f}") for mean in MEANS)]
    tables.append(table("summary" + more, columns, summaries))
    tables.append(table("mirrors" + more, [column(*c) for c in MIRRORS.items()], mirrors))
    return tables


def main() -> None:
    """Print and write the tables; draw the figure if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, default=IMAGES, help="folder of simulated_fitpars_*.npy")
    parser.add_argument("--points", type=float, default=1.0, help="times as many Monte Carlo points (default 1)")
    parser.add_argument("--l-scale", type=float, default=L_SCALE, help="l of the images over the crystal's (0.279)")
    parser.add_argument("--plain", action="store_true", help="Q and second twin whole, no coarse interpolation")
    parser.add_argument("--plot", type=Path, help="write the figure here")
    add_option(parser, "tobyfit_images")
    arguments = parser.parse_args()
    options = Options(arguments.points, arguments.l_scale, not arguments.plain)
    theirs = read(arguments.images)
    made = {name: image(name, np.isnan(theirs[name]), options) for name in COUPLINGS}
    found = results_of(made, theirs, arguments.plain)
    for each in found:
        print(f"\n{each['name']}\n\n{table_text(each)}")
    write_results(arguments.results, COMMAND, CONDITIONS, found)
    if arguments.plot:
        plot({name: (ours, theirs[name]) for name, (ours, _) in made.items()}, arguments.plot)


if __name__ == "__main__":
    main()
