"""Cameras: rigid, aimed at the face, with the wanted spread of angles, distances and lenses."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from facezoo.errors import InputError
from facezoo.geometry.rotations import matrix_to_euler
from facezoo.synth.poses import YAW_SHARES, Pose, sample_angles, sample_pose

CENTRE = (0.0, -0.03, 0.05)


def project(pose: Pose, point: np.ndarray) -> np.ndarray:
    x = pose.K @ (pose.R @ point + pose.t)
    return x[:2] / x[2]


@pytest.fixture(scope="module")
def poses() -> list[Pose]:
    rng = np.random.default_rng(1)
    return [sample_pose(rng, (160, 200), centre=CENTRE) for _ in range(400)]


def test_rotations_are_rigid_and_match_their_angles(poses: list[Pose]) -> None:
    for pose in poses[:60]:
        assert np.allclose(pose.R @ pose.R.T, np.eye(3), atol=1e-12) and np.linalg.det(
            pose.R
        ) == pytest.approx(1)
        upright = torch.from_numpy(np.diag([1.0, -1.0, -1.0]) @ pose.R)
        angles = [float(a) for a in matrix_to_euler(upright)]
        assert angles == pytest.approx([pose.yaw, pose.pitch, pose.roll], abs=1e-6)


def test_the_face_is_in_the_crop_at_its_distance(poses: list[Pose]) -> None:
    for pose in poses:
        u, v = project(pose, np.array(CENTRE))
        assert 0 < u < 200 and 0 < v < 160
        assert np.linalg.norm(pose.R @ np.array(CENTRE) + pose.t) == pytest.approx(pose.distance)


def test_the_face_fills_the_wanted_share() -> None:
    for seed in range(40):
        pose = sample_pose(
            np.random.default_rng(seed), (100, 100), centre=CENTRE, angles=(0.0, 0.0, 0.0), fill=(0.6, 0.6)
        )
        top, bottom = (project(pose, np.array(CENTRE) + [0, s * 0.07, 0]) for s in (1, -1))
        # Within the stretch of a wide lens far off its axis.
        assert bottom[1] - top[1] == pytest.approx(60, rel=0.2)
        assert top[1] < bottom[1]  # upright: the crown is up


def test_subject_left_is_image_right() -> None:
    pose = sample_pose(np.random.default_rng(0), (100, 100), centre=CENTRE, angles=(0.0, 0.0, 0.0))
    assert project(pose, np.array([0.03, 0, 0.05]))[0] > project(pose, np.array([-0.03, 0, 0.05]))[0]


def test_yaw_has_the_published_histogram() -> None:
    rng = np.random.default_rng(0)
    angles = np.degrees([sample_angles(rng) for _ in range(4000)])
    share = np.histogram(np.abs(angles[:, 0]), [0, 30, 60, 90])[0] / 4000
    assert share == pytest.approx(YAW_SHARES, abs=0.03)
    assert abs(angles[:, 0].mean()) < 2.5 and 35 < angles[:, 0].std() < 45
    assert np.abs(angles[:, 1]).max() > 50 and np.median(np.abs(angles[:, 1])) < 12
    assert np.abs(angles[:, 2]).max() > 40 and np.median(np.abs(angles[:, 2])) < 8


def test_distances_and_lenses_are_broad(poses: list[Pose]) -> None:
    distance = np.array([p.distance for p in poses])
    assert distance.min() >= 0.3 and distance.max() <= 3.0
    assert np.median(distance) == pytest.approx(np.sqrt(0.3 * 3.0), rel=0.15)  # log-uniform
    lens = np.array([p.K[0, 0] / np.hypot(*p.photo_size) for p in poses])
    assert lens.min() < 0.75 and lens.max() > 2.3
    for pose in poses:
        x, y = pose.photo_origin
        h, w = pose.photo_size
        assert (pose.K[0, 2], pose.K[1, 2]) == pytest.approx((x + w / 2, y + h / 2))


def test_determinism_and_bad_input() -> None:
    one, two = (sample_pose(np.random.default_rng(3), centre=CENTRE) for _ in range(2))
    assert np.array_equal(one.R, two.R) and np.array_equal(one.K, two.K)
    with pytest.raises(InputError, match="distance"):
        sample_pose(np.random.default_rng(0), centre=CENTRE, distance=0.05)
    with pytest.raises(InputError, match="fill"):
        sample_pose(np.random.default_rng(0), centre=CENTRE, fill=(0.8, 0.2))
