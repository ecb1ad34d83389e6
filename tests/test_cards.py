"""Finding, verifying and opening models."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from mantid_insgan.core.options import DIRECTIONS
from mantid_insgan.errors import DeviceError, ModelError
from mantid_insgan.translate import cards
from mantid_insgan.translate.session import open_session

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def copied(tmp_path):
    """A copy of the bundled model that adds the resolution."""
    folder = tmp_path / "mine"
    shutil.copytree(cards.choose_model("add-resolution").path.parent, folder)
    return folder


def contract() -> dict[tuple[str, str], str]:
    """The table of docs/design.md: shape by kind ('input', 'input, if taken', 'output') and name."""
    page = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (input|input, if taken|output) \| `(\w+)` \| \(([^|]+)\) \|", page, re.MULTILINE)
    return {(kind, name): shape for kind, name, shape in rows}


def of_kind(kind: str) -> dict[str, str]:
    return {name: shape for (k, name), shape in contract().items() if k == kind}


def shape_of(stated: str, card, batch: int, grid: tuple[int, ...]) -> tuple[int, ...]:
    """A shape of the table in numbers, such as 'N, D (D - 1) / 2, *grid'."""
    d = len(grid)
    pairs = d * (d - 1) // 2
    channels = {"1": 1, "D": d, "D (D - 1) / 2": pairs, "3": 3, "F": len(card.domain.mean)}
    channels["D + D (D - 1) / 2"] = d + pairs
    if stated.strip() == "T,":
        return (9,)
    first, number, *rest = stated.split(", ")
    assert first == "N" and rest in ([], ["*grid"])
    return (batch, channels[number], *(grid if rest else ()))


def test_the_documented_contract_is_that_of_the_code():
    assert tuple(of_kind("input")) == cards.INPUTS
    assert tuple(of_kind("input, if taken")) == (*cards.MORE_INPUTS, cards.STEPS)
    assert tuple(of_kind("output")) == cards.OUTPUTS


def test_all_directions_and_dimensions_are_bundled():
    assert sorted(
        (m.card.direction, m.card.dimensions) for m in cards.bundled_models() if m.card.purpose == "resolution"
    ) == [(direction, dimensions) for direction in sorted(DIRECTIONS) for dimensions in (1, 2, 3)]
    between = [m.card for m in cards.bundled_models() if m.card.purpose == "experiment"]
    assert {(card.direction, card.dimensions) for card in between} == {(direction, 2) for direction in DIRECTIONS}


@pytest.mark.parametrize("name", cards.bundled_names())
def test_a_bundled_model_is_small_and_keeps_the_documented_contract(name):
    """Inputs and outputs with ranks and channels, for two batches and grids that were not those of the export."""
    model = cards.find_model(name)
    card = model.card
    assert model.path.stat().st_size < 10e6
    session = open_session(model, "cpu")
    # A cut of one axis has no pair of axes, so no correlation.
    taken = of_kind("input") | of_kind("input, if taken")
    if card.dimensions == 1:
        del taken["correlation"]
    assert [i.name for i in session.get_inputs()] == list(taken)
    assert [o.name for o in session.get_outputs()] == list(of_kind("output"))
    assert {x.type for x in (*session.get_inputs(), *session.get_outputs())} == {"tensor(float)"}
    rng = np.random.default_rng(0)
    step, least = card.grid_multiple, card.smallest_grid
    for batch in (1, 3):
        grid = tuple(least + step * (batch + i) for i in range(card.dimensions))
        given = {k: rng.random(shape_of(v, card, batch, grid), np.float32) for k, v in taken.items()}
        given["valid"] = (given["valid"] > 0.1).astype(np.float32)
        if "steps" in given:
            given["steps"] = np.arange(-4, 5, dtype=np.float32)
        found = dict(zip(of_kind("output"), session.run(list(of_kind("output")), given), strict=True))
        for output, stated in of_kind("output").items():
            assert found[output].shape == shape_of(stated, card, batch, grid), output
            assert found[output].dtype == np.float32 and np.isfinite(found[output]).all(), output
    for wrong in taken.keys() - {"steps"}:
        with pytest.raises(Exception, match=f"Got invalid dimensions for input: {wrong} for"):
            session.run(None, given | {wrong: np.repeat(given[wrong], 2, axis=1)})


def test_cards_tell_held_out_scores_beside_baselines():
    for model in cards.bundled_models():
        held_out = model.card.metrics[0]
        assert {"identity", "this model"} <= set(held_out.rows)
        assert ("one Gaussian" in held_out.rows) == (model.card.purpose == "resolution")
        assert ("Richardson-Lucy, exact operator" in held_out.rows) == (model.card.direction == "remove-resolution")
        training = model.card.training
        assert training.held_out_families and not set(training.families) & set(training.held_out_families)
        assert not set(training.settings) & set(training.held_out_settings)
        assert all(0 < v < 10 for row in held_out.rows.values() for v in row)


def test_a_model_by_path_or_folder(copied):
    by_folder = cards.choose_model("add-resolution", model=str(copied))
    by_file = cards.choose_model("add-resolution", model=str(copied / "model.onnx"))
    assert by_folder.card == by_file.card


def test_wrong_direction_is_refused():
    name = cards.choose_model("add-resolution").card.name
    with pytest.raises(ModelError, match=r"is for add-resolution, but remove-resolution was requested.*--direction"):
        cards.choose_model("remove-resolution", model=name)


def test_wrong_number_of_dimensions_is_refused():
    name = cards.choose_model("add-resolution").card.name
    with pytest.raises(ModelError, match="is for 2 dimensions, but 3 are needed"):
        cards.choose_model("add-resolution", 3, name)
    with pytest.raises(ModelError, match="no bundled model for add-resolution in 7 dimensions.*--model"):
        cards.choose_model("add-resolution", 7)


def test_a_model_that_is_not_there():
    with pytest.raises(ModelError, match="neither a bundled name .*add-resolution-2d.* nor a file"):
        cards.choose_model("add-resolution", model="nothing-like-it")


def test_a_model_that_sees_more_axes_than_the_data_have():
    message = "model add-resolution-3d needs 3 axes .* and the data have 2.* omit --model, or use add-resolution-2d"
    with pytest.raises(ModelError, match=message):
        cards.model_for("add-resolution", 2, "add-resolution-3d")
    with pytest.raises(ModelError, match="needs 1 axes with more than one bin, and the data have 0.*a model for 0"):
        cards.model_for("add-resolution", 0, "add-resolution-1d")
    assert cards.model_for("add-resolution", 4, "add-resolution-1d").card.dimensions == 1
    for axes, seen in ((None, 2), (1, 1), (2, 2), (3, 3), (4, 3)):
        assert cards.model_for("add-resolution", axes).card.dimensions == seen


def test_a_damaged_model_is_refused(copied):
    onnx = copied / "model.onnx"
    content = bytearray(onnx.read_bytes())
    content[len(content) // 2] ^= 1
    onnx.write_bytes(bytes(content))
    with pytest.raises(ModelError, match=r"has the hash .* but its card card.json says .*damaged"):
        cards.read_model(copied)


def test_no_card(copied):
    (copied / "card.json").unlink()
    with pytest.raises(ModelError, match="has no card: neither model.json nor card.json"):
        cards.read_model(copied)


def test_a_card_that_does_not_parse(copied):
    content = json.loads((copied / "card.json").read_text())
    content["dimensions"] = "many"
    (copied / "card.json").write_text(json.dumps(content))
    with pytest.raises(ModelError, match="is not valid: dimensions: "):
        cards.read_model(copied)


def test_no_onnx_file_under_a_fitting_hash(copied):
    model = cards.read_model(copied)
    model.path.write_bytes(b"not a model")
    cards.write_card(model.card, model.path)
    with pytest.raises(ModelError, match="model.onnx is no ONNX file: it cannot be parsed"):
        open_session(cards.read_model(copied), "cpu")


def test_a_model_with_other_inputs_is_refused(copied):
    onnx = pytest.importorskip("onnx", reason="onnx (extra 'train') builds the wrong model")
    values = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["n", 1]) for n in ("image", "result")]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["image"], ["result"])], "g", *[[v] for v in values]
    )
    model = cards.read_model(copied)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=9), model.path)
    cards.write_card(model.card, model.path)
    with pytest.raises(ModelError, match=r"takes \{'image': 2\} and gives \['result'\]; a model of 2 dimensions takes"):
        open_session(cards.read_model(copied), "cpu")


def test_devices():
    model = cards.choose_model("add-resolution")
    with pytest.raises(DeviceError, match="'tpu' is not known.*auto, cpu, cuda"):
        open_session(model, "tpu")
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        with pytest.raises(
            DeviceError, match="cuda was requested, but this ONNX Runtime has only .*CPUExecutionProvider"
        ):
            open_session(model, "cuda")
        assert open_session(model, "auto").get_providers() == ["CPUExecutionProvider"]


def test_onnxruntime_missing(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(DeviceError, match=r"ONNX Runtime is not installed.*pip install 'mantid-insgan\[cpu\]'"):
        open_session(cards.choose_model("add-resolution"), "cpu")


def test_the_card_is_in_plain_json():
    for model in cards.bundled_models():
        stored = json.loads((model.path.parent / "card.json").read_text())
        assert stored["sha256"] == model.card.sha256
        assert len(stored["domain"]["mean"]) == np.shape(stored["domain"]["components"])[1]


@pytest.mark.parametrize("name", ["add-resolution-2d", "remove-resolution-2d"])
def test_a_session_for_few_bins_gives_the_same(name):
    """Its graph is optimised less, which is done sooner."""
    model, rng = cards.find_model(name), np.random.default_rng(0)
    sessions = [open_session(model, "cpu", 1, bins) for bins in (None, 16 * 24)]
    channels = {"width": 2, "position": 3, "finer": 3}
    given = {i.name: rng.random((1, channels.get(i.name, 1), 16, 24), np.float32) for i in sessions[0].get_inputs()}
    given["steps"], given["width"] = np.arange(-6, 7, dtype=np.float32), given["width"] + 1
    given["correlation"] *= 0.1
    for one, other in zip(*(session.run(None, given) for session in sessions), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)
