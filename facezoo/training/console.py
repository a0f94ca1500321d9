"""One line of text every few steps: step, share done, loss, last validation, images a second, time left."""

from __future__ import annotations

import time
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback


class ConsoleProgress(Callback):
    """Print progress lines that read well in a terminal and in a log file."""

    def __init__(self, every: int, batch_size: int) -> None:
        self.every, self.batch_size = every, batch_size
        self._mark = (0.0, 0)
        self._idle = 0.0  # seconds spent validating since the mark: they are not training speed
        self._paused = 0.0

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Start the clock of the first interval."""
        self._mark, self._idle = (time.monotonic(), trainer.global_step), 0.0

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Stop counting training time."""
        self._paused = time.monotonic()

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Print the validation metrics."""
        self._idle += time.monotonic() - self._paused
        if not trainer.sanity_checking:
            values = {k[4:]: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("val/")}
            print(f"step {trainer.global_step:6d}  validation  {_join(values)}", flush=True)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Print a line every ``every`` steps."""
        step = trainer.global_step
        if step % self.every:
            return
        now = time.monotonic()
        speed = (
            (step - self._mark[1])
            * self.batch_size
            * trainer.world_size
            / max(now - self._mark[0] - self._idle, 1e-6)
        )
        self._mark, self._idle = (now, step), 0.0
        done = pl_module.progress
        left = pl_module.seconds * (1 - done) / max(done, 1e-6) / 60
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        terms = {k[6:]: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("train/")}
        print(
            f"step {step:6d} {100 * done:5.1f} %  {_join(terms)}  lr {rate:.2e}  "
            f"{speed:.0f} images/s  {left:.1f} min left",
            flush=True,
        )


def _join(values: dict[str, float]) -> str:
    return "  ".join(f"{k} {v:.3f}" for k, v in values.items())
