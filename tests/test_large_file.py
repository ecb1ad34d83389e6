"""A file larger than what is held in memory at a time."""

import subprocess
import sys

import h5py
import numpy as np
import pytest

from mantid_insgan.core.run import Lattice, Run
from mantid_insgan.core.spectrum import Axis, Spectrum
from mantid_insgan.io import SpectrumWriter
from mantid_insgan.io.nexus import SpectrumFile

SHAPE = (64, 64, 64, 100)

APPLY = """
import resource, sys
from mantid_insgan.translate.job import apply_to_file
from mantid_insgan.core.options import ApplyOptions
from pathlib import Path
report = apply_to_file(Path(sys.argv[1]), Path(sys.argv[2]), ApplyOptions(
    direction="add-resolution", model="add-resolution-2d", device="cpu"))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, report.quality.bins)
"""


def write_volume(path):
    """26 million bins of a dispersing mode with gaps, written in slabs."""
    names = ("[H,0,0]", "[0,K,0]", "[0,0,L]")
    axes = (
        *(Axis(n, np.linspace(-1, 1, 65), "r.l.u.", "HKL") for n in names),
        Axis("DeltaE", np.linspace(0, 90, 101), "DeltaE"),
    )
    run = Run().updated("test", instrument="MAPS", ei=120.0, chopper="S", frequency=300.0)
    run = run.updated("test", lattice=Lattice(5.0, 5.0, 5.0, ub=np.eye(3) / 5))

    def part(region):
        h, k, el, e = np.ix_(*(a.centers[r] for a, r in zip(axes, region, strict=True)))
        size = 60 * np.sqrt(np.sin(np.pi * h) ** 2 + np.sin(np.pi * k) ** 2 + 0.2 * np.sin(np.pi * el) ** 2) / 1.5
        signal = np.exp(-0.5 * ((e - size) / 4) ** 2)
        return np.where(np.abs(k - 0.3) < 0.05, np.nan, signal)

    whole = tuple(slice(0, n) for n in SHAPE)

    class Source:
        shape, ndim, title, coordinate_system = SHAPE, 4, "", 3
        visual_normalization, q_convention = 0, "Inelastic"

    Source.axes, Source.run = axes, run
    with SpectrumWriter(path, Source) as writer:
        for start in range(0, 64, 8):
            region = (slice(start, start + 8), *whole[1:])
            signal = part(region)
            cut = (axes[0].slice(start, start + 8), *axes[1:])
            writer.write(region, Spectrum(signal, np.where(np.isnan(signal), np.nan, 0.0), cut))


@pytest.mark.slow
def test_four_dimensions_go_through_in_slabs(tmp_path):
    source, target = tmp_path / "volume.nxs", tmp_path / "added.nxs"
    write_volume(source)
    done = subprocess.run([sys.executable, "-c", APPLY, source, target], capture_output=True, text=True, check=True)
    peak, bins = done.stdout.split()[-2:]
    assert float(peak) < 3000  # MB
    with h5py.File(target) as file:
        assert file["MDHistoWorkspace/data/signal"].shape == SHAPE[::-1]
    region = (slice(10, 12), slice(0, 64), slice(5, 7), slice(0, 100))
    with SpectrumFile(source) as before, SpectrumFile(target) as after:
        one, two = before.read(region), after.read(region)
    assert np.array_equal(one.valid, two.valid) and int(bins) > 0.9 * np.prod(SHAPE)
    assert 0.9 < two.signal[two.valid].sum() / one.signal[one.valid].sum() < 1.1
