"""DECA's networks: coarse encoder, detail encoder and detail decoder; tensors in, tensors out."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from facezoo.data.statistics import TargetStatistics
from facezoo.errors import InputError
from facezoo.heads import HeadModel
from facezoo.models.deca.codes import DecaCodes, split_codes
from facezoo.models.deca.config import CAMERA, LIGHT, DecaConfig
from facezoo.models.deca.detail_decoder import DetailDecoder
from facezoo.models.deca.encoder import Encoder
from facezoo.models.deca.relief_model import ReliefModel
from facezoo.models.deca.space import DecaSpace

# Frontal light of a bright room: band 0 and a little from the front and above, so that training starts from a lit face.
_START_LIGHT = ((2.6,), (0.0,), (0.15,), (0.35,), (0.0,), (0.0,), (0.0,), (0.0,), (0.0,))


class DecaOutput(NamedTuple):
    """What the networks make of crops.

    Attributes:
        codes: (B, P) code vectors; :meth:`DecaNet.split` takes them apart.
        landmarks68: (B, 68, 2) of the coarse head in crop units, 0 = centre and ±0.5 = border.
        detail: (B, d) detail codes; d = 0 without a detail branch.
        displacement: (B, 1, H, W) metres along the normal, unmasked; H = W = 0 without a detail branch.
    """

    codes: Tensor
    landmarks68: Tensor
    detail: Tensor
    displacement: Tensor


class DecaNet(nn.Module):
    """The whole method (Feng et al. 2021, figure 2), without its renderer."""

    codes_mean: Tensor
    codes_std: Tensor

    def __init__(self, config: DecaConfig, head: HeadModel, pretrained: bool = False) -> None:
        """Build the networks.

        Args:
            config: sizes and kinds of all parts.
            head: what the codes speak of; not stored with the weights.
            pretrained: download timm backbones' published weights (training only).
        """
        super().__init__()
        self.config = config
        total = sum(config.sizes)
        self.coarse = Encoder(config, total, pretrained)
        self.detail = Encoder(config.of_detail, config.detail, pretrained) if config.detail else None
        self.decoder: DetailDecoder | ReliefModel | None = None
        if config.detail:
            self.decoder = ReliefModel(config) if config.detail_rank else DetailDecoder(config)
        self.space = DecaSpace(config, head)
        # Codes have spreads from thousandths (camera) to ones (shape); the released weights need no scaling.
        self.register_buffer("codes_mean", torch.zeros(total))
        self.register_buffer("codes_std", torch.ones(total))

    def forward(self, images: Tensor) -> DecaOutput:
        """Estimate everything for crops (B, 3, S, S) of RGB values in [0, 1]."""
        codes = self.encode(images)
        with torch.autocast(images.device.type, enabled=False):
            parts = self.split(codes.float() if codes.dtype == torch.bfloat16 else codes)
            landmarks = self.space.place(self.space.landmarks(parts), parts)
        if self.detail is None:
            empty = codes.new_zeros(codes.shape[0], 0)
            return DecaOutput(codes, landmarks, empty, codes.new_zeros(codes.shape[0], 1, 0, 0))
        detail = self.detail(images)
        return DecaOutput(codes, landmarks, detail, self.displacement(parts, detail))

    def encode(self, images: Tensor) -> Tensor:
        """Return the coarse code vectors (B, P)."""
        return self.coarse(images) * self.codes_std + self.codes_mean

    def split(self, codes: Tensor) -> DecaCodes:
        """Take code vectors (B, P) apart."""
        return split_codes(codes, self.config.sizes)

    def displacement(self, codes: DecaCodes, detail: Tensor) -> Tensor:
        """Decode displacements (B, 1, H, W) of detail codes (B, d) under the jaw and expression of ``codes``.

        Raises:
            InputError: the model has no detail branch.
        """
        if self.decoder is None:
            raise InputError("this model has no detail branch; train one with model.detail=128.")
        return self.decoder(codes.pose[:, 3:], codes.expression, detail)

    @torch.no_grad()
    def start_from(self, statistics: TargetStatistics) -> None:
        """Scale the codes like the training targets; an untrained network then predicts about the mean face.

        Albedo and light have no targets: they start at the mean albedo in plain frontal light.
        """
        if statistics.params_mean.shape != self.codes_mean.shape:
            raise InputError(
                f"statistics hold {len(statistics.params_mean)} parameters; this network has {len(self.codes_mean)}"
            )
        self.codes_mean.copy_(statistics.params_mean)
        self.codes_std.copy_(statistics.params_std)
        n_id, n_albedo, n_exp, n_pose, _, _ = self.config.sizes
        self.codes_mean[n_id : n_id + n_albedo], self.codes_std[n_id : n_id + n_albedo] = 0, 1
        light = n_id + n_albedo + n_exp + n_pose + CAMERA
        self.codes_mean[light:] = torch.tensor(_START_LIGHT).expand(9, 3).flatten()
        self.codes_std[light:] = 0.3
        assert len(self.codes_mean) - light == LIGHT
        last = self.coarse.layers[2]
        assert isinstance(last, nn.Linear)
        nn.init.normal_(last.weight, std=0.01)
        nn.init.zeros_(last.bias)
