"""Facts that files know: chopper, frequency, divergence and sample, from raw files and the logs of each facility."""

import json
from importlib import util
from pathlib import Path

import h5py
import numpy as np
import pytest

from mantid_insgan.core.run import Run
from mantid_insgan.core.sample import Sample
from mantid_insgan.core.spectrum import Axis, Spectrum
from mantid_insgan.errors import InputError, RunFactError
from mantid_insgan.instruments import Resolution
from mantid_insgan.instruments.choppers import Slits, known_package, packages, packages_with
from mantid_insgan.io import read_spectrum, write_nexus
from mantid_insgan.io.crystal import Setting, bin_crystal
from mantid_insgan.io.facts import parse_divergence, parse_mosaic
from mantid_insgan.io.geometry import sample_of_xml, shape_xml

ROOT = Path(__file__).resolve().parents[1]
METRE = {"units": "metre"}
#: As eniius writes them into the raw files of ISIS: see mantid_insgan/io/isis.py.
SLOPPY = {"type": "sloppy", "radius": 0.049, "r_slit": 1.3, "slit": 0.002899, "number": 9, "width": 0.0522}
GADOLINIUM = {"type": "g", "radius": 0.005, "r_slit": 99999.0, "slit": 2.0e-4, "number": 125, "width": 0.05}


def put(group, name, value, **attributes):
    """A dataset of text or a number, in the forms that eniius and ISISICP write."""
    group[name] = np.array([value.encode()]) if isinstance(value, str) else np.float64(value)
    group[name].attrs.update({k: np.bytes_(v) for k, v in attributes.items()})


def put_fermi(instrument, slits, *, energy, speed=None, unit="hertz", distance=-1.857):
    fermi = instrument.require_group("fermi")
    put(fermi, "energy", energy, units="meV")
    for name, value in slits.items():
        put(fermi, name, value, **(METRE if name in ("radius", "r_slit", "slit", "width") else {}))
    if speed is not None:
        put(fermi, "rotation_speed", speed, units=unit)
        put(fermi, "distance", distance, **METRE)


def put_aperture(instrument, width, height, distance):
    group = instrument.require_group("aperture")
    put(group, "x_gap", width, **METRE)
    put(group, "y_gap", height, **METRE)
    put(group.require_group("transforms"), "AP_AXIS", -distance, transformation_type="translation", **METRE)


def put_profile(instrument, name, sigma):
    """A Gaussian profile of the divergence, as eniius writes it (the unit in the attribute 'unit')."""
    data = instrument.create_group(f"{name}/data")
    data.attrs["signal"] = "profile"
    angle = np.linspace(-4, 4, 401)
    data["profile"], data["angle"] = np.exp(-(angle**2) / (2 * sigma**2)), angle
    data["angle"].attrs["unit"] = "degree"


def write_isis(path, *, name="MAPS", ei=100.0, fill=None):
    """An nxspe file with lines that the model can sharpen, and what `fill` adds to its group ``instrument``."""
    polar = np.linspace(3, 60, 60)
    energy = np.linspace(-10, 0.9 * ei, 120)
    centre = 0.5 * (energy[1:] + energy[:-1])
    line = 40 * np.exp(-0.5 * ((centre - 0.3 * ei) / (0.05 * ei)) ** 2) + 80 * np.exp(
        -0.5 * (centre / (0.03 * ei)) ** 2
    )
    signal = np.random.default_rng(5).poisson((line + 5) * np.ones((60, 1))).astype(float)
    with h5py.File(path, "w") as file:
        entry = file.create_group("w1")
        entry["definition"] = np.bytes_("NXSPE")
        put(entry.create_group("NXSPE_info"), "fixed_energy", ei, units="meV")
        instrument = entry.create_group("instrument")
        if name:
            put(instrument, "name", name)
        data = entry.create_group("data")
        data["data"], data["error"], data["energy"] = signal, np.sqrt(np.maximum(signal, 1)), energy
        data["polar"], data["azimuthal"] = polar, np.zeros(60)
        data["polar_width"], data["azimuthal_width"] = np.full(60, 0.97), np.ones(60)
        if fill is not None:
            fill(instrument)
    return path


def maps_raw(instrument, speed=400.0, unit="hertz", energy=100.0):
    """The groups of MAPS with its sloppy chopper and open jaws."""
    put_fermi(instrument, SLOPPY, energy=energy, speed=speed, unit=unit)
    put_aperture(instrument, 0.0989, 0.0989, 10.329)
    moderator = instrument.create_group("moderator/transforms")
    put(moderator, "MOD_T_AXIS", -12.0, transformation_type="translation", **METRE)
    put(moderator, "MOD_R_AXIS", 32.0, transformation_type="rotation", units="degree")


def run_of(path, **how) -> Run:
    return read_spectrum(path, **how).run


# ---------------------------------------------------------------------------------------- the raw file in nxspe files


def test_apply_of_an_isis_nxspe_needs_no_option(tmp_path, insgan):
    path, out = write_isis(tmp_path / "in.nxspe", fill=maps_raw), tmp_path / "out.nxs"
    code, said, err = insgan("apply", path, out, "--json")
    assert code == 0, err
    used = json.loads(said)["run"]
    expected = {"instrument": "MAPS", "ei": 100.0, "chopper": "S", "frequency": 400.0}
    assert {name: fact["value"] for name, fact in used.items()} == expected
    assert used["chopper"]["source"] == "instrument/fermi (type and slit) of the nxspe entry"
    assert used["frequency"]["source"] == "instrument/fermi/rotation_speed of the nxspe entry"
    # what was read stands in the result, and is read again
    again = run_of(out)
    assert (again.value("chopper"), again.value("frequency")) == ("S", 400.0)


