"""A classifier between rival models: training, calibration, 'unknown', the file and its card, and the commands."""

import builtins
import json
import logging

import numpy as np
import pytest

from mantid_insgan.convolve.experiment import ExperimentSettings, make_experiment
from mantid_insgan.convolve.prepared import prepare
from mantid_insgan.core.model_options import ClassifierOptions
from mantid_insgan.core.run import Lattice, Run
from mantid_insgan.core.spectrum import Axis, Spectrum
from mantid_insgan.errors import DeviceError, InputError, InsganError, ModelError, OutputError
from mantid_insgan.instruments import Resolution
from mantid_insgan.io import read_nexus, write_nexus
from mantid_insgan.models.base import UnstableModelError
from mantid_insgan.models.definition import definition_of_callable
from mantid_insgan.models.parameters import Parameter
from mantid_insgan.translate.classifier_card import read_classifier
from mantid_insgan.translate.classifier_run import network_input
from mantid_insgan.translate.classify import classify

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from mantid_insgan.learn import classifier as learning  # noqa: E402
from mantid_insgan.learn import classifier_job as job  # noqa: E402
from mantid_insgan.learn import export as exporting  # noqa: E402
from mantid_insgan.learn.rivals import Examples, Laboratory, examples, ranges_of  # noqa: E402

LATTICE = Lattice(4.0, 4.0, 12.0, ub=np.diag([1 / 4, 1 / 4, 1 / 12]))
RUN = {"instrument": "MAPS", "ei": 60.0, "chopper": "S", "frequency": 300.0}
OPTIONS = ClassifierOptions(draws=60, epochs=15, seed=3)


class Band:
    """One mode that rises from 8 meV, with a period along h."""

    lattice = LATTICE

    def __init__(self, top: float, period: float):
        if top < 20:
            raise UnstableModelError(f"the band ends at {top:g} meV", "raise it")
        self.top, self.period = top, period

    def modes(self, q_rlu):
        h = np.asarray(q_rlu)[:, 0]
        energy = 8 + (self.top - 8) * np.sin(np.pi * h / self.period) ** 2
        return energy[:, None], np.ones((len(h), 1))


def rival(name: str, period: float, *more: Parameter, low: float = 20.0):
    parameters = (Parameter("top", 28.0, low, 36.0), Parameter("line", 1.5, vary=False), *more)
    return definition_of_callable(lambda values: Band(values["top"], period), LATTICE, parameters, name=name)


RIVALS = (rival("wide", 1.0), rival("narrow", 0.5, low=18.0))


def grid(bins: int = 20) -> Spectrum:
    h = Axis("[H,0,0]", np.linspace(0.9, 1.9, bins + 1), "r.l.u.", "HKL")
    k, el = (Axis(n, (-0.05, 0.05), "r.l.u.", "HKL") for n in ("[0,K,0]", "[0,0,L]"))
    axes = (h, k, el, Axis("DeltaE", np.linspace(5, 41, 25), "DeltaE"))
    ones = np.ones(tuple(map(len, axes)))
    run = Run().updated("test", **RUN, lattice=LATTICE)
    return Spectrum(ones, ones, axes, run=run, coordinate_system=3)


LIKE = grid()


@pytest.fixture(scope="module")
def prepared():
    return prepare(LIKE, Resolution(**RUN, lattice=LATTICE))


@pytest.fixture(scope="module")
def measured(prepared):
    """``measured(model, seed)``: an experiment made by another way than those of the training."""

    def make(model, seed: int = 0) -> Spectrum:
        convolved = prepared.convolve(model, fwhm=1.5)
        settings = ExperimentSettings(counts=60.0, flat=0.05, gaps=((14.0, 15.0),))
        return make_experiment(convolved, prepared.bins.resolution, settings, seed=seed)

    return make


@pytest.fixture(scope="module")
def noise(prepared):
    """``noise(mean)``: counts with this mean in the bins that a neutron can reach."""
    reachable = prepared.bins.from_columns(prepared.bins.reachable)

    def make(mean, seed: int = 0) -> Spectrum:
        counts = np.random.default_rng(seed).poisson(np.broadcast_to(mean, LIKE.shape)).astype(float)
        return LIKE.replace(signal=np.where(reachable, counts, np.nan), variance=np.maximum(counts, 1.0))

    return make


