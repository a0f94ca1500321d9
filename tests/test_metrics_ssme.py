"""SSME on surfaces whose motion is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from facezoo.errors import InputError
from facezoo.geometry.camera import Camera
from facezoo.metrics.ssme import Surface, ssme

SIZE = (40, 60)
K = Camera.default_K(*SIZE, focal=100.0)
QUAD = torch.tensor([[0, 2, 1], [1, 2, 3]])
IDS = {"face": torch.arange(4)}


def quad(x: list[float], depth: float = 1.0, half: float = 0.08) -> Surface:
    """A square before the camera, moved to each x (metres; 0.01 is a pixel at depth 1)."""
    corners = torch.tensor([[-half, -half, 0], [half, -half, 0], [-half, half, 0], [half, half, 0]])
    moved = corners + torch.tensor([[v, 0.0, depth] for v in x])[:, None]
    return Surface(moved, QUAD, K)


def test_the_truth_scores_zero_and_a_constant_offset_is_no_motion() -> None:
    truth = quad([0.0, 0.01, 0.03, 0.02])
    got = ssme(truth, truth, SIZE, [1, 2, 3], IDS)
    assert got.mean < 1e-4 and got.coverage == 1.0 and got.side == pytest.approx(16, abs=1e-3)
    shifted = quad([0.05, 0.06, 0.08, 0.07], half=0.2)
    assert ssme(truth, shifted, SIZE, [1, 3], IDS).mean < 1e-3


def test_drift_grows_with_the_horizon_and_jitter_does_not() -> None:
    still = quad([0.0] * 9)
    drifting = quad([0.01 * t for t in range(9)], half=0.2)
    got = ssme(still, drifting, SIZE, [1, 2, 5, 8], IDS)
    np.testing.assert_allclose(got.curve, [1, 2, 5, 8], atol=1e-3)
    assert (got.jitter, got.drift) == (got.curve[0], got.curve[-1])
    shaking = quad([0.01 * (t % 2) for t in range(9)], half=0.2)
    np.testing.assert_allclose(ssme(still, shaking, SIZE, [1, 2, 3, 4], IDS).curve, [1, 0, 1, 0], atol=1e-3)


def test_pixels_the_track_misses_count_as_standing_still() -> None:
    moving = quad([0.02 * t for t in range(4)])
    half = Surface(moving.vertices[:, :3], QUAD[:1], K)  # one of the two triangles, moving rightly
    got = ssme(moving, half, SIZE, [1], IDS)
    assert 0.4 < got.coverage < 0.6
    assert got.mean == pytest.approx(2 * (1 - got.coverage), abs=0.1)


def test_points_hidden_at_the_later_frame_do_not_count() -> None:
    back, front = quad([0.0, 0.0]), quad([0.0, 0.0], depth=0.8, half=0.03)
    cover = torch.cat((back.vertices, front.vertices + torch.tensor([[[9.0, 0, 0]], [[0.0, 0, 0]]])), 1)
    truth = Surface(cover, torch.cat((QUAD, QUAD + 4)), K)
    wrong = torch.zeros_like(back.vertices)
    wrong[1, :, 0] = 0.01  # all points are a pixel off in the second frame
    tracked = Surface(quad([0.0, 0.0], half=0.2).vertices + wrong, QUAD, K)
    regions = {"face": torch.arange(4), "front": torch.arange(4, 8)}
    got = ssme(truth, tracked, SIZE, [1], {"face": regions["face"]})
    assert got.mean == pytest.approx(1.0, abs=1e-3)
    # a track that is wrong only where the front square will be is not blamed: those points are hidden then
    spot = torch.tensor([[-0.03, -0.03, 1.0], [0.03, -0.03, 1.0], [-0.03, 0.03, 1.0], [0.03, 0.03, 1.0]])
    patch = torch.cat(
        (spot[None] * torch.tensor([0.75, 0.75, 0.999]), spot[None] * torch.tensor([0.75, 0.75, 0.999]))
    )
    patch[1, :, 0] += 0.5
    both = Surface(torch.cat((quad([0.0, 0.0], half=0.2).vertices, patch), 1), torch.cat((QUAD, QUAD + 4)), K)
    assert ssme(truth, both, SIZE, [1], {"face": regions["face"]}).mean < 1e-3


def test_frames_can_be_left_out_and_bad_input_is_named() -> None:
    still = quad([0.0] * 4)
    jump = quad([0.0, 0.0, 0.3, 0.0], half=0.4)
    valid = torch.tensor([True, True, False, True])
    assert ssme(still, jump, SIZE, [1], IDS, valid=valid).mean < 1e-3
    assert ssme(still, jump, SIZE, [1], IDS).mean > 5
    with pytest.raises(InputError, match="horizons"):
        ssme(still, still, SIZE, [4], IDS)
    with pytest.raises(InputError, match="main"):
        ssme(still, still, SIZE, [1], {"nose": torch.arange(4)})
    with pytest.raises(InputError, match="without vertices: ear"):
        ssme(still, still, SIZE, [1], {**IDS, "ear": torch.zeros(0, dtype=torch.long)})


def test_a_weak_camera_is_measured_in_its_own_pixels() -> None:
    truth = quad([0.0, 0.01, 0.03])
    pixels = torch.stack([truth.screen(t) for t in range(3)])
    weak = Surface(
        pixels + torch.tensor([0.0, 0.0, -1.0]), QUAD, None
    )  # depth about the head, not the camera
    got = ssme(truth, weak, SIZE, [1, 2], IDS)
    assert got.mean < 1e-3 and got.coverage > 0.99
    off = Surface(
        weak.vertices + torch.tensor([[[0.0]], [[2.0]], [[0.0]]]) * torch.tensor([1.0, 0, 0]), QUAD, None
    )
    np.testing.assert_allclose(ssme(truth, off, SIZE, [1, 2], IDS).curve, [2, 0], atol=1e-3)
