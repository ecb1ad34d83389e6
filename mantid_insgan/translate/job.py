"""The main job: add or remove the resolution of a file or a spectrum, for the command line, scripts and Mantid."""

from __future__ import annotations

import math
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .. import __version__
from ..core.files import check_output, require_another
from ..core.merging import binned
from ..core.options import (
    OUT_OF_DOMAIN,
    ApplyOptions,
    binning_of,
    check_target,
    overridden,
    parse_axes,
    reading_of,
)
from ..core.run import BEAM_FACTS, RESOLUTION_FACTS, Run, Setting, shown
from ..core.slices import network_axes, regions_of, require_network_axes, require_valid
from ..core.spectrum import ENDS, Spectrum, energy_axis, frozen, open_axes, per_event, summed
from ..errors import InputError, ModelError, OutputError, RunFactError
from ..instruments.catalogue import with_known_name
from ..instruments.instrument import Resolution
from ..io import last_record, open_spectrum, open_writer, writer_for
from ..io.units import spectrum_in_our_units
from .cards import ModelFile, model_for
from .coarse import Coarsening, coarsening_for
from .findings import Findings, cleaned_source
from .line_width import LineWidth
from .session import FEW_BINS
from .target import Plan, plan_for
from .translator import Quality, Translator
from .trust import ALARM, ends_of, title_of_end

#: Chi-squared per bin of the re-convolution above which there is a note.
MISFIT = 3.0
#: The same in a narrow range of energy transfers that has most of the misfit (`Misfit.place`): few spectra like the
#: training data exceed it (docs/trust.md).
LOCAL_MISFIT = 9.0
#: Fraction of slices beyond the threshold above which data are called unlike the training data, if the model's card has
#: no p-values.
OUTSIDE = 0.05
#: Most things that are said to be unlike the training data.
MOST_REASONS = 3
#: Name of this job in the history of an output, and the options that do not change the result.
HISTORY_NAME = "insgan apply"
NEUTRAL = ("device", "out_of_domain", "intervals", "resolution of the result")
RESULT = NEUTRAL[-1]
#: Name in the history of the ends of its intervals, and that of the parameter that says which end it is.
ENDS_NAME, END = f"{HISTORY_NAME} --intervals", "end"
#: Bins of a file that are in memory at a time (at least one network slice); larger files are processed in slabs.
SLAB_BINS = 1_500_000
#: A larger volume is processed slice by slice if no model is given, because a volume must be in memory as a whole.
VOLUME_BINS = 4_000_000


@dataclass(frozen=True)
class Report:
    """Report of a job: the model or models, the facts of the run that were used, the quality of the result, what
    resolution it has, and the width of the elastic line of the data, if they have one and it was looked for; `coverage`
    is that on the card of the (last) model."""

    model: str
    run: Run
    quality: Quality
    notes: tuple[str, ...]
    coverage: tuple[float, float] | None = None
    resolution: Setting = Setting()
    line_width: LineWidth | None = None

    def summary(self) -> dict:
        """The report as plain numbers and strings."""
        facts = {n: getattr(self.run, n) for n in RESOLUTION_FACTS}
        used = {n: {"value": f.value, "source": f.source} for n, f in facts.items() if f is not None}
        beam = {n: fact for n in BEAM_FACTS if (fact := getattr(self.run, n)) is not None}
        used |= {n: {"value": shown(f.value), "source": f.source} for n, f in beam.items()}
        one, two = self.coverage or (None, None)
        errors = {"held_out_truth_within_1_standard_error": one, "held_out_truth_within_2_standard_errors": two}
        about = {"model": self.model, "run": used, "resolution_of_result": str(self.resolution)}
        line = {"elastic_line_over_calculated_width": self.line_width and self.line_width.ratio}
        return {**about, **self.quality.summary(), **line, **errors, "notes": list(self.notes)}


