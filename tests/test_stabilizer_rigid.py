"""Rigid transforms are a group, the exponential map inverts, means do not care where the origin is."""

from __future__ import annotations

import math

import pytest
import torch

from facezoo.geometry import geodesic_angle
from facezoo.models.stabilizer import RigidTransform
from facezoo.models.stabilizer.rigid import robust_mean


def twists(count: int, angle: float, seed: int = 0) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    w = torch.nn.functional.normalize(torch.randn(count, 3, generator=g, dtype=torch.double), dim=-1) * angle
    return torch.cat([w, torch.randn(count, 3, generator=g, dtype=torch.double)], 1)


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-3, 0.099, 0.101, 1.0, 3.0])
def test_log_inverts_exp(angle: float) -> None:
    x = twists(8, angle)
    assert torch.allclose(RigidTransform.exp(x).log(), x, atol=1e-9)


@pytest.mark.parametrize("angle", [1e-4, 0.2, 2.0])
def test_exp_is_the_matrix_exponential(angle: float) -> None:
    x = twists(4, angle)
    generator = torch.zeros(4, 4, 4, dtype=torch.double)
    w, v = x[:, :3], x[:, 3:]
    generator[:, 0, 1], generator[:, 0, 2], generator[:, 1, 2] = -w[:, 2], w[:, 1], -w[:, 0]
    generator[:, :3, :3] = generator[:, :3, :3] - generator[:, :3, :3].mT.clone()
    generator[:, :3, 3] = v
    assert torch.allclose(RigidTransform.exp(x).matrix, torch.linalg.matrix_exp(generator), atol=1e-12)


def test_composition_and_inverse_act_on_points() -> None:
    a, b = RigidTransform.exp(twists(5, 0.7)), RigidTransform.exp(twists(5, 1.1, 1))
    points = torch.randn(5, 20, 3, dtype=torch.double)
    assert torch.allclose((a @ b).apply(points), a.apply(b.apply(points)))
    assert torch.allclose(a.inverse().apply(a.apply(points)), points)
    homogeneous = torch.cat([points, torch.ones(5, 20, 1, dtype=torch.double)], -1)
    assert torch.allclose(homogeneous @ a.matrix.mT, torch.cat([a.apply(points), homogeneous[..., 3:]], -1))


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-3, 0.5, 1.6, 3.0])
def test_half_a_transform_has_half_the_twist(angle: float) -> None:
    x = twists(8, angle)
    half = RigidTransform.exp(x).half()
    assert torch.allclose(half.matrix, RigidTransform.exp(x / 2).matrix, atol=1e-9)
    assert torch.allclose((half @ half).matrix, RigidTransform.exp(x).matrix, atol=1e-9)


def test_gradients_exist_at_the_identity() -> None:
    x = torch.zeros(3, 6, requires_grad=True)
    half = RigidTransform.exp(x).half()
    (half.t.sum() + half.R.sum()).backward()
    assert x.grad is not None and torch.isfinite(x.grad).all()


def test_an_outlier_hardly_moves_the_mean() -> None:
    truth = RigidTransform.exp(twists(6, 0.5))
    near = [
        RigidTransform.exp(torch.cat([1e-3 * t[:, :3], 1e-4 * t[:, 3:]], 1)) @ truth
        for t in (twists(6, 1, s) for s in range(8))
    ]
    wrong = RigidTransform.exp(twists(6, 0.4, 99)) @ truth
    pivot = torch.zeros(6, 3, dtype=torch.double)
    found = robust_mean(RigidTransform.stack([*near, wrong]), pivot, 0.1)
    assert float(geodesic_angle(found.R, truth.R).max()) < 1e-3
    assert float((found.t - truth.t).norm(dim=-1).max()) < 3e-3
    plain = torch.stack([*(n.t for n in near), wrong.t]).mean(0)
    assert float((plain - truth.t).norm(dim=-1).min()) > 0.05


def test_the_mean_does_not_depend_on_the_frame() -> None:
    several = RigidTransform.stack([RigidTransform.exp(0.2 * twists(4, 1, s)) for s in range(5)])
    pivot = torch.randn(4, 3, dtype=torch.double)
    found = robust_mean(several, pivot, 0.1)
    move = RigidTransform.exp(twists(1, 1.0, 7))
    moved = RigidTransform.stack([move @ several[i] @ move.inverse() for i in range(5)])
    again = robust_mean(moved, move.apply(pivot[None])[0], 0.1)
    expected = move @ found @ move.inverse()
    assert torch.allclose(again.R, expected.R, atol=1e-9) and torch.allclose(again.t, expected.t, atol=1e-9)


def test_angles_are_radians() -> None:
    half = RigidTransform.exp(torch.tensor([[0.0, math.pi / 2, 0.0, 1.0, 2.0, 3.0]]))
    assert float(half.angle[0]) == pytest.approx(math.pi / 2, abs=1e-6)
