"""Distances of scans to reconstructions, pooled over all vertices of all faces as the NoW benchmark does."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat


class PooledDistance(Metric):
    """Median, mean and standard deviation (population) over every distance seen, in their own unit.

    Everything is kept, as float32: a median cannot be had from less. A scan has some 50 thousand counted vertices, so
    the whole NoW test set takes half a gigabyte.
    """

    higher_is_better = False
    is_differentiable = False
    full_state_update = False
    seen: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("seen", [], dist_reduce_fx="cat")

    def update(self, distances: Tensor) -> None:
        """Add one face's distances (N,), signs ignored."""
        self.seen.append(distances.detach().flatten().abs().float())

    def values(self) -> Tensor:
        """Return all distances (N,)."""
        return dim_zero_cat(self.seen) if self.seen else torch.zeros(0)

    @property
    def count(self) -> int:
        """Number of distances seen."""
        return int(self.values().numel())

    def compute(self) -> Tensor:
        """Return median, mean and standard deviation (3,); not numbers when nothing was seen."""
        values = self.values()
        if not values.numel():
            return torch.full((3,), torch.nan)
        ordered = values.sort().values
        middle = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
        wide = values.double()
        return torch.stack([middle.double(), wide.mean(), wide.std(unbiased=False)]).float()
