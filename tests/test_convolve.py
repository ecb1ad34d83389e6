"""Models through the resolution: against analytic results, against each other, and what is refused."""

import warnings

import numpy as np
import pytest

from mantid_insgan import Axis, Lattice, Spectrum
from mantid_insgan.convolve import METHODS, GridAccuracyWarning, convolve, ideal, sample_modes
from mantid_insgan.convolve import run as run_module
from mantid_insgan.convolve.bins import Bins, nodes_between
from mantid_insgan.convolve.modes import ModeGrid
from mantid_insgan.errors import InputError, RunFactError
from mantid_insgan.instruments import Resolution
from mantid_insgan.models.lineshape import SHAPES, drawn
from mantid_insgan.models.spinw import bin_modes

LATTICE = Lattice(4.0, 4.0, 6.0)
BLURRED = ("montecarlo", "interpolated", "covariance", "shapes", "energy")


class Bands:
    """Modes from functions of (h, k, l), each giving energy and intensity."""

    lattice = LATTICE

    def __init__(self, *bands):
        self.bands = bands

    def modes(self, q_rlu):
        pairs = [np.broadcast_arrays(*band(*np.asarray(q_rlu).T)) for band in self.bands]
        return np.stack([e for e, _ in pairs], axis=1), np.stack([i for _, i in pairs], axis=1)


def flat(energy, intensity=1.0):
    return lambda h, k, l: (energy + 0 * h, intensity + 0 * h)  # noqa: E741


def straight(energy, at, slopes, intensity=1.0):
    """A dispersion that is a plane through `energy` at (h, k, l) = `at`."""
    return lambda *q: (energy + sum(s * (x - x0) for s, x, x0 in zip(slopes, q, at, strict=True)), intensity)


def wave(top, gap, phase=0.0):
    """A curved band with a gap and 1/E intensity: like a square antiferromagnet's."""

    def band(h, k, l):  # noqa: E741
        gamma = 0.5 * (np.cos(2 * np.pi * h + phase) + np.cos(2 * np.pi * k))
        energy = top * np.sqrt((1 + gap) ** 2 - gamma**2) * (1 + 0.05 * np.cos(2 * np.pi * l))
        return energy, (1 + gap - gamma) * top / energy

    return band


def axis(name, low, high, bins):
    return Axis(name, np.linspace(low, high, bins + 1), "r.l.u.", frame="HKL")


def energies(low, high, bins):
    return Axis("DeltaE", np.linspace(low, high, bins + 1), "meV")


@pytest.fixture(scope="module")
def resolution():
    return Resolution("MAPS-2000", 100.0, "S", 300.0, lattice=LATTICE)


@pytest.fixture(scope="module")
def merlin():
    return Resolution("MERLIN", 80.0, "G", 300.0)


CURVED = Bands(wave(30, 0.02), wave(24, 0.1, phase=np.pi / 2))
AXES = (axis("[H,0,0]", 1.6, 2.4, 12), axis("[0,K,0]", 0.45, 0.55, 1), energies(4, 44, 14))


def moments(spectrum, row):
    """Area, mean and variance along energy of one row of a spectrum whose last axis is energy."""
    signal, centres = spectrum.signal[row], spectrum.axes[-1].centers
    area = signal.sum()
    mean = (signal * centres).sum() / area
    return area * spectrum.axes[-1].width, mean, (signal * (centres - mean) ** 2).sum() / area


def misfit(found, reference):
    seen = np.isfinite(reference)
    return np.sqrt(np.mean((found[seen] - reference[seen]) ** 2) / np.mean(reference[seen] ** 2))


def apart(found, reference):
    """Misfit of two spectra beyond what their standard errors explain."""
    noise = (found.variance.mean() + reference.variance.mean()) / (reference.signal**2).mean()
    return np.sqrt(max(misfit(found.signal, reference.signal) ** 2 - noise, 0))


