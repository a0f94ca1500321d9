"""Batched Levenberg-Marquardt with bounds, for any objective with a cost, gradient, Hessian and update rule.

Three things set it apart from the textbook:

* The Hessian, by far the dearest part, is kept for the last steps: once a step moved the unknowns by no more
  than a few posterior standard deviations, the exact gradient with the old Hessian leads to the same minimum
  (chord steps).
* It stops by the decrease of the cost still to be expected, not by step size: that is how far the unknowns are
  from the minimum in posterior standard deviations, whatever their units.
* Bounds are an active set: each step is the minimum of the quadratic model inside the bounds, found by block
  pivoting (Portugal, Júdice & Vicente 1994). Unlike a barrier this reaches exact zeros, keeps a warm start valid
  and costs nothing where no bound is touched; unlike clamping a plain step it lets the free unknowns make up for
  the held ones.

Tensors carry the heavy work of the whole batch; the decisions about each member are plain numbers in Python.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

# Damping is relative to the Hessian scaled to a unit diagonal. It starts so low that a well-behaved problem
# takes plain Gauss-Newton steps; the first failure raises it to a level that shortens steps along the weak
# directions.
_FIRST_DAMPING, _RAISED_DAMPING, _LEAST_DAMPING, _MOST_DAMPING = 1e-6, 1e-4, 1e-9, 1e8
_BOUND_PASSES = 8
_WALL = 1e12  # on the unit diagonal: holds a fixed unknown in place to twelve digits
# χ² that the last step may have gained for its Hessian to serve once more.
_CHORD_GAIN = 3.0
# A chord step must cut the predicted decrease to this part, or the Hessian is computed anew.
_CHORD_PROGRESS = 0.1
_LEAST_COST = 1e3  # of which the tolerance is a part
# Relative rounding noise of the cost: smaller differences cannot judge a step.
_NOISE = {torch.float32: 1e-5, torch.float64: 1e-13}


class Objective(Protocol):
    """What the solver needs; ``rows`` names the members of the batch that a call is about, None = all.

    Evaluations and states are NamedTuples of tensors, batch first.
    """

    def evaluate(self, state: Any, rows: Tensor | None = None) -> Any:
        """Return an evaluation with at least ``cost`` (b,)."""

    def gradient(self, at: Any) -> Tensor:
        """Return (b, P)."""
        ...

    def hessian(self, at: Any, rows: Tensor | None = None) -> Tensor:
        """Return a positive semi-definite (b, P, P)."""
        ...

    def retract(self, state: Any, step: Tensor) -> Any:
        """Return the state moved by (b, P)."""

    def room(self, state: Any) -> tuple[Tensor, Tensor] | None:
        """Return the least (<= 0) and greatest (>= 0) steps (b, P), or None when nothing is bounded."""


class Minimum(NamedTuple):
    """Where the solver stopped, batch first.

    Attributes:
        state: the objective's; ``at`` is its evaluation, with the cost.
        iterations: (B,) long, steps tried.
        converged: (B,) bool.
        hessian: (B, P, P) last computed.
        hessians: (B,) long, how many were computed.
    """

    state: Any
    at: Any
    iterations: Tensor
    converged: Tensor
    hessian: Tensor
    hessians: Tensor


@dataclass(slots=True)
class _Member:
    """What is decided for one member of the batch."""

    row: int
    damping: float = _FIRST_DAMPING
    growth: float = 2.0  # of the damping at the next failure
    previous: float = math.inf  # predicted decrease of the last step
    stale: bool = True  # the Hessian is of an earlier state
    hessians: int = 0
    iterations: int = 0
    converged: bool = False

    def judge(
        self, before: float, after: float, decrease: float, target: float, noise: float
    ) -> tuple[bool, bool]:
        """Take note of a tried step; return whether it is taken and whether the member is finished."""
        self.iterations += 1
        actual = before - after
        noise *= before
        # comparisons with NaN are False: an impossible step is a failed one
        better = actual > 1e-3 * decrease or (decrease < noise and actual > -noise)
        # after a step that was worth q times the one before, a series of such steps is still worth q / (1 -
        # q) of it
        q = decrease / self.previous if self.previous < math.inf else 1.0
        left = decrease * min(q / (1 - q), 1.0) if better and q < 1 else decrease
        self.converged = left < target and (better or not self.stale)
        if better:  # damping shrinks the better the model predicted (Nielsen 1999)
            surprise = 2 * min(actual / decrease if decrease > 0 else 0.0, 1.0) - 1
            self.damping = max(self.damping * max(1 - max(surprise, 0.0) ** 3, 0.1), _LEAST_DAMPING)
            self.growth, self.previous, self.stale = 2.0, decrease, True
        elif self.stale:  # the old Hessian is to blame before the damping is
            self.previous = math.inf
        else:
            self.damping = max(self.damping * self.growth, _RAISED_DAMPING)
            self.growth *= 2
        return better, self.converged or self.damping > _MOST_DAMPING


def minimise(objective: Objective, state: Any, *, iterations: int, tolerance: float) -> Minimum:
    """Find the minimum of every member of the batch; each runs as if it were alone.

    Args:
        objective: what to minimise.
        state: where to start, a NamedTuple of tensors (B, ...).
        iterations: most steps to try for a member, at least one.
        tolerance: stop when the decrease still to be expected is below this part of the cost, or of a
            thousand where
            the cost is less: the cost is a χ², and no fit is better for a hundredth of it.

    Returns:
        The minima. ``converged`` is False where iterations ran out or no step decreased the cost.
    """
    at = objective.evaluate(state)
    like = at.cost
    before = like.tolist()
    size, noise = len(before), _NOISE.get(like.dtype, 1e-5)
    members, rows, hessian = [_Member(row) for row in range(size)], None, None
    finished: list[tuple[list[_Member], Any, Any, Any]] = []
    for _ in range(iterations):
        wanted = [m.stale and m.previous > _CHORD_GAIN for m in members]
        hessian = _refresh(objective, members, wanted, hessian, at, rows)
        gradient, room = objective.gradient(at), objective.room(state)
        damping = like.new_tensor([m.damping for m in members])
        step, decrease = solve_step(hessian, gradient, damping, room)
        slow = _slow(members, before, decrease, tolerance)
        if any(slow):
            hessian = _refresh(objective, members, slow, hessian, at, rows)
            step, decrease = solve_step(hessian, gradient, damping, room)
        trial = objective.retract(state, step)
        tried = objective.evaluate(trial, rows)
        predicted, after = torch.stack((decrease, tried.cost)).tolist()
        verdicts = [
            m.judge(b, a, p, _target(b, tolerance), noise)
            for m, b, a, p in zip(members, before, after, predicted, strict=True)
        ]
        better = [taken for taken, _ in verdicts]
        state, at = _choose(better, trial, state), _choose(better, tried, at)
        before = [a if taken else b for a, b, taken in zip(after, before, better, strict=True)]
        done = [i for i, (_, over) in enumerate(verdicts) if over]
        if done:
            if len(done) == len(members):
                break
            keep = [i for i, (_, over) in enumerate(verdicts) if not over]
            finished.append(([members[i] for i in done], *_take((state, at, hessian), done, like.device)))
            state, at, hessian = _take((state, at, hessian), keep, like.device)
            members, before = [members[i] for i in keep], [before[i] for i in keep]
            rows = torch.tensor([m.row for m in members], device=like.device)
    finished.append((members, state, at, hessian))
    return _collect(finished, like.device)


def _target(cost: float, tolerance: float) -> float:
    return tolerance * max(cost, _LEAST_COST)


def _slow(members: list[_Member], before: list[float], decrease: Tensor, tolerance: float) -> list[bool]:
    """Tell for whom an old Hessian promises so little progress that it is not worth a step."""
    if not any(m.stale for m in members):
        return []
    return [
        m.stale and not (p < _CHORD_PROGRESS * m.previous or p < _target(b, tolerance))
        for m, b, p in zip(members, before, decrease.tolist(), strict=True)
    ]


def _refresh(
    objective: Objective,
    members: list[_Member],
    wanted: list[bool],
    hessian: Tensor | None,
    at: Any,
    rows: Tensor | None,
) -> Tensor:
    """Recompute the Hessians of the ``wanted`` members."""
    chosen = [i for i, want in enumerate(wanted) if want]
    for i in chosen:
        members[i].stale = False
        members[i].hessians += 1
    if hessian is None or len(chosen) == len(members):
        return objective.hessian(at, rows)
    if not chosen:
        return hessian
    index = torch.tensor(chosen, device=hessian.device)
    part = objective.hessian(_take(at, chosen, hessian.device), index if rows is None else rows[index])
    return hessian.index_copy(0, index, part)


def solve_step(
    hessian: Tensor, gradient: Tensor, damping: Tensor, room: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, Tensor]:
    """Solve for the damped step inside the bounds.

    The system is scaled to a unit diagonal first (Marquardt 1963), which makes damping free of units and
    float32 good enough for a Cholesky factor.

    Args:
        hessian: (b, P, P).
        gradient: (b, P).
        damping: (b,).
        room: see :meth:`Objective.room`.

    Returns:
        Step (b, P), and the predicted decrease of the cost (b,), NaN where the system is not positive
        definite.
    """
    # an unknown without any effect has a zero row and a zero gradient: any finite scale will do
    scale = hessian.diagonal(dim1=1, dim2=2).clamp(min=1e-30).rsqrt()
    unit = hessian * scale[:, :, None] * scale[:, None, :]
    slope = gradient * scale
    lift = damping[:, None]
    if room is None:
        step, info = _cholesky_step(unit, slope, lift)
        bend = _bend(unit, slope, step)
    else:
        step, bend, info = _bounded_step(unit, slope, lift, room[0] / scale, room[1] / scale)
    decrease = (step * (slope + bend)).sum(1).mul_(-0.5)
    return step * scale, torch.where(info == 0, decrease, torch.nan)


def _bounded_step(
    unit: Tensor, slope: Tensor, lift: Tensor, low: Tensor, high: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Minimise the damped quadratic model over low <= step <= high, all (b, P) in scaled units.

    Returns:
        The step, the slope at its end, and ``info`` of its system.
    """
    # at a bound and pulled outwards: these have no room, so their step is zero
    at_low, at_high = (low >= 0) & (slope > 0), (high <= 0) & (slope < 0)
    fixed = at_low | at_high
    held, pulled = torch.zeros_like(slope), slope
    for _ in range(_BOUND_PASSES):
        free, info = _cholesky_step(unit, pulled, torch.where(fixed, _WALL, lift))
        step = torch.where(fixed, held, free)
        bend = _bend(unit, slope, step)
        # hold what has left the bounds, let go what is pulled back inside
        new_low = torch.where(fixed, at_low & (bend >= 0), step < low)
        new_high = torch.where(fixed, at_high & (bend <= 0), step > high)
        if torch.equal(new_low, at_low) and torch.equal(new_high, at_high):
            return step, bend, info
        at_low, at_high = new_low, new_high
        fixed = at_low | at_high
        held = torch.where(at_low, low, torch.where(at_high, high, 0.0))
        pulled = _bend(unit, slope, held)
    # pivoting may go round in circles; the clamped step is as good a try as any
    free, info = _cholesky_step(unit, pulled, torch.where(fixed, _WALL, lift))
    step = torch.where(fixed, held, free).clamp(low, high)
    return step, _bend(unit, slope, step), info


