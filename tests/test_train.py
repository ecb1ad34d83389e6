"""`insgan train`: what it leaves, what it refuses before the first step, two processes."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra 'train'")

from mantid_insgan import Axis, Lattice, Run, Spectrum  # noqa: E402
from mantid_insgan.cli.main import app  # noqa: E402
from mantid_insgan.core.options import ApplyOptions, TrainOptions  # noqa: E402
from mantid_insgan.errors import InputError, ModelError, OutputError, RunFactError  # noqa: E402
from mantid_insgan.io import write_nexus  # noqa: E402
from mantid_insgan.learn import calibration, describe  # noqa: E402
from mantid_insgan.learn import train_job as job  # noqa: E402
from mantid_insgan.learn.export import _random_inputs  # noqa: E402
from mantid_insgan.learn.generator import Generator  # noqa: E402
from mantid_insgan.learn.sources import read_sources  # noqa: E402
from mantid_insgan.learn.train_job import check_resume, command_of, train_model  # noqa: E402
from mantid_insgan.learn.trainer import BACKGROUND_RATE  # noqa: E402
from mantid_insgan.learn.warm_start import generator_of  # noqa: E402
from mantid_insgan.translate import translator  # noqa: E402
from mantid_insgan.translate.cards import bundled_models, read_model  # noqa: E402
from mantid_insgan.translate.inspect import inspect_model  # noqa: E402
from mantid_insgan.translate.job import apply  # noqa: E402
from tests.exports import TorchSession, leave_out  # noqa: E402

LATTICE = Lattice(4.0, 4.0, 6.0, ub=np.diag([0.25, 0.25, 1 / 6]))
RUN = Run().updated("test", instrument="MARI", ei=60.0, chopper="S", frequency=300.0, lattice=LATTICE)


pytestmark = pytest.mark.usefixtures("one_thread")


def spectrum(seed: int, *, blurred: bool = False, size=(20, 24), run=RUN) -> Spectrum:
    """A band with or without a width and counting noise."""
    rng = np.random.default_rng(seed)
    q, e = np.linspace(1.0, 2.0, size[0] + 1), np.linspace(4, 44, size[1] + 1)
    band = 10 + 20 * np.abs(np.sin(np.pi * (0.5 * (q[1:] + q[:-1]) + rng.uniform(0, 1))))
    centers = 0.5 * (e[1:] + e[:-1])
    signal = np.exp(-0.5 * ((centers[None, :] - band[:, None]) / (3.0 if blurred else 1.0)) ** 2)
    variance = np.zeros_like(signal)
    if blurred:
        signal = rng.poisson(200 * signal + 4) / 200
        variance = np.maximum(signal, 1 / 200) / 200
    axes = (Axis("[H,0,0]", q, "r.l.u.", "HKL"), Axis("DeltaE", e, "DeltaE"))
    return Spectrum(signal, variance, axes, run=run, title=f"band {seed}")


def write_sides(folder, number=3, **facts):
    """Folders 'simulated' and 'measured' with spectra."""
    for side, blurred in (("simulated", False), ("measured", True)):
        (folder / side).mkdir()
        for i in range(number):
            found = spectrum(i, blurred=blurred, **facts)
            write_nexus(found, folder / side / f"{i}.nxs")
    return {"simulation": (str(folder / "simulated"),), "experiment": (str(folder / "measured"),)}


QUICK = {"steps": 3, "batch": 2, "warm_start": "none"}


@pytest.fixture
def not_exported(monkeypatch):
    """The generators of trainings, which are applied themselves."""
    return leave_out(monkeypatch)


def applied(model, seed: int, **how):
    """What a model makes of a band, and the report."""
    options = ApplyOptions(direction=read_model(model).card.direction, model=str(model), device="cpu")
    return apply(spectrum(seed, **how), options)


@pytest.mark.parametrize("paired", [False, True])
def test_a_training_leaves_a_model_that_applies(tmp_path, paired, not_exported):
    options = TrainOptions(**write_sides(tmp_path), paired=paired, **QUICK)
    trained = train_model(options, tmp_path / "mine.onnx")
    assert trained.finished and trained.steps == 3
    beside = {p.name for p in tmp_path.iterdir() if p.is_file()}
    assert beside == {"mine.onnx", "mine.json", "mine.losses.csv", "mine.losses.png", "mine.example.png"}
    card = read_model(trained.model).card
    assert card.direction == "add-resolution" and card.dimensions == 2 and card.training.steps == 3
    assert "--steps 3" in card.training.command and str(tmp_path) not in card.model_dump_json()
    rows = trained.losses.read_text().splitlines()
    assert len(rows) == 4 and rows[0].startswith("step,")
    result, _ = applied(trained.model, 9, blurred=False)
    assert np.isfinite(result.signal).all() and (result.variance > 0).all()


@pytest.mark.slow
def test_the_exported_model_of_a_training_gives_what_its_generator_gives(tmp_path, monkeypatch):
    cuts = {"size": (1, 24)}  # in one dimension the export takes least
    options = TrainOptions(**write_sides(tmp_path, **cuts), direction="remove-resolution", **QUICK)
    trained = train_model(options, tmp_path / "mine.onnx")
    exported, _ = applied(trained.model, 9, blurred=True, **cuts)
    generator = generator_of(read_model(trained.model))
    monkeypatch.setattr(translator, "open_session", lambda *_: TorchSession(generator))
    expected, _ = applied(trained.model, 9, blurred=True, **cuts)
    np.testing.assert_allclose(exported.signal, expected.signal, atol=1e-4)


@pytest.mark.parametrize("direction", ["add-resolution", "remove-resolution"])
def test_the_weights_come_back_from_the_model(direction, monkeypatch):
    (model,) = (m for m in bundled_models() if (m.card.translation, m.card.dimensions) == (direction, 2))
    options = ApplyOptions(direction=direction, device="cpu")
    exported, _ = apply(spectrum(1, blurred=True), options)
    monkeypatch.setattr(translator, "open_session", lambda *_: TorchSession(generator_of(model)))
    found, _ = apply(spectrum(1, blurred=True), options)
    np.testing.assert_allclose(found.signal, exported.signal, atol=1e-4)
    np.testing.assert_allclose(found.variance, exported.variance, rtol=1e-3)


def test_a_training_begins_with_the_weights_of_the_model(tmp_path, not_exported):
    given = {**write_sides(tmp_path), "paired": True, "direction": "remove-resolution", "steps": 1, "batch": 2}
    train_model(TrainOptions(**given), tmp_path / "mine.onnx")
    (model,) = (m for m in bundled_models() if m.card.name == "remove-resolution-2d")
    first, other = (dict(g.named_parameters()) for g in (generator_of(model), not_exported[0]))
    # One small step away; backgrounds take larger ones.
    rates = {k: BACKGROUND_RATE if "background" in k else 1.0 for k in first}
    apart = max(float((first[k] - other[k]).detach().abs().max()) / rates[k] for k in first)
    assert 0 < apart < 1e-3


def test_an_unpaired_model_for_removing_is_described_by_the_measurements(tmp_path, not_exported):
    options = TrainOptions(**write_sides(tmp_path), direction="remove-resolution", **QUICK)
    trained = train_model(options, tmp_path / "mine.onnx")
    measured, calculated = (applied(trained.model, 1, blurred=b)[1].quality.distances[0] for b in (True, False))
    assert measured < 0.9 * calculated, "described by calculations it would be the larger one"


def test_errors_without_pairs_are_told_to_be_not_calibrated(tmp_path, not_exported):
    trained = train_model(TrainOptions(**write_sides(tmp_path), **QUICK), tmp_path / "mine.onnx")
    card = read_model(trained.model).card
    assert card.errors == trained.errors == "not calibrated" and not card.metrics
    assert any("give such pairs with --validation-simulation and --validation-exp" in note for note in card.notes)
    assert any("threshold of the domain of application comes from the training spectra" in n for n in card.notes)
    text = inspect_model(str(trained.model)).as_text()
    assert trained.notes == tuple(card.notes) and all(f"  note: {note}" in text for note in card.notes)
    _, report = applied(trained.model, 9, blurred=False)
    assert any("the errors are not calibrated: the model mine was trained without pairs" in n for n in report.notes)


def with_validation(folder, number, trained=3):
    """Sides to train on, and pairs that are not trained on."""
    (folder / "validation").mkdir()
    more = write_sides(folder / "validation", number)
    return write_sides(folder, trained) | {f"validation_{side}": paths for side, paths in more.items()}


@pytest.mark.parametrize("paired", [False, True])
def test_errors_are_calibrated_and_scored_on_different_spectra(tmp_path, paired, monkeypatch, not_exported):
    seen = {}

    def noted(name):
        function = getattr(describe, name)

        def call(generator, library, *more):
            seen[name] = library
            return function(generator, library, *more)

        monkeypatch.setattr(describe, name, call)

    noted("calibrate")
    noted("coverage")
    options = TrainOptions(**with_validation(tmp_path, 9), paired=paired, **QUICK)
    card = read_model(train_model(options, tmp_path / "mine.onnx").model).card
    assert card.errors == "calibrated" and card.notes == []
    assert sorted([*seen["calibrate"].index, *seen["coverage"].index]) == list(range(9))
    covered = card.metrics[1]
    assert "target within 1 and 2 standard errors; over 5 spectra; calibrated on 4 others" in covered.conditions
    assert covered.rows["this model"][0] != 0.683, "as if scored on what it was calibrated on"


@pytest.mark.parametrize("direction, fewest", [("remove-resolution", 80), ("add-resolution", 8)])
def test_enough_held_out_spectra_give_intervals_and_an_alarm(tmp_path, direction, fewest, monkeypatch, not_exported):
    assert calibration.FEWEST_SPECTRA == 80
    monkeypatch.setattr(calibration, "FEWEST_SPECTRA", fewest)
    number, has_blocks = 16, fewest == 8
    options = TrainOptions(**with_validation(tmp_path, number, 20), direction=direction, paired=True, **QUICK)
    model = train_model(options, tmp_path / "mine.onnx").model
    card = read_model(model).card
    assert f"{number // 2} pairs that neither the training nor the scores" in card.intervals.conditions
    assert "noise as measured" in card.intervals.conditions
    assert (card.blocks is not None) == has_blocks
    assert (card.reconvolution is not None) == (direction == "remove-resolution")
    (covered,) = (t for t in card.metrics if "within 1 and 2 standard errors" in t.conditions)
    assert 0.4 < covered.rows["this model"][0] < covered.rows["this model"][1] < 1
    given = ApplyOptions(direction=direction, model=str(model), device="cpu", intervals=True)
    found, report = apply(spectrum(1000, blurred=direction == "remove-resolution"), given)
    low, least, most, high = found.deviations[:, found.valid]
    assert (low <= least).all() and (least <= 0).all() and (0 <= most).all() and (most <= high).all()
    assert (report.quality.p_value is not None) == has_blocks


def test_few_spectra_calibrate_without_a_coverage(tmp_path, not_exported):
    options = TrainOptions(**with_validation(tmp_path, 7), **QUICK)
    card = read_model(train_model(options, tmp_path / "mine.onnx").model).card
    assert card.errors == "calibrated" and [t.title for t in card.metrics] == ["held-out data"]
    (note,) = card.notes
    assert "calibrated on all spectra that were held out, 7: fewer than 8" in note


@pytest.mark.parametrize("direction, kept", [("add-resolution", "simulation"), ("remove-resolution", "experiment")])
def test_without_pairs_the_last_inputs_are_kept_for_the_domain(tmp_path, direction, kept):
    sides = write_sides(tmp_path, number=8)
    data = job._data(TrainOptions(**sides, direction=direction, **QUICK), None)
    found = {"simulation": data.training, "experiment": data.other}
    assert {side: len(library) for side, library in found.items()} == {"simulation": 8, "experiment": 8} | {kept: 7}
    last = spectrum(7, blurred=kept == "experiment").signal
    (member,) = data.unseen.members
    np.testing.assert_allclose(member.signal, last / np.sqrt(np.mean(last**2)), rtol=1e-5)
    assert not any(np.allclose(m.signal, member.signal) for m in found[kept].members)


def test_a_model_of_what_convolved_simulations_lack(tmp_path, not_exported):
    given = write_sides(tmp_path)
    trained = train_model(TrainOptions(**given, simulation_convolved=True, **QUICK), tmp_path / "mine.onnx")
    card = read_model(trained.model).card
    assert card.simulation == "convolved" and card.background
    assert "--simulation-convolved" in card.training.command
    (generator,) = not_exported
    assert generator.simulation == "convolved" and generator.background is not None
    result, report = applied(trained.model, 9, blurred=False)
    assert any("mine expects simulations that contain the calculated resolution" in note for note in report.notes)
    # The background is kept: its intensity is not scaled to that of the calculation.
    simulation = spectrum(9)
    added = (result.signal - simulation.signal)[simulation.signal < 1e-6]
    assert (added > 0).all()
    with pytest.raises(ModelError, match="mine is for simulations that are convolved, and those given are ideal"):
        train_model(TrainOptions(**given, **QUICK | {"warm_start": str(trained.model)}), tmp_path / "other.onnx")


def test_an_option_is_used_in_place_of_the_files_and_the_notes_say_so(tmp_path, not_exported):
    given = write_sides(tmp_path)
    trained = train_model(TrainOptions(**given, ei=70.0, frequency=300.0, **QUICK), tmp_path / "mine.onnx")
    replaced = [note for note in trained.notes if "replaces" in note]
    assert replaced == ["option --ei 70 replaces 60 from log Ei of experiment0 (0.nxs, 1.nxs, 2.nxs and 3 more)"]
    (source, *_) = read_sources(given["simulation"], "--simulation", TrainOptions(ei=70.0))
    assert source.resolution.ei == 70.0
    from_files = train_model(TrainOptions(**given, **QUICK), tmp_path / "other.onnx")
    assert not any("replaces" in note for note in from_files.notes)


def test_texts_and_arrays_are_trained_on_in_the_bins_that_options_give(tmp_path, not_exported):
    sides = {}
    for side, blurred in (("simulation", False), ("experiment", True)):
        (tmp_path / side).mkdir()
        sides[side] = tuple(tmp_path / side / f"{i}.npy" for i in range(3))
        for i, path in enumerate(sides[side]):
            found = spectrum(i, blurred=blurred)
            np.save(path, np.stack([found.signal, np.sqrt(found.variance)]))
    facts = {"instrument": "MARI", "ei": 60.0, "chopper": "S", "frequency": 300.0, "lattice": "4,4,6"}
    how = {"axes": "[H,0,0]=1:2:20;DeltaE=4:44:24", "energy_range": "4,40", "energy_bins": 18}
    options = TrainOptions(**sides, **facts, **how, **QUICK)
    (first, *_) = read_sources(sides["simulation"], "--simulation", options)
    assert first.spectrum.shape == (20, 18) and [a.name for a in first.spectrum.axes] == ["[H,0,0]", "DeltaE"]
    made = train_model(options, tmp_path / "mine.onnx")
    command = read_model(made.model).card.training.command
    assert "--axes '[H,0,0]=1:2:20;DeltaE=4:44:24' --" in command and "--energy-bins 18" in command
    with pytest.raises(InputError, match=r"--axes, --energy-bins, --energy-range say how a file is read, and the data "
                                         r"are pairs \(--pairs\)\. Fix: give a file, or leave it out"):  # fmt: skip
        train_model(TrainOptions(pairs=str(tmp_path), **how), tmp_path / "other.onnx")


def test_a_training_that_is_stopped_leaves_a_model_and_goes_on(tmp_path, not_exported):
    options = TrainOptions(**write_sides(tmp_path), **QUICK)
    stopped = train_model(options, tmp_path / "mine.onnx", progress=lambda share, step, terms: step == 2)
    assert not stopped.finished and stopped.steps == 2 and read_model(stopped.model)
    finished = train_model(options, tmp_path / "mine.onnx", overwrite=True)
    assert finished.finished and finished.steps == 3


@pytest.mark.parametrize("paired", [False, True])
def test_an_interrupted_training_says_what_it_does_and_ends_with_one_true_line(
    tmp_path, not_exported, insgan, monkeypatch, paired
):
    kind = job.PairedTrainer if paired else job.UnpairedTrainer
    real = kind._train_step

    def interrupted(self, rng):
        signal.raise_signal(signal.SIGINT)
        return real(self, rng)

    monkeypatch.setattr(kind, "_train_step", interrupted)
    given, output = write_sides(tmp_path), tmp_path / "mine.onnx"
    words = ["train", "--output", output, "--steps", 50, "--batch", 2, "--warm-start", "none"]
    words += [w for side in ("simulation", "experiment") for w in (f"--{side}", given[side][0])]
    code, out, err = insgan(*words, *["--paired"] * paired)
    assert (code, err) == (130, "")
    writing = "writing mine.onnx after 1 steps: "
    parts = ("curves and an example", "errors and domain", "the graph, and a comparison with torch")
    assert insgan.shown == ["training add-resolution", job.STOPPING, *(writing + part for part in parts)]
    stopped = f"stopped before the end: {output} is the model so far; the same command with --overwrite goes on"
    assert out.splitlines()[0].startswith(f"wrote {output} after 1 steps") and out.splitlines()[-1] == stopped
    card = read_model(output).card
    assert card.metrics == [] and len(card.domain.mean) > 0
    assert (
        any("the training was stopped: the factor on the errors is from 1 held-out" in n for n in card.notes) is paired
    )


def test_a_model_that_does_not_describe_its_pairs_is_written_and_says_so(tmp_path, not_exported, monkeypatch):
    monkeypatch.setattr(describe, "calibrate", lambda *_: 1068.4)
    options = TrainOptions(**write_sides(tmp_path), **QUICK, paired=True)
    for output, stop in (("stopped.onnx", 1), ("whole.onnx", 9)):
        made = train_model(options, tmp_path / output, progress=lambda share, step, terms, stop=stop: step == stop)
        card = read_model(made.model).card
        assert (made.errors, card.error_factor) == ("not calibrated", 1000.0)
        assert card.notes[0] == (
            "the errors are not calibrated: held-out pairs ask for 1,068 times the errors of the model, and 1,000 "
            "times is the most; it does not describe these pairs, train it longer"
        )


def test_features_alone_are_those_of_the_whole_generator():
    for direction in ("add-resolution", "remove-resolution"):
        made = Generator(direction, 2, channels=4).eval()
        torch.nn.init.normal_(made.network.fine.second.weight, std=0.1)
        inputs = _random_inputs((2, 16, 20), 2, seed=3)
        with torch.no_grad():
            whole, alone = made(*inputs)[2], made.features(*inputs)
        assert torch.equal(whole, alone) and whole.shape == (2, 24)


def test_a_second_interrupt_keeps_the_checkpoint_alone(tmp_path, not_exported, insgan, monkeypatch):
    real = job.UnpairedTrainer._train_step

    def interrupted(self, rng):
        signal.raise_signal(signal.SIGINT)
        return real(self, rng)

    monkeypatch.setattr(job.UnpairedTrainer, "_train_step", interrupted)
    monkeypatch.setattr(job, "write_model", lambda *_: signal.raise_signal(signal.SIGINT))
    given, output = write_sides(tmp_path), tmp_path / "mine.onnx"
    words = ["train", "--output", output, "--steps", 50, "--batch", 2, "--warm-start", "none"]
    words += [w for side in ("simulation", "experiment") for w in (f"--{side}", given[side][0])]
    code, out, err = insgan(*words)
    assert (code, out, err) == (130, "", "insgan: interrupted; no half-written file is left\n")
    assert not output.exists() and (tmp_path / "mine.training" / "checkpoint.safetensors").exists()


@pytest.mark.parametrize("paired", [False, True])
def test_a_checkpoint_is_checked_before_data_and_networks_are_made(tmp_path, paired, monkeypatch):
    given, output = write_sides(tmp_path), tmp_path / "mine.onnx"
    options = TrainOptions(**given, paired=paired, **QUICK)
    check_resume(options, output)  # there is none
    trainer = job._trainer(options, job._data(options, None), tmp_path / "mine.training")
    trainer.save()
    for name in ("SpectraLibrary", "PairedTrainer", "UnpairedTrainer"):
        kind = getattr(job, name)
        monkeypatch.setattr(kind, "__init__", lambda *_: pytest.fail("made before the check"))
    check_resume(options, output)
    check_resume(TrainOptions(**given, paired=paired, **QUICK | {"steps": None, "epochs": 1}), output)
    for other in ({"steps": 4}, {"seed": 2}, {"steps": None, "epochs": 1, "batch": 3}):
        with pytest.raises(ModelError, match="was made with another recipe.*, expected"):
            check_resume(TrainOptions(**given, paired=paired, **QUICK | other), output)
    write_nexus(spectrum(9), tmp_path / "simulated" / "0.nxs", overwrite=True)
    with pytest.raises(ModelError, match="was made with another recipe"):
        check_resume(options, output)
    trainer.checkpoint.write_bytes(b"nothing")
    with pytest.raises(ModelError, match="is not a checkpoint"):
        check_resume(options, output)


def refused(error, message, tmp_path, **given):
    with pytest.raises(error, match=message):
        train_model(TrainOptions(**QUICK | given), tmp_path / "mine.onnx")
    assert not list(tmp_path.glob("mine*"))


def test_bad_data_are_refused_before_the_first_step(tmp_path):
    good = write_sides(tmp_path)
    (tmp_path / "empty").mkdir()
    refused(InputError, "empty .*holds no file", tmp_path, **good | {"simulation": (str(tmp_path / "empty"),)})
    one = (str(tmp_path / "simulated" / "0.nxs"),)
    refused(InputError, "--simulation gives 1, expected 2", tmp_path, **good | {"simulation": one})
    refused(InputError, "no file or folder .*gone", tmp_path, **good | {"experiment": (str(tmp_path / "gone"),)})
    refused(InputError, "needs both sides, found no --experiment", tmp_path, simulation=good["simulation"])
    refused(InputError, "--precision is '16'.*use 32 or bf16", tmp_path, **good | {"precision": "16"})
    two = tuple(str(tmp_path / "simulated" / f"{i}.nxs") for i in range(2))
    refused(InputError, "equal numbers, found 2 of --sim", tmp_path, **good | {"simulation": two}, paired=True)
    refused(InputError, "--pairs was given beside", tmp_path, **good, pairs="somewhere")
    refused(InputError, r"--steps or --epochs is -3", tmp_path, **good | {"steps": -3})
    refused(ModelError, "direction 'up' is not known", tmp_path, **good, direction="up")


def test_spectra_that_will_not_do_are_named(tmp_path):
    good = write_sides(tmp_path)
    flat = spectrum(0)
    cut = Spectrum(flat.signal[:1], flat.variance[:1], (flat.axes[0].slice(0, 1), flat.axes[1]), run=RUN)
    write_nexus(cut, tmp_path / "simulated" / "cut.nxs")
    refused(InputError, "differ in their number of open axes .*cut.nxs: 1", tmp_path, **good)
    (tmp_path / "simulated" / "cut.nxs").unlink()
    nothing = spectrum(0).replace(signal=np.full((20, 24), np.nan))
    write_nexus(nothing, tmp_path / "simulated" / "nothing.nxs")
    refused(InputError, "none of the 480 bins of nothing.nxs is valid", tmp_path, **good)
    (tmp_path / "simulated" / "nothing.nxs").unlink()
    write_nexus(spectrum(0, run=Run()), tmp_path / "simulated" / "bare.nxs")
    refused(RunFactError, "bare.nxs: .*instrument", tmp_path, **good)


def test_the_output_is_not_overwritten_unasked(tmp_path):
    good = write_sides(tmp_path)
    (tmp_path / "mine.onnx").write_bytes(b"precious")
    with pytest.raises(OutputError, match="mine.onnx"):
        train_model(TrainOptions(**good, **QUICK), tmp_path / "mine.onnx")
    assert (tmp_path / "mine.onnx").read_bytes() == b"precious"
    with pytest.raises(OutputError, match="does not end in .onnx"):
        train_model(TrainOptions(**good, **QUICK), tmp_path / "mine.model")


def test_the_command_of_the_card_asks_for_the_same_training():
    options = TrainOptions(simulation=("/data/a.nxs",), experiment=("/data/b",), paired=True, steps=5)
    assert command_of(options) == "insgan train --simulation a.nxs --experiment b --paired --steps 5"


def test_the_command_line_trains(tmp_path, capsys, not_exported):
    sides = write_sides(tmp_path)
    words = ["train", "--json", "--steps", "2", "--batch", "2"]
    words += ["--warm-start", "none", "--output", str(tmp_path / "mine.onnx")]
    words += [word for side in ("simulation", "experiment") for word in (f"--{side}", sides[side][0])]
    assert not app(words, prog_name="insgan", standalone_mode=False)
    told = json.loads(capsys.readouterr().out)
    assert told["steps"] == 2 and read_model(tmp_path / "mine.onnx")
    assert told["errors"] == "not calibrated" and any("errors are not calibrated" in note for note in told["notes"])


SHARED_BATCH = """
import os, sys, torch
from tests.test_train import InOrder, train_four_steps
torch.set_num_threads(1)
train_four_steps(sys.argv[1], InOrder(4, int(os.environ["RANK"])))
"""


class InOrder:
    """Examples in their order, whatever is drawn: those of one process, of a batch that all processes share."""

    dimensions = 2

    def __init__(self, batch: int, rank: int = 0):
        self.batch, self.rank, self.steps = batch, rank, 0

    def __len__(self):
        return 16

    def examples(self, index, direction, rng, **_):
        from mantid_insgan.learn.augment import with_noise
        from tests.test_gan import cosine_pair

        first = self.steps * self.batch + self.rank * len(index)
        self.steps += 1
        fixed = {"exact_share": 1.0, "varied": False}
        return [with_noise(cosine_pair(first + i), direction, rng, **fixed) for i in range(len(index))]


def train_four_steps(folder, library, batch=4):
    """A training of four steps that writes its checkpoint to a folder."""
    from mantid_insgan.learn.paired import PairedRecipe, PairedTrainer
    from mantid_insgan.learn.trainer import Schedule

    schedule = Schedule(steps=4, batch=batch, warm_up=1, learning_rate=1e-3)
    PairedTrainer(PairedRecipe("add-resolution", channels=4), schedule, library, folder).run()


STOPPED_ALONE = """
import os, sys, torch
from mantid_insgan.learn.libraries import PairLibrary
from mantid_insgan.learn.paired import PairedRecipe, PairedTrainer
from mantid_insgan.learn.trainer import Schedule
torch.set_num_threads(1)
trainer = PairedTrainer(PairedRecipe("add-resolution", channels=4),
                        Schedule(steps=1000, batch=4, warm_up=2, minutes=60), PairLibrary(sys.argv[1]), sys.argv[2])
