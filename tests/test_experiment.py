"""From convolved to measured: each ingredient against its formula, counts against their statistics."""

import numpy as np
import pytest

from mantid_insgan.convolve import detectors, experiment
from mantid_insgan.convolve.bins import Bins
from mantid_insgan.convolve.experiment import ExperimentSettings, make_experiment
from mantid_insgan.core.run import Lattice
from mantid_insgan.core.spectrum import Axis, Spectrum
from mantid_insgan.errors import InputError
from mantid_insgan.instruments import Resolution

EI = 50.0
NOTHING = ExperimentSettings(counts=1e4)


@pytest.fixture(scope="module")
def resolution() -> Resolution:
    return Resolution("MARI", EI, "S", 250, lattice=Lattice(4, 4, 6))


def flat_powder(value: float = 2.0, q=(0.5, 6.5), energy=(-10.0, 46.0)) -> Spectrum:
    axes = (
        Axis("|Q|", np.linspace(*q, 61), "Angstrom^-1"),
        Axis("DeltaE", np.linspace(*energy, 57), "meV"),
    )
    return Spectrum(np.full((60, 56), value), np.zeros((60, 56)), axes)


def reached(spectrum: Spectrum, resolution: Resolution) -> np.ndarray:
    return Bins(spectrum, resolution).reachable


def test_counts_follow_poisson_and_keep_the_scale(resolution):
    seen = make_experiment(flat_powder(), resolution, NOTHING, seed=3)
    assert np.array_equal(seen.valid, reached(flat_powder(), resolution) & (seen.axes[1].centers < 0.97 * EI))
    assert not seen.valid.all()
    assert np.isnan(seen.signal[~seen.valid]).all()
    pulls = ((seen.signal - 2.0) / np.sqrt(seen.variance))[seen.valid]
    assert abs(pulls.mean()) < 4 / np.sqrt(pulls.size)
    assert pulls.var() == pytest.approx(1.0, abs=4 * np.sqrt(2 / pulls.size))
    # counts at E: level x counts x kf / ki
    expected = 1e4 * resolution.beam.kf(seen.axes[1].centers) / resolution.beam.ki
    found = np.nanmean(np.where(seen.valid, seen.num_events, np.nan), axis=0)
    inside = seen.valid.any(axis=0)
    np.testing.assert_allclose(found[inside], expected[inside], rtol=0.02)
    np.testing.assert_array_equal(seen.num_events, np.round(seen.num_events))


@pytest.mark.parametrize("level", [0.3, 3.0, 30.0])
def test_counts_scatter_as_poisson_counts_do(resolution, level):
    """Variance over mean is 1; the variance of n draws of a mean m has the variance 2 m^2 / (n - 1) + m / n."""
    draws = 25
    settings = ExperimentSettings(counts=level)
    seen = [make_experiment(flat_powder(), resolution, settings, seed=s) for s in range(draws)]
    counts = np.stack([s.num_events[seen[0].valid] for s in seen])
    assert counts.shape[1] > 1000
    mean = counts.mean(axis=0)
    # The sum of the variances over that of the means: a ratio in each bin is biased where counts are rare.
    ratio = counts.var(axis=0, ddof=1).sum() / mean.sum()
    sigma = np.sqrt((2 * mean**2 / (draws - 1) + mean / draws).sum()) / mean.sum()
    assert ratio == pytest.approx(1.0, abs=4 * sigma)
    assert 4 * sigma < 0.05


def test_a_bin_without_counts_has_the_variance_of_one(resolution):
    seen = make_experiment(flat_powder(), resolution, ExperimentSettings(counts=0.05), seed=1)
    none = seen.valid & (seen.num_events == 0)
    one = seen.valid & (seen.num_events == 1)
    assert none.any() and one.any()
    column = np.flatnonzero((none.any(axis=0)) & (one.any(axis=0)))[0]
    variance = seen.variance[:, column]
    assert variance[none[:, column]][0] == variance[one[:, column]][0] > 0


def test_same_seed_same_counts(resolution):
    settings = ExperimentSettings(counts=30, dead=0.05)
    first, again, other = (make_experiment(flat_powder(), resolution, settings, seed=s) for s in (1, 1, 2))
    assert first.identical(again)
    assert not first.identical(other)


