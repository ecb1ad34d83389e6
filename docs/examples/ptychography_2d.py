"""Electron ptychography: diffraction patterns as a simulation gives them and as a detector counts them, both ways.

    pip install abtem
    python docs/examples/ptychography_2d.py --steps 200 --seed 1

abTEM (Madsen & Susi, Open Res. Europe 1, 24 (2021); GPL-3.0-or-later) calculates the patterns by multislice from
crystals that ASE builds; nothing here was measured. A pattern of 4D-STEM or ptychography is what one position of a
focused probe scatters into a pixelated detector. Drawn are the zone axis, a turn about it, a tilt away from it, the
thickness, the place of the probe in the cell, its convergence angle and its defocus. Atoms rest in their places: there
are no phonons.

*simulated* is the pattern of an ideal probe: coherent, at the nominal defocus, without noise, recorded without blur.
*experimental* is a finite source (a sum over shifted probes), a spread of the defocus and an error of it, the blur of
the detector with a tail, a diffuse background, and in the end Poisson counts. The microscope that does this is one and
the same, its numbers scatter from pattern to pattern (`Microscope`).

The networks are told the FWHM of the detector's blur in pixels, from which the true one departs by 10 %, and each
pixel's momentum transfer; of the rest they know what training shows. Held out are whole crystals.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from tools import ArrayLibrary, array_example, chosen, folder_of, parser, report, schedule, through_onnx, trained

from mantid_insgan.core.constants import FWHM_PER_SIGMA
from mantid_insgan.core.files import replacing
from mantid_insgan.core.slices import intensity_scale
from mantid_insgan.learn.evaluate import covariance_kernel, identity, lucy_exact
from mantid_insgan.learn.examples import Batch, Example, stack
from mantid_insgan.learn.paired import PairedRecipe, PairedTrainer
from mantid_insgan.learn.unpaired import ADD, REMOVE, UnpairedRecipe, UnpairedTrainer

#: Elements, places, space group and cell (Angstrom, degrees) of each crystal, as ase.spacegroup.crystal takes them.
CRYSTALS = {
    "Si": (["Si"], [(0, 0, 0)], 227, [5.431] * 3 + [90] * 3),
    "SrTiO3": (["Sr", "Ti", "O"], [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0)], 221, [3.905] * 3 + [90] * 3),
    "Au": (["Au"], [(0, 0, 0)], 225, [4.078] * 3 + [90] * 3),
    "MgO": (["Mg", "O"], [(0, 0, 0), (0.5, 0.5, 0.5)], 225, [4.212] * 3 + [90] * 3),
    "W": (["W"], [(0, 0, 0)], 229, [3.165] * 3 + [90] * 3),
    "CeO2": (["Ce", "O"], [(0, 0, 0), (0.25, 0.25, 0.25)], 225, [5.411] * 3 + [90] * 3),
    "AlN": (["Al", "N"], [(1 / 3, 2 / 3, 0), (1 / 3, 2 / 3, 0.3821)], 186, [3.112, 3.112, 4.982, 90, 90, 120]),
    "graphite": (["C", "C"], [(0, 0, 0.25), (1 / 3, 2 / 3, 0.25)], 194, [2.461, 2.461, 6.708, 90, 90, 120]),
    "CsCl": (["Cs", "Cl"], [(0, 0, 0), (0.5, 0.5, 0.5)], 221, [4.123] * 3 + [90] * 3),
    "Mg": (["Mg"], [(1 / 3, 2 / 3, 0.25)], 194, [3.209, 3.209, 5.211, 90, 90, 120]),
    "GaAs": (["Ga", "As"], [(0, 0, 0), (0.25, 0.25, 0.25)], 216, [5.653] * 3 + [90] * 3),
    "TiO2": (["Ti", "O"], [(0, 0, 0), (0.3053, 0.3053, 0)], 136, [4.594, 4.594, 2.959, 90, 90, 90]),
    "MoS2": (["Mo", "S"], [(1 / 3, 2 / 3, 0.25), (1 / 3, 2 / 3, 0.621)], 194, [3.16, 3.16, 12.295, 90, 90, 120]),
}
LAYERED = ("graphite", "MoS2")  #: seen along c, as a whole number of layers, of which a cell has two
SPLIT = {
    "training": ("Si", "SrTiO3", "Au", "MgO", "W", "CeO2", "AlN", "graphite"),
    "validation": ("CsCl", "Mg"),
    "test": ("GaAs", "TiO2", "MoS2"),
}

ENERGY = 200e3  #: eV
WAVELENGTH = 0.025079  #: Angstrom, of electrons of that energy
EDGE = 19.3  #: Angstrom, of the box that the wave is calculated in
POINTS = 128  #: of the wave along each edge
PIXELS = 64  #: of a pattern along each edge, in its middle pixel the undiffracted beam
MILLIRADIANS = 1e3 * WAVELENGTH / EDGE  #: across a pixel
SLICE = 2.0  #: Angstrom

DOSES = (2e4, 5e5)  #: electrons in a pattern that is scored; trained on log-uniformly between `LEAST` and `MOST`
LEAST, MOST = 1e4, 1e6


# -- specimens


@lru_cache
def cell_of(name: str):
    """The conventional cell of a crystal as ASE's Atoms."""
    from ase.spacegroup import crystal

    symbols, places, group, cell = CRYSTALS[name]
    return crystal(symbols, basis=places, spacegroup=group, cellpar=cell)


