"""A convolution prepared once: equal to `convolve`, smooth in the couplings, the same with and without the compiler."""

import numpy as np
import pytest
from scipy.special import ndtri

from mantid_insgan import Axis, Lattice, Spectrum
from mantid_insgan.convolve import GridAccuracyWarning, convolve, horner, prepare, shapes
from mantid_insgan.convolve.covariance import _mixture
from mantid_insgan.convolve.kernel import PAIRS, ModeTable, compiled_loops
from mantid_insgan.convolve.shared import share_powders
from mantid_insgan.errors import InputError
from mantid_insgan.instruments import Resolution
from mantid_insgan.instruments.montecarlo import unit_draws
from mantid_insgan.instruments.pulse_shapes import gaussians

LATTICE = Lattice(4.0, 4.0, 6.0)


class Wave:
    """A band with a gap, its degenerate twin if asked for, and one that crosses it."""

    lattice = LATTICE

    def __init__(self, top=30.0, gap=0.05, *, twin=False):
        self.top, self.gap, self.twin = top, gap, twin
        self.asked = 0

    def modes(self, q_rlu):
        h, k, l = np.asarray(q_rlu).T  # noqa: E741
        self.asked += len(h)
        gamma = 0.5 * (np.cos(2 * np.pi * h) + np.cos(2 * np.pi * k))
        energy = self.top * np.sqrt((1 + self.gap) ** 2 - gamma**2) * (1 + 0.05 * np.cos(2 * np.pi * l))
        intensity = (1 + self.gap - gamma) * self.top / energy
        share = [0.25, 0.75] if self.twin else [1.0]
        return np.stack([energy] * len(share), axis=1), np.stack([s * intensity for s in share], axis=1)


class Spike(Wave):
    """Nearly all of its intensity is near one point, as near a magnetic Bragg peak."""

    def modes(self, q_rlu):
        energies, intensities = super().modes(q_rlu)
        away = ((np.abs(np.asarray(q_rlu)) - [1.5, 0.5, 1.0]) ** 2).sum(axis=1)
        return energies, intensities * (0.01 + np.exp(-away / 0.01))[:, None]


def axis(name, low, high, bins):
    return Axis(name, np.linspace(low, high, bins + 1), "r.l.u.", frame="HKL")


ENERGY = Axis("DeltaE", np.linspace(4, 44, 21), "meV")
CUT = (axis("[H,0,0]", 1.6, 2.4, 10), axis("[0,K,0]", 0.45, 0.55, 1), ENERGY)
ALONG_BEAM = (axis("[H,0,0]", 0.6, 1.0, 4), axis("[0,K,0]", 0.25, 0.35, 1), axis("[0,0,L]", -9, 9, 1), ENERGY)
POWDER = (Axis("|Q|", np.linspace(2.3, 3.5, 5), "Angstrom^-1"), ENERGY)


@pytest.fixture(scope="module")
def turned():
    return Resolution("MAPS-2000", 100.0, "S", 300.0, lattice=LATTICE)


@pytest.fixture(scope="module")
def still():
    return Resolution("MAPS-2000", 100.0, "S", 300.0, lattice=LATTICE, orientation=((0, 0, 1), (1, 0, 0)))


@pytest.fixture(scope="module")
def cut(turned):
    return prepare(CUT, turned, model=Wave())


@pytest.fixture(scope="module")
def along_beam(still):
    return prepare(ALONG_BEAM, still, model=Wave(), points=64)


@pytest.fixture(scope="module")
def powder(turned):
    return prepare(POWDER, turned, model=Wave(), orientations=100)


@pytest.fixture(params=["cut", "along_beam", "powder"])
def prepared(request):
    return request.getfixturevalue(request.param)


def off(found, reference):
    """Root mean square of the difference, relative."""
    seen = np.isfinite(reference)
    return np.sqrt(((found - reference)[seen] ** 2).mean() / (reference[seen] ** 2).mean())


