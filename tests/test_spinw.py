"""Spin-wave models against analytic linear spin-wave theory, and what surrounds pySpinW in them."""

import numpy as np
import pytest

pytest.importorskip("pyspinw", reason="pySpinW is an extra: pip install mantid-insgan[spinw]")

from mantid_insgan import Axis, Lattice, Spectrum
from mantid_insgan.errors import InputError, InsganError
from mantid_insgan.models.base import BOLTZMANN
from mantid_insgan.models.spinw import (
    Bond,
    SpinWModel,
    UnstableModelError,
    bin_modes,
    build_hamiltonian,
    check_stability,
    powder_average,
    simulate_cut,
)
from mantid_insgan.models.spinw.diagonalise import NotDefiniteError, annihilator_and_creator, two_annihilators
from mantid_insgan.models.spinw.model import CROSS_SECTION, _pyspinw_modes, _spin_waves
from mantid_insgan.models.spinw.symmetry import placement, symmetry_basis
from mantid_insgan.models.spinw.zoo import HELD_OUT, ION_SPINS, families, get_family, split

TETRAGONAL = Lattice(4.2, 4.2, 9.0)
HEXAGONAL = Lattice(5.0, 5.0, 7.0, gamma=120)
MOMENTA = np.random.default_rng(5).uniform(-1.5, 1.5, (40, 3))
COS = np.cos(2 * np.pi * MOMENTA)  # of 2 pi h, 2 pi k, 2 pi l


def model(name, lattice=TETRAGONAL, ion="Mn2+", **couplings):
    family = get_family(name)
    full = dict.fromkeys(family.priors, 0.0) | couplings
    return family.model(full, lattice=lattice, ion=ion, temperature=0.0)


def energies(name, lattice=TETRAGONAL, **couplings):
    return np.sort(model(name, lattice, **couplings).modes(MOMENTA)[0], axis=1)


def close(found, expected):
    # The offset that keeps momenta off Goldstone points moves energies by about 1e-4 of the bandwidth.
    np.testing.assert_allclose(found, expected, atol=2e-3 * np.abs(expected).max())


class TestDispersions:
    """Energies against textbook results, S = 5/2."""

    S = 2.5

    def test_fm_chain(self):
        # 2 |J| S (1 - cos) for each bond and its opposite, gap 2 |D| S for D (S.n)^2.
        found = energies("fm_chain", J1=-1.0, J2=-0.2, D=-0.1)
        expected = 2 * self.S * (1 - COS[:, 0]) + 0.4 * self.S * (1 - np.cos(4 * np.pi * MOMENTA[:, 0])) + 0.2 * self.S
        close(found[:, 0], expected)

    def test_afm_chain(self):
        close(energies("afm_chain", J1=1.5)[:, 0], 3 * self.S * np.abs(np.sin(2 * np.pi * MOMENTA[:, 0])))

    def test_square_antiferromagnet(self):
        j1, j2, d = 1.0, 0.2, 0.03
        a = 4 * j1 * self.S - 4 * j2 * self.S * (1 - COS[:, 0] * COS[:, 1]) + 2 * d * self.S
        b = 2 * j1 * self.S * (COS[:, 0] + COS[:, 1])
        close(energies("square_afm", J1=j1, J2=j2, D=-d), np.sqrt(a**2 - b**2)[:, None] * [1, 1])

    def test_cubic(self):
        gamma = COS.mean(axis=1)
        close(energies("cubic_fm", J1=-2.0)[:, 0], 12 * 2 * self.S * (1 - gamma) / 2)
        close(energies("cubic_afm", J1=2.0)[:, 0], 12 * self.S * np.sqrt(1 - gamma**2))

    def test_honeycomb(self):
        h, k = 2 * np.pi * MOMENTA[:, 0], 2 * np.pi * MOMENTA[:, 1]
        modulus = np.abs(1 + np.exp(1j * h) + np.exp(1j * (h + k)))
        found = energies("honeycomb_fm", HEXAGONAL, J1=-1.0)
        close(found, self.S * np.stack([3 - modulus, 3 + modulus], axis=1))
        close(energies("honeycomb_afm", HEXAGONAL, J1=1.0)[:, 0], self.S * np.sqrt(9 - modulus**2))

    def test_honeycomb_dirac_gap(self):
        # At the corner K the Dzyaloshinskii-Moriya term opens 6 sqrt(3) S DM (Owerre, J. Phys. Condens. Matter 28,
        # 386001 (2016)).
        honeycomb = model("honeycomb_fm", HEXAGONAL, J1=-1.0, DM=0.1)
        at_corner = np.sort(honeycomb.modes([[1 / 3, 1 / 3, 0]])[0][0])
        assert at_corner[1] - at_corner[0] == pytest.approx(6 * np.sqrt(3) * self.S * 0.1, rel=1e-3)

    def test_kagome(self):
        # Ferromagnet: a flat band at 6 |J| S; q = 0 antiferromagnet: a flat band at 0 (a floor of rounding is left).
        assert energies("kagome_fm", HEXAGONAL, J1=-1.0)[:, -1] == pytest.approx(6 * self.S, rel=1e-6)
        assert energies("kagome_q0", HEXAGONAL, J1=1.0)[:, 0].max() < 0.01

    def test_triangular(self):
        # Jolicoeur and Le Guillou, Phys. Rev. B 40, 2727 (1989): one magnon of the rotating frame at q and q +- K.
        def magnon(q):
            h, k = 2 * np.pi * q[:, 0], 2 * np.pi * q[:, 1]
            g = (np.cos(h) + np.cos(k) + np.cos(h + k)) / 3
            return 3 * self.S * np.sqrt(np.maximum((1 - g) * (1 + 2 * g), 0))

        corner = np.array([1 / 3, 1 / 3, 0])
        expected = np.stack([magnon(MOMENTA + n * corner) for n in (-1, 0, 1)], axis=1)
        close(energies("triangular_120", HEXAGONAL, J1=1.0), np.sort(expected, axis=1))

    def test_pyrochlore(self):
        # Two flat bands at 8 |J| S; a Goldstone mode at zero momentum.
        found = energies("pyrochlore_fm", Lattice(9, 9, 9), J1=-1.0)
        assert found[:, 2:] == pytest.approx(8 * self.S, rel=1e-4)
        assert model("pyrochlore_fm", Lattice(9, 9, 9), J1=-1.0).modes([[0, 0, 0]])[0].min() < 1e-3

    def test_rutile(self):
        # MnF2: Nikotin, Lindgard and Dietrich, J. Phys. C 2, 1168 (1969).
        body = np.cos(np.pi * MOMENTA).prod(axis=1)
        a = 8 * 1.0 - 2 * 0.1 * (1 - COS[:, 2])
        close(energies("rutile_afm", J1=1.0, Jc=0.1)[:, 0], self.S * np.sqrt(a**2 - (8 * body) ** 2))

    def test_helix(self):
        # J(q) of one-site helices, Yoshimori: sqrt((J(k) - J(q)) (J(k) - (J(k+q) + J(k-q)) / 2)) with E = sum J S.S.
        j1, j2 = -1.0, 0.6
        k = np.arccos(-j1 / (4 * j2)) / (2 * np.pi)

        def j(q):
            return 2 * j1 * np.cos(2 * np.pi * q) + 2 * j2 * np.cos(4 * np.pi * q)

        def magnon(q):
            return self.S * np.sqrt(np.maximum((j(q) - j(k)) * ((j(k + q) + j(k - q)) / 2 - j(k)), 0))

        expected = np.stack([magnon(MOMENTA[:, 2] + n * k) for n in (-1, 0, 1)], axis=1)
        close(energies("helical", J1=j1, J2=j2), np.sort(expected, axis=1))


