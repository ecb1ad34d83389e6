"""Models from a user's hand: every form of file, what it builds, and every error once."""

import copy
import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

pytest.importorskip("pyspinw", reason="pySpinW is an extra: pip install mantid-insgan[spinw]")

from mantid_insgan import Lattice
from mantid_insgan.errors import InputError
from mantid_insgan.models.base import UnstableModelError
from mantid_insgan.models.definition import (
    Parameter,
    definition_of_callable,
    definition_of_family,
    read_model,
)
from mantid_insgan.models.form import ModelForm
from mantid_insgan.models.rescaled import RescaledModel
from mantid_insgan.models.spin_form import turned
from mantid_insgan.models.spinw.build import direct_basis
from mantid_insgan.models.spinw.zoo import get_family

EXAMPLES = Path(__file__).resolve().parents[1] / "docs" / "examples" / "models"
Q = np.random.default_rng(3).uniform(-1.5, 1.5, (60, 3))

SQUARE = yaml.safe_load((EXAMPLES / "la2nio4.yaml").read_text(encoding="utf-8"))
CHAIN = {
    "lattice": {"a": 4.0},
    "sites": [{"at": [0, 0, 0], "spin": [0, 0, 2], "ion": "Mn3+"}],
    "bonds": [{"vectors": [[1, 0, 0]], "exchange": "J"}],
    "parameters": {"J": {"start": -1.0}},
}


@pytest.fixture
def read(tmp_path):
    """Reads a model that is given as a dictionary or a text."""

    def from_content(content, name="model.yaml"):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
        return read_model(path)

    return from_content


def same(model, reference, q=Q):
    """Equal energies, and equal intensities of modes that are summed, since the order of equal energies is free."""
    (energies, intensities), (expected, weights) = model.modes(q), reference.modes(q)
    np.testing.assert_allclose(np.sort(energies), np.sort(expected), atol=1e-9)
    np.testing.assert_allclose(intensities.sum(axis=1), weights.sum(axis=1), rtol=1e-7)


TETRAGONAL, DIAGONAL = Lattice(3.87, 3.87, 12.55), (np.sqrt(0.5), np.sqrt(0.5), 0)


def square(lattice=TETRAGONAL, axis=DIAGONAL, **couplings):
    full = dict.fromkeys(get_family("square_afm").priors, 0.0) | couplings
    return get_family("square_afm").model(full, lattice=lattice, ion="Ni2+", axis=axis)


class TestExamples:
    def test_la2nio4_is_the_family(self):
        definition = read_model(EXAMPLES / "la2nio4.yaml")
        assert definition.free == ("J", "Jp", "line")
        assert (definition.name, definition.parameters["J"].high) == ("La2NiO4", 60)
        model = definition.build({"J": 30})
        reference = square(J1=30, J2=1.67, D=-0.1)
        turned_by_90 = reference.modes(Q @ np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]]).T)
        energies, intensities = model.modes(Q)
        np.testing.assert_allclose(energies[:, :2], reference.modes(Q)[0], atol=1e-9)
        expected = 0.5 * (reference.modes(Q)[1].sum(axis=1) + turned_by_90[1].sum(axis=1))
        np.testing.assert_allclose(intensities.sum(axis=1), expected, rtol=1e-7)

    @pytest.mark.parametrize(("name", "family"), [("goodenough", "pcsmo_goodenough"), ("dimer", "pcsmo_dimer")])
    def test_the_manganite_is_the_family(self, name, family):
        definition = read_model(EXAMPLES / f"{name}.yaml")
        values = definition.values()
        couplings = {coupling: values[coupling] for coupling in get_family(family).priors}
        options = {"lattice": definition.lattice, "ion": "Mn3+/Mn4+", "axis": (0, 1, 0)}
        same(definition.build(), get_family(family).model(couplings, **options), Q[:20])

    def test_bi2fe4o9_has_five_exchanges_and_settles(self):
        definition = read_model(EXAMPLES / "bi2fe4o9.yaml")
        assert [(g.exchange, g.count, g.length) for g in definition.bonds] == [
            ("J44", 4, 2.901), ("Jc", 4, 3.1), ("J43", 16, 3.393), ("J43p", 16, 3.457), ("J33", 4, 3.621),
        ]  # fmt: skip
        first, second = (definition.build(v) for v in (None, {"J43": 4.5}))
        angles = [np.degrees(np.arctan2(*m.hamiltonian.geometry.spins[4, 1::-1])) for m in (first, second)]
        assert abs(angles[0] - angles[1]) > 1  # the spins of Fe3 follow the exchanges
        assert 70 < first.bandwidth() < 95


