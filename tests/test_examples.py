"""The examples of docs/examples on tiny data, and what they train on."""

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra 'train'")

from mantid_insgan.errors import InputError  # noqa: E402
from mantid_insgan.learn.examples import stack  # noqa: E402

EXAMPLES = Path(__file__).resolve().parents[1] / "docs" / "examples"


@pytest.fixture
def example(monkeypatch):
    """Imports an example as Python does when it is run as a script: its folder first."""
    import importlib

    monkeypatch.syspath_prepend(str(EXAMPLES))
    yield importlib.import_module
    for name in ("tools", "tomography_1d", "cryo_em_3d", "ptychography_2d"):
        sys.modules.pop(name, None)


@pytest.fixture
def tools(example):
    return example("tools")


def needs(**packages: str) -> None:
    """Skip where a package is not installed; its value is what pip is given."""
    for package, given in packages.items():
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed: pip install {given}")


@pytest.fixture
def tomography(example):
    needs(nDTomo="--no-deps nDTomo")
    return example("tomography_1d")


@pytest.fixture
def cryo_em(example):
    needs(gemmi="gemmi", MDAnalysisTests="--no-deps MDAnalysisTests")
    return example("cryo_em_3d")


@pytest.fixture
def ptychography(example):
    needs(abtem="abtem", ase="ase")
    return example("ptychography_2d")


def test_a_table_is_printed_and_written_where_asked(tools, tmp_path, capsys):
    about = ("x", "python x.py", "seed 1", {"3 counts": "{:.3f} ({:.2f}-{:.2f})"}, {"network": [[0.5, 0.25, 0.75]]})
    note, facts = "{steps} steps in {minutes:.1f} minutes.", {"steps": 3, "minutes": 0.25}
    words = ["--quick", "--results", str(tmp_path / "x.json")]
    tools.report(tools.parser("", 1.0).parse_args(words), *about, note, facts)
    assert "3 steps in 0.2 minutes." in (said := capsys.readouterr().out)
    assert "| network | 0.500 (0.25-0.75) |" in said
    assert '["network", [0.5, 0.25, 0.75]]' in (tmp_path / "x.json").read_text(encoding="utf-8")
    tools.report(tools.parser("", 1.0).parse_args(words[:1]), *about, note, facts)
    assert not (tools.RESULTS / "x.json").exists() and "wrote" not in capsys.readouterr().out


@pytest.mark.parametrize("physics", [False, True])
def test_an_exported_model_is_applied_to_batches(tools, tmp_path, physics):
    from mantid_insgan.learn.generator import Generator

    line = np.random.default_rng(0).random(32)
    batch = stack([tools.array_example(line, line, fwhm=2.5)] * 3)
    generator = Generator("remove-resolution", 1, 4, physics=physics).eval()
    found = tools.through_onnx(generator, tmp_path / "x.onnx")(batch)
    torch.testing.assert_close(found, generator(*batch.inputs())[0].detach(), rtol=1e-3, atol=1e-3)


# -- arrays without a spectrometer


def test_an_array_example_tells_its_width_and_nothing_of_a_spectrometer(tools):
    signal = np.arange(20.0 * 24).reshape(20, 24)
    valid = signal != 7
    made = tools.array_example(signal, 2 * signal, error=0.5, valid=valid, fwhm=(1.0, 3.0))
    assert (made.width[0] == 1).all() and (made.width[1] == 3).all()
    assert made.correlation.shape == (1, 20, 24) and made.position.shape == (3, 20, 24)
    assert not made.correlation.any() and not made.position.any() and not made.energy_last
    assert made.signal[0, 7] == made.target[0, 7] == made.error[0, 7] == 0
    np.testing.assert_allclose(made.target, 2 * made.signal)


def test_an_array_example_refuses_other_grids_and_what_is_not_finite(tools):
    with pytest.raises(InputError, match=r"grid \(16,\) and its target \(17,\)"):
        tools.array_example(np.zeros(16), np.zeros(17))
    with pytest.raises(InputError, match="1 valid bins of the target are not finite"):
        tools.array_example(np.zeros(16), np.r_[np.nan, np.zeros(15)])
    tools.array_example(np.zeros(16), np.r_[np.nan, np.zeros(15)], valid=np.arange(16) > 0)


