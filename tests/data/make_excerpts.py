"""Cut the excerpts of this folder out of the whole measurements, which stand beside the checkout.

    python tests/data/make_excerpts.py [--from ../shared/data] [--to tests/data]

README.md of this folder tells where they come from, their licences and what was cut. The same bytes come out each time.
"""

from __future__ import annotations

import argparse
import gzip
import shutil
from pathlib import Path

import h5py
import numpy as np

HERE = Path(__file__).resolve().parent
WHOLE = HERE.parents[1] / ".." / "shared" / "data"
MERLIN = "bi2fe4o9-merlin/MER40874_Ei62.00meV_Rings.nxspe"
#: Every third of 212 rings of detectors.
RINGS = slice(0, None, 3)
MAPS = "pcsmo-maps"
TABLES = (25, 35, 50, 70, 100, 140)
#: Of each table of the resolution: this many rows, evenly over those that benchmarks/resolution_tobyfit.py compares.
ROWS = 60
#: Row and column of tiles in the mosaics: Ei 70 meV, slices from 0.16, 0.34, 0.46 and 0.64 Ei, 0.06 Ei wide.
TILES = ((3, 1), (3, 4), (3, 6), (3, 9))
PIXELS = 40


def rounded(values: np.ndarray) -> np.ndarray:
    """To 24 bits, as in float32: far finer than any error here, and half the size when compressed."""
    return values.astype(np.float32).astype(np.float64)


def merlin(whole: Path, target: Path) -> None:
    """Some rings of an nxspe file, with every group, dataset and attribute that Mantid wrote."""
    with h5py.File(whole / MERLIN) as old, h5py.File(target / MERLIN, "w") as new:
        (entry,) = old
        detectors = old[entry]["data/polar"].size
        old.copy(entry, new)
        new.attrs.update({k: v for k, v in old.attrs.items() if k not in ("file_name", "file_time")})
        data = new[entry]["data"]
        for name, dataset in list(data.items()):
            if dataset.shape[0] != detectors:
                continue
            values, attributes = dataset[()][RINGS], dict(dataset.attrs)
            del data[name]
            kept = rounded(values) if values.ndim == 2 else values
            data.create_dataset(name, data=kept, compression=9, shuffle=True).attrs.update(attributes)
    repack(target / MERLIN)


def repack(path: Path) -> None:
    """Write an HDF5 file anew, without the room that deleted datasets leave."""
    beside = path.with_suffix(".part")
    with h5py.File(path) as old, h5py.File(beside, "w") as new:
        for name in old:
            old.copy(name, new)
        new.attrs.update(dict(old.attrs))
    beside.replace(path)


def tables(whole: Path, target: Path) -> None:
    """Some rows of each table of the resolution, as they stand there."""
    for label in TABLES:
        name = f"{MAPS}/resolution_ei{label}.txt.gz"
        lines = gzip.decompress((whole / name).read_bytes()).decode().splitlines()
        numbers = np.array([line.split()[:3] for line in lines], dtype=float)
        length = np.hypot(numbers[:, 0], numbers[:, 1])
        compared = (length > 0.45) & (length < 0.95)
        compared &= (numbers[:, 2] >= 0.1 * label) & (numbers[:, 2] <= 0.7 * label)
        chosen = np.flatnonzero(compared)
        chosen = chosen[np.linspace(0, chosen.size - 1, ROWS).round().astype(int)]
        text = "".join(lines[i] + "\n" for i in chosen)
        (target / name).write_bytes(gzip.compress(text.encode(), mtime=0))


def tiles(whole: Path, target: Path) -> None:
    """Some tiles of the measured mosaic, of both simulated ones and of the mask of the detectors."""
    from scipy.io import loadmat

    mosaics = {
        "measured": np.load(whole / MAPS / "unnorm-expt-clipped-120.npy"),
        "goodenough": np.load(whole / MAPS / "simulated_fitpars_goodenough.npy")[0],
        "dimer": np.load(whole / MAPS / "simulated_fitpars_dimer.npy")[0],
        "masked": np.flipud(loadmat(whole / MAPS / "nanmask.mat")["nan_mask"]).astype(bool),
    }
    places = [(slice(PIXELS * r, PIXELS * (r + 1)), slice(PIXELS * c, PIXELS * (c + 1))) for r, c in TILES]
    cut = {name: np.stack([mosaic[place] for place in places]) for name, mosaic in mosaics.items()}
    cut = {name: values if values.dtype == bool else values.astype(np.float32) for name, values in cut.items()}
    np.savez_compressed(target / MAPS / "tiles.npz", tiles=np.array(TILES), **cut)


def main(words: list[str] | None = None) -> None:
    """Make all of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--from", dest="whole", type=Path, default=WHOLE, help="folder of the whole measurements")
    parser.add_argument("--to", dest="target", type=Path, default=HERE, help="folder to write to")
    given = parser.parse_args(words)
    for folder in (Path(MERLIN).parent, Path(MAPS)):
        (given.target / folder).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(given.whole / folder / "LICENSE", given.target / folder / "LICENSE")
    merlin(given.whole, given.target)
    tables(given.whole, given.target)
    tiles(given.whole, given.target)
    for path in sorted(p for p in given.target.rglob("*") if p.parent != given.target and p.is_file()):
        print(f"{path.relative_to(given.target)}: {path.stat().st_size / 1000:.1f} kB")


if __name__ == "__main__":
    main()
