"""Networks, losses, training and export on tiny sizes."""

import copy
import multiprocessing
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra 'train'")

from scipy.special import ndtr  # noqa: E402

from mantid_insgan.convolve.experiment import ExperimentSettings  # noqa: E402
from mantid_insgan.core.constants import FWHM_PER_SIGMA  # noqa: E402
from mantid_insgan.core.kernels import LARGEST_FWHM_BINS, RADIUS, reach_of  # noqa: E402
from mantid_insgan.errors import DeviceError, InputError, ModelError, OutputError  # noqa: E402
from mantid_insgan.instruments import Resolution  # noqa: E402
from mantid_insgan.instruments.table import setting_facts  # noqa: E402
from mantid_insgan.learn import augment, losses  # noqa: E402
from mantid_insgan.learn import export as exporting  # noqa: E402
from mantid_insgan.learn.augment import flipped, with_noise  # noqa: E402
from mantid_insgan.learn.evaluate import (  # noqa: E402
    DIRECTIONS_KNOWN,
    ENERGY_KERNEL,
    Baselines,
    batches,
    calibrate,
    covariance_kernel,
    coverage,
    domain_of_application,
    energy_kernel,
    halves,
    is_scored,
    lucy_with_surroundings,
    scores,
    table,
    widths_kernel,
)
from mantid_insgan.learn.examples import Batch, Example, stack  # noqa: E402
from mantid_insgan.learn.export import _ExportedCut, export  # noqa: E402
from mantid_insgan.learn.feeding import ExampleStream  # noqa: E402
from mantid_insgan.learn.generator import Generator  # noqa: E402
from mantid_insgan.learn.judges import FeatureSampler, PatchDiscriminator  # noqa: E402
from mantid_insgan.learn.libraries import PairLibrary, Part, Several  # noqa: E402
from mantid_insgan.learn.operator import (  # noqa: E402
    ResolutionOperator,
    convolved,
    pairs_of_axes,
    richardson_lucy,
    root_mean_square,
)
from mantid_insgan.learn.paired import PairedRecipe, PairedTrainer  # noqa: E402
from mantid_insgan.learn.pairs.pair import Pair  # noqa: E402
from mantid_insgan.learn.pairs.shards import FORMAT, write_index, write_shard  # noqa: E402
from mantid_insgan.learn.trainer import Machine, Schedule, TrainingWarning  # noqa: E402
from mantid_insgan.learn.unpaired import ADD, REMOVE, UnpairedRecipe, UnpairedTrainer, as_measured, counted  # noqa: E402