class TestIntensities:
    """Correlations and the absolute scale."""

    S = 2.5

    def bare(self, name, **couplings):
        """S_perp per unit cell: the intensity without form factor, prefactor and population."""
        spins = model(name, **couplings)
        energy, intensity = spins.modes(MOMENTA)
        factor = CROSS_SECTION * spins.g**2 * spins.form_factor(spins.q_modulus(MOMENTA)) ** 2
        return energy, intensity / factor[:, None]

    @staticmethod
    def transverse(q_cartesian):
        """The share of Q perpendicular to a moment along z: 1 + Qz^2 / Q^2 over both transverse directions."""
        return 1 + q_cartesian[:, 2] ** 2 / (q_cartesian**2).sum(axis=1)

    @property
    def cartesian(self):
        return MOMENTA * 2 * np.pi / np.array([4.2, 4.2, 9.0])

    def test_ferromagnet(self):
        # S/2 for each transverse component, Squires, Introduction to the Theory of Thermal Neutron Scattering, ch. 8.
        _, s_perp = self.bare("cubic_fm", J1=-1.0, D=-0.1)
        np.testing.assert_allclose(s_perp[:, 0], self.S / 2 * self.transverse(self.cartesian), rtol=1e-3)

    def test_square_antiferromagnet(self):
        # S/2 sqrt((1 - gamma)/(1 + gamma)) for each transverse component; D adds to the field.
        d = 0.05
        _, s_perp = self.bare("square_afm", J1=1.0, D=-d)
        gamma = (COS[:, 0] + COS[:, 1]) / 2 / (1 + d / 2)
        expected = self.S / 2 * np.sqrt((1 - gamma) / (1 + gamma)) * self.transverse(self.cartesian)
        np.testing.assert_allclose(s_perp.sum(axis=1), expected, rtol=5e-3)

    def test_absolute_scale_and_population(self):
        assert CROSS_SECTION == pytest.approx(72.65, abs=0.01)
        cold = model("cubic_fm", J1=-1.0, D=-0.1)
        warm = SpinWModel(cold.hamiltonian, cold.lattice, ion="Mn2+", temperature=100.0, scale=3.0)
        energy, intensity = cold.modes(MOMENTA)
        population = 1 / (1 - np.exp(-energy / (BOLTZMANN * 100)))
        np.testing.assert_allclose(warm.modes(MOMENTA)[1], 3 * intensity * population, rtol=1e-9)

    def test_form_factor(self):
        spins = model("cubic_fm", J1=-1.0)
        assert spins.form_factor(0.0) == pytest.approx(1, abs=0.01)
        # Mn2+ j0 at s = Q / 4 pi = 0.25 / Angstrom by the coefficients of International Tables C, table 4.4.5.1.
        by_hand = 0.4220 * np.exp(-17.684 / 16) + 0.5948 * np.exp(-6.005 / 16) + 0.0043 * np.exp(0.609 / 16) - 0.0219
        assert spins.form_factor(np.pi) == pytest.approx(by_hand, rel=1e-6)

    def test_intensity_does_not_depend_on_the_magnetic_cell(self):
        # The larger cell is turned by 30 degrees; moments along x and momenta off the axes see the difference if any.
        cell = np.array([[2, 1, 0], [-1, 1, 0], [0, 0, 1]])
        bonds = [Bond(v, -1.0) for v in ((1, 0, 0), (0, 1, 0), (1, 1, 0), (0, 0, 1))]
        both = [
            SpinWModel(
                build_hamiltonian(HEXAGONAL, sites, [(2.5, 0, 0)] * len(sites), bonds, cell=vectors),
                HEXAGONAL,
                ion="Mn2+",
                cell=vectors,
            ).modes(MOMENTA)[1]
            for sites, vectors in (([(0, 0, 0)], np.eye(3)), ([(0, 0, 0), (1, 0, 0), (1, 1, 0)], cell))
        ]
        np.testing.assert_allclose(both[0].sum(axis=1), both[1].sum(axis=1), rtol=1e-6)

    def test_goldstone_modes_are_cut(self):
        spins = get_family("square_afm").model(
            {"J1": 1.0, "J2": 0.0, "J3": 0.0, "Jperp": 0.0, "D": 0.0}, lattice=TETRAGONAL, ion="Mn2+", temperature=50.0
        )
        _, intensity = spins.modes([[0.5, 0.5, 0], [0, 0, 0], [1, 0, 0]])
        assert np.isfinite(intensity).all()
        assert intensity.max() < 1e7

    def test_domains(self):
        chain = model("fm_chain", J1=-1.0)
        swap = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1]])
        twinned = SpinWModel(
            chain.hamiltonian, chain.lattice, ion="Mn2+", temperature=0, domains=[(np.eye(3), 3), (swap, 1)]
        )
        energy, intensity = twinned.modes([[0.3, 0.1, 0.2]])
        other_energy, other_intensity = chain.modes([[0.1, 0.3, 0.2]])
        first_energy, first_intensity = chain.modes([[0.3, 0.1, 0.2]])
        np.testing.assert_allclose(energy, [[first_energy[0, 0], other_energy[0, 0]]])
        np.testing.assert_allclose(intensity, [[0.75 * first_intensity[0, 0], 0.25 * other_intensity[0, 0]]])


