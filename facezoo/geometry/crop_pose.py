"""Pose as a network sees it in a crop, and its exact relation to a perspective camera.

A crop shows a head the way a camera turned toward it would: a head off the photo's axis looks rotated
although it is not. So the network estimates the rotation seen along the ray to the head, the projected head
origin, and the size; the camera of the crop turns these into ``R, t``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from facezoo.geometry.rotations import axis_angle_to_matrix, matrix_from_6d, matrix_to_6d


def encode_pose(R: Tensor, t: Tensor, K: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Express head-to-camera poses in crop terms.

    Args:
        R: (B, 3, 3) head to camera.
        t: (B, 3) metres.
        K: (B, 3, 3) intrinsics of the crop in crop pixels (no skew, square pixels).
        size: side of the crop in pixels.

    Returns:
        rotation6d (B, 6) of the rotation seen along the ray to the head origin, and placement (B, 3): x, y of
        the projected head origin in crop units (0 = centre, ±0.5 = border) and the log of crop sides per
        metre there.
    """
    homogeneous = (K @ t.unsqueeze(-1)).squeeze(-1)
    centre = homogeneous[:, :2] / homogeneous[:, 2:] / size - 0.5
    log_scale = torch.log(K[:, 0, 0] / (t[:, 2] * size))
    seen = _ray_rotation(t).mT @ R
    return matrix_to_6d(seen), torch.cat([centre, log_scale.unsqueeze(-1)], -1)


def decode_pose(rotation6d: Tensor, placement: Tensor, K: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Invert :func:`encode_pose` for a crop with intrinsics ``K``; return R (B, 3, 3) and t (B, 3)."""
    pixel = (placement[:, :2] + 0.5) * size
    homogeneous = torch.cat([pixel, torch.ones_like(pixel[:, :1])], -1).unsqueeze(-1)
    ray = torch.linalg.solve(K, homogeneous).squeeze(-1)  # z = 1
    t = ray * (K[:, 0, 0] / (placement[:, 2].exp() * size)).unsqueeze(-1)
    return _ray_rotation(t) @ matrix_from_6d(rotation6d), t


def split_crop_camera(K: Tensor, affine: Tensor) -> tuple[Tensor, Tensor]:
    """Turn a photo's intrinsics and a crop's similarity into the crop's own camera.

    Args:
        K: (B, 3, 3) photo intrinsics with square pixels.
        affine: (B, 2, 3) photo pixels to crop pixels, a similarity without reflection.

    Returns:
        K_crop (B, 3, 3) with square pixels and no skew, and the in-plane rotation Q (B, 3, 3) of the camera:
        ``[affine; 0 0 1] K = K_crop Q``, so poses become ``Q R`` and ``Q t``.
    """
    zoom = torch.linalg.det(affine[:, :, :2]).clamp_min(1e-12).sqrt()
    turn = torch.zeros_like(K)
    turn[:, :2, :2] = affine[:, :, :2] / zoom[:, None, None]
    turn[:, 2, 2] = 1
    crop = torch.zeros_like(K)
    crop[:, 0, 0] = K[:, 0, 0] * zoom
    crop[:, 1, 1] = K[:, 1, 1] * zoom
    crop[:, :2, 2] = (affine[:, :, :2] @ K[:, :2, 2:]).squeeze(-1) + affine[:, :, 2]
    crop[:, 2, 2] = 1
    return crop, turn


def _ray_rotation(t: Tensor) -> Tensor:
    """Return the smallest rotation (B, 3, 3) that takes the optical axis to the direction of ``t``."""
    d = t / t.norm(dim=-1, keepdim=True)
    # axis = z × d, sin = |axis|, cos = d_z; the head is in front of the camera, so the angle stays below 90°.
    axis = torch.stack([-d[:, 1], d[:, 0], torch.zeros_like(d[:, 0])], -1)
    sine = axis.norm(dim=-1, keepdim=True)
    angle = torch.atan2(sine, d[:, 2:])
    return axis_angle_to_matrix(axis / sine.clamp_min(1e-12) * angle)
