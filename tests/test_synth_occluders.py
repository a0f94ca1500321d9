"""Occluders: a layer of the right size, near the face, reproducible, and composited exactly."""

from __future__ import annotations

import numpy as np
import pytest

from facezoo.errors import InputError, UnknownNameError
from facezoo.synth.occluders import KINDS, Occlusion, composite, sample_occluder

BOX = (40.0, 36.0, 92.0, 98.0)


@pytest.mark.parametrize("kind", KINDS)
def test_layers_are_valid_for_any_size_and_box(kind: str) -> None:
    cases = [
        ((128, 128), BOX),
        ((60, 100), (-30.0, 10.0, 40.0, 90.0)),
        ((8, 8), (1.0, 1.0, 7.0, 7.0)),
        ((100, 64), (10.0, 10.0, 14.0, 15.0)),
    ]
    for seed, (size, box) in enumerate(cases):
        layer = sample_occluder(np.random.default_rng(seed), size, box, kind)
        assert layer.kind == kind
        assert layer.alpha.shape == layer.shadow.shape == size and layer.colour.shape == (*size, 3)
        for part in layer[:3]:
            assert part.dtype == np.float32 and np.isfinite(part).all()
            assert part.min() >= 0 and part.max() <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_same_layer(kind: str) -> None:
    one, two = (sample_occluder(np.random.default_rng(9), (96, 96), (30, 30, 70, 75), kind) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(one[:3], two[:3], strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_shows_and_leaves_the_face_visible(kind: str) -> None:
    inside = []
    shown = 0
    for seed in range(20):
        layer = sample_occluder(np.random.default_rng(seed), (128, 128), BOX, kind)
        shown += layer.alpha.max() > 0.1
        inside.append(float(layer.alpha[36:98, 40:92].mean()))
    assert shown >= 12
    assert np.mean(inside) < 0.5


def test_hands_wear_the_given_skin() -> None:
    dark, light = (
        sample_occluder(np.random.default_rng(4), (128, 128), BOX, "hand", skin=s)
        for s in ((60, 35, 25), (240, 200, 180))
    )
    assert np.array_equal(dark.alpha, light.alpha)
    on = dark.alpha > 0.9
    assert on.sum() > 50
    assert light.colour[on].mean() > 2.5 * dark.colour[on].mean()


def test_light_scales_the_colour() -> None:
    plain = sample_occluder(np.random.default_rng(2), (64, 64), (20, 20, 45, 50), "cup")
    lit = sample_occluder(np.random.default_rng(2), (64, 64), (20, 20, 45, 50), "cup", light=(0.5, 0.5, 1.0))
    assert np.allclose(lit.colour, plain.colour * [0.5, 0.5, 1.0], atol=1e-6)


def test_composite_is_the_over_operator() -> None:
    rng = np.random.default_rng(0)
    image = rng.random((16, 16, 3), dtype=np.float32)
    alpha, shadow = rng.random((2, 16, 16), dtype=np.float32)
    colour = rng.random((16, 16, 3), dtype=np.float32)
    out = composite(image, Occlusion(alpha, colour, shadow, "test"))
    a, s = alpha[..., None], shadow[..., None]
    assert np.allclose(out, image * (1 - s) * (1 - a) + colour * a, atol=1e-6)
    clear = Occlusion(np.zeros((16, 16), np.float32), colour, np.zeros((16, 16), np.float32), "test")
    assert np.array_equal(composite(image, clear), image)


def test_bad_input_is_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="box"):
        sample_occluder(rng, (64, 64), (10, 10, 10, 20))
    with pytest.raises(UnknownNameError, match="microphone"):
        sample_occluder(rng, (64, 64), BOX, "microfone")
