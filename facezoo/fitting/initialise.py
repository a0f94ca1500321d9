"""Pose from points without a guess: weak perspective in closed form, then perspective by POSIT."""

from __future__ import annotations

import torch
from torch import Tensor

from facezoo.errors import InputError

_PASSES, _ROBUST_PASSES = 2, 10


def initial_pose(
    vertices: Tensor, rays: Tensor, weight: Tensor, *, robust: bool = False
) -> tuple[Tensor, Tensor]:
    """Find rotation and translation from 3D-2D pairs, for any orientation of the head.

    The affine camera that maps vertices to rays is a linear least-squares problem; its two rows, made
    orthonormal, are the rotation, their length is focal length over depth. POSIT (DeMenthon & Davis 1995)
    then corrects the rays for the depth of each vertex and repeats, which leads to the perspective solution.
    Points on a plane leave the sign of the tilt open; a head is not one.

    Args:
        vertices: (B, 3, N) head frame, metres.
        rays: (B, 2, N) X/Z, Y/Z of the points, i.e. pixels through the inverse of K.
        weight: (B, N) >= 0.
        robust: also re-weight by the distance to the current solution (Cauchy, scale from the median).

    Returns:
        R (B, 3, 3) and t (B, 3), head to camera in OpenCV axes.

    Raises:
        InputError: the points of a face coincide.
    """
    share = (weight / weight.sum(1, keepdim=True))[:, None]
    centre = (share * vertices).sum(2, keepdim=True)
    # Centred and scaled to unit size: four columns of similar length for the 4 x 4 normal equations.
    local = vertices - centre
    size = (share * local.square()).sum((1, 2), keepdim=True).sqrt()
    local = torch.cat((local / size, torch.ones_like(local[:, :1])), 1)  # (B, 4, N)
    inverse = _weighted_inverse(local, share)
    goal, used = rays, share
    rotation, scale, affine = _camera_rows(goal @ inverse)
    for _ in range(_ROBUST_PASSES if robust else _PASSES):
        # seen from the perspective camera, a vertex nearer by dz is larger by its share of the depth
        stretch = (rotation[:, 2:] @ local[:, :3]).mul_(scale).add_(1).clamp_(min=0.1)
        goal = rays * stretch
        if robust:
            miss = (affine @ local - goal).square().sum(1, keepdim=True)
            seen = torch.where(share > 0, miss, torch.nan)
            spread = seen.nanmedian(2, keepdim=True).values.clamp(min=torch.finfo(rays.dtype).tiny)
            used = share / (1 + miss / (4 * spread))
            inverse = _weighted_inverse(local, used)
        rotation, scale, affine = _camera_rows(goal @ inverse)
    good = scale[:, 0, 0] > 1e-7
    if not bool(good.all()):
        raise InputError(
            f"the points of face {(~good).nonzero()[:, 0].tolist()} coincide or are mixed up: no pose can be found."
        )
    depth = size / scale  # a ray's length is that of its vertex over the depth
    shift = torch.cat((affine[:, :, 3:] * depth, depth), 1)
    return rotation, (shift - rotation @ centre).squeeze(2)


def _weighted_inverse(local: Tensor, share: Tensor) -> Tensor:
    """Return (B, N, 4), which turns goals (B, 2, N) into the least-squares affine camera (B, 2, 4)."""
    ridge = 1e-6 * torch.eye(4, dtype=local.dtype, device=local.device)  # keeps flat sets of points solvable
    weighted = share * local
    return torch.linalg.solve(weighted @ local.mT + ridge, weighted).mT


def _camera_rows(affine: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Split affine cameras (B, 2, 4) into the nearest rotation (B, 3, 3), the scale (B, 1, 1) and themselves."""
    u, singular, vh = torch.linalg.svd(affine[:, :, :3], full_matrices=False)
    top = u @ vh
    third = torch.linalg.cross(top[:, :1], top[:, 1:])
    return torch.cat((top, third), 1), singular.mean(1)[:, None, None], affine