@pytest.mark.parametrize(
    ("name", "ei", "slits", "package"),
    [
        ("MAPS", 100.0, SLOPPY, "S"),
        ("MERLIN", 120.0, GADOLINIUM, "G"),
        ("MAPS", 100.0, {"slit": 0.001087, "radius": 0.049, "r_slit": 1.3}, "A"),  # no type
        ("MAPS", 100.0, {"slit": 0.001812}, "B"),  # the slit alone is enough here
        ("MARI", 60.0, {"type": "Gd chopper"}, "G"),  # the type alone
        ("MARI", 60.0, {"type": "b", "slit": 0.00114}, "B"),  # the slit fits B and R, the type decides
        ("MARI", 60.0, {"slit": 0.001143, "r_slit": 1.3}, "R"),  # and so does the curvature
    ],
)
def test_chopper_package_of_the_raw_file(tmp_path, name, ei, slits, package):
    fill = lambda instrument: put_fermi(instrument, slits, energy=ei, speed=600.0)  # noqa: E731
    run = run_of(write_isis(tmp_path / "in.nxspe", name=name, ei=ei, fill=fill))
    assert run.value("chopper") == package
    assert run.value("frequency") == 600.0
    assert not [note for note in run.notes if "chopper" in note]


@pytest.mark.parametrize(
    ("slits", "why"),
    [
        (
            {"type": "new one", "slit": 0.0005, "radius": 0.049},
            "instrument/fermi of the nxspe entry (type 'new one', slits of 0.5 mm, rotor radius 49 mm) fits no package "
            "of MARI",
        ),
        ({"slit": 0.00114}, "(slits of 1.14 mm) fits B and R"),
        ({"type": "A", "slit": 0.00228, "r_slit": 1.3}, "fits S, and the type names A"),
        ({"type": "new one"}, "(type 'new one') names no package of MARI"),
    ],
)
def test_chopper_that_is_not_recognised_is_asked_for_by_name(tmp_path, insgan, slits, why):
    fill = lambda instrument: put_fermi(instrument, slits, energy=60.0, speed=600.0)  # noqa: E731
    path = write_isis(tmp_path / "in.nxspe", name="MARI", ei=60.0, fill=fill)
    run = run_of(path)
    assert run.chopper is None
    with pytest.raises(RunFactError) as caught:
        Resolution.from_run(run)
    assert why in caught.value.reason
    assert caught.value.fix == "give it (--chopper): one of A, B, C, G, R, S on MARI"
    code, said, _ = insgan("inspect", path)
    assert code == 0 and why in said and "--chopper" in said


@pytest.mark.parametrize(("speed", "unit"), [(24000.0, "rpm"), (400.0, "Hz"), (0.4, "kHz")])
def test_unit_of_the_rotation_speed_is_minded(tmp_path, speed, unit):
    path = write_isis(tmp_path / "in.nxspe", fill=lambda i: maps_raw(i, speed, unit))
    assert run_of(path).value("frequency") == pytest.approx(400.0)


def test_unit_that_is_no_frequency_is_refused_with_a_note(tmp_path):
    run = run_of(write_isis(tmp_path / "in.nxspe", fill=lambda i: maps_raw(i, 400.0, "meV")))
    assert run.frequency is None
    assert any("rotation_speed of the nxspe entry was not used: the unit 'meV' is not known" in n for n in run.notes)


def multi_rep(instrument):
    """A run of MARI with three repetitions; the groups of the instrument are those of the first."""
    put_fermi(instrument, {"type": "g", "slit": 0.00038, "radius": 0.01, "r_slit": 0.8}, energy=120.0, speed=400.0)
    for ei, speed in (("60", 399.0), ("30.5", 401.0)):
        put_fermi(instrument.create_group(f"rep_{ei}"), {}, energy=float(ei), speed=speed)


@pytest.mark.parametrize(("ei", "speed", "where"), [(119.4, 400, ""), (60.3, 399, "rep_60/"), (30.4, 401, "rep_30.5/")])
def test_repetition_of_the_ei_of_the_file(tmp_path, ei, speed, where):
    run = run_of(write_isis(tmp_path / "in.nxspe", name="MARI", ei=ei, fill=multi_rep))
    assert run.value("frequency") == speed
    assert run.frequency.source == f"instrument/{where}fermi/rotation_speed of the nxspe entry"
    assert run.value("chopper") == "G"  # not in the repetitions: that of the instrument


def test_no_repetition_has_the_ei_of_the_file(tmp_path):
    run = run_of(write_isis(tmp_path / "in.nxspe", name="MARI", ei=20.0, fill=multi_rep))
    note = "no repetition of the nxspe entry is for Ei = 20 meV (it has rep_30.5, rep_60)"
    assert any(note in n for n in run.notes)
    assert (run.value("chopper"), run.value("frequency")) == ("G", 400.0)  # of all repetitions


def test_closed_jaws_narrow_the_divergence(tmp_path):
    closed = lambda i: (put_fermi(i, SLOPPY, energy=100.0, speed=400.0), put_aperture(i, 0.047, 0.0989, 10.329))  # noqa: E731
    runs = [run_of(write_isis(tmp_path / f"{f.__name__}.nxspe", fill=f)) for f in (maps_raw, closed)]
    assert runs[0].divergence is None  # open: that of the instrument, with the gain of its guide at the Ei
    assert runs[1].divergence.source == "instrument/aperture of the nxspe entry (47 x 98.9 mm at 10.33 m)"
    opened, narrowed = (Resolution.from_run(run).beam.divergence for run in runs)
    assert narrowed.horizontal == pytest.approx(opened.horizontal / 2, rel=1e-4)  # 47 of 94 mm
    assert narrowed.vertical == opened.vertical


