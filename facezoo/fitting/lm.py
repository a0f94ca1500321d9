"""Batched Levenberg-Marquardt with bounds, for any objective that offers cost, gradient, Hessian and an update rule.

Three things set it apart from the textbook:

* The Hessian, by far the dearest part, is kept for the last steps: once a step moved the unknowns by less than their
  posterior standard deviation, the exact gradient with the old Hessian leads to the same minimum (chord steps).
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

# Damping is relative to the Hessian scaled to a unit diagonal. It starts so low that a well-behaved problem takes plain
# Gauss-Newton steps; the first failure raises it to a level that shortens steps along the weak directions.
_FIRST_DAMPING, _RAISED_DAMPING, _LEAST_DAMPING, _MOST_DAMPING = 1e-6, 1e-4, 1e-9, 1e8
_BOUND_PASSES = 6
# χ² that the last step may have gained for its Hessian to serve once more.
_CHORD_GAIN = 0.5
# A chord step must cut the predicted decrease to this part, or the Hessian is computed anew.
_CHORD_PROGRESS = 0.1
# Relative rounding noise of the cost: differences below cannot judge a step.
_NOISE = {torch.float32: 1e-5, torch.float64: 1e-13}


class Objective(Protocol):
    """What the solver needs; ``rows`` names the members of the batch that a call is about, None = all.

    Evaluations and states are NamedTuples of tensors, batch first.
    """

    def evaluate(self, state: Any, rows: Tensor | None = None) -> Any:
        """Return an evaluation with at least ``cost`` (b,), infinite where the state is not allowed."""

    def gradient(self, at: Any) -> Tensor:
        """Return (b, P)."""
        ...

    def hessian(self, at: Any, rows: Tensor | None = None) -> Tensor:
        """Return a positive semi-definite (b, P, P)."""
        ...

    def retract(self, state: Any, step: Tensor, rows: Tensor | None = None) -> Any:
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


class _Work(NamedTuple):
    """Members of the batch that are not finished yet."""

    rows: Tensor
    state: Any
    at: Any
    hessian: Tensor
    hessians: Tensor
    stale: Tensor  # bool, the Hessian is of an earlier state
    damping: Tensor
    growth: Tensor  # factor on the damping at the next failure
    previous: Tensor  # predicted decrease of the last step


def minimise(objective: Objective, state: Any, *, iterations: int, tolerance: float) -> Minimum:
    """Find the minimum of every member of the batch; each runs as if it were alone.

    Args:
        objective: what to minimise.
        state: where to start, a NamedTuple of tensors (B, ...).
        iterations: most steps to try for a member, at least one.
        tolerance: stop when the predicted decrease of the cost is below this part of the cost (or of one, when the
            cost is below one: a χ² smaller than that means nothing).

    Returns:
        The minima. ``converged`` is False where iterations ran out or no step decreased the cost.
    """
    at = objective.evaluate(state, None)
    like = at.cost
    size = len(like)
    rows = torch.arange(size, device=like.device)
    work = _Work(
        rows=rows,
        state=state,
        at=at,
        hessian=like.new_empty(0),
        hessians=torch.zeros_like(rows),
        stale=torch.ones_like(rows, dtype=torch.bool),
        damping=torch.full_like(like, _FIRST_DAMPING),
        growth=torch.full_like(like, 2.0),
        previous=torch.full_like(like, torch.inf),
    )
    finished: list[tuple[_Work, Tensor, Tensor]] = []  # work, iterations, converged
    for iteration in range(1, iterations + 1):
        work, converged = _iterate(objective, work, tolerance, size)
        done = converged | (work.damping > _MOST_DAMPING)
        if iteration == iterations:
            done = torch.ones_like(done)
        if bool(done.any()):
            out = _take(work, done)
            finished.append((out, torch.full_like(out.rows, iteration), converged[done]))
            if len(out.rows) == len(work.rows):
                break
            work = _take(work, ~done)
    return _collect(finished, size)


def _iterate(objective: Objective, work: _Work, tolerance: float, size: int) -> tuple[_Work, Tensor]:
    """Try one step for every member at work and take it where it pays."""
    rows = None if len(work.rows) == size else work.rows
    work = _refresh(objective, work, rows, work.stale & (work.previous > _CHORD_GAIN))
    gradient = objective.gradient(work.at)
    room = objective.room(work.state)
    step, decrease = solve_step(work.hessian, gradient, work.damping, room)
    target = tolerance * work.at.cost.clamp(min=1.0)
    slow = work.stale & ~((decrease < _CHORD_PROGRESS * work.previous) | (decrease < target))
    if bool(slow.any()):
        work = _refresh(objective, work, rows, slow)
        step, decrease = solve_step(work.hessian, gradient, work.damping, room)
    trial = objective.retract(work.state, step, rows)
    at = objective.evaluate(trial, rows)
    actual = work.at.cost - at.cost
    noise = _NOISE.get(actual.dtype, 1e-5) * work.at.cost
    # All comparisons are False for NaN: an impossible step is a failed one.
    better = (actual > 1e-3 * decrease) | ((decrease < noise) & (actual > -noise))
    small = decrease < target
    # Damping after Nielsen (1999): it shrinks the better the model predicted, and grows ever faster at failures.
    # An old Hessian is to blame before the damping is.
    surprise = 2 * (actual / decrease.clamp(min=1e-30)).clamp(0, 1) - 1
    easier = work.damping * (1 - surprise**3).clamp(min=0.1)
    failed = ~better & ~work.stale
    harder = torch.where(failed, (work.damping * work.growth).clamp(min=_RAISED_DAMPING), work.damping)
    finished = small & (better | ~work.stale)
    work = work._replace(
        state=_choose(better, trial, work.state),
        at=_choose(better, at, work.at),
        damping=torch.where(better, easier.clamp(min=_LEAST_DAMPING), harder),
        growth=torch.where(better, 2.0, torch.where(failed, 2 * work.growth, work.growth)),
        # a failed chord step counts as a large one, so that the Hessian is refreshed
        previous=torch.where(better, decrease, torch.where(work.stale, torch.inf, work.previous)),
        stale=better | work.stale,
    )
    return work, finished


def _refresh(objective: Objective, work: _Work, rows: Tensor | None, wanted: Tensor) -> _Work:
    """Recompute the Hessians of the ``wanted`` (b,) members."""
    if not bool(wanted.any()):
        return work
    if bool(wanted.all()):
        hessian = objective.hessian(work.at, rows)
    else:
        hessian = work.hessian.clone()
        hessian[wanted] = objective.hessian(_take(work.at, wanted), work.rows[wanted])
    return work._replace(hessian=hessian, stale=work.stale & ~wanted, hessians=work.hessians + wanted)


def solve_step(
    hessian: Tensor, gradient: Tensor, damping: Tensor, room: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, Tensor]:
    """Solve for the damped step inside the bounds.

    The system is scaled to a unit diagonal first (Marquardt 1963), which makes damping free of units and float32
    good enough for a Cholesky factor.

    Args:
        hessian: (b, P, P).
        gradient: (b, P).
        damping: (b,).
        room: see :meth:`Objective.room`.

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
        step = _bounded_step(unit, slope, damping, room[0] / scale, room[1] / scale)
    product = (unit @ step[..., None]).squeeze(-1)
    return step * scale, (step * torch.add(slope, product, alpha=0.5)).sum(1).neg_()


