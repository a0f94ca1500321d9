"""Checkpoints written atomically: the last one for resuming, the best one by validation."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback

LAST, BEST = "last.ckpt", "best.ckpt"


class AtomicCheckpoints(Callback):
    """Save ``last.ckpt`` every so many steps and at the end, ``best.ckpt`` when the watched metric improves."""

    def __init__(self, folder: Path, every: int, watch: str) -> None:
        self.folder, self.every, self.watch = folder, every, watch
        self.best = float("inf")

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save every ``every`` steps."""
        if trainer.global_step % self.every == 0:
            self.save(trainer, LAST)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Save the end of the run."""
        self.save(trainer, LAST)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Save when the watched metric is the lowest so far."""
        value = trainer.callback_metrics.get(self.watch)
        if value is not None and not trainer.sanity_checking and float(value) < self.best:
            self.best = float(value)
            self.save(trainer, BEST)

    def save(self, trainer: lightning.Trainer, name: str) -> None:
        """Write to a temporary name first: a killed run never leaves half a checkpoint."""
        temporary = self.folder / f".{name}.tmp"
        trainer.save_checkpoint(temporary)
        if trainer.is_global_zero:
            os.replace(temporary, self.folder / name)

    def state_dict(self) -> dict[str, Any]:
        """Return the best value so far."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore :meth:`state_dict`."""
        self.best = state_dict["best"]


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint without executing anything it may contain."""
    return torch.load(path, map_location="cpu", weights_only=True)
