"""Backbone and pooling: from an image in [0, 1] to one feature vector, for ``nano`` and for any timm model."""

from __future__ import annotations

import difflib
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from facezoo.backbones.nano import NanoBackbone
from facezoo.errors import unknown_name


class BackboneConfig(Protocol):
    """The fields of a method's configuration that say what turns an image into features."""

    backbone: str
    widths: list[int]
    depths: list[int]
    block: str
    pooling: str
    neck_channels: int
    crop_size: int
    mean: list[float]
    std: list[float]


class ImageFeatures(nn.Module):
    """Normalise, run the backbone, pool to (B, ``size``)."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: BackboneConfig, pretrained: bool = False) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(config.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(config.std).view(3, 1, 1), persistent=False)
        self.is_nano = config.backbone == "nano"
        self.pooling = config.pooling
        if self.is_nano:
            self.backbone: Any = NanoBackbone(config.widths, config.depths, config.block)
        else:
            self.backbone = _timm_backbone(config.backbone, config.crop_size, pretrained)
        channels, positions = self._probe(config.crop_size)
        if self.pooling == "flatten":
            self.reduce = nn.Conv2d(channels, config.neck_channels, 1)
            self.size = config.neck_channels * positions
        else:
            self.size = channels

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, 3, S, S) in [0, 1] to features (B, size)."""
        x = (images - self.mean) / self.std
        if self.pooling == "avg" and not self.is_nano:
            return self.backbone(x)  # timm's own pooling knows about class tokens and final norms
        grid = self._grid(x)
        return self.reduce(grid).flatten(1) if self.pooling == "flatten" else grid.mean((2, 3))

    def _grid(self, x: Tensor) -> Tensor:
        """Return the last feature map as (B, C, H, W) whatever layout the backbone uses."""
        if self.is_nano:
            return self.backbone(x)
        y = self.backbone.forward_features(x)
        if y.dim() == 3:  # tokens
            y = y[:, getattr(self.backbone, "num_prefix_tokens", 0) :]
            side = round(y.shape[1] ** 0.5)
            return y.transpose(1, 2).reshape(y.shape[0], -1, side, side)
        channels = self.backbone.num_features
        return y.permute(0, 3, 1, 2) if y.shape[-1] == channels and y.shape[1] != channels else y

    @torch.no_grad()
    def _probe(self, size: int) -> tuple[int, int]:
        """Return channels and number of positions of the pooled map for inputs of ``size``."""
        if self.is_nano:
            side = -(-size // self.backbone.reduction)
            return self.backbone.num_features, side * side
        if self.pooling == "avg":
            return getattr(self.backbone, "head_hidden_size", None) or self.backbone.num_features, 1
        self.backbone.eval()  # one zero image must not move batch statistics
        shape = self._grid(torch.zeros(1, 3, size, size)).shape
        self.backbone.train()
        return shape[1], shape[2] * shape[3]


def _timm_backbone(name: str, size: int, pretrained: bool) -> nn.Module:
    import timm

    if not timm.is_model(name):
        near = difflib.get_close_matches(name, ["nano", *timm.list_models()], n=3, cutoff=0.3)
        raise unknown_name("model.backbone", name, near, "Use 'nano' or any name of timm.list_models().")
    options: dict[str, Any] = {"num_classes": 0}
    if _fixed_size(name):
        options["img_size"] = size
    return timm.create_model(name, pretrained=pretrained, **options)


def _fixed_size(name: str) -> bool:
    """Tell whether the model's weights depend on the input size (transformers with position tables or windows)."""
    import timm

    config = timm.get_pretrained_cfg(name)
    return bool(config is not None and config.fixed_input_size)
