"""One line of text every few steps: step, share done, loss, last validation, images a second, time left."""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO

import lightning
from lightning.pytorch.callbacks import Callback

_WIDTH = 30


class ConsoleProgress(Callback):
    """Print progress lines that read well in a terminal and in a log file, and in a terminal a bar below them."""

    def __init__(self, every: int, batch_size: int, out: TextIO | None = None) -> None:
        """Prepare.

        Args:
            every: steps between lines.
            batch_size: samples a step and process.
            out: where to print; default the standard output.
        """
        self.every, self.batch_size, self.out = every, batch_size, out or sys.stdout
        self._mark = (0.0, 0)
        self._idle = 0.0  # seconds spent validating since the mark: they are not training speed
        self._paused = 0.0
        self._drawn = 0.0

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Start the clock of the first interval."""
        self._mark, self._idle = (time.monotonic(), trainer.global_step), 0.0

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Stop counting training time."""
        self._paused = time.monotonic()

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Print the validation metrics."""
        self._idle += time.monotonic() - self._paused
        if trainer.is_global_zero:
            self._print(f"step {trainer.global_step:6d}  validation  {_join(pl_module.validation)}")

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Print a line every ``every`` steps."""
        if not trainer.is_global_zero:
            return
        step, now, done = trainer.global_step, time.monotonic(), pl_module.progress
        if step % self.every == 0:
            speed, left = self._speed(step, now, trainer.world_size), time_left(pl_module.seconds, done)
            self._mark, self._idle = (now, step), 0.0
            terms = {k[6:]: v for k, v in pl_module.latest.items() if k.startswith("train/")}
            rate = pl_module.latest["lr"]
            self._print(
                f"step {step:6d} {100 * done:5.1f} %  {_join(terms)}  lr {rate:.2e}  "
                f"{speed:.0f} images/s  {left / 60:.1f} min left"
            )
        elif self.out.isatty() and now - self._drawn > 0.2:
            self._drawn = now
            speed, left = self._speed(step, now, trainer.world_size), time_left(pl_module.seconds, done)
            bar = "█" * round(_WIDTH * done)
            text = f"{bar:░<{_WIDTH}} {100 * done:5.1f} %  step {step}  {speed:.0f} images/s  {left / 60:.1f} min left"
            self.out.write(f"\r{text}\x1b[K")
            self.out.flush()

    def on_train_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Take the bar away."""
        if self.out.isatty():
            self.out.write("\r\x1b[K")

    def _speed(self, step: int, now: float, world: int) -> float:
        """Return images a second since the mark, of all processes."""
        took = max(now - self._mark[0] - self._idle, 1e-6)
        return (step - self._mark[1]) * self.batch_size * world / took

    def _print(self, text: str) -> None:
        start = "\r\x1b[K" if self.out.isatty() else ""  # over the bar
        print(f"{start}{text}", file=self.out, flush=True)


def time_left(seconds: float, done: float) -> float:
    """Return the seconds to the end of a run, from the seconds it took so far (earlier parts included)."""
    return seconds * (1 - done) / max(done, 1e-6)


def _join(values: dict[str, float]) -> str:
    return "  ".join(f"{k} {v:.3f}" for k, v in values.items())