DIRECTIONS = ("add-resolution", "remove-resolution")


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twelve pairs of a cosine band, without pySpinW."""
    folder = tmp_path_factory.mktemp("pairs")
    entry = write_shard(folder, 0, [cosine_pair(i) for i in range(12)])
    write_index(folder, {"format": FORMAT, "recipe": {}, "versions": {}, "shards": [entry]})
    return folder


@pytest.fixture(scope="module")
def library(folder):
    return PairLibrary(folder)


def cosine_pair(seed: int, size: int = 32) -> Pair:
    """A band that the resolution of known widths and correlation has blurred, worked out on a fine grid."""
    rng = np.random.default_rng(seed)
    q, e = np.linspace(-1, 1, 3 * size)[:, None], np.linspace(0, 1, 3 * size)[None, :]
    band = rng.uniform(0.2, 0.8) * np.abs(np.sin(rng.uniform(1, 4) * q))
    sigma_q, sigma_e, rho = rng.uniform(0.5, 1.2), rng.uniform(0.8, 2.0), 0.6
    fine = np.exp(-0.5 * ((e - band) / 0.01) ** 2)
    offsets = np.arange(-12, 13) / 3
    x = np.stack(np.meshgrid(offsets / sigma_q, offsets / sigma_e, indexing="ij"))
    kernel = np.exp(-0.5 * (x[0] ** 2 - 2 * rho * x[0] * x[1] + x[1] ** 2) / (1 - rho**2))
    blur = lambda k: sum(v * np.roll(fine, (i - 12, j - 12), (0, 1)) for (i, j), v in np.ndenumerate(k / k.sum()))  # noqa: E731
    blurred = blur(kernel)
    bins = lambda x: x.reshape(size, 3, size, 3).mean((1, 3)).astype(np.float32)  # noqa: E731
    grid = (size, size)
    valid = np.broadcast_to(np.arange(size) < 0.95 * size, grid)
    sides = (fine, blur(kernel**9), blur(kernel**4), blurred)
    ideal, third, half, convolved_ = (np.where(valid, bins(v), np.nan).astype(np.float32) for v in sides)
    width = 2.3548 * np.stack([np.full(grid, sigma_q), np.full(grid, sigma_e)])
    split = ("train", "train", "validation", "test-family")[seed % 4]
    axes = [
        {"name": "[H,0,0]", "bins": size, "low": 1, "high": 3, "unit": "r.l.u.", "frame": "HKL"},
        {"name": "DeltaE", "bins": size, "low": -5, "high": 20, "unit": "meV", "frame": "General Frame"},
    ]
    facts = {"split": split, "family": "cosine", "kind": "path", "setting": "none", "axes": axes, "index": seed}
    facts |= {"sharpness": [[3.0, 3.0], [2.0, 2.0]], "line": {}}
    facts |= {"unstable_draws": 0, "rejected_draws": {}, "errors": {"coarse_grid_of_modes": False}}
    resolution = Resolution("MERLIN", 60.0, "G", 300.0)
    facts["resolution"] = setting_facts(resolution) | {"time_model": resolution.time_model, "mosaic": 0.0}
    facts["resolution"]["sample"] = asdict(resolution.sample)
    facts["model"] = {"lattice": [5.0, 5.0, 5.0, 90.0, 90.0, 90.0], "temperature": 10.0}
    return Pair(
        ideal=ideal,
        finer=np.stack([third, half]),
        convolved=convolved_,
        valid=valid,
        width=width.astype(np.float32),
        correlation=np.full((1, *grid), rho, np.float32),
        position=np.stack([np.broadcast_to(np.linspace(0, 1, size), grid)] * 3).astype(np.float32),
        facts=facts,
    )


def random_inputs(dimensions: int, size: int = 24, seed: int = 0):
    random = torch.Generator().manual_seed(seed)
    grid = (size,) * dimensions
    signal = torch.rand(2, 1, *grid, generator=random)
    valid = (torch.rand(2, 1, *grid, generator=random) > 0.2).float()
    width = 6 * torch.rand(2, dimensions, *grid, generator=random)
    correlation = torch.full((2, len(pairs_of_axes(dimensions)), *grid), 0.5)
    return signal, valid, 0.1 * signal, width, correlation, torch.ones(2, 3, *grid)


def moments(spread: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Total and covariance in bins squared of an image (*grid)."""
    places = torch.stack(torch.meshgrid(*(torch.arange(n) - n // 2.0 for n in spread.shape), indexing="ij")).flatten(1)
    weight = spread.flatten()
    return weight.sum(), (places * weight) @ places.T / weight.sum()


class TestResolutionOperator:
    @pytest.mark.parametrize("dimensions", [1, 2, 3])
    def test_two_steps_of_resolution_are_one(self, dimensions):
        """Convolved with a finer resolution and then with what is left, as with the whole."""
        size = (80, 80, 48)[dimensions - 1]
        grid, pairs = (size,) * dimensions, len(pairs_of_axes(dimensions))
        width, correlation = torch.full((1, dimensions, *grid), 9.0), torch.full((1, pairs, *grid), 0.5)
        finer = width / 1.5, 0.4 * torch.ones_like(correlation)
        point = torch.zeros(1, 1, *grid)
        point[(0, 0, *[size // 2] * dimensions)] = 1.0
        once = ResolutionOperator(width, correlation).convolve(point)
        twice = ResolutionOperator(width, correlation, finer).convolve(ResolutionOperator(*finer).convolve(point))
        for one, other in zip(moments(once[0, 0]), moments(twice[0, 0]), strict=True):
            torch.testing.assert_close(one, other, rtol=0.03, atol=0.03)
        torch.testing.assert_close(
            ResolutionOperator(width, correlation, (width, correlation)).convolve(point), point
        )  # nothing is left between a resolution and itself

    def test_kernels_that_reach_as_far_as_told(self):
        width = torch.full((1, 1, 64), 4.0)
        x = torch.rand(1, 1, 64, generator=torch.Generator().manual_seed(0))
        steps = torch.arange(-reach_of(4.0), reach_of(4.0) + 1.0)
        torch.testing.assert_close(
            ResolutionOperator(width, steps=steps).convolve(x), ResolutionOperator(width).convolve(x)
        )
        assert reach_of(4.0) < reach_of(LARGEST_FWHM_BINS) == reach_of(100.0) == RADIUS

    @pytest.mark.parametrize("fwhm", [0.0, 0.8, 2.5, 7.3, 11.0])
    def test_kernels_are_what_a_gaussian_puts_into_bins(self, fwhm):
        point = torch.zeros(1, 1, 101)
        point[..., 50] = 1.0
        spread = ResolutionOperator(torch.full((1, 1, 101), fwhm)).convolve(point)[0, 0].double().numpy()
        bins, sigma = np.arange(101.0) - 50, max(fwhm / 2.354820045, 1e-6)
        exact = ndtr((bins + 0.5) / sigma) - ndtr((bins - 0.5) / sigma)
        assert np.abs(spread - exact).max() < 0.01 * exact.max()

    def test_second_moments_are_the_covariance(self):
        widths, rho = (4.0, 7.0), 0.7
        width = torch.tensor(widths).view(1, 2, 1, 1).expand(1, 2, 65, 65)
        point = torch.zeros(1, 1, 65, 65)
        point[..., 32, 32] = 1.0
        spread = ResolutionOperator(width, torch.full((1, 1, 65, 65), rho)).convolve(point)[0, 0].double()
        x = torch.arange(65.0, dtype=torch.float64) - 32
        sigma = [w / 2.354820045 for w in widths]
        # integration over the bin adds 1/12 along each axis and nothing across
        assert float((spread.sum(1) * x**2).sum()) == pytest.approx(sigma[0] ** 2 + 1 / 12, rel=0.01)
        assert float((spread.sum(0) * x**2).sum()) == pytest.approx(sigma[1] ** 2 + 1 / 12, rel=0.01)
        assert float((spread * x[:, None] * x[None, :]).sum()) == pytest.approx(rho * sigma[0] * sigma[1], rel=0.02)

    @pytest.mark.parametrize("dimensions", [1, 2, 3])
    def test_adjoint_is_the_transpose(self, dimensions):
        x, _, y, width, _, _ = (t.double() for t in random_inputs(dimensions, 12))
        # Where a step ends is worked out at either end; with widths that jump from bin to bin they'd differ.
        width = width[(..., *[slice(0, 1)] * dimensions)].expand_as(width)
        correlation = torch.full((2, len(pairs_of_axes(dimensions)), *x.shape[2:]), -0.4, dtype=torch.float64)
        operator = ResolutionOperator(width, correlation)
        one, two = (operator.convolve(x) * y).sum(), (x * operator.adjoint(y)).sum()
        assert float(one) == pytest.approx(float(two), rel=1e-9)

    def test_a_covariance_that_changes_over_the_cut_leaves_no_lines(self):
        """Steps in whole bins would jump where they round to the next one, and with them the mean of a product."""
        size, widths = 64, (5.0, 5.0)
        x, y = torch.meshgrid(*(torch.arange(size) - size / 2.0,) * 2, indexing="ij")
        correlation = 0.5 + 0.4 * x / size + 0.3 * y / size
        width = torch.tensor(widths).view(1, 2, 1, 1).expand(1, 2, size, size)
        operator = ResolutionOperator(width, correlation[None, None])
        found = (operator.adjoint((x * y)[None, None])[0, 0] - x * y)[16:-16, 16:-16]
        expected = (correlation * widths[0] * widths[1] / FWHM_PER_SIGMA**2)[16:-16, 16:-16]
        assert float((found - expected).abs().max()) < 1 / 12, "what the width of a bin adds"

    def test_nor_does_one_that_changes_over_a_volume(self):
        size, fwhm = 40, 4.0
        x, y, z = torch.meshgrid(*(torch.arange(size) - size / 2.0,) * 3, indexing="ij")
        correlation = torch.stack([0.2 + 0 * x, 0.3 + 0.4 * x / size + 0.3 * y / size, 0.4 + 0.4 * z / size])
        operator = ResolutionOperator(torch.full((1, 3, *x.shape), fwhm), correlation[None])
        inner = (slice(12, -12),) * 3
        for (a, b), rho in zip(((x, y), (x, z), (y, z)), correlation, strict=True):
            found = (operator.adjoint((a * b)[None, None])[0, 0] - a * b)[inner]
            expected = rho[inner] * fwhm**2 / FWHM_PER_SIGMA**2
            assert float((found - expected).abs().max()) < 1 / 12, "what the width of a bin adds"

    def test_without_width_nothing_changes(self):
        x = random_inputs(2)[0]
        operator = ResolutionOperator(torch.zeros(2, 2, 24, 24), torch.full((2, 1, 24, 24), 0.9))
        torch.testing.assert_close(operator.convolve(x), x)

    def test_wider_than_the_widest_counts_as_that(self):
        x = random_inputs(1, 64)[0]
        widest, more = (ResolutionOperator(torch.full((2, 1, 64), w)) for w in (LARGEST_FWHM_BINS, 40.0))
        torch.testing.assert_close(widest.convolve(x), more.convolve(x))

    def test_richardson_lucy_sharpens_and_keeps_the_flux(self):
        truth = torch.zeros(1, 1, 80)
        truth[..., 30], truth[..., 45] = 1.0, 2.0
        operator = ResolutionOperator(torch.full((1, 1, 80), 6.0))
        data = operator.convolve(truth)
        found = richardson_lucy(operator, data, torch.ones_like(data), (50,))[0]
        assert float(found.sum()) == pytest.approx(3.0, rel=1e-3)
        assert float((found - truth).norm()) < 0.8 * float((data - truth).norm())

    @pytest.mark.parametrize("dimensions", [1, 2, 3])
    def test_richardson_lucy_piles_nothing_up_at_the_edges(self, dimensions):
        # A level that goes on beyond the cut: what was measured at its edges came by half from there.
        grid = (16,) * dimensions
        level, width = torch.ones(1, 1, *grid), torch.full((1, dimensions, *grid), 6.0)
        found = richardson_lucy(ResolutionOperator(width), level, torch.ones_like(level), (10,))[0]
        torch.testing.assert_close(found, level, rtol=1e-3, atol=0)
        none = torch.zeros(1, len(pairs_of_axes(dimensions)), *grid)
        batch = Batch(level, torch.ones_like(level), 0 * level, width, none, torch.zeros(1, 3, *grid), level)
        also = lucy_with_surroundings(batch, 10)
        torch.testing.assert_close(also, level, rtol=0.02, atol=0)


@pytest.mark.parametrize("direction", DIRECTIONS)
class TestGenerator:
    @pytest.mark.parametrize("dimensions", [1, 2, 3])
    def test_shapes(self, direction, dimensions):
        generator = Generator(direction, dimensions, channels=4).eval()
        signal, log_variance, features = generator(*random_inputs(dimensions))
        assert signal.shape == log_variance.shape == (2, 1, *(24,) * dimensions)
        assert features.shape == (2, 24)

    def test_starts_from_physics(self, direction):
        inputs = random_inputs(2)
        found = Generator(direction, 2, channels=4).train()(*inputs)[0]
        signal, valid, _, width, correlation, _ = inputs
        operator = ResolutionOperator(width, correlation)
        if direction == "add-resolution":
            torch.testing.assert_close(found, convolved(operator, signal, valid))
        else:
            lucy = richardson_lucy(operator, signal * valid, valid, (1, 3, 10))
            offered = torch.cat([signal * valid, convolved(operator, signal, valid), *lucy], 1)
            low, high = offered.amin(1, keepdim=True), offered.amax(1, keepdim=True)
            assert ((found >= low - 1e-6) & (found <= high + 1e-6)).all()

    def test_without_physics_it_starts_from_the_signal(self, direction):
        signal, valid, *more = random_inputs(2)
        found = Generator(direction, 2, channels=4, physics=False)(signal, valid, *more)[0]
        torch.testing.assert_close(found, signal * valid)

    def test_gaps_do_not_leak(self, direction):
        generator = randomised(direction)
        signal, valid, error, *conditions = random_inputs(2)
        one = generator(signal, valid, error, *conditions)[0]
        two = generator(signal + 1e6 * (1 - valid), valid, error + (1 - valid), *conditions)[0]
        torch.testing.assert_close(one, two)

    def test_keeps_the_intensity_that_physics_keeps(self, direction):
        generator = randomised(direction, size=0.1)
        signal, valid, *more = random_inputs(2, size=64)
        total = lambda x: float((x.detach() * valid).sum())  # noqa: E731
        found, learned = total(generator(signal, valid, *more)[0]), total(generator.train()(signal, valid, *more)[0])
        if direction == "remove-resolution":
            assert abs(found / total(signal) - 1) < 0.5 * abs(learned / total(signal) - 1)
        else:  # nothing is scaled there: what the network adds and takes away is small beside what physics gives
            assert (
                found
                == learned
                == pytest.approx(total(convolved(ResolutionOperator(*more[1:3]), signal, valid)), rel=0.02)
            )

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


class TestGeneratorOfWhatCalculationsLack:
    """Generators of simulations that are convolved already, and those with a background."""

    @pytest.mark.parametrize("direction", DIRECTIONS)
    def test_starts_near_the_signal(self, direction):
        generator = Generator(direction, 2, channels=4, simulation="convolved")
        signal, valid, error, width, *more = random_inputs(2)
        found = generator(signal, valid, error, width, *more)[0]
        still = generator(signal, valid, error, 0 * width, *more)[0]
        torch.testing.assert_close(still, signal * valid, atol=1e-4, rtol=1e-4)
        assert 0 < float(((found - signal) * valid).norm() / (signal * valid).norm()) < 0.5

    @pytest.mark.parametrize("direction", DIRECTIONS)
    def test_the_background_knows_no_peaks(self, direction):
        generator = self.with_background(direction)
        signal, valid, error, width, correlation, position = random_inputs(2)
        level = generator.level(signal, valid, position)
        assert (level > 0).all()
        turned = generator.level(signal.flip(2) * valid.flip(2), valid.flip(2), position)
        torch.testing.assert_close(level, turned)  # of the signal only its size counts
        torch.testing.assert_close(generator.level(2 * signal, valid, position), 2 * level)
        plain = Generator(direction, 2, channels=4)
        plain.load_state_dict({k: v for k, v in generator.state_dict().items() if not k.startswith("background")})
        inputs = (signal, valid, error, width, correlation, position)
        apart = generator.train()(*inputs)[0] - plain.train()(*inputs)[0]
        torch.testing.assert_close(apart, level if direction == "add-resolution" else -level, atol=1e-5, rtol=1e-4)

    def test_what_was_measured_is_explained_with_its_background(self):
        generator = self.with_background("remove-resolution")
        signal, valid, _, *conditions = random_inputs(2)
        ideal = torch.rand_like(signal)
        expected = convolved(ResolutionOperator(*conditions[:2]), ideal, valid)
        expected = expected + generator.level(signal * valid, valid, conditions[2])
        torch.testing.assert_close(generator.explained(signal, ideal, valid, *conditions), expected)

    def test_weights_of_a_generator_without_background_are_taken_over(self):
        one, other = Generator("add-resolution", 2, channels=4), self.with_background("add-resolution")
        before = other.background.layers[0].weight.clone()
        other.begin_as(one)
        assert torch.equal(other.network.enter.weight, one.network.enter.weight)
        assert torch.equal(other.background.layers[0].weight, before)
        with pytest.raises(ValueError, match="the other generator lacks .* and has .*background"):
            one.begin_as(other)

    def test_unknown_simulation(self):
        with pytest.raises(ValueError, match="simulation is 'smeared', expected 'ideal' or 'convolved'"):
            Generator("add-resolution", simulation="smeared")

    @staticmethod
    def with_background(direction):
        torch.manual_seed(0)
        generator = Generator(direction, 2, channels=4, background=True).eval()
        with torch.no_grad():
            generator.background.layers[-1].weight.normal_()
        return generator


def test_unknown_direction():
    with pytest.raises(ValueError, match="direction is 'sideways', expected 'add-resolution' or"):
        Generator("sideways")


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_the_discriminator_scores_patches_and_knows_the_conditions(dimensions):
    torch.manual_seed(0)
    signal, valid, _, width, correlation, position = random_inputs(dimensions)
    judge = PatchDiscriminator(dimensions, channels=4)
    score = judge(signal, valid, width, correlation, position)
    assert score.shape == (2, 1, *(6,) * dimensions)
    assert not torch.equal(score, judge(signal, valid, width + 1, correlation, position))
    plain = PatchDiscriminator(dimensions, channels=4, conditional=False)
    assert torch.equal(plain(signal, valid, width, correlation, position), plain(signal, valid, width + 1, 0, 0))


def test_the_scale_of_a_spectrum_does_not_tell_it_from_another():
    signal, valid, _, *conditions = random_inputs(2)
    judge = PatchDiscriminator(2, channels=4)
    torch.testing.assert_close(judge(signal, valid, *conditions), judge(30 * signal, valid, *conditions))


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_features_are_unit_vectors_at_the_same_places(dimensions):
    signal, valid = random_inputs(dimensions)[:2]
    places = FeatureSampler.draw_places(signal.shape[2:], 16, torch.Generator().manual_seed(0))
    vectors = FeatureSampler(dimensions, channels=4, length=8)(signal, valid, places)
    assert len(vectors) == 3
    for at, v in zip(places, vectors, strict=True):
        assert v.shape == (2, len(at), 8) and len(at) <= 16
        torch.testing.assert_close(v.norm(dim=-1), torch.ones(2, len(at)))


def test_losses_are_zero_at_the_truth_and_count_valid_bins_alone():
    signal, valid = random_inputs(2)[:2]
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


def test_the_likelihood_leaves_known_noise_to_the_noise():
    torch.manual_seed(0)
    scale, noise = 0.1, 0.2
    off = scale * torch.distributions.StudentT(3.0).sample((1, 1, 300, 300))
    counting = noise * torch.randn_like(off)
    zeros, valid = torch.zeros_like(off), torch.ones_like(off)
    choices = torch.linspace(-10, 0, 201)  # logarithms of the squared scale: scales in steps of 2.5 %

    def best(target, known):
        found = [losses.likelihood(zeros, torch.full_like(off, float(c)), target, valid, known) for c in choices]
        return float(choices[int(torch.stack(found).argmin())].mul(0.5).exp())

    known = torch.full_like(off, noise**2)
    assert best(off + counting, known) == pytest.approx(scale, rel=0.15)
    assert best(off + counting, None) > 1.8 * scale
    assert best(counting, known) < 0.15 * noise  # nothing is left


def test_the_baseline_lies_below_the_peaks():
    y = torch.full((1, 1, 200), 0.2)
    y[..., 60:90] = 5.0  # a peak over a seventh of the bins
    valid = torch.ones_like(y)
    valid[..., 150:] = 0.0
    y[..., 150:] = -100.0  # and a gap, which does not count
    levels = torch.linspace(0, 2, 401)
    found = torch.stack([losses.baseline(z.expand_as(y), y, valid, 0.005) for z in levels])[:, 0]
    assert float(levels[found.argmin()]) == pytest.approx(0.2, abs=0.02)
    half = torch.stack([losses.baseline(z.expand_as(y), y, valid, 0.5) for z in levels])[:, 0]
    assert float(levels[half.argmin()]) == pytest.approx((30 * 5.0 + 120 * 0.2) / 150, abs=0.01)  # least squares: mean


def test_the_background_of_both_directions_is_that_of_experiments(library, tmp_path):
    """Each in the unit of its own side: the whole measurement, and the peaks that a simulation consists of."""
    level = 0.4
    rng = np.random.default_rng(0)
    batch = stack(library.examples(range(4), "remove-resolution", rng, exact_share=1.0, varied=False))
    y = replace(batch, signal=(batch.signal + level) * batch.valid)
    recipe = UnpairedRecipe(channels=4, simulation="convolved", asymmetry=0.002)
    trainer = UnpairedTrainer(recipe, SCHEDULE, library, library, tmp_path)
    networks = [trainer.networks[d].module for d in (ADD, REMOVE)]
    optimiser = torch.optim.Adam([p for n in networks for p in n.background.parameters()], lr=1e-2)
    for _ in range(200):
        optimiser.zero_grad()
        trainer._baseline(y).backward()
        optimiser.step()
    add, remove = networks
    found = remove.level(y.signal, y.valid, y.position).detach()[y.valid > 0]
    added = add.level(batch.signal, batch.valid, y.position).detach()[y.valid > 0]
    assert float(found.mean()) == pytest.approx(level, rel=0.15)
    assert float(added.mean()) == pytest.approx(level, rel=0.2)


def test_an_unpaired_step_moves_the_errors_of_both_generators(library, tmp_path):
    trainer = UnpairedTrainer(UnpairedRecipe(channels=4, patches=16), SCHEDULE, library, library, tmp_path)
    assert np.isfinite(trainer._train_step(np.random.default_rng(0))["likelihood"])
    for direction in DIRECTIONS:
        leave = trainer.networks[direction].module.network.leave
        assert float(leave.weight.grad[-1].abs().sum()) > 0 and float(leave.bias.grad[-1].abs()) > 0


def test_errors_without_pairs_cover_what_is_known(library, tmp_path):
    """Learned from the likelihood alone, scored on noise that was drawn anew: remove against the simulation, add
    against the measurement without its noise, which the training does not see. With four spectra and networks that
    begin at random the share differs by 0.1 from seed to seed; the mean over seeds is what is stated."""
    noise = 0.15
    exact = {"exact_share": 1.0, "varied": False, "finer": 0}
    batch = stack(library.examples(range(4), "remove-resolution", np.random.default_rng(0), **exact))
    level = 0.3 * batch.valid  # so that no bin is empty
    clean = replace(batch, signal=batch.signal + level, target=batch.target + level)
    x = replace(clean, signal=clean.target, error=0 * batch.error)
    shares = [_covered_by_errors(x, clean, noise, library, tmp_path / str(seed), seed) for seed in (1, 2, 3)]
    for direction in DIRECTIONS:
        assert np.mean([share[direction] for share in shares]) == pytest.approx(0.683, abs=0.07)


def _covered_by_errors(x, clean, noise: float, library, folder, seed: int) -> dict[str, float]:
    """Share of bins within 1.198 scales of Student's t, where 68.3 % should be, after the errors have been learned."""
    recipe = UnpairedRecipe(channels=4, background=False)
    trainer = UnpairedTrainer(recipe, replace(SCHEDULE, seed=seed), library, library, folder)
    translated = trainer.networks[ADD](*x.inputs())[0].detach()

    def measured():
        more = noise * torch.randn_like(clean.signal) * clean.valid
        return replace(clean, signal=clean.signal + more, error=noise * clean.valid)

    @torch.no_grad()
    def within():
        y = measured()
        removed = counted(x, translated, y)
        again, known = trainer._added_again(y)
        unit = (2 * noise**2 / known.amax((1, 2, 3), keepdim=True)).sqrt()
        found = {}
        for direction, given, truth in ((REMOVE, removed, removed.target), (ADD, again, clean.signal / unit)):
            signal, log_variance, _ = trainer.networks[direction](*given.inputs())
            away = (signal - truth).abs() * torch.exp(-0.5 * log_variance)
            found[direction] = float((away < losses.STANDARD)[given.valid > 0].float().mean())
        return found

    leave = [trainer.networks[d].module.network.leave for d in DIRECTIONS]
    with torch.no_grad():
        for layer in leave:
            layer.bias[-1] = -7.0  # errors that are far too small
    assert max(within().values()) < 0.5
    optimiser = torch.optim.Adam([p for layer in leave for p in layer.parameters()], lr=6e-2)
    for _ in range(60):
        optimiser.zero_grad()
        trainer._likelihood(x, measured(), translated).backward()
        optimiser.step()
    return within()


def test_adversarial_terms_have_their_best_at_the_labels():
    real, made = torch.ones(2, 1, 4, 4), torch.zeros(2, 1, 4, 4)
    assert losses.adversarial_discriminator(real, made) == 0 and losses.adversarial_discriminator(made, real) == 1
    assert losses.adversarial_generator(real) == 0 and losses.adversarial_generator(made) == 1


def covariance_of(example):
    """(*grid, D, D) of an example's width and correlation."""
    width, rho = (np.moveaxis(x, 0, -1) for x in (example.width, example.correlation))
    found = width[..., :, None] * width[..., None, :]
    for number, (i, j) in enumerate(pairs_of_axes(example.dimensions)):
        found[..., i, j] *= rho[..., number]
        found[..., j, i] *= rho[..., number]
    return found


@pytest.mark.parametrize("dimensions, ways", [(1, 1), (2, 2), (3, 8)])
def test_what_is_turned_round_keeps_its_resolution(dimensions, ways):
    rng = np.random.default_rng(5)
    grid = (6, 6, 4)[3 - dimensions :]
    place = np.moveaxis(np.indices(grid), 0, -1)
    pairs = len(pairs_of_axes(dimensions))
    arrays = [np.ravel_multi_index(np.indices(grid), grid), np.ones(grid, bool), rng.random(grid), rng.random(grid)]
    conditions = rng.random((dimensions, *grid)), rng.uniform(-1, 1, (pairs, *grid)), rng.random((3, *grid))
    before = Example(*arrays, *conditions)
    covariance, seen = covariance_of(before), set()
    for _ in range(60):
        after = flipped(rng, before)
        source = tuple(np.moveaxis(place, -1, 0).reshape(dimensions, -1)[:, after.signal.ravel()])
        # How a step on the turned grid is a step on the grid before.
        steps = [np.stack(np.unravel_index(after.signal[tuple(e)], grid)) for e in np.eye(dimensions, dtype=int)]
        turn = np.stack(steps) - np.stack(np.unravel_index(after.signal[(0,) * dimensions], grid))
        seen.add(tuple(turn.ravel()))
        expected = turn @ covariance[source] @ turn.T
        np.testing.assert_allclose(covariance_of(after).reshape(expected.shape), expected, atol=1e-12)
        for name in ("error", "target"):
            np.testing.assert_array_equal(getattr(after, name).ravel(), getattr(before, name)[source])
        np.testing.assert_array_equal(after.position.reshape(3, -1), before.position[:, *source])
    assert len(seen) == ways


def test_what_the_physics_offers_is_no_sharper_than_the_target():
    """A sharp mode: with a target, Richardson-Lucy's iterates have no bin brighter than the mode seen through it."""
    width, grid = torch.full((1, 1, 64), 6.0), (1, 1, 64)
    mode = torch.zeros(grid)
    mode[..., 30] = 1.0
    none = torch.zeros(1, 0, 64)
    data = ResolutionOperator(width).convolve(mode)
    target = ResolutionOperator(width / 2).convolve(mode)
    generator = Generator("remove-resolution", 1, channels=4).eval()
    given = data, torch.ones(grid), torch.zeros(grid), width, none, torch.zeros(1, 3, 64)
    for finer, most in ((width / 2, target.max()), (0 * width, mode.max())):
        candidates = generator._candidates(data, given[1], width, none, finer, None)
        assert candidates[:, 1:].max() < 1.02 * most
        again = generator.explained(data, target if finer.any() else mode, given[1], width, none, given[5], finer)
        assert (again - data).abs().max() < 0.02 * data.max()
    assert not torch.equal(generator(*given, width / 2)[0], generator(*given)[0])


def test_examples_have_the_side_that_was_asked_for(library):
    pair = library.pair(0)
    assert pair.sides == (None, (3.0, 3.0), (2.0, 2.0), (1.0, 1.0))
    rng = np.random.default_rng(0)
    for direction in DIRECTIONS:
        for side, times in enumerate((np.inf, 3.0, 2.0)):
            (example,) = library.examples([0], direction, rng, exact_share=1.0, varied=False, finer=side)
            other = example.target if direction == "remove-resolution" else example.signal
            where = example.valid > 0
            expected = np.where(where, pair.all_sides[side], 0.0)
            shared = (other * expected)[where].sum() / np.sqrt((other[where] ** 2).sum() * (expected[where] ** 2).sum())
            assert shared == pytest.approx(1.0, abs=1e-6)
            np.testing.assert_allclose(example.finer[:2], 0.0 if np.isinf(times) else pair.width / times, rtol=1e-6)
    assert {len(e.finer) for e in library.examples([0, 1], "add-resolution", rng)} == {3}


def test_an_elastic_line_is_taken_away_as_it_is_from_data(library):
    """What the network sees, and is to answer, is the magnet alone, but for the bins beside the line."""
    pair, rng = library.pair(0), np.random.default_rng(3)
    settings = ExperimentSettings(elastic=1000.0, tail=0.1)
    seen = pair.detectors
    valid, lines = augment.without_line(rng, seen, settings, pair.known, (pair.sides[1], pair.sides[3]))
    away = np.abs(seen.centres)
    assert not valid[:, away < seen.line.fwhm].any()
    assert (valid == pair.known)[:, away > 3.5 * seen.line.fwhm].all()
    near = lambda line: line[0][away < 2 * seen.line.fwhm].max()  # noqa: E731
    assert near(lines[0]) > 1.5 * near(lines[1]) > 100  # the target's line is narrower, of the same area
    steps = np.diff(seen.edges)
    assert (lines[0] @ steps) == pytest.approx(lines[1] @ steps, rel=0.02)


def test_a_batch_does_not_depend_on_who_draws_it(library):
    stream = ExampleStream(library, "remove-resolution", 3, (5, 0))
    here, ahead = (list(stream.batches(range(4), processes)) for processes in (0, 2))
    for one, other in zip(here, ahead, strict=True):
        for name, values in vars(one).items():
            assert torch.equal(values, getattr(other, name))
    assert not torch.equal(here[0].signal, here[1].signal)


def test_patch_nce_is_least_where_each_patch_knows_its_own():
    torch.manual_seed(0)
    v = torch.nn.functional.normalize(torch.randn(2, 32, 16), dim=-1)
    same, mixed = losses.patch_nce([v], [v]), losses.patch_nce([v], [v.flip(1)])
    assert float(same) < 0.05 < 3 < float(mixed)
    blank = torch.nn.functional.normalize(torch.ones(2, 32, 16), dim=-1)
    assert float(losses.patch_nce([blank], [blank])) == pytest.approx(np.log(32), rel=1e-5)
    v.requires_grad_()
    losses.patch_nce([v], [v.detach()]).backward()
    assert v.grad.abs().sum() > 0


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_batches(library, direction):
    batch = stack(library.examples(range(12), direction, np.random.default_rng(0)))
    assert batch.signal.shape == batch.target.shape == (12, 1, 32, 32) and batch.width.shape == (12, 2, 32, 32)
    assert (batch.signal[batch.valid == 0] == 0).all() and set(batch.valid.unique().tolist()) <= {0.0, 1.0}
    again = stack(library.examples(range(12), direction, np.random.default_rng(0)))
    assert all(torch.equal(getattr(batch, k), getattr(again, k)) for k in vars(batch))
    exact = stack(library.examples(range(12), direction, np.random.default_rng(0), exact_share=1.0))
    assert (exact.error == 0).all()


def test_turning_round_keeps_the_physics(library, monkeypatch):
    """A turned example is blurred by the turned covariance: the kernel on the cut fits as well as before."""
    monkeypatch.setattr("mantid_insgan.learn.augment.WITH_BACKGROUND", 0.0)  # their widths are made up
    off = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        batch = stack([with_noise(library.pair(0), "add-resolution", rng, exact_share=1.0)])
        off.append(float(losses.nrmse(covariance_kernel(batch), batch.target, batch.valid)))
        assert off[-1] < float(losses.nrmse(widths_kernel(batch), batch.target, batch.valid))
    assert max(off) < 0.2


def test_noise_is_as_large_as_the_error_that_is_told(library):
    """Deviations from the noise-free slice, in units of the errors: mean 0 and variance 1, as of Poisson counts."""
    draws, pair = 40, library.pair(0)
    noise = {"exact_share": 0.0, "peak_counts": 20000.0, "varied": False}
    examples = library.examples([0] * draws, "remove-resolution", np.random.default_rng(0), **noise)
    clean, target = (np.nan_to_num(x) for x in (pair.convolved, pair.finer[0]))
    pulls = []
    for example in examples:
        valid = np.asarray(example.valid) > 0
        bright = valid & (clean > 0.3 * clean.max())
        scale = example.target[valid].sum() / target[valid].sum()  # the target has the slice's scale
        pulls.append((example.signal[bright] - scale * clean[bright]) / example.error[bright])
    pulls = np.concatenate(pulls)
    # 3000 counts and more in each bin: the error from the counts found, not those expected, shifts both by under 0.02.
    assert pulls.size > 2000
    assert abs(pulls.mean()) < 0.02 + 4 / np.sqrt(pulls.size)
    assert pulls.var() == pytest.approx(1.0, abs=4 * np.sqrt(2 / pulls.size))


def test_splits_do_not_share_pairs(folder):
    lengths = [len(PairLibrary(folder, split)) for split in ("train", "validation", "test-family")]
    assert lengths == [6, 3, 3]
    with pytest.raises(InputError, match="holds no pairs of the split test-setting"):
        PairLibrary(folder, "test-setting")


SCHEDULE = Schedule(steps=6, batch=2, warm_up=2, seed=3)


def weights(trainer, name="generator"):
    return trainer.averaged(name).state_dict()


def test_a_resumed_training_gives_the_same_weights(library, tmp_path):
    recipe = PairedRecipe("remove-resolution", channels=4)
    whole = PairedTrainer(recipe, SCHEDULE, library, tmp_path / "whole")
    assert whole.run()
    first = PairedTrainer(recipe, SCHEDULE, library, tmp_path / "cut")
    assert not first.run(lambda share, step, terms: step == 3)
    again = PairedTrainer(recipe, SCHEDULE, library, tmp_path / "cut")
    assert again.run() and len(again.history) == 6
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(again)[name]), name


KILLED = """
import os, sys, torch
from mantid_insgan.learn.libraries import PairLibrary
from mantid_insgan.learn.paired import PairedRecipe, PairedTrainer
from mantid_insgan.learn.trainer import Schedule
torch.set_num_threads(1)
trainer = PairedTrainer(PairedRecipe("remove-resolution", channels=4), Schedule(steps=6, batch=2, warm_up=2, seed=3),
                        PairLibrary(sys.argv[1]), sys.argv[2])
trainer.run(lambda share, step, terms: step == 5 and os.kill(os.getpid(), 9), checkpoint_every=2)
"""


def test_a_training_that_was_killed_ends_with_the_same_weights(folder, library, tmp_path):
    recipe = PairedRecipe("remove-resolution", channels=4)
    whole = PairedTrainer(recipe, SCHEDULE, library, tmp_path / "whole")
    whole.run()
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder), str(tmp_path / "killed")], capture_output=True)
    assert done.returncode == -9
    again = PairedTrainer(recipe, SCHEDULE, library, tmp_path / "killed")
    again.run()
    assert [row["step"] for row in again.history] == [1, 2, 3, 4, 5, 6]
    assert all(torch.equal(value, weights(again)[name]) for name, value in weights(whole).items())


@pytest.mark.parametrize("simulation", ["ideal", "convolved"])
def test_an_unpaired_training_resumes_with_the_same_weights(library, tmp_path, simulation):
    recipe = UnpairedRecipe(channels=4, patches=16, simulation=simulation)

    def trainer(name):
        return UnpairedTrainer(recipe, replace(SCHEDULE, steps=4), library, library, tmp_path / name)

    whole = trainer("whole")
    whole.run()
    trainer("cut").run(lambda share, step, terms: step == 2)
    again = trainer("cut")
    again.run()
    for direction in DIRECTIONS:
        assert all(torch.equal(v, weights(again, direction)[k]) for k, v in weights(whole, direction).items())


def test_a_checkpoint_of_another_recipe_is_refused(library, tmp_path):
    recipe = PairedRecipe("add-resolution", channels=4)
    PairedTrainer(recipe, replace(SCHEDULE, steps=1), library, tmp_path).run()
    with pytest.raises(ModelError, match="was made with another recipe.*train in another folder"):
        PairedTrainer(recipe, SCHEDULE, library, tmp_path).run()


def test_a_checkpoint_of_another_version_is_refused(library, tmp_path):
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, tmp_path / "checkpoint.safetensors", metadata={"format": "older"})
    trainer = PairedTrainer(PairedRecipe("add-resolution", channels=4), SCHEDULE, library, tmp_path)
    with pytest.raises(ModelError, match="has the format 'older', expected 'mantid-insgan checkpoint"):
        trainer.run()
    (tmp_path / "checkpoint.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="is not a checkpoint"):
        trainer.run()


def test_a_full_disk_is_told_of_before_the_first_step(library, tmp_path):
    resource = pytest.importorskip("resource", reason="limits of file sizes are of POSIX")
    recipe = PairedRecipe("add-resolution", channels=4)
    trainer = PairedTrainer(recipe, SCHEDULE, library, tmp_path / "new")
    half_done = PairedTrainer(recipe, SCHEDULE, library, tmp_path / "half")
    half_done.run(lambda share, step, terms: step == 2)
    before = half_done.checkpoint.read_bytes()
    (tmp_path / "half" / ".tmp-of-others").touch()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        for full in (trainer, half_done):
            with pytest.raises(OutputError, match="the checkpoint .* cannot be written: .*make room on the disk"):
                full.run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert trainer.step == 0 and not list((tmp_path / "new").iterdir())
    assert half_done.checkpoint.read_bytes() == before and len(list((tmp_path / "half").iterdir())) == 2


def test_with_half_precision_the_physics_stays_exact(library, tmp_path):
    trainer = PairedTrainer(
        PairedRecipe("add-resolution", channels=4), SCHEDULE, library, tmp_path, Machine(precision="bf16")
    )
    batch = stack(library.examples([0, 1], "add-resolution", np.random.default_rng(0)))
    with torch.autocast("cpu", torch.bfloat16):
        found = trainer.networks["generator"](*batch.inputs())[0].detach()
    # At the start the network's answer is nothing, so all of the result is physics.
    torch.testing.assert_close(found, covariance_kernel(batch), atol=1e-6, rtol=1e-5)
    assert trainer.run() and all(np.isfinite(row["nrmse"]) for row in trainer.history)


def test_losses_for_tensorboard(library, tmp_path, monkeypatch):
    machine = Machine(tensorboard=tmp_path / "events")
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(DeviceError, match="need tensorboard, which is not installed.*pip install tensorboard"):
        machine.events()
    written = []

    class Writer:
        def __init__(self, folder):
            written.append(folder)

        def add_scalar(self, name, value, step):
            written.append((name, value, step))

        def flush(self):
            written.append("flushed")

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=Writer))
    trainer = PairedTrainer(
        PairedRecipe("add-resolution", channels=4), replace(SCHEDULE, steps=2), library, tmp_path, machine
    )
    trainer.run()
    assert written[0] == str(tmp_path / "events") and written[-1] == "flushed"
    steps = [entry[1:] for entry in written[1:-1] if entry[0] == "nrmse"]
    assert steps == [(row["nrmse"], row["step"]) for row in trainer.history]