def energy_axis(low=0.0, high=40.0, bins=20):
    return Axis("DeltaE", np.linspace(low, high, bins + 1), "DeltaE")


def hkl_axis(name, low, high, bins):
    return Axis(name, np.linspace(low, high, bins + 1), "r.l.u.", frame="HKL")


class TestBinning:
    ENERGIES = np.array([[5.0, 12.0], [0.4, 39.0]])
    INTENSITIES = np.array([[2.0, 1.0], [3.0, 4.0]])

    def test_sharp_modes(self):
        binned = bin_modes(self.ENERGIES, self.INTENSITIES, [0, 4, 8, 16])
        np.testing.assert_allclose(binned, [[0, 2 / 4, 1 / 8], [3 / 4, 0, 0]])

    @pytest.mark.parametrize("shape", ["dho", "gaussian", "lorentzian"])
    def test_area_is_kept(self, shape):
        edges = np.linspace(-4000, 4000, 200001)
        binned = bin_modes(self.ENERGIES, self.INTENSITIES, edges, fwhm=1.5, shape=shape)
        np.testing.assert_allclose(binned.sum(axis=1) * np.diff(edges)[0], self.INTENSITIES.sum(axis=1), rtol=1e-3)

    @pytest.mark.parametrize("shape", ["dho", "gaussian", "lorentzian"])
    def test_width(self, shape):
        edges = np.linspace(0, 100, 20001)
        line = bin_modes([[50.0]], [[1.0]], edges, fwhm=2.0, shape=shape)[0]
        above = edges[:-1][line > line.max() / 2]
        assert above[-1] - above[0] == pytest.approx(2.0, abs=0.02)

    def test_oscillator_has_no_intensity_at_energy_gain(self):
        binned = bin_modes([[3.0]], [[1.0]], [-10, -1, 0, 10], fwhm=2.0)
        assert binned[0, :2].tolist() == [0, 0]
        assert binned[0, 2] > 0

    def test_refusals(self):
        with pytest.raises(InputError, match="do not ascend"):
            bin_modes(self.ENERGIES, self.INTENSITIES, [0, 1, 1])
        with pytest.raises(InputError, match="unknown line shape 'voigt'.*'dho', 'gaussian', 'lorentzian'"):
            bin_modes(self.ENERGIES, self.INTENSITIES, [0, 1], fwhm=1, shape="voigt")
        with pytest.raises(InputError, match="intrinsic width is 0 meV, expected a positive one"):
            bin_modes(self.ENERGIES, self.INTENSITIES, [0, 1], fwhm=0)