def apply(
    spectrum: Spectrum, options: ApplyOptions | None = None, *, progress=None, watch=None, **keywords
) -> tuple[Spectrum, Report]:
    """Add the resolution to a spectrum in memory, or remove it.

    Parameters
    ----------
    spectrum : Spectrum
    options : ApplyOptions, optional
        The defaults of `ApplyOptions` if not given.
    progress : callable, optional
        Called with the fraction done, 0 to 1.
    watch : callable, optional
        Told what the first model gives for each slice (`Translator.watch`).
    **keywords
        Fields of `ApplyOptions`; they replace those of `options`:
        ``apply(spectrum, direction="add-resolution", instrument="MAPS", chopper="S", frequency=400)``.

    Returns
    -------
    Spectrum
        On the axes of the input, or in the bins of the options, with errors; with the option `intervals` also with
        `deviations`, of which `trust.ends_of` makes spectra.
    Report
        The model, the facts of the run that were used, the quality of the result, and notes.

    Raises
    ------
    InsganError
        If there is no option of that name, a fact of the run is missing or out of range, or the model does not fit.
    """
    options = (options or ApplyOptions()).updated(**keywords)
    given = spectrum.axes
    converted = spectrum_in_our_units(spectrum, parse_axes(options.axes))
    spectrum = binned(converted, **binning_of(options))
    axes = given if spectrum.axes == converted.axes and not options.axes else spectrum.axes
    run, resolution, translators = _prepare(spectrum, options)
    findings = Findings(resolution)
    clean = findings.cleaned(spectrum.replace(run=run))
    told = per_event(clean)
    plan = plan_for(told, run, options, resolution, translators)
    require_valid(told)
    coarse = coarsening_for(told, plan, resolution.ei)
    if coarse is not None:
        plan = plan_for(coarse.outline, run, options, resolution, translators)
    plan = plan.with_lines(told, resolution)
    if plan.steps and coarse is None:  # in other bins it would be told of those
        plan.steps[0].translator.watch = watch
    result, quality = _worked(clean, None, plan, coarse, progress)
    _require_reached(options, quality)
    _require_known(options, quality, plan)
    result = result.replace(run=run.with_resolution(HISTORY_NAME, plan.setting), axes=axes)
    quality.count_flux(clean, result)
    return result, _report(spectrum, run, plan, quality, findings, coarse)


def _worked(clean: Spectrum, region, plan: Plan, coarse: Coarsening | None, progress) -> tuple[Spectrum, Quality]:
    """The result for data or a region of them, in their bins and with their normalisation."""
    told = per_event(clean)
    if coarse is None:
        result, quality = plan.apply(told, region, progress)
    else:
        wide = per_event(coarse.merged(clean))
        result, quality = plan.apply(wide, coarse.region(region), progress)
        result = coarse.brought_back(result, told)
    return summed(result), quality


