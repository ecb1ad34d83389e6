"""Resolution: instruments and their errors, kinematics, covariance, Monte Carlo, Tobyfit's tables, the width factor."""

import importlib.util
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mantid_insgan.core.constants import FWHM_PER_SIGMA, HBAR2_OVER_2M
from mantid_insgan.core.run import Fact, Lattice, Run
from mantid_insgan.core.spectrum import Axis, Spectrum
from mantid_insgan.errors import DeviceError, InputError, RunFactError
from mantid_insgan.fit.vanadium import fit_width_factor
from mantid_insgan.instruments import Orientation, Resolution, Sample, choppers, known_choppers, known_instruments
from mantid_insgan.instruments.beam import Divergence, Tube, absorption_moments
from mantid_insgan.instruments.catalogue import canonical_name, catalogue, read_catalogue
from mantid_insgan.instruments.choppers import limits, model_data
from mantid_insgan.instruments.covariance import DEVIATIONS, lab_covariance, sensitivity, variances
from mantid_insgan.instruments.elastic_line import ElasticLine
from mantid_insgan.instruments.montecarlo import exact_points, trace, unit_draws
from mantid_insgan.io import facts as facts_of_files

ROOT = Path(__file__).resolve().parents[1]
MERLIN = "excerpt/bi2fe4o9-merlin/MER40874_Ei62.00meV_Rings.nxspe"

#: A setting that transmits, for each instrument: Ei (meV), chopper, frequency (Hz).
SETTINGS = {
    "MAPS": (100.0, "A", 400.0),
    "MAPS-2000": (100.0, "S", 300.0),
    "MERLIN": (50.0, "G", 300.0),
    "MARI": (100.0, "A", 300.0),
    "LET": (10.0, "High Flux", 240.0),
    "SEQUOIA": (50.0, "ARCS-100-1.5-AST", 240.0),
    "ARCS": (100.0, "ARCS-100-1.5-AST", 300.0),
    "CNCS": (12.0, "High Flux", 300.0),
    "HYSPEC": (30.0, "OnlyOne", 180.0),
}


def spectrum(*axes: Axis, **fields) -> Spectrum:
    shape = tuple(len(a) for a in axes)
    return Spectrum(np.ones(shape), np.ones(shape), axes, **fields)


def energy_axis(low: float, high: float, count: int) -> Axis:
    return Axis("DeltaE", np.linspace(low, high, count + 1), "DeltaE")


def hkl(name: str, low: float, high: float, count: int) -> Axis:
    return Axis(name, np.linspace(low, high, count + 1), "r.l.u.", "HKL")


def run(**values) -> Run:
    return Run(**{k: Fact(v, "test") for k, v in values.items()})


def benchmark(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


# --- instruments ----------------------------------------------------------------------------------------------------


def test_every_resins_chopper_spectrometer_is_known():
    assert {catalogue()[n].resins for n in known_instruments()} == {
        "MAPS", "MERLIN", "MARI", "LET", "SEQUOIA", "ARCS", "CNCS", "HYSPEC",
    }  # fmt: skip
    assert set(SETTINGS) == set(known_instruments())


@pytest.mark.parametrize("name", SETTINGS)
def test_instrument_facts_have_sources(name):
    entry = catalogue()[name]
    assert entry.sources and all(len(s) > 20 for s in entry.sources)
    assert (entry.aperture is None) != (entry.guide is None)
    assert entry.moderator_sample > entry.chopper_sample > 0


@pytest.mark.parametrize(
    ("name", "expected"),
    [("MER", "MERLIN"), ("seq", "SEQUOIA"), ("Map", "MAPS"), ("maps-before-2017", "MAPS-2000"), ("ARC", "ARCS")],
)
def test_aliases_are_understood_in_files_and_by_users(name, expected):
    assert canonical_name(name) == expected == facts_of_files.instrument_name(f" {name}")
    assert Resolution(name, *SETTINGS[expected]).instrument == expected


def test_names_of_other_instruments_in_files_are_kept_in_capitals():
    assert canonical_name("Nimrod") is None
    assert (facts_of_files.instrument_name("Nimrod"), facts_of_files.instrument_name(" ")) == ("NIMROD", None)


def table(**changes) -> dict:
    """A table of instruments.toml with some keys changed; those that are None are left out."""
    good = {"resins": "MAPS", "facility": "ISIS", "period": "now", "aliases": ["M"], "moderator_sample": 12.0}
    good |= {"moderator_angle": 32.0, "chopper_sample": 1.8, "sample_detector": 6.0, "two_theta": [3.0, 60.0]}
    good |= {"sources": ["a paper"], "aperture": {"distance": 10.0, "width": 0.1, "height": 0.1}}
    good |= {"detector": {"diameter": 0.025, "pixel_height": 0.02, "pressure": 10.0, "time_bin": 1.0}} | changes
    return {key: value for key, value in good.items() if value is not None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"moderator_sample": None}, r"\[OTHER\]: moderator_sample missing.*correct that entry"),
        ({"colour": "red"}, r"\[OTHER\]: unknown key colour; expected aliases, aperture"),
        ({"sample_detector": -6.0}, r"\[OTHER\]: sample_detector is -6.0, expected a positive number"),
        ({"sample_detector": "6"}, r"sample_detector is '6', expected a positive number"),
        ({"chopper_sample": 13.0}, r"chopper_sample is 13, expected less than moderator_sample"),
        ({"aperture": None}, r"either an aperture or a guide"),
        ({"aperture": {"distance": 10.0, "width": 0.1}}, r"\[OTHER.aperture\]: height missing"),
        ({"tau": [70.0]}, r"tau has 1 numbers, expected two"),
        ({"sources": []}, r"sources is empty"),
        ({"aliases": ["one"]}, r"the name ONE already belongs to ONE"),
    ],
)
def test_a_damaged_catalogue_says_where(changes, message):
    good = read_catalogue({"ONE": table()})["ONE"]
    assert (good.detector.time_bin, good.aliases, good.guide) == (1.0, ("M",), None)
    with pytest.raises(InputError, match=message):
        read_catalogue({"ONE": table(), "OTHER": table(**{"aliases": [], **changes})})


