"""Cryo-EM density: from 4 Angstrom with noise to 3 Angstrom without, on structures that were held out.

    pip install gemmi
    pip install --no-deps MDAnalysisTests
    python docs/examples/cryo_em_3d.py --minutes 15 --seed 1

The coordinates are 50 protein chains of the Protein Data Bank (CC0) that MDAnalysisTests (LGPL-3.0-or-later) ships for
its tests of secondary structure. gemmi computes their density with electron scattering factors on a grid of 1 Angstrom.
A resolution d means what it does for ChimeraX's `molmap`: every atom is a Gaussian of standard deviation 0.225 d, that
is of B = 8 pi^2 (0.225 d)^2. White noise is added until the Fourier shell correlation of the 4 Angstrom map with the
map without noise falls to 0.5 at a given resolution, which is what 0.143 between half maps stands for (Rosenthal &
Henderson, J. Mol. Biol. 333, 721 (2003)). Hydrogen and solvent are left out.

The network is told the resolution that is to be removed: the FWHM of the Gaussian between 4 and 3 Angstrom, in voxels.
It has no physics core unless --physics is given: that core's last step gives back, smoothed, what its answer leaves
unexplained of the data, and here that is noise. The row "truth, reconciled" is what that step makes of the truth.

Held out are whole chains; a chain whose sequence is more alike than `MOST_ALIKE` to a held-out one is not trained on.
"""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from tools import ArrayLibrary, array_example, chosen, folder_of, parser, report, schedule, through_onnx, trained

from mantid_insgan.core.constants import FWHM_PER_SIGMA
from mantid_insgan.learn.evaluate import lucy_exact
from mantid_insgan.learn.examples import Example, stack
from mantid_insgan.learn.operator import ResolutionOperator, reconciled
from mantid_insgan.learn.paired import PairedRecipe, PairedTrainer

REMOVE = "remove-resolution"
COARSE, FINE = 4.0, 3.0  #: resolution of input and target in Angstrom
#: Variance of the Gaussian between the two, in voxels of 1 Angstrom. The operator's kernel is what a Gaussian puts into
#: bins, which is wider by a bin's own variance, 1/12; densities are values at points.
EXTRA_VARIANCE = 0.225**2 * (COARSE**2 - FINE**2)
FWHM = FWHM_PER_SIGMA * math.sqrt(EXTRA_VARIANCE - 1 / 12)
SHELL = (3.0, 3.5)  #: Angstrom: what the 4 Angstrom map hardly shows
NOISE = (3.5, 4.0)  #: Angstrom: where the correlation with the map without noise is 0.5
WINDOW = 32
MARGIN = 5.0  #: Angstrom of nothing round a molecule, at least
EDGES = (40, 48, 60, 64, 72, 80, 96)  #: of boxes in voxels; they suit the network (multiples of 4) and the FFT
MOST_ALIKE = 0.3
TEST, VALIDATION = 8, 4  #: chains


# -- structures


def chain_files() -> dict[str, Path]:
    """The PDB file of each chain by its name, such as '1ahsA'; MDAnalysisTests is not imported."""
    spec = importlib.util.find_spec("MDAnalysisTests")
    if spec is None:
        raise ModuleNotFoundError("MDAnalysisTests is not installed: pip install --no-deps MDAnalysisTests")
    folder = Path(spec.submodule_search_locations[0]) / "data" / "dssp"
    return {p.name[:5]: p for p in sorted(folder.glob("?????.pdb.gz"))}


@lru_cache
def chain(name: str):
    """A chain as a gemmi Structure, without hydrogen and alternatives."""
    import gemmi

    structure = gemmi.read_pdb(str(chain_files()[name]))
    structure.remove_alternative_conformations()
    structure.remove_hydrogens()
    return structure


def alike(one: str, other: str) -> float:
    """Share of the shorter chain's residues that are the same in the best alignment (BLOSUM62)."""
    import gemmi

    residues = [[r.name for r in chain(name)[0][0]] for name in (one, other)]
    result = gemmi.align_string_sequences(*residues, [], gemmi.AlignmentScoring("b"))
    return result.match_count / min(map(len, residues))


def split(seed: int) -> dict[str, list[str]]:
    """Names of the chains for test, validation and training; none of the last is like one of the first two."""
    names = [str(n) for n in np.random.default_rng(seed).permutation(sorted(chain_files()))]
    held_out = names[: TEST + VALIDATION]
    training = [n for n in names[TEST + VALIDATION :] if max(alike(n, other) for other in held_out) <= MOST_ALIKE]
    return {"test": names[:TEST], "validation": held_out[TEST:], "training": training}


# -- densities


