"""The elastic line of measured data: found, taken away within errors, put back at another resolution."""

import numpy as np
import pytest

from mantid_insgan import Run
from mantid_insgan.convolve.detectors import RecordedLine
from mantid_insgan.core.options import ApplyOptions
from mantid_insgan.core.spectrum import Axis, Spectrum
from mantid_insgan.instruments import Resolution
from mantid_insgan.io import read_nexus, read_nxspe, write_nexus
from mantid_insgan.translate import job
from mantid_insgan.translate.elastic import LEFT_OUT, find_lines, kept_apart
from mantid_insgan.translate.translator import Quality

RESOLUTION = Resolution("MERLIN", 38.0, "G", 600.0)
FWHM = float(RESOLUTION.fwhm_energy(0.0))
ENERGY = Axis("DeltaE", np.linspace(-8.0, 30.0, 191), "meV")
#: Signal of the mode, counts in a bin of signal 1, and the peak of the line in units of the mode's.
PEAK = 1000.0


def powder_axes(columns: int = 48) -> tuple[Axis, ...]:
    return Axis("|Q|", np.linspace(0.5, 5.3, columns + 1), "Angstrom^-1"), ENERGY


def crystal_axes() -> tuple[Axis, ...]:
    """Energy between two momenta."""
    h, k = (Axis(name, np.linspace(-1, 1, 13), "r.l.u.", "HKL") for name in ("[H,0,0]", "[0,K,0]"))
    return h, ENERGY, k


def measured(axes, *, counts=30.0, line=PEAK, tail=0.02, seed=1) -> tuple[Spectrum, np.ndarray]:
    """A mode on a flat background with an elastic line that differs between columns, counted, and the same without the
    line and without noise."""
    rng = np.random.default_rng(seed)
    at = next(i for i, a in enumerate(axes) if a.is_energy)
    momenta = np.meshgrid(*(np.arange(len(a)) / len(a) for i, a in enumerate(axes) if i != at), indexing="ij")
    energy = axes[at].centers
    place = 12 + 8 * np.sin(np.pi * sum(momenta))[..., None]
    clean = np.exp(-0.5 * ((energy - place) / 1.0) ** 2) + 0.3
    shape = RecordedLine(RESOLUTION, axes[at].edges).recorded(tail, 0.1)
    height = line * np.exp(-sum(momenta)) * (1 + (np.indices(momenta[0].shape).sum(0) % 7 == 0))
    whole = clean + height[..., None] * shape / shape.max()
    number = rng.poisson(whole * counts)
    signal, variance = number / counts, np.maximum(number, 1) / counts**2
    valid = np.ones(signal.shape, bool)
    valid.reshape(-1, energy.size)[3:5] = False
    valid[..., energy > 28] = rng.random(valid[..., energy > 28].shape) > 0.3
    signal, variance, valid, clean = (np.moveaxis(x, -1, at) for x in (signal, variance, valid, clean))
    return Spectrum(np.where(valid, signal, np.nan), np.where(valid, variance, np.nan), axes), clean


@pytest.mark.parametrize("axes", [powder_axes(), crystal_axes()], ids=["powder", "crystal"])
def test_what_is_left_is_the_spectrum_without_a_line(axes):
    spectrum, clean = measured(axes)
    lines = find_lines(spectrum, RESOLUTION)
    assert lines.fwhm == pytest.approx(FWHM, rel=0.15)
    seen, kept = lines.apart(spectrum)
    assert lines.found == lines.columns == spectrum.signal.size // len(ENERGY) - 2
    away = np.abs(ENERGY.centers)
    away = np.broadcast_to(away.reshape([-1 if a.is_energy else 1 for a in axes]), spectrum.shape)
    hidden = spectrum.valid & ~seen.valid
    assert hidden.any() and away[hidden].max() < (LEFT_OUT[1] + 0.4) * FWHM
    assert not seen.valid[spectrum.valid & (away < 0.5 * FWHM)].any()
    apart = (seen.signal - clean)[seen.valid] / np.sqrt(seen.variance[seen.valid])
    assert np.sqrt(np.mean(apart**2)) < 1.25 and abs(apart.mean()) < 0.35
    beside = seen.valid & (away < 3.5 * FWHM)
    apart = (seen.signal - clean)[beside] / np.sqrt(seen.variance[beside])
    assert np.sqrt(np.mean(apart**2)) < 1.3
    # Without the subtraction the feet would stand out.
    feet = np.sqrt(np.mean(((spectrum.signal - clean)[beside] / np.sqrt(spectrum.variance[beside])) ** 2))
    assert feet > 2 * np.sqrt(np.mean(apart**2))
    assert (seen.variance[seen.valid] >= spectrum.variance[seen.valid]).all()
    assert "elastic line (FWHM" in lines.note() and f"{lines.found} of {lines.columns} columns" in lines.note()