def test_lengths_that_differ_from_the_description_are_noted(tmp_path):
    def other(instrument):
        put_fermi(instrument, SLOPPY, energy=100.0, speed=400.0, distance=-3.0)
        put_aperture(instrument, 0.05, 0.05, 4.0)
        instrument["moderator/distance"] = -15.0

    run = run_of(write_isis(tmp_path / "in.nxspe", fill=other))
    assert run.divergence is None
    assert "the aperture of the nxspe entry (50 x 50 mm at 4 m) is not that of the instrument's description" in str(
        run.notes
    )
    for component, found, ours in (("moderator", 15, 12), ("fermi", 3, 1.857)):
        said = (
            f"instrument/{component} of the nxspe entry is {found} m from the sample, and {ours} m in the description"
        )
        assert any(note.startswith(said) for note in run.notes)


def let_raw(instrument, width=0.031, speed=240.0):
    """The groups of LET: discs and the profiles of the divergence."""
    put(instrument.create_group("fermi"), "energy", 3.7, units="meV")
    disc = instrument.create_group("mono_chopper")
    put(disc, "rotation_speed", speed, units="hertz")
    put(disc, "radius", 0.28, **METRE)
    half = np.degrees(np.arctan2(width, 0.28)) / 2
    disc["slit_edges"] = np.array([-half, half])
    for name, sigma in (("horiz_div", 0.5), ("vert_div", 0.7)):
        put_profile(instrument, name, sigma)


@pytest.mark.parametrize(
    ("width", "package"), [(0.031, "High Flux"), (0.020, "Intermediate"), (0.015, "High Resolution")]
)
def test_let(tmp_path, width, package):
    run = run_of(write_isis(tmp_path / "in.nxspe", name="LET", ei=3.7, fill=lambda i: let_raw(i, width)))
    assert (run.value("chopper"), run.value("frequency")) == (package, 240.0)
    assert run.frequency.source == "instrument/mono_chopper/rotation_speed of the nxspe entry"
    fwhm = np.array([0.5, 0.7]) * np.sqrt(8 * np.log(2))
    np.testing.assert_allclose(run.value("divergence"), fwhm, rtol=1e-3)
    divergence = Resolution.from_run(run).beam.divergence
    np.testing.assert_allclose(np.degrees([divergence.horizontal, divergence.vertical]), [0.5, 0.7], rtol=1e-3)


def test_divergence_is_written_and_read_again(tmp_path):
    spectrum = read_spectrum(write_isis(tmp_path / "in.nxspe", name="LET", ei=3.7, fill=let_raw))
    write_nexus(spectrum, tmp_path / "out.nxs")
    np.testing.assert_allclose(run_of(tmp_path / "out.nxs").value("divergence"), spectrum.run.value("divergence"))
    with pytest.raises(InputError, match=r"the divergence '1,x' is not two numbers above zero"):
        parse_divergence("1,x")
    assert parse_divergence("none,0.5") == (None, 0.5)
    with pytest.raises(InputError, match=r"the mosaic 'wide' is not zero or a number above it"):
        parse_mosaic("wide")


@pytest.mark.parametrize(
    ("name", "change"), [("frequency", {"speed": 300.0}), ("chopper", {"slits": {"slit": 0.002899}})]
)
def test_runs_of_a_scan_have_one_setting(tmp_path, name, change):
    paths = []
    for number, how in enumerate(({}, change)):
        put_run = {"slits": {"slit": 0.001087}, "energy": 100.0, "speed": 400.0} | how
        fill = lambda instrument, of=put_run: put_fermi(instrument, **of)  # noqa: E731
        paths.append(write_isis(tmp_path / f"{number}.nxspe", fill=fill))
        with h5py.File(paths[-1], "r+") as file:
            file["w1/NXSPE_info/psi"] = float(number)
    axes = ("[H,0,0],-3,3,30", "[0,K,0],-3,3,30", "[0,0,L],-3,3,1", "DeltaE,0,80,20")
    setting = Setting.parsed("4,4,4", "1,0,0", "0,1,0", 0.0)
    with pytest.raises(InputError, match=f"0.nxspe and 1.nxspe differ in {name}: ") as caught:
        bin_crystal(paths, setting, axes)
    assert caught.value.fix == "give the runs of one scan"
    found = bin_crystal(paths[:1], setting, axes).run
    assert (found.value("chopper"), found.value("frequency")) == ("A", 400.0)


def test_detector_table_masks_rows(tmp_path):
    def with_table(instrument):
        maps_raw(instrument)
        table = instrument.create_group("detector_elements_1")
        table["det2work"] = np.r_[-1, np.repeat(np.arange(1, 61), 2)].astype("i4")  # a monitor, then two for each row
        table["polar_angle"] = np.r_[180.0, np.repeat(np.linspace(3, 60, 60), 2)]
        table["det_mask"] = np.r_[False, np.repeat(np.arange(60) < 10, 2)]

    plain = read_spectrum(write_isis(tmp_path / "plain.nxspe", fill=maps_raw))
    masked = read_spectrum(write_isis(tmp_path / "masked.nxspe", fill=with_table))
    assert "10 rows were left out: all of their detectors are masked (det_mask)" in masked.run.notes
    assert masked.num_events.sum() == pytest.approx(plain.num_events.sum() * 50 / 60, rel=1e-6)