class TestCuts:
    def test_slice_matches_the_modes(self):
        spins = model("fm_chain", J1=-1.0)
        axes = (hkl_axis("[H,0,0]", 0, 1, 25), energy_axis(0, 12, 24))
        cut = simulate_cut(spins, axes, oversample=1)
        q = np.column_stack([axes[0].centers, np.zeros((25, 2))])
        np.testing.assert_allclose(cut.signal, bin_modes(*spins.modes(q), axes[1].edges))
        assert cut.valid.all()
        assert cut.run.value("lattice") is spins.lattice

    def test_axis_order_is_kept(self):
        spins = model("square_afm", J1=1.0)
        k, e, h = hkl_axis("[0,K,0]", 0.1, 0.2, 1), energy_axis(), hkl_axis("[H,0,0]", 0, 1, 9)
        cut = simulate_cut(spins, (k, e, h))
        assert cut.shape == (1, 20, 9)
        np.testing.assert_allclose(cut.signal, np.moveaxis(simulate_cut(spins, (k, h, e)).signal, 2, 1))

    def test_projections_and_origin(self):
        spins = model("square_afm", J1=1.0)
        axes = (hkl_axis("[H,H,0]", 0, 1, 10), energy_axis())
        cut = simulate_cut(spins, axes, oversample=1, origin=(1, 0, 0.5))
        x = axes[0].centers
        q = np.column_stack([1 + x, x, np.full(10, 0.5)])
        np.testing.assert_allclose(cut.signal, bin_modes(*spins.modes(q), axes[1].edges))

    def test_bins_are_integrated_over_their_volume(self):
        # One bin of a whole zone: the mean over the zone, not the value at its centre.
        spins = model("fm_chain", J1=-1.0)
        axes = (hkl_axis("[H,0,0]", 0, 1, 1), energy_axis(0, 12, 6))
        cut = simulate_cut(spins, axes, oversample=4000)
        h = (np.arange(4000) + 0.5) / 4000
        expected = bin_modes(*spins.modes(np.column_stack([h, 0 * h, 0 * h])), axes[1].edges).mean(axis=0)
        np.testing.assert_allclose(cut.signal[0], expected, rtol=0.02)

    def test_measured_grid_keeps_its_gaps_and_facts(self):
        axes = (hkl_axis("[H,0,0]", 0, 1, 4), energy_axis(0, 12, 3))
        valid = np.ones((4, 3), bool)
        valid[1, 2] = False
        measured = Spectrum(np.ones((4, 3)), np.ones((4, 3)), axes, valid=valid)
        cut = simulate_cut(model("fm_chain", J1=-1.0), measured)
        assert np.array_equal(cut.valid, valid)
        assert (cut.variance == 0).all()

    def test_progress_is_told(self):
        told = []
        axes = (hkl_axis("[H,0,0]", 0, 1, 4), energy_axis())
        simulate_cut(model("fm_chain", J1=-1.0), axes, progress=lambda done, total: told.append((done, total)))
        assert told[-1] == (4, 4)

    def test_refusals(self):
        spins = model("fm_chain", J1=-1.0)
        with pytest.raises(InputError, match="0 of the axes '\\[H,0,0\\]' are energies"):
            simulate_cut(spins, [hkl_axis("[H,0,0]", 0, 1, 4)])
        inverse = Axis("Q_sample_x", np.linspace(0, 1, 5), "Angstrom^-1", frame="QSample")
        with pytest.raises(InputError, match="'Q_sample_x'.*not a direction in r.l.u."):
            simulate_cut(spins, [inverse, energy_axis()])
        with pytest.raises(InputError, match="0 sub-samples along axis '\\[H,0,0\\]'"):
            simulate_cut(spins, [hkl_axis("[H,0,0]", 0, 1, 4), energy_axis()], oversample=0)


class TestPowder:
    def test_error_estimate_is_honest(self):
        spins = model("square_afm", J1=1.0, D=-0.05)
        edges = np.linspace(0, 14, 8)
        exact, _ = powder_average(spins, [1.5], edges, n_orientations=40000, seed=9)
        few = [powder_average(spins, [1.5], edges, n_orientations=200, seed=s) for s in range(30)]
        scatter = np.std([i - exact for i, _ in few], axis=0)
        stated = np.sqrt(np.mean([e**2 for _, e in few], axis=0))
        seen = exact > 0
        assert 0.6 < np.median(stated[seen] / scatter[seen]) < 1.6
        bias = np.abs(np.mean([i for i, _ in few], axis=0) - exact)
        assert (bias[seen] < 5 * scatter[seen] / np.sqrt(30)).all()

    def test_sum_over_directions(self):
        # A ferromagnet's transverse share 1 + (z.Q)^2 averages to 4/3.
        spins = model("cubic_fm", lattice=Lattice(4, 4, 4), J1=-1.0, D=-0.1)
        intensity, _ = powder_average(spins, [0.9, 2.1], [0, 1000], n_orientations=4000)
        expected = CROSS_SECTION * 4 * spins.form_factor(np.array([0.9, 2.1])) ** 2 * 2.5 / 2 * 4 / 3
        np.testing.assert_allclose(intensity[:, 0] * 1000, expected, rtol=2e-3)

    def test_powder_cut(self):
        axes = (energy_axis(0, 14, 10), Axis("|Q|", np.linspace(0.5, 3, 6), "Angstrom^-1"))
        cut = simulate_cut(model("square_afm", J1=1.0), axes, n_orientations=64, seed=3)
        assert cut.shape == (10, 5)
        assert (cut.variance >= 0).all() and cut.variance.max() > 0
        again = simulate_cut(model("square_afm", J1=1.0), axes, n_orientations=64, seed=3)
        assert np.array_equal(cut.signal, again.signal)

    def test_too_few_orientations(self):
        with pytest.raises(InputError, match="8 orientations are too few"):
            powder_average(model("cubic_fm", J1=-1.0), [1.0], [0, 1], n_orientations=8)


