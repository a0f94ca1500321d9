"""Brows."""

from __future__ import annotations

import numpy as np

from facezoo.synth.skin_paint.arrays import smooth_step
from facezoo.synth.skin_paint.face import Face
from facezoo.synth.skin_paint.geometry import FIELDS
from facezoo.synth.skin_paint.hair_colour import HAIR_COLOURS
from facezoo.synth.skin_paint.tone import skin_tone


def paint_brows(face: Face) -> None:
    """Paint brows as oriented hair with a shape, a density and a colour."""
    rng, t, g = face.rng, face.t, face.g
    if t.brow == "none":
        return
    half = face.layout.brow_thickness / 2 * np.exp(rng.normal(0.05, 0.2)) * (0.8 + 0.4 * t.masculine)
    density = float(np.clip(rng.normal(0.92, 0.12), 0.4, 1))
    half, density = {
        "thin": (half * 0.5, density), "bushy": (half * 1.35, 1.0), "sparse": (half, density * 0.5),
        "drawn": (half * 0.7, 1.0),
    }.get(t.brow, (half, density))  # fmt: skip
    knots = np.array([-0.22, -0.1, 0.1, 0.4, 0.7, 1.0, 1.12])
    profile = np.array([0, 0.6, 0.95, 1, 0.8, 0.35, 0]) * np.exp(rng.normal(0, 0.12, 7))
    lift = np.cumsum(rng.normal(0, 0.0005, 7)) + rng.normal(0, 0.0006)
    hair = np.array(t.body_hair) * np.exp(rng.normal(-0.35, 0.3))
    if rng.random() < 0.12:  # dyed or bleached above, natural below
        hair = HAIR_COLOURS[int(rng.integers(0, 4))]
    # The pale brows of the blond are still darker than their skin.
    hair = np.minimum(hair, skin_tone(t.melanin, t.redness) * rng.uniform(0.3, 0.75))
    upright, flat = rng.uniform(0.9, 1.5), rng.uniform(0.1, 0.5)
    fine, contrast = rng.uniform(2600, 6500), 0.15 if t.brow == "drawn" else rng.uniform(0.25, 0.9)
    for brow in g.brows:
        shift = lift + rng.normal(0, 0.0003)
        width = np.interp(brow.along, knots, profile * half).astype(np.float32) + np.float32(1e-5)
        across = brow.across - np.interp(brow.along, knots, shift).astype(np.float32)
        body = smooth_step(np.abs(across) / width, 1.25, 0.55) * (width > 0.0004)
        angle = np.float32(upright) + np.float32(flat - upright) * smooth_step(brow.along, -0.1, 0.6)
        s = brow.along * np.float32(brow.length)
        sine, cosine = np.sin(angle), np.cos(angle)
        strand = face.strands(
            (s * sine - across * cosine) * np.float32(fine),
            (s * cosine + across * sine) * np.float32(fine * 0.35),
        )
        alpha = (
            body
            * np.float32(density)
            * (1 - np.float32(contrast) * (1 - strand))
            * (0.75 + 0.25 * smooth_step(brow.along, 0, 0.3))
        )
        colour = hair[:, None] * (0.7 + 0.6 * strand[None])
        face.blend(brow.texels, np.clip(alpha * 1.15, 0, 1), colour, 0.15)
    if t.brow == "joined":
        bridge = g.fields[FIELDS.index("glabella")]
        texels = np.flatnonzero(bridge > 0.2)
        hairs = bridge[texels] * face.noise("strands", texels)
        face.blend(texels, np.clip(hairs * rng.uniform(0.5, 1.1), 0, 1), hair, 0.15)
