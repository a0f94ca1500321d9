"""fit: SciPy's minimum, recovery, invariances, batches, warm starts, covariance, bounds, outliers, bad input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fitting_head import F64, project, random_scene, smooth_head
from scipy.optimize import least_squares
from torch import Tensor

from facezoo.errors import InputError
from facezoo.fitting import FitState, Prior, fit
from facezoo.fitting.initialise import initial_pose
from facezoo.geometry import Camera, axis_angle_to_matrix, euler_to_matrix, geodesic_angle
from facezoo.heads.params import HeadParams

ALL = torch.arange(120)
FREE = Prior(weight=0.0)


def noisy(batch: int, sigma: float = 1.0, *, bounded: bool = False, seed: int = 1, dtype: torch.dtype = F64):
    """Return head, true parameters, camera and noisy points."""
    head = smooth_head(bounded=bounded)
    params, camera = random_scene(head, batch, seed=seed)
    g = torch.Generator().manual_seed(seed + 100)
    points = project(head, params, camera) + sigma * torch.randn(batch, 120, 2, generator=g, dtype=F64)
    return head, params, camera.to(dtype), points.to(dtype)


def vector(result) -> Tensor:
    """Return everything a fit finds as one vector a face."""
    p = result.params
    return torch.cat((p.identity, p.expression, p.jaw, result.R.flatten(1), result.t), 1)


def scipy_fit(
    head, points: Tensor, weight: Tensor, camera: Camera, start: np.ndarray, bounded: bool
) -> tuple[np.ndarray, float]:
    """Minimise the same cost with SciPy, over FLAME's own forward pass and finite differences of its residuals."""
    twin = head.shared_copy().double()
    n, e = head.n_identity, head.n_expression
    sigma = torch.cat([head.params[k].sigma for k in ("identity", "expression", "jaw")]).double()

    def residuals(x: Tensor) -> Tensor:
        values, omega, t = x[: n + e + 3], x[-6:-3], x[-3:]
        params = HeadParams(values[None, :n], values[None, n : n + e], jaw=values[None, n + e :])
        turned = Camera(camera.K, axis_angle_to_matrix(omega) @ camera.R, t, camera.image_size)
        error = (turned.project(twin(params).vertices[0]) - points) * weight.sqrt()[:, None]
        return torch.cat((error.flatten(), values / sigma))

    low, high = np.full(len(start), -np.inf), np.full(len(start), np.inf)
    if bounded:
        low[n : n + e], high[n : n + e] = 0, 1
    best = least_squares(
        lambda x: residuals(torch.from_numpy(x)).numpy(), np.clip(start, low + 1e-9, high - 1e-9),
        jac=lambda x: torch.func.jacfwd(residuals)(torch.from_numpy(x)).numpy(),
        bounds=(low, high), xtol=1e-14, ftol=1e-14, gtol=1e-12, max_nfev=400,
    )  # fmt: skip
    return best.x, best.cost


