"""Networks, losses, training and export on tiny sizes."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra 'train'")

from mantid_insgan import pairs  # noqa: E402
from mantid_insgan.errors import ModelError  # noqa: E402
from mantid_insgan.gan import losses  # noqa: E402
from mantid_insgan.gan.data import Library, build_library, make_batch  # noqa: E402
from mantid_insgan.gan.evaluate import Scorer, calibrate, coverage, domain_of_application  # noqa: E402
from mantid_insgan.gan.export import export  # noqa: E402
from mantid_insgan.gan.networks import (  # noqa: E402
    LARGEST_FWHM_BINS,
    Generator,
    ResolutionOperator,
    gaussian_bank,
    richardson_lucy,
)
from mantid_insgan.gan.train import Recipe, Trainer  # noqa: E402

DIRECTIONS = ("add-resolution", "remove-resolution")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def library():
    """Twelve slices of a cosine band, without pySpinW."""
    return Library(**{k: np.array([s[k] for s in map(cosine_slice, range(12))]) for k in Library.__dataclass_fields__})


def cosine_slice(seed: int) -> dict:
    rng = np.random.default_rng(seed)
    q, e = np.linspace(-1, 1, 3 * 64)[:, None], np.linspace(0, 1, 3 * 64)[None, :]
    fine = np.exp(-0.5 * ((e - rng.uniform(0.2, 0.8) * np.abs(np.sin(rng.uniform(1, 4) * q))) / 0.01) ** 2)
    width = np.stack([np.full(64, rng.uniform(0.5, 3)), np.linspace(6, 2, 64)])
    bins = lambda x: x.reshape(64, 3, 64, 3).mean((1, 3)).astype(np.float32)  # noqa: E731
    return {
        "ideal": bins(fine),
        "convolved": bins(pairs.convolve(fine, width)),
        "width": width.astype(np.float32),
        "reachable": np.arange(64) < 60,
        "kind": ("path", "plane", "energy-cut", "q-cut")[seed % 4],
        "family": "cosine",
        "setting": "none",
    }


def random_inputs(dimensions: int, size: int = 24, seed: int = 0):
    random = torch.Generator().manual_seed(seed)
    grid = (size,) * dimensions
    signal = torch.rand(2, 1, *grid, generator=random)
    valid = (torch.rand(2, 1, *grid, generator=random) > 0.2).float()
    width = 6 * torch.rand(2, dimensions, *grid, generator=random)
    return signal, valid, 0.1 * signal, width


class TestResolutionOperator:
    def test_kernels_are_gaussians_of_their_width(self):
        bank = gaussian_bank()
        bins = torch.arange(bank.shape[1]) - bank.shape[1] // 2
        torch.testing.assert_close(bank.sum(1), torch.ones(len(bank)))
        assert bank[0, bank.shape[1] // 2] == 1.0
        sigma = (bank[-1] * bins**2).sum().sqrt()
        # integration over a bin adds 1/12; the kernel ends at three sigma
        assert float(sigma) == pytest.approx(np.sqrt((LARGEST_FWHM_BINS / 2.3548) ** 2 + 1 / 12), rel=0.02)

    @pytest.mark.parametrize("fwhm", [0.0, 0.8, 2.5, 7.3, 13.0])
    def test_widths_between_levels(self, fwhm):
        operator = ResolutionOperator(1)
        point = torch.zeros(1, 1, 101)
        point[..., 50] = 1.0
        spread = operator(point, operator.shares(torch.full((1, 1, 101), fwhm)))[0, 0].double()
        bins = torch.arange(101.0, dtype=torch.float64) - 50
        assert float(spread.sum()) == pytest.approx(1.0, abs=1e-5)
        sigma = max(fwhm / 2.354820045, 1e-6)
        exact = torch.special.ndtr((bins + 0.5) / sigma) - torch.special.ndtr((bins - 0.5) / sigma)
        assert float((spread - exact).abs().max() / exact.max()) < 0.03

    @pytest.mark.parametrize("dimensions", [1, 2, 3])
    def test_adjoint_is_the_transpose(self, dimensions):
        operator = ResolutionOperator(dimensions).double()
        x, _, y, width = (t.double() for t in random_inputs(dimensions, 12))
        shares = operator.shares(width)
        one, two = (operator(x, shares) * y).sum(), (x * operator.adjoint(y, shares)).sum()
        assert float(one) == pytest.approx(float(two), rel=1e-9)

    def test_richardson_lucy_sharpens_and_keeps_the_flux(self):
        operator = ResolutionOperator(1)
        truth = torch.zeros(1, 1, 80)
        truth[..., 30], truth[..., 45] = 1.0, 2.0
        shares = operator.shares(torch.full((1, 1, 80), 6.0))
        data = operator(truth, shares)
        found = richardson_lucy(operator, data, torch.ones_like(data), shares, (50,))[0]
        assert float(found.sum()) == pytest.approx(3.0, rel=1e-3)
        assert float((found - truth).norm()) < 0.8 * float((data - truth).norm())


@pytest.mark.parametrize("direction", DIRECTIONS)
class TestGenerator:
    @pytest.mark.parametrize("dimensions", [1, 2, 3])
    def test_shapes(self, direction, dimensions):
        generator = Generator(direction, dimensions, channels=4).eval()
        signal, log_variance, features = generator(*random_inputs(dimensions))
        assert signal.shape == log_variance.shape == (2, 1, *(24,) * dimensions)
        assert features.shape == (2, 24)

    def test_starts_from_physics(self, direction):
        generator = Generator(direction, 2, channels=4)
        signal, valid, error, width = random_inputs(2)
        found = generator(signal, valid, error, width)[0]
        physics = generator.physics(signal * valid, valid, width)
        if direction == "add-resolution":
            torch.testing.assert_close(found, physics)
        else:
            assert ((found >= physics.amin(1, keepdim=True)) & (found <= physics.amax(1, keepdim=True))).all()

    def test_gaps_do_not_leak(self, direction):
        generator = randomised(direction)
        signal, valid, error, width = random_inputs(2)
        one = generator(signal, valid, error, width)[0]
        two = generator(signal + 1e6 * (1 - valid), valid, error + (1 - valid), width)[0]
        torch.testing.assert_close(one, two)

    def test_keeps_the_intensity_that_physics_keeps(self, direction):
        generator = randomised(direction, size=0.1)
        signal, valid, error, width = random_inputs(2, size=64)
        found = generator(signal, valid, error, width)[0]
        ratio = float((found.detach() * valid).sum() / (signal * valid).sum())
        if direction == "remove-resolution":
            learned = generator.train()(signal, valid, error, width)[0]
            assert abs(ratio - 1) < 0.5 * abs(float((learned * valid).sum() / (signal * valid).sum()) - 1)
        assert np.isfinite(ratio)

    def test_bounded_by_the_surroundings(self, direction):
        generator = randomised(direction, size=3.0)
        inputs = random_inputs(2)
        assert float(generator(*inputs)[0].detach().abs().max()) < 200 * float(inputs[0].max())


def randomised(direction: str, size: float = 0.5) -> Generator:
    torch.manual_seed(0)
    generator = Generator(direction, 2, channels=4).eval()
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.add_(size * torch.randn_like(parameter))
    return generator


def test_unknown_direction():
    with pytest.raises(ValueError, match="direction is 'sideways', expected 'add-resolution' or"):
        Generator("sideways")


def test_losses_are_zero_at_the_truth_and_count_valid_bins_alone():
    signal, valid, _, _ = random_inputs(2)
    wrong = signal + (1 - valid) * 100
    assert losses.nrmse(wrong, signal, valid).max() < 1e-3
    assert losses.relative_l1(wrong, signal, valid).max() == 0
    assert losses.flux(wrong, signal, valid).max() == 0
    assert losses.nrmse(2 * signal, signal, valid).numpy() == pytest.approx(1.0, rel=1e-3)


def test_the_likelihood_is_best_at_the_true_scale():
    torch.manual_seed(0)
    target = torch.distributions.StudentT(3.0).sample((1, 1, 200, 200)) * 0.1
    zeros, valid = torch.zeros_like(target), torch.ones_like(target)
    at = lambda s: float(losses.likelihood(zeros, torch.full_like(target, 2 * np.log(s)), target, valid))  # noqa: E731
    assert at(0.1) < min(at(0.05), at(0.2))


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_batches(library, direction):
    batch = make_batch(library, range(12), direction, np.random.default_rng(0))
    assert batch.signal.shape == batch.target.shape == (12, 1, 64, 64) and batch.width.shape == (12, 2, 64, 64)
    assert (batch.signal[batch.valid == 0] == 0).all() and set(batch.valid.unique().tolist()) <= {0.0, 1.0}
    again = make_batch(library, range(12), direction, np.random.default_rng(0))
    assert all(torch.equal(getattr(batch, k), getattr(again, k)) for k in vars(batch))
    exact = make_batch(library, range(12), direction, np.random.default_rng(0), exact_share=1.0)
    assert (exact.error == 0).all()


def test_counts_follow_poisson(library):
    rng = np.random.default_rng(0)
    batch = make_batch(library, [0] * 40, "remove-resolution", rng, exact_share=0.0, peak_counts=1000.0)
    clean = torch.from_numpy(library.convolved[0])
    # the mean over many draws of noise, each scaled to the same size, is the noise-free slice
    mean = sum(s[0] / s.sum() for s in (batch.signal * batch.valid)) / 40
    bright = clean > 0.5 * clean.max()
    assert float(mean[bright].mean() / mean.mean()) == pytest.approx(
        float(clean[bright].mean() / clean.mean()), rel=0.35
    )
    assert (batch.error[batch.signal > 0] > 0).all()


def test_a_resumed_training_gives_the_same_weights(library, tmp_path):
    recipe = Recipe("remove-resolution", channels=4, steps=6, batch=2, warm_up=2, seed=3)
    whole = Trainer(recipe, library, tmp_path / "whole").run()

    class Killed(Exception):
        pass

    def kill(step, *_):
        if step == 5:
            raise Killed

    with pytest.raises(Killed):
        Trainer(recipe, library, tmp_path / "cut").run(kill, checkpoint_every=2)
    again = Trainer(recipe, library, tmp_path / "cut")
    resumed = again.run()
    assert len(again.history) == 6
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_a_checkpoint_of_another_recipe_is_refused(library, tmp_path):
    recipe = Recipe("add-resolution", channels=4, steps=1, batch=1, warm_up=1)
    Trainer(recipe, library, tmp_path).run()
    with pytest.raises(ModelError, match="was made with another recipe.*train in another folder"):
        Trainer(replace(recipe, steps=2), library, tmp_path).run()


def test_training_learns(library, tmp_path):
    recipe = Recipe("remove-resolution", channels=8, steps=60, batch=4, warm_up=5, learning_rate=3e-3)
    trainer = Trainer(recipe, library, tmp_path)
    trainer.run()
    assert np.mean(trainer.history[-15:]) < 0.9 * np.mean(trainer.history[:15])


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_tables_have_a_row_for_each_method(library, direction):
    scorer = Scorer(Generator(direction, channels=4).eval(), library)
    table = scorer.table("tiny", library, (None, 300.0), seed=1)
    baselines = {"identity", "one Gaussian", "this model"}
    more = {"add-resolution": {"FWHM kernel of each bin"}}.get(
        direction, {"Richardson-Lucy, mean PSF", "Richardson-Lucy, exact operator"}
    )
    assert set(table.rows) == baselines | more
    assert all(len(row) == 2 and min(row) > 0 for row in table.rows.values())
    if direction == "add-resolution":  # the physics alone is near the truth, the ideal spectrum is not
        assert table.rows["FWHM kernel of each bin"][0] < 0.3 * table.rows["identity"][0]


def test_calibrated_errors_cover(library):
    generator = Generator("remove-resolution", channels=4).eval()
    factor = calibrate(generator, library, seed=1)
    one, two = coverage(generator, library, factor, seed=1)["this model"]
    assert one == pytest.approx(0.683, abs=0.01) and two > one


def test_the_domain_is_scaled_to_training_features(library):
    domain = domain_of_application(Generator("add-resolution", channels=4).eval(), library, library, seed=1)
    assert len(domain["components"]) == len(domain["scale"]) == 12 and domain["threshold"] > 0


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_export_agrees_with_torch(tmp_path, dimensions):
    export(Generator("remove-resolution", dimensions, channels=4), tmp_path / "model.onnx")  # checks on random sizes
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]


def test_an_export_that_differs_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr("mantid_insgan.gan.export.TOLERANCE", 0.0)
    with pytest.raises(ModelError, match="the exported model's .* differs from torch's by"):
        export(Generator("add-resolution", 2, channels=4), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_pairs_do_not_depend_on_the_workers():
    pytest.importorskip("pyspinw", reason="pairs need the extra 'spinw'")
    settings = pairs.TRAINING_SETTINGS[:2]
    one, two = (build_library(3, 7, ["fm_chain", "square_afm"], settings, workers) for workers in (1, 2))
    assert len(one) > 4
    for name in Library.__dataclass_fields__:
        assert np.array_equal(getattr(one, name), getattr(two, name)), name
    assert np.isfinite(one.convolved).all() and one.width.max() < LARGEST_FWHM_BINS + 1


def test_blurring_keeps_the_flux_and_moves_no_centre():
    fine = np.zeros((90, 90))
    fine[45, 45] = 1.0
    width = np.stack([np.full(30, 3.0), np.full(30, 4.0)])
    spread = pairs.convolve(fine, width)
    position = np.arange(90)
    assert spread.sum() == pytest.approx(1.0, rel=1e-3)
    for axis, fwhm in ((0, 3.0), (1, 4.0)):
        profile = spread.sum(1 - axis)
        centre = (profile * position).sum()
        assert centre == pytest.approx(45, abs=0.01)
        sigma = np.sqrt((profile * (position - centre) ** 2).sum())
        assert sigma == pytest.approx(3 * fwhm / 2.3548, rel=0.02)


def test_modes_keep_their_intensity_and_stay_connected():
    q = np.linspace(0, 1, 41)[:, None]
    energies, intensities = 40 * q, np.ones_like(q)
    density = pairs.histogram_modes(energies, intensities, np.linspace(-1, 41, 85))
    assert density.sum() * 0.5 == pytest.approx(40, rel=1e-6)
    assert (density.sum(0)[3:-3] > 0).all()
