"""A tiny untrained checkpoint of the open head, as a training run leaves it, for tests of the Hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from facezoo.models.dense import DenseConfig
from facezoo.models.dense.predict import DenseLandmarks

LICENCES = {"code": "Apache-2.0", "weights": "CC0-1.0", "head": "CC0-1.0", "data": "CC0-1.0"}
STATED: dict[str, Any] = {
    "head_id": "open-v1",
    "trained_on": {"source": "stream", "images_seen": 640, "minutes": 0.5, "seed": 0},
    "validation": {"nme68": 12.345, "mlme": 20.5},
    "licences": LICENCES,
    "lineage": {"base_model": None},
}


def tiny_model(seed: int = 0) -> DenseLandmarks:
    """Build a network that loads in milliseconds; other seeds give other weights."""
    torch.manual_seed(seed)
    config = DenseConfig(
        n_expression=49,
        widths=[8, 8, 8, 8],
        depths=[1, 1, 1, 1],
        neck_channels=4,
        hidden=16,
        rank=4,
        scale_rank=4,
        crop_size=32,
    )
    return DenseLandmarks(config).eval()


def write_run(folder: Path, seed: int = 0, **changes: Any) -> Path:
    """Write a run folder: ``export/`` and the header of ``recipe.yaml``; ``changes`` replace parts of ``STATED``."""
    info = {key: value for key, value in {**STATED, **changes}.items() if value is not None}
    tiny_model(seed).save_pretrained(folder / "export", half=True, info=info)
    (folder / "recipe.yaml").write_text(
        "# python -m facezoo.train recipe=dense trainer.max_steps=10\n\nseed: 0\n"
    )
    return folder


def weights_sha256(run: Path) -> str:
    """Return the digest that the export's config.json gives its weights."""
    return str(json.loads((run / "export" / "config.json").read_text())["weights"]["sha256"])


def files_of(run: Path) -> dict[str, bytes]:
    """Return the export's files by name."""
    return {file.name: file.read_bytes() for file in (run / "export").iterdir()}