class TestEquality:
    @pytest.mark.parametrize("line", [{}, {"fwhm": 3.0, "shape": "gaussian"}, {"fwhm": 3.0, "shape": "dho"}])
    def test_start_model_as_by_convolve(self, cut, turned, line):
        expected = convolve(Wave(), CUT, turned, **line).signal
        np.testing.assert_allclose(cut.signal(Wave(), **line), expected, atol=1e-9 * np.nanmax(expected))

    def test_another_model_as_if_prepared_for_it(self, cut, turned):
        other = Wave(33.0, 0.08)
        assert off(cut.signal(other), convolve(other, CUT, turned).signal) < 0.03

    def test_powder(self, powder, turned):
        expected = convolve(Wave(), POWDER, turned, orientations=100).signal
        np.testing.assert_allclose(powder.signal(Wave()), expected, atol=1e-9 * np.nanmax(expected))

    def test_a_powder_has_as_many_directions_as_it_needs(self, turned):
        """Near a Bragg point few of 400 directions have most of the intensity; the smooth wave is content with them."""
        assert prepare(POWDER, turned, model=Wave()).source.energies.shape[1] == 400
        found = prepare(POWDER, turned, model=Spike())
        assert found.source.energies.shape[1] > 400
        exact = convolve(Spike(), POWDER, turned, orientations=25600).signal
        few = convolve(Spike(), POWDER, turned, orientations=400).signal
        assert off(found.signal(Spike()), exact) < 0.05 < off(few, exact)

    def test_a_powder_that_would_need_too_many_directions_is_told(self, turned, monkeypatch):
        monkeypatch.setattr("mantid_insgan.convolve.prepared.MOST_OF_POWDER", 1000)
        with pytest.warns(
            GridAccuracyWarning, match=r"from 400 directions at each .* off by about .*1000 momenta. Fix: take fewer"
        ):
            prepare(POWDER, turned, model=Spike())

    def test_one_crystal_angle(self, along_beam, still):
        """Few nodes in energy, against Monte Carlo with one in each bin."""
        exact = convolve(Wave(), ALONG_BEAM, still, method="interpolated", points=4000, gaussian=True)
        noise = exact.variance.mean() / (exact.signal**2).mean()
        assert np.sqrt(max(off(along_beam.signal(Wave()), exact.signal) ** 2 - noise, 0)) < 0.06

    def test_spectrum(self, cut):
        found = cut.convolve(Wave())
        assert found.title == "convolved (covariance)" and (found.variance == 0).all()
        np.testing.assert_array_equal(found.signal, cut.signal(Wave()))
        assert cut.spectrum.shape == found.shape


class TestFit:
    @pytest.mark.parametrize("line", [{}, {"fwhm": 3.0, "shape": "dho"}])
    def test_smooth_in_the_couplings(self, prepared, line):
        def derivative(step):
            plus, minus = (prepared.signal(Wave(31.0 * (1 + s)), **line) for s in (step, -step))
            return np.nan_to_num(plus - minus) / (2 * step)

        fine, coarse = derivative(1e-4), derivative(1e-3)
        assert np.linalg.norm(fine - coarse) < 0.02 * np.linalg.norm(coarse)

    def test_smooth_in_the_width_of_the_line(self, cut):
        values = np.array([cut.signal(Wave(), fwhm=w, shape="dho") for w in np.linspace(3.0, 3.4, 9)])
        second = np.diff(values, n=2, axis=0)
        assert np.abs(second).max() < 0.1 * np.abs(np.diff(values, axis=0)).max()

    def test_the_same_twice(self, prepared):
        model = Wave(28.0)
        np.testing.assert_array_equal(prepared.signal(model), prepared.signal(Wave(28.0)))

    def test_only_momenta_that_are_seen_are_asked(self, cut):
        model = Wave(28.0)
        cut.signal(model)
        assert 0 < model.asked < cut.source.size

    def test_threads_ask_for_the_same(self, cut, monkeypatch):
        monkeypatch.setattr("mantid_insgan.convolve.modes._LEAST", 16)
        model, used = Wave(28.0), np.ones(cut.source.size, bool)
        one, two = (cut.source.table_of(model, used, workers) for workers in (1, 2))
        np.testing.assert_allclose(two.energies, one.energies, rtol=1e-12)
        np.testing.assert_allclose(two.strengths, one.strengths, rtol=1e-9)

    def test_widths(self, turned):
        flat = prepare(CUT, turned, model=Wave())
        energy = ENERGY.centers

        def spread(factor):
            row = flat.signal(Wave(), width_factor=factor)[5, 0]
            mean = (row * energy).sum() / row.sum()
            return (row * (energy - mean) ** 2).sum() / row.sum()

        narrow, middle, wide = (spread(f) for f in (0.8, 1.0, 1.2))
        assert narrow < middle < wide
        # Variances of widths go as the square of the factor.
        assert (wide - middle) / (middle - narrow) == pytest.approx((1.44 - 1) / (1 - 0.64), rel=0.15)

    def test_first_model_starts(self, turned, cut):
        late = prepare(CUT, turned)
        np.testing.assert_allclose(late.signal(Wave()), cut.signal(Wave()), rtol=1e-9)