class TestAnalytic:
    """Straight dispersions, whose result is a Gaussian of known width."""

    CUT = (axis("[H,0,0]", 1.99, 2.05, 3), axis("[0,K,0]", -0.001, 0.001, 1), energies(20, 60, 80))

    def expected(self, resolution, slopes):
        """A Gaussian in v.dQ - dE at every energy, with the resolution of that energy; (energies,)."""
        grid = Spectrum(np.zeros((3, 1, 80)), np.zeros((3, 1, 80)), self.CUT)
        fine = np.linspace(20, 60, 801)
        fine = 0.5 * (fine[1:] + fine[:-1])
        at = resolution.frame(grid).at(np.column_stack([np.full(800, 2.02), np.zeros(800), fine]))
        vector = np.array([*slopes, -1.0])
        variance = np.einsum("i,nij,j->n", vector, resolution.covariance(at, of_sample=True), vector)
        variance += (slopes[0] * 0.02) ** 2 / 12 + (slopes[1] * 0.002) ** 2 / 12
        line = np.exp(-0.5 * (fine - 40) ** 2 / variance) / np.sqrt(2 * np.pi * variance)
        return line.reshape(80, 10).mean(axis=1)

    @pytest.mark.parametrize("slopes", [(0, 0, 0), (120, 0, 0), (-120, 0, 0), (0, 60, 0), (0, 0, 80), (80, 40, -50)])
    def test_covariance(self, resolution, slopes):
        # Recorded at E_m(Q + dQ) - dE: the width is that of v.dQ - dE, with all of its couplings.
        model = Bands(straight(40.0, (2.02, 0, 0), slopes, intensity=3.0))
        found = convolve(model, self.CUT, resolution, method="covariance").signal[1, 0]
        assert misfit(found, 3 * self.expected(resolution, slopes)) < 0.015

    @pytest.mark.parametrize("method", ["montecarlo", "interpolated"])
    def test_monte_carlo(self, resolution, method):
        slopes = (-80, 0, 80)
        model = Bands(straight(40.0, (2.02, 0, 0), slopes))
        found = convolve(model, self.CUT, resolution, method=method, points=2500, gaussian=True)
        expected = self.expected(resolution, slopes)
        # Bins of one spectrum share points, so that their errors go together.
        off = (found.signal[1, 0] - expected) ** 2
        assert off.mean() < 4 * found.variance[1, 0].mean()
        assert found.signal[1, 0].sum() == pytest.approx(expected.sum(), rel=0.05)

    def test_energy_only(self, resolution):
        model = Bands(straight(40.0, (2.02, 0, 0), (120, 0, 0)))
        blurred = convolve(model, self.CUT, resolution, method="energy", points=256)
        expected = (resolution.fwhm_energy(40.0) / 2.3548) ** 2 + 120**2 * 0.02**2 / 12
        assert moments(blurred, (1, 0))[2] == pytest.approx(expected, rel=0.03)

    def test_pulse_is_asymmetric(self, resolution):
        def skewness(gaussian):
            blurred = convolve(
                Bands(flat(40.0)), self.CUT, resolution, method="interpolated", points=6000, gaussian=gaussian
            )
            _, mean, variance = moments(blurred, (1, 0))
            third = (blurred.signal[1, 0] * (self.CUT[-1].centers - mean) ** 3).sum() / blurred.signal[1, 0].sum()
            return third / variance**1.5

        assert abs(skewness(True)) < 0.1
        assert abs(skewness(False)) > 0.2