def test_an_array_library_cuts_windows_that_belong_together_and_varies_them(tools):
    field = np.random.default_rng(0).random((20, 40)).astype(np.float32)
    library = tools.ArrayLibrary([tools.array_example(field, 3 * field, fwhm=2.0)] * 2, 24)
    rng = np.random.default_rng(1)
    batch = stack(library.examples([0, 1, 1], "remove-resolution", rng))
    assert batch.signal.shape == (3, 1, 24, 24) and batch.width.shape == (3, 2, 24, 24)
    assert len({float(s.sum()) for s in batch.signal}) > 1  # not always the same window
    assert not batch.valid[:, :, 20:].any() and batch.valid[:, :, :20].all()
    torch.testing.assert_close(batch.target, 3 * batch.signal)
    varied = tools.ArrayLibrary(library.members, 24, lambda e, rng: tools.array_example(-e.signal, e.target))
    assert (varied.examples([0], "remove-resolution", rng)[0].signal <= 0).all()


def test_an_array_library_needs_members_of_one_number_of_dimensions(tools):
    line, plane = np.ones(16), np.ones((16, 16))
    with pytest.raises(InputError, match="0 examples"):
        tools.ArrayLibrary([], 16)
    with pytest.raises(InputError, match=r"dimensions: \[1, 2\]"):
        tools.ArrayLibrary([tools.array_example(line, line), tools.array_example(plane, plane)], 16)
    with pytest.raises(ValueError, match="window of 18 bins"):
        tools.ArrayLibrary([tools.array_example(line, line)], 18)


# -- tomography


def test_training_and_test_phases_have_none_in_common(tomography):
    assert not set(tomography.TRAINING_PHASES) & set(tomography.TEST_PHASES)
    _, patterns = tomography.reference_patterns()
    for known in tomography.TRAINING_PHASES:
        for new in tomography.TEST_PHASES:
            assert not np.allclose(patterns[known], patterns[new], atol=0.1)


def test_the_noise_of_a_scan_is_what_its_errors_say(tomography):
    rng = np.random.default_rng(3)
    volume = tomography.phantom(rng, tomography.TRAINING_PHASES)
    made = [tomography.scan(rng, volume, 300.0) for _ in range(12)]
    off = np.array([(s.noisy - s.clean)[s.chosen] / s.error[s.chosen] for s in made])
    assert abs(off.mean()) < 0.05
    assert 0.9 < off.std() < 1.1
    np.testing.assert_array_equal(made[0].clean, made[1].clean)


def test_a_reconstruction_is_the_phantom_but_for_blur(tomography):
    rng = np.random.default_rng(4)
    volume = tomography.phantom(rng, tomography.TRAINING_PHASES)
    clean = tomography.scan(rng, volume, 1e9).clean
    assert np.corrcoef(clean.ravel(), volume.ravel())[0, 1] > 0.9


def test_peaks_are_found_where_they_are(tomography):
    place = 23.3
    peak = np.exp(-0.5 * ((np.arange(60) - place) / 2.5) ** 2)
    assert tomography.maximum(peak) == pytest.approx(place, abs=0.02)
    assert tomography.maximum(np.arange(10.0)) == pytest.approx(8, abs=1)  # at an edge: stays inside


@pytest.mark.slow
def test_the_tomography_example_runs(tomography, tmp_path, capsys):
    rows = tomography.main(["--quick", "--folder", str(tmp_path)])
    assert list(rows) == ["noisy input", *tomography.BASELINES, "paired network"]
    values = {name: cells[0][0] for name, cells in rows.items()}
    assert all(np.isfinite(v) for v in values.values())
    assert 0.1 < values["noisy input"] < 0.3  # 100 counts
    for name in tomography.BASELINES:
        assert values[name] < values["noisy input"]
    assert (tmp_path / "tomography_1d.onnx").exists() and (tmp_path / "tomography_1d.png").exists()
    assert "| noisy input |" in capsys.readouterr().out


# -- cryo-EM


def test_held_out_chains_are_like_none_of_the_training(cryo_em):
    names = cryo_em.split(seed=1)
    held_out = names["test"] + names["validation"]
    assert len(set(held_out)) == cryo_em.TEST + cryo_em.VALIDATION
    assert len(names["training"]) > 20
    for one in names["training"]:
        assert max(cryo_em.alike(one, other) for other in held_out) <= cryo_em.MOST_ALIKE
    assert cryo_em.alike("1ahsA", "1ahsA") == 1


def test_the_told_width_is_what_lies_between_the_two_densities(cryo_em):
    from mantid_insgan.learn.operator import ResolutionOperator

    member = cryo_em.members(["2xcjA"], 1, seed=1)[0]
    operator = ResolutionOperator(torch.from_numpy(np.array(member.width))[None])
    again = operator.convolve(torch.from_numpy(member.target)[None, None])[0, 0].numpy()
    size = np.linalg.norm(member.signal)
    assert np.linalg.norm(again - member.signal) < 0.02 * size < 0.1 * np.linalg.norm(member.target - member.signal)


