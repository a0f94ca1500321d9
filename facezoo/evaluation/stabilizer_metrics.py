"""md, mx and mAUC: how far an estimated transform leaves a skull from where it belongs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from facezoo.models.stabilizer import RigidTransform
from facezoo.models.stabilizer.criterion import distances
from facezoo.models.stabilizer.regions import Regions

AUC_LIMIT = 5.0  # mm
REGIONS = ("face", "upper_face", "full_head")


@dataclass(frozen=True)
class Score:
    """Errors of one method on one region.

    Attributes:
        md: mean over vertices of the distance between where the estimated and the true transform bring them, averaged
            over pairs, mm.
        mx: the largest distance over vertices, averaged over pairs, mm.
        mauc: area under "share of the vertices with an error up to τ" for τ from 0 to 5 mm, divided by 5 mm, averaged
            over pairs; in [0, 1], higher is better.
    """

    md: float
    mx: float
    mauc: float


def score(found: RigidTransform, truth: RigidTransform, vertices: Tensor, areas: Regions) -> dict[str, Score]:
    """Measure transforms of a batch.

    Args:
        found: (B) estimates.
        truth: (B).
        vertices: (B, V, 3) sources without noise, metres: where the distances are taken.
        areas: the regions.

    Returns:
        Region name to score.
    """
    apart = distances(found.to(torch.float64), truth.to(torch.float64), vertices.double())
    rows = {}
    for name in REGIONS:
        some = apart[:, getattr(areas, name)]
        # The area under a step function: each vertex counts from its error to the limit.
        area = (1 - some / AUC_LIMIT).clamp(min=0).mean(1)
        rows[name] = Score(float(some.mean()), float(some.amax(1).mean()), float(area.mean()))
    return rows
