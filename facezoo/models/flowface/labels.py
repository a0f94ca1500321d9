"""Where every vertex lies in a crop: recomputed from the head parameters that samples carry."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from facezoo.data.augment import CropBatch
from facezoo.heads.model import HeadModel
from facezoo.heads.params import HeadParams


class VertexLabels(nn.Module):
    """Targets of all vertices. Samples store 1609 points; parameters, pose and camera give the others exactly.

    The eyes are at rest: samples do not store the gaze, and eyeballs have no weight in the loss.
    """

    def __init__(self, head: HeadModel, size: int) -> None:
        """Prepare for crops of ``size`` pixels."""
        super().__init__()
        self.head, self.size = head, size

    @torch.no_grad()
    def forward(self, batch: CropBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Return points (B, V, 2) in crop units, depth (B, V, 1), and (B,) 1 where the parameters are known."""
        params = HeadParams(identity=batch.identity, expression=batch.expression, jaw=batch.jaw)
        camera = self.head(params).vertices @ batch.R.mT + batch.t[:, None]
        pixel = camera @ batch.K.mT
        points = pixel[..., :2] / pixel[..., 2:].clamp(min=1e-3) / self.size - 0.5
        zoom = (batch.K[:, 0, 0] / (batch.t[:, 2] * self.size))[:, None, None]
        depth = (camera[..., 2:] - batch.t[:, None, 2:]) * zoom
        return points, depth, batch.identity_known * batch.expression_known