# ----------------------------------------------------------------------------------------- normalisations of MDHistos


def write_histogram(path, normalization, *, events, algorithms=(), gain=1.0):
    """A slice of |Q| and energy on MAPS, in sums over events if `gain` is those, and algorithms in its history."""
    axes = (
        Axis("|Q|", np.linspace(1, 5, 42), "Angstrom^-1"),
        Axis("DeltaE", np.linspace(-5, 45, 81), "DeltaE"),
    )
    q, energy = (a.centers for a in axes)
    line = 30 * np.exp(-0.5 * ((energy - 12 - 6 * np.sin(q)[:, None]) / 1.5) ** 2) + 3
    signal = np.random.default_rng(2).poisson(20 * line) / 20
    variance = np.maximum(signal, 0.05) / 20
    run = Run().updated("test", instrument="MAPS", ei=50.0, chopper="S", frequency=300.0)
    spectrum = Spectrum(
        signal * gain, variance * gain**2, axes, num_events=events, run=run, visual_normalization=normalization
    )
    write_nexus(spectrum, path, overwrite=True)
    with h5py.File(path, "r+") as file:
        for number, name in enumerate(algorithms, 1):
            note = file.require_group(f"MDHistoWorkspace/process/MantidAlgorithm_{number}")
            note["data"] = np.array([f"Algorithm: {name} v1\nExecution Date: 2026-Nov-01 10:00:00\n".encode()])
    return path


def flux_in_files(source, target):
    """The sum of the signal of the result over its bins, over that of the data in the same bins: h5py alone."""
    with h5py.File(source) as one, h5py.File(target) as other:
        before, after = (f["MDHistoWorkspace/data/signal"][()] for f in (one, other))
    return np.nansum(after) / before[np.isfinite(after)].sum()


UNEVEN = np.random.default_rng(8).integers(1, 60, (41, 80)).astype(float)


@pytest.mark.parametrize("direction", ["remove-resolution", "add-resolution"])
@pytest.mark.parametrize("normalization", [0, 1, 2])
def test_flux_ratio_is_that_of_the_files(tmp_path, insgan, normalization, direction):
    gain = UNEVEN if normalization == 2 else 1.0
    source = write_histogram(tmp_path / "in.nxs", normalization, events=UNEVEN, gain=gain)
    code, said, err = insgan("apply", source, tmp_path / "out.nxs", "--direction", direction, "--json")
    assert code == 0, err
    assert json.loads(said)["flux_ratio"] == pytest.approx(flux_in_files(source, tmp_path / "out.nxs"), rel=1e-6)


@pytest.mark.parametrize(
    "algorithms", [("LoadNXSPE", "MDNorm"), ("MDNormDirectSC", "DivideMD"), ("BinMD", "MDNorm", "CloneMDWorkspace")]
)
def test_events_are_no_weight_after_mdnorm(tmp_path, insgan, algorithms):
    found = {}
    for name, normalization, history in (("plain", 0, ()), ("normalised", 2, algorithms)):
        source = write_histogram(tmp_path / f"{name}.nxs", normalization, events=UNEVEN, algorithms=history)
        code, said, err = insgan("apply", source, tmp_path / f"{name}_out.nxs", "--json")
        assert code == 0, err
        found[name] = read_spectrum(tmp_path / f"{name}_out.nxs").signal, json.loads(said)
        ratio = flux_in_files(source, tmp_path / f"{name}_out.nxs")
        assert found[name][1]["flux_ratio"] == pytest.approx(ratio, rel=1e-6)
    np.testing.assert_array_equal(found["normalised"][0], found["plain"][0])
    assert not [note for note in found["normalised"][1]["notes"] if "NumEventsNormalization" in note]


def test_bin_that_mdnorm_covered_without_an_event_is_a_measured_zero(tmp_path):
    events = UNEVEN.copy()
    events[:5] = 0
    gain = np.where(events > 0, 1.0, 0.0)
    read = lambda name, *history: read_spectrum(  # noqa: E731
        write_histogram(tmp_path / name, 2, events=events, gain=gain, algorithms=history)
    )
    assert read("sum.nxs", "BinMD").valid.sum() == 36 * 80
    covered = read("covered.nxs", "MDNorm")
    assert covered.normalised and covered.valid.all()
    assert read("rebinned.nxs", "MDNorm", "BinMD").valid.sum() == 36 * 80  # from the events again
    write_nexus(covered, tmp_path / "again.nxs")  # without the history
    assert read_spectrum(tmp_path / "again.nxs").identical(covered)


# --------------------------------------------------------------------------------------------- logs of the facilities


def run_with_logs(tmp_path, instrument, **logs) -> Run:
    """The run of an MDHistoWorkspace with these logs: numbers, texts, series, or (value, unit)."""
    path = write_histogram(tmp_path / "logs.nxs", 0, events=UNEVEN)
    with h5py.File(path, "r+") as file:
        experiment = file["MDHistoWorkspace/experiment0"]
        del experiment["logs"], experiment["instrument/name"]
        put(experiment["instrument"], "name", instrument or " ")
        for name, value in logs.items():
            value, unit = value if isinstance(value, tuple) else (value, "")
            log = experiment.create_group(f"logs/{name.replace('__', ':')}")
            log["value"] = np.array([value.encode()]) if isinstance(value, str) else np.atleast_1d(value)
            log["value"].attrs["units"] = np.bytes_(unit or " ")
    return run_of(path)