def test_training_learns(library, tmp_path, monkeypatch):
    monkeypatch.setattr("mantid_insgan.learn.augment.WITH_BACKGROUND", 0.0)
    schedule = Schedule(steps=60, batch=4, warm_up=5, learning_rate=3e-3)
    trainer = PairedTrainer(PairedRecipe("remove-resolution", channels=8), schedule, library, tmp_path)
    trainer.run()
    found = [row["nrmse"] for row in trainer.history]
    assert np.mean(found[-15:]) < 0.9 * np.mean(found[:15])


def test_losses_that_are_not_finite_stop_the_training(library, tmp_path):
    trainer = PairedTrainer(PairedRecipe("add-resolution", channels=4), SCHEDULE, library, tmp_path)
    with torch.no_grad():
        next(trainer.networks["generator"].parameters()).fill_(float("nan"))
    with pytest.raises(ModelError, match="losses at step 0 are no longer finite"):
        trainer.run()


def test_trainings_that_go_wrong_are_told(library, tmp_path):
    paired = PairedTrainer(PairedRecipe("add-resolution", channels=4), SCHEDULE, library, tmp_path / "one")
    paired.history = [{"nrmse": 1.0}] * 200
    with pytest.warns(TrainingWarning, match="as far from its targets as an empty spectrum"):
        paired._watch()
    unpaired = UnpairedTrainer(UnpairedRecipe(channels=4), SCHEDULE, library, library, tmp_path / "two")
    unpaired.history = [{"judge of experiments": 0.25, "judge of simulations": 0.01}] * 200
    with pytest.warns(TrainingWarning, match="discriminator of simulations is almost always right"):
        unpaired._watch()


