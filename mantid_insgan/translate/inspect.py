"""The contents of a file or a model, as text and as a dictionary for scripts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..core.numbers import digits
from ..core.options import ReadOptions, reading_of
from ..core.run import RUN_FACTS, Lattice, Run, Setting, required_facts
from ..core.sample import Sample
from ..core.slices import require_network_axes
from ..core.spectrum import Axis, Spectrum, energy_axis
from ..errors import InsganError
from .cards import ModelFile, bundled_names, find_model
from .elastic import look_for_lines
from .findings import Findings, cleaned_source
from .line_width import LineWidth

#: Column of a card's scores that a list of models shows.
COUNTED = "300 peak counts"


@dataclass(frozen=True)
class FileSheet:
    """A data file: axes, facts of the run with their sources, number of valid bins, facts missing for ``apply``.

    `defaults` has the facts that ``apply`` takes where the file has none, and `line_width` the width of the elastic
    line, if the data have one and the facts give that of the resolution.
    """

    path: Path
    title: str
    axes: tuple[Axis, ...]
    run: Run
    defaults: Run
    bins: int
    valid: int
    without_error: int
    missing: str | None
    unknown: tuple[str, ...]
    line_width: LineWidth | None = None

    def as_dict(self) -> dict:
        """Plain values; energies in meV, temperature in K, lattice in Angstrom and degrees, sample in m, mosaic and
        divergence (FWHM) in degrees."""
        facts = {name: getattr(self.run, name) or getattr(self.defaults, name) for name in RUN_FACTS}
        return {
            "file": str(self.path),
            "title": self.title,
            "axes": [_axis(a) for a in self.axes],
            "run": {n: None if f is None else {"value": _plain(f.value), "source": f.source} for n, f in facts.items()},
            "bins": self.bins,
            "valid_fraction": self.valid / self.bins,
            "valid_bins_without_error": self.without_error,
            "elastic_line": self.line_width
            and {
                "fwhm": self.line_width.fitted,
                "calculated_fwhm": self.line_width.calculated,
            },
            "missing_for_apply": self.missing,
            "missing_run_facts": list(self.unknown),
            "notes": list(self.run.notes),
        }

    def as_text(self) -> str:
        """The sheet as text."""
        lines = [f"{self.path}" + (f": {self.title}" if self.title else "")]
        for i, a in enumerate(self.axes):
            span = f"{digits(a.edges[0])} to {digits(a.edges[-1])} {a.unit}"
            lines.append(f"  axis {i}: {a.name:12s} {len(a):5d} bins of {digits(a.width)}, {span} ({a.frame})")
        facts = self.as_dict()["run"]
        stated = facts.pop("resolution")
        for name, fact in facts.items():
            told = "not known" if fact is None else f"{_told(name, fact['value'])} ({fact['source']})"
            lines.append(f"  {name}: {told}")
        if stated is not None:
            described = self.run.value("resolution").described()
            lines.append(f"  resolution: the data have {described} ({stated['source']}: {stated['value']})")
        lines.append(f"  valid: {self.valid} of {self.bins} bins ({self.valid / self.bins:.1%})")
        if self.without_error:
            lines.append(f"  valid bins with error 0: {self.without_error}")
        if self.line_width is not None:
            lines.append(f"  elastic line: {self.line_width.told()}")
        lines.append("  for apply: " + (self.missing or "nothing is missing"))
        if len(self.unknown) > 1:
            lines.append("  all missing options: " + ", ".join(f"--{name}" for name in self.unknown))
        return "\n".join([*lines, *(f"  note: {note}" for note in self.run.notes)])


@dataclass(frozen=True)
class ModelSheet:
    """A model by its card."""

    model: ModelFile

    def as_dict(self) -> dict:
        """The card and the path of the model."""
        return {"path": str(self.model.path), **self.model.card.model_dump(exclude={"domain"})}

    #: Titles of the cells of `row`.
    HEADER = ("model", "vers.", "axes", "MB", "NRMSE", "best simpler method", "1 s.e.")

    def row(self) -> tuple[str, ...]:
        """The model in a line: its first score, that of the best simpler method, and the coverage of its errors."""
        card, none = self.model.card, "-"
        scores = next((t for t in card.metrics if "this model" in t.rows and "NRMSE" in t.conditions), None)
        own = best = none
        if scores is not None:
            column = scores.columns.index(COUNTED) if COUNTED in scores.columns else 0
            own = f"{scores.rows['this model'][column]:.3f}"
            others = [(values[column], name) for name, values in scores.rows.items() if name != "this model"]
            best = "{:.3f} ({})".format(*min(others)) if others else none
        covered = none if card.coverage is None else f"{card.coverage[0]:.3f}"
        size = f"{self.model.path.stat().st_size / 1e6:.1f}"
        return card.name, card.version, str(card.dimensions), size, own, best, covered

    def as_text(self) -> str:
        """Name, description, and scores with those of the baselines."""
        card = self.model.card
        size = self.model.path.stat().st_size / 1e6
        lines = [
            f"{card.name} version {card.version} ({size:.1f} MB): {card.translation}, {card.dimensions}D",
            f"  {card.description}",
            *(f"  note: {note}" for note in card.notes),
        ]
        for table in card.metrics:
            lines += [
                f"  {table.title}",
                f"    ({table.conditions})",
                " " * 39 + "  ".join(f"{c:>16s}" for c in table.columns),
            ]
            lines += [f"    {row:35s}" + "  ".join(f"{v:16.3f}" for v in values) for row, values in table.rows.items()]
        lines.append(
            f"  trained by: {card.training.command} ({card.training.minutes:g} minutes, {card.training.device})"
        )
        return "\n".join([*lines, f"  sha256 {card.sha256}", f"  licence {card.licence}"])


def is_model(name: str) -> bool:
    """True for the name of a bundled model, a .onnx file, or a folder with a card."""
    path = Path(name)
    return name in bundled_names() or path.suffix == ".onnx" or (path / "card.json").is_file()


def inspect_model(name: str) -> ModelSheet:
    """The sheet of a model given by bundled name or path.

    Raises
    ------
    ModelError
        If it cannot be used.
    """
    return ModelSheet(find_model(name))


def inspect_file(path: Path, options: ReadOptions | None = None) -> FileSheet:
    """The sheet of a data file.

    Parameters
    ----------
    path : Path
    options : ReadOptions, optional
        What the file does not say, and bins.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    from ..io import open_spectrum
    from .job import slabs

    with open_spectrum(path, **reading_of(options or ReadOptions())) as source:
        valid = without_error = 0
        findings, problem = _findings(source)
        energy = energy_axis(source.axes)
        regions = slabs(source.shape, (source.ndim - 1 if energy is None else energy,))
        for region in regions:
            part = source.read(region)
            if findings is not None:
                part = findings.cleaned(part)
                problem = problem or _problem(findings.resolution, part)
            valid += int(part.valid.sum())
            without_error += int((part.valid & (part.variance == 0)).sum())
        missing = problem if valid else "no bin is valid"
        notes = (
            source.run.notes if findings is None else (*source.run.notes, *findings.resolution.notes, *findings.notes())
        )
        return FileSheet(
            path=Path(path),
            title=source.title,
            axes=source.axes,
            run=source.run.noted(*notes),
            defaults=_defaults(source.run, None if findings is None else findings.resolution),
            bins=int(np.prod(source.shape)),
            valid=valid,
            without_error=without_error,
            missing=missing,
            unknown=missing_facts(source.run, source.axes),
            line_width=None if missing or findings is None else _line_width(source, findings.resolution, regions),
        )


