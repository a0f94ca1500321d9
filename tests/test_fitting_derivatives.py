"""The cost's pieces: FLAME's own projection, derivatives against autograd, robust losses, the jaw's rotation."""

from __future__ import annotations

import pytest
import torch
from fitting_head import F64, project, random_scene, smooth_head
from torch import Tensor

from facezoo.errors import InputError
from facezoo.fitting.jaw import jaw_rotation, small_rotation
from facezoo.fitting.objective import HeadObjective, Observations
from facezoo.fitting.problem import fit_problem
from facezoo.fitting.robust import rho
from facezoo.fitting.state import Unknowns
from facezoo.geometry import axis_angle_to_matrix

BATCH, IDS = 3, torch.arange(5, 60, 2)


def scene(**options) -> tuple[HeadObjective, Unknowns]:
    """Build an objective with noisy points, uneven weights and a state away from the truth and from the mean."""
    head = smooth_head()
    params, camera = random_scene(head, BATCH)
    g = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=F64)

    problem = fit_problem(head, IDS, dtype=F64)
    n = problem.n_coefficients + 4
    centre = camera.K[:, None, :2, 2]
    focal = camera.K[:, :2, :2] + torch.tensor(
        [[0.0, 3.0], [1.0, 0.0]], dtype=F64
    )  # skew, as a rotated crop has
    seen = Observations(
        points=(project(head, params, camera)[:, IDS] - centre + 2 * normal(BATCH, len(IDS), 2)).mT,
        weight=torch.rand(BATCH, 2, len(IDS), generator=g, dtype=F64) * (torch.arange(len(IDS)) != 4),
        focal=focal,
        mean=0.1 * normal(BATCH, n),
        precision=torch.rand(BATCH, n, generator=g, dtype=F64),
        robust_scale=torch.full((BATCH,), 1.5, dtype=F64),
    )
    values = torch.cat((normal(BATCH, n - 4), 0.2 * normal(BATCH, 4)), 1)
    values[0, -4:-1] = 0  # a closed jaw is the series' special place
    return HeadObjective(problem, seen, **options), Unknowns(values, camera.R, camera.t)


def along(objective: HeadObjective, state: Unknowns, step: Tensor):
    return objective.evaluate(objective.retract(state, step))