class TestAgreement:
    def test_gaussian_limit(self, resolution):
        reference = convolve(
            CURVED, AXES, resolution, method="interpolated", points=20000, gaussian=True, tolerance=0.01
        )
        assert np.sqrt(reference.variance.mean() / (reference.signal**2).mean()) < 0.012
        found = convolve(CURVED, AXES, resolution, method="covariance", points=512, tolerance=0.01)
        assert apart(found, reference) < 0.01

    def test_interpolated_is_unbiased(self, resolution):
        reference = convolve(CURVED, AXES, resolution, method="montecarlo", points=3000)
        found = convolve(CURVED, AXES, resolution, method="interpolated", points=10000, seed=5)
        assert apart(found, reference) < 0.03

    def test_energy_alone_is_not_enough(self, resolution):
        reference = convolve(CURVED, AXES, resolution, method="covariance").signal
        assert misfit(convolve(CURVED, AXES, resolution, method="energy").signal, reference) > 0.05

    @pytest.mark.parametrize("method", BLURRED)
    def test_integral_is_kept(self, resolution, method):
        axes = (axis("[H,0,0]", 1.6, 2.4, 4), axis("[0,K,0]", 0.2, 0.8, 1), energies(-15, 60, 50))
        model = Bands(lambda *q: (wave(30, 0.02)(*q)[0], 2.0), lambda *q: (wave(24, 0.1, phase=1.0)(*q)[0], 1.0))
        blurred = convolve(model, axes, resolution, method=method, points=2000)
        noise = np.sqrt(blurred.variance.sum()) / blurred.signal.sum()
        assert blurred.signal.sum() * 1.5 / 4 == pytest.approx(3.0, rel=5e-3 + 3 * noise)
        assert noise < 0.01

    def test_volume(self, resolution):
        axes = (
            axis("[H,0,0]", 1.9, 2.1, 4),
            axis("[0,K,0]", 0.3, 0.5, 3),
            axis("[0,0,L]", -0.5, 0.5, 1),
            energies(4, 44, 10),
        )
        reference = convolve(CURVED, axes, resolution, method="interpolated", points=10000, gaussian=True)
        found = convolve(CURVED, axes, resolution, method="covariance", tolerance=0.02)
        assert found.shape == (4, 3, 1, 10)
        assert apart(found, reference) < 0.015