def _findings(source) -> tuple[Findings | None, str | None]:
    """What ``apply`` finds in the data, still empty; None, and the first error that it would raise, if a fact is
    missing or an axis will not do."""
    from ..instruments.instrument import Resolution

    try:
        require_network_axes(source.axes)
        return Findings(Resolution.of_spectrometer(source.run)), None
    except InsganError as error:
        return None, str(error)


def _line_width(source, resolution, regions) -> LineWidth | None:
    return look_for_lines(cleaned_source(source, resolution), resolution, regions)[1]


def _defaults(run: Run, resolution) -> Run:
    """What ``apply`` takes for the facts of the sample and the beam that a run does not have, and the chopper package
    of an instrument that has only one."""
    from ..instruments import known_choppers, known_instruments

    found = Run().updated("default", sample=Sample(), mosaic=0.0)
    instrument = run.value("instrument")
    packages = known_choppers(instrument) if instrument in known_instruments() else ()
    if len(packages) == 1:
        found = found.updated(f"default: {instrument} has no other package", chopper=packages[0])
    if resolution is None:
        return found
    part = "guide" if resolution.beam.divergence.distance is None else "aperture"
    return found.updated(f"default: the {part} of {instrument} at this Ei", divergence=resolution.beam.divergence.fwhm)


def _problem(resolution, part: Spectrum) -> str | None:
    """The first error that ``apply`` would raise for a part of a file: directions of axes, valid bins above Ei."""
    try:
        resolution.frame(part)
    except InsganError as error:
        return str(error)
    return None


def missing_facts(run: Run, axes: tuple[Axis, ...]) -> tuple[str, ...]:
    """Names of the facts that ``apply`` needs and that are not in the data; an instrument that is not known is none."""
    from ..instruments import known_choppers, known_instruments

    instrument = run.value("instrument")
    if instrument not in known_instruments():
        run, instrument = replace(run, instrument=None), None
    choppers = () if instrument is None else known_choppers(instrument)
    return tuple(name for name in required_facts(axes, choppers) if getattr(run, name) is None)


def _axis(axis: Axis) -> dict:
    limits = {"minimum": float(axis.edges[0]), "maximum": float(axis.edges[-1]), "bins": len(axis)}
    return {"name": axis.name, "id": axis.id, "unit": axis.unit, "frame": axis.frame, **limits}


def _told(name: str, value) -> str:
    """The value of a fact in words, with the unit where it is not plain."""
    if name == "sample":
        return Sample.parsed(value).described()
    if name == "divergence":
        across, up = ("that of the instrument" if x is None else f"{x:.3g} degrees" for x in value)
        return f"FWHM {across} (horizontal) and {up} (vertical)"
    return f"{value:g} degrees FWHM" if name == "mosaic" else digits(value)


def _plain(value):
    if isinstance(value, Lattice):
        return [value.a, value.b, value.c, value.alpha, value.beta, value.gamma]
    if isinstance(value, Setting | Sample):
        return str(value)
    return list(value) if isinstance(value, tuple) else value
