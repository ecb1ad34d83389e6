"""Inputs as facilities and users make them: units, spellings, empty bins, facts that disagree."""

import re

import h5py
import numpy as np
import pytest

from mantid_insgan import Axis, Lattice, Run, Spectrum
from mantid_insgan.core.options import ApplyOptions
from mantid_insgan.core.run import require_one_setting
from mantid_insgan.errors import InputError, ModelError, OutputError, RunFactError
from mantid_insgan.instruments.instrument import Resolution
from mantid_insgan.io import open_spectrum, read_nexus, read_nxspe, write_nexus
from mantid_insgan.io.units import converted
from mantid_insgan.translate.inspect import inspect_file
from mantid_insgan.translate.job import apply, apply_to_file

CPU = ApplyOptions(device="cpu")
ADD = ApplyOptions(device="cpu", direction="add-resolution")
MAPS = Run().updated("test", instrument="MAPS", ei=50.0, chopper="S", frequency=400.0)


def counts_of(q, e, scale=100.0):
    """A mode with counting noise, and its variance."""
    q, e = (q[1:] + q[:-1]) / 2, (e[1:] + e[:-1]) / 2
    mode = 10 + 15 * np.abs(np.sin(np.pi * q))[:, None]
    expected = scale * (np.exp(-(((e - mode) / 1.5) ** 2) / 2) + 0.05)
    counts = np.random.default_rng(3).poisson(expected).astype(float)
    return counts, np.maximum(counts, 1.0)


def powder(q=(0.5, 4.5, 40), e=(-5.0, 45.0, 50), axes=(("|Q|", "MomentumTransfer"), ("DeltaE", "DeltaE")), **fields):
    """|Q| and energy of MAPS; limits and bins of each axis, its name and unit."""
    edges = [np.linspace(low, high, n + 1) for low, high, n in (q, e)]
    signal, variance = counts_of(*edges)
    axes = tuple(Axis(name, x, unit) for x, (name, unit) in zip(edges, axes, strict=True))
    return Spectrum(**{"signal": signal, "variance": variance, "axes": axes, "run": MAPS} | fields)


def crystal(run=MAPS, q=(0.5, 2.5, 40), e=(-5.0, 45.0, 50)):
    """[H,0,0] and energy, integrated over k and l."""
    flat = powder(q, e)
    edges = {"[H,0,0]": flat.axes[0].edges, "[0,K,0]": [-0.1, 0.1], "[0,0,L]": [-0.5, 0.5]}
    momenta = (Axis(name, x, "r.l.u.", "HKL") for name, x in edges.items())
    signal, variance = (x[:, None, None, :] for x in (flat.signal, flat.variance))
    return Spectrum(signal, variance, (*momenta, flat.axes[1]), run=run, coordinate_system=3)


def put_log(path, experiment: int, name: str, value, units: str = "") -> None:
    """Write a log of an experiment in a file, in place of the old one."""
    with h5py.File(path, "r+") as file:
        logs = file["MDHistoWorkspace"].require_group(f"experiment{experiment}/logs")
        if name in logs:
            del logs[name]
        logs[f"{name}/value"] = np.array([value]) if np.ndim(value) == 0 else value
        if units:
            logs[f"{name}/value"].attrs["units"] = np.bytes_(units)


@pytest.fixture
def file(tmp_path):
    """Writes a spectrum."""

    def write(spectrum, name="in.nxs"):
        write_nexus(spectrum, tmp_path / name)
        return tmp_path / name

    return write


# B01


def test_b01_the_lattice_that_was_given_is_in_the_result(file, tmp_path):
    path = file(crystal())
    out, again = tmp_path / "out.nxs", tmp_path / "again.nxs"
    apply_to_file(path, out, CPU.updated(lattice="4,4,6"))
    assert read_nexus(out).run.value("lattice").cell == (4, 4, 6, 90, 90, 90)
    apply_to_file(out, again, ADD)
    assert read_nexus(again).run.value("lattice").cell == (4, 4, 6, 90, 90, 90)


