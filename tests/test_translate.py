"""A model applied to spectra of any size: gaps, scale, tiles, axes, cuts."""

import copy
import time

import numpy as np
import pytest

from mantid_insgan.core.options import DIRECTIONS
from mantid_insgan.core.slices import network_axes, regions_of
from mantid_insgan.core.spectrum import Axis, Spectrum
from mantid_insgan.errors import InputError, ModelError
from mantid_insgan.translate import session
from mantid_insgan.translate import translator as translate
from mantid_insgan.translate.cards import choose_model
from mantid_insgan.translate.translator import Translator, ramp, tile_starts


class Widths:
    """FWHM in bins of a spectrum that vary along its energy axis, as `ResolutionOnGrid` gives them, without an
    instrument."""

    def __init__(self, spectrum, scale: float = 1.0):
        self.shape, self.open_axes = spectrum.shape, spectrum.open_axes
        self._at = spectrum.energy_axis if spectrum.energy_axis in self.open_axes else self.open_axes[0]
        share = np.linspace(0, 1, 64)
        along = scale * np.interp(np.linspace(0, 1, spectrum.shape[self._at]), share, 5.0 - 3.0 * share)
        along = along.reshape([-1 if i == self._at else 1 for i in range(spectrum.ndim)])
        self._width = np.broadcast_to(along, spectrum.shape).astype(np.float32)
        self._factors = [1.0 if spectrum.axes[i].is_energy else 0.5 for i in self.open_axes]

    def region(self, bins):
        found = copy.copy(self)
        found._width = self._width[bins]
        found.shape = found._width.shape
        return found

    @property
    def _opened(self):
        return self._width.reshape([self.shape[i] for i in self.open_axes])

    @property
    def width(self):
        return np.stack([factor * self._opened for factor in self._factors])

    @property
    def correlation(self):
        count = len(self.open_axes)
        return np.full((count * (count - 1) // 2, *self._opened.shape), 0.3, np.float32)

    def position(self, shown):
        return np.stack([0.1 * self._opened] * 3)


def translated(translator, spectrum, scale: float = 1.0, progress=None):
    """`Translator.apply` with `Widths`."""
    return translator.apply(spectrum, Widths(spectrum, scale), progress)


@pytest.fixture(scope="module", params=DIRECTIONS)
def translator(request):
    return Translator(choose_model(request.param), "cpu", threads=1)


def magnon(momenta=64, energies=48, *, seed=0, gaps=True, counts=400.0) -> Spectrum:
    """A dispersing mode with counting noise, and bins that were not measured."""
    rng = np.random.default_rng(seed)
    q, e = np.linspace(-1, 1, momenta + 1), np.linspace(2, 50, energies + 1)
    qc, ec = 0.5 * (q[1:] + q[:-1])[:, None], 0.5 * (e[1:] + e[:-1])[None, :]
    signal = np.exp(-0.5 * ((ec - 8 - 32 * np.abs(np.sin(np.pi * qc))) / 3) ** 2) + 0.05
    noisy = rng.poisson(signal * counts) / counts
    variance = np.maximum(noisy, 1 / counts) / counts
    valid = np.ones(signal.shape, bool)
    if gaps:
        valid[momenta // 3 : momenta // 3 + 3] = False
        valid[:5, energies // 2 :] = False
    noisy = np.where(valid, noisy, np.nan)
    axes = (Axis("[H,0,0]", q, "r.l.u.", "HKL"), Axis("DeltaE", e, "DeltaE"))
    return Spectrum(noisy, np.where(valid, variance, np.nan), axes, num_events=rng.integers(0, 9, signal.shape))


def test_gaps_stay_gaps_and_all_else_has_an_error(translator):
    spectrum = magnon()
    result, quality = translated(translator, spectrum)
    assert np.array_equal(np.isnan(result.signal), ~spectrum.valid)
    assert np.array_equal(result.valid, spectrum.valid)
    assert np.isfinite(result.variance[result.valid]).all() and (result.variance[result.valid] > 0).all()
    assert np.array_equal(result.num_events, spectrum.num_events)
    assert result.axes == spectrum.axes
    assert quality.bins == spectrum.valid.sum()
    assert 0.8 < quality.summary()["flux_ratio"] < 1.2


def test_what_stands_in_a_gap_does_not_matter(translator):
    spectrum = magnon()
    garbage = np.where(spectrum.valid, spectrum.signal, 1e30)
    other = spectrum.replace(signal=garbage, variance=np.where(spectrum.valid, spectrum.variance, np.inf))
    one, two = (translated(translator, s)[0] for s in (spectrum, other))
    assert np.array_equal(one.signal, two.signal, equal_nan=True)


@pytest.mark.parametrize("factor", [2.0, 1e-6, 3.7e4])
def test_linear_in_the_intensity_scale(translator, factor):
    spectrum = magnon()
    scaled = spectrum.replace(signal=factor * spectrum.signal, variance=factor**2 * spectrum.variance)
    one, two = (translated(translator, s)[0] for s in (spectrum, scaled))
    np.testing.assert_allclose(two.signal, factor * one.signal, rtol=1e-3, atol=1e-5 * factor)
    np.testing.assert_allclose(two.variance, factor**2 * one.variance, rtol=1e-2)


def test_zero_variance_in_valid_bins(translator):
    spectrum = magnon()
    result, _ = translated(translator, spectrum.replace(variance=np.where(spectrum.valid, 0.0, np.nan)))
    assert np.array_equal(result.valid, spectrum.valid)
    assert (result.variance[result.valid] > 0).all()


def test_axes_in_any_order_and_integrated_ones(translator):
    spectrum = magnon()
    plain, _ = translated(translator, spectrum)
    turned = Spectrum(spectrum.signal.T, spectrum.variance.T, spectrum.axes[::-1])
    result, _ = translated(translator, turned)
    np.testing.assert_allclose(result.signal.T, plain.signal, rtol=1e-6)
    one_bin = Axis("[0,K,0]", [-0.1, 0.1], "r.l.u.", "HKL")
    thick = Spectrum(
        spectrum.signal[:, None], spectrum.variance[:, None], (spectrum.axes[0], one_bin, spectrum.axes[1])
    )
    result, _ = translated(translator, thick)
    np.testing.assert_allclose(result.signal[:, 0], plain.signal, rtol=1e-6)


def test_a_volume_is_walked_slice_by_slice(translator):
    slices = [magnon(40, 32, seed=s) for s in range(3)]
    third = Axis("[0,K,0]", np.linspace(0, 0.3, 4), "r.l.u.", "HKL")
    volume = Spectrum(
        np.stack([s.signal for s in slices], 1),
        np.stack([s.variance for s in slices], 1),
        (slices[0].axes[0], third, slices[0].axes[1]),
    )
    shares = []
    result, quality = translated(translator, volume, progress=shares.append)
    assert shares[-1] == 1.0 and shares == sorted(shares)
    assert len(quality.distances) == 3
    for i, one in enumerate(slices):
        alone, _ = translated(translator, one)
        np.testing.assert_allclose(result.signal[:, i], alone.signal, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_tiles_of_a_volume_meet_without_a_seam(direction, monkeypatch):
    rows = [magnon(88, 20, seed=s) for s in range(16)]
    third = Axis("[0,K,0]", np.linspace(0, 0.3, 17), "r.l.u.", "HKL")
    axes = (rows[0].axes[0], third, rows[0].axes[1])
    volume = Spectrum(np.stack([r.signal for r in rows], 1), np.stack([r.variance for r in rows], 1), axes)
    volumes, tiles, run = Translator(choose_model(direction, 3), "cpu", threads=1), [], Translator._run
    monkeypatch.setattr(Translator, "_run", lambda self, tile, *more: tiles.append(tile) or run(self, tile, *more))
    tiled, _ = translated(volumes, volume)
    assert len(tiles) == 2
    monkeypatch.setitem(translate.TILE, 3, 88)
    whole, _ = translated(volumes, volume)
    assert len(tiles) == 3
    assert np.array_equal(np.isnan(whole.signal), ~volume.valid)
    away, size = (np.sqrt(np.mean(x[volume.valid] ** 2)) for x in (tiled.signal - whole.signal, whole.signal))
    assert away < 0.005 * size


def test_tiles_meet_without_a_seam(translator, monkeypatch):
    spectrum = magnon(210, 170)
    whole, _ = translated(translator, spectrum)
    monkeypatch.setitem(translate.TILE, 2, 160)
    tiled, quality = translated(translator, spectrum)
    assert len(quality.distances) > 3
    away = np.abs(tiled.signal - whole.signal)[spectrum.valid]
    size = np.sqrt(np.mean(whole.signal[spectrum.valid] ** 2))
    assert np.sqrt(np.mean(away**2)) < 0.02 * size
    assert away.max() < 0.3 * np.nanmax(whole.signal)


@pytest.mark.parametrize("shape", [(7, 9), (17, 16), (16, 33), (5, 40)])
def test_small_and_odd_grids_are_padded(translator, shape):
    spectrum = magnon(*shape, gaps=False)
    result, _ = translated(translator, spectrum)
    assert result.shape == shape and np.isfinite(result.signal).all()


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_cut_of_one_axis(direction, axis):
    translator = Translator(choose_model(direction, 1), "cpu", threads=1)
    spectrum = magnon(gaps=False, counts=1e5)
    index = 20
    signal, variance = (np.take(x, [index], 1 - axis) for x in (spectrum.signal, spectrum.variance))
    axes = list(spectrum.axes)
    axes[1 - axis] = axes[1 - axis].slice(index, index + 1)
    cut = Spectrum(signal, variance, axes)
    result, quality = translated(translator, cut)
    assert result.shape == cut.shape and np.isfinite(result.signal).all()
    spread = lambda s: float(np.max(s) / np.sum(np.abs(s)))  # noqa: E731  sharper is larger
    if translator.card.direction == "add-resolution":
        assert spread(result.signal) < spread(cut.signal)
    else:
        assert spread(result.signal) > spread(cut.signal)


def test_the_map_is_broader_or_sharper():
    spectrum = magnon(gaps=False, counts=1e6)
    added, _ = translated(Translator(choose_model("add-resolution"), "cpu", 1), spectrum)
    removed, quality = translated(Translator(choose_model("remove-resolution"), "cpu", 1), added)
    assert added.signal.max() < 0.98 * spectrum.signal.max() < removed.signal.max() * 1.3
    distance = lambda s: np.linalg.norm(s.signal - spectrum.signal) / np.linalg.norm(spectrum.signal)  # noqa: E731
    assert distance(removed) < 0.6 * distance(added)
    assert quality.compared == spectrum.signal.size


def test_wild_spikes_are_further_from_the_training_than_a_mode():
    translator = Translator(choose_model("remove-resolution"), "cpu", 1)
    _, known = translated(translator, magnon(gaps=False))
    board = np.indices((64, 48)).sum(0) % 2 * 100.0 * np.random.default_rng(0).standard_cauchy((64, 48)) ** 2
    strange = magnon(gaps=False).replace(signal=board, variance=np.full((64, 48), 1e-12))
    _, unknown = translated(translator, strange)
    assert known.distances[0] < 1.0
    assert unknown.distances[0] > 1.5 * known.distances[0]


def test_errors(translator):
    spectrum = magnon()
    with pytest.raises(InputError, match="none of the 3072 bins is valid"):
        translated(translator, spectrum.replace(valid=np.zeros(spectrum.shape, bool)))
    with pytest.raises(ModelError, match=r"bins wide .*can apply up to 12.* rebin the data along '\[H,0,0\]'"):
        translated(translator, spectrum, 20.0)
    with pytest.raises(InputError, match=r"no energy axis among '\[H,0,0\]'"):
        network_axes(spectrum.axes[:1], 1)
    with pytest.raises(InputError, match="every axis has a single bin"):
        network_axes(tuple(a.slice(0, 1) for a in spectrum.axes), 1)
    cut = (spectrum.axes[0].slice(0, 1), spectrum.axes[1])
    with pytest.raises(
        InputError, match=r"of the axes '\[H,0,0\]', 'DeltaE' only 1 have more than one bin, expected 2"
    ):
        network_axes(cut, 2)
    name = translator.card.name
    message = (
        f"model {name} needs 2 axes with more than one bin, and the data have 1.*omit --model, or use {name[:-2]}1d"
    )
    with pytest.raises(ModelError, match=message):
        translated(translator, Spectrum(spectrum.signal[:1], spectrum.variance[:1], cut))


def test_resolution_too_wide_in_some_bins_is_counted(translator):
    _, quality = translated(translator, magnon(), 3.0)
    assert 0 < quality.summary()["share_of_bins_with_resolution_too_wide"] < 1


def axes_of(**bins) -> tuple[Axis, ...]:
    """Axes by first letter: h, k, l in r.l.u. and e."""
    names = {"h": "[H,0,0]", "k": "[0,K,0]", "l": "[0,0,L]", "e": "DeltaE"}
    return tuple(
        Axis(names[k], np.arange(n + 1.0), "DeltaE" if k == "e" else "r.l.u.", "General Frame" if k == "e" else "HKL")
        for k, n in bins.items()
    )


@pytest.mark.parametrize(
    ("bins", "expected"),
    [
        ({"h": 10, "e": 12}, (0, 1)),
        ({"e": 12, "h": 10}, (1, 0)),
        ({"h": 10, "k": 20, "l": 5, "e": 12}, (1, 3)),
        ({"h": 10, "k": 20, "l": 5, "e": 1}, (0, 1)),
        ({"h": 1, "k": 1, "l": 1, "e": 12}, (3,)),
        ({"h": 1, "k": 9, "l": 1, "e": 1}, (1,)),
        ({"h": 10, "k": 20, "l": 5, "e": 12}, (0, 1, 3)),
        ({"e": 12, "h": 10, "k": 20, "l": 15}, (2, 3, 0)),
    ],
)
def test_which_axes_the_network_sees(bins, expected):
    assert network_axes(axes_of(**bins), len(expected)) == expected


def test_tiles_cover_an_axis_with_weights_above_zero():
    for size in (1, 511, 512, 513, 700, 2000):
        weight = np.zeros(size)
        for start in tile_starts(size, 256, 64):
            stop = min(start + 256, size)
            weight[start:stop] += ramp(start, stop, size, 64)
        assert (weight > 0).all()


def test_slabs_cover_a_file_once_and_keep_slices_whole():
    shape, axes = (20, 30, 7, 40), (1, 3)
    regions = regions_of(shape, axes, 3000)
    seen = np.zeros(shape, int)
    for region in regions:
        seen[region] += 1
        assert all(region[a] == slice(0, shape[a]) for a in axes)
        assert np.prod([r.stop - r.start for r in region]) <= 3000
    assert (seen == 1).all()
    assert [r[0].stop - r[0].start for r in regions_of((7, 10, 10), (1, 2), 300)] == [2, 2, 3]


def test_a_result_that_does_not_explain_the_data_is_told():
    from mantid_insgan.core.options import ApplyOptions
    from mantid_insgan.demo import DATA
    from mantid_insgan.io import read_spectrum
    from mantid_insgan.translate.job import apply

    measured = read_spectrum(DATA / "measured.nxs")
    options = ApplyOptions(direction="remove-resolution", device="cpu")
    _, report = apply(measured, options)
    assert not any("differs from the data" in note for note in report.notes)
    board = np.indices(measured.shape).sum(0) % 2 * 100.0
    _, report = apply(measured.replace(signal=board, variance=np.maximum(board, 1.0)), options)
    assert any("differs from the data by chi-squared" in note for note in report.notes)


def test_the_network_neither_makes_nor_loses_intensity():
    assert translate.kept_intensity(np.array([1.0, 2.0]), np.array([2.0, 2.0])) == pytest.approx(0.99 * 4 / 3)
    assert translate.kept_intensity(np.array([2.0, 2.02]), np.array([2.0, 2.0])) == 1.0
    assert translate.kept_intensity(np.array([1.0, -1.0]), np.array([2.0, -2.1])) == 1.0
    noisy = magnon(gaps=False, counts=5.0)
    _, quality = translated(Translator(choose_model("add-resolution"), "cpu", 1), noisy)
    assert quality.summary()["flux_ratio"] == pytest.approx(1.0, abs=0.05)


def test_progress_comes_tile_by_tile_and_slice_by_slice(translator, monkeypatch):
    monkeypatch.setitem(translate.TILE, 2, 32)
    monkeypatch.setitem(translate.OVERLAP, 2, 8)
    monkeypatch.setattr(session, "LOOK", 1e9)  # only what is done, not that it is being done
    shares = []
    translated(translator, magnon(56, 32), 0.3, progress=shares.append)
    assert len(translate.tile_starts(56, 32, 8)) == 2 and shares == [0.0, 0.5, 1.0]
    monkeypatch.setattr(session, "LOOK", 0.001)
    shares.clear()
    run = translator.session.run

    def slow(*arguments):  # until it was looked at
        before, end = len(shares), time.monotonic() + 30
        while len(shares) == before and time.monotonic() < end:
            time.sleep(0.001)
        return run(*arguments)

    monkeypatch.setattr(translator.session, "run", slow)
    translated(translator, magnon(56, 32), 0.3, progress=shares.append)
    assert set(shares) == {0.0, 0.5, 1.0} and shares == sorted(shares) and len(shares) > 3


def test_a_network_that_runs_is_ended_by_what_its_caller_raises(monkeypatch):
    class Slow:
        """A session that works until it is told to end."""

        ended = False

        def run(self, outputs, inputs, options):
            started = time.monotonic()
            while not options.terminate:
                assert time.monotonic() - started < 60
                time.sleep(0.001)
            self.ended = True

    def interrupt():
        raise KeyboardInterrupt

    slow = Slow()
    monkeypatch.setattr(session, "LOOK", 0.01)
    with pytest.raises(KeyboardInterrupt):
        session.run_interruptibly(slow, ["translated"], {}, interrupt)
    assert slow.ended, "no thread is left behind"


def test_what_goes_wrong_in_the_network_is_raised(translator):
    with pytest.raises(Exception, match="(?i)input"):
        session.run_interruptibly(translator.session, ["translated"], {}, lambda: None)
