"""The translator applies an ONNX model to a spectrum of any size.

The network takes slices of D axes (Q and energy transfer, energy last); data with more axes are processed slice by
slice. Each slice is divided by its root mean square; large slices are cut into overlapping tiles, then merged.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import NamedTuple

import numpy as np

from ..core.kernels import reach_of
from ..core.slices import (
    from_network,
    intensity_scale,
    network_axes,
    network_slices,
    require_network_axes,
    require_valid,
)
from ..core.spectrum import ENDS, Spectrum, frozen
from ..errors import ModelError
from ..instruments.grid import ResolutionOnGrid
from .cards import OUTPUTS, STEPS, ModelFile, require_dimensions, require_intervals
from .misfit import Misfit
from .session import open_session, run_interruptibly
from .trust import (
    ALARM,
    FEWEST,
    Plausible,
    all_statistics,
    blocks_of,
    combined,
    deviations,
    farthest_bin,
    feature_distance,
    in_words,
    pulls_of,
)

#: Slices up to this many bins along each axis are processed whole, larger ones as tiles with this overlap: by the
#: number of dimensions of the model.
TILE = {1: 4096, 2: 256, 3: 64}
OVERLAP = {1: 96, 2: 64, 3: 24}
#: Bins at which the widths are compared with the model's before anything is translated; of larger data every n-th.
LOOKED_AT = 200_000
#: Total over the sum of magnitudes at or below which a total has no meaning (background-subtracted noise).
TELLING = 0.1
#: Largest difference between the totals of the network's answer and of the exact convolution (add-resolution).
INTENSITY_SLACK = 0.01
#: Sums of `Quality` that are counts of bins: of two steps the larger is told.
_MOST = ("bins", "too_wide")


@dataclass
class Quality:
    """Quality of a result; sums over the parts processed so far.

    Attributes
    ----------
    flux_in, flux_out : float
        Sum of the signal over the valid bins before and after: of the file, once the job is done.
    magnitude : float
        Sum of the magnitude of the signal before.
    shown_in, shown_out : float
        Sum of the intensity per event, if the signal is a sum over events.
    bins : int
        Valid bins.
    chi_squared : float
        Sum of ((data - convolved) / s)^2 over the valid bins that have an error, where `convolved` is the result
        convolved with the resolution again (remove-resolution); 0 for add-resolution. s is what is expected of spectra
        like the training data, if the card says so, and the error of the data otherwise.
    compared : int
        Number of bins in that sum.
    misfit : Misfit
        The squares in that sum by energy transfer.
    too_wide : int
        Valid bins where the resolution is wider than the model can apply, so that the width was limited.
    left_out : int
        Valid bins of the input that a spectrometer with the resolution of the result cannot reach.
    distances : list of float
        For each slice, tile or block, its distance from the training set, in units of the card's threshold, which 1 %
        of spectra that were held out exceed.
    p_values : list of float
        For each block of a model whose card has `blocks`: the share of blocks like the training data, with errors as
        large, that are at least as far from it.
    unusual : list of tuple of str
        Of blocks with p-values below `trust.ALARM`: what is unusual in words (`trust.STATISTICS`), and where.
    """

    flux_in: float = 0.0
    flux_out: float = 0.0
    bins: int = 0
    chi_squared: float = 0.0
    compared: int = 0
    too_wide: int = 0
    left_out: int = 0
    distances: list[float] = field(default_factory=list)
    p_values: list[float] = field(default_factory=list)
    unusual: list[tuple[str, str]] = field(default_factory=list)
    misfit: Misfit = field(default_factory=Misfit)
    magnitude: float = 0.0
    shown_in: float = 0.0
    shown_out: float = 0.0

    def count_flux(self, before: Spectrum, after: Spectrum) -> None:
        """Set the flux to that of data and result as files have them: sums over events where they are such."""
        if after.sums_events:
            self.shown_in, self.shown_out = self.flux_in, self.flux_out
        counted = before.signal[after.valid]
        self.magnitude = float(np.abs(counted).sum())
        self.flux_in, self.flux_out = float(counted.sum()), float(after.signal[after.valid].sum())

    @property
    def flux_ratio(self) -> float | None:
        """Total of the result over that of the data; None if that is near zero (`TELLING`), where it means nothing."""
        return self.flux_out / self.flux_in if self.flux_in > TELLING * self.magnitude else None

    def add(self, other: Quality) -> None:
        """Add the sums of another part of the same data."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def then(self, other: Quality) -> Quality:
        """The quality of two steps, where the second was applied to the result of the first."""
        both = Quality(
            **{name: max(value, getattr(other, name)) for name, value in vars(self).items() if name in _MOST}
        )
        both.flux_in, both.flux_out = self.flux_in, other.flux_out
        for name in ("chi_squared", "compared", "misfit", "distances", "p_values", "unusual"):
            setattr(both, name, getattr(self, name) + getattr(other, name))
        return both

    @property
    def outside(self) -> float:
        """Fraction of slices beyond the threshold of the domain of application."""
        return float(np.mean(np.array(self.distances) > 1.0)) if self.distances else 0.0

    @property
    def p_value(self) -> float | None:
        """Of the whole result, from those of its blocks (their harmonic mean); None without any."""
        return combined(self.p_values) if self.p_values else None

    @property
    def reasons(self) -> list[tuple[str, str]]:
        """What is unusual, the most frequent first, and where that is found first."""
        first: dict[str, str] = {}
        for reason, where in self.unusual:
            first.setdefault(reason, where)
        counts = Counter(reason for reason, _ in self.unusual)
        return [(reason, first[reason]) for reason, _ in counts.most_common()]

    def summary(self) -> dict[str, float | None]:
        """The numbers of the report, by name."""
        return {
            "valid_bins": self.bins,
            "flux_ratio": self.flux_ratio,
            "reduced_chi_squared_of_reconvolution": self.chi_squared / self.compared if self.compared else None,
            "share_of_bins_with_resolution_too_wide": self.too_wide / self.bins if self.bins else None,
            "median_distance_from_training": float(np.median(self.distances)) if self.distances else None,
            "share_of_slices_outside_training": self.outside,
            "p_value_of_domain": self.p_value,
        }


