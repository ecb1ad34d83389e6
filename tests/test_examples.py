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
    for name in ("tools", "tomography_1d", "cryo_em_3d"):
        sys.modules.pop(name, None)


@pytest.fixture
def tools(example):
    return example("tools")


@pytest.fixture
def tomography(example):
    if find_spec("nDTomo") is None:
        pytest.skip("nDTomo is not installed: pip install --no-deps nDTomo")
    return example("tomography_1d")


@pytest.fixture
def cryo_em(example):
    for package in ("gemmi", "MDAnalysisTests"):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed: pip install --no-deps {package}")
    return example("cryo_em_3d")


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
