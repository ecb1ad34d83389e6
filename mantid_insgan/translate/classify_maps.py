"""Which of some rival models several maps of one measurement show together: their classifier is applied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from ..core.spectrum import Axis, Spectrum, per_event
from ..errors import InputError, ModelError
from .classifier_card import SAME_GRID, ClassifierFile, Grid, MapsCard
from .classifier_run import Answer, judged, notes_on_run, run_classifier

#: What is compared with thresholds, both of shape (1,), and all outputs of a classifier of maps beside them:
#: (1, models), and (1, maps, parts, models).
MEASURES = ("contradiction", "distance")
OUTPUTS = ("probability", *MEASURES, "evidence")
#: Maps that an error lists.
_LISTED = 3


@dataclass(frozen=True, kw_only=True)
class MapsAnswer(Answer):
    """What several maps show together.

    Parameters
    ----------
    contradiction, distance : float
        Likeness to a composite of two models; distance from what any of the models gives. 1 is the threshold of each.
    evidence : ndarray, shape (maps, parts, models)
        Log-likelihood of each model less that of the best in each part, in the order of the card; 0 where nothing was
        seen.
    """

    contradiction: float
    distance: float
    evidence: np.ndarray = field(repr=False)
    measures: ClassVar = MEASURES

    def of_maps(self, first: int, second: int) -> np.ndarray:
        """What each map says for one model against another, shape (maps,): positive for the first."""
        return (self.evidence[..., first] - self.evidence[..., second]).sum(axis=1)

    @property
    def maps_for(self) -> dict[str, int]:
        """How many of the maps prefer each model; maps that say nothing are not counted."""
        of_maps = self.evidence.sum(axis=1)
        best = of_maps.argmax(axis=1)[(of_maps < 0).any(axis=1)]
        return dict(zip(self.probabilities, np.bincount(best, minlength=len(self.probabilities)).tolist(), strict=True))

    def as_dict(self) -> dict:
        """For JSON; `maps` is the evidence of each map by model."""
        own = {name: value for name, value in super().as_dict().items() if name != "evidence"}
        return own | {"maps": [dict(zip(self.probabilities, m, strict=True)) for m in self.evidence.sum(1).tolist()]}


def classify_maps(spectra: Sequence[Spectrum], classifier: ClassifierFile) -> MapsAnswer:
    """Say which of the models of a classifier of maps some maps show together.

    Parameters
    ----------
    spectra : sequence of Spectrum
        One for each map of the card, in any order. A map without a valid bin says nothing.
    classifier : ClassifierFile

    Raises
    ------
    ModelError
        If their number, axes or incident energies are not those of the card, or the classifier cannot be used.
    InputError
        If no bin of any map is valid.
    DeviceError
        If ONNX Runtime is missing.
    """
    card = classifier.card
    ordered = in_order(card, spectra)
    notes = [notes_on_run(card_map, s) for card_map, s in zip(card.maps, ordered, strict=True)]
    values, valid = laid_out(ordered, card.mirrors)
    return classify_arrays(values, valid, classifier, notes=tuple(dict.fromkeys(n for each in notes for n in each)))


def classify_arrays(
    values: np.ndarray, valid: np.ndarray, classifier: ClassifierFile, notes: tuple[str, ...] = ()
) -> MapsAnswer:
    """As `classify_maps`, for what `laid_out` gives of the maps in the order of the card, (maps, parts, bins)."""
    card = classifier.card
    if not valid.any():
        raise InputError(f"no bin of the {len(valid)} maps is valid", "check the binning and the masks")
    inputs = [np.where(valid, values, 0.0)[None].astype(float), valid[None].astype(float)]
    maps, models = (len(card.maps), card.parts), len(card.names)
    shapes = {"probability": [1, models], **dict.fromkeys(MEASURES, [1]), "evidence": [1, *maps, models]}
    found = run_classifier(classifier, inputs, shapes)
    return answer_of(card, {name: found[name][0] for name in OUTPUTS}, notes)


def answer_of(card: MapsCard, found: dict[str, np.ndarray], notes: tuple[str, ...] = ()) -> MapsAnswer:
    """The answer to the outputs of a classifier of maps for one experiment, by name."""
    said = {
        "contradiction": "its parts speak for different models: {:.2f} times as much like a composite as the threshold",
        "distance": "it is {:.2f} times as far from what any model gives as the threshold",
    }
    measures = {name: float(found[name]) for name in MEASURES}
    return MapsAnswer(**judged(card, found["probability"], measures, said), evidence=found["evidence"], notes=notes)


def in_order(card: MapsCard, spectra: Sequence[Spectrum]) -> list[Spectrum]:
    """The spectra in the order of the maps of a card.

    Raises
    ------
    ModelError
        If there is not one spectrum for each map, by axes and incident energy.
    """
    left, found, missing = list(spectra), [], None
    for grid in card.maps:
        fitting = [s for s in left if grid.fits(s.axes) and "ei" not in grid.differences(s.run)]
        if not fitting:
            missing = grid
            break
        found.append(fitting[0])
        left = [s for s in left if s is not fitting[0]]
    if missing is None and not left:
        return found
    problem = f"there are {len(spectra)} maps, and the classifier was trained for {len(card.maps)} together"
    if missing is not None:
        problem += f"; none of those given is the map of {_shown(missing)}"
    if left:
        more = f", and {len(left) - _LISTED} more" * (len(left) > _LISTED)
        problem += f"; not used: {' and '.join(_shown(Grid.of(s)) for s in left[:_LISTED])}{more}"
    raise ModelError(
        problem,
        "give one file for each map of the card, on its grid and with its incident energy, in any order; or train a "
        "classifier for these files (insgan train-classifier --like)",
    )


def _shown(grid: Grid) -> str:
    return f"{grid.described}" + (f" at Ei {grid.run['ei']:g} meV" if "ei" in grid.run else "")


def laid_out(spectra: Sequence[Spectrum], mirrors: Sequence[str] = ()) -> tuple[np.ndarray, np.ndarray]:
    """Maps as a classifier sees them: values and valid bins, both (maps, parts, bins).

    A map of fewer bins than the largest one is filled up with bins that are not valid.

    Parameters
    ----------
    spectra : sequence of Spectrum
    mirrors : sequence of str
        Names of axes about whose 0 the maps are folded (`folded`).

    Raises
    ------
    InputError
        As `mirrored_axes`.
    """
    found = []
    for spectrum in map(per_event, spectra):
        axes = mirrored_axes(spectrum.axes, mirrors)
        shape = tuple(n for n in spectrum.shape if n > 1)
        found.append([folded(x.reshape(shape), axes) for x in (spectrum.signal, spectrum.valid)])
    return filled([f[0] for f in found]), filled([f[1] for f in found]).astype(bool)


def filled(maps: Sequence[np.ndarray]) -> np.ndarray:
    """Maps (parts, bins) of different numbers of bins as one array, with 0 in bins that a map lacks."""
    most = max(m.shape[1] for m in maps)
    return np.stack([np.pad(m, ((0, 0), (0, most - m.shape[1]))) for m in maps])


def mirrored_axes(axes: Sequence[Axis], mirrors: Sequence[str]) -> tuple[int, ...]:
    """Numbers of the axes of these names among those with more than one bin.

    Raises
    ------
    InputError
        If there is none of a name, or it is not symmetric about 0 with an even number of bins.
    """
    names = [a.name for a in axes if len(a) > 1]
    for name in mirrors:
        if name not in names:
            raise InputError(
                f"the axis {name!r} of --mirror is not one of those with more than one bin: {', '.join(names)}",
                "name one that all files have",
            )
        (axis,) = (a for a in axes if a.name == name)
        if len(axis) % 2 or abs(axis.edges[0] + axis.edges[-1]) > SAME_GRID * axis.width:
            raise InputError(
                f"the axis {name} goes from {axis.edges[0]:g} to {axis.edges[-1]:g} in {len(axis)} bins, so that its "
                "halves are no mirror images",
                "bin it symmetrically about 0 in an even number of bins, or leave out --mirror",
            )
    return tuple(names.index(name) for name in mirrors)


def folded(values: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    """The mirror images of an array laid alike, shape (2**axes, bins): the halves above 0 come first, and those below
    are reversed.

    Examples
    --------
    >>> folded(np.array([4, 3, 2, 1, 10, 20, 30, 40]), [0])
    array([[10, 20, 30, 40],
           [ 1,  2,  3,  4]])
    """
    parts = [values]
    for axis in axes:
        half = values.shape[axis] // 2
        above, below = slice(half, None), slice(half - 1, None, -1)
        parts = [p[(slice(None),) * axis + (side,)] for p in parts for side in (above, below)]
    return np.stack([p.reshape(-1) for p in parts])
