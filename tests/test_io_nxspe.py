"""nxspe and Workspace2D files: the averaging over detectors, the facts, the kinds of file, and each error."""

import shutil

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mantid_insgan.core.constants import HBAR2_OVER_2M
from mantid_insgan.core.run import Fact, Run
from mantid_insgan.errors import InputError, RunFactError
from mantid_insgan.io import open_spectrum, read_nexus, read_nxspe, read_spectrum, write_nexus
from mantid_insgan.io.powder import Pixels, powder_spectrum, width_from_neighbours

MERLIN = [f"data/bi2fe4o9-merlin/MER40874_Ei{ei}.00meV_Rings.nxspe" for ei in (120, 62, 38, 25)]
EXCERPT = "excerpt/bi2fe4o9-merlin/MER40874_Ei62.00meV_Rings.nxspe"
MARI = "data/al-mari/aluminium_Ei60.nxspe"


def pixels_of(n_detectors=40, n_energies=12, *, ei=50.0, width=2.0, seed=0, low=-10.0, high=40.0):
    rng = np.random.default_rng(seed)
    shape = (n_detectors, n_energies)
    return Pixels(
        rng.normal(5, 1, shape),
        rng.random(shape) + 0.1,
        np.linspace(low, high, n_energies + 1),
        np.linspace(5, 120, n_detectors),
        np.full(n_detectors, width),
        ei,
    )


def write_nxspe(path, pixels, *, name="w", instrument=None, azimuthal_width=1.0, ei=True):
    with h5py.File(path, "w") as file:
        entry = file.create_group(name)
        if instrument:
            entry["instrument/name"] = np.array([instrument.encode()])
        info = entry.create_group("NXSPE_info")
        if ei:
            info["fixed_energy"] = np.array([pixels.ei])
        data = entry.create_group("data")
        data["data"], data["error"] = pixels.signal, np.sqrt(pixels.variance)
        data["energy"], data["polar"], data["polar_width"] = pixels.energy, pixels.polar, pixels.polar_width
        data["azimuthal_width"] = np.full(pixels.polar.shape, azimuthal_width)
    return path


def brute_force(pixels, q_edges, fine=400):
    """The average with overlaps measured by sampling each pixel's energy finely."""
    n_q, n_e = q_edges.size - 1, pixels.energy.size - 1
    signal, variance, number = (np.full((n_q, n_e), np.nan), np.full((n_q, n_e), np.nan), np.zeros((n_q, n_e)))
    for j in range(n_e):
        step = (pixels.energy[j + 1] - pixels.energy[j]) / fine
        energies = pixels.energy[j] + step * (np.arange(fine) + 0.5)
        kf2 = (pixels.ei - energies) / HBAR2_OVER_2M
        ki2 = pixels.ei / HBAR2_OVER_2M
        w = np.zeros((pixels.polar.size, n_q))
        extent = np.zeros(pixels.polar.size)
        for d, (angle, width) in enumerate(zip(pixels.polar, pixels.polar_width, strict=True)):
            lo, hi = (
                np.sqrt(ki2 + kf2 - 2 * np.sqrt(ki2 * kf2) * np.cos(np.radians(angle + s * width))) for s in (-0.5, 0.5)
            )
            overlap = np.minimum(hi[:, None], q_edges[1:]) - np.maximum(lo[:, None], q_edges[:-1])
            w[d] = np.clip(overlap, 0, None).mean(axis=0)
            extent[d] = (hi - lo).mean()
        w[~pixels.valid[:, j]] = 0
        total = w.sum(axis=0)
        hit = total > 0
        values, errors = (np.nan_to_num(a[:, j]) for a in (pixels.signal, pixels.variance))
        signal[hit, j] = (w.T @ values)[hit] / total[hit]
        variance[hit, j] = ((w**2).T @ errors)[hit] / total[hit] ** 2
        number[:, j] = (w / extent[:, None]).sum(axis=0)
    return signal, variance, number


def assert_same(found, expected):
    """Equal but for the rounding of the error's square root."""
    assert found.axes == expected.axes
    np.testing.assert_array_equal(found.signal, expected.signal)
    np.testing.assert_array_equal(found.num_events, expected.num_events)
    np.testing.assert_allclose(found.variance, expected.variance, rtol=1e-12)


# ------------------------------------------------------------------------------------------------------- averaging


