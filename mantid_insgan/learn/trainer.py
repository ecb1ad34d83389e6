"""Training steps, averaged weights and resumable checkpoints; on one device, or on several by torchrun."""

from __future__ import annotations

import copy
import json
import math
import os
import platform
import signal
import threading
import time
import warnings
from abc import ABC, abstractmethod
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch.optim.swa_utils import AveragedModel

from ..core.files import replacing
from ..errors import DeviceError, ModelError, OutputError
from .checkpoint import CHECKPOINT, FORMAT, check_recipe, read_checkpoint, recipe_text


class TrainingWarning(UserWarning):
    """The training has a problem that more steps are unlikely to cure."""


@dataclass(frozen=True)
class Machine:
    """The device a training runs on, and its precision.

    Parameters
    ----------
    accelerator : {'cpu', 'cuda', 'auto'}
    precision : {'32', 'bf16'}
        Of the networks' arithmetic; the convolution with the resolution stays at 32 bits.
    tensorboard : Path, optional
        Folder for the losses as TensorBoard shows them.
    feeders : int
        Processes that draw the examples of a paired training ahead of its steps; none: they are drawn in between.
    """

    accelerator: str = "cpu"
    precision: str = "32"
    tensorboard: Path | None = None
    feeders: int = 0

    def events(self):
        """A writer of TensorBoard's events, or None.

        Raises
        ------
        DeviceError
            If they are wanted and the package tensorboard is not installed.
        """
        if self.tensorboard is None:
            return None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as problem:
            raise DeviceError(
                "the losses for TensorBoard need tensorboard, which is not installed", "pip install tensorboard"
            ) from problem
        return SummaryWriter(str(self.tensorboard))


@dataclass(frozen=True)
class Schedule:
    """How long, how fast and from which seed; the same for all kinds of training.

    Parameters
    ----------
    steps : int
        The learning rate falls to nothing at the last.
    batch : int
        Examples in a step, over all processes together.
    minutes : float, optional
        Stop there even if steps are left; the learning rate falls with the time then.
    """

    steps: int = 3500
    batch: int = 8
    learning_rate: float = 8e-4
    warm_up: int = 200
    averaging: float = 0.998  #: share of the old weights kept in the average at each step
    seed: int = 1
    minutes: float | None = None

    def rate(self, done: float, step: int) -> float:
        """Learning rate: linear warm-up, then half a cosine to nothing, where a share `done` is behind."""
        return self.learning_rate * min(1.0, (step + 1) / self.warm_up) * 0.5 * (1 + math.cos(math.pi * min(done, 1)))


#: What a checkpoint holds beside tensors.
_POSITION = ("step", "history", "seconds", "pairs", "device")


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return f"cuda, {torch.cuda.get_device_name(device)}"
    return f"{device.type}, {torch.get_num_threads()} threads, {platform.machine()}"


