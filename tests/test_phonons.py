"""Phonon models against lattice dynamics worked out here and against a measurement; drawn only where they are named."""

import importlib.util
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from mantid_insgan import Axis
from mantid_insgan.convolve import convolve, ideal
from mantid_insgan.errors import DeviceError, InputError
from mantid_insgan.instruments import Resolution
from mantid_insgan.learn.pairs import Recipe, make_pairs, read_pairs
from mantid_insgan.learn.pairs.draw import draw_pair
from mantid_insgan.learn.pairs.run import versions
from mantid_insgan.models.base import BOLTZMANN, UnstableModelError
from mantid_insgan.models.phonons import PhononModel, read_force_constants
from mantid_insgan.models.phonons.zoo import HELD_OUT, Spring, families, split, spring_force_constants
from mantid_insgan.models.spinw import powder_average

ROOT = Path(__file__).resolve().parents[1]
#: hbar^2 / u in meV^2 Angstrom^2 over meV, and eV/Angstrom^2 in meV/Angstrom^2 (CODATA 2018).
HBAR2_OVER_U = 4.180159
PER_EV = 1000.0
#: Bound coherent scattering lengths, fm (Sears 1992).
LENGTHS = {"Al": 3.449, "Na": 3.63, "Cl": 9.577}
MASSES = {"Al": 26.9815385, "Na": 22.98976928, "Cl": 35.45}
FCC = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2

needs_euphonic = pytest.mark.skipif(
    importlib.util.find_spec("euphonic") is None, reason="Euphonic is an extra: pip install mantid-insgan[phonons]"
)


def family(name):
    return next(f for f in families() if f.name == name)


def aluminium(temperature=0.0, **options):
    """Nearest neighbours on an fcc lattice, held by springs of 1.3 eV/Angstrom^2."""
    couplings = {"L1": 1.3, "T1": 0.0, "L2": 0.0, "T2": 0.0}
    return family("phonon_fcc").model(couplings, material="Al", a=4.05, temperature=temperature, **options)