def test_b01_a_cell_without_orientation_is_written_and_read(file):
    run = MAPS.updated("test", lattice=Lattice(4.1, 4.2, 6.0, gamma=120.0))
    found = read_nexus(file(crystal(run))).run.value("lattice")
    assert found.cell == (4.1, 4.2, 6.0, 90.0, 90.0, 120.0) and found.ub is None


def test_b01_a_cell_that_replaces_another_wins_and_the_same_keeps_its_orientation(file, tmp_path):
    cell = Lattice(4.0, 4.0, 6.0)
    run = MAPS.updated("test", lattice=Lattice(4.0, 4.0, 6.0, ub=cell.b_matrix()))
    path = file(crystal(run))
    apply_to_file(path, tmp_path / "same.nxs", CPU.updated(lattice="4,4,6"))
    assert np.allclose(read_nexus(tmp_path / "same.nxs").run.value("lattice").ub, cell.b_matrix())
    apply_to_file(path, tmp_path / "other.nxs", CPU.updated(lattice="4,4,6.2"))
    assert read_nexus(tmp_path / "other.nxs").run.value("lattice").cell == (4, 4, 6.2, 90, 90, 90)


# B02


@pytest.mark.parametrize(
    ("name", "unit", "factor"),
    [
        ("Energy", "THz", 4.135667697),
        ("Energy", "1/cm", 0.1239841984),
        ("Energy", "DeltaE_inWavenumber", 0.1239841984),
        ("Energy", "ueV", 1e-3),
        ("DeltaE", "eV", 1e3),
        ("DeltaE", "K", 0.08617333262),
        ("Dim2", "GHz", 4.135667697e-3),
    ],
)
def test_b02_energies_are_converted_to_mev_and_the_file_keeps_its_unit(file, tmp_path, name, unit, factor):
    high = 40.0 / factor
    path = file(powder(e=(-high / 8, high, 40), axes=(("|Q|", "Angstrom^-1"), (name, unit))))
    read = read_nexus(path)
    assert read.axes[1].unit == "meV" and read.energy_axis == 1
    assert read.axes[1].edges[-1] == pytest.approx(40.0, rel=1e-6)
    (note,) = read.run.notes
    assert note.startswith(f"axis {name!r} is in {unit} in the file: it was converted to meV")
    assert f"note: {note}" in inspect_file(path).as_text()
    report = apply_to_file(path, tmp_path / "out.nxs", CPU)
    assert note in report.notes
    with h5py.File(tmp_path / "out.nxs") as out:
        axis = out[f"MDHistoWorkspace/data/{name}"]
        assert axis.attrs["units"].decode() == unit and axis[-1] == pytest.approx(high, rel=1e-12)


def test_b02_a_spectrum_in_memory_may_have_another_unit():
    spectrum = powder()
    expected, _ = apply(spectrum, CPU)
    energy = Axis("Energy", spectrum.axes[1].edges / 1000, "eV")
    found, report = apply(spectrum.replace(axes=(spectrum.axes[0], energy)), CPU)
    assert np.allclose(found.signal, expected.signal, rtol=1e-3) and found.axes[1] == energy
    assert any(n.startswith("axis 'Energy' is in eV") for n in report.notes)


@pytest.mark.parametrize(("unit", "factor"), [("nm^-1", 0.1), ("1/nm", 0.1), ("A^-1", 1), ("Å⁻¹", 1), ("1/Å", 1)])
def test_b02_momenta_are_converted(file, unit, factor):
    read = read_nexus(file(powder(axes=(("|Q|", unit), ("DeltaE", "meV")))))
    assert np.allclose(read.axes[0].edges, factor * np.linspace(0.5, 4.5, 41))


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ((("|Q|", "A^-1"), ("DeltaE", "furlong")), "axis 'DeltaE': the unit 'furlong' is not known here, expected an "),
        ((("|Q|", "A^-1"), ("DeltaE", "rad/s")), "axis 'DeltaE': the unit 'rad/s' is not known"),
        (
            (("|Q|", "barn"), ("DeltaE", "meV")),
            "axis '|Q|': the unit 'barn' is not known here, expected an inverse length",
        ),
    ],
)
def test_b02_unknown_units_are_refused_by_name(file, axes, message):
    with pytest.raises(InputError) as raised:
        read_nexus(file(powder(axes=axes)))
    assert message in str(raised.value) and "convert the data to" in raised.value.fix