class TestRefusals:
    def test_maximum_of_the_energy(self):
        # Energies about a maximum are real: only the second variation tells.
        with pytest.raises(UnstableModelError, match="lowers the energy.*Fix: change the couplings"):
            model("fm_chain", J1=1.0)

    def test_frustration(self):
        assert model("square_afm", J1=1.0, J2=0.49).bandwidth() > 0
        with pytest.raises(UnstableModelError, match="lowers the energy"):
            model("square_afm", J1=1.0, J2=0.51)

    def test_wrong_plane(self):
        with pytest.raises(UnstableModelError, match="lowers the energy"):
            model("triangular_120", HEXAGONAL, J1=1.0, D=-0.1)

    def test_torque(self):
        tilted = build_hamiltonian(
            TETRAGONAL, [(0, 0, 0)], [(1, 0, 1)], [Bond((1, 0, 0), -1.0)], anisotropy=np.diag([0, 0, -0.1])
        )
        with pytest.raises(UnstableModelError, match="torque of up to"):
            check_stability(tilted)

    def test_imaginary_energies(self):
        frustrated = model("square_afm", J1=1.0)
        unchecked = SpinWModel(
            build_hamiltonian(
                TETRAGONAL, **get_family("square_afm").build(2.5, np.array([0, 0, 1.0]), 1.0, 0.8, 0.0, 0.0, 0.0)
            ),
            TETRAGONAL,
            ion="Mn2+",
            cell=frustrated.cell,
            check=False,
        )
        with pytest.raises(UnstableModelError, match="imaginary part"):
            unchecked.modes(MOMENTA)
        assert issubclass(UnstableModelError, InsganError)

    def test_helix_without_frustration(self):
        with pytest.raises(UnstableModelError, match="favour no helix"):
            model("helical", J1=-1.0, J2=0.1)

    def test_ion(self):
        spins = model("fm_chain", J1=-1.0)
        with pytest.raises(InputError, match="ion 'Mn9\\+' .known: Mn0\\+, .*Mn3\\+"):
            SpinWModel(spins.hamiltonian, TETRAGONAL, ion="Mn9+")
        with pytest.raises(InputError, match="ion 'Qq2\\+' .known: none for that element"):
            SpinWModel(spins.hamiltonian, TETRAGONAL, ion="Qq2+")

    def test_parameters(self):
        hamiltonian = model("fm_chain", J1=-1.0).hamiltonian
        with pytest.raises(InputError, match="temperature -1 K"):
            SpinWModel(hamiltonian, TETRAGONAL, ion="Mn2+", temperature=-1)
        with pytest.raises(InputError, match="fractions \\[-1.0\\]"):
            SpinWModel(hamiltonian, TETRAGONAL, ion="Mn2+", domains=[(np.eye(3), -1.0)])

    def test_building(self):
        with pytest.raises(InputError, match="bond vector \\[0.5, 0.0, 0.0\\] connects no two sites"):
            build_hamiltonian(TETRAGONAL, [(0, 0, 0)], [(0, 0, 1)], [Bond([0.5, 0.0, 0.0], 1.0)])
        with pytest.raises(InputError, match="magnetic cell .* has the volume -1"):
            build_hamiltonian(TETRAGONAL, [(0, 0, 0)], [(0, 0, 1)], [], cell=np.diag([1, 1, -1]))

    def test_family(self):
        with pytest.raises(InputError, match="no family 'spin_ice'; the families are fm_chain, "):
            get_family("spin_ice")
        with pytest.raises(InputError, match="'square_afm' was given the couplings \\['J1'\\], expected \\['D', 'J1'"):
            get_family("square_afm").model({"J1": 1.0}, lattice=TETRAGONAL, ion="Mn2+")


class TestColpa:
    """Our diagonalisation against pySpinW's own."""

    @pytest.mark.parametrize("family", [f.name for f in families() if f.name != "helical"])
    def test_same_as_pyspinw(self, family):
        drawn = get_family(family).draw(np.random.default_rng(3))
        q = np.random.default_rng(4).uniform(-2, 2, (60, 3))
        found, expected = drawn._raw_modes(q), _pyspinw_modes(drawn.hamiltonian, q)
        np.testing.assert_allclose(found[0], expected[0], atol=1e-8 * expected[0].max())
        # Modes may be degenerate: blurred spectra know only their sum.
        edges = np.linspace(-1, 1.1 * expected[0].max(), 200)
        spectra = [bin_modes(*modes, edges, fwhm=0.05 * edges[-1], shape="gaussian") for modes in (found, expected)]
        np.testing.assert_allclose(*spectra, atol=1e-7 * spectra[1].max())

    def test_a_manganite_is_halved_and_a_ferromagnet_has_no_creators(self):
        def sizes(name):
            return [block.sign.sum() for block in get_family(name).draw(np.random.default_rng(3))._spin_waves._blocks]

        assert sizes("pyrochlore_fm") == [4]
        assert sizes("square_afm") == [0, 0]
        blocks = get_family("pcsmo_dimer").draw(np.random.default_rng(3))._spin_waves._blocks
        assert [(len(b.sign), len(b.matrices)) for b in blocks] == [(8, 2)] * 4

    def test_a_goldstone_point_is_left_to_pyspinw(self):
        gapless = model("square_afm", J1=1.0)
        q = np.vstack([np.random.default_rng(1).random((200, 3)), np.zeros((1, 3))])
        with pytest.raises(NotDefiniteError):
            gapless._spin_waves.modes(q)
        found, expected = gapless._raw_modes(q)[0], _pyspinw_modes(gapless.hamiltonian, q)[0]
        np.testing.assert_allclose(found, expected, atol=1e-8)


def in_groups(energies, values):
    """`values` (..., N, M) summed over modes whose energies are the same, in the place of the first of them."""
    first = np.diff(energies, axis=1, prepend=-np.inf) > 1e-6 * energies.max()
    number = np.cumsum(first, axis=1) - 1
    sums = np.zeros_like(values)
    rows = np.broadcast_to(np.arange(len(energies))[:, None], energies.shape)
    np.add.at(sums, (..., rows, number), values)
    return sums


def sorted_modes(energies, values):
    order = np.argsort(energies, axis=1)
    return np.take_along_axis(energies, order, axis=1), np.take_along_axis(values, order, axis=1)


