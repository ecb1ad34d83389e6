"""The facts that files know: chopper, frequency, divergence and sample, from raw files and the logs of each facility."""

import json

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
from mantid_insgan.io.facts import parse_divergence
from mantid_insgan.io.geometry import sample_of_xml, shape_xml

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
    line = 40 * np.exp(-0.5 * ((centre - 0.3 * ei) / (0.05 * ei)) ** 2) + 80 * np.exp(-0.5 * (centre / (0.03 * ei)) ** 2)
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


# ------------------------------------------------------------------------------------------- the raw file in nxspe files


def test_apply_of_an_isis_nxspe_needs_no_option(tmp_path, insgan):
    path, out = write_isis(tmp_path / "in.nxspe", fill=maps_raw), tmp_path / "out.nxs"
    code, said, err = insgan("apply", path, out, "--json")
    assert code == 0, err
    used = json.loads(said)["run"]
    assert {name: fact["value"] for name, fact in used.items()} == {
        **{"instrument": "MAPS", "ei": 100.0, "chopper": "S", "frequency": 400.0}
    }
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
        said = f"instrument/{component} of the nxspe entry is {found} m from the sample, and {ours} m in the description"
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
