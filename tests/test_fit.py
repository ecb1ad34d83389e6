"""Fits of a model with known answers: values, errors, backgrounds, masks, starts, logs, comparison."""

import json
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from mantid_insgan.convolve import convolve
from mantid_insgan.core.run import Lattice
from mantid_insgan.core.spectrum import Axis, Spectrum
from mantid_insgan.errors import InputError, OutputError
from mantid_insgan.fit import masks
from mantid_insgan.fit import minimise as minimise_module
from mantid_insgan.fit.background import BACKGROUNDS, Projection, linear_terms
from mantid_insgan.fit.compare import compare
from mantid_insgan.fit.measured import Dataset
from mantid_insgan.fit.minimise import jacobian, minimise
from mantid_insgan.fit.problem import Problem
from mantid_insgan.fit.result import fit, read_fit
from mantid_insgan.fit.smoothing import Smoothing
from mantid_insgan.fit.uncertainty import profile_interval, uncertainty
from mantid_insgan.instruments import Resolution
from mantid_insgan.models.base import UnstableModelError
from mantid_insgan.models.definition import Parameter, definition_of_callable

MAPS = Resolution("MAPS", 60, "S", 300, lattice=Lattice(4.0, 4.0, 4.0))
H, E = Axis("[H,0,0]", np.linspace(0, 1, 41), "r.l.u.", "HKL"), Axis("DeltaE", np.linspace(1, 41, 81), "DeltaE")
TRUE = {"J": 8.0, "gap": 3.0, "line": 2.0}


@dataclass(frozen=True)
class Free:
    """A parameter as `ModelDefinition` has it."""

    value: float
    low: float = -np.inf
    high: float = np.inf
    vary: bool = True
    expression: str | None = None


@dataclass(frozen=True)
class Chain:
    """A mode of energy sqrt(gap^2 + (4 J sin(pi h))^2): what `ModelDefinition.build` gives is the values themselves."""

    parameters: dict
    name: str = "chain"
    second: bool = False

    def build(self, values):
        if values["J"] < 0:
            raise UnstableModelError("J is negative", "take a positive one")
        return {**values, "second": self.second}


def chain(name="chain", second=False, **changes) -> Chain:
    parameters = {"J": Free(7.0, 0.0, 20.0), "gap": Free(3.4, 0.0, 10.0), "line": Free(2.5, 0.3, 8.0)}
    return Chain({**parameters, **changes}, name, second)


def engine(spectrum, resolution, model):
    """Gaussians of the width 'line' about the mode; a second branch at twice the energy for the rival."""
    h, e = np.meshgrid(spectrum.axes[0].centers, spectrum.axes[1].centers, indexing="ij")

    def seen(model, *, line, shape, width_factor=1.0):
        energy = np.sqrt(model["gap"] ** 2 + (4 * model["J"] * np.sin(np.pi * h)) ** 2)
        out = np.exp(-0.5 * ((e - energy) / line) ** 2) / energy
        if model["second"]:
            out += 0.3 * np.exp(-0.5 * ((e - 0.6 * energy) / line) ** 2) / energy
        return out

    return seen


def measured(seed=0, counts=3000.0, background=2.0, values=TRUE, second=False) -> Spectrum:
    """Poisson counts of the model on a background, with a gap."""
    grid = Spectrum(np.zeros((len(H), len(E))), np.ones((len(H), len(E))), (H, E))
    mean = (
        counts * engine(grid, None, None)({**values, "second": second}, line=values["line"], shape="dho") + background
    )
    noisy = np.random.default_rng(seed).poisson(mean).astype(float)
    valid = np.ones(noisy.shape, bool)
    valid[10:14, 20:40] = False
    return grid.replace(signal=noisy, variance=np.maximum(noisy, 1.0), valid=valid)


def problem(data=None, definition=None, **options) -> Problem:
    datasets = [Dataset(s, MAPS, f"cut {i}") for i, s in enumerate(data or [measured()])]
    return Problem(datasets, definition or chain(), **{"resolution": engine, "weights": "poisson", **options})