second = os.environ["RANK"] == "1"
finished = trainer.run(lambda share, step, terms: second and step == 3)
print("stopped at", trainer.step, trainer.seconds)
"""


@pytest.mark.slow
def test_processes_stop_together(tmp_path, pytestconfig):
    """One that is told to stop takes the others with it, and all have the same clock."""
    folder = tmp_path / "pairs"
    write_pairs(folder)
    script = tmp_path / "stopped.py"
    script.write_text(STOPPED_ALONE)
    words = ["torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    command = [sys.executable, "-m", *words, str(folder), str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=pytestconfig.rootpath, timeout=300)
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stdout.splitlines() if line.startswith("stopped at 3 ")]
    assert len(said) == 2 and said[0] == said[1], done.stdout


def write_pairs(folder, number=12):
    from mantid_insgan.learn.pairs.shards import FORMAT, write_index, write_shard
    from tests.test_gan import cosine_pair

    folder.mkdir(exist_ok=True)
    entry = write_shard(folder, 0, [cosine_pair(i) for i in range(number)])
    write_index(folder, {"format": FORMAT, "recipe": {}, "versions": {}, "shards": [entry]})


@pytest.mark.slow
def test_two_processes_share_a_batch(tmp_path, pytestconfig):
    """Two with two examples each learn what one learns from the four, and not what one learns from its own two."""
    from mantid_insgan.learn.checkpoint import read_checkpoint

    script = tmp_path / "two.py"
    script.write_text(SHARED_BATCH)
    words = ["torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script), str(tmp_path / "two")]
    environment = os.environ | {"PYTHONPATH": str(pytestconfig.rootpath)}
    ran = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, env=environment, timeout=300)
    assert ran.returncode == 0, ran.stderr
    train_four_steps(tmp_path / "one", InOrder(4))
    train_four_steps(tmp_path / "half", InOrder(4), batch=2)
    weights = {}
    for name in ("one", "two", "half"):
        facts, tensors = read_checkpoint(tmp_path / name / "checkpoint.safetensors")
        assert json.loads(facts["position"])["step"] == 4
        weights[name] = {k: v for k, v in tensors.items() if k.startswith("network.")}
    assert len(weights["one"]) > 10
    off = {n: max(float((weights["one"][k] - v).abs().max()) for k, v in weights[n].items()) for n in ("two", "half")}
    # Steps of Adam are as long as the learning rate: four of 0.001, half of that or less where directions differ.
    assert off["two"] < 1e-5 and off["half"] > 1e-3
