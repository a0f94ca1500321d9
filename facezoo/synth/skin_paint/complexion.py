"""The whole surface: tone, regional colour, mottling, freckles, blemishes, shine."""

from __future__ import annotations

import numpy as np

from facezoo.synth.skin_paint.arrays import smooth_step
from facezoo.synth.skin_paint.face import Face
from facezoo.synth.skin_paint.geometry import FIELDS, SMOOTH
from facezoo.synth.skin_paint.tone import BLOOD, MELANIN, skin_tone


def paint_complexion(face: Face) -> None:
    """Paint tone, regional colour, mottling, freckles and blemishes of the whole surface."""
    rng, t, g = face.rng, face.t, face.g
    old, man = np.clip((t.age - 30) / 50, 0, 1), t.masculine * (t.age > 14)
    calm = 1 - 0.7 * t.makeup  # foundation evens out
    weights = np.zeros((2, len(FIELDS) + SMOOTH))
    at = {name: i for i, name in enumerate(FIELDS)}

    def put(name: str, melanin: float, blood: float, spread: float = 0.5) -> None:
        weights[:, at[name]] = np.array([melanin, blood]) * np.exp(rng.normal(0, spread, 2))

    flush = calm * (0.3 + t.redness)
    put("cheek", 0.02, 0.22 * flush)
    put("nose", 0.06, 0.26 * flush)
    put("forehead", 0.08 * calm, 0.05)
    put("chin", 0.02, 0.14 * flush)
    put("under_eye", calm * (0.14 + 0.14 * old), calm * 0.12)
    put("ear", 0.0, 0.3 * (0.3 + t.redness))
    put("jaw", 0.05 * man, -0.02)
    put("neck", 0.05, -0.06)
    put("muzzle", 0.06 * calm, 0.04)
    put("nostril", 1.5, 0.6, 0.3)
    put("glabella", 0.05, 0.05)
    weights[:, len(FIELDS) :] = rng.normal(0, [[0.05], [0.06]], (2, SMOOTH)) * (0.6 + 0.8 * old)
    melanin, blood = weights.astype(np.float32) @ g.fields
    rough = np.float32(calm * np.exp(rng.normal(0, 0.35)) * (1 + 0.5 * old))
    grain = face.noise("rough") - 0.5
    patches = face.noise("fbm") - 0.5
    melanin += rough * (0.16 * grain + 0.10 * patches)
    blood += rough * (0.15 * (face.noise("fbm") - 0.5) - 0.08 * grain)
    sun = g.fields[at["cheek"]] + g.fields[at["nose"]] + g.fields[at["forehead"]]
    if t.freckles > 0.02:
        amount = t.freckles * calm
        dots = np.clip((face.noise("spots") - np.float32(1 - 0.95 * min(1, amount * 1.3))) * 4, 0, 1)
        melanin += dots * np.minimum(sun + np.float32(0.25 * amount), 1) * rng.uniform(0.2, 0.65)
    if old > 0.3:  # age spots
        spots = np.clip((face.noise("cells") - 0.97) * 30, 0, 1) * (patches > 0)
        melanin += spots * np.float32(rng.uniform(0, 0.5) * old)
    if t.blemishes > 0.1:
        where = face.noise("spots") > np.float32(1 - 0.12 * t.blemishes * calm)
        blood += where * rng.uniform(0.2, 0.7)
    if rng.random() < 0.008:  # vitiligo
        melanin -= smooth_step(face.noise("fbm"), 0.72, 0.76) * np.float32(0.2 + 1.6 * t.melanin)
    if rng.random() < 0.008:  # port-wine stain
        blood += smooth_step(face.noise("fbm"), 0.8, 0.85) * rng.uniform(0.4, 1.0)
    if rng.random() < 0.05:  # sunburn or cold
        blood += np.minimum(sun, 1) * rng.uniform(0.2, 0.5)
    # Dark skin hides blood.
    blood *= np.float32(1 - 0.45 * t.melanin)
    tone = skin_tone(t.melanin, t.redness, float(rng.normal(0, 1.8)))
    for c in range(3):
        face.rgb[c] = np.exp(melanin * -MELANIN[c] + blood * -BLOOD[c]) * tone[c]
    shine = g.fields[at["nose"]] * 0.2 + g.fields[at["forehead"]] * 0.12 + g.fields[at["cheek"]] * 0.06
    oil = float(np.clip(rng.normal(0.35, 0.1) * (1 - 0.3 * t.makeup), 0.1, 0.7))
    face.gloss = np.float32(oil) * (1 + shine * 2 + grain * 0.5)
