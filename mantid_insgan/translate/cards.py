"""Model cards: description, training data and scores of a model; finding and verifying models.

A model is a folder with ``model.onnx`` and ``card.json``, or an ONNX file with its card in the same folder. Nothing is
unpickled.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..bundled import model_names, models_folder
from ..core.files import replacing
from ..core.options import MEANT, TRANSLATIONS
from ..errors import ModelError
from .graph import LARGEST_CARD, LARGEST_FILE
from .trust import QUANTILES, STATISTICS

#: Largest factor on a model's standard errors; one whose errors need more does not describe the data.
LARGEST_ERROR_FACTOR = 1000.0
#: Inputs of every model, and optional inputs.
INPUTS = ("signal", "valid", "error", "width")
MORE_INPUTS = ("correlation", "position", "finer")
#: Optional input that is no image: the whole bins from -R to R that kernels reach, shape (2 R + 1,).
STEPS = "steps"
OUTPUTS = ("translated", "log_variance", "convolved", "features")
#: Start of the title of the table with the fraction of bins with the truth within one and two standard errors.
COVERAGE = "coverage of the standard errors"
#: Fewest distances of blocks for each noise: 1 % of them are told apart.
FEWEST_DISTANCES = 100
#: A list of numbers alone, as JSON writes it with a line for each.
_NUMBERS = re.compile(r"\[\n\s*(-?\d[^\[\]\"]*?)\s*\]")
#: Pattern of names that are shown: no control characters.
PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f]+$"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, str_max_length=20_000)


class Table(_Part):
    """Numbers with their conditions: one row for each method."""

    title: str
    conditions: str
    columns: list[str]
    rows: dict[str, list[float]]

    @model_validator(mode="after")
    def _rows_have_all_columns(self):
        wrong = next((name for name, row in self.rows.items() if len(row) != len(self.columns)), None)
        if wrong is not None:
            raise ValueError(
                f"row {wrong!r} of {self.title!r} has not {len(self.columns)} numbers, one for each column"
            )
        if self.title.startswith(COVERAGE) and (len(self.columns) != 2 or "this model" not in self.rows):
            raise ValueError(f"the table {self.title!r} needs two columns and the row 'this model'")
        return self


class Training(_Part):
    """How the model was trained."""

    command: str
    seed: int
    steps: int
    minutes: float
    device: str
    families: list[str]
    held_out_families: list[str]
    settings: list[str]
    held_out_settings: list[str]
    pairs: int
    software: dict[str, str]


class Domain(_Part):
    """Distribution of the training features: distance = | components (features - mean) / scale | / sqrt(number)."""

    mean: list[float]
    components: list[list[float]]
    scale: list[float]
    threshold: float = Field(gt=0, description="distance that 1 % of held-out slices like the training data exceed")

    @model_validator(mode="after")
    def _shapes_fit(self):
        features = {len(row) for row in self.components}
        if features != {len(self.mean)} or len(self.scale) != len(self.components) or min(self.scale) <= 0:
            raise ValueError(
                f"{len(self.components)} components of {sorted(features)} numbers do not go with {len(self.mean)} "
                f"means and {len(self.scale)} scales above 0"
            )
        return self


class Intervals(_Part):
    """Quantiles of (truth - result) / s, with s the network's own standard deviation, on pairs that neither the
    training nor the scores have seen (conformal prediction); see `trust.quantiles_at`."""

    conditions: str
    brightness: list[float] = Field(min_length=2, description="knots of the result, its root mean square being 1")
    spread: list[float] = Field(min_length=2, description="knots of s")
    quantiles: list[list[list[float]]] = Field(description="of trust.QUANTILES: for each knot and each knot of s")

    @model_validator(mode="after")
    def _shapes_fit(self):
        for name in ("brightness", "spread"):
            knots = getattr(self, name)
            if knots[0] <= 0 or any(b <= a for a, b in pairwise(knots)):
                raise ValueError(f"the knots of {name} are not above 0 and ascending: {knots}")
        shapes = {(len(q), *{len(row) for row in q}) for q in self.quantiles}
        if len(self.quantiles) != len(QUANTILES) or shapes != {(len(self.brightness), len(self.spread))}:
            raise ValueError(
                f"{len(self.quantiles)} tables of quantiles of the shapes {sorted(shapes)}, expected {len(QUANTILES)} "
                f"of {(len(self.brightness), len(self.spread))}"
            )
        return self


class Reconvolution(_Part):
    """What is expected of (data - result convolved again): its variance is the sum of the squares of `counted` times
    the data's error, `relative` times the convolved result, `spread` times the network's own standard deviation, and
    `floor`; found on pairs as those of `Intervals`."""

    counted: float = Field(gt=0, le=2)
    relative: float = Field(ge=0, le=10)
    spread: float = Field(ge=0, le=100)
    floor: float = Field(gt=0, le=10, description="above 0, so that something is expected in a bin without error")


class Blocks(_Part):
    """Where blocks of spectra like the training data lie in `trust.STATISTICS`, and how far from the nearest of them
    blocks lie that neither the training nor the scores have seen."""

    conditions: str
    centre: list[float]
    scale: list[float]
    known: list[list[float]] = Field(min_length=10, max_length=5000)
    nearest: int = Field(ge=1, le=10, description="number of known blocks over which the distance is averaged")
    noise: list[float] = Field(min_length=2, description="knots of the statistic noise")
    distances: list[list[float]] = Field(description="quantiles of the distances for each knot, ascending")

    @model_validator(mode="after")
    def _shapes_fit(self):
        widths = {len(self.centre), len(self.scale), *(len(row) for row in self.known)}
        if widths != {len(STATISTICS)}:
            raise ValueError(f"blocks of {sorted(widths)} numbers, expected {len(STATISTICS)}")
        if min(self.scale) <= 0:
            raise ValueError(f"the scales of blocks are not above 0: {self.scale}")
        if sorted(self.noise) != self.noise:
            raise ValueError(f"the knots of noise are not ascending: {self.noise}")
        lengths = {len(row) for row in self.distances}
        if len(self.distances) != len(self.noise) or len(lengths) != 1 or min(lengths) < FEWEST_DISTANCES:
            raise ValueError(
                f"{len(self.distances)} rows of {sorted(lengths)} distances, expected {len(self.noise)}, one for each "
                f"knot of noise, of one length of {FEWEST_DISTANCES} or more"
            )
        if any(row[0] <= 0 or sorted(row) != row for row in self.distances):
            raise ValueError("the distances of blocks are not above 0 and ascending for each knot of noise")
        return self


class ModelCard(_Part):
    """The card of one model (``card.json``)."""

    name: str = Field(max_length=200, pattern=PRINTABLE)
    version: str = Field(max_length=200, pattern=PRINTABLE)
    direction: Literal["add-resolution", "remove-resolution"]
    purpose: Literal["resolution", "experiment"] = Field(
        "resolution",
        description="the resolution alone, or all in which experiments and simulations differ",
    )
    dimensions: int = Field(ge=1, le=3)
    simulation: Literal["ideal", "convolved"] = Field(
        "ideal",
        description="its simulated spectra: as calculated (ideal), or with the calculated resolution (convolved)",
    )
    background: bool = Field(False, description="whether its measured spectra have a background that simulations lack")
    licence: str = "GPL-3.0-or-later"
    description: str
    normalisation: str
    grid_multiple: int = Field(ge=1, le=64)
    smallest_grid: int = Field(ge=1, le=256)
    largest_fwhm_bins: float = Field(gt=0, le=1000, description="widest resolution, in bins, that the model can apply")
    error_factor: float = Field(
        gt=0, le=LARGEST_ERROR_FACTOR, description="the model's standard errors are multiplied by this"
    )
    errors: Literal["calibrated", "not calibrated"] = Field(
        "calibrated",
        description="whether that factor was found on pairs held out of the training, or only follows from the loss",
    )
    notes: list[str] = Field([], description="limits of the numbers on this card")
    training: Training
    metrics: list[Table]
    domain: Domain
    intervals: Intervals | None = Field(None, description="without them, Gaussian errors by the factor alone")
    blocks: Blocks | None = Field(None, description="without them, the domain by the network's features alone")
    reconvolution: Reconvolution | None = Field(None, description="without it, the data's errors alone are expected")
    sha256: str = ""

    @property
    def translation(self) -> str:
        """What it is applied for, one of `core.options.TRANSLATIONS`."""
        return next(name for name, meant in MEANT.items() if meant == (self.direction, self.purpose))

    @property
    def coverage(self) -> tuple[float, float] | None:
        """Fractions of held-out bins with the truth within one and two standard errors of the model; None if nothing
        was held out."""
        for table in self.metrics:
            if table.title.startswith(COVERAGE):
                one, two = table.rows["this model"]
                return one, two
        return None


@dataclass(frozen=True)
class ModelFile:
    """A model on disk: its card and its ONNX file, which is not opened yet."""

    card: ModelCard
    path: Path


def bundled_names() -> list[str]:
    """Names of the bundled models (the names of their folders); no file is opened."""
    return model_names(models_folder())


def bundled_models() -> list[ModelFile]:
    """All bundled models, sorted by name, verified as in `read_model`."""
    return [find_model(name) for name in bundled_names()]


def find_model(name: str) -> ModelFile:
    """The bundled model with this name, or the model at this path (errors as `read_model`)."""
    return read_model(models_folder() / name if name in bundled_names() else Path(name))


def choose_model(
    direction: str, dimensions: int = 2, model: str | None = None, *, any_purpose: bool = False
) -> ModelFile:
    """The model with the name or path `model`, or the bundled one for `direction`, one of `TRANSLATIONS`. With
    `any_purpose` a given model only has to calculate the same, whatever it is for.

    Raises
    ------
    ModelError
        If the direction is not known, there is no such model, or it is for the other direction or another number of
        dimensions.
    """
    if model is None:
        return find_model(_bundled_for(direction, dimensions))
    chosen = _named(model, direction, any_purpose)
    if chosen.card.dimensions != dimensions:
        raise ModelError(
            f"the model {chosen.card.name} is for {chosen.card.dimensions} dimensions, but {dimensions} are needed",
            f"use one of {', '.join(bundled_names())}",
        )
    return chosen


def model_for(direction: str, open_axes: int | None = None, model: str | None = None) -> ModelFile:
    """The model to apply to data with some number of open axes (axes of more than one bin).

    If none is given, it is the bundled model that covers as many of the axes as possible; the data are processed slice
    by slice along the others. The ONNX file is read once.

    Parameters
    ----------
    direction : str
    open_axes : int, optional
        Of the data. If not given, a given model is not checked against it, and the bundled one is that for 2 axes.
    model : str, optional
        Name or path.

    Raises
    ------
    ModelError
        As `choose_model` and `require_dimensions`.
    """
    if model is None:
        return find_model(_bundled_for(direction, 2 if open_axes is None else min(max(open_axes, 1), 3), fewer=True))
    chosen = _named(model, direction)
    if open_axes is not None:
        require_dimensions(chosen.card, open_axes)
    return chosen


def require_dimensions(card: ModelCard, open_axes: int) -> None:
    """Raise ModelError if a model needs more open axes than the data have."""
    if card.dimensions <= open_axes:
        return
    fitting = _bundled().get((card.translation, open_axes))
    raise ModelError(
        f"the model {card.name} needs {card.dimensions} axes with more than one bin, and the data have {open_axes}",
        "omit --model, or use " + (fitting or f"a model for {open_axes}"),
    )


def require_intervals(card: ModelCard) -> None:
    """Raise ModelError if the card of a model has no intervals."""
    if card.intervals is None:
        raise ModelError(
            f"the card of the model {card.name} has no intervals (its entry 'intervals'), which --intervals needs",
            "use a bundled model for cuts or slices (--model), or leave --intervals out and take the standard errors",
        )


def _named(model: str, direction: str, any_purpose: bool = False) -> ModelFile:
    """The model with this name or path, which must be for `direction`."""
    _require_direction(direction)
    chosen = find_model(model)
    fits = chosen.card.direction == MEANT[direction][0] and (any_purpose or chosen.card.translation == direction)
    if not fits:
        raise ModelError(
            f"the model {chosen.card.name} is for {chosen.card.translation}, but {direction} was requested",
            f"use --direction {chosen.card.translation}, or another model",
        )
    return chosen


def _require_direction(direction: str) -> None:
    if direction not in TRANSLATIONS:
        *others, last = TRANSLATIONS
        raise ModelError(
            f"the direction {direction!r} is not known; there are {', '.join(others)} and {last}",
            "give one of them (--direction)",
        )


def _bundled() -> dict[tuple[str, int], str]:
    """Names of the bundled models by translation and dimensions. Only the cards are read, so that one damaged model
    does not prevent the use of the others."""
    cards = {name: _read_card(models_folder() / name / "card.json") for name in bundled_names()}
    return {(card.translation, card.dimensions): name for name, card in cards.items()}


def _bundled_for(direction: str, dimensions: int, *, fewer: bool = False) -> str:
    """The bundled model of a translation; with `fewer` that of most dimensions up to these."""
    _require_direction(direction)
    bundled = _bundled()
    for number in range(dimensions, 0, -1) if fewer else [dimensions]:
        if (direction, number) in bundled:
            return bundled[direction, number]
    known = sorted(number for translation, number in bundled if translation == direction)
    if known and MEANT[direction][1] == "experiment":
        raise ModelError(
            f"the bundled model for {direction} needs {known[0]} axes with more than one bin, and the data have "
            f"{dimensions}",
            f"give data of {known[0]} axes or more, or use --direction {MEANT[direction][0]}",
        )
    raise ModelError(
        f"no bundled model for {direction} in {dimensions} dimensions; the bundled models are: "
        f"{', '.join(bundled_names()) or 'none'}",
        "give a model file with --model PATH",
    )


def read_model(path: Path) -> ModelFile:
    """The model in a folder, or an ONNX file with its card in the same folder (``card.json`` or ``NAME.json``); the
    hash is checked.

    Raises
    ------
    ModelError
        If a file is missing, the card cannot be parsed, or the hash does not match.
    """
    onnx = path / "model.onnx" if path.is_dir() else path
    if not onnx.is_file():
        raise ModelError(
            f"there is no model {str(path)!r}: neither a bundled name ({', '.join(bundled_names()) or 'none'}) nor a "
            "file",
            "give a bundled name or the path of a .onnx file",
        )
    return ModelFile(verified_card(onnx, ModelCard), onnx)


def verified_card(onnx: Path, kind: type[BaseModel]):
    """The card of an ONNX file, ``NAME.json`` or ``card.json`` in the same folder; the hash is checked.

    Parameters
    ----------
    onnx : Path
    kind : type
        What the card has to be: `ModelCard`, or another with a field ``sha256``.

    Raises
    ------
    ModelError
        If there is no card, it cannot be parsed, or the hash does not match.
    """
    beside = [onnx.with_suffix(".json"), onnx.parent / "card.json"]
    found = [p for p in beside if p.is_file()]
    if not found:
        raise ModelError(
            f"{onnx} has no card: neither {beside[0].name} nor {beside[1].name} is in the same folder",
            "keep the card that was written with the model in the same folder",
        )
    card = _read_card(found[0], kind)
    actual = _hash_of(onnx)
    if actual != card.sha256:
        raise ModelError(
            f"{onnx} has the hash {actual[:12]}..., but its card {found[0].name} says {card.sha256[:12]}...: "
            "the file is damaged or is not the model of that card",
            "install the package again, or copy the model and its card again",
        )
    return card


def _hash_of(onnx: Path) -> str:
    if (size := onnx.stat().st_size) > LARGEST_FILE:
        raise ModelError(f"{onnx} has {size:,} bytes, and a model may have {LARGEST_FILE:,}", "give another model")
    return hashlib.sha256(onnx.read_bytes()).hexdigest()


def _read_card(path: Path, kind: type[BaseModel] = ModelCard):
    about = path.stat()
    if about.st_size > LARGEST_CARD:
        raise ModelError(
            f"the card {path} has {about.st_size:,} bytes, and a card may have {LARGEST_CARD:,}",
            "use the card that was written with the model",
        )
    return _parsed_card(path, about.st_size, about.st_mtime_ns, kind)


@lru_cache(maxsize=64)
def _parsed_card(path: Path, size: int, changed: int, kind: type[BaseModel]):
    """The card at `path`, parsed once for each state of the file (size in bytes, modification time in ns)."""
    try:
        return kind.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = repr(".".join(map(str, first["loc"]))[:80])[1:-1] or "the file"
        raise ModelError(
            f"the card {path} is not valid: {where}: {first['msg']}", "use the card that was written with the model"
        ) from error


def write_card(card: BaseModel, onnx: Path, path: Path | None = None) -> Path:
    """Write `card` with the present hash of `onnx`: to `path`, or as card.json in the same folder if none is given."""
    card = card.model_copy(update={"sha256": _hash_of(onnx)})
    path = path or onnx.parent / "card.json"
    with replacing(path) as temporary:
        text = json.dumps(card.model_dump(), indent=1)
        text = _NUMBERS.sub(lambda found: "[" + re.sub(r",\s+", ", ", found[1]) + "]", text)
        temporary.write_text(text + "\n", encoding="utf-8")
    return path