def test_what_is_shown_as_measured_has_the_counting_noise_of_the_experiment(library):
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    batch = stack(library.examples([0, 1], "remove-resolution", rng, exact_share=0.0, peak_counts=50.0))
    flat = torch.ones_like(batch.signal, requires_grad=True)
    shown, valid = as_measured(flat, torch.ones_like(flat), batch)
    size = root_mean_square(batch.signal, batch.valid).flatten()  # and that of `flat` is 1
    counts = size * (batch.signal * batch.valid).sum((1, 2, 3)) / (batch.error**2 * batch.valid).sum((1, 2, 3))
    for n in range(2):
        assert float(shown[n].mean()) == pytest.approx(1.0, abs=4 / np.sqrt(float(counts[n]) * 1024))
        # 1024 bins: their variance scatters by sqrt(2 / 1024), and that of Poisson counts a little more where few.
        scatter = np.sqrt((2 + 1 / float(counts[n])) / 1024)
        assert float(shown[n].detach().var()) == pytest.approx(float(1 / counts[n]), rel=4 * scatter)
    assert torch.equal(valid, batch.valid)
    shown.sum().backward()
    assert torch.equal(flat.grad, torch.ones_like(flat))


def test_several_libraries_are_one(folder, library):
    both = Several(library, PairLibrary(folder))
    assert len(both) == 2 * len(library) and both.dimensions == library.dimensions
    for i in (0, len(library) - 1, len(library), 2 * len(library) - 1):
        np.testing.assert_array_equal(both.pair(i).ideal, library.pair(i % len(library)).ideal)
    examples = both.examples([0, len(both) - 1], "add-resolution", np.random.default_rng(0), varied=False)
    assert [e.signal.shape for e in examples] == [library.pair(0).ideal.shape] * 2