class TestBins:
    def test_ideal_is_the_mean_over_the_bin(self, resolution):
        axes = (axis("[H,0,0]", 1.9, 2.3, 2), axis("[0,0,L]", 0, 1, 1), energies(0, 45, 9))
        found = ideal(CURVED, axes, resolution, points=4000)
        rng = np.random.default_rng(2)
        for n, low in enumerate((1.9, 2.1)):
            q = np.column_stack([rng.uniform(low, low + 0.2, 20000), np.zeros(20000), rng.random(20000)])
            expected = bin_modes(*CURVED.modes(q), axes[-1].edges).mean(axis=0)
            np.testing.assert_allclose(found.signal[n, 0], expected, atol=5 * np.sqrt(found.variance.max()))

    def test_integrated_axis_is_averaged(self, resolution):
        # A mode that runs through 20 meV over the integrated zone fills 20 meV evenly.
        model = Bands(straight(30.0, (0, 0, 0), (0, 0, 20.0)))
        axes = (axis("[H,0,0]", 1.9, 2.1, 2), axis("[0,0,L]", -0.5, 0.5, 1), energies(10, 50, 40))
        for method in ("interpolated", "covariance", "energy"):
            blurred = convolve(model, axes, resolution, method=method, points=4000)
            assert blurred.signal[1, 0, 16:24].mean() == pytest.approx(1 / 20, rel=0.06)
            _, mean, variance = moments(blurred, (1, 0))
            assert mean == pytest.approx(30, abs=0.4)
            assert variance > 20**2 / 12

    def test_order_of_axes(self, resolution):
        turned = (AXES[2], AXES[0], AXES[1])
        straight_ = convolve(CURVED, AXES, resolution, method="covariance")
        found = convolve(CURVED, turned, resolution, method="covariance")
        np.testing.assert_allclose(found.signal, np.moveaxis(straight_.signal, -1, 0), rtol=1e-9)

    def test_measured_grid_keeps_its_gaps(self, resolution):
        valid = np.ones((12, 1, 14), bool)
        valid[3, 0, :5] = False
        valid[7] = False
        measured = Spectrum(np.ones(valid.shape), np.ones(valid.shape), AXES, valid=valid)
        blurred = convolve(CURVED, measured, resolution)
        assert np.array_equal(blurred.valid, valid)
        assert np.isnan(blurred.signal[7]).all()

    def test_facts_of_a_bare_grid(self, resolution):
        blurred = convolve(CURVED, AXES, resolution)
        assert blurred.run.value("ei") == 100.0
        assert blurred.run.value("lattice") is LATTICE
        assert blurred.title == "convolved (covariance)"

    def test_bins_out_of_reach(self, resolution):
        axes = (axis("[H,0,0]", 0.0, 2.0, 20), energies(5, 85, 8))
        for method in BLURRED:
            blurred = convolve(CURVED, axes, resolution, method=method, points=16)
            assert not blurred.valid[0, -1] and np.isnan(blurred.signal[0, -1])
            assert blurred.valid[-1, 0]

    def test_crystal_at_one_angle(self):
        # With l along the beam, the energy transfer decides l: a mode at 60 - 20 l is met where 60 - 20 l(E) = E.
        still = Resolution("MAPS-2000", 100.0, "S", 300.0, lattice=LATTICE, orientation=((0, 0, 1), (1, 0, 0)))
        model = Bands(straight(60.0, (0, 0, 0), (0, 0, -20.0)))
        axes = (
            axis("[H,0,0]", 0.69, 0.71, 1),
            axis("[0,K,0]", 0.29, 0.31, 1),
            axis("[0,0,L]", -9, 9, 1),
            energies(5, 60, 55),
        )
        grid = Spectrum(np.zeros((1, 1, 1, 55)), np.zeros((1, 1, 1, 55)), axes)
        at = still.frame(grid).at(np.column_stack([np.tile([0.7, 0.3, 0.0], (55, 1)), axes[-1].centers]))
        met = axes[-1].centers[np.argmin(np.abs(60 - 20 * at.sample[:, 2] - axes[-1].centers))]
        sharp = ideal(model, grid, still, points=2000)
        assert moments(sharp, (0, 0, 0))[1] == pytest.approx(met, abs=1.0)
        exact = moments(convolve(model, grid, still, method="montecarlo", points=2000, gaussian=True), (0, 0, 0))
        assert exact[1] == pytest.approx(met, abs=1.0)
        for method in ("interpolated", "covariance"):
            found = moments(convolve(model, grid, still, method=method, points=2048, gaussian=True), (0, 0, 0))
            assert found[0] == pytest.approx(exact[0], rel=0.03)
            assert found[1] == pytest.approx(exact[1], abs=0.15)
            assert found[2] == pytest.approx(exact[2], rel=0.08)


class TestPowder:
    AXES = (Axis("|Q|", np.linspace(2.3, 3.5, 7), "Angstrom^-1"), energies(4, 44, 10))

    @pytest.mark.parametrize("method", ["interpolated", "covariance"])
    def test_methods_agree(self, merlin, method):
        exact = convolve(CURVED, self.AXES, merlin, method="montecarlo", gaussian=True, points=6000)
        options = {"gaussian": True, "points": 6000, "orientations": 2000}
        assert apart(convolve(CURVED, self.AXES, merlin, method=method, **options), exact) < 0.03

    @pytest.mark.parametrize("method", BLURRED)
    def test_integral_is_kept(self, merlin, method):
        model = Bands(lambda *q: (wave(28, 0.02)(*q)[0], 2.0), flat(12.0, 1.0))
        axes = (self.AXES[0], energies(-8, 44, 26))
        blurred = convolve(model, axes, merlin, method=method, points=2000, orientations=200)
        noise = np.sqrt(blurred.variance.sum()) / blurred.signal.sum()
        assert blurred.signal.sum() * 2.0 / 6 == pytest.approx(3.0, rel=5e-3 + 3 * noise)
        assert noise < 0.01


