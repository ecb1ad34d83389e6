"""The ONNX Runtime session of a model: opened on a device, checked against the contract of models, and run."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import numpy as np

from ..core.options import DEVICES
from ..errors import DeviceError, ModelError
from .cards import INPUTS, MORE_INPUTS, OUTPUTS, STEPS, ModelFile
from .graph import model_bytes

#: Seconds between two checks, while the network runs, whether to stop.
LOOK = 0.1
#: Up to this many bins a session is ready sooner than it would gain: on one core all optimisations of the largest
#: bundled graph take 0.2 to 0.6 s longer than the basic ones, and save about 2 microseconds for each bin.
FEW_BINS = 50_000


def open_session(model: ModelFile, device: str = "auto", threads: int | None = None, bins: int | None = None):
    """An ONNX Runtime session on the requested device.

    Parameters
    ----------
    device : {'auto', 'cpu', 'cuda'}
        'auto' uses CUDA if ONNX Runtime has it, otherwise the CPU; 'cuda' never falls back.
    threads : int, optional
        CPU threads; if not given, OMP_NUM_THREADS, or all cores.
    bins : int, optional
        How many bins the model will be applied to, where that is known: for `FEW_BINS` the graph is optimised less.

    Raises
    ------
    DeviceError
        If ONNX Runtime is missing, or CUDA was requested and is not available.
    ModelError
        If the file is not an ONNX model, or its inputs and outputs do not match its card.
    """
    session = start_session(model.path, device, threads, model.card.sha256, bins)
    _check_graph(model, session)
    return session


def start_session(
    path: Path, device: str = "auto", threads: int | None = None, sha256: str | None = None, bins: int | None = None
):
    """A session of any ONNX file; parameters and errors as `open_session`, without the check against a card.

    What it contains is checked first (`graph.model_bytes`), and its hash, if one is given.
    """
    runtime, available = available_cuda(device)
    wanted = device.lower()
    use_cuda = available and wanted != "cpu"
    providers = (["CUDAExecutionProvider"] if use_cuda else []) + ["CPUExecutionProvider"]
    options = runtime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised
    options.enable_mem_pattern = False  # memory that is planned ahead is up to twice as much, and saves no time
    wished = os.environ.get("OMP_NUM_THREADS", "")
    options.intra_op_num_threads = threads or (int(wished) if wished.isdigit() else 0)
    if bins is not None and bins <= FEW_BINS:
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    content = model_bytes(path, sha256)
    try:
        session = runtime.InferenceSession(content, options, providers=providers)
    except Exception as error:  # ONNX Runtime raises its own types; the text of the first line says enough
        raise ModelError(
            f"ONNX Runtime cannot open {path}: {str(error).splitlines()[0]}", "install or export the model again"
        ) from error
    # ONNX Runtime falls back to the CPU with only a line on stderr, so check what it really uses.
    if wanted == "cuda" and session.get_providers()[0] != "CUDAExecutionProvider":
        raise DeviceError(
            "the device cuda was requested, but CUDA did not start (driver, CUDA 13 or cuDNN 9 missing)",
            "repair the CUDA installation or use --device cpu",
        )
    return session


def available_cuda(device: str) -> tuple:
    """ONNX Runtime, and whether its build has CUDA (only a session shows whether CUDA starts).

    Raises
    ------
    DeviceError
        If ONNX Runtime is missing, the device is not known, or cuda was requested and is not available.
    """
    runtime = _runtime()
    wanted = device.lower()
    if wanted not in DEVICES:
        raise DeviceError(f"the device {device!r} is not known", f"choose one of {', '.join(DEVICES)}")
    available = "CUDAExecutionProvider" in runtime.get_available_providers()
    if wanted == "cuda" and not available:
        raise DeviceError(
            "the device cuda was requested, but this ONNX Runtime has only "
            f"{', '.join(runtime.get_available_providers())}",
            "install the gpu extra (pip uninstall onnxruntime; pip install 'mantid-insgan[gpu]') or use --device cpu",
        )
    return runtime, available


def _runtime():
    try:
        import onnxruntime
    except ImportError as error:
        raise DeviceError(
            f"ONNX Runtime is not installed ({error})",
            "pip install 'mantid-insgan[cpu]' (or 'mantid-insgan[gpu]' for an NVIDIA GPU)",
        ) from error
    return onnxruntime


def _check_graph(model: ModelFile, session) -> None:
    rank = model.card.dimensions + 2
    found = {i.name: len(i.shape) for i in session.get_inputs()}
    expected = dict.fromkeys(INPUTS, rank)
    allowed = expected | dict.fromkeys(MORE_INPUTS, rank) | {STEPS: 1}
    outputs = {o.name for o in session.get_outputs()}
    kinds = {i.type for i in (*session.get_inputs(), *session.get_outputs())}
    if not expected.items() <= found.items() <= allowed.items() or not set(OUTPUTS) <= outputs:
        raise ModelError(
            f"{model.path} takes {found} and gives {sorted(outputs)}; a model of {model.card.dimensions} dimensions "
            f"takes {expected} (name: number of axes), optionally also {', '.join(MORE_INPUTS)} and {STEPS}, and gives "
            f"{sorted(OUTPUTS)}",
            "export the model with this version of mantid-insgan",
        )
    if kinds != {"tensor(float)"}:
        raise ModelError(
            f"{model.path} takes and gives {', '.join(sorted(kinds))}, expected tensor(float)",
            "export the model with this version of mantid-insgan",
        )


def run_interruptibly(session, outputs, inputs: dict, look) -> list[np.ndarray]:
    """The result of ``session.run(outputs, inputs)``; an interrupt or an exception from `look` stops it early.

    ONNX Runtime runs in a separate thread, because Python cannot handle Ctrl-C while inside it; when told to stop, it
    does so after its current operation.

    Parameters
    ----------
    session : onnxruntime.InferenceSession
    outputs : sequence of str
    inputs : dict of ndarray
    look : callable
        Called without arguments every `LOOK` seconds, in the calling thread.

    Raises
    ------
    ModelError
        If ONNX Runtime fails.
    """
    from onnxruntime import RunOptions

    options = RunOptions()
    with ThreadPoolExecutor(1) as pool:  # leaving it waits for the thread
        answer = pool.submit(session.run, outputs, inputs, options)
        try:
            while wait([answer], LOOK).not_done:
                look()
        except BaseException:
            options.terminate = True
            raise
    problem = answer.exception()
    if isinstance(problem, Exception):  # ONNX Runtime raises its own types
        raise ModelError(
            f"ONNX Runtime failed while it ran the model: {(str(problem).splitlines() or ['no reason given'])[0]}",
            "use less data at a time if the memory is short, or another model",
        ) from problem
    return answer.result()
