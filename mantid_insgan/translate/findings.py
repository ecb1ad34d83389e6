"""What spoils a result if it is taken for a measurement: outliers, errors that are rounding, bins at and above Ei, and
lines that an edge cuts."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from ..core.spectrum import Spectrum, energy_axis, frozen, per_event

#: A value is an outlier if it, and at most this fraction of the bins above it, exceed all others by this factor.
OUTLIERS, GAP = 1e-3, 1e5
#: Variances below this fraction of the median of those above 0 are rounding errors ("dust").
DUST = 1e-12
#: A line is cut if the mean within half a FWHM of an edge is this fraction of the highest such mean in the spectrum,
#: that many times the mean of all, and has this share of the intensity.
CUT, ABOVE, SHARE = 0.3, 3.0, 0.02


class Findings:
    """What was found in the data of one job, part by part.

    Parameters
    ----------
    resolution : Resolution
        Of the spectrometer: its Ei, and its FWHM at the edges.

    Attributes
    ----------
    outliers, dust, across : int
        Bins with values out of all proportion, with variances that are rounding errors, and across Ei.
    largest : float
        Largest magnitude of an outlier.
    """

    def __init__(self, resolution):
        self.resolution = resolution
        self.outliers = self.dust = self.across = 0
        self.largest = 0.0
        self._axis, self._profile = None, None

    def cleaned(self, spectrum: Spectrum) -> Spectrum:
        """A part of the data, in which outliers and bins that no neutron can reach are not valid, and variances that
        are rounding errors are 0, which is none; what was found is added."""
        shown = per_event(spectrum)
        valid = shown.valid & ~self._beyond(shown)
        # exact data, as a simulation has them, may have all their intensity in a few bins
        out = outliers(shown.signal, valid) if (shown.variance[valid] > 0).any() else None
        if out is not None:
            self.outliers += int(out.sum())
            self.largest = max(self.largest, float(np.abs(shown.signal[out]).max()))
            valid &= ~out
        none = dust(shown.variance, valid)
        if none is not None:
            self.dust += int(none.sum())
            spectrum = spectrum.replace(variance=frozen(np.where(none, 0.0, spectrum.variance)))
        self._add_profile(shown, valid)
        return spectrum if np.array_equal(valid, spectrum.valid) else spectrum.replace(valid=frozen(valid))

    def _beyond(self, shown: Spectrum) -> np.ndarray:
        """Valid bins at and above Ei without a measurement: those across it, and 0 +- 0 above it."""
        number = energy_axis(shown.axes)
        axis, ei = shown.axes[number], self.resolution.ei
        along = [-1 if i == number else 1 for i in range(shown.ndim)]
        above, across = axis.centers > ei, (axis.centers > ei) & (axis.edges[:-1] <= ei + 1e-6 * axis.width)
        if not above.any():
            return np.zeros((1,) * shown.ndim, bool)
        nothing = (shown.signal == 0) & (shown.variance == 0) & above.reshape(along)
        measured = shown.valid & across.reshape(along) & ~nothing
        self.across += int(measured.sum())
        return nothing | measured

    def _add_profile(self, shown: Spectrum, valid: np.ndarray) -> None:
        number = energy_axis(shown.axes)
        others = tuple(i for i in range(shown.ndim) if i != number)
        part = np.stack([np.where(valid, shown.signal, 0.0).sum(axis=others), valid.sum(axis=others)])
        self._axis = shown.axes[number]
        self._profile = part if self._profile is None else self._profile + part

    def notes(self) -> tuple[str, ...]:
        """What was found, for the user."""
        notes = []
        if self.outliers:
            notes.append(
                f"{self.outliers} bins have values up to {self.largest:.3g}, more than {GAP:g} times all others: they "
                "were taken for not measured and are empty in the result"
            )
        if self.dust:
            notes.append(
                f"{self.dust} bins have variances below {DUST:g} of the median, which are rounding errors: they were "
                "taken for bins without an error"
            )
        if self.across:
            notes.append(
                f"{self.across} valid bins have their centre above Ei = {self.resolution.ei:g} meV and begin at or "
                "below it: they are empty in the result"
            )
        return (*notes, *self._cuts())

    def _cuts(self) -> tuple[str, ...]:
        """A note for each end of the energy axis that cuts a strong line."""
        axis = self._axis
        if axis is None or axis.integrated or self._profile[0].sum() <= 0:
            return ()
        total, number = self._profile
        notes = []
        for end, edge in ((0, axis.edges[0]), (-1, axis.edges[-1])):
            half = 0.5 * float(self.resolution.fwhm_energy(min(edge, self.resolution.ei)))
            bins = max(1, round(half / axis.width))
            means = [np.convolve(x, np.ones(bins), "valid") for x in (total, number)]
            mean = means[0] / np.maximum(means[1], 1)
            share = means[0][end] / total.sum()
            strong = mean[end] > max(CUT * mean.max(), ABOVE * total.sum() / number.sum())
            if bins < len(axis) and strong and share > SHARE:
                notes.append(
                    f"a strong line is cut by the edge of {axis.name!r} at {edge:.4g} meV ({share:.0%} of the "
                    "intensity is within half a FWHM of it): the result is not reliable near that edge, and neither is "
                    "the flux ratio; take an energy range that has the whole line, or none of it"
                )
        return tuple(notes)


def outliers(signal: np.ndarray, valid: np.ndarray) -> np.ndarray | None:
    """Valid bins whose magnitude exceeds those of all other bins by the factor `GAP`, or None.

    Peaks have flanks, and the magnitudes of spectra leave no such gap; values of failed divisions and flags do.
    """
    magnitude = np.where(valid, np.abs(signal), 0.0)
    count = int(np.count_nonzero(magnitude))
    top = min(max(1, int(OUTLIERS * count)), count - 1)
    if top < 1:
        return None
    highest = np.sort(np.partition(magnitude.ravel(), magnitude.size - top - 1)[-top - 1 :])
    gaps = np.flatnonzero(highest[1:] > GAP * highest[:-1])
    return magnitude >= highest[gaps[0] + 1] if gaps.size else None


def dust(variance: np.ndarray, valid: np.ndarray) -> np.ndarray | None:
    """Valid bins with a variance above 0 that is only a rounding error, or None."""
    known = valid & (variance > 0)
    if not known.any():
        return None
    found = known & (variance < DUST * np.median(variance[known]))
    return found if found.any() else None


def cleaned_source(file, resolution):
    """A file whose `read` gives cleaned parts (`Findings.cleaned`), for `look_for_lines`."""
    read = lambda region: Findings(resolution).cleaned(file.read(region))  # noqa: E731
    return SimpleNamespace(axes=file.axes, shape=file.shape, ndim=file.ndim, read=read)