@pytest.fixture(scope="module")
def kept():
    """The ensemble that `trained` exported, and the spectra it was compared on."""
    return {}


@pytest.fixture(scope="module")
def trained(tmp_path_factory, kept):
    """A classifier on disk; the only one of this file that is exported."""
    real = job.export_classifier

    def export(ensemble, path, compared):
        kept.update(ensemble=ensemble, compared=compared)
        real(ensemble, path, compared)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "export_classifier", export)
        output = tmp_path_factory.mktemp("classifier") / "bands.onnx"
        return job.train_between(RIVALS, LIKE, output, OPTIONS, command="test")


@pytest.mark.parametrize(("period", "name"), [(1.0, "wide"), (0.5, "narrow")])
@pytest.mark.parametrize("top", [23.0, 27.0, 33.0])
def test_either_rival_is_recognised(trained, measured, period, name, top):
    found = classify(measured(Band(top, period), seed=int(top)), trained)
    assert found.answer == name and not found.unknown and found.reasons == ()
    assert found.probabilities[name] > 0.9
    assert sum(found.probabilities.values()) == pytest.approx(1.0, abs=1e-12)
    assert max(found.distance, found.disagreement, found.other) <= 1


def test_what_is_of_no_rival_is_unknown(trained, noise):
    board = 100.0 * (np.indices(LIKE.shape).sum(0) % 2)
    stripes = 100.0 * (np.indices(LIKE.shape)[0] % 2)
    for mean in (5.0, 50.0, 1000.0, board, stripes):
        found = classify(noise(mean), trained)
        assert found.unknown and found.answer == "unknown" and found.reasons
        assert max(found.distance, found.disagreement, found.other) > 1
        assert sum(found.probabilities.values()) == pytest.approx(1.0, abs=1e-12)


def test_the_scale_does_not_matter(trained, measured):
    spectrum = measured(Band(26.0, 1.0))
    large = spectrum.replace(signal=1e4 * spectrum.signal, variance=1e8 * spectrum.variance)
    one, other = classify(spectrum, trained), classify(large, trained)
    assert one.probabilities == pytest.approx(other.probabilities, abs=1e-5)


def test_the_card(trained):
    card = read_classifier(trained.path).card
    assert card == trained.card
    assert card.names == ["wide", "narrow"] and card.members == 3 and card.run == RUN
    wide, narrow = card.rivals
    assert wide.ranges == {"top": (20.0, 36.0)} and wide.unstable == 0
    assert 0 < narrow.unstable < 30  # an eighth of its range is unstable
    assert [str(a) for a in card.axes][0] == "[H,0,0] 0.9 to 1.9 in 20 bins"
    tables = {t.title: t for t in card.metrics}
    rows = tables["scores"].rows
    accuracy, gap, brier = rows["this classifier"]
    assert accuracy > 0.9 and gap < 0.1 and brier < 0.2
    assert "72 simulated experiments" in tables["scores"].conditions  # 9 of 60 draws of 2 rivals, 4 times each
    assert set(rows) == {"this classifier", "nearest mean spectrum"}
    flagged, of_no_model, known = tables["unknown"].rows["this classifier"]
    assert flagged < 0.25 and known >= accuracy - 0.02 and of_no_model > 0.6
    assert json.loads(trained.path.with_suffix(".json").read_text())["kind"] == "classifier"


def test_the_file_answers_as_torch(trained, kept):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(trained.path), providers=["CPUExecutionProvider"])
    compared = kept["compared"]
    expected = learning.answers(kept["ensemble"], compared)
    for n in range(len(compared.label)):
        given = {"signal": compared.signal[n : n + 1], "valid": compared.valid[n : n + 1]}
        for name, found in zip(learning.OUTPUTS, session.run(list(learning.OUTPUTS), given), strict=True):
            np.testing.assert_allclose(found[0], expected[name][n], atol=1e-4, rtol=1e-3)


