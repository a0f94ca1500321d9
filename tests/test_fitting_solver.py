"""The solver on problems that are not heads: known minima, bounds against a quadratic program, batches, failure."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from fitting_head import F64
from scipy.optimize import lsq_linear
from torch import Tensor

from facezoo.fitting.lm import minimise, solve_step


class Point(NamedTuple):
    x: Tensor


class At(NamedTuple):
    cost: Tensor
    residual: Tensor
    jacobian: Tensor


class Rosenbrock:
    """r = (10 (y - x²), a - x): a curved valley with its minimum at (a, a²), optionally inside a box."""

    def __init__(self, a: Tensor, low: float | None = None, high: float | None = None) -> None:
        self.a, self.low, self.high, self.hessians = a, low, high, 0

    def evaluate(self, state: Point, rows: Tensor | None = None) -> At:
        a = self.a if rows is None else self.a[rows]
        x, y = state.x.unbind(1)
        r = torch.stack((10 * (y - x * x), a - x), 1)
        one = torch.ones_like(x)
        j = torch.stack((torch.stack((-20 * x, 10 * one), 1), torch.stack((-one, 0 * one), 1)), 1)
        return At(0.5 * r.square().sum(1), r, j)

    def gradient(self, at: At) -> Tensor:
        return (at.jacobian.mT @ at.residual[..., None]).squeeze(-1)

    def hessian(self, at: At, rows: Tensor | None = None) -> Tensor:
        self.hessians += len(at.cost)
        return at.jacobian.mT @ at.jacobian

    def retract(self, state: Point, step: Tensor) -> Point:
        x = state.x + step
        return Point(x if self.low is None else x.clamp(self.low, self.high))

    def room(self, state: Point) -> tuple[Tensor, Tensor] | None:
        return None if self.low is None else (self.low - state.x, self.high - state.x)


def test_finds_the_bottom_of_the_valley_for_every_member():
    a = torch.linspace(-2, 2, 9, dtype=F64)
    start = Point(torch.tensor([[-1.2, 1.0]], dtype=F64).repeat(9, 1))
    best = minimise(Rosenbrock(a), start, iterations=200, tolerance=1e-14)
    assert bool(best.converged.all())
    torch.testing.assert_close(best.state.x, torch.stack((a, a * a), 1), atol=1e-4, rtol=0)
    assert float(best.at.cost.max()) < 1e-10
    for i in range(9):  # each member ran as if alone
        alone = minimise(Rosenbrock(a[i : i + 1]), Point(start.x[:1]), iterations=200, tolerance=1e-14)
        assert int(alone.iterations) == int(best.iterations[i]) and int(alone.hessians) == int(
            best.hessians[i]
        )
        torch.testing.assert_close(alone.state.x[0], best.state.x[i], atol=1e-14, rtol=0)


def test_hessians_are_saved_near_the_minimum():
    objective = Rosenbrock(torch.ones(1, dtype=F64))
    best = minimise(objective, Point(torch.full((1, 2), 1.05, dtype=F64)), iterations=50, tolerance=1e-12)
    assert (
        bool(best.converged)
        and int(best.hessians) < int(best.iterations)
        and objective.hessians == int(best.hessians)
    )


def test_iterations_run_out_without_a_claim():
    best = minimise(
        Rosenbrock(torch.ones(1, dtype=F64)),
        Point(torch.tensor([[-1.2, 1.0]], dtype=F64)),
        iterations=2,
        tolerance=1e-12,
    )
    assert not bool(best.converged) and int(best.iterations) == 2


def test_bounds_hold_and_the_rest_is_at_its_minimum():
    # x may not reach a = 2: at x = 1 the valley's floor is y = 1, which is inside
    best = minimise(
        Rosenbrock(torch.tensor([2.0], dtype=F64), -1.5, 1.0),
        Point(torch.full((1, 2), -1.0, dtype=F64)),
        iterations=100,
        tolerance=1e-12,
    )
    assert bool(best.converged)
    torch.testing.assert_close(best.state.x, torch.ones(1, 2, dtype=F64), atol=1e-6, rtol=0)
    assert float(best.state.x[0, 0]) == 1.0


def test_bounded_step_solves_the_quadratic_program():
    g = torch.Generator().manual_seed(0)
    a = torch.randn(20, 15, 8, generator=g, dtype=F64)
    target = torch.randn(20, 15, generator=g, dtype=F64)
    low, high = -0.05 * torch.ones(20, 8, dtype=F64), 0.1 * torch.ones(20, 8, dtype=F64)
    low[:, 0] = high[:, 1] = 0  # at a bound already
    high[:, 7] = torch.inf
    step, decrease = solve_step(
        a.mT @ a, (a.mT @ target[..., None]).squeeze(-1), torch.zeros(20, dtype=F64), (low, high)
    )
    assert bool(((step >= low - 1e-12) & (step <= high + 1e-12)).all())
    for i in range(20):
        best = lsq_linear(
            a[i].numpy(), -target[i].numpy(), (low[i].numpy() - 1e-12, high[i].numpy()), tol=1e-14
        )
        reached = 0.5 * (a[i] @ step[i] + target[i]).square().sum()
        assert float(reached) == pytest.approx(best.cost, rel=1e-6)
        assert float(decrease[i]) == pytest.approx(float(0.5 * target[i].square().sum() - reached))


def test_a_system_that_is_not_positive_definite_is_reported():
    _, decrease = solve_step(-torch.eye(3)[None], torch.ones(1, 3), torch.zeros(1), None)
    assert bool(decrease.isnan())


def test_unknowns_without_effect_stay():
    hessian = torch.diag(torch.tensor([4.0, 0.0]))[None]
    step, decrease = solve_step(hessian, torch.tensor([[2.0, 0.0]]), torch.tensor([1e-9]), None)
    torch.testing.assert_close(step, torch.tensor([[-0.5, 0.0]]))
    assert float(decrease) == pytest.approx(0.5)