def test_squared_widths_of_resins_are_those_written_out():
    """Private methods of ResINS: their units and formulas, worked out by hand.

    S chopper of MAPS: slits of 2.899 mm, curvature 1.3 m, drum of 49 mm. LET's last pair of disks: 31 mm of slot and
    20 mm of guide at a radius of 290 mm, the FWHM half of the full opening. MAPS' moderator: measured, 20 us at
    1.05928 Angstrom.
    """
    omega, speed = 2 * np.pi * 300, 437.3934 * np.sqrt(100)
    gamma = 2 * 0.049**2 / 0.002899 * abs(1 / 1.3 - 2 * omega / speed)
    assert gamma < 1
    variance = (0.002899 / (2 * 0.049 * omega)) ** 2 / 6 * (1 - gamma**4 / 10) / (1 - gamma**2 / 6)
    burst, first_disk, pulse = choppers.squared_widths(model_data("MAPS", "S"), 100.0, (300.0,), moderator=False)
    assert burst == pytest.approx(8 * np.log(2) * variance, rel=1e-5) and first_disk is pulse is None

    opening = 0.051 / (2 * np.pi * 0.290 * 2 * 240)
    burst, first_disk, _ = choppers.squared_widths(model_data("LET", "High Flux"), 5.0, (240.0, 120.0), moderator=False)
    assert burst == pytest.approx((opening / 2) ** 2, rel=1e-9) and first_disk > burst

    ei = 81.80421 / 1.05928**2
    assert choppers.squared_widths(model_data("MAPS", "S"), ei, (300.0,), moderator=True)[2] == pytest.approx(
        (20e-6) ** 2, rel=1e-4
    )


def test_a_changed_resins_is_named_with_the_remedy(monkeypatch):
    from resins.models.pychop import PyChopModel, PyChopModelFermi

    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert f"resins=={choppers.RESINS_VERSION}" in pins
    message = r"ResINS .* does not give the widths .* as ResINS 0.1.0 does .*pip install 'resins==0.1.0'"
    with monkeypatch.context() as patch:
        patch.delattr(PyChopModelFermi, "_get_chopper_width_squared")
        patch.delattr(PyChopModel, "_get_chopper_width_squared")
        with pytest.raises(DeviceError, match=message):
            Resolution("MAPS", 100, "S", 300)
    with monkeypatch.context() as patch:
        patch.setattr(PyChopModel, "_get_moderator_width_squared", lambda: 1.0)
        with pytest.raises(DeviceError, match=message):
            Resolution("MAPS", 100, "S", 300, time_model="pychop")


@pytest.mark.parametrize("name", SETTINGS)
def test_widths_are_finite_and_shrink_with_energy_transfer(name):
    ei, chopper, frequency = SETTINGS[name]
    widths = Resolution(name, ei, chopper, frequency).fwhm_energy(np.linspace(0, 0.9 * ei, 10))
    assert np.isfinite(widths).all() and (np.diff(widths) < 0).all()
    assert 0.005 * ei < widths[0] < 0.12 * ei


#: Energy width with this package's facts over PyChop's at E = 0 and Ei / 2, a sample of no size in both, and why they
#: differ. PyChop has a bare aperture at the face of the moderator and no guide.
OVER_PYCHOP = {
    "MAPS": ((1.029, 1.056), "the guide lets as much in as a wider aperture"),
    "MAPS-2000": ((1.005, 1.005), "an aperture of 70 instead of 94 mm, 25.4 mm tubes"),
    "MERLIN": ((0.989, 1.025), "chopper 1.8 instead of 1.925 m before the sample; aperture"),
    "MARI": ((0.998, 0.996), "aperture; tubes"),
    "LET": ((1.017, 1.013), "PyChop has no detector for LET"),
    "SEQUOIA": ((1.137, 1.056), "the guide's divergence across the turning chopper, no tilted moderator in view"),
    "ARCS": ((0.918, 0.910), "the guide's divergence is less than that of PyChop's aperture of 175 mm"),
    "CNCS": ((1.002, 1.003), "tubes"),
    "HYSPEC": ((1.000, 1.000), "crystals behind the chopper"),
}


def pychop(resolution: Resolution):
    """PyChop's facts for a setting, without a sample, and its widths: sigma (meV) at 40 energy transfers."""
    from resins.models.pychop import PyChopModelFermi, PyChopModelNonFermi

    data = replace(model_data(resolution.instrument, resolution.chopper), sample=None)
    model = PyChopModelFermi if hasattr(data, "pslit") else PyChopModelNonFermi
    energy, sigma = model._precompute_resolution(data, resolution.ei, list(resolution.frequencies))
    return data, model._get_distances(data.choppers), energy, sigma


def without_sample(name: str) -> Resolution:
    ei, chopper, frequency = SETTINGS[name]
    return Resolution(name, ei, chopper, frequency, time_model="pychop", sample=Sample("cuboid", 0, 0, 0))


@pytest.mark.parametrize("name", OVER_PYCHOP)
def test_with_the_same_facts_energy_widths_are_those_of_resins(name):
    """Flight paths, aperture, tilt, chopper and tubes as PyChop has them: the two formulas are the same."""
    r = without_sample(name)
    data, (moderator_chopper, aperture_chopper, first_disk), energy, theirs = pychop(r)
    to_aperture = aperture_chopper + data.d_chopper_sample
    radius = 0.5 * (1 - 0.063) * data.detector["depth"] if data.detector else 0.0  # PyChop leaves the wall out
    beam = replace(
        r.beam,
        source_chopper=moderator_chopper - (0 if hasattr(data, "pslit") else first_disk),
        chopper_sample=data.d_chopper_sample,
        sample_detector=data.d_sample_detector,
        moderator_sample=to_aperture,
        moderator_tilt=np.tan(np.radians(data.theta)),
        chopper_turn=2 * np.pi * r.frequency,  # of disks, too
        divergence=Divergence(to_aperture, data.aperture_width / np.sqrt(12), 0.0),
        tube=Tube(radius, 0.0, 10.0, 0.0),
    )
    along = np.tile([0.0, 0.0, 1.0], (len(energy), 1))
    kf = beam.kf(energy)
    ours = np.sqrt((sensitivity(beam, along, kf)[:, 3] ** 2 * variances(beam, kf)).sum(1))
    assert len(theirs) == 40
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)  # PyChop's absorption in a tube is a fit


@pytest.mark.parametrize("name", OVER_PYCHOP)
def test_with_our_facts_energy_widths_differ_from_resins_as_stated(name):
    r = without_sample(name)
    _, _, energy, theirs = pychop(r)
    assert energy[[0, 20]] == pytest.approx([0, r.ei / 2])
    ratio = r.fwhm_energy(energy[[0, 20]]) / (FWHM_PER_SIGMA * theirs[[0, 20]])
    assert ratio == pytest.approx(OVER_PYCHOP[name][0], abs=0.002)


def test_names_are_understood_in_any_case():
    r = Resolution("maps", 100, "SLOPPY", 300)
    assert (r.instrument, r.chopper, r.frequency) == ("MAPS", "S", 300.0)
    assert Resolution("let", 5, "high flux", 200).frequencies == (200.0, 100.0)
    assert Resolution("CNCS", 5, "high resolution", (300, 120)).frequencies == (300.0, 120.0)
    assert Resolution("hyspec", 30).chopper == "OnlyOne"
    assert "MAPS" in repr(r) and "300 Hz" in repr(r)


