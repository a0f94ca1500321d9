"""Noise: seamless, flat where promised, and decided by the generator alone."""

from __future__ import annotations

import numpy as np
import pytest

from facezoo.errors import UnknownNameError
from facezoo.synth import noise


@pytest.mark.parametrize("kind", noise.KINDS)
def test_atlas_has_no_seam(kind: str) -> None:
    field = noise.atlas(kind).astype(np.float64)
    assert field.shape == (noise.ATLAS, noise.ATLAS) and field.min() >= 0 and field.max() <= 1
    for axis in (0, 1):
        steps = np.abs(np.diff(field, axis=axis)).mean(1 - axis)
        across = np.abs(field.take(0, axis) - field.take(-1, axis)).mean()
        assert across <= steps.max() * 1.05


@pytest.mark.parametrize("kind", noise.EQUALISED)
def test_a_threshold_covers_its_share(kind: str) -> None:
    for share in (0.1, 0.5, 0.8):
        assert (noise.atlas(kind) < share).mean() == pytest.approx(share, abs=0.002)


def test_atlas_is_shared_and_read_only() -> None:
    assert noise.atlas("fbm") is noise.atlas("fbm")
    with pytest.raises(ValueError, match="read-only"):
        noise.atlas("fbm")[0, 0] = 1


@pytest.mark.parametrize("kind", noise.KINDS)
@pytest.mark.parametrize(
    ("size", "zoom"), [((192, 192), 1.0), ((31, 70), 4.5), ((1, 9), 0.6), ((900, 20), 0.5)]
)
def test_crop_and_warped_have_size_range_and_determinism(
    kind: str, size: tuple[int, int], zoom: float
) -> None:
    for make in (noise.crop, noise.warped):
        one, two, other = (make(np.random.default_rng(s), kind, size, zoom) for s in (5, 5, 6))
        assert one.shape == size and one.dtype == np.float32
        assert one.min() >= 0 and one.max() <= 1
        assert np.array_equal(one, two)
        if one.size > 1000 and kind != "spots":
            assert not np.array_equal(one, other)


def test_zoom_enlarges_features() -> None:
    def roughness(zoom: float) -> float:
        fields = [noise.crop(np.random.default_rng(s), "smooth", (128, 128), zoom) for s in range(4)]
        return float(np.mean([np.abs(np.diff(f, axis=1)).mean() for f in fields]))

    assert roughness(1) > 1.6 * roughness(2) > 2.5 * roughness(4)


def test_fractal_covers_the_range_and_coarsens() -> None:
    fine, coarse = (noise.fractal(np.random.default_rng(1), (128, 128), f) for f in (12.0, 100.0))
    assert fine.dtype == np.float32 and fine.min() >= 0 and fine.max() <= 1
    assert abs(float(fine.mean()) - 0.5) < 0.1 and fine.std() > 0.15
    assert np.abs(np.diff(fine)).mean() > 2 * np.abs(np.diff(coarse)).mean()


def test_white_is_standard_normal_and_varies() -> None:
    rng = np.random.default_rng(0)
    draws = [noise.white(rng, (3, 64, 64)) for _ in range(6)]
    assert all(abs(d.mean()) < 0.05 and abs(d.std() - 1) < 0.05 for d in draws)
    assert abs(np.corrcoef(draws[0].ravel(), draws[1].ravel())[0, 1]) < 0.1
    assert noise.white(rng, (1100, 1000)).shape == (1100, 1000)  # larger than the pool


def test_unknown_kind_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="ridged"):
        noise.crop(np.random.default_rng(0), "ridge", (8, 8))
