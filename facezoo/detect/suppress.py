"""Keep one box a face."""

from __future__ import annotations

import torch
from torch import Tensor

from facezoo.detect.base import Detections


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
    from torchvision.ops import nms  # a second of import, paid only where boxes compete

    order = nms(detections.boxes, detections.scores, iou)
    boxes = detections.boxes[order]
    shared = _intersection(boxes) / torch.minimum(*_pairs(_area(boxes))).clamp(min=1e-12)
    kept: list[int] = []
    for i in range(len(boxes)):
        if not kept or float(shared[i, kept].max()) <= inside:
            kept.append(i)
    return order[kept]


def suppress(detections: Detections, iou: float = 0.4, inside: float = 0.7) -> Detections:
    """Drop boxes that overlap a better one; see :func:`survivors`."""
    rows = survivors(detections, iou, inside)
    return Detections(detections.boxes[rows], detections.scores[rows])


def _area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1)


def _pairs(values: Tensor) -> tuple[Tensor, Tensor]:
    return values[:, None].expand(len(values), -1), values[None].expand(len(values), -1)


def _intersection(boxes: Tensor) -> Tensor:
    low = torch.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    return (high - low).clamp(min=0).prod(-1)
