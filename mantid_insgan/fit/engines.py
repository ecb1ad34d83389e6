"""How a fit sees a model: by which resolution, prepared once for each dataset.

An engine is called with a model and gives the intensity at every bin of the dataset's grid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ..core.spectrum import Spectrum
from ..errors import InputError

if TYPE_CHECKING:
    from ..convolve.prepared import Prepared

#: The engines by name, and what each does.
ENGINES = {
    "covariance": "a Gaussian of full covariance in (Q, E), prepared once: quick and smooth; the default",
    "shapes": "a sum of Gaussians with the shapes of pulses, apertures and pixels: nearest to Monte Carlo, slower",
    "interpolated": "Monte Carlo between the nodes of a grid of modes, with the same draws for every model",
    "montecarlo": "the model at every random deviation, with the same draws for every model: exact and slow",
    "energy": "FWHM(E) along the energy alone",
    "none": "no resolution: the mean over each bin",
}
#: Those that are prepared.
PREPARED = ("covariance", "shapes")
#: Largest width factor that a prepared convolution is asked for, and momenta across a bin without resolution.
_WIDEST, _EVEN_POINTS = 1.6, 64


class Engine(Protocol):
    """Gives the intensity of a model at the bins of one dataset."""

    def __call__(self, model, *, line: float | None, shape: str, width_factor: float) -> np.ndarray:
        """Intensity in the shape of the dataset's spectrum; NaN where no neutron can be."""


#: Makes an engine for a spectrum and its resolution; `model` is the one at the start values.
MakeEngine = Callable[[Spectrum, object, object], Engine]


def engine_for(
    name: str | MakeEngine, spectrum: Spectrum, resolution, model, *, seed: int = 0, points=None, threads: int = 1
) -> Engine:
    """The engine of that name for a dataset.

    Parameters
    ----------
    name : str or callable
        One of `ENGINES`, or a function of (spectrum, resolution, model) that makes an engine.
    spectrum : Spectrum
    resolution : Resolution
    model
        At the start values: what is worked out once may look at it.
    seed : int
        Of Monte Carlo draws, the same for every model.
    points : int, optional
        As in `convolve`.
    threads : int
        Of one evaluation; the result does not depend on it.

    Raises
    ------
    InputError
        If the name is not known.
    """
    if callable(name):
        return name(spectrum, resolution, model)
    if name not in ENGINES:
        raise InputError(f"unknown resolution {name!r}", f"use one of {', '.join(ENGINES)}")
    if name in PREPARED:
        from ..convolve.prepared import prepare

        prepared = prepare(spectrum, resolution, method=name, model=model, points=points, widest=_WIDEST)
        return PreparedEngine(prepared, threads)
    return _unprepared(name, spectrum, resolution, seed=seed, points=points, workers=threads)


@dataclass(frozen=True, eq=False)
class PreparedEngine:
    """The engines of `PREPARED`: a convolution prepared once."""

    prepared: Prepared
    threads: int

    def __call__(self, model, *, line: float | None, shape: str, width_factor: float) -> np.ndarray:
        """See `Engine`."""
        options = {"fwhm": line, "shape": shape, "width_factor": width_factor}
        return self.prepared.signal(model, workers=self.threads, **options)


def share_modes(engines: Sequence[Engine]) -> None:
    """Let the engines of a fit ask each model once where they can: powders at several incident energies."""
    from ..convolve.shared import share_powders

    share_powders([engine.prepared for engine in engines if isinstance(engine, PreparedEngine)])


def _unprepared(name: str, spectrum: Spectrum, resolution, *, points: int | None, **how) -> Engine:
    """An engine that works everything out again for every model, with the same random numbers."""
    from ..convolve import convolve, ideal

    def seen(model, *, line, shape, width_factor):
        wider = resolution.scaled(width_factor)
        options = {"fwhm": line, "shape": shape, **how}
        if name == "none":
            return ideal(model, spectrum, wider, points=points or _EVEN_POINTS, **options).signal
        return convolve(model, spectrum, wider, method=name, points=points, **options).signal

    return seen