def test_agrees_with_finely_sampled_overlaps():
    pixels = pixels_of(40, 50)
    pixels.signal[3, 4] = np.nan
    spectrum = powder_spectrum(pixels, q_bins=25, q_range=(0, 9), run=Run())
    signal, variance, number = brute_force(pixels, spectrum.axes[0].edges, fine=200)
    # The corners of a pixel that only touch a bin may fall between the nodes of the quadrature.
    full = spectrum.valid & (number > 0.05)
    assert full.mean() > 0.7
    error = np.abs(spectrum.signal - signal)[full] / np.sqrt(variance[full])
    assert np.quantile(error, 0.99) < 0.05 and error.max() < 0.3
    assert np.quantile(np.abs(spectrum.variance / variance - 1)[full], 0.95) < 0.02
    np.testing.assert_allclose(spectrum.num_events, number, atol=0.1)
    np.testing.assert_allclose(spectrum.num_events.sum(axis=0), number.sum(axis=0), rtol=1e-6)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 60), st.integers(1, 10), st.floats(0.2, 20), st.floats(5, 500), st.integers(1, 80), st.floats(-9, 9)
)
def test_constant_intensity_stays_constant(n_detectors, n_energies, width, ei, q_bins, level):
    pixels = pixels_of(n_detectors, n_energies, ei=ei, width=width, low=-ei, high=0.9 * ei)
    pixels = Pixels(np.full_like(pixels.signal, level), *(getattr(pixels, n) for n in (
        "variance", "energy", "polar", "polar_width", "ei")))  # fmt: skip
    spectrum = powder_spectrum(pixels, q_bins=q_bins, run=Run())
    np.testing.assert_allclose(spectrum.signal[spectrum.valid], level, rtol=1e-9, atol=1e-12)
    assert (spectrum.valid == (spectrum.num_events > 0)).all()


def test_every_pixel_is_counted_once():
    pixels = pixels_of()
    spectrum = powder_spectrum(pixels, q_bins=33, q_range=(0, 12), run=Run())
    np.testing.assert_allclose(spectrum.num_events.sum(), pixels.signal.size, rtol=1e-12)


def test_one_detector_that_fills_a_bin_passes_unchanged():
    pixels = pixels_of(1, 3, width=60.0)
    spectrum = powder_spectrum(pixels, q_bins=1, q_range=(1.0, 1.01), run=Run())
    covered = spectrum.valid
    assert covered.any()
    np.testing.assert_allclose(spectrum.signal[covered], pixels.signal[covered], rtol=1e-12)
    np.testing.assert_allclose(spectrum.variance[covered], pixels.variance[covered], rtol=1e-12)


@pytest.mark.parametrize("flag", [np.nan, np.inf, 1e20, -1e20, -1e30])
def test_flagged_pixels_do_not_count(flag):
    pixels = pixels_of()
    without = Pixels(*(getattr(pixels, n)[:20] for n in ("signal", "variance")), pixels.energy, pixels.polar[:20],
                     pixels.polar_width[:20], pixels.ei)  # fmt: skip
    pixels.signal[20:] = flag
    expected = powder_spectrum(without, q_bins=30, q_range=(0, 9), run=Run())
    found = powder_spectrum(pixels, q_bins=30, q_range=(0, 9), run=Run())
    assert found.identical(expected)
    assert not found.valid.all()


def test_masked_detectors_of_mantid_do_not_count():
    pixels = pixels_of()
    pixels.signal[5], pixels.variance[5] = 0.0, 0.0
    pixels.signal[6, 2], pixels.variance[6, 2] = 0.0, 0.0  # a bin without counts is a measurement
    assert not pixels.valid[5].any() and pixels.valid[6].all()


def test_bins_beyond_ei_and_between_detectors_are_gaps():
    pixels = pixels_of(3, 12, ei=20.0, width=1.0)
    spectrum = powder_spectrum(pixels, q_bins=60, run=Run())
    beyond = spectrum.axes[1].edges[:-1] >= 20.0
    assert beyond.any() and not spectrum.valid[:, beyond].any()
    assert np.isnan(spectrum.signal[~spectrum.valid]).all()
    between = ~spectrum.valid[:, ~beyond].any(axis=1)
    assert between.any()