def test_flat_background_is_flat(resolution):
    seen = make_experiment(flat_powder(), resolution, ExperimentSettings(counts=1e6, flat=0.5), seed=0)
    np.testing.assert_allclose(seen.signal[seen.valid], 3.0, rtol=0.01)


def test_background_constant_in_time():
    edges = np.linspace(-10, 40, 2001)
    found = experiment.constant_in_time(edges, EI)
    centres = 0.5 * (edges[1:] + edges[:-1])
    # By its definition: dt/dE x ki/kf with t ~ Ef^-1/2, relative to E = 0.
    by_definition = (EI / (EI - centres)) ** 1.5 * np.sqrt(EI / (EI - centres))
    np.testing.assert_allclose(found, by_definition, rtol=1e-5)
    wide = experiment.constant_in_time(edges[::100], EI)
    np.testing.assert_allclose(wide, found.reshape(-1, 100).mean(axis=1), rtol=1e-5)
    assert np.isfinite(experiment.constant_in_time(np.linspace(40, 60, 11), EI)).all()


def test_elastic_line_has_area_and_width(resolution):
    edges = np.linspace(-20, 45, 1301)
    recorded = detectors.RecordedLine(resolution, edges)
    line, tail = recorded.recorded(0.0, 0.05), recorded.recorded(1.0, 0.05)
    step, centres = edges[1] - edges[0], 0.5 * (edges[1:] + edges[:-1])
    assert line.sum() * step == pytest.approx(1.0, abs=1e-3)
    mean = (line * centres).sum() * step
    sigma = np.sqrt((line * (centres - mean) ** 2).sum() * step)
    assert sigma * 2.3548 == pytest.approx(float(resolution.fwhm_energy(0.0)), rel=0.05)
    assert abs(mean) < 0.05 * sigma
    # The delayed neutrons: the median path recorded where E = Ei (1 - (L2 / (L2 + l))^2).
    path = 0.05 * np.log(2)
    length = resolution.beam.sample_detector
    median = EI * (1 - (length / (length + path)) ** 2)
    assert tail[centres < median].sum() * step == pytest.approx(0.5, abs=0.1)
    assert tail[centres > 3 * sigma].sum() > 20 * tail[centres < -3 * sigma].sum()


@pytest.mark.parametrize("tail", [0.0, 0.3])
def test_without_the_resolution_the_elastic_line_has_its_area_in_the_bin_of_no_transfer(resolution, tail):
    edges = np.linspace(-20.2, 45, 327)
    line = detectors.RecordedLine(resolution, edges)
    sharp, recorded = line.sharp(tail, 0.05), line.recorded(tail, 0.05)
    steps = np.diff(edges)
    assert (sharp * steps).sum() == pytest.approx((recorded * steps).sum(), abs=2e-3)
    at = int(np.searchsorted(edges, 0.0)) - 1
    assert sharp.argmax() == at and sharp[at] * steps[at] >= 1 - tail
    np.testing.assert_array_equal(sharp[:at], 0)
    if not tail:
        np.testing.assert_array_equal(sharp[at + 1 :], 0)


def test_background_of_both_sides_has_the_same_total(resolution):
    """What the resolution only moves: elastic line, its tail, rings of aluminium; smooth parts are the same."""
    grid = flat_powder(q=(0.5, 6.0), energy=(-25.0, 30.0))
    seen = detectors.Detectors(Bins(grid, resolution))
    settings = ExperimentSettings(elastic=50.0, tail=0.1, aluminium=20.0, flat=0.2, phonons=0.3)
    ideal, recorded = experiment.background(seen, settings, 1.0, seen.reachable)
    assert ideal.sum() == pytest.approx(recorded.sum(), rel=0.02)
    assert ideal.max() > 2 * recorded.max()
    smooth = ExperimentSettings(flat=0.2, phonons=0.3, time_independent=0.1)
    ideal, recorded = experiment.background(seen, smooth, 1.0, seen.reachable)
    np.testing.assert_array_equal(ideal, recorded)


