"""Draws from the posterior of a fit, profiles by MINOS, the evidence for rivals, and the figure of pairs."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from test_fit import TRUE, Free, chain, measured, problem

from mantid_insgan.errors import DeviceError, InputError, OutputError
from mantid_insgan.fit.compare import compare
from mantid_insgan.fit.evidence import Evidence, check_limits, evidence_for, evidence_sentences
from mantid_insgan.fit.likelihood import Likelihood, misfit_divisor
from mantid_insgan.fit.posterior import Posterior, read_posterior
from mantid_insgan.fit.result import fit
from mantid_insgan.fit.sampling import bumps_problem, sample_posterior
from mantid_insgan.fit.uncertainty import minos_interval, profile_interval
from mantid_insgan.report.corner import beside, drawable, plot_corner
from mantid_insgan.report.fit import fit_text


def half(interval) -> float:
    return (interval[1] - interval[0]) / 2


def made(chains, asked=None, names=("J", "gap")) -> Posterior:
    """Draws that no sampler made."""
    count = chains.shape[0] * chains.shape[1]
    return Posterior(names, chains, np.zeros(chains.shape[:2]), 0.3, 1.0, asked or count, 0, np.full(3, 1 / 3))


@pytest.fixture(scope="module")
def fitted():
    return fit(problem(definition=chain(line=Free(2.0, vary=False))))


@pytest.fixture(scope="module")
def fits():
    """Of the true gap held, and of one that may be anything from 2 to 4."""
    held = {"J": Free(8.0, 7.5, 8.5), "line": Free(2.0, vary=False)}
    rival = chain("open", gap=Free(3.1, 2.0, 4.0), **held)
    return [fit(problem(definition=d)) for d in (chain("closed", gap=Free(3.0, vary=False), **held), rival)]


class TestDraws:
    @pytest.fixture(autouse=True)
    def bumps(self):
        pytest.importorskip("bumps", reason="bumps is not installed (extra posterior)")

    def test_their_intervals_are_those_of_the_covariance_where_it_holds(self):
        found = fit(problem())
        drawn = sample_posterior(found, 4000)
        assert drawn.converged and not drawn.stopped and not drawn.notes and 0.15 < drawn.acceptance < 0.6
        assert drawn.chains.shape[1:] == (15, 3) and len(drawn.draws) >= 4000
        for name, error in zip(found.errors.names, found.errors.scaled, strict=True):
            assert half(drawn.intervals()[name]) == pytest.approx(error, rel=0.15), name
            assert half(drawn.intervals("95")[name]) == pytest.approx(1.96 * error, rel=0.15), name
            assert drawn.medians[name] == pytest.approx(found.values[name], abs=0.3 * error), name
        correlation = np.corrcoef(drawn.draws.T)
        np.testing.assert_allclose(correlation, found.errors.correlation, atol=0.15)

    def test_the_likelihood_is_divided_by_the_misfit_as_the_column_error_is(self):
        spoiled = measured()
        spoiled = spoiled.replace(variance=spoiled.variance / 4)
        found = fit(problem([spoiled], chain(line=Free(2.0, vary=False)), weights="errors"))
        assert found.reduced_chi_squared > 3
        drawn = sample_posterior(found, 2500)
        assert drawn.divided_by == pytest.approx(found.reduced_chi_squared)
        for name, scaled in zip(found.errors.names, found.errors.scaled, strict=True):
            assert half(drawn.intervals()[name]) == pytest.approx(scaled, rel=0.15), name
        assert f"chi-squared divided by {drawn.divided_by:.4g}, its value per degree of freedom" in drawn.sentence()
        assert misfit_divisor(0.9) == 1.0

    def test_they_are_seeded_and_leave_the_generator_of_numpy_alone(self, fitted):
        np.random.seed(5)
        one = sample_posterior(fitted, 200)
        after = np.random.rand()
        np.random.seed(5)
        assert np.random.rand() == after
        np.testing.assert_array_equal(sample_posterior(fitted, 200).chains, one.chains)
        fitted.problem.seed = 7
        other = sample_posterior(fitted, 200)
        fitted.problem.seed = 0
        assert not np.array_equal(other.chains, one.chains)

    def test_an_interrupt_keeps_what_was_drawn_and_resume_ends_with_the_same_draws(self, fitted, tmp_path):
        path, whole = tmp_path / "posterior.npz", sample_posterior(fitted, 500)

        def interrupting(share):
            if share > 0.7:
                raise KeyboardInterrupt

        cut = sample_posterior(fitted, 500, path=path, progress=interrupting)
        assert cut.stopped and 0 < len(cut.draws) < 500
        assert cut.notes[0] == f"the sampling was stopped after {len(cut.draws)} of 500 draws; --resume goes on"
        np.testing.assert_array_equal(read_posterior(path).chains, cut.chains)
        with pytest.raises(OutputError, match="already exists"):
            sample_posterior(fitted, 500, path=path)
        shares = []
        again = sample_posterior(fitted, 500, path=path, resume=True, progress=shares.append)
        np.testing.assert_array_equal(again.chains, whole.chains)
        assert not again.stopped and again.acceptance == pytest.approx(whole.acceptance) and shares[-1] == 1.0
        assert len(sample_posterior(fitted, 700, path=path, resume=True).draws) >= 700  # more of the same
        assert read_posterior(path).asked == 700

    def test_an_interrupt_before_the_first_draw_leaves_no_file(self, fitted, tmp_path):
        def interrupting(share):
            raise KeyboardInterrupt

        cut = sample_posterior(fitted, 500, path=tmp_path / "posterior.npz", progress=interrupting)
        assert cut.stopped and not len(cut.draws) and not cut.converged and cut.intervals() == cut.medians == {}
        assert list(tmp_path.iterdir()) == []
        text = fit_text(replace(fitted, posterior=cut))
        assert "posterior 68 %" in text and "note: the sampling was stopped after 0 of 500 draws" in text

    def test_draws_of_another_problem_are_not_gone_on_with(self, fitted, tmp_path):
        path = tmp_path / "posterior.npz"
        sample_posterior(fitted, 100, path=path)
        other = fit(problem([measured(9)], chain(line=Free(2.0, vary=False))))
        with pytest.raises(InputError, match=r"are of another model, other data or other options \(J, gap\)"):
            sample_posterior(other, 200, path=path, resume=True)
        with pytest.raises(InputError, match="are of another model"):
            sample_posterior(fit(problem()), 200, path=path, resume=True)

    def test_models_that_are_not_stable_are_not_drawn(self):
        wide = fit(problem(definition=chain(J=Free(7.0, -20, 20), line=Free(2.0, vary=False))))
        likelihood = Likelihood(wide.problem, wide.values, 1.0)
        unstable = likelihood(np.array([-3.0, 3.0]))
        assert np.isfinite(unstable) and unstable < likelihood(likelihood.best) - 1000
        assert (sample_posterior(wide, 300).draws[:, 0] > 0).all()

    def test_a_parameter_that_the_data_do_not_determine_needs_limits(self, fitted):
        blind = replace(fitted, errors=replace(fitted.errors, undetermined=("gap",)))
        assert len(sample_posterior(blind, 100).draws) >= 100
        definition = chain(gap=Free(3.4, 0.0, np.inf), line=Free(2.0, vary=False))
        open_ended = fit(problem(definition=definition))
        open_ended = replace(open_ended, errors=replace(open_ended.errors, undetermined=("gap",)))
        with pytest.raises(InputError, match="do not determine gap, which has no limits.*Fix: give it min and max"):
            sample_posterior(open_ended, 100)
        with pytest.raises(InputError, match="99 draws from the posterior. Fix: give 100 or more"):
            sample_posterior(fitted, 99)

    def test_draws_stay_within_the_limits_and_ties_hold(self):
        tight = fit(problem(definition=chain(J=Free(6.5, 6.0, 7.99), gap=Free(0.0, expression="0.375*J"))))
        drawn = sample_posterior(tight, 300)
        assert drawn.names == ("J", "line") and drawn.draws[:, 0].max() <= 7.99
        likelihood = Likelihood(tight.problem, tight.values, drawn.divided_by)
        assert likelihood(drawn.draws[-1]) == pytest.approx(drawn.log_likelihood[-1, -1])
        assert likelihood([8.5, 2.0]) == -np.inf

    def test_bumps_has_half_of_chi_squared(self, fitted):
        given = bumps_problem(Likelihood(fitted.problem, fitted.values, 2.0))
        assert given.labels() == ["J", "gap"]
        np.testing.assert_allclose(given.bounds(), [[0, 0], [20, 10]])
        there = fitted.problem.evaluate({**fitted.values, "J": 7.9}).chi_squared
        assert given.nllf([7.9, fitted.values["gap"]]) == pytest.approx(there / 4)

    def test_a_mistake_in_a_model_is_not_taken_for_an_impossible_point(self, fitted, monkeypatch):
        def wrong(values):
            raise ZeroDivisionError("of the model")

        monkeypatch.setattr(fitted.problem, "evaluate", wrong)
        with pytest.raises(ZeroDivisionError, match="of the model"):
            sample_posterior(fitted, 100)

    def test_chains_that_do_not_agree_have_not_converged(self, fitted):
        rng = np.random.default_rng(0)
        apart = made(rng.normal(size=(50, 10, 2)) + np.repeat([0, 5], 5)[:, None] * [1, 0])
        assert apart.r_hat["J"] > 2 and apart.r_hat["gap"] < 1.05 and not apart.converged
        assert "the chains of the posterior have not converged: R-hat of J is" in apart.notes[0]
        assert apart.notes[0] in replace(fitted, posterior=apart).notes
        drifting = made(rng.normal(size=(50, 10, 2)) + np.linspace(0, 5, 50)[:, None, None])
        stuck, few = made(np.ones((50, 10, 2))), made(rng.normal(size=(3, 10, 2)))
        assert not any(d.converged for d in (drifting, stuck, few)) and made(rng.normal(size=(50, 10, 2))).converged
        assert stuck.as_dict()["r_hat"] == {"J": None, "gap": None}

    def test_they_are_in_the_table_and_in_the_file(self, fitted, tmp_path):
        found = replace(fitted, posterior=sample_posterior(fitted, 200))
        low, high = found.posterior.intervals()["J"]
        text = fit_text(found)
        assert "posterior 68 %" in text and f"{low:.5g} to {high:.5g}" in text
        assert "posterior: 200 draws of 10 chains" in text and "posterior 68 %" not in fit_text(fitted)
        plain = json.loads(found.save(tmp_path / "fit.json").read_text())
        rows = {row["name"]: row for row in plain["parameters"]}
        assert rows["J"]["posterior"] == [low, high] and rows["line"]["posterior"] is None
        assert plain["posterior"]["intervals"]["68"]["J"] == [low, high] and plain["posterior"]["draws"] == 200
        assert json.loads(fitted.save(tmp_path / "bare.json").read_text())["posterior"] is None


@pytest.mark.parametrize("damage", ["text", "pickled", "missing", "shape", "format"])
def test_a_file_without_draws_is_one_error(tmp_path, damage):
    path, good = tmp_path / "posterior.npz", made(np.zeros((20, 10, 2)))
    good.save(path)
    with np.load(path) as found:
        parts = dict(found)
    if damage == "text":
        path.write_text("no archive")
    elif damage == "missing":
        np.savez(path, **{k: v for k, v in parts.items() if k != "chains"})
    else:
        change = {
            "pickled": {"chains": np.array([{}], dtype=object)},
            "shape": {"chains": np.zeros((20, 10, 3))},
            "format": {"format": 9},
        }
        np.savez(path, **{**parts, **change[damage]})
    with pytest.raises(InputError, match=r"holds no draws of a posterior .*Fix: give a file that `insgan fit"):
        read_posterior(path)


@pytest.mark.parametrize(
    ("library", "purpose", "work"),
    [
        ("bumps", "the posterior", lambda found: sample_posterior(found, 100)),
        ("iminuit", "a profile by MINOS", lambda found: fit(found.problem, profile=("J",), profile_by="minos")),
        ("dynesty", "the evidence", lambda found: check_limits([found.problem.definition])),
    ],
)
def test_a_library_that_is_not_installed_is_named_before_the_work(fitted, monkeypatch, library, purpose, work):
    monkeypatch.setitem(sys.modules, library, None)

    def evaluated(values):
        raise AssertionError("the work has begun")

    monkeypatch.setattr(fitted.problem, "evaluate", evaluated)
    message = f"{purpose} needs {library}, which is not installed. Fix: pip install 'mantid-insgan\\[posterior\\]'"
    with pytest.raises(DeviceError, match=message):
        work(fitted)


class TestMinos:
    @pytest.fixture(autouse=True)
    def iminuit(self):
        pytest.importorskip("iminuit", reason="iminuit is not installed (extra posterior)")

    @pytest.mark.parametrize(("weights", "gap", "counts"), [("errors", 2.0, 8.0), ("poisson", 1.0, 5.0)])
    def test_it_agrees_with_the_profile_where_chi_squared_is_no_parabola(self, weights, gap, counts):
        few = problem([measured(5, values={**TRUE, "gap": gap}, counts=counts, background=0.5)], weights=weights)
        found = fit(few, tolerance=0.001)
        value, error = found.values["gap"], found.errors.scaled[1]
        low, high = minos_interval(few, found.values, "gap")
        assert (value - low) > 1.1 * (high - value)  # lopsided
        assert (low, high) == pytest.approx(profile_interval(few, found.values, "gap"), abs=0.06 * error)

    def test_it_ends_at_a_limit(self):
        few = problem([measured(5, values={**TRUE, "gap": 1.2}, counts=10.0, background=0.5)])
        found = fit(few, profile=("gap",), profile_by="minos")
        low, high = found.intervals["gap"]
        assert low == 0.0 and high == pytest.approx(profile_interval(few, found.values, "gap")[1], rel=0.02)

    def test_both_find_the_end_where_the_curvature_says_nothing(self):
        """At a gap of 0 chi-squared does not change with the gap to first order."""
        flat = problem([measured(5, values={**TRUE, "gap": 1.2}, counts=30.0, background=0.5)], weights="errors")
        found = fit(flat, tolerance=0.001)
        assert found.values["gap"] < 0.01 and found.errors.scaled[1] > 100
        ends = [way(flat, found.values, "gap")[1] for way in (minos_interval, profile_interval)]
        assert ends[1] == pytest.approx(ends[0], rel=0.06) and 0.3 < ends[0] < 1

    def test_an_end_that_it_did_not_find_is_said(self, fitted):
        lost = replace(fitted, intervals={"J": (np.nan, 9.0)})
        assert "MINOS did not find both ends of the interval of J; --profile-by refit may" in lost.notes
        assert lost.as_dict()["parameters"][0]["interval"] == [None, 9.0]

    def test_another_way_is_refused(self, fitted):
        with pytest.raises(InputError, match="the profile is asked for by 'simplex'. Fix: use one of refit, minos"):
            fit(fitted.problem, profile=("J",), profile_by="simplex")


class TestEvidence:
    @pytest.fixture(autouse=True)
    def dynesty(self):
        pytest.importorskip("dynesty", reason="dynesty is not installed (extra posterior)")

    def test_it_is_the_integral_over_the_prior(self, fits):
        """Of a Gaussian: exp(-chi-squared / 2) sqrt((2 pi)^P det C) / volume of the prior."""
        found = evidence_for(fits, live=50, seed=3)
        for one, fitted, volume in zip(found, fits, (1.0, 2.0), strict=True):
            covariance = fitted.errors.correlation * np.outer(*[fitted.errors.statistical] * 2)
            size = 0.5 * np.linalg.slogdet(2 * np.pi * covariance)[1]
            expected = -0.5 * fitted.chi_squared / one.divided_by + size - np.log(volume)
            assert one.logarithm == pytest.approx(expected, abs=4 * one.error) and 0 < one.error < 0.6
        assert found[0].divided_by == found[1].divided_by == 1.0 and found[0].evaluations > 100
        assert evidence_for(fits[:1] * 2, live=30, seed=3) == evidence_for(fits[:1] * 2, live=30, seed=3)

    def test_all_rivals_have_the_misfit_of_the_best(self):
        spoiled = measured(second=True)
        one = {"gap": Free(3.0, vary=False), "line": Free(2.0, vary=False), "J": Free(8.0, 7.0, 9.0)}
        fits = [fit(problem([spoiled], chain(n, second=s, **one))) for n, s in (("one", False), ("two", True))]
        fits = [replace(f, chi_squared=3 * f.chi_squared) for f in fits]
        found = evidence_for(fits, live=20)
        assert {e.divided_by for e in found} == {min(f.reduced_chi_squared for f in fits)}
        assert found[0].divided_by > 2 and found[1].logarithm > found[0].logarithm
        said = evidence_sentences(found, fits)
        assert said[0].startswith("evidence: strongly for two and against one; its logarithm differs by")
        assert "uniform" in said[1] and "as for the column error" in said[1]
        assert "the evidence alone decides nothing; go by the verdict of the blocks" in said[2]

    def test_what_it_says_keeps_to_the_error(self, fits):
        found = [Evidence("closed", -10.0, 0.2, 100, 1.0), Evidence("open", -12.0, 0.2, 100, 1.0)]
        said = evidence_sentences(found, fits)
        assert said[0] == "evidence: not decided between closed and open; its logarithm differs by 2 +- 0.28"
        assert said[1].startswith("  on condition that the limits of the parameters are the prior") and len(said) == 2
        found[1] = replace(found[1], logarithm=-14.0)
        assert evidence_sentences(found, fits)[0].startswith("evidence: for closed and against open;")

    def test_a_parameter_without_limits_is_refused(self, fits):
        definition = chain("open", gap=Free(3.0, 0.0))
        message = r"free parameter gap of the model 'open' has the limits 0 to inf, and the evidence needs finite ones"
        with pytest.raises(InputError, match=message):
            check_limits([chain(), definition])
        with pytest.raises(InputError, match=message):
            evidence_for([fits[0], fit(problem(definition=definition))])
        with pytest.raises(InputError, match="1 fits to compare"):
            evidence_for(fits[:1])
        assert compare(fits)[0].aic is not None

    def test_it_is_ended_by_what_it_reports_to(self, fits):
        told = []

        def tell(name, count, logarithm, left):
            told.append((name, count, left))
            if len(told) == 5:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            evidence_for(fits, live=20, progress=tell)
        assert told[0][0] == "closed" and told[-1][1] > told[0][1] and told[-1][2] < told[0][2]


class TestPairs:
    @pytest.fixture(autouse=True)
    def matplotlib(self):
        pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra report)")

    @pytest.fixture
    def figures(self, monkeypatch):
        """The figures that are saved."""
        found = []
        monkeypatch.setattr("mantid_insgan.report.corner.save_figure", lambda figure, path: found.append(figure))
        return found

    def test_it_is_written_with_and_without_draws(self, fitted, tmp_path):
        out = beside(tmp_path / "residual.png")
        assert out.name == "residual-corner.png"
        plot_corner(fitted, out)
        assert out.stat().st_size > 15_000
        with pytest.raises(OutputError, match="already exists"):
            plot_corner(fitted, out)
        with pytest.raises(OutputError, match="has the suffix '.doc'"):
            plot_corner(fitted, tmp_path / "a.doc")

    def test_without_draws_ellipses_are_those_of_the_covariance(self, fitted, tmp_path, figures):
        log = tmp_path / "fit.log"
        near, far = {**fitted.values}, {**fitted.values, "J": 5.0}
        lines = [
            {"values": near, "chi_squared": fitted.chi_squared + 1, "stable": True},
            {"values": near, "chi_squared": fitted.chi_squared + 1, "stable": True, "smoothed": 0.1},
            {"values": near, "chi_squared": fitted.chi_squared + 1, "stable": False},
            {"values": far, "chi_squared": fitted.chi_squared + 1000, "stable": True},
            {"done": 0, "minimum": {}},
        ]
        log.write_text("\n".join(map(json.dumps, lines)) + '\n{"values": {"J"')
        plot_corner(replace(fitted, intervals={"J": (7.9, 8.2)}), "pairs.png", log=log)
        one, hidden, pair, other = figures[0].axes
        assert not hidden.axison and pair.get_xlabel() == "J" and pair.get_ylabel() == "gap"
        points, inner, outer, best = pair.lines
        assert points.get_xdata().tolist() == [fitted.values["J"]] and best.get_ydata() == [fitted.values["gap"]]
        scaled = fitted.errors.scaled
        for line, growth in ((inner, 2.279), (outer, 5.991)):
            assert half((min(line.get_xdata()), max(line.get_xdata()))) == pytest.approx(
                np.sqrt(growth) * scaled[0], rel=1e-3
            )
        shaded = [(a.patches[0].get_x(), a.patches[0].get_x() + a.patches[0].get_width()) for a in (one, other)]
        assert shaded[0] == pytest.approx((7.9, 8.2))
        gap = fitted.values["gap"]
        assert shaded[1] == pytest.approx((gap - scaled[1], gap + scaled[1]))

    def test_lines_hold_their_share_of_the_draws(self, fitted, figures):
        rng, best = np.random.default_rng(1), [fitted.values[n] for n in ("J", "gap")]
        draws = best + rng.normal(size=(100, 20, 2)) @ [[1.0, 0.9], [0.0, 0.2]]
        plot_corner(replace(fitted, posterior=made(draws)), "pairs.png")
        pair = figures[0].axes[2]
        outlines = pair.collections[-1].get_paths()
        inside = [path.contains_points(draws.reshape(-1, 2)).mean() for path in outlines if len(path)]
        assert inside == pytest.approx([0.95, 0.68], abs=0.03)
        along = made(np.repeat(draws[..., :1], 2, axis=2))  # no density in the plane
        plot_corner(replace(fitted, posterior=along), "pairs.png")
        assert len(figures[1].axes[2].collections) == 0

    def test_no_more_than_eight_parameters_are_drawn(self, fitted, figures):
        names = tuple("abcdefghij")
        rng, ones = np.random.default_rng(2), np.ones(10)
        errors = replace(fitted.errors, names=names, statistical=ones, scaled=ones, misfit=ones, correlation=np.eye(10))
        many = replace(fitted, values=dict.fromkeys(names, 0.0), errors=errors)
        plot_corner(replace(many, posterior=made(rng.normal(size=(30, 10, 10)), names=names)), "pairs.png")
        assert len(figures[0].axes) == 64 and "Not drawn: i, j." in figures[0].get_supxlabel()
        assert drawable(replace(many, errors=replace(errors, undetermined=("b",)))) == list("acdefghi")
