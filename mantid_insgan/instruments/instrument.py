"""The resolution of a direct-geometry chopper spectrometer at one setting."""

from __future__ import annotations

import math

import numpy as np

from ..core.constants import FWHM_PER_SIGMA
from ..core.run import Lattice, Run
from ..core.spectrum import Spectrum
from ..errors import RunFactError
from . import choppers, pulses
from .beam import Beam, Sample, Tube
from .catalogue import InstrumentFacts, catalogue, instrument_name, known_instruments
from .covariance import sensitivity, variances
from .frames import Frame, Orientation, Points, energies

#: Points whose widths are worked out at once; bounds the memory.
_CHUNK = 32768
#: Bin of momentum (1/Angstrom) in which widths outside a cut are told where the cut has no momentum axis.
_STEP = 0.05
#: Larger grids are worked out on about this many of their bins and interpolated.
_DENSE = 16_000


class Resolution:
    """Resolution of a direct-geometry chopper spectrometer.

    Parameters
    ----------
    instrument : str
        MAPS, MAPS-2000 (before its guide of 2017), MERLIN, MARI, LET, SEQUOIA, ARCS, CNCS or HYSPEC.
    ei : float
        Incident energy, meV.
    chopper : str, optional
        Chopper package; ResINS' default if not given.
    frequency : float or sequence of float, optional
        Frequency of the burst chopper, Hz. LET and CNCS have a second driven chopper: give (first, second), or one
        value and the second keeps ResINS' ratio to it (LET) or value (CNCS).
    width_factor : float
        Multiplies the widths in time of moderator pulse and chopper burst; fit it to a vanadium run
        (`mantid_insgan.fit.vanadium`).
    sample : Sample, optional
        A cuboid of 10 mm if not given.
    mosaic : float
        FWHM of the crystal's mosaic, degrees.
    divergence_horizontal, divergence_vertical : float, optional
        FWHM of the incident divergence, degrees, instead of that of the instrument's aperture or guide.
    time_model : str, optional
        'tobyfit' (chi-squared moderator pulse) or 'pychop' (ResINS' moderator width). By default Tobyfit's where it
        knows the instrument (MAPS, MERLIN, LET).
    lattice : Lattice, optional
        Needed for spectra in r.l.u.
    orientation : Orientation or (u, v), optional
        For a crystal measured at one angle: (h, k, l) along the beam and another in the horizontal plane. Without it
        a crystal is taken to be turned about the vertical axis through many angles.

    Raises
    ------
    RunFactError
        If a fact is unknown, out of range, or the chopper transmits nothing.

    Examples
    --------
    >>> r = Resolution("MAPS", 100.0, "S", 400.0)
    >>> r.fwhm_energy([0.0, 50.0]).round(1)  # meV
    """

    def __init__(
        self,
        instrument: str,
        ei: float,
        chopper: str | None = None,
        frequency=None,
        *,
        width_factor: float = 1.0,
        sample: Sample | None = None,
        mosaic: float = 0.0,
        divergence_horizontal: float | None = None,
        divergence_vertical: float | None = None,
        time_model: str | None = None,
        lattice: Lattice | None = None,
        orientation: Orientation | tuple | None = None,
    ):
        self.instrument = instrument_name(instrument)
        entry = catalogue()[self.instrument]
        package = choppers.default_chopper(self.instrument) if chopper is None else chopper
        self.chopper = choppers.chopper_name(self.instrument, package)
        self.ei = _checked_ei(self.instrument, self.chopper, ei)
        self.frequencies = _checked_frequencies(self.instrument, self.chopper, frequency)
        self.width_factor = _positive("the width factor", width_factor)
        self.sample = Sample() if sample is None else sample
        self.mosaic = _not_negative("the mosaic (degrees)", mosaic)
        self.divergence = tuple(
            None if d is None else _positive("the divergence (degrees)", d)
            for d in (divergence_horizontal, divergence_vertical)
        )
        self.time_model = _checked_model(self.instrument, time_model)
        self.lattice = lattice
        if orientation is not None and not isinstance(orientation, Orientation):
            orientation = Orientation(*orientation)
        self.orientation = orientation
        self.beam = self._beam(entry)

    @classmethod
    def from_run(cls, run: Run, **overrides) -> Resolution:
        """The resolution for the facts of a measurement.

        Parameters
        ----------
        run : Run
            Instrument, Ei, chopper and frequency are needed.
        **overrides
            Keyword arguments of `Resolution`; they win over the run.

        Raises
        ------
        RunFactError
            If a fact is missing (the message names the option and the values allowed), unknown or out of range.
        """
        given = {name: overrides.pop(name, None) for name in ("instrument", "ei", "chopper", "frequency", "lattice")}
        value = {name: run.value(name) if given[name] is None else given[name] for name in given}
        if value["instrument"] is None:
            _missing("instrument", f"one of {', '.join(known_instruments())}", "--instrument")
        instrument = instrument_name(value["instrument"])
        packages = choppers.known_choppers(instrument)
        if value["chopper"] is None and len(packages) == 1:
            value["chopper"] = packages[0]
        if value["ei"] is None:
            low, high = choppers.limits(instrument, value["chopper"] or packages[0]).ei
            _missing("incident energy", f"{low:g} to {high:g} meV on {instrument}", "--ei")
        if value["chopper"] is None:
            _missing("chopper package", f"one of {', '.join(packages)} on {instrument}", "--chopper")
        if value["frequency"] is None:
            low, high = choppers.limits(instrument, choppers.chopper_name(instrument, value["chopper"])).frequency[0]
            _missing("chopper frequency", f"{low:g} to {high:g} Hz on {instrument}", "--frequency")
        return cls(instrument, value["ei"], value["chopper"], value["frequency"], lattice=value["lattice"], **overrides)

    def __repr__(self) -> str:
        hertz = "/".join(f"{f:g}" for f in self.frequencies)
        return f"Resolution({self.instrument}, Ei {self.ei:g} meV, chopper {self.chopper} at {hertz} Hz)"

    @property
    def frequency(self) -> float:
        """Frequency of the burst chopper, Hz."""
        return self.frequencies[0]

    def _beam(self, entry: InstrumentFacts) -> Beam:
        timing = pulses.timing(self.instrument, self.chopper, self.ei, self.frequencies, self.time_model)
        return Beam(
            ei=self.ei,
            source=timing.source.scaled(self.width_factor),
            chopper=timing.chopper.scaled(self.width_factor),
            source_chopper=timing.source_chopper,
            chopper_sample=entry.chopper_sample,
            sample_detector=entry.sample_detector,
            moderator_sample=entry.moderator_sample,
            moderator_tilt=0.0 if entry.aperture is None else math.tan(math.radians(entry.moderator_angle)),
            chopper_turn=timing.chopper_turn,
            divergence=pulses.divergence(self.instrument, self.ei, *self.divergence),
            sample=self.sample,
            tube=Tube(
                radius=entry.detector.diameter / 2,
                pixel_height=entry.detector.pixel_height,
                pressure=entry.detector.pressure,
                time_bin=entry.detector.time_bin * 1e-6,
            ),
            mosaic=math.radians(self.mosaic) / FWHM_PER_SIGMA,
        )

    def fwhm_energy(self, energy_transfer, *, two_theta: float = 30.0) -> np.ndarray:
        """FWHM in energy transfer at a fixed detector angle.

        Parameters
        ----------
        energy_transfer : array_like
            meV, below Ei.
        two_theta : float
            Scattering angle, degrees; it matters little (through the sample's size).

        Returns
        -------
        ndarray, shape of `energy_transfer`
            meV.

        Raises
        ------
        RunFactError
            If an energy transfer is above Ei.
        """
        energy = np.asarray(energy_transfer, dtype=float)
        if energy.size and not np.max(energy) <= self.ei:
            self._beyond(float(np.max(energy)))
        kf = self.beam.kf(energy.ravel())
        angle = math.radians(two_theta)
        direction = np.tile([-math.sin(angle), 0.0, math.cos(angle)], (kf.size, 1))
        rows = sensitivity(self.beam, direction, kf)[:, 3]
        return FWHM_PER_SIGMA * np.sqrt((rows**2 * variances(self.beam, kf)).sum(1)).reshape(energy.shape)

    def frame(self, spectrum: Spectrum) -> Frame:
        """How the axes of a spectrum lie in the lab.

        Raises
        ------
        InputError
            If there is no energy axis, or an axis cannot be placed.
        RunFactError
            If measured bins lie above Ei, or the lattice is missing.
        """
        axis = energies(spectrum)
        above = axis.centers > self.ei
        if above.any() and np.moveaxis(spectrum.valid, spectrum.energy_axis, -1)[..., above].any():
            self._beyond(float(axis.centers.max()))
        return Frame(spectrum, self.beam, self.lattice, self.orientation)

    def fwhm(self, spectrum: Spectrum) -> np.ndarray:
        """FWHM along each open axis (more than one bin) at each bin.

        The width along an axis is that of the resolution function projected onto it, whatever the other axes.
        Integrated axes (one bin) count with their centre. Bins that no neutron can reach get the width of the nearest
        that one can. Large grids are interpolated from every few bins.

        Parameters
        ----------
        spectrum : Spectrum

        Returns
        -------
        ndarray, shape (D, *open shape)
            In the unit of each axis, in the order of ``spectrum.open_axes``: that of ``spectrum.squeeze()``.
        """
        return self._at_each_bin(spectrum, len(spectrum.open_axes or (0,)), lambda frame, points: self._widths(points))

    def _at_each_bin(self, spectrum: Spectrum, count: int, values) -> np.ndarray:
        """``values(frame, points)``, shape (N, count), at each bin: (count, *open shape)."""
        frame = self.frame(spectrum)
        nodes = [np.arange(n) for n in spectrum.shape]
        if spectrum.signal.size > _DENSE:
            most = int(_DENSE ** (1 / len(frame.open_axes)))
            nodes = [np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int)) for n in spectrum.shape]
        coarse = tuple(len(n) for n in nodes)
        size = math.prod(coarse)
        out = np.empty((count, size))
        for start in range(0, size if count else 0, _CHUNK):
            index = np.unravel_index(np.arange(start, min(start + _CHUNK, size)), coarse)
            centers = [a.centers[n[i]] for a, n, i in zip(spectrum.axes, nodes, index, strict=True)]
            out[:, start : start + len(index[0])] = values(frame, frame.at(np.stack(centers, axis=1))).T
        out = out.reshape(count, *(coarse[i] for i in frame.open_axes))
        for d, i in enumerate(frame.open_axes):
            if coarse[i] < spectrum.shape[i]:
                out = _interpolated(out, d + 1, nodes[i], spectrum.shape[i])
        return out

    def fwhm_in_bins(self, spectrum: Spectrum) -> np.ndarray:
        """FWHM along each open axis in bins of that axis, float32, shape (D, *open shape): see `fwhm`."""
        axes = [spectrum.axes[i] for i in spectrum.open_axes or (0,)]
        bins = np.array([a.width for a in axes]).reshape(-1, *(1,) * len(axes))
        return (self.fwhm(spectrum) / bins).astype(np.float32)

    def correlation(self, spectrum: Spectrum) -> np.ndarray:
        """Correlation coefficients of the resolution between pairs of open axes at each bin.

        Pairs are (0, 1), (0, 2), (1, 2) of the D open axes; else as `fwhm`. Where the resolution has no width along an
        axis the coefficient is 0.

        Parameters
        ----------
        spectrum : Spectrum

        Returns
        -------
        ndarray, float32, shape (D (D - 1) / 2, *open shape)
        """
        first, second = np.triu_indices(len(spectrum.open_axes or (0,)), 1)

        def coefficients(frame, points):
            covariance = self.covariance(points)
            widths = np.sqrt(np.einsum("nii->ni", covariance))
            product = widths[:, first] * widths[:, second]
            return np.divide(covariance[:, first, second], product, out=np.zeros_like(product), where=product > 0)

        return self._at_each_bin(spectrum, len(first), coefficients).astype(np.float32)

    def position(self, spectrum: Spectrum, shown: tuple[int, ...] | None = None) -> np.ndarray:
        """Where each bin lies, in quantities that mean the same for every instrument and binning.

        Energy transfer as a share of Ei; |Q| in 1/Angstrom; and how far the resolution reaches into momenta that are
        not among the axes shown: the root of the sum of squared FWHM along these, in bins of the first momentum
        axis that is shown (of 0.05 1/Angstrom if none is). Multiple scattering depends on the first, powder lines on
        the second, phonons on both; the third says how much of what is seen comes from outside the cut.

        Integrated axes count with their centre; without a momentum axis |Q| is 0; a powder has no momenta outside.

        Parameters
        ----------
        spectrum : Spectrum
        shown : tuple of int, optional
            Axes of the cut that is looked at; the open ones if not given.

        Returns
        -------
        ndarray, float32, shape (3, *open shape)

        Raises
        ------
        InputError, RunFactError
            As `frame`.
        """
        frame = self.frame(spectrum)
        centers = np.meshgrid(*(a.centers for a in spectrum.axes), indexing="ij", sparse=True)
        momenta = [centers[i] for i in frame.momentum]
        if frame.powder:
            modulus = np.abs(momenta[0]) if momenta else np.zeros(())
        else:
            along = (sum(c * b[k] for c, b in zip(momenta, frame.basis, strict=True)) for k in range(3))
            modulus = np.sqrt(sum(c**2 for c in along))
        both = [np.broadcast_to(x, spectrum.shape) for x in (centers[frame.energy_axis] / self.ei, modulus)]
        both = np.stack(both).reshape(2, *(spectrum.shape[i] for i in frame.open_axes))
        shown = frame.open_axes if shown is None else shown
        outside = self._at_each_bin(spectrum, 1, lambda frame, points: self._outside(frame, points, shown))
        return np.concatenate([both, outside]).astype(np.float32)

    def _outside(self, frame: Frame, points: Points, shown: tuple[int, ...]) -> np.ndarray:
        """Width in momenta outside the axes shown, in bins: see `position`; shape (N, 1)."""
        if frame.powder:
            return np.zeros((len(points.energy), 1))
        steps = [frame.basis[k] * frame.axes[i].width for k, i in enumerate(frame.momentum) if i in shown]
        step = np.linalg.norm(steps[0]) if steps else _STEP
        outside = np.eye(3)
        if steps:
            across, _ = np.linalg.qr(np.array(steps).T)
            outside = outside - across @ across.T
        momentum = self.covariance(points, of_sample=True)[:, :3, :3]
        cartesian = frame.units @ momentum @ frame.units.T
        variance = np.einsum("ij,njk,ki->n", outside, cartesian, outside)
        return FWHM_PER_SIGMA * np.sqrt(np.maximum(variance, 0.0))[:, None] / step

    def _widths(self, points: Points) -> np.ndarray:
        kf = self.beam.kf(points.energy)
        rows = points.gradients @ sensitivity(self.beam, self._directions(points), kf)
        return FWHM_PER_SIGMA * np.sqrt(np.einsum("ndj,nj->nd", rows**2, variances(self.beam, kf)))

    def _directions(self, points: Points) -> np.ndarray:
        final = np.array([0.0, 0.0, self.beam.ki]) - points.q
        return final / np.linalg.norm(final, axis=1, keepdims=True)

    def covariance(self, points: Points, *, of_sample: bool = False) -> np.ndarray:
        """Covariance of the coordinates of points.

        Parameters
        ----------
        points : Points
            From ``resolution.frame(spectrum).points()`` or ``.at(coordinates)``.
        of_sample : bool
            Of ``points.sample``, (h, k, l, E) or (|Q|, E), instead of the open axes of the spectrum.

        Returns
        -------
        ndarray, shape (N, D, D)
            Squared standard deviations in the units of the coordinates.
        """
        kf = self.beam.kf(points.energy)
        gradients = points.sample_gradients if of_sample else points.gradients
        rows = gradients @ sensitivity(self.beam, self._directions(points), kf)
        return np.einsum("ndj,nj,nej->nde", rows, variances(self.beam, kf), rows)

    def deviations(self, points: Points, draws: np.ndarray, *, of_sample: bool = True) -> np.ndarray:
        """Deviations of the coordinates of points for random draws (Tobyfit's Monte Carlo).

        A neutron that is recorded at the point may have been scattered at point + deviation: the mean of a model over
        them is what is measured there.

        Parameters
        ----------
        points : Points
        draws : ndarray, shape (M, 14)
            From ``montecarlo.unit_draws(resolution.beam, M, rng)``; the same for all points.
        of_sample : bool
            As in `covariance`.

        Returns
        -------
        ndarray, shape (N, M, D)
            In the units of the coordinates.
        """
        kf = self.beam.kf(points.energy)
        gradients = points.sample_gradients if of_sample else points.gradients
        rows = gradients @ sensitivity(self.beam, self._directions(points), kf)
        rows *= np.sqrt(variances(self.beam, kf))[:, None, :]
        return np.swapaxes(rows @ draws.T, 1, 2)

    def _beyond(self, energy: float):
        raise RunFactError(
            f"an energy transfer of {energy:g} meV lies above the incident energy, {self.ei:g} meV: a neutron cannot "
            f"lose more than it has; transfers up to {self.ei:g} meV are possible",
            "check --ei, or cut the energy axis",
        )


