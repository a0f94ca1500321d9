"""Where a run's numbers and pictures go: a CSV file, Weights & Biases, TensorBoard."""

from __future__ import annotations

import dataclasses
import importlib.util
import logging
import os
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image

from facezoo.config import Recipe, to_yaml
from facezoo.errors import RecipeError
from facezoo.training.csv_log import CsvLog

WANDB_ID = "wandb-id.txt"


def build_loggers(recipe: Recipe, run_dir: Path, start: int) -> list[Logger]:
    """Build the loggers that ``trainer.logger`` names.

    Args:
        recipe: its values are logged as the run's configuration.
        run_dir: folder of the run; all loggers write below it.
        start: the step that the run goes on from; what was logged behind it is removed where that is possible.

    Returns:
        The loggers, none in processes other than the first.

    Raises:
        RecipeError: the package of a logger is not installed.
    """
    names = recipe.trainer.loggers
    check_packages(names)
    loggers: list[Logger] = []
    if rank_zero_only.rank:  # type: ignore[attr-defined]  # Lightning sets it on the function
        return loggers
    if "csv" in names:
        table = CsvLog(run_dir)
        table.cut(start)
        loggers.append(table)
    if "wandb" in names:
        loggers.append(_wandb(recipe, run_dir))
    if "tensorboard" in names:
        board = TensorBoardLogger(
            run_dir, name="", version="tensorboard", purge_step=start + 1 if start else None
        )
        if start == 0:
            board.experiment.add_text("recipe", f"    {to_yaml(recipe)}".replace("\n", "\n    "))
        loggers.append(board)
    return loggers


def check_packages(names: Iterable[str]) -> None:
    """Raise a RecipeError that names the command to install what a logger needs, before any work is done."""
    for name in names:
        if name in ("wandb", "tensorboard") and importlib.util.find_spec(name) is None:
            raise RecipeError(
                f"trainer.logger={name} needs a package that is not installed: pip install 'facezoo[{name}]'"
            )


def log_picture(loggers: Iterable[Logger], name: str, picture: Image.Image, step: int) -> None:
    """Send a picture to the loggers that show pictures."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.log_image(key=name, images=[picture], step=step)
        elif isinstance(logger, TensorBoardLogger):
            logger.experiment.add_image(name, np.asarray(picture), step, dataformats="HWC")


def flush(loggers: Iterable[Logger]) -> None:
    """Write what was logged so far; done before every checkpoint, so that no row before it can be lost."""
    for logger in loggers:
        logger.save()
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.flush()


def close(loggers: Iterable[Logger]) -> None:
    """End what would otherwise go on until the process ends, so that a next run in it is a run of its own."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.experiment.finish()


def _wandb(recipe: Recipe, run_dir: Path) -> WandbLogger:
    """Build the Weights & Biases logger; the run's id is kept in its folder, so that a resumed run stays one run."""
    logging.getLogger("wandb").setLevel(logging.WARNING)
    file = run_dir / WANDB_ID
    if not file.is_file():
        run_dir.mkdir(parents=True, exist_ok=True)
        file.write_text(uuid.uuid4().hex[:8] + "\n")
    # wandb itself reads WANDB_ENTITY, and WANDB_MODE=offline, which needs neither account nor network.
    logger = WandbLogger(
        name=run_dir.name,
        save_dir=run_dir,
        id=file.read_text().strip(),
        project=os.environ.get("WANDB_PROJECT", "facezoo"),
        resume="allow",
    )
    values: dict[str, Any] = dataclasses.asdict(recipe)
    logger.log_hyperparams(values)
    return logger