def test_the_values_are_found_within_their_errors():
    found = fit(problem())
    for name, value in TRUE.items():
        error = found.errors.statistical[found.errors.names.index(name)]
        assert abs(found.values[name] - value) < 4 * error < 0.3 * value, name
    assert 0.8 < found.reduced_chi_squared < 1.2
    assert found.scales[0] == pytest.approx(3000, rel=0.05)
    assert found.degrees_of_freedom == problem().bins - 5


def test_errors_cover():
    """Over 60 data sets two thirds of the values lie within one standard error (binomial 99.9 %: 0.49 to 0.85)."""
    pulls = []
    for seed in range(60):
        found = fit(problem([measured(seed + 100)]))
        pulls.append([(found.values[n] - TRUE[n]) / e for n, e in zip(TRUE, found.errors.statistical, strict=True)])
    within = (np.abs(pulls) < 1).mean(axis=0)
    assert ((within > 0.49) & (within < 0.85)).all(), within


def test_a_profile_agrees_with_the_curvature_where_chi_squared_is_a_parabola():
    whole = problem()
    found = fit(whole, profile=("J",))
    low, high = found.intervals["J"]
    error = found.errors.scaled[found.errors.names.index("J")]
    assert (high - low) / 2 == pytest.approx(error, rel=0.1)
    assert profile_interval(whole, found.values, "J") == pytest.approx((low, high))


def test_the_scale_and_background_are_solved_as_least_squares_does():
    whole = problem(background="slope")
    values = {**TRUE, "J": 7.5}
    (p,) = whole.groups
    model = p.parts[0].seen(whole.definition.build(values), whole.seen_with(values))
    weight = whole._weight[0]
    columns = np.column_stack([model, p.terms.columns])
    solved, *_ = np.linalg.lstsq(columns * weight[:, None], p.signal * weight, rcond=None)
    evaluation = whole.evaluate(values)
    assert evaluation.scales[0] == pytest.approx(solved[0], rel=1e-9)
    rest = (p.signal - columns @ solved) * weight
    np.testing.assert_allclose(evaluation.residual, rest, atol=1e-8)


@pytest.mark.parametrize("kind", BACKGROUNDS)
def test_a_background_takes_out_what_it_describes(kind):
    spectrum = measured()
    terms = linear_terms(kind, spectrum, MAPS, spectrum.valid)
    projection = Projection(terms, np.ones(spectrum.valid.sum()))
    rng = np.random.default_rng(1)
    made = terms.columns @ rng.normal(size=terms.columns.shape[1])
    if terms.groups is not None:
        made = made + rng.normal(size=len(E))[np.searchsorted(E.centers, terms.groups - 1e-3)]
    assert np.abs(projection(made)).max() < 1e-9
    assert np.abs(projection.background(made) - made).max() < 1e-9
    assert projection.rank == terms.count == {"none": 0, "constant": 1, "per-energy": len(E)}.get(kind, 2)


def test_several_data_sets_are_fitted_at_once():
    data = [measured(1), measured(2, counts=500.0, background=5.0)]
    own = fit(problem(data))
    assert own.scales == [pytest.approx(3000, rel=0.05), pytest.approx(500, rel=0.1)]
    alone = fit(problem(data[:1]))
    assert own.errors.statistical[0] < alone.errors.statistical[0]
    shared = problem([measured(1), measured(2)], scale="shared").evaluate(TRUE)
    assert shared.scales[0] == shared.scales[1]
    assert problem(scale="fixed").evaluate(TRUE).scales == [1.0]


def test_data_sets_of_a_group_share_scale_and_background():
    data, whole = measured(4), problem([measured(4)], background="per-energy")
    halves = [masks.within(data, "[H,0,0]", 0, 0.5), masks.within(data, "[H,0,0]", 0.5, 1)]
    group = [Dataset(s, MAPS, f"half {i}", group="cut") for i, s in enumerate(halves)]
    parted = Problem(group, chain(), resolution=engine, weights="poisson", background="per-energy")
    assert parted.degrees_of_freedom == whole.degrees_of_freedom
    one, two = whole.evaluate(TRUE), parted.evaluate(TRUE)
    assert two.chi_squared == pytest.approx(one.chi_squared, rel=1e-9) and two.scales == pytest.approx(one.scales)
    alone = problem(halves, background="per-energy")
    assert alone.degrees_of_freedom == whole.degrees_of_freedom - len(E) - 1
    mixed = [replace(group[0], background="slope"), group[1]]
    with pytest.raises(InputError, match="datasets of one group have the backgrounds"):
        Problem(mixed, chain(), resolution=engine)