class TestSymmetry:
    """The Hamiltonian in blocks of equivalent sites against the undivided one and against pySpinW."""

    @pytest.mark.parametrize("family", [f.name for f in families() if f.name != "helical"])
    @pytest.mark.parametrize("seed", [3, 8])
    def test_energies_and_intensities_stay(self, family, seed):
        drawn = get_family(family).draw(np.random.default_rng(seed))
        q = np.random.default_rng(4).uniform(-2, 2, (25, 3))
        energy, s_perp = drawn._raw_modes(q)
        undivided = sorted_modes(*_spin_waves(drawn.hamiltonian, symmetry=False).modes(q))
        for expected in (undivided, _pyspinw_modes(drawn.hamiltonian, q)):
            np.testing.assert_allclose(energy, expected[0], atol=1e-9 * energy.max())
            sums = [in_groups(energy, s) for s in (s_perp, expected[1])]
            np.testing.assert_allclose(*sums, atol=1e-7 * sums[1].max())

    @pytest.mark.parametrize(
        ("family", "bosons", "matrices", "real"),
        [
            ("pcsmo_goodenough", [8] * 4, 2, True),
            ("pcsmo_dimer", [8] * 4, 2, False),  # pairs of unequal bonds leave no inversion
            ("bilayer_afm", [2] * 4, 1, True),
            ("bilayer_fm", [1] * 2, 1, True),
            ("ladder", [2] * 4, 1, True),
            ("triangular_120", [2] * 3, 1, True),
            ("kagome_q0", [6], 2, True),
            ("spinel_ferrimagnet", [6] * 2, 1, True),
        ],
    )
    def test_blocks(self, family, bosons, matrices, real):
        blocks = get_family(family).draw(np.random.default_rng(3))._spin_waves._blocks
        assert [len(block.sign) for block in blocks] == bosons
        assert {len(block.matrices) for block in blocks} == {matrices}
        assert {matrix.real for block in blocks for matrix in block.matrices} == {real}

    def test_no_momenta_and_no_bonds(self):
        single = build_hamiltonian(TETRAGONAL, [(0, 0, 0)], [(0, 0, 2)], [], anisotropy=np.diag([0, 0, -1.0]))
        spins = SpinWModel(single, TETRAGONAL, ion="Mn2+")
        np.testing.assert_allclose(spins.modes(MOMENTA)[0], 4.0)
        assert [each.shape for each in spins._raw_modes(np.zeros((0, 3)))] == [(0, 1)] * 2
        assert spins.modes_and_derivatives(np.zeros((0, 3)), [spins])[2].shape == (1, 0, 1)

    def test_without_symmetry_the_sites_stay(self):
        # Different sites on a triangle: no permutation, no inversion.
        hops = np.random.default_rng(1).normal(size=(4, 3, 3)) + 1j * np.random.default_rng(2).normal(size=(4, 3, 3))
        np.testing.assert_array_equal(symmetry_basis(hops), np.eye(3))

    def test_a_ring_has_plane_waves(self):
        ring = np.roll(np.eye(5), 1, axis=0)
        hops = np.array([ring, 1j * ring @ ring])
        basis = symmetry_basis(hops)
        np.testing.assert_allclose(basis.conj().T @ basis, np.eye(5), atol=1e-12)
        waves = basis.conj().T @ hops @ basis
        np.testing.assert_allclose(waves, waves * np.eye(5), atol=1e-12)

    def test_placement(self):
        # A chain of two sites with one bond each way: halfway. A site that hangs on one bond lies on its neighbour.
        linked = np.zeros((3, 3, 3), bool)
        offsets = np.array([[0, 0, 0], [1, 0, 0], [-1, 0, 0]])
        linked[0, 0, 1] = linked[0, 1, 0] = linked[1, 1, 0] = linked[2, 0, 1] = True
        linked[0, 1, 2] = linked[0, 2, 1] = True
        places = placement(linked, offsets)
        np.testing.assert_allclose(places - places[0], [[0, 0, 0], [0.5, 0, 0], [0.5, 0, 0]], atol=1e-12)

    def test_sites_may_lie_in_other_cells(self):
        bonds = [Bond((1, 0, 0), 1.0), Bond((0, 1, 0), 1.0), Bond((0, 0, 0.2), 0.3)]
        signs = np.array([1, -1, -1, 1])
        sites = np.array([(0, 0, 0.1), (0, 1, 0.1), (0, 0, -0.1), (0, 1, -0.1)])
        cell = np.array([[1, 1, 0], [-1, 1, 0], [0, 0, 1]])
        moved = np.array([(0, 0, 0), (1, 1, 0), (0, 0, 2), (-1, 1, -1)])
        here, there = (
            SpinWModel(
                build_hamiltonian(TETRAGONAL, each, 2.5 * np.outer(signs, [0, 0, 1]), bonds, cell=cell),
                TETRAGONAL,
                ion="Mn2+",
                cell=cell,
            )
            for each in (sites, sites + moved)
        )
        assert [len(block.sign) for block in there._spin_waves._blocks] == [2] * 4
        for found, expected in zip(there.modes(MOMENTA), here.modes(MOMENTA), strict=True):
            np.testing.assert_allclose(found.sum(axis=1), expected.sum(axis=1), rtol=1e-7)

    @pytest.mark.parametrize("real", [True, False])
    def test_two_bosons(self, real):
        rng = np.random.default_rng(6)
        a, d = rng.uniform(1, 3, (2, 50))
        b = rng.uniform(-0.6, 0.6, 50) * (1 if real else np.exp(1j * rng.uniform(0, 6, 50)))
        a[:3], b[:2] = d[:3], 0  # degenerate, and without a preferred basis
        entries = np.array([[a, b], [b.conj(), d]])
        matrix = entries.transpose(2, 0, 1)
        energy, vectors = two_annihilators(entries)
        vectors = vectors.transpose(2, 0, 1)
        np.testing.assert_allclose(energy.T, np.linalg.eigvalsh(matrix), rtol=1e-12)
        np.testing.assert_allclose(matrix @ vectors, vectors * energy.T[:, None], atol=1e-12)
        np.testing.assert_allclose(
            vectors.conj().swapaxes(1, 2) @ vectors, np.eye(2) + np.zeros_like(matrix), atol=1e-12
        )
        energy, vectors = annihilator_and_creator(entries)
        u, v = vectors[:, 0]
        np.testing.assert_allclose([a * u + b * v, b.conj() * u + d * v], [energy[0] * u, -energy[0] * v], atol=1e-12)
        np.testing.assert_allclose(np.abs(u) ** 2 - np.abs(v) ** 2, 1, rtol=1e-12)

    @pytest.mark.parametrize(("a", "d", "b"), [(-1.0, 1.0, 0.0), (1.0, 1.0, 1.0), (1.0, 1.0, 1.5), (1.0, np.nan, 0.0)])
    def test_two_bosons_without_stiffness(self, a, d, b):
        entries = np.array([[[a], [b]], [[b], [d]]])
        for solve in (two_annihilators, annihilator_and_creator):
            with pytest.raises(NotDefiniteError):
                solve(entries)