class TestModeGrid:
    def grid(self, tolerance=0.02, most=100_000):
        return ModeGrid(
            CURVED,
            ([1.6, 0.3, -0.1], [2.4, 0.6, 0.1]),
            np.eye(3),
            [0.05, 0.05, 0.1],
            sigma=1.0,
            tolerance=tolerance,
            most=most,
            rng=np.random.default_rng(0),
        )

    def test_stated_error_holds_at_crossings(self):
        grid = self.grid()
        q = np.random.default_rng(1).uniform([1.6, 0.3, -0.1], [2.4, 0.6, 0.1], (4000, 3))
        true, found = (np.sort(m.modes(q)[0], axis=1) for m in (CURVED, grid))
        # The bands cross inside: they come closer than one cell can tell.
        assert np.diff(true, axis=1).min() < 0.05
        edges = np.arange(-5, 45, 0.5)
        spectra = [bin_modes(*m.modes(q), edges, fwhm=2.3548, shape="gaussian") for m in (CURVED, grid)]
        assert misfit(spectra[1], spectra[0]) < 1.5 * grid.error
        assert grid.error < 0.02
        assert np.abs(found - true).max() < 1.0  # meV, at the rounded-off kinks; most are far closer
        assert np.median(np.abs(found - true)) < 0.03

    def test_slopes(self):
        grid = self.grid()
        q = np.random.default_rng(1).uniform([1.7, 0.4, -0.05], [1.8, 0.5, 0.05], (200, 3))
        _, _, slopes = grid.modes_and_slopes(q)
        step = np.array([1e-4, 0, 0])
        numeric = (np.sort(CURVED.modes(q + step)[0]) - np.sort(CURVED.modes(q - step)[0])) / 2e-4
        assert np.median(np.abs(slopes[..., 0] - numeric)) < 0.05 * np.abs(numeric).max()

    def test_coarse_grid_warns(self, resolution, monkeypatch):
        monkeypatch.setitem(run_module.GRID_LIMIT, "covariance", 150)
        with pytest.warns(GridAccuracyWarning, match="150 momenta. Fix: take a smaller range.* tolerance above 0"):
            convolve(CURVED, AXES, resolution, method="covariance")


class TestSharedModes:
    """One grid of modes for `ideal` and `convolve`."""

    def test_convolved_as_if_asked_again(self, resolution):
        for method in ("covariance", "interpolated"):
            source = sample_modes(CURVED, AXES, resolution, method=method)
            alone = convolve(CURVED, AXES, resolution, method=method)
            shared = convolve(None, AXES, resolution, method=method, source=source)
            np.testing.assert_array_equal(shared.signal, alone.signal)

    @pytest.mark.parametrize("line", [{}, {"fwhm": 2.0, "shape": "dho"}, {"fwhm": 3.0, "shape": "gaussian"}])
    def test_ideal_as_by_many_points(self, resolution, line):
        source = sample_modes(CURVED, AXES, resolution, tolerance=0.005)
        exact = ideal(CURVED, AXES, resolution, points=8000, **line)
        found = ideal(CURVED, AXES, resolution, source=source, **line)
        assert (found.variance == 0).all()
        assert apart(found, exact) < 0.015
        assert found.signal.sum() == pytest.approx(exact.signal.sum(), rel=5e-3)

    def test_ideal_of_a_plane_of_modes(self, resolution):
        # 40 meV / r.l.u. along h and 200 along k fill a trapezoid in each bin.
        model = Bands(straight(24.0, (2.0, 0.5, 0), (40.0, 200.0, 0)))
        axes = (axis("[H,0,0]", 1.9, 2.1, 1), axis("[0,K,0]", 0.45, 0.55, 1), energies(0, 48, 48))
        found = ideal(model, axes, resolution, source=sample_modes(model, axes, resolution)).signal[0, 0]
        centres = axes[-1].centers
        expected = np.clip((14 - np.abs(centres - 24)) / 8, 0, 1) / 20
        np.testing.assert_allclose(found, expected, atol=2e-3)

    def test_powder(self, merlin):
        source = sample_modes(CURVED, TestPowder.AXES, merlin, momenta=60_000)
        assert 30_000 < source.size < 90_000
        exact = ideal(CURVED, TestPowder.AXES, merlin, points=10_000)
        found = ideal(CURVED, TestPowder.AXES, merlin, source=source)
        assert misfit(found.signal, exact.signal) < 0.03
        assert 0 < np.sqrt(found.variance.mean() / (found.signal**2).mean()) < 0.05
        blurred = convolve(CURVED, TestPowder.AXES, merlin, source=source)
        assert apart(blurred, convolve(CURVED, TestPowder.AXES, merlin, orientations=2000)) < 0.02

    def test_only_energies_in_view_decide_the_grid(self, resolution):
        above = (*AXES[:2], energies(60, 90, 10))
        assert sample_modes(CURVED, above, resolution).size < sample_modes(CURVED, AXES, resolution).size

    def test_method_without_grid(self, resolution):
        with pytest.raises(InputError, match="'montecarlo' has no grid of modes.*'interpolated', 'covariance'"):
            sample_modes(CURVED, AXES, resolution, method="montecarlo")


