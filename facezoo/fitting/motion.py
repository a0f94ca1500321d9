"""The temporal term: squared accelerations of a few vertices in the world, with their derivatives."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from facezoo.fitting.arrowhead import Arrowhead
from facezoo.fitting.jaw import jaw_rotation
from facezoo.fitting.problem import FitProblem
from facezoo.fitting.sequence_state import Motion, SequenceState

_CHUNK = 32  # frames whose Jacobians exist at once
# v_{t-1} - 2 v_t + v_{t+1}
_STENCIL = (1.0, -2.0, 1.0)


class Posed(NamedTuple):
    """Chosen vertices of some frames and what their derivatives reuse.

    Attributes:
        world: (b, 3, S) metres; turned (b, 3, S) without the translation; arm (b, 3, S) from the jaw joint.
        turn: (b, 3, 3) jaw rotation minus identity; turns (b, 3, 9) its derivatives.
        R: (b, 3, 3).
    """

    world: Tensor
    turned: Tensor
    arm: Tensor
    turn: Tensor
    turns: Tensor
    R: Tensor


class MotionTerm:
    """Cost, gradient and Gauss-Newton blocks of :class:`Motion`.

    The Hessian leaves out how the shared unknowns move accelerations: they enter through second differences of
    rotations only, a part in thousands. The gradient is exact, so the minimum is that of the whole problem.

    Args:
        problem: the chosen vertices.
        places: (S,) their positions among the observed vertices.
        motion: the term.
        segment: (T,) accelerations are taken over three neighbouring frames of one segment.
    """

    def __init__(self, problem: FitProblem, places: Tensor, motion: Motion, segment: Tensor) -> None:
        self.problem, self.places = problem, places
        self.factor = motion.weight * motion.fps**4 / (motion.sigma**2 * problem.n_points)
        self.valid = (segment[2:] == segment[1:-1]) & (segment[1:-1] == segment[:-2])

    def cost(self, state: SequenceState) -> float:
        """Return the term at a state."""
        return 0.5 * self.factor * float(self._acceleration(self._world(state)).double().square().sum())

    def add(self, state: SequenceState, matrix: Arrowhead, gradient: Tensor, offsets: slice | None) -> float:
        """Add Hessian blocks and gradient; return the cost.

        Args:
            state: where.
            matrix: of the whole problem, with off-diagonal blocks.
            gradient: (T L + S,) of the whole problem.
            offsets: where the displacements (N, 3) lie among the shared unknowns, None when they are fixed.
        """
        acceleration = self._acceleration(self._world(state))  # (T - 2, 3, S)
        force = acceleration.new_zeros(len(state.t), 3, self.problem.n_points)
        for k, c in enumerate(_STENCIL):
            force[k : k + len(acceleration)] += c * self.factor * acceleration
        frame, shared = matrix.split(gradient)
        n_id = len(state.identity)
        kept: Tensor | None = None  # Jacobians of the last two frames of the chunk before
        for start in range(0, len(state.t), _CHUNK):
            rows = slice(start, min(start + _CHUNK, len(state.t)))
            at = self._pose(state, rows)
            jacobian = self._jacobian(at, state.moves.shape[1] - self.problem.n_expression - 3)
            frame[rows] += torch.einsum("bpl,bp->bl", jacobian, force[rows].flatten(1)).to(frame)
            on_rest = self._on_rest(at, force[rows])
            shared[:n_id] += (on_rest.flatten(1) @ self.problem.basis[:, :n_id]).sum(0).to(shared)
            if offsets is not None:
                shared[offsets].view(-1, 3).index_add_(
                    0, self.places, on_rest[:, :, :-1].sum(0).mT.to(shared)
                )
            before = 0 if kept is None else len(kept)
            window = jacobian if kept is None else torch.cat((kept, jacobian))
            self._add_blocks(window, start - before, matrix)
            kept = window[-2:]
        return 0.5 * self.factor * float(acceleration.double().square().sum())

    def _add_blocks(self, window: Tensor, start: int, matrix: Arrowhead) -> None:
        """Add JᵀJ of every acceleration whose three frames lie in the window, which overlaps the next by two."""
        assert matrix.first is not None and matrix.second is not None
        count = len(window) - 2
        if count < 1:
            return
        weight = (self.factor * self.valid[start : start + count]).to(window)[:, None, None]
        parts = [c * window[k : k + count] for k, c in enumerate(_STENCIL)]
        for i, row in enumerate(parts):
            for j in range(i + 1):
                block = ((weight * row).mT @ parts[j]).to(matrix.diagonal)
                target = (matrix.diagonal, matrix.first, matrix.second)[i - j]
                target[start + j : start + j + count] += block

    def _acceleration(self, world: Tensor) -> Tensor:
        second = world[:-2] - 2 * world[1:-1] + world[2:]
        return second * self.valid.to(second)[:, None, None]

    def _world(self, state: SequenceState) -> Tensor:
        starts = range(0, len(state.t), _CHUNK)
        return torch.cat([self._pose(state, slice(s, min(s + _CHUNK, len(state.t)))).world for s in starts])

    def _pose(self, state: SequenceState, rows: slice) -> Posed:
        problem, n = self.problem, self.problem.n_expression
        moves, rotation = state.moves[rows], state.R[rows]
        turn, turns = jaw_rotation(moves[:, n : n + 3])
        values = torch.cat((state.identity.expand(len(moves), -1), moves[:, :n], turn.view(-1, 9)), 1)
        rest, joint = problem.rest(values)
        rest = rest + state.offsets[self.places].mT
        arm = rest - joint
        turned = rotation.bmm(torch.addcmul(rest, turn.bmm(arm), problem.weights))
        return Posed(turned + state.t[rows, :, None], turned, arm, turn, turns, rotation)

    def _jacobian(self, at: Posed, still: int) -> Tensor:
        """Return the derivative of ``world`` by the unknowns of a frame, (b, 3 S, L).

        They are expression, jaw, as many that do not move these vertices as ``still`` says (the eyes' angles), rotation
        and translation.
        """
        problem, b = self.problem, len(at.R)
        points, n_id = problem.n_points, problem.n_identity
        by_jaw = at.R.bmm(at.turn)[:, None] * problem.weights[:, None, None]  # (b, S, 3, 3)
        by_rest = at.R[:, None] + by_jaw
        shape = by_rest @ problem.by_vertex[..., n_id:] - by_jaw @ problem.joint_basis[:, n_id:]
        swing = at.turns.view(b, 9, 3).bmm(at.arm).view(b, 3, 3, points) * problem.weights
        correctives = at.turns.view(b * 3, 9).mm(problem.correctives).view(b, 3, 3, points)
        # (b, S, 3 coordinates, 3 jaw angles)
        jaw = at.R[:, None] @ swing.permute(0, 3, 2, 1) + by_rest @ correctives.permute(0, 3, 2, 1)
        x, y, z = at.turned.unbind(1)
        zero = torch.zeros_like(x)
        spin = torch.stack((zero, z, -y, -z, zero, x, y, -x, zero), -1).view(b, points, 3, 3)  # ω × v by ω
        shift = torch.eye(3, dtype=x.dtype, device=x.device).expand(b, points, 3, 3)
        whole = torch.cat((shape, jaw, jaw.new_zeros(b, points, 3, still), spin, shift), 3)  # (b, S, 3, L)
        return whole.transpose(1, 2).flatten(1, 2)

    def _on_rest(self, at: Posed, force: Tensor) -> Tensor:
        """Pull world forces (b, 3, S) back to rest vertices and, last, the jaw joint: (b, 3, S + 1)."""
        head_force = at.R.mT.bmm(force)
        through_jaw = at.turn.mT.bmm(self.problem.weights * head_force)
        return torch.cat((head_force + through_jaw, through_jaw.sum(2, keepdim=True).neg()), 2)