def test_default_bins_follow_the_detectors():
    pixels = pixels_of(100, 12, width=1.1)
    axis = powder_spectrum(pixels, run=Run()).axes[0]
    at_zero = np.median(pixels.q(0.5, np.zeros(1)) - pixels.q(-0.5, np.zeros(1)))
    assert axis.width == pytest.approx(at_zero, rel=0.05)
    assert axis.edges[0] / axis.width == pytest.approx(round(axis.edges[0] / axis.width))
    few = powder_spectrum(pixels_of(2, 12, width=60.0), run=Run()).axes[0]
    assert len(few) >= 16


def test_descending_energies_are_turned():
    pixels = pixels_of()
    down = Pixels(pixels.signal[:, ::-1], pixels.variance[:, ::-1], pixels.energy[::-1], pixels.polar,
                  pixels.polar_width, pixels.ei)  # fmt: skip
    assert powder_spectrum(down, q_bins=9, run=Run()).identical(powder_spectrum(pixels, q_bins=9, run=Run()))


def test_width_from_neighbours():
    np.testing.assert_allclose(width_from_neighbours(np.array([3.0, 1.0, 2.0, 3.0])), 1.0)
    # 10 degrees of gap: each side reaches 1.5 spacings halfway
    np.testing.assert_allclose(width_from_neighbours(np.array([1.0, 2.0, 3.0, 13.0, 14.0])), [1, 1, 1.25, 1.25, 1])
    assert np.isnan(width_from_neighbours(np.array([5.0]))).all()


# ----------------------------------------------------------------------------------------------------- real files


@pytest.mark.parametrize("name", [EXCERPT, *MERLIN, MARI])
def test_real_file(real, name, tmp_path):
    with open_spectrum(real(name)) as source:
        spectrum = source.read()
        region = (slice(5, 60), slice(10, 90))
        part = source.read(region)
        np.testing.assert_array_equal(part.signal, spectrum.signal[region])
        assert source.shape == spectrum.shape and source.axes == spectrum.axes
    assert [a.name for a in spectrum.axes] == ["|Q|", "DeltaE"] and spectrum.energy_axis == 1
    assert spectrum.axes[0].is_modulus_q
    assert 0.5 < spectrum.valid.mean() < 1
    assert np.isfinite(spectrum.signal[spectrum.valid]).all() and (spectrum.variance[spectrum.valid] >= 0).all()
    ei, energy = spectrum.run.value("ei"), spectrum.axes[1].centers
    window = np.abs(energy) < 0.2 * ei  # far from Ei, where the next pulse leaks in
    elastic = np.nanmean(spectrum.signal[:, window], axis=0)
    assert abs(energy[window][elastic.argmax()]) < 0.03 * ei
    write_nexus(spectrum, tmp_path / "out.nxs")
    after = read_nexus(tmp_path / "out.nxs")
    assert after.identical(spectrum)
    assert after.run.value("ei") == spectrum.run.value("ei")
    assert after.run.value("instrument") == spectrum.run.value("instrument")


@pytest.mark.parametrize(("name", "masked"), [(EXCERPT, 220), (MERLIN[1], 1100)])
def test_merlin_facts_and_total(real, name, masked):
    spectrum = read_nxspe(real(name))
    assert spectrum.run.ei.source == "NXSPE_info/fixed_energy"
    assert spectrum.run.value("ei") == pytest.approx(62.0967, abs=1e-4)
    assert spectrum.run.instrument == Fact("MERLIN", "instrument/name of the nxspe entry")
    with h5py.File(real(name)) as file:
        data = next(iter(file.values()))["data/data"][()]
    assert np.isnan(data).sum() == masked
    # Every pixel that was measured is counted once, wherever it lies.
    assert spectrum.num_events.sum() == pytest.approx(data.size - masked, rel=1e-9)


def test_mari_is_known_by_its_content_not_its_name(shared):
    with open_spectrum(shared / MARI) as source:
        assert source.layout == "workspace2d"
        assert source.run.value("instrument") == "MARI"
        assert source.run.ei == Fact(pytest.approx(59.3706, abs=1e-4), "log Ei of mantid_workspace_1")
        assert source.run.frequency == Fact(200.0, "log fermi_speed of mantid_workspace_1")
        assert source.run.value("temperature") == pytest.approx(4.728, abs=1e-3)
        assert source.title.startswith("Al pellets T=5K")


