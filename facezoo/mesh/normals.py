"""Face and vertex normals of a triangle mesh, batched and differentiable."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def face_normals(vertices: Tensor, faces: Tensor, *, unit: bool = True, eps: float = 1e-12) -> Tensor:
    """Compute one normal a face, pointing to the side from which the corners run counter-clockwise.

    Args:
        vertices: positions ``(..., V, 3)``.
        faces: vertex ids ``(F, 3)`` long, shared by the whole batch.
        unit: normalise; otherwise a normal's length is twice the area of its face.
        eps: lengths below this count as zero (``unit`` only); a degenerate face gets the zero vector.

    Returns:
        Normals ``(..., F, 3)``.
    """
    a, b, c = (vertices.index_select(-2, faces[:, k]) for k in range(3))
    cross = torch.linalg.cross(b - a, c - a)
    return F.normalize(cross, dim=-1, eps=eps) if unit else cross


def vertex_normals(vertices: Tensor, faces: Tensor, *, eps: float = 1e-12) -> Tensor:
    """Compute unit vertex normals as the area-weighted mean of the incident faces' normals.

    The sum runs over unnormalised cross products, so a face counts by its area. Metric vertices of a dense
    mesh have areas near 1e-7 square metres: keep ``eps`` far below that. DECA's code uses 1e-6.

    Args:
        vertices: positions ``(..., V, 3)``.
        faces: vertex ids ``(F, 3)`` long.
        eps: sums shorter than this are divided by ``eps`` instead of by their length.

    Returns:
        Normals ``(..., V, 3)``; zero at vertices without a face.
    """
    corners = face_normals(vertices, faces, unit=False)
    total = torch.zeros_like(vertices)
    for k in range(3):
        total = total.index_add(-2, faces[:, k], corners)
    return F.normalize(total, dim=-1, eps=eps)