def test_a_data_set_may_have_a_parameter_of_its_own():
    data = [Dataset(measured(1), MAPS, "a"), Dataset(measured(2, values={**TRUE, "gap": 5.0}), MAPS, "b", {"gap": 5.0})]
    whole = Problem(data, chain(gap=Free(3.0, vary=False)), resolution=engine, weights="poisson")
    found = fit(whole)
    assert found.values["J"] == pytest.approx(8.0, abs=0.05) and found.reduced_chi_squared < 1.3
    with pytest.raises(InputError, match=r"fixes 'field', which is no parameter of the model 'chain' \(J, gap, line\)"):
        Problem([Dataset(measured(), MAPS, "a", {"field": 1.0})], chain(), resolution=engine)


def test_ties_and_limits_hold():
    definition = chain(gap=Free(0.0, expression="0.375*J"))
    found = fit(problem(definition=definition))
    assert found.values["gap"] == pytest.approx(0.375 * found.values["J"]) and found.errors.names == ("J", "line")
    tight = fit(problem(definition=chain(J=Free(6.5, 6.0, 7.0))))
    assert tight.values["J"] <= 7.0 and tight.errors.at_limit == ("J",)
    assert any("J is at a limit" in note for note in tight.notes)


def test_derivatives_are_those_of_the_residual():
    whole = problem()
    found = jacobian(whole, TRUE, central=True)
    for i, name in enumerate(whole.free):
        ends = [whole.evaluate({**TRUE, name: TRUE[name] + s * 1e-5}).residual for s in (1, -1)]
        np.testing.assert_allclose(found[:, i], (ends[0] - ends[1]) / 2e-5, atol=2e-3 * np.abs(found[:, i]).max())


def test_an_unstable_draw_is_a_finite_penalty():
    whole = problem(definition=chain(J=Free(2.0, -20, 20)))
    bad, good = whole.evaluate({"J": -1.0}), whole.evaluate(TRUE)
    assert not bad.stable and np.isfinite(bad.residual).all() and bad.chi_squared > 3 * good.chi_squared
    assert fit(problem(definition=chain(J=Free(7.0, -20, 20)))).values["J"] == pytest.approx(8.0, abs=0.1)
    with pytest.raises(UnstableModelError):
        problem(definition=chain(J=Free(-1.0)))


def sharp(**options):
    """A mode much sharper than the distance from where its search begins; no other is near."""
    data = measured(values={"J": 8.0, "gap": 15.0, "line": 0.5}, background=0.2)
    start = {"J": Free(6.9, 0.0, 20.0), "gap": Free(12.8, 0.0, 30.0), "line": Free(0.45, 0.2, 8.0)}
    return problem([data], chain(**start), **options)


@pytest.mark.parametrize("weights", ["errors", "poisson"])
def test_a_sharp_mode_that_starts_beside_the_measured_one_is_found(weights):
    found = fit(sharp(weights=weights))
    assert found.values["J"] == pytest.approx(8.0, rel=0.005) and found.values["gap"] == pytest.approx(15.0, rel=0.01)
    assert found.scales[0] > 0
    beside = fit(sharp(weights=weights), smoothing=0.0)
    assert beside.reduced_chi_squared > 3 * found.reduced_chi_squared  # what the smoothing is for


def windowed(true: dict, start: dict, low: float, high: float):
    """Of a sharp mode only a part of the zone and of the energies, with a background that is free at each energy."""
    data = masks.within(measured(values={**true, "line": 0.5}), "energy", low, high)
    parameters = {name: Free(value, 0.0, 30.0) for name, value in start.items()}
    definition = chain(**parameters, line=Free(0.45, 0.2, 8.0))
    return problem([masks.within(data, "[H,0,0]", 0.3, 0.5)], definition, background=("per-energy", "q-squared"))


def test_a_background_at_each_energy_does_not_hide_a_mode_that_starts_beside_the_measured_one():
    found = fit(windowed({"J": 8.0, "gap": 3.0}, {"J": 9.04, "gap": 3.3}, 15.0, 35.0))
    assert found.values["J"] == pytest.approx(8.0, rel=0.01) and found.scales[0] > 0


