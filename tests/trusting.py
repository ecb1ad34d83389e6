"""Cards with and without what they may say of trust, whatever the bundled ones say."""

from dataclasses import replace

import numpy as np

from mantid_insgan.translate import cards
from mantid_insgan.translate.cards import Blocks, Reconvolution
from mantid_insgan.translate.trust import STATISTICS, Plausible

RECONVOLUTION = Reconvolution(counted=0.8, relative=0.1, spread=0.3, floor=0.01)


def blocks(rng, count: int = 500, **changes) -> Blocks:
    """Of standard normal numbers at every noise: the distances of others are found as the calibration finds them."""
    known = rng.standard_normal((count, len(STATISTICS)))
    plain = {"conditions": "", "centre": [0.0] * len(STATISTICS), "scale": [1.0] * len(STATISTICS), "nearest": 5}
    plain |= {"known": known.tolist(), "noise": [-1.0, 1.0]}
    finder = Plausible(Blocks(**plain, distances=[np.arange(1.0, 101.0).tolist()] * 2))
    far = [finder.distance(v) for v in rng.standard_normal((1000, len(STATISTICS)))]
    return Blocks(**plain | {"distances": [np.quantile(far, np.linspace(0, 1, 101)).tolist()] * 2} | changes)


def far_blocks() -> Blocks:
    """Every spectrum is far from these, and what is unusual is smaller than theirs."""
    distances = [np.linspace(0.001, 0.002, 101).tolist()] * 2
    return blocks(np.random.default_rng(4), centre=[50.0] * len(STATISTICS), distances=distances)


def near_blocks() -> Blocks:
    """No spectrum is far from these."""
    return blocks(np.random.default_rng(4), distances=[np.linspace(100.0, 200.0, 101).tolist()] * 2)


def without_blocks(monkeypatch) -> None:
    """All models are opened with cards that say nothing of trust."""
    open_with(monkeypatch, None)


def with_far_blocks(monkeypatch) -> None:
    """All models are opened with cards whose blocks every spectrum is far from."""
    open_with(monkeypatch, far_blocks())


def with_near_blocks(monkeypatch) -> None:
    """All models are opened with cards whose blocks no spectrum is far from."""
    open_with(monkeypatch, near_blocks())


def open_with(monkeypatch, known: Blocks | None) -> None:
    """All models are opened with cards that have these blocks, or say nothing of trust."""
    read = cards.read_model
    monkeypatch.setattr(cards, "read_model", lambda path: told(read(path), known))


def told(model, known: Blocks | None, reconvolution: Reconvolution | None = RECONVOLUTION):
    """A model whose card has these blocks, and what is expected of the result convolved again where it has blocks and
    removes the resolution."""
    removes = known is not None and model.card.direction == "remove-resolution"
    changes = {"intervals": None, "blocks": known, "reconvolution": reconvolution if removes else None}
    return replace(model, card=model.card.model_copy(update=changes))