def rotation_to(axis, turn: float, tilt) -> np.ndarray:
    """The matrix that takes `axis` to z, then turns about z, then tilts by two angles about x and y (radians)."""
    from scipy.spatial.transform import Rotation

    axis = np.asarray(axis) / np.linalg.norm(axis)
    to_z = Rotation.align_vectors([[0, 0, 1]], [axis])[0]
    return (Rotation.from_euler("xy", tilt) * Rotation.from_euler("z", turn) * to_z).as_matrix()


def specimen(rng, name: str):
    """A column of a crystal that fills the box across: random axis, turn, tilt, thickness and place of the probe.

    It isn't periodic across the box, whose edges the probe, in its middle, hardly reaches.
    """
    cell = cell_of(name)
    layered = name in LAYERED
    if layered:
        axis, thickness = (0, 0, 1), 0.5 * cell.cell.lengths()[2] * rng.integers(1, 7)
    else:
        cubic = np.ptp(cell.cell.lengths()) == 0
        axes = ((0, 0, 1), (0, 1, 1), (1, 1, 1)) if cubic else ((0, 0, 1), (1, 0, 0))
        axis, thickness = axes[rng.integers(len(axes))], rng.uniform(10, 100)
    matrix = rotation_to(axis @ cell.cell.array, rng.uniform(0, 2 * np.pi), rng.normal(0, 5e-3, 2))
    origin = rng.random(3) @ cell.cell.array
    if layered:
        origin[2] = 0.0  # layers begin between two of them, where a cell does
    return column_of(cell, matrix, origin, thickness, centred=not layered)


def column_of(cell, matrix, origin, thickness: float, centred: bool = True):
    """The atoms of a crystal within the box, the lattice's point `origin` in the middle of the column or, if it is not
    `centred`, of its entrance face, turned by `matrix`."""
    from ase import Atoms

    size = np.array([EDGE, EDGE, thickness])
    middle = size * (0.5, 0.5, 0.5 if centred else 0.0)
    corners = np.array(np.meshgrid(*[(0.0, s) for s in size])).reshape(3, -1).T
    wanted = ((corners - middle) @ matrix + origin) @ np.linalg.inv(cell.cell.array)
    low, high = np.floor(wanted.min(0)).astype(int) - 1, np.ceil(wanted.max(0)).astype(int) + 1
    shifts = np.array(np.meshgrid(*[np.arange(a, b) for a, b in zip(low, high, strict=True)])).reshape(3, -1).T
    places = (cell.positions[:, None] + shifts @ cell.cell.array - origin) @ matrix.T + middle
    inside = ((places >= 0) & (places < size)).all(-1)
    numbers = np.broadcast_to(cell.numbers[:, None], inside.shape)[inside]
    return Atoms(numbers, positions=places[inside], cell=size, pbc=True)