SERIES = np.r_[0.0, 0.0, np.full(40, 399.98)]


@pytest.mark.parametrize(
    ("instrument", "logs", "chopper", "frequency"),
    [
        ("MAPS", {"Fermi_Speed": SERIES}, None, 399.98),
        ("MARI", {"fermi_speed": (SERIES * 60, "rpm")}, None, 399.98),
        ("MERLIN", {"Chopper_Speed": SERIES, "Disc_Delay": 13700.0}, None, 399.98),
        ("LET", {"Chopper5_Disk1_speed": 240.0, "Chopper1_Disk1_speed": 40.0}, None, 240.0),
        ("LET", {"Chopper5_slits": "High Resolution", "Chopper5_Disk1_speed": 240.0}, "High Resolution", 240.0),
        ("LET", {"Chopper5_slits": "HIGH FLUX mode"}, "High Flux", None),
        ("CNCS", {"DoubleDiskMode": 1, "SpeedRequest4": 300.0, "SpeedRequest1": 60.0}, "High Flux", 300.0),
        ("CNCS", {"DoubleDiskMode": np.zeros(9), "Speed4": (180.02, "Hz")}, "High Resolution", 180.02),
        ("CNCS", {"DoubleDiskMode": "3", "SpeedRequest4": "240 Hz"}, "Intermediate", 240.0),
        ("ARCS", {"BL18__Chop__InUse__ChopperId": "ARCS-700-1.5-AST"}, "ARCS-700-1.5-AST", None),
        ("ARCS", {"chtrans": 0.02, "Speed1": 300.0, "Speed2": 600.0}, None, 300.0),
        ("ARCS", {"chtrans": 410.0, "Speed1": 300.0, "Speed2": 600.0}, None, 600.0),
        ("SEQUOIA", {"vChTrans": 1, "Speed1": 0.02, "Speed2": 480.0}, None, 480.0),  # the other stands still
        ("SEQUOIA", {"vChTrans": 0, "SpeedRequest1": 360.0, "SpeedRequest2": 360.0}, None, 360.0),
        ("HYSPEC", {"SpeedRequest1": 60.0}, None, None),  # which chopper that is, is not known
        (None, {"SpeedRequest1": 60.0}, None, None),
    ],
)
def test_logs_of_the_facilities(tmp_path, instrument, logs, chopper, frequency):
    run = run_with_logs(tmp_path, instrument, **logs)
    assert run.value("chopper") == chopper
    assert run.value("frequency") == (None if frequency is None else pytest.approx(frequency))
    assert run.instrument is None or run.value("instrument") == instrument


@pytest.mark.parametrize(
    ("instrument", "logs", "note"),
    [
        (
            "SEQUOIA",
            {"vChTrans": 0, "Speed1": 300.0, "Speed2": 600.0},
            "the frequency was not taken from the logs of experiment0: Speed1 = 300 Hz and Speed2 = 600 Hz, and they "
            "do not say which of the two Fermi choppers was in the beam",
        ),
        (
            "ARCS",
            {"vChTrans": 2, "Speed1": 300.0},
            "log vChTrans of experiment0 is 2: no Fermi chopper was in the beam (white beam)",
        ),
        (
            "CNCS",
            {"DoubleDiskMode": 7},
            "the chopper package was not recognised: log DoubleDiskMode of experiment0 is 7, expected one of "
            "0 (High Resolution), 1 (High Flux), 3 (Intermediate)",
        ),
        (
            "CNCS",
            {"DoubleDiskMode": np.r_[0.0, 0.0, 1.0, 1.0, 1.0]},
            "log DoubleDiskMode of experiment0 changes between 0 and 1; its median, 1, was taken",
        ),
        ("LET", {"Chopper5_slits": "Open"}, "the chopper package was not recognised: log Chopper5_slits of"),
    ],
)
def test_what_logs_leave_open_is_said(tmp_path, instrument, logs, note):
    assert any(said.startswith(note) for said in run_with_logs(tmp_path, instrument, **logs).notes)


def test_measured_ei_of_the_control_system(tmp_path):
    run = run_with_logs(tmp_path, "CNCS", BL5__Chop__Gbl__EnergyReq=(3.32, "meV"), EnergyRequest=(3.315, "meV"))
    assert run.value("ei") == 3.32 and run.ei.source == "log BL5:Chop:Gbl:EnergyReq of experiment0"
    assert run_with_logs(tmp_path, "CNCS", Ei=3.31, EnergyRequest=3.32).value("ei") == 3.31  # the measured one is first


@pytest.mark.parametrize(
    ("names", "instrument", "source"),
    [
        (["C:\\data\\MER40874_Ei62.nxspe"], "MERLIN", "prefix of the file name MER40874_Ei62.nxspe"),
        (["/SNS/SEQ/IPTS-1/a.nxs", "/SNS/SEQ/IPTS-1/b.nxs"], "SEQUOIA", "folder in which the file was first saved"),
        (["/SNS/SEQ/IPTS-1/a.nxs", "/SNS/ARCS/IPTS-1/b.nxs"], None, ""),
        (["/home/me/a.nxs"], None, ""),
    ],
)
def test_instrument_of_the_files_in_the_history(tmp_path, names, instrument, source):
    path = write_histogram(tmp_path / "in.nxs", 0, events=UNEVEN)
    with h5py.File(path, "r+") as file:
        del file["MDHistoWorkspace/experiment0"]
        for number, name in enumerate(names, 1):
            said = f"Algorithm: LoadNXSPE v1\n  Name: Filename, Value: {name}, Default?: No, Direction: Input\n"
            file[f"MDHistoWorkspace/process/MantidAlgorithm_{number}/data"] = np.array([said.encode()])
    run = run_of(path)
    assert run.value("instrument") == instrument
    assert instrument is None or run.instrument.source.startswith(f"history of the workspace: {source}")


