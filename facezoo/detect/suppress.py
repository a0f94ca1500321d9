"""Keep one box a face."""

from __future__ import annotations

import torch
from torch import Tensor

from facezoo.detect.base import Detections


def overlaps(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Measure how much boxes (N, 4) and (M, 4) have in common.

    Written out because importing torchvision.ops for it takes longer than detecting.

    Returns:
        Intersection over union (N, M), and intersection over the smaller of the two boxes (N, M).
    """
    low = torch.maximum(a[:, None, :2], b[None, :, :2])
    high = torch.minimum(a[:, None, 2:], b[None, :, 2:])
    common = (high - low).clamp(min=0).prod(-1)
    area_a, area_b = ((box[:, 2:] - box[:, :2]).clamp(min=0).prod(1) for box in (a, b))
    union = area_a[:, None] + area_b - common
    smaller = torch.minimum(area_a[:, None], area_b[None])
    return common / union.clamp(min=1e-12), common / smaller.clamp(min=1e-12)


def survivors(detections: Detections, iou: float = 0.4, inside: float = 0.7) -> Tensor:
    """Choose the boxes that no better box claims, best first.

    Besides the usual non-maximum suppression by intersection over union, a box that lies mostly inside a better one,
    or around it, goes too: two heads do not nest.

    Args:
        detections: any order.
        iou: largest allowed intersection over union.
        inside: largest allowed share of the smaller box that two boxes have in common.

    Returns:
        (K,) long rows of ``detections``, scores falling.
    """
    order = torch.sort(detections.scores, descending=True, stable=True).indices
    boxes = detections.boxes[order]
    union, smaller = overlaps(boxes, boxes)
    clash = (union > iou) | (smaller > inside)
    kept: list[int] = []
    for i in range(len(boxes)):
        if not bool(clash[i, kept].any()):
            kept.append(i)
    return order[kept]


def suppress(detections: Detections, iou: float = 0.4, inside: float = 0.7) -> Detections:
    """Drop boxes that overlap a better one; see :func:`survivors`."""
    rows = survivors(detections, iou, inside)
    return Detections(detections.boxes[rows], detections.scores[rows])