def _interpolated(values: np.ndarray, axis: int, nodes: np.ndarray, size: int) -> np.ndarray:
    """Linear interpolation along one axis from `nodes` to all of ``range(size)``."""
    hats = np.stack([np.interp(np.arange(size), nodes, row) for row in np.eye(len(nodes))], axis=1)
    return np.moveaxis(np.tensordot(values, hats, axes=(axis, 1)), -1, axis)


def _missing(what: str, allowed: str, option: str):
    raise RunFactError(f"the {what} is not known", f"give it ({option}): {allowed}")


def _checked_ei(instrument: str, chopper: str, ei) -> float:
    low, high = choppers.limits(instrument, chopper).ei
    ei = float(ei)
    if not (math.isfinite(ei) and 0 < ei and low <= ei <= high):
        raise RunFactError(
            f"Ei = {ei:g} meV is outside the range of {instrument} with chopper {chopper}, {low:g} to {high:g} meV",
            "give the incident energy in meV (--ei), or another chopper package (--chopper)",
        )
    return ei


def _checked_frequencies(instrument: str, chopper: str, frequency) -> tuple[float, ...]:
    limits = choppers.limits(instrument, chopper)
    default = limits.default_frequency
    given = [] if frequency is None else [float(f) for f in np.atleast_1d(frequency)]
    if len(given) > len(default):
        raise RunFactError(
            f"{len(given)} chopper frequencies were given; {instrument} has {len(default)} to set",
            f"give {' and '.join(n.replace('_', ' ') for n in limits.frequency_names)} in Hz (--frequency)",
        )
    for value, (low, high) in zip(given, limits.frequency, strict=False):
        if not low <= value <= high:
            raise RunFactError(
                f"a chopper frequency of {value:g} Hz is outside the range of {instrument}, {low:g} to {high:g} Hz",
                "give the frequency in Hz (--frequency)",
            )
    if given and len(given) < len(default) and instrument == "LET":
        given.append(given[0] * default[1] / default[0])  # the pulse remover runs at a fraction of the burst disk
    return tuple(given) + default[len(given) :]


def _checked_model(instrument: str, model: str | None) -> str:
    pulses = ("tobyfit", "pychop") if catalogue()[instrument].tau is not None else ("pychop",)
    if model is None:
        return pulses[0]
    if model not in pulses:
        raise RunFactError(
            f"time model {model!r} is not known for {instrument}; there is {' and '.join(pulses)}",
            "use one of them",
        )
    return model


def _positive(what: str, value: float) -> float:
    if not (math.isfinite(value) and value > 0):
        raise RunFactError(f"{what} is {value:g}", "give a positive number")
    return float(value)


def _not_negative(what: str, value: float) -> float:
    if not (math.isfinite(value) and value >= 0):
        raise RunFactError(f"{what} is {value:g}", "give zero or a positive number")
    return float(value)