def test_chopper_in_the_title_of_a_run(tmp_path):
    run = run_with_logs(tmp_path, "MARI", run_title="Al pellets T=5K, Ei=60 200Hz Gd-chopper, jaws=50x50")
    assert run.value("chopper") == "G" and run.chopper.source == "title of the run"
    assert any(note.startswith("the chopper package G is from the title of the run, 'Al pellets") for note in run.notes)
    assert run_with_logs(tmp_path, "MARI", run_title="test of the Fermi chopper").chopper is None
    assert run_with_logs(tmp_path, "MARI", run_title="S chopper, then G chopper").chopper is None
    named = run_with_logs(tmp_path, "MARI", run_title="S chopper", chopper_package="A")
    assert named.value("chopper") == "A"


# --------------------------------------------------------------------------------------------------------- the sample

UPRIGHT = '<centre-of-bottom-base x="0" y="-0.02" z="0"/><axis x="0" y="1" z="0"/>'
LYING = '<centre-of-bottom-base x="-0.02" y="0" z="0"/><axis x="1" y="0" z="0"/>'
#: A plate of 20 x 30 x 2 mm turned by 30 degrees about the vertical axis.
TURNED = (
    '<cuboid id="s"><left-front-bottom-point x="0" y="0" z="0"/><left-front-top-point x="0" y="0.03" z="0"/>'
    '<left-back-bottom-point x="-0.001" y="0" z="0.00173205"/>'
    '<right-front-bottom-point x="0.0173205" y="0" z="0.01"/></cuboid>'
)


def scattered(inside, extent=0.026, number=400_000, seed=1):
    """Variances along x, y, z of points spread evenly in a body, from points in a cube that are inside it."""
    points = np.random.default_rng(seed).uniform(-extent, extent, (number, 3))
    return points[inside(*points.T)].var(axis=0)


@pytest.mark.parametrize(
    ("xml", "sample", "inside"),
    [
        (
            f'<cylinder id="s">{UPRIGHT}<radius val="0.01"/><height val="0.04"/></cylinder>',
            Sample("cylinder", 0.02, 0.04, 0.02),
            lambda x, y, z: (np.hypot(x, z) < 0.01) & (np.abs(y) < 0.02),
        ),
        (
            f'<cylinder id="s">{LYING}<radius val="0.01"/><height val="0.04"/></cylinder>',
            Sample("cuboid", 0.04, 0.01 * np.sqrt(3), 0.01 * np.sqrt(3)),
            lambda x, y, z: (np.hypot(y, z) < 0.01) & (np.abs(x) < 0.02),
        ),
        (
            f'<hollow-cylinder id="s">{UPRIGHT}<inner-radius val="0.015"/><outer-radius val="0.02"/>'
            '<height val="0.04"/></hollow-cylinder>',
            Sample("annulus", 2 * np.sqrt((0.015**2 + 0.02**2) / 2), 0.04, 2 * np.sqrt((0.015**2 + 0.02**2) / 2)),
            lambda x, y, z: (np.hypot(x, z) < 0.02) & (np.hypot(x, z) > 0.015) & (np.abs(y) < 0.02),
        ),
        (
            '<sphere id="s"><centre x="0" y="0" z="0"/><radius val="0.01"/></sphere>',
            Sample("sphere", 0.02, 0.02, 0.02),
            lambda x, y, z: x**2 + y**2 + z**2 < 0.01**2,
        ),
        (
            TURNED,
            Sample("cuboid", np.hypot(0.001, 0.0173205), 0.03, np.hypot(0.00173205, 0.01)),
            lambda x, y, z: (
                (np.abs(np.cos(np.pi / 6) * x + 0.5 * z) < 0.01)
                & (np.abs(y) < 0.015)
                & (np.abs(-0.5 * x + np.cos(np.pi / 6) * z) < 0.001)
            ),
        ),
    ],
    ids=["cylinder", "lying cylinder", "annulus", "sphere", "turned plate"],
)
def test_sample_of_mantids_xml(xml, sample, inside):
    for written in (xml, f'<type name="userShape"> {xml} <algebra val="s"/> </type>'):
        found, notes = sample_of_xml(written)
        assert found.shape == sample.shape and notes == ()
        np.testing.assert_allclose(found.variances(), sample.variances(), rtol=1e-6)
    # the sizes are those of the same spread of the scattering point
    np.testing.assert_allclose(found.variances(), scattered(inside), rtol=0.06)


@pytest.mark.parametrize(
    ("xml", "note"),
    [
        ('<type name="userShape">  </type>', None),
        ("", None),
        ("<cone/>", "cone was not used: expected one of cuboid, cylinder, hollow-cylinder, sphere"),
        ("<sphere/><sphere/>", "sphere, sphere was not used"),
        ('<sphere><radius val="-1"/></sphere>', "sphere was not used: it is not complete (radius is -1)"),
        ("<sphere>", "its XML was not read (mismatched tag"),
    ],
)
def test_shapes_that_are_not_read_are_said(xml, note):
    found, notes = sample_of_xml(xml)
    assert found is None
    assert not notes if note is None else notes[0].startswith(note)