def test_a_mode_that_starts_outside_the_measured_window_is_found():
    given = windowed({"J": 2.0, "gap": 20.0}, {"J": 1.8, "gap": 17.2}, 20.5, 30.0)
    assert given.evaluate(given.start).chi_squared > 0.99 * given.chi_squared_of_nothing
    found = fit(given)
    assert found.reduced_chi_squared < 1.2 and found.scales[0] > 0
    assert found.values["gap"] == pytest.approx(20.0, abs=4 * found.errors.scaled[1])


def test_a_search_that_smoothed_data_have_led_to_a_limit_begins_again(monkeypatch):
    def astray(problem, evaluations, start, smoothing):
        return {**start, "J": 20.0}

    monkeypatch.setattr(minimise_module, "_found_smoothed", astray)
    found = fit(sharp())
    assert found.values["J"] == pytest.approx(8.0, rel=0.005) and found.reduced_chi_squared < 1.2


def test_smoothed_measurement_model_and_background_still_agree():
    grid = measured()
    clean = engine(grid, None, None)({**TRUE, "second": False}, line=TRUE["line"], shape="dho")
    exact = grid.replace(signal=clean + 0.01 + 1e-4 * E.centers, variance=np.ones_like(clean))
    at = problem([exact], background=("slope", "q-squared"), weights="equal").smoothed(0.1)
    assert at.evaluate(TRUE).chi_squared < 1e-9 * at.evaluate({**TRUE, "J": 7.0}).chi_squared
    assert at.free == ("J", "gap")  # of the line a smoothed measurement cannot tell
    assert problem([exact]).smoothed(1e-4) is None  # narrower than a bin


def test_errors_of_smoothed_counts_are_those_of_many_draws():
    first, valid = measured(), np.ones((40, 80), bool)
    valid[10:14, 20:30] = False
    smoothing = Smoothing(first, valid, 0.05)
    rng = np.random.default_rng(3)
    draws = np.array([smoothing(rng.normal(size=valid.sum())) for _ in range(300)])
    ratio = draws.var(axis=0).mean() / smoothing.variance(np.ones(valid.sum())).mean()
    assert ratio == pytest.approx(1, abs=0.05)
    np.testing.assert_allclose(smoothing(np.full(valid.sum(), 3.0)), 3.0)


class Band:
    """A band sqrt(gap^2 + (4 J sin(pi h))^2) for the convolution."""

    def __init__(self, values):
        self.values = values

    def modes(self, q_rlu):
        h = np.asarray(q_rlu)[:, 0]
        energy = np.sqrt(self.values["gap"] ** 2 + (4 * self.values["J"] * np.sin(np.pi * h)) ** 2)[:, None]
        return energy, 10 / energy


def banded(values, **options) -> Problem:
    """What MAPS would record of a band with a wide pulse of the moderator, with hardly any noise."""
    maps = Resolution("MAPS", 100, "A", 200, lattice=Lattice(4.0, 4.0, 4.0), width_factor=1.5)
    across = [Axis(name, [-0.05, 0.05], "r.l.u.", "HKL") for name in ("[0,K,0]", "[0,0,L]")]
    along, energy = np.linspace(1.1, 1.5, 9), Axis("DeltaE", np.linspace(8, 80, 41), "meV")
    axes = (Axis("[H,0,0]", along, "r.l.u.", "HKL"), *across, energy)
    seen = convolve(Band(values), axes, maps, method="interpolated", points=8000, seed=5)
    error = 0.01 * np.nanmax(seen.signal)
    data = seen.replace(variance=np.where(seen.valid, error**2, np.nan), title="band")
    parameters = [Parameter("J", 11.6, 0.0, 30.0), Parameter("gap", 15.5, 0.0, 30.0)]
    return Problem([Dataset(data, maps)], definition_of_callable(Band, maps.lattice, parameters), **options)