class TestSharpness:
    @pytest.mark.parametrize("sharpness", [(3.0, 3.0), (1.0, 3.0), (2.0, 1.2)])
    @pytest.mark.parametrize("name", ["cut", "powder"])
    def test_as_with_a_finer_resolution(self, request, turned, name, sharpness):
        prepared = request.getfixturevalue(name)
        found = prepared.signal(Wave(), fwhm=0.5, shape="gaussian", sharpness=sharpness)
        finer = turned.sharpened(*sharpness)
        axes = {"cut": CUT, "powder": POWDER}[name]
        expected = convolve(Wave(), axes, finer, fwhm=0.5, shape="gaussian", seed=1).signal
        plain = prepared.signal(Wave(), fwhm=0.5, shape="gaussian")
        # For a finer resolution models are asked at other momenta, powders in other directions.
        assert off(found, expected) < {"cut": 0.03, "powder": 0.12}[name]
        if sharpness[0] > 1:
            assert off(found, expected) < 0.7 * off(plain, expected)

    def test_one_number_is_a_width_factor(self, cut):
        both = cut.signal(Wave(), sharpness=(2.0, 2.0)), cut.signal(Wave(), width_factor=0.5)
        np.testing.assert_array_equal(*both)


@pytest.fixture(scope="module")
def slow():
    """A spectrometer whose moderator decides: a lopsided pulse."""
    return Resolution("MARI", 100.0, "A", 400.0, lattice=LATTICE)


@pytest.fixture(scope="module")
def lopsided(slow):
    return prepare(CUT, slow, method="shapes", model=Wave(gap=0.3), tolerance=0.05)


class TestShapes:
    @pytest.mark.parametrize("axes", [CUT, POWDER], ids=["cut", "powder"])
    def test_nearer_to_the_real_pulses(self, slow, axes):
        wave, how = Wave(top=18.0, gap=1.0), {"tolerance": 0.01, "orientations": 1500}
        real = convolve(wave, axes, slow, method="interpolated", points=12000, **how)
        noise = real.variance[real.valid].mean() / (real.signal[real.valid] ** 2).mean()

        def beyond_noise(method):
            found = convolve(wave, axes, slow, method=method, **how).signal
            return np.sqrt(max(off(found, real.signal) ** 2 - noise, 0))

        assert beyond_noise("shapes") < 0.4 * beyond_noise("covariance")

    @pytest.mark.parametrize("fixture", ["still", "slow"])
    def test_gaussian_deviations_are_the_covariance(self, request, fixture, monkeypatch):
        monkeypatch.setattr(shapes, "shaped", lambda beam, even: ndtri(np.clip(even, 1e-9, 1 - 1e-9)))
        shapes._points.cache_clear()
        resolution = request.getfixturevalue(fixture)
        axes = ALONG_BEAM if fixture == "still" else CUT
        wave, how = Wave(gap=0.3), {"points": 1024, "tolerance": 0.05}
        found = convolve(wave, axes, resolution, method="shapes", **how).signal
        shapes._points.cache_clear()
        assert off(found, convolve(wave, axes, resolution, method="covariance", **how).signal) < 0.03

    def test_tail_of_the_moderator(self, slow):
        """A mode without dispersion has the shape of the spectrometer: late neutrons, at lower energies recorded."""
        flat = type("Flat", (), {"lattice": LATTICE, "modes": _flat})()
        fine = (*CUT[:2], Axis("DeltaE", np.linspace(15, 35, 101), "meV"))
        row = convolve(flat, fine, slow, method="shapes").signal[5, 0]
        gaussian = convolve(flat, fine, slow, method="covariance").signal[5, 0]
        energy = fine[2].centers

        def moments(values):
            mean = (values * energy).sum() / values.sum()
            central = [(values * (energy - mean) ** n).sum() / values.sum() for n in (2, 3)]
            return mean, np.sqrt(central[0]), central[1] / central[0] ** 1.5

        (mean, width, skewness), (mean0, width0, skewness0) = moments(row), moments(gaussian)
        assert mean == pytest.approx(mean0, abs=0.02 * width0) and width == pytest.approx(width0, rel=0.02)
        draws = unit_draws(slow.beam, 200_000, np.random.default_rng(0))
        points = slow.frame(Spectrum(np.zeros((10, 1, 100)), np.zeros((10, 1, 100)), fine)).at([[2.04, 0.5, 25.0]])
        late = slow.deviations(points, draws)[0, :, -1]
        expected = -((late - late.mean()) ** 3).mean() / late.std() ** 3
        assert abs(skewness0) < 0.05 < abs(skewness) and skewness == pytest.approx(expected, rel=0.15)

    def test_only_one_sharpness(self, lopsided):
        both = lopsided.signal(Wave(), sharpness=(2.0, 2.0)), lopsided.signal(Wave(), width_factor=0.5)
        np.testing.assert_array_equal(*both)
        with pytest.raises(InputError, match="2 times finer in momentum and 3 in energy, with shapes.*sharpened"):
            lopsided.signal(Wave(), sharpness=(2.0, 3.0))

    @pytest.mark.parametrize("shape", ["chi-squared", "triangle"])
    def test_gaussians_have_the_moments_of_the_pulse(self, shape):
        weight, mean, sigma = np.array(gaussians(shape)).T
        second = mean**2 + sigma**2
        assert weight.sum() == pytest.approx(1) and weight @ mean == pytest.approx(0, abs=1e-12)
        assert weight @ second == pytest.approx(1)
        third = weight @ (mean**3 + 3 * mean * sigma**2)
        assert third == pytest.approx({"chi-squared": 2 / np.sqrt(3), "triangle": 0.0}[shape], abs=0.05)
        fourth = weight @ (mean**4 + 6 * mean**2 * sigma**2 + 3 * sigma**4) - 3
        assert fourth == pytest.approx({"chi-squared": 2.0, "triangle": -0.6}[shape], abs=0.3)


