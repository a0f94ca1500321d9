"""Decoders: from a feature vector to N points and the raw scale of each, as one matrix or through a low-rank basis."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from facezoo.errors import InputError


class LinearDecoder(nn.Module):
    """One matrix for coordinates, one for scales: the head of the thesis and of residual log-likelihood estimation."""

    def __init__(self, features: int, points: int, scale_channels: int, normalize: bool = False) -> None:
        super().__init__()
        self.points, self.normalize = points, normalize
        self.coordinates = nn.Linear(features, points * 2)
        self.scales = nn.Linear(features, points * scale_channels)
        for layer in (self.coordinates, self.scales):
            nn.init.xavier_uniform_(layer.weight, gain=0.01)
            nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, features) to points (B, N, 2) and raw scales (B, N, 1 or 2)."""
        weight, bias = self.coordinates.weight, self.coordinates.bias
        points = features @ weight.mT
        if self.normalize:  # the norm divides the product, not the bias (released code of RLE)
            points = points / features.norm(dim=-1, keepdim=True)
        batch = features.shape[0]
        return (points + bias).view(batch, self.points, 2), self.scales(features).view(batch, self.points, -1)

    @torch.no_grad()
    def start_from(self, mean: Tensor, log_scale: Tensor) -> None:
        """Start at the mean configuration (N, 2) and raw scales (N, C)."""
        self.coordinates.bias.copy_(mean.flatten())
        self.scales.bias.copy_(log_scale.flatten())


class LowRankDecoder(nn.Module):
    """Coefficients of a basis of landmark configurations, and of a smaller basis of scales.

    A full matrix of 4·1609 outputs would be two thirds of a small network. Configurations of a head under any pose,
    identity and expression span few dimensions (they are linear in R·[identity, expression]), so a basis loses nothing.
    """

    def __init__(self, features: int, points: int, scale_channels: int, rank: int, scale_rank: int) -> None:
        super().__init__()
        self.points = points
        self.coefficients = nn.Linear(features, rank)
        self.basis = nn.Linear(rank, points * 2)
        self.scale_coefficients = nn.Linear(features, scale_rank)
        self.scale_basis = nn.Linear(scale_rank, points * scale_channels)
        nn.init.normal_(self.scale_basis.weight, std=0.02)
        nn.init.zeros_(self.basis.bias)
        nn.init.zeros_(self.scale_basis.bias)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, features) to points (B, N, 2) and raw scales (B, N, 1 or 2)."""
        batch = features.shape[0]
        points = self.basis(self.coefficients(features)).view(batch, self.points, 2)
        return points, self.scale_basis(self.scale_coefficients(features)).view(batch, self.points, -1)

    @torch.no_grad()
    def start_from(self, mean: Tensor, log_scale: Tensor, basis: Tensor | None = None) -> None:
        """Start at a mean configuration and, when given, a basis from principal components.

        Args:
            mean: (N, 2).
            log_scale: raw scales (N, C).
            basis: (K, N, 2) components, each times its standard deviation so that coefficients have unit variance;
                K ≤ rank. Missing rows stay small and random.
        """
        self.basis.bias.copy_(mean.flatten())
        self.scale_basis.bias.copy_(log_scale.flatten())
        if basis is None:
            return
        if basis.shape[0] > self.basis.in_features or basis.shape[1:] != mean.shape:
            raise InputError(
                f"basis has shape {tuple(basis.shape)}; expected (K, {self.points}, 2), "
                f"K <= {self.basis.in_features}"
            )
        self.basis.weight.normal_(std=float(basis.std()) * 0.01)
        self.basis.weight[:, : basis.shape[0]] = basis.flatten(1).mT