def test_b02_a_unit_of_another_kind_is_refused():
    assert converted(1500.0, "rpm", "Hz") == pytest.approx(25.0)
    assert converted(20.0, "degC", "K") == pytest.approx(293.15)
    with pytest.raises(InputError, match="the unit 'K' is not known here, expected a frequency such as Hz or rpm"):
        converted(1.0, "K", "Hz")


# B07, B08


@pytest.mark.parametrize(
    ("value", "units", "expected"),
    [(b"50.0", "", 50.0), (b"50.0 meV", "", 50.0), (b"0.05 eV", "", 50.0), (0.05, "eV", 50.0), (5e4, "ueV", 50.0)],
)
def test_b07_numbers_in_texts_and_their_units_are_read(file, value, units, expected):
    path = file(crystal())
    put_log(path, 0, "Ei", value, units)
    put_log(path, 0, "chopper_frequency", b"24000 rpm")
    run = read_nexus(path).run
    assert run.value("ei") == pytest.approx(expected) and run.value("frequency") == pytest.approx(400.0)
    assert run.notes == ()


def test_b07_a_value_of_unknown_unit_is_not_used(file):
    path = file(crystal())
    put_log(path, 0, "Ei", 50.0, "parsec")
    sheet = inspect_file(path)
    assert sheet.run.ei is None and "the incident energy is not known" in sheet.missing
    assert sheet.run.notes[0].startswith("log Ei of experiment0 was not used: the unit 'parsec' is not known here")


def test_b08_values_in_one_log_that_differ_are_named(file):
    path = file(crystal())
    put_log(path, 0, "Ei", np.array([46.0, 54.0]))
    put_log(path, 0, "chopper_frequency", np.array([0.0, 0.0, 0.0, 399.9, 400.1]))
    run = read_nexus(path).run
    assert run.value("frequency") == pytest.approx(400.0)
    assert run.notes == ("log Ei of experiment0 has 2 values from 46 to 54 meV; their median, 50, was taken",)


# B09, B10


@pytest.mark.parametrize("name", ["nxspe", "NXSPE", "unknown"])
def test_b09_names_that_are_no_spectrometer_do_not_count(file, name):
    written = powder(run=MAPS.updated("other", instrument=name))
    assert read_nexus(file(written, "MER12345.nxs")).run.value("instrument") == "MERLIN"
    sheet = inspect_file(file(written, "cut.nxs"))
    assert sheet.run.instrument is None and "instrument" in sheet.unknown


def test_b09_an_unknown_spectrometer_is_among_what_is_to_be_given(file):
    sheet = inspect_file(file(powder(run=Run().updated("test", instrument="IN5", ei=50.0))))
    assert sheet.unknown == ("instrument", "chopper", "frequency")
    assert "instrument 'IN5' is not known" in sheet.missing


@pytest.mark.parametrize(
    "axes",
    [
        (("Dim1", "MomentumTransfer"), ("EnergyTransfer", "EnergyTransfer")),
        (("|Q|", "MomentumTransfer"), ("Dim2", "EnergyTransfer")),
    ],
)
def test_b10_the_unit_tells_what_an_axis_is(file, axes):
    read = read_nexus(file(powder(axes=axes)))
    assert read.energy_axis == 1 and read.axes[0].is_modulus_q
    assert inspect_file(file(powder(axes=axes), "two.nxs")).missing is None


def test_b10_axes_are_named_where_the_file_does_not_say(file, tmp_path, insgan):
    path, out = file(powder(axes=(("Dim1", ""), ("Dim2", "")))), tmp_path / "out.nxs"
    expected, _ = apply(powder(), CPU)
    with pytest.raises(InputError, match=r"there is no energy axis among 'Dim1', 'Dim2'.*\(--axes\)"):
        apply_to_file(path, out, CPU)
    apply_to_file(path, out, CPU.updated(axes="|Q|; DeltaE"))
    found = read_nexus(out)
    assert [a.name for a in found.axes] == ["|Q|", "DeltaE"]
    assert np.allclose(found.signal, expected.signal, rtol=1e-4)
    in_memory, _ = apply(read_nexus(path), CPU.updated(axes="|Q|;DeltaE"))
    assert [a.name for a in in_memory.axes] == ["|Q|", "DeltaE"]
    _, said, _ = insgan("inspect", path, "--axes", "|Q|;DeltaE")
    assert "for apply: nothing is missing" in said


