"""Rotations: axis-angle, matrices, the 6D form and the face benchmarks' Euler angles.

All matrices act on column vectors, ``y = R x``. Everything is batched over leading dimensions, works in
float32 and float64 on any device and has finite gradients everywhere but at the poles that a docstring names.
"""

from __future__ import annotations

import torch
from torch import Tensor

from facezoo.errors import InputError

# Below this squared angle the closed forms lose digits in float32 and the Taylor series is exact to rounding.
_SMALL = 1e-4


def _check_last(value: Tensor, shape: tuple[int, ...], name: str) -> None:
    if value.shape[-len(shape) :] != shape:
        raise InputError(f"{name} must end in shape {shape}, got {tuple(value.shape)}.")


def skew(v: Tensor) -> Tensor:
    """Return the matrix K with ``K x = v × x``.

    Args:
        v: vectors (..., 3).

    Returns:
        (..., 3, 3).
    """
    _check_last(v, (3,), "v")
    x, y, z = v.unbind(-1)
    o = torch.zeros_like(x)
    return torch.stack((o, -z, y, z, o, -x, -y, x, o), -1).reshape(*v.shape, 3)


def axis_angle_to_matrix(v: Tensor) -> Tensor:
    """Turn axis-angle vectors into rotation matrices (Rodrigues), smooth at the identity.

    Args:
        v: (..., 3), direction = axis, length = angle in radians.

    Returns:
        (..., 3, 3).
    """
    _check_last(v, (3,), "axis-angle")
    sq = v.square().sum(-1)
    small = sq < _SMALL
    safe = torch.where(small, torch.ones_like(sq), sq)
    angle = safe.sqrt()
    # sin(a)/a and (1 - cos(a))/a², written in a² so that derivatives of any order exist at 0. 2 sin²(a/2)
    # does not cancel.
    sinc = torch.where(small, 1 - sq / 6 * (1 - sq / 20 * (1 - sq / 42)), angle.sin() / angle)
    versine = torch.where(
        small, 0.5 - sq / 24 * (1 - sq / 30 * (1 - sq / 56)), 2 * (0.5 * angle).sin().square() / safe
    )
    k = skew(v)
    eye = torch.eye(3, dtype=v.dtype, device=v.device)
    outer = v[..., :, None] * v[..., None, :]  # K² = v vᵀ - |v|² I
    return eye + sinc[..., None, None] * k + versine[..., None, None] * (outer - sq[..., None, None] * eye)


def matrix_to_axis_angle(matrix: Tensor) -> Tensor:
    """Turn rotation matrices into axis-angle vectors of length at most π.

    Goes through the best conditioned of the four quaternion formulas, so it is accurate at 0 and at π. The
    sign of the axis is arbitrary at exactly π, where the gradient jumps.

    Args:
        matrix: rotations (..., 3, 3).

    Returns:
        (..., 3) radians.
    """
    _check_last(matrix, (3, 3), "matrix")
    m = matrix
    m00, m11, m22 = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    xw, yw, zw = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    xy, xz, yz = m[..., 1, 0] + m[..., 0, 1], m[..., 0, 2] + m[..., 2, 0], m[..., 2, 1] + m[..., 1, 2]
    # Row i is 4 q_i · q, for q = (w, x, y, z): all rows are parallel to q, the longest is the safest to
    # normalise.
    rows = torch.stack(
        (
            torch.stack((1 + m00 + m11 + m22, xw, yw, zw), -1),
            torch.stack((xw, 1 + m00 - m11 - m22, xy, xz), -1),
            torch.stack((yw, xy, 1 - m00 + m11 - m22, yz), -1),
            torch.stack((zw, xz, yz, 1 - m00 - m11 + m22), -1),
        ),
        -2,
    )
    best = rows.diagonal(dim1=-2, dim2=-1).argmax(-1)
    q = rows.gather(-2, best[..., None, None].expand(*best.shape, 1, 4)).squeeze(-2)
    q = q / q.norm(dim=-1, keepdim=True)
    q = torch.where(q[..., :1] < 0, -q, q)
    w, xyz = q[..., 0], q[..., 1:]
    sq = xyz.square().sum(-1)
    small = sq < _SMALL
    sine = torch.where(small, torch.ones_like(sq), sq).sqrt()
    safe_w = torch.where(small, w, torch.ones_like(w))
    ratio = sq / safe_w.square()
    series = (1 - ratio / 3 * (1 - ratio * 3 / 5 * (1 - ratio * 5 / 7))) / safe_w
    factor = 2 * torch.where(small, series, torch.atan2(sine, w) / sine)
    return factor[..., None] * xyz