def _bounded_step(unit: Tensor, slope: Tensor, damping: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return the damped step with low <= step <= high, all (b, P) in scaled units."""
    fixed = ((low >= 0) & (slope > 0)) | ((high <= 0) & (slope < 0))
    step = torch.zeros_like(slope)
    for _ in range(_BOUND_PASSES):
        free = (~fixed).to(slope.dtype)
        # fixed unknowns keep their part of the step, the free ones solve for the rest
        step = step * fixed
        target = (slope + (unit @ step[..., None]).squeeze(-1)) * free
        system = unit * free[:, :, None] * free[:, None, :]
        system.diagonal(dim1=1, dim2=2).add_(1 - free)
        step = step + _cholesky_step(system, target, damping)
        outside = ((step < low) | (step > high)) & ~fixed
        step = torch.clamp(step, low, high)
        if not bool(outside.any()):
            break
        fixed = fixed | outside
    return step


def _cholesky_step(unit: Tensor, slope: Tensor, damping: Tensor) -> Tensor:
    """Return -(unit + damping)⁻¹ slope, NaN where that is not positive definite."""
    system = unit.clone()
    system.diagonal(dim1=1, dim2=2).add_(damping[:, None])
    factor, info = torch.linalg.cholesky_ex(system)
    step = torch.cholesky_solve(slope[..., None], factor).squeeze(-1).neg_()
    return torch.where(info[:, None] == 0, step, torch.nan)


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
    shape = [-1] + [1] * max(a.dim() for a in new)
    return type(new)(*(torch.where(mask.view(shape[: a.dim()]), a, b) for a, b in zip(new, old, strict=True)))


def _collect(finished: list[tuple[_Work, Tensor, Tensor]], size: int) -> Minimum:
    """Put the finished members back into the order of the batch."""
    parts = [
        Minimum(work.state, work.at, count, converged, work.hessian, work.hessians)
        for work, count, converged in finished
    ]
    if len(parts) == 1:
        return parts[0]
    rows = torch.cat([work.rows for work, _, _ in finished])
    order = torch.empty_like(rows)
    order[rows] = torch.arange(size, device=rows.device)

    def joined(pieces: list[Any]) -> Any:
        if isinstance(pieces[0], Tensor):
            return torch.cat(pieces)[order]
        return type(pieces[0])(*(joined(list(column)) for column in zip(*pieces, strict=True)))

    return joined(parts)
