"""Synthetic people: the same seed gives the same picture, and the labels are the picture's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from facezoo.heads import HeadParams, load_head
from facezoo.synth import TEST_SEEDS, VALIDATION_SEEDS, render_batch, render_sample
from facezoo.synth.engine import Sample
from facezoo.synth.people import sample_expression, sample_identity
from facezoo.synth.sheet import contact_sheet

SEEDS = (3, 11)


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return [render_sample(s, 128) for s in SEEDS]


def test_same_seed_same_bytes_in_any_order(samples: list[Sample]) -> None:
    again = [render_sample(s, 128) for s in reversed(SEEDS)][::-1]
    for a, b in zip(samples, again, strict=True):
        for name in Sample._fields:
            assert np.array_equal(getattr(a, name), getattr(b, name)), name


def test_labels_reproject(samples: list[Sample]) -> None:
    head = load_head("open-v1")
    dense = head.topology.subsets[1609]
    firm = (head.weights[dense, 0] < 1e-4).numpy()  # the foot of the neck turns with the torso
    for s in samples:
        row = {n: torch.from_numpy(getattr(s, n))[None] for n in ("identity", "expression", "jaw")}
        camera = head(HeadParams(**row)).vertices[0] @ torch.from_numpy(s.R).T + torch.from_numpy(s.t)
        lm = head.landmarks(camera[None], "ibug68")[0]
        for points, label in ((camera[dense][firm], s.points[firm]), (lm[17:], s.lm68[17:])):
            p = points @ torch.from_numpy(s.K).T
            assert np.abs((p[:, :2] / p[:, 2:]).numpy() - label).max() < 0.05


def test_box_is_tight_and_face_is_in_the_picture(samples: list[Sample]) -> None:
    for s in samples:
        assert np.allclose(s.box, np.r_[s.lm68.min(0), s.lm68.max(0)], atol=1e-4)
        centre = (s.box[:2] + s.box[2:]) / 2
        assert (centre > 0).all()
        assert (centre < 128).all()
        assert s.visible.any()


def test_2d_markup_shares_the_inner_face(samples: list[Sample]) -> None:
    for s in samples:
        assert np.array_equal(s.lm68[27:], s.lm68_contour[27:])
        assert np.array_equal(s.lm68[8], s.lm68_contour[8])
        assert not np.array_equal(s.lm68[:8], s.lm68_contour[:8])


def test_batch_has_the_shard_layout() -> None:
    from facezoo.data.shards import check_arrays

    arrays = render_batch(SEEDS, 96)
    assert check_arrays(arrays) == 2
    assert arrays["images"].shape == (2, 3, 96, 96)
    assert arrays["seed"].tolist() == list(SEEDS)


def test_held_out_seeds_are_apart() -> None:
    assert not set(TEST_SEEDS) & set(VALIDATION_SEEDS)
    assert min(TEST_SEEDS.start, VALIDATION_SEEDS.start) >= 900_000_000


def test_expressions_stay_in_bounds() -> None:
    head, rng = load_head("open-v1"), np.random.default_rng(0)
    for _ in range(200):
        weights, jaw = sample_expression(rng, head)
        assert set(weights) == set(head.params["expression"].names)
        assert min(weights.values()) >= 0
        assert max(weights.values()) <= 1
        assert 0 <= jaw <= 1


def test_men_are_larger() -> None:
    head, rng = load_head("open-v1"), np.random.default_rng(1)
    ids = head.topology.mask("cranium")
    breadth = {}
    for sex in ("male", "female"):
        z = torch.from_numpy(np.stack([sample_identity(rng, head, sex) for _ in range(100)]))
        x = head(HeadParams(identity=z), vertices=ids).vertices[..., 0]
        breadth[sex] = float((x.amax(1) - x.amin(1)).mean())
    assert breadth["male"] > breadth["female"] + 0.003


def test_contact_sheet_has_a_cell_a_seed() -> None:
    assert contact_sheet(SEEDS, columns=2, size=64, landmarks=True).size == (128, 64)