class TestForms:
    def test_neighbours_are_vectors(self, read):
        shells = [{"neighbour": 1, "exchange": "J"}, {"neighbour": 2, "exchange": "Jp"}]
        same(read(SQUARE | {"bonds": shells}).build(), read_model(EXAMPLES / "la2nio4.yaml").build())

    @pytest.mark.parametrize(
        ("points", "counts"),
        [
            ([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]], (12, 6, 24, 12)),
            ([[0, 0, 0], [0.5, 0.5, 0.5]], (8, 6, 12, 24)),
            ([[0, 0, 0]], (6, 12, 8, 6)),
        ],
        ids=["fcc", "bcc", "cubic"],
    )
    def test_shells_have_their_coordination_numbers(self, read, points, counts):
        sites = [{"at": at, "spin": [0, 0, 1], "ion": "Ni2+"} for at in points]
        bonds = [{"neighbour": n, "exchange": -1.0} for n in range(1, len(counts) + 1)]
        definition = read({"lattice": {"a": 4.0}, "sites": sites, "bonds": bonds})
        assert [2 * g.count // len(points) for g in definition.bonds] == list(counts)

    def test_labels_count_their_own_shells(self, read):
        sites = [
            {"at": [0, 0, 0], "spin": [0, 0, 1], "ion": "Ni2+", "label": "A"},
            {"at": [0.4, 0, 0], "spin": [0, 0, 1], "ion": "Mn2+", "label": "B"},
        ]
        pairs = [(["A", "B"], 1), (["A", "B"], 2), (["A", "A"], 1)]
        bonds = [{"between": between, "neighbour": n, "exchange": -1} for between, n in pairs]
        definition = read({"lattice": {"a": 4.0, "b": 9, "c": 9}, "sites": sites, "bonds": bonds})
        assert [(g.count, g.length) for g in definition.bonds] == [(1, 1.6), (1, 2.4), (1, 4.0)]
        assert definition.build().ion == ("Ni2+", "Mn2+")

    def test_a_dzyaloshinskii_moriya_vector_in_a_sum(self, read):
        vectors = [[1, 0, 0], [0, 1, 0], [-1, -1, 0]]
        labels = ["A", "B"]
        content = {
            "lattice": {"a": 6.0, "c": 7.0, "gamma": 120},
            "sites": [
                {"at": at, "spin": [0, 0, 1.5], "ion": "Cr3+", "label": label}
                for at, label in zip([[1 / 3, 2 / 3, 0], [2 / 3, 1 / 3, 0]], labels, strict=True)
            ],
            "bonds": [
                {"between": labels, "neighbour": 1, "exchange": "J1"},
                {"between": ["A", "A"], "vectors": vectors, "exchange": [0.0, {"dm": [0, 0, "DM"]}]},
                {"between": ["B", "B"], "vectors": vectors, "exchange": {"dm": [0, 0, "-DM"]}},
            ],
            "anisotropy": {"D": [0, 0, 2]},
            "temperature": 5,
            "parameters": {"J1": {"start": -2.0}, "DM": {"start": 0.1}, "D": -0.1},
        }
        couplings = dict.fromkeys(get_family("honeycomb_fm").priors, 0.0) | {"J1": -2.0, "DM": 0.1, "D": -0.1}
        lattice = Lattice(6, 6, 7, gamma=120)
        same(read(content).build(), get_family("honeycomb_fm").model(couplings, lattice=lattice, ion="Cr3+"))

    def test_a_spin_may_be_its_components(self, read):
        # 0.707 stands for 1/sqrt(2): S is what its length says
        sites = [{"at": [0, y, 0], "spin": [s * 0.707, s * 0.707, 0], "ion": "Ni2+"} for y, s in ((0, 1), (1, -1))]
        spins = read(SQUARE | {"sites": sites}).build().hamiltonian.geometry.spins
        np.testing.assert_allclose(np.linalg.norm(spins, axis=1), 0.707 * np.sqrt(2))

    def test_a_matrix_of_names_is_a_bond_of_its_own_kind(self, read):
        bond = {"vectors": [[1, 0, 0]], "exchange": [["J", 0, 0], [0, "J - 0.5*K", 0], [0, 0, "J + K/2"]]}
        content = CHAIN | {"bonds": [bond], "parameters": {"J": {"start": -1}, "K": {"start": -0.2}}}
        found = read(content).build().hamiltonian.exchanges[0].exchange_matrix
        np.testing.assert_allclose(found, np.diag([-1, -0.9, -1.1]))

    def test_anisotropy_by_label_and_as_a_matrix(self, read):
        sites = [
            {"at": [x, 0, 0], "spin": [0, 0, 1], "ion": "Ni2+", "label": label} for x, label in ((0, "A"), (0.5, "B"))
        ]
        bonds = [{"neighbour": 1, "exchange": -1}]
        by_label = {"A": {"D": [0, 0, 1]}, "B": [["E", 0, 0], [0, 0, 0], [0, 0, 0]]}
        content = {"lattice": {"a": 4, "b": 9, "c": 9}, "sites": sites, "bonds": bonds, "anisotropy": by_label}
        content["parameters"] = {"D": -0.5, "E": 0.2}
        terms = read(content).build().hamiltonian.anisotropies
        np.testing.assert_allclose([t.anisotropy_matrix for t in terms], [np.diag([0, 0, -0.5]), np.diag([0.2, 0, 0])])

    def test_an_ordering_vector_is_a_cell_with_all_sites(self, read):
        ordered = {key: value for key, value in SQUARE.items() if key not in ("cell", "domains")}
        ordered |= {"k": [0.5, 0.5, 0], "sites": SQUARE["sites"][:1]}
        same(read(ordered).build(), square(J1=29, J2=1.67, D=-0.1))

    def test_ties_are_worked_out_in_any_order(self, read):
        parameters = SQUARE["parameters"] | {"D": {"tie": "-Jp / 10"}, "Jp": {"tie": "0.05 * J"}}
        definition = read(SQUARE | {"parameters": parameters})
        assert definition.free == ("J", "line")
        values = definition.values({"J": 20, "Jp": 17})  # a tie wins over a value
        assert values == pytest.approx({"J": 20, "Jp": 1.0, "D": -0.1, "line": 4, "energy_factor": 1})
        same(definition.build({"J": 20}), read_model(EXAMPLES / "la2nio4.yaml").build({"J": 20, "Jp": 1.0}))

    def test_a_value_is_fixed_and_a_start_is_free_unless_vary_says_otherwise(self, read):
        given = {"J": {"value": 29, "vary": True}, "Jp": {"start": 1, "vary": False}, "D": -0.1}
        assert read(SQUARE | {"parameters": given}).free == ("J",)

    def test_other_starts_and_limits_leave_the_definition_as_it_was(self, read):
        definition = read_model(EXAMPLES / "la2nio4.yaml")
        other = definition.with_starts(J=70).with_parameters(Parameter("Jp", 1.0, vary=False), Parameter("line", 2.0))
        assert (other.values()["J"], other.parameters["J"].high, other.free) == (70, 70, ("J", "line"))
        assert definition.values()["J"] == 29
        again = definition.with_starts(**definition.values())
        assert dict(again.parameters) == dict(definition.parameters)


class TestFieldAndRelaxation:
    """Against pySpinW's own Zeeman term and the canting of an antiferromagnet."""

    def pyspinw(self, model, field):
        pairs, _ = model.hamiltonian.pyspinw._energies_and_intensities(Q + 1e-5, field=np.array(field, dtype=float))
        pairs = np.sort(np.real(pairs), axis=1)
        return pairs[:, pairs.shape[1] // 2 :]

    def test_along_a_ferromagnet(self, read):
        # H = g muB B.S: the spin is lowest in energy against the field.
        plain, field = read(CHAIN).build(), read(CHAIN | {"field": [0, 0, "B"], "parameters": {"J": -1, "B": -7.0}})
        found = field.build()
        np.testing.assert_allclose(found.modes(Q)[0], plain.modes(Q)[0] + 2 * 5.7883818e-2 * 7, atol=1e-4)
        np.testing.assert_allclose(found.modes(Q)[0], self.pyspinw(plain, [0, 0, -7]), atol=1e-3)
        with pytest.raises(UnstableModelError):
            field.build({"B": 7.0})

    def test_an_antiferromagnet_cants(self, read):
        content = {key: value for key, value in SQUARE.items() if key not in ("anisotropy", "domains")}
        parameters = {"J": {"start": 1.0}, "Jp": 0.0, "B": {"start": 10.0}}
        content |= {"field": [0, 0, "B"], "relax": True, "parameters": parameters}
        model = read(content).build()
        # Four neighbours: gradient g muB B = 8 J S sin(angle) out of the plane, against the field.
        expected = -2 * 5.7883818e-2 * 10 / 8
        np.testing.assert_allclose(model.hamiltonian.geometry.spins[:, 2], expected, rtol=1e-6)
        assert read(content).build({"B": 0.0}).hamiltonian.geometry.spins[:, 2] == pytest.approx(0, abs=1e-9)
        low = model.modes([[0.5, 0.5, 0.0], [0, 0, 0]])[0].max(axis=1)  # the uniform mode has the Larmor frequency
        np.testing.assert_allclose(low, 2 * 5.7883818e-2 * 10, rtol=1e-3)

    def test_a_structure_without_relaxation_is_refused(self, read):
        content = yaml.safe_load((EXAMPLES / "bi2fe4o9.yaml").read_text(encoding="utf-8")) | {"relax": False}
        with pytest.raises(UnstableModelError, match="torque"):
            read(content).build()


@pytest.mark.parametrize("lattice", [Lattice(4, 5, 6), Lattice(5, 5, 7, gamma=120), Lattice(4, 5, 6, 80, 95, 110)])
def test_a_turned_domain_scatters_where_its_crystal_does(lattice):
    angle = np.radians(35)
    forward = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    reciprocal = np.linalg.inv(direct_basis(lattice)).T
    # Q = R q of the turned crystal is q of the model.
    of_the_model = Q @ reciprocal
    of_the_domain = np.linalg.solve(reciprocal.T, (of_the_model @ forward.T).T).T
    np.testing.assert_allclose(of_the_domain @ turned(direct_basis(lattice), 35).T, Q, atol=1e-9)


def test_the_cartesian_axes_are_those_of_pyspinw():
    from pyspinw import UnitCell

    for cell in [(4, 5, 6, 90, 90, 90), (5, 5, 7, 90, 90, 120), (4, 5, 6, 80, 95, 110)]:
        expected = UnitCell(*cell).lattice_units_to_cartesian(np.eye(3))
        np.testing.assert_allclose(direct_basis(Lattice(*cell)), expected, atol=1e-9)


class TestEnergyFactor:
    def test_it_multiplies_energies_and_leaves_structure_factors(self, read):
        content = SQUARE | {"temperature": 100}
        plain, factored = read(content).build(), read(content | {"energy_factor": 1.2}).build()
        (energies, intensities), (scaled, weights) = plain.modes(Q), factored.modes(Q)
        np.testing.assert_allclose(scaled, 1.2 * energies)
        np.testing.assert_allclose(
            weights / plain.population(scaled), intensities / plain.population(energies), rtol=1e-9
        )
        assert factored.bandwidth() == pytest.approx(1.2 * plain.bandwidth())
        assert isinstance(factored, RescaledModel) and factored.facts["energy_factor"] == 1.2

    def test_it_may_be_free(self, read):
        content = {key: value for key, value in SQUARE.items() if key != "energy_factor"}
        content["parameters"] = SQUARE["parameters"] | {"energy_factor": {"start": 1.1, "min": 1, "max": 1.3}}
        definition = read(content)
        assert "energy_factor" in definition.free
        assert definition.build().bandwidth() == pytest.approx(1.1 * definition.build({"energy_factor": 1}).bandwidth())

    def test_derivatives_are_those_of_the_product(self):
        # E = f e(J), and of e the derivative is that of the model inside
        class Inside(type(square(J1=1.0))):
            def modes_and_derivatives(self, q, changes):
                energies, intensities = self.modes(q)
                return energies, intensities, np.array([c.modes(q)[0] - energies for c in changes])

        inside, changed = square(J1=1.0), square(J1=1.001)
        inside.__class__ = Inside
        model, other = RescaledModel(inside, 1.1), RescaledModel(changed, 1.102)
        found = model.modes_and_derivatives(Q, [other])[2][0]
        np.testing.assert_allclose(found, other.modes(Q)[0] - model.modes(Q)[0], atol=1e-4)
        with pytest.raises(InputError, match="have no derivatives"):
            RescaledModel(SimpleNamespace(**vars(changed)), 1.1).modes_and_derivatives(Q, [other])


class TestOtherSources:
    def test_a_cif_gives_lattice_and_positions(self, read, tmp_path):
        (tmp_path / "mnf2.cif").write_text(MNF2, encoding="utf-8")
        content = {
            "structure": "mnf2.cif",
            "sites": [{"atom": "Mn1", "spins": [[0, 0, 1], [0, 0, -1]], "length": 2.5, "ion": "Mn2+"}],
            "bonds": [{"neighbour": 1, "exchange": "Jc"}, {"neighbour": 2, "exchange": "J1"}],
            "anisotropy": {"D": [0, 0, 1]},
            "parameters": {"J1": {"start": 0.3}, "Jc": {"start": -0.05}, "D": -0.1},
        }
        definition = read(content)
        assert definition.lattice.cell == pytest.approx((4.873, 4.873, 3.13, 90, 90, 90))
        reference = get_family("rutile_afm").model(
            {"J1": 0.3, "Jc": -0.05, "Ja": 0.0, "D": -0.1}, lattice=definition.lattice, ion="Mn2+"
        )
        same(definition.build(), reference)
        by_element = copy.deepcopy(content)
        by_element["sites"][0]["atom"] = "Mn"
        assert read(by_element).sites == definition.sites

    def test_errors_of_a_cif(self, read, tmp_path):
        (tmp_path / "mnf2.cif").write_text(MNF2, encoding="utf-8")
        site = {"atom": "Mn1", "spins": [[0, 0, 1]], "ion": "Mn2+"}
        content = CHAIN | {"structure": "mnf2.cif", "sites": [site]}
        with pytest.raises(InputError, match=r"1 spins for 2 positions: \[0.0, 0.0, 0.0\], \[0.5, 0.5, 0.5\]"):
            read(content)
        with pytest.raises(InputError, match="names the atom 'Fe'; the structure has Mn1, F1"):
            read(content | {"sites": [site | {"atom": "Fe"}]})
        with pytest.raises(InputError, match="no file .*other.cif"):
            read(content | {"structure": "other.cif"})
        (tmp_path / "bad.cif").write_text("no cif", encoding="utf-8")
        with pytest.raises(InputError, match="bad.cif cannot be read as a CIF"):
            read(content | {"structure": "bad.cif"})

    def test_a_family(self, read):
        parameters = {"J1": {"start": 29, "min": 0}, "J2": {"start": 1.67}, "D": {"tie": "-0.1 * J1 / 29"}}
        content = {"family": "square_afm", "ion": "Ni2+", "axis": [1, 1, 0], "lattice": SQUARE["lattice"]}
        definition = read(content | {"parameters": parameters})
        assert (definition.free, definition.values()["J3"]) == (("J1", "J2"), 0.0)
        same(definition.build(), square(J1=29, J2=1.67, D=-0.1))
        made = definition_of_family("square_afm", definition.lattice, "Ni2+", [Parameter("J1", 29.0)], axis=(1, 1, 0))
        same(made.build({"J1": 31}), square(J1=31))
        with pytest.raises(InputError, match="parameter J9 is used nowhere"):
            definition_of_family("square_afm", definition.lattice, "Ni2+", [Parameter("J9", 1.0)])

    def test_a_helix_is_left_to_pyspinw(self, read):
        couplings = {"J1": -1.0, "J2": 0.6, "Jplane": -0.5}
        content = {"family": "helical", "ion": "Mn2+", "lattice": {"a": 4, "c": 5}, "parameters": couplings}
        reference = get_family("helical").model(couplings | {"D": 0.0}, lattice=Lattice(4, 4, 5), ion="Mn2+")
        same(read(content).build(), reference, Q[:10])

    def test_a_function(self):
        lattice = Lattice(3.87, 3.87, 12.55)

        def build(values):
            return square(lattice, J1=values["J"], J2=0.1 * values["J"])

        definition = definition_of_callable(build, lattice, [Parameter("J", 29, 0, 60)], name="mine")
        assert definition.source.endswith("build") and definition.free == ("J",)
        same(definition.build({"J": 20}), square(J1=20, J2=2))
        assert definition.build({"J": 20, "energy_factor": 2.0}).bandwidth() == pytest.approx(
            2 * definition.build({"J": 20}).bandwidth()
        )

    def test_tb2j_counts_a_bond_once(self, read, tmp_path):
        (tmp_path / "exchange.out").write_text(exchange_out(-2.0, 0.1), encoding="utf-8")
        definition = read({"tb2j": "exchange.out", "ion": {"Fe": "Fe3+"}, "parameters": {"J2": {"min": 0, "max": 3}}})
        # J = -2 J_ij / (S_i S_j) with S = 2 from a moment of 4
        assert {name: p.value for name, p in definition.parameters.items()} == pytest.approx(
            {"J1": -0.05, "J2": 1.0, "exchange_factor": 1.0, "energy_factor": 1.0}
        )
        assert definition.free == ("J2",)
        assert [(g.exchange, g.count, g.length) for g in definition.bonds] == [("J1", 1, 4.0), ("J2", 8, 4.123)]
        sites = [{"at": at, "spin": [0, 0, s], "ion": "Fe3+"} for at, s in (([0, 0, 0], 2), ([0.5, 0.5, 0.5], -2))]
        bonds = [
            {"neighbour": 2, "exchange": 1.0},
            {"between": ["Fe1", "Fe1"], "vectors": [[1, 0, 0]], "exchange": -0.05},
        ]
        sites[0]["label"] = "Fe1"
        reference = read({"lattice": {"a": 4, "c": 6}, "sites": sites, "bonds": bonds}, "other.yaml")
        # the vector of J1 is the shortest distance of either kind; both kinds have one at 4 Angstrom
        assert reference.bonds[0].length == 4.123
        same(definition.build(), reference.build())
        double = definition.build({"exchange_factor": 2.0})
        assert double.bandwidth() == pytest.approx(2 * definition.build().bandwidth())
        short = {"tb2j": "exchange.out", "ion": "Fe3+", "spin": 2.5, "within": 4.05}
        only = read(short)
        assert only.values()["J1"] == pytest.approx(-0.2 / 2.5**2) and "J2" not in only.parameters

    def test_tb2j_with_noncollinear_moments(self, read, tmp_path):
        # as spin-orbit coupling leaves them: not quite antiparallel, so that spins have to settle
        text = exchange_out(-2.0, 0.1).replace("w_magmom", "M(x)      M(y)      M(z)")
        text = text.replace("5.1000     4.0000", "5.1000    -0.0260    0.0000    4.0000")
        text = text.replace("5.1000    -4.0000", "5.1000    -0.0176    0.0000   -4.0000")
        (tmp_path / "tilted.out").write_text(text, encoding="utf-8")
        content = {"tb2j": "tilted.out", "ion": "Fe3+", "spin": 2.5}
        with pytest.raises(UnstableModelError, match="torque"):
            read(content).build()
        settled = read(content | {"relax": True}).build()
        first, second = settled.hamiltonian.geometry.spins
        np.testing.assert_allclose(first, -second, atol=1e-8)
        (tmp_path / "straight.out").write_text(exchange_out(-2.0, 0.1), encoding="utf-8")
        straight = read(content | {"tb2j": "straight.out"}).build()
        np.testing.assert_allclose(settled.modes(Q)[0], straight.modes(Q)[0], atol=1e-3)

    def test_errors_of_tb2j(self, read, tmp_path):
        (tmp_path / "exchange.out").write_text(exchange_out(-2.0, 0.1), encoding="utf-8")
        (tmp_path / "half.out").write_text("Cell (Angstrom):\n 4 0 0\n", encoding="utf-8")
        (tmp_path / "TB2J.pickle").write_bytes(b"\x80\x04.")
        for content, message in [
            ({"tb2j": "TB2J.pickle", "ion": "Fe3+"}, "TB2J.pickle is a pickle, which runs code"),
            ({"tb2j": "half.out", "ion": "Fe3+"}, "no section 'Atoms:'"),
            ({"tb2j": "none.out", "ion": "Fe3+"}, "there is no file"),
            ({"tb2j": "exchange.out"}, "the key ion is missing"),
            ({"tb2j": "exchange.out", "ion": {"Mn": "Mn3+"}}, "there is no ion for Fe"),
            ({"tb2j": "exchange.out", "ion": "Fe3+", "within": 1.0}, "no exchange lies within 1 Angstrom"),
        ]:
            with pytest.raises(InputError, match=message):
                read(content)

    def test_pyspinws_own_file(self, read, tmp_path):
        self.write_spw(tmp_path / "mine.spw")
        definition = read({"spinw": "mine.spw", "ion": "Mn2+", "parameters": {"J1": {"min": 0, "max": 3}, "Jc": -0.05}})
        assert definition.free == ("J1",)
        assert definition.values() == pytest.approx({"J1": 0.3, "Jc": -0.05, "energy_factor": 1.0})
        couplings = {"J1": 0.3, "Jc": -0.05, "Ja": 0.0, "D": -0.1}
        reference = get_family("rutile_afm").model(couplings, lattice=Lattice(4.8, 4.8, 3.2), ion="Mn2+")
        same(definition.build(), reference)

    def test_errors_of_pyspinws_file(self, read, tmp_path):
        (tmp_path / "bad.spw").write_text('{"type": "what"}', encoding="utf-8")
        for content, message in [
            ({"spinw": "bad.spw", "ion": "Mn2+"}, "bad.spw cannot be read by pySpinW"),
            ({"spinw": "none.spw", "ion": "Mn2+"}, "there is no file"),
            ({"spinw": "model.yaml", "ion": "Mn2+"}, "ends in '.yaml', expected '.spw'"),
        ]:
            with pytest.raises(InputError, match=message):
                read(content)

    @staticmethod
    def write_spw(path):
        import pyspinw
        from pyspinw import HeisenbergExchange, UnitCell

        sites = [pyspinw.Site(0, 0, 0, 0, 0, 2.5, name="up"), pyspinw.Site(0.5, 0.5, 0.5, 0, 0, -2.5, name="down")]
        corners = [(i, j, k) for i in (0, -1) for j in (0, -1) for k in (0, -1)]
        exchanges = [HeisenbergExchange(*sites, 0.3, corner, name="J1") for corner in corners]
        exchanges += [HeisenbergExchange(site, site, -0.1, (0, 0, 1), name="Jc") for site in sites]
        anisotropies = pyspinw.matrix_anisotropies(sites, np.diag([0, 0, -0.1]))
        pyspinw.Hamiltonian(pyspinw.Structure(sites, UnitCell(4.8, 4.8, 3.2)), exchanges, anisotropies).save(path)

    def test_force_constants(self, read, tmp_path):
        pytest.importorskip("euphonic", reason="Euphonic is an extra: pip install mantid-insgan[phonons]")
        from mantid_insgan.models.phonons import zoo

        (rocksalt,) = (family for family in zoo.families() if family.name == "phonon_rocksalt")
        model = rocksalt.draw(np.random.default_rng(1))
        model.force_constants.to_json_file(tmp_path / "fc.json")
        content = {"force_constants": "fc.json", "cell": "conventional", "temperature": 20}
        definition = read(content | {"parameters": {"stiffness": {"min": 0.5, "max": 2}}})
        assert definition.free == ("stiffness",)
        energies = definition.build().modes(Q[:10])[0]
        np.testing.assert_allclose(definition.build({"stiffness": 1.44}).modes(Q[:10])[0], 1.2 * energies, rtol=1e-6)
        with pytest.raises(InputError, match="stiffness is -1, expected more than 0"):
            definition.build({"stiffness": -1.0})


def changed(**keys):
    return SQUARE | keys


def with_parameter(name, value):
    return changed(parameters=SQUARE["parameters"] | {name: value})


ERRORS = {
    "unknown key": (changed(latice={"a": 3}), r"the key latice is not known; .*Fix: write lattice"),
    "unknown key below": (with_parameter("J", {"strt": 3}), r"key parameters.J.strt is not known.*Fix: write start"),
    "missing key": (changed(sites=[{"at": [0, 0, 0], "spin": [0, 0, 1]}]), r"the key sites.0.ion is missing"),
    "unit": (with_parameter("J", {"start": "29 meV"}), r"parameters.J.start is '29 meV'.*in meV, without a unit"),
    "unit in an exchange": (
        changed(bonds=[{"neighbour": 1, "exchange": "29 meV"}]),
        r"bonds.0.exchange is '29 meV', expected a linear expression; energies are numbers in meV",
    ),
    "not linear": (changed(bonds=[{"neighbour": 1, "exchange": "J*Jp"}]), r"'J\*Jp', expected a linear expression"),
    "not defined": (changed(parameters={"J": {"start": 29}, "Jp": 1}), r"uses 'D', which is not among the parameters"),
    "not used": (with_parameter("K", {"start": 1}), r"the parameter K is used nowhere"),
    "no value": (with_parameter("J", {"min": 1}), r"J has 0 of the keys start, value and tie"),
    "outside limits": (with_parameter("J", {"start": 29, "max": 10}), r"J starts at 29, expected a number from"),
    "limits": (with_parameter("J", {"start": 29, "min": 30, "max": 10}), r"limits 30 and 10, expected low < high"),
    "tie to unknown": (with_parameter("D", {"tie": "0.1 * K"}), r"D = '0.1 \* K' uses 'K', which is no parameter"),
    "tie in a circle": (
        changed(parameters=SQUARE["parameters"] | {"D": {"tie": "Jp"}, "Jp": {"tie": "D"}}),
        r"ties of D, Jp lead round in a circle",
    ),
    "tie that runs code": (
        with_parameter("D", {"tie": "J.__class__"}), r"contains a Attribute, expected a formula of numbers",
    ),
    "tie that cannot be read": (with_parameter("D", {"tie": "0.1 *"}), r"the tie '0.1 \*' cannot be read"),
    "tie without a value": (with_parameter("D", {"tie": "sqrt(-J)"}), r"D = 'sqrt\(-J\)' gives .*, expected a finite"),
    "reserved name": (
        changed(anisotropy={"line": [0, 0, 1]}, parameters={"J": 29, "Jp": 1, "line": 4}),
        r"line is not a parameter of the Hamiltonian",
    ),
    "bond to nowhere": (
        changed(bonds=[{"vectors": [[0.3, 0, 0]], "exchange": "J"}]),
        r"bonds.0: .*connects no two sites",
    ),
    "bond between labels to nowhere": (
        changed(
            sites=[SQUARE["sites"][0] | {"label": "A"}, SQUARE["sites"][1] | {"label": "B"}],
            bonds=[{"between": ["A", "A"], "vectors": [[1, 0, 0]], "exchange": "J"}],
        ),
        r"bond vector \[1.0, 0.0, 0.0\] leads from no site A to a site A",
    ),
    "bond twice": (
        changed(bonds=[{"vectors": [[1, 0, 0], [-1, 0, 0]], "exchange": "J"}]), r"from site 0 to site 1 is given twice",
    ),
    "bond of no length": (changed(bonds=[{"vectors": [[0, 0, 0]], "exchange": "J"}]), r"a vector of length 0"),
    "bond of no kind": (changed(bonds=[{"exchange": "J"}]), r"bonds.0 needs one of the keys vectors and neighbour"),
    "no bonds": (changed(bonds=[]), r"there are no bonds"),
    "unknown label": (
        changed(bonds=[{"between": ["Ni2+", "Fe"], "neighbour": 1, "exchange": "J"}]),
        r"bonds.0.between names the site 'Fe'; the labels are Ni2\+",
    ),
    "direction of a shell": (
        changed(bonds=[{"neighbour": 1, "exchange": ["J", {"dm": [0, 0, "Jp"]}]}]), r"depends on the direction of the",
    ),
    "wrong kind of exchange": (
        changed(bonds=[{"neighbour": 1, "exchange": {"md": [0, 0, 1]}}]), r"has the keys \['md'\], expected dm",
    ),
    "ion": (changed(sites=[s | {"ion": "Ni9+"} for s in SQUARE["sites"]]), r"no magnetic form factor for the ion 'Ni9"),
    "no spin": (changed(sites=[s | {"spin": [0, 0, 0]} for s in SQUARE["sites"]]), r"spin \[0.0, 0.0, 0.0\] of length"),
    "site twice": (changed(sites=[SQUARE["sites"][0]] * 2), r"the sites 0 at .* and 1 at .* are the same"),
    "g of its own": (
        changed(sites=[SQUARE["sites"][0] | {"g": 2.2}, SQUARE["sites"][1]]), r"g factors \[2.0, 2.2\], expected one",
    ),
    "no volume": (changed(lattice={"a": 4, "alpha": 60, "beta": 60, "gamma": 130}), r"has no volume"),
    "negative length": (changed(lattice={"a": -4}), r"lattice.a is -4: input should be greater than 0"),
    "no lattice": ({k: v for k, v in SQUARE.items() if k != "lattice"}, r"the key lattice is missing"),
    "left-handed cell": (changed(cell=[[1, 1, 0], [1, -1, 0], [0, 0, 1]]), r"the volume -2"),
    "ordering vector": (
        {k: v for k, v in changed(k=[0.3, 0, 0]).items() if k != "cell"}, r"k is \[0.3, 0.0, 0.0\], expected comp",
    ),
    "two sources": (changed(family="square_afm"), r"comes from sites and family, expected one of"),
    "key of another source": (changed(within=4.0), r"the key within does not go with sites"),
    "domain": (changed(domains=[{"fraction": 1}]), r"domains.0 needs one of the keys turn_z and matrix"),
    "axis": (changed(anisotropy={"D": 1}), r"anisotropy.D is 1, expected the axis"),
    "temperature": (changed(temperature=-3), r"temperature is -3: input should be greater than or equal to 0"),
    "energy factor twice": (with_parameter("energy_factor", 1.1), r"energy_factor is given twice"),
    "family": ({"family": "square", "ion": "Ni2+", "lattice": {"a": 4}}, r"there is no family 'square'"),
    "spin of a family": ({"family": "square_afm", "ion": "Ru3+", "lattice": {"a": 4}}, r"spin of 'Ru3\+' is not known"),
    "key twice": ("lattice: {a: 4}\nlattice: {a: 5}\n", r"the key 'lattice' is given twice"),
    "no YAML": ("a: [1", r"cannot be read as YAML"),
    "a list": ("- 1", r"holds list, expected keys with values"),
}  # fmt: skip


@pytest.mark.parametrize("case", ERRORS)
def test_an_error_names_file_and_key(read, case):
    content, message = ERRORS[case]
    with pytest.raises(InputError, match=rf"model\.yaml.*{message}"):
        read(content)


def test_an_unstable_model_is_refused_when_it_is_built(read):
    definition = read(with_parameter("Jp", {"start": 30}))
    with pytest.raises(UnstableModelError, match="not stable"):
        definition.build()
    assert definition.build(check=False).hamiltonian is not None
    definition.build({"Jp": 1.0})


def test_errors_of_values(read):
    definition = read(SQUARE)
    definition.build({"line": 3.0, "width_factor": 1.2})  # of the convolution
    with pytest.raises(InputError, match="there is no parameter 'Jx'; there are D, J, Jp, energy_factor, line"):
        definition.build({"Jx": 1.0})
    with pytest.raises(InputError, match="the parameter J is nan, expected a finite number"):
        definition.build({"J": float("nan")})
    with pytest.raises(InputError, match="energy_factor is 0, expected more than 0"):
        definition.build({"energy_factor": 0.0})
    with pytest.raises(InputError, match="was given the value 1, but it is tied to '2 \\* J'"):
        read(with_parameter("D", {"tie": "2 * J"})).with_starts(D=1.0)
    with pytest.raises(InputError, match="a name that no expression can use"):
        Parameter("J-1", 1.0)
    with pytest.raises(InputError, match="there is no file"):
        read_model("nowhere.yaml")


def test_a_definition_can_be_sent_to_another_process(read):
    from multiprocessing.reduction import ForkingPickler

    family = {"family": "square_afm", "ion": "Ni2+", "lattice": {"a": 4}, "parameters": {"J1": {"start": 3}}}
    for definition in (read(SQUARE), read(family), definition_of_callable(square, TETRAGONAL, [Parameter("J1", 3.0)])):
        sent = ForkingPickler.loads(ForkingPickler.dumps(definition))
        assert (sent.values(), sent.free) == (definition.values(), definition.free)


def test_a_parameter_may_have_the_name_of_a_function(read):
    parameters = SQUARE["parameters"] | {"sqrt": {"start": 0.1}, "D": {"tie": "-sqrt * 2"}}
    assert read(SQUARE | {"parameters": parameters}).values()["D"] == pytest.approx(-0.2)
    assert read(with_parameter("D", {"tie": "-sqrt(J)"})).values({"J": 4})["D"] == pytest.approx(-2)


@pytest.mark.parametrize("number", range(6))
def test_the_forms_of_the_page(number):
    page = (EXAMPLES.parents[1] / "models.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 6
    form = ModelForm.model_validate(yaml.safe_load(blocks[number]))
    if number == 0:
        assert form == ModelForm.model_validate({k: v for k, v in SQUARE.items() if k != "temperature"})


def test_the_python_of_the_page(tmp_path, monkeypatch):
    page = (EXAMPLES.parents[1] / "models.md").read_text(encoding="utf-8")
    monkeypatch.chdir(EXAMPLES)
    names = {}
    for block in re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        exec(compile(block, "docs/models.md", "exec"), names)
    assert names["energies"].shape == (1, 4)
    assert names["definition"].build().bandwidth() > 100


def test_a_build_does_not_make_pyspinws_objects(monkeypatch):
    definition = read_model(EXAMPLES / "goodenough.yaml")
    monkeypatch.setitem(__import__("sys").modules, "pyspinw", None)
    assert definition.build({"JA": 1.4}).bandwidth() > 50


class TestCheck:
    @pytest.mark.parametrize("name", ["la2nio4", "goodenough", "dimer", "bi2fe4o9"])
    def test_each_example(self, insgan, name, tmp_path):
        pytest.importorskip("matplotlib")
        figure = tmp_path / "dispersion.png"
        code, out, _ = insgan("model", "check", EXAMPLES / f"{name}.yaml", "--draws", "4", "--output", figure)
        assert code == 0
        assert "stable at the start values; highest mode energy" in out and "of 4 draws within the limits" in out
        assert figure.read_bytes().startswith(b"\x89PNG")

    def test_json_and_other_starts(self, insgan):
        arguments = ("model", "check", EXAMPLES / "la2nio4.yaml", "--set", "J=30", "--draws", "0", "--json")
        code, out, err = insgan(*arguments)
        found = json.loads(out)
        assert (code, err, found["stable"], found["draws"]) == (0, "", True, {"tried": 0, "stable": 0})
        assert found["parameters"][0] == {
            "name": "J",
            "start": 30.0,
            "min": 0.0,
            "max": 60.0,
            "free": True,
            "tie": None,
        }
        assert found["parameters"][2]["min"] is None
        assert found["bonds"][0] == {"exchange": "J", "count": 4, "length": 3.87}
        assert found["bandwidth_mev"] == pytest.approx(113.3, abs=0.5)

    def test_an_unstable_start_is_shown_and_ends_with_8(self, insgan):
        code, out, _ = insgan("model", "check", EXAMPLES / "la2nio4.yaml", "--set", "Jp=20", "--draws", "0")
        assert code == 8 and "not stable at the start values: a deviation of the spins lowers the energy" in out

    def test_draws_count_what_is_stable(self, insgan):
        # stable where Jp < J / 2: over 0..60 and -10..10 nearly everywhere
        code, out, _ = insgan("model", "check", EXAMPLES / "la2nio4.yaml", "--draws", "16", "--json")
        assert code == 0 and 10 < json.loads(out)["draws"]["stable"] < 16

    @pytest.mark.parametrize(
        ("arguments", "code", "message"),
        [
            (("--set", "J"), 2, "expected NAME=VALUE"),
            (("--set", "K=1"), 3, "there is no parameter 'K'"),
            (("--path", "0,0,0"), 2, "two corners or more"),
            (("--path", "0,0"), 2, "expected three numbers"),
            (("--output", "figure.xyz"), 6, "its format is not known"),
        ],
    )
    def test_wrong_arguments(self, insgan, arguments, code, message):
        found, out, err = insgan("model", "check", EXAMPLES / "la2nio4.yaml", *arguments)
        assert (found, out) == (code, "") and message in " ".join(err.replace("│", " ").split())


MNF2 = """data_mnf2
_cell_length_a 4.873
_cell_length_b 4.873
_cell_length_c 3.130
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P 42/m n m'
_symmetry_Int_Tables_number 136
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Mn1 Mn2+ 0 0 0
F1 F1- 0.305(2) 0.305 0
"""

_LINE = "-" * 88


def exchange_out(first: float, second: float) -> str:
    """TB2J's text of two iron atoms: `first` from corner to centre, `second` along a between corners; meV."""

    def pair(i, j, cell, value, vector):
        numbers = "{:8.4f}   ({:7.3f}, {:7.3f}, {:7.3f}) {:7.3f}".format(value, *vector, np.linalg.norm(vector))
        cell_text = "({:3d}, {:3d}, {:3d})".format(*cell)
        return f"   {i}   {j}   {cell_text} {numbers}\nJ_iso: {value:8.4f}\n{_LINE}\n"

    corners = [(x, y, z) for x in (0, -1) for y in (0, -1) for z in (0, -1)]
    blocks = []
    for x, y, z in corners:
        vector = np.array([4 * x + 2, 4 * y + 2, 6 * z + 3])
        blocks.append(pair("Fe1", "Fe2", (x, y, z), first, vector))
        blocks.append(pair("Fe2", "Fe1", (-x, -y, -z), first, -vector))
    blocks += [pair("Fe1", "Fe1", (n, 0, 0), second, np.array([4.0 * n, 0, 0])) for n in (1, -1)]
    return f"""Cell (Angstrom):
  4.000  0.000  0.000
  0.000  4.000  0.000
  0.000  0.000  6.000

{"=" * 90}
Atoms:
(Note: charge and magmoms only count the wannier functions.)
 Atom number      x          y          z     w_charge   w_magmom
Fe1             0.0000     0.0000     0.0000     5.1000     4.0000
Fe2             2.0000     2.0000     3.0000     5.1000    -4.0000
O1              1.0000     2.0000     3.0000     6.1000     0.0000
Total                                           16.3000     0.0000

{"=" * 90}
Exchange:
      i      j          R        J_iso(meV)          vector          distance(A)
{_LINE}
{"".join(blocks)}"""
