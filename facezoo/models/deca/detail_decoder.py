"""The detail decoder: jaw, expression and detail code to a displacement map in texture space."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facezoo.models.deca.config import DecaConfig

START = 8  # side of the first map
_OFFICIAL_EPS = 0.8  # the released code meant momentum; its weights were trained with this


class DetailDecoder(nn.Module):
    """A DCGAN-like generator whose layers carry the released checkpoint's numbers (Feng et al. 2021, section 4.2).

    With ``detail_patterns=P`` the last layer gives P + 1 maps instead of one: the first is the displacement as before,
    the others say how much of each of P learned maps of ``detail_texels``² shows at a place. The patterns hold the fine
    lines, what is decoded says where and how deep they are; so the convolutions may end at a lower resolution, which is
    what a short training on a processor can afford.
    """

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
        layers += [nn.Conv2d(channels[-1], 1 + config.detail_patterns, 3, padding=1), nn.Tanh()]
        self.conv_blocks = nn.Sequential(*layers)
        self.register_parameter("patterns", None)
        if config.detail_patterns:
            side = config.detail_size
            # Nothing at first: the face is then the coarse one, and each pattern becomes what goes with its weight.
            self.patterns = nn.Parameter(torch.zeros(config.detail_patterns, side, side))
            last = self.conv_blocks[-2]
            assert isinstance(last, nn.Conv2d) and last.bias is not None
            with torch.no_grad():
                last.weight[0], last.bias[0] = 0, 0

    def forward(self, jaw: Tensor, expression: Tensor, detail: Tensor) -> Tensor:
        """Map jaw (B, 3), expression (B, n) and detail codes (B, d) to displacements (B, 1, H, W) in metres.

        The detail code is the person's own; jaw and expression may be anyone's: that is the animation.
        """
        start = self.l1(torch.cat([jaw, expression, detail], 1)).unflatten(1, (self.first, START, START))
        if self.patterns is None:
            return self.conv_blocks(start) * self.scale
        maps = self.conv_blocks[:-1](start)
        count, side, _ = self.patterns.shape
        plain = F.interpolate(maps[:, :1], size=(side, side), mode="bilinear", align_corners=False)
        half = side // 2  # weights change slowly: one for each 2×2 texels is a quarter of the work
        shares = F.interpolate(maps[:, 1:], size=(half, half), mode="bilinear", align_corners=False)
        lines = torch.einsum("bphw,phrws->bhrws", shares, self.patterns.view(count, half, 2, half, 2))
        return (plain + lines.reshape(plain.shape)).tanh() * self.scale