def test_corrections_take_out_what_the_shapes_of_pulses_do_to_the_couplings(monkeypatch):
    monkeypatch.setattr("mantid_insgan.fit.measured.CORRECTION_POINTS", 8000)
    true = {"J": 12.5, "gap": 16.7}
    plain, corrected = fit(banded(true)), fit(banded(true), corrections=2)
    away = [max(abs(found.values[n] / true[n] - 1) for n in true) for found in (plain, corrected)]
    assert away[1] < 0.4 * away[0]
    assert corrected.reduced_chi_squared < 0.6 * plain.reduced_chi_squared
    assert corrected.search.evaluations > plain.search.evaluations
    with pytest.raises(InputError, match="-1 corrections. Fix: give 0 or more"):
        fit(banded(true), corrections=-1)


def test_starts_are_seeded_and_the_best_comes_first():
    whole = problem()
    one, two = (minimise(whole, starts=4, spread=0.3) for _ in range(2))
    assert [m.values for m in one.minima] == [m.values for m in two.minima]
    assert [m.chi_squared for m in one.minima] == sorted(m.chi_squared for m in one.minima)
    starts = {m.start["J"] for m in one.minima}
    assert len(starts) == 4 and all(abs(s / 7.0 - 1) <= 0.3 for s in starts)


def test_robust_loss_and_model_error():
    spoiled = measured(3)
    signal = spoiled.signal.copy()
    signal[20:24, 5:15] += 400
    spoiled = spoiled.replace(signal=signal)
    plain, robust = (fit(problem([spoiled], loss=loss)) for loss in ("linear", "huber"))
    assert abs(robust.values["J"] - 8) < abs(plain.values["J"] - 8) and abs(robust.values["J"] - 8) < 0.1
    forgiving = fit(problem(model_error=0.2))
    assert forgiving.errors.statistical[0] > fit(problem()).errors.statistical[0]
    assert forgiving.reduced_chi_squared < 1


def test_a_stopped_search_keeps_the_best():
    whole = problem()
    evaluate, calls = whole.evaluate, []

    def stops(values):
        calls.append(1)
        if len(calls) == 12:
            raise KeyboardInterrupt
        return evaluate(values)

    whole.evaluate = stops
    found = fit(whole, starts=3)
    assert found.stopped and found.chi_squared < evaluate(whole.start).chi_squared
    assert "stopped: these are the best values so far" in found.notes[0]


def test_a_killed_search_resumes_to_the_same_answer(tmp_path, monkeypatch):
    log = tmp_path / "fit.log"
    whole = minimise(problem(), starts=3)
    evaluate, calls = Problem.evaluate, []

    class Killed(BaseException):
        pass

    def dies(self, values):
        calls.append(1)
        if len(calls) == whole.minima[0].evaluations + whole.minima[1].evaluations:
            raise Killed
        return evaluate(self, values)

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(Problem, "evaluate", dies)
        minimise(problem(), starts=3, log=log)
    with open(log, "a") as stream:
        stream.write('{"values": {"J": 7.')  # what a kill in the middle of a line leaves
    entries = [json.loads(line) for line in log.read_text().splitlines()[:-1]]
    assert sum("done" in entry for entry in entries) >= 1
    again = minimise(problem(), starts=3, log=log, resume=True)
    assert [m.values for m in again.minima] == [m.values for m in whole.minima]
    assert again.evaluations < whole.evaluations
    with pytest.raises(InputError, match="already exists"):
        minimise(problem(), log=log)
    with pytest.raises(InputError, match="resume with the model, options and seed"):
        minimise(problem(definition=chain(J=Free(5.0, 0, 20))), starts=3, log=log, resume=True)


def test_a_result_is_saved_and_read(tmp_path):
    found = fit(problem(), starts=2)
    path = found.save(tmp_path / "fit.json")
    plain = read_fit(path)
    rows = {row["name"]: row for row in plain["parameters"]}
    assert rows["J"]["value"] == found.values["J"] and rows["J"]["scaled"] > 0
    assert plain["options"]["background"] == "constant" and len(plain["minima"]) == 2
    with pytest.raises(OutputError, match="already exists"):
        found.save(path)
    (tmp_path / "other.json").write_text("[1]")
    with pytest.raises(InputError, match="no result of a fit"):
        read_fit(tmp_path / "other.json")