class Trainer(ABC):
    """The part that all kinds of training share; a subclass gives the networks and the step.

    Parameters
    ----------
    networks : dict of Module
        By name; those named in `averaged` have an average of their weights kept.
    optimisers : dict of (list of names of networks, float)
        Which networks each optimiser moves, and the factor on the learning rate.
    recipe : dataclass
        All that decides the weights apart from the data: kept in checkpoints and compared on resuming.
    schedule : Schedule
    folder : Path
        For checkpoints.
    machine : Machine
        Device and precision; with precision 32 it affects only the last digits of the weights.
    """

    def __init__(self, networks, optimisers, averaged, recipe, schedule: Schedule, folder: Path, machine=None):
        machine = machine or Machine()
        self.recipe, self.schedule, self.folder = recipe, schedule, Path(folder)
        _made(self.folder)
        processes = int(os.environ.get("WORLD_SIZE", "1"))
        local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        if processes > 1:
            # torchrun has started the processes; each finds its place in the environment. Buffers are constants.
            ddp = DDPStrategy(broadcast_buffers=False)
            strategy = {"strategy": ddp, "devices": local, "num_nodes": processes // local}
        else:
            strategy = {"devices": 1}
        self.fabric, self.machine = Fabric(accelerator=machine.accelerator, **strategy), machine
        self.fabric.launch()
        if schedule.batch % processes:
            raise ModelError(
                f"a batch of {schedule.batch} cannot be shared among {processes} processes",
                f"use a batch that is a multiple of {processes} (--batch)",
            )
        self.share = schedule.batch // processes
        self.networks = {name: self.fabric.setup_module(net) for name, net in networks.items()}
        self.optimisers = {}
        for name, (moved, factor) in optimisers.items():
            groups = _groups([p for n in moved for p in self.networks[n].named_parameters()])
            optimiser = torch.optim.AdamW(groups, lr=schedule.learning_rate, betas=_betas(name), weight_decay=1e-4)
            self.optimisers[name] = (self.fabric.setup_optimizers(optimiser), factor, moved)
        keep = partial(_keep_averaged, schedule.averaging)
        self.average = {n: AveragedModel(self.networks[n].module, multi_avg_fn=keep) for n in averaged}
        self.step, self.history, self.seconds = 0, [], 0.0  # seconds spent in steps, over all runs
        self.pairs = 0  # trained on, as far as a subclass knows
        self.device = _device_name(self.fabric.device)  # that a finished training was made on
        self.events = machine.events() if self.fabric.is_global_zero else None
        self.data = ""  # tells one set of data from another in checkpoints, where it is given

    def _weights(self, name: str) -> dict[str, torch.Tensor]:
        return self.networks[name].module.state_dict()

    # -- the loop

    def run(self, progress=None, checkpoint_every: int = 250, on_stop=None) -> bool:
        """Train to the end of the schedule, resuming from the checkpoint if there is one.

        On Ctrl-C (SIGINT) or SIGTERM the current step is finished, a checkpoint is written, and the training stops.

        Parameters
        ----------
        progress : callable, optional
            Called with (share done, step, losses) after each step; if it returns True, the training
            stops as on Ctrl-C. A KeyboardInterrupt in it is raised again after a checkpoint has been written.
        on_stop : callable, optional
            Called as soon as a signal arrives; the step may take seconds to end.

        Returns
        -------
        bool
            Whether the end was reached.

        Raises
        ------
        ModelError
            If a loss is no longer finite.
        OutputError
            If a checkpoint cannot be written; the first is written before the first step.
        """
        self.resume()
        if self.step == 0:
            self.save()  # a folder that cannot be written to is reported now, not after hours
        asked = False
        with _stop_signals(on_stop) as stopped:
            while self.done < 1 and not asked:
                started = time.monotonic()
                terms = self._guarded_step()
                self.step += 1
                self.seconds += time.monotonic() - started
                self._note(terms)
                told = bool(progress and self._told(progress, terms))
                asked = self._agreed(told or stopped())
                if not asked and self.step % checkpoint_every == 0:
                    self.save()
        self.save()
        if self.events:
            self.events.flush()
        return self.done >= 1

    def _note(self, terms: dict[str, float]) -> None:
        self.history.append({"step": self.step, **terms})
        if self.events:
            for name, value in terms.items():
                self.events.add_scalar(name, value, self.step)
        if self.step % 200 == 0:
            self._watch()

    def _agreed(self, stop: bool) -> bool:
        """Whether any process is to stop; all processes take the time of the slowest. A process that stopped alone
        would leave the others waiting, and one with its own clock would use another learning rate."""
        if self.fabric.world_size == 1:
            return stop
        mine = torch.tensor([self.seconds, float(stop)], dtype=torch.float64, device=self.fabric.device)
        self.seconds, stop_of_any = self.fabric.all_reduce(mine, reduce_op="max").tolist()
        return stop_of_any > 0

    def _told(self, progress, terms: dict[str, float]) -> bool:
        """The answer of `progress`; on a KeyboardInterrupt in it (Cancel in Mantid) a checkpoint is written first."""
        try:
            return bool(progress(self.done, self.step, terms))
        except KeyboardInterrupt:
            self.save()
            raise

    @property
    def done(self) -> float:
        """Share of the schedule that is done: of its steps or of its minutes, whichever is larger."""
        share = self.step / self.schedule.steps
        if self.schedule.minutes is not None:
            share = max(share, self.seconds / 60 / self.schedule.minutes)
        return share

    def _guarded_step(self) -> dict[str, float]:
        # Seeded by the step, so that a resumed run draws what an uninterrupted one would have drawn.
        rng = np.random.default_rng([self.schedule.seed, self.step, self.fabric.global_rank])
        torch.manual_seed(int(rng.integers(2**31)))
        rate = self.schedule.rate(self.done, self.step)
        for optimiser, factor, _ in self.optimisers.values():
            for group in optimiser.param_groups:
                group["lr"] = rate * factor * group["faster"]
        # Not Fabric's own precision, which would round the spectra themselves to bf16's 8 significant bits.
        kind, half = self.fabric.device.type, self.machine.precision == "bf16"
        with torch.autocast(kind, torch.bfloat16) if half else nullcontext():
            terms = self._train_step(rng)
        if not all(map(math.isfinite, terms.values())):
            raise ModelError(
                f"the losses at step {self.step} are no longer finite: {terms}",
                "resume from the last checkpoint with a smaller learning rate (--learning-rate), or look for a "
                "spectrum with extreme values (`insgan inspect`)",
            )
        self._update_averages()
        return terms

    @abstractmethod
    def _train_step(self, rng) -> dict[str, float]:
        """Do one step of every optimiser and return the terms of the loss by name."""

    def _move(self, optimiser: str, loss: torch.Tensor) -> None:
        """One step of an optimiser; the norm of the gradient is clipped to 1."""
        chosen, _, moved = self.optimisers[optimiser]
        chosen.zero_grad()
        self.fabric.backward(loss)
        for name in moved:
            self.fabric.clip_gradients(self.networks[name], chosen, max_norm=1.0, error_if_nonfinite=False)
        chosen.step()

    def _update_averages(self) -> None:
        for name, average in self.average.items():
            average.update_parameters(self.networks[name].module)

    @abstractmethod
    def _watch(self) -> None:
        """Warn if the training has gone wrong."""

    # -- checkpoints

    @property
    def checkpoint(self) -> Path:
        """The file that `run` resumes from."""
        return self.folder / CHECKPOINT

    def save(self) -> None:
        """Write weights, averages, optimisers and position to a temporary file and rename it into place.

        Raises
        ------
        OutputError
            If it cannot be written; the previous checkpoint is kept.
        """
        if not self.fabric.is_global_zero:
            return
        tensors = {f"network.{n}.{k}": v for n in self.networks for k, v in self._weights(n).items()}
        tensors |= {f"average.{n}.{k}": v for n, a in self.average.items() for k, v in a.state_dict().items()}
        for name, (optimiser, _, _) in self.optimisers.items():
            for i, state in optimiser.state_dict()["state"].items():
                tensors |= {f"optimiser.{name}.{i}.{k}": torch.as_tensor(v) for k, v in state.items()}
        tensors = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
        position = {name: getattr(self, name) for name in _POSITION}
        facts = {"format": FORMAT, "recipe": self._recipe(), "position": json.dumps(position)}
        others = set(self.folder.glob(".tmp*"))  # safetensors has a temporary name of its own, and so may others
        try:
            with replacing(self.checkpoint) as temporary:
                save_file(tensors, temporary, metadata=facts)
        except (OSError, SafetensorError) as problem:
            for left in set(self.folder.glob(".tmp*")) - others:
                left.unlink(missing_ok=True)
            raise OutputError(
                f"the checkpoint {self.checkpoint} cannot be written: {problem}",
                "make room on the disk and run the same command again: it resumes from the last checkpoint, if any",
            ) from problem

    def _recipe(self) -> str:
        return recipe_text(type(self), self.recipe, self.schedule, self.data)

    def resume(self) -> None:
        """Resume from the checkpoint, if there is one.

        Raises
        ------
        ModelError
            If it is of another version or was made with another recipe.
        """
        if not self.checkpoint.exists():
            return
        facts, tensors = read_checkpoint(self.checkpoint)
        check_recipe(self.checkpoint, facts, self._recipe())
        for name, network in self.networks.items():
            network.module.load_state_dict(_part(tensors, f"network.{name}."))
        for name, average in self.average.items():
            average.load_state_dict(_part(tensors, f"average.{name}."))
        for name, (optimiser, _, _) in self.optimisers.items():
            state: dict[int, dict] = {}
            for key, value in _part(tensors, f"optimiser.{name}.").items():
                number, what = key.split(".", 1)
                state.setdefault(int(number), {})[what] = value
            optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
        position = json.loads(facts["position"])
        for name in _POSITION:
            setattr(self, name, position[name])

    def averaged(self, name: str) -> torch.nn.Module:
        """A network with its averaged weights, on the CPU, in evaluation mode."""
        return copy.deepcopy(self.average[name].module).cpu().eval()


@torch.no_grad()
def _keep_averaged(most: float, averages, weights, updates) -> None:
    """Move averages towards the weights, keeping a share of at most `most` of the past; less at first, so that the
    average forgets its random start."""
    updates = int(updates)
    keep = min(most, (1 + updates) / (10 + updates))
    for average, weight in zip(averages, weights, strict=True):
        average.lerp_(weight, 1 - keep)


#: A background spans decades and its network is small: it learns this much faster than a U-Net may.
BACKGROUND_RATE = 10.0


def _groups(named: list[tuple[str, torch.nn.Parameter]]) -> list[dict]:
    """Parameter groups of an optimiser, backgrounds in their own group, each with a factor on the learning rate."""
    apart = [p for name, p in named if "background." in name]
    rest = [p for name, p in named if "background." not in name]
    groups = [{"params": rest, "faster": 1.0}]
    return [*groups, {"params": apart, "faster": BACKGROUND_RATE}] if apart else groups


def _betas(optimiser: str) -> tuple[float, float]:
    """Adam's betas; with an adversary the first is lower (Park et al., ECCV 2020, appendix)."""
    return (0.9, 0.999) if optimiser == "generator" else (0.5, 0.999)


def _part(tensors: dict, prefix: str) -> dict:
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}


def _made(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise OutputError(f"the folder {folder} cannot be made: {problem}", "choose another folder") from problem


@contextmanager
def _stop_signals(told=None):
    """Yield a function that says whether SIGINT or SIGTERM has arrived; a second signal interrupts at once. Python
    delivers signals to the main thread only: in other threads nothing is changed. `told` is called at the first."""
    seen = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return

    def note(number, frame):
        if seen:
            raise KeyboardInterrupt
        seen.append(number)
        if told is not None:
            told()

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(seen)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def warn(text: str) -> None:
    """Issue a TrainingWarning."""
    warnings.warn(text, TrainingWarning, stacklevel=3)
