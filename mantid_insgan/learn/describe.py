"""Write trained models with their cards, for users' trainings and for the bundled models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

from ..core.files import replacing
from ..core.kernels import LARGEST_FWHM_BINS
from ..errors import OutputError
from ..translate.cards import COVERAGE, LARGEST_ERROR_FACTOR, Domain, ModelCard, Table, Training, write_card
from .evaluate import FEWEST_TO_PART, calibrate, coverage, domain_of_application, halves, held_out_scores
from .export import export
from .generator import GRID_MULTIPLE, SMALLEST_GRID, Generator
from .libraries import Part
from .losses import STANDARD
from .trainer import Trainer

NORMALISATION = "each slice is divided by the root mean square of its valid signal, and multiplied by it afterwards"
#: Packages whose versions every card gives.
SOFTWARE = ("torch", "onnx", "onnxruntime", "numpy")
#: Added to the seed of a training for that of its scores.
SCORING = 5000


@dataclass(frozen=True)
class Errors:
    """The factor on a model's standard errors, and how it was found.

    Parameters
    ----------
    factor : float
        By which they are multiplied.
    calibrated : bool
        Whether the factor was found on pairs that were not trained on.
    tables : tuple of Table
        Scores and coverage.
    notes : tuple of str
    """

    factor: float
    calibrated: bool = True
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()


def errors_of(generator: Generator, held_out, seed: int) -> Errors:
    """Calibrate the errors on half of the held-out spectra and score them on the other half.

    Parameters
    ----------
    generator : Generator
    held_out : library or None
        Pairs that were not trained on. Fewer than `FEWEST_TO_PART` all calibrate, and the coverage is not scored; with
        none the factor is that of the likelihood's own distribution.
    seed : int
    """
    if held_out is None:
        note = (
            "the errors are not calibrated: without pairs that were not trained on, no one knows how often the truth "
            "lies within them; give such pairs with --validation-simulation and --validation-experiment"
        )
        return Errors(STANDARD, calibrated=False, notes=(note,))
    scores = held_out_scores(generator, held_out, seed)
    parts = halves(held_out, seed)
    if parts is None:
        note = (
            f"the errors are calibrated on all spectra that were held out, {_spectra(held_out)}: fewer than "
            f"{FEWEST_TO_PART}, so none are left to say how well the errors cover"
        )
        found = _calibrated(generator, held_out, seed)
        return replace(found, tables=(scores,), notes=(*found.notes, note))
    found = _calibrated(generator, parts[0], seed)
    calibrating, scoring = (len(np.unique(held_out.sources[part.index])) for part in parts)
    conditions = f"over {scoring} spectra; calibrated on {calibrating} others; seed {seed}"
    covered = coverage_table("held-out data", conditions, coverage(generator, parts[1], found.factor, seed + 1))
    return replace(found, tables=(scores, covered))


def _calibrated(generator: Generator, pairs, seed: int) -> Errors:
    """The errors with the factor that held-out pairs ask for, or the largest that a card takes."""
    factor = calibrate(generator, pairs, seed)
    if factor <= LARGEST_ERROR_FACTOR:
        return Errors(factor)
    note = (
        f"the errors are not calibrated: held-out pairs ask for {factor:,.0f} times the errors of the model, and "
        f"{LARGEST_ERROR_FACTOR:,.0f} times is the most; it does not describe these pairs, train it longer"
    )
    return Errors(LARGEST_ERROR_FACTOR, calibrated=False, notes=(note,))


def errors_of_stopped(generator: Generator, held_out, seed: int, most: int) -> Errors:
    """The errors of a model whose training was stopped: calibrated on a few held-out pairs and not scored, because the
    user waits.

    Parameters
    ----------
    generator, held_out, seed
        As `errors_of`.
    most : int
        Pairs that calibrate.
    """
    if held_out is None:
        return errors_of(generator, None, seed)
    part = Part(held_out, np.arange(min(most, len(held_out))))
    note = (
        f"the training was stopped: the factor on the errors is from {len(part)} held-out pairs, the domain of "
        "application is found from few, and nothing is scored, until the training is resumed and ends"
    )
    found = _calibrated(generator, part, seed)
    return replace(found, notes=(*found.notes, note))


def coverage_table(of: str, conditions: str, rows: dict[str, list[float]]) -> Table:
    """The table of a card that `ModelCard.coverage` reads; `rows` as `evaluate.coverage` gives them."""
    return Table(
        title=f"{COVERAGE}, {of}",
        conditions=f"share of valid bins with the target within 1 and 2 standard errors; {conditions}",
        columns=["1 standard error", "2 standard errors"],
        rows=rows,
    )


def domain_of(generator: Generator, seen, unseen, seed: int, most: int = 800) -> tuple[Domain, tuple[str, ...]]:
    """The domain of application, with a note if its threshold comes from spectra that were trained on.

    Parameters
    ----------
    generator : Generator
    seen, unseen : library
        Inputs that were trained on, and others for the threshold (None if there are no others).
    seed : int
    most : int
        Examples that are drawn from `seen`.
    """
    found = Domain(**domain_of_application(generator, seen, unseen or seen, seed, most=most))
    if unseen is not None:
        return found, ()
    note = (
        f"the threshold of the domain of application comes from the training spectra themselves, {_spectra(seen)}: "
        f"fewer than {FEWEST_TO_PART}, so none were kept out; what is unlike them is found too often"
    )
    return found, (note,)


def _spectra(library) -> int:
    return len(np.unique(library.sources))


def training_of(
    trainer: Trainer,
    command: str,
    pairs: int,
    families: Sequence[str],
    *,
    held_out_families: Sequence[str] = (),
    settings: Sequence[str] = (),
    held_out_settings: Sequence[str] = (),
    software: Sequence[str] = (),
) -> Training:
    """The card's record of the training; `software` names packages in addition to `SOFTWARE`."""
    return Training(
        command=command,
        seed=trainer.schedule.seed,
        steps=trainer.step,
        minutes=round(trainer.seconds / 60, 1),
        device=trainer.device,
        families=list(families),
        held_out_families=list(held_out_families),
        settings=list(settings),
        held_out_settings=list(held_out_settings),
        pairs=pairs,
        software={name: version(name) for name in (*SOFTWARE, *software)},
    )