@pytest.mark.parametrize("bounded", [False, True])
def test_reaches_scipys_minimum(bounded: bool):
    head, params, camera, points = noisy(1, 2.0, bounded=bounded, seed=10)
    confidence = torch.rand(1, 120, generator=torch.Generator().manual_seed(5), dtype=F64)
    ours = fit(head, points, 2.0, ALL, camera.K, confidence=confidence)
    assert bool(ours.converged)
    shape = torch.cat((params.identity[0], params.expression[0], params.jaw[0]))
    truth = torch.cat((shape, torch.zeros(3, dtype=F64), camera.t[0]))
    x, cost = scipy_fit(head, points[0], confidence[0] / 4, camera[0], truth.numpy(), bounded)
    assert float(ours.cost) == pytest.approx(cost, rel=1e-6)
    expression = ours.params.expression[0]
    found = torch.cat((ours.params.identity[0], expression, ours.params.jaw[0]))
    np.testing.assert_allclose(found.numpy(), x[:-6], atol=2e-3)
    if bounded:
        assert bool(((expression >= 0) & (expression <= 1)).all())
        assert (
            int((expression == 0).sum()) == 3 and int((expression == 1).sum()) == 1
        )  # exactly, no barrier's margin


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_noise_free_points_give_the_truth(dtype: torch.dtype):
    head, params, camera, points = noisy(4, 0.0, dtype=dtype)
    found = fit(head, points, None, ALL, camera.K, prior=FREE, tolerance=1e-12 if dtype == F64 else None)
    accuracy = 1e-6 if dtype == F64 else 2e-2
    assert found.params.identity.dtype == dtype
    for name in ("identity", "expression", "jaw"):
        torch.testing.assert_close(
            getattr(found.params, name), getattr(params, name).to(dtype), atol=accuracy, rtol=0
        )
    assert float(geodesic_angle(found.R, camera.R).max()) < accuracy
    torch.testing.assert_close(found.t, camera.t, atol=accuracy, rtol=0)
    assert float(found.rms.max()) < (1e-5 if dtype == F64 else 1e-3)


def test_focal_length_is_found_from_perspective():
    head, _, camera, points = noisy(3, 0.0)
    wrong = camera.K * torch.tensor([1.3, 1.3, 1.0], dtype=F64)[:, None]
    wrong[:, :2, 2] = camera.K[:, :2, 2]
    found = fit(
        head,
        points,
        0.1,
        ALL,
        wrong,
        prior=Prior(focal_sigma=10.0, weight=1e-6),
        focal="estimate",
        tolerance=1e-13,
    )
    torch.testing.assert_close(found.K, camera.K, rtol=1e-3, atol=0)
    torch.testing.assert_close(found.focal_scale, torch.full((3,), 1 / 1.3, dtype=F64), rtol=1e-3, atol=0)
    kept = fit(head, points, 0.1, ALL, wrong)
    torch.testing.assert_close(kept.K, wrong)
    assert "focal" in found.layout and "focal" not in kept.layout


def test_moving_and_scaling_the_image_changes_nothing():
    head, _, camera, points = noisy(3)
    first = fit(head, points, 1.0, ALL, camera.K)
    affine = torch.tensor([[2.5, 0.0, -70.0], [0.0, 2.5, 33.0]], dtype=F64)
    moved = camera.warped(affine)
    second = fit(head, 2.5 * points + affine[:, 2], 2.5, ALL, moved.K)
    torch.testing.assert_close(vector(second), vector(first), atol=1e-7, rtol=0)
    torch.testing.assert_close(second.cost, first.cost)
    torch.testing.assert_close(second.rms, 2.5 * first.rms)


def test_turning_the_image_turns_the_head():
    head, _, camera, points = noisy(2)
    angle = torch.tensor(2.0, dtype=F64)
    turn = torch.stack((angle.cos(), -angle.sin(), angle.sin(), angle.cos())).view(2, 2)
    centre = camera.K[:, None, :2, 2]
    first = fit(head, points, 1.0, ALL, camera.K)
    second = fit(head, (points - centre) @ turn.mT + centre, 1.0, ALL, camera.K)
    torch.testing.assert_close(second.cost, first.cost)
    around = axis_angle_to_matrix(torch.tensor([0.0, 0.0, 2.0], dtype=F64))
    assert float(geodesic_angle(second.R, around @ first.R).max()) < 1e-6


def test_a_batch_is_its_members():
    head, _, camera, points = noisy(6, bounded=True)
    together = fit(head, points, 1.0, ALL, camera.K)
    for i in range(6):
        alone = fit(head, points[i : i + 1], 1.0, ALL, camera.K[i])
        assert int(alone.iterations) == int(together.iterations[i])
        torch.testing.assert_close(vector(alone)[0], vector(together)[i], atol=1e-9, rtol=0)
        torch.testing.assert_close(alone.covariance[0], together.covariance[i], rtol=1e-6, atol=1e-12)


