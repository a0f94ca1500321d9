"""Pose from points without a guess: weak perspective in closed form, then perspective by POSIT."""

from __future__ import annotations

import torch
from torch import Tensor

from facezoo.errors import InputError

_PASSES = 5


def initial_pose(vertices: Tensor, rays: Tensor, weight: Tensor, *, robust: bool = False) -> tuple[Tensor, Tensor]:
    """Find rotation and translation from 3D-2D pairs, for any orientation of the head.

    The affine camera that maps vertices to rays is a linear least-squares problem; its two rows, made orthonormal, are
    the rotation, their length is focal length over depth. POSIT (DeMenthon & Davis 1995) then corrects the rays for
    the depth of each vertex and repeats, which leads to the perspective solution. Points on a plane leave the sign of
    the tilt open; a head is not one.

    Args:
        vertices: (B or 1, 3, N) head frame, metres.
        rays: (B, 2, N) X/Z, Y/Z of the points, i.e. pixels through the inverse of K.
        weight: (B, N) >= 0.
        robust: also re-weight by the distance to the current solution (Cauchy, scale from the median).

    Returns:
        R (B, 3, 3) and t (B, 3), head to camera in OpenCV axes.

    Raises:
        InputError: the points of a face coincide.
    """
    batch = len(rays)
    vertices = vertices.expand(batch, -1, -1)
    total = weight.sum(1)[:, None, None]
    centre = (weight[:, None] * vertices).sum(2, keepdim=True) / total
    # Centred and scaled to unit size: four columns of similar length for the 4 x 4 normal equations.
    local = vertices - centre
    size = ((weight[:, None] * local.square()).sum((1, 2), keepdim=True) / total).sqrt()
    local = torch.cat((local / size, torch.ones_like(local[:, :1])), 1)  # (B, 4, N)
    ridge = 1e-6 * torch.eye(4, dtype=rays.dtype, device=rays.device)
    stretch, used = torch.ones_like(rays[:, :1]), weight / total[..., 0]
    base = used
    affine = rays.new_zeros(batch, 2, 4)
    rotation, depth = rays.new_zeros(batch, 3, 3), rays.new_ones(batch)
    for turn in range(_PASSES + (_PASSES if robust else 0)):
        weighted = used[:, None] * local
        goal = rays * stretch
        affine = torch.linalg.solve(weighted @ local.mT + ridge, weighted @ goal.mT).mT
        rotation, scale = _nearest_rotation(affine[:, :, :3])
        if not bool((scale > 1e-9).all()):
            bad = (~(scale > 1e-9)).nonzero()[:, 0].tolist()
            raise InputError(f"the points of face {bad} coincide or make no face: no pose can be found.")
        depth = size[:, 0, 0] / scale  # rays are size / depth for a vertex at unit distance
        stretch = 1 + scale[:, None, None] * (rotation[:, 2:] @ local[:, :3])
        stretch = stretch.clamp(min=0.1)
        if robust:
            miss = (affine @ local - goal).square().sum(1)
            seen = torch.where(weight > 0, miss, torch.nan)
            spread = seen.nanmedian(1, keepdim=True).values.clamp(min=torch.finfo(rays.dtype).tiny)
            used = base / (1 + miss / (4 * spread))
            used = used / used.sum(1, keepdim=True)
        del turn
    shift = torch.cat((affine[:, :, 3] * depth[:, None], depth[:, None]), 1)
    return rotation, shift - (rotation @ centre).squeeze(2)


def _nearest_rotation(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rotation (B, 3, 3) whose first two rows are nearest to ``rows`` (B, 2, 3) up to a scale (B,)."""
    u, singular, vh = torch.linalg.svd(rows, full_matrices=False)
    top = u @ vh
    return torch.cat((top, torch.linalg.cross(top[:, :1], top[:, 1:])), 1), singular.mean(1)
