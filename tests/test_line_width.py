"""The width of the elastic line, held against the facts of the run."""

import json
from pathlib import Path

import numpy as np
import pytest

from mantid_insgan import Run
from mantid_insgan.core.spectrum import Axis, Spectrum
from mantid_insgan.errors import RunFactError
from mantid_insgan.instruments import Resolution
from mantid_insgan.io import read_nxspe, write_nexus
from mantid_insgan.translate import job
from mantid_insgan.translate.elastic import look_for_lines
from mantid_insgan.translate.inspect import inspect_file
from mantid_insgan.translate.job import apply, apply_to_file
from mantid_insgan.translate.line_width import NARROWEST, WIDEST, LineWidth
from tests.test_elastic import RESOLUTION, crystal_axes, measured, powder_axes

RIGHT = {"instrument": "MERLIN", "ei": 38.0, "chopper": "G", "frequency": 600.0}
#: Facts of which the line is about 0.7 times, and twice as wide.
TOO_WIDE, TOO_NARROW = RIGHT | {"frequency": 150.0}, RIGHT | {"instrument": "MARI"}


def told(facts: dict) -> Resolution:
    return Resolution(facts["instrument"], facts["ei"], facts["chopper"], facts["frequency"])


def width_of(spectrum: Spectrum, facts: dict) -> LineWidth | None:
    return look_for_lines(spectrum, told(facts))[1]


@pytest.mark.parametrize("axes", [powder_axes(), crystal_axes()], ids=["powder", "crystal"])
@pytest.mark.parametrize("line", [30.0, 1000.0])
def test_the_line_of_the_right_facts_is_as_wide_as_calculated(axes, line):
    found = width_of(measured(axes, line=line, tail=0.0)[0], RIGHT)
    assert found.ratio == pytest.approx(1.0, abs=0.05) and not found.differs and found.note() == ""
    assert found.calculated == pytest.approx(float(RESOLUTION.fwhm_energy(0.0)), rel=0.15)


def test_the_line_tells_of_another_chopper_frequency_and_of_another_instrument():
    spectrum, _ = measured(powder_axes())
    right = width_of(spectrum, RIGHT)
    wide, narrow = width_of(spectrum, TOO_WIDE), width_of(spectrum, TOO_NARROW)
    assert wide.differs and wide.ratio < NARROWEST and "no elastic line is narrower" in wide.note()
    assert narrow.differs and narrow.ratio > WIDEST and "--width-factor" in narrow.note()
    for other in (wide, narrow):
        assert other.fitted == pytest.approx(right.fitted, rel=0.15), "the range of the fit follows the line"
        assert f"{other.ratio:.2g} times the calculated" in other.note()


def test_a_line_that_is_too_wide_to_be_kept_apart_is_still_told():
    lines, width = look_for_lines(measured(powder_axes())[0], told(TOO_NARROW))
    assert lines is None and width.differs


def test_without_a_line_there_is_no_width():
    spectrum, clean = measured(powder_axes(), line=0.0)
    assert width_of(spectrum, RIGHT) is None, "a mode and a background"
    energy = spectrum.axes[1].centers
    slope = clean + np.exp(-(energy / 20.0))
    assert width_of(spectrum.replace(signal=np.where(spectrum.valid, slope, np.nan)), RIGHT) is None
    above = Axis("DeltaE", np.linspace(1.0, 20.0, 96), "meV")
    ones = np.ones((48, 95))
    assert width_of(Spectrum(ones, ones, (spectrum.axes[0], above)), RIGHT) is None


@pytest.mark.parametrize("shape", ["zeros", "negative", "constant", "one bin", "noise", "one column", "broad"])
@pytest.mark.parametrize("relative_error", [0.0, 1e-150, 0.1, 1e30])
def test_what_is_no_line_is_no_error_either(shape, relative_error):
    q, energy = powder_axes(24)
    e, columns = energy.centers, np.ones((24, 1))
    signal = {
        "zeros": 0.0 * columns * e,
        "negative": -columns * np.ones_like(e),
        "constant": columns * np.ones_like(e),
        "one bin": columns * np.where(np.abs(e) < 0.11, 1e6, 0.0),
        "noise": np.random.default_rng(0).normal(size=(24, e.size)),
        "one column": np.where(np.arange(24)[:, None] == 3, 100 * np.exp(-(e**2)), 0.0),
        "broad": 100 * columns * np.exp(-0.5 * (e / 9.0) ** 2),
    }[shape]
    error = relative_error * np.abs(signal).max()
    assert width_of(Spectrum(signal, np.full_like(signal, error**2), (q, energy)), RIGHT) is None


