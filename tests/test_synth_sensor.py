"""The camera: it changes colours and sharpness, never places."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facezoo.errors import ImageError, InputError
from facezoo.synth.sensor import SensorParams, apply_sensor, describe, sample_sensor


def picture(h: int = 96, w: int = 120) -> np.ndarray:
    y, x = np.mgrid[0:h, 0:w] / np.array([h, w])[:, None, None]
    return np.stack([0.2 + 0.6 * x, 0.3 + 0.4 * y, 0.5 + 0.3 * np.sin(9 * x * y)], -1).astype(np.float32)


def disc(centre: tuple[float, float], size: int = 121) -> np.ndarray:
    y, x = np.mgrid[0:size, 0:size] + 0.5
    inside = np.clip(14 - np.hypot(x - centre[0], y - centre[1]), 0, 1)
    return np.repeat((0.15 + 0.7 * inside)[..., None], 3, -1).astype(np.float32)


def centroid(image: np.ndarray) -> np.ndarray:
    grey = image.mean(-1)
    weight = np.clip(grey - np.median(grey) - 0.15, 0, None)  # the disc alone
    y, x = np.mgrid[0 : grey.shape[0], 0 : grey.shape[1]] + 0.5
    return np.array([(x * weight).sum(), (y * weight).sum()]) / weight.sum()


def test_the_default_camera_does_nothing() -> None:
    image = picture()
    out = apply_sensor(np.random.default_rng(0), image, SensorParams())
    assert out.dtype == np.float32 and out.flags.writeable
    assert np.abs(out - image).max() <= 0.51 / 255


def test_same_seed_same_result() -> None:
    image = picture()
    for seed in range(20):
        one, two = (apply_sensor(np.random.default_rng(seed), image) for _ in range(2))
        assert np.array_equal(one, two)
        assert one.shape == image.shape and one.min() >= 0 and one.max() <= 1


@pytest.mark.parametrize(
    "change",
    [
        {"defocus": 0.02},
        {"motion": 0.08, "motion_angle": 0.6},
        {"motion": 0.05, "motion_angle": 2.0},
        {"fringe": 0.006},
        {"scale": 0.37},
        {"scale": 0.21, "nearest": True},
        {"jpeg": 20},
        {"scale": 0.5, "jpeg_twice": 40, "jpeg": 60},
        {"sharpen": 2.0},
        {"noise_read": 0.03, "noise_grain": 2.5},
        {"exposure": (1.5, 1.2, 0.9), "gamma": 0.8, "contrast": 1.3},
    ],
)
def test_nothing_moves(change: dict) -> None:
    """Labels stay valid: a disc off the centre keeps its centre of gravity."""
    image = disc((48.3, 70.8))
    out = apply_sensor(np.random.default_rng(1), image, replace(SensorParams(), **change))
    assert not np.array_equal(out, image)
    assert np.abs(centroid(out) - centroid(image)).max() < 0.25


def test_noise_has_the_strength_it_is_given() -> None:
    grey = np.full((128, 128, 3), 0.5, np.float32)
    for grain in (1.0, 2.5):
        for colour in (0.0, 1.0):
            params = SensorParams(noise_read=0.04, noise_grain=grain, noise_colour=colour)
            out = apply_sensor(np.random.default_rng(2), grey, params)
            assert out.std() == pytest.approx(0.04, rel=0.25)
            shared = np.allclose(out[..., 0], out[..., 1], atol=1e-6)
            assert shared == (colour == 0.0)


def test_exposure_gains_are_in_linear_light() -> None:
    half = apply_sensor(
        np.random.default_rng(0), np.full((8, 8, 3), 0.5, np.float32), SensorParams(exposure=(2.0, 1.0, 0.5))
    )
    # sRGB 0.5 is 0.2140 in linear light; 0.4281 and 0.1070 encode to 0.6858 and 0.3608.
    assert half[0, 0] == pytest.approx([0.6858, 0.5, 0.3608], abs=0.005)


def test_monochrome_sepia_and_levels() -> None:
    image = picture()
    grey = apply_sensor(np.random.default_rng(0), image, SensorParams(tint=(1.0, 1.0, 1.0)))
    assert np.ptp(grey, axis=-1).max() == 0
    sepia = apply_sensor(np.random.default_rng(0), image, SensorParams(tint=(1.0, 0.9, 0.7)))
    assert (sepia[..., 0] >= sepia[..., 1]).all() and (sepia[..., 1] >= sepia[..., 2]).all()
    banded = apply_sensor(np.random.default_rng(0), image, SensorParams(levels=6))
    assert len(np.unique(banded)) <= 6


def test_severity_orders_the_damage() -> None:
    image = picture()

    def damage(severity: float) -> float:
        return float(np.mean([
            np.abs(apply_sensor(r := np.random.default_rng(s), image, sample_sensor(r, severity)) - image).mean()
            for s in range(30)
        ]))  # fmt: skip

    assert damage(0.0) < damage(0.5) < damage(1.0)
    assert damage(0.0) < 0.1


def test_most_cameras_are_clean_ish_and_some_are_bad() -> None:
    cameras = [sample_sensor(np.random.default_rng(s)) for s in range(400)]
    blur = np.array([c.defocus for c in cameras])
    assert np.median(blur) < 0.003 and blur.max() > 0.01
    assert 0.03 < np.mean([c.tint is not None for c in cameras]) < 0.12
    assert np.mean([c.scale < 0.5 for c in cameras]) > 0.01
    assert 0.7 < np.mean([c.jpeg > 0 for c in cameras]) < 0.95


def test_description_names_only_what_differs() -> None:
    assert describe(SensorParams()) == ""
    assert describe(SensorParams(jpeg=40)) == "jpeg=40"


def test_bad_input_is_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ImageError, match="shape"):
        apply_sensor(rng, np.zeros((8, 8), np.float32))
    with pytest.raises(InputError, match="severity"):
        sample_sensor(rng, 1.5)
