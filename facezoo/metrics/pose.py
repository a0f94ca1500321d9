"""Errors of head rotation: mean absolute error of yaw, pitch and roll by the benchmarks' rule, and the angle."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from facezoo.errors import InputError
from facezoo.geometry.rotations import geodesic_angle
from facezoo.metrics.mean import MeanOverFaces


class AngleErrors(NamedTuple):
    """Mean absolute errors in degrees, and how many faces they are of."""

    yaw: float
    pitch: float
    roll: float
    mean: float
    faces: int
    left_out: int


class PoseMeanError(Metric):
    """Mean absolute error of yaw, pitch and roll in degrees, averaged over the three.

    Faces with a true angle outside ±``limit`` degrees are left out; with 99 that is the rule by which HopeNet,
    FSA-Net and SynergyNet keep 1,969 of the 2,000 faces of AFLW2000-3D. Differences are taken around the circle.

    Args:
        limit: largest true angle in degrees; infinity keeps all.
    """

    higher_is_better = False
    is_differentiable = False
    full_state_update = False
    total: Tensor
    count: Tensor
    left_out: Tensor

    def __init__(self, limit: float = 99.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.limit = limit
        self.add_state("total", torch.zeros(3, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("left_out", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, angles: Tensor, target: Tensor) -> None:
        """Add faces: predicted and true yaw, pitch, roll (B, 3) in degrees."""
        if angles.shape != target.shape or angles.dim() != 2 or angles.shape[1] != 3:
            raise InputError(
                f"angles {tuple(angles.shape)} and target {tuple(target.shape)} must both be (B, 3)"
            )
        kept = (target.abs() <= self.limit).all(1)
        error = (angles - target).detach().double().abs().remainder(360)
        error = torch.minimum(error, 360 - error)[kept]
        self.total += error.sum(0)
        self.count += len(error)
        self.left_out += len(kept) - len(error)

    def compute(self) -> Tensor:
        """Return the mean over faces and angles; not a number when no face was kept."""
        return (self.total / self.count).mean().float()

    def by_angle(self) -> AngleErrors:
        """Return the errors one by one."""
        yaw, pitch, roll = (self.total / self.count).tolist()
        return AngleErrors(yaw, pitch, roll, (yaw + pitch + roll) / 3, int(self.count), int(self.left_out))


class GeodesicPoseError(MeanOverFaces):
    """Mean angle in degrees between predicted and true rotations: one number that no choice of axes changes."""

    def update(self, rotation: Tensor, target: Tensor) -> None:
        """Add faces: rotations (B, 3, 3)."""
        if rotation.shape != target.shape or rotation.dim() != 3:
            raise InputError(
                f"rotation {tuple(rotation.shape)} and target {tuple(target.shape)} must both be (B, 3, 3)"
            )
        self.add(torch.rad2deg(geodesic_angle(rotation.double(), target.double())))