MANGANITE = {
    "pcsmo_goodenough": {"JF1": -11.39, "JA": 1.5, "JF2": -1.35, "JF3": 1.5, "Jperp": 0.88, "D": 0.074},
    "pcsmo_dimer": {"JFW": -8.43, "JA1": 1.52, "JA2": 1.3, "JFS": -14.2, "Jperp": 0.92, "D": 0.073},
}


class TestDerivatives:
    """Derivatives of the energies with the couplings."""

    CASES = (
        ("square_afm", TETRAGONAL, "Mn2+", {"J1": 1.0, "J2": 0.1, "J3": 0.02, "Jperp": -0.01, "D": -0.03}),
        ("triangular_120", HEXAGONAL, "Mn2+", {"J1": 1.0, "J2": 0.03, "Jperp": -0.1, "D": 0.1}),
        ("kagome_q0", HEXAGONAL, "Fe3+", {"J1": 3.0, "J2": 0.2, "Jperp": -0.1, "DM": 0.2}),
        *(
            (name, Lattice(5.408, 5.4599, 19.266), "Mn3+/Mn4+", couplings)  # with two twins
            for name, couplings in MANGANITE.items()
        ),
    )

    @pytest.mark.parametrize(
        ("name", "lattice", "ion", "couplings"), CASES, ids=lambda c: c if isinstance(c, str) else ""
    )
    def test_central_differences(self, name, lattice, ion, couplings):
        def changed(**by):
            values = {key: value + by.get(key, 0.0) for key, value in couplings.items()}
            return get_family(name).model(values, lattice=lattice, ion=ion, temperature=0.0, check=False)

        here, step = changed(), 1e-5
        energy, intensity, found = here.modes_and_derivatives(MOMENTA, [changed(**{key: 1.0}) for key in couplings])
        for each, expected in zip((energy, intensity), here.modes(MOMENTA), strict=True):
            np.testing.assert_array_equal(each, expected)
        expected = [
            (changed(**{key: step}).modes(MOMENTA)[0] - changed(**{key: -step}).modes(MOMENTA)[0]) / (2 * step)
            for key in couplings
        ]
        assert found.shape == (len(couplings), *energy.shape)
        np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())

    def test_homogeneity(self):
        # Energies are homogeneous of degree one in all couplings: sum of J dE/dJ = E (Euler).
        name, lattice, ion, couplings = self.CASES[-1]
        family = get_family(name)
        here, zero, double = (
            family.model({k: c * v for k, v in couplings.items()}, lattice=lattice, ion=ion, check=False)
            for c in (1, 0, 2)
        )
        energy, _, (down, up) = here.modes_and_derivatives(MOMENTA, [zero, double])
        np.testing.assert_allclose(up, energy, rtol=1e-9)
        np.testing.assert_allclose(down, -energy, rtol=1e-9)

    def test_a_change_may_break_the_symmetry(self):
        # Without dimers there is an inversion, and the blocks are real; a change of JA1 alone has none.
        name, lattice, ion, couplings = self.CASES[-1]
        couplings = couplings | {"JA2": couplings["JA1"], "JFS": couplings["JFW"]}
        here, other, below, above = (
            get_family(name).model(couplings | {"JA1": couplings["JA1"] + step}, lattice=lattice, ion=ion, check=False)
            for step in (0, 1, -1e-5, 1e-5)
        )
        assert all(matrix.real for block in here._spin_waves._blocks for matrix in block.matrices)
        assert not all(matrix.real for block in above._spin_waves._blocks for matrix in block.matrices)
        (found,) = here.modes_and_derivatives(MOMENTA, [other])[2]
        expected = (above.modes(MOMENTA)[0] - below.modes(MOMENTA)[0]) / 2e-5
        np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())

    def test_no_changes(self):
        assert model("square_afm", J1=1.0).modes_and_derivatives(MOMENTA, [])[2].shape == (0, len(MOMENTA), 2)

    def test_nothing_where_a_mode_has_no_stiffness(self):
        gapless, stronger = model("square_afm", J1=1.0), model("square_afm", J1=2.0)
        direction = gapless._direction(stronger)
        q = np.vstack([np.random.default_rng(1).random((6, 3)), np.zeros((1, 3))])
        energy, _, (slope,) = gapless._raw_derivatives(q, [direction])
        assert np.isnan(slope[-1]).all()
        np.testing.assert_allclose(slope[:-1], energy[:-1], rtol=1e-9)

    def test_refusals(self):
        square = model("square_afm", J1=1.0)
        with pytest.raises(InputError, match="given as a model of 1 sites .* expected the 2 sites.*Fix: give a model"):
            square.modes_and_derivatives(MOMENTA, [model("cubic_fm", J1=-1.0)])
        with pytest.raises(InputError, match="2 sites with other positions or spins"):
            square.modes_and_derivatives(MOMENTA, [model("square_afm", ion="Ni2+", J1=1.0)])
        helix = model("helical", J1=-1.0, J2=0.6)
        with pytest.raises(InputError, match="a helix has no derivatives.*Fix: take differences"):
            helix.modes_and_derivatives(MOMENTA, [helix])