class _Seen(NamedTuple):
    """One slice in the network's units, each (*grid): the data, the result, the network's own standard deviation, and
    the result convolved again."""

    signal: np.ndarray
    valid: np.ndarray
    error: np.ndarray
    found: np.ndarray
    spread: np.ndarray
    again: np.ndarray

    def part(self, block) -> _Seen:
        """A block of it."""
        return _Seen(*(x[block] for x in self))


class Translator:
    """An open model.

    Parameters
    ----------
    model : ModelFile
    device : {'auto', 'cpu', 'cuda'}
    threads : int, optional
        CPU threads; all cores if not given.
    bins : int, optional
        Bins of the data, where it is opened for these alone.

    Raises
    ------
    DeviceError, ModelError
        See `session.open_session`.
    """

    def __init__(self, model: ModelFile, device: str = "auto", threads: int | None = None, *, bins: int | None = None):
        self.card = model.card
        self.session = open_session(model, device, threads, bins)
        self.inputs = [i.name for i in self.session.get_inputs()]
        self.device = "cuda" if self.session.get_providers()[0].startswith("CUDA") else "cpu"
        #: Called for each slice with the direction, the spectrum, the place of the slice, and its signal, variance,
        #: convolved ideal spectrum and pulls (`trust.pulls_of`).
        self.watch = None
        self._plausible = self.card.blocks and Plausible(self.card.blocks)

    @property
    def takes_target(self) -> bool:
        """Whether the model translates to and from a resolution that is finer than the spectrometer's; others know only
        no resolution at all, and so do those whose simulations contain the calculated resolution or that are for more
        than the resolution."""
        return "finer" in self.inputs and self.card.simulation == "ideal" and self.card.purpose == "resolution"

    def apply(
        self,
        spectrum: Spectrum,
        grid: ResolutionOnGrid,
        progress=None,
        finer: ResolutionOnGrid | None = None,
        *,
        intervals: bool = False,
    ) -> tuple[Spectrum, Quality]:
        """Translate a spectrum held in memory.

        Parameters
        ----------
        spectrum : Spectrum
            Any number of dimensions; see `network_axes` for those the network sees.
        grid : ResolutionOnGrid
            The resolution at its bins: that of `Resolution.on_grid`, or of the region that a slab of a file is.
        progress : callable, optional
            Called with the fraction done, 0 to 1, after each tile and every `session.LOOK` seconds; an exception that
            it raises stops the work.
        finer : ResolutionOnGrid, optional
            Resolution of the result (remove-resolution) or of the input (add-resolution) at the same bins; none at all
            if not given. Only for a model that `takes_target`.
        intervals : bool
            Whether the result has `deviations`, which the card has to know.

        Returns
        -------
        spectrum : Spectrum
            With new signal, variance and deviations, NaN where the input is not valid; everything else as in the input.
        quality : Quality

        Raises
        ------
        InputError
            If no bin is valid, or the axes are not suitable.
        ModelError
            If the model needs more open axes than the spectrum has, the resolution is wider than the model can apply in
            most bins, the model takes no finer resolution and one is given, or its card has no intervals.
        """
        if finer is not None and not self.takes_target:
            raise ModelError(
                f"the model {self.card.name} takes no finer resolution, and one was given",
                "use a model with an input finer, or give none",
            )
        if intervals:
            require_intervals(self.card)
        require_network_axes(spectrum.axes)
        require_dimensions(self.card, len(grid.open_axes))
        axes = network_axes(spectrum.axes, self.card.dimensions)
        require_valid(spectrum)
        quality = Quality()
        self._check_width(spectrum, grid, axes)
        signal, variance = np.full(spectrum.shape, np.nan), np.full(spectrum.shape, np.nan)
        away = np.full((len(ENDS), *spectrum.shape), np.nan) if intervals else None
        total = math.prod(n for i, n in enumerate(spectrum.shape) if i not in axes)
        for done, (place, data, channels) in enumerate(network_slices(spectrum, grid, axes, finer)):
            tell = partial(_share_of, done, total, progress)
            at = partial(_place_in_words, spectrum.axes, axes, place)
            answer, ends = self._translate(*data, channels, quality, tell, at)
            answer = [from_network(x, axes) for x in answer]
            signal[place], variance[place], _, pulls = answer
            if self.card.direction == "remove-resolution":
                quality.misfit += Misfit.of(spectrum.axes, place, pulls)
            if intervals and ends is not None:
                away[(slice(None), *place)] = [from_network(x, axes) for x in ends]
            if self.watch is not None:
                self.watch(self.card.direction, spectrum, place, *answer)
            tell(1.0)
        found = {"signal": signal, "variance": variance} | ({"deviations": away} if intervals else {})
        return spectrum.replace(**{name: frozen(x) for name, x in found.items()}), quality

    def _check_width(self, spectrum: Spectrum, grid: ResolutionOnGrid, axes: tuple[int, ...]) -> None:
        step = math.ceil((spectrum.signal.size / LOOKED_AT) ** (1 / spectrum.ndim))
        some = (slice(None, None, step),) * spectrum.ndim
        valid = spectrum.valid[some]
        if not valid.any():
            return
        looked_at = grid.region(some)
        width = dict(zip(looked_at.open_axes, looked_at.width, strict=True))
        limit = self.card.largest_fwhm_bins
        for axis in axes:
            middle = float(np.median(width[axis].reshape(valid.shape)[valid]))
            if middle > limit:
                energy = spectrum.axes[axis].is_energy
                label, flag = ("meV", "--energy-bins") if energy else (spectrum.axes[axis].unit, "--q-bins")
                raise ModelError(
                    f"the resolution along {spectrum.axes[axis].name!r} is {middle:.3g} bins wide (FWHM, median over "
                    f"the valid bins), and the model {self.card.name} can apply up to {limit:g}",
                    f"rebin the data along {spectrum.axes[axis].name!r} to bins of "
                    f"{_up(middle / limit * spectrum.axes[axis].width)} {label} or more "
                    f"(Rebin or BinMD in Mantid; {flag} on the command line), and apply the model to the result",
                )

    def _translate(self, signal, valid, error, conditions, quality, tell, at):
        """Signal, variance, convolved ideal spectrum and pulls of one slice, and deviations or None; its quality is
        added."""
        if not valid.any():
            return [np.full(signal.shape, np.nan)] * 4, None
        scale = intensity_scale(signal, valid)
        distances: list[float] = []
        answer = self._run_tiles(signal / scale, valid, error / scale, conditions, distances, tell)
        # float32 could round the smallest errors to zero; an error is never zero
        seen = _Seen(
            signal / scale, valid, error / scale, answer[0], np.maximum(np.exp(0.5 * answer[1]), 1e-9), answer[2]
        )
        translated = np.where(valid, answer[0] * scale, np.nan)
        if self.card.direction == "add-resolution" and not self.card.background:
            translated *= kept_intensity(answer[0][valid], answer[2][valid])
        quality.flux_in += float(signal[valid].sum())
        quality.flux_out += float(translated[valid].sum())
        quality.bins += int(valid.sum())
        quality.too_wide += int((valid & (conditions["width"] > self.card.largest_fwhm_bins).any(0)).sum())
        pulls = self._pulls(seen)
        if self.card.direction == "remove-resolution":
            quality.chi_squared += float(np.nansum(pulls**2))
            quality.compared += int(np.isfinite(pulls).sum())
        self._judge(quality, seen, distances, at)
        error, ends = self._errors(seen)
        variance = np.where(valid, (scale * error) ** 2, np.nan)
        ends = None if ends is None else np.where(valid, scale * ends, np.nan)
        return [translated, variance, np.where(valid, answer[2] * scale, np.nan), pulls], ends

    def _errors(self, seen: _Seen) -> tuple[np.ndarray, np.ndarray | None]:
        """Standard error and deviations: half of the 68 % interval, and the ends; without intervals on the card, the
        network's standard deviation times a factor, and None."""
        if self.card.intervals is None:
            return self.card.error_factor * seen.spread, None
        ends = deviations(self.card.intervals, seen.found, seen.spread)
        return np.maximum(0.5 * (ends[2] - ends[1]), 1e-9), ends

    def _pulls(self, seen: _Seen) -> np.ndarray:
        """`trust.pulls_of` a slice, NaN where nothing was measured, or no error to compare the result with."""
        known = seen.valid if self.card.direction == "add-resolution" else seen.valid & (seen.error > 0)
        pulls = pulls_of(
            self.card.direction,
            self.card.reconvolution,
            seen.signal,
            seen.error,
            seen.found,
            seen.again,
            seen.spread,
        )
        return np.where(known, pulls, np.nan)

    def _judge(self, quality: Quality, seen: _Seen, distances: list[float], at) -> None:
        """Add how far the blocks of a slice are from the training data; `at` says in words where one is, or a bin."""
        if self._plausible is None:
            quality.distances += distances
            return
        distance = float(np.median(distances))
        shape, fewest = seen.valid.shape, FEWEST[seen.valid.ndim]
        blocks = [b for b in blocks_of(shape, len(shape)) if seen.valid[b].sum() >= fewest]
        for block in blocks or [tuple(slice(0, n) for n in shape)]:
            part = seen.part(block)
            numbers, pulls = all_statistics(self.card, self.card.reconvolution, *part, distance)
            p_value, away = self._plausible.judge(numbers)
            quality.p_values.append(p_value)
            quality.distances.append(away)
            if p_value < ALARM:
                name, larger = self._plausible.reason(numbers)
                farthest = farthest_bin(name, part.signal, part.valid, part.error, pulls) if larger else None
                place = block if farthest is None else [f + b.start for f, b in zip(farthest, block, strict=True)]
                quality.unusual.append((in_words(self.card.direction, name, larger), at(place)))

    def _run_tiles(self, signal, valid, error, conditions, distances: list[float], tell) -> np.ndarray:
        """(3, *grid): translated, log variance and convolved, blended over overlapping tiles; the distance of the
        features of each is added."""
        shape = signal.shape
        inputs = {"signal": signal[None], "valid": valid[None], "error": error[None], **conditions}
        size, overlap = TILE[len(shape)], OVERLAP[len(shape)]
        total, weight = np.zeros((3, *shape)), np.zeros(shape)
        places = list(product(*(tile_starts(n, size, overlap) for n in shape)))
        for number, place in enumerate(places):
            look = partial(tell, number / len(places))
            look()
            part = tuple(slice(s, min(s + size, n)) for s, n in zip(place, shape, strict=True))
            tile = {name: x[(slice(None), *part)] for name, x in inputs.items()}
            if not tile["valid"].any():
                continue
            answer = self._run(tile, distances, look)
            blend = np.ones(())
            for p, n in zip(part, shape, strict=True):
                blend = np.multiply.outer(blend, ramp(p.start, p.stop, n, overlap))
            total[(slice(None), *part)] += blend * answer
            weight[part] += blend
        return total / np.maximum(weight, 1e-30)

    def _run(self, tile: dict[str, np.ndarray], distances: list[float], look) -> np.ndarray:
        """The network on one tile, padded with invalid bins to a suitable size."""
        multiple, least = self.card.grid_multiple, self.card.smallest_grid
        grid = tile["signal"].shape[1:]
        padding = [(0, 0), *((0, max(least, math.ceil(n / multiple) * multiple) - n) for n in grid)]
        measured = ("signal", "valid", "error")
        inputs = {
            name: np.pad(tile[name].astype(np.float32), padding, mode="constant" if name in measured else "edge")[None]
            for name in self.inputs
            if name != STEPS
        }
        if STEPS in self.inputs:
            reach = reach_of(float(tile["width"].max()))
            inputs[STEPS] = np.arange(-reach, reach + 1, dtype=np.float32)
        answer = run_interruptibly(self.session, list(OUTPUTS), inputs, look)
        self._require_sound(answer, inputs["signal"].shape)
        distances.append(self._distance(answer[3][0]))
        crop = (0, 0, *(slice(0, n) for n in grid))
        return np.stack([x[crop] for x in answer[:3]])

    def _require_sound(self, answer: list[np.ndarray], shape: tuple[int, ...]) -> None:
        """Raise ModelError unless a model gives finite numbers in the shapes of the contract."""
        if (found := [x.shape for x in answer])[:3] != [shape] * 3:
            raise self._not_of_card(f"arrays of the shapes {found}, expected {shape} for the first three")
        if not all(np.isfinite(x).all() for x in answer):
            raise ModelError(
                f"the model {self.card.name} gives numbers that are not finite for these data",
                "look at the data for values out of all proportion, or use another model",
            )

    def _not_of_card(self, what: str) -> ModelError:
        return ModelError(
            f"the model {self.card.name} gives {what}", "use the file and the card that were written together"
        )

    def _distance(self, features: np.ndarray) -> float:
        domain = self.card.domain
        if features.shape not in ((1,), (len(domain.mean),)):
            raise self._not_of_card(f"features of the shape {features.shape}, expected {len(domain.mean)} numbers")
        return feature_distance(domain, features)