def apply_to_file(
    source: Path,
    target: Path,
    options: ApplyOptions,
    *,
    overwrite: bool = False,
    progress=None,
    opened: dict | None = None,
) -> Report:
    """Add or remove the resolution of a file; the result is renamed to `target` when it is complete.

    Files of more than `SLAB_BINS` bins are processed in slabs, so that memory does not grow with the file. With the
    option `intervals` their ends are written to files of their own (`files_of_ends`), which are complete before the
    result is; without it, such files of an earlier result are removed if `overwrite` is True.

    Parameters
    ----------
    source, target : Path
    options : ApplyOptions
    overwrite : bool
    progress : callable, optional
        Called with the fraction done, 0 to 1.
    opened : dict, optional
        Stores open models for the next call.

    Raises
    ------
    InsganError
        As `apply`; also if an output, or the ends of the intervals of an earlier one, exist and `overwrite` is False,
        or if an output cannot be written.
    """
    target = Path(target)
    ends = files_of_ends(target) if options.intervals else {}
    for path in (target, *ends.values()):
        check_output(path, overwrite, [source])
    writer_for(target)
    of_another = _ends_of_another(target, options, overwrite, source)
    with open_spectrum(source, **reading_of(options)) as file:
        run, resolution, translators = _prepare(file, options, opened)
        plan, quality = plan_for(file, run, options, resolution, translators), Quality()
        # facts given as options, and the resolution of the result, are written to the logs of the output
        file.run = run.with_resolution(HISTORY_NAME, plan.setting)
        history = {
            "name": HISTORY_NAME,
            "version": __version__,
            "parameters": _parameters(source, [t.card for t in translators], run, options)
            | {RESULT: str(plan.setting)},
        }
        with _writing(file, target, ends, history, overwrite=overwrite, inputs=[source]) as write:
            regions = slabs(file.shape, network_axes(file.axes, translators[0].card.dimensions))
            cleaned = cleaned_source(file, resolution)
            coarse = coarsening_for(file, plan, resolution.ei, lambda: ((r, cleaned.read(r)) for r in regions))
            if coarse is not None:
                plan = plan_for(coarse.outline, run, options, resolution, translators)
            plan = plan.with_lines(cleaned, resolution, regions)
            findings = Findings(resolution)
            for done, region in enumerate(regions):
                share = None if progress is None else lambda s, d=done: progress((d + s) / len(regions))
                write(region, _translated(file, region, findings, plan, coarse, quality, share))
            if not quality.bins:
                require_valid(file.read(regions[-1]))
            _require_reached(options, quality)
            _require_known(options, quality, plan)
    report = _report(file, run, plan, quality, findings, coarse)
    return replace(report, notes=(*report.notes, *_removed(of_another)))


@contextmanager
def _writing(file, target: Path, ends: dict[str, Path], history: dict, **how):
    """A function that writes a region of a result, and of the ends of its intervals if these have files."""
    with ExitStack() as opened:
        # closed last, so that a result is never without its intervals
        writer = opened.enter_context(open_writer(target, file, history=history, **how))
        of_ends = {}
        for end, path in ends.items():
            own = {"history": _history_of_end(history, end), "title": title_of_end(end, file.title)}
            of_ends[end] = opened.enter_context(open_writer(path, file, **own, **how))

        def write(region, result: Spectrum) -> None:
            writer.write(region, result)
            for end, part in ends_of(result).items() if of_ends else ():
                of_ends[end].write(region, part)

        yield write


def _report(spectrum, run: Run, plan: Plan, quality: Quality, findings: Findings, coarse: Coarsening | None) -> Report:
    used = [step.translator for step in plan.steps]
    found = [_notes(spectrum, translator, quality) for translator in used]
    left_out = f"{quality.left_out} measured bins are empty in the result: no neutron of its setting can reach them"
    elastic = (plan.lines.note(),) if plan.lines is not None and plan.lines.found else ()
    width = (plan.line_width.note(),) if plan.line_width is not None and plan.line_width.differs else ()
    merged = () if coarse is None else (coarse.note(),)
    notes = (width, *found, plan.notes, merged, elastic, (left_out,) * bool(quality.left_out))
    notes = (*notes, overridden(run), run.notes, findings.resolution.notes, findings.notes(), _notes_on_flux(quality))
    names = " and ".join(translator.card.name for translator in used) or "no model"
    coverage = used[-1].card.coverage if used else None
    said = tuple(dict.fromkeys(n for some in notes for n in some))
    return Report(names, run, quality, said, coverage, plan.setting, plan.line_width)


def _notes_on_flux(quality: Quality) -> tuple[str, ...]:
    if quality.bins and quality.flux_ratio is None:
        return ("the total of the data is near zero, so that its ratio to that of the result means nothing",)
    if quality.shown_in > 0 and abs(quality.shown_out / quality.shown_in - quality.flux_ratio) > 0.01:
        return (
            "the signal is a sum over events (NumEventsNormalization), and so is the flux ratio; that of the intensity "
            f"per event, which Mantid shows, is {quality.shown_out / quality.shown_in:.4g}",
        )
    return ()


