"""What the networks are trained on: pairs that `make-pairs` wrote, or users' own spectra; noise, gaps and flips are
drawn anew for each step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from ..convolve.experiment import ExperimentSettings, background, draw_counted, draw_seen
from ..core.slices import intensity_scale, network_axes, network_slices, to_network
from ..errors import InputError
from .generator import GRID_MULTIPLE, SMALLEST_GRID
from .operator import pairs_of_axes

#: Bytes of pairs that a library holds in memory: 5000 slices of 64x64 bins, or 500 volumes of 32x32x32.
REMEMBERED = 1 << 30
#: Share of training examples with the background of an experiment.
WITH_BACKGROUND = 0.5


@dataclass(frozen=True)
class Example:
    """One spectrum for a network, D open axes with the energy last where it is one.

    signal, error, target : float32 (*grid), 0 where not valid; valid : bool (*grid);
    width (D, *grid), correlation (P, *grid), position (3, *grid) : float32; energy_last : bool.
    """

    signal: np.ndarray
    valid: np.ndarray
    error: np.ndarray
    target: np.ndarray
    width: np.ndarray
    correlation: np.ndarray
    position: np.ndarray
    energy_last: bool = True

    @property
    def dimensions(self) -> int:
        """Open axes."""
        return self.signal.ndim


@dataclass(frozen=True)
class Batch:
    """Tensors of one step, all float32: signal, valid, error, target (N, 1, *grid) and the conditions (N, C, *grid)."""

    signal: torch.Tensor
    valid: torch.Tensor
    error: torch.Tensor
    width: torch.Tensor
    correlation: torch.Tensor
    position: torch.Tensor
    target: torch.Tensor

    def inputs(self) -> tuple[torch.Tensor, ...]:
        """What a generator takes, in its order."""
        return self.signal, self.valid, self.error, *self.conditions()

    def conditions(self) -> tuple[torch.Tensor, ...]:
        """Width, correlation and position."""
        return self.width, self.correlation, self.position

    def part(self, members: slice) -> Batch:
        """Some members of the batch."""
        return Batch(**{k: v[members] for k, v in vars(self).items()})

    def to(self, device) -> Batch:
        """The batch on a device."""
        return Batch(**{k: v.to(device) for k, v in vars(self).items()})


def stack(examples: Sequence[Example]) -> Batch:
    """A batch of examples of one shape."""
    channels = {"signal", "valid", "error", "target"}
    arrays = {}
    for f in fields(Batch):
        values = np.stack([getattr(e, f.name) for e in examples]).astype(np.float32)
        arrays[f.name] = torch.from_numpy(values[:, None] if f.name in channels else values)
    return Batch(**arrays)


class PairLibrary:
    """Pairs in a folder that `insgan make-pairs` wrote, read as they are asked for.

    Parameters
    ----------
    folder : str or Path
    split : str, optional
        'train', 'validation', 'test-family' or 'test-setting'; all if not given.

    Raises
    ------
    InputError
        If the folder holds no pairs of that split, or a file differs from its checksum.
    """

    def __init__(self, folder: str | Path, split: str | None = None):
        from .pairs.shards import list_pairs, read_pair

        self.folder, self.split = Path(folder), split
        self.index = list_pairs(folder, split)
        if not self.index:
            raise InputError(
                f"{folder} holds no pairs" + (f" of the split {split}" if split else ""),
                "make more with `insgan make-pairs` (--count)",
            )
        some = [read_pair(*self.index[i][:2]) for i in np.linspace(0, len(self.index) - 1, 6).astype(int)]
        self.dimensions = some[0].ideal.ndim
        size = sum(map(_memory, some)) // len(some)
        self._read = lru_cache(maxsize=max(1, REMEMBERED // size))(read_pair)

    def __len__(self) -> int:
        return len(self.index)

    @property
    def sources(self) -> np.ndarray:
        """The number of the spectrum that each member comes from: here one each."""
        return np.arange(len(self))

    def pair(self, i: int):
        """Pair number i of the split, see `mantid_insgan.learn.pairs.Pair`."""
        return self._read(*self.index[i][:2])

    def facts(self, name: str) -> list[str]:
        """A fact of every pair: 'kind', 'family' or 'setting'."""
        return [self.index[i][2][name] for i in range(len(self))]

    def examples(self, index, direction: str, rng, **noise) -> list[Example]:
        """Pairs as examples with noise, gaps and flips; see `with_noise`."""
        return [with_noise(self.pair(i), direction, rng, **noise) for i in index]


def _memory(pair) -> int:
    """Bytes that a pair takes once its detectors are known."""
    return pair.detectors.nbytes + sum(v.nbytes for v in vars(pair).values() if isinstance(v, np.ndarray))


class Several:
    """Libraries one after the other, as one.

    Parameters
    ----------
    *libraries : PairLibrary
        Of the same number of dimensions.
    """

    def __init__(self, *libraries):
        self.libraries, self.dimensions = libraries, libraries[0].dimensions
        self._ends = np.cumsum([len(library) for library in libraries])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def pair(self, i: int):
        """Pair number i of all."""
        which = int(np.searchsorted(self._ends, i, side="right"))
        return self.libraries[which].pair(i - (self._ends[which - 1] if which else 0))

    examples = PairLibrary.examples


class Part:
    """Some members of a library.

    Parameters
    ----------
    library : PairLibrary or SpectraLibrary
    index : sequence of int
        Its members, in the order of this part.
    """

    def __init__(self, library, index):
        self.library, self.index, self.dimensions = library, np.asarray(index), library.dimensions

    def __len__(self) -> int:
        return len(self.index)

    def examples(self, index, direction: str, rng, **noise) -> list[Example]:
        """As the library gives its members."""
        return self.library.examples(self.index[np.asarray(index)], direction, rng, **noise)


def with_noise(
    pair, direction: str, rng, *, exact_share: float | None = None, peak_counts=None, varied: bool = True
) -> Example:
    """One pair as an experiment might give it, or a simulation.

    Parameters
    ----------
    pair : make_pairs.Pair
    direction : {'add-resolution', 'remove-resolution'}
        Which member is the input and which the target.
    rng : numpy.random.Generator
    exact_share : float, optional
        Share of inputs without noise (error 0); a quarter for removing, six tenths for adding if not given.
    peak_counts : float, optional
        Counts in the brightest bins of the magnet (`draw_counted`); log-uniform between 20 and 20000 if not given.
    varied : bool
        Draw an experiment's settings and add its background in half of the examples (to the ideal side without the
        resolution), draw gaps, and turn axes round; without, the pair is as it was made, without background and with
        the gaps of its own experiment.
    """
    if exact_share is None:
        exact_share = 0.25 if direction == "remove-resolution" else 0.6
    known, detectors, grid = pair.known, pair.detectors, pair.ideal.shape
    magnet = sides = _clean(pair)
    valid = known & pair.valid
    if varied:
        settings = ExperimentSettings.draw(rng, temperature=pair.facts["model"]["temperature"])
        if rng.random() < WITH_BACKGROUND:
            added = background(detectors, settings, 1.0, known.reshape(detectors.shape))
            sides = [m + b.reshape(grid) for m, b in zip(magnet, added, strict=True)]
        valid = known & draw_seen(rng, detectors, settings, grid)
    # Gaps that hide nearly all there is to see teach nothing.
    if valid.sum() < 0.2 * valid.size or min((x[valid] ** 2).sum() / (x**2).sum() for x in magnet) < 0.3:
        valid = known
    given = 1 if direction == "remove-resolution" else 0
    source, target = sides[given], sides[1 - given]
    if rng.random() < exact_share:
        signal, error = source, np.zeros_like(source)
    else:
        counts = peak_counts or 10 ** rng.uniform(np.log10(20), np.log10(20000))
        signal, error = draw_counted(rng, detectors, np.where(valid, source, 0.0), magnet[given], counts)
    # The jitter keeps the network from relying on the translator's scale.
    scale = intensity_scale(signal, valid) * (10 ** rng.uniform(-0.3, 0.3) if varied else 1.0)
    example = Example(
        *(np.where(valid, x, 0.0) / s for x, s in ((signal, scale), (valid, True), (error, scale), (target, scale))),
        pair.width,
        pair.correlation,
        pair.position,
        pair.facts["axes"][-1]["bins"] > 1,
    )
    return flipped(rng, example) if varied else example


def _clean(pair):
    """Ideal and convolved in units of the latter's size, 0 where they are not known."""
    ideal, convolved = (np.where(pair.known, x, 0.0).astype(np.float64) for x in (pair.ideal, pair.convolved))
    scale = intensity_scale(convolved, pair.known)
    return ideal / scale, convolved / scale