def test_same_input_same_bits():
    head, _, camera, points = noisy(3, dtype=torch.float32)
    a, b = (fit(head, points, 1.0, ALL, camera.K) for _ in range(2))
    assert torch.equal(vector(a), vector(b)) and torch.equal(a.cost, b.cost)


def test_float32_reaches_the_float64_minimum():
    head, _, camera, points = noisy(4)
    exact = fit(head, points, 1.0, ALL, camera.K)
    single = fit(head, points.float(), 1.0, ALL, camera.K.float())
    torch.testing.assert_close(single.cost.double(), exact.cost, rtol=1e-4, atol=0)
    spread = exact.covariance.diagonal(dim1=1, dim2=2).sqrt()[:, : 8 + 5]
    miss = (
        torch.cat((single.params.identity, single.params.expression), 1).double() - vector(exact)[:, : 8 + 5]
    )
    assert float((miss / spread).abs().max()) < 0.05


def test_warm_starts_take_fewer_steps():
    head, _, camera, points = noisy(4)
    cold = fit(head, points, 1.0, ALL, camera.K)
    again = fit(head, points, 1.0, ALL, camera.K, init=cold.state())
    assert bool((again.iterations == 1).all())
    torch.testing.assert_close(again.cost, cold.cost, rtol=1e-8, atol=0)
    g = torch.Generator().manual_seed(9)
    nearby = points + 0.1 * torch.randn(points.shape, generator=g, dtype=F64)
    warm, fresh = (fit(head, nearby, 1.0, ALL, camera.K, init=s) for s in (cold.state(), None))
    assert bool((warm.iterations < fresh.iterations).all())
    torch.testing.assert_close(warm.cost, fresh.cost, rtol=1e-7, atol=0)
    shape_only = fit(head, nearby, 1.0, ALL, camera.K, init=FitState(cold.params))
    torch.testing.assert_close(shape_only.cost, fresh.cost, rtol=1e-7, atol=0)


def test_covariance_is_the_spread_of_the_error():
    """Draw truth from the prior and points from the noise: errors spread as the posterior says, in every unknown."""
    head = smooth_head(60, 4, 3, seed=2)
    draws, sigma = 400, 1.5
    params, camera = random_scene(head, draws, seed=3, yaw=0.0)
    camera = Camera(
        camera.K, camera.R[:1].expand(draws, 3, 3), camera.t[:1].expand(draws, 3), camera.image_size
    )
    g = torch.Generator().manual_seed(4)
    points = project(head, params, camera) + sigma * torch.randn(draws, 60, 2, generator=g, dtype=F64)
    found = fit(head, points, sigma, torch.arange(60), camera.K)
    errors = torch.cat(
        (
            found.params.identity - params.identity,
            found.params.expression - params.expression,
            found.params.jaw - params.jaw,
            (found.t - camera.t) / camera.t[:, 2:],
        ),
        1,
    )
    keep = [
        i
        for name in ("identity", "expression", "jaw", "translation")
        for i in range(*found.layout[name].indices(99))
    ]
    expected = found.covariance.diagonal(dim1=1, dim2=2)[:, keep].mean(0)
    ratio = errors.square().mean(0) / expected
    assert float(ratio.min()) > 0.7 and float(ratio.max()) < 1.3


def test_sigma_of_each_coordinate_counts():
    head, _, camera, points = noisy(1, 0.0)
    wrong = (
        points + torch.tensor([0.0, 30.0], dtype=F64) * (ALL % 2)[:, None]
    )  # y of every second point is off
    sigma = torch.ones(1, 120, 2, dtype=F64)
    sigma[:, 1::2, 1] = 1e4
    found = fit(head, wrong, sigma, ALL, camera.K, prior=FREE)
    assert float(geodesic_angle(found.R, camera.R)) < 1e-3