def test_frequencies_between_those_of_resins_are_accepted():
    assert Resolution("MERLIN", 62, "G", 599.2).fwhm_energy(0.0) == pytest.approx(
        float(Resolution("MERLIN", 62, "G", 600).fwhm_energy(0.0)), rel=0.01
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("IN5", 5), r"instrument 'IN5' is not known; the instruments are MAPS, .*HYSPEC.*--instrument"),
        (("MAPS", 100, "Z"), r"chopper package 'Z' is not known for MAPS; it has A, B, S.*--chopper"),
        (("MERLIN", 400, "G", 600), r"Ei = 400 meV is outside the range of MERLIN with chopper G, 0 to 181 meV.*--ei"),
        (("MAPS", 0, "S", 200), r"Ei = 0 meV is outside the range of MAPS"),
        (("MAPS", float("nan"), "S", 200), r"Ei = nan meV is outside"),
        (("MAPS", 100, "S", 900), r"frequency of 900 Hz is outside the range of MAPS, 50 to 600 Hz.*--frequency"),
        (("MAPS", 100, "S", (100, 200)), r"2 chopper frequencies were given; MAPS has 1 to set"),
        (
            ("MAPS", 7, "A", 600),
            r"A chopper of MAPS at 600 Hz transmits no neutrons of 7 meV, only those above 10[67] meV.*lower",
        ),
        (("MARI", 500, "A", 50), r"transmits no neutrons of 500 meV, only those above 1.0. meV and below 11. meV"),
    ],
)
def test_bad_settings_say_what_is_known(arguments, message):
    with pytest.raises(RunFactError, match=message):
        Resolution(*arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width_factor": 0}, "width factor is 0"),
        ({"mosaic": -1}, "mosaic .* is -1"),
        ({"divergence_vertical": -0.1}, "divergence .* is -0.1"),
        ({"time_model": "mcstas"}, "time model 'mcstas' is not known for MAPS; it has tobyfit and pychop"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(RunFactError, match=message):
        Resolution("MAPS", 100, "S", 300, **options)


def test_bad_samples_are_refused():
    with pytest.raises(InputError, match="'cone' is not known"):
        Sample("cone")
    with pytest.raises(InputError, match="none of them negative"):
        Sample("cuboid", -0.01)


def test_tobyfit_pulse_only_where_tobyfit_has_one():
    with pytest.raises(RunFactError, match="time model 'tobyfit' is not known for ARCS; it has pychop"):
        Resolution("ARCS", 100, frequency=300, time_model="tobyfit")


# --- runs -----------------------------------------------------------------------------------------------------------


def test_from_run_takes_the_facts_and_the_overrides():
    facts_of_run = run(instrument="MERLIN", ei=62.0, chopper="gd", frequency=600.0, lattice=Lattice(4, 4, 4))
    r = Resolution.from_run(facts_of_run, mosaic=0.5)
    assert (r.instrument, r.ei, r.chopper, r.frequency, r.mosaic) == ("MERLIN", 62.0, "G", 600.0, 0.5)
    assert r.lattice.a == 4
    assert Resolution.from_run(facts_of_run, ei=38.0).ei == 38.0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, r"the instrument is not known.*--instrument.*one of MAPS,.*HYSPEC"),
        ({"instrument": "MERLIN"}, r"incident energy is not known.*--ei.*0 to 181 meV on MERLIN"),
        ({"instrument": "MERLIN", "ei": 62.0}, r"chopper package is not known.*--chopper.*one of G, S on MERLIN"),
        (
            {"instrument": "MERLIN", "ei": 62.0, "chopper": "G"},
            r"chopper frequency is not known.*--frequency.*50 to 600 Hz on MERLIN",
        ),
    ],
)
def test_a_missing_fact_is_asked_for_by_option(values, message):
    with pytest.raises(RunFactError, match=message):
        Resolution.from_run(run(**values))


def test_the_only_chopper_package_need_not_be_named():
    assert Resolution.from_run(run(instrument="HYSPEC", ei=30.0, frequency=180.0)).chopper == "OnlyOne"


