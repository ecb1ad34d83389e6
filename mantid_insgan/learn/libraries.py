"""Training data: pairs that `make-pairs` wrote, or users' own spectra; noise, gaps and flips are drawn anew for each
step."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from ..core.slices import intensity_scale, network_axes, network_slices, to_network
from ..errors import InputError
from .augment import checked_window, flipped, window, with_noise
from .examples import Example

#: Bytes of pairs that a library holds in memory: 5000 slices of 64x64 bins, or 500 volumes of 32x32x32.
REMEMBERED = 1 << 30


class PairLibrary:
    """Pairs in a folder that `insgan make-pairs` wrote, read on demand.

    `draws_counts` says whether the noise of an example is drawn with as many counts as are asked for.

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

    draws_counts = True

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
        """The number of the spectrum that each member comes from; every pair is a spectrum of its own."""
        return np.arange(len(self))

    def pair(self, i: int):
        """Pair number i of the split, see `mantid_insgan.learn.pairs.Pair`."""
        return self._read(*self.index[i][:2])

    def facts(self, name: str) -> list[str]:
        """One fact, such as 'kind', 'family' or 'setting', for every pair."""
        return [self.index[i][2][name] for i in range(len(self))]

    def examples(self, index, direction: str, rng, **noise) -> list[Example]:
        """Pairs as examples with noise, gaps and flips; see `with_noise`."""
        return [with_noise(self.pair(i), direction, rng, **noise) for i in index]


def _memory(pair) -> int:
    """Bytes that a pair takes, detectors included."""
    return pair.detectors.nbytes + sum(v.nbytes for v in vars(pair).values() if isinstance(v, np.ndarray))


class Several:
    """Several libraries joined into one.

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

    @property
    def draws_counts(self) -> bool:
        """As that of the libraries."""
        return self.libraries[0].draws_counts

    def pair(self, i: int):
        """Pair number i of all."""
        which = int(np.searchsorted(self._ends, i, side="right"))
        return self.libraries[which].pair(i - (self._ends[which - 1] if which else 0))

    examples = PairLibrary.examples


class Part:
    """A subset of a library.

    Parameters
    ----------
    library : PairLibrary or SpectraLibrary
    index : sequence of int
        Its members, in the order of the subset.
    """

    def __init__(self, library, index):
        self.library, self.index, self.dimensions = library, np.asarray(index), library.dimensions

    def __len__(self) -> int:
        return len(self.index)

    @property
    def draws_counts(self) -> bool:
        """As that of the library."""
        return self.library.draws_counts

    @property
    def noise(self) -> str:
        """As that of the library, in words."""
        return self.library.noise

    def examples(self, index, direction: str, rng, **noise) -> list[Example]:
        """As `examples` of the library."""
        return self.library.examples(self.index[np.asarray(index)], direction, rng, **noise)


class SpectraLibrary:
    """Users' own spectra, each with the resolution of its own run facts, cut into windows of one size.

    Parameters
    ----------
    spectra : sequence of (Spectrum, Resolution)
    dimensions : int
        Open axes that the network sees; along further axes each bin gives a slice.
    window : int
        Bins of a window along each axis; smaller spectra are padded with bins that are not valid.
    targets : sequence of Spectrum, optional
        For paired data: the partner of each spectrum, on the same grid.

    Raises
    ------
    InputError
        If there is no spectrum with enough valid bins, or a target's grid differs.
    """

    draws_counts, noise = False, "noise as measured"  # spectra have their own

    def __init__(self, spectra, dimensions: int, window: int, targets=None):
        self.dimensions, self.window = dimensions, checked_window(window)
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
        """Random windows of the members at `index`, flipped at random; `direction` says which side is the input.

        For paired data the spectrum is the simulation and the target the experiment, or the other way round for
        'remove-resolution'.
        """
        return [flipped(rng, window(rng, self.members[i], self.window)) for i in index]


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
