"""Speed of the main job: ``python benchmarks/apply.py [--threads 2] [--monte-carlo]``.

Prints and writes the time of a cold ``insgan apply`` of the demo file, warm times per slice and peak memory of the
bundled models. In the same run come the ratios to the same model without intervals, p-value and expected misfit, to the
same generator in torch (eager) and, with --monte-carlo, to a Monte Carlo convolution on interpolated modes. Needs the
train extra, and spinw for --monte-carlo.
"""

from __future__ import annotations

import argparse
import copy
import resource
import subprocess
import sys
import tempfile
import time
from statistics import median

import numpy as np
from pages import table_text
from results import add_option, column, table, write_results

COMMAND = "python benchmarks/apply.py"
CONDITIONS = (
    "Bundled models on made-up slices and a volume, float32, through the translator; warm times are medians of "
    "{repeats} runs after one that is not counted, on {threads} threads. The baselines, in the same run, are the same "
    "model whose card has nothing for trust, and the same generator in torch, eager. A cold start is a new process on "
    "the demo's file, best of three."
)
SIZES = ("128x128", "240x400", "512x512", "60x60x60")
COLUMNS = [
    column("slice"),
    column("warm (s)", "{:.2f}"),
    column("times as long as without intervals and p-value", "{:.2f}"),
    column("torch eager (s)", "{:.2f}"),
    column("torch eager, times as long", "{:.1f}"),
]


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--size", choices=SIZES, action="append", help="of the data; default: all")
    parser.add_argument("--monte-carlo", action="store_true", help="also time the interpolated Monte Carlo convolution")
    add_option(parser, "apply")
    options = parser.parse_args()
    once = [["cold insgan apply of the demo file (s)", cold_start()]]
    sizes = options.size or SIZES
    slices = [warm(direction, size, options) for direction in ("add-resolution", "remove-resolution") for size in sizes]
    if options.monte_carlo:
        once += monte_carlo(options)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    once.append(["peak memory of the process, torch with a volume included (MB)", peak])
    tables = [
        table("slices", COLUMNS, slices),
        table("once", [column(""), column("measured", "{:.2f}")], once),
    ]
    for made in tables:
        print(table_text(made), "", sep="\n")
    conditions = CONDITIONS.format(repeats=options.repeats, threads=options.threads)
    write_results(options.results, COMMAND, conditions, tables, keep_rows=True)


def cold_start() -> float:
    """Seconds of a new process, best of three."""
    from mantid_insgan.demo import DATA

    times = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(3):
            command = [sys.executable, "-m", "mantid_insgan", "apply", str(DATA / "measured.nxs"), f"{folder}/out.nxs"]
            started = time.perf_counter()
            subprocess.run([*command, "--overwrite"], check=True, capture_output=True)
            times.append(time.perf_counter() - started)
    return min(times)


def data_of(shape, direction: str):
    """Signal, valid and error of a mode with noise, energy last, and what a model is told beside them."""
    rng, axes = np.random.default_rng(0), len(shape)
    *momenta, e = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape[:-1]), np.linspace(0, 1, shape[-1]), indexing="ij")
    q = momenta[0]
    signal = rng.poisson(300 * np.exp(-0.5 * ((e - 0.7 * np.abs(np.sin(3 * q))) / 0.03) ** 2) + 5) / 300
    valid = rng.random(shape) > 0.2
    conditions = {
        "width": np.stack([*(np.full(shape, 2.0) for _ in momenta), 6.0 - 4.0 * e]),
        "correlation": np.full((axes * (axes - 1) // 2, *shape), 0.5),
        "position": np.stack([0.8 * e, 2.0 + q, np.full(shape, 3.0)]),
    }
    # When removing, the stated target: three times finer. When adding, a simulation with no resolution.
    times = 3.0 if direction == "remove-resolution" else np.inf
    conditions["finer"] = np.concatenate([conditions["width"] / times, conditions["correlation"]])
    conditions = {name: x.astype(np.float32) for name, x in conditions.items()}
    return signal, valid, np.sqrt(np.maximum(signal, 1 / 300) / 300), conditions


def warm(direction: str, size: str, options) -> list:
    """Row of warm times of the translator, and of torch eager on the same graph's inputs."""
    import torch

    from mantid_insgan.learn.generator import Generator
    from mantid_insgan.learn.train_job import CHANNELS
    from mantid_insgan.translate.cards import choose_model
    from mantid_insgan.translate.translator import Quality, Translator

    torch.set_num_threads(options.threads)
    shape = tuple(map(int, size.split("x")))
    dimensions, parts = len(shape), data_of(shape, direction)
    translator = Translator(choose_model(direction, dimensions), "cpu", options.threads)
    onnx, plain = (
        timed(lambda t=t: t._translate(*parts, Quality(), lambda share: None, str), options.repeats)
        for t in (translator, without_trust(translator))
    )
    generator = Generator(direction, dimensions, CHANNELS[dimensions]).eval()  # the weights do not matter for the time
    *measured, conditions = parts
    inputs = [torch.from_numpy(np.asarray(x, np.float32))[None, None] for x in measured]
    inputs += [torch.from_numpy(x)[None] for x in conditions.values()]
    with torch.no_grad():
        eager = timed(lambda: generator(*inputs), options.repeats)
    return [f"{direction}, {size}", onnx, onnx / plain, eager, eager / onnx]


def without_trust(translator):
    """The same, whose card has no intervals, no blocks and no expected misfit."""
    plain = copy.copy(translator)
    plain.card = translator.card.model_copy(update=dict.fromkeys(("intervals", "blocks", "reconvolution")))
    plain._plausible = None
    return plain


def monte_carlo(options) -> list[list]:
    """Rows of the demo's model convolved by interpolated Monte Carlo, beside the network on the same grid."""
    from mantid_insgan.convolve import convolve
    from mantid_insgan.demo.make_data import RUN, axes, model
    from mantid_insgan.instruments import Resolution
    from mantid_insgan.models.spinw.simulate import simulate_cut
    from mantid_insgan.translate.cards import choose_model
    from mantid_insgan.translate.translator import Translator

    resolution, grid = Resolution.from_run(RUN), axes((96, 100))
    spins = model()
    ideal = simulate_cut(spins, grid, oversample=1)
    translator = Translator(choose_model("add-resolution"), "cpu", options.threads)
    network = timed(lambda: translator.apply(ideal, resolution.on_grid(ideal)), options.repeats)
    exact = timed(lambda: convolve(spins, grid, resolution, method="interpolated", points=1000), 1)
    return [
        ["demo slice 96x100: network with widths (s)", network],
        ["demo slice 96x100: interpolated Monte Carlo with 1000 points a bin (s)", exact],
        ["demo slice 96x100: Monte Carlo, times as long as the network", exact / network],
    ]


def timed(work, repeats: int) -> float:
    """Median seconds of `repeats` runs after one that is not counted."""
    if repeats > 1:
        work()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return median(times)


if __name__ == "__main__":
    main()
