"""Formats of files beside MDHistoWorkspace and nxspe: read, written and read again; broken files have one error."""

import json
import struct
from dataclasses import replace

import h5py
import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st

import mantid_insgan
from mantid_insgan.core.run import Lattice, Run, Setting
from mantid_insgan.core.spectrum import Axis, Spectrum
from mantid_insgan.errors import InputError, InsganError, OutputError
from mantid_insgan.instruments.frames import Orientation
from mantid_insgan.io import open_writer, read_nexus, read_spectrum, write_spectrum
from mantid_insgan.io.formats import NOT_READ
from mantid_insgan.io.matlab import _variables

RESOLUTION = "instrument=MERLIN,Ei=62.1,chopper=G,frequency=400,sharpness=3"


def lattice(oriented=True) -> Lattice:
    cell = Lattice(4.0, 4.1, 6.0, 90.0, 91.0, 100.0)
    if not oriented:
        return cell
    return replace(cell, ub=Orientation((1, 1, 0.2), (0, 1, 0)).rotation(cell) @ cell.b_matrix())


def run(**facts) -> Run:
    known = {"instrument": "MERLIN", "ei": 62.1, "chopper": "G", "frequency": 400.0, "temperature": 5.5}
    return Run().updated("test", **(known | facts))


def arrays(*shape: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Signal and variance of a map with a gap."""
    rng = np.random.default_rng(seed)
    signal, variance = rng.normal(size=shape), rng.random(shape)
    signal[(0,) * len(shape)] = variance[(0,) * len(shape)] = np.nan
    return signal, variance


def crystal(n=7, m=11, **more) -> Spectrum:
    axes = (
        Axis("[H,H,0]", np.linspace(-1.0, 2.3, n + 1), "r.l.u.", "HKL"),
        Axis("DeltaE", np.linspace(0.2, 7.13, m + 1), "meV"),
        Axis("[0,0,L]", [-0.1, 0.15], "r.l.u.", "HKL"),
    )
    known = {"run": run(lattice=lattice(), resolution=Setting.parsed(RESOLUTION)), "title": "my cut"}
    return Spectrum(*arrays(n, m, 1), axes, **(known | {"coordinate_system": 3} | more))


def powder(n=6, m=5, **more) -> Spectrum:
    axes = (Axis("|Q|", np.linspace(0.5, 3.5, n + 1), "Angstrom^-1"), Axis("DeltaE", np.linspace(-5, 20, m + 1), "meV"))
    return Spectrum(*arrays(n, m), axes, **({"run": run()} | more))


def cut() -> Spectrum:
    axes = (Axis("|Q|", [1.0, 2.0], "Angstrom^-1"), Axis("DeltaE", np.linspace(-5, 20, 26), "meV"))
    return Spectrum(*arrays(1, 25), axes, run=run(), title="a cut")


def same(found: Spectrum, expected: Spectrum, *, values=1e-15, edges=1e-12) -> None:
    """Values, errors, bins measured and axes agree, and so do facts and title."""
    assert [(a.name, a.unit, a.frame) for a in found.axes] == [(a.name, a.unit, a.frame) for a in expected.axes]
    for one, other in zip(found.axes, expected.axes, strict=True):
        np.testing.assert_allclose(one.edges, other.edges, rtol=0, atol=edges * np.abs(other.edges).max())
    np.testing.assert_array_equal(found.valid, expected.valid)
    valid = expected.valid
    np.testing.assert_allclose(found.signal[valid], expected.signal[valid], rtol=values)
    np.testing.assert_allclose(np.sqrt(found.variance[valid]), np.sqrt(expected.variance[valid]), rtol=10 * values)
    for name, fact in expected.run.facts.items():
        value = found.run.value(name)
        if name == "lattice":
            assert value.cell == fact.value.cell
            np.testing.assert_allclose(value.ub, fact.value.ub, atol=1e-12)
        else:
            assert value == fact.value
    assert found.title == expected.title


@pytest.mark.parametrize("suffix", [".txt", ".dat", ".npz", ".nxs", ".hdf5"])
@pytest.mark.parametrize("made", [crystal, powder, cut])
def test_what_is_written_is_read_again(tmp_path, suffix, made):
    path, spectrum = tmp_path / f"out{suffix}", made()
    mantid_insgan.write(spectrum, path, history={"name": "test"})
    same(mantid_insgan.read(path), spectrum)


def test_npz_keeps_everything(tmp_path):
    signal, variance = arrays(4, 3)
    axes = (
        Axis("Energy", np.linspace(0, 4000, 5) / 1000, "meV", id="D0", file_unit="ueV", file_factor=1000.0),
        Axis("Q_x", np.linspace(0, 1, 4), "Angstrom^-1", "QSample"),
    )
    masked = np.zeros((4, 3), bool)
    masked[1, 1] = True
    spectrum = Spectrum(
        signal, variance, axes, num_events=np.arange(12.0).reshape(4, 3), masked=masked, visual_normalization=2
    )
    write_spectrum(spectrum.replace(q_convention="Crystallography"), tmp_path / "a.npz")
    found = read_spectrum(tmp_path / "a.npz")
    assert found.identical(spectrum.replace(q_convention="Crystallography"))
    assert found.axes[0].outside[1] == "ueV"
    np.testing.assert_allclose(found.axes[0].outside[0], np.linspace(0, 4000, 5))


def test_a_cut_in_three_columns(tmp_path):
    write_spectrum(cut(), tmp_path / "cut.xye")
    numbers = np.loadtxt(tmp_path / "cut.xye")
    np.testing.assert_allclose(numbers[:, 0], cut().axes[1].centers)
    np.testing.assert_array_equal(numbers[:, 1], cut().signal[0])
    same(read_spectrum(tmp_path / "cut.xye"), cut())


def test_nothing_beside_errors_is_no_measurement(tmp_path):
    """0 +- 0, as Shiver writes bins without counts, is read as from an MDHistoWorkspace file without events there."""
    signal, variance = powder().signal.copy(), powder().variance.copy()
    signal[2, 1:3] = variance[2, 1:3] = 0.0
    spectrum = powder().replace(signal=signal, variance=variance)
    found = read_spectrum(ascii_file(tmp_path / "a.txt", spectrum, dims=(0, 1)))
    assert not found.valid[2, 1:3].any() and found.valid.sum() == 27
    exact = powder().replace(signal=np.abs(signal), variance=np.where(np.isnan(variance), variance, 0.0))
    write_spectrum(exact, tmp_path / "b.txt")
    assert read_spectrum(tmp_path / "b.txt").valid.sum() == 29


def test_a_sum_over_events_is_written_per_event(tmp_path):
    events = np.full((6, 5), 4.0)
    spectrum = powder(num_events=events, visual_normalization=2)
    write_spectrum(spectrum, tmp_path / "a.txt")
    found = read_spectrum(tmp_path / "a.txt")
    assert found.visual_normalization == 0
    np.testing.assert_allclose(found.signal[found.valid], spectrum.signal[spectrum.valid] / 4)
    np.testing.assert_allclose(found.variance[found.valid], spectrum.variance[spectrum.valid] / 16)


# The columns of Shiver and of Mantid's SaveMDToAscii, made as these programs make them.

FACTS = """Name: Histogram_1
Instrument: MERLIN
Ei: 62.1
Binning:\x20
\t[H,H,0]: 7 bins from -1.0 to 2.3, step 0.4714
\tDeltaE: 11 bins from 0.2 to 7.13, step 0.63
\t[0,0,L]: 1 bins from -0.1 to 0.15
UnitCell:
\tLattice parameters: a = 4.0 b = 4.1 c = 6.0 alpha = 90.0 beta = 91.0 gamma = 100.0
\tOrientation u:[1.0,1.0,0.2]\tv:[0,1,0]
"""


def ascii_file(path, spectrum, *, dims, facts="", first=True, separator=" ", names=None):
    """Bin centres and values in rows, the last dimension fastest, as np.savetxt writes them."""
    axes = [spectrum.axes[i] for i in dims]
    places = np.meshgrid(*(a.centers for a in axes), indexing="ij")
    values = [spectrum.signal.ravel(), np.sqrt(spectrum.variance).ravel()]
    names = names or " ".join(a.name for a in axes)
    shape = "shape: " + "x".join(str(len(a)) for a in axes)
    places = [p.ravel() for p in places]
    header = f"Intensity Error {names}\n {shape}" if first else f"{names} Intensity Error\n{shape}"
    columns = [*values, *places] if first else [*places, *values]
    np.savetxt(path, np.column_stack(columns), fmt="%.6e", header=facts + header, delimiter=separator)
    return path


@pytest.mark.parametrize("first", [True, False])
def test_columns_with_the_facts_of_the_run(tmp_path, first):
    """The header that Shiver writes since July 2026, also above the columns of SaveMDToAscii (ExtraHeader)."""
    expected = crystal(title="Histogram_1")
    expected = expected.replace(run=Run().updated("test", instrument="MERLIN", ei=62.1, lattice=lattice()))
    path = ascii_file(tmp_path / "a.txt", expected, dims=(0, 1, 2), facts=FACTS, first=first)
    found = read_spectrum(path)
    same(found, expected, values=1e-6)
    assert found.run.ei.source == "header of a.txt" and found.coordinate_system == 3
    # integrated dimensions without columns are in the header
    same(read_spectrum(ascii_file(path, expected, dims=(0, 1), facts=FACTS, first=first)), expected, values=1e-6)


@pytest.mark.parametrize("separator", [" ", ",", "\t", ";", ":"])
@pytest.mark.parametrize("first", [True, False])
def test_columns_without_facts(tmp_path, first, separator):
    expected = powder(run=Run())
    path = ascii_file(tmp_path / "a.dat", expected, dims=(0, 1), first=first, separator=separator)
    same(read_spectrum(path), expected, values=1e-6, edges=2e-6)


def test_columns_with_an_integrated_axis_without_its_width(tmp_path):
    path = ascii_file(tmp_path / "MER123_cut.txt", crystal(), dims=(0, 1, 2))
    found = read_spectrum(path)
    np.testing.assert_allclose(found.axes[2].edges, [-0.475, 0.525])
    assert found.run.notes == ("the width of the integrated axis '[0,0,L]' is not in the file: 1 was taken",)
    assert found.run.value("instrument") == "MERLIN"


@pytest.mark.parametrize("value", ["", "None", "unknown"])
def test_facts_that_the_header_does_not_know(tmp_path, value):
    facts = FACTS.replace("Ei: 62.1", f"Ei: {value}").replace("Instrument: MERLIN", f"Instrument: {value}")
    run = read_spectrum(ascii_file(tmp_path / "a.txt", crystal(), dims=(0, 1, 2), facts=facts)).run
    assert run.ei is None and run.instrument is None and run.lattice is not None


def test_names_of_axes_with_blanks(tmp_path):
    facts = "Binning:\n\tMomentum transfer: 6 bins from 0.5 to 3.5\n\tEnergy transfer: 5 bins from -5 to 20\n"
    blanks = "Momentum transfer Energy transfer"
    path = ascii_file(tmp_path / "a.txt", powder(), dims=(0, 1), facts=facts, names=blanks)
    assert [a.name for a in read_spectrum(path).axes] == ["Momentum transfer", "Energy transfer"]
    path = ascii_file(tmp_path / "b.txt", powder(), dims=(0, 1), names=blanks)
    with pytest.raises(InputError, match=r"the header names the axes .*name them in order \(--axes\)"):
        read_spectrum(path)
    same(read_spectrum(path, axes=("|Q|", "DeltaE")), powder(run=Run()), values=1e-6, edges=2e-6)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("shape: 7x11x1", "shape: 7x12x1", "has 77 rows of 5 numbers, and its header says 7x12x1 bins: expected 84"),
        ("from 0.2 to 7.13", "from 0.2 to 7.33", "axis 'DeltaE': the points do not lie at the centres of 11 equal"),
        ("11 bins from 0.2", "12 bins from 0.2", "axis 'DeltaE' has 12 bins in one line and 11 in the shape"),
        ("11 bins from 0.2 to", "11 bins from 9 to", "the header says 11 bins from 9 to 7.13 for axis 'DeltaE'"),
        ("Ei: 62.1", "Ei: fast", "the header says 'Ei: fast', expected a number"),
        ("gamma = 100.0", "gamma = 0", "which is no unit cell"),
        ("v:[0,1,0]", "v:[0,1]", "expected u and v with three numbers each"),
    ],
)
def test_headers_that_are_wrong(tmp_path, old, new, message):
    path = ascii_file(tmp_path / "a.txt", crystal(), dims=(0, 1, 2), facts=FACTS)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(InputError, match=rf"a\.txt: .*{message}|a\.txt .*{message}"):
        read_spectrum(path)


def test_columns_that_are_cut_off(tmp_path):
    path = ascii_file(tmp_path / "a.txt", crystal(), dims=(0, 1, 2), facts=FACTS)
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-3]))
    with pytest.raises(InputError, match="has 74 rows of 5 numbers, .*interrupted transfer"):
        read_spectrum(path)
    path.write_text("\n".join([*lines[:-1], lines[-1][:20]]))
    with pytest.raises(InputError, match="no table of numbers with equal rows"):
        read_spectrum(path)


# Tables with one row for each bin, and matrices.


@pytest.mark.parametrize(
    ("header", "separator"),
    [
        ("|Q|,DeltaE,intensity,error", ","),
        ("# |Q| DeltaE I sigma", " "),
        ("|Q| (1/nm);E (ueV);S;e", ";"),
        ('"|Q|",Energy [meV],signal,variance', ","),
    ],
)
def test_a_table_with_named_columns(tmp_path, header, separator):
    expected = powder(run=Run())
    q, energy = (x.ravel() for x in np.meshgrid(*(a.centers for a in expected.axes), indexing="ij"))
    if "nm" in header:
        q, energy = 10 * q, 1000 * energy
    error = expected.variance if "variance" in header else np.sqrt(expected.variance)
    rows = np.column_stack([q, energy, expected.signal.ravel(), error.ravel()])
    rows = rows[np.random.default_rng(1).permutation(len(rows))][:-1]  # in any order, one missing
    lines = [separator.join(map(repr, row.tolist())) for row in rows]
    (tmp_path / "a.csv").write_text("\n".join([header, *lines]))
    found = read_spectrum(tmp_path / "a.csv")
    assert found.axes[0].is_modulus_q and found.axes[1].is_energy and found.valid.sum() in (28, 29)
    for one, other in zip(found.axes, expected.axes, strict=True):
        np.testing.assert_allclose(one.edges, other.edges, atol=1e-9)
        assert one.unit in ("meV", "Angstrom^-1")
    np.testing.assert_allclose(found.signal[found.valid], expected.signal[found.valid])
    np.testing.assert_allclose(found.variance[found.valid], expected.variance[found.valid])


def test_a_comment_that_is_no_name_of_columns(tmp_path):
    (tmp_path / "a.dat").write_text("# the signal of my sample\n0 1 2\n1 2 2\n")
    with pytest.raises(InputError, match="has 2 x 3 numbers and does not say what its axes are"):
        read_spectrum(tmp_path / "a.dat")
    assert read_spectrum(tmp_path / "a.dat", axes=("DeltaE",)).shape == (2,)


def test_directions_as_names_of_columns(tmp_path):
    rows = [f"{h},{e},{h + e},0.1" for h in (0.0, 0.5, 1.0) for e in (1.0, 2.0)]
    (tmp_path / "a.csv").write_text("\n".join(["[H,0,0],DeltaE,signal,error", *rows]))
    found = read_spectrum(tmp_path / "a.csv")
    assert [a.name for a in found.axes] == ["[H,0,0]", "DeltaE"] and found.axes[0].frame == "HKL"
    np.testing.assert_array_equal(found.signal, [[1, 2], [1.5, 2.5], [2, 3]])
    found = read_spectrum(tmp_path / "a.csv", axes=("[0,K,0]", "DeltaE", "[0,0,L]=1.9:2.1:1"))
    assert found.shape == (3, 2, 1) and found.axes[2].centers[0] == pytest.approx(2)


def test_a_table_without_names(tmp_path):
    rows = [f"{e} {e + 1} 0.5" for e in range(5)]
    (tmp_path / "a.xye").write_text("\n".join(rows))
    with pytest.raises(InputError, match=r"a\.xye has 5 x 3 numbers and does not say what its axes are.*--axes"):
        read_spectrum(tmp_path / "a.xye")
    found = read_spectrum(tmp_path / "a.xye", axes=("DeltaE",))
    np.testing.assert_allclose(found.axes[0].edges, np.arange(-0.5, 5))
    np.testing.assert_array_equal(found.signal, np.arange(1.0, 6))
    np.testing.assert_array_equal(found.variance, np.full(5, 0.25))


LIMITS = ("|Q|=0.5:3.5:6", "DeltaE=-5:20:5")


@pytest.mark.parametrize("turned", [False, True])
def test_a_matrix_of_text(tmp_path, turned):
    signal = powder().signal
    np.savetxt(tmp_path / "a.csv", signal.T if turned else signal, delimiter=",")
    found = read_spectrum(tmp_path / "a.csv", axes=LIMITS)
    assert [(a.name, a.unit) for a in found.axes] == [("|Q|", "Angstrom^-1"), ("DeltaE", "DeltaE")]
    np.testing.assert_array_equal(found.signal, signal)
    assert found.run.notes == ("a.csv has no errors: the intensity was taken for exact",)
    with pytest.raises(InputError, match="numbers, and axes of 6 x 4 bins were given"):
        read_spectrum(tmp_path / "a.csv", axes=("|Q|=0.5:3.5:6", "DeltaE=-5:20:4"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no rows of numbers"),
        ("# only a comment\n", "has no rows of numbers"),
        ("a,b\n1,2\n", "has the columns a, b, and none of them is an intensity"),
        ("q,e,intensity\n1,2\n", r"has names of 3 columns \(q, e, intensity\) and rows of 2 numbers"),
        ("q,intensity\n1,2\n1,2\n", "1 rows belong to a bin that another row has"),
        ("q,intensity\n0,1\n1,2\n3.4,2\n", "the points do not lie at the centres of"),
        ("q,intensity\n0,1\n1e-9,2\n1,2\n", "are on no even grid|belong to a bin"),
        ("q,intensity\n0,1\nnan,2\n", "has 1 values that are no numbers"),
        ("q,intensity\n0,1\n1,x\n", "no table of numbers with equal rows"),
        ("intensity,error\n0,1\n1,2\n", "has an intensity and no column of an axis"),
        ("q,r,s,intensity\n0,0,0,1\n1,900,3000,2\n0,1,1,1\n", "2 x 901 x 3001 bins|rows were given for a grid"),
    ],
)
def test_tables_that_are_wrong(tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_spectrum(tmp_path / "a.csv")


def test_a_file_of_bytes_is_no_text(tmp_path):
    (tmp_path / "a.dat").write_bytes(bytes(range(256)))
    with pytest.raises(InputError, match="neither a text nor a file of a kind that is known here"):
        read_spectrum(tmp_path / "a.dat")


# Arrays.


def test_an_array_with_axes_that_are_given(tmp_path):
    signal, variance = arrays(6, 5)
    np.save(tmp_path / "a.npy", signal)
    found = read_spectrum(tmp_path / "a.npy", axes=LIMITS, ei=30.0)
    np.testing.assert_array_equal(found.signal, signal)
    assert found.run.value("ei") == 30.0
    np.save(tmp_path / "a.npy", np.stack([signal, np.sqrt(variance)]))
    found = read_spectrum(tmp_path / "a.npy", axes=LIMITS)
    np.testing.assert_allclose(found.variance, variance)
    with pytest.raises(InputError, match=r"a\.npy has 2 x 6 x 5 numbers and does not say what its axes are"):
        read_spectrum(tmp_path / "a.npy")


@pytest.mark.parametrize("centers", [False, True])
def test_an_archive_of_arrays(tmp_path, centers):
    spectrum = powder()
    places = {a.name: a.centers if centers else a.edges for a in spectrum.axes}
    values = {"signal": spectrum.signal, "error": np.sqrt(spectrum.variance)}
    np.savez(tmp_path / "a.npz", axes=["|Q|", "DeltaE"], **values, **places)
    same(read_spectrum(tmp_path / "a.npz"), spectrum.replace(run=Run()))
    np.savez(tmp_path / "a.npz", **values, **places)
    same(read_spectrum(tmp_path / "a.npz", axes=("|Q|", "DeltaE")), spectrum.replace(run=Run()))
    np.savez(tmp_path / "a.npz", **values)
    np.testing.assert_array_equal(read_spectrum(tmp_path / "a.npz", axes=LIMITS).signal, spectrum.signal)


class Runs:
    """Its pickle runs code."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('unpickled')",))


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_python_objects_are_not_unpickled(tmp_path, name):
    if name == "a.npy":
        np.save(tmp_path / name, np.array([Runs()], dtype=object), allow_pickle=True)
    else:
        np.savez(tmp_path / name, signal=np.array([Runs()], dtype=object))
    with pytest.raises(InputError, match="NumPy says 'Object arrays cannot be loaded.*not read, because"):
        read_spectrum(tmp_path / name, axes=("DeltaE=0:1:1",))
    (tmp_path / "b.npy").write_bytes(b"cposix\nsystem\n(S'true'\ntR.")
    with pytest.raises(InputError, match="could not be read: NumPy says"):
        read_spectrum(tmp_path / "b.npy")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"signal": None}, r"none of them is a signal"),
        ({"signal": np.ones((6, 5)) * 1j}, "signal has complex128 values"),
        ({"error": np.ones((6, 4))}, r"the errors have shape \(6, 4\), the signal \(6, 5\)"),
        ({"intensity": np.ones((6, 5))}, "any of which may be the signal"),
        ({"axes": ["|Q|"]}, "names 1 axes, and its signal has 2"),
        ({"axes": ["|Q|", "E"]}, "has no array 'E' for the axis of this name"),
        ({"|Q|": np.arange(9.0)}, "'|Q|' has 9 points, expected 6 centres or 7 edges"),
        ({"|Q|": np.array([0, 1, 2, 3, 4, 6.0])}, "are not evenly spaced and ascending"),
        ({"run": "[1]"}, "the facts of its run could not be read"),
        ({"masked": np.zeros(3, bool)}, r"a\.npz: masked has shape \(3,\)"),
    ],
)
def test_archives_that_are_wrong(tmp_path, changed, message):
    spectrum = powder()
    content = {a.name: a.edges for a in spectrum.axes} | {"axes": ["|Q|", "DeltaE"]}
    content |= {"signal": spectrum.signal, "error": np.sqrt(spectrum.variance)} | changed
    np.savez(tmp_path / "a.npz", **{n: v for n, v in content.items() if v is not None})
    with pytest.raises(InputError, match=message):
        read_spectrum(tmp_path / "a.npz")