def test_b10_a_name_decides_what_a_unit_means(file):
    path = file(powder(e=(-40.0, 360.0, 50), axes=(("Dim1", "1/nm"), ("Dim2", "1/cm"))))
    with open_spectrum(path, axes=("|Q|", "DeltaE")) as opened:
        assert opened.axes[1].edges[-1] == pytest.approx(360 * 0.1239841984)


def test_b10_as_many_names_as_axes(file, tmp_path):
    with pytest.raises(InputError, match="1 names of axes were given .DeltaE., and there are 2 axes: .*give one name"):
        apply_to_file(file(powder()), tmp_path / "out.nxs", CPU.updated(axes="DeltaE"))
    with pytest.raises(InputError, match="has axes of .Q. and energy, and names of axes were given.*omit that option"):
        apply_to_file(nxspe(tmp_path / "in.nxspe"), tmp_path / "out.nxs", CPU.updated(axes="|Q|;DeltaE"))


# B15


@pytest.mark.parametrize(
    ("log", "value", "fact", "message"),
    [
        ("Ei", 25.0, "ei", r"differ in Ei: 50 \(log Ei of experiment0\) and 25 \(log Ei of experiment1\)"),
        ("chopper_frequency", 200.0, "frequency", "differ in frequency: 400 .* and 200 "),
        ("chopper_package", b"A", "chopper", "differ in chopper: S .* and A "),
        ("instrument_name", b"MERLIN", "instrument", "differ in instrument: MAPS .* and MERLIN "),
    ],
)
def test_b15_experiments_of_two_settings_are_refused_unless_the_fact_is_given(file, log, value, fact, message):
    path = file(powder())
    put_log(path, 1, log, value)
    spectrum = read_nexus(path)
    assert len(spectrum.run.notes) == 1 and "the first was taken" in spectrum.run.notes[0]
    assert "experiments of the data differ in" in inspect_file(path).missing
    with pytest.raises(
        RunFactError, match=message + ".*expected one setting.*Fix: bin the runs of one setting"
    ) as raised:
        apply(spectrum, CPU)
    assert f"--{fact}" in raised.value.fix
    require_one_setting(spectrum.run.updated(f"option --{fact}", **{fact: MAPS.value(fact)}))


def test_b15_a_small_difference_and_another_lattice_are_said(file):
    path = file(powder())
    put_log(path, 1, "Ei", 50.2)
    put_log(path, 0, "insgan_lattice", b"4,4,6")
    put_log(path, 1, "insgan_lattice", b"4,4,7")
    run = read_nexus(path).run
    require_one_setting(run)
    assert any("differ in Ei: 50 meV" in n and "50.2 meV" in n for n in run.notes)
    assert any("differ in lattice: 4,4,6,90,90,90" in n and "4,4,7,90,90,90" in n for n in run.notes)


def test_b15_facts_behind_the_eighth_experiment_are_found(file):
    path = file(powder(run=Run()))
    for number in range(9):
        put_log(path, number, "proton_charge", 1.0)
    put_log(path, 9, "Ei", 50.0)
    assert read_nexus(path).run.ei.source == "log Ei of experiment9"


# B11, B14


@pytest.mark.parametrize("normalization", [0, 2])
def test_b11_bins_without_events_are_not_valid_anywhere(file, tmp_path, normalization):
    plain = powder()
    events = np.ones(plain.shape)
    events[10:20] = 0
    path = file(
        powder(
            signal=plain.signal * events,
            variance=plain.variance * events,
            num_events=events,
            visual_normalization=normalization,
        )
    )
    assert np.array_equal(read_nexus(path).valid, events > 0)
    assert inspect_file(path).valid == events.sum()
    report = apply_to_file(path, tmp_path / "out.nxs", CPU)
    out = read_nexus(tmp_path / "out.nxs")
    assert report.quality.bins == events.sum()
    assert np.array_equal(out.valid, events > 0) and np.isnan(out.signal[10:20]).all()