@pytest.mark.parametrize("axes", [powder_axes(), crystal_axes()], ids=["powder", "crystal"])
def test_put_back_as_it_was_it_gives_the_data(axes):
    spectrum, _ = measured(axes)
    seen, kept = find_lines(spectrum, RESOLUTION).apart(spectrum)
    same = kept.put_back(seen, RESOLUTION)
    np.testing.assert_allclose(same.signal, spectrum.signal, rtol=1e-12, atol=1e-9)
    assert np.array_equal(same.valid, spectrum.valid)
    assert np.isfinite(same.variance[same.valid]).all()
    inside = spectrum.valid & ~seen.valid
    np.testing.assert_allclose(same.variance[inside], spectrum.variance[inside])


def test_bins_without_an_error_get_one():
    spectrum, _ = measured(powder_axes())
    counted = spectrum.replace(variance=np.where(spectrum.signal > 0.5, spectrum.variance, 0.0))
    seen, kept = find_lines(counted, RESOLUTION).apart(counted)
    assert (seen.variance[seen.valid & (counted.variance == 0)] == 0).all()
    for target in (RESOLUTION, RESOLUTION.sharpened(3.0), None):
        hidden = kept.put_back(seen, target).variance[counted.valid & ~seen.valid]
        assert (hidden > 0).all()


@pytest.mark.parametrize("times", [3.0, None])
def test_put_back_it_has_the_resolution_of_the_target(times):
    spectrum, _ = measured(powder_axes())
    seen, kept = find_lines(spectrum, RESOLUTION).apart(spectrum)
    result = kept.put_back(seen, None if times is None else RESOLUTION.sharpened(times))
    assert np.array_equal(result.valid, spectrum.valid) and np.isfinite(result.variance[result.valid]).all()
    ratio = result.signal[result.valid].sum() / spectrum.signal[spectrum.valid].sum()
    assert ratio == pytest.approx(1.0, abs=2e-3)
    before, after = (np.nanmean(s.signal, axis=0) for s in (spectrum, result))
    zero = np.flatnonzero((ENERGY.edges[:-1] <= 1e-9) & (ENERGY.edges[1:] > 1e-9))
    if times is None:
        assert np.argmax(after) == zero[0] and after.max() > 0.9 * before[np.abs(ENERGY.centers) < 2 * FWHM].sum()
    else:
        assert 2.0 < after.max() / before.max() < 3.5
    beside = (np.abs(ENERGY.centers) > FWHM) & (np.abs(ENERGY.centers) < 2 * FWHM)
    assert np.abs(after[beside]).max() < 0.02 * before.max()


def test_the_errors_beside_the_line_say_what_is_not_known():
    spectrum, clean = measured(powder_axes())
    seen, kept = find_lines(spectrum, RESOLUTION).apart(spectrum)
    result = kept.put_back(seen, RESOLUTION.sharpened(3.0))
    assert (result.variance[result.valid] >= spectrum.variance[result.valid]).all()
    narrow = RecordedLine(RESOLUTION.sharpened(3.0), ENERGY.edges).recorded(0.02, 0.1)
    wide = RecordedLine(RESOLUTION, ENERGY.edges).recorded(0.02, 0.1)
    inside = spectrum.valid & ~seen.valid
    height = np.nanmax(spectrum.signal, axis=1, keepdims=True)
    truth = clean + height / wide.max() * narrow
    apart = ((result.signal - truth) / np.sqrt(result.variance))[inside]
    assert np.sqrt(np.mean(apart**2)) < 3.0


def branch(axes) -> Spectrum:
    """A linear branch that reaches E = 0 at the middle of the cut, as recorded, with both signs of the energy."""
    q = np.linspace(-1, 1, len(axes[0]))[:, None]
    sigma = FWHM / 2.355
    signal = sum(
        np.exp(-0.5 * ((ENERGY.centers - s * 20 * np.abs(q)) / sigma) ** 2) / (0.1 + np.abs(q)) for s in (-1, 1)
    )
    rng = np.random.default_rng(5)
    number = rng.poisson(200 * (signal + 0.02))
    return Spectrum(number / 200.0, np.maximum(number, 1) / 200.0**2, axes)


