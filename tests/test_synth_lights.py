"""Light rigs: physical colours, sensible exposure, and the renderer's own spherical harmonics."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from facezoo.errors import UnknownNameError
from facezoo.render.shading import shade_sh
from facezoo.synth.lights import LUMINANCE, SITUATIONS, blackbody, frontal_light, sample_lights


@pytest.mark.parametrize("situation", SITUATIONS)
def test_rigs_are_valid(situation: str) -> None:
    for seed in range(12):
        rig = sample_lights(np.random.default_rng(seed), situation)
        count = len(rig.softness)
        assert rig.situation == situation and count <= 3
        assert rig.environment.shape == (9, 3) and rig.directions.shape == rig.colours.shape == (count, 3)
        assert all(
            a.dtype == np.float32 and np.isfinite(a).all()
            for a in (rig.environment, rig.directions, rig.colours)
        )
        assert np.allclose(np.linalg.norm(rig.directions, axis=1), 1, atol=1e-5)
        assert (rig.colours >= 0).all() and ((rig.softness >= 0) & (rig.softness <= 1)).all()


def test_environment_is_what_the_renderer_shades() -> None:
    """Shaded by the renderer, a rig without lights is the light its exposure was metered on, and nowhere dark."""
    rng = np.random.default_rng(0)
    normals = rng.normal(size=(4000, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    for seed in range(10):
        rig = sample_lights(np.random.default_rng(seed), "flat")
        shaded = shade_sh(torch.from_numpy(normals[None]), torch.from_numpy(rig.environment[None]).double())[
            0
        ].numpy()
        facing = normals[:, 2] > 0.2
        assert shaded[facing].mean(0) == pytest.approx(frontal_light(rig), rel=0.03)
        assert shaded.min() > 0


def test_sky_is_above() -> None:
    up, down = (torch.tensor([[[0.0, y, 0.0]]]) for y in (1.0, -1.0))
    brighter = 0
    for seed in range(30):
        sh = torch.from_numpy(sample_lights(np.random.default_rng(seed), "overcast").environment[None])
        brighter += bool(shade_sh(up, sh).sum() > shade_sh(down, sh).sum())
    assert brighter >= 29


def test_exposure_is_near_one_and_varies() -> None:
    levels = np.array(
        [frontal_light(sample_lights(np.random.default_rng(s))) @ LUMINANCE for s in range(300)]
    )
    assert 0.8 < np.median(levels) < 1.15
    assert 0.15 < np.log(levels).std() < 0.5


def test_directions_cover_front_sides_and_back() -> None:
    rigs = [sample_lights(np.random.default_rng(s)) for s in range(300)]
    towards = np.concatenate([r.directions for r in rigs])
    assert {len(r.softness) for r in rigs} == {0, 1, 2, 3}
    assert (towards[:, 2] > 0.5).mean() > 0.2 and (towards[:, 2] < -0.2).mean() > 0.05
    assert (towards[:, 0] < -0.5).mean() > 0.1 and (towards[:, 0] > 0.5).mean() > 0.1


def test_blackbody_runs_from_red_to_blue() -> None:
    colours = np.array([blackbody(t) for t in (1800, 2800, 4000, 5500, 6500, 9000, 20000)])
    assert np.allclose(colours @ LUMINANCE, 1)
    ratio = colours[:, 0] / np.maximum(colours[:, 2], 1e-6)
    assert (np.diff(ratio) < 0).all()
    assert blackbody(6500) == pytest.approx([1, 1, 1], abs=0.06)  # D65 is sRGB's white


def test_determinism_and_unknown_names() -> None:
    one, two = (sample_lights(np.random.default_rng(8)) for _ in range(2))
    assert np.array_equal(one.environment, two.environment) and np.array_equal(one.colours, two.colours)
    with pytest.raises(UnknownNameError, match="backlit"):
        sample_lights(np.random.default_rng(0), "backlight")
