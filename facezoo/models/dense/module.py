"""The dense-landmark model: network, crop, training loss, metrics, and the way from crop units to a photo's pixels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar, Self

import torch
from torch import Tensor

from facezoo.data.augment import CropBatch
from facezoo.data.statistics import TargetStatistics
from facezoo.geometry.crop_pose import decode_pose, encode_pose, split_crop_camera
from facezoo.models.base import ZooModel
from facezoo.models.dense.config import DenseConfig, DenseLossConfig
from facezoo.models.dense.criterion import DenseCriterion
from facezoo.models.dense.net import UNITS, DenseNet, DenseOutput
from facezoo.models.dense.rehead import inherit
from facezoo.models.dense.spiral import SpiralLevels

if TYPE_CHECKING:
    from torchmetrics import Metric


class DenseModel(ZooModel):
    """Dense landmarks with confidences, and a first estimate of head parameters and pose."""

    config_class: ClassVar[type] = DenseConfig
    loss_class: ClassVar[type] = DenseLossConfig
    method: ClassVar[str] = "dense"
    body: ClassVar[frozenset[str]] = frozenset({"backbone", "widths", "depths", "block"})
    units: ClassVar[Mapping[str, str]] = UNITS
    config: DenseConfig

    def __init__(
        self, config: DenseConfig, levels: SpiralLevels | None = None, pretrained: bool = False
    ) -> None:
        """Build the model; ``levels`` and ``pretrained`` as in :class:`DenseNet`."""
        super().__init__(config)
        self.net = DenseNet(config, levels, pretrained)

    @classmethod
    def for_training(cls, config: DenseConfig) -> DenseModel:
        """Build an untrained model, with mesh tables and published backbone weights if configured."""
        levels = None
        if config.decoder == "spiral":
            from facezoo.models.dense.surface import spiral_levels

            levels = spiral_levels(config)
        return cls(config, levels, config.pretrained)

    def forward(self, images: Tensor) -> DenseOutput:
        """Estimate everything for crops (B, 3, S, S) in [0, 1]."""
        return self.net(images)

    def sigma_pixels(self, log_sigma: Tensor, affine: Tensor) -> Tensor:
        """Return calibrated scales in photo pixels, (B, N), the mean over coordinates."""
        zoom = torch.linalg.det(affine[:, :, :2]).abs().sqrt()
        sigma = log_sigma.exp().mean(-1) * self.config.sigma_scale
        return sigma * self.config.crop_size / zoom[:, None]

    def pose_in_photo(self, output: DenseOutput, affine: Tensor, K: Tensor) -> tuple[Tensor, Tensor]:
        """Return R (B, 3, 3) and t (B, 3) of the estimated pose in the photo's camera ``K`` (B, 3, 3)."""
        crop_K, turn = split_crop_camera(K, affine)
        R, t = decode_pose(output.rotation6d, output.placement, crop_K, self.config.crop_size)
        return turn.mT @ R, (turn.mT @ t.unsqueeze(-1)).squeeze(-1)

    @torch.no_grad()
    def calibrate(self, crops: Iterable[CropBatch]) -> float:
        """Set ``config.sigma_scale`` so that a scale is the mean absolute error of a coordinate on held-out crops.

        The maximum-likelihood factor of Laplace scales: the mean of error / b over all dense coordinates. Networks
        are surer of what they trained on than of anything else.

        Returns:
            The factor.
        """
        total, count = 0.0, 0
        for batch in crops:
            output = self(batch.images)
            ratio = (output.points - batch.points).abs() * torch.exp(-output.log_sigma)
            total, count = total + float(ratio.double().sum()), count + ratio.numel()
        self.config.sigma_scale = total / max(count, 1)
        return self.config.sigma_scale

    def criterion(self, weights: DenseLossConfig) -> DenseCriterion:
        """Build the training loss."""
        edges = None
        if weights.vertex_edge:
            from facezoo.models.dense.surface import dense_edges

            edges = dense_edges(self.config)
        return DenseCriterion(weights, self.net, edges)

    def metrics(self) -> dict[str, Metric]:
        """Return NME of both 68-point sets and MLME of the dense points."""
        from facezoo.metrics import (  # see base.py: predicting does without
            MeanLandmarkError,
            NormalizedMeanError,
        )

        return {
            "nme68": NormalizedMeanError(),
            "nme_contour68": NormalizedMeanError(),
            "mlme": MeanLandmarkError(),
        }

    def update_metrics(self, metrics: dict[str, Metric], output: DenseOutput, batch: CropBatch) -> None:
        """Add a validation batch."""
        metrics["nme68"].update(output.landmarks68, batch.landmarks68)
        metrics["nme_contour68"].update(output.contour68, batch.contour68)
        metrics["mlme"].update(output.points, batch.points)

    def preview_points(self, output: DenseOutput | CropBatch) -> Tensor:
        """Return the 68 contour points."""
        return output.contour68

    def targets(self, batch: CropBatch) -> tuple[Tensor, Tensor]:
        """Return all point targets (B, L + 136, 2) and parameter targets (B, P) in the network's order."""
        points = torch.cat([batch.points, batch.landmarks68, batch.contour68], 1)
        pose = encode_pose(batch.R, batch.t, batch.K, self.config.crop_size)
        return points, torch.cat([batch.identity, batch.expression, batch.jaw, *pose], 1)

    def inherit(self, name: str, own: Tensor, given: Tensor, parent: Self) -> Tensor | None:
        """Take over rows of shared vertices and components, see :mod:`facezoo.models.dense.rehead`."""
        return inherit(name.removeprefix("net."), own, given, self.net, parent.net)

    def start_from(self, statistics: TargetStatistics) -> None:
        """Start at the mean configuration."""
        self.net.start_from(statistics)
