"""The resolution of a direct-geometry chopper spectrometer at one setting."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import numpy as np

from ..core.constants import FWHM_PER_SIGMA
from ..core.run import CHOPPER_UNKNOWN, RUN_FACTS, SPECTROMETER, Lattice, Run, require_one_setting
from ..core.sample import Sample
from ..core.spectrum import Spectrum
from ..errors import RunFactError
from . import checks, choppers, pulses
from .beam import Beam, Tube
from .catalogue import InstrumentFacts, catalogue, instrument_name, known_instruments
from .covariance import Propagation
from .frames import Frame, Orientation, Points, energies
from .grid import ResolutionOnGrid, resolution_on_grid


class Resolution:
    """Resolution of a direct-geometry chopper spectrometer.

    Fourteen independent deviations x_j of a recorded neutron (time at moderator and chopper, position in the beam, the
    sample and the detector, ...; `covariance.DEVIATIONS`) give (dQ, dE) = J x to first order, so that the covariance
    of (Q, E) is C = J diag(var x) J^T (T. G. Perring, PhD thesis, Cambridge 1991; N. Violini, J. Voigt, S. Pasini
    and T. Brueckel, Nucl. Instrum. Methods A 736, 31 (2014)). docs/resolution.md has the equations and the comparison
    with Tobyfit.

    Limits: the deviations must be small compared with the flight paths and times. All detectors have one secondary
    flight path, and a guide has one divergence over the whole sample. The tail of an Ikeda-Carpenter pulse (SNS) is
    taken from a chi-squared pulse of the same variance. Absorption and multiple scattering in the sample are not part
    of the resolution and are not included.

    Parameters
    ----------
    instrument : str
        MAPS, MAPS-2000 (before its guide of 2017), MERLIN, MARI, LET, SEQUOIA, ARCS, CNCS or HYSPEC.
    ei : float
        Incident energy, meV.
    chopper : str, optional
        Chopper package; ResINS' default if not given.
    frequency : float or sequence of float, optional
        Frequency of the chopper that makes the burst, Hz. LET and CNCS have a second driven chopper: give
        (first, second); with one value, the second has ResINS' ratio to it (LET) or ResINS' default (CNCS).
    width_factor : float
        Factor on the time widths of moderator pulse and chopper burst. `mantid_insgan.fit.vanadium` fits it to a
        vanadium run.
    sample : Sample or str, optional
        A cube of 10 mm if not given; a text as in `Sample.in_mm`.
    mosaic : float
        FWHM of the crystal's mosaic, degrees.
    divergence_horizontal, divergence_vertical : float, optional
        FWHM of the incident divergence, degrees; replaces that of the instrument's aperture or guide.
    time_model : str, optional
        'tobyfit' (chi-squared moderator pulse) or 'pychop' (ResINS' moderator width). If not given, 'tobyfit' where
        Tobyfit has a pulse for the instrument (MAPS, MERLIN, LET), otherwise 'pychop'.
    lattice : Lattice, optional
        Needed for spectra in r.l.u.
    orientation : Orientation or (u, v), optional
        For a crystal measured at one angle: (h, k, l) along the beam and another in the horizontal plane. If not given,
        the crystal is assumed to have been rotated about the vertical axis through many angles.

    Raises
    ------
    RunFactError
        If a fact is unknown, out of range, or the chopper transmits no neutrons.

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
        sample: Sample | str | None = None,
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
        self.ei = checks.checked_ei(self.instrument, self.chopper, ei)
        self.frequencies = checks.checked_frequencies(self.instrument, self.chopper, frequency)
        #: Values outside the ranges of the chopper package, within the tolerance.
        self.notes = checks.notes_on_ranges(self.instrument, self.chopper, self.ei, self.frequencies)
        self.width_factor = checks.positive("the width factor", width_factor)
        self.sample = Sample.in_mm(sample) or Sample()
        self.mosaic = checks.not_negative("the mosaic (degrees)", mosaic)
        self.divergence = tuple(
            None if d is None else checks.positive("the divergence (degrees)", d)
            for d in (divergence_horizontal, divergence_vertical)
        )
        self.time_model = checks.checked_time_model(self.instrument, time_model)
        self.lattice, self.sharpness = lattice, SPECTROMETER
        if orientation is not None and not isinstance(orientation, Orientation):
            orientation = Orientation(*orientation)
        self.orientation = orientation
        self.beam = self._beam(entry)

    @classmethod
    def from_run(cls, run: Run, **overrides) -> Resolution:
        """The resolution of the data of a run: that of their spectrometer, or what ``run.resolution`` says of it.

        Parameters
        ----------
        run : Run
        **overrides
            As for `of_spectrometer`.

        Raises
        ------
        RunFactError
            As `of_spectrometer`; also if the data have no resolution.
        """
        found = cls.of_spectrometer(run, **overrides)
        stated = run.value("resolution")
        if stated is None or stated.sharpness is None:
            return found
        if not stated.has_resolution:
            raise RunFactError(
                f"the data have no resolution ({run.resolution.source}: {stated}), so none can be calculated for them",
                "compare them with a model without resolution (insgan simulate --resolution none), or use the measured "
                "data, or a result of insgan apply --sharpen 3",
            )
        return found.sharpened(*stated.sharpness)

    @classmethod
    def of_spectrometer(cls, run: Run, **overrides) -> Resolution:
        """The resolution for the facts of a run: Ei in meV, frequency in Hz, lattice in Angstrom and degrees.

        Nothing is guessed: a fact missing from the run must be given. The only exception is the chopper package of an
        instrument that has a single one. Sample, mosaic and divergence of the run are used where it has them.
        Equations and limits are those of `Resolution`.

        Parameters
        ----------
        run : Run
            Instrument, Ei, chopper and frequency are needed.
        **overrides
            Keyword arguments of `Resolution`; they take precedence over the run. A `width_factor` of 1 leaves that of
            ``run.resolution``, if it has one.

        Raises
        ------
        RunFactError
            If a fact is missing (the message names the option and the allowed values), unknown or out of range.
        """
        stated = run.value("resolution")
        if stated is not None and stated.width_factor is not None and overrides.get("width_factor", 1.0) == 1.0:
            overrides["width_factor"] = stated.width_factor
        require_one_setting(replace(run, **{n: None for n in RUN_FACTS if overrides.get(n) is not None}))
        given = {name: overrides.pop(name, None) for name in ("instrument", "ei", "chopper", "frequency", "lattice")}
        value = {name: run.value(name) if given[name] is None else given[name] for name in given}
        if value["instrument"] is None:
            raise checks.missing("instrument", f"one of {', '.join(known_instruments())}", "--instrument")
        instrument = instrument_name(value["instrument"])
        packages = choppers.known_choppers(instrument)
        if value["chopper"] is None and len(packages) == 1:
            value["chopper"] = packages[0]
        if value["ei"] is None:
            low, high = choppers.limits(
                instrument, choppers.chopper_name(instrument, value["chopper"] or packages[0])
            ).ei
            raise checks.missing("incident energy", f"{low:g} to {high:g} meV on {instrument}", "--ei")
        if value["chopper"] is None:
            why = "; ".join(n.removeprefix(CHOPPER_UNKNOWN) for n in run.notes if n.startswith(CHOPPER_UNKNOWN))
            allowed = f"one of {', '.join(packages)} on {instrument}"
            raise checks.missing("chopper package", allowed, "--chopper", why)
        if value["frequency"] is None:
            low, high = choppers.limits(instrument, choppers.chopper_name(instrument, value["chopper"])).frequency[0]
            raise checks.missing("chopper frequency", f"{low:g} to {high:g} Hz on {instrument}", "--frequency")
        overrides = {**_of_sample_and_beam(run), **{n: v for n, v in overrides.items() if v is not None}}
        return cls(instrument, value["ei"], value["chopper"], value["frequency"], lattice=value["lattice"], **overrides)

    def scaled(self, factor: float) -> Resolution:
        """The same with all calculated widths times `factor`, beside the width factor it has.

        Raises
        ------
        RunFactError
            If the factor is not positive.
        """
        if factor == 1:
            return self
        found = copy.copy(self)
        found.width_factor = checks.positive("the width factor", self.width_factor * factor)
        found.beam = found._beam(catalogue()[self.instrument])
        return found

    def sharpened(self, momentum: float, energy: float | None = None) -> Resolution:
        """A spectrometer finer in every respect, as the target of a translation: not one that exists.

        With the covariance C of (Q, E), s = C_QQ^-1 C_QE and the variance of the energy at a given momentum
        v = C_EE - s . C_QE, its covariance is C'_QQ = C_QQ / momentum^2, C'_QE = C_QQ s / momentum^2 and
        C'_EE = s . C'_QE + v / energy^2: C - C' is never negative, so that C is C' and one more convolution. With one
        number this is C divided by its square.

        Parameters
        ----------
        momentum, energy : float
            How many times finer in momentum, and in energy at a given momentum; the same if one is given.

        Raises
        ------
        RunFactError
            If a number is not positive.
        """
        energy = momentum if energy is None else energy
        found = copy.copy(self)
        times = checks.positive("the sharpening", momentum), checks.positive("the sharpening", energy)
        found.sharpness = tuple(old * new for old, new in zip(self.sharpness, times, strict=True))
        return found

    def __repr__(self) -> str:
        hertz = "/".join(f"{f:g}" for f in self.frequencies)
        finer = "" if self.sharpness == SPECTROMETER else f", {'/'.join(f'{s:g}' for s in self.sharpness)} times finer"
        return f"Resolution({self.instrument}, Ei {self.ei:g} meV, chopper {self.chopper} at {hertz} Hz{finer})"

    @property
    def frequency(self) -> float:
        """Frequency of the chopper that makes the burst, Hz; within ResINS' range for the chopper package."""
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

        FWHM = sqrt(8 ln 2) sqrt(sum_j J_Ej^2 var x_j), with dE = 2 Ei a - 2 Ef b for the relative changes a and b of
        the speeds before and after the sample (Violini et al. 2014, with Perring's terms for moderator tilt and chopper
        phase). It is the width of a Gaussian of the same variance; the FWHM of the real line, with the moderator's
        tail, is slightly smaller (`elastic_line.ElasticLine.fwhm`). Valid to first order; for a final energy below
        0.1 % of Ei, the width is that at 0.1 %.

        Parameters
        ----------
        energy_transfer : array_like
            meV, at most Ei.
        two_theta : float
            Scattering angle, degrees. Its effect is small and comes only from the size of the sample.

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
            raise checks.energy_above_ei(float(np.max(energy)), self.ei)
        kf = self.beam.kf(energy.ravel())
        angle = math.radians(two_theta)
        direction = np.tile([-math.sin(angle), 0.0, math.cos(angle)], (kf.size, 1))
        found = self.propagation(direction, kf)
        variance = (found.jacobian[:, 3] ** 2 * found.variances).sum(axis=1)
        return FWHM_PER_SIGMA * np.sqrt(variance).reshape(energy.shape)

    def frame(self, spectrum: Spectrum) -> Frame:
        """The axes of a spectrum in the laboratory frame.

        The laboratory frame has z along the beam and y up; Q = ki - kf in 1/Angstrom, E = Ei - Ef in meV. For a powder
        the scattering triangle lies in the horizontal plane, with |Q|^2 = ki^2 + kf^2 - 2 ki kf cos(2 theta). A crystal
        has its fixed orientation, or is rotated about y until (Q, E) reaches the detectors; in r.l.u.
        Q = 2 pi U B (h, k, l) (W. R. Busing and H. A. Levy, Acta Cryst. 22, 457 (1967)).

        Limits: detectors at negative Q_x are given the resolution of those at positive Q_x; points outside the
        kinematic range are moved to points that a neutron can reach.

        Raises
        ------
        InputError
            If there is no energy axis, or the direction of an axis cannot be determined.
        RunFactError
            If measured bins lie above Ei, or the lattice is missing for axes in r.l.u.
        """
        energies(spectrum)
        if isinstance(spectrum, Spectrum):
            self.require_below_ei(spectrum)
        return Frame(spectrum, self.beam, self.lattice, self.orientation)

    def require_below_ei(self, spectrum: Spectrum) -> None:
        """Raise RunFactError if a measured bin lies above Ei, where no neutron comes from."""
        axis = energies(spectrum)
        above = axis.centers > self.ei
        if not above.any():
            return
        others = tuple(i for i in range(spectrum.ndim) if i != spectrum.energy_axis)
        measured = axis.centers[above & spectrum.valid.any(axis=others)]
        if measured.size:
            raise checks.energy_above_ei(float(measured.max()), self.ei, "the highest valid bin, at ")

    def on_grid(self, spectrum: Spectrum) -> ResolutionOnGrid:
        """Widths, correlations and positions at each bin of a spectrum, from one pass over its grid.

        The covariance C at the centre of each bin (see `covariance`) gives FWHM_i = sqrt(8 ln 2 C_ii), in bins or in
        the unit of the axis, and the correlation C_ij / sqrt(C_ii C_jj). The width is that of the projection onto the
        axis, not that of a cut through the ellipsoid. The change of the resolution within a bin is left out. Grids of
        more than 16 000 bins are worked out at every few bins and interpolated linearly: for the powder spectrum of the
        tests within 0.5 %; for 64x64x64x100 bins of a rotated crystal of the tests within 0.3 % for half of the bins
        and 5 % for 95 % of them. Near Q = 0, where the axes rotate fast against the laboratory, errors of half of the
        width occur.

        Parameters
        ----------
        spectrum : Spectrum
            Or anything with its axes, an open file for example.

        Raises
        ------
        InputError, RunFactError
            As `frame`.
        """
        return resolution_on_grid(self, spectrum)

    def fwhm(self, spectrum: Spectrum) -> np.ndarray:
        """FWHM along each open axis (more than one bin) at each bin, shape (D, *open shape).

        sqrt(8 ln 2 C_ii) in the unit of each axis, in the order of ``spectrum.open_axes``; limits and errors as
        `on_grid`.
        """
        return self.on_grid(spectrum).fwhm

    def fwhm_in_bins(self, spectrum: Spectrum) -> np.ndarray:
        """FWHM along each open axis in bins, sqrt(8 ln 2 C_ii) / (width of a bin), float32, shape (D, *open shape).

        No unit; limits and errors as `on_grid`.
        """
        return self.on_grid(spectrum).width

    def correlation(self, spectrum: Spectrum) -> np.ndarray:
        """C_ij / sqrt(C_ii C_jj) between open axes, from -1 to 1, float32, shape (D (D - 1) / 2, *open shape).

        Pairs of axes are (0, 1), (0, 2), (1, 2); no unit; 0 where a width is 0. Limits and errors as `on_grid`.
        """
        return self.on_grid(spectrum).correlation

    def position(self, spectrum: Spectrum, shown: tuple[int, ...] | None = None) -> np.ndarray:
        """E / Ei, |Q| (1/Angstrom) and the FWHM in momenta outside the cut (bins), float32, shape (3, *open shape).

        The last is sqrt(8 ln 2 tr(P C_Q P)) / (width of a bin), where P projects onto the directions of Q that are not
        axes of the cut and C_Q is the covariance of Q; it is 0 for a powder. See `ResolutionOnGrid.position`; limits
        and errors as `on_grid`.
        """
        return self.on_grid(spectrum).position(shown)

    def in_lab(self, points: Points) -> Propagation:
        """The Jacobian J of (Q, E) and the variances var x in the laboratory frame.

        (dQ, dE) = J x (Violini et al. 2014, section 2, with Perring's terms for moderator tilt and chopper phase: see
        `covariance.sensitivity`), for kf along ki - Q. J is in 1/Angstrom and meV per s, m and rad, var x in s^2, m^2
        and rad^2. Valid to first order in x; the final energy is at least 0.1 % of Ei.
        """
        final = np.array([0.0, 0.0, self.beam.ki]) - points.q
        direction = final / np.linalg.norm(final, axis=1, keepdims=True)
        return self.propagation(direction, self.beam.kf(points.energy))

    def propagation(self, direction: np.ndarray, kf: np.ndarray) -> Propagation:
        """`in_lab` for unit vectors of kf in the lab, shape (N, 3), and kf in 1/Angstrom, shape (N,)."""
        found = Propagation.of(self.beam, direction, kf)
        return found if self.sharpness == SPECTROMETER else found.sharpened(*self.sharpness)

    def covariance(self, points: Points, *, of_sample: bool = False) -> np.ndarray:
        """Covariance of the coordinates of points.

        C = G J diag(var x) J^T G^T (Violini et al. 2014), with J from `in_lab` and the gradients G of the coordinates
        with respect to (Q, E). It describes a Gaussian resolution completely, and gives the second moments of the real
        one, to first order in the deviations (within 1 % of exact neutron paths in the Gaussian limit, see the tests).

        Parameters
        ----------
        points : Points
            From ``resolution.frame(spectrum).points()`` or ``.at(coordinates)``.
        of_sample : bool
            Use the coordinates ``points.sample``, (h, k, l, E) or (|Q|, E), instead of the open axes of the spectrum.

        Returns
        -------
        ndarray, shape (N, D, D)
            Variances and covariances (squared sigma, not FWHM) in the units of the coordinates.
        """
        gradients = points.sample_gradients if of_sample else points.gradients
        return self.in_lab(points).covariance(gradients)

    def deviations(self, points: Points, draws: np.ndarray, *, of_sample: bool = True) -> np.ndarray:
        """Deviations of the coordinates of points for random draws, as in Tobyfit's Monte Carlo (Perring 1991).

        G J (sqrt(var x) * draw), with G and J as in `covariance`. A neutron recorded at a point may have been scattered
        at point + deviation, so the measured intensity there is the mean of the model over the deviations. The draws
        have the real shapes of pulses, apertures and pixels; their effect on (Q, E) is first order, whereas
        `montecarlo.trace` is exact.

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
        gradients = points.sample_gradients if of_sample else points.gradients
        return self.in_lab(points).deviations(gradients, draws)


def _of_sample_and_beam(run: Run) -> dict[str, object]:
    """Arguments of `Resolution` from the facts of a run that describe its sample and its beam."""
    horizontal, vertical = run.value("divergence") or (None, None)
    found = {
        "sample": run.value("sample"),
        "mosaic": run.value("mosaic"),
        "divergence_horizontal": horizontal,
        "divergence_vertical": vertical,
    }
    return {name: value for name, value in found.items() if value is not None}
