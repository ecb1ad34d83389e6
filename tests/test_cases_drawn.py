"""The kinds of inputs of test_cases.py, drawn: units by names by layouts, masks, forms of logs, other experiments."""

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_cases import MAPS, put_log

from mantid_insgan import Axis, Run, Spectrum
from mantid_insgan.core.run import require_one_setting
from mantid_insgan.errors import RunFactError
from mantid_insgan.io import read_spectrum, write_spectrum
from mantid_insgan.translate.inspect import inspect_file

DRAWN = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
#: In meV, from h, c, k_B and e of the SI (exact).
ENERGIES = {
    "meV": 1.0,
    "DeltaE": 1.0,
    "eV": 1e3,
    "ueV": 1e-3,
    "THz": 4.135667696923859,
    "GHz": 4.135667696923859e-3,
    "1/cm": 0.1239841984332003,
    "DeltaE_inWavenumber": 0.1239841984332003,
    "K": 0.08617333262145179,
}
#: Units that only a name tells from a momentum or a temperature.
NAMED = ("1/cm", "DeltaE_inWavenumber", "K")
MOMENTA = {"Angstrom^-1": 1.0, "1/Angstrom": 1.0, "A^-1": 1.0, "MomentumTransfer": 1.0, "1/nm": 0.1, "nm^-1": 0.1}
ENERGY_NAMES = ("DeltaE", "Energy", "EnergyTransfer", "Dim2")


@st.composite
def layouts(draw):
    """Format, order of the axes, and name and unit of each."""
    energy = draw(st.sampled_from(list(ENERGIES)))
    named = [n for n in ENERGY_NAMES if n != "Dim2" or energy not in NAMED]
    return {
        "suffix": draw(st.sampled_from([".nxs", ".npz", ".csv"])),
        "energy first": draw(st.booleans()),
        "energy": (draw(st.sampled_from(named)), energy),
        "momentum": draw(st.sampled_from([*(("|Q|", unit) for unit in MOMENTA), ("Dim1", "MomentumTransfer")])),
    }


def write_table(path, spectrum):
    """Columns with units behind the names, one row for each bin."""
    centres = np.meshgrid(*(a.centers for a in spectrum.axes), indexing="ij")
    rows = np.column_stack([*map(np.ravel, centres), spectrum.signal.ravel(), np.sqrt(spectrum.variance).ravel()])
    names = [*(f"{a.name} ({a.unit})" for a in spectrum.axes), "intensity", "error"]
    np.savetxt(path, rows, delimiter=",", header=",".join(names), comments="", fmt="%.17g")