def test_lines_of_finer_sides_are_narrower_and_of_the_same_area(resolution):
    grid = flat_powder(q=(0.5, 6.0), energy=(-25.0, 30.0))
    seen = detectors.Detectors(Bins(grid, resolution))
    settings = ExperimentSettings(elastic=50.0, tail=0.1, aluminium=20.0)
    sides = (experiment.IDEAL, (3.0, 3.0), (1.0, 3.0), experiment.RECORDED)
    ideal, finer, finer_in_energy, recorded = experiment.background(seen, settings, 1.0, seen.reachable, sides)
    for side in (finer, finer_in_energy):
        assert side.sum() == pytest.approx(recorded.sum(), rel=0.02)
        assert recorded.max() < side.max() < ideal.max()
    assert seen.line_at((3.0, 3.0)).fwhm == pytest.approx(seen.line.fwhm / 3, rel=1e-6)
    rings = [seen.aluminium_at(times) for times in (1.0, 3.0, np.inf)]
    assert rings[0].max() < rings[1].max() <= rings[2].max()
    assert rings[1].sum() == pytest.approx(rings[0].sum(), rel=0.03)


def test_another_repetition_is_a_line_of_constant_energy(resolution):
    grid = flat_powder(energy=(20.0, 40.0))
    seen = detectors.Detectors(Bins(grid, resolution))
    settings = ExperimentSettings(other=5.0, repetition=0.6)
    ideal, recorded = experiment.background(seen, settings, 2.0, seen.reachable)
    np.testing.assert_array_equal(ideal, recorded)
    assert (recorded == recorded[0]).all()
    line, steps, fwhm = recorded[0], np.diff(seen.edges), float(resolution.fwhm_energy(0.6 * EI))
    assert line @ steps == pytest.approx(10.0 * 1.06447 * fwhm, rel=1e-4)  # a Gaussian of this height and width
    assert (line * steps) @ seen.centres / (line @ steps) == pytest.approx(0.6 * EI, abs=0.01)


def test_elastic_line_and_tail_stand_in_the_spectrum(resolution):
    settings = ExperimentSettings(counts=1e5, elastic=50.0, tail=0.2, tail_path=0.3, displacement=0.0)
    seen = make_experiment(flat_powder(), resolution, settings, seed=0)
    energy = seen.axes[1].centers
    mean = np.nanmean(np.where(seen.valid, seen.signal, np.nan), axis=0)
    assert abs(energy[np.nanargmax(mean)]) <= 1.0
    assert 0.5 * 2.0 * 50 < np.nanmax(mean) < 1.2 * 2.0 * 50
    assert mean[energy > 15][0] > 1.02 * mean[energy < -8][0]


def test_aluminium_lines_are_where_they_belong(resolution):
    modulus = np.linspace(0.5, 6, 4000)
    profile = detectors.aluminium_lines(resolution, modulus)
    peaks = modulus[1:-1][(profile[1:-1] > profile[:-2]) & (profile[1:-1] > profile[2:])]
    # d spacings of aluminium (ICDD 4-787): 2.338, 2.024, 1.431, 1.221 Angstrom
    for spacing in (2.338, 2.024, 1.431, 1.221):
        assert np.abs(peaks - 2 * np.pi / spacing).min() < 0.01
    assert profile[np.abs(modulus - 2 * np.pi / 2.338).argmin()] == pytest.approx(1.0, rel=0.01)
    assert profile[modulus < 2.4].max() < 1e-3


def test_no_aluminium_line_where_neutrons_are_too_slow():
    slow = Resolution("LET", 1.5, "High Flux", 100)
    assert slow.beam.ki * 2 < 2.6
    np.testing.assert_array_equal(detectors.aluminium_lines(slow, np.linspace(0.2, 1.6, 50)), 0)


def test_one_phonon_balances_in_detail_and_ends_at_the_cutoff(resolution):
    settings = ExperimentSettings(phonon_cutoff=20.0, temperature=150.0, displacement=0.01)
    bins = Bins(flat_powder(energy=(-28.0, 28.0)), resolution)
    phonons = experiment.one_phonon(detectors.Detectors(bins), settings)
    energy = bins.energy.centers
    thermal = experiment.BOLTZMANN * 150
    # S(-E) = S(E) exp(-E/kT), at the same Q
    np.testing.assert_allclose(phonons[5, ::-1][28:40], (phonons[5] * np.exp(-energy / thermal))[28:40], rtol=0.02)
    assert phonons[5, energy > 26].max() < 0.01 * phonons[5].max()
    q = bins.spectrum.axes[0].centers
    assert phonons[40, 30] / phonons[5, 30] == pytest.approx(
        (q[40] / q[5]) ** 2 * np.exp(-0.01 * (q[40] ** 2 - q[5] ** 2)), rel=1e-6
    )


