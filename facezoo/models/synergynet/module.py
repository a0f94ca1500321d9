"""The SynergyNet model: network, crop, training loss, metrics, targets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Self

import torch
from torch import Tensor

from facezoo.data.augment import CropBatch
from facezoo.data.statistics import TargetStatistics
from facezoo.geometry.rotations import matrix_to_euler
from facezoo.heads import load_head
from facezoo.models.base import ZooModel
from facezoo.models.synergynet.config import SynergyConfig, SynergyLossConfig
from facezoo.models.synergynet.criterion import SynergyCriterion, true_parameters
from facezoo.models.synergynet.net import UNITS, SynergyNet, SynergyOutput, SynergyTraining
from facezoo.models.synergynet.space import pose_rotation

if TYPE_CHECKING:
    from torchmetrics import Metric


class SynergyModel(ZooModel):
    """3DMM parameters and 68 landmarks of one face."""

    config_class: ClassVar[type] = SynergyConfig
    loss_class: ClassVar[type] = SynergyLossConfig
    method: ClassVar[str] = "synergynet"
    body: ClassVar[frozenset[str]] = frozenset({"backbone", "widths", "depths", "block"})
    units: ClassVar[Mapping[str, str]] = UNITS
    config: SynergyConfig

    def __init__(self, config: SynergyConfig, pretrained: bool = False) -> None:
        """Build the model with its head.

        Args:
            config: sizes and kinds of all parts.
            pretrained: download a timm backbone's published weights (training only).

        Raises:
            AssetError: the head is not installed or does not fit.
        """
        super().__init__(config)
        self.net = SynergyNet(config, load_head(config.head), pretrained)

    @classmethod
    def for_training(cls, config: SynergyConfig) -> SynergyModel:
        """Build an untrained model whose codes are the principal directions of the head's population."""
        from facezoo.models.synergynet.whitening import modes_for

        model = cls(config, config.pretrained)
        if not config.official:
            model.net.space.set_modes(*modes_for(config.head, config.whitening, jaw=config.jaw))
        if config.features_from:
            from facezoo.models.begin import load_features

            load_features(model.net.image_to_params.backbone, config)
        return model

    def forward(self, images: Tensor) -> SynergyOutput | SynergyTraining:
        """Estimate everything for crops (B, 3, S, S) in [0, 1]."""
        return self.net(images)

    def criterion(self, weights: SynergyLossConfig) -> SynergyCriterion:
        """Build the training loss."""
        return SynergyCriterion(weights, self.net.space)

    def metrics(self) -> dict[str, Metric]:
        """Return NME of the refined points (with contour: both sets), of the 3DMM's and its dense points, and the pose.

        The pose's is the mean absolute error of the three angles in degrees.
        """
        from facezoo.metrics import NormalizedMeanError, PoseMeanError  # predicting does without

        names = ["nme68", "nme_3dmm68", "nme_dense"]
        if self.config.contour:
            names.insert(1, "nme_contour68")
        return {**{name: NormalizedMeanError() for name in names}, "pose": PoseMeanError()}

    def update_metrics(
        self, metrics: dict[str, Metric], output: SynergyOutput | SynergyTraining, batch: CropBatch
    ) -> None:
        """Add a validation batch."""
        space = self.net.space
        metrics["nme68"].update(space.to_crop_units(output.refined), batch.landmarks68)
        metrics["nme_3dmm68"].update(space.to_crop_units(output.landmarks), batch.landmarks68)
        if self.config.contour:
            metrics["nme_contour68"].update(space.to_crop_units(output.contour), batch.contour68)
        if self.config.points in space.head.topology.subsets:
            dense = space.reconstruct_dense(output.params, space.head.topology.subset(self.config.points))
            metrics["nme_dense"].update(space.to_crop_units(dense), batch.points, batch.box_side)
        angles = (
            torch.rad2deg(torch.stack(matrix_to_euler(pose_rotation(space.split(raw)[0])), 1))
            for raw in (space.unwhiten(output.params), true_parameters(space, batch).raw)
        )
        metrics["pose"].update(*angles)

    def preview_points(self, output: SynergyOutput | SynergyTraining | CropBatch) -> Tensor:
        """Return the 68 points in crop units."""
        if isinstance(output, CropBatch):
            return output.landmarks68
        return self.net.space.to_crop_units(output.refined)

    def targets(self, batch: CropBatch) -> tuple[Tensor, Tensor]:
        """Return the 68 points (B, 68, 2) and pose with codes (B, P)."""
        return batch.landmarks68, true_parameters(self.net.space, batch).raw

    def inherit(self, name: str, own: Tensor, given: Tensor, parent: Self) -> Tensor | None:
        """Take over what fits; layers about codes only where the codes mean the same."""
        about_codes = name.startswith(("net.space.", "net.refiner.merge.", "net.reverse.heads.")) or (
            name.startswith("net.image_to_params.heads.") and ".heads.0." not in name
        )
        if about_codes and self.config.head != parent.config.head:
            return None
        return given if given.shape == own.shape else None

    def start_from(self, statistics: TargetStatistics) -> None:
        """Start at the mean face."""
        self.net.start_from(statistics)