def mat(path, **content):
    scipy.io.savemat(path, content)
    return path


def cells(*arrays):
    out = np.empty((1, len(arrays)), dtype=object)
    out[0, :] = arrays
    return out


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("edges", [False, True])
def test_a_map_of_spinw(tmp_path, nested, edges):
    """x{1} is the energy, x{2} |Q|, y and e are (|Q|, energy): sw_fitpowder."""
    spectrum = powder(run=Run())
    q, energy = ((a.edges if edges else a.centers) for a in spectrum.axes)
    content = {"x": cells(energy, q), "y": spectrum.signal, "e": np.sqrt(spectrum.variance)}
    path = mat(tmp_path / "a.mat", **({"data": content} if nested else content))
    same(read_spectrum(path), spectrum)
    turned = content | {"y": content["y"].T, "e": content["e"].T}
    same(read_spectrum(mat(path, **turned)), spectrum)


def test_a_square_map_of_spinw_is_in_its_order(tmp_path):
    spectrum = powder(5, 5, run=Run())
    content = {"x": cells(spectrum.axes[1].centers, spectrum.axes[0].centers), "y": spectrum.signal}
    found = read_spectrum(mat(tmp_path / "a.mat", **content, e=np.sqrt(spectrum.variance)))
    same(found, spectrum)
    assert found.run.notes == ("y was taken as (x{2}, x{1}), as SpinW has it: its shape fits both orders",)


