"""An ONNX file from elsewhere is data: what it may contain is checked before ONNX Runtime opens it.

Allowed are the operators of ONNX that calculate with arrays, on weights that are inside the file. Control flow,
strings, random numbers, operators of other domains, functions and files beside the model are refused, and so are sizes
that no model of this package needs.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path

from ..bundled import models_folder
from ..errors import DeviceError, ModelError

#: Largest ONNX file and largest card, bytes; the bundled ones have 2 MB and 0.15 MB at most.
LARGEST_FILE, LARGEST_CARD = 100_000_000, 4_000_000
#: Most nodes of a graph, most axes of an array, and most elements that a constant may ask for.
MOST_NODES, MOST_AXES, MOST_ELEMENTS = 50_000, 8, 2**28
#: Domains of the operators of ONNX itself.
DOMAINS = ("", "ai.onnx")
#: Operators that a model may use.
OPERATORS = frozenset(
    """
    Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization Cast CastLike Ceil
    Celu Clip Concat Constant ConstantOfShape Conv ConvTranspose Cos Cosh CumSum DepthToSpace Div Einsum Elu Equal
    Erf Exp Expand Flatten Floor Gather GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalMaxPool Greater
    GreaterOrEqual GroupNormalization HardSigmoid HardSwish Identity InstanceNormalization IsInf IsNaN
    LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax MatMul Max MaxPool Mean Min Mish Mod Mul Neg Not Or
    PRelu Pad Pow Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin
    ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize Round ScatterElements ScatterND Selu Shape Sigmoid Sign
    Sin Sinh Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh Tile TopK
    Transpose Trilu Unsqueeze Where Xor
    """.split()
)
#: Operators whose result has the size that an input asks for.
_SIZED = {"ConstantOfShape", "Expand", "Pad", "Range", "Resize", "Tile"}
_REMEDY = "use a model written by insgan train, or one from a source that you trust to export plain ONNX"


def model_bytes(path: Path, sha256: str | None = None) -> bytes:
    """The contents of a model, checked (`check_model`) unless it is bundled with this package.

    Parameters
    ----------
    path : Path
    sha256 : str, optional
        What it must have.

    Raises
    ------
    ModelError
        If the file cannot be read, has another hash or is too large, or as `check_model`.
    DeviceError
        If it is not bundled, and the package onnx, which checks it, is not installed.
    """
    try:
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise ModelError(f"{path} has {size:,} bytes, and a model may have {LARGEST_FILE:,}", _REMEDY)
        content = path.read_bytes()
    except OSError as problem:
        raise ModelError(
            f"{path} cannot be read ({problem.strerror})", "check the name and the permissions"
        ) from problem
    if sha256 is not None and (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise ModelError(
            f"{path} has the hash {found[:12]}..., and had {sha256[:12]}... before: it was changed in between",
            "copy the model and its card again",
        )
    if models_folder().resolve() not in path.resolve().parents:
        check_model(content, path)
    return content


def check_model(content: bytes, path: Path) -> None:
    """Raise ModelError for an ONNX file that is more than a calculation with arrays.

    Parameters
    ----------
    content : bytes
        Of the file.
    path : Path
        Its name, for messages.

    Raises
    ------
    ModelError
        If it cannot be parsed, has other operators or domains, functions, or data in other files, or asks for arrays
        that are too large; the message names what was found.
    DeviceError
        If the package onnx is not installed.
    """
    model = _parsed(content, path)
    if model.functions:
        raise ModelError(
            f"{path} has the function {_name(model.functions[0].name)}, and only operators of ONNX are allowed", _REMEDY
        )
    if model.training_info:
        raise ModelError(f"{path} has a graph for training, and only one that is applied is allowed", _REMEDY)
    for opset in model.opset_import:
        _require_domain(opset.domain, path)
    if len(model.graph.node) > MOST_NODES:
        raise ModelError(f"{path} has {len(model.graph.node):,} nodes, and {MOST_NODES:,} are allowed", _REMEDY)
    for node in model.graph.node:
        _check_node(node, path)
    for tensor in _tensors(model.graph):
        _check_tensor(tensor, path)
    _check_sizes(model.graph, path)


def _parsed(content: bytes, path: Path):
    try:
        import onnx
    except ImportError as missing:
        raise DeviceError(
            f"{path} is not a bundled model, and the package onnx, which checks models from elsewhere, is missing",
            "pip install onnx",
        ) from missing
    from google.protobuf.message import DecodeError

    try:
        model = onnx.ModelProto.FromString(content)
    except (DecodeError, RecursionError, UnicodeDecodeError) as problem:
        raise ModelError(
            f"{path} is no ONNX file: it cannot be parsed", "install or export the model again"
        ) from problem
    if not model.graph.node or not model.opset_import:
        raise ModelError(f"{path} is no ONNX file: it has no graph", "install or export the model again")
    return model


def _name(text: str) -> str:
    """A name from a file, short and without control characters."""
    return repr(text[:60])


def _require_domain(domain: str, path: Path) -> None:
    if domain not in DOMAINS:
        raise ModelError(
            f"{path} uses operators of the domain {_name(domain)}, and only those of ONNX are allowed", _REMEDY
        )


def _check_node(node, path: Path) -> None:
    _require_domain(node.domain, path)
    if node.op_type not in OPERATORS:
        raise ModelError(
            f"{path} uses the operator {_name(node.op_type)}, which is none of the {len(OPERATORS)} that models may "
            "use",
            _REMEDY,
        )
    for attribute in node.attribute:
        if attribute.HasField("g") or attribute.graphs:
            raise ModelError(
                f"{path} has a graph inside the operator {_name(node.op_type)}, and none is allowed", _REMEDY
            )


def _tensors(graph) -> Iterator:
    """All arrays that are stored in a graph without graphs inside."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for sparse in (
                *([attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []),
                *attribute.sparse_tensors,
            ):
                yield from (sparse.values, sparse.indices)