class TestZoo:
    def test_families(self):
        names = [family.name for family in families()]
        assert len(names) == len(set(names)) >= 14
        assert [get_family(name) for name in names] == list(families())
        assert {family.dimension for family in families()} == {"chain", "plane", "bulk"}

    def test_split_is_by_family(self):
        train, held_out = split()
        assert {f.name for f in held_out} == set(HELD_OUT)
        assert not set(train) & set(held_out)
        assert len(train) + len(held_out) == len(families())
        assert {f.dimension for f in held_out} == {"chain", "plane", "bulk"}

    @pytest.mark.parametrize("family", families(), ids=lambda f: f.name)
    def test_draws(self, family):
        drawn = family.draw(np.random.default_rng(11))
        again = family.draw(np.random.default_rng(11))
        other = family.draw(np.random.default_rng(12))
        energy, intensity = drawn.modes(MOMENTA)
        assert np.isfinite(energy).all() and np.isfinite(intensity).all()
        assert (energy >= 0).all() and (intensity >= 0).all() and intensity.max() > 0
        assert energy.max() <= 1.05 * drawn.bandwidth()
        assert np.array_equal(again.modes(MOMENTA)[1], intensity)
        assert other.facts["couplings"] != drawn.facts["couplings"]
        assert drawn.facts["family"] == family.name
        assert drawn.facts["spin"] == ION_SPINS[drawn.facts["ion"]]
        assert drawn.facts["rejected"] >= 0

    def test_rejected_draws_are_counted(self):
        rng = np.random.default_rng(3)
        rejected = [get_family("pcsmo_dimer").draw(rng).facts["rejected"] for _ in range(4)]
        assert sum(rejected) > 0


@pytest.mark.slow
@pytest.mark.parametrize(("name", "other"), [("goodenough", "dimer"), ("dimer", "goodenough")])
def test_manganite_against_spinw(excerpts, name, other):
    """The two manganite models with fitted couplings against SpinW and Tobyfit images of the same models.

    One tile, Ei 70 meV, 34.3 +- 2.1 meV, without the Q resolution (which is narrower than a pixel): its own image is
    met better than that of the other model.
    """
    from scipy.ndimage import gaussian_filter
    from scipy.stats import qmc

    fitted = {
        "goodenough": {"JF1": -11.39, "JA": 1.5, "JF2": -1.35, "JF3": 1.5, "Jperp": 0.88, "D": 0.074},
        "dimer": {"JFW": -8.43, "JA1": 1.52, "JA2": 1.52, "JFS": -14.2, "Jperp": 0.92, "D": 0.073},
    }
    spins = get_family(f"pcsmo_{name}").model(
        fitted[name], lattice=Lattice(5.408, 5.4599, 19.266), ion="Mn3+/Mn4+", temperature=0.0
    )
    pixels = np.linspace(1, -1, 40)  # h descends
    centres = np.stack(np.meshgrid(pixels, pixels[::-1], [0.0], indexing="ij"), axis=-1).reshape(-1, 1, 3)
    offsets = (qmc.Halton(3, rng=0).random(4) - 0.5) * [2 / 39, 2 / 39, 0]
    energy, intensity = spins.modes((centres + offsets).reshape(-1, 3))
    tile = bin_modes(energy, intensity, [32.2, 36.4], fwhm=3.0, shape="gaussian").reshape(40, 40, 4).mean(axis=2)
    with np.load(excerpts / "pcsmo-maps" / "tiles.npz") as cut:
        number = cut["tiles"].tolist().index([3, 6])
        images = {reference: cut[reference][number].astype(float) for reference in fitted}

    def correlation(reference):
        image = images[reference]
        seen = image > 0
        smooth = [gaussian_filter(np.where(seen, a, 0.0), 1.0)[seen] for a in (image, tile)]
        return np.corrcoef(*smooth)[0, 1]

    assert correlation(name) > 0.95
    assert correlation(name) > correlation(other) + 0.08


class TestLayers:
    """A Hamiltonian without coupling along one axis is diagonalised once for all momenta along it."""

    @pytest.mark.parametrize("name", ["pcsmo_goodenough", "pcsmo_dimer"])
    def test_momenta_that_are_alike_give_what_each_gives_alone(self, name, monkeypatch):
        from mantid_insgan.models.spinw import colpa

        family = get_family(name)
        couplings = {
            "pcsmo_goodenough": {"JF1": -11.39, "JA": 1.5, "JF2": -1.35, "JF3": 1.5, "Jperp": 0.88, "D": 0.074},
            "pcsmo_dimer": {"JFW": -8.43, "JA1": 1.5, "JA2": 1.5, "JFS": -14.2, "Jperp": 0.92, "D": 0.073},
        }
        values = couplings[name]
        model = family.model(values, lattice=Lattice(5.408, 5.4599, 19.266), ion="Mn3+", temperature=5.0)
        plane = np.random.default_rng(0).uniform(-1, 1, (6, 2))
        heights = np.linspace(0, 7, 8)
        q = np.column_stack([np.repeat(plane, 8, axis=0), np.tile(heights, 6)])
        solved, before = [], colpa._solved
        monkeypatch.setattr(
            colpa, "_solved", lambda block, waves: solved.append(waves.shape[1]) or before(block, waves)
        )
        found = model.modes(q)
        assert set(solved) == {6}
        apart = [model.modes(each[None]) for each in q]
        assert solved[-1] == 1
        for together, alone in zip(found, zip(*apart, strict=True), strict=True):
            np.testing.assert_allclose(together, np.concatenate(alone), rtol=1e-7, atol=1e-9 * together.max())

    def test_momenta_of_a_coupled_magnet_all_differ(self):
        from mantid_insgan.models.spinw.colpa import _unlike

        q, vectors = np.ones((5, 3)), np.diag([1.0, 0.5, 0.2])
        assert _unlike(q, vectors)[0] is q
        alike, again = _unlike(q, vectors[:2])
        assert alike.tolist() == [[1, 1, 1]] and again.tolist() == [0] * 5
