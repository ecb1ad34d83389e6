"""Which of some rival models a spectrum, or several maps of one measurement, show: a trained classifier is applied, and
may answer "unknown".

A classifier is one ONNX file with its card in the same folder (``NAME.json``). It belongs to one grid, or to one set of
grids (`classify_maps`). Nothing is unpickled, and torch is not needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ..core.slices import require_valid
from ..core.spectrum import Spectrum, per_event
from ..errors import InputError, ModelError
from .classifier_card import ClassifierCard, ClassifierFile, Grid, MapsCard, read_classifier
from .classifier_run import Answer, judged, network_input, notes_on_run, run_classifier
from .classify_maps import classify_maps

#: Outputs of a classifier of a spectrum: (1, models), and three of shape (1,).
MEASURES = ("distance", "disagreement", "other")
OUTPUTS = ("probability", *MEASURES)


@dataclass(frozen=True, kw_only=True)
class Classification(Answer):
    """What a classifier says of a spectrum.

    Parameters
    ----------
    distance, disagreement, other : float
        From the training spectra; between the networks; likeness to spectra of no model. 1 is the threshold of each.
    """

    distance: float
    disagreement: float
    other: float
    measures: ClassVar = MEASURES


def classify(data: Spectrum | Sequence[Spectrum], classifier: ClassifierFile | str | Path) -> Answer:
    """Say which of the models of a classifier a spectrum shows, or several maps of one measurement together.

    Parameters
    ----------
    data : Spectrum, or sequence of Spectrum
        On the grid of the classifier; maps in any order.
    classifier : ClassifierFile or path

    Returns
    -------
    Classification
        If the classifier is of one spectrum.
    MapsAnswer
        If it is of several maps.

    Raises
    ------
    ModelError
        If the grids, their number or the incident energies of maps are others, or the classifier cannot be used.
    InputError
        If no bin is valid, or several spectra are given to a classifier of one.
    DeviceError
        If ONNX Runtime is missing.
    """
    if not isinstance(classifier, ClassifierFile):
        classifier = read_classifier(classifier)
    spectra = [data] if isinstance(data, Spectrum) else list(data)
    if isinstance(classifier.card, MapsCard):
        return classify_maps(spectra, classifier)
    if len(spectra) != 1:
        raise InputError(
            f"there are {len(spectra)} spectra, and the classifier {classifier.path.name} is of one",
            "classify them one by one, or train one for all of them together (train-classifier --like A --like B)",
        )
    return _of_one(spectra[0], classifier)


def _of_one(spectrum: Spectrum, classifier: ClassifierFile) -> Classification:
    card = classifier.card
    _require_grid(card, spectrum)
    require_valid(spectrum)
    spectrum = per_event(spectrum)
    inputs = network_input(spectrum.signal, spectrum.valid)
    grid = tuple(n for n in spectrum.shape if n > 1)
    found = run_classifier(classifier, [x.reshape(1, 1, *grid) for x in inputs], _shapes(card))
    measures = {name: float(found[name][0]) for name in MEASURES}
    said = {
        "distance": "it is {:.2f} times as far from the training spectra as the threshold",
        "disagreement": "the networks disagree {:.2f} times as much as the threshold",
        "other": "it is {:.2f} times as likely to be of no model as the threshold",
    }
    notes = notes_on_run(card, spectrum)
    return Classification(**judged(card, found["probability"][0], measures, said), notes=notes)


def _shapes(card: ClassifierCard) -> dict[str, list[int]]:
    return {"probability": [1, len(card.names)], **dict.fromkeys(MEASURES, [1])}


def _require_grid(card: Grid, spectrum: Spectrum) -> None:
    if card.fits(spectrum.axes):
        return
    raise ModelError(
        f"the data have the axes {Grid.of(spectrum).described}, but the classifier was trained for {card.described}",
        "bin the data on the grid of the classifier, or train one for these data (insgan train-classifier --like)",
    )
