"""Take the whole picture as one face: for portraits and for crops made elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from facezoo.data.images import ImageArray
from facezoo.detect.base import Detections

# Share of the shorter side that the box takes. A loose portrait crop shows the face, brows to chin, at about half its
# side; cropping anew from the landmarks then finds the true size.
_SHARE = 0.6


@dataclass(frozen=True)
class WholeImage:
    """One centred square box an image, score 1."""

    name: str = "whole"
    recrops: int = 3
    certain: bool = True

    def detect(self, images: Sequence[ImageArray]) -> list[Detections]:
        """See :class:`facezoo.detect.base.Detector`."""
        found = []
        for image in images:
            height, width = image.shape[:2]
            half = _SHARE * min(height, width) / 2
            x, y = width / 2, height / 2
            found.append(Detections(torch.tensor([[x - half, y - half, x + half, y + half]]), torch.ones(1)))
        return found