def _flat(self, q_rlu):
    return np.full((len(q_rlu), 1), 25.0), np.ones((len(q_rlu), 1))


class TestKernel:
    @pytest.mark.parametrize("name", ["cut", "along_beam", "lopsided"])
    @pytest.mark.parametrize("line", [{}, {"fwhm": 3.0, "shape": "dho"}])
    def test_with_and_without_the_compiler(self, request, name, line):
        pytest.importorskip("numba")
        assert compiled_loops() is not None
        prepared = request.getfixturevalue(name)
        loops = prepared.signal(Wave(), compiled=True, **line)
        arrays = prepared.signal(Wave(), compiled=False, **line)
        np.testing.assert_allclose(loops, arrays, atol=1e-6 * np.nanmax(arrays))

    def test_without_numba(self, cut, monkeypatch):
        import sys

        expected = cut.signal(Wave())
        compiled_loops.cache_clear()
        monkeypatch.setitem(sys.modules, "mantid_insgan.convolve.loops", None)
        monkeypatch.setitem(sys.modules, "numba", None)
        monkeypatch.delitem(sys.modules, "mantid_insgan.convolve.loops")
        assert compiled_loops() is None
        np.testing.assert_allclose(cut.signal(Wave()), expected, atol=1e-6 * np.nanmax(expected))
        compiled_loops.cache_clear()

    @pytest.mark.parametrize("points", [16, 24, 32, 64])
    @pytest.mark.parametrize("dimensions", [0, 1, 2, 3])
    def test_curvatures_do_not_see_levels_or_slopes(self, points, dimensions):
        for number in range(4):
            unit, _, fit = _mixture(points, dimensions, number)
            np.testing.assert_allclose(fit.sum(axis=0), 0, atol=1e-12)
            np.testing.assert_allclose(unit.T @ fit, 0, atol=1e-12)
            assert np.abs(fit).sum(axis=0).max() < 6
            parabola = 0.5 * unit[:, 1] ** 2
            right = 1e-9 if points >= 32 else 0.6
            assert fit[:, PAIRS.index((1, 1))] @ parabola == pytest.approx(1, abs=right)

    def test_degenerate_modes_are_merged(self, cut):
        twin = Wave(twin=True)
        table = cut.source.table_of(twin, np.ones(cut.source.size, bool))
        assert table.energies.shape[1] == 2 and table.merged().energies.shape[1] == 1
        np.testing.assert_allclose(cut.signal(twin), cut.signal(Wave()), rtol=1e-9)

    def test_modes_that_are_apart_somewhere_are_not_merged(self):
        energies = np.full((8, 2), 5.0)
        energies[3, 1] = 5.1
        assert ModeTable(np.array([2, 2, 2]), energies, energies, 1e-3).merged().energies.shape[1] == 2


def test_only_columns_that_are_valid(turned):
    valid = np.ones((10, 1, 20), bool)
    valid[3] = False
    measured = Spectrum(np.zeros(valid.shape), np.zeros(valid.shape), CUT, valid=valid)
    found = prepare(measured, turned, model=Wave()).signal(Wave())
    assert np.isnan(found[3]).all() and np.isfinite(found[[2, 4]]).all()


