"""Models from elsewhere are data: what an ONNX file and a card may hold, and what is said of what they may not."""

import json
import shutil

import numpy as np
import pytest

from mantid_insgan.core.options import ApplyOptions
from mantid_insgan.demo import DATA
from mantid_insgan.errors import DeviceError, ModelError
from mantid_insgan.translate import cards, graph
from mantid_insgan.translate.inspect import inspect_model
from mantid_insgan.translate.job import apply_to_file
from mantid_insgan.translate.session import open_session

onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install 'mantid-insgan[cpu]'")
FLOAT, INT64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64


@pytest.fixture
def copied(tmp_path):
    """A copy of the bundled model that removes the resolution."""
    folder = tmp_path / "mine"
    shutil.copytree(cards.choose_model("remove-resolution").path.parent, folder)
    return folder


def changed(folder, change) -> cards.ModelFile:
    """The bundled model, written to a folder after a change of its graph, under a card with a fitting hash."""
    model = cards.choose_model("remove-resolution")
    proto = onnx.load(model.path)
    change(proto)
    (folder / "model.onnx").write_bytes(proto.SerializeToString())
    cards.write_card(model.card, folder / "model.onnx")
    return cards.read_model(folder)


def refused(folder, change, match: str) -> None:
    with pytest.raises(ModelError, match=match):
        open_session(changed(folder, change), "cpu")


def node(kind, inputs=("signal",), outputs=("new",), **more):
    return onnx.helper.make_node(kind, list(inputs), list(outputs), **more)


def test_a_copy_of_a_bundled_model_is_allowed(copied):
    assert open_session(cards.read_model(copied), "cpu").get_inputs()[0].name == "signal"


@pytest.mark.parametrize("name", cards.bundled_names())
def test_bundled_models_keep_what_is_asked_of_others(name):
    model = cards.find_model(name)
    graph.check_model(model.path.read_bytes(), model.path)


def test_an_operator_that_is_not_on_the_list(copied):
    refused(
        copied,
        lambda m: m.graph.node.append(node("RandomNormalLike")),
        r"model.onnx uses the operator 'RandomNormalLike', which is none of the \d+ that models may use. Fix: use a "
        "model written by insgan train",
    )


def test_control_flow(copied):
    inside = onnx.helper.make_graph([node("Identity")], "inside", [], [])
    refused(copied, lambda m: m.graph.node.append(node("If", then_branch=inside, else_branch=inside)), "operator 'If'")
    refused(
        copied,
        lambda m: m.graph.node.append(node("Identity", body=inside)),
        "has a graph inside the operator 'Identity', and none is allowed",
    )


@pytest.mark.parametrize("domain", ["com.microsoft", "my.own"])
def test_operators_of_other_domains(copied, domain):
    said = f"uses operators of the domain '{domain}', and only those of ONNX are allowed"
    refused(copied, lambda m: m.opset_import.append(onnx.helper.make_opsetid(domain, 1)), said)
    refused(copied, lambda m: m.graph.node.append(node("Add", domain=domain)), said)


def test_functions_and_graphs_for_training(copied):
    function = onnx.FunctionProto(name="Hidden")
    refused(copied, lambda m: m.functions.append(function), "has the function 'Hidden', and only operators of ONNX")
    refused(copied, lambda m: m.training_info.add(), "has a graph for training, and only one that is applied")


def outside(tensor, where="../../../etc/passwd"):
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=where)


def test_weights_in_another_file(copied):
    said = "takes the weights '.*' from another file, and all must be inside it"
    refused(copied, lambda m: outside(m.graph.initializer[0]), said)

    def in_a_constant(m):
        constant = node("Constant", (), value=onnx.helper.make_tensor("c", FLOAT, [1], [0.0]))
        outside(constant.attribute[0].t)
        m.graph.node.append(constant)

    refused(copied, in_a_constant, said)