def test_aluminium_bragg_peaks_stand_where_they_should(shared):
    """Elastic intensity of fcc aluminium (a = 4.04 Angstrom at 5 K) peaks at the allowed reflections."""
    spectrum = read_spectrum(shared / MARI)
    near = np.abs(spectrum.axes[1].centers) < 1.0
    profile = np.nansum(np.where(spectrum.valid, spectrum.signal, 0)[:, near], axis=1)
    q = spectrum.axes[0].centers
    inside = (q > 4.2) & (q < 4.65)  # (220) alone
    assert q[inside][profile[inside].argmax()] == pytest.approx(2 * np.pi / 4.04 * np.sqrt(8), abs=0.05)


# -------------------------------------------------------------------------------------------------------- nxspe files


def test_nxspe_uses_the_width_in_the_file_for_single_detectors(tmp_path):
    pixels = pixels_of(40, 12, width=0.5)
    path = write_nxspe(tmp_path / "a.nxspe", pixels)
    assert_same(read_nxspe(path, q_bins=50), powder_spectrum(pixels, q_bins=50, run=Run()))


def test_nxspe_tiles_the_angle_for_rings(tmp_path):
    pixels = pixels_of(40, 12, width=9.0)
    path = write_nxspe(tmp_path / "a.nxspe", pixels, azimuthal_width=100.0)
    tiled = Pixels(*(getattr(pixels, n) for n in ("signal", "variance", "energy", "polar")),
                   width_from_neighbours(pixels.polar), pixels.ei)  # fmt: skip
    assert_same(read_nxspe(path, q_bins=50), powder_spectrum(tiled, q_bins=50, run=Run()))


@pytest.mark.parametrize(
    ("file_name", "instrument", "expected"),
    [
        ("a.nxspe", "mer", "MERLIN"),
        ("MAP12345_1.nxspe", None, "MAPS"),
        ("LET00042.nxspe", None, "LET"),
        ("mapping.nxspe", None, None),
        ("MER1234.nxspe", "CORELLI", "CORELLI"),
    ],
)
def test_instrument(tmp_path, file_name, instrument, expected):
    run = read_nxspe(write_nxspe(tmp_path / file_name, pixels_of(), instrument=instrument)).run
    assert run.value("instrument") == expected
    if expected and not instrument:
        assert run.instrument.source == f"prefix of the file name {file_name}"


def test_ei_missing(tmp_path):
    path = write_nxspe(tmp_path / "a.nxspe", pixels_of(), ei=False)
    with pytest.raises(RunFactError, match=r"Ei is missing from .*a\.nxspe.*give the incident energy in meV with --ei"):
        read_nxspe(path)
    assert read_nxspe(path, ei=50).run.ei == Fact(50.0, "option --ei")


@pytest.mark.parametrize("ei", [0.0, -5.0])
def test_ei_not_positive(tmp_path, ei):
    path = write_nxspe(tmp_path / "a.nxspe", pixels_of())
    with pytest.raises(RunFactError, match="expected a positive number"):
        read_nxspe(path, ei=ei)


def test_unequal_energy_bins(tmp_path):
    pixels = pixels_of()
    pixels.energy[3] += 1.0
    path = write_nxspe(tmp_path / "a.nxspe", pixels)
    with pytest.raises(InputError, match=r"a\.nxspe: axis 'DeltaE' has bins of unequal width.*rebin that axis"):
        read_nxspe(path)
    spectrum = read_nxspe(path, energy_bins=10)
    assert spectrum.axes[1].width == pytest.approx(5.0)
    constant = Pixels(np.full_like(pixels.signal, 4.0), pixels.variance, pixels.energy, pixels.polar,
                      pixels.polar_width, pixels.ei)  # fmt: skip
    write_nxspe(path, constant)
    flat = read_nxspe(path, energy_bins=10)
    np.testing.assert_allclose(flat.signal[flat.valid], 4.0, rtol=1e-12)
    with pytest.raises(InputError, match="0 energy bins cannot be made"):
        read_nxspe(path, energy_bins=0)
    with pytest.raises(InputError, match=r"a\.nxspe: 900 energy bins .*bins can be merged, not divided"):
        read_nxspe(path, energy_bins=900)
    cut = read_nxspe(path, energy_range=tuple(spectrum.axes[1].edges[[2, 8]]), energy_bins=3)
    np.testing.assert_allclose(cut.axes[1].edges, spectrum.axes[1].edges[2:9:2])
    with pytest.raises(InputError, match="no energy bin has its centre between 900 and 901 meV"):
        read_nxspe(path, energy_range=(900, 901))