def flipped(rng, example: Example) -> Example:
    """Turned round along some momentum axes; a correlation with one of them changes its sign. The two momentum axes of
    a volume change places as often as not."""
    dimensions = example.dimensions
    if dimensions == 3 and example.energy_last and len(set(example.signal.shape[:2])) == 1 and rng.random() < 0.5:
        example = _swapped(example)
    axes = [a for a in range(dimensions - example.energy_last) if rng.random() < 0.5]
    if not axes:
        return example
    signs = [(-1.0) ** ((i in axes) + (j in axes)) for i, j in pairs_of_axes(dimensions)]
    signs = np.array(signs, np.float32).reshape(-1, *[1] * dimensions)
    arrays = {f.name: getattr(example, f.name) for f in fields(Example) if f.name != "energy_last"}
    arrays["correlation"] = arrays["correlation"] * signs
    turned = {k: np.flip(v, [v.ndim - dimensions + a for a in axes]) for k, v in arrays.items()}
    return Example(**turned, energy_last=example.energy_last)


def _swapped(volume: Example) -> Example:
    """The first two axes of a volume in each other's place: channels that belong to them, too."""
    order = {"width": [1, 0, 2], "correlation": [0, 2, 1]}  # pairs (0, 1), (0, 2), (1, 2)
    arrays = {f.name: getattr(volume, f.name) for f in fields(Example) if f.name != "energy_last"}
    arrays |= {name: arrays[name][channels] for name, channels in order.items()}
    turned = {k: np.swapaxes(v, v.ndim - 3, v.ndim - 2) for k, v in arrays.items()}
    return Example(**turned, energy_last=volume.energy_last)


