"""Read the weights of an exported model, to start a training from them."""

from __future__ import annotations

import numpy as np
import torch

from ..errors import ModelError
from ..translate.cards import ModelFile
from ..translate.graph import model_bytes
from .generator import COARSE_BLOCKS, Generator


def generator_of(model: ModelFile) -> Generator:
    """The generator that a model was exported from; its weights are the graph's. Models that are not told a finer
    resolution become generators that do not mind it.

    Raises
    ------
    ModelError
        If the graph holds no generator weights of this version.
    """
    import onnx
    from onnx import numpy_helper

    # from its bytes, so that no other file is read
    content = model_bytes(model.path, model.card.sha256)
    stored = {i.name: i for i in onnx.load_model_from_string(content).graph.initializer}
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
    told = any(name.startswith(_LAST_BLOCK) for name in (n.removeprefix("generator.") for n in stored))
    for name in dict(generator.named_parameters()):
        if name.startswith(_LAST_BLOCK) and not told:
            continue  # as initialised it changes nothing
        found = stored.get(f"generator.{name}")
        values = None if found is None else torch.from_numpy(np.array(numpy_helper.to_array(found)))
        if name == "network.enter.weight" and not told:
            values = _with_unseen_channels(values, weights[name].shape[1])
        if values is None or values.shape != weights[name].shape:
            shape = None if values is None else tuple(values.shape)
            raise ModelError(
                f"{model.path} has {name} of shape {shape}, a generator of this version {tuple(weights[name].shape)}",
                "start without it (--warm-start none)",
            )
        weights[name] = values
    generator.load_state_dict(weights)
    return generator


#: A block that models which are not told a finer resolution do not have.
_LAST_BLOCK = f"network.coarse.{COARSE_BLOCKS - 1}."


def _with_unseen_channels(weight: torch.Tensor, channels: int) -> torch.Tensor:
    """The weights of the first layer for more channels at its end, which then have no effect."""
    missing = weight.new_zeros(weight.shape[0], max(channels - weight.shape[1], 0), *weight.shape[2:])
    return torch.cat([weight, missing], dim=1)