@needs_euphonic
class TestModel:
    def test_dispersion_of_nearest_neighbours(self):
        # Along (h, 0, 0): M w^2 = 8 K sin^2(pi h / 2) longitudinal, and half of it transverse (Kittel, ch. 4).
        h = np.linspace(0.05, 2, 20)
        energies = np.sort(aluminium().modes(np.outer(h, [1, 0, 0]))[0], axis=1)
        top = np.sqrt(8 * 1.3 * PER_EV * HBAR2_OVER_U / MASSES["Al"])
        wave = np.abs(np.sin(np.pi * h / 2))
        np.testing.assert_allclose(energies[:, 2], top * wave, atol=2e-3 * top)
        np.testing.assert_allclose(energies[:, :2], top * wave[:, None] / np.sqrt(2) * [1, 1], atol=2e-3 * top)

    @pytest.mark.parametrize("temperature", [0.0, 150.0])
    def test_absolute_intensity_of_one_atom(self, temperature):
        # b^2 (hbar Q)^2 / (2 M E) (n + 1) for each of the four atoms of the cubic cell; 1 fm^2 is 10 mbarn.
        model = aluminium(temperature, debye_waller=False)
        q = np.array([[2.6, 0, 0], [3.3, 0, 0]])
        energies, intensities = model.modes(q)
        energy = energies.max(axis=1)
        modulus = 2 * np.pi * q[:, 0] / 4.05
        expected = 4 * 10 * LENGTHS["Al"] ** 2 * HBAR2_OVER_U * modulus**2 / (2 * MASSES["Al"] * energy)
        if temperature:
            expected /= 1 - np.exp(-energy / (BOLTZMANN * temperature))
        np.testing.assert_allclose(intensities.sum(axis=1), expected, rtol=2e-3)

    def test_debye_waller_factor(self):
        # <u^2> along one axis is the mean of hbar^2 coth(E / 2kT) / (2 M E) over modes, for three modes an atom.
        temperature = 300.0
        model = aluminium(temperature)
        q = np.random.default_rng(1).random((20000, 3))
        energies = model.modes(q)[0]
        spread = HBAR2_OVER_U / (2 * MASSES["Al"] * energies * np.tanh(energies / (2 * BOLTZMANN * temperature)))
        far = np.array([[5.5, 0.2, 0.1]])
        with_it, without = model.modes(far)[1], aluminium(temperature, debye_waller=False).modes(far)[1]
        expected = np.exp(-spread.mean() * model.q_modulus(far) ** 2)
        np.testing.assert_allclose(with_it.sum() / without.sum(), expected, rtol=0.02)

    def test_two_atoms_against_lattice_dynamics_of_our_own(self):
        a, springs = 5.64, {"L1": 1.5, "T1": 0.2, "L2a": 0.3, "T2a": 0.02, "L2b": -0.05, "T2b": 0.04}
        model = family("phonon_rocksalt").model(springs, material="NaCl", temperature=0.0, debye_waller=False)
        q = np.random.default_rng(2).uniform(-3, 3, (12, 3))
        energies, intensities = model.modes(q)
        expected = [rock_salt(place, a, springs) for place in q]
        np.testing.assert_allclose(energies, [e for e, _ in expected], atol=5e-3)
        np.testing.assert_allclose(intensities, [4 * i for _, i in expected], rtol=2e-2, atol=1e-2)

    def test_same_as_euphonics_map(self):
        from euphonic import ureg

        model = family("phonon_cscl").draw(np.random.default_rng(3))
        q = np.random.default_rng(4).uniform(0, 2, (30, 3))
        phonons = model.force_constants.calculate_qpoint_phonon_modes(q, asr="reciprocal", n_threads=1)
        factors = phonons.calculate_structure_factor(dw=model._debye_waller)
        edges = np.array([0.1, 1000.1]) * ureg("meV")
        # Euphonic: per atom, and mbarn/meV over one wide bin.
        sqw = factors.calculate_sqw_map(edges, calc_bose=True, temperature=model.temperature * ureg("K"))
        total = sqw.z_data.to("mbarn/meV").magnitude[:, 0] * 1000 * 2
        np.testing.assert_allclose(model.modes(q)[1].sum(axis=1), total, rtol=1e-2)

    def test_conventional_cell(self):
        primitive = PhononModel(aluminium().force_constants)
        cubic = PhononModel(aluminium().force_constants, cell="conventional")
        assert primitive.lattice.alpha == pytest.approx(60)
        assert [getattr(cubic.lattice, n) for n in ("a", "c", "alpha", "gamma")] == pytest.approx([4.05, 4.05, 90, 90])
        hkl = np.array([[2.3, 0.4, 1.1]])
        own = hkl @ cubic.cell.T
        assert primitive.q_modulus(own) == pytest.approx(cubic.q_modulus(hkl))
        np.testing.assert_allclose(4 * primitive.modes(own)[1], cubic.modes(hkl)[1], rtol=1e-2, atol=1e-2)

    def test_convolve_and_powder(self):
        model = aluminium(100.0)
        resolution = Resolution("MARI", 60.0, "G", 200.0)
        axes = (Axis("|Q|", np.linspace(2, 6, 9), "Angstrom^-1"), Axis("DeltaE", np.linspace(5, 50, 46), "meV"))
        recorded = convolve(model, axes, resolution)
        sharp = ideal(model, axes, resolution, points=2000)
        inside = recorded.valid & sharp.valid
        assert recorded.signal[inside].sum() == pytest.approx(sharp.signal[inside].sum(), rel=0.05)
        averaged, error = powder_average(model, axes[0].centers, axes[1].edges, q_width=0.5, n_orientations=2000)
        off = (averaged - sharp.signal)[inside] / np.sqrt(error**2 + sharp.variance)[inside].clip(0.5)
        assert np.sqrt((off**2).mean()) < 2


def rock_salt(q, a, springs):
    """Energies and intensities of one Na and one Cl at q in r.l.u. of the cubic cell, with phases between atoms."""
    positions, kinds = np.array([[0, 0, 0], [0.5, 0, 0]]), ("Na", "Cl")
    lattice = np.array(list(np.ndindex(9, 9, 9)) - np.array(4)) @ FCC
    matrix = np.zeros((2, 3, 2, 3), complex)
    for i in range(2):
        for j in range(2):
            for vector in lattice + positions[j] - positions[i]:
                distance = np.linalg.norm(vector)
                near = "1" if i != j else "2" + "ab"[i]
                if abs(distance - (0.5 if i != j else np.sqrt(0.5))) > 1e-6:
                    continue
                along = np.outer(vector, vector) / distance**2
                spring = springs["L" + near] * along + springs["T" + near] * (np.eye(3) - along)
                matrix[i, :, j, :] -= spring * np.exp(2j * np.pi * q @ vector)
                matrix[i, :, i, :] += spring
    mass = np.repeat([MASSES[k] for k in kinds], 3)
    squares, vectors = np.linalg.eigh(matrix.reshape(6, 6) * PER_EV / np.sqrt(np.outer(mass, mass)))
    energies = np.sqrt(squares * HBAR2_OVER_U)
    # Phases exp(iq.r) are in the matrix, so the structure factor is the plain sum over atoms.
    momentum = 2 * np.pi / a * q
    weights = np.repeat([LENGTHS[k] for k in kinds], 3) / np.sqrt(mass) * np.tile(momentum, 2)
    return energies, 10 * HBAR2_OVER_U * np.abs(weights @ vectors) ** 2 / (2 * energies)