def test_a_library_holds_no_more_in_memory_than_it_may(folder, monkeypatch):
    whole = PairLibrary(folder)
    pair = whole.pair(0)
    size = pair.detectors.nbytes + sum(v.nbytes for v in vars(pair).values() if isinstance(v, np.ndarray))
    monkeypatch.setattr("mantid_insgan.learn.libraries.REMEMBERED", 3 * size)
    scant = PairLibrary(folder)
    for i in range(len(whole)):
        np.testing.assert_array_equal(scant.pair(i).ideal, whole.pair(i).ideal)
    assert scant._read.cache_info().currsize == 3 and whole._read.cache_info().currsize == len(whole)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_tables_have_a_row_for_each_method(library, direction):
    baselines = Baselines(direction, library, seed=1)
    generators = {"this model": Generator(direction, channels=4).eval()}
    found = table("tiny", library, baselines, generators, (None, 300.0), seed=1)
    more = {
        "add-resolution": {"FWHM along each axis", ENERGY_KERNEL, "covariance kernel on the cut"},
        "remove-resolution": {
            "Richardson-Lucy, mean PSF",
            "Richardson-Lucy, exact operator",
            "Richardson-Lucy, exact operator, surroundings too",
            "Richardson-Lucy, kernel between the two",
        },
    }
    assert set(found.rows) == {"identity", "one Gaussian", "this model"} | more[direction]
    assert all(len(row) == 2 and min(row) > 0 for row in found.rows.values())
    if direction == "add-resolution":  # the more physics, the nearer to the truth
        order = ["covariance kernel on the cut", "FWHM along each axis", ENERGY_KERNEL, "identity"]
        ordered = [found.rows[name][0] for name in order]
        assert ordered == sorted(ordered) and ordered[0] < 0.3 * ordered[-1]