def _place_in_words(axes, seen, place, part) -> str:
    """Where a bin or a block of a slice is: the name, and value or range, of each axis of more than one bin.

    `place` is that of the slice in the spectrum, and `part` has a number or a slice for each of the axes `seen`.
    """
    whole = dict(enumerate(place)) | dict(zip(seen, part, strict=True))
    at = "in" if any(isinstance(p, slice) for p in part) else "at"
    return f"{at} " + ", ".join(_bins_in_words(axis, whole[i]) for i, axis in enumerate(axes) if len(axis) > 1)


def _bins_in_words(axis, bins: int | slice) -> str:
    ends = axis.edges[[bins.start, bins.stop]] if isinstance(bins, slice) else axis.centers[[bins]]
    values = " to ".join(f"{0.0 if abs(x) < 1e-6 * axis.width else x:.3g}" for x in ends)
    name = "E" if axis.is_energy else "|Q|" if axis.is_modulus_q else axis.name
    return f"{name} {values}" + " meV" * axis.is_energy


def _up(value: float) -> str:
    """A number rounded up to two digits, as text."""
    digit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return f"{math.ceil(value / digit - 1e-9) * digit:.2g}"


def _share_of(done: int, total: int, progress, part: float) -> None:
    """Report progress: `done` slices and the fraction `part` of the next are done."""
    if progress:
        progress((done + part) / total)