@DRAWN
@given(layout=layouts())
def test_axes_of_any_unit_name_and_layout_are_ours_when_read(tmp_path, layout):
    """And every intensity stays in its bin."""
    (energy, unit), (momentum, inverse) = layout["energy"], layout["momentum"]
    edges = {"energy": np.linspace(-10, 50, 13), "momentum": np.linspace(0.5, 4.0, 8)}
    axes = {
        "energy": Axis(energy, edges["energy"] / ENERGIES[unit], unit),
        "momentum": Axis(momentum, edges["momentum"] / MOMENTA[inverse], inverse),
    }
    order = ("energy", "momentum") if layout["energy first"] else ("momentum", "energy")
    axes = tuple(axes[name] for name in order)
    signal = np.arange(1.0, 85.0).reshape([len(a) for a in axes])
    spectrum = Spectrum(signal, signal / 7, axes, run=MAPS)
    path = tmp_path / f"in{layout['suffix']}"
    if layout["suffix"] == ".csv":
        write_table(path, spectrum)
    else:
        write_spectrum(spectrum, path, overwrite=True)
    read = read_spectrum(path)
    assert read.energy_axis == order.index("energy") and read.axes[order.index("momentum")].is_modulus_q
    for name, axis in zip(order, read.axes, strict=True):
        np.testing.assert_allclose(axis.edges, edges[name], rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(read.signal, signal)
    np.testing.assert_allclose(read.variance, signal / 7, rtol=1e-12)
    for name, written, factor in ((energy, unit, ENERGIES[unit]), (momentum, inverse, MOMENTA[inverse])):
        said = any(n.startswith(f"axis {name!r} is in {written} in the file: it was converted") for n in read.run.notes)
        assert said == (factor != 1)


#: What may be the matter with a bin.
MEASURED, MASKED, NO_SIGNAL, NO_ERROR, NO_EVENT = range(5)


@DRAWN
@given(
    state=st.lists(st.integers(MEASURED, NO_EVENT), min_size=24, max_size=24),
    normalization=st.sampled_from([0, 1, 2]),
    suffix=st.sampled_from([".nxs", ".npz"]),
)
def test_what_was_not_measured_is_not_valid_in_any_command(tmp_path, state, normalization, suffix):
    state = np.array([MEASURED, *state[1:]]).reshape(4, 6)
    events = np.where(state == NO_EVENT, 0.0, 3.0)
    signal = np.where(state == NO_SIGNAL, np.nan, np.where(state == NO_EVENT, 0.0, 5.0))
    variance = np.where(state == NO_ERROR, np.nan, np.where(state == NO_EVENT, 0.0, 2.0))
    axes = (Axis("|Q|", np.linspace(1, 3, 5), "Angstrom^-1"), Axis("DeltaE", np.linspace(0, 30, 7), "meV"))
    spectrum = Spectrum(
        signal,
        variance,
        axes,
        num_events=events,
        masked=state == MASKED,
        visual_normalization=normalization,
        run=MAPS,
    )
    path = tmp_path / f"in{suffix}"
    write_spectrum(spectrum, path, overwrite=True)
    read = read_spectrum(path)
    np.testing.assert_array_equal(read.valid, state == MEASURED)
    assert inspect_file(path).valid == (state == MEASURED).sum()


@st.composite
def logs_of_ei(draw):
    """A log that says 50 meV: its value and its unit."""
    unit = draw(st.sampled_from(["", "meV", "eV", "ueV", "THz"]))
    number = 50.0 / ENERGIES[unit or "meV"]
    form = draw(st.sampled_from(["number", "single", "list", "text", "texts", "text with unit"]))
    if form.startswith("text"):
        text = f"{number!r} {unit or 'meV'}" if form == "text with unit" else repr(number)
        several = form == "texts"
        return (np.array([text.encode()] * 3) if several else text.encode()), ("" if " " in text else unit)
    if form == "list":
        return np.full(draw(st.integers(1, 5)), number), unit
    return (np.float32(number) if form == "single" else number), unit


@DRAWN
@given(log=logs_of_ei(), name=st.sampled_from(["Ei", "EI", "EnergyRequest", "incident_energy"]))
def test_a_log_is_read_whatever_its_form(tmp_path, log, name):
    path = tmp_path / "in.nxs"
    axes = (Axis("|Q|", np.linspace(1, 3, 5), "Angstrom^-1"), Axis("DeltaE", np.linspace(0, 30, 7), "meV"))
    ones = np.ones((4, 6))
    write_spectrum(Spectrum(ones, ones, axes, run=Run()), path, overwrite=True)
    put_log(path, 0, name, *log)
    run = read_spectrum(path).run
    assert run.value("ei") == pytest.approx(50.0, rel=1e-6) and run.notes == ()
    assert run.ei.source == f"log {name} of experiment0"


@DRAWN
@given(data=st.data(), number=st.integers(2, 11), by=st.sampled_from([0.0, 0.002, 0.3]))
def test_experiments_that_differ_are_said_or_refused(tmp_path, data, number, by):
    """Whichever of them it is and by whatever fact; equal ones are not mentioned."""
    log, fact = data.draw(st.sampled_from([("Ei", "ei"), ("chopper_frequency", "frequency")]))
    odd = data.draw(st.integers(1, number - 1))
    path = tmp_path / "in.nxs"
    axes = (Axis("|Q|", np.linspace(1, 3, 5), "Angstrom^-1"), Axis("DeltaE", np.linspace(0, 30, 7), "meV"))
    ones = np.ones((4, 6))
    write_spectrum(Spectrum(ones, ones, axes, run=MAPS), path, overwrite=True)
    usual = MAPS.value(fact)
    for experiment in range(1, number):
        put_log(path, experiment, log, usual * (1 + by) if experiment == odd else usual)
    with h5py.File(path) as file:
        assert sum(name.startswith("experiment") for name in file["MDHistoWorkspace"]) == number
    run = read_spectrum(path).run
    assert run.value(fact) == pytest.approx(usual)
    label = "Ei" if fact == "ei" else fact
    if by == 0:
        assert run.notes == ()
    else:
        (note,) = run.notes
        assert f"differ in {label}" in note and f"{usual * (1 + by):g}" in note
    if by > 0.01:
        with pytest.raises(RunFactError, match=f"differ in {label}: {usual:g} .* and {usual * (1 + by):g} "):
            require_one_setting(run)
    else:
        require_one_setting(run)