def test_b11_zeros_of_measured_bins_count():
    zeros = np.zeros((40, 50))
    events = np.arange(2000.0).reshape(40, 50) % 3
    assert powder(signal=zeros, variance=zeros).valid.all()
    assert np.array_equal(powder(signal=zeros, variance=zeros, num_events=events).valid, events > 0)
    assert powder(signal=zeros, variance=zeros + 1, num_events=events).valid.all()


def test_b14_what_cannot_be_measured_above_ei_does_not_count(file, tmp_path):
    plain = powder(e=(-2.0, 80.0, 41))
    centers = plain.axes[1].centers
    signal, variance = plain.signal.copy(), plain.variance.copy()
    signal[:, centers > 50] = np.nan
    signal[5, centers == 55], variance[5, centers == 55] = 0.0, 0.0
    signal[6:9, centers == 51] = 3.0
    path = file(plain.replace(signal=signal, variance=variance, valid=None))
    report = apply_to_file(path, tmp_path / "out.nxs", CPU)
    assert any(
        n.startswith("3 valid bins have their centre above Ei = 50 meV and begin at or below it") for n in report.notes
    )
    assert not read_nexus(tmp_path / "out.nxs").valid[:, centers > 50].any()
    assert inspect_file(path).missing is None


def test_b14_measured_bins_above_ei_are_refused_by_the_highest():
    plain = powder(e=(-2.0, 80.0, 41))
    valid = np.broadcast_to(plain.axes[1].centers < 58, plain.shape)
    with pytest.raises(RunFactError, match="the highest valid bin, at an energy transfer of 57 meV, lies above.*--ei"):
        apply(plain.replace(valid=valid), CPU)


# B12, B13


def test_b12_a_variance_that_is_a_rounding_error_is_none(file, tmp_path):
    spectrum = powder()
    signal, variance = spectrum.signal.copy(), spectrum.variance.copy()
    signal[3, 7], variance[3, 7] = 1e-29, 1.8e-32
    path = file(spectrum.replace(signal=signal, variance=variance))
    report = apply_to_file(path, tmp_path / "out.nxs", CPU)
    plain, clean = apply(spectrum, CPU)
    assert report.quality.chi_squared / report.quality.compared < 2 * clean.quality.chi_squared / clean.quality.compared
    assert report.quality.compared == plain.signal.size - 1
    assert any(n.startswith("1 bins have variances below 1e-12 of the median") for n in report.notes)
    assert not any("variances below" in n for n in clean.notes)


def test_b13_one_outlier_does_not_spoil_the_others():
    spectrum = powder()
    signal = spectrum.signal.copy()
    signal[6, 8] = -9e17
    found, report = apply(spectrum.replace(signal=signal), CPU)
    plain, clean = apply(spectrum, CPU)
    far = np.ones(plain.shape, bool)
    far[:13, :15], far[6, 8] = False, False
    assert not found.valid[6, 8] and found.valid.sum() == plain.valid.sum() - 1
    assert np.allclose(found.variance[far], plain.variance[far], rtol=0.1)
    assert any(n.startswith("1 bins have values up to 9e+17, more than 100000 times all others") for n in report.notes)
    assert not any("times all others" in n for n in clean.notes)


def test_b13_a_line_in_one_bin_of_a_simulation_is_no_outlier():
    signal = np.full((40, 50), 1e-9)
    signal[20, 25] = 1.0
    found, report = apply(powder(signal=signal, variance=np.zeros((40, 50))), ADD)
    assert found.valid.all() and not any("times all others" in n for n in report.notes)


# B03, B20


