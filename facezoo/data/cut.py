"""One face cut out of a photograph as the samples of a training have it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from facezoo.data.images import ImageArray
from facezoo.geometry.crop import CropSpec

SCALE = 1.9  # the face fills as much of the picture as the stream's: 46 to 60 %


def sample_affine(boxes: Tensor, size: int) -> Tensor:
    """Return the maps (B, 2, 3) from photographs to their samples of ``size`` pixels, for tight boxes (B, 4)."""
    return CropSpec(size, scale=SCALE, padding="edge").affine(boxes)


def cut_face(pixels: ImageArray, box: Tensor, size: int) -> Tensor:
    """Cut one face out, antialiased; the border's pixels go on where the photograph ends.

    Args:
        pixels: (H, W, 3) uint8.
        box: (4,) tight box in its pixels.
        size: side of the result.

    Returns:
        (3, size, size) uint8.
    """
    spec = CropSpec(size, scale=SCALE, padding="edge")
    x0, y0, x1, y1 = spec.square(box[None])[0].tolist()
    height, width = pixels.shape[:2]
    # Whole blocks of pixels are averaged when shrinking: the window begins where one of the whole picture does.
    block = max(1, int((x1 - x0) / size))
    left, right = window(x0, x1, block, width)
    top, bottom = window(y0, y1, block, height)
    part = torch.from_numpy(pixels[top:bottom, left:right]).permute(2, 0, 1).float() / 255
    moved = box - box.new_tensor([left, top, left, top])
    return (spec.crop(part, moved[None])[0] * 255).round().clamp(0, 255).to(torch.uint8)


def window(low: float, high: float, block: int, extent: int) -> tuple[int, int]:
    """Return the pixels to keep of what a square from ``low`` to ``high`` covers along one axis.

    Args:
        low, high: the square's ends in pixels.
        block: pixels that the resampler averages; the window begins at a block's edge and goes four blocks beyond.
        extent: pixels that there are.

    Returns:
        First pixel, and the one behind the last: at least one, even beside the picture.
    """
    first = min(max(math.floor(low) - 4 * block, 0), extent - 1) // block * block
    return first, max(min(math.ceil(high) + 4 * block, extent), first + 1)
