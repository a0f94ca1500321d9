"""Mean, principal components and spreads of training targets, measured once before a training starts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from facezoo.errors import InputError


@dataclass(frozen=True)
class TargetStatistics:
    """Statistics of regression targets.

    Attributes:
        points_mean: (N, 2) mean of all point targets in crop units.
        points_basis: (K, N, 2) principal components, each times its standard deviation.
        params_mean: (P,) mean of the parameter targets.
        params_std: (P,) their standard deviations, never zero.
    """

    points_mean: Tensor
    points_basis: Tensor
    params_mean: Tensor
    params_std: Tensor


@torch.no_grad()
def measure_targets(batches: Iterable[tuple[Tensor, Tensor]], rank: int) -> TargetStatistics:
    """Measure point configurations and parameters.

    Args:
        batches: pairs of points (B, N, 2) and parameters (B, P), augmented as in training.
        rank: number of components wanted; fewer are returned when there are fewer samples.

    Raises:
        InputError: no samples.
    """
    collected = list(batches)
    if not collected:
        raise InputError("no samples to measure; the data source is empty")
    points = torch.cat([p for p, _ in collected]).float()
    params = torch.cat([q for _, q in collected]).float()
    mean = points.mean(0)
    flat = (points - mean).flatten(1)
    rank = min(rank, flat.shape[0] - 1, flat.shape[1])
    if rank > 0:
        # Exact decomposition of the smaller Gram matrix: deterministic, unlike a randomised one.
        if flat.shape[0] <= flat.shape[1]:
            values, vectors = torch.linalg.eigh((flat @ flat.mT).double())
            scale = values.clamp_min(1e-20).sqrt()
            basis = ((flat.mT.double() @ vectors) / scale).mT * scale[:, None]
        else:
            values, vectors = torch.linalg.eigh((flat.mT @ flat).double())
            basis = vectors.mT * values.clamp_min(0).sqrt()[:, None]
        basis = basis.flip(0)[:rank].float() / max(flat.shape[0] - 1, 1) ** 0.5
    else:
        basis = flat.new_zeros(0, flat.shape[1])
    std = params.std(0, unbiased=False) if params.shape[0] > 1 else torch.ones(params.shape[1])
    # A parameter that never moves (a spread of rounding size) must not blow its loss up.
    std = torch.where(std > 1e-6, std, torch.ones_like(std))
    return TargetStatistics(mean, basis.unflatten(1, tuple(mean.shape)), params.mean(0), std)
