"""Hair, beards, hats and masks as shells: pieces of the head's own skin, lifted off it, with soft edges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from facezoo.mesh.normals import vertex_normals
from facezoo.synth.layout import Stage


@dataclass
class Piece:
    """A mesh with what its shading needs.

    Attributes:
        vertices: (V, 3) in the head's frame (before the camera), faces: (F, 3), uv: (V, 2).
        colour: (V, 3) linear albedo; edge: (V,) signed distance to the soft border in metres, inside positive.
        kind: "hair", "cloth", "skin", "glass" or "plain"; it picks the shading.
        gloss: strength of the highlight; strands: strength of the streaks; fuzz: metres the border is torn by.
        texture: (S, S) or (S, S, 3) pattern in [0, 1] sampled by uv, or None.
        alpha: opacity of the whole piece.
    """

    vertices: Tensor
    faces: Tensor
    uv: Tensor
    colour: Tensor
    edge: Tensor
    kind: str
    gloss: float = 0.1
    strands: float = 0.0
    fuzz: float = 0.0
    texture: np.ndarray | None = None
    alpha: float = 1.0


def smooth_field(rng: np.random.Generator, points: Tensor, scale: float, count: int = 40) -> Tensor:
    """A smooth random field (N,) of unit spread over points (N, 3): random plane waves of one wavelength (metres)."""
    k = torch.from_numpy(rng.normal(0, 1, (3, count)).astype(np.float32)) / scale
    phase = torch.from_numpy(rng.uniform(0, 2 * np.pi, count).astype(np.float32))
    return torch.cos(points @ k + phase).sum(1) * (2 / count) ** 0.5


def grid_faces(rows: int, columns: int, flip: bool = False) -> Tensor:
    """Triangles (2 (rows - 1) (columns - 1), 3) of a grid of vertices stored row by row; ``flip`` turns them over."""
    index = torch.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]
    faces = torch.cat([torch.stack([a, b, d], -1).reshape(-1, 3), torch.stack([b, c, d], -1).reshape(-1, 3)])
    return faces[:, [0, 2, 1]] if flip else faces


def _relax(offset: Tensor, faces: Tensor, keep: Tensor, steps: int) -> Tensor:
    """Average vertex values (V, 3) over their edges, only where ``keep``."""
    edges = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = torch.cat([edges, edges.flip(1)])
    count = torch.zeros(len(offset)).index_add_(0, edges[:, 0], torch.ones(len(edges))).clamp(min=1)
    for _ in range(steps):
        mean = torch.zeros_like(offset).index_add_(0, edges[:, 0], offset[edges[:, 1]]) / count[:, None]
        offset = torch.where(keep[:, None], mean, offset)
    return offset


def shell(
    stage: Stage,
    vertices: Tensor,
    inside: Tensor,
    thickness: Tensor,
    colour: tuple[float, float, float],
    kind: str,
    smooth: int = 0,
    **style: Any,
) -> Piece | None:
    """Lift the skin where ``inside`` (V,) > -5 mm by ``thickness`` (V,) along its normals.

    Args:
        vertices: (V, 3) the person's head in the rest orientation (after expression).
        smooth: how often the lifted surface is averaged, so that cloth spans hollows.

    Returns:
        The piece, or None when nothing is inside.
    """
    faces = stage.head.topology.faces
    outer = torch.from_numpy(stage.is_part("skin", "ear_left", "ear_right"))
    chosen = ((inside[faces] > -0.006).any(1)) & outer[faces].all(1)
    if not bool(chosen.any()):
        return None
    faces = faces[chosen]
    normals = vertex_normals(vertices[None], stage.head.topology.faces)[0]
    lifted = vertices + normals * thickness[:, None]
    if smooth:
        lifted = _relax(lifted, faces, inside > -0.002, smooth)
    used, local = torch.unique(faces, return_inverse=True)
    return Piece(
        lifted[used], local, stage.head.topology.uv[used], torch.tensor(colour).expand(len(used), 3),
        inside[used], kind, **style,
    )  # fmt: skip
