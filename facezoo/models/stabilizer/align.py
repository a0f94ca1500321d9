"""Bring a pair near the template before the network sees it, and back again afterwards."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from facezoo.models.stabilizer.rigid import RigidTransform


class AlignedPair(NamedTuple):
    """A pair in the template's place.

    Attributes:
        target: (B, n, 3) metres.
        source: (B, n, 3).
        target_there: where the target's own frame went.
        source_there: where the source's own frame went.
    """

    target: Tensor
    source: Tensor
    target_there: RigidTransform
    source_there: RigidTransform

    def back(self, motion: RigidTransform) -> RigidTransform:
        """Turn a motion of the aligned source into the transform from the original source to the original target."""
        return self.target_there.inverse() @ motion @ self.source_there

    def forth(self, transform: RigidTransform) -> RigidTransform:
        """Turn a transform between the originals into the motion that is left for the aligned source."""
        return self.target_there @ transform @ self.source_there.inverse()


def align_pair(
    target: Tensor,
    source: Tensor,
    template: Tensor,
    weights: Tensor,
    *,
    procrustes: bool = True,
    symmetric: bool = True,
) -> AlignedPair:
    """Align the source to the target and both to the template, rigidly: meshes keep their size.

    The paper aligns the target to the template and the source to the aligned target. With ``symmetric`` the mean of the
    two is aligned to the template instead, so that source and target may change places without changing what the
    network sees: that makes T_st the inverse of T_ts.

    The closed forms of :func:`facezoo.geometry.align`, with all sums over points taken once: this is most of the time
    of a prediction. The SVDs are in float64.

    Args:
        target: (B, n, 3).
        source: (B, n, 3).
        template: (n, 3).
        weights: (n,) trust in each point.
        procrustes: False only moves both centres to the template's.
        symmetric: see above.
    """
    share = weights / weights.sum()
    middle = share @ template
    # Rows: the weights, and the weighted template about its middle.
    table = torch.cat([share[None], (share[:, None] * (template - middle)).mT])
    sums_t, sums_s = (table @ target).double(), (table @ source).double()
    mean_t, mean_s = sums_t[:, 0], sums_s[:, 0]
    if procrustes:
        centred = (target - mean_t[:, None].to(target)) * share[:, None]
        onto = _nearest_rotation((centred.mT @ (source - mean_s[:, None].to(source))).double())
        cross = sums_t[:, 1:]  # (B, 3, 3) template by target
        if symmetric:
            cross = (cross + sums_s[:, 1:] @ onto.mT) / 2
        place = _nearest_rotation(cross)
    else:
        place = onto = torch.eye(3).to(mean_t).expand(len(target), 3, 3)
    there = []
    for R, mean in ((place, mean_t), (place @ onto, mean_s)):
        there.append(RigidTransform(R, middle.double() - (R @ mean[..., None])[..., 0]))
    return AlignedPair(there[0].apply(target), there[1].apply(source), there[0], there[1])


def _nearest_rotation(cross: Tensor) -> Tensor:
    """Return the rotations R (B, 3, 3) that maximise tr(Rᵀ cross) (Kabsch 1976)."""
    u, _, vh = torch.linalg.svd(cross)
    u = torch.cat([u[..., :2], u[..., 2:] * torch.linalg.det(u @ vh).sign()[..., None, None]], -1)
    return u @ vh