def test_all_pixels_invalid(tmp_path):
    pixels = pixels_of()
    pixels.signal[:] = np.nan
    path = write_nxspe(tmp_path / "a.nxspe", pixels)
    with pytest.raises(InputError, match=r"a\.nxspe: no detector has a valid bin"):
        read_nxspe(path)


@pytest.mark.parametrize("bins", [{"q_bins": 0}, {"q_range": (3, 1)}, {"q_range": (-1, 1)}])
def test_bins_that_make_no_sense(tmp_path, bins):
    path = write_nxspe(tmp_path / "a.nxspe", pixels_of())
    with pytest.raises(InputError, match="were requested.*0 <= low < high"):
        read_nxspe(path, **bins)


def replace_dataset(group, name, values):
    del group[name]
    group[name] = values


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.__delitem__("data"), "has no group 'data'; it contains NXSPE_info"),
        (lambda w: w["data"].__delitem__("error"), "has no dataset /w/data/error"),
        (
            lambda w: replace_dataset(w["data"], "data", np.zeros(5)),
            r"has shape \(5,\), expected \(detectors, energies\)",
        ),
        (
            lambda w: replace_dataset(w["data"], "error", np.zeros((2, 2))),
            r"error has shape \(2, 2\), expected \(40, 12\)",
        ),
        (lambda w: replace_dataset(w["data"], "energy", np.zeros(12)), r"energy has shape \(12,\), expected \(13,\)"),
        (lambda w: replace_dataset(w["data"], "polar", np.zeros(3)), r"polar has shape \(3,\), expected \(40,\)"),
        (lambda w: replace_dataset(w["data"], "data", np.zeros((40, 12), complex)), "contains complex numbers"),
        (lambda w: replace_dataset(w["data"], "polar", np.full(40, b"x")), "contains strings"),
        (lambda w: w.file.copy("w", "second"), "contains 2 nxspe entries, expected 1"),
    ],
)
def test_broken_nxspe(tmp_path, change, message):
    path = write_nxspe(tmp_path / "a.nxspe", pixels_of())
    with h5py.File(path, "r+") as file:
        change(file["w"])
    with pytest.raises(InputError, match=message) as caught:
        open_spectrum(path)
    assert str(path) in caught.value.reason


def test_read_nxspe_of_another_kind(tmp_path):
    with h5py.File(tmp_path / "a.nxspe", "w") as file:
        file.create_group("x")
    with pytest.raises(InputError, match="contains 0 nxspe entries, expected 1; its top groups are x"):
        read_nxspe(tmp_path / "a.nxspe")


# ---------------------------------------------------------------------------------------------------- Workspace2D files


def write_workspace2d(path, pixels, *, angles="detector_positions", ei=True):
    n = pixels.polar.size
    with h5py.File(path, "w") as file:
        entry = file.create_group("mantid_workspace_1")
        entry["title"] = np.array([b"made"])
        workspace = entry.create_group("workspace")
        workspace["values"], workspace["errors"] = pixels.signal, np.sqrt(pixels.variance)
        workspace["axis1"], workspace["axis2"] = pixels.energy, np.arange(n) + 7.0
        workspace["axis1"].attrs["units"] = np.bytes_("DeltaE")
        workspace["axis2"].attrs["units"] = np.bytes_("spectraNumber")
        entry["instrument/name"] = np.array([b"MARI"])
        if ei:
            entry["logs/Ei/value"] = np.array([pixels.ei])
        detector = entry.create_group("instrument/detector")
        # Two detectors in each spectrum, at the same polar angle; listed last spectrum first.
        detector["spectra"] = np.arange(n, dtype=np.int32)[::-1] + 7
        detector["detector_index"] = np.arange(0, 2 * n, 2, dtype=np.int32)
        detector["detector_count"] = np.full(n, 2, np.int32)
        numbers = np.arange(2 * n, dtype=np.int32) + 1000
        detector["detector_list"] = numbers
        polar = np.repeat(pixels.polar[::-1], 2)
        if angles == "detector_positions":
            detector["detector_positions"] = np.stack([np.full(2 * n, 4.0), polar, np.zeros(2 * n)], axis=1)
        elif angles == "physical_detectors":
            physical = entry.create_group("instrument/physical_detectors")
            order = np.random.default_rng(0).permutation(2 * n)
            physical["detector_number"], physical["polar_angle"] = numbers[order], polar[order]
    return path


