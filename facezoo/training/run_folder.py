"""The folder of a run: begun, continued where it stopped, or moved aside to start over."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_only
from omegaconf import OmegaConf

from facezoo.config import SECTIONS, Recipe, save_resolved, to_yaml
from facezoo.errors import AssetError, RecipeError
from facezoo.training.checkpoints import LAST, read_checkpoint

RECIPE = "recipe.yaml"
# Keys whose change would leave a checkpoint's weights without a place, and model keys that change no weight.
_FIXED = ("model.", "loss.name")
_LOOSE = ("model.pretrained", "model.sigma_scale", "model.n_identity", "model.n_expression")


@dataclass(frozen=True)
class RunFolder:
    """Where a run stands.

    Attributes:
        path: the folder.
        checkpoint: what it goes on from, None for a run that begins.
        step: optimiser steps done.
        seconds: wall-clock seconds of training done.
        images: samples seen by all processes.
    """

    path: Path
    checkpoint: Path | None = None
    step: int = 0
    seconds: float = 0.0
    images: int | None = None


def open_folder(recipe: Recipe) -> RunFolder:
    """Look for a checkpoint to go on from; with ``trainer.resume=never``, move a former run aside instead.

    Raises:
        RecipeError: the run in the folder has another network or another loss.
        AssetError: its checkpoint cannot be read.
    """
    path = Path(recipe.trainer.run_dir)
    last = path / LAST
    if recipe.trainer.resume == "never":
        _move_aside(path)
        return RunFolder(path)
    if not last.is_file():
        return RunFolder(path)
    state = read_checkpoint(last)
    extra = state["facezoo"]
    _compare(recipe, path, int(state["global_step"]))
    return RunFolder(path, last, int(state["global_step"]), extra["seconds"], extra["images_seen"])


@rank_zero_only
def write_recipe(recipe: Recipe, folder: RunFolder) -> None:
    """Write ``recipe.yaml``; one that a continued run had before and that says something else stays beside it."""
    folder.path.mkdir(parents=True, exist_ok=True)
    file = folder.path / RECIPE
    if folder.checkpoint is not None and file.is_file() and _differences(recipe, file):
        os.replace(file, folder.path / f"recipe-until-{folder.step:07d}.yaml")
    save_resolved(recipe, folder.path)


@rank_zero_only
def _move_aside(path: Path) -> None:
    """Move what an earlier run left in the folder to ``earlier-N`` inside it: nothing trained is ever deleted."""
    left = [file for file in path.glob("*") if not file.name.startswith("earlier-")] if path.is_dir() else []
    if not left:
        return
    number = 1 + max(
        (int(old.name[8:]) for old in path.glob("earlier-*") if old.name[8:].isdigit()), default=0
    )
    target = path / f"earlier-{number}"
    target.mkdir()
    for file in left:
        os.replace(file, target / file.name)
    print(f"moved the former run to {target}", flush=True)


def _compare(recipe: Recipe, path: Path, step: int) -> None:
    """Refuse another network; say what else is not as it was when the run stopped."""
    file = path / RECIPE
    if not file.is_file():
        return
    changed = _differences(recipe, file)
    fixed = [k for k in changed if k.startswith(_FIXED) and k not in _LOOSE]
    if fixed:
        listed = ", ".join(f"{k}={changed[k][0]!r} (the recipe says {changed[k][1]!r})" for k in fixed)
        raise RecipeError(
            f"{path} holds a run at step {step} with {listed}; give another trainer.run_dir, or start over with "
            "trainer.resume=never"
        )
    _say(path, {k: v for k, v in changed.items() if k not in _LOOSE})


@rank_zero_only
def _say(path: Path, changed: Mapping[str, tuple[Any, Any]]) -> None:
    for key, (old, new) in changed.items():
        print(f"{path} goes on with {key}={new} in place of {old}", flush=True)


def _differences(recipe: Recipe, file: Path) -> dict[str, tuple[Any, Any]]:
    """Return key -> value in the file and in the recipe, for keys that both have and that differ."""
    try:
        stored = OmegaConf.to_container(OmegaConf.load(file))
    except Exception as error:  # yaml raises its own family, and OmegaConf another
        raise AssetError(f"{file} cannot be read: {error}; move it away to go on without it") from error
    old = dict(_flat(stored)) if isinstance(stored, dict) else {}
    new = dict(_flat(OmegaConf.to_container(OmegaConf.create(to_yaml(recipe)))))
    return {k: (old[k], v) for k, v in new.items() if k in old and old[k] != v and k != "trainer.run_dir"}


def _flat(values: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict) and (prefix or key in SECTIONS):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