def _bend(unit: Tensor, slope: Tensor, step: Tensor) -> Tensor:
    """Return the slope of the quadratic model at the end of a step: slope + unit · step."""
    return torch.baddbmm(slope[:, :, None], unit, step[:, :, None]).squeeze(2)


def _cholesky_step(unit: Tensor, slope: Tensor, lift: Tensor) -> tuple[Tensor, Tensor]:
    """Return -(unit + diag(lift))⁻¹ slope, and (b,) zero where that is positive definite."""
    system = unit.clone()
    system.diagonal(dim1=1, dim2=2).add_(lift)
    factor, info = torch.linalg.cholesky_ex(system)
    step = torch.cholesky_solve(slope[:, :, None], factor).squeeze(2)
    return step.neg_(), info


def _take(values: Any, indices: list[int], device: torch.device) -> Any:
    """Select members of tensors in nested tuples."""
    index = torch.tensor(indices, device=device)

    def select(value: Any) -> Any:
        return value[index] if isinstance(value, Tensor) else _rebuild(value, [select(v) for v in value])

    return select(values)


def _choose(mask: list[bool], new: Any, old: Any) -> Any:
    """Select new or old, member by member, in a NamedTuple of tensors."""
    if all(mask):
        return new
    if not any(mask):
        return old
    flags = torch.tensor(mask, device=new[0].device)
    picked = [torch.where(flags.view(-1, *[1] * (a.dim() - 1)), a, b) for a, b in zip(new, old, strict=True)]
    return _rebuild(new, picked)


def _rebuild(like: Any, parts: Sequence[Any]) -> Any:
    """Make a tuple of the kind of ``like``."""
    return tuple(parts) if type(like) is tuple else type(like)(*parts)


def _collect(finished: list[tuple[list[_Member], Any, Any, Any]], device: torch.device) -> Minimum:
    """Put the finished members back into the order of the batch."""
    members = [m for part in finished for m in part[0]]
    state, at, hessian = finished[0][1:]
    if len(finished) > 1:
        order = sorted(range(len(members)), key=lambda i: members[i].row)
        index = torch.tensor(order, device=device)
        members = [members[i] for i in order]

        def join(parts: Sequence[Any]) -> Any:
            if isinstance(parts[0], Tensor):
                return torch.cat(list(parts))[index]
            return _rebuild(parts[0], [join(column) for column in zip(*parts, strict=True)])

        state, at, hessian = (join([part[k] for part in finished]) for k in (1, 2, 3))
    return Minimum(
        state=state,
        at=at,
        iterations=torch.tensor([m.iterations for m in members], device=device),
        converged=torch.tensor([m.converged for m in members], device=device),
        hessian=hessian,
        hessians=torch.tensor([m.hessians for m in members], device=device),
    )
