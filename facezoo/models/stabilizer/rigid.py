"""Rigid transforms: composition, inverse, the exponential map, midpoints and means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from facezoo.geometry import axis_angle_to_matrix, geodesic_angle, matrix_to_axis_angle
from facezoo.geometry.rotations import skew

_SERIES = 1e-2  # squared angle below which Taylor series are exact to rounding


@dataclass(frozen=True)
class RigidTransform:
    """The map ``x -> R x + t``, batched over leading dimensions.

    Attributes:
        R: rotations (..., 3, 3), determinant +1.
        t: translations (..., 3), in the unit of the points.
    """

    R: Tensor
    t: Tensor

    @classmethod
    def identity(cls, shape: Sequence[int] = (), like: Tensor | None = None) -> RigidTransform:
        """Return identities of a leading shape, on the device and in the type of ``like``."""
        base = torch.zeros(()) if like is None else like
        return cls(base.new_zeros(*shape, 3, 3) + torch.eye(3).to(base), base.new_zeros(*shape, 3))

    @classmethod
    def exp(cls, twist: Tensor) -> RigidTransform:
        """Return the transforms of twists (..., 6): axis-angle, then velocity."""
        w, v = twist[..., :3], twist[..., 3:]
        sq = w.square().sum(-1)
        small = sq < _SERIES
        safe = torch.where(small, torch.ones_like(sq), sq)
        angle = safe.sqrt()
        b = torch.where(small, 0.5 - sq / 24 * (1 - sq / 30), (1 - angle.cos()) / safe)
        c = torch.where(small, 1 / 6 - sq / 120 * (1 - sq / 42), (angle - angle.sin()) / (safe * angle))
        k = skew(w)
        once = (k @ v[..., None])[..., 0]
        twice = (k @ once[..., None])[..., 0]
        return cls(axis_angle_to_matrix(w), v + b[..., None] * once + c[..., None] * twice)

    def log(self) -> Tensor:
        """Return the twists (..., 6) of :meth:`exp`, for angles below π."""
        w = matrix_to_axis_angle(self.R)
        sq = w.square().sum(-1)
        small = sq < _SERIES
        safe = torch.where(small, torch.ones_like(sq), sq)
        half = safe.sqrt() / 2
        c = torch.where(small, 1 / 12 + sq / 720 * (1 + sq / 42), (1 - half / half.tan()) / safe)
        k = skew(w)
        once = (k @ self.t[..., None])[..., 0]
        twice = (k @ once[..., None])[..., 0]
        return torch.cat([w, self.t - once / 2 + c[..., None] * twice], -1)

    def apply(self, points: Tensor) -> Tensor:
        """Move points (..., N, 3); the result has their type."""
        R, t = self.R.to(points.dtype), self.t.to(points.dtype)
        if points.dim() == 3 and R.dim() == 3:  # one pass over the points
            return torch.baddbmm(t[:, None], points, R.mT)
        return points @ R.mT + t[..., None, :]

    def inverse(self) -> RigidTransform:
        """Return the map back."""
        back = self.R.mT
        return RigidTransform(back, -(back @ self.t[..., None])[..., 0])

    def __matmul__(self, other: RigidTransform) -> RigidTransform:
        return RigidTransform(self.R @ other.R, (self.R @ other.t[..., None])[..., 0] + self.t)

    def __getitem__(self, index: int | slice | Tensor) -> RigidTransform:
        return RigidTransform(self.R[index], self.t[index])

    def __len__(self) -> int:
        return len(self.R)

    def to(self, where: Any) -> RigidTransform:
        """Convert both parts to a type, or move them to a device."""
        return RigidTransform(self.R.to(where), self.t.to(where))

    def half(self) -> RigidTransform:
        """Return the square root, for angles below π: done twice, it is the whole transform.

        Closed forms: Rodrigues' formula for half the angle, and t½ = (I + R½)⁻¹ t.
        """
        odd, even = self.R - self.R.mT, self.R + self.R.mT
        trace = even.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None] / 2
        c = (1 + trace).sqrt() / 2  # cosine of half the angle
        more = 4 * (1 + c)
        R = odd / (4 * c) + even / more
        R.diagonal(dim1=-2, dim2=-1).add_(((2 + 4 * c) / more)[..., 0])
        t = self.t - ((odd @ self.t[..., None]) / (c * more))[..., 0]
        return RigidTransform(R, t / 2)

    @property
    def matrix(self) -> Tensor:
        """Homogeneous matrices (..., 4, 4)."""
        last = self.R.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(*self.R.shape[:-2], 1, 4)
        return torch.cat([torch.cat([self.R, self.t[..., None]], -1), last], -2)

    @property
    def angle(self) -> Tensor:
        """Rotation angles (...), radians."""
        return geodesic_angle(self.R, torch.eye(3).to(self.R).expand_as(self.R))

    @staticmethod
    def stack(parts: Sequence[RigidTransform]) -> RigidTransform:
        """Stack along a new first dimension."""
        return RigidTransform(torch.stack([p.R for p in parts]), torch.stack([p.t for p in parts]))


def robust_mean(estimates: RigidTransform, pivot: Tensor, reach: float, rounds: int = 8) -> RigidTransform:
    """Average estimates (K, ...) of the same transforms; outliers count little.

    Rotations are averaged on SO(3): the chordal L2 mean, by SVD, with the weights of a geometric median (Hartley et
    al. 2013). Translations are averaged at ``pivot``, so that the result does not depend on where the origin is.

    Args:
        estimates: K estimates of each transform.
        pivot: (..., 3) a point near the middle of what moves, before the transforms.
        reach: radius of what moves, in the unit of ``t``: what an angle is worth as a distance.
        rounds: of reweighting.

    Returns:
        The averages (...).
    """
    moved = (estimates.R @ pivot[..., None])[..., 0] + estimates.t  # (K, ..., 3)
    weight = torch.ones_like(moved[..., 0])
    for _ in range(rounds):
        share = weight / weight.sum(0)
        u, _, vh = torch.linalg.svd((share[..., None, None] * estimates.R).sum(0))
        sign = torch.ones_like(u[..., 0])
        sign[..., -1] = torch.linalg.det(u @ vh).sign()
        rotation = (u * sign[..., None, :]) @ vh
        centre = (share[..., None] * moved).sum(0)
        chord = (estimates.R - rotation).square().sum((-2, -1)) / 2  # angle² for small angles
        distance = ((moved - centre).square().sum(-1) + reach**2 * chord).sqrt()
        weight = 1 / (distance + 0.05 * reach * 1e-2)
    return RigidTransform(rotation, centre - (rotation @ pivot[..., None])[..., 0])
