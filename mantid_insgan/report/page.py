"""The report of a result: one page of HTML that needs nothing else, or a PDF."""

from __future__ import annotations

import base64
import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.files import check_output, replacing
from ..core.run import shown
from ..errors import DeviceError, OutputError
from .evidence import Evidence, bands, caveat, software, verdict
from .panels import figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Kinds of reports, by the suffix of their names.
SUFFIXES = (".html", ".htm", ".pdf")
#: Of a page of the PDF: inches, lines, letters in a line.
_PAPER, _LINES, _LETTERS = (8.27, 11.69), 76, 108
_UNITS = {"ei": "meV", "frequency": "Hz", "temperature": "K", "lattice": "(Å, degrees)"}
_LABELS = {"ei": "incident energy", "frequency": "chopper frequency", "chopper": "chopper package"}


@dataclass(frozen=True)
class Table:
    """A part of the page: a title, a text, and rows of cells."""

    title: str
    rows: Sequence[Sequence[str]]
    header: Sequence[str] = ()
    text: str = ""


def check_report(output: str | Path, overwrite: bool = False) -> None:
    """Check before a job whether its report can be written.

    Raises
    ------
    OutputError
        If the suffix is none of `SUFFIXES`, the file exists and may not be replaced, or its folder will not do.
    DeviceError
        If a library that reports need is not installed.
    """
    output = Path(output)
    if output.suffix.lower() not in SUFFIXES:
        raise OutputError(
            f"the report {output} has {f'the suffix {output.suffix!r}' if output.suffix else 'no suffix'}, expected "
            ".html or .pdf",
            "name it report.html or report.pdf",
        )
    check_output(output, overwrite)
    for library in ("matplotlib", "jinja2"):
        _require(library)


def _require(library: str) -> None:
    import importlib

    try:
        importlib.import_module(library)
    except ImportError as missing:
        raise DeviceError(
            f"a report was asked for, but {library} is not installed", "pip install 'mantid-insgan[report]'"
        ) from missing


def write_report(evidence: Evidence, output: str | Path, *, overwrite: bool = False) -> None:
    """Write the report of a result: HTML, or a PDF if the name ends in ``.pdf``.

    The HTML has its figures inside and asks for nothing from anywhere; its policy forbids scripts and requests. Every
    text is escaped.

    Parameters
    ----------
    evidence : Evidence
    output : str or Path
    overwrite : bool
        Whether an existing file may be replaced.

    Raises
    ------
    OutputError, DeviceError
        As `check_report`; also if the file cannot be written.
    """
    check_report(output, overwrite)
    output = Path(output)
    try:
        with replacing(output) as temporary:
            if output.suffix.lower() == ".pdf":
                _write_pdf(evidence, temporary)
            else:
                temporary.write_text(page_text(evidence), encoding="utf-8")
    except OSError as problem:
        raise OutputError(
            f"writing the report {output} failed: {problem}",
            "check whether the disk is full or the folder was deleted; no incomplete file is left",
        ) from problem


