"""The data type of the package: a measured or simulated spectrum with its errors, its axes and its run.

Units: meV for energies, 1/Angstrom or r.l.u. for momentum (stored with the axis), Kelvin, Hz, Angstrom.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

import numpy as np

from ..errors import InputError
from .run import Run

#: |signal| at or above this is a flag ("masked"), not a measurement: Horace and nxspe write -1e30 or -1e20,
#: and an unsigned overflow of such a flag gives about 1e18.
FLAG_MAGNITUDE = 1e18
#: Ends of the intervals of a result, in the order of `Spectrum.deviations`.
ENDS = ("lower 95 %", "lower 68 %", "upper 68 %", "upper 95 %")
#: Mantid's MDNormalization for which the signal of a bin is a sum over its events.
NUM_EVENTS_NORMALIZATION = 2

_ENERGY_NAMES = {"deltae", "energy transfer", "energy_transfer", "energytransfer", "energy", "e", "en", "omega"}
_ENERGY_UNITS = {
    *("deltae", "mev", "energytransfer", "energy_transfer", "energy transfer"),
    *("deltae_inwavenumber", "deltae_infrequency", "energy_inwavenumber"),
}
_MODULUS_NAMES = {"q", "modq", "qmod", "momentumtransfer"}
#: Names that say nothing about a dimension.
_NUMBERED = re.compile(r"(dim(ension)?|axis|d)[ _]?\d+", re.IGNORECASE)
_RLU = re.compile(r"r\.?l\.?u|in\s+[\d.+-]+.*A.*\^-1", re.IGNORECASE)
_HKL_COMPONENT = re.compile(r"^(?P<factor>[+-]?\d*\.?\d*)\*?(?P<letter>[HKLhklxyzζξη]?)$")


@dataclass(frozen=True, eq=False)
class Axis:
    """A uniformly binned dimension.

    Parameters
    ----------
    name : str
        Long name, as displayed by Mantid: ``'DeltaE'``, ``'[H,0,0]'``, ``'|Q|'``.
    edges : array_like, shape (n + 1,)
        Bin edges, ascending and uniform, in `unit`.
    unit : str
        Unit label as in the file: ``'DeltaE'`` and ``'meV'`` both mean meV.
    frame : str
        Mantid frame name: 'HKL', 'QSample', 'QLab', 'General Frame' or 'Unknown frame'.
    id : str, optional
        Dimension id (the dataset name in a SaveMD file); `name` if not given.
    file_unit : str
        Unit of the axis in its file, if that is not `unit`; outputs have it.
    file_factor : float
        Of the edges in `file_unit` to those in `unit`.

    Raises
    ------
    InputError
        If there are fewer than two edges, or they are not finite, descend or are not uniform (Mantid's
        MDHistoWorkspace cannot have non-uniform bins).
    """

    name: str
    edges: np.ndarray
    unit: str
    frame: str = "General Frame"
    id: str = ""
    file_unit: str = ""
    file_factor: float = 1.0

    def __post_init__(self):
        edges = np.array(self.edges, dtype=np.float64)
        if edges.ndim != 1 or edges.size < 2 or not np.isfinite(edges).all():
            raise InputError(
                f"axis {self.name!r} has edges of shape {edges.shape}"
                f"{'' if np.isfinite(edges).all() else ' with values that are not finite'}, expected at least two "
                "finite numbers in one row",
                "bin the data again with BinMD, which makes proper bin edges, and save the workspace",
            )
        steps = np.diff(edges)
        slack = slack_of(edges)
        if steps.min() <= 0:
            raise InputError(
                f"axis {self.name!r} has edges that do not ascend (smallest step {steps.min():g} {self.unit})",
                "sort the edges, and reverse the data along that axis accordingly",
            )
        if np.abs(steps - steps.mean()).max() > slack:
            raise InputError(
                f"axis {self.name!r} has bins of unequal width ({steps.min():g} to {steps.max():g} {self.unit}); "
                "an MDHistoWorkspace can have only uniform bins",
                "rebin that axis to equal bins first (BinMD or Rebin in Mantid, or --energy-bins for an nxspe file)",
            )
        edges.setflags(write=False)
        object.__setattr__(self, "edges", edges)
        object.__setattr__(self, "id", self.id or self.name)

    def __len__(self) -> int:
        return self.edges.size - 1

    def __eq__(self, other) -> bool:
        return (
            isinstance(other, Axis)
            and (self.name, self.unit, self.frame, self.id) == (other.name, other.unit, other.frame, other.id)
            and np.array_equal(self.edges, other.edges)
        )

    @property
    def outside(self) -> tuple[np.ndarray, str]:
        """Edges and unit as files and Mantid have them."""
        return (self.edges * self.file_factor, self.file_unit) if self.file_unit else (self.edges, self.unit)

    @property
    def centers(self) -> np.ndarray:
        """Bin centres, shape (n,), in `unit`."""
        return 0.5 * (self.edges[1:] + self.edges[:-1])

    @property
    def width(self) -> float:
        """Bin width in `unit`."""
        return float(self.edges[-1] - self.edges[0]) / len(self)

    @property
    def integrated(self) -> bool:
        """True for a dimension of one bin."""
        return len(self) == 1

    @property
    def is_energy(self) -> bool:
        """True for energy transfer."""
        return self.name.strip().lower() in _ENERGY_NAMES or self.unit.strip().lower() in _ENERGY_UNITS

    @property
    def is_rlu(self) -> bool:
        """True for momentum in reciprocal lattice units."""
        return self.frame == "HKL" or bool(_RLU.search(self.unit))

    @property
    def is_modulus_q(self) -> bool:
        """True for the modulus of the momentum transfer, ``|Q|`` (powders)."""
        if self.is_energy:
            return False
        named = self.name.replace(" ", "").strip("|").lower() in _MODULUS_NAMES
        numbered = _NUMBERED.fullmatch(self.name.strip()) is not None
        return named or numbered and self.unit.strip().lower() == "momentumtransfer"

    @property
    def projection(self) -> np.ndarray | None:
        """Direction in (h, k, l) of one unit along this axis, shape (3,): ``'[-0.5K,K,0]'`` is (-0.5, 1, 0).

        None if the name does not have that form.
        """
        text = self.name.strip()
        if not (text.startswith("[") and text.endswith("]")):
            return None
        parts = [p.strip().replace(" ", "") for p in text[1:-1].split(",")]
        if len(parts) != 3:
            return None
        values = [_component(p) for p in parts]
        return None if None in values or not any(values) else np.array(values, dtype=float)

    def slice(self, start: int, stop: int) -> Axis:
        """An axis with the bins `start` to `stop` (exclusive)."""
        return replace(self, edges=self.edges[start : stop + 1])


def slack_of(edges: np.ndarray) -> float:
    """Largest difference of the widths of bins that count as equal."""
    # Mantid stores limits as float32, so edges may be off by its rounding of the largest coordinate.
    return float(4 * np.finfo(np.float32).eps * np.abs(edges).max() + 1e-4 * np.abs(np.diff(edges)).mean())


def even_bins(edges: np.ndarray) -> slice:
    """The bins without a first or last one of another width, which Mantid's Rebin leaves where the range is no multiple
    of the step; all of them if others differ too.

    Examples
    --------
    >>> even_bins(np.array([0.0, 1.0, 2.0, 3.0, 3.2]))
    slice(0, 3, None)
    """
    steps = np.diff(edges)
    uneven = np.flatnonzero(np.abs(steps - np.median(steps)) > slack_of(edges))
    if steps.size < 4 or not set(uneven) <= {0, steps.size - 1}:
        return slice(0, steps.size)
    return slice(int(0 in uneven), steps.size - int(steps.size - 1 in uneven))


def _component(text: str) -> float | None:
    match = _HKL_COMPONENT.match(text)
    if not match or not text:
        return None
    factor, letter = match["factor"], match["letter"]
    if not letter:
        return float(factor) if factor not in ("", "+", "-", ".") and float(factor) == 0 else None
    if factor in ("", "+"):
        return 1.0
    return -1.0 if factor == "-" else float(factor)


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Signal and its errors on a grid.

    ``signal[i, j, ...]``: axis 0 is dimension 0 of the workspace, as in ``getSignalArray()``. The raw values of a file
    are kept unchanged; `valid` marks the bins that were measured.

    Parameters
    ----------
    signal, variance : array_like, shape (n0, n1, ...)
        Intensity and its squared standard error, float64.
    axes : sequence of Axis
        One per dimension of `signal`, of matching size.
    valid : array_like of bool, optional
        True where the bin was measured. It is always restricted to bins that are not masked, with finite signal below
        `FLAG_MAGNITUDE` and finite, non-negative variance, and in which there was an event (`without_events`).
    num_events : array_like, optional
        Number of events per bin, float64; ones if not given.
    masked : array_like of bool, optional
        Mask of the workspace (MaskMD); False if not given.
    run : Run
        Facts of the measurement.
    title : str
    coordinate_system : int
        Mantid's SpecialCoordinateSystem: 0 none, 1 QLab, 2 QSample, 3 HKL.
    visual_normalization : int
        Mantid's MDNormalization: 0 none, 1 volume, 2 number of events.
    q_convention : str
        'Inelastic' (Q = ki - kf) or 'Crystallography'.
    normalised : bool
        True where the signal was divided by the coverage of the detectors (MDNorm): the number of events is then no
        weight, whatever `visual_normalization` says, and a bin without events was measured if its signal is a number.
    deviations : array_like, shape (4, n0, n1, ...), optional
        Of a result: how far the ends of the intervals that cover the truth lie from the signal, in the order of `ENDS`;
        NaN where none is known.

    Raises
    ------
    InputError
        If shapes disagree or the data are not real numbers.
    """

    signal: np.ndarray
    variance: np.ndarray
    axes: tuple[Axis, ...]
    valid: np.ndarray | None = None
    num_events: np.ndarray | None = None
    masked: np.ndarray | None = None
    run: Run = field(default_factory=Run)
    title: str = ""
    coordinate_system: int = 0
    visual_normalization: int = 0
    q_convention: str = "Inelastic"
    normalised: bool = False
    deviations: np.ndarray | None = None

    def __post_init__(self):
        put = lambda name, value: object.__setattr__(self, name, value)  # noqa: E731  (frozen dataclass)
        put("axes", tuple(self.axes))
        shape = tuple(len(a) for a in self.axes)
        signal = _real_array("signal", self.signal, shape)
        variance = _real_array("variance", self.variance, shape)
        # Defaults take no memory: a view of one value in every bin.
        events, masked = np.broadcast_to(_ONE, shape), np.broadcast_to(_FALSE, shape)
        measured = measured_bins(signal, variance)
        if self.num_events is not None:
            events = _real_array("num_events", self.num_events, shape)
            if not self.normalised:
                measured &= ~without_events(signal, variance, events, self.visual_normalization)
        if self.masked is not None:
            masked = _bool_array("masked", self.masked, shape)
        measured &= ~masked
        if self.valid is not None:
            measured &= _bool_array("valid", self.valid, shape)
        for name, value in zip(
            ("signal", "variance", "num_events", "masked", "valid"),
            (signal, variance, events, masked, measured),
            strict=True,
        ):
            value.setflags(write=False)
            put(name, value)
        if self.deviations is not None:
            deviations = _real_array("deviations", self.deviations, (len(ENDS), *shape))
            deviations.setflags(write=False)
            put("deviations", deviations)

    @property
    def sums_events(self) -> bool:
        """Whether the signal of a bin is a sum over its events, so that the intensity is signal over events."""
        return self.visual_normalization == NUM_EVENTS_NORMALIZATION and not self.normalised

    @property
    def shape(self) -> tuple[int, ...]:
        """Bins along each axis."""
        return self.signal.shape

    @property
    def ndim(self) -> int:
        """Number of dimensions, integrated ones included."""
        return self.signal.ndim

    @property
    def energy_axis(self) -> int | None:
        """Index of the energy-transfer axis, or None."""
        return energy_axis(self.axes)

    @property
    def open_axes(self) -> tuple[int, ...]:
        """Indices of the axes with more than one bin."""
        return open_axes(self.axes)

    def replace(self, **changes) -> Spectrum:
        """A copy with these fields changed (`valid` is restricted again); with another signal it has no `deviations`,
        unless they are given too."""
        if "signal" in changes:
            changes.setdefault("deviations", None)
        return replace(self, **changes)

    def squeeze(self) -> Spectrum:
        """The spectrum without its integrated (one-bin) axes; at least one axis stays."""
        keep = self.open_axes or (0,)
        index = tuple(slice(None) if i in keep else 0 for i in range(self.ndim))
        return self._indexed(index, tuple(self.axes[i] for i in keep))

    def slice(self, **bounds: tuple[float, float]) -> Spectrum:
        """Bins whose centres lie inside ``(low, high)`` of each named axis.

        Axes are named by name or id: ``spectrum.slice(**{'DeltaE': (5, 40), '[H,0,0]': (-1, 1)})``.

        Raises
        ------
        InputError
            If there is no such axis or no bin inside the bounds.
        """
        index: list[slice] = [slice(None)] * self.ndim
        axes = list(self.axes)
        for name, (low, high) in bounds.items():
            i = self.axis_index(name)
            inside = np.flatnonzero((axes[i].centers >= low) & (axes[i].centers <= high))
            if inside.size == 0:
                raise InputError(
                    f"no bin of axis {name!r} has its centre between {low:g} and {high:g}; the axis runs from "
                    f"{axes[i].edges[0]:g} to {axes[i].edges[-1]:g} {axes[i].unit}",
                    "choose bounds inside the axis",
                )
            index[i] = slice(inside[0], inside[-1] + 1)
            axes[i] = axes[i].slice(inside[0], inside[-1] + 1)
        return self._indexed(tuple(index), tuple(axes))

    def axis_index(self, name: str) -> int:
        """Position of the axis with this name or id.

        Raises
        ------
        InputError
            If there is none.
        """
        for i, axis in enumerate(self.axes):
            if name in (axis.name, axis.id):
                return i
        raise InputError(
            f"there is no axis {name!r}; the axes are {', '.join(repr(a.name) for a in self.axes)}",
            "use one of those names",
        )

    def _indexed(self, index, axes) -> Spectrum:
        return replace(self, axes=axes, **self.arrays_at(index))

    def arrays_at(self, index: tuple) -> dict[str, np.ndarray | None]:
        """The arrays of values of the bins at an index, by the names of their fields."""
        found = {n: getattr(self, n)[index] for n in ("signal", "variance", "valid", "num_events", "masked")}
        return found | {"deviations": None if self.deviations is None else self.deviations[(slice(None), *index)]}

    def identical(self, other: Spectrum) -> bool:
        """True if arrays (NaN equal to NaN), axes and conventions agree exactly; edges to float32."""
        arrays = ("signal", "variance", "num_events")
        return (
            self.shape == other.shape
            and all(np.array_equal(getattr(self, n), getattr(other, n), equal_nan=True) for n in arrays)
            and all(np.array_equal(getattr(self, n), getattr(other, n)) for n in ("valid", "masked"))
            and all(
                (a.name, a.unit, a.frame, a.id) == (b.name, b.unit, b.frame, b.id)
                and np.array_equal(np.float32(a.edges), np.float32(b.edges))
                for a, b in zip(self.axes, other.axes, strict=True)
            )
            and all(
                getattr(self, f) == getattr(other, f)
                for f in ("coordinate_system", "visual_normalization", "q_convention", "normalised")
            )
        )


