"""Bring a pair near the template before the network sees it, and back again afterwards."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from facezoo.models.stabilizer.net import UNIT
from facezoo.models.stabilizer.rigid import RigidTransform


class AlignedPair(NamedTuple):
    """A pair in the template's place.

    Attributes:
        target: (B, n, 3) offsets of the aligned target from the template in :data:`~.net.UNIT`; in memory (B, 3, n), as
            the network reads them.
        source: (B, n, 3) of the aligned source.
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

    The closed forms of :func:`facezoo.geometry.align`, with coordinates before points in memory: a rotation of (3, n)
    takes a tenth of the time of one of (n, 3). The SVDs are in float64.

    Args:
        target: (B, n, 3).
        source: (B, n, 3).
        template: (n, 3).
        weights: (n,) trust in each point.
        procrustes: False only moves both centres to the template's.
        symmetric: see above.
    """
    count, share = target.shape[0], weights / weights.sum()
    middle = share @ template
    shape = (template - middle).mT  # (3, n)
    both = torch.cat([target.mT, source.mT])  # (2 B, 3, n)
    mean = both @ share
    both -= mean[..., None]
    if procrustes:
        onto = _nearest_rotation(((both[:count] * share) @ both[count:].mT).double())
        cross = ((share * shape) @ both.mT).double()  # (2 B, 3, 3) template by mesh
        cross_t, cross_s = cross[:count], cross[count:]
        place = _nearest_rotation(cross_t + cross_s @ onto.mT if symmetric else cross_t)
        turn = torch.cat([place, place @ onto])
    else:
        turn = torch.eye(3).to(mean).double().expand(2 * count, 3, 3)
    there = RigidTransform(turn, middle.double() - (turn @ mean.double()[..., None])[..., 0])
    offsets = torch.baddbmm(shape, turn.to(both), both, beta=-1 / UNIT, alpha=1 / UNIT).mT
    return AlignedPair(offsets[:count], offsets[count:], there[:count], there[count:])


def _nearest_rotation(cross: Tensor) -> Tensor:
    """Return the rotations R (B, 3, 3) that maximise tr(Rᵀ cross) (Kabsch 1976).

    The third singular vectors follow from the first two, as both bases are to be right-handed: no determinant needed.
    """
    u, _, vh = torch.linalg.svd(cross)
    u[..., 2] = torch.linalg.cross(u[..., 0], u[..., 1])
    vh[..., 2, :] = torch.linalg.cross(vh[..., 0, :], vh[..., 1, :])
    return u @ vh
