"""Read the weights of an exported model, to start a training from them."""

from __future__ import annotations

import numpy as np
import torch

from ..errors import ModelError
from ..translate.cards import ModelFile
from .generator import Generator


def generator_of(model: ModelFile) -> Generator:
    """The generator that a model was exported from; its weights are the graph's.

    Raises
    ------
    ModelError
        If the graph holds no generator weights of this version.
    """
    import onnx
    from onnx import numpy_helper

    stored = {i.name: i for i in onnx.load(model.path).graph.initializer}
    first = stored.get("generator.network.enter.weight")
    if first is None:
        raise ModelError(f"{model.path} holds no generator weights", "start without it (--warm-start none)")
    generator = Generator(
        model.card.direction,
        model.card.dimensions,
        int(first.dims[0]),
        simulation=model.card.simulation,
        background="generator.background.layers.0.weight" in stored,
    )
    weights = dict(generator.state_dict())
    for name in dict(generator.named_parameters()):
        found = stored.get(f"generator.{name}")
        if found is None or tuple(found.dims) != tuple(weights[name].shape):
            shape = None if found is None else tuple(found.dims)
            raise ModelError(
                f"{model.path} has {name} of shape {shape}, a generator of this version {tuple(weights[name].shape)}",
                "start without it (--warm-start none)",
            )
        weights[name] = torch.from_numpy(np.array(numpy_helper.to_array(found)))
    generator.load_state_dict(weights)
    return generator
