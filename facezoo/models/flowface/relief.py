"""A mesh straight from the network: positions with depths are a relief, lacking only its scale."""

from __future__ import annotations

import torch
from torch import Tensor


def relief_to_mesh(
    points: Tensor, depth: Tensor, K: Tensor, template: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Lift positions and relative depths to a mesh in the head frame.

    With origin depth z₀, a vertex has depth z₀ (1 + d / f) and lies at z₀ (1 + d / f) K⁻¹ (x, y, 1): all is known up to
    z₀. A similarity to the mean head gives it, and the pose.

    Args:
        points: (B, V, 2) pixels.
        depth: (B, V) pixels: depth behind the head's origin, times f / z₀.
        K: (B, 3, 3) with square pixels.
        template: (V, 3) mean head, metres.
        weight: (V,) or (B, V) trust in each vertex for scale and pose.

    Returns:
        vertices (B, V, 3) metres in the head frame, R (B, 3, 3) and t (B, 3) head to camera.
    """
    rays = torch.cat((points, torch.ones_like(points[..., :1])), 2) @ torch.linalg.inv(K).mT
    shape = rays * (1 + depth / K[:, 0, 0, None])[..., None]
    share = (weight / weight.sum(-1, keepdim=True)).expand(len(points), -1)[..., None]
    centre, middle = (share * shape).sum(1, keepdim=True), (share * template).sum(1, keepdim=True)
    away, goal = shape - centre, template - middle
    u, s, vh = torch.linalg.svd((share * away).mT @ goal)  # camera from head
    sign = torch.ones_like(s)
    sign[:, 2] = torch.linalg.det(u @ vh).sign()
    R = (u * sign[:, None]) @ vh
    scale = (s * sign).sum(1) / (share * away.square()).sum((1, 2))  # metres a unit of z₀ = 1
    camera = shape * scale[:, None, None]
    t = (centre * scale[:, None, None] - middle @ R.mT)[:, 0]
    return (camera - t[:, None]) @ R, R, t
