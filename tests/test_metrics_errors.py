"""Metrics: values by hand, uneven batches, regions and alignment."""

from __future__ import annotations

import pytest
import torch

from facezoo.errors import InputError
from facezoo.metrics import MeanLandmarkError, MeanReprojectionError, MeanVertexError, NormalizedMeanError


def test_nme_by_hand() -> None:
    target = torch.tensor([[[0.0, 0.0], [4.0, 9.0]]])
    metric = NormalizedMeanError()
    metric.update(target + torch.tensor([3.0, 4.0]), target)
    assert float(metric.compute()) == pytest.approx(100 * 5 / 6)
    metric.reset()
    metric.update(target + torch.tensor([3.0, 4.0]), target, torch.tensor([50.0]))
    assert float(metric.compute()) == pytest.approx(10)


def test_faces_weigh_alike_in_uneven_batches() -> None:
    points, target = torch.randn(7, 11, 2), torch.randn(7, 11, 2)
    whole, parts = MeanLandmarkError(256), MeanLandmarkError(256)
    whole.update(points, target)
    parts.update(points[:5], target[:5])
    parts.update(points[5:], target[5:])
    torch.testing.assert_close(whole.compute(), parts.compute())
    torch.testing.assert_close(whole.compute(), 256 * (points - target).norm(dim=-1).mean())


def test_reprojection_error_is_zero_for_the_true_pose_and_counts_pixels() -> None:
    points = torch.randn(2, 6, 3) * 0.1
    R, t = torch.eye(3).expand(2, 3, 3), torch.tensor([[0.0, 0.0, 1.0]]).expand(2, 3)
    K = torch.tensor([[500.0, 0, 64], [0, 500, 64], [0, 0, 1]]).expand(2, 3, 3)
    camera = points + t[:, None]
    pixels = camera[..., :2] / camera[..., 2:] * 500 + 64
    metric = MeanReprojectionError()
    metric.update(points, R, t, K, pixels)
    assert float(metric.compute()) < 1e-4
    metric.reset()
    metric.update(points, R, t, K, pixels + torch.tensor([0.0, 2.0]))
    assert float(metric.compute()) == pytest.approx(2, abs=1e-4)


def test_vertex_error_is_in_millimetres_over_a_region() -> None:
    target = torch.randn(3, 10, 3)
    moved = target.clone()
    moved[:, 0] += torch.tensor([0.0, 0.0, 0.01])
    region = MeanVertexError(torch.arange(1, 10), align="none")
    everything = MeanVertexError(align="none")
    for metric in (region, everything):
        metric.update(moved, target)
    assert float(region.compute()) == 0
    assert float(everything.compute()) == pytest.approx(1, abs=1e-4)
    aligned = MeanVertexError()
    aligned.update(target + 0.3, target)
    assert float(aligned.compute()) < 1e-3


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(InputError, match="B, N, 2"):
        NormalizedMeanError().update(torch.zeros(1, 2, 3), torch.zeros(1, 2, 3))
    with pytest.raises(InputError, match="B, V, 3"):
        MeanVertexError().update(torch.zeros(1, 2, 3), torch.zeros(2, 2, 3))
    with pytest.raises(InputError, match="align"):
        MeanVertexError(align="rotation")