def measured_bins(signal: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """True where a bin has a finite signal that is not a flag, and a finite, non-negative variance."""
    measured = (signal > -FLAG_MAGNITUDE) & (signal < FLAG_MAGNITUDE)
    measured &= variance >= 0
    measured &= variance < np.inf
    return measured


def without_events(signal: np.ndarray, variance: np.ndarray, events: np.ndarray, normalization: int) -> np.ndarray:
    """True where nothing was measured although the values look like a measurement: BinMD leaves 0 +- 0 of 0 events.

    Where the signal is a sum over events, no events are no measurement whatever the values; otherwise the number of
    events alone does not count, because not every program keeps it.
    """
    nothing = events <= 0
    if normalization != NUM_EVENTS_NORMALIZATION:
        nothing &= signal == 0
        nothing &= variance == 0
    return nothing


def energy_axis(axes: tuple[Axis, ...]) -> int | None:
    """Index of the one energy-transfer axis among `axes`, or None."""
    found = [i for i, a in enumerate(axes) if a.is_energy]
    return found[0] if len(found) == 1 else None


def open_axes(axes: tuple[Axis, ...]) -> tuple[int, ...]:
    """Indices of the axes with more than one bin."""
    return tuple(i for i, a in enumerate(axes) if not a.integrated)


def _real_array(name: str, values, shape: tuple[int, ...]) -> np.ndarray:
    values = np.asarray(values)
    if values.dtype.kind not in "fiub":
        raise InputError(
            f"{name} has {values.dtype} values, expected real numbers", "convert the data to float64 first"
        )
    return _shaped(name, _own(values, np.float64), shape)


def _bool_array(name: str, values, shape: tuple[int, ...]) -> np.ndarray:
    return _shaped(name, _own(np.asarray(values), bool), shape)


def frozen(values: np.ndarray) -> np.ndarray:
    """An array made read-only, so that a `Spectrum` uses it without a copy; for arrays that were made for it."""
    values.setflags(write=False)
    return values


#: Defaults of a spectrum are views of these.
_ONE, _FALSE = frozen(np.ones(())), frozen(np.zeros((), bool))


def _own(values: np.ndarray, dtype: type) -> np.ndarray:
    """`values` itself if it can no longer be written to, otherwise a copy in C order."""
    if values.dtype == dtype and _frozen(values) and (values.flags.c_contiguous or 0 in values.strides):
        return values
    return np.array(values, dtype=dtype, order="C")


def _frozen(values) -> bool:
    """Whether an array, and every array of which it is a view, is a read-only NumPy array."""
    while isinstance(values, np.ndarray) and not values.flags.writeable:
        if values.base is None:
            return True
        values = values.base
    return False


def _shaped(name: str, values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if values.shape != shape:
        raise InputError(
            f"{name} has shape {values.shape}, but the axes have {shape} bins",
            "give one value for each bin of the axes",
        )
    return values


def per_event(spectrum: Spectrum) -> Spectrum:
    """The intensity that Mantid displays: signal divided by events if the signal is a sum over events."""
    if not spectrum.sums_events:
        return spectrum
    with np.errstate(divide="ignore", invalid="ignore"):
        signal = spectrum.signal / spectrum.num_events
        variance = spectrum.variance / spectrum.num_events**2
        ends = None if spectrum.deviations is None else frozen(spectrum.deviations / spectrum.num_events)
    return spectrum.replace(signal=frozen(signal), variance=frozen(variance), deviations=ends)


def summed(spectrum: Spectrum) -> Spectrum:
    """The inverse of `per_event`."""
    if not spectrum.sums_events:
        return spectrum
    events = spectrum.num_events
    signal, variance = frozen(spectrum.signal * events), frozen(spectrum.variance * events**2)
    ends = None if spectrum.deviations is None else frozen(spectrum.deviations * events)
    return spectrum.replace(signal=signal, variance=variance, deviations=ends)
