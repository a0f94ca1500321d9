"""SSME on surfaces whose motion is known, and synthetic videos whose truth must agree with their pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from facezoo.errors import InputError, UnknownNameError
from facezoo.geometry.camera import Camera
from facezoo.heads import load_head
from facezoo.metrics.ssme import Surface, ssme
from facezoo.synth.sequence import render_video

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


def test_synthetic_videos_are_exact_and_repeatable() -> None:
    video = render_video(900_000_003, "turn", frames=2, size=64)
    again = render_video(900_000_003, "turn", frames=2, size=64)
    np.testing.assert_array_equal(video.images, again.images)
    head = load_head()
    posed = head(video.params).vertices @ video.R.mT + video.t[:, None]
    face = head.topology.subset(1609)
    torch.testing.assert_close(
        video.vertices[:, face], posed[:, face], atol=2e-3, rtol=0
    )  # the neck bends a little
    pixels = video.vertices[:, face] @ video.K.mT
    pixels = pixels[..., :2] / pixels[..., 2:]
    assert bool(((pixels > 0) & (pixels < 64)).all())
    assert np.abs(video.images[0].astype(int) - video.images[1]).mean() > 0.05  # it moves
    with pytest.raises(UnknownNameError, match="talk"):
        render_video(1, "tolk")
