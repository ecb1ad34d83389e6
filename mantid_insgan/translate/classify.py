"""Which of some rival models a spectrum shows: a trained classifier is applied, and may answer "unknown".

A classifier is one ONNX file with its card in the same folder (``NAME.json``). It belongs to one grid. Nothing is
unpickled, and torch is not needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ..core.slices import intensity_scale, require_valid
from ..core.spectrum import Axis, Spectrum, per_event
from ..errors import ModelError
from .cards import Table, verified_card
from .session import run_interruptibly, start_session

#: Inputs of a classifier, both (1, 1, *open axes), and its outputs: (1, models), and three of shape (1,).
INPUTS = ("signal", "valid")
MEASURES = ("distance", "disagreement", "other")
OUTPUTS = ("probability", *MEASURES)
#: Largest difference between the axes of data and classifier, as a share of a bin.
SAME_GRID = 0.05
#: Largest difference between numbers of the run, as a share, that is not worth a note.
_SAME_RUN = 0.02


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CardAxis(_Part):
    """An axis of the grid of a classifier."""

    name: str
    unit: str
    low: float
    high: float
    bins: int = Field(ge=1)

    @classmethod
    def of(cls, axis: Axis) -> CardAxis:
        """The description of an axis."""
        low, high = float(axis.edges[0]), float(axis.edges[-1])
        return cls(name=axis.name, unit=axis.unit, low=low, high=high, bins=len(axis))

    def fits(self, axis: Axis) -> bool:
        """Whether an axis has this name and these bins, within `SAME_GRID`."""
        off = np.abs(np.subtract((axis.edges[0], axis.edges[-1]), (self.low, self.high))).max()
        return (
            axis.name == self.name and len(axis) == self.bins and off <= SAME_GRID * (self.high - self.low) / self.bins
        )

    def __str__(self) -> str:
        return f"{self.name} {self.low:g} to {self.high:g} in {self.bins} bin{'s' * (self.bins > 1)}"


class Rival(_Part):
    """One of the models that a classifier tells apart."""

    name: str
    source: str
    ranges: dict[str, tuple[float, float]] = Field(description="from where to where each free parameter was drawn")
    draws: int
    unstable: int = Field(description="draws without a stable ground state, which were drawn again")
    unseen: int = Field(description="draws without intensity on the grid, which were drawn again")


class Thresholds(_Part):
    """Above any of these a spectrum is 'unknown'; together they flag a share of the validation spectra."""

    distance: float = Field(gt=0, description="Mahalanobis distance of the features from the nearest model's")
    disagreement: float = Field(gt=0, description="of the networks, nats")
    other: float = Field(gt=0, description="probability of a spectrum of no model, as the networks saw in the training")
    share: float


class ClassifierCard(_Part):
    """The card of a classifier."""

    kind: Literal["classifier"]
    version: str
    rivals: list[Rival] = Field(min_length=2)
    axes: list[CardAxis]
    run: dict[str, str | float]
    normalisation: str
    members: int
    temperature: float = Field(gt=0, description="logits are divided by this, found on validation spectra")
    unknown: Thresholds
    command: str
    seed: int
    epochs: int
    software: dict[str, str]
    metrics: list[Table]
    notes: list[str] = []
    sha256: str = ""

    @property
    def names(self) -> list[str]:
        """Names of the models, in the order of the probabilities."""
        return [rival.name for rival in self.rivals]


@dataclass(frozen=True)
class ClassifierFile:
    """A classifier on disk: its card and its ONNX file, which is not opened yet."""

    card: ClassifierCard
    path: Path


@dataclass(frozen=True)
class Classification:
    """What a classifier says of a spectrum.

    Parameters
    ----------
    probabilities : dict of str to float
        By the names of the models; the sum is 1. They hold if the spectrum is of one of the models.
    unknown : bool
        True if the spectrum is not like those of the training: the probabilities then mean nothing.
    reasons : tuple of str
        Why it is unknown.
    distance, disagreement, other : float
        From the training spectra; between the networks; likeness to spectra of no model. 1 is the threshold of each.
    notes : tuple of str
        Facts of the run in which the data differ from the training.
    """

    probabilities: dict[str, float]
    unknown: bool
    reasons: tuple[str, ...]
    distance: float
    disagreement: float
    other: float
    notes: tuple[str, ...] = ()

    @property
    def answer(self) -> str:
        """The name of the most probable model, or 'unknown'."""
        return "unknown" if self.unknown else max(self.probabilities, key=self.probabilities.get)

    def as_dict(self) -> dict:
        """For JSON."""
        return {"answer": self.answer, **vars(self)}


def read_classifier(path: str | Path) -> ClassifierFile:
    """The classifier in an ONNX file, with its card.

    Raises
    ------
    ModelError
        If a file is missing, the card cannot be parsed, or the hash does not match.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"there is no classifier {str(path)!r}", "give the .onnx file that train-classifier wrote")
    return ClassifierFile(verified_card(path, ClassifierCard), path)