def test_gaps_follow_the_scattering_angle(resolution):
    settings = ExperimentSettings(counts=100, two_theta=(10.0, 100.0), gaps=((40.0, 45.0),))
    seen = make_experiment(flat_powder(), resolution, settings, seed=0)
    q, energy = (a.centers for a in seen.axes)
    kf = np.sqrt((EI - energy) / 2.0721248)
    ki = np.sqrt(EI / 2.0721248)
    with np.errstate(invalid="ignore"):
        angle = np.degrees(np.arccos((ki**2 + kf**2 - q[:, None] ** 2) / (2 * ki * kf)))
    away = lambda limit: np.abs(angle - limit) > 1e-6  # noqa: E731
    wanted = (angle >= 10) & (angle <= 100) & ~((angle >= 40) & (angle <= 45)) & (energy <= 0.97 * EI)
    clear = away(10) & away(100) & away(40) & away(45)
    np.testing.assert_array_equal(seen.valid[clear], wanted[clear])
    assert 0.3 < seen.valid.mean() < 0.9


def test_dead_bins_are_a_share_of_all(resolution):
    whole = make_experiment(flat_powder(), resolution, NOTHING, seed=0).valid.sum()
    left = make_experiment(flat_powder(), resolution, ExperimentSettings(dead=0.2), seed=0).valid.sum()
    assert left / whole == pytest.approx(0.8, abs=0.04)


def test_crystal_rings_lie_at_their_modulus(resolution):
    axes = (
        Axis("[H,0,0]", np.linspace(-3, 3, 61), "r.l.u.", "HKL"),
        Axis("[0,K,0]", np.linspace(-3, 3, 61), "r.l.u.", "HKL"),
        Axis("[0,0,L]", [-0.1, 0.1], "r.l.u.", "HKL"),
        Axis("DeltaE", [-1.0, 1.0], "meV"),
    )
    grid = Spectrum(np.ones((60, 60, 1, 1)), np.zeros((60, 60, 1, 1)), axes)
    seen = make_experiment(grid, resolution, ExperimentSettings(counts=1e4, aluminium=100.0), seed=0).squeeze()
    h, k = (a.centers for a in seen.axes)
    modulus = 2 * np.pi / 4 * np.hypot(h[:, None], k)
    bright = seen.valid & (seen.signal > 8)
    assert bright.sum() > 50
    tau = 2 * np.pi / np.array([2.338, 2.024, 1.431, 1.221])
    assert np.abs(modulus[bright][:, None] - tau).min(axis=1).max() < 0.2


def test_draws_are_seeded_and_varied():
    draw = lambda s: ExperimentSettings.draw(np.random.default_rng(s), temperature=77.0)  # noqa: E731
    assert draw(1) == draw(1)
    many = [draw(s) for s in range(200)]
    assert {m.temperature for m in many} == {77.0}
    for name in ("flat", "time_independent", "elastic", "tail", "phonons", "aluminium", "dead"):
        absent = np.mean([getattr(m, name) == 0 for m in many])
        assert 0.1 < absent < 0.7
    assert max(m.counts for m in many) / min(m.counts for m in many) > 100


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"counts": 0.0}, "'counts' is 0"),
        ({"flat": -1.0}, "'flat' is -1"),
        ({"elastic": np.nan}, "'elastic' is nan"),
        ({"dead": 1.5}, "'dead' is 1.5"),
        ({"tail_path": 0.0}, "'tail_path' is 0"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(InputError, match=message):
        ExperimentSettings(**settings)


def test_a_spectrum_without_signal_is_refused(resolution):
    with pytest.raises(InputError, match="no signal in any valid bin"):
        make_experiment(flat_powder(0.0), resolution, NOTHING)