@pytest.mark.parametrize("shape", ["cuboid", "cylinder", "annulus", "sphere"])
def test_sample_and_mosaic_are_written_and_read_again(tmp_path, shape):
    sample = Sample(shape, 0.012, 0.03, 0.012)
    path = write_histogram(tmp_path / "in.nxs", 0, events=UNEVEN)
    spectrum = read_spectrum(path)
    spectrum = spectrum.replace(run=spectrum.run.updated("test", sample=sample, mosaic=0.4))
    write_nexus(spectrum, tmp_path / "out.nxs")
    again = run_of(tmp_path / "out.nxs")
    assert (again.value("sample"), again.value("mosaic")) == (sample, 0.4)
    assert again.sample.source == "log insgan_sample of experiment0"
    # Mantid finds the shape in its own place, and so does the reader
    found, notes = sample_of_xml(shape_xml(sample))
    assert found.shape == shape and notes == ()
    np.testing.assert_allclose(found.variances(), sample.variances(), rtol=1e-5)
    with h5py.File(tmp_path / "out.nxs", "r+") as file:
        del file["MDHistoWorkspace/experiment0/logs/insgan_sample"]
    assert run_of(tmp_path / "out.nxs").sample.source == "sample shape of experiment0"


def test_sample_of_the_file_widens_the_resolution(tmp_path):
    path = write_histogram(tmp_path / "in.nxs", 0, events=UNEVEN)
    small = Resolution.from_run(run_of(path))
    with h5py.File(path, "r+") as file:
        experiment = file["MDHistoWorkspace/experiment0"]
        experiment["sample"].attrs["shape_xml"] = np.bytes_(
            f'<type name="userShape"> {shape_xml(Sample("cuboid", 0.05, 0.05, 0.05))} </type>'
        )
    run = run_of(path)
    large = Resolution.from_run(run)
    assert large.sample == Sample("cuboid", 0.05, 0.05, 0.05) and small.sample == Sample()
    assert large.fwhm_energy(0.0) > 1.002 * small.fwhm_energy(0.0)
    assert Resolution.from_run(run, sample=Sample()).fwhm_energy(0.0) == small.fwhm_energy(0.0)


@pytest.mark.parametrize(
    ("flag", "sample"),
    [
        (1, Sample("cylinder", 0.02, 0.03, 0.02)),
        (2, Sample("cuboid", 0.01, 0.03, 0.01)),
        (3, Sample("cuboid", 0.01 * np.sqrt(3), 0.01 * np.sqrt(3), 0.01)),
        (4, None),
        (0, None),
    ],
)
def test_geometry_flags_of_raw_files(tmp_path, flag, sample):
    path = write_histogram(tmp_path / "in.nxs", 0, events=UNEVEN)
    with h5py.File(path, "r+") as file:
        group = file["MDHistoWorkspace/experiment0/sample"]
        for name, value in (("geom_id", flag), ("geom_width", 10.0), ("geom_height", 30.0), ("geom_thickness", 10.0)):
            del group[name]
            group[name] = np.array([value])
    found = run_of(path).value("sample")
    assert (found is None) == (sample is None)
    if sample is not None:
        assert found.shape == sample.shape
        np.testing.assert_allclose(found.variances(), sample.variances(), rtol=1e-6)


def test_text_of_a_sample():
    assert Sample.parsed("Cylinder, 0.01,0.04,0.01") == Sample("cylinder", 0.01, 0.04, 0.01)
    with pytest.raises(InputError) as caught:
        Sample.parsed("cylinder,0.01")
    assert caught.value.reason == "the sample 'cylinder,0.01' is not a shape and three numbers separated by commas"
    assert "such as cylinder,0.01,0.04,0.01" in caught.value.fix


# --------------------------------------------------------------------------------------------------- chopper packages


def test_packages_by_name_and_by_slits():
    assert known_package("MAPS", "MAPS sloppy chopper") == "S"
    assert known_package("MAPS", "new one") is None
    # packages with the same slits have the same resolution: the first of them stands for all
    assert packages_with("SEQUOIA", Slits(0.00152, 0.05, 0.58)) == ("ARCS-100-1.5-AST",)
    assert packages_with("MERLIN", Slits(2e-4, 0.005, 99999.0)) == ("G",)  # straight, however large the number
    assert packages_with("MAPS", Slits(0.005)) == ()


def test_what_a_package_is():
    found = {package.name: package for package in packages("MAPS")}
    assert found["S"].words == "longest burst: coarsest resolution"
    assert found["A"].words == "shortest burst: finest resolution" and found["A"].default
    assert found["B"].best_ei == pytest.approx(251.5, rel=1e-3)
    # 0.58 m and 1.535 m were made for 100 and 700 meV at 600 Hz, which their names say
    for package in packages("ARCS"):
        if package.name.endswith("AST"):
            assert package.best_ei == pytest.approx(float(package.name.split("-")[1]), rel=1e-3)
    assert {package.best_ei for package in packages("LET")} == {None}
    assert packages("HYSPEC")[0].words == ""


