"""Nano: a four-stage residual network for small crops, built for processors without half-precision units."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class FusedBlock(nn.Module):
    """3×3 convolution to twice the channels, 1×1 back, residual when shapes agree.

    One full 3×3 instead of a depthwise one: depthwise convolutions run at a tenth of the arithmetic rate on CPUs.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int, expansion: int = 2) -> None:
        super().__init__()
        hidden = channels_in * expansion
        self.expand = nn.Conv2d(channels_in, hidden, 3, stride, 1, bias=False)
        self.expand_norm = nn.BatchNorm2d(hidden)
        self.project = nn.Conv2d(hidden, channels_out, 1, bias=False)
        self.project_norm = nn.BatchNorm2d(channels_out)
        self.residual = stride == 1 and channels_in == channels_out
        if self.residual:  # start as the identity: deep stacks then train from the first step
            nn.init.zeros_(self.project_norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, Cin, H, W) to (B, Cout, H / stride, W / stride)."""
        y = torch.relu_(self.expand_norm(self.expand(x)))
        y = self.project_norm(self.project(y))
        return x + y if self.residual else y


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut (He et al. 2016), the shortcut averaged before its 1×1 when it shrinks."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(channels_out)
        self.second = nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(channels_out)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            shrink = [nn.AvgPool2d(stride, ceil_mode=True)] if stride > 1 else []
            self.shortcut = nn.Sequential(
                *shrink, nn.Conv2d(channels_in, channels_out, 1, bias=False), nn.BatchNorm2d(channels_out)
            )
        nn.init.zeros_(self.second_norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, Cin, H, W) to (B, Cout, H / stride, W / stride)."""
        y = torch.relu_(self.first_norm(self.first(x)))
        return torch.relu(self.second_norm(self.second(y)) + self.shortcut(x))


BLOCKS: dict[str, type[nn.Module]] = {"basic": BasicBlock, "fused": FusedBlock}


class NanoBackbone(nn.Module):
    """Stem of stride 4, then stages of blocks; each stage after the first halves the resolution."""

    def __init__(
        self,
        widths: Sequence[int] = (32, 64, 128, 256),
        depths: Sequence[int] = (1, 2, 3, 2),
        block: str = "fused",
    ) -> None:
        super().__init__()
        first = widths[0]
        self.stem = nn.Sequential(
            nn.Conv2d(3, first // 2, 3, 2, 1, bias=False),
            nn.BatchNorm2d(first // 2),
            nn.ReLU(inplace=True),
            nn.Conv2d(first // 2, first, 3, 2, 1, bias=False),
            nn.BatchNorm2d(first),
            nn.ReLU(inplace=True),
        )
        blocks: list[nn.Module] = []
        channels = first
        for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            for i in range(depth):
                blocks.append(BLOCKS[block](channels, width, stride=2 if i == 0 and stage > 0 else 1))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.num_features = channels
        self.reduction = 4 * 2 ** (len(widths) - 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised images (B, 3, S, S) to features (B, C, S / reduction, S / reduction)."""
        return self.blocks(self.stem(x))
