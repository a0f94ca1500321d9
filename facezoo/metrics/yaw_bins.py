"""NME by how far the head is turned: the tables of AFLW2000-3D and AFLW."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from facezoo.errors import InputError

EDGES = (30.0, 60.0)


class YawTable(NamedTuple):
    """NME in percent for |yaw| in [0, 30], (30, 60] and above 60 degrees.

    Attributes:
        bins: one value a bin; not a number where no face fell.
        bin_mean: their unweighted mean, which papers print as "All" or "Mean".
        sample_mean: the mean over faces.
        faces: faces in each bin.
    """

    bins: tuple[float, float, float]
    bin_mean: float
    sample_mean: float
    faces: tuple[int, int, int]


class YawBinNME(Metric):
    """NME by bins of yaw (Zhu et al. 2016); its value is the mean of the bins, as published.

    The two means differ: two thirds of AFLW2000-3D are nearly frontal, and the bins weigh alike.
    """

    higher_is_better = False
    is_differentiable = False
    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("total", torch.zeros(3, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros(3, dtype=torch.long), dist_reduce_fx="sum")

    def update(
        self,
        points: Tensor,
        target: Tensor,
        yaw: Tensor,
        box_side: Tensor | None = None,
        visible: Tensor | None = None,
    ) -> None:
        """Add faces.

        Args:
            points: (B, N, 2).
            target: (B, N, 2) in the same unit.
            yaw: (B,) true yaw in degrees, as the dataset gives it: AFLW2000-3D has values up to 351, and the published
                tables count them among the largest.
            box_side: (B,) √(w·h) to divide by; by default of the box around ``target``. AFLW divides 21 points by the
                box of the fitted 68.
            visible: (B, N) which points count; all by default.

        Raises:
            InputError: wrong shapes, or a face without a visible point.
        """
        if (
            points.shape != target.shape
            or points.dim() != 3
            or points.shape[2] != 2
            or len(yaw) != len(points)
        ):
            raise InputError(
                f"points {tuple(points.shape)} and target {tuple(target.shape)} must both be (B, N, 2), "
                f"yaw {tuple(yaw.shape)} must be (B,)"
            )
        if box_side is None:
            box_side = (target.amax(1) - target.amin(1)).prod(1).sqrt()
        distance = (points - target).double().norm(dim=2)
        weight = torch.ones_like(distance) if visible is None else visible.to(distance)
        if bool((weight.sum(1) == 0).any()):
            raise InputError("a face has no visible point; leave it out")
        nme = 100 * torch.where(weight > 0, distance, 0).mul(weight).sum(1) / weight.sum(1) / box_side
        place = torch.bucketize(yaw.abs().to(nme), nme.new_tensor(EDGES))  # an edge belongs to the bin below
        self.total.index_add_(0, place, nme.detach())
        self.count.index_add_(0, place, torch.ones_like(place))

    def compute(self) -> Tensor:
        """Return the mean of the three bins in percent; bins without a face are left out."""
        seen = self.count > 0
        return (self.total[seen] / self.count[seen]).mean().float()

    def table(self) -> YawTable:
        """Return bins and both means."""
        bins = (self.total / self.count).tolist()
        faces = self.count.tolist()
        return YawTable(
            (bins[0], bins[1], bins[2]),
            float(self.compute()),
            float(self.total.sum() / self.count.sum()),
            (faces[0], faces[1], faces[2]),
        )
