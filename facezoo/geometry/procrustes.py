"""Closed-form alignment of point sets: rigid and similarity (Umeyama 1991), weighted and batched."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from facezoo.errors import InputError


class Similarity(NamedTuple):
    """The map ``x -> scale R x + t``.

    Attributes:
        scale: (...).
        R: (..., D, D), determinant +1.
        t: (..., D).
    """

    scale: Tensor
    R: Tensor
    t: Tensor

    def apply(self, points: Tensor) -> Tensor:
        """Move points (..., N, D)."""
        return self.scale[..., None, None] * (points @ self.R.mT) + self.t[..., None, :]

    def inverse(self) -> Similarity:
        """Return the map back."""
        back = self.R.mT
        return Similarity(
            1 / self.scale, back, -(back @ self.t[..., None]).squeeze(-1) / self.scale[..., None]
        )


def align(source: Tensor, target: Tensor, weights: Tensor | None = None, *, scale: bool = True) -> Similarity:
    """Find the transform of ``source`` that is nearest to ``target`` in (weighted) least squares.

    Reflections are never returned. Differentiable where the singular values of the covariance differ.

    Args:
        source: (..., N, D), D = 2 or 3.
        target: (..., N, D).
        weights: (..., N) >= 0; default all one.
        scale: also estimate a common scale; otherwise it is one.

    Returns:
        The transform, leading shape broadcast.

    Raises:
        InputError: shapes differ, fewer than D points, or no positive weight.
    """
    if source.shape[-2:] != target.shape[-2:] or source.shape[-1] not in (2, 3):
        raise InputError(
            "source and target must both be (..., N, 2) or (..., N, 3), "
            f"got {tuple(source.shape)} and {tuple(target.shape)}."
        )
    n, d = source.shape[-2:]
    if n < d:
        raise InputError(f"alignment in {d}D needs at least {d} points, got {n}.")
    weight = source.new_ones(n) if weights is None else weights
    if weight.shape[-1] != n:
        raise InputError(f"weights must have shape (..., {n}), got {tuple(weight.shape)}.")
    total = weight.sum(-1, keepdim=True)
    if bool((weight < 0).any()) or bool((total <= 0).any()):
        raise InputError("weights must be non-negative and not all zero.")
    w = (weight / total)[..., None]
    mean_s, mean_t = (w * source).sum(-2), (w * target).sum(-2)
    s, t = source - mean_s[..., None, :], target - mean_t[..., None, :]
    u, singular, vh = torch.linalg.svd((w * t).mT @ s)
    sign = torch.ones_like(singular)
    sign[..., -1] = torch.linalg.det(u @ vh).sign()
    rotation = (u * sign[..., None, :]) @ vh
    if scale:
        variance = (w * s.square()).sum((-2, -1))
        if bool((variance <= 0).any()):
            raise InputError("source points coincide: no scale or rotation can be found.")
        factor = (singular * sign).sum(-1) / variance
    else:
        factor = torch.ones_like(singular[..., 0])
    moved = (rotation @ mean_s[..., None]).squeeze(-1)
    return Similarity(factor, rotation, mean_t - factor[..., None] * moved)