@pytest.mark.parametrize("angles", ["detector_positions", "physical_detectors"])
def test_workspace2d_equals_the_same_pixels(tmp_path, angles):
    pixels = pixels_of(40, 12)
    path = write_workspace2d(tmp_path / "a.nxs", pixels, angles=angles)
    tiled = Pixels(*(getattr(pixels, n) for n in ("signal", "variance", "energy", "polar")),
                   width_from_neighbours(pixels.polar), pixels.ei)  # fmt: skip
    found = read_spectrum(path, q_bins=20)
    expected = powder_spectrum(tiled, q_bins=20, run=Run())
    np.testing.assert_allclose(found.signal, expected.signal, rtol=1e-12)
    assert found.title == "made" and found.run.value("instrument") == "MARI"


def test_mari_angles_from_either_list(shared, tmp_path):
    expected = read_spectrum(shared / MARI)
    path = tmp_path / "mari.nxs"
    shutil.copyfile(shared / MARI, path)
    with h5py.File(path, "r+") as file:
        del file["mantid_workspace_1/instrument/detector/detector_positions"]
    found = read_spectrum(path)
    np.testing.assert_array_equal(found.valid, expected.valid)
    np.testing.assert_allclose(found.signal, expected.signal, rtol=1e-6)


def test_angles_not_in_the_file(tmp_path):
    path = write_workspace2d(tmp_path / "a.nxs", pixels_of(), angles="none")
    with pytest.raises(InputError, match="angles of the detectors are not in the file.*SaveNXSPE"):
        read_spectrum(path)


def test_data_in_q_already(tmp_path):
    pixels = pixels_of(30, 12)
    path = write_workspace2d(tmp_path / "a.nxs", pixels, ei=False)
    with h5py.File(path, "r+") as file:
        axis = file["mantid_workspace_1/workspace"]
        replace_dataset(axis, "axis2", np.linspace(0, 6, 31))
        axis["axis2"].attrs["units"] = np.bytes_("MomentumTransfer")
    spectrum = read_spectrum(path)
    np.testing.assert_array_equal(spectrum.signal, pixels.signal)
    np.testing.assert_allclose(spectrum.variance, pixels.variance, rtol=1e-12)
    np.testing.assert_array_equal(spectrum.axes[0].edges, np.linspace(0, 6, 31))
    with h5py.File(path, "r+") as file:
        replace_dataset(file["mantid_workspace_1/workspace"], "axis2", np.arange(30) + 0.5)
        file["mantid_workspace_1/workspace/axis2"].attrs["units"] = np.bytes_("MomentumTransfer")
    np.testing.assert_allclose(read_spectrum(path).axes[0].edges, np.arange(31))
    np.testing.assert_allclose(read_spectrum(path, q_bins=10).axes[0].edges, np.arange(0, 31, 3))
    with pytest.raises(InputError, match=r"a\.nxs: --q-bins: 31 bins .* bins can be merged, not divided"):
        read_spectrum(path, q_bins=31)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda e: e.__delitem__("logs"), RunFactError, "Ei is missing from .* --ei"),
        (
            lambda e: e["workspace/axis1"].attrs.__setitem__("units", "TOF"),
            InputError,
            "in 'TOF', expected energy transfer",
        ),
        (lambda e: e.create_group("event_workspace"), InputError, "contains an EventWorkspace, expected a histogram"),
        (lambda e: e.__delitem__("workspace"), InputError, "has no group 'workspace'"),
        (lambda e: e.file.copy(e, "mantid_workspace_2"), InputError, r"contains 2 workspaces \(a group\), expected 1"),
        (lambda e: replace_dataset(e["workspace"], "errors", np.zeros(3)), InputError, "do not match"),
        (
            lambda e: replace_dataset(e["instrument/detector"], "spectra", np.arange(40) + 900),
            InputError,
            "spectrum 7 has no",
        ),
        (
            lambda e: replace_dataset(e["instrument/detector"], "detector_count", np.zeros(40, int)),
            InputError,
            "no detector",
        ),
        (lambda e: e.__delitem__("instrument/detector"), InputError, "instrument/detector is missing"),
    ],
)
def test_broken_workspace2d(tmp_path, change, error, message):
    path = write_workspace2d(tmp_path / "a.nxs", pixels_of())
    with h5py.File(path, "r+") as file:
        change(file["mantid_workspace_1"])
    with pytest.raises(error, match=message) as caught:
        read_spectrum(path)
    assert str(path) in caught.value.reason
