"""Synthetic videos: exact truth of all vertices, lips that shut, glances with lids, things that pass, repeatability."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from facezoo.errors import UnknownNameError
from facezoo.evaluation.tracking_speech import lip_distance
from facezoo.geometry.rotations import matrix_to_axis_angle
from facezoo.heads import HeadParams, load_head
from facezoo.synth.sequence import render_video
from facezoo.synth.sequence_script import KINDS, write_script

SEED = 900_000_003


def test_videos_are_exact_to_the_neck_and_repeatable() -> None:
    video = render_video(SEED, "gaze", frames=2, size=64)
    again = render_video(SEED, "gaze", frames=2, size=64)
    np.testing.assert_array_equal(video.images, again.images)
    assert np.abs(video.images[0].astype(int) - video.images[1]).mean() > 0.05  # it moves
    head = load_head()
    posed = head(video.params)
    expected = posed.vertices @ video.R.mT + video.t[:, None]
    above = (head.weights[:, 0] < 1e-6).nonzero()[:, 0]
    torch.testing.assert_close(video.vertices[:, above], expected[:, above], atol=1e-6, rtol=0)
    # the head's own neck joint does the same to the rest: torso still, head turned on it
    bent = HeadParams(**dict(video.params.items()), neck=matrix_to_axis_angle(video.neck))
    root = video.R @ video.neck.mT
    out = head(bent)
    shift = video.vertices[:, above[:1]] - out.vertices[:, above[:1]] @ root.mT
    torch.testing.assert_close(out.vertices @ root.mT + shift, video.vertices, atol=2e-5, rtol=0)
    pixels = video.vertices[:, head.topology.subset(1609)] @ video.K.mT
    pixels = pixels[..., :2] / pixels[..., 2:]
    assert bool(((pixels > 0) & (pixels < 64)).all())


def test_lips_shut_in_bilabials_and_open_between_them() -> None:
    head = load_head()
    script = write_script(SEED, "talk", 120, 30.0, head)
    vertices = head(HeadParams(expression=script.expression, jaw=script.jaw)).vertices
    apart, shut = lip_distance(head, vertices), script.closed
    assert 8 <= int(shut.sum()) <= 60
    assert float(apart[shut].max()) < 0.5 and float(apart.max()) > 8  # millimetres
    # every closure is a run of its own with the mouth open before the next
    starts = (shut[1:] & ~shut[:-1]).nonzero()[:, 0].tolist()
    assert len(starts) >= 3
    assert all(float(apart[a:b].max()) > 2 for a, b in pairwise(starts))


def test_eyes_jump_and_rest_lids_follow_and_blink() -> None:
    head = load_head()
    script = write_script(SEED, "gaze", 240, 30.0, head)
    names = head.params["expression"].names
    blink, down = (script.expression[:, names.index(n)] for n in ("eyeBlinkLeft", "eyeLookDownLeft"))
    assert float(blink.max()) == 1.0 and float((blink == 0).float().mean()) > 0.6
    pitch = script.left_eye[:, 0]
    speed = (pitch[1:] - pitch[:-1]).abs()
    assert float((speed < 1e-6).float().mean()) > 0.6 and float(speed.max()) > 0.03  # fixations and saccades
    looking = (pitch > 0.05) & (blink == 0)
    torch.testing.assert_close(down[looking], pitch[looking] / np.radians(25.0), atol=1e-5, rtol=0)
    assert float((script.right_eye[:, 1] - script.left_eye[:, 1]).min()) >= 0  # they converge
    assert float(script.left_eye[:, 1].abs().max()) < 0.6


def test_every_kind_moves_and_repeats_and_unknown_ones_are_named() -> None:
    head = load_head()
    far = {}
    for kind in KINDS:
        script = write_script(SEED, kind, 60, 30.0, head)
        for one, other in zip(script, write_script(SEED, kind, 60, 30.0, head), strict=True):
            assert torch.equal(one, other)
        far[kind] = float(script.angles[:, 0].max() - script.angles[:, 0].min())
        assert 0 <= float(script.expression.min()) <= float(script.expression.max()) <= 1
        assert bool(script.closed.any()) == (kind in ("talk", "occluder"))
    assert min(far["turn"], far["occluder"]) > 3 * far["talk"]
    with pytest.raises(UnknownNameError, match="talk"):
        write_script(1, "tolk", 3, 30.0, head)


def test_something_passes_in_front_and_the_truth_says_how_much_it_covers() -> None:
    video = render_video(SEED + 1, "occluder", frames=4, size=64, fps=4.0)
    assert float(video.covered[0]) == 0.0 and float(video.covered.max()) > 0.02
    assert float(render_video(SEED + 1, "turn", frames=1, size=64).covered) == 0.0
