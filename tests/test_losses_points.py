"""Point likelihoods against torch.distributions, edges and parameter losses by property."""

from __future__ import annotations

import pytest
import torch

from facezoo.errors import InputError
from facezoo.geometry.rotations import axis_angle_to_matrix
from facezoo.losses import (
    gaussian_nll,
    laplace_nll,
    normalized_smooth_l1,
    rotation_loss,
    unique_edges,
    vertex_edge_loss,
)


@pytest.mark.parametrize(
    ("loss", "distribution"),
    [(gaussian_nll, torch.distributions.Normal), (laplace_nll, torch.distributions.Laplace)],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_likelihood_is_the_distribution_s(loss, distribution, channels: int) -> None:
    torch.manual_seed(0)
    mean, target = torch.randn(3, 5, 2), torch.randn(3, 5, 2)
    log_sigma = torch.randn(3, 5, channels)
    wanted = -distribution(mean, log_sigma.exp().expand_as(mean)).log_prob(target).sum(-1)
    torch.testing.assert_close(loss(mean, log_sigma, target), wanted.mean())
    weight = torch.rand(3, 5)
    torch.testing.assert_close(loss(mean, log_sigma, target, weight), (wanted * weight).sum() / weight.sum())


@pytest.mark.parametrize("loss", [gaussian_nll, laplace_nll])
def test_likelihood_gradients(loss) -> None:
    torch.manual_seed(0)
    mean, log_sigma = (torch.randn(2, 3, 2, dtype=torch.float64, requires_grad=True) for _ in range(2))
    target = torch.randn(2, 3, 2, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda m, s: loss(m, s, target), (mean, log_sigma))


def test_likelihood_refuses_wrong_shapes() -> None:
    with pytest.raises(InputError, match="differ in shape"):
        gaussian_nll(torch.zeros(1, 2, 2), torch.zeros(1, 2, 2), torch.zeros(1, 3, 2))
    with pytest.raises(InputError, match="log scales"):
        laplace_nll(torch.zeros(1, 2, 2), torch.zeros(1, 2, 3), torch.zeros(1, 2, 2))


def test_vertex_edges_ignore_translation_and_see_stretching() -> None:
    edges = unique_edges(torch.tensor([[0, 1, 2], [2, 1, 3]]))
    assert edges.tolist() == [[0, 1], [0, 2], [1, 2], [1, 3], [2, 3]]
    points = torch.randn(2, 4, 2)
    assert float(vertex_edge_loss(points + 5, points, edges)) < 1e-10
    by_hand = sum((points[:, a] - points[:, b]).square().sum(-1) for a, b in edges.tolist()) / len(edges)
    torch.testing.assert_close(vertex_edge_loss(points * 2, points, edges), by_hand.mean())


def test_parameter_loss_masks_samples_and_scales_by_spread() -> None:
    value, target = torch.tensor([[1.0, 0.0], [100.0, 100.0]]), torch.zeros(2, 2)
    masked = normalized_smooth_l1(value, target, torch.tensor([10.0, 1.0]), torch.tensor([1.0, 0.0]))
    assert float(masked) == pytest.approx(0.5 * 0.1**2 / 2)
    assert float(normalized_smooth_l1(value, target, 1.0, torch.zeros(2))) == 0


def test_rotation_loss_is_a_function_of_the_angle() -> None:
    angle = torch.tensor([[0.0, 0.3, 0.0], [1.0, 0.0, 0.0]])
    wanted = 8 * torch.sin(angle.norm(dim=1) / 2).square()
    torch.testing.assert_close(
        rotation_loss(axis_angle_to_matrix(angle), torch.eye(3).expand(2, 3, 3)), wanted.mean()
    )
