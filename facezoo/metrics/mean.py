"""The mean over faces that all metrics are."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


class MeanOverFaces(Metric):
    """Average one number per face, weighted equally whatever the batch sizes."""

    higher_is_better = False
    is_differentiable = False
    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def compute(self) -> Tensor:
        """Return the mean over all faces seen; not a number when none was."""
        return (self.total / self.count).float()

    def add(self, per_face: Tensor) -> None:
        """Add one number per face (B,)."""
        self.total += per_face.detach().double().sum()
        self.count += per_face.numel()
