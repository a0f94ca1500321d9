"""Pose decodings of 3DDFA, 3DDFA_V2 and SynergyNet, quirks included, to reproduce their numbers.

Use :func:`facezoo.geometry.rotations.matrix_to_euler` for anything else: its yaw equals the label of
AFLW2000-3D, these decodings' yaw does not (parity pack ``camera-pose``: up to 5.9° off with a perfect
rotation).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from facezoo.errors import InputError, unknown_name

Decoding = Literal["3ddfa_v1", "3ddfa_v2", "synergynet"]
_DECODINGS = ("3ddfa_v1", "3ddfa_v2", "synergynet")


def split_pose_matrix(pose: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Split 3×4 matrices into scale, rotation and translation as the official ``P2sRt`` does.

    The first two rows are normalised on their own and never made orthogonal; the third is their cross
    product.

    Args:
        pose: (..., 3, 4), weak perspective ``[s R | t]``.

    Returns:
        scale (...), mean of the two row lengths; R (..., 3, 3); t (..., 3).
    """
    if pose.shape[-2:] != (3, 4):
        raise InputError(f"pose must end in shape (3, 4), got {tuple(pose.shape)}.")
    rows = pose[..., :2, :3]
    lengths = rows.norm(dim=-1, keepdim=True)
    r0, r1 = (rows / lengths).unbind(-2)
    return lengths.mean((-2, -1)), torch.stack((r0, r1, torch.linalg.cross(r0, r1)), -2), pose[..., 3]


def decode_euler_compat(matrix: Tensor, decoding: Decoding) -> tuple[Tensor, Tensor, Tensor]:
    """Return the three angles of ``matrix2angle`` in its order (the papers call them yaw, pitch, roll).

    Args:
        matrix: (..., 3, 3) as from :func:`split_pose_matrix`.
        decoding: ``"3ddfa_v1"`` and ``"synergynet"`` return the wrong sign at R20 = ±1 exactly,
            ``"3ddfa_v2"`` snaps to ±90° when |R20| > 0.998. ``"synergynet"`` reads the transposed entries for
            the last two angles.

    Returns:
        Three tensors (...), radians.
    """
    if decoding not in _DECODINGS:
        raise unknown_name("pose decoding", str(decoding), _DECODINGS)
    m, r20 = matrix, matrix[..., 2, 0]
    # The official gimbal branch: z = 0, x = ±π/2, y from R01, R02 (its sign is the quirk).
    sign = torch.sign(r20) if decoding == "3ddfa_v2" else -torch.sign(r20)
    locked = r20.abs() > 0.998 if decoding == "3ddfa_v2" else r20.abs() == 1
    first = torch.asin(r20.clamp(-1, 1))
    c = torch.cos(first)
    upper, left = (m[..., 1, 2], m[..., 0, 1]) if decoding == "synergynet" else (m[..., 2, 1], m[..., 1, 0])
    second = torch.atan2(upper / c, m[..., 2, 2] / c)
    third = torch.atan2(left / c, m[..., 0, 0] / c)
    positive = torch.atan2(m[..., 0, 1], m[..., 0, 2])
    negative = torch.atan2(-m[..., 0, 1], -m[..., 0, 2])
    pole_second = torch.where(r20 < 0, positive, negative)
    return (
        torch.where(locked, sign * (torch.pi / 2), first),
        torch.where(locked, pole_second, second),
        torch.where(locked, torch.zeros_like(third), third),
    )
