"""A toy head (a bent sheet) and pictures of it whose landmarks are visible as coloured dots: small, fast, learnable."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from facezoo.data.mirror import ibug68_mirror
from facezoo.data.shards import write_shard
from facezoo.geometry.rotations import axis_angle_to_matrix
from facezoo.heads import HeadModel, load_head
from facezoo.heads.file import write_head

COLUMNS, ROWS = 9, 15
POINTS = COLUMNS * ROWS
FLIP = np.diag([-1.0, 1.0, 1.0])


def toy_head_arrays() -> tuple[dict[str, np.ndarray], dict[str, object]]:
    """Return arrays and metadata of a mirror-symmetric sheet with 3 identity and 3 expression components."""
    u, v = np.meshgrid(np.linspace(-1, 1, COLUMNS), np.linspace(-1, 1, ROWS))
    x, y = u.ravel() * 0.07, v.ravel() * 0.1
    template = np.stack(
        [x, y, 0.08 * np.sqrt(np.maximum(0, 1.2 - u.ravel() ** 2 * 0.9 - v.ravel() ** 2 * 0.2))], 1
    )
    grid = np.arange(POINTS).reshape(ROWS, COLUMNS)
    a, b, c, d = grid[:-1, :-1].ravel(), grid[:-1, 1:].ravel(), grid[1:, 1:].ravel(), grid[1:, :-1].ravel()
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    symmetry = grid[:, ::-1].ravel()
    dirs = np.zeros((POINTS, 3, 6))
    dirs[:, 0, 0] = x * 0.1  # wider
    dirs[:, 1, 1] = y * 0.1  # longer
    dirs[:, 0, 2] = 0.004 * (1 - v.ravel() ** 2)  # crooked: changes sign in the mirror
    left = np.exp(-((u.ravel() - 0.5) ** 2 + (v.ravel() + 0.4) ** 2) / 0.1)
    dirs[:, 1, 3] = 0.01 * left
    dirs[:, 1, 4] = 0.01 * left[symmetry]
    dirs[:, 2, 5] = 0.01 * np.exp(-(v.ravel() ** 2) / 0.1)
    arrays = {
        "v_template": template,
        "faces": faces,
        "shapedirs": dirs,
        "posedirs": np.zeros((36, 3 * POINTS)),
        "weights": np.tile([1.0, 0, 0, 0, 0], (POINTS, 1)),
        "J_regressor.row": np.arange(5),
        "J_regressor.col": np.arange(5),
        "J_regressor.val": np.ones(5),
        "symmetry": symmetry,
        f"subset.{POINTS}": np.arange(POINTS),
    }
    meta = {
        "head_id": "toy",
        "licence": "CC0-1.0",
        "n_identity": 3,
        "expression_names": ["browLeft", "browRight", "pout"],
    }
    return arrays, meta


def write_toy_head(folder: Path) -> str:
    """Write the toy head and return its path."""
    return str(write_head(folder / "toy.safetensors", *toy_head_arrays()))


def toy_landmarks() -> np.ndarray:
    """Return 68 vertices of the sheet that the iBUG mirror permutation maps as the sheet's symmetry does."""
    grid = np.arange(POINTS).reshape(ROWS, COLUMNS)
    chosen = np.full(68, -1)
    middle, side = iter(grid[:, COLUMNS // 2]), iter(grid[:, : COLUMNS // 2].ravel())
    symmetry = grid[:, ::-1].ravel()
    for i, j in enumerate(ibug68_mirror().tolist()):
        if i == j:
            chosen[i] = next(middle)
        elif chosen[i] < 0:
            chosen[i] = next(side)
            chosen[j] = symmetry[chosen[i]]
    return chosen


def toy_samples(head: HeadModel, count: int, size: int = 96, seed: int = 0) -> dict[str, np.ndarray]:
    """Render samples in the shard layout: coloured dots at the 68 landmarks on noise."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(count, 6))
    dirs, template = head.shapedirs.double().numpy(), head.v_template.double().numpy()
    vertices = template + np.einsum("vck,nk->nvc", dirs, values)
    turn = torch.from_numpy(rng.normal(size=(count, 3)) * [0.15, 0.3, 0.15])
    R = axis_angle_to_matrix(turn).numpy() @ np.diag([1.0, -1, -1])
    t = np.stack(
        [rng.normal(size=count) * 0.01, rng.normal(size=count) * 0.01, rng.uniform(0.8, 1.2, count)], 1
    )
    K = np.tile(np.array([[size * 3.5, 0, size / 2], [0, size * 3.5, size / 2], [0, 0, 1]]), (count, 1, 1))
    camera = vertices @ R.transpose(0, 2, 1) + t[:, None]
    pixels = camera @ K.transpose(0, 2, 1)
    points = pixels[..., :2] / pixels[..., 2:]
    lm68 = points[:, toy_landmarks()]
    images = rng.integers(90, 140, (count, 3, size, size)).astype(np.uint8)
    colors = np.random.default_rng(7).integers(0, 256, (68, 3))
    for n in range(count):
        for (x, y), color in zip(lm68[n], colors, strict=True):
            row, column = int(y), int(x)
            images[n, :, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2] = color[:, None, None]
    box = np.concatenate([lm68.min(1), lm68.max(1)], 1)
    return {
        "images": images,
        "points": points.astype(np.float32),
        "lm68": lm68.astype(np.float32),
        "lm68_contour": lm68.astype(np.float32),
        "visible": np.ones((count, POINTS), np.uint8),
        "box": box.astype(np.float32),
        "identity": values[:, :3].astype(np.float16),
        "expression": values[:, 3:].astype(np.float16),
        "jaw": np.zeros((count, 3), np.float32),
        "R": R.astype(np.float32),
        "t": t.astype(np.float32),
        "K": K.astype(np.float32),
        "seed": np.arange(count, dtype=np.int64),
    }


def write_toy_shards(folder: Path, count: int = 96, per_shard: int = 40) -> str:
    """Write the toy head and shards of it; return the head's path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = write_toy_head(folder)
    samples = toy_samples(load_head(path), count)
    for number, first in enumerate(range(0, count, per_shard)):
        part = {k: v[first : first + per_shard] for k, v in samples.items()}
        write_shard(
            folder,
            number,
            part,
            {"head_id": "toy", "synth_version": "toy", "size": samples["images"].shape[-1]},
        )
    return path
