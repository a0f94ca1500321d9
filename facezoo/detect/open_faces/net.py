"""A face detector without anchors: a heat map of face centres, and at each centre the face's box.

Zhou et al., "Objects as points", 2019, on a feature pyramid (Lin et al. 2017) of stride 8.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facezoo.backbones.nano import FusedBlock

STRIDE = 8
MULTIPLE = 32
"""Sides of the input must be multiples of this, the coarsest stride."""
_WIDTHS = (32, 48, 96, 112)
_PYRAMID = 48
# Start as rare as faces are, or the empty cells drown the loss of the first steps.
_RARE = -4.6


class FaceMap(NamedTuple):
    """What the network sees, one value a cell of 8 × 8 pixels.

    Attributes:
        logits: (B, h, w) of a face centre in the cell.
        boxes: (B, 4, h, w): centre x, y from the cell's centre in cells, log width and log height in cells.
    """

    logits: Tensor
    boxes: Tensor


class FaceNet(nn.Module):
    """Pictures (B, 3, H, W) in [0, 1], sides multiples of 32, to a :class:`FaceMap`; 0.9 M parameters."""

    def __init__(self) -> None:
        super().__init__()
        a, b, c, d = _WIDTHS
        self.stem = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True),
            nn.Conv2d(16, a, 3, 2, 1, bias=False), nn.BatchNorm2d(a), nn.ReLU(inplace=True),
        )  # fmt: skip
        self.fine = nn.Sequential(FusedBlock(a, b, 2), FusedBlock(b, b, 1))
        self.middle = nn.Sequential(FusedBlock(b, c, 2), FusedBlock(c, c, 1))
        self.coarse = nn.Sequential(FusedBlock(c, d, 2), FusedBlock(d, d, 1))
        self.lateral = nn.ModuleList(nn.Conv2d(n, _PYRAMID, 1) for n in (b, c, d))
        self.mix = nn.Sequential(
            nn.Conv2d(_PYRAMID, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True)
        )
        self.heat = nn.Conv2d(64, 1, 1)
        self.box = nn.Conv2d(64, 4, 1)
        assert self.heat.bias is not None
        nn.init.constant_(self.heat.bias, _RARE)

    def forward(self, images: Tensor) -> FaceMap:
        """See the class."""
        fine = self.fine(self.stem((images - 0.45) * 4.0))
        middle = self.middle(fine)
        coarse = self.coarse(middle)
        top = self.lateral[1](middle) + F.interpolate(self.lateral[2](coarse), scale_factor=2.0)
        x = self.mix(self.lateral[0](fine) + F.interpolate(top, scale_factor=2.0))
        return FaceMap(self.heat(x)[:, 0], self.box(x))


def decode(seen: FaceMap, least: float) -> list[tuple[Tensor, Tensor]]:
    """Turn maps into boxes (N, 4) in input pixels and scores (N,), an entry a picture; peaks of 3 × 3 cells only."""
    scores = seen.logits.float().sigmoid()
    peaks = (F.max_pool2d(scores[:, None], 3, 1, 1)[:, 0] == scores) & (scores >= least)
    found = []
    for heat, box, peak in zip(scores, seen.boxes.float(), peaks, strict=True):
        row, column = peak.nonzero(as_tuple=True)
        dx, dy, w, h = box[:, row, column]
        centre = torch.stack([column + 0.5 + dx, row + 0.5 + dy], 1) * STRIDE
        half = torch.stack([w, h], 1).clamp(-4, 6).exp() * STRIDE / 2
        found.append((torch.cat([centre - half, centre + half], 1), heat[row, column]))
    return found
