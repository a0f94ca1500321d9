"""The frontal-face cascade that ships inside scikit-image: offline, no weights, upright frontal faces.

Its raw answer is a cloud of square windows; windows that agree are counted as votes and averaged. Two searches: a
quick one for faces that fill a thirteenth of the picture or more, and a finer one only if that finds nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from facezoo.data.images import ImageArray
from facezoo.detect.base import Detections
from facezoo.detect.suppress import overlaps, suppress

# From the cascade's square of side s to the box tight around the iBUG-68 points: medians over 48 hits of three search
# settings on ../shared/data/real (scatter 0.10 s in place, 0.16 s in width). The horizontal median, 0.016 s, is taken
# as zero because faces have no preferred side. A detector's convention, not a trained quantity.
_SHIFT_DOWN = 0.126
_WIDTH = 0.910
_HEIGHT = 0.896

# The picture is searched at this many pixels on its longer side: large ones scaled down, very small ones up.
_LARGEST, _SMALLEST = 640, 320
_AGREE = 0.4  # two windows vote for one face above this intersection over union


class _Search(NamedTuple):
    window: int  # smallest window, pixels of the working image
    zoom: float  # ratio of successive windows
    step: float  # window steps in units of the current zoom
    votes: int  # windows that must agree


# Chosen on ../shared/data/real and ten pictures without a face from scikit-image: together they find 17 of 28
# faces with 3 false alarms in 24 pictures; one vote less finds 19 with 5. The cascade sees upright faces from the
# front, no others.
_SEARCHES = (_Search(48, 1.08, 1.5, 3), _Search(40, 1.05, 1.25, 3))


@dataclass(frozen=True)
class CascadeDetector:
    """scikit-image's LBP cascade (Liao et al., ICB 2007) with votes as scores."""

    name: str = "cascade"
    recrops: int = 2
    _cascade: list[Any] = field(default_factory=list, repr=False, compare=False)

    def detect(self, images: Sequence[ImageArray]) -> list[Detections]:
        """See :class:`facezoo.detect.base.Detector`."""
        return [self._detect_one(image) for image in images]

    def _detect_one(self, image: ImageArray) -> Detections:
        height, width = image.shape[:2]
        scale = min(_LARGEST, max(_SMALLEST, height, width)) / max(height, width)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))
        for search in _SEARCHES:
            squares, votes = self._vote(self._windows(small, search))
            keep = votes >= search.votes
            if bool(keep.any()):
                ratio = torch.tensor([width / size[0], height / size[1]] * 2)
                return suppress(Detections(tight_from_square(squares[keep]) * ratio, votes[keep]))
        return Detections.none()

    def _windows(self, image: ImageArray, search: _Search) -> Tensor:
        if not self._cascade:
            from skimage.data import lbp_frontal_face_cascade_filename
            from skimage.feature import Cascade

            self._cascade.append(Cascade(lbp_frontal_face_cascade_filename()))
        largest = min(image.shape[:2])
        if largest < search.window:
            return torch.zeros(0, 4)
        found = self._cascade[0].detect_multi_scale(
            img=image,
            scale_factor=search.zoom,
            step_ratio=search.step,
            min_size=(search.window, search.window),
            max_size=(largest, largest),
            min_neighbor_number=0,  # every single window: the votes are counted here
            intersection_score_threshold=0.999,
        )
        rows = [[w["c"], w["r"], w["c"] + w["width"], w["r"] + w["height"]] for w in found]
        return torch.tensor(sorted(rows), dtype=torch.float32).reshape(-1, 4)

    @staticmethod
    def _vote(windows: Tensor) -> tuple[Tensor, Tensor]:
        """Average each window with those that agree with it: squares (N, 4) and votes (N,)."""
        if not len(windows):
            return windows, torch.zeros(0)
        agree = (overlaps(windows, windows)[0] > _AGREE).float()
        votes = agree.sum(1)
        return agree @ windows / votes[:, None], votes


def tight_from_square(squares: Tensor) -> Tensor:
    """Turn the cascade's squares (N, 4) into boxes tight around the iBUG-68 points."""
    centre, side = (squares[:, :2] + squares[:, 2:]) / 2, squares[:, 2:] - squares[:, :2]
    centre = centre + side * torch.tensor([0.0, _SHIFT_DOWN])
    half = side * torch.tensor([_WIDTH, _HEIGHT]) / 2
    return torch.cat((centre - half, centre + half), 1)