def test_a_file_that_answers_differently_is_refused(trained, kept):
    other = learning.Ensemble((20, 24), 2).eval()
    with pytest.raises(ModelError, match="exported classifier's .* differs from torch's"):
        inputs = {"signal": kept["compared"].signal, "valid": kept["compared"].valid}
        exporting.check_graph(other, trained.path, inputs, learning.OUTPUTS, 1e-4)


def test_torch_is_not_needed_to_classify(trained, measured, monkeypatch):
    real = builtins.__import__

    def without_torch(name, *more, **given):
        if name.partition(".")[0] == "torch":
            raise AssertionError("torch was imported")
        return real(name, *more, **given)

    spectrum = measured(Band(26.0, 1.0))
    monkeypatch.setattr(builtins, "__import__", without_torch)
    assert classify(spectrum, trained.path).answer == "wide"


def test_another_grid_is_refused(trained):
    wanted = r"the data have the axes \[H,0,0\] 0.9 to 1.9 in 16 bins; .* trained for \[H,0,0\] 0.9 to 1.9 in 20 bins"
    with pytest.raises(ModelError, match=wanted + r".*Fix: bin the data on the grid of the classifier"):
        classify(grid(16), trained)
    h, *rest = LIKE.axes
    nearly = LIKE.replace(axes=(Axis(h.name, h.edges + 1e-5, h.unit, h.frame), *rest))
    assert classify(nearly, trained).probabilities
    moved = LIKE.replace(axes=(Axis(h.name, h.edges + 0.03, h.unit, h.frame), *rest))
    with pytest.raises(ModelError, match=r"0.93 to 1.93"):
        classify(moved, trained)
    with pytest.raises(ModelError, match="the data have the axes"):
        classify(LIKE.squeeze(), trained)
    with pytest.raises(InputError, match="none of the 480 bins is valid"):
        classify(LIKE.replace(valid=np.zeros(LIKE.shape, bool)), trained)


def test_another_run_is_noted(trained, measured):
    spectrum = measured(Band(26.0, 1.0))
    assert classify(spectrum, trained).notes == ()
    other = spectrum.replace(run=spectrum.run.updated("test", ei=80.0, chopper="A"))
    assert classify(other, trained).notes == (
        "ei of the data is 80.0, but the classifier was trained for 60.0",
        "chopper of the data is A, but the classifier was trained for S",
    )


def test_a_damaged_file_or_card_is_refused(trained, tmp_path):
    copy, card = tmp_path / "bands.onnx", tmp_path / "bands.json"
    with pytest.raises(ModelError, match="there is no classifier .*Fix: give the .onnx file"):
        read_classifier(copy)
    copy.write_bytes(trained.path.read_bytes())
    with pytest.raises(ModelError, match="has no card"):
        read_classifier(copy)
    text = trained.path.with_suffix(".json").read_text()
    card.write_text(text)
    assert read_classifier(copy).card.sha256 == trained.card.sha256
    copy.write_bytes(trained.path.read_bytes() + b" ")
    with pytest.raises(ModelError, match="the file is damaged or is not the model of that card"):
        read_classifier(copy)
    copy.write_bytes(trained.path.read_bytes())
    card.write_text(json.dumps(json.loads(text) | {"kind": "translator"}))
    with pytest.raises(ModelError, match="the card .* is not valid: kind"):
        read_classifier(copy)
    fewer = json.loads(text)
    fewer["rivals"].append(fewer["rivals"][0] | {"name": "third"})
    card.write_text(json.dumps(fewer))
    with pytest.raises(ModelError, match="with 3 probabilities.*written together"):
        classify(LIKE, copy)


def test_the_same_seed_draws_and_trains_the_same(prepared):
    def once(seed):
        laboratory = Laboratory(LIKE, Resolution(**RUN, lattice=LATTICE))
        parts = [laboratory.simulate(d, 8, [seed, n]).signals for n, d in enumerate(RIVALS)]
        ensemble = learning.train_ensemble(
            laboratory.shape, 2, lambda epoch: examples(laboratory, parts, [seed, epoch], others=6), 2, seed
        )
        data = examples(laboratory, parts, [seed, 99], 2)
        return learning.answers(ensemble, data)["probability"]

    state = torch.get_rng_state()
    first, again, other = once(1), once(1), once(2)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3
    assert torch.equal(state, torch.get_rng_state())  # the user's random numbers are left alone


