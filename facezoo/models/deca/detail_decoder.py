"""The detail decoder: jaw, expression and detail code to a displacement map in texture space."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from facezoo.models.deca.config import DecaConfig

START = 8  # side of the first map
_OFFICIAL_EPS = 0.8  # the released code meant momentum; its weights were trained with this


class DetailDecoder(nn.Module):
    """A DCGAN-like generator whose layers carry the released checkpoint's numbers (Feng et al. 2021, section 4.2)."""

    def __init__(self, config: DecaConfig) -> None:
        """Build the decoder of a configuration with ``detail > 0``."""
        super().__init__()
        channels = config.detail_channels
        self.first, self.scale = channels[0], config.max_displacement
        self.l1 = nn.Sequential(nn.Linear(3 + config.n_expression + config.detail, channels[0] * START**2))
        eps = _OFFICIAL_EPS if config.official else 1e-5
        layers: list[nn.Module] = [nn.BatchNorm2d(channels[0])]
        for given, made in pairwise(channels):
            layers += [
                nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
                nn.Conv2d(given, made, 3, padding=1),
                nn.BatchNorm2d(made, eps=eps),
                nn.LeakyReLU(0.2),
            ]
        layers += [nn.Conv2d(channels[-1], 1, 3, padding=1), nn.Tanh()]
        self.conv_blocks = nn.Sequential(*layers)

    def forward(self, jaw: Tensor, expression: Tensor, detail: Tensor) -> Tensor:
        """Map jaw (B, 3), expression (B, n) and detail codes (B, d) to displacements (B, 1, H, W) in metres.

        The detail code is the person's own; jaw and expression may be anyone's: that is the animation.
        """
        start = self.l1(torch.cat([jaw, expression, detail], 1)).unflatten(1, (self.first, START, START))
        return self.conv_blocks(start) * self.scale