# -- patterns


def multislice(potential, angle: float, defocus: float, offsets) -> np.ndarray:
    """Patterns of a coherent probe at places that are `offsets` (Angstrom) from the middle of the box, (n, POINTS,
    POINTS), each a share of the electrons; convergence semi-angle in mrad, defocus in Angstrom."""
    import abtem

    probe = abtem.Probe(energy=ENERGY, semiangle_cutoff=angle, defocus=defocus)
    scan = abtem.CustomScan(EDGE / 2 + np.asarray(offsets))
    waves = probe.multislice(potential, scan=scan, lazy=False)
    return waves.diffraction_patterns(max_angle="full", block_direct=False).array


def potential_of(atoms):
    """abTEM's potential of independent atoms in slices, calculated."""
    import abtem

    abtem.config.set({"device": "cpu", "fft": "numpy", "diagnostics.progress_bar": False})
    return abtem.Potential(atoms, gpts=(POINTS, POINTS), slice_thickness=SLICE).build(lazy=False)


@dataclass(frozen=True)
class Microscope:
    """What an experiment does to a pattern, drawn for each around the values of one microscope; all but `fwhm` unknown.

    ``fwhm`` is what is told of the detector's blur, in pixels; the true one is `blur`.
    """

    source: float  #: FWHM of the source's image in Angstrom
    spread: float  #: standard deviation of the defocus in Angstrom
    error: float  #: of the defocus in Angstrom
    fwhm: float
    blur: float  #: FWHM in pixels
    tail: float  #: share of the electrons that the detector spreads with `TAIL` times the width
    background: float  #: share of the electrons that are scattered diffusely
    width: float  #: standard deviation of these in mrad

    TAIL = 4.0

    @classmethod
    def draw(cls, rng) -> Microscope:
        """One exposure's."""
        about = lambda value, scatter: value * np.exp(rng.normal(0, scatter))  # noqa: E731
        fwhm = rng.uniform(1.5, 4.0)
        return cls(
            source=about(0.7, 0.2),
            spread=about(40, 0.2),
            error=rng.normal(40, 20),
            fwhm=fwhm,
            blur=about(fwhm, 0.1),
            tail=about(0.1, 0.3),
            background=about(0.08, 0.4),
            width=about(20, 0.15),
        )

    def probes(self, turn: float) -> list[tuple[float, np.ndarray]]:
        """(change of defocus, offsets (4, 2) in Angstrom) of twelve coherent probes that stand for source and spread.

        Three defoci, and at each four places on a square, turned by 30 degrees from one to the next: together they have
        the variances of both Gaussians.
        """
        radius = 2**0.5 * self.source / FWHM_PER_SIGMA
        made = []
        for number, step in enumerate((-(1.5**0.5), 0.0, 1.5**0.5)):
            angles = turn + np.pi / 6 * number + np.pi / 2 * np.arange(4)
            made.append((self.error + step * self.spread, radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)))
        return made

    def recorded(self, pattern: np.ndarray) -> np.ndarray:
        """A pattern with the diffuse background and as the detector spreads it; a share of the electrons as before."""
        from scipy.ndimage import gaussian_filter

        diffuse = np.exp(-0.5 * (angles_of(POINTS) / self.width) ** 2)
        seen = (1 - self.background) * pattern + self.background * diffuse / diffuse.sum()
        # A pixel counts what falls on all of it, as in the operator: wider by a pixel's own variance, 1/12.
        sharp, wide = (((f * self.blur / FWHM_PER_SIGMA) ** 2 + 1 / 12) ** 0.5 for f in (1.0, self.TAIL))
        sharp, wide = (gaussian_filter(seen, s, mode="constant") for s in (sharp, wide))
        return (1 - self.tail) * sharp + self.tail * wide


