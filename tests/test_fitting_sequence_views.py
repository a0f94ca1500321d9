"""Several views of one person: exact recovery from two, gauge, gaps, gaze against SciPy, priors from identities."""

from __future__ import annotations

import pytest
import torch
from fitting_head import F64, smooth_head
from scipy.optimize import least_squares
from test_fitting_sequence import sequence

from facezoo.errors import InputError
from facezoo.fitting import Motion, NeutralPrior, Prior, fit_sequence
from facezoo.geometry import Camera, axis_angle_to_matrix
from facezoo.heads import load_head
from facezoo.heads.model import HeadModel
from facezoo.heads.params import HeadParams
from facezoo.synth.sequence_script import write_script

FREE = Prior(weight=1e-9)
SIZE = (480, 640)


def with_eyes(head: HeadModel, each: int = 6) -> HeadModel:
    """Make the last vertices two eyeballs: they follow an eye's joint, and nothing else of the pose."""
    n = head.n_vertices
    weights, poses = head.weights.clone(), head.posedirs.clone().view(36, n, 3)
    poses[18:] = 0
    for eye in range(2):
        rows = slice(n - (2 - eye) * each, n - (1 - eye) * each)
        weights[rows], poses[:18, rows] = 0.0, 0.0
        weights[rows, 3 + eye] = 1.0
        poses[18 + 9 * eye : 27 + 9 * eye, rows] = 0.003
    head._buffers["weights"], head._buffers["posedirs"] = weights, poses.reshape(36, -1)
    head._rows = []
    return head


def looking(
    head: HeadModel, frames: int, cameras: int, noise: float = 0.0
) -> tuple[HeadParams, torch.Tensor, ...]:
    """Return truth and points (C, T, N, 2) of a head that turns, talks and looks about."""
    params, R, t, rig, _ = sequence(head, frames, cameras)
    time = torch.linspace(0, 1, frames, dtype=F64)
    pitch, yaw = 0.15 * torch.sin(5 * time), 0.3 * torch.cos(4 * time)
    left = torch.stack((pitch, yaw, 0 * time), 1)
    right = torch.stack((pitch, yaw + 0.04, 0 * time), 1)
    params = HeadParams(**dict(params.items()), left_eye=left, right_eye=right)
    world = head.shared_copy().double()(params).vertices @ R.mT + t[:, None]
    points = torch.stack([_see(world, e, Camera.default_K(*SIZE, dtype=F64)) for e in rig])
    g = torch.Generator().manual_seed(3)
    return params, R, t, rig, points + noise * torch.randn(points.shape, generator=g, dtype=F64)