def kept_intensity(translated: np.ndarray, convolved: np.ndarray) -> float:
    """Factor that brings the total of the network's output within `INTENSITY_SLACK` of that of the exact convolution.

    The network may move some intensity across the edges of a slice, but not create or lose more. 1 if the total is near
    zero (background-subtracted noise) and so has no meaning.
    """
    total, expected = float(translated.sum()), float(convolved.sum())
    telling = min(total, expected) > TELLING * float(np.abs(convolved).sum())
    ratio = total / expected if telling else 1.0
    return float(np.clip(ratio, 1 - INTENSITY_SLACK, 1 + INTENSITY_SLACK)) / ratio


def tile_starts(size: int, tile: int, overlap: int) -> list[int]:
    """First bins of the tiles of an axis of `size` bins."""
    if size <= tile:
        return [0]
    count = math.ceil((size - overlap) / (tile - overlap))
    return [round(i * (size - tile) / (count - 1)) for i in range(count)]


def ramp(start: int, stop: int, size: int, overlap: int) -> np.ndarray:
    """Weight of a tile along one axis: 1 inside, falling to nearly 0 over the middle half of the overlap with its
    neighbours. The outer quarter has almost no weight, because the tile lacks the intensity beyond its edge."""
    from_start = np.arange(stop - start) + 0.5
    rise, fall = (np.clip((x - overlap / 4) / (overlap / 2), 1e-6, 1.0) for x in (from_start, from_start[::-1]))
    ones = np.ones(stop - start)
    return (ones if start == 0 else rise) * (ones if stop == size else fall)
