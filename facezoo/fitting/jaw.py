"""Derivative of a rotation matrix by its axis-angle vector."""

from __future__ import annotations

import torch
from torch import Tensor

from facezoo.geometry.rotations import skew

_SMALL = 1e-2  # squared radians: above it the closed forms keep their digits in float32


def jaw_derivatives(v: Tensor) -> Tensor:
    """Return ∂R/∂v_k for R = exp([v]×) = I + a [v]× + b (v vᵀ - |v|² I), exact also at zero.

    a = sin θ / θ and b = (1 - cos θ) / θ² are differentiated by θ².

    Args:
        v: (B, 3) radians, below 2π.

    Returns:
        (B, 3, 3, 3), [:, k] = ∂R/∂v_k.
    """
    sq = v.square().sum(1, keepdim=True)
    small = sq < _SMALL
    safe = torch.where(small, 1.0, sq)
    angle = safe.sqrt()
    half = 0.5 * angle
    a = torch.where(small, 1 - sq / 6 * (1 - sq / 20 * (1 - sq / 42 * (1 - sq / 72))), angle.sin() / angle)
    b = torch.where(
        small, 0.5 - sq / 24 * (1 - sq / 30 * (1 - sq / 56 * (1 - sq / 90))), 2 * (half.sin() / angle).square()
    )
    da = torch.where(small, -1 / 6 + sq / 60 * (1 - sq / 28 * (1 - sq / 54)), (angle.cos() - a) / (2 * safe))
    db = torch.where(small, -1 / 24 + sq / 360 * (1 - sq / 37.3333333333 * (1 - sq / 67.5)), (0.5 * a - b) / safe)
    eye = torch.eye(3, dtype=v.dtype, device=v.device)
    cross = skew(v)
    square = v[:, :, None] * v[:, None, :] - sq[..., None] * eye
    change = 2 * (da[..., None] * cross + db[..., None] * square)  # both by θ², whose derivative is 2 v_k
    # ∂(v vᵀ - |v|² I)/∂v_k = e_k vᵀ + v e_kᵀ - 2 v_k I
    outer = eye[None, :, :, None] * v[:, None, None, :]
    spread = outer + outer.mT - 2 * v[:, :, None, None] * eye
    return v[:, :, None, None] * change[:, None] + a[..., None, None] * skew(eye) + b[..., None, None] * spread
