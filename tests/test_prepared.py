"""A convolution prepared once: equal to `convolve`, smooth in the couplings, the same with and without the compiler."""

import numpy as np
import pytest

from mantid_insgan import Axis, Lattice, Spectrum
from mantid_insgan.convolve import GridAccuracyWarning, convolve, prepare
from mantid_insgan.convolve.kernel import ModeTable, compiled_loops
from mantid_insgan.errors import InputError
from mantid_insgan.instruments import Resolution

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


class TestKernel:
    @pytest.mark.parametrize("name", ["cut", "along_beam"])
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
        with pytest.raises(InputError, match="method 'montecarlo' cannot be prepared.*use 'covariance'"):
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
