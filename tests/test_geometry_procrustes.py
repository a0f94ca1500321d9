"""Procrustes alignment: recovers known transforms, is optimal, weighted, never mirrors."""

from __future__ import annotations

import pytest
import torch

from facezoo.errors import InputError
from facezoo.geometry import align, axis_angle_to_matrix

F64 = torch.float64


def cloud(d: int = 3) -> torch.Tensor:
    return torch.randn(4, 30, d, generator=torch.Generator().manual_seed(0), dtype=F64)


def transform(d: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(1)
    r = axis_angle_to_matrix(torch.randn(4, 3, generator=g, dtype=F64))
    if d == 2:
        a = torch.linspace(-2, 2, 4, dtype=F64)
        r = torch.stack((a.cos(), -a.sin(), a.sin(), a.cos()), -1).reshape(4, 2, 2)
    return torch.linspace(0.5, 2, 4, dtype=F64), r, torch.randn(4, d, generator=g, dtype=F64)


@pytest.mark.parametrize("d", [2, 3])
def test_recovers_a_similarity_and_inverts(d: int):
    x, (s, r, t) = cloud(d), transform(d)
    y = s[:, None, None] * x @ r.mT + t[:, None]
    found = align(x, y)
    for ours, truth in zip(found, (s, r, t), strict=True):
        torch.testing.assert_close(ours, truth)
    torch.testing.assert_close(found.inverse().apply(found.apply(x)), x)


def test_rigid_keeps_scale_one():
    x, (_, r, t) = cloud(), transform(3)
    found = align(x, x @ r.mT + t[:, None], scale=False)
    torch.testing.assert_close(found.scale, torch.ones(4, dtype=F64))
    torch.testing.assert_close(found.R, r)


def test_is_a_minimum_of_the_weighted_error():
    x = cloud()
    g = torch.Generator().manual_seed(2)
    y = cloud().flip(0) + x
    w = torch.rand(4, 30, generator=g, dtype=F64)
    found = align(x, y, w)

    def error(turn: torch.Tensor, s: float, shift: torch.Tensor) -> torch.Tensor:
        moved = s * found.apply(x) @ axis_angle_to_matrix(turn).mT + shift
        return (w[..., None] * (moved - y).square()).sum()

    best = error(torch.zeros(3, dtype=F64), 1.0, torch.zeros(3, dtype=F64))
    # turn and scale about the weighted mean, so perturb around it with the free translation fitted in
    for _ in range(20):
        turn, shift = 1e-3 * torch.randn(2, 3, generator=g, dtype=F64)
        assert error(turn, 1.0 + 1e-3 * float(torch.randn((), generator=g)), shift) > best


def test_zero_weights_drop_points_and_mirrors_are_refused():
    x, (s, r, t) = cloud(), transform(3)
    y = s[:, None, None] * x @ r.mT + t[:, None]
    y[:, :5] += 10
    w = torch.ones(30, dtype=F64)
    w[:5] = 0
    torch.testing.assert_close(align(x, y, w).R, r)
    mirrored = align(x, x * torch.tensor([-1.0, 1, 1], dtype=F64))
    torch.testing.assert_close(torch.linalg.det(mirrored.R), torch.ones(4, dtype=F64))


def test_gradients():
    x = cloud()[:1, :6].clone().requires_grad_()
    noise = torch.randn(1, 6, 3, generator=torch.Generator().manual_seed(5), dtype=F64)
    y = (noise + 2 * cloud()[:1, :6]).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: align(a, b), (x, y))


@pytest.mark.parametrize(
    ("x", "y", "w"),
    [
        (torch.zeros(5, 3), torch.zeros(4, 3), None),
        (torch.zeros(2, 3), torch.zeros(2, 3), None),
        (torch.zeros(5, 3), torch.zeros(5, 3), None),
        (torch.rand(5, 3), torch.rand(5, 3), torch.zeros(5)),
        (torch.rand(5, 3), torch.rand(5, 3), torch.ones(4)),
    ],
)
def test_bad_input(x: torch.Tensor, y: torch.Tensor, w: torch.Tensor | None):
    with pytest.raises(InputError):
        align(x, y, w)