def test_importing_is_light():
    code = (
        "import sys, mantid_insgan.instruments; "
        "print([m for m in ('scipy', 'resins', 'torch', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


# --- widths of spectra ----------------------------------------------------------------------------------------------


def test_powder_widths():
    r = Resolution("MERLIN", 62, "G", 600)
    grid = spectrum(Axis("|Q|", np.linspace(0, 11, 45), "Angstrom^-1"), energy_axis(-10, 62, 72))
    widths = r.fwhm(grid)
    assert widths.shape == (2, 44, 72) and np.isfinite(widths).all() and (widths > 0).all()
    assert widths[1, 20, 10] == pytest.approx(float(r.fwhm_energy(0.5)), rel=0.05)
    bins = r.fwhm_in_bins(grid)
    assert bins.dtype == np.float32 and bins == pytest.approx(widths / np.array([0.25, 1.0])[:, None, None], rel=1e-6)


def test_elastic_q_width_is_that_of_the_angles():
    """At E = 0 |Q| = 2 k sin(theta): with perfect timing dQ = k cos(theta) d(2 theta) (Bragg's law)."""
    r = Resolution("MAPS", 100, "S", 300, divergence_horizontal=0.5, sample=Sample("cuboid", 0, 0, 0))
    still = replace(r.beam.source, sigma=1e-15), replace(r.beam.chopper, sigma=1e-15)
    r.beam = replace(
        r.beam, source=still[0], chopper=still[1], chopper_turn=0.0, moderator_tilt=0.0, tube=Tube(0, 0, 1, 0)
    )
    q = np.array([2.0, 6.0])
    grid = spectrum(Axis("|Q|", np.linspace(1, 7, 4), "Angstrom^-1"), Axis("DeltaE", [-1, 1], "meV"))
    widths = r.fwhm(grid)[0, [0, 2]]
    cosine = np.sqrt(1 - (q / (2 * r.beam.ki)) ** 2)
    assert widths == pytest.approx(r.beam.ki * cosine * np.radians(0.5), rel=1e-6)


def test_order_and_squeezing_follow_the_spectrum():
    r = Resolution("MAPS", 100, "S", 300, lattice=Lattice(5.4, 5.4, 19.0), orientation=((0, 0, 1), (1, 0, 0)))
    h, k, cut = hkl("[H,0,0]", -1, 1, 8), hkl("[0,K,0]", -1, 1, 6), hkl("[0,0,L]", -10, 10, 1)
    grid = spectrum(energy_axis(0, 70, 5), h, cut, k)
    assert grid.open_axes == (0, 1, 3)
    turned = spectrum(h, k, cut, energy_axis(0, 70, 5))
    assert r.fwhm(grid) == pytest.approx(np.transpose(r.fwhm(turned), (0, 3, 1, 2))[[2, 0, 1]])
    assert r.fwhm_in_bins(grid).shape == (3, *grid.squeeze().shape)


def test_integrated_energy_counts_with_its_centre():
    r = Resolution("MAPS", 100, "S", 300, lattice=Lattice(5.4, 5.4, 19.0), orientation=((0, 0, 1), (1, 0, 0)))
    axes = hkl("[H,0,0]", -1, 1, 8), hkl("[0,K,0]", -1, 1, 8), hkl("[0,0,L]", -10, 10, 1)
    flat = r.fwhm(spectrum(*axes, energy_axis(20, 30, 1)))
    open_ = r.fwhm(spectrum(*axes, energy_axis(20, 30, 3)))
    assert flat.shape == (2, 8, 8) and flat == pytest.approx(open_[:2, :, :, 1])


def test_energy_cut_without_momentum_and_cut_in_q():
    r = Resolution("LET", 5, "High Flux", 240)
    alone = r.fwhm(spectrum(energy_axis(-1, 4, 20)))
    assert alone.shape == (1, 20) and np.isfinite(alone).all()
    cut = r.fwhm(spectrum(Axis("|Q|", [0.9, 1.1], "Angstrom^-1"), energy_axis(-1, 4, 20)))
    assert cut == pytest.approx(alone, rel=0.05)


def test_units_of_reciprocal_space_are_consistent():
    """The same points in HKL and in Q_sample: widths differ by 2 pi / a."""
    a, ub = 4.0, np.eye(3) / 4.0
    r = Resolution("MERLIN", 50, "G", 300, mosaic=0.3, lattice=Lattice(a, a, a, ub=ub))
    b = 2 * np.pi / a
    names = ("[H,0,0]", "[0,K,0]", "[0,0,L]")
    in_hkl = [hkl(n, -0.4, 1.6, 4) for n in names]
    in_q = [Axis(f"Q_sample_{x}", ax.edges * b, "Angstrom^-1", "QSample") for x, ax in zip("xyz", in_hkl, strict=True)]
    e = energy_axis(5, 35, 3)
    first, second = r.fwhm(spectrum(*in_hkl, e)), r.fwhm(spectrum(*in_q, e))
    assert first[:3] * b == pytest.approx(second[:3])
    assert first[3] == pytest.approx(second[3])


def test_diagonal_axes_have_the_width_along_their_direction():
    """For (h, h, 0) and (-k, k, 0) the widths follow from the covariance of (h, k)."""
    r = Resolution("MAPS", 100, "S", 300, lattice=Lattice(5.4, 5.4, 19.0), orientation=((0, 0, 1), (1, 0, 0)))
    straight = r.frame(
        spectrum(hkl("[H,0,0]", 0, 1, 2), hkl("[0,K,0]", 0, 1, 2), hkl("[0,0,L]", -9, 9, 1), energy_axis(0, 9, 3))
    )
    diagonal = r.frame(
        spectrum(hkl("[H,H,0]", 0, 1, 2), hkl("[-K,K,0]", 0, 1, 2), hkl("[0,0,L]", -9, 9, 1), energy_axis(0, 9, 3))
    )
    c = r.covariance(straight.at([[0.3, 0.7, 0, 20.0]]))[0]
    d = r.covariance(diagonal.at([[0.5, 0.2, 0, 20.0]]))[0]
    assert d[0, 0] == pytest.approx((c[0, 0] + c[1, 1] + 2 * c[0, 1]) / 4)
    assert d[1, 1] == pytest.approx((c[0, 0] + c[1, 1] - 2 * c[0, 1]) / 4)


def test_points_obey_the_kinematics():
    """|ki - Q| = kf(E), and for one crystal angle (h, k) are kept while l follows."""
    lattice = Lattice(5.4, 5.5, 19.0, 90, 95, 90)
    r = Resolution("MAPS", 100, "S", 300, lattice=lattice, orientation=((0, 0, 1), (1, 0, 0)))
    grid = spectrum(
        hkl("[H,0,0]", -1, 1, 5), hkl("[0,K,0]", -1, 1, 5), hkl("[0,0,L]", -30, 30, 1), energy_axis(0, 70, 5)
    )
    p = r.frame(grid).points()
    final = np.array([0, 0, r.beam.ki]) - p.q
    assert HBAR2_OVER_2M * (r.beam.ki**2 - (final**2).sum(1)) == pytest.approx(p.energy)
    wanted = np.stack(np.meshgrid(*[a.centers for a in grid.axes], indexing="ij"), -1).reshape(-1, 4)
    assert p.sample[:, :2] == pytest.approx(wanted[:, :2], abs=1e-9)
    assert p.sample[:, 3] == pytest.approx(wanted[:, 3])


def test_a_turned_crystal_keeps_q_and_its_height():
    """Without an orientation Q is turned about the vertical: the point in (h, k, l) is the one asked for."""
    r = Resolution("MERLIN", 50, "G", 300, lattice=Lattice(4.0, 4.0, 4.0, ub=np.eye(3) / 4.0))
    grid = spectrum(
        hkl("[H,0,0]", 0.5, 2, 3), hkl("[0,K,0]", -0.3, 0.3, 3), hkl("[0,0,L]", 0.5, 2, 3), energy_axis(0, 9, 3)
    )
    p = r.frame(grid).points()
    wanted = np.stack(np.meshgrid(*[a.centers for a in grid.axes], indexing="ij"), -1).reshape(-1, 4)
    assert p.sample == pytest.approx(wanted, abs=1e-9)
    assert p.q[:, 1] == pytest.approx(2 * np.pi / 4 * wanted[:, 1], abs=1e-9)
    final = np.array([0, 0, r.beam.ki]) - p.q
    assert HBAR2_OVER_2M * (r.beam.ki**2 - (final**2).sum(1)) == pytest.approx(p.energy, abs=1e-9)


def test_a_large_grid_is_interpolated_close_to_the_truth(monkeypatch):
    r = Resolution("MERLIN", 62, "G", 600)
    grid = spectrum(Axis("|Q|", np.linspace(2, 6, 121), "Angstrom^-1"), energy_axis(-5, 30, 140))
    exact = r.fwhm(grid)
    monkeypatch.setattr("mantid_insgan.instruments.grid._DENSE", 900)
    assert r.fwhm(grid) == pytest.approx(exact, rel=5e-3)


def test_bins_that_no_neutron_reaches_get_finite_widths():
    r = Resolution("MAPS", 50, "S", 200)
    axes = Axis("|Q|", np.linspace(0, 20, 41), "Angstrom^-1"), energy_axis(-20, 60, 40)
    valid = np.ones((40, 40), bool)
    valid[:, axes[1].centers > 50] = False
    widths = r.fwhm(spectrum(*axes, valid=valid))
    assert np.isfinite(widths).all() and (widths > 0).all()


def test_measured_bins_above_ei_are_refused():
    r = Resolution("MAPS", 50, "S", 200)
    with pytest.raises(RunFactError, match="lies above the incident energy, 50 meV.*up to 50 meV.*--ei"):
        r.fwhm(spectrum(Axis("|Q|", np.linspace(0, 5, 6), "Angstrom^-1"), energy_axis(0, 60, 12)))
    with pytest.raises(RunFactError, match="55 meV lies above the incident energy"):
        r.fwhm_energy([10.0, 55.0])


@pytest.mark.parametrize(
    ("axes", "error", "message"),
    [
        ([Axis("|Q|", [0, 1, 2], "Angstrom^-1")], InputError, "include no energy transfer, or more than one"),
        ([hkl("[H,0,0]", 0, 1, 2), energy_axis(0, 9, 3)], RunFactError, "lattice is not known.*--lattice a,b,c"),
        ([Axis("path", [0, 1, 2], "1"), energy_axis(0, 9, 3)], InputError, "'path'.*not recognised as a momentum axis"),
        (
            [Axis("|Q|", [0, 1, 2], "Angstrom^-1"), Axis("Q_x", [0, 1], "Angstrom^-1"), energy_axis(0, 9, 3)],
            InputError,
            r"a \|Q\| axis and another momentum axis",
        ),
    ],
)
def test_axes_that_cannot_be_placed(axes, error, message):
    with pytest.raises(error, match=message):
        Resolution("MAPS", 50, "S", 200).fwhm(spectrum(*axes))


def test_crystal_axes_that_cannot_be_placed():
    twice = spectrum(hkl("[H,H,0]", 0, 1, 2), hkl("[-H,-H,0]", 0, 1, 2), energy_axis(0, 9, 3))
    with pytest.raises(InputError, match="do not point in independent directions"):
        Resolution("MAPS", 50, "S", 200, lattice=Lattice(4, 4, 4)).fwhm(twice)
    flat = spectrum(hkl("[H,0,0]", 0, 1, 2), energy_axis(0, 9, 3))
    with pytest.raises(InputError, match="has no volume"):
        Resolution("MAPS", 50, "S", 200, lattice=Lattice(4, 4, 4, 60, 60, 120)).fwhm(flat)
    parallel = Resolution("MAPS", 50, "S", 200, lattice=Lattice(4, 4, 4), orientation=Orientation((1, 0, 0), (2, 0, 0)))
    with pytest.raises(RunFactError, match="span no scattering plane"):
        parallel.fwhm(flat)
    for ub in (np.zeros((3, 3)), np.diag([0.25, 0.25, 0.0]), np.eye(3) / 3, np.full((3, 3), np.nan)):
        with pytest.raises(RunFactError, match=r"UB matrix .* is not that of the lattice.*SetUB.*--lattice a,b,c"):
            Resolution("MAPS", 50, "S", 200, lattice=Lattice(4, 4, 4, ub=ub)).fwhm(flat)
    unnamed = spectrum(Axis("momentum", [0, 1, 2], "r.l.u."), energy_axis(0, 9, 3))
    with pytest.raises(InputError, match="which direction in .h, k, l."):
        Resolution("MAPS", 50, "S", 200, lattice=Lattice(4, 4, 4)).fwhm(unnamed)


# --- covariance and Monte Carlo -------------------------------------------------------------------------------------

DIRECTION = np.array([-0.36, 0.18, np.sqrt(1 - 0.36**2 - 0.18**2)])


@pytest.mark.parametrize("name", ["MAPS", "MERLIN", "LET", "HYSPEC"])
def test_sensitivity_is_the_derivative_of_the_exact_path(name):
    """Central differences of `trace` with respect to each deviation."""
    r = Resolution(name, *SETTINGS[name], mosaic=0.5)
    kf = float(r.beam.kf(0.4 * r.ei))
    sigma = np.maximum(np.sqrt(variances(r.beam, [kf])[0]), 1e-9)
    step = np.diag(1e-3 * sigma)
    ends = trace(r.beam, DIRECTION, kf, np.concatenate([step, -step]))
    numeric = (ends[: len(DEVIATIONS)] - ends[len(DEVIATIONS) :]) / 2e-3  # (14, 4), per standard deviation
    linear = (sensitivity(r.beam, DIRECTION, kf)[0] * sigma).T
    scale = np.abs(linear).max(0)
    assert numeric / scale == pytest.approx(linear / scale, abs=1e-5)


@pytest.mark.parametrize("name", ["MAPS", "MERLIN", "LET", "HYSPEC"])
def test_monte_carlo_and_covariance_agree_in_the_gaussian_limit(name):
    """Exact paths with narrow Gaussian deviations: variances to 1 %, correlations to 0.01."""
    r = Resolution(name, *SETTINGS[name], mosaic=0.5)
    kf = float(r.beam.kf(0.5 * r.ei))
    expected = lab_covariance(r.beam, DIRECTION, kf)[0]
    draws = unit_draws(r.beam, 200_000, np.random.default_rng(1), gaussian=True)
    draws = np.concatenate([draws, -draws])  # antithetic: odd orders cancel
    found = np.cov((exact_points(r.beam, DIRECTION, kf, 0.05 * draws) / 0.05).T)
    spread = np.sqrt(np.diag(expected))
    assert np.diag(found) == pytest.approx(np.diag(expected), rel=0.01)
    assert found / np.outer(spread, spread) == pytest.approx(expected / np.outer(spread, spread), abs=0.01)


@pytest.mark.parametrize("shape", ["cuboid", "cylinder", "annulus", "sphere"])
def test_draws_have_zero_mean_and_unit_variance(shape):
    r = Resolution("MAPS", 100, "S", 300, sample=Sample(shape))
    draws = unit_draws(r.beam, 200_000, np.random.default_rng(2))
    assert draws.mean(0) == pytest.approx(np.zeros(14), abs=0.01)
    assert np.cov(draws.T) == pytest.approx(np.eye(14), abs=0.02)
    skew = (draws**3).mean(0)
    assert skew[0] == pytest.approx(2 / np.sqrt(3), rel=0.05)  # chi-squared of t^2
    assert skew[1:] == pytest.approx(np.zeros(13), abs=0.06)


def test_draws_repeat_with_the_seed():
    r = Resolution("LET", 5, "High Flux", 240)
    one, two = (unit_draws(r.beam, 100, np.random.default_rng(7)) for _ in range(2))
    assert np.array_equal(one, two)


def test_deviations_of_points_have_their_covariance():
    r = Resolution("MAPS", 100, "S", 300, lattice=Lattice(5.4, 5.4, 19.0), orientation=((0, 0, 1), (1, 0, 0)))
    grid = spectrum(
        hkl("[H,0,0]", 0, 1, 2), hkl("[0,K,0]", 0, 1, 2), hkl("[0,0,L]", -30, 30, 1), energy_axis(10, 60, 2)
    )
    points = r.frame(grid).points()
    draws = unit_draws(r.beam, 100_000, np.random.default_rng(3))
    found = r.deviations(points, draws)
    assert found.shape == (8, 100_000, 4)
    expected = r.covariance(points, of_sample=True)
    assert r.covariance(points) == pytest.approx(expected[:, [0, 1, 3]][:, :, [0, 1, 3]])
    for mine, theirs in zip(found, expected, strict=True):
        spread = np.sqrt(np.diag(theirs))
        assert np.cov(mine.T) / np.outer(spread, spread) == pytest.approx(theirs / np.outer(spread, spread), abs=0.02)


def test_covariance_is_positive_and_q_and_e_are_coupled():
    r = Resolution("MERLIN", 50, "G", 300)
    kf = r.beam.kf(np.array([0.0, 20.0, 40.0]))
    c = lab_covariance(r.beam, np.tile(DIRECTION, (3, 1)), kf)
    assert (np.linalg.eigvalsh(c / np.sqrt(np.einsum("nii,njj->nij", c, c))) > 0).all()
    q_hat = np.array([0, 0, r.beam.ki]) - kf[:, None] * DIRECTION
    along = np.einsum("ni,ni->n", q_hat, c[:, :3, 3])
    assert (np.abs(along) > 0).all()


def test_correlation_is_that_of_the_covariance():
    lattice = Lattice(4, 4, 6)
    three = spectrum(
        hkl("[H,0,0]", 1.5, 2, 3), hkl("[0,K,0]", 0, 0.5, 2), hkl("[0,0,L]", -1, 1, 1), energy_axis(5, 40, 4)
    )
    resolution = Resolution("MAPS", 100.0, "S", 300.0, lattice=lattice)
    found = resolution.correlation(three)
    assert found.shape == (3, 3, 2, 4) and found.dtype == np.float32
    covariance = resolution.covariance(resolution.frame(three).points()).reshape(3, 2, 4, 3, 3)
    for n, (i, j) in enumerate(((0, 1), (0, 2), (1, 2))):
        expected = covariance[..., i, j] / np.sqrt(covariance[..., i, i] * covariance[..., j, j])
        np.testing.assert_allclose(found[n], expected, atol=1e-6)
    powder = spectrum(Axis("|Q|", np.linspace(1, 2, 4), "Angstrom^-1"), energy_axis(5, 40, 4))
    assert np.isfinite(resolution.correlation(powder)).all() and resolution.correlation(powder).shape == (1, 3, 4)
    assert resolution.correlation(spectrum(energy_axis(5, 40, 4))).shape == (0, 4)


def two_crystal_spectra():
    """A full map and a cut with two integrated momentum axes, the energy first in the second."""
    full = spectrum(hkl("[H,0,0]", -1, 1, 6), hkl("[0,K,0]", -1, 1, 5), energy_axis(2, 40, 4))
    cut = spectrum(
        energy_axis(2, 40, 7), hkl("[H,0,0]", -1, 1, 6), hkl("[0,K,0]", -0.1, 0.1, 1), hkl("[0,0,L]", -1, 1, 1)
    )
    return full, cut


def test_a_large_volume_is_interpolated_as_closely_as_is_said():
    """Every eighth bin along each axis of a rotated crystal's volume, against the covariance at their centres."""
    limits = {"[H,0,0]": (-1, 1), "[0,K,0]": (-1, 1), "[0,0,L]": (-1, 1), "DeltaE": (0, 45)}
    axes = tuple(
        Axis(n, np.linspace(*e, 101 if n == "DeltaE" else 65), *(("meV",) if n == "DeltaE" else ("r.l.u.", "HKL")))
        for n, e in limits.items()
    )
    lattice = Lattice(5.0, 5.0, 5.0, ub=np.eye(3) / 5)
    r = Resolution("MERLIN", 60, "G", 300, lattice=lattice)
    volume = SimpleNamespace(axes=axes, shape=tuple(map(len, axes)))
    found = r.on_grid(volume).region((slice(3, None, 8),) * 4).fwhm.reshape(4, -1)
    centers = np.meshgrid(*(a.centers[3::8] for a in axes), indexing="ij")
    points = r.frame(volume).at(np.stack(centers, axis=-1).reshape(-1, 4))
    exact = FWHM_PER_SIGMA * np.sqrt(np.einsum("nii->in", r.covariance(points)))
    away = np.abs(found / exact - 1)
    assert np.median(away, axis=1).max() < 0.003 and np.percentile(away, 95, axis=1).max() < 0.05
    assert away[[1, 3]].max() < 0.01  # along the vertical and in energy nothing turns


def test_scaled_widths_are_those_of_the_width_factor():
    plain, wide = (
        Resolution("MAPS", 60, "S", 300, width_factor=1.1),
        Resolution("MAPS", 60, "S", 300, width_factor=1.32),
    )
    energies = np.linspace(0, 50, 5)
    np.testing.assert_allclose(plain.scaled(1.2).fwhm_energy(energies), wide.fwhm_energy(energies), rtol=1e-12)
    assert plain.width_factor == 1.1 and plain.scaled(1.0) is plain
    with pytest.raises(RunFactError, match="width factor"):
        plain.scaled(0.0)


def test_a_bin_has_the_same_resolution_in_every_region():
    """Of a grid that is interpolated: rows at its edge, one row alone, every third bin."""
    limits = {"[H,0,0]": (-1, 1), "[0,K,0]": (-0.5, 1), "DeltaE": (0, 50)}
    axes = tuple(
        Axis(n, np.linspace(*e, 41), "meV" if n == "DeltaE" else "r.l.u.", "HKL" if n != "DeltaE" else "")
        for n, e in limits.items()
    )
    spectrum = Spectrum(np.ones((40,) * 3), np.ones((40,) * 3), axes)
    whole = Resolution("MAPS", 60, "S", 300, lattice=Lattice(5.4, 5.4, 7.0)).on_grid(spectrum)
    assert len(whole.nodes.covariance) < 40**3
    for region in (np.s_[:5, 3:40, :], np.s_[17:18, :, 39:40], np.s_[::3, 1::3, :]):
        part = whole.region(region)
        every = (slice(None), *region)
        np.testing.assert_array_equal(part.width, whole.width[every])
        np.testing.assert_array_equal(part.correlation, whole.correlation[every])
        np.testing.assert_array_equal(part.position((0, 2)), whole.position((0, 2))[every])
        np.testing.assert_array_equal(part.region(np.s_[:1, :, :]).fwhm, part.fwhm[:, :1])


@pytest.mark.parametrize("number", [0, 1])
def test_one_pass_over_the_grid_gives_what_each_point_has(number):
    """Against the covariance at the centre of each bin, to the last digits of float32."""
    grid = two_crystal_spectra()[number]
    r = Resolution("MAPS", 60, "S", 300, lattice=Lattice(5.4, 5.4, 7.0))
    found, open_axes = r.on_grid(grid), [grid.axes[i] for i in grid.open_axes]
    shape = tuple(len(a) for a in open_axes)
    frame = r.frame(grid)
    points = frame.points()
    covariance = r.covariance(points)
    sigma = np.sqrt(np.einsum("nii->ni", covariance))
    bins = np.array([a.width for a in open_axes])
    exact = {"rtol": 3e-7, "atol": 1e-9}
    np.testing.assert_allclose(found.width, (FWHM_PER_SIGMA * sigma / bins).T.reshape(-1, *shape), **exact)
    pairs = [(i, j) for i in range(len(shape)) for j in range(i + 1, len(shape))]
    rho = [covariance[:, i, j] / (sigma[:, i] * sigma[:, j]) for i, j in pairs]
    np.testing.assert_allclose(found.correlation, np.reshape(rho, (len(pairs), *shape)), rtol=3e-7, atol=1e-7)

    shown = tuple(grid.open_axes)
    energy, modulus, outside = found.position(shown).reshape(3, -1)
    np.testing.assert_allclose(energy, points.energy / 60, **exact)
    # A spectrum that has lost an axis knows |Q| from those that are left.
    asked = np.stack(np.meshgrid(*(a.centers for a in grid.axes), indexing="ij"), axis=-1).reshape(-1, grid.ndim)
    np.testing.assert_allclose(modulus, np.linalg.norm(asked[:, list(frame.momentum)] @ frame.basis, axis=1), **exact)
    momentum = frame.units @ r.covariance(points, of_sample=True)[:, :3, :3] @ frame.units.T
    unseen = [2] if number == 0 else [1, 2]  # the cell has right angles: H, K, L lie along x, y, z
    width = FWHM_PER_SIGMA * np.sqrt(sum(momentum[:, k, k] for k in unseen))
    h_bin = (2 / 6) * 2 * np.pi / 5.4
    np.testing.assert_allclose(outside, width / h_bin, rtol=1e-6)
    for name, values in (("fwhm_in_bins", found.width), ("correlation", found.correlation)):
        np.testing.assert_array_equal(getattr(r, name)(grid), values)
    np.testing.assert_array_equal(r.position(grid), found.position())


def test_mosaic_spreads_q_across_itself_only():
    r, m = (Resolution("MERLIN", 50, "G", 300, mosaic=mosaic) for mosaic in (0.0, 2.0))
    kf = r.beam.kf(np.array([20.0]))
    extra = (lab_covariance(m.beam, DIRECTION[None], kf) - lab_covariance(r.beam, DIRECTION[None], kf))[0]
    q = np.array([0, 0, r.beam.ki]) - kf * DIRECTION
    sigma2 = (np.radians(2.0) / FWHM_PER_SIGMA) ** 2
    assert extra[:3, :3] == pytest.approx(sigma2 * ((q @ q) * np.eye(3) - np.outer(q, q)), rel=1e-6, abs=1e-12)
    assert extra[3] == pytest.approx(np.zeros(4), abs=1e-12)


def test_absorption_in_a_tube():
    """Thin gas: every point of the disk equally (R^2 / 4 both ways). Black gas: on the front, R^2 / 3 across."""
    along, across = absorption_moments(Tube(0.0127, 0.01, 1e-4, 0), [5.0])
    assert (along[0], across[0]) == pytest.approx((0.0127**2 / 4, 0.0127**2 / 4), rel=1e-3)
    along, across = absorption_moments(Tube(0.0127, 0.01, 1e4, 0), [5.0])
    front = 2 / 3 - (np.pi / 4) ** 2  # variance of sqrt(1 - w^2), w uniform
    assert (along[0], across[0]) == pytest.approx((front * 0.0127**2, 0.0127**2 / 3), rel=2e-2)


def test_divergence_override_is_the_fwhm():
    for name in ("MAPS", "LET"):
        r = Resolution(name, *SETTINGS[name], divergence_horizontal=1.0, divergence_vertical=0.5)
        distance = r.beam.divergence.distance or 1.0
        assert FWHM_PER_SIGMA * r.beam.divergence.horizontal / distance == pytest.approx(np.radians(1.0))
        assert FWHM_PER_SIGMA * r.beam.divergence.vertical / distance == pytest.approx(np.radians(0.5))


def test_guide_gain_of_maps_widens_the_aperture():
    """Horace's gain at 4.5 Angstrom is 11.96 (its own constant for longer wavelengths)."""
    gain = catalogue()["MAPS"].flux_gain
    assert gain.at(4.5) == pytest.approx(11.964, rel=1e-3)
    assert gain.at(5.5) == pytest.approx(11.964 + 3.313, rel=2e-3)
    assert gain.at(0.05) == pytest.approx(1.0, abs=1e-6)


def test_limits_are_those_of_resins():
    assert limits("MERLIN", "G").ei == (0.0, 181.0) and limits("MERLIN", "S").ei == (7.0, 2000.0)
    assert limits("LET", "High Flux").frequency_names == ("resolution_frequency", "pulse_remover_frequency")
    assert "High Resolution" in known_choppers("cncs")


# --- Tobyfit's tables -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", range(6))
@pytest.mark.parametrize("folder", ["excerpt/pcsmo-maps", "data/pcsmo-maps"])
def test_tobyfit_tables(real, folder, index):
    """One set of facts for six Ei: medians within 2 % (E, h and k), each point within 15 % (E) and 25 % (h, k).

    What is left, 1.1 % in h, -1.1 % in k and up to -1.3 % in E, is that of the tables' rounded facts
    (docs/resolution.md).
    """
    tobyfit = benchmark("resolution_tobyfit")
    setting = tobyfit.SETTINGS[index]
    folder = real(folder)
    assert len(tobyfit.tabulated(folder, setting.label)[0]) >= 60
    row = tobyfit.compare(folder, setting.label, tobyfit.resolution(setting)).row()
    assert row[:3] == pytest.approx([1, 1, 1], abs=0.02)
    assert row[3:6] == [1, 1, 1]
    assert max(row[6:]) < 0.015


# --- width factor ---------------------------------------------------------------------------------------------------


def test_elastic_line_is_the_distribution_of_the_draws():
    """Against a Monte Carlo of exact paths: quantiles of the recorded energy, tail on the gain side included."""
    r = Resolution("MERLIN", 62, "G", 600)
    line = ElasticLine(r, two_theta=60.0)
    offsets = np.linspace(-15, 10, 5001)
    density = line(offsets)
    step = offsets[1] - offsets[0]
    assert density.sum() * step == pytest.approx(1, abs=1e-4)
    width = float(r.fwhm_energy(0.0, two_theta=60.0))
    assert np.sqrt((density * offsets**2).sum() * step) * FWHM_PER_SIGMA == pytest.approx(width, rel=2e-3)
    direction = np.array([-np.sin(np.pi / 3), 0, 0.5])
    draws = unit_draws(r.beam, 200_000, np.random.default_rng(4))
    recorded = -exact_points(r.beam, direction, float(r.beam.kf(0.0)), draws)[:, 3]
    quantiles = np.array([0.02, 0.1, 0.5, 0.9, 0.98])
    mine = np.interp(quantiles, np.cumsum(density) * step, offsets)
    assert mine == pytest.approx(np.quantile(recorded, quantiles), abs=0.02 * width)
    assert mine[2] > 0 > mine.mean()  # tail on the side of energy gain


def line_spectrum(factor: float, seed: int = 0) -> tuple[Spectrum, Resolution]:
    r = Resolution("MERLIN", 62, "G", 600)
    energy = energy_axis(-12, 12, 120)
    expected = 4e3 * ElasticLine(r)(energy.centers - 0.2, factor) * energy.width + 5
    counts = np.random.default_rng(seed).poisson(np.tile(expected, (10, 1))).astype(float)
    q = Axis("|Q|", np.linspace(1, 6, 11), "Angstrom^-1")
    valid = np.ones(counts.shape, bool)
    valid[0, :30] = False
    return Spectrum(counts, np.maximum(counts, 1), (q, energy), valid=valid), r


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.4])
def test_width_factor_is_found_with_its_error(factor):
    found = [fit_width_factor(*line_spectrum(factor, seed)) for seed in range(5)]
    pulls = np.array([(f.factor - factor) / f.sigma for f in found])
    assert np.abs(pulls).max() < 4 and np.abs(pulls.mean()) < 2
    assert found[0].sigma < 0.05 and found[0].centre == pytest.approx(0.2, abs=0.1)
    assert found[0].reduced_chi_squared < 2