def test_a_cut_of_spinw(tmp_path):
    spectrum = cut()
    content = {"x": spectrum.axes[1].centers, "y": spectrum.signal, "e": np.sqrt(spectrum.variance)}
    found = read_spectrum(mat(tmp_path / "a.mat", **content, qmin=1.0, qmax=2.0))
    assert found.shape == (25, 1) and found.axes[1].is_modulus_q and list(found.axes[1].edges) == [1, 2]
    np.testing.assert_array_equal(found.signal[:, 0], spectrum.signal[0])
    found = read_spectrum(mat(tmp_path / "b.mat", **content), axes=("[H,0,0]",))
    assert found.shape == (25,) and found.axes[0].is_rlu


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"z": 1.0}, "has no sets of x, y and e; its variables are z"),
        ({"a": {"x": [1.0], "y": [1.0]}, "b": {"x": [1.0], "y": [1.0]}}, "has 2 sets of x, y and e"),
        ({"x": np.arange(3.0), "y": np.arange(9.0)}, "x has 3 points, expected 9 centres or 10 edges"),
        ({"x": cells(np.arange(3.0), np.arange(4.0)), "y": np.ones((5, 6))}, r"y of shape \(5, 6\), and x\{1\} and x"),
        ({"x": np.arange(3.0), "y": np.arange(3.0), "e": np.arange(4.0)}, "give x{1} and x{2}, or one x, and y and e"),
        ({"x": "text", "y": np.arange(4.0)}, "expected numbers"),
    ],
)
def test_mat_files_that_are_wrong(tmp_path, content, message):
    with pytest.raises(InputError, match=message.replace("{1} and x{2},", r"\{1\} and x\{2\},")):
        read_spectrum(mat(tmp_path / "a.mat", **content))


