"""One training run from a resolved recipe to exported weights."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_only

from facezoo.config import Recipe, method_of
from facezoo.data.datamodule import FaceDataModule
from facezoo.data.subset import thin_points
from facezoo.heads import load_head
from facezoo.predicting.launch import follow_parent
from facezoo.training.checkpoints import AtomicCheckpoints, read_checkpoint
from facezoo.training.console import ConsoleProgress
from facezoo.training.initialise import build_model, initialise, provenance, resume
from facezoo.training.loggers import build_loggers, check_packages, close
from facezoo.training.machines import build_trainer, choose
from facezoo.training.module import TrainingModule
from facezoo.training.pictures import PredictionPictures
from facezoo.training.run_folder import RunFolder, open_folder, write_recipe
from facezoo.training.schedule import progress

# What Lightning warns of and what is meant here: batches come by step number, and validation is shared out by hand.
# The last one is between Lightning and torch.
_MEANT = ".*(does not have many workers|IterableDataset|ckpt_path|eval mode|sync_dist|isinstance.treespec).*"


def train(recipe: Recipe, callbacks: Sequence[Callback] = ()) -> Path:
    """Run a recipe to its end, or go on with the run in its folder, and export the averaged weights.

    Args:
        recipe: resolved and checked by :func:`facezoo.config.load_recipe`.
        callbacks: Lightning callbacks of your own; they see the step after this program's.

    Returns:
        The folder of the exported model, ``<run_dir>/export``.

    Raises:
        RecipeError: what the recipe asks for is not to be had here, or its folder holds another run.
        FacezooError: the loss is not finite; the message names the file that the batch was saved in.
    """
    settings, batch = recipe.trainer, recipe.data.batch_size
    progress(0, 0.0, settings)
    check_packages(settings.loggers)
    machines = choose(settings)
    follow_parent()
    if settings.threads:
        torch.set_num_threads(settings.threads)
    lightning.seed_everything(recipe.seed, verbose=False)
    path = Path(settings.run_dir)
    own: list[Callback] = [
        AtomicCheckpoints(path, settings.checkpoint_every, settings.validate_every),
        ConsoleProgress(settings.log_every, batch),
    ]
    if settings.image_every:
        own.append(PredictionPictures(path / "pictures", settings.image_every))
    trainer = build_trainer(settings, recipe.optim, machines, [*own, *callbacks])
    first = trainer.is_global_zero
    folder = open_folder(recipe)
    planned = settings.max_steps * batch * machines.world
    method = method_of(recipe.model.name).model_class()
    data = method.data_module(recipe, processes=machines.devices, planned=planned)
    if isinstance(data, FaceDataModule):
        _fit_to_data(recipe, data)
    write_recipe(recipe, folder)
    # Other processes get the first one's weights when the training begins.
    model, augment = build_model(recipe, resumed=folder.checkpoint is not None or not first)
    if folder.checkpoint is not None:
        _say(f"resuming {path} at step {folder.step}")
        if first:
            resume(model, data, recipe, path)
    elif first:
        initialise(model, augment, data, recipe, path)
    if settings.channels_last:
        model.to(memory_format=torch.channels_last)
    if settings.compile:
        model.compile()
    module = TrainingModule(model, augment, recipe, folder)
    if folder.checkpoint is not None and progress(folder.step, folder.seconds, settings) >= 1:
        _say(f"{path} was finished at step {folder.step}; trainer.resume=never starts over")
        module.restore(read_checkpoint(folder.checkpoint))
    else:
        _say(f"training with {machines}")
        _fit(trainer, module, data, folder)
    return export(module, recipe, path, trainer)


def export(module: TrainingModule, recipe: Recipe, run_dir: Path, trainer: lightning.Trainer) -> Path:
    """Write the averaged weights with what is known about them to ``<run_dir>/export``."""
    folder = run_dir / "export"
    if not trainer.is_global_zero:
        return folder
    if module.average is not None:
        module.average.exchange(module.model)
    info = {
        "head_id": recipe.model.head,
        "trained_on": {
            "source": recipe.data.source,
            "images_seen": module.images_seen,
            "minutes": round(module.seconds / 60, 2),
            "seed": recipe.seed,
        },
        "validation": module.validation,
        **provenance(run_dir),
    }
    module.model.save_pretrained(folder, half=recipe.publish.half, info=info)
    if module.average is not None:
        module.average.exchange(module.model)
    _say(f"exported {folder}")
    return folder


def _fit(trainer: lightning.Trainer, module: TrainingModule, data: FaceDataModule, folder: RunFolder) -> None:
    """Train from the folder's step to the end of the run."""
    recipe, rank, world = module.recipe, trainer.global_rank, trainer.world_size
    batches = data.train_loader(folder.step, rank, world, stop=recipe.trainer.max_steps, seen=folder.images)
    module.read_step = batches.dataset.read_step  # type: ignore[attr-defined]
    module.held_out = data.validation_loader(rank, world)
    trainer.loggers = build_loggers(recipe, folder.path, folder.step)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=_MEANT)
            trainer.fit(
                module,
                batches,
                module.held_out,
                ckpt_path=str(folder.checkpoint) if folder.checkpoint else None,
                weights_only=True,
            )
    finally:
        close(trainer.loggers)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def _fit_to_data(recipe: Recipe, data: FaceDataModule) -> None:
    """Let the model's sizes follow the data, and refuse data of another kind."""
    sizes = data.train.sizes()
    if sizes["points"] != recipe.model.points:
        head = load_head(recipe.model.head)
        data.train = thin_points(data.train, head, recipe.model.points)
        data.validation = thin_points(data.validation, head, recipe.model.points)
    recipe.model.n_identity, recipe.model.n_expression = sizes["n_identity"], sizes["n_expression"]
    if data.held_out < recipe.data.validation:
        _say(f"validating on {data.held_out} of {recipe.data.validation} people: the run sees {data.planned}")


@rank_zero_only
def _say(text: str) -> None:
    print(text, flush=True)