@pytest.mark.parametrize("yaw", [-1.5, -0.8, 0.0, 0.9, 1.57])
@pytest.mark.parametrize("roll", [0.0, 1.6, 3.0])
def test_the_initial_pose_serves_any_orientation(yaw: float, roll: float):
    head = smooth_head()
    flip = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=F64))
    angles = (torch.tensor(a, dtype=F64) for a in (yaw, -0.3, roll))
    r, t = (flip @ euler_to_matrix(*angles))[None], torch.tensor([[0.1, -0.05, 0.4]], dtype=F64)
    vertices = head.v_template.double().T[None]
    x = r @ vertices + t[..., None]
    found_r, found_t = initial_pose(vertices, x[:, :2] / x[:, 2:], torch.ones(1, 120, dtype=F64))
    # a few degrees off at 40 cm, where perspective is strong
    assert float(geodesic_angle(found_r, r)) < 0.1
    torch.testing.assert_close(found_t, t, atol=0.03, rtol=0)
    camera = Camera(Camera.default_K(480, 640, dtype=F64), r, t, (480, 640))
    rigid = fit(
        head, camera.project(head.v_template.double()), 1.0, ALL, camera.K, rigid=True, tolerance=1e-12
    )
    assert float(geodesic_angle(rigid.R, r)) < 1e-6 and bool((rigid.params.identity == 0).all())
    assert list(rigid.layout) == ["rotation", "translation"] and rigid.precision.shape == (1, 6, 6)


@pytest.mark.parametrize("robust", ["huber", "geman-mcclure"])
def test_outliers_do_not_pull(robust: str):
    head, _, camera, points = noisy(3, 0.5)
    g = torch.Generator().manual_seed(7)
    bad = torch.rand(3, 120, generator=g) < 0.2
    spoilt = points + bad[..., None] * 80 * torch.randn(3, 120, 2, generator=g, dtype=F64)
    clean = fit(head, points, 0.5, ALL, camera.K, confidence=1 - bad.double())

    def miss(result) -> float:
        return float((vector(result) - vector(clean)).abs().max())

    plain, firm = (fit(head, spoilt, 0.5, ALL, camera.K, robust=r) for r in ("none", robust))
    assert miss(firm) < 0.1 * miss(plain)
    if robust == "geman-mcclure":
        assert miss(firm) < 0.15


def test_prior_mean_and_widths():
    head, params, camera, points = noisy(2, 5.0)
    tight = Prior(mean=params, identity_sigma=1e-4, expression_sigma=1e-4, jaw_sigma=torch.full((3,), 1e-5))
    found = fit(head, points, 5.0, ALL, camera.K, prior=tight)
    torch.testing.assert_close(found.params.identity, params.identity, atol=1e-3, rtol=0)
    torch.testing.assert_close(found.params.expression, params.expression, atol=1e-3, rtol=0)
    assert float(geodesic_angle(found.R, camera.R).max()) < 0.02
    strong, weak = (fit(head, points, 5.0, ALL, camera.K, prior=Prior(weight=w)) for w in (100.0, 0.01))
    assert bool((strong.params.identity.norm(dim=1) < weak.params.identity.norm(dim=1)).all())


def test_subsets_and_fewer_coefficients():
    head, _, camera, points = noisy(2)
    chosen = head.topology.subset(60)
    by_name = fit(head, points, 1.0, ALL, camera.K, subset=60)
    by_hand = fit(head, points[:, chosen], 1.0, chosen, camera.K)
    assert torch.equal(vector(by_name), vector(by_hand))
    few = fit(head, points, 1.0, ALL, camera.K, n_identity=3, n_expression=0)
    assert few.params.identity.shape == (2, 3) and few.params.expression.shape == (2, 0)
    assert few.precision.shape == (2, 12, 12)
    assert head(few.params.to(torch.float32)).vertices.shape == (2, 120, 3)


def test_result_is_a_camera_that_projects_onto_the_points():
    head, _, camera, points = noisy(2, 0.5)
    found = fit(head, points, 0.5, ALL, camera.K)
    again = project(head, found.params, found.camera((480, 640)))
    torch.testing.assert_close((again - points).square().sum(-1).mean(1).sqrt(), found.rms)


