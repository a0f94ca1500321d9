"""Normals of a surface with a height map on it, without building the finer mesh (Blinn 1978, bump mapping).

A displacement ``d`` along the normal turns it by the surface gradient of ``d``: ``n - grad d``, where
``grad d = g^-1 (d_u, d_v) . (P_u, P_v)`` with the texture tangents ``P_u, P_v`` in metres and their metric ``g``. Terms
of the order of ``d`` times the curvature are left out: a hundredth for a millimetre on a face.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def texture_tangents(vertices: Tensor, faces: Tensor, uv: Tensor, uv_faces: Tensor) -> Tensor:
    """Return how the surface moves with the texture coordinates.

    Args:
        vertices: (V, 3) metres.
        faces: (F, 3) corners in the vertices.
        uv: (T, 2) texture coordinates.
        uv_faces: (F, 3) corners in uv.

    Returns:
        (T, 6): metres per unit of u, then of v, the mean over the faces at each texture corner weighted by their
        texture area; 0 where no face has any.
    """
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    p, q, r = (uv[uv_faces[:, k]] for k in range(3))
    (du1, dv1), (du2, dv2) = (q - p).unbind(1), (r - p).unbind(1)
    e1, e2 = b - a, c - a
    # The inverse of the texture edges times their determinant, so that the weight is already in.
    along_u = dv2[:, None] * e1 - dv1[:, None] * e2
    along_v = du1[:, None] * e2 - du2[:, None] * e1
    area = du1 * dv2 - du2 * dv1
    weighted = torch.cat([along_u, along_v, area[:, None]], 1) * area.sign()[:, None]
    total = weighted.new_zeros(len(uv), 7)
    for k in range(3):
        total.index_add_(0, uv_faces[:, k], weighted)
    area = total[:, 6:]
    return torch.where(area > 1e-12, total[:, :6] / area.clamp(min=1e-12), 0.0)


def texture_gradient(height: Tensor) -> Tensor:
    """Differentiate a map (H, W), row 0 at v = 1, by central differences: (2, H, W), metres per unit of u and of v."""
    h, w = height.shape
    padded = functional.pad(height[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
    return torch.stack([
        (padded[1:-1, 2:] - padded[1:-1, :-2]) * (w / 2),
        (padded[:-2, 1:-1] - padded[2:, 1:-1]) * (h / 2),
    ])  # fmt: skip


def bumped_normals(normals: Tensor, tangents: Tensor, gradient: Tensor) -> Tensor:
    """Turn normals by a height's gradient.

    Args:
        normals: (N, 3) unit.
        tangents: (N, 6) of :func:`texture_tangents`, interpolated.
        gradient: (N, 2) of :func:`texture_gradient`, looked up.

    Returns:
        (N, 3) unit; the given normal where the texture has no extent.
    """
    u, v = tangents[:, :3], tangents[:, 3:]
    # Interpolated tangents lean out of the surface a little.
    u = u - (u * normals).sum(1, keepdim=True) * normals
    v = v - (v * normals).sum(1, keepdim=True) * normals
    uu, uv, vv = (u * u).sum(1), (u * v).sum(1), (v * v).sum(1)
    determinant = uu * vv - uv * uv
    # A texel squeezed to nothing would turn a normal wildly.
    fine = determinant > 1e-3 * (uu * vv).clamp(min=1e-12)
    inverse = torch.where(fine, 1 / torch.where(fine, determinant, 1.0), 0.0)
    du, dv = gradient.unbind(1)
    along_u, along_v = (vv * du - uv * dv) * inverse, (uu * dv - uv * du) * inverse
    return functional.normalize(normals - along_u[:, None] * u - along_v[:, None] * v, dim=1)