def _translated(file, region, findings: Findings, plan: Plan, coarse, quality: Quality, progress) -> Spectrum:
    """One slab; nothing of it stays in memory but the result. Its quality is added."""
    clean = findings.cleaned(file.read(region))
    if not clean.valid.any():
        return summed(nothing_measured(per_event(clean)))
    findings.resolution.require_below_ei(clean)
    result, part = _worked(clean, region, plan, coarse, progress)
    part.count_flux(clean, result)
    quality.add(part)
    return result


def _prepare(
    spectrum, options: ApplyOptions, opened: dict | None = None
) -> tuple[Run, Resolution, tuple[Translator, ...]]:
    """The facts of the run with those of the options, the resolution of their spectrometer, and the models, opened."""
    if options.out_of_domain not in OUT_OF_DOMAIN:
        raise RunFactError(
            f"--out-of-domain is {options.out_of_domain!r}, expected {' or '.join(OUT_OF_DOMAIN)}", "give one of them"
        )
    check_target(options)
    run = with_known_name(options.run(spectrum.run))
    require_network_axes(spectrum.axes)
    resolution = Resolution.of_spectrometer(run, **options.of_resolution())
    bins = math.prod(map(len, spectrum.axes))
    translators = (_opened(model, options.device, opened, bins) for model in models_of(spectrum, options))
    return run, resolution, tuple(translators)


def _opened(model: ModelFile, device: str, opened: dict | None, bins: int) -> Translator:
    if opened is None:
        return Translator(model, device, bins=bins)
    key = (model.path, model.card.sha256, device, bins <= FEW_BINS)  # a file gives the same as when it is alone
    if key not in opened:
        opened[key] = Translator(model, device, bins=bins)
    return opened[key]


def models_of(spectrum, options: ApplyOptions) -> list[ModelFile]:
    """The given model, or the bundled one for the open axes of a spectrum or file; for another setting that which
    removes the resolution and that which adds it."""
    opened = len(open_axes(spectrum.axes))
    if options.model is None and _why_not_as_volumes(spectrum):
        opened = 2
    directions = [options.direction] if options.to is None else ["remove-resolution", "add-resolution"]
    return [model_for(direction, opened, options.model) for direction in directions]


def _why_not_as_volumes(spectrum) -> str:
    """Why the bundled model for three axes is not used for a spectrum of three or more open axes; empty if it is."""
    if len(open_axes(spectrum.axes)) < 3:
        return ""
    seen = network_axes(spectrum.axes, 3)
    bins = math.prod(len(spectrum.axes[a]) for a in seen)
    if energy_axis(spectrum.axes) not in seen:
        return "models for three axes need volumes with an energy axis"
    if bins > VOLUME_BINS:
        return f"a volume of {bins:,} bins exceeds the limit of {VOLUME_BINS:,} in memory; cut or rebin it"
    return ""


def files_of_ends(target: Path) -> dict[str, Path]:
    """The files beside a result with the ends of its intervals, by `ENDS`.

    Examples
    --------
    >>> files_of_ends(Path("cut.nxs"))["lower 95 %"].name
    'cut-lower-95.nxs'
    """
    return {end: target.with_stem(f"{target.stem}-{end.removesuffix(' %').replace(' ', '-')}") for end in ENDS}


def _ends_of_another(target: Path, options: ApplyOptions, overwrite: bool, source: Path) -> list[Path]:
    """Files with the ends of the intervals of an earlier result of the same name, which would seem to be those of one
    without intervals: recognised by their names and their history.

    Raises
    ------
    OutputError
        If there are any and nothing may be overwritten, or one is the input.
    """
    if options.intervals:
        return []
    found = [path for end, path in files_of_ends(target).items() if path.is_file() and _is_end(path, end)]
    for path in found:
        require_another(source, path)
    if found and not overwrite:
        raise OutputError(
            f"{', '.join(str(path) for path in found)} beside the output {target} have the ends of the intervals of an "
            "earlier result, and would seem to be those of this one",
            "give another name, or --overwrite to remove them",
        )
    return found


def _is_end(path: Path, end: str) -> bool:
    try:
        record = last_record(path)
    except InputError:  # what cannot be read is no file of ours
        return False
    parameters = record.get("parameters")
    return record.get("name") == ENDS_NAME and isinstance(parameters, dict) and parameters.get(END) == end


