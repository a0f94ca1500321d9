"""Learning rate as a function of a run's progress, counted in steps or in time."""

from __future__ import annotations

import math

from facezoo.errors import RecipeError
from facezoo.training.settings import OptimConfig, TrainerConfig


def progress(step: int, seconds: float, config: TrainerConfig) -> float:
    """Return how much of a run is done, in [0, 1]: the larger of its step share and its time share."""
    if config.max_steps <= 0 and config.max_minutes <= 0:
        raise RecipeError("the run has no end; give trainer.max_steps=N or trainer.max_minutes=M")
    by_steps = step / config.max_steps if config.max_steps > 0 else 0.0
    by_time = seconds / (60 * config.max_minutes) if config.max_minutes > 0 else 0.0
    return min(1.0, max(by_steps, by_time))


def learning_rate(done: float, config: OptimConfig) -> float:
    """Return the rate at progress ``done``: linear warm-up, then a cosine to ``lr_end`` or a constant."""
    if done < config.warmup:
        return config.lr * max(done / config.warmup, 0.01)
    if config.schedule == "constant":
        return config.lr
    rest = (done - config.warmup) / max(1 - config.warmup, 1e-9)
    return config.lr * (config.lr_end + (1 - config.lr_end) * 0.5 * (1 + math.cos(math.pi * rest)))
