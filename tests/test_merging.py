"""Other bins: ranges, bins merged with their errors, gaps and divided bins, in memory and while a file is read."""

import numpy as np
import pytest

from mantid_insgan.core.merging import binned, merged, only_within, wanted_bins
from mantid_insgan.core.options import ApplyOptions, binning_of, parse_range
from mantid_insgan.core.run import Run
from mantid_insgan.core.spectrum import NUM_EVENTS_NORMALIZATION, Axis, Spectrum, per_event
from mantid_insgan.errors import InputError
from mantid_insgan.io import open_spectrum, read_spectrum, write_spectrum

ENERGY = Axis("DeltaE", np.linspace(-2.0, 10.0, 25), "meV")
Q = Axis("|Q|", np.linspace(0.5, 3.5, 13), "Angstrom^-1")


def counted(seed: int = 0, **more) -> tuple[Spectrum, np.ndarray, np.ndarray]:
    """Counts of unequal exposures as an intensity, with gaps; the counts and the exposures."""
    rng = np.random.default_rng(seed)
    exposure = rng.integers(5, 50, size=(12, 24)).astype(float)
    counts = rng.poisson(3.0 * exposure).astype(float)
    gaps = rng.random((12, 24)) < 0.2
    gaps[2:4, :3] = True
    signal, variance = counts / exposure, counts / exposure**2
    signal[gaps] = variance[gaps] = np.nan
    return Spectrum(signal, variance, (Q, ENERGY), run=Run(), **more), counts, np.where(gaps, 0.0, exposure)


