"""Where the time of a training step goes: rendering, loading, augmenting, forward, backward, update."""

from __future__ import annotations

import contextlib
import math
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback

from facezoo.config import Recipe, load_recipe, method_of
from facezoo.data.shards import FIELDS
from facezoo.training.run import train

PARTS = ("load", "augment", "forward", "loss", "backward", "update")
_WARM_UP = 2  # steps in which workers start and memory is allocated
_READ = 16  # samples that one worker is timed on


def bench_train(
    recipe: str = "dense", overrides: Sequence[str] = (), *, steps: int = 10, device: str = "auto"
) -> dict[str, Any]:
    """Time steps of a real run of a recipe, in one process, in a folder that is removed afterwards.

    Args:
        recipe: name or path.
        overrides: ``key=value`` as for training; ``data.workers`` and ``data.batch_size`` are the ones to vary.
        steps: timed steps, after two that are not.
        device: as ``trainer.device``; ``auto`` leaves it to the recipe.

    Returns:
        Settings; ``worker_ms``, what rendering or reading one sample costs one loader process while nothing else runs;
        ``step_ms``, the mean milliseconds of each part of a step, ``load`` being the time that the step waits for its
        batch and its transfer; ``images_per_second``; ``device_busy``, the share of a step that is not ``load``; and
        ``workers_wanted``, how many loader processes would keep the device busy, each with a core of its own.
    """
    with tempfile.TemporaryDirectory(prefix="facezoo-bench-") as folder:
        forced = {
            "run_dir": folder, "resume": "never", "logger": "none", "devices": 1, "nodes": 1, "max_minutes": 0,
            "max_steps": _WARM_UP + steps, "log_every": steps + _WARM_UP, "validate_every": 10**9,
            "checkpoint_every": 10**9, "image_every": 0, **({} if device == "auto" else {"device": device}),
        }  # fmt: skip
        resolved = load_recipe(recipe, [*overrides, *(f"trainer.{k}={v}" for k, v in forced.items())])
        sample_ms, workers = _one_worker(resolved)
        clock = StepClock()
        with contextlib.redirect_stdout(sys.stderr):  # standard output is for the result
            train(resolved, [clock])
    means = {part: 1000 * float(np.mean(clock.seconds[part][_WARM_UP:])) for part in PARTS}
    total, batch = sum(means.values()), resolved.data.batch_size
    busy = total - means["load"]
    return {
        "recipe": recipe,
        "source": resolved.data.source,
        "device": clock.device,
        "precision": clock.precision,
        "batch_size": batch,
        "workers": workers,
        "threads": torch.get_num_threads(),
        "machine": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "steps": steps,
        "worker_ms": sample_ms,
        "step_ms": {**{part: round(value, 2) for part, value in means.items()}, "total": round(total, 2)},
        "images_per_second": round(1000 * batch / total, 1),
        "device_busy": round(busy / total, 3),
        "workers_wanted": math.ceil(sum(sample_ms.values()) * batch / busy),
    }


class StepClock(Callback):
    """Seconds of each part of each step, the device's work included."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {part: [] for part in PARTS}
        self.device, self.precision = "", ""
        self._at = 0.0
        self._hooks: list[Any] = []

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Follow the network's forward passes."""
        model = pl_module.model
        self._hooks = [
            model.register_forward_pre_hook(lambda *_: self._mark("augment")),
            model.register_forward_hook(lambda *_: self._mark("forward")),
        ]
        self.device, self.precision = str(pl_module.device), str(trainer.precision)
        if pl_module.device.type == "cuda":
            self.device = torch.cuda.get_device_name(pl_module.device)
        self._at = time.perf_counter()

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take the time of the loader and of the transfer."""
        self._mark("load")

    def on_before_backward(self, trainer: lightning.Trainer, pl_module: Any, loss: Any) -> None:
        """Take the time of the criterion."""
        self._mark("loss")

    def on_after_backward(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Take the time of the gradients, in a distributed run with their exchange."""
        self._mark("backward")

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take the time of clipping, optimiser and averages."""
        self._mark("update")

    def on_train_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Stop following: what runs now is validation and export."""
        self._release()

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Stop following: only steps are timed."""
        self._release()

    def _release(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def _mark(self, part: str) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.seconds[part].append(now - self._at)
        self._at = now


def _one_worker(recipe: Recipe) -> tuple[dict[str, float], int]:
    """Return what a sample costs one loader process, and the number of loader processes."""
    method = method_of(recipe.model.name).model_class()
    data = method.data_module(recipe, processes=1, planned=_READ)
    read = getattr(data.train, "read", None)
    if read is None:  # made on the training device: all of it is in "augment"
        return {}, 0
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a worker
    count = min(len(data.train), _READ) or _READ
    try:
        read(np.arange(1), tuple(FIELDS))  # tables and textures that are made once
        begin = time.perf_counter()
        read(np.arange(count) + (0 if len(data.train) else _READ), tuple(FIELDS))
        took = time.perf_counter() - begin
    finally:
        torch.set_num_threads(threads)
    return {"render" if recipe.data.renders else "read": round(1000 * took / count, 3)}, data.workers
