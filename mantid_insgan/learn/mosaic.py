"""The measured maps of a half-doped manganite, Pr(Ca0.9Sr0.1)2Mn2O7 on MAPS, as networks are trained on them.

The file (K. Butler, 2022, BSD 3-Clause) is a mosaic of constant-energy maps in (h, k), 6 incident energies by 10 energy
transfers of 40 x 40 pixels: MAPS before its guide, chopper S, c* along the beam, a
cuboid of 10 x 50 x 10 mm. It has no errors, so one is taken for each map from the scatter of neighbouring pixels.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from ..core.run import Lattice, Run
from ..core.slices import intensity_scale, network_slices
from ..core.spectrum import Axis, Spectrum
from ..errors import InputError
from ..instruments import Orientation, Resolution, Sample
from .augment import flipped, window
from .examples import Example

LATTICE = Lattice(5.408, 5.4599, 19.266)
SETTINGS = ((25, 300), (35, 200), (50, 200), (70, 250), (100, 300), (140, 400))  # Ei (meV), chopper (Hz)
PIXELS, SLICES = 40, 10
#: Of a tile, r.l.u.: pixel centres lie from -1 to 1.
HALF = 1 + 1 / 39
#: Intensity at which the mosaic was cut off, and l (of the crystal's own c) beyond all that its detectors see.
CLIPPED, L_LIMIT = 120.0, 40.0
#: Pixels left out beside the gaps of the detectors.
ERODE = 1
#: Rows that may be trained on (25, 35, 70 and 140 meV), and those that only score (50 and 100 meV).
TRAINED, HELD_OUT = (0, 1, 3, 5), (2, 4)
#: Files of a folder with the mosaic.
FILES = {"maps": "unnorm-expt-clipped-120.npy", "mask": "nanmask.mat"}
#: From the median of absolute values to a standard deviation.
_MEDIAN = 1.4826


@cache
def resolution_of(ei: float, frequency: float) -> Resolution:
    """Of the measurement at one incident energy (meV) and chopper frequency (Hz)."""
    return Resolution(
        "MAPS-2000",
        ei,
        "S",
        frequency,
        sample=Sample("cuboid", width=0.010, height=0.050, thickness=0.010),
        lattice=LATTICE,
        orientation=Orientation(u=(0, 0, 1), v=(1, 0, 0)),
    )


def tiles(mosaic: np.ndarray) -> np.ndarray:
    """A mosaic as tiles, shape (6, 10, 40, 40)."""
    return mosaic.reshape(len(SETTINGS), PIXELS, SLICES, PIXELS).swapaxes(1, 2)


def measured(folder: Path) -> np.ndarray:
    """The mosaic as maps, shape (6, 10, 40, 40) with h ascending; NaN where no detector is.

    Raises
    ------
    InputError
        If the folder lacks one of `FILES`, or the mosaic has another shape.
    """
    from scipy.io import loadmat

    for name in FILES.values():
        if not (Path(folder) / name).is_file():
            raise InputError(f"{folder} has no file {name}", "give the folder with the maps of the manganite")
    mask = np.flipud(loadmat(Path(folder) / FILES["mask"])["nan_mask"]).astype(bool)
    values = np.load(Path(folder) / FILES["maps"], allow_pickle=False)
    wanted = (len(SETTINGS) * PIXELS, SLICES * PIXELS)
    if values.shape[-2:] != wanted or values.size != mask.size:
        raise InputError(f"{FILES['maps']} has the shape {values.shape}, expected {wanted}", "give the published file")
    return tiles(np.where(mask, np.nan, values))[:, :, ::-1]


def scatter(values: np.ndarray) -> float:
    """Standard error of the pixels of a map, from second differences of neighbours that are above 0."""
    seen = np.where(values > 0, values, np.nan)
    second = [(v[1:-1] - 0.5 * (v[2:] + v[:-2])) / np.sqrt(1.5) for v in (seen, seen.T)]
    return float(_MEDIAN * np.nanmedian(np.abs(np.concatenate([v.ravel() for v in second]))))


def kept(values: np.ndarray) -> np.ndarray:
    """The pixels of maps (..., 40, 40) that are not NaN and not beside such."""
    from scipy.ndimage import binary_erosion

    around = np.ones((1,) * (values.ndim - 2) + (2 * ERODE + 1,) * 2)
    return binary_erosion(np.isfinite(values), around, border_value=1)


@cache
def grids(rows: tuple[int, ...]) -> tuple[Spectrum, ...]:
    """The maps of these rows without data."""
    edges = np.linspace(-HALF, HALF, PIXELS + 1)
    h, k = (Axis(name, edges, "r.l.u.", frame="HKL") for name in ("[H,0,0]", "[0,K,0]"))
    el = Axis("[0,0,L]", [-L_LIMIT, L_LIMIT], "r.l.u.", frame="HKL")
    none, found = np.zeros((PIXELS, PIXELS, 1, 1)), []
    for ei, frequency in (SETTINGS[row] for row in rows):
        run = Run().updated("settings", instrument="MAPS", ei=ei, chopper="S", frequency=frequency)
        energies = np.linspace(0.1 * ei, 0.7 * ei, SLICES + 1)
        slices = (Axis("DeltaE", energies[n : n + 2], "meV") for n in range(SLICES))
        found += [Spectrum(none, none, (h, k, el, energy), run=run) for energy in slices]
    return tuple(found)


@cache
def conditions_of_row(row: int) -> tuple[dict[str, np.ndarray], ...]:
    """What networks are told of each map of a row beside the intensity."""
    resolution = resolution_of(*SETTINGS[row])
    return tuple(next(network_slices(grid, resolution.on_grid(grid), (0, 1)))[2] for grid in grids((row,)))


def example_of(row: int, number: int, values: np.ndarray, valid: np.ndarray, error: float = 0.0) -> Example:
    """A map (40, 40) of a row as an example, in units of its own size; it has no target."""
    signal, unit = np.where(valid, values, 0.0), intensity_scale(np.nan_to_num(values), valid)
    told = conditions_of_row(row)[number]
    return Example(
        signal / unit, valid, np.where(valid, error / unit, 0.0), np.zeros_like(signal), **told, energy_last=False
    )


class MeasuredMaps:
    """The measured maps of some rows of the mosaic as a library of experiments.

    Parameters
    ----------
    folder : Path
        With the mosaic.
    window : int
        Bins of the examples along each axis; beyond a map nothing is valid.
    rows : tuple of int
    """

    dimensions, draws_counts, noise = 2, False, "noise as measured"

    def __init__(self, folder: Path, window: int, rows: tuple[int, ...] = TRAINED):
        values, self.window = measured(folder), window
        counted = kept(values) & (np.nan_to_num(values) < CLIPPED)
        self.members = [
            example_of(row, n, np.nan_to_num(values[row, n]), counted[row, n], scatter(values[row, n]))
            for row in rows
            for n in range(SLICES)
            if (values[row, n][counted[row, n]] > 0).sum() > 50
        ]

    def __len__(self) -> int:
        return len(self.members)

    def examples(self, index, direction: str, rng, **_) -> list[Example]:
        """Maps at `index`, turned round at random; their noise is their own."""
        return [flipped(rng, window(rng, self.members[i], self.window)) for i in index]
