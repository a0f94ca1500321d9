"""The cost of a head against 2D points, with its exact gradient and Gauss-Newton Hessian.

cost = ½ Σ ρ(w |A π(R v + t) - p|²) + ½ Σ ((x - mean) / sigma)²

v: vertices of :class:`~facezoo.fitting.problem.FitProblem`; π(X) = (X/Z, Y/Z); A: focal part of K; p: pixels
from the principal point. Plain ``mm`` and ``bmm`` on flat shapes throughout: with one face most of the time
goes into calling operations, not into arithmetic.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from facezoo.fitting.jaw import jaw_rotation, small_rotation
from facezoo.fitting.problem import FitProblem
from facezoo.fitting.robust import Robust, rho
from facezoo.fitting.state import Unknowns

# Jacobians are built for as many faces at once as fit the cache (CPU) or fill the device (GPU).
_JACOBIAN_BYTES = {"cpu": 16 << 20}
_JACOBIAN_BYTES_DEVICE = 1 << 30
# A vertex nearer than this (or behind the camera) counts as being this near: its projection flies off, the
# cost with it, and the solver takes a shorter step.
_NEAREST = 1e-3


class Observations(NamedTuple):
    """What was seen, batch first.

    Attributes:
        points: (B, 2, N) pixels from the principal point, finite (anything where the weight is zero).
        weight: (B, 2, N) confidence over squared sigma, zero for points to ignore.
        focal: (B, 2, 2) upper left block of K.
        mean: (B, n + 4) prior mean of coefficients, jaw and log focal length.
        precision: (B, n + 4) weight over squared width.
        robust_scale: (B,) standard deviations.
    """

    points: Tensor
    weight: Tensor
    focal: Tensor
    mean: Tensor
    precision: Tensor
    robust_scale: Tensor


class Evaluation(NamedTuple):
    """The cost at a state, and what its derivatives reuse; batch first.

    Attributes:
        cost: (B,).
        prior_pull: (B, n + 4) gradient of the prior.
        weight: (B, 2, N) of every residual, robust weight included.
        error: (B, 2, N) pixels; ``pull`` is weight times error.
        focal: (B, 2, 2) with the estimated factor.
        projected: (B, 2, N) pixels from the principal point.
        ray: (B, 2, N) X/Z, Y/Z; ``depth`` (B, 1, N) metres.
        turned: (B, 3, N) R v.
        arm: (B, 3, N) rest vertex minus jaw joint.
        turn: (B, 3, 3) jaw rotation minus identity; ``turns`` (B, 3, 9) its derivative by each component.
        R, t: of the state.
    """

    cost: Tensor
    prior_pull: Tensor
    weight: Tensor
    error: Tensor
    pull: Tensor
    focal: Tensor
    projected: Tensor
    ray: Tensor
    depth: Tensor
    turned: Tensor
    arm: Tensor
    turn: Tensor
    turns: Tensor
    R: Tensor
    t: Tensor


class HeadObjective:
    """Cost, gradient, Hessian and update rule for one batch; what :func:`facezoo.fitting.lm.minimise` asks for.

    Unknowns in order: coefficients, jaw (both unless ``rigid``), log focal length (if ``focal``), rotation ω
    (R <- Cayley(ω) R), translation over depth (t <- t + tz δ), so that all of the pose has the size of an
    angle.

    Args:
        problem: head and points.
        seen: observations of the B faces.
        rigid: only pose (and focal length) move.
        focal: the focal length moves.
        robust: loss of the points.
    """

    def __init__(
        self,
        problem: FitProblem,
        seen: Observations,
        *,
        rigid: bool = False,
        focal: bool = False,
        robust: Robust = "none",
    ) -> None:
        self.problem, self.seen, self.rigid, self.focal = problem, seen, rigid, focal
        self.robust: Robust = robust
        # The values that move are a slice of the state's: the last is the focal length.
        n = problem.n_coefficients + 3
        self.moving = slice(n if rigid else 0, n + int(focal))
        self.n_values = self.moving.stop - self.moving.start
        self.n_unknowns = self.n_values + 6
        self._pad = (self.moving.start, n + 1 - self.moving.stop)
        self._limits: tuple[Tensor, Tensor] | None = None  # of the state's values
        self._bounds: tuple[Tensor, Tensor] | None = None  # of the unknowns
        if problem.lower is not None and problem.upper is not None and not rigid:
            pairs = ((problem.lower, -torch.inf), (problem.upper, torch.inf))
            low, high = (F.pad(bound, (0, 1), value=free) for bound, free in pairs)
            self._limits = low, high
            low, high = (F.pad(bound, (0, self.n_unknowns - n), value=free) for bound, free in pairs)
            self._bounds = low, high

    def evaluate(self, state: Unknowns, rows: Tensor | None = None) -> Evaluation:
        """Compute cost and intermediate results for states of the batch's ``rows`` (None = all)."""
        seen = self.seen if rows is None else Observations(*(x[rows] for x in self.seen))
        problem, n = self.problem, self.problem.n_coefficients
        turn, turns = jaw_rotation(state.values[:, n : n + 3])
        rest, joint = problem.rest(torch.cat((state.values[:, :n], turn.view(-1, 9)), 1))
        arm = rest - joint
        turned = state.R.bmm(torch.addcmul(rest, turn.bmm(arm), problem.weights))
        side, depth = (turned + state.t[:, :, None]).split((2, 1), 1)
        depth = depth.clamp(min=_NEAREST)
        ray = side / depth
        focal = seen.focal * state.values[:, -1:, None].exp() if self.focal else seen.focal
        projected = focal.bmm(ray)
        error = projected - seen.points
        weight, pull = seen.weight, seen.weight * error
        if self.robust == "none":
            data = (pull * error).sum((1, 2))
        else:
            losses, factor = rho((pull * error).sum(1), self.robust, seen.robust_scale[:, None])
            weight, pull, data = weight * factor[:, None], pull * factor[:, None], losses.sum(1)
        values = state.values - seen.mean
        prior_pull = seen.precision * values
        cost = (prior_pull * values).sum(1).add_(data).mul_(0.5)
        return Evaluation(
            cost, prior_pull, weight, error, pull, focal, projected, ray, depth, turned, arm, turn, turns,
            state.R, state.t,
        )  # fmt: skip

    def gradient(self, at: Evaluation) -> Tensor:
        """Return the exact gradient (b, P) of the cost."""
        problem, n = self.problem, self.problem.n_coefficients
        sideways = at.focal.mT.bmm(at.pull) / at.depth
        forward = (sideways * at.ray).sum(1, keepdim=True).neg_()
        force = torch.cat((sideways, forward), 1)  # (b, 3, N) derivative by the camera-frame point
        torque = torch.linalg.cross(at.turned, force, dim=1).sum(2)
        parts = [torque, at.t[:, 2:] * force.sum(2)]
        if self.focal:
            pull = (at.pull * at.projected).sum((1, 2))[:, None]
            parts.insert(0, pull + at.prior_pull[:, -1:])
        if self.rigid:
            return torch.cat(parts, 1)
        head_force = at.R.mT.bmm(force)
        jaw_force = problem.weights * head_force
        through_jaw = at.turn.mT.bmm(jaw_force)
        # what pulls on the rest vertices, and, last, on the jaw joint
        on_rest = torch.cat((head_force + through_jaw, through_jaw.sum(2, keepdim=True).neg_()), 2)
        on_values = on_rest.view(len(on_rest), -1).mm(problem.basis)  # (b, n + 9)
        on_turn = torch.baddbmm(on_values[:, n:].view(-1, 3, 3), jaw_force, at.arm.mT)
        jaw = at.turns.bmm(on_turn.view(-1, 9, 1)).squeeze(2)
        shape = torch.cat((on_values[:, :n], jaw), 1).add_(at.prior_pull[:, :-1])
        return torch.cat((shape, *parts), 1)

    def hessian(self, at: Evaluation, rows: Tensor | None = None) -> Tensor:
        """Return the Gauss-Newton Hessian (b, P, P): JᵀJ of the weighted residuals plus the prior's."""
        size = len(at.cost)
        bytes_each = 2 * self.problem.n_points * self.n_unknowns * at.error.element_size()
        budget = _JACOBIAN_BYTES.get(at.error.device.type, _JACOBIAN_BYTES_DEVICE)
        chunk = max(1, budget // bytes_each)
        parts = []
        for start in range(0, size, chunk):
            part = at if chunk >= size else Evaluation(*(x[start : start + chunk] for x in at))
            parts.append(self._gram(part))
        out = parts[0] if len(parts) == 1 else torch.cat(parts)
        if self.n_values:
            precision = self.seen.precision if rows is None else self.seen.precision[rows]
            out.diagonal(dim1=1, dim2=2)[:, : self.n_values] += precision[:, self.moving]
        return out

    def _gram(self, at: Evaluation) -> Tensor:
        """Return JᵀJ (b, P, P), block by block: no pass is spent on putting the Jacobian together."""
        shape, rest = self._columns(at)
        below = rest.bmm(rest.mT)
        if shape is None:
            return below
        side = rest.bmm(shape)
        return torch.cat((torch.cat((shape.mT.bmm(shape), side.mT), 2), torch.cat((side, below), 2)), 1)

    def jacobian(self, at: Evaluation) -> Tensor:
        """Return the Jacobian (b, N, 2, P) of the projections, times the square root of their weights."""
        shape, rest = self._columns(at)
        whole = rest.mT if shape is None else torch.cat((shape, rest.mT), 2)
        return whole.unflatten(1, (-1, 2))

    def _columns(self, at: Evaluation) -> tuple[Tensor | None, Tensor]:
        """Return the Jacobian in two parts; both pixel coordinates of a point are neighbours.

        Returns:
            (b, 2 N, n) by the coefficients, None if ``rigid``; and (b, m, 2 N) by the other unknowns.
        """
        problem = self.problem
        b, points = len(at.cost), problem.n_points
        root = at.weight.sqrt()
        over_depth = (root / at.depth)[:, None]
        # (b, 3, 2, N): derivative of each pixel coordinate by the camera-frame point
        by_point = torch.cat(
            (at.focal.mT[..., None] * over_depth, (at.projected[:, None] * over_depth).neg_()), 1
        )
        columns = [
            torch.linalg.cross(at.turned[:, :, None], by_point, dim=1),
            at.t[:, 2, None, None, None] * by_point,
        ]
        if self.focal:
            columns.insert(0, (root * at.projected)[:, None])
        if self.rigid:
            return None, torch.cat(columns, 1).mT.flatten(2)
        by_head = at.R.mT.bmm(by_point.view(b, 3, -1)).view(b, 3, 2, points)
        by_jaw = by_head * problem.weights
        through_jaw = at.turn.mT.bmm(by_jaw.view(b, 3, -1)).view(b, 3, 2, points)
        by_rest = by_head + through_jaw
        # the jaw's rotation swings the arms, and moves rest vertices by the pose correctives: (b, 3 turns, 3,
        # N)
        swing = at.turns.view(b, 9, 3).bmm(at.arm).view(b, 3, 3, 1, points)
        correctives = at.turns.view(b * 3, 9).mm(problem.correctives).view(b, 3, 3, 1, points)
        columns.insert(0, torch.addcmul(by_jaw[:, None] * swing, by_rest[:, None], correctives).sum(2))
        # One small product per point, with the pixels of all faces side by side: (N, 2 b, 3) (N, 3, n)
        factors = by_rest.permute(3, 0, 2, 1).contiguous().view(points, 2 * b, 3)
        shape = factors.bmm(problem.by_vertex).view(points, b, 2, -1).transpose(0, 1).flatten(1, 2)
        # the jaw joint moves with the shape, and takes the pivot of the jaw along
        pivot = through_jaw.mT.flatten(2).mT
        shape = torch.baddbmm(shape, pivot, problem.joint_basis.expand(b, -1, -1), alpha=-1)
        return shape, torch.cat(columns, 1).mT.flatten(2)

    def retract(self, state: Unknowns, step: Tensor) -> Unknowns:
        """Return the states moved by steps (b, P); bounded coefficients are clamped to their bounds."""
        values, k = state.values, self.n_values
        if k:
            values = values + F.pad(step[:, :k], self._pad)
            if self._limits is not None:
                values = values.clamp(*self._limits)
        t = torch.addcmul(state.t, state.t[:, 2:], step[:, k + 3 :])
        return Unknowns(values, small_rotation(step[:, k : k + 3]).bmm(state.R), t)

    def room(self, state: Unknowns) -> tuple[Tensor, Tensor] | None:
        """Return how far each unknown may step down and up, (b, P) each, or None when nothing is bounded."""
        if self._bounds is None:
            return None
        values = F.pad(state.values[:, self.moving], (0, 6))
        return self._bounds[0] - values, self._bounds[1] - values