def densities(name: str, rng) -> tuple[np.ndarray, np.ndarray]:
    """The density of a chain in a random orientation at `COARSE` and `FINE`, on voxels of 1 Angstrom."""
    import gemmi
    from scipy.spatial.transform import Rotation

    structure = chain(name).clone()
    turn = Rotation.random(random_state=rng).as_matrix()
    structure[0].transform_pos_and_adp(gemmi.Transform(gemmi.Mat33(turn.tolist()), gemmi.Vec3(0, 0, 0)))
    places = np.array([c.atom.pos.tolist() for c in structure[0].all()])
    edge = next(e for e in EDGES if e >= np.ptp(places, axis=0).max() + 2 * MARGIN)
    shift = edge / 2 - (places.min(0) + places.max(0)) / 2
    structure[0].transform_pos_and_adp(gemmi.Transform(gemmi.Mat33(), gemmi.Vec3(*shift)))
    structure.cell = gemmi.UnitCell(edge, edge, edge, 90, 90, 90)
    return _density(structure, edge, COARSE), _density(structure, edge, FINE)


def _density(structure, edge: int, resolution: float) -> np.ndarray:
    import gemmi

    for place in structure[0].all():
        place.atom.b_iso = 8 * math.pi**2 * (0.225 * resolution) ** 2
    calculator = gemmi.DensityCalculatorE()
    calculator.d_min, calculator.rate = 2.0, 1.0  # a grid of 1 Angstrom
    calculator.set_grid_cell_and_spacegroup(structure)
    calculator.put_model_density_on_grid(structure[0])
    values = np.array(calculator.grid.array, np.float32)
    if values.shape != (edge,) * 3:
        raise AssertionError(
            f"gemmi made a grid of {values.shape}, expected {edge} voxels of 1 Angstrom along each axis"
        )
    return values


@lru_cache(maxsize=16)
def frequency(edge: int) -> np.ndarray:
    """1 / d in 1/Angstrom of each place of a real FFT of a cube."""
    full, half = np.fft.fftfreq(edge), np.fft.rfftfreq(edge)
    return np.sqrt(full[:, None, None] ** 2 + full[:, None] ** 2 + half**2)


def noise_level(coarse: np.ndarray, resolution: float) -> float:
    """Standard deviation of white noise with which the correlation with `coarse` itself is 0.5 at a resolution.

    FSC = sqrt(S / (S + N)) with the powers S of the map and N of the noise there: N = 3 S.
    """
    power = np.abs(np.fft.rfftn(coarse)) ** 2
    s = frequency(coarse.shape[0])
    there = power[np.abs(s - 1 / resolution) < 0.01].mean()
    return math.sqrt(3 * there / coarse.size)


def members(names, orientations: int, seed: int) -> list[Example]:
    """Chains without noise, in units of the 4 Angstrom map's size; `error` is the noise of a map of 4 Angstrom."""
    rng = np.random.default_rng(seed)
    made = []
    for name in names:
        for _ in range(orientations):
            coarse, fine = densities(name, rng)
            size = math.sqrt((coarse**2).mean())
            level = noise_level(coarse, COARSE)
            made.append(array_example(coarse / size, fine / size, error=level / size, fwhm=FWHM))
    return made


def with_noise(example: Example, rng, factor: float) -> Example:
    """With white noise of `factor` times the member's, in units of the noisy map's size."""
    level = float(example.error.flat[0]) * factor
    noise = rng.normal(0, level, example.signal.shape).astype(np.float32)
    unit = math.sqrt(1 + level**2)
    signal, target = (example.signal + noise) / unit, example.target / unit
    return replace(example, signal=signal, target=target, error=np.full_like(signal, level / unit))


def varied(example: Example, rng) -> Example:
    """Noise between half and twice that of a map of 4 Angstrom, and one of the 24 turns of a cube: no mirror image,
    since proteins have a hand."""
    noisy = with_noise(example, rng, 2 ** rng.uniform(-1, 1))
    order = rng.permutation(3)
    flips = rng.integers(0, 2, 3)
    parity = round(np.linalg.det(np.eye(3)[order])) * (-1) ** int(flips.sum())
    if parity < 0:
        flips[0] ^= 1
    axes = np.flatnonzero(flips)
    turned = {k: np.flip(getattr(noisy, k).transpose(order), axes) for k in ("signal", "valid", "error", "target")}
    return replace(noisy, **turned)


@dataclass(frozen=True)
class Case:
    """A held-out map and its Fourier transform."""

    example: Example
    transform: np.ndarray

    @property
    def edge(self) -> int:
        """Voxels along each axis."""
        return self.example.signal.shape[0]


