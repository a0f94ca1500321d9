"""Is it a face? What dense-1609's confidence makes of a detector's finds, for methods that cannot tell themselves."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import cast

import torch

from facezoo.data.images import ImageArray
from facezoo.detect import Detections

_JUDGE = "dense-1609"


def confirm(
    images: Sequence[ImageArray],
    found: Sequence[Detections],
    recrops: int,
    device: torch.device,
    batch_size: int,
) -> list[Detections]:
    """Drop finds without a face in them, and tighten the boxes of the others.

    Args:
        images: (H, W, 3) uint8 RGB.
        found: the detections of each image.
        recrops: how often the judge crops anew, see :class:`facezoo.detect.Detector`.
        device: where the judge runs.
        batch_size: finds looked at side by side.

    Returns:
        The detections that are faces, with their scores, boxes tight around dense-1609's 68 points.
    """
    if not any(len(each.boxes) for each in found):
        return [*found]
    # Imported here: the judge is itself a method that predicts.
    from facezoo.models.predict import FaceModel

    judge = cast(FaceModel, _judge(device))
    owner = [i for i, each in enumerate(found) for _ in each.boxes]
    boxes = torch.cat([each.boxes for each in found])
    scores = torch.cat([each.scores for each in found])
    kept: list[list[int]] = [[] for _ in found]
    for first in range(0, len(owner), batch_size):
        part = slice(first, first + batch_size)
        pictures = [images[i] for i in owner[part]]
        passes = torch.full((len(pictures),), recrops)
        for k, face in enumerate(judge.read(pictures, boxes[part], passes, fit=False), first):
            if judge.is_face(face):
                boxes[k] = face.box
                kept[owner[k]].append(k)
    return [Detections(boxes[rows], scores[rows]) for rows in kept]


@functools.lru_cache(maxsize=1)
def _judge(device: torch.device) -> torch.nn.Module:
    from facezoo.models.load import load

    return load(_JUDGE, device=device)
