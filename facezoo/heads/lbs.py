"""FLAME's linear blend skinning as pure functions (Li et al. 2017, eqs. 1-4).

Shape blend -> joints from the SHAPED head -> pose correctives -> kinematic chain -> skinning. Every function
is batched, differentiable, and works in float32 and float64 on any device.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def blend(base: Tensor, directions: Tensor, coefficients: Tensor | None) -> Tensor:
    """Add a linear combination of displacement fields.

    Args:
        base: (V, 3) or (B, V, 3).
        directions: (V, 3, n), contiguous so that the multiply reads it in order.
        coefficients: (B, k) with k <= n; only the first k columns are used. None adds nothing.

    Returns:
        (B, V, 3), or ``base`` itself for None.
    """
    if coefficients is None:
        return base
    matrix = directions.flatten(0, 1)[:, : coefficients.shape[-1]]
    return base + F.linear(coefficients, matrix).unflatten(-1, (-1, 3))


def pose_feature(rotations: Tensor) -> Tensor:
    """Return vec(R_j - I), row-major, of every joint but the root.

    Args:
        rotations: (B, J, 3, 3).

    Returns:
        (B, 9 (J - 1)).
    """
    eye = torch.eye(3, dtype=rotations.dtype, device=rotations.device)
    return (rotations[:, 1:] - eye).flatten(1)


def kinematic_chain(
    rotations: Tensor, joints: Tensor, parents: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Walk the joint tree from the root.

    Args:
        rotations: (B, J, 3, 3) local rotations.
        joints: (B, J, 3) rest joints.
        parents: parent of each joint, -1 for the root, each parent before its children.

    Returns:
        Posed joints (B, J, 3); world rotations (B, J, 3, 3); the translations (B, J, 3) with which
        ``x -> R_j x + t_j`` moves a REST point along with joint j (the joint's own rest position taken out).
    """
    world = [rotations[:, 0]]
    posed = [joints[:, 0]]
    for j in range(1, len(parents)):
        p = parents[j]
        world.append(world[p] @ rotations[:, j])
        posed.append(posed[p] + (world[p] @ (joints[:, j] - joints[:, p])[..., None])[..., 0])
    world_rotations = torch.stack(world, 1)
    posed_joints = torch.stack(posed, 1)
    offsets = posed_joints - (world_rotations @ joints[..., None])[..., 0]
    return posed_joints, world_rotations, offsets


def skin(vertices: Tensor, weights: Tensor, rotations: Tensor, offsets: Tensor) -> Tensor:
    """Move every vertex by the weighted mean of its joints' transforms.

    Args:
        vertices: (B, V, 3) rest positions.
        weights: (V, J), rows sum to one.
        rotations: (B, J, 3, 3) world rotations.
        offsets: (B, J, 3) from :func:`kinematic_chain`.

    Returns:
        (B, V, 3).
    """
    transforms = torch.cat([rotations, offsets[..., None]], -1).flatten(2)  # (B, J, 12)
    blended = (weights @ transforms).unflatten(-1, (3, 4))  # (B, V, 3, 4)
    return (blended[..., :3] * vertices[..., None, :]).sum(-1) + blended[..., 3]