@needs_euphonic
class TestBadInput:
    def test_unstable(self):
        springs = {"L1": 1.0, "T1": -0.4, "L2": 0.0, "T2": 0.0}
        with pytest.raises(
            UnstableModelError, match=r"imaginary energy .*i meV at q = \[.*expected none above the floor"
        ):
            family("phonon_fcc").model(springs, material="Cu", temperature=5.0)

    def test_springs(self):
        with pytest.raises(InputError, match=r"the springs \['L1'\], expected \['L1', 'L2', 'T1', 'T2'\]"):
            family("phonon_fcc").model({"L1": 1.0}, material="Al", temperature=5.0)
        with pytest.raises(InputError, match="a spring of 0.9 lattice parameters ends at no atom"):
            spring_force_constants(4.0, FCC, [(0, 0, 0)], ["Al"], [Spring(0, 0, 0.9, 1.0, 0.0)])

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"cell": "primitive"}, "the cell 'primitive' is not known.*use 'conventional' or a matrix"),
            ({"cell": np.zeros((3, 3))}, "has no volume"),
            ({"temperature": -1.0}, "temperature -1 K"),
            ({"scattering_lengths": {"Cu": 7.7}}, "the elements Al have a coherent scattering length.*in fm"),
        ],
    )
    def test_options(self, options, message):
        with pytest.raises(InputError, match=message):
            PhononModel(aluminium().force_constants, **options)

    def test_files(self, tmp_path):
        written = tmp_path / "al.json"
        aluminium().force_constants.to_json_file(str(written))
        model = PhononModel(read_force_constants(written), cell="conventional")
        assert model.bandwidth() == pytest.approx(aluminium().bandwidth())
        with pytest.raises(InputError, match="ends in '.txt', expected one of .castep_bin"):
            read_force_constants(tmp_path / "al.txt")
        with pytest.raises(InputError, match="there is no file .*none.json"):
            read_force_constants(tmp_path / "none.json")
        (tmp_path / "other.json").write_text("{}")
        with pytest.raises(InputError, match="other.json contains no force constants that Euphonic can read"):
            read_force_constants(tmp_path / "other.json")
        (tmp_path / "other.yaml").write_text("a: 1")
        with pytest.raises(InputError, match="other.yaml contains no force constants that Euphonic can read"):
            read_force_constants(tmp_path / "other.yaml")


@needs_euphonic
class TestZoo:
    @pytest.mark.parametrize("family", families(), ids=lambda f: f.name)
    def test_draws(self, family):
        drawn, again, other = (family.draw(np.random.default_rng(seed)) for seed in (11, 11, 12))
        q = np.random.default_rng(0).uniform(-3, 3, (50, 3))
        energies, intensities = drawn.modes(q)
        assert (energies > 0).all() and np.isfinite(intensities).all() and intensities.max() > 0
        assert 10 <= drawn.bandwidth() <= 80 and energies.max() < 1.1 * drawn.bandwidth()
        assert np.array_equal(again.modes(q)[1], intensities)
        assert other.facts["couplings"] != drawn.facts["couplings"]
        assert drawn.lattice.alpha == drawn.lattice.gamma == 90

    def test_rejected_draws_are_counted(self):
        rejected = [family("phonon_bcc").draw(np.random.default_rng(seed)).facts["rejected"] for seed in (28, 29)]
        assert rejected == [0, 1]

    def test_split_is_by_family(self):
        train, held_out = split()
        assert {f.name for f in held_out} == set(HELD_OUT)
        assert set(train) | set(held_out) == set(families()) and not set(train) & set(held_out)

    def test_pairs(self, tmp_path):
        names = ("phonon_fcc", "phonon_cscl")
        options = {"bins": 16, "families": names, "method": "covariance"}
        make_pairs(1, 3, 2, 1, tmp_path / "pairs", **options)
        for pair in read_pairs(tmp_path / "pairs"):
            assert pair.facts["family"] in names and "couplings" in pair.facts["model"]
            assert np.isfinite(pair.convolved[pair.valid]).all()
        card = json.loads((tmp_path / "pairs" / "data_card.json").read_text())
        assert "euphonic" in card["versions"]
        assert card["splits"]["train"]["families"] == ["phonon_fcc"]
        assert card["splits"]["test-family"]["families"] == ["phonon_cscl"]


