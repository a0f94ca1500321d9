"""How far two reliefs of a skin are apart: the angle of their normals, and their heights."""

from __future__ import annotations

import torch
from torch import Tensor

from facezoo.errors import InputError
from facezoo.metrics.mean import MeanOverFaces


def normal_angles(normals: Tensor, target: Tensor) -> Tensor:
    """Return angles (B, 1, H, W) in degrees between maps of unit normals (B, 3, H, W).

    From the chord, because the arc cosine of nearly parallel float32 vectors is noise.
    """
    chord = (normals - target).norm(dim=1, keepdim=True)
    return torch.rad2deg(2 * torch.asin((chord / 2).clamp(max=1)))


class NormalError(MeanOverFaces):
    """Mean angle between normals, degrees, over the texels that count."""

    def update(self, normals: Tensor, target: Tensor, weight: Tensor) -> None:
        """Add faces: unit normals and target (B, 3, H, W), weight (B, 1, H, W)."""
        self.add(mean_of_texels(normal_angles(normals, target), weight))


class ReliefError(MeanOverFaces):
    """Mean absolute difference of displacements, millimetres, over the texels that count."""

    def update(self, displacement: Tensor, target: Tensor, weight: Tensor) -> None:
        """Add faces: displacement and target (B, 1, H, W) metres, weight (B, 1, H, W)."""
        self.add(mean_of_texels((displacement - target).abs() * 1000, weight))


def mean_of_texels(values: Tensor, weight: Tensor) -> Tensor:
    """Return the weighted mean (B,) of each map (B, 1, H, W).

    Raises:
        InputError: the shapes differ, or a map has no texel that counts.
    """
    if values.shape != weight.shape:
        raise InputError(f"maps {tuple(values.shape)} and weight {tuple(weight.shape)} must have one shape.")
    total = weight.sum((1, 2, 3))
    if bool((total <= 0).any()):
        raise InputError("a map has no texel that counts.")
    return (values * weight).sum((1, 2, 3)) / total
