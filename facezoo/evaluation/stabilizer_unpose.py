"""Unposing: fit the head model to both meshes of a pair and take its pose for the skull's."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import jacfwd, vmap

from facezoo.geometry import align
from facezoo.heads import HeadModel
from facezoo.models.stabilizer import RigidTransform
from facezoo.models.stabilizer.geometry import PairGeometry
from facezoo.models.stabilizer.people import Population

_STEPS = 6
_SIGMA = 1e-3  # metres: what a point is trusted to
_POSE_SIGMA = 0.3  # radians: jaw and neck


class _Layout(NamedTuple):
    """Where the unknowns of a pair lie: identity, then for each mesh expression, jaw, neck, turn and shift."""

    identity: int
    expression: int

    def split(self, x: Tensor) -> tuple[Tensor, list[tuple[Tensor, ...]]]:
        """Return the identity (k,) and both meshes' parts."""
        sizes = [self.expression, 3, 3, 3, 3]
        first, a, b = x.split([self.identity, sum(sizes), sum(sizes)])
        return first, [a.split(sizes), b.split(sizes)]


class Unpose:
    """Fit identity, two expressions, jaw, neck and place by Gauss-Newton with the head's own priors.

    This is what VOCA's "unposed" data are made with, and the paper's UNPOSE. On synthetic pairs it is given the very
    model that made them, which no user has: read its numbers as a bound.

    Args:
        head: the model to fit.
        ids: (n,) vertices that are fitted.
        identities, expressions: use only the first so many components; None uses all. Fewer make the model differ from
            the data, as every model differs from a scan.
    """

    def __init__(
        self, head: HeadModel, ids: Tensor, identities: int | None = None, expressions: int | None = None
    ) -> None:
        self.ids = ids  # of single vertices, as people fit them
        population = Population(head, 2, 0)
        self.geometry = PairGeometry(head, ids, population.sided).double()
        self.geometry.identity = self.geometry.identity[..., :identities].contiguous()
        self.geometry.joint_identity = self.geometry.joint_identity[..., :identities].contiguous()
        self.geometry.expression = self.geometry.expression[..., :expressions].contiguous()
        self.geometry.joint_expression = self.geometry.joint_expression[..., :expressions].contiguous()
        self.layout = _Layout(self.geometry.identity.shape[-1], self.geometry.expression.shape[-1])
        sigma = head.params["identity"].sigma[: self.layout.identity]
        spread = (population.high - population.low)[: self.layout.expression] / 3
        one = torch.cat([1 / spread, torch.full((6,), 1 / _POSE_SIGMA), torch.zeros(6)])
        self.prior = _SIGMA * torch.cat([1 / sigma, one, one]).double()

    @torch.no_grad()
    def __call__(self, source: Tensor, target: Tensor) -> RigidTransform:
        """Return the transforms (B) of the fitted skulls; all vertices (B, V, 3) are given."""
        source, target = source[:, self.ids].double(), target[:, self.ids].double()
        count = len(source)
        template = self.geometry.template.expand(count, -1, -1)
        x = source.new_zeros(count, len(self.prior))
        start = [align(template, mesh, scale=False) for mesh in (source, target)]
        seen = torch.stack([source, target], 1)
        base = [RigidTransform(s.R, s.t) for s in start]
        frames_R, frames_t = torch.stack([b.R for b in base], 1), torch.stack([b.t for b in base], 1)
        slope = vmap(jacfwd(self._residual), chunk_size=16)
        value = vmap(self._residual)
        for _ in range(_STEPS):
            J = torch.cat(
                [slope(x, seen, frames_R, frames_t), torch.diag(self.prior).expand(count, -1, -1)], 1
            )
            r = torch.cat([value(x, seen, frames_R, frames_t), self.prior * x], 1)
            normal = J.mT @ J + 1e-9 * torch.eye(J.shape[-1]).to(J)
            x = x - torch.linalg.solve(normal, (J.mT @ r[..., None]))[..., 0]
        skulls = [self._skull(x, i, RigidTransform(frames_R[:, i], frames_t[:, i])) for i in range(2)]
        return skulls[1] @ skulls[0].inverse()

    def _residual(self, x: Tensor, seen: Tensor, R: Tensor, t: Tensor) -> Tensor:
        """Return the differences (2 n 3,) in metres of one pair; ``x`` (P,), ``seen`` (2, n, 3), ``R`` (2, 3, 3)."""
        identity, parts = self.layout.split(x)
        rows = []
        for i, (expression, jaw, neck, turn, shift) in enumerate(parts):
            away = RigidTransform(R[i], t[i]) @ RigidTransform.exp(torch.cat([turn, shift]))
            away = RigidTransform(away.R[None], away.t[None])
            mesh, _ = self.geometry(identity[None], expression[None], jaw[None], neck[None], away)
            rows.append((mesh[0] - seen[i]).flatten())
        return torch.cat(rows)

    def _skull(self, x: Tensor, index: int, frame: RigidTransform) -> RigidTransform:
        rows = [self.layout.split(row) for row in x]
        identity = torch.stack([first for first, _ in rows])
        expression, jaw, neck, turn, shift = (
            torch.stack(part) for part in zip(*(p[index] for _, p in rows), strict=True)
        )
        away = frame @ RigidTransform.exp(torch.cat([turn, shift], -1))
        return self.geometry(identity, expression, jaw, neck, away)[1]