class TestLines:
    @pytest.mark.parametrize("shape", SHAPES)
    def test_random_lines(self, shape):
        edges = np.linspace(0, 30, 31)
        energy = drawn(np.full((200_000, 1), 9.0), 3.0, shape, np.random.default_rng(0))
        found = np.histogram(energy, edges)[0] / 200_000
        expected = bin_modes([[9.0]], [[1.0]], edges, fwhm=3.0, shape=shape)[0]
        np.testing.assert_allclose(found, expected, atol=0.003)

    @pytest.mark.parametrize("shape", SHAPES)
    def test_methods_agree(self, resolution, shape):
        line = {"fwhm": 6.0, "shape": shape}
        exact = convolve(CURVED, AXES, resolution, method="interpolated", points=8000, gaussian=True, **line)
        found = convolve(CURVED, AXES, resolution, method="covariance", tolerance=0.02, **line)
        assert apart(found, exact) < 0.02

    def test_energy_only(self, resolution):
        cut = (axis("[H,0,0]", 1.99, 2.05, 3), energies(20, 60, 80))
        blurred = convolve(Bands(flat(40.0)), cut, resolution, method="energy", fwhm=5.0, shape="gaussian")
        expected = (resolution.fwhm_energy(40.0) ** 2 + 5**2) / 2.3548**2
        assert moments(blurred, 1)[2] == pytest.approx(expected, rel=0.03)


class TestRandomness:
    def convolved(self, resolution, **options):
        return convolve(CURVED, AXES, resolution, **{"method": "montecarlo", "points": 400, **options})

    @pytest.mark.parametrize("method", BLURRED)
    def test_workers_change_nothing(self, resolution, method):
        one = self.convolved(resolution, method=method)
        two = self.convolved(resolution, method=method, workers=2)
        assert np.array_equal(one.signal, two.signal) and np.array_equal(one.variance, two.variance)

    @pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
    def test_processes_change_nothing(self, resolution):
        one = self.convolved(resolution)
        assert np.array_equal(one.signal, self.convolved(resolution, workers=2, processes=True).signal)

    def test_seed(self, resolution):
        one = self.convolved(resolution, seed=1)
        assert np.array_equal(one.signal, self.convolved(resolution, seed=1).signal)
        assert not np.array_equal(one.signal, self.convolved(resolution, seed=2).signal)

    @pytest.mark.parametrize("method", ["montecarlo", "interpolated"])
    def test_standard_error_is_honest(self, resolution, method):
        axes = (axis("[H,0,0]", 1.6, 2.4, 3), axis("[0,K,0]", 0.45, 0.55, 1), energies(4, 44, 8))
        runs = [convolve(CURVED, axes, resolution, method=method, points=200, seed=s) for s in range(30)]
        scatter = np.var([r.signal for r in runs], axis=0, ddof=1)
        stated = np.mean([r.variance for r in runs], axis=0)
        assert np.sqrt(stated.mean() / scatter.mean()) == pytest.approx(1, abs=0.2)

    def test_progress(self, resolution):
        told = []
        self.convolved(resolution, progress=lambda done, total: told.append((done, total)))
        assert told[-1][0] == told[-1][1]
        assert [t[0] for t in told] == sorted(t[0] for t in told)


