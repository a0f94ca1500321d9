"""Heads for tests: the parity pack's official-layout model, and a small random one that needs no pack."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SHARED = Path(os.environ.get("FACEZOO_SHARED", Path(__file__).parents[2] / "shared"))
FLAME_PACK = SHARED / "parity" / "flame-lbs"


def flame_pack() -> Path:
    """Return the folder of the parity pack or skip the test with the reason."""
    if not FLAME_PACK.is_dir():
        pytest.skip(f"no parity pack at {FLAME_PACK}")
    return FLAME_PACK


def random_head(
    vertices: int = 30, identity: int = 4, expression: int = 3, seed: int = 0
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return arrays and metadata of a random but consistent head with every optional part."""
    g = np.random.default_rng(seed)
    faces = np.stack([g.permutation(vertices)[:3] for _ in range(40)])
    weights = g.random((vertices, 5))
    bary = g.random((6, 3))
    table = g.random((79, 17, 3))
    arrays = {
        "v_template": 0.1 * g.normal(size=(vertices, 3)),
        "faces": faces,
        "shapedirs": 0.01 * g.normal(size=(vertices, 3, identity + expression)),
        "posedirs": 0.01 * g.normal(size=(36, 3 * vertices)),
        "J_regressor.row": np.repeat(np.arange(5), 4),
        "J_regressor.col": g.integers(0, vertices, 20),
        "J_regressor.val": np.full(20, 0.25),
        "weights": weights / weights.sum(1, keepdims=True),
        "uv": g.random((vertices, 2)),
        "uv_faces": faces,
        "symmetry": np.arange(vertices)[::-1].copy(),
        "mask.face": np.arange(10),
        "landmarks.ibug6.faces": g.integers(0, 40, 6),
        "landmarks.ibug6.bary": bary / bary.sum(1, keepdims=True),
        "landmarks.ibug51.faces": g.integers(0, 40, 51),
        "landmarks.ibug51.bary": np.full((51, 3), 1 / 3),
        "contour.faces": g.integers(0, 40, (79, 17)),
        "contour.bary": table / table.sum(-1, keepdims=True),
        "subset.7": g.permutation(vertices)[:7],
        "extra.table": g.random((2, 2)),
    }
    arrays = {k: v.astype(np.int32 if v.dtype.kind == "i" else np.float32) for k, v in arrays.items()}
    return arrays, {"head_id": "test-head", "licence": "CC0-1.0", "n_identity": identity}
