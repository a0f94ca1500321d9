"""The DECA model: networks, crop, training loss, metrics, targets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Self

import torch
from torch import Tensor, nn

from facezoo.data.augment import CropBatch
from facezoo.data.statistics import TargetStatistics
from facezoo.heads import HeadParams, load_head
from facezoo.models.base import ZooModel
from facezoo.models.deca.config import DecaConfig, DecaLossConfig
from facezoo.models.deca.net import DecaNet, DecaOutput
from facezoo.models.deca.relief_model import ReliefModel
from facezoo.models.deca.space import fixed_ids
from facezoo.models.signature import CROP_SIDES, NUMBER

if TYPE_CHECKING:
    from torchmetrics import Metric

    from facezoo.models.deca.criterion_detail import DetailCriterion


class DecaModel(ZooModel):
    """A head with albedo, light, camera and surface detail from one face."""

    config_class: ClassVar[type] = DecaConfig
    loss_class: ClassVar[type] = DecaLossConfig
    method: ClassVar[str] = "deca"
    body: ClassVar[frozenset[str]] = frozenset({"head", "backbone", "widths", "depths", "block"})
    units: ClassVar[Mapping[str, str]] = {
        "codes": NUMBER, "landmarks68": CROP_SIDES, "detail": NUMBER, "displacement": "metres"
    }  # fmt: skip
    config: DecaConfig

    def __init__(self, config: DecaConfig, pretrained: bool = False) -> None:
        """Build the model with its head.

        Args:
            config: sizes and kinds of all parts.
            pretrained: download a timm backbone's published weights (training only).

        Raises:
            AssetError: the head is not installed or does not fit.
        """
        super().__init__(config)
        self.net = DecaNet(config, load_head(config.head), pretrained)
        self._relief: DetailCriterion | None = None  # the one in training, whose maps the metrics need

    @classmethod
    def for_training(cls, config: DecaConfig) -> DecaModel:
        """Build an untrained model, with published or this project's backbone weights if configured."""
        model = cls(config, config.pretrained)
        if config.features_from or config.detail_features_from:
            from facezoo.models.deca.start import begin_with_features

            begin_with_features(model.net, config)
        return model

    def forward(self, images: Tensor) -> DecaOutput:
        """Estimate everything for crops (B, 3, S, S) in [0, 1]."""
        return self.net(images)

    def criterion(self, weights: DecaLossConfig) -> nn.Module:
        """Build the loss of the stage that ``weights`` names."""
        from facezoo.heads.texture import load_texture  # predicting does without albedo
        from facezoo.models.deca.painter import FacePainter

        head, official = self.net.space.head, self.config.official
        painter: FacePainter | None = None
        if weights.name == "detail" or weights.pixels or weights.identity:
            painter = FacePainter(
                head, load_texture(self.config.texture, self.config.n_albedo), official=official
            )
        if weights.name == "detail":
            from facezoo.models.deca.criterion_detail import DetailCriterion
            from facezoo.models.deca.id_mrf import IdMrf
            from facezoo.models.deca.uv_detail import UvSurface

            assert painter is not None
            style = IdMrf(weights.style_weights, official=official) if weights.detail_style else None
            surface = UvSurface(head, self.config.detail_size, official=official)
            criterion = DetailCriterion(weights, self.net, painter, surface, style)
            labelled = weights.label_displacement or weights.label_slopes
            object.__setattr__(self, "_relief", criterion if labelled else None)  # not a part of the model
            return criterion
        from facezoo.models.deca.criterion import DecaCriterion
        from facezoo.models.deca.frozen import IdentityFeatures

        judge = IdentityFeatures(weights.judge, weights.judge_weights) if weights.identity else None
        return DecaCriterion(weights, self.net, painter, judge)

    def metrics(self) -> dict[str, Metric]:
        """Return NME of the 68 and of the dense points, and the error of the neutral face in millimetres.

        Behind a criterion with relief labels also, and first, the errors of the relief on the true head.
        """
        from facezoo.metrics import MeanVertexError, NormalizedMeanError  # predicting does without
        from facezoo.metrics.relief import NormalError, ReliefError

        own: dict[str, Metric] = {
            "nme68": NormalizedMeanError(),
            "nme_dense": NormalizedMeanError(),
            "shape_mm": MeanVertexError(),
        }
        if self._relief is None:
            return own
        return {"relief_deg": NormalError(), "relief_mm": ReliefError(), **own}

    def update_metrics(self, metrics: dict[str, Metric], output: DecaOutput, batch: CropBatch) -> None:
        """Add a validation batch."""
        space = self.net.space
        metrics["nme68"].update(output.landmarks68, batch.landmarks68)
        ids = fixed_ids(space.head, self.config.points)
        if ids is None:
            return
        codes = self.net.split(output.codes)
        dense = space.place(space.vertices(codes, ids), codes)
        metrics["nme_dense"].update(dense, batch.points, batch.box_side)
        known = batch.identity_known > 0
        if bool(known.any()):
            heads = (
                space.head(HeadParams(identity=identity[known]), ids).vertices
                for identity in (codes.shape, batch.identity[:, : self.config.n_identity])
            )
            metrics["shape_mm"].update(*heads)
        labelled = batch.displacement_known > 0
        if "relief_deg" in metrics and bool(labelled.any()):
            rows = CropBatch(*(part[labelled] for part in batch))
            self._update_relief(metrics, output.displacement[labelled], rows)

    def _update_relief(self, metrics: dict[str, Metric], displacement: Tensor, batch: CropBatch) -> None:
        """Measure the relief alone: on the true head, where the picture shows it."""
        from facezoo.models.deca.relief import relief_normals, true_relief

        criterion = self._relief
        assert criterion is not None
        surface, seen = criterion.surface, criterion.texels.seen(batch.visible)
        kept = seen.sum((1, 2, 3)) > 0
        head = HeadParams(identity=batch.identity, expression=batch.expression, jaw=batch.jaw)
        vertices = self.net.space.head(head).vertices
        reliefs = displacement.float(), true_relief(batch, self.config.detail_size)
        normals = [relief_normals(surface, vertices, relief)[kept] for relief in reliefs]
        metrics["relief_deg"].update(*normals, seen[kept])
        metrics["relief_mm"].update(*((relief * surface.mask)[kept] for relief in reliefs), seen[kept])

    def preview_points(self, output: DecaOutput | CropBatch) -> Tensor:
        """Return the 68 points in crop units."""
        return output.landmarks68

    def targets(self, batch: CropBatch) -> tuple[Tensor, Tensor]:
        """Return true reliefs in millimetres (B, S S, 1), empty where nobody asks for them, and code vectors (B, P)."""
        from facezoo.models.deca.criterion import target_vector

        relief = batch.landmarks68.new_zeros(len(batch.landmarks68), 0, 1)
        if self.config.detail_rank:
            from facezoo.models.deca.relief import true_relief

            relief = 1000 * true_relief(batch, self.config.detail_size).flatten(1)[..., None]
        return relief, target_vector(self.net, batch)

    def inherit(self, name: str, own: Tensor, given: Tensor, parent: Self) -> Tensor | None:
        """Take over what fits; codes of another number of components keep those that both have."""
        if given.shape == own.shape:
            return given
        if not name.startswith(("net.codes_", "net.coarse.layers.2.")) or own.shape[1:] != given.shape[1:]:
            return None
        made, at_own, at_given = own.clone(), 0, 0
        for mine, theirs in zip(self.config.sizes, parent.config.sizes, strict=True):
            both = min(mine, theirs)
            made[at_own : at_own + both] = given[at_given : at_given + both]
            at_own, at_given = at_own + mine, at_given + theirs
        return made

    @property
    def measured(self) -> tuple[str, ...]:
        """True reliefs, where their principal components are wanted."""
        return ("displacement",) if self.config.detail_rank else ()

    def start_from(self, statistics: TargetStatistics) -> None:
        """Start at the mean face and, with ``detail_rank``, at the mean relief."""
        self.net.start_from(statistics)
        if isinstance(self.net.decoder, ReliefModel):
            self.net.decoder.start_from(statistics.points_mean, statistics.points_basis)

    @torch.no_grad()
    def detail_of(self, images: Tensor) -> Tensor:
        """Return a person's detail codes (B, d) for crops; they may be decoded under any jaw and expression."""
        if self.net.detail is None:
            return images.new_zeros(len(images), 0)
        return self.net.detail(images)
