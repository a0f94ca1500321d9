"""Boxes that the caller gives instead of a detector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facezoo.detect.base import Detections
from facezoo.errors import InputError

BoxesLike: TypeAlias = Tensor | NDArray[np.generic] | Sequence[float] | Sequence[Sequence[float]]


def given_boxes(boxes: BoxesLike, size: tuple[int, int], name: str) -> Detections:
    """Check the boxes of one image.

    Args:
        boxes: (4,) or (N, 4): x0, y0, x1, y1 in pixels, tight around brows to chin; N = 0 is no face.
        size: (height, width) of the image.
        name: what to call the image in a message.

    Returns:
        The boxes in the order given, score 1.

    Raises:
        InputError: not numbers of that shape, not finite, empty, or wholly outside the image.
    """
    try:
        values = torch.as_tensor(np.asarray(boxes, dtype=np.float32))
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"boxes of {name} must be numbers of shape (4,) or (N, 4): {error}.") from error
    if values.numel() == 0:
        return Detections.none()
    if values.dim() == 1:
        values = values[None]
    if values.dim() != 2 or values.shape[1] != 4:
        raise InputError(f"boxes of {name} must have shape (4,) or (N, 4), got {tuple(values.shape)}.")
    height, width = size
    for row in values:
        text = "(" + ", ".join(f"{v:g}" for v in row.tolist()) + ")"
        if not bool(torch.isfinite(row).all()):
            raise InputError(f"box {text} of {name} holds NaN or infinite values.")
        x0, y0, x1, y1 = row.tolist()
        if x1 - x0 < 1 or y1 - y0 < 1:
            raise InputError(
                f"box {text} of {name} is empty: a box is (x0, y0, x1, y1) in pixels with x1 > x0 and y1 > y0. "
                "From (x, y, width, height) use (x, y, x + width, y + height)."
            )
        if x0 >= width or y0 >= height or x1 <= 0 or y1 <= 0:
            raise InputError(f"box {text} lies outside {name}, which is {width} × {height} pixels.")
    return Detections(values, torch.ones(len(values)))