def test_noise_reaches_as_far_as_is_said(cryo_em):
    members = cryo_em.members(["2xcjA"], 1, seed=1)
    for resolution in (3.5, 4.0):
        case = cryo_em.cases(members, resolution, seed=2)[0]
        near = resolution - 0.2, resolution + 0.2
        assert cryo_em.shell_correlation(case, case.example.signal, near) == pytest.approx(0.5, abs=0.05)


def test_turns_make_no_mirror_images_and_keep_pairs_together(cryo_em, tools):
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, 16)] * 3, indexing="ij")
    member = tools.array_example(x, 2 * x, error=1e-9)
    hands = []
    for seed in range(30):
        turned = cryo_em.varied(member, np.random.default_rng(seed))
        np.testing.assert_allclose(turned.target, 2 * turned.signal, atol=1e-5)
        # The same turn of three axes: its determinant tells a rotation from a mirror image.
        axes = [
            cryo_em.varied(tools.array_example(a, a, error=1e-9), np.random.default_rng(seed)).target for a in (x, y, z)
        ]
        matrix = [[np.sign(np.gradient(a, axis=i).mean()).round() for i in range(3)] for a in axes]
        hands.append(np.linalg.det(matrix))
    assert np.allclose(hands, 1)


@pytest.mark.slow
def test_the_cryo_em_example_runs(cryo_em, tmp_path, capsys):
    rows = cryo_em.main(["--quick", "--folder", str(tmp_path)])
    names = ["noisy input", *cryo_em.SETTINGS, "best radial filter", "truth, reconciled", "paired network"]
    assert list(rows) == names
    values = {name: [c[0] for c in cells] for name, cells in rows.items()}
    assert np.isfinite(list(values.values())).all()
    # A filter of |s| alone improves the map, and no shell's correlation (within a shell of finite width).
    assert values["best radial filter"][0] < 0.5 * values["noisy input"][0]
    assert values["B-factor sharpening"][1] == pytest.approx(values["noisy input"][1], abs=0.05)
    assert (tmp_path / "cryo_em_3d.onnx").exists() and (tmp_path / "cryo_em_3d.png").exists()
    assert "| noisy input |" in capsys.readouterr().out


# -- ptychography


def test_crystals_of_training_validation_and_test_are_others(ptychography):
    names = [name for part in ptychography.SPLIT.values() for name in part]
    assert sorted(names) == sorted(ptychography.CRYSTALS)
    for name in set(names) - {"graphite"}:
        found = ptychography.cell_of(name).symbols.formula
        assert found.reduce()[0] == type(found)(name)  # what the space group makes of the places is the compound