def test_a_mat_file_that_claims_more_than_it_has(tmp_path):
    """It asks for no memory."""
    scipy.io.savemat(tmp_path / "a.mat", {"x": cells(np.arange(3.0), np.arange(4.0)), "y": np.ones((4, 3))})
    content = (tmp_path / "a.mat").read_bytes()
    size = struct.pack("<ii", 1, 2)
    assert content.count(size) == 1
    (tmp_path / "a.mat").write_bytes(content.replace(size, struct.pack("<ii", 1, 2**30)))
    with pytest.raises(InputError, match="is damaged or no file of MATLAB 5 to 7 .2 arrays in place of 1073741824"):
        read_spectrum(tmp_path / "a.mat")


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("kind", ["f8", "f4", "i2", "u1", "i8"])
def test_mat_files_are_read_as_scipy_reads_them(tmp_path, compressed, kind):
    rng = np.random.default_rng(0)
    content = {
        "a": (10 * rng.random((3, 4))).astype(kind),
        "text": "hello",
        "s": {"x": rng.random(5), "inner": {"name": "n", "y": np.arange(6, dtype=kind).reshape(2, 3)}},
        "long_name_of_a_variable": cells(np.arange(3.0), "word", np.eye(2)),
        "structures": np.array([(1.0, 2.0), (3.0, 4.0)], dtype=[("p", "O"), ("q", "O")]),
    }
    scipy.io.savemat(tmp_path / "a.mat", content, do_compression=compressed)
    found = dict(_variables((tmp_path / "a.mat").read_bytes()))
    expected = scipy.io.loadmat(tmp_path / "a.mat")
    assert set(found) == {name for name in expected if not name.startswith("__")}
    np.testing.assert_array_equal(found["a"], expected["a"])
    assert found["text"] == "hello" and found["s"]["inner"]["name"] == "n"
    np.testing.assert_array_equal(found["s"]["x"], expected["s"]["x"][0, 0])
    np.testing.assert_array_equal(found["s"]["inner"]["y"], expected["s"]["inner"][0, 0]["y"][0, 0])
    assert found["long_name_of_a_variable"][1] == "word"
    np.testing.assert_array_equal(found["long_name_of_a_variable"][2], np.eye(2))
    assert [float(entry["q"][0, 0]) for entry in found["structures"]] == [2.0, 4.0]