class TestRefusals:
    def test_method(self, resolution):
        with pytest.raises(InputError, match="unknown method 'tobyfit'.*'montecarlo', 'interpolated', 'covariance'"):
            convolve(CURVED, AXES, resolution, method="tobyfit")
        assert tuple(METHODS) == (*BLURRED, "outside")

    def test_no_lattice(self):
        with pytest.raises(RunFactError, match=r"'\[H,0,0\]' is in reciprocal lattice units and the lattice is not"):
            convolve(CURVED, AXES, Resolution("MAPS-2000", 100.0, "S", 300.0))

    def test_singular_lattice(self):
        flat_cell = Lattice(4, 4, 6, alpha=120, beta=120, gamma=120)
        with pytest.raises(InputError, match="has no volume.*give the six lattice parameters"):
            convolve(CURVED, AXES, Resolution("MAPS-2000", 100.0, "S", 300.0, lattice=flat_cell))

    def test_energies_above_ei(self, resolution):
        with pytest.raises(RunFactError, match="lies above the incident energy, 100 meV"):
            convolve(CURVED, (AXES[0], energies(90, 130, 4)), resolution)

    def test_momenta_out_of_reach(self, resolution):
        with pytest.raises(RunFactError, match=r"no bin of the grid \(\[H,0,0\] 12 to 13 .*kinematic range.*check the"):
            convolve(CURVED, (axis("[H,0,0]", 12, 13, 4), energies(5, 50, 4)), resolution)

    def test_frame(self, resolution):
        sample = Axis("Q_sample_x", np.linspace(1, 2, 5), "Angstrom^-1", frame="QSample")
        with pytest.raises(InputError, match="'Q_sample_x' are neither directions in .h, k, l. nor |Q|"):
            convolve(CURVED, (sample, AXES[2]), resolution)
        with pytest.raises(InputError, match=r"the momentum axes \(none\) are neither"):
            convolve(CURVED, (AXES[2],), resolution)
        with pytest.raises(InputError, match="include no energy transfer, or more than one"):
            convolve(CURVED, (AXES[0],), resolution)

    def test_powder_model_without_lattice(self, resolution):
        class Bare:
            modes = staticmethod(CURVED.modes)

        with pytest.raises(InputError, match="the model has no lattice, and a powder average needs one"):
            convolve(Bare(), TestPowder.AXES, resolution, method="montecarlo")

    def test_numbers(self, resolution):
        with pytest.raises(InputError, match="1 points for method 'montecarlo'.*ask for 2 or more"):
            convolve(CURVED, AXES, resolution, method="montecarlo", points=1)
        with pytest.raises(InputError, match="0 workers"):
            convolve(CURVED, AXES, resolution, workers=0)

    def test_lines(self, resolution):
        with pytest.raises(InputError, match="unknown line shape 'voigt'.*'dho', 'gaussian', 'lorentzian'"):
            convolve(CURVED, AXES, resolution, fwhm=1.0, shape="voigt")
        with pytest.raises(InputError, match="the intrinsic width is 0 meV"):
            ideal(CURVED, AXES, resolution, fwhm=0.0)


def test_nodes_follow_the_resolution(resolution):
    empty = np.zeros((12, 1, 14))
    nodes = nodes_between(Bins(Spectrum(empty, empty, AXES), resolution))
    np.testing.assert_allclose(nodes.shares.sum(axis=0), 1)
    assert 2 <= len(nodes.energies) < 30


def test_accurate_grids_do_not_warn(resolution):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        convolve(CURVED, AXES, resolution, method="covariance")


