"""A file larger than what is held in memory at a time."""

import importlib.util
import subprocess
import sys
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest

from mantid_insgan.core.options import ApplyOptions
from mantid_insgan.core.run import Lattice, Run
from mantid_insgan.core.spectrum import Axis, Spectrum
from mantid_insgan.io import SpectrumWriter, read_spectrum
from mantid_insgan.io.nexus import SpectrumFile
from mantid_insgan.translate import job, translator

ROOT = Path(__file__).resolve().parents[1]
#: Largest number of bytes that a bin of a slab may take while a file is translated.
BYTES_OF_A_BIN = 250
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


def memory():
    """benchmarks/memory.py: a file of random intensities, and a session that returns zeros."""
    spec = importlib.util.spec_from_file_location("memory", ROOT / "benchmarks" / "memory.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_memory_goes_with_the_slab_and_not_with_the_file(tmp_path, monkeypatch):
    """Peaks of what NumPy allocates, for files of two and of four slabs of 108,000 bins."""
    made = memory()
    slab = 30 * 30 * 30 * 4
    monkeypatch.setattr(job, "SLAB_BINS", slab)
    monkeypatch.setattr(translator, "open_session", made.zeros_session)
    options = ApplyOptions(direction="remove-resolution", model="remove-resolution-3d", device="cpu")
    peaks = {}
    for slices in (3, 8, 16):
        source = tmp_path / f"{slices}.nxs"
        made.write_volume(source, (30, 30, slices, 30))
        if slices > 3:  # the first run only imports what is imported late
            tracemalloc.start()
        try:
            job.apply_to_file(source, tmp_path / f"{slices}-out.nxs", options)
            peaks[slices] = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peaks[16] < 1.15 * peaks[8]  # the nodes of its resolution grow, to a limit
    # Signal, variance, events and results take 40 bytes a bin, conditions 60; the rest is needed to work them out.
    assert peaks[16] < BYTES_OF_A_BIN * slab


def test_slabs_change_nothing(tmp_path, monkeypatch):
    """A file of more bins than nodes of its resolution, whole and in slabs of a few slices, one of them alone."""
    source = tmp_path / "volume.nxs"
    memory().write_volume(source, (24, 20, 7, 16))
    options = ApplyOptions(direction="add-resolution", model="add-resolution-2d", device="cpu")
    results = {}
    for slab in (24 * 20 * 7 * 16, 24 * 16 * 9, 24 * 16):
        monkeypatch.setattr(job, "SLAB_BINS", slab)
        target = tmp_path / f"{slab}.nxs"
        job.apply_to_file(source, target, options)
        with SpectrumFile(target) as file:
            results[slab] = file.read(tuple(slice(0, n) for n in file.shape))
    whole, *parts = results.values()
    for part in parts:
        np.testing.assert_array_equal(part.signal, whole.signal)
        np.testing.assert_array_equal(part.variance, whole.variance)
    in_memory, _ = job.apply(read_spectrum(source), options)
    np.testing.assert_allclose(in_memory.signal, whole.signal, rtol=1e-6)


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