def test_projection_is_that_of_the_head_model():
    head = smooth_head()
    params, camera = random_scene(head, BATCH)
    problem = fit_problem(head, IDS, dtype=F64)
    zero = torch.zeros(BATCH, 2, len(IDS), dtype=F64)
    n = problem.n_coefficients + 4
    none = torch.zeros(BATCH, n, dtype=F64)
    seen = Observations(zero, zero, camera.K[:, :2, :2], none, none, zero[:, 0, 0])
    values = torch.cat((params.identity, params.expression, params.jaw, torch.zeros(BATCH, 1, dtype=F64)), 1)
    error = HeadObjective(problem, seen).evaluate(Unknowns(values, camera.R, camera.t)).error
    expected = project(head, params, camera)[:, IDS] - camera.K[:, None, :2, 2]
    # pixels; the head's skinning weights sum to one only to float32's precision
    torch.testing.assert_close(error.mT, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("rigid", [False, True])
@pytest.mark.parametrize("focal", [False, True])
def test_jacobian_equals_autograd(rigid: bool, focal: bool):
    objective, state = scene(rigid=rigid, focal=focal)
    zero = torch.zeros(BATCH, objective.n_unknowns, dtype=F64)
    weight = objective.seen.weight.sqrt()
    # members are independent, so the derivative of the batch's sum by one step is each member's own
    expected = torch.func.jacfwd(lambda s: along(objective, state, zero + s).error * weight)(zero[0])
    ours = objective.jacobian(objective.evaluate(state))
    torch.testing.assert_close(ours.transpose(1, 2), expected, atol=1e-9, rtol=1e-10)


@pytest.mark.parametrize("robust", ["none", "huber", "geman-mcclure"])
@pytest.mark.parametrize("rigid", [False, True])
def test_gradient_equals_autograd(robust: str, rigid: bool):
    objective, state = scene(rigid=rigid, focal=True, robust=robust)
    zero = torch.zeros(BATCH, objective.n_unknowns, dtype=F64)

    def cost(s: Tensor) -> Tensor:
        return along(objective, state, zero + s).cost

    torch.testing.assert_close(
        objective.gradient(objective.evaluate(state)), torch.func.jacfwd(cost)(zero[0]), atol=1e-8, rtol=1e-10
    )


def test_hessian_is_the_jacobian_squared_plus_prior():
    objective, state = scene(focal=True)
    at = objective.evaluate(state)
    jacobian = objective.jacobian(at).flatten(1, 2)
    expected = jacobian.mT @ jacobian
    diagonal = expected.diagonal(dim1=1, dim2=2)
    diagonal[:, : objective.n_values] += objective.seen.precision
    torch.testing.assert_close(objective.hessian(at), expected, atol=1e-8, rtol=1e-10)
    rows = torch.tensor([2, 0])
    part = objective.evaluate(Unknowns(*(x[rows] for x in state)), rows)
    torch.testing.assert_close(objective.hessian(part, rows), expected[rows], atol=1e-8, rtol=1e-10)


def test_hessian_in_chunks_equals_whole(monkeypatch: pytest.MonkeyPatch):
    objective, state = scene()
    at = objective.evaluate(state)
    whole = objective.hessian(at)
    monkeypatch.setattr("facezoo.fitting.objective._JACOBIAN_BYTES", {"cpu": 1})
    torch.testing.assert_close(objective.hessian(at), whole)


def test_vertices_behind_the_camera_cost_more_than_any_fit():
    objective, state = scene()
    near = state._replace(t=state.t * torch.tensor([1.0, 1.0, 0.02], dtype=F64))
    assert bool((objective.evaluate(near).cost > 1e3 * objective.evaluate(state).cost).all())


@pytest.mark.parametrize("size", [0.0, 1e-8, 0.05, 0.5, 3.1])
def test_jaw_rotation_and_its_derivative(size: float):
    v = size * torch.tensor([[0.6, 0.0, -0.8], [1.0, 0.0, 0.0]], dtype=F64)
    turn, turns = jaw_rotation(v)
    torch.testing.assert_close(turn + torch.eye(3, dtype=F64), axis_angle_to_matrix(v), atol=1e-12, rtol=0)
    expected = torch.stack(
        [torch.func.jacfwd(axis_angle_to_matrix)(row) for row in v]
    )  # (2, 3, 3, component)
    torch.testing.assert_close(turns.view(2, 3, 3, 3), expected.permute(0, 3, 1, 2), atol=1e-12, rtol=0)


def test_small_rotation_is_a_rotation_with_the_right_tangent():
    step = torch.tensor([[0.3, -0.2, 0.1]], dtype=F64)
    r = small_rotation(step)
    torch.testing.assert_close(r @ r.mT, torch.eye(3, dtype=F64)[None])
    torch.testing.assert_close(
        small_rotation(1e-4 * step), axis_angle_to_matrix(1e-4 * step), atol=1e-13, rtol=0
    )


@pytest.mark.parametrize("kind", ["none", "huber", "geman-mcclure"])
def test_robust_losses(kind: str):
    s = torch.tensor([0.0, 1e-6, 0.5, 3.9, 4.1, 50.0], dtype=F64, requires_grad=True)
    loss, weight = rho(s, kind, 2.0)  # type: ignore[arg-type]
    (slope,) = torch.autograd.grad(loss.sum(), s)
    torch.testing.assert_close(weight.detach(), slope)
    assert loss[1].item() == pytest.approx(1e-6, rel=1e-5)  # like a plain square at zero
    assert bool((loss[1:] > loss[:-1]).all()) and bool((loss <= s * (1 + 1e-12)).all())


def test_problems_are_kept_and_follow_the_head():
    head = smooth_head()
    problem = fit_problem(head, IDS)
    assert fit_problem(head, IDS.clone()) is problem
    assert fit_problem(head, IDS.flip(0)) is not problem
    assert fit_problem(head, IDS, dtype=F64) is not problem
    head.shapedirs.mul_(2)
    torch.testing.assert_close(fit_problem(head, IDS).by_vertex, 2 * problem.by_vertex)
    few = fit_problem(head, IDS, n_identity=2, n_expression=3)
    torch.testing.assert_close(
        few.by_vertex, torch.cat((2 * problem.by_vertex[..., :2], 2 * problem.by_vertex[..., 8:11]), 2)
    )


@pytest.mark.parametrize(
    "ids", [torch.tensor([0, 500]), torch.tensor([-1]), torch.zeros(2, 2).long(), torch.zeros(3)]
)
def test_bad_vertex_ids(ids: Tensor):
    with pytest.raises(InputError, match="vertex_ids"):
        fit_problem(smooth_head(), ids)


def test_too_many_coefficients():
    with pytest.raises(InputError, match=r"n_identity must be in 0\.\.8"):
        fit_problem(smooth_head(), IDS, n_identity=9)
