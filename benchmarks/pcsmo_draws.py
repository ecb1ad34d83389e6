"""Simulated maps of the half-doped manganite for a classifier: both rivals at drawn couplings.

    OMP_NUM_THREADS=1 python benchmarks/pcsmo_draws.py FOLDER --draws 160

Each draw has the maps of 50 meV and more (`ROWS`) as MAPS sees them, and without its resolution; `--rows` asks for
other energies. Couplings are drawn uniformly within 30 % of the published ones. Draws that FOLDER has are kept, so
that the work can be interrupted.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from pcsmo_verdict import MOMENTA, POINTS, RIVALS, Maps, built, definition_of
from tobyfit_images import SLICES

from mantid_insgan.core.files import replacing
from mantid_insgan.models.base import UnstableModelError

#: Rows of the mosaic: incident energies of 50 meV and more, which tell the models apart.
ROWS = (2, 3, 4, 5)
#: Share of a coupling by which draws are off, and how many times finer than MAPS what is called sharp is.
AROUND, SHARPNESS = 0.3, 20.0
#: As the maps are seen.
SEEN = ("convolved", "sharp")


def couplings(name: str, seed: tuple[int, ...]) -> dict[str, float]:
    """Couplings of one draw of a rival, without its line."""
    rng = np.random.default_rng(seed)
    parameters = definition_of(name).parameters
    return {n: p.value * rng.uniform(1 - AROUND, 1 + AROUND) for n, p in parameters.items() if n != "line"}


def drawn(name: str, number: int) -> tuple[dict[str, float], object, int]:
    """Couplings and model of a draw, and how many draws before were not stable."""
    for attempt in range(100):
        values = couplings(name, (RIVALS.index(name), number, attempt))
        try:
            return values, definition_of(name).build(values), attempt
        except UnstableModelError:
            continue
    raise SystemExit(f"none of 100 draws of {name} is stable")


def quarters(maps: Maps, model, rows: tuple[int, ...] = ROWS) -> dict[str, np.ndarray]:
    """Quarters of all maps of a model, by how they are seen: (rows, 10, 20, 20), h and k ascending from 0."""
    found = {"convolved": maps.rows_of(model), "sharp": maps.rows_of(model, sharpness=(SHARPNESS, SHARPNESS))}
    return {how: np.stack([f[r] for r in rows]).transpose(0, 3, 1, 2).astype(np.float32) for how, f in found.items()}


def file_of(folder: Path, name: str, number: int) -> Path:
    """Where a draw is kept."""
    return folder / f"{name}-{number:04}.npz"


def read_draws(folder: Path, how: str) -> dict[str, np.ndarray]:
    """Draws of each rival as they are seen, (draws, rows, 10, 20, 20): as many of each."""
    files = {name: sorted(folder.glob(f"{name}-*.npz")) for name in RIVALS}
    count = min(map(len, files.values()))
    if count == 0:
        raise SystemExit(f"{folder} has no draws: python benchmarks/pcsmo_draws.py {folder}")
    return {name: np.stack([np.load(f)[how] for f in found[:count]]) for name, found in files.items()}


def unstable_draws(folder: Path) -> dict[str, int]:
    """How many draws of each rival were not stable and were drawn again."""
    return {name: sum(int(np.load(f)["unstable"]) for f in folder.glob(f"{name}-*.npz")) for name in RIVALS}


def main() -> None:
    """Make the draws that are not there yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--draws", type=int, default=160, help="of each rival")
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS, help="of the mosaic (default 2 3 4 5)")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    rows = tuple(sorted(set(options.rows)))
    places = [(row, number) for row in rows for number in range(SLICES)]
    maps = Maps(places, built(definition_of(RIVALS[0])), points=POINTS, momenta=MOMENTA)
    for number in range(options.draws):
        for name in RIVALS:
            file = file_of(options.folder, name, number)
            if file.exists():
                continue
            values, model, unstable = drawn(name, number)
            with replacing(file, ".part.npz") as temporary:
                np.savez(temporary, **quarters(maps, model, rows), couplings=list(values.values()), unstable=unstable)
        print(number, flush=True)


if __name__ == "__main__":
    main()