def flat(axes) -> Spectrum:
    number = np.random.default_rng(0).poisson(20.0, [len(a) for a in axes])
    return Spectrum(number / 20.0, np.maximum(number, 1) / 400.0, axes)


def quasielastic(axes) -> Spectrum:
    """Five times as wide as the resolution."""
    spectrum = flat(axes)
    broad = 20 / (1 + (ENERGY.centers / (2.5 * FWHM)) ** 2)
    return spectrum.replace(signal=spectrum.signal + broad)


def without_zero(axes) -> Spectrum:
    return measured(axes)[0].slice(DeltaE=(1.0, 29.0))


def too_coarse(axes) -> Spectrum:
    coarse = Axis("DeltaE", np.linspace(-8.0, 30.0, 13), "meV")
    signal = np.ones((len(axes[0]), 12))
    signal[:, 2] = 100.0
    return Spectrum(signal, signal, (axes[0], coarse))


@pytest.mark.parametrize("made", [branch, flat, quasielastic, without_zero, too_coarse])
def test_what_is_no_line_is_left_alone(made):
    spectrum = made(powder_axes(64))
    assert find_lines(spectrum, RESOLUTION) is None
    quality = Quality(flux_in=1.0)
    assert kept_apart(None, spectrum, None, lambda seen: (seen, quality)) == (spectrum, quality)


def test_an_integrated_energy_shows_no_line():
    spectrum, _ = measured(powder_axes())
    one = Axis("DeltaE", ENERGY.edges[[0, -1]], "meV")
    total = np.nansum(spectrum.signal, axis=1, keepdims=True)
    assert find_lines(Spectrum(total, total, (spectrum.axes[0], one)), RESOLUTION) is None


def test_a_cut_that_is_all_line_is_not_hidden():
    spectrum = measured(powder_axes())[0].slice(DeltaE=(-2.2, 2.2))
    lines = find_lines(spectrum, RESOLUTION)
    assert lines is None or lines.apart(spectrum) == (spectrum, None)


def test_a_branch_beside_a_line_stays():
    """The mode of a crystal that crosses the feet of a weak line."""
    spectrum, _ = measured(powder_axes(64), line=50.0, counts=300.0)
    other = branch(powder_axes(64))
    both = spectrum.replace(signal=spectrum.signal + other.signal, variance=spectrum.variance + other.variance)
    lines = find_lines(both, RESOLUTION)
    seen, kept = lines.apart(both)
    plain, _ = find_lines(spectrum, RESOLUTION).apart(spectrum)
    common = seen.valid & plain.valid
    common[24:40] = False  # there it lies within the width of the line
    lost = (other.signal - (seen.signal - plain.signal))[common].sum() / other.signal[common].sum()
    assert abs(lost) < 0.05


@pytest.fixture
def crystal_file(tmp_path):
    run = Run().updated("test", instrument="MERLIN", ei=38.0, chopper="G", frequency=600.0)
    sizes = {"Q_sample_x": 24, "Q_sample_y": 6}
    momenta = [Axis(n, np.linspace(-1, 1, b + 1), "Angstrom^-1", "QSample") for n, b in sizes.items()]
    axes = (*momenta, ENERGY)
    spectrum = measured(axes)[0].replace(run=run)
    write_nexus(spectrum, tmp_path / "line.nxs")
    return tmp_path / "line.nxs"


def test_a_file_in_slabs_is_translated_as_one_in_memory(crystal_file, tmp_path, monkeypatch):
    options = ApplyOptions(device="cpu", model="remove-resolution-2d")
    spectrum = read_nexus(crystal_file)
    result, report = job.apply(spectrum, options)
    assert any("kept apart in 142 of 142 columns" in note for note in report.notes)
    assert np.array_equal(result.valid, spectrum.valid)
    assert report.quality.bins == spectrum.valid.sum()
    assert report.quality.flux_in == pytest.approx(spectrum.signal[spectrum.valid].sum())
    assert report.quality.flux_out == pytest.approx(report.quality.flux_in, rel=0.02)
    monkeypatch.setattr(job, "SLAB_BINS", 3 * 24 * len(ENERGY))
    of_file = job.apply_to_file(crystal_file, tmp_path / "out.nxs", options)
    assert any("kept apart in 142 of 142 columns" in note for note in of_file.notes)
    found = read_nexus(tmp_path / "out.nxs")
    np.testing.assert_allclose(found.signal, result.signal, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.variance, result.variance, rtol=1e-3)
    assert np.array_equal(found.valid, result.valid)


