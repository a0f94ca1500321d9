"""Backgrounds: any size, always in range, reproducible, and different from each other."""

from __future__ import annotations

import numpy as np
import pytest

from facezoo.errors import InputError, UnknownNameError
from facezoo.synth.background import KINDS, sample_background, skin_colour


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_paints_any_size(kind: str) -> None:
    for seed, size in enumerate([(120, 96), (1, 1), (9, 150), (40, 7)]):
        image = sample_background(np.random.default_rng(seed), size, kind)
        assert image.shape == (*size, 3) and image.dtype == np.float32
        assert np.isfinite(image).all() and image.min() >= 0 and image.max() <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_same_picture(kind: str) -> None:
    one, two, other = (sample_background(np.random.default_rng(s), (64, 64), kind) for s in (3, 3, 4))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


def test_many_backgrounds_are_diverse() -> None:
    images = np.stack([sample_background(np.random.default_rng(s), (32, 32)) for s in range(100)])
    means = images.mean((1, 2))
    assert means.mean(1).std() > 0.15  # dark ones and bright ones
    assert (means.max(1) - means.min(1)).mean() > 0.05  # coloured ones
    detail = images.std((1, 2)).mean(1)
    assert (detail < 0.08).any() and (detail > 0.2).any()  # plain ones and busy ones
    flat = images.reshape(100, -1)
    distance = np.abs(flat[:, None] - flat[None]).mean(-1) + np.eye(100)
    assert distance.min() > 0.01  # no two alike


def test_blur_removes_detail() -> None:
    def detail(blur: float) -> float:
        images = [sample_background(np.random.default_rng(s), (128, 128), "shelf", blur) for s in range(4)]
        return float(np.mean([np.abs(np.diff(i, axis=1)).mean() for i in images]))

    assert detail(0.0) > 1.5 * detail(0.02) > 3 * detail(0.08)


def test_skin_colours_are_skin_coloured() -> None:
    rng = np.random.default_rng(0)
    colours = np.array([skin_colour(rng) for _ in range(200)])
    assert ((colours >= 0) & (colours <= 255)).all()
    assert (colours[:, 0] > colours[:, 2]).mean() > 0.95
    assert colours.sum(1).min() < 130 and colours.sum(1).max() > 550


def test_bad_input_is_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="size"):
        sample_background(rng, (0, 10))
    with pytest.raises(UnknownNameError, match="foliage"):
        sample_background(rng, (10, 10), "foilage")