class SpectraLibrary:
    """Users' own spectra, each with the resolution of its own run facts; windows of one size are cut out of them.

    Parameters
    ----------
    spectra : sequence of (Spectrum, Resolution)
    dimensions : int
        Open axes that the network sees; further ones are walked.
    window : int
        Bins along each axis of what is cut out; spectra that are smaller are filled up with bins that are not valid.
    targets : sequence of Spectrum, optional
        For paired data: the other side of each spectrum, on the same grid.

    Raises
    ------
    InputError
        If there is no spectrum with enough valid bins, or a target's grid differs.
    """

    def __init__(self, spectra, dimensions: int, window: int, targets=None):
        self.dimensions, self.window = dimensions, _checked_window(window)
        self.members: list[Example] = []
        sources: list[int] = []  #: of each member
        for number, (spectrum, resolution) in enumerate(spectra):
            target = None if targets is None else targets[number]
            self.members += list(_slices_of(spectrum, resolution, dimensions, target))
            sources += [number] * (len(self.members) - len(sources))
        self.sources = np.array(sources)
        if not self.members:
            raise InputError("none of the spectra has a valid bin", "give spectra with data (see `insgan inspect`)")

    def __len__(self) -> int:
        return len(self.members)

    def examples(self, index, direction: str, rng, **_) -> list[Example]:
        """Random windows of the members at `index`, turned round at random; `direction` says which side is the input.

        For paired data the spectrum is the simulation and the target the experiment, or the other way round for
        'remove-resolution'.
        """
        return [flipped(rng, _window(rng, self.members[i], self.window)) for i in index]


def _checked_window(window: int) -> int:
    if window % GRID_MULTIPLE or window < SMALLEST_GRID:
        raise ValueError(f"the window of {window} bins is no multiple of {GRID_MULTIPLE} of {SMALLEST_GRID} or more")
    return window


def _slices_of(spectrum, resolution, dimensions: int, target):
    """A spectrum as examples of `dimensions` axes, in units of its own size."""
    if target is not None and target.shape != spectrum.shape:
        raise InputError(
            f"{spectrum.title!r} has {spectrum.shape} bins and its partner {target.title!r} has {target.shape}",
            "bin paired simulation and experiment on the same grid",
        )
    axes = network_axes(spectrum.axes, dimensions)
    slices = network_slices(spectrum, resolution.on_grid(spectrum), axes)
    for place, (signal, valid, error), conditions in slices:
        if target is not None:
            valid = valid & to_network(target.valid[place], axes)
        if valid.sum() < 16:
            continue
        scale = intensity_scale(signal, valid)
        other = np.zeros_like(signal)
        if target is not None:
            other = to_network(np.where(target.valid, target.signal, 0.0)[place], axes)
        arrays = [np.where(valid, x, 0.0) / s for x, s in ((signal, scale), (error, scale), (other, scale))]
        grid = signal.shape
        rows = {k: np.broadcast_to(v, (len(v), *grid)).astype(np.float32) for k, v in conditions.items()}
        rows.setdefault("correlation", np.zeros((0, *grid), np.float32))
        energy = spectrum.axes[axes[-1]].is_energy
        yield Example(arrays[0], valid, arrays[1], arrays[2], **rows, energy_last=energy)