def test_b03_the_flux_ratio_is_that_of_the_file(file, tmp_path):
    plain = powder()
    events = np.where(plain.signal > 60, 300.0, 1.0)
    sums = {"signal": plain.signal * events, "variance": plain.variance * events**2, "num_events": events}
    path = file(powder(**sums, visual_normalization=2))
    report = apply_to_file(path, tmp_path / "out.nxs", ADD)
    before, after = read_nexus(path), read_nexus(tmp_path / "out.nxs")
    stated = report.summary()["flux_ratio"]
    assert stated == pytest.approx(after.signal[after.valid].sum() / before.signal[before.valid].sum(), rel=1e-6)
    shown = (after.signal / events).sum() / plain.signal.sum()
    assert shown == pytest.approx(1.0, abs=0.05) and abs(stated - shown) > 0.05
    assert any(f"per event, which Mantid shows, is {shown:.4g}" in n for n in report.notes)
    _, in_memory = apply(before, ADD)
    assert in_memory.summary()["flux_ratio"] == pytest.approx(stated, rel=1e-5)


def test_b20_no_flux_ratio_where_the_total_means_nothing():
    spectrum = powder()
    _, report = apply(spectrum.replace(signal=spectrum.signal - spectrum.signal.mean()), ADD)
    assert report.summary()["flux_ratio"] is None
    assert "the total of the data is near zero, so that its ratio to that of the result means nothing" in report.notes
    _, plain = apply(spectrum, ADD)
    assert plain.summary()["flux_ratio"] == pytest.approx(1.0, abs=0.05)
    assert not any("near zero" in n for n in plain.notes)


# B19


@pytest.mark.parametrize("options", [CPU, ADD])
def test_b19_a_strong_line_that_an_edge_cuts_is_said(options):
    def line(low, high):
        centers = np.linspace(low, high, 101)[:-1] + (high - low) / 200
        signal = np.repeat((500 * np.exp(-((centers / 0.9) ** 2) / 2) + 5)[None], 40, 0)
        return powder(e=(low, high, 100), signal=signal, variance=signal)

    _, report = apply(line(0.0, 20.0), options)
    (note,) = [n for n in report.notes if "cut by the edge" in n]
    assert note.startswith("a strong line is cut by the edge of 'DeltaE' at 0 meV (") and "flux ratio" in note
    for whole in (line(-5.0, 20.0), powder()):
        assert not any("cut by the edge" in n for n in apply(whole, options)[1].notes)


# B05, B07, B16


def nxspe(path, energy=None, ei=50.0, change=None):
    """Sixty detectors of MAPS with an elastic line and a mode at 15 meV; `change` gets the group of the data."""
    energy = np.linspace(-10, 45, 111) if energy is None else energy
    center = (energy[1:] + energy[:-1]) / 2
    expected = 50 * np.exp(-(((center - 15) / 2) ** 2) / 2) + 200 * np.exp(-(center**2) / 2) + 5
    signal = np.random.default_rng(4).poisson(np.repeat(expected[None], 60, 0)).astype(float)
    with h5py.File(path, "w") as file:
        entry = file.create_group("data_entry")
        entry["NXSPE_info/fixed_energy"], entry["NXSPE_info/psi"] = ei, 0.0
        entry["instrument/name"] = np.bytes_("MAPS")
        data = entry.create_group("data")
        values = {"polar": np.linspace(3, 60, 60), "polar_width": np.full(60, 0.97), "azimuthal": np.zeros(60)}
        values |= {"azimuthal_width": np.ones(60), "energy": energy, "data": signal, "error": np.sqrt(signal)}
        for name, value in values.items():
            data[name] = value
        if change is not None:
            change(data)
    return path


@pytest.mark.parametrize(
    ("energy", "left"),
    [
        (np.r_[np.arange(-10, 44.6, 0.5), 44.8], "44.5 to 44.8"),
        (np.r_[-10.3, np.arange(-10, 44.6, 0.5)], "-10.3 to -10"),
        (np.r_[-10.3, np.arange(-10, 44.6, 0.5), 44.8], "-10.3 to -10 and 44.5 to 44.8"),
    ],
)
def test_b05_an_uneven_bin_at_an_end_is_left_out(tmp_path, energy, left):
    spectrum = read_nxspe(nxspe(tmp_path / "in.nxspe", energy))
    assert np.allclose(np.diff(spectrum.axes[1].edges), 0.5) and len(spectrum.axes[1]) == 109
    assert spectrum.run.notes == (f"the energy bin {left} was left out: the others are 0.5 wide",)


