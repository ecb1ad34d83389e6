"""Whether the elastic line of the data is as wide as the facts of the run say.

Elastic scattering has no width of its own: its line is the resolution, so that a line of another width tells of wrong
facts where nothing else in the data does.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..errors import InputError
from ..instruments.instrument import Resolution
from ..instruments.line_fit import WidthFactor, fit_line

#: Ratios of the widths, fitted over calculated, that are no reason to doubt: those of measurements with right facts are
#: 1.01 to 1.31 (docs/trust.md).
NARROWEST, WIDEST = 0.8, 1.35
#: Half of the fitted range, in FWHM of the line itself, how often it is found anew, and the change that ends this.
_WINDOW, _TIMES, _SAME = 1.5, 6, 0.1
#: Fewest energy bins in it; how far the centre of a line is from E = 0 at most, in FWHM; by how much it stands above
#: the level beside it; and how well its width must be known, relative to it.
_BINS, _FROM_ZERO, _ABOVE, _KNOWN = 8, 0.5, 3.0, 0.1
#: How much higher than at the ends of the range the signal is at least.
_HIGHER = 1.1


class LineWidth(NamedTuple):
    """The width of the elastic line of some data, fitted and calculated (FWHM, meV), and the standard error of the
    fitted one."""

    fitted: float
    error: float
    calculated: float

    @property
    def ratio(self) -> float:
        """Fitted over calculated."""
        return self.fitted / self.calculated

    @property
    def differs(self) -> bool:
        """Whether it is narrower or wider than is usual with right facts, by more than two standard errors."""
        away = 2 * self.error / self.calculated
        return self.ratio + away < NARROWEST or self.ratio - away > WIDEST

    def told(self) -> str:
        """The two widths in words."""
        return f"FWHM {self.fitted:.3g} meV, {self.ratio:.2g} times the calculated {self.calculated:.3g} meV"

    def __str__(self) -> str:
        return f"the elastic line has another width than the facts of the run say ({self.told()})"

    def note(self) -> str:
        """What it says against the facts; empty if it does not differ."""
        return f"{self}: {self.remedy()}" if self.differs else ""

    def remedy(self) -> str:
        """What to do about a width that differs."""
        check = "check the chopper, its frequency and the instrument (insgan inspect shows where each is from)"
        if self.ratio < 1:
            return f"{check}; no elastic line is narrower than the resolution"
        return f"{check}; if they are right, give --width-factor, or the sample scatters quasi-elastically"


def line_width(
    energy: np.ndarray, signal: np.ndarray, error: np.ndarray, bin_width: float, resolution: Resolution
) -> LineWidth | None:
    """The width of the elastic line of a spectrum.

    The range of the fit follows the line that it finds, so that a line of another width than calculated is fitted as
    well as one of that width.

    Parameters
    ----------
    energy, signal, error : ndarray, shape (n,)
        Centres of the bins in meV, their signal and its standard error.
    bin_width : float
        meV.
    resolution : Resolution
        As the facts of the run say.

    Returns
    -------
    LineWidth or None
        None if there is no line that is clear enough to tell.
    """
    half, found = _WINDOW * float(resolution.fwhm_energy(0.0)), None
    for _ in range(_TIMES):
        use = np.abs(energy) <= half
        if use.sum() < _BINS or not _rises(signal[use]):
            break
        try:
            found = fit_line(energy[use], signal[use], error[use], bin_width, resolution)
        except InputError:  # no line, or none that is significant
            return None
        half, before = _WINDOW * found.fwhm_fitted, half
        if abs(half / before - 1) < _SAME:
            break
    return _told(found) if found is not None and _is_line(found) else None


def _rises(signal: np.ndarray) -> bool:
    """Whether there is a peak between the ends of a range: nothing else is worth a fit."""
    return bool(signal.max() > _HIGHER * max(abs(float(signal[0])), abs(float(signal[-1]))))


def _told(found: WidthFactor) -> LineWidth:
    error = found.fwhm_fitted * found.sigma / found.factor
    return LineWidth(float(found.fwhm_fitted), float(error), float(found.fwhm_calculated))


def _is_line(found: WidthFactor) -> bool:
    """Whether what was fitted is a peak at E = 0 that stands clear of what lies below it, with a known width."""
    level = max(abs(float(found.model[0])), abs(float(found.model[-1])))
    near = abs(found.centre) < _FROM_ZERO * found.fwhm_fitted
    inside = found.energy[0] < -0.5 * found.fwhm_fitted and found.energy[-1] > 0.5 * found.fwhm_fitted
    known = found.sigma < _KNOWN * found.factor
    return bool(near and inside and known and found.model.max() > _ABOVE * level)