class EnergyOfSome(PairLibrary):
    """A library whose facts say that the energy of all pairs but the first `open` is integrated."""

    open = 0

    def facts(self, name):
        if name != "axes":
            return super().facts(name)
        return [[{"bins": 32}, {"bins": 32 if i < self.open else 1}] for i in range(len(self))]


def test_the_kernel_of_the_energy_is_scored_where_energy_is_an_axis(folder):
    some = EnergyOfSome(folder)
    baselines = Baselines("add-resolution", some, seed=1)
    assert ENERGY_KERNEL not in table("tiny", some, baselines, {}, (None,), seed=1).rows
    some.open = 1
    assert is_scored(ENERGY_KERNEL, some).tolist() == [True] + [False] * (len(some) - 1)
    assert is_scored("covariance kernel on the cut", some).all()
    found = table("tiny", some, baselines, {}, (None,), seed=1)
    each = scores(batches(some, "add-resolution", None, 1), energy_kernel)
    assert found.rows[ENERGY_KERNEL] == [pytest.approx(each[0], abs=1e-4)]
    assert "energy is an axis of 1 of them" in found.conditions


def test_calibrated_errors_cover_other_spectra(library):
    """Of twelve pairs some calibrate and the others are covered; errors that are not calibrated cover far less."""
    generator = Generator("remove-resolution", channels=4).eval()
    calibrating, scoring = halves(library, seed=1)
    assert sorted([*calibrating.index, *scoring.index]) == list(range(12)) and len(scoring) == 6
    factor = calibrate(generator, calibrating, seed=1)
    one, two = coverage(generator, scoring, factor, seed=2)["this model"]
    assert one == pytest.approx(0.683, abs=0.08) and one < two < 1
    assert coverage(generator, scoring, 0.5 * factor, seed=2)["this model"][0] < 0.6