def _see(world: torch.Tensor, extrinsic: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    uvw = (world @ extrinsic[:3, :3].mT + extrinsic[:3, 3]) @ k.mT
    return uvw[..., :2] / uvw[..., 2:]


def test_two_views_without_noise_give_the_truth_with_and_without_calibration() -> None:
    head = with_eyes(smooth_head(60, 4, 3))
    params, R, t, rig, points = looking(head, 5, 2)
    k = Camera.default_K(*SIZE, dtype=F64).expand(2, 3, 3)
    for extrinsics in (rig, None):
        got = fit_sequence(
            head, points, 1.0, torch.arange(60), k, extrinsics=extrinsics, prior=FREE, gaze=True, robust="none",
            iterations=60,
        )  # fmt: skip
        close = {"atol": 1e-4, "rtol": 0.0}
        assert got.converged
        torch.testing.assert_close(got.t, t, **close)
        torch.testing.assert_close(got.R, R, **close)
        torch.testing.assert_close(got.extrinsics, rig, **close)
        for name, value in params.items():
            torch.testing.assert_close(getattr(got.params, name), value, **close)
        world = got.vertices(head.double()) @ got.R.mT + got.t[:, None]
        torch.testing.assert_close(_see(world, got.extrinsics[1], k[1]), points[1], atol=1e-3, rtol=0)


def test_gaze_equals_scipy_in_two_uncalibrated_views() -> None:
    head = with_eyes(smooth_head(24, 3, 2), each=4)
    params, _, t, _, points = looking(head, 3, 2, noise=1.0)
    motion, twin = Motion(sigma=1e9, fps=25.0, gaze_sigma=20.0), head.shared_copy().double()
    k = Camera.default_K(*SIZE, dtype=F64)
    got = fit_sequence(
        head, points, 0.8, torch.arange(24), k.expand(2, 3, 3), gaze=True, motion=motion, robust="none",
        prior=Prior(weight=2.0), iterations=80, tolerance=1e-13,
    )  # fmt: skip
    sizes = [3, 3 * 2, 9, 9, 9, 9, 9, 6]
    base = torch.diag(torch.tensor([1.0, -1, -1], dtype=F64))
    specs = twin.params

    def residuals(x: torch.Tensor) -> torch.Tensor:
        parts = x.split(sizes)
        identity, camera = parts[0], parts[7]
        expression, jaw, left, right, turn, shift = (
            v.view(3, -1) for v in (parts[1], parts[2], parts[3], parts[4], parts[5], parts[6])
        )
        params = HeadParams(
            identity=identity[None], expression=expression, jaw=jaw, left_eye=left, right_eye=right
        )
        world = twin(params).vertices @ (axis_angle_to_matrix(turn) @ base).mT + shift[:, None]
        second = world @ axis_angle_to_matrix(camera[None, :3])[0].mT + camera[3:]
        out = [
            (_see(w, torch.eye(4, dtype=F64), k) - p) / 0.8
            for w, p in zip((world, second), points, strict=True)
        ]
        weight = 2.0**0.5
        names = ("identity", "expression", "jaw", "left_eye", "right_eye")
        prior = zip((identity, expression, jaw, left, right), names, strict=True)
        out += [weight * value / specs[name].sigma.double() for value, name in prior]
        out.append(weight * (left - right) / torch.tensor([0.02, 0.07, 0.02], dtype=F64))
        out += [motion.fps**2 * (g[0] - 2 * g[1] + g[2]) / motion.gaze_sigma for g in (left, right)]
        return torch.cat([r.flatten() for r in out])

    angles = torch.zeros(3, 3, dtype=F64)
    six = torch.tensor([0.05, -0.5, 0.02, 0.32, 0.02, 0.12], dtype=F64)
    known = [
        params.identity,
        params.expression,
        params.jaw,
        params.left_eye,
        params.right_eye,
        angles,
        t,
        six,
    ]
    start = torch.cat([value.flatten() for value in known]).numpy()
    want = least_squares(
        lambda x: residuals(torch.from_numpy(x)).numpy(), start,
        lambda x: torch.func.jacrev(residuals)(torch.from_numpy(x)).numpy(), xtol=1e-10, ftol=1e-12, gtol=1e-9,
    )  # fmt: skip
    assert got.converged and abs(got.cost - want.cost) < 1e-6 * want.cost
    parts = torch.from_numpy(want.x).split(sizes)
    for name, value in (("left_eye", parts[3]), ("right_eye", parts[4]), ("jaw", parts[2])):
        torch.testing.assert_close(getattr(got.params, name).flatten(), value, atol=2e-5, rtol=0)
    torch.testing.assert_close(got.extrinsics[1, :3, 3], parts[7][3:], atol=2e-5, rtol=0)


def test_unseen_eyes_follow_the_motion_and_no_eyes_are_an_error() -> None:
    head = with_eyes(smooth_head(60, 4, 3))
    params, *_, points = looking(head, 7, 1)
    k = Camera.default_K(*SIZE, dtype=F64)[None]
    hidden = points.clone()
    hidden[:, 3, -12:] = torch.nan  # a blink
    got = fit_sequence(
        head, hidden, 0.1, torch.arange(60), k, gaze=True, motion=Motion(), prior=Prior(weight=1e-4)
    )
    assert got.params.left_eye is not None and params.left_eye is not None
    assert float((got.params.left_eye[3] - params.left_eye[3]).abs().max()) < 0.03
    with pytest.raises(InputError, match="eyeball"):
        fit_sequence(head, points[:, :, :40], 0.1, torch.arange(40), k, gaze=True)


def test_the_open_heads_gaze_comes_back_from_points_on_its_eyeballs() -> None:
    head, frames = load_head(), 5
    masks = head.topology.masks
    balls = [masks[name][::40] for name in ("left_eyeball", "right_eyeball")]
    ids = torch.cat((head.topology.subset(101), *balls))
    script = write_script(900_000_003, "gaze", 60, 30.0, head)
    glance = int((script.left_eye[1:, 1] - script.left_eye[:-1, 1]).abs().argmax())
    rows = slice(max(glance - 2, 0), max(glance - 2, 0) + frames)  # a saccade in the middle
    g = torch.Generator().manual_seed(0)
    params = HeadParams(
        identity=0.5 * torch.randn(1, 8, generator=g),
        left_eye=script.left_eye[rows],
        right_eye=script.right_eye[rows],
    )
    world = head(params, ids).vertices.double() @ torch.diag(torch.tensor([1.0, -1, -1], dtype=F64))
    k = Camera.default_K(*SIZE, dtype=F64)
    points = _see(world + torch.tensor([0.01, 0.0, 0.6], dtype=F64), torch.eye(4, dtype=F64), k)
    points = points + 0.1 * torch.randn(points.shape, generator=g, dtype=F64)
    got = fit_sequence(
        head, points[None], 0.1, ids, k[None], gaze=True, motion=Motion(), n_identity=8, n_expression=0
    )
    for eye in ("left_eye", "right_eye"):
        miss = (getattr(got.params, eye) - getattr(params, eye)).abs()
        assert float(miss[:, :2].max()) < 0.01, eye  # radians; roll hardly shows
    assert float(script.left_eye[rows, 1].max() - script.left_eye[rows, 1].min()) > 0.1


def test_frames_that_only_one_camera_saw_are_as_right_as_the_others() -> None:
    head = smooth_head(60, 4, 3)
    params, _, t, rig, points = sequence(head, 8, 2)
    k = Camera.default_K(*SIZE, dtype=F64).expand(2, 3, 3)
    seen = torch.tensor([[1, 1, 1, 0, 1, 1, 0, 0], [0, 1, 1, 1, 0, 1, 1, 1]], dtype=torch.bool)
    partly = torch.where(seen[..., None, None], points, torch.nan)
    got = fit_sequence(head, partly, 0.1, torch.arange(60), k, prior=FREE, iterations=60)
    torch.testing.assert_close(got.t, t, atol=1e-4, rtol=0)
    torch.testing.assert_close(got.params.identity, params.identity, atol=1e-4, rtol=0)
    torch.testing.assert_close(got.extrinsics, rig, atol=1e-4, rtol=0)
    assert torch.equal(got.rms.isnan(), ~seen)
    there = got.camera(0, SIZE).project(got.vertices(head.double()))
    torch.testing.assert_close(there, points[0], atol=1e-2, rtol=0)
    apart = torch.where(
        torch.tensor([[True] * 4 + [False] * 4, [False] * 4 + [True] * 4])[..., None, None], points, torch.nan
    )
    with pytest.raises(InputError, match="give extrinsics"):
        fit_sequence(head, apart, 0.1, torch.arange(60), k)


def test_a_neutral_prior_from_identities_pulls_towards_their_mean() -> None:
    head = smooth_head(60, 4, 3)
    params, *_, points = sequence(head, 2, noise=3.0)
    assert params.identity is not None
    k, ids = Camera.default_K(*SIZE, dtype=F64)[None], torch.arange(60)
    near = params.identity + torch.tensor([[0.2, 0, 0, 0], [-0.2, 0, 0, 0], [9.0, 0, 0, 0]], dtype=F64)
    trust = torch.tensor([1.0, 1.0, 0.0])
    prior = NeutralPrior.from_identity(head.double(), near, ids, confidence=trust, sigma=1e-3, weight=1000.0)
    torch.testing.assert_close(prior.vertices, head(HeadParams(identity=params.identity)).vertices[0])
    alone = fit_sequence(head, points, 3.0, ids, k)
    helped = fit_sequence(head, points, 3.0, ids, k, neutral=prior)
    gap = [float((f.params.identity - params.identity).norm()) for f in (alone, helped)]
    assert gap[1] < 0.3 * gap[0]
    with pytest.raises(InputError, match="identity must"):
        NeutralPrior.from_identity(head, near, ids, confidence=torch.ones(2))
