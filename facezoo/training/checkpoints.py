"""Checkpoints written atomically: the last one for resuming, the best one by validation."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback

from facezoo.errors import AssetError
from facezoo.training.loggers import flush

LAST, BEST = "last.ckpt", "best.ckpt"


class AtomicCheckpoints(Callback):
    """Save ``last.ckpt`` every so many steps and at the end, ``best.ckpt`` when a validation is the best so far.

    A step that is validated is saved after its validation, so that a run resumed from it has both. A run of one process
    that is asked to end (SIGTERM, as SLURM sends before it takes a machine back, or Ctrl-C) ends its step and saves.
    """

    def __init__(self, folder: Path, every: int, validate_every: int) -> None:
        """Prepare.

        Args:
            folder: of the run.
            every: steps between checkpoints.
            validate_every: steps between validations.
        """
        self.folder, self.every, self.validate_every = folder, every, validate_every
        self.best = float("inf")
        self._asked: str | None = None
        self._before: dict[signal.Signals, Any] = {}

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Listen to signals; processes of a distributed run end at once, none of them can wait for the others."""
        if threading.current_thread() is not threading.main_thread():
            return
        for kind in (signal.SIGTERM, signal.SIGINT):
            self._before[kind] = signal.getsignal(kind)
        if trainer.world_size == 1:
            for kind in self._before:
                signal.signal(kind, self._listen)
        else:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save every ``every`` steps."""
        step = trainer.global_step
        if step % self.validate_every == 0 or pl_module.progress >= 1:
            return
        if step % self.every == 0 or self._asked:
            self.save(trainer, pl_module, LAST)
        self._obey(step)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Save, also as the best if the model's first metric is the lowest so far."""
        value = next(iter(pl_module.validation.values()))
        if value < self.best:
            self.best = value
            self.save(trainer, pl_module, BEST)
        self.save(trainer, pl_module, LAST)
        self._obey(trainer.global_step)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Save the end of the run."""
        self.save(trainer, pl_module, LAST)

    def teardown(self, trainer: lightning.Trainer, pl_module: Any, stage: str) -> None:
        """Leave signals to whoever had them before."""
        for kind, handler in self._before.items():
            signal.signal(kind, handler)
        self._before = {}

    def save(self, trainer: lightning.Trainer, pl_module: Any, name: str) -> None:
        """Write to a temporary name first: a killed run never leaves half a checkpoint."""
        pl_module.check_finite()
        flush(trainer.loggers)
        temporary = self.folder / f".{name}.tmp"
        trainer.save_checkpoint(temporary)
        if trainer.is_global_zero:
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, self.folder / name)

    def state_dict(self) -> dict[str, Any]:
        """Return the best value so far."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore :meth:`state_dict`."""
        self.best = state_dict["best"]

    def _listen(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = signal.Signals(number).name
        print(f"{self._asked}: saving after this step; again to stop at once", flush=True)

    def _obey(self, step: int) -> None:
        if self._asked:
            print(f"stopped at step {step}; the same command goes on from here", flush=True)
            raise SystemExit(128 + signal.Signals[self._asked].value)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint without executing anything it may contain.

    Raises:
        AssetError: it is damaged, or none of a run.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        if "facezoo" not in state or "global_step" not in state:
            raise ValueError("it is not of a run of this program")
    except Exception as error:  # pickle, zip and torch raise many kinds
        raise AssetError(
            f"{path} cannot be read ({error}); start over with trainer.resume=never, or put best.ckpt in its place"
        ) from error
    return state
