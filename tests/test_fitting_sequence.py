"""Sequence fits: the arrowhead solver against dense ones, SciPy on a whole problem, recovery, cost, missing frames."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fitting_head import F64, random_scene, smooth_head
from scipy.optimize import least_squares
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from facezoo.errors import InputError
from facezoo.fitting import Deformation, Motion, NeutralPrior, Prior, SharedPrior, fit_sequence
from facezoo.fitting.arrowhead import Arrowhead
from facezoo.fitting.deformation import smoothness
from facezoo.geometry import Camera, axis_angle_to_matrix
from facezoo.heads.model import HeadModel
from facezoo.heads.params import HeadParams

N_ID, N_EXP = 4, 3


def sequence(
    head: HeadModel, frames: int, cameras: int = 1, noise: float = 0.0, seed: int = 0, swing: float = 0.4
) -> tuple[HeadParams, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Draw a head that turns and talks smoothly: parameters, R, t, extrinsics, points (C, T, N, 2)."""
    g = torch.Generator().manual_seed(seed)
    time = torch.linspace(0, 1, frames, dtype=F64)[:, None]
    params, _ = random_scene(head, 1, seed=seed)
    phase = torch.rand(1, head.n_expression, generator=g, dtype=F64) * 6
    expression = (0.5 + swing * torch.sin(3 * time + phase)).clamp(0, 1)
    jaw = torch.cat((0.1 + 0.1 * torch.sin(4 * time), 0 * time, 0 * time), 1)
    R = torch.diag(torch.tensor([1.0, -1, -1], dtype=F64)) @ axis_angle_to_matrix(
        torch.cat((0.2 * torch.sin(2 * time), 0.6 * torch.sin(3 * time + 0.4), 0.1 * time), 1)
    )
    t = torch.cat((0.05 * time, 0.03 * torch.sin(3 * time), 0.7 + 0.05 * time), 1)
    rig = torch.eye(4, dtype=F64).repeat(cameras, 1, 1)
    for view in range(1, cameras):
        turn = torch.tensor([[0.05, -0.5 * view, 0.02]], dtype=F64)
        rig[view, :3, :3] = axis_angle_to_matrix(turn)[0]
        rig[view, :3, 3] = torch.tensor([0.32, 0.02, 0.12], dtype=F64)
    full = HeadParams(identity=params.identity, expression=expression, jaw=jaw)
    vertices = head.shared_copy().double()(full).vertices
    k = Camera.default_K(480, 640, dtype=F64)
    world = vertices @ R.mT + t[:, None]
    points = torch.stack([_see(world, rig[view], k) for view in range(cameras)])
    return full, R, t, rig, points + noise * torch.randn(points.shape, generator=g, dtype=F64)