def test_halves_of_spectra_not_of_their_slices(library):
    with_slices = SimpleNamespace(dimensions=2, sources=np.repeat(np.arange(8), 3))
    one, other = halves(with_slices, seed=2)
    assert len(one) == len(other) == 12
    assert not {i // 3 for i in one.index} & {i // 3 for i in other.index}
    assert [tuple(p.index) for p in halves(with_slices, seed=2)] == [tuple(one.index), tuple(other.index)]
    assert tuple(halves(with_slices, seed=3)[0].index) != tuple(one.index)
    assert halves(SimpleNamespace(dimensions=2, sources=np.repeat(np.arange(7), 3)), seed=2) is None
    assert Part(library, [3, 5]).examples([1], "add-resolution", np.random.default_rng(0), varied=False)[
        0
    ].signal.sum() == pytest.approx(
        library.examples([5], "add-resolution", np.random.default_rng(0), varied=False)[0].signal.sum()
    )


def test_the_domain_is_scaled_to_training_features(library):
    generator = Generator("add-resolution", channels=4).eval()
    domain = domain_of_application(generator, library, library, seed=1, most=40)
    assert len(domain["components"]) == len(domain["scale"]) == DIRECTIONS_KNOWN and domain["threshold"] > 0


def test_the_export_agrees_with_torch(tmp_path):
    export(Generator("add-resolution", 1, channels=4), tmp_path / "model.onnx")  # checks on random sizes
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]


