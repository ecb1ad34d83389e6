"""A pair: one cut without and with the resolution."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ...convolve.bins import Bins
from ...convolve.detectors import Detectors
from ...convolve.experiment import IDEAL, RECORDED, ExperimentSettings, make_experiment
from ...core.run import Lattice, Run
from ...core.spectrum import Axis, Spectrum
from ...instruments import Resolution, Sample


@dataclass(frozen=True)
class Pair:
    """One pair as arrays on the open axes, the energy last.

    Parameters
    ----------
    ideal, convolved : ndarray, float32, shape (*grid)
    finer : ndarray, float32, shape (K, *grid)
        Convolved with resolutions that are finer by ``facts["sharpness"]``, see `Resolution.sharpened`.
    valid : ndarray of bool, shape (*grid)
        Where an experiment has a measurement.
    width : ndarray, float32, shape (D, *grid)
        FWHM in bins.
    correlation : ndarray, float32, shape (D (D - 1) / 2, *grid)
        Of the resolution between the axes (0, 1), (0, 2), (1, 2).
    position : ndarray, float32, shape (3, *grid)
        See `Resolution.position`.
    facts : dict
        What it is, for JSON.
    """

    ideal: np.ndarray
    finer: np.ndarray
    convolved: np.ndarray
    valid: np.ndarray
    width: np.ndarray
    correlation: np.ndarray
    position: np.ndarray
    facts: dict

    @cached_property
    def resolution(self) -> Resolution:
        """The resolution that the pair was convolved with."""
        setting = self.facts["resolution"]
        return Resolution(
            setting["instrument"],
            setting["ei"],
            setting["chopper"],
            setting["frequencies"][0],
            width_factor=setting["width_factor"],
            sample=Sample(**setting["sample"]),
            mosaic=setting["mosaic"],
            time_model=setting["time_model"],
            lattice=Lattice(*self.facts["model"]["lattice"]),
        )

    @property
    def sides(self) -> tuple[tuple[float, float] | None, ...]:
        """How many times finer than the resolution each of `all_sides` is; None is without resolution."""
        return (IDEAL, *(tuple(s) for s in self.facts["sharpness"]), RECORDED)

    @property
    def all_sides(self) -> tuple[np.ndarray, ...]:
        """The cut without resolution, through the finer ones, and convolved, each (*grid)."""
        return (self.ideal, *self.finer, self.convolved)

    def finer_conditions(self, side: int) -> np.ndarray:
        """Widths in bins and correlations of the resolution of a side, float32, shape (D + D (D - 1) / 2, *grid)."""
        if side not in self._conditions:
            self._conditions[side] = self._worked_out(self.sides[side])
        return self._conditions[side]

    @cached_property
    def _conditions(self) -> dict[int, np.ndarray]:
        return {}

    def _worked_out(self, sharpness) -> np.ndarray:
        if sharpness is IDEAL:
            return np.zeros((len(self.width) + len(self.correlation), *self.ideal.shape), np.float32)
        if sharpness[0] == sharpness[1]:
            return np.concatenate([self.width / np.float32(sharpness[0]), self.correlation])
        found = self.resolution.sharpened(*sharpness).on_grid(self.spectrum("convolved"))
        parts = (found.width, found.correlation)
        return np.concatenate([x.reshape(-1, *self.ideal.shape) for x in parts]).astype(np.float32)

    @property
    def known(self) -> np.ndarray:
        """Bins with a value on both sides: those that a neutron can reach, (*grid)."""
        return np.isfinite(self.ideal) & np.isfinite(self.convolved) & np.isfinite(self.finer).all(axis=0)

    @cached_property
    def detectors(self) -> Detectors:
        """What detectors see of the grid, to draw backgrounds, gaps and counts for it; worked out once."""
        known = self.known.reshape(-1, self.facts["axes"][-1]["bins"])
        return Detectors(Bins(self.spectrum("convolved"), self.resolution, known))

    def spectrum(self, name: str, *, seed: int = 0) -> Spectrum:
        """One side as a Spectrum with its axes (integrated ones included) and run.

        Parameters
        ----------
        name : {'ideal', 'convolved', 'experiment'}
            'experiment' is drawn with the settings in the facts (see `make_experiment`), measured where `valid` is.
        seed : int
            Of the counts of 'experiment'.
        """
        if name == "experiment":
            convolved, settings = self.spectrum("convolved"), ExperimentSettings.from_facts(self.facts["experiment"])
            seen = self.valid.reshape(convolved.shape)
            drawn = make_experiment(convolved, self.resolution, settings, seed=seed, seen=seen)
            return drawn.replace(title=name)
        axes = tuple(
            Axis(a["name"], np.linspace(a["low"], a["high"], a["bins"] + 1), a["unit"], a["frame"])
            for a in self.facts["axes"]
        )
        shape = tuple(len(a) for a in axes)
        setting, model = self.facts["resolution"], self.facts["model"]
        run = Run().updated(
            f"pair {self.facts['index']}",
            **{n: setting[n] for n in ("instrument", "ei", "chopper")},
            frequency=setting["frequencies"][0],
            temperature=model["temperature"],
            lattice=Lattice(*model["lattice"]),
        )
        signal = getattr(self, name).astype(float).reshape(shape)
        return Spectrum(signal, np.zeros(shape), axes, run=run, title=name)
