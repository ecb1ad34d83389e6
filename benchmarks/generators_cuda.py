"""Time of the generators in torch on a GPU: ``python benchmarks/generators_cuda.py``.

Eager, and replayed as one CUDA graph, which needs kernels of a given reach. The time does not depend on the weights, so
that those of the beginning do. The GPU is timed by its own events, the data are on it already.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

from pages import table_text
from results import add_option, column, table, write_results

COMMAND = "python benchmarks/generators_cuda.py"
CONDITIONS = "float32, torch, one spectrum at a time; medians of {repeats} runs after five that are not counted."
#: Bins, and FWHM along each axis in bins.
SIZES = (((240, 400), 5.0), ((512, 512), 5.0), ((60, 60, 60), 4.0))
REPEATS = 40


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_option(parser, "generators_cuda")
    options = parser.parse_args()
    import torch

    if not torch.cuda.is_available():
        raise SystemExit("this machine has no GPU that torch can use")
    torch.manual_seed(1)
    torch.backends.cudnn.benchmark = True
    rows = [
        row_of(direction, shape, fwhm) for direction in ("add-resolution", "remove-resolution") for shape, fwhm in SIZES
    ]
    columns = [column("spectrum"), column("eager (ms)", "{:.1f}"), column("CUDA graph (ms)", "{:.1f}")]
    note = "{gpu}, torch {torch}."
    facts = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__}
    made = table("times", columns, rows, note=note, facts=facts)
    print(table_text(made))
    write_results(options.results, COMMAND, CONDITIONS.format(repeats=REPEATS), [made])


def row_of(direction: str, shape: tuple[int, ...], fwhm: float) -> list:
    """A row of results for one size."""
    import torch

    from mantid_insgan.learn.generator import Generator
    from mantid_insgan.learn.train_job import CHANNELS

    generator = Generator(direction, len(shape), CHANNELS[len(shape)]).cuda().eval()
    given = inputs_of(shape, fwhm)
    with torch.no_grad():
        eager = timed(lambda: generator(*given))
        graph = timed(captured(lambda: generator(*given, steps_of(fwhm))).replay)
    return [f"{direction}, {'x'.join(map(str, shape))}", eager, graph]


def inputs_of(shape: tuple[int, ...], fwhm: float) -> list:
    """Inputs of a generator: an intensity at random, one width, all axes correlated."""
    import torch

    from mantid_insgan.learn.operator import pairs_of_axes

    def filled(channels: int, value: float):
        return torch.full((1, channels, *shape), value, device="cuda")

    signal = torch.rand(1, 1, *shape, device="cuda")
    width, correlation = filled(len(shape), fwhm), filled(len(pairs_of_axes(len(shape))), 0.3)
    finer = torch.cat([width / 3, correlation], dim=1)
    return [signal, filled(1, 1.0), filled(1, 0.1), width, correlation, filled(3, 0.5), finer]


def steps_of(fwhm: float):
    """The whole bins that kernels of this FWHM reach."""
    import torch

    from mantid_insgan.core.kernels import reach_of

    reach = reach_of(fwhm)
    return torch.arange(-reach, reach + 1, dtype=torch.float32, device="cuda")


def captured(call: Callable):
    """A CUDA graph of a call, after the calls that PyTorch asks for before it."""
    import torch

    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph


def timed(call: Callable) -> float:
    """Milliseconds of a call."""
    import torch

    for _ in range(5):
        call()
    found = []
    for _ in range(REPEATS):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        call()
        end.record()
        torch.cuda.synchronize()
        found.append(begin.elapsed_time(end))
    return statistics.median(found)


if __name__ == "__main__":
    main()