@lru_cache
def angles_of(pixels: int) -> np.ndarray:
    """Scattering angle of each pixel in mrad, (pixels, pixels)."""
    steps = MILLIRADIANS * (np.arange(pixels) - pixels // 2)
    return np.hypot(steps[:, None], steps)


@dataclass(frozen=True)
class Pattern:
    """A pattern both ways, (PIXELS, PIXELS), in shares of the electrons; `experimental` is the mean of the counts."""

    crystal: str
    simulated: np.ndarray
    experimental: np.ndarray
    fwhm: float  #: of the detector's blur in pixels, as it is told


def pattern(rng, name: str) -> Pattern:
    """A pattern of a random specimen of a crystal."""
    potential, microscope = potential_of(specimen(rng, name)), Microscope.draw(rng)
    angle, defocus = rng.uniform(8, 18), rng.uniform(-80, 80)
    ideal = multislice(potential, angle, defocus, np.zeros((1, 2)))[0]
    probes = microscope.probes(rng.uniform(0, 2 * np.pi))
    summed = np.mean([multislice(potential, angle, defocus + d, offsets).mean(0) for d, offsets in probes], axis=0)
    middle = (slice((POINTS - PIXELS) // 2, (POINTS + PIXELS) // 2),) * 2
    return Pattern(name, ideal[middle], microscope.recorded(summed)[middle], microscope.fwhm)


def patterns(seed: int, names, number: int) -> list[Pattern]:
    """`number` patterns of each crystal."""
    rng = np.random.default_rng(seed)
    return [pattern(rng, name) for name in names for _ in range(number)]


# -- examples for the networks


@lru_cache
def position() -> np.ndarray:
    """What the networks are told of each pixel's place, (3, PIXELS, PIXELS): momentum transfer in 1/Angstrom alone."""
    momentum = 2e-3 * np.pi * angles_of(PIXELS) / WAVELENGTH
    return np.stack([0 * momentum, momentum, 0 * momentum]).astype(np.float32)


def example(p: Pattern, direction: str, dose: float | None, rng) -> Example:
    """A pattern as an example in units of its input's size; counts of `dose` electrons where the input is one."""
    signal, target, error = p.simulated, p.experimental, 0.0
    if direction == REMOVE:
        counts = rng.poisson(p.experimental * dose)
        signal, target, error = counts / dose, p.simulated, np.sqrt(np.maximum(counts, 1)) / dose
    size = intensity_scale(signal, np.ones(signal.shape, bool))
    made = array_example(signal / size, target / size, error=error / size, fwhm=p.fwhm)
    return replace(made, position=position())


def turned(made: Example, rng) -> Example:
    """One of the eight turns and mirror images of a square: any of them is a pattern of another specimen."""
    flips, swap = np.flatnonzero(rng.integers(0, 2, 2)) - 2, rng.random() < 0.5

    def change(_, values):
        values = np.flip(values, flips)
        return values.swapaxes(-1, -2) if swap else values

    return made.changed(change)


class PatternLibrary(ArrayLibrary):
    """Patterns in one direction, with new counts and turned at every step."""

    def __init__(self, members: list[Pattern], direction: str):
        rng = np.random.default_rng(0)
        super().__init__([example(p, direction, MOST, rng) for p in members], PIXELS)
        self.patterns, self.direction = members, direction

    def examples(self, index, direction: str, rng, **_) -> list[Example]:
        """The members at `index` in the library's own direction, whatever `direction`."""
        dose = lambda: float(np.exp(rng.uniform(np.log(LEAST), np.log(MOST))))  # noqa: E731
        return [turned(example(self.patterns[i], self.direction, dose(), rng), rng) for i in index]


# -- methods: Batch -> Tensor (N, 1, PIXELS, PIXELS)

Method = Callable[[Batch], torch.Tensor]


def batch_of(members: list[Pattern], direction: str, dose: float | None, seed: int) -> Batch:
    """Patterns to be scored."""
    rng = np.random.default_rng(seed)
    return stack([example(p, direction, dose, rng) for p in members])


def mean_remainder(training: list[Pattern]) -> torch.Tensor:
    """What experiments have beyond the known blur, as a share of all intensity: the mean over training patterns."""
    batch = batch_of(training, ADD, None, 0)
    left = (batch.target - covariance_kernel(batch)) / batch.signal.sum((2, 3), keepdim=True)
    return left.mean(0, keepdim=True)


def blurred_with(remainder: torch.Tensor, batch: Batch) -> torch.Tensor:
    """The known blur, and the mean remainder added."""
    return covariance_kernel(batch) + remainder * batch.signal.sum((2, 3), keepdim=True)


def lucy_without(remainder: torch.Tensor, iterations: int, batch: Batch) -> torch.Tensor:
    """Richardson-Lucy of what is left without the mean remainder."""
    less = batch.signal - remainder * batch.signal.sum((2, 3), keepdim=True)
    return lucy_exact(replace(batch, signal=less), iterations)


ITERATIONS = (1, 3, 10, 30)


def baselines(direction: str, remainder: torch.Tensor, validation: Batch) -> tuple[dict[str, Method], dict]:
    """The methods without a network; those with a setting have the one that is best on validation patterns."""
    if direction == ADD:
        known = {"known blur": covariance_kernel, "known blur and mean remainder": partial(blurred_with, remainder)}
        return {"input as it is": identity} | known, {}
    methods, settings = {"input as it is": identity}, {}
    for name, left_out in {
        "Richardson-Lucy": 0 * remainder,
        "Richardson-Lucy without mean remainder": remainder,
    }.items():
        made = {n: partial(lucy_without, left_out, n) for n in ITERATIONS}
        best = chosen(ITERATIONS, lambda n, made=made: np.median(scores(validation, made[n])[:, 0]))
        methods[name], settings[name] = made[best], best
    return methods, settings


def in_parts(method: Method, size: int = 32) -> Method:
    """A method that is given no more than `size` patterns at once."""

    def apply(batch: Batch) -> torch.Tensor:
        parts = range(0, len(batch.signal), size)
        return torch.cat([method(batch.part(slice(n, n + size))) for n in parts])

    return apply


# -- scores


def scores(batch: Batch, method: Method) -> np.ndarray:
    """||found - truth|| / ||truth|| and the correlation coefficient of each pattern, (N, 2)."""
    found, truth = (x.flatten(1).double().numpy() for x in (method(batch), batch.target))
    off = np.linalg.norm(found - truth, axis=1) / np.linalg.norm(truth, axis=1)
    return np.stack([off, [np.corrcoef(*pair)[0, 1] for pair in zip(found, truth, strict=True)]], axis=1)


def cell(values: np.ndarray, crystals: np.ndarray) -> list[float]:
    """Median NRMSE over all patterns, smallest and largest of the medians of a crystal, median correlation."""
    each = [np.median(values[crystals == name, 0]) for name in np.unique(crystals)]
    return [np.median(values[:, 0]), min(each), max(each), np.median(values[:, 1])]


# -- the example


COMMAND = "python docs/examples/ptychography_2d.py --steps 200 --seed 1"
CONDITIONS = (
    "Medians over 120 patterns of GaAs, TiO2 and MoS2, in brackets the range of the medians of these three; trained on "
    "320 patterns of Si, SrTiO3, Au, MgO, W, CeO2, AlN and graphite, drawn with seed 1; iterations chosen on 48 "
    "patterns of CsCl and Mg."
)
NOTE = (
    "Trained with {trainings} seed, on {patterns} patterns: {steps_add} steps of {batch} (adding, paired), "
    "{steps_remove} of {batch} (removing, paired) and {steps_unpaired} of {batch_unpaired} (both, unpaired). Drawing "
    "all patterns took {drawing:.1f} minutes of processor time on one thread, all trainings {processor_minutes:.1f}."
)


@dataclass(frozen=True)
class Sizes:
    """How much of everything; patterns are of each crystal."""

    training: int = 40
    validation: int = 24
    test: int = 40
    crystals: int = 8
    trainings: int = 1
    channels: int = 16
    batch: int = 8
    batch_unpaired: int = 4
    doses: tuple[float, ...] = DOSES


QUICK = Sizes(
    training=2, validation=1, test=1, crystals=1, trainings=1, channels=8, batch=2, batch_unpaired=2, doses=(5e5,)
)


def train_paired(sizes: Sizes, direction: str, members, options, folder: Path):
    """One direction from pairs, and what its training took; removing has no physics core unless --physics is given."""
    physics = direction == ADD or options.physics
    recipe = PairedRecipe(direction, dimensions=2, channels=sizes.channels, physics=physics, background=True)
    length = schedule(options, sizes.batch, warm_up=50, averaging=0.99, learning_rate=2e-3)
    trainer, facts = trained(PairedTrainer(recipe, length, PatternLibrary(members, direction), folder))
    return trainer.averaged("generator"), facts


def train_unpaired(sizes: Sizes, members, options, folder: Path):
    """Both directions, from simulations of half of the specimens and experiments on the other half."""
    recipe = UnpairedRecipe(dimensions=2, channels=sizes.channels)
    simulations, experiments = PatternLibrary(members[::2], ADD), PatternLibrary(members[1::2], REMOVE)
    length = schedule(options, sizes.batch_unpaired, warm_up=50, averaging=0.99)
    trainer, facts = trained(UnpairedTrainer(recipe, length, simulations, experiments, folder))
    return {direction: trainer.averaged(direction) for direction in (ADD, REMOVE)}, facts


def train(sizes: Sizes, members, options, folder: Path) -> tuple[dict[str, dict[str, Method]], dict]:
    """All networks of one seed as methods, by direction and name, through ONNX; the steps and times of the training."""
    found, facts, used = {}, {"patterns": len(members)}, 0.0
    facts |= {"batch": sizes.batch, "batch_unpaired": sizes.batch_unpaired}
    here = folder / f"seed_{options.seed}"
    for direction, short in ((ADD, "add"), (REMOVE, "remove")):
        print(f"paired, {direction}, seed {options.seed}", flush=True)
        generator, about = train_paired(sizes, direction, members, options, here / f"paired_{short}")
        found["paired", direction], facts[f"steps_{short}"] = generator, about["steps"]
        used += about["processor_minutes"]
    print(f"unpaired, seed {options.seed}", flush=True)
    both, about = train_unpaired(sizes, members, options, here / "unpaired")
    found |= {("unpaired", direction): generator for direction, generator in both.items()}
    facts |= {"steps_unpaired": about["steps"], "processor_minutes": used + about["processor_minutes"]}
    methods: dict[str, dict[str, Method]] = {ADD: {}, REMOVE: {}}
    for (kind, direction), generator in found.items():
        path = here / f"ptychography_2d_{kind}_{direction}.onnx"
        methods[direction][f"{kind} network, seed {options.seed}"] = in_parts(through_onnx(generator, path))
    return methods, facts


def scored(sizes: Sizes, parts: dict[str, list[Pattern]], networks) -> tuple[dict, list[str]]:
    """The rows of the table on the test patterns, a column for adding and one for each dose; what was tuned."""
    crystals, remainder = np.array([p.crystal for p in parts["test"]]), mean_remainder(parts["training"])
    columns = [(ADD, None), *((REMOVE, dose) for dose in sizes.doses)]
    rows: dict[str, list] = {}
    said = []
    for number, (direction, dose) in enumerate(columns):
        batch, validation = (batch_of(parts[k], direction, dose, number) for k in ("test", "validation"))
        methods, settings = baselines(direction, remainder, validation)
        said += [f"{name} at {dose:g} electrons: {n} iterations" for name, n in settings.items()]
        for name, method in (methods | networks[direction]).items():
            rows.setdefault(name, [None] * len(columns))[number] = cell(scores(batch, method), crystals)
    kinds = [n for n in rows if "network" not in n] + sorted(n for n in rows if "network" in n)
    return {name: rows[name] for name in kinds}, said


def draw(path: Path, p: Pattern, dose: float, methods: dict[str, dict[str, Method]]) -> None:
    """A held-out pattern both ways, and what each method makes of it; square roots of the intensity."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 4, figsize=(10.4, 5.6))
    for row, direction in zip(axes, (ADD, REMOVE), strict=True):
        batch = batch_of([p], direction, dose, 0)
        names = {ADD: ("simulated", "experimental, mean"), REMOVE: ("experimental", "simulated")}[direction]
        panels = {names[0]: batch.signal} | {name: method(batch) for name, method in methods[direction].items()}
        top = float(batch.target.max()) ** 0.5
        for axis, (name, values) in zip(row, (panels | {names[1]: batch.target}).items(), strict=True):
            axis.imshow(values[0, 0].clamp(min=0).sqrt().numpy(), cmap="magma", vmin=0, vmax=top)
            axis.set(title=name, xticks=[], yticks=[])
    figure.tight_layout()
    figure.savefig(path, dpi=70)
    plt.close(figure)


def drawn(sizes: Sizes, seed: int, folder: Path) -> tuple[dict[str, list[Pattern]], float]:
    """The patterns of each part, and the minutes of processor time that they took; those that are in the folder already
    are read."""
    file = folder / f"patterns_{seed}_{sizes.training}x{sizes.crystals}.npz"
    if not file.exists():
        before = time.process_time()
        arrays = {}
        for number, (part, names) in enumerate(SPLIT.items()):
            made = patterns(10 * seed + number, names[: sizes.crystals], getattr(sizes, part))
            arrays |= {f"{part}.{f.name}": np.array([getattr(p, f.name) for p in made]) for f in fields(Pattern)}
        with replacing(file, ".part.npz") as temporary:
            np.savez(temporary, minutes=(time.process_time() - before) / 60, **arrays)
    with np.load(file) as kept:
        columns = {part: [kept[f"{part}.{f.name}"] for f in fields(Pattern)] for part in SPLIT}
        parts = {part: [Pattern(*values) for values in zip(*c, strict=True)] for part, c in columns.items()}
        minutes = float(kept["minutes"])
    print(", ".join(f"{k}: {len(v)} patterns" for k, v in parts.items()) + f" in {minutes:.1f} minutes", flush=True)
    return parts, minutes


def main(words=None) -> dict[str, list]:
    """Draw, train, score, print; the rows of the table."""
    arguments = parser(__doc__.splitlines()[0], minutes=2.0)
    arguments.add_argument("--physics", action="store_true", help="with Richardson-Lucy inside the removing network")
    options = arguments.parse_args(words)
    torch.set_num_threads(1)
    sizes, folder = QUICK if options.quick else Sizes(), folder_of(options)
    parts, drawing = drawn(sizes, options.seed, folder)
    networks: dict[str, dict[str, Method]] = {ADD: {}, REMOVE: {}}
    facts, used = {}, 0.0
    for number in range(sizes.trainings):
        again = argparse.Namespace(**vars(options) | {"seed": options.seed + number})
        methods, facts = train(sizes, parts["training"], again, folder)
        used += facts["processor_minutes"]
        networks = {direction: networks[direction] | methods[direction] for direction in networks}
    facts |= {"trainings": sizes.trainings, "drawing": drawing, "processor_minutes": used}
    rows, said = scored(sizes, parts, networks)
    titles = ["simulated to experimental", *(f"experimental to simulated, {d:,.0f} electrons" for d in sizes.doses)]
    report(
        options,
        "ptychography_2d",
        COMMAND,
        CONDITIONS,
        dict.fromkeys(titles, "{:.3f} ({:.3f}-{:.3f}); {:.3f}"),
        rows,
        NOTE,
        facts,
    )
    print(f"Tuned: {'; '.join(said)}.")
    first = options.seed
    known = {ADD: {"known blur": covariance_kernel}, REMOVE: {"Richardson-Lucy": partial(lucy_exact, iterations=3)}}
    shown = {k: known[k] | {"paired network": networks[k][f"paired network, seed {first}"]} for k in known}
    draw(folder / "ptychography_2d.png", parts["test"][-1], sizes.doses[-1], shown)
    print(f"models and picture: {folder}")
    return rows


if __name__ == "__main__":
    main()