def _removed(paths: list[Path]) -> tuple[str, ...]:
    """What is said of files of an earlier result, which are removed."""
    for path in paths:
        path.unlink(missing_ok=True)
    names = ", ".join(path.name for path in paths)
    return (f"removed {names}: they had the ends of the intervals of an earlier result",) * bool(paths)


def _history_of_end(history: dict, end: str) -> dict:
    return history | {"name": ENDS_NAME, "parameters": history["parameters"] | {END: end}}


def is_result(source: Path, target: Path, options: ApplyOptions) -> bool:
    """Whether a file is the present result of `apply_to_file` for `source`: its history has the same name of the input,
    options, facts of the run and model, and it is not older than the input. An existing file is complete, because it
    gets its name only then. With the option `intervals` the same is asked of the files of their ends.

    Raises
    ------
    InsganError
        As `apply_to_file`, for the checks before the model is applied.
    """
    with open_spectrum(source, **reading_of(options)) as file:
        run = with_known_name(options.run(file.run))
        models = models_of(file, options)
    record = {"name": HISTORY_NAME, "parameters": _parameters(source, [m.card for m in models], run, options)}
    wanted = {target: record}
    if options.intervals:
        wanted |= {path: _history_of_end(record, end) for end, path in files_of_ends(target).items()}
    made_before = source.stat().st_mtime
    return all(
        path.exists() and _has_record(path, expected) and path.stat().st_mtime >= made_before
        for path, expected in wanted.items()
    )


def _has_record(path: Path, expected: dict) -> bool:
    found = last_record(path)
    if found.get("name") != expected["name"] or found.get("version") != __version__:
        return False
    decides = [{k: v for k, v in r["parameters"].items() if k not in NEUTRAL} for r in (found, expected)]
    return decides[0] == decides[1]


def _require_reached(options: ApplyOptions, quality: Quality) -> None:
    """Raise RunFactError if another setting reaches none of the bins."""
    if not quality.bins:
        raise RunFactError(
            f"a neutron of the setting --to {options.to} can reach none of the valid bins",
            "give a higher incident energy there, or another cut",
        )


def _require_known(options: ApplyOptions, quality: Quality, plan: Plan) -> None:
    """Raise for data unlike the training data (ModelError) or the facts of the run (RunFactError), if requested."""
    if options.out_of_domain != "error":
        return
    if plan.line_width is not None and plan.line_width.differs:
        raise RunFactError(
            f"{plan.line_width}, and --out-of-domain error was given",
            f"{plan.line_width.remedy()}, or accept the result with --out-of-domain warn",
        )
    if is_unlike(quality):
        raise ModelError(
            f"{unlike(quality)}, and --out-of-domain error was given",
            "compare with a simulation, use another model (--model), or accept the result with --out-of-domain warn",
        )


def is_unlike(quality: Quality) -> bool:
    """Whether data are called unlike the training data: by their p-value, or by the share of slices beyond the
    threshold if the model's card has none."""
    return quality.outside > OUTSIDE if quality.p_value is None else quality.p_value < ALARM


def unlike(quality: Quality) -> str:
    """How unlike the training data the data are, and in what."""
    if quality.p_value is None:
        found = f"median distance {np.median(quality.distances):.2g} of the threshold, which 1 % of like spectra exceed"
        return f"{quality.outside:.0%} of the slices are unlike the training data of the model ({found})"
    told = f"the data are unlike the training data of the model (p-value {quality.p_value:.2g})"
    return "; ".join([told, *(f"{words}, {where}" for words, where in quality.reasons[:MOST_REASONS])])


