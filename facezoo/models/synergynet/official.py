"""How the released SynergyNet code gets from a detection to a crop and from a crop to the picture, quirks included.

Only parity and comparisons with published numbers need it; predictions of this project use :class:`CropSpec`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facezoo.geometry.pose_compat import decode_euler_compat, split_pose_matrix


class OfficialPose(NamedTuple):
    """What the released demo reports.

    Attributes:
        matrix: (B, 3, 4) rotation and translation in the crop; not orthogonal where the network's is not.
        angles_deg: (B, 3) in the code's order: asin(R20), then the angles about x and z.
        translation: (B, 3) x and y moved to the picture without turning y, z as it was.
    """

    matrix: Tensor
    angles_deg: Tensor
    translation: Tensor


def enlarged_box(rect: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """Return the demo's square around a detection: side = 1.2 times the box's HEIGHT, half of it rounded down.

    Args:
        rect: x0, y0, x1, y1 in pixels.
    """
    x0, y0, x1, y1 = rect
    margin = 1.2 * (y1 - y0) // 2
    cx, cy = (x0 + x1) / 2, (y0 + y1) / 2
    return cx - margin, cy - margin, cx + margin, cy + margin


def cropped(image: NDArray[np.uint8], box: tuple[float, float, float, float]) -> NDArray[np.uint8]:
    """Cut a box out of (H, W, 3), black where it leaves the picture; bounds are rounded half to even."""
    x0, y0, x1, y1 = (round(float(v)) for v in box[:4])
    height, width = image.shape[:2]
    out = np.zeros((y1 - y0, x1 - x0, 3), np.uint8)
    left, top, right, bottom = max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)
    if left < right and top < bottom:
        out[top - y0 : bottom - y0, left - x0 : right - x0] = image[top:bottom, left:right]
    return out


def to_picture(points: Tensor, roi: Tensor, size: int = 120) -> Tensor:
    """Move points (B, N, 3) of the crop to the picture by boxes (B, 4); z is scaled by the mean of both factors."""
    low, scale = roi[:, None, :2], (roi[:, None, 2:4] - roi[:, None, :2]) / size
    return torch.cat([points[..., :2] * scale + low, points[..., 2:] * scale.mean(-1, keepdim=True)], -1)


def official_pose(pose: Tensor, roi: Tensor, size: int = 120) -> OfficialPose:
    """Decode poses (B, 3, 4) as the released code does.

    Args:
        pose: unwhitened.
        roi: (B, 4) boxes of the crops.
        size: side of the crop.
    """
    _, rotation, offset = split_pose_matrix(pose)
    angles = torch.stack(decode_euler_compat(rotation, "synergynet"), 1) * (180 / math.pi)
    moved = torch.cat([to_picture(offset[:, None], roi, size)[:, 0, :2], offset[:, 2:]], 1)
    return OfficialPose(torch.cat([rotation, offset[:, :, None]], 2), angles, moved)