def test_experiments_are_normalised_and_labelled():
    laboratory = Laboratory(LIKE, Resolution(**RUN, lattice=LATTICE))
    signals = [laboratory.simulate(d, 5, [0, n]).signals for n, d in enumerate(RIVALS)]
    data = examples(laboratory, signals, [1], 3, others=7)
    assert data.signal.shape == data.valid.shape == (37, 1, 20, 24) and data.signal.dtype == np.float32
    assert np.bincount(data.label).tolist() == [15, 15, 7]
    assert ((data.counts >= 20) & (data.counts <= 20000)).all()
    inside = data.valid == 1
    assert ((data.valid == 0) | inside).all() and (data.signal[~inside] == 0).all()
    for signal, valid in zip(data.signal, inside, strict=True):
        assert np.sqrt(np.mean(signal[valid] ** 2)) == pytest.approx(1.0, abs=1e-3)
    signal, valid = network_input(np.array([3.0, np.nan, 4.0]), np.array([True, False, True]))
    np.testing.assert_allclose(signal, np.array([3, 0, 4]) / np.sqrt(12.5), rtol=1e-6)
    assert valid.tolist() == [1, 0, 1]


@pytest.mark.parametrize("shape", [(24,), (9, 12), (5, 6, 7)])
def test_cuts_slices_and_volumes(shape):
    ensemble = learning.Ensemble(shape, 3).eval()
    signal = torch.rand(2, 1, *shape)
    with torch.no_grad():
        probability, *measures = ensemble(signal, torch.ones_like(signal))
    assert probability.shape == (2, 3) and [m.shape for m in measures] == 3 * [(2,)]
    np.testing.assert_allclose(probability.sum(1), 1.0, atol=1e-6)


def test_ranges_of_parameters():
    more = (Parameter("a", 2.0), Parameter("b", -2.0, high=0.0), Parameter("c", 5.0, vary=False))
    assert ranges_of(rival("x", 1.0, *more)) == {"top": (20.0, 36.0), "a": (1.4, 2.6), "b": (-2.6, 0.0)}
    with pytest.raises(InputError, match=r"the parameter z of the model 'x' starts at 0 and has no limits.*min and a"):
        ranges_of(rival("x", 1.0, Parameter("z", 0.0)))


def test_scores_and_temperature():
    rng = np.random.default_rng(0)
    truth = rng.random((20000, 1)) * [[1.0]]
    probability = np.concatenate([truth, 1 - truth], axis=1)
    label = (rng.random(20000) > truth[:, 0]).astype(int)
    accuracy, gap, brier = learning.scores(probability, label)
    assert accuracy == pytest.approx(0.75, abs=0.01) and gap < 0.02 and brier == pytest.approx(1 / 3, abs=0.01)
    sure = np.stack([truth[:, 0] > 0.5, truth[:, 0] <= 0.5], axis=1).astype(float)
    assert learning.scores(sure, label)[1] == pytest.approx(0.25, abs=0.01)
    logits = 4.0 * np.log(probability)[:, None]  # four times too sure
    assert learning.best_temperature(logits, label) == pytest.approx(4.0, rel=0.05)


def test_thresholds_flag_a_share_together():
    rng = np.random.default_rng(1)
    found = dict(zip(learning.MEASURES, rng.exponential(size=(3, 4000)), strict=True))
    flagged = learning.unknown(found, learning.thresholds(found))
    assert flagged.mean() == pytest.approx(0.05, abs=0.002)


def test_the_baseline_is_the_nearest_mean():
    def data(level):
        signal = np.stack([level, -level])[:, None]
        return Examples(signal.astype(np.float32), np.ones_like(signal, np.float32), np.array([0, 1]), np.ones(2))

    ramp = np.linspace(0, 1, 8)
    found = learning.nearest_mean(data(ramp), data(ramp + 0.1), data(ramp - 0.1))
    assert found.argmax(1).tolist() == [0, 1]
    np.testing.assert_allclose(found.sum(1), 1.0)


