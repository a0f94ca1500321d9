"""Around the eyes: lid creases, lashes, shadow and liner."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facezoo.synth.skin_paint.arrays import smooth_step
from facezoo.synth.skin_paint.face import Face
from facezoo.synth.skin_paint.tone import decode_srgb


def paint_eyes(face: Face) -> None:
    """Paint lid crease, lid tone, lashes, and make-up: shadow and liner."""
    rng, t = face.rng, face.t
    shadow = liner = 0.0
    shade_tone: NDArray = decode_srgb(rng.random(3) * rng.uniform(0.15, 0.9))
    if rng.random() < 0.5:  # the discreet half: browns
        shade_tone = np.asarray(face.rgb[:, face.g.eyes[0].texels].mean(1)) * rng.uniform(0.25, 0.8)
    liner_tone = np.array([0.01, 0.009, 0.009]) if rng.random() < 0.85 else decode_srgb(rng.random(3) * 0.6)
    if t.makeup > 0.15:
        shadow = float(rng.random() * t.makeup * (rng.random() < 0.7))
        liner = float(rng.random() * t.makeup * (rng.random() < 0.8))
    reach = rng.uniform(0.004, 0.014)
    lash = float(np.clip(rng.normal(0.7 + 0.3 * t.makeup, 0.18) * (1 - 0.2 * t.masculine), 0.25, 1))
    lash_tone = np.array([0.012, 0.010, 0.009]) if t.makeup > 0.2 else np.array(t.body_hair) * 0.35 + 0.004
    crease_at = float(np.clip(rng.normal(0.0062, 0.0018), 0.0028, 0.011))
    crease = rng.uniform(0, 0.45) * (rng.random() < 0.85)
    thick = rng.uniform(0.0008, 0.0019)
    wing = rng.random() < 0.35
    for eye in face.g.eyes:
        texels, out, up = eye.texels, eye.out, eye.up
        is_upper = smooth_step(eye.lower - eye.upper, -0.0015, 0.0015)
        outside = eye.inside > 0
        above = is_upper * outside
        ramp = np.clip(1 - (np.abs(out) / 0.020) ** 4, 0, 1)
        fold = np.exp(-(((eye.upper - np.float32(crease_at)) / 0.0009) ** 2)) * above * ramp
        lid = above * smooth_step(eye.upper, crease_at, 0)
        corner = np.exp(-(((out + 0.0155) / 0.004) ** 2) - (up / 0.004) ** 2)
        rim = smooth_step(eye.inside, 0.0016, 0)
        face.stain(texels, fold * np.float32(crease) + corner * 0.15 + lid * 0.06,
                   fold * np.float32(crease) + rim * 0.35 + corner * 0.3 + lid * 0.06)  # fmt: skip
        if shadow:
            sheen = (
                above
                * smooth_step(eye.upper, reach, reach * 0.3)
                * np.clip(1 - (np.abs(out) / 0.024) ** 4, 0, 1)
            )
            face.blend(texels, sheen * np.float32(shadow), shade_tone, 0.25 + 0.5 * float(rng.random() < 0.3))
        hairs = 0.65 + 0.35 * face.noise("rough", texels)
        line = np.exp(-((eye.upper / np.float32(thick * 1.4)) ** 2)) * is_upper + 0.4 * np.exp(
            -((eye.lower / np.float32(thick)) ** 2)
        ) * (1 - is_upper)
        face.blend(texels, np.clip(line * hairs * np.float32(lash), 0, 1), lash_tone, 0.2)
        if liner:
            wide = 0.0008 + 0.0028 * liner * rng.random()
            stroke = smooth_step(eye.upper, wide * 1.5, wide * 0.5) * is_upper
            if wing:
                slope = np.abs(up - 0.45 * (out - 0.013) - 0.0005)
                stroke = np.maximum(
                    stroke,
                    smooth_step(slope, 0.0016, 0.0006)
                    * smooth_step(out, 0.012, 0.014)
                    * smooth_step(out, 0.024, 0.020),
                )
            if liner > 0.5:
                stroke = np.maximum(stroke, 0.7 * smooth_step(eye.lower, 0.0018, 0.0005) * (1 - is_upper))
            face.blend(texels, stroke * np.float32(min(1, 0.5 + liner)), liner_tone, 0.2)
        inner = np.flatnonzero(eye.inside < -0.0012)
        wet = np.array([0.42, 0.16, 0.13]) * (0.45 + 0.55 * (1 - t.melanin))
        face.blend(texels[inner], np.full(len(inner), 0.85, np.float32), wet, 0.9)