def _window(rng, example: Example, size: int) -> Example:
    """A random window of `size` bins along each axis that holds valid bins, filled up where the example is smaller."""
    grid = example.signal.shape
    for _ in range(20):
        start = [int(rng.integers(0, max(n - size, 0) + 1)) for n in grid]
        part = tuple(slice(s, s + size) for s in start)
        if example.valid[part].sum() >= 16:
            break
    arrays = {}
    for f in fields(Example):
        if f.name == "energy_last":
            continue
        values = getattr(example, f.name)
        lead = values.ndim - len(grid)
        values = values[(slice(None),) * lead + part]
        missing = [(0, 0)] * lead + [(0, size - n) for n in values.shape[lead:]]
        arrays[f.name] = np.pad(values, missing, mode="edge" if lead else "constant")
    return Example(**arrays, energy_last=example.energy_last)


def array_example(signal, target, *, error=0.0, valid=True, fwhm=0.0) -> Example:
    """Two arrays on one grid as an example, for data without a spectrometer: no energy, |Q| or correlation is told.

    Parameters
    ----------
    signal, target : array_like, (*grid)
        Input and what is to come out of it, in one unit, in which the input's overall size should be about 1.
    error : array_like, broadcast to (*grid)
        Standard error of `signal`, in its unit.
    valid : array_like of bool, broadcast to (*grid)
    fwhm : float or sequence of D floats
        Resolution that is to be added or removed, along each axis, in bins.

    Raises
    ------
    InputError
        If the grids differ, or a valid bin is not finite.
    """
    signal, target = np.asarray(signal), np.asarray(target)
    if signal.shape != target.shape:
        raise InputError(
            f"the input has the grid {signal.shape} and its target {target.shape}", "give both on the same grid"
        )
    grid, dimensions = signal.shape, signal.ndim
    valid, error = np.broadcast_to(valid, grid), np.broadcast_to(error, grid)
    values = [np.where(valid, x, 0.0).astype(np.float32) for x in (signal, error, target)]
    for name, array in zip(("input", "error", "target"), values, strict=True):
        if not np.isfinite(array).all():
            raise InputError(
                f"{np.sum(~np.isfinite(array))} valid bins of the {name} are not finite",
                "mark bins that were not measured as not valid",
            )
    # Views of one number: a library of conditions that are the same everywhere takes no memory.
    width = np.asarray(np.broadcast_to(fwhm, (dimensions,)), np.float32).reshape(-1, *[1] * dimensions)
    nothing = np.zeros((1,) * (1 + dimensions), np.float32)
    conditions = [
        np.broadcast_to(x, (n, *grid))
        for x, n in ((width, dimensions), (nothing, len(pairs_of_axes(dimensions))), (nothing, 3))
    ]
    return Example(values[0], valid, values[1], values[2], *conditions, energy_last=False)


class ArrayLibrary:
    """Examples of any origin; windows of one size are cut out of them and, if asked for, varied.

    Parameters
    ----------
    members : sequence of Example
        See `array_example`.
    window : int
        Bins along each axis of what is cut out; members that are smaller are filled up with bins that are not valid.
    varied : callable, optional
        (example, rng) -> example: what is drawn anew for every step, such as noise or a turn. Nothing is turned
        otherwise: what may be turned round without becoming something else (a crystal's image, but no protein) is for
        the caller to say.

    Raises
    ------
    InputError
        If there is no member, or they are not of one number of dimensions.
    """

    def __init__(self, members: Sequence[Example], window: int, varied=None):
        self.members, self.window, self.varied = list(members), _checked_window(window), varied
        found = sorted({m.dimensions for m in self.members})
        if len(found) != 1:
            raise InputError(
                f"there are {len(self.members)} examples, of these numbers of dimensions: {found}",
                "give at least one example, and all of one number of dimensions",
            )
        self.dimensions = found[0]

    def __len__(self) -> int:
        return len(self.members)

    def examples(self, index, direction: str, rng, **_) -> list[Example]:
        """Random windows of the members at `index`; input and target are the members' own, whatever `direction`."""
        cut = [_window(rng, self.members[i], self.window) for i in index]
        return [self.varied(example, rng) for example in cut] if self.varied else cut