def test_the_fit_and_its_residual_are_spectra():
    found = fit(problem())
    ((fitted, residual),) = found.spectra()
    data = measured()
    assert np.array_equal(residual.valid, data.valid) and np.isnan(fitted.signal[~data.valid]).all()
    assert (residual.signal[residual.valid] ** 2).sum() == pytest.approx(found.chi_squared, rel=1e-9)


def test_rivals_are_told_apart_by_blocks_drawn_anew():
    data = [measured(5, second=True)]
    right, wrong = (
        fit(problem(data, chain(name, second))) for name, second in (("two branches", True), ("one", False))
    )
    (verdict,) = compare([wrong, right])
    assert verdict.best == "two branches" and verdict.decided and verdict.share < 0.01
    assert verdict.aic == pytest.approx(verdict.difference)  # the same number of parameters
    same = replace_name(right, "twin")
    (tie,) = compare([right, same])
    assert not tie.decided and tie.difference == 0 and "do not decide" in tie.sentence()
    with pytest.raises(InputError, match="not all the same data"):
        compare([right, fit(problem([measured(6)]))])


def replace_name(found, name):
    twin = replace(found.problem.definition, name=name)
    return replace(found, problem=problem([measured(5, second=True)], twin))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"background": "cubic"}, "unknown background 'cubic'"),
        ({"resolution": "tobyfit"}, "unknown resolution 'tobyfit'"),
        ({"scale": "free"}, "scale is 'free'"),
        ({"weights": "chi"}, "weights is 'chi'"),
        ({"loss": "cauchy"}, "loss is 'cauchy'"),
        ({"model_error": 1.5}, "the model error is 1.5"),
        ({"definition": chain(J=Free(7, vary=False), gap=Free(3, vary=False), line=Free(2, vary=False))}, "is free"),
        ({"data": [measured().replace(valid=np.zeros((40, 80), bool))]}, "has no valid bin"),
        ({"data": [masks.within(measured(), "energy", 1, 1.3)], "background": "per-energy", "scale": "own"}, None),
    ],
)
def test_bad_input_is_one_error(options, message):
    if message is None:
        small = masks.within(masks.within(measured(), "[H,0,0]", 0, 0.11), "energy", 1, 1.6)
        with pytest.raises(InputError, match="expected more bins than numbers"):
            problem([small], background="per-energy")
        return
    with pytest.raises(InputError, match=message):
        problem(options.pop("data", None), options.pop("definition", None), **options)


def test_numbers_out_of_range_are_refused():
    with pytest.raises(InputError, match="0 starts"):
        minimise(problem(), starts=0)
    with pytest.raises(InputError, match="'spin' was asked for, which is not free"):
        fit(problem(), profile=("spin",))
    with pytest.raises(InputError, match="1 fits to compare"):
        compare([fit(problem())])


def test_uncertainty_names_what_the_data_do_not_determine():
    @dataclass(frozen=True)
    class Idle(Chain):
        parameters: dict = field(default_factory=lambda: {**chain().parameters, "idle": Free(1.0)})

    found = uncertainty(problem(definition=Idle()), {**TRUE, "idle": 1.0})
    assert found.undetermined == ("idle",) and np.isnan(found.statistical[3])
    assert np.isfinite(found.statistical[:3]).all()


def test_masks():
    data = measured()
    kept = masks.within(data, "energy", 5, 10).valid
    assert kept[:, (E.centers >= 5) & (E.centers <= 10)].sum() == kept.sum() > 0
    assert not masks.outside(data, "[H,0,0]", 0.2, 0.4).valid[(H.centers > 0.2) & (H.centers < 0.4)].any()
    triangle = masks.outside_polygon(data, ("[H,0,0]", "energy"), [(0, 1), (1, 1), (0, 41)]).valid
    h, e = np.meshgrid(H.centers, E.centers, indexing="ij")
    inside = (e - 1) / 40 + h < 1
    near = np.abs((e - 1) / 40 + h - 1) < 1e-9
    assert np.array_equal(triangle[~near], (data.valid & ~inside)[~near])
    thin = masks.eroded(data).valid
    assert not thin[9:15, 19:41].any() and thin[0, 0] and thin.sum() == data.valid.sum() - (6 * 22 - 4 * 20)
    line = masks.without_elastic_line(data, MAPS, 2.0).valid
    reach = 2 * float(MAPS.fwhm_energy(0.0))
    assert not line[:, E.centers < reach].any() and line[0, E.centers > reach].all()
    bragg = masks.without_bragg_peaks(data, Lattice(4, 4, 4), 0.2, energy=5.0).valid
    close = H.centers * 2 * np.pi / 4 < 0.2
    assert not bragg[close][:, E.centers <= 5].any() and bragg[close][:, E.centers > 5].all()
    with pytest.raises(InputError, match="three or more pairs"):
        masks.outside_polygon(data, ("[H,0,0]", "energy"), [(0, 1), (1, 1)])


