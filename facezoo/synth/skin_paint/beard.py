"""Beards, from a shaving shadow to a full one."""

from __future__ import annotations

import numpy as np

from facezoo.synth.skin_paint.arrays import Array, smooth_step
from facezoo.synth.skin_paint.face import Face
from facezoo.synth.skin_paint.tone import skin_tone


def _beard_shape(face: Face) -> Array:
    """Share of hair (N,) over the beard texels for a style, before density."""
    rng, g, style = face.rng, face.g, face.t.beard
    wobble = (face.noise("fbm", g.hair) - 0.5) * 0.012
    soft = rng.uniform(0.001, 0.006)
    side, above = g.side, g.above
    beard = smooth_step(g.beard + wobble + rng.uniform(-0.002, 0.008), soft, -soft)
    lip_hair = smooth_step(g.moustache + wobble * 0.3, soft * 0.5, -soft * 0.5)
    if style in ("none",):
        return np.zeros_like(side)
    if style in ("shadow", "stubble", "full"):
        return np.maximum(beard, lip_hair * np.float32(rng.random() < 0.93))
    if style == "patchy":
        return np.maximum(beard, lip_hair) * smooth_step(face.noise("fbm", g.hair), 0.1, 0.8)
    chin = np.hypot(
        side / rng.uniform(0.014, 0.026),
        (above + 0.036) / rng.uniform(0.016, 0.026),
    )
    goatee = smooth_step(chin + wobble * 40, 1.1, 0.85) * beard
    if style == "goatee":
        return goatee
    if style == "circle":
        ring = np.hypot(side / 0.034, (above + 0.01) / 0.042)
        return np.maximum(
            np.maximum(goatee, lip_hair), smooth_step(ring, 1.1, 0.9) * np.maximum(beard, lip_hair)
        )
    if style == "moustache":
        return lip_hair * smooth_step(side, rng.uniform(0.012, 0.035), rng.uniform(0.008, 0.012))
    if style == "pencil":
        middle = rng.uniform(0.008, 0.013)
        return (
            lip_hair * np.exp(-(((above - np.float32(middle)) / 0.0022) ** 2)) * smooth_step(side, 0.03, 0.02)
        )
    if style == "handlebar":
        legs = (
            smooth_step(np.abs(side - 0.030), 0.007, 0.004)
            * smooth_step(above, -0.05, -0.035)
            * np.maximum(beard, lip_hair)
        )
        return np.maximum(lip_hair, legs * smooth_step(above, 0.008, 0.003))
    if style == "soul_patch":
        return (
            smooth_step(side, 0.008, 0.005)
            * smooth_step(above, -0.03, -0.026)
            * smooth_step(above, -0.011, -0.014)
            * beard
        )
    if style == "curtain":
        return beard * smooth_step(np.hypot(side, above), 0.030, 0.038)
    if style == "chops":
        return beard * smooth_step(side, 0.026, 0.036) * smooth_step(above, -0.05, -0.03)
    return beard * smooth_step(above, -0.036, -0.046)  # neck


def paint_beard(face: Face) -> None:
    """Paint beard, stubble or shaving shadow."""
    rng, t, g = face.rng, face.t, face.g
    if t.beard == "none":
        return
    shape = _beard_shape(face)
    tone = np.array(t.body_hair) * np.exp(rng.normal(0, 0.25))
    if rng.random() < 0.15:
        tone = tone * np.array([1.5, 0.9, 0.7])  # redder than the head's hair
    if t.beard == "shadow":
        # Hair under the skin scatters blue: grey, not brown.
        dust = 0.75 + 0.5 * face.noise("rough", g.hair)
        bluish = tone * 0.7 + skin_tone(t.melanin, 0.1) * np.array([0.20, 0.26, 0.33])
        face.blend(g.hair, np.clip(shape * dust * np.float32(0.1 + 0.35 * t.beard_density), 0, 1), bluish)
        return
    hairs = face.hairs(g.hair)
    if t.beard == "stubble":
        hairs = face.noise("rough", g.hair)
        cover = np.float32(0.25 + 0.4 * t.beard_density) * (0.35 + 0.9 * hairs)
    else:
        bare = 0.9 - 1.1 * t.beard_density
        cover = (hairs - np.float32(bare)) * 1.8 + 0.4
        cover = np.clip(cover, 0.15 + 0.4 * t.beard_density, 0.96)
    streak = 0.55 + 0.9 * hairs
    grey = np.array([0.3, 0.3, 0.3]) if t.age > 45 and rng.random() < 0.5 else tone
    part = smooth_step(g.above, -0.02, -0.05)[None]  # the chin greys first
    colour = (tone[:, None] * (1 - part) + grey[:, None] * part) * streak[None]
    face.blend(g.hair, np.clip(shape * cover, 0, 1), colour, 0.12)