def matrix_to_6d(matrix: Tensor) -> Tensor:
    """Keep the first two rows of rotation matrices (Zhou et al. 2019; pytorch3d's order).

    Args:
        matrix: (..., 3, 3).

    Returns:
        (..., 6) = first row, second row.
    """
    _check_last(matrix, (3, 3), "matrix")
    return matrix[..., :2, :].flatten(-2)


def matrix_from_6d(d6: Tensor) -> Tensor:
    """Orthonormalise two rows into rotation matrices by Gram-Schmidt (Zhou et al. 2019).

    Args:
        d6: (..., 6) two rows, any length; undefined when they are parallel or zero.

    Returns:
        (..., 3, 3).
    """
    _check_last(d6, (6,), "6D rotation")
    a, b = d6[..., :3], d6[..., 3:]
    r0 = torch.nn.functional.normalize(a, dim=-1)
    r1 = torch.nn.functional.normalize(b - (r0 * b).sum(-1, keepdim=True) * r0, dim=-1)
    return torch.stack((r0, r1, torch.linalg.cross(r0, r1)), -2)


def geodesic_angle(ra: Tensor, rb: Tensor) -> Tensor:
    """Return the angle between rotations, exact for tiny angles and near π.

    Uses ``2 asin(|Ra - Rb|_F / (2√2))`` for small and ``acos`` of the trace for large angles, joined by
    atan2.

    Args:
        ra: (..., 3, 3).
        rb: (..., 3, 3).

    Returns:
        (...) radians in [0, π]. The gradient at 0 and π does not exist.
    """
    _check_last(ra, (3, 3), "ra")
    _check_last(rb, (3, 3), "rb")
    half_sine = (ra - rb).square().sum((-2, -1)).div(8)  # sin²(angle / 2)
    half_cosine = (1 - half_sine).clamp(min=0)
    return 2 * torch.atan2(half_sine.sqrt(), half_cosine.sqrt())


def matrix_to_euler(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Split head rotations into the yaw, pitch and roll of AFLW2000-3D and 300W-LP.

    The matrix turns the head in axes x right, y up, z towards the viewer (identity = frontal, upright); a
    ``Camera.R`` has OpenCV axes, so use ``Camera.euler`` or ``diag(1, -1, -1) @ R``. The convention is
    ``R = Rx(pitch) Ry(yaw) Rz(roll)`` with all three matrices turning the negative mathematical way: yaw > 0
    looks at the image's left, pitch > 0 looks up, roll > 0 tilts the crown to the image's right. Verified
    against the landmarks of real files, see the parity pack ``camera-pose``.

    Args:
        matrix: (..., 3, 3).

    Returns:
        yaw in [-π/2, π/2], pitch and roll in (-π, π], each (...), radians. At yaw = ±π/2 only a combination
        of pitch and roll is defined and roll is set to zero; gradients do not exist there.
    """
    _check_last(matrix, (3, 3), "matrix")
    m = matrix
    cosine = torch.hypot(m[..., 0, 0], m[..., 0, 1])
    yaw = torch.atan2(-m[..., 0, 2], cosine)
    locked = cosine < 1e-6
    pitch = torch.where(
        locked, torch.atan2(-m[..., 2, 1], m[..., 1, 1]), torch.atan2(m[..., 1, 2], m[..., 2, 2])
    )
    roll = torch.where(locked, torch.zeros_like(yaw), torch.atan2(m[..., 0, 1], m[..., 0, 0]))
    return yaw, pitch, roll


def euler_to_matrix(yaw: Tensor, pitch: Tensor, roll: Tensor) -> Tensor:
    """Build head rotations from the angles of :func:`matrix_to_euler`.

    Args:
        yaw, pitch, roll: (...) radians.

    Returns:
        (..., 3, 3).
    """
    yaw, pitch, roll = torch.broadcast_tensors(yaw, pitch, roll)
    (sy, cy), (sp, cp), (sr, cr) = ((a.sin(), a.cos()) for a in (yaw, pitch, roll))
    entries = (
        cy * cr, cy * sr, -sy,
        sp * sy * cr - cp * sr, sp * sy * sr + cp * cr, sp * cy,
        cp * sy * cr + sp * sr, cp * sy * sr - sp * cr, cp * cy,
    )  # fmt: skip
    return torch.stack(entries, -1).reshape(*yaw.shape, 3, 3)