def classify(spectrum: Spectrum, classifier: ClassifierFile | str | Path) -> Classification:
    """Say which of the models of a classifier a spectrum shows.

    Parameters
    ----------
    spectrum : Spectrum
        On the grid of the classifier.
    classifier : ClassifierFile or path

    Raises
    ------
    ModelError
        If the grid is another one, or the classifier cannot be used.
    InputError
        If no bin is valid.
    DeviceError
        If ONNX Runtime is missing.
    """
    if not isinstance(classifier, ClassifierFile):
        classifier = read_classifier(classifier)
    card = classifier.card
    _require_grid(card, spectrum)
    require_valid(spectrum)
    session = start_session(classifier.path, "cpu", 1, card.sha256)
    _check_graph(classifier, session)
    spectrum = per_event(spectrum)
    inputs = network_input(spectrum.signal, spectrum.valid)
    grid = tuple(n for n in spectrum.shape if n > 1)
    given = {name: x.reshape(1, 1, *grid) for name, x in zip(INPUTS, inputs, strict=True)}
    answer = [np.asarray(x, float) for x in run_interruptibly(session, list(OUTPUTS), given, lambda: None)]
    _check_answer(classifier, answer)
    probability, *measures = (x[0] for x in answer)
    return _judged(card, probability, dict(zip(MEASURES, measures, strict=True)), _notes(card, spectrum))


def _check_answer(classifier: ClassifierFile, answer: list[np.ndarray]) -> None:
    probability, *measures = answer
    whole = probability.shape == (1, len(classifier.card.names)) and all(x.shape == (1,) for x in measures)
    if not (whole and all(np.isfinite(x).all() for x in answer) and probability.min() >= 0 < probability.sum()):
        raise ModelError(
            f"{classifier.path} gives arrays of the shapes {[x.shape for x in answer]}, expected "
            f"{len(classifier.card.names)} probabilities and one finite number for each of {', '.join(MEASURES)}",
            "use the file and the card that were written together",
        )


def network_input(signal: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two channels that a classifier sees, float32: the signal divided by its root mean square over the valid
    bins and 0 elsewhere, and 1 where a bin is valid."""
    scaled = np.where(valid, signal, 0.0) / intensity_scale(signal, valid)
    return scaled.astype(np.float32), valid.astype(np.float32)


def _judged(card: ClassifierCard, probability, measures: dict, notes: tuple[str, ...]) -> Classification:
    over = {name: float(value) / getattr(card.unknown, name) for name, value in measures.items()}
    said = {
        "distance": "it is {:.2f} times as far from the training spectra as the threshold",
        "disagreement": "the networks disagree {:.2f} times as much as the threshold",
        "other": "it is {:.2f} times as likely to be of no model as the threshold",
    }
    reasons = tuple(said[name].format(value) for name, value in over.items() if not value <= 1)
    named = dict(zip(card.names, (probability / probability.sum()).tolist(), strict=True))
    return Classification(named, bool(reasons), reasons, **over, notes=notes)


def _require_grid(card: ClassifierCard, spectrum: Spectrum) -> None:
    axes = spectrum.axes
    if len(axes) == len(card.axes) and all(c.fits(a) for c, a in zip(card.axes, axes, strict=True)):
        return
    found, wanted = ("; ".join(map(str, x)) for x in (map(CardAxis.of, axes), card.axes))
    raise ModelError(
        f"the data have the axes {found}, but the classifier was trained for {wanted}",
        "bin the data on the grid of the classifier, or train one for these data (insgan train-classifier --like)",
    )


def _check_graph(classifier: ClassifierFile, session) -> None:
    grid = [a.bins for a in classifier.card.axes if a.bins > 1]
    expected = dict.fromkeys(INPUTS, [1, 1, *grid])
    found = {i.name: list(i.shape) for i in session.get_inputs()}
    outputs = {o.name: list(o.shape) for o in session.get_outputs()}
    if found != expected or set(outputs) != set(OUTPUTS) or outputs["probability"] != [1, len(classifier.card.names)]:
        raise ModelError(
            f"{classifier.path} takes {found} and gives {outputs}; its card asks for {expected} and {list(OUTPUTS)} "
            f"with {len(classifier.card.names)} probabilities",
            "use the file and the card that were written together",
        )


def run_facts(run) -> dict[str, str | float]:
    """What a card says of the run: instrument, ei, chopper and frequency, where they are known."""
    found = {name: run.value(name) for name in ("instrument", "ei", "chopper", "frequency")}
    return {
        name: value if isinstance(value, str) else float(value) for name, value in found.items() if value is not None
    }


def _notes(card: ClassifierCard, spectrum: Spectrum) -> tuple[str, ...]:
    notes = []
    for name, value in run_facts(spectrum.run).items():
        trained = card.run.get(name, value)
        if isinstance(value, str) or isinstance(trained, str):
            same = str(value).lower() == str(trained).lower()
        else:
            same = abs(value - trained) <= _SAME_RUN * abs(trained)
        if not same:
            notes.append(f"{name} of the data is {value}, but the classifier was trained for {trained}")
    return tuple(notes)
