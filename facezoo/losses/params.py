"""Losses on head parameters and pose, masked per sample because not every sample knows every parameter."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from facezoo.losses.likelihood import weighted_mean


def normalized_smooth_l1(
    value: Tensor, target: Tensor, std: Tensor | float = 1.0, mask: Tensor | None = None
) -> Tensor:
    """Average the smooth L1 distance of parameters (B, P) in units of their standard deviation.

    Args:
        value: predicted parameters (B, P).
        target: true parameters (B, P).
        std: standard deviations (P,), so that millimetre-sized and radian-sized parameters weigh alike.
        mask: optional (B,) weights; samples without a target get zero.
    """
    error = F.smooth_l1_loss(value / std, target / std, reduction="none").mean(-1)
    return weighted_mean(error, mask)


def rotation_loss(rotation: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Average the squared Frobenius distance of rotation matrices (B, 3, 3), which is 8 sin²(angle / 2)."""
    return weighted_mean((rotation - target).square().sum((-2, -1)), mask)