def page_text(evidence: Evidence) -> str:
    """The report as HTML."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("mantid_insgan.report", "")
    pages = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=False)
    drawn = {caption: _encoded(figure) for caption, figure in figures(evidence).items()}
    return pages.get_template("page.html").render(
        title=_title(evidence),
        subtitle=subtitle(evidence),
        verdict=verdict(evidence),
        caveat=caveat(evidence),
        notes=evidence.notes,
        figures=drawn,
        tables=tables(evidence),
    )


def _title(evidence: Evidence) -> str:
    return f"Report of {evidence.files['output'][0]}"


#: What a direction does, before the name of the input.
_DONE = {
    "remove-resolution": "resolution removed from",
    "add-resolution": "resolution added to",
    "simulation-to-experiment": "as an experiment would show",
    "experiment-to-simulation": "as a simulation would show",
}


def subtitle(evidence: Evidence) -> str:
    """What was done, in one sentence."""
    done = evidence.options.get("direction") or ("another setting" if evidence.options.get("to") else "")
    what = _DONE.get(done, "made from" if not done else "brought to another setting from")
    stated = evidence.run.value("resolution")
    has = f"; the result has {stated.described()}" if stated is not None and evidence.again is None else ""
    if evidence.again is not None:
        has = f"; the result has {evidence.again.report.resolution.described()}"
    return f"{evidence.title}: {what} {evidence.files['input'][0]}{has}."


def _encoded(figure: Figure) -> str:
    """A figure as SVG in base 64; the same figure gives the same text."""
    import matplotlib

    stream = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "insgan"}):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return base64.b64encode(stream.getvalue()).decode("ascii")


# -- tables


def tables(evidence: Evidence) -> list[Table]:
    """The tables of a report: numbers, facts of the run, models, provenance, and what is left out."""
    return [
        Table("Numbers", _numbers(evidence)),
        Table("Facts of the run", _facts(evidence), ("fact", "value", "source")),
        *(part for model in evidence.models for part in _card(model.card)),
        Table("Axes", _axes(evidence), ("axis", "bins", "from", "to", "unit")),
        Table("Options", [(name, _plain(value)) for name, value in evidence.options.items()], ("option", "value")),
        Table("Files", [(what, name, digest) for what, (name, digest) in evidence.files.items()], _FILES),
        Table("Software", [*software().items(), *_times(evidence)]),
        *_left_out(evidence),
    ]


_FILES = ("file", "name", "SHA-256")


def _numbers(evidence: Evidence) -> list[tuple[str, str]]:
    rows = [("valid bins of the result", f"{int(evidence.result.valid.sum())} of {evidence.result.valid.size}")]
    if evidence.flux_ratio is not None:
        rows.append(("total of the result / total of the input, in the same bins", f"{evidence.flux_ratio:.4g}"))
    rows.append(("errors", ", ".join(band.label for band in bands(evidence.result))))
    if evidence.again is None:
        return rows
    for name, value in evidence.again.report.summary().items():
        if isinstance(value, float) and name != "flux_ratio":
            rows.append((name.replace("_", " "), f"{value:.4g}"))
    return rows


def _facts(evidence: Evidence) -> list[tuple[str, str, str]]:
    rows = []
    for name, fact in evidence.run.facts.items():
        source = fact.source
        if fact.replaced is not None and fact.replaced.source != fact.source:
            source += f"; replaces {shown(fact.replaced.value)} from {fact.replaced.source}"
        rows.append((_LABELS.get(name, name), f"{shown(fact.value)} {_UNITS.get(name, '')}".rstrip(), source))
    return rows


def _axes(evidence: Evidence) -> list[tuple[str, ...]]:
    return [
        (
            axis.name,
            str(len(axis)),
            f"{axis.edges[0]:.5g}",
            f"{axis.edges[-1]:.5g}",
            "meV" if axis.is_energy else axis.unit,
        )
        for axis in evidence.result.axes
    ]


def _card(card) -> list[Table]:
    about = [
        ("version", card.version),
        ("direction", card.translation),
        ("axes", str(card.dimensions)),
        ("widest resolution", f"{card.largest_fwhm_bins:g} bins (FWHM)"),
        ("errors", card.errors),
        ("trained on", f"{', '.join(card.training.families)}; {'; '.join(card.training.settings)}"),
        ("held out", f"{', '.join(card.training.held_out_families)}; {'; '.join(card.training.held_out_settings)}"),
        ("training", f"{card.training.command} ({card.training.minutes:g} minutes, {card.training.device})"),
        ("licence", card.licence),
        *(("note", note) for note in card.notes),
    ]
    scores = [
        Table(
            f"{card.name}: {table.title}",
            [(name, *(f"{x:.3f}" for x in values)) for name, values in table.rows.items()],
            ("", *table.columns),
            table.conditions,
        )
        for table in card.metrics
    ]
    return [Table(f"Model {card.name}", about, (), card.description), *scores]


def _times(evidence: Evidence) -> list[tuple[str, str]]:
    return [*([("result written", evidence.made)] if evidence.made else []), ("report written", evidence.written)]


def _left_out(evidence: Evidence) -> list[Table]:
    return [Table("Left out", evidence.missing, ("what", "why"))] if evidence.missing else []


def _plain(value) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


# -- PDF


def _write_pdf(evidence: Evidence, path: Path) -> None:
    from matplotlib.backends.backend_pdf import PdfPages

    drawn = figures(evidence)
    with PdfPages(path, metadata={"Title": _title(evidence), "Creator": "mantid-insgan"}) as pages:
        pages.savefig(front_page(evidence, drawn))
        for number, (caption, figure) in enumerate(drawn.items(), 1):
            if number > 1:
                figure.suptitle(_caption(number, caption), fontsize=10)
                pages.savefig(figure)
        lines = [""]
        for table in tables(evidence):
            rows = [" | ".join(cell for cell in row) for row in table.rows]
            head = [" | ".join(table.header)] if table.header else []
            lines += [
                table.title.upper(),
                *_wrapped([table.text] * bool(table.text)),
                *_wrapped(head + rows, "    "),
                "",
            ]
        for start in range(0, len(lines), _LINES):
            pages.savefig(_sheet("", lines[start : start + _LINES]))


def front_page(evidence: Evidence, drawn: dict[str, Figure] | None = None) -> Figure:
    """The first page of the PDF: the verdict with its reasons, the notes, and the first figure (of `drawn`)."""
    caption, first = next(iter((drawn or figures(evidence)).items()))
    found = verdict(evidence)
    reasons, notes = ([f"- {line}" for line in lines] for lines in (found.reasons, evidence.notes))
    lines = _wrapped([subtitle(evidence), "", found.words.upper(), *reasons, "", caveat(evidence), "", *notes])
    sheet = _sheet(_title(evidence), lines, size=8.5, family="serif")
    left = 0.93 - 0.0132 * (len(lines) + 1)
    picture = _picture(first)
    height = min(left - 0.06, 0.9 * picture.shape[0] / picture.shape[1] * _PAPER[0] / _PAPER[1])
    if height > 0.2:  # with so many notes that no figure fits below them, it is left to its own page
        place = sheet.add_axes((0.05, left - height, 0.9, height))
        place.imshow(picture, aspect="equal", interpolation="antialiased")
        place.set_axis_off()
        sheet.text(0.07, left - height - 0.02, _caption(1, caption), fontsize=8, va="top", parse_math=False)
    return sheet


def _picture(figure: Figure):
    """A figure as an array of colours."""
    from matplotlib.image import imread

    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=200)
    return imread(io.BytesIO(stream.getvalue()))


def _caption(number: int, caption: str) -> str:
    return "\n".join(textwrap.wrap(f"Figure {number}. {caption}.", 100))


def _wrapped(lines: Sequence[str], indent: str = "") -> list[str]:
    """Lines as wide as a sheet; those of a list, and with `indent` all, continue indented."""
    indents = ("  " if line.startswith("- ") else indent for line in lines)
    return [
        part
        for line, further in zip(lines, indents, strict=True)
        for part in textwrap.wrap(line, _LETTERS, subsequent_indent=further, break_on_hyphens=False) or [""]
    ]


def _sheet(title: str, lines: Sequence[str], size: float = 7.5, family: str = "monospace") -> Figure:
    """A page of plain text."""
    from matplotlib.figure import Figure

    sheet = Figure(figsize=_PAPER)
    # parse_math: names in files may have dollar signs
    sheet.text(0.07, 0.97, title, fontsize=14, va="top", parse_math=False)
    text = "\n".join(lines)
    sheet.text(0.07, 0.94, text, fontsize=size, va="top", family=family, linespacing=1.3, parse_math=False)
    return sheet
