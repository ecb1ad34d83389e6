"""Bundled models: how they are trained, described and written, on pairs that take no time to make."""

from functools import partial
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra 'train'")

from mantid_insgan.errors import ModelError, OutputError  # noqa: E402
from mantid_insgan.learn import build_models, describe  # noqa: E402
from mantid_insgan.learn.generator import Generator  # noqa: E402
from mantid_insgan.learn.libraries import PairLibrary  # noqa: E402
from mantid_insgan.learn.trainer import Schedule  # noqa: E402
from mantid_insgan.translate.cards import bundled_models, read_model  # noqa: E402
from tests.exports import leave_out  # noqa: E402
from tests.test_train import write_pairs  # noqa: E402


def written_by(module, monkeypatch) -> list:
    """The generators that a recipe writes; the last is what it reads: the tests leave out the export."""
    write, written = module.write, []
    monkeypatch.setattr(
        module, "write", lambda name, generator, *more: write(name, written.append(generator) or generator, *more)
    )
    monkeypatch.setattr(module, "generator_of", lambda model: written[-1])
    return written


def test_a_bundled_model_is_trained_scored_and_written(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    leave_out(monkeypatch)
    monkeypatch.setattr(build_models, "domain_of", partial(describe.domain_of, most=40))
    write_pairs(tmp_path / "pairs", number=5)
    monkeypatch.setattr(build_models, "PairLibrary", lambda folder, split: PairLibrary(folder))
    monkeypatch.setitem(build_models.SIZES, 2, build_models.Size(5, 2))
    monkeypatch.setitem(build_models.CHANNELS, 2, 4)
    options = SimpleNamespace(scratch=tmp_path / "scratch", output=tmp_path / "models", seed=1, accelerator="cpu")
    vars(options).update(feeders=0, minutes=None, batch=None, steps=None, refine=False, pairs=None)
    written_by(build_models, monkeypatch)
    build_models.build("add-resolution", 2, tmp_path / "pairs", options)
    folder = tmp_path / "models" / "add-resolution-2d"
    assert {p.name for p in folder.iterdir()} == {"model.onnx", "card.json"}
    card = read_model(folder).card
    assert (card.name, card.version, card.errors) == ("add-resolution-2d", build_models.VERSION, "calibrated")
    assert "Trained on pairs, with no discriminator" in card.description and not card.notes
    assert card.training.command.endswith("--dimensions 2 --direction add-resolution --seed 1")
    assert card.training.steps == 2 and card.training.pairs == 5 and card.training.held_out_families
    assert {"torch", "onnx", "onnxruntime", "numpy", "pyspinw", "resins"} == set(card.training.software)
    assert len(card.metrics) == 3 and 0 < card.coverage[0] <= card.coverage[1] <= 1
    build_models.described_again("add-resolution", 2, tmp_path / "pairs", options)
    again = read_model(folder).card
    assert again.training == card.training and again.metrics == card.metrics and again.intervals == card.intervals
    vars(options).update(steps=3, refine=True)
    build_models.build("add-resolution", 2, tmp_path / "pairs", options)
    refined = read_model(folder).card.training
    assert refined.command == f"{card.training.command} && {card.training.command} --steps 3 --refine"
    assert refined.steps == 2 + 3 and refined.pairs == 5
    assert build_models.schedule_of(2, options).learning_rate == 0.25 * Schedule().learning_rate


def test_a_model_and_its_card_are_replaced_together_or_not_at_all(tmp_path, monkeypatch):
    card = bundled_models()[0].card
    onnx, beside = tmp_path / "model.onnx", tmp_path / "card.json"
    onnx.write_bytes(b"old")
    beside.write_text("old")

    def write(problem, name):
        def fails(*_):
            raise problem

        with monkeypatch.context() as patched:
            patched.setattr(describe, "export", lambda generator, path, graph: path.write_bytes(b"new"))
            if name is not None:
                patched.setattr(describe, name, fails)
            describe.write_model(Generator("add-resolution", 1, channels=4), card, onnx, beside)

    for problem, name in ((ModelError("it differs", "do"), "export"), (OSError(28, "No space left"), "write_card")):
        with pytest.raises((ModelError, OutputError), match="it differs|model.onnx failed: .*No space left"):
            write(problem, name)
        assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"model.onnx": b"old", "card.json": b"old"}
    write(None, None)
    assert (
        read_model(onnx).card.name == card.name and onnx.read_bytes() == b"new" and len(list(tmp_path.iterdir())) == 2
    )
