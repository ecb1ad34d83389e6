"""X-ray diffraction tomography (XRD-CT): the diffraction pattern of each pixel, noisy to clean.

    pip install --no-deps nDTomo
    python docs/examples/tomography_1d.py --minutes 6 --seed 1

Diffraction patterns and phantom shapes are nDTomo's (Vamvakeros et al.; GPL-3.0). Two of its files are used by
themselves, since importing the package needs a GUI, a GPU library and a notebook server. A phantom is a disc of grains
of two phases; each grain has its own lattice strain, texture and peak width. Pencil-beam scans of it are counted
(Poisson) and reconstructed by filtered back-projection, channel by channel, so that noise is what XRD-CT has: negative
values, and more noise where there is more material anywhere in the slice. The truth is the same reconstruction of a
scan without noise.

The phases of the test phantoms (Fe, Zn) are in none of the training phantoms (Al, Cu, Pt). Methods with a setting are
tuned for each number of counts on validation phantoms of the training phases.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import h5py
import numpy as np
import torch
from tools import ArrayLibrary, array_example, chosen, folder_of, parser, report, schedule, through_onnx, trained

from mantid_insgan.core.slices import intensity_scale
from mantid_insgan.learn.examples import Example, stack
from mantid_insgan.learn.paired import PairedRecipe, PairedTrainer
from mantid_insgan.learn.unpaired import REMOVE, UnpairedRecipe, UnpairedTrainer

TRAINING_PHASES = ("Al", "Cu", "Pt")
TEST_PHASES = ("Fe", "Zn")
PIXELS = 32  #: across a slice; as many projections over half a turn
WINDOW = 256  #: channels that the network sees; patterns have 250
COUNTS = (3.0, 30.0, 300.0)  #: in the brightest bins of the scan
SCORED = 60  #: pixels of a phantom that are scored
NEAR = 8  #: channels on both sides of a peak's maximum that belong to it


# -- nDTomo's patterns and shapes


def ndtomo_folder() -> Path:
    """Where nDTomo is installed; it is not imported."""
    spec = importlib.util.find_spec("nDTomo")
    if spec is None:
        raise ModuleNotFoundError("nDTomo is not installed: pip install --no-deps nDTomo")
    return Path(spec.submodule_search_locations[0])


@lru_cache
def reference_patterns() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """q in 1/Angstrom and the pattern of each phase, (250,), largest value near 1."""
    with h5py.File(ndtomo_folder() / "examples" / "patterns" / "Patterns.h5") as file:
        q = file["q"][:]
        return q, {phase: file[phase][:] for phase in (*TRAINING_PHASES, *TEST_PHASES)}


@lru_cache
def shapes():
    """nDTomo's module that draws shapes into arrays."""
    spec = importlib.util.spec_from_file_location("shapes2D", ndtomo_folder() / "sim" / "shapes2D.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# -- phantoms


def phantom(rng, phases) -> np.ndarray:
    """A slice of grains of two of the phases, (PIXELS^2, channels): the pattern of each pixel, 0 outside the disc."""
    disc, channels = inside(), reference_patterns()[0].size
    volume = np.zeros((PIXELS, PIXELS, channels))
    for phase in rng.permutation(phases)[:2]:
        amount, strain = disc * drawn_shapes(rng), rng.uniform(-0.06, 0.06)
        grains = shapes().create_voronoi(np.zeros(disc.shape), list(rng.uniform(0, PIXELS, (15, 2))))
        for grain in np.unique(grains):
            volume[grains == grain] += grain_pattern(rng, phase, strain) * amount[grains == grain][:, None]
    halo = np.exp(-0.5 * ((np.linspace(0, 1, channels) - rng.uniform(0, 1)) / rng.uniform(0.2, 0.6)) ** 2)
    volume += rng.uniform(0, 0.15) * disc[..., None] * halo  # what a glass capillary scatters
    return volume.reshape(PIXELS**2, channels)


@lru_cache
def inside() -> np.ndarray:
    """1 in the disc that the scan covers, (PIXELS, PIXELS)."""
    return shapes().create_circle(np.zeros((PIXELS, PIXELS)), (PIXELS / 2 - 0.5,) * 2, PIXELS / 2 - 1)


def drawn_shapes(rng) -> np.ndarray:
    """An image of a handful of overlapping shapes, each with its own amount of a phase, (PIXELS, PIXELS)."""
    image = np.zeros((PIXELS, PIXELS))
    for _ in range(rng.integers(4, 9)):
        at, size, amount = rng.uniform(4, PIXELS - 4, 2), rng.uniform(3, 10), rng.uniform(0.3, 1.0)
        kind = rng.integers(4)
        if kind == 0:
            shapes().create_circle(image, at, size, fill_value=amount)
        elif kind == 1:
            shapes().create_circle(image, at, size, thickness=2, fill_value=amount)
        elif kind == 2:
            shapes().create_ellipse(image, at, (size, size * rng.uniform(0.4, 1)), fill_value=amount)
        else:
            shapes().create_star(image, at, r_outer=size, r_inner=size / 2, fill_value=amount)
    return image


def grain_pattern(rng, phase: str, strain: float) -> np.ndarray:
    """The pattern of a grain, (channels,): strained, textured, with peaks up to 1.3 times as wide as nDTomo's."""
    from scipy.ndimage import gaussian_filter1d

    q, patterns = reference_patterns()
    pattern = np.interp(q * (1 + strain + rng.normal(0, 0.003)), q, patterns[phase])
    texture = np.exp(
        rng.uniform(0, 0.7) * np.sin(2 * np.pi * (rng.uniform(0.5, 3) * np.linspace(0, 1, q.size) + rng.random()))
    )
    return gaussian_filter1d(pattern * texture, rng.uniform(0, 2))


# -- scans


@lru_cache
def scanner() -> tuple[np.ndarray, np.ndarray]:
    """Projection and filtered back-projection as matrices: (rays, PIXELS^2) and (PIXELS^2, rays)."""
    from skimage.transform import iradon, radon

    angles = np.linspace(0, 180, PIXELS, endpoint=False)
    forth, back = np.zeros((2, PIXELS**2, PIXELS**2), np.float32)
    unit = np.zeros((PIXELS, PIXELS))
    for i in range(PIXELS**2):
        unit.flat[i] = 1.0
        if inside().flat[i]:
            forth[:, i] = radon(unit, angles, circle=True).ravel()
        back[:, i] = iradon(unit, angles, circle=True, filter_name="hann").ravel()
        unit.flat[i] = 0.0
    return forth, back


@dataclass(frozen=True)
class Scan:
    """A reconstructed slice, each array (PIXELS^2, channels): what was counted, its standard error, without noise.

    ``chosen``: the pixels that hold material, which are trained on and scored.
    """

    noisy: np.ndarray
    error: np.ndarray
    clean: np.ndarray
    chosen: np.ndarray


def scan(rng, volume: np.ndarray, counts: float, most: int = PIXELS**2) -> Scan:
    """Scan and reconstruct a phantom with `counts` in the brightest bins, and choose `most` pixels with material."""
    forth, back = scanner()
    rays = np.clip(forth @ volume, 0, None)
    exposure = counts / np.percentile(rays, 99.7)
    counted = rng.poisson(rays * exposure)
    noisy, clean = (back @ x for x in (counted / exposure, rays))
    error = np.sqrt(back**2 @ np.maximum(counted, 1.0)) / exposure
    peaks = volume.max(1)
    material = np.flatnonzero(peaks > 0.25 * peaks.max())
    if material.size > most:
        material = np.sort(rng.permutation(material)[:most])
    return Scan(noisy, error, clean, material)


def scans(seed: int, number: int, phases, counts=None) -> list[Scan]:
    """Scans of new phantoms: at `counts`, of which `SCORED` pixels are chosen; for training if these are not given, at
    counts that are log-uniform between 3 and 3000, with all pixels that hold material."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(number):
        setting = (10 ** rng.uniform(0.5, 3.5),) if counts is None else (counts, SCORED)
        made.append(scan(rng, phantom(rng, phases), *setting))
    return made


def examples(members: list[Scan], clean_input: bool = False) -> list[Example]:
    """The chosen pixels of scans in units of their own size; `clean_input` makes the simulations of unpaired data."""
    made = []
    for s in members:
        for pixel in s.chosen:
            signal, error = (s.clean[pixel], 0 * s.error[pixel]) if clean_input else (s.noisy[pixel], s.error[pixel])
            scale = intensity_scale(signal, np.ones(signal.shape, bool))
            made.append(array_example(signal / scale, s.clean[pixel] / scale, error=error / scale))
    return made


def jittered(example: Example, rng) -> Example:
    """In a unit that is off by up to a factor of two, so that the network does not rely on it."""
    factor = np.float32(2 ** rng.uniform(-1, 1))
    scaled = {name: getattr(example, name) * factor for name in ("signal", "error", "target")}
    return replace(example, **scaled)


# -- methods: (scan, setting) -> patterns of all pixels


def gaussian(s: Scan, sigma: float) -> np.ndarray:
    """Smoothed with a Gaussian of `sigma` channels."""
    from scipy.ndimage import gaussian_filter1d

    return gaussian_filter1d(s.noisy, sigma, axis=1)


def savitzky_golay(s: Scan, setting: tuple[int, int]) -> np.ndarray:
    """Smoothed with (window, order)."""
    from scipy.signal import savgol_filter

    return savgol_filter(s.noisy, *setting, axis=1)


def total_variation(s: Scan, weight: float) -> np.ndarray:
    """scikit-image's total-variation denoising, its weight in units of a pattern's mean standard error."""
    from skimage.restoration import denoise_tv_chambolle

    found = s.noisy.copy()
    for pixel in s.chosen:
        found[pixel] = denoise_tv_chambolle(s.noisy[pixel], weight * s.error[pixel].mean())
    return found


def truncated_svd(s: Scan, rank: int) -> np.ndarray:
    """The whole slice as a sum of `rank` products of a pattern and an image."""
    _, patterns = np.linalg.eigh(s.noisy.T @ s.noisy)  # right singular vectors, the largest last
    return s.noisy @ patterns[:, -rank:] @ patterns[:, -rank:].T


BASELINES = {
    "Gaussian smoothing": (gaussian, (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0)),
    "Savitzky-Golay": (savitzky_golay, ((5, 2), (7, 2), (9, 2), (11, 2), (15, 2), (9, 4), (15, 4), (21, 4), (31, 4))),
    "total variation": (total_variation, (0.5, 1.0, 2.0, 4.0)),
    "truncated SVD of the whole slice": (truncated_svd, (2, 3, 4, 6, 10)),
}


def by_network(method, batch_size: int = 256):
    """A generator as such a method."""

    def apply(s: Scan, _=None) -> np.ndarray:
        found, members = s.noisy.copy(), examples([s])
        whole = ArrayLibrary(members, WINDOW)
        rng = np.random.default_rng(0)  # a window as large as the patterns leaves nothing to chance
        for start in range(0, len(members), batch_size):
            part = range(start, min(start + batch_size, len(members)))
            answer = method(stack(whole.examples(part, REMOVE, rng))).numpy()[:, 0, : s.noisy.shape[1]]
            pixels = s.chosen[part.start : part.stop]
            sizes = [intensity_scale(s.noisy[p], np.ones(s.noisy.shape[1], bool)) for p in pixels]
            found[pixels] = answer * np.array(sizes)[:, None]
        return found

    return apply


# -- scores


def nrmse(s: Scan, found: np.ndarray) -> np.ndarray:
    """||found - truth|| / ||truth|| of each chosen pixel's pattern."""
    truth = s.clean[s.chosen]
    return np.linalg.norm(found[s.chosen] - truth, axis=1) / np.linalg.norm(truth, axis=1)


def peak_errors(s: Scan, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each chosen pixel's strongest peak: error of its position in channels, relative error of its intensity.

    The position is the largest value within `NEAR` channels of the true one, refined by a parabola; the intensity is
    the sum over those channels.
    """
    away, off = [], []
    for pixel in s.chosen:
        truth, answer = s.clean[pixel], found[pixel]
        top = int(np.argmax(truth[NEAR:-NEAR])) + NEAR
        part = slice(top - NEAR, top + NEAR + 1)
        away.append(abs(maximum(answer[part]) - maximum(truth[part])))
        off.append(abs(answer[part].sum() / truth[part].sum() - 1))
    return np.array(away), np.array(off)


def maximum(values: np.ndarray) -> float:
    """Place of the largest value, refined by a parabola through it and its neighbours."""
    top = int(np.clip(np.argmax(values), 1, values.size - 2))
    before, here, after = values[top - 1 : top + 2]
    bend = before - 2 * here + after
    return top + float(np.clip(0.5 * (before - after) / bend, -1, 1) if bend < 0 else 0.0)


def scores(members: list[Scan], method) -> tuple[float, float, float]:
    """Medians over all chosen pixels: NRMSE, error of position in channels, of intensity in per cent."""
    found = [(s, method(s)) for s in members]
    values = [np.concatenate([nrmse(s, f) for s, f in found])]
    values += [np.concatenate(x) for x in zip(*(peak_errors(s, f) for s, f in found), strict=True)]
    return tuple(float(np.median(v)) * factor for v, factor in zip(values, (1, 1, 100), strict=True))


def tuned(validation: list[Scan]) -> tuple[dict, dict]:
    """The baselines with the settings that are best on validation scans, and those settings."""
    methods, settings = {"noisy input": lambda s: s.noisy}, {}
    for name, (method, choices) in BASELINES.items():
        best = chosen(choices, lambda c, m=method: np.median(np.concatenate([nrmse(s, m(s, c)) for s in validation])))
        methods[name], settings[name] = (lambda s, m=method, c=best: m(s, c)), best
    return methods, settings


# -- the example


COMMAND = "python docs/examples/tomography_1d.py --minutes 4 --seed 1"
CONDITIONS = (
    "Medians over 60 pixels of each of 4 slices of Fe and Zn, and of three such sets by different seeds, in brackets "
    "the range of NRMSE over these; trained on 60 slices of Al, Cu and Pt, seed 1."
)
NOTE = "Trained once, on {patterns} patterns: {steps} steps of {batch} of them in {minutes:.1f} minutes on one thread."


@dataclass(frozen=True)
class Sizes:
    """How much of everything."""

    training: int = 60
    validation: int = 3
    test: int = 4
    seeds: tuple[int, ...] = (1, 2, 3)
    channels: int = 24
    batch: int = 16
    counts: tuple[float, ...] = COUNTS


QUICK = Sizes(training=3, validation=1, test=1, seeds=(1,), channels=8, batch=4, counts=(100.0,))


def train_paired(sizes: Sizes, members, options, folder):
    """One generator from noisy and clean patterns of the same pixels, and what its training took."""
    recipe = PairedRecipe(REMOVE, dimensions=1, channels=sizes.channels, physics=False)
    library = ArrayLibrary(examples(members), WINDOW, jittered)
    print(f"paired: {len(library)} patterns of {len(members)} phantoms", flush=True)
    trainer, facts = trained(PairedTrainer(recipe, schedule(options, sizes.batch), library, folder / "paired"))
    return trainer.averaged("generator"), facts | {"patterns": len(library), "batch": sizes.batch}


def train_unpaired(sizes: Sizes, members, options, folder):
    """Both directions, from clean patterns of half the phantoms and noisy ones of the other half."""
    recipe = UnpairedRecipe(dimensions=1, channels=sizes.channels, physics=False)
    clean = ArrayLibrary(examples(members[::2], clean_input=True), WINDOW, jittered)
    noisy = ArrayLibrary(examples(members[1::2]), WINDOW, jittered)
    print(f"unpaired: {len(clean)} clean patterns, {len(noisy)} noisy ones of other phantoms", flush=True)
    length = schedule(options, sizes.batch, averaging=0.995)
    trainer, _ = trained(UnpairedTrainer(recipe, length, clean, noisy, folder / "unpaired"))
    return trainer.averaged(REMOVE)


def scored(sizes: Sizes, options, networks: dict) -> tuple[dict[str, list[list]], list[str]]:
    """The rows of the table, each cell medians over the test seeds with the range of the first; what was tuned."""
    rows: dict[str, list[list]] = {}
    said = []
    for counts in sizes.counts:
        methods, settings = tuned(scans(10_000 * options.seed + 1, sizes.validation, TRAINING_PHASES, counts))
        methods |= networks
        said.append(f"{counts:g} counts: " + ", ".join(f"{name} {setting}" for name, setting in settings.items()))
        tests = [scans(10_000 * options.seed + 100 + s, sizes.test, TEST_PHASES, counts) for s in sizes.seeds]
        for name, method in methods.items():
            found = np.array([scores(test, method) for test in tests])
            low, middle, high = found.min(0), np.median(found, 0), found.max(0)
            rows.setdefault(name, []).append([middle[0], low[0], high[0], middle[1], middle[2]])
    return rows, said


def draw(path: Path, sizes: Sizes, options, network, smooth) -> None:
    """One pixel of a test phantom: noisy, smoothed, ours, and without noise."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    q = reference_patterns()[0]
    figure, axes = plt.subplots(1, len(sizes.counts), figsize=(4.2 * len(sizes.counts), 3.2), squeeze=False)
    for axis, counts in zip(axes[0], sizes.counts, strict=True):
        s = scans(10_000 * options.seed + 100 + sizes.seeds[0], 1, TEST_PHASES, counts)[0]
        pixel = s.chosen[len(s.chosen) // 2]
        axis.plot(q, s.noisy[pixel], color="0.75", lw=0.8, label="noisy input")
        axis.plot(q, smooth(s)[pixel], color="tab:orange", lw=0.9, label="Gaussian, sigma 2 channels")
        axis.plot(q, network(s)[pixel], color="tab:blue", lw=1.2, label="paired network")
        axis.plot(q, s.clean[pixel], "k--", lw=0.8, label="without noise")
        axis.set(title=f"{counts:g} counts in the brightest bins", xlabel="q (1/\u00c5)")
    axes[0, 0].set_ylabel("intensity")
    axes[0, 0].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    plt.close(figure)


def main(words=None) -> dict[str, list[list]]:
    """Train, score, print; the rows of the table."""
    arguments = parser(__doc__.splitlines()[0], minutes=6.0)
    arguments.add_argument("--unpaired", action="store_true", help="train without pairs as well, for as long")
    options = arguments.parse_args(words)
    torch.set_num_threads(1)
    sizes, folder = QUICK if options.quick else Sizes(), folder_of(options)
    members = scans(options.seed, sizes.training, TRAINING_PHASES)
    paired, facts = train_paired(sizes, members, options, folder)
    networks = {"paired network": by_network(through_onnx(paired, folder / "tomography_1d.onnx"))}
    if options.unpaired:
        unpaired = train_unpaired(sizes, members, options, folder)
        networks["unpaired network"] = by_network(through_onnx(unpaired, folder / "tomography_1d_unpaired.onnx"))
    rows, said = scored(sizes, options, networks)
    columns = {f"{c:g} counts": "{:.3f} ({:.3f}-{:.3f}); {:.2f}; {:.1f} %" for c in sizes.counts}
    report(options, "tomography_1d", COMMAND, CONDITIONS, columns, rows, NOTE, facts)
    print(
        "NRMSE as median over the pixels (range over the test seeds); error of the strongest peak's position in "
        f"channels; of its intensity. {len(sizes.seeds)} test seeds of {sizes.test} phantoms of "
        f"{' and '.join(TEST_PHASES)}; trained on {sizes.training} phantoms of {', '.join(TRAINING_PHASES)}; seed "
        f"{options.seed}. Tuned: {'; '.join(said)}."
    )
    draw(folder / "tomography_1d.png", sizes, options, networks["paired network"], lambda s: gaussian(s, 2.0))
    print(f"model and picture: {folder}")
    return rows


if __name__ == "__main__":
    main()