@pytest.mark.parametrize("compressed", [False, True])
def test_mat_files_may_be_compressed(tmp_path, compressed):
    spectrum = powder(run=Run())
    content = {"x": cells(spectrum.axes[1].centers, spectrum.axes[0].centers), "y": spectrum.signal}
    content["e"] = np.sqrt(spectrum.variance)
    scipy.io.savemat(tmp_path / "a.mat", {"cut": content}, do_compression=compressed)
    same(read_spectrum(tmp_path / "a.mat"), spectrum)


def test_mat_files_of_another_version(tmp_path):
    with h5py.File(tmp_path / "a.mat", "w", userblock_size=512) as file:
        file["y"] = np.arange(3.0)
    start = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM"
    with (tmp_path / "a.mat").open("r+b") as stream:
        stream.write(start)
    with pytest.raises(InputError, match=r"a\.mat is a file of MATLAB 7\.3, which is not read\. Fix: save it with -v7"):
        read_spectrum(tmp_path / "a.mat")


# What is not read, and what is not written.


@pytest.mark.parametrize("suffix", NOT_READ)
def test_formats_that_are_not_read_have_a_route(tmp_path, suffix):
    (tmp_path / f"a{suffix}").write_bytes(b"\x06\x00\x00\x00horace\x00\x00\x00\x00\x00\x00\x10@")
    with pytest.raises(InputError, match=r"which is not read\. Fix: .*(Mantid|Horace|MSlice|SaveNXSPE)"):
        read_spectrum(tmp_path / f"a{suffix}")