def cases(noiseless: list[Example], coarse_maps_noise: float, seed: int) -> list[Case]:
    """The maps with noise up to a resolution."""
    rng = np.random.default_rng(seed)
    made = []
    for member in noiseless:
        factor = noise_level(member.signal, coarse_maps_noise) / float(member.error.flat[0])
        example = with_noise(member, rng, factor)
        made.append(Case(example, np.fft.rfftn(example.signal)))
    return made


# -- methods: (case, setting) -> map


def filtered(case: Case, response: np.ndarray) -> np.ndarray:
    """The map with a response put on its Fourier transform."""
    return np.fft.irfftn(case.transform * response, case.example.signal.shape, axes=(0, 1, 2))


def sharpened(case: Case, setting: tuple[float, float]) -> np.ndarray:
    """Sharpened by (B in square Angstrom, resolution of a Gaussian low-pass in Angstrom at which it halves)."""
    b, low_pass = setting
    s2 = frequency(case.edge) ** 2
    return filtered(case, np.exp(b * s2 / 4 - math.log(2) * s2 * low_pass**2))


def richardson_lucy(case: Case, iterations: int) -> np.ndarray:
    """Richardson-Lucy with the Gaussian between the two resolutions."""
    return lucy_exact(stack([case.example]), iterations)[0, 0].numpy()


def reconciled_truth(case: Case) -> np.ndarray:
    """What the last step of the physics core makes of the truth: no answer that passes it can be much better."""
    batch = stack([case.example])
    return reconciled(ResolutionOperator(batch.width), batch.target, batch.signal, batch.valid)[0, 0].numpy()


SETTINGS = {
    "B-factor sharpening": (
        sharpened,
        [(b, d) for b in (0.0, 14.0, 28.0, 56.0) for d in (0.0, 2.5, 3.0, 3.5, 4.0, 5.0)],
    ),
    "Richardson-Lucy": (richardson_lucy, (1, 3)),
}


def best_radial_filter(training: list[Case]):
    """The filter of |s| alone that is best on training maps: sum of T F* over sum of |F|^2 in shells (Wiener)."""
    shells = np.arange(0, 0.9, 0.02)
    top, bottom = np.zeros((2, shells.size))
    for case in training:
        at = np.digitize(frequency(case.edge), shells) - 1
        target = np.fft.rfftn(case.example.target)
        size = (case.example.target**2).sum() * case.example.signal.size
        products = (target * case.transform.conj()).real, np.abs(case.transform) ** 2
        for total, values in zip((top, bottom), products, strict=True):
            total += np.bincount(at.ravel(), values.ravel(), shells.size) / size
    response = top / np.maximum(bottom, 1e-12)
    return lambda case: filtered(case, np.interp(frequency(case.edge), shells + 0.01, response))


def by_network(method):
    """A generator as such a method."""
    return lambda case: method(stack([case.example]))[0, 0].numpy()


# -- scores


def nrmse(case: Case, found: np.ndarray) -> float:
    """||found - truth|| / ||truth||."""
    return float(np.linalg.norm(found - case.example.target) / np.linalg.norm(case.example.target))


def shell_correlation(case: Case, found: np.ndarray, shell=SHELL) -> float:
    """Fourier shell correlation with the 3 Angstrom map between two resolutions."""
    s = frequency(case.edge)
    inside = (s >= 1 / shell[1]) & (s < 1 / shell[0])
    one, other = (np.fft.rfftn(x)[inside] for x in (found, case.example.target))
    return float((one * other.conj()).real.sum() / np.sqrt((np.abs(one) ** 2).sum() * (np.abs(other) ** 2).sum()))


def scores(chosen_cases: list[Case], method) -> np.ndarray:
    """NRMSE and shell correlation of each case, (cases, 2)."""
    found = ((case, method(case)) for case in chosen_cases)
    return np.array([(nrmse(case, answer), shell_correlation(case, answer)) for case, answer in found])


def tuned(training: list[Case], validation: list[Case]) -> tuple[dict, dict]:
    """Baselines with the settings that are best on validation maps, and those settings."""
    methods, settings = {"noisy input": lambda case: case.example.signal}, {}
    for name, (method, choices) in SETTINGS.items():
        best = chosen(choices, lambda c, m=method: np.median(scores(validation, lambda case: m(case, c))[:, 0]))
        methods[name], settings[name] = (lambda case, m=method, c=best: m(case, c)), best
    methods |= {"best radial filter": best_radial_filter(training), "truth, reconciled": reconciled_truth}
    return methods, settings


# -- the example


@dataclass(frozen=True)
class Sizes:
    """How much of everything."""

    orientations: int = 2
    training: int = 100
    validation: int = VALIDATION
    test: int = TEST
    channels: int = 8
    batch: int = 2
    noise: tuple[float, ...] = NOISE