def card_of(
    generator: Generator,
    name: str,
    card_version: str,
    description: str,
    errors: Errors,
    training: Training,
    domain: Domain,
    notes: Sequence[str] = (),
) -> ModelCard:
    """The card of a generator; `notes` are added to those of `errors`."""
    return ModelCard(
        name=name,
        version=card_version,
        direction=generator.direction,
        dimensions=generator.dimensions,
        simulation=generator.simulation,
        background=generator.background is not None,
        description=description,
        normalisation=NORMALISATION,
        grid_multiple=GRID_MULTIPLE,
        smallest_grid=SMALLEST_GRID,
        largest_fwhm_bins=LARGEST_FWHM_BINS,
        error_factor=errors.factor,
        errors="calibrated" if errors.calibrated else "not calibrated",
        notes=[*errors.notes, *notes],
        training=training,
        metrics=list(errors.tables),
        domain=domain,
    )


def write_model(generator: Generator, card: ModelCard, onnx: Path, beside: Path, graph: bytes | None = None) -> None:
    """Export a generator to `onnx` (`graph` as in `export`) and write its card to `beside`: both or neither.

    Raises
    ------
    ModelError
        If the exported model's answers differ from torch's.
    OutputError
        If a file cannot be written.
    """
    try:
        # The card is renamed into place last: a model beside another's card is refused.
        with replacing(beside) as new_card, replacing(onnx, ".part.onnx") as new_model:
            export(generator, new_model, graph)
            write_card(card, new_model, new_card)
    except OSError as problem:
        raise OutputError(
            f"writing the model {onnx} failed: {problem}",
            "make room on the disk and run the same command again: it resumes from the checkpoint",
        ) from problem
