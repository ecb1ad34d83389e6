"""Cards of classifiers between rival models: of one spectrum, and of several maps of one measurement together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ..core.run import Run
from ..core.spectrum import Axis, Spectrum
from ..errors import ModelError
from .cards import Table, verified_card

#: Largest difference between the axes of data and classifier, as a share of a bin.
SAME_GRID = 0.05
#: Largest difference between numbers of the run, as a share, that is not worth a note.
SAME_RUN = 0.02


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


class MapsThresholds(_Part):
    """Above either of these maps are 'unknown'; together they flag a share of the experiments of one model."""

    contradiction: float = Field(gt=0, description="likeness to a composite of two models, 0 to 1")
    distance: float = Field(gt=0, description="of the discriminants from what the nearest model gives")
    share: float


class _CommonCard(_Part):
    """What the cards of all classifiers say."""

    version: str
    rivals: list[Rival] = Field(min_length=2)
    normalisation: str
    temperature: float = Field(gt=0, description="evidence is divided by this, found on experiments held out")
    command: str
    seed: int
    software: dict[str, str]
    metrics: list[Table]
    notes: list[str] = []
    sha256: str = ""

    @property
    def names(self) -> list[str]:
        """Names of the models, in the order of the probabilities."""
        return [rival.name for rival in self.rivals]


class Grid(_Part):
    """The axes and facts of the run that a classifier was trained for."""

    axes: list[CardAxis]
    run: dict[str, str | float]

    @staticmethod
    def of(spectrum: Spectrum) -> Grid:
        """The description of the grid of a spectrum."""
        return Grid(axes=[CardAxis.of(a) for a in spectrum.axes], run=run_facts(spectrum.run))

    @property
    def open_shape(self) -> list[int]:
        """Bins along each axis with more than one."""
        return [a.bins for a in self.axes if a.bins > 1]

    def fits(self, axes: Sequence[Axis]) -> bool:
        """Whether these are its axes."""
        return len(axes) == len(self.axes) and all(c.fits(a) for c, a in zip(self.axes, axes, strict=True))

    def differences(self, run: Run) -> dict[str, str]:
        """Facts of a run that are not those of the training, and what is to be said of each."""
        found = {}
        for name, value in run_facts(run).items():
            trained = self.run.get(name, value)
            if isinstance(value, str) or isinstance(trained, str):
                same = str(value).lower() == str(trained).lower()
            else:
                same = abs(value - trained) <= SAME_RUN * abs(trained)
            if not same:
                found[name] = f"{name} of the data is {value}, but the classifier was trained for {trained}"
        return found

    @property
    def described(self) -> str:
        """The axes in words."""
        return "; ".join(map(str, self.axes))


class ClassifierCard(_CommonCard, Grid):
    """The card of a classifier of one spectrum."""

    kind: Literal["classifier"]
    members: int
    unknown: Thresholds
    epochs: int


class MapsCard(_CommonCard):
    """The card of a classifier of several maps."""

    kind: Literal["classifier of maps"]
    maps: list[Grid] = Field(min_length=1)
    mirrors: list[str] = Field([], description="axes about whose 0 the maps are folded into parts")
    unknown: MapsThresholds

    @property
    def parts(self) -> int:
        """Of each map."""
        return 2 ** len(self.mirrors)

    @property
    def most_bins(self) -> int:
        """Of each part, of the map that has most."""
        return max(int(np.prod(grid.open_shape)) for grid in self.maps) // self.parts


@dataclass(frozen=True)
class ClassifierFile:
    """A classifier on disk: its card and its ONNX file, which is not opened yet."""

    card: ClassifierCard | MapsCard
    path: Path


class _AnyCard(BaseModel):
    kind: Literal["classifier", "classifier of maps"]
    sha256: str


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
    kinds = {"classifier": ClassifierCard, "classifier of maps": MapsCard}
    return ClassifierFile(verified_card(path, kinds[verified_card(path, _AnyCard).kind]), path)


def run_facts(run) -> dict[str, str | float]:
    """What a card says of the run: instrument, ei, chopper and frequency, where they are known."""
    found = {name: run.value(name) for name in ("instrument", "ei", "chopper", "frequency")}
    return {
        name: value if isinstance(value, str) else float(value) for name, value in found.items() if value is not None
    }