COMMAND = "python docs/examples/cryo_em_3d.py --steps 250 --seed 1"
CONDITIONS = "Medians over eight held-out chains and their range, seed 1."
NOTE = (
    "Trained once: {steps} steps of {batch} windows, {processor_minutes:.1f} minutes of processor time on one thread."
)

QUICK = Sizes(orientations=1, training=2, validation=1, test=1, channels=8, batch=1, noise=(4.0,))


def train(sizes: Sizes, noiseless, options, folder: Path):
    """A generator from windows of the training maps, and what its training took."""
    recipe = PairedRecipe(REMOVE, dimensions=3, channels=sizes.channels, physics=options.physics)
    length = schedule(options, sizes.batch, warm_up=50, averaging=0.99)
    library = ArrayLibrary(noiseless, WINDOW, varied)
    trainer, facts = trained(PairedTrainer(recipe, length, library, folder / "checkpoint"))
    return trainer.averaged("generator"), facts | {"batch": sizes.batch}


def scored(sizes: Sizes, options, parts, networks: dict) -> tuple[dict[str, list[list]], list[str]]:
    """The rows of the table, medians over the test chains; what was tuned."""
    rows: dict[str, list[list]] = {}
    said = []
    for level in sizes.noise:
        made = {k: cases(v, level, 1000 * options.seed + i) for i, (k, v) in enumerate(parts.items())}
        methods, settings = tuned(made["training"], made["validation"])
        said.append(f"{level:g} Angstrom: " + ", ".join(f"{name} {setting}" for name, setting in settings.items()))
        for name, method in (methods | networks).items():
            values = scores(made["test"], method)
            middle, low, high = np.median(values, 0), values.min(0), values.max(0)
            rows.setdefault(name, []).extend(map(list, zip(middle, low, high, strict=True)))
    return rows, said


def draw(path: Path, case: Case, methods: dict) -> None:
    """The middle section of a held-out chain under each method."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    panels = {name: method(case) for name, method in methods.items()} | {"3 \u00c5, without noise": case.example.target}
    top = np.percentile(case.example.target, 99.9)
    figure, axes = plt.subplots(1, len(panels), figsize=(2.6 * len(panels), 2.9))
    for axis, (name, values) in zip(axes, panels.items(), strict=True):
        axis.imshow(values[case.edge // 2], cmap="gray_r", vmin=-0.1 * top, vmax=top)
        axis.set(title=name, xticks=[], yticks=[])
    figure.tight_layout()
    figure.savefig(path, dpi=70)
    plt.close(figure)


def main(words=None) -> dict[str, list[list]]:
    """Train, score, print; the rows of the table."""
    arguments = parser(__doc__.splitlines()[0], minutes=15.0)
    arguments.add_argument("--physics", action="store_true", help="with Richardson-Lucy inside")
    options = arguments.parse_args(words)
    torch.set_num_threads(1)
    sizes, folder, names = QUICK if options.quick else Sizes(), folder_of(options), split(options.seed)
    if options.quick:
        names = {part: sorted(chains, key=lambda n: len(chain(n)[0][0])) for part, chains in names.items()}
    parts = {
        part: members(names[part][: getattr(sizes, part)], sizes.orientations if part == "training" else 1, seed)
        for seed, part in enumerate(("training", "validation", "test"), 10 * options.seed)
    }
    print(", ".join(f"{k}: {len(v)} maps" for k, v in parts.items()), flush=True)
    generator, facts = train(sizes, parts["training"], options, folder)
    network = by_network(through_onnx(generator, folder / "cryo_em_3d.onnx"))
    rows, said = scored(sizes, options, parts, {"paired network": network})
    columns = [f"{what}, noise to {n:g} \u00c5" for n in sizes.noise for what in ("NRMSE", "FSC 3.0-3.5 \u00c5")]
    columns = dict.fromkeys(columns, "{:.3f} ({:.3f}-{:.3f})")
    report(options, "cryo_em_3d", COMMAND, CONDITIONS, columns, rows, NOTE, facts)
    print(
        f"Median over {sizes.test} held-out chains (range): {', '.join(names['test'][: sizes.test])}; trained on "
        f"{len(parts['training'])} maps of {len(parts['training']) // sizes.orientations} chains; seed {options.seed}. "
        f"Tuned: {'; '.join(said)}."
    )
    case = cases(parts["test"], sizes.noise[-1], 1)[0]
    draw(folder / "cryo_em_3d.png", case, {"4 \u00c5, noisy": lambda c: c.example.signal, "network": network})
    print(f"model and picture: {folder}")
    return rows


if __name__ == "__main__":
    main()
