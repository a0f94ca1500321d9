"""The dense-landmark network: backbone, decoder, and estimates of head parameters and pose; tensors in, tensors out."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from facezoo.backbones.features import ImageFeatures
from facezoo.data.statistics import TargetStatistics
from facezoo.errors import InputError
from facezoo.models.dense.config import DenseConfig
from facezoo.models.dense.decoders import LinearDecoder, LowRankDecoder
from facezoo.models.dense.spiral import SpiralDecoder, SpiralLevels, empty_levels, level_sizes
from facezoo.models.signature import COEFFICIENTS, CROP_SIDES, NUMBER, RADIANS

LANDMARKS = 68
# Typical error of an untrained network in crop units: the scales start there, so no loss term starts with a huge slope.
START_SIGMA = 0.05


class DenseOutput(NamedTuple):
    """What the network sees in a crop; all points in crop coordinates, pixel = (p + 0.5) · S.

    Attributes:
        points: (B, L, 2) dense landmarks in [-0.5, 0.5] when inside the crop.
        log_sigma: (B, L, C) log scale of their errors, C = 1 or 2.
        confidence: (B, L) = max(0, 1 - σ), the thesis' definition (σ averaged over coordinates).
        landmarks68: (B, 68, 2) iBUG points on the mesh.
        log_sigma68: (B, 68, C).
        contour68: (B, 68, 2) iBUG points whose jaw follows the visible contour.
        log_sigma_contour68: (B, 68, C).
        identity: (B, n_id) head parameters.
        expression: (B, n_exp).
        jaw: (B, 3) axis-angle.
        rotation6d: (B, 6) head rotation seen along the ray to the head, see :mod:`facezoo.models.dense.pose`.
        placement: (B, 3) crop x, y of the head origin and log size.
    """

    points: Tensor
    log_sigma: Tensor
    confidence: Tensor
    landmarks68: Tensor
    log_sigma68: Tensor
    contour68: Tensor
    log_sigma_contour68: Tensor
    identity: Tensor
    expression: Tensor
    jaw: Tensor
    rotation6d: Tensor
    placement: Tensor


_LOG_SIDES = "natural logarithm of sides of the crop, times config.sigma_scale once exponentiated"
UNITS = {
    "points": CROP_SIDES,
    "log_sigma": _LOG_SIDES,
    "confidence": NUMBER,
    "landmarks68": CROP_SIDES,
    "log_sigma68": _LOG_SIDES,
    "contour68": CROP_SIDES,
    "log_sigma_contour68": _LOG_SIDES,
    "identity": COEFFICIENTS,
    "expression": COEFFICIENTS,
    "jaw": RADIANS,
    "rotation6d": NUMBER,
    "placement": "x, y: sides of the crop from its centre; size: natural logarithm of crop sides a metre",
}


class DenseNet(nn.Module):
    """Landmarks with scales, head parameters and pose from one crop.

    Source: dense-landmark thesis (2022) for outputs and losses; the parameter head is its "future work".
    """

    params_mean: Tensor
    params_std: Tensor
    mesh_mean: Tensor
    mesh_raw_scale: Tensor

    def __init__(
        self, config: DenseConfig, levels: SpiralLevels | None = None, pretrained: bool = False
    ) -> None:
        """Build the network.

        Args:
            config: sizes and kinds of all parts.
            levels: mesh hierarchy of the dense points for ``decoder="spiral"``; without it the tables are empty and
                wait for a checkpoint.
            pretrained: download a timm backbone's published weights (training only).
        """
        super().__init__()
        self.config = config
        self.points, channels = config.points, config.scale_channels
        self.features = ImageFeatures(config, pretrained)
        width = self.features.size
        self.neck: nn.Module = nn.Identity()
        if config.hidden and config.decoder != "linear":
            self.neck = nn.Sequential(nn.Linear(width, config.hidden), nn.ReLU(inplace=True))
            width = config.hidden
        total = config.points + 2 * LANDMARKS
        if config.decoder == "linear":
            self.decoder: Any = LinearDecoder(width, total, channels, config.normalize_features)
        elif config.decoder == "mlp":
            self.decoder = LowRankDecoder(width, total, channels, config.rank, config.scale_rank)
        else:
            sizes = level_sizes(config.points, config.spiral_factors)
            if levels is None:
                levels = empty_levels(sizes, config.spiral_length)
            self.mesh_decoder = SpiralDecoder(width, config.spiral_channels, 2 + channels, levels, sizes[-1])
            self.decoder = LowRankDecoder(width, 2 * LANDMARKS, channels, 64, 16)
            self.register_buffer("mesh_mean", torch.zeros(config.points, 2))
            self.register_buffer("mesh_raw_scale", torch.zeros(config.points, channels))
        self.sizes = [config.n_identity, config.n_expression, 3, 6, 3]
        self.params = nn.Linear(width, sum(self.sizes))
        nn.init.zeros_(self.params.bias)
        nn.init.normal_(self.params.weight, std=0.01)
        self.register_buffer("params_mean", torch.zeros(sum(self.sizes)))
        self.register_buffer("params_std", torch.ones(sum(self.sizes)))

    def forward(self, images: Tensor) -> DenseOutput:
        """Estimate everything for crops (B, 3, S, S) of RGB values in [0, 1]."""
        if images.dim() != 4 or images.shape[1] != 3:
            raise InputError(f"images have shape {tuple(images.shape)}; expected (B, 3, S, S), RGB in [0, 1]")
        features, device = self.features(images), images.device.type
        if not torch.is_autocast_enabled(device):
            return self._decode(features)
        # Half precision would round a coordinate to a quarter pixel.
        with torch.autocast(device, enabled=False):
            return self._decode(features.float())

    def _decode(self, features: Tensor) -> DenseOutput:
        """Turn image features (B, F) into everything."""
        hidden = self.neck(features)
        points, raw = self.decoder(hidden)
        if self.config.decoder == "spiral":
            mesh = self.mesh_decoder(hidden)
            points = torch.cat([mesh[..., :2] + self.mesh_mean, points], 1)
            raw = torch.cat([mesh[..., 2:] + self.mesh_raw_scale, raw], 1)
        log_sigma = nn.functional.logsigmoid(raw) if self.config.scale == "sigmoid" else raw
        parts = [self.points, LANDMARKS, LANDMARKS]
        points, on_mesh, contour = points.split(parts, 1)
        log_sigma, log_sigma68, log_sigma_contour = log_sigma.split(parts, 1)
        confidence = (1 - log_sigma.exp().mean(-1)).clamp_min(0)
        values = self.params(hidden) * self.params_std + self.params_mean
        identity, expression, jaw, rotation6d, placement = values.split(self.sizes, 1)
        return DenseOutput(
            points,
            log_sigma,
            confidence,
            on_mesh,
            log_sigma68,
            contour,
            log_sigma_contour,
            identity,
            expression,
            jaw,
            rotation6d,
            placement,
        )

    @torch.no_grad()
    def start_from(self, statistics: TargetStatistics) -> None:
        """Set output biases and bases from training targets, so that an untrained network predicts the mean face."""
        n = self.points
        mean = statistics.points_mean
        if mean.shape != (n + 2 * LANDMARKS, 2):
            raise InputError(
                f"statistics hold {tuple(mean.shape)} points; this network has {n} + 2 x {LANDMARKS}"
            )
        sigma = torch.full((mean.shape[0], self.config.scale_channels), START_SIGMA)
        raw = torch.logit(sigma) if self.config.scale == "sigmoid" else sigma.log()
        basis = statistics.points_basis
        if self.config.decoder == "spiral":
            self.mesh_mean.copy_(mean[:n])
            self.mesh_raw_scale.copy_(raw[:n])
            self.decoder.start_from(mean[n:], raw[n:], basis[: self.decoder.basis.in_features, n:])
        elif self.config.decoder == "mlp":
            self.decoder.start_from(mean, raw, basis[: self.config.rank])
        else:
            self.decoder.start_from(mean, raw)
        self.params_mean.copy_(statistics.params_mean)
        self.params_std.copy_(statistics.params_std)