def test_a_mode_that_crosses_zero_in_some_columns_is_no_line():
    spectrum, _ = measured(powder_axes(), line=0.0)
    q, energy = np.linspace(-1, 1, 48)[:, None], spectrum.axes[1].centers
    mode = 300.0 * np.exp(-0.5 * ((energy - 20.0 * np.abs(q)) / 0.8) ** 2)
    crossing = np.where(spectrum.valid, spectrum.signal + mode, np.nan)
    assert width_of(spectrum.replace(signal=crossing), RIGHT) is None


@pytest.mark.parametrize(
    "ratio, error, differs", [(0.7, 0.02, True), (0.75, 0.04, False), (1.5, 0.04, True), (1, 0, False)]
)
def test_it_differs_by_more_than_its_error(ratio, error, differs):
    assert LineWidth(ratio * 2.0, error * 2.0, 2.0).differs == differs


MEASURED = Path(__file__).parent / "data" / "bi2fe4o9-merlin" / "MER40874_Ei62.00meV_Rings.nxspe"


def test_a_measured_line_tells_of_wrong_facts():
    data = read_nxspe(MEASURED)
    ei = data.run.value("ei")

    def ratio(instrument, chopper, frequency):
        found = look_for_lines(data, Resolution(instrument, ei, chopper, frequency))[1]
        return found.ratio, found.differs

    right, differs = ratio("MERLIN", "G", 600.0)
    assert right == pytest.approx(1.04, abs=0.05) and not differs
    assert ratio("MERLIN", "G", 200.0) == (pytest.approx(0.64, abs=0.05), True)
    assert ratio("MARI", "S", 400.0) == (pytest.approx(1.63, abs=0.15), True)


# ------------------------------------------------------------------------------------------------------ told to users


def in_a_file(tmp_path, facts: dict):
    spectrum = measured(powder_axes())[0].replace(run=Run().updated("file", **facts))
    write_nexus(spectrum, tmp_path / "run.nxs")
    return tmp_path / "run.nxs", spectrum


def test_a_job_notes_it_and_counts_it_as_unusual(tmp_path):
    path, spectrum = in_a_file(tmp_path, TOO_WIDE)
    _, report = apply(spectrum)
    assert report.notes[0] == report.line_width.note() != ""
    assert report.summary()["elastic_line_over_calculated_width"] == report.line_width.ratio
    with pytest.raises(RunFactError, match="the elastic line has another width .*check the chopper"):
        apply(spectrum, out_of_domain="error")
    right = apply(spectrum.replace(run=Run().updated("file", **RIGHT)))[1]
    assert not any("elastic line has another" in note for note in right.notes)
    assert apply(spectrum, direction="add-resolution")[1].line_width is None, "a simulation need not have the line"


def test_files_in_parts_tell_the_same(tmp_path, monkeypatch):
    path, spectrum = in_a_file(tmp_path, TOO_WIDE)
    monkeypatch.setattr(job, "SLAB_BINS", 191 * 16)
    report = apply_to_file(path, tmp_path / "out.nxs", job.ApplyOptions())
    assert report.line_width.ratio == pytest.approx(apply(spectrum)[1].line_width.ratio, rel=1e-6)
    with pytest.raises(RunFactError, match="--out-of-domain warn"):
        apply_to_file(path, tmp_path / "no.nxs", job.ApplyOptions(out_of_domain="error"))
    assert not (tmp_path / "no.nxs").exists()


def test_inspect_shows_both_widths(tmp_path, insgan):
    path, _ = in_a_file(tmp_path, TOO_WIDE)
    found = inspect_file(path)
    assert found.line_width.differs and f"elastic line: FWHM {found.line_width.fitted:.3g} meV" in found.as_text()
    sheet = json.loads(insgan("inspect", path, "--json")[1])
    assert sheet["elastic_line"]["fwhm"] < 0.8 * sheet["elastic_line"]["calculated_fwhm"]
    bare, spectrum = tmp_path / "bare.nxs", measured(powder_axes())[0]
    write_nexus(spectrum, bare)
    assert inspect_file(bare).as_dict()["elastic_line"] is None, "without facts nothing can be calculated"
