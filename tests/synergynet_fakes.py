"""A toy head with iBUG-68 points, shards of it, and a tiny SynergyNet on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from dense_fakes import POINTS, toy_head_arrays, toy_landmarks, write_toy_shards

from facezoo.heads.file import write_head
from facezoo.models.synergynet.config import SynergyConfig


def write_landmark_head(folder: Path) -> str:
    """Write the toy head with its 68 landmarks and return its path."""
    arrays, meta = toy_head_arrays()
    faces = np.asarray(arrays["faces"])
    rows = np.array([int(np.flatnonzero((faces == v).any(1))[0]) for v in toy_landmarks()])
    arrays["landmarks.ibug68.faces"] = rows
    arrays["landmarks.ibug68.bary"] = (faces[rows] == toy_landmarks()[:, None]).astype(float)
    return str(write_head(folder / "toy.safetensors", arrays, meta))


def write_landmark_shards(folder: Path, count: int = 96) -> str:
    """Write toy shards whose head has landmarks; return the head's path."""
    write_toy_shards(folder, count)
    return write_landmark_head(folder)


def tiny_config(head: str, **changes: Any) -> SynergyConfig:
    """Return a configuration of a few thousand weights."""
    values: dict[str, Any] = {
        "head": head, "points": POINTS, "shape_rank": 3, "expression_rank": 3, "backbone": "nano",
        "widths": [8, 16, 16, 16], "depths": [1, 1, 1, 1], "pooling": "flatten", "neck_channels": 4,
        "point_channels": 16, "merge_channels": [16, 16], "dropout": 0.0, "n_identity": 3, "n_expression": 3,
        "crop_size": 64, "looks": 1,
    }  # fmt: skip
    return SynergyConfig(**{**values, **changes})


def tiny_overrides(shards: Path, run_dir: Path, *overrides: str) -> list[str]:
    """Return what makes recipe=synergynet tiny; ``shards`` is what ``write_landmark_shards`` wrote."""
    return [
        f"model.head={shards / 'toy.safetensors'}", f"model.points={POINTS}", "model.shape_rank=3",
        "model.expression_rank=3", "model.widths=[8,16,16,16]", "model.depths=[1,1,1,1]", "model.neck_channels=4",
        "model.point_channels=16", "model.merge_channels=[16,16]", "model.crop_size=64", "model.features_from=''",
        "data=shards", f"data.root={shards}", "data.batch_size=8", "data.workers=0", "data.validation=16",
        "data.statistics=64", "trainer.device=cpu", "trainer.log_every=2", "trainer.validate_every=1000",
        "trainer.image_every=0", f"trainer.run_dir={run_dir}", *overrides,
    ]  # fmt: skip