def test_weights_of_shapes_that_no_model_has(copied):
    def wide(m):
        m.graph.initializer.append(onnx.TensorProto(name="w", dims=[2**20, 2**20], data_type=FLOAT))

    refused(
        copied, wide, r"has the weights 'w' of shape \[1048576, 1048576\], and up to 8 axes and 268,435,456 elements"
    )

    def deep(m):
        m.graph.initializer.append(onnx.TensorProto(name="w", dims=[1] * 9, data_type=FLOAT))

    refused(copied, deep, r"has the weights 'w' of shape \[1, 1, 1, 1, 1, 1, 1, 1, 1\]")


@pytest.mark.parametrize("kind", ["ConstantOfShape", "Expand", "Tile"])
def test_a_constant_that_asks_for_a_huge_array(copied, kind):
    def change(m):
        m.graph.initializer.append(onnx.helper.make_tensor("huge", INT64, [2], [2**30, 2**10]))
        m.graph.node.append(node(kind, ("huge",) if kind == "ConstantOfShape" else ("signal", "huge")))

    refused(
        copied, change, rf"asks for an array of \[1073741824.0, 1024.0\] in the operator {kind}, and 268,435,456 el"
    )


def test_weights_whose_data_do_not_fit_their_shape(copied):
    def change(m):
        m.graph.initializer.append(onnx.TensorProto(name="w", dims=[3], data_type=INT64, raw_data=b"12345"))
        m.graph.node.append(node("ConstantOfShape", ("w",)))

    refused(copied, change, "has the weights 'w', whose data do not fit their shape")


def test_too_many_nodes(copied, monkeypatch):
    monkeypatch.setattr(graph, "MOST_NODES", 10)
    nodes = f"{len(onnx.load(copied / 'model.onnx').graph.node):,}"
    with pytest.raises(ModelError, match=rf"model.onnx has {nodes} nodes, and 10 are allowed"):
        open_session(cards.read_model(copied), "cpu")


def test_files_that_are_too_large(copied, monkeypatch):
    monkeypatch.setattr(graph, "LARGEST_FILE", 1000)
    size = f"{(copied / 'model.onnx').stat().st_size:,}"
    with pytest.raises(ModelError, match=rf"model.onnx has {size} bytes, and a model may have 1,000"):
        graph.model_bytes(copied / "model.onnx")
    monkeypatch.setattr(cards, "LARGEST_FILE", 1000)
    with pytest.raises(ModelError, match=rf"model.onnx has {size} bytes, and a model may have 1,000"):
        cards.read_model(copied)
    monkeypatch.setattr(cards, "LARGEST_CARD", 1000)
    with pytest.raises(ModelError, match=r"the card .*card.json has [\d,]+ bytes, and a card may have 1,000"):
        cards.read_model(copied)


def test_a_file_that_changes_between_two_looks(copied):
    model = cards.read_model(copied)
    shutil.copy(cards.choose_model("add-resolution").path, copied)
    with pytest.raises(
        ModelError, match=r"has the hash \w{12}\.\.\., and had \w{12}\.\.\. before: it was changed in between"
    ):
        open_session(model, "cpu")


def test_a_file_that_is_gone(copied):
    model = cards.read_model(copied)
    model.path.unlink()
    with pytest.raises(ModelError, match=r"model.onnx cannot be read \(No such file or directory\)"):
        open_session(model, "cpu")


