"""The FlowFace model: network, crop, training loss, metrics, and the way from crop units to a photo's pixels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

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
        return model

    def forward(self, images: Tensor) -> FlowFaceOutput:
        """Map crops (B, 3, S, S) in [0, 1]."""
        return self.net(images)

    def criterion(self, weights: FlowFaceLossConfig) -> FlowFaceCriterion:
        """Build the training loss."""
        return FlowFaceCriterion(weights, self.config, self.head)

    def metrics(self) -> dict[str, Metric]:
        """Return NME of the 68 points, and mean errors of the face's and of all vertices in 1/256 of the crop."""
        from facezoo.metrics import MeanLandmarkError, NormalizedMeanError  # predicting does without

        return {"nme68": NormalizedMeanError(), "mlme": MeanLandmarkError(), "mlme_all": MeanLandmarkError()}

    def update_metrics(self, metrics: dict[str, Metric], output: FlowFaceOutput, batch: CropBatch) -> None:
        """Add a validation batch."""
        truth, _, _ = self.labels(batch)
        face = self.head.topology.subset(self.config.points)
        metrics["nme68"].update(output.landmarks68, batch.landmarks68)
        metrics["mlme"].update(output.points[:, face], batch.points)
        metrics["mlme_all"].update(output.points, truth)

    def preview_points(self, output: FlowFaceOutput | CropBatch) -> Tensor:
        """Return the 68 points on the mesh."""
        return output.landmarks68

    def targets(self, batch: CropBatch) -> tuple[Tensor, Tensor]:
        """Return all vertices (B, V, 2) and their depths (B, V)."""
        points, depth, _ = self.labels(batch)
        return points, depth[..., 0]

    def start_from(self, statistics: TargetStatistics) -> None:
        """Start at the mean map from texture to crop."""
        self.net.start_from(statistics, self.head)