@pytest.mark.parametrize(
    ("rivals", "options", "message"),
    [
        (RIVALS[:1], OPTIONS, "the rivals are wide.*Fix: give two or more models with different names"),
        ((RIVALS[0], RIVALS[0]), OPTIONS, "the rivals are wide, wide"),
        (RIVALS, OPTIONS.updated(draws=5), "5 draws of each rival and 15 epochs.*20 draws or more"),
        (RIVALS, OPTIONS.updated(lattice="5,5,12,90,90,90"), "the unit cell of the model 'wide'"),
    ],
)
def test_what_cannot_be_trained(rivals, options, message, tmp_path):
    with pytest.raises(InsganError, match=message):
        job.train_between(rivals, LIKE, tmp_path / "x.onnx", options)
    assert not list(tmp_path.iterdir())


def test_a_model_that_is_hardly_ever_stable_is_refused(tmp_path):
    def never(values):
        raise UnstableModelError("soft", "stiffen it")

    soft = definition_of_callable(never, LATTICE, [Parameter("J", 1.0)], name="soft")
    with pytest.raises(InputError, match="of 200 draws of the parameters of 'soft' 200 are unstable and 0 have no"):
        job.train_between((soft, RIVALS[0]), LIKE, tmp_path / "x.onnx", OPTIONS.updated(draws=20))


def test_draws_without_intensity_are_counted():
    class High(Band):
        def modes(self, q_rlu):
            energy, intensity = super().modes(q_rlu)
            return energy + (200 if self.top > 30 else 0), intensity

    high = definition_of_callable(lambda v: High(v["top"], 1.0), LATTICE, [Parameter("top", 28.0, 18.0, 36.0)])
    made = Laboratory(LIKE, Resolution(**RUN, lattice=LATTICE)).simulate(high, 20, [0])
    assert made.signals.shape == (20, 20, 24) and made.rival.draws == 20
    assert 1 <= made.rival.unseen < 30 and 0 < made.rival.unstable < 20


def test_a_line_width_that_only_one_rival_has_is_noted():
    bare = definition_of_callable(lambda v: Band(25.0, 1.0), LATTICE, [], name="bare")
    assert job._notes(RIVALS, []) == []
    assert job._notes((*RIVALS, bare), [])[0].startswith("only wide, narrow has an intrinsic line width")


def test_facts_that_options_replace_are_noted_on_the_card():
    laboratory = job._laboratory(RIVALS, LIKE, ClassifierOptions(ei=62.0))
    assert job._notes(RIVALS, [laboratory]) == ["option --ei 62 replaces 60 from test"]


def test_the_commands(trained, measured, insgan, tmp_path, monkeypatch):
    spectrum = measured(Band(26.0, 1.0))
    write_nexus(spectrum, tmp_path / "cut.nxs")
    status, out, err = insgan("classify", tmp_path / "cut.nxs", "--classifier", trained.path)
    assert (status, err) == (0, "") and out.startswith("wide\n  wide: probability ")
    status, out, _ = insgan("classify", tmp_path / "cut.nxs", "--classifier", trained.path, "--json")
    said = json.loads(out)
    assert status == 0 and said["answer"] == "wide" and set(said["probabilities"]) == {"wide", "narrow"}
    np.save(tmp_path / "cut.npy", np.stack([spectrum.signal, np.sqrt(spectrum.variance)]))
    grid = ";".join(f"{a.name}={a.edges[0]}:{a.edges[-1]}:{len(a)}" for a in spectrum.axes)
    words = (
        "classify",
        tmp_path / "cut.npy",
        "--classifier",
        trained.path,
        "--axes",
        grid,
        "--ei",
        spectrum.run.value("ei"),
    )
    status, out, err = insgan(*words, "--json")
    assert (status, err) == (0, "") and json.loads(out)["answer"] == "wide"
    status, out, err = insgan(*words, "--instrument", "merlin", "--chopper", "A", "--frequency", "300", "--json")
    assert (status, err) == (0, "") and json.loads(out)["notes"] == [
        "instrument of the data is MERLIN, but the classifier was trained for MAPS",
        "chopper of the data is A, but the classifier was trained for S",
    ]
    status, out, _ = insgan("classify", tmp_path / "cut.nxs", "--classifier", trained.path, "--ei", "61", "--json")
    replaced = f"option --ei 61 replaces 60 from {read_nexus(tmp_path / 'cut.nxs').run.ei.source}"
    assert status == 0 and replaced in json.loads(out)["notes"]
    status, _, err = insgan(*words, "--energy-bins", "5")
    assert status == ModelError.exit_code and "but the classifier was trained for" in err
    status, _, err = insgan("classify", tmp_path / "cut.nxs", "--classifier", tmp_path / "none.onnx")
    assert status == ModelError.exit_code and "there is no classifier" in err

    seen = []

    def train(models, like, output, options, *, overwrite, progress):
        seen.append((models, like, output, options, overwrite))
        return trained

    monkeypatch.setattr(job, "train_classifier", train)
    words = ("train-classifier", "a.yaml", "b.yaml", "--like", "cut.nxs", "-o", "c.onnx", "--draws", "50", "--ei", "60")
    status, out, err = insgan(*words)
    assert (status, err) == (0, "") and "wide, narrow" in out and "this classifier: accuracy" in out
    assert "note: narrow: " in out and "draws were unstable and 0 had no intensity on the grid" in out
    ((models, like, output, options, overwrite),) = seen
    assert [m.name for m in models] == ["a.yaml", "b.yaml"] and ([p.name for p in like], output.name) == (
        ["cut.nxs"],
        "c.onnx",
    )
    assert options == ClassifierOptions(draws=50, ei=60.0) and not overwrite
    status, out, _ = insgan(*words, "--json")
    assert json.loads(out)["kind"] == "classifier"


