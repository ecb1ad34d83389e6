"""What all classifiers have in common: their inputs, a run of the network with its outputs checked, and the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..core.options import overridden
from ..core.slices import intensity_scale
from ..core.spectrum import Spectrum
from ..errors import ModelError
from .classifier_card import ClassifierCard, ClassifierFile, Grid, MapsCard
from .session import run_interruptibly, start_session

#: Inputs of a classifier of a spectrum, both (1, 1, *open axes).
INPUTS = ("signal", "valid")
_TOGETHER = "use the file and the card that were written together"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a classifier says.

    Parameters
    ----------
    probabilities : dict of str to float
        By the names of the models; the sum is 1. They hold if the data are of one of the models.
    unknown : bool
        True if the data are not like those of the training: the probabilities then mean nothing.
    reasons : tuple of str
        Why it is unknown.
    notes : tuple of str
        Facts of the run in which the data differ from the training.
    """

    probabilities: dict[str, float]
    unknown: bool
    reasons: tuple[str, ...]
    notes: tuple[str, ...] = ()
    #: What is compared with thresholds.
    measures: ClassVar[tuple[str, ...]] = ()

    @property
    def answer(self) -> str:
        """The name of the most probable model, or 'unknown'."""
        return "unknown" if self.unknown else max(self.probabilities, key=self.probabilities.get)

    def as_dict(self) -> dict:
        """For JSON."""
        return {"answer": self.answer, **vars(self)}


def notes_on_run(grid: Grid, spectrum: Spectrum) -> tuple[str, ...]:
    """What a user should know of the facts of the run: replaced by options, unlike those of the training, noticed when
    the data were read."""
    return (*overridden(spectrum.run), *grid.differences(spectrum.run).values(), *spectrum.run.notes)


def network_input(signal: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two channels that a classifier sees, float32: the signal divided by its root mean square over the valid
    bins and 0 elsewhere, and 1 where a bin is valid."""
    scaled = np.where(valid, signal, 0.0) / intensity_scale(signal, valid)
    return scaled.astype(np.float32), valid.astype(np.float32)


def run_classifier(
    classifier: ClassifierFile, inputs: Sequence[np.ndarray], outputs: dict[str, list[int]]
) -> dict[str, np.ndarray]:
    """The outputs of a classifier, as float64, by name.

    Parameters
    ----------
    classifier : ClassifierFile
    inputs : two ndarray
        Signal and valid.
    outputs : dict of str to list of int
        Shapes of the outputs that it must have; one is 'probability'.

    Raises
    ------
    ModelError
        If inputs or outputs of the file are others, or what it gives is not finite or no probability.
    DeviceError
        If ONNX Runtime is missing.
    """
    session = start_session(classifier.path, "cpu", 1, classifier.card.sha256)
    _check_graph(classifier, session, inputs[0].shape, outputs)
    given = dict(zip(INPUTS, inputs, strict=True))
    found = [np.asarray(x, float) for x in run_interruptibly(session, list(outputs), given, lambda: None)]
    found = dict(zip(outputs, found, strict=True))
    _check_answer(classifier, found, outputs)
    return found


def _check_graph(classifier: ClassifierFile, session, shape: tuple[int, ...], outputs: dict[str, list[int]]) -> None:
    expected = dict.fromkeys(INPUTS, list(shape))
    found = {i.name: list(i.shape) for i in session.get_inputs()}
    given = {o.name: list(o.shape) for o in session.get_outputs()}
    if found != expected or given != outputs:
        raise ModelError(
            f"{classifier.path} takes {found} and gives {given}; its card asks for {expected} and {list(outputs)} "
            f"with {len(classifier.card.names)} probabilities",
            _TOGETHER,
        )


def _check_answer(classifier: ClassifierFile, found: dict[str, np.ndarray], outputs: dict[str, list[int]]) -> None:
    probability = found["probability"]
    whole = all(list(found[name].shape) == shape and np.isfinite(found[name]).all() for name, shape in outputs.items())
    if not (whole and probability.min() >= 0 < probability.sum()):
        raise ModelError(
            f"{classifier.path} gives arrays of the shapes {[x.shape for x in found.values()]}, expected "
            f"{len(classifier.card.names)} probabilities, and finite numbers of the shapes {outputs}",
            _TOGETHER,
        )


def judged(card: ClassifierCard | MapsCard, probability, measures: dict[str, float], said: dict[str, str]) -> dict:
    """What an `Answer` holds, without its notes: probabilities by name, and measures in units of their thresholds.

    Parameters
    ----------
    card : ClassifierCard or MapsCard
    probability : ndarray, shape (models,)
    measures : dict of str to float
    said : dict of str to str
        The reason that each measure gives above its threshold, with a place for the number.
    """
    over = {name: value / getattr(card.unknown, name) for name, value in measures.items()}
    reasons = tuple(said[name].format(value) for name, value in over.items() if not value <= 1)
    named = dict(zip(card.names, (probability / probability.sum()).tolist(), strict=True))
    return {"probabilities": named, "unknown": bool(reasons), "reasons": reasons, **over}