def test_width_factor_is_relative_to_the_resolution_given():
    measured, r = line_spectrum(1.4)
    start = Resolution("MERLIN", 62, "G", 600, width_factor=1.2)
    assert fit_width_factor(measured, start).factor == pytest.approx(fit_width_factor(measured, r).factor, rel=0.02)


def test_width_factor_needs_an_elastic_line():
    r = Resolution("MERLIN", 62, "G", 600)
    with pytest.raises(InputError, match="no open energy-transfer axis"):
        fit_width_factor(spectrum(Axis("|Q|", [0, 1, 2], "Angstrom^-1"), energy_axis(-1, 1, 1)), r)
    with pytest.raises(InputError, match=r"measured energy bins lie within .* eight are needed.*finer"):
        fit_width_factor(spectrum(energy_axis(20, 40, 40)), r)
    noise = np.random.default_rng(0).normal(0, 1, 400)
    with pytest.raises(InputError, match="elastic line"):
        fit_width_factor(Spectrum(noise, np.ones(400), (energy_axis(-20, 20, 400),)), r)


@pytest.mark.parametrize("name", [MERLIN, MERLIN.replace("excerpt/", "data/")])
def test_measured_elastic_line_of_merlin(real, name):
    """Tobyfit's pulse describes the core of the 62 meV line within its error; ResINS' is too narrow."""
    from mantid_insgan.io import read_nxspe

    measured = read_nxspe(real(name))
    ei = measured.run.value("ei")
    tobyfit, pychop = (
        fit_width_factor(measured, Resolution("MERLIN", ei, "G", 600, time_model=m)) for m in ("tobyfit", "pychop")
    )
    assert tobyfit.sigma < 0.02 and pychop.sigma < 0.15
    assert abs(tobyfit.factor - 1) < 4 * tobyfit.sigma
    assert pychop.factor - tobyfit.factor > 4 * np.hypot(pychop.sigma, tobyfit.sigma)