def misfit_in_words(quality: Quality) -> str:
    """How much the result convolved again differs from the data, where, and what that may be; an empty text if it does
    not differ by more than `MISFIT` in all and `LOCAL_MISFIT` at any energies."""
    if not quality.compared:
        return ""
    all_, place = quality.chi_squared / quality.compared, quality.misfit.place()
    found = f"chi-squared {all_:.3g} per bin"
    if place is not None and place.inside > LOCAL_MISFIT:
        return f"{found}, {place}: something there may be no part of the sample, such as a line of another repetition"
    wrong = "the calculated widths (--width-factor) or the strongest peaks may be wrong"
    return f"{found}: {wrong}" if all_ > MISFIT else ""


def usual_chi_squared(card) -> str:
    """What chi-squared per bin of the result convolved again is usual, by the card of the model that removes."""
    if card.reconvolution is None:
        return "it is no test of the result: it grows with the counts, and spectra like the training data also exceed 1"
    return "spectra like the training data have about 1 on average, at every number of counts"


def nothing_measured(spectrum: Spectrum) -> Spectrum:
    """The spectrum with NaN in every bin, as the translator returns invalid bins."""
    nothing = frozen(np.full(spectrum.shape, np.nan))
    return spectrum.replace(signal=nothing, variance=nothing)


def slabs(shape: tuple[int, ...], axes: tuple[int, ...]) -> list[tuple[slice, ...]]:
    """The regions of at most `SLAB_BINS` bins in which a file is read (`regions_of`)."""
    return regions_of(shape, axes, SLAB_BINS)


def _parameters(source, cards, run, options) -> dict:
    facts = {n: getattr(run, n).value for n in RESOLUTION_FACTS if getattr(run, n)}
    removes = {"sharpen": options.sharpen} if [c.translation for c in cards] == ["remove-resolution"] else {}
    models = {}
    for which, card in zip(("model", "second_model"), cards, strict=False):
        models |= {which: card.name, f"{which}_version": card.version, f"{which}_sha256": card.sha256}
    own = {} if options.to else {"direction": options.direction}
    return {"input": Path(source).name, **options.given(), **own, **removes, **facts, **models}


def _notes(spectrum, translator: Translator, quality: Quality) -> tuple[str, ...]:
    """The notes on the limits of this result."""
    axes = network_axes(spectrum.axes, translator.card.dimensions)
    notes = []
    left = [spectrum.axes[i].name for i in open_axes(spectrum.axes) if i not in axes]
    if left:
        seen = " and ".join(repr(spectrum.axes[a].name) for a in axes)
        why = _why_not_as_volumes(spectrum) if translator.card.dimensions < 3 else ""
        notes.append(
            f"the model was applied to slices in {seen}: the resolution along {', '.join(map(repr, left))} was left "
            "unchanged" + (f" ({why})" if why else "")
        )
    if spectrum.axes[energy_axis(spectrum.axes)].integrated:
        notes.append("the energy is integrated: its resolution was left unchanged, the momentum widths were used")
    if translator.card.simulation == "convolved":
        adds = translator.card.direction == "add-resolution"
        what = "expects simulations that contain" if adds else "leaves in its result"
        notes.append(f"the model {translator.card.name} {what} the calculated resolution")
    if translator.card.purpose == "experiment":
        does = "added" if translator.card.direction == "add-resolution" else "took away"
        notes.append(
            f"the model {translator.card.name} {does} a background that is a guess from the energy and |Q| alone, and "
            "was trained without pairs, on simulated experiments and one measured material: compare with a calculation"
        )
    if translator.card.errors == "not calibrated":
        notes.append(
            f"the errors are not calibrated: the model {translator.card.name} was trained without pairs, so their "
            "coverage of the truth is not known; do not use them in fits"
        )
    if quality.too_wide:
        share = quality.too_wide / quality.bins
        notes.append(
            f"in {share:.1%} of the valid bins the resolution is wider than {translator.card.largest_fwhm_bins:g} bins "
            "and was limited to that width"
        )
    if translator.card.direction == "remove-resolution" and (differs := misfit_in_words(quality)):
        notes.append(
            f"convolved again, the result differs from the data by {differs}; {usual_chi_squared(translator.card)}"
        )
    if is_unlike(quality):
        notes.append(f"{unlike(quality)}: compare with a simulation before trusting details")
    return tuple(notes)