def by_hand(spectrum: Spectrum, q: int, energy: int):
    """Mean and variance of the measured bins in each block of bins."""
    shape = (12 // q, q, 24 // energy, energy)
    valid = spectrum.valid.reshape(shape)
    number = valid.sum(axis=(1, 3))
    total = np.where(valid, spectrum.signal.reshape(shape), 0).sum(axis=(1, 3))
    variance = np.where(valid, spectrum.variance.reshape(shape), 0).sum(axis=(1, 3))
    with np.errstate(invalid="ignore", divide="ignore"):
        return total / number, variance / number**2, number


@pytest.mark.parametrize(("q", "energy"), [(1, 3), (2, 1), (2, 3), (12, 24)])
def test_whole_bins_are_merged_to_the_mean_of_those_measured(q, energy):
    spectrum, *_ = counted()
    found = binned(spectrum, q_bins=12 // q, energy_bins=24 // energy)
    signal, variance, number = by_hand(spectrum, q, energy)
    np.testing.assert_array_equal(found.valid, number > 0)
    np.testing.assert_allclose(found.signal, signal, rtol=1e-12)
    np.testing.assert_allclose(found.variance, variance, rtol=1e-12)
    np.testing.assert_array_equal(found.num_events, number)
    assert found.run.notes == () and [len(a) for a in found.axes] == [12 // q, 24 // energy]


def test_sums_over_events_are_added_as_counts():
    """The intensity per event is then all counts over all exposures, with the error of counting."""
    _, counts, exposure = counted()
    seen = exposure > 0
    sums = Spectrum(
        np.where(seen, counts, np.nan),
        np.where(seen, counts, np.nan),
        (Q, ENERGY),
        num_events=exposure,
        visual_normalization=NUM_EVENTS_NORMALIZATION,
    )
    found = per_event(binned(sums, q_bins=6, energy_bins=8))
    total, weight = (np.where(seen, x, 0).reshape(6, 2, 8, 3).sum(axis=(1, 3)) for x in (counts, exposure))
    valid = weight > 0
    np.testing.assert_array_equal(found.valid, valid)
    np.testing.assert_allclose(found.signal[valid], (total / np.where(valid, weight, 1))[valid])
    np.testing.assert_allclose(found.variance[valid], (total / np.where(valid, weight, 1) ** 2)[valid])


def test_a_signal_shown_by_volume_grows_with_its_bins():
    spectrum = Spectrum(np.full((12, 24), 2.0), np.ones((12, 24)), (Q, ENERGY), visual_normalization=1)
    found = binned(spectrum, q_bins=6, energy_bins=8)
    np.testing.assert_allclose(found.signal, 12.0)  # over six times the volume it is the same
    np.testing.assert_allclose(found.variance, 6.0)


def test_divided_bins():
    """Errors are those of the parts, and a note says that they are not independent."""
    spectrum, *_ = counted()
    found = binned(spectrum, energy_bins=10)
    signal, variance = spectrum.signal[0], spectrum.variance[0]
    # bins of 1.2 in place of 0.5: the first has two whole bins and 0.4 of the third
    parts = np.array([1.0, 1.0, 0.4]) * spectrum.valid[0, :3]
    expected = np.nansum(parts * signal[:3]) / parts.sum()
    assert found.signal[0, 0] == pytest.approx(expected)
    assert found.variance[0, 0] == pytest.approx(np.nansum(parts**2 * variance[:3]) / parts.sum() ** 2)
    note = "bins of 'DeltaE' were divided between two wider ones, whose errors are therefore not independent"
    assert found.run.notes == (note,)


def test_edges_in_single_precision_divide_no_bins():
    """As Mantid has them: the edges of 400 bins to 160 meV are off by up to 1e-4 of a bin."""
    edges = np.linspace(-40.0, 160.0, 4001).astype(np.float32).astype(float)
    assert np.abs(edges - np.linspace(-40.0, 160.0, 4001)).max() > 1e-4 * 0.05
    valid = np.ones(4000, bool)
    valid[2000:2010] = False
    spectrum = Spectrum(np.arange(4000.0), np.ones(4000), (Axis("DeltaE", edges, "meV"),), valid=valid)
    found = binned(spectrum, energy_bins=400)
    assert not found.valid[200] and found.valid.sum() == 399 and found.run.notes == ()
    np.testing.assert_allclose(found.signal[found.valid], np.arange(4.5, 4000, 10)[found.valid], rtol=1e-12)


def test_errors_of_merged_counts_are_those_of_repeated_measurements():
    found = [binned(counted(seed)[0].replace(valid=np.ones((12, 24), bool)), energy_bins=6) for seed in range(400)]
    seen = np.array([f.valid[7, 2] for f in found])
    values = np.array([f.signal[7, 2] for f in found])[seen]
    errors = np.array([f.variance[7, 2] for f in found])[seen]
    assert np.var(values) == pytest.approx(errors.mean(), rel=0.25)
    assert values.mean() == pytest.approx(3.0, abs=4 * np.sqrt(errors.mean() / len(values)))


def test_ranges_keep_bins_as_they_are():
    spectrum, *_ = counted()
    found = binned(spectrum, energy_range=(0.1, 4.0), q_range=(1.0, 2.0))
    assert found.identical(spectrum.slice(**{"DeltaE": (0.1, 4.0), "|Q|": (1.0, 2.0)}))
    assert found.axes[1].edges[0] == 0.0 and found.axes[1].edges[-1] == pytest.approx(4.0)
    same = binned(spectrum, energy_range=(0.0, 4.0), energy_bins=8)
    assert same.identical(spectrum.slice(DeltaE=(0.0, 4.0)))
    wider = binned(spectrum, energy_range=(0.0, 4.0), energy_bins=4)
    np.testing.assert_allclose(wider.axes[1].edges, np.arange(5.0))


def test_a_range_beyond_the_data_leaves_bins_without_measurement():
    spectrum, *_ = counted()
    found = binned(spectrum, energy_range=(-4.0, 10.0), energy_bins=14)
    assert not found.valid[:, :2].any() and found.valid[:, 2].any()


def test_masked_bins():
    spectrum, *_ = counted()
    masked = np.zeros(spectrum.shape, bool)
    masked[5, :4] = True
    found = binned(spectrum.replace(masked=masked), energy_bins=8)
    assert found.masked[5, 0] and not found.masked[5, 1] and not found.valid[5, 0]
    assert found.masked.sum() == 1


@pytest.mark.parametrize(
    ("axes", "binning", "message"),
    [
        ((Q, ENERGY), {"energy_range": (11, 12)}, "--energy-range: no bin of axis 'DeltaE' has its centre between 11"),
        ((Q, ENERGY), {"energy_bins": 25}, "--energy-bins: 25 bins from -2 to 10 were .* a number from 1 to 24: bins"),
        ((Q, ENERGY), {"q_bins": 0}, "--q-bins: 0 bins from 0.5 to 3.5 were requested"),
        ((Q, ENERGY), {"q_bins": 3, "q_range": (3, 1)}, "--q-bins and --q-range: no bin of axis '|Q|'"),
        ((Q,), {"energy_bins": 2}, r"--energy-bins was given, and there is no energy axis among '\|Q\|'"),
        (
            (Axis("[H,0,0]", [0, 1, 2], "r.l.u."), Axis("[0,K,0]", [0, 1, 2], "r.l.u."), ENERGY),
            {"q_range": (0, 1)},
            "not clear which momentum axis is meant: the axes are .*rebin others in Mantid",
        ),
    ],
)
def test_bins_that_cannot_be_had(axes, binning, message):
    with pytest.raises(InputError, match=message.replace("'|Q|'", r"'\|Q\|'")):
        wanted_bins(axes, **binning)


def test_the_momentum_axis_of_a_cut_is_its_open_one():
    axes = (Axis("[H,0,0]", np.linspace(0, 1, 9), "r.l.u."), Axis("[0,K,0]", [0, 1], "r.l.u."), ENERGY)
    assert list(wanted_bins(axes, q_bins=4)) == [0]


def test_bins_outside_a_range_are_not_valid_where_bins_stay():
    spectrum, *_ = counted()
    found = only_within(spectrum, energy_range=(0.1, 4.0))
    inside = (ENERGY.centers >= 0.1) & (ENERGY.centers <= 4.0)
    np.testing.assert_array_equal(found.valid, spectrum.valid & inside)
    assert found.axes == spectrum.axes


@pytest.mark.parametrize("suffix", [".nxs", ".npz", ".txt"])
@pytest.mark.parametrize(
    "binning",
    [
        {"energy_bins": 10, "q_range": (1.0, 3.0)},
        {"q_bins": 5, "energy_range": (0.0, 6.0)},
        {"q_bins": 4, "energy_bins": 6},
    ],
)
def test_a_file_is_read_in_other_bins(tmp_path, suffix, binning):
    """Also part by part, as large files are."""
    spectrum, *_ = counted()
    write_spectrum(spectrum, tmp_path / f"a{suffix}")
    expected = binned(spectrum, **binning)
    found = read_spectrum(tmp_path / f"a{suffix}", **binning)
    np.testing.assert_allclose(found.signal, expected.signal, rtol=1e-9)
    assert found.run.notes == expected.run.notes
    with open_spectrum(tmp_path / f"a{suffix}", **binning) as source:
        assert source.shape == expected.shape
        for i in range(source.shape[0]):
            for part in (slice(0, 2), slice(2, source.shape[1])):
                found = source.read((slice(i, i + 1), part))
                np.testing.assert_allclose(found.signal, expected.signal[i : i + 1, part], rtol=1e-9)
                np.testing.assert_allclose(found.variance, expected.variance[i : i + 1, part], rtol=1e-9)
                np.testing.assert_array_equal(found.valid, expected.valid[i : i + 1, part])


def test_bins_that_a_file_cannot_have(tmp_path):
    write_spectrum(counted()[0], tmp_path / "a.nxs")
    with pytest.raises(InputError, match=r"a\.nxs: --energy-bins: 99 bins"):
        read_spectrum(tmp_path / "a.nxs", energy_bins=99)


def test_merging_is_linear_in_the_signal_and_keeps_the_total():
    """With every bin measured, the sum of the signals times the width is kept by any bins over the whole axis."""
    rng = np.random.default_rng(3)
    spectrum = Spectrum(rng.normal(size=(12, 24)), np.ones((12, 24)), (Q, ENERGY))
    for bins in (1, 5, 7, 24):
        edges = np.linspace(-2.0, 10.0, bins + 1)
        found = merged(spectrum, {1: edges})
        np.testing.assert_allclose(found.signal.sum(axis=1) * 12 / bins, spectrum.signal.sum(axis=1) * 0.5, rtol=1e-9)


@pytest.mark.parametrize("text", ["-5,40", "-5:40", (-5, 40)])
def test_ranges_as_texts(text):
    assert parse_range(text, "--energy-range") == (-5.0, 40.0)


@pytest.mark.parametrize("text", ["40,-5", "5", "1,2,3", "a,b", "1,inf", (1,)])
def test_ranges_that_are_wrong(text):
    with pytest.raises(InputError, match="--q-range is .*expected two finite numbers, the lower one first.*-5,40"):
        parse_range(text, "--q-range")


def test_bins_of_options():
    options = ApplyOptions(energy_range="-5,40", q_bins=7)
    assert binning_of(options) == {"q_bins": 7, "q_range": None, "energy_bins": None, "energy_range": (-5.0, 40.0)}
