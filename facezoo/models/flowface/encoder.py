"""The picture as features at a quarter of its resolution, from any pyramid: nano, timm or SegFormer."""

from __future__ import annotations

import difflib
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facezoo.backbones.nano import NanoBackbone
from facezoo.errors import FacezooError, unknown_name
from facezoo.models.flowface.config import FlowFaceConfig

# SegFormer (Xie et al. 2021, table 6): stage widths and depths of MiT-b0 to b5.
_MIT = {
    "b0": ([32, 64, 160, 256], [2, 2, 2, 2]),
    "b1": ([64, 128, 320, 512], [2, 2, 2, 2]),
    "b2": ([64, 128, 320, 512], [3, 4, 6, 3]),
    "b3": ([64, 128, 320, 512], [3, 4, 18, 3]),
    "b4": ([64, 128, 320, 512], [3, 8, 27, 3]),
    "b5": ([64, 128, 320, 512], [3, 6, 40, 3]),
}
_SEGFORMER = "segformer:"


class NanoPyramid(nn.Module):
    """The outputs of all stages of ``nano``."""

    def __init__(self, config: FlowFaceConfig) -> None:
        super().__init__()
        self.body = NanoBackbone(config.widths, config.depths, config.block)
        self.channels = list(config.widths)
        self.ends = [sum(config.depths[: i + 1]) - 1 for i in range(len(config.depths))]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map (B, 3, S, S) to maps at 1/4, 1/8, ..."""
        out, x = [], self.body.stem(x)
        for number, block in enumerate(self.body.blocks):
            x = block(x)
            if number in self.ends:
                out.append(x)
        return out


class TimmPyramid(nn.Module):
    """The levels of a timm backbone from a quarter of the resolution on."""

    def __init__(self, name: str, pretrained: bool) -> None:
        super().__init__()
        import timm

        if not timm.is_model(name):
            near = difflib.get_close_matches(name, ["nano", *timm.list_models()], n=3, cutoff=0.3)
            raise unknown_name(
                "model.backbone", name, near, "Use 'nano', 'segformer:b0' or a name of timm.list_models()."
            )
        self.body: Any = timm.create_model(name, pretrained=pretrained, features_only=True)
        info: Any = self.body.feature_info
        self.levels = [i for i, r in enumerate(info.reduction()) if r >= 4]
        self.channels = [info.channels()[i] for i in self.levels]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map (B, 3, S, S) to maps (B, C, h, w), finest first."""
        maps = self.body(x)
        out = []
        for level, channels in zip(self.levels, self.channels, strict=True):
            value = maps[level]  # Swin and its kin put the channels last
            out.append(value if value.shape[1] == channels else value.permute(0, 3, 1, 2))
        return out


class SegFormerPyramid(nn.Module):
    """Mix-transformer encoder of ``transformers``; random weights unless asked for the published ones."""

    def __init__(self, size: str, pretrained: bool) -> None:
        super().__init__()
        if size not in _MIT:
            raise unknown_name("SegFormer size", size, _MIT)
        try:
            from transformers import SegformerConfig, SegformerModel
        except ImportError as error:
            raise FacezooError(
                f"model.backbone={_SEGFORMER}{size} needs the package transformers: pip install facezoo[segformer]"
            ) from error
        self.channels, depths = _MIT[size]
        if pretrained:
            self.body: Any = SegformerModel.from_pretrained(f"nvidia/mit-{size}")
        else:
            self.body = SegformerModel(SegformerConfig(hidden_sizes=self.channels, depths=depths))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map (B, 3, S, S) to maps at 1/4, 1/8, 1/16, 1/32."""
        return list(self.body(x, output_hidden_states=True).hidden_states)


class ImageEncoder(nn.Module):
    """Normalise, run the pyramid, join its levels at a quarter of the resolution as SegFormer's decoder does.

    Its 1×1 convolution over joined levels is the sum of one a level, so levels are added from the coarsest up.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: FlowFaceConfig, pretrained: bool = False) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(config.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(config.std).view(3, 1, 1), persistent=False)
        if config.backbone == "nano":
            self.pyramid: Any = NanoPyramid(config)
        elif config.backbone.startswith(_SEGFORMER):
            self.pyramid = SegFormerPyramid(config.backbone.removeprefix(_SEGFORMER), pretrained)
        else:
            self.pyramid = TimmPyramid(config.backbone, pretrained)
        self.skip = (config.stride // 4).bit_length() - 1  # levels finer than the one that is wanted
        channels = self.pyramid.channels[self.skip :]
        self.level = nn.ModuleList(nn.Conv2d(c, config.fusion, 1, bias=False) for c in channels)
        self.join = nn.Sequential(
            nn.BatchNorm2d(config.fusion), nn.ReLU(inplace=True), nn.Conv2d(config.fusion, config.features, 1)
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map images (B, 3, S, S) in [0, 1] to features (B, D, S / stride, S / stride) and the last level."""
        maps = self.pyramid((images - self.mean) / self.std)
        joined: Tensor | None = None
        for layer, value in zip(reversed(self.level), reversed(maps[self.skip :]), strict=True):
            part = layer(value)
            if joined is not None:
                part = part + F.interpolate(joined, size=part.shape[2:], mode="bilinear", align_corners=False)
            joined = part
        return self.join(joined), maps[-1]
