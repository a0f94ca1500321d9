"""The FlowFace model: network, crop, training loss, metrics, and the way from crop units to a photo's pixels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from facezoo.data.augment import CropBatch
from facezoo.data.statistics import TargetStatistics
from facezoo.heads import load_head
from facezoo.models.base import ZooModel
from facezoo.models.flowface.config import FlowFaceConfig, FlowFaceLossConfig
from facezoo.models.flowface.criterion import FlowFaceCriterion
from facezoo.models.flowface.labels import VertexLabels
from facezoo.models.flowface.net import UNITS, FlowFaceNet, FlowFaceOutput

if TYPE_CHECKING:
    from torchmetrics import Metric


class FlowFaceModel(ZooModel):
    """Picture positions of all vertices of a head, with their uncertainty."""

    config_class: ClassVar[type] = FlowFaceConfig
    loss_class: ClassVar[type] = FlowFaceLossConfig
    method: ClassVar[str] = "flowface"
    body: ClassVar[frozenset[str]] = frozenset({"backbone", "widths", "depths", "block"})
    units: ClassVar[Mapping[str, str]] = UNITS
    config: FlowFaceConfig

    def __init__(self, config: FlowFaceConfig, pretrained: bool = False) -> None:
        """Build the model with its head.

        Args:
            config: sizes and kinds of all parts.
            pretrained: download a backbone's published weights (training only).

        Raises:
            AssetError: the head is not installed or does not fit.
        """
        super().__init__(config)
        self.head = load_head(config.head)
        self.net = FlowFaceNet(config, self.head, pretrained)
        self.labels = VertexLabels(self.head, config.crop_size)

    @classmethod
    def for_training(cls, config: FlowFaceConfig) -> FlowFaceModel:
        """Build an untrained model, with published or this project's backbone weights if configured."""
        model = cls(config, config.pretrained)
        if config.features_from:
            from facezoo.models.begin import load_features

            load_features(model.net.encoder.pyramid.body, config)
            if model.net.neck is not None:
                load_features(model.net.neck.reduce, config, "net.features.reduce.")
                load_features(model.net.neck.join, config, "net.neck.0.")
        return model

    def forward(self, images: Tensor) -> FlowFaceOutput:
        """Map crops (B, 3, S, S) in [0, 1]."""
        return self.net(images)

    @torch.no_grad()
    def calibrate(self, crops: Iterable[CropBatch]) -> float:
        """Set ``config.sigma_scale`` so that scales are the standard deviations of coordinates on held-out crops.

        The maximum-likelihood factor of Gaussian scales: the root mean square of error / σ over the face's points.

        Returns:
            The factor.
        """
        face, total, count = self.head.topology.subset(self.config.points), 0.0, 0
        for batch in crops:
            output = self(batch.images)
            ratio = (output.points[:, face] - batch.points) * torch.exp(-output.log_sigma[:, face])
            total, count = total + float(ratio.double().square().sum()), count + ratio.numel()
        self.config.sigma_scale = (total / max(count, 1)) ** 0.5
        return self.config.sigma_scale

    def criterion(self, weights: FlowFaceLossConfig) -> FlowFaceCriterion:
        """Build the training loss."""
        return FlowFaceCriterion(weights, self.config, self.head)

    def metrics(self) -> dict[str, Metric]:
        """Return NME of the 68 points, and mean errors in 1/256 of the crop: of the face, all vertices, the guess."""
        from facezoo.metrics import MeanLandmarkError, NormalizedMeanError  # predicting does without

        means = {name: MeanLandmarkError() for name in ("mlme", "mlme_all", "mlme_guess")}
        return {"nme68": NormalizedMeanError(), **means}

    def update_metrics(self, metrics: dict[str, Metric], output: FlowFaceOutput, batch: CropBatch) -> None:
        """Add a validation batch."""
        truth, _, _ = self.labels(batch)
        face = self.head.topology.subset(self.config.points)
        metrics["nme68"].update(output.landmarks68, batch.landmarks68)
        metrics["mlme"].update(output.points[:, face], batch.points)
        metrics["mlme_all"].update(output.points, truth)
        metrics["mlme_guess"].update(output.guess[:, face, :2], batch.points)

    def preview_points(self, output: FlowFaceOutput | CropBatch) -> Tensor:
        """Return the 68 points on the mesh."""
        return output.landmarks68

    def targets(self, batch: CropBatch) -> tuple[Tensor, Tensor]:
        """Return all vertices with their depths (B, V, 3), and nothing else (B, 1)."""
        points, depth, _ = self.labels(batch)
        return torch.cat((points, depth), 2), points.new_zeros(len(points), 1)

    def start_from(self, statistics: TargetStatistics) -> None:
        """Start at the mean map from texture to crop, and its principal directions."""
        self.net.start_from(statistics)