@pytest.mark.parametrize("name", ["Si", "TiO2", "MoS2"])
def test_a_specimen_is_as_dense_as_its_crystal(ptychography, name):
    cell, rng = ptychography.cell_of(name), np.random.default_rng(5)
    drawn = [ptychography.specimen(rng, name) for _ in range(10)]
    expected = len(cell) / cell.get_volume() * sum(made.get_volume() for made in drawn)
    assert sum(map(len, drawn)) == pytest.approx(expected, rel=0.05)  # faces cut between planes of atoms
    for made in drawn:
        distances = np.linalg.norm(made.positions - made.positions[len(made) // 2], axis=1)
        assert np.sort(distances)[1] > 1.3  # no atom twice


def test_the_axis_of_a_specimen_is_along_the_beam(ptychography):
    matrix = ptychography.rotation_to((1, 1, 1), 0.7, (0.0, 0.0))
    np.testing.assert_allclose(matrix @ np.ones(3) / 3**0.5, [0, 0, 1], atol=1e-12)
    tilted = ptychography.rotation_to((1, 1, 1), 0.7, (0.01, 0.0))
    assert np.arccos((tilted @ np.ones(3))[2] / 3**0.5) == pytest.approx(0.01, rel=1e-6)
    assert np.linalg.det(tilted) == pytest.approx(1)


def test_a_probe_without_specimen_is_a_disc_of_its_convergence(ptychography):
    from ase import Atoms

    edge = ptychography.EDGE
    far = Atoms("H", positions=[(0.01, 0.01, 1.0)], cell=[edge, edge, 2.0], pbc=True)  # a corner, the probe's farthest
    shown = ptychography.multislice(ptychography.potential_of(far), 12.0, 50.0, [(0, 0), (0.5, -0.2)])
    angles = ptychography.angles_of(ptychography.POINTS)
    for disc in shown:
        assert disc.sum() == pytest.approx(1, abs=1e-3)
        assert disc[angles > 13.5].sum() < 1e-3
        assert disc[angles < 10.5].std() < 0.01 * disc[angles < 10.5].mean()


def test_the_probes_of_a_source_have_its_variances(ptychography):
    from mantid_insgan.core.constants import FWHM_PER_SIGMA

    microscope = ptychography.Microscope.draw(np.random.default_rng(2))
    defocus, offsets = zip(*microscope.probes(0.3), strict=True)
    assert np.mean(defocus) == pytest.approx(microscope.error)
    assert np.std(defocus) == pytest.approx(microscope.spread)
    covariance = np.cov(np.concatenate(offsets).T, bias=True)
    np.testing.assert_allclose(covariance, (microscope.source / FWHM_PER_SIGMA) ** 2 * np.eye(2), atol=1e-12)


def test_a_detector_without_tail_and_background_blurs_as_is_told(ptychography):
    from dataclasses import replace

    from mantid_insgan.learn.evaluate import covariance_kernel

    drawn = ptychography.Microscope.draw(np.random.default_rng(3))
    pattern = np.zeros((ptychography.POINTS,) * 2)
    pattern[50:70, 60:75] = np.random.default_rng(4).random((20, 15))
    pattern /= pattern.sum()
    plain = replace(drawn, blur=drawn.fwhm, tail=0.0, background=0.0).recorded(pattern)
    assert plain.sum() == pytest.approx(1) == pytest.approx(drawn.recorded(pattern).sum(), abs=0.05)
    middle = (slice(32, 96),) * 2
    told = ptychography.Pattern("Si", pattern[middle], plain[middle], drawn.fwhm)
    batch = ptychography.batch_of([told], "add-resolution", None, 0)
    off = covariance_kernel(batch) - batch.target
    assert off.norm() < 0.02 * batch.target.norm() < 0.2 * (batch.signal - batch.target).norm()


def test_counts_scatter_as_their_errors_say_and_turns_keep_pairs_together(ptychography):
    rng = np.random.default_rng(6)
    shape = (ptychography.PIXELS,) * 2
    simulated = rng.uniform(0.5, 1, shape) / 64**2
    made = ptychography.Pattern("Si", simulated, 2 * simulated, 2.0)
    one = ptychography.example(made, "remove-resolution", 5e7, rng)  # few counts have a skew
    off = (one.signal - 2 * one.target) / one.error
    assert abs(off.mean()) < 0.05 and off.std() == pytest.approx(1, abs=0.05)
    exact = ptychography.example(made, "add-resolution", None, rng)
    assert not exact.error.any() and np.sqrt((exact.signal**2).mean()) == pytest.approx(1, rel=1e-5)
    seen = set()
    for _ in range(60):
        other = ptychography.turned(exact, rng)
        np.testing.assert_allclose(other.target, 2 * other.signal, rtol=1e-5)
        assert other.position.shape == exact.position.shape
        # A pixel keeps its momentum transfer.
        here, there = (np.unravel_index(e.signal.argmax(), shape) for e in (exact, other))
        assert other.position[1][there] == exact.position[1][here]
        seen.add(other.signal[:2, :2].tobytes())
    assert len(seen) == 8


def test_drawn_patterns_are_kept_in_the_folder_and_read_again(ptychography, monkeypatch, tmp_path):
    seeds = []

    def patterns(seed, names, number):
        seeds.append(seed)
        return [ptychography.Pattern(n, np.full((4, 4), seed), np.eye(4), 2.5) for n in names for _ in range(number)]

    monkeypatch.setattr(ptychography, "patterns", patterns)
    first, again = (ptychography.drawn(ptychography.QUICK, 3, tmp_path)[0] for _ in range(2))
    assert seeds == [30, 31, 32]  # drawn once
    assert [(p.crystal, p.fwhm) for p in again["training"]] == [("Si", 2.5)] * ptychography.QUICK.training
    for part, seed in zip(("training", "validation", "test"), seeds, strict=True):
        np.testing.assert_array_equal(again[part][0].simulated, np.full((4, 4), seed))
        np.testing.assert_array_equal(again[part][0].experimental, first[part][0].experimental)


@pytest.mark.slow
def test_the_ptychography_example_runs(ptychography, tmp_path, capsys):
    rows = ptychography.main(["--quick", "--folder", str(tmp_path)])
    assert [name for name in rows if "network" in name] == ["paired network, seed 1", "unpaired network, seed 1"]
    values = {name: [c and c[0] for c in cells] for name, cells in rows.items()}
    assert np.isfinite([v for cells in values.values() for v in cells if v is not None]).all()
    assert values["known blur"][0] < values["input as it is"][0]  # the blur is in all experimental patterns
    assert values["Richardson-Lucy"] == [None, pytest.approx(values["Richardson-Lucy"][1])]
    assert len(list(tmp_path.glob("**/*.onnx"))) == 4 and (tmp_path / "ptychography_2d.png").exists()
    assert "| known blur |" in capsys.readouterr().out