class TestRefusals:
    def test_method(self, turned):
        with pytest.raises(
            InputError, match="method 'montecarlo' cannot be prepared.*use one of 'covariance', 'shapes'"
        ):
            prepare(CUT, turned, method="montecarlo")

    def test_numbers(self, turned):
        with pytest.raises(InputError, match="1 points and widths up to 1.25 times.*ask for 2 points or more"):
            prepare(CUT, turned, points=1)

    def test_factor(self, cut):
        with pytest.raises(
            InputError, match="the factor on the widths of the resolution is 1.5, .*at most 1.25.*widest"
        ):
            cut.signal(Wave(), width_factor=1.5)

    def test_line(self, cut):
        with pytest.raises(InputError, match="unknown line shape 'voigt'"):
            cut.signal(Wave(), fwhm=1.0, shape="voigt")


def test_a_line_alone_is_put_in_without_asking_the_model(turned):
    """As a fit does for the derivative with the width; the result is that of a convolution of its own."""
    prepared, model = prepare(CUT, turned, model=Wave()), Wave(top=31.0)
    prepared.signal(model, fwhm=2.0)
    asked = model.asked
    again = prepared.signal(model, fwhm=2.02)
    assert asked > 0 and model.asked == asked
    alone = prepare(CUT, turned, model=Wave()).signal(model, fwhm=2.02)
    np.testing.assert_array_equal(again, alone)
    prepared.signal(Wave(top=32.0), fwhm=2.02)
    np.testing.assert_array_equal(prepared.signal(model, fwhm=2.02), alone)
    assert not np.array_equal(prepared.signal(model, fwhm=2.02, width_factor=1.1), alone)


class TestSharedPowder:
    @staticmethod
    def of(ei, model, low=2.3):
        resolution = Resolution("MAPS-2000", ei, "S", 300.0, lattice=LATTICE)
        axes = (Axis("|Q|", np.linspace(low, low + 1.2, 5), "Angstrom^-1"), ENERGY)
        return prepare(axes, resolution, model=model, orientations=400)

    def test_a_model_is_asked_once_and_the_result_is_the_same(self):
        start, other = Wave(), Wave(top=28.0)
        alone, shared = ([self.of(ei, start) for ei in (80.0, 100.0)] for _ in range(2))
        (table,) = share_powders(shared)
        assert table.size < sum(one.source.size for one in alone)
        for one, each in zip(alone, shared, strict=True):
            assert each.source is table and table.step <= one.source.step
            assert off(each.signal(start), one.signal(start)) < 0.05
        other.asked = 0
        found = [one.signal(other) for one in shared]
        assert other.asked == table.size
        for one, seen in zip(alone, found, strict=True):
            assert off(seen, one.signal(other)) < 0.05

    def test_widths_and_lines_are_put_in_as_before(self):
        start = Wave()
        alone, shared = self.of(80.0, start), [self.of(ei, start) for ei in (80.0, 100.0)]
        share_powders(shared)
        options = {"fwhm": 1.5, "shape": "dho", "width_factor": 1.1}
        assert off(shared[0].signal(Wave(29.0), **options), alone.signal(Wave(29.0), **options)) < 0.05

    def test_those_that_would_need_more_momenta_stay_apart(self):
        start = Wave()
        far = [self.of(80.0, start), self.of(80.0, start, low=5.0)]
        sources = [one.source for one in far]
        assert share_powders(far) == [] and [one.source for one in far] == sources

    def test_those_of_other_models_and_crystals_stay_apart(self, cut):
        assert share_powders([self.of(80.0, Wave()), self.of(80.0, Wave()), cut]) == []


class TestHorner:
    def test_loops_and_arrays_give_the_same_sum(self, monkeypatch):
        rng = np.random.default_rng(3)
        table = rng.standard_normal((7, 700)) + 1j * rng.standard_normal((7, 700))
        shares, begin, turn = rng.random((2, 3, 7)), rng.uniform(-0.2, 0.2, (2, 3)), rng.uniform(-0.2, 0.2, 3)
        ranges, kept = np.array([[1, 6], [4, 4]]), np.array([700, 350, 600])
        loops = horner.Rows(table).summed(shares, ranges, begin, turn, kept)
        monkeypatch.setattr(horner, "_compiled", lambda: None)
        arrays = horner.Rows(table).summed(shares, ranges, begin, turn, kept)
        row = np.arange(1, 6)
        for k, count in enumerate(kept):
            steps = np.arange(count)
            phase = np.exp(1j * steps * (begin[0, k] + (row[:, None] - 1) * turn[k]))
            expected = (shares[0, k, row, None] * phase * table[row, :count]).sum(axis=0)
            np.testing.assert_allclose(loops[k, :count], expected, atol=1e-10)
            np.testing.assert_allclose(arrays[k, :count], expected, atol=1e-10)
