"""md: the mean distance between where two rigid transforms bring the points of a mesh."""

from __future__ import annotations

from torch import Tensor

from facezoo.metrics.mean import MeanOverFaces


class MeanDistance(MeanOverFaces):
    """Mean over points, then over pairs of meshes, mm."""

    def update(self, distances: Tensor) -> None:
        """Add pairs: distances (B, n) in mm."""
        self.add(distances.mean(1))
