"""A linear model of relief in the place of the convolutional decoder: the principal wrinkles of the training people."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from facezoo.models.deca.config import DecaConfig

_HIDDEN = 256


class ReliefModel(nn.Module):
    """Map jaw, expression and detail code to coefficients of principal reliefs.

    Relief of people is measured like their shape: mean and principal components of the true maps that a training starts
    from. Most of it is then known before the first step, and what is left to learn is how much of which wrinkle a face
    shows. The paper's decoder (:class:`~facezoo.models.deca.detail_decoder.DetailDecoder`) draws every map anew.

    Attributes:
        mean: (1, S, S) metres.
        basis: (K, S, S) metres at one standard deviation.
    """

    mean: Tensor
    basis: Tensor

    def __init__(self, config: DecaConfig) -> None:
        """Build the model of a configuration with ``detail_rank > 0``; flat until :meth:`start_from`."""
        super().__init__()
        rank, side = config.detail_rank, config.detail_size
        self.limit = config.max_displacement
        self.register_buffer("mean", torch.zeros(1, side, side))
        self.register_buffer("basis", torch.zeros(rank, side, side))
        last = nn.Linear(_HIDDEN, rank)
        self.layers = nn.Sequential(
            nn.Linear(3 + config.n_expression + config.detail, _HIDDEN), nn.ReLU(),
            nn.Linear(_HIDDEN, _HIDDEN), nn.ReLU(), last,
        )  # fmt: skip
        nn.init.normal_(last.weight, std=0.01)  # starts at the mean relief
        nn.init.zeros_(last.bias)

    def forward(self, jaw: Tensor, expression: Tensor, detail: Tensor) -> Tensor:
        """Map jaw (B, 3), expression (B, n) and detail codes (B, d) to displacements (B, 1, S, S) in metres."""
        with torch.autocast(jaw.device.type, enabled=False):
            given = torch.cat([jaw, expression, detail], 1).to(self.basis.dtype)
            relief = self.mean + torch.tensordot(self.layers(given), self.basis, 1)[:, None]
            return self.limit * (relief / self.limit).tanh()

    @torch.no_grad()
    def start_from(self, mean: Tensor, basis: Tensor) -> None:
        """Take mean (S S, 1) and principal components (K', S S, 1), at one standard deviation, of reliefs in mm."""
        side = self.mean.shape[-1]
        self.mean.copy_(mean.view(1, side, side) / 1000)
        found = basis[: len(self.basis)]
        self.basis.zero_()
        self.basis[: len(found)] = found.view(-1, side, side) / 1000