def test_training_from_files(tmp_path, monkeypatch):
    """Files are read and outputs checked; the export is left out, which takes half a minute."""
    pytest.importorskip("pyspinw")
    import yaml
    from test_fit_files import MODEL

    chain = [{"vectors": [[1, 0, 0]], "exchange": "J"}, {"vectors": [[0, 1, 0]], "exchange": 1.0}]
    paths = []
    for name, bonds in (("square", MODEL["bonds"]), ("chain", chain)):
        paths.append(tmp_path / f"{name}.yaml")
        paths[-1].write_text(yaml.safe_dump({**MODEL, "name": name, "bonds": bonds}))
    write_nexus(LIKE, tmp_path / "cut.nxs")
    monkeypatch.setattr(job, "export_classifier", lambda ensemble, path, compared: path.write_bytes(b"graph"))
    output = tmp_path / "c.onnx"
    shares = []
    options = ClassifierOptions(draws=20, epochs=1, **RUN)
    made = job.train_classifier(paths, tmp_path / "cut.nxs", output, options, progress=shares.append)
    assert made.card.names == ["square", "chain"] and set(made.card.rivals[0].ranges) == {"J", "line"}
    assert made.card.command.endswith("--draws=20 --epochs=1 --instrument=MAPS --ei=60.0 --chopper=S --frequency=300.0")
    assert shares == sorted(shares) and shares[-1] == pytest.approx(1.0)
    assert read_classifier(output).card == made.card
    with pytest.raises(OutputError, match="already exists"):
        job.train_classifier(paths, tmp_path / "cut.nxs", output, options)
    with pytest.raises(InputError, match="ends with .onnx"):
        job.train_classifier(paths, tmp_path / "cut.nxs", tmp_path / "c.bin", options)


def test_training_without_torch_says_what_to_install(insgan, monkeypatch):
    real = builtins.__import__

    def without(name, given_globals=None, given_locals=None, fromlist=(), level=0):
        if name == "learn.classifier_job":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
        return real(name, given_globals, given_locals, fromlist, level)

    monkeypatch.setattr(builtins, "__import__", without)
    status, _, err = insgan("train-classifier", "a.yaml", "b.yaml", "--like", "c.nxs", "-o", "c.onnx")
    assert status == DeviceError.exit_code and "training needs torch, which is not installed" in err


def test_the_exporter_does_not_miss_torchvision():
    """Its own logger warns of each operator of torchvision, on standard error."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    before = logger.level
    with exporting._quiet_exporter():
        assert not logger.isEnabledFor(logging.WARNING) and logger.isEnabledFor(logging.ERROR)
    assert logger.level == before
