"""The cost of a head against 2D points, with its exact gradient and Gauss-Newton Hessian.

cost = ½ Σ ρ(w |A π(R v + t) + c - p|²) + ½ Σ ((x - mean) / sigma)²

v: vertices of :class:`~facezoo.fitting.problem.FitProblem`; π(X) = (X/Z, Y/Z); A, c: focal part and principal point of K.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from facezoo.fitting.jaw import jaw_derivatives
from facezoo.fitting.problem import FitProblem
from facezoo.fitting.robust import Robust, rho
from facezoo.fitting.state import Unknowns
from facezoo.geometry.rotations import axis_angle_to_matrix

# Jacobians are built for as many faces at once as fit the cache (CPU) or fill the device (GPU).
_JACOBIAN_BYTES = {"cpu": 16 << 20}
_JACOBIAN_BYTES_DEVICE = 1 << 30
# Nearest allowed depth as a part of the head's own: a step that puts a vertex nearer is refused.
_NEAREST = 0.02


class Observations(NamedTuple):
    """What was seen, batch first.

    Attributes:
        points: (B, 2, N) pixels, finite (anything where the weight is zero).
        weight: (B, 2, N) confidence over squared sigma, zero for points to ignore.
        focal: (B, 2, 2) upper left block of K. centre: (B, 2).
        mean: (B, n + 3) prior mean of coefficients and jaw. precision: (B, n + 3), weight over squared width.
        robust_scale: (B,) standard deviations.
    """

    points: Tensor
    weight: Tensor
    focal: Tensor
    centre: Tensor
    mean: Tensor
    precision: Tensor
    robust_scale: Tensor


class Evaluation(NamedTuple):
    """The cost at a state, and what its derivatives reuse; batch first.

    Attributes:
        cost: (B,).
        prior_pull: (B, n + 4) gradient of the prior, the last entry for the focal length.
        weight: (B, 2, N) of every residual, robust weight included. error: (B, 2, N) pixels.
        focal: (B, 2, 2) with the estimated factor. ray: (B, 2, N) X/Z, Y/Z. depth: (B, 1, N) metres.
        turned: (B, 3, N) R v. arm: (B, 3, N) rest vertex minus jaw joint. turn: (B, 3, 3) jaw rotation minus identity.
        jaw, R, t: of the state.
    """

    cost: Tensor
    prior_pull: Tensor
    weight: Tensor
    error: Tensor
    focal: Tensor
    ray: Tensor
    depth: Tensor
    turned: Tensor
    arm: Tensor
    turn: Tensor
    jaw: Tensor
    R: Tensor
    t: Tensor


class HeadObjective:
    """Cost, gradient, Hessian and update rule for one batch; what :func:`facezoo.fitting.lm.minimise` asks for.

    Unknowns in order: coefficients, jaw (both unless ``rigid``), rotation ω (R <- exp(ω) R), translation
    (t <- exp(δz) (t + tz (δx, δy, 0)): x and y over depth and log depth, so all have the size of an angle and
    depth stays positive), log focal length (if ``focal``).

    Args:
        problem: head and points.
        seen: observations of the B faces.
        rigid: only pose (and focal length) move.
        focal: the focal length moves; ``focal_precision`` is its prior.
        robust: loss of the points.
    """

    def __init__(
        self,
        problem: FitProblem,
        seen: Observations,
        *,
        rigid: bool = False,
        focal: bool = False,
        focal_precision: float = 0.0,
        robust: Robust = "none",
    ) -> None:
        self.problem, self.seen, self.rigid, self.focal, self.robust = problem, seen, rigid, focal, robust
        self.focal_precision = focal_precision
        shape = 0 if rigid else problem.n_coefficients + 3
        self.n_shape, self.n_unknowns = shape, shape + 6 + int(focal)

    def _rows(self, rows: Tensor | None) -> Observations:
        return self.seen if rows is None else Observations(*(x[rows] for x in self.seen))

    def evaluate(self, state: Unknowns, rows: Tensor | None = None) -> Evaluation:
        """Compute cost and intermediate results for states of the batch's ``rows`` (None = all)."""
        problem, seen = self.problem, self._rows(rows)
        turn = axis_angle_to_matrix(state.jaw) - torch.eye(3, dtype=state.jaw.dtype, device=state.jaw.device)
        rest = problem.rest(state.coefficients, turn)
        joint = torch.addmm(problem.joint, state.coefficients, problem.joint_basis.mT)
        arm = rest - joint[..., None]
        turned = state.R @ torch.addcmul(rest, turn @ arm, problem.weights)
        camera = turned + state.t[..., None]
        depth = camera[:, 2:]
        ray = camera[:, :2] / depth
        focal = seen.focal
        if self.focal:
            focal = focal * state.log_focal.exp()[:, None, None]
        error = focal @ ray
        error += seen.centre[..., None]
        error -= seen.points
        squares = error.square().mul_(seen.weight)
        values = torch.cat((state.coefficients, state.jaw), 1) - seen.mean
        pull = seen.precision * values
        prior = (pull * values).sum(1) + self.focal_precision * state.log_focal.square()
        if self.robust == "none":
            weight, data = seen.weight, squares.sum((1, 2))
        else:
            losses, factor = rho(squares.sum(1), self.robust, seen.robust_scale[:, None])
            weight, data = seen.weight * factor[:, None], losses.sum(1)
        # A vertex at or behind the camera has no projection: infinite cost makes the solver take a shorter step.
        visible = depth.amin((1, 2)) > _NEAREST * state.t[:, 2]
        cost = torch.where(visible, 0.5 * (data + prior), torch.inf)
        pull = torch.cat((pull, self.focal_precision * state.log_focal[:, None]), 1)
        return Evaluation(
            cost, pull, weight, error, focal, ray, depth, turned, arm, turn, state.jaw, state.R, state.t
        )

    def gradient(self, at: Evaluation) -> Tensor:
        """Return the exact gradient (b, P) of the cost."""
        problem, n = self.problem, self.problem.n_coefficients
        pulled = at.focal.mT @ (at.weight * at.error) / at.depth  # by the normalised ray, over depth
        forward = (pulled * at.ray).sum(1, keepdim=True).neg_()
        force = torch.cat((pulled, forward), 1)  # (b, 3, N) derivative by the camera-frame point
        total = force.sum(2)
        moment = force @ at.turned.mT  # Σ f xᵀ: its antisymmetric part is the torque Σ x × f
        parts = [
            torch.stack(
                (moment[:, 2, 1] - moment[:, 1, 2], moment[:, 0, 2] - moment[:, 2, 0], moment[:, 1, 0] - moment[:, 0, 1]),
                1,
            ),
            at.t[:, 2:] * total[:, :2],
            (at.t * total).sum(1, keepdim=True),
        ]
        if self.focal:
            pull = (at.weight * at.error * (at.focal @ at.ray)).sum((1, 2))
            parts.append((pull + at.prior_pull[:, -1])[:, None])
        if self.rigid:
            return torch.cat(parts, 1)
        head_force = at.R.mT @ force
        jaw_force = problem.weights * head_force
        through_jaw = at.turn.mT @ jaw_force
        on_rest = head_force + through_jaw
        on_values = on_rest.flatten(1) @ problem.basis  # (b, n + 9)
        on_joint = through_jaw.sum(2)
        shape = on_values[:, :n] - on_joint @ problem.joint_basis
        on_turn = jaw_force @ at.arm.mT + on_values[:, n:].unflatten(1, (3, 3))
        jaw = (jaw_derivatives(at.jaw) * on_turn[:, None]).sum((2, 3))
        return torch.cat((torch.cat((shape, jaw), 1) + at.prior_pull[:, :-1], *parts), 1)

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
        diagonal = out.diagonal(dim1=1, dim2=2)
        if not self.rigid:
            precision = self.seen.precision if rows is None else self.seen.precision[rows]
            diagonal[:, : self.n_shape] += precision
        if self.focal:
            diagonal[:, -1] += self.focal_precision
        return out

    def jacobian(self, at: Evaluation) -> Tensor:
        """Return the Jacobian (b, 2, N, P) of the projections, times the square root of their weights."""
        problem, n = self.problem, self.problem.n_coefficients
        b, points = len(at.cost), problem.n_points
        root = at.weight.sqrt()
        out = at.error.new_empty(b, 2, points, self.n_unknowns)
        # rows a of the derivative by the camera-frame point: (b, 2, 3, N)
        projected = at.focal @ at.ray
        by_point = torch.empty_like(at.error[:, :, None]).expand(-1, -1, 3, -1).contiguous()
        over_depth = root / at.depth
        by_point[:, :, :2] = at.focal[..., None] * over_depth[:, :, None]
        torch.mul(projected, over_depth, out=by_point[:, :, 2]).neg_()
        k = self.n_shape
        turned = at.turned[:, None].expand(-1, 2, -1, -1)
        out[..., k : k + 3] = torch.linalg.cross(turned, by_point, dim=2).mT
        out[..., k + 3 : k + 5] = (at.t[:, 2, None, None, None] * by_point[:, :, :2]).mT
        out[..., k + 5] = (at.t[:, None, :, None] * by_point).sum(2)
        if self.focal:
            out[..., k + 6] = root * projected
        if self.rigid:
            return out
        by_head = at.R.mT[:, None] @ by_point
        by_jaw = by_head * problem.weights
        through_jaw = at.turn.mT[:, None] @ by_jaw
        by_rest = by_head + through_jaw
        basis = problem.basis.unflatten(0, (3, points))
        for a in range(2):
            shape = out[:, a, :, :n]
            torch.mul(basis[0, :, :n], by_rest[:, a, 0, :, None], out=shape)
            shape.addcmul_(basis[1, :, :n], by_rest[:, a, 1, :, None])
            shape.addcmul_(basis[2, :, :n], by_rest[:, a, 2, :, None])
            shape.baddbmm_(through_jaw[:, a].mT, problem.joint_basis.expand(b, -1, -1), alpha=-1)
        turns = jaw_derivatives(at.jaw)  # (b, 3, 3, 3), one matrix a component
        swing = turns @ at.arm[:, None]  # (b, component, 3, N)
        correctives = (basis[..., n:] @ turns.flatten(2).mT[:, None]).mT  # (b, 3, component, N)
        jaw = (by_jaw[:, :, None] * swing[:, None]).sum(3) + (by_rest[:, :, :, None] * correctives[:, None]).sum(2)
        out[..., n : n + 3] = jaw.mT
        return out

    def retract(self, state: Unknowns, step: Tensor, rows: Tensor | None = None) -> Unknowns:
        """Return the states moved by steps (b, P); bounded coefficients are clamped to their bounds."""
        del rows
        coefficients, jaw = state.coefficients, state.jaw
        k, n = self.n_shape, self.problem.n_coefficients
        if not self.rigid:
            values = torch.cat((coefficients, jaw), 1) + step[:, :k]
            if self.problem.lower is not None and self.problem.upper is not None:
                values = torch.minimum(torch.maximum(values, self.problem.lower), self.problem.upper)
            coefficients, jaw = values[:, :n], values[:, n:]
        rotation = axis_angle_to_matrix(step[:, k : k + 3]) @ state.R
        depth = state.t[:, 2:]
        t = state.t + torch.cat((depth * step[:, k + 3 : k + 5], torch.zeros_like(depth)), 1)
        t = t * step[:, k + 5 : k + 6].exp()
        log_focal = state.log_focal + step[:, k + 6] if self.focal else state.log_focal
        return Unknowns(coefficients, jaw, rotation, t, log_focal)

    def room(self, state: Unknowns) -> tuple[Tensor, Tensor] | None:
        """Return how far each unknown may step down and up, (b, P) each, or None when nothing is bounded."""
        if self.rigid or self.problem.lower is None or self.problem.upper is None:
            return None
        values = torch.cat((state.coefficients, state.jaw), 1)
        free = values.new_full((len(values), self.n_unknowns - self.n_shape), torch.inf)
        down = torch.cat((self.problem.lower - values, -free), 1)
        return down, torch.cat((self.problem.upper - values, free), 1)