def test_b05_an_uneven_bin_inside_is_refused(tmp_path):
    energy = np.linspace(-10, 45, 111)
    energy[50] += 0.2
    with pytest.raises(InputError, match="bins of unequal width .*rebin that axis"):
        read_nxspe(nxspe(tmp_path / "in.nxspe", energy))


@pytest.mark.parametrize("ei", [np.bytes_(b"50.0"), np.bytes_(b"50.0 meV"), np.array([b"0.05 eV"])])
def test_b07_ei_of_an_nxspe_file_may_be_a_text(tmp_path, ei):
    assert read_nxspe(nxspe(tmp_path / "in.nxspe", ei=ei)).run.value("ei") == pytest.approx(50.0)


def test_b16_an_error_of_minus_one_is_a_mask(tmp_path):
    def masked(data):
        data["data"][10:20], data["error"][10:20] = 0.0, -1.0

    def gone(data):
        data["data"][10:20] = np.nan

    one, other = (read_nxspe(nxspe(tmp_path / f"{c.__name__}.nxspe", change=c)) for c in (masked, gone))
    assert one.identical(other)


def test_b16_a_width_that_no_detector_has_is_bounded(tmp_path):
    def wide(data):
        data["polar_width"][20:40] = 60.0

    one, other = read_nxspe(nxspe(tmp_path / "one.nxspe", change=wide)), read_nxspe(nxspe(tmp_path / "other.nxspe"))
    assert one.shape == other.shape and np.array_equal(one.valid, other.valid)
    assert one.run.notes == (
        "20 detectors have a polar_width of up to 60 degrees: they were taken to reach half-way to their neighbours",
    )
    assert other.run.notes == ()


def test_b16_negative_angles_are_on_the_other_side_of_the_beam(tmp_path):
    from mantid_insgan.io.nxspe import read_crystal_run

    def negative(data):
        data["polar"][:30] *= -1

    one, other = nxspe(tmp_path / "one.nxspe", change=negative), nxspe(tmp_path / "other.nxspe")
    assert read_nxspe(one).identical(read_nxspe(other))
    azimuthal = read_crystal_run(one).azimuthal
    assert (azimuthal[:30] == 180).all() and (azimuthal[30:] == 0).all()


def test_b02_the_energies_of_an_nxspe_file_may_have_another_unit(tmp_path):
    def in_ev(data):
        data["energy"][...] = data["energy"][()] / 1000
        data["energy"].attrs["units"] = np.bytes_("eV")

    read = read_nxspe(nxspe(tmp_path / "one.nxspe", change=in_ev))
    assert read.axes[1].edges[-1] == pytest.approx(45.0)
    assert read.run.notes == ("the energies are in eV in the file: they were converted to meV",)


# B04, B06, B17


def test_b04_the_message_names_the_axis_and_the_width_of_bins():
    narrow = powder(q=(2.0, 2.02, 14))
    with pytest.raises(ModelError, match=r"resolution along '\|Q\|' is [\d.]+ bins wide") as raised:
        apply(narrow, CPU)
    wide = re.search(r"Fix: rebin the data along '\|Q\|' to bins of ([\d.]+) .*; --q-bins on", str(raised.value))
    apply(narrow, CPU, q_bins=int(0.02 / float(wide[1])))


@pytest.mark.parametrize(
    ("facts", "note"),
    [
        ({"frequency": 600.02}, "a chopper frequency of 600.02 Hz is just outside the range of MERLIN, 50 to 600 Hz"),
        ({"ei": 182.23}, "Ei = 182.23 meV is just outside the range of MERLIN with chopper G, 0 to 181 meV"),
    ],
)
def test_b06_measured_values_just_outside_a_range_are_used_and_said(file, facts, note):
    facts = {"instrument": "MERLIN", "ei": 50.0, "chopper": "G", "frequency": 600.0} | facts
    spectrum = powder(run=Run().updated("test", **facts))
    _, report = apply(spectrum, CPU)
    assert any(n.startswith(note) and "it was used as it is" in n for n in report.notes)
    assert any(n.startswith(note) for n in inspect_file(file(spectrum)).run.notes)
    inside = Resolution("MERLIN", min(facts["ei"], 181), "G", 600)
    found = Resolution(facts["instrument"], facts["ei"], "G", facts["frequency"])
    assert inside.notes == () and found.fwhm_energy(0.0) == pytest.approx(inside.fwhm_energy(0.0), rel=0.02)


