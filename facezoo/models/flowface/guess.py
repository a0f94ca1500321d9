"""The first guess: the whole head at once, from the last feature map, as the refinement's starting point."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from facezoo.models.flowface.config import FlowFaceConfig


class Neck(nn.Module):
    """Flatten the last feature map to a vector that still knows where things are."""

    def __init__(self, channels: int, config: FlowFaceConfig) -> None:
        super().__init__()
        cells = (config.crop_size // 32) ** 2
        self.reduce = nn.Conv2d(channels, config.neck_channels, 1)
        self.join = nn.Linear(config.neck_channels * cells, config.neck)

    def forward(self, last: Tensor) -> Tensor:
        """Map (B, C, S / 32, S / 32) to (B, neck)."""
        return self.join(self.reduce(last).flatten(1)).relu()


class FirstGuess(nn.Module):
    """Vertices as the mean plus a few principal directions; position and depth move together.

    The directions are those of the training crops, so pose, shape, expression and placement are all in them. They stay
    as measured: only their coefficients are learned.
    """

    mean: Tensor
    basis: Tensor

    def __init__(self, features: int, rank: int, vertices: int) -> None:
        super().__init__()
        self.coefficients = nn.Linear(features, rank) if rank else None
        self.register_buffer("mean", torch.zeros(vertices, 3))
        self.register_buffer("basis", torch.zeros(rank, vertices, 3))

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, features) to x, y and depth (B, V, 3) in sides of the crop."""
        if self.coefficients is None:
            return self.mean.expand(len(features), -1, -1)
        moved = self.coefficients(features).float() @ self.basis.flatten(1)
        return self.mean + moved.unflatten(1, self.mean.shape)

    @torch.no_grad()
    def start_from(self, mean: Tensor, basis: Tensor) -> None:
        """Start at a mean (V, 3); directions (K, V, 3) are times their standard deviation, missing ones are zero."""
        self.mean.copy_(mean)
        self.basis.zero_()
        self.basis[: len(basis)] = basis[: len(self.basis)]
        if self.coefficients is not None:
            nn.init.zeros_(self.coefficients.bias)
            nn.init.zeros_(self.coefficients.weight)
