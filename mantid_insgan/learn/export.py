"""Export a trained generator to ONNX and check it against torch."""

from __future__ import annotations

import copy
import logging
import tempfile
import warnings
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..core.files import replacing
from ..core.kernels import reach_of
from ..errors import ModelError
from ..translate.cards import INPUTS, MORE_INPUTS, OUTPUTS, STEPS
from .generator import Generator, channels_of_finer
from .operator import pairs_of_axes

OPSET = 20
#: FWHM in bins on which it is checked.
_WIDEST = 8.0
#: Batch and grid on which it is traced, and those on which it is checked: the first axes, small because users wait.
_TRACED = (2, 16, 24, 20)
_CHECKED = ((1, 16, 40, 20), (2, 20, 16, 16), (1, 60, 20, 16))
#: Largest difference from torch allowed in an exported model, relative to the largest value.
TOLERANCE = 1e-4


class _Exported(nn.Module):
    """The generator with what a user's result is judged by: the translation with the resolution put in (again)."""

    def __init__(self, generator: Generator):
        super().__init__()
        self.generator = generator

    def forward(self, signal, valid, error, width, correlation, position, finer, steps):
        conditions = width, correlation, position, finer, steps
        translated, log_variance, features = self.generator(signal, valid, error, *conditions)
        again = self.generator.explained(signal, translated, valid, *conditions)
        return translated, log_variance, again, features


class _ExportedCut(_Exported):
    """In one dimension there is no pair of axes, so there is no input `correlation`."""

    def forward(self, signal, valid, error, width, position, finer, steps):
        return super().forward(signal, valid, error, width, width[:, :0], position, finer, steps)


def input_names(dimensions: int) -> tuple[str, ...]:
    """Inputs of an exported model, in their order."""
    more = MORE_INPUTS if dimensions > 1 else MORE_INPUTS[1:]
    return (*INPUTS, *more, STEPS)


def export(generator: Generator, path: Path, graph: bytes | None = None) -> None:
    """Write `generator` to `path` as ONNX with dynamic batch and grid (multiples of 4).

    Parameters
    ----------
    generator : Generator
    path : Path
    graph : bytes, optional
        What `trace_form` gave for a generator of the same form, which saves most of the time; traced anew if not given.

    Raises
    ------
    ModelError
        If ONNX Runtime's answers differ from torch's on random inputs of several sizes; nothing is written then.
    """
    with replacing(path, ".part.onnx") as temporary:
        if graph is None or not _fits(graph, generator, temporary):
            temporary.write_bytes(trace(generator))
            _check(_exported(generator), temporary)


def _fits(graph: bytes, generator: Generator, path: Path) -> bool:
    """Write a graph with the weights of a generator; False if that does not answer as the generator does, because the
    exporter has made other constants of some weights."""
    try:
        path.write_bytes(_with_weights(graph, generator))
        _check(_exported(generator), path)
    except ModelError:
        return False
    return True


def _exported(generator: Generator) -> _Exported:
    """In evaluation mode as a whole: the exporter puts modules back into the mode that the outermost one is in."""
    return (_ExportedCut if generator.dimensions == 1 else _Exported)(generator.eval()).eval()


def trace(generator: Generator) -> bytes:
    """The ONNX graph of a generator, simplified."""
    inputs = input_names(generator.dimensions)
    example = _random_inputs(_TRACED[: 1 + generator.dimensions], generator.dimensions, seed=0)
    grid = {0: "batch"} | {2 + i: name for i, name in enumerate(("first", "second", "third")[: generator.dimensions])}
    torch.onnx.register_custom_op_symbolic("aten::asinh", _asinh, 9)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's own internals
        temporary = Path(folder) / "traced.onnx"
        # By tracing, in seconds: torch.export takes minutes over the shapes of the operator's many gathers.
        torch.onnx.export(
            _exported(generator),
            example,
            temporary,
            dynamo=False,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=list(OUTPUTS),
            dynamic_axes=dict.fromkeys(inputs[:-1], grid) | {STEPS: {0: "reach"}},
        )
        _simplify(temporary)
        forget_where(temporary)
        return temporary.read_bytes()


def trace_form(generator: Generator) -> bytes:
    """The graph of generators of this form, for `export`. Tracing is most of an export, many seconds in three
    dimensions, so a training does it before its first step, when nobody waits for the model."""
    drawn, random = copy.deepcopy(generator), torch.Generator().manual_seed(0)
    with torch.no_grad():  # the exporter merges weights that are equal, as those at the start of a training are
        for weight in drawn.parameters():
            weight.copy_(0.1 * torch.randn(weight.shape, generator=random))
    return trace(drawn)


def _with_weights(graph: bytes, generator: Generator) -> bytes:
    """A graph with the weights of a generator of the same form in place of its own.

    Raises
    ------
    ModelError
        If the graph does not have these weights.
    """
    import onnx
    from onnx import numpy_helper

    model = onnx.load_model_from_string(graph)
    stored = {i.name: i for i in model.graph.initializer}
    for name, weight in generator.named_parameters():
        found = stored.get(f"generator.{name}")
        if found is None or tuple(found.dims) != tuple(weight.shape):
            raise ModelError(
                f"the graph has no weights {name} of shape {tuple(weight.shape)}", "trace the generator itself"
            )
        found.CopyFrom(numpy_helper.from_array(weight.detach().numpy(), found.name))
    return model.SerializeToString()


