"""Batched Levenberg-Marquardt with bounds, for any objective that offers cost, gradient, Hessian and an update rule.

Three things set it apart from the textbook:

* The Hessian, by far the dearest part, is kept while it serves: steps use the exact gradient with the Hessian of an
  earlier state (a chord step), which is refreshed when progress slows or a step fails. The minimum is that of the exact
  gradient, so nothing is approximated but the path to it.
* It stops by the predicted decrease of the cost, not by step size: when the next step cannot change the cost by more
  than a given part, the unknowns are within that many posterior standard deviations, whatever their units.
* Bounds are an active set (projected Newton, Bertsekas 1982): unknowns at a bound that want to leave stay out of the
  linear system, those that hit one on the way are fixed there and the rest is solved again. Unlike a barrier this
  reaches exact zeros, keeps a warm start valid and costs nothing where no bound is touched.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

_FIRST_DAMPING = 1e-6  # of the Hessian scaled to a unit diagonal
_LEAST_DAMPING, _MOST_DAMPING = 1e-9, 1e6
_BOUND_PASSES = 6
# A chord step must cut the predicted decrease at least this much or the Hessian is computed anew: the dear Hessian
# costs about four cheap steps.
_CHORD_PROGRESS = 0.1


class Objective(Protocol):
    """What the solver needs. Evaluations and states are NamedTuples of tensors, batch first; ``rows`` names the
    members of the batch that a call is about, None = all."""

    def evaluate(self, state: Any, rows: Tensor | None = None) -> Any:
        """Return an evaluation with at least ``cost`` (b,), infinite where the state is not allowed."""

    def gradient(self, at: Any) -> Tensor:
        """Return (b, P)."""

    def hessian(self, at: Any, rows: Tensor | None = None) -> Tensor:
        """Return a positive semi-definite (b, P, P)."""

    def retract(self, state: Any, step: Tensor, rows: Tensor | None = None) -> Any:
        """Return the state moved by (b, P)."""

    def room(self, state: Any) -> tuple[Tensor, Tensor] | None:
        """Return the least (<= 0) and greatest (>= 0) steps (b, P), or None when nothing is bounded."""


class Minimum(NamedTuple):
    """Where the solver stopped, batch first.

    Attributes:
        state: the objective's. cost: (B,). iterations: (B,) long, linear systems solved. converged: (B,) bool.
        hessian: (B, P, P) last computed. hessians: (B,) long, how many were computed.
    """

    state: Any
    cost: Tensor
    iterations: Tensor
    converged: Tensor
    hessian: Tensor
    hessians: Tensor


class _Work(NamedTuple):
    """Members of the batch that are not finished yet."""

    rows: Tensor
    state: Any
    at: Any
    hessian: Tensor
    damping: Tensor
    age: Tensor  # accepted steps since the Hessian was computed; -1 = must be computed
    previous: Tensor  # predicted decrease of the step before
    hessians: Tensor


def minimise(objective: Objective, state: Any, *, iterations: int, tolerance: float) -> Minimum:
    """Find the minimum of every member of the batch; each runs as if it were alone.

    Args:
        objective: what to minimise.
        state: where to start, a NamedTuple of tensors (B, ...).
        iterations: most linear systems to solve for a member.
        tolerance: stop when the predicted decrease of the cost is below this part of the cost (or of one, when the
            cost is below one: a χ² smaller than that means nothing).

    Returns:
        The minima. ``converged`` is False where iterations ran out or no step decreased the cost.
    """
    at = objective.evaluate(state, None)
    size, like = len(at.cost), at.cost
    whole = torch.arange(size, device=like.device)
    count = torch.zeros_like(whole)
    work = _Work(
        rows=whole,
        state=state,
        at=at,
        hessian=like.new_empty(0),
        damping=torch.full_like(like, _FIRST_DAMPING),
        age=count - 1,
        previous=torch.full_like(like, torch.inf),
        hessians=count,
    )
    finished: list[tuple[_Work, Tensor, Tensor]] = []  # work, iterations, converged
    for iteration in range(1, iterations + 1):
        work, converged, stuck = _iterate(objective, work, tolerance, size)
        done = converged | stuck
        if iteration == iterations:
            done = torch.ones_like(done)
        if bool(done.any()):
            out = _take(work, done)
            finished.append((out, torch.full_like(out.rows, iteration), converged[done]))
            if bool(done.all()):
                break
            work = _take(work, ~done)
    return _collect(finished, size)


def _iterate(objective: Objective, work: _Work, tolerance: float, size: int) -> tuple[_Work, Tensor, Tensor]:
    """Solve one linear system for every member at work and take the steps that pay."""
    rows = None if len(work.rows) == size else work.rows
    work = _refresh(objective, work, rows, work.age < 0)
    gradient = objective.gradient(work.at)
    room = objective.room(work.state)
    step, decrease = solve_step(work.hessian, gradient, work.damping, room)
    # A chord step that promises little progress is not worth taking with an old Hessian.
    slow = (work.age > 0) & ~(decrease < _CHORD_PROGRESS * work.previous)
    target = tolerance * work.at.cost.clamp(min=1.0)
    slow &= ~(decrease < target)
    if bool(slow.any()):
        work = _refresh(objective, work, rows, slow)
        step, decrease = solve_step(work.hessian, gradient, work.damping, room)
    trial = objective.retract(work.state, step, rows)
    at = objective.evaluate(trial, rows)
    actual = work.at.cost - at.cost
    small = decrease < target
    better = actual > 1e-3 * decrease.clamp(min=0)  # False for NaN
    # Within rounding of the cost a last small step cannot be judged by it: it is taken unless it clearly hurts.
    better |= small & (actual > -1e-2 * target)
    good, poor = actual > 0.75 * decrease, actual < 0.25 * decrease
    fresh = work.age == 0
    damping = torch.where(good & better, work.damping * 0.1, work.damping)
    damping = torch.where(better & poor, damping * 4, damping)
    damping = torch.where(~better & fresh, (damping * 10).clamp(min=1e-5), damping)
    age = torch.where(better, torch.where(poor, -1, work.age + 1), torch.where(fresh, 0, -1))
    work = work._replace(
        state=_choose(better, trial, work.state),
        at=_choose(better, at, work.at),
        damping=damping.clamp(min=_LEAST_DAMPING),
        age=age,
        previous=torch.where(better, decrease, work.previous),
    )
    # A small step that hurts although the Hessian is old is tried again with a new one before giving up.
    return work, small & (better | fresh), damping > _MOST_DAMPING


def _refresh(objective: Objective, work: _Work, rows: Tensor | None, wanted: Tensor) -> _Work:
    """Recompute the Hessians of the ``wanted`` (b,) members."""
    if not bool(wanted.any()):
        return work
    if bool(wanted.all()):
        hessian = objective.hessian(work.at, rows)
    else:
        hessian = work.hessian.clone()
        hessian[wanted] = objective.hessian(_take(work.at, wanted), work.rows[wanted])
    age = torch.where(wanted, 0, work.age)
    return work._replace(hessian=hessian, age=age, hessians=work.hessians + wanted.long())


def solve_step(
    hessian: Tensor, gradient: Tensor, damping: Tensor, room: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, Tensor]:
    """Solve for the damped step inside the bounds.

    The system is scaled to a unit diagonal first (Marquardt 1963), which makes damping free of units and float32
    good enough for a Cholesky factor.

    Args:
        hessian: (b, P, P). gradient: (b, P). damping: (b,). room: see :meth:`Objective.room`.

    Returns:
        Step (b, P), NaN where the system is not positive definite, and the predicted decrease of the cost (b,).
    """
    diagonal = hessian.diagonal(dim1=1, dim2=2)
    scale = torch.where(diagonal > 0, diagonal, 1.0).rsqrt()
    unit = hessian * scale[:, :, None] * scale[:, None, :]
    slope = gradient * scale
    if room is None:
        step = _cholesky_step(unit, slope, damping)
    else:
        low, high = room[0] / scale, room[1] / scale
        fixed = ((low >= 0) & (slope > 0)) | ((high <= 0) & (slope < 0))
        step = torch.zeros_like(slope)
        for _ in range(_BOUND_PASSES):
            free = (~fixed).to(slope.dtype)
            system = unit * free[:, :, None] * free[:, None, :]
            system.diagonal(dim1=1, dim2=2).add_(1 - free)
            target = (slope + (unit @ step[..., None]).squeeze(-1)) * free
            step = step + _cholesky_step(system, target, damping)
            outside = ((step < low) | (step > high)) & ~fixed
            step = torch.minimum(torch.maximum(step, low), high)
            if not bool(outside.any()):
                break
            fixed |= outside
            step = step * fixed  # what is fixed keeps its bound, the rest is solved again
    product = (unit @ step[..., None]).squeeze(-1)
    return step * scale, -(step * (slope + 0.5 * product)).sum(1)


def _cholesky_step(unit: Tensor, slope: Tensor, damping: Tensor) -> Tensor:
    """Return -(unit + damping)⁻¹ slope, NaN where that is not positive definite."""
    system = unit.clone()
    system.diagonal(dim1=1, dim2=2).add_(damping[:, None])
    factor, info = torch.linalg.cholesky_ex(system)
    step = torch.cholesky_solve(slope[..., None], factor).squeeze(-1).neg_()
    return step if not bool(info.any()) else torch.where(info[:, None] == 0, step, torch.nan)


def _take(values: Any, mask: Tensor) -> Any:
    """Select members of nested NamedTuples of tensors."""
    if isinstance(values, Tensor):
        return values[mask]
    return type(values)(*(_take(v, mask) for v in values))


def _choose(mask: Tensor, new: Any, old: Any) -> Any:
    """Select new or old, member by member, in a NamedTuple of tensors."""
    if bool(mask.all()):
        return new
    if not bool(mask.any()):
        return old
    return type(new)(
        *(torch.where(mask.view(-1, *[1] * (a.dim() - 1)), a, b) for a, b in zip(new, old, strict=True))
    )


def _collect(finished: list[tuple[_Work, Tensor, Tensor]], size: int) -> Minimum:
    """Put the finished members back into the order of the batch."""
    if len(finished) == 1:
        work, count, converged = finished[0]
        return Minimum(work.state, work.at.cost, count, converged, work.hessian, work.hessians)
    rows = torch.cat([work.rows for work, _, _ in finished])
    order = torch.empty_like(rows)
    order[rows] = torch.arange(size, device=rows.device)

    def joined(parts: list[Tensor]) -> Tensor:
        return torch.cat(parts)[order]

    works = [work for work, _, _ in finished]
    return Minimum(
        type(works[0].state)(*(joined(list(parts)) for parts in zip(*(w.state for w in works), strict=True))),
        joined([w.at.cost for w in works]),
        joined([count for _, count, _ in finished]),
        joined([converged for _, _, converged in finished]),
        joined([w.hessian for w in works]),
        joined([w.hessians for w in works]),
    )