def _see(world: torch.Tensor, extrinsic: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    uvw = (world @ extrinsic[:3, :3].mT + extrinsic[:3, 3]) @ k.mT
    return uvw[..., :2] / uvw[..., 2:]


def test_arrowhead_agrees_with_a_dense_matrix() -> None:
    g = torch.Generator().manual_seed(0)
    for frames, banded in ((1, True), (2, True), (5, True), (4, False)):
        a = Arrowhead.zeros(frames, 3, 2, banded=banded, like=torch.zeros((), dtype=F64))
        for block in a:
            if block is not None:
                block.copy_(torch.randn(block.shape, generator=g, dtype=F64) * 0.3)
        a.shared.copy_(a.shared @ a.shared.mT + 8 * torch.eye(2, dtype=F64))
        a.diagonal.copy_(a.diagonal @ a.diagonal.mT + 8 * torch.eye(3, dtype=F64))
        dense = a.dense()
        lift = torch.rand(len(dense), generator=g, dtype=F64)
        right = torch.randn(len(dense), generator=g, dtype=F64)
        factor = a.factor(lift)
        assert factor is not None
        torch.testing.assert_close(factor.solve(right), torch.linalg.solve(dense + torch.diag(lift), right))
        torch.testing.assert_close(a.multiply(right), dense @ right)
        torch.testing.assert_close(a.diagonal_vector(), dense.diagonal())
        scaled = a.scale_(lift + 1).dense()
        torch.testing.assert_close(scaled, dense * (lift + 1)[:, None] * (lift + 1))
    a.diagonal[2] -= 100 * torch.eye(3, dtype=F64)
    assert a.factor(lift) is None


class Oracle:
    """The whole problem as one residual vector, from the head's own forward pass: shares no code with the solver."""

    def __init__(self, head: HeadModel, points: torch.Tensor, sigma: float) -> None:
        self.head, self.points, self.sigma = head.shared_copy().double(), points, sigma
        self.cameras, self.frames, self.count = points.shape[:3]
        self.motion, self.deformation = Motion(sigma=1.5, weight=7.0, fps=25.0), Deformation(4e-3, 1e-3)
        self.neutral = NeutralPrior(self.head.v_template + 1e-3, 3e-3, 5.0)
        precision = smoothness(head, torch.arange(self.count), self.deformation)
        self.root = torch.linalg.cholesky(precision).mT
        self.base = torch.diag(torch.tensor([1.0, -1, -1], dtype=F64))
        self.sizes = [N_ID, self.frames * N_EXP, self.frames * 3, self.frames * 3, self.frames * 3,
                      self.cameras, 6 * (self.cameras - 1), 3 * self.count]  # fmt: skip

    def residuals(self, x: torch.Tensor) -> torch.Tensor:
        identity, expression, jaw, turn, t, focal, cameras, offsets = x.split(self.sizes)
        expression, jaw, t, offsets = (
            v.view(-1, n) for v, n in ((expression, N_EXP), (jaw, 3), (t, 3), (offsets, 3))
        )
        head = self.head.shared_copy()
        head._buffers["v_template"] = self.head.v_template + offsets
        params = HeadParams(identity=identity[None], expression=expression, jaw=jaw)
        world = head(params).vertices @ (axis_angle_to_matrix(turn.view(-1, 3)) @ self.base).mT + t[:, None]
        out = []
        for view in range(self.cameras):
            k = Camera.default_K(480, 640, dtype=F64)
            k = torch.cat((torch.cat((k[:2, :2] * focal[view].exp(), k[:2, 2:]), 1), k[2:]))
            seen = world
            if view:
                six = cameras.view(-1, 6)[view - 1]
                seen = world @ axis_angle_to_matrix(six[None, :3])[0].mT + six[3:]
            uvw = seen @ k.mT
            out.append((uvw[..., :2] / uvw[..., 2:] - self.points[view]) / self.sigma)
        specs = self.head.params
        out += [identity / specs["identity"].sigma[:N_ID], expression / specs["expression"].sigma[:N_EXP],
                jaw / specs["jaw"].sigma, focal / 0.3]  # fmt: skip
        acceleration = self.motion.fps**2 * (world[:-2] - 2 * world[1:-1] + world[2:])
        out.append(acceleration * (self.motion.weight / self.count) ** 0.5 / self.motion.sigma)
        out.append(self.root @ offsets)
        neutral = head.v_template + head.shapedirs[..., :N_ID] @ identity - self.neutral.vertices
        out.append(neutral * (self.neutral.weight / self.count) ** 0.5 / self.neutral.sigma)
        return torch.cat([r.flatten() for r in out])


def test_equals_scipy_on_a_whole_problem() -> None:
    head = smooth_head(24, N_ID, N_EXP, bounded=True)
    _, _, t, _, points = sequence(head, 4, 2, noise=1.0, swing=1.5)
    oracle = Oracle(head, points, sigma=0.8)
    k = Camera.default_K(480, 640, dtype=F64).expand(2, 3, 3)
    got = fit_sequence(
        head, points, 0.8, torch.arange(24), k, motion=oracle.motion, neutral=oracle.neutral,
        deformation=oracle.deformation, robust="none", focal="estimate", iterations=60, tolerance=1e-13,
    )  # fmt: skip
    assert got.converged
    # fmt: off
    start = [torch.zeros(N_ID), torch.full((4 * N_EXP,), 0.5), torch.zeros(12), torch.zeros(12),
             t.flatten(), torch.zeros(2), torch.tensor([0.05, -0.5, 0.02, 0.32, 0.02, 0.12]), torch.zeros(72)]
    # fmt: on
    low = np.concatenate(
        [np.full(n, v) for n, v in zip(oracle.sizes, [-np.inf, 0] + [-np.inf] * 6, strict=True)]
    )
    high = np.concatenate(
        [np.full(n, v) for n, v in zip(oracle.sizes, [np.inf, 1] + [np.inf] * 6, strict=True)]
    )

    def jacobian(x: np.ndarray) -> np.ndarray:
        return torch.func.jacfwd(oracle.residuals)(torch.from_numpy(x)).numpy()

    want = least_squares(
        lambda x: oracle.residuals(torch.from_numpy(x)).numpy(), torch.cat([v.double() for v in start]).numpy(),
        jacobian, bounds=(low, high), xtol=1e-15, ftol=1e-15, gtol=1e-12, max_nfev=200,
    )  # fmt: skip
    assert abs(got.cost - want.cost) < 1e-7 * want.cost
    identity, expression, _, turn, _, focal, cameras, offsets = torch.from_numpy(want.x).split(oracle.sizes)
    close = {"atol": 2e-5, "rtol": 0.0}
    torch.testing.assert_close(got.params.identity[0], identity, **close)
    torch.testing.assert_close(got.params.expression.flatten(), expression, **close)
    assert bool(((expression < 1e-6) | (expression > 1 - 1e-6)).any()), (
        "no bound is active: the test is too easy"
    )
    torch.testing.assert_close(got.R, axis_angle_to_matrix(turn.view(-1, 3)) @ oracle.base, **close)
    torch.testing.assert_close(got.K[:, 0, 0], 800 * focal.exp(), atol=1e-2, rtol=0)
    torch.testing.assert_close(got.extrinsics[1, :3, 3], cameras[3:], **close)
    torch.testing.assert_close(got.offsets.flatten(), offsets, atol=1e-6, rtol=0)


def test_recovers_a_sequence_and_an_unknown_rig() -> None:
    head = smooth_head(60, N_ID, N_EXP)
    params, _, t, rig, points = sequence(head, 8, 3)
    wrong = Camera.default_K(480, 640, dtype=F64).expand(3, 3, 3).clone()
    wrong[:, :2, :2] *= torch.tensor([1.1, 0.9, 1.05], dtype=F64)[:, None, None]
    got = fit_sequence(
        head, points, 1e-2, torch.arange(60), wrong, prior=Prior(weight=1e-6), focal="estimate", iterations=60
    )
    assert got.converged and float(got.rms.max()) < 1e-3
    torch.testing.assert_close(got.K[:, 0, 0], torch.full((3,), 800.0, dtype=F64), atol=0.5, rtol=0)
    torch.testing.assert_close(got.extrinsics[:, :3, :3], rig[:, :3, :3], atol=1e-3, rtol=0)
    torch.testing.assert_close(got.params.identity, params.identity, atol=2e-2, rtol=0)
    seen = got.camera(2, (480, 640)).project(got.vertices(head.double()))
    torch.testing.assert_close(seen, points[2], atol=1e-2, rtol=0)
    calibrated = fit_sequence(
        head, points, 1e-2, torch.arange(60), Camera.default_K(480, 640, dtype=F64).expand(3, 3, 3),
        extrinsics=rig, prior=Prior(weight=1e-6),
    )  # fmt: skip
    torch.testing.assert_close(calibrated.t, t, atol=1e-5, rtol=0)
    torch.testing.assert_close(calibrated.params.identity, params.identity, atol=1e-3, rtol=0)


def test_missing_frames_lie_on_the_motion_and_cuts_separate() -> None:
    head = smooth_head(40, N_ID, N_EXP)
    _, _, t, _, points = sequence(head, 9)
    k = Camera.default_K(480, 640, dtype=F64)[None]
    hole = points.clone()
    hole[:, 4] = torch.nan
    motion = Motion(sigma=5.0)
    got = fit_sequence(head, hole, 0.1, torch.arange(40), k, motion=motion, prior=Prior(weight=1e-3))
    straight = (got.t[3] + got.t[5]) / 2
    assert float((got.t[4] - t[4]).norm()) < 0.5 * float((straight - t[4]).norm())
    assert bool(got.rms[0, 4].isnan()) and int(got.rms.isnan().sum()) == 1
    # A jump is smeared over by the motion term unless a segment ends there.
    jump = points.clone()
    jump[:, 5:] += 60.0
    stiff = Motion(sigma=0.02, weight=1000.0)
    segment = (torch.arange(9) >= 5).long()
    smeared = fit_sequence(head, jump, 1.0, torch.arange(40), k, motion=stiff, robust="none")
    cut = fit_sequence(head, jump, 1.0, torch.arange(40), k, motion=stiff, robust="none", segment=segment)
    assert float(cut.rms.max()) < 0.3 * float(smeared.rms.max())


def test_outliers_are_found_over_the_whole_sequence() -> None:
    head = smooth_head(60, N_ID, N_EXP)
    _, _, t, _, points = sequence(head, 6, noise=0.2)
    bad = points.clone()
    bad[:, :, :12] += 30.0  # the same fifth of the points is wrong in all frames
    k = Camera.default_K(480, 640, dtype=F64)[None]
    robust = fit_sequence(head, bad, 0.2, torch.arange(60), k, robust="geman-mcclure")
    plain = fit_sequence(head, bad, 0.2, torch.arange(60), k, robust="none")
    assert float((robust.t - t).norm(dim=1).max()) < 0.1 * float((plain.t - t).norm(dim=1).max())


class Largest(TorchDispatchMode):
    """Remember the largest tensor that any operation makes."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = func(*args, **(kwargs or {}))
        for value in out if isinstance(out, tuple | list) else (out,):
            if isinstance(value, torch.Tensor):
                self.numel = max(self.numel, value.numel())
        return out


def test_work_and_memory_grow_linearly_with_frames() -> None:
    head = smooth_head(40, N_ID, N_EXP)
    k = Camera.default_K(480, 640, dtype=F64)[None]
    work, largest = [], []
    for frames in (40, 80, 120):
        _, _, _, _, points = sequence(head, frames)
        start = fit_sequence(head, points, 1.0, torch.arange(40), k, iterations=1, robust="none").state
        with FlopCounterMode(display=False) as counter, Largest() as memory:
            fit_sequence(
                head,
                points,
                1.0,
                torch.arange(40),
                k,
                init=start,
                motion=Motion(),
                iterations=1,
                robust="none",
            )
        work.append(counter.get_total_flops())
        largest.append(memory.numel)
    assert abs((work[2] - work[1]) / (work[1] - work[0]) - 1) < 0.02
    # the largest intermediate is that of a full chunk and its overlap, however many frames there are
    assert largest[0] < largest[1] == largest[2]


def test_known_shared_unknowns_replace_the_frames_that_told_them() -> None:
    head = smooth_head(60, N_ID, N_EXP)
    _, _, _, _, points = sequence(head, 12, noise=0.5)
    k = Camera.default_K(480, 640, dtype=F64)[None]
    first = fit_sequence(head, points[:, :9], 0.5, torch.arange(60), k)
    alone = fit_sequence(head, points[:, 9:], 0.5, torch.arange(60), k)
    prior = torch.diag(1 / head.params["identity"].sigma.double().square())
    known = SharedPrior(first.params.identity[0], first.shared_precision - prior)
    helped = fit_sequence(head, points[:, 9:], 0.5, torch.arange(60), k, known=known)
    whole = fit_sequence(head, points, 0.5, torch.arange(60), k)
    gap = [float((f.params.identity - whole.params.identity).norm()) for f in (alone, helped)]
    assert gap[1] < 0.3 * gap[0]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"points2d": torch.zeros(1, 3, 5, 2)}, "vertex_ids"),
        ({"sigma": 0.0}, "sigma"),
        ({"segment": torch.zeros(2, dtype=torch.long)}, "segment"),
        ({"K": torch.zeros(2, 3, 3)}, "K must"),
        ({"focal": "free"}, "focal"),
        ({"confidence": torch.zeros(1, 3, 40)}, "no frame"),
        ({"robust": "cauchy"}, "robust"),
    ],
)
def test_bad_input_is_named(change: dict, says: str) -> None:
    head = smooth_head(40, N_ID, N_EXP)
    given = {
        "points2d": torch.zeros(1, 3, 40, 2),
        "sigma": 1.0,
        "K": Camera.default_K(480, 640)[None],
    } | change
    points, sigma, k = (given.pop(name) for name in ("points2d", "sigma", "K"))
    with pytest.raises(InputError, match=says):
        fit_sequence(head, points, sigma, torch.arange(40), k, **given)