@pytest.mark.parametrize("facts", [("MERLIN", 50, "G", 610), ("MERLIN", 185, "G", 600)])
def test_b06_values_farther_outside_are_refused(facts):
    with pytest.raises(RunFactError, match="is outside the range of MERLIN"):
        Resolution(*facts)


@pytest.mark.parametrize("name", ["MAP", "maps", " Maps ", "M_A-P s"])
def test_b17_spellings_of_instruments_are_the_same(file, tmp_path, name):
    report = apply_to_file(file(powder()), tmp_path / "out.nxs", CPU.updated(instrument=name))
    assert report.run.value("instrument") == "MAPS" and str(report.resolution).startswith("instrument=MAPS,")
    assert not any("replaces" in n for n in report.notes)


@pytest.mark.parametrize("name", ["High_Flux", "high flux", "HIGH-FLUX", "HighFlux"])
def test_b17_spellings_of_choppers_are_the_same(name):
    assert Resolution("SEQ", 50, name, 300).chopper == "High-Flux"


def test_b17_experiments_that_spell_a_chopper_differently_agree(file):
    path = file(powder(run=MAPS.updated("other", chopper="High_Flux")))
    put_log(path, 1, "chopper_package", b"High-Flux")
    assert read_nexus(path).run.notes == ()


# also seen


@pytest.mark.parametrize("lattice", [Lattice(4, 4, 6), (4, 4, 6), [4, 4, 6, 90, 90, 90], "4,4,6"])
def test_a_lattice_may_be_an_object_numbers_or_text(lattice):
    assert ApplyOptions(lattice=lattice).run(Run()).value("lattice").cell == (4, 4, 6, 90, 90, 90)


@pytest.mark.parametrize("lattice", [5.0, (4, 4), ("a", 4, 4), (4, 4, None)])
def test_a_lattice_that_is_none_is_refused(lattice):
    with pytest.raises(RunFactError, match="is not three or six finite numbers.*give --lattice"):
        ApplyOptions(lattice=lattice).run(Run())


@pytest.mark.parametrize("name", ["out.nxspe", "out.SQW"])
def test_an_output_has_no_name_of_another_kind_of_file(file, tmp_path, name):
    with pytest.raises(OutputError, match="has the name of an? .* file, which is not written.*name it out.nxs"):
        apply_to_file(file(powder()), tmp_path / name, CPU)
    assert not (tmp_path / name).exists()


def test_an_output_never_replaces_its_input(file, tmp_path):
    path = file(powder())
    (tmp_path / "link.nxs").symlink_to(path)
    before = path.read_bytes()
    for target in (path, tmp_path / "link.nxs"):
        with pytest.raises(OutputError, match="is the input, which would be lost.*give another name"):
            apply_to_file(path, target, CPU, overwrite=True)
    assert path.read_bytes() == before


def test_inspect_has_the_option_that_it_asks_for_and_short_numbers(insgan, tmp_path, file):
    path = nxspe(tmp_path / "in.nxspe")
    with h5py.File(path, "r+") as opened:
        del opened["data_entry/NXSPE_info/fixed_energy"]
    status, _, said = insgan("inspect", path)
    assert status == 4 and "give the incident energy in meV with --ei" in said
    status, said, _ = insgan("inspect", path, "--ei", 50)
    assert status == 0 and "ei: 50 (option --ei)" in said
    _, said, _ = insgan("inspect", file(powder(run=MAPS.updated("other", ei=49.925115331692076))))
    assert "ei: 49.93 (log Ei of experiment0)" in said


def test_the_label_of_a_momentum_has_its_unit():
    from mantid_insgan.report.style import axis_label

    assert axis_label(powder().axes[0]) == "|Q| (Å⁻¹)"
