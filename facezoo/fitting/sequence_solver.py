"""Levenberg-Marquardt with bounds on an arrowhead: one problem, thousands of unknowns, linear cost.

The same decisions as :mod:`facezoo.fitting.lm`, which solves many small dense problems at once: damping on the unit
diagonal, stopping by the decrease still to be expected, bounds by block pivoting.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from facezoo.fitting.arrowhead import Arrowhead
from facezoo.fitting.sequence_objective import SequenceObjective
from facezoo.fitting.sequence_state import SequenceState

_FIRST_DAMPING, _RAISED_DAMPING, _LEAST_DAMPING, _MOST_DAMPING = 1e-6, 1e-4, 1e-9, 1e8
_BOUND_PASSES = 8
_WALL = 1e12  # on the unit diagonal: holds a fixed unknown in place to twelve digits
_LEAST_COST = 1e3  # of which the tolerance is a part
_NOISE = {torch.float32: 1e-6, torch.float64: 1e-13}  # relative rounding noise of a cost summed in float64


class Minimum(NamedTuple):
    """Where the solver stopped.

    Attributes:
        state: the unknowns. cost: their cost.
        iterations: steps tried. converged: False where they ran out or no step decreased the cost.
        matrix: the Hessian at or next to the solution.
    """

    state: SequenceState
    cost: float
    iterations: int
    converged: bool
    matrix: Arrowhead


def minimise_sequence(
    objective: SequenceObjective,
    state: SequenceState,
    *,
    iterations: int,
    tolerance: float,
    progress: Callable[[int, float], None] | None = None,
) -> Minimum:
    """Find the minimum next to a state.

    Args:
        objective: what to minimise.
        state: where to start.
        iterations: most steps to try, at least one.
        tolerance: stop when the decrease still to be expected is below this part of the cost, or of a thousand where
            the cost is less.
        progress: called with steps tried and the cost after each.
    """
    cost, gradient, matrix = objective.linearise(state)
    unit, scale = _unit(matrix)
    damping, growth, converged, tried = _FIRST_DAMPING, 2.0, False, 0
    noise = _NOISE.get(state.t.dtype, 1e-6)
    while tried < iterations:
        tried += 1
        room = objective.room(state)
        step, expected = _bounded_step(unit, gradient * scale, damping, _over(room, scale))
        trial = objective.retract(state, step * scale)
        after = objective.cost(trial) if expected < float("inf") else float("inf")
        actual = cost - after
        # comparisons with NaN are False: an impossible step is a failed one
        better = actual > 1e-3 * expected or (expected < noise * cost and actual > -noise * cost)
        converged = expected < tolerance * max(cost, _LEAST_COST)
        if better:  # damping shrinks the better the model predicted (Nielsen 1999)
            surprise = 2 * min(actual / expected if expected > 0 else 0.0, 1.0) - 1
            damping = max(damping * max(1 - max(surprise, 0.0) ** 3, 0.1), _LEAST_DAMPING)
            growth, state, cost = 2.0, trial, after
        else:
            damping, growth = max(damping * growth, _RAISED_DAMPING), growth * 2
        if progress is not None:
            progress(tried, cost)
        if converged or damping > _MOST_DAMPING or tried == iterations:
            break
        if better:
            cost, gradient, matrix = objective.linearise(state)
            unit, scale = _unit(matrix)
    return Minimum(state, cost, tried, converged, unit.scale_(1 / scale))


def shared_information(matrix: Arrowhead, size: int) -> Tensor:
    """Return the precision (size, size) of the first shared unknowns, all others eliminated."""
    scaled, scale = _unit(matrix)
    tiny = torch.full_like(scale, 1e-10)
    factor = scaled.factor(tiny)
    count = len(scale) - matrix.sizes[2]
    rest = scale[count:]
    matrix.scale_(1 / scale)
    if factor is None:
        return matrix.shared.new_zeros(size, size)
    whole = factor.corner @ factor.corner.mT / (rest[:, None] * rest)
    inside, across, outside = whole[:size, :size], whole[:size, size:], whole[size:, size:]
    return inside - across @ torch.linalg.solve(outside, across.mT) if outside.numel() else inside


def _unit(matrix: Arrowhead) -> tuple[Arrowhead, Tensor]:
    """Scale a matrix to a unit diagonal, in place; an unknown without any effect keeps a row of zeros."""
    scale = matrix.diagonal_vector().clamp(min=1e-30).rsqrt()
    return matrix.scale_(scale), scale


def _over(room: tuple[Tensor, Tensor] | None, scale: Tensor) -> tuple[Tensor, Tensor] | None:
    return None if room is None else (room[0] / scale, room[1] / scale)


def _bounded_step(
    unit: Arrowhead, slope: Tensor, damping: float, room: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, float]:
    """Minimise the damped quadratic model inside the bounds, in scaled units.

    Returns:
        The step and the predicted decrease, infinite where the system is not positive definite.
    """
    lift = torch.full_like(slope, damping)
    low, high = (slope.new_full((), end) for end in (-torch.inf, torch.inf)) if room is None else room
    at_low, at_high = (low >= 0) & (slope > 0), (high <= 0) & (slope < 0)
    step = torch.zeros_like(slope)
    for _ in range(_BOUND_PASSES):
        fixed = at_low | at_high
        held = torch.where(at_low, low, torch.where(at_high, high, 0.0))
        pulled = slope + unit.multiply(held) if bool(held.any()) else slope
        factor = unit.factor(torch.where(fixed, _WALL, lift))
        if factor is None:
            return step, float("inf")
        step = torch.where(fixed, held, factor.solve(-pulled))
        bend = slope + unit.multiply(step)
        # hold what has left the bounds, let go what is pulled back inside
        new_low = torch.where(fixed, at_low & (bend >= 0), step < low)
        new_high = torch.where(fixed, at_high & (bend <= 0), step > high)
        if torch.equal(new_low, at_low) and torch.equal(new_high, at_high):
            return step, _decrease(unit, slope, step)
        at_low, at_high = new_low, new_high
    step = step.clamp(low, high)  # pivoting may go round in circles; the clamped step is as good a try as any
    return step, _decrease(unit, slope, step)


def _decrease(unit: Arrowhead, slope: Tensor, step: Tensor) -> float:
    return float(-(step @ slope) - 0.5 * (step @ unit.multiply(step)))
