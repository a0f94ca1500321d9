"""NME of dense points in two or three dimensions, the other half of the AFLW2000-3D tables."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from facezoo.errors import InputError
from facezoo.metrics.mean import MeanOverFaces


class DenseNME(MeanOverFaces):
    """Mean distance of dense points in percent of √(w·h) of the box around the true 68 landmarks.

    Source: PRNet's dense evaluation (Feng et al. 2018). With ``dimensions=3`` depth is compared up to its mean, which
    no single picture shows.
    """

    def __init__(self, dimensions: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if dimensions not in (2, 3):
            raise InputError(f"dimensions={dimensions}; expected 2 or 3")
        self.dimensions = dimensions

    def update(self, points: Tensor, target: Tensor, landmarks68: Tensor) -> None:
        """Add faces.

        Args:
            points, target: (B, N, 2 or 3) in pixels.
            landmarks68: (B, 68, 2) true landmarks in the same pixels.
        """
        d = self.dimensions
        if points.shape != target.shape or points.dim() != 3 or points.shape[2] < d:
            raise InputError(
                f"points {tuple(points.shape)} and target {tuple(target.shape)} must both be (B, N, {d} or more)"
            )
        error = points[..., :d].double() - target[..., :d].double()
        if d == 3:
            error[..., 2] -= error[..., 2].mean(1, keepdim=True)
        side = (landmarks68.amax(1) - landmarks68.amin(1))[:, :2].double().prod(1).sqrt()
        self.add(100 * error.norm(dim=2).mean(1) / side)