def test_an_export_that_differs_is_not_written(tmp_path, monkeypatch):
    generator, torchs = Generator("add-resolution", 1, channels=4), torch.onnx.export
    other = copy.deepcopy(generator)
    with torch.no_grad():
        next(p for p in other.parameters() if p.ndim > 1).add_(0.5)
    wrong = _ExportedCut(other.eval()).eval()
    monkeypatch.setattr(torch.onnx, "export", lambda model, *given, **how: torchs(wrong, *given, **how))
    with pytest.raises(ModelError, match="the exported model's .* differs from torch's by"):
        export(generator, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def drawn(generator: Generator) -> Generator:
    """With other weights, as after a training."""
    random = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in generator.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=random))
    return generator


@pytest.mark.parametrize(
    "of",
    [
        pytest.param({"direction": "add-resolution", "dimensions": 1, "background": True}, id="add, background"),
        pytest.param({"direction": "remove-resolution", "dimensions": 1}, id="remove"),
        pytest.param({"direction": "remove-resolution", "dimensions": 3}, id="volumes", marks=pytest.mark.slow),
    ],
)
def test_a_graph_traced_before_the_training_takes_its_weights(tmp_path, monkeypatch, of):
    """Also where weights begin as equal numbers, which the exporter merges; one of another form is traced again."""
    graph = exporting.trace_form(Generator(**of, channels=4))
    traced, trace = [], exporting.trace
    monkeypatch.setattr(exporting, "trace", lambda generator: traced.append(generator) or trace(generator))
    export(drawn(Generator(**of, channels=4)), tmp_path / "model.onnx", graph)  # compared with torch
    assert not traced and (tmp_path / "model.onnx").stat().st_size > 10_000
    if of["dimensions"] == 1:
        wider = Generator(**of, channels=8)
        export(wider, tmp_path / "wider.onnx", graph)
        assert traced == [wider]


def test_processes_that_draw_ahead_leave_signals_to_the_training(library):
    """One to the whole group would otherwise end the training with an error in place of a checkpoint."""
    batches = ExampleStream(library, "add-resolution", 2, (1, 0)).batches(range(1000), processes=1)
    next(batches)
    (feeder,) = multiprocessing.active_children()
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(feeder.pid, number)
    expected = ExampleStream(library, "add-resolution", 2, (1, 0))[12]
    for _ in range(12):
        last = next(batches)
    assert feeder.is_alive() and torch.equal(last.signal, expected.signal)
    del batches
    feeder.join(30)
    assert not feeder.is_alive()


@pytest.mark.slow
@pytest.mark.parametrize(
    "direction, dimensions",
    [("remove-resolution", 1), ("add-resolution", 2), ("remove-resolution", 2), ("remove-resolution", 3)],
)
def test_each_kind_of_model_agrees_with_torch(tmp_path, direction, dimensions):
    export(Generator(direction, dimensions, channels=4), tmp_path / "model.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]
