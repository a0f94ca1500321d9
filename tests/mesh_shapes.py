"""Small meshes for the mesh tests: a face-like mirror-symmetric patch and random full-featured meshes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from facezoo.mesh import Mesh

SHARED = Path(os.environ.get("FACEZOO_SHARED", Path(__file__).parents[2] / "shared"))


def load_pack(name: str) -> dict[str, np.ndarray]:
    """Load a parity pack or skip the test with the reason."""
    path = SHARED / "parity" / name / "pack.safetensors"
    if not path.exists():
        pytest.skip(f"parity pack {name} is not at {path}")
    return load_file(path)


def symmetric_patch(n: int = 15) -> tuple[np.ndarray, np.ndarray]:
    """Build an open, curved patch of ``n * n`` vertices (n odd) that is its own mirror image in x."""
    x, y = np.meshgrid(np.linspace(-0.08, 0.08, n), np.linspace(-0.1, 0.1, n), indexing="ij")
    z = 0.1 - 4 * x**2 - 3 * y**2 + 0.03 * np.exp(-(4 * x**2 + y**2) / 0.0004)
    vertices = np.stack([x, y, z], axis=-1).reshape(-1, 3)
    faces = []
    for i in range(n - 1):
        for j in range(n - 1):
            a, b, c, d = i * n + j, (i + 1) * n + j, (i + 1) * n + j + 1, i * n + j + 1
            faces += [[a, b, c], [a, c, d]] if i < n // 2 else [[a, b, d], [b, c, d]]
    return vertices, np.array(faces)


def rich_mesh(seed: int = 0) -> Mesh:
    """Build a mesh that uses everything a file can hold, with a UV seam along x = 0."""
    rng = np.random.default_rng(seed)
    vertices, faces = symmetric_patch(7)
    n = len(vertices)
    flat = (vertices[:, :2] / 0.25 + 0.5).astype(np.float32)
    right = (vertices[faces].mean(axis=1)[:, 0] > 0)[:, None]
    normals = rng.normal(size=(n, 3))
    return Mesh(
        vertices=vertices + rng.normal(size=(n, 3)) * 1e-3,
        faces=faces,
        uv=np.concatenate([flat, flat + np.float32(0.05)]),
        uv_faces=np.where(right, faces + n, faces),
        normals=normals / np.linalg.norm(normals, axis=1, keepdims=True),
        colours=rng.random((n, 3)),
        texture=rng.integers(0, 256, (9, 13, 3), dtype=np.uint8),
        morph_targets={"jawOpen": rng.normal(size=(n, 3)) * 1e-2, "eyeBlink_L": np.eye(n, 3) * 1e-3},
        name="patch",
    )
