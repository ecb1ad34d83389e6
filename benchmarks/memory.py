"""Peak memory of ``insgan apply``: ``python benchmarks/memory.py [--bins 64 64 64 100] [--network]``.

Writes an MDHistoWorkspace file of random intensities into a temporary folder and removes the resolution from it under
tracemalloc, which counts what Python and NumPy allocate (the buffers of HDF5 and ONNX Runtime are not among that).
The network is replaced by a session that returns zeros, because a few cores need hours for 26 million bins; all else
is done as always. With --network it runs.
"""

from __future__ import annotations

import argparse
import tempfile
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from mantid_insgan.core.options import ApplyOptions
from mantid_insgan.core.run import Lattice, Run
from mantid_insgan.core.spectrum import Axis, Spectrum
from mantid_insgan.io import SpectrumWriter
from mantid_insgan.translate import job, translator


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bins", type=int, nargs=4, default=(64, 64, 64, 100), help="along h, k, l and energy")
    parser.add_argument("--slab", type=int, default=job.SLAB_BINS, help="bins held in memory at a time")
    parser.add_argument("--model", help="bundled model; the one for three axes if not given")
    parser.add_argument("--network", action="store_true", help="run the network")
    options = parser.parse_args()
    job.SLAB_BINS = options.slab
    if not options.network:
        translator.open_session = zeros_session
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "volume.nxs"
        write_volume(source, tuple(options.bins))
        how = ApplyOptions(direction="remove-resolution", model=options.model, device="cpu")
        tracemalloc.start()
        report = job.apply_to_file(source, Path(folder) / "result.nxs", how)
        _, peak = tracemalloc.get_traced_memory()
    bins = int(np.prod(options.bins))
    print(f"{bins:,} bins in slabs of at most {options.slab:,}, model {report.model}")
    print("with the network" if options.network else "network replaced by a session that returns zeros")
    print(f"peak: {peak:,} bytes, {peak / min(options.slab, bins):.0f} for each bin of a slab")


def write_volume(path: Path, shape: tuple[int, int, int, int]) -> None:
    """A file of random intensities with gaps, as from MERLIN, written energy by energy."""
    rng = np.random.default_rng(1)
    limits = {"[H,0,0]": (-1, 1), "[0,K,0]": (-1, 1), "[0,0,L]": (-1, 1), "DeltaE": (0, 45)}
    axes = tuple(
        Axis(name, np.linspace(*ends, n + 1), *(("meV",) if name == "DeltaE" else ("r.l.u.", "HKL")))
        for (name, ends), n in zip(limits.items(), shape, strict=True)
    )
    run = Run().updated("benchmark", instrument="MERLIN", ei=60.0, chopper="G", frequency=300.0)
    run = run.updated("benchmark", lattice=Lattice(5.0, 5.0, 5.0, ub=np.eye(3) / 5))
    source = SimpleNamespace(
        axes=axes, run=run, shape=shape, title="", coordinate_system=3, visual_normalization=0, q_convention="Inelastic"
    )
    with SpectrumWriter(path, source) as writer:
        for e in range(shape[-1]):
            signal = rng.integers(0, 16, (*shape[:-1], 1)) / 16
            signal[signal < 0.1] = np.nan
            region = (*(slice(0, n) for n in shape[:-1]), slice(e, e + 1))
            writer.write(region, Spectrum(signal, signal / 16, (*axes[:-1], axes[-1].slice(e, e + 1))))


def zeros_session(model, device="auto", threads=None, bins=None):
    """In place of `open_session`: the inputs of the model, and zeros for its outputs."""
    dimensions, features = model.card.dimensions, len(model.card.domain.mean)
    names = [
        "signal",
        "valid",
        "error",
        "width",
        *(["correlation"] if dimensions > 1 else []),
        "position",
        "finer",
        "steps",
    ]

    def run(outputs, inputs, options):
        zeros = np.zeros(inputs["signal"].shape, np.float32)
        return [zeros, zeros, zeros, np.zeros((1, features), np.float32)]

    inputs = [SimpleNamespace(name=name) for name in names]
    return SimpleNamespace(run=run, get_inputs=lambda: inputs, get_providers=lambda: ["CPUExecutionProvider"])


if __name__ == "__main__":
    main()
