"""Pose errors, NME by yaw, dense NME and the Florence-style error, against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from facezoo.errors import InputError
from facezoo.evaluation.florence import florence_error
from facezoo.geometry.rotations import euler_to_matrix
from facezoo.metrics import DenseNME, GeodesicPoseError, PoseMeanError, YawBinNME


def test_angles_outside_99_degrees_are_left_out_and_the_circle_closes():
    metric = PoseMeanError()
    truth = torch.tensor([[10.0, 0, 0], [0, 0, 98], [0, 0, 179], [100, 0, 0]])
    found = torch.tensor([[13.0, 0, 0], [0, 0, 95], [0, 0, -179], [0, 0, 0]])
    metric.update(found, truth)
    assert metric.by_angle() == pytest.approx((1.5, 0.0, 1.5, 1.0, 2, 2))
    assert float(metric.compute()) == pytest.approx(1.0)
    wide = PoseMeanError(limit=math.inf)
    wide.update(found[2:3], truth[2:3])
    assert wide.by_angle().roll == pytest.approx(2.0)  # 179 to -179 is two degrees, not 358
    with pytest.raises(InputError, match=r"\(B, 3\)"):
        metric.update(found[:, :2], truth[:, :2])


def test_geodesic_angle_does_not_depend_on_axes():
    turn = torch.tensor([[0.3, -0.2, 0.5], [0.1, 0.7, -0.4]])
    one = euler_to_matrix(*turn.unbind(1))
    step = torch.from_numpy(Rotation.from_rotvec([[0, 0.2, 0], [0.06, 0, 0.08]]).as_matrix()).float()
    metric = GeodesicPoseError()
    metric.update(step @ one, one)
    assert float(metric.compute()) == pytest.approx(math.degrees(0.15), abs=1e-3)


def test_yaw_bins_edges_and_both_means():
    square = torch.tensor([[0.0, 0], [100, 0], [0, 100], [100, 100]])
    target = square.expand(5, -1, -1)
    off = torch.tensor([1.0, 2, 3, 4, 10])
    points = target + torch.stack([off, torch.zeros(5)], 1)[:, None]
    metric = YawBinNME()
    metric.update(points[:2], target[:2], torch.tensor([-30.0, 30.5]))
    metric.update(
        points[2:], target[2:], torch.tensor([60.0, -61.0, 351.0])
    )  # 351 counts as far turned, as published
    table = metric.table()
    assert table.faces == (1, 2, 2)
    assert table.bins == pytest.approx((1.0, 2.5, 7.0))
    assert table.bin_mean == pytest.approx(3.5) and table.sample_mean == pytest.approx(4.0)
    assert float(metric.compute()) == pytest.approx(3.5)


def test_invisible_points_do_not_count():
    target = torch.tensor([[[0.0, 0], [10, 0], [0, 10], [10, 10]]])
    points = target.clone()
    points[0, 0, 0] = 500
    points[0, 1, 1] = 2
    metric = YawBinNME()
    metric.update(
        points, target, torch.zeros(1), torch.tensor([10.0]), torch.tensor([[False, True, True, True]])
    )
    assert float(metric.compute()) == pytest.approx(100 * 2 / 3 / 10)
    with pytest.raises(InputError, match="no visible point"):
        metric.update(points, target, torch.zeros(1), None, torch.zeros(1, 4, dtype=torch.bool))


def test_dense_nme_in_two_and_three_dimensions():
    landmarks = torch.tensor([[[0.0, 0], [20, 0], [0, 80], [20, 80]]])  # √(w h) = 40
    target = torch.rand(1, 50, 3)
    points = target + torch.tensor([3.0, 4.0, 12.0])
    flat, deep = DenseNME(), DenseNME(3)
    flat.update(points, target, landmarks)
    deep.update(points, target, landmarks)
    assert float(flat.compute()) == pytest.approx(12.5, abs=1e-4)
    assert float(deep.compute()) == pytest.approx(12.5, abs=1e-4)  # a common depth is nobody's error
    points[:, ::2, 2] += 8
    deep.update(points, target, landmarks)
    assert float(deep.compute()) > 12.6


def sheet(n: int = 25) -> tuple[np.ndarray, np.ndarray]:
    """Return a bumpy sheet of 150 mm and its triangles."""
    u, v = np.meshgrid(np.linspace(-75, 75, n), np.linspace(-75, 75, n))
    z = 25 * np.exp(-(u**2 + v**2) / 1500) + 6 * np.sin(u / 17) + 5 * np.cos(v / 23)
    grid = np.arange(n * n).reshape(n, n)
    a, b, c, d = grid[:-1, :-1].ravel(), grid[:-1, 1:].ravel(), grid[1:, 1:].ravel(), grid[1:, :-1].ravel()
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    return np.stack([u.ravel(), v.ravel(), z.ravel()], 1), faces


def test_florence_error_is_free_of_pose_and_scale_and_measures_planes():
    scan, faces = sheet()
    rng = np.random.default_rng(0)
    rows = rng.permutation(len(scan))[:68]
    rows[30] = len(scan) // 2
    landmarks = scan[rows]
    turn = Rotation.from_rotvec([0.4, -0.6, 0.2]).as_matrix()
    moved = 0.013 * scan @ turn.T + [3.0, 4, 5]
    own = 0.013 * landmarks @ turn.T + [3.0, 4, 5]
    same = florence_error(scan, landmarks, moved, faces, own)
    assert same.mean_mm < 1e-6
    noisy = own + rng.normal(size=own.shape) * 0.013 * 4  # landmarks 4 mm off: ICP must mend the alignment
    rough, fine = (florence_error(scan, landmarks, moved, faces, noisy, icp=icp) for icp in (False, True))
    assert fine.mean_mm < 0.02 < 0.1 < rough.mean_mm
    assert fine.points == int((np.linalg.norm(scan - landmarks[30], axis=1) <= 95).sum()) < len(scan)
    with pytest.raises(InputError, match="within 95 mm"):
        florence_error(scan + 1e4, landmarks, moved, faces, own)


def test_florence_error_of_a_known_offset():
    """Two parallel dents cannot be aligned away: half the points are 2 mm off one way, half the other."""
    n = 30
    u, v = np.meshgrid(np.linspace(-60, 60, n), np.linspace(-60, 60, n))
    flat = np.stack([u.ravel(), v.ravel(), np.zeros(n * n)], 1)
    _, faces = sheet(n)
    rough = flat + np.where(np.arange(n * n) % 2, 2.0, -2.0)[:, None] * [0, 0, 1]
    rows = np.random.default_rng(1).permutation(n * n)[:68]
    found = florence_error(rough, flat[rows], flat, faces, flat[rows], icp=False)
    eyes = np.linalg.norm(flat[rows[36]] - flat[rows[45]])
    assert found.mean_mm == pytest.approx(2.0, abs=1e-9)
    assert found.nme_percent == pytest.approx(200 / eyes, rel=1e-9)
