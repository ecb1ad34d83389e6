"""Options of simulating a model and of fitting it to data: names, defaults and help texts, stated once."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import InsganError
from .options import Options, ResolutionOptions, as_for_apply, as_for_files, job_option

#: How a fit and a simulation see a model; a simulation may also use the bundled model.
FITTED_BY = ("covariance", "shapes", "interpolated", "montecarlo", "energy", "none")
SIMULATED_BY = (*FITTED_BY, "gan")
LINE_SHAPES = ("dho", "gaussian", "lorentzian")
#: Of a fit: factors on the model, how errors are taken, and how far a residual counts.
SCALES = ("own", "shared", "fixed")
WEIGHTS = ("errors", "poisson", "equal")
LOSSES = ("linear", "huber")
#: How the interval of one parameter is searched.
PROFILED_BY = ("refit", "minos")


@dataclass(frozen=True)
class SimulateOptions(Options):
    """Options for simulating a model of S(Q,E).

    Those of instrument, ei, chopper, frequency and lattice that are None are taken from the data.
    """

    set: tuple[str, ...] = job_option((), "Value of a parameter, such as J=29; may be repeated.", "--set", "Values")
    resolution: str = job_option(
        "covariance",
        "How it is seen: covariance, shapes, interpolated, montecarlo, energy, none or gan (bundled model on none).",
        "--resolution",
        "Resolution",
    )
    line: float | None = job_option(
        None, "Intrinsic FWHM in meV; the parameter line of the model if not given.", "--line", "Line"
    )
    shape: str = job_option("dho", "Shape of the intrinsic line: dho, gaussian or lorentzian.", "--shape", "Shape")
    points: int | None = job_option(
        None, "Momenta or Monte Carlo points for a bin; see convolve.", "--points", "Points"
    )
    seed: int = job_option(0, "Seed of the random numbers.", "--seed", "Seed")
    u: str | None = job_option(None, "Direction h,k,l along the beam, for a crystal that was not turned.", "--u", "U")
    v: str | None = job_option(None, "Second direction h,k,l in the horizontal plane.", "--v", "V")
    instrument: str | None = as_for_apply("instrument")
    ei: float | None = as_for_apply("ei")
    chopper: str | None = as_for_apply("chopper")
    frequency: float | None = as_for_apply("frequency")
    lattice: str | None = as_for_apply(
        "lattice", "Unit cell a,b,c,alpha,beta,gamma in Angstrom and degrees; from the data or the model if not given."
    )
    width_factor: float = as_for_apply("width_factor")
    axes: str | None = as_for_files("axes")
    q_bins: int | None = as_for_files("q_bins")
    q_range: str | None = as_for_files("q_range")
    energy_bins: int | None = as_for_files("energy_bins")
    energy_range: str | None = as_for_files("energy_range")
    sample: str | None = as_for_apply("sample")
    mosaic: float = as_for_apply("mosaic")


@dataclass(frozen=True)
class FitOptions(ResolutionOptions):
    """Options of fitting a model to data, and of comparing rivals.

    Of instrument, ei, chopper, frequency and lattice, what is None comes from the data. The file of a problem may give
    the others under `options`; an option that is given beside the file is used in place of the file's.
    """

    set: tuple[str, ...] = job_option(
        (), "Start of a parameter, such as J=29; may be repeated.", "--set", "StartValues"
    )
    free: tuple[str, ...] = job_option(
        (),
        "A parameter to fit; may be repeated. Those that the model lets vary if not given.",
        "--free",
        "FreeParameters",
    )
    resolution: str = job_option(
        "covariance", "covariance, shapes, interpolated, montecarlo, energy or none.", "--resolution", "Resolution"
    )
    background: tuple[str, ...] = job_option(
        (),
        "none, constant, per-energy, slope, q-squared or elastic-tail; may be repeated. constant if not given.",
        "--background",
        "Background",
    )
    scale: str = job_option(
        "own", "Factor on the model: own for each dataset, shared by all, or fixed at 1.", "--scale", "Scale"
    )
    weights: str = job_option(
        "errors", "errors of the data; poisson for counts, from what the fit expects; or equal.", "--weights", "Weights"
    )
    loss: str = job_option("linear", "linear (squares), or huber, which counts far bins less.", "--loss", "Loss")
    model_error: float = job_option(
        0.0,
        "Share of the intensity by which the model may be off, added to the errors.",
        "--model-error",
        "ModelError",
        zero=True,
    )
    shape: str = job_option("dho", "Shape of the intrinsic line: dho, gaussian or lorentzian.", "--shape", "Shape")
    starts: int = job_option(
        1, "Searches, the first from the start values and others around them.", "--starts", "Starts"
    )
    spread: float = job_option(
        0.3, "How far other starts lie from the first, as a share of each parameter.", "--spread", "Spread"
    )
    tolerance: float = job_option(
        0.1, "A search ends where a step lowers chi-squared by less than this.", "--tolerance", "Tolerance"
    )
    smoothing: float = job_option(
        0.12,
        "Share of the energy range over which data and model are smoothed where a search begins; 0 for none.",
        "--smoothing",
        "Smoothing",
        zero=True,
    )
    corrections: int = job_option(
        0,
        "How often Monte Carlo at the best values corrects the model for the shapes of pulses; 2 are enough.",
        "--corrections",
        "Corrections",
    )
    profile: tuple[str, ...] = job_option(
        (),
        "A parameter whose 68 % interval is searched with the others fitted again; may be repeated.",
        "--profile",
        "Profile",
    )
    profile_by: str = job_option("refit", "How it is searched: refit, or minos (iminuit).", "--profile-by", "ProfileBy")
    seed: int = job_option(0, "Seed of Monte Carlo draws and resampling.", "--seed", "Seed")
    points: int | None = job_option(
        None, "Momenta or Monte Carlo points for a bin; see convolve.", "--points", "Points"
    )


@dataclass(frozen=True)
class ClassifierOptions(ResolutionOptions):
    """Options of training a classifier between models.

    Those of instrument, ei, chopper, frequency and lattice that are None are taken from the data.
    """

    draws: int = job_option(
        400,
        "Simulations of each model; 15 % test and 15 % validate (with several files the rest is held out in turn).",
        "--draws",
    )
    epochs: int = job_option(
        30, "Passes through the training simulations, each with new experiments; for one file.", "--epochs"
    )
    mirror: tuple[str, ...] = job_option(
        (),
        "Axis about whose 0 models and instrument have a mirror, such as [H,0,0]: each half of a map then counts as a "
        "part of its own; may be given again.",
        "--mirror",
    )
    seed: int = job_option(0, "Seed of the random numbers.", "--seed")


@dataclass(frozen=True)
class ClassifyOptions(Options):
    """Options of applying a classifier: how files are read, and facts of the run, which are compared with those of the
    training. Those that are None are taken from the data.
    """

    instrument: str | None = as_for_apply("instrument")
    ei: float | None = as_for_apply("ei")
    chopper: str | None = as_for_apply("chopper")
    frequency: float | None = as_for_apply("frequency")
    axes: str | None = as_for_files("axes")
    q_bins: int | None = as_for_files("q_bins")
    q_range: str | None = as_for_files("q_range")
    energy_bins: int | None = as_for_files("energy_bins")
    energy_range: str | None = as_for_files("energy_range")


def parse_settings(texts: tuple[str, ...]) -> dict[str, float]:
    """``('J=29', 'Jp=1.7')`` as numbers by name.

    Raises
    ------
    InsganError
        If a text is not a name and a finite number.
    """
    found = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            found[name.strip()] = float(value)
        except ValueError:
            found[name.strip()] = math.nan
        if not name.strip() or not math.isfinite(found[name.strip()]):
            raise InsganError(f"the setting {text!r} is no name with a number", "write it as in --set J=29")
    return found
