"""The linear part of the network: the best linear estimate from the difference of two meshes, in closed form.

What expressions and registration noise do to a mesh is nearly Gaussian, so a linear estimate from enough pairs is hard
to beat. Gradient descent approaches it slowly: the noise is small beside what expressions move.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from facezoo.models.stabilizer.net import encode
from facezoo.models.stabilizer.pairs import AlignedBatch
from facezoo.models.stabilizer.rigid import RigidTransform

_SHRINK = 1e-4  # of the mean variance of a coordinate's difference


@torch.no_grad()
def fit_ridge(batches: Iterable[AlignedBatch], middle: Tensor, like: Tensor) -> Tensor:
    """Solve a ridge regression from coordinate differences to poses.

    There is no constant: where two meshes do not differ, nothing moves.

    Args:
        batches: aligned pairs.
        middle: (3,) the point that motions turn about.
        like: (9, 3 n) what is returned where there are no pairs.

    Returns:
        (9, 3 n), coordinates in the order x of all points, y, z.
    """
    size, pairs = like.shape[1], 0
    left, right = like.new_zeros(size, size), like.new_zeros(size, 9)
    for batch in batches:
        apart = (batch.target - batch.source).mT.flatten(1)
        left.addmm_(apart.mT, apart)
        right.addmm_(apart.mT, encode(RigidTransform(batch.R, batch.t), middle))
        pairs += len(apart)
    if not pairs:
        return like
    left, right = left.double(), right.double()
    left.diagonal().add_(_SHRINK * left.diagonal().mean())
    return torch.linalg.solve(left, right).mT.to(like)
