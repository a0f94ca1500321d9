"""The cost of a head against 2D points, with its exact gradient and Gauss-Newton Hessian.

cost = ½ Σ ρ(w |A π(R v + t) - p|²) + ½ Σ ((x - mean) / sigma)²

v: vertices of :class:`~facezoo.fitting.problem.FitProblem`; π(X) = (X/Z, Y/Z); A: focal part of K; p: pixels from the
principal point.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from facezoo.fitting.jaw import jaw_rotation, small_rotation
from facezoo.fitting.problem import FitProblem
from facezoo.fitting.robust import Robust, rho
from facezoo.fitting.state import Unknowns

# Jacobians are built for as many faces at once as fit the cache (CPU) or fill the device (GPU).
_JACOBIAN_BYTES = {"cpu": 16 << 20}
_JACOBIAN_BYTES_DEVICE = 1 << 30
# Nearest allowed depth as a part of the head's own: a step that puts a vertex nearer is refused.
_NEAREST = 0.02


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
        turn: (B, 3, 3) jaw rotation minus identity; ``turns`` (B, 3, 3, 3) its derivative by each component.
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

    Unknowns in order: coefficients, jaw (both unless ``rigid``), rotation ω (R <- Cayley(ω) R), translation
    (t <- exp(δz) (t + tz (δx, δy, 0)): x and y over depth and log depth, so all have the size of an angle and
    depth stays positive), log focal length (if ``focal``).

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
        self.problem, self.seen, self.rigid, self.focal, self.robust = problem, seen, rigid, focal, robust
        self.n_shape = 0 if rigid else problem.n_coefficients + 3
        self.n_unknowns = self.n_shape + 6 + int(focal)
        # x and y of the translation move with the depth, z by itself
        self._sideways = torch.tensor([1.0, 1.0, 0.0], dtype=seen.points.dtype, device=seen.points.device)

    def evaluate(self, state: Unknowns, rows: Tensor | None = None) -> Evaluation:
        """Compute cost and intermediate results for states of the batch's ``rows`` (None = all)."""
        seen = self.seen if rows is None else Observations(*(x[rows] for x in self.seen))
        problem, n = self.problem, self.problem.n_coefficients
        turn, turns = jaw_rotation(state.values[:, n : n + 3])
        rest = problem.rest(torch.cat((state.values[:, :n], turn.flatten(1)), 1))
        rest, joint = rest[..., :-1], rest[..., -1:]
        arm = rest - joint
        turned = state.R @ torch.addcmul(rest, turn @ arm, problem.weights)
        camera = turned + state.t[..., None]
        depth = camera[:, 2:]
        ray = camera[:, :2] / depth
        focal = seen.focal * state.values[:, -1:, None].exp() if self.focal else seen.focal
        projected = focal @ ray
        error = projected - seen.points
        weight, pull = seen.weight, seen.weight * error
        if self.robust == "none":
            data = (pull * error).sum((1, 2))
        else:
            losses, factor = rho((pull * error).sum(1), self.robust, seen.robust_scale[:, None])
            weight, pull, data = weight * factor[:, None], pull * factor[:, None], losses.sum(1)
        values = state.values - seen.mean
        prior_pull = seen.precision * values
        cost = torch.add(data, (prior_pull * values).sum(1)).mul_(0.5)
        # A vertex at or behind the camera has no projection: infinite cost makes the solver take a shorter step.
        cost = torch.where(depth.amin((1, 2)) > _NEAREST * state.t[:, 2], cost, torch.inf)
        return Evaluation(
            cost, prior_pull, weight, error, pull, focal, projected, ray, depth, turned, arm, turn, turns,
            state.R, state.t,
        )  # fmt: skip

    def gradient(self, at: Evaluation) -> Tensor:
        """Return the exact gradient (b, P) of the cost."""
        problem, n = self.problem, self.problem.n_coefficients
        sideways = at.focal.mT @ at.pull / at.depth
        forward = (sideways * at.ray).sum(1, keepdim=True).neg_()
        force = torch.cat((sideways, forward), 1)  # (b, 3, N) derivative by the camera-frame point
        total = force.sum(2)
        torque = torch.linalg.cross(at.turned, force, dim=1).sum(2)
        parts = [torque, at.t[:, 2:] * total[:, :2], (at.t * total).sum(1, keepdim=True)]
        if self.focal:
            parts.append(((at.pull * at.projected).sum((1, 2)) + at.prior_pull[:, -1])[:, None])
        if self.rigid:
            return torch.cat(parts, 1)
        head_force = at.R.mT @ force
        jaw_force = problem.weights * head_force
        through_jaw = at.turn.mT @ jaw_force
        # what pulls on the rest vertices, and, last, on the jaw joint
        on_rest = torch.cat((head_force + through_jaw, -through_jaw.sum(2, keepdim=True)), 2)
        on_values = on_rest.flatten(1) @ problem.basis  # (b, n + 9)
        on_turn = jaw_force @ at.arm.mT + on_values[:, n:].view(-1, 3, 3)
        jaw = (at.turns * on_turn[:, None]).sum((2, 3))
        shape = torch.cat((on_values[:, :n], jaw), 1) + at.prior_pull[:, :-1]
        return torch.cat((shape, *parts), 1)

    def hessian(self, at: Evaluation, rows: Tensor | None = None) -> Tensor:
        """Return the Gauss-Newton Hessian (b, P, P): JᵀJ of the weighted residuals plus the prior's."""
        size = len(at.cost)
        bytes_each = 2 * self.problem.n_points * self.n_unknowns * at.error.element_size()
        budget = _JACOBIAN_BYTES.get(at.error.device.type, _JACOBIAN_BYTES_DEVICE)
        chunk = max(1, budget // bytes_each)
        out = at.error.new_empty(size, self.n_unknowns, self.n_unknowns)
        for start in range(0, size, chunk):
            part = at if chunk >= size else Evaluation(*(x[start : start + chunk] for x in at))
            jacobian = self.jacobian(part).flatten(1, 2)
            torch.bmm(jacobian.mT, jacobian, out=out[start : start + chunk])
        precision = self.seen.precision if rows is None else self.seen.precision[rows]
        diagonal = out.diagonal(dim1=1, dim2=2)
        if not self.rigid:
            diagonal[:, : self.n_shape] += precision[:, :-1]
        if self.focal:
            diagonal[:, -1] += precision[:, -1]
        return out

    def jacobian(self, at: Evaluation) -> Tensor:
        """Return the Jacobian (b, 2, N, P) of the projections, times the square root of their weights."""
        problem, n, k = self.problem, self.problem.n_coefficients, self.n_shape
        b, points = len(at.cost), problem.n_points
        root = at.weight.sqrt()
        over_depth = root / at.depth
        out = at.error.new_empty(b, 2, points, self.n_unknowns)
        by_point = at.error.new_empty(b, 2, 3, points)  # row a: derivative of pixel a by the camera-frame point
        torch.mul(at.focal[..., None], over_depth[:, :, None], out=by_point[:, :, :2])
        torch.mul(at.projected, over_depth, out=by_point[:, :, 2]).neg_()
        out[..., k : k + 3] = torch.linalg.cross(at.turned[:, None], by_point, dim=2).mT
        out[..., k + 3 : k + 5] = (at.t[:, 2, None, None, None] * by_point[:, :, :2]).mT
        out[..., k + 5] = (at.t[:, None, None] @ by_point)[:, :, 0]
        if self.focal:
            out[..., k + 6] = root * at.projected
        if self.rigid:
            return out
        by_head = at.R.mT[:, None] @ by_point
        by_jaw = by_head * problem.weights
        through_jaw = at.turn.mT[:, None] @ by_jaw
        by_rest = by_head + through_jaw
        planes = problem.planes
        joint = planes[:, -1, :n].expand(b, -1, -1)
        for a in range(2):
            shape = out[:, a, :, :n]
            torch.mul(planes[0, :-1, :n], by_rest[:, a, 0, :, None], out=shape)
            shape.addcmul_(planes[1, :-1, :n], by_rest[:, a, 1, :, None])
            shape.addcmul_(planes[2, :-1, :n], by_rest[:, a, 2, :, None])
            shape.baddbmm_(through_jaw[:, a].mT, joint, alpha=-1)
        swing = at.turns @ at.arm[:, None]  # (b, component, 3, N)
        # (b, 3, component, N): what the pose correctives add
        correctives = (planes[:, :-1, n:] @ at.turns.flatten(2).mT[:, None]).mT
        jaw = (by_jaw[:, :, None] * swing[:, None]).sum(3) + (by_rest[:, :, :, None] * correctives[:, None]).sum(2)
        out[..., n : n + 3] = jaw.mT
        return out

    def retract(self, state: Unknowns, step: Tensor, rows: Tensor | None = None) -> Unknowns:
        """Return the states moved by steps (b, P); bounded coefficients are clamped to their bounds."""
        del rows
        values, k = state.values, self.n_shape
        if not self.rigid or self.focal:
            values = values.clone()
        if not self.rigid:
            part = values[:, :k].add_(step[:, :k])
            if self.problem.lower is not None:
                torch.clamp(part, min=self.problem.lower, max=self.problem.upper, out=part)
        if self.focal:
            values[:, -1] += step[:, k + 6]
        shift = step[:, k + 3 : k + 6]
        t = torch.addcmul(state.t, state.t[:, 2:] * self._sideways, shift) * shift[:, 2:].exp()
        return Unknowns(values, small_rotation(step[:, k : k + 3]) @ state.R, t)

    def room(self, state: Unknowns) -> tuple[Tensor, Tensor] | None:
        """Return how far each unknown may step down and up, (b, P) each, or None when nothing is bounded."""
        if self.rigid or self.problem.lower is None or self.problem.upper is None:
            return None
        values = state.values[:, : self.n_shape]
        free = values.new_full((len(values), self.n_unknowns - self.n_shape), torch.inf)
        down = torch.cat((self.problem.lower - values, -free), 1)
        return down, torch.cat((self.problem.upper - values, free), 1)
