"""Hair colours that go with skin and age, and the dyed ones."""

from __future__ import annotations

import numpy as np

from facezoo.synth.skin_paint.tone import decode_srgb

# Linear RGB: black, dark brown, brown, light brown, blond, pale blond, auburn, red, grey, white.
HAIR_COLOURS = np.array([
    [0.007, 0.006, 0.006], [0.026, 0.015, 0.010], [0.070, 0.038, 0.021], [0.150, 0.092, 0.052], [0.330, 0.225, 0.115],
    [0.480, 0.370, 0.220], [0.090, 0.030, 0.014], [0.210, 0.070, 0.022], [0.210, 0.205, 0.200], [0.560, 0.550, 0.530],
])  # fmt: skip


def sample_hair_colour(rng: np.random.Generator, melanin: float, age: float) -> tuple[float, float, float]:
    """Draw a natural hair colour that goes with skin and age.

    Args:
        rng: the only source of randomness.
        melanin: of the skin, 0–1.
        age: years.

    Returns:
        Linear RGB.
    """
    light = np.array([2, 3, 3, 2.5, 2, 1, 0.7, 0.8, 0, 0])
    dark = np.array([9, 3, 0.7, 0.15, 0.1, 0.05, 0.15, 0.02, 0, 0])
    share = np.clip(melanin * 2.2, 0, 1)
    chance = light * (1 - share) + dark * share
    pick = HAIR_COLOURS[rng.choice(10, p=chance / chance.sum())] * np.exp(
        rng.normal(0, 0.3) + rng.normal(0, 0.06, 3)
    )
    grey = np.clip(rng.normal((age - 52) / 22, 0.3), 0, 1)
    rgb = pick * (1 - grey) + HAIR_COLOURS[8 + int(rng.random() < grey * 0.7)] * rng.uniform(0.6, 1.1) * grey
    return float(rgb[0]), float(rgb[1]), float(rgb[2])


def dye_hair(rng: np.random.Generator, natural: tuple[float, float, float]) -> tuple[float, float, float]:
    """Keep the scalp's natural colour for nine in ten, else draw another natural or a vivid one."""
    chance = rng.random()
    if chance > 0.1:
        return natural
    rgb = HAIR_COLOURS[int(rng.integers(8))] if chance > 0.04 else decode_srgb(rng.random(3) ** 1.5)
    return float(rgb[0]), float(rgb[1]), float(rgb[2])
