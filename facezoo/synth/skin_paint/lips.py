"""The lips, bare or with lipstick, and the mouth behind them."""

from __future__ import annotations

import numpy as np

from facezoo.synth.skin_paint.arrays import smooth_step
from facezoo.synth.skin_paint.face import Face
from facezoo.synth.skin_paint.tone import BLOOD, MELANIN, decode_srgb, skin_tone


def paint_lips(face: Face) -> None:
    """Paint the red of the lips, natural or painted, with its vertical furrows; the inside of the mouth."""
    rng, t, g = face.rng, face.t, face.g
    texels = g.lips
    inside = np.minimum(g.lip_upper, g.lip_lower)
    soft = rng.uniform(0.0005, 0.0016)
    red = smooth_step(inside, soft, -soft)
    is_upper = smooth_step(g.lip_lower - g.lip_upper, -0.001, 0.001)
    tone = skin_tone(t.melanin, t.redness)
    # Lips lack the pale outer layer: more blood, some melanin, darker above; dark skin has rosy lower lips.
    rosy = (
        np.exp(-(rng.uniform(0.3, 0.85) * BLOOD * (1 - 0.3 * t.melanin) + rng.uniform(0.0, 0.28) * MELANIN))
        * tone
    )
    pink = np.array([0.32, 0.12, 0.105]) * rng.uniform(0.6, 1.1)
    lower = rosy + (pink - rosy) * (t.melanin * rng.uniform(0, 0.6))
    colour = lower[:, None] * (1 - is_upper) + (rosy * rng.uniform(0.72, 1.0))[:, None] * is_upper
    coverage = red * rng.uniform(0.6, 1.0)
    gloss = float(rng.uniform(0.35, 0.65))
    if t.makeup > 0.1 and rng.random() < 0.8:
        hue = np.array([rng.uniform(0.35, 0.95), rng.uniform(0.02, 0.5), rng.uniform(0.05, 0.55)])
        if rng.random() < 0.12:
            hue = rng.random(3) * 0.8
        strong = float(np.clip(0.25 + t.makeup * rng.random() * 1.1, 0, 1))
        colour = colour + (decode_srgb(hue)[:, None] - colour) * strong
        coverage, gloss = red * np.float32(max(0.6, strong)), float(rng.uniform(0.25, 1.0))
    furrow = face.strands(g.lip_side * 5500, inside * 1500) - 0.5
    colour = colour * (1 - rng.uniform(0.05, 0.3) * furrow)
    face.blend(texels, coverage, colour, gloss)
    rim = np.exp(-((inside / 0.0011) ** 2))
    face.stain(texels, rim * rng.normal(0.06, 0.08), rim * 0.06)
    seam = np.exp(-(((np.abs(g.lip_upper) + np.abs(g.lip_lower)) / 0.0022) ** 2))
    face.stain(texels, seam * 0.5, seam * 0.6)
    if len(g.mouth):
        face.blend(
            g.mouth,
            np.ones(len(g.mouth), np.float32),
            np.array([0.16, 0.035, 0.032]) * rng.uniform(0.6, 1.3),
            0.8,
        )