@pytest.mark.parametrize("sharpness", [(3.0,), (1.0, 4.0), (2.5, 1.0)])
def test_a_finer_resolution_leaves_a_convolution(sharpness):
    """C' as the formula says, C - C' without a negative eigenvalue, and deviations that scatter by C'."""
    resolution = Resolution("MERLIN", 60.0, "G", 300.0, lattice=Lattice(4, 5, 6), mosaic=0.4)
    finer = resolution.sharpened(*sharpness)
    axes = [Axis(n, [0, 1], "r.l.u.", "HKL") for n in ("[H,0,0]", "[0,K,0]", "[0,0,L]")]
    axes.append(Axis("DeltaE", np.linspace(0, 40, 41), "meV"))
    frame = resolution.frame(Spectrum(np.zeros((1, 1, 1, 40)), np.zeros((1, 1, 1, 40)), tuple(axes)))
    points = frame.at(np.array([[0.5, 0.5, 0.5, 10.0], [1.0, 0.2, 0.4, 30.0]]))
    wide, fine = (r.covariance(points, of_sample=True) for r in (resolution, finer))
    momentum, energy = sharpness[0], sharpness[-1]
    slope = np.linalg.solve(wide[:, :3, :3], wide[:, :3, 3:])[..., 0]
    own = lambda c: c[:, 3, 3] - np.einsum("ni,ni->n", slope, c[:, :3, 3])  # noqa: E731
    np.testing.assert_allclose(fine[:, :3, :3], wide[:, :3, :3] / momentum**2, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(fine[:, :3, 3], wide[:, :3, 3] / momentum**2, rtol=1e-5, atol=1e-10)
    np.testing.assert_allclose(own(fine), own(wide) / energy**2, rtol=1e-5)
    scale = np.sqrt(np.einsum("nii->ni", wide))
    left = (wide - fine) / (scale[:, :, None] * scale[:, None, :])
    assert np.linalg.eigvalsh(left).min() > -1e-8
    draws = np.random.default_rng(0).standard_normal((4000, 14))
    seen = finer.deviations(points, draws) / scale[:, None]
    expected = fine / (scale[:, :, None] * scale[:, None, :])
    np.testing.assert_allclose([np.cov(x.T) for x in seen], expected, atol=0.06)
    if len(sharpness) == 1:
        np.testing.assert_allclose(finer.fwhm_energy([0.0, 30.0]), resolution.fwhm_energy([0.0, 30.0]) / 3)


def test_sharpening_by_nothing_is_refused():
    with pytest.raises(RunFactError, match="the sharpening"):
        Resolution("MERLIN", 60.0, "G", 300.0).sharpened(0.0)
