"""Intervals of a result: what a translator gives, what becomes of it on the way, and the files."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import stand_in_card
from test_coarse import narrow
from test_elastic import RESOLUTION, measured, powder_axes
from typer.testing import CliRunner

from mantid_insgan.cli.main import app
from mantid_insgan.core.merging import binned
from mantid_insgan.core.options import ApplyOptions
from mantid_insgan.core.run import Run
from mantid_insgan.core.spectrum import ENDS, Axis, Spectrum, per_event, summed
from mantid_insgan.demo import DATA
from mantid_insgan.errors import InputError, ModelError, OutputError, RunFactError
from mantid_insgan.io import last_record, read_nexus, read_spectrum, write_nexus, write_spectrum
from mantid_insgan.io.region import cut
from mantid_insgan.translate import job, many
from mantid_insgan.translate.elastic import LEFT_OF_LINE, find_lines
from mantid_insgan.translate.job import apply, apply_to_file, files_of_ends, is_result
from mantid_insgan.translate.trust import ends_of, normal_deviations, widened

#: Distance of the ends from the mean of a normal distribution, in standard deviations.
NORMAL = [-1.959964, -0.994458, 0.994458, 1.959964]


@pytest.fixture(scope="module")
def options(tmp_path_factory) -> ApplyOptions:
    """Of a model for slices whose card has intervals."""
    model = stand_in_card.copied(tmp_path_factory.mktemp("models") / "known")
    return ApplyOptions(device="cpu", model=model, intervals=True)


def stacked(events: bool = False) -> Spectrum:
    """Three slices, one of which was not measured, that differ."""
    rng = np.random.default_rng(3)
    axes = (
        Axis("[H,0,0]", np.linspace(0.2, 1.4, 25), "r.l.u.", "HKL"),
        Axis("[0,0,L]", [0.0, 1.0, 2.0, 3.0], "r.l.u.", "HKL"),
        Axis("DeltaE", np.linspace(4, 40, 37), "meV"),
    )
    h, _, energy = np.meshgrid(*(a.centers for a in axes), indexing="ij")
    clean = np.exp(-0.5 * ((energy - 8 - 20 * np.sin(np.pi * h) ** 2) / 2.5) ** 2) + 0.1
    counts = rng.poisson(clean * 200)
    signal, variance, valid = counts / 200, np.maximum(counts, 1) / 200**2, rng.random(clean.shape) > 0.05
    valid[:, 1] = False
    run = Run().updated("made", instrument="MERLIN", ei=60.0, chopper="G", frequency=400.0)
    run = ApplyOptions(lattice="4,4,6").run(run)
    if not events:
        return Spectrum(signal, variance, axes, valid=valid, run=run, title="three slices")
    number = rng.integers(1, 9, clean.shape).astype(float)
    return Spectrum(
        signal * number, variance * number**2, axes, valid=valid, num_events=number, visual_normalization=2, run=run
    )


# ------------------------------------------------------------------------------------------------------------ in memory


def test_the_wider_interval_contains_the_narrower_and_both_the_result(options):
    result, _ = apply(stacked(), options)
    ends, valid = ends_of(result), result.valid
    inner = [ends[name].signal[valid] for name in ENDS]
    assert (inner[0] < inner[1]).all() and (inner[2] < inner[3]).all()
    assert (inner[1] < result.signal[valid]).all() and (result.signal[valid] < inner[2]).all()
    np.testing.assert_allclose((inner[2] - inner[1]) / 2, np.sqrt(result.variance[valid]), rtol=1e-9)
    for name, end in ends.items():
        assert np.array_equal(end.valid, valid) and np.isnan(end.signal[~valid]).all()
        assert (end.variance[valid] == 0).all() and end.deviations is None
        assert end.title == f"{name.split()[0]} end of the {name.split(' ', 1)[1]} interval of three slices"


def test_twice_the_data_has_twice_the_ends(options):
    once = stacked()
    twice = once.replace(signal=2 * once.signal, variance=4 * once.variance)
    one, two = (ends_of(apply(s, options)[0]) for s in (once, twice))
    for name in ENDS:
        np.testing.assert_allclose(two[name].signal, 2 * one[name].signal, rtol=1e-5, atol=1e-6)


def test_they_are_those_of_the_card_on_the_networks_axes(options):
    """Also where the energy is not the last axis of the data."""
    plain, order = stacked(), (2, 0, 1)
    arrays = ("signal", "variance", "valid", "num_events", "masked")
    turned = {name: getattr(plain, name).transpose(order) for name in arrays}
    other, _ = apply(plain.replace(axes=tuple(plain.axes[i] for i in order), **turned), options)
    found, _ = apply(plain, options)
    np.testing.assert_allclose(other.deviations, found.deviations.transpose(0, 3, 1, 2), rtol=1e-6)
    # of the made-up quantiles none is outside 4, and the 68 % interval is between 1.5 and 2.75 wide
    wide = (found.deviations[3] - found.deviations[0])[found.valid] / np.sqrt(found.variance[found.valid])
    assert 2.6 < wide.min() and wide.max() < 6


def test_adding_the_resolution_has_them_too(options, tmp_path):
    adds = options.updated(
        model=stand_in_card.copied(tmp_path / "adds", "add-resolution-2d"), direction="add-resolution"
    )
    result, _ = apply(stacked(), adds)
    assert (result.deviations[1][result.valid] < 0).all() and (result.deviations[2][result.valid] > 0).all()


def test_without_the_option_there_are_none(options):
    found, _ = apply(stacked(), options, intervals=False)
    assert found.deviations is None
    with pytest.raises(InputError, match="has no intervals. Fix: take the result of apply with intervals=True"):
        ends_of(found)
    again, _ = apply(apply(stacked(), options)[0].replace(run=stacked().run), options, intervals=False)
    assert again.deviations is None, "those of a result that was given are not those of its result"


def test_sums_over_events_have_sums_as_ends(options):
    sums = stacked(events=True)
    found, shown = apply(sums, options)[0], apply(per_event(sums).replace(visual_normalization=0), options)[0]
    np.testing.assert_allclose(found.deviations, shown.deviations * sums.num_events, rtol=1e-6)
    np.testing.assert_allclose(summed(per_event(found)).deviations, found.deviations, rtol=1e-12)


def test_a_part_has_its_own_and_merged_bins_have_none(options):
    result, _ = apply(stacked(), options)
    region = (slice(2, 9), slice(0, 1), slice(None))
    np.testing.assert_array_equal(cut(result, region).deviations, result.deviations[(slice(None), *region)])
    energies = result.slice(DeltaE=(10, 20))
    assert energies.deviations.shape == (4, *energies.shape)
    np.testing.assert_array_equal(cut(result, region).squeeze().deviations, result.deviations[:, 2:9, 0])
    assert binned(result, energy_bins=18).deviations is None
    assert result.replace(signal=2 * result.signal).deviations is None, "they belong to the signal"
    assert np.array_equal(result.replace(title="other").deviations, result.deviations, equal_nan=True)
    with pytest.raises(InputError, match=r"deviations has shape \(3, 24, 3, 36\)"):
        result.replace(deviations=result.deviations[:3])


def test_bins_brought_back_have_those_of_the_wide_one(options):
    spectrum = narrow()
    result, report = apply(spectrum, options)
    assert any("2 neighbouring bins were merged for it" in note for note in report.notes)
    wide, _ = apply(spectrum, options, energy_bins=240)
    expected = np.repeat(wide.deviations, 2, axis=-1)
    here = result.valid
    assert np.isfinite(result.deviations[:, here]).all() and np.isnan(result.deviations[:, ~here]).all()
    np.testing.assert_allclose(result.deviations[:, here], expected[:, here], rtol=1e-3, atol=1e-6)


# ------------------------------------------------------------------------------------------------------ elastic lines


def test_independent_errors_are_added_as_squares():
    np.testing.assert_allclose(normal_deviations(np.array([2.0]))[:, 0], np.multiply(NORMAL, 2.0), rtol=1e-6)
    ends = np.array([-3.0, 0.0, 0.5, 4.0])[:, None]
    found = widened(ends, np.array([2.0]))[:, 0]
    np.testing.assert_allclose(found, np.sign(NORMAL) * np.hypot(ends[:, 0], np.multiply(NORMAL, 2.0)), rtol=1e-6)
    np.testing.assert_allclose(widened(ends, np.zeros(1)), ends)


def test_the_ends_move_with_a_line_that_is_put_back():
    spectrum, _ = measured(powder_axes())
    seen, kept = find_lines(spectrum, RESOLUTION).apart(spectrum)
    ends = np.where(seen.valid, np.multiply.outer(NORMAL, np.full(spectrum.shape, 0.3)), np.nan)
    target = RESOLUTION.sharpened(3.0)
    bare, result = kept.put_back(seen, target), kept.put_back(seen.replace(deviations=ends), target)
    np.testing.assert_array_equal(result.signal, bare.signal)
    hidden = spectrum.valid & ~seen.valid
    of_error = np.multiply.outer(NORMAL, np.sqrt(result.variance))
    np.testing.assert_allclose(result.deviations[:, hidden], of_error[:, hidden], rtol=1e-6)
    added = (result.signal - seen.signal)[seen.valid]
    of_line = np.multiply.outer(np.square(NORMAL), 0.3**2 + (LEFT_OF_LINE * added) ** 2)
    np.testing.assert_allclose(result.deviations[:, seen.valid] ** 2, of_line, rtol=1e-6)
    assert np.isnan(result.deviations[:, ~spectrum.valid]).all()


def test_a_part_of_which_only_the_line_was_measured_has_intervals(options):
    spectrum, _ = measured(powder_axes())
    run = Run().updated("made", instrument="MERLIN", ei=38.0, chopper="G", frequency=600.0)
    beside = np.abs(spectrum.axes[1].centers) > 0.5
    alone = spectrum.replace(run=run, valid=spectrum.valid & ~beside)
    whole, alone = (apply(s, options)[0] for s in (spectrum.replace(run=run), alone))
    for result in (whole, alone):
        assert np.isfinite(result.deviations[:, result.valid]).all() and result.valid.any()
        assert (np.diff(result.deviations[:, result.valid], axis=0) > 0).all()


# ---------------------------------------------------------------------------------------------------------------- files


def test_files_have_what_the_result_in_memory_has(options, tmp_path):
    source, target = DATA / "measured.nxs", tmp_path / "out.nxs"
    apply_to_file(source, target, options)
    paths = files_of_ends(target)
    names = ["out-lower-95.nxs", "out-lower-68.nxs", "out-upper-68.nxs", "out-upper-95.nxs"]
    assert list(paths) == list(ENDS) and [p.name for p in paths.values()] == names
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*names, "out.nxs"])
    result, _ = apply(read_nexus(source), options)
    plain = read_nexus(target)
    assert plain.title == read_nexus(source).title
    for name, expected in ends_of(result).items():
        end, record = read_nexus(paths[name]), last_record(paths[name])
        assert np.array_equal(end.valid, plain.valid) and np.nanmax(end.variance) == 0
        np.testing.assert_allclose(end.signal, expected.signal, rtol=1e-6)
        assert end.title == expected.title and plain.title in end.title
        assert {n: f.value for n, f in end.run.facts.items() if n != "lattice"} == {
            n: f.value for n, f in plain.run.facts.items() if n != "lattice"
        }
        assert record["name"] == "insgan apply --intervals" and record["parameters"]["end"] == name
        assert record["parameters"]["input"] == "measured.nxs"


@pytest.mark.parametrize("suffix", [".nxs", ".npz", ".txt"])
def test_every_format_says_which_end_it_is(options, tmp_path, suffix):
    """Also without a template whose groups are kept."""
    flat = cut(stacked(), (slice(None), slice(0, 1), slice(None))).squeeze()
    write_spectrum(flat, tmp_path / "in.npz")
    apply_to_file(tmp_path / "in.npz", tmp_path / f"out{suffix}", options)
    for name, path in files_of_ends(tmp_path / f"out{suffix}").items():
        side, level = name.split(" ", 1)
        assert read_spectrum(path).title == f"{side} end of the {level} interval of three slices"


@pytest.mark.parametrize("events", [False, True])
def test_slabs_give_the_same_as_one_piece(options, tmp_path, monkeypatch, events):
    write_nexus(stacked(events), tmp_path / "in.nxs")
    apply_to_file(tmp_path / "in.nxs", tmp_path / "whole.nxs", options)
    monkeypatch.setattr(job, "SLAB_BINS", 24 * 36)
    apply_to_file(tmp_path / "in.nxs", tmp_path / "slabs.nxs", options)
    one, other = (files_of_ends(tmp_path / name) for name in ("whole.nxs", "slabs.nxs"))
    for name in ENDS:
        a, b = read_nexus(one[name]), read_nexus(other[name])
        assert a.valid.any() and np.array_equal(a.valid, b.valid)
        np.testing.assert_array_equal(a.signal, b.signal)


@pytest.mark.parametrize("taken", ["out.nxs", "out-lower-95.nxs", "out-upper-68.nxs"])
def test_what_is_there_is_not_replaced_and_told_before_the_work(options, tmp_path, monkeypatch, taken):
    (tmp_path / taken).write_text("mine")
    monkeypatch.setattr(job, "open_spectrum", lambda *_, **__: pytest.fail("the work has begun"))
    with pytest.raises(OutputError, match=f"{taken} already exists. Fix: give another name, or --overwrite"):
        apply_to_file(DATA / "measured.nxs", tmp_path / "out.nxs", options)
    monkeypatch.undo()
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [(taken, "mine")]
    apply_to_file(DATA / "measured.nxs", tmp_path / "out.nxs", options, overwrite=True)
    assert read_nexus(tmp_path / taken).valid.any() and len(list(tmp_path.iterdir())) == 5


def test_an_input_with_the_name_of_an_end_is_kept(options, tmp_path):
    source = tmp_path / "out-lower-68.nxs"
    write_nexus(stacked(), source)
    before = source.read_bytes()
    with pytest.raises(OutputError, match="is the input, which would be lost"):
        apply_to_file(source, tmp_path / "out.nxs", options, overwrite=True)
    assert source.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_nothing_is_left_of_a_job_that_fails(options, tmp_path, monkeypatch):
    monkeypatch.setattr("mantid_insgan.translate.translator.Translator._distance", lambda *_: 2.0)
    with pytest.raises(ModelError, match="--out-of-domain error was given"):
        apply_to_file(DATA / "measured.nxs", tmp_path / "out.nxs", options.updated(out_of_domain="error"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".nxs", ".npz", ".txt"])
def test_ends_of_an_earlier_result_are_not_left_beside_another(options, tmp_path, suffix):
    """They would seem to be those of the new result, which has none."""
    target, plain = tmp_path / f"out{suffix}", options.updated(intervals=False)
    apply_to_file(DATA / "measured.nxs", target, options)
    ends = list(files_of_ends(target).values())
    assert last_record(ends[1])["parameters"]["end"] == "lower 68 %"
    ends[0].write_text("mine")
    target.unlink()
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    named = ", ".join(map(str, ends[1:]))
    with pytest.raises(OutputError, match=re.escape(f"{named} beside the output {target} have the ends of the interv")):
        apply_to_file(DATA / "measured.nxs", target, plain)
    with pytest.raises(OutputError, match="is the input, which would be lost"):
        apply_to_file(ends[2], target, plain, overwrite=True)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    report = apply_to_file(DATA / "measured.nxs", target, plain, overwrite=True)
    said = f"removed {', '.join(p.name for p in ends[1:])}: they had the ends of the intervals of an earlier result"
    assert report.notes[-1] == said
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([ends[0].name, target.name])
    assert ends[0].read_text() == "mine"


def test_ends_of_an_earlier_result_stay_if_the_job_fails(options, tmp_path, monkeypatch):
    target = tmp_path / "out.nxs"
    apply_to_file(DATA / "measured.nxs", target, options)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    monkeypatch.setattr("mantid_insgan.translate.translator.Translator._distance", lambda *_: 2.0)
    plain = options.updated(intervals=False, out_of_domain="error")
    with pytest.raises(ModelError, match="--out-of-domain error was given"):
        apply_to_file(DATA / "measured.nxs", target, plain, overwrite=True)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


# ------------------------------------------------------------------------------------------------------ what is refused


def test_a_card_without_intervals_is_told_of_before_the_work(options, tmp_path, monkeypatch):
    bare = options.updated(model=stand_in_card.copied(tmp_path / "bare", known=False))
    monkeypatch.setattr("mantid_insgan.translate.target.look_for_lines", lambda *_: pytest.fail("the work has begun"))
    expected = (
        r"the card of the model remove-resolution-2d has no intervals \(its entry 'intervals'\), which --intervals "
        r"needs. Fix: use a bundled model for cuts or slices \(--model\), or leave --intervals out"
    )
    with pytest.raises(ModelError, match=expected):
        apply(read_nexus(DATA / "measured.nxs"), bare)
    with pytest.raises(ModelError, match=expected):
        apply_to_file(DATA / "measured.nxs", tmp_path / "out.nxs", bare)
    assert [p.name for p in tmp_path.iterdir()] == ["bare"]


def test_two_models_have_no_intervals(tmp_path):
    both = ApplyOptions(device="cpu", to="Ei=150", intervals=True)
    with pytest.raises(RunFactError, match="--intervals was given with --to: .* leave --intervals out and take the st"):
        apply_to_file(DATA / "measured.nxs", tmp_path / "out.nxs", both)
    assert not list(tmp_path.iterdir())


# ----------------------------------------------------------------------------------------------------------- many files


def test_results_of_many_files_are_kept_if_their_intervals_are_there(options, tmp_path):
    source, folder = tmp_path / "in.nxs", tmp_path / "out"
    write_nexus(stacked(), source)
    run = lambda **more: [o.status for o in many.apply_to_many([source], folder, replace(options, **more))]  # noqa: E731
    assert run() == ["written"] and run() == ["kept"] and run(intervals=False) == ["kept"]
    gone = folder / "in-upper-95.nxs"
    content = gone.read_bytes()
    gone.unlink()
    assert run() == ["failed"] and not is_result(source, folder / "in.nxs", options)
    gone.write_bytes(content)
    assert is_result(source, folder / "in.nxs", options)
    (folder / "in-lower-95.nxs").write_bytes(content)
    assert not is_result(source, folder / "in.nxs", options), "the file of another end"


def test_two_files_whose_outputs_have_one_name(options, tmp_path):
    files = [tmp_path / "in.nxs", tmp_path / "in-lower-95.nxs"]
    for number, file in enumerate(files):
        write_nexus(stacked().replace(title=str(number)), file)
    with pytest.raises(InputError, match=r"in\.nxs and .*in-lower-95\.nxs would both be written to .*in-lower-95\.nxs"):
        many.apply_to_many(files, tmp_path / "out", options)
    assert [o.status for o in many.apply_to_many(files, tmp_path / "out", replace(options, intervals=False))] == [
        "written"
    ] * 2


# ----------------------------------------------------------------------------------------------------- the command line


def test_the_command_names_the_files_and_others_read_them(options, tmp_path):
    target = tmp_path / "out.nxs"
    arguments = ["apply", str(DATA / "measured.nxs"), str(target), "--intervals", "--model", options.model]
    ran = CliRunner().invoke(app, [*arguments, "--device", "cpu", "--json"])
    assert ran.exit_code == 0, ran.output
    named = json.loads(ran.stdout)["intervals"]
    assert named == {end: str(path) for end, path in files_of_ends(target).items()}
    assert all(Path(path).exists() for path in named.values())
    again = CliRunner().invoke(app, [*arguments, "--device", "cpu", "--overwrite"])
    assert f"  lower 95 %: {tmp_path}/out-lower-95.nxs\n" in again.stdout
    inspected = CliRunner().invoke(app, ["inspect", named["upper 68 %"]])
    assert inspected.exit_code == 0 and "upper end of the 68 % interval of demo" in inspected.stdout
    report = ["report", str(DATA / "measured.nxs"), named["lower 95 %"], "--output", str(tmp_path / "r.html")]
    told = CliRunner().invoke(app, report)
    assert told.exit_code == 0 and "is 'insgan apply --intervals', expected 'insgan apply'" in told.stdout
    of_result = ["report", str(DATA / "measured.nxs"), str(target), "--model", options.model]
    told = CliRunner().invoke(app, [*of_result, "--output", str(tmp_path / "result.html")])
    assert told.exit_code == 0 and "could not be done again" not in told.stdout
    plotted = CliRunner().invoke(app, ["plot", named["lower 95 %"], "--output", str(tmp_path / "p.png")])
    assert plotted.exit_code == 0 and (tmp_path / "p.png").exists()