class TestWithoutEuphonic:
    @pytest.fixture(autouse=True)
    def absent(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "euphonic", None)

    def test_what_asks_for_it_says_what_to_install(self, tmp_path, insgan):
        with pytest.raises(DeviceError, match=r"not installed. Fix: pip install 'mantid-insgan\[phonons\]'"):
            family("phonon_fcc").draw(np.random.default_rng(1))
        with pytest.raises(DeviceError, match="phonons need Euphonic"):
            read_force_constants(tmp_path / "al.json")
        words = ("--dimensions", 1, "--count", 1, "--output", tmp_path / "pairs", "--family", "phonon_fcc")
        code, _, said = insgan("make-pairs", *words)
        assert code == DeviceError.exit_code and "mantid-insgan[phonons]" in "".join(said.split("\n"))
        assert not (tmp_path / "pairs").exists()

    def test_other_families_do_not_ask_for_it(self):
        recipe = Recipe(1, 7, "covariance", 16, only=("fm_chain",))
        assert draw_pair(recipe, 0).facts["family"] == "fm_chain"
        assert "euphonic" not in versions(recipe) and "euphonic" not in versions(Recipe(1, 7))


def test_the_drawn_families_are_what_they_were():
    """An item's random stream runs over these lists: a name more or less would change the pairs of every seed."""
    recipe = Recipe(2, 1)
    drawn = {name: [f.name for f in recipe.families(name)] for name in recipe.splits}
    train = (
        "fm_chain afm_chain square_afm honeycomb_fm honeycomb_afm kagome_q0 cubic_afm bilayer_fm pyrochlore_fm "
        "diamond_afm spinel_ferrimagnet pcsmo_goodenough levels"
    ).split()
    assert drawn == {
        "train": train,
        "validation": ["triangular_120", "cubic_fm", "bilayer_afm"],
        "test-family": ["ladder", "stripe", "kagome_fm", "rutile_afm", "helical", "pcsmo_dimer", "dimer_levels"],
        "test-setting": train,
    }
    named = Recipe(2, 1, only=[f.name for f in families()])
    assert {name: [f.name for f in named.families(name)] for name in named.splits} == {
        "train": ["phonon_fcc", "phonon_rocksalt"],
        "validation": ["phonon_bcc"],
        "test-family": ["phonon_cscl"],
        "test-setting": ["phonon_fcc", "phonon_rocksalt"],
    }


@needs_euphonic
def test_the_example_of_the_page(tmp_path, monkeypatch):
    page = (ROOT / "docs" / "convolution.md").read_text().split("## Phonons")[1]
    (example,) = re.findall(r"```python\n(.*?)```", page.split("\n## ")[0], flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    aluminium().force_constants.to_json_file("aluminium.json")
    names: dict = {}
    exec(example, names)
    assert names["recorded"].signal.shape == (60, 80) and np.nanmax(names["recorded"].signal) > 1


@needs_euphonic
def test_aluminium_against_the_measurement(shared):
    spec = importlib.util.spec_from_file_location("aluminium", ROOT / "benchmarks" / "aluminium.py")
    benchmark = sys.modules["aluminium"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    measured, resolution = benchmark.read(shared / "data" / "al-mari", q_bins=48)
    force_constants = read_force_constants(shared / "data" / "al-mari" / "Al-444-lda.yaml")
    model = PhononModel(force_constants, cell="conventional", temperature=measured.run.value("temperature"))
    recorded = benchmark.compare(convolve(model, measured, resolution, orientations=100), measured)
    sharp = benchmark.compare(ideal(model, measured, resolution, points=400), measured)
    seen = benchmark.compare(measured, measured)
    assert recorded.correlation > 0.9 and recorded.correlation > sharp.correlation + 0.04
    np.testing.assert_allclose(recorded.peaks, seen.peaks, atol=1.2)
    assert recorded.edge == pytest.approx(seen.edge, abs=1.0)