def test_a_horace_file_is_recognised_by_its_content(tmp_path):
    (tmp_path / "a.dat").write_bytes(b"\x06\x00\x00\x00horace\x00\x00\x00\x00\x00\x00\x10@")
    with pytest.raises(InputError, match="is a Horace file, which is not read"):
        read_spectrum(tmp_path / "a.dat")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("out.nxspe", "has the name of an nxspe file, which is not written. Fix: name it out.nxs"),
        ("out.mat", "has the name of a MATLAB file, which is not written"),
        ("out.csv", "has the name of a table without the facts of the run, which is not written"),
        ("out.png", "has the suffix '.png', so that its format is not known"),
        ("out", "has no suffix, so that its format is not known"),
        ("out.xye", "an xye file, which holds a cut along one axis, and the data have 2 axes of several bins.*out.txt"),
    ],
)
def test_names_of_outputs(tmp_path, name, message):
    with pytest.raises(OutputError, match=message):
        write_spectrum(powder(), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_an_output_never_replaces_its_input(tmp_path):
    write_spectrum(powder(), tmp_path / "a.txt")
    (tmp_path / "b.txt").symlink_to(tmp_path / "a.txt")
    before = (tmp_path / "a.txt").read_bytes()
    with pytest.raises(OutputError, match="is the input, which would be lost"):
        write_spectrum(powder(), tmp_path / "b.txt", overwrite=True, inputs=[tmp_path / "a.txt"])
    assert (tmp_path / "a.txt").read_bytes() == before


def test_nothing_is_left_of_an_output_that_failed(tmp_path):
    with pytest.raises(ValueError, match="stop"), open_writer(tmp_path / "a.txt", powder()) as writer:
        writer.write(None, powder())
        raise ValueError("stop")
    assert not list(tmp_path.iterdir())
    write_spectrum(powder(), tmp_path / "a.txt")
    with pytest.raises(OutputError, match="already exists"):
        write_spectrum(powder(), tmp_path / "a.txt")


def test_parts_of_a_result_are_put_together(tmp_path):
    spectrum = powder()
    with open_writer(tmp_path / "a.npz", spectrum, history={"name": "insgan apply"}) as writer:
        for i in range(6):
            region = (slice(i, i + 1), slice(None))
            writer.write(region, spectrum.replace(axes=(spectrum.axes[0].slice(i, i + 1), spectrum.axes[1]), **rows(i)))
    same(read_spectrum(tmp_path / "a.npz"), spectrum)
    assert json.loads(str(np.load(tmp_path / "a.npz")["history"])) == {"name": "insgan apply"}


def rows(i):
    names = ("signal", "variance", "valid", "num_events", "masked")
    return {name: getattr(powder(), name)[i : i + 1] for name in names}


#: Files of every format, by name.
def _made(folder):
    write_spectrum(crystal(4, 3), folder / "a.txt")
    write_spectrum(cut(), folder / "b.xye")
    write_spectrum(powder(4, 3), folder / "c.npz")
    np.save(folder / "d.npy", powder(4, 3).signal)
    spectrum = powder(4, 3)
    mat(folder / "e.mat", x=cells(spectrum.axes[1].centers, spectrum.axes[0].centers), y=spectrum.signal)
    (folder / "f.csv").write_text("Q,E,I,err\n0,0,1,1\n1,0,2,1\n0,1,1,1\n1,1,3,1\n")
    return sorted(folder.iterdir())


class _Quiet(list):
    """Not shown in full where a test fails."""

    def __repr__(self):
        return f"{len(self)} files"


@pytest.fixture(scope="module")
def whole_files(tmp_path_factory):
    return _Quiet((p.name, p.read_bytes()) for p in _made(tmp_path_factory.mktemp("whole")))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(data=st.data())
def test_files_with_wrong_bytes_are_read_or_have_one_clear_error(whole_files, tmp_path_factory, data):
    name, content = whole_files[data.draw(st.integers(0, len(whole_files) - 1))]
    content = bytearray(content[: data.draw(st.integers(0, len(content)))])
    for _ in range(data.draw(st.integers(0, 4)) if content else 0):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("broken") / name
    path.write_bytes(content)
    axes = ("|Q|=0.5:3.5:4", "DeltaE=-5:20:3") if name == "d.npy" else None
    try:
        assert isinstance(read_spectrum(path, axes=axes), Spectrum)
    except InsganError as error:
        assert error.reason and error.fix and "\n" not in error.reason


# The commands.

MAPS = ("--instrument", "MAPS", "--ei", "60", "--chopper", "S", "--frequency", "400")


def mode(n=40, m=32) -> Spectrum:
    """A mode in [H,0,0] and energy with an error in every bin."""
    along = Axis("[H,0,0]", np.linspace(0, 1, n + 1), "r.l.u.", "HKL")
    axes = (along, Axis("DeltaE", np.linspace(2, 34, m + 1), "meV"))
    h, energy = np.meshgrid(*(a.centers for a in axes), indexing="ij")
    signal = 50 * np.exp(-0.5 * ((energy - 10 - 12 * np.sin(np.pi * h) ** 2) / 1.5) ** 2) + 2
    facts = {"instrument": "MAPS", "ei": 60.0, "chopper": "S", "frequency": 400.0, "lattice": Lattice(4, 4, 12)}
    return Spectrum(signal, signal, axes, run=Run().updated("test", **facts), coordinate_system=3)


@pytest.mark.parametrize(("name", "out"), [("in.txt", "out.nxs"), ("in.npz", "out.txt"), ("in.csv", "out.npz")])
def test_the_command_applies_a_model_to_every_format(insgan, tmp_path, name, out):
    spectrum, more = mode(), ()
    write_spectrum(spectrum, tmp_path / "in.nxs")
    if name == "in.csv":
        places = np.meshgrid(*(a.centers for a in spectrum.axes), indexing="ij")
        rows = np.column_stack([*(p.ravel() for p in places), spectrum.signal.ravel(), spectrum.variance.ravel()])
        np.savetxt(tmp_path / name, rows, delimiter=",", header="h,E,signal,variance", comments="")
        more = ("--axes", "[H,0,0];DeltaE", "--lattice", "4,4,12", *MAPS)
    else:
        write_spectrum(spectrum, tmp_path / name)
    code, _, err = insgan("apply", tmp_path / name, tmp_path / out, "--device", "cpu", *more)
    assert (code, err) == (0, "")
    assert insgan("apply", tmp_path / "in.nxs", tmp_path / "expected.nxs", "--device", "cpu")[0] == 0
    found, expected = read_spectrum(tmp_path / out), read_spectrum(tmp_path / "expected.nxs")
    np.testing.assert_allclose(found.signal, expected.signal, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(found.variance, expected.variance, rtol=1e-3)
    assert str(found.run.value("resolution")) == str(expected.run.value("resolution"))
    code, _, err = insgan("apply", tmp_path / out, tmp_path / "again.nxs", *more)
    assert code == 4 and "it was removed before" in err


def test_the_command_inspects_and_plots_every_format(insgan, tmp_path):
    write_spectrum(mode(), tmp_path / "in.txt")
    code, out, err = insgan("inspect", tmp_path / "in.txt", "--energy-bins", "8", "--q-range", "0.1,0.6", "--json")
    sheet = json.loads(out)
    assert (code, err) == (0, "") and [a["bins"] for a in sheet["axes"]] == [20, 8]
    assert sheet["run"]["ei"] == {"value": 60.0, "source": "header of in.txt"} and sheet["missing_for_apply"] is None
    assert insgan("plot", tmp_path / "in.txt", "--energy-range", "5,20")[0] == 0
    assert (tmp_path / "in.png").stat().st_size > 5000
    code, _, err = insgan("plot", tmp_path / "in.txt", "--output", tmp_path / "in.txt", "--overwrite")
    assert code == 6 and "the figure" in err
    (tmp_path / "link.png").symlink_to(tmp_path / "in.txt")
    code, _, err = insgan("plot", tmp_path / "in.txt", "--output", tmp_path / "link.png", "--overwrite")
    assert code == 6 and "is the input, which would be lost" in err
    np.save(tmp_path / "a.npy", powder().signal)
    code, out, _ = insgan("inspect", tmp_path / "a.npy", "--axes", ";".join(LIMITS), "--ei", "60")
    assert code == 0 and "note: a.npy has no errors" in out


def test_the_command_works_in_the_bins_that_are_asked_for(insgan, tmp_path):
    write_spectrum(mode(), tmp_path / "in.nxs")
    bins = ("--energy-bins", "12", "--energy-range", "4,28")
    assert insgan("apply", tmp_path / "in.nxs", tmp_path / "out.nxs", *bins, "--device", "cpu")[0] == 0
    found = read_spectrum(tmp_path / "out.nxs")
    np.testing.assert_allclose(found.axes[1].edges, np.arange(4, 29, 2))
    code, out, _ = insgan("apply", tmp_path / "in.nxs", "--output-dir", tmp_path / "many", *bins, "--device", "cpu")
    assert code == 0 and "1 written" in out
    code, out, _ = insgan("apply", tmp_path / "in.nxs", "--output-dir", tmp_path / "many", *bins, "--device", "cpu")
    assert code == 0 and "1 kept" in out
    code, _, _ = insgan("apply", tmp_path / "in.nxs", "--output-dir", tmp_path / "many", "--energy-bins", "8")
    assert code == 6, "other bins are another result"


@pytest.mark.parametrize("name", ["in.txt", "out.nxspe", "out.xye", "out"])
def test_outputs_are_checked_before_the_work(insgan, tmp_path, name):
    write_spectrum(mode(), tmp_path / "in.txt")
    before = (tmp_path / "in.txt").read_bytes()
    code, _, err = insgan("apply", tmp_path / "in.txt", tmp_path / name, "--overwrite")
    assert code == 6 and err.startswith("insgan: the output")
    assert [p.name for p in tmp_path.iterdir()] == ["in.txt"] and (tmp_path / "in.txt").read_bytes() == before


def test_nexus_is_what_loadmd_reads(tmp_path):
    write_spectrum(crystal(), tmp_path / "a.nxs")
    assert read_nexus(tmp_path / "a.nxs").identical(crystal())
