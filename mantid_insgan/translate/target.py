"""What a translation is from and to: no resolution, that of a spectrometer r times finer, or that of another setting.

A plan has the steps of a translation, each one model applied once, and the resolution of its result. Two settings A (of
the data) and B (wanted) are joined by what both have: M, the smaller of their covariances in every direction. Removing
the resolution leads from A to M, adding it from M to B.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import numpy as np

from ..core.options import SHARPEN, ApplyOptions, parse_target
from ..core.run import NO_RESOLUTION, RESOLUTION_FACTS, SPECTROMETER, Run, Setting
from ..core.slices import network_axes
from ..core.spectrum import ENDS, Spectrum, frozen
from ..errors import ModelError, RunFactError
from ..instruments.grid import ResolutionOnGrid, finest, ratios
from ..instruments.instrument import Resolution
from .cards import require_intervals
from .elastic import ElasticLines, kept_apart, look_for_lines
from .line_width import LineWidth
from .translator import Quality, Translator

#: Widths that differ by less than this share are the same: no step is made between them.
SAME_WIDTH = 0.03


@dataclass(frozen=True)
class Step:
    """One model, applied once.

    Parameters
    ----------
    translator : Translator
    grid : ResolutionOnGrid
        The wider of the two resolutions: of the input when it is removed, of the result when it is added.
    finer : ResolutionOnGrid, optional
        The finer one; none at all if not given.
    """

    translator: Translator
    grid: ResolutionOnGrid
    finer: ResolutionOnGrid | None = None

    def apply(self, spectrum: Spectrum, region, progress, intervals: bool = False) -> tuple[Spectrum, Quality]:
        """The step for the bins of a region of the grid; all if None."""
        grid, finer = self.grid, self.finer
        if region is not None:
            grid, finer = grid.region(region), finer and finer.region(region)
        return self.translator.apply(spectrum, grid, progress, finer, intervals=intervals)


@dataclass(frozen=True)
class Plan:
    """The steps of a translation.

    Parameters
    ----------
    steps : tuple of Step
    setting : Setting
        The resolution of the result.
    reach : ResolutionOnGrid, optional
        Of a spectrometer at another setting: bins that it cannot reach are not valid in the result.
    notes : tuple of str
    target : Resolution, optional
        That of the result, which elastic lines get; none at all if not given.
    lines : ElasticLines, optional
        Of the data: they are kept apart from what the models do.
    line_width : LineWidth, optional
        Of the data's elastic line.
    intervals : bool
        Whether the result has `deviations`; for a plan of one step.
    """

    steps: tuple[Step, ...]
    setting: Setting
    reach: ResolutionOnGrid | None = None
    notes: tuple[str, ...] = field(default=())
    target: Resolution | None = None
    lines: ElasticLines | None = None
    line_width: LineWidth | None = None
    intervals: bool = False

    @property
    def removes(self) -> bool:
        """Whether its first step removes resolution and leaves backgrounds: elastic lines are then kept apart."""
        if not self.steps:
            return False
        card = self.steps[0].translator.card
        lines = not card.background or card.purpose == "experiment"  # bundled ones never saw a line
        return card.direction == "remove-resolution" and card.simulation == "ideal" and lines

    def with_lines(self, source, resolution: Resolution, regions=None) -> Plan:
        """The plan with the elastic line of the data, if it keeps lines apart; parameters as `look_for_lines`."""
        if not self.removes:
            return self
        lines, width = look_for_lines(source, resolution, regions)
        return replace(self, lines=lines, line_width=width)

    def apply(self, spectrum: Spectrum, region=None, progress: Callable | None = None) -> tuple[Spectrum, Quality]:
        """The result for a spectrum, or for a region of one (a tuple of slices of the whole), and its quality."""
        if self.intervals or spectrum.deviations is not None:
            unknown = np.broadcast_to(frozen(np.full((), np.nan)), (len(ENDS), *spectrum.shape))
            spectrum = spectrum.replace(deviations=unknown if self.intervals else None)
        measured = int(spectrum.valid.sum())
        if self.reach is not None:
            reach = self.reach if region is None else self.reach.region(region)
            spectrum = spectrum.replace(valid=spectrum.valid & reach.reachable)
        left_out = measured - int(spectrum.valid.sum())
        if left_out == measured:
            return _without_values(spectrum), Quality(left_out=left_out)
        walk = lambda seen: self._walked(seen, region, progress)  # noqa: E731
        spectrum, quality = kept_apart(self.lines, spectrum, self.target, walk)
        quality.left_out = left_out
        return spectrum, quality

    def _walked(self, spectrum: Spectrum, region, progress) -> tuple[Spectrum, Quality]:
        quality = None
        for number, step in enumerate(self.steps):
            share = progress and _part_of(progress, number, len(self.steps))
            spectrum, found = step.apply(spectrum, region, share, self.intervals)
            quality = found if quality is None else quality.then(found)
        return _without_values(spectrum), quality or _unchanged(spectrum)


def _part_of(progress: Callable, number: int, count: int) -> Callable:
    return lambda share: progress((number + share) / count)


def _without_values(spectrum: Spectrum) -> Spectrum:
    """NaN in bins that are not valid."""
    if np.isnan(spectrum.signal[~spectrum.valid]).all():
        return spectrum
    signal, variance = (np.where(spectrum.valid, x, np.nan) for x in (spectrum.signal, spectrum.variance))
    return spectrum.replace(signal=signal, variance=variance, deviations=spectrum.deviations)


def _unchanged(spectrum: Spectrum) -> Quality:
    flux = float(spectrum.signal[spectrum.valid].sum())
    return Quality(flux_in=flux, flux_out=flux, bins=int(spectrum.valid.sum()))


def plan_for(
    spectrum, run: Run, options: ApplyOptions, spectrometer: Resolution, translators: tuple[Translator, ...]
) -> Plan:
    """The plan of a job.

    Parameters
    ----------
    spectrum : Spectrum or open file
    run : Run
        The facts of the spectrum, with those of the options.
    options : ApplyOptions
        Checked (`core.options.check_target`).
    spectrometer : Resolution
        `Resolution.of_spectrometer` for these.
    translators : tuple of Translator
        That of the direction; for another setting the one that removes and the one that adds.

    Raises
    ------
    RunFactError
        If a fact is missing or out of range; if what is to be removed was removed before, or what is to be added was
        added before.
    ModelError
        If a model does not take what the plan needs, or its card has no intervals and they are asked for.
    """
    if options.intervals:
        for translator in translators:
            require_intervals(translator.card)
    if options.to is not None:
        wanted, setting = _other_setting(run, options)
        data = _own(run, spectrometer)
        return replace(plan_between(spectrum, data, wanted, *translators), setting=setting)
    (translator,) = translators
    about = {n: run.value(n) for n in RESOLUTION_FACTS}
    if spectrometer.width_factor != 1.0:
        about["width_factor"] = spectrometer.width_factor
    plan = _removal if translator.card.direction == "remove-resolution" else _addition
    steps, sharpness, notes = plan(spectrum, run, options, translator, spectrometer)
    target = None if sharpness == NO_RESOLUTION else spectrometer.sharpened(*sharpness)
    setting = Setting(**about, sharpness=sharpness)
    return Plan(steps, setting, notes=notes, target=target, intervals=options.intervals)


def _own(run: Run, spectrometer: Resolution) -> Resolution | None:
    """The resolution of the data; None if they have none."""
    stated = run.value("resolution") or Setting()
    if not stated.has_resolution:
        return None
    return spectrometer.sharpened(*(stated.sharpness or SPECTROMETER))


def _removal(spectrum, run: Run, options: ApplyOptions, translator: Translator, spectrometer: Resolution):
    stated, notes = run.value("resolution"), ()
    if stated is not None and stated.sharpness not in (None, SPECTROMETER):
        raise RunFactError(
            f"the data have {stated.described()}: it was removed before ({run.resolution.source}: {stated})",
            "take the measured data, and give how many times finer the result is to be as --sharpen",
        )
    if stated is not None and stated.facts:
        notes = (f"the data have {stated.described()} from a calculation ({run.resolution.source}: {stated})",)
    grid = spectrometer.on_grid(spectrum)
    if translator.takes_target and options.sharpen:
        sharpness = (options.sharpen, options.sharpen)
        return (Step(translator, grid, grid.sharpened(options.sharpen)),), sharpness, notes
    if translator.card.simulation == "convolved":
        return (Step(translator, grid),), SPECTROMETER, notes
    if options.sharpen not in (0, SHARPEN):
        notes += (
            f"the model {translator.card.name} takes no finer resolution: the result has none at all, and --sharpen "
            f"{options.sharpen:g} was not used",
        )
    return (Step(translator, grid),), NO_RESOLUTION, notes


def _addition(spectrum, run: Run, options: ApplyOptions, translator: Translator, spectrometer: Resolution):
    grid, stated = spectrometer.on_grid(spectrum), run.value("resolution")
    if stated is None or not stated.has_resolution or translator.card.simulation == "convolved":
        return (Step(translator, grid),), SPECTROMETER, ()
    if stated.sharpness in (None, SPECTROMETER):
        raise RunFactError(
            f"the data have {stated.described()}: it was added before ({run.resolution.source}: {stated})",
            "take the simulation without resolution",
        )
    if not translator.takes_target:
        raise ModelError(
            f"the data have {stated.described()} ({run.resolution.source}: {stated}), and the model "
            f"{translator.card.name} adds it only to data without any",
            "take a model with an input finer, or a simulation without resolution",
        )
    return (Step(translator, grid, _own(run, spectrometer).on_grid(spectrum)),), SPECTROMETER, ()


def _other_setting(run: Run, options: ApplyOptions) -> tuple[Resolution, Setting]:
    """The resolution that --to asks for, and its setting in full."""
    asked = parse_target(options.to)
    other = replace(run, resolution=None, divergence=None)  # that of the data is that at their Ei
    if asked.instrument is not None and asked.instrument.casefold() != str(run.value("instrument")).casefold():
        other = replace(other, chopper=None, frequency=None)  # those of another spectrometer
    other = other.updated("option --to", **asked.facts)
    factor = options.width_factor if asked.width_factor is None else asked.width_factor
    try:
        wanted = Resolution.of_spectrometer(other, **options.of_resolution() | {"width_factor": factor})
    except RunFactError as problem:
        raise RunFactError(
            f"the setting --to {options.to}: {problem.reason}",
            "give a setting that the instrument has, such as --to Ei=38,chopper=G,frequency=600",
        ) from problem
    given = {} if factor == 1.0 else {"width_factor": factor}
    facts = {n: other.value(n) for n in RESOLUTION_FACTS}
    return wanted, Setting(**facts, **given, sharpness=SPECTROMETER)


def plan_between(spectrum, data: Resolution | None, wanted: Resolution, remover: Translator, adder: Translator) -> Plan:
    """The plan that brings data from one resolution to another.

    Parameters
    ----------
    spectrum : Spectrum or open file
    data : Resolution or None
        That of the data (A); None if they have none.
    wanted : Resolution
        That of the result (B).
    remover, adder : Translator
        Models that take a finer resolution, for the same number of dimensions.

    Returns
    -------
    Plan
        With M = min(A, B) on the axes that the models see (`finest`): from A to M where a width of M is less than
        1 - `SAME_WIDTH` of that of A, in any direction and bin, then from M to B where B is wider than M by as much.

    Raises
    ------
    ModelError
        If a model takes no finer resolution.
    """
    for translator in (remover, adder):
        if not translator.takes_target:
            raise ModelError(
                f"the model {translator.card.name} takes no finer resolution, which another setting (--to) needs",
                "use models with an input finer, or remove the resolution without --to",
            )
    outline = SimpleNamespace(axes=spectrum.axes, shape=spectrum.shape)  # bins above the Ei of B are left out later
    axes = network_axes(spectrum.axes, remover.card.dimensions)
    target = wanted.on_grid(outline)
    setting = Setting(
        wanted.instrument, wanted.ei, wanted.chopper, wanted.frequency, wanted.width_factor, wanted.sharpness
    )
    if data is None:
        return Plan((Step(adder, target),), setting, target, target=wanted)
    own = data.on_grid(spectrum)
    narrowest, widest = ratios(own, target, axes)
    both = finest(own, target, axes) if narrowest < 1.0 else own
    steps, notes = [], ()
    if narrowest < 1 - SAME_WIDTH:
        steps.append(Step(remover, own, both))
    if widest > 1 + SAME_WIDTH:
        steps.append(Step(adder, target, both))
    if not steps:
        notes = (f"the two resolutions agree within {SAME_WIDTH:.0%} in every bin: the intensity was left as it was",)
    return Plan(tuple(steps), setting, target, notes, wanted)


def brought(
    spectrum: Spectrum,
    data: Resolution | None,
    wanted: Resolution,
    remover: Translator,
    adder: Translator,
    progress: Callable | None = None,
) -> tuple[Spectrum, Quality]:
    """A spectrum brought from the resolution of the data to another one; parameters and errors as `plan_between`.

    Returns
    -------
    Spectrum
        NaN where a spectrometer with the wanted resolution measures nothing.
    Quality
    """
    plan = plan_between(spectrum, data, wanted, remover, adder).with_lines(spectrum, data)
    return plan.apply(spectrum, progress=progress)