def export_graph(
    module: nn.Module,
    path: Path,
    inputs: dict[str, np.ndarray],
    outputs: Sequence[str],
    tolerance: float = TOLERANCE,
) -> None:
    """Write a module as ONNX for one example of its inputs.

    Parameters
    ----------
    module : Module
    path : Path
    inputs : dict of ndarray, each of shape (N, ...)
        Examples by the names of the inputs; ONNX Runtime is compared with torch on each.
    outputs : sequence of str
        Names of what the module gives.
    tolerance : float
        Largest difference, relative to the largest value or to 1.

    Raises
    ------
    ModelError
        If the answers of ONNX Runtime differ from those of torch; nothing is written then.
    """
    with warnings.catch_warnings(), _quiet_exporter():
        warnings.simplefilter("ignore")  # the exporter warns about its own internals
        program = torch.onnx.export(
            module.eval(),
            tuple(torch.from_numpy(x[:1]) for x in inputs.values()),
            dynamo=True,
            opset_version=OPSET,
            verbose=False,
            input_names=list(inputs),
            output_names=list(outputs),
        )
    with replacing(path, ".part.onnx") as temporary:
        program.save(temporary)
        forget_where(temporary)
        check_graph(module, temporary, inputs, outputs, tolerance)


@contextmanager
def _quiet_exporter():
    """Without the exporter's warnings in the log that it does not find torchvision, which no model here uses."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def check_graph(module: nn.Module, path: Path, inputs: dict[str, np.ndarray], outputs, tolerance: float) -> None:
    """Raise ModelError if an ONNX file answers otherwise than its module (parameters as `export_graph`)."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for n in range(len(next(iter(inputs.values())))):
        given = {name: x[n : n + 1] for name, x in inputs.items()}
        with torch.no_grad():
            expected = module(*map(torch.from_numpy, given.values()))
        for name, found, wanted in zip(outputs, session.run(list(outputs), given), expected, strict=True):
            _compare(f"the exported classifier's {name}", found, wanted.numpy(), tolerance)


def _compare(what: str, found: np.ndarray, wanted: np.ndarray, tolerance: float, where: str = "") -> None:
    off = float(np.abs(found - wanted).max() / max(1.0, np.abs(wanted).max()))
    if not off < tolerance:
        raise ModelError(
            f"{what} differs from torch's by {off:.2g} (relative){where}, allowed is {tolerance:g}",
            "export with the versions in constraints.txt",
        )


def _asinh(graph, x):
    """The operator that the exporter lacks."""
    return graph.op("Asinh", x)


def _simplify(path: Path) -> None:
    """Fold the constants of the traced graph once, which halves the time in which it is opened. Only the optimisations
    that do not depend on the machine are made; all operators stay those of ONNX."""
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath, options.log_severity_level = str(path), 3
    onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    model = onnx.load(path)
    used = [o for o in model.opset_import if not o.domain]
    del model.opset_import[:]
    model.opset_import.extend(used)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def forget_where(path: Path) -> None:
    """Remove the exporter's notes on each node: they are half of the file and hold paths of the machine it ran on."""
    import onnx

    model = onnx.load(path)
    for part in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output, model.graph):
        del part.metadata_props[:]
    for function in model.functions:
        for node in function.node:
            del node.metadata_props[:]
    onnx.save(model, path)


def _check(model: _Exported, path: Path) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    dimensions = model.generator.dimensions
    for seed, size in enumerate(_CHECKED, 1):
        inputs = _random_inputs(size[: 1 + dimensions], dimensions, seed)
        with torch.no_grad():
            expected = model(*inputs)
        named = zip(input_names(dimensions), inputs, strict=True)
        found = session.run(list(OUTPUTS), {name: x.numpy() for name, x in named})
        for name, one, other in zip(OUTPUTS, found, expected, strict=True):
            _compare(f"the exported model's {name}", one, other.numpy(), TOLERANCE, f" on a grid of {size}")


def _random_inputs(size, dimensions: int, seed: int) -> tuple[torch.Tensor, ...]:
    random = torch.Generator().manual_seed(seed)
    batch, grid = size[0], size[1:]
    rand = lambda channels: torch.rand(batch, channels, *grid, generator=random)  # noqa: E731
    signal, valid = rand(1), (rand(1) > 0.2).float()
    # Smooth, as real ones are: where a step is rounded to the next bin, one rounding error would be a bin's intensity.
    ramp = torch.linspace(0.3, 1.0, grid[-1]).expand(batch, 1, *grid)
    width, position = _WIDEST * ramp.repeat(1, dimensions, *[1] * dimensions), ramp.repeat(1, 3, *[1] * dimensions)
    correlation = 0.6 * ramp.repeat(1, len(pairs_of_axes(dimensions)), *[1] * dimensions)
    finer = torch.cat([width / (1 + seed), correlation], dim=1)[:, : channels_of_finer(dimensions)]
    conditions = (width, correlation, position) if dimensions > 1 else (width, position)
    reach = reach_of(_WIDEST)
    return signal, valid, 0.1 * signal, *conditions, finer, torch.arange(-reach, reach + 1.0)
