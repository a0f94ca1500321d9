"""The training loss: how far the estimated motion leaves the skull from where it belongs."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from facezoo.models.stabilizer.config import StabilizerLossConfig
from facezoo.models.stabilizer.net import StabilizerOutput
from facezoo.models.stabilizer.pairs import AlignedBatch
from facezoo.models.stabilizer.rigid import RigidTransform

_EVERY = 4  # points: neighbours move alike


class PairCriterion(nn.Module):
    """Mean distance of points of the template in mm, and the angle between the rotations in degrees."""

    middle: Tensor
    points: Tensor

    def __init__(
        self, weights: StabilizerLossConfig, template: Tensor, middle: Tensor, symmetric: bool
    ) -> None:
        super().__init__()
        self.weights, self.symmetric = weights, symmetric
        self.register_buffer("middle", middle, persistent=False)
        self.register_buffer("points", template[::_EVERY].clone(), persistent=False)

    def forward(self, output: StabilizerOutput, batch: AlignedBatch) -> dict[str, Tensor]:
        """Return the weighted terms."""
        motion = output.motion(self.middle, self.symmetric)
        distance = distances(motion, RigidTransform(batch.R, batch.t), self.points)
        chord = (motion.R - batch.R).square().sum((-2, -1)) / 2  # angle² for small angles
        angle = torch.sqrt(chord + 1e-12) * (180 / math.pi)
        return {
            "distance": self.weights.distance * distance.mean(),
            "angle": self.weights.angle * angle.mean(),
        }


def distances(found: RigidTransform, truth: RigidTransform, points: Tensor) -> Tensor:
    """Return how far two transforms move points (n, 3) or (B, n, 3) apart, (B, n) mm."""
    apart = points @ (found.R - truth.R).mT + (found.t - truth.t)[:, None]
    return 1e3 * torch.sqrt(apart.square().sum(-1) + 1e-14)
