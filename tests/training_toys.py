"""Runs of a tiny network on toy pictures, and callbacks that disturb them."""

from __future__ import annotations

import csv
import os
import signal
from pathlib import Path
from typing import Any

import torch
from dense_fakes import POINTS
from lightning.pytorch.callbacks import Callback
from torch.nn import functional as F

from facezoo.config import Recipe, load_recipe
from facezoo.data.augment import AugmentConfig

PLAIN = [f"data.augment.{name}=0" for name in vars(AugmentConfig())]


def toy_overrides(shards: Path, run_dir: Path, *overrides: str) -> list[str]:
    """Return what makes recipe=dense tiny; ``shards`` is what ``write_toy_shards`` wrote."""
    return [
        "model.widths=[8,16,16,16]", "model.depths=[1,1,1,1]", "model.hidden=32", "model.rank=16",
        "model.scale_rank=4", f"model.head={shards / 'toy.safetensors'}", f"model.points={POINTS}",
        "model.crop_size=64", "data=shards", f"data.root={shards}", "data.batch_size=8", "data.workers=0",
        "data.validation=16", "data.statistics=64", "trainer.device=cpu", "trainer.log_every=2",
        "trainer.validate_every=4", "trainer.image_every=0", f"trainer.run_dir={run_dir}", *overrides,
    ]  # fmt: skip


def toy_recipe(shards: Path, run_dir: Path, *overrides: str) -> Recipe:
    """Return the resolved tiny recipe."""
    return load_recipe("dense", toy_overrides(shards, run_dir, *overrides))


def rows(run_dir: Path, *, clocks: bool = False) -> list[dict[str, str]]:
    """Read a run's metrics.csv; without wall-clock seconds, which differ from run to run."""
    with (run_dir / "metrics.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if clocks or k != "seconds"} for row in csv.DictReader(file)]


def state(run_dir: Path) -> dict[str, Any]:
    """Return what a run's last checkpoint holds of weights, averages, optimiser and counters."""
    found = torch.load(run_dir / "last.ckpt", weights_only=True)
    own = {k: v for k, v in found["facezoo"].items() if k != "seconds"}
    return {
        "step": found["global_step"],
        "weights": found["state_dict"],
        "optimiser": found["optimizer_states"],
        "best": found["callbacks"]["AtomicCheckpoints"]["best"],
        **own,
    }


def assert_same(one: Any, two: Any, where: str = "") -> None:
    """Check two nested structures for exact equality, tensors bit by bit."""
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, two), where
    elif isinstance(one, dict):
        assert one.keys() == two.keys(), where
        for key, value in one.items():
            assert_same(value, two[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(two), where
        for i, (a, b) in enumerate(zip(one, two, strict=True)):
            assert_same(a, b, f"{where}[{i}]")
    else:
        assert one == two, f"{where}: {one!r} != {two!r}"


class Dropout(Callback):
    """Drop features at random: a network that draws random numbers of its own while it trains."""

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        pl_module.model.net.features.register_forward_hook(
            lambda module, inputs, output: F.dropout(output, 0.2, module.training)
        )


class Crash(Exception):
    """What :class:`Stop` raises."""


class Stop(Callback):
    """End a run at a step, in one of its phases, as a crash does or by a signal to the own process."""

    def __init__(self, step: int, phase: str = "on_train_batch_end", number: int | None = None) -> None:
        self.step, self.phase, self.number = step, phase, number

    def _reached(self, phase: str, step: int) -> None:
        if phase != self.phase or step != self.step:
            return
        if self.number is None:
            raise Crash
        os.kill(os.getpid(), self.number)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self._reached("on_train_batch_start", trainer.global_step)

    def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
        self._reached("on_after_backward", trainer.global_step)

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._reached("on_train_batch_end", trainer.global_step)

    def on_validation_batch_end(self, trainer: Any, pl_module: Any, *arguments: Any) -> None:
        self._reached("on_validation_batch_end", trainer.global_step)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self._reached("on_validation_end", trainer.global_step)


class Seen(Callback):
    """Write the numbers of the samples that each step and process trained on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        text = " ".join(str(n) for n in batch["seed"].tolist())
        with (self.folder / f"rank{trainer.global_rank}.txt").open("a") as file:
            file.write(f"{trainer.global_step}: {text}\n")

    @staticmethod
    def read(folder: Path) -> dict[tuple[int, int], list[int]]:
        """Return (rank, step) -> samples."""
        found = {}
        for path in sorted(folder.glob("rank*.txt")):
            for line in path.read_text().splitlines():
                step, _, numbers = line.partition(": ")
                found[int(path.stem[4:]), int(step)] = [int(n) for n in numbers.split()]
        return found


SIGKILL, SIGTERM = signal.SIGKILL, signal.SIGTERM