def _check_tensor(tensor, path: Path) -> None:
    if tensor.external_data or tensor.data_location != 0:
        raise ModelError(
            f"{path} takes the weights {_name(tensor.name)} from another file, and all must be inside it", _REMEDY
        )
    dims = list(tensor.dims)
    if len(dims) > MOST_AXES or any(d < 0 for d in dims) or math.prod(dims) > MOST_ELEMENTS:
        raise ModelError(
            f"{path} has the weights {_name(tensor.name)} of shape {str(dims)[:80]}, and up to {MOST_AXES} axes and "
            f"{MOST_ELEMENTS:,} elements are allowed",
            _REMEDY,
        )


def _check_sizes(graph, path: Path) -> None:
    """Sizes that constants ask for, where they can be seen without running the graph."""
    import numpy as np
    from onnx import numpy_helper

    known = {t.name: t for t in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t") and node.output:
            known[node.output[0]] = node.attribute[0].t
    for node in graph.node:
        if node.op_type not in _SIZED:
            continue
        for tensor in (known[name] for name in node.input[:4] if name in known):
            try:
                values = np.abs(numpy_helper.to_array(tensor).astype(float)).ravel()
            except (ValueError, TypeError, OverflowError) as problem:
                raise ModelError(
                    f"{path} has the weights {_name(tensor.name)}, whose data do not fit their shape", _REMEDY
                ) from problem
            # the data of Pad and Expand may be of any size and value; what is asked for are few whole numbers
            if (
                values.size <= MOST_AXES * 2
                and tensor.data_type in (6, 7)
                and np.prod(np.maximum(values, 1)) > MOST_ELEMENTS
            ):
                raise ModelError(
                    f"{path} asks for an array of {str(values.tolist())[:80]} in the operator {node.op_type}, and "
                    f"{MOST_ELEMENTS:,} elements are allowed",
                    _REMEDY,
                )
