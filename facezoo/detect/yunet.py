"""YuNet through kornia, for those who have its weights: any pose, small faces. Never downloads.

Wu et al., "YuNet: a tiny millisecond-level face detector", MIR 2023. The network is kornia's; its weights (MIT) are not
part of facezoo. This is the one file that imports kornia's YuNet.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from facezoo.data.images import ImageArray
from facezoo.detect.base import Detections
from facezoo.detect.suppress import suppress
from facezoo.errors import AssetError
from facezoo.heads.registry import heads_folder

_FILE = "yunet_final.pth"
_WORKING_SIDE = 640
_MULTIPLE = 64  # the coarsest of its four grids has this stride
_MIN_SIZES = [[10, 16, 24], [32, 48], [64, 96], [128, 192, 256]]
_STEPS = [8, 16, 32, 64]
_VARIANCE = [0.1, 0.2]

# WIDER FACE boxes, which YuNet learned, run from the hair line to the chin and from ear to ear; this is the part of
# them between brows and chin, temples and temples. Proportions of the mean head of ../shared/data, not measured on
# YuNet's own output (no weights here): the re-crop corrects what is left.
_TOP, _SIDE = 0.22, 0.04


@dataclass(frozen=True)
class YuNetDetector:
    """YuNet on pictures scaled to at most 640 pixels.

    Attributes:
        min_score: smallest √(face probability × predicted overlap).
    """

    min_score: float = 0.6
    name: str = "yunet"
    recrops: int = 1

    def detect(self, images: Sequence[ImageArray]) -> list[Detections]:
        """See :class:`facezoo.detect.base.Detector`.

        Raises:
            AssetError: the weights are not on this machine.
        """
        net = _network(weights_path())
        return [self._detect_one(net, image) for image in images]

    def _detect_one(self, net: nn.Module, image: ImageArray) -> Detections:
        height, width = image.shape[:2]
        scale = min(1.0, _WORKING_SIDE / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))
        padded = torch.zeros(1, 3, *(-(-n // _MULTIPLE) * _MULTIPLE for n in small.shape[:2]))
        # It was trained on BGR in [0, 255].
        padded[0, :, : small.shape[0], : small.shape[1]] = torch.tensor(small[:, :, ::-1].copy()).permute(
            2, 0, 1
        )
        boxes, scores = _decode(net, padded)
        keep = (scores > self.min_score) & ((boxes[:, 2:] - boxes[:, :2]) > 1).all(1)
        ratio = torch.tensor([width / size[0], height / size[1]] * 2)
        return suppress(Detections(tight_from_wider(boxes[keep]) * ratio, scores[keep]))


def weights_path() -> Path:
    """Find YuNet's weights on this machine.

    Raises:
        AssetError: they are in neither place; the message names both.
    """
    places = (heads_folder().parent / "detectors" / _FILE, Path(torch.hub.get_dir()) / "checkpoints" / _FILE)
    for path in places:
        if path.is_file():
            return path
    raise AssetError(
        f"detector 'yunet' needs its weights, {_FILE}, which facezoo neither ships nor downloads. Put the file at "
        f"{places[0]} (or {places[1]}, where kornia keeps it), or use detector='open'."
    )


@functools.lru_cache(maxsize=1)
def _network(path: Path) -> nn.Module:
    from kornia.models.yunet import YuNet

    net = YuNet("test", pretrained=False)
    try:
        net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # whatever the file is, it is not these weights
        raise AssetError(f"{path} does not hold YuNet's weights: {error}") from error
    return net.eval()


@torch.no_grad()
def _decode(net: nn.Module, image: Tensor) -> tuple[Tensor, Tensor]:
    """Run the network on (1, 3, h, w): all boxes (N, 4) in its pixels and their scores (N,)."""
    from kornia.models.yunet.processors import PriorBox, decode

    out = net(image)
    height, width = image.shape[-2:]
    priors = PriorBox(_MIN_SIZES, _STEPS, clip=False, image_size=(height, width))()
    boxes = decode(out["loc"][0], priors, _VARIANCE)[:, :4] * torch.tensor([width, height] * 2)
    scores = (out["conf"][0, :, 1] * out["iou"][0, :, 0].clamp(0, 1)).sqrt()
    return boxes, scores


def tight_from_wider(boxes: Tensor) -> Tensor:
    """Turn boxes (N, 4) as WIDER FACE draws them into boxes tight around the iBUG-68 points."""
    x0, y0, x1, y1 = boxes.unbind(1)
    w, h = x1 - x0, y1 - y0
    return torch.stack((x0 + _SIDE * w, y0 + _TOP * h, x1 - _SIDE * w, y1), 1)