def test_starts_go_to_other_processes():
    """The same minima as one after the other; each worker prepares the problem once."""
    options = {"resolution": engine, "weights": "poisson"}
    one = minimise(problem(**options), starts=3)
    two = minimise(problem(**options), starts=3, workers=2)
    for a, b in zip(one.minima, two.minima, strict=True):
        assert b.values == pytest.approx(a.values, rel=1e-6) and b.evaluations == a.evaluations
    assert two.evaluations == sum(m.evaluations for m in two.minima)


def test_what_preparing_says_is_a_note_of_the_result():
    def warns(spectrum, resolution, model):
        import warnings

        warnings.warn("the grid of modes is coarse", UserWarning, stacklevel=2)
        return engine(spectrum, resolution, model)

    found = fit(problem([measured(1), measured(2)], resolution=warns))
    assert found.notes[0] == "the grid of modes is coarse" and found.as_dict()["notes"][0] == found.notes[0]
    assert sum("coarse" in note for note in found.notes) == 1


def test_errors_do_not_vanish_where_the_fit_is_far_below_the_data():
    whole = problem()
    (group,) = whole.groups
    nothing = np.zeros_like(group.signal)
    error = group.error(whole._how, nothing, nothing - 50.0)
    assert (error >= 0.999 * np.sqrt(group.signal / 4)).all() and (error > 0.7).all()
    near = group.error(whole._how, nothing, np.maximum(group.signal, 1.0))
    np.testing.assert_allclose(near, np.sqrt(np.maximum(group.signal, 1.0)))


class PowderBand:
    """One mode of a powder, which counts the momenta at which it is asked."""

    lattice = Lattice(4.0, 4.0, 4.0)

    def __init__(self, top):
        self.top, self.asked = top, 0

    def modes(self, q_rlu):
        self.asked += len(q_rlu)
        energies = self.top * (0.6 + 0.4 * np.sin(np.pi * q_rlu).prod(axis=1, keepdims=True) ** 2)
        return energies, np.ones_like(energies)


@dataclass(frozen=True)
class PowderBands:
    """A definition that keeps the models that it built."""

    parameters: dict = field(default_factory=lambda: {"J": Free(20.0, 1.0, 40.0)})
    name: str = "band"
    built: list = field(default_factory=list)

    def build(self, values):
        self.built.append(PowderBand(values["J"]))
        return self.built[-1]


def test_powders_at_several_incident_energies_ask_each_model_once():
    axes = (Axis("|Q|", np.linspace(1.5, 2.5, 5), "Angstrom^-1"), Axis("DeltaE", np.linspace(4, 30, 27), "meV"))
    datasets = []
    for ei in (40.0, 60.0):
        resolution = Resolution("MAPS", ei, "S", 300)
        signal = convolve(PowderBand(19.0), axes, resolution, seed=1).signal
        seen = Spectrum(signal, np.full(signal.shape, 1e-4), axes, valid=np.isfinite(signal))
        datasets.append(Dataset(seen, resolution, f"Ei {ei:g}"))
    definition = PowderBands()
    together = Problem(datasets, definition)
    found = together.evaluate({"J": 19.5})
    table, other = (part.engine.prepared.source for group in together.groups for part in group.parts)
    assert other is table and definition.built[-1].asked == table.size
    alone = [Problem(data, PowderBands()).evaluate({"J": 19.5}) for data in datasets]
    # Each is off by what its tolerance allows.
    assert found.chi_squared == pytest.approx(sum(one.chi_squared for one in alone), rel=0.1)
    np.testing.assert_allclose(found.scales, [one.scales[0] for one in alone], rtol=0.02)
