"""What is known of a result of `apply`: from its files, from its history, and by doing the job again.

What cannot be known is listed by name with the reason, and a verdict in words says what speaks against a result.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import platform
import time
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path

import numpy as np

from .. import __version__
from ..core.options import ApplyOptions, binning_of, overridden, reading_of
from ..core.run import Run
from ..core.spectrum import Spectrum, per_event
from ..errors import InputError, InsganError, ModelError, RunFactError
from ..io import last_record, open_spectrum
from ..translate.again import SAME_RESULT, Again, made_again, recorded_options
from ..translate.cards import ModelFile
from ..translate.job import MISFIT, is_unlike, misfit_in_words, unlike, usual_chi_squared
from ..translate.translator import TELLING
from ..translate.trust import UNIT, ends_of, regional

#: A total that changes by more than this share of itself is worth a look: results keep it but for what an edge cuts.
FLUX = 0.1
#: A report reads files of up to this many bins.
LARGEST = 30_000_000
#: Libraries whose versions decide a result or a report.
LIBRARIES = ("numpy", "h5py", "onnxruntime", "onnxruntime-gpu", "resins", "pydantic", "matplotlib", "jinja2")


@dataclass(frozen=True, eq=False)
class Band:
    """Limits of the truth of each bin, shape of the spectrum, and what they are."""

    label: str
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True, eq=False)
class Domain:
    """How far the data are from what the model was trained on.

    Parameters
    ----------
    name : str
        Of the number, with its unit.
    values : ndarray, shape (n,)
        For each slice, tile or block of the data; none where the job could not be done again.
    limit : float
        Above it a slice is unlike the training data.
    p_value : float, optional
        Of the data as a whole, for a model whose card has `blocks`.
    per_bin : ndarray, shape of the spectrum, optional
        For such a model: what neighbouring bins deviate by together, with about the standard deviation 1 where that is
        chance; NaN where there is no deviation.
    """

    name: str
    values: np.ndarray
    limit: float
    p_value: float | None = None
    per_bin: np.ndarray | None = None


@dataclass(frozen=True)
class Verdict:
    """Words about a result: one sentence, and the reasons."""

    words: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Evidence:
    """All that a report shows.

    Parameters
    ----------
    given, result : Spectrum
        Input and output; intensity per event if the signal is a sum over events.
    run : Run
        The facts that were used, or those of the result where the job could not be done again.
    options : dict
        Of the job, as its history has them.
    files : dict of str to (str, str)
        Input, output and models -> name and SHA-256.
    again : Again, optional
    missing : tuple of (str, str)
        What is not shown, and why.
    made : str
        When the file of the result was changed last; empty if there is none.
    title : str
        Of the run, or the name of the result.
    written : str
        When this was put together.
    """

    given: Spectrum
    result: Spectrum
    run: Run
    options: dict
    files: dict[str, tuple[str, str]]
    again: Again | None = None
    missing: tuple[tuple[str, str], ...] = ()
    made: str = ""
    title: str = ""
    written: str = field(default_factory=lambda: _stamp())

    @property
    def models(self) -> tuple[ModelFile, ...]:
        """The models that were applied."""
        return () if self.again is None else self.again.models

    @property
    def flux_ratio(self) -> float | None:
        """Total of the result over that of the input in the valid bins of both; None if that of the input is near zero
        (`translator.TELLING`), as of data minus their background."""
        here = self.result.valid & self.given.valid
        before, after = (float(s.signal[here].sum()) for s in (self.given, self.result))
        return after / before if before > TELLING * float(np.abs(self.given.signal[here]).sum()) else None

    @property
    def notes(self) -> tuple[str, ...]:
        """What was noticed when the job was done."""
        return (*overridden(self.run), *self.run.notes) if self.again is None else self.again.report.notes


def bands(result: Spectrum) -> tuple[Band, ...]:
    """The error bands of a result, the narrowest first: its intervals, or one standard error if it has none."""
    if result.deviations is not None:
        ends = {name: end.signal for name, end in ends_of(result).items()}
        levels = ("68 %", "95 %")
        return tuple(Band(f"{level} interval", ends[f"lower {level}"], ends[f"upper {level}"]) for level in levels)
    error = np.sqrt(np.where(result.valid, result.variance, np.nan))
    return (Band("one standard error", result.signal - error, result.signal + error),)


def domain(evidence: Evidence) -> Domain:
    """The distance of the data from the training data, as the translator gives it, and where bins deviate together."""
    name = "distance from the training data / threshold"
    if evidence.again is None:
        return Domain(name, np.array([]), 1.0)
    quality = evidence.again.report.quality
    known = quality.p_value is not None and np.isfinite(evidence.again.deviation).any()
    per_bin = _of_neighbours(evidence.again.deviation) if known else None
    return Domain(name, np.array(quality.distances), 1.0, quality.p_value, per_bin)


def _of_neighbours(deviation: np.ndarray) -> np.ndarray:
    """Deviations averaged over neighbouring bins, in units of what chance would give."""
    whole = np.squeeze(deviation)
    known = np.isfinite(whole)
    found = regional(np.where(known, whole, 0.0), known) / UNIT**whole.ndim
    return np.where(known, found, np.nan).reshape(deviation.shape)


def usual(evidence: Evidence) -> str:
    """What deviations are divided by: what is expected of spectra like the training data, if the card of the model says
    so, otherwise the error."""
    direction = "" if evidence.again is None else evidence.again.direction
    cards = [m.card for m in evidence.models if m.card.direction == direction == "remove-resolution"]
    return "expected" if cards and cards[0].reconvolution is not None else "error"


def evidence_of_files(
    source: Path, target: Path, *, model: str | None = None, device: str = "auto", progress=None
) -> Evidence:
    """What the files of a job and its repetition say.

    Parameters
    ----------
    source, target : Path
        Input and output of `insgan apply`.
    model : str, optional
        Name or path of the model, if it is not bundled.
    device : {'auto', 'cpu', 'cuda'}
    progress : callable, optional
        Called with the fraction done, 0 to 1.

    Raises
    ------
    InputError
        If a file cannot be read, or the axes of the two differ.
    ModelError
        If `model` is given and is not that of the result.
    """
    record = last_record(target)
    result = _read(target)
    given, options, why = _input_of(source, record, model, device)
    _require_same_axes(given, result, source, target)
    again = None
    if options is not None:
        again, why = _repeated(given, options, progress)
    files = {"input": (source.name, sha256(source)), "output": (target.name, sha256(target))}
    known = record.get("parameters")
    return Evidence(
        per_event(given),
        _with_intervals(per_event(result), again),
        result.run if again is None else again.report.run,
        known if isinstance(known, dict) else {},
        files | _models_of(again),
        again,
        _without(again, why),
        made=_stamp(target.stat().st_mtime),
        title=given.title or target.name,
    )


def evidence_in_memory(spectrum: Spectrum, result: Spectrum, options: ApplyOptions, names: tuple[str, str]) -> Evidence:
    """The same for a job in memory, whose input and output have names but no files."""
    again, why = _repeated(spectrum, options, None)
    files = {"input": (names[0], ""), "output": (names[1], "")} | _models_of(again)
    missing = (*_without(again, why), ("SHA-256 of input and output", "they are workspaces in memory, not files"))
    run = result.run if again is None else again.report.run
    known = {"direction": options.direction} | options.given()
    title = spectrum.title or names[1]
    shown = _with_intervals(per_event(result), again)
    return Evidence(per_event(spectrum), shown, run, known, files, again, missing, title=title)


def _read(path: Path, **how) -> Spectrum:
    with open_spectrum(path, **how) as file:
        if (bins := math.prod(file.shape)) > LARGEST:
            raise InputError(
                f"{path} has {bins:,} bins, and a report reads up to {LARGEST:,}", "report on a cut of the data"
            )
        return file.read()


def _input_of(source: Path, record: dict, model, device) -> tuple[Spectrum, ApplyOptions | None, str]:
    """The input as the job read it, and its options; None, and why, if they cannot be told from the history."""
    try:
        options = recorded_options(record, Run(), model, device)
    except ModelError as problem:
        if model is not None:
            raise
        return _read(source), None, f"{problem.reason}; {problem.fix}"
    how = reading_of(options)
    try:
        given = _read(source, **how | {"ei": None})
    except RunFactError:  # an nxspe file without Ei
        given = _read(source, **how)
    own = recorded_options(record, given.run, model, device)
    given = given if own.ei is None else _read(source, **how)
    return given, replace(own, **dict.fromkeys(binning_of(own))), ""


def _require_same_axes(given: Spectrum, result: Spectrum, source: Path, target: Path) -> None:
    same = given.shape == result.shape and all(
        np.allclose(a.edges, b.edges, rtol=1e-6, atol=1e-3 * a.width)
        for a, b in zip(given.axes, result.axes, strict=True)
    )
    if not same:
        raise InputError(
            f"{target} has {_grid_text(result)}, and {source} has {_grid_text(given)}, expected the same bins",
            "give a result and the input that it was made from",
        )


def _grid_text(spectrum: Spectrum) -> str:
    return " x ".join(f"{len(a)} bins from {a.edges[0]:.4g} to {a.edges[-1]:.4g}" for a in spectrum.axes)


def _repeated(given: Spectrum, options: ApplyOptions, progress) -> tuple[Again | None, str]:
    """The job done again; None, and why, if that is not possible."""
    try:
        return made_again(given, options, progress), ""
    except InsganError as problem:
        return None, f"{problem.reason}; {problem.fix}"


def _with_intervals(result: Spectrum, again: Again | None) -> Spectrum:
    """A result with the intervals of the same made again, which its file does not keep."""
    if again is None or again.differs(result) > SAME_RESULT:
        return result
    return result.replace(deviations=again.result.deviations)


def _without(again: Again | None, why: str) -> tuple[tuple[str, str], ...]:
    """What a report lacks, by name."""
    if again is None:
        names = ("the result convolved again", "distance from the training data", "model card")
        return tuple((name, why) for name in names)
    if not np.isfinite(again.deviation).any():
        return (("the result convolved again", "no bin of the data has an error, or no model was needed"),)
    return ()


def _models_of(again: Again | None) -> dict[str, tuple[str, str]]:
    return {} if again is None else {f"model {m.card.name}": (m.path.name, m.card.sha256) for m in again.models}


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _stamp(seconds: float | None = None) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(seconds))


def software() -> dict[str, str]:
    """Versions of the package, of Python and of the libraries that decide a result."""
    found = {"mantid-insgan": __version__, "Python": platform.python_version()}
    for name in LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found | {"system": platform.platform()}


def verdict(evidence: Evidence) -> Verdict:
    """What speaks against a result, in words. No number shows that a result is right: the truth is not known."""
    if broken := _broken(evidence):
        return Verdict("Do not use this result.", broken)
    if doubts := _doubts(evidence):
        return Verdict("Look at this result closely before you use it.", doubts)
    words = "Nothing was found that speaks against this result"
    return Verdict(f"{words}; read the notes below." if evidence.notes else f"{words}.", _in_favour(evidence))


def _broken(evidence: Evidence) -> tuple[str, ...]:
    if not evidence.result.valid.any():
        return ("it has no valid bin",)
    if evidence.again is None:
        return ()
    differs = evidence.again.differs(evidence.result)
    if differs > SAME_RESULT:
        how = (
            "it has other valid bins"
            if math.isinf(differs)
            else f"the two differ by up to {differs:.3g} errors of a bin"
        )
        return (f"the same job, done again with the input given here, does not give it: {how}",)
    return ()


def _doubts(evidence: Evidence) -> tuple[str, ...]:
    doubts = []
    if evidence.again is None:
        doubts.append("the job could not be done again, so that only the two files were compared")
    else:
        doubts += _doubts_of_the_job(evidence)
    ratio = evidence.flux_ratio
    if ratio is not None and abs(ratio - 1) > FLUX:
        doubts.append(f"its total is {ratio:.3g} of that of the input")
    return tuple(doubts)


def _doubts_of_the_job(evidence: Evidence) -> list[str]:
    doubts, quality, line = [], evidence.again.report.quality, evidence.again.report.line_width
    if line is not None and line.differs:
        doubts.append(line.note())
    if is_unlike(quality):
        doubts.append(unlike(quality))
    if differs := misfit_in_words(quality):
        (card,) = (m.card for m in evidence.models if m.card.direction == "remove-resolution")
        doubts.append(f"convolved again, it differs from the data by {differs}; {usual_chi_squared(card)}")
    if quality.too_wide:
        share = quality.too_wide / quality.bins
        doubts.append(f"in {share:.1%} of its bins the resolution is wider than the model can apply")
    doubts += [
        f"the errors of {m.card.name} are not calibrated" for m in evidence.models if m.card.errors != "calibrated"
    ]
    return doubts


def _in_favour(evidence: Evidence) -> tuple[str, ...]:
    """The numbers of a result without doubts; the job was done again."""
    quality, far, line = evidence.again.report.quality, domain(evidence), evidence.again.report.line_width
    found = ["the same job, done again, gives the same result"]
    if line is not None:
        found.append(f"its elastic line is about as wide as the facts of the run say ({line.told()})")
    if evidence.flux_ratio is not None:
        found.append(f"its total is {evidence.flux_ratio:.3f} of that of the input")
    if far.p_value is not None:
        found.append(
            f"the p-value of the data is {far.p_value:.2g}: the share of held-out spectra like the training data, with "
            "errors as large, that are at least as unusual"
        )
    elif far.values.size:
        found.append(f"the {far.name} is {np.median(far.values):.2g} (median), and the limit {far.limit:g}")
    if quality.compared:
        about = "about 1 is usual" if usual(evidence) == "expected" else f"up to {MISFIT:g} is no reason to doubt"
        found.append(
            f"convolved again, it differs from the data by chi-squared {_chi_squared(quality)} per bin; {about}"
        )
    return tuple(found)


def caveat(evidence: Evidence) -> str:
    """What holds for every result, and what the numbers of this one do not tell."""
    said = ["The truth is not known: a verdict lists what speaks against a result, and its absence is no proof."]
    if evidence.again is None:
        return said[0]
    quality = evidence.again.report.quality
    if quality.compared and usual(evidence) == "expected":
        said.append("Chi-squared per bin is about 1 for spectra like the training data on average, at any counts.")
    elif quality.compared:
        said.append("Chi-squared grows with the counts.")
    if quality.p_value is not None:
        said.append(
            "The p-value does not notice flat noise or a smooth spectrum: nothing in them is unlike a smooth spectrum "
            "of the training."
        )
    elif quality.distances:
        said.append("The distance from the training data does not tell nonsense from spectra.")
    return " ".join(said)


def _chi_squared(quality) -> str:
    return f"{quality.chi_squared / quality.compared:.3g}"