def test_useless_points_are_ignored():
    head, _, camera, points = noisy(1)
    confidence = torch.ones(1, 120, dtype=F64)
    confidence[0, :30] = 0
    reference = fit(head, points, 1.0, ALL, camera.K, confidence=confidence)
    broken = points.clone()
    broken[0, :10] = torch.nan
    broken[0, 10:20, 1] = torch.inf
    doubt = torch.ones(1, 120, dtype=F64)
    doubt[0, 20:28], doubt[0, 28:30] = 0.2, torch.nan
    found = fit(head, broken, 1.0, ALL, camera.K, confidence=doubt, min_confidence=0.5)
    torch.testing.assert_close(vector(found), vector(reference), atol=1e-9, rtol=0)
    sigma = torch.ones(1, 120, dtype=F64)
    sigma[0, :30] = torch.inf
    torch.testing.assert_close(
        vector(fit(head, points, sigma, ALL, camera.K)), vector(reference), atol=1e-9, rtol=0
    )


BAD = {
    "few usable points": ({"confidence": torch.zeros(2, 120)}, "fewer than 6 usable points"),
    "all NaN": ({"points2d": torch.full((2, 120, 2), torch.nan)}, "fewer than 6 usable points"),
    "one point": ({"points2d": torch.full((2, 120, 2), 100.0)}, "coincide"),
    "no batch": ({"points2d": torch.zeros(120, 2)}, r"\(B, N, 2\)"),
    "integers": ({"points2d": torch.zeros(2, 120, 2).long()}, r"\(B, N, 2\)"),
    "ids": ({"vertex_ids": torch.arange(7)}, "120 points need vertex_ids"),
    "unknown vertex": ({"vertex_ids": ALL + 1}, r"must be in 0\.\.119"),
    "zero sigma": ({"sigma": 0.0}, "sigma must be positive"),
    "sigma shape": ({"sigma": torch.ones(2, 7)}, "sigma must be a number"),
    "negative confidence": ({"confidence": -torch.ones(2, 120)}, "must not be negative"),
    "confidence shape": ({"confidence": torch.ones(120)}, "confidence must have shape"),
    "K shape": ({"K": torch.eye(4)}, "K must be"),
    "K zero": ({"K": torch.zeros(3, 3)}, "non-zero focal"),
    "K NaN": ({"K": torch.full((3, 3), torch.nan)}, "K must be finite"),
    "loss": ({"robust": "hubert"}, "Did you mean 'huber'"),
    "loss scale": ({"robust_scale": 0.0}, "robust_scale"),
    "focal": ({"focal": "free"}, "focal must be"),
    "subset": ({"subset": 403}, "unknown vertex subset '403'"),
    "prior width": ({"prior": Prior(identity_sigma=0.0)}, "prior standard deviations"),
    "prior size": ({"prior": Prior(mean=HeadParams(identity=torch.zeros(2, 50)))}, "identity must be"),
    "start NaN": ({"init": FitState(HeadParams(jaw=torch.full((2, 3), torch.nan)))}, "NaN"),
    "start behind": (
        {"init": FitState(HeadParams(), torch.eye(3).expand(2, 3, 3), -torch.ones(2, 3))},
        "in front",
    ),
    "start shape": ({"init": FitState(HeadParams(), torch.eye(3)[None], torch.ones(1, 3))}, r"init\.R"),
    "iterations": ({"iterations": 0}, "iterations"),
}


@pytest.mark.parametrize("case", list(BAD))
def test_bad_input_says_what_is_wrong(case: str):
    change, message = BAD[case]
    head, _, camera, points = noisy(2, dtype=torch.float32)
    good = {"points2d": points, "sigma": 1.0, "vertex_ids": ALL, "K": camera.K}
    with pytest.raises(InputError, match=message):
        fit(head, **{**good, **change})
