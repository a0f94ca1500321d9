"""Find faces with the embedded network trained on synthetic people: any pose, rotated faces, several faces."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load
from torch import Tensor

from facezoo.data.images import ImageArray
from facezoo.detect.base import Detections
from facezoo.detect.open_faces.net import MULTIPLE, FaceNet, decode
from facezoo.detect.suppress import suppress
from facezoo.hub.verify import verify_files

FOLDER = Path(__file__).resolve().parents[2] / "weights" / "detector.open-v1"
SHA256 = {"model.safetensors": "e2271bef5e49635439d579c6973e1207c9e6f55a9d315fe0a286813d14240d5b"}

# The picture is searched at these lengths of its longer side. The network learned faces of 11 to 220 pixels: the
# first length finds the small ones, the second the faces that fill the picture.
_SIDES = (448, 160)


@dataclass(frozen=True)
class OpenDetector:
    """The open face detector.

    Attributes:
        min_score: smallest probability of a face.
    """

    min_score: float = 0.3
    name: str = "open"
    recrops: int = 2

    @torch.no_grad()
    def detect(self, images: Sequence[ImageArray]) -> list[Detections]:
        """See :class:`facezoo.detect.base.Detector`.

        Raises:
            AssetError: the embedded weights are missing or damaged.
        """
        net = _network()
        return [self._detect_one(net, image) for image in images]

    def _detect_one(self, net: FaceNet, image: ImageArray) -> Detections:
        height, width = image.shape[:2]
        boxes, scores = [], []
        for side in _SIDES:
            scale = side / max(height, width)
            small = _shrink(image, (max(1, round(width * scale)), max(1, round(height * scale))))
            found, sure = decode(net(small), self.min_score)[0]
            boxes.append(found / scale)
            scores.append(sure)
        return suppress(Detections(torch.cat(boxes), torch.cat(scores)))


def _shrink(image: ImageArray, size: tuple[int, int]) -> Tensor:
    """Resample to (width, height) and pad with its own border to multiples: (1, 3, H, W) in [0, 1]."""
    small = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))
    pixels = torch.from_numpy(small.copy()).permute(2, 0, 1)[None].float() / 255
    right, below = (-n % MULTIPLE for n in size)
    return torch.nn.functional.pad(pixels, (0, right, 0, below))


@functools.lru_cache(maxsize=1)
def _network() -> FaceNet:
    verify_files(FOLDER, SHA256, "the open face detector")
    net = FaceNet()
    tensors = load((FOLDER / "model.safetensors").read_bytes())
    net.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in tensors.items()})
    return net.eval()
