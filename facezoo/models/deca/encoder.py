"""DECA's image encoder: a backbone and two linear layers; the coarse and the detail encoder have the same form."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from facezoo.backbones.features import ImageFeatures
from facezoo.errors import InputError
from facezoo.models.deca.config import DecaConfig


class Encoder(nn.Module):
    """Map crops to code vectors.

    With ``backbone="resnet50"`` the modules below ``features.backbone`` have torchvision's names, as in the released
    checkpoint, and their 7×7 average is the global one.
    """

    def __init__(self, config: DecaConfig, outputs: int, pretrained: bool = False) -> None:
        """Build an encoder with ``outputs`` codes; ``pretrained`` downloads a timm backbone's published weights."""
        super().__init__()
        self.features = ImageFeatures(config, pretrained)
        self.layers = nn.Sequential(
            nn.Linear(self.features.size, config.hidden), nn.ReLU(), nn.Linear(config.hidden, outputs)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Map crops (B, 3, S, S), RGB in [0, 1], to codes (B, outputs)."""
        if images.dim() != 4 or images.shape[1] != 3:
            raise InputError(f"images have shape {tuple(images.shape)}; expected (B, 3, S, S), RGB in [0, 1]")
        features = self.features(images)
        if not torch.is_autocast_enabled(images.device.type):
            return self.layers(features)
        with torch.autocast(images.device.type, enabled=False):  # a camera in bfloat16 is off by a pixel
            return self.layers(features.float())
