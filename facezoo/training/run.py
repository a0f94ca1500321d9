"""One training run from a resolved recipe to exported weights."""

from __future__ import annotations

import dataclasses
import logging
import warnings
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor

from facezoo.config import Recipe, method_of, save_resolved
from facezoo.data.augment import Augment
from facezoo.data.datamodule import FaceDataModule
from facezoo.data.mirror import Mirror
from facezoo.data.statistics import measure_targets
from facezoo.errors import RecipeError
from facezoo.heads import load_head
from facezoo.models.base import ZooModel
from facezoo.training.checkpoints import LAST, AtomicCheckpoints, read_checkpoint
from facezoo.training.console import ConsoleProgress
from facezoo.training.module import TrainingModule
from facezoo.training.pictures import PredictionPictures
from facezoo.training.settings import TrainerConfig


def train(recipe: Recipe) -> Path:
    """Run a recipe to its end and export the averaged weights.

    Args:
        recipe: resolved and checked by :func:`facezoo.config.load_recipe`.

    Returns:
        The folder of the exported model, ``<run_dir>/export``.
    """
    settings = recipe.trainer
    run_dir = Path(settings.run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    lightning.seed_everything(recipe.seed, verbose=False)
    data = FaceDataModule(recipe.data, recipe.seed)
    _fit_to_data(recipe, data)
    save_resolved(recipe, run_dir)
    model, augment = build_model(recipe)
    module = TrainingModule(
        model, model.criterion(recipe.loss), augment, recipe.optim, settings, recipe.seed, run_dir
    )
    checkpoint = run_dir / LAST if settings.resume == "auto" and (run_dir / LAST).exists() else None
    start = 0
    if checkpoint is not None:
        start = int(read_checkpoint(checkpoint)["global_step"])
        print(f"resuming {run_dir} at step {start}", flush=True)
    elif recipe.init == "scratch":
        start_from_data(model, data, augment, recipe.data.statistics)
        if module.average is not None:
            module.average.reset(model)
    trainer = build_trainer(recipe, run_dir, watch=f"val/{next(iter(model.metrics()))}")
    if settings.channels_last:
        model.to(memory_format=torch.channels_last)
    if settings.compile:
        model.compile()
    finished = settings.max_steps > 0 and start >= settings.max_steps
    if not finished:
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", message=".*(does not have many workers|IterableDataset|ckpt_path).*"
            )
            trainer.fit(
                module,
                data.train_loader(start, trainer.global_rank, trainer.world_size),
                data.validation_loader(),
                ckpt_path=str(checkpoint) if checkpoint else None,
                weights_only=True,
            )
    elif checkpoint is not None:
        module.on_load_checkpoint(read_checkpoint(checkpoint))
        module.load_state_dict(read_checkpoint(checkpoint)["state_dict"])
    return export(module, recipe, run_dir, trainer)


def build_model(recipe: Recipe) -> tuple[ZooModel, Augment]:
    """Build the model of a recipe (untrained, or from ``init``) and its training augmentation."""
    model_class = method_of(recipe.model.name).model_class()
    if recipe.init == "scratch":
        model = model_class.for_training(recipe.model)
    else:
        model = model_class.from_pretrained(recipe.init).train()
        check_fits(model, recipe)
    head = load_head(recipe.model.head)
    return model, Augment(model.crop, Mirror.of_head(head, recipe.model.points), recipe.data.augment)


def check_fits(model: ZooModel, recipe: Recipe) -> None:
    """Refuse given weights whose sizes are not the recipe's, key by key."""
    for field in dataclasses.fields(model.config):
        given, wanted = getattr(model.config, field.name), getattr(recipe.model, field.name)
        if field.name not in ("pretrained", "sigma_scale") and given != wanted:
            raise RecipeError(
                f"init={recipe.init} has model.{field.name}={given!r} but the recipe says {wanted!r}; "
                f"add model.{field.name}={str(given).replace(' ', '')}"
            )


def start_from_data(model: ZooModel, data: FaceDataModule, augment: Augment, samples: int) -> None:
    """Initialise output layers with statistics of augmented training targets."""

    def targets() -> list[tuple[Tensor, Tensor]]:
        batches = data.label_batches(samples)
        return [model.targets(augment.targets(b, seed=i)) for i, b in enumerate(batches)]

    model.start_from(measure_targets(targets(), rank=getattr(model.config, "rank", 256)))


def build_trainer(recipe: Recipe, run_dir: Path, watch: str) -> lightning.Trainer:
    """Build the Lightning trainer of a run."""
    settings = recipe.trainer
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    callbacks = [
        AtomicCheckpoints(run_dir, settings.checkpoint_every, watch),
        ConsoleProgress(settings.log_every, recipe.data.batch_size),
    ]
    if settings.image_every:
        callbacks.append(PredictionPictures(run_dir / "pictures", settings.image_every))
    accelerator = _accelerator(settings)
    return lightning.Trainer(
        default_root_dir=run_dir,
        accelerator=accelerator,
        devices=settings.devices,
        num_nodes=settings.nodes,
        strategy="ddp" if settings.devices * settings.nodes > 1 else "auto",
        precision=_precision(settings, accelerator),
        max_steps=settings.max_steps or -1,
        max_epochs=-1,
        val_check_interval=settings.validate_every,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        gradient_clip_val=recipe.optim.clip or None,
        log_every_n_steps=settings.log_every,
        logger=CSVLogger(run_dir, name="logs"),
        callbacks=callbacks,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


def export(module: TrainingModule, recipe: Recipe, run_dir: Path, trainer: lightning.Trainer) -> Path:
    """Write the averaged weights with what is known about them to ``<run_dir>/export``."""
    folder = run_dir / "export"
    if not trainer.is_global_zero:
        return folder
    if module.average is not None:
        module.average.exchange(module.model)
    measured = {k[4:]: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("val/")}
    info = {
        "head_id": recipe.model.head,
        "trained_on": {
            "source": recipe.data.source,
            "images_seen": module.images_seen,
            "minutes": round(module.seconds / 60, 2),
            "seed": recipe.seed,
        },
        "validation": measured,
    }
    module.model.save_pretrained(folder, half=recipe.publish.half, info=info)
    if module.average is not None:
        module.average.exchange(module.model)
    print(f"exported {folder}", flush=True)
    return folder


def _fit_to_data(recipe: Recipe, data: FaceDataModule) -> None:
    """Let the model's sizes follow the data, and refuse data of another kind."""
    sizes = data.train.sizes()
    if sizes["points"] != recipe.model.points:
        raise RecipeError(
            f"the data has {sizes['points']} dense points but model.points={recipe.model.points}; "
            f"set model.points={sizes['points']} or render other data"
        )
    recipe.model.n_identity, recipe.model.n_expression = sizes["n_identity"], sizes["n_expression"]


def _accelerator(settings: TrainerConfig) -> str:
    if settings.device == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise RecipeError("trainer.device=cuda but torch sees no CUDA device; use trainer.device=auto or cpu")
    return settings.device


def _precision(settings: TrainerConfig, accelerator: str) -> Any:
    names = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}
    if settings.precision != "auto":
        return names[settings.precision]
    return "bf16-mixed" if accelerator == "cuda" and torch.cuda.is_bf16_supported() else "32-true"
