"""The colour of bare skin: a ramp of tones and the two dyes, melanin and blood, that stain them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facezoo.mesh.io.colour import srgb_to_linear
from facezoo.synth.skin_paint.arrays import Array

# Relative absorption of melanin and haemoglobin in red, green and blue.
MELANIN = np.array([0.80, 1.15, 1.45], np.float32)
BLOOD = np.array([0.10, 0.95, 0.80], np.float32)


def decode_srgb(srgb: NDArray) -> Array:
    """Turn sRGB in [0, 1] of any width into linear float32."""
    return srgb_to_linear(np.asarray(srgb, np.float32))


def skin_tone(melanin: float, redness: float, yellowness: float = 0.0) -> Array:
    """Mean facial albedo on the human ramp.

    L* falls from 74 to 25 with melanin; a* is about the same in all groups and follows the blood; b* is largest in
    the middle of the ramp (open_head_facts §5: cluster centres and ranges, Xiao et al. 2017).

    Args:
        melanin: 0–1.
        redness: 0–1.
        yellowness: shift of b*, about -4 to 4.

    Returns:
        (3,) linear RGB, red > green > blue.
    """
    lightness = 74 - 49 * melanin
    a = 8.5 + 7 * redness * (1 - 0.4 * melanin) + 4 * np.sin(np.pi * min(melanin, 1))
    b = (
        13.5
        + 7 * np.sin(np.pi * np.clip(melanin * 0.85 + 0.1, 0, 1))
        - 2.5 * melanin
        + yellowness * (1 - 0.5 * melanin)
    )
    fy = (lightness + 16) / 116
    f = np.array([fy + a / 500, fy, fy - b / 200])
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * np.array([0.95047, 1.0, 1.08883])
    matrix = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]])
    r, g, b_ = matrix @ xyz
    b_ = max(b_, 0.008)
    g = max(g, b_ * 1.08)
    return np.array([max(r, g * 1.12), g, b_], np.float32)
