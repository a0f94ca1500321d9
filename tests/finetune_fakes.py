"""A parent to fine-tune from: a tiny dense network trained for a few steps on the toy head, with a smaller subset."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from dense_fakes import COLUMNS, POINTS, ROWS, toy_head_arrays, write_toy_shards

from facezoo.config import Recipe, load_recipe
from facezoo.heads.file import write_head
from facezoo.training.initialise import build_model
from facezoo.training.run import train

FEWER = COLUMNS * len(range(0, ROWS, 3))  # every third row of the sheet


def write_data(folder: Path, **meta: Any) -> Path:
    """Write shards of the toy head and the head with a subset of every third row; ``meta`` goes into the head file."""
    write_toy_shards(folder, count=48, per_shard=24)
    arrays, known = toy_head_arrays()
    arrays[f"subset.{FEWER}"] = np.arange(POINTS).reshape(ROWS, COLUMNS)[::3].ravel()
    write_head(folder / "toy.safetensors", arrays, {**known, **meta})
    return folder


def small(data: Path, run_dir: Path, *overrides: str) -> Recipe:
    """Return a recipe of a network that trains in a moment."""
    fixed = (
        "model.widths=[8,8,8,8]", "model.depths=[1,1,1,1]", "model.neck_channels=8", "model.hidden=16",
        "model.rank=8", "model.scale_rank=4", f"model.head={data / 'toy.safetensors'}", f"model.points={POINTS}",
        "model.crop_size=64", "data=shards", f"data.root={data}", "data.batch_size=8", "data.validation=8",
        "data.statistics=32", "trainer.device=cpu", "trainer.devices=1", "trainer.nodes=1",
        "trainer.log_every=100", "trainer.validate_every=2",
        "trainer.image_every=0", "trainer.max_steps=2", "publish.half=false", f"trainer.run_dir={run_dir}",
    )  # fmt: skip
    return load_recipe("dense", [*fixed, *overrides])


def trained(data: Path, run_dir: Path, *overrides: str) -> Path:
    """Train and return the export."""
    return train(small(data, run_dir, *overrides))


def untrained(data: Path, folder: Path, *overrides: str) -> Path:
    """Save a network of random weights and batch statistics: a parent that costs nothing."""
    recipe = small(data, folder, *overrides)
    recipe.model.n_identity = recipe.model.n_expression = 3
    model, _ = build_model(recipe)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.add_(torch.rand(value.shape, generator=generator), alpha=0.1)
    model.save_pretrained(folder)
    return folder


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON table."""
    return json.loads(path.read_text())