def test_a_powder_with_an_intrinsic_width():
    """The line widens the spectrum and keeps its integral, as for a crystal."""
    lattice = Lattice(4.0, 4.0, 4.0)

    class Cosine:
        def __init__(self):
            self.lattice = lattice

        def modes(self, q):
            energies = 15 + 3 * np.cos(2 * np.pi * np.asarray(q)[:, :1])
            return energies, np.ones_like(energies)

    resolution = Resolution("MERLIN", 60.0, "G", 300.0, lattice=lattice)
    axes = (Axis("|Q|", np.linspace(1.5, 2.5, 6), "Angstrom^-1"), Axis("DeltaE", np.linspace(0, 30, 121), "DeltaE"))
    sharp, wide = (
        convolve(Cosine(), axes, resolution, method="covariance", orientations=400, fwhm=fwhm, shape="gaussian")
        for fwhm in (None, 2.0)
    )
    energy = axes[1].centers

    def moments(spectrum):
        total = spectrum.signal.sum(axis=1)
        mean = (spectrum.signal * energy).sum(axis=1) / total
        return total, (spectrum.signal * (energy - mean[:, None]) ** 2).sum(axis=1) / total

    (flux, spread), (flux_wide, spread_wide) = moments(sharp), moments(wide)
    np.testing.assert_allclose(flux_wide, flux, rtol=5e-3)
    np.testing.assert_allclose(spread_wide - spread, (2.0 / 2.3548) ** 2, rtol=0.1)  # a difference of two


class TestOutside:
    """The resolution in what a cut does not show."""

    def test_a_band_that_does_not_change_outside_stays_as_it_is(self, resolution):
        along_h = Bands(lambda *q: (20 + 8 * np.cos(2 * np.pi * q[0]), 1 + 0 * q[0]))
        grid = (axis("[H,0,0]", 1.6, 2.4, 24), axis("[0,K,0]", -0.05, 0.05, 1), energies(6, 34, 28))
        source = sample_modes(along_h, grid, resolution)
        sharp = ideal(along_h, grid, resolution, source=source)
        found = convolve(along_h, grid, resolution, method="outside", source=source)
        # a Gaussian of an eighth of a bin is left along the open axes
        assert (
            misfit(found.signal, sharp.signal)
            < 0.15
            < 0.5
            < misfit(convolve(along_h, grid, resolution).signal, sharp.signal)
        )
        assert np.nansum(found.signal) == pytest.approx(np.nansum(sharp.signal), rel=2e-3)

    def test_a_slope_outside_spreads_the_energy_by_the_width_there(self, resolution):
        slope = 40.0  # meV per r.l.u. along l, which the cut lacks
        up_l = Bands(straight(40, (0, 0, 0), (0, 0, slope)))
        grid = (axis("[H,0,0]", 1.99, 2.05, 3), axis("[0,K,0]", -0.001, 0.001, 1), energies(20, 60, 160))
        found = convolve(up_l, grid, resolution, method="outside")
        empty = Spectrum(np.zeros((3, 1, 160)), np.zeros((3, 1, 160)), grid)
        at = resolution.frame(empty).at(np.array([[2.02, 0.0, 40.0]]))
        variance = slope**2 * resolution.covariance(at, of_sample=True)[0, 2, 2]
        _, mean, spread = moments(found, (1, 0))
        assert mean == pytest.approx(40, abs=0.3)
        assert spread == pytest.approx(variance, rel=0.1)

    def test_a_powder_has_nothing_outside(self):
        resolution = Resolution("MAPS-2000", 100.0, "S", 300.0)
        grid = (Axis("|Q|", np.linspace(1, 3, 9), "Angstrom^-1"), energies(5, 45, 12))
        sharp = ideal(CURVED, grid, resolution, seed=1)
        found = convolve(CURVED, grid, resolution, method="outside", seed=1)
        np.testing.assert_array_equal(found.signal, sharp.signal)