def test_without_onnx_only_bundled_models_are_opened(copied, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    assert open_session(cards.choose_model("remove-resolution"), "cpu")
    with pytest.raises(
        DeviceError, match="is not a bundled model, and the package onnx, which checks models from elsew"
    ):
        open_session(cards.read_model(copied), "cpu")


def test_inputs_of_another_kind(copied):
    def change(m):
        m.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.DOUBLE

    refused(
        copied, change, r"(takes and gives tensor\(double\), tensor\(float\), expected tensor\(float\)|cannot open)"
    )


# -- answers


def simple(folder, kind: str) -> cards.ModelFile:
    """A model whose answer is one node of the signal."""

    def change(m):
        del m.graph.node[:], m.graph.initializer[:], m.graph.value_info[:]
        count = len(model.card.domain.mean) - (kind == "features")
        m.graph.initializer.append(onnx.helper.make_tensor("f", FLOAT, [1, count], np.zeros(count)))
        m.graph.initializer.append(onnx.helper.make_tensor("none", FLOAT, [1], [0.0]))
        m.graph.initializer.append(onnx.helper.make_tensor("one", INT64, [1], [1]))
        m.graph.node.extend(
            [
                node("Div", ("signal", "none"), ("translated",))
                if kind == "nan"
                else node("Squeeze", ("signal", "one"), ("translated",))
                if kind == "shape"
                else node("Identity", ("signal",), ("translated",)),
                node("Identity", ("signal",), ("log_variance",)),
                node("Identity", ("signal",), ("convolved",)),
                node("Identity", ("f",), ("features",)),
            ]
        )
        if kind == "shape":
            del m.graph.output[0].type.tensor_type.shape.dim[1]

    model = cards.read_model(folder)
    return changed(folder, change)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("nan", "the model remove-resolution-2d gives numbers that are not finite for these data"),
        (
            "shape",
            r"the model remove-resolution-2d gives arrays of the shapes .*, expected \(1, 1, 96, 100\) for the first",
        ),
        ("features", r"the model remove-resolution-2d gives features of the shape \(143,\), expected 144 numbers"),
    ],
)
def test_a_model_whose_answer_is_none(copied, tmp_path, kind, said):
    simple(copied, kind)
    shutil.copy(DATA / "measured.nxs", tmp_path / "in.nxs")
    with pytest.raises(ModelError, match=said):
        apply_to_file(tmp_path / "in.nxs", tmp_path / "out.nxs", ApplyOptions(model=str(copied), device="cpu"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.nxs", "mine"]


# -- cards


def set_in(content, path, value):
    *way, last = path
    for step in way:
        content = content[step]
    content[last] = value


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (["grid_multiple"], 10**9, "grid_multiple: Input should be less than or equal to 64"),
        (["smallest_grid"], 10**9, "smallest_grid: Input should be less than or equal to 256"),
        (["largest_fwhm_bins"], float("inf"), "largest_fwhm_bins: "),
        (["error_factor"], float("nan"), "error_factor: "),
        (["domain", "threshold"], 0, "domain.threshold: Input should be greater than 0"),
        (
            ["domain", "mean"],
            [0.0],
            r"domain: Value error, 24 components of \[144\] numbers do not go with 1 means and 24",
        ),
        (["domain", "scale", 0], 0.0, "domain: Value error, 24 components of"),
        (["metrics", 0, "rows", "identity"], [1.0], "metrics.0: Value error, row 'identity' of .* has not 3 numbers"),
        (["metrics", -1, "columns"], [], "metrics.4: Value error, row 'this model' of 'coverage"),
        (["name"], "a\x1b[31m", "name: String should match pattern"),
        (["description"], "x" * 30_000, "description: String should have at most 20000 characters"),
        (["more"], 1, "more: Extra inputs are not permitted"),
    ],
)
def test_a_card_with_values_that_no_model_has(copied, path, value, said):
    content = json.loads((copied / "card.json").read_text())
    set_in(content, path, value)
    (copied / "card.json").write_text(json.dumps(content))
    with pytest.raises(ModelError, match=f"the card .*card.json is not valid: {said}"):
        cards.read_model(copied)


def test_the_hash_is_shown(copied):
    digest = cards.read_model(copied).card.sha256
    assert f"sha256 {digest}" in inspect_model(str(copied)).as_text()
    assert inspect_model(str(copied)).as_dict()["sha256"] == digest