@pytest.mark.mantid
def test_sample_and_normalisation_of_a_live_workspace_are_those_of_its_file(tmp_path):
    from mantid.simpleapi import LoadMD

    from mantid_insgan.mantid_support.workspace import read_outline, read_workspace

    events = np.where(UNEVEN > 5, UNEVEN, 0.0)
    gain = np.where(events > 0, 1.0, 0.0)
    path = write_histogram(tmp_path / "in.nxs", 2, events=events, gain=gain, algorithms=("LoadNXSPE", "MDNorm"))
    with h5py.File(path, "r+") as file:
        sample = file["MDHistoWorkspace/experiment0/sample"]
        sample.attrs["shape_xml"] = np.bytes_(f"<type name='userShape'> {shape_xml(Sample('sphere', 0.02))} </type>")
    spectrum, workspace = read_spectrum(path), LoadMD(Filename=str(path), OutputWorkspace="live")
    live = read_workspace(workspace)
    assert live.normalised and live.valid.all() and read_outline(workspace).valid.all()
    assert live.run.sample == spectrum.run.sample
    np.testing.assert_array_equal(live.signal, spectrum.signal)


# ----------------------------------------------------------------------------------------------------------- inspect


def test_inspect_says_where_each_fact_came_from(tmp_path, insgan):
    def jaws(instrument):
        put_fermi(instrument, SLOPPY, energy=100.0, speed=400.0)
        put_aperture(instrument, 0.047, 0.0989, 10.329)

    path = write_isis(tmp_path / "in.nxspe", fill=jaws)
    code, said, _ = insgan("inspect", path, "--ei", 101)
    assert code == 0
    for line in (
        "  instrument: MAPS (instrument/name of the nxspe entry)",
        "  ei: 101 (option --ei)",
        "  chopper: S (instrument/fermi (type and slit) of the nxspe entry)",
        "  frequency: 400 (instrument/fermi/rotation_speed of the nxspe entry)",
        "  temperature: not known",
        "  sample: cuboid of 10 x 10 x 10 mm (across the beam, vertical, along the beam) (default)",
        "  mosaic: 0 degrees FWHM (default)",
    ):
        assert line in said.splitlines()
    assert "(horizontal) and that of the instrument (vertical) (instrument/aperture of the nxspe entry (47 x" in said
    sheet = json.loads(insgan("inspect", path, "--json")[1])["run"]
    assert sheet["sample"] == {"value": "cuboid,0.01,0.01,0.01", "source": "default"}
    assert sheet["divergence"]["value"][1] is None
    used = json.loads(insgan("apply", path, tmp_path / "out.nxs", "--json")[1])["run"]
    assert used["divergence"]["source"] == sheet["divergence"]["source"]


def test_inspect_says_that_a_package_is_the_only_one(tmp_path, insgan):
    path = write_isis(tmp_path / "in.nxspe", name="HYSPEC", ei=30.0)
    said = insgan("inspect", path)[1]
    assert "  chopper: OnlyOne (default: HYSPEC has no other package)" in said.splitlines()


def test_inspect_of_an_instrument_lists_its_chopper_packages(tmp_path, insgan):
    code, said, _ = insgan("inspect", "mer")
    assert code == 0
    lines = said.splitlines()
    assert lines[0] == "MERLIN (also MER), ISIS, since 2006: chopper packages as ResINS has them"
    assert [line.split()[0] for line in lines[2:]] == ["G", "S"]
    assert (
        lines[3].split("  ")[-1].strip()
        == "longest burst: coarsest resolution; curved for 502 meV at 600 Hz; also sloppy"
    )
    found = json.loads(insgan("inspect", "LET", "--json")[1])
    assert found["choppers"][0] == {
        "name": "High Flux",
        "default": True,
        "slit_width_mm": pytest.approx(31.0),
        "radius_mm": pytest.approx(290.0),
        "curvature_m": None,
        "best_ei_at_highest_frequency_mev": None,
        "ei_mev": [0.0, 30.0],
        "frequency_hz": {"resolution_frequency": [10.0, 300.0], "pulse_remover_frequency": [10.0, 300.0]},
        "words": "longest burst: coarsest resolution",
    }
    path = write_isis(tmp_path / "in.nxspe", fill=maps_raw)
    said = insgan("inspect", path, "--choppers")[1]
    assert said.startswith(str(path)) and "\nMAPS (also MAPS-2017, MAP), ISIS" in said
    assert len(json.loads(insgan("inspect", path, "--choppers", "--json")[1])["instrument"]["choppers"]) == 3
    nameless = write_isis(tmp_path / "nameless.nxspe", name=None)
    code, _, err = insgan("inspect", nameless, "--choppers")
    assert code == 4 and f"the instrument of {nameless} is not known, so its chopper packages are not either" in err
    assert "name the instrument in place of the file: one of MAPS, " in err


# ---------------------------------------------------------------------------------------------------------- the page


@pytest.fixture(scope="module")
def maker():
    """The script that makes the tables of docs/facts.md."""
    spec = util.spec_from_file_location("make_facts", ROOT / "docs" / "make_facts.py")
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_logs_on_the_page_are_those_that_are_read(maker):
    text = maker.PAGE.read_text(encoding="utf-8")
    assert maker.renewed(text, None) == text, "run python docs/make_facts.py"


def test_files_on_the_page_know_what_it_says(maker, shared):
    text = maker.PAGE.read_text(encoding="utf-8")
    assert maker.renewed(text, shared) == text, "run python docs/make_facts.py"
    # every file of data and of Mantid that is read as a spectrum has its row
    rows = {path for pattern in maker.FILES for path in shared.glob(pattern)}
    assert rows == {p for f in ("data", "mantid") for p in (shared / f).rglob("*.nx*s*") if p.is_file()}


def test_real_run_of_mari_needs_no_option(shared, insgan, tmp_path):
    path = shared / "data/al-mari/aluminium_Ei60.nxspe"
    sheet = json.loads(insgan("inspect", path, "--json")[1])
    assert sheet["missing_for_apply"] is None and sheet["missing_run_facts"] == []
