"""The stated target: what resolution a result has, how it is told to models, kept in files and used again."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import trusting

from mantid_insgan.convolve import convolve
from mantid_insgan.core.kernels import LARGEST_FWHM_BINS, RADIUS, reach_of
from mantid_insgan.core.options import SHARPEN, ApplyOptions, check_target, parse_target
from mantid_insgan.core.run import NO_RESOLUTION, SPECTROMETER, Lattice, Run, Setting
from mantid_insgan.core.slices import finer_of, network_slices
from mantid_insgan.core.spectrum import Axis, Spectrum
from mantid_insgan.demo import DATA
from mantid_insgan.errors import ModelError, RunFactError
from mantid_insgan.instruments import Resolution
from mantid_insgan.instruments.grid import finest, ratios, smaller
from mantid_insgan.io import read_nexus, write_nexus
from mantid_insgan.io.nxspe import read_nxspe
from mantid_insgan.translate import job, translator
from mantid_insgan.translate.cards import INPUTS, MORE_INPUTS, STEPS, choose_model
from mantid_insgan.translate.inspect import inspect_file
from mantid_insgan.translate.job import apply, apply_to_file, is_result
from mantid_insgan.translate.target import SAME_WIDTH, brought, plan_between
from mantid_insgan.translate.translator import Quality, Translator

LATTICE = Lattice(4.0, 4.0, 4.0)
FACTS = {"instrument": "MERLIN", "ei": 60.0, "chopper": "G", "frequency": 300.0}
RUN = Run().updated("log", **FACTS, lattice=LATTICE)
AXES = (
    Axis("[H,0,0]", np.linspace(0.6, 2.2, 49), "r.l.u.", "HKL"),
    Axis("[0,K,0]", np.array([-0.05, 0.05]), "r.l.u.", "HKL"),
    Axis("[0,0,L]", np.array([-0.05, 0.05]), "r.l.u.", "HKL"),
    Axis("DeltaE", np.linspace(6.0, 42.0, 49), "DeltaE"),
)


class Chain:
    """A mode that disperses along h alone, so that the cut has all of its resolution."""

    lattice = LATTICE

    def modes(self, q):
        h = np.asarray(q)[:, 0]
        return (15.0 + 20.0 * np.abs(np.sin(np.pi * h)))[:, None], np.ones((len(h), 1))


class Told:
    """A session that notes what it is given, and gives the signal back with an error of 0.1."""

    def __init__(self, inputs):
        self.names, self.calls = inputs, []

    def get_inputs(self):
        return [SimpleNamespace(name=name) for name in self.names]

    def get_providers(self):
        return ["CPUExecutionProvider"]

    def run(self, outputs, inputs, options):
        assert set(inputs) == set(self.names)
        self.calls.append(inputs)
        signal = inputs["signal"]
        return [signal, np.full_like(signal, np.log(0.01)), signal, np.zeros((1, 1), np.float32)]


@pytest.fixture
def told(monkeypatch):
    """Sessions by direction, in place of those of the bundled models: they take all inputs of the contract."""
    sessions = {d: Told((*INPUTS, *MORE_INPUTS, STEPS)) for d in ("add-resolution", "remove-resolution")}
    monkeypatch.setattr(translator, "open_session", lambda model, *_: sessions[model.card.direction])
    monkeypatch.setattr(Translator, "_distance", lambda *_: 0.0)
    return sessions


@pytest.fixture
def old(monkeypatch):
    """As `told`, without the inputs `finer` and `steps`."""
    sessions = {d: Told((*INPUTS, *MORE_INPUTS[:-1])) for d in ("add-resolution", "remove-resolution")}
    monkeypatch.setattr(translator, "open_session", lambda model, *_: sessions[model.card.direction])
    monkeypatch.setattr(Translator, "_distance", lambda *_: 0.0)
    return sessions


def setting(ei=60.0, frequency=300.0) -> Resolution:
    return Resolution("MERLIN", ei, "G", frequency, lattice=LATTICE)


def measured(run: Run = RUN, seed: int = 0) -> Spectrum:
    """Some intensity on the grid of the tests, with gaps."""
    rng = np.random.default_rng(seed)
    signal = rng.uniform(0.5, 1.5, tuple(len(a) for a in AXES))
    signal[5:8] = np.nan
    return Spectrum(signal, np.where(np.isnan(signal), np.nan, 0.01), AXES, run=run)


def stated(run: Run, **parts) -> Run:
    return run.updated("log insgan_resolution of experiment0", resolution=Setting(**parts))


# ------------------------------------------------------------------------------------------------- settings as texts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ei=38,chopper=G,frequency=600", Setting(ei=38.0, chopper="G", frequency=600.0)),
        (" ei = 38 , INSTRUMENT=MERLIN", Setting(instrument="MERLIN", ei=38.0)),
        ("chopper=High Flux,width_factor=1.2", Setting(chopper="High Flux", width_factor=1.2)),
        ("sharpness=3", Setting(sharpness=(3.0, 3.0))),
        ("sharpness=3/2", Setting(sharpness=(3.0, 2.0))),
        ("sharpness=0", Setting(sharpness=NO_RESOLUTION)),
    ],
)
def test_a_setting_is_a_text_and_back(text, expected):
    assert Setting.parsed(text) == expected == Setting.parsed(str(expected))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' in the setting '' is not NAME=VALUE with one of the names instrument, Ei, chopper, frequency"),
        ("Ei", "'Ei' in the setting 'Ei' is not NAME=VALUE"),
        ("Ei=38,colour=red", "'colour=red' in the setting .* Fix: give a setting such as Ei=38"),
        ("Ei=high", "ei=high in the setting 'Ei=high' is no number above zero"),
        ("Ei=0", "ei=0 in the setting"),
        ("Ei=-3", "ei=-3 in the setting"),
        ("Ei=3,ei=4", "ei comes twice in the setting"),
        ("sharpness=3/0", "sharpness=3/0 in the setting"),
        ("sharpness=1/2/3", "sharpness=1/2/3 in the setting"),
    ],
)
def test_a_text_that_is_no_setting(text, message):
    with pytest.raises(RunFactError, match=message):
        Setting.parsed(text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sharpen": 1.0}, "--sharpen is 1, expected 0 or a number above 1"),
        ({"sharpen": -2.0}, "--sharpen is -2, expected"),
        ({"sharpen": float("nan")}, "--sharpen is nan, expected"),
        ({"sharpen": 2.0, "direction": "add-resolution"}, "--sharpen 2 was given with --direction add-resolution"),
        ({"sharpen": 2.0, "to": "Ei=38"}, "--sharpen 2 was given with --to"),
        ({"to": "Ei=38", "direction": "add-resolution"}, "--to was given with --direction add-resolution"),
        ({"to": "Ei=38", "model": "remove-resolution-2d"}, "--to was given with --model remove-resolution-2d"),
        ({"to": "Ei=38,sharpness=3"}, "of --to has a sharpness.*--sharpen makes"),
        ({"to": "nonsense"}, "'nonsense' in the setting 'nonsense' is not NAME=VALUE"),
    ],
)
def test_options_about_the_target_that_have_no_meaning(options, message):
    with pytest.raises(RunFactError, match=message):
        check_target(ApplyOptions(**options))
    with pytest.raises(RunFactError, match=message):
        apply(measured(), device="cpu", **options)


def test_options_about_the_target_that_have_one():
    for options in ({}, {"sharpen": 0.0}, {"sharpen": 1.5}, {"direction": "add-resolution"}, {"to": "Ei=38"}):
        check_target(ApplyOptions(**options))
    assert parse_target("Ei=38").facts == {"ei": 38.0}


# --------------------------------------------------------------------------------------------- what a model is told


def test_kernels_reach_as_far_as_the_widest_needs():
    assert reach_of(0.1) == 1 and reach_of(LARGEST_FWHM_BINS) == reach_of(1e3) == RADIUS
    sigma = 4.0 / 2.354820045
    assert reach_of(4.0) - 1 < 4.5 * sigma <= reach_of(4.0)


def test_the_finer_resolution_follows_the_axes_of_the_network():
    spectrum = measured()
    grid = setting().on_grid(spectrum)
    finer = grid.sharpened(2.0)
    np.testing.assert_allclose(finer.width, grid.width / 2, rtol=1e-6)
    np.testing.assert_allclose(finer.width, setting().sharpened(2.0).on_grid(spectrum).width, rtol=1e-5)
    plain, turned = finer_of(finer, grid.shape, (0, 3)), finer_of(finer, grid.shape, (3, 0))
    assert plain.shape == (3, *spectrum.shape)
    np.testing.assert_array_equal(plain[[1, 0, 2]], turned)
    assert not finer_of(None, grid.shape, (0, 3)).any()
    ((_, _, conditions),) = network_slices(spectrum, grid, (3, 0), finer)
    np.testing.assert_allclose(conditions["finer"][:2], conditions["width"] / 2, rtol=1e-6)
    np.testing.assert_array_equal(conditions["finer"][2:], conditions["correlation"])


@pytest.mark.parametrize(("sharpen", "share"), [(3.0, 1 / 3), (2.0, 0.5), (0.0, 0.0)])
def test_removing_tells_the_resolution_of_the_result(told, sharpen, share):
    result, report = apply(measured(), device="cpu", sharpen=sharpen)
    (inputs,) = told["remove-resolution"].calls
    np.testing.assert_allclose(inputs["finer"][:, :2], share * inputs["width"], rtol=1e-5)
    assert inputs["finer"].shape[2:] == inputs["signal"].shape[2:]
    reach = reach_of(inputs["width"].max())
    np.testing.assert_array_equal(inputs[STEPS], np.arange(-reach, reach + 1))
    assert reach < RADIUS
    expected = Setting(**FACTS, sharpness=(sharpen, sharpen))
    assert report.resolution == result.run.value("resolution") == expected
    assert report.summary()["resolution_of_result"] == str(expected)
    assert not any("--sharpen" in note for note in report.notes)


def test_tiles_are_told_their_own_part(told, monkeypatch):
    spectrum = measured()
    apply(spectrum, device="cpu")
    (whole,) = told["remove-resolution"].calls
    told["remove-resolution"].calls.clear()
    monkeypatch.setitem(translator.TILE, 2, 32)
    monkeypatch.setitem(translator.OVERLAP, 2, 16)
    apply(spectrum, device="cpu")
    first, *_, last = told["remove-resolution"].calls
    np.testing.assert_array_equal(first["finer"], whole["finer"][..., :32, :32])
    np.testing.assert_array_equal(last["finer"], whole["finer"][..., -32:, -32:])


def test_adding_tells_the_resolution_of_the_input(told):
    _, report = apply(measured(), device="cpu", direction="add-resolution")
    sharp = measured(stated(RUN, sharpness=(3.0, 2.0)))
    again, _ = apply(sharp, device="cpu", direction="add-resolution")
    ideal, finer = told["add-resolution"].calls
    assert not ideal["finer"].any() and report.resolution.sharpness == SPECTROMETER
    own = setting().sharpened(3.0, 2.0).on_grid(sharp)
    np.testing.assert_allclose(finer["finer"][0, 0, :48, :48], own.width[0], rtol=1e-5)
    np.testing.assert_allclose(finer["width"], ideal["width"])
    assert again.run.value("resolution").sharpness == SPECTROMETER


def test_models_that_take_no_target(old):
    result, report = apply(measured(), device="cpu")
    assert result.run.value("resolution").sharpness == NO_RESOLUTION
    assert not any("--sharpen" in note for note in report.notes)
    _, report = apply(measured(), device="cpu", sharpen=2.0)
    note = "takes no finer resolution: the result has none at all, and --sharpen 2 was not used"
    assert any(note in n for n in report.notes) and report.resolution.sharpness == NO_RESOLUTION
    grid = setting().on_grid(measured())
    with pytest.raises(ModelError, match="takes no finer resolution, and one was given"):
        Translator(choose_model("remove-resolution"), "cpu").apply(measured(), grid, finer=grid.sharpened(2.0))
    with pytest.raises(ModelError, match=r"remove-resolution-2d takes no finer resolution, which another setting"):
        apply(measured(), device="cpu", to="Ei=90")
    with pytest.raises(ModelError, match=r"3 times finer .*add-resolution-2d adds it only to data without any"):
        apply(measured(stated(RUN, sharpness=(3.0, 3.0))), device="cpu", direction="add-resolution")


def test_what_was_done_before_is_not_done_again(told):
    for sharpness, words in ((NO_RESOLUTION, "no resolution"), ((3.0, 3.0), "a resolution 3 times finer")):
        message = f"the data have {words}.*it was removed before .log insgan_resolution of experiment0: sharpness="
        with pytest.raises(RunFactError, match=message):
            apply(measured(stated(RUN, sharpness=sharpness)), device="cpu")
    for parts in ({"sharpness": SPECTROMETER}, {"ei": 60.0}):
        with pytest.raises(RunFactError, match="the data have the resolution of.*: it was added before .log insgan"):
            apply(measured(stated(RUN, **parts)), device="cpu", direction="add-resolution")
    _, report = apply(measured(stated(RUN, **FACTS, sharpness=SPECTROMETER)), device="cpu")
    assert any("the data have the resolution of instrument=MERLIN" in note for note in report.notes)


# ------------------------------------------------------------------------------------------- from setting to setting


def covariances(count: int, seed: int) -> np.ndarray:
    half = np.random.default_rng(seed).normal(size=(count, 3, 3)) * [1.0, 1e-3, 30.0]
    return np.swapaxes(half, 1, 2) @ half


def test_the_smaller_of_two_covariances():
    a, b = covariances(40, 0), covariances(40, 1)
    found = smaller(a, b)
    size = np.sqrt(np.einsum("nii->ni", a))
    for left in (a - found, b - found, found):
        assert np.linalg.eigvalsh(left / (size[:, :, None] * size[:, None, :])).min() > -1e-9
    np.testing.assert_allclose(found, smaller(b, a), rtol=1e-6, atol=1e-9 * np.abs(a).max())
    units = np.array([1.0, 50.0, 0.01])
    scaled = smaller(a * np.outer(units, units), b * np.outer(units, units))
    np.testing.assert_allclose(scaled, found * np.outer(units, units), rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(smaller(a, 4 * a), a, rtol=1e-9)
    np.testing.assert_allclose(smaller(a, a / 4), a / 4, rtol=1e-9)
    assert not smaller(0 * a, a).any()


def test_what_two_settings_have_in_common():
    spectrum = measured()
    a, b = (setting(*s).on_grid(spectrum) for s in ((60.0, 300.0), (90.0, 400.0)))
    narrowest, widest = ratios(a, b, (0, 3))
    assert narrowest < 1 < widest
    both = finest(a, b, (3, 0))
    assert (both.width <= np.minimum(a.width, b.width) * (1 + 1e-6)).all()
    assert ratios(both, a, (0, 3))[0] > 1 - 1e-6 and ratios(both, b, (0, 3))[0] > 1 - 1e-6
    assert ratios(a, a.sharpened(2.0), (0, 3)) == pytest.approx((0.5, 0.5))


@pytest.mark.parametrize(
    ("ei", "frequency", "directions"),
    [
        (60.0, 600.0, ["remove-resolution"]),
        (60.0, 150.0, ["add-resolution"]),
        (90.0, 400.0, ["remove-resolution", "add-resolution"]),
        (60.0, 301.0, []),
    ],
)
def test_only_the_steps_that_two_settings_need(told, ei, frequency, directions):
    plain = [trusting.told(choose_model(d), None) for d in ("remove-resolution", "add-resolution")]
    spectrum, models = measured(), [Translator(model, "cpu") for model in plain]
    wanted = setting(ei, frequency)
    plan = plan_between(spectrum, setting(), wanted, *models)
    assert [step.translator.card.direction for step in plan.steps] == directions
    result, quality = plan.apply(spectrum)
    assert [d for d in told if told[d].calls] == sorted(directions)
    np.testing.assert_array_equal(result.valid, spectrum.valid & plan.reach.reachable)
    assert quality.bins == result.valid.sum() > 1800
    assert any("the two resolutions agree within 3%" in note for note in plan.notes) == (not directions)
    if len(directions) == 2:
        (removed,), (added,) = told["remove-resolution"].calls, told["add-resolution"].calls
        np.testing.assert_array_equal(removed["finer"], added["finer"])
        assert (added["finer"][:, :2] <= added["width"] * (1 + SAME_WIDTH)).all()
        # what the second is told of the errors is what the first says of them
        np.testing.assert_allclose(np.unique(added["error"][added["valid"] > 0]).size, 1)


def test_the_job_brings_data_to_another_setting(told, tmp_path):
    spectrum = measured()
    shares = []
    result, report = apply(spectrum, device="cpu", to="Ei=90,frequency=400", progress=shares.append)
    assert shares == sorted(shares) and shares[-1] == 1.0
    assert report.model == "remove-resolution-2d and add-resolution-2d"
    assert report.resolution == Setting(**FACTS | {"ei": 90.0, "frequency": 400.0}, sharpness=SPECTROMETER)
    assert result.run.value("ei") == 90.0 and result.run.ei.replaced.value == 60.0
    assert report.run.value("ei") == 60.0
    assert str(Resolution.from_run(result.run)) == "Resolution(MERLIN, Ei 90 meV, chopper G at 400 Hz)"
    assert report.quality.flux_in == pytest.approx(np.nansum(spectrum.signal[result.valid]))
    # the same from a file in slabs, and what was done stands in it
    write_nexus(spectrum, tmp_path / "a.nxs")
    options = ApplyOptions(device="cpu", to="Ei=90,frequency=400", lattice="4,4,4")
    apply_to_file(tmp_path / "a.nxs", tmp_path / "b.nxs", options)
    again = read_nexus(tmp_path / "b.nxs")
    np.testing.assert_allclose(again.signal, result.signal, rtol=1e-5)
    assert again.run.value("resolution") == report.resolution and again.run.value("ei") == 90.0
    assert is_result(tmp_path / "a.nxs", tmp_path / "b.nxs", options)
    assert not is_result(tmp_path / "a.nxs", tmp_path / "b.nxs", options.updated(to="Ei=90,frequency=450"))
    # from no resolution there is nothing to remove, and from a finer one there may be
    for session in told.values():
        session.calls.clear()
    apply(spectrum.replace(run=stated(RUN, sharpness=NO_RESOLUTION)), device="cpu", to="Ei=90")
    assert not told["remove-resolution"].calls and not told["add-resolution"].calls[0]["finer"].any()


def test_bins_that_the_other_setting_cannot_reach_have_no_value(told):
    result, report = apply(measured(), device="cpu", to="Ei=35,frequency=300")
    energy = AXES[3].centers
    assert not result.valid[..., energy > 35].any() and result.valid[..., energy < 20].any()
    assert np.isnan(result.signal[~result.valid]).all()
    assert report.quality.bins == result.valid.sum()
    left_out = measured().valid.sum() - result.valid.sum()
    assert f"{left_out} measured bins are empty in the result: no neutron of its setting can" in report.notes[-1]
    with pytest.raises(RunFactError, match="a neutron of the setting --to Ei=5 can reach none of the valid bins"):
        apply(measured(), device="cpu", to="Ei=5")


@pytest.mark.parametrize(
    ("to", "message"),
    [
        ("Ei=900", "the setting --to Ei=900: Ei = 900 meV is outside the range of MERLIN.*such as --to Ei=38"),
        ("instrument=MAPS", "the setting --to instrument=MAPS: the chopper package is not known"),
        ("instrument=IN5", "the setting --to instrument=IN5: "),
        ("chopper=X", "the setting --to chopper=X: "),
    ],
)
def test_a_setting_that_does_not_exist(told, to, message):
    with pytest.raises(RunFactError, match=message):
        apply(measured(), device="cpu", to=to)


def test_the_quality_of_two_steps():
    one = Quality(flux_in=1.0, flux_out=2.0, bins=5, chi_squared=3.0, compared=4, too_wide=1, distances=[0.1])
    two = Quality(flux_in=2.0, flux_out=3.0, bins=4, too_wide=2, distances=[0.2, 0.3])
    assert vars(one.then(two)) == vars(one) | {"flux_out": 3.0, "too_wide": 2, "distances": [0.1, 0.2, 0.3]}


def misfit(found: Spectrum, expected: Spectrum) -> float:
    both = found.valid & expected.valid
    return float(np.sqrt(np.mean((found.signal - expected.signal)[both] ** 2) / np.mean(expected.signal[both] ** 2)))


def seen(resolution: Resolution) -> Spectrum:
    return convolve(Chain(), AXES, resolution, fwhm=1.0)


def test_untrained_models_bring_a_simulation_near_another_setting(monkeypatch):
    """What the graph knows of physics is enough for most of the way."""
    pytest.importorskip("torch")
    from exports import TorchSession

    from mantid_insgan.learn.generator import Generator

    def session(model, *_):
        return TorchSession(Generator(model.card.direction, 2, channels=4))

    monkeypatch.setattr(translator, "open_session", session)
    monkeypatch.setattr(Translator, "_distance", lambda *_: 0.0)
    models = [Translator(choose_model(d), "cpu") for d in ("remove-resolution", "add-resolution")]
    data, wanted = setting(), setting(90.0, 400.0)
    given, expected = seen(data), seen(wanted)
    result, quality = brought(given, data, wanted, *models)
    assert misfit(given, expected) > 0.2 and misfit(result, expected) < 0.5 * misfit(given, expected)
    assert quality.summary()["flux_ratio"] == pytest.approx(1.0, abs=0.02)


def bundled() -> list[Translator]:
    """The bundled models for two axes."""
    models = [Translator(choose_model(d), "cpu", 1) for d in ("remove-resolution", "add-resolution")]
    assert all(model.takes_target for model in models)
    return models


@pytest.mark.slow
@pytest.mark.parametrize(("ei", "frequency"), [(90.0, 400.0), (120.0, 400.0), (60.0, 150.0)])
def test_bundled_models_bring_a_simulation_near_another_setting(ei, frequency):
    models, data, wanted = bundled(), setting(), setting(ei, frequency)
    given, expected = seen(data), seen(wanted)
    result, _ = brought(given, data, wanted, *models)
    assert misfit(result, expected) < 0.8 * misfit(given, expected)


def at_common_points(spectrum: Spectrum, energies: np.ndarray) -> np.ndarray:
    """The intensity in rows of |Q|, linear between the energies of a powder spectrum; NaN where either is missing."""
    centers = spectrum.axes[1].centers
    return np.stack([np.interp(energies, centers, row) for row in np.where(spectrum.valid, spectrum.signal, np.nan)])


@pytest.mark.slow
@pytest.mark.parametrize(("ei", "other"), [(62, 38), (120, 62)])
def test_bundled_models_bring_a_measurement_near_one_of_another_ei(shared, ei, other):
    """Bi2Fe4O9 in one run with several Ei on MERLIN: what both have measured, apart from a scale."""
    models = bundled()
    folder = shared / "data" / "bi2fe4o9-merlin"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there: it holds the measurements of one run with several Ei")
    run = {"chopper": "G", "frequency": 600.0}
    given, expected = (
        read_nxspe(folder / f"MER40874_Ei{e}.00meV_Rings.nxspe", q_bins=60, q_range=(0.8, 4.0)) for e in (ei, other)
    )
    data, wanted = (Resolution.from_run(s.run.updated("test", **run)) for s in (given, expected))
    result, _ = brought(given, data, wanted, *models)
    energies = np.linspace(0.15 * other, 0.7 * other, 60)
    before, after, truth = (at_common_points(s, energies) for s in (given, result, expected))
    both = np.isfinite(before) & np.isfinite(after) & np.isfinite(truth)
    assert both.sum() > 1000

    def distance(values: np.ndarray) -> float:
        scale = (values[both] @ truth[both]) / (values[both] @ values[both])
        return float(np.sqrt(np.mean((scale * values - truth)[both] ** 2) / np.mean(truth[both] ** 2)))

    print(f"from {ei} to {other} meV: {distance(before):.3f} as measured, {distance(after):.3f} brought")
    assert distance(after) < distance(before)


# ------------------------------------------------------------------------------------- what the result says of itself


def test_the_resolution_of_a_run():
    plain = Resolution.of_spectrometer(RUN)
    assert Resolution.from_run(RUN).sharpness == SPECTROMETER
    finer = stated(RUN, sharpness=(3.0, 2.0), width_factor=1.3)
    found = Resolution.from_run(finer)
    assert found.sharpness == (3.0, 2.0) and found.width_factor == 1.3
    assert "3/2 times finer" in str(found) and "finer" not in str(plain)
    assert Resolution.of_spectrometer(finer).sharpness == SPECTROMETER
    assert Resolution.from_run(finer, width_factor=1.1).width_factor == 1.1
    with pytest.raises(RunFactError, match=r"the data have no resolution .log insgan_resolution .*--resolution none"):
        Resolution.from_run(stated(RUN, sharpness=NO_RESOLUTION))
    narrow = convolve(Chain(), AXES, Resolution.from_run(stated(RUN, sharpness=(3.0, 3.0))), fwhm=1.0)
    assert np.nanmax(narrow.signal) > 1.1 * np.nanmax(seen(plain).signal)


def test_a_result_is_read_again_with_its_resolution(told, tmp_path):
    apply_to_file(DATA / "measured.nxs", tmp_path / "out.nxs", ApplyOptions(device="cpu", sharpen=2.0))
    run = read_nexus(tmp_path / "out.nxs").run
    assert run.value("resolution").sharpness == (2.0, 2.0)
    assert run.resolution.source == "log insgan_resolution of experiment0"
    assert run.ei.source.startswith("log "), "a fact that agrees keeps its source"
    assert Resolution.from_run(run).sharpness == (2.0, 2.0)
    sheet = inspect_file(tmp_path / "out.nxs")
    assert "resolution: the data have a resolution 2 times finer than that of instrument=MAPS" in sheet.as_text()
    assert sheet.as_dict()["run"]["resolution"]["value"] == str(run.value("resolution"))
    assert sheet.as_dict()["missing_for_apply"] is None
    assert inspect_file(DATA / "measured.nxs").as_dict()["run"]["resolution"] is None
    with pytest.raises(RunFactError, match="it was removed before"):
        apply_to_file(tmp_path / "out.nxs", tmp_path / "twice.nxs", ApplyOptions(device="cpu"))
    # what a later job says replaces what an earlier one said
    add = ApplyOptions(device="cpu", direction="add-resolution")
    apply_to_file(tmp_path / "out.nxs", tmp_path / "back.nxs", add)
    assert read_nexus(tmp_path / "back.nxs").run.value("resolution").sharpness == SPECTROMETER


def test_the_history_says_what_was_asked_for(told, tmp_path):
    from mantid_insgan.io.writer import last_record

    source, target, options = DATA / "measured.nxs", tmp_path / "out.nxs", ApplyOptions(device="cpu")
    apply_to_file(source, target, options)
    parameters = last_record(target)["parameters"]
    assert parameters["sharpen"] == SHARPEN and "sharpness=3" in parameters[job.RESULT]
    assert is_result(source, target, options) and not is_result(source, target, options.updated(sharpen=2.0))


def test_facts_given_as_options_are_read_again(told, tmp_path):
    """A template keeps its logs, and the result says for what setting it was made."""
    ei = read_nexus(DATA / "measured.nxs").run.value("ei")
    options = ApplyOptions(device="cpu", ei=0.9 * ei, width_factor=1.2)
    apply_to_file(DATA / "measured.nxs", tmp_path / "out.nxs", options)
    run = read_nexus(tmp_path / "out.nxs").run
    assert run.value("ei") == pytest.approx(0.9 * ei) and run.ei.replaced.value == ei
    assert Resolution.from_run(run).width_factor == 1.2


def test_a_fit_of_a_result_takes_its_resolution():
    from mantid_insgan.fit.measured import Dataset

    data = Dataset(measured(stated(RUN, sharpness=(3.0, 3.0))))
    assert data.resolution.sharpness == (3.0, 3.0)
    with pytest.raises(RunFactError, match="the data have no resolution"):
        Dataset(measured(stated(RUN, sharpness=NO_RESOLUTION)))


def test_results_of_the_autoreduction_are_named_by_what_was_done():
    from mantid_insgan.mantid_support.autoreduction import output_of

    found = [output_of("a.nxs", "out", ApplyOptions(**o)).name for o in ({}, {"to": "Ei=38"})]
    assert found == ["a_sharpened.nxs", "a_brought.nxs"]
