"""What a face detector is to the rest of facezoo."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from facezoo.data.images import ImageArray


class Detections(NamedTuple):
    """The faces of one image, best first.

    Attributes:
        boxes: (N, 4) x0, y0, x1, y1 in pixels, tight around the iBUG-68 points (brows to chin) as well as the
            detector can tell.
        scores: (N,), higher is surer; comparable within one detector only.
    """

    boxes: Tensor
    scores: Tensor

    @staticmethod
    def none() -> Detections:
        """No face."""
        return Detections(torch.zeros(0, 4), torch.zeros(0))


@runtime_checkable
class Detector(Protocol):
    """Finds faces.

    Attributes:
        name: as in :func:`facezoo.detect.load_detector`.
        recrops: how often a landmark network should crop anew from its own landmarks before they are final; 0 for
            boxes that are tight by definition.

    A detector whose finds are never to be doubted, because the caller answers for them, has ``certain = True`` besides.
    """

    @property
    def name(self) -> str:
        """Name in the table of detectors."""
        ...

    @property
    def recrops(self) -> int:
        """Passes of cropping anew that these boxes deserve."""
        ...

    def detect(self, images: Sequence[ImageArray]) -> list[Detections]:
        """Find the faces of each image.

        Args:
            images: (H, W, 3) uint8 RGB, of any sizes.

        Returns:
            One :class:`Detections` an image; empty where there is no face.
        """
        ...
