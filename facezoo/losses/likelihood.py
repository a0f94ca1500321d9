"""Negative log-likelihoods of points under independent Gaussian or Laplace errors with predicted scales."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from facezoo.errors import InputError

# exp(-9) is 0.016 px in a 128 px crop: with less, one lucky point would own the gradient.
LOG_SIGMA_MIN = -9.0


def gaussian_nll(mean: Tensor, log_sigma: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Average the Gaussian negative log-likelihood per point.

    Args:
        mean: predicted points (B, N, D).
        log_sigma: log standard deviation (B, N, D), or (B, N, 1) when the coordinates share one.
        target: points (B, N, D) in the unit of ``mean``.
        weight: optional (B, N) or (B, N, 1) weight of each point.

    Returns:
        Scalar: sum over coordinates, weighted mean over points and batch.

    Source: Wood et al. 2022, "3D face reconstruction with dense landmarks", equation 1 (with the constant kept).
    """
    log_sigma = _check(mean, log_sigma, target)
    nll = 0.5 * ((target - mean) * torch.exp(-log_sigma)).square() + log_sigma + 0.5 * math.log(2 * math.pi)
    return weighted_mean(nll.sum(-1), weight)


def laplace_nll(mean: Tensor, log_scale: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Average the Laplace negative log-likelihood per point; arguments as in :func:`gaussian_nll`.

    The density of a coordinate is ``exp(-|d| / b) / (2 b)`` with ``b = exp(log_scale)`` (standard deviation √2 b).
    """
    log_scale = _check(mean, log_scale, target)
    nll = (target - mean).abs() * torch.exp(-log_scale) + log_scale + math.log(2)
    return weighted_mean(nll.sum(-1), weight)


def weighted_mean(values: Tensor, weight: Tensor | None) -> Tensor:
    """Average ``values`` (B, N) with optional weights (B, N) or (B, N, 1); all-zero weights give zero."""
    if weight is None:
        return values.mean()
    weight = weight.reshape(values.shape).to(values.dtype)
    return (values * weight).sum() / weight.sum().clamp_min(1e-12)


def _check(mean: Tensor, log_sigma: Tensor, target: Tensor) -> Tensor:
    if mean.shape != target.shape:
        raise InputError(
            f"predicted points {tuple(mean.shape)} and target {tuple(target.shape)} differ in shape"
        )
    if log_sigma.shape[:-1] != mean.shape[:-1] or log_sigma.shape[-1] not in (1, mean.shape[-1]):
        raise InputError(
            f"log scales have shape {tuple(log_sigma.shape)}; expected {tuple(mean.shape)} or a last dimension of 1"
        )
    return log_sigma.clamp_min(LOG_SIGMA_MIN).expand_as(mean)
