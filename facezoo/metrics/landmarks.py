"""Errors of 2D points: mean landmark error, NME, and the error of a fitted mesh's projection."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from facezoo.errors import InputError
from facezoo.metrics.mean import MeanOverFaces


class MeanLandmarkError(MeanOverFaces):
    """MLME: mean Euclidean distance over landmarks and faces, in pixels of a square of side ``size``.

    Args:
        size: the thesis reports pixels of a 256 px crop; inputs in crop units are multiplied by it. Use 1 for pixels.
    """

    def __init__(self, size: float = 256.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size = size

    def update(self, points: Tensor, target: Tensor) -> None:
        """Add faces: points and target (B, N, 2) in units of the square's side."""
        self.add(_distances(points, target).mean(1) * self.size)


class NormalizedMeanError(MeanOverFaces):
    """NME in percent: mean distance over landmarks divided by √(w·h) of the box tight around the true landmarks.

    Source: the 68-point protocol of 300W-LP / AFLW2000-3D (Zhu et al. 2016) and of DAD-3DHeads.
    """

    def update(self, points: Tensor, target: Tensor, box_side: Tensor | None = None) -> None:
        """Add faces.

        Args:
            points: (B, N, 2).
            target: (B, N, 2) in the same unit.
            box_side: (B,) √(w·h) of the box; by default of the box around ``target``.
        """
        if box_side is None:
            extent = target.amax(1) - target.amin(1)
            box_side = extent.prod(-1).sqrt()
        self.add(100 * _distances(points, target).mean(1) / box_side)


class MeanReprojectionError(MeanOverFaces):
    """MRLE: mean distance in pixels between the projected landmarks of a fitted head and the true landmarks.

    The thesis names it without a formula; defined here as mean over landmarks and faces of ``‖π(K(R X_i + t)) − y_i‖``
    with X_i the landmark on the fitted mesh, so it contains both the network's and the fit's error, where
    :class:`MeanLandmarkError` contains the network's alone.
    """

    def update(self, points3d: Tensor, R: Tensor, t: Tensor, K: Tensor, target: Tensor) -> None:
        """Add faces: fitted landmarks (B, N, 3), pose (B, 3, 3), (B, 3), K (B, 3, 3), target (B, N, 2) pixels."""
        camera = points3d @ R.mT + t.unsqueeze(1)
        homogeneous = camera @ K.mT
        self.add(_distances(homogeneous[..., :2] / homogeneous[..., 2:], target).mean(1))


def _distances(points: Tensor, target: Tensor) -> Tensor:
    if points.shape != target.shape or points.dim() != 3 or points.shape[-1] != 2:
        raise InputError(
            f"points {tuple(points.shape)} and target {tuple(target.shape)} must both be (B, N, 2)"
        )
    return (points.float() - target.float()).norm(dim=-1)