def test_adding_leaves_lines_as_they_are(crystal_file):
    options = ApplyOptions(direction="add-resolution", device="cpu", model="add-resolution-2d")
    _, report = job.apply(read_nexus(crystal_file), options)
    assert not any("elastic line" in note for note in report.notes)


@pytest.mark.parametrize(("ei", "below"), [("120.00", 0.02), ("62.00", 0.004), ("38.00", 0.0005), ("25.00", 0.002)])
def test_real_lines_are_taken_away_beside_the_hidden_region(shared, ei, below):
    """Bi2Fe4O9 on MERLIN: what is left just outside, compared with what is farther away, in units of the peak."""
    spectrum = read_nxspe(shared / "data" / "bi2fe4o9-merlin" / f"MER40874_Ei{ei}meV_Rings.nxspe")
    resolution = Resolution("MERLIN", spectrum.run.value("ei"), "G", 600.0)
    lines = find_lines(spectrum, resolution)
    seen, kept = lines.apart(spectrum)
    assert lines.found == lines.columns > 190
    away = spectrum.axes[1].centers / float(resolution.fwhm_energy(0.0))
    mean = lambda values, use: float(np.nanmean(np.where(use & seen.valid, values, np.nan)))  # noqa: E731
    peak = np.nanmean(np.where(spectrum.valid, spectrum.signal, np.nan)[:, np.abs(away) < 1], axis=0).max()
    beside = (away > 2.5) & (away < 3.25)
    # Farther away is what the sample does; the line's own feet would be more than that.
    far = mean(spectrum.signal, (away > 4) & (away < 6)) / peak
    before, left = mean(spectrum.signal, beside) / peak, mean(seen.signal, beside) / peak
    assert before > left > 0
    assert abs(left - far) < below


def test_a_cut_of_energies_alone_has_one_column():
    spectrum, clean = measured(powder_axes())
    cut = spectrum.slice(**{"|Q|": (1.0, 1.05)})
    assert cut.shape == (1, len(ENERGY))
    lines = find_lines(cut, RESOLUTION)
    seen, kept = lines.apart(cut)
    assert (lines.found, lines.columns) == (1, 1)
    assert np.nanmax(seen.signal[seen.valid]) < 0.02 * np.nanmax(cut.signal)
    np.testing.assert_allclose(kept.put_back(seen, RESOLUTION).signal, cut.signal, rtol=1e-12, atol=1e-9)


def test_a_line_that_is_masked_is_not_looked_for():
    spectrum, _ = measured(powder_axes())
    masked = spectrum.replace(valid=spectrum.valid & (np.abs(ENERGY.centers) > FWHM))
    assert find_lines(masked, RESOLUTION) is None


def test_columns_that_were_not_measured_at_the_line_stay():
    spectrum, _ = measured(powder_axes())
    hidden = np.zeros(spectrum.shape, bool)
    hidden[20:30, np.abs(ENERGY.centers) < FWHM] = True
    part = spectrum.replace(valid=spectrum.valid & ~hidden)
    lines = find_lines(part, RESOLUTION)
    seen, kept = lines.apart(part)
    assert lines.columns == lines.found == 36
    result = kept.put_back(seen, RESOLUTION.sharpened(3.0))
    assert np.array_equal(result.valid, part.valid)
    same = part.valid[20:30]
    np.testing.assert_allclose(result.signal[20:30][same], part.signal[20:30][same])


def test_a_part_of_which_only_the_line_was_measured_needs_no_network():
    spectrum, _ = measured(powder_axes())
    lines = find_lines(spectrum, RESOLUTION)
    part = spectrum.replace(valid=spectrum.valid & (np.abs(ENERGY.centers) < FWHM))

    def refuse(seen):
        raise AssertionError("nothing is left for a network")

    result, quality = kept_apart(lines, part, RESOLUTION.sharpened(3.0), refuse)
    assert np.array_equal(result.valid, part.valid) and quality.bins == part.valid.sum()
    assert np.nanmax(result.signal) > 2 * np.nanmax(np.where(part.valid, part.signal, np.nan))
