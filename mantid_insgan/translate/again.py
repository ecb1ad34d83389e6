"""A result made again from its input: what its file does not keep, such as the result convolved once more.

The history of a result has the options and the SHA-256 of its models. With these the job is done again in memory, and
what it gives can be compared with the result.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from ..core.options import ApplyOptions
from ..core.run import RESOLUTION_FACTS, Run, same_setting
from ..core.spectrum import Spectrum, per_event
from ..errors import ModelError
from .cards import ModelFile, bundled_names, find_model
from .job import HISTORY_NAME, VOLUME_BINS, Report, apply, models_of

#: Largest difference, in standard errors, between a result and the same made again on another machine or device.
SAME_RESULT = 0.01


@dataclass(frozen=True, eq=False)
class Again:
    """A job done once more.

    Attributes
    ----------
    result : Spectrum
        Intensity per event, if the signal is a sum over events; with `deviations` if the model's card has intervals.
    report : Report
    models : tuple of ModelFile
        In the order in which they were applied.
    direction : str
        Of the first model, to which `deviation` belongs; empty if none was needed.
    deviation : ndarray, shape of the spectrum
        What the first model says of each bin. remove-resolution: (data - result convolved again) over what is expected
        of spectra like the training data, or over the error of the data if its card has no `reconvolution`, the elastic
        line kept apart. add-resolution: (result - calculated convolution) / error of the result. NaN where there is no
        error.
    """

    result: Spectrum
    report: Report
    models: tuple[ModelFile, ...]
    direction: str
    deviation: np.ndarray

    def differs(self, result: Spectrum) -> float:
        """Largest difference from another result per event, in errors of a bin; infinite if the valid bins differ."""
        if not np.array_equal(self.result.valid, result.valid):
            return math.inf
        here = result.valid
        if not here.any():
            return 0.0
        error = np.sqrt(self.result.variance[here])
        least = np.finfo(np.float32).eps * max(1.0, float(np.abs(result.signal[here]).max()))
        return float((np.abs(self.result.signal[here] - result.signal[here]) / np.maximum(error, least)).max())


def made_again(spectrum: Spectrum, options: ApplyOptions, progress=None) -> Again:
    """Do a job in memory, and keep what its first model says of each bin.

    Parameters
    ----------
    spectrum : Spectrum
    options : ApplyOptions
    progress : callable, optional
        Called with the fraction done, 0 to 1.

    Raises
    ------
    InsganError
        As `apply`; also if the spectrum has more than `VOLUME_BINS` bins.
    """
    if spectrum.signal.size > VOLUME_BINS:
        raise ModelError(
            f"the data have {spectrum.signal.size:,} bins, and a job is done again in memory for up to {VOLUME_BINS:,}",
            "cut the data, and apply the model to the cut",
        )
    deviation, directions = np.full(spectrum.shape, np.nan), set()

    def watch(direction, seen, place, signal, variance, convolved, pulls):
        directions.add(direction)
        if direction == "remove-resolution":
            deviation[place] = pulls
        else:
            deviation[place] = (signal - convolved) / np.sqrt(variance)

    models = tuple(models_of(spectrum, options))
    known = options.to is None and all(model.card.intervals is not None for model in models)
    result, report = apply(spectrum, options, progress=progress, watch=watch, intervals=known)
    return Again(per_event(result), report, models, next(iter(directions), ""), deviation)


def recorded_options(record: dict, run: Run, model: str | None = None, device: str = "auto") -> ApplyOptions:
    """The options of the job in a record of the history.

    Parameters
    ----------
    record : dict
        As `io.writer.last_record` gives it.
    run : Run
        The facts in the input: one that agrees with the record needs no option.
    model : str, optional
        Name or path of the model, for one that is not bundled.
    device : str

    Raises
    ------
    ModelError
        If the record is none of `apply_to_file`, a model of the record is not found, or it is another one.
    """
    if record.get("name") != HISTORY_NAME or not isinstance(record.get("parameters"), dict):
        raise ModelError(
            f"the last record of insgan in its history is {record.get('name')!r}, expected {HISTORY_NAME!r}",
            "take the result of insgan apply, as it was written",
        )
    known = record["parameters"]
    given = {f.name: _of_kind(f, known[f.name]) for f in fields(ApplyOptions) if known.get(f.name) is not None}
    for name in RESOLUTION_FACTS:
        if name in given and run.value(name) is not None and _agree(given[name], run.value(name)):
            del given[name]
    settled = {"device": device, "out_of_domain": "warn", "model": _recorded_model(known, model)}
    return ApplyOptions(**given | settled)


def _of_kind(field, value):
    """The value of an option in a record, which may come from anywhere."""
    kinds = {"float": (int, float), "int": int, "bool": bool}
    kind = next((found for name, found in kinds.items() if name in field.type), str)
    if isinstance(value, bool) is not (kind is bool) or not isinstance(value, kind):
        raise ModelError(
            f"the history of the result says {field.name} = {str(value)[:40]!r}, which is no value of that option",
            "take the result of insgan apply, as it was written",
        )
    return value


def _agree(one, other) -> bool:
    return same_setting(one, other) if isinstance(one, str) else math.isclose(one, other, rel_tol=1e-6)


def _recorded_model(known: dict, model: str | None) -> str | None:
    """Name or path of the model in the record; None for the two bundled ones of another setting."""
    if known.get("to") is not None:
        wanted = {
            known.get("model"): known.get("model_sha256"),
            known.get("second_model"): known.get("second_model_sha256"),
        }
        for name, digest in wanted.items():
            _require_same(name, digest, name)
        return None
    name = model or known.get("model")
    _require_same(known.get("model"), known.get("model_sha256"), name)
    return name


def _require_same(name: str, digest: str, place: str) -> None:
    """Raise ModelError unless the model with a name or at a path is that of the record."""
    remedy = "give the model that made the result (--model PATH)"
    if place not in bundled_names() and not Path(str(place)).exists():
        raise ModelError(f"the model {name} of the history is not bundled here", remedy)
    found = find_model(str(place)).card.sha256
    if found != digest:
        raise ModelError(
            f"the model {place} has the SHA-256 {found[:12]}..., that of the history {str(digest)[:12]}...", remedy
        )
