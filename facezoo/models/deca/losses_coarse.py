"""Losses of the coarse stage (Feng et al. 2021, section 4.1): landmarks, lids, lips, pixels, identity, codes.

Landmarks are (B, 68, 2) in any common unit. With ``official=True`` sums run as in the released code, which makes some
of them grow with the batch or with the share of the picture that the face fills; the defaults are means over what
counts.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

EYE_PAIRS = ((37, 41), (38, 40), (43, 47), (44, 46))
LIP_PAIRS = ((61, 67), (62, 66), (63, 65))
_TINY = 1e-12  # under roots, where the gradient would have no end


def landmark_weights(like: Tensor) -> Tensor:
    """Return what each of the 68 landmarks counts, (68,): jaw corners, nose and mouth more."""
    weights = torch.ones(68, dtype=like.dtype, device=like.device)
    weights[[5, 6, 10, 11]] = 2
    weights[27:36] = 1.5
    weights[[30, 31, 35]] = 3
    weights[48:68] = 1.5
    weights[[48, 54]] = 3
    return weights


def landmark_loss(points: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the weighted mean absolute coordinate error over the whole batch.

    Args:
        points, target: (B, N, 2).
        weights: (B, N) or (N,): visibility, importance or their product; default all one.
    """
    weights = points.new_ones(points.shape[:2]) if weights is None else weights.expand(points.shape[:2])
    error = (points - target).abs().sum(-1)
    return (weights * error).sum() / (2 * weights.sum() + 1e-8)


def pair_distances(points: Tensor, pairs: tuple[tuple[int, int], ...]) -> Tensor:
    """Return distances (B, P) between the points of each pair."""
    upper, lower = (points[:, [pair[k] for pair in pairs]] for k in range(2))
    return ((upper - lower).square().sum(-1) + _TINY).sqrt()


def closure_loss(points: Tensor, target: Tensor, pairs: tuple[tuple[int, int], ...]) -> Tensor:
    """Return how far openings are wrong, whatever the face's place: ``EYE_PAIRS`` for lids, ``LIP_PAIRS`` for lips."""
    return (pair_distances(points, pairs) - pair_distances(target, pairs)).abs().mean()


def photometric_loss(rendered: Tensor, image: Tensor, mask: Tensor, *, official: bool = False) -> Tensor:
    """Return the mean absolute difference of two pictures where the mask says skin is seen.

    Args:
        rendered, image: (B, 3, H, W).
        mask: (B, 1, H, W) in [0, 1].
        official: mean over all pixels, so that a small face counts little; otherwise over the masked ones.
    """
    difference = (mask * (rendered - image)).abs()
    if official:
        return difference.mean()
    return difference.sum() / (image.shape[1] * mask.sum()).clamp_min(1.0)


def identity_loss(features: Tensor, target: Tensor) -> Tensor:
    """Return one minus the cosine between feature vectors (B, F), averaged."""
    return 1 - F.cosine_similarity(features, target, dim=1).mean()


def code_loss(codes: Tensor, *, official: bool = False) -> Tensor:
    """Return half the squared length of codes (B, n): the mean over the batch, or the released code's sum."""
    total = 0.5 * codes.square().sum()
    return total if official else total / len(codes)


def light_loss(light: Tensor) -> Tensor:
    """Return how coloured light (B, 9, 3) is: the mean squared distance of channels from their mean."""
    return (light - light.mean(-1, keepdim=True)).square().mean()
